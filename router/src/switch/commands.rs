//! NATS commands to inputs of the shard machine, and what the machine says to NATS.
//!
//! Publications of one subject that come in one read go on as one run. Everything a NATS client is
//! told goes through one lane: its PONG says that what was sent before is behind it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use arrayvec::ArrayVec;
use mpreg_fabric::fact::EndReason;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::permission::Verdict;
use mpreg_fabric::shard::Input;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Connect, Echo, Frame, Overload, Refusal, Subscribe};
use mpreg_proto::id::SessionId;
use mpreg_proto::limits::{GROUP_BYTES_MAX, HEADERS_BYTES_MAX, SHARDS_MAX, TOPIC_BYTES_MAX};
use mpreg_proto::nats::{Bounds, Command, Parsed, Publication, Violation, parse};
use mpreg_proto::topic::{Dialect, Pattern, Topic};
use rustix::net::{SocketAddrAny, getpeername, getsockname};

use super::Switch;
use super::run::Run;
use crate::auth::credentials::Fields;
use crate::auth::{Answer, Credentials, Nonce, Question};
use crate::limits::{PUBLICATIONS_MAX, VERIFYING_BYTES_MAX};
use crate::link::Link;
use crate::listen::Door;
use crate::nats::answer;
use crate::nats::call::Addressed;
use crate::nats::connect::Options;
use crate::nats::info::{self, Occasion};
use crate::nats::{
    Client, PING, Server, Stage, error_text, permissions_violation, put_error, trace,
};
use crate::transport::Transport;

/// Publications of one subject, on their way to be one run.
type Publications<'a> = ArrayVec<Publication<'a>, PUBLICATIONS_MAX>;

/// What reserved topics begin with.
const RESERVED: &[u8] = b"mpreg";

impl Switch {
    /// Takes what a NATS link received.
    pub(super) fn take_nats(&mut self, session: SessionIx, bytes: &[u8]) {
        let (mut rest, now) = (bytes, self.now);
        if let Some(client) = self.client_mut(session) {
            client.heard_at = now;
        }
        if self.opened(session).is_some_and(|link| !link.partial.is_empty()) {
            rest = self.complete_command(session, rest);
        }
        if rest.is_empty() || self.opened(session).is_none() {
            return;
        }
        let taken = self.take_commands(session, rest);
        if taken < rest.len() {
            self.keep_partial(session, &rest[taken..]);
        }
    }

    /// Completes the command that an earlier read began; returns what follows it.
    fn complete_command<'a>(&mut self, session: SessionIx, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some(link) = self.opened(session) {
            let Some(client) = &link.nats else { return &[] };
            if client.stage == Stage::Verifying {
                if VERIFYING_BYTES_MAX < link.partial.len() + rest.len() {
                    self.refuse_with(session, "Authorization Violation");
                }
                self.keep_partial(session, rest);
                return &[];
            }
            // A payload's length is known, a line's end is not.
            let missing = match client.need.saturating_sub(link.partial.len()) {
                0 | 1 => {
                    rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1)
                }
                missing => missing.min(rest.len()),
            };
            let (some, after) = rest.split_at(missing);
            self.keep_partial(session, some);
            rest = after;
            let Some(link) = self.opened(session) else { return &[] };
            let client = link.nats.as_ref().expect("it was there just above");
            if link.partial.len() < client.need {
                return &[];
            }
            let partial = std::mem::take(&mut link.partial);
            self.budget.used -= partial.len();
            let taken = self.take_commands(session, &partial);
            if taken < partial.len() {
                self.keep_partial(session, &partial[taken..]);
            } else {
                return rest;
            }
            if rest.is_empty() {
                return &[];
            }
        }
        &[]
    }

    /// Takes every whole command; says how many bytes those were. All of them, once the session ends.
    fn take_commands(&mut self, session: SessionIx, bytes: &[u8]) -> usize {
        let bounds = self.bounds(session);
        let mut run = Publications::new();
        let mut at = 0;
        loop {
            match parse(&bytes[at..], bounds) {
                Ok(Parsed::Command { command: Command::Publish(publication), length }) => {
                    let is_alike =
                        run.first().is_some_and(|first| first.subject == publication.subject);
                    if !is_alike || run.is_full() {
                        self.publish(session, &run);
                        run.clear();
                    }
                    run.push(publication);
                    at += length;
                }
                Ok(Parsed::Command { command, length }) => {
                    self.publish(session, &run);
                    run.clear();
                    at += length;
                    self.obey_nats(session, command);
                    let stage = self.opened(session).and_then(|link| link.nats.as_ref());
                    match stage.map(|client| client.stage) {
                        Some(Stage::Verifying) => return at,
                        Some(Stage::Greeted | Stage::Open) => (),
                        None => return bytes.len(),
                    }
                }
                Ok(Parsed::Need(need)) => {
                    self.publish(session, &run);
                    if let Some(client) = self.client_mut(session) {
                        client.need = need;
                        return at;
                    }
                    return bytes.len();
                }
                Err(violation) => {
                    self.publish(session, &run);
                    self.violated(session, violation);
                    return bytes.len();
                }
            }
        }
    }

    /// Nobody's payload is kept who is not let in and has to be.
    fn bounds(&mut self, session: SessionIx) -> Bounds {
        let Server { bounds, wants_credentials, .. } = *self.nats;
        let is_open = |client: &mut Client| client.stage == Stage::Open;
        if wants_credentials && !self.client_mut(session).is_some_and(is_open) {
            return Bounds { payload_bytes: 0, ..bounds };
        }
        bounds
    }

    pub(super) fn client_mut(&mut self, session: SessionIx) -> Option<&mut Client> {
        self.opened(session)?.nats.as_deref_mut()
    }

    /// Publishes consecutive messages of one subject.
    fn publish(&mut self, session: SessionIx, publications: &[Publication<'_>]) {
        let Some(first) = publications.first() else { return };
        if !self.is_let_in(session) {
            return;
        }
        let is_plain = |message: &Publication<'_>| {
            !message.tail.is_empty()
                && message.reply.len() <= TOPIC_BYTES_MAX
                && message.headers.len() <= HEADERS_BYTES_MAX
        };
        let Some(client) = self.client_mut(session) else { return };
        let bytes =
            publications.iter().map(|message| message.headers.len() + message.payload.len()).sum();
        client.traffic.received(publications.len() as u64, bytes);
        let Options { verbose, pedantic, headers: speaks_headers, .. } = client.options;
        if publications.iter().any(|message| !message.headers.is_empty() && !speaks_headers) {
            // Without a word, as nats-server does.
            self.refuse(session, ErrorCode::Malformed);
        } else if let Some(to) = Addressed::read(first.subject) {
            self.take_addressed(session, to, publications);
        } else if verbose || pedantic {
            publications.iter().for_each(|message| self.publish_told(session, message));
        } else if !self.may_publish(session, first.subject) {
            for _ in publications {
                self.not_permitted(session, "Publish", first.subject, &[]);
            }
        } else if publications.iter().all(is_plain) {
            self.dispatch(session, &Run::of_publications(publications));
        } else {
            publications.iter().for_each(|message| self.publish_odd(session, message));
        }
    }

    /// Publishes a message of a client that wants to be told of each what becomes of it.
    fn publish_told(&mut self, session: SessionIx, message: &Publication<'_>) {
        let Some(client) = self.client_mut(session) else { return };
        let (ok, is_pedantic) = (client.ok(), client.options.pedantic);
        // What is no subject to the pedantic is published all the same.
        if is_pedantic && Topic::parse(message.subject).is_err() {
            self.tell_error(session, error_text(ErrorCode::BadTopic));
        }
        if !self.may_publish(session, message.subject) {
            return self.not_permitted(session, "Publish", message.subject, &[]);
        }
        self.tell_nats(session, ok);
        self.publish_odd(session, message);
    }

    /// Whether it may publish there, if that is a topic at all, which is for the machine to say.
    pub(super) fn may_publish(&mut self, session: SessionIx, subject: &[u8]) -> bool {
        let now = self.now;
        let Some(client) = self.client_mut(session) else { return false };
        if client.user.is_none() && !subject.starts_with(RESERVED) {
            return true;
        }
        let Ok(topic) = Topic::parse_as(subject, Dialect::Nats) else { return true };
        client.may_publish(topic, now) && !topic.is_reserved()
    }

    /// Publishes a message whose spelling is not that of the text subscribers get.
    fn publish_odd(&mut self, session: SessionIx, message: &Publication<'_>) {
        let Publication { subject, reply, headers, payload, .. } = *message;
        if TOPIC_BYTES_MAX < reply.len() {
            return self.tell_error(session, error_text(ErrorCode::BadTopic));
        }
        if HEADERS_BYTES_MAX < headers.len() {
            return self.violated(session, Violation::PayloadTooLarge);
        }
        let mut tail = Vec::new();
        mpreg_proto::nats::put_tail(&mut tail, reply, headers, payload);
        let plain = [Publication { subject, reply, headers, payload, tail: &tail }];
        self.dispatch(session, &Run::of_publications(&plain));
    }

    /// Whether the session is open; lets it in if nobody has to say who they are.
    fn is_let_in(&mut self, session: SessionIx) -> bool {
        let wants_credentials = self.nats.wants_credentials;
        let Some(client) = self.client_mut(session) else { return false };
        match client.stage {
            Stage::Open => true,
            Stage::Greeted if !wants_credentials => {
                self.let_in(session);
                true
            }
            Stage::Greeted | Stage::Verifying => {
                self.refuse_with(session, "Authorization Violation");
                false
            }
        }
    }

    fn obey_nats(&mut self, session: SessionIx, command: Command<'_>) {
        if let Some(client) = self.client_mut(session) {
            trace::heard(client, &command);
        }
        match command {
            Command::Connect { options } => return self.connect_nats(session, options),
            // Being heard is all these are for.
            Command::Ok | Command::Info => return,
            Command::Error => {
                return self.tell(Input::Lost { session, reason: EndReason::PeerClosed });
            }
            Command::Publish(_)
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::Ping
            | Command::Pong => (),
        }
        if !self.is_let_in(session) {
            return;
        }
        match command {
            Command::Subscribe { subject, group, sid } => {
                self.subscribe_nats(session, subject, group, sid);
            }
            Command::Unsubscribe { sid, deliveries } => {
                self.unsubscribe_nats(session, sid, deliveries);
            }
            Command::Ping => self.ping_nats(session),
            Command::Pong => {
                let now = self.now;
                if let Some(client) = self.client_mut(session) {
                    client.ponged(now);
                }
            }
            Command::Publish(_)
            | Command::Connect { .. }
            | Command::Ok
            | Command::Error
            | Command::Info => (),
        }
    }

    fn connect_nats(&mut self, session: SessionIx, json: &[u8]) {
        let Some(options) = Options::parse(json) else {
            // Without a word, as nats-server does.
            return self.refuse(session, ErrorCode::Malformed);
        };
        if let Some(text) = options.contradiction() {
            return self.refuse_with(session, text);
        }
        let now = self.now;
        let Some(client) = self.client_mut(session) else { return };
        let was = client.stage;
        client.options = options;
        client.round_trip = now.since(client.since);
        if was == Stage::Greeted {
            return self.verify(session);
        }
        // Once more, from one that is in: it stays who it is.
        if let Some(link) = self.opened(session)
            && let Some(client) = &mut link.nats
        {
            client.options.drop_secrets();
            link.echo = echo(client);
        }
        self.tell_ok(session);
    }

    /// Has the client's credentials checked, if it needs any.
    fn verify(&mut self, session: SessionIx) {
        let nats = self.nats.clone();
        let (shard, until) = (self.mesh.me(), self.now + nats.auth_timeout);
        let Some(client) = self.client_mut(session) else { return };
        let Some(desk) = &nats.desk else {
            self.let_in(session);
            return self.tell_ok(session);
        };
        let Options { user, pass, auth_token, nkey, sig, .. } = &client.options;
        let fields = Fields { user, pass, auth_token, nkey, sig };
        let nonce = client.nonce.take().map_or_else(Nonce::draw, Ok);
        let (Ok(credentials), Ok(nonce)) = (Credentials::new(fields), nonce) else {
            return self.refuse_with(session, "Authorization Violation");
        };
        let session_id = SessionId(client.id);
        client.stage = Stage::Verifying;
        client.options.drop_secrets();
        let question = Question { shard, session, session_id, credentials, nonce, until };
        if desk.ask(question).is_err() {
            self.refuse_with(session, "Authorization Violation");
        }
    }

    /// The desk has decided about a client, which may be gone by now.
    pub(super) fn verified(&mut self, answer: Answer) {
        let Answer { session, session_id, outcome, .. } = answer;
        let nats = self.nats.clone();
        let Some(client) = self.client_mut(session) else { return };
        if client.id != session_id.0 || client.stage != Stage::Verifying {
            return;
        }
        match outcome {
            // One of earlier accounts proved nothing to these.
            Ok(user) if nats.accounts.knows(&user) => {
                client.is(&user);
                self.let_in(session);
                self.tell_ok(session);
                self.take_waiting(session);
            }
            Ok(_) | Err(_) => self.refuse_with(session, "Authorization Violation"),
        }
    }

    /// Takes what a client sent while it was being verified.
    fn take_waiting(&mut self, session: SessionIx) {
        let Some(link) = self.opened(session) else { return };
        let partial = std::mem::take(&mut link.partial);
        self.budget.used -= partial.len();
        self.take_nats(session, &partial);
    }

    fn tell_ok(&mut self, session: SessionIx) {
        if let Some(client) = self.client_mut(session) {
            let ok = client.ok();
            self.tell_nats(session, ok);
        }
    }

    /// A link for a NATS client. What it has agreed on, it has not yet.
    pub(super) fn nats_link(&mut self, socket: OwnedFd, door: Door) -> Link {
        let address = |any: SocketAddrAny| SocketAddr::try_from(any).ok();
        let peer = getpeername(&socket).ok().flatten().and_then(address);
        let local = getsockname(&socket).ok().and_then(address);
        self.nats_clients += 1;
        let is_tls = matches!(door, Door::NatsTls | Door::WebSocketTls);
        // Small numbers, for they are numbers of JSON, which are exact up to 2^53.
        let id = self.nats_clients * SHARDS_MAX as u64 + self.mesh.me().index() as u64;
        let mut client = Client::new(id, peer, local, is_tls);
        client.since = self.now;
        let wait = self.nats.handshake_wait.filter(|_| self.nats.is_handshake_first);
        if door == Door::NatsTls {
            client.is_tls_optional = self.nats.is_tls_optional;
            client.introduced_at = wait.map(|wait| self.now + wait);
        }
        client.nonce = self.nats.wants_signatures.then(Nonce::draw).and_then(Result::ok);
        let mut link = Link::accepted(socket, self.nats.queue_bytes as usize);
        link.transport = match (door, &self.nats.tls) {
            (Door::WebSocket, _) => Transport::websocket(&self.nats.websocket),
            (Door::WebSocketTls, Some(tls)) => Transport::websocket_tls(tls, &self.nats.websocket),
            (Door::NatsTls, Some(tls)) if self.nats.is_tls_optional => Transport::either(tls),
            (Door::NatsTls, Some(tls)) => Transport::tls(tls),
            (Door::Nats | Door::Native | Door::NatsTls | Door::WebSocketTls, _) => {
                Transport::plain()
            }
        };
        link.nats = Some(Box::new(client));
        link
    }

    /// The first word is the server's.
    pub(super) fn introduce(&mut self, session: SessionIx, door: Door) {
        let mut text = Vec::new();
        let Self { links, nats, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        let Some(client) = &link.nats else { return };
        if let Some(at) = client.introduced_at {
            self.introducing.insert((at, session));
            return;
        }
        let nonce = client.nonce.as_ref().map_or("", Nonce::as_str);
        info::put(nats, client, nonce, Occasion::Accepted, &mut text);
        if door == Door::NatsTls && !nats.is_handshake_first {
            // In clear: what follows it is TLS.
            link.wire = text;
            return self.mark_dirty(session);
        }
        self.tell_nats(session, &text);
    }

    /// One that waited for TLS or for its time hears INFO: within TLS if that is what came.
    pub(super) fn introduce_late(&mut self, session: SessionIx, is_tls_begun: bool) {
        let mut text = Vec::new();
        let Self { links, nats, introducing, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        let Some(client) = &mut link.nats else { return };
        let Some(at) = client.introduced_at.take() else { return };
        introducing.remove(&(at, session));
        let nonce = client.nonce.as_ref().map_or("", Nonce::as_str);
        info::put(nats, client, nonce, Occasion::Accepted, &mut text);
        if is_tls_begun {
            return self.tell_nats(session, &text);
        }
        link.wire = text;
        self.mark_dirty(session);
    }

    /// Nobody is taken in any more, and clients are told to go elsewhere.
    pub(super) fn lame_duck(&mut self) {
        self.is_lame = true;
        for slot in 0..self.links.len() {
            let session = SessionIx(slot as u32);
            if self.client_mut(session).is_some_and(|client| client.stage == Stage::Open) {
                self.say_nats(session, Frame::GoingAway);
            }
        }
    }

    /// The session is open from here on.
    fn let_in(&mut self, session: SessionIx) {
        let Server { queue_bytes, ref everybody, .. } = *self.nats;
        let everybody = everybody.clone();
        let Some(client) = self.client_mut(session) else { return };
        if let Some(everybody) = everybody {
            client.is(&everybody);
        }
        client.stage = Stage::Open;
        client.options.drop_secrets();
        let connect = Connect { name: "", echo: echo(client), queue_bytes };
        self.tell(Input::Frame { session, frame: Frame::Connect(connect) });
    }

    fn subscribe_nats(&mut self, session: SessionIx, subject: &[u8], group: &[u8], word: &[u8]) {
        let subscriptions_max = self.nats.subscriptions_max;
        let Some(client) = self.client_mut(session) else { return };
        let ok = client.ok();
        let Ok(pattern) = Pattern::parse_as(subject, Dialect::Nats) else {
            return self.tell_error(session, error_text(ErrorCode::BadPattern));
        };
        let Some(group_name) = str::from_utf8(group).ok().filter(|name| is_group(name)) else {
            return self.tell_error(session, error_text(ErrorCode::BadName));
        };
        let verdict = client.may_subscribe(pattern, Some(group_name).filter(|g| !g.is_empty()));
        if verdict == Verdict::Refused {
            return self.not_permitted(session, "Subscription", subject, group);
        }
        if subscriptions_max <= client.subscriptions_count {
            return self.tell_error(session, error_text(ErrorCode::TooManySubscriptions));
        }
        let Some(sid) = client.sids.number(word) else {
            return self.tell_error(session, error_text(ErrorCode::BadName));
        };
        client.subscribing(sid);
        let is_taken = self.machine.member(session, sid).is_some();
        let subscribe = Subscribe { sid, overload: Overload::Disconnect, pattern: subject, group };
        self.tell(Input::Frame { session, frame: Frame::Subscribe(subscribe) });
        self.tell_nats(session, ok);
        if !is_taken {
            self.note_subscribed(session, sid, pattern, group_name);
        }
    }

    fn unsubscribe_nats(&mut self, session: SessionIx, word: &[u8], deliveries: u32) {
        let Some(client) = self.client_mut(session) else { return };
        let ok = client.ok();
        if let Some(sid) = client.sids.find(word) {
            let frame = Frame::Unsubscribe { sid, deliveries };
            self.tell(Input::Frame { session, frame });
            // What has an end takes no jobs.
            self.note_unsubscribed(session, sid);
        }
        self.tell_nats(session, ok);
    }

    fn ping_nats(&mut self, session: SessionIx) {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let Self { links, nats, .. } = self;
        if let Some(Some(link)) = links.get_mut(session.0 as usize)
            && let Some(client) = &mut link.nats
        {
            client.pinged(&mut text);
            if client.is_to_be_introduced() {
                info::put(nats, client, "", Occasion::Open, &mut text);
            }
        }
        self.tell_nats(session, &text);
        self.scratch = text;
    }

    /// Messages of its own that were held went where they go.
    pub(super) fn released_nats(&mut self, session: Option<SessionIx>) {
        let Some(session) = session else { return };
        let Some(client) = self.client_mut(session) else { return };
        let mut text = Vec::new();
        client.released(&mut text);
        self.tell_nats(session, &text);
    }

    /// What is no command ends the connection, with a word if nats-server has one.
    fn violated(&mut self, session: SessionIx, violation: Violation) {
        tracing::debug!(session = session.0, %violation, "bytes that are no command");
        if self.bounds(session) != self.nats.bounds && violation == Violation::PayloadTooLarge {
            return self.refuse_with(session, "Authorization Violation");
        }
        match violation.text() {
            Some(text) => self.refuse_with(session, text),
            None => self.refuse(session, ErrorCode::Malformed),
        }
    }

    pub(super) fn refuse_with(&mut self, session: SessionIx, text: &str) {
        self.tell_error(session, text);
        self.refuse(session, ErrorCode::Malformed);
    }

    pub(super) fn not_permitted(
        &mut self,
        session: SessionIx,
        what: &str,
        subject: &[u8],
        group: &[u8],
    ) {
        let text = permissions_violation(what, subject, group);
        self.probe.refused(ErrorCode::ReservedTopic);
        self.tell_error(session, &text);
    }

    pub(super) fn tell_error(&mut self, session: SessionIx, text: &str) {
        let mut bytes = Vec::new();
        put_error(text, &mut bytes);
        self.tell_nats(session, &bytes);
    }

    /// Queues words for a NATS client.
    pub(super) fn tell_nats(&mut self, session: SessionIx, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.settle_session(session);
            self.queue_control(session, bytes);
        }
    }

    /// Answers a request that nobody took, if the client would receive the answer.
    pub(super) fn answer_nats(&mut self, session: SessionIx, subject: &[u8], reply: &[u8]) {
        let Some(sid) = self.machine.own_subscription(session, reply) else { return };
        let mut text = Vec::new();
        let Self { links, nats, .. } = self;
        let link = links.get_mut(session.0 as usize).and_then(Option::as_mut);
        if let Some(client) = link.and_then(|link| link.nats.as_deref()) {
            let sid = client.sids.written(sid);
            answer::put(nats, client, subject, reply, sid.as_bytes(), &mut text);
        }
        self.tell_nats(session, &text);
    }

    /// What a frame of the machine is in NATS.
    pub(super) fn say_nats(&mut self, session: SessionIx, frame: Frame<'_>) {
        if let Frame::Unsubscribed { sid } = frame {
            self.note_unsubscribed(session, sid);
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let Self { links, nats, now, .. } = self;
        let link = links.get_mut(session.0 as usize).and_then(Option::as_mut);
        if let Some(client) = link.and_then(|link| link.nats.as_deref_mut()) {
            match frame {
                Frame::Subscribed { sid } => client.settled(sid, &mut text),
                Frame::Unsubscribed { sid } => client.unsubscribed(sid, &mut text),
                Frame::Ping { .. } => {
                    client.pinged_at = Some(*now);
                    text.extend_from_slice(PING);
                }
                Frame::GoingAway => info::put(nats, client, "", Occasion::LameDuck, &mut text),
                Frame::Error(Refusal { code, sid, .. }) => {
                    // The one that has the number stays, as with nats-server.
                    if code == ErrorCode::SidInUse {
                        client.refused(sid, true, &mut text);
                    } else if code == ErrorCode::TooManySubscriptions {
                        client.refused(sid, false, &mut text);
                    }
                    if !error_text(code).is_empty() {
                        put_error(error_text(code), &mut text);
                    }
                }
                Frame::NoResponders { .. }
                | Frame::Connected(_)
                | Frame::Pong { .. }
                | Frame::Drained
                | Frame::For { .. }
                | Frame::Data(_)
                | Frame::Connect(_)
                | Frame::Subscribe(_)
                | Frame::Unsubscribe { .. }
                | Frame::Drain
                | Frame::Rpc(_) => (),
            }
            if client.is_to_be_introduced() {
                info::put(nats, client, "", Occasion::Open, &mut text);
            }
        }
        self.tell_nats(session, &text);
        self.scratch = text;
    }
}

/// The empty one stands for none.
fn is_group(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
    name.len() <= GROUP_BYTES_MAX && name.chars().all(is_plain)
}

fn echo(client: &Client) -> Echo {
    if client.options.echo { Echo::On } else { Echo::Off }
}
