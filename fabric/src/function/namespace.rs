//! Names and ids of one cluster, and which of its nodes says so: one name, one id.
//!
//! Invariant: both maps hold the same claims.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use mpreg_proto::function::{FunctionId, FunctionName};
use mpreg_proto::id::NodeId;

/// Why a name or an id cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The name stands for another id.
    Name { by: NodeId, id: FunctionId },
    /// The id has another name.
    Id { by: NodeId, name: FunctionName },
}

impl Taken {
    /// The word logs, metrics and `--json` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name_taken",
            Self::Id { .. } => "id_taken",
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Namespace {
    ids: BTreeMap<FunctionName, BTreeMap<NodeId, FunctionId>>,
    names: BTreeMap<FunctionId, BTreeSet<(NodeId, FunctionName)>>,
}

impl Namespace {
    /// In place of what the node said of this name before.
    pub(super) fn claim(&mut self, node: NodeId, name: &FunctionName, id: FunctionId) {
        self.release(node, name);
        self.ids.entry(name.clone()).or_default().insert(node, id);
        self.names.entry(id).or_default().insert((node, name.clone()));
    }

    pub(super) fn release(&mut self, node: NodeId, name: &FunctionName) {
        let Some(claims) = self.ids.get_mut(name) else { return };
        let Some(id) = claims.remove(&node) else { return };
        if claims.is_empty() {
            self.ids.remove(name);
        }
        let claims = self.names.get_mut(&id).expect("both maps hold the same claims");
        claims.remove(&(node, name.clone()));
        if claims.is_empty() {
            self.names.remove(&id);
        }
    }

    /// What the name stands for; of several that contradict each other, by the word of the least node.
    pub(super) fn id(&self, name: &FunctionName) -> Option<FunctionId> {
        self.ids.get(name)?.first_key_value().map(|(_, &id)| id)
    }

    /// Whether the node has said just this.
    pub(super) fn has(&self, node: NodeId, name: &FunctionName, id: FunctionId) -> bool {
        self.ids.get(name).and_then(|claims| claims.get(&node)) == Some(&id)
    }

    /// What a node says of this name, and of this id, whatever it is called.
    pub(super) fn claims(
        &self,
        node: NodeId,
        name: &FunctionName,
        id: FunctionId,
    ) -> Vec<(FunctionName, FunctionId)> {
        let by_name = self.ids.get(name).and_then(|claims| claims.get(&node));
        let by_name = by_name.map(|&id| (name.clone(), id));
        let by_id = self.names.get(&id).into_iter().flatten();
        let by_id = by_id.filter(|(by, other)| *by == node && other != name);
        by_name.into_iter().chain(by_id.map(|(_, name)| (name.clone(), id))).collect()
    }

    /// Who contradicts that this name is this id; of several the least node.
    pub(super) fn conflict(&self, name: &FunctionName, id: FunctionId) -> Option<Taken> {
        let by_name = self.ids.get(name).into_iter().flatten();
        let mut by_name = by_name.filter(|&(_, &other)| other != id);
        let by_id = self.names.get(&id).into_iter().flatten();
        let mut by_id = by_id.filter(|(_, other)| other != name);
        let by_name = by_name.next().map(|(&by, &id)| Taken::Name { by, id });
        let by_id = by_id.next().map(|(by, name)| Taken::Id { by: *by, name: name.clone() });
        by_name.into_iter().chain(by_id).min_by_key(Taken::by)
    }
}

impl Taken {
    pub(super) fn by(&self) -> NodeId {
        match *self {
            Self::Name { by, .. } | Self::Id { by, .. } => by,
        }
    }
}
