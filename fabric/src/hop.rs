//! One hop of a message between nodes: who gets it here, and which copy goes over which link.
//!
//! ```text
//!   originate  what a topic's subscribers are, here and elsewhere  \
//!   send       whom a request or a reply is for                     > Decision: here, shares, dropped
//!   forward    a header that came over a link                      /
//! ```
//!
//! A share is one copy on one link and whom it is for. Where the message enters a cluster it was for,
//! the cluster is replaced by its nodes that want it, and a group by one of its members there. Near
//! members come first only where a message starts: this node's, then this cluster's.
//!
//! Which member is drawn from the message's number, so two nodes that know the same of a group choose
//! the same member, whichever way the message comes.
//!
//! Invariants:
//! - Each target ends in exactly one place: here, in one share, or among the dropped with a reason.
//! - One share per link, unless it is for more targets than one header holds.
//! - Each link costs one of the hop budget. With none left, what is not for this node is dropped.
//! - A message that was here before, or in this cluster before the cluster it came from, goes no
//!   further, and nobody gets it.
//!
//! Parts: `seen.rs` tells messages that were here before, for those who deliver them.

use alloc::vec::Vec;

use mpreg_proto::hop::{
    Aim, Aimed, Flags, GroupId, Header, Leg, MessageId, Reason, Targets, Trail,
};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::limits::{HOP_AIMED_MAX, HOP_CLUSTERS_MAX, HOP_NODES_MAX, HOP_PATH_MAX};

use crate::graph::affinity;
use crate::way::{Exit, Flow, Helm, Table};

pub mod seen;

/// Who wants messages of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Other clusters with ungrouped subscribers.
    pub clusters: &'a [ClusterId],
    /// Nodes of this cluster with ungrouped subscribers, this one among them.
    pub nodes: &'a [NodeId],
    pub groups: &'a [GroupWanted],
}

/// Where a queue group has members for the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWanted {
    pub group: GroupId,
    /// In this cluster, this node among them. Ascending.
    pub holders: Vec<Holder>,
    /// Other clusters.
    pub clusters: Vec<ClusterId>,
}

impl GroupWanted {
    /// A node has so many members, at least.
    pub fn hold(&mut self, node: NodeId, members_count: u32) {
        let at = self.holders.partition_point(|holder| holder.node < node);
        match self.holders.get_mut(at) {
            Some(known) if known.node == node => {
                known.members_count = known.members_count.max(members_count);
            }
            Some(_) | None => self.holders.insert(at, Holder { node, members_count }),
        }
    }
}

/// A node with members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub node: NodeId,
    pub members_count: u32,
}

/// A message, or a run of them, that starts on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first of the run.
    pub message: MessageId,
    pub messages: u8,
    pub flags: Flags,
    pub hop_budget: u8,
    pub deadline_ms: Option<u32>,
}

/// Someone a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Cluster(ClusterId),
    /// Of this cluster.
    Node(NodeId),
    Aimed(Aimed),
}

/// A target that gets no copy, and why. Whoever waits for an answer is told both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dropped {
    pub target: Target,
    pub reason: Reason,
}

/// Who on another node asked for a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyWay {
    pub origin: NodeId,
    /// The origin's.
    pub cluster: ClusterId,
    /// The nodes the request came through, the last one first and the origin at the end.
    pub back: Vec<NodeId>,
}

/// One copy on one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Meaningless in a share that is not in use.
    peer: Option<NodeId>,
    pub targets: Targets,
}

/// What is to become of a message. Reused from one to the next, so that nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The ungrouped subscribers of this node get it.
    pub is_here: bool,
    /// One member on this node of each of these gets it.
    pub groups_here: Vec<GroupId>,
    pub dropped: Vec<Dropped>,
    shares: Vec<Share>,
    shares_count: usize,
    hop_budget: u8,
    deadline_ms: Option<u32>,
    /// What of the way back is left beyond the links.
    back: Vec<NodeId>,
}

/// Sends a message of this node to everyone who wants its topic. Of a group with members on this
/// node, one of them gets it; else one in this cluster; else one in the nearest cluster that can be
/// reached.
pub fn originate(helm: &mut Helm<'_>, wanted: &Wanted<'_>, start: &Start, out: &mut Decision) {
    let mine = helm.table.here.cluster;
    let mut step = Step::start(helm, start, out);
    let others = wanted.clusters.iter().filter(|&&to| to != mine);
    wanted.nodes.iter().for_each(|&node| step.node(node));
    others.for_each(|&cluster| step.cluster(cluster));
    wanted.groups.iter().for_each(|group| step.group(group));
}

/// Sends a message of this node to these alone, if possible the way `back`.
pub fn send(
    helm: &mut Helm<'_>,
    wanted: &Wanted<'_>,
    start: &Start,
    targets: &Targets,
    back: &[NodeId],
    out: &mut Decision,
) {
    let mut step = Step::start(helm, start, out);
    step.turn_back(back.iter().copied());
    let Targets { clusters, nodes, aimed } = targets;
    let (nodes, clusters) = (nodes.iter().copied(), clusters.iter().copied());
    step.all(wanted, nodes, clusters, aimed.iter().copied());
}

/// Sends on a message that came over a link, `held_ms` after it did. What the topic's subscribers
/// are is looked at only if [`enters`].
pub fn forward(
    helm: &mut Helm<'_>,
    wanted: &Wanted<'_>,
    header: &Header<'_>,
    held_ms: u32,
    out: &mut Decision,
) {
    out.clear(header.hop_budget(), header.deadline_ms().map(|left| left.saturating_sub(held_ms)));
    if let Some(reason) = stop(&helm.table, header.trail, out.deadline_ms) {
        out.drop_all(header, reason);
        return;
    }
    let flow = Flow::of(header.message(), header.trail);
    let mut step = Step { helm, flow, next_back: None, out };
    step.turn_back(header.back.iter());
    step.all(wanted, header.nodes.iter(), header.clusters.iter(), header.aimed());
}

/// Whether the message is for whoever in this cluster wants its topic.
pub fn enters(table: &Table<'_>, header: &Header<'_>) -> bool {
    let mine = table.here.cluster;
    let is_group = |aimed: Aimed| aimed.cluster == mine && matches!(aimed.aim, Aim::Group(_));
    header.clusters.contains(mine) || header.aimed().any(is_group)
}

/// Why nobody gets the message, if nobody does.
fn stop(table: &Table<'_>, trail: Trail<'_>, deadline_ms: Option<u32>) -> Option<Reason> {
    let mine = table.here.cluster;
    let is_back = trail.clusters.contains(mine) && trail.clusters.last() != Some(mine);
    if trail.nodes.contains(table.here.node) || is_back {
        return Some(Reason::LoopDetected);
    }
    (deadline_ms == Some(0)).then_some(Reason::DeadlinePassed)
}

impl Share {
    pub fn peer(&self) -> NodeId {
        self.peer.expect("a share in use has a peer")
    }
}

impl Decision {
    /// One copy each.
    pub fn shares(&self) -> &[Share] {
        &self.shares[..self.shares_count]
    }

    /// The header of a share of a message that came over a link.
    pub fn leg<'a>(&'a self, header: &Header<'a>, share: &'a Share) -> Leg<'a> {
        Leg {
            sequence: header.message().sequence,
            messages: header.messages(),
            flags: header.flags(),
            trail: header.trail,
            ..self.common(share)
        }
    }

    /// The header of a share of a message that starts here.
    pub fn first_leg<'a>(&'a self, start: &Start, share: &'a Share) -> Leg<'a> {
        let Start { message, messages, flags, .. } = *start;
        Leg { sequence: message.sequence, messages, flags, ..self.common(share) }
    }

    fn common<'a>(&'a self, share: &'a Share) -> Leg<'a> {
        Leg {
            sequence: 0,
            messages: 1,
            flags: Flags::default(),
            // A share is made only of what is left.
            hop_budget: self.hop_budget - 1,
            deadline_ms: self.deadline_ms,
            trail: Trail::default(),
            targets: &share.targets,
            back: &self.back,
        }
    }

    fn clear(&mut self, hop_budget: u8, deadline_ms: Option<u32>) {
        self.is_here = false;
        self.groups_here.clear();
        self.dropped.clear();
        self.shares_count = 0;
        self.back.clear();
        (self.hop_budget, self.deadline_ms) = (hop_budget, deadline_ms);
    }

    /// Adds the target to the share of this peer that has room for it.
    fn add(&mut self, peer: NodeId, target: Target) {
        let has_room = |targets: &Targets| match target {
            Target::Cluster(_) => targets.clusters.len() < HOP_CLUSTERS_MAX,
            Target::Node(_) => targets.nodes.len() < HOP_NODES_MAX,
            Target::Aimed(_) => targets.aimed.len() < HOP_AIMED_MAX,
        };
        let mut used = self.shares[..self.shares_count].iter();
        let known = used.position(|share| share.peer == Some(peer) && has_room(&share.targets));
        let at = known.unwrap_or_else(|| self.begin_share(peer));
        let targets = &mut self.shares[at].targets;
        match target {
            Target::Cluster(cluster) => targets.clusters.push(cluster),
            Target::Node(node) => targets.nodes.push(node),
            Target::Aimed(aimed) => targets.aimed.push(aimed),
        }
    }

    fn begin_share(&mut self, peer: NodeId) -> usize {
        let at = self.shares_count;
        if at == self.shares.len() {
            self.shares.push(Share::default());
        }
        self.shares[at].peer = Some(peer);
        self.shares[at].targets.clear();
        self.shares_count += 1;
        at
    }

    fn drop_all(&mut self, header: &Header<'_>, reason: Reason) {
        let clusters = header.clusters.iter().map(Target::Cluster);
        let nodes = header.nodes.iter().map(Target::Node);
        let all = clusters.chain(nodes).chain(header.aimed().map(Target::Aimed));
        self.dropped.extend(all.map(|target| Dropped { target, reason }));
    }
}

/// One message under decision.
struct Step<'a, 'h> {
    helm: &'a mut Helm<'h>,
    flow: Flow<'a>,
    /// The first of the way back that can be gone to.
    next_back: Option<Exit>,
    out: &'a mut Decision,
}

impl<'a, 'h> Step<'a, 'h> {
    fn start(helm: &'a mut Helm<'h>, start: &Start, out: &'a mut Decision) -> Self {
        out.clear(start.hop_budget, start.deadline_ms);
        Self { helm, flow: Flow::of(start.message, Trail::default()), next_back: None, out }
    }

    /// Prefers the way a request came. What of it is gone is skipped, if the next can be gone to.
    fn turn_back(&mut self, mut back: impl Iterator<Item = NodeId>) {
        let first = back.find(|&node| self.helm.table.link(node, &self.flow).is_ok());
        let link = first.and_then(|node| self.helm.table.peer(node));
        self.next_back = link.map(|link| Exit { node: link.peer, cluster: link.cluster });
        self.out.back.extend(back);
    }

    fn all(
        &mut self,
        wanted: &Wanted<'_>,
        nodes: impl Iterator<Item = NodeId>,
        clusters: impl Iterator<Item = ClusterId>,
        aimed: impl Iterator<Item = Aimed>,
    ) {
        nodes.for_each(|node| self.node(node));
        self.clusters(wanted, clusters);
        aimed.for_each(|aimed| self.aimed(wanted, aimed));
    }

    /// This cluster counts once, however often it is named.
    fn clusters(&mut self, wanted: &Wanted<'_>, clusters: impl Iterator<Item = ClusterId>) {
        let mut is_entered = false;
        for cluster in clusters {
            if cluster != self.helm.table.here.cluster {
                self.cluster(cluster);
            } else if !core::mem::replace(&mut is_entered, true) {
                self.enter(wanted);
            }
        }
    }

    fn enter(&mut self, wanted: &Wanted<'_>) {
        wanted.nodes.iter().for_each(|&node| self.node(node));
        if wanted.nodes.is_empty() {
            self.drop(Target::Cluster(self.helm.table.here.cluster), Reason::Unwanted);
        }
    }

    fn cluster(&mut self, cluster: ClusterId) {
        let next = self.helm.to_cluster(cluster, &self.flow);
        self.share(Target::Cluster(cluster), next);
    }

    fn node(&mut self, node: NodeId) {
        if node == self.helm.table.here.node {
            self.out.is_here = true;
            return;
        }
        let next = self.helm.to_node(node, &self.flow);
        self.share(Target::Node(node), next);
    }

    fn aimed(&mut self, wanted: &Wanted<'_>, aimed: Aimed) {
        let Aimed { cluster, aim } = aimed;
        if cluster != self.helm.table.here.cluster {
            let next = self.helm.to_cluster(cluster, &self.flow);
            return self.share(Target::Aimed(aimed), next);
        }
        match aim {
            Aim::Node(node) => self.node(node),
            Aim::Member { node, group } => self.member(node, group),
            Aim::Group(group) => match wanted.groups.iter().find(|known| known.group == group) {
                Some(known) => self.draw(known),
                None => self.drop(Target::Aimed(aimed), Reason::GroupEmptied),
            },
        }
    }

    /// A group where a message starts: here, else in this cluster, else in the nearest that can be
    /// reached. If none can, the drop says why the first cannot: a member in this cluster, if it has one,
    /// else in one that there is a way to.
    fn group(&mut self, wanted: &GroupWanted) {
        let me = self.helm.table.here.node;
        if wanted.holders.iter().any(|holder| holder.node == me && 0 < holder.members_count) {
            return self.member(me, wanted.group);
        }
        if wanted.holders.iter().any(|&holder| self.is_in_reach(holder)) {
            return self.draw(wanted);
        }
        let nearest = self.helm.table.nearest(&wanted.clusters, &self.flow);
        let is_here = wanted.holders.iter().any(|holder| 0 < holder.members_count);
        let has_way = |to: &&ClusterId| self.helm.table.has_way(**to);
        let clusters = &wanted.clusters;
        let first = clusters.iter().find(has_way).or(clusters.first()).filter(|_| !is_here);
        match nearest.or(first.copied()) {
            Some(cluster) => {
                let aimed = Aimed { cluster, aim: Aim::Group(wanted.group) };
                let next = self.helm.to_cluster(cluster, &self.flow);
                self.share(Target::Aimed(aimed), next);
            }
            None => self.draw(wanted),
        }
    }

    /// A member in this cluster, each as likely among those that can be reached.
    fn draw(&mut self, wanted: &GroupWanted) {
        let weight = |holder: &Holder| match self.is_in_reach(*holder) {
            true => u64::from(holder.members_count),
            false => 0,
        };
        let all: u64 = wanted.holders.iter().map(weight).sum();
        let drawn = affinity(self.flow.draw, wanted.group.0).checked_rem(all);
        let mut left = drawn.unwrap_or(0);
        let chosen = wanted.holders.iter().find(|holder| {
            let (at, weight) = (left, weight(holder));
            left = left.saturating_sub(weight);
            at < weight
        });
        let has_members = |holder: &&Holder| 0 < holder.members_count;
        // If none can be reached, the drop says why the first cannot.
        match chosen.or_else(|| wanted.holders.iter().find(has_members)) {
            Some(holder) => self.member(holder.node, wanted.group),
            None => {
                let (cluster, aim) = (self.helm.table.here.cluster, Aim::Group(wanted.group));
                self.drop(Target::Aimed(Aimed { cluster, aim }), Reason::GroupEmptied);
            }
        }
    }

    fn is_in_reach(&self, holder: Holder) -> bool {
        let is_here = holder.node == self.helm.table.here.node;
        let is_linked = || self.helm.table.to_node(holder.node, &self.flow).is_ok();
        0 < holder.members_count && (is_here || is_linked())
    }

    fn member(&mut self, node: NodeId, group: GroupId) {
        if node == self.helm.table.here.node {
            self.out.groups_here.push(group);
            return;
        }
        let (cluster, aim) = (self.helm.table.here.cluster, Aim::Member { node, group });
        let next = self.helm.to_node(node, &self.flow);
        self.share(Target::Aimed(Aimed { cluster, aim }), next);
    }

    /// Puts the target into the share of the link it goes over, the way back before any other.
    fn share(&mut self, target: Target, next: Result<NodeId, Reason>) {
        if self.out.hop_budget == 0 || HOP_PATH_MAX <= self.flow.trail.nodes.len() {
            return self.drop(target, Reason::HopBudgetExhausted);
        }
        let mine = self.helm.table.here.cluster;
        let is_mine = match target {
            Target::Cluster(_) => false,
            Target::Node(_) => true,
            Target::Aimed(aimed) => aimed.cluster == mine,
        };
        // What is for this cluster's nodes does not leave it.
        let back = self.next_back.filter(|exit| !is_mine || exit.cluster == mine);
        match back.map_or(next, |exit| Ok(exit.node)) {
            Err(reason) => self.drop(target, reason),
            Ok(peer) => self.out.add(peer, target),
        }
    }

    fn drop(&mut self, target: Target, reason: Reason) {
        self.out.dropped.push(Dropped { target, reason });
    }
}

#[cfg(test)]
mod tests;
