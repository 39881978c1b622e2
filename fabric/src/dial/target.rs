//! Who is dialled next, and when.

use alloc::vec::Vec;

use mpreg_proto::id::NodeId;
use mpreg_proto::member::PeerAddress;

use super::{Dialler, Peer, Seed, SeedStanding, Standing};
use crate::limits::{DIALS_MAX, FULL_MESH_NODES_MAX};
use crate::rng::Rng;
use crate::time::Instant;

/// Who is dialled: a place in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Member(NodeId),
    Seed(usize),
    Lost(NodeId),
}

impl Dialler {
    /// Who is to be dialled next, and when; nobody while `DIALS_MAX` are under way.
    pub(super) fn next_target(&self) -> Option<(Instant, Target)> {
        let open = self.addresses_open();
        if DIALS_MAX <= open.len() {
            return None;
        }
        let members = self.wanted_members(&open);
        let lost = self.peers.iter().filter_map(|(&node, peer)| match peer.standing {
            Standing::Lost { .. } if self.is_free(node, peer, &open) => {
                Some((peer.attempt.next().max(self.lost_next), Target::Lost(node)))
            }
            Standing::Lost { .. } | Standing::Member | Standing::Departed { .. } => None,
        });
        let seeds = self
            .seeds
            .iter()
            .enumerate()
            .filter(|(_, seed)| !open.contains(&&seed.address) && self.is_seed_wanted(seed));
        let seeds = seeds.map(|(place, seed)| (seed.attempt.next(), Target::Seed(place)));
        members.into_iter().chain(seeds).chain(lost).min()
    }

    fn wanted_members(&self, open: &[&PeerAddress]) -> Option<(Instant, Target)> {
        let members = self.peers.iter().filter(|(_, peer)| peer.standing == Standing::Member);
        let nodes = 1 + members.clone().count();
        let free = members.clone().filter(|(node, peer)| self.is_free(**node, peer, open));
        if nodes <= FULL_MESH_NODES_MAX {
            return free.map(|(&node, peer)| (peer.attempt.next(), Target::Member(node))).min();
        }
        let has = members
            .filter(|(node, peer)| self.links.chosen(**node).is_some() || peer.attempt.is_open())
            .count();
        if degree(nodes) <= has {
            return None;
        }
        // Those that mix best, as many as are missing; who failed before stands behind.
        let best = free.min_by_key(|(node, peer)| (peer.attempt.failures(), mix(self.own, **node)));
        best.map(|(&node, peer)| (peer.attempt.next(), Target::Member(node)))
    }

    fn is_free(&self, node: NodeId, peer: &Peer, open: &[&PeerAddress]) -> bool {
        self.links.chosen(node).is_none() && !open.contains(&&peer.address)
    }

    /// Addresses that are being dialled: as a seed, as a member, or as one that was there before.
    fn addresses_open(&self) -> Vec<&PeerAddress> {
        let seeds = self.seeds.iter().map(|seed| (&seed.address, &seed.attempt));
        let peers = self.peers.values().map(|peer| (&peer.address, &peer.attempt));
        let open = seeds.chain(peers).filter(|(_, attempt)| attempt.is_open());
        open.map(|(address, _)| address).collect()
    }

    fn is_seed_wanted(&self, seed: &Seed) -> bool {
        match seed.standing {
            SeedStanding::OwnNode => false,
            SeedStanding::Unknown => true,
            // A member is dialled as such. A lost one, too, but whoever took its place may be here.
            SeedStanding::Node(node) => {
                let peer = self.peers.get(&node);
                let is_lost =
                    peer.is_none_or(|peer| matches!(peer.standing, Standing::Lost { .. }));
                is_lost && self.link(node).is_none()
            }
            // After the grace period: it may be back and know nobody but those that are gone.
            SeedStanding::Departed(node) => !self.peers.contains_key(&node),
        }
    }
}

/// Links a node sees to in a cluster of so many.
fn degree(nodes: usize) -> usize {
    nodes.isqrt() + 4
}

/// The same from either side, and nothing like an order.
fn mix(a: NodeId, b: NodeId) -> u64 {
    let both = a.0 ^ b.0;
    Rng::from_seed((both >> 64) as u64 ^ Rng::from_seed(both as u64).draw()).draw()
}
