//! Answers to questions: why a message for a cluster goes where it goes, and what is known at all.

use alloc::vec::Vec;

use mpreg_proto::hop::{Ids, Reason, Trail};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::link_state::Advertisement;

use super::ways::ways;
use super::{Control, Member, Peer, View};
use crate::plan::{self, Source, Verdict};
use crate::route::{self, Next};
use crate::time::Instant;
use crate::way::{Exit, Flow};

/// Why a message for a cluster goes where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub to: ClusterId,
    pub avoid: Vec<ClusterId>,
    /// The linked node it goes to next, or why it goes nowhere.
    pub next_hop: Result<NodeId, Reason>,
    /// In the order they are considered; those left out last.
    pub candidates: Vec<Candidate>,
}

/// One way, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub source: Source,
    pub exit: Exit,
    pub verdict: Verdict,
    /// Score, tie-breakers, path and why it is filtered, of an announced route.
    pub route: Option<route::Reason>,
}

impl Control {
    /// Why a message for `to` that has been in the clusters of `avoid` goes where it goes. By the
    /// tables that shards have.
    pub fn explain(&self, to: ClusterId, avoid: &[ClusterId], now: Instant) -> Explanation {
        let words: Vec<[u8; 16]> = avoid.iter().map(|cluster| cluster.0.to_le_bytes()).collect();
        let trail = Trail { clusters: Ids::of(&words), ..Trail::default() };
        // No trial of a half-open circuit.
        let flow = Flow { trail, flow: 0, draw: 1 };
        let routes = ways(self.routes.view(), self.here.cluster);
        let sources = self.sources(&routes, &self.view.links);
        let planned = plan::explain(&sources, &self.view.table(), to, &flow);
        let announced = self.routes.explain(to, avoid, now);
        let mut reasons = announced.candidates;
        let mut candidates = Vec::new();
        for plan::Candidate { source, exit, verdict } in planned.candidates {
            let is_its = |reason: &route::Reason| {
                source == Source::Routes && self.exit(reason) == Some(exit)
            };
            let at = reasons.iter().position(is_its);
            let route = at.map(|at| reasons.remove(at));
            candidates.push(Candidate { source, exit, verdict, route });
        }
        for reason in reasons {
            let Some(exit) = self.exit(&reason) else { continue };
            let (source, verdict) = (Source::Routes, Verdict::NotKept);
            candidates.push(Candidate { source, exit, verdict, route: Some(reason) });
        }
        Explanation { to, avoid: avoid.to_vec(), next_hop: planned.next, candidates }
    }

    fn exit(&self, reason: &route::Reason) -> Option<Exit> {
        match reason.next {
            Next::Neighbour(node) => Some(Exit { node, cluster: *reason.path.first()? }),
            Next::Gateway(node) => Some(Exit { node, cluster: self.here.cluster }),
        }
    }

    /// Clusters that any way is known to.
    pub fn destinations(&self) -> impl Iterator<Item = ClusterId> {
        self.view.clusters.iter().map(|ways| ways.to)
    }

    /// What shards were told last.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Peers whose catalog was another than this node's when they last said, and feeds that it lacks.
    pub fn disagreement(&self) -> (usize, usize) {
        (self.gossip.differing(), self.gossip.lacking())
    }

    /// What nodes say of their links, those of this node included.
    pub fn link_state(&self) -> impl Iterator<Item = &Advertisement> {
        self.link_state.advertisements()
    }

    /// Live members of this node's cluster, itself left out.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.member.members()
    }

    /// Dials under way.
    pub fn dials_open(&self) -> usize {
        self.dialler.dials_open()
    }

    /// Nodes with an admitted link.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, Peer)> {
        self.peers.iter().map(|(&node, &peer)| (node, peer))
    }
}
