//! Joins `gossip` (what every node offers) and `want` (what subscribers want): wants of this node
//! become entries, entries of others become the view of who wants what.

use alloc::vec::Vec;

use mpreg_proto::catalog::members_of;
use mpreg_proto::id::NodeId;
use mpreg_proto::peer::{Lane, Plane};

use super::{Control, Effect, Fact, Peer};
use crate::catalog::{Catalog, Changed, Key, Speaker};
use crate::gossip;
use crate::time::Instant;
use crate::want::{self, Stale};

impl Control {
    /// What every node offers, as far as it is known here.
    pub fn catalog(&self) -> &Catalog {
        self.gossip.catalog()
    }

    pub(super) fn offers_linked(
        &mut self,
        node: NodeId,
        peer: Peer,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let speaker = Speaker { node, cluster: peer.cluster };
        self.spread(gossip::Input::LinkUp(speaker), now, out);
        self.count_gateway(now, out);
    }

    pub(super) fn offers_unlinked(&mut self, peer: NodeId, now: Instant, out: &mut Vec<Effect>) {
        self.spread(gossip::Input::LinkDown { peer }, now, out);
        self.count_gateway(now, out);
    }

    /// Who has links with other clusters speaks for its own.
    fn count_gateway(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let is_gateway = self.peers.values().any(|peer| peer.cluster != self.here.cluster);
        self.want(want::Input::Gateway(is_gateway), now, out);
    }

    pub(super) fn spread(&mut self, input: gossip::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.gossip.handle(input, now, &mut effects);
        self.due.gossip = self.gossip.deadline();
        for effect in effects {
            match effect {
                gossip::Effect::Send { to, lane, bytes } => {
                    self.send(to, lane_of(lane), Plane::Catalog, bytes, out);
                }
                gossip::Effect::Changed(changed) => self.entry_changed(changed, now, out),
                gossip::Effect::NotOffered { key, why } => {
                    out.push(Effect::Fact(Fact::NotOffered { key, why }));
                }
                gossip::Effect::Outlived { incarnation } => self.renew(incarnation, out),
                gossip::Effect::Fact(fact) => out.push(Effect::Fact(Fact::Gossip(fact))),
            }
        }
    }

    fn entry_changed(&mut self, changed: Changed, now: Instant, out: &mut Vec<Effect>) {
        let input = want::Input::Changed {
            owner: changed.feed.node,
            cluster: changed.cluster,
            kind: changed.key.kind,
            name: changed.key.name.clone(),
            members: changed.body.as_deref().map(members_of),
        };
        self.hints_changed(&changed, now, out);
        out.push(Effect::Fact(Fact::Entry(changed)));
        self.want(input, now, out);
    }

    pub(super) fn want(&mut self, input: want::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.wants.handle(input, now, &mut effects);
        self.due.wants = self.wants.deadline();
        for effect in effects {
            match effect {
                want::Effect::Offer { scope, kind, name, body } => {
                    let key = Key { kind, name };
                    self.spread(gossip::Input::Offer { scope, key, body }, now, out);
                }
                want::Effect::Retract { scope, kind, name } => {
                    let key = Key { kind, name };
                    self.spread(gossip::Input::Retract { scope, key }, now, out);
                }
                want::Effect::View { view, stale } => {
                    self.interest = view;
                    self.stale = Some(match self.stale.take() {
                        Some(earlier) => both(earlier, stale),
                        None => stale,
                    });
                }
                want::Effect::Unreadable { owner } => {
                    out.push(Effect::Fact(Fact::WantUnreadable { owner }));
                }
            }
        }
    }
}

fn both(a: Stale, b: Stale) -> Stale {
    match (a, b) {
        (Stale::Topics(a), Stale::Topics(b)) => Stale::Topics([a, b].concat()),
        (Stale::All, _) | (_, Stale::All) => Stale::All,
    }
}

const fn lane_of(lane: gossip::Lane) -> Lane {
    match lane {
        gossip::Lane::Departure => Lane::Control,
        gossip::Lane::News => Lane::High,
        gossip::Lane::Bulk => Lane::Bulk,
    }
}
