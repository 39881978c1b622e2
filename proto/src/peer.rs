//! What is said on a link between two nodes, after the hello: frames of a plane, a lane and a body.
//!
//! ```text
//!  0        4       5      6          8
//!  | length | plane | lane | reserved | body ...
//! ```
//!
//! The length (u32, little endian) is that of the whole frame. A body is its plane's business:
//! [`Plane`] says which module of this crate reads it. A plane this version does not know is carried
//! as its number, so that its frames are skipped and counted, never an error.
//!
//! Invariants:
//! - [`decode`] is total: any bytes give a frame, the number of bytes to wait for, or a code. It
//!   allocates nothing, and never asks to wait for more than the bound of the plane.
//! - What [`decode`] accepts, [`Frame::put`] writes the same way, byte for byte.

use alloc::vec::Vec;

use crate::envelope::Priority;
use crate::error::ErrorCode;
use crate::limits::{FRAME_HEADER_BYTES, PEER_CONTROL_FRAME_BYTES_MAX, PEER_DATA_FRAME_BYTES_MAX};

/// Which part of a node a frame is for. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Plane {
    /// A message on its way: a hop header, then a data frame as its publisher wrote it.
    Data = 1,
    /// Are you there? Eight bytes, which come back in `Pong`. Links answer these themselves.
    Ping = 2,
    Pong = 3,
    /// Who is alive in this cluster.
    Member = 4,
    /// Who offers what.
    Catalog = 5,
    /// Which clusters are reached through whom.
    Route = 6,
    /// Which clusters touch which.
    LinkState = 7,
}

impl Plane {
    pub const ALL: [Self; 7] = [
        Self::Data,
        Self::Ping,
        Self::Pong,
        Self::Member,
        Self::Catalog,
        Self::Route,
        Self::LinkState,
    ];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|plane| *plane as u8 == number)
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Member => "member",
            Self::Catalog => "catalog",
            Self::Route => "route",
            Self::LinkState => "link_state",
        }
    }
}

/// Which frames overtake which on one link; within a lane they keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Lane {
    /// What never waits for anything: who is alive, who is gone.
    Control = 0,
    Critical = 1,
    High = 2,
    Normal = 3,
    Low = 4,
    Bulk = 5,
}

impl Lane {
    pub const ALL: [Self; 6] =
        [Self::Control, Self::Critical, Self::High, Self::Normal, Self::Low, Self::Bulk];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The lane of messages of this priority.
    pub const fn of(priority: Priority) -> Self {
        match priority {
            Priority::Critical => Self::Critical,
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
            Priority::Bulk => Self::Bulk,
        }
    }
}

/// One frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// A [`Plane`], if this version knows it.
    pub plane: u8,
    pub lane: Lane,
    pub body: &'a [u8],
}

impl Frame<'_> {
    pub fn plane(&self) -> Option<Plane> {
        Plane::from_wire(self.plane)
    }

    /// Appends the frame, or says that it is too long and appends nothing.
    pub fn put(&self, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let frame_bytes = FRAME_HEADER_BYTES + self.body.len();
        if frame_bytes_max(self.plane) < frame_bytes {
            return Err(ErrorCode::FrameTooLarge);
        }
        let length = u32::try_from(frame_bytes).map_err(|_| ErrorCode::FrameTooLarge)?;
        out.reserve(frame_bytes);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[self.plane, self.lane as u8, 0, 0]);
        out.extend_from_slice(self.body);
        Ok(())
    }
}

/// What a run of bytes begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Not a whole frame yet: come back with at least this many bytes.
    Need(usize),
    Frame {
        frame: Frame<'a>,
        /// Bytes it took.
        bytes: usize,
    },
}

/// Length and plane of the frame at the front of `bytes`; `None` while fewer than a header are there.
#[inline]
pub fn peek(bytes: &[u8]) -> Result<Option<(usize, u8)>, ErrorCode> {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
    let frame_bytes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if frame_bytes < FRAME_HEADER_BYTES {
        return Err(ErrorCode::Malformed);
    }
    if frame_bytes_max(head[4]) < frame_bytes {
        return Err(ErrorCode::FrameTooLarge);
    }
    Ok(Some((frame_bytes, head[4])))
}

/// Reads the frame at the front of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, ErrorCode> {
    let Some((frame_bytes, plane)) = peek(bytes)? else {
        return Ok(Decoded::Need(FRAME_HEADER_BYTES));
    };
    let Some(whole) = bytes.get(..frame_bytes) else { return Ok(Decoded::Need(frame_bytes)) };
    let (head, body) = whole.split_at(FRAME_HEADER_BYTES);
    if head[6..] != [0, 0] {
        return Err(ErrorCode::ReservedBits);
    }
    let lane = Lane::from_wire(head[5]).ok_or(ErrorCode::Malformed)?;
    Ok(Decoded::Frame { frame: Frame { plane, lane, body }, bytes: frame_bytes })
}

/// Only messages may be long: what the control core reads never holds up a link.
const fn frame_bytes_max(plane: u8) -> usize {
    if plane == Plane::Data as u8 {
        PEER_DATA_FRAME_BYTES_MAX
    } else {
        PEER_CONTROL_FRAME_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(plane: u8, lane: Lane, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame { plane, lane, body }.put(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_frame_is_laid_out_as_drawn() {
        let bytes = frame(Plane::Member as u8, Lane::Control, b"hi");
        assert_eq!(bytes, [10, 0, 0, 0, 4, 0, 0, 0, b'h', b'i']);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refused = |bytes: &[u8]| decode(bytes).err();
        assert_eq!(refused(&[7, 0, 0, 0, 4, 0, 0, 0]), Some(ErrorCode::Malformed));
        assert_eq!(refused(&[8, 0, 0, 0, 4, 6, 0, 0]), Some(ErrorCode::Malformed));
        assert_eq!(refused(&[8, 0, 0, 0, 4, 0, 0, 1]), Some(ErrorCode::ReservedBits));
    }

    #[test]
    fn only_messages_may_be_long() {
        let longest = |plane: u8| {
            let length = u32::try_from(PEER_CONTROL_FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
            decode(&[length[0], length[1], length[2], length[3], plane, 0, 0, 0]).is_ok()
        };
        assert!(longest(Plane::Data as u8));
        for plane in [Plane::Ping as u8, Plane::Catalog as u8, 200] {
            assert!(!longest(plane), "{plane}");
        }
        let body = [0; PEER_CONTROL_FRAME_BYTES_MAX];
        let mut out = Vec::new();
        let put = Frame { plane: 200, lane: Lane::Control, body: &body }.put(&mut out);
        assert_eq!((put, out.len()), (Err(ErrorCode::FrameTooLarge), 0));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            plane: u8, lane in 0..6u8, body in prop::collection::vec(any::<u8>(), 0..64), cut: u8
        ) {
            let lane = Lane::from_wire(lane).unwrap();
            let bytes = frame(plane, lane, &body);
            let want = Decoded::Frame { frame: Frame { plane, lane, body: &body }, bytes: bytes.len() };
            prop_assert_eq!(decode(&bytes), Ok(want));
            let some = &bytes[..usize::from(cut) % bytes.len()];
            let need = if some.len() < 8 { 8 } else { bytes.len() };
            prop_assert_eq!(decode(some), Ok(Decoded::Need(need)));
        }

        #[test]
        fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..64), length in 0..80u32) {
            for bytes in [bytes.clone(), [&length.to_le_bytes()[..], &bytes].concat()] {
                match decode(&bytes) {
                    Ok(Decoded::Frame { frame, bytes: count }) => {
                        let mut out = Vec::new();
                        frame.put(&mut out).unwrap();
                        prop_assert_eq!(&out, &bytes[..count]);
                    }
                    Ok(Decoded::Need(need)) => prop_assert!(bytes.len() < need),
                    Err(_) => (),
                }
            }
        }
    }
}
