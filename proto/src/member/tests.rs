//! Packets there and back, and bytes that are none.

use proptest::prelude::*;

use super::*;

#[test]
fn an_address_is_checked() {
    let parse = |text: &str| text.parse::<PeerAddress>().map(|address| address.0);
    assert_eq!(parse("a.example:4150").as_deref(), Ok("a.example:4150"));
    assert_eq!(parse("[::1]:1").as_deref(), Ok("[::1]:1"));
    for text in ["", "a", ":1", "::1:1", "[]:1", "a b:1", "a:+1", "a:1:2"] {
        assert_eq!(parse(text), Err(PeerAddressError::Shape), "{text:?}");
    }
    assert_eq!(parse("a:0"), Err(PeerAddressError::Port));
    assert_eq!(parse("a:"), Err(PeerAddressError::Port));
    assert_eq!(parse("a:65536"), Err(PeerAddressError::Port));
    let long = [&"a".repeat(254), ":1"].concat();
    assert_eq!(parse(&long), Err(PeerAddressError::Length(256)));
    assert!(parse(&long[1..]).is_ok());
}

#[test]
fn the_live_have_an_address_and_the_others_none() {
    let life = Life { node: NodeId(1), incarnation: Incarnation(2) };
    let read = |condition, address: Option<&str>| {
        let address = address.map(|text| text.parse().unwrap());
        let mut bytes = Vec::new();
        Record { life, refutation: 0, condition, address }.put(&mut bytes);
        Record::take(&mut &bytes[..]).map(|record| record.condition)
    };
    let left = Condition::Left(LeaveReason::Rebalance);
    assert_eq!(read(Condition::Alive, Some("a:1")), Ok(Condition::Alive));
    assert_eq!(read(Condition::Suspect, None), Err(ErrorCode::Malformed));
    assert_eq!(read(left, None), Ok(left));
    assert_eq!(read(Condition::Down, Some("a:1")), Err(ErrorCode::Malformed));
}

#[test]
fn what_follows_the_last_record_is_refused_and_so_is_an_unknown_kind() {
    let life = Life { node: NodeId(1), incarnation: Incarnation(2) };
    let address: PeerAddress = "a:1".parse().unwrap();
    let header =
        Header { source: life, refutation: 0, address, target: life, saying: Saying::Gossip };
    let mut bytes = Vec::new();
    Packet { header, records: Vec::new() }.put(&mut bytes);
    assert!(Packet::parse(&bytes).is_ok());
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Packet::parse(&longer), Err(ErrorCode::Malformed));
    bytes[0] = 99;
    assert_eq!(Packet::parse(&bytes), Err(ErrorCode::UnknownKind));
    let much = alloc::vec![0; MEMBER_PACKET_BYTES_MAX + 1];
    assert_eq!(Packet::parse(&much), Err(ErrorCode::FrameTooLarge));
}

fn life() -> impl Strategy<Value = Life> {
    (any::<u128>(), any::<u64>()).prop_map(|(node, incarnation)| Life {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    })
}

fn address() -> impl Strategy<Value = PeerAddress> {
    ("[a-z0-9.-]{1,12}", 1..u16::MAX)
        .prop_map(|(host, port)| alloc::format!("{host}:{port}").parse().unwrap())
}

fn saying() -> impl Strategy<Value = Saying> {
    (0..10_u8, life(), any::<u8>()).prop_map(|(kind, life, probe)| match kind {
        0 => Saying::Ping { probe },
        1 => Saying::Ack { probe },
        2 => Saying::PingRequest { suspect: life, probe },
        3 => Saying::IndirectPing { asker: life, probe },
        4 => Saying::IndirectAck { asker: life, probe },
        5 => Saying::ForwardedAck { suspect: life, probe },
        6 => Saying::Announce,
        7 => Saying::Feed,
        8 => Saying::Gossip,
        _ => Saying::Undead,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (life(), any::<u16>(), 0..4_u8, any::<u8>(), address()).prop_map(
        |(life, refutation, condition, reason, address)| {
            let condition = match condition {
                0 => Condition::Alive,
                1 => Condition::Suspect,
                2 => Condition::Down,
                _ => Condition::Left(LeaveReason::from_wire(reason)),
            };
            let is_live = matches!(condition, Condition::Alive | Condition::Suspect);
            Record { life, refutation, condition, address: is_live.then_some(address) }
        },
    )
}

proptest! {
    #[test]
    fn a_packet_comes_back_as_it_was_put(
        source in life(), target in life(), refutation: u16, address in address(),
        saying in saying(), records in prop::collection::vec(record(), 0..8),
    ) {
        let header = Header { source, refutation, address, target, saying };
        let packet = Packet { header, records };
        let mut bytes = Vec::new();
        packet.put(&mut bytes);
        prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        for cut in 0..bytes.len() {
            // Cut before the count it is a packet without records.
            let parsed = Packet::parse(&bytes[..cut]);
            prop_assert!(parsed.is_err() || parsed.is_ok_and(|packet| packet.records.is_empty()));
        }
    }

    #[test]
    fn any_bytes_are_a_packet_or_refused(
        kind in 0..12_u8, bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut whole = alloc::vec![kind];
        whole.extend(bytes);
        if let Ok(packet) = Packet::parse(&whole) {
            let mut again = Vec::new();
            packet.put(&mut again);
            prop_assert!(whole.len() <= again.len());
        }
    }
}
