//! Who is connected, which functions there are and who would run a call: what an operator asks a shard, and what the shard
//! answers.
//!
//! About connections there are two questions, so that a page of a long list costs a shard no more than that
//! page: which there are, and what is known of some. NATS clients are listed and native ones are not.
//!
//! Invariant: an answer holds at most [`CONNECTIONS_LISTED_MAX`] connections,
//! [`SUBSCRIPTIONS_LISTED_MAX`] subscriptions and [`FUNCTIONS_LISTED_MAX`] functions, numbers of
//! connections apart.
//!
//! [`CONNECTIONS_LISTED_MAX`]: crate::limits::CONNECTIONS_LISTED_MAX
//! [`SUBSCRIPTIONS_LISTED_MAX`]: crate::limits::SUBSCRIPTIONS_LISTED_MAX
//! [`FUNCTIONS_LISTED_MAX`]: crate::limits::FUNCTIONS_LISTED_MAX

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use crossbeam::channel::Sender;
use mpreg_proto::function::{Constraint, FunctionName, Resources};
use mpreg_proto::id::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use crate::probe::Usage;

/// Where the answer goes has room for one of every shard; nobody may be there any more.
#[derive(Clone, Debug)]
pub enum Question {
    /// The numbers of all connections, in no order.
    Numbers { answers: Sender<Vec<u64>> },
    /// What is known of these, which are sorted, in their order.
    Details { of: Arc<[u64]>, subscriptions: Subscriptions, answers: Sender<Vec<Connection>> },
    /// The functions that this shard is the home of; of one name only, if there is one.
    Functions { name: Option<FunctionName>, answers: Sender<Vec<Function>> },
    /// Who would run a call. The home of the function answers, and says which shard it is; no other does.
    Explain { asked: Arc<Asked>, answers: Sender<(usize, Explained)> },
}

/// Of a call that is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub name: FunctionName,
    pub constraint: Constraint,
    pub resources: Resources,
    pub cluster: Option<ClusterId>,
}

/// What the next such call would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Why nobody would run it: a word of calls, and what it means here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who offers the function, the nearest first.
    pub endpoints: Vec<Judged>,
}

/// An endpoint, and what the call would make of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub version: String,
    pub resources: Vec<String>,
    pub place: String,
    pub cluster: String,
    pub node: String,
    pub limit: u32,
    pub in_flight: u32,
    /// `chosen`, `able` (another one is better), `other_cluster`, `no_version`, `no_resource`,
    /// `unreachable`, `overloaded`.
    pub verdict: String,
    /// Clusters away, of those that are able.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<u32>,
}

impl Explained {
    /// The other node that would run it.
    pub fn target(&self) -> Option<(ClusterId, NodeId)> {
        let mut chosen = self.endpoints.iter().filter(|judged| judged.verdict == "chosen");
        let Judged { cluster, node, .. } = chosen.find(|judged| judged.place != "here")?;
        let id = |text: &str| u128::from_str_radix(text, 16).ok();
        Some((ClusterId(id(cluster)?), NodeId(id(node)?)))
    }
}

/// One version of a function, at one worker of this node or at another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// 32 hexadecimal digits. Known of functions of this node's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub version: String,
    pub resources: Vec<String>,
    /// `here`, `mate` (a node of this cluster), `remote`.
    pub place: String,
    pub cluster: String,
    pub node: String,
    /// The connection of this node's worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Calls at a time.
    pub limit: u32,
    /// Calls that run there, as far as this node knows.
    pub in_flight: u32,
    /// Whether it takes calls.
    pub is_open: bool,
    /// What of the calls goes to its version, in parts of the sum over all versions that are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// Of all versions of this name, on this node. None before it was called here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Whether a connection's subscriptions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscriptions {
    Counted,
    Listed,
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub id: u64,
    pub peer: Option<SocketAddr>,
    /// How long it has been there.
    pub age: Duration,
    /// Since it last said something, or was sent something.
    pub idle: Duration,
    /// The last time it took to answer: at first to CONNECT, then to a ping.
    pub round_trip: Duration,
    pub queued_bytes: usize,
    pub traffic: Traffic,
    pub subscriptions_count: usize,
    pub subscriptions: Vec<Subscription>,
    pub user: String,
    pub name: String,
    pub lang: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub subject: String,
    /// Empty: none.
    pub group: String,
    pub sid: String,
    pub delivered: u32,
}

/// Messages and their bytes of headers and payload, as seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
}

impl Traffic {
    #[inline]
    pub fn received(&mut self, messages: u64, bytes: usize) {
        self.messages_in += messages;
        self.bytes_in += bytes as u64;
    }

    /// Queued; whether it arrives is not known.
    #[inline]
    pub fn sent(&mut self, messages: u64, bytes: usize) {
        self.messages_out += messages;
        self.bytes_out += bytes as u64;
    }
}
