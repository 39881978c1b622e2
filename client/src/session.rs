//! What a client knows of its dealings with the router: pure state, no I/O.
//!
//! ```text
//!            connected, nothing to resume
//!        +-----------------------------------------+
//!        |                                         v
//!   [ Down ] --connected--> [ Resuming ] --all--> [ Up ]
//!        ^                       |     confirmed    |
//!        +------ disconnected ---+------------------+
//! ```
//!
//! Frames come in, frames to be sent are appended to `out`, and what else the shell must do is an
//! [`Effect`]. What outlives a connection is here: subscriptions, requests, counts. What does not is
//! settled by [`Session::disconnected`]. Parts: `delivery.rs` (messages), `entry.rs` (subscriptions),
//! `rpc.rs` (calls and workers).
//!
//! Invariants:
//! - A subscription is confirmed, refused or ended exactly once to whoever asked for it.
//! - Frames are appended to `out` only while a connection is there to send them on; a `Ping` alone may
//!   wait for the next one.
//! - A subscription counts messages that arrived for it, kept or dropped, and ends with the number
//!   asked for whatever connections they came over.
//!
//! Tests: `session/tests.rs`; over sockets: `tests/it`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{self, Decoded, Frame, Kind, Overload, Refusal, Subscribe};
use mpreg_proto::hello::FUNCTIONS;
use mpreg_proto::id::{SessionId, Sid};
use mpreg_proto::limits::GROUP_BYTES_MAX;
use mpreg_proto::topic::{Dialect, Pattern, Topic};
use tokio::sync::oneshot;

use crate::calls::Calls;
use crate::error::{CallFailed, Disconnect, DrainError, FlushError, RequestError, SubscribeError};
use crate::event::Event;
use crate::flush::Flushes;
use crate::inbox::{ChunkIx, Ended, Inbox, Pushed, Run};
use crate::interest::Interest;
use crate::options::SubscribeOptions;
use crate::request::{Outcome, ReplyTopic, RequestIx, Requests, Settled};
use crate::workers::{Dismissed, Workers};
use entry::{Confirmation, Entry, Sink};

#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    drain: Drain,
    is_over: bool,
    entries: BTreeMap<Sid, Entry>,
    interest: Interest,
    requests: Requests,
    calls: Calls,
    workers: Workers,
    /// Whether the router of this connection knows functions.
    has_functions: bool,
    /// The subscription replies arrive on, once a request was made.
    replies: Option<Sid>,
    flushes: Flushes,
    /// The subscription the next data frame is for.
    addressed: Option<Sid>,
    sid_last: u32,
    counts: Counts,
    /// Kept for its memory: whom the data frame at hand is for.
    targets: Vec<Sid>,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Emit(Event),
    /// Answer a ping.
    Pong {
        token: u64,
    },
    /// Every subscription is in place: start to send what is published.
    Open,
    /// The router is leaving: keep what is published for the next connection.
    Hold,
}

/// When and where a frame was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) chunk: ChunkIx,
}

/// Messages that reached nobody, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Dropped because an inbox was full.
    pub overrun: u64,
    /// Replies to requests that were answered already or given up.
    pub late_replies: u64,
    /// For a subscription that had just ended.
    pub stray: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// `awaited` subscriptions and registrations are not confirmed yet.
    Resuming {
        session: SessionId,
        awaited: usize,
    },
    Up,
}

#[derive(Debug)]
enum Drain {
    Never,
    Waiting(oneshot::Sender<Result<(), DrainError>>),
    Over,
}

/// A subscription asked for, and where the answer comes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) sid: Sid,
    pub(crate) answer: oneshot::Receiver<Result<(), SubscribeError>>,
}

impl Session {
    /// `token` tells the reply topics of this client from those of others.
    pub(crate) fn new(token: u64) -> Self {
        Self {
            link: Link::Down,
            drain: Drain::Never,
            is_over: false,
            entries: BTreeMap::new(),
            interest: Interest::default(),
            requests: Requests::new(token),
            calls: Calls::default(),
            workers: Workers::default(),
            has_functions: false,
            replies: None,
            flushes: Flushes::default(),
            addressed: None,
            sid_last: 0,
            counts: Counts::default(),
            targets: Vec::new(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether a drain was asked for: a lost connection is not replaced then.
    pub(crate) fn is_drained(&self) -> bool {
        !matches!(self.drain, Drain::Never)
    }

    /// A new connection, to a router with these features: asks for every subscription again, and for
    /// every registration.
    pub(crate) fn connected(
        &mut self,
        session: SessionId,
        features: u64,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        self.has_functions = features & FUNCTIONS != 0;
        for (&sid, entry) in &mut self.entries {
            entry.is_awaited = true;
            entry.received_before = entry.received;
            entry.put(sid, out);
        }
        let awaited = self.entries.len() + self.register_all(out);
        self.link = Link::Resuming { session, awaited };
        self.resume_if_complete(effects);
    }

    /// The connection is lost: fails what needed it.
    pub(crate) fn disconnected(&mut self) {
        self.link = Link::Down;
        self.addressed = None;
        self.flushes.end(FlushError::Disconnected);
        self.calls.end(&CallFailed::Disconnected);
        self.workers.disconnected();
        self.settle_drain(Err(DrainError::Disconnected));
        let leaving: Vec<Sid> =
            self.entries.iter().filter(|(_, e)| e.is_leaving).map(|(&sid, _)| sid).collect();
        for sid in leaving {
            self.remove(sid, Ended::Unsubscribed, &mut Vec::new());
        }
    }

    /// No further connection will come.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.disconnected();
        self.end_all(&Ended::Closed, &RequestError::Closed);
        self.workers.end(&Dismissed::Closed);
    }

    pub(crate) fn subscribe(
        &mut self,
        options: &SubscribeOptions<'_>,
        inbox: &Arc<Inbox>,
        out: &mut Vec<u8>,
    ) -> Result<Asked, SubscribeError> {
        self.insert(options, Sink::Inbox(Arc::clone(inbox)), out)
    }

    /// Subscribes to replies, unless that is confirmed already.
    pub(crate) fn subscribe_replies(
        &mut self,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Asked>, SubscribeError> {
        if self.has_replies() {
            return Ok(None);
        }
        if let Some(sid) = self.replies {
            // Whoever asked has stopped waiting for it.
            self.forget(sid, out, effects);
        }
        let pattern = self.requests.pattern();
        let options = SubscribeOptions { pattern: &pattern, ..SubscribeOptions::default() };
        let asked = self.insert(&options, Sink::Requests, out)?;
        self.replies = Some(asked.sid);
        Ok(Some(asked))
    }

    /// Whether replies are known to arrive.
    pub(crate) fn has_replies(&self) -> bool {
        let entry = self.replies.and_then(|sid| self.entries.get(&sid));
        entry.is_some_and(|entry| matches!(entry.confirmation, Confirmation::Given))
    }

    /// Ends a subscription after `deliveries` messages in all; zero ends it at once.
    pub(crate) fn unsubscribe(
        &mut self,
        sid: Sid,
        deliveries: u32,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(&sid).filter(|entry| !entry.is_leaving) else {
            return;
        };
        if entry.received < u64::from(deliveries) {
            entry.received_max = Some(u64::from(deliveries));
            if self.link != Link::Down {
                entry.put_limit(sid, out);
            }
        } else if self.link == Link::Down {
            self.remove(sid, Ended::Unsubscribed, effects);
        } else {
            entry.is_leaving = true;
            Frame::Unsubscribe { sid, deliveries: 0 }.put(out);
        }
    }

    /// Nobody reads this subscription any more.
    pub(crate) fn forget(&mut self, sid: Sid, out: &mut Vec<u8>, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get(&sid) else { return };
        if self.link != Link::Down && !entry.is_leaving {
            Frame::Unsubscribe { sid, deliveries: 0 }.put(out);
        }
        self.remove(sid, Ended::Unsubscribed, effects);
    }

    /// Asks the router to say when it has read everything up to here.
    pub(crate) fn flush(
        &mut self,
        out: &mut Vec<u8>,
    ) -> Result<oneshot::Receiver<Result<(), FlushError>>, FlushError> {
        if self.is_over {
            return Err(FlushError::Closed);
        }
        let (token, answer) = self.flushes.open()?;
        Frame::Ping { token }.put(out);
        Ok(answer)
    }

    /// Asks the router to end every subscription and to say when nothing more will come.
    pub(crate) fn drain(
        &mut self,
        out: &mut Vec<u8>,
    ) -> Result<oneshot::Receiver<Result<(), DrainError>>, DrainError> {
        match (&self.drain, self.link) {
            _ if self.is_over => Err(DrainError::Closed),
            (Drain::Waiting(_) | Drain::Over, _) => Err(DrainError::Drained),
            (Drain::Never, Link::Down) => Err(DrainError::Disconnected),
            (Drain::Never, Link::Resuming { .. } | Link::Up) => {
                let (sender, answer) = oneshot::channel();
                self.drain = Drain::Waiting(sender);
                Frame::Drain.put(out);
                Ok(answer)
            }
        }
    }

    /// Admits one more request. Its topic for replies, and where the reply comes.
    pub(crate) fn request(
        &mut self,
    ) -> Result<(RequestIx, ReplyTopic, oneshot::Receiver<Outcome>), RequestError> {
        if self.is_over {
            return Err(RequestError::Closed);
        }
        if self.is_drained() {
            return Err(RequestError::Drained);
        }
        let (request, answer) = self.requests.open()?;
        Ok((request, self.requests.topic(request), answer))
    }

    pub(crate) fn give_up_request(&mut self, request: RequestIx) {
        self.requests.give_up(request);
    }

    /// Takes one whole frame from the router. An error ends the connection.
    pub(crate) fn handle(
        &mut self,
        kind: Kind,
        bytes: Bytes,
        arrival: Arrival,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Disconnect> {
        if kind == Kind::Data {
            return self.deliver(bytes, arrival, out, effects);
        }
        match frame::decode(&bytes).map_err(Disconnect::Malformed)? {
            Decoded::Frame { frame: Frame::Rpc(rpc), .. } if self.addressed.is_none() => {
                self.rpc(rpc, &bytes, arrival.at, out, effects)
            }
            Decoded::Frame { frame, .. } => self.command(frame, effects),
            Decoded::Need(_) => Err(Disconnect::Malformed(ErrorCode::Malformed)),
        }
    }

    fn command(&mut self, frame: Frame<'_>, effects: &mut Vec<Effect>) -> Result<(), Disconnect> {
        if self.addressed.is_some() {
            return Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
        }
        match frame {
            Frame::Subscribed { sid } => self.confirm(sid, effects),
            Frame::Unsubscribed { sid } => self.remove(sid, Ended::Unsubscribed, effects),
            Frame::Ping { token } => effects.push(Effect::Pong { token }),
            Frame::Pong { token } => self.flushes.settle(token),
            Frame::Drained if !matches!(self.drain, Drain::Waiting(_)) => {
                return Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
            }
            Frame::Drained => {
                self.settle_drain(Ok(()));
                self.end_all(&Ended::Drained, &RequestError::Drained);
                self.calls.end(&CallFailed::Drained);
                self.workers.end(&Dismissed::Drained);
            }
            Frame::For { sid } => self.addressed = Some(sid),
            Frame::NoResponders { reply } => self.no_responders(reply, effects),
            Frame::Error(refusal) => self.refused(refusal, effects)?,
            Frame::GoingAway => {
                effects.extend([Effect::Hold, Effect::Emit(Event::GoingAway)]);
            }
            Frame::Data(_)
            | Frame::Connect(_)
            | Frame::Connected(_)
            | Frame::Subscribe(_)
            | Frame::Unsubscribe { .. }
            | Frame::Drain
            | Frame::Rpc(_) => return Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame)),
        }
        Ok(())
    }
}

mod delivery;
mod entry;
mod rpc;

#[cfg(test)]
mod tests;
