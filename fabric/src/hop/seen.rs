//! Which messages of other nodes were delivered here lately, so that none is delivered twice when a
//! second copy comes another way.
//!
//! ```text
//!   stream   ... | newest - SEEN_BACK ...................... newest |
//!            late                a bit each                          new
//! ```
//!
//! Messages are told apart by number within a stream: one origin, shard and life of it, priority, and
//! group if it is for one. Streams are kept in two halves; when the young half is full or old, the
//! other is forgotten, so a stream in use is never forgotten.
//!
//! Invariants:
//! - Of one message at most one delivery is allowed, as long as its stream is remembered.
//! - At most `streams_max` streams; none is remembered longer than twice `idle` without a message.
//! - What is too old to tell counts as delivered.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use mpreg_proto::envelope::Priority;
use mpreg_proto::hop::{GroupId, MessageId};
use mpreg_proto::id::NodeId;

use crate::limits::SEEN_BACK;
use crate::time::Instant;

/// Whether a message may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    First,
    /// It was delivered before.
    Again,
    /// It is older than what is remembered of its stream.
    Late,
}

/// Messages that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    origin: NodeId,
    stream: u16,
    priority: Priority,
    group: Option<GroupId>,
}

#[derive(Debug)]
pub struct Seen {
    streams_max: usize,
    idle: Duration,
    young: BTreeMap<Stream, Window>,
    old: BTreeMap<Stream, Window>,
    turned_at: Instant,
}

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (SEEN_BACK / WORD_BITS) as usize;

/// The counts in `newest + 1 - SEEN_BACK..=newest` of a stream, by their low bits.
#[derive(Debug)]
struct Window {
    newest: u64,
    bits: Box<[u64; WORDS]>,
}

impl Seen {
    /// # Panics
    /// If there is no room for a stream in each half.
    pub fn new(streams_max: usize, idle: Duration) -> Self {
        assert!(2 <= streams_max);
        let (young, old) = (BTreeMap::new(), BTreeMap::new());
        Self { streams_max, idle, young, old, turned_at: Instant::START }
    }

    /// Whether this message, for ungrouped subscribers or for a member of `group`, may be delivered
    /// here. It counts as delivered from then on.
    pub fn check(
        &mut self,
        message: MessageId,
        priority: Priority,
        group: Option<GroupId>,
        now: Instant,
    ) -> Verdict {
        let stream = Stream { origin: message.origin, stream: message.stream(), priority, group };
        if self.turned_at + self.idle <= now {
            self.turn(now);
        }
        let count = message.count();
        if let Some(window) = self.young.get_mut(&stream) {
            return window.check(count);
        }
        let known = self.old.remove(&stream);
        if self.streams_max / 2 <= self.young.len() {
            self.turn(now);
        }
        let window = known.unwrap_or_else(|| Window::new(count));
        self.young.entry(stream).or_insert(window).check(count)
    }

    /// Whether so many messages, this one and those numbered after it, are all newer than any that came
    /// before. If so they count as delivered; if not, each is to be checked.
    pub fn check_newest(
        &mut self,
        message: MessageId,
        messages: u8,
        priority: Priority,
        group: Option<GroupId>,
        now: Instant,
    ) -> bool {
        let stream = Stream { origin: message.origin, stream: message.stream(), priority, group };
        if self.turned_at + self.idle <= now {
            return false;
        }
        let window = self.young.get_mut(&stream);
        window.is_some_and(|window| window.check_newest(message.count(), u64::from(messages)))
    }

    /// Streams remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, now: Instant) {
        self.old = core::mem::take(&mut self.young);
        self.turned_at = now;
    }
}

impl Window {
    /// Of a stream whose first message to come here is this one.
    fn new(count: u64) -> Self {
        Self { newest: count, bits: Box::new([0; WORDS]) }
    }

    fn check(&mut self, count: u64) -> Verdict {
        if count + SEEN_BACK <= self.newest {
            return Verdict::Late;
        }
        // What the window moves over is new again.
        let moved = count.saturating_sub(self.newest).min(SEEN_BACK);
        self.clear(count + 1 - moved, count + 1);
        self.newest = self.newest.max(count);
        let (word, bit) = Self::place(count);
        let is_seen = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        if is_seen { Verdict::Again } else { Verdict::First }
    }

    fn check_newest(&mut self, count: u64, messages: u64) -> bool {
        if count <= self.newest || messages == 0 {
            return false;
        }
        let newest = count + messages - 1;
        let moved = (newest - self.newest).min(SEEN_BACK);
        self.clear(newest + 1 - moved, newest + 1);
        self.newest = newest;
        for count in count..=newest {
            let (word, bit) = Self::place(count);
            self.bits[word] |= bit;
        }
        true
    }

    fn clear(&mut self, mut from: u64, to: u64) {
        while from < to {
            let (word, bit) = Self::place(from);
            if bit == 1 && from + WORD_BITS <= to {
                self.bits[word] = 0;
                from += WORD_BITS;
            } else {
                self.bits[word] &= !bit;
                from += 1;
            }
        }
    }

    fn place(count: u64) -> (usize, u64) {
        let at = count % SEEN_BACK;
        ((at / WORD_BITS) as usize, 1 << (at % WORD_BITS))
    }
}

const _: () = assert!(SEEN_BACK.is_multiple_of(WORD_BITS));

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Rng;

    const IDLE: Duration = Duration::from_secs(60);

    fn id(origin: u128, count: u64) -> MessageId {
        MessageId { origin: NodeId(origin), sequence: 3 << 48 | count }
    }

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn check(seen: &mut Seen, message: MessageId) -> Verdict {
        seen.check(message, Priority::Normal, None, at(0))
    }

    /// Numbers that go forward with gaps, jumps and repeats, beside a set that forgets nothing.
    #[test]
    fn it_says_what_a_set_says() {
        let mut counts = [0; 3];
        for seed in 0..20 {
            let (mut rng, mut seen) = (Rng::from_seed(seed), Seen::new(16, IDLE));
            let (mut all, mut newest, mut first) = (BTreeSet::new(), 0, true);
            for _ in 0..20_000 {
                let jump = if rng.below(500) == 0 { 2 * SEEN_BACK } else { 8 };
                let forward = u64::from(rng.below(jump as u32));
                let back = if rng.below(50) == 0 { 1 << 17 } else { 16 };
                let back = u64::from(rng.below(back));
                let count = (newest + forward).saturating_sub(back);
                let want = if !first && count + SEEN_BACK <= newest {
                    Verdict::Late
                } else if all.insert(count) {
                    Verdict::First
                } else {
                    Verdict::Again
                };
                assert_eq!(check(&mut seen, id(1, count)), want, "seed {seed}, {count}");
                newest = if first { count } else { newest.max(count) };
                first = false;
                counts[want as usize] += 1;
            }
        }
        assert!(counts.iter().all(|&count| 100 < count), "{counts:?}");
    }

    #[test]
    fn a_run_is_told_as_its_messages_are() {
        for seed in 0..20 {
            let mut rng = Rng::from_seed(seed);
            let (mut runs, mut singles) = (Seen::new(16, IDLE), Seen::new(16, IDLE));
            let (mut newest, mut at_once) = (1 << 18, 0);
            for _ in 0..2000 {
                let jump = if rng.below(200) == 0 { 2 * SEEN_BACK } else { 300 };
                newest += u64::from(rng.below(jump as u32));
                let back = if rng.below(4) == 0 { 500 } else { 1 };
                let first = newest - u64::from(rng.below(back));
                let messages = 1 + rng.below(255) as u8;
                let all: Vec<u64> = (first..first + u64::from(messages)).collect();
                let of = |seen: &mut Seen| -> Vec<Verdict> {
                    all.iter().map(|&count| check(seen, id(1, count))).collect()
                };
                let want = of(&mut singles);
                let priority = Priority::Normal;
                if runs.check_newest(id(1, first), messages, priority, None, at(0)) {
                    at_once += 1;
                    assert!(want.iter().all(|&verdict| verdict == Verdict::First), "seed {seed}");
                } else {
                    assert_eq!(of(&mut runs), want, "seed {seed}");
                }
                newest = newest.max(first + u64::from(messages) - 1);
            }
            assert!(200 < at_once, "{at_once}");
        }
    }

    #[test]
    fn streams_are_apart_by_origin_stream_priority_and_group() {
        let mut seen = Seen::new(16, IDLE);
        let other_stream = MessageId { sequence: 4 << 48 | 7, ..id(1, 7) };
        let group = Some(GroupId(5));
        let all = [
            (id(1, 7), Priority::Normal, None),
            (id(2, 7), Priority::Normal, None),
            (other_stream, Priority::Normal, None),
            (id(1, 7), Priority::Bulk, None),
            (id(1, 7), Priority::Normal, group),
        ];
        for want in [Verdict::First, Verdict::Again] {
            for (message, priority, group) in all {
                assert_eq!(seen.check(message, priority, group, at(0)), want);
            }
        }
        assert_eq!(seen.len(), all.len());
    }

    #[test]
    fn streams_in_use_are_kept_and_others_give_way() {
        let mut seen = Seen::new(8, IDLE);
        assert!(seen.is_empty());
        for origin in 0..1000 {
            assert_eq!(check(&mut seen, id(5000, 1)) == Verdict::First, origin == 0);
            assert_eq!(check(&mut seen, id(origin, 1)), Verdict::First);
            assert!(seen.len() <= 8);
        }
        assert_eq!(check(&mut seen, id(0, 1)), Verdict::First, "forgotten");
    }

    #[test]
    fn a_silent_stream_is_forgotten() {
        let mut seen = Seen::new(8, IDLE);
        let mut check =
            |origin, seconds| seen.check(id(origin, 1), Priority::Normal, None, at(seconds));
        assert_eq!(check(1, 0), Verdict::First);
        assert_eq!(check(1, 59), Verdict::Again);
        assert_eq!(check(1, 61), Verdict::Again);
        assert_eq!(check(2, 122), Verdict::First);
        assert_eq!(check(2, 183), Verdict::Again);
        assert_eq!(check(1, 183), Verdict::First);
    }
}
