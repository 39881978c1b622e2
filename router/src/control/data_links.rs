//! Which data links there are to be: one of each shard of this node to each node that is sent to.
//!
//! ```text
//!   node in view --> DUE --dial--> DIALLING --handed to its shard--> SERVED --shard lost it--+
//!                     ^               |                                                      |
//!                     +--- back-off --+------------------------------------------------------+
//! ```
//!
//! A node that leaves the view is forgotten: its shards close what they have to it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{NodeId, ShardIx};

/// The first wait after a failure, doubled after each, and the longest.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A link that was served for so long starts the waits over.
const SETTLED: Duration = Duration::from_secs(5);

pub(super) struct DataLinks {
    shards: Vec<ShardIx>,
    slots: BTreeMap<(NodeId, ShardIx), Slot>,
    rng: Rng,
}

struct Slot {
    failures: u32,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Due { at: Instant },
    Dialling,
    Served { since: Instant },
}

impl DataLinks {
    pub(super) fn new(shards_count: usize, rng: Rng) -> Self {
        let shards = (0..shards_count).filter_map(ShardIx::new).collect();
        Self { shards, slots: BTreeMap::new(), rng }
    }

    /// These nodes are sent to from here on, no others.
    pub(super) fn follow(&mut self, nodes: &BTreeSet<NodeId>, now: Instant) {
        self.slots.retain(|(node, _), _| nodes.contains(node));
        for &node in nodes {
            for &shard in &self.shards {
                let slot = Slot { failures: 0, state: State::Due { at: now } };
                self.slots.entry((node, shard)).or_insert(slot);
            }
        }
    }

    /// Links to be dialled, which are then being dialled.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(NodeId, ShardIx)> {
        let mut due = Vec::new();
        for (&key, slot) in &mut self.slots {
            if matches!(slot.state, State::Due { at } if at <= now) {
                slot.state = State::Dialling;
                due.push(key);
            }
        }
        due
    }

    pub(super) fn deadline(&self) -> Instant {
        let dues = self.slots.values().filter_map(|slot| match slot.state {
            State::Due { at } => Some(at),
            State::Dialling | State::Served { .. } => None,
        });
        dues.min().unwrap_or(Instant::NEVER)
    }

    pub(super) fn served(&mut self, node: NodeId, shard: ShardIx, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&(node, shard)) {
            slot.state = State::Served { since: now };
        }
    }

    /// A dial came to nothing, or the shard has lost its link.
    pub(super) fn lost(&mut self, node: NodeId, shard: ShardIx, now: Instant) {
        let Some(slot) = self.slots.get_mut(&(node, shard)) else { return };
        match slot.state {
            // Of a link that was forgotten meanwhile.
            State::Due { .. } => return,
            State::Served { since } if SETTLED <= now.since(since) => slot.failures = 0,
            State::Dialling | State::Served { .. } => (),
        }
        let whole = BACKOFF.saturating_mul(1 << slot.failures.min(16)).min(BACKOFF_MAX);
        let half_us = u32::try_from(whole.as_micros() / 2).expect("half a wait is seconds at most");
        let wait = whole / 2 + Duration::from_micros(u64::from(self.rng.below(half_us)));
        slot.failures = slot.failures.saturating_add(1);
        slot.state = State::Due { at: now + wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    #[test]
    fn each_shard_has_one_to_each_node_and_dials_again_later_and_later() {
        let mut links = DataLinks::new(2, Rng::from_seed(1));
        let [zero, one] = [0, 1].map(|index| ShardIx::new(index).unwrap());
        let (near, far) = (NodeId(1), NodeId(2));
        links.follow(&BTreeSet::from([near, far]), ms(0));
        assert_eq!(links.due(ms(0)), [(near, zero), (near, one), (far, zero), (far, one)]);
        assert_eq!((links.due(ms(0)).len(), links.deadline()), (0, Instant::NEVER));
        links.served(near, zero, ms(0));
        links.lost(near, one, ms(0));
        assert_eq!(links.due(ms(50)), [(near, one)]);
        links.lost(near, one, ms(50));
        assert!(ms(100) <= links.deadline() && links.deadline() <= ms(150));
        links.lost(near, zero, ms(10_000));
        assert_eq!(links.due(ms(10_000)), [(near, one)], "it was dialled again long ago");
        assert_eq!(links.due(ms(10_050)), [(near, zero)], "its waits start over");
        links.follow(&BTreeSet::from([far]), ms(20_000));
        links.lost(near, zero, ms(20_000));
        assert_eq!(links.deadline(), Instant::NEVER);
        links.follow(&BTreeSet::from([near, far]), ms(20_000));
        assert_eq!(links.due(ms(20_000)), [(near, zero), (near, one)]);
    }
}
