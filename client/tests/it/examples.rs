//! The examples, against a broker: what they claim holds. CI also runs them against the router.

use crate::broker;
use crate::router::within;

#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../examples/call.rs"]
mod call;
#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../examples/publish_subscribe.rs"]
mod publish_subscribe;
#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../examples/queue_group.rs"]
mod queue_group;
#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../examples/request_reply.rs"]
mod request_reply;
#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../examples/serve.rs"]
mod serve;

#[tokio::test]
async fn publish_subscribe_completes() {
    within(publish_subscribe::run(&broker::start().await)).await.unwrap();
}

#[tokio::test]
async fn request_reply_completes() {
    within(request_reply::run(&broker::start().await)).await.unwrap();
}

#[tokio::test]
async fn queue_group_completes() {
    within(queue_group::run(&broker::start().await)).await.unwrap();
}

#[tokio::test]
async fn call_completes() {
    within(call::run(&broker::start().await)).await.unwrap();
}

#[tokio::test]
async fn serve_completes() {
    within(serve::run(&broker::start().await)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_complete() {
    let url = broker::start().await;
    for _ in 0..5 {
        let both = async { tokio::join!(publish_subscribe::run(&url), request_reply::run(&url)) };
        let (first, second) = within(both).await;
        first.unwrap();
        second.unwrap();
    }
}
