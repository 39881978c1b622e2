//! Calls over sockets: what is said, how they end, and what becomes of them when the connection is lost.

use std::time::Duration;

use mpreg_client::limits::CALL_GRACE;
use mpreg_client::{CallError, CallFailed, Client, Encoding, Route, Trace, Value};
use mpreg_proto::frame::{Answer, CallFailed as Failed, Path, Rpc, TraceBlock};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use crate::router::{Peer, Router, within};

fn answer(number: u64, is_last: bool, payload: &[u8]) -> Rpc<'_> {
    let answer = Answer { number, is_last, encoding: Encoding::Json, payload };
    Rpc::Result { answer, trace: None }
}

#[tokio::test]
async fn a_traced_call_says_after_its_last_part_which_way_it_went() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let route = |nodes: &[u128], clusters: &[u128]| Route {
        nodes: nodes.iter().copied().map(NodeId).collect(),
        clusters: clusters.iter().copied().map(ClusterId).collect(),
    };
    let trace = Trace {
        call: route(&[1, 2, 3], &[7, 8]),
        answer: route(&[3, 1], &[8, 7]),
        took: Duration::from_micros(900),
        ran: Duration::from_micros(70),
    };
    let mut parts = within(client.call("sum").traced().stream("x")).await.unwrap();
    peer.hears("call 1 sum traced x").await;
    peer.say_rpc(answer(1, false, b"1")).await;
    assert_eq!(within(parts.next()).await, Some(Ok(Value::json("1"))));
    assert_eq!(parts.trace(), None);
    let mut room = Vec::new();
    let block = Some(TraceBlock::write(&trace, &mut room));
    let Rpc::Result { answer, .. } = answer(1, true, b"2") else { panic!() };
    peer.say_rpc(Rpc::Result { answer, trace: block }).await;
    assert_eq!(within(parts.next()).await, Some(Ok(Value::json("2"))));
    assert_eq!(parts.trace(), Some(&trace));
    assert_eq!(trace.cluster_hops(), 2);
}

/// Calls `sum` once.
async fn sum(client: &Client, payload: &str) -> Result<Value, CallFailed> {
    within(client.call("sum").send(payload)).await
}

#[tokio::test]
async fn everything_a_call_asks_for_is_said() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let call = client
        .call("math.sum")
        .version("^1.2")
        .deadline(Duration::MAX)
        .resource("ssd")
        .resource("gpu")
        .cluster("eu")
        .idempotent()
        .hedge_after(Duration::from_millis(50));
    let router_side = async {
        peer.hears("call 1 math.sum ^1.2 in eu +gpu +ssd idempotent hedge=50 [1]").await;
        peer.say_rpc(answer(1, true, b"2")).await;
    };
    let (result, ()) = tokio::join!(within(call.send(Value::json("[1]"))), router_side);
    assert_eq!(result, Ok(Value::json("2")));
}

#[tokio::test]
async fn what_is_no_call_is_not_said() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let call = || client.call("sum");
    assert!(matches!(client.call("a b").send("").await, Err(CallFailed::Name(_))));
    assert!(matches!(call().version("1.2").send("").await, Err(CallFailed::Constraint(_))));
    assert!(matches!(call().resource("a b").send("").await, Err(CallFailed::Resource(_))));
    let cluster = Err(CallFailed::Cluster("E U".to_owned()));
    assert_eq!(call().cluster("E U").send("").await, cluster);
    let hedged = call().hedge_after(Duration::from_millis(1)).send("").await;
    assert_eq!(hedged, Err(CallFailed::Hedge));
    let large = vec![0; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(call().send(large).await, Err(CallFailed::TooLarge));
    client.publish("a", b"next").await.unwrap();
    peer.hears("data a next").await;
}

#[tokio::test]
async fn a_failure_says_why_where_and_whether_it_may_have_run() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        peer.hears("call 1 sum [1]").await;
        let path = Path::wire(&[NodeId(1), NodeId(2)]);
        peer.say_rpc(Rpc::CallFailed(Failed {
            number: 1,
            code: CallError::WorkerFailed,
            may_have_run: true,
            cluster: ClusterId(0),
            node: NodeId(2),
            path: Path::of(&path),
            text: "division by zero",
        }))
        .await;
    };
    let (result, ()) = tokio::join!(sum(&client, "[1]"), router_side);
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.may_have_run()), (Some(CallError::WorkerFailed), true));
    let CallFailed::Failed(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.path, [NodeId(1), NodeId(2)]);
    let want = "sum@00000000000000000000000000000002: worker_failed: division by zero";
    assert_eq!(failure.to_string(), want);
}

#[tokio::test]
async fn parts_come_one_by_one_and_are_not_a_plain_result() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async |peer: &mut Peer, number: u64| {
        peer.hears(&format!("call {number} sum ")).await;
        for (is_last, payload) in [(false, b"1"), (false, b"2"), (true, b"3")] {
            peer.say_rpc(answer(number, is_last, payload)).await;
        }
    };
    let (parts, ()) =
        tokio::join!(within(client.call("sum").stream("")), router_side(&mut peer, 1));
    let mut parts = parts.unwrap();
    for want in ["1", "2", "3"] {
        assert_eq!(within(parts.next()).await, Some(Ok(Value::json(want))));
    }
    assert_eq!(within(parts.next()).await, None);
    let (plain, ()) = tokio::join!(sum(&client, ""), router_side(&mut peer, 2));
    assert_eq!(plain, Err(CallFailed::Streamed));
    // Its last part may have come before it was given up.
    client.publish("a", b"next").await.unwrap();
    let next = peer.hear().await;
    assert!(["cancel 2", "data a next"].contains(&&*next), "{next}");
}

#[tokio::test]
async fn whoever_stops_waiting_cancels() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    {
        let call = client.call("sum").send("[1]");
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("nobody answered"),
            () = peer.hears("call 1 sum [1]") => (),
        }
    }
    peer.hears("cancel 1").await;
    let (parts, ()) =
        tokio::join!(within(client.call("sum").stream("")), peer.hears("call 2 sum "));
    drop(parts);
    peer.hears("cancel 2").await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_says_nothing_does_not_outlast_the_deadline() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let (deadline, before) = (Duration::from_secs(1), tokio::time::Instant::now());
    let call = client.call("sum").deadline(deadline).send("[1]");
    let error = call.await.unwrap_err();
    assert_eq!((error.code(), error.may_have_run()), (Some(CallError::Deadline), true));
    assert!(before.elapsed() < deadline + CALL_GRACE + Duration::from_millis(100));
    peer.hears("call 1 sum [1]").await;
    peer.hears("cancel 1").await;
}

#[tokio::test]
async fn a_call_of_a_lost_connection_is_made_again_only_if_it_may_run_twice() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        peer.hears("call 1 sum [1]").await;
        peer.hears("call 2 sum idempotent hedge=0 [2]").await;
        drop(peer);
        let mut peer = router.accept().await;
        peer.hears("call 3 sum idempotent hedge=0 [2]").await;
        peer.say_rpc(answer(3, true, b"3")).await;
        peer
    };
    let once = sum(&client, "[1]");
    let twice = async {
        // Behind the other.
        tokio::task::yield_now().await;
        within(client.call("sum").idempotent().send("[2]")).await
    };
    let (once, twice, mut peer) = tokio::join!(once, twice, router_side);
    assert_eq!(once, Err(CallFailed::Disconnected));
    assert_eq!(twice, Ok(Value::json("3")));
    client.publish("a", b"next").await.unwrap();
    peer.hears("data a next").await;
}

#[tokio::test]
async fn without_a_connection_a_call_waits_for_one_until_its_deadline() {
    let router = Router::start().await;
    let (client, peer) = router.client().await;
    let mut events = client.events();
    drop(peer);
    within(events.next()).await.unwrap();
    let short = client.call("sum").deadline(Duration::from_millis(20)).send("[1]");
    let error = within(short).await.unwrap_err();
    assert_eq!((error.code(), error.may_have_run()), (Some(CallError::Deadline), false));
    let router_side = async {
        let mut peer = router.accept().await;
        peer.hears("call 1 sum [2]").await;
        peer.say_rpc(answer(1, true, b"3")).await;
    };
    let (result, ()) = tokio::join!(sum(&client, "[2]"), router_side);
    assert_eq!(result, Ok(Value::json("3")));
}

#[tokio::test]
async fn a_router_without_functions_is_not_asked() {
    let mut router = Router::start().await;
    router.features = 0;
    let (client, mut peer) = router.client().await;
    assert_eq!(sum(&client, "").await, Err(CallFailed::Unsupported));
    client.publish("a", b"next").await.unwrap();
    peer.hears("data a next").await;
}
