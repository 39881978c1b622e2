//! Requests and replies: one inbox for all, typed failures, deadlines that travel.

use std::time::Duration;

use mpreg_client::{Encoding, Priority, Publish, PublishError, ReplyError, RequestError, Sid};
use mpreg_proto::frame::Frame;

use crate::router::{Router, within};

const PATIENCE: Duration = Duration::from_secs(10);

/// The reply topic of a request as the router heard it.
fn reply_topic(request: &str) -> String {
    let reply = request.split(' ').find_map(|part| part.strip_prefix("reply="));
    reply.expect("a request").to_owned()
}

#[tokio::test]
async fn requests_share_one_inbox_and_find_their_replies_in_any_order() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let ask = |payload: &'static [u8]| {
        let client = client.clone();
        async move {
            let reply = client.request("service", payload, PATIENCE).await.unwrap();
            (payload.to_vec(), reply.payload().to_vec())
        }
    };
    let router_side = async {
        let inbox = peer.hear().await;
        assert!(inbox.starts_with("subscribe 1 _INBOX.") && inbox.ends_with(".*"), "{inbox}");
        peer.say(Frame::Subscribed { sid: Sid(1) }).await;
        let requests = [peer.hear().await, peer.hear().await, peer.hear().await];
        for request in requests.iter().rev() {
            let payload = request.rsplit(' ').next().unwrap();
            peer.publish(&reply_topic(request), &format!("re {payload}")).await;
        }
    };
    let asked = async { tokio::join!(ask(b"1"), ask(b"2"), ask(b"3")) };
    let (answers, ()) = tokio::join!(within(asked), router_side);
    for (payload, reply) in [answers.0, answers.1, answers.2] {
        assert_eq!(reply, [b"re ", &payload[..]].concat());
    }
}

#[tokio::test]
async fn no_responders_and_silence_are_told_apart() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        let _inbox = peer.hear().await;
        peer.say(Frame::Subscribed { sid: Sid(1) }).await;
        let reply = reply_topic(&peer.hear().await);
        peer.say(Frame::NoResponders { reply: reply.as_bytes() }).await;
        let late = reply_topic(&peer.hear().await);
        let served = reply_topic(&peer.hear().await);
        // The second request has timed out by the time the third comes.
        peer.publish(&late, "late").await;
        peer.publish(&served, "in time").await;
    };
    let asker = async {
        let nobody = client.request("nobody", b"", PATIENCE).await;
        assert_eq!(nobody.unwrap_err(), RequestError::NoResponders);
        let silent = client.request("silent", b"", Duration::from_millis(20)).await;
        assert_eq!(silent.unwrap_err(), RequestError::Timeout);
        let served = client.request("served", b"", PATIENCE).await.unwrap();
        assert_eq!(served.payload(), b"in time");
    };
    tokio::join!(within(asker), router_side);
    assert_eq!(client.counts().late_replies, 1);
}

#[tokio::test]
async fn a_deadline_holds_from_the_first_step() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let short = Duration::from_millis(20);
    // The router never confirms the inbox.
    assert_eq!(client.request("a", b"", short).await.unwrap_err(), RequestError::Timeout);
    assert!(peer.hear().await.starts_with("subscribe 1 "));
    let bad = within(client.request("a..b", b"", short)).await;
    assert_eq!(bad.unwrap_err(), RequestError::Timeout, "asked again, not confirmed again");
    peer.hears("unsubscribe 1 0").await;
    assert!(peer.hear().await.starts_with("subscribe 2 "));
    let (bad, ()) = tokio::join!(within(client.request("a..b", b"", PATIENCE)), async {
        peer.hears("unsubscribe 2 0").await;
        assert!(peer.hear().await.starts_with("subscribe 3 "));
        peer.say(Frame::Subscribed { sid: Sid(3) }).await;
    });
    assert_eq!(bad.unwrap_err(), RequestError::Publish(PublishError::BadTopic));
}

#[tokio::test]
async fn a_responder_sees_the_deadline_and_replies_within_it() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let (sub, ()) = tokio::join!(client.subscribe("service"), peer.confirm("subscribe 1 service"));
    let mut sub = sub.unwrap();
    let request = |deadline_ms| Publish {
        topic: b"service",
        reply: b"answers.here",
        headers: b"",
        payload: b"?",
        priority: Priority::High,
        encoding: Encoding::Text,
        deadline_ms,
    };
    peer.publish_with(request(60_000)).await;
    let asked = within(sub.next()).await.unwrap();
    let left = asked.deadline().unwrap().duration_since(std::time::Instant::now());
    assert!(Duration::from_secs(30) < left && left <= Duration::from_secs(60), "{left:?}");
    asked.reply(b"!").await.unwrap();
    peer.hears("data answers.here deadline !").await;

    peer.publish_with(request(0)).await;
    within(sub.next()).await.unwrap().reply(b"!").await.unwrap();
    peer.hears("data answers.here !").await;

    peer.publish_with(request(1)).await;
    let stale = within(sub.next()).await.unwrap();
    while std::time::Instant::now() < stale.deadline().unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stale.reply(b"!").await, Err(ReplyError::Expired));

    peer.publish("service", "no question").await;
    let statement = within(sub.next()).await.unwrap();
    assert_eq!(statement.reply(b"!").await, Err(ReplyError::NotARequest));
}

#[tokio::test]
async fn the_deadline_of_a_request_travels_with_it() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        let _inbox = peer.hear().await;
        peer.say(Frame::Subscribed { sid: Sid(1) }).await;
        let request = peer.hear().await;
        assert!(request.contains(" deadline "), "{request}");
        peer.publish(&reply_topic(&request), "").await;
    };
    let (reply, ()) = tokio::join!(within(client.request("a", b"?", PATIENCE)), router_side);
    reply.unwrap();
}

#[tokio::test]
async fn a_reply_can_be_a_request_in_turn() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        let _inbox = peer.hear().await;
        peer.say(Frame::Subscribed { sid: Sid(1) }).await;
        let topic = reply_topic(&peer.hear().await);
        let question = Publish { topic: topic.as_bytes(), reply: b"more", ..Publish::default() };
        peer.publish_with(question).await;
    };
    let (reply, ()) = tokio::join!(within(client.request("a", b"", PATIENCE)), router_side);
    reply.unwrap().reply(b"here").await.unwrap();
    peer.hears("data more here").await;
}
