//! Joins `member` (who is alive) and `dial` (whom to be linked with): members are dialled, links tell
//! who is there.

use alloc::vec::Vec;

use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::LeaveReason;

use super::{Control, Effect, Fact, LinkId, LinkUp, Origin, Peer};
use crate::dial::{self, CloseReason, End, Gone};
use crate::member::{self, LinkEnd, Member, Why};
use crate::time::Instant;
use crate::{gossip, route};

impl Control {
    pub(super) fn link_up(&mut self, up: LinkUp, now: Instant, out: &mut Vec<Effect>) {
        let LinkUp { link, peer: node, incarnation, origin, cluster } = up;
        let judgement = self.federation.judge(self.here.cluster, cluster.id());
        if !judgement.is_allowed() {
            out.push(Effect::Close { link, why: CloseReason::ClusterRefused });
            out.push(Effect::Fact(Fact::ClusterRefused { peer: node, judgement }));
            if let Origin::Dialled { address } = origin {
                self.dial(dial::Input::DialFailed { address }, now, out);
            }
            return;
        }
        self.links.insert(link, (node, cluster.id()));
        let mut effects = Vec::new();
        let is_abroad = cluster.id() != self.here.cluster;
        self.dialler.handle(
            dial::Input::LinkUp { link, node, incarnation, origin, is_abroad },
            now,
            &mut effects,
        );
        let is_closed = |effect: &dial::Effect| matches!(effect, dial::Effect::Close { link: closed, .. } if *closed == link);
        if !effects.iter().any(is_closed) {
            out.push(Effect::Admit { link });
        }
        self.dialled(effects, now, out);
    }

    pub(super) fn dial(&mut self, input: dial::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.dialler.handle(input, now, &mut effects);
        self.dialled(effects, now, out);
    }

    fn dialled(&mut self, effects: Vec<dial::Effect>, now: Instant, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                dial::Effect::Dial { address, node } => out.push(Effect::Dial { address, node }),
                dial::Effect::Close { link, why } => self.close(link, why, out),
                dial::Effect::LinkChosen { node, incarnation, link } => {
                    self.chosen(node, incarnation, link, now, out);
                }
                dial::Effect::NodeLost { node, end } => self.lost(node, end, now, out),
            }
        }
    }

    fn close(&mut self, link: LinkId, why: CloseReason, out: &mut Vec<Effect>) {
        self.links.remove(&link);
        out.push(Effect::Close { link, why });
    }

    fn chosen(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        link: LinkId,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let (_, cluster) = self.links[&link];
        let peer = Peer { link, cluster, incarnation };
        let before = self.peers.insert(node, peer);
        out.push(Effect::Use { peer: node, link });
        if before.is_none() {
            out.push(Effect::Fact(Fact::PeerUp { peer: node }));
        }
        // Said again when the choice changes: what was sent on a link that both ends then close is lost.
        if cluster == self.here.cluster {
            self.member(member::Input::LinkUp { node, incarnation }, now, out);
        }
        self.offers_linked(node, peer, now, out);
        self.ways_linked(node, peer, now, out);
    }

    fn lost(&mut self, node: NodeId, end: End, now: Instant, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.remove(&node) else { return };
        out.push(Effect::Fact(Fact::PeerDown { peer: node, end }));
        self.offers_unlinked(node, now, out);
        self.ways_unlinked(node, now, out);
        if peer.cluster == self.here.cluster {
            let end = match end {
                End::Closed => LinkEnd::Closed,
                End::Lost => LinkEnd::Lost,
            };
            self.member(member::Input::LinkDown { node, end }, now, out);
        }
    }

    pub(super) fn member(&mut self, input: member::Input, now: Instant, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.member.handle(input, now, &mut effects);
        for effect in effects {
            match effect {
                member::Effect::Send { to, packet } => {
                    self.send_packet(to, packet, out);
                }
                member::Effect::MemberUp { member, replaces } => {
                    let Member { node, incarnation, address } = member.clone();
                    out.push(Effect::Fact(Fact::MemberUp(member)));
                    if let Some(earlier) = replaces {
                        self.life_over(node, earlier, now, out);
                    }
                    let input = dial::Input::MemberUp { node, incarnation, address };
                    self.dial(input, now, out);
                }
                member::Effect::MemberDown { node, incarnation, why } => {
                    out.push(Effect::Fact(Fact::MemberDown { node, incarnation, why }));
                    let how = match why {
                        Why::Failed => Gone::Failed,
                        Why::Left(_) => Gone::Left,
                    };
                    match how {
                        Gone::Failed => self.hint_at(node),
                        Gone::Left => self.hint_no_more(node, now, out),
                    }
                    self.life_over(node, incarnation, now, out);
                    self.dial(dial::Input::MemberDown { node, incarnation, how }, now, out);
                }
                member::Effect::Renew { above } => self.renew(above, out),
                member::Effect::Left => (),
                member::Effect::Fact(fact) => out.push(Effect::Fact(Fact::Member(fact))),
            }
        }
    }

    /// What a node of this cluster offered in this life of it, and its ways, are no longer.
    fn life_over(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        self.spread(gossip::Input::NodeDead { node, incarnation }, now, out);
        self.route(route::Input::NodeGone { node, incarnation }, now, out);
    }

    /// Says goodbye to members, takes back what was offered and announced, then closes every link.
    pub(super) fn leave(&mut self, reason: LeaveReason, now: Instant, out: &mut Vec<Effect>) {
        self.member(member::Input::Leave { reason }, now, out);
        self.spread(gossip::Input::Leave, now, out);
        self.route(route::Input::Leaving, now, out);
        self.dial(dial::Input::Stop, now, out);
        while let Some((&link, _)) = self.links.first_key_value() {
            self.close(link, CloseReason::Stopping, out);
        }
        while let Some((peer, _)) = self.peers.pop_first() {
            self.spread(gossip::Input::LinkDown { peer }, now, out);
            self.ways_unlinked(peer, now, out);
        }
        out.push(Effect::Left);
    }
}
