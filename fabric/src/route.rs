//! Ways between clusters: a path vector with signed paths (RFC 4271 in spirit, RFC 8205 in its
//! signatures).
//!
//! Each cluster announces itself to its neighbours; each neighbour adds itself and tells its own. A
//! node holds what it was told, chooses the best way to each cluster, and tells only that. Nodes with
//! links to other clusters are gateways; what they have reaches every node of their cluster.
//!
//! ```text
//!   peers --> hear ---> rib, inside ---> settle: judge ---> export ---> peers
//!             checks     what was said      |  the best      paced
//!             keys, sign, freshness         +--> RouteView --> shards
//! ```
//!
//! # Interface
//!
//! [`Routes::new`], then [`Routes::handle`] for every [`Input`], [`Routes::deadline`] for when to say
//! [`Input::DeadlineReached`]. [`Routes::explain`] and [`Routes::next_hop`] answer questions, from the
//! same judgement the [`RouteView`] is made of. [`Routes::key_records`] is what to keep of keys over a
//! restart, said again as [`Input::KeyProvided`].
//!
//! # Invariants
//!
//! - Nothing is believed that was not verified, unless the policy says so.
//! - No path holds a cluster twice, and a hop only makes a way longer.
//! - Nothing is signed with a number that is not on disk as used, so no restart makes a cluster stale.
//! - Only the best way is told on, and not to a cluster that is on it.
//! - The last way to a destination is never damped.
//! - The same ways give the same choice, in whatever order they were heard.
//!
//! Parts: `chain` and `sign` (is it true), `keys` (by whom), `policy` (do we want it), `rib`,
//! `refused`, `freshness`, `damping` (what was said), `inside`, `agree` (within the cluster), `select`, `explain`, `view`
//! (which way), `export`, `sequence` (what we say), `hear` and `settle` (the two halves of a turn).
//! Tests are in `tests/`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use ed25519_dalek::VerifyingKey;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::route::{ChainDigest, Entry, Message, Metrics, Signed};

use crate::rng::Rng;
use crate::time::Instant;

mod agree;
mod chain;
mod damping;
mod explain;
mod export;
mod fact;
mod freshness;
mod hear;
mod inside;
mod keys;
mod policy;
mod refused;
mod rib;
mod select;
mod sequence;
mod settle;
mod sign;
mod view;

#[cfg(test)]
mod tests;

pub use damping::Damped;
pub use explain::{Explanation, Reason, Ties};
pub use fact::{Fact, KeyFault, Reject, SignatureFault};
pub use keys::{Pin, WallClock};
pub use policy::{
    Among, Damping, Filter, Policy, Quota, Signatures, Subject, Terms, Timing, Weights,
};
pub use select::{Candidate, Filtered, Judged, Link, Next, Rank, Score, judge, kept};
pub use sequence::Ticket;
pub use sign::{Made, Signer};
pub use view::{NextHop, RouteView, Ways};

use export::{Haste, Out};
use freshness::Freshness;
use inside::Gateways;
use keys::Registry;
use rib::Rib;
use sequence::Sequence;
use sign::Verified;

/// What a node is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeId,
    pub cluster: ClusterId,
    /// Greater than any this node had before, and on disk already.
    pub incarnation: Incarnation,
    /// The last [`Effect::Persist`] of earlier lives.
    pub stored: Option<Version>,
    /// What key records are checked by. `None`: only pinned keys count.
    pub root: Option<VerifyingKey>,
    /// What this cluster's routes are signed with. Nodes without links to other clusters need none.
    pub signer: Option<Signer>,
    pub policy: Policy,
    pub wall: WallClock,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A node can be talked to. One of another cluster is a neighbour, one of this cluster passes on
    /// what gateways have. Said again for a peer that is up, it is as if it had been down.
    PeerUp {
        peer: NodeId,
        cluster: ClusterId,
        link: Link,
    },
    PeerDown {
        peer: NodeId,
    },
    /// A node of this cluster has left or is dead in this incarnation, whether or not it was a peer.
    NodeGone {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// This node has a greater incarnation, as others took it for gone, and it is on disk.
    Renewed {
        incarnation: Incarnation,
    },
    Heard {
        from: NodeId,
        message: Message,
    },
    /// A message to this peer was dropped for want of room.
    Refused {
        to: NodeId,
    },
    /// The link to a peer, measured.
    Measured {
        peer: NodeId,
        round_trip_us: u32,
        loss_ppm: u32,
    },
    Persisted {
        ticket: Ticket,
    },
    PolicyChanged {
        policy: Box<Policy>,
        held: Held,
    },
    KeyProvided(Provided),
    /// The key to sign with from here on.
    SignerChanged(Option<Signer>),
    /// The time of day: at start, when it is set, and now and then.
    WallClockRead(WallClock),
    /// The node is about to stop: everything it told is taken back.
    Leaving,
    DeadlineReached,
}

/// What becomes of held routes that a new policy would not let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Held {
    /// They stay until they expire.
    #[default]
    Kept,
    /// They go at once.
    Judged,
}

/// A key, or the end of one, from whatever knows: a file, a service, an operator, a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Provided {
    Authorisation(Signed),
    Revocation(Signed),
    /// The keys of a cluster that people vouch for, from here on these alone. None: those authorised.
    Pins {
        cluster: ClusterId,
        pins: Vec<Pin>,
    },
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        message: Message,
    },
    /// Write it down, then say `Persisted`. Only the last one counts at a restart.
    Persist {
        ticket: Ticket,
        reserved: Version,
    },
    /// What shards go by from here on.
    View(Arc<RouteView>),
    /// [`Routes::key_records`] are others than they were.
    KeysChanged,
    Fact(Fact),
}

const _: () = assert!(size_of::<Effect>() <= 64);

#[derive(Debug)]
pub struct Routes {
    node: NodeId,
    cluster: ClusterId,
    signer: Option<Signer>,
    made: Made,
    policy: Policy,
    wall: WallClock,
    registry: Registry,
    verified: Verified,
    freshness: Freshness,
    sequence: Sequence,
    rng: Rng,
    rib: Rib,
    gateways: Gateways,
    /// Nodes of this cluster that are up.
    nodes: BTreeMap<NodeId, Inner>,
    /// Neighbouring nodes that are up.
    outs: BTreeMap<NodeId, Out>,
    best: BTreeMap<ClusterId, Best>,
    view: Arc<RouteView>,
    /// Destinations to be judged anew before this turn ends.
    touched: BTreeSet<ClusterId>,
    /// Offers that wait for a number.
    unnumbered: BTreeSet<ClusterId>,
    outbox: BTreeMap<NodeId, Vec<Entry>>,
    /// Who may lack keys: all of them go before whatever is told next.
    keyless: BTreeSet<NodeId>,
    refresh_at: Instant,
    refreshes: u64,
    compare_at: Instant,
    sweep_at: Instant,
    swept_at: Instant,
    is_leaving: bool,
}

/// A linked node of this cluster.
#[derive(Debug)]
struct Inner {
    round_trip_us: u32,
    /// Something it should have may be lost: everything is said again then.
    tell_all_at: Option<Instant>,
}

/// The way chosen to a destination.
#[derive(Debug)]
struct Best {
    hops: Vec<NextHop>,
    digest: ChainDigest,
    metrics: Metrics,
}

impl Routes {
    pub fn new(settings: Settings, rng: Rng) -> Self {
        let Settings { node, cluster, incarnation, stored, root, signer, policy, wall } = settings;
        Self {
            node,
            cluster,
            signer,
            made: Made::default(),
            policy,
            wall,
            registry: Registry::new(root),
            verified: Verified::default(),
            freshness: Freshness::default(),
            sequence: Sequence::new(incarnation, stored),
            rng,
            rib: Rib::default(),
            gateways: Gateways::default(),
            nodes: BTreeMap::new(),
            outs: BTreeMap::new(),
            best: BTreeMap::new(),
            view: Arc::new(RouteView::default()),
            touched: BTreeSet::new(),
            unnumbered: BTreeSet::new(),
            outbox: BTreeMap::new(),
            keyless: BTreeSet::new(),
            refresh_at: Instant::START,
            refreshes: 0,
            compare_at: Instant::START,
            sweep_at: Instant::NEVER,
            swept_at: Instant::START,
            is_leaving: false,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::PeerUp { peer, cluster, link } => self.peer_up(peer, cluster, link, now, out),
            Input::PeerDown { peer } => self.peer_down(peer, now),
            Input::NodeGone { node, incarnation } => self.node_gone(node, incarnation, now),
            Input::Renewed { incarnation } => {
                // What was offered under the old one is offered again.
                self.node_gone(self.node, incarnation, now);
                self.sequence.renew(incarnation);
            }
            Input::Heard { from, message } => self.heard(from, &message, now, out),
            Input::Refused { to } => self.refused(to, now),
            Input::Measured { peer, round_trip_us, loss_ppm } => {
                self.measured(peer, round_trip_us, loss_ppm);
            }
            Input::Persisted { ticket } => {
                self.sequence.persisted(ticket);
                self.touched.append(&mut self.unnumbered);
            }
            Input::PolicyChanged { policy, held } => self.policy_changed(*policy, held, now, out),
            Input::KeyProvided(provided) => self.key_provided(provided, now, out),
            Input::SignerChanged(signer) => {
                self.signer = signer;
                self.refresh_at = now;
                self.tell_all_again(now);
            }
            Input::WallClockRead(wall) => {
                self.wall = wall;
                self.drop_void(now, out);
            }
            Input::Leaving => self.leave(now),
            Input::DeadlineReached => (),
        }
        self.settle(now, out);
    }

    /// When this machine next wants [`Input::DeadlineReached`].
    pub fn deadline(&self) -> Option<Instant> {
        let speaks = self.sequence.is_ready();
        let due = self.outs.values().map(Out::next_due).filter(|_| speaks);
        let nodes = self.nodes.values().filter_map(|node| node.tell_all_at);
        let refreshes = speaks && !self.outs.is_empty() && !self.is_leaving;
        let refresh = refreshes.then_some(self.refresh_at);
        let compare = (!self.nodes.is_empty()).then_some(self.compare_at);
        let last = refresh.into_iter().chain(compare).chain([self.sweep_at]);
        let first = due.chain(nodes).chain(last).min();
        first.filter(|at| *at < Instant::NEVER)
    }

    /// What forwarding does with a message for `destination` that may not pass `avoid`.
    pub fn next_hop(
        &self,
        destination: ClusterId,
        avoid: &[ClusterId],
        now: Instant,
    ) -> Option<NextHop> {
        explain::hops(&self.judged(destination, avoid, now)).into_iter().next()
    }

    /// Every way to `destination`, and why it is taken or not.
    pub fn explain(
        &self,
        destination: ClusterId,
        avoid: &[ClusterId],
        now: Instant,
    ) -> Explanation {
        let mut judged = self.judged(destination, avoid, now);
        judged.extend(self.unwanted(destination, now));
        Explanation::new(destination, avoid, &judged, now)
    }

    /// What shards go by.
    pub fn view(&self) -> &Arc<RouteView> {
        &self.view
    }

    /// Signed records of keys and of their ends, to be provided again after a restart.
    pub fn key_records(&self) -> Vec<Provided> {
        let (authorised, revoked) = self.registry.records();
        let authorised = authorised.into_iter().cloned().map(Provided::Authorisation);
        authorised.chain(revoked.into_iter().cloned().map(Provided::Revocation)).collect()
    }

    fn judged(&self, destination: ClusterId, avoid: &[ClusterId], now: Instant) -> Vec<Judged> {
        let distance_us =
            |gateway| self.nodes.get(&gateway).map_or(0, |node: &Inner| node.round_trip_us);
        let outside = self.rib.candidates(destination, now);
        let inside = self.gateways.candidates(self.node, destination, distance_us);
        judge(outside.chain(inside).collect(), &self.policy.weights, avoid, now)
    }

    fn peer_up(
        &mut self,
        peer: NodeId,
        cluster: ClusterId,
        link: Link,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        self.peer_down(peer, now);
        self.keyless.insert(peer);
        self.outbox.entry(peer).or_default();
        if cluster == self.cluster {
            let inner = Inner { round_trip_us: link.round_trip_us, tell_all_at: Some(now) };
            self.nodes.insert(peer, inner);
            self.touched.extend(self.gateways.destinations(peer));
            return;
        }
        self.rib.up(peer, cluster, link, &self.policy.quota);
        if self.outs.is_empty() {
            self.refresh_at = now;
        }
        self.outs.insert(peer, Out::new(cluster));
        self.tell_all_again(now);
        if self.signer.is_none() && self.policy.signatures == Signatures::Required {
            out.push(Effect::Fact(Fact::CannotSign { to: peer }));
        }
    }

    fn peer_down(&mut self, peer: NodeId, now: Instant) {
        self.outs.remove(&peer);
        self.outbox.remove(&peer);
        self.keyless.remove(&peer);
        if self.nodes.remove(&peer).is_some() {
            self.touched.extend(self.gateways.destinations(peer));
        }
        self.touched.extend(self.rib.down(peer, &self.policy, now));
    }

    fn node_gone(&mut self, node: NodeId, incarnation: Incarnation, now: Instant) {
        let forget_at = now + self.policy.timing.ttl_max;
        self.touched.extend(self.gateways.leave(node, incarnation, forget_at));
    }

    fn refused(&mut self, to: NodeId, now: Instant) {
        let pace = self.policy.timing.pace;
        if let Some(neighbour) = self.outs.get_mut(&to) {
            neighbour.doubt(pace, now);
            self.keyless.insert(to);
        }
        if let Some(node) = self.nodes.get_mut(&to) {
            node.tell_all_at = Some(now + pace);
            self.keyless.insert(to);
        }
    }

    /// A link is another than it was only if it changed by a quarter, so that ways do not change
    /// with every measurement.
    fn measured(&mut self, peer: NodeId, round_trip_us: u32, loss_ppm: u32) {
        let has_changed = |held: u32| {
            let change = held.abs_diff(round_trip_us);
            MEASURED_US_MIN <= change && held / 4 <= change
        };
        if let Some(neighbour) = self.rib.get_mut(peer) {
            let link = &mut neighbour.link;
            if has_changed(link.round_trip_us)
                || MEASURED_PPM_MIN <= link.loss_ppm.abs_diff(loss_ppm)
            {
                link.round_trip_us = round_trip_us;
                link.loss_ppm = loss_ppm;
                self.touched.extend(neighbour.destinations());
            }
        } else if let Some(node) = self.nodes.get_mut(&peer)
            && has_changed(node.round_trip_us)
        {
            node.round_trip_us = round_trip_us;
            self.touched.extend(self.gateways.destinations(peer));
        }
    }

    fn leave(&mut self, now: Instant) {
        self.is_leaving = true;
        self.touched.extend(self.best.keys());
        self.tell_all_again(now);
    }

    /// Looks at everything again that neighbours were told or could be.
    fn tell_all_again(&mut self, now: Instant) {
        for neighbour in self.outs.values_mut() {
            for destination in self.best.keys().chain([&self.cluster]) {
                neighbour.mark(*destination, Haste::AtOnce, now);
            }
        }
    }
}

/// Changes of a round trip below this are noise, microseconds.
const MEASURED_US_MIN: u32 = 1000;

/// Changes of loss below this are noise, parts per million.
const MEASURED_PPM_MIN: u32 = 10_000;
