//! Permissions agree with brute force, and brute force sees what is wrong.
//!
//! `cargo run --release -p mpreg-tests --bin permission-oracle -- --cases 100000000` is the long run.

use mpreg_tests::permission_oracle::{Answers, Oracle};

#[test]
fn every_pair_of_patterns_and_random_lists_agree_with_brute_force() {
    let oracle = Oracle::new();
    let pairs = oracle.exhaust(&Answers::PRODUCT).unwrap();
    assert!(300_000 < pairs, "{pairs} pairs");
    let tally = oracle.judge(&Answers::PRODUCT, 100_000, 1).unwrap();
    for (answer, count) in [
        ("allowed", tally.allowed),
        ("filtered", tally.filtered),
        ("refused", tally.refused),
        ("published", tally.publishes_allowed),
        ("not published", tally.publishes - tally.publishes_allowed),
        ("received", tally.receipts_allowed),
        ("not received", tally.receipts - tally.receipts_allowed),
    ] {
        assert!(2_000 < count, "{answer}: {count}");
    }
}

#[test]
fn brute_force_finds_planted_faults() {
    let oracle = Oracle::new();
    for (fault, answers) in Answers::PLANTED {
        oracle.judge(&answers, 10_000, 1).expect_err(fault);
    }
}
