//! Who on other nodes wants a topic: what the node's control core last said, put into routes.

use alloc::boxed::Box;
use alloc::sync::Arc;

use mpreg_proto::hop::GroupId;
use mpreg_proto::id::NodeId;
use mpreg_proto::topic::Topic;

use super::Shard;
use crate::forward::{Audience, Targets};
use crate::hop;
use crate::want::{GroupWanted, InterestView, Stale, Wanted, Wanter};

/// What a shard knows of other nodes.
#[derive(Debug)]
pub(super) struct Others {
    me: NodeId,
    interest: Arc<InterestView>,
    /// Kept for its room.
    wanted: Wanted,
}

impl Shard {
    /// What other nodes want from here on, and which remembered routes are no longer right.
    pub fn view(&mut self, me: NodeId, interest: Arc<InterestView>, stale: &Stale) {
        let earlier = self.others.take();
        let is_first = earlier.is_none();
        let wanted = earlier.map(|others| others.wanted).unwrap_or_default();
        self.others = Some(Others { me, interest, wanted });
        match stale {
            // Routes remembered before the first view have no audience.
            _ if is_first => self.stamp += 1,
            Stale::All => self.stamp += 1,
            Stale::Topics(topics) => {
                for topic in topics {
                    let hash = self.hash(topic);
                    self.routes.forget(topic, hash);
                }
            }
        }
    }

    /// Everyone who wants a topic that these targets are this node's part of.
    pub(super) fn audience(
        &mut self,
        topic: Topic<'_>,
        targets: &Targets,
    ) -> Option<Box<Audience>> {
        let Others { me, interest, wanted } = self.others.as_mut()?;
        interest.wanted(topic, wanted);
        let is_elsewhere =
            !(wanted.nodes.is_empty() && wanted.clusters.is_empty() && wanted.groups.is_empty());
        if !is_elsewhere && targets.is_empty() {
            return None;
        }
        let (nodes, clusters) = (wanted.nodes.clone(), wanted.clusters.clone());
        let mut audience = Audience { clusters, nodes, groups: [].into(), is_elsewhere };
        if !targets.plain.is_empty() || targets.shards != 0 {
            audience.nodes.push(*me);
        }
        // As many groups as the topic has: few.
        for GroupWanted { group, wanter, members } in &wanted.groups {
            let known = group_of(&mut audience, GroupId::of(group));
            match *wanter {
                Wanter::Node(node) => known.hold(node, members.get()),
                Wanter::Cluster(cluster) => known.clusters.push(cluster),
            }
        }
        for group in &targets.groups {
            // As others are told of it, so all draw alike.
            let members = group.members_count().checked_ilog2().map_or(1, |exponent| 1 << exponent);
            group_of(&mut audience, GroupId::of(&group.name)).hold(*me, members);
        }
        Some(Box::new(audience))
    }
}

fn group_of(audience: &mut Audience, group: GroupId) -> &mut hop::GroupWanted {
    let groups = &mut audience.groups;
    let at = groups.iter().position(|known| known.group == group).unwrap_or_else(|| {
        groups.push(hop::GroupWanted { group, holders: [].into(), clusters: [].into() });
        groups.len() - 1
    });
    &mut groups[at]
}
