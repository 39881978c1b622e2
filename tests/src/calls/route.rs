//! By which ways traced messages went, and what results say of that.
//!
//! Between two nodes lie others that only send on, from one message to the next not the same ones.

use std::collections::BTreeMap;

use mpreg_fabric::call::{Caller, Value};
use mpreg_fabric::hop::ReplyWay;
use mpreg_proto::call::{Message, Route, Trace};
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, NodeId};

use super::net::{here, place_of};
use super::{Net, check};

/// Of copies of questions, and of answers, by the token of their call.
pub(super) type Routes = BTreeMap<(usize, bool), Vec<Route>>;

/// Whether the call with this token asks for its trace.
pub(super) fn is_traced(token: usize) -> bool {
    token.is_multiple_of(3)
}

/// A node of a cluster that only sends on.
fn between(cluster: ClusterId, number: u64) -> NodeId {
    NodeId(100 * cluster.0 + u128::from(number))
}

fn cluster_of(node: NodeId) -> ClusterId {
    match node.0 {
        100.. => ClusterId(node.0 / 100),
        _ => here(place_of(node)).cluster,
    }
}

impl Net {
    pub(super) fn way(&self, from: usize, to: usize) -> ReplyWay {
        let Here { node, cluster } = here(from);
        let mut back = vec![node];
        for at in [from, to] {
            let is_between = self.pending_made.is_multiple_of(2 + at as u64);
            back.extend(is_between.then(|| between(here(at).cluster, self.pending_made % 3)));
        }
        back.dedup();
        back.reverse();
        ReplyWay { origin: node, cluster, back }
    }

    /// The clusters that the receiver of a traced message is told.
    pub(super) fn clusters_of(
        &mut self,
        from: &ReplyWay,
        to: usize,
        (message, value): (&Message, &Value),
    ) -> Vec<ClusterId> {
        if !message.is_traced() {
            return Vec::new();
        }
        let mut clusters: Vec<ClusterId> =
            from.back.iter().rev().copied().map(cluster_of).collect();
        clusters.dedup();
        let nodes = from.back.iter().rev().copied().chain([here(to).node]).collect();
        let mut route = Route { nodes, clusters: clusters.clone() };
        route.clusters.push(here(to).cluster);
        route.clusters.dedup();
        let text = str::from_utf8(&value.bytes).unwrap_or_default();
        let token = text.split(' ').next().and_then(|token| token.parse().ok());
        let token = token.expect("values of calls begin with their tokens");
        self.routes.entry((token, message.ask().is_some())).or_default().push(route);
        clusters
    }

    /// What a result says of its way.
    pub(super) fn traced(&mut self, node: usize, caller: Caller, trace: Option<&Trace>) {
        let token = self.token_of(node, caller);
        let is_known = |is_ask: bool, route: &Route| {
            self.routes.get(&(token, is_ask)).is_some_and(|routes| routes.contains(route))
        };
        let verdict = check::trace_is_true(is_traced(token), here(node), trace, is_known);
        self.note(verdict);
    }
}
