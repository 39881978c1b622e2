//! A shard that goes to sleep and those that give it work, in every order loom finds.

#![cfg(all(test, loom))]
#![forbid(unsafe_code)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

#[path = "../../../router/src/mesh/rest.rs"]
mod rest;

use rest::{Rest, Resting};

/// A shard with two places to sleep in, and work that others give it.
struct Shard {
    resting: Resting,
    work: AtomicUsize,
    /// The eventfds: what was written stays until it is read.
    rung: [AtomicBool; 2],
}

impl Shard {
    fn new() -> Arc<Self> {
        let rung = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(Self { resting: Resting::default(), work: AtomicUsize::new(0), rung })
    }

    fn give(&self) -> bool {
        // A ring's producer publishes its position like this.
        self.work.fetch_add(1, Ordering::Release);
        self.resting.ring(|place| {
            let was = self.rung[place as usize - 1].swap(true, Ordering::SeqCst);
            assert!(!was, "rung once, until it woke");
        })
    }

    /// Goes to sleep at `place`, if there is nothing to do. Wakes only when it is rung.
    fn sleep(&self, place: Rest) {
        let may_rest = self.resting.rest(place);
        if may_rest && self.work.load(Ordering::Acquire) == 0 {
            while !self.rung[place as usize - 1].swap(false, Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        self.resting.woke(place);
    }
}

/// If nobody rang a shard that sleeps, loom would find that it never wakes.
#[test]
fn work_that_is_given_wakes_the_shard() {
    for place in [Rest::InRing, Rest::Parked] {
        loom::model(move || {
            let shard = Shard::new();
            let giver = shard.clone();
            let giving = thread::spawn(move || giver.give());
            shard.sleep(place);
            let rang = giving.join().unwrap();
            assert_eq!(shard.work.load(Ordering::Acquire), 1);
            // A ring that came too late to be needed is found at the eventfd, where it was resting.
            let left = shard.rung[place as usize - 1].load(Ordering::SeqCst);
            assert!(rang || !left);
            assert!(!shard.resting.is_resting());
        });
    }
}

/// With three threads every order is too many: those with at most two preemptions (Musuvathi and
/// Qadeer, PLDI 2007, found nearly all bugs with as few).
#[test]
fn of_two_givers_at_most_one_rings() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shard = Shard::new();
        let givers = [shard.clone(), shard.clone()];
        let giving = givers.map(|giver| thread::spawn(move || giver.give()));
        shard.sleep(Rest::InRing);
        let rang = giving.map(|giving| giving.join().unwrap());
        assert!(!(rang[0] && rang[1]));
        assert!(!shard.resting.is_resting());
    });
}

/// From the ring to the executor: a ring for the first place is not taken for one at the second.
#[test]
fn who_changes_places_is_woken_where_it_is() {
    loom::model(|| {
        let shard = Shard::new();
        let giver = shard.clone();
        let giving = thread::spawn(move || giver.give());
        // Woken by itself: a timer.
        if shard.resting.rest(Rest::InRing) {
            shard.resting.woke(Rest::InRing);
        }
        shard.sleep(Rest::Parked);
        giving.join().unwrap();
        assert_eq!(shard.work.load(Ordering::Acquire), 1);
    });
}
