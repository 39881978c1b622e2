//! Why a way is taken: every candidate with its score, and what it lost by.
//!
//! Made of the same judgement that forwarding follows, so it cannot tell another story.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::route::Metrics;

use super::select::{Filtered, Judged, Next, Score, kept};
use super::view::NextHop;
use crate::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub destination: ClusterId,
    pub avoid: Vec<ClusterId>,
    /// Best first, those left out last.
    pub candidates: Vec<Reason>,
    /// Which of them is taken.
    pub selected: Option<usize>,
}

/// One way, with all that was compared, in the order in which it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub next: Next,
    pub path: Arc<[ClusterId]>,
    pub metrics: Metrics,
    pub score: Score,
    /// Compared where scores are equal: hops, then round trip, then reliability, then advertiser,
    /// then the advertiser's node.
    pub ties: Ties,
    pub filtered: Option<Filtered>,
    pub expires_in: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ties {
    pub hops: u16,
    pub latency_us: u32,
    pub reliability_ppm: u32,
    pub advertiser: ClusterId,
    pub neighbour: NodeId,
}

impl Explanation {
    pub(super) fn new(
        destination: ClusterId,
        avoid: &[ClusterId],
        judged: &[Judged],
        now: Instant,
    ) -> Self {
        let reason = |way: &Judged| Reason {
            next: way.candidate.next,
            path: way.candidate.path.clone(),
            metrics: way.candidate.metrics,
            score: way.rank.score,
            ties: Ties {
                hops: way.rank.hops,
                latency_us: way.rank.latency_us,
                reliability_ppm: way.rank.reliability_ppm.0,
                advertiser: way.rank.advertiser,
                neighbour: way.rank.neighbour,
            },
            filtered: way.filtered,
            expires_in: way.candidate.expires_at.since(now),
        };
        Self {
            destination,
            avoid: avoid.to_vec(),
            candidates: judged.iter().map(reason).collect(),
            selected: judged.iter().position(|way| way.filtered.is_none()),
        }
    }
}

/// The ways kept, as forwarding sees them.
pub(super) fn hops(judged: &[Judged]) -> Vec<NextHop> {
    let hop = |way: &Judged| NextHop { next: way.candidate.next, path: way.candidate.path.clone() };
    kept(judged).map(hop).collect()
}
