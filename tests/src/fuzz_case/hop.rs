//! Any bytes are a hop header with data frames or refused; the next node's header says the same.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::hop::{Header, Here, Leg, Targets};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::limits::{FRAME_BYTES_MAX, HOP_HEADER_BYTES_MAX, HOP_PATH_MAX};

const HERE: Here = Here { node: NodeId(7), cluster: ClusterId(8) };

/// Reads `bytes` as a message between nodes, and relays it.
pub fn hop(bytes: &[u8]) {
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(code) => {
            assert!(matches!(code, ErrorCode::Malformed | ErrorCode::FrameTooLarge));
            return;
        }
    };
    assert!(bytes.ends_with(header.frames) && header.frames.len() <= FRAME_BYTES_MAX);
    assert!(bytes.len() - header.frames.len() <= HOP_HEADER_BYTES_MAX);
    assert!(header.trail.nodes.contains(header.sender()));
    let targets = targets(&header);
    let back: Vec<NodeId> = header.back.iter().collect();
    let leg = Leg {
        sequence: header.message().sequence,
        messages: header.messages(),
        flags: header.flags(),
        hop_budget: header.hop_budget(),
        deadline_ms: header.deadline_ms(),
        trail: header.trail,
        targets: &targets,
        back: &back,
    };
    let mut next = Vec::new();
    if let Err(code) = leg.put(HERE, &mut next) {
        let is_full =
            [header.trail.nodes.len(), header.trail.clusters.len()].contains(&HOP_PATH_MAX);
        assert!(is_full && code == ErrorCode::FrameTooLarge && next.is_empty());
        return;
    }
    next.extend_from_slice(header.frames);
    check_next(&header, &next);
}

fn targets(header: &Header<'_>) -> Targets {
    Targets {
        clusters: header.clusters.iter().collect(),
        nodes: header.nodes.iter().collect(),
        aimed: header.aimed().collect(),
    }
}

fn check_next(header: &Header<'_>, bytes: &[u8]) {
    let next = Header::parse(bytes).expect("what is written reads back");
    assert_eq!((next.message(), next.source()), (header.message(), header.source()));
    assert_eq!((next.messages(), next.flags()), (header.messages(), header.flags()));
    assert_eq!(next.deadline_ms(), header.deadline_ms());
    assert_eq!(targets(&next), targets(header));
    assert!(next.back == header.back && next.frames == header.frames);
    assert_eq!(next.sender(), HERE.node);
    assert!(next.trail.nodes.iter().take(header.trail.nodes.len()).eq(header.trail.nodes.iter()));
    assert_eq!(next.trail.clusters.last(), Some(HERE.cluster));
    let is_entered = header.trail.clusters.last() != Some(HERE.cluster);
    assert_eq!(next.trail.clusters.len(), header.trail.clusters.len() + usize::from(is_entered));
}
