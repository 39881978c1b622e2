//! Workers over sockets: registered, given jobs, told that nobody waits, and registered again.

use std::num::NonZeroU32;

use mpreg_client::{Client, Dismissed, Encoding, Function, JobError, ServeError, Value, Worker};
use mpreg_proto::frame::{Frame, Invoke, Rpc, Unregistered, Why};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use crate::router::{Peer, Router, within};

const SUM: Function<'static> = Function {
    name: "sum",
    id: None,
    version: "1.2.0",
    resources: &["gpu"],
    limit: NonZeroU32::new(2).unwrap(),
};

async fn invoke(peer: &mut Peer, job: u64, payload: &[u8]) {
    let (number, deadline_ms, encoding) = (1, 10_000, Encoding::Json);
    peer.say_rpc(Rpc::Invoke(Invoke { job, number, deadline_ms, encoding, payload })).await;
}

async fn confirm(peer: &mut Peer) {
    peer.hears("register 1 sum 1.2.0 limit=2 +gpu").await;
    peer.say_rpc(Rpc::Registered { number: 1 }).await;
}

async fn serving(router: &Router) -> (Client, Peer, Worker) {
    let (client, mut peer) = router.client().await;
    let (worker, ()) = tokio::join!(within(client.serve(SUM)), confirm(&mut peer));
    (client, peer, worker.unwrap())
}

#[tokio::test]
async fn jobs_are_answered_with_a_value_with_parts_or_with_a_failure() {
    let router = Router::start().await;
    let (_client, mut peer, mut worker) = serving(&router).await;
    invoke(&mut peer, 5, b"[1]").await;
    invoke(&mut peer, 6, b"[2]").await;
    let one = within(worker.next()).await.unwrap();
    let mut other = within(worker.next()).await.unwrap();
    assert_eq!((one.payload(), other.value()), (&b"[1]"[..], &Value::json("[2]")));
    assert!(one.deadline().is_some() && !one.is_withdrawn());
    other.part("half").await.unwrap();
    other.reply("rest").await.unwrap();
    one.fail("no");
    peer.hears("part 6 half").await;
    peer.hears("reply 6 rest").await;
    peer.hears("failed 5 no").await;
    invoke(&mut peer, 7, b"").await;
    drop(within(worker.next()).await.unwrap());
    peer.hears("failed 7 the worker dropped the job").await;
    invoke(&mut peer, 8, b"").await;
    let large = vec![0; PAYLOAD_BYTES_MAX + 1];
    let job = within(worker.next()).await.unwrap();
    assert_eq!(job.reply(large).await, Err(JobError::TooLarge));
    peer.hears("failed 8 the result is larger than a frame").await;
}

#[tokio::test]
async fn a_refused_function_is_not_served() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        peer.hears("register 1 sum 1.2.0 limit=2 +gpu").await;
        let (why, text) = (Why::IdTaken, "of other");
        peer.say_rpc(Rpc::Unregistered(Unregistered { number: 1, why, text })).await;
    };
    let (refused, ()) = tokio::join!(within(client.serve(SUM)), router_side);
    let error = refused.err().unwrap();
    assert_eq!(error.to_string(), "router refused the function: id_taken of other");
    let bad = Function { version: "1.2", ..SUM };
    assert!(matches!(client.serve(bad).await, Err(ServeError::Version(_))));
    let bad = Function { name: "", ..SUM };
    assert!(matches!(client.serve(bad).await, Err(ServeError::Name(_))));
    let bad = Function { resources: &[" "], ..SUM };
    assert!(matches!(client.serve(bad).await, Err(ServeError::Resource(_))));
}

#[tokio::test]
async fn a_worker_hears_that_nobody_waits() {
    let router = Router::start().await;
    let (_client, mut peer, mut worker) = serving(&router).await;
    for job in [1, 2] {
        invoke(&mut peer, job, b"").await;
    }
    let [one, other] = [within(worker.next()).await.unwrap(), within(worker.next()).await.unwrap()];
    let waiting = async {
        within(one.withdrawn()).await;
        within(one.withdrawn()).await;
        assert!(one.is_withdrawn() && !other.is_withdrawn());
    };
    tokio::join!(waiting, peer.say_rpc(Rpc::Withdraw { job: 1 }));
    one.reply("late").await.unwrap();
    peer.hears("reply 1 late").await;
    drop(peer);
    within(other.withdrawn()).await;
    assert_eq!(other.reply("lost").await, Err(JobError::Disconnected));
}

#[tokio::test]
async fn a_function_is_registered_again_with_its_health() {
    let router = Router::start().await;
    let (client, mut peer, mut worker) = serving(&router).await;
    worker.set_well(false);
    peer.hears("health 1 false").await;
    let mut events = client.events();
    drop(peer);
    within(events.next()).await.unwrap();
    let mut peer = router.accept().await;
    peer.hears("register 1 sum 1.2.0 limit=2 +gpu").await;
    peer.hears("health 1 false").await;
    assert!(!client.is_connected());
    peer.say_rpc(Rpc::Registered { number: 1 }).await;
    within(events.next()).await.unwrap();
    assert!(client.is_connected());
    worker.set_well(true);
    peer.hears("health 1 true").await;
    invoke(&mut peer, 1, b"").await;
    within(worker.next()).await.unwrap().reply("again").await.unwrap();
    peer.hears("reply 1 again").await;
}

#[tokio::test]
async fn a_worker_that_leaves_answers_what_it_was_given() {
    let router = Router::start().await;
    let (client, mut peer, mut worker) = serving(&router).await;
    worker.unregister();
    invoke(&mut peer, 1, b"").await;
    peer.hears("unregister 1").await;
    let gone = Unregistered { number: 1, why: Why::Asked, text: "" };
    peer.say_rpc(Rpc::Unregistered(gone)).await;
    within(worker.next()).await.unwrap().reply("done").await.unwrap();
    peer.hears("reply 1 done").await;
    assert!(within(worker.next()).await.is_none());
    assert_eq!(worker.dismissed(), Some(Dismissed::Unregistered));
    drop(worker);

    let (worker, _) = tokio::join!(within(client.serve(SUM)), async {
        peer.hears("register 2 sum 1.2.0 limit=2 +gpu").await;
        peer.say_rpc(Rpc::Registered { number: 2 }).await;
    });
    let mut worker = worker.unwrap();
    let drained = async {
        peer.hears("drain").await;
        peer.say(Frame::Drained).await;
    };
    let (drain, ()) = tokio::join!(within(client.drain()), drained);
    drain.unwrap();
    assert!(within(worker.next()).await.is_none());
    assert_eq!(worker.dismissed(), Some(Dismissed::Drained));
    assert_eq!(client.serve(SUM).await.err(), Some(ServeError::Drained));
}

#[tokio::test]
async fn a_router_that_is_leaving_still_gets_the_answers() {
    let router = Router::start().await;
    let (client, mut peer, mut worker) = serving(&router).await;
    invoke(&mut peer, 1, b"").await;
    let job = within(worker.next()).await.unwrap();
    peer.say(Frame::GoingAway).await;
    let mut events = client.events();
    within(events.next()).await.unwrap();
    client.publish("a", b"for the next one").await.unwrap();
    job.reply("done").await.unwrap();
    peer.hears("reply 1 done").await;
}

#[tokio::test]
async fn a_dropped_worker_is_unregistered() {
    let router = Router::start().await;
    let (_client, mut peer, worker) = serving(&router).await;
    drop(worker);
    peer.hears("unregister 1").await;
}
