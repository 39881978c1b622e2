//! What nodes say to each other.

use mpreg_proto::hop::{Aim, Aimed, Flags, GroupId, Header, Here, Leg, Targets, Trail};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::link_state::{Adjacency, Advertisement, AreaId, Flood, Kind, Metrics, Summary};

use super::{Seed, message, seed};

fn leg<'a>(trail: Trail<'a>, targets: &'a Targets) -> Leg<'a> {
    Leg {
        sequence: 64 << 48 | 1,
        messages: 1,
        flags: Flags::default(),
        hop_budget: 15,
        deadline_ms: None,
        trail,
        targets,
        back: &[],
    }
}

fn bytes_of(leg: &Leg<'_>, node: u128, cluster: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    let here = Here { node: NodeId(node), cluster: ClusterId(cluster) };
    leg.put(here, &mut bytes).expect("seeds are within bounds");
    for _ in 0..leg.messages {
        bytes.extend_from_slice(&message(b"orders.eu.1"));
    }
    bytes
}

pub(super) fn hop() -> Vec<Seed> {
    let to_nodes = Targets { nodes: vec![NodeId(2), NodeId(3)], ..Targets::default() };
    let far = Aimed { cluster: ClusterId(20), aim: Aim::Node(NodeId(21)) };
    let grouped = Aimed { cluster: ClusterId(30), aim: Aim::Group(GroupId(31)) };
    let to_all = Targets {
        clusters: vec![ClusterId(20), ClusterId(30)],
        nodes: vec![NodeId(2)],
        aimed: vec![far, grouped],
    };
    let near = bytes_of(&leg(Trail::default(), &to_nodes), 1, 10);
    let relayed = Header::parse(&near).expect("a seed is read").trail;
    let back = [NodeId(2), NodeId(1)];
    let reply = Leg {
        flags: Flags::traced(),
        deadline_ms: Some(250),
        back: &back,
        ..leg(Trail::default(), &to_all)
    };
    let run = Leg { messages: 3, ..leg(relayed, &to_all) };
    vec![
        seed("reply", bytes_of(&reply, 5, 10)),
        seed("run-relayed", bytes_of(&run, 2, 20)),
        seed("within-cluster", near),
    ]
}

pub(super) fn link_state() -> Vec<Seed> {
    let metrics =
        Metrics { latency_us: 1_500, bandwidth_mbps: 1_000, reliability_ppm: 999_000, cost: 3 };
    let link =
        |node, cluster| Adjacency { node: NodeId(node), cluster: ClusterId(cluster), metrics };
    let border = Advertisement {
        origin: NodeId(1),
        cluster: ClusterId(10),
        version: Version { incarnation: Incarnation(2), sequence: 3 },
        kind: Kind::Border as u16,
        area: AreaId(4),
        links: vec![link(21, 20), link(31, 30)],
        summaries: vec![Summary { cluster: ClusterId(40), cost: 7 }],
    };
    let mut flood = Vec::new();
    Flood { ttl_ms: 30_000, body: border.to_body(), signature: Some([5; 64]) }.put(&mut flood);
    let mesh = Advertisement {
        kind: Kind::Mesh as u16,
        area: AreaId(0),
        links: vec![link(2, 10)],
        summaries: Vec::new(),
        ..border.clone()
    };
    vec![seed("border", border.to_body()), seed("flood", flood), seed("mesh", mesh.to_body())]
}
