//! What nodes say to each other: lost, doubled, late, and encoded as on the wire.

use std::time::Duration;

use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::call::{Input, Value};
use mpreg_fabric::hop::ReplyWay;
use mpreg_fabric::way::{Exit, Link, Table, Ways};
use mpreg_proto::call::{Dropped, Message};
use mpreg_proto::hop::{Here, Reason};
use mpreg_proto::id::{ClusterId, NodeId};

use super::check;
use super::{MS, Net, Pending};

/// Of the first cluster.
const FIRST: usize = 3;

/// A node between two that drops messages, and is in no list.
const BETWEEN: NodeId = NodeId(99);

pub(super) fn here(node: usize) -> Here {
    let cluster = ClusterId(if node < FIRST { 1 } else { 2 });
    Here { node: NodeId(node as u128 + 1), cluster }
}

pub(super) fn place_of(node: NodeId) -> usize {
    node.0 as usize - 1
}

/// With the ways of a node that is linked with these.
pub(super) fn with_table<R>(node: usize, up: &[usize], look: impl FnOnce(&Table<'_>) -> R) -> R {
    let me = here(node);
    let link = |&other: &usize| {
        let Here { node: peer, cluster } = here(other);
        Link { peer, cluster, circuit: Circuit::Closed }
    };
    let links: Vec<Link> = up.iter().map(link).collect();
    let abroad = links.iter().filter(|link| link.cluster != me.cluster);
    let exits: Vec<Exit> =
        abroad.map(|link| Exit { node: link.peer, cluster: link.cluster }).collect();
    let to = ClusterId(3 - me.cluster.0);
    let clusters = match exits.is_empty() {
        true => vec![],
        false => vec![Ways { to, exits, equal_count: 1, distance: 1 }],
    };
    look(&Table { here: me, clusters: &clusters, nodes: &[], links: &links })
}

impl Net {
    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        let until = self.cuts.get(&(one.min(other), one.max(other)));
        until.is_some_and(|until| self.now < *until)
    }

    /// What the sender is to be told at once.
    pub(super) fn send(
        &mut self,
        from: usize,
        to: usize,
        (message, value): (Message, Value),
        left: Duration,
    ) -> Option<Input> {
        if self.is_cut(from, to) || self.chance(self.plan.loss) {
            return self.lose(from, message, left);
        }
        let way = self.way(from, to);
        if self.chance(self.plan.doubles) {
            self.deliver(to, way.clone(), (message.clone(), value.clone()), left);
        }
        self.deliver(to, way, (message, value), left);
        None
    }

    /// Lost without a word, or known not to have left, or dropped by a node between that says so.
    fn lose(&mut self, from: usize, message: Message, left: Duration) -> Option<Input> {
        let reason = Reason::LinkDown;
        match (self.rng.below(3), message.ask()) {
            (0, _) => return Some(Input::NotSent { message, reason }),
            (1, Some(ask)) => {
                let (call, attempt) = (ask.call, ask.attempt);
                let path = vec![here(from).node, BETWEEN];
                let dropped = Message::Dropped(Dropped { call, attempt, reason, path }.into());
                let way = ReplyWay { origin: BETWEEN, cluster: ClusterId(1), back: vec![BETWEEN] };
                self.deliver(from, way, (dropped, Value::default()), left);
            }
            (_, _) => (),
        }
        None
    }

    fn deliver(
        &mut self,
        to: usize,
        from: ReplyWay,
        (message, value): (Message, Value),
        left: Duration,
    ) {
        let verdict = check::reads_back(&message);
        self.note(verdict);
        let after = if self.chance(self.plan.late) { 2000 } else { 20 };
        let after = (1 + self.rng.below(after)) * MS;
        let clusters = self.clusters_of(&from, to, (&message, &value));
        self.later(Pending::Message { to, from, clusters, message, value, left }, after);
    }
}
