//! Nodes that dial each other: storms, duplicates, strangers, in a world with one clock and one seed.

extern crate std;

use std::collections::BTreeSet;
use std::vec::Vec;

use super::*;
use crate::limits::DIALS_MAX;

mod world;

use world::{World, address, ms, node};

fn dialler(own: u32) -> Dialler {
    Dialler::new(node(own), Timing::DEFAULT, Rng::from_seed(1))
}

fn at(millis: u64) -> Instant {
    Instant::START + ms(millis)
}

fn up(index: u32, incarnation: u64) -> Input {
    let (node, address) = (node(index), address(index));
    Input::MemberUp { node, incarnation: Incarnation(incarnation), address }
}

fn down(index: u32, how: Gone) -> Input {
    Input::MemberDown { node: node(index), incarnation: Incarnation(1), how }
}

fn accepted(link: u64, index: u32, incarnation: u64) -> Input {
    let (link, incarnation) = (LinkId(link), Incarnation(incarnation));
    Input::LinkUp {
        link,
        node: node(index),
        incarnation,
        origin: Origin::Accepted,
        is_abroad: false,
    }
}

fn dialled(link: u64, index: u32, incarnation: u64) -> Input {
    let (link, incarnation) = (LinkId(link), Incarnation(incarnation));
    let origin = Origin::Dialled { address: address(index) };
    Input::LinkUp { link, node: node(index), incarnation, origin, is_abroad: false }
}

/// Of another cluster.
fn dialled_abroad(link: u64, index: u32) -> Input {
    let (link, incarnation) = (LinkId(link), Incarnation(1));
    let origin = Origin::Dialled { address: address(index) };
    Input::LinkUp { link, node: node(index), incarnation, origin, is_abroad: true }
}

fn chosen(link: u64, index: u32, incarnation: u64) -> Effect {
    let incarnation = Incarnation(incarnation);
    Effect::LinkChosen { node: node(index), incarnation, link: LinkId(link) }
}

fn close(link: u64, why: CloseReason) -> Effect {
    Effect::Close { link: LinkId(link), why }
}

fn step(machine: &mut Dialler, millis: u64, input: Input) -> Vec<Effect> {
    let mut out = Vec::new();
    machine.handle(input, at(millis), &mut out);
    out
}

/// Lets time pass; answers with who was dialled when.
fn dials(machine: &mut Dialler, until: u64) -> Vec<(u64, PeerAddress)> {
    let mut all = Vec::new();
    while let Some((due, _)) = machine.deadline().filter(|(due, _)| *due <= at(until)) {
        let mut out = Vec::new();
        machine.handle(Input::Tick, due, &mut out);
        for effect in out {
            if let Effect::Dial { address, .. } = effect {
                let millis = due.since(Instant::START).as_millis() as u64;
                all.push((millis, address.clone()));
                let failed = Input::DialFailed { address };
                machine.handle(failed, due + ms(1), &mut Vec::new());
            }
        }
    }
    all
}

#[test]
fn waits_double_up_to_a_bound() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    let times: Vec<u64> = dials(&mut machine, 60_000).into_iter().map(|(at, _)| at).collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (failures, wait) in waits.iter().enumerate() {
        let whole = (100 << failures.min(10)).min(5000);
        assert!((whole / 2..=whole + 2).contains(wait), "{failures}: {wait}");
    }
    assert!(waits.len() > 10);
}

#[test]
fn the_greater_id_lets_the_smaller_dial() {
    let (mut smaller, mut greater) = (dialler(1), dialler(2));
    step(&mut smaller, 0, up(2, 1));
    step(&mut greater, 0, up(1, 1));
    let first = |machine: &mut Dialler| dials(machine, 400)[0].0;
    assert!(first(&mut smaller) < 25);
    assert!(first(&mut greater) >= 150, "and dials if nothing comes");
}

#[test]
fn four_dials_at_most_and_a_silent_one_ends() {
    let mut machine = dialler(1);
    for index in 2..12 {
        step(&mut machine, 0, up(index, 1));
    }
    let is_dial = |effect: &Effect| matches!(effect, Effect::Dial { .. });
    assert_eq!(step(&mut machine, 30, Input::Tick).iter().filter(|e| is_dial(e)).count(), 4);
    assert_eq!(machine.dials_open(), DIALS_MAX);
    assert_eq!(step(&mut machine, 5029, Input::Tick), []);
    let next = step(&mut machine, 5030, Input::Tick);
    assert_eq!(next.iter().filter(|e| is_dial(e)).count(), 4, "the next four");
}

#[test]
fn of_two_links_that_crossed_the_one_of_the_smaller_id_stays_at_both_ends() {
    // 1 dialled its link 10, which is 20 at 2; 2 dialled its link 21, which is 11 at 1.
    for is_first in [true, false] {
        let (mut smaller, mut greater) = (dialler(1), dialler(2));
        let (mut at_smaller, mut at_greater) =
            ([dialled(10, 2, 1), accepted(11, 2, 1)], [accepted(20, 1, 1), dialled(21, 1, 1)]);
        if !is_first {
            at_smaller.reverse();
            at_greater.reverse();
        }
        let mut said = Vec::new();
        at_smaller.into_iter().for_each(|input| said.extend(step(&mut smaller, 0, input)));
        at_greater.into_iter().for_each(|input| said.extend(step(&mut greater, 0, input)));
        assert_eq!(smaller.link(node(2)), Some(LinkId(10)));
        assert_eq!(greater.link(node(1)), Some(LinkId(20)));
        let closed: Vec<_> =
            said.into_iter().filter(|effect| matches!(effect, Effect::Close { .. })).collect();
        assert_eq!(closed, [close(11, CloseReason::Duplicate)], "by who knows that both know");
        let ended = |link| Input::LinkDown { link: LinkId(link), end: End::Closed };
        assert_eq!(step(&mut greater, 0, ended(21)), [], "nobody is without a link meanwhile");
        assert_eq!(greater.link(node(1)), Some(LinkId(20)));
    }
}

#[test]
fn a_link_of_a_greater_incarnation_replaces_any() {
    let mut machine = dialler(1);
    assert_eq!(step(&mut machine, 0, dialled(10, 2, 1)), [chosen(10, 2, 1)]);
    let said = step(&mut machine, 0, accepted(11, 2, 2));
    assert_eq!(said, [close(10, CloseReason::Duplicate), chosen(11, 2, 2)]);
}

#[test]
fn of_two_it_dialled_itself_a_node_closes_the_younger() {
    let mut machine = dialler(1);
    step(&mut machine, 0, dialled(10, 2, 1));
    let said = step(&mut machine, 0, dialled(11, 2, 1));
    assert_eq!(said, [close(11, CloseReason::Duplicate)]);
}

#[test]
fn of_two_the_other_dialled_the_younger_is_used_until_one_ends() {
    let mut machine = dialler(2);
    assert_eq!(step(&mut machine, 0, accepted(10, 1, 1)), [chosen(10, 1, 1)]);
    assert_eq!(step(&mut machine, 0, accepted(11, 1, 1)), [chosen(11, 1, 1)]);
    let ended = Input::LinkDown { link: LinkId(11), end: End::Closed };
    assert_eq!(step(&mut machine, 0, ended.clone()), [chosen(10, 1, 1)]);
    assert_eq!(step(&mut machine, 0, ended), [], "said twice");
    let many: Vec<Effect> =
        (12..16).flat_map(|link| step(&mut machine, 0, accepted(link, 1, 1))).collect();
    let closed = many.iter().filter(|effect| matches!(effect, Effect::Close { .. }));
    let oldest = [close(10, CloseReason::Duplicate), close(12, CloseReason::Duplicate)];
    assert_eq!(closed.cloned().collect::<Vec<_>>(), oldest);
    assert_eq!(machine.link(node(1)), Some(LinkId(15)));
}

#[test]
fn a_node_that_left_is_not_dialled_and_its_links_are_closed() {
    let mut machine = dialler(1);
    step(&mut machine, 0, Input::Seeds(std::vec![address(2)]));
    step(&mut machine, 0, up(2, 1));
    step(&mut machine, 0, up(3, 1));
    step(&mut machine, 0, dialled(9, 3, 1));
    assert_eq!(step(&mut machine, 10, dialled(10, 2, 1)), [chosen(10, 2, 1)]);
    let said = step(&mut machine, 1000, down(2, Gone::Left));
    let lost = Effect::NodeLost { node: node(2), end: End::Closed };
    assert_eq!(said, [close(10, CloseReason::Departed), lost]);
    assert_eq!(step(&mut machine, 1001, accepted(11, 2, 1)), [close(11, CloseReason::Departed)]);
    let mut before = 1000;
    for (at, _) in dials(&mut machine, 60_000) {
        assert!(5000 <= at - before, "as a seed it is dialled slowly: {before}, {at}");
        before = at;
    }
    assert!(50_000 < before, "somebody else may be there");
    assert_eq!(step(&mut machine, 60_000, accepted(12, 2, 2)), [chosen(12, 2, 2)]);
}

#[test]
fn a_node_that_left_is_dialled_at_once_when_it_is_back() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    step(&mut machine, 0, down(2, Gone::Left));
    assert_eq!(dials(&mut machine, 500), []);
    step(&mut machine, 500, up(2, 1));
    assert_eq!(machine.linked().count(), 0);
    step(&mut machine, 600, up(2, 2));
    assert_eq!(dials(&mut machine, 640).len(), 1);
}

#[test]
fn a_seed_that_left_is_dialled_after_the_grace_if_nobody_else_is_there() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    step(&mut machine, 0, dialled(10, 2, 1));
    step(&mut machine, 0, Input::Seeds(std::vec![address(2)]));
    step(&mut machine, 1000, down(2, Gone::Left));
    assert_eq!(dials(&mut machine, 5999), []);
    assert!(!dials(&mut machine, 7000).is_empty());
}

#[test]
fn seeds_are_dialled_until_one_is_reached() {
    let mut machine = dialler(1);
    let seeds = std::vec![address(2), address(3), address(1)];
    let out = step(&mut machine, 0, Input::Seeds(seeds));
    assert_eq!(out.len(), 3);
    for index in 2..4 {
        step(&mut machine, 1, Input::DialFailed { address: address(index) });
    }
    assert_eq!(step(&mut machine, 1, dialled(9, 1, 1)), [close(9, CloseReason::OwnNode)]);
    let alone = dials(&mut machine, 60_000);
    assert!(20 < alone.len());
    assert!(alone.iter().all(|(_, to)| *to != address(1)), "not itself again");
    step(&mut machine, 60_000, dialled(10, 2, 1));
    let beside = dials(&mut machine, 120_000);
    assert!(beside.iter().all(|(_, to)| *to == address(3)), "who is unknown");
    assert!(beside.len() <= 12, "slowly: {}", beside.len());
}

#[test]
fn a_seed_of_another_cluster_is_dialled_every_second_when_it_is_lost() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(3, 1));
    step(&mut machine, 0, accepted(1, 3, 1));
    step(&mut machine, 0, Input::Seeds(std::vec![address(2), address(4)]));
    step(&mut machine, 10, dialled_abroad(2, 2));
    step(&mut machine, 20, Input::DialFailed { address: address(4) });
    step(&mut machine, 10_000, Input::LinkDown { link: LinkId(2), end: End::Lost });
    let dials = dials(&mut machine, 60_000);
    let of = |index| {
        let of = dials.iter().filter(|(at, to)| 20_000 <= *at && *to == address(index));
        of.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert!(of(2).windows(2).all(|pair| (500..=1002).contains(&(pair[1] - pair[0]))));
    assert!(40 <= of(2).len() && of(4).len() <= 8, "{dials:?}");
}

#[test]
fn who_leaves_dials_nobody_and_takes_no_links() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    step(&mut machine, 0, Input::Stop);
    assert_eq!(machine.deadline(), None);
    assert_eq!(step(&mut machine, 500, Input::Tick), []);
    assert_eq!(step(&mut machine, 500, accepted(9, 2, 1)), [close(9, CloseReason::Stopping)]);
}

#[test]
fn who_has_left_chooses_no_link() {
    let mut machine = dialler(2);
    step(&mut machine, 0, accepted(10, 1, 1));
    step(&mut machine, 0, accepted(11, 1, 1));
    step(&mut machine, 0, Input::Stop);
    for link in [11, 10] {
        let (link, end) = (LinkId(link), End::Closed);
        assert_eq!(step(&mut machine, 1, Input::LinkDown { link, end }), []);
    }
}

#[test]
fn lost_members_are_bounded_and_forgotten() {
    let mut machine = dialler(1);
    for index in 2..2000 {
        step(&mut machine, u64::from(index), up(index, 1));
        step(&mut machine, u64::from(index), down(index, Gone::Failed));
    }
    // Dials of addresses that made room are under way.
    assert!((LOST_NODES_MAX..=LOST_NODES_MAX + DIALS_MAX).contains(&machine.places.len()));
    assert!(machine.places.contains_key(&address(1999)));
    step(&mut machine, 25 * 3600 * 1000, Input::Tick);
    assert_eq!((machine.places.len(), machine.peers.len()), (0, 0));
}

/// A member lost at its address, and the first dial of that address from then on.
fn lost(machine: &mut Dialler, index: u32) -> (u64, Option<NodeId>) {
    step(machine, 0, up(index, 1));
    let ended = dials(machine, 1000);
    assert!(!ended.is_empty());
    step(machine, 1000, down(index, Gone::Failed));
    next_dial(machine, address(index), 1000)
}

/// When this address is dialled, and for whom. The dial is left open.
fn next_dial(machine: &mut Dialler, to: PeerAddress, from: u64) -> (u64, Option<NodeId>) {
    let mut now = at(from);
    loop {
        let (due, _) = machine.deadline().expect("it is dialled");
        now = now.max(due);
        let mut out = Vec::new();
        machine.handle(Input::Tick, now, &mut out);
        for effect in out {
            match effect {
                Effect::Dial { address, node } if address == to => {
                    return (now.since(Instant::START).as_millis() as u64, node);
                }
                Effect::Dial { address, .. } => {
                    machine.handle(Input::DialFailed { address }, now, &mut Vec::new());
                }
                Effect::Close { .. } | Effect::LinkChosen { .. } | Effect::NodeLost { .. } => {}
            }
        }
    }
}

#[test]
fn where_a_member_was_lost_whoever_is_there_will_do() {
    let mut machine = dialler(1);
    assert_eq!(lost(&mut machine, 2).1, None);
    // A machine that lost its disk. It is linked, so nobody is looked for where it is.
    let origin = Origin::Dialled { address: address(2) };
    let (link, incarnation) = (LinkId(7), Incarnation(1));
    let found = Input::LinkUp { link, node: node(9), incarnation, origin, is_abroad: false };
    assert_eq!(step(&mut machine, 20_000, found), [chosen(7, 9, 1)]);
    assert_eq!(dials(&mut machine, 60_000), []);
    step(&mut machine, 60_000, Input::LinkDown { link, end: End::Lost });
    assert_eq!(next_dial(&mut machine, address(2), 60_000).1, None);
}

#[test]
fn who_failed_to_answer_for_long_is_looked_for_soon_once_lost() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    assert!(20 < dials(&mut machine, 120_000).len());
    step(&mut machine, 120_000, down(2, Gone::Failed));
    assert!(next_dial(&mut machine, address(2), 120_000).0 <= 130_000);
}

#[test]
fn where_a_member_is_nobody_else_is_looked_for() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(2, 1));
    // Its address has another name now, which is linked.
    let (node, address) = (node(9), address(2));
    step(&mut machine, 0, Input::MemberUp { node, incarnation: Incarnation(1), address });
    step(&mut machine, 0, accepted(7, 9, 1));
    step(&mut machine, 10, down(2, Gone::Failed));
    assert_eq!(dials(&mut machine, 60_000), []);
}

#[test]
fn of_two_members_at_an_address_the_one_that_said_so_last_is_dialled() {
    let mut machine = dialler(1);
    let is_at = |index, incarnation| {
        let (node, incarnation, address) = (node(index), Incarnation(incarnation), address(2));
        Input::MemberUp { node, incarnation, address }
    };
    step(&mut machine, 0, is_at(2, 1));
    step(&mut machine, 0, is_at(9, 1));
    assert_eq!(next_dial(&mut machine, address(2), 0).1, Some(node(9)));
    step(&mut machine, 100, Input::DialFailed { address: address(2) });
    step(&mut machine, 100, down(9, Gone::Failed));
    assert_eq!(next_dial(&mut machine, address(2), 100).1, Some(node(2)));
}

/// A machine that lost its disk has another name, and some hear of the one before after that of the one now.
#[test]
fn a_seed_that_left_is_left_alone_whichever_of_its_names_failed_before() {
    for up_first in [2, 3] {
        let mut machine = dialler(1);
        step(&mut machine, 0, Input::Seeds([address(2)].into()));
        let there = |index| Input::MemberUp {
            node: node(index),
            incarnation: Incarnation(1),
            address: address(2),
        };
        step(&mut machine, 1, there(up_first));
        step(&mut machine, 2, dialled(7, 2, 1));
        step(&mut machine, 3, there(5 - up_first));
        step(&mut machine, 4, down(3, Gone::Failed));
        let said = step(&mut machine, 100, down(2, Gone::Left));
        let lost = Effect::NodeLost { node: node(2), end: End::Closed };
        assert_eq!(said, [close(7, CloseReason::Departed), lost], "and nothing is dialled");
        let first = dials(&mut machine, 20_000)[0].0;
        assert!(5100 <= first, "{first}");
    }
}

#[test]
fn who_is_somewhere_else_is_not_looked_for_where_it_was() {
    let mut machine = dialler(1);
    lost(&mut machine, 2);
    step(&mut machine, 20_000, Input::DialFailed { address: address(2) });
    let (node, address) = (node(2), address(3));
    step(&mut machine, 20_000, Input::MemberUp { node, incarnation: Incarnation(2), address });
    step(&mut machine, 20_000, accepted(7, 2, 2));
    assert_eq!(dials(&mut machine, 60_000), []);
}

#[test]
fn a_dial_under_way_counts_whatever_becomes_of_whom_it_was_for() {
    let mut machine = dialler(1);
    (2..6).for_each(|index| drop(step(&mut machine, 0, up(index, 1))));
    step(&mut machine, 30, Input::Tick);
    assert_eq!(machine.dials_open(), DIALS_MAX);
    (2..6).for_each(|index| drop(step(&mut machine, 30, down(index, Gone::Left))));
    assert_eq!(machine.dials_open(), DIALS_MAX);
    step(&mut machine, 30, up(9, 1));
    assert_eq!(step(&mut machine, 4000, Input::Tick), []);
    step(&mut machine, 4000, Input::DialFailed { address: address(2) });
    assert_eq!(machine.dials_open(), DIALS_MAX, "9 is dialled in its place");
    let places = machine.places.keys();
    assert_eq!(places.collect::<Vec<_>>(), [&address(3), &address(4), &address(5), &address(9)]);
}

/// How often a seed is dialled in a minute that hangs up at once.
fn dials_of_who_hangs_up(up: impl Fn(u64) -> Input) -> usize {
    let mut machine = dialler(1);
    step(&mut machine, 0, Input::Seeds(std::vec![address(2)]));
    let (mut now, mut count) = (0, 0);
    for link in 0.. {
        step(&mut machine, now, up(link));
        step(&mut machine, now + 1, Input::LinkDown { link: LinkId(link), end: End::Closed });
        (now, _) = next_dial(&mut machine, address(2), now + 1);
        if 60_000 < now {
            break;
        }
        count += 1;
    }
    count
}

#[test]
fn a_seed_that_hangs_up_at_once_is_dialled_ever_more_slowly() {
    let near = dials_of_who_hangs_up(|link| dialled(link, 2, 1));
    assert!((10..40).contains(&near), "{near}");
    let abroad = dials_of_who_hangs_up(|link| dialled_abroad(link, 2));
    assert!((60..120).contains(&abroad), "{abroad}");
}

#[test]
fn a_seed_that_said_goodbye_while_it_was_dialled_has_said_goodbye() {
    let mut machine = dialler(1);
    step(&mut machine, 0, up(3, 1));
    step(&mut machine, 0, accepted(1, 3, 1));
    step(&mut machine, 0, Input::Seeds(std::vec![address(2)]));
    step(&mut machine, 5, down(2, Gone::Left));
    assert_eq!(step(&mut machine, 10, dialled(2, 2, 1)), [close(2, CloseReason::Departed)]);
    let dials = dials(&mut machine, 60_000);
    assert!((1..=12).contains(&dials.len()), "{dials:?}");
    assert!(5000 <= dials[0].0, "{dials:?}");
}

#[test]
fn twenty_nodes_are_all_linked_and_few_links_are_double() {
    let mut world = World::started(20, 1);
    world.run(ms(3000));
    for index in 0..20 {
        assert_eq!(world.linked(index).len(), 19, "{index}");
    }
    assert_eq!(world.links_open(), 190);
    assert!(world.dials < 190 + 60, "{} dials", world.dials);
}

#[test]
fn a_hundred_nodes_see_to_fourteen_links_each_and_hold_together() {
    let mut world = World::started(100, 2);
    world.run(ms(10_000));
    let is_seed = |index: &u32| [0, 10].contains(index);
    let others = (0..100).filter(|index| !is_seed(index));
    let degrees: Vec<usize> = others.map(|index| world.linked(index).len()).collect();
    assert!(degrees.iter().all(|degree| (14..=20).contains(degree)), "{degrees:?}");
    // Without the seeds, which all began with.
    let mut reached = BTreeSet::from([1]);
    let mut fresh = std::vec![1];
    while let Some(from) = fresh.pop() {
        let linked = world.linked(from).into_iter().filter(|to| !is_seed(to));
        fresh.extend(linked.filter(|to| reached.insert(*to)));
    }
    assert_eq!(reached.len(), 98);
}

#[test]
fn ten_of_twenty_leave_and_nobody_dials_them() {
    let mut world = World::started(20, 3);
    world.run(ms(3000));
    let before = world.dials;
    (0..10).for_each(|index| world.leave(index));
    world.run(ms(30_000));
    // Ten nodes look every five to ten seconds whether one seed that left is back.
    assert!(world.dials - before <= 10 * 6, "{} dials", world.dials - before);
    for index in 10..20 {
        assert_eq!(world.linked(index), (10..20).filter(|other| *other != index).collect());
    }
    (0..10).for_each(|index| world.start(index));
    world.run(ms(2000));
    assert_eq!(world.links_open(), 190);
}

#[test]
fn ten_of_twenty_crash_and_few_dials_look_for_them() {
    let mut world = World::started(20, 4);
    world.run(ms(3000));
    let before = world.dials;
    (0..10).for_each(|index| world.crash(index));
    world.run(ms(10_000));
    let dials = world.dials - before;
    assert!(
        dials < 10 * 10 * 10,
        "{dials} dials: each survivor looks for each lost one a few times"
    );
    let before = world.dials;
    world.run(ms(20_000));
    let later = world.dials - before;
    assert!(later < 10 * 10 * 5, "{later} dials in twenty seconds");
    (0..10).for_each(|index| world.start(index));
    world.run(ms(12_000));
    assert_eq!(world.links_open(), 190);
}

#[test]
fn both_sides_of_a_healed_partition_are_linked_again() {
    let mut world = World::started(20, 5);
    world.run(ms(3000));
    world.cut(10);
    world.run(ms(20_000));
    assert_eq!(world.links_open(), 90);
    world.heal();
    world.run(ms(15_000));
    assert_eq!(world.links_open(), 190);
}

#[test]
fn the_same_seed_dials_the_same() {
    let history = |seed| {
        let mut world = World::started(12, seed);
        world.run(ms(2000));
        world.crash(3);
        world.run(ms(2000));
        world.history
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}
