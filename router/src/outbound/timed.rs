//! Time in a queue: what frames between nodes waited for is taken off their deadlines when they leave.
//!
//! The deadline in a hop header counts from where its piece began to be timed: what was over then is
//! added when the frame is queued, and all of it taken off when the piece is sent. So a queue keeps
//! one moment for each piece, and looks at frames only in pieces that are timed.
//!
//! Invariants:
//! - A frame leaves with at least a millisecond left, or not at all.
//! - Pieces of queues to clients are never timed.

use mpreg_fabric::time::Instant;
use mpreg_proto::hop::{self, Header};
use mpreg_proto::limits::FRAME_HEADER_BYTES;
use mpreg_proto::peer::{self, Plane};

use super::{Lane, Outbound, Piece};

impl Outbound {
    /// The last frame queued in a lane, of so many bytes, has a deadline, or is traced.
    pub fn time_last(&mut self, frame_bytes: usize, lane: Lane, now: Instant) {
        let last = self.lanes[lane as usize].back_mut();
        let Some(Piece::Own { bytes, since, .. }) = last else { return };
        let since = *since.get_or_insert(now);
        let body = bytes.len() - frame_bytes + FRAME_HEADER_BYTES;
        hop::lend(&mut bytes[body..], ms(since, now));
    }
}

impl Piece {
    pub fn is_timed(&self) -> bool {
        matches!(self, Self::Own { since: Some(_), .. })
    }

    /// Takes off what its frames waited for, and gives up those that it was too long for. Says how many
    /// messages that was; `leaves` is told of each traced header that leaves.
    pub fn spend(&mut self, now: Instant, mut leaves: impl FnMut(&Header<'_>)) -> u64 {
        let Self::Own { bytes, since, messages, from } = self else { return 0 };
        let Some(since) = since.take() else { return 0 };
        let (spent_ms, mut kept, mut at, mut late) = (ms(since, now), *from, *from, 0);
        while let Ok(Some((frame_bytes, plane))) = peer::peek(&bytes[at..])
            && let Some(frame) = bytes.get_mut(at..at + frame_bytes)
        {
            let body = &mut frame[FRAME_HEADER_BYTES..];
            let is_message = plane == Plane::Data as u8;
            let is_late = is_message && !hop::spend(body, spent_ms);
            let header = is_message.then(|| Header::parse(body).ok()).flatten();
            match header {
                Some(header) if is_late => late += u32::from(header.messages()),
                Some(header) if header.flags().is_traced() => leaves(&header),
                Some(_) | None => (),
            }
            if !is_late {
                bytes.copy_within(at..at + frame_bytes, kept);
                kept += frame_bytes;
            }
            at += frame_bytes;
        }
        bytes.truncate(kept);
        *messages -= late;
        u64::from(late)
    }
}

fn ms(since: Instant, now: Instant) -> u32 {
    u32::try_from(now.since(since).as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mpreg_proto::frame::Publish;
    use mpreg_proto::hop::{Flags, Here, Leg, Targets, Trail};
    use mpreg_proto::id::{ClusterId, NodeId};
    use mpreg_proto::peer::Decoded;

    use super::super::{Budget, Spares};
    use super::*;

    const LANE: Lane = Lane::Normal;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(1_000 + ms)
    }

    fn frame(sequence: u64, deadline_ms: Option<u32>, flags: Flags) -> Vec<u8> {
        let targets = Targets { clusters: vec![ClusterId(9)], ..Targets::default() };
        let leg = Leg {
            sequence,
            messages: 1,
            flags,
            hop_budget: 3,
            deadline_ms,
            trail: Trail::default(),
            targets: &targets,
            back: &[],
        };
        let mut body = Vec::new();
        leg.put(Here { node: NodeId(1), cluster: ClusterId(1) }, &mut body).unwrap();
        Publish { topic: b"a", payload: b"x", ..Publish::default() }.put(&mut body).unwrap();
        let mut frame = Vec::new();
        let lane = peer::Lane::Normal;
        peer::Frame { plane: Plane::Data as u8, lane, body: &body }.put(&mut frame).unwrap();
        frame
    }

    /// Queues `<ms> <deadline>` each, sends all at `then`; compares `<number>:<left>` of what leaves.
    #[track_caller]
    fn check(script: &str, then: u64, want: &str) {
        let mut queue = Outbound::new(1 << 20);
        let mut budget = Budget { used: 0, limit: usize::MAX };
        let (mut spares, mut flight) = (Spares::default(), Vec::new());
        let all = script.split('|').map(|step| step.trim().split_once(' ').unwrap());
        for (number, (ms, deadline)) in (1..).zip(all) {
            let (deadline, flags) = match deadline {
                "-" => (None, Flags::default()),
                "traced" => (None, Flags::traced()),
                some => (Some(some.parse().unwrap()), Flags::default()),
            };
            let frame = frame(number, deadline, flags);
            queue.copy(&frame, 1, LANE, &mut budget, &mut spares);
            if deadline.is_some() || flags.is_traced() {
                queue.time_last(frame.len(), LANE, at(ms.parse().unwrap()));
            }
        }
        queue.take_flight(&mut flight);
        let (mut left, mut late, mut traced) = (Vec::new(), 0, Vec::new());
        for piece in &mut flight {
            let messages = piece.messages();
            let gone = piece.spend(at(then), |header| traced.push(header.message().sequence));
            assert_eq!(piece.messages(), messages - gone);
            late += gone;
            let mut rest = piece.bytes();
            while let Ok(Decoded::Frame { frame, bytes }) = peer::decode(rest) {
                let header = Header::parse(frame.body).unwrap();
                let ms = header.deadline_ms().map_or("-".to_owned(), |ms| ms.to_string());
                left.push(format!("{}:{ms}", header.message().sequence));
                rest = &rest[bytes..];
            }
            assert!(rest.is_empty() && !piece.is_timed());
        }
        let traced: Vec<String> = traced.iter().map(|number| format!("traced {number}")).collect();
        let said = [left, traced, vec![format!("late {late}")]].concat();
        assert_eq!(said.join(" "), want, "{script}");
        queue.landed(&mut flight, &mut budget, &mut spares);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn each_frame_pays_for_its_own_wait() {
        check("0 100 | 30 100 | 40 -", 50, "1:50 2:80 3:- late 0");
        check("0 - | 30 20 | 40 10", 45, "1:- 2:5 3:5 late 0");
    }

    #[test]
    fn those_that_waited_too_long_stay_behind() {
        check("0 50 | 0 51 | 10 -", 50, "2:1 3:- late 1");
        check("0 1 | 1 1", 10, "late 2");
    }

    #[test]
    fn traced_ones_are_told_of() {
        check("0 traced | 1 -", 10, "1:- 2:- traced 1 late 0");
    }
}
