//! Frames that wait for a link: one queue for each lane, a bound on all of them together.
//!
//! Invariants: what is taken out next is of the highest lane that has anything, in the order in which
//! it came; the last tenth of the bound is for control and critical frames.

use std::collections::VecDeque;

use mpreg_proto::peer::{Frame, Lane};

use crate::limits::PEER_QUEUE_BYTES_MAX;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    queues: [VecDeque<Vec<u8>>; Lane::ALL.len()],
    bytes: usize,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// No room. Later there may be.
    Full,
    /// No link takes a frame of this length.
    TooLong,
}

impl Lanes {
    pub(super) fn push(&mut self, frame: Frame<'_>) -> Result<(), NotQueued> {
        let mut bytes = Vec::new();
        frame.put(&mut bytes).map_err(|_| NotQueued::TooLong)?;
        let room = match frame.lane {
            Lane::Control | Lane::Critical => PEER_QUEUE_BYTES_MAX,
            Lane::High | Lane::Normal | Lane::Low | Lane::Bulk => PEER_QUEUE_BYTES_MAX / 10 * 9,
        };
        if room < self.bytes + bytes.len() {
            return Err(NotQueued::Full);
        }
        self.bytes += bytes.len();
        self.queues[frame.lane as usize].push_back(bytes);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.queues.iter_mut().find_map(VecDeque::pop_front)?;
        self.bytes -= frame.len();
        Some(frame)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use mpreg_proto::limits::PEER_BODY_BYTES_MAX;

    use super::*;

    fn frame(lane: Lane, body: &[u8]) -> Frame<'_> {
        Frame { plane: 5, lane, body }
    }

    #[test]
    fn higher_lanes_overtake_and_lanes_keep_their_order() {
        let mut lanes = Lanes::default();
        for (at, lane) in [Lane::Bulk, Lane::Normal, Lane::Bulk, Lane::Control, Lane::Normal]
            .into_iter()
            .enumerate()
        {
            lanes.push(frame(lane, &[at as u8])).unwrap();
        }
        let order: Vec<u8> = std::iter::from_fn(|| lanes.pop()).map(|frame| frame[8]).collect();
        assert_eq!(order, [3, 1, 4, 0, 2]);
        assert_eq!(lanes.bytes(), 0);
    }

    #[test]
    fn the_last_tenth_is_for_what_is_urgent() {
        let mut lanes = Lanes::default();
        let body = vec![0; 10_000];
        let mut fill = |lane| {
            let mut count = 0;
            while lanes.push(frame(lane, &body)).is_ok() {
                count += 1;
            }
            (count, lanes.push(frame(lane, &body)), lanes.bytes())
        };
        let (bulk, refused, bytes) = fill(Lane::Bulk);
        assert!(0 < bulk && refused == Err(NotQueued::Full));
        assert!(bytes <= PEER_QUEUE_BYTES_MAX / 10 * 9);
        assert_eq!(fill(Lane::High).0, 0);
        let (urgent, refused, bytes) = fill(Lane::Control);
        assert!(15 < urgent && refused == Err(NotQueued::Full), "{urgent}");
        assert!(bytes <= PEER_QUEUE_BYTES_MAX);
    }

    #[test]
    fn a_frame_that_is_too_long_never_fits() {
        let mut lanes = Lanes::default();
        let body = vec![0; PEER_BODY_BYTES_MAX + 1];
        assert_eq!(lanes.push(frame(Lane::Control, &body)), Err(NotQueued::TooLong));
        lanes.push(frame(Lane::Control, &body[1..])).unwrap();
    }
}
