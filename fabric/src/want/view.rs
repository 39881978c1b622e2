//! Which nodes and clusters want a topic, to be asked by all shards at once.
//!
//! There are two copies. Shards hold the last that was given out; the other is brought up to date
//! when they have let go of it, by the same changes, and is given out next. So a change costs what it
//! costs to make it twice, however much is known.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use bytes::Bytes;
use mpreg_proto::catalog::Want;
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::topic::Topic;
use slab::Slab;

use crate::limits::{VIEW_CHANGES_MAX, VIEW_TOPICS_MAX};
use crate::subscription::{Index, Walk};
use crate::tape::Tape;

/// Who else wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanter {
    /// Of my cluster.
    Node(NodeId),
    /// Another.
    Cluster(ClusterId),
}

/// A wanter of which one subscriber of a queue group wants each message: of all that name the group,
/// and of one's own shards, one gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupWanted {
    pub group: Bytes,
    pub wanter: Wanter,
    /// Of the group, as far as it is told. A wanter by several patterns may be listed with several
    /// numbers.
    pub members: NonZeroU32,
}

/// An answer, and the room it takes: kept and used again, nothing is allocated for it.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Nodes of my cluster, ascending, this one never.
    pub nodes: Vec<NodeId>,
    /// Other clusters, ascending.
    pub clusters: Vec<ClusterId>,
    /// Ascending by group.
    pub groups: Vec<GroupWanted>,
    slots: Vec<u32>,
    walk: Walk,
}

/// Which remembered routes a new view makes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Those of these topics.
    Topics(Vec<Bytes>),
    All,
}

/// Who wants which topics.
pub struct InterestView {
    index: Index<u32>,
    slots: Slab<Slot>,
    by_wanter: BTreeMap<GroupWanted, u32>,
}

#[derive(Debug)]
struct Slot {
    wanted: GroupWanted,
    patterns_count: u32,
}

impl InterestView {
    fn new(seed: u64) -> Self {
        Self { index: Index::new(seed), slots: Slab::new(), by_wanter: BTreeMap::new() }
    }

    pub fn wanted(&self, topic: Topic<'_>, wanted: &mut Wanted) {
        let Wanted { nodes, clusters, groups, slots, walk } = wanted;
        slots.clear();
        self.index.each_match_by(walk, topic, &mut |slot| slots.push(slot));
        slots.sort_unstable();
        slots.dedup();
        nodes.clear();
        clusters.clear();
        groups.clear();
        for &slot in &*slots {
            let wanted = &self.slots[slot as usize].wanted;
            match wanted.wanter {
                _ if !wanted.group.is_empty() => groups.push(wanted.clone()),
                Wanter::Node(node) => nodes.push(node),
                Wanter::Cluster(cluster) => clusters.push(cluster),
            }
        }
        nodes.sort_unstable();
        clusters.sort_unstable();
        groups.sort_unstable();
    }

    /// Wants known: patterns, each counted for every wanter and group.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Nodes, clusters and their groups that want anything.
    pub fn wanters_count(&self) -> usize {
        self.slots.len()
    }

    fn apply(&mut self, edit: &Edit) {
        let want = Want::parse(&edit.name).expect("it was read when it came");
        let Edit { name, wanter, members, .. } = edit;
        let group = name.slice_ref(want.group);
        // How many want it each is nobody's business.
        let members = if group.is_empty() { NonZeroU32::MIN } else { *members };
        let key = GroupWanted { group, wanter: *wanter, members };
        if edit.is_wanted {
            let slots = &mut self.slots;
            let slot = *self.by_wanter.entry(key.clone()).or_insert_with(|| {
                // Its own bytes: a slice would keep the name it was first seen in.
                let group = Bytes::copy_from_slice(&key.group);
                let wanted = GroupWanted { group, ..key.clone() };
                let slot = slots.insert(Slot { wanted, patterns_count: 0 });
                u32::try_from(slot).expect("2^32 wanters are more than memory holds")
            });
            self.slots[slot as usize].patterns_count += 1;
            self.index.insert(want.pattern, slot);
            return;
        }
        let slot = *self.by_wanter.get(&key).expect("what is taken back was wanted");
        let was_there = self.index.remove(want.pattern, slot);
        assert!(was_there, "what is taken back was wanted");
        let patterns_count = &mut self.slots[slot as usize].patterns_count;
        *patterns_count -= 1;
        if *patterns_count == 0 {
            self.slots.remove(slot as usize);
            self.by_wanter.remove(&key);
        }
    }
}

/// Of a node that knows no other.
impl Default for InterestView {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for InterestView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterestView of {}", self.len())
    }
}

/// A want that came or went.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) name: Bytes,
    pub(super) wanter: Wanter,
    pub(super) members: NonZeroU32,
    pub(super) is_wanted: bool,
}

/// The view in two copies.
pub(super) struct Views {
    seed: u64,
    given_out: Arc<InterestView>,
    other: Arc<InterestView>,
    /// Made in `given_out` and not in `other`, then made in neither.
    pub(super) edits: VecDeque<Edit>,
    /// How many of the edits were made in `given_out`.
    made_count: usize,
    /// Whether nobody held the other copy, each time that it was to be given out.
    pub(super) free: Tape<bool>,
}

impl Views {
    pub(super) fn new(seed: u64) -> Self {
        let empty = || Arc::new(InterestView::new(seed));
        let (given_out, other) = (empty(), empty());
        Self { seed, given_out, other, edits: VecDeque::new(), made_count: 0, free: Tape::Off }
    }

    pub(super) fn last(&self) -> Arc<InterestView> {
        Arc::clone(&self.given_out)
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        self.edits.push_back(edit);
    }

    pub(super) fn has_changes(&self) -> bool {
        self.made_count < self.edits.len()
    }

    /// A view with all edits, unless somebody still holds the copy before the last. `all` makes one
    /// from the start.
    pub(super) fn publish<I: Iterator<Item = Edit>>(
        &mut self,
        all: impl FnOnce() -> I,
    ) -> Option<(Arc<InterestView>, Stale)> {
        let Self { other, free, .. } = self;
        let is_free = free.ask(|| Arc::get_mut(other).is_some(), false);
        if let Some(other) = Arc::get_mut(other).filter(|_| is_free) {
            self.edits.iter().for_each(|edit| other.apply(edit));
        } else if self.edits.len() < VIEW_CHANGES_MAX {
            return None;
        } else {
            let mut view = InterestView::new(self.seed);
            all().for_each(|edit| view.apply(&edit));
            self.other = Arc::new(view);
        }
        self.edits.drain(..self.made_count);
        let stale = stale(&self.edits);
        self.made_count = self.edits.len();
        core::mem::swap(&mut self.given_out, &mut self.other);
        Some((self.last(), stale))
    }
}

fn stale(edits: &VecDeque<Edit>) -> Stale {
    if VIEW_TOPICS_MAX < edits.len() {
        return Stale::All;
    }
    let topic = |edit: &Edit| {
        let pattern = Want::parse(&edit.name).expect("it was read when it came").pattern;
        pattern.is_literal().then(|| Bytes::copy_from_slice(pattern.as_bytes()))
    };
    let topics: Option<Vec<Bytes>> = edits.iter().map(topic).collect();
    topics.map_or(Stale::All, Stale::Topics)
}
