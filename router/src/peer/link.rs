//! One connection to another node, as bytes: TLS, the hello, then frames, without I/O.
//!
//! ```text
//!   dialled    SECURING --secured--> DECIDING --greet--> GREETING --greeted--> DECIDING --open--> UP
//!   accepted   SECURING --secured--> GREETING --greeted--> DECIDING --answer and open-----------> UP
//!                                                                 \--answer and refuse--> CLOSING
//!                                                            UP --leave--> LEAVING --written--> CLOSING
//! ```
//!
//! Bytes come in by [`Link::take`], and [`Link::next`] tells one by one what they were; bytes go out by
//! [`Link::output`]. Whether there is to be a link is decided outside, between two calls of `next`.
//!
//! Invariants:
//! - Until the other's certificate was verified nothing of it is read; until its hello was accepted,
//!   nothing but that.
//! - A frame is told of once it is whole, and its length is checked before it is waited for.
//! - Pings and answers to them are in front of everything. Nothing is heard for the silence, or a ping is
//!   not answered for the hold: the link ends.
//! - The end is told once, after what came before it.
//!
//! Tests: `link/tests.rs`.

use core::time::Duration;
use std::collections::VecDeque;

use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::limits::HELLO_BYTES;
use mpreg_proto::peer::{self, Decoded, Frame, Lane, Plane};
use mpreg_proto::peer_hello::PeerHello;
use rustls::Connection;

use super::lanes::{Lanes, NotQueued};
use super::name::PeerName;
use super::tls::{Credentials, Tls};
use crate::limits::{PEER_PINGS_OUT_MAX, PEER_PONGS_WAITING_MAX, PEER_WIRE_BYTES};

/// Who began the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Dialled,
    Accepted,
}

impl Side {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dialled => "dialled",
            Self::Accepted => "accepted",
        }
    }
}

/// How long a link waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the connection to the hello.
    pub handshake: Duration,
    pub ping_interval: Duration,
    /// Without a byte from the other.
    pub silence: Duration,
    /// For the answer to a ping.
    pub hold: Duration,
    /// From the last word to the end of the connection.
    pub linger: Duration,
}

impl Timing {
    /// Whether a silent node is alive is for the membership to say, in far less time. A link outlives a
    /// node that was stopped for some seconds, so that its first words say that it is back.
    pub fn new(handshake: Duration, ping_interval: Duration) -> Self {
        Self {
            handshake,
            ping_interval,
            silence: 10 * ping_interval,
            hold: 20 * ping_interval,
            linger: Duration::from_secs(1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Securing,
    Greeting,
    Deciding,
    Up,
    /// What is queued is still said; what comes is not looked at.
    Leaving,
    /// The last word is on its way.
    Closing,
}

/// What came of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// It is known who the other is.
    Secured(PeerName),
    Greeted(PeerHello),
    Frame {
        plane: u8,
        lane: Lane,
        body: Vec<u8>,
    },
    /// From a ping to its answer.
    Measured(Duration),
    /// Nothing comes after this.
    Ended(LinkEndReason),
}

#[derive(Debug)]
pub(super) struct Link {
    side: Side,
    timing: Timing,
    phase: Phase,
    tls: Tls,
    /// Decrypted; those up to `read` are done with.
    plain: Vec<u8>,
    read: usize,
    lanes: Lanes,
    /// Answers to pings, in front of the lanes.
    pongs: VecDeque<[u8; TOKEN_BYTES]>,
    wants_ping: bool,
    /// Sealed; those up to `sent` are the kernel's.
    wire: Vec<u8>,
    sent: usize,
    /// When the phase is over, whatever comes.
    phase_until: Instant,
    heard: Instant,
    ping_due: Instant,
    /// When the pings were said that are not answered.
    pings: VecDeque<Instant>,
    /// Why it ends, not told yet.
    end: Option<LinkEndReason>,
}

const TOKEN_BYTES: usize = 8;

/// Bytes sealed together.
const BATCH_BYTES: usize = 16 << 10;

impl Link {
    pub(super) fn new(side: Side, credentials: &Credentials, timing: Timing, now: Instant) -> Self {
        let mut tls = match side {
            Side::Dialled => Tls::dialling(credentials),
            Side::Accepted => Tls::accepting(credentials),
        };
        let mut wire = Vec::new();
        tls.flush(&mut wire);
        Self {
            side,
            timing,
            phase: Phase::Securing,
            tls,
            plain: Vec::new(),
            read: 0,
            lanes: Lanes::default(),
            pongs: VecDeque::new(),
            wants_ping: false,
            wire,
            sent: 0,
            phase_until: now + timing.handshake,
            heard: now,
            ping_due: now,
            pings: VecDeque::new(),
            end: None,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Bytes queued and not sealed yet.
    pub(super) fn queued_bytes(&self) -> usize {
        self.lanes.bytes()
    }

    /// Takes what was received; [`Self::next`] says what it was.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        if matches!(self.phase, Phase::Leaving | Phase::Closing) || self.end.is_some() {
            return;
        }
        let taken = self.tls.receive(bytes, &mut self.plain, &mut self.wire);
        self.end = taken.err();
    }

    /// The connection is at its end: `end` says how.
    pub(super) fn hung_up(&mut self, end: LinkEndReason) {
        self.end.get_or_insert(end);
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Happening> {
        let happening = match self.phase {
            Phase::Securing => self.secured(),
            Phase::Greeting => self.greeted(),
            Phase::Up => self.frame(now),
            Phase::Deciding | Phase::Leaving | Phase::Closing => None,
        };
        if happening.is_some() {
            return happening;
        }
        self.plain.drain(..self.read);
        self.read = 0;
        if matches!(self.phase, Phase::Leaving | Phase::Closing) {
            return None;
        }
        let end = self.end.take()?;
        self.close(now);
        Some(Happening::Ended(end))
    }

    fn secured(&mut self) -> Option<Happening> {
        let name = self.tls.name()?;
        self.phase = match self.side {
            Side::Dialled => Phase::Deciding,
            Side::Accepted => Phase::Greeting,
        };
        Some(Happening::Secured(name))
    }

    fn greeted(&mut self) -> Option<Happening> {
        let bytes: &[u8; HELLO_BYTES] = self.plain[self.read..].first_chunk()?;
        match PeerHello::parse(bytes) {
            Ok(hello) => {
                self.read += HELLO_BYTES;
                self.phase = Phase::Deciding;
                Some(Happening::Greeted(hello))
            }
            Err(_) => {
                self.end = Some(LinkEndReason::BadHello);
                None
            }
        }
    }

    /// The next frame that is not the link's own.
    fn frame(&mut self, now: Instant) -> Option<Happening> {
        loop {
            let rest = &self.plain[self.read..];
            let (frame, bytes) = match read_frame(rest) {
                Ok(None) => return None,
                Ok(Some(read)) => read,
                Err(end) => {
                    self.end = Some(end);
                    return None;
                }
            };
            self.read += bytes;
            match frame.plane() {
                Some(Plane::Ping) => match frame.body.try_into() {
                    Ok(token) => {
                        if PEER_PONGS_WAITING_MAX <= self.pongs.len() {
                            self.pongs.pop_front();
                        }
                        self.pongs.push_back(token);
                    }
                    Err(_) => self.end = Some(LinkEndReason::BadFrame),
                },
                Some(Plane::Pong) => {
                    let token = frame.body.try_into().map(u64::from_le_bytes);
                    let said = token.ok().and_then(|token| self.answered(token));
                    if let Some(said) = said {
                        return Some(Happening::Measured(now.since(said)));
                    }
                }
                Some(Plane::Data) => self.end = Some(LinkEndReason::UnexpectedFrame),
                Some(Plane::Member | Plane::Catalog | Plane::Route | Plane::LinkState) | None => {
                    let body = frame.body.to_vec();
                    return Some(Happening::Frame { plane: frame.plane, lane: frame.lane, body });
                }
            }
            if self.end.is_some() {
                return None;
            }
        }
    }

    /// When the ping was said that this answers. Those before it need no answer any more.
    fn answered(&mut self, token: u64) -> Option<Instant> {
        let place = self.pings.iter().position(|said| said.as_nanos() == token)?;
        self.pings.drain(..=place).next_back()
    }

    /// Says who dials. Allowed once, when secured.
    pub(super) fn greet(&mut self, hello: &PeerHello) {
        assert!(self.phase == Phase::Deciding && self.side == Side::Dialled);
        self.tls.seal(&hello.to_bytes(), &mut self.wire);
        self.phase = Phase::Greeting;
    }

    /// There is a link from here on. The side that accepted says so with `answer`.
    pub(super) fn open(&mut self, answer: Option<&PeerHello>, now: Instant) {
        assert!(self.phase == Phase::Deciding);
        if let Some(answer) = answer {
            self.tls.seal(&answer.to_bytes(), &mut self.wire);
        }
        self.phase = Phase::Up;
        self.heard = now;
        self.ping_due = now;
    }

    /// Both sides want what is to be served elsewhere. The side that accepted says so.
    pub(super) fn agree(&mut self, answer: &PeerHello) {
        assert!(self.phase == Phase::Deciding && self.side == Side::Accepted);
        self.tls.seal(&answer.to_bytes(), &mut self.wire);
    }

    /// For whoever goes on with it: the layer, what was decrypted and not read, what was sealed and not
    /// sent.
    pub(super) fn into_parts(mut self) -> (Connection, Vec<u8>, Vec<u8>) {
        self.plain.drain(..self.read);
        self.wire.drain(..self.sent);
        (self.tls.into_connection(), self.plain, self.wire)
    }

    /// There is no link; `answer` says why, if the other waits for one.
    pub(super) fn refuse(&mut self, answer: Option<&PeerHello>, now: Instant) {
        if let Some(answer) = answer {
            self.tls.seal(&answer.to_bytes(), &mut self.wire);
        }
        self.close(now);
    }

    /// The last word. What is queued is given up.
    pub(super) fn close(&mut self, now: Instant) {
        if self.phase != Phase::Closing {
            self.tls.close(&mut self.wire);
            self.phase = Phase::Closing;
            self.phase_until = now + self.timing.linger;
        }
    }

    /// The last word, once what is queued is said.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.phase == Phase::Up {
            self.phase = Phase::Leaving;
            self.phase_until = now + self.timing.linger;
        } else {
            self.close(now);
        }
    }

    /// Queues a frame.
    pub(super) fn queue(&mut self, frame: Frame<'_>) -> Result<(), NotQueued> {
        self.lanes.push(frame)
    }

    /// What is to be sent next; empty if there is nothing.
    pub(super) fn output(&mut self, now: Instant) -> &[u8] {
        self.wire.drain(..self.sent);
        self.sent = 0;
        while matches!(self.phase, Phase::Up | Phase::Leaving) && self.wire.len() < PEER_WIRE_BYTES
        {
            let batch = self.batch(now);
            if batch.is_empty() && self.phase == Phase::Leaving {
                self.close(now);
            }
            if batch.is_empty() {
                break;
            }
            self.tls.seal(&batch, &mut self.wire);
        }
        &self.wire
    }

    /// The kernel took so many bytes of [`Self::output`].
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Frames to be sealed together, the most urgent first.
    fn batch(&mut self, now: Instant) -> Vec<u8> {
        let mut batch = Vec::new();
        let own = |plane: Plane, body: &[u8], batch: &mut Vec<u8>| {
            let frame = Frame { plane: plane as u8, lane: Lane::Control, body };
            frame.put(batch).expect("eight bytes are not too long");
        };
        for token in self.pongs.drain(..) {
            own(Plane::Pong, &token, &mut batch);
        }
        if std::mem::take(&mut self.wants_ping) {
            own(Plane::Ping, &now.as_nanos().to_le_bytes(), &mut batch);
            if self.pings.len() < PEER_PINGS_OUT_MAX {
                self.pings.push_back(now);
            }
        }
        while batch.len() < BATCH_BYTES
            && let Some(frame) = self.lanes.pop()
        {
            batch.extend_from_slice(&frame);
        }
        batch
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Securing
            | Phase::Greeting
            | Phase::Deciding
            | Phase::Leaving
            | Phase::Closing => self.phase_until,
            Phase::Up => {
                let silent = self.heard + self.timing.silence;
                let held =
                    self.pings.front().map_or(Instant::NEVER, |&said| said + self.timing.hold);
                self.ping_due.min(silent).min(held)
            }
        }
    }

    /// Does what is due. True: the connection is to be given up.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if now < self.deadline() {
            return false;
        }
        match self.phase {
            Phase::Securing | Phase::Greeting | Phase::Deciding => {
                self.end.get_or_insert(LinkEndReason::HandshakeTimeout);
            }
            Phase::Leaving | Phase::Closing => return true,
            Phase::Up => self.keep_alive(now),
        }
        false
    }

    fn keep_alive(&mut self, now: Instant) {
        let is_held = self.pings.front().is_some_and(|&said| said + self.timing.hold <= now);
        if self.heard + self.timing.silence <= now {
            self.end.get_or_insert(LinkEndReason::Silent);
        } else if is_held {
            self.end.get_or_insert(LinkEndReason::SendHold);
        }
        if self.ping_due <= now {
            self.ping_due = now + self.timing.ping_interval;
            self.wants_ping = true;
        }
    }
}

/// The frame at the front, with the bytes it took. Frames of messages have no place here, so that
/// nothing waits for as many bytes as they may have.
fn read_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, LinkEndReason> {
    let end = |code: ErrorCode| match code == ErrorCode::FrameTooLarge {
        true => LinkEndReason::FrameTooLarge,
        false => LinkEndReason::BadFrame,
    };
    match peer::peek(bytes).map_err(end)? {
        None => return Ok(None),
        Some((_, plane)) if plane == Plane::Data as u8 => {
            return Err(LinkEndReason::UnexpectedFrame);
        }
        Some(_) => (),
    }
    match peer::decode(bytes).map_err(end)? {
        Decoded::Need(_) => Ok(None),
        Decoded::Frame { frame, bytes } => Ok(Some((frame, bytes))),
    }
}

#[cfg(test)]
mod tests;
