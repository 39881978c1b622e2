//! Clusters of nodes over a network with loss, cuts, pauses and crashes, from a seed.

extern crate std;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::string::String;
use std::vec::Vec;

use super::*;

mod network;
mod packet;

use network::{Heard, Network, ms, node};

#[test]
fn all_know_all_within_a_second() {
    for size in [2, 3, 5, 20, 60] {
        let mut net = Network::started(size, 1);
        net.run(ms(1000));
        net.assert_complete();
    }
}

/// Time from a crash of one node to the last of the others knowing it. `cut` is a machine that went
/// dark: nobody is told; `killed` a process that ended: its links break.
#[test]
fn a_crash_is_known_to_all_in_less_than_a_second_and_a_half() {
    const RUNS: u64 = 12;
    let mut table = String::from("nodes  loss  end     median  worst\n");
    for size in [2, 3, 5, 20] {
        for (loss, is_killed) in [(0, true), (0, false), (100, false)] {
            let mut times: Vec<u64> =
                (0..RUNS).map(|seed| detection(size, seed, loss, is_killed)).collect();
            times.sort_unstable();
            let (median, worst) = (times[times.len() / 2], *times.last().unwrap());
            assert!(worst < 1500, "{size} nodes, loss {loss}: {worst} ms");
            let end = if is_killed { "killed" } else { "cut" };
            writeln!(table, "{size:>5} {:>4}%  {end:<6} {median:>7} {worst:>6}", loss / 100)
                .unwrap();
        }
    }
    // For the eyes of whoever changes a timing: shown with `--nocapture`.
    std::println!("{table}");
}

fn detection(size: u32, seed: u64, loss: u32, is_killed: bool) -> u64 {
    let mut net = Network::started(size, seed);
    net.loss = loss;
    net.run(ms(2000 + seed * 7));
    let crashed_at = net.now;
    net.crash(0, is_killed);
    net.run(ms(4000));
    let downs: BTreeMap<u32, Instant> = net
        .heard
        .iter()
        .filter(|(at, _, heard)| crashed_at <= *at && matches!(heard, Heard::Down(0, _)))
        .map(|(at, who, _)| (*who, *at))
        .collect();
    assert_eq!(downs.len() as u32, size - 1, "size {size} seed {seed}: all know");
    let last = downs.values().max().unwrap();
    last.since(crashed_at).as_millis() as u64
}

#[test]
fn one_lost_packet_in_a_hundred_kills_nobody() {
    for (size, seed) in [(2, 1), (3, 2), (5, 3), (20, 4)] {
        let mut net = Network::started(size, seed);
        net.run(ms(1000));
        net.loss = 100;
        net.run(ms(100_000));
        net.assert_complete();
        net.assert_nobody_was_down();
    }
}

#[test]
fn a_suspect_that_lives_says_so() {
    let (mut suspected, mut refuted) = (0, 0);
    for seed in 0..40 {
        let mut net = Network::started(10, seed);
        net.run(ms(1000));
        net.cut(&[0]);
        net.run(ms(400 + seed * 5));
        net.heal();
        net.run(ms(1500));
        let about_it = |fact: Fact| net.facts.iter().filter(|(_, _, f)| *f == fact).count();
        suspected += about_it(Fact::Suspected { node: node(0) });
        refuted += about_it(Fact::Refuted { node: node(0) });
        net.assert_nobody_was_down();
    }
    assert!(0 < refuted && refuted <= suspected, "{refuted} of {suspected}");
}

#[test]
fn a_lost_link_alone_is_a_suspicion_that_is_refuted() {
    let mut net = Network::started(5, 4);
    net.run(ms(1000));
    net.input(1, Input::LinkDown { node: node(0), end: LinkEnd::Closed });
    net.run(ms(1));
    assert!(net.facts.is_empty(), "closed on purpose");
    net.input(2, Input::LinkDown { node: node(0), end: LinkEnd::Lost });
    net.run(ms(1000));
    assert!(
        net.facts
            .iter()
            .any(|(_, who, fact)| { *who == 2 && *fact == Fact::Refuted { node: node(0) } })
    );
    net.assert_nobody_was_down();
}

/// The others give up a node that is stopped for three seconds; it gives up nobody, and is back under
/// a greater incarnation.
#[test]
fn a_stopped_node_comes_back_and_blames_nobody() {
    let mut net = Network::started(10, 5);
    net.run(ms(1000));
    net.pause(0, ms(3000));
    net.run(ms(2900));
    assert!(net.heard.iter().any(|(_, _, heard)| matches!(heard, Heard::Down(0, _))));
    net.run(ms(2000));
    let blamed = net.heard.iter().filter(|(_, _, heard)| match heard {
        Heard::Down(who, _) => *who != 0,
        Heard::Up(..) => false,
    });
    assert_eq!(blamed.count(), 0);
    assert_eq!(net.incarnation(0), 2);
    net.assert_complete();
}

#[test]
fn a_short_stop_goes_unpunished() {
    let mut net = Network::started(10, 6);
    net.run(ms(1000));
    net.pause(0, ms(600));
    net.run(ms(3000));
    net.assert_complete();
    net.assert_nobody_was_down();
}

/// A node that sends and hears nothing takes all others for dead. It is out before it says so.
#[test]
fn a_deaf_node_takes_nobody_with_it() {
    for seed in 0..10 {
        let mut net = Network::started(8, seed);
        net.run(ms(1000));
        net.deaf.insert(0);
        net.run(ms(6000));
        for (_, who, heard) in &net.heard {
            if let Heard::Down(down, _) = heard {
                assert!(*who == 0 || *down == 0, "seed {seed}: {who} thinks {down} is down");
            }
        }
        assert!(HEALTH_MAX / 2 <= net.machine(0).health(), "it knows that it is ill");
    }
}

/// Two that were slow are left. Each probes seldom, nearly always the dead, so whenever one hears the
/// other a silence ends.
#[test]
fn who_is_left_by_nearly_all_gives_them_up() {
    for seed in 0..4 {
        let mut net = Network::started(6, seed);
        net.run(ms(1000));
        (2..6).for_each(|index| net.crash(index, false));
        for _ in 0..8 {
            (0..2).for_each(|index| net.pause(index, ms(290)));
            net.run(ms(300));
        }
        net.run(ms(20_000));
        net.assert_complete();
    }
}

#[test]
fn ten_of_twenty_leave_and_no_replay_revives_them() {
    let mut net = Network::started(20, 7);
    net.run(ms(1000));
    net.recording = true;
    net.run(ms(300));
    net.recording = false;
    let left_at = net.now;
    for leaver in 0..10 {
        net.input(leaver, Input::Leave { reason: LeaveReason::Maintenance });
    }
    net.run(ms(250));
    for stayer in 10..20 {
        let seen: BTreeSet<u32> = net
            .heard
            .iter()
            .filter(|(at, who, _)| left_at <= *at && *who == stayer)
            .map(|(_, _, heard)| match heard {
                Heard::Down(down, Why::Left(LeaveReason::Maintenance)) => *down,
                other @ (Heard::Up(..) | Heard::Down(..)) => panic!("{stayer} heard {other:?}"),
            })
            .collect();
        assert_eq!(seen, (0..10).collect());
    }
    let before = net.heard.len();
    net.replay();
    net.run(ms(5000));
    assert_eq!(net.heard.len(), before, "no word of the past has an effect");
    net.assert_complete();

    for returner in 0..10 {
        net.restart(returner);
    }
    net.run(ms(1000));
    net.assert_complete();
}

#[test]
fn a_goodbye_reaches_who_did_not_get_it_first_hand() {
    let mut net = Network::started(10, 8);
    net.run(ms(1000));
    for other in 2..10 {
        net.unlink(0, other);
    }
    net.input(0, Input::Leave { reason: LeaveReason::Shutdown });
    net.run(ms(400));
    let heard = net
        .heard
        .iter()
        .filter(|(_, _, heard)| *heard == Heard::Down(0, Why::Left(LeaveReason::Shutdown)));
    assert_eq!(heard.count(), 9);
}

#[test]
fn a_goodbye_after_a_failure_is_said_too() {
    let mut net = Network::started(3, 9);
    net.run(ms(1000));
    net.cut(&[0]);
    net.run(ms(1500));
    net.heal();
    net.input(0, Input::Leave { reason: LeaveReason::Removed });
    net.run(ms(200));
    let why = |who: u32| -> Vec<Why> {
        let of = net.heard.iter().filter(|(_, at, _)| *at == who);
        of.filter_map(|(_, _, heard)| match heard {
            Heard::Down(0, why) => Some(*why),
            Heard::Down(..) | Heard::Up(..) => None,
        })
        .collect()
    };
    assert_eq!(why(1), [Why::Failed, Why::Left(LeaveReason::Removed)]);
}

#[test]
fn both_sides_of_a_healed_partition_find_together() {
    let mut net = Network::started(20, 10);
    net.run(ms(1000));
    let half: Vec<u32> = (0..10).collect();
    net.cut(&half);
    net.run(ms(5000));
    for who in 0..20 {
        assert_eq!(net.machine(who).members().count(), 9, "{who}");
    }
    net.heal();
    // One link between the sides is enough.
    net.link(3, 15);
    net.run(ms(4000));
    net.assert_complete();
}

#[test]
fn a_quick_restart_is_one_word() {
    let mut net = Network::started(5, 11);
    net.run(ms(1000));
    let before = net.heard.len();
    net.crash(0, false);
    net.restart(0);
    net.run(ms(1000));
    net.assert_complete();
    let others = net.heard[before..].iter().filter(|(_, who, _)| *who != 0);
    let words: Vec<&Heard> = others.map(|(_, _, heard)| heard).collect();
    assert_eq!(words, [&Heard::Up(0, 2, Some(1)); 4]);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let history = |seed| {
        let mut net = Network::started(8, seed);
        net.loss = 500;
        net.run(ms(2000));
        net.crash(3, false);
        net.run(ms(2000));
        (net.sent, net.heard)
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1).0, history(2).0);
}

#[test]
fn churn_leaves_nothing_behind() {
    let mut net = Network::started(6, 12);
    net.timing.memory = ms(5000);
    net.rebuild();
    net.run(ms(1000));
    for round in 0..50 {
        let who = 1 + round % 5;
        if round % 2 == 0 {
            net.input(who, Input::Leave { reason: LeaveReason::Shutdown });
        } else {
            net.crash(who, true);
        }
        net.run(ms(700));
        net.restart(who);
        net.run(ms(300));
    }
    net.crash(5, true);
    net.run(ms(10_000));
    net.assert_complete();
    let machine = net.machine(0);
    assert_eq!(machine.swim.iter_membership_state().len(), 4, "the live, nobody else");
    assert_eq!(machine.roster.next(), None, "nobody is remembered");
    assert_eq!(machine.swim.updates_backlog(), 0);
    assert_eq!(machine.health(), 0);
}

/// What a node costs its network when nothing happens.
#[test]
fn quiet_clusters_are_quiet() {
    for (size, bytes_max) in [(3, 400), (20, 500), (60, 500)] {
        let mut net = Network::started(size, 13);
        net.run(ms(15_000));
        let before = net.sent;
        net.run(ms(10_000));
        let bytes = (net.sent.1 - before.1) / u64::from(size) / 10;
        assert!(bytes < bytes_max, "{size} nodes: {bytes} bytes a second and node");
    }
}

/// Five probes of either kind begin in a second; nothing else is waited for.
#[test]
fn who_is_answered_and_has_no_news_is_woken_seldom() {
    let mut net = Network::started(20, 14);
    net.run(ms(15_000));
    let before = net.wakes;
    net.run(ms(10_000));
    let wakes = (net.wakes - before) / 20 / 10;
    assert!((9..12).contains(&wakes), "{wakes} a second and node");
}
