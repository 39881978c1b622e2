//! Which way is chosen, in any order, and that every account of it is the same.

use alloc::vec;

use core::cmp::Reverse;
use proptest::prelude::*;

use super::forge::*;
use super::*;

fn metrics(hops: u16, latency_us: u32) -> Metrics {
    Metrics { hops, latency_us, bandwidth_mbps: 0, reliability_ppm: 1_000_000, cost: 0 }
}

fn way(neighbour: u128, metrics: Metrics) -> Candidate {
    Candidate {
        next: Next::Neighbour(NodeId(neighbour)),
        neighbour: NodeId(neighbour),
        path: vec![ClusterId(neighbour / 10), ClusterId(9)].into(),
        metrics,
        expires_at: Instant::NEVER,
        damped: None,
    }
}

fn order(ways: &[Candidate], weights: &Weights) -> Vec<u128> {
    let judged = judge(ways.to_vec(), weights, &[], Instant::START);
    judged.iter().map(|way| way.candidate.neighbour.0).collect()
}

#[test]
fn points_are_as_documented() {
    let weights = Weights::default();
    let score = |metrics| weights.score(metrics).0;
    let zero = metrics(0, 0);
    assert_eq!(score(zero), 0);
    assert_eq!(score(metrics(0, 1000)), 1_000_000, "a point per millisecond");
    assert_eq!(score(metrics(1, 0)), 10_000_000, "ten per link");
    assert_eq!(score(Metrics { cost: 1, ..zero }), 1_000_000);
    assert_eq!(score(Metrics { reliability_ppm: 0, ..zero }), 50_000_000);
    assert_eq!(score(Metrics { bandwidth_mbps: 1000, ..zero }), -1_000_000);
    assert_eq!(score(Metrics { bandwidth_mbps: u32::MAX, ..zero }), -5_000_000, "and no more");
    let most = Metrics { hops: u16::MAX, latency_us: u32::MAX, cost: u32::MAX, ..zero };
    let heaviest = Weights { latency: u32::MAX, hop: u32::MAX, cost: u32::MAX, ..weights };
    assert!(0 < heaviest.score(most).0);
}

#[test]
fn links_add_up() {
    let link = Link { round_trip_us: 2000, loss_ppm: 700_000, bandwidth_mbps: 100, cost: 4 };
    let once = link.to(chain::AT_HOME);
    let want = Metrics {
        hops: 1,
        latency_us: 2000,
        bandwidth_mbps: 100,
        reliability_ppm: 300_000,
        cost: 4,
    };
    assert_eq!(once, want);
    let unknown = Link { bandwidth_mbps: 0, ..link };
    let twice = unknown.to(once);
    assert_eq!((twice.bandwidth_mbps, twice.reliability_ppm, twice.cost), (0, 0, 8));
    let cable = Link { round_trip_us: 0, ..link };
    assert_eq!(cable.to(chain::AT_HOME).latency_us, 10, "nothing is nearer than a cable");
}

#[test]
fn ties_go_by_hops_round_trip_reliability_and_advertiser() {
    let none =
        Weights { latency: 0, hop: 0, cost: 0, unreliability: 0, bandwidth: 0, bandwidth_max: 0 };
    let lossy = Metrics { reliability_ppm: 999_999, ..metrics(1, 10) };
    let ways = [
        way(50, metrics(2, 10)),
        way(60, metrics(1, 20)),
        way(20, lossy),
        way(40, metrics(1, 10)),
        way(31, metrics(1, 10)),
        way(30, metrics(1, 10)),
    ];
    assert_eq!(order(&ways, &none), [30, 31, 40, 20, 60, 50]);
}

#[test]
fn four_are_kept_and_the_rest_is_surplus() {
    let ways: Vec<_> = (2..8).map(|n| way(n * 10, metrics(1, n as u32))).collect();
    let filtered = |avoid: &[ClusterId]| -> Vec<Option<Filtered>> {
        let judged = judge(ways.clone(), &Weights::default(), avoid, Instant::START);
        judged.iter().map(|way| way.filtered).collect()
    };
    let surplus = Some(Filtered::Surplus);
    assert_eq!(filtered(&[]), [None, None, None, None, surplus, surplus]);
    let avoided = Some(Filtered::Avoided);
    assert_eq!(
        filtered(&[cluster(2), cluster(4), cluster(6)]),
        [avoided, None, avoided, None, surplus, surplus]
    );
    assert_eq!(filtered(&[cluster(9)])[..4], [avoided; 4]);
}

#[test]
fn expired_and_damped_ways_are_said_to_be() {
    let mut ways = [way(20, metrics(1, 1)), way(30, metrics(1, 2)), way(40, metrics(1, 3))];
    ways[0].expires_at = Instant::START;
    ways[1].damped = Some(Damped::Suppressed);
    let judged = judge(ways.to_vec(), &Weights::default(), &[], Instant::START);
    let seen: Vec<_> = judged.iter().map(|way| (way.candidate.neighbour.0, way.filtered)).collect();
    let want = [(40, None), (20, Some(Filtered::Expired)), (30, Some(Filtered::Suppressed))];
    assert_eq!(seen, want);
    // Without the third, the damped one is the last way.
    let judged = judge(ways[..2].to_vec(), &Weights::default(), &[], Instant::START);
    assert_eq!(judged[0].candidate.neighbour, NodeId(30));
    assert_eq!(judged[0].filtered, None);
}

#[test]
fn an_explanation_names_the_winner_and_what_the_others_lost_by() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.told(3, &nine(3, 1).item());
    lab.told(4, &Forged::origin(origin(9, 5, 1)).hop(hop(5, 4, 1, 1)).hop(hop(4, 1, 1, 2)).item());
    let explanation = lab.routes.explain(ClusterId(9), &[cluster(2)], lab.now);
    assert_eq!(explanation.selected, Some(1));
    let [two, three, four] = &explanation.candidates[..] else { panic!("three ways") };
    assert_eq!(two.filtered, Some(Filtered::Avoided));
    assert_eq!((three.filtered, four.filtered), (None, None));
    assert_eq!((two.score, two.score), (Score(40_000_000), three.score));
    assert!(two.ties.advertiser < three.ties.advertiser);
    assert_eq!(four.score, Score(60_000_000));
    assert_eq!(three.expires_in, SECOND * 30);
    assert_eq!(&three.path[..], [cluster(3), cluster(9)]);
    assert_eq!(lab.routes.explain(ClusterId(77), &[], lab.now).selected, None);
}

prop_compose! {
    fn any_way()(
        neighbour in 2..6_u128, second in 0..2_u128, hops in 1..4_u16, latency_us in 0..3_u32,
        loss in 0..2_u32, cost in 0..2_u32, bandwidth_mbps in 0..2_u32, expired: bool,
        damped in prop::option::of(Just(Damped::HoldDown)),
    ) -> Candidate {
        let metrics = Metrics {
            hops,
            latency_us: latency_us * 1000,
            bandwidth_mbps,
            reliability_ppm: 1_000_000 - loss,
            cost,
        };
        let expires_at = if expired { Instant::START } else { Instant::NEVER };
        Candidate { expires_at, damped, ..way(neighbour * 10 + second, metrics) }
    }
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        ways in prop::collection::vec(any_way(), 1..9), seed: u64, avoid in 0..8_u128
    ) {
        // One way per next node, as in a table.
        let mut ways = ways;
        ways.sort_by_key(|way| way.next);
        ways.dedup_by_key(|way| way.next);
        let mut shuffled = ways.clone();
        let mut rng = crate::rng::Rng::from_seed(seed);
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, rng.below(at as u32 + 1) as usize);
        }
        let judged = |ways: Vec<Candidate>| -> Vec<(Next, Rank, Option<Filtered>)> {
            let avoid = [ClusterId(avoid)];
            let judged = judge(ways, &Weights::default(), &avoid, Instant::START);
            judged.iter().map(|way| (way.candidate.next, way.rank, way.filtered)).collect()
        };
        prop_assert_eq!(judged(ways), judged(shuffled));
    }

    /// A hop never makes a way better, and of two ways the better stays so over the same link.
    #[test]
    fn links_only_lengthen(a in any_way(), b in any_way(), latency_us in 0..5000_u32, cost in 0..3_u32) {
        let link = Link { round_trip_us: latency_us, loss_ppm: 10, bandwidth_mbps: 0, cost };
        let weights = Weights { bandwidth: 0, ..Weights::default() };
        let key = |metrics: Metrics| {
            let reliability_ppm = Reverse(metrics.reliability_ppm);
            (weights.score(metrics), metrics.hops, metrics.latency_us, reliability_ppm)
        };
        prop_assert!(key(a.metrics) < key(link.to(a.metrics)));
        let [over_a, over_b] = [a.metrics, b.metrics].map(|metrics| key(link.to(metrics)));
        prop_assert_eq!(key(a.metrics).cmp(&key(b.metrics)), over_a.cmp(&over_b));
    }

    /// The same things said in another order by other neighbours end in the same tables, and the
    /// machine, its view and its explanation say the same.
    #[test]
    fn arrival_order_does_not_matter_to_a_node(order in Just([2_u128, 3, 4]).prop_shuffle(), avoid in 0..10_u128) {
        let policy = Policy { signatures: Signatures::UnsignedAllowed, ..Policy::open() };
        let hear = |order: [u128; 3]| {
            let mut lab = Lab::new(policy.clone());
            (2..=4).for_each(|cluster| lab.up(cluster));
            for by in order {
                lab.told(by, &nine(by, 1).item());
                lab.told(by, &Forged::origin(origin(by, 1, 2)).item());
            }
            lab
        };
        let (lab, same) = (hear(order), hear([4, 3, 2]));
        prop_assert_eq!(lab.routes.view(), same.routes.view());
        for destination in [2, 3, 4, 9].map(ClusterId) {
            let avoid = [ClusterId(avoid)];
            let taken = lab.routes.next_hop(destination, &avoid, lab.now);
            prop_assert_eq!(lab.routes.view().next_hop(destination, &avoid), taken.as_ref());
            let explanation = lab.routes.explain(destination, &avoid, lab.now);
            let selected = explanation.selected.map(|at| explanation.candidates[at].next);
            prop_assert_eq!(selected, taken.map(|hop| hop.next));
        }
    }
}
