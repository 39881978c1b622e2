//! What may pass from one cluster to another, and what of it is shown.
//!
//! [`may_cross`] is asked by both ends of a link, each with its own [`Federation`]: neither trusts
//! the other to have asked. It decides about whole feeds, so that whoever holds a feed up to a number
//! holds the same as all others. [`Filter`] decides about entries, when they are shown.

use alloc::collections::BTreeSet;

use bytes::Bytes;
use mpreg_proto::catalog::{Kind, Scope, Want};
use mpreg_proto::id::ClusterId;

use super::Key;

/// How far a cluster opens itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Only what a cluster says of itself, to those it has links with.
    #[default]
    Strict,
    /// With the listed clusters, also what they heard from others.
    Bridging,
    /// Among all.
    Permissive,
}

/// The policy of one cluster towards others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    pub own: ClusterId,
    pub mode: Mode,
    /// Who `Bridging` is with.
    pub clusters: BTreeSet<ClusterId>,
}

impl Federation {
    /// The default: what is not said to be shared is not.
    pub fn strict(own: ClusterId) -> Self {
        Self { own, mode: Mode::Strict, clusters: BTreeSet::new() }
    }

    fn has(&self, cluster: ClusterId) -> bool {
        cluster == self.own || self.clusters.contains(&cluster)
    }
}

/// Whether a feed of `owner` may go from a node of one cluster to a node of another.
pub fn may_cross(
    owner: ClusterId,
    scope: Scope,
    from: ClusterId,
    to: ClusterId,
    federation: &Federation,
) -> bool {
    match scope {
        Scope::Cluster => from == to && owner == to,
        Scope::Fabric if from == to => true,
        // What a cluster says of itself it never hears from others.
        Scope::Fabric if owner == to => false,
        Scope::Fabric => match federation.mode {
            Mode::Strict => owner == from,
            // What lies behind a listed cluster is that cluster's to say.
            Mode::Bridging => federation.has(from) && federation.has(to),
            Mode::Permissive => true,
        },
    }
}

/// Which entries of other clusters are shown. Those of one's own always are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter {
    /// None: of all clusters.
    pub clusters: Option<BTreeSet<ClusterId>>,
    /// None: all functions. Otherwise these alone.
    pub functions: Option<BTreeSet<Bytes>>,
    /// Not these. A pattern is blocked for all its queue groups.
    pub blocked: BTreeSet<Key>,
}

impl Filter {
    pub(super) fn shows(&self, own: ClusterId, owner: ClusterId, key: &Key) -> bool {
        owner == own
            || self.clusters.as_ref().is_none_or(|clusters| clusters.contains(&owner))
                && self.is_allowed(key)
                && !self.blocks(key)
    }

    fn is_allowed(&self, key: &Key) -> bool {
        let is_among = |functions: &BTreeSet<Bytes>| functions.contains(&key.name);
        key.kind != Kind::FUNCTION || self.functions.as_ref().is_none_or(is_among)
    }

    fn blocks(&self, key: &Key) -> bool {
        if self.blocked.is_empty() {
            return false;
        }
        let is_want = matches!(key.kind, Kind::SUBSCRIPTION | Kind::CLUSTER_INTEREST);
        match Want::parse(&key.name) {
            Ok(want) if is_want => {
                self.blocked.contains(&Key::new(key.kind, want.pattern.as_bytes()))
            }
            Ok(_) | Err(_) => self.blocked.contains(key),
        }
    }
}
