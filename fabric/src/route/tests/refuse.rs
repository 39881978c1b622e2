//! Each reason to refuse, produced; and what a refusal takes away.

use alloc::collections::BTreeSet;
use alloc::vec;

use mpreg_proto::route::{Entry, Item, Relation, Tag};

use super::forge::*;
use super::*;

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[test]
fn what_is_true_is_taken() {
    let mut lab = Lab::open();
    assert_eq!(lab.refusal(2, &Forged::origin(origin(2, 1, 1)).item()), None);
    assert_eq!(lab.refusal(2, &nine(2, 2).item()), None);
    assert_eq!((lab.path(2), lab.path(9)), (vec![2], vec![2, 9]));
}

#[test]
fn each_fault_has_its_reason() {
    let far = |hops| {
        let from_nine = Forged::origin(origin(9, 5, 1));
        from_nine.hop(hop(5, 2, 1, 1)).hop(hop(2, 1, 1, hops))
    };
    let mut expired = nine(2, 1);
    expired.announcement.ttl_ms = 0;
    let mut empty = nine(2, 1);
    empty.announcement.chain.clear();
    let mut elsewhere = nine(2, 1);
    elsewhere.announcement.destination = ClusterId(8);
    let mut unreadable = nine(2, 1);
    unreadable.announcement.chain[1].body.truncate(20);
    let own = Forged::origin(origin(1, 2, 1)).hop(hop(2, 1, 1, 1));
    let over_us = Forged::origin(origin(9, 1, 1)).hop(hop(1, 2, 1, 1)).hop(hop(2, 1, 1, 2));
    let twice = Forged::origin(origin(9, 2, 1)).hop(hop(2, 9, 1, 1)).hop(hop(9, 2, 1, 2));
    let twice = twice.hop(hop(2, 1, 2, 3));
    let mut other_node = hop(2, 1, 1, 1);
    other_node.node = NodeId(21);
    let other_node = Forged::origin(origin(9, 2, 1)).hop(other_node);
    let mut for_customers = origin(9, 2, 1);
    for_customers.relation = Relation::Customer;
    let leaked = Forged::origin(for_customers).hop(hop(2, 1, 1, 1));
    let nearer = {
        let mut last = hop(2, 1, 1, 2);
        last.metrics.latency_us = 10_000;
        Forged::origin(origin(9, 5, 1)).hop(hop(5, 2, 1, 1)).hop(last)
    };
    let table = [
        (expired.item(), Reject::Expired),
        (own.item(), Reject::OwnCluster),
        (empty.item(), Reject::EmptyPath),
        (nine(3, 1).item(), Reject::AdvertiserDiffers),
        (other_node.item(), Reject::AdvertiserDiffers),
        (elsewhere.item(), Reject::DestinationDiffers),
        (over_us.item(), Reject::Loop),
        (twice.item(), Reject::Loop),
        (nearer.item(), Reject::Metrics),
        (far(1).item(), Reject::Metrics),
        (far(3).item(), Reject::Metrics),
        (leaked.item(), Reject::Leak),
        (unreadable.item(), Reject::Malformed),
        (Item::Inside(inside(20, 1, None)), Reject::UnknownPeer),
    ];
    for (at, (item, want)) in table.into_iter().enumerate() {
        let mut lab = Lab::open();
        assert_eq!(lab.refusal(2, &item), Some(want), "{at}");
        assert_eq!(lab.path(9), Vec::<u128>::new(), "{at}");
    }
    let mut lab = Lab::open();
    assert_eq!(lab.refusal(5, &nine(5, 1).item()), Some(Reject::UnknownPeer), "not up");
    let entries = vec![Entry { kind: 77, body: vec![] }, Entry { kind: 1, body: vec![1] }];
    let message = Message { entries };
    let facts = lab.input(Input::Heard { from: speaker(2), message });
    let reasons: Vec<_> = facts.into_iter().filter_map(reason).collect();
    assert_eq!(reasons, [Reject::UnknownKind, Reject::Malformed]);
}

#[test]
fn each_way_to_look_nearer_is_seen() {
    let better: [fn(&mut Metrics); 4] = [
        |metrics| metrics.latency_us = 5000,
        |metrics| metrics.bandwidth_mbps = 10,
        |metrics| metrics.reliability_ppm = 999_950,
        |metrics| metrics.cost = 6,
    ];
    for (at, improve) in better.into_iter().enumerate() {
        let mut before = hop(5, 2, 1, 1);
        before.metrics.reliability_ppm = 999_900;
        before.metrics.cost = 7;
        let mut last = hop(2, 1, 1, 2);
        last.metrics.reliability_ppm = 999_900;
        last.metrics.cost = 7;
        let forged = |last| Forged::origin(origin(9, 5, 1)).hop(before.clone()).hop(last).item();
        assert_eq!(Lab::open().refusal(2, &forged(last.clone())), None, "{at}");
        improve(&mut last.metrics);
        assert_eq!(Lab::open().refusal(2, &forged(last)), Some(Reject::Metrics), "{at}");
    }
}

#[test]
fn only_news_is_taken_and_withdrawn() {
    let mut lab = Lab::open();
    let announced = nine(2, 5).item();
    assert_eq!(lab.refusal(2, &announced), None);
    assert_eq!(lab.refusal(2, &announced), Some(Reject::Stale), "the same again");
    assert_eq!(lab.refusal(2, &nine(2, 4).item()), Some(Reject::Stale));
    assert_eq!(lab.refusal(2, &withdraw(&withdrawal(2, 9, 5))), Some(Reject::Stale));
    assert_eq!(lab.path(9), [2, 9]);
    let end = withdraw(&withdrawal(2, 9, 6));
    let facts = lab.told(2, &end);
    let withdrawn = Fact::Withdrawn { from: speaker(2), destination: ClusterId(9), was_held: true };
    assert!(facts.contains(&withdrawn));
    assert_eq!(lab.path(9), Vec::<u128>::new());
    assert_eq!(lab.refusal(2, &announced), Some(Reject::Stale), "played again");
    assert_eq!(lab.refusal(2, &end), Some(Reject::Stale));
    assert_eq!(lab.refusal(2, &nine(2, 7).item()), None);
    assert_eq!(lab.path(9), [2, 9]);
}

#[test]
fn a_withdrawal_removes_what_it_names_and_nothing_else() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.told(2, &Forged::origin(origin(2, 1, 2)).item());
    lab.told(3, &nine(3, 1).item());
    lab.told(2, &withdraw(&withdrawal(2, 9, 3)));
    assert_eq!((lab.path(9), lab.path(2)), (vec![3, 9], vec![2]));
}

#[test]
fn a_withdrawal_of_what_is_not_known_counts_when_the_late_news_comes() {
    let mut lab = Lab::open();
    let facts = lab.told(2, &withdraw(&withdrawal(2, 9, 6)));
    let withdrawn =
        Fact::Withdrawn { from: speaker(2), destination: ClusterId(9), was_held: false };
    assert!(facts.contains(&withdrawn));
    assert_eq!(lab.refusal(2, &nine(2, 5).item()), Some(Reject::Stale));
    lab.wait(SECOND * 61);
    // Nobody's route is good for as long as that: what is old by now has expired everywhere.
    assert_eq!(lab.refusal(2, &nine(2, 5).item()), None);
}

#[test]
fn an_old_word_of_the_destination_is_stale_after_a_while() {
    let mut lab = Lab::open();
    for (round, seconds) in [(1_u64, 0), (2, 30), (3, 30), (4, 30), (5, 30)] {
        lab.wait(SECOND * seconds);
        let forged = Forged::origin(origin(9, 3, 100 * round)).hop(hop(3, 1, round, 1));
        assert_eq!(lab.refusal(3, &forged.item()), None);
    }
    // A neighbour that signs anew what the destination told it two minutes ago.
    let old = Forged::origin(origin(9, 2, 99)).hop(hop(2, 1, 1, 1));
    assert_eq!(lab.refusal(2, &old.item()), Some(Reject::Stale));
    // Half a minute ago is what a longer way may take.
    let recent = Forged::origin(origin(9, 2, 399)).hop(hop(2, 1, 2, 1));
    assert_eq!(lab.refusal(2, &recent.item()), None);
}

#[test]
fn nobody_keeps_a_destination_alive_that_says_nothing_any_more() {
    let mut lab = Lab::open();
    // The neighbour signs anew, again and again, what the destination said once.
    let again = |sequence| Forged::origin(origin(9, 2, 1)).hop(hop(2, 1, sequence, 1)).item();
    assert_eq!(lab.refusal(2, &again(1)), None);
    lab.wait(SECOND * 29);
    assert_eq!(lab.refusal(2, &again(2)), None);
    assert_eq!(lab.path(9), [2, 9]);
    lab.wait(SECOND);
    assert_eq!(lab.path(9), Vec::<u128>::new(), "30 s after it was first heard");
    assert_eq!(lab.refusal(2, &again(3)), Some(Reject::Expired));
    let alive = Forged::origin(origin(9, 2, 2)).hop(hop(2, 1, 4, 1)).item();
    assert_eq!(lab.refusal(2, &alive), None);
}

#[test]
fn quotas_hold() {
    let quota = Quota { routes: 2, updates_per_second: 1 };
    let mut lab = Lab::new(Policy { quota, ..Policy::open() });
    lab.up(2);
    let of = |cluster, sequence| {
        Forged::origin(origin(cluster, 2, sequence)).hop(hop(2, 1, sequence, 1)).item()
    };
    assert_eq!(lab.refusal(2, &of(8, 1)), None);
    assert_eq!(lab.refusal(2, &of(9, 2)), None);
    assert_eq!(lab.refusal(2, &of(7, 3)), Some(Reject::TooManyRoutes));
    assert_eq!(lab.refusal(2, &of(9, 4)), None, "held already");
    // Twice the table at once, then one a second.
    assert_eq!(lab.refusal(2, &of(9, 5)), Some(Reject::TooManyUpdates));
    let end = withdraw(&withdrawal(2, 9, 6));
    assert_eq!(lab.refusal(2, &end), Some(Reject::TooManyUpdates));
    lab.wait(SECOND);
    assert_eq!(lab.refusal(2, &of(9, 7)), None);
    assert_eq!(lab.refusal(2, &of(9, 8)), Some(Reject::TooManyUpdates));
}

#[test]
fn withdrawals_of_anything_fill_a_bounded_table() {
    let quota = Quota { updates_per_second: u32::MAX, ..Quota::default() };
    let signatures = Signatures::UnsignedAllowed;
    let mut lab = Lab::new(Policy { quota, signatures, ..Policy::open() });
    // Of a cluster without a known key, so that the test does not sign thousands.
    lab.up(20);
    let mut refused = 0;
    for number in 0..crate::limits::ROUTE_RECORDS_MAX as u64 + 10 {
        lab.wait(MS);
        let body = withdrawal(20, 1000 + u128::from(number), number).body();
        let refusal = lab.refusal(20, &Item::Withdraw(Signed { body, signature: None }));
        refused += usize::from(refusal == Some(Reject::TooManyRoutes));
    }
    assert_eq!(refused, 10);
}

#[test]
fn held_down_ways_are_taken_and_wait_for_their_turn() {
    let damping = Damping { hold_down: SECOND * 5, ..Damping::default() };
    let mut lab = Lab::new(Policy { damping, ..Policy::open() });
    lab.up(2);
    lab.up(3);
    lab.told(2, &nine(2, 1).item());
    lab.told(3, &Forged::origin(origin(9, 7, 1)).hop(hop(7, 3, 1, 1)).hop(hop(3, 1, 1, 2)).item());
    assert_eq!(lab.path(9), [2, 9]);
    lab.told(2, &withdraw(&withdrawal(2, 9, 2)));
    lab.wait(SECOND * 2);
    assert_eq!(lab.refusal(2, &nine(2, 3).item()), Some(Reject::HoldDown));
    assert_eq!(lab.path(9), [3, 7, 9]);
    let explanation = lab.routes.explain(ClusterId(9), &[], lab.now);
    assert_eq!(explanation.candidates[1].filtered, Some(Filtered::HoldDown));
    // Nothing more is said; it is free by itself, and when it asked to be woken.
    let deadline = lab.routes.deadline().unwrap();
    assert!(deadline <= lab.now + SECOND * 3);
    lab.wait(SECOND * 3);
    assert_eq!(lab.path(9), [2, 9]);
    assert_eq!(lab.routes.view().hops(ClusterId(9))[0].path[0], ClusterId(2));
}

#[test]
fn the_last_way_is_used_though_it_is_held_down() {
    let damping = Damping { hold_down: SECOND * 5, ..Damping::default() };
    let mut lab = Lab::new(Policy { damping, ..Policy::open() });
    lab.up(2);
    lab.told(2, &nine(2, 1).item());
    lab.told(2, &withdraw(&withdrawal(2, 9, 2)));
    assert_eq!(lab.refusal(2, &nine(2, 3).item()), Some(Reject::HoldDown));
    assert_eq!(lab.path(9), [2, 9]);
}

#[test]
fn a_refused_path_takes_away_the_one_before() {
    let tags_denied = BTreeSet::from([tag("gold")]);
    let import = Filter { tags_denied, ..Filter::default() };
    let mut lab = Lab::new(Policy { import, ..Policy::open() });
    lab.up(2);
    let tagged = |sequence| {
        let mut said = origin(9, 2, sequence);
        said.tags = vec![tag("gold")];
        Forged::origin(said).hop(hop(2, 1, sequence, 1))
    };
    lab.told(2, &nine(2, 1).item());
    assert_eq!(lab.refusal(2, &tagged(2).item()), Some(Reject::Policy));
    assert_eq!(lab.path(9), [2, 9], "the same path: it stays until it expires");
    let over_us = Forged::origin(origin(9, 1, 3)).hop(hop(1, 2, 3, 1)).hop(hop(2, 1, 3, 2));
    assert_eq!(lab.refusal(2, &over_us.item()), Some(Reject::Loop));
    assert_eq!(lab.path(9), Vec::<u128>::new(), "the neighbour goes over us");
}

#[test]
fn a_route_is_good_for_as_long_as_the_least_says() {
    let of = |said_ms, ttl_ms, max| {
        let timing = Timing { ttl_max: max, ..Timing::default() };
        let mut lab = Lab::new(Policy { timing, ..Policy::open() });
        lab.up(2);
        let mut said = origin(9, 2, 1);
        said.ttl_ms = said_ms;
        let mut forged = Forged::origin(said).hop(hop(2, 1, 1, 1));
        forged.announcement.ttl_ms = ttl_ms;
        lab.told(2, &forged.item());
        lab.routes.explain(ClusterId(9), &[], lab.now).candidates[0].expires_in
    };
    assert_eq!(of(30_000, 20_000, SECOND * 60), SECOND * 20);
    assert_eq!(of(30_000, 40_000, SECOND * 60), SECOND * 30, "no hop makes it more");
    assert_eq!(of(30_000, 20_000, SECOND * 5), SECOND * 5);
}

#[test]
fn what_is_told_on_is_good_for_less() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.wait(SECOND * 7);
    lab.up(5);
    let told = lab.sent(speaker(5)).into_iter().find_map(|item| match item {
        Item::Announce(announcement) if announcement.destination == ClusterId(9) => {
            Some(announcement.ttl_ms)
        }
        Item::Announce(_)
        | Item::Withdraw(_)
        | Item::Inside(_)
        | Item::Authorise(_)
        | Item::Revoke(_)
        | Item::Sum(_)
        | Item::Held(_) => None,
    });
    assert_eq!(told, Some(23_000));
}
