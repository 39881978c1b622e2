//! What every node should know of the others, from what is really there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::control::{Candidate, Explanation};
use mpreg_fabric::plan::Verdict;
use mpreg_fabric::way::LinkStateMode;
use mpreg_proto::catalog::{Kind, Scope};
use mpreg_proto::hop::Reason;
use mpreg_proto::id::{ClusterId, NodeId};

use super::Mesh;
use super::plan::Mishap;
use crate::check::Violation;
use crate::history::Plan as _;

/// An entry, as far as it matters here.
type Known = (NodeId, Scope, Kind, Vec<u8>);

/// Changes of a link by less than a millisecond are none: of a few links.
const SLACK: i128 = 6_000;

/// How far it is from each cluster to each other.
pub(super) struct Distances(BTreeMap<ClusterId, BTreeMap<ClusterId, usize>>);

impl Distances {
    pub(super) fn between(&self, from: ClusterId, to: ClusterId) -> Option<usize> {
        self.0.get(&from)?.get(&to).copied()
    }
}

impl Mesh {
    pub(super) fn cluster_of(&self, node: usize) -> ClusterId {
        self.nodes[node].cluster_id
    }

    /// Pairs of clusters with a link between them.
    fn touching(&self) -> BTreeSet<(ClusterId, ClusterId)> {
        let mut touching = BTreeSet::new();
        for node in self.live() {
            let Some(life) = &self.nodes[node].life else { continue };
            let here = self.cluster_of(node);
            let peers = life.view.peers.values().filter(|peer| peer.cluster != here);
            touching.extend(peers.map(|peer| (here, peer.cluster)));
        }
        touching
    }

    /// Links between clusters on the shortest way from each cluster to each other.
    pub(super) fn distances(&self) -> Distances {
        let touching = self.touching();
        let clusters: BTreeSet<ClusterId> = self.nodes.iter().map(|it| it.cluster_id).collect();
        let from = |from: ClusterId| (from, distances(&touching, &self.shut(), from));
        Distances(clusters.into_iter().map(from).collect())
    }

    /// Who offers what to whom, from what nodes are, their clients want and their links are.
    fn offered(&self) -> BTreeSet<Known> {
        let mut offered = BTreeSet::new();
        for node in self.live() {
            let it = &self.nodes[node];
            offered.insert((it.id, Scope::Fabric, Kind::NODE, Vec::new()));
            let names = it.wants.iter().map(|subscription| subscription.want(1).name.to_vec());
            offered.extend(names.map(|name| (it.id, Scope::Cluster, Kind::SUBSCRIPTION, name)));
            let here = self.cluster_of(node);
            let peers = it.life.iter().flat_map(|life| life.view.peers.values());
            if peers.into_iter().all(|peer| peer.cluster == here) {
                continue;
            }
            let mates = self.live().into_iter().filter(|&mate| self.cluster_of(mate) == here);
            let wants = mates.flat_map(|mate| &self.nodes[mate].wants);
            let names = wants.map(|subscription| subscription.want(1).name.to_vec());
            let all = names.map(|name| (it.id, Scope::Fabric, Kind::CLUSTER_INTEREST, name));
            offered.extend(all);
        }
        offered
    }

    /// Every node knows all that live nodes offer it, and nothing else.
    pub(super) fn catalogs_agree(&self) -> Result<(), Violation> {
        let offered = self.offered();
        for node in self.live() {
            let here = self.cluster_of(node);
            let Some(life) = &self.nodes[node].life else { continue };
            let mates: BTreeSet<NodeId> = self
                .nodes
                .iter()
                .filter(|other| other.cluster_id == here)
                .map(|other| other.id)
                .collect();
            let is_for = |known: &&Known| known.1 == Scope::Fabric || mates.contains(&known.0);
            let should: BTreeSet<&Known> = offered.iter().filter(is_for).collect();
            let entries = life.machine.catalog().entries();
            let entries = entries.map(|entry| {
                (entry.feed.node, entry.feed.scope, entry.key.kind, entry.key.name.to_vec())
            });
            let knows: BTreeSet<Known> = entries.collect();
            let knows: BTreeSet<&Known> = knows.iter().collect();
            if knows != should {
                let lacks: Vec<_> = should.difference(&knows).collect();
                let keeps: Vec<_> = knows.difference(&should).collect();
                let text =
                    format!("the catalog of node {node} lacks {lacks:?} and keeps {keeps:?}");
                return Err(Violation::new("catalogs", text));
            }
        }
        Ok(())
    }

    /// Clusters that no way leads through. Link-state does not ask for policies about routes.
    fn shut(&self) -> BTreeSet<ClusterId> {
        match self.plan.mode {
            LinkStateMode::Disabled => self.closed.clone(),
            LinkStateMode::Prefer | LinkStateMode::Only => BTreeSet::new(),
        }
    }

    /// Where links are of different lengths, the way is about as short as can be: measurements lag
    /// behind, and a change by less than a quarter is none. Of ways of link-state, that there is one.
    fn is_good_way(&self, node: usize, why: &Explanation) -> Result<(), Violation> {
        let to = why.to;
        let score = why.candidates.iter().find(|way| way.verdict == Verdict::Chosen);
        let score = score.and_then(|way| way.route.as_ref()).map(|way| way.score.0 / 1000);
        let is_good = match (score, self.scores(to).get(&node)) {
            _ if self.plan.mode != LinkStateMode::Disabled => true,
            (Some(score), Some(best)) => {
                (best * 2 / 3 - SLACK..=best * 3 / 2 + SLACK).contains(&score)
            }
            (Some(_) | None, _) => false,
        };
        if why.next_hop.is_err() || !is_good {
            let best = self.scores(to).get(&node).copied();
            let text = format!("node {node} goes to {to} by {score:?}, not {best:?}: {why:?}");
            return Err(Violation::new("routes", text));
        }
        Ok(())
    }

    /// Whether every link lets everything through.
    pub(super) fn are_circuits_closed(&self) -> bool {
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        let mut links = lives.flat_map(|life| &life.view.links);
        links.all(|link| link.circuit == Circuit::Closed)
    }

    /// The score of the best way of each node to a cluster, thousandths of a point.
    fn scores(&self, to: ClusterId) -> BTreeMap<usize, i128> {
        let live = self.live();
        let mut best: BTreeMap<usize, i128> = BTreeMap::new();
        loop {
            // Over links of its own, then over those of its mates.
            let own = |node: &usize| Some((*node, self.own_score(*node, to, &best)?));
            let own: BTreeMap<usize, i128> = live.iter().filter_map(own).collect();
            let over = |node: usize, mate: usize, score: i128| match node == mate {
                true => score,
                false => score + self.round_trip(node, mate).as_micros() as i128,
            };
            let next = |&node: &usize| {
                let here = self.cluster_of(node);
                let mates = own.iter().filter(|(mate, _)| self.cluster_of(**mate) == here);
                let score = mates.map(|(&mate, &score)| over(node, mate, score)).min()?;
                Some((node, score))
            };
            let next: BTreeMap<usize, i128> = live.iter().filter_map(next).collect();
            if next == best {
                return best;
            }
            best = next;
        }
    }

    fn own_score(&self, node: usize, to: ClusterId, best: &BTreeMap<usize, i128>) -> Option<i128> {
        const HOP: i128 = 10_000;
        let here = self.cluster_of(node);
        let peers = &self.nodes[node].life.as_ref()?.view.peers;
        let over = |peer: &NodeId| {
            let there = self.nodes.iter().position(|it| it.id == *peer)?;
            let cluster = self.cluster_of(there);
            let rest = match cluster == to {
                true => 0,
                false if self.closed.contains(&cluster) => return None,
                false => *best.get(&there)?,
            };
            let link = HOP + self.round_trip(node, there).as_micros() as i128;
            (cluster != here).then_some(link + rest)
        };
        peers.keys().filter_map(over).min()
    }

    /// Every node has a way to every other cluster, over as few links between clusters as can be, and
    /// none to clusters that are not there.
    pub(super) fn routes_are_shortest(&self) -> Result<(), Violation> {
        let touching = self.touching();
        for node in self.live() {
            let Some(life) = &self.nodes[node].life else { continue };
            let here = self.cluster_of(node);
            let should = distances(&touching, &self.shut(), here);
            let now = self.nodes[node].local(self.now);
            let knows: BTreeSet<ClusterId> = life.machine.destinations().collect();
            let there: BTreeSet<ClusterId> =
                should.keys().copied().filter(|to| *to != here).collect();
            if knows != there {
                let text = format!("node {node} has ways to {knows:?}, not to {there:?}");
                return Err(Violation::new("routes", text));
            }
            for to in there {
                let why = life.machine.explain(to, &[], now);
                let refused = Verdict::Refused(Reason::LinkOpenCircuit);
                if why.candidates.iter().any(|way| way.verdict == refused) {
                    continue;
                }
                if self.plan.mode != LinkStateMode::Disabled || self.plan.has(Mishap::Distances) {
                    self.is_good_way(node, &why)?;
                    continue;
                }
                let is_chosen = |way: &&Candidate| way.verdict == Verdict::Chosen;
                let chosen = why.candidates.iter().find(is_chosen);
                let hops = chosen.and_then(|way| way.route.as_ref()).map(|way| way.path.len());
                if why.next_hop.is_err() || hops != Some(should[&to]) {
                    let text = format!(
                        "node {node} goes to {to} by {hops:?}, not {:?}: {why:?}",
                        should[&to]
                    );
                    return Err(Violation::new("routes", text));
                }
            }
        }
        Ok(())
    }
}

fn distances(
    touching: &BTreeSet<(ClusterId, ClusterId)>,
    shut: &BTreeSet<ClusterId>,
    from: ClusterId,
) -> BTreeMap<ClusterId, usize> {
    let mut distances = BTreeMap::from([(from, 0)]);
    let mut edge = vec![from];
    while !edge.is_empty() {
        let mut next = Vec::new();
        for at in edge.into_iter().filter(|at| *at == from || !shut.contains(at)) {
            let distance = distances[&at] + 1;
            for &(_, to) in touching.range((at, ClusterId(0))..=(at, ClusterId(u128::MAX))) {
                if let Entry::Vacant(unreached) = distances.entry(to) {
                    unreached.insert(distance);
                    next.push(to);
                }
            }
        }
        edge = next;
    }
    distances
}
