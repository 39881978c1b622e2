//! WebSocket frames (RFC 6455 §5): bytes from clients to payload, payload to bytes for clients.
//!
//! What the protocol reads is a stream, so where frames and messages begin and end is checked and not
//! kept: payload is handed on as it comes, text or binary, and a frame's length costs nothing.
//!
//! Invariants:
//! - Any bytes are taken; how they are cut does not show. Nothing follows a violation.
//! - Only the head of one frame and the payload of one control frame are kept: 14 and 125 bytes.
//! - Control frames do not disturb the message they come amid.

use crate::limits::{WEBSOCKET_FRAME_BYTES_MAX, WEBSOCKET_SENT_FRAME_BYTES_MAX};

/// Two bytes, a length of eight, a mask of four.
const HEAD_BYTES_LONGEST: usize = 14;

/// What fits a length of seven bits; longer lengths have a field of their own.
const CONTROL_BYTES_LONGEST: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// First bytes of the frames a server sends, each a message of its own.
const BINARY: u8 = FINAL | 2;
const CLOSE: u8 = FINAL | 8;
const PONG: u8 = FINAL | 10;

/// What no client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("reserved bits are set")]
    ReservedBits,
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    #[error("payload is not masked")]
    NotMasked,
    #[error("control frame is fragmented or too long")]
    BadControl,
    #[error("new message inside another")]
    MessageNotOver,
    #[error("continuation of no message")]
    NothingToContinue,
    #[error("length is not written in its shortest form")]
    NotShortest,
    #[error("length has its top bit set")]
    TopBit,
    #[error("payload of {payload_bytes} bytes")]
    TooLong { payload_bytes: u64 },
    #[error("close frame with a code or a reason that cannot be sent")]
    BadClose,
}

impl Violation {
    /// What the close frame that answers it says.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLong { .. } => 1009,
            Self::ReservedBits
            | Self::UnknownOpcode(_)
            | Self::NotMasked
            | Self::BadControl
            | Self::MessageNotOver
            | Self::NothingToContinue
            | Self::NotShortest
            | Self::TopBit
            | Self::BadClose => 1002,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    Close,
    Ping,
    Pong,
}

/// A whole control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    pub kind: ControlKind,
    /// At most 125 bytes.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Data,
    Control(ControlKind),
}

/// The frame whose payload is coming.
#[derive(Debug)]
struct Payload {
    kind: Kind,
    bytes_left: u64,
    /// Its first byte is for the next byte of payload.
    mask: [u8; 4],
}

/// Reads frames, however they are cut.
#[derive(Debug)]
pub struct Decoder {
    head: [u8; HEAD_BYTES_LONGEST],
    head_bytes: usize,
    payload: Option<Payload>,
    /// A message has begun and its last frame has not.
    is_in_message: bool,
    control: [u8; CONTROL_BYTES_LONGEST],
    control_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            head: [0; HEAD_BYTES_LONGEST],
            head_bytes: 0,
            payload: None,
            is_in_message: false,
            control: [0; CONTROL_BYTES_LONGEST],
            control_bytes: 0,
        }
    }
}

impl Decoder {
    /// Takes from the front of `bytes`, appending payload to `plain`, until a control frame is whole
    /// or nothing is left (`None`).
    pub fn take(
        &mut self,
        bytes: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Option<Control<'_>>, Violation> {
        loop {
            if self.payload.is_none() && !self.take_head(bytes)? {
                return Ok(None);
            }
            if let Some(kind) = self.take_payload(bytes, plain) {
                let payload = &self.control[..self.control_bytes];
                return Ok(Some(Control { kind, payload }));
            }
            if self.payload.is_some() {
                return Ok(None);
            }
        }
    }

    /// Whether a head is whole and its payload may come.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            let need = head_bytes_needed(&self.head[..self.head_bytes]);
            if need == self.head_bytes {
                break;
            }
            let (some, rest) = bytes.split_at(bytes.len().min(need - self.head_bytes));
            self.head[self.head_bytes..self.head_bytes + some.len()].copy_from_slice(some);
            self.head_bytes += some.len();
            *bytes = rest;
            if self.head_bytes < need {
                return Ok(false);
            }
            if need == 2 {
                self.check_start()?;
            }
        }
        let kind = self.kind(self.head[0] & OPCODE)?;
        let (extended, mask) = self.head[2..self.head_bytes].split_at(self.head_bytes - 6);
        let bytes_left = payload_bytes(self.head[1] & LENGTH, extended)?;
        let mask = mask.try_into().expect("a head ends in its mask of four bytes");
        if matches!(kind, Kind::Data) {
            self.is_in_message = self.head[0] & FINAL == 0;
        }
        self.payload = Some(Payload { kind, bytes_left, mask });
        self.head_bytes = 0;
        self.control_bytes = 0;
        Ok(true)
    }

    /// What the first two bytes show.
    fn check_start(&self) -> Result<(), Violation> {
        let [first, second, ..] = self.head;
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = first & OPCODE;
        let kind = self.kind(opcode)?;
        if second & MASKED == 0 {
            return Err(Violation::NotMasked);
        }
        match kind {
            Kind::Control(_) => {
                let is_short = usize::from(second & LENGTH) <= CONTROL_BYTES_LONGEST;
                if first & FINAL != 0 && is_short { Ok(()) } else { Err(Violation::BadControl) }
            }
            Kind::Data if opcode == 0 && !self.is_in_message => Err(Violation::NothingToContinue),
            Kind::Data if opcode != 0 && self.is_in_message => Err(Violation::MessageNotOver),
            Kind::Data => Ok(()),
        }
    }

    fn kind(&self, opcode: u8) -> Result<Kind, Violation> {
        match opcode {
            0..=2 => Ok(Kind::Data),
            8 => Ok(Kind::Control(ControlKind::Close)),
            9 => Ok(Kind::Control(ControlKind::Ping)),
            10 => Ok(Kind::Control(ControlKind::Pong)),
            _ => Err(Violation::UnknownOpcode(opcode)),
        }
    }

    /// Takes what there is of a payload. Says which control frame that completed, if any.
    fn take_payload(&mut self, bytes: &mut &[u8], plain: &mut Vec<u8>) -> Option<ControlKind> {
        let Some(payload) = &mut self.payload else { return None };
        let count = usize::try_from(payload.bytes_left).unwrap_or(usize::MAX).min(bytes.len());
        let (some, rest) = bytes.split_at(count);
        *bytes = rest;
        let into = match payload.kind {
            Kind::Data => {
                let from = plain.len();
                plain.extend_from_slice(some);
                &mut plain[from..]
            }
            Kind::Control(_) => {
                let into = &mut self.control[self.control_bytes..self.control_bytes + count];
                into.copy_from_slice(some);
                self.control_bytes += count;
                into
            }
        };
        unmask(into, payload.mask);
        payload.mask.rotate_left(count % 4);
        payload.bytes_left -= count as u64;
        if payload.bytes_left != 0 {
            return None;
        }
        match self.payload.take()?.kind {
            Kind::Data => None,
            Kind::Control(kind) => Some(kind),
        }
    }
}

/// Bytes of a head that begins like this: two until the length is known.
fn head_bytes_needed(known: &[u8]) -> usize {
    match known {
        [_, second, ..] => match second & LENGTH {
            126 => 8,
            127 => HEAD_BYTES_LONGEST,
            _ => 6,
        },
        _ => 2,
    }
}

fn payload_bytes(short: u8, extended: &[u8]) -> Result<u64, Violation> {
    if extended.is_empty() {
        return Ok(u64::from(short));
    }
    let payload_bytes = extended.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let shortest = if extended.len() == 2 { 126 } else { 1 << 16 };
    if payload_bytes < shortest {
        return Err(Violation::NotShortest);
    }
    if 1 << 63 <= payload_bytes {
        return Err(Violation::TopBit);
    }
    if WEBSOCKET_FRAME_BYTES_MAX < payload_bytes {
        return Err(Violation::TooLong { payload_bytes });
    }
    Ok(payload_bytes)
}

/// Eight bytes at a time, which compilers turn into as many as the processor has.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends pieces of a stream as binary frames, each as long as it may be.
pub fn put_data(pieces: &[&[u8]], wire: &mut Vec<u8>) {
    let mut bytes_left: usize = pieces.iter().map(|piece| piece.len()).sum();
    wire.reserve(sealed_bytes_max(bytes_left));
    let mut room = 0;
    for &piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            if room == 0 {
                room = bytes_left.min(WEBSOCKET_SENT_FRAME_BYTES_MAX);
                put_head(BINARY, room, wire);
            }
            let (some, after) = rest.split_at(room.min(rest.len()));
            wire.extend_from_slice(some);
            room -= some.len();
            bytes_left -= some.len();
            rest = after;
        }
    }
}

/// Bytes of [`put_data`] for this much payload, at most.
pub fn sealed_bytes_max(payload_bytes: usize) -> usize {
    payload_bytes + 4 * payload_bytes.div_ceil(WEBSOCKET_SENT_FRAME_BYTES_MAX)
}

/// Appends the answer to a ping.
pub fn put_pong(payload: &[u8], wire: &mut Vec<u8>) {
    put_head(PONG, payload.len(), wire);
    wire.extend_from_slice(payload);
}

/// Appends a goodbye; without a code if the peer's had none.
pub fn put_close(code: Option<u16>, wire: &mut Vec<u8>) {
    put_head(CLOSE, if code.is_some() { 2 } else { 0 }, wire);
    wire.extend(code.into_iter().flat_map(u16::to_be_bytes));
}

fn put_head(first: u8, payload_bytes: usize, wire: &mut Vec<u8>) {
    match u8::try_from(payload_bytes) {
        Ok(short) if usize::from(short) <= CONTROL_BYTES_LONGEST => wire.extend([first, short]),
        _ => {
            let length = u16::try_from(payload_bytes).expect("frames are cut to 16 bits of length");
            wire.extend([first, 126]);
            wire.extend(length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
