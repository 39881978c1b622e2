//! Ways that flows keep to: what a shard asks, where its table changes while messages are under way.
//!
//! ```text
//!   the best exit is another --> the flow paused for FLOW_PAUSE, or FLOW_KEPT_MAX is over --> taken
//!                            --> else: the exit taken last, if it still can be taken
//! ```
//!
//! Were a better way taken at once, its first messages would overtake the last ones on the way before.
//! Between two flowlets there is nothing to overtake (Sinha, Kandula, Katabi: "Harnessing TCP's burstiness
//! with flowlet switching", `HotNets` 2004). A way that is gone, forbidden or broken is left at once, and
//! a flow that never pauses may be overtaken once by a way that is better.
//!
//! Invariants:
//! - What is taken is an exit of the table as it is now.
//! - Messages that try a half-open circuit are kept from nothing, and change nothing.
//! - A flow whose slot another is using takes the best.

use alloc::vec;
use alloc::vec::Vec;

use mpreg_proto::hop::Reason;
use mpreg_proto::id::{ClusterId, NodeId};

use super::{Exit, Flow, Table, Ways, find};
use crate::breaker::Circuit;
use crate::graph::affinity;
use crate::limits::{FLOW_KEPT_MAX, FLOW_PAUSE};
use crate::time::Instant;

/// What flows took last.
#[derive(Debug)]
pub struct Flowlets {
    slots: Vec<Slot>,
}

/// Of one flow to one destination.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    taken: NodeId,
    last_at: Instant,
    /// When what is taken was the best.
    best_at: Instant,
}

impl Flowlets {
    /// For so many flows at a time.
    pub fn new(flows_count: usize) -> Self {
        let (key, taken, never) = (0, NodeId(0), Instant::START);
        Self { slots: vec![Slot { key, taken, last_at: never, best_at: never }; flows_count] }
    }

    /// The exit for a message of this flow, sent now. `open` finds an exit by its node, if a
    /// message can be sent through it.
    fn steer(
        &mut self,
        key: u64,
        best: (Exit, NodeId),
        open: impl FnOnce(NodeId) -> Option<(Exit, NodeId)>,
        now: Instant,
    ) -> (Exit, NodeId) {
        let at = key as usize % self.slots.len();
        let slot = &mut self.slots[at];
        let is_used = now < slot.last_at + FLOW_PAUSE;
        if slot.key == key && is_used && slot.taken != best.0.node {
            let kept = if now < slot.best_at + FLOW_KEPT_MAX { open(slot.taken) } else { None };
            if let Some(kept) = kept {
                slot.last_at = now;
                return kept;
            }
        }
        if slot.key == key || !is_used {
            *slot = Slot { key, taken: best.0.node, last_at: now, best_at: now };
        }
        best
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
        let ways = find(table.clusters, to).ok_or(Reason::NoRoute)?;
        self.steer(ways, to.0, flow, |exit| table.through(exit, flow))
    }

    /// The next node on the way of a message to another node of this cluster.
    pub fn to_node(&mut self, to: NodeId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        let Self { table, .. } = *self;
        match find(table.nodes, to) {
            Some(ways) => {
                let next = self.steer(ways, to.0, flow, |exit| table.link(exit.node, flow));
                next.or_else(|_| table.to_node(to, flow))
            }
            None => table.to_node(to, flow),
        }
    }

    fn steer<T>(
        &mut self,
        ways: &Ways<T>,
        to: u128,
        flow: &Flow<'_>,
        try_exit: impl Fn(Exit) -> Result<NodeId, Reason>,
    ) -> Result<NodeId, Reason> {
        let best = ways.choose(flow, &try_exit)?;
        let peer = self.table.peer(best.1);
        if peer.is_some_and(|link| link.circuit == Circuit::HalfOpen) {
            return Ok(best.1);
        }
        let open = |node| {
            let exit = ways.exits.iter().find(|exit| exit.node == node)?;
            Some((*exit, try_exit(*exit).ok()?))
        };
        Ok(self.flowlets.steer(affinity(flow.flow, to), best, open, self.now).1)
    }
}

#[cfg(test)]
mod tests;
