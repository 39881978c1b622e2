//! The only place that reads time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpreg_fabric::time::Instant;

/// Nanoseconds since the node started, the same on all its cores.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// By the wall clock, which may go backwards and which other machines do not share: for certificates
/// and for telling lives of this node apart.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
