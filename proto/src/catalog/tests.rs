//! Round trips, bounds, and arbitrary bytes.

use alloc::string::ToString;
use alloc::vec;
use core::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::id::Incarnation;
use crate::topic::{Dialect, Pattern};

fn head(node: u128, sequence: u64) -> Head {
    Head {
        feed: FeedId { node: NodeId(node), scope: Scope::Fabric },
        cluster: ClusterId(7),
        version: Version { incarnation: Incarnation(3), sequence },
        beat: 11,
        ttl_ms: 30_000,
    }
}

fn change(after: u64, upto: u64, sequences: &[u64]) -> Change {
    let record = |&sequence: &u64| Record {
        sequence,
        kind: Kind(900),
        name: b"name".to_vec(),
        body: (sequence % 2 == 0).then(|| b"body".to_vec()),
    };
    Change {
        news: News { head: head(1, 100), told: vec![1, 2] },
        after,
        upto,
        floor: 0,
        records: sequences.iter().map(record).collect(),
    }
}

fn beat(number: u64) -> Beat {
    Beat { life: life_mark(NodeId(7), Incarnation(number)), number, ttl_ms: 30_000 }
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.put(&mut bytes);
    bytes
}

#[track_caller]
fn refused(message: &Message) {
    assert_eq!(Message::parse(&bytes_of(message)), Err(ErrorCode::Malformed), "{message:?}");
}

#[test]
fn beats_are_small_and_few() {
    let frame = |count| {
        let beats = vec![Beat { number: 3_000_000, ..beat(1) }; count];
        Message::Beats(vec![Beats { told: Told::Cluster, beats }])
    };
    let each = bytes_of(&frame(101)).len() - bytes_of(&frame(100)).len();
    assert_eq!(each, 15);
    assert!(Message::parse(&bytes_of(&frame(CATALOG_BEATS_MAX))).is_ok());
    refused(&frame(CATALOG_BEATS_MAX + 1));
    let empty = Beats { told: Told::Marks(vec![]), beats: vec![] };
    refused(&Message::Beats(vec![empty; CATALOG_BEATS_MAX + 1]));
    let told = Beats { told: Told::Marks(vec![1; CATALOG_TOLD_MAX + 1]), beats: vec![] };
    refused(&Message::Beats(vec![told]));
    for cut in 1..bytes_of(&frame(1)).len() - 1 {
        let bytes = bytes_of(&frame(1));
        assert_eq!(Message::parse(&bytes[..=cut]), Err(ErrorCode::Malformed), "{cut}");
    }
    refused(&Message::Doubts(vec![1; CATALOG_BEATS_MAX + 1]));
    assert_eq!(Message::parse(&[9, 1, 2, 3]), Err(ErrorCode::Malformed));
    let mut endless = bytes_of(&frame(0));
    endless[2] = 1;
    endless.extend([0xFF; 20]);
    assert_eq!(Message::parse(&endless), Err(ErrorCode::Malformed));
    assert_ne!(life_mark(NodeId(7), Incarnation(1)), life_mark(NodeId(7), Incarnation(2)));
    assert_ne!(life_mark(NodeId(7), Incarnation(1)), life_mark(NodeId(7 << 64), Incarnation(1)));
}

#[test]
fn what_is_written_reads_back() {
    let compare = Compare { buckets_count: 4, buckets: vec![0, 3], heads: vec![head(5, 6)] };
    let need = Need { feed: head(1, 0).feed, version: head(1, 9).version, whole: Some(4) };
    for message in [
        Message::Summary(Summary { buckets: vec![1, 2, 3, 4] }),
        Message::Compare(compare),
        Message::Heads(vec![News { head: head(2, Head::OVER), told: vec![] }]),
        Message::Want(vec![need]),
        Message::Delta(vec![change(0, 9, &[1, 2, 9]), change(4, 4, &[])]),
        Message::Beats(vec![]),
        Message::Beats(vec![
            Beats { told: Told::Cluster, beats: vec![beat(0), beat(127), beat(128)] },
            Beats { told: Told::Marks(vec![1, u32::MAX]), beats: vec![beat(u64::MAX)] },
            Beats { told: Told::Marks(vec![]), beats: vec![] },
        ]),
        Message::Digest(0x0102_0304_0506_0708),
        Message::Differs,
        Message::Doubts(vec![]),
        Message::Doubts(vec![1, u64::MAX]),
    ] {
        let mut bytes = b"before".to_vec();
        message.put(&mut bytes);
        assert_eq!(Message::parse(&bytes[6..]), Ok(message));
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (after, upto, sequences) in [
        (5, 4, &[][..]),
        (0, 101, &[]),
        (0, 9, &[1, 1]),
        (0, 9, &[2, 1]),
        (0, 9, &[10]),
        (3, 9, &[3]),
    ] {
        refused(&Message::Delta(vec![change(after, upto, sequences)]));
    }
    let mut over = change(0, Head::OVER, &[]);
    over.news.head.version.sequence = Head::OVER;
    refused(&Message::Delta(vec![over]));
    refused(&Message::Summary(Summary { buckets: vec![0; 3] }));
    refused(&Message::Summary(Summary { buckets: vec![] }));
    refused(&Message::Compare(Compare { buckets_count: 4, buckets: vec![4], heads: vec![] }));
    refused(&Message::Compare(Compare { buckets_count: 3, buckets: vec![0], heads: vec![] }));
}

#[test]
fn lists_over_their_bounds_are_refused() {
    let fits = Message::Heads(vec![News { head: head(1, 1), told: vec![0; CATALOG_TOLD_MAX] }]);
    assert_eq!(Message::parse(&bytes_of(&fits)).as_ref(), Ok(&fits));
    let told = vec![0; CATALOG_TOLD_MAX + 1];
    refused(&Message::Heads(vec![News { head: head(1, 1), told: told.clone() }]));
    refused(&Message::Heads(vec![News { head: head(1, 1), told: vec![] }; CATALOG_HEADS_MAX + 1]));
    let need = Need { feed: head(1, 0).feed, version: head(1, 9).version, whole: Some(4) };
    refused(&Message::Want(vec![need; CATALOG_HEADS_MAX + 1]));
    refused(&Message::Delta(vec![change(0, 0, &[]); CATALOG_HEADS_MAX + 1]));
    let mut wide = change(0, 9, &[2]);
    wide.records[0].name = vec![0; CATALOG_NAME_BYTES_MAX + 1];
    refused(&Message::Delta(vec![wide]));
    let mut fat = change(0, 9, &[2]);
    fat.records[0].body = Some(vec![0; CATALOG_BODY_BYTES_MAX + 1]);
    refused(&Message::Delta(vec![fat]));
    let mut known = change(0, 9, &[2]);
    known.news.told = told;
    refused(&Message::Delta(vec![known]));
    refused(&Message::Summary(Summary { buckets: vec![0; 2 * CATALOG_BUCKETS_MAX] }));
    let heads = vec![head(1, 1); CATALOG_HEADS_MAX + 1];
    refused(&Message::Compare(Compare { buckets_count: 4, buckets: vec![0], heads }));
    let mut long = change(0, 2000, &(1..=CATALOG_RECORDS_MAX as u64 + 1).collect::<Vec<_>>());
    long.news.head.version.sequence = 2000;
    refused(&Message::Delta(vec![long]));
}

#[test]
fn a_message_of_an_unknown_kind_is_no_contradiction() {
    assert_eq!(Message::parse(&[99, 1, 2]), Err(ErrorCode::UnknownKind));
    assert_eq!(Message::parse(&[]), Err(ErrorCode::Malformed));
}

#[test]
fn a_want_is_a_pattern_and_a_group() {
    let want = Want { pattern: Pattern::parse(b"a.*.>").unwrap(), group: b"workers" };
    let mut name = Vec::new();
    want.put(&mut name);
    assert_eq!(name, b"\x05a.*.>workers");
    assert_eq!(Want::parse(&name), Ok(want));
    let pattern = Pattern::parse_as(b"a.#", Dialect::Nats).unwrap();
    let (want, mut name) = (Want { pattern, group: b"" }, Vec::new());
    want.put(&mut name);
    assert_eq!(name, b"\x00\x03a.#");
    assert_eq!(Want::parse(&name), Ok(want));
    assert_ne!(Want::parse(&name[1..]), Ok(want));
    let bad = [&b""[..], b"\x05a.b", b"\x00", b"\x02a.", b"\x00\x03a.b", b"\x00\x00\x03a.#"];
    for bad in bad {
        assert!(Want::parse(bad).is_err(), "{bad:?}");
    }
    let mut long = b"\x01a".to_vec();
    long.resize(2 + crate::limits::GROUP_BYTES_MAX + 1, b'g');
    assert_eq!(Want::parse(&long), Err(ErrorCode::BadName));
}

#[test]
fn members_are_written_by_the_power_of_two_below() {
    for (members, read) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (1000, 512), (u32::MAX, 1 << 31)]
    {
        let body = members_body(members);
        assert_eq!(members_of(body.as_slice()).get(), read, "{members}");
    }
    assert_eq!(
        (members_body(1), members_of(&[32]), members_of(&[1, 2])),
        (None, NonZeroU32::MIN, NonZeroU32::MIN)
    );
}

#[test]
fn a_node_describes_itself() {
    let endpoint = Endpoint {
        role: EndpointRole::CLIENT,
        protocol: "nats".to_string(),
        host: "::1".to_string(),
        port: 4222,
    };
    let node = Node {
        cluster: "eu-west".to_string(),
        region: "eu".to_string(),
        capabilities: vec!["gateway".to_string()],
        tags: vec!["green".to_string()],
        endpoints: vec![endpoint],
    };
    let mut body = Vec::new();
    node.put(&mut body);
    assert_eq!(Node::parse(&body).as_ref(), Ok(&node));
    let long = Node { tags: vec!["x".repeat(crate::limits::NODE_WORD_BYTES_MAX + 1)], ..node };
    let mut body = Vec::new();
    long.put(&mut body);
    assert_eq!(Node::parse(&body), Err(ErrorCode::Malformed));
}

proptest! {
    #[test]
    fn reading_is_total(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..7u8) {
        let mut whole = vec![kind];
        whole.extend(&bytes);
        if let Ok(Message::Delta(changes)) = Message::parse(&whole) {
            prop_assert!(changes.iter().all(|change| change.after <= change.upto));
        }
        prop_assert!(Node::parse(&bytes).is_err() || !bytes.is_empty());
        if let Ok(want) = Want::parse(&bytes) {
            let mut name = Vec::new();
            want.put(&mut name);
            prop_assert_eq!(name, bytes);
        }
    }

    /// Near misses: a whole message with some bytes changed reads as something within bounds, or not.
    #[test]
    fn reading_what_was_damaged_is_total(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&Message::Delta(vec![change(0, 9, &[1, 2, 9])]));
        for (at, byte) in &at {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Ok(Message::Delta(changes)) = Message::parse(&bytes) {
            prop_assert!(changes.iter().all(|change| change.after <= change.upto));
        }
        if let Ok(Message::Delta(changes)) = Message::parse(&bytes[..cut.index(bytes.len())]) {
            prop_assert!(changes.iter().all(|change| change.after <= change.upto));
        }
    }
}
