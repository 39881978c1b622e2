//! Joins what decides ways: `route` (what neighbours announce), `link_state` (who says which links it
//! has), `breaker` (which links work) and `plan` (which of it counts).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::limits::ROUTE_MESSAGE_BYTES_MAX;
use mpreg_proto::link_state::Metrics;
use mpreg_proto::peer::Plane;
use mpreg_proto::route::{Item, Message};

use super::gauge::{Gauge, RoundTrips};
use super::{Control, Effect, Fact, LINKS, Peer, ROUTES, Record, Unwritten, View};
use crate::breaker::{self, Breaker, Circuit};
use crate::limits::LOST_NODES_MAX;
use crate::link_state;
use crate::plan::{Sources, plan};
use crate::route::{self, Next, NextHop, Provided, RouteView};
use crate::time::Instant;
use crate::way::{Exit, Link, Ways};

/// Taken for the round trip of a link before it is measured.
const ROUND_TRIP_UNKNOWN_US: u32 = 1000;

impl Control {
    pub(super) fn ways_linked(
        &mut self,
        node: NodeId,
        peer: Peer,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        self.is_changed = true;
        let breaker = self.breaker;
        let fresh = || Gauge { round_trips: RoundTrips::default(), breaker: Breaker::new(breaker) };
        let gauge = self.gauges.entry(node).or_insert_with(fresh);
        let round_trip_us = gauge.round_trips.shortest_us().unwrap_or(ROUND_TRIP_UNKNOWN_US);
        let link = route::Link { round_trip_us, loss_ppm: 0, bandwidth_mbps: 0, cost: 0 };
        let cluster = peer.cluster;
        self.route(route::Input::PeerUp { peer: node, cluster, link }, now, out);
        let metrics = metrics(round_trip_us);
        self.flood(link_state::Input::LinkUp { peer: node, cluster, metrics }, now, out);
    }

    fn next_breaker(&self) -> Option<(Instant, &'static str)> {
        self.gauges.values().filter_map(|gauge| gauge.breaker.deadline()).min()
    }

    pub(super) fn ways_unlinked(&mut self, peer: NodeId, now: Instant, out: &mut Vec<Effect>) {
        self.is_changed = true;
        let is_well = |gauge: &Gauge| gauge.breaker.circuit() == Circuit::Closed;
        if self.gauges.get(&peer).is_some_and(is_well) {
            self.gauges.remove(&peer);
        }
        if self.peers.len() + LOST_NODES_MAX < self.gauges.len() {
            let other = self.gauges.keys().find(|node| !self.peers.contains_key(node)).copied();
            other.map(|node| self.gauges.remove(&node));
        }
        self.due.breakers = self.next_breaker();
        self.route(route::Input::PeerDown { peer }, now, out);
        self.flood(link_state::Input::LinkDown { peer }, now, out);
    }

    pub(super) fn measured(
        &mut self,
        peer: NodeId,
        round_trip: Duration,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(gauge) = self.gauges.get_mut(&peer) else { return };
        gauge.round_trips.put(round_trip);
        let Some(round_trip_us) = gauge.round_trips.shortest_us() else { return };
        let loss_ppm = 0;
        self.route(route::Input::Measured { peer, round_trip_us, loss_ppm }, now, out);
        let metrics = metrics(round_trip_us);
        self.flood(link_state::Input::Measured { peer, metrics }, now, out);
    }

    /// A shard says how a message fared on the link with a peer.
    pub(super) fn tried(
        &mut self,
        peer: NodeId,
        input: breaker::Input,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(gauge) = self.gauges.get_mut(&peer) else { return };
        let mut effects = Vec::new();
        gauge.breaker.handle(input, now, &mut effects);
        self.due.breakers = self.next_breaker();
        for breaker::Effect::Changed(circuit) in effects {
            self.is_changed = true;
            out.push(Effect::Fact(Fact::Circuit { peer, circuit }));
        }
    }

    pub(super) fn wake_breakers(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let is_due = |gauge: &Gauge| gauge.breaker.deadline().is_some_and(|(at, _why)| at <= now);
        let due = self.gauges.iter().filter(|(_, gauge)| is_due(gauge)).map(|(&node, _)| node);
        let due: Vec<NodeId> = due.collect();
        for peer in due {
            self.tried(peer, breaker::Input::DeadlineReached, now, out);
        }
    }

    pub(super) fn route_heard(
        &mut self,
        from: NodeId,
        body: &[u8],
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        match Message::parse(body) {
            Ok(message) => self.route(route::Input::Heard { from, message }, now, out),
            Err(code) => {
                out.push(Effect::Fact(Fact::Unreadable { from, plane: Plane::Route, code }));
            }
        }
    }

    pub(super) fn route(&mut self, input: route::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.routes.handle(input, now, &mut effects);
        self.due.routes = self.routes.deadline();
        for effect in effects {
            match effect {
                route::Effect::Send { to, message } => {
                    let mut body = Vec::new();
                    message.put(&mut body);
                    self.send(to, ROUTES, Plane::Route, body.into(), out);
                }
                route::Effect::Persist { ticket, reserved } => {
                    let record = Record::RouteSequence(reserved);
                    self.persist(record, Unwritten::Routes(ticket), out);
                }
                route::Effect::View(_) => self.is_changed = true,
                route::Effect::KeysChanged => {
                    let record = Record::RouteKeys(written(self.routes.key_records()));
                    self.persist(record, Unwritten::Nothing, out);
                }
                route::Effect::Fact(fact) => {
                    if let route::Fact::KeyAccepted { cluster, .. } = fact {
                        self.key_came(cluster, now, out);
                    }
                    out.push(Effect::Fact(Fact::Route(fact)));
                }
            }
        }
    }

    /// Keys kept from an earlier life. What cannot be read is as good as lost.
    pub(super) fn provide(&mut self, mut kept: &[u8], now: Instant, out: &mut Vec<Effect>) {
        while let Some((length, rest)) = kept.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((bytes, rest)) = rest.split_at_checked(length) else { return };
            kept = rest;
            let entries = Message::parse(bytes).map_or_else(|_| Vec::new(), |said| said.entries);
            for entry in entries {
                let provided = match Item::read(&entry) {
                    Ok(Some(Item::Authorise(signed))) => Provided::Authorisation(signed),
                    Ok(Some(Item::Revoke(signed))) => Provided::Revocation(signed),
                    Ok(Some(Item::Announce(_) | Item::Withdraw(_) | Item::Inside(_)))
                    | Ok(Some(Item::Sum(_) | Item::Held(_)) | None)
                    | Err(_) => continue,
                };
                self.route(route::Input::KeyProvided(provided), now, out);
            }
        }
    }

    pub(super) fn flood(&mut self, input: link_state::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.link_state.handle(input, now, &mut effects);
        self.due.link_state = self.link_state.deadline();
        for effect in effects {
            match effect {
                link_state::Effect::Send { to, mut flood } => {
                    self.sign_links(&mut flood);
                    let mut body = Vec::new();
                    flood.put(&mut body);
                    self.send(to, LINKS, Plane::LinkState, body.into(), out);
                }
                link_state::Effect::Computed => self.is_changed = true,
                link_state::Effect::Changed { node, cluster, links } => {
                    out.push(Effect::Fact(Fact::LinksChanged { node, cluster, links }));
                }
                link_state::Effect::Rejected { from, reason } => {
                    out.push(Effect::Fact(Fact::LinkState { from, reason }));
                }
            }
        }
    }

    pub(super) fn next_view(&self) -> View {
        let links = self.way_links();
        let routes = ways(self.routes.view(), self.here.cluster);
        View {
            here: self.here,
            peers: self.peers.clone(),
            clusters: plan(&self.sources(&routes, &links)),
            nodes: self.link_state.nodes().to_vec(),
            interest: Arc::clone(&self.interest),
            links,
        }
    }

    pub(super) fn way_links(&self) -> Vec<Link> {
        let circuit = |node: &NodeId| {
            self.gauges.get(node).map_or(Circuit::Closed, |gauge| gauge.breaker.circuit())
        };
        let links = self.peers.iter();
        let link = |(node, peer): (&NodeId, &Peer)| Link {
            peer: *node,
            cluster: peer.cluster,
            circuit: circuit(node),
        };
        links.map(link).collect()
    }

    pub(super) fn sources<'a>(
        &'a self,
        routes: &'a [Ways<ClusterId>],
        links: &'a [Link],
    ) -> Sources<'a> {
        Sources {
            mine: self.here.cluster,
            mode: self.mode,
            federation: &self.federation,
            link_state: self.link_state.clusters(),
            routes,
            links,
        }
    }
}

const fn metrics(round_trip_us: u32) -> Metrics {
    let (latency_us, reliability_ppm) = (round_trip_us, 1_000_000);
    Metrics { latency_us, bandwidth_mbps: 0, reliability_ppm, cost: 0 }
}

/// Routes as exits: announced ways are never equally good, the first is the best.
pub(super) fn ways(view: &RouteView, own: ClusterId) -> Vec<Ways<ClusterId>> {
    let ways = |to: ClusterId| {
        let mut exits: Vec<Exit> = Vec::new();
        let best = view.hops(to).first();
        let distance = best.map_or(0, |hop| hop.path.len() as u32);
        for hop in view.hops(to) {
            let exit = exit(hop.next, hop, own);
            if !exits.contains(&exit) {
                exits.push(exit);
            }
        }
        Ways { to, exits, equal_count: 1, distance }
    };
    let all = view.destinations().map(ways);
    all.filter(|ways| !ways.exits.is_empty()).collect()
}

fn exit(next: Next, hop: &NextHop, own: ClusterId) -> Exit {
    match next {
        Next::Neighbour(node) => Exit { node, cluster: hop.path.first().copied().unwrap_or(own) },
        Next::Gateway(node) => Exit { node, cluster: own },
    }
}

/// Messages with a length each, as many as it takes.
fn written(records: Vec<Provided>) -> Bytes {
    let entry = |record: &Provided| match record {
        Provided::Authorisation(signed) => Some(Item::Authorise(signed.clone()).entry()),
        Provided::Revocation(signed) => Some(Item::Revoke(signed.clone()).entry()),
        Provided::Pins { .. } => None,
    };
    let mut out = Vec::new();
    for entry in records.iter().filter_map(entry) {
        let mut bytes = Vec::new();
        Message { entries: [entry].into() }.put(&mut bytes);
        assert!(bytes.len() <= ROUTE_MESSAGE_BYTES_MAX, "a key is not long");
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.append(&mut bytes);
    }
    out.into()
}
