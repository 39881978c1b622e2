//! Clusters in a row: what goes how far under which policy.

use super::*;

/// Clusters 1 to 3 with two nodes each (11, 12, 21, …), linked 12-21 and 22-31.
fn row(mode: Mode) -> Net {
    let mut net = Net::new(30);
    for cluster in 1..=3 {
        let clusters = [1, 2, 3].map(ClusterId).into();
        let federation = Federation { own: ClusterId(cluster), mode, clusters };
        for nth in [1, 2] {
            net.start_with(10 * cluster + nth, 1, federation.clone());
        }
        net.link(10 * cluster + 1, 10 * cluster + 2);
    }
    net.link(12, 21);
    net.link(22, 31);
    net
}

/// Who sees the entry of node 11 that is for the whole fabric.
fn seen_by(net: &Net) -> Vec<u128> {
    [12, 21, 22, 31, 32].into_iter().filter(|&node| net.shows(node, 11, "exported")).collect()
}

#[test]
fn policy_says_how_far_an_entry_goes() {
    for (mode, want) in [
        (Mode::Strict, &[12, 21, 22][..]),
        (Mode::Bridging, &[12, 21, 22, 31, 32]),
        (Mode::Permissive, &[12, 21, 22, 31, 32]),
    ] {
        let mut net = row(mode);
        net.run(200);
        net.offer(11, FABRIC, "exported");
        net.offer(11, CLUSTER, "kept");
        net.run(250);
        assert_eq!(seen_by(&net), want, "{mode:?}");
        assert!(net.shows(12, 11, "kept") && !net.shows(21, 11, "kept"));
        net.run(60_000);
        assert_eq!(seen_by(&net), want, "{mode:?}, a minute later");
        net.retract(11, FABRIC, "exported");
        net.run(250);
        assert_eq!(seen_by(&net), [0; 0], "{mode:?}");
    }
}

#[test]
fn what_was_offered_before_the_link_goes_over_it_at_once() {
    let mut net = row(Mode::Strict);
    net.unlink(12, 21);
    net.offer(11, FABRIC, "exported");
    net.run(1_000);
    assert_eq!(seen_by(&net), [12]);
    net.link(12, 21);
    net.run(250);
    assert_eq!(seen_by(&net), [12, 21, 22]);
}

#[test]
fn bridging_is_with_listed_clusters_and_what_lies_behind_them() {
    let mut net = Net::new(31);
    let federation = |own: u128, listed: &[u128]| Federation {
        own: ClusterId(own),
        mode: Mode::Bridging,
        clusters: listed.iter().copied().map(ClusterId).collect(),
    };
    net.start_with(11, 1, federation(1, &[2]));
    net.start_with(21, 1, federation(2, &[1]));
    net.start_with(31, 1, federation(3, &[2]));
    net.link(11, 21);
    net.link(21, 31);
    net.offer(11, FABRIC, "exported");
    net.run(500);
    assert!(net.shows(21, 11, "exported") && !net.shows(31, 11, "exported"));
    // The same with the policy changed while it runs.
    net.input(NodeId(21), Input::Federation(federation(2, &[1, 3])));
    net.run(5_100);
    assert!(net.shows(31, 11, "exported"));
}

#[test]
fn a_dead_gateway_is_gone_everywhere_at_once() {
    let mut net = row(Mode::Bridging);
    net.offer(11, FABRIC, "exported");
    net.run(1_000);
    assert_eq!(seen_by(&net).len(), 5);
    net.crash(11);
    net.input(NodeId(12), Input::NodeDead { node: NodeId(11), incarnation: Incarnation(1) });
    net.run(250);
    assert_eq!(seen_by(&net), [0; 0]);
    net.run(300_000);
    assert_eq!(seen_by(&net), [0; 0]);
    for peer in net.nodes.values() {
        assert_eq!(peer.gossip.catalog().feeds_count(), 0, "the end is forgotten in the end");
    }
}

#[test]
fn two_ways_between_clusters_bring_an_entry_once() {
    let mut net = row(Mode::Strict);
    net.link(11, 22);
    net.run(500);
    net.forget_counts();
    net.offer(11, FABRIC, "exported");
    net.run(1_000);
    for node in [12, 21, 22] {
        assert_eq!(net.count(node, is_learned), 1, "{node}");
    }
}

#[test]
fn a_foreign_cluster_cannot_speak_for_mine() {
    let mut net = row(Mode::Permissive);
    net.offer(11, FABRIC, "exported");
    net.run(500);
    let mut forged = Net::new(32);
    // A node of cluster 2 that calls itself node 11 of cluster 1, in a later life.
    forged.start(11, 1, 9);
    forged.start(12, 1, 1);
    forged.link(11, 12);
    forged.recorded = Some(Vec::new());
    forged.offer(11, FABRIC, "forged");
    forged.input(NodeId(11), Input::Leave);
    forged.run(100);
    for (_, _, bytes) in forged.recorded.take().unwrap() {
        net.input(NodeId(12), Input::Received { from: NodeId(21), bytes });
    }
    net.run(500);
    assert!(net.shows(12, 11, "exported") && !net.shows(12, 11, "forged"));
    let why = Refusal::NotExported;
    let refused = Fact::Refused { from: NodeId(21), why };
    assert!(0 < net.count(12, |fact| *fact == refused));
}

#[test]
fn a_filter_hides_and_shows() {
    let mut net = row(Mode::Strict);
    net.offer(11, FABRIC, "exported");
    net.offer(22, FABRIC, "exported");
    net.run(500);
    let blocked = Filter { blocked: [key("exported")].into(), ..Filter::default() };
    net.input(NodeId(21), Input::Filter(blocked));
    assert!(!net.shows(21, 11, "exported"));
    assert!(net.shows(21, 22, "exported"), "one's own are always shown");
    assert!(net.shows(22, 11, "exported"), "others are told all the same");
    net.retract(11, FABRIC, "exported");
    net.offer(11, FABRIC, "exported");
    net.run(500);
    assert!(!net.shows(21, 11, "exported"));
    let mine_only = Filter { clusters: Some([ClusterId(2)].into()), ..Filter::default() };
    net.input(NodeId(22), Input::Filter(mine_only));
    assert!(!net.shows(22, 11, "exported"));
    net.input(NodeId(21), Input::Filter(Filter::default()));
    assert!(net.shows(21, 11, "exported"));
}
