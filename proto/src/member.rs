//! What nodes of one cluster say about who is in it: SWIM packets, and goodbyes as records in them.
//!
//! ```text
//!   packet  = header [count u16, big-endian; records]
//!   header  = kind u8, refutation u16, source life, address, target life, body of the kind
//!   record  = condition u8, reason u8, refutation u16, life, address
//!   life    = node u128, incarnation u64        address = length u8, text
//! ```
//!
//! Numbers are little-endian but for the count, which `foca` writes. The bytes are laid by hand, not
//! archived: a packet is filled with records until it is full, so each is measured as it is put.
//!
//! A *refutation* is the number SWIM calls incarnation: a node raises it to say that it is alive after
//! all. It starts at zero in each life. An [`Incarnation`] names the life, and what is said of it ends
//! with it: a life that was declared down never comes back, its node does with a greater one.
//!
//! Two nodes that know each other leave out what their link tells: [`ShortPacket`].
//!
//! A goodbye is a record [`Condition::Left`]: first sent by the node itself, then relayed like
//! any other. Records of what is down carry no address.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::error::ErrorCode;
use crate::id::{Incarnation, NodeId};
use crate::limits::{MEMBER_PACKET_BYTES_MAX, PEER_ADDRESS_BYTES_MAX};
use crate::number::take;

mod short;

pub use short::ShortPacket;

/// Where a node listens for nodes, `host:port`. Brackets enclose an IPv6 address.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String")]
pub struct PeerAddress(String);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddressError {
    #[error("an address has at most {PEER_ADDRESS_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    #[error("an address is host:port, with an IPv6 host in brackets")]
    Shape,
    #[error("the port of an address is 1 to 65535")]
    Port,
}

impl PeerAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        if PEER_ADDRESS_BYTES_MAX < text.len() {
            return Err(PeerAddressError::Length(text.len()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(PeerAddressError::Shape)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_good = match bracketed {
            Some(inner) => {
                !inner.is_empty() && inner.chars().all(|c| is_host(c) || matches!(c, ':' | '%'))
            }
            None => !host.is_empty() && host.chars().all(is_host),
        };
        if !is_good || !port.chars().all(|c| c.is_ascii_digit()) {
            return Err(PeerAddressError::Shape);
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self(text.into())),
            Ok(0) | Err(_) => Err(PeerAddressError::Port),
        }
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = PeerAddressError;

    fn try_from(text: String) -> Result<Self, PeerAddressError> {
        text.parse()
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    pub node: NodeId,
    pub incarnation: Incarnation,
}

/// Why a node left. Reasons of later versions are carried as they came.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum LeaveReason {
    Shutdown,
    Maintenance,
    Rebalance,
    /// Taken out by an operator.
    Removed,
    Other(u8),
}

impl LeaveReason {
    pub const fn as_wire(self) -> u8 {
        match self {
            Self::Shutdown => 1,
            Self::Maintenance => 2,
            Self::Rebalance => 3,
            Self::Removed => 4,
            Self::Other(code) => code,
        }
    }

    pub const fn from_wire(code: u8) -> Self {
        match code {
            1 => Self::Shutdown,
            2 => Self::Maintenance,
            3 => Self::Rebalance,
            4 => Self::Removed,
            other => Self::Other(other),
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Maintenance => "maintenance",
            Self::Rebalance => "rebalance",
            Self::Removed => "removed",
            Self::Other(_) => "other",
        }
    }
}

/// How a life stands. `Down` and `Left` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Alive,
    Suspect,
    Down,
    Left(LeaveReason),
}

/// What somebody says about a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub life: Life,
    pub refutation: u16,
    pub condition: Condition,
    /// Present in `Alive` and `Suspect`, absent in `Down` and `Left`.
    pub address: Option<PeerAddress>,
}

/// What a packet asks or answers. `probe` is the asker's running number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    Ping {
        probe: u8,
    },
    Ack {
        probe: u8,
    },
    /// "Ping `suspect` for me."
    PingRequest {
        suspect: Life,
        probe: u8,
    },
    /// A ping on behalf of `asker`.
    IndirectPing {
        asker: Life,
        probe: u8,
    },
    IndirectAck {
        asker: Life,
        probe: u8,
    },
    /// "`suspect` answered my ping."
    ForwardedAck {
        suspect: Life,
        probe: u8,
    },
    /// "Tell me who is here."
    Announce,
    /// The answer: records of live members.
    Feed,
    /// Records only.
    Gossip,
    /// "We declared you down; come back with a greater incarnation."
    Undead,
}

/// What every packet opens with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub source: Life,
    pub refutation: u16,
    pub address: PeerAddress,
    pub target: Life,
    pub saying: Saying,
}

/// One packet, read into owned parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub header: Header,
    pub records: Vec<Record>,
}

impl Packet {
    pub fn put(&self, out: &mut Vec<u8>) {
        self.header.put(out);
        let count = u16::try_from(self.records.len()).expect("a packet has few records");
        out.extend_from_slice(&count.to_be_bytes());
        self.records.iter().for_each(|record| record.put(out));
    }

    /// Reads a whole packet. Announcements and answers to the dead end after the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        if MEMBER_PACKET_BYTES_MAX < bytes.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        let mut rest = bytes;
        let header = Header::take(&mut rest)?;
        let mut records = Vec::new();
        if !rest.is_empty() {
            for _ in 0..u16::from_be_bytes(take(&mut rest)?) {
                records.push(Record::take(&mut rest)?);
            }
        }
        if rest.is_empty() { Ok(Self { header, records }) } else { Err(ErrorCode::Malformed) }
    }
}

impl Header {
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, third, probe) = self.saying.parts();
        out.push(kind);
        out.extend_from_slice(&self.refutation.to_le_bytes());
        put_life(self.source, out);
        put_address(Some(&self.address), out);
        put_life(self.target, out);
        if let Some(life) = third {
            put_life(life, out);
        }
        if let Some(probe) = probe {
            out.push(probe);
        }
    }

    /// Reads a header and leaves `rest` behind it.
    pub fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let [kind] = take(rest)?;
        let refutation = u16::from_le_bytes(take(rest)?);
        let source = take_life(rest)?;
        let address = take_address(rest)?.ok_or(ErrorCode::Malformed)?;
        let target = take_life(rest)?;
        let saying = Saying::take(kind, rest)?;
        Ok(Self { source, refutation, address, target, saying })
    }
}

impl Saying {
    /// Its number, the third life it names, its probe.
    const fn parts(self) -> (u8, Option<Life>, Option<u8>) {
        match self {
            Self::Ping { probe } => (1, None, Some(probe)),
            Self::Ack { probe } => (2, None, Some(probe)),
            Self::PingRequest { suspect, probe } => (3, Some(suspect), Some(probe)),
            Self::IndirectPing { asker, probe } => (4, Some(asker), Some(probe)),
            Self::IndirectAck { asker, probe } => (5, Some(asker), Some(probe)),
            Self::ForwardedAck { suspect, probe } => (6, Some(suspect), Some(probe)),
            Self::Announce => (7, None, None),
            Self::Feed => (8, None, None),
            Self::Gossip => (9, None, None),
            Self::Undead => (10, None, None),
        }
    }

    fn take(kind: u8, rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let probe = |rest: &mut &[u8]| take(rest).map(|[probe]| probe);
        Ok(match kind {
            1 => Self::Ping { probe: probe(rest)? },
            2 => Self::Ack { probe: probe(rest)? },
            3 => Self::PingRequest { suspect: take_life(rest)?, probe: probe(rest)? },
            4 => Self::IndirectPing { asker: take_life(rest)?, probe: probe(rest)? },
            5 => Self::IndirectAck { asker: take_life(rest)?, probe: probe(rest)? },
            6 => Self::ForwardedAck { suspect: take_life(rest)?, probe: probe(rest)? },
            7 => Self::Announce,
            8 => Self::Feed,
            9 => Self::Gossip,
            10 => Self::Undead,
            _ => return Err(ErrorCode::UnknownKind),
        })
    }
}

impl Record {
    pub fn put(&self, out: &mut Vec<u8>) {
        let (condition, reason) = match self.condition {
            Condition::Alive => (1, 0),
            Condition::Suspect => (2, 0),
            Condition::Down => (3, 0),
            Condition::Left(reason) => (4, reason.as_wire()),
        };
        out.extend_from_slice(&[condition, reason]);
        out.extend_from_slice(&self.refutation.to_le_bytes());
        put_life(self.life, out);
        put_address(self.address.as_ref(), out);
    }

    /// Reads a record and leaves `rest` behind it.
    pub fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let condition = match take(rest)? {
            [1, 0] => Condition::Alive,
            [2, 0] => Condition::Suspect,
            [3, 0] => Condition::Down,
            [4, reason] => Condition::Left(LeaveReason::from_wire(reason)),
            _ => return Err(ErrorCode::Malformed),
        };
        let refutation = u16::from_le_bytes(take(rest)?);
        let life = take_life(rest)?;
        let address = take_address(rest)?;
        let is_live = matches!(condition, Condition::Alive | Condition::Suspect);
        if is_live != address.is_some() {
            return Err(ErrorCode::Malformed);
        }
        Ok(Self { life, refutation, condition, address })
    }
}

fn put_life(life: Life, out: &mut Vec<u8>) {
    out.extend_from_slice(&life.node.0.to_le_bytes());
    out.extend_from_slice(&life.incarnation.0.to_le_bytes());
}

fn put_address(address: Option<&PeerAddress>, out: &mut Vec<u8>) {
    let text = address.map_or("", PeerAddress::as_str);
    out.push(u8::try_from(text.len()).expect("an address was checked"));
    out.extend_from_slice(text.as_bytes());
}

fn take_life(rest: &mut &[u8]) -> Result<Life, ErrorCode> {
    let node = NodeId(u128::from_le_bytes(take(rest)?));
    let incarnation = Incarnation(u64::from_le_bytes(take(rest)?));
    Ok(Life { node, incarnation })
}

fn take_address(rest: &mut &[u8]) -> Result<Option<PeerAddress>, ErrorCode> {
    let [length] = take(rest)?;
    let (text, after) = rest.split_at_checked(usize::from(length)).ok_or(ErrorCode::Malformed)?;
    *rest = after;
    if text.is_empty() {
        return Ok(None);
    }
    let text = core::str::from_utf8(text).map_err(|_| ErrorCode::Malformed)?;
    text.parse().map(Some).map_err(|_| ErrorCode::Malformed)
}

#[cfg(test)]
mod tests;
