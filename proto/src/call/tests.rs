//! Messages read back, bytes are read or refused, names and numbers of errors.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::{CALL_HEAD_BYTES_MAX, CONSTRAINT_BYTES_MAX, RESOURCES_MAX};

fn put(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.put(&mut bytes);
    assert!(bytes.len() <= CALL_HEAD_BYTES_MAX);
    bytes
}

prop_compose! {
    fn any_call()(origin in any::<u128>(), number in any::<u64>()) -> CallId {
        CallId { origin: NodeId(origin), number }
    }
}

prop_compose! {
    fn any_ask()(
        call in any_call(),
        (attempt, is_idempotent, is_traced, life) in any::<(u16, bool, bool, u64)>(),
        version in "[0-9]\\.[1-9][0-9]\\.0(-rc\\.[1-9])?",
        constraint in prop::sample::select(vec!["*", "^1.2", "=1.0.0-rc.1", ">=1.2.0, <2.0.0", "1.*"]),
        resources in prop::collection::vec("[a-z]{1,48}", 0..=RESOURCES_MAX),
    ) -> Ask {
        let (version, constraint) = (version.parse().unwrap(), constraint.parse().unwrap());
        let resources = Resources::new(resources.iter().map(String::as_str)).unwrap();
        let life = Incarnation(life);
        Ask { call, attempt, is_idempotent, is_traced, life, version, constraint, resources }
    }
}

prop_compose! {
    fn any_refusal()(
        call in any_call(),
        error in prop::sample::select(CallError::ALL.to_vec()),
        (may_have_run, is_by_function) in any::<(bool, bool)>(),
        text in "\\PC{0,60}",
    ) -> Refusal {
        Refusal { call, error, may_have_run, is_by_function, text }
    }
}

prop_compose! {
    fn any_dropped()(
        call in any_call(),
        attempt in any::<u16>(),
        reason in prop::sample::select(Reason::ALL.to_vec()),
        path in prop::collection::vec(any::<u128>().prop_map(NodeId), 0..=HOP_PATH_MAX),
    ) -> Dropped {
        Dropped { call, attempt, reason, path }
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    let nodes = prop::collection::vec(any::<u128>().prop_map(NodeId), 0..=HOP_PATH_MAX);
    let clusters = prop::collection::vec(any::<u128>().prop_map(ClusterId), 0..=HOP_PATH_MAX);
    (nodes, clusters).prop_map(|(nodes, clusters)| Route { nodes, clusters })
}

fn any_ran() -> impl Strategy<Value = Option<Box<Ran>>> {
    let took = any::<u64>().prop_map(Duration::from_micros);
    let ran = (any_route(), took).prop_map(|(route, took)| Box::new(Ran { route, took }));
    prop::option::of(ran)
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any_ask().prop_map(|ask| Message::Ask(ask.into())),
        (any_call(), any::<u32>()).prop_map(|(call, have)| Message::Poll { call, have }),
        (any_call(), any::<u32>()).prop_map(|(call, have)| Message::Ack { call, have }),
        any_call().prop_map(|call| Message::Cancel { call }),
        any_call().prop_map(|call| Message::Accepted { call }),
        (any_call(), any::<u32>(), any::<bool>(), any_ran())
            .prop_map(|(call, part, is_last, ran)| Message::Answer { call, part, is_last, ran }),
        any_refusal().prop_map(|refusal| Message::Failed(refusal.into())),
        any_call().prop_map(|call| Message::Unknown { call }),
        any_dropped().prop_map(|dropped| Message::Dropped(dropped.into())),
    ]
}

proptest! {
    #[test]
    fn messages_read_back(message in any_message()) {
        let bytes = put(&message);
        prop_assert_eq!(Message::parse(&bytes), Ok(message.clone()));
        for end in 0..bytes.len() {
            prop_assert_eq!(Message::parse(&bytes[..end]), Err(ErrorCode::Malformed));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Message::parse(&longer), Err(ErrorCode::Malformed));
    }

    /// One byte of a message is otherwise: what is accepted is written so.
    #[test]
    fn changed_bytes_are_read_or_refused(message in any_message(), at: prop::sample::Index, to: u8) {
        let mut bytes = put(&message);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = Message::parse(&bytes) {
            // Spellings of versions and constraints are many, and one is written.
            prop_assert!(read.ask().is_some() || put(&read) == bytes);
            prop_assert_eq!(Message::parse(&put(&read)), Ok(read));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(read) = Message::parse(&bytes) {
            prop_assert_eq!(Message::parse(&put(&read)), Ok(read));
        }
    }
}

#[test]
fn what_is_unknown_or_over_its_bound_is_refused() {
    let call = CallId { origin: NodeId(1), number: 2 };
    let mut bytes = put(&Message::Cancel { call });
    for kind in [0, 10, 255] {
        bytes[0] = kind;
        assert_eq!(Message::parse(&bytes), Err(ErrorCode::UnknownKind));
    }
    let at = bytes.len() + 4;
    let mut bytes = put(&Message::Answer { call, part: 0, is_last: true, ran: None });
    bytes[at] = 4;
    assert_eq!(Message::parse(&bytes), Err(ErrorCode::ReservedBits));

    let path = vec![NodeId(3); HOP_PATH_MAX + 1];
    let dropped = Dropped { call, attempt: 1, reason: Reason::NoRoute, path };
    let mut bytes = put(&Message::Dropped(dropped.into()));
    let Ok(Message::Dropped(read)) = Message::parse(&bytes) else { panic!() };
    assert_eq!(read.path.len(), HOP_PATH_MAX, "cut");
    bytes[28] += 1;
    bytes.extend([0; 16]);
    assert_eq!(Message::parse(&bytes), Err(ErrorCode::Malformed));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let call = CallId { origin: NodeId(1), number: 2 };
    let text = "é".repeat(200);
    let error = CallError::WorkerFailed;
    let refusal = Refusal { call, error, may_have_run: true, is_by_function: true, text };
    let Ok(Message::Failed(read)) = Message::parse(&put(&Message::Failed(refusal.into()))) else {
        panic!()
    };
    assert_eq!(read.text, "é".repeat(127));
}

#[test]
fn a_long_route_is_cut_and_a_longer_one_refused() {
    let call = CallId { origin: NodeId(1), number: 2 };
    let nodes = vec![NodeId(3); HOP_PATH_MAX + 1];
    let clusters = vec![ClusterId(4); HOP_PATH_MAX + 1];
    let ran = Ran { route: Route { nodes, clusters }, took: Duration::from_micros(7) };
    let answer = Message::Answer { call, part: 0, is_last: true, ran: Some(ran.into()) };
    let mut bytes = put(&answer);
    assert_eq!(bytes.len(), CALL_HEAD_BYTES_MAX);
    let Ok(Message::Answer { ran: Some(ran), .. }) = Message::parse(&bytes) else { panic!() };
    assert_eq!((ran.route.nodes.len(), ran.route.cluster_hops()), (HOP_PATH_MAX, HOP_PATH_MAX - 1));
    let count = 1 + 16 + 8 + 5 + 8;
    assert_eq!(usize::from(bytes[count]), HOP_PATH_MAX);
    bytes[count] += 1;
    bytes.splice(count + 1..count + 1, [0; 16]);
    assert_eq!(Message::parse(&bytes), Err(ErrorCode::Malformed));
}

/// The longest of each part at once.
#[test]
fn the_fullest_call_fits() {
    let names: Vec<String> = (0..RESOURCES_MAX).map(|n| format!("{n}{}", "r".repeat(47))).collect();
    let constraint = format!("<1.0.0-{}", "a".repeat(CONSTRAINT_BYTES_MAX - 7));
    let ask = Ask {
        call: CallId { origin: NodeId(u128::MAX), number: u64::MAX },
        attempt: u16::MAX,
        is_idempotent: true,
        is_traced: true,
        life: Incarnation(u64::MAX),
        version: format!("1.0.0-{}", "a".repeat(58)).parse().unwrap(),
        constraint: constraint.parse().unwrap(),
        resources: Resources::new(names.iter().map(String::as_str)).unwrap(),
    };
    let message = Message::Ask(ask.into());
    assert_eq!(Message::parse(&put(&message)), Ok(message));
}

#[test]
fn every_error_survives_the_wire_and_no_other_number_does() {
    for error in CallError::ALL {
        assert_eq!(CallError::from_wire(error.as_wire()), Some(error));
    }
    let known = (0..=u8::MAX).filter(|&n| CallError::from_wire(n).is_some()).count();
    assert_eq!(known, CallError::ALL.len());
}

#[test]
fn numbers_name_their_shard_and_targets_what_is_known() {
    let shard = ShardIx::new(5).unwrap();
    let job = JobId::new(shard, 77);
    assert_eq!((job.shard(), job.to_string()), (Some(shard), "5-77".into()));
    assert_eq!(JobId(u64::MAX).shard(), None);
    let call = CallId::new(NodeId(1), Incarnation(3), shard, 9);
    assert_eq!((call.stream(), call.count()), (3 << 6 | 5, 9));
    let name: FunctionName = "sum".parse().unwrap();
    let target = Target { name, cluster: None, node: None };
    assert_eq!(target.to_string(), "sum");
    let target = Target { node: Some(NodeId(1)), cluster: Some(ClusterId(2)), ..target };
    let text = target.to_string();
    assert_eq!(text, format!("sum@{:032x} in {:032x}", 1, 2));
}
