//! Frames about functions: round trips, refusals, and the bytes drawn in `docs/WIRE.md`.

use alloc::string::String;
use alloc::{format, vec};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::call::Route;
use crate::frame::{Decoded, Frame, decode, peek};
use crate::limits::{CALL_FAILED_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};

fn put(rpc: Rpc<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Rpc(rpc).put(&mut out);
    out
}

fn refusal(bytes: &[u8]) -> Option<ErrorCode> {
    decode(bytes).err()
}

fn resources(names: &[String]) -> Resources {
    Resources::new(names.iter().map(String::as_str)).unwrap()
}

fn call<'a>(resources: ResourceNames<'a>, payload: &'a [u8]) -> Call<'a> {
    Call {
        number: 7,
        deadline_ms: 250,
        hedge_after_ms: 0,
        is_idempotent: true,
        is_traced: false,
        encoding: Encoding::Json,
        cluster: "",
        name: "sum",
        constraint: "^1.2",
        resources,
        payload,
    }
}

#[test]
fn layouts_are_those_in_wire_md() {
    let mut room = Vec::new();
    let gpu = ResourceNames::write(&resources(&["gpu".into()]), &mut room);
    let register =
        Register { number: 3, limit: 4, id: 0, name: "sum", version: "1.2.0", resources: gpu };
    let want = [
        &[0x2f, 0, 0, 0, 16, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0][..],
        &[0; 16],
        b"\x03sum\x051.2.0\x01\x03gpu",
    ];
    assert_eq!(put(Rpc::Register(register)), want.concat());
    let want = [
        &[0x26, 0, 0, 0, 21, 2, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xfa, 0, 0, 0, 0, 0, 0, 0][..],
        b"\0\x03sum\x04^1.2\x00[2]",
    ];
    assert_eq!(put(Rpc::Call(call(ResourceNames::NONE, b"[2]"))), want.concat());
    let answer = Answer { number: 7, is_last: true, encoding: Encoding::Json, payload: b"2" };
    let want = [0x11, 0, 0, 0, 23, 2, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'2'];
    assert_eq!(put(Rpc::Result { answer, trace: None }), want);
    let trace = Trace {
        call: Route::at(NodeId(1), ClusterId(9)),
        answer: Route::default(),
        took: Duration::from_micros(5),
        ran: Duration::from_micros(3),
    };
    let mut room = Vec::new();
    let traced = Rpc::Result { answer, trace: Some(TraceBlock::write(&trace, &mut room)) };
    let id = |id: u8| [&[id][..], &[0; 15]].concat();
    let want = [
        &[0x45, 0, 0, 0, 23, 2, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0][..],
        &[5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1],
        &id(1),
        &[1],
        &id(9),
        b"\0\x002",
    ];
    assert_eq!(put(traced), want.concat());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let edited = |rpc: Rpc<'_>, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = put(rpc);
        edit(&mut bytes);
        refusal(&bytes)
    };
    let call = Rpc::Call(call(ResourceNames::NONE, b""));
    assert_eq!(edited(call, &|_| ()), None);
    assert_eq!(edited(call, &|b| b[5] = 4), Some(ErrorCode::Malformed), "no such encoding");
    assert_eq!(edited(call, &|b| b[6] = 3), None, "and traced");
    assert_eq!(edited(call, &|b| b[6] = 4), Some(ErrorCode::ReservedBits), "no such flag");
    assert_eq!(edited(call, &|b| b[7] = 1), Some(ErrorCode::ReservedBits), "no such flag");
    assert_eq!(edited(call, &|b| b[24] = 64), Some(ErrorCode::Malformed), "cluster past its bound");
    assert_eq!(edited(call, &|b| b[26] = 0xff), Some(ErrorCode::Malformed), "not UTF-8");
    assert_eq!(edited(call, &|b| b[34] = 1), Some(ErrorCode::Malformed), "a resource past the end");
    assert_eq!(edited(call, &|b| b[34] = 9), Some(ErrorCode::Malformed), "too many resources");

    let invoke = Rpc::Invoke(Invoke {
        job: 1,
        number: 2,
        deadline_ms: 3,
        encoding: Encoding::Bytes,
        payload: b"",
    });
    assert_eq!(edited(invoke, &|_| ()), None);
    assert_eq!(edited(invoke, &|b| b[20] = 0), Some(ErrorCode::Malformed), "no time at all");
    assert_eq!(edited(invoke, &|b| b[6] = 1), Some(ErrorCode::ReservedBits));

    let gone = Rpc::Unregistered(Unregistered { number: 1, why: Why::Asked, text: "" });
    assert_eq!(edited(gone, &|b| b[6] = 0), Some(ErrorCode::Malformed), "no such reason");
    assert_eq!(edited(gone, &|b| b[6] = 12), Some(ErrorCode::Malformed), "no such reason");
    let health = Rpc::Health { number: 1, is_well: false };
    assert_eq!(edited(health, &|b| b[5] = 2), Some(ErrorCode::ReservedBits));
    let failed = Rpc::CallFailed(failed(Path::default()));
    assert_eq!(edited(failed, &|b| b[5] = 0), Some(ErrorCode::Malformed), "no such code");
    assert_eq!(edited(failed, &|b| b[6] = 2), Some(ErrorCode::ReservedBits), "no such flag");
    assert_eq!(edited(failed, &|b| b[48] = 1), Some(ErrorCode::Malformed), "a node past the end");
    assert_eq!(edited(failed, &|b| b[48] = 65), Some(ErrorCode::Malformed), "too many nodes");
    let answer = Answer { number: 7, is_last: true, encoding: Encoding::Json, payload: b"2" };
    let reply = Rpc::Reply(answer);
    assert_eq!(
        edited(reply, &|b| b[6] = 3),
        Some(ErrorCode::ReservedBits),
        "workers trace nothing"
    );
    let mut room = Vec::new();
    let trace = Some(TraceBlock::write(&Trace::default(), &mut room));
    let traced = Rpc::Result { answer, trace };
    assert_eq!(edited(traced, &|b| b[32] = 1), Some(ErrorCode::Malformed), "a node past the end");
    assert_eq!(edited(traced, &|b| b[35] = 65), Some(ErrorCode::Malformed), "too many clusters");
    let cancel = Rpc::Cancel { number: 1 };
    assert_eq!(edited(cancel, &|b| b[5] = 1), Some(ErrorCode::ReservedBits));
    assert_eq!(edited(cancel, &|b| b[0] -= 1), Some(ErrorCode::Malformed));
}

fn failed(path: Path<'_>) -> CallFailed<'_> {
    CallFailed {
        number: 7,
        code: CallError::Unreachable,
        may_have_run: true,
        cluster: ClusterId(0),
        node: NodeId(0),
        path,
        text: "",
    }
}

/// The longest of each, and that one byte more is one too many.
#[test]
fn lengths_are_bounded_by_what_is_said() {
    let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
    let names: Vec<String> =
        (0..RESOURCES_MAX).map(|n| format!("{n:0>RESOURCE_BYTES_MAX$}")).collect();
    let mut room = Vec::new();
    let fullest = ResourceNames::write(&resources(&names), &mut room);
    let (name, version) = ("n".repeat(FUNCTION_NAME_BYTES_MAX), "1".repeat(VERSION_BYTES_MAX));
    let register =
        Register { number: 1, limit: 1, id: 1, name: &name, version: &version, resources: fullest };
    let longest = put(Rpc::Register(register));
    assert!(longest.len() <= CONTROL_FRAME_BYTES_MAX);
    assert_eq!(refusal(&longest), None);

    let (cluster, constraint) = ("c".repeat(63), "v".repeat(CONSTRAINT_BYTES_MAX));
    let all = call(fullest, &payload[1..]);
    let all = Call { cluster: &cluster, name: &name, constraint: &constraint, ..all };
    let longest = put(Rpc::Call(all));
    assert!(longest.len() <= FRAME_BYTES_MAX);
    assert_eq!(refusal(&longest), None);
    let one_more = put(Rpc::Call(call(ResourceNames::NONE, &payload)));
    assert_eq!(refusal(&one_more), Some(ErrorCode::FrameTooLarge));

    let path = Path::wire(&[NodeId(9); HOP_PATH_MAX + 1]);
    let text = "t".repeat(ERROR_TEXT_BYTES_MAX + 1);
    let longest = CallFailed { text: &text, ..failed(Path::of(&path)) };
    let longest = put(Rpc::CallFailed(longest));
    assert_eq!(longest.len(), CALL_FAILED_BYTES_MAX);
    assert_eq!(refusal(&longest), None);
    let head = |bytes: usize, kind: Kind| {
        let mut head = (bytes as u32).to_le_bytes().to_vec();
        head.push(kind as u8);
        peek(&head).map(|_| ())
    };
    for kind in Kind::ALL {
        assert_eq!(head(kind.bytes_max(), kind), Ok(()), "{kind:?}");
        let too_large = Err(ErrorCode::FrameTooLarge);
        assert_eq!(head(kind.bytes_max() + 1, kind), too_large, "{kind:?}");
    }
}

/// Whole frames that hold one more of something than there may be.
#[test]
fn one_more_than_may_be_is_refused() {
    let names = |count: u8| [&[count][..], &b"\x01a".repeat(usize::from(count))].concat();
    let resources = |count| refusal(&put(Rpc::Call(call(ResourceNames(&names(count)), b""))));
    assert_eq!(resources(RESOURCES_MAX as u8), None);
    assert_eq!(resources(RESOURCES_MAX as u8 + 1), Some(ErrorCode::Malformed));
    let nodes = [[0; 16]; HOP_PATH_MAX + 1];
    let path = |count: usize| refusal(&put(Rpc::CallFailed(failed(Path(&nodes[..count])))));
    assert_eq!(path(HOP_PATH_MAX), None);
    assert_eq!(path(HOP_PATH_MAX + 1), Some(ErrorCode::Malformed));
    let cluster = "c".repeat(CLUSTER_NAME_BYTES_MAX);
    let mut bytes = put(Rpc::Call(Call { cluster: &cluster, ..call(ResourceNames::NONE, b"") }));
    assert_eq!(refusal(&bytes), None);
    bytes.insert(25, b'c');
    bytes[0] += 1;
    bytes[24] += 1;
    assert_eq!(refusal(&bytes), Some(ErrorCode::Malformed));
}

#[test]
fn texts_over_their_bounds_are_cut() {
    let long = "é".repeat(200);
    let bytes = put(Rpc::ReplyFailed { job: 1, text: &long });
    let Ok(Decoded::Frame { frame: Frame::Rpc(Rpc::ReplyFailed { text, .. }), .. }) =
        decode(&bytes)
    else {
        panic!("it was whole");
    };
    assert_eq!(text, "é".repeat(127));
}

#[test]
fn resources_are_a_set_or_say_what_is_wrong() {
    let names = |words: &[u8]| {
        let mut body = Body(words);
        ResourceNames::take(&mut body).unwrap().read()
    };
    assert_eq!(names(b"\x02\x01b\x01a"), Resources::new(["a", "b"]).map_err(|e| panic!("{e}")));
    assert_eq!(names(b"\x01\x00"), Err(ResourceError::Length(0)));
    assert_eq!(names(b"\x01\x03a b"), Err(ResourceError::Character("a b".into())));
}

proptest! {
    #[test]
    fn frames_round_trip(
        pick in 0u8..14, number: u64, id: u128, small: u32, flag: bool, encoding in 0u8..4,
        texts in prop::array::uniform4("[a-zé.^0-9]{0,20}"),
        names in prop::collection::vec("[!-~]{1,48}", 0..8),
        path in prop::collection::vec(any::<u128>(), 0..64),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        code in any::<prop::sample::Index>(),
    ) {
        let resources = resources(&names);
        let mut room = Vec::new();
        let resource_names = ResourceNames::write(&resources, &mut room);
        let path: Vec<NodeId> = path.into_iter().map(NodeId).collect();
        let wire = Path::wire(&path);
        let encoding = Encoding::from_wire(encoding).unwrap();
        let [name, version, cluster, text] = &texts;
        let answer = Answer { number, is_last: flag, encoding, payload: &payload };
        let clusters = path.iter().map(|node| ClusterId(node.0)).collect();
        let trace = Trace {
            call: Route { nodes: path.clone(), clusters },
            answer: Route { nodes: path.clone(), clusters: Vec::new() },
            took: Duration::from_micros(number),
            ran: Duration::from_micros(small.into()),
        };
        let mut trace_room = Vec::new();
        let trace_block = TraceBlock::write(&trace, &mut trace_room);
        let rpc = match pick {
            0 => Rpc::Register(Register {
                number: small, limit: small ^ 1, id, name, version, resources: resource_names,
            }),
            1 => Rpc::Registered { number: small },
            2 => Rpc::Unregister { number: small },
            3 => Rpc::Unregistered(Unregistered { number: small, why: *code.get(&Why::ALL), text }),
            4 => Rpc::Health { number: small, is_well: flag },
            5 => Rpc::Call(Call {
                number, deadline_ms: small, hedge_after_ms: small ^ 1, is_idempotent: flag,
                is_traced: small % 2 == 0, encoding, cluster, name, constraint: version, resources: resource_names, payload: &payload,
            }),
            6 => Rpc::Cancel { number },
            7 => Rpc::Result { answer, trace: None },
            8 => Rpc::CallFailed(CallFailed {
                number, code: *code.get(&CallError::ALL), may_have_run: flag,
                cluster: ClusterId(id), node: NodeId(id ^ 1), path: Path::of(&wire), text,
            }),
            9 => Rpc::Invoke(Invoke {
                job: number, number: small, deadline_ms: small.max(1), encoding, payload: &payload,
            }),
            10 => Rpc::Withdraw { job: number },
            11 => Rpc::Reply(answer),
            12 => Rpc::Result { answer, trace: Some(trace_block) },
            _ => Rpc::ReplyFailed { job: number, text },
        };
        let bytes = put(rpc);
        let frame = Frame::Rpc(rpc);
        prop_assert_eq!(decode(&bytes), Ok(Decoded::Frame { frame, bytes: bytes.len() }));
        prop_assert_eq!(resource_names.read(), Ok(resources));
        prop_assert!(Path::of(&wire).iter().eq(path));
        prop_assert_eq!(trace_block.read(), trace);
    }

    /// Whole frames with some bytes changed: refused, or written back as they were read.
    #[test]
    fn damage_is_refused_or_means_something_else(
        pick in 0usize..6,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut room = Vec::new();
        let names = ResourceNames::write(&resources(&["gpu".into(), "ssd".into()]), &mut room);
        let path = Path::wire(&[NodeId(1), NodeId(2)]);
        let register =
            Register { number: 1, limit: 2, id: 3, name: "sum", version: "1.0.0", resources: names };
        let route = |nodes: &[u128]| Route {
            nodes: nodes.iter().copied().map(NodeId).collect(),
            clusters: vec![ClusterId(1), ClusterId(2)],
        };
        let (call_route, answer_route) = (route(&[1, 2, 3]), route(&[3, 1]));
        let trace = Trace { call: call_route, answer: answer_route, ..Trace::default() };
        let mut trace_room = Vec::new();
        let trace = Some(TraceBlock::write(&trace, &mut trace_room));
        let answer = Answer { number: 7, is_last: true, encoding: Encoding::Json, payload: b"2" };
        let mut bytes = put(match pick {
            0 => Rpc::Register(register),
            1 => Rpc::Call(call(names, b"payload")),
            2 => Rpc::CallFailed(CallFailed { text: "why", ..failed(Path::of(&path)) }),
            3 => Rpc::Unregistered(Unregistered { number: 1, why: Why::Offers, text: "why" }),
            4 => Rpc::Result { answer, trace },
            _ => Rpc::Health { number: 1, is_well: true },
        });
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            if 4 <= at {
                bytes[at] = byte;
            }
        }
        if let Ok(Decoded::Frame { frame, bytes: taken }) = decode(&bytes) {
            let mut written = Vec::new();
            frame.put(&mut written);
            prop_assert_eq!(&written, &bytes[..taken]);
        }
    }
}
