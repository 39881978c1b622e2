//! Telling the nodes of one's cluster what gateways have, and finding what one of them has missed.
//!
//! What is told says to whom it went, so that in a full mesh nobody repeats it. A link that broke may
//! have lost some of it, so each node now and then asks another, drawn anew each time, whether both
//! hold the same:
//!
//! ```text
//!   Sum --differs--> Held --what it lacks--> Inside
//!                      +---has more--> Held, an answer --what it lacks--> Inside
//! ```
//!
//! Only ways that are there are compared: that one is gone is told to whoever still tells of it
//! (`hear.rs`).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use mpreg_proto::catalog::mark;
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::{CATALOG_TOLD_MAX, ROUTE_MARKS_MAX};
use mpreg_proto::route::{Entry, Held, Inside, Item};

use super::Routes;
use crate::limits::ROUTE_COMPARE_EVERY;
use crate::time::Instant;

impl Routes {
    /// Tells the linked nodes that were not told.
    pub(super) fn spread(&mut self, mut inside: Inside, from: Option<NodeId>) {
        let is_left = |node: &&NodeId| {
            Some(**node) != from && **node != inside.gateway && !inside.told.contains(&mark(**node))
        };
        let left: Vec<NodeId> = self.nodes.keys().filter(is_left).copied().collect();
        if left.is_empty() {
            return;
        }
        inside.told.extend(left.iter().chain(&from).chain([&self.node]).map(|node| mark(*node)));
        inside.told.truncate(CATALOG_TOLD_MAX);
        let entry = Item::Inside(inside).entry();
        for node in left {
            self.outbox.entry(node).or_default().push(entry.clone());
        }
    }

    /// Whom this node tells of what it hears, and so need not be told by others.
    fn told(&self) -> Vec<u32> {
        let nodes = self.nodes.keys().chain([&self.node]);
        nodes.map(|node| mark(*node)).take(CATALOG_TOLD_MAX).collect()
    }

    pub(super) fn tell_new_nodes(&mut self, now: Instant) {
        let is_due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        if !self.nodes.values().any(|node| is_due(&node.tell_all_at)) {
            return;
        }
        let told = self.told();
        let entries = self.gateways.entries(now, |_| true).map(|inside| entry(inside, &told));
        let entries: Vec<Entry> = entries.collect();
        for (peer, node) in self.nodes.iter_mut().filter(|(_, node)| is_due(&node.tell_all_at)) {
            node.tell_all_at = None;
            self.outbox.entry(*peer).or_default().extend(entries.iter().cloned());
        }
    }

    /// Asks one node, if it is time, whether it holds the same.
    pub(super) fn compare(&mut self, now: Instant) {
        if self.nodes.is_empty() || now < self.compare_at {
            return;
        }
        self.compare_at = now + ROUTE_COMPARE_EVERY;
        let count = u32::try_from(self.nodes.len()).expect("nodes are few");
        let drawn = self.rng.below(count) as usize;
        let node = *self.nodes.keys().nth(drawn).expect("it was drawn among them");
        let sum = self.gateways.marks(now).fold(0, |sum, mark| sum ^ mark);
        self.outbox.entry(node).or_default().push(Item::Sum(sum).entry());
    }

    pub(super) fn summed(&mut self, from: NodeId, theirs: u64, now: Instant) {
        let mine = self.gateways.marks(now).fold(0, |sum, mark| sum ^ mark);
        if mine != theirs {
            self.list(from, (0, u64::MAX), false, now);
        }
    }

    /// A node lists what it holds, because it is not the same as here.
    pub(super) fn held(&mut self, from: NodeId, held: &Held, now: Instant) {
        let Held { first, last, ref marks, is_answer } = *held;
        let is_asked = |mark: u64| (first..=last).contains(&mark);
        let mine: BTreeSet<u64> = self.gateways.marks(now).filter(|mark| is_asked(*mark)).collect();
        let theirs: BTreeSet<u64> = marks.iter().copied().collect();
        if !is_answer && !theirs.is_subset(&mine) {
            self.list(from, (first, last), true, now);
        }
        let told = self.told();
        let is_lacking = |mark: u64| mine.contains(&mark) && !theirs.contains(&mark);
        let lacking = self.gateways.entries(now, |mark| mark.is_some_and(is_lacking));
        let entries = lacking.map(|inside| entry(inside, &told));
        self.outbox.entry(from).or_default().extend(entries);
    }

    /// Tells a node that is behind how it is.
    pub(super) fn correct(&mut self, from: NodeId, said: &Inside, now: Instant) {
        let Some(inside) = self.gateways.entry(said.gateway, said.destination, now) else { return };
        if said.version < inside.version {
            let entry = entry(inside, &self.told());
            self.outbox.entry(from).or_default().push(entry);
        }
    }

    /// Lists what is held here between two marks.
    fn list(&mut self, to: NodeId, (first, last): (u64, u64), is_answer: bool, now: Instant) {
        let is_asked = |mark: &u64| (first..=last).contains(mark);
        let marks: BTreeSet<u64> = self.gateways.marks(now).filter(is_asked).collect();
        let marks: Vec<u64> = marks.into_iter().collect();
        let parts = parts(&marks, first, last).into_iter();
        let parts = parts.map(|(first, last, marks)| Held { first, last, marks, is_answer });
        self.outbox.entry(to).or_default().extend(parts.map(|held| Item::Held(held).entry()));
    }
}

/// Cuts ascending marks into lists that together say all there is from `first` to `last`.
fn parts(marks: &[u64], first: u64, last: u64) -> Vec<(u64, u64, Vec<u64>)> {
    let mut parts = Vec::new();
    let (mut first, mut rest) = (first, marks);
    while ROUTE_MARKS_MAX < rest.len() {
        let (part, more) = rest.split_at(ROUTE_MARKS_MAX);
        let upto = part[ROUTE_MARKS_MAX - 1];
        parts.push((first, upto, part.to_vec()));
        (first, rest) = (upto + 1, more);
    }
    parts.push((first, last, rest.to_vec()));
    parts
}

fn entry(mut inside: Inside, told: &[u32]) -> Entry {
    inside.told = told.to_vec();
    Item::Inside(inside).entry()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_several_that_leave_no_gap() {
        for count in [0, 1, ROUTE_MARKS_MAX, ROUTE_MARKS_MAX + 1, 3 * ROUTE_MARKS_MAX] {
            let marks: Vec<u64> = (0..count as u64).map(|n| 10 * n + 5).collect();
            let parts = parts(&marks, 2, u64::MAX);
            assert_eq!(parts.len(), count.div_ceil(ROUTE_MARKS_MAX).max(1));
            let mut next = 2;
            for (first, last, marks) in &parts {
                assert_eq!(*first, next);
                assert!(marks.len() <= ROUTE_MARKS_MAX);
                assert!(marks.iter().all(|mark| (first..=last).contains(&mark)));
                next = last.wrapping_add(1);
            }
            assert_eq!(next, 0, "up to the end");
            let all: Vec<u64> = parts.into_iter().flat_map(|(_, _, marks)| marks).collect();
            assert_eq!(all, marks);
        }
    }
}
