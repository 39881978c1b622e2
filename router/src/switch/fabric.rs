//! Other nodes: the data links to and from them, and what the control core says of them.
//!
//! ```text
//!   handed over --> OPENED --peer closed, socket failed, peer lied--> SHUT --> gone, and reported
//!                     |
//!                     +-- replaced, peer left the view, node stops --> FLUSHING --> SHUT --> gone
//! ```
//!
//! A link from a peer that left the view stays OPENED until the peer closes it, or for `LINGER`.
//!
//! A link out that has traffic is asked whether it carries it (`pulse.rs`); those that do not answer are
//! reported to the control core, whose breaker closes them to all shards.
//!
//! A link is a slot beside those of clients: its socket, queue and TLS are served by the same code. The
//! machine of sessions hears nothing of it. What its frames mean is `carry.rs`.
//!
//! Invariants:
//! - At most one link out to a peer is in use, and `ways` names those peers of the view and no others.
//! - Whatever a peer sends is taken or ends its link; nothing is kept but one unfinished frame.
//! - Messages that were queued on a link that failed are counted as `link_down`, and those whose time was
//!   over before it was their turn as `deadline_passed`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::control::View;
use mpreg_fabric::hop::Decision;
use mpreg_fabric::hop::seen::Seen;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::limits::{FLOWS_KEPT, STREAMS_SEEN_MAX};
use mpreg_fabric::time::Instant;
use mpreg_fabric::want::Stale;
use mpreg_fabric::way::{self, Flowlets, Table};
use mpreg_proto::hop::Reason;
use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::limits::FRAME_HEADER_BYTES;
use mpreg_proto::peer::{self, Decoded, Frame, Plane};

use super::pulse::{Beat, Pulse};
use super::replies::Replies;
use super::trace::{Leaving, Traces};
use super::{Clustered, Switch};
use crate::control::report::Reporter;
use crate::limits::{LINGER, PULSE_EVERY, RECEIVE_BUFFER_BYTES, STREAM_IDLE};
use crate::link::{Link, Stage};
use crate::outbound::{Lane, Piece};
use crate::peer_link::{Direction, PeerEnd, PeerLink};
use crate::probe::LinkDrop;

/// What a shard knows of other nodes. Not there in a node that is in no cluster.
#[derive(Debug)]
pub(super) struct Fabric {
    pub(super) reporter: Reporter,
    pub(super) incarnation: Incarnation,
    pub(super) hop_budget: u8,
    pub(super) view: Option<Arc<View>>,
    /// Links of the view that this shard can send on, ascending.
    pub(super) ways: Vec<way::Link>,
    pub(super) outgoing: BTreeMap<NodeId, SessionIx>,
    /// Slots of all links, both ways.
    slots: BTreeSet<SessionIx>,
    /// Of the links out.
    pulses: BTreeMap<NodeId, Pulse>,
    /// When the first of them is to be felt.
    pub(super) pulses_due: Instant,
    /// Messages sent to other nodes that began here.
    pub(super) count: u64,
    pub(super) seen: Seen,
    pub(super) traces: Traces,
    pub(super) replies: Replies,
    pub(super) flowlets: Flowlets,
    /// Kept for their room.
    pub(super) decision: Decision,
    pub(super) header: Vec<u8>,
}

impl Fabric {
    pub(super) fn new(clustered: Clustered) -> Self {
        let Clustered { reporter, incarnation, hop_budget, .. } = clustered;
        Self {
            reporter,
            incarnation,
            hop_budget,
            view: None,
            ways: Vec::new(),
            outgoing: BTreeMap::new(),
            slots: BTreeSet::new(),
            pulses: BTreeMap::new(),
            pulses_due: Instant::NEVER,
            count: 0,
            seen: Seen::new(STREAMS_SEEN_MAX, STREAM_IDLE),
            traces: Traces::new(),
            replies: Replies::new(),
            flowlets: Flowlets::new(FLOWS_KEPT),
            decision: Decision::default(),
            header: Vec::new(),
        }
    }

    /// What ways are looked up in, once the control core has said what there is.
    pub(super) fn table(&self) -> Option<Table<'_>> {
        Some(Table { links: &self.ways, ..self.view.as_ref()?.table() })
    }

    fn find_ways(&mut self) {
        let Self { view, ways, outgoing, .. } = self;
        ways.clear();
        let links = view.iter().flat_map(|view| &view.links);
        ways.extend(links.filter(|link| outgoing.contains_key(&link.peer)));
    }

    /// As the link to this peer was measured last.
    pub(super) fn round_trip(&self, peer: NodeId) -> Option<Duration> {
        self.pulses.get(&peer)?.round_trip
    }

    /// Messages go out on the link to a peer, or it is to be tried.
    fn stir(&mut self, peer: NodeId, now: Instant) {
        if let Some(pulse) = self.pulses.get_mut(&peer) {
            pulse.stir(now);
            self.pulses_due = self.pulses_due.min(pulse.deadline().unwrap_or(Instant::NEVER));
        }
    }

    /// Links of half-open circuits are tried without risking messages.
    fn try_links(&mut self, now: Instant) {
        let tried = self.ways.iter().filter(|link| link.circuit == Circuit::HalfOpen);
        let tried: Vec<NodeId> = tried.map(|link| link.peer).collect();
        tried.into_iter().for_each(|peer| self.stir(peer, now));
    }

    /// What is to be done about links now.
    fn beats(&mut self, now: Instant) -> Vec<(NodeId, Beat)> {
        let beats = self.pulses.iter_mut().map(|(&peer, pulse)| (peer, pulse.beat(now)));
        let beats = beats.filter(|(_, beat)| *beat != Beat::Rest).collect();
        let dues = self.pulses.values().filter_map(Pulse::deadline);
        self.pulses_due = dues.min().unwrap_or(Instant::NEVER);
        beats
    }
}

impl Switch {
    /// A data link is this shard's from here on.
    pub(super) fn take_link(&mut self, mut link: PeerLink) {
        if self.is_stopping || self.fabric.is_none() {
            return;
        }
        let PeerLink { peer, direction, .. } = link;
        tracing::debug!(%peer, direction = direction.word(), "data link");
        let plain = std::mem::take(&mut link.plain);
        let session = self.free_slot();
        if !link.wire.is_empty() {
            self.dirty.push(session);
        }
        let mut made = Link::of_peer(link, self.now);
        made.is_dirty = !made.wire.is_empty();
        self.links[session.0 as usize] = Some(made);
        self.to_arm.push(session);
        self.gauge(direction).add(1);
        let Some(fabric) = &mut self.fabric else { return };
        fabric.slots.insert(session);
        if direction == Direction::Outgoing {
            let earlier = fabric.outgoing.insert(peer, session);
            fabric.pulses.insert(peer, Pulse::new());
            fabric.find_ways();
            // Asked once, so that it is known how far away the peer is.
            fabric.stir(peer, self.now);
            earlier.into_iter().for_each(|earlier| self.retire(earlier));
        }
        if !plain.is_empty() {
            self.take_peer_plain(session, &plain);
        }
    }

    /// What this shard knows of other nodes from here on.
    pub(super) fn view(&mut self, view: Arc<View>, stale: &Stale) {
        let Self { fabric, machine, links, .. } = self;
        let Some(fabric) = fabric else { return };
        machine.view(view.here.node, Arc::clone(&view.interest), stale);
        let earlier = fabric.view.replace(Arc::clone(&view));
        fabric.find_ways();
        fabric.try_links(self.now);
        let is_same = |end: &PeerEnd, view: &View| {
            view.peers.get(&end.node).is_some_and(|peer| peer.incarnation == end.incarnation)
        };
        // A link may come before the view that names its peer.
        let has_left = |slot: &&SessionIx| {
            let link = links.get(slot.0 as usize).and_then(Option::as_ref);
            let Some(end) = link.and_then(|link| link.peer.as_deref()) else { return false };
            let was_there = earlier.as_ref().is_some_and(|earlier| is_same(end, earlier));
            was_there && !is_same(end, &view)
        };
        let left: Vec<SessionIx> = fabric.slots.iter().filter(has_left).copied().collect();
        left.into_iter().for_each(|session| self.leave(session));
    }

    /// The peer is gone: what is queued for it is sent, and what it sent is taken, if that is soon.
    fn leave(&mut self, session: SessionIx) {
        let until = self.now + LINGER;
        match self.opened(session).and_then(|link| link.peer.as_deref().copied()) {
            Some(PeerEnd { node, direction: Direction::Outgoing, .. }) => {
                self.retire(session);
                // It lives again, and has had no link in this life.
                if let Some(fabric) = &mut self.fabric
                    && fabric.view.as_ref().is_some_and(|view| view.peers.contains_key(&node))
                {
                    fabric.reporter.peer_lost(node, Direction::Outgoing);
                }
            }
            Some(PeerEnd { direction: Direction::Incoming, .. }) => {
                if let Some(link) = self.link_mut(session) {
                    link.linger_until = until;
                }
                self.going.insert((until, session));
            }
            None => (),
        }
    }

    /// The node stops: what is queued for others is sent, if they take it soon.
    pub(super) fn retire_all(&mut self) {
        let slots = self.fabric.as_ref().map(|fabric| fabric.slots.clone());
        slots.into_iter().flatten().for_each(|session| self.retire(session));
    }

    pub fn is_peer(&self, session: SessionIx) -> bool {
        let link = self.links.get(session.0 as usize).and_then(Option::as_ref);
        link.is_some_and(|link| link.peer.is_some())
    }

    /// Ends a link that is no longer wanted, once what is queued is sent.
    fn retire(&mut self, session: SessionIx) {
        let until = self.now + if self.is_stopping { self.drain } else { LINGER };
        let Some(link) = self.opened(session) else { return };
        link.stage = Stage::Flushing;
        link.linger_until = until;
        self.going.insert((until, session));
        self.part(session);
        self.mark_dirty(session);
    }

    /// Ends a link that failed.
    pub(super) fn fail(&mut self, session: SessionIx, why: &str) {
        let is_stopping = self.is_stopping;
        let is_opened = self.opened(session).is_some();
        let Some(link) = self.link_mut(session) else { return };
        let Some(PeerEnd { node, direction, .. }) = link.peer.as_deref().copied() else { return };
        if link.stage != Stage::Shut {
            link.shut();
        }
        if is_opened {
            tracing::debug!(peer = %node, direction = direction.word(), why, "data link ended");
            self.part(session);
            if let Some(fabric) = &mut self.fabric
                && !is_stopping
            {
                fabric.reporter.peer_lost(node, direction);
            }
        }
        self.advance(session);
    }

    /// Nothing is sent on this link from here on.
    fn part(&mut self, session: SessionIx) {
        let Self { links, fabric, .. } = self;
        let Some(fabric) = fabric else { return };
        let link = links.get(session.0 as usize).and_then(Option::as_ref);
        let Some(end) = link.and_then(|link| link.peer.as_deref()).copied() else { return };
        if fabric.outgoing.get(&end.node) == Some(&session) {
            fabric.outgoing.remove(&end.node);
            fabric.pulses.remove(&end.node);
            fabric.find_ways();
        }
        let gauge = self.gauge(end.direction);
        gauge.set(gauge.get() - 1);
    }

    fn gauge(&self, direction: Direction) -> &crate::probe::Count {
        match direction {
            Direction::Outgoing => &self.probe.links_out,
            Direction::Incoming => &self.probe.links_in,
        }
    }

    /// Takes what goes out next, but for what has waited for too long.
    pub(super) fn take_flight_to_peer(&mut self, session: SessionIx, pieces: &mut Vec<Piece>) {
        let Self { links, budget, spares, probe, now, fabric, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        let (mut late, mut traced) = (0, Vec::new());
        while pieces.is_empty() && link.outbound.take_flight(pieces) != 0 {
            for piece in pieces.iter_mut() {
                late += piece.spend(*now, |header| traced.extend(Leaving::of(header)));
            }
            let is_given_up = |piece: &mut Piece| piece.bytes().is_empty();
            pieces.extract_if(.., is_given_up).for_each(|piece| spares.put(piece));
            if pieces.is_empty() {
                link.outbound.landed(pieces, budget, spares);
            }
        }
        probe.link_dropped(LinkDrop::Hop(Reason::DeadlinePassed), late);
        // Pings count for none, so that a link is asked only for as long as it has traffic.
        if pieces.iter().any(|piece| piece.messages() != 0)
            && let (Some(fabric), Some(end)) = (fabric, link.peer.as_deref().copied())
            && end.direction == Direction::Outgoing
        {
            fabric.stir(end.node, *now);
            traced.into_iter().for_each(|traced| self.traced_leaves(end.node, traced));
        }
    }

    /// Asks links that have traffic whether they carry it, and reports those that do not.
    pub(super) fn feel_pulses(&mut self) {
        let now = self.now;
        let Some(fabric) = self.fabric.as_mut().filter(|fabric| fabric.pulses_due <= now) else {
            return;
        };
        for (peer, beat) in fabric.beats(now) {
            let Some(fabric) = &mut self.fabric else { return };
            let Some(&session) = fabric.outgoing.get(&peer) else { continue };
            match beat {
                Beat::Rest => (),
                Beat::Ask(token) => self.say_to_peer(session, Plane::Ping, &token.to_le_bytes()),
                Beat::Late => {
                    tracing::debug!(%peer, "a data link does not answer");
                    fabric.reporter.fared(peer, false);
                }
                Beat::Dead => self.fail(session, "it does not answer"),
            }
        }
    }

    /// What finds no room is not said: whoever waits for it sees that.
    fn say_to_peer(&mut self, session: SessionIx, plane: Plane, body: &[u8]) {
        let Self { links, budget, spares, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        let (mut frame, lane) = (Vec::new(), peer::Lane::Control);
        Frame { plane: plane as u8, lane, body }.put(&mut frame).expect("a few bytes");
        if link.outbound.say(&frame, Lane::Urgent, budget, spares) {
            self.mark_dirty(session);
        }
    }

    /// A ping came back.
    fn heard_pulse(&mut self, peer: NodeId, token: u64) {
        let now = self.now;
        let Some(fabric) = &mut self.fabric else { return };
        let Some(pulse) = fabric.pulses.get_mut(&peer) else { return };
        let Some(is_news) = pulse.answered(token, now) else { return };
        let link = fabric.ways.iter().find(|link| link.peer == peer);
        if is_news || link.is_some_and(|link| link.circuit != Circuit::Closed) {
            fabric.reporter.fared(peer, true);
        }
        fabric.pulses_due = fabric.pulses_due.min(now + PULSE_EVERY);
        fabric.try_links(now);
    }

    /// A flight on a link is over. What was in one that failed may have arrived, or not.
    pub(super) fn sent_to_peer(&self, flight: &crate::ring::Flight, is_lost: bool) {
        if is_lost {
            let messages = flight.pieces.iter().map(Piece::messages).sum();
            self.probe.link_dropped(LinkDrop::Hop(Reason::LinkDown), messages);
        } else {
            self.probe.link_bytes_out.add(flight.bytes() as u64);
        }
    }

    /// Nothing of the link is with the kernel any more.
    pub(super) fn close_peer(&mut self, session: SessionIx) {
        let Self { links, budget, spares, fabric, .. } = self;
        let link = links.get_mut(session.0 as usize).and_then(Option::take);
        let Some(mut link) = link else { return };
        if let Some(fabric) = fabric {
            fabric.slots.remove(&session);
        }
        let messages = link.outbound.clear(budget, spares);
        budget.used -= link.partial.len();
        self.probe.link_dropped(LinkDrop::Hop(Reason::LinkDown), messages);
        self.going.remove(&(link.linger_until, session));
        self.free.push(session);
    }

    /// Takes what a link received.
    pub(super) fn take_peer(&mut self, session: SessionIx, bytes: &[u8]) {
        self.probe.link_bytes_in.add(bytes.len() as u64);
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let received = self.unseal(session, bytes, &mut plain);
        self.take_peer_plain(session, &plain);
        plain.shrink_to(2 * RECEIVE_BUFFER_BYTES);
        self.plain = plain;
        if let Err(error) = received {
            self.fail(session, &error.to_string());
        }
    }

    fn take_peer_plain(&mut self, session: SessionIx, bytes: &[u8]) {
        let mut rest = self.complete_peer_frame(session, bytes);
        while self.opened(session).is_some() {
            match peer::decode(rest) {
                Ok(Decoded::Frame { frame, bytes }) => {
                    self.take_peer_frame(session, frame);
                    rest = &rest[bytes..];
                }
                Ok(Decoded::Need(_)) => {
                    self.keep_partial(session, rest);
                    break;
                }
                Err(code) => return self.fail(session, code.word()),
            }
        }
        self.pause_if_congested(session);
    }

    /// Completes the frame that an earlier read began; returns what follows it.
    fn complete_peer_frame<'a>(&mut self, session: SessionIx, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        loop {
            let Some(link) = self.opened(session) else { return &[] };
            let had = link.partial.len();
            if had == 0 {
                return rest;
            }
            let need = match peer::peek(&link.partial) {
                Ok(known) => known.map_or(FRAME_HEADER_BYTES, |(frame_bytes, _)| frame_bytes),
                Err(code) => {
                    self.fail(session, code.word());
                    return &[];
                }
            };
            if had == need {
                let whole = std::mem::take(&mut link.partial);
                self.budget.used -= whole.len();
                match peer::decode(&whole) {
                    Ok(Decoded::Frame { frame, .. }) => self.take_peer_frame(session, frame),
                    Ok(Decoded::Need(_)) => self.fail(session, "malformed"),
                    Err(code) => self.fail(session, code.word()),
                }
                return rest;
            }
            let (some, after) = rest.split_at((need - had).min(rest.len()));
            if some.is_empty() {
                return &[];
            }
            self.keep_partial(session, some);
            rest = after;
        }
    }

    fn take_peer_frame(&mut self, session: SessionIx, frame: Frame<'_>) {
        let end = self.opened(session).and_then(|link| link.peer.as_deref().copied());
        let Some(end) = end else { return };
        match frame.plane() {
            None => self.probe.link_frames_skipped.add(1),
            Some(Plane::Data) if end.direction == Direction::Incoming => {
                if let Err(why) = self.take_hop((session, end), frame.body) {
                    self.fail(session, why);
                }
                self.perform();
            }
            Some(Plane::Ping) if end.direction == Direction::Incoming && is_token(frame.body) => {
                self.say_to_peer(session, Plane::Pong, frame.body);
            }
            Some(Plane::Pong) if end.direction == Direction::Outgoing => {
                match frame.body.first_chunk() {
                    Some(token) => self.heard_pulse(end.node, u64::from_le_bytes(*token)),
                    None => self.fail(session, "a pong without what was said"),
                }
            }
            Some(_) => self.fail(session, "a frame that is not for this link"),
        }
    }
}

fn is_token(body: &[u8]) -> bool {
    body.len() == size_of::<u64>()
}
