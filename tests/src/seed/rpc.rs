//! One frame of each kind about functions, and some at their bounds.

use core::time::Duration;

use mpreg_proto::call::{CallError, Route, Trace};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::frame::{
    Answer, Call, CallFailed, Frame, Invoke, Path, Register, ResourceNames, Rpc, TraceBlock,
    Unregistered, Why,
};
use mpreg_proto::function::Resources;
use mpreg_proto::id::{ClusterId, NodeId};

use super::bytes_of;

/// Names and bytes.
pub(super) fn every_frame() -> Vec<(&'static str, Vec<u8>)> {
    let mut room = Vec::new();
    let resources = Resources::new(["gpu", "ssd"]).expect("two names");
    let resources = ResourceNames::write(&resources, &mut room);
    let (number, limit) = (3, 4);
    let register = Register { number, limit, id: 0, name: "sum", version: "1.2.0", resources };
    let call = Call {
        number: 7,
        deadline_ms: 250,
        hedge_after_ms: 50,
        is_idempotent: true,
        is_traced: true,
        encoding: Encoding::Json,
        cluster: "eu",
        name: "math.sum",
        constraint: ">=1.2, <2",
        resources,
        payload: b"[2]",
    };
    let plain = Call {
        hedge_after_ms: 0,
        is_idempotent: false,
        is_traced: false,
        cluster: "",
        constraint: "",
        resources: ResourceNames::NONE,
        payload: b"",
        ..call
    };
    let answer = Answer { number: 7, is_last: true, encoding: Encoding::Json, payload: b"2" };
    let part = Answer { is_last: false, ..answer };
    let trace = trace();
    let mut trace_room = Vec::new();
    let trace = Some(TraceBlock::write(&trace, &mut trace_room));
    let path = Path::wire(&[NodeId(1), NodeId(2)]);
    let failed = CallFailed {
        number: 7,
        code: CallError::WorkerFailed,
        may_have_run: true,
        cluster: ClusterId(9),
        node: NodeId(2),
        path: Path::of(&path),
        text: "division by zero",
    };
    let invoke =
        Invoke { job: 5, number, deadline_ms: 249, encoding: Encoding::Json, payload: b"[2]" };
    let gone = Unregistered { number, why: Why::NameTaken, text: "by another node" };
    let rpcs = [
        ("register", Rpc::Register(register)),
        ("registered", Rpc::Registered { number }),
        ("unregister", Rpc::Unregister { number }),
        ("unregistered", Rpc::Unregistered(gone)),
        ("health", Rpc::Health { number, is_well: false }),
        ("call", Rpc::Call(call)),
        ("call-plain", Rpc::Call(plain)),
        ("cancel", Rpc::Cancel { number: 7 }),
        ("result", Rpc::Result { answer, trace: None }),
        ("result-part", Rpc::Result { answer: part, trace: None }),
        ("result-traced", Rpc::Result { answer, trace }),
        ("call-failed", Rpc::CallFailed(failed)),
        ("call-failed-nowhere", Rpc::CallFailed(CallFailed { path: Path::default(), ..failed })),
        ("invoke", Rpc::Invoke(invoke)),
        ("withdraw", Rpc::Withdraw { job: 5 }),
        ("reply", Rpc::Reply(Answer { number: 5, ..answer })),
        ("reply-failed", Rpc::ReplyFailed { job: 5, text: "division by zero" }),
    ];
    rpcs.into_iter().map(|(name, rpc)| (name, bytes_of(Frame::Rpc(rpc)))).collect()
}

/// There and back, over a link between clusters.
fn trace() -> Trace {
    let route = |nodes: [u128; 2], clusters: [u128; 2]| Route {
        nodes: nodes.map(NodeId).into(),
        clusters: clusters.map(ClusterId).into(),
    };
    Trace {
        call: route([1, 2], [8, 9]),
        answer: route([2, 1], [9, 8]),
        took: Duration::from_micros(900),
        ran: Duration::from_micros(70),
    }
}
