//! Who may be linked.

use mpreg_fabric::plan::Federation;
use mpreg_proto::cluster::NodeRole;
use mpreg_proto::peer_hello::Refusal;

use super::name::PeerName;

/// This node, and whom it may be linked to.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) me: PeerName,
    pub(super) federation: Federation,
}

impl Policy {
    /// Nodes of a cluster may have links to each other; between clusters gateways only, and only to
    /// clusters on the list.
    pub(super) fn objection(&self, other: &PeerName) -> Option<Refusal> {
        if other.node == self.me.node {
            return Some(Refusal::Itself);
        }
        let are_gateways = [self.me.role, other.role] == [NodeRole::Gateway; 2];
        let is_allowed = other.cluster == self.me.cluster
            || (are_gateways && self.federation.allows(self.me.cluster.id(), other.cluster.id()));
        if is_allowed { None } else { Some(Refusal::NotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use mpreg_proto::cluster::ClusterName;
    use mpreg_proto::id::NodeId;

    use super::*;

    fn name(node: u128, cluster: &str, role: NodeRole) -> PeerName {
        PeerName { node: NodeId(node), cluster: cluster.parse().unwrap(), role }
    }

    #[test]
    fn clusters_meet_by_gateways_that_may() {
        let us: ClusterName = "us".parse().unwrap();
        let policy = |role| Policy {
            me: name(1, "eu", role),
            federation: Federation::Bridged(vec![us.id()]),
        };
        let check = |mine, cluster, theirs, want| {
            let other = name(2, cluster, theirs);
            assert_eq!(policy(mine).objection(&other), want, "{mine} and {other}");
        };
        use NodeRole::{Gateway, Node};
        check(Node, "eu", Node, None);
        check(Node, "eu", Gateway, None);
        check(Gateway, "us", Gateway, None);
        check(Gateway, "us", Node, Some(Refusal::NotAllowed));
        check(Node, "us", Gateway, Some(Refusal::NotAllowed));
        check(Gateway, "asia", Gateway, Some(Refusal::NotAllowed));
        let myself = name(1, "eu", Node);
        assert_eq!(policy(Node).objection(&myself), Some(Refusal::Itself));
    }
}
