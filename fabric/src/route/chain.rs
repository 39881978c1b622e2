//! A chain, read: who passed an announcement on, and what each of them said.
//!
//! Reading checks what needs no key: that the links follow each other, and that every hop only makes
//! the way longer.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::{ClusterId, NodeId, Version};
use mpreg_proto::route::{Announcement, Hop, Metrics, Origin, Relation, Signed, Tag};

use super::freshness::Speaker;

/// From a destination to itself.
pub(super) const AT_HOME: Metrics = Metrics {
    hops: 0,
    latency_us: 0,
    bandwidth_mbps: u32::MAX,
    reliability_ppm: 1_000_000,
    cost: 0,
};

/// One link of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) version: Version,
    pub(super) to: ClusterId,
    pub(super) key_serial: u64,
    pub(super) relation: Relation,
    pub(super) metrics: Metrics,
}

/// The links in the order they were said: the destination first, the advertiser last. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) said: Vec<Said>,
    pub(super) tags: Arc<[Tag]>,
    /// As the destination said it.
    pub(super) ttl_ms: u32,
}

impl Chain {
    /// The announcement has links: the caller looked.
    pub(super) fn parse(announcement: &Announcement) -> Result<Self, ErrorCode> {
        let (first, rest) = announcement.chain.split_first().ok_or(ErrorCode::Malformed)?;
        let origin = Origin::parse(&first.body)?;
        let mut said = Vec::with_capacity(announcement.chain.len());
        said.push(Said {
            cluster: origin.cluster,
            node: origin.node,
            version: origin.version,
            to: origin.to,
            key_serial: origin.key_serial,
            relation: origin.relation,
            metrics: AT_HOME,
        });
        let hop = |link: &Signed| {
            let Hop { cluster, node, version, to, key_serial, relation, metrics } =
                Hop::parse(&link.body)?;
            Ok(Said { cluster, node, version, to, key_serial, relation, metrics })
        };
        for link in rest {
            said.push(hop(link)?);
        }
        Ok(Self { said, tags: origin.tags.into(), ttl_ms: origin.ttl_ms })
    }

    pub(super) fn origin(&self) -> &Said {
        self.said.first().expect("a chain has links")
    }

    pub(super) fn speaker(&self) -> Speaker {
        let Said { cluster, node, .. } = *self.origin();
        Speaker { cluster, node }
    }

    /// Who told us.
    pub(super) fn advertiser(&self) -> &Said {
        self.said.last().expect("a chain has links")
    }

    /// The clusters on the way, the next one first, the destination last.
    pub(super) fn path(&self) -> Arc<[ClusterId]> {
        self.said.iter().rev().map(|said| said.cluster).collect()
    }

    /// Whether a cluster is on the way twice, or `own` is on it.
    pub(super) fn loops(&self, own: ClusterId) -> bool {
        let clusters = || self.said.iter().map(|said| said.cluster);
        clusters().enumerate().any(|(at, cluster)| {
            cluster == own || clusters().take(at).any(|before| before == cluster)
        })
    }

    /// Whether each hop is one link on, and no better than what it was told.
    pub(super) fn only_grows(&self) -> bool {
        self.said.windows(2).all(|pair| {
            let [before, after] = [pair[0].metrics, pair[1].metrics];
            after.hops == before.hops + 1
                && before.latency_us < after.latency_us
                && after.bandwidth_mbps <= before.bandwidth_mbps
                && after.reliability_ppm <= before.reliability_ppm
                && before.cost <= after.cost
        })
    }

    /// Whether it may be told on to customers alone: somebody told it to a customer or an equal.
    pub(super) fn is_for_customers(&self) -> bool {
        self.said.iter().any(|said| is_restricting(said.relation))
    }

    /// Whether somebody told it on who should not have (RFC 9234). `ours` is what the advertiser is
    /// to this cluster by its own terms.
    pub(super) fn is_leaked(&self, ours: Relation) -> bool {
        let mut is_restricted = false;
        for said in &self.said {
            if is_restricted && said.relation != Relation::Customer {
                return true;
            }
            is_restricted |= is_restricting(said.relation);
        }
        let theirs = self.advertiser().relation;
        match ours {
            Relation::Open => false,
            Relation::Customer => theirs != Relation::Upstream,
            Relation::Upstream => theirs != Relation::Customer,
            Relation::Equal => theirs != Relation::Equal,
        }
    }
}

fn is_restricting(relation: Relation) -> bool {
    match relation {
        Relation::Customer | Relation::Equal => true,
        Relation::Open | Relation::Upstream => false,
    }
}
