//! What nodes say about their links, relayed to everyone in its scope.
//!
//! ```text
//!   Flood          how long it is still worth having, the bytes of an advertisement, a signature
//!   Advertisement  whose, of which version and kind: links, and clusters of other areas
//! ```
//!
//! The body of a flood is carried as its node wrote it and never encoded again on the way, so a
//! signature over it stays good. Only the time left changes.
//!
//! Invariants:
//! - Any bytes parse or are refused with a code; lists are counted right after checked access.
//! - What is written reads back the same.
//! - A kind that this version does not know is carried on and not used.

use alloc::vec::Vec;
use core::fmt;

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::{ClusterId, NodeId, Version};
use crate::limits::{ADJACENCIES_MAX, ADVERTISEMENT_BYTES_MAX, SIGNATURE_BYTES, SUMMARIES_MAX};

/// A part of the fabric whose clusters know each other's links. Zero where there is only one.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct AreaId(pub u32);

impl fmt::Display for AreaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An advertisement on its way.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Milliseconds it is still good for, less the time it was held on the way.
    pub ttl_ms: u32,
    /// An [`Advertisement`].
    pub body: Vec<u8>,
    /// Of its node's cluster, over the body (`route::Signing::LinkState`). None inside a cluster.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
}

/// Which links an advertisement is about, and so how far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Links to nodes of the same cluster, for that cluster's nodes.
    Mesh = 1,
    /// Links to other clusters of one area and ways to other areas, for all nodes of the area; and the
    /// other nodes of its cluster that have such links and that this one reaches.
    Border = 2,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Mesh, Self::Border];

    pub fn from_wire(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// What one node says of its links.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub origin: NodeId,
    pub cluster: ClusterId,
    pub version: Version,
    /// A [`Kind`], if this version knows it.
    pub kind: u16,
    /// Zero for links inside a cluster.
    pub area: AreaId,
    pub links: Vec<Adjacency>,
    pub summaries: Vec<Summary>,
}

/// A link, as one of its two ends sees it. It counts once both say so.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Adjacency {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub metrics: Metrics,
}

/// A cluster of another area that is reached through this node's cluster.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Summary {
    pub cluster: ClusterId,
    /// From the cluster that says so.
    pub cost: u32,
}

/// What was measured of a link. Integers, so that all machines compare the same.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Metrics {
    /// Round trip, microseconds.
    pub latency_us: u32,
    /// Mbit/s. Zero: not known.
    pub bandwidth_mbps: u32,
    /// Parts per million that arrive.
    pub reliability_ppm: u32,
    /// What an operator says that it costs.
    pub cost: u32,
}

impl Flood {
    pub fn put(&self, out: &mut Vec<u8>) {
        let bytes = rkyv::to_bytes::<Failure>(self);
        out.extend_from_slice(&bytes.expect("a buffer in memory takes any plain value"));
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let archived = rkyv::access::<ArchivedFlood, Failure>(bytes);
        let archived = archived.map_err(|_| ErrorCode::Malformed)?;
        if ADVERTISEMENT_BYTES_MAX < archived.body.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        rkyv::deserialize::<_, Failure>(archived).map_err(|_| ErrorCode::Malformed)
    }
}

impl Advertisement {
    /// The bytes that are signed and flooded.
    pub fn to_body(&self) -> Vec<u8> {
        let bytes = rkyv::to_bytes::<Failure>(self);
        bytes.expect("a buffer in memory takes any plain value").into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        let archived = rkyv::access::<ArchivedAdvertisement, Failure>(body);
        let archived = archived.map_err(|_| ErrorCode::Malformed)?;
        if ADJACENCIES_MAX < archived.links.len() || SUMMARIES_MAX < archived.summaries.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        rkyv::deserialize::<_, Failure>(archived).map_err(|_| ErrorCode::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::id::Incarnation;

    fn metrics() -> impl Strategy<Value = Metrics> {
        any::<[u32; 4]>().prop_map(|[latency_us, bandwidth_mbps, reliability_ppm, cost]| Metrics {
            latency_us,
            bandwidth_mbps,
            reliability_ppm,
            cost,
        })
    }

    fn advertisement() -> impl Strategy<Value = Advertisement> {
        let link =
            (any::<u128>(), any::<u128>(), metrics()).prop_map(|(node, cluster, metrics)| {
                Adjacency { node: NodeId(node), cluster: ClusterId(cluster), metrics }
            });
        let summary = (any::<u128>(), any::<u32>())
            .prop_map(|(cluster, cost)| Summary { cluster: ClusterId(cluster), cost });
        let links = prop::collection::vec(link, 0..6);
        let summaries = prop::collection::vec(summary, 0..6);
        let names = (any::<[u128; 2]>(), any::<[u64; 2]>(), any::<u16>(), any::<u32>());
        (names, links, summaries).prop_map(|((ids, version, kind, area), links, summaries)| {
            let [origin, cluster] = ids;
            let version = Version { incarnation: Incarnation(version[0]), sequence: version[1] };
            let (origin, cluster, area) = (NodeId(origin), ClusterId(cluster), AreaId(area));
            Advertisement { origin, cluster, version, kind, area, links, summaries }
        })
    }

    fn largest(links: usize, summaries: usize) -> Advertisement {
        let metrics = Metrics { latency_us: 1, bandwidth_mbps: 2, reliability_ppm: 3, cost: 4 };
        let link = Adjacency { node: NodeId(1), cluster: ClusterId(2), metrics };
        let summary = Summary { cluster: ClusterId(3), cost: 4 };
        Advertisement {
            origin: NodeId(1),
            cluster: ClusterId(2),
            version: Version { incarnation: Incarnation(1), sequence: 1 },
            kind: Kind::Border as u16,
            area: AreaId(0),
            links: vec![link; links],
            summaries: vec![summary; summaries],
        }
    }

    #[test]
    fn the_largest_fits_a_flood_and_larger_is_refused() {
        let body = largest(ADJACENCIES_MAX, SUMMARIES_MAX).to_body();
        let flood = Flood { ttl_ms: 1, body, signature: Some([9; SIGNATURE_BYTES]) };
        let mut bytes = Vec::new();
        flood.put(&mut bytes);
        assert_eq!(Flood::parse(&bytes).as_ref(), Ok(&flood));
        assert!(Advertisement::parse(&flood.body).is_ok());
        for (links, summaries) in [(ADJACENCIES_MAX + 1, 0), (0, SUMMARIES_MAX + 1)] {
            let body = largest(links, summaries).to_body();
            assert_eq!(Advertisement::parse(&body), Err(ErrorCode::FrameTooLarge));
        }
        let body = vec![0; ADVERTISEMENT_BYTES_MAX + 1];
        let mut bytes = Vec::new();
        Flood { body, ..flood }.put(&mut bytes);
        assert_eq!(Flood::parse(&bytes), Err(ErrorCode::FrameTooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(said in advertisement(), ttl_ms: u32, signed: bool) {
            let body = said.to_body();
            prop_assert_eq!(Advertisement::parse(&body), Ok(said));
            let flood = Flood { ttl_ms, body, signature: signed.then_some([7; SIGNATURE_BYTES]) };
            let mut bytes = Vec::new();
            flood.put(&mut bytes);
            prop_assert_eq!(Flood::parse(&bytes), Ok(flood));
        }

        #[test]
        fn reading_is_total(said in advertisement(), bent in any::<(prop::sample::Index, u8)>()) {
            let mut body = said.to_body();
            let (at, byte) = (bent.0.index(body.len()), bent.1);
            body[at] = byte;
            if let Ok(read) = Advertisement::parse(&body) {
                prop_assert!(read.links.len() <= ADJACENCIES_MAX);
            }
            if let Ok(flood) = Flood::parse(&body) {
                prop_assert!(flood.body.len() <= ADVERTISEMENT_BYTES_MAX);
            }
        }
    }
}
