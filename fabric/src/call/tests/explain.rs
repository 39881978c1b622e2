//! Who is said to run the next call is who runs it, and each endpoint has its verdict.

use alloc::collections::BTreeSet;

use super::*;
use crate::function::{Call, Verdict, Within};
use crate::rng::Rng;

/// What was said of the next call, in the words of [`Node::show`], and each verdict.
fn explain(node: &Node, request: &Request, number: u64) -> (String, Vec<Verdict>) {
    let link = |&peer: &u128| Link { peer: NodeId(peer), cluster: OWN, circuit: Circuit::Closed };
    let links: Vec<Link> = node.peers.iter().map(link).collect();
    let here = Here { node: NodeId(1), cluster: OWN };
    let table = Table { here, clusters: &[], nodes: &[], links: &links };
    let call = Call {
        name: &request.name,
        constraint: &request.constraint,
        resources: &request.resources,
        cluster: request.cluster,
        within: Within::Fabric,
        version: None,
        tried: &[],
        request: 0,
    };
    let explained = node.calls.explain(&call, Some(&table));
    let verdicts: Vec<Verdict> =
        explained.endpoints.iter().map(|one| one.verdict.clone()).collect();
    let said = match explained.chosen {
        Err(none) => format!("failed {number} {}", none.why.word()),
        Ok(chosen) => {
            let mut those = explained.endpoints.iter();
            let of = those.find(|one| one.endpoint == chosen.endpoint).expect("it is listed");
            assert!(matches!(of.verdict, Verdict::Able { .. }), "{of:?}");
            assert_eq!((of.place, of.version), (chosen.place, chosen.version));
            match chosen.place {
                function::Place::Here(worker) => {
                    format!("invoke {} {} x", worker.session.0, chosen.version)
                }
                function::Place::Mate(node) | function::Place::Remote { node, .. } => {
                    format!("ask to {} 0 x", node.0)
                }
            }
        }
    };
    (said, verdicts)
}

#[test]
fn the_next_call_goes_where_it_was_said_to_go() {
    let mut node = Node::new();
    for (session, limit, version) in [(6, 2, "2.0.0"), (7, 2, "1.0.0"), (8, 3, "1.0.0")] {
        node.give(register(session, limit, version));
    }
    for (peer, version) in [(2, "1.1.0"), (3, "1.1.0"), (4, "2.0.0")] {
        node.give(entry(peer, Some((1, version))));
    }
    let (mut rng, mut ways, mut replied) = (Rng::from_seed(7), BTreeSet::new(), 0);
    for number in 1..=400 {
        let constraint = ["*", "^1", "2.*", "^7"][rng.below(4) as usize].parse().unwrap();
        let cluster = (rng.below(8) == 0).then_some(ClusterId(9));
        let request = Request { constraint, cluster, ..request("x") };
        let (said, verdicts) = explain(&node, &request, number);
        assert_eq!(node.call(number, request), core::slice::from_ref(&said));
        assert_eq!(verdicts.len(), 6);
        let is_able = |verdict: &Verdict| matches!(verdict, Verdict::Able { .. });
        assert_eq!(said.starts_with("failed"), !verdicts.iter().any(is_able), "{verdicts:?}");
        assert_eq!(cluster.is_some(), verdicts.iter().all(|one| *one == Verdict::Elsewhere));
        ways.insert(said.split(' ').take(3).collect::<Vec<_>>().join(" "));
        while replied < node.jobs.len() && rng.below(3) == 0 {
            node.reply(replied, Reply::Done(value("")));
            replied += 1;
        }
    }
    let ways: Vec<&str> =
        ways.iter().filter(|way| !way.starts_with("failed")).map(|way| &way[..]).collect();
    let want =
        ["ask to 2", "ask to 3", "ask to 4", "invoke 6 2.0.0", "invoke 7 1.0.0", "invoke 8 1.0.0"];
    assert_eq!(ways, want, "all came up");
}
