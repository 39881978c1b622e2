//! What each destination has said last, so that what it said long ago is not believed again.
//!
//! The same announcement of a destination reaches a node over several ways, later over the longer
//! ones, so an older version is not stale by itself. It is when a newer one has been known for as long
//! as any route is good for: every way on which it still holds has carried the newer one by then. And
//! however it comes, nothing is good for longer than the destination said, from when the newest it said
//! was first heard.
//!
//! This is not kept over a restart. A hostile neighbour that signs an old word anew then has it believed
//! for as long as one route is good for, once for each restart, and not where the destination lives
//! nearer than that neighbour says.

use alloc::collections::BTreeMap;
use core::time::Duration;

use mpreg_proto::id::{ClusterId, NodeId, Version};

use crate::limits::ROUTE_ORIGINS_MAX;
use crate::time::Instant;

/// Who says that a cluster is there: one of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Speaker {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
}

#[derive(Debug, Default)]
pub(super) struct Freshness {
    marks: BTreeMap<Speaker, Mark>,
}

#[derive(Debug)]
struct Mark {
    newest: Version,
    advanced_at: Instant,
    /// What was newest when the period began.
    middle: Version,
    since: Instant,
    /// What was newest a whole period before that.
    floor: Option<Version>,
}

impl Freshness {
    pub(super) fn is_stale(&self, speaker: Speaker, version: Version) -> bool {
        let mark = self.marks.get(&speaker);
        mark.and_then(|mark| mark.floor).is_some_and(|floor| version < floor)
    }

    /// When the newest that this speaker said was first heard; nothing it said is newer than that.
    pub(super) fn known_since(&self, speaker: Speaker) -> Instant {
        self.marks.get(&speaker).map_or(Instant::START, |mark| mark.advanced_at)
    }

    /// A version whose signature holds was heard. `period` is the longest a route is good for.
    pub(super) fn heard(&mut self, who: Speaker, version: Version, period: Duration, now: Instant) {
        let Some(mark) = self.marks.get_mut(&who) else {
            if self.marks.len() == ROUTE_ORIGINS_MAX {
                let idlest = self.marks.iter().min_by_key(|(_, mark)| mark.advanced_at);
                let idlest = *idlest.expect("the table is full").0;
                self.marks.remove(&idlest);
            }
            let mark = Mark {
                newest: version,
                advanced_at: now,
                middle: version,
                since: now,
                floor: None,
            };
            self.marks.insert(who, mark);
            return;
        };
        if mark.newest < version {
            mark.newest = version;
            mark.advanced_at = now;
        }
        if period <= now.since(mark.since) {
            mark.floor = Some(mark.middle);
            mark.middle = mark.newest;
            mark.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use mpreg_proto::id::Incarnation;

    use super::*;

    #[test]
    fn an_older_version_is_stale_once_a_newer_one_is_known_for_long() {
        let who = Speaker { cluster: ClusterId(1), node: NodeId(2) };
        let version =
            |incarnation, sequence| Version { incarnation: Incarnation(incarnation), sequence };
        let at = |seconds| Instant::START + Duration::from_secs(seconds);
        let period = Duration::from_secs(60);
        let mut freshness = Freshness::default();
        freshness.heard(who, version(1, 9), period, at(0));
        freshness.heard(who, version(2, 1), period, at(10));
        assert!(!freshness.is_stale(who, version(1, 9)), "over a longer way");
        freshness.heard(who, version(2, 2), period, at(60));
        assert!(!freshness.is_stale(who, version(1, 9)));
        assert!(freshness.is_stale(who, version(1, 8)));
        freshness.heard(who, version(2, 2), period, at(120));
        assert!(freshness.is_stale(who, version(1, 9)));
        assert!(freshness.is_stale(who, version(2, 1)));
        assert!(!freshness.is_stale(who, version(2, 2)));
        let other = Speaker { cluster: ClusterId(1), node: NodeId(3) };
        assert!(!freshness.is_stale(other, version(1, 1)), "versions of two nodes do not compare");
    }

    #[test]
    fn the_idlest_is_forgotten_first() {
        let who = |n: usize| Speaker { cluster: ClusterId(n as u128), node: NodeId(0) };
        let version = |sequence| Version { incarnation: Incarnation(1), sequence };
        let mut freshness = Freshness::default();
        for n in 0..=ROUTE_ORIGINS_MAX {
            let now = Instant::from_nanos(n as u64);
            freshness.heard(who(n), version(5), Duration::from_secs(1), now);
        }
        assert_eq!(freshness.marks.len(), ROUTE_ORIGINS_MAX);
        assert!(!freshness.marks.contains_key(&who(0)));
    }
}
