//! Histories of many nodes, from seeds: every rule of `mesh/check.rs` over all of them.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use mpreg_tests::history::{Tally as _, play};
use mpreg_tests::mesh::plan::MeshPlan;
use mpreg_tests::mesh::play::MeshReport;
use mpreg_tests::mesh::topology::Topology;
use mpreg_tests::mesh::trial;
use mpreg_tests::planted;
use mpreg_tests::trace::Show;
use mpreg_tests::updates;

/// About ten seconds unoptimised. `sim --mesh --seeds` runs as many as wanted. Seed 8 is not of them: it
/// alone takes as long as all of these.
const SEEDS: Range<u64> = 9..29;

#[test]
fn no_seed_breaks_a_rule() {
    let mut total = MeshReport::default();
    for seed in SEEDS {
        match play::<MeshPlan>(seed, Show::Nothing) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    // A simulator in which nothing happens breaks no rule either.
    let count = SEEDS.end - SEEDS.start;
    assert!(count * 1000 < total.frames, "{total}");
    assert!(count * 4 < total.lives, "{total}");
}

#[test]
fn a_message_comes_as_far_as_its_budget_and_no_farther() {
    let found = trial::budgets(1).expect("no rule is broken");
    for (budget, is_there, visits) in found {
        assert_eq!(is_there, 4 <= budget, "{budget}");
        assert_eq!(visits, usize::from(budget.min(4)), "{budget}");
    }
}

/// `fabric ring` and `fabric random` do the same for as many messages as wanted.
#[test]
fn messages_go_round_no_ring_and_into_no_dead_end() {
    for (nodes, clusters, topology) in [(14, 7, Topology::Spur), (25, 20, Topology::Random)] {
        let travels = trial::travel(1, nodes, clusters, topology, 100).expect("no rule is broken");
        assert_eq!((travels.messages, travels.duplicates), (100, 0));
        assert!(100 * (nodes as u64 - 1) <= travels.visits, "{travels:?}");
    }
}

/// Three seeds, that left, are dialled after five seconds and every five to ten after that.
#[test]
fn nobody_dials_in_vain_when_half_of_all_leave_at_once() {
    for (seed, late_ms) in [(1, 0), (2, 1), (3, 20), (4, 300)] {
        let (late, span) = (Duration::from_millis(late_ms), Duration::from_secs(35));
        let dials = trial::exodus(seed, 20, 10, late, span).expect("no rule is broken");
        assert!(dials.iter().all(|count| (3..=21).contains(count)), "{late_ms} ms: {dials:?}");
    }
}

/// `fabric updates` does the same a million times.
#[test]
fn no_true_update_is_refused() {
    let judged = updates::judge(2000);
    assert_eq!((judged.accepted, judged.withdrawn, judged.rejected), (1998, 2, 0));
}

#[test]
fn planted_bugs_still_have_their_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the workspace");
    for bug in planted::ALL {
        let text = std::fs::read_to_string(root.join(bug.file)).expect(bug.file);
        let planted = planted::plant(Path::new(bug.file), text).expect("each is once in its file");
        assert!(planted.contains(bug.to) && bug.from != bug.to, "{}", bug.name);
    }
    let main = "tests/src/bin/sim.rs";
    let text = std::fs::read_to_string(root.join(main)).expect(main);
    assert_ne!(
        planted::plant(Path::new(main), text.clone()),
        Ok(text),
        "sim is told which bug it has"
    );
}

#[test]
fn same_seed_same_history() {
    let fingerprint = |seed| {
        let report = play::<MeshPlan>(seed, Show::Nothing).expect("no rule is broken");
        report.fingerprint
    };
    assert_eq!(fingerprint(7), fingerprint(7));
    assert_ne!(fingerprint(7), fingerprint(6));
}
