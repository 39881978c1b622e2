//! The obvious node: what clients were promised, and what has become of every message.
//!
//! The world reports here what it feeds the shards and what they answer. The model knows nothing of
//! shards' caches, rings or tickets: a subscription is settled once `Subscribed` was said, and a
//! message published after that must reach it. Whatever differs is a [`Violation`].
//!
//! Invariants:
//! - A message is judged when no part of it is held or on a ring, and then forgotten.
//! - What a command must be answered with is in `owed` until it is said.

use std::collections::{BTreeMap, BTreeSet};

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::session::{Protocol, Timing};
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Echo, Frame};
use mpreg_proto::id::Sid;

use crate::check::{self, Violation};
use crate::lexicon::{Lexicon, PatternIx, TopicIx};

mod message;
mod subscription;

pub use message::Message;
pub use subscription::{Room, Sub, SubNo, SubState};

/// A client and its one session, by order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNo(pub usize);

/// How far the model has seen a session come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Stranger,
    Open,
    /// It asked to drain: what matches may still come.
    Draining,
    /// All it is sent has been queued.
    Drained,
    Ended,
}

#[derive(Debug)]
pub struct Session {
    pub shard: usize,
    pub protocol: Protocol,
    pub stage: Stage,
    pub echo: Echo,
    pub accepted_at: Instant,
    pub heard_at: Instant,
    /// Pings said since it was heard.
    pub pings: Vec<Instant>,
    /// Its socket is gone.
    pub lost: Option<EndReason>,
    /// Subscriptions it has, by its own numbers.
    pub sids: BTreeMap<Sid, SubNo>,
    /// Those that were in `sids` when it asked to drain, or was about to be ended.
    pub leaving: Vec<SubNo>,
    /// The last message of each stream.
    pub streams: BTreeMap<Stream, u64>,
}

/// Messages whose order is kept: of one publisher and topic, to a session or one of its
/// subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    pub publisher: ClientNo,
    pub topic: TopicIx,
    pub sid: Option<Sid>,
}

/// What must be said before the present command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    Error { code: ErrorCode, sid: Sid },
    End { code: ErrorCode },
    Unsubscribed { sid: Sid },
    Pong { token: u64 },
}

/// A subscription was given up; other shards may not know yet.
#[derive(Debug)]
pub struct Departure {
    pub shard: usize,
    pub group: String,
    pub pattern: PatternIx,
    /// The event after which nobody can think it is still there.
    pub known_at: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub messages: u64,
    pub copies: u64,
    pub subscriptions: u64,
    /// Messages a group did not get because its member was leaving.
    pub missed: u64,
}

#[derive(Debug)]
pub struct Model {
    pub lexicon: Lexicon,
    pub sessions: Vec<Session>,
    pub subs: Vec<Sub>,
    /// Those that are not over.
    live: BTreeSet<SubNo>,
    pub messages: BTreeMap<u64, Message>,
    pub departures: Vec<Departure>,
    pub owed: Vec<(ClientNo, Owed)>,
    pub stopped: Vec<bool>,
    pub event: u64,
    pub counts: Counts,
    /// Nobody comes or goes: nothing is excused.
    pub is_quiet: bool,
    /// The first thing that went wrong.
    pub violation: Option<Violation>,
    timing: Timing,
    wake_late_ns: u64,
}

impl Model {
    pub fn new(shards_count: usize, timing: Timing, wake_late_ns: u64) -> Self {
        Self {
            lexicon: Lexicon::default(),
            sessions: Vec::new(),
            subs: Vec::new(),
            live: BTreeSet::new(),
            messages: BTreeMap::new(),
            departures: Vec::new(),
            owed: Vec::new(),
            stopped: vec![false; shards_count],
            event: 0,
            counts: Counts::default(),
            is_quiet: false,
            violation: None,
            timing,
            wake_late_ns,
        }
    }

    /// Keeps the first violation.
    pub fn note(&mut self, verdict: Result<(), Violation>) {
        if let (Err(violation), None) = (verdict, &self.violation) {
            self.violation = Some(violation);
        }
    }

    pub fn accepted(&mut self, shard: usize, protocol: Protocol, now: Instant) -> ClientNo {
        self.sessions.push(Session {
            shard,
            protocol,
            stage: Stage::Stranger,
            echo: Echo::On,
            accepted_at: now,
            heard_at: now,
            pings: Vec::new(),
            lost: None,
            sids: BTreeMap::new(),
            leaving: Vec::new(),
            streams: BTreeMap::new(),
        });
        ClientNo(self.sessions.len() - 1)
    }

    pub fn heard(&mut self, client: ClientNo, now: Instant) {
        let session = &mut self.sessions[client.0];
        session.heard_at = now;
        session.pings.clear();
    }

    pub fn owe(&mut self, client: ClientNo, owed: Owed) {
        if self.sessions[client.0].stage != Stage::Ended {
            self.owed.push((client, owed));
        }
    }

    /// Its command is done: everything it had to be told at once was said.
    pub fn done(&mut self) {
        let verdict = check::nothing_is_owed(&self.owed);
        self.note(verdict);
        self.owed.clear();
    }

    pub fn opened(&mut self, client: ClientNo, echo: Echo) {
        let session = &mut self.sessions[client.0];
        session.stage = Stage::Open;
        session.echo = echo;
    }

    /// The router said something to a client.
    pub fn said(&mut self, client: ClientNo, frame: &Frame<'_>, now: Instant) {
        let verdict = check::is_not_over(client, self.sessions[client.0].stage, frame);
        self.note(verdict);
        match *frame {
            Frame::Subscribed { sid } => self.subscribed(client, sid),
            Frame::Unsubscribed { sid } => {
                self.pay(client, Owed::Unsubscribed { sid });
                self.unsubscribed(client, sid);
            }
            Frame::Pong { token } => self.pay(client, Owed::Pong { token }),
            Frame::Ping { .. } => self.pinged(client, now),
            Frame::Error(refusal) if self.is_outside_cause(client, refusal.code) => (),
            Frame::Error(refusal) => {
                let (code, sid) = (refusal.code, refusal.sid);
                self.pay(client, Owed::Error { code, sid });
            }
            Frame::Connected(_)
            | Frame::Drained
            | Frame::NoResponders { .. }
            | Frame::GoingAway => (),
            Frame::Data(_)
            | Frame::Connect(_)
            | Frame::Subscribe(_)
            | Frame::Unsubscribe { .. }
            | Frame::Drain
            | Frame::For { .. }
            | Frame::Rpc(_) => {
                self.note(Err(Violation::new("vocabulary", format!("{client:?} got {frame:?}"))));
            }
        }
    }

    /// The session asked to drain.
    pub fn will_drain(&mut self, client: ClientNo) {
        self.sessions[client.0].stage = Stage::Draining;
        self.will_leave(client);
    }

    /// Its subscriptions are on their way out, and their counts with them.
    pub fn will_leave(&mut self, client: ClientNo) {
        let session = &mut self.sessions[client.0];
        session.leaving.extend(std::mem::take(&mut session.sids).into_values());
        for sub in self.sessions[client.0].leaving.clone() {
            self.leave(sub, SubState::Leaving);
        }
    }

    /// Everything a draining session gets has been queued.
    pub fn drained(&mut self, client: ClientNo) {
        let session = &mut self.sessions[client.0];
        let verdict = check::is_draining(client, session.stage);
        session.stage = Stage::Drained;
        for sub in std::mem::take(&mut session.leaving) {
            self.leave(sub, SubState::Over);
        }
        self.note(verdict);
    }

    pub fn ended(&mut self, client: ClientNo, reason: EndReason, now: Instant) {
        let session = &self.sessions[client.0];
        let is_owed = match reason {
            EndReason::Refused(code) => self.owed.contains(&(client, Owed::End { code })),
            EndReason::PeerClosed | EndReason::TransportFailed => session.lost == Some(reason),
        };
        let is_stopped = self.stopped[session.shard];
        let verdict =
            check::end_is_deserved(client, session, reason, is_owed, is_stopped, self.timing, now);
        self.note(verdict);
        self.owed.retain(|&(owed_to, _)| owed_to != client);
        let session = &mut self.sessions[client.0];
        session.stage = Stage::Ended;
        let mut over: Vec<SubNo> = std::mem::take(&mut session.leaving);
        over.extend(std::mem::take(&mut session.sids).into_values());
        over.into_iter().for_each(|sub| self.leave(sub, SubState::Over));
    }

    /// The shard has stopped.
    pub fn all_ended(&mut self, shard: usize) {
        let mut here = self.sessions.iter().filter(|session| session.shard == shard);
        let left = here.find(|session| session.stage != Stage::Ended);
        let verdict = check::stop_ends(shard, left);
        self.note(verdict);
    }

    fn pinged(&mut self, client: ClientNo, now: Instant) {
        let session = &self.sessions[client.0];
        let verdict = check::ping_is_due(client, session, self.timing, self.wake_late_ns, now);
        self.note(verdict);
        self.sessions[client.0].pings.push(now);
    }

    fn pay(&mut self, client: ClientNo, paid: Owed) {
        match self.owed.iter().position(|owed| *owed == (client, paid)) {
            Some(at) => drop(self.owed.remove(at)),
            None => {
                let text = format!("{client:?} was told {paid:?} and had not asked");
                self.note(Err(Violation::new("answers", text)));
            }
        }
    }

    /// Errors that no command of the client is to blame for; whether they are true is judged when
    /// the session ends with them.
    fn is_outside_cause(&self, client: ClientNo, code: ErrorCode) -> bool {
        let timed_out = matches!(code, ErrorCode::HandshakeTimeout | ErrorCode::IdleTimeout);
        let is_stopped = self.stopped[self.sessions[client.0].shard];
        timed_out || code == ErrorCode::ShuttingDown && is_stopped
    }
}
