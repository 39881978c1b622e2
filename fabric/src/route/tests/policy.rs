//! Who is told what, and what is taken from whom, decided by people and changed while it runs.

use alloc::collections::BTreeSet;
use alloc::vec;

use mpreg_proto::route::Tag;

use super::forge::*;
use super::net::Net;
use super::*;

fn clusters(numbers: &[u128]) -> BTreeSet<ClusterId> {
    numbers.iter().copied().map(ClusterId).collect()
}

fn gold() -> BTreeSet<Tag> {
    BTreeSet::from(["gold".parse().unwrap()])
}

fn changed(policy: Policy) -> Input {
    Input::PolicyChanged { policy: Box::new(policy), held: Held::Kept }
}

/// Whether a route to 9 over 2 with these tags comes in.
fn comes_in(policy: Policy, tags: &[&str]) -> Option<Reject> {
    let mut lab = Lab::new(policy);
    lab.up(2);
    let mut said = origin(9, 2, 1);
    said.tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    lab.refusal(2, &Forged::origin(said).hop(hop(2, 1, 1, 1)).item())
}

#[test]
fn nothing_is_exchanged_without_terms() {
    let mut lab = Lab::new(Policy::default());
    lab.up(2);
    assert_eq!(lab.refusal(2, &nine(2, 1).item()), Some(Reject::Policy));
    lab.wait(SECOND);
    assert_eq!(lab.knows(2, 1), None);
    let neighbours = BTreeMap::from([(ClusterId(2), Terms::default())]);
    let mut lab = Lab::new(Policy { neighbours, ..Policy::default() });
    lab.up(2);
    lab.up(3);
    assert_eq!(lab.refusal(2, &nine(2, 1).item()), None);
    assert_eq!(lab.refusal(3, &nine(3, 1).item()), Some(Reject::Policy));
    assert_eq!((lab.knows(2, 1), lab.knows(3, 1), lab.knows(3, 9)), (Some(1), None, None));
}

#[test]
fn filters_look_at_destination_advertiser_tags_and_metrics() {
    let with = |filter: Filter| Policy { import: filter, ..Policy::open() };
    let refused = |filter: Filter| comes_in(with(filter), &["gold"]);
    let none = Filter::default;
    let table = [
        (none(), None),
        (Filter { destinations: Among::Only(clusters(&[9])), ..none() }, None),
        (Filter { destinations: Among::Only(clusters(&[8])), ..none() }, Some(Reject::Policy)),
        (Filter { destinations: Among::AllBut(clusters(&[9])), ..none() }, Some(Reject::Policy)),
        (Filter { advertisers: Among::Only(clusters(&[2])), ..none() }, None),
        (Filter { advertisers: Among::AllBut(clusters(&[2])), ..none() }, Some(Reject::Policy)),
        (Filter { tags: Some(gold()), ..none() }, None),
        (Filter { tags: Some(BTreeSet::new()), ..none() }, Some(Reject::Policy)),
        (Filter { tags_denied: gold(), ..none() }, Some(Reject::Policy)),
        (Filter { hops_max: 2, ..none() }, None),
        (Filter { hops_max: 1, ..none() }, Some(Reject::Metrics)),
        (Filter { latency_us_max: 20_000, ..none() }, None),
        (Filter { latency_us_max: 19_999, ..none() }, Some(Reject::Metrics)),
    ];
    for (at, (filter, want)) in table.into_iter().enumerate() {
        assert_eq!(refused(filter.clone()), want, "{at}");
        // The same as terms with one neighbour.
        let terms = Terms { import: filter, ..Terms::default() };
        let neighbours = BTreeMap::from([(ClusterId(2), terms)]);
        let policy = Policy { neighbours, ..Policy::default() };
        assert_eq!(comes_in(policy, &["gold"]), want, "{at}");
    }
    let wants_gold = with(Filter { tags: Some(gold()), ..none() });
    assert_eq!(comes_in(wants_gold, &[]), Some(Reject::Policy), "no tag is not any tag");
}

#[test]
fn a_neighbours_own_terms_take_the_place_of_those_for_all() {
    let closed = Filter { destinations: Among::Only(clusters(&[])), ..Filter::default() };
    let terms = Terms { import: closed, ..Terms::default() };
    let neighbours = BTreeMap::from([(ClusterId(3), terms)]);
    let mut lab = Lab::new(Policy { neighbours, ..Policy::open() });
    lab.up(2);
    lab.up(3);
    assert_eq!(lab.refusal(2, &nine(2, 1).item()), None);
    assert_eq!(lab.refusal(3, &nine(3, 1).item()), Some(Reject::Policy));
}

#[test]
fn exports_are_filtered_for_all_and_for_one() {
    let only =
        |number| Filter { destinations: Among::Only(clusters(&[number])), ..Filter::default() };
    let told = |policy: Policy| {
        let mut lab = Lab::new(policy);
        (2..=4).for_each(|cluster| lab.up(cluster));
        lab.told(2, &nine(2, 1).item());
        lab.wait(SECOND);
        [2, 3, 4].map(|to| (lab.knows(to, 1).is_some(), lab.knows(to, 9).is_some()))
    };
    assert_eq!(told(Policy::open()), [(true, false), (true, true), (true, true)]);
    let mut policy = Policy::open();
    policy.export = only(1);
    assert_eq!(told(policy), [(true, false); 3]);
    let mut policy = Policy::open();
    let terms = Terms { export: only(9), ..Terms::default() };
    policy.neighbours.insert(ClusterId(3), terms);
    assert_eq!(told(policy), [(true, false), (false, true), (true, true)]);
}

#[test]
fn a_new_policy_keeps_what_is_held_until_it_expires() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.wait(SECOND);
    assert_eq!(lab.knows(3, 9), Some(3));
    let mut policy = Policy::open();
    policy.import.tags = Some(gold());
    policy.export.destinations = Among::AllBut(clusters(&[9]));
    lab.input(changed(policy));
    assert_eq!(lab.path(9), [2, 9]);
    assert_eq!(lab.knows(3, 9), Some(0), "what was told is brought in line at once");
    assert_eq!(lab.refusal(2, &nine(2, 2).item()), Some(Reject::Policy));
    assert_eq!(lab.path(9), [2, 9]);
    lab.wait(SECOND * 29);
    assert_eq!(lab.path(9), Vec::<u128>::new());
}

#[test]
fn new_weights_choose_at_once() {
    let mut lab = Lab::open();
    // Over 2 it is one link more and 5 ms less.
    let mut near = hop(2, 1, 1, 2);
    near.metrics.latency_us = 5000;
    let mut first = hop(5, 2, 1, 1);
    first.metrics.latency_us = 1000;
    lab.told(2, &Forged::origin(origin(9, 5, 1)).hop(first).hop(near).item());
    lab.told(3, &nine(3, 1).item());
    assert_eq!(lab.path(9), [3, 9]);
    let weights = Weights { hop: 0, ..Weights::default() };
    lab.input(changed(Policy { weights, ..Policy::open() }));
    assert_eq!(lab.path(9), [2, 5, 9]);
    assert_eq!(lab.routes.view().hops(ClusterId(9))[0].path[0], ClusterId(2));
}

#[test]
fn tags_travel_to_the_far_end() {
    let mut policy = Policy::open();
    policy.tags = vec!["gold".parse().unwrap()];
    let mut net = Net::new(1, policy, true);
    let nodes = [1, 2, 3].map(|number| net.add(number, number));
    net.connect(nodes[0], nodes[1], link(10));
    net.connect(nodes[1], nodes[2], link(10));
    net.run(SECOND);
    let mut policy = Policy::open();
    policy.import.tags_denied = gold();
    net.input(nodes[2], changed(policy));
    net.run(SECOND * 40);
    assert_eq!(net.path(nodes[2], 1), Vec::<u128>::new());
    assert_eq!(net.path(nodes[1], 1), [1]);
}

#[test]
fn what_a_policy_kept_out_comes_in_with_another_one() {
    let mut policy = Policy::open();
    policy.import.destinations = Among::AllBut(clusters(&[9]));
    let mut lab = Lab::new(policy);
    (2..=3).for_each(|cluster| lab.up(cluster));
    assert_eq!(lab.refusal(2, &nine(2, 1).item()), Some(Reject::Policy));
    let explained = lab.routes.explain(ClusterId(9), &[], lab.now);
    let filtered: Vec<_> = explained.candidates.iter().map(|reason| reason.filtered).collect();
    assert_eq!((filtered, explained.selected), (vec![Some(Filtered::Policy)], None));
    lab.input(changed(Policy::open()));
    assert_eq!(lab.path(9), [2, 9]);
    lab.wait(SECOND);
    assert_eq!(lab.knows(3, 9), Some(3));
    lab.wait(SECOND * 28);
    assert_eq!(lab.path(9), [2, 9]);
    lab.wait(SECOND * 2);
    assert_eq!(lab.path(9), Vec::<u128>::new(), "for as long as it was said to be good");
}

#[test]
fn what_was_kept_out_and_is_taken_back_or_forged_stays_out() {
    let mut policy = Policy::open();
    policy.import.destinations = Among::AllBut(clusters(&[9]));
    let mut lab = Lab::new(policy);
    (2..=3).for_each(|cluster| lab.up(cluster));
    assert_eq!(lab.refusal(2, &nine(2, 1).item()), Some(Reject::Policy));
    lab.told(2, &withdraw(&withdrawal(2, 9, 2)));
    let forged =
        Forged::origin(origin(9, 3, 1)).hop_by(hop(3, 1, 1, 1), Some(net::key(ClusterId(4), 1)));
    assert_eq!(lab.refusal(3, &forged.item()), Some(Reject::Policy));
    let facts = lab.input(changed(Policy::open()));
    let reasons: Vec<_> = facts.into_iter().filter_map(reason).collect();
    assert_eq!(reasons, [Reject::Signature(SignatureFault::Forged)]);
    assert_eq!(lab.path(9), Vec::<u128>::new());
}

#[test]
fn a_policy_about_what_is_held_takes_it_away_at_once_and_gives_it_back() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.wait(SECOND);
    assert_eq!((lab.path(9), lab.knows(3, 9)), (vec![2, 9], Some(3)));
    let mut policy = Policy::open();
    let import = Filter { destinations: Among::Only(clusters(&[2])), ..Filter::default() };
    policy.neighbours.insert(ClusterId(2), Terms { import, ..Terms::default() });
    lab.input(Input::PolicyChanged { policy: Box::new(policy), held: Held::Judged });
    assert_eq!((lab.path(9), lab.knows(3, 9)), (vec![], Some(0)));
    lab.input(changed(Policy::open()));
    lab.wait(SECOND);
    assert_eq!((lab.path(9), lab.knows(3, 9)), (vec![2, 9], Some(3)));
}
