//! The records of one feed, as far as they are known here.
//!
//! ```text
//!      floor             sequence
//!   ...--|--set--clear--set--|          what is set, and what was cleared since the floor
//! ```
//!
//! Whoever knows the feed up to some sequence at or over the floor is sent the records after it.
//! Whoever is further behind, or knew another incarnation, gets the feed **whole**: all records from
//! the start. Meanwhile what it had before stays, and goes at the end if no record confirmed it: a
//! live node's entry never vanishes because of how it is sent.
//!
//! Invariants:
//! - Unless a whole is under way, what was set at or before `sequence` is set here, or was since cleared
//!   or set otherwise.
//! - `by_sequence` names each record once, by its entry's last sequence in this incarnation.
//! - Records at or below `sequence` change nothing, in whatever order and however often they come.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::catalog::{Change, Record};
use mpreg_proto::limits::{CATALOG_FRAME_BYTES, CATALOG_RECORDS_MAX};

use super::{Key, Refusal, Since};
use crate::limits::CATALOG_CLEARED_MAX;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Log {
    sequence: u64,
    floor: u64,
    entries: BTreeMap<Key, Slot>,
    by_sequence: BTreeMap<u64, Key>,
    /// In the order it became known.
    cleared: VecDeque<Cleared>,
    set_count: usize,
    whole: Option<Whole>,
}

#[derive(Debug)]
struct Slot {
    sequence: u64,
    /// None: cleared.
    body: Option<Bytes>,
}

#[derive(Debug)]
struct Cleared {
    at: Instant,
    sequence: u64,
}

/// A feed being received from its start.
#[derive(Debug, Default)]
struct Whole {
    /// The sender's, when it began.
    floor: u64,
    /// Set before, not confirmed yet.
    stale: BTreeSet<Key>,
}

/// An entry that is now otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) key: Key,
    pub(super) body: Option<Bytes>,
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// All of it was known.
    Known,
    /// Something is needed first.
    Behind(Lacking),
    /// Taken; more of the whole must follow.
    Partly,
    /// Taken; those who know the feed up to `after` lack what was.
    Wholly { after: u64 },
}

/// What follows `sequence` is needed; `whole` as in [`mpreg_proto::catalog::Need`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacking {
    pub(super) sequence: u64,
    pub(super) whole: Option<u64>,
}

/// Records to be sent, after one sequence up to another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) after: u64,
    pub(super) upto: u64,
    pub(super) records: Vec<Record>,
}

impl Log {
    /// Of a feed of another node, of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self { whole: Some(Whole::default()), ..Self::default() }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn lacking(&self) -> Lacking {
        Lacking { sequence: self.sequence, whole: self.whole.as_ref().map(|whole| whole.floor) }
    }

    /// Entries that are set.
    pub(super) fn len(&self) -> usize {
        self.set_count
    }

    /// All of it is known: it may be told to others.
    pub(super) fn is_complete(&self) -> bool {
        self.whole.is_none()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.entries.iter().filter_map(|(key, slot)| Some((key, slot.body.as_ref()?)))
    }

    pub(super) fn body(&self, key: &Key) -> Option<&Bytes> {
        self.entries.get(key)?.body.as_ref()
    }

    /// Sets or clears an entry of one's own, as the next record.
    pub(super) fn write(&mut self, key: Key, body: Option<Bytes>, now: Instant) {
        self.sequence += 1;
        self.put(self.sequence, key, body, now);
    }

    /// Another incarnation of the owner: what follows is numbered anew, what is set is unconfirmed.
    pub(super) fn restart(&mut self) {
        self.begin_whole(0);
    }

    pub(super) fn apply(
        &mut self,
        change: &Change,
        room: usize,
        now: Instant,
        edits: &mut Vec<Edit>,
    ) -> Result<Applied, Refusal> {
        let from_start = change.after == 0
            && (self.sequence < change.floor || self.sequence == 0 && self.whole.is_some());
        if !from_start {
            if change.upto <= self.sequence {
                return Ok(Applied::Known);
            }
            if self.sequence < change.after {
                return Ok(Applied::Behind(self.lacking()));
            }
            let is_continued = self.whole.as_ref().is_some_and(|whole| change.floor <= whole.floor);
            if self.sequence < change.floor && !is_continued {
                return Ok(Applied::Behind(Lacking::default()));
            }
        }
        if room < self.added_by(change) {
            return Err(Refusal::Entries);
        }
        if from_start {
            self.begin_whole(change.floor);
        }
        let before = self.sequence;
        for record in change.records.iter().filter(|record| before < record.sequence) {
            self.take(record, now, edits);
        }
        self.sequence = change.upto;
        if change.upto < change.news.head.version.sequence && self.whole.is_some() {
            return Ok(Applied::Partly);
        }
        let after = if self.finish_whole(edits) { 0 } else { before };
        Ok(Applied::Wholly { after })
    }

    /// The records that follow, as many as fit.
    pub(super) fn part(&self, since: Since) -> Part {
        let after = match since {
            Since::Known(after) if after < self.floor || self.sequence < after => 0,
            Since::Known(after) | Since::Whole(after) => after,
        };
        let mut part = Part { after, upto: self.sequence, records: Vec::new() };
        let mut bytes = 0;
        for (&sequence, key) in self.by_sequence.range(after + 1..) {
            let slot = &self.entries[key];
            let record = Record {
                sequence,
                kind: key.kind,
                name: key.name.to_vec(),
                body: slot.body.as_ref().map(|body| body.to_vec()),
            };
            bytes += record_bytes(&record);
            let is_full = part.records.len() == CATALOG_RECORDS_MAX;
            if is_full || CATALOG_FRAME_BYTES < bytes && !part.records.is_empty() {
                part.upto = part.records.last().map_or(after, |last| last.sequence);
                break;
            }
            part.records.push(record);
        }
        part
    }

    /// Forgets what was cleared longer ago than `keep`, or is too much to remember.
    pub(super) fn purge(&mut self, keep: Duration, now: Instant) {
        while let Some(oldest) = self.cleared.front()
            && (oldest.at + keep <= now || CATALOG_CLEARED_MAX < self.cleared.len())
        {
            let sequence = oldest.sequence;
            self.cleared.pop_front();
            let Some(key) = self.by_sequence.get(&sequence) else { continue };
            if self.entries.get(key).is_some_and(|slot| slot.body.is_none()) {
                self.entries.remove(key);
                self.by_sequence.remove(&sequence);
                self.floor = self.floor.max(sequence);
            }
        }
    }

    fn begin_whole(&mut self, floor: u64) {
        self.entries.retain(|_, slot| slot.body.is_some());
        self.by_sequence.clear();
        self.cleared.clear();
        let stale = self.entries.keys().cloned().collect();
        (self.sequence, self.floor) = (0, floor);
        self.whole = Some(Whole { floor, stale });
    }

    /// Whether there was a whole to finish.
    fn finish_whole(&mut self, edits: &mut Vec<Edit>) -> bool {
        let Some(whole) = self.whole.take() else { return false };
        for key in whole.stale {
            self.entries.remove(&key);
            self.set_count -= 1;
            edits.push(Edit { key, body: None });
        }
        true
    }

    /// Entries that are not set and would be.
    fn added_by(&self, change: &Change) -> usize {
        let is_new = |record: &&Record| {
            record.body.is_some() && self.body(&Key::new(record.kind, &record.name)).is_none()
        };
        change.records.iter().filter(is_new).count()
    }

    fn take(&mut self, record: &Record, now: Instant, edits: &mut Vec<Edit>) {
        let key = Key::new(record.kind, &record.name);
        if let Some(whole) = &mut self.whole {
            whole.stale.remove(&key);
        }
        let body = record.body.as_deref().map(Bytes::copy_from_slice);
        if self.body(&key) != body.as_ref() {
            edits.push(Edit { key: key.clone(), body: body.clone() });
        }
        self.put(record.sequence, key, body, now);
    }

    fn put(&mut self, sequence: u64, key: Key, body: Option<Bytes>, now: Instant) {
        if body.is_none() {
            self.cleared.push_back(Cleared { at: now, sequence });
        }
        self.set_count += usize::from(body.is_some());
        let old = self.entries.insert(key.clone(), Slot { sequence, body });
        if let Some(old) = old {
            self.set_count -= usize::from(old.body.is_some());
            if self.by_sequence.get(&old.sequence) == Some(&key) {
                self.by_sequence.remove(&old.sequence);
            }
        }
        self.by_sequence.insert(sequence, key);
    }
}

/// What a record takes in a frame, roughly and rather more.
fn record_bytes(record: &Record) -> usize {
    40 + record.name.len() + record.body.as_ref().map_or(0, Vec::len)
}
