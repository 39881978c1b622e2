//! The first half of a turn: what peers say, judged and held.
//!
//! Cheap checks come first, signatures last. What a neighbour says of a route and is refused for its
//! content takes away what it said before of another path: it does not have that path any more.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::route::{
    Announcement, Entry, Inside, InsideRoute, Item, Message, Signed, Withdrawal,
};

use super::chain::Chain;
use super::damping::Damped;
use super::fact::{Fact, Reject};
use super::inside::{Offer, Placed};
use super::keys::Taken;
use super::policy::Policy;
use super::refused::Refused;
use super::rib::{Removed, Route};
use super::sign::Judge;
use super::{Effect, Provided, Routes};
use crate::time::Instant;

pub(super) fn authorise(record: &Signed) -> Entry {
    Item::Authorise(record.clone()).entry()
}

pub(super) fn revoke(record: &Signed) -> Entry {
    Item::Revoke(record.clone()).entry()
}

impl Routes {
    pub(super) fn heard(
        &mut self,
        from: NodeId,
        message: &Message,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        for entry in &message.entries {
            let (destination, outcome) = match Item::read(entry) {
                Ok(Some(item)) => self.item(from, item, now, out),
                Ok(None) => (None, Err(Reject::UnknownKind)),
                Err(_) => (None, Err(Reject::Malformed)),
            };
            if let Err(reason) = outcome {
                out.push(Effect::Fact(Fact::Rejected { from, destination, reason }));
            }
        }
    }

    fn item(
        &mut self,
        from: NodeId,
        item: Item,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> (Option<ClusterId>, Result<(), Reject>) {
        match item {
            Item::Announce(announcement) => {
                let destination = announcement.destination;
                (Some(destination), self.announced(from, announcement, now, out))
            }
            Item::Withdraw(signed) => match Withdrawal::parse(&signed.body) {
                Ok(withdrawal) => {
                    let destination = withdrawal.destination;
                    (Some(destination), self.withdrawn(from, &signed, &withdrawal, now, out))
                }
                Err(_) => (None, Err(Reject::Malformed)),
            },
            Item::Inside(inside) => (Some(inside.destination), self.inside(from, inside, now)),
            Item::Authorise(record) => (None, self.key_heard(from, &record, Record::Key, now, out)),
            Item::Revoke(record) => (None, self.key_heard(from, &record, Record::End, now, out)),
            Item::Sum(_) | Item::Held(_) if !self.nodes.contains_key(&from) => {
                (None, Err(Reject::UnknownPeer))
            }
            Item::Sum(sum) => {
                self.summed(from, sum, now);
                (None, Ok(()))
            }
            Item::Held(held) => {
                self.held(from, &held, now);
                (None, Ok(()))
            }
        }
    }

    fn announced(
        &mut self,
        from: NodeId,
        announcement: Announcement,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let destination = announcement.destination;
        let quota = self.policy.quota;
        let neighbour = self.rib.get_mut(from).ok_or(Reject::UnknownPeer)?;
        if !neighbour.may_update(&quota, now) {
            return Err(Reject::TooManyUpdates);
        }
        let cluster = neighbour.cluster;
        let chain = self.chain(&announcement)?;
        let advertiser = chain.advertiser();
        if advertiser.node != from || advertiser.cluster != cluster {
            return Err(Reject::AdvertiserDiffers);
        }
        let shape = self.shape(&chain);
        let neighbour = self.rib.get_mut(from).ok_or(Reject::UnknownPeer)?;
        let wanted = neighbour.is_wanted(&chain, &self.policy);
        let is_unwanted = shape.is_ok() && wanted.is_err();
        if !neighbour.is_news(destination, advertiser.version) {
            return Err(Reject::Stale);
        }
        if let Err(reason) = shape.and(wanted) {
            if neighbour.refuse(&chain, &self.policy, now) {
                self.touched.insert(destination);
            }
            if is_unwanted {
                let expires_at = now + self.policy.life_of(&announcement, &chain);
                let (announcement, chain) = (Arc::new(announcement), Arc::new(chain));
                let refused = Refused { announcement, chain, expires_at };
                neighbour.set_aside(destination, refused, &quota);
            }
            return Err(reason);
        }
        if !neighbour.has_room(destination, &quota) {
            return Err(Reject::TooManyRoutes);
        }
        let route = self.verify(announcement, chain, now)?;
        let forget_at = route.expires_at;
        let neighbour = self.rib.get_mut(from).ok_or(Reject::UnknownPeer)?;
        neighbour.hold(destination, route, forget_at);
        self.touched.insert(destination);
        match neighbour.damped(destination, now) {
            Some(Damped::HoldDown) => Err(Reject::HoldDown),
            Some(Damped::Suppressed) => Err(Reject::Suppressed),
            None => {
                out.push(Effect::Fact(Fact::Accepted { from, destination }));
                Ok(())
            }
        }
    }

    /// What can be said of an announcement by itself.
    fn chain(&self, announcement: &Announcement) -> Result<Chain, Reject> {
        if announcement.ttl_ms == 0 {
            return Err(Reject::Expired);
        }
        if announcement.destination == self.cluster {
            return Err(Reject::OwnCluster);
        }
        if announcement.chain.is_empty() {
            return Err(Reject::EmptyPath);
        }
        let chain = Chain::parse(announcement).map_err(|_| Reject::Malformed)?;
        if chain.origin().cluster != announcement.destination {
            return Err(Reject::DestinationDiffers);
        }
        Ok(chain)
    }

    /// What can be said of its path.
    fn shape(&self, chain: &Chain) -> Result<(), Reject> {
        if chain.loops(self.cluster) {
            return Err(Reject::Loop);
        }
        if !chain.only_grows() {
            return Err(Reject::Metrics);
        }
        if self.freshness.is_stale(chain.speaker(), chain.origin().version) {
            return Err(Reject::Stale);
        }
        Ok(())
    }

    pub(super) fn verify(
        &mut self,
        announcement: Announcement,
        chain: Chain,
        now: Instant,
    ) -> Result<Route, Reject> {
        let judge = Judge {
            registry: &self.registry,
            signatures: self.policy.signatures,
            unix_seconds: self.wall.seconds(now),
            own: self.cluster,
        };
        let digest =
            self.verified.chain(&announcement, &chain, judge).map_err(Reject::Signature)?;
        let timing = self.policy.timing;
        let version = chain.origin().version;
        self.freshness.heard(chain.speaker(), version, timing.ttl_max, now);
        // Whoever passes it on may say that it held it for no time at all, again and again.
        let whole = Duration::from_millis(chain.ttl_ms.into());
        let ends_at = self.freshness.known_since(chain.speaker()) + whole;
        if ends_at <= now {
            return Err(Reject::Expired);
        }
        let expires_at = ends_at.min(now + self.policy.life_of(&announcement, &chain));
        Ok(Route {
            path: chain.path(),
            announcement: Arc::new(announcement),
            chain: Arc::new(chain),
            digest,
            expires_at,
        })
    }

    fn withdrawn(
        &mut self,
        from: NodeId,
        signed: &Signed,
        withdrawal: &Withdrawal,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let destination = withdrawal.destination;
        let neighbour = self.rib.get_mut(from).ok_or(Reject::UnknownPeer)?;
        if !neighbour.may_update(&self.policy.quota, now) {
            return Err(Reject::TooManyUpdates);
        }
        if withdrawal.node != from || withdrawal.cluster != neighbour.cluster {
            return Err(Reject::AdvertiserDiffers);
        }
        if !neighbour.is_news(destination, withdrawal.version) {
            return Err(Reject::Stale);
        }
        let judge = Judge {
            registry: &self.registry,
            signatures: self.policy.signatures,
            unix_seconds: self.wall.seconds(now),
            own: self.cluster,
        };
        judge.withdrawal(signed, withdrawal).map_err(Reject::Signature)?;
        let was_held = match neighbour.withdraw(destination, withdrawal.version, &self.policy, now)
        {
            Removed::Route => true,
            Removed::Nothing => false,
            Removed::NoRoom => return Err(Reject::TooManyRoutes),
        };
        self.touched.insert(destination);
        out.push(Effect::Fact(Fact::Withdrawn { from, destination, was_held }));
        Ok(())
    }

    fn inside(&mut self, from: NodeId, mut inside: Inside, now: Instant) -> Result<(), Reject> {
        if !self.nodes.contains_key(&from) {
            return Err(Reject::UnknownPeer);
        }
        let Inside { gateway, version, destination, .. } = inside;
        if !self.gateways.is_news(gateway, destination, version) {
            self.correct(from, &inside, now);
            return Ok(());
        }
        self.touched.extend(self.gateways.outlive(gateway, version));
        let route = inside.route.take();
        let forget_at = now + self.policy.timing.ttl_max;
        let (offer, outcome) = match &route {
            None => (None, Ok(())),
            Some(route) => match self.offered(route, destination, now) {
                Ok(offer) => (Some(offer), Ok(())),
                Err(reason) => (None, Err(reason)),
            },
        };
        match self.gateways.place(&inside, offer, forget_at) {
            Placed::New => (),
            Placed::Old => return Ok(()),
            Placed::NoRoom => return Err(Reject::TooManyRoutes),
        }
        self.touched.insert(destination);
        // What this node said in an earlier life is held as what others know, and so brought in line
        // with what it has.
        if gateway != self.node {
            inside.route = route;
            self.spread(inside, Some(from));
        }
        outcome
    }

    /// What a gateway has, checked as if it had been told here.
    fn offered(
        &mut self,
        inside: &InsideRoute,
        destination: ClusterId,
        now: Instant,
    ) -> Result<Offer, Reject> {
        let InsideRoute { metrics, is_damped, ref announcement } = *inside;
        if announcement.destination != destination {
            return Err(Reject::DestinationDiffers);
        }
        let chain = self.chain(announcement)?;
        self.shape(&chain)?;
        let said = chain.advertiser().metrics;
        let grows = metrics.hops == said.hops + 1
            && said.latency_us < metrics.latency_us
            && metrics.bandwidth_mbps <= said.bandwidth_mbps
            && metrics.reliability_ppm <= said.reliability_ppm
            && said.cost <= metrics.cost;
        if !grows {
            return Err(Reject::Metrics);
        }
        let route = self.verify(announcement.clone(), chain, now)?;
        Ok(Offer { metrics, is_damped, route })
    }

    fn key_heard(
        &mut self,
        from: NodeId,
        record: &Signed,
        kind: Record,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let quota = self.policy.quota;
        let may = match self.rib.get_mut(from) {
            Some(neighbour) => neighbour.may_update(&quota, now),
            None if self.nodes.contains_key(&from) => true,
            None => return Err(Reject::UnknownPeer),
        };
        if !may {
            return Err(Reject::TooManyUpdates);
        }
        self.key(record, kind, Some(from), now, out);
        Ok(())
    }

    pub(super) fn key_provided(&mut self, provided: Provided, now: Instant, out: &mut Vec<Effect>) {
        match provided {
            Provided::Authorisation(record) => self.key(&record, Record::Key, None, now, out),
            Provided::Revocation(record) => self.key(&record, Record::End, None, now, out),
            Provided::Pins { cluster, pins } => {
                self.registry.unpin(cluster);
                for pin in pins {
                    if let Err(fault) = self.registry.pin(pin) {
                        out.push(Effect::Fact(Fact::KeyRejected { from: None, fault }));
                    }
                }
                self.keys_changed(now, out);
            }
        }
    }

    fn key(
        &mut self,
        record: &Signed,
        kind: Record,
        from: Option<NodeId>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let taken = match kind {
            Record::Key => self.registry.authorise(record),
            Record::End => self.registry.revoke(record),
        };
        match taken {
            Ok(Taken::New { cluster, key_serial }) => {
                let (fact, entry) = match kind {
                    Record::Key => (Fact::KeyAccepted { cluster, key_serial }, authorise(record)),
                    Record::End => (Fact::KeyRevoked { cluster, key_serial }, revoke(record)),
                };
                out.push(Effect::Fact(fact));
                out.push(Effect::KeysChanged);
                for peer in self.outs.keys().filter(|peer| Some(**peer) != from) {
                    self.outbox.entry(*peer).or_default().push(entry.clone());
                }
                self.tell_nodes(&entry, from);
                self.keys_changed(now, out);
            }
            Ok(Taken::Known) => (),
            Err(fault) => out.push(Effect::Fact(Fact::KeyRejected { from, fault })),
        }
    }

    fn keys_changed(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.verified.clear();
        self.drop_void(now, out);
    }

    /// Takes away routes whose keys do not hold any more.
    pub(super) fn drop_void(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let judge = Judge {
            registry: &self.registry,
            signatures: self.policy.signatures,
            unix_seconds: self.wall.seconds(now),
            own: self.cluster,
        };
        let holds = |route: &Route| {
            let signed = route.announcement.chain.iter().map(|link| link.signature.is_some());
            judge.holds(&route.chain, signed).is_ok()
        };
        let mut gone = self.rib.retain(&self.policy, now, holds);
        gone.extend(self.gateways.retain(now, holds));
        for (from, destination) in gone {
            self.touched.insert(destination);
            out.push(Effect::Fact(Fact::Void { from, destination }));
        }
    }
}

impl Policy {
    /// How long an announcement is good for.
    fn life_of(&self, announcement: &Announcement, chain: &Chain) -> Duration {
        let said = Duration::from_millis(announcement.ttl_ms.min(chain.ttl_ms).into());
        said.min(self.timing.ttl_max)
    }
}

/// Which kind of key record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Key,
    End,
}
