//! The switch: a shard's links and machine, and the bytes between them. Everything but the ring.
//!
//! Received bytes come in as slices, frame by frame; what is to be sent is queued on links, and what
//! the ring is to do is noted (`dirty`, `to_arm`, `to_cancel`) until [`crate::shard`] does it.
//!
//! Invariants:
//! - Consecutive messages of one topic and lane are handled as one run; a run never spans two reads.
//! - Effects of the machine are performed in the order it named them.
//! - A message is counted once in, and once per receiver out or dropped.
//!
//! Parts: `receive.rs` (bytes to frames), `commands.rs` (to commands of NATS), `admission.rs` (other accounts), `run.rs`, `deliver.rs` (runs to
//! queues), `text.rs` (those of NATS clients), `effect.rs` (what the machine wants), `fabric.rs` (links with
//! other nodes), `pulse.rs` (whether they carry), `carry.rs` (their messages), `replies.rs` (and the way back),
//! `trace.rs` (what is told of some of them), `calls.rs` (functions and calls to
//! them), `rpc.rs` (as clients say it), `requests.rs` and `micro.rs` (as NATS clients and their services do),
//! `call_hops.rs` (as nodes do), `graphs.rs` (graphs of calls).

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mpreg_fabric::fact::{DropReason, EndReason};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::session::Protocol;
use mpreg_fabric::shard::{Effect, Input, Shard as Machine};
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Frame, Refusal};
use mpreg_proto::hop::Here;
use mpreg_proto::id::{Incarnation, ShardIx, Sid};

use crate::arena::Arena;
use crate::control::report::Reporter;
use crate::limits::{LINGER, WAIT_MAX};
use crate::link::{Link, Stage};
use crate::listen::Door;
use crate::mesh::{Command, Mesh};
use crate::nats;
use crate::outbound::{Budget, Piece, Spares};
use crate::probe::ShardProbe;

mod admission;
mod call_hops;
mod calls;
mod carry;
mod commands;
mod deliver;
mod effect;
mod fabric;
mod graphs;
mod measures;
mod micro;
mod pulse;
mod receive;
mod replies;
mod requests;
mod roster;
mod rpc;
mod run;
mod text;
mod trace;
mod wires;

use calls::Desk;
use fabric::Fabric;
use graphs::Graphs;

/// Connections of the whole node, counted by all shards.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    max: usize,
}

impl Connections {
    pub fn new(max: usize) -> Self {
        Self { open: AtomicUsize::new(0), max }
    }

    fn take(&self) -> bool {
        let had_room = self.open.fetch_add(1, Ordering::Relaxed) < self.max;
        if !had_room {
            self.give_back();
        }
        had_room
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a shard may use.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Outbound queue of a client until it has wished for one.
    pub queue_bytes: usize,
    /// All queues and unfinished frames.
    pub memory_bytes: usize,
    /// How long clients may read what is queued once the node stops.
    pub drain: Duration,
}

/// What a shard of a node in a cluster is told besides.
#[derive(Debug)]
pub struct Clustered {
    pub reporter: Reporter,
    pub here: Here,
    /// The life this node is in.
    pub incarnation: Incarnation,
    /// Links that a message which starts here may cross.
    pub hop_budget: u8,
}

/// See the file's header.
pub struct Switch {
    machine: Machine,
    links: Vec<Option<Link>>,
    free: Vec<SessionIx>,
    connections: Arc<Connections>,
    queue_bytes: usize,
    nats: Arc<nats::Server>,
    nats_clients: u64,
    pub mesh: Mesh,
    arena: Arena,
    budget: Budget,
    spares: Spares,
    effects: Vec<Effect>,
    scratch: Vec<u8>,
    /// What a transport carried.
    plain: Vec<u8>,
    plan: Vec<deliver::Step>,
    /// Who is not to have the last run, though a subscription of theirs matches.
    unserved: Vec<SessionIx>,
    squeezes: Vec<deliver::Squeeze>,
    /// One of them waits for a socket that was not offered what is queued.
    is_pressed: bool,
    /// How often the kernel had been entered when completions were last taken.
    pub entered: u64,
    /// To be refused once a delivery is done: their end changes the routes it rests on.
    overrun: Vec<SessionIx>,
    paused: Vec<SessionIx>,
    /// How long the publisher of the last run is to wait for subscribers that read, but are behind.
    stall: Duration,
    /// How long for links to other nodes that are behind.
    link_stall: Duration,
    going: BTreeSet<(Instant, SessionIx)>,
    /// Who hears INFO when, unless TLS is begun before.
    introducing: BTreeSet<(Instant, SessionIx)>,
    pub dirty: Vec<SessionIx>,
    pub to_arm: Vec<SessionIx>,
    pub to_cancel: Vec<SessionIx>,
    /// Bytes queued since the last flush.
    pub produced_bytes: usize,
    pub now: Instant,
    is_stopping: bool,
    /// Nobody is taken in any more.
    is_lame: bool,
    /// How long clients may read what is queued once the node stops.
    drain: Duration,
    desk: Desk,
    graphs: Graphs,
    /// `None` in a node that is in no cluster.
    fabric: Option<Box<Fabric>>,
    probe: Arc<ShardProbe>,
}

impl Switch {
    pub fn new(
        machine: Machine,
        mesh: Mesh,
        connections: Arc<Connections>,
        nats: Arc<nats::Server>,
        means: Means,
        probe: Arc<ShardProbe>,
    ) -> Self {
        let Means { queue_bytes, memory_bytes, drain } = means;
        Self {
            desk: Desk::alone(&machine, mesh.me()),
            machine,
            links: Vec::new(),
            free: Vec::new(),
            connections,
            queue_bytes,
            nats,
            nats_clients: 0,
            mesh,
            arena: Arena::default(),
            budget: Budget { used: 0, limit: memory_bytes },
            spares: Spares::default(),
            effects: Vec::new(),
            scratch: Vec::new(),
            plain: Vec::new(),
            plan: Vec::new(),
            unserved: Vec::new(),
            squeezes: Vec::new(),
            is_pressed: false,
            entered: 0,
            overrun: Vec::new(),
            paused: Vec::new(),
            stall: Duration::ZERO,
            link_stall: Duration::ZERO,
            going: BTreeSet::new(),
            introducing: BTreeSet::new(),
            dirty: Vec::new(),
            to_arm: Vec::new(),
            to_cancel: Vec::new(),
            produced_bytes: 0,
            now: Instant::START,
            is_stopping: false,
            is_lame: false,
            drain,
            graphs: Graphs::default(),
            fabric: None,
            probe,
        }
    }

    /// The node is one of a cluster: other nodes are told what is wanted here.
    pub fn join(&mut self, clustered: Clustered) {
        self.desk = Desk::new(clustered.here, clustered.incarnation, self.mesh.me());
        self.fabric = Some(Box::new(Fabric::new(clustered)));
        self.machine.join();
    }

    /// A connection was accepted. Over the cap it is told so and closed.
    pub fn accept(&mut self, socket: OwnedFd, door: Door) {
        if !self.connections.take() {
            self.probe.refused(ErrorCode::TooManyConnections);
            refuse_at_the_door(&socket, door, ErrorCode::TooManyConnections);
            return;
        }
        let session = self.free_slot();
        let (protocol, link) = match door {
            Door::Native => (Protocol::Native, Link::accepted(socket, self.queue_bytes)),
            Door::Nats | Door::NatsTls | Door::WebSocket | Door::WebSocketTls => {
                (Protocol::Nats, self.nats_link(socket, door))
            }
        };
        self.links[session.0 as usize] = Some(link);
        self.to_arm.push(session);
        self.probe.accepted.add(1);
        self.probe.sessions.add(1);
        self.tell(Input::Accepted { session, protocol });
        if protocol == Protocol::Nats {
            self.introduce(session, door);
        }
    }

    fn free_slot(&mut self) -> SessionIx {
        self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            SessionIx(self.links.len() as u32 - 1)
        })
    }

    /// The peer closed its side, or the socket failed.
    pub fn lost(&mut self, session: SessionIx, reason: EndReason) {
        if self.is_peer(session) {
            return self.fail(session, reason.word());
        }
        self.tell(Input::Lost { session, reason });
        if reason == EndReason::TransportFailed
            && let Some(link) = self.link_mut(session)
            && link.stage != Stage::Shut
        {
            link.shut();
        }
        self.advance(session);
    }

    /// A flight is over.
    pub fn sent(
        &mut self,
        session: SessionIx,
        mut flight: Box<crate::ring::Flight>,
        is_lost: bool,
    ) {
        let is_peer = self.is_peer(session);
        if is_peer {
            self.sent_to_peer(&flight, is_lost);
        }
        let Self { links, budget, spares, now, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return };
        link.is_sending = false;
        link.sent_at = *now;
        if is_peer {
            // Counted above.
        } else if is_lost {
            let messages: u64 = flight.pieces.iter().map(Piece::messages).sum();
            self.probe.dropped(DropReason::SessionEnded, messages);
        } else {
            self.probe.bytes_out.add(flight.bytes() as u64);
        }
        link.outbound.landed(&mut flight.pieces, budget, spares);
        link.flight = Some(flight);
        if is_lost {
            return self.lost(session, EndReason::TransportFailed);
        }
        self.mark_dirty(session);
        self.advance(session);
    }

    /// What is due by the clock and by other shards.
    pub fn keep_up(&mut self, mail: &mut Vec<(ShardIx, mpreg_fabric::handoff::Handoff)>) {
        while let Some(command) = self.mesh.bell().next_command() {
            match command {
                Command::Stop => {
                    self.is_stopping = true;
                    self.tell(Input::Stop);
                    self.retire_all();
                }
                Command::LameDuck => self.lame_duck(),
                Command::Verified(answer) => self.verified(answer),
                Command::List(question) => self.list(&question),
                Command::Reload { accounts, desk } => self.reload(accounts, desk),
                Command::PeerLink(link) => self.take_link(*link),
                Command::View { view, stale } => self.view(view, &stale),
                Command::Function(changed) => self.function_elsewhere(&changed),
                Command::News { frame } => self.deliver_news(&frame),
                Command::Trace { topic, number } => self.begin_trace(&topic, number),
                Command::TraceCall { to, topic, number } => {
                    self.begin_call_trace(to, &topic, number);
                }
            }
        }
        self.mesh.receive(mail);
        for (from, handoff) in mail.drain(..) {
            self.hear(from, handoff);
        }
        if self.machine.deadline().is_some_and(|(at, _why)| at <= self.now) {
            self.tell(Input::DeadlineReached);
        }
        while let Some(&(at, session)) = self.going.first() {
            if self.now < at {
                break;
            }
            self.going.pop_first();
            if self.is_peer(session) {
                self.fail(session, "its time is over");
                continue;
            }
            if let Some(link) = self.link_mut(session)
                && link.stage != Stage::Shut
            {
                link.shut();
            }
            self.advance(session);
        }
        while let Some(&(at, session)) = self.introducing.first()
            && at <= self.now
        {
            self.introduce_late(session, false);
        }
        // Who ends before its commands end ends with what was there.
        self.keep_graphs();
        self.keep_calls();
        self.keep_instances();
        self.resume_paused();
        self.feel_pulses();
        if let Some(fabric) = &mut self.fabric {
            fabric.reporter.flush();
        }
    }

    /// When something is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.deadline().map(|(at, _why)| at);
        let calls = self.desk.deadline();
        let graphs = self.graphs.desk.deadline().map(|(at, _why)| at);
        let going = self.going.first().map(|&(at, _)| at);
        let introducing = self.introducing.first().map(|&(at, _)| at);
        let of_link =
            |session: &SessionIx| Some(self.links.get(session.0 as usize)?.as_ref()?.paused_until);
        let paused = self.paused.iter().filter_map(of_link).filter(|&until| self.now < until).min();
        let is_telling = self.fabric.as_ref().is_some_and(|at| at.reporter.is_waiting());
        let telling = is_telling.then(|| self.now + WAIT_MAX);
        let pulses = self.fabric.as_ref().map(|at| at.pulses_due).filter(|at| *at < Instant::NEVER);
        let telling = telling.into_iter().chain(pulses);
        machine
            .into_iter()
            .chain(calls)
            .chain(graphs)
            .chain(going)
            .chain(introducing)
            .chain(paused)
            .chain(telling)
            .min()
    }

    /// Stopped, and every client is gone.
    pub fn is_over(&self) -> bool {
        self.is_stopping && self.links.iter().all(Option::is_none) && !self.mesh.is_waiting()
    }

    /// Nobody is taken in any more.
    pub fn is_closed(&self) -> bool {
        self.is_stopping || self.is_lame
    }

    pub fn link_mut(&mut self, session: SessionIx) -> Option<&mut Link> {
        self.links.get_mut(session.0 as usize)?.as_mut()
    }

    pub fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        Some(self.links.get(slot as usize)?.as_ref()?.socket())
    }

    /// Takes what goes out next on a link that is not plain, carried by its transport. Says how many
    /// bytes.
    pub fn seal(&mut self, session: SessionIx, pieces: &mut Vec<Piece>) -> usize {
        if self.is_peer(session) {
            self.take_flight_to_peer(session, pieces);
        }
        let Self { links, spares, .. } = self;
        let Some(Some(link)) = links.get_mut(session.0 as usize) else { return 0 };
        let mut wire = std::mem::take(&mut link.wire);
        if link.transport.is_established() {
            if link.peer.is_none() {
                link.outbound.take_flight(pieces);
            }
            let slices: Vec<&[u8]> = pieces.iter().map(Piece::bytes).collect();
            if !slices.is_empty()
                && let Err(error) = link.transport.seal(&slices, &mut wire)
            {
                tracing::debug!(session = session.0, %error, "sealing");
            }
        }
        let bytes = wire.len();
        if bytes != 0 {
            link.outbound.carried(pieces, wire, spares);
        }
        bytes
    }

    /// Publishes what is not counted as it happens.
    pub fn publish_gauges(&self) {
        self.probe.queued_bytes.set(self.budget.used as u64);
        self.probe.subscriptions.set(self.machine.subscriptions_count() as u64);
        self.probe.held_bytes.set(self.machine.held_bytes() as u64);
        self.probe.routes_cached.set(self.machine.routes_count() as u64);
        self.probe.calls.look(&self.desk.machine, &self.graphs.desk);
        let counts = self.mesh.counts;
        self.probe.handoffs_out.set(counts.sent);
        self.probe.handoffs_in.set(counts.received);
        self.probe.handoff_waits.set(counts.waits);
        self.probe.wakes.set(counts.wakes);
    }

    /// Feeds the machine and does what it wants.
    fn tell(&mut self, input: Input<'_>) {
        self.machine.handle(input, self.now, &mut self.effects);
        self.perform();
    }

    fn mark_dirty(&mut self, session: SessionIx) {
        if let Some(Some(link)) = self.links.get_mut(session.0 as usize)
            && !link.is_dirty
        {
            link.is_dirty = true;
            self.dirty.push(session);
        }
    }

    /// Takes a link as far towards its end as it can go.
    pub fn advance(&mut self, session: SessionIx) {
        let until = self.now + LINGER;
        let has_jobs = self.has_jobs(session);
        let Some(link) = self.link_mut(session) else { return };
        let is_sent = link.outbound.is_empty()
            && link.wire.is_empty()
            && !link.is_sending
            && !link.is_squeezed;
        match link.stage {
            Stage::Opened if link.awaits_empty && is_sent && !has_jobs => {
                link.awaits_empty = false;
                self.tell(Input::Emptied { session });
            }
            Stage::Opened => (),
            Stage::Flushing if is_sent && !link.is_closing && !link.transport.is_plain() => {
                link.is_closing = true;
                link.transport.close(&mut link.wire);
                self.mark_dirty(session);
            }
            Stage::Flushing if is_sent => {
                link.shut_writing();
                if !link.is_receiving {
                    link.shut();
                    self.advance(session);
                } else if until < link.linger_until {
                    let was = std::mem::replace(&mut link.linger_until, until);
                    self.going.remove(&(was, session));
                    self.going.insert((until, session));
                }
            }
            Stage::Flushing => (),
            Stage::Shut if link.is_idle() => self.close(session),
            Stage::Shut => (),
        }
    }

    fn close(&mut self, session: SessionIx) {
        if self.is_peer(session) {
            return self.close_peer(session);
        }
        self.settle_session(session);
        let Self { links, budget, spares, .. } = self;
        let Some(mut link) = links.get_mut(session.0 as usize).and_then(Option::take) else {
            return;
        };
        let messages = link.outbound.clear(budget, spares);
        budget.used -= link.partial.len();
        self.probe.dropped(DropReason::SessionEnded, messages);
        self.going.remove(&(link.linger_until, session));
        if let Some(at) = link.nats.as_ref().and_then(|client| client.introduced_at) {
            self.introducing.remove(&(at, session));
        }
        self.connections.give_back();
        drop(link);
        self.tell(Input::Closed { session });
    }

    fn start_going(&mut self, session: SessionIx, reason: EndReason) {
        let until = self.now + if self.is_stopping { self.drain } else { LINGER };
        let Some(link) = self.link_mut(session) else { return };
        if link.stage == Stage::Opened {
            link.stage = Stage::Flushing;
            link.linger_until = until;
            self.going.insert((until, session));
            self.probe.ended(reason);
        }
        self.mark_dirty(session);
    }

    /// Stops reading from a publisher until there is room for what it sends.
    fn pause_if_congested(&mut self, session: SessionIx) {
        let held = mpreg_fabric::limits::HELD_BYTES_MAX < self.machine.held_bytes();
        let is_congested = held || self.mesh.is_congested();
        let (stall, link_stall, now) = (self.stall, self.link_stall, self.now);
        let Some(link) = self.link_mut(session) else { return };
        let stall = if link.nats.is_some() { stall.max(link_stall) } else { link_stall };
        let has_stalled = !stall.is_zero();
        if !is_congested && !link.is_behind_itself() && !has_stalled {
            return;
        }
        if has_stalled {
            link.paused_until = link.paused_until.max(now + stall);
        }
        if !link.is_paused && link.stage == Stage::Opened {
            link.is_paused = true;
            self.paused.push(session);
            self.to_cancel.push(session);
            self.probe.reading_paused.add(1);
        }
    }

    fn resume_paused(&mut self) {
        let held = mpreg_fabric::limits::HELD_BYTES_MAX < self.machine.held_bytes();
        if self.paused.is_empty() || held || self.mesh.is_congested() {
            return;
        }
        let now = self.now;
        for session in std::mem::take(&mut self.paused) {
            let Some(link) = self.link_mut(session) else { continue };
            let waits = link.is_behind_itself() || now < link.paused_until;
            if waits && link.stage == Stage::Opened {
                self.paused.push(session);
            } else {
                link.is_paused = false;
                self.to_arm.push(session);
            }
        }
    }
}

/// Tells a connection that has no session why it gets none. What does not fit its empty socket
/// buffer is not worth waiting for.
fn refuse_at_the_door(socket: &OwnedFd, door: Door, code: ErrorCode) {
    let mut bytes = Vec::new();
    match door {
        Door::Native => {
            Frame::Error(Refusal { code, sid: Sid(0), text: code.advice() }).put(&mut bytes);
        }
        Door::Nats => nats::put_error(nats::error_text(code), &mut bytes),
        // There are no words before the handshake.
        Door::NatsTls | Door::WebSocket | Door::WebSocketTls => return,
    }
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    if let Err(error) = rustix::net::send(socket, &bytes, flags) {
        tracing::debug!(%error, "refusing a connection");
    }
}
