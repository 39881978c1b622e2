//! Many nodes that tell each other of their links, and a list of all links beside them.

use alloc::collections::BTreeSet;

use super::*;
use crate::rng::Rng;
use crate::way::Exit;

/// A flood on a link.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct OnLink {
    due: Instant,
    count: u64,
    from: usize,
    to: usize,
    body: Vec<u8>,
    ttl_ms: u32,
}

struct World {
    nodes: Vec<LinkState>,
    clusters: Vec<u128>,
    links: BTreeMap<[usize; 2], u32>,
    /// Links on which everything is lost.
    deaf: BTreeSet<[usize; 2]>,
    under_way: BTreeSet<OnLink>,
    now: Instant,
    count: u64,
    sent: u64,
}

const DELAY: Duration = Duration::from_millis(3);

impl World {
    /// Node `n` is of the cluster at its place.
    fn new(clusters: &[u128], mode: LinkStateMode) -> Self {
        let node = |(n, &cluster): (usize, &u128)| {
            LinkState::new(settings(name(n).0, cluster, mode), Instant::START)
        };
        Self {
            nodes: clusters.iter().enumerate().map(node).collect(),
            clusters: clusters.to_vec(),
            links: BTreeMap::new(),
            deaf: BTreeSet::new(),
            under_way: BTreeSet::new(),
            now: Instant::START,
            count: 0,
            sent: 0,
        }
    }

    fn link(&mut self, one: usize, other: usize, latency_us: u32) {
        for [from, to] in [[one, other], [other, one]] {
            self.links.insert([from, to], latency_us);
            let (peer, cluster) = (name(to), ClusterId(self.clusters[to]));
            self.handle(from, Input::LinkUp { peer, cluster, metrics: metrics(latency_us) });
        }
    }

    fn cut(&mut self, one: usize, other: usize) {
        for [from, to] in [[one, other], [other, one]] {
            self.links.remove(&[from, to]);
            self.handle(from, Input::LinkDown { peer: name(to) });
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        let mut out = Vec::new();
        self.nodes[at].handle(input, self.now, &mut out);
        for effect in out {
            let Effect::Send { to, flood: Flood { ttl_ms, body, .. } } = effect else { continue };
            let to = usize::try_from(to.0).unwrap() - 1;
            self.count += 1;
            self.sent += 1;
            let (due, count) = (self.now + DELAY, self.count);
            self.under_way.insert(OnLink { due, count, from: at, to, body, ttl_ms });
        }
    }

    fn pass(&mut self, until: Instant) {
        loop {
            let deadlines = self.nodes.iter().enumerate();
            let deadlines = deadlines.filter_map(|(at, node)| Some((node.deadline()?.0, at)));
            let (due, at) = deadlines.min().unwrap();
            let arrives = self.under_way.first().map(|next| next.due);
            if until < due.min(arrives.unwrap_or(due)) {
                self.now = until;
                return;
            }
            if arrives.is_some_and(|arrives| arrives <= due) {
                let OnLink { due, from, to, body, ttl_ms, .. } =
                    self.under_way.pop_first().unwrap();
                self.now = due.max(self.now);
                let is_heard =
                    self.links.contains_key(&[from, to]) && !self.deaf.contains(&[from, to]);
                if is_heard {
                    let flood = Flood { ttl_ms, body, signature: None };
                    self.handle(to, Input::Heard { from: name(from), flood });
                }
            } else {
                self.now = due.max(self.now);
                self.handle(at, Input::DeadlineReached);
            }
        }
    }

    fn cluster(&self, of: usize) -> ClusterId {
        ClusterId(self.clusters[of])
    }

    /// Where a message for the cluster goes from here; `pick` chooses among the exits.
    fn next(
        &self,
        at: usize,
        to: ClusterId,
        pick: &mut dyn FnMut(&[Exit]) -> Exit,
    ) -> Option<usize> {
        let ways = self.nodes[at].clusters();
        let exits = &ways.iter().find(|ways| ways.to == to)?.exits;
        Some(index(pick(exits).node))
    }

    /// Where a message for the node of the same cluster goes from here.
    fn near(&self, at: usize, to: NodeId, pick: &mut dyn FnMut(&[Exit]) -> Exit) -> Option<usize> {
        let ways = self.nodes[at].nodes();
        Some(index(pick(&ways.iter().find(|ways| ways.to == to)?.exits).node))
    }

    /// What each costs from one, over pairs of names: every link walked as often as there are names.
    fn costs<T: Copy + Ord>(from: T, links: &BTreeMap<[T; 2], u32>) -> BTreeMap<T, u64> {
        let mut costs = BTreeMap::from([(from, 0)]);
        for _ in 0..links.len() {
            for ([one, other], latency_us) in links {
                let Some(&near) = costs.get(one) else { continue };
                let far = near + u64::from(link_cost(&metrics(*latency_us)));
                let known = costs.entry(*other).or_insert(far);
                *known = far.min(*known);
            }
        }
        costs
    }

    /// Compares every node's tables with the list of links.
    fn check(&self, seed: u64) {
        let mut rng = Rng::from_seed(seed);
        for at in 0..self.nodes.len() {
            self.check_near(at, &mut rng);
            self.check_far(at, &mut rng);
        }
    }

    fn check_near(&self, at: usize, rng: &mut Rng) {
        let is_inside = |[one, other]: &[usize; 2]| {
            [*one, *other].map(|end| self.clusters[end]) == [self.clusters[at]; 2]
        };
        let inside = self.links.iter().filter(|(ends, _)| is_inside(ends));
        let inside: BTreeMap<_, _> = inside.map(|(ends, cost)| (*ends, *cost)).collect();
        let costs = Self::costs(at, &inside);
        let found: BTreeSet<_> = self.nodes[at].nodes().iter().map(|ways| index(ways.to)).collect();
        assert!(costs.keys().copied().filter(|&to| to != at).eq(found));
        for (&to, &cost) in costs.iter().filter(|(to, _)| **to != at) {
            let (mut here, mut paid) = (at, 0);
            while here != to {
                let next = self.near(here, name(to), &mut |exits| exits[0]).unwrap();
                paid += u64::from(link_cost(&metrics(self.links[&[here, next]])));
                here = next;
            }
            assert_eq!(paid, cost, "the first exits are the cheapest way");
            let (mut here, mut steps) = (at, 0);
            while here != to {
                let pick = &mut |exits: &[Exit]| exits[rng.below(exits.len() as u32) as usize];
                here = self.near(here, name(to), pick).unwrap();
                steps += 1;
                assert!(steps <= self.nodes.len(), "no exit leads round in a circle");
            }
        }
    }

    fn check_far(&self, at: usize, rng: &mut Rng) {
        let mut between = BTreeMap::<_, u32>::new();
        for (ends, &latency_us) in &self.links {
            let ends = ends.map(|end| self.cluster(end));
            if ends[0] != ends[1] {
                let known = between.entry(ends).or_insert(latency_us);
                *known = latency_us.min(*known);
            }
        }
        let costs = Self::costs(self.cluster(at), &between);
        let found: BTreeSet<_> = self.nodes[at].clusters().iter().map(|ways| ways.to).collect();
        let want = costs.keys().copied().filter(|&to| to != self.cluster(at));
        assert!(want.clone().eq(found), "every cluster that there is a way to, and no other");
        for to in want {
            for is_first in [true, false] {
                let (mut here, mut steps) = (at, 0);
                while self.cluster(here) != to {
                    let pick = &mut |exits: &[Exit]| {
                        exits[if is_first { 0 } else { rng.below(exits.len() as u32) as usize }]
                    };
                    let next = self.next(here, to, pick).unwrap();
                    assert!(self.links.contains_key(&[here, next]));
                    here = next;
                    steps += 1;
                    assert!(steps <= 3 * self.nodes.len(), "no exit leads round in a circle");
                }
            }
        }
    }
}

fn name(n: usize) -> NodeId {
    NodeId(n as u128 + 1)
}

fn index(node: NodeId) -> usize {
    usize::try_from(node.0).unwrap() - 1
}

/// Up to 5 clusters of up to 5 nodes. Each cluster is whole: its nodes are at least a chain.
fn random_world(seed: u64) -> World {
    let mut rng = Rng::from_seed(seed);
    let clusters: Vec<u128> = (0..=rng.below(5))
        .flat_map(|cluster| vec![10 * (u128::from(cluster) + 1); 1 + rng.below(5) as usize])
        .collect();
    let mut world = World::new(&clusters, LinkStateMode::Prefer);
    for one in 0..clusters.len() {
        for other in one + 1..clusters.len() {
            let is_inside = clusters[one] == clusters[other];
            let is_chain = is_inside && one + 1 == other;
            if is_chain || rng.below(if is_inside { 3 } else { 8 }) == 0 {
                world.link(one, other, rng.below(5) * 5000);
            }
        }
    }
    world
}

#[test]
fn everyone_finds_the_ways_that_the_list_of_links_has() {
    for seed in 0..60 {
        let mut world = random_world(seed);
        world.pass(at(1000));
        world.check(seed);
    }
}

#[test]
fn after_links_go_and_come_everyone_has_the_new_ways_within_a_second() {
    let (mut cuts, mut slowest) = (0, Duration::ZERO);
    for seed in 0..60 {
        let mut world = random_world(seed);
        let mut rng = Rng::from_seed(seed);
        world.pass(at(2000));
        let all: Vec<_> = world.links.iter().map(|(ends, cost)| (*ends, *cost)).collect();
        let removable = |ends: &[usize; 2]| {
            let is_chain = ends[0] + 1 == ends[1] || ends[1] + 1 == ends[0];
            ends[0] < ends[1] && !(is_chain && world.clusters[ends[0]] == world.clusters[ends[1]])
        };
        let removable: Vec<_> = all.iter().filter(|(ends, _)| removable(ends)).copied().collect();
        for ([one, other], latency_us) in removable.into_iter().filter(|_| rng.below(2) == 0) {
            world.cut(one, other);
            let began = world.now;
            // Whether or not it is all settled, ways are computed within 300 ms of a cut.
            world.pass(began + Duration::from_millis(300));
            slowest = slowest.max(world.now.since(began));
            world.check(seed);
            world.link(one, other, latency_us);
            world.pass(world.now + Duration::from_millis(300));
            world.check(seed);
            cuts += 1;
        }
    }
    assert!(50 < cuts && slowest < Duration::from_secs(1), "{cuts}");
}

/// A ring of eight clusters, chords 0-4 and 1-5: two ways from 0 to 5, of which flows use both.
#[test]
fn a_ring_with_chords_has_several_equal_ways() {
    let clusters: Vec<_> = (1..=8).map(|cluster| cluster * 10).collect();
    let mut world = World::new(&clusters, LinkStateMode::Only);
    for n in 0..8 {
        world.link(n, (n + 1) % 8, 1000);
    }
    world.link(0, 4, 1000);
    world.link(1, 5, 1000);
    world.pass(at(1000));
    world.check(1);
    let ways = world.nodes[0].clusters().iter().find(|ways| ways.to == ClusterId(60)).unwrap();
    assert_eq!(ways.equal_count, 2);
    let first: BTreeSet<_> = ways.exits[..2].iter().map(|exit| index(exit.node)).collect();
    assert_eq!(first, BTreeSet::from([1, 4]));
    // Ten minutes later nothing has aged away; one that falls silent has.
    world.pass(at(600_000));
    world.check(2);
    let silent: Vec<_> = world.links.keys().filter(|ends| ends[0] == 4).copied().collect();
    world.deaf.extend(silent);
    world.pass(at(640_000));
    let ways = world.nodes[0].clusters().iter().find(|ways| ways.to == ClusterId(60)).unwrap();
    assert_eq!(ways.exits.iter().map(|exit| index(exit.node)).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_a_link_lost_for_ten_seconds_is_made_good_by_the_next_refresh() {
    for seed in 0..20 {
        let mut world = random_world(seed);
        world.pass(at(1000));
        let mut rng = Rng::from_seed(seed);
        let deaf: Vec<_> = world.links.keys().filter(|_| rng.below(3) == 0).copied().collect();
        world.deaf.extend(deaf);
        let chord = world.links.keys().find(|ends| ends[0] + 1 < ends[1]).copied();
        if let Some([one, other]) = chord {
            world.cut(one, other);
        }
        world.pass(at(11_000));
        world.deaf.clear();
        world.pass(at(11_000) + TIMING.ttl / 3 + Duration::from_millis(500));
        world.check(seed);
    }
}

#[test]
fn each_node_sends_news_on_once() {
    let mut world = random_world(3);
    world.pass(at(5000));
    let links = world.links.len() as u64;
    world.sent = 0;
    let (&[one, other], _) = world.links.iter().find(|(ends, _)| ends[0] + 1 < ends[1]).unwrap();
    world.cut(one, other);
    world.pass(at(6000));
    // Two nodes have news, of one kind; each link carries each of it at most once each way.
    assert!((1..=2 * links).contains(&world.sent), "{} over {links}", world.sent);
}

#[test]
fn a_node_of_a_disabled_cluster_knows_its_cluster_alone() {
    let mut world = World::new(&[10, 10, 10, 20], LinkStateMode::Disabled);
    for (one, other) in [(0, 1), (1, 2), (2, 3)] {
        world.link(one, other, 1000);
    }
    world.pass(at(1000));
    let names = |ways: &[Ways<NodeId>]| ways.iter().map(|ways| index(ways.to)).collect::<Vec<_>>();
    assert_eq!(names(world.nodes[0].nodes()), [1, 2]);
    assert!(world.nodes.iter().all(|node| node.clusters().is_empty()));
}
