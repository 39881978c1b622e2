//! Joins `member` (who is alive) and `dial` (whom to be linked with): members are dialled, links tell
//! who is there.

use alloc::vec::Vec;

use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::LeaveReason;
use mpreg_proto::peer::Plane;

use super::{Control, Effect, Fact, LinkId, LinkUp, Peer, Record, Unwritten};
use crate::dial::{self, CloseReason, End, Gone};
use crate::member::{self, LinkEnd, Member, Why};
use crate::time::Instant;
use crate::want::Stale;

/// Links and ways changed, who wants what did not.
const NOT_STALE: Stale = Stale::Topics(Vec::new());

impl Control {
    pub(super) fn link_up(&mut self, up: LinkUp, now: Instant, out: &mut Vec<Effect>) {
        let LinkUp { link, peer: node, incarnation, origin, cluster } = up;
        self.links.insert(link, (node, cluster.id()));
        let mut effects = Vec::new();
        self.dialler.handle(
            dial::Input::LinkUp { link, node, incarnation, origin },
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
        let before = self.peers.insert(node, Peer { link, cluster, incarnation });
        out.push(Effect::Use { peer: node, link });
        self.publish(NOT_STALE, out);
        if before.is_none() {
            out.push(Effect::Fact(Fact::PeerUp { peer: node }));
        }
        // Said again when the choice changes: what was sent on a link that both ends then close is lost.
        if cluster == self.here.cluster {
            self.member(member::Input::LinkUp { node, incarnation }, now, out);
        }
    }

    fn lost(&mut self, node: NodeId, end: End, now: Instant, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.remove(&node) else { return };
        out.push(Effect::Fact(Fact::PeerDown { peer: node, end }));
        self.publish(NOT_STALE, out);
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
                member::Effect::Send { to, packet } => self.send(to, Plane::Member, packet, out),
                member::Effect::MemberUp { member, .. } => {
                    let Member { node, incarnation, address } = member.clone();
                    out.push(Effect::Fact(Fact::MemberUp(member)));
                    let input = dial::Input::MemberUp { node, incarnation, address };
                    self.dial(input, now, out);
                }
                member::Effect::MemberDown { node, incarnation, why } => {
                    out.push(Effect::Fact(Fact::MemberDown { node, incarnation, why }));
                    let how = match why {
                        Why::Failed => Gone::Failed,
                        Why::Left(_) => Gone::Left,
                    };
                    self.dial(dial::Input::MemberDown { node, incarnation, how }, now, out);
                }
                member::Effect::Renew { above } => {
                    let next = Incarnation(above.0 + 1);
                    self.persist(Record::Incarnation(next), Unwritten::Incarnation(next), out);
                }
                member::Effect::Left => (),
                member::Effect::Fact(fact) => out.push(Effect::Fact(Fact::Member(fact))),
            }
        }
    }

    /// Says goodbye to members, then closes every link.
    pub(super) fn leave(&mut self, reason: LeaveReason, now: Instant, out: &mut Vec<Effect>) {
        self.member(member::Input::Leave { reason }, now, out);
        self.dial(dial::Input::Stop, now, out);
        while let Some((&link, _)) = self.links.first_key_value() {
            self.close(link, CloseReason::Stopping, out);
        }
        self.peers.clear();
        self.publish(NOT_STALE, out);
        out.push(Effect::Left);
    }
}
