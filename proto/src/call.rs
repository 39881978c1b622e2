//! Calls of functions: how they are named, how they fail, and what nodes say to each other about them.
//!
//! ```text
//!   node of the caller                     node of the worker
//!      Ask, Ask again  ------------------->  dedupes by CallId, runs it or refuses
//!                      <-------------------  Accepted, Answer (0 .. last), Failed, Unknown
//!      Poll, Ack, Cancel ----------------->
//!      (a node between) Dropped ---------->  to the node of the caller
//! ```
//!
//! A message is a data frame behind a hop header: its topic is the name of the function, its header
//! block the [`Message`], its payload the value, if there is one.
//!
//! ```text
//!   block = kind u8, origin u128, number u64, then by kind                      little-endian
//!     1 Ask       attempt u16, flags u8 (1: idempotent, 2: traced), life u64, version, constraint, resources
//!     2 Poll      have u32
//!     3 Ack       have u32
//!     4 Cancel
//!     5 Accepted
//!     6 Answer    part u32, flags u8 (1: the last, 2: traced), if traced how it ran: see `trace.rs`
//!     7 Failed    error u8, flags u8 (1: may have run, 2: the function says so), text
//!     8 Unknown
//!     9 Dropped   attempt u16, reason u8, count u8, that many nodes u128
//!   version, constraint, text = length u8, bytes       resources = count u8, then length u8, bytes of each
//! ```
//!
//! Invariants:
//! - [`Message::parse`] is total. What it accepts, [`Message::put`] writes byte for byte; a version or
//!   a constraint only if it is spelled as this one spells it.
//! - Numbers of kinds, errors and flags are never reused.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::ErrorCode;
use crate::function::{Constraint, FunctionName, Resources, Version};
use crate::hop::{MessageId, Reason};
use crate::id::{ClusterId, Incarnation, NodeId, ShardIx};
use crate::limits::{ERROR_TEXT_BYTES_MAX, HOP_PATH_MAX};
use crate::number::take;
use crate::text::{put_text, take_text};

mod trace;

pub use trace::{Ran, Route, Trace};

/// One call, whoever runs it: the node of its caller, and that node's number for it, which is made as
/// that of a [`MessageId`] and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    pub origin: NodeId,
    pub number: u64,
}

impl CallId {
    /// # Panics
    /// At a count over 2^48.
    pub fn new(origin: NodeId, incarnation: Incarnation, shard: ShardIx, count: u64) -> Self {
        let MessageId { origin, sequence } = MessageId::new(origin, incarnation, shard, count);
        Self { origin, number: sequence }
    }

    /// Which of the origin's counts this is of.
    pub const fn stream(self) -> u16 {
        self.as_message().stream()
    }

    /// The place in the stream.
    pub const fn count(self) -> u64 {
        self.as_message().count()
    }

    const fn as_message(self) -> MessageId {
        MessageId { origin: self.origin, sequence: self.number }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_message().fmt(f)
    }
}

/// What a worker is asked to run, as its node numbers it: the shard that asks in the top byte, then a
/// count. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

const JOB_COUNT_BITS: u32 = 56;

impl JobId {
    /// # Panics
    /// At a count over 2^56.
    pub fn new(shard: ShardIx, count: u64) -> Self {
        assert!(count < 1 << JOB_COUNT_BITS, "a process runs fewer jobs");
        Self((shard.index() as u64) << JOB_COUNT_BITS | count)
    }

    /// The shard that asked. `None`: no shard made this number.
    pub fn shard(self) -> Option<ShardIx> {
        ShardIx::new((self.0 >> JOB_COUNT_BITS) as usize)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0 >> JOB_COUNT_BITS, self.0 & ((1 << JOB_COUNT_BITS) - 1))
    }
}

/// Why a call has no result. The number is the wire form and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CallError {
    /// Nobody is known to offer the function.
    NotFound = 1,
    /// No version of it is allowed.
    NoVersion = 2,
    /// Of the versions allowed none has the resources.
    NoResource = 3,
    /// There is no way to who offers it, or was none for its answer, or they take no calls.
    Unreachable = 4,
    /// It is more links away than a message may go.
    HopBudgetExhausted = 5,
    /// There was no result in time.
    Deadline = 6,
    /// The caller said so.
    Cancelled = 7,
    /// As many calls as may be are under way, or more is to be kept than may be.
    Overloaded = 8,
    /// The function failed, or its worker went away.
    WorkerFailed = 9,
    /// What the caller said cannot be read or contradicts itself.
    Malformed = 10,
}

impl CallError {
    pub const ALL: [Self; 10] = [
        Self::NotFound,
        Self::NoVersion,
        Self::NoResource,
        Self::Unreachable,
        Self::HopBudgetExhausted,
        Self::Deadline,
        Self::Cancelled,
        Self::Overloaded,
        Self::WorkerFailed,
        Self::Malformed,
    ];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    pub const fn as_wire(self) -> u8 {
        self as u8
    }

    /// The word clients, logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NoVersion => "no_version",
            Self::NoResource => "no_resource",
            Self::Unreachable => "unreachable",
            Self::HopBudgetExhausted => "hop_budget_exhausted",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Overloaded => "overloaded",
            Self::WorkerFailed => "worker_failed",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a call was for, and how far that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub name: FunctionName,
    pub cluster: Option<ClusterId>,
    pub node: Option<NodeId>,
}

/// `NAME[@NODE][ in CLUSTER]`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cluster, node } = self;
        write!(f, "{name}")?;
        node.map_or(Ok(()), |node| write!(f, "@{node}"))?;
        cluster.map_or(Ok(()), |cluster| write!(f, " in {cluster}"))
    }
}

/// What the caller gets for a result that there is none of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target}: {error}: {text}")]
pub struct Failure {
    pub error: CallError,
    pub target: Target,
    /// The nodes that the call, or its refusal, came through: the caller's first, last the one that it
    /// ended at.
    pub path: Vec<NodeId>,
    /// Why, for a person.
    pub text: String,
    /// False: it has not run, and will not.
    pub may_have_run: bool,
}

/// What one node tells another about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Run it. With the value.
    Ask(Box<Ask>),
    /// Are you at it? Parts before `have` came; send again what there is after them.
    Poll { call: CallId, have: u32 },
    /// Parts before `have` came.
    Ack { call: CallId, have: u32 },
    /// Nobody waits for it any more.
    Cancel { call: CallId },
    /// It runs.
    Accepted { call: CallId },
    /// One part of the result, with its value: 0, 1, 2 .. A plain result is one last part. With the last
    /// one of a traced call: how it ran.
    Answer { call: CallId, part: u32, is_last: bool, ran: Option<Box<Ran>> },
    /// There is no result, or no more of it.
    Failed(Box<Refusal>),
    /// Nothing is known of it here. It may have run in another life of this node.
    Unknown { call: CallId },
    /// This copy of an `Ask` ends here, and there is no other of it.
    Dropped(Box<Dropped>),
}

/// `Message::Ask`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub call: CallId,
    /// Which copy, counted over all that the origin sends of this call.
    pub attempt: u16,
    pub is_idempotent: bool,
    /// The answer is to say how the call came and how long it ran.
    pub is_traced: bool,
    /// Which life of the node is asked. Another one may not run it: it cannot know what this one ran.
    pub life: Incarnation,
    /// What the origin chose; if it is gone, the constraint says what else will do.
    pub version: Version,
    pub constraint: Constraint,
    pub resources: Resources,
}

/// `Message::Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub call: CallId,
    pub error: CallError,
    /// False: it has not run here, and will not, whatever copies of it still come.
    pub may_have_run: bool,
    /// The function itself failed: it would do so elsewhere.
    pub is_by_function: bool,
    /// Cut at `ERROR_TEXT_BYTES_MAX`.
    pub text: String,
}

/// `Message::Dropped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub call: CallId,
    pub attempt: u16,
    pub reason: Reason,
    /// Where the copy has been, the origin first, last the node that dropped it. Cut at `HOP_PATH_MAX`.
    pub path: Vec<NodeId>,
}

const ASK: u8 = 1;
const POLL: u8 = 2;
const ACK: u8 = 3;
const CANCEL: u8 = 4;
const ACCEPTED: u8 = 5;
const ANSWER: u8 = 6;
const FAILED: u8 = 7;
const UNKNOWN: u8 = 8;
const DROPPED: u8 = 9;

const IDEMPOTENT: u8 = 1;
const LAST: u8 = 1;
const TRACED: u8 = 2;
const MAY_HAVE_RUN: u8 = 1;
const BY_FUNCTION: u8 = 2;

impl Message {
    pub fn call(&self) -> CallId {
        match self {
            Self::Ask(ask) => ask.call,
            Self::Failed(refusal) => refusal.call,
            Self::Dropped(dropped) => dropped.call,
            Self::Poll { call, .. }
            | Self::Ack { call, .. }
            | Self::Cancel { call }
            | Self::Accepted { call }
            | Self::Answer { call, .. }
            | Self::Unknown { call } => *call,
        }
    }

    /// Whether a payload goes with it.
    pub fn has_value(&self) -> bool {
        matches!(self, Self::Ask(_) | Self::Answer { .. })
    }

    /// Whether a node that drops it says so: see [`Dropped`].
    pub fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Ask(ask) => Some(ask),
            Self::Poll { .. }
            | Self::Ack { .. }
            | Self::Cancel { .. }
            | Self::Accepted { .. }
            | Self::Answer { .. }
            | Self::Failed(_)
            | Self::Unknown { .. }
            | Self::Dropped(_) => None,
        }
    }

    /// Whether the clusters it came through are to be told.
    pub fn is_traced(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.is_traced,
            Self::Answer { ran, .. } => ran.is_some(),
            Self::Poll { .. }
            | Self::Ack { .. }
            | Self::Cancel { .. }
            | Self::Accepted { .. }
            | Self::Failed(_)
            | Self::Unknown { .. }
            | Self::Dropped(_) => false,
        }
    }

    /// The word logs and traces use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ask(_) => "ask",
            Self::Poll { .. } => "poll",
            Self::Ack { .. } => "ack",
            Self::Cancel { .. } => "cancel",
            Self::Accepted { .. } => "accepted",
            Self::Answer { .. } => "answer",
            Self::Failed(_) => "failed",
            Self::Unknown { .. } => "unknown",
            Self::Dropped(_) => "dropped",
        }
    }

    /// Appends the header block.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        let CallId { origin, number } = self.call();
        out.extend_from_slice(&origin.0.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        match self {
            Self::Ask(ask) => ask.put(out),
            Self::Poll { have, .. } | Self::Ack { have, .. } => {
                out.extend_from_slice(&have.to_le_bytes());
            }
            Self::Answer { part, is_last, ran, .. } => {
                out.extend_from_slice(&part.to_le_bytes());
                let last = if *is_last { LAST } else { 0 };
                out.push(last | if ran.is_some() { TRACED } else { 0 });
                if let Some(ran) = ran {
                    ran.put(out);
                }
            }
            Self::Failed(refusal) => refusal.put(out),
            Self::Dropped(dropped) => dropped.put(out),
            Self::Cancel { .. } | Self::Accepted { .. } | Self::Unknown { .. } => (),
        }
    }

    pub fn parse(mut rest: &[u8]) -> Result<Self, ErrorCode> {
        let rest = &mut rest;
        let [kind] = take(rest)?;
        let origin = NodeId(u128::from_le_bytes(take(rest)?));
        let call = CallId { origin, number: u64::from_le_bytes(take(rest)?) };
        let message = match kind {
            ASK => Self::Ask(Ask::take(call, rest)?.into()),
            POLL => Self::Poll { call, have: u32::from_le_bytes(take(rest)?) },
            ACK => Self::Ack { call, have: u32::from_le_bytes(take(rest)?) },
            CANCEL => Self::Cancel { call },
            ACCEPTED => Self::Accepted { call },
            ANSWER => {
                let part = u32::from_le_bytes(take(rest)?);
                let flags = take_flags(rest, LAST | TRACED)?;
                let ran = match flags & TRACED {
                    0 => None,
                    _traced => Some(Ran::take(rest)?.into()),
                };
                Self::Answer { call, part, is_last: flags & LAST != 0, ran }
            }
            FAILED => Self::Failed(Refusal::take(call, rest)?.into()),
            UNKNOWN => Self::Unknown { call },
            DROPPED => Self::Dropped(Dropped::take(call, rest)?.into()),
            _ => return Err(ErrorCode::UnknownKind),
        };
        if rest.is_empty() { Ok(message) } else { Err(ErrorCode::Malformed) }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Ask(_) => ASK,
            Self::Poll { .. } => POLL,
            Self::Ack { .. } => ACK,
            Self::Cancel { .. } => CANCEL,
            Self::Accepted { .. } => ACCEPTED,
            Self::Answer { .. } => ANSWER,
            Self::Failed(_) => FAILED,
            Self::Unknown { .. } => UNKNOWN,
            Self::Dropped(_) => DROPPED,
        }
    }
}

impl Ask {
    fn put(&self, out: &mut Vec<u8>) {
        let Self {
            attempt, is_idempotent, is_traced, life, version, constraint, resources, ..
        } = self;
        out.extend_from_slice(&attempt.to_le_bytes());
        let idempotent = if *is_idempotent { IDEMPOTENT } else { 0 };
        out.push(idempotent | if *is_traced { TRACED } else { 0 });
        out.extend_from_slice(&life.0.to_le_bytes());
        put_text(&alloc::format!("{version}"), out);
        put_text(&alloc::format!("{constraint}"), out);
        resources.put(out);
    }

    fn take(call: CallId, rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let attempt = u16::from_le_bytes(take(rest)?);
        let flags = take_flags(rest, IDEMPOTENT | TRACED)?;
        Ok(Self {
            call,
            attempt,
            is_idempotent: flags & IDEMPOTENT != 0,
            is_traced: flags & TRACED != 0,
            life: Incarnation(u64::from_le_bytes(take(rest)?)),
            version: take_text(rest)?.parse().map_err(|_| ErrorCode::Malformed)?,
            constraint: take_text(rest)?.parse().map_err(|_| ErrorCode::Malformed)?,
            resources: Resources::take(rest)?,
        })
    }
}

impl Refusal {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { call: _, error, may_have_run, is_by_function, text } = self;
        let may_have_run = if *may_have_run { MAY_HAVE_RUN } else { 0 };
        let by_function = if *is_by_function { BY_FUNCTION } else { 0 };
        out.extend_from_slice(&[error.as_wire(), may_have_run | by_function]);
        put_text(&text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)], out);
    }

    fn take(call: CallId, rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let [error] = take(rest)?;
        let error = CallError::from_wire(error).ok_or(ErrorCode::Malformed)?;
        let flags = take_flags(rest, MAY_HAVE_RUN | BY_FUNCTION)?;
        let text = take_text(rest)?.into();
        let (may_have_run, is_by_function) = (flags & MAY_HAVE_RUN != 0, flags & BY_FUNCTION != 0);
        Ok(Self { call, error, may_have_run, is_by_function, text })
    }
}

impl Dropped {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { call: _, attempt, reason, path } = self;
        out.extend_from_slice(&attempt.to_le_bytes());
        let path = &path[..path.len().min(HOP_PATH_MAX)];
        out.extend_from_slice(&[*reason as u8, path.len() as u8]);
        path.iter().for_each(|node| out.extend_from_slice(&node.0.to_le_bytes()));
    }

    fn take(call: CallId, rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let attempt = u16::from_le_bytes(take(rest)?);
        let [reason, count] = take(rest)?;
        let reason = Reason::from_wire(reason).ok_or(ErrorCode::Malformed)?;
        if HOP_PATH_MAX < usize::from(count) {
            return Err(ErrorCode::Malformed);
        }
        let node = |_| Ok(NodeId(u128::from_le_bytes(take(rest)?)));
        let path = (0..count).map(node).collect::<Result<_, ErrorCode>>()?;
        Ok(Self { call, attempt, reason, path })
    }
}

/// A byte with no other bits than these.
fn take_flags(rest: &mut &[u8], known: u8) -> Result<u8, ErrorCode> {
    let [flags] = take(rest)?;
    if flags & !known == 0 { Ok(flags) } else { Err(ErrorCode::ReservedBits) }
}

#[cfg(test)]
mod tests;
