//! A packet: whether it may be read, what `foca` sees of it, what it leads to.

use alloc::vec::Vec;

use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::{Condition, Header, LeaveReason, Life, Packet, Record, Saying};

use super::{Effect, Fact, Membership, Rejection};
use crate::limits::MEMBERS_MAX;
use crate::time::Instant;

impl Membership {
    pub(super) fn received(
        &mut self,
        from: NodeId,
        bytes: Vec<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let reject = |why| Effect::Fact(Fact::Rejected { from, why });
        let mut packet = match Packet::parse(&bytes) {
            Ok(packet) => packet,
            Err(code) => return out.push(reject(Rejection::Malformed(code))),
        };
        let Header { source, refutation, .. } = packet.header;
        if source.node != from || from == self.life.node {
            return out.push(reject(Rejection::Impostor));
        }
        if self.roster.live_incarnation(from).is_none() && MEMBERS_MAX <= self.roster.live() {
            return out.push(reject(Rejection::Full));
        }
        // Answers of the suspects were not heard either: their time starts anew.
        if self.timing.suspicion / 2 <= now.since(self.health.heard_at()) {
            self.roster.acquit(now, self.timing.suspicion * self.health.stretch());
        }
        let bytes = self.sieve(&mut packet, bytes, out);
        if self.health.heard(source, packet.header.saying, now) {
            self.clock.answered();
        }
        let is_accused = packet.records.iter().any(|record| {
            record.life == self.life
                && record.condition == Condition::Suspect
                && self.refutation <= record.refutation
        });
        self.is_changed |= !packet.records.is_empty() || self.roster.is_news(source, refutation);
        if self.call(now, out, |swim, outbox| swim.handle_data(&bytes, outbox)).is_err() {
            out.push(reject(Rejection::Nonsense));
        }
        let goodbyes: Vec<(Life, LeaveReason)> =
            packet.records.iter().filter_map(goodbye).collect();
        self.settle(self.health.stretch(), &goodbyes, now, out);
        if is_accused {
            self.health.worsen();
            self.note_sent();
            self.push(source, Saying::Gossip, Vec::new());
            out.push(Effect::Fact(Fact::SelfRefuted { told_by: from }));
        }
    }

    /// The packet for `foca`: without answers to our watch, whose numbers mean nothing to it, and without
    /// records about other lives of ours or of one member too many.
    fn sieve(&mut self, packet: &mut Packet, bytes: Vec<u8>, out: &mut Vec<Effect>) -> Vec<u8> {
        let Header { source, saying, .. } = packet.header;
        let is_ours = self.watch.heard(source, saying) && !self.health.awaits(source, saying);
        if is_ours {
            packet.header.saying = Saying::Gossip;
        }
        let said = packet.records.len();
        self.sieve_records(source.node, &mut packet.records, out);
        if packet.records.len() == said && !is_ours {
            return bytes;
        }
        let mut sieved = Vec::with_capacity(bytes.len());
        packet.put(&mut sieved);
        sieved
    }

    fn sieve_records(&mut self, from: NodeId, records: &mut Vec<Record>, out: &mut Vec<Effect>) {
        let reject = |why| Effect::Fact(Fact::Rejected { from, why });
        let mut room = MEMBERS_MAX.saturating_sub(self.roster.live());
        let mut outgrown = None;
        records.retain(|record| {
            if record.life.node == self.life.node {
                if self.life.incarnation < record.life.incarnation {
                    outgrown = outgrown.max(Some(record.life.incarnation));
                }
                return record.life == self.life;
            }
            let is_live = matches!(record.condition, Condition::Alive | Condition::Suspect);
            if !is_live || self.roster.live_incarnation(record.life.node).is_some() {
                return true;
            }
            let has_room = 0 < room;
            room = room.saturating_sub(1);
            if !has_room {
                out.push(reject(Rejection::Full));
            }
            has_room
        });
        match outgrown {
            Some(Incarnation(u64::MAX)) => out.push(reject(Rejection::LastIncarnation)),
            Some(above) => self.renew(above, out),
            None => {}
        }
    }
}

fn goodbye(record: &Record) -> Option<(Life, LeaveReason)> {
    match record.condition {
        Condition::Left(reason) => Some((record.life, reason)),
        Condition::Alive | Condition::Suspect | Condition::Down => None,
    }
}
