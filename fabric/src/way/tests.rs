//! Which exit is taken, as links come and go and circuits open.

use alloc::vec;

use mpreg_proto::hop::Ids;

use super::*;

const HERE: Here = Here { node: NodeId(1), cluster: ClusterId(10) };
const FAR: ClusterId = ClusterId(90);

fn exit(node: u128, cluster: u128) -> Exit {
    Exit { node: NodeId(node), cluster: ClusterId(cluster) }
}

/// To cluster 90: over 21 or 22 of cluster 20, else 31 of 30, else over node 2 of this cluster, to
/// which 3 leads.
fn clusters() -> [Ways<ClusterId>; 1] {
    let exits = vec![exit(21, 20), exit(22, 20), exit(31, 30), exit(2, 10)];
    [Ways { to: FAR, exits, equal_count: 2, distance: 1 }]
}

fn nodes() -> [Ways<NodeId>; 1] {
    [Ways { to: NodeId(2), exits: vec![exit(3, 10)], equal_count: 1, distance: 1 }]
}

fn links(peers: &[(u128, Circuit)]) -> Vec<Link> {
    let link = |&(peer, circuit): &(u128, Circuit)| {
        let cluster = ClusterId(if peer < 10 { 10 } else { peer / 10 * 10 });
        Link { peer: NodeId(peer), cluster, circuit }
    };
    peers.iter().map(link).collect()
}

fn message(stream: u64, count: u64) -> MessageId {
    MessageId { origin: NodeId(7), sequence: stream << 48 | count }
}

fn to_far(peers: &[(u128, Circuit)], message: MessageId) -> Result<u128, Reason> {
    let links = links(peers);
    let table = Table { here: HERE, clusters: &clusters(), nodes: &nodes(), links: &links };
    table.to_cluster(FAR, &Flow::of(message, Trail::default())).map(|next| next.0)
}

const CLOSED: Circuit = Circuit::Closed;

#[test]
fn a_flow_keeps_to_one_of_the_equally_good_and_flows_use_them_all() {
    let up = [(3, CLOSED), (21, CLOSED), (22, CLOSED), (31, CLOSED)];
    let mut counts = [0; 2];
    for stream in 0..400 {
        let chosen = to_far(&up, message(stream, 0)).unwrap();
        assert!((1..20).all(|count| to_far(&up, message(stream, count)) == Ok(chosen)));
        counts[usize::try_from(chosen - 21).unwrap()] += 1;
    }
    assert!(counts.iter().all(|&count| 150 < count), "{counts:?}");
}

#[test]
fn alternates_are_taken_in_order_when_none_of_the_best_can_be() {
    let first = |peers: &[(u128, Circuit)]| to_far(peers, message(0, 0));
    for only in [21, 22] {
        assert_eq!(first(&[(3, CLOSED), (only, CLOSED), (31, CLOSED)]), Ok(only));
    }
    assert_eq!(first(&[(3, CLOSED), (21, Circuit::Open), (31, CLOSED)]), Ok(31));
    assert_eq!(first(&[(3, CLOSED), (21, Circuit::Open)]), Ok(3), "on the way to node 2");
    assert_eq!(first(&[(2, CLOSED)]), Ok(2), "a link to it, when its way is gone");
    assert_eq!(first(&[(21, Circuit::Open)]), Err(Reason::LinkOpenCircuit), "why the best fails");
    assert_eq!(first(&[]), Err(Reason::LinkDown));
}

#[test]
fn nothing_leads_to_where_the_message_has_been() {
    let links = links(&[(3, CLOSED), (21, CLOSED), (31, CLOSED)]);
    let table = Table { here: HERE, clusters: &clusters(), nodes: &nodes(), links: &links };
    let next = |nodes: &[u128], clusters: &[u128]| {
        let nodes: Vec<_> = nodes.iter().map(|id| id.to_le_bytes()).collect();
        let clusters: Vec<_> = clusters.iter().map(|id| id.to_le_bytes()).collect();
        let trail = Trail { nodes: Ids::of(&nodes), clusters: Ids::of(&clusters) };
        table.to_cluster(FAR, &Flow::of(message(0, 0), trail)).map(|next| next.0)
    };
    assert_eq!(next(&[], &[]), Ok(21));
    assert_eq!(next(&[21], &[]), Ok(31), "not to the node again");
    assert_eq!(next(&[], &[20, 10]), Ok(31), "not to another node of the cluster either");
    assert_eq!(next(&[], &[10]), Ok(21), "this cluster is no loop");
    assert_eq!(next(&[3], &[20, 30, 10]), Err(Reason::LoopDetected));
}

#[test]
fn what_no_table_names_has_no_way() {
    let links = links(&[(2, CLOSED), (3, Circuit::Open), (41, CLOSED)]);
    let table = Table { here: HERE, clusters: &clusters(), nodes: &[], links: &links };
    let flow = Flow::of(message(0, 0), Trail::default());
    assert_eq!(table.to_cluster(ClusterId(40), &flow), Err(Reason::NoRoute), "linked, not planned");
    assert_eq!(table.to_node(NodeId(2), &flow), Ok(NodeId(2)));
    assert_eq!(table.to_node(NodeId(3), &flow), Err(Reason::LinkOpenCircuit));
    assert_eq!(table.to_node(NodeId(4), &flow), Err(Reason::NoRoute));
}

#[test]
fn why_a_way_is_taken_is_told_of_the_way_that_is_taken() {
    let why = |peers: &[(u128, Circuit)]| {
        let links = links(peers);
        let table = Table { here: HERE, clusters: &clusters(), nodes: &nodes(), links: &links };
        let flow = Flow::of(message(0, 0), Trail::default());
        (table.why_to_cluster(FAR, &flow), table.why_to_node(NodeId(2), &flow))
    };
    let open = Circuit::Open;
    assert_eq!(
        why(&[(3, CLOSED), (21, CLOSED), (22, CLOSED)]),
        (Some(Why::Equal), Some(Why::Best))
    );
    assert_eq!(why(&[(2, CLOSED), (22, CLOSED)]), (Some(Why::Equal), Some(Why::Linked)));
    let alternate = Some(Why::Alternate(Reason::LinkOpenCircuit));
    assert_eq!(why(&[(21, open), (31, CLOSED)]), (alternate, None));
    assert_eq!(why(&[(31, CLOSED)]).0, Some(Why::Alternate(Reason::LinkDown)));
    assert_eq!(why(&[(21, open)]), (None, None));
}

/// What a half-open link lets through is something; an open one lets nothing.
#[test]
fn only_what_can_be_reached_now_is_a_distance_away() {
    let check = |peers: &[(u128, Circuit)], want: [Option<u32>; 3]| {
        let links = links(peers);
        let table = Table { here: HERE, clusters: &clusters(), nodes: &nodes(), links: &links };
        let node = |node| table.node_distance(NodeId(node));
        assert_eq!([table.cluster_distance(FAR), node(2), node(4)], want, "{peers:?}");
    };
    check(&[], [None; 3]);
    check(&[(21, CLOSED)], [Some(1), None, None]);
    check(&[(21, Circuit::HalfOpen)], [Some(1), None, None]);
    check(&[(21, Circuit::Open)], [None; 3]);
    check(&[(3, CLOSED)], [Some(1), Some(1), None]);
    check(&[(4, CLOSED)], [None, None, Some(1)]);
}
