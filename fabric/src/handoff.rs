//! What shards of one node say to each other.
//!
//! Each ordered pair of shards has one first-in-first-out ring; the rules below lean on it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::id::ShardIx;
use mpreg_proto::topic::{Dialect, Pattern};

use crate::call;
use crate::hop::ReplyWay;

/// Identifies one conversation of the shard that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u32);

/// One message between two shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handoff {
    /// Whole data frames of one topic, for every ungrouped subscriber of the receiver.
    Run { frames: Bytes },
    /// One data frame for one member of this group, of the receiver's choice.
    /// `tried` are shards, a bit each, whose members may not have it.
    Member { frame: Bytes, group: Bytes, tried: u64 },
    /// To the shard that drew: the members here may not have it either. Draw another one.
    Returned { frame: Bytes, group: Bytes, tried: u64 },
    /// A message that follows asks for a reply to this topic, and this is the way to who asked.
    Asked { reply: Bytes, way: Arc<ReplyWay> },
    /// To the owner of the topic: which shards want it?
    Ask { topic: Bytes },
    /// What the owner knew when it answered. Later changes follow on the same ring.
    Answer { topic: Bytes, wanted: Wanted },
    /// To an owner: this shard has this many members of this group on this pattern. The empty
    /// group stands for ungrouped subscribers and has one member or none.
    Want { pattern: Spelled, group: Bytes, members: u32, ticket: Ticket },
    /// From an owner: the want is known, and no shard remembers otherwise.
    Settled { ticket: Ticket },
    /// From an owner: forget what I answered about this; the scope says which topics.
    Forget { scope: Scope, ticket: Ticket },
    /// To the owner: forgotten.
    Forgotten { ticket: Ticket },
    /// From an owner: no literal subscription is left in this bucket of my topics.
    Emptied { bucket: u32 },
    /// To the home of a function: what a client or another node says of it.
    Call(Box<call::Input>),
    /// From the home: what a client of the receiver is to hear.
    Told(Box<call::Effect>),
}

/// A pattern on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spelled {
    pub text: Bytes,
    pub dialect: Dialect,
}

impl Spelled {
    pub fn of(pattern: Pattern<'_>) -> Self {
        Self { text: Bytes::copy_from_slice(pattern.as_bytes()), dialect: pattern.dialect() }
    }
}

/// Which topics an answer must be forgotten for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This one, and its bucket holds literal subscriptions from here on.
    Topic(Bytes),
    /// Every topic of the owner that says so: a wildcard came or went.
    All,
}

/// Which shards want a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Shards with ungrouped subscribers, one bit each.
    pub shards: u64,
    /// Members of groups, by group name.
    pub groups: Vec<GroupWant>,
}

/// One shard's members of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupWant {
    pub group: Bytes,
    pub shard: ShardIx,
    pub members: u32,
}
