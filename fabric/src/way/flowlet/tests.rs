//! When a flow changes its way, and when it does not.

use core::time::Duration;

use mpreg_proto::hop::{Here, MessageId, Trail};

use super::super::Ways;
use super::*;

const FLOWS: usize = 256;

const FAR: ClusterId = ClusterId(90);

fn exits(nodes: &[u128]) -> [Ways<ClusterId>; 1] {
    let exit = |&node: &u128| Exit { node: NodeId(node), cluster: ClusterId(node) };
    let exits = nodes.iter().map(exit).collect();
    [Ways { to: FAR, exits, equal_count: 1, distance: 1 }]
}

/// A shard that is linked with 21, 22 and 23.
struct Shard {
    flowlets: Flowlets,
    circuits: [Circuit; 3],
    now: Instant,
    count: u64,
}

impl Shard {
    fn new() -> Self {
        let now = Instant::START;
        Self { flowlets: Flowlets::new(FLOWS), circuits: [Circuit::Closed; 3], now, count: 0 }
    }

    /// Where the next message of a stream goes, so long after the one before, with these exits.
    fn send(&mut self, stream: u64, after: Duration, nodes: &[u128]) -> u128 {
        self.now = self.now + after;
        self.count += 1;
        let link = |(at, &circuit): (usize, &Circuit)| {
            let node = 21 + at as u128;
            Link { peer: NodeId(node), cluster: ClusterId(node), circuit }
        };
        let links: Vec<_> = self.circuits.iter().enumerate().map(link).collect();
        let here = Here { node: NodeId(1), cluster: ClusterId(10) };
        let table = Table { here, clusters: &exits(nodes), nodes: &[], links: &links };
        let message = MessageId { origin: NodeId(7), sequence: stream << 48 | self.count };
        let flow = Flow::of(message, Trail::default());
        let mut helm = Helm { table, flowlets: &mut self.flowlets, now: self.now };
        helm.to_cluster(FAR, &flow).unwrap().0
    }
}

const SOON: Duration = Duration::from_millis(1);

#[test]
fn a_better_way_is_taken_after_a_pause() {
    let mut shard = Shard::new();
    assert_eq!(shard.send(1, SOON, &[21, 22]), 21);
    assert_eq!(shard.send(1, SOON, &[22, 21]), 21, "21 still leads there");
    assert_eq!(shard.send(1, FLOW_PAUSE - SOON, &[22, 21]), 21);
    assert_eq!(shard.send(2, SOON, &[22, 21]), 22, "another flow begins");
    assert_eq!(shard.send(1, FLOW_PAUSE, &[22, 21]), 22);
    assert_eq!(shard.send(1, SOON, &[21, 22]), 22);
}

/// How long a flow with a message so often stays.
fn kept(every: Duration) -> Duration {
    let mut shard = Shard::new();
    assert_eq!(shard.send(1, SOON, &[21, 22]), 21);
    let mut kept = Duration::ZERO;
    while shard.send(1, every, &[22, 21]) == 21 {
        kept += every;
        assert!(kept <= FLOW_KEPT_MAX);
    }
    assert_eq!(shard.send(1, every, &[22, 21]), 22);
    kept + every
}

#[test]
fn a_flow_changes_in_the_best_pause_it_has_and_at_last_without() {
    assert_eq!(kept(FLOW_PAUSE / 2), FLOW_PATIENCE);
    assert_eq!(kept(FLOW_PAUSE / 4), FLOW_PATIENCE * 2);
    assert_eq!(kept(Duration::from_millis(1)), FLOW_PATIENCE * 10);
    assert_eq!(kept(Duration::from_micros(20)), FLOW_KEPT_MAX);
}

#[test]
fn a_way_that_is_gone_or_broken_is_left_at_once() {
    let mut shard = Shard::new();
    assert_eq!(shard.send(1, SOON, &[21, 22]), 21);
    assert_eq!(shard.send(1, SOON, &[22, 23]), 22, "21 is no longer offered");
    assert_eq!(shard.send(1, SOON, &[21, 22]), 22);
    shard.circuits[1] = Circuit::Open;
    assert_eq!(shard.send(1, SOON, &[21, 22]), 21, "22 is broken");
    shard.circuits[1] = Circuit::Closed;
    assert_eq!(shard.send(1, SOON, &[22, 21]), 21);
}

#[test]
fn a_half_open_circuit_is_tried_whatever_is_kept() {
    let mut shard = Shard::new();
    shard.circuits[0] = Circuit::Open;
    assert_eq!(shard.send(1, SOON, &[21, 22]), 22);
    shard.circuits[0] = Circuit::HalfOpen;
    let sent: Vec<_> = (0..1000).map(|_| shard.send(1, SOON / 10, &[21, 22])).collect();
    let tries = sent.iter().filter(|&&to| to == 21).count();
    assert!((20..200).contains(&tries), "{tries}");
    shard.circuits[0] = Circuit::Closed;
    assert_eq!(shard.send(1, SOON, &[21, 22]), 22, "a trial is no flow");
}

#[test]
fn flows_beyond_the_slots_take_the_best() {
    let mut shard = Shard::new();
    let streams = 0..4 * FLOWS as u64;
    for stream in streams.clone() {
        assert_eq!(shard.send(stream, Duration::ZERO, &[21, 22]), 21);
    }
    let kept = streams.filter(|&stream| shard.send(stream, Duration::ZERO, &[22, 21]) == 21);
    let kept = kept.count();
    assert!((FLOWS / 2..=FLOWS).contains(&kept), "{kept}");
}

#[test]
fn a_flow_stays_with_the_node_that_relays_it_once_there_is_a_link() {
    let here = Here { node: NodeId(1), cluster: ClusterId(10) };
    let link = |node| Link { peer: NodeId(node), cluster: ClusterId(10), circuit: Circuit::Closed };
    let exit = Exit { node: NodeId(2), cluster: ClusterId(10) };
    let clusters = [Ways { to: FAR, exits: vec![exit], equal_count: 1, distance: 1 }];
    let relay = Exit { node: NodeId(3), cluster: ClusterId(10) };
    let nodes = [Ways { to: NodeId(2), exits: vec![relay], equal_count: 1, distance: 2 }];
    let (alone, both) = ([link(3)], [link(2), link(3)]);
    let before = Table { here, clusters: &clusters, nodes: &nodes, links: &alone };
    let after = Table { nodes: &[], links: &both, ..before };
    let without = Table { links: &both[..1], ..after };

    let mut flowlets = Flowlets::new(FLOWS);
    let message = MessageId { origin: NodeId(7), sequence: 1 };
    let flow = Flow::of(message, Trail::default());
    let mut now = Instant::START;
    let mut next = |table, after| {
        now = now + after;
        let mut helm = Helm { table, flowlets: &mut flowlets, now };
        let next = [helm.to_node(NodeId(2), &flow), helm.to_cluster(FAR, &flow)];
        next.map(|next| next.unwrap().0)
    };
    assert_eq!(next(before, SOON), [3, 3]);
    assert_eq!(next(after, SOON), [3, 3]);
    assert_eq!(next(after, FLOW_PAUSE), [2, 2]);
    assert_eq!(next(before, SOON), [3, 3], "the link is gone");
    assert_eq!(next(without, SOON), [2, 2], "and now the node that relayed is");
}
