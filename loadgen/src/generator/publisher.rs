//! Publisher: one connection that publishes its streams in turn, and in request-reply takes the
//! replies.

use std::ops::Range;

use super::batch::{Batch, Message, digits};
use super::intake::Intake;
use super::link::{End, Link};
use crate::board::Board;
use crate::brief::Brief;
use crate::framing::{Delivery, What};
use crate::payload::Stamp;
use crate::schedule::Schedule;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) number: u32,
    pub(super) link: Link,
    inbox: String,
    streams: Range<u32>,
    gates: Range<usize>,
    /// The stream of the next message, and that message's number on it.
    stream: u32,
    sequence: u64,
    published: u64,
    owed: u64,
    /// What the gates must reach for everything published to have arrived.
    gate_owed: u64,
}

impl Publisher {
    pub(super) fn new(number: u32, link: Link, brief: &Brief) -> Self {
        let wiring = &brief.wiring;
        let streams = wiring.streams_of(number);
        Self {
            number,
            link,
            inbox: brief.exchange.inbox(number),
            gates: wiring.gates_of(number),
            stream: streams.start,
            streams,
            sequence: 0,
            published: 0,
            owed: 0,
            gate_owed: 0,
        }
    }

    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// Deliveries that what was published must become.
    pub(super) fn owed(&self) -> u64 {
        self.owed
    }

    /// Messages it may publish before its window is full.
    #[inline]
    pub(super) fn room(&self, window: u64, board: &Board) -> u64 {
        let arrived = board.slowest(self.gates.clone());
        window.saturating_sub(self.gate_owed.saturating_sub(arrived))
    }

    /// Publishes what the schedule says is due, at most `most` messages and as long as the socket
    /// takes them; how many those were.
    pub(super) fn publish_due(
        &mut self,
        schedule: &Schedule,
        now_ns: u64,
        most: u64,
        brief: &Brief,
        batch: &mut Batch,
    ) -> u64 {
        let before = self.published;
        let due = schedule.due_count(self.number, now_ns.min(brief.window.to_ns - 1));
        let end = due.min(before.saturating_add(most));
        while self.published < end && !self.link.is_blocked() {
            let count = (end - self.published).min(batch.slots() as u64);
            let number = self.number;
            self.publish(count, brief, batch, |published| schedule.due_ns(number, published));
        }
        self.published - before
    }

    /// Publishes `count` messages, at most a batch; `due_ns` says when each was due.
    pub(super) fn publish(
        &mut self,
        count: u64,
        brief: &Brief,
        batch: &mut Batch,
        due_ns: impl Fn(u64) -> u64,
    ) {
        let slots = count as usize;
        for slot in 0..slots {
            let topic = brief.wiring.stream(self.stream).expect("streams are the wiring's").topic;
            let stamp = Stamp {
                stream: self.stream,
                sequence: self.sequence as u32,
                due_ns: due_ns(self.published),
            };
            let message = Message { stamp, topic, number: self.published };
            batch.cast(slot, &message, &self.inbox, brief);
            self.owed += brief.wiring.copies(self.stream);
            self.gate_owed += brief.wiring.gate_weight(self.stream);
            self.published += 1;
            self.stream += 1;
            if self.stream == self.streams.end {
                self.stream = self.streams.start;
                self.sequence += 1;
            }
        }
        self.link.send(batch.frames(slots));
    }

    /// Takes what the router sent: replies, pings, refusals.
    pub(super) fn receive(&mut self, brief: &Brief, intake: &mut Intake<'_>) -> Result<(), End> {
        let Self { number, link, inbox, streams, .. } = self;
        let mut buffer = intake.take_buffer();
        let result = loop {
            let drained = link.receive(&mut buffer, |link, bytes| {
                intake.start_chunk();
                let mut at = 0;
                while let Some(inbound) =
                    brief.reply.next(&bytes[at..]).map_err(|why| End::NotAFrame { why })?
                {
                    at += inbound.bytes;
                    match inbound.what {
                        What::Delivery(Delivery { topic, payload, pattern, .. }) => {
                            let belongs = |stamp: Stamp| {
                                // An inbox is all it subscribes to.
                                pattern.is_none_or(|pattern| pattern == 0)
                                    && is_reply_to(stamp, streams, inbox, topic)
                            };
                            intake.take_reply(*number, payload, belongs);
                        }
                        What::Control(control) => intake.take_control(control, link)?,
                    }
                }
                Ok(at)
            });
            match drained {
                Ok(super::link::Drained::No) => (),
                Ok(super::link::Drained::Yes) => break Ok(()),
                Err(end) => break Err(end),
            }
        };
        intake.return_buffer(buffer);
        result
    }
}

/// Whether the reply came to the very topic its request named.
fn is_reply_to(stamp: Stamp, streams: &Range<u32>, inbox: &str, topic: &[u8]) -> bool {
    let place = stamp.stream.wrapping_sub(streams.start);
    let number = stamp.sequence.wrapping_mul(streams.len() as u32).wrapping_add(place);
    topic.strip_prefix(inbox.as_bytes()) == Some(&digits(number)[..])
}
