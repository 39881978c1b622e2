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
//! - 100 subscribers of one pattern and group are one entry; it is retracted with the last of them.
//! - A view names no want of this node, nor of its own cluster as a cluster.
//! - A view is never changed while anyone but this machine holds it.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: `view.rs` (the view, and its two copies),
//! `tests.rs`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::catalog::{self, Kind, Scope};
use mpreg_proto::id::{ClusterId, NodeId, ShardIx};
use mpreg_proto::topic::Pattern;

use crate::limits::VIEW_PACE;
use crate::time::Instant;

mod view;

use view::{Edit, Views};
pub use view::{GroupWanted, InterestView, Stale, Wanted, Wanter};

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One shard has this many subscribers of a pattern in a group. The empty group stands for those
    /// that each want every message.
    Local {
        shard: ShardIx,
        pattern: Bytes,
        group: Bytes,
        members: u32,
    },
    /// An entry came (`is_set`) or went. Kinds that are no wants are ignored.
    Changed {
        owner: NodeId,
        cluster: ClusterId,
        kind: Kind,
        name: Bytes,
        is_set: bool,
    },
    /// Whether this node has links with other clusters, and speaks for its own.
    Gateway(bool),
    DeadlineReached,
}

/// What follows.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Offer this entry, without a body.
    Offer {
        scope: Scope,
        kind: Kind,
        name: Bytes,
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
    /// Shards with subscribers, one bit each, by name of the entry.
    local: BTreeMap<Bytes, u64>,
    /// By name of the entry. None is without any.
    wanters: BTreeMap<Bytes, Wanters>,
    views: Views,
    viewed_at: Option<Instant>,
}

/// Who wants one pattern for one group. Sorted.
#[derive(Debug, Default)]
struct Wanters {
    /// Nodes of my cluster, me included.
    mates: Vec<NodeId>,
    gateways: Vec<Gateway>,
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

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Local { shard, pattern, group, members } => {
                self.local(shard, &pattern, &group, members, out);
            }
            Input::Changed { owner, cluster, kind, name, is_set } => {
                self.changed(Gateway { cluster, node: owner }, kind, name, is_set, out);
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

    fn local(
        &mut self,
        shard: ShardIx,
        pattern: &[u8],
        group: &[u8],
        members: u32,
        out: &mut Vec<Effect>,
    ) {
        let pattern = Pattern::parse(pattern).expect("a shard takes only patterns");
        let mut name = Vec::new();
        catalog::Want { pattern, group }.put(&mut name);
        let name = Bytes::from(name);
        let shards = self.local.get(&name).copied().unwrap_or(0);
        let bit = 1 << shard.index();
        let (scope, kind) = (Scope::Cluster, Kind::SUBSCRIPTION);
        match if members == 0 { shards & !bit } else { shards | bit } {
            same if same == shards => (),
            0 => {
                self.local.remove(&name);
                out.push(Effect::Retract { scope, kind, name });
            }
            more => {
                self.local.insert(name.clone(), more);
                out.extend((shards == 0).then_some(Effect::Offer { scope, kind, name }));
            }
        }
    }

    fn changed(
        &mut self,
        owner: Gateway,
        kind: Kind,
        name: Bytes,
        is_set: bool,
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
        let edited = match is_subscription {
            true => {
                let is_other = owner.node != self.me;
                let is_changed = set(&mut wanters.mates, owner.node, is_set);
                (is_changed && is_other).then_some(Wanter::Node(owner.node))
            }
            false => {
                let had = wanters.has(owner.cluster);
                set(&mut wanters.gateways, owner, is_set);
                (had != wanters.has(owner.cluster)).then_some(Wanter::Cluster(owner.cluster))
            }
        };
        let has_mates = !wanters.mates.is_empty();
        if wanters.mates.is_empty() && wanters.gateways.is_empty() {
            self.wanters.remove(&name);
        }
        if let Some(wanter) = edited {
            self.views.edit(Edit { name: name.clone(), wanter, is_wanted: is_set });
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

/// For my cluster.
fn speak(name: Bytes, is_wanted: bool) -> Effect {
    let (scope, kind) = (Scope::Fabric, Kind::CLUSTER_INTEREST);
    match is_wanted {
        true => Effect::Offer { scope, kind, name },
        false => Effect::Retract { scope, kind, name },
    }
}

impl Wanters {
    fn has(&self, cluster: ClusterId) -> bool {
        let at = self.gateways.partition_point(|gateway| gateway.cluster < cluster);
        self.gateways.get(at).is_some_and(|gateway| gateway.cluster == cluster)
    }

    /// What makes an empty view know of these.
    fn edits(&self, name: &Bytes, me: NodeId) -> impl Iterator<Item = Edit> {
        let mates = self.mates.iter().filter(move |&&node| node != me);
        let clusters = self.gateways.chunk_by(|a, b| a.cluster == b.cluster);
        let clusters = clusters.map(|gateways| Wanter::Cluster(gateways[0].cluster));
        let wanters = mates.map(|&node| Wanter::Node(node)).chain(clusters);
        wanters.map(move |wanter| Edit { name: name.clone(), wanter, is_wanted: true })
    }
}

/// Puts into or takes from a sorted list; whether that changed anything.
fn set<T: Copy + Ord>(list: &mut Vec<T>, value: T, is_in: bool) -> bool {
    match (list.binary_search(&value), is_in) {
        (Ok(_), true) | (Err(_), false) => return false,
        (Ok(at), false) => {
            list.remove(at);
        }
        (Err(at), true) => list.insert(at, value),
    }
    true
}

#[cfg(test)]
mod tests;
