//! What shards go by: for each cluster, who is next, and who else could be. Never changed; a change is
//! another view.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mpreg_proto::id::ClusterId;

use super::select::Next;

/// A way, as far as forwarding needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub next: Next,
    /// The neighbouring cluster first, the destination last.
    pub path: Arc<[ClusterId]>,
}

/// Ways to one cluster, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    pub destination: ClusterId,
    pub hops: Vec<NextHop>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteView {
    /// By destination.
    ways: Vec<Ways>,
}

impl RouteView {
    /// `ways` are in the order of their destinations.
    pub(super) fn new(ways: Vec<Ways>) -> Self {
        assert!(ways.is_sorted_by(|a, b| a.destination < b.destination));
        Self { ways }
    }

    /// Who is next on the best way that none of the clusters in `avoid` is on.
    pub fn next_hop(&self, destination: ClusterId, avoid: &[ClusterId]) -> Option<&NextHop> {
        let is_clear = |hop: &&NextHop| !hop.path.iter().any(|cluster| avoid.contains(cluster));
        self.hops(destination).iter().find(is_clear)
    }

    /// All ways kept, the best first.
    pub fn hops(&self, destination: ClusterId) -> &[NextHop] {
        let found = self.ways.binary_search_by_key(&destination, |ways| ways.destination);
        found.map_or(&[], |at| &self.ways[at].hops[..])
    }

    pub fn destinations(&self) -> impl Iterator<Item = ClusterId> {
        self.ways.iter().map(|ways| ways.destination)
    }
}
