//! What nodes say to each other about calls.
//!
//! ```text
//!   Effect::Send --> a data frame behind a header with the flag of a call --> link
//!   link --> forward --> links, or the home of the name on this node --> Input::Heard
//! ```
//!
//! Whoever asks for a call and whoever runs it repeat what was lost, so nothing is remembered here. But an
//! `Ask` that ends on a node because it cannot go on is reported to its origin, which may then ask somebody
//! else.
//!
//! Invariant: a copy is reported as dropped only if it was given to no socket.

use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::call::{Effect, Input, Value};
use mpreg_fabric::hop::{self, Decision, ReplyWay, Start, Wanted};
use mpreg_fabric::limits::CALL_WORD_DEADLINE;
use mpreg_fabric::time::Instant;
use mpreg_proto::call::{Ask, Dropped, Message};
use mpreg_proto::frame::{Data, Publish};
use mpreg_proto::function::FunctionName;
use mpreg_proto::hop::{Flags, Header, Reason, Targets, Trail};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::peer::Lane;

use super::Switch;
use super::carry::{aimed_at, lane_of};
use super::run::Run;
use super::wires::{Chunk, Outcomes, Outlet};
use crate::limits::HOP_BUDGET;
use crate::probe::LinkDrop;

impl Switch {
    /// Sends what the machine says to another node. What could not be sent it is told at once.
    pub(super) fn send_call(&mut self, effect: Effect) {
        let Effect::Send { cluster, node, back, name, message, value, deadline_left } = effect
        else {
            return;
        };
        let way = ReplyWay { origin: node, cluster, back };
        let deadline_ms = u32::try_from(deadline_left.as_millis()).unwrap_or(u32::MAX).max(1);
        if let Err(reason) = self.send_message(&way, &name, (&message, &value), Some(deadline_ms)) {
            let Self { desk, fabric, now, .. } = self;
            let ways = fabric.as_ref().and_then(|fabric| fabric.table());
            let input = Input::NotSent { message, reason };
            desk.machine.handle(input, ways.as_ref(), *now, &mut desk.effects);
        }
    }

    /// Why no copy was sent, if none was.
    fn send_message(
        &mut self,
        way: &ReplyWay,
        name: &FunctionName,
        (message, value): (&Message, &Value),
        deadline_ms: Option<u32>,
    ) -> Result<(), Reason> {
        let here = self.here().ok_or(Reason::NoRoute)?;
        let (mut headers, mut frame) = (Vec::new(), Vec::new());
        message.put(&mut headers);
        let publish = Publish {
            topic: name.as_str().as_bytes(),
            headers: &headers,
            payload: &value.bytes,
            encoding: value.encoding,
            deadline_ms: deadline_ms.unwrap_or(0),
            ..Publish::default()
        };
        // A frame that is too long is too long on every way.
        publish.put(&mut frame).map_err(|_| Reason::NoRoute)?;
        let (number, flags) = (self.next_message(here, 1), Flags::call());
        let hop_budget = self.fabric.as_ref().map_or(HOP_BUDGET, |fabric| fabric.hop_budget);
        let start = Start { message: number, messages: 1, flags, hop_budget, deadline_ms };
        let targets: Targets = aimed_at(way, here);
        let (decision, outcomes) = self.send_frame(&frame, &start, |helm, decision| {
            hop::send(helm, &Wanted::default(), &start, &targets, &way.back, decision);
        });
        why_not(&decision, &outcomes).map_or(Ok(()), Err)
    }

    /// Takes a message about a call that came over a link, or sends it on.
    pub(super) fn carry_call(&mut self, header: &Header<'_>, run: &Run<'_>, came_at: Instant) {
        let held_ms = self.now.since(came_at).as_millis() as u32;
        let Some(Outlet { mut helm, mut wires, decision, .. }) = self.outlet() else {
            return self.probe.link_dropped(LinkDrop::Hop(Reason::NoRoute), run.messages.into());
        };
        let mut decision = std::mem::take(decision);
        hop::forward(&mut helm, &Wanted::default(), header, held_ms, &mut decision);
        let lane = run.each().next().map_or(Lane::Normal, lane_of);
        let (frames, messages) = (header.frames, header.messages());
        let chunk = Chunk { frames, messages, lane, deadline_ms: None };
        let mut outcomes = Vec::new();
        let leg = |share| decision.leg(header, share);
        wires.send_each(&decision, chunk, leg, |to, queued| outcomes.push((to, queued)));
        let Some(way) = back_to(header) else { return };
        if decision.is_here {
            let left = header.deadline_ms().map_or(CALL_WORD_DEADLINE, |left| {
                Duration::from_millis(left.saturating_sub(held_ms).into())
            });
            run.each().for_each(|data| self.take_call(&way, header.trail, data, left));
        } else if let Some(reason) = why_not(&decision, &outcomes) {
            run.each().for_each(|data| self.report_dropped(&way, data, header, reason));
        }
        if let Some(fabric) = &mut self.fabric {
            fabric.decision = decision;
        }
    }

    /// A message for this node.
    fn take_call(
        &mut self,
        way: &ReplyWay,
        trail: Trail<'_>,
        data: Data<'_>,
        deadline_left: Duration,
    ) {
        let name = FunctionName::parse(data.topic());
        let (Ok(name), Ok(message)) = (name, Message::parse(data.headers())) else {
            return self.probe.calls.messages_unreadable.add(1);
        };
        let (encoding, bytes) = (data.encoding(), Bytes::copy_from_slice(data.payload()));
        let (from, value) = (way.clone(), Value { encoding, bytes });
        let is_traced = message.is_traced();
        let clusters = trail.clusters.iter().filter(|_| is_traced).collect();
        let home = self.machine.home(name.as_str().as_bytes());
        let heard = Input::Heard { from, clusters, name, message, value, deadline_left };
        self.hand_to(home, heard);
    }

    /// Tells who asked that the copy ends here.
    fn report_dropped(
        &mut self,
        way: &ReplyWay,
        data: Data<'_>,
        header: &Header<'_>,
        reason: Reason,
    ) {
        let name = FunctionName::parse(data.topic());
        let (Ok(name), Ok(message)) = (name, Message::parse(data.headers())) else { return };
        let (Some(&Ask { call, attempt, .. }), Some(here)) = (message.ask(), self.here()) else {
            return;
        };
        let path: Vec<NodeId> = header.trail.nodes.iter().chain([here.node]).collect();
        let dropped = Message::Dropped(Dropped { call, attempt, reason, path }.into());
        let deadline_ms = u32::try_from(CALL_WORD_DEADLINE.as_millis()).ok();
        let said = self.send_message(way, &name, (&dropped, &Value::default()), deadline_ms);
        if let Err(reason) = said {
            tracing::debug!(%call, reason = reason.word(), "who asked cannot be told");
        }
    }
}

/// To the node where a message began.
fn back_to(header: &Header<'_>) -> Option<ReplyWay> {
    let origin = header.trail.nodes.first()?;
    let cluster: ClusterId = header.source();
    Some(ReplyWay { origin, cluster, back: header.trail.nodes.iter().rev().collect() })
}

/// Why the one target of a message got no copy.
fn why_not(decision: &Decision, outcomes: &Outcomes) -> Option<Reason> {
    let dropped = decision.dropped.first().map(|dropped| dropped.reason);
    let failed = outcomes.iter().find_map(|(_, queued)| match queued {
        Ok(()) => None,
        Err(LinkDrop::Hop(reason)) => Some(*reason),
        // As good as none until it is sent.
        Err(LinkDrop::QueueFull) => Some(Reason::LinkDown),
    });
    dropped.or(failed)
}
