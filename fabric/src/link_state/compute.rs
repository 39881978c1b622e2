//! Ways from advertisements: to the nodes of this cluster, and to other clusters.
//!
//! An exit is always a linked node, and one counts for a destination if it is nearer to it than this
//! node is. So each hop comes nearer and none comes back, whichever of several exits each node takes
//! (the downstream criterion of RFC 5286, 3.5); those after the best are alternates.
//!
//! Between clusters a cluster is one vertex, and what a message costs inside those on the way is left
//! out. A link to another cluster counts if that cluster is nearer than this one; among the nodes of
//! this cluster, who can leave it more cheaply is nearer.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::link_state::{Adjacency, Advertisement, AreaId, Kind, Metrics, Summary};

use super::area::Areas;
use super::{Database, Settings};
use crate::graph::Graph;
use crate::limits::EXITS_MAX;
use crate::way::{Exit, LinkStateMode, Ways};

/// Of a hop, whatever its link is like.
const HOP_COST: u32 = 10_000;

/// What a link costs, in thousandths of the points routes are scored by: a millisecond is 1 point, a
/// hop 10, a unit of cost 1, certain loss 50; what is wide is up to 5 better. Never zero.
pub fn link_cost(metrics: &Metrics) -> u32 {
    let Metrics { latency_us, bandwidth_mbps, reliability_ppm, cost } = *metrics;
    let lost_ppm = 1_000_000_u32.saturating_sub(reliability_ppm);
    let bonus = bandwidth_mbps.saturating_mul(50).min(HOP_COST / 2);
    let sum = (HOP_COST - bonus).saturating_add(latency_us).saturating_add(lost_ppm / 20);
    sum.saturating_add(cost.saturating_mul(1000))
}

/// What came of a computation.
#[derive(Clone, Debug, Default)]
pub(super) struct Computed {
    pub(super) nodes: Vec<Ways<NodeId>>,
    pub(super) clusters: Vec<Ways<ClusterId>>,
    /// What each area's clusters cost from this one, over links of that area.
    costs: BTreeMap<AreaId, BTreeMap<ClusterId, u64>>,
    /// Other nodes of this cluster that have links of an area and that this node reaches.
    mates: BTreeMap<AreaId, Vec<NodeId>>,
}

impl Computed {
    pub(super) fn mates(&self, area: AreaId) -> impl Iterator<Item = NodeId> {
        self.mates.get(&area).into_iter().flatten().copied()
    }

    pub(super) fn has_other_mates(&self, before: &Self) -> bool {
        self.mates != before.mates
    }

    /// What the area `into` is told of others.
    pub(super) fn summaries(&self, areas: &Areas, into: AreaId) -> Vec<Summary> {
        let mut best = BTreeMap::<ClusterId, u32>::new();
        for filter in areas.summaries.iter().filter(|filter| filter.into == into) {
            let there = self.costs.get(&filter.from).into_iter().flatten();
            let is_inside =
                |cluster| self.costs.get(&into).is_some_and(|costs| costs.contains_key(cluster));
            for (&cluster, &cost) in there.filter(|(cluster, _)| !is_inside(cluster)) {
                if filter.allows(cluster) {
                    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
                    best.entry(cluster)
                        .and_modify(|known| *known = cost.min(*known))
                        .or_insert(cost);
                }
            }
        }
        best.into_iter().map(|(cluster, cost)| Summary { cluster, cost }).collect()
    }
}

/// A graph whose vertices have names.
struct Named<T> {
    names: Vec<T>,
    graph: Graph,
}

impl<T: Copy + Ord> Named<T> {
    fn new(edges: &BTreeMap<[T; 2], u32>, also: T) -> Self {
        let ends = edges.keys().flatten().copied().chain([also]);
        let names: Vec<_> = ends.collect::<BTreeSet<_>>().into_iter().collect();
        let mut graph = Graph::new(names.len());
        for (ends, &cost) in edges {
            let [Ok(from), Ok(to)] = ends.map(|end| names.binary_search(&end)) else { continue };
            graph.connect(from, to, cost);
        }
        Self { names, graph }
    }

    fn costs(&self, from: T) -> BTreeMap<T, u64> {
        let Ok(at) = self.names.binary_search(&from) else { return BTreeMap::new() };
        let costs = self.names.iter().zip(self.graph.costs(at));
        costs.filter_map(|(&name, cost)| Some((name, cost?))).collect()
    }
}

/// A link that both ends say is there, as the first end sees it.
#[derive(Clone, Copy)]
struct Sure {
    from: Here,
    to: Here,
    cost: u32,
}

/// Own links as they are now, those of others as they say.
pub(super) fn compute(settings: &Settings, links: &[Adjacency], database: &Database) -> Computed {
    let here = settings.here;
    let mine = here.cluster;
    let own = |area, is_inside| {
        let of = move |link: &&Adjacency| {
            let is_of_area = is_inside || settings.areas.of(link.cluster) == Some(area);
            (link.cluster == mine) == is_inside && is_of_area
        };
        links.iter().filter(of).copied().collect::<Vec<_>>()
    };
    let inside =
        Inside::new(here.node, &sure(here, own(AreaId(0), true), database, Kind::Mesh, AreaId(0)));
    let mut computed = Computed { nodes: inside.ways(), ..Computed::default() };
    if settings.mode == LinkStateMode::Disabled {
        return computed;
    }
    let mut found = Found::default();
    for &area in &settings.areas.local {
        computed.mates.insert(area, inside.mates(mine, database, area));
        let border = sure(here, own(area, false), database, Kind::Border, area);
        let reached = inside.reached(&border);
        let between = |sure: &Sure| sure.from.cluster != sure.to.cluster;
        let is_way = |sure: &Sure| between(sure) && reached.contains(&sure.from.node);
        let border: Vec<Sure> = border.into_iter().filter(is_way).collect();
        let told = told(mine, database, area, &reached);
        let costs = to_clusters(here, &inside, &border, &told, &mut found);
        computed.costs.insert(area, costs);
    }
    computed.clusters = found.into_ways();
    computed
}

fn of_kind(database: &Database, kind: Kind, area: AreaId) -> impl Iterator<Item = &Advertisement> {
    let all = database.alive().map(|(_, entry)| &entry.said);
    all.filter(move |said| said.kind == kind as u16 && said.area == area)
}

/// Links of one kind and area that both ends say are there.
fn sure(
    here: Here,
    own: Vec<Adjacency>,
    database: &Database,
    kind: Kind,
    area: AreaId,
) -> Vec<Sure> {
    let of_kind = of_kind(database, kind, area).filter(|said| said.origin != here.node);
    let mut all: BTreeMap<[NodeId; 2], Sure> = BTreeMap::new();
    let others = of_kind.flat_map(|said: &Advertisement| {
        let from = Here { node: said.origin, cluster: said.cluster };
        said.links.iter().map(move |link| (from, *link))
    });
    for (from, link) in others.chain(own.into_iter().map(|link| (here, link))) {
        let to = Here { node: link.node, cluster: link.cluster };
        let sure = Sure { from, to, cost: link_cost(&link.metrics) };
        all.insert([from.node, to.node], sure);
    }
    let is_both = |sure: &&Sure| {
        let back = all.get(&[sure.to.node, sure.from.node]);
        back.is_some_and(|back| back.from == sure.to && back.to == sure.from)
    };
    all.values().filter(is_both).copied().collect()
}

/// The inside of this cluster, as far as this node has to do with it.
struct Inside {
    me: NodeId,
    /// Linked nodes.
    next: Vec<(Exit, u32)>,
    /// What nodes cost from this one and from each linked one.
    near: BTreeMap<NodeId, BTreeMap<NodeId, u64>>,
}

impl Inside {
    fn new(me: NodeId, links: &[Sure]) -> Self {
        let edges = links.iter().map(|sure| ([sure.from.node, sure.to.node], sure.cost)).collect();
        let graph = Named::new(&edges, me);
        let own = links.iter().filter(|sure| sure.from.node == me);
        let next: Vec<_> = own
            .map(|Sure { to, cost, .. }| (Exit { node: to.node, cluster: to.cluster }, *cost))
            .collect();
        let from = next.iter().map(|(exit, _)| exit.node).chain([me]);
        let near = from.map(|node| (node, graph.costs(node))).collect();
        Self { me, next, near }
    }

    fn ways(&self) -> Vec<Ways<NodeId>> {
        let mut found = Found::default();
        for &(exit, cost) in &self.next {
            for (&to, &rest) in self.near[&exit.node].iter().filter(|(to, _)| **to != self.me) {
                if self.near[&self.me].get(&to).is_some_and(|&cost| rest < cost) {
                    found.add(to, exit, u64::from(cost) + rest);
                }
            }
        }
        found.into_ways()
    }

    /// Other nodes inside with links to other clusters of an area.
    fn mates(&self, mine: ClusterId, database: &Database, area: AreaId) -> Vec<NodeId> {
        let near = &self.near[&self.me];
        let mates = of_kind(database, Kind::Border, area).filter(|said| {
            let leaves = |link: &Adjacency| link.cluster != mine;
            said.cluster == mine && near.contains_key(&said.origin) && said.links.iter().any(leaves)
        });
        mates.map(|said| said.origin).filter(|&node| node != self.me).collect()
    }

    /// Nodes that hang together with this one, over links between clusters and between mates.
    fn reached(&self, border: &[Sure]) -> BTreeSet<NodeId> {
        let mates = self.near[&self.me].keys().map(|&mate| ([self.me, mate], 1));
        let links = border.iter().map(|sure| ([sure.from.node, sure.to.node], 1));
        let graph = Named::new(&mates.chain(links).collect(), self.me);
        graph.costs(self.me).into_keys().collect()
    }

    /// What it costs a node to leave the cluster, if this is what it costs each gateway.
    fn leave(&self, from: NodeId, gateways: &BTreeMap<NodeId, u64>) -> Option<u64> {
        let near = &self.near[&from];
        let all = gateways.iter().filter_map(|(node, cost)| Some(near.get(node)? + cost));
        all.min()
    }
}

/// Which clusters of other areas are told of in this one, by whom, at what cost.
fn told(
    mine: ClusterId,
    database: &Database,
    area: AreaId,
    reached: &BTreeSet<NodeId>,
) -> Vec<(ClusterId, Summary)> {
    let is_other = |said: &&Advertisement| said.cluster != mine && reached.contains(&said.origin);
    let others = of_kind(database, Kind::Border, area).filter(is_other);
    let all = others.flat_map(|said| said.summaries.iter().map(|&summary| (said.cluster, summary)));
    all.filter(|(_, summary)| summary.cluster != mine).collect()
}

/// Adds the exits of one area. Returns what its clusters cost from this one.
fn to_clusters(
    here: Here,
    inside: &Inside,
    border: &[Sure],
    told: &[(ClusterId, Summary)],
    found: &mut Found<ClusterId>,
) -> BTreeMap<ClusterId, u64> {
    let mut edges = BTreeMap::<_, u32>::new();
    for sure in border {
        let ends = [sure.from.cluster, sure.to.cluster];
        edges.entry(ends).and_modify(|cost| *cost = sure.cost.min(*cost)).or_insert(sure.cost);
    }
    let graph = Named::new(&edges, here.cluster);
    let of_area = graph.costs(here.cluster);
    let all = with_told(&of_area, &of_area, told);
    let mut costs_of = BTreeMap::new();
    let mut gateways = BTreeMap::<ClusterId, BTreeMap<NodeId, u64>>::new();
    for sure in border.iter().filter(|sure| sure.from.cluster == here.cluster) {
        let next = sure.to.cluster;
        let rest =
            costs_of.entry(next).or_insert_with(|| with_told(&graph.costs(next), &of_area, told));
        for (&to, &rest) in rest.iter() {
            if to == here.cluster || all.get(&to).is_none_or(|&cost| cost <= rest) {
                continue;
            }
            let cost = u64::from(sure.cost) + rest;
            let known = gateways.entry(to).or_default().entry(sure.from.node).or_insert(cost);
            *known = cost.min(*known);
            if sure.from == here {
                found.add(to, Exit { node: sure.to.node, cluster: next }, cost);
            }
        }
    }
    for (to, gateways) in &gateways {
        add_inside(inside, *to, gateways, found);
    }
    of_area.into_iter().filter(|(to, _)| *to != here.cluster).collect()
}

/// Adds the linked nodes of this cluster that can leave it more cheaply than this one.
fn add_inside(
    inside: &Inside,
    to: ClusterId,
    gateways: &BTreeMap<NodeId, u64>,
    found: &mut Found<ClusterId>,
) {
    let mine = inside.leave(inside.me, gateways);
    for &(exit, cost) in &inside.next {
        if let Some(rest) = inside.leave(exit.node, gateways)
            && mine.is_some_and(|mine| rest < mine)
        {
            found.add(to, exit, u64::from(cost) + rest);
        }
    }
}

/// Costs with those of clusters that are only told of. What the area has a way to itself is not
/// looked for elsewhere.
fn with_told(
    costs: &BTreeMap<ClusterId, u64>,
    inside: &BTreeMap<ClusterId, u64>,
    told: &[(ClusterId, Summary)],
) -> BTreeMap<ClusterId, u64> {
    let mut all = costs.clone();
    for (by, Summary { cluster, cost }) in told {
        if let Some(to_border) = costs.get(by).filter(|_| !inside.contains_key(cluster)) {
            let sum = to_border + u64::from(*cost).max(1);
            all.entry(*cluster).and_modify(|known| *known = sum.min(*known)).or_insert(sum);
        }
    }
    all
}

/// Exits by destination and cost.
struct Found<T>(BTreeMap<T, BTreeMap<Exit, u64>>);

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy + Ord> Found<T> {
    fn add(&mut self, to: T, exit: Exit, cost: u64) {
        let exits = self.0.entry(to).or_default();
        exits.entry(exit).and_modify(|known| *known = cost.min(*known)).or_insert(cost);
    }

    fn into_ways(self) -> Vec<Ways<T>> {
        let ways = self.0.into_iter().map(|(to, exits)| {
            let mut exits: Vec<_> = exits.into_iter().collect();
            exits.sort_by_key(|&(exit, cost)| (cost, exit));
            exits.truncate(EXITS_MAX);
            let best = exits.first().map(|&(_, cost)| cost);
            let equal_count = exits.iter().filter(|&&(_, cost)| Some(cost) == best).count();
            let distance =
                best.map_or(0, |cost| (cost / u64::from(HOP_COST)).try_into().unwrap_or(u32::MAX));
            let exits = exits.into_iter().map(|(exit, _)| exit).collect();
            Ways { to, exits, equal_count, distance }
        });
        ways.collect()
    }
}
