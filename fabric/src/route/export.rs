//! What one neighbouring node was told, and what it is to be told next and when.
//!
//! An update that changes a route waits until a pace has gone by since the last one of that route to
//! that neighbour, so the first goes at once and a run of them is one. That something is gone never
//! waits.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::ClusterId;
use mpreg_proto::route::{ChainDigest, Metrics, Relation};

use crate::time::Instant;

/// What an announcement says, apart from its version and how long it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Of the chain that is extended.
    pub(super) digest: ChainDigest,
    pub(super) metrics: Metrics,
    pub(super) relation: Relation,
    /// For the own cluster, how often it was announced.
    pub(super) refresh: u64,
    /// Of the key it is signed with: with another one everything is said again.
    pub(super) key_serial: u64,
}

#[derive(Debug)]
pub(super) struct Out {
    pub(super) cluster: ClusterId,
    told: BTreeMap<ClusterId, Told>,
    due: BTreeMap<ClusterId, Instant>,
}

#[derive(Debug)]
struct Told {
    /// `None`: that there is no way.
    content: Option<Content>,
    at: Instant,
    /// It may not have arrived.
    is_doubtful: bool,
}

/// When something is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    AtOnce,
    /// Not before this has gone by since the last time.
    Paced(Duration),
}

/// What to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Nothing,
    Announce(Content),
    Withdraw,
}

impl Out {
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self { cluster, told: BTreeMap::new(), due: BTreeMap::new() }
    }

    /// Something about a destination changed.
    pub(super) fn mark(&mut self, destination: ClusterId, haste: Haste, now: Instant) {
        let at = match (haste, self.told.get(&destination)) {
            (Haste::Paced(pace), Some(told)) => now.max(told.at + pace),
            (Haste::Paced(_), None) | (Haste::AtOnce, _) => now,
        };
        self.due.entry(destination).and_modify(|due| *due = at.min(*due)).or_insert(at);
    }

    /// A message was lost on the way out: everything is said again.
    pub(super) fn doubt(&mut self, pace: Duration, now: Instant) {
        for (destination, told) in &mut self.told {
            told.is_doubtful = true;
            self.due.entry(*destination).or_insert(now + pace);
        }
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ClusterId> {
        let mut taken = Vec::new();
        self.due.retain(|destination, at| {
            let is_due = *at <= now;
            if is_due {
                taken.push(*destination);
            }
            !is_due
        });
        taken
    }

    pub(super) fn next_due(&self) -> Instant {
        self.due.values().copied().min().unwrap_or(Instant::NEVER)
    }

    /// What is to be said, given what holds.
    pub(super) fn say(&self, destination: ClusterId, content: Option<Content>) -> Say {
        let told = self.told.get(&destination);
        let is_known = match told {
            Some(told) => !told.is_doubtful && told.content == content,
            None => content.is_none(),
        };
        match content {
            _ if is_known => Say::Nothing,
            Some(content) => Say::Announce(content),
            None => Say::Withdraw,
        }
    }

    pub(super) fn said(&mut self, destination: ClusterId, content: Option<Content>, now: Instant) {
        self.told.insert(destination, Told { content, at: now, is_doubtful: false });
    }

    /// Forgets withdrawals that nobody can need again: what they took away has expired.
    pub(super) fn forget(&mut self, before: Instant) {
        self.told.retain(|_, told| told.content.is_some() || before < told.at);
    }
}
