//! The messages one subscription has not taken yet: bounded, never waited for by the connection.
//!
//! The connection pushes and goes on; the reader takes and may sleep. So a late reader delays
//! neither other subscriptions nor replies: past the bound the subscription's overload policy
//! decides, and every dropped message is counted.
//!
//! Invariants:
//! - Either the queue holds one message, or its charge is at most `bytes_max`.
//! - At most [`CHUNKS_PINNED_MAX`] receive chunks are held by queued messages.
//! - Nothing enters after the end; what was queued before it can still be taken.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Overload;

use crate::limits::{CHUNKS_PINNED_MAX, MESSAGE_OVERHEAD_BYTES};
use crate::message::Message;

/// Which receive chunk a message points into. Counts up; equal for neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIx(pub(crate) u64);

/// Why a subscription brings no further messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked for: at once, or after the number of messages given.
    Unsubscribed,
    /// The client was drained.
    Drained,
    /// Its inbox was full and its overload policy is `Disconnect`.
    Overrun,
    /// The router refused it after a reconnect.
    Refused { code: ErrorCode, text: String },
    /// The client is closed, or has given up reconnecting.
    Closed,
}

/// What became of a pushed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// `count` messages gave way, this one or older ones; `dropped` have in all.
    Dropped {
        count: u64,
        dropped: u64,
        run: Run,
    },
    /// The inbox has ended for being full; the message was dropped.
    Overrun,
    /// The inbox had ended before.
    Over,
}

/// Whether a drop is the first since the reader last kept up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Begins,
    Goes,
}

#[derive(Debug)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug)]
struct State {
    queue: VecDeque<Queued>,
    /// Charge of all that is queued.
    bytes: usize,
    bytes_max: usize,
    overload: Overload,
    /// Receive chunks the queue holds on to.
    chunks: usize,
    chunk_last: Option<ChunkIx>,
    dropped: u64,
    is_lagging: bool,
    ended: Option<Ended>,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Queued {
    message: Message,
    /// The receive chunk it points into; `None` once copied out.
    chunk: Option<ChunkIx>,
}

const _: () = assert!(size_of::<Queued>() <= MESSAGE_OVERHEAD_BYTES);

impl Inbox {
    pub(crate) fn new(overload: Overload, bytes_max: usize) -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            overload,
            chunks: 0,
            chunk_last: None,
            dropped: 0,
            is_lagging: false,
            ended: None,
            reader: None,
        }))
    }

    pub(crate) fn push(&self, message: Message, chunk: ChunkIx) -> Pushed {
        let mut state = self.lock();
        let pushed = state.push(message, chunk);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        pushed
    }

    /// The next message, or `None` at the end.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.lock();
        if let Some(message) = state.pop() {
            return Poll::Ready(Some(message));
        }
        if state.ended.is_some() {
            return Poll::Ready(None);
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Lets nothing further in. The first reason stays.
    pub(crate) fn end(&self, ended: Ended) {
        let mut state = self.lock();
        state.ended.get_or_insert(ended);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().ended.clone()
    }

    /// Messages dropped here because the reader was late.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl State {
    fn push(&mut self, message: Message, chunk: ChunkIx) -> Pushed {
        if self.ended.is_some() {
            return Pushed::Over;
        }
        let charge = charge(&message);
        if self.fits(charge) {
            self.is_lagging &= !self.queue.is_empty();
            self.append(message, chunk);
            return Pushed::Queued;
        }
        let mut count = 1;
        match self.overload {
            Overload::DropNewest => (),
            Overload::DropOldest => {
                self.pop();
                while !self.fits(charge) {
                    self.pop();
                    count += 1;
                }
                self.append(message, chunk);
            }
            Overload::Disconnect => {
                self.dropped += 1;
                self.ended = Some(Ended::Overrun);
                return Pushed::Overrun;
            }
        }
        self.dropped += count;
        let run = if self.is_lagging { Run::Goes } else { Run::Begins };
        self.is_lagging = true;
        Pushed::Dropped { count, dropped: self.dropped, run }
    }

    fn fits(&self, charge: usize) -> bool {
        self.queue.is_empty() || self.bytes + charge <= self.bytes_max
    }

    fn append(&mut self, mut message: Message, chunk: ChunkIx) {
        let mut pinned = Some(chunk);
        if self.chunk_last != pinned {
            if self.chunks < CHUNKS_PINNED_MAX {
                self.chunks += 1;
                self.chunk_last = pinned;
            } else {
                message.unpin();
                pinned = None;
            }
        }
        self.bytes += charge(&message);
        self.queue.push_back(Queued { message, chunk: pinned });
    }

    fn pop(&mut self) -> Option<Message> {
        let Queued { message, chunk } = self.queue.pop_front()?;
        self.bytes -= charge(&message);
        // Messages of one chunk are neighbours.
        let is_last_of_chunk = self.queue.front().is_none_or(|next| next.chunk != chunk);
        if chunk.is_some() && is_last_of_chunk {
            self.chunks -= 1;
            if self.chunk_last == chunk {
                self.chunk_last = None;
            }
        }
        Some(message)
    }
}

fn charge(message: &Message) -> usize {
    message.frame_bytes() + MESSAGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
