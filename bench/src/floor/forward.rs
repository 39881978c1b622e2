//! What the floor does with bytes: finds frames, looks up topics, queues.
//!
//! Frames are trusted to the extent memory allows: lengths are checked, contents are not.

use std::rc::Rc;

use ahash::HashMap;
use anyhow::Context;
use mpreg_proto::envelope::ArchivedEnvelope;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{self, Connected, Decoded, Frame, Kind, Refusal, Subscribe};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::{SessionId, Sid};
use mpreg_proto::limits::{ENVELOPE_BYTES, FRAME_BYTES_MAX, HELLO_BYTES};
use mpreg_proto::topic::Pattern;

use super::Variant;
use super::arena::{Arena, Place};
use super::ring::{Completion, ConnectionIx, Payload, Ring};

/// Told to clients; the floor itself never pings.
const PING_INTERVAL_MS: u32 = 10_000;

/// Told to clients as the node's id.
const NODE: u128 = 0;

pub(super) struct Forwarder {
    /// By [`ConnectionIx`].
    connections: Vec<Connection>,
    /// Who asked for a topic, each connection once.
    topics: HashMap<Rc<[u8]>, Vec<ConnectionIx>>,
    /// Connections with something queued that may not have been handed to the ring.
    dirty: Vec<ConnectionIx>,
    variant: Variant,
    arena: Arena,
}

#[derive(Default)]
struct Connection {
    /// Its hello has come.
    is_greeted: bool,
    is_sending: bool,
    is_dirty: bool,
    /// The beginning of a frame of which the rest has not come.
    partial: Vec<u8>,
    queue: Payload,
    /// The queue that was sent last, empty: its memory is used again.
    spare: Payload,
    topics: Vec<Rc<[u8]>>,
}

/// The peer said something that cannot be answered.
struct Nonsense;

impl Forwarder {
    pub(super) fn new(variant: Variant) -> Self {
        Self {
            connections: Vec::new(),
            topics: HashMap::default(),
            dirty: Vec::new(),
            variant,
            arena: Arena::new(),
        }
    }

    pub(super) fn handle(&mut self, completion: Completion, ring: &mut Ring) -> anyhow::Result<()> {
        match completion {
            Completion::Accepted(ix) => self.open(ix),
            Completion::AcceptFailed(error) => return Err(error).context("accepting connections"),
            Completion::Received { from, chunk } => {
                let understood = self.receive(from, ring.bytes(&chunk));
                ring.give_back(chunk);
                if understood.is_err() {
                    ring.close(from);
                }
            }
            Completion::Sent { to, mut payload } => {
                payload.clear();
                let connection = &mut self.connections[to.index()];
                connection.spare = payload;
                connection.is_sending = false;
                if !connection.queue.is_empty() {
                    self.mark_dirty(to);
                }
            }
            Completion::Ended(ix) => self.forget(ix),
        }
        Ok(())
    }

    /// Hands every queue that changed to the ring: one send in flight per connection, what comes
    /// meanwhile goes with the next.
    pub(super) fn flush(&mut self, ring: &mut Ring) {
        for ix in self.dirty.drain(..) {
            let connection = &mut self.connections[ix.index()];
            connection.is_dirty = false;
            if !connection.is_sending && !connection.queue.is_empty() {
                connection.is_sending = true;
                let spare = std::mem::take(&mut connection.spare);
                ring.send(ix, std::mem::replace(&mut connection.queue, spare));
            }
        }
    }

    fn open(&mut self, ix: ConnectionIx) {
        if self.connections.len() <= ix.index() {
            self.connections.resize_with(ix.index() + 1, Connection::default);
        }
        let empty = || match self.variant {
            Variant::Copy | Variant::Runs => Payload::Bytes(Vec::new()),
            Variant::Arena => Payload::Segments(Vec::new()),
        };
        self.connections[ix.index()] =
            Connection { queue: empty(), spare: empty(), ..Connection::default() };
    }

    /// Drops everything of a connection but the send in flight, which the ring holds.
    fn forget(&mut self, ix: ConnectionIx) {
        let connection = &mut self.connections[ix.index()];
        connection.queue.clear();
        connection.partial = Vec::new();
        for topic in std::mem::take(&mut connection.topics) {
            if let Some(subscribers) = self.topics.get_mut(&topic) {
                subscribers.retain(|subscriber| *subscriber != ix);
                if subscribers.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
    }

    fn receive(&mut self, from: ConnectionIx, mut bytes: &[u8]) -> Result<(), Nonsense> {
        if !self.connections[from.index()].partial.is_empty() {
            bytes = self.complete_partial(from, bytes)?;
        }
        let used = self.take_whole(from, bytes)?;
        self.connections[from.index()].partial.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    /// Finishes the frame that came in pieces; returns what lies behind it.
    fn complete_partial<'a>(
        &mut self,
        from: ConnectionIx,
        mut bytes: &'a [u8],
    ) -> Result<&'a [u8], Nonsense> {
        loop {
            let connection = &mut self.connections[from.index()];
            let need = need(connection.is_greeted, &connection.partial)?;
            let missing = need.saturating_sub(connection.partial.len());
            if missing == 0 {
                let mut whole = std::mem::take(&mut connection.partial);
                self.take_whole(from, &whole)?;
                whole.clear();
                self.connections[from.index()].partial = whole;
                return Ok(bytes);
            }
            if bytes.is_empty() {
                return Ok(bytes);
            }
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            connection.partial.extend_from_slice(piece);
            bytes = rest;
        }
    }

    /// Takes what is whole at the front of `bytes`; returns how much that was.
    fn take_whole(&mut self, from: ConnectionIx, bytes: &[u8]) -> Result<usize, Nonsense> {
        let place = match self.variant {
            Variant::Arena if !bytes.is_empty() => Some(self.arena.store(bytes)),
            Variant::Copy | Variant::Arena | Variant::Runs => None,
        };
        let mut used = 0;
        if !self.connections[from.index()].is_greeted {
            let Some(hello) = bytes.first_chunk::<HELLO_BYTES>() else { return Ok(0) };
            self.greet(from, hello)?;
            used = HELLO_BYTES;
        }
        while let Some((frame_bytes, kind)) = frame::peek(&bytes[used..]).map_err(|_| Nonsense)? {
            let Some(mut whole) = bytes.get(used..used + frame_bytes) else { break };
            if kind == Kind::Data {
                if self.variant == Variant::Runs {
                    whole = &bytes[used..used + run_bytes(&bytes[used..], whole)];
                }
                self.forward(whole, used, place.as_ref())?;
            } else {
                self.command(from, whole)?;
            }
            used += whole.len();
        }
        Ok(used)
    }

    /// The hot path: a lookup, then one append per subscriber. `whole` is one frame, or several of
    /// one topic.
    #[inline]
    fn forward(
        &mut self,
        whole: &[u8],
        offset: usize,
        place: Option<&Place>,
    ) -> Result<(), Nonsense> {
        let topic = topic_of(whole).ok_or(Nonsense)?;
        let Some(subscribers) = self.topics.get(topic) else { return Ok(()) };
        for &to in subscribers {
            let connection = &mut self.connections[to.index()];
            match (&mut connection.queue, place) {
                (Payload::Segments(queue), Some(place)) => {
                    place.queue(offset, whole.len(), queue);
                }
                (Payload::Bytes(queue), _) => queue.extend_from_slice(whole),
                (Payload::Segments(_), None) => unreachable!("this variant stores what it reads"),
            }
            if !connection.is_dirty {
                connection.is_dirty = true;
                self.dirty.push(to);
            }
        }
        Ok(())
    }

    fn greet(&mut self, from: ConnectionIx, hello: &[u8; HELLO_BYTES]) -> Result<(), Nonsense> {
        let answer = Hello::parse(hello).and_then(|hello| hello.answer(NODE, 0));
        let answer = answer.map_err(|_| Nonsense)?;
        self.connections[from.index()].is_greeted = true;
        self.queue_bytes(from, &answer.to_bytes());
        Ok(())
    }

    fn command(&mut self, from: ConnectionIx, whole: &[u8]) -> Result<(), Nonsense> {
        let Ok(Decoded::Frame { frame, .. }) = frame::decode(whole) else { return Err(Nonsense) };
        let answer = match frame {
            Frame::Connect(_) => Frame::Connected(Connected {
                session: SessionId(from.index() as u64),
                frame_bytes_max: FRAME_BYTES_MAX as u32,
                queue_bytes: u32::MAX,
                ping_interval_ms: PING_INTERVAL_MS,
                subscriptions_max: u32::MAX,
            }),
            Frame::Subscribe(Subscribe { sid, pattern, group, .. }) => {
                match Pattern::parse(pattern) {
                    Ok(pattern) if pattern.is_literal() && group.is_empty() => {
                        self.subscribe(from, pattern.as_bytes());
                        Frame::Subscribed { sid }
                    }
                    Ok(_) => refusal(sid, "the floor knows literal topics only, and no groups"),
                    Err(code) => Frame::Error(Refusal { code, sid, text: "" }),
                }
            }
            Frame::Unsubscribe { sid, .. } => Frame::Unsubscribed { sid },
            Frame::Ping { token } => Frame::Pong { token },
            Frame::Drain => Frame::Drained,
            Frame::Pong { .. } => return Ok(()),
            Frame::Data(_)
            | Frame::Connected(_)
            | Frame::Subscribed { .. }
            | Frame::Unsubscribed { .. }
            | Frame::Drained
            | Frame::For { .. }
            | Frame::NoResponders { .. }
            | Frame::Error(_)
            | Frame::GoingAway
            | Frame::Rpc(_) => return Err(Nonsense),
        };
        let mut bytes = Vec::new();
        answer.put(&mut bytes);
        self.queue_bytes(from, &bytes);
        Ok(())
    }

    fn subscribe(&mut self, from: ConnectionIx, topic: &[u8]) {
        let topic: Rc<[u8]> = topic.into();
        let subscribers = self.topics.entry(Rc::clone(&topic)).or_default();
        if !subscribers.contains(&from) {
            subscribers.push(from);
            self.connections[from.index()].topics.push(topic);
        }
    }

    /// Queues bytes of the floor's own.
    fn queue_bytes(&mut self, to: ConnectionIx, bytes: &[u8]) {
        match &mut self.connections[to.index()].queue {
            Payload::Bytes(queue) => queue.extend_from_slice(bytes),
            Payload::Segments(queue) => self.arena.store(bytes).queue(0, bytes.len(), queue),
        }
        self.mark_dirty(to);
    }

    fn mark_dirty(&mut self, ix: ConnectionIx) {
        let connection = &mut self.connections[ix.index()];
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(ix);
        }
    }
}

#[inline]
fn topic_of(frame: &[u8]) -> Option<&[u8]> {
    let envelope = ArchivedEnvelope::access(frame)?;
    frame.get(ENVELOPE_BYTES..ENVELOPE_BYTES + usize::from(envelope.topic_bytes))
}

/// Bytes of the frames at the front of `bytes` that are whole and of the topic of `first`.
fn run_bytes(bytes: &[u8], first: &[u8]) -> usize {
    let topic = topic_of(first);
    let mut run = first.len();
    while let Ok(Some((frame_bytes, Kind::Data))) = frame::peek(&bytes[run..])
        && let Some(next) = bytes.get(run..run + frame_bytes)
        && topic_of(next) == topic
    {
        run += frame_bytes;
    }
    run
}

fn refusal(sid: Sid, text: &str) -> Frame<'_> {
    Frame::Error(Refusal { code: ErrorCode::BadPattern, sid, text })
}

/// Bytes that what `partial` begins will have.
fn need(is_greeted: bool, partial: &[u8]) -> Result<usize, Nonsense> {
    if !is_greeted {
        return Ok(HELLO_BYTES);
    }
    match frame::peek(partial).map_err(|_| Nonsense)? {
        Some((frame_bytes, _)) => Ok(frame_bytes),
        None => Ok(5),
    }
}
