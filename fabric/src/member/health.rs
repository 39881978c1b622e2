//! How well this node does itself: Lifeguard's local health (Dadgar, Phillips, Currey 2018).
//!
//! A node that is slow takes others for dead. So it counts signs that the fault is its own: it was
//! woken late, it had to refute a suspicion, a probe failed when nobody at all was heard for long.
//! Each sign stretches its probes and suspicions by one; each probe answered takes one back.
//!
//! Lifeguard has the asked helpers say that *they* had no answer either, which tells a dead target
//! from a deaf asker. `foca` has no such message; having heard anybody says the same.

use core::time::Duration;

use mpreg_proto::member::{Header, Life, Saying};

use crate::limits::HEALTH_MAX;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Health {
    /// Zero is well.
    score: u32,
    probe: Option<Probe>,
    /// Anybody.
    heard_at: Instant,
}

/// The probe under way.
#[derive(Debug)]
struct Probe {
    target: Life,
    number: u8,
    is_answered: bool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { score: 0, probe: None, heard_at: Instant::START }
    }

    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    pub(super) fn score(&self) -> u32 {
        self.score
    }

    /// What waiting is multiplied by.
    pub(super) fn stretch(&self) -> u32 {
        1 + self.score
    }

    pub(super) fn worsen(&mut self) {
        self.score = HEALTH_MAX.min(self.score + 1);
    }

    pub(super) fn sent(&mut self, header: &Header) {
        if let Saying::Ping { probe } = header.saying {
            self.probe = Some(Probe { target: header.target, number: probe, is_answered: false });
        }
    }

    /// Whether this answers the probe under way.
    pub(super) fn awaits(&self, source: Life, saying: Saying) -> bool {
        let open = self.probe.as_ref().map(|probe| (probe.target, probe.number));
        open.is_some() && open == answer(source, saying)
    }

    /// Whether this answers the probe under way.
    pub(super) fn heard(&mut self, source: Life, saying: Saying, now: Instant) -> bool {
        self.heard_at = now;
        let is_answer = self.awaits(source, saying);
        if let Some(open) = &mut self.probe {
            open.is_answered |= is_answer;
        }
        is_answer
    }

    /// The probe's time is over. Who heard nobody for `long` is deaf.
    pub(super) fn judge(&mut self, now: Instant, long: Duration) {
        match self.probe.take() {
            Some(probe) if probe.is_answered => self.score = self.score.saturating_sub(1),
            Some(_) if long <= now.since(self.heard_at) => self.worsen(),
            Some(_) | None => {}
        }
    }
}

/// Who is said to be alive, and which probe asked.
pub(super) fn answer(source: Life, saying: Saying) -> Option<(Life, u8)> {
    match saying {
        Saying::Ack { probe } => Some((source, probe)),
        Saying::ForwardedAck { suspect, probe } => Some((suspect, probe)),
        Saying::Ping { .. }
        | Saying::PingRequest { .. }
        | Saying::IndirectPing { .. }
        | Saying::IndirectAck { .. }
        | Saying::Announce
        | Saying::Feed
        | Saying::Gossip
        | Saying::Undead => None,
    }
}
