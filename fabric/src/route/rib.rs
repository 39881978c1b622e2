//! What neighbouring nodes have said: one route per destination each, and what is remembered of them.
//!
//! A record outlives its route: it holds the version of the last thing the neighbour said about the
//! destination, so that nothing older counts, and how often the way was lost.
//!
//! Invariants:
//! - A route is held only if it was verified, and its record has its version.
//! - A neighbour holds no more routes than its quota, and no more records than
//!   [`ROUTE_RECORDS_MAX`](crate::limits::ROUTE_RECORDS_MAX).
//! - A neighbour that is down has no routes, and none aside.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::{ClusterId, NodeId, Version};
use mpreg_proto::route::{Announcement, ChainDigest, Metrics};

use super::chain::Chain;
use super::damping::{Damped, Losses};
use super::policy::{Policy, Quota};
use super::refused::Refused;
use super::select::{Candidate, Link, Next};
use crate::limits::ROUTE_RECORDS_MAX;
use crate::time::Instant;

/// An announcement that was verified.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) announcement: Arc<Announcement>,
    pub(super) chain: Arc<Chain>,
    pub(super) digest: ChainDigest,
    pub(super) path: Arc<[ClusterId]>,
    pub(super) expires_at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Rib {
    neighbours: BTreeMap<NodeId, Neighbour>,
}

/// A node of another cluster.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) cluster: ClusterId,
    pub(super) link: Link,
    pub(super) is_up: bool,
    routes: BTreeMap<ClusterId, Route>,
    aside: BTreeMap<ClusterId, Refused>,
    records: BTreeMap<ClusterId, Record>,
    allowance: Allowance,
}

#[derive(Debug)]
struct Record {
    version: Version,
    losses: Losses,
    forget_at: Instant,
}

/// Updates a neighbour may still make, refilled with time. Thousandths of an update.
#[derive(Debug)]
struct Allowance {
    left: u64,
    at: Instant,
}

/// What a withdrawal took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Route,
    Nothing,
    /// No room to remember that nothing was there.
    NoRoom,
}

impl Route {
    /// From the advertiser to the destination, as it said.
    pub(super) fn metrics(&self) -> Metrics {
        self.chain.advertiser().metrics
    }

    pub(super) fn neighbour(&self) -> NodeId {
        self.chain.advertiser().node
    }

    /// How long it is still good for.
    pub(super) fn ttl_ms(&self, now: Instant) -> u32 {
        u32::try_from(self.expires_at.since(now).as_millis()).unwrap_or(u32::MAX)
    }
}

impl Rib {
    pub(super) fn up(&mut self, node: NodeId, cluster: ClusterId, link: Link, quota: &Quota) {
        let fresh = Neighbour {
            cluster,
            link,
            is_up: true,
            routes: BTreeMap::new(),
            aside: BTreeMap::new(),
            records: BTreeMap::new(),
            allowance: Allowance { left: quota.burst(), at: Instant::START },
        };
        let neighbour = self.neighbours.entry(node).or_insert(fresh);
        neighbour.cluster = cluster;
        neighbour.link = link;
        neighbour.is_up = true;
    }

    /// Takes away all routes of a neighbour; says which.
    pub(super) fn down(&mut self, node: NodeId, policy: &Policy, now: Instant) -> Vec<ClusterId> {
        let Some(neighbour) = self.neighbours.get_mut(&node) else { return Vec::new() };
        neighbour.is_up = false;
        neighbour.aside.clear();
        let lost: Vec<ClusterId> = neighbour.routes.keys().copied().collect();
        for destination in &lost {
            neighbour.lose(*destination, policy, now);
        }
        if neighbour.records.is_empty() {
            self.neighbours.remove(&node);
        }
        lost
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Neighbour> {
        self.neighbours.get_mut(&node).filter(|neighbour| neighbour.is_up)
    }

    /// Routes to a destination, with the neighbours they came from.
    pub(super) fn routes_to(
        &self,
        destination: ClusterId,
    ) -> impl Iterator<Item = (&Neighbour, &Route)> {
        self.neighbours.values().filter_map(move |neighbour| {
            neighbour.routes.get(&destination).map(|route| (neighbour, route))
        })
    }

    pub(super) fn candidates(
        &self,
        destination: ClusterId,
        now: Instant,
    ) -> impl Iterator<Item = Candidate> {
        self.routes_to(destination).map(move |(neighbour, route)| Candidate {
            next: Next::Neighbour(route.neighbour()),
            neighbour: route.neighbour(),
            path: route.path.clone(),
            metrics: neighbour.link.to(route.metrics()),
            expires_at: route.expires_at,
            damped: neighbour.damped(destination, now),
        })
    }

    /// Takes away every route that fails `is_good`; says which.
    pub(super) fn retain(
        &mut self,
        policy: &Policy,
        now: Instant,
        mut is_good: impl FnMut(&Route) -> bool,
    ) -> Vec<(NodeId, ClusterId)> {
        let mut gone = Vec::new();
        for (node, neighbour) in &mut self.neighbours {
            let bad: Vec<ClusterId> = neighbour
                .routes
                .iter()
                .filter(|(_, route)| !is_good(route))
                .map(|(destination, _)| *destination)
                .collect();
            for destination in bad {
                neighbour.lose(destination, policy, now);
                gone.push((*node, destination));
            }
        }
        gone
    }

    /// Forgets what need not be remembered any more.
    pub(super) fn forget(&mut self, now: Instant) {
        for neighbour in self.neighbours.values_mut() {
            let Neighbour { routes, aside, records, .. } = neighbour;
            aside.retain(|_, refused| now < refused.expires_at);
            records.retain(|destination, record| {
                now < record.forget_at || routes.contains_key(destination)
            });
        }
        self.neighbours.retain(|_, neighbour| neighbour.is_up || !neighbour.records.is_empty());
    }

    /// What is aside about a destination, with the neighbours it came from.
    pub(super) fn aside(
        &self,
        destination: ClusterId,
        now: Instant,
    ) -> impl Iterator<Item = (&Neighbour, &Refused)> {
        self.neighbours.values().filter_map(move |neighbour| {
            let refused = neighbour.aside.get(&destination);
            refused.filter(|refused| now < refused.expires_at).map(|refused| (neighbour, refused))
        })
    }

    /// What is aside and is wanted now. It is not aside any more.
    pub(super) fn wanted(&mut self, policy: &Policy, now: Instant) -> Vec<(NodeId, Refused)> {
        let mut wanted = Vec::new();
        for (node, neighbour) in &mut self.neighbours {
            for (destination, refused) in core::mem::take(&mut neighbour.aside) {
                if refused.expires_at <= now {
                    continue;
                }
                match neighbour.is_wanted(&refused.chain, policy) {
                    Ok(()) => wanted.push((*node, refused)),
                    Err(_) => drop(neighbour.aside.insert(destination, refused)),
                }
            }
        }
        wanted
    }

    /// Puts aside what is held and not wanted; says which destinations.
    pub(super) fn put_aside(&mut self, policy: &Policy, now: Instant) -> Vec<ClusterId> {
        let mut gone = Vec::new();
        for neighbour in self.neighbours.values_mut() {
            let is_unwanted = |(_, route): &(&ClusterId, &Route)| {
                neighbour.is_wanted(&route.chain, policy).is_err()
            };
            let unwanted: Vec<ClusterId> =
                neighbour.routes.iter().filter(is_unwanted).map(|(to, _)| *to).collect();
            for destination in unwanted {
                let Some(route) = neighbour.routes.get(&destination) else { continue };
                let Route { announcement, chain, expires_at, .. } = route.clone();
                neighbour.lose(destination, policy, now);
                neighbour.aside.insert(destination, Refused { announcement, chain, expires_at });
                gone.push(destination);
            }
        }
        gone
    }

    /// When something expires, is free to be chosen again, or may be forgotten.
    pub(super) fn next_change(&self, now: Instant) -> Instant {
        let expiries = self.neighbours.values().flat_map(|neighbour| neighbour.routes.values());
        let expiries = expiries.map(|route| route.expires_at);
        let records = self.neighbours.values().flat_map(|neighbour| neighbour.records.values());
        let records = records.flat_map(|record| [record.losses.free_at(), record.forget_at]);
        expiries.chain(records).filter(|at| now < *at).min().unwrap_or(Instant::NEVER)
    }

    /// Destinations whose ways became free to be chosen after `since` and by `now`.
    pub(super) fn freed(&self, since: Instant, now: Instant) -> Vec<ClusterId> {
        let records = self.neighbours.values().flat_map(|neighbour| &neighbour.records);
        let freed = records.filter(|(_, record)| {
            let at = record.losses.free_at();
            since < at && at <= now
        });
        freed.map(|(destination, _)| *destination).collect()
    }
}

impl Neighbour {
    pub(super) fn destinations(&self) -> impl Iterator<Item = ClusterId> {
        self.routes.keys().copied()
    }

    /// Whether one more update may be made now.
    pub(super) fn may_update(&mut self, quota: &Quota, now: Instant) -> bool {
        let Allowance { left, at } = &mut self.allowance;
        let refill = now.since(*at).as_millis() * u128::from(quota.updates_per_second);
        let refill = u64::try_from(refill).unwrap_or(u64::MAX);
        *left = left.saturating_add(refill).min(quota.burst());
        *at = now;
        let may = 1000 <= *left;
        *left -= if may { 1000 } else { 0 };
        may
    }

    /// Whether `version` is later than all the neighbour said about this destination.
    pub(super) fn is_news(&self, destination: ClusterId, version: Version) -> bool {
        self.records.get(&destination).is_none_or(|record| record.version < version)
    }

    pub(super) fn damped(&self, destination: ClusterId, now: Instant) -> Option<Damped> {
        self.records.get(&destination).and_then(|record| record.losses.damped(now))
    }

    /// Whether there is room for a route to this destination.
    pub(super) fn has_room(&self, destination: ClusterId, quota: &Quota) -> bool {
        let is_held = self.routes.contains_key(&destination);
        let is_remembered = self.records.contains_key(&destination);
        (is_held || self.routes.len() < quota.routes)
            && (is_remembered || self.records.len() < ROUTE_RECORDS_MAX)
    }

    /// Keeps aside what is not wanted, if there is room.
    pub(super) fn set_aside(&mut self, destination: ClusterId, refused: Refused, quota: &Quota) {
        if self.aside.len() < quota.routes || self.aside.contains_key(&destination) {
            self.aside.insert(destination, refused);
        }
    }

    /// Holds a route that was verified and has room.
    pub(super) fn hold(&mut self, destination: ClusterId, route: Route, forget_at: Instant) {
        self.remember(destination, route.chain.advertiser().version, forget_at);
        self.routes.insert(destination, route);
        self.aside.remove(&destination);
    }

    /// The neighbour said something that is not taken: what it said before holds only if it is the
    /// same path again. Whether a route was taken away.
    pub(super) fn refuse(&mut self, chain: &Chain, policy: &Policy, now: Instant) -> bool {
        let destination = chain.origin().cluster;
        let Some(route) = self.routes.get(&destination) else { return false };
        if route.path == chain.path() {
            return false;
        }
        self.lose(destination, policy, now);
        self.remember(destination, chain.advertiser().version, now + policy.timing.ttl_max);
        true
    }

    pub(super) fn withdraw(
        &mut self,
        destination: ClusterId,
        version: Version,
        policy: &Policy,
        now: Instant,
    ) -> Removed {
        let is_held = self.routes.contains_key(&destination);
        let is_remembered = self.records.contains_key(&destination);
        if !is_remembered && ROUTE_RECORDS_MAX <= self.records.len() {
            return Removed::NoRoom;
        }
        self.aside.remove(&destination);
        if is_held {
            self.lose(destination, policy, now);
        }
        self.remember(destination, version, now + policy.timing.ttl_max);
        if is_held { Removed::Route } else { Removed::Nothing }
    }

    fn lose(&mut self, destination: ClusterId, policy: &Policy, now: Instant) {
        self.routes.remove(&destination);
        if let Some(record) = self.records.get_mut(&destination) {
            record.losses.lost(&policy.damping, now);
            // A penalty matters until it has decayed below one flap's, at the latest.
            let memory = policy.timing.ttl_max.max(policy.damping.memory());
            record.forget_at = (now + memory).max(record.losses.free_at());
        }
    }

    fn remember(&mut self, destination: ClusterId, version: Version, forget_at: Instant) {
        let fresh = Record { version, losses: Losses::NONE, forget_at };
        let record = self.records.entry(destination).or_insert(fresh);
        record.version = record.version.max(version);
        record.forget_at = record.forget_at.max(forget_at);
    }
}

impl Quota {
    fn burst(&self) -> u64 {
        // Twice the table, so that a whole one and its withdrawal may come at once.
        u64::try_from(self.routes).unwrap_or(u64::MAX).saturating_mul(2000)
    }
}

impl super::policy::Damping {
    /// How long a loss is worth remembering.
    fn memory(&self) -> Duration {
        if self.suppress_at == 0 { self.hold_down } else { self.half_life.saturating_mul(4) }
    }
}
