//! What the control core's machine tells of itself, as log lines and counters.

use mpreg_fabric::control::Fact;
use mpreg_fabric::member::{self, Why};
use mpreg_fabric::{gossip, route};

use crate::probe::PeerProbe;

pub(super) fn record(fact: &Fact, probe: &PeerProbe) {
    match fact {
        Fact::PeerUp { peer } => tracing::info!(node = %peer, "a node is reached"),
        Fact::PeerDown { peer, end } => tracing::info!(node = %peer, ?end, "a node is not reached"),
        Fact::MemberUp(member) => {
            probe.members_up.add(1);
            let member::Member { node, incarnation, address } = member;
            tracing::info!(%node, %incarnation, %address, "a member is up");
        }
        Fact::MemberDown { node, incarnation, why } => {
            let count = match why {
                Why::Failed => &probe.members_failed,
                Why::Left(_) => &probe.members_left,
            };
            count.add(1);
            tracing::info!(%node, %incarnation, ?why, "a member is down");
        }
        Fact::PlaneUnknown { from, plane } => {
            probe.planes_unknown.add(1);
            tracing::debug!(node = %from, plane, "a frame of no known plane");
        }
        Fact::Unlinked { to } => {
            probe.frames_unlinked.add(1);
            tracing::trace!(node = %to, "nothing leads there");
        }
        Fact::Unreadable { from, plane, code } => {
            probe.planes_unknown.add(1);
            tracing::debug!(node = %from, plane = plane.word(), code = code.word(), "unreadable");
        }
        Fact::ClusterRefused { peer, judgement } => {
            tracing::info!(node = %peer, ?judgement, "a node of a cluster that may not be linked");
        }
        Fact::Circuit { peer, circuit } => {
            probe.circuits_changed.add(circuit.word());
            tracing::info!(node = %peer, circuit = circuit.word(), "the data links to a node");
        }
        Fact::Member(fact) => of_membership(fact, probe),
        Fact::Entry(changed) => tracing::trace!(?changed, "an entry"),
        Fact::NotOffered { key, why } => {
            probe.entries_refused.add(why.word());
            tracing::warn!(?key, reason = why.word(), "not offered");
        }
        Fact::WantUnreadable { owner } => {
            probe.entries_refused.add("want_unreadable");
            tracing::debug!(node = %owner, "an entry that names no want");
        }
        Fact::Gossip(fact) => of_gossip(fact, probe),
        Fact::Route(fact) => of_routes(fact, probe),
        Fact::LinksChanged { node, cluster, links } => {
            tracing::debug!(%node, %cluster, links, "what a node says of its links");
        }
        Fact::LinkState { from, reason } => {
            probe.link_states_rejected.add(reason.word());
            tracing::debug!(node = %from, reason = reason.word(), "a link state");
        }
    }
}

fn of_gossip(fact: &gossip::Fact, probe: &PeerProbe) {
    match fact {
        gossip::Fact::Learned { .. } => probe.entries_learned.add(1),
        gossip::Fact::Duplicate { .. } => probe.entries_known.add(1),
        gossip::Fact::Refused { from, why } => {
            probe.entries_refused.add(why.word());
            tracing::debug!(node = %from, reason = why.word(), "an entry");
        }
        gossip::Fact::Unreadable { from, code } => {
            probe.entries_refused.add(code.word());
            tracing::debug!(node = %from, code = code.word(), "unreadable entries");
        }
        gossip::Fact::Unlinked { from } => {
            probe.entries_refused.add("unlinked");
            tracing::debug!(node = %from, "entries of a node without a link");
        }
        gossip::Fact::Compared { with, is_same } => {
            probe.catalogs_compared.add(if *is_same { "same" } else { "different" });
            tracing::trace!(node = %with, is_same, "a digest");
        }
        gossip::Fact::CaughtUp { after } => {
            probe.catch_ups.add(1);
            probe.catch_up_ns.add(after.as_nanos() as u64);
            tracing::debug!(?after, "what was missing of the catalog is here");
        }
        gossip::Fact::Unanswered { after } => {
            probe.catch_ups_failed.add(1);
            tracing::debug!(?after, "what is missing of the catalog did not come");
        }
        gossip::Fact::Lapsed { node } => tracing::info!(%node, "what a node offers has lapsed"),
    }
}

fn of_routes(fact: &route::Fact, probe: &PeerProbe) {
    match fact {
        route::Fact::Accepted { .. } => probe.routes_accepted.add(1),
        route::Fact::Rejected { from, destination, reason } => {
            probe.routes_rejected.add(reason.word());
            tracing::debug!(node = %from, ?destination, reason = reason.word(), "a route");
        }
        route::Fact::Withdrawn { .. } => probe.routes_withdrawn.add(1),
        route::Fact::Expired { .. } | route::Fact::Void { .. } => probe.routes_expired.add(1),
        route::Fact::Best { destination, via } => {
            probe.routes_changed.add(1);
            tracing::info!(cluster = %destination, ?via, "the way to a cluster");
        }
        route::Fact::KeyAccepted { cluster, key_serial } => {
            tracing::info!(%cluster, key_serial, "a key of a cluster");
        }
        route::Fact::KeyRevoked { cluster, key_serial } => {
            tracing::warn!(%cluster, key_serial, "a key of a cluster is revoked");
        }
        route::Fact::KeyRejected { from, fault } => {
            probe.keys_rejected.add(fault.word());
            tracing::warn!(?from, reason = fault.word(), "a key of a cluster was not taken");
        }
        route::Fact::CannotSign { to } => {
            tracing::debug!(node = %to, "no key to sign routes with");
        }
    }
}

fn of_membership(fact: &member::Fact, probe: &PeerProbe) {
    match fact {
        member::Fact::Suspected { node } => {
            probe.members_suspected.add(1);
            tracing::info!(%node, "a member is suspected");
        }
        member::Fact::Refuted { node } => tracing::info!(%node, "a member is alive after all"),
        member::Fact::SelfRefuted { told_by } => {
            tracing::info!(node = %told_by, "this node was suspected, and says that it is alive");
        }
        member::Fact::WokeLate { by } => tracing::debug!(?by, "the control core woke late"),
        member::Fact::Rejected { from, why } => {
            probe.packets_rejected.add(1);
            tracing::debug!(node = %from, reason = why.word(), "a packet of membership");
        }
    }
}
