//! Layout, round trips over hops, and what contradicts itself.

use alloc::vec;

use proptest::prelude::*;

use super::*;

const FRAMES: &[u8] = &[7; 2 * ENVELOPE_BYTES + 1];

fn node(n: u128) -> NodeId {
    NodeId(n)
}

fn cluster(n: u128) -> ClusterId {
    ClusterId(n << 64)
}

fn here(n: u128, c: u128) -> Here {
    Here { node: node(n), cluster: cluster(c) }
}

fn leg<'a>(trail: Trail<'a>, targets: &'a Targets) -> Leg<'a> {
    Leg {
        sequence: 0x1817_1615_1413_1211,
        messages: 2,
        flags: Flags(0x8001),
        hop_budget: 9,
        deadline_ms: Some(0x0403_0201),
        trail,
        targets,
        back: &[],
    }
}

fn written(leg: &Leg<'_>, at: Here) -> Vec<u8> {
    let mut bytes = Vec::new();
    leg.put(at, &mut bytes).unwrap();
    bytes.extend_from_slice(FRAMES);
    bytes
}

#[test]
fn layout_is_the_one_drawn() {
    let aimed = Aimed { cluster: ClusterId(5), aim: Aim::Group(GroupId(6)) };
    let targets =
        Targets { clusters: vec![ClusterId(3)], nodes: vec![node(4)], aimed: vec![aimed] };
    let origin = Here { node: node(1), cluster: ClusterId(2) };
    let back = [node(7)];
    let leg = Leg { back: &back, ..leg(Trail::default(), &targets) };
    let bytes = written(&leg, origin);
    let front = [9, 1, 1, 1, 1, 2, 1, 0x80, 1, 0, 1, 0, 1, 2, 3, 4];
    assert_eq!(bytes[..16], front);
    assert_eq!(bytes[16..24], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
    let ids = bytes[24..bytes.len() - FRAMES.len()].chunks(16);
    let ids: Vec<u8> = ids.map(|id| id[0]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 7, 5, 0, 6]);
    assert!(bytes[24..].chunks(16).take(8).all(|id| id[1..] == [0; 15]), "little endian");
}

#[test]
fn a_header_says_what_was_written() {
    let aimed = Aimed { cluster: cluster(8), aim: Aim::Node(node(9)) };
    let targets =
        Targets { clusters: vec![cluster(6)], nodes: vec![node(3), node(4)], aimed: vec![aimed] };
    let bytes = written(&leg(Trail::default(), &targets), here(1, 1));
    let first = Header::parse(&bytes).unwrap();
    assert_eq!(first.message(), MessageId { origin: node(1), sequence: 0x1817_1615_1413_1211 });
    assert_eq!((first.messages(), first.hop_budget()), (2, 9));
    assert_eq!((first.source(), first.sender()), (cluster(1), node(1)));
    assert_eq!(first.deadline_ms(), Some(0x0403_0201));
    assert_eq!(first.frames, FRAMES);

    let second = written(&leg(first.trail, &targets), here(2, 1));
    let second = Header::parse(&second).unwrap().trail;
    assert_eq!(second.nodes.iter().collect::<Vec<_>>(), [node(1), node(2)]);
    assert_eq!(second.clusters.iter().collect::<Vec<_>>(), [cluster(1)], "entered once");
    let third = written(&leg(second, &targets), here(3, 2));
    let third = Header::parse(&third).unwrap();
    assert_eq!(third.trail.clusters.iter().collect::<Vec<_>>(), [cluster(1), cluster(2)]);
    assert_eq!((third.source(), third.sender()), (cluster(1), node(3)));
    assert_eq!(third.clusters.iter().collect::<Vec<_>>(), targets.clusters);
    assert_eq!(third.nodes.iter().collect::<Vec<_>>(), targets.nodes);
    assert_eq!(third.aimed().collect::<Vec<_>>(), targets.aimed);
}

#[test]
fn flags_of_later_versions_are_carried_on() {
    let targets = Targets { nodes: vec![node(2)], ..Targets::default() };
    let bytes = written(&leg(Trail::default(), &targets), here(1, 1));
    let flags = Header::parse(&bytes).unwrap().flags();
    assert!(flags.is_traced());
    let next = written(&Leg { flags, ..leg(Trail::default(), &targets) }, here(1, 1));
    assert_eq!(next, bytes);
}

#[test]
fn a_deadline_that_is_over_is_not_no_deadline() {
    let targets = Targets { nodes: vec![node(2)], ..Targets::default() };
    for (given, read) in [(None, None), (Some(0), Some(1)), (Some(1), Some(1))] {
        let leg = Leg { deadline_ms: given, ..leg(Trail::default(), &targets) };
        let bytes = written(&leg, here(1, 1));
        assert_eq!(Header::parse(&bytes).unwrap().deadline_ms(), read);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let targets = Targets { nodes: vec![node(2)], ..Targets::default() };
    let good = written(&leg(Trail::default(), &targets), here(1, 1));
    assert!(Header::parse(&good).is_ok());
    let refused = |change: &[(usize, u8)]| {
        let mut bytes = good.clone();
        change.iter().for_each(|&(at, byte)| bytes[at] = byte);
        Header::parse(&bytes).err()
    };
    // No origin, no source cluster, no target, no message; more messages than bytes.
    for change in [(1, 0), (2, 0), (10, 0), (5, 0), (5, 3)] {
        assert_eq!(refused(&[change]), Some(ErrorCode::Malformed), "{change:?}");
    }
    // Over a bound, whatever the bytes at hand: no two words of which are the same.
    let words = (0..1000_u128).flat_map(|word| (word << 64 | 5).to_le_bytes());
    let long = [&good[..HOP_FRONT_BYTES], &words.collect::<Vec<_>>()].concat();
    let parsed = |at: usize, count: u16| {
        let mut bytes = long.clone();
        let count = count.to_le_bytes();
        bytes[at] = count[0];
        if 8 <= at {
            bytes[at + 1] = count[1];
        }
        Header::parse(&bytes).map(|_| ())
    };
    for (at, max) in [(1, 64), (2, 64), (3, 64), (4, 64), (8, 256), (10, 256)] {
        assert_eq!(parsed(at, max), Ok(()), "{at}");
        assert_eq!(parsed(at, max + 1), Err(ErrorCode::Malformed), "{at}");
    }
    let endless = [&good[..], &vec![0; FRAME_BYTES_MAX]].concat();
    assert_eq!(Header::parse(&endless).err(), Some(ErrorCode::FrameTooLarge));
}

#[test]
fn no_cluster_is_twice_in_a_row_in_a_path() {
    let targets = Targets { nodes: vec![node(2)], ..Targets::default() };
    let bytes = written(&leg(Trail::default(), &targets), here(1, 1));
    let (before, after) = bytes.split_at(HOP_FRONT_BYTES + ID_BYTES);
    for (next, is_good) in [(cluster(1), false), (cluster(2), true)] {
        let mut longer = [before, &next.0.to_le_bytes(), after].concat();
        longer[2] = 2;
        assert_eq!(Header::parse(&longer).is_ok(), is_good);
    }
}

#[test]
fn a_bound_that_is_passed_is_not_written() {
    let too_many = [
        Targets { clusters: vec![cluster(1); HOP_CLUSTERS_MAX + 1], ..Targets::default() },
        Targets { nodes: vec![node(1); HOP_NODES_MAX + 1], ..Targets::default() },
        Targets {
            aimed: vec![Aimed { cluster: cluster(1), aim: Aim::Node(node(1)) }; HOP_AIMED_MAX + 1],
            ..Targets::default()
        },
    ];
    let mut out = Vec::new();
    for targets in &too_many {
        let put = leg(Trail::default(), targets).put(here(1, 1), &mut out);
        assert_eq!((put, out.len()), (Err(ErrorCode::FrameTooLarge), 0));
    }
    let put = leg(Trail::default(), &Targets::default()).put(here(1, 1), &mut out);
    assert_eq!((put, out.len()), (Err(ErrorCode::Malformed), 0));
}

#[test]
fn what_is_aimed_at_nobody_is_refused() {
    let aimed = Aimed { cluster: cluster(8), aim: Aim::Node(node(9)) };
    let targets = Targets { aimed: vec![aimed], ..Targets::default() };
    let mut bytes = written(&leg(Trail::default(), &targets), here(1, 1));
    let at = bytes.len() - FRAMES.len() - 32;
    assert_eq!(core::mem::take(&mut bytes[at]), 9);
    assert_eq!(Header::parse(&bytes).err(), Some(ErrorCode::Malformed));
}

#[test]
fn a_path_ends_at_its_bound() {
    let targets = Targets { nodes: vec![node(2)], ..Targets::default() };
    let mut bytes = written(&leg(Trail::default(), &targets), here(1, 1));
    for n in 2..=HOP_PATH_MAX {
        let trail = Header::parse(&bytes).unwrap().trail;
        bytes = written(&leg(trail, &targets), here(n as u128, n as u128));
    }
    let trail = Header::parse(&bytes).unwrap().trail;
    assert_eq!((trail.nodes.len(), trail.clusters.len()), (HOP_PATH_MAX, HOP_PATH_MAX));
    let put = leg(trail, &targets).put(here(0, 1), &mut Vec::new());
    assert_eq!(put, Err(ErrorCode::FrameTooLarge));
}

#[test]
fn a_life_and_a_shard_have_a_stream_of_their_own() {
    let id = |incarnation, shard, count| {
        MessageId::new(node(1), Incarnation(incarnation), ShardIx::new(shard).unwrap(), count)
    };
    let last = (1 << COUNT_BITS) - 1;
    let ids = [id(1, 0, 0), id(1, 0, last), id(1, 63, 0), id(2, 0, 0)];
    assert_eq!(ids.map(MessageId::count), [0, last, 0, 0]);
    assert_eq!(ids.map(MessageId::stream), [64, 64, 127, 128]);
}

#[test]
fn every_reason_survives_the_wire_and_no_other_number_does() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_wire(reason as u8), Some(reason));
    }
    let known = (0..=u8::MAX).filter(|&n| Reason::from_wire(n).is_some()).count();
    assert_eq!(known, Reason::ALL.len());
}

/// The digest of `abc`, FIPS 180-4's own example.
#[test]
fn a_group_is_named_by_the_digest_of_its_name() {
    assert_eq!(GroupId::of(b"abc"), GroupId(0xba78_16bf_8f01_cfea_4141_40de_5dae_2223));
}

fn aimed() -> impl Strategy<Value = Aimed> {
    let node = (1..=u128::MAX).prop_map(NodeId);
    let group = (1..=u128::MAX).prop_map(GroupId);
    let aim = prop_oneof![
        node.clone().prop_map(Aim::Node),
        group.clone().prop_map(Aim::Group),
        (node, group).prop_map(|(node, group)| Aim::Member { node, group }),
    ];
    (any::<u128>(), aim).prop_map(|(cluster, aim)| Aimed { cluster: ClusterId(cluster), aim })
}

fn targets() -> impl Strategy<Value = Targets> {
    let clusters = prop::collection::vec(any::<u128>().prop_map(ClusterId), 0..5);
    let nodes = prop::collection::vec(any::<u128>().prop_map(NodeId), 0..5);
    let aimed = prop::collection::vec(aimed(), 0..5);
    (clusters, nodes, aimed)
        .prop_map(|(clusters, nodes, aimed)| Targets { clusters, nodes, aimed })
        .prop_filter("somebody", |targets| !targets.is_empty())
}

proptest! {
    #[test]
    fn what_is_written_reads_back_after_any_number_of_hops(
        hops in prop::collection::vec((any::<u128>(), 0..3_u128, targets()), 1..8),
        back in prop::collection::vec(any::<u128>().prop_map(NodeId), 0..5),
        numbers in (any::<u64>(), 1..=2_u8, any::<u16>(), any::<u8>(), 0..=u32::MAX),
    ) {
        let (sequence, messages, flags, hop_budget, deadline_ms) = numbers;
        let mut bytes: Vec<u8> = Vec::new();
        for (at, (id, in_cluster, targets)) in hops.iter().enumerate() {
            let before = bytes;
            let came = Header::parse(&before);
            prop_assert!(at == 0 || came.is_ok());
            let trail = came.map(|header| header.trail).unwrap_or_default();
            let leg = Leg {
                sequence,
                messages,
                flags: Flags(flags),
                hop_budget,
                deadline_ms: Some(deadline_ms).filter(|&left| left != 0),
                trail,
                targets,
                back: &back,
            };
            bytes = written(&leg, here(*id, *in_cluster));
            let header = Header::parse(&bytes).unwrap();
            prop_assert_eq!(header.message().sequence, sequence);
            prop_assert_eq!(header.messages(), messages);
            prop_assert_eq!(header.flags(), Flags(flags));
            prop_assert_eq!(header.hop_budget(), hop_budget);
            prop_assert_eq!(header.deadline_ms(), leg.deadline_ms);
            prop_assert_eq!(&header.clusters.iter().collect::<Vec<_>>(), &targets.clusters);
            prop_assert_eq!(&header.nodes.iter().collect::<Vec<_>>(), &targets.nodes);
            prop_assert_eq!(&header.aimed().collect::<Vec<_>>(), &targets.aimed);
            prop_assert_eq!(&header.back.iter().collect::<Vec<_>>(), &back);
            prop_assert_eq!(header.frames, FRAMES);
            let path: Vec<_> = hops[..=at].iter().map(|hop| NodeId(hop.0)).collect();
            prop_assert_eq!(header.trail.nodes.iter().collect::<Vec<_>>(), path);
            let mut clusters: Vec<_> = hops[..=at].iter().map(|hop| cluster(hop.1)).collect();
            clusters.dedup();
            prop_assert_eq!(header.trail.clusters.iter().collect::<Vec<_>>(), clusters);
        }
    }

    #[test]
    fn reading_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.frames.len() < bytes.len());
        }
    }

    #[test]
    fn reading_is_total_where_counts_are_small(
        counts in prop::collection::vec(0..4_u8, HOP_FRONT_BYTES),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        if let Ok(header) = Header::parse(&[&counts[..], &rest].concat()) {
            prop_assert!(header.trail.nodes.contains(header.message().origin));
            prop_assert!(header.trail.clusters.contains(header.source()));
            prop_assert_eq!(header.aimed().count(), usize::from(counts[4]));
        }
    }
}

#[test]
fn what_a_header_spends_is_taken_off_its_deadline() {
    let targets = Targets { clusters: vec![cluster(6)], ..Targets::default() };
    let with = |deadline_ms| {
        let leg = Leg { deadline_ms, ..leg(Trail::default(), &targets) };
        written(&leg, here(1, 1))
    };
    let left = |bytes: &[u8]| Header::parse(bytes).unwrap().deadline_ms();
    let mut bytes = with(Some(100));
    lend(&mut bytes, 7);
    assert!(spend(&mut bytes, 27));
    assert_eq!(left(&bytes), Some(80));
    assert!(spend(&mut bytes, 79));
    assert_eq!(left(&bytes), Some(1));
    assert!(!spend(&mut bytes, 1), "nothing is left of it");
    let mut longest = with(Some(u32::MAX - 1));
    lend(&mut longest, 7);
    assert_eq!(left(&longest), Some(u32::MAX));
    let mut without = with(None);
    lend(&mut without, 7);
    assert!(spend(&mut without, u32::MAX));
    assert_eq!(left(&without), None);
    assert!(spend(&mut [0; 15], 1), "no header");
}
