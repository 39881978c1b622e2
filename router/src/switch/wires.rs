//! Copies into the queues of links to other nodes.
//!
//! ```text
//!   frames --chunks--> Chunk --decided--> a share for each link --> header + frames in its queue
//! ```
//!
//! What finds no room on a link is dropped and counted: the urgent lane may fill a queue, the others
//! leave it a tenth. Publishers wait before it comes to that ([`Link::stall`]).
//!
//! Invariants:
//! - Each share is queued or counted with a reason, and so is each target that got none.
//! - Messages behind one header are of one lane and one deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use mpreg_fabric::hop::{self, Decision};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::{Helm, Table};
use mpreg_proto::hop::{Here, Leg, Reason};
use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use mpreg_proto::peer::{self, Plane};

use super::fabric::Fabric;
use super::replies::Replies;
use super::run::each;
use super::{Machine, Switch};
use crate::link::Link;
use crate::outbound::{Budget, Lane, Spares};
use crate::probe::{LinkDrop, ShardProbe};

/// The parts of a shard that messages to other nodes take.
pub(super) struct Outlet<'a> {
    pub(super) machine: &'a Machine,
    pub(super) helm: Helm<'a>,
    pub(super) wires: Wires<'a>,
    /// Kept for its room.
    pub(super) decision: &'a mut Decision,
    pub(super) replies: &'a Replies,
    pub(super) origin: Origin<'a>,
}

/// What messages that begin here are given.
pub(super) struct Origin<'a> {
    pub(super) incarnation: Incarnation,
    pub(super) hop_budget: u8,
    /// Of those that began here.
    pub(super) count: &'a mut u64,
}

impl Switch {
    /// None before the control core has said what there is.
    #[inline]
    pub(super) fn outlet(&mut self) -> Option<Outlet<'_>> {
        let Self { machine, fabric, links, budget, spares, probe, dirty, now, .. } = self;
        let now = *now;
        let fabric = &mut **fabric.as_mut()?;
        let (incarnation, hop_budget) = (fabric.incarnation, fabric.hop_budget);
        let Fabric { view, ways, outgoing, decision, header, replies, flowlets, count, .. } =
            fabric;
        let view = view.as_ref()?;
        let origin = Origin { incarnation, hop_budget, count };
        let helm = Helm { table: Table { links: ways, ..view.table() }, flowlets, now };
        let wires = Wires {
            here: view.here,
            links,
            outgoing,
            budget,
            spares,
            header,
            dirty,
            produced_bytes: &mut self.produced_bytes,
            stall: &mut self.link_stall,
            probe,
            now,
        };
        Some(Outlet { machine, helm, wires, decision, replies, origin })
    }
}

/// What queueing on links takes.
pub(super) struct Wires<'a> {
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
pub(super) struct Chunk<'a> {
    pub(super) frames: &'a [u8],
    pub(super) messages: u8,
    pub(super) lane: peer::Lane,
    pub(super) deadline_ms: Option<u32>,
}

impl Wires<'_> {
    /// Queues what was decided; says whether any copy was.
    pub(super) fn send<'a>(
        &mut self,
        decision: &'a Decision,
        chunk: Chunk<'_>,
        leg: impl Fn(&'a hop::Share) -> Leg<'a>,
    ) -> bool {
        self.send_each(decision, chunk, leg, |_, _| ())
    }

    /// The same; `each` is told what became of each copy.
    #[inline]
    pub(super) fn send_each<'a>(
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
pub(super) fn chunks(mut frames: &[u8], messages_max: usize) -> impl Iterator<Item = Chunk<'_>> {
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
