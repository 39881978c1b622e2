//! The NATS client protocol at the edge: what a connection has agreed on, and what it is told.
//!
//! ```text
//!   accepted --INFO--> GREETED --CONNECT--> VERIFYING --let in--> OPEN
//!                         |                     |                   |
//!                         +--- late, wrong -----+-- refused --------+--> -ERR, closed
//! ```
//!
//! Bytes to commands is `mpreg_proto::nats`; commands to the shard machine is `switch/nats.rs`; here
//! is the state between them, which knows nothing of sockets.
//!
//! Invariants:
//! - Nothing but CONNECT is acted on before a connection is let in. Where nobody has to say who they
//!   are, any first command lets it in.
//! - PONG is owed until every earlier SUB is settled on all shards, so that a flush means what clients
//!   take it for.
//!
//! Parts: `answer` (what the node answers itself), `call` (calls of functions), `connect` (what CONNECT says), `info` (INFO),
//! `micro` (services), `sid` (subscription numbers), `trace` (the log).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::permission::{Replies, Verdict};
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Data;
use mpreg_proto::id::Sid;
use mpreg_proto::limits::{NATS_CONTROL_LINE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use mpreg_proto::nats::{self, Bounds};
use mpreg_proto::topic::{Dialect, Pattern, Topic};

pub mod answer;
pub mod call;
pub mod connect;
pub mod info;
pub mod micro;
pub mod sid;
pub(crate) mod trace;

use crate::auth::{Accounts, Desk, Nonce, User};
use crate::roster::Traffic;
use crate::transport::tls::TlsSettings;
use crate::transport::websocket::WebSocketSettings;
use connect::Options;
use micro::Instances;
use sid::Sids;

/// What all NATS connections of a node share.
#[derive(Clone, Debug)]
pub struct Server {
    /// 56 characters, in INFO.
    pub id: String,
    pub name: String,
    pub bounds: Bounds,
    pub speaks_headers: bool,
    pub connect_urls: Vec<String>,
    /// Outbound queue of a connection.
    pub queue_bytes: u32,
    pub subscriptions_max: usize,
    /// Who connects has to say who they are.
    pub wants_credentials: bool,
    pub wants_signatures: bool,
    /// What everybody may do who need not say who they are.
    pub everybody: Option<Arc<User>>,
    /// Whom clients are let in by.
    pub accounts: Arc<Accounts>,
    pub desk: Option<Arc<Desk>>,
    pub auth_timeout: Duration,
    pub tls: Option<TlsSettings>,
    /// TLS begins with the first byte, not after INFO.
    pub is_handshake_first: bool,
    /// With that: how long a client has to begin until it hears INFO in clear.
    pub handshake_wait: Option<Duration>,
    /// Clients that do not begin TLS are taken where it is spoken.
    pub is_tls_optional: bool,
    pub websocket: Arc<WebSocketSettings>,
}

/// A server that lets everybody in and has no TLS, for shards on their own.
impl Default for Server {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            bounds: Bounds {
                control_line_bytes: NATS_CONTROL_LINE_BYTES_MAX,
                payload_bytes: PAYLOAD_BYTES_MAX,
            },
            speaks_headers: true,
            connect_urls: Vec::new(),
            queue_bytes: u32::MAX,
            subscriptions_max: usize::MAX,
            wants_credentials: false,
            wants_signatures: false,
            everybody: None,
            accounts: Arc::default(),
            desk: None,
            auth_timeout: Duration::MAX,
            tls: None,
            is_handshake_first: false,
            handshake_wait: None,
            is_tls_optional: false,
            websocket: Arc::default(),
        }
    }
}

impl Server {
    /// The same, that lets in by `accounts`. `desk` verifies by them, unless everybody is let in.
    pub fn with_accounts(mut self, accounts: Arc<Accounts>, desk: Option<Arc<Desk>>) -> Self {
        let everybody = accounts.everybody();
        self.wants_credentials = everybody.is_none();
        self.wants_signatures = accounts.has_keys();
        self.desk = desk.filter(|_| everybody.is_none());
        self.everybody = everybody.filter(|user| user.is_limited()).cloned();
        self.accounts = accounts;
        self
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeted,
    /// Its credentials are being checked; nothing it sends is looked at meanwhile.
    Verifying,
    Open,
}

/// One NATS connection.
#[derive(Debug)]
pub struct Client {
    pub id: u64,
    pub peer: Option<SocketAddr>,
    /// Where it came in, for INFO.
    pub local: Option<SocketAddr>,
    pub stage: Stage,
    pub options: Options,
    pub sids: Sids,
    /// What it is to sign, if it has to.
    pub nonce: Option<Nonce>,
    /// Bytes the unfinished command needs in all.
    pub need: usize,
    pub is_tls: bool,
    /// TLS is offered, and it is for the client to begin it or not.
    pub is_tls_optional: bool,
    /// When it hears INFO, if it has not begun TLS by then.
    pub introduced_at: Option<Instant>,
    /// Made and not over, settled or not.
    pub subscriptions_count: usize,
    /// How often each was asked for: a number that is taken is asked for in vain.
    subscriptions_unsettled: BTreeMap<Sid, u32>,
    /// Of its own commands, those that are to be over before its next PONG: messages that wait to know
    /// where they go, endpoints that leave.
    pub runs_held: u32,
    pongs_owed: u32,
    has_ponged: bool,
    /// INFO after the first PONG was said.
    is_introduced: bool,
    pub since: Instant,
    pub heard_at: Instant,
    /// When it was last pinged, if it has not answered.
    pub pinged_at: Option<Instant>,
    /// The last time it took to answer.
    pub round_trip: Duration,
    pub traffic: Traffic,
    /// What it may do. None: everything.
    pub user: Option<Arc<User>>,
    /// Where it was asked to answer.
    pub replies: Option<Replies>,
    /// Functions it calls.
    pub calls: call::Calls,
    /// Its services, which run functions.
    pub instances: Instances,
    /// When these are next due.
    pub instances_due: Instant,
}

impl Client {
    pub fn new(id: u64, peer: Option<SocketAddr>, local: Option<SocketAddr>, is_tls: bool) -> Self {
        Self {
            id,
            peer,
            local,
            stage: Stage::Greeted,
            options: Options::default(),
            sids: Sids::default(),
            nonce: None,
            need: 0,
            is_tls,
            is_tls_optional: false,
            introduced_at: None,
            subscriptions_count: 0,
            subscriptions_unsettled: BTreeMap::new(),
            since: Instant::START,
            heard_at: Instant::START,
            pinged_at: None,
            round_trip: Duration::ZERO,
            traffic: Traffic::default(),
            user: None,
            replies: None,
            calls: call::Calls::default(),
            instances: Instances::default(),
            instances_due: Instant::NEVER,
            runs_held: 0,
            pongs_owed: 0,
            has_ponged: false,
            is_introduced: false,
        }
    }

    /// Is who was let in, with what that user may do.
    pub fn is(&mut self, user: &Arc<User>) {
        self.replies = user.replies.map(Replies::new);
        self.user = Some(user.clone());
    }

    pub fn may_publish(&mut self, topic: Topic<'_>, now: Instant) -> bool {
        let Some(user) = &self.user else { return true };
        let may_reply = user.permissions.may_reply(topic);
        user.permissions.may_publish(topic)
            || may_reply && self.replies.as_mut().is_some_and(|replies| replies.take(topic, now))
    }

    /// It is sent a request to answer at `reply`.
    pub fn asked(&mut self, reply: &[u8], now: Instant) {
        if let Some(replies) = &mut self.replies
            && let Ok(topic) = Topic::parse_as(reply, Dialect::Nats)
        {
            replies.asked(topic, now);
        }
    }

    /// Whether it may publish there of its own, asked or not.
    pub fn is_publisher(&self, topic: &[u8]) -> bool {
        let Some(user) = &self.user else { return true };
        let topic = Topic::parse_as(topic, Dialect::Nats);
        topic.is_ok_and(|topic| user.permissions.may_publish(topic))
    }

    pub fn may_subscribe(&self, pattern: Pattern<'_>, group: Option<&str>) -> Verdict {
        let verdict = |user: &Arc<User>| user.permissions.may_subscribe(pattern, group);
        self.user.as_ref().map_or(Verdict::Allowed, verdict)
    }

    /// Whether a message that some subscription matches may be received all the same.
    #[inline]
    pub fn may_receive(&self, topic: &[u8], group: Option<&str>) -> bool {
        let Some(user) = &self.user else { return true };
        Topic::parse_as(topic, Dialect::Nats)
            .is_ok_and(|topic| user.permissions.may_receive(topic, group))
    }

    /// Appends a message for one subscription, without its headers if the client takes none.
    pub fn put_message(&self, sid: Sid, data: Data<'_>, out: &mut Vec<u8>) {
        let headers = if self.options.headers { data.headers() } else { &[] };
        let sid = self.sids.written(sid);
        nats::put_message(out, data.topic(), data.reply(), headers, data.payload(), sid.as_bytes());
    }

    pub fn subscribing(&mut self, sid: Sid) {
        self.subscriptions_count += 1;
        *self.subscriptions_unsettled.entry(sid).or_default() += 1;
    }

    /// A subscription is over, whether it was settled or not.
    pub fn unsubscribed(&mut self, sid: Sid, out: &mut Vec<u8>) {
        self.subscriptions_count = self.subscriptions_count.saturating_sub(1);
        self.sids.forget(sid);
        self.subscriptions_unsettled.remove(&sid);
        self.pong(out);
    }

    /// A subscription was refused. Its number stays known if another subscription has it.
    pub fn refused(&mut self, sid: Sid, is_taken: bool, out: &mut Vec<u8>) {
        self.subscriptions_count = self.subscriptions_count.saturating_sub(1);
        if !is_taken {
            self.sids.forget(sid);
        }
        self.settled(sid, out);
    }

    /// A subscription is settled, or will not be.
    pub fn settled(&mut self, sid: Sid, out: &mut Vec<u8>) {
        if let Entry::Occupied(mut times) = self.subscriptions_unsettled.entry(sid) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
        self.pong(out);
    }

    /// One of its runs is held no longer.
    pub fn released(&mut self, out: &mut Vec<u8>) {
        self.runs_held -= 1;
        self.pong(out);
    }

    /// It answered a ping.
    pub fn ponged(&mut self, now: Instant) {
        if let Some(at) = self.pinged_at.take() {
            self.round_trip = now.since(at);
        }
    }

    pub fn pinged(&mut self, out: &mut Vec<u8>) {
        self.pongs_owed += 1;
        self.pong(out);
    }

    fn pong(&mut self, out: &mut Vec<u8>) {
        if !self.subscriptions_unsettled.is_empty() || self.runs_held != 0 {
            return;
        }
        for _ in 0..std::mem::take(&mut self.pongs_owed) {
            out.extend_from_slice(PONG);
            self.has_ponged = true;
        }
    }

    /// True once: it had its first PONG, and is to have its second INFO.
    pub fn is_to_be_introduced(&mut self) -> bool {
        let is_due = self.has_ponged && self.options.protocol == 1;
        is_due && !std::mem::replace(&mut self.is_introduced, true)
    }

    /// What is owed to one that asks to hear that its commands were taken.
    pub fn ok(&self) -> &'static [u8] {
        if self.options.verbose { OK } else { b"" }
    }
}

pub const OK: &[u8] = b"+OK\r\n";
pub const PING: &[u8] = b"PING\r\n";
pub const PONG: &[u8] = b"PONG\r\n";

/// Appends `-ERR 'text'`.
pub fn put_error(text: &str, out: &mut Vec<u8>) {
    [b"-ERR '", text.as_bytes(), b"'\r\n"].into_iter().for_each(|part| out.extend_from_slice(part));
}

/// What a client is told about a subject it may not use so.
pub fn permissions_violation(what: &str, subject: &[u8], group: &[u8]) -> String {
    let subject = String::from_utf8_lossy(subject);
    let mut text = format!("Permissions Violation for {what} to \"{subject}\"");
    if !group.is_empty() {
        text += &format!(" using queue \"{}\"", String::from_utf8_lossy(group));
    }
    text
}

/// What NATS clients look for in place of our word. Empty: nothing is said.
pub const fn error_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadTopic => "Invalid Publish Subject",
        ErrorCode::BadPattern | ErrorCode::BadName => "Invalid Subject",
        ErrorCode::ReservedTopic => "Permissions Violation for Publish",
        ErrorCode::HandshakeTimeout => "Authentication Timeout",
        ErrorCode::TooManyConnections => "maximum connections exceeded",
        ErrorCode::TooManySubscriptions => "maximum subscriptions exceeded",
        ErrorCode::IdleTimeout => "Stale Connection",
        ErrorCode::SlowConsumer => "Slow Consumer",
        ErrorCode::FrameTooLarge => "Maximum Payload Violation",
        ErrorCode::OutOfMemory => "Server Out Of Memory",
        ErrorCode::ShuttingDown => "Server Shutdown",
        // The first two are how nats-server takes them; the others no NATS client can cause.
        ErrorCode::SidInUse
        | ErrorCode::UnknownSid
        | ErrorCode::BadMagic
        | ErrorCode::VersionUnsupported
        | ErrorCode::Malformed
        | ErrorCode::UnknownKind
        | ErrorCode::ReservedBits
        | ErrorCode::UnexpectedFrame => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_from_a_ping_to_the_pong_after_it() {
        let at = |millis| Instant::START + Duration::from_millis(millis);
        let mut client = Client::new(1, None, None, false);
        client.pinged_at = Some(at(5));
        client.ponged(at(12));
        assert_eq!(client.round_trip, Duration::from_millis(7));
        client.ponged(at(90));
        assert_eq!(client.round_trip, Duration::from_millis(7), "nobody asked for that one");
    }

    #[test]
    fn a_pong_waits_for_subscriptions_that_will_be_settled_and_no_other() {
        let mut client = Client::new(1, None, None, false);
        let mut out = Vec::new();
        client.subscribing(Sid(1));
        client.pinged(&mut out);
        client.subscribing(Sid(2));
        client.settled(Sid(1), &mut out);
        assert_eq!(out, b"");
        client.unsubscribed(Sid(2), &mut out);
        assert_eq!(out, PONG, "2 ended before it was settled");
        out.clear();
        client.subscribing(Sid(3));
        client.subscribing(Sid(3));
        client.pinged(&mut out);
        client.refused(Sid(3), true, &mut out);
        assert_eq!(out, b"", "3 was there before and is not settled");
        client.settled(Sid(3), &mut out);
        assert_eq!(out, PONG);
        out.clear();
        client.subscribing(Sid(3));
        client.refused(Sid(3), true, &mut out);
        client.pinged(&mut out);
        assert_eq!(out, PONG);
    }
}
