//! Runs to queues: the hot path.
//!
//! A run is copied into each receiver's queue, or copied once and referenced when it is long and has
//! several receivers. Only where a receiver's queue is full, a queue group chooses, or a subscription
//! counts, are its messages handled one by one.
//!
//! What finds no room waits until its receiver's socket was offered what is queued: a burst is longer
//! than a queue long before a reader is slow. Only what the socket refuses is left to the policy, and
//! that after the other receivers have theirs.
//!
//! A run comes as frames or as the texts of NATS (`run.rs`). The other form is made
//! when the first receiver needs it; what goes to other shards or waits is always frames.

use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::fact::DropReason;
use mpreg_fabric::forward::{Choice, Member, Reach, RouteIx, Source, Target};
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::{SessionIx, SubIx};
use mpreg_fabric::shard::{Input, Place, Route};
use mpreg_proto::frame::{Data, Echo, Frame, Overload, Publish};
use mpreg_proto::id::{ShardIx, Sid};
use mpreg_proto::nats::Publication;
use mpreg_proto::topic::Dialect;

use super::Switch;
use super::run::{Run, each};
use super::text::{Queued, Texts};
use crate::arena::Arena;
use crate::limits::{SHARED_RUN_BYTES_MIN, SQUEEZES_MAX};
use crate::link::{Link, Stage};
use crate::outbound::{Budget, Lane, Offer, Outbound, Spares};

/// A run for a queue that had no room for it as it is.
#[derive(Debug)]
pub(super) struct Squeeze {
    session: SessionIx,
    sid: Option<Sid>,
    overload: Overload,
    lane: Lane,
    frames: Bytes,
}

impl Squeeze {
    fn new(target: &Target, lane: Lane, frames: Bytes) -> Self {
        let Target { session, sid, overload } = *target;
        Self { session, sid, overload, lane, frames }
    }
}

/// What to do with a message that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It waits for the socket.
    Some,
    /// The subscription's policy decides.
    None,
}

/// One queue one message goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    session: SessionIx,
    /// The subscription it is for, if the session is to be told.
    sid: Option<Sid>,
    overload: Overload,
    /// The group member it is for.
    member: Option<SubIx>,
}

impl Step {
    fn plain(target: &Target) -> Self {
        let Target { session, sid, overload } = *target;
        Self { session, sid, overload, member: None }
    }
}

impl Switch {
    /// Sends a run where it goes, and does what the machine wants in consequence.
    pub(super) fn dispatch(&mut self, from: SessionIx, run: &Run<'_>) {
        if run.messages == 0 {
            return;
        }
        self.probe.messages_in.add(u64::from(run.messages));
        (self.stall, self.link_stall) = (Duration::ZERO, Duration::ZERO);
        let is_native = run.publications.is_empty();
        self.forward(Some(from), if is_native { Dialect::Native } else { Dialect::Nats }, run);
        self.perform();
        self.pause_if_congested(from);
    }

    /// Keeps messages until it is known where they go. Until then their publisher owes no PONG, which
    /// would say that they went.
    fn hold(&mut self, ix: RouteIx, from: Option<SessionIx>, frames: Bytes) {
        if let Some(client) = from.and_then(|from| self.client_mut(from)) {
            client.runs_held += 1;
        }
        self.machine.hold(ix, from, frames);
    }

    pub(super) fn forward(&mut self, from: Option<SessionIx>, dialect: Dialect, run: &Run<'_>) {
        let (route, is_known) = self.machine.route(run.topic, dialect, &mut self.effects);
        if is_known {
            self.probe.route_hits.add(1)
        } else {
            self.probe.route_misses.add(1)
        }
        match route {
            Route::Known(place) => self.deliver(from, place, run),
            Route::Asking(ix) => {
                let frames = self.framed(run);
                self.hold(ix, from, frames);
            }
            Route::Refused(code) => {
                let Some(session) = from else { return };
                if !run.publications.is_empty() && has_gap(run.topic) {
                    return self.nobody(from, run);
                }
                let input = Input::Refused { session, code };
                self.machine.handle(input, self.now, &mut self.effects);
            }
        }
    }

    fn deliver(&mut self, from: Option<SessionIx>, place: Place, run: &Run<'_>) {
        let targets = self.machine.targets(place);
        let goes_out = self.goes_out(place, run.topic);
        if targets.is_empty() && !goes_out {
            return self.nobody(from, run);
        }
        if targets.is_per_message() {
            if run.publications.is_empty() {
                return run.each().for_each(|data| self.deliver_one(from, run.lane, data, None));
            }
            let frames = self.framed(run);
            return each(&frames).for_each(|data| self.deliver_one(from, run.lane, data, None));
        }
        if !goes_out {
            return self.deliver_alike(from, place, run, None);
        }
        let is_nobody_here = targets.is_empty();
        let shared = (!run.publications.is_empty()).then(|| self.framed(run));
        let is_sent = self.send_out(place, run.topic, shared.as_deref().unwrap_or(run.frames));
        match is_nobody_here {
            true if is_sent => (),
            true => self.nobody(from, run),
            false => self.deliver_alike(from, place, run, shared),
        }
    }

    /// Gives a run to everyone on this node, in no group and without a limit.
    pub(super) fn deliver_alike(
        &mut self,
        from: Option<SessionIx>,
        place: Place,
        run: &Run<'_>,
        shared: Option<Bytes>,
    ) {
        self.skip(from);
        let mut shared = self.spread(from, place, run, shared);
        for shard in shards_of(self.machine.targets(place).shards) {
            let frames = shared.get_or_insert_with(|| framed(run, &mut self.arena)).clone();
            self.mesh.stage(shard, Handoff::Run { frames });
        }
        let Self { machine, unserved, effects, .. } = self;
        machine.delivered(place, run.messages, unserved, effects);
    }

    /// Queues a run for every ungrouped receiver here: by reference if it is long and has several,
    /// or is in a page already (`shared`). Returns the page's reference if one was made. Adds to
    /// `unserved` who may not have it.
    fn spread(
        &mut self,
        from: Option<SessionIx>,
        place: Place,
        run: &Run<'_>,
        mut shared: Option<Bytes>,
    ) -> Option<Bytes> {
        let Self { machine, links, arena, budget, spares, probe, dirty, entered, unserved, .. } =
            self;
        let targets = machine.targets(place);
        let has_several = shared.is_some() || 1 < targets.plain.len();
        let mut texts = None;
        let (mut copied, mut referenced, mut produced_bytes) = (0, 0, 0);
        for target in &targets.plain {
            let Some(link) = receiver(links, target.session, from) else { continue };
            if !may_receive(link, run.topic) {
                probe.dropped(DropReason::NotPermitted, run.messages.into());
                unserved.push(target.session);
                continue;
            }
            let queued = match (&link.nats, target.sid) {
                _ if link.is_squeezed => None,
                // One that may answer what it is asked is handed each message.
                (Some(client), Some(_)) if client.replies.is_some() => None,
                (Some(_), Some(sid)) => {
                    let texts = texts.get_or_insert_with(|| Texts::of(run));
                    let queued = texts.queue(sid, has_several, link, budget, spares, arena);
                    let bytes = queued.map_or(0, Queued::bytes);
                    self.stall = self.stall.max(link.stall(bytes, self.now));
                    queued
                }
                _ => {
                    if run.frames.is_empty() {
                        shared.get_or_insert_with(|| framed(run, arena));
                    }
                    let out = &mut link.outbound;
                    queue_frames(run, has_several, &mut shared, out, budget, spares, arena)
                }
            };
            let Some(queued) = queued else {
                self.is_pressed |= link.may_drain(*entered);
                link.is_squeezed = true;
                let frames = shared.get_or_insert_with(|| framed(run, arena)).clone();
                self.squeezes.push(Squeeze::new(target, run.lane, frames));
                continue;
            };
            copied += 1;
            referenced += u64::from(matches!(queued, Queued::Referenced(_)));
            produced_bytes += queued.bytes();
            if !link.is_dirty {
                link.is_dirty = true;
                dirty.push(target.session);
            }
        }
        self.produced_bytes += produced_bytes;
        probe.messages_out.add(copied * u64::from(run.messages));
        probe.runs_copied.add(copied - referenced);
        probe.runs_shared.add(referenced);
        if SQUEEZES_MAX < self.squeezes.len() {
            self.settle(Patience::None);
        }
        shared
    }

    /// Begins `unserved`, with the publisher if it gets none of its own messages.
    fn skip(&mut self, from: Option<SessionIx>) {
        self.unserved.clear();
        self.unserved.extend(from.filter(|&from| {
            let link = self.links.get(from.0 as usize).and_then(Option::as_ref);
            link.is_some_and(|link| link.echo == Echo::Off)
        }));
    }

    /// Queues what waited, now that the kernel was offered what was queued before it; what a socket
    /// refused is left to the policy. Done when what the others get is on its way, so that they do not
    /// wait for those that lag.
    pub fn squeeze(&mut self) {
        self.is_pressed = false;
        self.settle(Patience::Some);
        self.perform();
    }

    /// Whether something waits for a socket that was not tried yet.
    pub fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    pub fn has_squeezes(&self) -> bool {
        !self.squeezes.is_empty()
    }

    fn settle(&mut self, patience: Patience) {
        for squeeze in &self.squeezes {
            let link = self.links.get_mut(squeeze.session.0 as usize).and_then(Option::as_mut);
            if let Some(link) = link {
                link.is_squeezed = false;
            }
        }
        for squeeze in std::mem::take(&mut self.squeezes) {
            self.settle_one(squeeze, patience);
        }
    }

    /// What waits for one session, before it is told something that must come after it.
    pub(super) fn settle_session(&mut self, session: SessionIx) {
        if !self.link_mut(session).is_some_and(|link| std::mem::take(&mut link.is_squeezed)) {
            return;
        }
        let its = |squeeze: &mut Squeeze| squeeze.session == session;
        for squeeze in self.squeezes.extract_if(.., its).collect::<Vec<_>>() {
            self.settle_one(squeeze, Patience::None);
        }
    }

    /// A run that fits is queued as one, if its messages are queued as they are.
    fn settle_one(&mut self, squeeze: Squeeze, patience: Patience) {
        let Self { links, budget, spares, probe, entered, .. } = self;
        let Squeeze { session, sid, overload, lane, ref frames } = squeeze;
        let Some(link) = receiver(links, session, None) else { return };
        let has_room = link.outbound.has_room(frames.len(), lane, budget);
        if patience == Patience::Some && (link.is_squeezed || !has_room && link.may_drain(*entered))
        {
            link.is_squeezed = true;
            self.is_pressed = true;
            return self.squeezes.push(squeeze);
        }
        if has_room && sid.is_none() {
            let messages = each(frames).count() as u32;
            link.outbound.copy(frames, messages, lane, budget, spares);
            probe.messages_out.add(messages.into());
            self.produced_bytes += frames.len();
            return self.mark_dirty(session);
        }
        for data in each(frames) {
            self.offer(Step { session, sid, overload, member: None }, lane, data, Patience::None);
        }
    }

    /// Offers one message to one queue; if there is no room it waits, or its policy decides.
    fn offer(&mut self, step: Step, lane: Lane, data: Data<'_>, patience: Patience) {
        let Self { links, budget, spares, probe, scratch, now, entered, .. } = self;
        let Step { session, sid, overload, .. } = step;
        let Some(link) = receiver(links, session, None) else { return };
        scratch.clear();
        let (message, lane) = match (&mut link.nats, sid) {
            (Some(client), _) if !client.may_receive(data.topic(), None) => {
                return probe.dropped(DropReason::NotPermitted, 1);
            }
            (Some(client), Some(sid)) => {
                client.put_message(sid, data, scratch);
                (&scratch[..], Lane::Normal)
            }
            (None, Some(sid)) => {
                Frame::For { sid }.put(scratch);
                scratch.extend_from_slice(data.frame());
                (&scratch[..], lane)
            }
            (_, None) => (data.frame(), lane),
        };
        if patience == Patience::Some
            && (link.is_squeezed
                || link.may_drain(*entered) && !link.outbound.has_room(message.len(), lane, budget))
        {
            self.is_pressed |= link.may_drain(*entered);
            link.is_squeezed = true;
            let frames = self.arena.share(data.frame());
            return self.squeezes.push(Squeeze { session, sid, overload, lane, frames });
        }
        if let Some(client) = &mut link.nats {
            client.asked(data.reply(), *now);
        }
        let bytes = message.len();
        match link.outbound.offer(message, lane, overload, budget, spares) {
            Offer::Queued => probe.messages_out.add(1),
            Offer::Displaced(older) => {
                probe.messages_out.add(1);
                probe.dropped(DropReason::QueueFullOldest, u64::from(older));
            }
            Offer::Dropped(reason) => probe.dropped(reason, 1),
            Offer::Disconnect => {
                probe.dropped(DropReason::QueueFullDisconnect, 1);
                return self.overrun.push(session);
            }
        }
        if let Some(client) = &mut link.nats {
            let headers = if client.options.headers { data.headers().len() } else { 0 };
            client.traffic.sent(1, headers + data.payload().len());
            self.stall = self.stall.max(link.stall(bytes, *now));
        }
        self.produced_bytes += bytes;
        self.mark_dirty(session);
    }

    /// One message whose receivers are chosen or counted. Another node's is for `reach` alone.
    pub(super) fn deliver_one(
        &mut self,
        from: Option<SessionIx>,
        lane: Lane,
        data: Data<'_>,
        reach: Option<&Reach>,
    ) {
        let (route, _) = self.machine.route(data.topic(), Dialect::Nats, &mut self.effects);
        let place = match route {
            Route::Known(place) => place,
            Route::Asking(ix) => {
                let frame = self.arena.share(data.frame());
                return match reach {
                    None => self.hold(ix, from, frame),
                    Some(reach) => self.machine.hold_from(ix, Source::Here(reach.clone()), frame),
                };
            }
            Route::Refused(_) => return,
        };
        let is_nobody_here = self.machine.targets(place).is_empty();
        let is_sent = reach.is_none()
            && self.goes_out(place, data.topic())
            && self.send_out(place, data.topic(), data.frame());
        if is_nobody_here {
            if !is_sent {
                self.nobody(from, &Run::begin(data, lane, 0));
            }
            return;
        }
        let is_here = reach.is_none_or(|reach| reach.is_here);
        self.plan.clear();
        if is_here {
            for shard in shards_of(self.machine.targets(place).shards) {
                let frames = self.arena.share(data.frame());
                self.mesh.stage(shard, Handoff::Run { frames });
            }
            self.plan_plain(from, place, data);
        }
        for group in 0..self.machine.targets(place).groups.len() {
            let name = &self.machine.targets(place).groups[group].name;
            if reach.is_none_or(|reach| reach.groups.contains(name)) {
                self.choose(place, group, from, data);
            }
        }
        if is_here {
            let Self { machine, unserved, effects, .. } = self;
            machine.delivered(place, 1, unserved, effects);
        }
        self.carry_out(from, lane, data);
    }

    /// Plans one message for every ungrouped receiver here. Who is not to have it is in `unserved`.
    fn plan_plain(&mut self, from: Option<SessionIx>, place: Place, data: Data<'_>) {
        self.plan.clear();
        self.skip(from);
        let Self { machine, links, plan, unserved, probe, .. } = self;
        for target in &machine.targets(place).plain {
            let Some(link) = receiver(links, target.session, from) else { continue };
            if may_receive(link, data.topic()) {
                plan.push(Step::plain(target));
            } else {
                probe.dropped(DropReason::NotPermitted, 1);
                unserved.push(target.session);
            }
        }
    }

    /// Draws a member of a group, of those that may have the message.
    fn choose(&mut self, place: Place, group: usize, from: Option<SessionIx>, data: Data<'_>) {
        let Self { machine, links, .. } = self;
        let name = machine.targets(place).groups[group].name.clone();
        let chosen = machine.choose(place, group, |member| {
            may_take(links, member.session, from, data.topic(), &name)
        });
        match chosen {
            Some(Choice::Here(member)) => self.plan.push(self.step_of(member)),
            Some(Choice::There(shard)) => {
                let frame = self.arena.share(data.frame());
                self.mesh.stage(shard, Handoff::Member { frame, group: name, tried: 0 });
            }
            None => self.probe.dropped(DropReason::GroupEmptied, 1),
        }
    }

    /// Queues one message for everyone in the plan.
    fn carry_out(&mut self, from: Option<SessionIx>, lane: Lane, data: Data<'_>) {
        for step in std::mem::take(&mut self.plan) {
            let Step { session, member, .. } = step;
            if receiver(&mut self.links, session, from).is_none() {
                continue;
            }
            self.offer(step, lane, data, Patience::Some);
            if let Some(subscription) = member {
                self.machine.delivered_to(subscription, &mut self.effects);
            }
        }
    }

    /// Gives one message to a subscription that has ended, of a client that drains it.
    pub(super) fn deliver_late(&mut self, session: SessionIx, sid: Sid, data: Data<'_>) {
        let (overload, lane) = (Overload::Disconnect, Lane::Normal);
        let step = Step { session, sid: Some(sid), overload, member: None };
        self.offer(step, lane, data, Patience::Some);
    }

    fn step_of(&self, member: Member) -> Step {
        let Member { session, subscription, overload } = member;
        let sid = Some(self.machine.sid(subscription));
        Step { session, sid, overload, member: Some(subscription) }
    }

    /// A lasting copy of a run, as frames.
    fn framed(&mut self, run: &Run<'_>) -> Bytes {
        framed(run, &mut self.arena)
    }

    /// What another shard says: messages are delivered here, the rest is for the machine.
    pub(super) fn hear(&mut self, from: ShardIx, handoff: Handoff) {
        match handoff {
            Handoff::Run { frames } => {
                if let Some(run) = Run::checked(&frames) {
                    self.deliver_here(&run, &frames);
                }
            }
            Handoff::Member { frame, group, tried } => {
                self.deliver_to_member(from, &frame, &group, tried);
            }
            Handoff::Asked { reply, way } => self.asked(reply, way),
            Handoff::Call(input) => self.tell_calls(*input),
            Handoff::Told(effect) => self.told(*effect, from),
            Handoff::Returned { frame, group, tried } => self.draw_again(&frame, &group, tried),
            handoff @ (Handoff::Ask { .. }
            | Handoff::Answer { .. }
            | Handoff::Want { .. }
            | Handoff::Settled { .. }
            | Handoff::Forget { .. }
            | Handoff::Forgotten { .. }
            | Handoff::Emptied { .. }) => self.tell(Input::Handoff { from, handoff }),
        }
        self.perform();
    }

    /// What happened in the fabric, for ungrouped subscribers here.
    pub(super) fn deliver_news(&mut self, frame: &Bytes) {
        if let Some(run) = Run::checked(frame) {
            self.deliver_here(&run, frame);
        }
        self.perform();
    }

    /// A run from another shard, for ungrouped subscribers here.
    fn deliver_here(&mut self, run: &Run<'_>, frames: &Bytes) {
        let place = self.machine.route_here(run.topic);
        let targets = self.machine.targets(place);
        if targets.has_limit {
            for data in run.each() {
                let place = self.machine.route_here(data.topic());
                self.plan_plain(None, place, data);
                let Self { machine, unserved, effects, .. } = self;
                machine.delivered(place, 1, unserved, effects);
                self.carry_out(None, run.lane, data);
            }
            return;
        }
        self.skip(None);
        self.spread(None, place, run, Some(frames.clone()));
        let Self { machine, unserved, effects, .. } = self;
        machine.delivered(place, run.messages, unserved, effects);
    }

    /// A message that another shard drew a member for, which is here.
    fn deliver_to_member(&mut self, from: ShardIx, frame: &Bytes, group: &Bytes, tried: u64) {
        let Some(run) = Run::checked(frame) else { return };
        let place = self.machine.route_here(run.topic);
        let Self { machine, links, .. } = self;
        let may = |member: &Member| may_take(links, member.session, None, run.topic, group);
        if let Some(member) = machine.choose_here(place, group, may) {
            return self.deliver_to(member, &run);
        }
        if machine.choose_here(place, group, |_| true).is_none() {
            return self.probe.dropped(DropReason::GroupEmptied, 1);
        }
        let tried = tried | 1 << self.mesh.me().index();
        let (frame, group) = (frame.clone(), group.clone());
        self.mesh.stage(from, Handoff::Returned { frame, group, tried });
    }

    /// No member may have it where this shard has sent it: another one is drawn, who may have got
    /// later messages of the topic by then.
    fn draw_again(&mut self, frame: &Bytes, group: &Bytes, tried: u64) {
        let Some(run) = Run::checked(frame) else { return };
        let Self { machine, links, effects, .. } = self;
        let may = |member: &Member| may_take(links, member.session, None, run.topic, group);
        match machine.choose_again(run.topic, group, tried, may, effects) {
            Some(Choice::Here(member)) => self.deliver_to(member, &run),
            Some(Choice::There(shard)) => {
                let (frame, group) = (frame.clone(), group.clone());
                self.mesh.stage(shard, Handoff::Member { frame, group, tried });
            }
            None => self.probe.dropped(DropReason::GroupEmptied, 1),
        }
    }

    pub(super) fn deliver_to(&mut self, member: Member, run: &Run<'_>) {
        for data in run.each() {
            self.plan.clear();
            self.plan.push(self.step_of(member));
            self.carry_out(None, run.lane, data);
        }
    }

    /// Nobody wants these; who expects a reply is told so.
    fn nobody(&mut self, from: Option<SessionIx>, run: &Run<'_>) {
        self.probe.unrouted.add(u64::from(run.messages));
        let (Some(from), true) = (from, run.expects_reply) else { return };
        for Publication { subject, reply, .. } in run.publications {
            if !reply.is_empty() {
                self.answer_nats(from, subject, reply);
            }
        }
        for data in run.each() {
            if data.reply().is_empty() {
                continue;
            }
            if self.link_mut(from).is_some_and(|link| link.nats.is_some()) {
                self.answer_nats(from, data.topic(), data.reply());
            } else {
                self.say(from, Frame::NoResponders { reply: data.reply() });
            }
        }
    }
}

/// Queues a run for one native receiver, as the page `shared` if that is worth it; `None` if there is no
/// room.
#[inline]
fn queue_frames(
    run: &Run<'_>,
    has_several: bool,
    shared: &mut Option<Bytes>,
    outbound: &mut Outbound,
    budget: &mut Budget,
    spares: &mut Spares,
    arena: &mut Arena,
) -> Option<Queued> {
    let frames = shared.as_ref().map_or(run.frames, |shared| &shared[..]);
    let bytes = frames.len();
    if !outbound.has_room(bytes, run.lane, budget) {
        return None;
    }
    if SHARED_RUN_BYTES_MIN <= bytes && has_several && outbound.may_share() {
        let frames = shared.get_or_insert_with(|| arena.share(run.frames));
        outbound.reference(frames.clone(), run.messages, run.lane, budget);
        return Some(Queued::Referenced(bytes));
    }
    outbound.copy(frames, run.messages, run.lane, budget, spares);
    Some(Queued::Copied(bytes))
}

/// A lasting copy of a run, as frames.
fn framed(run: &Run<'_>, arena: &mut Arena) -> Bytes {
    if run.publications.is_empty() {
        return arena.share(run.frames);
    }
    arena.write(|out| {
        for message in run.publications {
            let Publication { subject, reply, headers, payload, .. } = *message;
            let publish = Publish { topic: subject, reply, headers, payload, ..Publish::default() };
            publish.put(out).expect("checked when it was received");
        }
    })
}

/// The link of a session that takes messages, unless it sent them and wants no echo.
#[inline]
fn receiver(
    links: &mut [Option<Link>],
    session: SessionIx,
    from: Option<SessionIx>,
) -> Option<&mut Link> {
    let link = links.get_mut(session.0 as usize)?.as_mut()?;
    let is_echo = from == Some(session) && link.echo == Echo::Off;
    (link.is_open && link.stage == Stage::Opened && !is_echo).then_some(link)
}

/// Whether an ungrouped subscription of the link's may have what is published to `topic`.
#[inline]
fn may_receive(link: &Link, topic: &[u8]) -> bool {
    link.nats.as_ref().is_none_or(|client| client.may_receive(topic, None))
}

/// Whether a member of a group may have a message, and is there to take it.
fn may_take(
    links: &[Option<Link>],
    member: SessionIx,
    from: Option<SessionIx>,
    topic: &[u8],
    group: &[u8],
) -> bool {
    let Some(link) = links.get(member.0 as usize).and_then(Option::as_ref) else { return false };
    if from == Some(member) && link.echo == Echo::Off {
        return false;
    }
    link.nats.as_ref().is_none_or(|client| client.may_receive(topic, str::from_utf8(group).ok()))
}

/// A segment is empty. To nats-server that is a subject nobody hears, and no mistake.
fn has_gap(topic: &[u8]) -> bool {
    topic.split(|&byte| byte == b'.').any(<[u8]>::is_empty)
}

/// The shards of a set.
pub(super) fn shards_of(mut set: u64) -> impl Iterator<Item = ShardIx> {
    std::iter::from_fn(move || {
        let lowest = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        ShardIx::new(lowest)
    })
}
