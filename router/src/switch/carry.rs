//! Messages to and from other nodes.
//!
//! ```text
//!   client's run --> who wants it elsewhere, or asked for it --> originate, send --> links
//!   link's run   --> who of here is it for --> forward --> links, and the shards of this node
//! ```
//!
//! The frames are never looked into beyond their topic; each link gets a header of its own in front
//! of them. What finds no room on a link is dropped and counted: the urgent lane may fill a queue, the
//! others leave it a tenth. Publishers wait before it comes to that ([`Link::stall`]).
//!
//! Invariants:
//! - Messages of one publisher leave on one link to a peer, in order: the publisher lives on one shard.
//! - A message of another node is handed out here only if it did not come to this shard before.
//! - What waits for a route comes back here, and is sent to other nodes once.
//!
//! Traced messages and the reports on them (`trace.rs`) take the same ways, and are handed out to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::forward::{Held, Reach, Source};
use mpreg_fabric::handoff::{Handoff, ReplyWay};
use mpreg_fabric::hop::seen::{Seen, Verdict};
use mpreg_fabric::hop::{self, Decision, Start, Wanted};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::{Place, Route};
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::Table;
use mpreg_proto::frame::Data;
use mpreg_proto::hop::{Aim, Aimed, Flags, GroupId, Header, Here, Leg, MessageId, Reason, Targets};
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, HOP_MESSAGES_MAX};
use mpreg_proto::peer::{self, Plane};
use mpreg_proto::topic::Dialect;

use super::Switch;
use super::deliver::shards_of;
use super::fabric::Fabric;
use super::run::{Run, each};
use crate::link::Link;
use crate::outbound::{Budget, Lane, Spares};
use crate::peer_link::PeerEnd;
use crate::probe::{LinkDrop, ShardProbe};

/// What queueing on links takes.
struct Wires<'a> {
    here: Here,
    links: &'a mut [Option<Link>],
    outgoing: &'a BTreeMap<NodeId, SessionIx>,
    budget: &'a mut Budget,
    spares: &'a mut Spares,
    header: &'a mut Vec<u8>,
    dirty: &'a mut Vec<SessionIx>,
    produced_bytes: &'a mut usize,
    stall: &'a mut Duration,
    probe: &'a ShardProbe,
    now: Instant,
}

/// What became of each copy of a traced message, by link. Nothing is kept of others.
pub(super) type Outcomes = Vec<(NodeId, Result<(), LinkDrop>)>;

/// Some messages of a run that go behind one header.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    frames: &'a [u8],
    messages: u8,
    lane: peer::Lane,
    deadline_ms: Option<u32>,
}

impl Wires<'_> {
    /// Queues what was decided; says whether any copy was.
    fn send<'a>(
        &mut self,
        decision: &'a Decision,
        chunk: Chunk<'_>,
        leg: impl Fn(&'a hop::Share) -> Leg<'a>,
    ) -> bool {
        self.send_each(decision, chunk, leg, |_, _| ())
    }

    /// The same; `each` is told what became of each copy.
    #[inline]
    fn send_each<'a>(
        &mut self,
        decision: &'a Decision,
        chunk: Chunk<'_>,
        leg: impl Fn(&'a hop::Share) -> Leg<'a>,
        mut each: impl FnMut(NodeId, Result<(), LinkDrop>),
    ) -> bool {
        let messages = u64::from(chunk.messages);
        for dropped in &decision.dropped {
            self.probe.link_dropped(LinkDrop::Hop(dropped.reason), messages);
        }
        let mut is_sent = false;
        for share in decision.shares() {
            let queued = self.queue(share.peer(), &leg(share), chunk);
            match queued {
                Ok(()) => is_sent = true,
                Err(why) => self.probe.link_dropped(why, messages),
            }
            each(share.peer(), queued);
        }
        is_sent
    }

    fn queue(&mut self, to: NodeId, leg: &Leg<'_>, chunk: Chunk<'_>) -> Result<(), LinkDrop> {
        let down = LinkDrop::Hop(Reason::LinkDown);
        let session = *self.outgoing.get(&to).ok_or(down)?;
        let link = self.links.get_mut(session.0 as usize).and_then(Option::as_mut).ok_or(down)?;
        self.header.clear();
        // Bounds were kept where the shares were made.
        leg.put(self.here, self.header).map_err(|_| LinkDrop::Hop(Reason::NoRoute))?;
        let Chunk { frames, messages, lane, .. } = chunk;
        let bytes = FRAME_HEADER_BYTES + self.header.len() + frames.len();
        let queue = queue_of(lane);
        *self.stall = (*self.stall).max(link.stall(bytes, self.now));
        if !link.outbound.has_room(bytes, queue, self.budget) {
            return Err(LinkDrop::QueueFull);
        }
        let count = u32::from(messages);
        let out = link.outbound.buffer(bytes, count, queue, self.budget, self.spares);
        out.extend_from_slice(&(bytes as u32).to_le_bytes());
        out.extend_from_slice(&[Plane::Data as u8, lane as u8, 0, 0]);
        out.extend_from_slice(self.header);
        out.extend_from_slice(frames);
        if leg.deadline_ms.is_some() || leg.flags.is_traced() {
            link.outbound.time_last(bytes, queue, self.now);
        }
        *self.produced_bytes += bytes;
        self.probe.link_messages_out.add(u64::from(messages));
        if let Some(traffic) = &link.traffic {
            traffic.messages_out.add(u64::from(messages));
        }
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(session);
        }
        Ok(())
    }
}

/// Which queue of a link serves a lane between nodes.
fn queue_of(lane: peer::Lane) -> Lane {
    match lane {
        peer::Lane::Control | peer::Lane::Critical | peer::Lane::High => Lane::Urgent,
        peer::Lane::Normal => Lane::Normal,
        peer::Lane::Low | peer::Lane::Bulk => Lane::Bulk,
    }
}

/// Parts of a run that fit behind a header: of one lane and one deadline, and so many at most.
fn chunks(mut frames: &[u8], messages_max: usize) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let mut messages = each(frames);
        let first = messages.next()?;
        let kind = (first.priority(), first.deadline_ms());
        let (mut length, mut count) = (first.frame().len(), 1);
        for data in messages {
            let more = data.frame().len();
            if count == messages_max
                || FRAME_BYTES_MAX < length + more
                || (data.priority(), data.deadline_ms()) != kind
            {
                break;
            }
            length += more;
            count += 1;
        }
        let (chunk, rest) = frames.split_at(length);
        frames = rest;
        let (lane, messages) = (peer::Lane::of(kind.0), count as u8);
        Some(Chunk { frames: chunk, messages, lane, deadline_ms: kind.1 })
    })
}

impl Switch {
    /// Whether a topic's messages go to other nodes.
    #[inline]
    pub(super) fn goes_out(&self, place: Place, topic: &[u8]) -> bool {
        let Some(fabric) = &self.fabric else { return false };
        let audience = self.machine.targets(place).audience.as_ref();
        audience.is_some_and(|audience| audience.is_elsewhere)
            || fabric.replies.way(topic, self.now).is_some()
    }

    /// Sends messages of a client to other nodes; says whether any copy left.
    pub(super) fn send_out(&mut self, place: Place, topic: &[u8], frames: &[u8]) -> bool {
        let me = self.mesh.me();
        let Self { machine, fabric, links, budget, spares, probe, dirty, now, .. } = self;
        let Some(fabric) = fabric else { return false };
        let (incarnation, hop_budget) = (fabric.incarnation, fabric.hop_budget);
        let Fabric { view, ways, outgoing, decision, header, replies, count, .. } = &mut **fabric;
        let Some(view) = view else { return false };
        let here = view.here;
        let table = Table { links: ways, ..view.table() };
        let (stall, produced_bytes, now) = (&mut self.link_stall, &mut self.produced_bytes, *now);
        let mut wires = Wires {
            here,
            links,
            outgoing,
            budget,
            spares,
            header,
            dirty,
            produced_bytes,
            stall,
            probe,
            now,
        };
        let audience = machine.targets(place).audience.as_deref();
        let wanted = audience.map(|audience| audience.wanted()).unwrap_or_default();
        let way = replies.way(topic, now).filter(|way| !is_covered(way, &wanted, here));
        let mut is_sent = false;
        let is_drawn = audience.is_some_and(|audience| audience.is_drawn_elsewhere(here.node));
        let messages_max = if is_drawn { 1 } else { HOP_MESSAGES_MAX };
        for chunk in chunks(frames, messages_max) {
            let message = MessageId::new(here.node, incarnation, me, *count);
            *count += u64::from(chunk.messages);
            let Chunk { messages, deadline_ms, .. } = chunk;
            let flags = Flags::default();
            let start = Start { message, messages, flags, hop_budget, deadline_ms };
            if audience.is_some_and(|audience| audience.is_elsewhere) {
                hop::originate(&table, &wanted, &start, decision);
                is_sent |= wires.send(decision, chunk, |share| decision.first_leg(&start, share));
            }
            if let Some(way) = way {
                let (targets, back) = (aimed_at(way, here), &way.back);
                hop::send(&table, &wanted, &start, &targets, back, decision);
                is_sent |= wires.send(decision, chunk, |share| decision.first_leg(&start, share));
            }
        }
        is_sent
    }

    /// Takes messages of another node, or says why its link is to end.
    pub(super) fn take_hop(
        &mut self,
        (session, end): (SessionIx, PeerEnd),
        body: &[u8],
    ) -> Result<(), &'static str> {
        let header = Header::parse(body).map_err(|code| code.word())?;
        if header.sender() != end.node || header.trail.clusters.last() != Some(end.cluster) {
            return Err("a header that another node wrote");
        }
        let run = Run::behind(&header).ok_or("frames that are no run")?;
        let messages = u64::from(run.messages);
        self.probe.link_messages_in.add(messages);
        if let Some(traffic) = self.link_mut(session).and_then(|link| link.traffic.as_deref()) {
            traffic.messages_in.add(messages);
        }
        (self.stall, self.link_stall) = (Duration::ZERO, Duration::ZERO);
        self.carry(&header, body, &run, self.now);
        Ok(())
    }

    /// Sends on what came over a link, and hands out what of it is for this node.
    fn carry(&mut self, header: &Header<'_>, body: &[u8], run: &Run<'_>, came_at: Instant) {
        let Some(view) = self.fabric.as_ref().and_then(|fabric| fabric.view.clone()) else {
            let why = LinkDrop::Hop(Reason::NoRoute);
            return self.probe.link_dropped(why, run.messages.into());
        };
        let mut place = None;
        let is_report = header.flags().is_report();
        if !is_report && is_for(header, &view.table()) {
            match self.machine.route(run.topic, Dialect::Nats, &mut self.effects).0 {
                Route::Known(known) => place = Some(known),
                Route::Asking(ix) => {
                    let body = self.arena.share(body);
                    return self.machine.hold_from(ix, Source::Node { came_at }, body);
                }
                // No client may publish there, whatever node it is on.
                Route::Refused(_) => {
                    let why = LinkDrop::Hop(Reason::Unwanted);
                    return self.probe.link_dropped(why, run.messages.into());
                }
            }
        }
        let held_ms = self.now.since(came_at).as_millis() as u32;
        let Some((decision, outcomes)) = self.send_on(header, run, place, held_ms) else { return };
        if header.flags().is_traced() {
            self.traced(header, run, place, (&decision, &outcomes), came_at);
        } else if is_report && decision.is_here {
            self.take_report(run);
        } else if let Some(place) = place
            && (decision.is_here || !decision.groups_here.is_empty())
        {
            self.hand_out(place, run, header, &decision);
        }
        if let Some(fabric) = &mut self.fabric {
            fabric.decision = decision;
        }
    }

    /// Sends copies to other nodes. The decision is to be given back.
    fn send_on(
        &mut self,
        header: &Header<'_>,
        run: &Run<'_>,
        place: Option<Place>,
        held_ms: u32,
    ) -> Option<(Decision, Outcomes)> {
        let Self { machine, fabric, links, budget, spares, probe, dirty, now, .. } = self;
        let fabric = fabric.as_mut()?;
        let mut decision = std::mem::take(&mut fabric.decision);
        let view = fabric.view.as_ref()?;
        let table = Table { links: &fabric.ways, ..view.table() };
        let audience = place.and_then(|place| machine.targets(place).audience.as_deref());
        let wanted = audience.map(|audience| audience.wanted()).unwrap_or_default();
        hop::forward(&table, &wanted, header, held_ms, &mut decision);
        let mut wires = Wires {
            here: view.here,
            links,
            outgoing: &fabric.outgoing,
            budget,
            spares,
            header: &mut fabric.header,
            dirty,
            produced_bytes: &mut self.produced_bytes,
            stall: &mut self.link_stall,
            probe,
            now: *now,
        };
        let lane = run.each().next().map_or(peer::Lane::Normal, |first| lane_of(first));
        let (frames, messages) = (header.frames, header.messages());
        let chunk = Chunk { frames, messages, lane, deadline_ms: None };
        if !header.flags().is_traced() {
            wires.send(&decision, chunk, |share| decision.leg(header, share));
            return Some((decision, Vec::new()));
        }
        let mut outcomes = Vec::new();
        let leg = |share| decision.leg(header, share);
        wires.send_each(&decision, chunk, leg, |to, queued| outcomes.push((to, queued)));
        self.traced_waits(header.message(), &outcomes);
        Some((decision, outcomes))
    }

    /// This node among others, once it knows of them.
    pub(super) fn here(&self) -> Option<Here> {
        Some(self.fabric.as_ref()?.view.as_ref()?.here)
    }

    /// The first of so many messages that begin here.
    pub(super) fn next_message(&mut self, here: Here, messages: u64) -> MessageId {
        let me = self.mesh.me();
        let fabric = self.fabric.as_mut().expect("a node that is somewhere has a fabric");
        let message = MessageId::new(here.node, fabric.incarnation, me, fabric.count);
        fabric.count += messages;
        message
    }

    /// Sends one frame that begins here to whom `decide` says.
    pub(super) fn send_frame(
        &mut self,
        frame: &[u8],
        start: &Start,
        decide: impl FnOnce(&Table<'_>, &mut Decision),
    ) -> (Decision, Outcomes) {
        let (mut decision, mut outcomes) = (Decision::default(), Vec::new());
        let Self { fabric, links, budget, spares, probe, dirty, now, .. } = self;
        let Some(fabric) = fabric else { return (decision, outcomes) };
        let Some(view) = &fabric.view else { return (decision, outcomes) };
        decide(&Table { links: &fabric.ways, ..view.table() }, &mut decision);
        let mut wires = Wires {
            here: view.here,
            links,
            outgoing: &fabric.outgoing,
            budget,
            spares,
            header: &mut fabric.header,
            dirty,
            produced_bytes: &mut self.produced_bytes,
            stall: &mut self.link_stall,
            probe,
            now: *now,
        };
        let lane = peer::Lane::Normal;
        let chunk = Chunk { frames: frame, messages: 1, lane, deadline_ms: start.deadline_ms };
        let leg = |share| decision.first_leg(start, share);
        wires.send_each(&decision, chunk, leg, |to, queued| outcomes.push((to, queued)));
        (decision, outcomes)
    }

    /// Gives messages of another node to whom of this one they are for.
    fn hand_out(&mut self, place: Place, run: &Run<'_>, header: &Header<'_>, of: &Decision) {
        let targets = self.machine.targets(place);
        let has_plain = !targets.plain.is_empty() || targets.shards != 0;
        let (is_here, messages) = (of.is_here && has_plain, u64::from(run.messages));
        if of.is_here && !has_plain {
            self.probe.link_dropped(LinkDrop::Hop(Reason::Unwanted), messages);
        }
        let mut groups = Vec::new();
        for &id in &of.groups_here {
            match targets.groups.iter().find(|group| GroupId::of(&group.name) == id) {
                Some(group) => groups.push((id, group.name.clone())),
                None => self.probe.link_dropped(LinkDrop::Hop(Reason::GroupEmptied), messages),
            }
        }
        let is_per_message = targets.is_per_message();
        if run.expects_reply {
            self.note_asked(place, run, header);
        }
        if is_per_message {
            return self.hand_out_each(run, header.message(), is_here, &groups);
        }
        if !is_here {
            return;
        }
        let now = self.now;
        let Some(fabric) = &mut self.fabric else { return };
        let mut fresh = Fresh { seen: &mut fabric.seen, first: header.message(), now };
        match fresh.of(run) {
            None => self.deliver_alike(None, place, run, None),
            Some(frames) => {
                let left = each(&frames).count() as u64;
                self.probe.duplicates.add(messages - left);
                if let Some(run) = Run::checked(&frames) {
                    self.deliver_alike(None, place, &run, None);
                }
            }
        }
    }

    fn hand_out_each(
        &mut self,
        run: &Run<'_>,
        first: MessageId,
        is_here: bool,
        groups: &[(GroupId, Bytes)],
    ) {
        let now = self.now;
        for (n, data) in run.each().enumerate() {
            let Some(fabric) = &mut self.fabric else { return };
            let message = MessageId { sequence: first.sequence + n as u64, ..first };
            let mut is_first =
                |group| fabric.seen.check(message, data.priority(), group, now) == Verdict::First;
            let is_here = is_here && is_first(None);
            let fresh = groups.iter().filter(|(id, _)| is_first(Some(*id)));
            let groups: Vec<Bytes> = fresh.map(|(_, name)| name.clone()).collect();
            if is_here || !groups.is_empty() {
                self.deliver_one(None, run.lane, data, Some(&Reach { is_here, groups }));
            } else {
                self.probe.duplicates.add(1);
            }
        }
    }

    /// Remembers whom replies are for, on every shard where somebody may give one.
    fn note_asked(&mut self, place: Place, run: &Run<'_>, header: &Header<'_>) {
        let targets = self.machine.targets(place);
        let grouped = targets.groups.iter().flat_map(|group| &group.remote);
        let shards = grouped.fold(targets.shards, |set, (shard, _)| set | 1 << shard.index());
        let Some(origin) = header.trail.nodes.first() else { return };
        let back = header.trail.nodes.iter().rev().collect();
        let way = Arc::new(ReplyWay { origin, cluster: header.source(), back });
        for data in run.each().filter(|data| !data.reply().is_empty()) {
            let reply = Bytes::copy_from_slice(data.reply());
            for shard in shards_of(shards) {
                let (reply, way) = (reply.clone(), Arc::clone(&way));
                self.mesh.stage(shard, Handoff::Asked { reply, way });
            }
            self.asked(reply, Arc::clone(&way));
        }
    }

    /// Somebody on another node waits for what is published to this topic.
    pub(super) fn asked(&mut self, reply: Bytes, way: Arc<ReplyWay>) {
        let now = self.now;
        if let Some(fabric) = &mut self.fabric {
            fabric.replies.note(reply, way, now);
        }
    }

    /// Messages that waited for a route.
    pub(super) fn forward_held(&mut self, held: &[Held]) {
        for Held { source, frames } in held {
            match source {
                Source::Client(publisher) => {
                    let from = publisher.and_then(|publisher| self.machine.present(publisher));
                    if let Some(run) = Run::checked(frames) {
                        // A topic of its publisher's it was when it came.
                        self.forward(from, Dialect::Nats, &run);
                    }
                    self.released_nats(from);
                }
                Source::Node { came_at } => {
                    if let Ok(header) = Header::parse(frames)
                        && let Some(run) = Run::behind(&header)
                    {
                        self.carry(&header, frames, &run, *came_at);
                    }
                }
                Source::Trace { asked_at } => self.trace(frames, *asked_at),
                Source::Here(reach) => {
                    let Some(run) = Run::checked(frames) else { continue };
                    run.each().for_each(|data| self.deliver_one(None, run.lane, data, Some(reach)));
                }
            }
        }
    }
}

/// Which messages did not come before.
struct Fresh<'a> {
    seen: &'a mut Seen,
    /// The number of the first of the run.
    first: MessageId,
    now: Instant,
}

impl Fresh<'_> {
    /// Frames of those of a run that did not, for ungrouped subscribers. `None`: all of them.
    fn of(&mut self, run: &Run<'_>) -> Option<Vec<u8>> {
        let Self { first, now, .. } = *self;
        if let (Some(priority), Ok(messages)) = (run.priority(), u8::try_from(run.messages))
            && self.seen.check_newest(first, messages, priority, None, now)
        {
            return None;
        }
        let mut left: Option<Vec<u8>> = None;
        let mut taken = 0;
        for (n, data) in run.each().enumerate() {
            let message = MessageId { sequence: self.first.sequence + n as u64, ..self.first };
            let verdict = self.seen.check(message, data.priority(), None, self.now);
            match (&mut left, verdict) {
                (None, Verdict::First) => (),
                (Some(left), Verdict::First) => left.extend_from_slice(data.frame()),
                (None, _) => left = Some(run.frames[..taken].to_vec()),
                (Some(_), _) => (),
            }
            taken += data.frame().len();
        }
        left
    }
}

fn lane_of(data: Data<'_>) -> peer::Lane {
    peer::Lane::of(data.priority())
}

/// Whether somebody on this node may be meant.
fn is_for(header: &Header<'_>, table: &Table<'_>) -> bool {
    let me = table.here.node;
    let is_me = |aimed: Aimed| match aimed.aim {
        Aim::Node(node) | Aim::Member { node, .. } => node == me,
        Aim::Group(_) => false,
    };
    hop::enters(table, header) || header.nodes.contains(me) || header.aimed().any(is_me)
}

/// Whether who asked gets the reply as one of those that want its topic.
fn is_covered(way: &ReplyWay, wanted: &Wanted<'_>, here: Here) -> bool {
    match way.cluster == here.cluster {
        true => wanted.nodes.contains(&way.origin),
        false => wanted.clusters.contains(&way.cluster),
    }
}

pub(super) fn aimed_at(way: &ReplyWay, here: Here) -> Targets {
    let ReplyWay { origin, cluster, .. } = *way;
    let (nodes, aimed) = match cluster == here.cluster {
        true => (vec![origin], Vec::new()),
        false => (Vec::new(), vec![Aimed { cluster, aim: Aim::Node(origin) }]),
    };
    Targets { nodes, aimed, ..Targets::default() }
}
