//! Routes among the nodes of one cluster: what each gateway has over links of its own.
//!
//! Every gateway tells its best way over its own links to each destination, marked with its version.
//! Nodes pass on what is newer than what they hold, to all nodes of the cluster they are linked with,
//! so all nodes come to hold the same, whatever the links between them. Nothing learned from a gateway
//! is told inside again under another's name: a node's own offers come from its own links alone.
//!
//! ```text
//!   neighbour --announcement--> gateway --inside--> node --inside--> node
//!                                  |                                  |
//!                       best of its own links              best of all gateways
//! ```
//!
//! Every node adds only its own distance to the gateway, so two gateways never each hold the other for
//! the better way.
//!
//! Invariants:
//! - An entry is replaced only by one with a greater version; a greater incarnation of a gateway ends
//!   all its earlier entries.
//! - At most [`ROUTE_GATEWAYS_MAX`] gateways with [`ROUTES_PER_GATEWAY_MAX`] entries each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mpreg_proto::catalog::mix;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::route::{Announcement, Inside, InsideRoute, Metrics};

use super::damping::Damped;
use super::rib::Route;
use super::select::{Candidate, Next};
use crate::limits::{ROUTE_GATEWAYS_MAX, ROUTES_PER_GATEWAY_MAX};
use crate::time::Instant;

/// What all gateways of the cluster have, those of this node included.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    gateways: BTreeMap<NodeId, Gateway>,
}

#[derive(Debug)]
struct Gateway {
    /// Its latest life.
    incarnation: Incarnation,
    held: BTreeMap<ClusterId, Held>,
}

#[derive(Debug)]
struct Held {
    version: Version,
    /// `None`: it has none any more, kept so that older news do not come back.
    offer: Option<Offer>,
    forget_at: Instant,
}

/// A gateway's way over a link of its own.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// From the gateway.
    pub(super) metrics: Metrics,
    pub(super) is_damped: bool,
    pub(super) route: Route,
}

/// What came of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    New,
    /// Held already, or older than what is held.
    Old,
    NoRoom,
}

impl Offer {
    fn is_same(&self, other: &Self) -> bool {
        self.metrics == other.metrics
            && self.is_damped == other.is_damped
            && self.route.digest == other.route.digest
            && self.route.expires_at == other.route.expires_at
    }
}

impl Gateways {
    pub(super) fn is_news(
        &self,
        gateway: NodeId,
        destination: ClusterId,
        version: Version,
    ) -> bool {
        let Some(gateway) = self.gateways.get(&gateway) else { return true };
        let held = gateway.held.get(&destination);
        gateway.incarnation <= version.incarnation && held.is_none_or(|held| held.version < version)
    }

    /// A gateway is in this life of it: takes away what it said in earlier ones, and says where to.
    pub(super) fn outlive(&mut self, gateway: NodeId, version: Version) -> Vec<ClusterId> {
        let Some(gateway) = self.gateways.get_mut(&gateway) else { return Vec::new() };
        if version.incarnation <= gateway.incarnation {
            return Vec::new();
        }
        gateway.incarnation = version.incarnation;
        core::mem::take(&mut gateway.held).into_keys().collect()
    }

    /// Holds an entry if it is news.
    pub(super) fn place(
        &mut self,
        inside: &Inside,
        offer: Option<Offer>,
        forget_at: Instant,
    ) -> Placed {
        let Inside { gateway, version, destination, .. } = *inside;
        if !self.is_news(gateway, destination, version) {
            return Placed::Old;
        }
        if ROUTE_GATEWAYS_MAX <= self.gateways.len() && !self.gateways.contains_key(&gateway) {
            return Placed::NoRoom;
        }
        let fresh = Gateway { incarnation: version.incarnation, held: BTreeMap::new() };
        let held = &mut self.gateways.entry(gateway).or_insert(fresh).held;
        if ROUTES_PER_GATEWAY_MAX <= held.len() && !held.contains_key(&destination) {
            return Placed::NoRoom;
        }
        held.insert(destination, Held { version, offer, forget_at });
        Placed::New
    }

    /// Whether this is what `gateway` offers already.
    pub(super) fn offers(
        &self,
        gateway: NodeId,
        destination: ClusterId,
        offer: Option<&Offer>,
    ) -> bool {
        match (self.offer(gateway, destination), offer) {
            (None, None) => true,
            (Some(held), Some(new)) => held.is_same(new),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    pub(super) fn offer(&self, gateway: NodeId, destination: ClusterId) -> Option<&Offer> {
        self.gateways.get(&gateway)?.held.get(&destination)?.offer.as_ref()
    }

    /// Ways over other gateways; `distance_us` is the round trip to one.
    pub(super) fn candidates(
        &self,
        own: NodeId,
        destination: ClusterId,
        distance_us: impl Fn(NodeId) -> u32,
    ) -> impl Iterator<Item = Candidate> {
        let others = self.gateways.iter().filter(move |(gateway, _)| **gateway != own);
        others.filter_map(move |(gateway, of)| {
            let offer = of.held.get(&destination)?.offer.as_ref()?;
            let latency_us = offer.metrics.latency_us.saturating_add(distance_us(*gateway));
            Some(Candidate {
                next: Next::Gateway(*gateway),
                neighbour: offer.route.neighbour(),
                path: offer.route.path.clone(),
                metrics: Metrics { latency_us, ..offer.metrics },
                expires_at: offer.route.expires_at,
                damped: offer.is_damped.then_some(Damped::Suppressed),
            })
        })
    }

    /// This life of a gateway is over, and its ways with it. Says where to. Its versions stay, so
    /// that nothing it said comes back over another node.
    pub(super) fn leave(
        &mut self,
        gateway: NodeId,
        incarnation: Incarnation,
        forget_at: Instant,
    ) -> Vec<ClusterId> {
        let gateway = self.gateways.get_mut(&gateway);
        let Some(gateway) = gateway.filter(|gateway| gateway.incarnation <= incarnation) else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        for (destination, held) in &mut gateway.held {
            if held.offer.take().is_some() {
                gone.push(*destination);
            }
            held.forget_at = held.forget_at.max(forget_at);
        }
        gone
    }

    /// Where a gateway has, or had, ways to.
    pub(super) fn destinations(&self, gateway: NodeId) -> Vec<ClusterId> {
        let gateway = self.gateways.get(&gateway);
        gateway.map_or_else(Vec::new, |gateway| gateway.held.keys().copied().collect())
    }

    /// Takes away offers that fail `is_good`, and forgets what need not be remembered. Says what was
    /// taken away.
    pub(super) fn retain(
        &mut self,
        now: Instant,
        mut is_good: impl FnMut(&Route) -> bool,
    ) -> Vec<(NodeId, ClusterId)> {
        let mut gone = Vec::new();
        for (gateway, of) in &mut self.gateways {
            of.held.retain(|destination, held| {
                let is_bad = held.offer.as_ref().is_some_and(|offer| !is_good(&offer.route));
                if is_bad {
                    held.offer = None;
                    gone.push((*gateway, *destination));
                }
                held.offer.is_some() || now < held.forget_at
            });
        }
        self.gateways.retain(|_, gateway| !gateway.held.is_empty());
        gone
    }

    pub(super) fn next_change(&self, now: Instant) -> Instant {
        let all = self.gateways.values().flat_map(|gateway| gateway.held.values());
        let at = all.map(|held| match &held.offer {
            Some(offer) => offer.route.expires_at,
            None => held.forget_at,
        });
        at.filter(|at| now < *at).min().unwrap_or(Instant::NEVER)
    }

    /// What is held of those whose mark `is_it`. What is no more has no mark.
    pub(super) fn entries(
        &self,
        now: Instant,
        is_it: impl Fn(Option<u64>) -> bool,
    ) -> impl Iterator<Item = Inside> {
        let all = self.gateways.iter().flat_map(|(gateway, of)| {
            of.held.iter().map(|(destination, held)| (*gateway, *destination, held))
        });
        let those = all.filter(move |(gateway, destination, held)| {
            is_it(held.mark(*gateway, *destination, now))
        });
        those.map(move |(gateway, destination, held)| held.as_wire(gateway, destination, now))
    }

    pub(super) fn entry(
        &self,
        gateway: NodeId,
        destination: ClusterId,
        now: Instant,
    ) -> Option<Inside> {
        let held = self.gateways.get(&gateway)?.held.get(&destination)?;
        Some(held.as_wire(gateway, destination, now))
    }

    /// A number for each way there is.
    pub(super) fn marks(&self, now: Instant) -> impl Iterator<Item = u64> {
        self.gateways.iter().flat_map(move |(gateway, of)| {
            let held = of.held.iter();
            held.filter_map(move |(destination, held)| held.mark(*gateway, *destination, now))
        })
    }
}

impl Held {
    fn mark(&self, gateway: NodeId, destination: ClusterId, now: Instant) -> Option<u64> {
        let offer = self.offer.as_ref()?;
        let halves = |id: u128| [(id >> 64) as u64, id as u64];
        let [a, b] = halves(gateway.0);
        let [c, d] = halves(destination.0);
        let Version { incarnation, sequence } = self.version;
        let parts = [a, b, c, d, incarnation.0, sequence];
        let number = parts.into_iter().fold(0, |number, part| mix(number ^ part));
        (now < offer.route.expires_at).then_some(number)
    }

    fn as_wire(&self, gateway: NodeId, destination: ClusterId, now: Instant) -> Inside {
        let route = self.offer.as_ref().map(|offer| offer.as_wire(now));
        Inside { gateway, version: self.version, destination, route, told: Vec::new() }
    }
}

impl Offer {
    pub(super) fn as_wire(&self, now: Instant) -> InsideRoute {
        let Announcement { destination, ref chain, .. } = *self.route.announcement;
        let ttl_ms = self.route.ttl_ms(now);
        InsideRoute {
            metrics: self.metrics,
            is_damped: self.is_damped,
            announcement: Announcement { destination, ttl_ms, chain: chain.clone() },
        }
    }
}
