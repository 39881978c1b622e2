//! Messages sent through small fabrics, header by header, until they rest.
//!
//! A fabric is its links, `a1-b1 b1-b2`: node `a1` is of cluster `a`. Tables are made of them by
//! counting hops.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;

use mpreg_proto::hop::{Here, Ids};
use mpreg_proto::limits::ENVELOPE_BYTES;
use proptest::prelude::*;

use super::*;
use crate::breaker::Circuit;
use crate::rng::Rng;
use crate::time::Instant;
use crate::way::{Exit, Flowlets, Link, Table, Ways};

const FRAMES: &[u8] = &[9; ENVELOPE_BYTES + 1];
const GROUP: GroupId = GroupId(77);

fn node(name: &str) -> NodeId {
    NodeId(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)))
}

fn cluster(name: &str) -> ClusterId {
    ClusterId(u128::from(name.as_bytes()[0]))
}

fn cluster_of(id: NodeId) -> ClusterId {
    let bytes = id.0.to_be_bytes();
    ClusterId(u128::from(*bytes.iter().find(|&&byte| byte != 0).unwrap()))
}

fn word(wide: u128) -> String {
    let bytes = wide.to_be_bytes();
    bytes.iter().filter(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect()
}

fn target_word(target: Target) -> String {
    match target {
        Target::Cluster(to) => word(to.0),
        Target::Node(to) => word(to.0),
        Target::Aimed(Aimed { cluster, aim: Aim::Node(node) }) => {
            format!("{}/{}", word(cluster.0), word(node.0))
        }
        Target::Aimed(Aimed { cluster, aim: Aim::Group(_) }) => format!("{}/*", word(cluster.0)),
        Target::Aimed(Aimed { cluster, aim: Aim::Member { node, .. } }) => {
            format!("{}/{}*", word(cluster.0), word(node.0))
        }
    }
}

/// A copy on a link.
struct Copy {
    from: NodeId,
    to: NodeId,
    bytes: Vec<u8>,
}

#[derive(Clone, Default)]
struct Fabric {
    links: BTreeSet<[NodeId; 2]>,
    /// Links that tables still name and that are down.
    down: BTreeSet<[NodeId; 2]>,
    circuits: BTreeMap<[NodeId; 2], Circuit>,
    /// Who has ungrouped subscribers.
    wants: BTreeSet<NodeId>,
    /// Members of the group.
    members: BTreeMap<NodeId, u32>,
    /// What came of messages, in the order it did.
    log: Vec<String>,
    /// Tables made so far.
    tables: BTreeMap<NodeId, Tables>,
}

#[derive(Clone)]
struct Tables {
    clusters: Vec<Ways<ClusterId>>,
    nodes: Vec<Ways<NodeId>>,
}

impl Fabric {
    fn new(links: &str) -> Self {
        let mut fabric = Self::default();
        for link in links.split_whitespace() {
            let (one, other) = link.split_once('-').unwrap();
            fabric.link(node(one), node(other));
        }
        fabric
    }

    fn link(&mut self, one: NodeId, other: NodeId) {
        self.links.extend([[one, other], [other, one]]);
        self.tables.clear();
    }

    fn cut(&mut self, one: &str, other: &str) {
        self.down.extend([[node(one), node(other)], [node(other), node(one)]]);
    }

    fn want(mut self, names: &str) -> Self {
        self.wants.extend(names.split_whitespace().map(node));
        self
    }

    fn members(mut self, names: &str) -> Self {
        self.members.extend(names.split_whitespace().map(|name| (node(name), 1)));
        self
    }

    fn nodes(&self) -> BTreeSet<NodeId> {
        self.links.iter().map(|[from, _]| *from).collect()
    }

    fn peers(&self, of: NodeId) -> impl Iterator<Item = NodeId> {
        self.links.range([of, NodeId(0)]..=[of, NodeId(u128::MAX)]).map(|[_, to]| *to)
    }

    /// Hops to each, over pairs that `is_step` allows.
    fn hops<T: core::marker::Copy + Ord>(from: T, pairs: &BTreeSet<[T; 2]>) -> BTreeMap<T, usize> {
        let mut hops = BTreeMap::from([(from, 0)]);
        for round in 0.. {
            let known = hops.len();
            for [one, other] in pairs {
                if hops.get(one) == Some(&round) {
                    hops.entry(*other).or_insert(round + 1);
                }
            }
            if hops.len() == known {
                break;
            }
        }
        hops
    }

    /// Ways inside the cluster: every peer that is nearer.
    fn node_ways(&self, of: NodeId) -> Vec<Ways<NodeId>> {
        let mine = cluster_of(of);
        let inside = self.links.iter().filter(|link| link.map(cluster_of) == [mine; 2]);
        let inside: BTreeSet<_> = inside.copied().collect();
        let to = inside.iter().map(|[_, to]| *to).collect::<BTreeSet<_>>();
        let ways = to.into_iter().filter(|&to| to != of).filter_map(|to| {
            let hops = Self::hops(to, &inside);
            let near = *hops.get(&of)?;
            let peers = self.peers(of).filter(|&peer| cluster_of(peer) == mine);
            let nearer = peers.filter(|peer| hops.get(peer).is_some_and(|&hops| hops < near));
            let exits: Vec<_> = nearer.map(|node| Exit { node, cluster: mine }).collect();
            Some(Ways { to, equal_count: exits.len(), exits, distance: near as u32 })
        });
        ways.collect()
    }

    /// Ways to other clusters: every gateway to a nearer cluster, one's own links first.
    fn cluster_ways(&self, of: NodeId) -> Vec<Ways<ClusterId>> {
        let mine = cluster_of(of);
        let pairs: BTreeSet<_> = self.links.iter().map(|link| link.map(cluster_of)).collect();
        let all: BTreeSet<_> = pairs.iter().map(|[_, to]| *to).collect();
        let ways = all.into_iter().filter(|&to| to != mine).filter_map(|to| {
            let hops = Self::hops(to, &pairs);
            let near = *hops.get(&mine)?;
            let leaving = self.links.iter().filter(|[from, next]| {
                cluster_of(*from) == mine
                    && hops.get(&cluster_of(*next)).is_some_and(|&hops| hops < near)
            });
            let mut exits: Vec<_> = leaving
                .map(|&[from, next]| if from == of { next } else { from })
                .map(|node| Exit { node, cluster: cluster_of(node) })
                .collect();
            exits.sort_by_key(|exit| (exit.cluster == mine, exit.node));
            exits.dedup();
            let own = exits.iter().filter(|exit| exit.cluster != mine).count();
            let equal_count = if own == 0 { exits.len() } else { own };
            Some(Ways { to, exits, equal_count, distance: near as u32 })
        });
        ways.collect()
    }

    fn up(&self, of: NodeId) -> Vec<Link> {
        let peers = self.peers(of).filter(|&peer| !self.down.contains(&[of, peer]));
        let circuit = |peer| self.circuits.get(&[of, peer]).copied().unwrap_or(Circuit::Closed);
        peers.map(|peer| Link { peer, cluster: cluster_of(peer), circuit: circuit(peer) }).collect()
    }

    /// Decides on one node, and says what came of it.
    fn step(
        &mut self,
        at: NodeId,
        decide: impl FnOnce(&mut Helm<'_>, &Wanted<'_>, &mut Decision),
    ) -> Vec<Share> {
        let mine = cluster_of(at);
        if !self.tables.contains_key(&at) {
            let (clusters, nodes) = (self.cluster_ways(at), self.node_ways(at));
            self.tables.insert(at, Tables { clusters, nodes });
        }
        let Tables { clusters, nodes } = &self.tables[&at];
        let (here, links) = (Here { node: at, cluster: mine }, self.up(at));
        let table = Table { here, clusters, nodes, links: &links };
        let others = |ids: &mut dyn Iterator<Item = NodeId>| {
            let others = ids.map(cluster_of).filter(|&other| other != mine);
            others.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let wanting = others(&mut self.wants.iter().copied());
        let near: Vec<_> =
            self.wants.iter().copied().filter(|&id| cluster_of(id) == mine).collect();
        let holders = self.members.iter().filter(|(id, _)| cluster_of(**id) == mine);
        let holders =
            holders.map(|(&node, &members_count)| Holder { node, members_count }).collect();
        let members = self.members.iter().filter(|(_, count)| 0 < **count);
        let group_clusters = others(&mut members.map(|(id, _)| *id));
        let groups = [GroupWanted { group: GROUP, holders, clusters: group_clusters }];
        let groups: &[_] = if self.members.is_empty() { &[] } else { &groups };
        let wanted = Wanted { clusters: &wanting, nodes: &near, groups };
        let mut out = Decision::default();
        let mut flowlets = Flowlets::new(1);
        let mut helm = Helm { table, flowlets: &mut flowlets, now: Instant::START };
        decide(&mut helm, &wanted, &mut out);
        let name = word(at.0);
        self.log.extend(out.is_here.then(|| format!("{name} gets it")));
        self.log.extend(out.groups_here.iter().map(|_| format!("{name} gets it for the group")));
        self.log.extend(out.dropped.iter().map(|Dropped { target, reason }| {
            format!("{name} drops {}: {}", target_word(*target), reason.word())
        }));
        out.shares().to_vec()
    }

    /// Sends copies on until none is under way. `budget` 255 is a fabric without end.
    fn run(&mut self, mut under_way: Vec<Copy>) {
        let mut copies = 0;
        while let Some(Copy { from, to, bytes }) = under_way.pop() {
            copies += 1;
            assert!(copies < 10_000, "it ends");
            let header = Header::parse(&bytes).unwrap();
            assert_eq!((header.sender(), header.frames), (from, FRAMES));
            let mut next = Vec::new();
            self.step(to, |helm, wanted, out| {
                forward(helm, wanted, &header, 0, out);
                for share in out.shares() {
                    let mut bytes = Vec::new();
                    out.leg(&header, share).put(helm.table.here, &mut bytes).unwrap();
                    next.push((share.clone(), bytes));
                }
            });
            under_way.extend(next.into_iter().map(|(share, bytes)| self.copy(to, &share, bytes)));
        }
    }

    fn copy(&mut self, from: NodeId, share: &Share, mut bytes: Vec<u8>) -> Copy {
        let to = share.peer();
        let Targets { clusters, nodes, aimed } = &share.targets;
        let all = clusters.iter().copied().map(Target::Cluster);
        let all = all.chain(nodes.iter().copied().map(Target::Node));
        let all = all.chain(aimed.iter().copied().map(Target::Aimed));
        let all: Vec<_> = all.map(target_word).collect();
        self.log.push(format!("{}>{} {}", word(from.0), word(to.0), all.join(" ")));
        bytes.extend_from_slice(FRAMES);
        Copy { from, to, bytes }
    }

    fn begin(
        &mut self,
        at: NodeId,
        start: &Start,
        decide: impl FnOnce(&mut Helm<'_>, &Wanted<'_>, &mut Decision),
    ) -> Vec<Copy> {
        let mut first = Vec::new();
        self.step(at, |helm, wanted, out| {
            decide(helm, wanted, out);
            for share in out.shares() {
                let mut bytes = Vec::new();
                out.first_leg(start, share).put(helm.table.here, &mut bytes).unwrap();
                first.push((share.clone(), bytes));
            }
        });
        first.into_iter().map(|(share, bytes)| self.copy(at, &share, bytes)).collect()
    }

    /// Publishes at a node, with a budget.
    fn publish(&mut self, at: NodeId, hop_budget: u8, count: u64) {
        let start = start(at, hop_budget, count);
        let copies =
            self.begin(at, &start, |helm, wanted, out| originate(helm, wanted, &start, out));
        self.run(copies);
    }

    /// Sends to one target, back over these if possible.
    fn send(&mut self, at: &str, target: Aimed, back: &[NodeId]) {
        let start = start(node(at), 9, 1);
        let targets = Targets { aimed: vec![target], ..Targets::default() };
        let copies = self.begin(node(at), &start, |helm, wanted, out| {
            send(helm, wanted, &start, &targets, back, out);
        });
        self.run(copies);
    }
}

fn start(at: NodeId, hop_budget: u8, count: u64) -> Start {
    let message = MessageId { origin: at, sequence: count };
    Start { message, messages: 1, flags: Flags::default(), hop_budget, deadline_ms: None }
}

/// What comes of one message published at `at`; a line each.
#[track_caller]
fn check(mut fabric: Fabric, at: &str, hop_budget: u8, want: &str) {
    fabric.publish(node(at), hop_budget, 1);
    check_log(&fabric, want);
}

#[track_caller]
fn check_log(fabric: &Fabric, want: &str) {
    let want: Vec<_> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(fabric.log, want);
}

#[test]
fn in_a_full_mesh_each_node_that_wants_it_gets_one_copy() {
    check(
        Fabric::new("a1-a2 a1-a3 a2-a3 a3-a4 a1-a4").want("a1 a2 a4"),
        "a1",
        9,
        "
            a1 gets it
            a1>a2 a2
            a1>a4 a4
            a4 gets it
            a2 gets it
        ",
    );
}

#[test]
fn one_copy_per_link_is_split_where_ways_part() {
    check(
        Fabric::new("a1-b1 b1-c1 b1-d1 b1-b2").want("b1 b2 c1 d1"),
        "a1",
        9,
        "
            a1>b1 b c d
            b1 gets it
            b1>b2 b2
            b1>c1 c
            b1>d1 d
            d1 gets it
            c1 gets it
            b2 gets it
        ",
    );
}

#[test]
fn where_not_all_nodes_are_linked_copies_are_relayed() {
    check(
        Fabric::new("a1-a2 a2-a3 a2-a4 a4-b1").want("a2 a3 a4 b1"),
        "a1",
        9,
        "
            a1>a2 b a2 a3 a4
            a2 gets it
            a2>a3 a3
            a2>a4 b a4
            a4 gets it
            a4>b1 b
            b1 gets it
            a3 gets it
        ",
    );
}

/// Each budget of a chain of five, as many links as the budget and none beyond.
#[test]
fn a_chain_flips_at_the_exact_budget() {
    let chain = Fabric::new("a1-b1 b1-c1 c1-d1 d1-e1").want("e1");
    let links = ["a1>b1 e", "b1>c1 e", "c1>d1 e", "d1>e1 e"];
    for budget in 0..=5 {
        let crossed = usize::from(budget).min(links.len());
        let end = match ["a1", "b1", "c1", "d1"].get(usize::from(budget)) {
            Some(last) => format!("{last} drops e: hop_budget_exhausted"),
            None => "e1 gets it".to_string(),
        };
        let want = [&links[..crossed], &[&end]].concat().join("\n");
        check(chain.clone(), "a1", budget, &want);
    }
}

#[test]
fn what_is_for_this_node_needs_no_budget() {
    let fabric = Fabric::new("a1-b1 b1-b2").want("b1 b2");
    check(
        fabric,
        "a1",
        1,
        "
            a1>b1 b
            b1 gets it
            b1 drops b2: hop_budget_exhausted
        ",
    );
}

/// A message that came along these nodes, for these targets.
fn came(path: &str, targets: &Targets, deadline_ms: Option<u32>) -> Vec<u8> {
    let names: Vec<_> = path.split_whitespace().collect();
    let (last, before) = names.split_last().unwrap();
    let nodes: Vec<_> = before.iter().map(|name| node(name).0.to_le_bytes()).collect();
    let mut clusters: Vec<_> = before.iter().map(|name| cluster(name).0.to_le_bytes()).collect();
    clusters.dedup();
    let trail = Trail { nodes: Ids::of(&nodes), clusters: Ids::of(&clusters) };
    let flags = Flags::default();
    let (messages, hop_budget) = (1, 9);
    let leg =
        Leg { sequence: 1, messages, flags, hop_budget, deadline_ms, trail, targets, back: &[] };
    let mut bytes = Vec::new();
    leg.put(Here { node: node(last), cluster: cluster(last) }, &mut bytes).unwrap();
    bytes.extend_from_slice(FRAMES);
    bytes
}

fn arrive(fabric: &mut Fabric, at: &str, bytes: &[u8], held_ms: u32) -> Option<u32> {
    let header = Header::parse(bytes).unwrap();
    let mut left = None;
    fabric.step(node(at), |helm, wanted, out| {
        forward(helm, wanted, &header, held_ms, out);
        left = out.deadline_ms;
    });
    left
}

fn everyone() -> Targets {
    let aim = Aim::Node(node("c1"));
    Targets {
        clusters: vec![cluster("b"), cluster("a")],
        nodes: vec![node("a2"), node("a1")],
        aimed: vec![Aimed { cluster: cluster("c"), aim }],
    }
}

#[test]
fn a_message_that_was_here_goes_no_further() {
    let want = "
        a1 drops b: loop_detected
        a1 drops a: loop_detected
        a1 drops a2: loop_detected
        a1 drops a1: loop_detected
        a1 drops c/c1: loop_detected
    ";
    for path in ["a1 b1", "b1 a1 a2", "a2 b1"] {
        let mut fabric = Fabric::new("a1-b1 b1-a2 a1-a2 a1-c1").want("a1 a2 b1");
        arrive(&mut fabric, "a1", &came(path, &everyone(), None), 0);
        check_log(&fabric, want);
    }
    let mut fabric = Fabric::new("a1-a2 a2-b1 a1-c1");
    let targets = Targets { nodes: vec![node("a1")], ..Targets::default() };
    arrive(&mut fabric, "a1", &came("b1 a2", &targets, None), 0);
    check_log(&fabric, "a1 gets it");
}

#[test]
fn a_deadline_shrinks_by_the_time_held_and_ends_it() {
    let mut fabric = Fabric::new("a1-b1").want("a1");
    let targets = Targets { nodes: vec![node("a1")], ..Targets::default() };
    let bytes = came("b1", &targets, Some(30));
    assert_eq!(arrive(&mut fabric, "a1", &bytes, 29), Some(1));
    check_log(&fabric, "a1 gets it");
    fabric.log.clear();
    arrive(&mut fabric, "a1", &bytes, 30);
    check_log(&fabric, "a1 drops a1: deadline_passed");
    fabric.log.clear();
    assert_eq!(arrive(&mut fabric, "a1", &came("b1", &targets, None), 1 << 31), None);
    check_log(&fabric, "a1 gets it");
}

#[test]
fn a_link_that_is_down_or_open_is_gone_round() {
    let square = Fabric::new("a1-b1 a1-d1 b1-c1 d1-c1").want("c1");
    let mut both = Vec::new();
    for away in ["b1", "d1"] {
        let mut fabric = square.clone();
        fabric.cut("a1", away);
        fabric.publish(node("a1"), 9, 1);
        both.push(fabric.log);
        let mut fabric = square.clone();
        fabric.circuits.insert([node("a1"), node(away)], Circuit::Open);
        fabric.publish(node("a1"), 9, 1);
        assert_eq!(Some(&fabric.log), both.last());
    }
    assert_eq!(both[0], ["a1>d1 c", "d1>c1 c", "c1 gets it"]);
    assert_eq!(both[1], ["a1>b1 c", "b1>c1 c", "c1 gets it"]);
}

#[test]
fn without_a_way_the_reason_is_told() {
    let chain = Fabric::new("a1-b1 b1-c1 x1-y1").want("c1");
    let mut down = chain.clone();
    down.cut("a1", "b1");
    check(down, "a1", 9, "a1 drops c: link_down");
    let mut open = chain.clone();
    open.circuits.insert([node("a1"), node("b1")], Circuit::Open);
    check(open, "a1", 9, "a1 drops c: link_open_circuit");
    check(chain.clone().want("x1"), "b1", 9, "b1 drops x: no_route\nb1>c1 c\nc1 gets it");
    let mut apart = Fabric::new("a1-a2 a3-b1").want("a3");
    apart.publish(node("a1"), 9, 1);
    check_log(&apart, "a1 drops a3: no_route");
}

#[test]
fn a_half_open_link_is_tried_by_few() {
    let mut fabric = Fabric::new("a1-b1").want("b1");
    fabric.circuits.insert([node("a1"), node("b1")], Circuit::HalfOpen);
    (0..1600).for_each(|count| fabric.publish(node("a1"), 9, count));
    let tried = fabric.log.iter().filter(|line| *line == "b1 gets it").count();
    assert!((70..130).contains(&tried), "{tried}");
    let kept = fabric.log.iter().filter(|line| *line == "a1 drops b: link_open_circuit").count();
    assert_eq!(tried + kept, 1600);
}

#[test]
fn a_group_has_one_receiver_near_before_far() {
    let fabric = Fabric::new("a1-a2 a1-b1 b1-b2 b1-c1");
    let all = fabric.clone().members("a1 a2 b1 b2");
    check(all, "a1", 9, "a1 gets it for the group");
    let near = fabric.clone().members("a2 b1");
    check(near, "a1", 9, "a1>a2 a/a2*\na2 gets it for the group");
    let far = fabric.clone().members("b2 c1");
    let want = "
        a1>b1 b/*
        b1>b2 b/b2*
        b2 gets it for the group
    ";
    check(far.clone(), "a1", 9, want);
    let mut cut_off = far;
    cut_off.cut("a1", "b1");
    cut_off.link(node("a1"), node("c1"));
    check(cut_off, "a1", 9, "a1>c1 c/*\nc1 gets it for the group");
    let mut refused = Fabric::new("a1-a2 b1-b2").members("a2 b1");
    refused.circuits.insert([node("a1"), node("a2")], Circuit::Open);
    check(refused, "a1", 9, "a1 drops a/a2*: link_open_circuit");
    let mut far = Fabric::new("a1-c1 b1-b2").members("b1 c1");
    far.circuits.insert([node("a1"), node("c1")], Circuit::Open);
    check(far, "a1", 9, "a1 drops c/*: link_open_circuit");
    let gone = fabric.members("b2");
    let emptied = Aimed { cluster: cluster("c"), aim: Aim::Group(GROUP) };
    let mut gone = gone;
    gone.send("a1", emptied, &[]);
    check_log(&gone, "a1>b1 c/*\nb1>c1 c/*\nc1 drops c/*: group_emptied");
}

#[test]
fn of_clusters_with_members_the_nearest_is_taken_and_all_that_are_as_near() {
    let fabric = Fabric::new("a1-e1 e1-b1 a1-c1 a1-d1").members("b1 c1 d1");
    let mut taken = BTreeMap::new();
    for count in 0..2000 {
        let mut fabric = fabric.clone();
        fabric.publish(node("a1"), 9, count);
        *taken.entry(fabric.log.pop().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(taken.len(), 2, "{taken:?}");
    let by = |name: &str| taken[&format!("{name} gets it for the group")];
    assert!((900..1100).contains(&by("c1")) && by("c1") + by("d1") == 2000, "{taken:?}");
}

#[test]
fn members_of_a_group_elsewhere_are_drawn_evenly_and_the_same_on_any_way() {
    let mut fabric = Fabric::new("a1-b1 a1-b2 b1-b2 b1-b3 b2-b3").members("b1 b2 b3");
    fabric.members.insert(node("b3"), 2);
    let mut other_way = fabric.clone();
    other_way.cut("a1", "b1");
    (0..4000).for_each(|count| fabric.publish(node("a1"), 9, count));
    (0..4000).for_each(|count| other_way.publish(node("a1"), 9, count));
    let receivers = |fabric: &Fabric| {
        let lines =
            fabric.log.iter().filter_map(|line| line.strip_suffix(" gets it for the group"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    let chosen = receivers(&fabric);
    let count = |name| chosen.iter().filter(|chosen| *chosen == name).count();
    assert_eq!(chosen.len(), 4000);
    assert!((900..1100).contains(&count("b1")) && (1900..2100).contains(&count("b3")));
    assert_eq!(chosen, receivers(&other_way));
}

#[test]
fn what_nobody_in_a_cluster_wants_any_more_is_counted() {
    let mut fabric = Fabric::new("a1-b1");
    let targets = Targets { clusters: vec![cluster("b"); 2], ..Targets::default() };
    arrive(&mut fabric, "b1", &came("a1", &targets, None), 0);
    check_log(&fabric, "b1 drops b: unwanted");
}

#[test]
fn a_cluster_named_twice_gets_one_copy() {
    let mut fabric = Fabric::new("a1-b1 b1-b2").want("b1 b2");
    let targets = Targets { clusters: vec![cluster("b"); 2], ..Targets::default() };
    let bytes = came("a1", &targets, None);
    let (from, to) = (node("a1"), node("b1"));
    fabric.run(vec![Copy { from, to, bytes }]);
    check_log(&fabric, "b1 gets it\nb1>b2 b2\nb2 gets it");
}

/// The diamond: what is asked through B is answered through B, or through D once B is gone.
#[test]
fn a_reply_takes_the_way_its_request_came_and_goes_round_what_is_gone() {
    let diamond = Fabric::new("a1-b1 a1-d1 b1-c1 d1-c1");
    let caller = Aimed { cluster: cluster("a"), aim: Aim::Node(node("a1")) };
    for by in ["b1", "d1"] {
        let mut fabric = diamond.clone();
        fabric.send("c1", caller, &[node(by), node("a1")]);
        let want = format!("c1>{by} a/a1\n{by}>a1 a/a1\na1 gets it");
        check_log(&fabric, &want);
    }
    let mut fabric = diamond.clone();
    fabric.cut("b1", "c1");
    fabric.send("c1", caller, &[node("b1"), node("a1")]);
    check_log(&fabric, "c1>d1 a/a1\nd1>a1 a/a1\na1 gets it");
    // The next but one is linked as well.
    let mut fabric = Fabric::new("a1-b1 b1-c1 a1-c1 c1-e1 e1-a1");
    fabric.cut("b1", "c1");
    fabric.send("c1", caller, &[node("b1"), node("a1")]);
    check_log(&fabric, "c1>a1 a/a1\na1 gets it");
}

#[test]
fn a_way_back_does_not_lead_out_of_the_cluster_of_the_target() {
    let mut fabric = Fabric::new("a1-a2 a1-b1 b1-a2");
    let near = Aimed { cluster: cluster("a"), aim: Aim::Node(node("a2")) };
    fabric.send("a1", near, &[node("b1"), node("a2")]);
    check_log(&fabric, "a1>a2 a2\na2 gets it");
}

#[test]
fn more_targets_than_a_header_holds_go_in_several_copies() {
    let mut fabric = Fabric::new("a1-a2");
    let count = HOP_NODES_MAX + 1;
    let names: Vec<_> = (0..count).map(|n| NodeId(node("a").0 << 64 | n as u128)).collect();
    names.iter().for_each(|&name| fabric.link(node("a2"), name));
    fabric.wants.extend(names);
    let start = start(node("a1"), 9, 1);
    let copies =
        fabric.begin(node("a1"), &start, |helm, wanted, out| originate(helm, wanted, &start, out));
    let headers = copies.iter().map(|copy| Header::parse(&copy.bytes).unwrap());
    let counts: Vec<_> = headers.map(|header| header.nodes.len()).collect();
    assert_eq!(counts, [HOP_NODES_MAX, 1]);
}

#[test]
fn a_path_at_its_bound_is_a_budget_used_up() {
    let mut fabric = Fabric::new("a1-a2").want("a2");
    let path: Vec<_> = (0..HOP_PATH_MAX).map(|n| format!("b{n}")).collect();
    let targets = Targets { clusters: vec![cluster("a")], ..Targets::default() };
    arrive(&mut fabric, "a1", &came(&path.join(" "), &targets, None), 0);
    check_log(&fabric, "a1 drops a2: hop_budget_exhausted");
}

#[test]
fn a_message_enters_where_its_cluster_or_a_group_of_it_is_named() {
    let aimed = |aim| Aimed { cluster: cluster("a"), aim };
    let member = Aim::Member { node: node("a1"), group: GROUP };
    let table = [
        (Targets { clusters: vec![cluster("a")], ..Targets::default() }, true),
        (Targets { aimed: vec![aimed(Aim::Group(GROUP))], ..Targets::default() }, true),
        (Targets { aimed: vec![aimed(member)], ..Targets::default() }, false),
        (Targets { aimed: vec![aimed(Aim::Node(node("a1")))], ..Targets::default() }, false),
        (Targets { clusters: vec![cluster("c")], nodes: vec![node("a1")], aimed: vec![] }, false),
    ];
    let here = Here { node: node("a1"), cluster: cluster("a") };
    let view = Table { here, clusters: &[], nodes: &[], links: &[] };
    for (targets, want) in table {
        let bytes = came("b1", &targets, None);
        assert_eq!(enters(&view, &Header::parse(&bytes).unwrap()), want, "{targets:?}");
    }
}

/// Links of up to 5 clusters of up to 4 nodes, not all of which are joined.
fn random_fabric(seed: u64) -> Fabric {
    let mut rng = Rng::from_seed(seed);
    let names: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .flat_map(|cluster| (0..=rng.below(4)).map(move |n| format!("{cluster}{n}")))
        .collect();
    let mut fabric = Fabric::default();
    for one in &names {
        for other in &names {
            let odds = if one[..1] == other[..1] { 2 } else { 9 };
            if one < other && rng.below(odds) == 0 {
                fabric.link(node(one), node(other));
            }
        }
    }
    let nodes: Vec<_> = fabric.nodes().into_iter().collect();
    fabric.wants = nodes.iter().copied().filter(|_| rng.below(2) == 0).collect();
    fabric.members = nodes.iter().map(|&id| (id, rng.below(3))).collect();
    fabric
}

proptest! {
    /// Whoever wants it gets it once or is among the dropped; no link carries it twice; nothing is
    /// dropped but what a cluster in pieces cannot reach.
    #[test]
    fn every_target_ends_in_one_place(seed: u64, from: prop::sample::Index, count in 0..1_u64 << 48) {
        let mut fabric = random_fabric(seed);
        let nodes: Vec<_> = fabric.nodes().into_iter().collect();
        prop_assume!(!nodes.is_empty());
        let at = nodes[from.index(nodes.len())];
        fabric.publish(at, 64, count);
        let log = &fabric.log;
        let mut ends = BTreeMap::<_, usize>::new();
        for line in log {
            *ends.entry(line).or_default() += 1;
        }
        prop_assert!(ends.values().all(|&count| count == 1), "{log:#?}");
        let links: Vec<_> = log.iter().filter_map(|line| line.split_once(' '))
            .filter(|(link, _)| link.contains('>')).map(|(link, _)| link).collect();
        prop_assert_eq!(links.iter().collect::<BTreeSet<_>>().len(), links.len(), "{:#?}", log);
        let is_whole = |id: NodeId| {
            let inside = fabric.links.iter().filter(|link| link.map(cluster_of) == [cluster_of(id); 2]);
            let hops = Fabric::hops(id, &inside.copied().collect());
            nodes.iter().all(|&n| cluster_of(n) != cluster_of(id) || hops.contains_key(&n))
        };
        let groups = log.iter().filter(|line| line.ends_with("for the group")).count();
        prop_assert!(groups <= 1, "{log:#?}");
        if nodes.iter().all(|&id| is_whole(id)) {
            let pairs = fabric.links.iter().map(|link| link.map(cluster_of)).collect();
            let reached = Fabric::hops(cluster_of(at), &pairs);
            for &id in &fabric.wants {
                let has = log.contains(&format!("{} gets it", word(id.0)));
                prop_assert_eq!(has, reached.contains_key(&cluster_of(id)), "{:#?}", log);
            }
            let has_member = |(id, count): (&NodeId, &u32)| {
                0 < *count && reached.contains_key(&cluster_of(*id))
            };
            let can = fabric.members.iter().any(has_member);
            let is_due = |line: &&String| {
                line.ends_with("no_route") || !can && line.ends_with("group_emptied")
            };
            let mut drops = log.iter().filter(|line| line.contains(" drops "));
            prop_assert_eq!(drops.find(|line| !is_due(line)), None, "{:#?}", log);
            prop_assert_eq!(groups == 1, can, "{:#?}", log);
        }
    }
}
