//! Ledger: what arrived on each flow, and so what was lost, duplicated or reordered.
//!
//! A flow is one stream (a publisher's messages on one topic) as one subscriber sees it. Its
//! messages are numbered from zero, and the next one expected is all that is kept until something
//! is missing.
//!
//! Invariants:
//! - Each message is accepted once; `received` counts those. Any further copy is a duplicate.
//! - `received + lost` is what was sent, for every flow and so in sum.

use std::collections::HashMap;
use std::ops::Range;

/// Missing runs remembered per flow. Past it the oldest counts as lost for good, and a message of
/// it that still arrives counts as a duplicate.
const MISSING_RUNS_MAX: usize = 4096;

/// Whether messages must arrive in the order they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A message after its successor is a fault.
    Kept,
    /// Replies: each goes to a topic of its own, and order holds per topic only.
    Free,
}

/// The flows of one generator thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    order: Order,
    /// Per flow, one past the highest sequence seen.
    next: Vec<u64>,
    /// Per flow with something missing: sorted runs of sequences.
    missing: HashMap<usize, Vec<Range<u64>>>,
    forgotten: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
}

/// How many messages went wrong, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    /// Arrived after a message sent later on the same stream.
    pub reordered: u64,
    /// Arrived with bytes other than those sent.
    pub corrupted: u64,
    /// Arrived intact at a subscriber that had not asked for its topic.
    pub misrouted: u64,
}

impl Faults {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, other: &Self) {
        let Self { lost, duplicated, reordered, corrupted, misrouted } = other;
        self.lost += lost;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.corrupted += corrupted;
        self.misrouted += misrouted;
    }
}

impl Ledger {
    pub(crate) fn new(order: Order, flows_count: usize) -> Self {
        Self {
            order,
            next: vec![0; flows_count],
            missing: HashMap::new(),
            forgotten: 0,
            received: 0,
            duplicated: 0,
            reordered: 0,
        }
    }

    /// Enters one arrival; `sequence` is the low half of its number. True if it counts as received.
    #[inline]
    pub(crate) fn record(&mut self, flow: usize, sequence: u32) -> bool {
        let next = &mut self.next[flow];
        if sequence == *next as u32 {
            *next += 1;
            self.received += 1;
            return true;
        }
        self.record_out_of_turn(flow, sequence)
    }

    #[cold]
    fn record_out_of_turn(&mut self, flow: usize, sequence: u32) -> bool {
        let next = self.next[flow];
        // The number nearest to the expected one that ends in these 32 bits.
        let ahead = i64::from(sequence.wrapping_sub(next as u32) as i32);
        let Some(number) = next.checked_add_signed(ahead) else {
            self.duplicated += 1;
            return false;
        };
        if next < number {
            let runs = self.missing.entry(flow).or_default();
            runs.push(next..number);
            if MISSING_RUNS_MAX < runs.len() {
                let oldest = runs.remove(0);
                self.forgotten += oldest.end - oldest.start;
            }
            self.next[flow] = number + 1;
        } else if self.take_missing(flow, number) {
            self.reordered += u64::from(self.order == Order::Kept);
        } else {
            self.duplicated += 1;
            return false;
        }
        self.received += 1;
        true
    }

    /// Removes `number` from the flow's missing ones, if it is one.
    fn take_missing(&mut self, flow: usize, number: u64) -> bool {
        let Some(runs) = self.missing.get_mut(&flow) else { return false };
        let at = runs.partition_point(|run| run.end <= number);
        let Some(run) = runs.get(at).filter(|run| run.contains(&number)).cloned() else {
            return false;
        };
        let left = [run.start..number, number + 1..run.end];
        runs.splice(at..=at, left.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// Messages accepted so far, over all flows.
    #[inline]
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Messages that arrived late so far; zero where order is free.
    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Closes the book over `flows`, given how many messages were sent on each.
    pub(crate) fn close(&self, flows: impl IntoIterator<Item = (usize, u64)>) -> Faults {
        let missing: u64 = self.missing.values().flatten().map(|run| run.end - run.start).sum();
        let tail: u64 =
            flows.into_iter().map(|(flow, sent)| sent - self.next[flow].min(sent)).sum();
        Faults {
            lost: tail + missing + self.forgotten,
            duplicated: self.duplicated,
            reordered: self.reordered,
            ..Faults::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one flow the numbered arrivals, then closes it as if `sent` had been sent.
    #[track_caller]
    fn check(arrivals: &[u32], sent: u64, want: [u64; 3]) {
        let mut ledger = Ledger::new(Order::Kept, 1);
        arrivals.iter().for_each(|&sequence| _ = ledger.record(0, sequence));
        let Faults { lost, duplicated, reordered, .. } = ledger.close([(0, sent)]);
        assert_eq!([lost, duplicated, reordered], want, "lost, duplicated, reordered");
        assert_eq!(ledger.received() + lost, sent);
    }

    #[test]
    fn in_order_is_no_fault() {
        check(&[0, 1, 2, 3], 4, [0, 0, 0]);
        check(&[], 0, [0, 0, 0]);
    }

    #[test]
    fn loss_is_counted_in_front_in_the_middle_and_at_the_end() {
        check(&[2, 3], 4, [2, 0, 0]);
        check(&[0, 3], 4, [2, 0, 0]);
        check(&[0, 1], 4, [2, 0, 0]);
        check(&[], 4, [4, 0, 0]);
        check(&[1, 3, 5], 7, [4, 0, 0]);
    }

    #[test]
    fn a_second_copy_is_a_duplicate_wherever_it_comes() {
        check(&[0, 0, 1], 2, [0, 1, 0]);
        check(&[0, 1, 2, 0], 3, [0, 1, 0]);
        check(&[0, 1, 1, 1], 2, [0, 2, 0]);
    }

    #[test]
    fn a_late_message_is_reordered_not_lost_and_its_copy_a_duplicate() {
        check(&[1, 0, 2], 3, [0, 0, 1]);
        check(&[3, 2, 1, 0], 4, [0, 0, 3]);
        check(&[4, 2, 2], 5, [3, 1, 1]);
    }

    #[test]
    fn sequences_may_wrap() {
        let mut ledger = Ledger::new(Order::Kept, 1);
        ledger.next[0] = u64::from(u32::MAX) - 1;
        for sequence in [u32::MAX - 1, u32::MAX, 1, 0, 2] {
            assert!(ledger.record(0, sequence));
        }
        let faults = ledger.close([(0, (1 << 32) + 4)]);
        assert_eq!((faults.lost, faults.reordered, faults.duplicated), (1, 1, 0));
    }

    #[test]
    fn replies_may_come_in_any_order_but_once() {
        let mut ledger = Ledger::new(Order::Free, 1);
        [2, 0, 1, 1].iter().for_each(|&sequence| _ = ledger.record(0, sequence));
        let faults = ledger.close([(0, 4)]);
        assert_eq!((faults.lost, faults.reordered, faults.duplicated), (1, 0, 1));
    }

    #[test]
    fn flows_are_told_apart() {
        let mut ledger = Ledger::new(Order::Kept, 2);
        ledger.record(0, 0);
        ledger.record(1, 1);
        let faults = ledger.close([(0, 1), (1, 2)]);
        assert_eq!((faults.lost, faults.reordered), (1, 0));
    }

    #[test]
    fn memory_for_missing_runs_is_bounded_and_loss_still_exact() {
        let sent = 3 * MISSING_RUNS_MAX as u32;
        let every_other: Vec<_> = (0..sent).filter(|n| n % 2 == 1).collect();
        check(&every_other, sent.into(), [u64::from(sent) / 2, 0, 0]);
    }
}
