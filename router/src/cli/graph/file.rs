//! A call graph as people write it.
//!
//! ```text
//!   {"commands": [
//!     {"name": "order", "function": "orders.get", "args": {"id": 7}},
//!     {"name": "price", "function": "prices.sum", "version": "^1.2", "resources": ["db"],
//!      "cluster": "eu", "idempotent": true, "args": {"of": {"$ref": "order.items"}}}
//!   ]}
//! ```
//!
//! `name` and `function` are needed. Without `args` a function gets an empty text. Numbers in `args`
//! reach it as they are written.
//!
//! Invariant: of a [`Graph`] nothing but what its functions say can make a call impossible.

use bytes::Bytes;
use mpreg_fabric::call_graph::{Command, Plan, Refused, Target, Value};
use mpreg_proto::cluster::{ClusterName, ClusterNameError};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::{
    Constraint, ConstraintError, FunctionName, FunctionNameError, ResourceError, Resources,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::limits::GRAPH_FILE_BYTES_MAX;

/// A graph that may be run.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) plan: Plan,
    /// By their place in the plan.
    pub(super) asked: Vec<Asked>,
}

/// What is said of a command beside what the plan has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) function: String,
    pub(super) is_idempotent: bool,
    pub(super) is_called: bool,
}

/// Why a file is no graph that may be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the file is longer than {GRAPH_FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("not a call graph: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("command {command:?}: {why}")]
    Function { command: String, why: FunctionNameError },
    #[error("command {command:?}: {why}")]
    Version { command: String, why: ConstraintError },
    #[error("command {command:?}: {why}")]
    Resource { command: String, why: ResourceError },
    #[error("command {command:?}: {why}")]
    Cluster { command: String, why: ClusterNameError },
    #[error(transparent)]
    Graph(#[from] Refused),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    commands: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    name: String,
    function: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    idempotent: bool,
    #[serde(default, borrow, deserialize_with = "written")]
    args: Option<&'a RawValue>,
}

/// Unlike an option's own reading, this takes `null` for what it is.
fn written<'a, D: Deserializer<'a>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Graph {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if GRAPH_FILE_BYTES_MAX < bytes.len() {
            return Err(Refusal::TooLong);
        }
        let Written { commands: entries } = serde_json::from_slice(bytes)?;
        let (mut commands, mut asked) = (Vec::new(), Vec::new());
        for entry in entries {
            entry.check()?;
            let Entry { name, function, idempotent, .. } = &entry;
            let (name, function) = (name.clone(), function.clone());
            asked.push(Asked { name, function, is_idempotent: *idempotent, is_called: false });
            commands.push(entry.into());
        }
        Ok(Self { plan: Plan::new(commands)?, asked })
    }
}

impl Entry<'_> {
    /// What a single call checks before it is said.
    fn check(&self) -> Result<(), Refusal> {
        let command = || self.name.clone();
        self.function
            .parse::<FunctionName>()
            .map_err(|why| Refusal::Function { command: command(), why })?;
        if !self.version.is_empty() {
            self.version
                .parse::<Constraint>()
                .map_err(|why| Refusal::Version { command: command(), why })?;
        }
        Resources::new(self.resources.iter().map(String::as_str))
            .map_err(|why| Refusal::Resource { command: command(), why })?;
        if !self.cluster.is_empty() {
            self.cluster
                .parse::<ClusterName>()
                .map_err(|why| Refusal::Cluster { command: command(), why })?;
        }
        Ok(())
    }
}

impl From<Entry<'_>> for Command {
    fn from(entry: Entry<'_>) -> Self {
        let Entry { name, function, version, resources, cluster, args, .. } = entry;
        let argument = match args {
            Some(json) => Value {
                encoding: Encoding::Json,
                bytes: Bytes::copy_from_slice(json.get().as_bytes()),
            },
            None => Value { encoding: Encoding::Text, bytes: Bytes::new() },
        };
        let target = Target { function, version, resources, cluster };
        Self { name, target, argument }
    }
}

impl Refusal {
    /// The word `--json` uses.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::TooLong => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Function { .. } => "bad_function",
            Self::Version { .. } => "bad_version",
            Self::Resource { .. } => "bad_resource",
            Self::Cluster { .. } => "bad_cluster",
            Self::Graph(refused) => refused.word(),
        }
    }
}

#[cfg(test)]
mod tests;
