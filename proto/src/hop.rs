//! The hop header: what a message carries between nodes, in front of the unchanged data frames.
//!
//! ```text
//!   0      1    2        3    4     5        6     8        10    12       16       24
//!   budget path clusters back aimed messages flags clusters nodes deadline sequence
//!   u8     u8   u8, path u8   u8    u8       u16   u16      u16   u32, ms  u64
//!
//!   path nodes, path clusters, clusters, nodes, back   16 bytes each
//!   aimed                                              48 bytes each: cluster, node, group
//!   data frames, as their publisher wrote them
//! ```
//!
//! All little endian, read in place. The path begins with the node that sent the message first and
//! its cluster, so message and source cluster are named by it. Targets are of three kinds: clusters
//! and nodes get the message wherever it is wanted there, and what is *aimed* is for one node of
//! another cluster, or for one member of a queue group. Nodes are always of the cluster the copy is
//! in. `back` is the way a reply would like to take: the nodes its request came through.
//!
//! One header may stand in front of up to 255 data frames of one topic and lane; they are numbered
//! from `sequence` on. A forwarding node writes a new header and looks no further.
//!
//! Invariants:
//! - [`Header::parse`] is total, allocates nothing, and checks every count against its bound and all
//!   of them against the bytes at hand before anything is read.
//! - What it accepts, [`Leg::put`] wrote or would write, byte for byte.
//! - Flags that this version does not know are carried on.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use rkyv::rancor::Failure;
use rkyv::{Archive, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ErrorCode;
use crate::id::{ClusterId, Incarnation, NodeId, ShardIx};
use crate::limits::{
    ENVELOPE_BYTES, FRAME_BYTES_MAX, HOP_AIMED_MAX, HOP_CLUSTERS_MAX, HOP_FRONT_BYTES,
    HOP_MESSAGES_MAX, HOP_NODES_MAX, HOP_PATH_MAX,
};

const ID_BYTES: usize = 16;
const AIMED_BYTES: usize = 3 * ID_BYTES;

/// One message between nodes: who sent it first, and that node's number for it.
///
/// The number is a stream in the top 16 bits, which shard of which life counted, and a count in the
/// rest, so shards count alone and a node that starts again does not repeat itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    pub origin: NodeId,
    pub sequence: u64,
}

const COUNT_BITS: u32 = 48;
const SHARD_BITS: u32 = 6;

impl MessageId {
    /// # Panics
    /// At a count over 2^48: a million messages a second for nine years.
    pub fn new(origin: NodeId, incarnation: Incarnation, shard: ShardIx, count: u64) -> Self {
        assert!(count < 1 << COUNT_BITS, "a life has fewer messages");
        let life = incarnation.0 % (1 << (u64::BITS - COUNT_BITS - SHARD_BITS));
        let stream = life << SHARD_BITS | shard.index() as u64;
        Self { origin, sequence: stream << COUNT_BITS | count }
    }

    /// Which of the origin's counts this is of. Messages of one publisher are of one stream.
    pub const fn stream(self) -> u16 {
        (self.sequence >> COUNT_BITS) as u16
    }

    /// The place in the stream.
    pub const fn count(self) -> u64 {
        self.sequence & ((1 << COUNT_BITS) - 1)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.origin, self.stream(), self.count())
    }
}

/// A queue group: the first 128 bits of SHA-256 over its name, so that it is fixed-width here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u128);

impl GroupId {
    pub fn of(name: &[u8]) -> Self {
        let digest = Sha256::digest(name);
        Self(u128::from_be_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes")))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where a header is written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    pub node: NodeId,
    pub cluster: ClusterId,
}

/// For one receiver among many of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aimed {
    pub cluster: ClusterId,
    pub aim: Aim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    /// Everyone on this node who wants the message.
    Node(NodeId),
    /// One member of the group, on whichever of the cluster's nodes.
    Group(GroupId),
    /// One member of the group, on this node.
    Member { node: NodeId, group: GroupId },
}

impl Aimed {
    /// Zero stands for none: no digest is zero in practice, and a node so named has no messages aimed
    /// at it. `None` if it is for nobody.
    fn from_wire(words: &[u8; AIMED_BYTES]) -> Option<Self> {
        let (words, _) = words.as_chunks::<ID_BYTES>();
        let [cluster, node, group] = [0, 1, 2].map(|at: usize| u128::from_le_bytes(words[at]));
        let (to_node, to_group) = (NodeId(node), GroupId(group));
        let aim = match (node, group) {
            (0, 0) => return None,
            (_, 0) => Aim::Node(to_node),
            (0, _) => Aim::Group(to_group),
            (_, _) => Aim::Member { node: to_node, group: to_group },
        };
        Some(Self { cluster: ClusterId(cluster), aim })
    }

    fn put(self, out: &mut Vec<u8>) {
        let (node, group) = match self.aim {
            Aim::Node(node) => (node.0, 0),
            Aim::Group(group) => (0, group.0),
            Aim::Member { node, group } => (node.0, group.0),
        };
        for word in [self.cluster.0, node, group] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

/// Names that are 128 bits on the wire.
pub trait Wide: Copy + PartialEq {
    fn from_wide(wide: u128) -> Self;
    fn wide(self) -> u128;
}

impl Wide for NodeId {
    fn from_wide(wide: u128) -> Self {
        Self(wide)
    }

    fn wide(self) -> u128 {
        self.0
    }
}

impl Wide for ClusterId {
    fn from_wide(wide: u128) -> Self {
        Self(wide)
    }

    fn wide(self) -> u128 {
        self.0
    }
}

/// Names, where they lie in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids<'a, T> {
    words: &'a [[u8; ID_BYTES]],
    kind: PhantomData<T>,
}

impl<T> Default for Ids<'_, T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> Ids<'_, T> {
    pub const NONE: Self = Self { words: &[], kind: PhantomData };
}

impl<'a, T: Wide> Ids<'a, T> {
    /// Names as they lie on the wire, little endian.
    pub fn of(words: &'a [[u8; ID_BYTES]]) -> Self {
        Self { words, kind: PhantomData }
    }

    pub fn len(self) -> usize {
        self.words.len()
    }

    pub fn is_empty(self) -> bool {
        self.words.is_empty()
    }

    pub fn iter(self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + 'a
    where
        T: 'a,
    {
        self.words.iter().map(|word| T::from_wide(u128::from_le_bytes(*word)))
    }

    pub fn first(self) -> Option<T> {
        self.iter().next()
    }

    pub fn last(self) -> Option<T> {
        self.iter().next_back()
    }

    pub fn contains(self, id: T) -> bool {
        self.words.contains(&id.wide().to_le_bytes())
    }
}

/// Where a message has been, its origin first. Empty on the node that sends it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail<'a> {
    pub nodes: Ids<'a, NodeId>,
    /// No two in a row are the same.
    pub clusters: Ids<'a, ClusterId>,
}

/// Whom a copy of a message is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub clusters: Vec<ClusterId>,
    /// Of the cluster the copy is in, or enters.
    pub nodes: Vec<NodeId>,
    pub aimed: Vec<Aimed>,
}

impl Targets {
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.nodes.is_empty() && self.aimed.is_empty()
    }

    pub fn clear(&mut self) {
        self.clusters.clear();
        self.nodes.clear();
        self.aimed.clear();
    }
}

/// Bits of `flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

impl Flags {
    const TRACE: u16 = 1;
    const REPORT: u16 = 2;
    const CALL: u16 = 4;

    pub const fn traced() -> Self {
        Self(Self::TRACE)
    }

    /// Which way a call would go.
    pub const fn traced_call() -> Self {
        Self(Self::TRACE | Self::CALL)
    }

    pub const fn report() -> Self {
        Self(Self::REPORT)
    }

    pub const fn call() -> Self {
        Self(Self::CALL)
    }

    /// It is about a call: its one frame's header block is a [`crate::call::Message`].
    pub const fn is_call(self) -> bool {
        self.0 & Self::CALL != 0
    }

    /// Each node on the way is to say what it did with the message, and no subscriber gets it.
    pub const fn is_traced(self) -> bool {
        self.0 & Self::TRACE != 0
    }

    /// What a node said of a traced message, for the node that sent that.
    pub const fn is_report(self) -> bool {
        self.0 & Self::REPORT != 0
    }
}

/// Why a target gets no copy. The number is the wire form and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The message was on as many links as it may.
    HopBudgetExhausted = 1,
    /// It has been here, or every way leads to where it has been.
    LoopDetected = 2,
    /// No way to the target is known.
    NoRoute = 3,
    /// A way is known, and no link of it is up.
    LinkDown = 4,
    /// A way is known, and its link failed too often just now.
    LinkOpenCircuit = 5,
    /// It came too late to be worth having.
    DeadlinePassed = 6,
    /// The group it was for has no member left.
    GroupEmptied = 7,
    /// The cluster it was for has no subscriber left.
    Unwanted = 8,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::HopBudgetExhausted,
        Self::LoopDetected,
        Self::NoRoute,
        Self::LinkDown,
        Self::LinkOpenCircuit,
        Self::DeadlinePassed,
        Self::GroupEmptied,
        Self::Unwanted,
    ];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HopBudgetExhausted => "hop_budget_exhausted",
            Self::LoopDetected => "loop_detected",
            Self::NoRoute => "no_route",
            Self::LinkDown => "link_down",
            Self::LinkOpenCircuit => "link_open_circuit",
            Self::DeadlinePassed => "deadline_passed",
            Self::GroupEmptied => "group_emptied",
            Self::Unwanted => "unwanted",
        }
    }
}

/// The fixed part.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
struct Front {
    hop_budget: u8,
    path_nodes: u8,
    path_clusters: u8,
    back: u8,
    aimed: u8,
    messages: u8,
    flags: u16,
    clusters: u16,
    nodes: u16,
    deadline_ms: u32,
    sequence: u64,
}

const _: () = assert!(size_of::<ArchivedFront>() == HOP_FRONT_BYTES, "the wire format");

/// A header and what follows it, where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    front: &'a ArchivedFront,
    pub trail: Trail<'a>,
    pub clusters: Ids<'a, ClusterId>,
    pub nodes: Ids<'a, NodeId>,
    pub back: Ids<'a, NodeId>,
    aimed: &'a [[u8; AIMED_BYTES]],
    /// The data frames, as they came and as they go on.
    pub frames: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header and the data frames behind it, which are not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorCode> {
        let (front, rest) = bytes.split_at_checked(HOP_FRONT_BYTES).ok_or(ErrorCode::Malformed)?;
        let front = rkyv::api::low::access::<ArchivedFront, Failure>(front)
            .map_err(|_| ErrorCode::Malformed)?;
        front.check()?;
        let mut rest = Rest(rest);
        let nodes = rest.ids(usize::from(front.path_nodes))?;
        let clusters = rest.ids(usize::from(front.path_clusters))?;
        let header = Self {
            front,
            trail: Trail { nodes, clusters },
            clusters: rest.ids(usize::from(front.clusters.to_native()))?,
            nodes: rest.ids(usize::from(front.nodes.to_native()))?,
            back: rest.ids(usize::from(front.back))?,
            aimed: rest.chunks(usize::from(front.aimed))?,
            frames: rest.0,
        };
        if header.trail.clusters.words.windows(2).any(|two| two[0] == two[1])
            || header.aimed.iter().any(|words| Aimed::from_wire(words).is_none())
            || header.frames.len() <= usize::from(front.messages) * ENVELOPE_BYTES
        {
            return Err(ErrorCode::Malformed);
        }
        if FRAME_BYTES_MAX < header.frames.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        Ok(header)
    }

    /// The first of the messages.
    pub fn message(&self) -> MessageId {
        let origin = self.trail.nodes.first().expect("a parsed path has its origin");
        MessageId { origin, sequence: self.front.sequence.to_native() }
    }

    /// How many there are. At least one.
    pub fn messages(&self) -> u8 {
        self.front.messages
    }

    /// The cluster of the origin.
    pub fn source(&self) -> ClusterId {
        self.trail.clusters.first().expect("a parsed path has its source")
    }

    /// Who wrote this header. The link knows its peer; if this is another, the peer lies.
    pub fn sender(&self) -> NodeId {
        self.trail.nodes.last().expect("a parsed path has its origin")
    }

    /// Links the message may still be sent on.
    pub fn hop_budget(&self) -> u8 {
        self.front.hop_budget
    }

    pub fn flags(&self) -> Flags {
        Flags(self.front.flags.to_native())
    }

    /// What is left, counted from the receipt of this header.
    pub fn deadline_ms(&self) -> Option<u32> {
        Some(self.front.deadline_ms.to_native()).filter(|&left| left != 0)
    }

    pub fn aimed(&self) -> impl Iterator<Item = Aimed> + 'a {
        self.aimed.iter().filter_map(Aimed::from_wire)
    }
}

impl ArchivedFront {
    fn check(&self) -> Result<(), ErrorCode> {
        let (clusters, nodes) = (self.clusters.to_native(), self.nodes.to_native());
        let paths = [self.path_nodes, self.path_clusters, self.back];
        let is_within = paths.into_iter().all(|count| usize::from(count) <= HOP_PATH_MAX)
            && usize::from(self.aimed) <= HOP_AIMED_MAX
            && usize::from(clusters) <= HOP_CLUSTERS_MAX
            && usize::from(nodes) <= HOP_NODES_MAX;
        let is_for_someone = clusters != 0 || nodes != 0 || self.aimed != 0;
        let has_origin = self.path_nodes != 0 && self.path_clusters != 0;
        if is_within && is_for_someone && has_origin && self.messages != 0 {
            Ok(())
        } else {
            Err(ErrorCode::Malformed)
        }
    }
}

/// Where the deadline lies in a header.
const DEADLINE_AT: usize = 12;

/// The deadline of the header that `bytes` begin with, where it lies.
fn deadline_in(bytes: &mut [u8]) -> Option<&mut [u8; 4]> {
    let deadline = bytes.get_mut(DEADLINE_AT..)?.first_chunk_mut()?;
    (*deadline != [0; 4]).then_some(deadline)
}

/// Adds what a header will have spent when it leaves: [`spend`] takes it off again. Without a deadline
/// nothing is changed.
pub fn lend(bytes: &mut [u8], ms: u32) {
    if let Some(deadline) = deadline_in(bytes) {
        *deadline = u32::from_le_bytes(*deadline).saturating_add(ms).to_le_bytes();
    }
}

/// Takes off what a header has spent; false if nothing is left of its deadline.
pub fn spend(bytes: &mut [u8], ms: u32) -> bool {
    let Some(deadline) = deadline_in(bytes) else { return true };
    match u32::from_le_bytes(*deadline).checked_sub(ms) {
        None | Some(0) => false,
        Some(left) => {
            *deadline = left.to_le_bytes();
            true
        }
    }
}

/// Bytes taken from the front, a list at a time.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn chunks<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], ErrorCode> {
        let (list, rest) = self.0.split_at_checked(count * N).ok_or(ErrorCode::Malformed)?;
        self.0 = rest;
        Ok(list.as_chunks().0)
    }

    fn ids<T: Wide>(&mut self, count: usize) -> Result<Ids<'a, T>, ErrorCode> {
        Ok(Ids::of(self.chunks(count)?))
    }
}

/// One copy of a message, or of up to 255 of one topic, on one link: everything but the data frames.
#[derive(Clone, Copy, Debug)]
pub struct Leg<'a> {
    /// Of the first message.
    pub sequence: u64,
    pub messages: u8,
    pub flags: Flags,
    /// What is left of it on the other side of the link.
    pub hop_budget: u8,
    pub deadline_ms: Option<u32>,
    pub trail: Trail<'a>,
    pub targets: &'a Targets,
    pub back: &'a [NodeId],
}

impl Leg<'_> {
    /// Appends the header, with `here` at the end of the path. The data frames are to follow. Appends
    /// nothing if a bound is passed.
    pub fn put(&self, here: Here, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let is_entered = self.trail.clusters.last() != Some(here.cluster);
        let front = self.front(is_entered)?;
        out.extend_from_slice(&front.to_bytes());
        out.extend_from_slice(self.trail.nodes.words.as_flattened());
        out.extend_from_slice(&here.node.0.to_le_bytes());
        out.extend_from_slice(self.trail.clusters.words.as_flattened());
        if is_entered {
            out.extend_from_slice(&here.cluster.0.to_le_bytes());
        }
        put_ids(&self.targets.clusters, out);
        put_ids(&self.targets.nodes, out);
        put_ids(self.back, out);
        self.targets.aimed.iter().for_each(|aimed| aimed.put(out));
        Ok(())
    }

    fn front(&self, is_entered: bool) -> Result<Front, ErrorCode> {
        fn count<N: TryFrom<usize>>(count: usize, max: usize) -> Result<N, ErrorCode> {
            let is_within = count <= max;
            let count = N::try_from(count).ok().filter(|_| is_within);
            count.ok_or(ErrorCode::FrameTooLarge)
        }
        let Targets { clusters, nodes, aimed } = self.targets;
        if self.targets.is_empty() || self.messages == 0 {
            return Err(ErrorCode::Malformed);
        }
        let path_clusters = self.trail.clusters.len() + usize::from(is_entered);
        Ok(Front {
            hop_budget: self.hop_budget,
            path_nodes: count(self.trail.nodes.len() + 1, HOP_PATH_MAX)?,
            path_clusters: count(path_clusters, HOP_PATH_MAX)?,
            back: count(self.back.len(), HOP_PATH_MAX)?,
            aimed: count(aimed.len(), HOP_AIMED_MAX)?,
            messages: self.messages,
            flags: self.flags.0,
            clusters: count(clusters.len(), HOP_CLUSTERS_MAX)?,
            nodes: count(nodes.len(), HOP_NODES_MAX)?,
            // Zero would say that there is none.
            deadline_ms: self.deadline_ms.map_or(0, |left| left.max(1)),
            sequence: self.sequence,
        })
    }
}

impl Front {
    fn to_bytes(self) -> [u8; HOP_FRONT_BYTES] {
        let mut bytes = [0; HOP_FRONT_BYTES];
        rkyv::api::serialize_using::<_, Failure>(
            &self,
            &mut rkyv::ser::writer::Buffer::from(&mut bytes),
        )
        .expect("the buffer is as long as the archived front");
        bytes
    }
}

fn put_ids<T: Wide>(ids: &[T], out: &mut Vec<u8>) {
    ids.iter().for_each(|id| out.extend_from_slice(&id.wide().to_le_bytes()));
}

const _: () = assert!(HOP_MESSAGES_MAX == u8::MAX as usize, "the front holds it in a byte");

#[cfg(test)]
mod tests;
