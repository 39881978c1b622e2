//! Who wants which topics: what this node's subscribers want is offered to others, what others want
//! becomes the view shards go by.
//!
//! ```text
//!   shards' subscribers --> one entry per pattern and group --> Offer (my cluster)
//!   entries of mates    --> nodes that want it --> view
//!             |
//!             +-- if I am a gateway: one entry per pattern and group --> Offer (the fabric)
//!   entries of foreign gateways --> clusters that want it --> view
//! ```
//!
//! What a cluster wants is offered by each of its gateways, in its own name: two gateways never write
//! one entry, and a cluster wants what any of its gateways says.
//!
//! The machine knows nothing of the catalog but which entries came and went, and nothing of routes.
//!
//! Invariants:
//! - 100 subscribers of one pattern and group are one entry; it is retracted with the last of them. Of
//!   a group it says how many, to the power of two.
//! - A view names no want of this node, nor of its own cluster as a cluster.
//! - A view is never changed while anyone but this machine holds it.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: `view.rs` (the view, and its two copies),
//! `tests.rs`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use bytes::Bytes;
use mpreg_proto::catalog::{self, Kind, Scope};
use mpreg_proto::id::{ClusterId, NodeId, ShardIx};
use mpreg_proto::topic::{Pattern, Segment};

use crate::limits::VIEW_PACE;
use crate::tape::Tape;
use crate::time::Instant;

mod view;

use view::{Edit, Views};
pub use view::{GroupWanted, InterestView, Stale, Wanted, Wanter};

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One shard has this many subscribers of a pattern in a group, which a `catalog::Want` names.
    /// The empty group stands for those that each want every message.
    Local {
        shard: ShardIx,
        name: Bytes,
        members: u32,
    },
    /// An entry came or went. Kinds that are no wants are ignored.
    Changed {
        owner: NodeId,
        cluster: ClusterId,
        kind: Kind,
        name: Bytes,
        /// Members of the group, by an entry that is set.
        members: Option<NonZeroU32>,
    },
    /// Whether this node has links with other clusters, and speaks for its own.
    Gateway(bool),
    DeadlineReached,
}

/// What follows.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Offer this entry, in place of one of its name.
    Offer {
        scope: Scope,
        kind: Kind,
        name: Bytes,
        body: Bytes,
    },
    Retract {
        scope: Scope,
        kind: Kind,
        name: Bytes,
    },
    /// What shards go by from here on, and which remembered routes are no longer right.
    View {
        view: Arc<InterestView>,
        stale: Stale,
    },
    /// The entry is of a kind that names wants, and names none.
    Unreadable {
        owner: NodeId,
    },
}

pub struct Wants {
    me: NodeId,
    cluster: ClusterId,
    is_gateway: bool,
    /// By name of the entry. None is without subscribers.
    local: BTreeMap<Bytes, Vec<(ShardIx, u32)>>,
    /// By name of the entry. None is without any.
    wanters: BTreeMap<Bytes, Wanters>,
    views: Views,
    viewed_at: Option<Instant>,
}

/// Who wants one pattern for one group. Sorted.
#[derive(Debug, Default)]
struct Wanters {
    /// Nodes of my cluster, me included, and how many members of the group each has.
    mates: Vec<(NodeId, NonZeroU32)>,
    gateways: Vec<(Gateway, ())>,
}

/// Who says it for which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gateway {
    cluster: ClusterId,
    node: NodeId,
}

impl Wants {
    /// `seed` keeps clients from choosing patterns that collide.
    pub fn new(me: NodeId, cluster: ClusterId, seed: u64) -> Self {
        Self {
            me,
            cluster,
            is_gateway: false,
            local: BTreeMap::new(),
            wanters: BTreeMap::new(),
            views: Views::new(seed),
            viewed_at: None,
        }
    }

    /// The last view that was given out; an empty one before.
    pub fn view(&self) -> Arc<InterestView> {
        self.views.last()
    }

    /// Whether shards had let go of a copy of the view, each time that one was needed.
    pub fn free(&mut self) -> &mut Tape<bool> {
        &mut self.views.free
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Local { shard, name, members } => self.local(shard, name, members, out),
            Input::Changed { owner, cluster, kind, name, members } => {
                self.changed(Gateway { cluster, node: owner }, kind, name, members, out);
            }
            Input::Gateway(is_gateway) => self.set_gateway(is_gateway, out),
            Input::DeadlineReached => (),
        }
        if self.deadline().is_some_and(|at| at <= now) {
            self.viewed_at = Some(now);
            let wanters = &self.wanters;
            let all = || wanters.iter().flat_map(|(name, wanters)| wanters.edits(name, self.me));
            if let Some((view, stale)) = self.views.publish(all) {
                out.push(Effect::View { view, stale });
            }
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let at = self.viewed_at.map_or(Instant::START, |viewed| viewed + VIEW_PACE);
        self.views.has_changes().then_some(at)
    }

    fn local(&mut self, shard: ShardIx, name: Bytes, members: u32, out: &mut Vec<Effect>) {
        let want = catalog::Want::parse(&name).expect("a shard takes only patterns");
        if is_reserved(want.pattern) {
            return;
        }
        let is_group = !want.group.is_empty();
        let shards = self.local.entry(name.clone()).or_default();
        let earlier = body(shards, is_group);
        shards.retain(|&(other, _)| other != shard);
        shards.extend((members != 0).then_some((shard, members)));
        let body = body(shards, is_group);
        let (scope, kind) = (Scope::Cluster, Kind::SUBSCRIPTION);
        match body {
            None => {
                self.local.remove(&name);
                out.extend(earlier.map(|_| Effect::Retract { scope, kind, name }));
            }
            same if same == earlier => (),
            Some(body) => out.push(Effect::Offer { scope, kind, name, body }),
        }
    }

    fn changed(
        &mut self,
        owner: Gateway,
        kind: Kind,
        name: Bytes,
        members: Option<NonZeroU32>,
        out: &mut Vec<Effect>,
    ) {
        let is_mate = owner.cluster == self.cluster;
        let is_subscription = match kind {
            Kind::SUBSCRIPTION if is_mate => true,
            Kind::CLUSTER_INTEREST if !is_mate => false,
            // A mate speaks for my cluster as I do, and what foreign nodes want is their cluster's.
            Kind(_) => return,
        };
        if catalog::Want::parse(&name).is_err() {
            out.push(Effect::Unreadable { owner: owner.node });
            return;
        }
        let wanters = self.wanters.entry(name.clone()).or_default();
        let had_mates = !wanters.mates.is_empty();
        let (wanter, [was, is]) = match is_subscription {
            true => {
                let was = set(&mut wanters.mates, owner.node, members);
                (Wanter::Node(owner.node), [was, members])
            }
            false => {
                let was = wanters.has(owner.cluster);
                set(&mut wanters.gateways, owner, members.map(|_| ()));
                let is = wanters.has(owner.cluster);
                let one = |is: bool| is.then_some(NonZeroU32::MIN);
                (Wanter::Cluster(owner.cluster), [one(was), one(is)])
            }
        };
        let has_mates = !wanters.mates.is_empty();
        if wanters.mates.is_empty() && wanters.gateways.is_empty() {
            self.wanters.remove(&name);
        }
        if was != is && wanter != Wanter::Node(self.me) {
            let edit = |members| Edit { name: name.clone(), wanter, members, is_wanted: false };
            was.into_iter().for_each(|members| self.views.edit(edit(members)));
            let edit = |members| Edit { is_wanted: true, ..edit(members) };
            is.into_iter().for_each(|members| self.views.edit(edit(members)));
        }
        if self.is_gateway && had_mates != has_mates {
            out.push(speak(name, has_mates));
        }
    }

    fn set_gateway(&mut self, is_gateway: bool, out: &mut Vec<Effect>) {
        if core::mem::replace(&mut self.is_gateway, is_gateway) != is_gateway {
            let wanted = self.wanters.iter().filter(|(_, wanters)| !wanters.mates.is_empty());
            out.extend(wanted.map(|(name, _)| speak(name.clone(), is_gateway)));
        }
    }
}

/// What is under `mpreg.` each node says for itself, and no other hears that it is wanted.
fn is_reserved(pattern: Pattern<'_>) -> bool {
    pattern.segments().next() == Some(Segment::Word("mpreg"))
}

/// For my cluster.
fn speak(name: Bytes, is_wanted: bool) -> Effect {
    let (scope, kind) = (Scope::Fabric, Kind::CLUSTER_INTEREST);
    match is_wanted {
        true => Effect::Offer { scope, kind, name, body: Bytes::new() },
        false => Effect::Retract { scope, kind, name },
    }
}

impl Wanters {
    fn has(&self, cluster: ClusterId) -> bool {
        let at = self.gateways.partition_point(|(gateway, ())| gateway.cluster < cluster);
        self.gateways.get(at).is_some_and(|(gateway, ())| gateway.cluster == cluster)
    }

    /// What makes an empty view know of these.
    fn edits(&self, name: &Bytes, me: NodeId) -> impl Iterator<Item = Edit> {
        let mates = self.mates.iter().filter(move |&&(node, _)| node != me);
        let mates = mates.map(|&(node, members)| (Wanter::Node(node), members));
        let clusters = self.gateways.chunk_by(|(a, ()), (b, ())| a.cluster == b.cluster);
        let clusters =
            clusters.map(|gateways| (Wanter::Cluster(gateways[0].0.cluster), NonZeroU32::MIN));
        let edit =
            |(wanter, members)| Edit { name: name.clone(), wanter, members, is_wanted: true };
        mates.chain(clusters).map(edit)
    }
}

/// Of an entry with these subscribers; none has no entry. Only of a group it counts how many.
fn body(shards: &[(ShardIx, u32)], is_group: bool) -> Option<Bytes> {
    let members = shards.iter().fold(0_u32, |sum, &(_, members)| sum.saturating_add(members));
    let exponent = is_group.then(|| catalog::members_body(members)).flatten();
    (members != 0).then(|| exponent.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&[body])))
}

/// Puts into or takes from a sorted list. Returns what was there.
fn set<K: Copy + Ord, V: Copy>(list: &mut Vec<(K, V)>, key: K, value: Option<V>) -> Option<V> {
    let at = list.binary_search_by_key(&key, |&(key, _)| key);
    match (at, value) {
        (Ok(at), Some(value)) => Some(core::mem::replace(&mut list[at].1, value)),
        (Ok(at), None) => Some(list.remove(at).1),
        (Err(at), Some(value)) => {
            list.insert(at, (key, value));
            None
        }
        (Err(_), None) => None,
    }
}

#[cfg(test)]
mod tests;
