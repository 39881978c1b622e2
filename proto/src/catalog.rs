//! What nodes tell each other about what they offer: entries, and the messages that spread them.
//!
//! A node has two **feeds**, one that stays in its cluster and one that is for the whole fabric. A
//! feed is a numbered sequence of records, each setting or clearing one entry; only the last record
//! of an entry is kept. Of a feed one knows all records up to a number, so a number says what
//! somebody lacks.
//!
//! ```text
//!   Digest    one number for all feeds: equal numbers, equal feeds
//!   Differs   mine is another: send me a summary
//!   Summary   one number per bucket of feeds: equal numbers, equal feeds
//!   Compare   in these buckets we differ; this is what I have
//!   Heads     these feeds are alive, at this version (or over)
//!   Want      send me what follows this version
//!   Delta     the records of a feed in a range of sequences
//!   Beats     these nodes live
//!   Doubts    do these lives go on? I have not heard of them for long
//! ```
//!
//! On the wire a message is one byte, its kind, and an rkyv archive; of beats, which are many, and of
//! what is said all the time, bytes laid by hand (`catalog/beat.rs`). Kinds of messages this version
//! does not know are [`ErrorCode::UnknownKind`]; kinds of entries it does not know are carried as they
//! are.
//!
//! Invariants:
//! - [`Message::parse`] is total, and what it returns is within `limits`.
//! - A lifetime is relative and can only shrink on its way: no clock is compared with another.

use alloc::vec::Vec;

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::{ClusterId, NodeId, Version};
use crate::limits::{
    CATALOG_BEATS_MAX, CATALOG_BODY_BYTES_MAX, CATALOG_BUCKETS_MAX, CATALOG_HEADS_MAX,
    CATALOG_NAME_BYTES_MAX, CATALOG_RECORDS_MAX, CATALOG_TOLD_MAX,
};

mod beat;
mod entry;

pub use beat::{Beat, Beats, Told, life_mark};
pub use entry::{Endpoint, EndpointRole, Kind, Node, Want, members_body, members_of};

/// How far a feed goes.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[repr(u8)]
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Scope {
    /// The nodes of the owner's cluster.
    Cluster = 1,
    /// Other clusters too, as far as their policies let it.
    Fabric = 2,
}

/// Names a feed.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct FeedId {
    pub node: NodeId,
    pub scope: Scope,
}

/// How a feed stands.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub feed: FeedId,
    /// The owner's.
    pub cluster: ClusterId,
    /// The sequence of the last record, or [`Head::OVER`].
    pub version: Version,
    /// Signs of life of the owner in this incarnation, counted.
    pub beat: u64,
    /// How long this may be believed without a further sign of life.
    pub ttl_ms: u32,
}

impl Head {
    /// The sequence that ends an incarnation: its owner has left or is dead.
    pub const OVER: u64 = u64::MAX;

    pub const fn is_over(&self) -> bool {
        self.version.sequence == Self::OVER
    }
}

/// A head with the nodes it was sent to, by their [`mark`]s: they need not be told again.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub head: Head,
    pub told: Vec<u32>,
}

/// One setting or clearing of an entry.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub kind: Kind,
    pub name: Vec<u8>,
    /// None: cleared.
    pub body: Option<Vec<u8>>,
}

/// What happened to a feed between two sequences.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As the sender has it.
    pub news: News,
    /// The records are those after this sequence.
    pub after: u64,
    /// The records are those up to this sequence, itself included.
    pub upto: u64,
    /// The sender no longer knows what was cleared up to this sequence.
    pub floor: u64,
    /// By ascending sequence.
    pub records: Vec<Record>,
}

/// What of a feed somebody has, and asks to be sent the rest.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub feed: FeedId,
    pub version: Version,
    /// If this is a part of the whole: the floor of whom it came from. Who has no higher one may
    /// send the rest.
    pub whole: Option<u64>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// A power of two of them.
    pub buckets: Vec<u64>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// How many buckets the summary had.
    pub buckets_count: u16,
    /// Those that differ.
    pub buckets: Vec<u16>,
    /// The feeds the sender has in them.
    pub heads: Vec<Head>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Summary(Summary),
    Compare(Compare),
    Heads(Vec<News>),
    Want(Vec<Need>),
    Delta(Vec<Change>),
    Beats(Vec<Beats>),
    Digest(u64),
    Differs,
    /// Of [`life_mark`]s.
    Doubts(Vec<u64>),
}

/// A node in a list of those told: short, so that lists of 20 are. Two nodes with one mark cost a
/// detour of one, until feeds are compared next.
pub const fn mark(node: NodeId) -> u32 {
    let mixed = mix(node.0 as u64 ^ mix((node.0 >> 64) as u64));
    (mixed >> 32) as u32
}

/// The finisher of SplitMix64 (Steele, Lea, Flood 2014): each bit in moves half the bits out.
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const SUMMARY: u8 = 1;
const COMPARE: u8 = 2;
const HEADS: u8 = 3;
const WANT: u8 = 4;
const DELTA: u8 = 5;
const BEATS: u8 = 6;
const DIGEST: u8 = 7;
const DIFFERS: u8 = 8;
const DOUBTS: u8 = 9;

impl Message {
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Summary(summary) => write(SUMMARY, summary, out),
            Self::Compare(compare) => write(COMPARE, compare, out),
            Self::Heads(news) => write(HEADS, news, out),
            Self::Want(needs) => write(WANT, needs, out),
            Self::Delta(changes) => write(DELTA, changes, out),
            Self::Beats(groups) => {
                out.push(BEATS);
                beat::put(groups, out);
            }
            Self::Digest(digest) => {
                out.push(DIGEST);
                out.extend_from_slice(&digest.to_le_bytes());
            }
            Self::Differs => out.push(DIFFERS),
            Self::Doubts(lives) => {
                out.push(DOUBTS);
                lives.iter().for_each(|life| out.extend_from_slice(&life.to_le_bytes()));
            }
        }
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let (&kind, bytes) = bytes.split_first().ok_or(ErrorCode::Malformed)?;
        let message = match kind {
            SUMMARY => Self::Summary(read(bytes)?),
            COMPARE => Self::Compare(read(bytes)?),
            HEADS => Self::Heads(read(bytes)?),
            WANT => Self::Want(read(bytes)?),
            DELTA => Self::Delta(read(bytes)?),
            BEATS => Self::Beats(beat::parse(bytes)?),
            DIGEST => {
                let digest = bytes.try_into().map_err(|_| ErrorCode::Malformed)?;
                Self::Digest(u64::from_le_bytes(digest))
            }
            DIFFERS if bytes.is_empty() => Self::Differs,
            DIFFERS => return Err(ErrorCode::Malformed),
            DOUBTS => {
                let (lives, rest) = bytes.as_chunks();
                if !rest.is_empty() || CATALOG_BEATS_MAX < lives.len() {
                    return Err(ErrorCode::Malformed);
                }
                Self::Doubts(lives.iter().map(|life| u64::from_le_bytes(*life)).collect())
            }
            _ => return Err(ErrorCode::UnknownKind),
        };
        Ok(message)
    }
}

/// What can be checked before it is copied out of the archive.
trait Bounded {
    fn is_within(&self) -> bool;
}

impl Bounded for ArchivedSummary {
    fn is_within(&self) -> bool {
        self.buckets.len().is_power_of_two() && self.buckets.len() <= CATALOG_BUCKETS_MAX
    }
}

impl Bounded for ArchivedCompare {
    fn is_within(&self) -> bool {
        let count = usize::from(self.buckets_count.to_native());
        count.is_power_of_two()
            && count <= CATALOG_BUCKETS_MAX
            && self.buckets.len() <= count
            && self.buckets.iter().all(|bucket| usize::from(bucket.to_native()) < count)
            && self.heads.len() <= CATALOG_HEADS_MAX
    }
}

impl Bounded for ArchivedNews {
    fn is_within(&self) -> bool {
        self.told.len() <= CATALOG_TOLD_MAX
    }
}

impl Bounded for rkyv::vec::ArchivedVec<ArchivedNews> {
    fn is_within(&self) -> bool {
        self.len() <= CATALOG_HEADS_MAX && self.iter().all(Bounded::is_within)
    }
}

impl Bounded for rkyv::vec::ArchivedVec<ArchivedNeed> {
    fn is_within(&self) -> bool {
        self.len() <= CATALOG_HEADS_MAX
    }
}

impl Bounded for rkyv::vec::ArchivedVec<ArchivedChange> {
    fn is_within(&self) -> bool {
        self.len() <= CATALOG_HEADS_MAX && self.iter().all(Bounded::is_within)
    }
}

impl Bounded for ArchivedChange {
    /// Records ascend, within the range the change is about, and the range within the feed.
    fn is_within(&self) -> bool {
        let (after, upto) = (self.after.to_native(), self.upto.to_native());
        let mut last = after;
        after <= upto
            && upto <= self.news.head.version.sequence.to_native()
            && upto < Head::OVER
            && self.news.is_within()
            && self.records.len() <= CATALOG_RECORDS_MAX
            && self.records.iter().all(|record| {
                let sequence = record.sequence.to_native();
                let is_next = last < sequence && sequence <= upto;
                last = sequence;
                is_next && record.is_within()
            })
    }
}

impl Bounded for ArchivedRecord {
    fn is_within(&self) -> bool {
        self.name.len() <= CATALOG_NAME_BYTES_MAX
            && self.body.as_ref().is_none_or(|body| body.len() <= CATALOG_BODY_BYTES_MAX)
    }
}

type Serializer<'a> =
    rkyv::api::high::HighSerializer<Vec<u8>, rkyv::ser::allocator::ArenaHandle<'a>, Failure>;

fn write(kind: u8, value: &impl for<'a> Serialize<Serializer<'a>>, out: &mut Vec<u8>) {
    out.push(kind);
    put_archive(value, out);
}

/// Appends the archive of `value`.
fn put_archive(value: &impl for<'a> Serialize<Serializer<'a>>, out: &mut Vec<u8>) {
    let bytes = core::mem::take(out);
    *out = rkyv::api::high::to_bytes_in::<_, Failure>(value, bytes)
        .expect("a vector takes all bytes, and archives are far below 4 GiB");
}

type Validator<'a> = rkyv::api::high::HighValidator<'a, Failure>;
type Deserializer = rkyv::api::high::HighDeserializer<Failure>;

fn read<T>(bytes: &[u8]) -> Result<T, ErrorCode>
where
    T: Archive,
    T::Archived:
        for<'a> rkyv::bytecheck::CheckBytes<Validator<'a>> + Deserialize<T, Deserializer> + Bounded,
{
    let archived =
        rkyv::api::high::access::<T::Archived, Failure>(bytes).map_err(|_| ErrorCode::Malformed)?;
    if !archived.is_within() {
        return Err(ErrorCode::Malformed);
    }
    rkyv::api::high::deserialize(archived).map_err(|Failure| ErrorCode::Malformed)
}

#[cfg(test)]
mod tests;
