//! What is known of endpoints, for operators.

use mpreg_proto::function::{FunctionId, FunctionName, Resources, Version};

use super::{Functions, Place};

/// One endpoint as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub name: &'a FunctionName,
    /// Known of functions of this cluster.
    pub id: Option<FunctionId>,
    pub place: Place,
    pub version: &'a Version,
    pub resources: &'a Resources,
    /// Calls at a time. Zero of another node's: it takes none.
    pub limit: u32,
    pub in_flight: u32,
    /// Whether it takes calls.
    pub is_open: bool,
    /// What of the function's calls goes to its version: parts of the sum of all listed versions.
    pub share: Option<u32>,
}

impl Functions {
    /// All endpoints, by name.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.functions.iter().flat_map(|(name, endpoints)| {
            let id = self.namespace.id(name);
            let split = self.splits.get(name);
            endpoints.iter().map(move |(_, endpoint)| Row {
                name,
                id,
                place: endpoint.place,
                version: &endpoint.version,
                resources: &endpoint.resources,
                limit: endpoint.limit,
                in_flight: endpoint.in_flight,
                is_open: endpoint.is_open,
                share: split.and_then(|split| split.weight(&endpoint.version)),
            })
        })
    }
}
