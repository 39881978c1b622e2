//! Areas: whose links this cluster hears of, and what it tells one area of another.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mpreg_proto::id::ClusterId;
use mpreg_proto::link_state::AreaId;

/// Which areas this cluster and its neighbours are in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Areas {
    /// Those this cluster is in. At least one.
    pub local: Vec<AreaId>,
    /// Of which area the links to a neighbouring cluster are.
    pub neighbours: BTreeMap<ClusterId, AreaId>,
    /// Of which area they are to one that is not named above.
    pub unmapped: Unmapped,
    /// What one area is told of another. Nothing, unless a filter here allows it.
    pub summaries: Vec<SummaryFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Unmapped {
    /// The first of the local ones.
    First,
    /// None: such links are not advertised.
    Refused,
}

/// Clusters of one area that this cluster tells another area it has a way to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SummaryFilter {
    pub from: AreaId,
    pub into: AreaId,
    pub clusters: Summarised,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Summarised {
    All,
    Only(Vec<ClusterId>),
}

impl Areas {
    /// One area, which everyone is in.
    pub fn single() -> Self {
        let (neighbours, summaries) = (BTreeMap::new(), Vec::new());
        Self { local: alloc::vec![AreaId(0)], neighbours, unmapped: Unmapped::First, summaries }
    }

    /// Of which area links to this cluster are.
    pub fn of(&self, neighbour: ClusterId) -> Option<AreaId> {
        let mapped = self.neighbours.get(&neighbour).copied();
        let area = mapped.or_else(|| match self.unmapped {
            Unmapped::First => self.local.first().copied(),
            Unmapped::Refused => None,
        });
        area.filter(|area| self.local.contains(area))
    }
}

impl SummaryFilter {
    pub fn allows(&self, cluster: ClusterId) -> bool {
        match &self.clusters {
            Summarised::All => true,
            Summarised::Only(clusters) => clusters.contains(&cluster),
        }
    }
}
