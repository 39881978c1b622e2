//! Histories of calls of functions, from seeds: at most once, one end by the deadline, nothing left.

use mpreg_fabric::call::Counted;
use mpreg_proto::call::CallError;
use mpreg_tests::calls::plan::CallPlan;
use mpreg_tests::calls::play::CallReport;
use mpreg_tests::history::{Plan as _, Tally as _, play};
use mpreg_tests::trace::Show;

/// About five seconds unoptimised. `sim --calls --seeds` runs as many as wanted.
const SEEDS: u64 = 300;

#[test]
fn whatever_goes_wrong_calls_keep_their_promises() {
    let mut total = CallReport::default();
    for seed in 0..SEEDS {
        match play::<CallPlan>(seed, Show::Nothing) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    // A network in which nothing happens breaks no rule either.
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
        let count = total.counted.get(&what).copied().unwrap_or(0);
        assert!(20 < count, "{what:?} in {total}");
    }
}

/// The rule of lost answers looks only at such histories.
#[test]
fn with_some_loss_and_nothing_worse_answers_get_there() {
    for seed in 0..60 {
        let played = CallPlan::mild(seed).play(seed, Show::Nothing);
        if let Err(broken) = played {
            panic!("seed {seed}, event {}: {}", broken.event, broken.violation);
        }
    }
}

#[test]
fn the_same_seed_is_the_same_history_of_calls() {
    for seed in 0..5 {
        let one = || play::<CallPlan>(seed, Show::Nothing).map_err(|failure| failure.to_string());
        assert_eq!(one(), one());
    }
}
