//! The only place that reads time.

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
