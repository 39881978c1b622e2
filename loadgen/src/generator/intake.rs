//! Intake: what a thread does with each message that arrives: read it, enter it, time it.

use crate::board::{Board, Tally};
use crate::brief::{Brief, Exchange};
use crate::bytes;
use crate::framing::{Control, Delivery};
use crate::latency::{LatencyHistogram, Recorder};
use crate::ledger::{Faults, Ledger, Order};
use crate::payload::Stamp;
use crate::wiring::{Flow, Stream};

use super::link::{End, Link};

#[derive(Debug)]
pub(super) struct Intake<'a> {
    brief: &'a Brief,
    board: &'a Board,
    tally: &'a Tally,
    /// Shared by all links of the thread; lent out while one is read.
    buffer: Vec<u8>,
    ledger: Ledger,
    replies: Ledger,
    damage: Faults,
    no_responders: u64,
    latency: Recorder,
    /// When the bytes at hand were read.
    now_ns: u64,
    /// Deliveries not yet counted at their gate: neighbours mostly share one.
    gate: usize,
    gate_deliveries: u64,
}

/// What an intake has taken in all.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) ledger: Ledger,
    pub(super) replies: Ledger,
    pub(super) damage: Faults,
    pub(super) no_responders: u64,
    pub(super) intervals: Vec<LatencyHistogram>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(brief: &'a Brief, board: &'a Board, thread: usize) -> Self {
        let replies_count = match brief.exchange {
            Exchange::OneWay => 0,
            Exchange::RoundTrip { .. } => brief.wiring.streams_count(),
        };
        Self {
            brief,
            board,
            tally: board.tally(thread),
            buffer: vec![0; brief.inbox_bytes()],
            ledger: Ledger::new(Order::Kept, brief.wiring.flows_count()),
            replies: Ledger::new(Order::Free, replies_count),
            damage: Faults::default(),
            no_responders: 0,
            latency: Recorder::new(brief.window),
            now_ns: 0,
            gate: 0,
            gate_deliveries: 0,
        }
    }

    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(super) fn return_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Bytes were just read: everything in them arrived now.
    #[inline]
    pub(super) fn start_chunk(&mut self) {
        self.now_ns = self.brief.now_ns();
    }

    /// A message arrived at `subscriber`.
    #[inline]
    pub(super) fn take_delivery(&mut self, subscriber: u32, delivery: &Delivery<'_>) {
        let Some((stamp, _, flow)) = self.identify(subscriber, delivery) else { return };
        if self.ledger.record(flow.flow, stamp.sequence) {
            self.count_at_gate(flow.gate);
        }
        self.time(stamp);
    }

    /// A request arrived at `subscriber`, which answers it whatever it is: only its order is
    /// entered here, everything else shows in the reply.
    pub(super) fn take_request(&mut self, subscriber: u32, delivery: &Delivery<'_>) {
        if let Some(stamp) = self.brief.codec.read(delivery.payload)
            && let Some(stream) = self.brief.wiring.stream(stamp.stream)
            && self.brief.wiring.name(stream.topic) == delivery.topic
            && let Some(flow) = self.brief.wiring.flow(stream, subscriber, delivery.pattern)
        {
            self.ledger.record(flow.flow, stamp.sequence);
        }
    }

    /// A reply arrived at `publisher`; `belongs` says whether its topic is the one asked for.
    pub(super) fn take_reply(
        &mut self,
        publisher: u32,
        payload: &[u8],
        belongs: impl Fn(Stamp) -> bool,
    ) {
        let Some(stamp) = self.brief.codec.read(payload) else {
            self.damage.corrupted += 1;
            return;
        };
        let stream = self.brief.wiring.stream(stamp.stream);
        if stream.is_none_or(|stream| stream.publisher != publisher) || !belongs(stamp) {
            self.damage.misrouted += 1;
            return;
        }
        if self.replies.record(stamp.stream as usize, stamp.sequence) {
            self.count_at_gate(self.brief.wiring.gates_of(publisher).start);
        }
        self.time(stamp);
    }

    /// Anything that is no message.
    #[cold]
    pub(super) fn take_control(
        &mut self,
        control: Control<'_>,
        link: &mut Link,
    ) -> Result<(), End> {
        match control {
            Control::Ping { token } => link.pong(token),
            Control::NoResponders => self.no_responders += 1,
            Control::Refused { why, detail } => {
                return Err(End::Refused { why: why.to_owned(), detail: detail.to_owned() });
            }
            Control::GoingAway => return Err(End::GoingAway),
            Control::Subscribed | Control::Other => (),
        }
        Ok(())
    }

    /// What the message is, or a mark that it is not what was sent.
    #[inline]
    fn identify(
        &mut self,
        subscriber: u32,
        &Delivery { topic, payload, pattern, .. }: &Delivery<'_>,
    ) -> Option<(Stamp, &'a Stream, Flow)> {
        let wiring = &self.brief.wiring;
        let stamp = self.brief.codec.read(payload);
        let stream = stamp.and_then(|stamp| wiring.stream(stamp.stream));
        let (Some(stamp), Some(stream)) = (stamp, stream) else {
            self.damage.corrupted += 1;
            return None;
        };
        if !bytes::equal(wiring.name(stream.topic), topic) {
            self.damage.corrupted += 1;
            return None;
        }
        let flow = wiring.flow(stream, subscriber, pattern);
        if flow.is_none() {
            self.damage.misrouted += 1;
        }
        flow.map(|flow| (stamp, stream, flow))
    }

    #[inline]
    fn time(&mut self, stamp: Stamp) {
        if stamp.sequence.wrapping_add(stamp.stream) & self.brief.sample_mask == 0 {
            self.latency.record(stamp.due_ns, self.now_ns, &self.tally.sketch);
        }
    }

    #[inline]
    fn count_at_gate(&mut self, gate: usize) {
        if gate != self.gate {
            self.open_gate();
            self.gate = gate;
        }
        self.gate_deliveries += 1;
    }

    /// Counts what is held back; to be called before the publishers look.
    #[inline]
    pub(super) fn open_gate(&mut self) {
        if self.gate_deliveries != 0 {
            self.board.open_gate(self.gate, self.gate_deliveries);
            self.gate_deliveries = 0;
        }
    }

    /// Messages that count as received: deliveries, or replies.
    pub(super) fn received(&self) -> u64 {
        match self.brief.exchange {
            Exchange::OneWay => self.ledger.received(),
            Exchange::RoundTrip { .. } => self.replies.received(),
        }
    }

    pub(super) fn into_taken(self) -> Taken {
        Taken {
            ledger: self.ledger,
            replies: self.replies,
            damage: self.damage,
            no_responders: self.no_responders,
            intervals: self.latency.into_intervals(),
        }
    }
}
