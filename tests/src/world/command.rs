//! The commands of clients: everything the protocol allows, and some of what it does not.

use bytes::Bytes;
use mpreg_fabric::fact::EndReason;
use mpreg_fabric::shard::Input;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Connected, Data, Frame, Overload, Publish, Subscribe, decode};
use mpreg_proto::id::{SessionId, Sid};

use super::World;
use crate::faults::{Behaviour, pick};
use crate::history::Plan as _;
use crate::model::{ClientNo, Owed, Room, Stage};

const WORDS: [&str; 4] = ["a", "b", "c", "d"];
const GROUPS: [&str; 3] = ["workers", "g", "other"];
/// The wildcards among them are words to NATS clients.
const BAD_TOPICS: [&str; 7] = ["mpreg", "mpreg.x", "a..b", "a.*", "a.#", "#", "a b"];
const BAD_PATTERNS: [&str; 5] = ["a..b", ">.a", "a.>.b", " ", "."];
const NAMES_MAX: u32 = 3;

impl World {
    pub(super) fn do_something(&mut self, client: ClientNo) {
        match self.rng.below(100) {
            0..40 => self.publish_some(client),
            40..60 => self.subscribe(client),
            60..68 if self.has(Behaviour::Unsubscribe) => self.unsubscribe(client, 0),
            68..76 if self.has(Behaviour::UnsubscribeCounted) => {
                let deliveries = 1 + self.rng.below(6);
                self.unsubscribe(client, deliveries);
            }
            76..84 if self.has(Behaviour::Requests) => self.request(client),
            84..86 => self.ping(client),
            86..89 if self.has(Behaviour::Refusals) => self.be_refused(client),
            89..91 if self.has(Behaviour::ManySubscriptions) => {
                (0..2 + self.rng.below(12)).for_each(|_| self.subscribe(client));
            }
            91..94 if self.has(Behaviour::Drain) => {
                self.model.will_drain(client);
                self.send(client, &Frame::Drain);
                let is_silent = self.has(Behaviour::Silence) && self.rng.below(4) == 0;
                self.clients[client.0].is_silent |= is_silent;
            }
            94..96 if self.has(Behaviour::Disconnect) => self.leave(client, EndReason::PeerClosed),
            96..97 if self.has(Behaviour::Disconnect) => {
                self.leave(client, EndReason::TransportFailed);
            }
            97..98 if self.has(Behaviour::Silence) => self.clients[client.0].is_silent = true,
            98..99 if self.has(Behaviour::Nonsense) => self.talk_nonsense(client),
            _ => self.publish_some(client),
        }
    }

    pub(super) fn has(&self, behaviour: Behaviour) -> bool {
        self.faults.has(behaviour)
    }

    pub(super) fn publish_some(&mut self, client: ClientNo) {
        let topic = self.topic();
        let is_burst = self.has(Behaviour::Bursts) && self.rng.below(3) == 0;
        let count = if is_burst { 2 + self.rng.below(5) } else { 1 };
        self.publish(client, &topic, "", count);
    }

    pub(super) fn publish(&mut self, client: ClientNo, topic: &str, reply: &str, count: u32) {
        if !matches!(self.stage(client), Stage::Open | Stage::Draining | Stage::Drained) {
            return;
        }
        let mut frames = Vec::new();
        for _ in 0..count {
            self.messages_made += 1;
            let number = self.messages_made;
            let payload = number.to_le_bytes();
            let (topic_bytes, reply_bytes) = (topic.as_bytes(), reply.as_bytes());
            let message = Publish {
                topic: topic_bytes,
                reply: reply_bytes,
                payload: &payload,
                ..Publish::default()
            };
            message.put(&mut frames).expect("topics here are short");
            self.model.published(number, client, topic, !reply.is_empty());
        }
        let (shard, session) = self.place_of(client);
        let line = format_args!("{client:?} publishes {count} to {topic}");
        self.trace.note(self.now, shard, &frames, line);
        self.hear_from(client);
        let dialect = self.model.dialect(client);
        self.route_run(shard, Some(session), dialect, &Bytes::from(frames));
    }

    pub(super) fn subscribe(&mut self, client: ClientNo) {
        let pattern = self.pattern();
        let in_group = self.has(Behaviour::Groups) && self.rng.below(3) == 0;
        let group = if in_group { *pick(&mut self.rng, &GROUPS) } else { "" };
        // Numbers come again: some are free by now, some are not.
        let next_sid = &mut self.clients[client.0].next_sid;
        *next_sid += 1;
        let sid = Sid(*next_sid % 16);
        self.subscribe_to(client, sid, &pattern, group);
    }

    fn subscribe_to(&mut self, client: ClientNo, sid: Sid, pattern: &str, group: &str) {
        let (shard, _) = self.place_of(client);
        let held = self.model.sessions[client.0].sids.len();
        let all = self.seats[shard].machine.subscriptions_count();
        let room = Room {
            is_session_full: self.faults.subscriptions_max as usize <= held,
            is_shard_full: self.faults.subscriptions_total_max as usize <= all,
        };
        self.model.will_subscribe(client, sid, pattern, group, room);
        let (pattern, group) = (pattern.as_bytes(), group.as_bytes());
        let overload = *pick(&mut self.rng, &Overload::ALL);
        self.send(client, &Frame::Subscribe(Subscribe { sid, overload, pattern, group }));
        self.model.done();
    }

    fn unsubscribe(&mut self, client: ClientNo, deliveries: u32) {
        let Some(sid) = self.some_sid(client) else { return };
        self.model.will_unsubscribe(client, sid, deliveries);
        self.send(client, &Frame::Unsubscribe { sid, deliveries });
    }

    fn some_sid(&mut self, client: ClientNo) -> Option<Sid> {
        let sids = &self.model.sessions[client.0].sids;
        let nth = self.rng.below((sids.len() as u32).max(1)) as usize;
        sids.keys().nth(nth).copied()
    }

    /// Asks, with an inbox of its own for the answers.
    fn request(&mut self, client: ClientNo) {
        let inbox = format!("_INBOX.c{}.*", client.0);
        if self.clients[client.0].requests == 0 {
            self.subscribe_to(client, Sid(1000), &inbox, "");
        }
        self.clients[client.0].requests += 1;
        let reply = format!("_INBOX.c{}.{}", client.0, self.clients[client.0].requests);
        let topic = self.topic();
        self.publish(client, &topic, &reply, 1);
    }

    fn ping(&mut self, client: ClientNo) {
        let token = self.rng.draw();
        self.model.owe(client, Owed::Pong { token });
        self.send(client, &Frame::Ping { token });
    }

    /// A command that is refused and changes nothing.
    fn be_refused(&mut self, client: ClientNo) {
        match self.rng.below(4) {
            0 => {
                let topic = *pick(&mut self.rng, &BAD_TOPICS);
                self.publish(client, topic, "", 1);
            }
            1 => {
                let pattern = *pick(&mut self.rng, &BAD_PATTERNS);
                self.subscribe_to(client, Sid(2000), pattern, "");
            }
            2 => {
                let Some(sid) = self.some_sid(client) else { return };
                self.subscribe_to(client, sid, "a", "");
            }
            _ => {
                let sid = Sid(3000);
                self.model.will_unsubscribe(client, sid, 0);
                self.send(client, &Frame::Unsubscribe { sid, deliveries: 0 });
            }
        }
    }

    /// Something that ends the session.
    pub(super) fn talk_nonsense(&mut self, client: ClientNo) {
        match self.rng.below(4) {
            0 if self.stage(client) == Stage::Open => {
                self.subscribe_to(client, Sid(4000), "a", "not a name");
            }
            1 => {
                self.owe_end(client, ErrorCode::UnexpectedFrame);
                self.send(client, &Frame::Subscribed { sid: Sid(1) });
            }
            2 => {
                let (shard, session) = self.place_of(client);
                let code = decode(&[8, 0, 0, 0, 99]).expect_err("there is no kind 99");
                self.owe_end(client, code);
                self.hear_from(client);
                self.feed(shard, Input::Refused { session, code });
            }
            _ if self.stage(client) == Stage::Stranger => {
                self.owe_end(client, ErrorCode::UnexpectedFrame);
                let mut frame = Vec::new();
                let early = Publish { topic: b"a", ..Publish::default() };
                early.put(&mut frame).expect("a short message");
                let data = Data::parse(&frame).expect("just written");
                self.send(client, &Frame::Data(data));
            }
            _ => {
                self.owe_end(client, ErrorCode::UnexpectedFrame);
                self.send(
                    client,
                    &Frame::Connected(Connected {
                        session: SessionId(1),
                        frame_bytes_max: 0,
                        queue_bytes: 0,
                        ping_interval_ms: 0,
                        subscriptions_max: 0,
                    }),
                );
            }
        }
    }

    pub(super) fn owe_end(&mut self, client: ClientNo, code: ErrorCode) {
        self.model.owe(client, Owed::Error { code, sid: Sid(0) });
        self.model.owe(client, Owed::End { code });
    }

    /// Every topic of this history.
    pub(super) fn topics(&self) -> Vec<String> {
        let words_count = self.faults.words_count;
        let of_length = |length: u32| {
            (0..words_count.pow(length)).map(move |nth| {
                let place = |at: u32| WORDS[nth / words_count.pow(at) % words_count];
                (0..length).map(place).collect::<Vec<&str>>().join(".")
            })
        };
        (1..=NAMES_MAX).flat_map(of_length).collect()
    }

    fn topic(&mut self) -> String {
        let count = 1 + self.rng.below(NAMES_MAX);
        let words: Vec<&str> = (0..count).map(|_| self.word()).collect();
        words.join(".")
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.rng.below(self.faults.words_count as u32) as usize]
    }

    /// A topic, in which some words may have become wildcards.
    fn pattern(&mut self) -> String {
        let mut pattern = self.topic();
        if !self.has(Behaviour::Wildcards) || self.rng.below(2) == 0 {
            return pattern;
        }
        let parts: Vec<&str> = pattern.split('.').collect();
        let mut changed: Vec<&str> = Vec::new();
        for part in parts {
            changed.push(match self.rng.below(6) {
                0 | 1 => "*",
                2 => "#",
                _ => part,
            });
        }
        if self.rng.below(4) == 0 {
            changed.push(">");
        }
        pattern = changed.join(".");
        pattern
    }
}
