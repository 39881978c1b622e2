//! Packets between members that are not linked: in a cluster of more than
//! [`FULL_MESH_NODES_MAX`](crate::limits::FULL_MESH_NODES_MAX) nodes.
//!
//! ```text
//!   here --packet for c--> a mate on the way to c, linked with it --> c
//! ```
//!
//! Without this a probe of an unlinked member is never answered, and sooner or later one that lives is
//! taken for dead. A mate is believed whose packet it passes on, as it is what it gossips; but not for
//! a node that is linked here, which speaks for itself.
//!
//! Invariant: no packet is passed on twice.

use alloc::vec::Vec;

use mpreg_proto::id::NodeId;
use mpreg_proto::member::Header;
use mpreg_proto::peer::{Lane, Plane};

use super::{Control, Effect};
use crate::member;
use crate::time::Instant;

impl Control {
    /// Sends a packet of this node's to a member.
    pub(super) fn send_packet(&self, to: NodeId, packet: Vec<u8>, out: &mut Vec<Effect>) {
        let next = if self.peers.contains_key(&to) { to } else { self.mate_near(to).unwrap_or(to) };
        self.send(next, Lane::Control, Plane::Member, packet.into(), out);
    }

    /// A mate on the way to another.
    fn mate_near(&self, to: NodeId) -> Option<NodeId> {
        let nodes = self.link_state.nodes();
        let at = nodes.binary_search_by_key(&to, |ways| ways.to).ok()?;
        let mut exits = nodes[at].exits.iter().map(|exit| exit.node);
        exits.find(|node| self.is_mate(*node))
    }

    /// Whether this is a linked node of this cluster.
    fn is_mate(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.cluster == self.here.cluster)
    }

    pub(super) fn packet_heard(
        &mut self,
        from: NodeId,
        packet: Vec<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let header = Header::take(&mut &packet[..]).ok().filter(|_| self.is_mate(from));
        let ends = header.map(|header| (header.source.node, header.target.node));
        let from = match ends {
            Some((source, target)) if source == from && target != self.here.node => {
                if self.is_mate(target) {
                    self.send(target, Lane::Control, Plane::Member, packet.into(), out);
                }
                return;
            }
            Some((source, _)) if source != self.here.node && !self.peers.contains_key(&source) => {
                source
            }
            Some(_) | None => from,
        };
        self.member(member::Input::Received { from, packet }, now, out);
    }
}
