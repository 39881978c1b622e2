//! What is known of the link with one node: how far away the node is, and whether the link works.
//!
//! How far is the shortest of the last round trips (as BBR takes it: Cardwell et al., 2016). Queues and
//! busy processors make round trips longer, and to go another way for that changes the order of messages for
//! nothing; a longer way shows once no round trip of a shorter one is remembered.

use core::time::Duration;

use crate::breaker::Breaker;
use crate::limits::ROUND_TRIPS_KEPT;

/// It outlives the link, unless all was well.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) round_trips: RoundTrips,
    pub(super) breaker: Breaker,
}

/// The last round trips, in microseconds.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    kept_us: [u32; ROUND_TRIPS_KEPT],
    count: usize,
}

impl RoundTrips {
    pub(super) fn put(&mut self, round_trip: Duration) {
        let round_trip_us = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        self.kept_us[self.count % ROUND_TRIPS_KEPT] = round_trip_us;
        self.count += 1;
    }

    /// None before the first.
    pub(super) fn shortest_us(&self) -> Option<u32> {
        self.kept_us[..self.count.min(ROUND_TRIPS_KEPT)].iter().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_moment_makes_no_way_longer_and_a_longer_way_shows() {
        let mut trips = RoundTrips::default();
        let mut put = |us: u64| {
            trips.put(Duration::from_micros(us));
            trips.shortest_us()
        };
        assert_eq!((put(500), put(80), put(90_000)), (Some(500), Some(80), Some(80)));
        for _ in 2..ROUND_TRIPS_KEPT {
            assert_eq!(put(7000), Some(80));
        }
        assert_eq!((put(7000), put(u64::MAX)), (Some(7000), Some(7000)));
    }
}
