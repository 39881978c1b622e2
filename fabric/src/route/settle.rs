//! The second half of a turn: what is judged anew, what shards get, what neighbours and nodes are
//! told.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mpreg_proto::id::{ClusterId, NodeId, Version};
use mpreg_proto::limits::{ROUTE_ENTRIES_MAX, ROUTE_PATH_MAX};
use mpreg_proto::route::{
    Announcement, ChainDigest, Entry, Hop, Inside, Item, Message, Origin, Relation, Signed,
    Withdrawal,
};

use super::chain::AT_HOME;
use super::export::{Content, Haste, Say};
use super::fact::Fact;
use super::inside::Offer;
use super::policy::{Signatures, Subject};
use super::rib::Route;
use super::select::{Next, judge, kept};
use super::view::{RouteView, Ways};
use super::{Best, Effect, Routes, explain, hear};
use crate::limits::ROUTE_MESSAGE_FILL_BYTES_MAX;
use crate::time::Instant;

impl Routes {
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.sweep(now, out);
        self.refresh(now);
        let touched = core::mem::take(&mut self.touched);
        let mut is_view_new = false;
        for destination in &touched {
            self.offer(*destination, now);
            is_view_new |= self.choose(*destination, now, out);
        }
        if is_view_new {
            let ways = self.best.iter();
            let ways = ways.map(|(destination, best)| Ways {
                destination: *destination,
                hops: best.hops.clone(),
            });
            self.view = Arc::new(RouteView::new(ways.collect()));
            out.push(Effect::View(self.view.clone()));
        }
        self.tell_neighbours(now);
        self.tell_new_nodes(now);
        self.compare(now);
        if let Some((ticket, reserved)) = self.sequence.reserve() {
            out.push(Effect::Persist { ticket, reserved });
        }
        if !touched.is_empty() || self.sweep_at <= now {
            self.sweep_at = self.rib.next_change(now).min(self.gateways.next_change(now));
        }
        self.send(out);
    }

    /// What expired, is free again, or need not be remembered.
    fn sweep(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now < self.sweep_at {
            return;
        }
        let is_live = |route: &Route| now < route.expires_at;
        let mut gone = self.rib.retain(&self.policy, now, is_live);
        gone.extend(self.gateways.retain(now, is_live));
        for (from, destination) in gone {
            self.touched.insert(destination);
            out.push(Effect::Fact(Fact::Expired { from, destination }));
        }
        self.touched.extend(self.rib.freed(self.swept_at, now));
        self.swept_at = now;
        self.rib.forget(now);
        let nanos = now.as_nanos();
        let ttl_max = u64::try_from(self.policy.timing.ttl_max.as_nanos()).unwrap_or(u64::MAX);
        let before = Instant::from_nanos(nanos.saturating_sub(ttl_max));
        self.outs.values_mut().for_each(|neighbour| neighbour.forget(before));
    }

    /// Announces this cluster again when it is time, not all clusters at the same moment.
    fn refresh(&mut self, now: Instant) {
        if now < self.refresh_at
            || self.outs.is_empty()
            || !self.sequence.is_ready()
            || self.is_leaving
        {
            return;
        }
        let every = self.policy.timing.refresh;
        let tenth_ms = u32::try_from(every.as_millis() / 10).unwrap_or(u32::MAX).max(1);
        let early = core::time::Duration::from_millis(self.rng.below(tenth_ms).into());
        self.refresh_at = now + every.saturating_sub(early);
        self.refreshes += 1;
        for neighbour in self.outs.values_mut() {
            neighbour.mark(self.cluster, Haste::Paced(self.policy.timing.pace), now);
        }
    }

    /// Brings in line what this node offers to its cluster: the best way over links of its own.
    fn offer(&mut self, destination: ClusterId, now: Instant) {
        let outside = self.rib.candidates(destination, now).collect();
        let judged = judge(outside, &self.policy.weights, &[], now);
        let best = kept(&judged).next().filter(|_| !self.is_leaving);
        let offer = best.and_then(|way| {
            let mut routes = self.rib.routes_to(destination);
            let (_, route) =
                routes.find(|(_, route)| route.neighbour() == way.candidate.neighbour)?;
            Some(Offer {
                metrics: way.candidate.metrics,
                is_damped: way.candidate.damped.is_some(),
                route: route.clone(),
            })
        });
        if self.gateways.offers(self.node, destination, offer.as_ref()) {
            return;
        }
        let Some(version) = self.sequence.take() else {
            self.unnumbered.insert(destination);
            return;
        };
        self.publish(destination, version, offer, now);
    }

    pub(super) fn publish(
        &mut self,
        destination: ClusterId,
        version: Version,
        offer: Option<Offer>,
        now: Instant,
    ) {
        let route = offer.as_ref().map(|offer| offer.as_wire(now));
        let inside = Inside { gateway: self.node, version, destination, route, told: Vec::new() };
        let forget_at = now + self.policy.timing.ttl_max;
        self.gateways.outlive(self.node, version);
        self.gateways.place(&inside, offer, forget_at);
        self.spread(inside, None);
    }

    /// Judges the ways to a destination. Whether shards have to know.
    fn choose(&mut self, destination: ClusterId, now: Instant, out: &mut Vec<Effect>) -> bool {
        let judged = self.judged(destination, &[], now);
        let hops = explain::hops(&judged);
        let best = kept(&judged).next();
        let chosen = best.and_then(|way| {
            let digest = self.route(destination, way.candidate.next)?.digest;
            Some(Best { hops, digest, metrics: way.candidate.metrics })
        });
        let held = self.best.get(&destination);
        let next = |best: &Best| best.hops.first().map(|hop| hop.next.node());
        let (was, is) = (held.and_then(next), chosen.as_ref().and_then(next));
        if was != is {
            out.push(Effect::Fact(Fact::Best { destination, via: is }));
        }
        let told = |best: &Best| (best.digest, best.metrics);
        let is_told_same = held.map(told) == chosen.as_ref().map(told);
        let is_view_same =
            held.map(|best| &best.hops) == chosen.as_ref().map(|chosen| &chosen.hops);
        match chosen {
            Some(chosen) => self.best.insert(destination, chosen),
            None => self.best.remove(&destination),
        };
        if !is_told_same {
            self.mark(destination, now);
        }
        !is_view_same
    }

    /// Neighbours are to hear of a destination: those that lose it at once.
    fn mark(&mut self, destination: ClusterId, now: Instant) {
        let path = self.best.get(&destination).and_then(|best| best.hops.first());
        let path = path.map(|hop| hop.path.clone());
        for neighbour in self.outs.values_mut() {
            let is_kept = path.as_ref().is_some_and(|path| !path.contains(&neighbour.cluster));
            let pace = self.policy.timing.pace;
            let haste = if is_kept { Haste::Paced(pace) } else { Haste::AtOnce };
            neighbour.mark(destination, haste, now);
        }
    }

    fn route(&self, destination: ClusterId, next: Next) -> Option<&Route> {
        match next {
            Next::Neighbour(node) => {
                let mut routes = self.rib.routes_to(destination);
                routes.find(|(_, route)| route.neighbour() == node).map(|(_, route)| route)
            }
            Next::Gateway(node) => Some(&self.gateways.offer(node, destination)?.route),
        }
    }

    fn tell_neighbours(&mut self, now: Instant) {
        let mut outs = core::mem::take(&mut self.outs);
        for (peer, neighbour) in &mut outs {
            if !self.sequence.is_ready() {
                break;
            }
            for destination in neighbour.take_due(now) {
                let content = self.content(destination, neighbour.cluster);
                let item = match neighbour.say(destination, content) {
                    Say::Nothing => continue,
                    Say::Announce(content) => {
                        self.announce(destination, content, neighbour.cluster, now)
                    }
                    Say::Withdraw => self.withdraw(destination, neighbour.cluster),
                };
                match item {
                    Some(item) => {
                        self.outbox.entry(*peer).or_default().push(item.entry());
                        neighbour.said(destination, content, now);
                    }
                    // No number is left: again when there are.
                    None => neighbour.mark(destination, Haste::AtOnce, now),
                }
            }
        }
        self.outs = outs;
    }

    /// What `cluster` is told about a destination, if anything.
    fn content(&self, destination: ClusterId, cluster: ClusterId) -> Option<Content> {
        if self.is_leaving || (self.signer.is_none() && self.must_sign()) {
            return None;
        }
        let key_serial = self.signer.as_ref().map_or(0, |signer| signer.key_serial);
        if destination == self.cluster {
            let subject = Subject {
                destination,
                advertiser: self.cluster,
                tags: &self.policy.tags,
                metrics: AT_HOME,
            };
            let terms = self.policy.offer(cluster, subject)?;
            let (digest, refresh) = (ChainDigest::EMPTY, self.refreshes);
            let relation = terms.relation;
            return Some(Content { digest, metrics: AT_HOME, relation, refresh, key_serial });
        }
        let best = self.best.get(&destination)?;
        let hop = best.hops.first()?;
        if hop.path.contains(&cluster) || ROUTE_PATH_MAX <= hop.path.len() {
            return None;
        }
        let route = self.route(destination, hop.next)?;
        let subject = Subject {
            destination,
            advertiser: *hop.path.first()?,
            tags: &route.chain.tags,
            metrics: best.metrics,
        };
        let terms = self.policy.offer(cluster, subject)?;
        if route.chain.is_for_customers() && terms.relation != Relation::Customer {
            return None;
        }
        let Best { digest, metrics, .. } = *best;
        Some(Content { digest, metrics, relation: terms.relation, refresh: 0, key_serial })
    }

    fn must_sign(&self) -> bool {
        self.policy.signatures == Signatures::Required
    }

    /// `None`: no number is left to sign with.
    fn announce(
        &mut self,
        destination: ClusterId,
        content: Content,
        to: ClusterId,
        now: Instant,
    ) -> Option<Item> {
        let version = self.sequence.take()?;
        let key_serial = self.signer.as_ref().map_or(0, |signer| signer.key_serial);
        let Content { digest, metrics, relation, .. } = content;
        let (cluster, node) = (self.cluster, self.node);
        if destination == cluster {
            let ttl_ms = u32::try_from(self.policy.timing.ttl.as_millis()).unwrap_or(u32::MAX);
            let tags = self.policy.tags.clone();
            let origin = Origin { cluster, node, version, to, key_serial, relation, ttl_ms, tags };
            let chain = alloc::vec![self.sign_link(digest, origin.body())];
            return Some(Item::Announce(Announcement { destination, ttl_ms, chain }));
        }
        let hop = Hop { cluster, node, version, to, key_serial, relation, metrics };
        let link = self.sign_link(digest, hop.body());
        let next = self.best.get(&destination)?.hops.first()?.next;
        let route = self.route(destination, next)?;
        let ttl_ms = route.ttl_ms(now);
        let mut chain = route.announcement.chain.clone();
        chain.push(link);
        Some(Item::Announce(Announcement { destination, ttl_ms, chain }))
    }

    fn withdraw(&mut self, destination: ClusterId, to: ClusterId) -> Option<Item> {
        let version = self.sequence.take()?;
        let key_serial = self.signer.as_ref().map_or(0, |signer| signer.key_serial);
        let (cluster, node) = (self.cluster, self.node);
        let body = Withdrawal { destination, cluster, node, version, to, key_serial }.body();
        Some(Item::Withdraw(match &self.signer {
            Some(signer) => signer.withdrawal(body, &mut self.made),
            None => Signed { body, signature: None },
        }))
    }

    fn sign_link(&mut self, before: ChainDigest, body: Vec<u8>) -> Signed {
        match &self.signer {
            Some(signer) => signer.link(before, body, &mut self.made),
            None => Signed { body, signature: None },
        }
    }

    /// Tells an entry to every linked node of this cluster, but the one it came from.
    pub(super) fn tell_nodes(&mut self, entry: &Entry, from: Option<NodeId>) {
        for node in self.nodes.keys().filter(|node| Some(**node) != from) {
            self.outbox.entry(*node).or_default().push(entry.clone());
        }
    }

    /// One message per peer, or several where they would be too long.
    fn send(&mut self, out: &mut Vec<Effect>) {
        let outbox: BTreeMap<_, _> = core::mem::take(&mut self.outbox);
        for (to, entries) in outbox {
            let keys = if self.keyless.remove(&to) { self.keys() } else { Vec::new() };
            let mut message = Message { entries: Vec::new() };
            let mut bytes = 0;
            for entry in keys.into_iter().chain(entries) {
                let is_full = message.entries.len() == ROUTE_ENTRIES_MAX
                    || ROUTE_MESSAGE_FILL_BYTES_MAX < bytes;
                if is_full {
                    let full = core::mem::replace(&mut message, Message { entries: Vec::new() });
                    out.push(Effect::Send { to, message: full });
                    bytes = 0;
                }
                bytes += entry.body.len();
                message.entries.push(entry);
            }
            if !message.entries.is_empty() {
                out.push(Effect::Send { to, message });
            }
        }
    }

    /// All that is known of keys.
    fn keys(&self) -> Vec<Entry> {
        let (authorised, revoked) = self.registry.records();
        let authorised = authorised.into_iter().map(hear::authorise);
        authorised.chain(revoked.into_iter().map(hear::revoke)).collect()
    }
}
