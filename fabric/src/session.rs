//! One client connection, as its shard sees it.
//!
//! ```text
//!   accepted --> HELLO --hello--> CONNECTING --connect--> OPEN --drain--> DRAINING
//!                  |                  |                     |                 |
//!                  +------ late, wrong, silent, closed -----+-----------------+--> ended
//! ```
//!
//! A NATS client says no hello and starts in CONNECTING.
//!
//! The session knows its phase, its subscriptions' numbers and when it was last heard. It knows
//! nothing of bytes, sockets or other sessions.
//!
//! Invariants:
//! - Nothing but a hello is acted on in HELLO, nothing but `connect` in CONNECTING.
//! - A session that is silent for the announced interval is pinged; after
//!   `pings_unanswered_max` pings without a sign of life it ends.

use alloc::collections::BTreeMap;
use core::time::Duration;

use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Echo;
use mpreg_proto::id::{SessionId, Sid};

use crate::id::SubIx;
use crate::limits::PINGS_UNANSWERED_MAX;
use crate::time::Instant;

/// What a client speaks, by the listener it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Begins with a hello. One copy of a message serves all ungrouped subscriptions.
    #[default]
    Native,
    /// NATS: begins with `connect`. One copy of a message for each subscription.
    Nats,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Hello,
    Connecting,
    Open,
    /// It asked to drain: nothing new for it, it leaves when its queue is sent.
    Draining,
    /// Over; its subscriptions are being removed and its socket closed.
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From accept to `connect`.
    pub handshake: Duration,
    /// Silence after which the peer is pinged, and again.
    pub ping_interval: Duration,
    /// Pings without a sign of life after which the session ends, one interval after the last.
    pub pings_unanswered_max: u8,
}

impl Timing {
    pub const fn new(handshake: Duration, ping_interval: Duration) -> Self {
        Self { handshake, ping_interval, pings_unanswered_max: PINGS_UNANSWERED_MAX }
    }
}

/// What the clock asks of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Ping { token: u64 },
    End(ErrorCode),
}

#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    pub protocol: Protocol,
    pub phase: Phase,
    pub echo: Echo,
    pub subscriptions: BTreeMap<Sid, SubIx>,
    /// When the shard will next ask [`Session::wake`]; kept so the entry can be found again.
    pub wake_at: Instant,
    since: Instant,
    /// The last sign of life, or the last ping since: a ping has a whole interval to be answered,
    /// however late the shard was woken.
    quiet_since: Instant,
    pings_unanswered: u8,
}

impl Session {
    pub fn accepted(id: SessionId, protocol: Protocol, now: Instant) -> Self {
        let phase = match protocol {
            Protocol::Native => Phase::Hello,
            Protocol::Nats => Phase::Connecting,
        };
        Self {
            id,
            protocol,
            phase,
            echo: Echo::On,
            subscriptions: BTreeMap::new(),
            wake_at: now,
            since: now,
            quiet_since: now,
            pings_unanswered: 0,
        }
    }

    /// Any byte is a sign of life.
    #[inline]
    pub fn heard(&mut self, now: Instant) {
        self.quiet_since = now;
        self.pings_unanswered = 0;
    }

    pub fn deadline(&self, timing: Timing) -> Instant {
        match self.phase {
            Phase::Hello | Phase::Connecting => self.since + timing.handshake,
            Phase::Open | Phase::Draining => self.quiet_since + timing.ping_interval,
            Phase::Ended => Instant::NEVER,
        }
    }

    /// What is due. Waking early is not an event.
    pub fn wake(&mut self, timing: Timing, now: Instant) -> Due {
        if now < self.deadline(timing) {
            return Due::Nothing;
        }
        match self.phase {
            Phase::Hello | Phase::Connecting => Due::End(ErrorCode::HandshakeTimeout),
            Phase::Open | Phase::Draining
                if self.pings_unanswered == timing.pings_unanswered_max =>
            {
                Due::End(ErrorCode::IdleTimeout)
            }
            Phase::Open | Phase::Draining => {
                self.pings_unanswered += 1;
                self.quiet_since = now;
                Due::Ping { token: now.as_nanos() }
            }
            Phase::Ended => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing::new(Duration::from_secs(5), Duration::from_secs(10));

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_stranger_is_ended_at_the_handshake_deadline_whatever_it_sends() {
        let mut session = Session::accepted(SessionId(1), Protocol::Native, at(0));
        session.heard(at(4));
        assert_eq!(session.wake(TIMING, at(4)), Due::Nothing);
        assert_eq!(session.wake(TIMING, at(5)), Due::End(ErrorCode::HandshakeTimeout));
    }

    #[test]
    fn a_silent_session_is_pinged_three_times_then_ended() {
        let mut session = Session::accepted(SessionId(1), Protocol::Native, at(0));
        session.phase = Phase::Open;
        for seconds in [10, 20, 30] {
            assert_eq!(session.deadline(TIMING), at(seconds));
            assert!(matches!(session.wake(TIMING, at(seconds)), Due::Ping { .. }));
            assert_eq!(session.wake(TIMING, at(seconds)), Due::Nothing, "woken twice");
        }
        assert_eq!(session.wake(TIMING, at(40)), Due::End(ErrorCode::IdleTimeout));
    }

    #[test]
    fn a_ping_has_a_whole_interval_to_be_answered_however_late_it_was_sent() {
        let mut session = Session::accepted(SessionId(1), Protocol::Native, at(0));
        session.phase = Phase::Open;
        assert!(matches!(session.wake(TIMING, at(500)), Due::Ping { .. }));
        assert_eq!(session.wake(TIMING, at(509)), Due::Nothing);
        assert!(matches!(session.wake(TIMING, at(510)), Due::Ping { .. }));
    }

    #[test]
    fn any_sign_of_life_starts_over() {
        let mut session = Session::accepted(SessionId(1), Protocol::Native, at(0));
        session.phase = Phase::Open;
        assert!(matches!(session.wake(TIMING, at(10)), Due::Ping { .. }));
        session.heard(at(11));
        assert_eq!(session.wake(TIMING, at(20)), Due::Nothing);
        assert_eq!(session.deadline(TIMING), at(21));
    }
}
