//! Whom to be linked with, whom to dial and when, and which of two links with one node stays.
//!
//! ```text
//!   member up --> MEMBER --- failed ---> LOST --- memory over ---> forgotten
//!                   ^ ^ |                  |
//!                   | | +-- goodbye --> DEPARTED (not dialled) -- grace over --> forgotten
//!                   | +--------------------|- greater incarnation
//!                   +----------------------+ member up
//! ```
//!
//! Up to `FULL_MESH_NODES_MAX` nodes all are linked with all; beyond, each node sees to sqrt(n)+4 links,
//! with those whose ids mix best with its own, so the graph is random and the same choice is made
//! again. Links above that are left alone, so seeds keep one with whoever began there. Lost members are looked for at leisure, in case a
//! partition heals. Seeds are dialled while no link stands, and slowly while one is not known to be
//! anybody.
//!
//! Two links with one node: the one with the greater incarnation in its hello stays, then the one the
//! smaller id dialled. Both ends decide alike. Of two that the same end dialled, that end closes the
//! younger; the other end uses the younger and waits. To have few such pairs the greater id lets the
//! smaller dial first.
//!
//! What the root machine does: feeds members up and down from `member`; performs `Dial` and `Close`;
//! reports links as they are past their hello. `LinkChosen` the first time for a node is `LinkUp` for
//! `member`, `NodeLost` is `LinkDown`; between them, what is for the node goes over the link chosen.
//!
//! Invariants:
//! - At most `DIALS_MAX` dials are under way; a dial nobody answers for is over after a timeout.
//! - A node that said goodbye is not dialled, and its links are closed, until it comes with a greater
//!   incarnation. A seed it was is dialled again after the grace period, slowly.
//! - This node is not dialled twice by itself.
//! - No address is dialled twice at once, whoever is expected there.
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
mod target;

use attempt::Attempt;
use links::{Link, Links};
use target::Target;

/// A connection with a node, as the shell numbers it. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait after the first failure; doubled after each, and drawn from its upper half.
    pub backoff: Duration,
    /// Longest wait for a member, and for a seed while no link stands.
    pub backoff_near: Duration,
    /// Longest wait for a lost member, and for a seed beside a cluster that is reached.
    pub backoff_far: Duration,
    /// How long the greater id waits to be dialled.
    pub deference: Duration,
    /// A dial is over after this, whatever the shell says.
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
        deference: Duration::from_millis(150),
        dial_timeout: Duration::from_secs(5),
        settled: Duration::from_secs(5),
        grace: Duration::from_secs(5),
        lost_memory: Duration::from_secs(24 * 3600),
        lost_gap: Duration::from_millis(200),
    };
}

/// How a link came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Dialled { address: PeerAddress },
    Accepted,
}

/// How a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Debug)]
struct Peer {
    incarnation: Incarnation,
    address: PeerAddress,
    standing: Standing,
    attempt: Attempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Member,
    Lost { until: Instant },
    Departed { until: Instant },
}

#[derive(Debug)]
struct Seed {
    address: PeerAddress,
    standing: SeedStanding,
    attempt: Attempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeedStanding {
    Unknown,
    /// It was this node when last reached or heard of.
    Node(NodeId),
    /// It was this node, which said goodbye.
    Departed(NodeId),
    OwnNode,
}

#[derive(Debug)]
pub struct Dialler {
    own: NodeId,
    timing: Timing,
    rng: Rng,
    peers: BTreeMap<NodeId, Peer>,
    seeds: Vec<Seed>,
    links: Links,
    lost_next: Instant,
    is_stopped: bool,
}

impl Dialler {
    pub fn new(own: NodeId, timing: Timing, rng: Rng) -> Self {
        Self {
            own,
            timing,
            rng,
            peers: BTreeMap::new(),
            seeds: Vec::new(),
            links: Links::default(),
            lost_next: Instant::START,
            is_stopped: false,
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
        self.attempts().filter(|attempt| attempt.is_open()).count()
    }

    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        if self.is_stopped {
            return None;
        }
        let timeouts = self.attempts().filter_map(|attempt| attempt.ends(self.timing.dial_timeout));
        let timeout = timeouts.min().map(|at| (at, "dial timeout"));
        let over = self.peers.values().filter_map(|peer| peer.standing.until()).min();
        let over = over.map(|at| (at, "grace or memory ends"));
        let dial = self.next_target().map(|(at, _)| (at, "dial"));
        [timeout, over, dial].into_iter().flatten().min()
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::MemberUp { node, incarnation, address } => {
                self.member_up(node, incarnation, address, now);
            }
            Input::MemberDown { node, incarnation, how } => {
                self.member_down(node, incarnation, how, now, out);
            }
            Input::LinkUp { link, node, incarnation, origin } => {
                let found = Link::new(link, incarnation, origin != Origin::Accepted, now);
                self.dial_ended(node, &origin);
                self.link_up(node, found, out);
            }
            Input::LinkDown { link, end } => self.link_down(link, end, now, out),
            Input::DialFailed { address } => self.dial_failed(&address, now),
            Input::Seeds(addresses) => self.reseed(addresses, now),
            Input::Stop => self.is_stopped = true,
            Input::Tick => {}
        }
        self.expire(now);
        self.dial(now, out);
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
        for seed in &mut self.seeds {
            if seed.address == address || seed.standing == SeedStanding::Departed(node) {
                seed.standing = SeedStanding::Node(node);
            }
        }
        let next = now + self.first_wait(node);
        // A dial of the same address goes on.
        let old = self.peers.remove(&node).filter(|old| old.address == address);
        let mut attempt = old.map_or(Attempt::at(next), |old| old.attempt);
        attempt.reset(next);
        let peer = Peer { incarnation, address, standing: Standing::Member, attempt };
        self.peers.insert(node, peer);
    }

    fn member_down(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        how: Gone,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let is_over = matches!(peer.standing, Standing::Departed { .. });
        if incarnation < peer.incarnation || (is_over && how == Gone::Failed) {
            return;
        }
        match how {
            Gone::Failed => {
                peer.standing = Standing::Lost { until: now + self.timing.lost_memory };
                let wait = peer.attempt.wait(&mut self.rng, self.timing.backoff, Duration::MAX);
                peer.attempt.reset(now + wait);
                self.bound_lost();
            }
            Gone::Left => {
                peer.incarnation = incarnation;
                peer.standing = Standing::Departed { until: now + self.timing.grace };
                for seed in &mut self.seeds {
                    if seed.standing == SeedStanding::Node(node) || seed.address == peer.address {
                        seed.standing = SeedStanding::Departed(node);
                        let far = self.timing.backoff_far;
                        seed.attempt.failed_unless_open(now, &mut self.rng, far);
                    }
                }
                let closed = self.links.close_up_to(node, incarnation);
                let reason = CloseReason::Departed;
                out.extend(closed.into_iter().map(|link| Effect::Close { link, why: reason }));
                self.say_choice(node, None, End::Closed, now, out);
            }
        }
    }

    /// The member lost longest ago makes room.
    fn bound_lost(&mut self) {
        let lost = self.peers.iter().filter_map(|(&node, peer)| match peer.standing {
            Standing::Lost { until } => Some((until, node)),
            Standing::Member | Standing::Departed { .. } => None,
        });
        let lost: Vec<(Instant, NodeId)> = lost.collect();
        if LOST_NODES_MAX < lost.len()
            && let Some((_, oldest)) = lost.into_iter().min()
        {
            self.peers.remove(&oldest);
        }
    }

    fn dial_ended(&mut self, node: NodeId, origin: &Origin) {
        let Origin::Dialled { address } = origin else { return };
        for seed in self.seeds.iter_mut().filter(|seed| seed.address == *address) {
            seed.attempt.close();
            let is_own = node == self.own;
            seed.standing = if is_own { SeedStanding::OwnNode } else { SeedStanding::Node(node) };
        }
        for peer in self.peers.values_mut().filter(|peer| peer.address == *address) {
            peer.attempt.close();
        }
    }

    fn link_up(&mut self, node: NodeId, found: Link, out: &mut Vec<Effect>) {
        let departed = self.peers.get(&node).is_some_and(|peer| {
            matches!(peer.standing, Standing::Departed { .. })
                && found.incarnation <= peer.incarnation
        });
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
        let now = found.since;
        for link in self.links.up(node, found, self.own < node) {
            out.push(Effect::Close { link, why: CloseReason::Duplicate });
        }
        self.say_choice(node, before, End::Closed, now, out);
    }

    fn link_down(&mut self, link: LinkId, end: End, now: Instant, out: &mut Vec<Effect>) {
        let Some((node, was_chosen, since)) = self.links.down(link) else { return };
        let before = was_chosen.then_some(link).or_else(|| self.link(node));
        // A dial that is under way goes on, and its end says when the next is due.
        if let Some(peer) = self.peers.get_mut(&node)
            && self.links.chosen(node).is_none()
            && !peer.attempt.is_open()
        {
            if self.timing.settled <= now.since(since) {
                peer.attempt.reset(now);
            }
            let longest = peer.standing.longest(&self.timing);
            peer.attempt.failed(now, &mut self.rng, self.timing.backoff, longest);
            if node < self.own {
                peer.attempt.postpone(self.timing.deference);
            }
        }
        self.say_choice(node, before, end, now, out);
    }

    /// Says which link is chosen, if it is another than before.
    fn say_choice(
        &mut self,
        node: NodeId,
        before: Option<LinkId>,
        end: End,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        match self.links.chosen(node) {
            Some(chosen) if before == Some(chosen.id) => {}
            Some(chosen) => {
                let (incarnation, link) = (chosen.incarnation, chosen.id);
                out.push(Effect::LinkChosen { node, incarnation, link });
            }
            None if !self.links.was_linked(node) => {}
            None => {
                self.links.forget(node);
                out.push(Effect::NodeLost { node, end });
                if self.links.nodes().next().is_none() {
                    self.seeds.iter_mut().for_each(|seed| seed.attempt.reset(now));
                }
            }
        }
    }

    fn dial_failed(&mut self, address: &PeerAddress, now: Instant) {
        let is_reached = self.links.nodes().next().is_some();
        let Timing { backoff, backoff_near, backoff_far, .. } = self.timing;
        let seed_longest = if is_reached { backoff_far } else { backoff_near };
        for seed in self.seeds.iter_mut().filter(|seed| seed.address == *address) {
            let is_departed = matches!(seed.standing, SeedStanding::Departed(_));
            let base = if is_departed && is_reached { backoff_far } else { backoff };
            seed.attempt.failed_if_open(now, &mut self.rng, base, seed_longest);
        }
        for peer in self.peers.values_mut().filter(|peer| peer.address == *address) {
            let longest = peer.standing.longest(&self.timing);
            peer.attempt.failed_if_open(now, &mut self.rng, backoff, longest);
        }
    }

    fn reseed(&mut self, addresses: Vec<PeerAddress>, now: Instant) {
        let mut known = core::mem::take(&mut self.seeds);
        for address in addresses.into_iter().take(SEEDS_MAX) {
            let old = known.iter().position(|seed| seed.address == address);
            let seed = old.map(|at| known.swap_remove(at)).unwrap_or_else(|| {
                let node = self.peers.iter().find(|(_, peer)| peer.address == address);
                let standing =
                    node.map_or(SeedStanding::Unknown, |(&node, _)| SeedStanding::Node(node));
                Seed { address, standing, attempt: Attempt::at(now) }
            });
            self.seeds.push(seed);
        }
    }

    /// Dials nobody answered for, and peers nobody looks for any more.
    fn expire(&mut self, now: Instant) {
        let timeout = self.timing.dial_timeout;
        let late = |attempt: &Attempt| attempt.ends(timeout).is_some_and(|at| at <= now);
        let mut unanswered: Vec<PeerAddress> = Vec::new();
        for seed in self.seeds.iter().filter(|seed| late(&seed.attempt)) {
            unanswered.push(seed.address.clone());
        }
        for peer in self.peers.values().filter(|peer| late(&peer.attempt)) {
            unanswered.push(peer.address.clone());
        }
        unanswered.iter().for_each(|address| self.dial_failed(address, now));
        self.peers.retain(|_, peer| peer.standing.until().is_none_or(|until| now < until));
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.is_stopped {
            return;
        }
        while let Some((_, target)) = self.next_target().filter(|(at, _)| *at <= now) {
            let (address, node, attempt) = match target {
                Target::Member(node) | Target::Lost(node) => {
                    let peer = self.peers.get_mut(&node).expect("it was just chosen");
                    (peer.address.clone(), Some(node), &mut peer.attempt)
                }
                Target::Seed(place) => {
                    let seed = &mut self.seeds[place];
                    (seed.address.clone(), None, &mut seed.attempt)
                }
            };
            attempt.open(now);
            if matches!(target, Target::Lost(_)) {
                self.lost_next = now + self.timing.lost_gap;
            }
            out.push(Effect::Dial { address, node });
        }
    }

    fn first_wait(&mut self, node: NodeId) -> Duration {
        let jitter = Duration::from_micros(u64::from(self.rng.below(20_000)));
        if node < self.own { self.timing.deference + jitter } else { jitter }
    }

    fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let seeds = self.seeds.iter().map(|seed| &seed.attempt);
        seeds.chain(self.peers.values().map(|peer| &peer.attempt))
    }
}

impl Standing {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Member => None,
            Self::Lost { until } | Self::Departed { until } => Some(until),
        }
    }

    /// The longest wait between dials.
    fn longest(self, timing: &Timing) -> Duration {
        match self {
            Self::Member | Self::Departed { .. } => timing.backoff_near,
            Self::Lost { .. } => timing.backoff_far,
        }
    }
}

#[cfg(test)]
mod tests;
