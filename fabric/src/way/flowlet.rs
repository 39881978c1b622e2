//! Ways that flows keep to: what a shard asks, where its table changes while messages are under way.
//!
//! ```text
//!   another node is next --> the flow paused long enough, or FLOW_KEPT_MAX is over --> taken
//!                        --> else: the one taken last, if it still leads there
//! ```
//!
//! Were a better way taken at once, its first messages would overtake the last ones on the way before.
//! Between two flowlets there is nothing to overtake (Sinha, Kandula, Katabi: "Harnessing TCP's burstiness
//! with flowlet switching", `HotNets` 2004). A pause of [`FLOW_PAUSE`] is long enough, and half as long for
//! each [`FLOW_PATIENCE`] that none came, so that a flow changes in the best pause it has. A way that is
//! gone, forbidden or broken is left at once.
//!
//! Invariants:
//! - What is taken leads there by the table as it is now: through an exit of it, or over a linked node of
//!   this cluster.
//! - Messages that try a half-open circuit are kept from nothing, and change nothing.
//! - A flow whose slot another is using takes the best.

use alloc::vec;
use alloc::vec::Vec;

use mpreg_proto::hop::Reason;
use mpreg_proto::id::{ClusterId, NodeId};

use super::{Exit, Flow, Link, Table, find};
use crate::breaker::Circuit;
use crate::graph::affinity;
use crate::limits::{FLOW_KEPT_MAX, FLOW_PATIENCE, FLOW_PAUSE};
use crate::time::Instant;

/// What flows took last.
#[derive(Debug)]
pub struct Flowlets {
    slots: Vec<Option<Slot>>,
}

/// Of one flow to one destination.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    taken: NodeId,
    last_at: Instant,
    /// When that was the best.
    best_at: Instant,
}

impl Flowlets {
    /// For so many flows at a time.
    pub fn new(flows_count: usize) -> Self {
        Self { slots: vec![None; flows_count] }
    }

    /// Where a message of this flow goes, sent now. `is_open` says whether it still may go where the
    /// last one went.
    fn steer(
        &mut self,
        key: u64,
        best: NodeId,
        is_open: impl FnOnce(NodeId) -> bool,
        now: Instant,
    ) -> NodeId {
        let at = key as usize % self.slots.len();
        let fresh = Slot { key, taken: best, last_at: now, best_at: now };
        let slot = self.slots[at].get_or_insert(fresh);
        if slot.key == key && slot.stays(best, now) && is_open(slot.taken) {
            slot.last_at = now;
            return slot.taken;
        }
        if slot.key == key || slot.last_at + FLOW_PAUSE <= now {
            *slot = fresh;
        }
        best
    }
}

impl Slot {
    /// Whether the message sent now goes where the last one went, though another node is the best.
    fn stays(&self, best: NodeId, now: Instant) -> bool {
        let kept = now.since(self.best_at);
        let halved = (kept.as_nanos() / FLOW_PATIENCE.as_nanos()) as u32;
        let pause = FLOW_PAUSE / 1_u32.checked_shl(halved).unwrap_or(u32::MAX);
        self.taken != best && kept < FLOW_KEPT_MAX && now < self.last_at + pause
    }
}

/// A table, and what flows took of it until now.
#[derive(Debug)]
pub struct Helm<'a> {
    pub table: Table<'a>,
    pub flowlets: &'a mut Flowlets,
    pub now: Instant,
}

impl Helm<'_> {
    /// The next node on the way of a message to another cluster.
    pub fn to_cluster(&mut self, to: ClusterId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        let Self { table, .. } = *self;
        let best = table.to_cluster(to, flow)?;
        let exits = find(table.clusters, to).map_or(&[][..], |ways| &ways.exits);
        let leads = |next, exit: &Exit| {
            let is_mine = exit.cluster == table.here.cluster;
            table.through(*exit, flow) == Ok(next) || is_mine && table.relays(next, flow)
        };
        Ok(self.steer(to.0, flow, best, |next| exits.iter().any(|exit| leads(next, exit))))
    }

    /// The next node on the way of a message to another node of this cluster.
    pub fn to_node(&mut self, to: NodeId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        let Self { table, .. } = *self;
        let best = table.to_node(to, flow)?;
        Ok(self.steer(to.0, flow, best, |next| table.relays(next, flow)))
    }

    fn steer(
        &mut self,
        to: u128,
        flow: &Flow<'_>,
        best: NodeId,
        is_open: impl FnOnce(NodeId) -> bool,
    ) -> NodeId {
        let link = self.table.peer(best);
        if link.is_some_and(|link| link.circuit == Circuit::HalfOpen) {
            return best;
        }
        self.flowlets.steer(affinity(flow.flow, to), best, is_open, self.now)
    }
}

impl Table<'_> {
    /// Whether a node of this cluster can be sent what is for another, or leaves by another: it knows
    /// the ways of this cluster as well.
    fn relays(&self, node: NodeId, flow: &Flow<'_>) -> bool {
        let is_mate =
            |link: &Link| link.cluster == self.here.cluster && link.circuit == Circuit::Closed;
        self.peer(node).is_some_and(is_mate) && self.link(node, flow).is_ok()
    }
}

#[cfg(test)]
mod tests;
