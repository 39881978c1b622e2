//! Interest: which shards want which topics. One shard's part of it.
//!
//! Literal topics are partitioned by hash: each has one owning shard, which answers for it. A
//! wildcard pattern can match topics of every owner, so each owner holds all of them.
//!
//! An owner tells all shards when an answer no longer holds; a new want is settled only when all of
//! them have forgotten the old answer. With first-in-first-out rings that gives: a message published
//! after a want is settled is seen by the shard that wanted it.
//!
//! Telling only those that asked would not do: a shard that never asked may remember routes that rest
//! on the bucket having been empty, and one that has yet to hear that it was filled does not ask.
//!
//! Invariants:
//! - A shard that has forgotten for a ticket knows that the bucket is filled.
//! - `forgetting` holds a ticket only while some shard has not answered it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::id::ShardIx;
use mpreg_proto::topic::{Pattern, Topic};
use slab::Slab;

use crate::handoff::{GroupWant, Scope, Ticket, Wanted};
use crate::subscription::Index;

/// The part of the interest index one shard owns.
pub struct Interest {
    /// All shards but this one.
    others: u64,
    index: Index<u32>,
    wants: Slab<Want>,
    bucket_mask: usize,
    /// Literal wants per bucket of this owner's topics.
    buckets: Vec<u32>,
    next_ticket: u32,
    forgetting: BTreeMap<Ticket, Forgetting>,
}

#[derive(Debug)]
struct Want {
    shard: ShardIx,
    group: Bytes,
    members: u32,
}

#[derive(Debug)]
struct Forgetting {
    /// Shards that have not answered.
    waiting: u64,
    wanted_by: Asker,
}

/// Who set a want, and under which of its tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub shard: ShardIx,
    pub ticket: Ticket,
}

/// What follows from a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell all shards, this one too, to forget.
    Forget { scope: Scope, ticket: Ticket },
    /// The want holds everywhere.
    Settled(Asker),
    /// Tell all other shards.
    Emptied { bucket: u32 },
}

impl Interest {
    /// `buckets_count` is a power of two.
    pub fn new(me: ShardIx, shards_count: usize, buckets_count: usize, seed: u64) -> Self {
        assert!(buckets_count.is_power_of_two());
        let all = if shards_count == 64 { u64::MAX } else { (1 << shards_count) - 1 };
        let rows = if shards_count == 1 { 0 } else { buckets_count };
        Self {
            others: all & !bit(me),
            index: Index::new(seed),
            wants: Slab::new(),
            bucket_mask: buckets_count - 1,
            buckets: alloc::vec![0; rows],
            next_ticket: 0,
            forgetting: BTreeMap::new(),
        }
    }

    /// The bucket of a topic among its owner's, from the hash all shards share.
    pub fn bucket_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & self.bucket_mask
    }

    /// Records that `asker.shard` has `members` of `group` on `pattern`; `hash` is the topic hash of
    /// a literal pattern.
    pub fn want(
        &mut self,
        pattern: Pattern<'_>,
        hash: u64,
        group: &Bytes,
        members: u32,
        asker: Asker,
        out: &mut Vec<Effect>,
    ) {
        let was_wanted = !self.index.values(pattern).is_empty();
        if !self.set(pattern, asker.shard, group, members) {
            out.push(Effect::Settled(asker));
            return;
        }
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = Ticket(self.next_ticket);
        self.forgetting.insert(ticket, Forgetting { waiting: self.others, wanted_by: asker });
        if !pattern.is_literal() {
            out.push(Effect::Forget { scope: Scope::All, ticket });
            return;
        }
        let scope = Scope::Topic(Bytes::copy_from_slice(pattern.as_bytes()));
        out.push(Effect::Forget { scope, ticket });
        let bucket = self.bucket_of(hash);
        let is_wanted = !self.index.values(pattern).is_empty();
        self.buckets[bucket] += u32::from(is_wanted);
        self.buckets[bucket] -= u32::from(was_wanted);
        if was_wanted && self.buckets[bucket] == 0 {
            // After the `Forget`, which says that the bucket is filled.
            out.push(Effect::Emptied { bucket: bucket as u32 });
        }
    }

    /// `from` has forgotten.
    pub fn forgotten(&mut self, from: ShardIx, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(entry) = self.forgetting.get_mut(&ticket) else { return };
        entry.waiting &= !bit(from);
        if entry.waiting == 0 {
            out.push(Effect::Settled(entry.wanted_by));
            self.forgetting.remove(&ticket);
        }
    }

    /// Who wants `topic`, as far as the wants known here say: all of them if this shard owns the
    /// topic, else the wildcards.
    pub fn wanted(&mut self, topic: Topic<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        self.index.each_match(topic, &mut |ix| {
            let Want { shard, group, members } = &self.wants[ix as usize];
            if group.is_empty() {
                wanted.shards |= bit(*shard);
            } else {
                let (group, shard, members) = (group.clone(), *shard, *members);
                wanted.groups.push(GroupWant { group, shard, members });
            }
        });
        wanted.groups.sort_unstable();
        wanted.groups.dedup_by(|next, kept| {
            let same = next.group == kept.group && next.shard == kept.shard;
            if same {
                kept.members += next.members;
            }
            same
        });
        wanted
    }

    /// Wants held here, of all shards.
    pub fn len(&self) -> usize {
        self.wants.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        self.index.heap_bytes() + self.wants.capacity() * size_of::<Want>()
    }

    /// Sets the members; says whether that changed anything.
    fn set(&mut self, pattern: Pattern<'_>, shard: ShardIx, group: &Bytes, members: u32) -> bool {
        let known = self.index.values(pattern).iter().copied().find(|&ix| {
            let want = &self.wants[ix as usize];
            want.shard == shard && want.group == *group
        });
        match (known, members) {
            (None, 0) => false,
            (None, members) => {
                let ix = self.wants.insert(Want { shard, group: group.clone(), members });
                self.index.insert(pattern, u32::try_from(ix).expect("fewer wants than 2^32"));
                true
            }
            (Some(ix), 0) => {
                self.index.remove(pattern, ix);
                self.wants.remove(ix as usize);
                true
            }
            (Some(ix), members) => {
                let want = &mut self.wants[ix as usize];
                core::mem::replace(&mut want.members, members) != members
            }
        }
    }
}

fn bit(shard: ShardIx) -> u64 {
    1 << shard.index()
}

#[cfg(test)]
mod tests;
