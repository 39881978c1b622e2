//! Frames as written and as read: round trips, refusals, any bytes at all.

use super::*;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn put(frame: Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.put(&mut out);
    out
}

#[test]
fn kinds_are_numbered_from_one_in_order() {
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index + 1);
    }
}

#[test]
fn every_prefix_of_a_frame_asks_for_more_and_never_for_too_much() {
    let mut bytes = Vec::new();
    let message = Publish { topic: b"a.b", payload: &[7; 300], ..Publish::default() };
    message.put(&mut bytes).unwrap();
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut]) {
            Ok(Decoded::Need(need)) => assert!(cut < need && need <= bytes.len()),
            other => panic!("{cut}: {other:?}"),
        }
    }
    assert!(matches!(decode(&bytes), Ok(Decoded::Frame { bytes: taken, .. }) if taken == 319));
}

#[test]
fn refusals_of_malformed_frames() {
    let data = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        Publish { topic: b"t", payload: b"xyz", ..Publish::default() }.put(&mut bytes).unwrap();
        edit(&mut bytes);
        decode(&bytes).map(|_| ())
    };
    assert_eq!(data(&|_| ()), Ok(()));
    assert_eq!(data(&|b| b[0] = 15), Err(ErrorCode::Malformed), "shorter than an envelope");
    assert_eq!(data(&|b| b[3] = 0xff), Err(ErrorCode::FrameTooLarge));
    assert_eq!(data(&|b| b[4] = 0), Err(ErrorCode::UnknownKind));
    assert_eq!(data(&|b| b[4] = 29), Err(ErrorCode::UnknownKind));
    assert_eq!(data(&|b| b[5] = 5), Err(ErrorCode::Malformed), "no such priority");
    assert_eq!(data(&|b| b[6] = 4), Err(ErrorCode::Malformed), "no such encoding");
    assert_eq!(data(&|b| b[7] = 1), Err(ErrorCode::ReservedBits));
    assert_eq!(data(&|b| b[8] = 0), Err(ErrorCode::Malformed), "no topic");
    assert_eq!(data(&|b| b[9] = 200), Err(ErrorCode::Malformed), "reply past the end");
    assert_eq!(data(&|b| b[10] = 4), Err(ErrorCode::Malformed), "more headers than frame");

    let control = |frame: Frame<'_>, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = put(frame);
        edit(&mut bytes);
        decode(&bytes).map(|_| ())
    };
    let ping = Frame::Ping { token: 1 };
    assert_eq!(control(ping, &|b| b[5] = 1), Err(ErrorCode::ReservedBits));
    assert_eq!(control(ping, &|b| b[6] = 1), Err(ErrorCode::ReservedBits));
    assert_eq!(control(ping, &|b| b[0] = 7), Err(ErrorCode::Malformed));
    assert_eq!(control(ping, &|b| b[1] = 4), Err(ErrorCode::FrameTooLarge), "over 1024");
    let longer = |b: &mut Vec<u8>| {
        b.push(0);
        b[0] += 1;
    };
    assert_eq!(control(ping, &longer), Err(ErrorCode::Malformed), "trailing byte");
    let subscribe = Frame::Subscribe(Subscribe {
        sid: Sid(1),
        overload: Overload::DropOldest,
        pattern: b"a",
        group: b"g",
    });
    assert_eq!(control(subscribe, &|b| b[5] = 3), Err(ErrorCode::Malformed), "no such policy");
    assert_eq!(control(subscribe, &|b| b[6] = 9), Err(ErrorCode::Malformed), "group past the end");
    let connect = Frame::Connect(Connect { name: "x", echo: Echo::On, queue_bytes: 0 });
    assert_eq!(control(connect, &|b| b[12] = 0xff), Err(ErrorCode::BadName), "not UTF-8");
    assert_eq!(control(connect, &|b| b[5] = 2), Err(ErrorCode::Malformed));
}

#[test]
fn a_message_over_its_bounds_is_not_written() {
    let mut out = vec![1, 2, 3];
    let payload = vec![0; crate::limits::PAYLOAD_BYTES_MAX + 1];
    let long = [b'a'; 256];
    let check = |message: Publish<'_>, out: &mut Vec<u8>| message.put(out).unwrap_err();
    let plain = Publish { topic: b"t", ..Publish::default() };
    let code = check(Publish { payload: &payload, ..plain }, &mut out);
    assert_eq!(code, ErrorCode::FrameTooLarge);
    assert_eq!(check(Publish { topic: &long, ..plain }, &mut out), ErrorCode::BadTopic);
    assert_eq!(check(Publish { topic: b"", ..plain }, &mut out), ErrorCode::BadTopic);
    assert_eq!(check(Publish { reply: &long, ..plain }, &mut out), ErrorCode::BadTopic);
    assert_eq!(out, [1, 2, 3]);
    let largest = Publish { topic: &long[1..], reply: &long[1..], payload: &payload[1..], ..plain };
    largest.put(&mut out).unwrap();
    assert!(matches!(decode(&out[3..]), Ok(Decoded::Frame { .. })));
}

/// Any frame, with its variable parts held in `names`.
fn frame_of(pick: u8, a: u32, b: u64, names: &[String; 2]) -> Frame<'_> {
    let sid = Sid(a);
    match pick % 14 {
        0 => Frame::Connect(Connect { name: &names[0], echo: Echo::Off, queue_bytes: a }),
        1 => Frame::Connected(Connected {
            session: SessionId(b),
            frame_bytes_max: a,
            queue_bytes: a ^ 1,
            ping_interval_ms: a ^ 2,
            subscriptions_max: a ^ 3,
        }),
        2 => Frame::Subscribe(Subscribe {
            sid,
            overload: Overload::ALL[a as usize % 3],
            pattern: names[0].as_bytes(),
            group: names[1].as_bytes(),
        }),
        3 => Frame::Subscribed { sid },
        4 => Frame::Unsubscribe { sid, deliveries: b as u32 },
        5 => Frame::Unsubscribed { sid },
        6 => Frame::Ping { token: b },
        7 => Frame::Pong { token: b },
        8 => Frame::Drain,
        9 => Frame::Drained,
        10 => Frame::For { sid },
        11 => Frame::NoResponders { reply: names[0].as_bytes() },
        12 => Frame::GoingAway,
        _ => Frame::Error(Refusal {
            code: ErrorCode::ALL[a as usize % ErrorCode::ALL.len()],
            sid,
            text: &names[1],
        }),
    }
}

proptest! {
    #[test]
    fn control_frames_round_trip(pick: u8, a: u32, b: u64, name in "[a-zé.]{0,30}", other in "[a-z]{0,60}") {
        let names = [name, other];
        let frame = frame_of(pick, a, b, &names);
        let bytes = put(frame);
        prop_assert_eq!(decode(&bytes), Ok(Decoded::Frame { frame, bytes: bytes.len() }));
    }

    #[test]
    fn messages_round_trip(
        topic in proptest::collection::vec(any::<u8>(), 1..256),
        reply in proptest::collection::vec(any::<u8>(), 0..256),
        headers in proptest::collection::vec(any::<u8>(), 0..300),
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
        priority in 0u8..5, encoding in 0u8..4, deadline_ms: u32,
    ) {
        let message = Publish {
            topic: &topic, reply: &reply, headers: &headers, payload: &payload, deadline_ms,
            priority: Priority::from_wire(priority).unwrap(),
            encoding: Encoding::from_wire(encoding).unwrap(),
        };
        let mut bytes = Vec::new();
        message.put(&mut bytes).unwrap();
        let Ok(Decoded::Frame { frame: Frame::Data(data), bytes: taken }) = decode(&bytes) else {
            return Err(TestCaseError::fail("not a data frame"));
        };
        prop_assert_eq!(taken, bytes.len());
        prop_assert_eq!((data.topic(), data.reply(), data.payload()), (&topic[..], &reply[..], &payload[..]));
        prop_assert_eq!(data.headers(), headers);
        prop_assert_eq!((data.priority() as u8, data.encoding() as u8), (priority, encoding));
        prop_assert_eq!(data.deadline_ms().unwrap_or(0), deadline_ms);
    }

    #[test]
    fn decoding_is_total_and_what_it_accepts_it_writes_back(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..30, honest: bool,
    ) {
        if honest && 8 <= bytes.len() {
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[4] = kind;
        }
        match decode(&bytes) {
            Ok(Decoded::Need(need)) => prop_assert!(bytes.len() < need && need <= FRAME_BYTES_MAX),
            Ok(Decoded::Frame { frame, bytes: taken }) => prop_assert_eq!(put(frame), &bytes[..taken]),
            Err(_) => (),
        }
    }
}
