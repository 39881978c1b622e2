//! The control core of a node: who its peers are, what they offer, and which way to them.
//!
//! The root machine of the control core. It joins the leaves and nothing else: what one says is
//! handed to the others here, and leaves never name each other.
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
//!
//! Parts: `cluster.rs` joins `member` and `dial`; `tests.rs`. Whole fabrics are tested in the simulator
//! of many nodes (`tests/src/mesh.rs`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, ShardIx};
use mpreg_proto::member::{LeaveReason, Life, PeerAddress};
use mpreg_proto::peer::{Lane, Plane};

use crate::breaker::Circuit;
use crate::dial::{self, Dialler};
use crate::member::{self, Member, Membership};
use crate::rng::Rng;
use crate::time::Instant;
use crate::want::{InterestView, Stale};
use crate::way::{self, Ways};

mod cluster;

pub use crate::dial::{CloseReason, End, LinkId, Origin};

/// What a node is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeId,
    pub cluster: ClusterName,
    /// Greater than any this node had before, and on disk already.
    pub incarnation: Incarnation,
    /// Where others reach this node.
    pub address: PeerAddress,
    /// Nodes to dial that nobody told of.
    pub seeds: Vec<PeerAddress>,
    pub member: member::Timing,
    pub dial: dial::Timing,
    /// All chance of the control core comes from here.
    pub seed: u64,
}

/// What can happen to the control core.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    Command(Command),
    DeadlineReached,
}

/// A link that is up, with what its hello said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    pub link: LinkId,
    pub peer: NodeId,
    pub cluster: ClusterName,
    pub incarnation: Incarnation,
    pub origin: Origin,
}

/// What an operator may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say goodbye to everyone. [`Effect::Left`] says when that is done.
    Leave { reason: LeaveReason },
}

/// One shard's subscribers of one pattern in one queue group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    pub shard: ShardIx,
    pub pattern: Bytes,
    /// Empty: every subscriber gets every message.
    pub group: Bytes,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a node keeps for its next life. A later one of a kind takes the place of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The life this node is in.
    Incarnation(Incarnation),
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
    Member(member::Fact),
}

pub struct Control {
    here: Here,
    /// Who is at the other end of each link, whether it is used or not.
    links: BTreeMap<LinkId, (NodeId, ClusterId)>,
    peers: BTreeMap<NodeId, Peer>,
    interest: Arc<InterestView>,
    member: Membership,
    dialler: Dialler,
    seeds: Vec<PeerAddress>,
    /// What waits for the disk.
    unwritten: BTreeMap<Ticket, Unwritten>,
    next_ticket: u64,
}

/// What follows once a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    Incarnation(Incarnation),
}

impl Control {
    pub fn new(settings: Settings) -> Self {
        let root = Rng::from_seed(settings.seed);
        let life = Life { node: settings.node, incarnation: settings.incarnation };
        Self {
            here: Here { node: settings.node, cluster: settings.cluster.id() },
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            interest: Arc::default(),
            member: Membership::new(life, settings.address, settings.member, root.stream(1)),
            dialler: Dialler::new(settings.node, settings.dial, root.stream(2)),
            seeds: settings.seeds,
            unwritten: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Started => {
                let seeds = core::mem::take(&mut self.seeds);
                self.dial(dial::Input::Seeds(seeds), now, out);
            }
            Input::LinkUp(up) => self.link_up(up, now, out),
            Input::LinkDown { link, end } => {
                self.links.remove(&link);
                self.dial(dial::Input::LinkDown { link, end }, now, out);
            }
            Input::DialFailed { address } => {
                self.dial(dial::Input::DialFailed { address }, now, out);
            }
            Input::Received { link, plane, body } => self.received(link, plane, body, now, out),
            Input::Persisted { ticket } => self.persisted(ticket, now, out),
            Input::Command(Command::Leave { reason }) => self.leave(reason, now, out),
            Input::DeadlineReached => {
                self.member(member::Input::Tick, now, out);
                self.dial(dial::Input::Tick, now, out);
            }
            Input::Refused { .. } | Input::Want(_) | Input::Measured { .. } => (),
        }
    }

    /// When it wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        [self.member.deadline(), self.dialler.deadline()].into_iter().flatten().min()
    }

    /// Live members of this node's cluster, itself left out.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.member.members()
    }

    fn received(
        &mut self,
        link: LinkId,
        plane: u8,
        body: Vec<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(&(from, _)) = self.links.get(&link) else { return };
        match Plane::from_wire(plane) {
            Some(Plane::Member) => {
                self.member(member::Input::Received { from, packet: body }, now, out);
            }
            Some(Plane::Catalog | Plane::Route | Plane::LinkState) => (),
            Some(Plane::Data | Plane::Ping | Plane::Pong) | None => {
                out.push(Effect::Fact(Fact::PlaneUnknown { from, plane }));
            }
        }
    }

    fn send(&self, to: NodeId, plane: Plane, body: Vec<u8>, out: &mut Vec<Effect>) {
        if self.peers.contains_key(&to) {
            let lane = Lane::Control;
            out.push(Effect::Send { to, lane, plane, body: body.into() });
        } else {
            out.push(Effect::Fact(Fact::Unlinked { to }));
        }
    }

    fn persist(&mut self, record: Record, then: Unwritten, out: &mut Vec<Effect>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.unwritten.insert(ticket, then);
        out.push(Effect::Persist { ticket, record });
    }

    fn persisted(&mut self, ticket: Ticket, now: Instant, out: &mut Vec<Effect>) {
        match self.unwritten.remove(&ticket) {
            Some(Unwritten::Incarnation(incarnation)) => {
                self.member(member::Input::Renewed { incarnation }, now, out);
            }
            None => (),
        }
    }

    /// Tells shards of what changed: links and ways, and of which topics who wants them.
    fn publish(&self, stale: Stale, out: &mut Vec<Effect>) {
        let link = |(&node, peer): (&NodeId, &Peer)| way::Link {
            peer: node,
            cluster: peer.cluster,
            circuit: Circuit::Closed,
        };
        let view = View {
            peers: self.peers.clone(),
            links: self.peers.iter().map(link).collect(),
            interest: Arc::clone(&self.interest),
            ..View::alone(self.here)
        };
        out.push(Effect::View { view: Arc::new(view), stale });
    }
}

#[cfg(test)]
mod tests;
