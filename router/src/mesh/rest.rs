//! Where a shard rests, and who wakes it: the handshake between a shard that is about to sleep and
//! those that give it work.
//!
//! ```text
//!   Awake --rest--> InRing, Parked --somebody rings--> Ringing --eventfd written--> Awake
//!     ^                   |
//!     +---woken by itself-+
//! ```
//!
//! Invariants:
//! - A shard that is about to sleep says so first, then looks for work once more; one that gives work
//!   looks at the place after it gave. With a full fence between, one of the two sees the other.
//! - Of those that ring, one wakes it, where it rests. It does not rest while that one is at it.
//!
//! Every interleaving of it is tried under loom: `tests/loom`.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering, fence};

/// Where a shard is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rest {
    InRing = 1,
    Parked = 2,
}

const AWAKE: u8 = 0;
const IN_RING: u8 = Rest::InRing as u8;
const PARKED: u8 = Rest::Parked as u8;
const RINGING: u8 = 3;

#[derive(Debug)]
pub struct Resting(AtomicU8);

impl Default for Resting {
    fn default() -> Self {
        Self(AtomicU8::new(AWAKE))
    }
}

impl Resting {
    /// Wakes the shard by `wake`, if it rests; says whether it did. What it is to find was given before.
    pub fn ring(&self, wake: impl Fn(Rest)) -> bool {
        fence(Ordering::SeqCst);
        loop {
            let was = self.0.load(Ordering::Relaxed);
            let place = match was {
                IN_RING => Rest::InRing,
                PARKED => Rest::Parked,
                // Awake, or being woken: it looks for work before it rests again.
                _ => return false,
            };
            let (taken, given) = (Ordering::AcqRel, Ordering::Relaxed);
            if self.0.compare_exchange(was, RINGING, taken, given).is_ok() {
                wake(place);
                self.0.store(AWAKE, Ordering::Release);
                return true;
            }
        }
    }

    /// Says where the shard rests from here on; before it does, it looks for work once more. False if
    /// somebody is waking it: then it does not rest.
    #[must_use]
    pub fn rest(&self, rest: Rest) -> bool {
        let (taken, given) = (Ordering::AcqRel, Ordering::Relaxed);
        let swap = self.0.compare_exchange(AWAKE, rest as u8, taken, given);
        fence(Ordering::SeqCst);
        swap.is_ok()
    }

    /// The shard woke by itself, or was woken.
    pub fn woke(&self, rest: Rest) {
        let (taken, given) = (Ordering::AcqRel, Ordering::Relaxed);
        // Not where it rested any more: somebody rings or has rung, and says so itself.
        if self.0.compare_exchange(rest as u8, AWAKE, taken, given).is_err() {
            tracing::trace!("woken by another core");
        }
    }

    /// Whether the shard sleeps, or is about to.
    pub fn is_resting(&self) -> bool {
        self.0.load(Ordering::Relaxed) != AWAKE
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_shard_does_not_rest_while_somebody_rings() {
        let resting = Resting::default();
        assert!(resting.rest(Rest::InRing));
        let rang = resting.ring(|place| {
            assert_eq!(place, Rest::InRing);
            resting.woke(Rest::InRing);
            assert!(!resting.rest(Rest::Parked), "the one who rings says when it is over");
            assert!(!resting.ring(|_| panic!("it is being woken")));
        });
        assert!(rang);
        assert!(resting.rest(Rest::Parked));
    }
}
