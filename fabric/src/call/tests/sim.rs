//! Histories of the network: at most once, one end by the deadline, nothing left.

use super::net::Net;
use super::*;

fn play(seed: u64, counted: &mut BTreeMap<Counted, u32>) {
    let mut net = Net::new(seed);
    net.play();
    for (what, count) in net.counted {
        *counted.entry(what).or_default() += count;
    }
}

/// `CALL_SEEDS=FIRST..END` plays others, each of which is said before it is played.
#[test]
fn whatever_goes_wrong_calls_keep_their_promises() {
    extern crate std;
    let given = std::env::var("CALL_SEEDS").ok();
    let (first, end) = match given.as_ref().and_then(|text| text.split_once("..")) {
        Some((first, end)) => (first.parse().unwrap(), end.parse().unwrap()),
        None => (0, 300),
    };
    let mut counted = BTreeMap::new();
    for seed in first..end {
        std::println!("seed {seed}");
        play(seed, &mut counted);
    }
    std::println!("{counted:?}");
    if given.is_some() {
        return;
    }
    let all = [
        Counted::Started,
        Counted::Answered,
        Counted::Abandoned,
        Counted::Shed,
        Counted::DuplicateAsk,
        Counted::Resent,
        Counted::Rerouted,
        Counted::Hedged,
        Counted::LateReply,
        Counted::StrayMessage,
        Counted::Failed(CallError::Deadline),
        Counted::Failed(CallError::Cancelled),
        Counted::Failed(CallError::Overloaded),
        Counted::Failed(CallError::Unreachable),
        Counted::Failed(CallError::WorkerFailed),
        Counted::Failed(CallError::NoVersion),
        Counted::Failed(CallError::NotFound),
    ];
    for what in all {
        assert!(counted.get(&what).is_some_and(|count| 20 < *count), "{what:?} in {counted:?}");
    }
}

/// [`Net::play`] looks at what becomes of answers, where they have three seconds to come.
#[test]
fn with_some_loss_and_nothing_worse_answers_get_there() {
    for seed in 0..60 {
        Net::mild(seed).play();
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let of = |seed| {
        let mut counted = BTreeMap::new();
        play(seed, &mut counted);
        counted
    };
    for seed in 0..5 {
        assert_eq!(of(seed), of(seed));
    }
}
