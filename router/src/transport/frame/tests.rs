//! Frames from clients against the RFC's examples, a table of violations, and any way to cut them.

use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it, in its shortest form.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(MASKED | short as u8),
        middle @ 126..=0xffff => {
            frame.push(MASKED | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(MASKED | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What came of some bytes: payload, control frames, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    plain: Vec<u8>,
    controls: Vec<(ControlKind, Vec<u8>)>,
    violation: Option<Violation>,
}

/// Reads `bytes`, cut after each of these many, in turn.
fn read(bytes: &[u8], cuts: &[usize]) -> Read {
    let mut read = Read::default();
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() && read.violation.is_none() {
        let (mut some, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        rest = after;
        loop {
            match decoder.take(&mut some, &mut read.plain) {
                Ok(Some(control)) => read.controls.push((control.kind, control.payload.to_vec())),
                Ok(None) => break,
                Err(violation) => {
                    read.violation = Some(violation);
                    break;
                }
            }
        }
        assert!(some.is_empty() || read.violation.is_some(), "all of it is taken");
    }
    read
}

#[track_caller]
fn check(bytes: &[u8], plain: &[u8], controls: &[(ControlKind, &[u8])]) {
    let whole = read(bytes, &[usize::MAX]);
    assert_eq!(whole.plain, plain);
    let found: Vec<_> = whole.controls.iter().map(|(kind, text)| (*kind, &text[..])).collect();
    assert_eq!(found, controls);
    assert_eq!(whole.violation, None);
    assert_eq!(read(bytes, &[1]), whole, "byte by byte");
}

#[track_caller]
fn check_refused(bytes: &[u8], violation: Violation, code: u16) {
    for cuts in [usize::MAX, 1] {
        assert_eq!(read(bytes, &[cuts]).violation, Some(violation));
    }
    assert_eq!(violation.close_code(), code);
}

#[test]
fn reads_the_examples_of_the_rfc() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check(&hello, b"Hello", &[]);
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check(&ping, b"", &[(ControlKind::Ping, b"Hello")]);
}

#[test]
fn writes_the_examples_of_the_rfc() {
    let mut wire = Vec::new();
    put_pong(b"Hello", &mut wire);
    assert_eq!(wire, [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let mut wire = Vec::new();
    put_data(&[&[7; 256]], &mut wire);
    assert_eq!((&wire[..4], &wire[4..]), (&[0x82, 0x7e, 1, 0][..], &[7; 256][..]));
}

#[test]
fn reads_lengths_at_their_bounds() {
    for length in [0, 1, 125, 126, 0xffff, 0x1_0000, 0x1_0001] {
        let payload = vec![b'x'; length];
        check(
            &[masked(BINARY, &payload), masked(BINARY, b"y")].concat(),
            &[&payload[..], b"y"].concat(),
            &[],
        );
    }
}

#[test]
fn control_frames_come_amid_a_message() {
    let frames = [
        masked(0x01, b"Hel"),
        masked(0x89, b"?"),
        masked(0x00, b""),
        masked(0x8a, b""),
        masked(0x80, b"lo"),
        masked(0x88, &[3, 232]),
    ];
    let controls: [(_, &[u8]); 3] =
        [(ControlKind::Ping, b"?"), (ControlKind::Pong, b""), (ControlKind::Close, &[3, 232])];
    check(&frames.concat(), b"Hello", &controls);
}

#[test]
fn refuses_what_no_client_may_send() {
    let zeros = [0; 16];
    let long = |second: u8, length: &[u8]| [&[BINARY, second][..], length, &zeros].concat();
    check_refused(&[0xc2, 0x80], Violation::ReservedBits, 1002);
    check_refused(&[0xa2, 0x80], Violation::ReservedBits, 1002);
    check_refused(&[0x92, 0x80], Violation::ReservedBits, 1002);
    check_refused(&[0x83, 0x80], Violation::UnknownOpcode(3), 1002);
    check_refused(&[0x8b, 0x80], Violation::UnknownOpcode(11), 1002);
    check_refused(&[0x82, 0x05], Violation::NotMasked, 1002);
    check_refused(&[0x09, 0x80], Violation::BadControl, 1002);
    check_refused(&[0x89, 0xfe], Violation::BadControl, 1002);
    check_refused(&[0x88, 0xff], Violation::BadControl, 1002);
    check_refused(&[0x80, 0x80], Violation::NothingToContinue, 1002);
    check_refused(&long(0xfe, &[0, 125]), Violation::NotShortest, 1002);
    check_refused(&long(0xff, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]), Violation::NotShortest, 1002);
    check_refused(&long(0xff, &[0x80, 0, 0, 0, 0, 0, 0, 0]), Violation::TopBit, 1002);
    let payload_bytes = WEBSOCKET_FRAME_BYTES_MAX + 1;
    let too_long = Violation::TooLong { payload_bytes };
    check_refused(&long(0xff, &payload_bytes.to_be_bytes()), too_long, 1009);
    let begun = masked(0x02, b"a");
    check_refused(&[&begun[..], &[0x82, 0x80]].concat(), Violation::MessageNotOver, 1002);
    let ended = masked(0x80, b"b");
    let after = [&begun[..], &ended, &[0x80, 0x80]].concat();
    check_refused(&after, Violation::NothingToContinue, 1002);
}

#[test]
fn the_longest_frame_is_taken() {
    let mut head = vec![BINARY, 0xff];
    head.extend(WEBSOCKET_FRAME_BYTES_MAX.to_be_bytes());
    head.extend([0; 4]);
    assert_eq!(read(&head, &[usize::MAX]), Read::default());
}

#[test]
fn long_output_is_cut_into_frames() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
    let mut wire = Vec::new();
    put_data(&[b"", &bytes[..70_000], &bytes[70_000..], b""], &mut wire);
    assert_eq!(wire.len(), sealed_bytes_max(bytes.len()));
    let mut found = Vec::new();
    let mut rest = &wire[..];
    while !rest.is_empty() {
        let [0x82, 126, high, low, after @ ..] = rest else { panic!("{:?}", &rest[..4]) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        found.extend_from_slice(&after[..length]);
        rest = &after[length..];
    }
    assert_eq!(found, bytes);
    let mut nothing = Vec::new();
    put_data(&[b"", b""], &mut nothing);
    assert_eq!(nothing, b"");
}

#[test]
fn masks_are_undone_at_any_phase() {
    let payload: Vec<u8> = (0..=255).collect();
    for cut in 0..20 {
        for length in 0..40 {
            let frame = masked(BINARY, &payload[..length]);
            assert_eq!(read(&frame, &[6 + cut, 3, 5]).plain, payload[..length]);
        }
    }
}

/// Frames that may follow each other, most of the time.
fn any_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(BINARY), 2 => Just(0x01), 2 => Just(0x00), 2 => Just(0x80), 2 => Just(0x89),
        1 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    let frame = (first, prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::vec(frame, 0..12).prop_map(|frames| {
        frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect()
    })
}

proptest! {
    #[test]
    fn cuts_do_not_show(bytes in any_frames(), cuts in prop::collection::vec(1_usize..40, 1..6)) {
        prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[usize::MAX]));
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = read(&bytes, &[usize::MAX]);
        prop_assert!(whole.plain.len() <= bytes.len());
        prop_assert_eq!(read(&bytes, &[1]), whole);
    }
}
