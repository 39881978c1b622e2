//! Dialling one address: when next, how often in vain.

use core::time::Duration;

use crate::rng::Rng;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Attempt {
    failures: u32,
    next: Instant,
    /// Under way since.
    opened: Option<Instant>,
}

impl Attempt {
    pub(super) fn at(next: Instant) -> Self {
        Self { failures: 0, next, opened: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn ends(&self, timeout: Duration) -> Option<Instant> {
        self.opened.map(|at| at + timeout)
    }

    pub(super) fn open(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    /// As if never tried.
    pub(super) fn reset(&mut self, next: Instant) {
        self.failures = 0;
        self.next = next;
    }

    pub(super) fn postpone(&mut self, by: Duration) {
        self.next = self.next + by;
    }

    pub(super) fn failed(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        base: Duration,
        longest: Duration,
    ) {
        self.opened = None;
        self.next = now + self.wait(rng, base, longest);
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn failed_if_open(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        base: Duration,
        longest: Duration,
    ) {
        if self.is_open() {
            self.failed(now, rng, base, longest);
        }
    }

    /// As after a failure, but a dial that is under way goes on.
    pub(super) fn failed_unless_open(&mut self, now: Instant, rng: &mut Rng, wait: Duration) {
        if !self.is_open() {
            self.failed(now, rng, wait, wait);
        }
    }

    /// Doubled for each failure; from the upper half, so nodes that failed together part.
    pub(super) fn wait(&self, rng: &mut Rng, base: Duration, longest: Duration) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let whole = base.saturating_mul(factor).min(longest);
        whole.mul_f64(0.5 + f64::from(rng.below(1 << 20)) / f64::from(1 << 21))
    }
}
