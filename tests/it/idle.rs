//! Shards with nothing to do: what that costs, and whether each of the ways to be woken wakes them.
//!
//! A shard that finds nothing to do for two waits of 5 ms parks. Pauses here end before, at and after
//! that moment, so that what wakes a shard meets it on its way into the park as well.

use std::time::{Duration, Instant};

use mpreg_fabric::rng::Rng;
use mpreg_tests::live::pair::Pair;
use mpreg_tests::live::peer::{Peer, Wish};
use mpreg_tests::live::{Launch, Router, until};
use rustix::process::Signal;

fn parks(router: &Router, shard: usize) -> u64 {
    router.page().sum("mpreg_parks_total", &[&format!("shard=\"{shard}\"")])
}

/// Waits until every shard has parked since.
#[track_caller]
fn until_parked(router: &Router, shards: usize) {
    for shard in 0..shards {
        let before = parks(router, shard);
        // Something to wake up for, so that there is a park to see.
        drop(router.client_on(shard, &router.tcp(), Wish::default()));
        until("the shard has parked", || (before < parks(router, shard)).then_some(()));
    }
}

#[test]
fn nothing_to_do_costs_next_to_nothing() {
    for shards in [1, 2] {
        let router = Launch::of(shards).start();
        let _clients: Vec<Peer> = (0..50).map(|_| router.client()).collect();
        until_parked(&router, shards);
        let before = router.cpu();
        std::thread::sleep(Duration::from_secs(2));
        let used = router.cpu() - before;
        assert!(used < Duration::from_millis(100), "{used:?} of 2 s on {shards} shards");
    }
}

/// One pair between each two shards, each way.
fn pairs(router: &Router, shards: usize) -> Vec<Pair> {
    let places = (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to)));
    let pair = |(at, (from, to)): (usize, (usize, usize))| {
        let client = |shard| router.client_on(shard, &router.tcp(), Wish::default());
        Pair::between(client(from), client(to), &format!("pair.{at}"))
    };
    places.enumerate().map(pair).collect()
}

#[track_caller]
fn every_message_wakes(shards: usize) {
    let router = Launch::of(shards).start();
    let mut pairs = pairs(&router, shards);
    let mut rng = Rng::from_seed(shards as u64);
    let parks_before: u64 = (0..shards).map(|shard| parks(&router, shard)).sum();
    for round in 0..200 {
        let pause = match round % 10 {
            0 => 100_000,
            1..4 => 20_000 + rng.below(20_000),
            _ => 8_000 + rng.below(6_000),
        };
        std::thread::sleep(Duration::from_micros(pause.into()));
        // Alone at first: whatever another one sends would wake the shard as well.
        let chosen = rng.below(pairs.len() as u32) as usize;
        pairs[chosen].exchange();
        if round % 2 == 0 {
            std::thread::scope(|scope| {
                for pair in &mut pairs {
                    let burst = 1 + rng.below(20);
                    scope.spawn(move || {
                        for _ in 0..burst {
                            pair.exchange();
                        }
                    });
                }
            });
        }
    }
    let parks_since = (0..shards).map(|shard| parks(&router, shard)).sum::<u64>() - parks_before;
    assert!(50 < parks_since, "parked {parks_since} times");
}

#[test]
fn every_message_wakes_one_shard() {
    every_message_wakes(1);
}

#[test]
fn every_message_wakes_two_shards() {
    every_message_wakes(2);
}

#[test]
fn newcomers_goodbyes_and_deadlines_wake_too() {
    let file = "limits.ping_interval_ms = 600_000\nlimits.handshake_ms = 200";
    let mut router = Launch::of(2).file(file).with_socket().start();
    for _ in 0..10 {
        for address in router.addresses() {
            until_parked(&router, 2);
            let mut late = Peer::dial(&address);
            let dialled_at = Instant::now();
            let sessions = || router.page().sum("mpreg_sessions", &[]);
            until("it is taken in", || (sessions() == 1).then_some(()));
            assert_eq!(late.hear_out(), ["error handshake_timeout"]);
            // Not by chance of something else: the next deadline is minutes away.
            assert!(dialled_at.elapsed() < Duration::from_secs(30), "{:?}", dialled_at.elapsed());
            drop(late);
            until("it is gone", || (sessions() == 0).then_some(()));
        }
    }
    until_parked(&router, 2);
    router.signal(Signal::TERM);
    assert_eq!(router.wait().code(), Some(0));
}
