//! Runs to queues: the hot path.
//!
//! A run is copied into each receiver's queue, or copied once and referenced when it is long and has
//! several receivers. Only where a receiver's queue is full, a queue group chooses, or a subscription
//! counts, are its messages handled one by one.

use bytes::Bytes;
use mpreg_fabric::fact::DropReason;
use mpreg_fabric::forward::{Choice, Held, Target};
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::{SessionIx, SubIx};
use mpreg_fabric::shard::{Input, Place, Route};
use mpreg_proto::frame::{Data, Echo, Frame, Overload, peek};
use mpreg_proto::id::ShardIx;
use mpreg_proto::limits::ENVELOPE_BYTES;

use super::Switch;
use crate::limits::{SHARED_RUN_BYTES_MIN, SQUEEZES_MAX};
use crate::link::{Link, Stage};
use crate::outbound::{Lane, Offer};

/// Draws for a group member that is not the publisher: one of two members is missed this often
/// once in a million messages, and counted as dropped.
const DRAWS_MAX: usize = 20;

/// Consecutive messages of one topic and one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// Where in the read it begins.
    pub(super) from: usize,
    frames: &'a [u8],
    topic: &'a [u8],
    lane: Lane,
    messages: u32,
    expects_reply: bool,
    /// The first bytes of the last message, and its length.
    head: [u8; HEAD_BYTES],
    length: usize,
}

/// Bytes of the envelope but for the deadline. A frame that has them in common with one that was
/// checked, and is whole, needs no check of its own.
const HEAD_BYTES: usize = 12;

const _: () = assert!(HEAD_BYTES == ENVELOPE_BYTES - size_of::<u32>());

/// A run for a queue that has no room for it as it is.
#[derive(Debug)]
pub(super) struct Squeeze {
    session: SessionIx,
    overload: Overload,
    lane: Lane,
    frames: Bytes,
}

/// One queue one message goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    session: SessionIx,
    overload: Overload,
    /// The group member it is for, and the frame that says so.
    member: Option<(SubIx, Frame<'static>)>,
}

impl<'a> Run<'a> {
    pub(super) const EMPTY: Self = Self {
        from: 0,
        frames: &[],
        topic: &[],
        lane: Lane::Normal,
        messages: 0,
        expects_reply: false,
        head: [0; HEAD_BYTES],
        length: 0,
    };

    pub(super) fn begin(data: Data<'a>, lane: Lane, from: usize) -> Self {
        let (frames, topic) = (data.frame(), data.topic());
        let expects_reply = !data.reply().is_empty();
        let (head, length) = (head_of(frames), frames.len());
        Self { from, frames, topic, lane, messages: 1, expects_reply, head, length }
    }

    /// The length of the frame `rest` begins with, if it is whole and just like the last one: same
    /// envelope, same topic. Then [`Run::grow`] takes it.
    #[inline]
    pub(super) fn next_alike(&self, rest: &[u8]) -> Option<usize> {
        let head = rest.first_chunk::<HEAD_BYTES>()?;
        if self.messages == 0 || *head != self.head {
            return None;
        }
        let frame = rest.get(..self.length)?;
        let topic = frame.get(ENVELOPE_BYTES..ENVELOPE_BYTES + self.topic.len())?;
        is_same(topic, self.topic).then_some(self.length)
    }

    #[inline]
    pub(super) fn grow(&mut self, frames: &'a [u8]) {
        self.frames = frames;
        self.messages += 1;
    }

    /// Takes one more message, if it is of the same topic and lane. `frames` is the run with it.
    #[inline]
    pub(super) fn extend(&mut self, data: Data<'a>, lane: Lane, frames: &'a [u8]) -> bool {
        let fits = self.messages != 0 && self.lane == lane && self.topic == data.topic();
        if fits {
            self.grow(frames);
            self.expects_reply |= !data.reply().is_empty();
            (self.head, self.length) = (head_of(data.frame()), data.frame().len());
        }
        fits
    }

    /// A run of frames that were checked before.
    fn checked(frames: &'a [u8]) -> Option<Self> {
        let mut messages = each(frames);
        let first = messages.next()?;
        let mut run = Self::begin(first, Lane::from(first.priority()), 0);
        run.frames = frames;
        for data in messages {
            run.messages += 1;
            run.expects_reply |= !data.reply().is_empty();
        }
        Some(run)
    }

    fn each(&self) -> impl Iterator<Item = Data<'a>> {
        each(self.frames)
    }
}

fn head_of(frame: &[u8]) -> [u8; HEAD_BYTES] {
    *frame.first_chunk().expect("a checked frame has an envelope")
}

/// Compares two topics of the same length in words, without a call: most are short.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) if a.len() <= 16 => {
            a_first == b_first && a_last == b_last
        }
        _ => a == b,
    }
}

fn each(mut frames: &[u8]) -> impl Iterator<Item = Data<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = peek(frames).ok().flatten()?;
        let (frame, rest) = frames.split_at_checked(length)?;
        frames = rest;
        Data::parse(frame).ok()
    })
}

impl Switch {
    /// Sends a run where it goes, and does what the machine wants in consequence.
    pub(super) fn dispatch(&mut self, from: SessionIx, run: &Run<'_>) {
        if run.messages == 0 {
            return;
        }
        self.probe.messages_in.add(u64::from(run.messages));
        self.forward(Some(from), run);
        self.perform();
        self.pause_if_congested(from);
    }

    /// Messages that waited for a route.
    pub(super) fn forward_held(&mut self, held: &[Held]) {
        for Held { publisher, frames } in held {
            let from = publisher.and_then(|publisher| self.machine.present(publisher));
            if let Some(run) = Run::checked(frames) {
                self.forward(from, &run);
            }
        }
    }

    fn forward(&mut self, from: Option<SessionIx>, run: &Run<'_>) {
        let (route, is_known) = self.machine.route(run.topic, &mut self.effects);
        if is_known {
            self.probe.route_hits.add(1)
        } else {
            self.probe.route_misses.add(1)
        }
        match route {
            Route::Known(place) => self.deliver(from, place, run),
            Route::Asking(ix) => {
                let frames = self.arena.share(run.frames);
                self.machine.hold(ix, from, frames);
            }
            Route::Refused(code) => {
                let Some(session) = from else { return };
                let input = Input::Refused { session, code };
                self.machine.handle(input, self.now, &mut self.effects);
            }
        }
    }

    fn deliver(&mut self, from: Option<SessionIx>, place: Place, run: &Run<'_>) {
        let targets = self.machine.targets(place);
        if targets.is_empty() {
            return self.nobody(from, run);
        }
        if targets.is_per_message() {
            return run.each().for_each(|data| self.deliver_one(from, run.lane, data));
        }
        let mut shared = self.spread(from, place, run, None);
        let Self { machine, arena, mesh, .. } = self;
        for shard in shards_of(machine.targets(place).shards) {
            let frames = shared.get_or_insert_with(|| arena.share(run.frames)).clone();
            mesh.stage(shard, Handoff::Run { frames });
        }
        let skipped = self.skipped(from);
        self.machine.delivered(place, run.messages, skipped, &mut self.effects);
    }

    /// Queues a run for every ungrouped receiver here: by reference if it is long and has several,
    /// or is in a page already (`shared`). Returns the page's reference if one was made.
    fn spread(
        &mut self,
        from: Option<SessionIx>,
        place: Place,
        run: &Run<'_>,
        mut shared: Option<Bytes>,
    ) -> Option<Bytes> {
        let Self { machine, links, arena, budget, spares, probe, dirty, .. } = self;
        let targets = machine.targets(place);
        let bytes = run.frames.len();
        let has_several = shared.is_some() || 1 < targets.plain.len();
        let is_worth_sharing = SHARED_RUN_BYTES_MIN <= bytes && has_several;
        let (mut copied, mut referenced) = (0, 0);
        for target in &targets.plain {
            let Some(link) = receiver(links, target.session, from) else { continue };
            if link.is_squeezed || !link.outbound.has_room(bytes, run.lane, budget) {
                link.is_squeezed = true;
                let frames = shared.get_or_insert_with(|| arena.share(run.frames)).clone();
                let Target { session, overload } = *target;
                self.squeezes.push(Squeeze { session, overload, lane: run.lane, frames });
                continue;
            }
            if is_worth_sharing && link.outbound.may_share() {
                let frames = shared.get_or_insert_with(|| arena.share(run.frames));
                link.outbound.reference(frames.clone(), run.lane, budget);
                referenced += 1;
            } else {
                link.outbound.copy(run.frames, run.lane, budget, spares);
                copied += 1;
            }
            if !link.is_dirty {
                link.is_dirty = true;
                dirty.push(target.session);
            }
        }
        self.produced_bytes += bytes * (copied + referenced);
        probe.messages_out.add((copied + referenced) as u64 * u64::from(run.messages));
        probe.runs_copied.add(copied as u64);
        probe.runs_shared.add(referenced as u64);
        if SQUEEZES_MAX < self.squeezes.len() {
            self.settle_squeezes();
        }
        shared
    }

    /// The publisher, if it gets none of its own messages.
    fn skipped(&self, from: Option<SessionIx>) -> Option<SessionIx> {
        from.filter(|&from| {
            let link = self.links.get(from.0 as usize).and_then(Option::as_ref);
            link.is_some_and(|link| link.echo == Echo::Off)
        })
    }

    /// Offers runs, message by message, to the queues that had no room for all of one. Done once
    /// what the others get is on its way, so that they do not wait for those that lag.
    pub fn squeeze(&mut self) {
        self.settle_squeezes();
        self.perform();
    }

    /// The same, within a delivery or an effect: what the machine wants in consequence comes later.
    pub(super) fn settle_squeezes(&mut self) {
        for Squeeze { session, overload, lane, frames } in std::mem::take(&mut self.squeezes) {
            if let Some(link) = self.link_mut(session) {
                link.is_squeezed = false;
            }
            for data in each(&frames) {
                self.offer(session, overload, lane, data.frame());
            }
        }
    }

    pub fn has_squeezes(&self) -> bool {
        !self.squeezes.is_empty()
    }

    /// Offers one message to one queue; its policy decides if there is no room.
    fn offer(&mut self, session: SessionIx, overload: Overload, lane: Lane, message: &[u8]) {
        let Self { links, budget, spares, probe, .. } = self;
        let Some(link) = receiver(links, session, None) else { return };
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
        self.produced_bytes += message.len();
        self.mark_dirty(session);
    }

    /// One message whose receivers are chosen or counted.
    fn deliver_one(&mut self, from: Option<SessionIx>, lane: Lane, data: Data<'_>) {
        let (route, _) = self.machine.route(data.topic(), &mut self.effects);
        let place = match route {
            Route::Known(place) => place,
            Route::Asking(ix) => {
                let frame = self.arena.share(data.frame());
                return self.machine.hold(ix, from, frame);
            }
            Route::Refused(_) => return,
        };
        let targets = self.machine.targets(place);
        if targets.is_empty() {
            return self.nobody(from, &Run::begin(data, lane, 0));
        }
        self.plan.clear();
        self.plan.extend(targets.plain.iter().map(|target| Step {
            session: target.session,
            overload: target.overload,
            member: None,
        }));
        for shard in shards_of(targets.shards) {
            let frames = self.arena.share(data.frame());
            self.mesh.stage(shard, Handoff::Run { frames });
        }
        let skipped = self.skipped(from);
        for group in 0..targets.groups.len() {
            self.choose(place, group, skipped, data);
        }
        self.machine.delivered(place, 1, skipped, &mut self.effects);
        self.carry_out(from, lane, data);
    }

    /// Draws a member of a group; again, if it is the publisher and wants no echo.
    fn choose(&mut self, place: Place, group: usize, skipped: Option<SessionIx>, data: Data<'_>) {
        let is_other = |choice: &Choice| match choice {
            Choice::Here(member) => Some(member.session) != skipped,
            Choice::There(_) => true,
        };
        let mut draws = (0..DRAWS_MAX).filter_map(|_| self.machine.choose(place, group));
        match draws.find(is_other) {
            Some(Choice::Here(member)) => self.plan.push(Step {
                session: member.session,
                overload: member.overload,
                member: Some((member.subscription, self.machine.addressed(member.subscription))),
            }),
            Some(Choice::There(shard)) => {
                let group = self.machine.targets(place).groups[group].name.clone();
                let frame = self.arena.share(data.frame());
                self.mesh.stage(shard, Handoff::Member { frame, group });
            }
            None => self.probe.dropped(DropReason::GroupEmptied, 1),
        }
    }

    /// Queues one message for everyone in the plan.
    fn carry_out(&mut self, from: Option<SessionIx>, lane: Lane, data: Data<'_>) {
        self.settle_squeezes();
        for step in std::mem::take(&mut self.plan) {
            let Step { session, overload, member } = step;
            if receiver(&mut self.links, session, from).is_none() {
                continue;
            }
            let Some((subscription, addressed)) = member else {
                self.offer(session, overload, lane, data.frame());
                continue;
            };
            let mut message = std::mem::take(&mut self.scratch);
            message.clear();
            addressed.put(&mut message);
            message.extend_from_slice(data.frame());
            self.offer(session, overload, lane, &message);
            self.scratch = message;
            self.machine.delivered_to(subscription, &mut self.effects);
        }
    }

    /// What another shard says: messages are delivered here, the rest is for the machine.
    pub(super) fn hear(&mut self, from: ShardIx, handoff: Handoff) {
        match handoff {
            Handoff::Run { frames } => {
                if let Some(run) = Run::checked(&frames) {
                    self.deliver_here(&run, &frames);
                }
            }
            Handoff::Member { frame, group } => {
                if let Some(run) = Run::checked(&frame) {
                    self.deliver_to_member(&run, &group);
                }
            }
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

    /// A run from another shard, for ungrouped subscribers here.
    fn deliver_here(&mut self, run: &Run<'_>, frames: &Bytes) {
        let place = self.machine.route_here(run.topic);
        let targets = self.machine.targets(place);
        if targets.has_limit {
            for data in run.each() {
                let place = self.machine.route_here(data.topic());
                let plain = &self.machine.targets(place).plain;
                self.plan.clear();
                self.plan.extend(plain.iter().map(|target| Step {
                    session: target.session,
                    overload: target.overload,
                    member: None,
                }));
                self.machine.delivered(place, 1, None, &mut self.effects);
                self.carry_out(None, run.lane, data);
            }
            return;
        }
        self.spread(None, place, run, Some(frames.clone()));
        self.machine.delivered(place, run.messages, None, &mut self.effects);
    }

    /// A message from another shard, for one member of a group here.
    fn deliver_to_member(&mut self, run: &Run<'_>, group: &[u8]) {
        for data in run.each() {
            let place = self.machine.route_here(run.topic);
            let Some(member) = self.machine.choose_here(place, group) else {
                self.probe.dropped(DropReason::GroupEmptied, 1);
                continue;
            };
            let addressed = self.machine.addressed(member.subscription);
            self.plan.clear();
            self.plan.push(Step {
                session: member.session,
                overload: member.overload,
                member: Some((member.subscription, addressed)),
            });
            self.carry_out(None, run.lane, data);
        }
    }

    /// Nobody wants these; who expects a reply is told so.
    fn nobody(&mut self, from: Option<SessionIx>, run: &Run<'_>) {
        self.probe.unrouted.add(u64::from(run.messages));
        let (Some(from), true) = (from, run.expects_reply) else { return };
        for data in run.each().filter(|data| !data.reply().is_empty()) {
            self.say(from, Frame::NoResponders { reply: data.reply() });
        }
    }
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

/// The shards of a set.
fn shards_of(mut set: u64) -> impl Iterator<Item = ShardIx> {
    std::iter::from_fn(move || {
        let lowest = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        ShardIx::new(lowest)
    })
}
