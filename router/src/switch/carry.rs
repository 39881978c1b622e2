//! Messages to and from other nodes.
//!
//! ```text
//!   client's run --> who wants it elsewhere, or asked for it --> originate, send --> links
//!   link's run   --> who of here is it for --> forward --> links, and the shards of this node
//! ```
//!
//! The frames are never looked into beyond their topic; each link gets a header of its own in front
//! of them (`wires.rs`).
//!
//! Invariants:
//! - Messages of one publisher leave on one link to a peer, in order: the publisher lives on one shard.
//! - A message of another node is handed out here only if it did not come to this shard before.
//! - What waits for a route comes back here, and is sent to other nodes once.
//!
//! Traced messages and the reports on them (`trace.rs`) take the same ways, and are handed out to nobody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::forward::{Held, Reach, Source};
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::hop::seen::{Seen, Verdict};
use mpreg_fabric::hop::{self, Decision, ReplyWay, Start, Wanted};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::{Place, Route};
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::{Helm, Table};
use mpreg_proto::frame::Data;
use mpreg_proto::hop::{Aim, Aimed, Flags, GroupId, Header, Here, MessageId, Reason, Targets};
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::HOP_MESSAGES_MAX;
use mpreg_proto::peer;
use mpreg_proto::topic::Dialect;

use super::Switch;
use super::deliver::shards_of;
use super::run::{Run, each};
use super::wires::{Chunk, Origin, Outcomes, Outlet, chunks};
use crate::peer_link::PeerEnd;
use crate::probe::LinkDrop;

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
        let (me, now) = (self.mesh.me(), self.now);
        let Some(Outlet { machine, mut helm, mut wires, decision, replies, origin }) =
            self.outlet()
        else {
            return false;
        };
        let here = helm.table.here;
        let audience = machine.targets(place).audience.as_deref();
        let wanted = audience.map(|audience| audience.wanted()).unwrap_or_default();
        let reply = replies.way(topic, now).and_then(|way| Reply::of(way, &wanted, here));
        let others = audience.filter(|audience| audience.is_elsewhere);
        let others = others.filter(|_| !reply.as_ref().is_some_and(|reply| reply.is_for_all));
        let mut is_sent = false;
        let is_drawn = audience.is_some_and(|audience| audience.is_drawn_elsewhere(here.node));
        let messages_max = if is_drawn { 1 } else { HOP_MESSAGES_MAX };
        let Origin { incarnation, hop_budget, count } = origin;
        for chunk in chunks(frames, messages_max) {
            let message = MessageId::new(here.node, incarnation, me, *count);
            *count += u64::from(chunk.messages);
            let Chunk { messages, deadline_ms, .. } = chunk;
            let flags = Flags::default();
            let start = Start { message, messages, flags, hop_budget, deadline_ms };
            if others.is_some() {
                hop::originate(&mut helm, &wanted, &start, decision);
                is_sent |= wires.send(decision, chunk, |share| decision.first_leg(&start, share));
            }
            if let Some(Reply { targets, back, .. }) = &reply {
                hop::send(&mut helm, &wanted, &start, targets, back, decision);
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
        if header.flags().is_call() && !header.flags().is_traced() {
            self.carry_call(&header, &run, self.now);
        } else {
            self.carry(&header, body, &run, self.now);
        }
        Ok(())
    }

    /// Sends on what came over a link, and hands out what of it is for this node.
    fn carry(&mut self, header: &Header<'_>, body: &[u8], run: &Run<'_>, came_at: Instant) {
        let Some(view) = self.fabric.as_ref().and_then(|fabric| fabric.view.clone()) else {
            let why = LinkDrop::Hop(Reason::NoRoute);
            return self.probe.link_dropped(why, run.messages.into());
        };
        let mut place = None;
        let (is_report, is_call) = (header.flags().is_report(), header.flags().is_call());
        if !is_report && !is_call && is_for(header, &view.table()) {
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
        let Outlet { machine, mut helm, mut wires, decision, .. } = self.outlet()?;
        let mut decision = std::mem::take(decision);
        let audience = place.and_then(|place| machine.targets(place).audience.as_deref());
        let wanted = audience.map(|audience| audience.wanted()).unwrap_or_default();
        hop::forward(&mut helm, &wanted, header, held_ms, &mut decision);
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
        decide: impl FnOnce(&mut Helm<'_>, &mut Decision),
    ) -> (Decision, Outcomes) {
        let (mut decision, mut outcomes) = (Decision::default(), Vec::new());
        let Some(Outlet { mut helm, mut wires, .. }) = self.outlet() else {
            return (decision, outcomes);
        };
        decide(&mut helm, &mut decision);
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

pub(super) fn lane_of(data: Data<'_>) -> peer::Lane {
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

/// Copies for whoever asked.
struct Reply<'a> {
    targets: Targets,
    back: &'a [NodeId],
    /// And for all others on other nodes that want the topic.
    is_for_all: bool,
}

impl<'a> Reply<'a> {
    /// None if who asked gets the reply as one of those that want its topic.
    ///
    /// That a cluster wants a topic may be known here before each gateway of that cluster knows which
    /// of its nodes does; so the copy for the cluster names the node that asked.
    fn of(way: &'a ReplyWay, wanted: &Wanted<'_>, here: Here) -> Option<Self> {
        let mut targets = aimed_at(way, here);
        let is_covered = match way.cluster == here.cluster {
            true => wanted.nodes.contains(&way.origin),
            false => wanted.clusters.contains(&way.cluster),
        };
        let is_only_there = wanted.clusters == [way.cluster]
            && wanted.groups.is_empty()
            && wanted.nodes.iter().all(|&node| node == here.node);
        if is_only_there {
            targets.clusters.push(way.cluster);
        }
        let reply = Self { targets, back: &way.back, is_for_all: is_only_there };
        (is_only_there || !is_covered).then_some(reply)
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

#[cfg(test)]
mod tests {
    use mpreg_proto::id::ClusterId;

    use super::*;

    const HERE: Here = Here { node: NodeId(1), cluster: ClusterId(10) };

    /// What a reply to node 2 of this cluster is for.
    fn targets(cluster: u128, clusters: &[u128], nodes: &[u128]) -> Option<(Targets, bool)> {
        let way = ReplyWay { origin: NodeId(2), cluster: ClusterId(cluster), back: Vec::new() };
        let clusters: Vec<_> = clusters.iter().map(|&id| ClusterId(id)).collect();
        let nodes: Vec<_> = nodes.iter().map(|&id| NodeId(id)).collect();
        let wanted = Wanted { clusters: &clusters, nodes: &nodes, groups: &[] };
        Reply::of(&way, &wanted, HERE).map(|reply| (reply.targets, reply.is_for_all))
    }

    #[test]
    fn who_asked_gets_the_reply_whatever_is_known_of_its_cluster() {
        let near = Targets { nodes: vec![NodeId(2)], ..Targets::default() };
        assert_eq!(targets(10, &[], &[1]), Some((near, false)));
        assert_eq!(targets(10, &[], &[1, 2]), None, "it is named as one that wants it");

        let aimed = Aimed { cluster: ClusterId(20), aim: Aim::Node(NodeId(2)) };
        let far = Targets { aimed: vec![aimed], ..Targets::default() };
        assert_eq!(targets(20, &[], &[1]), Some((far.clone(), false)));
        assert_eq!(targets(20, &[30], &[]), Some((far.clone(), false)));
        let both = Targets { clusters: vec![ClusterId(20)], ..far };
        assert_eq!(targets(20, &[20], &[1]), Some((both, true)), "one copy, and the node is named");
        assert_eq!(targets(20, &[20, 30], &[1]), None);
        assert_eq!(targets(20, &[20], &[3]), None);
    }
}
