//! Traced messages: sent like any other, delivered to nobody, and reported on by each node on the way.
//!
//! ```text
//!   operator --> begin_trace --> originate --> links      (Source::Trace while its route is asked for)
//!   operator --> begin_call_trace --> send --> links      (to one node, of no topic)
//!   link's traced run --> forward --> links
//!   both --> Decided; a copy that leaves its queue --> Left
//!   reports --> the operator's channel, or back the way the message came
//! ```
//!
//! Invariants:
//! - A traced message is in no subscriber's queue, and is not remembered as seen.
//! - A shard makes at most `TRACE_REPORTS_PER_S` reports; what it does not say is counted.

use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::forward::Source;
use mpreg_fabric::hop::{self, Decision, ReplyWay, Share, Start, Target as HopTarget};
use mpreg_fabric::shard::{Place, Route};
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::{Flow, Table, Why};
use mpreg_proto::frame::Publish;
use mpreg_proto::hop::{
    Aim, Aimed, Flags, GroupId, Header, Here, MessageId, Reason, Targets, Trail,
};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::topic::Dialect;

use super::Switch;
use super::carry::aimed_at;
use super::run::Run;
use super::wires::Outcomes;
use crate::limits::{HOP_BUDGET, TRACE_REPORTS_PER_S, TRACE_TARGETS_MAX, TRACED_WAITING_MAX};
use crate::probe::LinkDrop;
use crate::trace::{self, Decided, Dropped, Left, Next, Number, Report, Said, Sent, Target};

/// What a shard keeps of traced messages.
#[derive(Debug)]
pub(super) struct Traces {
    /// Copies in queues of links: whose, to whom, since when.
    waiting: Vec<(MessageId, NodeId, Instant)>,
    /// Reports made since then.
    second: (Instant, u32),
}

impl Traces {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), second: (Instant::START, 0) }
    }

    /// Whether another report may be made.
    fn may_report(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.second;
        if *since + Duration::from_secs(1) <= now {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= TRACE_REPORTS_PER_S
    }

    /// The oldest gives way: its link stands still.
    fn waits(&mut self, message: MessageId, to: NodeId, now: Instant) {
        if TRACED_WAITING_MAX <= self.waiting.len() {
            self.waiting.remove(0);
        }
        self.waiting.push((message, to, now));
    }

    fn leaves(&mut self, message: MessageId, to: NodeId) -> Option<Instant> {
        let at = self.waiting.iter().position(|(of, peer, _)| (*of, *peer) == (message, to))?;
        Some(self.waiting.remove(at).2)
    }
}

/// A traced copy that leaves on a link.
pub(super) struct Leaving {
    message: MessageId,
    number: Number,
    /// To where it began; none if that is here.
    way: Option<ReplyWay>,
}

impl Leaving {
    pub(super) fn of(header: &Header<'_>) -> Option<Self> {
        let number = number_of(&Run::behind(header)?)?;
        // This node is the last on the path by now.
        let back: Vec<NodeId> = header.trail.nodes.iter().rev().skip(1).collect();
        let origin = back.last().copied();
        let way = origin.map(|origin| ReplyWay { origin, cluster: header.source(), back });
        Some(Self { message: header.message(), number, way })
    }
}

fn number_of(run: &Run<'_>) -> Option<Number> {
    Number::in_payload(run.each().next()?.payload())
}

impl Switch {
    /// An operator wants to know where messages of a topic go.
    pub(super) fn begin_trace(&mut self, topic: &Bytes, number: Number) {
        let (payload, mut frame) = (number.payload(), Vec::new());
        let publish = Publish { topic, payload: &payload, ..Publish::default() };
        if publish.put(&mut frame).is_ok() {
            self.trace(&frame, self.now);
        }
    }

    /// An operator wants to know which way a call to a node would go. What is sent is no call.
    pub(super) fn begin_call_trace(
        &mut self,
        (cluster, node): (ClusterId, NodeId),
        topic: &Bytes,
        number: Number,
    ) {
        let Some(here) = self.here() else { return };
        let (payload, mut frame) = (number.payload(), Vec::new());
        let publish = Publish { topic, payload: &payload, ..Publish::default() };
        if publish.put(&mut frame).is_err() {
            return;
        }
        let (message, flags) = (self.next_message(here, 1), Flags::traced_call());
        let hop_budget = self.fabric.as_ref().map_or(HOP_BUDGET, |fabric| fabric.hop_budget);
        let start = Start { message, messages: 1, flags, hop_budget, deadline_ms: None };
        let targets = aimed_at(&ReplyWay { origin: node, cluster, back: Vec::new() }, here);
        let (decision, outcomes) = self.send_frame(&frame, &start, |helm, decision| {
            hop::send(helm, &hop::Wanted::default(), &start, &targets, &[], decision);
        });
        self.traced_waits(message, &outcomes);
        let decided =
            self.decided(None, &Flow::of(message, Trail::default()), &decision, &outcomes);
        self.said(here, number, None, Said::Decided(decided));
    }

    /// Sends a traced message that begins here.
    pub(super) fn trace(&mut self, frame: &[u8], asked_at: Instant) {
        let Some(run) = Run::checked(frame) else { return };
        match self.machine.route(run.topic, Dialect::Nats, &mut self.effects).0 {
            Route::Known(place) => self.trace_from(place, &run, asked_at),
            Route::Asking(ix) => {
                let frame = self.arena.share(frame);
                self.machine.hold_from(ix, Source::Trace { asked_at }, frame);
            }
            // Whoever asks is told before it comes here.
            Route::Refused(code) => tracing::debug!(code = code.word(), "a trace of no topic"),
        }
        self.perform();
    }

    fn trace_from(&mut self, place: Place, run: &Run<'_>, asked_at: Instant) {
        let (Some(here), Some(number)) = (self.here(), number_of(run)) else { return };
        let message = self.next_message(here, 1);
        let flags = Flags::traced();
        let hop_budget = self.fabric.as_ref().map_or(HOP_BUDGET, |fabric| fabric.hop_budget);
        let start = Start { message, messages: 1, flags, hop_budget, deadline_ms: None };
        let (decision, outcomes) = self.originate_traced(place, run, &start);
        let flow = Flow::of(message, Trail::default());
        let decided = self.decided(Some(place), &flow, &decision, &outcomes);
        let held_us = micros(self.now.since(asked_at));
        self.said(here, number, None, Said::Decided(Decided { held_us, ..decided }));
    }

    /// What became of a traced message of another node.
    pub(super) fn traced(
        &mut self,
        header: &Header<'_>,
        run: &Run<'_>,
        place: Option<Place>,
        done: (&Decision, &Outcomes),
        came_at: Instant,
    ) {
        let (Some(here), Some(number)) = (self.here(), number_of(run)) else { return };
        let flow = Flow::of(header.message(), header.trail);
        let decided = self.decided(place, &flow, done.0, done.1);
        let (from, held_us) = (Some(header.sender().to_string()), micros(self.now.since(came_at)));
        let back: Vec<NodeId> = header.trail.nodes.iter().rev().collect();
        let (origin, cluster) = (header.message().origin, header.source());
        let way = (origin != here.node).then_some(ReplyWay { origin, cluster, back });
        self.said(here, number, way, Said::Decided(Decided { from, held_us, ..decided }));
    }

    /// A traced copy waits in the queue of a link.
    pub(super) fn traced_waits(&mut self, message: MessageId, outcomes: &Outcomes) {
        let now = self.now;
        let Some(fabric) = &mut self.fabric else { return };
        let queued = outcomes.iter().filter(|(_, sent)| sent.is_ok());
        queued.for_each(|(to, _)| fabric.traces.waits(message, *to, now));
    }

    /// And has left it.
    pub(super) fn traced_leaves(&mut self, to: NodeId, leaving: Leaving) {
        let now = self.now;
        let Some(fabric) = &mut self.fabric else { return };
        let Some(since) = fabric.traces.leaves(leaving.message, to) else { return };
        let round_trip_us = fabric.round_trip(to).map(micros);
        let queue_us = micros(now.since(since));
        let Some(here) = self.here() else { return };
        let left = Left { to: to.to_string(), queue_us, round_trip_us };
        self.said(here, leaving.number, leaving.way, Said::Left(left));
    }

    /// A report of another node, for an operator of this one.
    pub(super) fn take_report(&mut self, run: &Run<'_>) {
        for data in run.each() {
            self.tell_operator(data.payload().to_vec());
        }
    }

    fn tell_operator(&self, report: Vec<u8>) {
        let Some(fabric) = &self.fabric else { return };
        if !fabric.reporter.trace(report) {
            self.probe.trace_reports_dropped.add(1);
        }
    }

    fn said(&mut self, here: Here, number: Number, way: Option<ReplyWay>, said: Said) {
        let now = self.now;
        let Some(fabric) = &mut self.fabric else { return };
        if !fabric.traces.may_report(now) {
            return self.probe.trace_reports_dropped.add(1);
        }
        self.probe.trace_reports.add(1);
        let report = Report::of(number, here.node, here.cluster.to_string(), said).to_bytes();
        let Some(way) = way else { return self.tell_operator(report) };
        let mut frame = Vec::new();
        let publish = Publish { topic: trace::TOPIC, payload: &report, ..Publish::default() };
        if publish.put(&mut frame).is_ok() {
            self.send_back(&frame, &way, here);
        }
    }

    fn send_back(&mut self, frame: &[u8], way: &ReplyWay, here: Here) {
        let (message, flags) = (self.next_message(here, 1), Flags::report());
        let start =
            Start { message, messages: 1, flags, hop_budget: HOP_BUDGET, deadline_ms: None };
        let targets = aimed_at(way, here);
        self.send_frame(frame, &start, |helm, decision| {
            let wanted = hop::Wanted::default();
            hop::send(helm, &wanted, &start, &targets, &way.back, decision);
        });
    }

    fn originate_traced(
        &mut self,
        place: Place,
        run: &Run<'_>,
        start: &Start,
    ) -> (Decision, Outcomes) {
        let audience = self.machine.targets(place).audience.as_deref();
        let wanted = audience.map(|audience| {
            let hop::Wanted { clusters, nodes, groups } = audience.wanted();
            (clusters.to_vec(), nodes.to_vec(), groups.to_vec())
        });
        let (clusters, nodes, groups) = wanted.unwrap_or_default();
        let wanted = hop::Wanted { clusters: &clusters, nodes: &nodes, groups: &groups };
        let done = self.send_frame(run.frames, start, |helm, decision| {
            hop::originate(helm, &wanted, start, decision);
        });
        self.traced_waits(start.message, &done.1);
        done
    }

    fn decided(
        &self,
        place: Option<Place>,
        flow: &Flow<'_>,
        decision: &Decision,
        outcomes: &Outcomes,
    ) -> Decided {
        let Some(fabric) = &self.fabric else { return Decided::default() };
        let Some(view) = &fabric.view else { return Decided::default() };
        let table = Table { links: &fabric.ways, ..view.table() };
        let mut decided = Decided::default();
        for hop::Dropped { target, reason } in &decision.dropped {
            decided.drop(*target, LinkDrop::Hop(*reason));
        }
        for (share, (_, sent)) in decision.shares().iter().zip(outcomes) {
            decided.share(share, &table, flow, *sent);
        }
        if let Some(place) = place {
            self.delivered_to_nobody(place, decision, table.here, &mut decided);
        }
        decided
    }

    /// Who of this node would have had it.
    fn delivered_to_nobody(
        &self,
        place: Place,
        decision: &Decision,
        here: Here,
        decided: &mut Decided,
    ) {
        let targets = self.machine.targets(place);
        if decision.is_here {
            decided.subscribers = targets.plain.len();
            decided.shards = targets.shards.count_ones();
            if decided.subscribers == 0 && decided.shards == 0 {
                let reason = LinkDrop::Hop(Reason::Unwanted);
                decided.drop(HopTarget::Node(here.node), reason);
            }
        }
        for id in &decision.groups_here {
            match targets.groups.iter().find(|group| GroupId::of(&group.name) == *id) {
                Some(group) => {
                    decided.groups.push(String::from_utf8_lossy(&group.name).into_owned());
                }
                None => {
                    let aim = Aim::Member { node: here.node, group: *id };
                    let target = HopTarget::Aimed(Aimed { cluster: here.cluster, aim });
                    let reason = LinkDrop::Hop(Reason::GroupEmptied);
                    decided.drop(target, reason);
                }
            }
        }
    }
}

impl Decided {
    fn has_room(&mut self) -> bool {
        let sent: usize = self.next.iter().map(|next| next.targets.len()).sum();
        let has_room = self.dropped.len() + sent < TRACE_TARGETS_MAX;
        self.left_out += usize::from(!has_room);
        has_room
    }

    fn drop(&mut self, target: HopTarget, reason: LinkDrop) {
        if self.has_room() {
            let (target, reason) = (name_of(target), reason.word().to_owned());
            self.dropped.push(Dropped { target, reason });
        }
    }

    fn share(
        &mut self,
        share: &Share,
        table: &Table<'_>,
        flow: &Flow<'_>,
        sent: Result<(), LinkDrop>,
    ) {
        if sent.is_ok() {
            self.next.push(Next { node: share.peer().to_string(), targets: Vec::new() });
        }
        let Targets { clusters, nodes, aimed } = &share.targets;
        let clusters = clusters.iter().map(|&cluster| HopTarget::Cluster(cluster));
        let nodes = nodes.iter().map(|&node| HopTarget::Node(node));
        let all = clusters.chain(nodes).chain(aimed.iter().map(|&aimed| HopTarget::Aimed(aimed)));
        for target in all {
            match sent {
                Err(reason) => self.drop(target, reason),
                Ok(()) if self.has_room() => {
                    let why = why(target, table, flow, share.peer());
                    let instead_of_best = match why {
                        Some(Why::Alternate(reason)) => Some(reason.word().to_owned()),
                        Some(Why::Best | Why::Equal | Why::Linked | Why::Kept) | None => None,
                    };
                    let target = name_of(target);
                    let why = why.map_or("", Why::word).to_owned();
                    if let Some(next) = self.next.last_mut() {
                        next.targets.push(Sent { target, why, instead_of_best });
                    }
                }
                Ok(()) => (),
            }
        }
    }
}

/// Why a copy for this target went to `next`.
fn why(target: HopTarget, table: &Table<'_>, flow: &Flow<'_>, next: NodeId) -> Option<Why> {
    let (best, why) = match target {
        HopTarget::Cluster(to) => (table.to_cluster(to, flow), table.why_to_cluster(to, flow)),
        HopTarget::Aimed(Aimed { cluster: to, .. }) if to != table.here.cluster => {
            (table.to_cluster(to, flow), table.why_to_cluster(to, flow))
        }
        HopTarget::Node(to)
        | HopTarget::Aimed(Aimed { aim: Aim::Node(to) | Aim::Member { node: to, .. }, .. }) => {
            (table.to_node(to, flow), table.why_to_node(to, flow))
        }
        HopTarget::Aimed(Aimed { aim: Aim::Group(_), .. }) => return None,
    };
    if best == Ok(next) { why } else { Some(Why::Kept) }
}

fn name_of(target: HopTarget) -> Target {
    match target {
        HopTarget::Cluster(cluster) => Target::Cluster(cluster.to_string()),
        HopTarget::Node(node) => Target::Node(node.to_string()),
        HopTarget::Aimed(Aimed { aim: Aim::Node(node), .. }) => Target::Node(node.to_string()),
        HopTarget::Aimed(Aimed { cluster, aim: Aim::Group(group) | Aim::Member { group, .. } }) => {
            Target::Group { group: group.to_string(), cluster: cluster.to_string() }
        }
    }
}

fn micros(span: Duration) -> u64 {
    span.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_reports_are_made_in_a_second_and_no_more() {
        let mut traces = Traces::new();
        let at = |ms| Instant::START + Duration::from_secs(9) + Duration::from_millis(ms);
        let made = (0..2 * TRACE_REPORTS_PER_S).filter(|_| traces.may_report(at(0)));
        assert_eq!(made.count(), TRACE_REPORTS_PER_S as usize);
        assert!(!traces.may_report(at(999)));
        assert!(traces.may_report(at(1000)));
    }

    #[test]
    fn a_copy_that_waits_is_found_once_and_so_many_are_kept() {
        let mut traces = Traces::new();
        let message = |sequence| MessageId { origin: NodeId(1), sequence };
        for n in 0..TRACED_WAITING_MAX as u64 + 1 {
            traces.waits(message(n), NodeId(2), Instant::from_nanos(n));
        }
        assert_eq!(traces.leaves(message(0), NodeId(2)), None, "the oldest gave way");
        assert_eq!(traces.leaves(message(1), NodeId(3)), None);
        assert_eq!(traces.leaves(message(1), NodeId(2)), Some(Instant::from_nanos(1)));
        assert_eq!(traces.leaves(message(1), NodeId(2)), None);
    }
}
