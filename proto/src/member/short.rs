//! Packets between two nodes that know each other: what the link tells is left out.
//!
//! ```text
//!   packet = kind u8 with its highest bit set, refutation, source incarnation, target incarnation,
//!            body of the kind [count u16, big-endian; records]         numbers as in LEB128
//! ```
//!
//! The source is whom the link is with, the target is who reads it, and the address was said before.

use alloc::vec::Vec;

use super::{Header, Life, Packet, PeerAddress, Record, Saying, put_life, take};
use crate::error::ErrorCode;
use crate::id::{Incarnation, NodeId};
use crate::limits::MEMBER_PACKET_BYTES_MAX;
use crate::number::{put_number, take_number};

/// A packet without what the link tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortPacket {
    pub refutation: u16,
    pub source: Incarnation,
    pub target: Incarnation,
    pub saying: Saying,
    pub records: Vec<Record>,
}

const SHORT: u8 = 0x80;

impl ShortPacket {
    /// `None` for packets that are told to those who do not know the source.
    pub fn of(packet: &Packet) -> Option<Self> {
        let Header { source, refutation, target, saying, .. } = packet.header;
        match saying {
            Saying::Announce | Saying::Feed | Saying::Undead => None,
            Saying::Ping { .. }
            | Saying::Ack { .. }
            | Saying::PingRequest { .. }
            | Saying::IndirectPing { .. }
            | Saying::IndirectAck { .. }
            | Saying::ForwardedAck { .. }
            | Saying::Gossip => Some(Self {
                refutation,
                source: source.incarnation,
                target: target.incarnation,
                saying,
                records: packet.records.clone(),
            }),
        }
    }

    /// Whether these bytes begin one.
    pub fn is_it(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|kind| kind & SHORT != 0)
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, third, probe) = self.saying.parts();
        out.push(kind | SHORT);
        put_number(self.refutation.into(), out);
        put_number(self.source.0, out);
        put_number(self.target.0, out);
        if let Some(life) = third {
            put_life(life, out);
        }
        out.extend(probe);
        if !self.records.is_empty() {
            let count = u16::try_from(self.records.len()).expect("a packet has few records");
            out.extend_from_slice(&count.to_be_bytes());
            self.records.iter().for_each(|record| record.put(out));
        }
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        if MEMBER_PACKET_BYTES_MAX < bytes.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        let mut rest = bytes;
        let [kind] = take(&mut rest)?;
        if kind & SHORT == 0 {
            return Err(ErrorCode::UnknownKind);
        }
        let refutation = take_number(&mut rest)?;
        let refutation = refutation.try_into().map_err(|_| ErrorCode::Malformed)?;
        let source = Incarnation(take_number(&mut rest)?);
        let target = Incarnation(take_number(&mut rest)?);
        let saying = Saying::take(kind & !SHORT, &mut rest)?;
        let mut records = Vec::new();
        if !rest.is_empty() {
            for _ in 0..u16::from_be_bytes(take(&mut rest)?) {
                records.push(Record::take(&mut rest)?);
            }
        }
        let short = Self { refutation, source, target, saying, records };
        if rest.is_empty() { Ok(short) } else { Err(ErrorCode::Malformed) }
    }

    /// As it would have been said to somebody who knows nothing.
    pub fn whole(self, from: NodeId, address: PeerAddress, to: NodeId) -> Packet {
        let Self { refutation, source, target, saying, records } = self;
        let life = |node, incarnation| Life { node, incarnation };
        let (source, target) = (life(from, source), life(to, target));
        Packet { header: Header { source, refutation, address, target, saying }, records }
    }
}
