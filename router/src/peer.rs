//! Links to other nodes: who is there and what they say, without deciding what it means.
//!
//! One TCP connection for each pair of nodes, TLS 1.3 both ways (`tls`), who is who from certificates
//! (`name`), a hello, then frames (`link`). Everything is done by the control core, in turns: a link
//! never waits for a data shard. Whom to dial, which of two links to the same node stays, what to say
//! and what to make of what is heard is decided elsewhere (`fabric::control`).
//!
//! ```text
//!   dial() --> resolve --> socket --> link --secured, greeted--> Event::LinkUp --> admit() or close()
//!              listener --^                                                          |
//!                                         send() --> lanes --> socket <--------------+--> Event::Received
//! ```
//!
//! Data links are dialled, secured and greeted here as well (`data`), and then handed on as
//! `Event::Data`: a shard serves them.
//!
//! Invariants:
//! - What is told of as `LinkUp` is of a node that may be linked, whose certificate was verified and whose
//!   hello fits. It is told of as `LinkDown` once, after everything that came of it.
//! - Nothing is read from a link before it is admitted.
//! - Whatever does not become an admitted link is counted once, under its reason.
//! - A link that ends is forgotten with what is queued for it.
//!
//! Tests: with processes, in `tests/it/peer.rs`.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event as Ready;
use mio::{Interest, Registry, Token, Waker};
use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::dial::LinkId;
use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::plan::Federation;
use mpreg_fabric::time::Instant;
use mpreg_fabric::way;
use mpreg_proto::id::{FabricId, Incarnation, NodeId, ShardIx};
use mpreg_proto::member::PeerAddress;
use mpreg_proto::peer::{Frame, Lane};
use mpreg_proto::peer_hello::{Channel, PeerHello};
use slab::Slab;

use crate::limits::PEER_LINKS_MAX;
use crate::peer_link::PeerLink;
use crate::probe::PeerProbe;

mod admit;
mod data;
mod lanes;
mod link;
pub mod name;
mod resolve;
pub mod roster;
pub mod route_keys;
mod socket;
pub mod tls;
mod turn;

pub use lanes::NotQueued;
pub use link::{Side, Timing};

use admit::Policy;
use link::Link;
use name::PeerName;
use resolve::Resolver;
use roster::{Roster, Row};
use socket::Socket;
use tls::Credentials;

/// Accepts in one turn, so that a flood does not hold links up.
const ACCEPTS_PER_TURN: usize = 16;

/// After an accept that failed for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the links of a node are to be like.
#[derive(Debug)]
pub struct Settings {
    pub credentials: Credentials,
    pub incarnation: Incarnation,
    pub fabric: FabricId,
    /// Where others reach this node, at the address they know it by.
    pub port: u16,
    /// Clusters besides its own that a gateway may be linked to.
    pub federation: Federation,
    pub timing: Timing,
}

/// What links have of the core that serves them.
#[derive(Debug)]
pub struct Means {
    pub registry: Registry,
    /// Tokens from this one on are theirs.
    pub tokens: Token,
    pub waker: Arc<Waker>,
    pub probe: Arc<PeerProbe>,
    pub roster: Roster,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Waits to be admitted or closed.
    LinkUp(LinkUp),
    LinkDown {
        link: LinkId,
        node: NodeId,
        end: LinkEndReason,
    },
    /// Of a plane that may be one this version does not know.
    Received {
        link: LinkId,
        from: NodeId,
        plane: u8,
        lane: Lane,
        body: Vec<u8>,
    },
    /// How long a ping and its answer took.
    Measured {
        node: NodeId,
        round_trip: Duration,
    },
    /// No link came of a dial.
    DialFailed {
        address: PeerAddress,
        end: LinkEndReason,
    },
    /// A data link for a shard: the one it was dialled for, or any.
    Data {
        link: Box<PeerLink>,
        shard: Option<ShardIx>,
    },
    /// No data link came of a dial.
    DataFailed {
        node: NodeId,
        shard: ShardIx,
        end: LinkEndReason,
    },
}

/// A link, and who is at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    pub link: LinkId,
    pub name: PeerName,
    pub incarnation: Incarnation,
    /// What was dialled. `None`: the other has dialled.
    pub dialled: Option<PeerAddress>,
    pub remote: SocketAddr,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    NoLink,
    Queue(NotQueued),
}

/// All links of a node, and what may become one.
#[derive(Debug)]
pub struct Peers {
    credentials: Credentials,
    policy: Policy,
    hello: PeerHello,
    timing: Timing,
    registry: Registry,
    /// `None`: nobody is let in any more.
    listener: Option<mio::net::TcpListener>,
    listener_token: Token,
    accept_due: Option<Instant>,
    connections: Slab<Connection>,
    /// Links that were told of and are not down.
    links: BTreeMap<LinkId, usize>,
    links_named: u64,
    /// On which connection a node is sent to.
    used: BTreeMap<NodeId, usize>,
    resolver: Resolver,
    resolving: usize,
    /// Addresses to be dialled when others are done.
    wanted: VecDeque<Wanted>,
    /// Data links to be dialled when others are done.
    data_wanted: VecDeque<(NodeId, ShardIx)>,
    is_stopping: bool,
    probe: Arc<PeerProbe>,
    roster: Roster,
    /// Those that are not closed.
    circuits: BTreeMap<NodeId, Circuit>,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    link: Link,
    dial: Option<Dial>,
    name: Option<PeerName>,
    /// What it was told of as.
    link_id: Option<LinkId>,
    /// What the other has said, to be answered.
    hello: Option<PeerHello>,
    round_trip: Option<Duration>,
    /// There is something to be read or written that the kernel does not tell of.
    wants_turn: bool,
    was_admitted: bool,
    /// It is a data link that both sides want.
    is_agreed: bool,
    /// It was told what became of it.
    is_over: bool,
}

impl Connection {
    fn has_work(&self) -> bool {
        self.wants_turn || self.socket.has_more()
    }
}

/// What is to be dialled.
#[derive(Debug)]
struct Wanted {
    address: PeerAddress,
    /// Who has to be there; anybody if nobody is named.
    node: Option<NodeId>,
}

/// What a connection was opened for.
#[derive(Debug)]
struct Dial {
    wanted: Wanted,
    /// Others that the name stands for, to be tried next.
    others: Vec<SocketAddr>,
    /// For whom it is to be a data link. `None`: it is to be a control link.
    shard: Option<ShardIx>,
}

impl Peers {
    pub fn new(settings: Settings, listener: OwnedFd, means: Means) -> io::Result<Self> {
        let Means { registry, tokens, waker, probe, roster } = means;
        let Settings { credentials, incarnation, fabric, port, federation, timing } = settings;
        let listener = listening(listener, &registry, tokens)?;
        Ok(Self {
            policy: Policy { me: credentials.name().clone(), federation },
            hello: PeerHello::new(Channel::Control, incarnation, fabric, port),
            credentials,
            timing,
            registry,
            accept_due: Some(Instant::START),
            listener: Some(listener),
            listener_token: tokens,
            connections: Slab::new(),
            links: BTreeMap::new(),
            links_named: 0,
            used: BTreeMap::new(),
            resolver: Resolver::start(waker)?,
            resolving: 0,
            wanted: VecDeque::new(),
            data_wanted: VecDeque::new(),
            is_stopping: false,
            probe,
            roster,
            circuits: BTreeMap::new(),
        })
    }

    /// The kernel says that something has become possible.
    pub fn ready(&mut self, ready: &Ready) {
        let token = ready.token();
        if token == self.listener_token {
            self.accept_due = Some(Instant::START);
            return;
        }
        let key = token.0 - self.listener_token.0 - 1;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.socket.may(
                ready.is_readable() || ready.is_read_closed() || ready.is_error(),
                ready.is_writable() || ready.is_write_closed() || ready.is_error(),
            );
        }
    }

    /// Does what can be done without waiting.
    pub fn turn(&mut self, now: Instant, out: &mut Vec<Event>) {
        self.accept(now);
        while let Some((wanted, others)) = self.resolver.answer() {
            self.resolving -= 1;
            let dial = Dial { wanted, others, shard: None };
            self.connect(dial, LinkEndReason::Unresolved, now, out);
        }
        while self.has_room_to_dial()
            && let Some(wanted) = self.wanted.pop_front()
        {
            self.begin(wanted, now, out);
        }
        while self.has_room_for_data()
            && let Some((node, shard)) = self.data_wanted.pop_front()
        {
            self.begin_data(node, shard, now, out);
        }
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.serve(key, now, out);
        }
    }

    /// When [`Self::turn`] has something to do although the kernel says nothing.
    pub fn deadline(&self) -> Instant {
        let of_links = self.connections.iter().map(|(_, connection)| match connection.has_work() {
            true => Instant::START,
            false => connection.link.deadline(),
        });
        let may_dial = (!self.wanted.is_empty() && self.has_room_to_dial())
            || (!self.data_wanted.is_empty() && self.has_room_for_data());
        let dial = if may_dial { Instant::START } else { Instant::NEVER };
        let accept = self.accept_due.unwrap_or(Instant::NEVER);
        of_links.min().unwrap_or(Instant::NEVER).min(dial).min(accept)
    }

    /// Queues a frame for a node.
    pub fn send(&mut self, to: NodeId, plane: u8, lane: Lane, body: &[u8]) -> Result<(), NotSent> {
        let key = self.used.get(&to).ok_or(NotSent::NoLink)?;
        let connection = &mut self.connections[*key];
        let queued = connection.link.queue(Frame { plane, lane, body });
        match queued {
            Ok(()) => {
                connection.wants_turn = true;
                self.probe.frames_out.add(1);
            }
            Err(_) => self.probe.frames_refused.add(1),
        }
        queued.map_err(NotSent::Queue)
    }

    /// Asks for a link to `node`, or to whoever is at `address`. It is told of as `LinkUp` or as
    /// `DialFailed`. False: too many wait.
    pub fn dial(&mut self, address: PeerAddress, node: Option<NodeId>) -> bool {
        let has_room = self.wanted.len() < PEER_LINKS_MAX && !self.is_stopping;
        if has_room {
            self.wanted.push_back(Wanted { address, node });
        }
        has_room
    }

    /// What is for `node` goes over this link from here on, if it is admitted.
    pub fn send_over(&mut self, node: NodeId, link: LinkId) {
        let Some(&key) = self.links.get(&link) else { return };
        self.used.insert(node, key);
        self.publish();
    }

    /// Links from here on are of this life.
    pub fn renew(&mut self, incarnation: Incarnation) {
        self.hello.incarnation = incarnation;
    }

    /// From here on nobody is let in and nobody is dialled.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.wanted.clear();
        self.data_wanted.clear();
        self.accept_due = None;
        if let Some(mut listener) = self.listener.take()
            && let Err(error) = self.registry.deregister(&mut listener)
        {
            tracing::debug!(%error, "the peer listener was not registered");
        }
    }

    pub fn probe(&self) -> &PeerProbe {
        &self.probe
    }

    /// No link is left, nor anything that was to be sent on one.
    pub fn are_silent(&self) -> bool {
        !self.connections.iter().any(|(_, connection)| connection.was_admitted)
    }

    /// What data links let through from here on, for operators.
    pub fn circuits(&mut self, links: &[way::Link]) {
        let changed = links.iter().filter(|link| link.circuit != Circuit::Closed);
        self.circuits = changed.map(|link| (link.peer, link.circuit)).collect();
        let open = self.circuits.values().filter(|circuit| **circuit == Circuit::Open);
        self.probe.circuits_open.set(open.count() as u64);
    }

    /// Shows operators how links are now.
    pub fn publish(&self) {
        let rows = self.used.iter().filter_map(|(node, &key)| {
            let connection = &self.connections[key];
            let name = connection.name.as_ref()?;
            Some(Row {
                node: node.to_string(),
                cluster: name.cluster.to_string(),
                role: name.role.word().to_owned(),
                incarnation: connection.hello.as_ref()?.incarnation.0,
                side: connection.link.side().word().to_owned(),
                address: connection.socket.remote(),
                round_trip_us: connection.round_trip.map(|time| time.as_micros() as u64),
                queued_bytes: connection.link.queued_bytes(),
                circuit: self.circuits.get(node).unwrap_or(&Circuit::Closed).word().to_owned(),
                messages_out: 0,
                messages_in: 0,
            })
        });
        self.roster.publish(rows.collect());
        let queued = self.connections.iter().map(|(_, connection)| connection.link.queued_bytes());
        self.probe.queued_bytes.set(queued.sum::<usize>() as u64);
        self.probe.links.set(self.used.len() as u64);
    }

    fn accept(&mut self, now: Instant) {
        let is_due = self.accept_due.is_some_and(|due| due <= now);
        let Some(listener) = self.listener.as_ref().filter(|_| is_due) else { return };
        self.accept_due = Some(now);
        let mut taken = Vec::new();
        while taken.len() < ACCEPTS_PER_TURN && self.accept_due == Some(now) {
            match listener.accept() {
                Ok(found) => taken.push(found),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accept_due = None,
                Err(error) => {
                    tracing::warn!(%error, "accepting a node");
                    self.probe.accept_failures.add(1);
                    self.accept_due = Some(now + ACCEPT_RETRY);
                }
            }
        }
        for (stream, remote) in taken {
            self.welcome(stream, remote, now);
        }
    }
}

fn listening(
    listener: OwnedFd,
    registry: &Registry,
    token: Token,
) -> io::Result<mio::net::TcpListener> {
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    registry.register(&mut listener, token, Interest::READABLE)?;
    Ok(listener)
}
