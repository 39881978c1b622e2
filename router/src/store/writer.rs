//! The thread that writes: whoever must not wait for a disk asks it, and is told when it is done.
//!
//! Changes that wait together are one commit. They are told of in the order they were asked for.
//!
//! Invariant: each change taken is told of exactly once, as kept or as failed; after the first that
//! failed all fail.

use std::io;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::{Record, Store, StoreError};
use crate::limits::STORE_CHANGES_MAX;

/// A record to be written whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is told of by.
    pub ticket: u64,
    pub record: Record,
    pub body: Vec<u8>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ticket: u64,
    /// It survives whatever happens from here on.
    pub is_kept: bool,
}

/// Too many changes wait already. The change comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy(pub Change);

/// Ends, with everything asked for written, when this is dropped.
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
    while let Ok(first) = taken.recv() {
        let mut changes = vec![first];
        changes.extend(taken.try_iter().take(STORE_CHANGES_MAX));
        let records: Vec<(Record, &[u8])> =
            changes.iter().map(|change| (change.record, change.body.as_slice())).collect();
        let outcome = store.put(&records);
        match &outcome {
            Ok(()) | Err(StoreError::Fenced { .. }) => (),
            Err(error) => tracing::error!(%error, "state is not kept"),
        }
        for change in &changes {
            told(Outcome { ticket: change.ticket, is_kept: outcome.is_ok() });
        }
    }
}
