//! Which clusters touch, and which nodes are told of which at the start.

use std::collections::BTreeSet;

use mpreg_fabric::rng::Rng;

/// Which clusters have a gateway link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    Chain,
    Ring,
    Star,
    /// Two ways from the first to the last, through all others.
    Diamond,
    Full,
    /// A ring of all but the first, which hangs on one of it.
    Spur,
    /// A tree, and some more.
    Random,
}

impl Topology {
    pub const ALL: [Self; 7] =
        [Self::Chain, Self::Ring, Self::Star, Self::Diamond, Self::Full, Self::Spur, Self::Random];

    /// Pairs of clusters that touch, the smaller first. Every cluster is reached from every other.
    pub fn edges(self, count: usize, rng: &mut Rng) -> BTreeSet<(usize, usize)> {
        let last = count - 1;
        let chain = (1..count).map(|to| (to - 1, to));
        match self {
            Self::Chain => chain.collect(),
            Self::Ring => chain.chain((1 < last).then_some((0, last))).collect(),
            Self::Spur => chain.chain((2 < last).then_some((1, last))).collect(),
            Self::Star => (1..count).map(|to| (0, to)).collect(),
            Self::Diamond if last < 2 => chain.collect(),
            Self::Diamond => (1..last).flat_map(|middle| [(0, middle), (middle, last)]).collect(),
            Self::Full => (1..count).flat_map(|to| (0..to).map(move |from| (from, to))).collect(),
            Self::Random => {
                let mut edges: BTreeSet<_> =
                    (1..count).map(|to| (rng.below(to as u32) as usize, to)).collect();
                for to in 1..count {
                    let from = rng.below(to as u32) as usize;
                    if rng.below(2) == 0 {
                        edges.insert((from, to));
                    }
                }
                edges
            }
        }
    }
}

/// Which nodes each node is told of at its start, by the cluster of each node.
pub fn seeds(clusters: &[usize], topology: Topology, rng: &mut Rng) -> Vec<BTreeSet<usize>> {
    let mut seeds = vec![BTreeSet::new(); clusters.len()];
    let members = |cluster: usize| -> Vec<usize> {
        (0..clusters.len()).filter(|&node| clusters[node] == cluster).collect()
    };
    let clusters_count = clusters.iter().max().map_or(0, |last| last + 1);
    for cluster in 0..clusters_count {
        let nodes = members(cluster);
        // Each node but the first knows an earlier one, so all find each other; the first knows the
        // second, so that it finds its way back.
        for (place, &node) in nodes.iter().enumerate().skip(1) {
            seeds[node].insert(nodes[rng.below(place as u32) as usize]);
        }
        if let [first, second, ..] = nodes[..] {
            seeds[first].insert(second);
        }
    }
    for (a, b) in topology.edges(clusters_count, rng) {
        let (a, b) = (members(a), members(b));
        // One gateway link or two, each told of at one end or both.
        for _ in 0..=rng.below(2) {
            let here = a[rng.below(a.len() as u32) as usize];
            let there = b[rng.below(b.len() as u32) as usize];
            seeds[here].insert(there);
            if rng.below(2) == 0 {
                seeds[there].insert(here);
            }
        }
    }
    seeds
}
