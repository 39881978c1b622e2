//! The count of what this node signs, never used twice over all lives of the node.
//!
//! Numbers are reserved on disk in blocks, and one is used only once its block is written. So after a
//! crash the count goes on above everything that was ever said, and nobody takes this node's news for
//! old.

use mpreg_proto::id::{Incarnation, Version};

use crate::limits::{ROUTE_SEQUENCES_LOW_MAX, ROUTE_SEQUENCES_RESERVED_MAX};

/// Identifies one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

#[derive(Debug)]
pub(super) struct Sequence {
    incarnation: Incarnation,
    next: u64,
    /// Numbers below this are on disk as used.
    reserved: u64,
    tickets: u64,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    reserved: u64,
}

impl Sequence {
    /// `stored` is the last reservation on disk.
    pub(super) fn new(incarnation: Incarnation, stored: Option<Version>) -> Self {
        let (incarnation, next) = match stored {
            Some(stored) if incarnation <= stored.incarnation => {
                (stored.incarnation, stored.sequence)
            }
            Some(_) | None => (incarnation, 0),
        };
        Self { incarnation, next, reserved: next, tickets: 0, pending: None }
    }

    /// Asks for more when few are left. The caller persists what is returned.
    pub(super) fn reserve(&mut self) -> Option<(Ticket, Version)> {
        if self.pending.is_some() || ROUTE_SEQUENCES_LOW_MAX < self.reserved - self.next {
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let reserved = self.reserved + ROUTE_SEQUENCES_RESERVED_MAX;
        self.pending = Some(Pending { ticket, reserved });
        Some((ticket, Version { incarnation: self.incarnation, sequence: reserved }))
    }

    pub(super) fn persisted(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.take_if(|pending| pending.ticket == ticket) {
            self.reserved = pending.reserved;
        }
    }

    /// This life goes on under a greater incarnation, and so do its numbers.
    pub(super) fn renew(&mut self, incarnation: Incarnation) {
        self.incarnation = self.incarnation.max(incarnation);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.next < self.reserved
    }

    /// The next number, if one is reserved.
    pub(super) fn take(&mut self) -> Option<Version> {
        if !self.is_ready() {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        Some(Version { incarnation: self.incarnation, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_used_before_it_is_on_disk() {
        let mut sequence = Sequence::new(Incarnation(3), None);
        let (ticket, reserved) = sequence.reserve().unwrap();
        assert_eq!(sequence.take(), None);
        assert_eq!(sequence.reserve(), None, "one at a time");
        sequence.persisted(Ticket(99));
        assert_eq!(sequence.take(), None);
        sequence.persisted(ticket);
        let first = sequence.take().unwrap();
        assert!(first < reserved);
        assert_eq!(first.incarnation, Incarnation(3));
    }

    #[test]
    fn every_later_life_is_above_all_earlier_ones() {
        let mut stored = None;
        let mut highest = None;
        // The third life comes with an incarnation that went back.
        for incarnation in [1, 2, 1, 2, 5] {
            let mut sequence = Sequence::new(Incarnation(incarnation), stored);
            for _ in 0..3 {
                if let Some((ticket, reserved)) = sequence.reserve() {
                    stored = Some(reserved);
                    sequence.persisted(ticket);
                }
                let version = sequence.take();
                assert!(highest < version, "{highest:?} {version:?}");
                highest = version;
            }
        }
    }

    #[test]
    fn the_next_block_is_asked_for_before_this_one_is_used_up() {
        let mut sequence = Sequence::new(Incarnation(1), None);
        let (ticket, _) = sequence.reserve().unwrap();
        sequence.persisted(ticket);
        let mut used = 0;
        while sequence.reserve().is_none() {
            sequence.take().unwrap();
            used += 1;
        }
        assert_eq!(used, ROUTE_SEQUENCES_RESERVED_MAX - ROUTE_SEQUENCES_LOW_MAX);
        assert!(sequence.is_ready());
    }
}
