//! A packet: whether it may be read, what `foca` sees of it, what it leads to.

use alloc::vec::Vec;

use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::{
    Condition, Header, LeaveReason, Life, Packet, Record, Saying, ShortPacket,
};

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
        let (mut packet, bytes) = match self.read(from, bytes, now, out) {
            Ok(read) => read,
            Err(why) => return out.push(reject(why)),
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
        self.set_right(&packet);
        let bytes = self.sieve(&mut packet, bytes, out);
        self.acquaint(&packet.header);
        if self.health.heard(source, packet.header.saying, now) {
            self.clock.answered();
        }
        let is_accused = packet.records.iter().any(|record| {
            record.life == self.life
                && record.condition == Condition::Suspect
                && self.refutation <= record.refutation
        });
        self.is_changed |= !packet.records.is_empty() || self.roster.is_news(source, refutation);
        let sent = self.packets.len();
        if self.call(now, out, |swim, outbox| swim.handle_data(&bytes, outbox)).is_err() {
            out.push(reject(Rejection::Nonsense));
        }
        if packet.header.saying == Saying::Undead {
            self.leave_unanswered(sent);
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

    /// Two that take each other for dead would say so, and be told the same, as fast as packets go:
    /// until one has a new life, which takes its disk. Who lives again hears of it soon enough.
    fn leave_unanswered(&mut self, sent: usize) {
        let is_undead = |bytes: &[u8]| {
            let header = Header::take(&mut &bytes[..]).expect("we wrote it");
            header.saying == Saying::Undead
        };
        let answers = self.packets.split_off(sent);
        self.packets.extend(answers.into_iter().filter(|(_, bytes)| !is_undead(bytes)));
    }

    /// A packet, and its bytes as `foca` reads them. A stranger is asked who it is.
    fn read(
        &mut self,
        from: NodeId,
        bytes: Vec<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(Packet, Vec<u8>), Rejection> {
        if !ShortPacket::is_it(&bytes) {
            let packet = Packet::parse(&bytes).map_err(Rejection::Malformed)?;
            return Ok((packet, bytes));
        }
        let short = ShortPacket::parse(&bytes).map_err(Rejection::Malformed)?;
        let source = Life { node: from, incarnation: short.source };
        // Who is told that its life is over needs no address, but a packet has one.
        let over = || self.roster.is_over(source).then(|| self.address.clone());
        let Some(address) = self.roster.address(source).or_else(over) else {
            if from != self.life.node {
                self.announce(source, now, out);
            }
            return Err(Rejection::Stranger);
        };
        let packet = short.whole(from, address, self.life.node);
        let mut bytes = Vec::new();
        packet.put(&mut bytes);
        Ok((packet, bytes))
    }

    /// Who answers a ping knows the life that asked.
    fn acquaint(&mut self, header: &Header) {
        let Header { source, target, saying, .. } = *header;
        let is_linked = self.links.contains_key(&source.node);
        if is_linked && target == self.life && matches!(saying, Saying::Ack { .. }) {
            self.acquainted.retain(|life| life.node != source.node || *life == source);
            self.acquainted.insert(source);
        }
    }

    /// Who takes a life for live that is over, or asks for it, was not there when that was said, and finds
    /// out for itself only when its turn comes to be probed.
    fn set_right(&mut self, packet: &Packet) {
        let is_live =
            |record: &&Record| matches!(record.condition, Condition::Alive | Condition::Suspect);
        let suspect = match packet.header.saying {
            Saying::PingRequest { suspect, .. } => Some(suspect),
            Saying::Ping { .. } | Saying::Ack { .. } | Saying::IndirectPing { .. } => None,
            Saying::IndirectAck { .. } | Saying::ForwardedAck { .. } => None,
            Saying::Announce | Saying::Feed | Saying::Gossip | Saying::Undead => None,
        };
        let said = packet.records.iter().filter(is_live).map(|record| record.life);
        let over = said.chain(suspect).filter_map(|life| self.roster.obituary(life));
        let over: Vec<Record> = over.collect();
        if !over.is_empty() {
            self.push(packet.header.source, Saying::Gossip, over);
        }
    }

    /// The packet for `foca`: without answers to our watch, whose numbers mean nothing to it, and without
    /// records about other lives of ours or of one member too many. A goodbye is for this life, whichever
    /// its sender knew of.
    fn sieve(&mut self, packet: &mut Packet, bytes: Vec<u8>, out: &mut Vec<Effect>) -> Vec<u8> {
        let Header { source, saying, .. } = packet.header;
        let is_ours = self.watch.heard(source, saying) && !self.health.awaits(source, saying);
        if is_ours {
            packet.header.saying = Saying::Gossip;
        }
        let said = packet.records.len();
        self.sieve_records(source.node, &mut packet.records, out);
        let is_goodbye = packet.records.iter().filter_map(goodbye).any(|(life, _)| life == source);
        let is_for_another = packet.header.target != self.life;
        if packet.records.len() == said && !is_ours && !(is_goodbye && is_for_another) {
            return bytes;
        }
        if is_goodbye {
            packet.header.target = self.life;
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
            if self.roster.is_outlived(record.life) {
                out.push(reject(Rejection::Outlived));
                return false;
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
