//! Round trips, bounds, and bytes from strangers.

use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::id::Incarnation;

fn version(sequence: u64) -> Version {
    Version { incarnation: Incarnation(7), sequence }
}

fn origin(tags: Vec<Tag>) -> Origin {
    Origin {
        cluster: ClusterId(1),
        node: NodeId(2),
        version: version(3),
        to: ClusterId(4),
        key_serial: 5,
        relation: Relation::Equal,
        ttl_ms: 30_000,
        tags,
    }
}

fn hop(cluster: u128) -> Hop {
    let metrics = Metrics {
        hops: 1,
        latency_us: 1500,
        bandwidth_mbps: 1000,
        reliability_ppm: 999_000,
        cost: 3,
    };
    Hop {
        cluster: ClusterId(cluster),
        node: NodeId(9),
        version: version(8),
        to: ClusterId(6),
        key_serial: 2,
        relation: Relation::Open,
        metrics,
    }
}

fn signed(body: Vec<u8>) -> Signed {
    Signed { body, signature: Some([7; 64]) }
}

fn announcement(hops: usize) -> Announcement {
    let tags = (0..ROUTE_TAGS_MAX).map(|n| alloc::format!("{n:0>32}").parse().unwrap()).collect();
    let mut chain = vec![signed(origin(tags).body())];
    chain.extend((0..hops).map(|n| signed(hop(n as u128).body())));
    Announcement { destination: ClusterId(1), ttl_ms: 20_000, chain }
}

fn items() -> Vec<Item> {
    let route =
        InsideRoute { metrics: hop(3).metrics, is_damped: true, announcement: announcement(2) };
    let inside = |route| Inside {
        gateway: NodeId(1),
        version: version(2),
        destination: ClusterId(3),
        route,
        told: vec![8; CATALOG_TOLD_MAX],
    };
    let held = |count| Held { first: 1, last: 9, marks: vec![5; count], is_answer: true };
    vec![
        Item::Announce(announcement(3)),
        Item::Withdraw(Signed { body: vec![1, 2], signature: None }),
        Item::Inside(inside(None)),
        Item::Inside(inside(Some(route))),
        Item::Authorise(signed(vec![])),
        Item::Revoke(signed(vec![3])),
        Item::Sum(17),
        Item::Held(held(ROUTE_MARKS_MAX)),
    ]
}

#[test]
fn what_is_written_reads_back() {
    let message = Message { entries: items().iter().map(Item::entry).collect() };
    let mut bytes = vec![0xAA; 3];
    message.put(&mut bytes);
    let seen = Message::parse(&bytes[3..]).unwrap();
    assert_eq!(seen, message);
    let read: Vec<_> =
        seen.entries.iter().map(|entry| Item::read(entry).unwrap().unwrap()).collect();
    assert_eq!(read, items());
    let body = origin(vec!["gold".parse().unwrap()]);
    assert_eq!(Origin::parse(&body.body()), Ok(body));
    assert_eq!(Hop::parse(&hop(3).body()), Ok(hop(3)));
    let withdrawal = Withdrawal {
        destination: ClusterId(1),
        cluster: ClusterId(2),
        node: NodeId(3),
        version: version(4),
        to: ClusterId(5),
        key_serial: 6,
    };
    assert_eq!(Withdrawal::parse(&withdrawal.body()), Ok(withdrawal));
    let authorisation = Authorisation {
        cluster: ClusterId(1),
        key_serial: 2,
        keep_from: 1,
        key: [3; 32],
        tags: vec![TAG_ANY.to_string()],
        not_before: 4,
        not_after: 5,
    };
    assert_eq!(Authorisation::parse(&authorisation.body()), Ok(authorisation));
    let revocation = Revocation { cluster: ClusterId(1), key_serial: 2 };
    assert_eq!(Revocation::parse(&revocation.body()), Ok(revocation));
}

#[test]
fn the_longest_path_with_the_most_tags_fits_an_entry() {
    let entry = Item::Announce(announcement(ROUTE_PATH_MAX - 1)).entry();
    assert!(entry.body.len() <= ROUTE_ENTRY_BYTES_MAX, "{}", entry.body.len());
    assert!(Item::read(&entry).is_ok());
}

#[test]
fn bounds_hold() {
    let refused = |item: Item| Item::read(&item.entry());
    assert_eq!(refused(Item::Announce(announcement(ROUTE_PATH_MAX))), Err(ErrorCode::Malformed));
    let long = signed(vec![0; ROUTE_BODY_BYTES_MAX + 1]);
    assert_eq!(refused(Item::Revoke(long)), Err(ErrorCode::Malformed));
    let mut list = Held { first: 0, last: 9, marks: vec![1; ROUTE_MARKS_MAX], is_answer: false };
    assert!(refused(Item::Held(list.clone())).is_ok());
    list.marks.push(1);
    assert_eq!(refused(Item::Held(list)), Err(ErrorCode::Malformed));
    let longer = Entry { kind: 1, body: vec![0; ROUTE_ENTRY_BYTES_MAX + 1] };
    assert_eq!(Item::read(&longer), Err(ErrorCode::FrameTooLarge));
    let tags = vec!["a".parse::<Tag>().unwrap(); ROUTE_TAGS_MAX + 1];
    assert_eq!(Origin::parse(&origin(tags).body()), Err(ErrorCode::Malformed));
    assert_eq!(
        Origin::parse(&origin(vec![Tag("Bad tag".into())]).body()),
        Err(ErrorCode::Malformed)
    );
    let entry = Entry { kind: 99, body: vec![] };
    let many = |count| Message { entries: vec![entry.clone(); count] };
    let parse = |message: Message| {
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        Message::parse(&bytes)
    };
    assert!(parse(many(ROUTE_ENTRIES_MAX)).is_ok());
    assert_eq!(parse(many(ROUTE_ENTRIES_MAX + 1)), Err(ErrorCode::Malformed));
    assert_eq!(
        Message::parse(&vec![0; ROUTE_MESSAGE_BYTES_MAX + 1]),
        Err(ErrorCode::FrameTooLarge)
    );
}

#[test]
fn an_unknown_kind_is_not_an_error() {
    assert_eq!(Item::read(&Entry { kind: 99, body: vec![1, 2, 3] }), Ok(None));
}

#[test]
fn a_tag_is_checked() {
    assert_eq!("eu-1.gold:x_y".parse::<Tag>().map(|tag| tag.0).as_deref(), Ok("eu-1.gold:x_y"));
    for bad in ["", "A", "*", "a b", &"a".repeat(33)] {
        assert_eq!(bad.parse::<Tag>(), Err(NotATag), "{bad}");
    }
}

#[test]
fn each_part_of_a_chain_changes_its_digest() {
    let link = |body: &[u8], signature| Signed { body: body.to_vec(), signature };
    let digests = [
        ChainDigest::EMPTY,
        ChainDigest::EMPTY.then(&link(b"a", None)),
        ChainDigest::EMPTY.then(&link(b"b", None)),
        ChainDigest::EMPTY.then(&link(b"a", Some([0; 64]))),
        ChainDigest::EMPTY.then(&link(b"a", Some([1; 64]))),
        ChainDigest::EMPTY.then(&link(b"a", None)).then(&link(b"", None)),
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "{at}");
    }
}

#[test]
fn texts_to_sign_say_what_they_are() {
    assert_eq!(message(Signing::Revocation, b"x"), b"mpreg/route/v1\x04x");
    let linked = link_message(ChainDigest([5; 32]), b"x");
    assert_eq!(&linked[..15], b"mpreg/route/v1\x01");
    assert_eq!((&linked[15..47], &linked[47..]), (&[5; 32][..], &b"x"[..]));
}

/// Reads everything that can be read in there, and looks at the bounds.
fn read_all(entry: &Entry) {
    let announcement = match Item::read(entry) {
        Ok(Some(Item::Announce(announcement))) => announcement,
        Ok(Some(Item::Inside(Inside { route: Some(route), .. }))) => route.announcement,
        Ok(Some(Item::Withdraw(signed) | Item::Authorise(signed) | Item::Revoke(signed))) => {
            assert!(signed.body.len() <= ROUTE_BODY_BYTES_MAX);
            return;
        }
        Ok(Some(Item::Held(held))) => {
            assert!(held.marks.len() <= ROUTE_MARKS_MAX);
            return;
        }
        Ok(Some(Item::Inside(Inside { route: None, .. }) | Item::Sum(_)) | None) | Err(_) => return,
    };
    assert!(announcement.chain.len() <= ROUTE_PATH_MAX);
    for link in &announcement.chain {
        assert!(link.body.len() <= ROUTE_BODY_BYTES_MAX);
        read_body(&link.body);
    }
}

fn read_body(body: &[u8]) {
    if let Ok(origin) = Origin::parse(body) {
        assert!(origin.tags.len() <= ROUTE_TAGS_MAX);
        assert!(origin.tags.iter().all(|tag| tag.as_str().parse::<Tag>().is_ok()));
    }
    if let Ok(authorisation) = Authorisation::parse(body) {
        assert!(authorisation.tags.len() <= ROUTE_TAGS_MAX);
    }
    // Of fixed size: nothing shorter is one.
    assert!(Hop::parse(body).is_err() || size_of::<ArchivedHop>() <= body.len());
    assert!(Withdrawal::parse(body).is_err() || size_of::<ArchivedWithdrawal>() <= body.len());
    assert!(Revocation::parse(body).is_err() || size_of::<ArchivedRevocation>() <= body.len());
}

proptest! {
    #[test]
    fn parsing_is_total(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..7u16) {
        if let Ok(message) = Message::parse(&bytes) {
            message.entries.iter().for_each(read_all);
        }
        read_body(&bytes);
        read_all(&Entry { kind, body: bytes });
    }

    /// Damage to bytes that were right gets further than bytes that never were.
    #[test]
    fn damaged_bytes_are_read_or_refused(which in 0..6usize, at: u16, bit in 0..8u8, cut: u16) {
        let mut entry = items()[which].entry();
        let message = Message { entries: vec![entry.clone(); 3] };
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        for damaged in [&mut bytes, &mut entry.body] {
            let at = usize::from(at) % damaged.len();
            damaged[at] ^= 1 << bit;
            let left = damaged.len() - usize::from(cut) % damaged.len() * usize::from(bit == 0);
            damaged.truncate(left);
        }
        if let Ok(message) = Message::parse(&bytes) {
            message.entries.iter().for_each(read_all);
        }
        read_all(&entry);
    }
}
