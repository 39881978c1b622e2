//! The shell of each shard: inputs in, effects performed.
//!
//! It does with a machine what the router does, in the same order, with a client's queue in place of
//! a socket.

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::{Effect, Input};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Frame;
use mpreg_proto::id::Sid;

use super::client::Todo;
use super::{Happening, Slot, World};
use crate::check::Violation;
use crate::faults::{Behaviour, micros};
use crate::history::Plan as _;
use crate::model::ClientNo;

impl World {
    pub(super) fn feed(&mut self, shard: usize, input: Input<'_>) {
        let mut effects = Vec::new();
        self.seats[shard].machine.handle(input, self.now, &mut effects);
        self.perform(shard, effects);
    }

    /// Does what a machine wants done, in its order. What follows from an effect comes after all that
    /// were named with it; while a run is routed, all effects wait.
    pub(super) fn perform(&mut self, shard: usize, effects: Vec<Effect>) {
        self.seats[shard].effects.extend(effects);
        if !self.seats[shard].is_busy {
            self.be_busy(shard, |_| ());
        }
    }

    /// Does `work`, then everything that follows from it.
    pub(super) fn be_busy(&mut self, shard: usize, work: impl FnOnce(&mut Self)) {
        let was_busy = std::mem::replace(&mut self.seats[shard].is_busy, true);
        work(self);
        if was_busy {
            return;
        }
        while !self.seats[shard].effects.is_empty() {
            for effect in std::mem::take(&mut self.seats[shard].effects) {
                self.perform_one(shard, effect);
            }
        }
        self.seats[shard].is_busy = false;
        for number in std::mem::take(&mut self.seats[shard].handled) {
            self.model.handled(number);
        }
        self.observe(shard);
    }

    fn perform_one(&mut self, shard: usize, effect: Effect) {
        match effect {
            Effect::Greet { session, .. } => self.react_later(shard, session, Todo::Connect),
            Effect::Open { session, echo, .. } => {
                if let Some(client) = self.client_in(shard, session) {
                    self.model.opened(client, echo);
                    self.act_later(client);
                }
            }
            Effect::Say { session, frame } => self.say(shard, session, &frame),
            Effect::End { session, reason } => self.end(shard, session, reason),
            Effect::AwaitEmpty { session } => self.await_empty(shard, session),
            Effect::Freed { session } => self.freed(shard, session),
            Effect::Handoff { to, handoff } => {
                let line = format_args!("{to} <- {handoff:?}");
                self.trace.note(self.now, shard, &Said(&handoff), line);
                self.push(shard, to.index(), handoff);
            }
            Effect::Forward { held } => self.forward(shard, held),
            // No world here has another node.
            Effect::Wanted { .. } | Effect::Refused { .. } => (),
        }
    }

    /// The live client in a slot.
    pub(super) fn client_in(&mut self, shard: usize, session: SessionIx) -> Option<ClientNo> {
        match self.seats[shard].slots.get(session.0 as usize) {
            Some(Slot::Open(client)) => Some(*client),
            Some(Slot::Free | Slot::Closing(_) | Slot::Closed(_)) | None => None,
        }
    }

    fn say(&mut self, shard: usize, session: SessionIx, frame: &Frame<'_>) {
        let client = match self.seats[shard].slots.get(session.0 as usize) {
            Some(Slot::Open(client) | Slot::Closing(client) | Slot::Closed(client)) => *client,
            Some(Slot::Free) | None => {
                let text = format!("{frame:?} was said into free slot {session:?} of {shard}");
                return self.model.note(Err(Violation::new("after the end", text)));
            }
        };
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        let line = format_args!("{client:?} is told {frame:?}");
        self.trace.note(self.now, shard, &(client, bytes), line);
        self.model.said(client, frame, self.now);
        if let Frame::Ping { token } = *frame {
            self.react_later(shard, session, Todo::Pong { token });
        }
        if *frame == Frame::Drained {
            self.react_later(shard, session, Todo::Leave);
        }
    }

    fn end(&mut self, shard: usize, session: SessionIx, reason: EndReason) {
        let Some(client) = self.client_in(shard, session) else {
            let text = format!("{session:?} of shard {shard} ended twice");
            return self.model.note(Err(Violation::new("ended", text)));
        };
        let line = format_args!("{client:?} ends: {reason:?}");
        self.trace.note(self.now, shard, &(client, reason), line);
        self.model.ended(client, reason, self.now);
        self.seats[shard].slots[session.0 as usize] = Slot::Closing(client);
        if self.faults.has(Behaviour::SlowClose) {
            let delay = self.delay(self.faults.close_delay);
            self.after(delay, Happening::Echo { client });
        }
        let delay = self.delay(self.faults.close_delay);
        self.after(delay, Happening::Close { client });
    }

    fn await_empty(&mut self, shard: usize, session: SessionIx) {
        if let Some(client) = self.client_in(shard, session) {
            self.model.drained(client);
            let delay = self.delay(self.faults.close_delay);
            self.after(delay, Happening::Empty { client });
        }
    }

    fn freed(&mut self, shard: usize, session: SessionIx) {
        let slot = &mut self.seats[shard].slots[session.0 as usize];
        let was = std::mem::replace(slot, Slot::Free);
        self.trace.note(self.now, shard, &session, format_args!("{session:?} is free: {was:?}"));
        if !matches!(was, Slot::Closed(_)) {
            let text = format!("{session:?} of shard {shard} was freed while {was:?}");
            self.model.note(Err(Violation::new("freed", text)));
        }
        self.seats[shard].free.push(session);
    }

    /// The queue of a draining session is sent. It may have ended meanwhile.
    pub(super) fn empty(&mut self, client: ClientNo) {
        let (shard, session) = self.place_of(client);
        let slot = self.seats[shard].slots[session.0 as usize];
        if slot == Slot::Open(client) || slot == Slot::Closing(client) {
            self.feed(shard, Input::Emptied { session });
        }
    }

    pub(super) fn close(&mut self, client: ClientNo) {
        let (shard, session) = self.place_of(client);
        self.seats[shard].slots[session.0 as usize] = Slot::Closed(client);
        self.feed(shard, Input::Closed { session });
    }

    /// What was under way to a session when it ended.
    pub(super) fn echo(&mut self, client: ClientNo) {
        let (shard, session) = self.place_of(client);
        if self.seats[shard].slots[session.0 as usize] != Slot::Closing(client) {
            return;
        }
        let sid = Sid(1);
        let input = match self.rng.below(4) {
            0 => Input::Lost { session, reason: EndReason::TransportFailed },
            1 => Input::Frame { session, frame: Frame::Unsubscribe { sid, deliveries: 0 } },
            2 => Input::Refused { session, code: ErrorCode::SlowConsumer },
            _ => Input::Frame { session, frame: Frame::Ping { token: 1 } },
        };
        self.feed(shard, input);
    }

    fn react_later(&mut self, shard: usize, session: SessionIx, todo: Todo) {
        if let Some(client) = self.client_in(shard, session) {
            self.clients[client.0].todo.push_back(todo);
            let delay = self.delay(micros(500));
            self.after(delay, Happening::React { client });
        }
    }
}

/// What of a hand-off goes into the fingerprint.
struct Said<'a>(&'a Handoff);

impl std::hash::Hash for Said<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self.0).hash(state);
        match self.0 {
            Handoff::Run { frames } => frames.hash(state),
            Handoff::Member { frame, group, tried } | Handoff::Returned { frame, group, tried } => {
                (frame, group, tried).hash(state)
            }
            Handoff::Asked { reply, .. } => reply.hash(state),
            Handoff::Ask { topic } => topic.hash(state),
            Handoff::Answer { topic, wanted } => (topic, wanted.shards).hash(state),
            Handoff::Want { pattern, group, members, ticket } => {
                (pattern, group, members, ticket).hash(state);
            }
            Handoff::Settled { ticket }
            | Handoff::Forget { ticket, .. }
            | Handoff::Forgotten { ticket } => ticket.hash(state),
            Handoff::Emptied { bucket } => bucket.hash(state),
            Handoff::Call(_) | Handoff::Told(_) => panic!("nobody here calls functions"),
        }
    }
}
