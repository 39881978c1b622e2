//! Batch: frames built once and patched for every message, shared by all publishers of a thread.
//!
//! One batch for all keeps what is written to within the L2 cache however many publishers there
//! are; what a socket does not take at once is copied to that link's outbox.

use crate::brief::{Brief, Exchange, REPLY_DIGITS};
use crate::bytes;
use crate::framing::Mold;
use crate::payload::{HEADER_BYTES, Stamp};

/// Bytes of a batch, unless one frame is longer.
const BATCH_BYTES: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    mold: Mold,
    /// The topic each slot is named for.
    topics: Vec<u32>,
}

/// One message's place in a batch.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) stamp: Stamp,
    pub(super) topic: u32,
    /// The publisher's count of messages before this one.
    pub(super) number: u64,
}

impl Batch {
    pub(super) fn new(brief: &Brief) -> Self {
        let mut mold = brief.mold.clone();
        let payload = mold.payload.clone();
        debug_assert!(HEADER_BYTES <= payload.len());
        let stamp = Stamp { stream: 0, sequence: 0, due_ns: 0 };
        brief.codec.write_whole(stamp, &mut mold.frame[payload]);
        let slots = (BATCH_BYTES / mold.frame.len()).max(1);
        Self { bytes: mold.frame.repeat(slots), mold, topics: vec![u32::MAX; slots] }
    }

    pub(super) fn slots(&self) -> usize {
        self.topics.len()
    }

    /// Makes the frame in `slot` the given message. `inbox` is its publisher's.
    // A call would pass the message through memory, and wait for it there: 2 ns of 7.
    #[inline(always)]
    pub(super) fn cast(&mut self, slot: usize, message: &Message, inbox: &str, brief: &Brief) {
        let frame_bytes = self.mold.frame.len();
        let frame = &mut self.bytes[slot * frame_bytes..(slot + 1) * frame_bytes];
        if self.topics[slot] != message.topic {
            self.topics[slot] = message.topic;
            rename(&mut frame[self.mold.topic.clone()], brief.wiring.name(message.topic));
        }
        if let Exchange::RoundTrip { .. } = brief.exchange {
            let reply = &mut frame[self.mold.reply.clone()];
            reply[..inbox.len()].copy_from_slice(inbox.as_bytes());
            reply[inbox.len()..].copy_from_slice(&digits(message.number as u32));
        }
        brief.codec.write(message.stamp, &mut frame[self.mold.payload.clone()]);
    }

    /// The frames of the first `slots` slots.
    pub(super) fn frames(&self, slots: usize) -> &[u8] {
        &self.bytes[..slots * self.mold.frame.len()]
    }
}

/// Copies a topic's name. Most are told apart by a few digits at the end, for which the last eight
/// bytes in one store are enough if the rest is the same.
#[inline]
fn rename(topic: &mut [u8], name: &[u8]) {
    match (topic.split_last_chunk_mut::<8>(), name.split_last_chunk::<8>()) {
        (Some((front, end)), Some((name_front, name_end))) => {
            *end = *name_end;
            if !bytes::equal(front, name_front) {
                front.copy_from_slice(name_front);
            }
        }
        _ => topic.copy_from_slice(name),
    }
}

/// What tells the replies of one inbox apart: the low half of the message's number.
pub(super) fn digits(number: u32) -> [u8; REPLY_DIGITS] {
    std::array::from_fn(|at| {
        let nibble = number >> (4 * (REPLY_DIGITS - 1 - at)) & 0xf;
        b"0123456789abcdef"[nibble as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_any_name_after_any_other() {
        for names in [["load.T.00", "load.T.71"], ["load.T.00.1", "load.T.11.2"], ["a.1", "b.2"]] {
            let mut topic = vec![0; names[0].len()];
            for name in [names[0], names[1], names[0]] {
                rename(&mut topic, name.as_bytes());
                assert_eq!(topic, name.as_bytes());
            }
        }
    }

    #[test]
    fn digits_are_hexadecimal_of_fixed_length() {
        assert_eq!(&digits(0), b"00000000");
        assert_eq!(&digits(0x12ab_9def), b"12ab9def");
    }
}
