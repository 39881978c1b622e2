//! Which link leads to a cluster or a node: the tables a data shard looks ways up in.
//!
//! ```text
//!   cluster --> exits: a linked node of the next cluster, or a node of this one that has such a link
//!   node    --> exits: linked nodes of this cluster
//!   exit    --> a link that is up, whose circuit is not open, to where the message has not been
//! ```
//!
//! Exits are in order of preference, the first few of them equally good. A flow keeps to one of
//! those, so that its messages stay in order; the others are alternates, taken when none of the
//! equally good ones can be. Who made the tables is of no interest here.
//!
//! Invariants:
//! - A way is found only among the exits given for that destination; nothing is guessed.
//! - An open circuit lets nothing through; a half-open one a message in [`TRIAL_ONE_IN`].
//! - The same tables and the same message give the same way.
//!
//! Parts: `flowlet.rs` keeps flows on their ways while tables change.

use alloc::vec::Vec;

use mpreg_proto::hop::{Here, Ids, MessageId, Reason, Trail};
use mpreg_proto::id::{ClusterId, NodeId};

use crate::breaker::Circuit;
use crate::graph::affinity;
use crate::limits::TRIAL_ONE_IN;

mod flowlet;

pub use flowlet::{Flowlets, Helm};

/// Where to head for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exit {
    pub node: NodeId,
    /// The node's.
    pub cluster: ClusterId,
}

/// What is known of one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways<T> {
    pub to: T,
    /// Best first, none twice.
    pub exits: Vec<Exit>,
    /// How many of the first are as good as the best. At least one.
    pub equal_count: usize,
    /// About how many hops away by the best exit. Which of two destinations is nearer is all it is
    /// for.
    pub distance: u32,
}

/// What ways computed from link-state count for, beside those that neighbours announce.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum LinkStateMode {
    /// Nothing: links to other clusters are neither advertised nor heard of.
    #[default]
    Disabled,
    /// They come before announced routes.
    Prefer,
    /// Announced routes count for nothing.
    Only,
}

/// A link that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub peer: NodeId,
    /// The peer's.
    pub cluster: ClusterId,
    pub circuit: Circuit,
}

/// What a node knows of ways. Each list is sorted by its key.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    pub here: Here,
    /// Other clusters.
    pub clusters: &'a [Ways<ClusterId>],
    /// Nodes of this cluster, where not all of them are linked.
    pub nodes: &'a [Ways<NodeId>],
    pub links: &'a [Link],
}

/// Why a message takes the way it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the best.
    Best,
    /// It is as good as the best, and its flow keeps to it.
    Equal,
    /// The best cannot be taken, for this reason.
    Alternate(Reason),
    /// It is a link to where the message goes.
    Linked,
    /// Its flow goes there until it pauses.
    Kept,
}

impl Why {
    /// The word logs and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Equal => "equal",
            Self::Alternate(_) => "alternate",
            Self::Linked => "linked",
            Self::Kept => "kept",
        }
    }
}

/// What of a message decides its way.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Where it has been.
    pub trail: Trail<'a>,
    /// The same for all messages whose order counts.
    pub flow: u64,
    /// Of this message alone.
    pub draw: u64,
}

impl<'a> Flow<'a> {
    /// One that begins here, and tries half-open links.
    const ANY: Flow<'static> =
        Flow { trail: Trail { nodes: Ids::NONE, clusters: Ids::NONE }, flow: 0, draw: 0 };

    pub fn of(message: MessageId, trail: Trail<'a>) -> Self {
        Self {
            trail,
            flow: affinity(u64::from(message.stream()), message.origin.0),
            draw: affinity(message.sequence, message.origin.0),
        }
    }
}

impl Table<'_> {
    /// The next node on the way to another cluster.
    pub fn to_cluster(&self, to: ClusterId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        self.choose(to, flow).map(|(_, next)| next)
    }

    /// The nearest of these clusters that a message can be sent towards; of those as near, the one
    /// that this message is drawn for.
    pub fn nearest(&self, clusters: &[ClusterId], flow: &Flow<'_>) -> Option<ClusterId> {
        let reach = |&to: &ClusterId| {
            let ways = find(self.clusters, to)?;
            self.to_cluster(to, flow).is_ok().then_some((ways.distance, to))
        };
        let drawn = |to: ClusterId| affinity(flow.draw, to.0);
        let nearest = clusters.iter().filter_map(reach);
        nearest.min_by_key(|&(distance, to)| (distance, drawn(to))).map(|(_, to)| to)
    }

    /// How far another cluster is, if some message can be sent towards it now.
    pub fn cluster_distance(&self, to: ClusterId) -> Option<u32> {
        let ways = find(self.clusters, to)?;
        self.to_cluster(to, &Flow::ANY).is_ok().then_some(ways.distance)
    }

    /// How far another node of this cluster is, if some message can be sent towards it now.
    pub fn node_distance(&self, to: NodeId) -> Option<u32> {
        let distance = find(self.nodes, to).map_or(1, |ways| ways.distance);
        self.to_node(to, &Flow::ANY).is_ok().then_some(distance)
    }

    /// Whether a way is known, taken or not.
    pub fn has_way(&self, to: ClusterId) -> bool {
        find(self.clusters, to).is_some()
    }

    /// The exit taken to another cluster, and the next node on the way to it.
    pub fn choose(&self, to: ClusterId, flow: &Flow<'_>) -> Result<(Exit, NodeId), Reason> {
        let ways = find(self.clusters, to).ok_or(Reason::NoRoute)?;
        ways.choose(flow, |exit| self.through(exit, flow))
    }

    /// The next node on the way to another node of this cluster. A link to it is a way, if no better
    /// one can be taken.
    pub fn to_node(&self, to: NodeId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        let Some(ways) = find(self.nodes, to) else {
            return match self.link(to, flow) {
                Err(Reason::LinkDown) => Err(Reason::NoRoute),
                known => known,
            };
        };
        let chosen = ways.choose(flow, |exit| self.link(exit.node, flow));
        let next = chosen.map(|(_, next)| next);
        next.or_else(|reason| self.link(to, flow).map_err(|_| reason))
    }

    /// Why [`Self::to_cluster`] says what it says. None if no way can be taken.
    pub fn why_to_cluster(&self, to: ClusterId, flow: &Flow<'_>) -> Option<Why> {
        let ways = find(self.clusters, to)?;
        ways.why(flow, |exit| self.through(exit, flow))
    }

    /// Why [`Self::to_node`] says what it says.
    pub fn why_to_node(&self, to: NodeId, flow: &Flow<'_>) -> Option<Why> {
        let ways = find(self.nodes, to);
        let known = ways.and_then(|ways| ways.why(flow, |exit| self.link(exit.node, flow)));
        known.or_else(|| self.link(to, flow).ok().map(|_| Why::Linked))
    }

    /// The next node on the way through this exit.
    pub fn through(&self, exit: Exit, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        if exit.cluster == self.here.cluster {
            // Whoever made the table may count on the link: a way round it may come back.
            let linked = self.link(exit.node, flow);
            return linked.or_else(|_| self.to_node(exit.node, flow));
        }
        if flow.trail.clusters.contains(exit.cluster) {
            return Err(Reason::LoopDetected);
        }
        self.link(exit.node, flow)
    }

    /// The link to this node, whatever its circuit.
    pub fn peer(&self, node: NodeId) -> Option<&Link> {
        let at = self.links.binary_search_by_key(&node, |link| link.peer).ok()?;
        self.links.get(at)
    }

    /// The peer, if a message may go there now.
    pub fn link(&self, peer: NodeId, flow: &Flow<'_>) -> Result<NodeId, Reason> {
        if peer == self.here.node || flow.trail.nodes.contains(peer) {
            return Err(Reason::LoopDetected);
        }
        match self.peer(peer).ok_or(Reason::LinkDown)?.circuit {
            Circuit::Closed => Ok(peer),
            Circuit::HalfOpen if flow.draw.is_multiple_of(TRIAL_ONE_IN) => Ok(peer),
            Circuit::HalfOpen | Circuit::Open => Err(Reason::LinkOpenCircuit),
        }
    }
}

impl<T> Ways<T> {
    /// Of the equally good exits that lead somewhere, the one that this flow likes most; else the
    /// first alternate that does. If none does, why the best does not.
    fn choose(
        &self,
        flow: &Flow<'_>,
        try_exit: impl Fn(Exit) -> Result<NodeId, Reason>,
    ) -> Result<(Exit, NodeId), Reason> {
        let (equal, rest) = self.exits.split_at(self.equal_count.min(self.exits.len()));
        let open = |&exit: &Exit| Some((exit, try_exit(exit).ok()?));
        let liked = equal.iter().filter_map(open);
        let liked = liked.max_by_key(|(exit, _)| affinity(flow.flow, exit.node.0));
        liked.or_else(|| rest.iter().find_map(open)).ok_or_else(|| {
            let best = self.exits.first().map(|&exit| try_exit(exit));
            best.and_then(Result::err).unwrap_or(Reason::NoRoute)
        })
    }
}

impl<T> Ways<T> {
    fn why(
        &self,
        flow: &Flow<'_>,
        try_exit: impl Fn(Exit) -> Result<NodeId, Reason>,
    ) -> Option<Why> {
        let (chosen, _) = self.choose(flow, &try_exit).ok()?;
        let at = self.exits.iter().position(|&exit| exit == chosen)?;
        if at < self.equal_count {
            return Some(if self.equal_count == 1 { Why::Best } else { Why::Equal });
        }
        let best = self.exits.first().map(|&exit| try_exit(exit));
        best.and_then(Result::err).map(Why::Alternate)
    }
}

/// The ways to one destination in a sorted list.
fn find<T: Copy + Ord>(list: &[Ways<T>], to: T) -> Option<&Ways<T>> {
    let at = list.binary_search_by_key(&to, |ways| ways.to).ok()?;
    list.get(at)
}

#[cfg(test)]
mod tests;
