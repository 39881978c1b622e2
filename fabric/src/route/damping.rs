//! How often a way was lost: hold-down, and a penalty that halves with time (RFC 2439, with the
//! constants of RFC 7196).
//!
//! Knows nothing of routes. Whether a damped way is used all the same is decided where ways are
//! compared.

use core::time::Duration;

use super::policy::Damping;
use crate::time::Instant;

/// Why a way is not chosen while there is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damped {
    /// It was lost a moment ago.
    HoldDown,
    /// It comes and goes.
    Suppressed,
}

/// The losses of one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Losses {
    penalty: u32,
    /// When the penalty was that.
    at: Instant,
    held_until: Instant,
    suppressed_until: Instant,
}

impl Losses {
    pub(super) const NONE: Self = Self {
        penalty: 0,
        at: Instant::START,
        held_until: Instant::START,
        suppressed_until: Instant::START,
    };

    pub(super) fn lost(&mut self, damping: &Damping, now: Instant) {
        self.held_until = now + damping.hold_down;
        let left = decayed(self.penalty, now.since(self.at), damping.half_life);
        self.penalty = left.saturating_add(damping.flap_penalty).min(damping.penalty_max);
        self.at = now;
        let is_suppressed = now < self.suppressed_until
            || (0 < damping.suppress_at && damping.suppress_at <= self.penalty);
        if is_suppressed {
            self.suppressed_until = now + until(self.penalty, damping.reuse_at, damping.half_life);
        }
    }

    pub(super) fn damped(&self, now: Instant) -> Option<Damped> {
        if now < self.held_until {
            return Some(Damped::HoldDown);
        }
        (now < self.suppressed_until).then_some(Damped::Suppressed)
    }

    /// When that ends.
    pub(super) fn free_at(&self) -> Instant {
        self.held_until.max(self.suppressed_until)
    }
}

/// What is left of a penalty after `span`: halved per half-life, a straight line in between.
fn decayed(penalty: u32, span: Duration, half_life: Duration) -> u32 {
    let (span, half_life) = (span.as_nanos(), half_life.as_nanos().max(1));
    let whole = span / half_life;
    if 32 <= whole {
        return 0;
    }
    let penalty = penalty >> whole;
    let part = u128::from(penalty) * (span % half_life) / (2 * half_life);
    penalty - u32::try_from(part).expect("half of a u32 at most")
}

/// How long until a penalty has decayed to `target`.
fn until(mut penalty: u32, target: u32, half_life: Duration) -> Duration {
    let target = target.max(1);
    let mut span = Duration::ZERO;
    while target < penalty / 2 {
        penalty /= 2;
        span += half_life;
    }
    if penalty <= target {
        return span;
    }
    // penalty - penalty × part / (2 × half_life) = target
    let over = u128::from(penalty - target);
    let part = (2 * half_life.as_nanos() * over).div_ceil(u128::from(penalty));
    span + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_penalty_halves() {
        let left = |seconds| decayed(8000, SECOND * seconds, SECOND * 10);
        assert_eq!([0, 5, 10, 15, 20, 30, 400].map(left), [8000, 6000, 4000, 3000, 2000, 1000, 0]);
    }

    #[test]
    fn the_wait_is_as_long_as_the_decay() {
        for (penalty, target) in [(8000, 1500), (12_000, 750), (1001, 1000), (6000, 6000), (9, 0)] {
            let wait = until(penalty, target, SECOND);
            assert!(decayed(penalty, wait, SECOND) <= target.max(1), "{penalty} {target}");
            let before = wait.saturating_sub(SECOND / 100);
            assert!(wait.is_zero() || target <= decayed(penalty, before, SECOND));
        }
    }

    #[test]
    fn six_losses_in_a_row_suppress_and_five_do_not() {
        let damping = Damping::default();
        let mut losses = Losses::NONE;
        let now = Instant::START + SECOND * 100;
        for _ in 0..5 {
            losses.lost(&damping, now);
        }
        assert_eq!(losses.damped(now), None);
        losses.lost(&damping, now);
        assert_eq!(losses.damped(now), Some(Damped::Suppressed));
        // 6000 to 1500 are two half-lives.
        assert_eq!(losses.free_at(), now + damping.half_life * 2);
        assert_eq!(losses.damped(now + damping.half_life * 2), None);
    }

    #[test]
    fn hold_down_comes_first_and_ends_by_itself() {
        let damping = Damping { hold_down: SECOND * 5, ..Damping::default() };
        let mut losses = Losses::NONE;
        losses.lost(&damping, Instant::START);
        assert_eq!(losses.damped(Instant::START + SECOND * 2), Some(Damped::HoldDown));
        assert_eq!(losses.damped(Instant::START + SECOND * 6), None);
    }
}
