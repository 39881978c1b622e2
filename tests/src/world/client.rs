//! Clients from arrival to departure. What they say in between is in `command.rs`.

use std::collections::VecDeque;

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::session::Protocol;
use mpreg_fabric::shard::Input;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Connect, Decoded, Echo, Frame, decode};
use mpreg_proto::hello::{Hello, Role};

use super::{Happening, Slot, World};
use crate::check;
use crate::faults::{Behaviour, micros};
use crate::history::Plan as _;
use crate::model::{ClientNo, Stage};

/// One client. It has one connection in its life.
pub(super) struct Client {
    shard: usize,
    session: SessionIx,
    protocol: Protocol,
    pub(super) todo: VecDeque<Todo>,
    /// It stops saying anything, answers included.
    pub(super) is_silent: bool,
    pub(super) next_sid: u32,
    pub(super) requests: u32,
}

/// An answer a client owes.
#[derive(Debug)]
pub(super) enum Todo {
    Connect,
    Pong { token: u64 },
    Reply { topic: String },
    Leave,
}

impl World {
    /// The first client comes at once, the others over the time all acts take.
    pub(super) fn arrive_in_time(&mut self) {
        let all = self.faults.act_gap * (1 + self.faults.acts_count as u32 / 4);
        for nth in 0..self.faults.clients_count {
            let at = if nth < 3 { micros(10) } else { self.delay(all) };
            self.after(at, Happening::Arrive);
        }
        if self.faults.has(Behaviour::Stop) && self.rng.below(2) == 0 {
            let at = self.delay(all);
            for shard in 0..self.seats.len() {
                let later = self.delay(micros(300));
                self.after(at + later, Happening::Stop { shard });
            }
        }
    }

    pub(super) fn arrive(&mut self) {
        let shard = self.rng.below(self.seats.len() as u32) as usize;
        let client = self.accept(shard);
        let is_late = self.faults.has(Behaviour::Silence) && self.rng.below(8) == 0;
        let longest = if is_late { micros(60_000) } else { micros(500) };
        let delay = self.delay(longest);
        self.after(delay, Happening::Act { client });
    }

    /// One more client on every shard, to see that the node serves them.
    pub(crate) fn send_probers(&mut self) -> Vec<ClientNo> {
        (0..self.seats.len())
            .map(|shard| {
                let client = self.accept(shard);
                self.greet(client);
                client
            })
            .collect()
    }

    fn accept(&mut self, shard: usize) -> ClientNo {
        let is_nats = self.rng.below(3) == 0;
        let protocol = if is_nats { Protocol::Nats } else { Protocol::Native };
        let client = self.model.accepted(shard, protocol, self.now);
        let seat = &mut self.seats[shard];
        let session = seat.free.pop().unwrap_or_else(|| {
            seat.slots.push(Slot::Free);
            SessionIx(seat.slots.len() as u32 - 1)
        });
        seat.slots[session.0 as usize] = Slot::Open(client);
        let todo = VecDeque::new();
        let (is_silent, next_sid, requests) = (false, 0, 0);
        self.clients.push(Client { shard, session, protocol, todo, is_silent, next_sid, requests });
        self.feed(shard, Input::Accepted { session, protocol });
        client
    }

    pub(super) fn place_of(&self, client: ClientNo) -> (usize, SessionIx) {
        (self.clients[client.0].shard, self.clients[client.0].session)
    }

    pub(super) fn stage(&self, client: ClientNo) -> Stage {
        self.model.sessions[client.0].stage
    }

    pub(super) fn act_later(&mut self, client: ClientNo) {
        if self.acts_left != 0 {
            let delay = self.delay(self.faults.act_gap);
            self.after(delay, Happening::Act { client });
        }
    }

    pub(super) fn act(&mut self, client: ClientNo) {
        let (shard, _) = self.place_of(client);
        let is_silent = self.clients[client.0].is_silent;
        match self.stage(client) {
            Stage::Stranger => self.greet(client),
            Stage::Open | Stage::Draining if self.acts_left == 0 || is_silent => (),
            Stage::Open | Stage::Draining if self.is_congested(shard) => self.act_later(client),
            Stage::Open => {
                self.acts_left -= 1;
                self.do_something(client);
                self.act_later(client);
            }
            Stage::Draining => {
                self.acts_left -= 1;
                self.publish_some(client);
                self.act_later(client);
            }
            Stage::Drained | Stage::Ended => (),
        }
        self.model.done();
    }

    /// Answers the oldest thing it was sent.
    pub(super) fn react(&mut self, client: ClientNo) {
        let Some(todo) = self.clients[client.0].todo.pop_front() else { return };
        let is_over = matches!(self.stage(client), Stage::Ended);
        if is_over || self.clients[client.0].is_silent {
            return;
        }
        match todo {
            Todo::Connect => self.connect(client),
            Todo::Pong { token } => self.send(client, &Frame::Pong { token }),
            Todo::Reply { topic } => self.publish(client, &topic, "", 1),
            Todo::Leave => self.leave(client, EndReason::PeerClosed),
        }
        self.model.done();
    }

    fn greet(&mut self, client: ClientNo) {
        if self.clients[client.0].protocol == Protocol::Nats {
            return self.connect(client);
        }
        let mut hello = Hello::client(client.0 as u128);
        let mut owed = None;
        if self.has(Behaviour::Nonsense) && self.rng.below(10) == 0 {
            owed = Some(ErrorCode::UnexpectedFrame);
            hello.role = Role::Router;
        }
        let (shard, session) = self.place_of(client);
        if let Some(code) = owed {
            self.owe_end(client, code);
        }
        self.hear_from(client);
        self.feed(shard, Input::Hello { session, bytes: &hello.to_bytes() });
    }

    fn connect(&mut self, client: ClientNo) {
        let is_off = self.has(Behaviour::EchoOff) && self.rng.below(2) == 0;
        let echo = if is_off { Echo::Off } else { Echo::On };
        if self.has(Behaviour::Nonsense) && self.rng.below(10) == 0 {
            return self.talk_nonsense(client);
        }
        self.send(client, &Frame::Connect(Connect { name: "", echo, queue_bytes: 0 }));
    }

    /// Publishes to every topic there is, each with a reply topic nobody else uses.
    pub(crate) fn probe(&mut self, client: ClientNo) {
        for (nth, topic) in self.topics().into_iter().enumerate() {
            let reply = format!("_INBOX.c{}.{nth}", client.0);
            self.publish(client, &topic, &reply, 1);
            self.model.done();
        }
    }

    /// Some of those who get a request answer it.
    pub(super) fn reply_later(&mut self, client: ClientNo, run: &[u8]) {
        let Ok(Decoded::Frame { frame: Frame::Data(data), .. }) = decode(run) else { return };
        if data.reply().is_empty() || self.rng.below(2) == 0 {
            return;
        }
        let topic = String::from_utf8_lossy(data.reply()).into_owned();
        self.clients[client.0].todo.push_back(Todo::Reply { topic });
        let delay = self.delay(micros(500));
        self.after(delay, Happening::React { client });
    }

    /// Its socket closes, or fails.
    pub(crate) fn leave(&mut self, client: ClientNo, reason: EndReason) {
        if self.stage(client) == Stage::Ended {
            return;
        }
        let (shard, session) = self.place_of(client);
        self.model.sessions[client.0].lost = Some(reason);
        self.feed(shard, Input::Lost { session, reason });
    }

    /// All that are left go.
    pub(crate) fn send_all_away(&mut self) {
        for client in (0..self.clients.len()).map(ClientNo) {
            self.leave(client, EndReason::PeerClosed);
            self.model.done();
        }
    }

    /// Whoever fell silent, or never said who it is, has been given up.
    pub(crate) fn check_silent_are_gone(&mut self) {
        for client in (0..self.clients.len()).map(ClientNo) {
            let stage = self.stage(client);
            let is_silent = self.clients[client.0].is_silent || stage == Stage::Stranger;
            let verdict = check::silence_ends(client, is_silent, stage);
            self.model.note(verdict);
        }
    }

    /// Subscribes to something, as the last thing before a probe.
    pub(crate) fn settle_in(&mut self, client: ClientNo) {
        if self.stage(client) == Stage::Open {
            self.subscribe(client);
            self.model.done();
        }
    }

    pub(super) fn send(&mut self, client: ClientNo, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        let (shard, session) = self.place_of(client);
        self.trace.note(self.now, shard, &bytes, format_args!("{client:?} says {frame:?}"));
        self.hear_from(client);
        match decode(&bytes) {
            Ok(Decoded::Frame { frame, .. }) => self.feed(shard, Input::Frame { session, frame }),
            other => panic!("{frame:?} became {other:?}"),
        }
    }

    pub(super) fn hear_from(&mut self, client: ClientNo) {
        let (shard, session) = self.place_of(client);
        self.seats[shard].machine.heard(session, self.now);
        self.model.heard(client, self.now);
    }
}
