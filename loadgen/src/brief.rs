//! Brief: what every generator thread of a run is told before it starts, and none may change.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::framing::{Framing, Likeness, Mold};
use crate::latency::Window;
use crate::payload::Codec;
use crate::schedule::Schedule;
use crate::wiring::Wiring;

/// The inbox, beyond the longest frame: several socket reads' worth, and it stays in the L2 cache.
const INBOX_BYTES_MIN: usize = 256 * 1024;

/// Time to start the threads in.
const START_AHEAD: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Brief {
    pub framing: Framing,
    pub wiring: Wiring,
    pub codec: Codec,
    pub exchange: Exchange,
    /// What publishers send.
    pub mold: Mold,
    /// How what subscribers receive looks.
    pub delivery: Likeness,
    /// How what publishers receive looks, where they wait for replies.
    pub reply: Likeness,
    pub pace: Pace,
    /// Latency is recorded for messages of which this many bits of the number are zero.
    pub sample_mask: u32,
    /// Time zero of the run, once every thread is ready for it.
    pub base: OnceLock<Instant>,
    /// The measured part; publishing ends with it.
    pub window: Window,
    /// Whether threads look for events without ever waiting.
    pub spins: bool,
}

/// When publishers publish.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as `window` undelivered messages per publisher allow.
    Closed { window: u64 },
    /// When due, whatever has arrived.
    Open(Schedule),
}

/// What subscribers do with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// Verify it.
    OneWay,
    /// Send it back to its reply topic; the publisher verifies it. Reply topics are
    /// `inbox(publisher)` and eight hexadecimal digits.
    RoundTrip { token: String },
}

/// Digits of a reply topic after its inbox.
pub(crate) const REPLY_DIGITS: usize = 8;

impl Exchange {
    /// The inbox of a publisher, with its dot; equally long for all. Empty if it needs none.
    pub(crate) fn inbox(&self, publisher: u32) -> String {
        match self {
            Self::OneWay => String::new(),
            Self::RoundTrip { token } => format!("_INBOX.{token}{publisher:05}."),
        }
    }

    /// Bytes of a reply topic.
    pub(crate) fn reply_bytes(&self) -> usize {
        match self {
            Self::OneWay => 0,
            Self::RoundTrip { .. } => self.inbox(0).len() + REPLY_DIGITS,
        }
    }
}

impl Brief {
    /// Sets time zero a little ahead, so that all threads are there; once in a run.
    pub(crate) fn start(&self) -> Instant {
        *self.base.get_or_init(|| Instant::now() + START_AHEAD)
    }

    /// Nanoseconds since time zero; zero before it.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        self.base.get().map_or(0, |base| base.elapsed().as_nanos() as u64)
    }

    pub(crate) fn inbox_bytes(&self) -> usize {
        INBOX_BYTES_MIN + self.framing.inbound_bytes_max(&self.mold)
    }
}
