//! Routes by script, by chance, and the fairness of a draw.

extern crate std;

use std::collections::BTreeMap;
use std::string::String;
use std::vec;

use proptest::prelude::*;

use super::*;

#[test]
fn remembers_up_to_its_bound_and_evicts_what_was_not_used() {
    check(3, 99, "+a +b +c", "a b c");
    // All are as new as each other: the hand goes round once, and takes the first it comes to.
    check(3, 99, "+a +b +c +d", "a c d");
    check(3, 99, "+a +b +c +d +e", "a d e");
    check(3, 99, "+a +b +c +d ?c +e", "c d e");
}

#[test]
fn makes_room_for_targets_as_well() {
    check(9, 4, "+a2 +b2", "a b");
    check(9, 4, "+a2 +b2 +c1", "a c");
    check(9, 4, "+a2 +b2 +c4", "c");
}

#[test]
fn keeps_an_entry_that_is_larger_than_all_may_be_together() {
    check(9, 4, "+a2 +b9", "b");
    check(9, 4, "+b9 +a2", "a");
}

#[test]
fn never_evicts_what_holds_messages() {
    check(2, 99, "@a @b @c +d", "a b c d");
    check(2, 99, "@a @b @c =a =b =c", "b c");
    check(2, 99, "@a +b +c +d", "a d");
}

#[test]
fn an_answer_makes_room_for_what_it_brings() {
    check(9, 4, "@a @b =a3 =b3", "b");
}

#[test]
fn forgets_one_topic_unless_it_holds_messages() {
    check(9, 99, "+a +b ~a ~c", "b");
    check(9, 99, "@a +b ~a", "a b");
}

#[test]
fn a_moved_stamp_drops_a_route_when_it_is_next_used() {
    check(9, 99, "+a @b ! ?a ?b +c", "b c");
    check(9, 99, "@a ! =a ?a", "a");
}

/// Runs a script over routes with these bounds and compares the topics that are left.
///
/// `+a2` remembers topic a with two targets (none if there is no number), `@a` asks for it, `=a2`
/// is its answer, `?a` uses it, `~a` forgets it, `!` moves the stamp.
#[track_caller]
fn check(routes_cached_max: usize, targets_cached_max: usize, script: &str, want: &str) {
    let bounds = Bounds { routes_cached_max, targets_cached_max, ..Bounds::NODE };
    let mut routes = Routes::new(bounds);
    let mut stamp = 0;
    for step in script.split(' ') {
        let (step, rest) = step.split_at(1);
        let (name, count) = rest.split_at(rest.len().min(1));
        let targets = targets_of(count.parse().unwrap_or(0));
        let (topic, hash) = (name.as_bytes(), hash_of(name));
        match step {
            "+" => drop(routes.insert(topic, hash, stamp, targets, Remote::Known)),
            "@" => drop(routes.insert(topic, hash, stamp, targets, Remote::Asking(vec![]))),
            "=" => {
                let ix = routes.find(topic, hash, stamp).unwrap();
                assert!(routes.answer(ix, targets, stamp).is_empty());
            }
            "?" => drop(routes.find(topic, hash, stamp)),
            "~" => routes.forget(topic, hash),
            "!" => stamp += 1,
            other => panic!("unknown step {other}"),
        }
    }
    let mut left: Vec<&str> =
        routes.entries.iter().map(|(_, e)| core::str::from_utf8(e.topic()).unwrap()).collect();
    left.sort_unstable();
    assert_eq!(left.join(" "), want);
    assert_eq!(routes.len(), left.len());
}

#[test]
fn only_a_topic_that_comes_again_is_let_in() {
    let mut routes = Routes::new(Bounds::NODE);
    let (one, same_place) = (7 | 1 << 40, 7 | 2 << 40);
    assert!(!routes.is_seen_again(one));
    assert!(routes.is_seen_again(one));
    assert!(!routes.is_seen_again(same_place), "another topic has the place");
    assert!(!routes.is_seen_again(one), "and took it");
}

#[test]
fn messages_leave_in_the_order_they_came_with_whom_they_came_from() {
    let mut routes = Routes::new(Bounds::NODE);
    let ix = routes.insert(b"a", 1, 0, Targets::default(), Remote::Asking(vec![]));
    let publisher = Publisher { session: SessionIx(4), id: SessionId(9) };
    let held = [(Some(publisher), "x"), (None, "y"), (Some(publisher), "z")];
    let held = held
        .map(|(publisher, text)| Held { source: Source::Client(publisher), frames: text.into() });
    if let Remote::Asking(waiting) = &mut routes.entry_mut(ix).remote {
        waiting.extend(held.clone());
    }
    assert_eq!(routes.answer(ix, Targets::default(), 0), held);
    assert!(matches!(routes.entry(ix).remote, Remote::Known));
}

#[test]
fn what_others_want_is_added_to_what_is_here() {
    let mut targets = targets_of(0);
    let here = Group { name: "g".into(), members: vec![member(1)], remote: vec![] };
    targets.groups.push(here);
    let want = |group: &'static str, on, members| GroupWant {
        group: group.into(),
        shard: shard(on),
        members,
    };
    let groups = vec![want("g", 0, 1), want("g", 2, 3), want("h", 1, 1)];
    targets.add_remote(&Wanted { shards: 0b101, groups }, shard(0));
    assert_eq!(targets.shards, 0b100, "this shard does not send to itself");
    assert_eq!(targets.groups[0].remote, [(shard(2), 3)]);
    assert_eq!(targets.groups[1].name, "h");
    assert_eq!(targets.groups[1].remote, [(shard(1), 1)]);
}

#[test]
fn every_member_of_a_group_is_as_likely_wherever_it_is() {
    let group = Group {
        name: "g".into(),
        members: vec![member(1), member(2)],
        remote: vec![(shard(1), 3), (shard(2), 1)],
    };
    let mut drawn = BTreeMap::<String, u32>::new();
    for number in 0..600 {
        let name = match group.choose(number).unwrap() {
            Choice::Here(member) => std::format!("here {}", member.session.0),
            Choice::There(shard) => std::format!("there {shard}"),
        };
        *drawn.entry(name).or_default() += 1;
    }
    let counts: Vec<(&str, u32)> = drawn.iter().map(|(name, &n)| (name.as_str(), n)).collect();
    assert_eq!(counts, [("here 1", 100), ("here 2", 100), ("there 1", 300), ("there 2", 100)]);
    let here =
        (0..600).filter(|&number| group.choose_here(number, |_| true) == Some(member(2))).count();
    assert_eq!(here, 300);
}

#[test]
fn who_may_not_have_a_message_is_passed_over() {
    let group = Group {
        name: "g".into(),
        members: vec![member(1), member(2)],
        remote: vec![(shard(1), 1), (shard(2), 1)],
    };
    let is_second = |at: &Member| *at == member(2);
    for number in 0..100 {
        assert_ne!(group.choose_who(number, is_second), Some(Choice::Here(member(1))));
        assert_eq!(group.choose_again(number, 0b110, is_second), Some(Choice::Here(member(2))));
        let elsewhere = group.choose_who(number, |_| false);
        assert!(matches!(elsewhere, Some(Choice::There(_))), "{elsewhere:?}");
        let untried = group.choose_again(number, 0b010, |_| false);
        assert_eq!(untried, Some(Choice::There(shard(2))));
        assert_eq!(group.choose_again(number, 0b110, |_| false), None);
    }
}

#[test]
fn a_group_without_members_is_drawn_from_in_vain() {
    assert_eq!(Group::default().choose(7), None);
    assert_eq!(Group::default().choose_here(7, |_| true), None);
    let elsewhere = Group { remote: vec![(shard(1), 1)], ..Group::default() };
    assert_eq!(elsewhere.choose_here(7, |_| true), None);
}

#[derive(Clone, Debug)]
enum Step {
    Insert { topic: u8, targets: usize, asks: bool },
    Answer { topic: u8, targets: usize },
    Find { topic: u8 },
    Forget { topic: u8 },
    MoveStamp,
}

fn step() -> impl Strategy<Value = Step> {
    let (topic, targets) = (0u8..12, 0usize..6);
    prop_oneof![
        4 => (topic.clone(), targets.clone(), any::<bool>())
            .prop_map(|(topic, targets, asks)| Step::Insert { topic, targets, asks }),
        2 => (topic.clone(), targets).prop_map(|(topic, targets)| Step::Answer { topic, targets }),
        4 => topic.clone().prop_map(|topic| Step::Find { topic }),
        1 => topic.prop_map(|topic| Step::Forget { topic }),
        1 => Just(Step::MoveStamp),
    ]
}

proptest! {
    /// What is found was put there under that topic since it was last forgotten; bounds hold; what
    /// holds messages stays.
    #[test]
    fn any_history_keeps_bounds_and_tells_no_lies(
        routes_max in 1usize..6,
        targets_max in 0usize..12,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let bounds = Bounds { routes_cached_max: routes_max, targets_cached_max: targets_max, ..Bounds::NODE };
        let mut routes = Routes::new(bounds);
        // Targets of what may be found, and whether it asks.
        let mut known = BTreeMap::<u8, (usize, bool)>::new();
        let mut stamp = 0;
        for step in steps {
            let mut newest = 0;
            match step {
                Step::Insert { topic, targets, asks } => {
                    if routes.find(&[topic], u64::from(topic), stamp).is_none() {
                        let targets = if asks { 0 } else { targets };
                        let remote = if asks { Remote::Asking(vec![]) } else { Remote::Known };
                        routes.insert(&[topic], u64::from(topic), stamp, targets_of(targets), remote);
                        known.insert(topic, (targets, asks));
                        newest = targets;
                    }
                }
                Step::Answer { topic, targets } => {
                    if let (Some(&(_, true)), Some(ix)) =
                        (known.get(&topic), routes.find(&[topic], u64::from(topic), stamp))
                    {
                        routes.answer(ix, targets_of(targets), stamp);
                        known.insert(topic, (targets, false));
                        newest = targets;
                    }
                }
                Step::Find { topic } => {
                    let found = routes.find(&[topic], u64::from(topic), stamp);
                    match (found, known.get(&topic)) {
                        (Some(ix), Some(&(targets, _))) => {
                            prop_assert_eq!(routes.entry(ix).topic(), &[topic][..]);
                            prop_assert_eq!(routes.entry(ix).targets.plain.len(), targets);
                        }
                        (Some(_), None) => prop_assert!(false, "topic {} was forgotten", topic),
                        (None, Some(&(_, asks))) => prop_assert!(!asks, "{} holds messages", topic),
                        (None, None) => (),
                    }
                }
                Step::Forget { topic } => {
                    routes.forget(&[topic], u64::from(topic));
                    if known.get(&topic).is_some_and(|&(_, asks)| !asks) {
                        known.remove(&topic);
                    }
                }
                Step::MoveStamp => {
                    stamp += 1;
                    known.retain(|_, (_, asks)| *asks);
                }
            }
            let asking = known.values().filter(|(_, asks)| *asks).count();
            prop_assert!(routes.len() <= routes_max.max(asking + 1));
            let held: usize = routes.entries.iter().map(|(_, entry)| entry.targets.len()).sum();
            prop_assert_eq!(routes.targets_count(), held);
            prop_assert!(newest == 0 || held <= targets_max.max(newest));
            prop_assert_eq!(routes.table.len(), routes.entries.len());
        }
    }
}

fn targets_of(count: usize) -> Targets {
    let overload = Overload::DropOldest;
    Targets {
        plain: (0..count as u32)
            .map(|at| Target { session: SessionIx(at), sid: None, overload })
            .collect(),
        ..Targets::default()
    }
}

fn member(at: u32) -> Member {
    Member { session: SessionIx(at), subscription: SubIx(at), overload: Overload::DropOldest }
}

fn shard(index: usize) -> ShardIx {
    ShardIx::new(index).unwrap()
}

fn hash_of(name: &str) -> u64 {
    name.bytes().next().map_or(0, u64::from)
}
