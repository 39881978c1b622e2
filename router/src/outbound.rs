//! One connection's outbound queue: three lanes of whole frames, bounded in bytes.
//!
//! ```text
//!   urgent  critical, high, control  --\
//!   normal  normal                   ---+--> one send in flight --> socket
//!   bulk    low, bulk                --/
//! ```
//!
//! A frame is copied into the lane's last buffer, or referenced in a shared page. When the queue is
//! full the subscription's policy decides; the last tenth is for the urgent lane alone.
//!
//! Invariants:
//! - Every piece holds whole frames, and nothing else, and counts the messages among them. Frames are
//!   native ones, or commands of NATS in the queue of a NATS client, which is one lane alone.
//! - `queued_bytes` is the sum of the pieces; with `flight_bytes` it is at most `limit`, or one run,
//!   control frames apart, which have `CONTROL_RESERVE_BYTES` more.
//! - Frames of one lane leave in the order they came. A `For` and its data are never parted.
//!
//! `timed.rs`: what frames between nodes waited for. Tests: `tests.rs`, against a list of frames.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use mpreg_fabric::fact::DropReason;
use mpreg_fabric::time::Instant;
use mpreg_proto::envelope::Priority;
use mpreg_proto::frame::{Kind, Overload, peek};

use crate::limits::{
    CONTROL_RESERVE_BYTES, FLIGHT_BYTES_MAX, FLIGHT_PIECES_MAX, LAGGING_BYTES, MODEST_BYTES,
    OUT_BUFFER_BYTES_MAX, OUT_BUFFER_BYTES_MIN, SHARED_PIECES_MAX, SPARE_BUFFER_BYTES_MAX,
    SPARE_BUFFERS_MAX,
};

mod timed;

/// Which messages overtake which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Urgent,
    Normal,
    Bulk,
}

const LANES: usize = 3;

/// What debug builds overwrite sent buffers with.
const POISON: u8 = 0xa5;

impl From<Priority> for Lane {
    #[inline]
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Critical | Priority::High => Self::Urgent,
            Priority::Normal => Self::Normal,
            Priority::Low | Priority::Bulk => Self::Bulk,
        }
    }
}

/// Bytes on their way out.
#[derive(Debug)]
pub enum Piece {
    /// Copied frames; those before `from` were given up. Deadlines of hop headers among them count from
    /// `since`; without it there are none (`timed.rs`).
    Own { bytes: Vec<u8>, from: usize, messages: u32, since: Option<Instant> },
    /// Frames in a page that other connections reference too.
    Shared { bytes: Bytes, messages: u32 },
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Own { bytes, from, .. } => &bytes[*from..],
            Self::Shared { bytes, .. } => bytes,
        }
    }

    pub fn messages(&self) -> u64 {
        match self {
            Self::Own { messages, .. } | Self::Shared { messages, .. } => u64::from(*messages),
        }
    }

    fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Gives up the message in `count` bytes at `at`.
    fn give_up(&mut self, at: usize, count: usize) {
        match self {
            Self::Own { bytes, from, messages, .. } => {
                *messages -= 1;
                if at == 0 {
                    *from += count;
                } else {
                    bytes.drain(*from + at..*from + at + count);
                }
            }
            Self::Shared { bytes, messages } => {
                *messages -= 1;
                if at == 0 {
                    bytes.advance(count);
                } else {
                    *bytes = [&bytes[..at], &bytes[at + count..]].concat().into();
                }
            }
        }
    }
}

/// Buffers between two uses. One per shard, last in first out, so the next one is in cache.
#[derive(Debug, Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Spares {
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Gives the memory of a sent piece back.
    pub fn put(&mut self, piece: Piece) {
        if let Piece::Own { mut bytes, .. } = piece
            && self.0.len() < SPARE_BUFFERS_MAX
            && bytes.capacity() <= SPARE_BUFFER_BYTES_MAX
        {
            if cfg!(debug_assertions) {
                // Whoever still reads it shall see that it is sent and gone.
                bytes.fill(POISON);
            }
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// Bytes a shard may hold in queues, and holds.
#[derive(Debug)]
pub struct Budget {
    pub used: usize,
    pub limit: usize,
}

impl Budget {
    /// Whether a connection that holds `held` may queue `bytes` more. Three tenths are for those that
    /// hold little, so that they do not suffer for those that lag.
    #[inline]
    fn has_room(&self, bytes: usize, held: usize, lane: Lane) -> bool {
        let limit = if MODEST_BYTES < held { self.limit / 10 * 7 } else { share(self.limit, lane) };
        self.used + bytes <= limit
    }

    /// Whether a connection that has sent `held` of a frame may send `bytes` more of it. Unfinished
    /// frames leave room to messages.
    pub fn has_room_for_part(&self, bytes: usize, held: usize) -> bool {
        let tenths = if MODEST_BYTES < held { 7 } else { 8 };
        self.used + bytes <= self.limit / 10 * tenths
    }
}

/// What became of a message offered to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Queued,
    /// Queued, and this many older messages were given up for it.
    Displaced(u32),
    /// Not queued.
    Dropped(DropReason),
    /// Not queued, and the session is to end.
    Disconnect,
}

/// One connection's queue.
#[derive(Debug)]
pub struct Outbound {
    lanes: [VecDeque<Piece>; LANES],
    queued_bytes: usize,
    flight_bytes: usize,
    shared_pieces: usize,
    limit: usize,
    /// At which a buffer is closed.
    buffer_bytes: usize,
}

impl Outbound {
    pub fn new(limit: usize) -> Self {
        Self {
            buffer_bytes: (limit / 8).clamp(OUT_BUFFER_BYTES_MIN, OUT_BUFFER_BYTES_MAX),
            lanes: Default::default(),
            queued_bytes: 0,
            flight_bytes: 0,
            shared_pieces: 0,
            limit,
        }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.buffer_bytes = (limit / 8).clamp(OUT_BUFFER_BYTES_MIN, OUT_BUFFER_BYTES_MAX);
    }

    /// Bytes waiting, those in flight apart.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    fn held_bytes(&self) -> usize {
        self.queued_bytes + self.flight_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.queued_bytes == 0 && self.flight_bytes == 0
    }

    /// Whether a run may be referenced rather than copied: not by one that lags, which would pin
    /// pages for as long as it likes.
    #[inline]
    pub fn may_share(&self) -> bool {
        let lags = self.flight_bytes != 0 && LAGGING_BYTES < self.queued_bytes;
        !lags && self.shared_pieces < SHARED_PIECES_MAX
    }

    /// Whether frames of this many bytes fit as they are, no policy needed. An empty queue takes any
    /// one message, however small its bound.
    #[inline]
    pub fn has_room(&self, bytes: usize, lane: Lane, budget: &Budget) -> bool {
        let held = self.held_bytes();
        (held == 0 || held + bytes <= share(self.limit, lane)) && budget.has_room(bytes, held, lane)
    }

    /// Queues copies of whole frames for which there is room.
    #[inline]
    pub fn copy(
        &mut self,
        frames: &[u8],
        count: u32,
        lane: Lane,
        budget: &mut Budget,
        spares: &mut Spares,
    ) {
        self.buffer(frames.len(), count, lane, budget, spares).extend_from_slice(frames);
    }

    /// Where to write whole frames of exactly so many bytes, among them `count` messages, for which
    /// there is room.
    #[inline]
    pub fn buffer(
        &mut self,
        bytes_count: usize,
        count: u32,
        lane: Lane,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> &mut Vec<u8> {
        self.queued_bytes += bytes_count;
        budget.used += bytes_count;
        let buffer_bytes = self.buffer_bytes;
        let lane = &mut self.lanes[lane as usize];
        let has_room = |piece: &Piece| match piece {
            Piece::Own { bytes, .. } => bytes.len() + bytes_count <= buffer_bytes,
            Piece::Shared { .. } => false,
        };
        if !lane.back().is_some_and(has_room) {
            lane.push_back(Piece::Own { bytes: spares.take(), from: 0, messages: 0, since: None });
        }
        match lane.back_mut() {
            Some(Piece::Own { bytes, messages, .. }) => {
                *messages += count;
                bytes.reserve(bytes_count);
                bytes
            }
            Some(Piece::Shared { .. }) | None => unreachable!("pushed just above"),
        }
    }

    /// Queues a reference to whole frames for which there is room.
    pub fn reference(&mut self, bytes: Bytes, messages: u32, lane: Lane, budget: &mut Budget) {
        self.queued_bytes += bytes.len();
        budget.used += bytes.len();
        self.shared_pieces += 1;
        self.lanes[lane as usize].push_back(Piece::Shared { bytes, messages });
    }

    /// Offers one message (its `For`, if any, included) to a queue that has no room as it is.
    pub fn offer(
        &mut self,
        message: &[u8],
        lane: Lane,
        overload: Overload,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> Offer {
        let mut displaced = 0;
        while !self.has_room(message.len(), lane, budget) {
            let is_over_budget = !budget.has_room(message.len(), self.held_bytes(), lane);
            if overload == Overload::DropOldest && self.give_up_oldest(lane, budget, spares) {
                displaced += 1;
                continue;
            }
            if is_over_budget {
                return Offer::Dropped(DropReason::MemoryBudget);
            }
            return match overload {
                Overload::DropOldest => Offer::Dropped(DropReason::QueueFullOldest),
                Overload::DropNewest => Offer::Dropped(DropReason::QueueFullNewest),
                Overload::Disconnect => Offer::Disconnect,
            };
        }
        self.copy(message, 1, lane, budget, spares);
        if displaced == 0 { Offer::Queued } else { Offer::Displaced(displaced) }
    }

    /// Queues a control frame. False if the peer has let too many pile up, or more than the reserve
    /// while memory is short.
    #[must_use]
    pub fn say(
        &mut self,
        frame: &[u8],
        lane: Lane,
        budget: &mut Budget,
        spares: &mut Spares,
    ) -> bool {
        let is_over_budget = !budget.has_room(frame.len(), self.held_bytes(), Lane::Urgent);
        let held = self.held_bytes() + frame.len();
        if self.limit + CONTROL_RESERVE_BYTES < held
            || is_over_budget && CONTROL_RESERVE_BYTES < held
        {
            return false;
        }
        self.copy(frame, 0, lane, budget, spares);
        true
    }

    /// Queues a control frame behind everything that is queued.
    pub fn say_last(&mut self, frame: &[u8], budget: &mut Budget, spares: &mut Spares) {
        self.copy(frame, 0, Lane::Bulk, budget, spares);
    }

    /// Moves what goes out next into `pieces`, higher lanes first. Says how many bytes.
    pub fn take_flight(&mut self, pieces: &mut Vec<Piece>) -> usize {
        debug_assert_eq!(self.flight_bytes, 0, "one send in flight");
        let mut taken = 0;
        // A lower lane waits until nothing of a higher one is left, even where it would fit.
        'lanes: for lane in &mut self.lanes {
            while let Some(piece) = lane.front() {
                let bytes = piece.bytes().len();
                let is_full = FLIGHT_BYTES_MAX < taken + bytes || FLIGHT_PIECES_MAX <= pieces.len();
                if is_full && taken != 0 {
                    break 'lanes;
                }
                taken += bytes;
                pieces.extend(lane.pop_front());
            }
        }
        self.queued_bytes -= taken;
        self.flight_bytes = taken;
        taken
    }

    /// What is in flight goes out as `wire`, which carries it.
    pub fn carried(&mut self, pieces: &mut Vec<Piece>, wire: Vec<u8>, spares: &mut Spares) {
        let mut messages = 0;
        for piece in pieces.drain(..) {
            messages += piece.messages();
            self.shared_pieces -= usize::from(piece.is_shared());
            spares.put(piece);
        }
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        pieces.push(Piece::Own { bytes: wire, from: 0, messages, since: None });
    }

    /// The flight is over: all of it is sent, or the connection is lost.
    pub fn landed(&mut self, pieces: &mut Vec<Piece>, budget: &mut Budget, spares: &mut Spares) {
        budget.used -= self.flight_bytes;
        self.flight_bytes = 0;
        for piece in pieces.drain(..) {
            self.shared_pieces -= usize::from(piece.is_shared());
            spares.put(piece);
        }
    }

    /// Drops everything queued; says how many messages that was.
    pub fn clear(&mut self, budget: &mut Budget, spares: &mut Spares) -> u64 {
        let mut messages = 0;
        for lane in &mut self.lanes {
            for piece in lane.drain(..) {
                messages += piece.messages();
                self.shared_pieces -= usize::from(piece.is_shared());
                spares.put(piece);
            }
        }
        budget.used -= self.queued_bytes;
        self.queued_bytes = 0;
        messages
    }

    /// Gives up the oldest message of the lowest lane, down to `lane` itself. False if there is none.
    fn give_up_oldest(&mut self, lane: Lane, budget: &mut Budget, spares: &mut Spares) -> bool {
        for lowest in (lane as usize..LANES).rev() {
            let queue = &mut self.lanes[lowest];
            let oldest = |piece: &Piece| oldest_message(piece.bytes());
            let found = queue.iter().map(oldest).enumerate().find(|&(_, (_, bytes))| bytes != 0);
            let Some((at, (skipped, dropped))) = found else { continue };
            let piece = &mut queue[at];
            piece.give_up(skipped, dropped);
            self.queued_bytes -= dropped;
            budget.used -= dropped;
            if piece.bytes().is_empty()
                && let Some(piece) = queue.remove(at)
            {
                self.shared_pieces -= usize::from(piece.is_shared());
                spares.put(piece);
            }
            return true;
        }
        false
    }
}

/// The urgent lane may fill a bound, the others leave it a tenth.
#[inline]
fn share(limit: usize, lane: Lane) -> usize {
    if lane == Lane::Urgent { limit } else { limit - limit / 10 }
}

/// The frames of a piece, as lengths and kinds.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (usize, Kind)> {
    core::iter::from_fn(move || {
        let (length, kind) = peek(bytes).ok().flatten()?;
        bytes = bytes.get(length..)?;
        Some((length, kind))
    })
}

/// Where the first message of a piece begins, and its bytes with those of its `For`. Control frames
/// before it stay.
fn oldest_message(bytes: &[u8]) -> (usize, usize) {
    let (mut skipped, mut pending) = (0, 0);
    for (length, kind) in frames(bytes) {
        if kind == Kind::Data {
            return (skipped, pending + length);
        }
        if kind == Kind::For {
            pending = length;
        } else {
            skipped += length;
        }
    }
    (skipped, 0)
}

#[cfg(test)]
mod tests;
