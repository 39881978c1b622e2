//! Whom to be linked with, whom to dial and when, and which of two links with one node stays.
//!
//! ```text
//!   member up --> MEMBER --- failed ---> forgotten, but its address is LOST until its memory is over
//!                   ^ |
//!                   | +-- goodbye --> DEPARTED (not dialled) -- grace over --> forgotten
//!                   +- greater incarnation -+
//! ```
//!
//! What is dialled is an address: for the member that says it is there, which is expected by its name,
//! or because it is a seed or LOST, where whoever is there will do. A machine that lost its disk is back
//! under another name, and a partition heals with the old ones. A seed or a lost address is not
//! dialled while whoever was found there last is linked, is a member, which is dialled where it says
//! it is, or has just said goodbye.
//!
//! Up to `FULL_MESH_NODES_MAX` nodes all are linked with all; beyond, each node sees to sqrt(n)+4 links,
//! with those whose ids mix best with its own, so the graph is random and the same choice is made
//! again. Links above that are left alone, so seeds keep one with whoever began there. Seeds are dialled
//! soon while no link stands, slowly beside others, and lost addresses at leisure; a seed that was a node of
//! another cluster again and again, since nobody else may lead there.
//!
//! Two links with one node: the one with the greater incarnation in its hello stays, then the one the
//! smaller id dialled, then the older. Both ends decide alike, but not at once: who accepted the link
//! that stays knows of it first. So the end that dialled it closes the other, and the other end waits;
//! nobody is without a link meanwhile. Of two that the same end dialled, the other end uses the younger
//! until then. To have few such pairs the greater id lets the smaller dial first.
//!
//! What the root machine does: feeds members up and down from `member`; performs `Dial` and `Close`;
//! reports links as they are past their hello. `LinkChosen` the first time for a node is `LinkUp` for
//! `member`, `NodeLost` is `LinkDown`; between them, what is for the node goes over the link chosen.
//!
//! Parts: `place.rs` (an address and why it is dialled), `attempt.rs` (when), `target.rs` (which next),
//! `links.rs` (which link stays).
//!
//! Invariants:
//! - An address has one place and a place one attempt, so none is dialled twice at once, whoever is
//!   expected there. The place stays until the attempt is over.
//! - At most `DIALS_MAX` dials are under way; a dial nobody answers for is over after a timeout.
//! - A node that said goodbye is not dialled, and its links are closed, until it comes with a greater
//!   incarnation. A seed it was is dialled again after the grace period, slowly.
//! - This node is not dialled twice by itself.
//! - `linked` names nodes with a link, nobody else.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::PeerAddress;

use crate::limits::{LOST_NODES_MAX, SEEDS_MAX};
use crate::rng::Rng;
use crate::time::Instant;

mod attempt;
mod links;
mod place;
mod target;

use links::{Link, Links};
use place::{Found, Place};

/// A connection with a node, as the shell numbers it. Never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct LinkId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// Wait after the first failure; doubled after each, and drawn from its upper half.
    pub backoff: Duration,
    /// Longest wait for a member, and for a seed while no link stands.
    pub backoff_near: Duration,
    /// Longest wait for a lost member, and for a seed beside a cluster that is reached.
    pub backoff_far: Duration,
    /// Longest wait for a seed that was a node of another cluster: there may be no other way there.
    pub backoff_abroad: Duration,
    /// How long the greater id waits to be dialled.
    pub deference: Duration,
    /// A dial is over after this, whatever the shell says. Longer than the shell tries, or more dials
    /// are under way than are counted.
    pub dial_timeout: Duration,
    /// A link that lived so long starts the waits over.
    pub settled: Duration,
    /// How long a node that said goodbye is not dialled even as a seed.
    pub grace: Duration,
    /// How long a lost member is looked for.
    pub lost_memory: Duration,
    /// Between two dials of lost members.
    pub lost_gap: Duration,
}

impl Timing {
    pub const DEFAULT: Self = Self {
        backoff: Duration::from_millis(100),
        backoff_near: Duration::from_secs(5),
        backoff_far: Duration::from_secs(10),
        backoff_abroad: Duration::from_secs(1),
        deference: Duration::from_millis(150),
        dial_timeout: Duration::from_secs(5),
        settled: Duration::from_secs(5),
        grace: Duration::from_secs(5),
        lost_memory: Duration::from_secs(24 * 3600),
        lost_gap: Duration::from_millis(200),
    };
}

/// How a link came about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Origin {
    Dialled { address: PeerAddress },
    Accepted,
}

/// How a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum End {
    Closed,
    Lost,
}

/// How a member went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    Failed,
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    MemberUp {
        node: NodeId,
        incarnation: Incarnation,
        address: PeerAddress,
    },
    MemberDown {
        node: NodeId,
        incarnation: Incarnation,
        how: Gone,
    },
    /// A link is past its hello, which named this node and incarnation.
    LinkUp {
        link: LinkId,
        node: NodeId,
        incarnation: Incarnation,
        origin: Origin,
        /// The node is of another cluster.
        is_abroad: bool,
    },
    LinkDown {
        link: LinkId,
        end: End,
    },
    /// No link came of dialling this.
    DialFailed {
        address: PeerAddress,
    },
    /// These are the seeds from here on; those beyond `SEEDS_MAX` are not used.
    Seeds(Vec<PeerAddress>),
    /// This node is leaving: no more dials, no more links.
    Stop,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Whoever answers must be `node`, if one is named.
    Dial {
        address: PeerAddress,
        node: Option<NodeId>,
    },
    Close {
        link: LinkId,
        why: CloseReason,
    },
    /// What is for this node goes here: the first time, and when the choice changes.
    LinkChosen {
        node: NodeId,
        incarnation: Incarnation,
        link: LinkId,
    },
    /// No link with this node is left.
    NodeLost {
        node: NodeId,
        end: End,
    },
}

/// Why a link is closed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// We dialled ourselves.
    OwnNode,
    /// Another link with the node stays.
    Duplicate,
    /// Its life is over: it said goodbye.
    Departed,
    /// We are leaving.
    Stopping,
    /// No links are kept with its cluster.
    ClusterRefused,
}

impl CloseReason {
    pub const fn word(self) -> &'static str {
        match self {
            Self::OwnNode => "own_node",
            Self::Duplicate => "duplicate",
            Self::Departed => "departed",
            Self::Stopping => "stopping",
            Self::ClusterRefused => "cluster_refused",
        }
    }
}

/// A node of this cluster that is a member, or was one and said goodbye.
#[derive(Debug)]
struct Peer {
    incarnation: Incarnation,
    standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Member { address: PeerAddress },
    Departed { until: Instant },
}

#[derive(Debug)]
pub struct Dialler {
    own: NodeId,
    timing: Timing,
    rng: Rng,
    peers: BTreeMap<NodeId, Peer>,
    places: BTreeMap<PeerAddress, Place>,
    links: Links,
    lost_next: Instant,
    is_stopped: bool,
    /// What `deadline` answers. It moves with inputs only.
    due: Option<(Instant, &'static str)>,
}

impl Dialler {
    pub fn new(own: NodeId, timing: Timing, rng: Rng) -> Self {
        Self {
            own,
            timing,
            rng,
            peers: BTreeMap::new(),
            places: BTreeMap::new(),
            links: Links::default(),
            lost_next: Instant::START,
            is_stopped: false,
            due: None,
        }
    }

    /// Nodes a link stands with.
    pub fn linked(&self) -> impl Iterator<Item = NodeId> {
        self.links.nodes()
    }

    /// What is for this node goes here.
    pub fn link(&self, node: NodeId) -> Option<LinkId> {
        self.links.chosen(node).map(|chosen| chosen.id)
    }

    pub fn dials_open(&self) -> usize {
        self.places.values().filter(|place| place.attempt.is_open()).count()
    }

    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.due
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::MemberUp { node, incarnation, address } => {
                self.member_up(node, incarnation, address, now);
            }
            Input::MemberDown { node, incarnation, how: Gone::Failed } => {
                self.member_failed(node, incarnation, now);
            }
            Input::MemberDown { node, incarnation, how: Gone::Left } => {
                self.member_left(node, incarnation, now, out);
            }
            Input::LinkUp { link, node, incarnation, origin, is_abroad } => {
                let found = Link::new(link, incarnation, origin != Origin::Accepted, now);
                let found_there = match self.peers.get(&node) {
                    _ if node == self.own => Found::OwnNode,
                    Some(peer) if peer.has_departed() && incarnation <= peer.incarnation => {
                        Found::Departed(node)
                    }
                    Some(_) | None => Found::Node { node, is_abroad },
                };
                self.dial_ended(found_there, &origin);
                self.link_up(node, found, out);
            }
            Input::LinkDown { link, end } => self.link_down(link, end, now, out),
            Input::DialFailed { address } => self.dial_failed(&address, now),
            Input::Seeds(addresses) => self.reseed(addresses, now),
            Input::Stop => self.is_stopped = true,
            Input::Tick if self.due.is_none_or(|(at, _)| now < at) => return,
            Input::Tick => {}
        }
        self.expire(now);
        self.dial(now, out);
        self.due = self.next_due();
    }

    fn member_up(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        address: PeerAddress,
        now: Instant,
    ) {
        if node == self.own
            || self.peers.get(&node).is_some_and(|old| incarnation < old.incarnation)
        {
            return;
        }
        self.places.values_mut().for_each(|place| place.has_moved(node));
        let next = now + self.first_wait(node);
        let place = self.places.entry(address.clone()).or_insert_with(|| Place::new(next));
        place.is_of_member(node);
        // A dial that is under way goes on.
        place.attempt.reset(next);
        self.peers.insert(node, Peer { incarnation, standing: Standing::Member { address } });
    }

    /// Its address is lost, unless another member has it.
    fn member_failed(&mut self, node: NodeId, incarnation: Incarnation, now: Instant) {
        let failed = self.peers.get(&node).filter(|peer| peer.incarnation <= incarnation);
        let Some(address) = failed.and_then(|peer| peer.address().cloned()) else { return };
        self.peers.remove(&node);
        let heir = self.member_at(&address);
        let Some(place) = self.places.get_mut(&address) else { return };
        if place.member != Some(node) {
            return;
        }
        place.member = None;
        if let Some(heir) = heir {
            place.is_of_member(heir);
        } else {
            let Timing { backoff, backoff_far, lost_memory, .. } = self.timing;
            place.lost_until = Some(now + lost_memory);
            let wait = place.attempt.wait(&mut self.rng, backoff, backoff_far);
            place.attempt.reset(now + wait);
            self.bound_lost();
        }
    }

    fn member_left(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let known = self.peers.get(&node);
        if known.is_some_and(|peer| incarnation < peer.incarnation) {
            return;
        }
        let address = known.and_then(Peer::address).cloned();
        let standing = Standing::Departed { until: now + self.timing.grace };
        self.peers.insert(node, Peer { incarnation, standing });
        let heir = address.and_then(|address| self.member_at(&address));
        for place in self.places.values_mut() {
            let was_its = place.member == Some(node) || place.found.is_node(node);
            if place.member == Some(node) {
                place.member = heir;
            }
            if was_its {
                place.found = Found::Departed(node);
                place.lost_until = None;
                let far = self.timing.backoff_far;
                place.attempt.failed_unless_open(now, &mut self.rng, far);
            }
        }
        let before = self.link(node);
        for link in self.links.close_up_to(node, incarnation) {
            out.push(Effect::Close { link, why: CloseReason::Departed });
        }
        self.say_choice(node, before, End::Closed, out);
        self.hurry_if_alone(now);
    }

    /// A member that says it is here, whoever else said so.
    fn member_at(&self, address: &PeerAddress) -> Option<NodeId> {
        let mut members = self.peers.iter();
        members.find(|(_, peer)| peer.address() == Some(address)).map(|(&node, _)| node)
    }

    /// The address lost longest ago makes room.
    fn bound_lost(&mut self) {
        let lost = || self.places.values().filter_map(|place| place.lost_until);
        if LOST_NODES_MAX < lost().count()
            && let Some(oldest) = lost().min()
            && let Some(place) =
                self.places.values_mut().find(|place| place.lost_until == Some(oldest))
        {
            place.lost_until = None;
        }
    }

    fn dial_ended(&mut self, found: Found, origin: &Origin) {
        let Origin::Dialled { address } = origin else { return };
        if let Some(place) = self.places.get_mut(address) {
            place.attempt.close();
            place.found = found;
        }
    }

    fn link_up(&mut self, node: NodeId, found: Link, out: &mut Vec<Effect>) {
        let departed = self
            .peers
            .get(&node)
            .is_some_and(|peer| peer.has_departed() && found.incarnation <= peer.incarnation);
        let refused = if node == self.own {
            Some(CloseReason::OwnNode)
        } else if self.is_stopped {
            Some(CloseReason::Stopping)
        } else if departed {
            Some(CloseReason::Departed)
        } else {
            None
        };
        if let Some(why) = refused {
            return out.push(Effect::Close { link: found.id, why });
        }
        let before = self.link(node);
        for link in self.links.up(node, found, self.own < node) {
            out.push(Effect::Close { link, why: CloseReason::Duplicate });
        }
        self.say_choice(node, before, End::Closed, out);
    }

    fn link_down(&mut self, link: LinkId, end: End, now: Instant, out: &mut Vec<Effect>) {
        let Some((node, was_chosen, since)) = self.links.down(link) else { return };
        let before = was_chosen.then_some(link).or_else(|| self.link(node));
        self.say_choice(node, before, end, out);
        if self.link(node).is_some() {
            return;
        }
        let was_settled = self.timing.settled <= now.since(since);
        let is_reached = self.is_reached();
        for place in self.places.values_mut().filter(|place| place.found.is_node(node)) {
            // A dial that is under way goes on, and its end says when the next is due.
            if place.attempt.is_open() {
                continue;
            }
            if was_settled {
                place.attempt.reset(now);
            }
            let longest = place.longest(is_reached, &self.timing);
            place.attempt.failed(now, &mut self.rng, self.timing.backoff, longest);
            if node < self.own {
                place.attempt.postpone(self.timing.deference);
            }
        }
        if was_settled {
            self.hurry_if_alone(now);
        }
    }

    /// Says which link is chosen, if it is another than before. Who leaves has closed them all.
    fn say_choice(
        &mut self,
        node: NodeId,
        before: Option<LinkId>,
        end: End,
        out: &mut Vec<Effect>,
    ) {
        match self.links.chosen(node) {
            _ if self.is_stopped => {}
            Some(chosen) if before == Some(chosen.id) => {}
            Some(chosen) => {
                let (incarnation, link) = (chosen.incarnation, chosen.id);
                out.push(Effect::LinkChosen { node, incarnation, link });
            }
            None if !self.links.was_linked(node) => {}
            None => {
                self.links.forget(node);
                out.push(Effect::NodeLost { node, end });
            }
        }
    }

    fn is_reached(&self) -> bool {
        self.links.nodes().next().is_some()
    }

    /// Who has no link left dials its seeds as at the start.
    fn hurry_if_alone(&mut self, now: Instant) {
        if !self.is_reached() {
            let seeds = self.places.values_mut().filter(|place| place.is_seed);
            seeds.for_each(|place| place.attempt.reset(now));
        }
    }

    fn dial_failed(&mut self, address: &PeerAddress, now: Instant) {
        let is_reached = self.is_reached();
        let Some(place) = self.places.get_mut(address) else { return };
        let Timing { backoff, backoff_far, .. } = self.timing;
        let is_departed = matches!(place.found, Found::Departed(_));
        let base = if is_departed && is_reached { backoff_far } else { backoff };
        let longest = place.longest(is_reached, &self.timing);
        place.attempt.failed_if_open(now, &mut self.rng, base, longest);
    }

    fn reseed(&mut self, addresses: Vec<PeerAddress>, now: Instant) {
        let before = |place: &mut Place| core::mem::take(&mut place.is_seed);
        let known: Vec<PeerAddress> = self
            .places
            .iter_mut()
            .filter_map(|(address, place)| before(place).then(|| address.clone()))
            .collect();
        for address in addresses.into_iter().take(SEEDS_MAX) {
            let is_known = known.contains(&address);
            let place = self.places.entry(address).or_insert_with(|| Place::new(now));
            place.is_seed = true;
            if !is_known && place.member.is_none() {
                place.attempt.reset(now);
            }
        }
    }

    /// Dials nobody answered for, peers nobody looks for any more, places nobody has a use for.
    fn expire(&mut self, now: Instant) {
        let timeout = self.timing.dial_timeout;
        let is_late = |place: &Place| place.attempt.ends(timeout).is_some_and(|at| at <= now);
        let late = self.places.iter().filter(|(_, place)| is_late(place));
        let unanswered: Vec<PeerAddress> = late.map(|(address, _)| address.clone()).collect();
        unanswered.iter().for_each(|address| self.dial_failed(address, now));
        self.peers.retain(|_, peer| match peer.standing {
            Standing::Member { .. } => true,
            Standing::Departed { until } => now < until,
        });
        self.places.retain(|_, place| {
            place.lost_until = place.lost_until.filter(|until| now < *until);
            place.is_of_use()
        });
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(target) = self.next_target().filter(|target| target.at <= now) {
            let (address, is_lost) = (target.address.clone(), target.is_lost());
            let place = self.places.get_mut(&address).expect("it was just chosen");
            place.attempt.open(now);
            let node = place.member;
            if is_lost {
                self.lost_next = now + self.timing.lost_gap;
            }
            out.push(Effect::Dial { address, node });
        }
    }

    fn next_due(&self) -> Option<(Instant, &'static str)> {
        if self.is_stopped {
            return None;
        }
        let timeout = self.timing.dial_timeout;
        let timeouts = self.places.values().filter_map(|place| place.attempt.ends(timeout));
        let timeout = timeouts.min().map(|at| (at, "dial timeout"));
        let grace = self.peers.values().filter_map(|peer| match peer.standing {
            Standing::Member { .. } => None,
            Standing::Departed { until } => Some(until),
        });
        let memory = self.places.values().filter_map(|place| place.lost_until);
        let over = grace.chain(memory).min().map(|at| (at, "grace or memory ends"));
        let dial = self.next_target().map(|target| (target.at, "dial"));
        [timeout, over, dial].into_iter().flatten().min()
    }

    fn first_wait(&mut self, node: NodeId) -> Duration {
        let jitter = Duration::from_micros(u64::from(self.rng.below(20_000)));
        if node < self.own { self.timing.deference + jitter } else { jitter }
    }
}

impl Peer {
    fn address(&self) -> Option<&PeerAddress> {
        match &self.standing {
            Standing::Member { address } => Some(address),
            Standing::Departed { .. } => None,
        }
    }

    fn has_departed(&self) -> bool {
        matches!(self.standing, Standing::Departed { .. })
    }
}

#[cfg(test)]
mod tests;
