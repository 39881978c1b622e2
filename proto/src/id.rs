//! Names for things. A name is a type: two different names never compare or convert by accident.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A node: the first 128 bits of SHA-256 over its Ed25519 public key, so two nodes never collide and
/// none can say that it is another.
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
pub struct NodeId(pub u128);

impl NodeId {
    /// The node that has this public key.
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(first_128_bits(key))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A cluster: the first 128 bits of SHA-256 over its name, so that it is fixed-width on the wire. The
/// name is in the catalog.
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
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// All clusters that may ever meet: the first 128 bits of SHA-256 over a name that they share. Nodes
/// of two fabrics have no link, whoever issued their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FabricId(pub u128);

impl fmt::Display for FabricId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Which life of a node: strictly greater at each start, persisted before it is used.
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
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// When a node said something: by its lives first, then by its own count. Order of what one node
/// says; two nodes' versions mean nothing to each other.
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
pub struct Version {
    pub incarnation: Incarnation,
    pub sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.sequence)
    }
}

/// One client connection of one node, never reused while the process lives. The shard that serves
/// it is in the top byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0 >> 56, self.0 & ((1 << 56) - 1))
    }
}

/// A subscription as its client numbers it; unique within one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(pub u32);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A data shard of this node: dense, from zero, meaningful only here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ShardIx(u8);

impl ShardIx {
    /// The only way from a number to a shard, so no shard past the bound can exist.
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|&ix| usize::from(ix) < crate::limits::SHARDS_MAX).map(Self)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardIx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Of SHA-256 over `bytes`.
pub(crate) fn first_128_bits(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    u128::from_be_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    /// The key of RFC 8032 §7.1, test 1; `xxd -r -p | sha256sum`.
    #[test]
    fn a_node_is_named_by_its_key() {
        let key: u128 = 0xd75a_9801_82b1_0ab7_d54b_fed3_c964_073a;
        let rest: u128 = 0x0ee1_72f3_daa6_2325_af02_1a68_f707_511a;
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&key.to_be_bytes());
        bytes[16..].copy_from_slice(&rest.to_be_bytes());
        assert_eq!(NodeId::of_key(&bytes).to_string(), "21fe31dfa154a261626bf854046fd227");
    }
}
