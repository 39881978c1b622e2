//! The payload: which message it is, when it was due, and filler that shows damage.
//!
//! ```text
//!   0        4          8                      14      16
//!   | stream | sequence | due time, ns, 48 bit | check | blocks of at most 1,024 bytes ...
//!                                                        each: filler, then a seal of 8 bytes
//! ```
//!
//! Sixteen bytes are enough for a message that can be verified, so that is the smallest payload.
//! The check covers all that is in front of it. The filler is the same in every message of a run,
//! so a frame is built once and only patched; the seals are the message's own, so a block that
//! belongs to another message shows.
//!
//! Invariants:
//! - `read` returns what `write` was given, or nothing: any single flipped bit is nothing.
//! - Neither allocates.

use crate::bytes;

/// Bytes of the fixed part, and so of the smallest payload.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes between seals. A router's receive buffers are larger, so damage from one of them used
/// twice covers a seal.
const BLOCK_BYTES: usize = 1024;

const SEAL_BYTES: usize = 8;

/// Due times are kept modulo this: 78 hours.
const DUE_BITS: u32 = 48;

/// Odd, so that multiplying by them loses nothing, and without long runs of equal bits, so that a
/// flip of any one bit reaches the top sixteen.
const MESSAGE_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const DUE_FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// What one message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Index of a (publisher, topic) pair of this run.
    pub stream: u32,
    /// Count of messages of this stream before this one, modulo 2^32.
    pub sequence: u32,
    /// When it was meant to be sent, in nanoseconds since the run began.
    pub due_ns: u64,
}

/// Writes and reads the payloads of one run.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    /// Drawn for the run: messages of any other run do not pass.
    key: u64,
    filler: Vec<u8>,
}

impl Codec {
    /// For payloads of `payload_bytes`, at least [`HEADER_BYTES`].
    pub(crate) fn new(key: u64, payload_bytes: usize) -> Self {
        assert!(HEADER_BYTES <= payload_bytes, "the plan has checked the payload");
        let mut state = key | 1;
        let filler = (HEADER_BYTES..payload_bytes)
            .map(|_| {
                state = state.wrapping_mul(MESSAGE_FACTOR).wrapping_add(DUE_FACTOR);
                (state >> 56) as u8
            })
            .collect();
        Self { key, filler }
    }

    /// Writes header and filler: the form frames are built with once.
    pub(crate) fn write_whole(&self, stamp: Stamp, payload: &mut [u8]) {
        payload[HEADER_BYTES..].copy_from_slice(&self.filler);
        self.write(stamp, payload);
    }

    /// Makes a payload that already holds the filler carry `stamp`.
    #[inline]
    pub(crate) fn write(&self, stamp: Stamp, payload: &mut [u8]) {
        let word = u64::from(stamp.stream) | u64::from(stamp.sequence) << 32;
        let mixed = self.mix(word);
        let due_ns = stamp.due_ns & ((1 << DUE_BITS) - 1);
        let timed = due_ns | u64::from(check(mixed, due_ns)) << DUE_BITS;
        payload[..8].copy_from_slice(&word.to_le_bytes());
        payload[8..HEADER_BYTES].copy_from_slice(&timed.to_le_bytes());
        let seal = mixed.to_le_bytes();
        for block in payload[HEADER_BYTES..].chunks_mut(BLOCK_BYTES) {
            match block.last_chunk_mut::<SEAL_BYTES>() {
                Some(end) => *end = seal,
                None => block.copy_from_slice(&seal[..block.len()]),
            }
        }
    }

    /// The stamp, if every byte is as it was written.
    // A call would return the stamp through memory.
    #[inline(always)]
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let (word, rest) = payload.split_first_chunk::<8>()?;
        let (timed, tail) = rest.split_first_chunk::<8>()?;
        let word = u64::from_le_bytes(*word);
        let timed = u64::from_le_bytes(*timed);
        let mixed = self.mix(word);
        let due_ns = timed & ((1 << DUE_BITS) - 1);
        let seal = mixed.to_le_bytes();
        let is_intact = (timed >> DUE_BITS) as u16 == check(mixed, due_ns)
            && tail.len() == self.filler.len()
            && if tail.len() <= BLOCK_BYTES {
                is_block_intact(tail, &self.filler, seal)
            } else {
                let mut blocks = tail.chunks(BLOCK_BYTES).zip(self.filler.chunks(BLOCK_BYTES));
                blocks.all(|(block, filler)| is_block_intact(block, filler, seal))
            };
        is_intact.then_some(Stamp { stream: word as u32, sequence: (word >> 32) as u32, due_ns })
    }

    /// A bijection: two messages of a run never have the same seal.
    #[inline]
    fn mix(&self, word: u64) -> u64 {
        let product = (word ^ self.key).wrapping_mul(MESSAGE_FACTOR);
        product ^ product >> 32
    }
}

#[inline]
fn check(mixed: u64, due_ns: u64) -> u16 {
    ((mixed ^ due_ns.wrapping_mul(DUE_FACTOR)) >> DUE_BITS) as u16
}

/// Whether a block is its part of the filler, and ends in the seal, or as much of it as fits.
#[inline]
fn is_block_intact(block: &[u8], filler: &[u8], seal: [u8; SEAL_BYTES]) -> bool {
    match block.split_last_chunk::<SEAL_BYTES>() {
        Some((body, end)) => *end == seal && bytes::equal(body, &filler[..body.len()]),
        None => bytes::equal(block, &seal[..block.len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { stream: 7, sequence: 0xffff_fff0, due_ns: 123_456_789_012 };

    fn written(codec: &Codec, stamp: Stamp) -> Vec<u8> {
        let mut payload = vec![0; HEADER_BYTES + codec.filler.len()];
        codec.write_whole(stamp, &mut payload);
        payload
    }

    #[test]
    fn every_size_from_sixteen_bytes_up_reads_back() {
        for payload_bytes in (16..64).chain([1039, 1040, 1041, 1047, 1048, 4096, 70_000]) {
            let codec = Codec::new(99, payload_bytes);
            assert_eq!(codec.read(&written(&codec, STAMP)), Some(STAMP), "{payload_bytes} bytes");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for payload_bytes in [16, 17, 24, 64, 1100, 3000] {
            let codec = Codec::new(0x1234_5678_9abc_def0, payload_bytes);
            let good = written(&codec, STAMP);
            for bit in 0..payload_bytes * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(codec.read(&bad), None, "{payload_bytes} bytes, bit {bit}");
            }
        }
    }

    #[test]
    fn a_shorter_or_longer_payload_is_noticed() {
        let codec = Codec::new(5, 64);
        let good = written(&codec, STAMP);
        assert_eq!(codec.read(&good[..63]), None);
        assert_eq!(codec.read(&good[..16]), None, "the header alone is in order");
        assert_eq!(codec.read(&[&good[..], &[0]].concat()), None);
        assert_eq!(codec.read(&good[..15]), None);
        assert_eq!(codec.read(&[]), None);
    }

    #[test]
    fn a_block_of_another_message_is_noticed() {
        let codec = Codec::new(5, 16 + 3 * 1024);
        let other = written(&codec, Stamp { sequence: 1, ..STAMP });
        for block in 0..3 {
            let mut torn = written(&codec, STAMP);
            let from = 16 + block * 1024;
            torn[from..from + 1024].copy_from_slice(&other[from..from + 1024]);
            assert_eq!(codec.read(&torn), None, "block {block}");
        }
    }

    #[test]
    fn a_message_of_another_run_is_noticed() {
        let (ours, theirs) = (Codec::new(1, 16), Codec::new(2, 16));
        assert_eq!(ours.read(&written(&theirs, STAMP)), None);
    }
}
