//! Data links: dialled and greeted like others, then handed on to the shard that serves them.
//!
//! Invariants:
//! - Only a node with a control link, and in the life that link is of or a later one, gets one.
//! - What was decrypted and not read, and what was sealed and not written, goes with the link.

use core::net::SocketAddr;

use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{Incarnation, NodeId, ShardIx};
use mpreg_proto::peer_hello::PeerHello;

use super::link::Side;
use super::{Connection, Dial, Event, Peers, Wanted};
use crate::limits::PEER_DATA_DIALS_MAX;
use crate::peer_link::{Direction, PeerLink};

impl Peers {
    /// Asks for a data link of `shard` to a node that is sent to. It is told of as `Data` or as
    /// `DataFailed`.
    pub fn dial_data(&mut self, node: NodeId, shard: ShardIx) {
        self.data_wanted.push_back((node, shard));
    }

    pub(super) fn has_room_for_data(&self) -> bool {
        let dialling = self.connections.iter().filter(|(_, connection)| {
            connection.dial.as_ref().is_some_and(|dial| dial.shard.is_some())
        });
        dialling.count() < PEER_DATA_DIALS_MAX
    }

    pub(super) fn begin_data(
        &mut self,
        node: NodeId,
        shard: ShardIx,
        now: Instant,
        out: &mut Vec<Event>,
    ) {
        let end = LinkEndReason::Unreachable;
        let Some(remote) = self.reached_at(node) else {
            return out.push(Event::DataFailed { node, shard, end });
        };
        let address = remote.to_string().parse().expect("the address of a socket is one");
        let wanted = Wanted { address, node: Some(node) };
        let dial = Dial { wanted, others: vec![remote], shard: Some(shard) };
        self.connect(dial, end, now, out);
    }

    /// Where a node listens that is sent to: where it was dialled, or where it says, at the address from
    /// which it dialled.
    fn reached_at(&self, node: NodeId) -> Option<SocketAddr> {
        let connection = &self.connections[*self.used.get(&node)?];
        let mut remote = connection.socket.remote();
        if connection.link.side() == Side::Accepted {
            remote.set_port(connection.hello.as_ref()?.port);
        }
        Some(remote)
    }

    /// Whether there is a control link with this life of a node, or with an earlier one that it renewed.
    pub(super) fn is_linked(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.connections.iter().any(|(_, connection)| {
            let is_of = connection.name.as_ref().is_some_and(|name| name.node == node);
            let life = connection.hello.as_ref().map(|hello| hello.incarnation);
            is_of
                && connection.was_admitted
                && !connection.is_over
                && life.is_some_and(|life| life <= incarnation)
        })
    }

    /// Both sides want it. The side that accepted says so.
    pub(super) fn agree(&mut self, key: usize, hello: &PeerHello) {
        let connection = &mut self.connections[key];
        if connection.link.side() == Side::Accepted {
            connection.link.agree(&self.hello.answer(hello, None));
        }
        connection.is_agreed = true;
    }

    pub(super) fn hand_over(&mut self, key: usize, out: &mut Vec<Event>) {
        let Connection { socket, link, name, hello, dial, .. } = self.connections.remove(key);
        let (Some(name), Some(hello)) = (name, hello) else { return };
        let direction = match link.side() {
            Side::Dialled => Direction::Outgoing,
            Side::Accepted => Direction::Incoming,
        };
        let shard = dial.and_then(|dial| dial.shard);
        let socket = match socket.release(&self.registry) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%name, %error, "a data link is of no use");
                let end = LinkEndReason::TransportFailed;
                let failed = |shard| Event::DataFailed { node: name.node, shard, end };
                return out.extend(shard.map(failed));
            }
        };
        self.probe.data_links.add(1);
        let (tls, plain, wire) = link.into_parts();
        let link = PeerLink {
            peer: name.node,
            cluster: name.cluster.id(),
            incarnation: hello.incarnation,
            direction,
            socket,
            tls,
            plain,
            wire,
            traffic: self.roster.data_link(name.node),
        };
        out.push(Event::Data { link: Box::new(link), shard });
    }
}
