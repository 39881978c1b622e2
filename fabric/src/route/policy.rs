//! What is taken from whom, what is told to whom, and how ways are compared. Decided by people.
//!
//! A policy is replaced as a whole. Routes held when it comes stay until they expire, unless it is said
//! to be about these too; what it lets in and the last did not comes in at once, what is said afterwards
//! is judged by the new one, and what was told to neighbours is brought in line at once.
//!
//! Invariants:
//! - With a neighbour that has no terms, nothing is exchanged (RFC 8212).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::ClusterId;
use mpreg_proto::route::{Metrics, Relation, Tag};

use super::fact::Reject;
use crate::limits::{ROUTE_UPDATES_PER_SECOND_MAX, ROUTES_PER_NEIGHBOUR_MAX};

/// Everything people decide about routes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Holds for all neighbours, besides their own terms.
    pub import: Filter,
    pub export: Filter,
    pub neighbours: BTreeMap<ClusterId, Terms>,
    /// For clusters not among the neighbours above. `None`: nothing is exchanged with them.
    pub others: Option<Terms>,
    pub signatures: Signatures,
    /// What routes to this cluster are marked with.
    pub tags: Vec<Tag>,
    pub weights: Weights,
    pub damping: Damping,
    pub timing: Timing,
    pub quota: Quota,
}

/// What is agreed with one neighbouring cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Terms {
    pub import: Filter,
    pub export: Filter,
    /// What the neighbour is to this cluster.
    pub relation: Relation,
}

/// Which routes pass. The default lets all of them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter {
    pub destinations: Among,
    /// The cluster a route was learned from; for routes to this cluster, this cluster.
    pub advertisers: Among,
    /// `None`: any tags, or none. Otherwise a route needs one of these.
    pub tags: Option<BTreeSet<Tag>>,
    pub tags_denied: BTreeSet<Tag>,
    pub hops_max: u16,
    pub latency_us_max: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Among {
    #[default]
    All,
    Only(BTreeSet<ClusterId>),
    AllBut(BTreeSet<ClusterId>),
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub destination: ClusterId,
    pub advertiser: ClusterId,
    pub tags: &'a [Tag],
    pub metrics: Metrics,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Signatures {
    #[default]
    Required,
    /// What is not signed is believed, unless a key of the cluster is known. For networks where
    /// everyone is trusted.
    UnsignedAllowed,
}

/// Thousandths of a point. Fewer points are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Weights {
    /// Per millisecond of round trip.
    pub latency: u32,
    /// Per link between clusters.
    pub hop: u32,
    /// Per unit of cost.
    pub cost: u32,
    /// For a way on which everything is lost.
    pub unreliability: u32,
    /// Taken off per Mbit/s.
    pub bandwidth: u32,
    /// The most that is taken off.
    pub bandwidth_max: u32,
}

/// How ways that come and go are treated. The last way to a destination never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Damping {
    /// From the loss of a way until it may be chosen again. Zero: at once.
    pub hold_down: Duration,
    /// Added for each loss.
    pub flap_penalty: u32,
    /// Not chosen from here on. Zero: never mind.
    pub suppress_at: u32,
    /// Chosen again from here on down.
    pub reuse_at: u32,
    pub penalty_max: u32,
    pub half_life: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// How long a route to this cluster is good for, unless it is announced again.
    pub ttl: Duration,
    /// The most that is believed of others.
    pub ttl_max: Duration,
    /// Between announcements of this cluster.
    pub refresh: Duration,
    /// Between two updates of one route to one neighbour. Withdrawals do not wait.
    pub pace: Duration,
}

/// What one neighbouring node may ask of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    pub routes: usize,
    /// Updates a second, over time; as many again as `routes` at once.
    pub updates_per_second: u32,
}

impl Default for Policy {
    /// Nothing is exchanged until neighbours are listed, and signatures are required.
    fn default() -> Self {
        Self {
            import: Filter::default(),
            export: Filter::default(),
            neighbours: BTreeMap::new(),
            others: None,
            signatures: Signatures::Required,
            tags: Vec::new(),
            weights: Weights::default(),
            damping: Damping::default(),
            timing: Timing::default(),
            quota: Quota::default(),
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            destinations: Among::All,
            advertisers: Among::All,
            tags: None,
            tags_denied: BTreeSet::new(),
            hops_max: u16::MAX,
            latency_us_max: u32::MAX,
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            latency: 1000,
            hop: 10_000,
            cost: 1000,
            unreliability: 50_000,
            bandwidth: 1,
            bandwidth_max: 5000,
        }
    }
}

impl Default for Damping {
    /// As gentle as RFC 7196 asks: six losses within a half-life, since the search for another way
    /// after one loss looks like several.
    fn default() -> Self {
        Self {
            hold_down: Duration::ZERO,
            flap_penalty: 1000,
            suppress_at: 6000,
            reuse_at: 1500,
            penalty_max: 12_000,
            half_life: Duration::from_secs(15),
        }
    }
}

impl Timing {
    /// Of nodes whose links say at once when they are down: age is the last resort, and saying all
    /// again costs a cluster more than anything else does while nothing happens.
    pub const NODE: Self = Self {
        ttl: Duration::from_secs(120),
        ttl_max: Duration::from_secs(240),
        refresh: Duration::from_secs(60),
        pace: Duration::from_millis(50),
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            ttl_max: Duration::from_secs(60),
            refresh: Duration::from_secs(10),
            pace: Duration::from_millis(50),
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { routes: ROUTES_PER_NEIGHBOUR_MAX, updates_per_second: ROUTE_UPDATES_PER_SECOND_MAX }
    }
}

impl Policy {
    /// Routes are exchanged with every neighbour. Signatures are still required.
    pub fn open() -> Self {
        Self { others: Some(Terms::default()), ..Self::default() }
    }

    pub fn terms(&self, neighbour: ClusterId) -> Option<&Terms> {
        self.neighbours.get(&neighbour).or(self.others.as_ref())
    }

    /// Whether a route may come in from `neighbour`.
    pub fn admit(&self, neighbour: ClusterId, subject: Subject<'_>) -> Result<&Terms, Reject> {
        let terms = self.terms(neighbour).ok_or(Reject::Policy)?;
        self.import.pass(subject)?;
        terms.import.pass(subject)?;
        Ok(terms)
    }

    /// Whether a route may be told to `neighbour`, and on which terms.
    pub fn offer(&self, neighbour: ClusterId, subject: Subject<'_>) -> Option<&Terms> {
        let terms = self.terms(neighbour)?;
        let passes = self.export.pass(subject).and_then(|()| terms.export.pass(subject)).is_ok();
        passes.then_some(terms)
    }
}

impl Filter {
    pub fn pass(&self, subject: Subject<'_>) -> Result<(), Reject> {
        let has_tag = |tags: &BTreeSet<Tag>| subject.tags.iter().any(|tag| tags.contains(tag));
        let passes = self.destinations.holds(subject.destination)
            && self.advertisers.holds(subject.advertiser)
            && self.tags.as_ref().is_none_or(has_tag)
            && !has_tag(&self.tags_denied);
        if !passes {
            return Err(Reject::Policy);
        }
        let is_near = subject.metrics.hops <= self.hops_max
            && subject.metrics.latency_us <= self.latency_us_max;
        if is_near { Ok(()) } else { Err(Reject::Metrics) }
    }
}

impl Among {
    pub fn holds(&self, cluster: ClusterId) -> bool {
        match self {
            Self::All => true,
            Self::Only(clusters) => clusters.contains(&cluster),
            Self::AllBut(clusters) => !clusters.contains(&cluster),
        }
    }
}
