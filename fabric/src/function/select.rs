//! Who runs a call.
//!
//! ```text
//!   endpoints of the name -> asked cluster -> version allowed -> resources there -> can be reached and
//!     takes calls -> has room -> version drawn, if calls are split -> the best
//! ```
//!
//! The best: at this node, in this cluster, in the nearest other cluster; then the highest version; then
//! the least part of its limit in use; then the one that this call likes most, so that calls spread
//! over equals. Where a call goes nowhere, what is said is how far the endpoint came that came furthest.
//!
//! Versions that a split does not list get calls only if none that it lists can take them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use mpreg_proto::function::{Constraint, FunctionName, Resources, Version};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId};

use super::{Endpoint, EndpointId, Functions, Place};
use crate::graph::affinity;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub name: &'a FunctionName,
    pub constraint: &'a Constraint,
    /// It needs all of these.
    pub resources: &'a Resources,
    /// There and nowhere else.
    pub cluster: Option<ClusterId>,
    pub within: Within,
    /// This one and no other, constraint or not.
    pub version: Option<&'a Version>,
    /// Not there again.
    pub tried: &'a [Place],
    /// Of this call alone, and the same when it is asked again.
    pub request: u128,
}

/// How far a call may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    #[default]
    Fabric,
    /// To workers of this node.
    Node,
}

/// Where calls go. The nearest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Another one than this.
    Cluster(ClusterId),
    /// Another one of this cluster.
    Node(NodeId),
    Here,
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub endpoint: EndpointId,
    pub place: Place,
    /// Which life of the node is there.
    pub life: Incarnation,
    pub version: &'a Version,
}

/// Nobody runs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Failure {
    pub name: FunctionName,
    pub why: Why,
}

/// Why nobody runs a call. Of some reasons the last says most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Why {
    #[error("nobody is known to offer it")]
    NotFound,
    #[error("no version of it is allowed, {highest} is the highest")]
    NoVersion { highest: Version },
    #[error("{highest} is the highest version allowed, and none has these resources")]
    NoResource { highest: Version },
    /// There is no way, or there are workers and none takes calls.
    #[error("who offers it cannot be reached, or takes no calls")]
    Unreachable { at: Target },
    #[error("all who offer it run as many calls as they may")]
    Overloaded { at: Target },
}

impl Why {
    /// The word clients, logs and metrics use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoVersion { .. } => "no_version",
            Self::NoResource { .. } => "no_resource",
            Self::Unreachable { .. } => "unreachable",
            Self::Overloaded { .. } => "overloaded",
        }
    }
}

/// One endpoint, as a call sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    pub endpoint: EndpointId,
    pub place: Place,
    pub version: &'a Version,
    pub resources: &'a Resources,
    pub limit: u32,
    pub in_flight: u32,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So far away, in clusters.
    Able { distance: u32 },
    /// Not in the cluster that is asked for.
    Elsewhere,
    /// The first thing it lacks.
    Lacks(Why),
}

impl Verdict {
    /// The word that operators see.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Able { .. } => "able",
            Self::Elsewhere => "other_cluster",
            Self::Lacks(why) => why.word(),
        }
    }
}

/// An endpoint that can take the call.
#[derive(Debug)]
struct Candidate<'a> {
    id: EndpointId,
    endpoint: &'a Endpoint,
    /// Zero within the cluster.
    distance: u32,
}

/// The order of candidates; the least is best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    place: Reverse<Nearness>,
    version: Reverse<&'a Version>,
    load: Load,
    liking: Reverse<u64>,
    /// What differs where all else is the same.
    rest: (Place, &'a Resources),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Remote { distance: Reverse<u32> },
    Mate,
    Here,
}

/// Which part of a limit is in use.
struct Load {
    in_flight: u32,
    /// Not zero.
    limit: u32,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |one: &Self, other: &Self| u64::from(one.in_flight) * u64::from(other.limit);
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

impl Functions {
    /// `distance` says how far away a node or cluster is by the ways that can be taken now, if there are
    /// any. How far counts between clusters only, and it is not asked of `Target::Here`.
    pub fn select(
        &self,
        call: &Call<'_>,
        distance: impl Fn(Target) -> Option<u32>,
    ) -> Result<Chosen<'_>, Failure> {
        let flow = affinity(call.request as u64, call.request >> 64);
        let mut failed = None;
        let best = match self.splits.get(call.name).filter(|_| call.version.is_none()) {
            None => self.tiers(call).find_map(|tier| {
                let candidates = self.candidates(tier, call, &distance, &mut failed);
                candidates.min_by(|a, b| a.rank(flow).cmp(&b.rank(flow)))
            }),
            // The draw is over all that can take it, however far they are.
            Some(split) => {
                let mut all = Vec::new();
                for tier in self.tiers(call) {
                    all.extend(self.candidates(tier, call, &distance, &mut failed));
                }
                let has =
                    |version: &Version| all.iter().any(|one| one.endpoint.version == *version);
                let drawn = split.draw(flow, has);
                all.retain(|one| drawn.is_none_or(|drawn| one.endpoint.version == *drawn));
                all.into_iter().min_by(|a, b| a.rank(flow).cmp(&b.rank(flow)))
            }
        };
        let Some(Candidate { id, endpoint, .. }) = best else {
            let why = failed.unwrap_or_else(|| self.unknown(call.cluster, distance));
            return Err(Failure { name: call.name.clone(), why });
        };
        let Endpoint { place, life, version, .. } = endpoint;
        Ok(Chosen { endpoint: id, place: *place, life: *life, version })
    }

    /// Each endpoint of the name, the nearest first, and whether it can take the call.
    pub fn judged(
        &self,
        call: &Call<'_>,
        distance: impl Fn(Target) -> Option<u32>,
    ) -> impl Iterator<Item = Judged<'_>> {
        self.tiers(call).flatten().map(move |(&id, known)| {
            let is_asked = |asked| asked == known.place.cluster(self.cluster);
            let verdict = match judge(known, call, &distance) {
                _ if !call.cluster.is_none_or(is_asked) => Verdict::Elsewhere,
                Ok(distance) => Verdict::Able { distance },
                Err(why) => Verdict::Lacks(why),
            };
            let Endpoint { place, version, resources, limit, in_flight, .. } = known;
            let (place, limit, in_flight) = (*place, *limit, *in_flight);
            Judged { endpoint: id, place, version, resources, limit, in_flight, verdict }
        })
    }

    /// Those that may be asked, the nearest first.
    fn tiers(&self, call: &Call<'_>) -> impl Iterator<Item = &BTreeMap<EndpointId, Endpoint>> {
        let tiers = match call.within {
            Within::Fabric => 3,
            Within::Node => 1,
        };
        self.functions.get(call.name).into_iter().flat_map(move |known| &known.tiers[..tiers])
    }

    /// Those of a tier that can take the call.
    fn candidates<'a>(
        &self,
        tier: &'a BTreeMap<EndpointId, Endpoint>,
        call: &Call<'_>,
        distance: impl Fn(Target) -> Option<u32>,
        failed: &mut Option<Why>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        tier.iter().filter_map(move |(&id, endpoint)| {
            let is_asked = |asked| asked == endpoint.place.cluster(self.cluster);
            if !call.cluster.is_none_or(is_asked) || call.tried.contains(&endpoint.place) {
                return None;
            }
            match judge(endpoint, call, &distance) {
                Ok(distance) => Some(Candidate { id, endpoint, distance }),
                Err(why) => {
                    *failed = failed.take().max(Some(why));
                    None
                }
            }
        })
    }

    /// Of a cluster without a way to it is not known what it offers.
    fn unknown(&self, asked: Option<ClusterId>, distance: impl Fn(Target) -> Option<u32>) -> Why {
        match asked.filter(|&asked| asked != self.cluster).map(Target::Cluster) {
            Some(at) if distance(at).is_none() => Why::Unreachable { at },
            Some(_) | None => Why::NotFound,
        }
    }
}

/// How far away an endpoint is that can take the call; else the first thing that it lacks.
fn judge(
    endpoint: &Endpoint,
    call: &Call<'_>,
    distance: impl Fn(Target) -> Option<u32>,
) -> Result<u32, Why> {
    let Endpoint { place, version, resources, limit, in_flight, is_open, .. } = endpoint;
    let is_allowed = match call.version {
        Some(asked) => asked == version,
        None => call.constraint.allows(version),
    };
    if !is_allowed {
        return Err(Why::NoVersion { highest: version.clone() });
    }
    if !call.resources.is_subset(resources) {
        return Err(Why::NoResource { highest: version.clone() });
    }
    let (at, away) = match *place {
        Place::Here(_) => (Target::Here, Some(0)),
        Place::Mate(node) => (Target::Node(node), distance(Target::Node(node)).map(|_| 0)),
        Place::Remote { cluster, .. } => {
            (Target::Cluster(cluster), distance(Target::Cluster(cluster)))
        }
    };
    match away.filter(|_| *is_open) {
        None => Err(Why::Unreachable { at }),
        Some(_) if limit <= in_flight => Err(Why::Overloaded { at }),
        Some(away) => Ok(away),
    }
}

impl<'a> Candidate<'a> {
    fn rank(&self, flow: u64) -> Rank<'a> {
        let Endpoint { place, version, resources, limit, in_flight, .. } = self.endpoint;
        let (nearness, likes) = match *place {
            Place::Here(worker) => {
                (Nearness::Here, affinity(worker.session.0, worker.number.into()).into())
            }
            Place::Mate(node) => (Nearness::Mate, node.0),
            Place::Remote { node, .. } => {
                (Nearness::Remote { distance: Reverse(self.distance) }, node.0)
            }
        };
        Rank {
            place: Reverse(nearness),
            version: Reverse(version),
            load: Load { in_flight: *in_flight, limit: *limit },
            liking: Reverse(affinity(flow, likes)),
            rest: (*place, resources),
        }
    }
}

impl Place {
    fn cluster(self, own: ClusterId) -> ClusterId {
        match self {
            Self::Here(_) | Self::Mate(_) => own,
            Self::Remote { cluster, .. } => cluster,
        }
    }
}
