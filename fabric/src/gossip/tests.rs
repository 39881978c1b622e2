//! Nodes on a network that misbehaves.

extern crate std;

use std::format;

use mpreg_proto::catalog::{Kind, News};
use mpreg_proto::id::ClusterId;

use super::*;
use crate::catalog::Mode;
use crate::limits::GOSSIP_TURN_BYTES;

mod cross;
mod net;

use net::{Net, key};

const CLUSTER: Scope = Scope::Cluster;
const FABRIC: Scope = Scope::Fabric;

fn is_learned(fact: &Fact) -> bool {
    matches!(fact, Fact::Learned { .. })
}

#[test]
fn a_registration_is_visible_on_twenty_nodes_at_once() {
    let mut net = Net::mesh(1, 20);
    net.forget_counts();
    net.offer(1, CLUSTER, "new");
    let took = net.run_until_agreed(250);
    assert!(took <= 5, "{took} ms");
    net.run(500);
    for node in 2..=20 {
        assert_eq!(net.count(node, is_learned), 1, "one update, processed once");
    }
    let first = &net.nodes[&NodeId(1)];
    assert!(first.sent.1 < 40, "19 frames and a few comparisons, not {}", first.sent.1);
    let all: usize = net.nodes.values().map(|peer| peer.sent.1).sum();
    assert!(all < 150, "told lists keep others from repeating it: {all} frames");
}

#[test]
fn in_a_large_mesh_news_goes_to_some_and_reaches_all() {
    let mut net = Net::mesh(2, 40);
    for round in 0..20 {
        net.offer(1 + round % 40, CLUSTER, &format!("new{round}"));
        net.run_until_agreed(5_000);
    }
    net.forget_counts();
    net.offer(7, CLUSTER, "last");
    net.run(20);
    let direct = net.nodes[&NodeId(7)].sent.1;
    assert!((8..=20).contains(&direct), "some of 39: {direct}");
    net.run_until_agreed(250);
}

#[test]
fn news_goes_through_a_chain_and_a_star() {
    let mut net = Net::new(3);
    (1..=8).for_each(|node| net.start(node, 1, 1));
    (1..8).for_each(|node| net.link(node, node + 1));
    (1..=8).for_each(|node| net.offer(node, CLUSTER, "self"));
    net.run(500);
    net.assert_agreed();
    net.offer(1, CLUSTER, "new");
    let took = net.run_until_agreed(250);
    assert!(took <= 7 * 5 + 70, "{took} ms");
}

#[test]
fn what_many_clients_do_at_once_goes_in_few_frames() {
    let mut net = Net::mesh(4, 3);
    net.forget_counts();
    for nth in 0..2_000 {
        net.offer(1, CLUSTER, &format!("pattern.{nth}"));
    }
    net.run_until_agreed(500);
    let sent = net.nodes[&NodeId(1)].sent;
    assert!(sent.1 < 30, "{} frames", sent.1);
}

#[test]
fn a_joiner_of_ten_is_complete_within_a_second_and_is_sent_each_feed_once() {
    let mut net = Net::mesh(5, 10);
    for nth in 0..3_000 {
        net.offer(1 + nth % 10, CLUSTER, &format!("pattern.{nth}"));
    }
    net.run(2_000);
    net.assert_agreed();
    net.start(11, 1, 1);
    net.forget_counts();
    (1..=10).for_each(|other| net.link(11, other));
    net.offer(11, CLUSTER, "self");
    let took = net.run_until_agreed(1_000);
    assert!(took <= 100, "{took} ms");
    let bytes: usize = (1..=10).map(|node| net.nodes[&NodeId(node)].sent.0).sum();
    assert!(bytes < 2 * 3_000 * 50, "each feed once, not ten times: {bytes} bytes");
    let bytes = net.nodes[&NodeId(11)].sent.0;
    assert!(bytes < 3_000 * 10, "nobody is sent what only the joiner lacked: {bytes} bytes");
}

#[test]
fn a_node_knows_how_long_it_lacked_what_others_had() {
    let is_caught_up = |fact: &Fact| matches!(fact, Fact::CaughtUp { .. });
    let mut net = Net::mesh(7, 4);
    net.run(12_000);
    net.forget_counts();
    net.offer(1, CLUSTER, "new");
    net.run(12_000);
    for node in 1..=4 {
        assert_eq!(net.count(node, is_caught_up), 0, "news in order make nobody lack anything");
        let is_same = |fact: &Fact| matches!(fact, Fact::Compared { is_same: true, .. });
        assert!(6 <= net.count(node, is_same), "three peers, twice each");
        let gossip = &net.nodes[&NodeId(node)].gossip;
        assert_eq!((gossip.differing(), gossip.lacking()), (0, 0));
    }
    net.start(5, 1, 1);
    net.link(5, 1);
    net.run(1_000);
    assert_eq!(net.count(5, is_caught_up), 1, "all at once");
    let (least, most) = (Duration::ZERO, Duration::from_millis(100));
    let took =
        |fact: &Fact| matches!(fact, Fact::CaughtUp { after } if least < *after && *after < most);
    assert_eq!(net.count(5, took), 1);
}

#[test]
fn who_was_restarted_agrees_with_its_mates_by_digests() {
    let mut net = Net::mesh(8, 2);
    net.run(2_000);
    net.offer(2, CLUSTER, "self");
    net.offer(2, FABRIC, "far");
    net.run(2_000);
    net.crash(2);
    net.input(NodeId(1), Input::NodeDead { node: NodeId(2), incarnation: Incarnation(1) });
    net.run(2_000);
    net.start(2, 1, 2);
    net.link(2, 1);
    net.offer(2, CLUSTER, "self");
    net.run(2_000);
    net.forget_counts();
    net.run(20_000);
    for node in [1, 2] {
        let differs = |fact: &Fact| matches!(fact, Fact::Compared { is_same: false, .. });
        assert_eq!(net.count(node, differs), 0, "node {node}");
    }
}

#[test]
fn a_withdrawal_is_seen_everywhere_at_once() {
    let mut net = Net::mesh(6, 20);
    net.retract(3, CLUSTER, "self");
    let took = net.run_until_agreed(250);
    assert!(took <= 5, "{took} ms");
}

#[test]
fn a_link_that_lost_everything_for_ten_seconds_is_level_within_one_interval() {
    for seed in 0..10 {
        let mut net = Net::new(seed);
        net.start(1, 1, 1);
        net.start(2, 1, 1);
        net.link(1, 2);
        net.run(1_000);
        net.cut.insert((NodeId(1), NodeId(2)));
        for step in 0..100 {
            net.offer(1 + step % 2, CLUSTER, &format!("pattern.{step}"));
            if step % 3 == 0 {
                net.retract(1 + step % 2, CLUSTER, &format!("pattern.{}", step / 2));
            }
            net.run(100);
        }
        assert!(!net.is_agreed());
        net.cut.clear();
        net.run_until_agreed(5_100);
    }
}

#[test]
fn a_peer_without_room_gets_it_when_it_has_room() {
    let mut net = Net::mesh(7, 3);
    net.full.insert(NodeId(2));
    for step in 0..50 {
        net.offer(1, CLUSTER, &format!("pattern.{step}"));
        net.run(20);
    }
    assert!(!net.is_agreed());
    net.full.clear();
    let took = net.run_until_agreed(1_000);
    assert!(took <= 200, "{took} ms");
}

#[test]
fn nothing_is_kept_for_a_peer_that_will_be_compared_with() {
    let mut net = Net::mesh(26, 2);
    let is_empty = |net: &Net| net.nodes[&NodeId(1)].gossip.links[&NodeId(2)].queue.is_empty();
    net.offer(1, CLUSTER, "first");
    net.offer(1, CLUSTER, "second");
    assert!(!is_empty(&net), "turns are paced");
    net.input(NodeId(1), Input::Refused { to: NodeId(2) });
    assert!(is_empty(&net));
    net.run_until_agreed(200);
}

#[test]
fn when_who_was_asked_is_gone_somebody_else_is_asked() {
    let mut net = Net::mesh(20, 2);
    net.start(3, 1, 1);
    net.latency_ms = 100;
    net.link(3, 1);
    net.run(130);
    assert_eq!(net.nodes[&NodeId(3)].gossip.asked.len(), 2, "both feeds are asked of node 1");
    net.link(3, 2);
    net.unlink(3, 1);
    net.offer(3, CLUSTER, "self");
    net.unlink(1, 2);
    net.link(1, 2);
    let took = net.run_until_agreed(5_000);
    assert!(took <= 600, "{took} ms");
}

#[test]
fn when_who_was_asked_is_silent_somebody_else_is_asked() {
    let mut net = Net::new(21);
    net.options.interval = Duration::from_secs(60);
    (1..=3).for_each(|node| net.start(node, 1, 1));
    net.link(1, 2);
    (1..=2).for_each(|node| net.offer(node, CLUSTER, "self"));
    net.run(100);
    net.link(3, 1);
    net.cut.insert((NodeId(1), NodeId(3)));
    let head = net.nodes[&NodeId(1)]
        .gossip
        .catalog()
        .head(FeedId { node: NodeId(1), scope: CLUSTER }, net.now);
    let mut bytes = Vec::new();
    Message::Heads([News { head: head.unwrap(), told: Vec::new() }].into()).put(&mut bytes);
    net.input(NodeId(3), Input::Received { from: NodeId(1), bytes: bytes.into() });
    net.run(500);
    net.link(3, 2);
    net.run(400);
    assert!(!net.shows(3, 1, "self") && net.shows(3, 2, "self"));
    net.run(300);
    assert!(net.shows(3, 1, "self"), "patience is a second");
}

#[test]
fn who_knows_another_incarnation_is_sent_the_whole() {
    let mut net = Net::mesh(22, 2);
    let feed = FeedId { node: NodeId(1), scope: CLUSTER };
    let need = |incarnation, sequence| {
        let version = Version { incarnation: Incarnation(incarnation), sequence };
        let mut bytes = Vec::new();
        Message::Want([Need { feed, version, whole: None }].into()).put(&mut bytes);
        Input::Received { from: NodeId(2), bytes: bytes.into() }
    };
    net.offer(1, CLUSTER, "more");
    net.run(100);
    net.recorded = Some(Vec::new());
    for input in [need(0, 1), need(1, 1), need(1, 2), need(2, 1)] {
        net.input(NodeId(1), input);
        net.run(20);
    }
    let sent = net.recorded.take().unwrap().into_iter();
    let deltas = sent.filter_map(|(_, _, bytes)| match Message::parse(&bytes) {
        Ok(Message::Delta(changes)) => Some((changes[0].after, changes[0].records.len())),
        Ok(_) | Err(_) => None,
    });
    assert_eq!(deltas.collect::<Vec<_>>(), [(0, 2), (1, 1)]);
}

#[test]
fn what_is_queued_of_one_feed_joins() {
    let check = |first: (Option<u64>, Lane),
                 second: (Option<u64>, Lane),
                 want: (Option<u64>, Lane)| {
        let mut link = Link::new(Speaker { node: NodeId(2), cluster: ClusterId(1) });
        let feed = FeedId { node: NodeId(1), scope: CLUSTER };
        for ((since, lane), told) in [(first, [1, 2]), (second, [2, 3])] {
            link.put(feed, Queued { since: since.map(Since::Known), lane, told: told.to_vec() });
        }
        let (since, lane) = want;
        let want = Queued { since: since.map(Since::Known), lane, told: [2].into() };
        assert_eq!(link.queue[&feed], want);
    };
    let (news, bulk, departure) = (Lane::News, Lane::Bulk, Lane::Departure);
    check((Some(3), news), (Some(5), news), (Some(3), news));
    check((Some(5), news), (Some(0), bulk), (Some(0), bulk));
    check((Some(0), bulk), (Some(5), news), (Some(0), bulk));
    check((None, news), (Some(5), news), (Some(5), news));
    check((Some(5), bulk), (None, news), (Some(5), bulk));
    check((Some(5), news), (None, departure), (Some(5), departure));
}

#[test]
fn a_whole_of_many_frames_of_which_some_was_forgotten_arrives() {
    let mut net = Net::mesh(23, 2);
    for nth in 0..3_000 {
        net.offer(1, CLUSTER, &format!("kept.{nth}"));
    }
    for nth in 0..4_200 {
        net.offer(1, CLUSTER, &format!("brief.{nth}"));
        net.retract(1, CLUSTER, &format!("brief.{nth}"));
        net.run(1);
    }
    net.run(130_000);
    net.start(3, 1, 1);
    net.link(3, 1);
    net.offer(3, CLUSTER, "self");
    let took = net.run_until_agreed(1_000);
    assert!(took <= 100, "{took} ms");
}

#[test]
fn a_whole_arrives_at_a_peer_that_has_room_for_a_little_at_a_time() {
    let mut net = Net::mesh(25, 2);
    for nth in 0..4_200 {
        net.offer(1, CLUSTER, &format!("brief.{nth}"));
        net.retract(1, CLUSTER, &format!("brief.{nth}"));
    }
    for nth in 0..40 {
        net.offer_body(1, CLUSTER, &format!("large.{nth}"), &[7; 8_000]);
    }
    net.run(130_000);
    for nth in 0..4_200 {
        net.offer(1, CLUSTER, &format!("brief.{nth}"));
        net.retract(1, CLUSTER, &format!("brief.{nth}"));
    }
    net.run(130_000);
    net.start(3, 1, 1);
    net.link(3, 1);
    net.offer(3, CLUSTER, "self");
    // After two frames of a turn it has no room.
    net.room = Some(2);
    let took = net.run_until_agreed(20_000);
    assert!(took <= 5_000, "{took} ms");
}

#[test]
fn one_feed_of_a_million_bytes_does_not_hold_up_others() {
    let mut net = Net::mesh(24, 2);
    for nth in 0..200 {
        net.offer_body(1, CLUSTER, &format!("large.{nth}"), &[7; 8_000]);
    }
    net.run(1_000);
    net.start(3, 1, 1);
    net.link(3, 1);
    net.offer(3, CLUSTER, "self");
    let (mut before, mut most) = (net.nodes[&NodeId(1)].sent.0, 0);
    for _ in 0..200 {
        net.run(1);
        let sent = net.nodes[&NodeId(1)].sent.0;
        most = most.max(sent - before);
        before = sent;
    }
    assert!((GOSSIP_TURN_BYTES / 2..GOSSIP_TURN_BYTES + 70_000).contains(&most), "{most}");
    net.assert_agreed();
}

#[test]
fn frames_from_the_past_change_nothing() {
    let mut net = Net::mesh(8, 4);
    net.recorded = Some(Vec::new());
    for step in 0..20 {
        net.offer(1 + step % 4, CLUSTER, "again");
        net.run(50);
        net.retract(1 + step % 4, CLUSTER, "again");
        net.run(50);
    }
    net.retract(2, CLUSTER, "self");
    net.run(100);
    net.assert_agreed();
    let recorded = net.recorded.take().unwrap();
    for (from, to, bytes) in recorded {
        net.input(to, Input::Received { from, bytes });
        net.assert_agreed();
    }
}

#[test]
fn a_dead_node_takes_all_with_it_and_no_relay_revives_it() {
    let mut net = Net::mesh(9, 6);
    net.offer(6, CLUSTER, "more");
    net.run(100);
    net.recorded = Some(Vec::new());
    net.offer(6, CLUSTER, "last");
    net.run(20_000);
    net.crash(6);
    for node in 1..=4 {
        net.input(NodeId(node), Input::NodeDead { node: NodeId(6), incarnation: Incarnation(1) });
    }
    // Node 5 has not heard of it, and tells all it knows to whom it meets.
    assert!(net.shows(5, 6, "last") && !net.shows(1, 6, "last"));
    net.run(8_000);
    (1..=4).for_each(|node| assert!(!net.shows(node, 6, "last")));
    for (from, to, bytes) in net.recorded.take().unwrap() {
        if from != NodeId(6) && to != NodeId(5) && to != NodeId(6) {
            net.input(to, Input::Received { from, bytes });
        }
    }
    (1..=4).for_each(|node| assert!(!net.shows(node, 6, "last")));
    net.input(NodeId(5), Input::NodeDead { node: NodeId(6), incarnation: Incarnation(1) });
    net.run(100);
    net.assert_agreed();
}

#[test]
fn a_node_that_comes_back_is_usable_at_once() {
    let mut net = Net::mesh(10, 5);
    net.crash(5);
    for node in 1..=4 {
        net.input(NodeId(node), Input::NodeDead { node: NodeId(5), incarnation: Incarnation(1) });
    }
    net.run(100);
    net.assert_agreed();
    net.start(5, 1, 2);
    (1..=4).for_each(|node| net.link(5, node));
    net.offer(5, CLUSTER, "other");
    let took = net.run_until_agreed(4_000);
    assert!(took <= 50, "{took} ms");
}

#[test]
fn who_leaves_is_forgotten_at_once() {
    let mut net = Net::mesh(11, 5);
    net.input(NodeId(5), Input::Leave);
    net.offered.retain(|(feed, _), _| feed.node != NodeId(5));
    let took = net.run_until_agreed(250);
    assert!(took <= 5, "{took} ms");
    net.run(20_000);
    net.assert_agreed();
    net.input(NodeId(5), Input::Offer { scope: CLUSTER, key: key("late"), body: Bytes::new() });
    assert_eq!(net.nodes[&NodeId(5)].not_offered, [Refusal::Departed]);
}

#[test]
fn nothing_of_a_live_node_ever_vanishes() {
    let mut net = Net::mesh(12, 8);
    (net.lost, net.doubled, net.latency_ms, net.reorders) = (100, 50, 200, true);
    for _ in 0..600 {
        net.run(1_000);
        net.assert_agreed();
    }
    for node in 1..=8 {
        assert_eq!(net.count(node, |fact| matches!(fact, Fact::Lapsed { .. })), 0);
    }
}

#[test]
fn who_is_silent_for_a_lease_lapses_and_comes_back_with_its_next_beat() {
    let mut net = Net::mesh(13, 4);
    (1..=3).for_each(|node| net.unlink(4, node));
    net.run(19_000);
    assert!(net.shows(1, 4, "self"), "a lease is 30 s, and the last beat at most 10 s old");
    net.run(12_000);
    for node in 1..=3 {
        assert!(!net.shows(node, 4, "self"));
        assert!(0 < net.count(node, |fact| *fact == Fact::Lapsed { node: NodeId(4) }));
    }
    assert_eq!(net.shown(4).len(), 1, "it is the only one left to itself");
    (1..=3).for_each(|node| net.link(4, node));
    net.run_until_agreed(1_000);
}

#[test]
fn one_taken_for_dead_hears_of_it_and_comes_back_as_someone_new() {
    let mut net = Net::mesh(14, 4);
    for node in 1..=3 {
        net.input(NodeId(node), Input::NodeDead { node: NodeId(4), incarnation: Incarnation(1) });
    }
    net.run(6_000);
    assert!(!net.shows(1, 4, "self"));
    assert_eq!(net.nodes[&NodeId(4)].outlived.first(), Some(&Incarnation(1)));
    net.input(NodeId(4), Input::Renewed(Incarnation(2)));
    let took = net.run_until_agreed(4_000);
    assert!(took <= 50, "{took} ms");
}

#[test]
fn a_new_incarnation_keeps_what_it_still_offers_in_sight() {
    let mut net = Net::mesh(15, 3);
    for nth in 0..1_500 {
        net.offer(3, CLUSTER, &format!("pattern.{nth}"));
    }
    net.run(1_000);
    net.assert_agreed();
    net.input(NodeId(3), Input::Renewed(Incarnation(2)));
    for _ in 0..200 {
        net.run(1);
        net.assert_agreed();
    }
    assert_eq!(net.nodes[&NodeId(1)].gossip.catalog().entries().count(), 1_503);
    let feed = FeedId { node: NodeId(3), scope: CLUSTER };
    let known = net.nodes[&NodeId(1)].gossip.catalog().need(feed).unwrap();
    assert_eq!(known.version.incarnation, Incarnation(2));
}

#[test]
fn who_slept_longer_than_withdrawals_are_remembered_is_sent_the_whole() {
    let mut net = Net::new(16);
    net.options.lifetimes =
        Lifetimes { lease: Duration::from_secs(3600), keep: Duration::from_secs(3700) };
    (1..=3).for_each(|node| net.start(node, 1, 1));
    net.link(1, 2);
    net.link(2, 3);
    (0..50).for_each(|nth| net.offer(1, CLUSTER, &format!("pattern.{nth}")));
    net.offer(1, CLUSTER, "kept");
    net.run(1_000);
    net.assert_agreed();
    net.cut.insert((NodeId(2), NodeId(3)));
    (0..50).for_each(|nth| net.retract(1, CLUSTER, &format!("pattern.{nth}")));
    // More than are remembered, so that those above are forgotten.
    for nth in 0..5_000 {
        net.offer(1, CLUSTER, &format!("brief.{nth}"));
        net.retract(1, CLUSTER, &format!("brief.{nth}"));
        net.run(1);
    }
    net.run(10_000);
    assert!(net.shows(3, 1, "pattern.7"));
    net.cut.clear();
    for _ in 0..5_100 {
        net.run(1);
        assert!(net.shows(3, 1, "kept"), "it was offered all the time");
    }
    net.assert_agreed();
}

#[test]
fn under_churn_nothing_piles_up() {
    let mut net = Net::mesh(17, 4);
    for round in 0..60 {
        for nth in 0..50 {
            net.offer(1 + nth % 4, CLUSTER, &format!("brief.{round}.{nth}"));
        }
        net.run(500);
        for nth in 0..50 {
            net.retract(1 + nth % 4, CLUSTER, &format!("brief.{round}.{nth}"));
        }
        net.run(4_500);
    }
    net.assert_agreed();
    net.run(130_000);
    for peer in net.nodes.values() {
        assert_eq!(peer.gossip.catalog().len(), 4);
        assert_eq!(peer.gossip.catalog().feeds_count(), 4);
        assert!(peer.gossip.asked.is_empty() && peer.gossip.needs.is_empty());
    }
}

/// Loss, doubling, reordering, cuts, crashes and restarts, by seed; then quiet, and all agree.
#[test]
fn whatever_happens_all_agree_in_the_end() {
    for seed in 0..if cfg!(debug_assertions) { 25 } else { 200 } {
        let mut net = Net::mesh(100 + seed, 7);
        (net.lost, net.doubled, net.latency_ms) = (net.below(200), net.below(200), 150);
        net.reorders = seed % 2 == 0;
        let mut incarnation = 1;
        for step in 0..150 {
            let node = u128::from(1 + net.below(7));
            let other = u128::from(1 + net.below(7));
            let name = format!("p{}", net.below(12));
            match net.below(10) {
                0..=3 => net.offer(node, CLUSTER, &name),
                4..=5 => net.retract(node, CLUSTER, &name),
                6 if node != other => {
                    let (a, b) = (NodeId(node.min(other)), NodeId(node.max(other)));
                    net.cut.insert((a, b));
                }
                7 => net.cut.clear(),
                8 if node != other && step % 3 == 0 => {
                    incarnation += 1;
                    restart(&mut net, node, incarnation);
                }
                _ => (),
            }
            let millis = net.below(400).into();
            net.run(millis);
        }
        (net.lost, net.doubled, net.latency_ms) = (0, 0, 5);
        net.cut.clear();
        net.run(6_000);
        net.assert_agreed();
    }
}

fn restart(net: &mut Net, node: u128, incarnation: u64) {
    let before = net.nodes[&NodeId(node)].gossip.catalog().incarnation();
    net.crash(node);
    for other in (1..=7).filter(|other| *other != node) {
        net.input(NodeId(other), Input::NodeDead { node: NodeId(node), incarnation: before });
    }
    net.start(node, 1, incarnation);
    (1..=7).filter(|other| *other != node).for_each(|other| net.link(node, other));
    net.offer(node, CLUSTER, "self");
}

#[test]
fn strangers_and_nonsense_are_counted() {
    let mut net = Net::mesh(18, 2);
    let bytes = Bytes::from_static(&[5, 1, 2, 3]);
    net.input(NodeId(1), Input::Received { from: NodeId(9), bytes: bytes.clone() });
    assert_eq!(net.count(1, |fact| *fact == Fact::Unlinked { from: NodeId(9) }), 1);
    net.input(NodeId(1), Input::Received { from: NodeId(2), bytes });
    let code = ErrorCode::Malformed;
    assert_eq!(net.count(1, |fact| *fact == Fact::Unreadable { from: NodeId(2), code }), 1);
    let later = Bytes::from_static(&[200]);
    net.input(NodeId(1), Input::Received { from: NodeId(2), bytes: later });
    let code = ErrorCode::UnknownKind;
    assert_eq!(net.count(1, |fact| *fact == Fact::Unreadable { from: NodeId(2), code }), 1);
    net.run(100);
    net.assert_agreed();
}

#[test]
fn a_quiet_mesh_says_little() {
    let mut net = Net::mesh(19, 10);
    net.run(10_000);
    net.forget_counts();
    net.run(60_000);
    let bytes: usize = net.nodes.values().map(|peer| peer.sent.0).sum();
    let per_second = bytes / 60 / 10;
    assert!(per_second < 2_000, "{per_second} bytes a second from each of ten nodes");
}
