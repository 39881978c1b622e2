//! Messages between queues, as the router carries them: routed, held, copied, handed to other shards.
//!
//! Targets and choices of a message are all taken before any delivery is counted: counting may end a
//! subscription, and with it the route.

use bytes::Bytes;
use mpreg_fabric::forward::{Choice, Held, Member, Source};
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::{SessionIx, SubIx};
use mpreg_fabric::shard::{Effect, Input, Place, Route};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Data, Echo, Frame, peek};
use mpreg_proto::id::{ShardIx, Sid};
use mpreg_proto::topic::Dialect;

use super::World;
use crate::faults::Behaviour;
use crate::history::Plan as _;
use crate::model::{Owed, Stage};

/// Who gets one run of messages.
#[derive(Debug, Default)]
struct Plan {
    plain: Vec<(SessionIx, Option<Sid>)>,
    shards: u64,
    members: Vec<Addressed>,
    elsewhere: Vec<(ShardIx, Bytes)>,
}

/// A member of a group on this shard.
#[derive(Debug)]
struct Addressed {
    session: SessionIx,
    subscription: SubIx,
    sid: Sid,
    group: Bytes,
}

impl World {
    /// A run of messages of one topic from a client.
    pub(super) fn route_run(
        &mut self,
        shard: usize,
        from: Option<SessionIx>,
        dialect: Dialect,
        frames: &Bytes,
    ) {
        self.be_busy(shard, |world| world.route_each(shard, from, dialect, frames));
    }

    fn route_each(
        &mut self,
        shard: usize,
        from: Option<SessionIx>,
        dialect: Dialect,
        frames: &Bytes,
    ) {
        let mut rest = frames.clone();
        while let Some(data) = first(&rest) {
            let mut effects = Vec::new();
            let machine = &mut self.seats[shard].machine;
            match machine.route(data.topic(), dialect, &mut effects).0 {
                Route::Known(place) => {
                    let run = if machine.targets(place).is_per_message() {
                        rest.slice(..data.frame().len())
                    } else {
                        rest.clone()
                    };
                    rest = rest.slice(run.len()..);
                    let plan = self.plan(shard, from, place, &run);
                    self.carry_out(shard, place, from, &plan, &run, effects);
                }
                Route::Asking(ix) => {
                    self.seats[shard].held.insert(data.topic().to_vec());
                    self.seats[shard].machine.hold(ix, from, rest.clone());
                    let line = format_args!("held: {:?}", numbers(&rest));
                    self.trace.note(self.now, shard, &numbers(&rest), line);
                    return self.perform(shard, effects);
                }
                Route::Refused(code) => {
                    numbers(&rest).into_iter().for_each(|number| self.model.refused(number, code));
                    if let Some(session) = from {
                        let client = self.client_in(shard, session);
                        let owed = Owed::Error { code, sid: Sid(0) };
                        client.into_iter().for_each(|client| self.model.owe(client, owed));
                        self.feed(shard, Input::Refused { session, code });
                    }
                    return;
                }
            }
        }
    }

    /// Messages that waited for a route go on.
    pub(super) fn forward(&mut self, shard: usize, held: Vec<Held>) {
        for Held { source, frames } in held {
            let Source::Client(publisher) = source else {
                panic!("no world here has another node")
            };
            if let Some(data) = first(&frames) {
                self.seats[shard].held.remove(data.topic());
            }
            let machine = &mut self.seats[shard].machine;
            let from = publisher.and_then(|publisher| machine.present(publisher));
            // It was a topic of its publisher's when it came.
            self.route_run(shard, from, Dialect::Nats, &frames);
        }
    }

    /// Everyone who gets a run, taken down before anything changes.
    fn plan(&mut self, shard: usize, from: Option<SessionIx>, place: Place, run: &Bytes) -> Plan {
        let skipped = self.no_echo(shard, from);
        let machine = &mut self.seats[shard].machine;
        let targets = machine.targets(place);
        let mut plan = Plan { shards: targets.shards, ..Plan::default() };
        let all = targets.plain.iter().map(|target| (target.session, target.sid));
        plan.plain.extend(all.filter(|&(session, _)| Some(session) != skipped));
        let is_nobodys = targets.is_empty();
        let mut missed = Vec::new();
        for group in 0..targets.groups.len() {
            let name = machine.targets(place).groups[group].name.clone();
            for number in numbers(run) {
                self.model.chosen(number, &String::from_utf8_lossy(&name));
            }
            // As the router does: a publisher that wants no echo is not drawn, if another may be.
            let is_other = |member: &Member| Some(member.session) != skipped;
            match machine.choose(place, group, is_other) {
                Some(Choice::Here(member)) => {
                    let (session, subscription) = (member.session, member.subscription);
                    let sid = machine.sid(subscription);
                    plan.members.push(Addressed { session, subscription, sid, group: name });
                }
                Some(Choice::There(shard)) => plan.elsewhere.push((shard, name)),
                None => missed.push(name),
            }
        }
        missed.into_iter().for_each(|group| self.miss(shard, run, &group));
        if is_nobodys {
            self.nobody(shard, from, run);
        }
        plan
    }

    /// Copies a run to everyone in the plan, then counts.
    fn carry_out(
        &mut self,
        shard: usize,
        place: Place,
        from: Option<SessionIx>,
        plan: &Plan,
        run: &Bytes,
        mut effects: Vec<Effect>,
    ) {
        let numbers = numbers(run);
        let skipped = self.no_echo(shard, from);
        for &(session, sid) in &plan.plain {
            self.copy(shard, session, sid, run);
        }
        for to in (0..self.seats.len()).filter(|to| plan.shards >> to & 1 != 0) {
            numbers.iter().for_each(|&number| self.model.sent_on(number));
            self.push(shard, to, Handoff::Run { frames: run.clone() });
        }
        for (to, group) in &plan.elsewhere {
            let (frame, group) = (run.clone(), group.clone());
            numbers.iter().for_each(|&number| self.model.sent_on(number));
            self.push(shard, to.index(), Handoff::Member { frame, group, tried: 0 });
        }
        let mut served = Vec::new();
        for member in &plan.members {
            if self.copy_to_member(shard, member, run) {
                served.push(member.subscription);
            }
        }
        let machine = &mut self.seats[shard].machine;
        machine.delivered(place, numbers.len() as u32, skipped.as_slice(), &mut effects);
        for subscription in served {
            machine.delivered_to(subscription, &mut effects);
        }
        self.overflow(shard, plan, &mut effects);
        self.seats[shard].handled.extend(numbers);
        self.perform(shard, effects);
    }

    /// The queue of one who got a message turns out to be full, and its policy is to go.
    fn overflow(&mut self, shard: usize, plan: &Plan, effects: &mut Vec<Effect>) {
        if !self.faults.has(Behaviour::Overflow) || self.rng.below(100) != 0 {
            return;
        }
        let Some(&(session, _)) = plan.plain.first() else { return };
        let Some(client) = self.client_in(shard, session) else { return };
        let code = ErrorCode::SlowConsumer;
        self.owe_end(client, code);
        self.model.will_leave(client);
        let input = Input::Refused { session, code };
        self.seats[shard].machine.handle(input, self.now, effects);
    }

    /// From another shard.
    pub(super) fn hear(&mut self, shard: usize, from: usize, handoff: Handoff) {
        match handoff {
            Handoff::Run { frames } => {
                self.be_busy(shard, |world| world.run_here(shard, &frames));
            }
            Handoff::Member { frame, group, .. } => self.member_here(shard, &frame, &group),
            Handoff::Returned { .. } => panic!("clients here may have whatever they ask for"),
            Handoff::Asked { .. } => panic!("no world here has another node"),
            Handoff::Call(_) | Handoff::Told(_) => panic!("nobody here calls functions"),
            handoff @ (Handoff::Ask { .. }
            | Handoff::Answer { .. }
            | Handoff::Want { .. }
            | Handoff::Settled { .. }
            | Handoff::Forget { .. }
            | Handoff::Forgotten { .. }
            | Handoff::Emptied { .. }) => {
                let from = ShardIx::new(from).expect("shards have places");
                self.feed(shard, Input::Handoff { from, handoff });
            }
        }
        self.model.done();
    }

    fn run_here(&mut self, shard: usize, frames: &Bytes) {
        let mut rest = frames.clone();
        while let Some(data) = first(&rest) {
            let machine = &mut self.seats[shard].machine;
            let place = machine.route_here(data.topic());
            let targets = machine.targets(place);
            let run =
                if targets.has_limit { rest.slice(..data.frame().len()) } else { rest.clone() };
            rest = rest.slice(run.len()..);
            let plain = targets.plain.iter().map(|target| (target.session, target.sid)).collect();
            let plan = Plan { plain, ..Plan::default() };
            self.carry_out(shard, place, None, &plan, &run, Vec::new());
        }
    }

    fn member_here(&mut self, shard: usize, frame: &Bytes, group: &Bytes) {
        let Some(data) = first(frame) else { return };
        let machine = &mut self.seats[shard].machine;
        let place = machine.route_here(data.topic());
        let mut effects = Vec::new();
        match machine.choose_here(place, group, |_| true) {
            Some(member) => {
                let (session, subscription) = (member.session, member.subscription);
                let sid = machine.sid(subscription);
                let group = group.clone();
                let member = Addressed { session, subscription, sid, group };
                if self.copy_to_member(shard, &member, frame) {
                    self.seats[shard].machine.delivered_to(subscription, &mut effects);
                }
            }
            None => self.miss(shard, frame, group),
        }
        self.seats[shard].handled.extend(numbers(frame));
        self.perform(shard, effects);
    }

    /// Queues a run for a session, unless it has ended.
    fn copy(&mut self, shard: usize, session: SessionIx, sid: Option<Sid>, run: &Bytes) {
        let Some(client) = self.client_in(shard, session) else { return };
        for number in numbers(run) {
            let line = format_args!("message {number} to {client:?}");
            self.trace.note(self.now, shard, &(client, number), line);
            self.model.copied(number, client, sid);
        }
        self.reply_later(client, run);
    }

    /// Queues a message for one member, unless its session has ended.
    fn copy_to_member(&mut self, shard: usize, member: &Addressed, run: &Bytes) -> bool {
        let Some(client) = self.client_in(shard, member.session) else {
            self.miss(shard, run, &member.group);
            return false;
        };
        let group = String::from_utf8_lossy(&member.group);
        for number in numbers(run) {
            let line = format_args!("message {number} to {client:?} for {} of {group}", member.sid);
            self.trace.note(self.now, shard, &(client, number, member.sid), line);
            self.model.copied_to_member(number, client, member.sid, &group);
        }
        self.reply_later(client, run);
        true
    }

    fn miss(&mut self, shard: usize, run: &Bytes, group: &Bytes) {
        let group = String::from_utf8_lossy(group);
        for number in numbers(run) {
            let line = format_args!("message {number} finds nobody of {group}");
            self.trace.note(self.now, shard, &number, line);
            self.model.missed(number, &group, shard);
        }
    }

    fn nobody(&mut self, shard: usize, from: Option<SessionIx>, run: &Bytes) {
        let Some(session) = from else { return };
        let Some(client) = self.client_in(shard, session) else { return };
        for data in each(run).filter(|data| !data.reply().is_empty()) {
            self.model.nobody(number(data));
            let frame = Frame::NoResponders { reply: data.reply() };
            self.model.said(client, &frame, self.now);
        }
    }

    /// The publisher, if it wants no echo.
    fn no_echo(&mut self, shard: usize, from: Option<SessionIx>) -> Option<SessionIx> {
        let client = self.client_in(shard, from?)?;
        let session = &self.model.sessions[client.0];
        let is_off = session.echo == Echo::Off && session.stage != Stage::Ended;
        from.filter(|_| is_off)
    }
}

fn each(mut frames: &[u8]) -> impl Iterator<Item = Data<'_>> {
    std::iter::from_fn(move || {
        let (bytes, _) = peek(frames).ok().flatten()?;
        let (frame, rest) = frames.split_at_checked(bytes)?;
        frames = rest;
        Data::parse(frame).ok()
    })
}

fn first(frames: &[u8]) -> Option<Data<'_>> {
    each(frames).next()
}

/// Every message carries its number in front.
fn number(data: Data<'_>) -> u64 {
    let head = data.payload().first_chunk::<8>();
    head.map_or(0, |head| u64::from_le_bytes(*head))
}

fn numbers(frames: &[u8]) -> Vec<u64> {
    each(frames).map(number).collect()
}
