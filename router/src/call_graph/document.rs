//! A call graph as people write it.
//!
//! ```text
//!   {"commands": [
//!     {"name": "order", "function": "orders.get", "args": {"id": 7}},
//!     {"name": "price", "function": "prices.sum", "version": "^1.2", "resources": ["db"],
//!      "cluster": "eu", "idempotent": true, "args": {"of": {"$ref": "order.items"}}}
//!   ], "all": false, "stream": false}
//! ```
//!
//! `name` and `function` are needed. Without `args` a function gets an empty text. Numbers in `args`
//! reach it as they are written. `all` asks also for results that were inputs of others, `stream` for each as
//! soon as it is there.
//!
//! Invariant: of a [`Graph`] nothing but what its functions say can make a call impossible.

use bytes::Bytes;
use mpreg_fabric::call_graph::{Command, Plan, Refused, Target, Told, Value, When};
use mpreg_proto::cluster::{ClusterName, ClusterNameError};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::{
    Constraint, ConstraintError, FunctionName, FunctionNameError, ResourceError, Resources,
};
use mpreg_proto::id::ClusterId;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A graph that may be run.
#[derive(Debug)]
pub struct Graph {
    pub plan: Plan,
    /// By their place in the plan.
    pub asked: Vec<Asked>,
    pub told: Told,
    pub when: When,
}

/// What is said of a command beside what the plan has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    pub function: FunctionName,
    pub constraint: Constraint,
    pub resources: Resources,
    pub cluster: Option<ClusterId>,
    pub is_idempotent: bool,
    pub is_called: bool,
}

/// Why a text is no graph that may be run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the graph is longer than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
    #[error("not a call graph: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("command {command:?}: {why}")]
    Function { command: String, why: FunctionNameError },
    #[error("command {command:?}: a graph runs no other graph")]
    Nested { command: String },
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
    #[serde(default)]
    all: bool,
    #[serde(default)]
    stream: bool,
}

/// A graph that is passed on as it is written, but for what is to be told of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Document<'a> {
    #[serde(borrow)]
    commands: &'a RawValue,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub stream: bool,
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
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if PAYLOAD_BYTES_MAX < bytes.len() {
            return Err(Refusal::TooLong);
        }
        let Written { commands: entries, all, stream } = serde_json::from_slice(bytes)?;
        let (mut commands, mut asked) = (Vec::new(), Vec::new());
        for entry in entries {
            asked.push(entry.asked()?);
            commands.push(entry.into());
        }
        Ok(Self {
            plan: Plan::new(commands)?,
            asked,
            told: if all { Told::All } else { Told::Unconsumed },
            when: if stream { When::Streamed } else { When::AtTheEnd },
        })
    }
}

impl<'a> Document<'a> {
    /// Only as deep as it is changed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Ok(serde_json::from_slice(bytes)?)
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("what was read can be written")
    }
}

impl Entry<'_> {
    /// What a single call checks before it is said.
    fn asked(&self) -> Result<Asked, Refusal> {
        let command = || self.name.clone();
        let function: FunctionName =
            self.function.parse().map_err(|why| Refusal::Function { command: command(), why })?;
        if function.is_graph() {
            return Err(Refusal::Nested { command: command() });
        }
        let constraint = match &*self.version {
            "" => Constraint::ANY,
            version => {
                version.parse().map_err(|why| Refusal::Version { command: command(), why })?
            }
        };
        let resources = Resources::new(self.resources.iter().map(String::as_str))
            .map_err(|why| Refusal::Resource { command: command(), why })?;
        let cluster = Some(&*self.cluster).filter(|cluster| !cluster.is_empty());
        let cluster = cluster
            .map(str::parse::<ClusterName>)
            .transpose()
            .map_err(|why| Refusal::Cluster { command: command(), why })?;
        Ok(Asked {
            name: command(),
            function,
            constraint,
            resources,
            cluster: cluster.map(|cluster| cluster.id()),
            is_idempotent: self.idempotent,
            is_called: false,
        })
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
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TooLong => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Function { .. } | Self::Nested { .. } => "bad_function",
            Self::Version { .. } => "bad_version",
            Self::Resource { .. } => "bad_resource",
            Self::Cluster { .. } => "bad_cluster",
            Self::Graph(refused) => refused.word(),
        }
    }
}

#[cfg(test)]
mod tests;
