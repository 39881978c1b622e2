//! What nodes say of a traced message: reports, as JSON in messages to the node that sent it.
//!
//! ```text
//!   traced message --> node: DECIDED, who gets it here, over which links it goes on, what was dropped
//!                        +--> link's queue --> LEFT, how long it waited, and how far away the peer is
//! ```
//!
//! A message is traced for an operator and has one number, drawn where it began, which is in its payload
//! and in each report. Nobody's clock is compared with another's: each time is between two readings of
//! the clock of the node that says it.

use mpreg_proto::id::NodeId;
use serde::{Deserialize, Serialize};

/// Of reports. No client may publish there.
pub const TOPIC: &[u8] = b"mpreg.monitoring.trace";

/// Which trace; drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl Number {
    pub fn in_payload(payload: &[u8]) -> Option<Self> {
        Some(Self(u64::from_le_bytes(payload.try_into().ok()?)))
    }

    pub fn payload(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// As reports have it.
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// One thing a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub trace: String,
    pub node: String,
    pub cluster: String,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Decided(Decided),
    Left(Left),
}

/// What becomes of the message on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who sent it here. None: it began here.
    pub from: Option<String>,
    /// From its receipt until this was decided.
    pub held_us: u64,
    /// Connections of this shard that get it, ungrouped.
    pub subscribers: usize,
    /// Other shards of the node with ungrouped subscribers.
    pub shards: u32,
    /// Queue groups of which a member on this node gets it.
    pub groups: Vec<String>,
    pub dropped: Vec<Dropped>,
    pub next: Vec<Next>,
    /// Targets not listed, of so many that a report would be too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// Somebody who gets no copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub target: Target,
    pub reason: String,
}

/// One copy on one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub node: String,
    pub targets: Vec<Sent>,
}

/// Somebody whom a copy is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub target: Target,
    /// `best`, `equal`, `alternate`, `linked`.
    pub why: String,
    /// Why the best way is not taken, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of_best: Option<String>,
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Whoever wants it there.
    Cluster(String),
    Node(String),
    /// One member of a queue group, in this cluster. Groups have no names between nodes.
    Group {
        group: String,
        cluster: String,
    },
}

/// A copy has left its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub to: String,
    /// In the queue of the link, until it was handed to the kernel.
    pub queue_us: u64,
    /// Of the last ping on this very link that was answered.
    pub round_trip_us: Option<u64>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Report {
    /// None: it is not one, or one of a later version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    pub fn of(trace: Number, node: NodeId, cluster: String, said: Said) -> Self {
        Self { trace: trace.text(), node: node.to_string(), cluster, said }
    }
}
