//! One direction of a link: lanes that wait, frames on their way, and how it ends.
//!
//! ```text
//!   send --> lanes (bounded, the highest first) --depart--> on the way --arrive--> the other end
//! ```
//!
//! Invariants:
//! - Frames of one lane arrive in the order they were sent, each once.
//! - After `finish` what waits still arrives; after `cut` only what was on its way and not lost.

use std::collections::VecDeque;

use bytes::Bytes;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_proto::limits::FRAME_HEADER_BYTES;
use mpreg_proto::peer::{Lane, Plane};

/// A frame that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) plane: Plane,
    pub(super) lane: Lane,
    pub(super) body: Bytes,
    pub(super) sort: Sort,
}

/// What the simulator has to know of a frame that the frame does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Plain,
    /// A message, sent where it has been.
    Echo,
    /// What a node says while it leaves.
    Goodbye,
    /// What was said before.
    Again,
}

impl Sent {
    pub(super) fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    lanes: [VecDeque<Sent>; Lane::ALL.len()],
    lane_bytes: [usize; Lane::ALL.len()],
    on_the_way: VecDeque<(Instant, Sent)>,
    last_arrival: Option<Instant>,
    /// A departure is pending.
    pub(super) is_departing: bool,
    /// Nothing more is sent; once all has arrived the other end is told.
    is_ended: bool,
    /// Nothing arrives any more, and nobody says so.
    pub(super) is_dead: bool,
    /// When it fell silent.
    pub(super) silent_since: Option<Instant>,
}

impl Stream {
    /// Queues a frame; whether there was room for it.
    pub(super) fn send(&mut self, frame: Sent, lane_bytes_max: usize) -> bool {
        let lane = frame.lane as usize;
        let bytes = &mut self.lane_bytes[lane];
        if self.is_ended || lane_bytes_max < *bytes + frame.bytes() {
            return false;
        }
        *bytes += frame.bytes();
        self.lanes[lane].push_back(frame);
        true
    }

    /// The frame that departs next.
    pub(super) fn take(&mut self) -> Option<Sent> {
        let lane = self.lanes.iter().position(|lane| !lane.is_empty())?;
        let frame = self.lanes[lane].pop_front()?;
        self.lane_bytes[lane] -= frame.bytes();
        Some(frame)
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Puts a frame on its way; when it arrives, behind those before it.
    pub(super) fn fly(&mut self, frame: Sent, at: Instant) -> Instant {
        let at = self.last_arrival.map_or(at, |last| last.max(at));
        self.last_arrival = Some(at);
        self.on_the_way.push_back((at, frame));
        at
    }

    /// The next frame, if it is there by now.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Sent> {
        let (at, _) = self.on_the_way.front()?;
        if *at <= now { self.on_the_way.pop_front().map(|(_, frame)| frame) } else { None }
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(at, _)| *at)
    }

    /// Nothing more is sent.
    pub(super) fn finish(&mut self) {
        self.is_ended = true;
    }

    /// Nothing more is sent, and the last of what was is lost.
    pub(super) fn cut(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.on_the_way.len() as u32 + 1) as usize;
        self.on_the_way.truncate(kept);
        self.lanes = Default::default();
        self.lane_bytes = Default::default();
        self.is_ended = true;
    }

    /// Everything that will ever arrive has.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended && self.on_the_way.is_empty() && !self.has_waiting()
    }
}
