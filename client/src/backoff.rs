//! How long to wait before the next attempt to connect, and when to stop trying.
//!
//! The wait doubles from `first` to `max`. Half of it is drawn at random, so that the clients of a
//! restarted router do not return in step. Chance comes in from the caller.

use std::time::Duration;

/// One run of attempts.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempts_max: u32,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration, attempts_max: u32) -> Self {
        Self { first, max: max.max(first), attempts_max, attempts: 0 }
    }

    /// Counts a failed attempt. The wait before the next one, or `None` when there is none.
    /// `chance` is uniform over all of `u32`.
    pub(crate) fn failed(&mut self, chance: u32) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts_max <= self.attempts {
            return None;
        }
        let doublings = (self.attempts - 1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = full / 2;
        Some(half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }

    /// Starts over after a connection that served.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_ms(attempts_max: u32, chance: u32) -> Vec<u128> {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000), attempts_max);
        std::iter::from_fn(|| backoff.failed(chance)).map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_attempts() {
        assert_eq!(waits_ms(7, u32::MAX), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits_ms(1, u32::MAX), [] as [u128; 0]);
        assert_eq!(waits_ms(0, u32::MAX), [] as [u128; 0]);
    }

    #[test]
    fn chance_takes_off_at_most_half() {
        assert_eq!(waits_ms(7, 0), [50, 100, 200, 400, 500, 500]);
        assert_eq!(waits_ms(3, 1 << 31), [75, 150]);
    }

    #[test]
    fn reset_returns_to_the_first_wait() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), 3);
        assert!(backoff.failed(0).is_some());
        assert!(backoff.failed(0).is_some());
        backoff.reset();
        assert_eq!(backoff.failed(u32::MAX), Some(Duration::from_secs(1)));
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(3600), Duration::MAX, u32::MAX);
        let mut last = Duration::ZERO;
        for _ in 0..100 {
            let wait = backoff.failed(u32::MAX).unwrap();
            assert!(last <= wait);
            last = wait;
        }
    }
}
