//! Which way is best: one function, for forwarding, for the views of shards and for explaining.
//!
//! Ways are compared by score, then hops, round trip, reliability, advertising cluster, and the node
//! next on the way. That is a total order over what the ways are, so the order in which they were
//! heard does not matter. Every link adds to the score, so a shorter way is never made worse by
//! another's being longer (what makes path vectors settle: Sobrinho 2005).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;

use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::route::Metrics;

use super::damping::Damped;
use super::policy::Weights;
use crate::limits::{ROUTE_ALTERNATES_MAX, ROUTE_LINK_LATENCY_US_MIN};
use crate::time::Instant;

/// What is known of a link to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Microseconds, smoothed.
    pub round_trip_us: u32,
    /// Parts per million that are lost.
    pub loss_ppm: u32,
    /// Zero: not known.
    pub bandwidth_mbps: u32,
    pub cost: u32,
}

/// Millionths of a point. Fewer are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub i128);

/// Who is next on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// A node of another cluster, over a link of this node.
    Neighbour(NodeId),
    /// A node of this cluster, which has such a link.
    Gateway(NodeId),
}

/// The order of ways; the least is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub score: Score,
    pub hops: u16,
    pub latency_us: u32,
    pub reliability_ppm: Reverse<u32>,
    pub advertiser: ClusterId,
    pub neighbour: NodeId,
    pub next: Next,
}

/// A way to one destination.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub next: Next,
    /// The node of the neighbouring cluster it leads over.
    pub neighbour: NodeId,
    /// The neighbouring cluster first, the destination last.
    pub path: Arc<[ClusterId]>,
    pub metrics: Metrics,
    pub expires_at: Instant,
    pub damped: Option<Damped>,
}

/// Why a way is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filtered {
    Expired,
    HoldDown,
    Suppressed,
    /// Others are better, and no more are kept.
    Surplus,
    /// A cluster to be avoided is on it.
    Avoided,
    /// People do not want it.
    Policy,
}

impl Filtered {
    /// The word logs and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::HoldDown => "hold_down",
            Self::Suppressed => "suppressed",
            Self::Surplus => "surplus",
            Self::Avoided => "avoided",
            Self::Policy => "policy",
        }
    }
}

/// A way, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    pub candidate: Candidate,
    pub rank: Rank,
    pub filtered: Option<Filtered>,
}

impl Next {
    pub fn node(self) -> NodeId {
        match self {
            Self::Neighbour(node) | Self::Gateway(node) => node,
        }
    }
}

impl Link {
    pub(super) fn latency_us(&self) -> u32 {
        self.round_trip_us.max(ROUTE_LINK_LATENCY_US_MIN)
    }

    /// How far it is over this link to what is `beyond`.
    pub fn to(&self, beyond: Metrics) -> Metrics {
        Metrics {
            hops: beyond.hops.saturating_add(1),
            latency_us: beyond.latency_us.saturating_add(self.latency_us()),
            bandwidth_mbps: beyond.bandwidth_mbps.min(self.bandwidth_mbps),
            reliability_ppm: beyond.reliability_ppm.saturating_sub(self.loss_ppm),
            cost: beyond.cost.saturating_add(self.cost),
        }
    }
}

impl Weights {
    pub fn score(&self, metrics: Metrics) -> Score {
        let latency = i128::from(metrics.latency_us) * i128::from(self.latency);
        let hops = i128::from(metrics.hops) * i128::from(self.hop) * 1000;
        let cost = i128::from(metrics.cost) * i128::from(self.cost) * 1000;
        let lost_ppm = 1_000_000_u32.saturating_sub(metrics.reliability_ppm);
        let loss = i128::from(lost_ppm) * i128::from(self.unreliability) / 1000;
        let bonus = i128::from(metrics.bandwidth_mbps) * i128::from(self.bandwidth);
        let bonus = bonus.min(i128::from(self.bandwidth_max)) * 1000;
        Score(latency + hops + cost + loss - bonus)
    }
}

impl Candidate {
    pub(super) fn rank(&self, weights: &Weights) -> Rank {
        Rank {
            score: weights.score(self.metrics),
            hops: self.metrics.hops,
            latency_us: self.metrics.latency_us,
            reliability_ppm: Reverse(self.metrics.reliability_ppm),
            advertiser: *self.path.first().expect("a way leads somewhere"),
            neighbour: self.neighbour,
            next: self.next,
        }
    }
}

/// Judges all ways to one destination; the best of those not filtered is the one to take.
///
/// Damped ways count as any other where all are damped: the last way is never given up.
pub fn judge(
    candidates: Vec<Candidate>,
    weights: &Weights,
    avoid: &[ClusterId],
    now: Instant,
) -> Vec<Judged> {
    let is_live = |candidate: &Candidate| now < candidate.expires_at;
    let has_undamped = candidates.iter().any(|way| is_live(way) && way.damped.is_none());
    let mut judged: Vec<Judged> = candidates
        .into_iter()
        .map(|candidate| {
            let damped = candidate.damped.filter(|_| has_undamped);
            let filtered = if !is_live(&candidate) {
                Some(Filtered::Expired)
            } else {
                damped.map(|reason| match reason {
                    Damped::HoldDown => Filtered::HoldDown,
                    Damped::Suppressed => Filtered::Suppressed,
                })
            };
            Judged { rank: candidate.rank(weights), candidate, filtered }
        })
        .collect();
    judged.sort_by_key(|way| (way.filtered.is_some(), way.rank));
    for (place, way) in judged.iter_mut().enumerate().filter(|(_, way)| way.filtered.is_none()) {
        let is_avoided = way.candidate.path.iter().any(|cluster| avoid.contains(cluster));
        way.filtered = if ROUTE_ALTERNATES_MAX < place {
            Some(Filtered::Surplus)
        } else {
            is_avoided.then_some(Filtered::Avoided)
        };
    }
    judged
}

/// The ways kept: the best, then its alternates.
pub fn kept(judged: &[Judged]) -> impl Iterator<Item = &Judged> {
    judged.iter().filter(|way| way.filtered.is_none())
}
