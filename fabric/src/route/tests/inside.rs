//! Routes within a cluster: every node has them, over whatever links, and nobody goes in circles.

use alloc::vec;

use mpreg_proto::catalog::mark;
use mpreg_proto::route::{Held, Item};

use super::forge::*;
use super::net::Net;
use super::*;

/// Nodes 11 to 14 of cluster 1 in a line, 21 of cluster 2 at one end, 31 of cluster 3 at the other,
/// and 91 of cluster 9 next to both, the second 10 ms farther.
fn line(mut net: Net) -> Net {
    for node in [11, 12, 13, 14] {
        net.add(node, 1);
    }
    for (node, cluster) in [(21, 2), (31, 3), (91, 9)] {
        net.add(node, cluster);
    }
    let wires = [(11, 12, 2), (12, 13, 2), (13, 14, 2), (11, 21, 10), (14, 31, 10)];
    for (a, b, ms) in wires.into_iter().chain([(21, 91, 10), (31, 91, 20)]) {
        net.connect(NodeId(a), NodeId(b), link(ms));
    }
    net.run(SECOND);
    net
}

#[test]
fn every_node_has_what_its_gateways_have() {
    for net in [Net::unsigned(1), Net::signed(1)] {
        let net = line(net);
        for node in [11, 12, 13, 14] {
            assert_eq!(net.path(NodeId(node), 2), [2], "{node}");
            assert_eq!(net.path(NodeId(node), 3), [3], "{node}");
        }
        // 12 and 13 have no link to another cluster.
        let next = |node, destination| net.next(NodeId(node), destination).map(|next| next.0);
        assert_eq!((next(12, 2), next(13, 2)), (Some(11), Some(11)));
        assert_eq!((next(12, 3), next(13, 3)), (Some(14), Some(14)));
        assert_eq!((next(11, 2), next(11, 3), next(14, 2)), (Some(21), Some(14), Some(11)));
        let view = net.nodes[&NodeId(12)].routes.view();
        let hops: Vec<_> = view.hops(ClusterId(9)).iter().map(|hop| hop.next).collect();
        assert_eq!(hops, [Next::Gateway(NodeId(11)), Next::Gateway(NodeId(14))]);
        for (node, peer) in &net.nodes {
            for destination in net.clusters().into_iter().filter(|c| *c != peer.cluster) {
                assert!(net.walk(*node, destination).is_some(), "{node} to {destination}");
            }
        }
    }
}

#[test]
fn a_cluster_carries_from_one_gateway_to_the_other() {
    let mut net = line(Net::signed(2));
    assert_eq!(net.path(NodeId(21), 3), [1, 3]);
    assert_eq!(net.path(NodeId(31), 2), [1, 2]);
    // Cut 2 off from 9: all of cluster 1, and cluster 2 behind it, go over the other gateway.
    net.cut(5);
    net.run(SECOND);
    for node in [11, 12, 13, 14] {
        assert_eq!(net.path(NodeId(node), 9), [3, 9], "{node}");
    }
    assert_eq!(net.path(NodeId(21), 9), [1, 3, 9]);
    assert_eq!(net.next(NodeId(11), 9), Some(NodeId(14)));
}

#[test]
fn a_gateway_that_is_gone_takes_its_ways_along() {
    let mut net = line(Net::unsigned(3));
    for node in [12, 13, 14] {
        net.input(NodeId(node), Input::NodeGone { node: NodeId(11), incarnation: Incarnation(1) });
        assert_eq!(net.path(NodeId(node), 9), [3, 9], "in the same moment");
    }
    // Cluster 3 went over this one, and goes and tells the other way round.
    net.run(SECOND);
    for node in [12, 13, 14] {
        assert_eq!(net.path(NodeId(node), 2), [3, 9, 2]);
    }
}

#[test]
fn what_a_gateway_said_in_an_earlier_life_ends_with_it() {
    for signed in [false, true] {
        let mut net = line(if signed { Net::signed(4) } else { Net::unsigned(4) });
        // It comes back without its link to cluster 2, and nobody noticed that it was away but its
        // neighbours.
        net.cut(3);
        net.run(MS * 1);
        net.links[3].is_up = false;
        net.restart(NodeId(11), 2);
        net.run(SECOND);
        for node in [11, 12, 13, 14] {
            assert_eq!(net.path(NodeId(node), 9), [3, 9], "{node}");
        }
    }
}

#[test]
fn a_node_that_was_cut_off_catches_up() {
    let mut net = line(Net::unsigned(5));
    net.cut(1);
    net.run(SECOND);
    net.cut(5);
    net.run(SECOND);
    assert_eq!(net.path(NodeId(13), 9), [2, 9], "not told, and nobody said that 11 is gone");
    net.run(SECOND * 30);
    assert_eq!(net.path(NodeId(13), 9), [3, 9], "expired");
    net.restore(1);
    net.run(SECOND);
    for node in [11, 12, 13, 14] {
        assert_eq!(net.path(NodeId(node), 9), [3, 9], "{node}");
    }
    net.restore(5);
    net.run(SECOND);
    for node in [11, 12, 13] {
        assert_eq!(net.path(NodeId(node), 9), [2, 9], "{node}");
    }
}

#[test]
fn whole_fabrics_of_many_gateways_carry_everything_without_a_circle() {
    for seed in 0..6 {
        let mut rng = Rng::from_seed(seed);
        let mut net = Net::unsigned(seed);
        let (clusters, each) = (5, 4);
        for number in 0..clusters * each {
            net.add(number, number / each);
        }
        let mut wire = |net: &mut Net, a: u128, b: u128| {
            let link = link(1 + rng.below(30));
            net.connect(NodeId(a), NodeId(b), link)
        };
        for cluster in 0..clusters {
            for node in 1..each {
                wire(&mut net, cluster * each, cluster * each + node);
            }
        }
        // Two links from each cluster to the next, and chords, over drawn gateways.
        let mut gates = Rng::from_seed(seed).stream(1);
        for at in 0..clusters * 3 {
            let (from, to) = (at % clusters, (at + 1 + at / clusters / 2) % clusters);
            let [a, b] = [from, to].map(|c| c * each + u128::from(gates.below(each as u32)));
            let is_new = !net.links.iter().any(|wire| wire.ends == [NodeId(a), NodeId(b)]);
            if is_new {
                wire(&mut net, a, b);
            }
        }
        net.run(SECOND * 2);
        for (node, peer) in &net.nodes {
            for destination in net.clusters().into_iter().filter(|c| *c != peer.cluster) {
                assert!(net.walk(*node, destination).is_some(), "{seed}: {node} to {destination}");
            }
        }
    }
}

/// Node 20 of this cluster says what it has.
fn lab() -> Lab {
    let mut lab = Lab::open();
    for peer in [20, 21] {
        let (peer, cluster) = (NodeId(peer), ClusterId(1));
        lab.input(Input::PeerUp { peer, cluster, link: link(2) });
    }
    lab
}

fn hear(lab: &mut Lab, from: u128, item: &Item) -> Vec<Reject> {
    let message = Message { entries: alloc::vec![item.entry()] };
    let facts = lab.input(Input::Heard { from: NodeId(from), message });
    facts.into_iter().filter_map(reason).collect()
}

#[test]
fn a_gateways_word_is_verified_and_passed_on_once() {
    let mut lab = lab();
    let item = Item::Inside(inside(20, 5, Some(nine(2, 1))));
    let Item::Inside(said) = &item else { unreachable!("just made") };
    let is_it = |sent: &Item| matches!(sent, Item::Inside(sent) if sent.route == said.route);
    let passed = |lab: &Lab, to| lab.sent(NodeId(to)).iter().filter(|sent| is_it(sent)).count();
    assert_eq!(hear(&mut lab, 20, &item), []);
    assert_eq!(lab.routes.next_hop(ClusterId(9), &[], lab.now).unwrap().next.node(), NodeId(20));
    hear(&mut lab, 21, &item);
    assert_eq!((passed(&lab, 20), passed(&lab, 21)), (0, 1));
    hear(&mut lab, 20, &Item::Inside(inside(20, 4, None)));
    assert_eq!(lab.path(9), [2, 9], "older");
    hear(&mut lab, 21, &Item::Inside(inside(20, 6, None)));
    assert_eq!(lab.path(9), Vec::<u128>::new());
    hear(&mut lab, 21, &item);
    assert_eq!(lab.path(9), Vec::<u128>::new(), "played again");
}

#[test]
fn nobody_repeats_what_the_gateway_told_all() {
    let mut lab = lab();
    let mut told = inside(20, 5, Some(nine(2, 1)));
    told.told = [20, 21, 1].map(|node| mark(NodeId(node))).to_vec();
    assert_eq!(hear(&mut lab, 20, &Item::Inside(told)), []);
    assert_eq!(lab.path(9), [2, 9]);
    let is_inside = |item: &Item| matches!(item, Item::Inside(inside) if inside.gateway.0 == 20);
    assert!(!lab.sent(NodeId(21)).iter().any(is_inside));
}

#[test]
fn what_one_of_two_lacks_is_found_by_a_number() {
    let mut lab = lab();
    hear(&mut lab, 20, &Item::Inside(inside(20, 5, Some(nine(2, 1)))));
    let last = |lab: &Lab| lab.sent(NodeId(21)).into_iter().next_back();
    assert_eq!(hear(&mut lab, 21, &Item::Sum(0)), []);
    let Some(Item::Held(mine)) = last(&lab) else { panic!("not listed") };
    assert_eq!((mine.first, mine.last, mine.marks.len()), (0, u64::MAX, 1));
    lab.effects.clear();
    assert_eq!(hear(&mut lab, 21, &Item::Sum(mine.marks[0])), []);
    assert_eq!(last(&lab), None, "both hold the same");
    let mut none = Held { first: 0, last: u64::MAX, marks: vec![], is_answer: false };
    hear(&mut lab, 21, &Item::Held(none.clone()));
    let Some(Item::Inside(sent)) = last(&lab) else { panic!("not sent") };
    assert_eq!((sent.gateway, sent.version.sequence), (NodeId(20), 5));
    lab.effects.clear();
    none.marks = vec![mine.marks[0], mine.marks[0] ^ 1];
    none.marks.sort();
    hear(&mut lab, 21, &Item::Held(none.clone()));
    assert!(matches!(last(&lab), Some(Item::Held(Held { is_answer: true, .. }))));
    lab.effects.clear();
    none.is_answer = true;
    hear(&mut lab, 21, &Item::Held(none.clone()));
    assert_eq!(last(&lab), None, "answers are not answered");
    assert_eq!(hear(&mut lab, 30, &Item::Held(none)), [Reject::UnknownPeer]);
}

#[test]
fn who_still_tells_of_a_way_that_is_gone_is_told_so() {
    let mut lab = lab();
    let item = Item::Inside(inside(20, 5, Some(nine(2, 1))));
    hear(&mut lab, 20, &Item::Inside(inside(20, 6, None)));
    lab.effects.clear();
    hear(&mut lab, 21, &item);
    let sent = lab.sent(NodeId(21));
    let [Item::Inside(gone)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((gone.version.sequence, &gone.route), (6, &None));
}

#[test]
fn a_way_that_is_gone_is_not_listed() {
    let mut lab = lab();
    hear(&mut lab, 20, &Item::Inside(inside(20, 5, None)));
    lab.effects.clear();
    hear(&mut lab, 21, &Item::Sum(1));
    let sent = lab.sent(NodeId(21));
    assert!(matches!(&sent[..], [Item::Held(held)] if held.marks.is_empty()), "{sent:?}");
}

#[test]
fn a_later_life_of_a_gateway_ends_all_it_said_before() {
    let mut lab = lab();
    hear(&mut lab, 20, &Item::Inside(inside(20, 5, Some(nine(2, 1)))));
    assert_eq!(lab.path(9), [2, 9]);
    let mut elsewhere = inside(20, 0, None);
    elsewhere.version.incarnation = Incarnation(2);
    elsewhere.destination = ClusterId(8);
    hear(&mut lab, 20, &Item::Inside(elsewhere));
    assert_eq!(lab.path(9), Vec::<u128>::new());
    // Something of the earlier life that was long on the way.
    hear(&mut lab, 21, &Item::Inside(inside(20, 99, Some(nine(2, 2)))));
    assert_eq!(lab.path(9), Vec::<u128>::new());
}

#[test]
fn what_this_node_said_in_an_earlier_life_is_taken_back() {
    let mut lab = lab();
    let mut earlier = inside(1, 500, Some(nine(2, 1)));
    earlier.version.incarnation = Incarnation(0);
    let earlier = Item::Inside(earlier);
    assert_eq!(hear(&mut lab, 20, &earlier), []);
    for node in [20, 21] {
        let sent = lab.sent(NodeId(node));
        assert!(!sent.contains(&earlier), "not passed on");
        let Some(Item::Inside(last)) = sent.last() else { panic!("{node} was told nothing") };
        assert_eq!((last.gateway, last.destination), (NodeId(1), ClusterId(9)));
        assert_eq!((last.version.incarnation, &last.route), (Incarnation(1), &None));
    }
    assert_eq!(lab.path(9), Vec::<u128>::new());
}

#[test]
fn a_gateway_cannot_make_up_a_way() {
    let told_to_three = Forged::origin(origin(9, 2, 1)).hop(hop(2, 3, 1, 1));
    let splice = Item::Inside(inside(20, 1, Some(told_to_three)));
    let want = Reject::Signature(SignatureFault::OtherNeighbour);
    assert_eq!(hear(&mut lab(), 20, &splice), [want]);
    let mut nearer = inside(20, 1, Some(nine(2, 1)));
    nearer.route.as_mut().unwrap().metrics.latency_us = 10_000;
    assert_eq!(hear(&mut lab(), 20, &Item::Inside(nearer)), [Reject::Metrics]);
    let mut elsewhere = inside(20, 1, Some(nine(2, 1)));
    elsewhere.destination = ClusterId(8);
    assert_eq!(hear(&mut lab(), 20, &Item::Inside(elsewhere)), [Reject::DestinationDiffers]);
}

#[test]
fn the_nearer_gateway_is_taken() {
    let mut lab = lab();
    hear(&mut lab, 20, &Item::Inside(inside(20, 1, Some(nine(2, 1)))));
    hear(&mut lab, 21, &Item::Inside(inside(21, 1, Some(nine(2, 2)))));
    let next = |lab: &Lab| lab.routes.next_hop(ClusterId(9), &[], lab.now).unwrap().next.node();
    assert_eq!(next(&lab), NodeId(20), "equally near: the lesser node");
    let far = Input::Measured { peer: NodeId(20), round_trip_us: 9000, loss_ppm: 0 };
    lab.input(far);
    assert_eq!(next(&lab), NodeId(21));
}

#[test]
fn gateways_without_number_fill_a_bounded_table() {
    let mut lab = lab();
    let mut refused = 0;
    for gateway in 0..crate::limits::ROUTE_GATEWAYS_MAX as u128 + 5 {
        let item = Item::Inside(inside(1000 + gateway, 1, None));
        refused += hear(&mut lab, 20, &item).len();
    }
    assert_eq!(refused, 5);
}
