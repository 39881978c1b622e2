//! Which address is dialled next, and when.

use mpreg_proto::id::NodeId;
use mpreg_proto::member::PeerAddress;

use super::place::{Found, Place};
use super::{Dialler, Peer};
use crate::limits::{DIALS_MAX, FULL_MESH_NODES_MAX};
use crate::rng::Rng;
use crate::time::Instant;

/// In the order they are dialled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target<'a> {
    pub(super) at: Instant,
    why: Why,
    pub(super) address: &'a PeerAddress,
}

/// Why an address is dialled, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Member,
    Seed,
    Lost,
}

impl Target<'_> {
    pub(super) fn is_lost(self) -> bool {
        self.why == Why::Lost
    }
}

impl Dialler {
    /// What is to be dialled next, and when; nothing while `DIALS_MAX` dials are under way.
    pub(super) fn next_target(&self) -> Option<Target<'_>> {
        if self.is_stopped || DIALS_MAX <= self.dials_open() {
            return None;
        }
        let others = self.places.iter().filter_map(|(address, place)| {
            let why = self.why_whoever_is_there(place)?;
            let earliest = if why == Why::Lost { self.lost_next } else { Instant::START };
            Some(Target { at: place.attempt.next().max(earliest), why, address })
        });
        others.chain(self.wanted_member()).min()
    }

    /// Why this is dialled with no member said to be there, if it is.
    fn why_whoever_is_there(&self, place: &Place) -> Option<Why> {
        if place.member.is_some() || place.attempt.is_open() {
            return None;
        }
        let is_wanted = match place.found {
            Found::OwnNode => false,
            Found::Nobody => true,
            // A member is dialled where it says it is, and who said goodbye is not.
            Found::Node { node, .. } => {
                self.link(node).is_none() && !self.peers.contains_key(&node)
            }
            // After the grace period: it may be back and know nobody but those that are gone.
            Found::Departed(node) => !self.peers.contains_key(&node),
        };
        match is_wanted {
            true if place.is_seed => Some(Why::Seed),
            true => place.lost_until.map(|_| Why::Lost),
            false => None,
        }
    }

    fn wanted_member(&self) -> Option<Target<'_>> {
        let members = || self.places.iter().filter_map(|(at, it)| Some((at, it, it.member?)));
        let is_free = |place: &Place, node| self.link(node).is_none() && !place.attempt.is_open();
        let free = members().filter(|(_, place, node)| is_free(place, *node));
        let target = |(address, place, _): (_, &Place, _)| {
            let at = place.attempt.next();
            Target { at, why: Why::Member, address }
        };
        let nodes = 1 + self.peers.values().filter(|peer| !Peer::has_departed(peer)).count();
        if nodes <= FULL_MESH_NODES_MAX {
            return free.map(target).min();
        }
        let has = members().count() - free.clone().count();
        if degree(nodes) <= has {
            return None;
        }
        // Those that mix best, as many as are missing; who failed before stands behind.
        let best =
            free.min_by_key(|(_, place, node)| (place.attempt.failures(), mix(self.own, *node)));
        best.map(target)
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
