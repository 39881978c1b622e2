//! What waits to be written: frames one after another in one buffer, taken whole by the connection.
//!
//! Publishers append, the connection takes everything at once and writes it, so the more waits the
//! more goes into one write. Room is counted in bytes of messages by a fair semaphore: a publisher
//! without room waits its turn. Frames that are not messages are few and take no room.
//!
//! ```text
//!   [ Shut ] --open--> [ Open ] --finish--> [ Finishing ]
//!       ^                 |                     |
//!       |                hold                   v written out: hang up
//!       |                 v
//!       +---- lost --- [ Held ]  messages wait, all else goes
//! ```
//!
//! Invariants:
//! - Permits out = `State::charged` + `Batch::charged` + what publishers hold between asking and
//!   appending; so messages in memory stay within `bytes_max`, or there is one larger message.
//! - A message is written whole to one connection, or not counted as sent: what a lost connection
//!   had not taken up to its last byte is kept, in order, for the next. Control frames are not kept.

use std::sync::{Mutex, MutexGuard};

use mpreg_proto::frame::{self, Frame, Kind};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use crate::limits::PONGS_WAITING_MAX;

#[derive(Debug)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    room: Semaphore,
    bytes_max: u32,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    charged: usize,
    /// Pongs among `bytes`.
    pongs: u32,
    gate: Gate,
    is_finishing: bool,
}

/// What of that which waits the connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Shut,
    /// What is not a message: the router is leaving, and hears of jobs that it still waits for.
    Held,
    Open,
}

/// What the connection is writing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    written: usize,
    charged: usize,
}

/// What there is to do for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The batch has bytes to be written.
    Bytes,
    Nothing,
    /// All is written and nothing more will come.
    Finished,
}

/// The client is closing: nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Outbound {
    pub(crate) fn new(bytes_max: u32) -> Self {
        let bytes_max = bytes_max.max(1);
        Self {
            state: Mutex::new(State {
                bytes: Vec::new(),
                charged: 0,
                pongs: 0,
                gate: Gate::Shut,
                is_finishing: false,
            }),
            room: Semaphore::new(bytes_max as usize),
            bytes_max,
            changed: Notify::new(),
        }
    }

    /// Waits for room for a message of `frame_bytes`. Safe to cancel.
    pub(crate) async fn room(&self, frame_bytes: u32) -> Result<SemaphorePermit<'_>, Closed> {
        // A message larger than the whole buffer waits for all of it.
        let charge = frame_bytes.min(self.bytes_max);
        match self.room.try_acquire_many(charge) {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(Closed),
            Err(TryAcquireError::NoPermits) => {
                self.room.acquire_many(charge).await.map_err(|_| Closed)
            }
        }
    }

    /// Appends the message that `permit` made room for.
    pub(crate) fn append(
        &self,
        permit: SemaphorePermit<'_>,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Closed> {
        let mut state = self.lock();
        // Also when the close came after the permit: what is taken here is written.
        if state.is_finishing {
            return Err(Closed);
        }
        let was_empty = state.bytes.is_empty();
        put(&mut state.bytes);
        state.charged += permit.num_permits();
        permit.forget();
        drop(state);
        if was_empty {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Appends frames that are not messages.
    pub(crate) fn append_control(&self, frames: &[u8]) {
        self.lock().bytes.extend_from_slice(frames);
        self.changed.notify_one();
    }

    /// Answers a ping, unless as many answers wait already as a sane router can want.
    pub(crate) fn append_pong(&self, token: u64) {
        let mut state = self.lock();
        if state.pongs < PONGS_WAITING_MAX {
            state.pongs += 1;
            Frame::Pong { token }.put(&mut state.bytes);
            self.changed.notify_one();
        }
    }

    /// Lets the connection take what waits.
    pub(crate) fn open(&self) {
        self.lock().gate = Gate::Open;
        self.changed.notify_one();
    }

    /// Keeps the messages that wait.
    pub(crate) fn hold(&self) {
        self.lock().gate = Gate::Held;
    }

    /// Takes no further messages; the connection hangs up once all is written.
    pub(crate) fn finish(&self) {
        self.room.close();
        self.lock().is_finishing = true;
        self.changed.notify_one();
    }

    /// Fills an empty batch with all that waits and may go.
    pub(crate) fn take(&self, batch: &mut Batch) -> Taken {
        debug_assert!(batch.rest().is_empty());
        let mut state = self.lock();
        match state.gate {
            Gate::Shut => return Taken::Nothing,
            Gate::Held => return state.take_held(batch),
            Gate::Open => (),
        }
        if state.bytes.is_empty() {
            return if state.is_finishing { Taken::Finished } else { Taken::Nothing };
        }
        batch.bytes.clear();
        std::mem::swap(&mut state.bytes, &mut batch.bytes);
        batch.written = 0;
        batch.charged += std::mem::take(&mut state.charged);
        state.pongs = 0;
        Taken::Bytes
    }

    /// Resolves once there may be more to take.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// `count` further bytes of `batch` are written.
    pub(crate) fn wrote(&self, batch: &mut Batch, count: usize) {
        batch.written += count;
        let free = if batch.rest().is_empty() { batch.charged } else { count.min(batch.charged) };
        batch.charged -= free;
        self.room.add_permits(free);
    }

    /// The connection is lost: keeps the messages it had not taken whole, before all others.
    pub(crate) fn put_back(&self, batch: &mut Batch) {
        let mut state = self.lock();
        state.gate = Gate::Shut;
        state.pongs = 0;
        let mut kept = Vec::new();
        let mut sent_end = 0;
        for_each_frame(&batch.bytes, |kind, bytes| {
            sent_end += bytes.len();
            if kind == Kind::Data && batch.written < sent_end {
                kept.extend_from_slice(bytes);
            }
        });
        for_each_frame(&state.bytes, |kind, bytes| {
            if kind == Kind::Data {
                kept.extend_from_slice(bytes);
            }
        });
        let charged = state.charged + std::mem::take(&mut batch.charged);
        state.charged = charged.min(kept.len());
        self.room.add_permits(charged - state.charged);
        state.bytes = kept;
        batch.bytes.clear();
        batch.written = 0;
    }

    /// Bytes of messages that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let mut waiting_bytes = 0;
        for_each_frame(&self.lock().bytes, |kind, bytes| {
            waiting_bytes += if kind == Kind::Data { bytes.len() } else { 0 };
        });
        waiting_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }
}

impl State {
    /// Fills an empty batch with what is not a message.
    fn take_held(&mut self, batch: &mut Batch) -> Taken {
        batch.bytes.clear();
        batch.written = 0;
        let mut kept = Vec::new();
        for_each_frame(&self.bytes, |kind, bytes| {
            let to = if kind == Kind::Data { &mut kept } else { &mut batch.bytes };
            to.extend_from_slice(bytes);
        });
        if batch.bytes.is_empty() {
            return Taken::Nothing;
        }
        let charged = self.charged.min(kept.len());
        batch.charged += self.charged - charged;
        self.charged = charged;
        self.bytes = kept;
        self.pongs = 0;
        Taken::Bytes
    }
}

impl Batch {
    /// What is left to be written.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }
}

/// Calls `each` with every frame of a buffer of our own making.
fn for_each_frame(mut bytes: &[u8], mut each: impl FnMut(Kind, &[u8])) {
    while let Ok(Some((frame_bytes, kind))) = frame::peek(bytes) {
        let (frame, rest) = bytes.split_at(frame_bytes);
        each(kind, frame);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests;
