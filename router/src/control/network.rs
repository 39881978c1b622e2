//! Performs what the control core's machine (`fabric::control`) wants, and tells it what happened.
//!
//! ```text
//!   links ------ Event --+                    +--> Admit, Use, Close, Send, Dial --> links
//!   disk ------ Outcome -+--> Input --> handle +--> Persist ------------------------> disk
//!   deadline, commands --+                    +--> Fact ---------------------------> logs, counters
//! ```
//!
//! Nothing is decided here, but when a data link is dialled again (`data_links.rs`). Each turn feeds inputs
//! until none follows from what was performed. What the machine is told can be recorded (`recorder.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;
use mio::event::Event as Ready;
use mpreg_fabric::catalog::Key;
use mpreg_fabric::control::{
    Command, Control, Effect, End, Fact, Input, LinkUp, Origin, Record, Ticket,
};
use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::route::{Provided, WallClock};
use mpreg_fabric::time::Instant;
use mpreg_proto::catalog::{Kind, Scope};
use mpreg_proto::id::{Incarnation, NodeId, ShardIx};
use mpreg_proto::member::{LeaveReason, PeerAddress};
use mpreg_proto::peer::{Lane, Plane};

use super::data_links::DataLinks;
use super::facts;
use super::news::{Announcer, Told};
use super::question::{self, Order, Question};
use super::recorder::{Recorder, feed};
use super::report::Report;
use super::seed_file::SeedFile;
use super::services::Services;
use crate::clock::since_1970;
use crate::mesh::{self, Bell};
use crate::peer::{self, Event, NotQueued, NotSent, Peers};
use crate::peer_link::{Direction, PeerLink};
use crate::store;
use crate::store::writer::{Busy, Change, Outcome, Writer};

/// What survives this process.
#[derive(Debug)]
pub enum Disk {
    /// Nothing does: there is no data directory.
    None,
    Kept {
        writer: Writer,
        outcomes: Receiver<Outcome>,
    },
}

/// What the machine's shell has to do with besides links.
pub struct Surroundings {
    pub disk: Disk,
    /// Nodes to begin with, as configured, and a file of more of them.
    pub configured: Vec<PeerAddress>,
    pub seed_file: Option<PathBuf>,
    /// Names that stand for more of them.
    pub services: Option<Services>,
    /// What is known of keys of routes: others are told of it.
    pub keys: Vec<Provided>,
    /// Of all shards.
    pub bells: Arc<[Bell]>,
    pub rng: Rng,
    /// Of what the machine is told.
    pub recorder: Option<Recorder>,
}

/// Other nodes, and what there is to say to them.
pub struct Network {
    control: Control,
    peers: Peers,
    disk: Disk,
    /// What waits for the writer.
    unwritten: VecDeque<Change>,
    /// Incarnations that are being written: links are of them once they are.
    renewals: BTreeMap<Ticket, Incarnation>,
    configured: Vec<PeerAddress>,
    seed_file: Option<SeedFile>,
    services: Option<Services>,
    inputs: VecDeque<Input>,
    bells: Arc<[Bell]>,
    /// When the time of day is read next.
    wall_due: Instant,
    data_links: DataLinks,
    announcer: Announcer,
    recorder: Option<Recorder>,
    /// The shard that serves the next data link that another node opened.
    next_shard: usize,
    has_said_goodbye: bool,
}

/// The machine goes on with its own time in between.
const WALL_EVERY: Duration = Duration::from_secs(60);

pub fn wall_clock(now: Instant) -> WallClock {
    WallClock { unix_seconds: since_1970().as_secs(), at: now }
}

impl Network {
    pub fn new(control: Control, peers: Peers, surroundings: Surroundings) -> Self {
        let Surroundings { disk, configured, seed_file, services, keys, bells, rng, recorder } =
            surroundings;
        let keys = keys.into_iter().map(|key| Input::Command(Command::Key(key)));
        let inputs = [Input::Started].into_iter().chain(keys).collect();
        Self {
            data_links: DataLinks::new(bells.len(), rng),
            recorder,
            announcer: Announcer::new(control.view().here.node),
            next_shard: 0,
            control,
            peers,
            disk,
            unwritten: VecDeque::new(),
            renewals: BTreeMap::new(),
            configured,
            seed_file: seed_file.map(SeedFile::new),
            services,
            inputs,
            bells,
            wall_due: Instant::START,
            has_said_goodbye: false,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        if !self.inputs.is_empty() {
            return Instant::START;
        }
        let of_machine = self.control.deadline().map_or(Instant::NEVER, |(at, _why)| at);
        let of_file = self.seed_file.as_ref().map_or(Instant::NEVER, SeedFile::deadline);
        let of_data = self.data_links.deadline();
        let of_names = self.services.as_ref().filter(|_| self.is_alone());
        let of_names = of_names.map_or(Instant::NEVER, Services::deadline);
        of_machine.min(of_file).min(of_names).min(of_data).min(self.peers.deadline())
    }

    /// Says goodbye to everybody. [`Self::has_left`] once that is done.
    pub(super) fn leave(&mut self, reason: LeaveReason, now: Instant) {
        (self.seed_file, self.services) = (None, None);
        self.peers.stop();
        self.inputs.push_back(Input::Command(Command::Leave { reason }));
        self.settle(now);
    }

    /// A shard has something to say.
    pub(super) fn hear(&mut self, report: Report, now: Instant) {
        match report {
            Report::Want(want) => {
                self.announcer.hear(&want);
                self.inputs.push_back(Input::Want(want));
            }
            Report::PeerLost { peer, shard, direction: Direction::Outgoing } => {
                self.data_links.lost(peer, shard, now);
                self.inputs.push_back(Input::LinkFailed { peer });
            }
            Report::Fared { peer, is_working } => self.inputs.push_back(match is_working {
                true => Input::LinkWorked { peer },
                false => Input::LinkFailed { peer },
            }),
            Report::Function { name, body } => {
                let (scope, key) = (Scope::Fabric, Key { kind: Kind::FUNCTION, name });
                self.inputs.push_back(Input::Command(match body {
                    Some(body) => Command::Offer { scope, key, body },
                    None => Command::Retract { scope, key },
                }));
            }
            // Who opened it opens another.
            Report::PeerLost { direction: Direction::Incoming, .. } => (),
        }
    }

    /// An operator asks.
    pub(super) fn answer(&mut self, question: Question, now: Instant) {
        match question::answer(question, &self.control, now) {
            None => (),
            Some(Order::Offer { command, answer }) => {
                let facts = self.follow(vec![*command], now);
                let mut done = Ok(());
                for fact in &facts {
                    if let Fact::NotOffered { why, .. } = fact {
                        done = Err(*why);
                    }
                }
                if answer.send(done).is_err() {
                    tracing::debug!("who offered something no longer waits to hear of it");
                }
            }
            Some(Order::Apply { commands, answer }) => {
                let facts = self.follow(commands, now);
                let applied = question::applied(&facts, &self.control);
                if answer.send(applied).is_err() {
                    tracing::debug!("who changed the policy no longer waits to hear of it");
                }
            }
        }
    }

    /// Has the machine do this now; what it says of that.
    fn follow(&mut self, commands: Vec<Command>, now: Instant) -> Vec<Fact> {
        // What waits was said before it.
        self.settle(now);
        let (mut effects, mut facts) = (Vec::new(), Vec::new());
        for command in commands {
            let input = Input::Command(command);
            feed(&mut self.control, self.recorder.as_mut(), input, now, &mut effects);
        }
        for effect in effects {
            if let Effect::Fact(fact) = &effect {
                facts.push(fact.clone());
            }
            self.perform(effect, now);
        }
        self.settle(now);
        facts
    }

    /// Everybody was told, and has hung up.
    pub(super) fn has_left(&self) -> bool {
        self.has_said_goodbye && self.peers.are_silent()
    }

    /// Once a second: shows operators how things are, and the machine what time of day it is.
    pub(super) fn look(&mut self, now: Instant) {
        if self.wall_due <= now {
            self.wall_due = now + WALL_EVERY;
            self.inputs.push_back(Input::WallClockRead(wall_clock(now)));
        }
        self.peers.publish();
        let (probe, (differing, lacking)) = (self.peers.probe(), self.control.disagreement());
        probe.members.set(self.control.members().count() as u64);
        probe.catalogs_differing.set(differing as u64);
        probe.feeds_lacking.set(lacking as u64);
    }

    /// Does what can be done without waiting.
    pub(super) fn turn<'a>(&mut self, ready: impl Iterator<Item = &'a Ready>, now: Instant) {
        ready.for_each(|ready| self.peers.ready(ready));
        for (node, shard) in self.data_links.due(now) {
            self.peers.dial_data(node, shard);
        }
        let mut events = Vec::new();
        self.peers.turn(now, &mut events);
        events.into_iter().for_each(|event| self.happened(event, now));
        self.hear_disk();
        self.look_for_seeds(now);
        if self.control.deadline().is_some_and(|(at, _why)| at <= now) {
            self.inputs.push_back(Input::DeadlineReached);
        }
        self.settle(now);
    }

    /// Nobody is linked.
    fn is_alone(&self) -> bool {
        self.control.peers().next().is_none()
    }

    /// Reads and asks for nodes to begin with, if that is due.
    fn look_for_seeds(&mut self, now: Instant) {
        let mut is_changed = self.seed_file.as_mut().is_some_and(|file| file.is_changed(now));
        let is_alone = self.is_alone();
        if let Some(services) = &mut self.services {
            if is_alone {
                services.ask(now);
            }
            if let Some(heard) = services.hear(now) {
                is_changed |= heard.is_changed;
                let failed = &self.peers.probe().services_failed;
                heard.failures.into_iter().for_each(|reason| failed.add(reason));
            }
        }
        if is_changed {
            let of_file = self.seed_file.iter().flat_map(SeedFile::listed);
            let of_names = self.services.iter().flat_map(Services::listed);
            let seeds = self.configured.iter().chain(of_file).chain(of_names).cloned().collect();
            self.inputs.push_back(Input::Command(Command::Seeds(seeds)));
        }
    }

    /// Feeds what happened until nothing more follows from it.
    fn settle(&mut self, now: Instant) {
        let mut effects = Vec::new();
        while let Some(input) = self.inputs.pop_front() {
            feed(&mut self.control, self.recorder.as_mut(), input, now, &mut effects);
            for effect in effects.drain(..) {
                self.perform(effect, now);
            }
        }
    }

    fn happened(&mut self, event: Event, now: Instant) {
        let input = match event {
            Event::LinkUp(up) => link_up(up),
            Event::LinkDown { link, end, .. } => Input::LinkDown { link, end: end_of(end) },
            Event::Received { link, plane, body, .. } => Input::Received { link, plane, body },
            Event::Measured { node, round_trip } => Input::Measured { peer: node, round_trip },
            Event::DialFailed { address, .. } => Input::DialFailed { address },
            Event::Data { link, shard } => return self.hand_over(link, shard, now),
            Event::DataFailed { node, shard, .. } => {
                return self.data_links.lost(node, shard, now);
            }
        };
        self.inputs.push_back(input);
    }

    /// To the shard it was dialled for, or to each in turn.
    fn hand_over(&mut self, link: Box<PeerLink>, shard: Option<ShardIx>, now: Instant) {
        let index = match shard {
            Some(shard) => {
                self.data_links.served(link.peer, shard, now);
                shard.index()
            }
            None => {
                self.next_shard = (self.next_shard + 1) % self.bells.len();
                self.next_shard
            }
        };
        self.bells[index].command(mesh::Command::PeerLink(link));
    }

    fn perform(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Admit { link } => self.peers.admit(link, now),
            Effect::Use { peer, link } => self.peers.send_over(peer, link),
            Effect::Close { link, why } => {
                let mut events = Vec::new();
                self.peers.close(link, why, now, &mut events);
                events.into_iter().for_each(|event| self.happened(event, now));
            }
            Effect::Send { to, lane, plane, body } => self.send(to, lane, plane, &body),
            Effect::Dial { address, node } => {
                if !self.peers.dial(address.clone(), node) {
                    self.inputs.push_back(Input::DialFailed { address });
                }
            }
            Effect::Persist { ticket, record } => self.persist(ticket, record),
            Effect::View { view, stale } => {
                self.data_links.follow(&view.peers.keys().copied().collect(), now);
                self.peers.circuits(&view.links);
                for bell in self.bells.iter() {
                    let (view, stale) = (Arc::clone(&view), stale.clone());
                    bell.command(mesh::Command::View { view, stale });
                }
            }
            Effect::Left => self.has_said_goodbye = true,
            Effect::Fact(fact) => {
                facts::record(&fact, self.peers.probe());
                self.announce(&fact, now);
                self.spread_function(fact);
            }
        }
    }

    /// Tells clients of this node that listen.
    fn announce(&mut self, fact: &Fact, now: Instant) {
        let (Told { frames, dropped }, probe) =
            (self.announcer.tell(fact, now), self.peers.probe());
        probe.news.add(frames.len() as u64);
        probe.news_dropped.add(dropped);
        for frame in frames {
            for bell in self.bells.iter() {
                bell.command(mesh::Command::News { frame: frame.clone() });
            }
        }
    }

    /// Tells shards what another node offers of a function, and how calls are split, whoever says so.
    fn spread_function(&self, fact: Fact) {
        let Fact::Entry(changed) = fact else { return };
        let is_elsewhere = changed.feed.node != self.control.view().here.node;
        if changed.key.kind == Kind::SPLIT || (changed.key.kind == Kind::FUNCTION && is_elsewhere) {
            let changed = Arc::new(changed);
            for bell in self.bells.iter() {
                bell.command(mesh::Command::Function(Arc::clone(&changed)));
            }
        }
    }

    fn send(&mut self, to: NodeId, lane: Lane, plane: Plane, body: &[u8]) {
        match self.peers.send(to, plane as u8, lane, body) {
            Ok(()) => (),
            Err(NotSent::Queue(NotQueued::Full)) => {
                self.inputs.push_back(Input::Refused { to, lane });
            }
            Err(NotSent::Queue(NotQueued::TooLong)) => {
                tracing::error!(node = %to, plane = plane.word(), "a frame is too long");
            }
            // Its link has ended in this very turn, which the machine is about to hear.
            Err(NotSent::NoLink) => (),
        }
    }

    fn persist(&mut self, ticket: Ticket, record: Record) {
        let (record, body) = match record {
            Record::Incarnation(incarnation) => {
                self.renewals.insert(ticket, incarnation);
                (store::Record::Incarnation, incarnation.0.to_le_bytes().to_vec())
            }
            Record::RouteSequence(upto) => {
                (store::Record::RouteSequence, store::version_bytes(upto).to_vec())
            }
            Record::RouteKeys(keys) => (store::Record::RouteKeys, keys.to_vec()),
            Record::CatalogHints(hints) => (store::Record::CatalogHints, hints.to_vec()),
        };
        match &self.disk {
            Disk::None => self.persisted(ticket),
            Disk::Kept { .. } => {
                // Of what nobody waits for, the last word takes the place of those before it.
                if [store::Record::RouteKeys, store::Record::CatalogHints].contains(&record) {
                    self.unwritten.retain(|waiting| waiting.record != record);
                }
                self.unwritten.push_back(Change { ticket: ticket.0, record, body });
                self.write();
            }
        }
    }

    /// What the disk is too busy for waits, in order, until something was written.
    fn write(&mut self) {
        let Disk::Kept { writer, .. } = &self.disk else { return };
        while let Some(change) = self.unwritten.pop_front() {
            if let Err(Busy(change)) = writer.keep(change) {
                return self.unwritten.push_front(change);
            }
        }
    }

    fn hear_disk(&mut self) {
        let Disk::Kept { outcomes, .. } = &self.disk else { return };
        let outcomes: Vec<Outcome> = outcomes.try_iter().collect();
        let mut kept = Vec::new();
        let probe = self.peers.probe();
        for outcome in outcomes {
            probe.store_failing.set(u64::from(outcome == Outcome::Failing));
            match outcome {
                Outcome::Kept { ticket } => kept.push(Ticket(ticket)),
                // It is tried again; what waits for it waits on.
                Outcome::Failing => probe.store_failures.add(1),
                Outcome::Refused { .. } => probe.store_refused.add(1),
            }
        }
        kept.into_iter().for_each(|ticket| self.persisted(ticket));
        self.write();
    }

    fn persisted(&mut self, ticket: Ticket) {
        if let Some(incarnation) = self.renewals.remove(&ticket) {
            self.peers.renew(incarnation);
        }
        self.inputs.push_back(Input::Persisted { ticket });
    }
}

fn link_up(up: peer::LinkUp) -> Input {
    let peer::LinkUp { link, name, incarnation, dialled, .. } = up;
    let origin = dialled.map_or(Origin::Accepted, |address| Origin::Dialled { address });
    let (peer, cluster) = (name.node, name.cluster);
    Input::LinkUp(LinkUp { link, peer, cluster, incarnation, origin })
}

/// Whether one of both meant it.
fn end_of(end: LinkEndReason) -> End {
    let is_meant = matches!(
        end,
        LinkEndReason::Closed
            | LinkEndReason::Refused(_)
            | LinkEndReason::Replaced
            | LinkEndReason::Departed
            | LinkEndReason::Stopped
    );
    if is_meant { End::Closed } else { End::Lost }
}
