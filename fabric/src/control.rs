//! The control core of a node: who its peers are, what they offer, and which way to them.
//!
//! The root machine of the control core. It joins the leaves and nothing else: what one says is
//! handed to the others here, and leaves never name each other.
//!
//! ```text
//!   member, dial --links--> gossip --entries--> want --who wants what--> View
//!                    |                            |
//!                    |                            +--what this node wants--> gossip
//!                    +----> route, link_state, breaker --ways--> plan --> View
//! ```
//!
//! What it asks of its shell and answers:
//!
//! ```text
//!   links    --> handle --> Effect::{Admit, Close, Dial}  --> the shell's connections
//!   frames   --> handle --> Effect::Send                  --> links, by lane
//!   shards   --> handle --> Effect::View                  --> all shards, swapped by pointer
//!   disk     --> handle --> Effect::Persist               --> disk
//! ```
//!
//! Several links with one node may stand while both ends find out which stays: all are read, and what
//! is sent goes over the one that `Use` named last.
//!
//! Invariants:
//! - Each link is answered with `Admit` or `Close` at once, and closed at most once.
//! - Nothing is sent to a node before a link of it is used, nor after that one is closed or down.
//! - Shards see a peer from the first `Use` of a link of it until its last link is gone.
//! - No link with a cluster that the federation mode does not allow is admitted.
//! - A view is told once per input at most, and only if it is another than before.
//!
//! Each plane keeps to a lane or two of its own, so that a `Refused` names who was refused.
//!
//! Parts: `settings.rs`, `cluster.rs` joins `member` and `dial`, `relay.rs` carries packets between members
//! that are not linked, `offers.rs` joins `gossip` and `want`, `ways.rs` joins what decides ways, `links.rs`
//! signs what is said of links, `hints.rs` keeps what is known for the next life, `explain.rs` answers
//! questions, `record.rs` writes down all of it to be played again; `tests.rs`. Whole fabrics are tested in
//! the simulator of many nodes (`tests/src/mesh.rs`).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::catalog::{Kind, Scope};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, ShardIx, Version};
use mpreg_proto::member::{LeaveReason, Life, PeerAddress};
use mpreg_proto::peer::{Lane, Plane};

use crate::breaker::{self, Circuit};
use crate::catalog::{self, Key};
use crate::dial::{self, Dialler};
use crate::gossip::{self, Gossip};
use crate::link_state::{self, LinkState};
use crate::member::{self, Member, Membership};
use crate::plan::{Federation, Judgement};
use crate::rng::Rng;
use crate::route::{self, Routes, WallClock};
use crate::time::Instant;
use crate::want::{self, InterestView, Stale, Wants};
use crate::way::{self, LinkStateMode, Ways};

mod cluster;
mod explain;
mod gauge;
mod hints;
mod links;
mod offers;
pub mod record;
mod relay;
mod settings;
mod ways;

pub use crate::dial::{CloseReason, End, LinkId, Origin};
pub use explain::{Candidate, Explanation};
use gauge::Gauge;
pub use hints::Hint;
use hints::Hints;
use links::Unproven;
use settings::Start;
pub use settings::{LinkStateSettings, RouteSettings, Settings};

/// What can happen to the control core.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Input {
    /// The node runs. Said once, before everything else.
    Started,
    /// A link is up and the peer's identity is proven. Nothing is read from it before `Admit`.
    LinkUp(LinkUp),
    /// A link is down; also said of links that `Close` named.
    LinkDown {
        link: LinkId,
        end: End,
    },
    /// No link came of a `Dial`: nobody there, or not who was expected.
    DialFailed {
        address: PeerAddress,
    },
    /// A frame of an admitted link; messages and what links answer themselves left out.
    Received {
        link: LinkId,
        plane: u8,
        body: Vec<u8>,
    },
    /// The lane had no room for a `Send`, which was dropped.
    Refused {
        to: NodeId,
        lane: Lane,
    },
    /// What clients of one shard subscribe to. Zero members take the want back.
    Want(Want),
    /// The record of this ticket is on disk.
    Persisted {
        ticket: Ticket,
    },
    /// How long a ping took to come back.
    Measured {
        peer: NodeId,
        round_trip: Duration,
    },
    /// A message for this peer did not go out, or went nowhere.
    LinkFailed {
        peer: NodeId,
    },
    /// Messages for this peer went out.
    LinkWorked {
        peer: NodeId,
    },
    /// The time of day: when it was set, and every minute.
    WallClockRead(WallClock),
    Command(Command),
    DeadlineReached,
}

/// A link that is up, with what its hello said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinkUp {
    pub link: LinkId,
    pub peer: NodeId,
    pub cluster: ClusterName,
    pub incarnation: Incarnation,
    pub origin: Origin,
}

/// What an operator may ask.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Command {
    /// Say goodbye to everyone. [`Effect::Left`] says when that is done.
    Leave {
        reason: LeaveReason,
    },
    /// Offer this entry to others, or offer it otherwise, until it is taken back.
    Offer {
        scope: Scope,
        key: Key,
        body: Bytes,
    },
    Retract {
        scope: Scope,
        key: Key,
    },
    /// Another policy about routes, as a whole.
    Policy {
        policy: Box<route::Policy>,
        held: route::Held,
    },
    /// Which entries of other clusters are to be seen, as a whole.
    Filter(catalog::Filter),
    /// A key that routes are signed with, or the end of one.
    Key(route::Provided),
    /// What this cluster's routes are signed with from here on.
    Signer(Option<route::Signer>),
    /// These are the nodes to dial that nobody told of, from here on.
    Seeds(Vec<PeerAddress>),
}

/// One shard's subscribers of one pattern in one queue group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Want {
    pub shard: ShardIx,
    /// A `catalog::Want`.
    pub name: Bytes,
    pub members: u32,
}

/// What the control core wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Read from this link.
    Admit {
        link: LinkId,
    },
    /// What is sent to this peer goes over this link from here on.
    Use {
        peer: NodeId,
        link: LinkId,
    },
    /// End this link, once what was sent before is written.
    Close {
        link: LinkId,
        why: CloseReason,
    },
    /// Queue a frame for a peer.
    Send {
        to: NodeId,
        lane: Lane,
        plane: Plane,
        body: Bytes,
    },
    /// Open a link. The node is who is expected to answer, if that is known.
    Dial {
        address: PeerAddress,
        node: Option<NodeId>,
    },
    /// Write it down, then say `Persisted`.
    Persist {
        ticket: Ticket,
        record: Record,
    },
    /// What shards go by from here on, and of which topics it is no longer right who was remembered
    /// to want them. Ways are not to be remembered.
    View {
        view: Arc<View>,
        stale: Stale,
    },
    /// Everyone was told goodbye: the process may end once its links are written.
    Left,
    Fact(Fact),
}

/// Identifies one `Persist`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Ticket(pub u64);

/// What a node keeps for its next life. A later one of a kind takes the place of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The life this node is in.
    Incarnation(Incarnation),
    /// Numbers of routes that may be used up to here: [`RouteSettings::stored`] of the next life.
    RouteSequence(Version),
    /// Keys of clusters: [`RouteSettings::keys`] of the next life.
    RouteKeys(Bytes),
    /// What others offered: [`Settings::hints`] of the next life, as [`Hint::parse`] reads it.
    CatalogHints(Bytes),
}

/// What shards need to know of other nodes. Never changed: a change is another view.
#[derive(Clone, Debug)]
pub struct View {
    pub here: Here,
    /// Nodes with an admitted link.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Links with the same nodes, ascending, as far as ways go.
    pub links: Vec<way::Link>,
    /// Ways to other clusters, ascending.
    pub clusters: Vec<Ways<ClusterId>>,
    /// Ways to nodes of this cluster that are not all linked, ascending.
    pub nodes: Vec<Ways<NodeId>>,
    /// Who else wants what.
    pub interest: Arc<InterestView>,
}

impl View {
    /// Of a node that knows no other.
    pub fn alone(here: Here) -> Self {
        Self {
            here,
            peers: BTreeMap::new(),
            links: Vec::new(),
            clusters: Vec::new(),
            nodes: Vec::new(),
            interest: Arc::default(),
        }
    }

    /// Whether it is the same but for who wants what.
    fn is_same(&self, other: &Self) -> bool {
        self.peers == other.peers
            && self.links == other.links
            && self.clusters == other.clusters
            && self.nodes == other.nodes
    }

    /// What ways are looked up in.
    pub fn table(&self) -> way::Table<'_> {
        let Self { here, links, clusters, nodes, .. } = self;
        way::Table { here: *here, clusters, nodes, links }
    }
}

/// A node at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What is sent to it goes here.
    pub link: LinkId,
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
}

/// What is worth counting or logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    PeerUp {
        peer: NodeId,
    },
    PeerDown {
        peer: NodeId,
        end: End,
    },
    MemberUp(Member),
    MemberDown {
        node: NodeId,
        incarnation: Incarnation,
        why: member::Why,
    },
    /// A frame of a plane that this version does not know, or that is not for the control core.
    PlaneUnknown {
        from: NodeId,
        plane: u8,
    },
    /// Something for a node without a link, which was dropped.
    Unlinked {
        to: NodeId,
    },
    /// A frame that is none of its plane.
    Unreadable {
        from: NodeId,
        plane: Plane,
        code: ErrorCode,
    },
    /// A link of a cluster that the federation mode does not allow.
    ClusterRefused {
        peer: NodeId,
        judgement: Judgement,
    },
    /// An entry came, changed or went; this node's too.
    Entry(catalog::Changed),
    /// What this node offers was not taken.
    NotOffered {
        key: Key,
        why: catalog::Refusal,
    },
    /// An entry of this node that should name a want, and names none.
    WantUnreadable {
        owner: NodeId,
    },
    Circuit {
        peer: NodeId,
        circuit: Circuit,
    },
    Member(member::Fact),
    Gossip(gossip::Fact),
    Route(route::Fact),
    /// A node says of its links what it did not say before.
    LinksChanged {
        node: NodeId,
        cluster: ClusterId,
        links: usize,
    },
    /// What a peer said of links has no effect.
    LinkState {
        from: NodeId,
        reason: link_state::Reject,
    },
}

pub struct Control {
    here: Here,
    federation: Federation,
    mode: LinkStateMode,
    /// Who is at the other end of each link, whether it is used or not.
    links: BTreeMap<LinkId, (NodeId, ClusterId)>,
    peers: BTreeMap<NodeId, Peer>,
    /// Of peers, and of some that were.
    gauges: BTreeMap<NodeId, Gauge>,
    breaker: breaker::Settings,
    member: Membership,
    dialler: Dialler,
    gossip: Gossip,
    wants: Wants,
    routes: Routes,
    link_state: LinkState,
    /// What waits for a key that has signed it.
    unproven: Vec<Unproven>,
    /// Nodes to dial that nobody told of.
    seeds: Vec<PeerAddress>,
    /// `None`: nothing is kept for the next life.
    hints: Option<Hints>,
    /// What is said once, at the start.
    start: Option<Start>,
    /// The last that shards were told.
    view: Arc<View>,
    /// What makes another view necessary, if it makes a difference.
    is_changed: bool,
    interest: Arc<InterestView>,
    stale: Option<Stale>,
    /// What waits for the disk.
    unwritten: BTreeMap<Ticket, Unwritten>,
    /// The greatest incarnation asked for.
    renewing: Incarnation,
    next_ticket: u64,
    due: Due,
}

/// When leaves want to be woken, as each said when it last had something to do.
#[derive(Clone, Copy, Debug)]
struct Due {
    gossip: Option<Instant>,
    wants: Option<Instant>,
    routes: Option<Instant>,
    link_state: Option<(Instant, &'static str)>,
    breakers: Option<(Instant, &'static str)>,
}

/// What follows once a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    Incarnation(Incarnation),
    Routes(route::Ticket),
    Nothing,
}

impl Control {
    pub fn new(settings: Settings) -> Self {
        let root = Rng::from_seed(settings.seed);
        let Settings { node, incarnation, .. } = settings;
        let here = Here { node, cluster: settings.cluster.id() };
        let life = Life { node, incarnation };
        let gossip = settings.gossip(here, root.stream(3));
        let routes = Routes::new(settings.routes(here), root.stream(4));
        let wants = Wants::new(node, here.cluster, root.stream(5).draw());
        let link_state = LinkState::new(settings.link_state(here), Instant::START);
        let due = Due {
            gossip: gossip.deadline(),
            wants: wants.deadline(),
            routes: routes.deadline(),
            link_state: link_state.deadline(),
            breakers: None,
        };
        Self {
            here,
            mode: settings.link_state.mode,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            gauges: BTreeMap::new(),
            breaker: settings.breaker,
            start: Some(Start::of(&settings)),
            member: Membership::new(life, settings.address, settings.member, root.stream(1)),
            dialler: Dialler::new(node, settings.dial, root.stream(2)),
            federation: settings.federation,
            gossip,
            interest: wants.view(),
            wants,
            routes,
            link_state,
            unproven: Vec::new(),
            seeds: settings.seeds.clone(),
            hints: settings.hints.clone().map(Hints::new),
            view: Arc::new(View::alone(here)),
            is_changed: false,
            stale: None,
            unwritten: BTreeMap::new(),
            renewing: incarnation,
            next_ticket: 0,
            due,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Started => self.started(now, out),
            Input::LinkUp(up) => self.link_up(up, now, out),
            Input::LinkDown { link, end } => {
                self.links.remove(&link);
                self.dial(dial::Input::LinkDown { link, end }, now, out);
            }
            Input::DialFailed { address } => {
                self.dial(dial::Input::DialFailed { address }, now, out);
            }
            Input::Received { link, plane, body } => self.received(link, plane, body, now, out),
            Input::Refused { to, lane } => self.refused(to, lane, now, out),
            Input::Want(Want { shard, name, members }) => {
                self.want(want::Input::Local { shard, name, members }, now, out);
            }
            Input::Persisted { ticket } => self.persisted(ticket, now, out),
            Input::Measured { peer, round_trip } => self.measured(peer, round_trip, now, out),
            Input::LinkFailed { peer } => self.tried(peer, breaker::Input::Failed, now, out),
            Input::LinkWorked { peer } => self.tried(peer, breaker::Input::Succeeded, now, out),
            Input::WallClockRead(wall) => self.route(route::Input::WallClockRead(wall), now, out),
            Input::Command(command) => self.command(command, now, out),
            Input::DeadlineReached => self.wake(now, out),
        }
        self.publish(out);
    }

    /// When it wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let Due { gossip, wants, routes, link_state, breakers } = self.due;
        let gossip = gossip.map(|at| (at, "gossip"));
        let wants = wants.map(|at| (at, "view of wants"));
        let routes = routes.map(|at| (at, "routes"));
        let hints = self.hints.as_ref().and_then(Hints::deadline).map(|at| (at, "hints"));
        let cluster = [self.member.deadline(), self.dialler.deadline()];
        let leaves = [breakers, gossip, wants, routes, link_state, hints];
        leaves.into_iter().chain(cluster).flatten().min()
    }

    fn started(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(Start { keys, about, filter }) = self.start.take() else { return };
        self.spread(gossip::Input::Filter(filter), now, out);
        self.provide(&keys, now, out);
        self.route(route::Input::DeadlineReached, now, out);
        let (scope, key) = (Scope::Fabric, Key::new(Kind::NODE, b""));
        self.spread(gossip::Input::Offer { scope, key, body: about }, now, out);
        self.reseed(now, out);
    }

    fn command(&mut self, command: Command, now: Instant, out: &mut Vec<Effect>) {
        match command {
            Command::Leave { reason } => self.leave(reason, now, out),
            Command::Offer { scope, key, body } => {
                self.spread(gossip::Input::Offer { scope, key, body }, now, out);
            }
            Command::Retract { scope, key } => {
                self.spread(gossip::Input::Retract { scope, key }, now, out);
            }
            Command::Policy { policy, held } => {
                self.route(route::Input::PolicyChanged { policy, held }, now, out);
            }
            Command::Filter(filter) => self.spread(gossip::Input::Filter(filter), now, out),
            Command::Key(provided) => self.route(route::Input::KeyProvided(provided), now, out),
            Command::Signer(signer) => {
                self.route(route::Input::SignerChanged(signer), now, out);
                self.flood(link_state::Input::SignerChanged, now, out);
            }
            Command::Seeds(seeds) => {
                self.seeds = seeds;
                self.reseed(now, out);
            }
        }
    }

    /// Some wait for one moment, some only look at what is due.
    fn wake(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.member(member::Input::Tick, now, out);
        self.dial(dial::Input::Tick, now, out);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.due.gossip) {
            self.spread(gossip::Input::DeadlineReached, now, out);
        }
        if is_due(self.due.wants) {
            self.want(want::Input::DeadlineReached, now, out);
        }
        if is_due(self.due.routes) {
            self.route(route::Input::DeadlineReached, now, out);
        }
        if is_due(self.due.link_state.map(|(at, _why)| at)) {
            self.flood(link_state::Input::DeadlineReached, now, out);
        }
        if is_due(self.due.breakers.map(|(at, _why)| at)) {
            self.wake_breakers(now, out);
        }
        self.wake_hints(now, out);
    }

    fn received(
        &mut self,
        link: LinkId,
        plane: u8,
        body: Vec<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(&(from, cluster)) = self.links.get(&link) else { return };
        match Plane::from_wire(plane) {
            Some(Plane::Member) if cluster != self.here.cluster => {
                let why = member::Rejection::Foreign;
                out.push(Effect::Fact(Fact::Member(member::Fact::Rejected { from, why })));
            }
            Some(Plane::Member) => self.packet_heard(from, body, now, out),
            Some(Plane::Catalog) => {
                let bytes = body.into();
                self.spread(gossip::Input::Received { from, bytes }, now, out);
            }
            Some(Plane::Route) => self.route_heard(from, &body, now, out),
            Some(Plane::LinkState) => self.flood_heard(from, &body, now, out),
            Some(Plane::Data | Plane::Ping | Plane::Pong) | None => {
                out.push(Effect::Fact(Fact::PlaneUnknown { from, plane }));
            }
        }
    }

    fn send(&self, to: NodeId, lane: Lane, plane: Plane, body: Bytes, out: &mut Vec<Effect>) {
        if self.peers.contains_key(&to) {
            out.push(Effect::Send { to, lane, plane, body });
        } else {
            out.push(Effect::Fact(Fact::Unlinked { to }));
        }
    }

    /// By its lane one knows whose frame it was; membership expects frames to get lost.
    fn refused(&mut self, to: NodeId, lane: Lane, now: Instant, out: &mut Vec<Effect>) {
        match lane {
            ROUTES => self.route(route::Input::Refused { to }, now, out),
            LINKS => self.flood(link_state::Input::Refused { to }, now, out),
            Lane::Control | Lane::High | Lane::Low | Lane::Bulk => {
                self.spread(gossip::Input::Refused { to }, now, out);
            }
        }
    }

    fn persist(&mut self, record: Record, then: Unwritten, out: &mut Vec<Effect>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if then != Unwritten::Nothing {
            self.unwritten.insert(ticket, then);
        }
        out.push(Effect::Persist { ticket, record });
    }

    fn persisted(&mut self, ticket: Ticket, now: Instant, out: &mut Vec<Effect>) {
        match self.unwritten.remove(&ticket) {
            Some(Unwritten::Incarnation(incarnation)) => {
                self.member(member::Input::Renewed { incarnation }, now, out);
                self.spread(gossip::Input::Renewed(incarnation), now, out);
                self.route(route::Input::Renewed { incarnation }, now, out);
            }
            Some(Unwritten::Routes(ticket)) => {
                self.route(route::Input::Persisted { ticket }, now, out);
            }
            Some(Unwritten::Nothing) | None => (),
        }
    }

    /// A greater incarnation than this is needed, once, whoever says so.
    fn renew(&mut self, above: Incarnation, out: &mut Vec<Effect>) {
        if self.renewing <= above
            && let Some(next) = above.0.checked_add(1).map(Incarnation)
        {
            self.renewing = next;
            self.persist(Record::Incarnation(next), Unwritten::Incarnation(next), out);
        }
    }

    /// Tells shards of what changed, if anything did.
    fn publish(&mut self, out: &mut Vec<Effect>) {
        let stale = self.stale.take();
        if !core::mem::take(&mut self.is_changed) && stale.is_none() {
            return;
        }
        let view = self.next_view();
        if stale.is_some() || !view.is_same(&self.view) {
            self.view = Arc::new(view);
            let stale = stale.unwrap_or(Stale::Topics(Vec::new()));
            out.push(Effect::View { view: Arc::clone(&self.view), stale });
        }
    }
}

/// Lanes of planes; membership has `Control`, gossip the other three.
const ROUTES: Lane = Lane::Critical;
const LINKS: Lane = Lane::Normal;

#[cfg(test)]
mod tests;
