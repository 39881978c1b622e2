//! Forwarding: one topic to the sessions, groups and shards that get it. The hot path.
//!
//! What a topic matched is remembered under the topic, with a stamp. A change to a literal pattern
//! drops the one topic it spells; a change to a wildcard moves the stamp and every older entry is
//! matched anew when it is next used.
//!
//! ```text
//!              local part                 other shards' part
//!   unknown --> matched here at once  --> Unasked --Ask--> Asking{held} --Answer--> Known
//! ```
//!
//! Invariants:
//! - At most `routes_cached_max` entries and `targets_cached_max` targets, those of the entry just
//!   filled not counted. An entry that holds messages is never evicted.
//! - Messages held while asking leave in the order they came.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use hashbrown::HashTable;
use mpreg_proto::frame::Overload;
use mpreg_proto::id::{ClusterId, NodeId, SessionId, ShardIx, Sid};
use mpreg_proto::topic::{Dialect, Topic};
use slab::Slab;

use crate::handoff::{GroupWant, Wanted};
use crate::hop;
use crate::id::{SessionIx, SubIx};
use crate::limits::Bounds;
use crate::time::Instant;

/// One session that gets a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub session: SessionIx,
    /// The subscription the copy is for; none if one copy serves all of the session's.
    pub sid: Option<Sid>,
    /// The strictest of the subscriptions that matched: disconnect before drop-oldest before
    /// drop-newest.
    pub overload: Overload,
}

/// One member of a queue group, on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub session: SessionIx,
    pub subscription: SubIx,
    pub overload: Overload,
}

/// A queue group that matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub name: Bytes,
    pub members: Vec<Member>,
    /// Members on other shards.
    pub remote: Vec<(ShardIx, u32)>,
}

/// Everything that gets a message of one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub plain: Vec<Target>,
    /// The subscriptions behind `plain`, to count what each was sent.
    pub counted: Vec<SubIx>,
    pub groups: Vec<Group>,
    /// Other shards with ungrouped subscribers, one bit each.
    pub shards: u64,
    /// Some subscription ends after a number of messages, so messages go one by one.
    pub has_limit: bool,
    /// Everyone on all nodes, in a node that knows of others.
    pub audience: Option<Box<Audience>>,
}

/// Who wants a topic, this node and others, as a hop between nodes wants it said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Other clusters with ungrouped subscribers.
    pub clusters: Vec<ClusterId>,
    /// Nodes of this cluster with ungrouped subscribers, this one among them.
    pub nodes: Vec<NodeId>,
    pub groups: Vec<hop::GroupWanted>,
    /// Somebody else wants it.
    pub is_elsewhere: bool,
}

impl Audience {
    pub fn wanted(&self) -> hop::Wanted<'_> {
        let Self { clusters, nodes, groups, .. } = self;
        hop::Wanted { clusters, nodes, groups }
    }

    /// Some group has members elsewhere and none on this node: each message is for one of them.
    pub fn is_drawn_elsewhere(&self, me: NodeId) -> bool {
        let is_here = |group: &hop::GroupWanted| group.holders.iter().any(|to| to.node == me);
        !self.groups.iter().all(is_here)
    }

    fn len(&self) -> usize {
        let grouped = self.groups.iter().map(|group| group.holders.len() + group.clusters.len());
        self.clusters.len() + self.nodes.len() + grouped.sum::<usize>()
    }
}

impl Targets {
    /// Nobody on this node gets it.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty() && self.shards == 0
    }

    /// Messages of a run must be handed over one by one.
    pub fn is_per_message(&self) -> bool {
        self.has_limit || !self.groups.is_empty()
    }

    fn len(&self) -> usize {
        let grouped: usize = self.groups.iter().map(|g| g.members.len() + g.remote.len()).sum();
        let audience = self.audience.as_ref().map_or(0, |audience| audience.len());
        self.plain.len() + self.counted.len() + grouped + audience
    }

    /// Puts in what other shards want.
    pub fn add_remote(&mut self, wanted: &Wanted, me: ShardIx) {
        self.shards = wanted.shards & !(1 << me.index());
        for GroupWant { group, shard, members } in &wanted.groups {
            if *shard == me {
                continue;
            }
            let at = self.groups.iter().position(|known| known.name == *group);
            let at = at.unwrap_or_else(|| {
                self.groups.push(Group { name: group.clone(), ..Group::default() });
                self.groups.len() - 1
            });
            self.groups[at].remote.push((*shard, *members));
        }
    }
}

/// Who of a group gets the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Here(Member),
    There(ShardIx),
}

impl Group {
    /// Here and on other shards.
    pub fn members_count(&self) -> u32 {
        let there = self.remote.iter().map(|&(_, members)| members);
        there.fold(self.members.len() as u32, u32::saturating_add)
    }

    /// The member a number drawn at random falls on; every member, here or there, is as likely.
    pub fn choose(&self, drawn: u64) -> Option<Choice> {
        let there: u64 = self.remote.iter().map(|&(_, members)| u64::from(members)).sum();
        let all = self.members.len() as u64 + there;
        let mut at = drawn.checked_rem(all)?;
        if let Some(member) = self.members.get(usize::try_from(at).ok()?) {
            return Some(Choice::Here(*member));
        }
        at -= self.members.len() as u64;
        for &(shard, members) in &self.remote {
            match at.checked_sub(u64::from(members)) {
                None => return Some(Choice::There(shard)),
                Some(left) => at = left,
            }
        }
        None
    }

    /// The same, of those who may have the message. A member that may not is passed over for the next
    /// one; those on other shards are for these to judge.
    pub fn choose_who(&self, drawn: u64, may: impl Fn(&Member) -> bool) -> Option<Choice> {
        match self.choose(drawn)? {
            Choice::Here(member) if !may(&member) => self.choose_again(drawn, 0, may),
            choice @ (Choice::Here(_) | Choice::There(_)) => Some(choice),
        }
    }

    /// Who else gets a message that the members on these shards, a bit each, may not have.
    pub fn choose_again(
        &self,
        drawn: u64,
        tried: u64,
        may: impl Fn(&Member) -> bool,
    ) -> Option<Choice> {
        let is_untried =
            |(shard, members): &&(ShardIx, u32)| 0 < *members && tried >> shard.index() & 1 == 0;
        let elsewhere = || self.remote.iter().find(is_untried);
        let here = self.choose_here(drawn, may).map(Choice::Here);
        here.or_else(|| elsewhere().map(|&(shard, _)| Choice::There(shard)))
    }

    /// A member on this shard, likewise.
    pub fn choose_here(&self, drawn: u64, may: impl Fn(&Member) -> bool) -> Option<Member> {
        let from = usize::try_from(drawn.checked_rem(self.members.len() as u64)?).ok()?;
        let (before, after) = self.members.split_at(from);
        after.iter().chain(before).find(|member| may(member)).copied()
    }
}

/// An entry's place in the table; valid until the table is next changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIx(u32);

/// What is known of one topic.
#[derive(Debug)]
pub struct Entry {
    topic: Box<[u8]>,
    hash: u64,
    /// Whose topic it is: NATS clients alone may publish to some.
    pub dialect: Dialect,
    /// The sum of all stamps the entry depends on, when it was filled.
    stamp: u64,
    used: bool,
    pub targets: Targets,
    pub remote: Remote,
}

/// What is known of the other shards' part.
#[derive(Debug)]
pub enum Remote {
    /// Only messages from other shards have used this entry so far.
    Unasked,
    /// The owner was asked; these messages wait for its answer. The local targets are matched when
    /// it comes.
    Asking(Vec<Held>),
    Known,
}

/// Messages of one topic that wait for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub source: Source,
    pub frames: Bytes,
}

/// Where messages that wait are from, and what is left to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client of this shard published them; `None` once its session has ended.
    Client(Option<Publisher>),
    /// Another node sent them then, and a hop header stands before them.
    Node { came_at: Instant },
    /// Another node sent them, and all that is left is to hand them out here.
    Here(Reach),
    /// An operator of this node asked then where a message would go.
    Trace { asked_at: Instant },
}

/// Who on this node is to get messages of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The ungrouped subscribers.
    pub is_here: bool,
    /// One member each.
    pub groups: Vec<Bytes>,
}

/// The session in a slot, told from those that have the slot later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    pub session: SessionIx,
    pub id: SessionId,
}

impl Entry {
    pub fn topic(&self) -> &[u8] {
        &self.topic
    }
}

/// The remembered routes of a shard.
#[derive(Debug)]
pub struct Routes {
    bounds: Bounds,
    table: HashTable<u32>,
    entries: Slab<Entry>,
    targets_count: usize,
    /// Where the search for an entry to evict goes on (CLOCK, Corbató 1968).
    hand: usize,
    /// The hash of a topic seen once, by its low bits: only topics that come again are remembered,
    /// so reply topics, used once each, evict nothing (the doorkeeper of TinyLFU, 2017).
    seen_once: Box<[u32]>,
}

const SEEN_ONCE: usize = 1 << 12;

impl Routes {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            table: HashTable::new(),
            entries: Slab::new(),
            targets_count: 0,
            hand: 0,
            seen_once: alloc::vec![0; SEEN_ONCE].into_boxed_slice(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn targets_count(&self) -> usize {
        self.targets_count
    }

    /// The entry of a topic, if it still holds.
    #[inline]
    pub fn find(&mut self, topic: &[u8], hash: u64, stamp: u64) -> Option<RouteIx> {
        let entries = &self.entries;
        let same = |&ix: &u32| *entries[ix as usize].topic == *topic;
        let ix = *self.table.find(hash, same)?;
        let entry = &mut self.entries[ix as usize];
        if entry.stamp == stamp || matches!(entry.remote, Remote::Asking(_)) {
            entry.used = true;
            return Some(RouteIx(ix));
        }
        self.remove(RouteIx(ix));
        None
    }

    #[inline]
    pub fn entry(&self, ix: RouteIx) -> &Entry {
        &self.entries[ix.0 as usize]
    }

    #[inline]
    pub fn entry_mut(&mut self, ix: RouteIx) -> &mut Entry {
        &mut self.entries[ix.0 as usize]
    }

    /// Whether a topic came before, lately; remembers that it came.
    pub fn is_seen_again(&mut self, hash: u64) -> bool {
        let (tag, at) = ((hash >> 32) as u32 | 1, hash as usize % SEEN_ONCE);
        core::mem::replace(&mut self.seen_once[at], tag) == tag
    }

    /// Remembers a topic with its local targets. The caller has found that it is not there.
    pub fn insert(
        &mut self,
        topic: &[u8],
        hash: u64,
        stamp: u64,
        targets: Targets,
        remote: Remote,
    ) -> RouteIx {
        self.targets_count += targets.len();
        let is_native = Topic::parse(topic).is_ok();
        let dialect = if is_native { Dialect::Native } else { Dialect::Nats };
        let topic = topic.into();
        let entry = Entry { topic, hash, dialect, stamp, used: true, targets, remote };
        let ix = u32::try_from(self.entries.insert(entry)).expect("fewer routes than 2^32");
        let entries = &self.entries;
        self.table.insert_unique(hash, ix, |&ix| entries[ix as usize].hash);
        self.evict_all_but(RouteIx(ix));
        RouteIx(ix)
    }

    /// Fills in freshly matched targets, with the owner's answer; returns the messages that
    /// waited for it.
    pub fn answer(&mut self, ix: RouteIx, targets: Targets, stamp: u64) -> Vec<Held> {
        let grown = targets.len();
        let entry = self.entry_mut(ix);
        entry.stamp = stamp;
        let shrunk = core::mem::replace(&mut entry.targets, targets).len();
        let held = match core::mem::replace(&mut entry.remote, Remote::Known) {
            Remote::Asking(held) => held,
            Remote::Unasked | Remote::Known => Vec::new(),
        };
        self.targets_count = self.targets_count + grown - shrunk;
        self.evict_all_but(ix);
        held
    }

    /// Drops what is known of one topic, unless messages wait there: their answer is on its way and
    /// is newer than the change.
    pub fn forget(&mut self, topic: &[u8], hash: u64) {
        let entries = &self.entries;
        let Some(&ix) = self.table.find(hash, |&ix| *entries[ix as usize].topic == *topic) else {
            return;
        };
        if !matches!(self.entries[ix as usize].remote, Remote::Asking(_)) {
            self.remove(RouteIx(ix));
        }
    }

    pub fn remove(&mut self, ix: RouteIx) {
        let entry = self.entries.remove(ix.0 as usize);
        self.targets_count -= entry.targets.len();
        if let Ok(found) = self.table.find_entry(entry.hash, |&known| known == ix.0) {
            found.remove();
        }
    }

    /// Makes the table fit its bounds, as far as it can without `kept` and those that ask.
    fn evict_all_but(&mut self, kept: RouteIx) {
        let Bounds { routes_cached_max, targets_cached_max, .. } = self.bounds;
        while routes_cached_max < self.entries.len() || targets_cached_max < self.targets_count {
            if !self.evict_one(kept) {
                break;
            }
        }
    }

    /// Removes the next entry not used since the hand last passed. False if none can go.
    fn evict_one(&mut self, kept: RouteIx) -> bool {
        // Twice round: the first time may only clear the marks.
        for _ in 0..2 * self.entries.capacity().max(1) {
            self.hand = if self.hand + 1 < self.entries.capacity() { self.hand + 1 } else { 0 };
            let Some(entry) = self.entries.get_mut(self.hand) else { continue };
            if self.hand == kept.0 as usize || matches!(entry.remote, Remote::Asking(_)) {
                continue;
            }
            if core::mem::take(&mut entry.used) {
                continue;
            }
            self.remove(RouteIx(self.hand as u32));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests;
