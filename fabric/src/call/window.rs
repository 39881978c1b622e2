//! Which calls of other nodes came here, so that none is run twice, however often and late it comes.
//!
//! ```text
//!   stream   ... | newest - CALL_SEEN_BACK ................. newest |
//!            late        two bits each: came, was started              fresh
//! ```
//!
//! A stream is what one shard of one life of a node counts. It is forgotten after
//! [`CALL_STREAM_IDLE`], never to make room: there is none for further streams then.
//!
//! Invariants:
//! - A call noted is not fresh again while its stream is remembered, and a stream is remembered
//!   longer than any copy of its calls is under way.
//! - What was started is not said to be only refused.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use mpreg_proto::call::CallId;
use mpreg_proto::id::NodeId;

use crate::limits::{CALL_SEEN_BACK, CALL_STREAM_IDLE};
use crate::time::Instant;

/// What is known of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    /// It did not come.
    Fresh,
    /// It came, and was not run.
    Refused,
    Started,
    /// It is older than what is remembered.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    origin: NodeId,
    stream: u16,
}

#[derive(Debug)]
pub(super) struct Window {
    streams_max: usize,
    streams: BTreeMap<Stream, Marks>,
    /// When the first of them is due to be forgotten, or earlier.
    sweep_at: Option<Instant>,
}

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (CALL_SEEN_BACK / WORD_BITS) as usize;

#[derive(Debug)]
struct Marks {
    newest: u64,
    /// By the low bits of the count.
    came: Box<[u64; WORDS]>,
    started: Box<[u64; WORDS]>,
    used_at: Instant,
}

impl Window {
    pub(super) fn new(streams_max: usize) -> Self {
        Self { streams_max, streams: BTreeMap::new(), sweep_at: None }
    }

    pub(super) fn check(&self, call: CallId) -> Verdict {
        let marks = self.streams.get(&Stream::of(call));
        marks.map_or(Verdict::Fresh, |marks| marks.check(call.count()))
    }

    /// It came, and is run or not. False: there is no room for its stream, and it is not noted.
    pub(super) fn note(&mut self, call: CallId, is_started: bool, now: Instant) -> bool {
        let (stream, count) = (Stream::of(call), call.count());
        if self.streams.len() == self.streams_max && !self.streams.contains_key(&stream) {
            return false;
        }
        let marks = self.streams.entry(stream).or_insert_with(|| Marks::new(count));
        marks.note(count, is_started);
        marks.used_at = now;
        self.sweep_at.get_or_insert(now + CALL_STREAM_IDLE);
        true
    }

    /// Streams remembered.
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// When [`Self::sweep`] is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Forgets streams without a word for long.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.streams.retain(|_, marks| now < marks.used_at + CALL_STREAM_IDLE);
            let oldest = self.streams.values().map(|marks| marks.used_at).min();
            self.sweep_at = oldest.map(|used_at| used_at + CALL_STREAM_IDLE);
        }
    }
}

impl Stream {
    fn of(call: CallId) -> Self {
        Self { origin: call.origin, stream: call.stream() }
    }
}

impl Marks {
    fn new(count: u64) -> Self {
        let none = || Box::new([0; WORDS]);
        Self { newest: count, came: none(), started: none(), used_at: Instant::START }
    }

    fn check(&self, count: u64) -> Verdict {
        let (word, bit) = place(count);
        if self.newest < count {
            Verdict::Fresh
        } else if count + CALL_SEEN_BACK <= self.newest {
            Verdict::Late
        } else if self.started[word] & bit != 0 {
            Verdict::Started
        } else if self.came[word] & bit != 0 {
            Verdict::Refused
        } else {
            Verdict::Fresh
        }
    }

    fn note(&mut self, count: u64, is_started: bool) {
        if count + CALL_SEEN_BACK <= self.newest {
            return;
        }
        // What the window moves over is new again.
        let moved = count.saturating_sub(self.newest).min(CALL_SEEN_BACK);
        for passed in count + 1 - moved..=count {
            let (word, bit) = place(passed);
            self.came[word] &= !bit;
            self.started[word] &= !bit;
        }
        self.newest = self.newest.max(count);
        let (word, bit) = place(count);
        self.came[word] |= bit;
        if is_started {
            self.started[word] |= bit;
        }
    }
}

fn place(count: u64) -> (usize, u64) {
    let at = count % CALL_SEEN_BACK;
    ((at / WORD_BITS) as usize, 1 << (at % WORD_BITS))
}

const _: () = assert!(CALL_SEEN_BACK.is_multiple_of(WORD_BITS));
