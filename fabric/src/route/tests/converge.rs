//! Whole fabrics, one node per cluster, compared with the shortest paths.

use alloc::collections::BTreeMap;

use super::net::{Net, authorisation, authorised, key};
use super::*;

/// The least scores from every node to every cluster, by relaxing until nothing changes.
fn oracle(net: &Net) -> BTreeMap<NodeId, BTreeMap<ClusterId, Score>> {
    let weights = Weights::default();
    let mut table = BTreeMap::<NodeId, BTreeMap<ClusterId, Metrics>>::new();
    for (node, peer) in &net.nodes {
        table.insert(*node, BTreeMap::from([(peer.cluster, chain::AT_HOME)]));
    }
    let mut has_changed = true;
    while core::mem::take(&mut has_changed) {
        for wire in net.links.iter().filter(|wire| wire.is_up) {
            for [to, from] in [wire.ends, [wire.ends[1], wire.ends[0]]] {
                for (destination, beyond) in table[&from].clone() {
                    let metrics = wire.link.to(beyond);
                    let row = table.get_mut(&to).unwrap();
                    let held = row.get(&destination).map(|held| weights.score(*held));
                    if held.is_none_or(|held| weights.score(metrics) < held) {
                        row.insert(destination, metrics);
                        has_changed = true;
                    }
                }
            }
        }
    }
    let score = |(destination, metrics): (&ClusterId, &Metrics)| {
        (0 < metrics.hops).then(|| (*destination, weights.score(*metrics)))
    };
    table.iter().map(|(node, row)| (*node, row.iter().filter_map(score).collect())).collect()
}

/// What the nodes think, in the same form.
fn thought(net: &Net) -> BTreeMap<NodeId, BTreeMap<ClusterId, Score>> {
    let row = |routes: &Routes| {
        let destinations = routes.view().destinations();
        let score = destinations.map(|destination| {
            let explanation = routes.explain(destination, &[], net.now);
            let selected = &explanation.candidates[explanation.selected.unwrap()];
            (destination, selected.score)
        });
        score.collect()
    };
    net.nodes.iter().map(|(node, peer)| (*node, row(&peer.routes))).collect()
}

/// Every node reaches every cluster that it can, without a loop, as near as can be.
#[track_caller]
fn check(net: &Net) {
    assert_eq!(thought(net), oracle(net));
    for (node, row) in oracle(net) {
        for destination in row.keys() {
            assert!(net.walk(node, *destination).is_some(), "{node} to {destination}");
        }
    }
    assert_eq!(net.rejected(Reject::Loop), 0, "nobody is told of a way over itself");
}

fn settle(net: &mut Net) -> Duration {
    net.run_until(SECOND * 5, |net| thought(net) == oracle(net))
}

fn ring(net: &mut Net, count: u128) {
    let nodes: Vec<_> = (1..=count).map(|number| net.add(number, number)).collect();
    for at in 0..nodes.len() {
        net.connect(nodes[at], nodes[(at + 1) % nodes.len()], link(10));
    }
}

/// A random graph that hangs together: a random tree, then chords up to about `degree`.
fn random(net: &mut Net, count: u128, degree: u32, rng: &mut Rng) {
    let nodes: Vec<_> = (1..=count).map(|number| net.add(number, number)).collect();
    let mut pairs = Vec::new();
    for at in 1..nodes.len() {
        pairs.push((rng.below(at as u32) as usize, at));
    }
    let all = nodes.len() * (nodes.len() - 1) / 2;
    while pairs.len() < all.min(nodes.len() * degree as usize / 2) {
        let [a, b] = [(); 2].map(|()| rng.below(nodes.len() as u32) as usize);
        let pair = (a.min(b), a.max(b));
        if a != b && !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    for (a, b) in pairs {
        let link = Link {
            round_trip_us: 1000 + rng.below(79_000),
            loss_ppm: rng.below(20_000),
            bandwidth_mbps: 0,
            cost: rng.below(20),
        };
        net.connect(nodes[a], nodes[b], link);
    }
}

#[test]
fn a_chain_of_twelve_reaches_its_ends() {
    let mut net = Net::unsigned(1);
    let nodes: Vec<_> = (1..=12).map(|number| net.add(number, number)).collect();
    for pair in nodes.windows(2) {
        net.connect(pair[0], pair[1], link(20));
    }
    settle(&mut net);
    check(&net);
    assert_eq!(net.path(nodes[0], 12), (2..=12).collect::<Vec<_>>());
}

#[test]
fn a_ring_goes_the_other_way_round_when_it_is_cut() {
    let mut net = Net::unsigned(2);
    ring(&mut net, 6);
    settle(&mut net);
    check(&net);
    assert_eq!(net.path(NodeId(1), 3), [2, 3]);
    net.cut(1);
    settle(&mut net);
    check(&net);
    assert_eq!(net.path(NodeId(1), 3), [6, 5, 4, 3]);
}

#[test]
fn a_diamond_has_its_other_side_as_alternate() {
    let mut net = Net::unsigned(3);
    let [a, b, c, d] = [1, 2, 3, 4].map(|number| net.add(number, number));
    for (x, y, ms) in [(a, b, 10), (b, c, 10), (a, d, 15), (d, c, 10)] {
        net.connect(x, y, link(ms));
    }
    settle(&mut net);
    net.run(SECOND);
    let view = net.nodes[&a].routes.view().clone();
    let paths: Vec<_> = view.hops(ClusterId(3)).iter().map(|hop| hop.path[0]).collect();
    assert_eq!(paths, [cluster(2), cluster(4)]);
    let around = view.next_hop(ClusterId(3), &[cluster(2)]).unwrap();
    assert_eq!(around.next, Next::Neighbour(d));
    // The loss of the link beyond b reaches a as b's longer way or its withdrawal; d serves at once.
    net.cut(0);
    assert_eq!(net.next(a, 3), Some(d), "in the same moment");
}

#[test]
fn a_lost_destination_is_forgotten_by_all_and_never_counted_to_infinity() {
    let mut net = Net::unsigned(4);
    ring(&mut net, 8);
    let lone = net.add(9, 9);
    let wire = net.connect(NodeId(1), lone, link(10));
    settle(&mut net);
    check(&net);
    net.cut(wire);
    let took = settle(&mut net);
    assert!(took < SECOND, "{took:?}");
    let longest = net.nodes.values().flat_map(|node| node.routes.view().destinations());
    assert!(!longest.into_iter().any(|seen| seen == ClusterId(9)) || thought(&net).len() == 9);
    check(&net);
}

#[test]
fn random_fabrics_are_as_the_shortest_paths() {
    for seed in 0..12 {
        let mut rng = Rng::from_seed(seed);
        let mut net = Net::unsigned(seed);
        let count = 2 + rng.below(11);
        random(&mut net, count.into(), 3, &mut rng);
        settle(&mut net);
        net.run(SECOND);
        check(&net);
    }
}

#[test]
fn signed_fabrics_are_too() {
    for seed in 0..3 {
        let mut rng = Rng::from_seed(seed);
        let mut net = Net::signed(seed);
        random(&mut net, 8, 3, &mut rng);
        settle(&mut net);
        check(&net);
        net.run(SECOND * 40);
        check(&net);
        let faults = net.nodes.values().flat_map(|node| &node.facts);
        let faults = faults
            .filter(|fact| matches!(fact, Fact::Rejected { reason: Reject::Signature(_), .. }));
        assert_eq!(faults.collect::<Vec<_>>(), Vec::<&Fact>::new());
    }
}

#[test]
fn ten_clusters_settle_within_a_second_of_each_cut_and_repair() {
    let mut worst = Duration::ZERO;
    for seed in 0..4 {
        let mut rng = Rng::from_seed(seed);
        let mut net = Net::unsigned(seed);
        random(&mut net, 10, 3, &mut rng);
        settle(&mut net);
        for _ in 0..25 {
            net.run(SECOND * 3);
            let wire = rng.below(net.links.len() as u32) as usize;
            if net.links[wire].is_up {
                net.cut(wire);
            } else {
                net.restore(wire);
            }
            worst = worst.max(settle(&mut net));
            check(&net);
        }
    }
    assert!(worst < SECOND, "{worst:?}");
    assert!(MS * 20 < worst, "nothing was measured: {worst:?}");
}

#[test]
fn a_fabric_at_rest_says_little() {
    let mut net = Net::unsigned(5);
    ring(&mut net, 6);
    settle(&mut net);
    net.run(SECOND * 10);
    let before = net.messages;
    net.run(SECOND * 30);
    // Six destinations, each told once over each of six links, and once back where two ways are
    // equally long, every nine to ten seconds.
    let said = net.messages - before;
    assert!(said < 6 * 6 * 2 * 4, "{said}");
    assert!(6 * 6 * 3 < said, "{said}");
    check(&net);
}

#[test]
fn a_flapping_link_is_damped_where_there_is_another_way() {
    let mut net = Net::unsigned(6);
    let [a, b, c, d] = [1, 2, 3, 4].map(|number| net.add(number, number));
    for (x, y) in [(a, b), (b, c), (a, d), (d, c)] {
        net.connect(x, y, link(10));
    }
    let far = net.add(5, 5);
    net.connect(a, far, link(10));
    settle(&mut net);
    let changes = |net: &Net| {
        let is_it = |fact: &Fact| matches!(fact, Fact::Best { destination: ClusterId(3), .. });
        net.count(a, is_it)
    };
    let before = changes(&net);
    for _ in 0..20 {
        net.cut(1);
        net.run(MS * 250);
        net.restore(1);
        net.run(MS * 250);
    }
    // Next to the link it is not used again; everyone else saw the first seven losses only.
    let explanation = net.nodes[&b].routes.explain(ClusterId(3), &[], net.now);
    let direct = explanation.candidates.iter().find(|way| way.next == Next::Neighbour(c)).unwrap();
    assert_eq!(direct.filtered, Some(Filtered::Suppressed));
    assert_eq!(net.next(b, 3), Some(a));
    assert_eq!(net.next(a, 3), Some(d));
    assert!(changes(&net) - before <= 14, "{}", changes(&net) - before);
    assert!(0 < net.rejected(Reject::Suppressed));
    // The other routes are as they were.
    assert_eq!(net.path(a, 2), [2]);
    assert_eq!(net.path(d, 2).len(), 2);
    // Where it is the only way it is used.
    net.cut(3);
    net.run(SECOND);
    assert_eq!(net.path(far, 3), [1, 2, 3]);
    net.restore(3);
    net.run(SECOND);
    assert_eq!(net.next(b, 3), Some(a));
    net.run(SECOND * 120);
    assert_eq!(net.next(b, 3), Some(c), "after a while of quiet");
    check(&net);
}

#[test]
fn a_restart_makes_nobody_stale() {
    for incarnation in [2, 1, 0] {
        let mut net = Net::signed(7);
        ring(&mut net, 4);
        net.run(SECOND * 35);
        check(&net);
        // An incarnation that went back does not matter either: numbers are reserved on disk.
        net.restart(NodeId(1), incarnation);
        let took = settle(&mut net);
        assert!(took < SECOND, "{took:?}");
        assert_eq!(net.rejected(Reject::Stale), 0);
        check(&net);
    }
}

#[test]
fn a_cluster_that_leaves_is_gone_at_once() {
    let mut net = Net::unsigned(8);
    ring(&mut net, 5);
    settle(&mut net);
    net.input(NodeId(3), Input::Leaving);
    net.run(MS * 100);
    for node in [1, 2, 4, 5] {
        assert_eq!(net.path(NodeId(node), 3), Vec::<u128>::new(), "{node}");
    }
    assert_eq!(net.path(NodeId(2), 4), [1, 5, 4]);
}

#[test]
fn a_silent_cluster_expires() {
    let mut net = Net::unsigned(9);
    ring(&mut net, 3);
    settle(&mut net);
    // All its links hang: nothing arrives, and nobody says that it is down.
    let wires: Vec<usize> = (0..3).filter(|w| net.links[*w].ends.contains(&NodeId(3))).collect();
    for wire in wires {
        net.links[wire].is_up = true;
        net.links[wire].link.round_trip_us = u32::MAX;
    }
    net.run(SECOND * 20);
    assert_eq!(net.next(NodeId(1), 3), Some(NodeId(3)));
    net.run(SECOND * 20);
    assert_eq!(net.path(NodeId(1), 3), Vec::<u128>::new());
    assert!(0 < net.count(NodeId(1), |fact| matches!(fact, Fact::Expired { .. })));
    assert_eq!(net.path(NodeId(1), 2), [2]);
}

#[test]
fn a_measured_link_changes_ways_and_noise_does_not() {
    let mut net = Net::unsigned(10);
    ring(&mut net, 4);
    settle(&mut net);
    assert_eq!(net.path(NodeId(1), 3), [2, 3], "equally long: the lesser advertiser");
    let best = |net: &Net| net.count(NodeId(1), |fact| matches!(fact, Fact::Best { .. }));
    let before = best(&net);
    let measured = |round_trip_us| Input::Measured { peer: NodeId(2), round_trip_us, loss_ppm: 0 };
    net.input(NodeId(1), measured(12_000));
    assert_eq!(best(&net), before);
    net.input(NodeId(1), measured(14_000));
    assert_eq!(net.path(NodeId(1), 3), [4, 3]);
    net.input(NodeId(1), measured(10_000));
    assert_eq!(net.path(NodeId(1), 3), [2, 3]);
    let lossy = Input::Measured { peer: NodeId(2), round_trip_us: 10_000, loss_ppm: 20_000 };
    net.input(NodeId(1), lossy);
    assert_eq!(net.path(NodeId(1), 3), [4, 3]);
}

#[test]
fn what_a_full_link_dropped_is_said_again() {
    let mut net = Net::unsigned(11);
    let [a, b, c] = [1, 2, 3].map(|number| net.add(number, number));
    net.connect(a, b, link(10));
    let wire = net.connect(b, c, link(10));
    settle(&mut net);
    // The withdrawal that b sends is dropped.
    let between = net.links[0];
    net.links[0].link.round_trip_us = u32::MAX;
    net.cut(wire);
    net.links[0] = between;
    net.run(MS * 200);
    assert_eq!(net.path(a, 3), [2, 3]);
    net.input(b, Input::Refused { to: a });
    net.run(MS * 200);
    assert_eq!(net.path(a, 3), Vec::<u128>::new());
    check(&net);
}

#[test]
fn a_key_that_a_full_link_dropped_is_told_before_what_is_signed_with_it() {
    let mut net = Net::signed(12);
    let [a, b, c] = [1, 2, 3].map(|number| net.add(number, number));
    net.connect(a, b, link(10));
    net.connect(b, c, link(10));
    settle(&mut net);
    let record = Provided::Authorisation(authorised(&authorisation(ClusterId(2), 2)));
    let signer = Signer { key_serial: 2, key: key(ClusterId(2), 2) };
    // What b tells of its next key is dropped.
    let between = net.links[0];
    net.links[0].link.round_trip_us = u32::MAX;
    net.input(b, Input::KeyProvided(record));
    net.input(b, Input::SignerChanged(Some(signer)));
    net.links[0] = between;
    net.input(b, Input::Refused { to: a });
    net.run(SECOND);
    let is_key = |fact: &Fact| matches!(fact, Fact::KeyAccepted { key_serial: 2, .. });
    assert_eq!(net.count(a, is_key), 1);
    let is_refusal = |fact: &Fact| matches!(fact, Fact::Rejected { .. });
    assert_eq!(net.count(a, is_refusal), 0, "{:?}", net.nodes[&a].facts);
    check(&net);
}
