//! A key is exchanged while messages go: at no moment is a way missing, and nothing true is refused.

use super::net::{Net, authorisation, authorised, key, revoked};
use super::*;

/// A message from every node to every other cluster arrives.
#[track_caller]
fn all_arrive(net: &Net, when: &str) {
    for (node, peer) in &net.nodes {
        for destination in net.clusters().into_iter().filter(|it| *it != peer.cluster) {
            assert!(net.walk(*node, destination).is_some(), "{when}: {node} to {destination}");
        }
    }
}

/// Lets time pass, and messages go every tenth of a second.
fn carry(net: &mut Net, span: Duration, when: &str) {
    let until = net.now + span;
    while net.now < until {
        net.run(MS * 100);
        all_arrive(net, when);
    }
}

#[test]
fn a_key_is_exchanged_under_traffic_without_loss() {
    // Clusters 1 to 5 in a ring, two nodes each; cluster 3 exchanges its key, gateway by gateway.
    let mut net = Net::signed(7);
    for of in 1..=5 {
        net.add(10 * of, of);
        net.add(10 * of + 1, of);
        net.connect(NodeId(10 * of), NodeId(10 * of + 1), link(1));
    }
    for of in 1..=5 {
        net.connect(NodeId(10 * of + 1), NodeId(10 * (of % 5 + 1)), link(10));
    }
    net.run(SECOND * 2);
    all_arrive(&net, "before");
    let three = ClusterId(3);
    let mut next = authorisation(three, 2);
    next.keep_from = 1;
    // Known at one end of the fabric, it spreads.
    let record = Provided::Authorisation(authorised(&next));
    net.input(NodeId(50), Input::KeyProvided(record));
    carry(&mut net, SECOND * 5, "both keys known");
    let signer = Signer { key_serial: 2, key: key(three, 2) };
    net.input(NodeId(30), Input::SignerChanged(Some(signer.clone())));
    carry(&mut net, SECOND * 5, "one gateway has the next key");
    net.input(NodeId(31), Input::SignerChanged(Some(signer)));
    // Twice the time between announcements, so that everything is signed anew.
    carry(&mut net, Timing::default().refresh * 2, "both have");
    let end = Provided::Revocation(revoked(three, 1));
    net.input(NodeId(10), Input::KeyProvided(end));
    carry(&mut net, Timing::default().ttl * 2, "the old key is revoked");
    for node in net.nodes.keys() {
        let is_refusal =
            |fact: &Fact| matches!(fact, Fact::Rejected { reason: Reject::Signature(_), .. });
        assert_eq!(net.count(*node, is_refusal), 0, "{node} refused what is true");
        assert_eq!(net.count(*node, |fact| matches!(fact, Fact::Void { .. })), 0, "{node}");
    }
}
