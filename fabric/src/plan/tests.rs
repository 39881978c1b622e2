//! Tables of each mode, who may be linked, and explanations beside what forwarding does.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;

use mpreg_proto::hop::{Flags, Here, Ids, MessageId, Targets, Trail};
use proptest::prelude::*;

use super::*;
use crate::breaker::Circuit;
use crate::hop::{Decision, Start, Wanted, send};
use crate::rng::Rng;
use crate::time::Instant;
use crate::way::{Flowlets, Helm};

const MINE: ClusterId = ClusterId(10);
const FAR: ClusterId = ClusterId(90);
const HERE: Here = Here { node: NodeId(1), cluster: MINE };

fn exit(node: u128) -> Exit {
    Exit { node: NodeId(node), cluster: ClusterId(if node < 10 { 10 } else { node / 10 * 10 }) }
}

fn far(exits: &[u128], equal_count: usize) -> Vec<Ways<ClusterId>> {
    vec![Ways {
        to: FAR,
        exits: exits.iter().map(|&node| exit(node)).collect(),
        equal_count,
        distance: 2,
    }]
}

fn links(nodes: &[u128]) -> Vec<Link> {
    let link = |&node: &u128| Link {
        peer: NodeId(node),
        cluster: exit(node).cluster,
        circuit: Circuit::Closed,
    };
    nodes.iter().map(link).collect()
}

/// Link-state has 21 and 22, equally good; routes have 31 then 21; 91 and 92 are linked.
#[track_caller]
fn check(mode: LinkStateMode, federation: &Federation, want: &[u128], equal: usize) {
    let (link_state, routes) = (far(&[21, 22], 2), far(&[31, 21], 1));
    let links = links(&[21, 22, 31, 91, 92]);
    let (link_state, routes, links) = (&link_state[..], &routes[..], &links[..]);
    let sources = Sources { mine: MINE, mode, federation, link_state, routes, links };
    let table = plan(&sources);
    let ways = table.iter().find(|ways| ways.to == FAR);
    let found = ways.map(|ways| ways.exits.iter().map(|exit| exit.node.0).collect::<Vec<_>>());
    assert_eq!(found.unwrap_or_default(), want);
    assert_eq!(ways.map_or(0, |ways| ways.equal_count), equal);
    assert!(table.is_sorted_by_key(|ways| ways.to));
}

fn bridged(clusters: &[u128]) -> Federation {
    Federation::Bridged(clusters.iter().copied().map(ClusterId).collect())
}

#[test]
fn the_mode_says_which_sources_count_and_their_order_stays() {
    let any = Federation::Permissive(Vec::new());
    check(LinkStateMode::Disabled, &any, &[31, 21, 91, 92], 1);
    check(LinkStateMode::Prefer, &any, &[21, 22, 31, 91], 2);
    check(LinkStateMode::Only, &any, &[21, 22, 91, 92], 2);
}

#[test]
fn no_way_leads_through_a_cluster_that_may_not_be_linked() {
    check(LinkStateMode::Prefer, &Federation::Strict, &[], 0);
    check(LinkStateMode::Prefer, &bridged(&[30]), &[31], 1);
    check(LinkStateMode::Prefer, &bridged(&[90]), &[91, 92], 2);
    check(LinkStateMode::Disabled, &bridged(&[20]), &[21], 1);
}

#[test]
fn who_may_be_linked() {
    use Judgement::{Authorised, AuthorisedWithWarning, RejectedIsolated, RejectedNotAllowed};
    let permissive = Federation::Permissive(vec![ClusterId(20)]);
    let table = [
        (Federation::Strict, [Authorised, RejectedIsolated, RejectedIsolated]),
        (bridged(&[20]), [Authorised, Authorised, RejectedNotAllowed]),
        (permissive, [Authorised, Authorised, AuthorisedWithWarning]),
    ];
    for (federation, want) in table {
        let judged = [MINE, ClusterId(20), ClusterId(30)].map(|to| federation.judge(MINE, to));
        assert_eq!(judged, want, "{federation:?}");
    }
}

#[test]
fn a_gateway_of_the_own_cluster_is_always_allowed() {
    let routes = far(&[2], 1);
    let links = links(&[2]);
    let (link_state, routes, links) = (&[][..], &routes[..], &links[..]);
    let (mode, federation) = (LinkStateMode::Disabled, &Federation::Strict);
    let sources = Sources { mine: MINE, mode, federation, link_state, routes, links };
    assert_eq!(plan(&sources), far(&[2], 1), "the gateway knows what it may do");
}

#[test]
fn every_candidate_is_explained() {
    let federation = bridged(&[20, 30, 40]);
    let (link_state, routes) = (far(&[21], 1), far(&[31, 21, 41, 51, 42, 43], 1));
    let up = links(&[21, 31, 91]);
    let (mine, mode, federation) = (MINE, LinkStateMode::Prefer, &federation);
    let sources =
        Sources { mine, mode, federation, link_state: &link_state, routes: &routes, links: &up };
    let clusters = plan(&sources);
    let table = Table { here: HERE, clusters: &clusters, nodes: &[], links: &up };
    let text = |explanation: &Explanation| {
        let lines = explanation.candidates.iter().map(|Candidate { source, exit, verdict }| {
            format!("{} {} {}", source.word(), exit.node.0, verdict.word())
        });
        lines.collect::<Vec<String>>()
    };
    let message = MessageId { origin: NodeId(1), sequence: 1 };
    let first = explain(&sources, &table, FAR, &Flow::of(message, Trail::default()));
    let want = [
        "link_state 21 chosen",
        "routes 31 alternate",
        "routes 21 known",
        "routes 41 link_down",
        "routes 51 not_allowed",
        "routes 42 link_down",
        "routes 43 not_kept",
        "direct 91 not_allowed",
    ];
    assert_eq!((text(&first), first.next), (want.map(String::from).to_vec(), Ok(NodeId(21))));
    let avoid = [20_u128.to_le_bytes()];
    let trail = Trail { clusters: Ids::of(&avoid), ..Trail::default() };
    let without = explain(&sources, &table, FAR, &Flow::of(message, trail));
    assert_eq!(text(&without)[..2], ["link_state 21 loop_detected", "routes 31 chosen"]);
    let sources = Sources { mode: LinkStateMode::Disabled, ..sources };
    let clusters = plan(&sources);
    let table = Table { clusters: &clusters, ..table };
    let disabled = explain(&sources, &table, FAR, &Flow::of(message, Trail::default()));
    let first = ["link_state 21 source_not_counted", "routes 31 chosen", "routes 21 alternate"];
    assert_eq!(text(&disabled)[..3], first);
}

/// Some nodes of clusters 10 to 40 and 90, in any order.
fn some(rng: &mut Rng) -> Vec<u128> {
    let mut nodes: Vec<_> = [2, 3, 21, 22, 31, 32, 41, 91].into();
    nodes.retain(|_| rng.below(2) == 0);
    for at in 1..nodes.len() {
        nodes.swap(at, rng.below(at as u32 + 1) as usize);
    }
    nodes
}

proptest! {
    #[test]
    fn what_is_explained_is_what_forwarding_does(seed: u64, sequence: u64) {
        let mut rng = Rng::from_seed(seed);
        let ways = |rng: &mut Rng| {
            let nodes = some(rng);
            let equal = 1 + rng.below(3) as usize;
            if nodes.is_empty() { Vec::new() } else { far(&nodes, equal.min(nodes.len())) }
        };
        let (link_state, routes) = (ways(&mut rng), ways(&mut rng));
        let mut up: BTreeMap<_, _> = links(&some(&mut rng)).into_iter().map(|l| (l.peer, l)).collect();
        for link in up.values_mut() {
            let circuits = [Circuit::Closed, Circuit::Closed, Circuit::HalfOpen, Circuit::Open];
            link.circuit = circuits[rng.below(4) as usize];
        }
        let up: Vec<_> = up.into_values().collect();
        let modes = [LinkStateMode::Disabled, LinkStateMode::Prefer, LinkStateMode::Only];
        let mode = modes[rng.below(3) as usize];
        let federation = [bridged(&[20, 90]), Federation::Permissive(Vec::new()), Federation::Strict];
        let federation = &federation[rng.below(3) as usize];
        let (link_state, routes, links) = (&link_state[..], &routes[..], &up[..]);
        let sources = Sources { mine: MINE, mode, federation, link_state, routes, links };
        let clusters = plan(&sources);
        let table = Table { here: HERE, clusters: &clusters, nodes: &[], links };
        let message = MessageId { origin: HERE.node, sequence };
        let explained = explain(&sources, &table, FAR, &Flow::of(message, Trail::default()));

        let start =
            Start { message, messages: 1, flags: Flags::default(), hop_budget: 9, deadline_ms: None };
        let targets = Targets { clusters: vec![FAR], ..Targets::default() };
        let mut out = Decision::default();
        let mut flowlets = Flowlets::new(1);
        let mut helm = Helm { table, flowlets: &mut flowlets, now: Instant::START };
        send(&mut helm, &Wanted::default(), &start, &targets, &[], &mut out);
        let sent = out.shares().first().map(|share| share.peer());
        prop_assert_eq!(sent, explained.next.ok());
        let dropped = out.dropped.first().map(|dropped| dropped.reason);
        prop_assert_eq!(dropped, explained.next.err());
        let chosen = explained.candidates.iter().filter(|c| c.verdict == Verdict::Chosen);
        prop_assert_eq!(chosen.count(), usize::from(sent.is_some()));
    }
}
