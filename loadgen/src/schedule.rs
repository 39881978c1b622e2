//! When each message of an open-loop run is due, whatever the router does.
//!
//! Message `k` of the run is due `k / rate` seconds after its start, and belongs to publisher
//! `k % publishers`. Latency is measured from these times, so a stall of router or generator is
//! charged to every message it delayed, not only to the one that met it (coordinated omission).

/// A fixed rate, shared in turn by all publishers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval_ns: f64,
    publishers_count: u64,
}

impl Schedule {
    /// `rate_per_s` messages a second over all publishers together; both at least one.
    pub(crate) fn new(rate_per_s: u64, publishers_count: usize) -> Self {
        assert!(0 < rate_per_s && 0 < publishers_count);
        Self { interval_ns: 1e9 / rate_per_s as f64, publishers_count: publishers_count as u64 }
    }

    /// When `publisher` should send its message number `count`, in nanoseconds since the start.
    #[inline]
    pub(crate) fn due_ns(&self, publisher: u32, count: u64) -> u64 {
        let global = count * self.publishers_count + u64::from(publisher);
        (global as f64 * self.interval_ns) as u64
    }

    /// Messages of `publisher` due by `now_ns`.
    #[inline]
    pub(crate) fn due_count(&self, publisher: u32, now_ns: u64) -> u64 {
        let global = (now_ns as f64 / self.interval_ns) as u64;
        let estimate = (global + self.publishers_count).saturating_sub(u64::from(publisher))
            / self.publishers_count;
        // Rounding may leave the estimate one off; `due_ns` decides.
        if self.due_ns(publisher, estimate) <= now_ns {
            estimate + 1
        } else if 0 < estimate && now_ns < self.due_ns(publisher, estimate - 1) {
            estimate - 1
        } else {
            estimate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns() {
        let schedule = Schedule::new(1_000_000, 3);
        let first: Vec<_> = (0..3).map(|publisher| schedule.due_ns(publisher, 0)).collect();
        let second: Vec<_> = (0..3).map(|publisher| schedule.due_ns(publisher, 1)).collect();
        assert_eq!((first, second), (vec![0, 1000, 2000], vec![3000, 4000, 5000]));
    }

    #[test]
    fn count_and_time_agree_at_every_message() {
        for (rate_per_s, publishers_count) in [(1, 1), (3, 2), (999_983, 7), (30_000_000, 10)] {
            let schedule = Schedule::new(rate_per_s, publishers_count);
            for count in (0..1000).chain(1_000_000_000..1_000_000_300) {
                for publisher in 0..publishers_count as u32 {
                    let at = schedule.due_ns(publisher, count);
                    assert_eq!(schedule.due_count(publisher, at), count + 1);
                    if 0 < at {
                        assert!(schedule.due_count(publisher, at - 1) <= count);
                    }
                }
            }
        }
    }

    #[test]
    fn an_hour_holds_exactly_an_hour_of_messages() {
        let schedule = Schedule::new(777_777, 5);
        let hour_ns = 3600 * 1_000_000_000 - 1;
        let sum: u64 = (0..5).map(|publisher| schedule.due_count(publisher, hour_ns)).sum();
        assert_eq!(sum, 3600 * 777_777);
    }
}
