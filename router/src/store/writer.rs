//! The thread that writes: whoever must not wait for a disk asks it, and is told when it is done.
//!
//! ```text
//!   IDLE --change--> WRITING --kept--> IDLE
//!                      |  ^
//!                      |  +-- wait over, asked to end
//!                      +--failed--> FAILING, a wait that doubles
//! ```
//!
//! Changes that wait together are one commit. They are told of in the order they were asked for.
//!
//! Invariants: each change taken is told of at most once, as kept once the disk has it, however often that
//! was tried, or as refused if no disk
//! would take it or it is not worth another try. One that is never told of is not kept.

use core::time::Duration;
use std::io;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Record, Store};
use crate::limits::{STORE_CHANGES_MAX, STORE_RECORD_BYTES_MAX};

/// The wait after a first failure, doubled after each, and the longest: a disk that was full is written
/// to soon after there is room.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A record to be written whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is told of by.
    pub ticket: u64,
    pub record: Record,
    pub body: Vec<u8>,
}

/// What became of a change, or of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It survives whatever happens from here on.
    Kept { ticket: u64 },
    /// It is too long, or hints that the disk did not take: it is not tried again.
    Refused { ticket: u64 },
    /// The disk did not take what waits. It is tried again.
    Failing,
}

/// Too many changes wait already. The change comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy(pub Change);

/// Ends, with everything asked for written if the disk takes it, when this is dropped.
#[derive(Debug)]
pub struct Writer {
    /// `None` only while being dropped.
    changes: Option<Sender<Change>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// `told` is called on the writing thread and must not wait.
    pub fn start(store: Store, told: impl FnMut(Outcome) + Send + 'static) -> io::Result<Self> {
        let (changes, taken) = bounded(STORE_CHANGES_MAX);
        let thread = thread::Builder::new()
            .name("mpreg-store".to_owned())
            .spawn(move || write(store, &taken, told))?;
        Ok(Self { changes: Some(changes), thread: Some(thread) })
    }

    /// Asks for a change to be kept.
    pub fn keep(&self, change: Change) -> Result<(), Busy> {
        let changes = self.changes.as_ref().expect("there until it is dropped");
        changes.try_send(change).map_err(|refused| Busy(refused.into_inner()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps state panicked");
        }
    }
}

fn write(mut store: Store, taken: &Receiver<Change>, mut told: impl FnMut(Outcome)) {
    let mut waiting: Vec<Change> = Vec::new();
    let mut wait = BACKOFF;
    let mut is_asked_to_end = false;
    while !is_asked_to_end || !waiting.is_empty() {
        if waiting.is_empty() {
            match taken.recv() {
                Ok(first) => waiting.push(first),
                Err(_) => return,
            }
        }
        gather(&mut waiting, taken, &mut told);
        let records: Vec<(Record, &[u8])> =
            waiting.iter().map(|change| (change.record, change.body.as_slice())).collect();
        match store.put(&records) {
            Ok(()) => {
                waiting.drain(..).for_each(|Change { ticket, .. }| told(Outcome::Kept { ticket }));
                wait = BACKOFF;
            }
            Err(error) if is_asked_to_end => {
                return tracing::error!(%error, "state is not kept, and the process ends");
            }
            Err(error) => {
                tracing::error!(%error, again_in = ?wait, "state is not kept");
                told(Outcome::Failing);
                give_up_hints(&mut waiting, &mut told);
                is_asked_to_end = rest(&mut waiting, taken, wait);
                wait = (wait * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Takes what came meanwhile, as far as it is written together, and turns away what is too long.
fn gather(waiting: &mut Vec<Change>, taken: &Receiver<Change>, told: &mut impl FnMut(Outcome)) {
    waiting.extend(taken.try_iter().take(STORE_CHANGES_MAX.saturating_sub(waiting.len())));
    let is_long = |change: &mut Change| STORE_RECORD_BYTES_MAX < change.body.len();
    for Change { ticket, record, body } in waiting.extract_if(.., is_long) {
        tracing::error!(record = record.name(), bytes = body.len(), "a record is too long");
        told(Outcome::Refused { ticket });
    }
}

/// Nobody waits for hints, and they are most of what is written: the rest may still find room.
fn give_up_hints(waiting: &mut Vec<Change>, told: &mut impl FnMut(Outcome)) {
    let is_hints = |change: &mut Change| change.record == Record::CatalogHints;
    for Change { ticket, .. } in waiting.extract_if(.., is_hints) {
        told(Outcome::Refused { ticket });
    }
}

/// Waits before the next try. True if nobody asks for anything any more.
fn rest(waiting: &mut Vec<Change>, taken: &Receiver<Change>, wait: Duration) -> bool {
    if STORE_CHANGES_MAX <= waiting.len() {
        thread::sleep(wait);
        return false;
    }
    match taken.recv_timeout(wait) {
        Ok(change) => {
            waiting.push(change);
            // Whoever asks in a loop is not to make it try in a loop.
            thread::sleep(wait);
            false
        }
        Err(RecvTimeoutError::Timeout) => false,
        Err(RecvTimeoutError::Disconnected) => true,
    }
}
