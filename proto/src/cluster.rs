//! Names of clusters: 1 to 63 of `a-z 0-9 -`. On the wire a cluster is its [`ClusterId`].

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::id::{ClusterId, FabricId, first_128_bits};
use crate::limits::CLUSTER_NAME_BYTES_MAX;

/// A name that was checked.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String")]
pub struct ClusterName(String);

/// What a node may be for its cluster. In its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRole {
    /// Has links within its cluster only.
    Node,
    /// May have links to gateways of other clusters.
    Gateway,
}

/// Why a text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the role of a node is node or gateway")]
pub struct NodeRoleError;

impl NodeRole {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Gateway => "gateway",
        }
    }
}

impl FromStr for NodeRole {
    type Err = NodeRoleError;

    fn from_str(text: &str) -> Result<Self, NodeRoleError> {
        [Self::Node, Self::Gateway]
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or(NodeRoleError)
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a text names no cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterNameError {
    #[error("the name of a cluster has 1 to {CLUSTER_NAME_BYTES_MAX} characters, this has {0}")]
    Length(usize),
    #[error("the name of a cluster is of a-z, 0-9 and -, this has {0:?}")]
    Character(char),
}

impl ClusterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the wire calls it.
    pub fn id(&self) -> ClusterId {
        ClusterId(first_128_bits(self.0.as_bytes()))
    }

    /// The fabric of this name; names of fabrics are spelled like those of clusters.
    pub fn fabric(&self) -> FabricId {
        FabricId(self.id().0)
    }
}

impl FromStr for ClusterName {
    type Err = ClusterNameError;

    fn from_str(text: &str) -> Result<Self, ClusterNameError> {
        if text.is_empty() || CLUSTER_NAME_BYTES_MAX < text.len() {
            return Err(ClusterNameError::Length(text.chars().count()));
        }
        let is_allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        match text.chars().find(|c| !is_allowed(c)) {
            Some(c) => Err(ClusterNameError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = ClusterNameError;

    fn try_from(text: String) -> Result<Self, ClusterNameError> {
        text.parse()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked() {
        let parse = |text: &str| text.parse::<ClusterName>();
        assert_eq!(parse("eu-west-1").map(|name| name.0).as_deref(), Ok("eu-west-1"));
        assert_eq!(parse(""), Err(ClusterNameError::Length(0)));
        assert_eq!(parse("Eu"), Err(ClusterNameError::Character('E')));
        assert_eq!(parse("a.b"), Err(ClusterNameError::Character('.')));
        assert!(parse(&"a".repeat(63)).is_ok());
        assert_eq!(parse(&"a".repeat(64)), Err(ClusterNameError::Length(64)));
    }

    /// `printf abc | sha256sum`, FIPS 180-4's own example.
    #[test]
    fn the_id_is_the_digest() {
        let name: ClusterName = "abc".parse().unwrap();
        assert_eq!(name.id(), ClusterId(0xba78_16bf_8f01_cfea_4141_40de_5dae_2223));
    }
}
