//! What nodes tell each other about ways to other clusters: announcements, withdrawals, keys.
//!
//! ```text
//!   Message        entries of a kind and a body; a kind this version does not know is skipped
//!   Announcement   destination, how long it is still worth having, and the chain of who said so
//!   chain          | Origin, signed | Hop, signed | Hop, signed | ...   the last one is the sender's
//! ```
//!
//! The origin signs which neighbour it tells; each hop signs what came before it and which neighbour
//! it tells in turn ([`link_message`]). Bodies are carried as the bytes that were signed and are never
//! encoded again on the way.
//!
//! Invariants:
//! - Any bytes parse or are refused with a code; lists are counted right after checked access.
//! - What is written reads back the same.
//! - No time of day travels: a route's life is a duration, less the time it was held on the way.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ErrorCode;
use crate::id::{ClusterId, NodeId, Version};
use crate::limits::{
    CATALOG_TOLD_MAX, ROUTE_BODY_BYTES_MAX, ROUTE_ENTRIES_MAX, ROUTE_ENTRY_BYTES_MAX,
    ROUTE_MARKS_MAX, ROUTE_MESSAGE_BYTES_MAX, ROUTE_PATH_MAX, ROUTE_TAG_BYTES_MAX, ROUTE_TAGS_MAX,
};

/// What every signed text begins with, so that none can be taken for anything else that is signed.
pub const DOMAIN: &[u8] = b"mpreg/route/v1";

/// A tag that stands for every tag, in an authorisation alone.
pub const TAG_ANY: &str = "*";

/// Something said about routes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub entries: Vec<Entry>,
}

/// One thing said: a number of [`Item`]'s kind, and its bytes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// An entry, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// To a neighbouring cluster: this way there.
    Announce(Announcement),
    /// To a neighbouring cluster: no longer. Holds a [`Withdrawal`].
    Withdraw(Signed),
    /// To the nodes of the own cluster: what a gateway has.
    Inside(Inside),
    /// To everyone: whose key this is. Holds an [`Authorisation`].
    Authorise(Signed),
    /// To everyone: whose key this is no longer. Holds a [`Revocation`].
    Revoke(Signed),
    /// To a node of the own cluster: a number made of all that gateways have, as it is known here.
    Sum(u64),
    /// To a node of the own cluster, whose number is another.
    Held(Held),
}

/// Bytes and who vouches for them.
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
pub struct Signed {
    pub body: Vec<u8>,
    #[serde(with = "signature")]
    pub signature: Option<[u8; 64]>,
}

/// `serde` knows of no array this long.
mod signature {
    use alloc::vec::Vec;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        signature: &Option<[u8; 64]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        signature.as_ref().map(|bytes| &bytes[..]).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<[u8; 64]>, D::Error> {
        let bytes = Option::<Vec<u8>>::deserialize(from)?;
        let whole = |bytes: Vec<u8>| bytes.try_into();
        let whole = bytes.map(whole).transpose();
        whole.map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub destination: ClusterId,
    /// Milliseconds this route is still good for, unless it is announced again.
    pub ttl_ms: u32,
    /// An [`Origin`], then [`Hop`]s in the order the announcement travelled.
    pub chain: Vec<Signed>,
}

/// What the destination says about itself.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub cluster: ClusterId,
    /// Which of its nodes says so.
    pub node: NodeId,
    /// That node's count of what it signs.
    pub version: Version,
    /// Which cluster it tells.
    pub to: ClusterId,
    /// Which of the cluster's keys signs.
    pub key_serial: u64,
    pub relation: Relation,
    /// Milliseconds; no hop may make it more.
    pub ttl_ms: u32,
    pub tags: Vec<Tag>,
}

/// What a cluster on the way adds.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub version: Version,
    pub to: ClusterId,
    pub key_serial: u64,
    pub relation: Relation,
    /// From this cluster to the destination.
    pub metrics: Metrics,
}

/// How far it is. All integers, so that all machines compare the same.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct Metrics {
    /// Links between clusters.
    pub hops: u16,
    /// Round trip, microseconds.
    pub latency_us: u32,
    /// Of the narrowest link, Mbit/s. Zero: not known.
    pub bandwidth_mbps: u32,
    /// Parts per million that arrive.
    pub reliability_ppm: u32,
    pub cost: u32,
}

/// What the cluster that is told is to the one that tells (RFC 9234).
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
)]
#[repr(u8)]
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Relation {
    /// Nothing in particular: what is told may be told on to anyone.
    #[default]
    Open = 0,
    /// We carry its traffic.
    Customer = 1,
    /// It carries ours.
    Upstream = 2,
    /// Each carries only its own and its customers'.
    Equal = 3,
}

/// A signed end of an announcement: the advertiser has no way to the destination any more.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    pub destination: ClusterId,
    /// The advertiser.
    pub cluster: ClusterId,
    pub node: NodeId,
    pub version: Version,
    pub to: ClusterId,
    pub key_serial: u64,
}

/// What a gateway tells the nodes of its own cluster, passed on by them to each other.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    pub gateway: NodeId,
    pub version: Version,
    pub destination: ClusterId,
    /// `None`: it has no way of its own any more.
    pub route: Option<InsideRoute>,
    /// Marks of the nodes it was sent to ([`mark`](crate::catalog::mark)): nobody repeats it to them.
    pub told: Vec<u32>,
}

/// What is known of gateways, by a number for each thing one has. Only those from `first` to `last`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub first: u64,
    pub last: u64,
    /// Ascending.
    pub marks: Vec<u64>,
    /// It was asked for by another: it is not answered with another.
    pub is_answer: bool,
}

/// A gateway's best way over a link of its own.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct InsideRoute {
    /// From the gateway to the destination.
    pub metrics: Metrics,
    /// It comes and goes: only where there is no other.
    pub is_damped: bool,
    pub announcement: Announcement,
}

/// Signed by the root key of the fabric: this key speaks for this cluster.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    pub cluster: ClusterId,
    /// Greater for each further key of the cluster.
    pub key_serial: u64,
    /// Keys of the cluster from this serial on stay good beside this one: how rotation overlaps.
    pub keep_from: u64,
    pub key: [u8; 32],
    /// Tags its routes may carry; [`TAG_ANY`] for all.
    pub tags: Vec<String>,
    /// Seconds since 1970, both ends included.
    pub not_before: u64,
    pub not_after: u64,
}

/// Signed by the root key: the cluster's keys up to this serial are void.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub cluster: ClusterId,
    pub key_serial: u64,
}

/// A word that policies match routes by: 1 to 32 of `a-z 0-9 - . : _`.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(try_from = "String")]
pub struct Tag(String);

/// Why a text is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag has 1 to {ROUTE_TAG_BYTES_MAX} characters of a-z, 0-9, -, ., : and _")]
pub struct NotATag;

/// What a signature of this kind is over, apart from what it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signing {
    Link = 1,
    Withdrawal = 2,
    Authorisation = 3,
    Revocation = 4,
    /// What a node says of its links to other clusters (`link_state`).
    LinkState = 5,
}

/// SHA-256 over a chain up to some link, signatures included. Equal digests are equal chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainDigest(pub [u8; 32]);

impl ChainDigest {
    /// Of no links.
    pub const EMPTY: Self = Self([0; 32]);

    pub fn then(self, link: &Signed) -> Self {
        let mut sha = Sha256::new();
        sha.update(DOMAIN);
        sha.update(self.0);
        sha.update(Sha256::digest(&link.body));
        match &link.signature {
            Some(signature) => sha.update(signature),
            None => sha.update([0]),
        }
        Self(sha.finalize().into())
    }
}

/// The bytes a link of a chain signs: what came before it, then its body as carried.
pub fn link_message(before: ChainDigest, body: &[u8]) -> Vec<u8> {
    let mut bytes = message(Signing::Link, &before.0);
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes that anything else signs.
pub fn message(signing: Signing, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN.len() + 1 + body.len());
    bytes.extend_from_slice(DOMAIN);
    bytes.push(signing as u8);
    bytes.extend_from_slice(body);
    bytes
}

impl Message {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&to_bytes(self));
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        if ROUTE_MESSAGE_BYTES_MAX < bytes.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        from_bytes::<Self>(bytes, |message| message.entries.len() <= ROUTE_ENTRIES_MAX)
    }
}

impl Item {
    pub fn entry(&self) -> Entry {
        let (kind, bytes) = match self {
            Self::Announce(announcement) => (1, to_bytes(announcement)),
            Self::Withdraw(signed) => (2, to_bytes(signed)),
            Self::Inside(inside) => (3, to_bytes(inside)),
            Self::Authorise(signed) => (4, to_bytes(signed)),
            Self::Revoke(signed) => (5, to_bytes(signed)),
            Self::Sum(sum) => (6, to_bytes(sum)),
            Self::Held(held) => (7, to_bytes(held)),
        };
        Entry { kind, body: bytes.into_vec() }
    }

    /// `None`: a kind this version does not know.
    pub fn read(entry: &Entry) -> Result<Option<Self>, ErrorCode> {
        let body = &entry.body[..];
        if ROUTE_ENTRY_BYTES_MAX < body.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        let signed = || from_bytes::<Signed>(body, signed_is_bounded);
        Ok(Some(match entry.kind {
            1 => Self::Announce(from_bytes::<Announcement>(body, chain_is_bounded)?),
            2 => Self::Withdraw(signed()?),
            3 => Self::Inside(from_bytes::<Inside>(body, |inside| {
                inside.told.len() <= CATALOG_TOLD_MAX
                    && inside.route.as_ref().is_none_or(|it| chain_is_bounded(&it.announcement))
            })?),
            4 => Self::Authorise(signed()?),
            5 => Self::Revoke(signed()?),
            6 => Self::Sum(from_bytes::<u64>(body, |_| true)?),
            7 => Self::Held(from_bytes::<Held>(body, |held| held.marks.len() <= ROUTE_MARKS_MAX)?),
            _ => return Ok(None),
        }))
    }
}

impl Origin {
    pub fn body(&self) -> Vec<u8> {
        to_bytes(self).into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        let origin = from_bytes::<Self>(body, |origin| origin.tags.len() <= ROUTE_TAGS_MAX)?;
        let is_checked = origin.tags.iter().all(|tag| tag.0.parse::<Tag>().is_ok());
        if is_checked { Ok(origin) } else { Err(ErrorCode::Malformed) }
    }
}

impl Hop {
    pub fn body(&self) -> Vec<u8> {
        to_bytes(self).into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        from_bytes::<Self>(body, |_| true)
    }
}

impl Withdrawal {
    pub fn body(&self) -> Vec<u8> {
        to_bytes(self).into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        from_bytes::<Self>(body, |_| true)
    }
}

impl Authorisation {
    pub fn body(&self) -> Vec<u8> {
        to_bytes(self).into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        from_bytes::<Self>(body, |authorisation| {
            let is_short = |tag: &rkyv::Archived<String>| tag.len() <= ROUTE_TAG_BYTES_MAX;
            authorisation.tags.len() <= ROUTE_TAGS_MAX && authorisation.tags.iter().all(is_short)
        })
    }
}

impl Revocation {
    pub fn body(&self) -> Vec<u8> {
        to_bytes(self).into_vec()
    }

    pub fn parse(body: &[u8]) -> Result<Self, ErrorCode> {
        from_bytes::<Self>(body, |_| true)
    }
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NotATag;

    fn from_str(text: &str) -> Result<Self, NotATag> {
        let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | ':' | '_');
        let has_length = (1..=ROUTE_TAG_BYTES_MAX).contains(&text.len());
        if has_length && text.chars().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NotATag)
        }
    }
}

impl TryFrom<String> for Tag {
    type Error = NotATag;

    fn try_from(text: String) -> Result<Self, NotATag> {
        text.parse()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn chain_is_bounded(announcement: &ArchivedAnnouncement) -> bool {
    announcement.chain.len() <= ROUTE_PATH_MAX && announcement.chain.iter().all(signed_is_bounded)
}

fn signed_is_bounded(signed: &ArchivedSigned) -> bool {
    signed.body.len() <= ROUTE_BODY_BYTES_MAX
}

fn to_bytes<T>(value: &T) -> AlignedVec
where
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Failure>>,
{
    rkyv::to_bytes::<Failure>(value).expect("a buffer in memory takes any plain value")
}

/// Checked access, then the bounds, then a copy of one's own.
fn from_bytes<T>(bytes: &[u8], is_bounded: fn(&T::Archived) -> bool) -> Result<T, ErrorCode>
where
    T: Archive,
    T::Archived:
        for<'a> CheckBytes<HighValidator<'a, Failure>> + Deserialize<T, HighDeserializer<Failure>>,
{
    let archived = rkyv::access::<T::Archived, Failure>(bytes).map_err(|_| ErrorCode::Malformed)?;
    if !is_bounded(archived) {
        return Err(ErrorCode::Malformed);
    }
    rkyv::deserialize(archived).map_err(|_| ErrorCode::Malformed)
}

#[cfg(test)]
mod tests;
