//! Entries of the kinds this version knows: how their names and bodies are written.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use rkyv::{Archive, Deserialize, Serialize};

use super::{Bounded, put_archive, read};
use crate::error::ErrorCode;
use crate::limits::{
    CLUSTER_NAME_BYTES_MAX, GROUP_BYTES_MAX, NODE_LIST_MAX, NODE_WORD_BYTES_MAX, TOPIC_BYTES_MAX,
};
use crate::topic::{Dialect, Pattern};

/// What an entry describes. Numbers are never reused; numbers not listed here are carried and
/// ignored.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Kind(pub u16);

impl Kind {
    /// The owner itself. No name; the body is a [`Node`].
    pub const NODE: Self = Self(1);
    /// Subscribers of the owner want this pattern. The name is a [`Want`], the body how many they
    /// are: see [`members_body`].
    pub const SUBSCRIPTION: Self = Self(2);
    /// The owner's cluster wants this pattern, says the owner, who is one of its gateways. The name
    /// is a [`Want`]; no body.
    pub const CLUSTER_INTEREST: Self = Self(3);
    /// A key the owner's cluster signs routes with. The name is the public key; what the body says
    /// is the business of routes.
    pub const ROUTE_KEY: Self = Self(4);
    /// A function that workers of the owner run for others. The name is a
    /// [`crate::function::FunctionName`], the body [`crate::function::Offers`].
    pub const FUNCTION: Self = Self(5);
    /// What names and bodies of this kind and those below say is the business of those who offer and
    /// use them.
    pub const QUEUE: Self = Self(6);
    pub const CACHE: Self = Self(7);
    /// How calls of a function are split between its versions. The name is a
    /// [`crate::function::FunctionName`], the body [`crate::function::Shares`].
    pub const SPLIT: Self = Self(8);

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NODE => "node",
            Self::SUBSCRIPTION => "subscription",
            Self::CLUSTER_INTEREST => "cluster_interest",
            Self::ROUTE_KEY => "route_key",
            Self::FUNCTION => "function",
            Self::QUEUE => "queue",
            Self::CACHE => "cache",
            Self::SPLIT => "split",
            Self(_) => "unknown",
        }
    }
}

/// A pattern and the queue group that wants it; the empty group stands for each subscriber alone.
///
/// Written as the length of the pattern in one byte, the pattern, the group. Before a pattern whose `#` is
/// a word there is a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Want<'a> {
    pub pattern: Pattern<'a>,
    pub group: &'a [u8],
}

impl<'a> Want<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        let pattern = self.pattern.as_bytes();
        out.reserve(2 + pattern.len() + self.group.len());
        if self.pattern.dialect() == Dialect::Nats {
            out.push(0);
        }
        out.push(u8::try_from(pattern.len()).expect("a pattern has at most 255 bytes"));
        out.extend_from_slice(pattern);
        out.extend_from_slice(self.group);
    }

    pub fn parse(name: &'a [u8]) -> Result<Self, ErrorCode> {
        // No pattern is empty.
        let (name, dialect) = match name {
            [0, name @ ..] => (name, Dialect::Nats),
            name => (name, Dialect::Native),
        };
        let (&pattern_bytes, rest) = name.split_first().ok_or(ErrorCode::Malformed)?;
        let (pattern, group) =
            rest.split_at_checked(usize::from(pattern_bytes)).ok_or(ErrorCode::Malformed)?;
        if GROUP_BYTES_MAX < group.len() {
            return Err(ErrorCode::BadName);
        }
        let pattern = Pattern::parse_as(pattern, dialect)?;
        // One want has one name.
        if pattern.dialect() != dialect {
            return Err(ErrorCode::Malformed);
        }
        Ok(Self { pattern, group })
    }
}

const _: () = assert!(TOPIC_BYTES_MAX <= u8::MAX as usize);

/// How many members a queue group has, for the body of a subscription: one byte, the exponent of the
/// power of two that is not above it. So a group that grows one by one is seldom told of again, and a
/// node gets about its share. One member, or none that share, is no body.
pub fn members_body(members: u32) -> Option<u8> {
    let exponent = members.checked_ilog2().unwrap_or(0);
    (exponent != 0).then_some(exponent as u8)
}

/// The number behind a body. What cannot be read is one member.
pub fn members_of(body: &[u8]) -> NonZeroU32 {
    let members = match *body {
        [exponent] => 1_u32.checked_shl(u32::from(exponent)),
        _ => None,
    };
    members.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// What a node says of itself.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Node {
    /// The name behind its [`crate::id::ClusterId`].
    pub cluster: String,
    pub region: String,
    pub capabilities: Vec<String>,
    pub tags: Vec<String>,
    pub endpoints: Vec<Endpoint>,
}

/// Where a node can be reached, from its configuration or from what the kernel chose.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Endpoint {
    pub role: EndpointRole,
    /// `mpreg`, `nats`, …
    pub protocol: String,
    pub host: String,
    pub port: u16,
}

/// Who an endpoint is for. Numbers not listed here are for others.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct EndpointRole(pub u8);

impl EndpointRole {
    pub const PEER: Self = Self(1);
    pub const CLIENT: Self = Self(2);
}

impl Node {
    pub fn put(&self, out: &mut Vec<u8>) {
        put_archive(self, out);
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        read(body)
    }
}

impl Bounded for ArchivedNode {
    fn is_within(&self) -> bool {
        let is_list = |words: &rkyv::vec::ArchivedVec<rkyv::string::ArchivedString>| {
            words.len() <= NODE_LIST_MAX && words.iter().all(|word| is_word(word))
        };
        self.cluster.len() <= CLUSTER_NAME_BYTES_MAX
            && is_word(&self.region)
            && is_list(&self.capabilities)
            && is_list(&self.tags)
            && self.endpoints.len() <= NODE_LIST_MAX
            && self.endpoints.iter().all(|at| is_word(&at.protocol) && is_word(&at.host))
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= NODE_WORD_BYTES_MAX
}
