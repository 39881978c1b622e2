//! One data shard: its client sessions, what they subscribe to, and where a topic goes.
//!
//! The root machine of a shard. It joins `session` (one connection), `subscription` (patterns of
//! this shard's clients), `interest` (which shards want which topics) and `forward` (the route of a
//! topic, remembered), and passes what one says to the others. Bytes stay with the shell: it asks
//! [`Shard::route`] per topic and copies; the machine never sees a payload.
//!
//! ```text
//!   client frames --> handle --> Effect::{Say, End, ...} --> the client's queue
//!   other shards  --> handle --> Effect::Handoff         --> rings to other shards
//!   messages      --> route  --> Targets                 --> queues and rings, by the shell
//! ```
//!
//! Invariants:
//! - `Subscribed` is said once every shard routes the pattern's messages here.
//! - A session's slot is freed once, after its socket is closed and its subscriptions are gone.
//! - A subscription is in the session's table, in `subs` and in `index`, or in none of them.
//!
//! Parts: `route.rs` (the hot path), `audience.rs` (other nodes), `subscribe.rs` (subscriptions and
//! wants), `tests.rs`;
//! whole nodes of shards are tested in the simulator (`tests/src/world.rs`).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use ahash::RandomState;
use bytes::Bytes;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Connect, Connected, Echo, Frame, Overload, Refusal};
use mpreg_proto::hello::{FUNCTIONS, Hello};
use mpreg_proto::id::{NodeId, SessionId, ShardIx, Sid};
use mpreg_proto::limits::{FRAME_BYTES_MAX, HELLO_BYTES};
use mpreg_proto::topic::Dialect;
use slab::Slab;

use crate::fact::EndReason;
use crate::forward::{Held, Routes, Targets};
use crate::handoff::{Handoff, Scope, Spelled, Ticket};
use crate::id::{SessionIx, SubIx};
use crate::interest::{self, Interest};
use crate::limits::Bounds;
use crate::rng::Rng;
use crate::session::{Due, Phase, Protocol, Session, Timing};
use crate::subscription::Index;
use crate::time::Instant;

mod audience;
mod route;
mod subscribe;

use audience::Others;
pub use route::{Place, Route};
pub use subscribe::Subscribed;

/// What a shard is told at start. The seeds come from the node's one seed; all shards of a node
/// share `topic_seed`, so they agree on who owns a topic.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub node: NodeId,
    pub me: ShardIx,
    pub shards_count: usize,
    pub topic_seed: u64,
    pub seed: u64,
    pub timing: Timing,
    pub nats_timing: Timing,
    /// Outbound queue of a client that wishes for none in particular, and the most it gets.
    pub queue_bytes: u32,
    pub queue_bytes_max: u32,
    /// Subscriptions one session may hold, and all sessions of this shard together.
    pub subscriptions_max: u32,
    pub subscriptions_total_max: u32,
}

impl Settings {
    fn timing_of(&self, protocol: Protocol) -> Timing {
        match protocol {
            Protocol::Native => self.timing,
            Protocol::Nats => self.nats_timing,
        }
    }
}

/// What can happen to a shard, messages apart.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection was accepted into this free slot.
    Accepted {
        session: SessionIx,
        protocol: Protocol,
    },
    /// Its first 64 bytes are there.
    Hello {
        session: SessionIx,
        bytes: &'a [u8; HELLO_BYTES],
    },
    /// A whole frame that is not data.
    Frame {
        session: SessionIx,
        frame: Frame<'a>,
    },
    /// The shell must refuse: bytes that are no frame, a queue or budget that overflowed.
    Refused {
        session: SessionIx,
        code: ErrorCode,
    },
    /// The peer closed, or the socket failed.
    Lost {
        session: SessionIx,
        reason: EndReason,
    },
    /// The socket of an ended session is closed.
    Closed {
        session: SessionIx,
    },
    /// The queue of a session that [`Effect::AwaitEmpty`] named is sent.
    Emptied {
        session: SessionIx,
    },
    /// From another shard; runs and members go to [`Shard::route_here`] instead.
    Handoff {
        from: ShardIx,
        handoff: Handoff,
    },
    DeadlineReached,
    /// The node shuts down.
    Stop,
}

/// What a shard wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a hello.
    Greet {
        session: SessionIx,
        hello: Hello,
    },
    /// The session is open: messages may be taken from it and sent to it.
    Open {
        session: SessionIx,
        echo: Echo,
        queue_bytes: u32,
    },
    /// Queue a frame for the session.
    Say {
        session: SessionIx,
        frame: Frame<'static>,
    },
    /// Send what is queued, if the peer takes it soon, and close. Then [`Input::Closed`].
    End {
        session: SessionIx,
        reason: EndReason,
    },
    /// Tell [`Input::Emptied`] when nothing is queued.
    AwaitEmpty {
        session: SessionIx,
    },
    /// The slot may be used again.
    Freed {
        session: SessionIx,
    },
    Handoff {
        to: ShardIx,
        handoff: Handoff,
    },
    /// Route these again, in this order and before any other message of their topic: where they
    /// go is known.
    Forward {
        held: Vec<Held>,
    },
    /// So many subscribers here want this; said of the first and the last, of a group also where
    /// their number passes a power of two. Said only by a shard that has joined a cluster.
    Wanted {
        /// A `catalog::Want`.
        name: Bytes,
        members: u32,
    },
    /// A command or session was refused: for the counters.
    Refused {
        code: ErrorCode,
    },
}

const _: () = assert!(size_of::<Effect>() <= 144);

/// One subscription of one session.
#[derive(Debug)]
struct Subscription {
    session: SessionIx,
    sid: Sid,
    overload: Overload,
    pattern: Box<[u8]>,
    dialect: Dialect,
    /// Stays at the most it can be: every number of deliveries is reached by then.
    delivered: u32,
    /// Ends when this many are delivered; zero: never.
    limit: u32,
    /// What its `Subscribed` waits for. Tickets are not used twice, slots are.
    settling: Option<Ticket>,
}

/// Subscriptions on their way out, a few per turn.
#[derive(Debug)]
struct Leaving {
    session: SessionIx,
    subscriptions: Vec<SubIx>,
}

/// A want that other shards have not all settled.
#[derive(Debug)]
struct Settling {
    owners_left: u32,
    waiters: Vec<SubIx>,
    /// The pattern, if this is the want of ungrouped subscribers: later ones wait for it too.
    plain: Option<Spelled>,
}

/// See the file's header.
pub struct Shard {
    settings: Settings,
    bounds: Bounds,
    topic_hash: RandomState,
    rng: Rng,
    sessions: Vec<Option<Session>>,
    sessions_made: u64,
    subs: Slab<Subscription>,
    /// The groups of those subscriptions that are members of one. Few are, so it is kept apart: a
    /// subscription is forty bytes.
    groups: BTreeMap<SubIx, Bytes>,
    /// Values are subscription slots, with the top bit set for members of groups, so that ungrouped
    /// ones sort first.
    index: Index<u32>,
    interest: Interest,
    /// Per other owner: buckets in which it holds literal subscriptions.
    filled: Vec<Box<[u64]>>,
    routes: Routes,
    stamp: u64,
    scratch: Targets,
    /// Bytes of messages held while asking.
    held_bytes: usize,
    settling: BTreeMap<Ticket, Settling>,
    plain_settling: BTreeMap<Spelled, Ticket>,
    next_ticket: u32,
    wakes: BTreeSet<(Instant, SessionIx)>,
    leaving: VecDeque<Leaving>,
    /// Slots whose socket is closed while their subscriptions are still leaving.
    closed: BTreeSet<SessionIx>,
    is_stopping: bool,
    /// Other nodes are to know what is wanted here.
    is_clustered: bool,
    others: Option<Others>,
    interest_effects: Vec<interest::Effect>,
}

impl Shard {
    pub fn new(settings: Settings) -> Self {
        Self::with_bounds(settings, Bounds::NODE)
    }

    pub fn with_bounds(settings: Settings, bounds: Bounds) -> Self {
        let Settings { me, shards_count, seed, topic_seed, .. } = settings;
        let rng = Rng::from_seed(seed);
        let mut seeds = Rng::from_seed(topic_seed);
        let topic_hash =
            RandomState::with_seeds(seeds.draw(), seeds.draw(), seeds.draw(), seeds.draw());
        let interest_seed = rng.stream(2).draw();
        let words = if shards_count == 1 { 0 } else { bounds.interest_buckets.div_ceil(64) };
        Self {
            settings,
            bounds,
            topic_hash,
            sessions: Vec::new(),
            sessions_made: 0,
            subs: Slab::new(),
            groups: BTreeMap::new(),
            index: Index::new(rng.stream(1).draw()),
            interest: Interest::new(me, shards_count, bounds.interest_buckets, interest_seed),
            filled: alloc::vec![alloc::vec![0; words].into_boxed_slice(); shards_count],
            routes: Routes::new(bounds),
            stamp: 0,
            scratch: Targets::default(),
            held_bytes: 0,
            settling: BTreeMap::new(),
            plain_settling: BTreeMap::new(),
            next_ticket: 0,
            wakes: BTreeSet::new(),
            leaving: VecDeque::new(),
            closed: BTreeSet::new(),
            is_stopping: false,
            is_clustered: false,
            others: None,
            interest_effects: Vec::new(),
            rng,
        }
    }

    /// The node is one of a cluster, which is told from here on what is wanted.
    pub fn join(&mut self) {
        self.is_clustered = true;
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Accepted { session, protocol } => self.accept(session, protocol, now, out),
            Input::Hello { session, bytes } => self.greet(session, bytes, out),
            Input::Frame { session, frame } => self.obey(session, frame, out),
            Input::Refused { session, code } => self.refuse(session, code, Sid(0), out),
            Input::Lost { session, reason } => self.end(session, reason, out),
            Input::Closed { session } => {
                self.closed.insert(session);
                self.free_if_done(session, out);
            }
            Input::Emptied { session } => {
                let is_draining = |at: &mut Session| at.phase == Phase::Draining;
                if self.live(session).is_some_and(is_draining) {
                    out.push(Effect::Say { session, frame: Frame::Drained });
                }
            }
            Input::Handoff { from, handoff } => self.hear(from, handoff, out),
            Input::DeadlineReached => {
                self.remove_leaving(out);
                self.wake_sessions(now, out);
            }
            Input::Stop => self.stop(out),
        }
    }

    /// When `DeadlineReached` is next wanted, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        if !self.leaving.is_empty() {
            return Some((Instant::START, "subscriptions of an ended session"));
        }
        self.wakes.first().map(|&(at, _)| (at, "session keep-alive"))
    }

    /// Bytes arrived from the session.
    #[inline]
    pub fn heard(&mut self, session: SessionIx, now: Instant) {
        if let Some(Some(session)) = self.sessions.get_mut(session.0 as usize) {
            session.heard(now);
        }
    }

    /// The connection in this slot.
    pub fn session_id(&self, session: SessionIx) -> Option<SessionId> {
        Some(self.sessions.get(session.0 as usize)?.as_ref()?.id)
    }

    /// Whether it asked to drain.
    pub fn is_draining(&self, session: SessionIx) -> bool {
        let slot = self.sessions.get(session.0 as usize).and_then(Option::as_ref);
        slot.is_some_and(|session| session.phase == Phase::Draining)
    }

    pub fn node(&self) -> NodeId {
        self.settings.node
    }

    /// The shard that knows all workers of a function, and of the calls to it. As it is for topics.
    pub fn home(&self, function: &[u8]) -> ShardIx {
        self.owner(self.hash(function))
    }

    pub fn subscriptions_count(&self) -> usize {
        self.subs.len()
    }

    pub fn routes_count(&self) -> usize {
        self.routes.len()
    }

    /// Targets named by all remembered routes.
    pub fn targets_cached_count(&self) -> usize {
        self.routes.targets_count()
    }

    /// Changes of this shard's wants that some owner has not settled.
    pub fn settling_count(&self) -> usize {
        self.settling.len()
    }

    /// Wants this shard owns.
    pub fn wants_count(&self) -> usize {
        self.interest.len()
    }

    /// Bytes of messages waiting for another shard's answer.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes of the pattern tables.
    pub fn index_heap_bytes(&self) -> usize {
        self.index.heap_bytes() + self.interest.heap_bytes()
    }

    fn accept(
        &mut self,
        session: SessionIx,
        protocol: Protocol,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let slot = session.0 as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        assert!(self.sessions[slot].is_none(), "the shell reuses only freed slots");
        self.sessions_made += 1;
        let id = SessionId((self.settings.me.index() as u64) << 56 | self.sessions_made);
        let mut accepted = Session::accepted(id, protocol, now);
        accepted.wake_at = accepted.deadline(self.settings.timing_of(protocol));
        self.wakes.insert((accepted.wake_at, session));
        self.sessions[slot] = Some(accepted);
        if self.is_stopping {
            self.refuse(session, ErrorCode::ShuttingDown, Sid(0), out);
        }
    }

    fn greet(&mut self, session: SessionIx, bytes: &[u8; HELLO_BYTES], out: &mut Vec<Effect>) {
        let node = self.settings.node.0;
        let Some(at) = self.live(session) else { return };
        if at.phase != Phase::Hello {
            return self.refuse(session, ErrorCode::UnexpectedFrame, Sid(0), out);
        }
        match Hello::parse(bytes).and_then(|hello| hello.answer(node, FUNCTIONS)) {
            Ok(hello) => {
                at.phase = Phase::Connecting;
                out.push(Effect::Greet { session, hello });
            }
            Err(code) => self.refuse(session, code, Sid(0), out),
        }
    }

    /// A frame from a client. What only routers say is refused.
    fn obey(&mut self, session: SessionIx, frame: Frame<'_>, out: &mut Vec<Effect>) {
        let Some(Session { phase, .. }) = self.live(session) else { return };
        match (*phase, frame) {
            (Phase::Connecting, Frame::Connect(connect)) => self.connect(session, connect, out),
            (Phase::Open, Frame::Subscribe(subscribe)) => self.subscribe(session, subscribe, out),
            (Phase::Open, Frame::Unsubscribe { sid, deliveries }) => {
                self.unsubscribe(session, sid, deliveries, out);
            }
            (Phase::Open, Frame::Drain) => self.drain(session, out),
            (Phase::Open | Phase::Draining, Frame::Ping { token }) => {
                out.push(Effect::Say { session, frame: Frame::Pong { token } });
            }
            // Having been heard is all a pong is for.
            (Phase::Open | Phase::Draining, Frame::Pong { .. }) => (),
            // It drained and has not heard so yet.
            (Phase::Draining, Frame::Unsubscribe { .. }) => (),
            (
                Phase::Hello | Phase::Connecting | Phase::Open | Phase::Draining | Phase::Ended,
                Frame::Data(_)
                | Frame::Connect(_)
                | Frame::Connected(_)
                | Frame::Subscribe(_)
                | Frame::Subscribed { .. }
                | Frame::Unsubscribe { .. }
                | Frame::Unsubscribed { .. }
                | Frame::Ping { .. }
                | Frame::Pong { .. }
                | Frame::Drain
                | Frame::Drained
                | Frame::For { .. }
                | Frame::NoResponders { .. }
                | Frame::Error(_)
                | Frame::GoingAway
                | Frame::Rpc(_),
            ) => self.refuse(session, ErrorCode::UnexpectedFrame, Sid(0), out),
        }
    }

    fn connect(&mut self, session: SessionIx, connect: Connect<'_>, out: &mut Vec<Effect>) {
        let settings = self.settings;
        let Some(at) = self.live(session) else { return };
        at.phase = Phase::Open;
        at.echo = connect.echo;
        let queue_bytes = match connect.queue_bytes {
            0 => settings.queue_bytes,
            wished => wished.min(settings.queue_bytes_max),
        };
        let timing = settings.timing_of(at.protocol);
        let ping_interval_ms = timing.ping_interval.as_millis();
        let connected = Connected {
            session: at.id,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            queue_bytes,
            ping_interval_ms: u32::try_from(ping_interval_ms).unwrap_or(u32::MAX),
            subscriptions_max: settings.subscriptions_max,
        };
        // The first ping may be due before the handshake deadline was.
        let was = (at.wake_at, session);
        at.wake_at = at.deadline(timing);
        let is = (at.wake_at, session);
        self.wakes.remove(&was);
        self.wakes.insert(is);
        out.push(Effect::Open { session, echo: connect.echo, queue_bytes });
        out.push(Effect::Say { session, frame: Frame::Connected(connected) });
    }

    fn drain(&mut self, session: SessionIx, out: &mut Vec<Effect>) {
        let Some(at) = self.live(session) else { return };
        at.phase = Phase::Draining;
        self.leave(session, out);
    }

    /// Says no; ends the session if that is what the code means.
    fn refuse(&mut self, session: SessionIx, code: ErrorCode, sid: Sid, out: &mut Vec<Effect>) {
        if self.live(session).is_none() {
            return;
        }
        let refusal = Refusal { code, sid, text: code.advice() };
        out.push(Effect::Refused { code });
        out.push(Effect::Say { session, frame: Frame::Error(refusal) });
        if code.is_fatal() {
            self.end(session, EndReason::Refused(code), out);
        }
    }

    fn end(&mut self, session: SessionIx, reason: EndReason, out: &mut Vec<Effect>) {
        let Some(at) = self.live(session) else { return };
        let was_draining = core::mem::replace(&mut at.phase, Phase::Ended) == Phase::Draining;
        let wake = (at.wake_at, session);
        self.wakes.remove(&wake);
        out.push(Effect::End { session, reason });
        if !was_draining {
            self.leave(session, out);
        }
    }

    fn stop(&mut self, out: &mut Vec<Effect>) {
        self.is_stopping = true;
        for slot in 0..self.sessions.len() {
            let session = SessionIx(slot as u32);
            if self.live(session).is_some() {
                out.push(Effect::Say { session, frame: Frame::GoingAway });
                self.end(session, EndReason::Refused(ErrorCode::ShuttingDown), out);
            }
        }
    }

    fn wake_sessions(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(&(at, session)) = self.wakes.first() {
            if now < at {
                break;
            }
            self.wakes.pop_first();
            let settings = self.settings;
            let Some(woken) = self.live(session) else { continue };
            let timing = settings.timing_of(woken.protocol);
            let due = woken.wake(timing, now);
            woken.wake_at = woken.deadline(timing);
            let again = (woken.wake_at, session);
            self.wakes.insert(again);
            match due {
                Due::Nothing => (),
                Due::Ping { token } => {
                    out.push(Effect::Say { session, frame: Frame::Ping { token } });
                }
                Due::End(code) => self.refuse(session, code, Sid(0), out),
            }
        }
    }

    /// Frees the slot once the socket is closed and nothing of it is left in the tables.
    fn free_if_done(&mut self, session: SessionIx, out: &mut Vec<Effect>) {
        let is_leaving = self.leaving.iter().any(|leaving| leaving.session == session);
        if !is_leaving && self.closed.remove(&session) {
            let gone = self.sessions[session.0 as usize].take();
            assert!(gone.is_some_and(|gone| gone.phase == Phase::Ended), "closed after it ended");
            out.push(Effect::Freed { session });
        }
    }

    /// The session in this slot, unless it has ended.
    fn live(&mut self, session: SessionIx) -> Option<&mut Session> {
        let slot = self.sessions.get_mut(session.0 as usize)?;
        slot.as_mut().filter(|session| session.phase != Phase::Ended)
    }

    /// What another shard says, messages apart.
    fn hear(&mut self, from: ShardIx, handoff: Handoff, out: &mut Vec<Effect>) {
        match handoff {
            // The shell takes messages and calls; nothing else may send them here.
            Handoff::Run { .. }
            | Handoff::Member { .. }
            | Handoff::Returned { .. }
            | Handoff::Asked { .. }
            | Handoff::Call(_)
            | Handoff::Told(_) => (),
            Handoff::Ask { topic } => self.answer(from, topic, out),
            Handoff::Answer { topic, wanted } => self.answered(&topic, &wanted, out),
            Handoff::Want { pattern, group, members, ticket } => {
                let asker = interest::Asker { shard: from, ticket };
                self.want_here(&pattern, &group, members, asker, out);
            }
            Handoff::Settled { ticket } => self.settled(ticket, out),
            Handoff::Forget { scope, ticket } => {
                self.forget(from, &scope);
                out.push(Effect::Handoff { to: from, handoff: Handoff::Forgotten { ticket } });
            }
            Handoff::Forgotten { ticket } => {
                let mut effects = core::mem::take(&mut self.interest_effects);
                self.interest.forgotten(from, ticket, &mut effects);
                self.pass_on(effects, out);
            }
            Handoff::Emptied { bucket } => self.set_filled(from, bucket as usize, false),
        }
    }

    /// Drops routes that rest on an answer of `owner`.
    fn forget(&mut self, owner: ShardIx, scope: &Scope) {
        match scope {
            Scope::Topic(topic) => {
                let hash = self.hash(topic);
                if owner != self.settings.me {
                    self.set_filled(owner, self.interest.bucket_of(hash), true);
                }
                self.routes.forget(topic, hash);
            }
            Scope::All => self.stamp += 1,
        }
    }

    fn set_filled(&mut self, owner: ShardIx, bucket: usize, filled: bool) {
        let Some(word) = self.filled[owner.index()].get_mut(bucket / 64) else { return };
        let bit = 1 << (bucket % 64);
        *word = if filled { *word | bit } else { *word & !bit };
    }

    fn hash(&self, topic: &[u8]) -> u64 {
        self.topic_hash.hash_one(topic)
    }

    /// The shard that answers for a topic with this hash.
    fn owner(&self, hash: u64) -> ShardIx {
        let index = (hash as u32 as u64 * self.settings.shards_count as u64) >> 32;
        ShardIx::new(index as usize).expect("under shards_count, which is a count of shards")
    }
}

#[cfg(test)]
mod tests;
