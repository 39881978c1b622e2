//! The envelope: the sixteen bytes in front of every message, read in place.
//!
//! An archived, fixed-size struct of plain integers at the front of the data frame, so checked
//! access is a length check and every field is at a known offset. Topic, reply topic, header block and
//! payload follow it. A local hop forwards these bytes as they came; what only other nodes need
//! (message id, path, hop budget) travels on node links alone and is absent here.

use rkyv::rancor::Failure;
use rkyv::{Archive, Serialize};

use crate::error::ErrorCode;
use crate::limits::{ENVELOPE_BYTES, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};

/// The first [`ENVELOPE_BYTES`] of a data frame. The first five bytes are those of every frame.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes of the whole frame, these included.
    pub frame_bytes: u32,
    /// [`crate::frame::Kind::Data`].
    pub kind: u8,
    /// [`Priority`].
    pub priority: u8,
    /// [`Encoding`].
    pub encoding: u8,
    /// Kept at zero.
    pub reserved: u8,
    /// Bytes of the topic, which follows the envelope. At least one.
    pub topic_bytes: u8,
    /// Bytes of the reply topic, which follows the topic. None if zero.
    pub reply_bytes: u8,
    /// Bytes of the header block, which follows the reply topic. None if zero.
    pub headers_bytes: u16,
    /// Milliseconds this message is still worth having, from its receipt. Zero: no deadline.
    pub deadline_ms: u32,
}

const _: () = assert!(size_of::<ArchivedEnvelope>() == ENVELOPE_BYTES, "the wire format");

/// Which messages overtake which in a connection's outbound queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    Critical = 0,
    High = 1,
    #[default]
    Normal = 2,
    Low = 3,
    Bulk = 4,
}

/// What the publisher says its payload is. The router never looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Encoding {
    #[default]
    Bytes = 0,
    Text = 1,
    Json = 2,
    MessagePack = 3,
}

impl Priority {
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Normal, Self::Low, Self::Bulk];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl Encoding {
    pub const ALL: [Self; 4] = [Self::Bytes, Self::Text, Self::Json, Self::MessagePack];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl ArchivedEnvelope {
    /// Bytes of the frame before its payload.
    #[inline]
    pub fn fixed_bytes(&self) -> usize {
        let names = usize::from(self.topic_bytes) + usize::from(self.reply_bytes);
        ENVELOPE_BYTES + names + usize::from(self.headers_bytes.to_native())
    }

    /// The envelope at the front of `bytes`, if there are enough of them.
    #[inline]
    pub fn access(bytes: &[u8]) -> Option<&Self> {
        rkyv::api::low::access::<Self, Failure>(bytes.get(..ENVELOPE_BYTES)?).ok()
    }

    /// Checks everything that does not need the rest of the frame.
    #[inline]
    pub fn check(&self) -> Result<(), ErrorCode> {
        if self.reserved != 0 {
            return Err(ErrorCode::ReservedBits);
        }
        let fixed = self.fixed_bytes();
        let frame_bytes = self.frame_bytes.to_native() as usize;
        let in_sets = usize::from(self.priority) < Priority::ALL.len()
            && usize::from(self.encoding) < Encoding::ALL.len();
        if self.topic_bytes == 0 || frame_bytes < fixed || !in_sets {
            return Err(ErrorCode::Malformed);
        }
        if PAYLOAD_BYTES_MAX < frame_bytes - fixed {
            return Err(ErrorCode::FrameTooLarge);
        }
        Ok(())
    }
}

impl Envelope {
    /// The wire form.
    pub fn to_bytes(&self) -> [u8; ENVELOPE_BYTES] {
        let mut bytes = [0; ENVELOPE_BYTES];
        rkyv::api::serialize_using::<_, Failure>(
            self,
            &mut rkyv::ser::writer::Buffer::from(&mut bytes),
        )
        .expect("the buffer is as long as the archived envelope");
        bytes
    }
}

const _: () = assert!(TOPIC_BYTES_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;

    const SAMPLE: Envelope = Envelope {
        frame_bytes: 0x0403_0201,
        kind: Kind::Data as u8,
        priority: Priority::Low as u8,
        encoding: Encoding::Json as u8,
        reserved: 0,
        topic_bytes: 0x11,
        reply_bytes: 0x12,
        headers_bytes: 0x1413,
        deadline_ms: 0x1817_1615,
    };

    #[test]
    fn layout_is_the_one_in_wire_md() {
        let want = [1, 2, 3, 4, 1, 3, 2, 0, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
        assert_eq!(SAMPLE.to_bytes(), want);
    }

    #[test]
    fn access_needs_sixteen_bytes_at_any_alignment() {
        let mut bytes = [0; ENVELOPE_BYTES + 8];
        for shift in 0..8 {
            bytes[shift..shift + ENVELOPE_BYTES].copy_from_slice(&SAMPLE.to_bytes());
            let seen = ArchivedEnvelope::access(&bytes[shift..]).unwrap();
            assert_eq!(seen.deadline_ms.to_native(), SAMPLE.deadline_ms);
            assert_eq!(seen.reply_bytes, SAMPLE.reply_bytes);
            assert!(ArchivedEnvelope::access(&bytes[..ENVELOPE_BYTES - 1]).is_none());
        }
    }
}
