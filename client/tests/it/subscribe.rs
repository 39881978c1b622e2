//! What a client receives: matching, groups, limits, late readers, drain.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use mpreg_client::{
    DrainError, Ended, ErrorCode, Event, Message, Overload, Publish, RequestError, Sid,
    SubscribeError, SubscribeOptions, Subscription,
};
use mpreg_proto::frame::{Frame, Refusal};

use crate::router::{Peer, Router, within};

/// Subscribes as number `sid` and has it confirmed.
async fn subscribe(
    client: &mpreg_client::Client,
    peer: &mut Peer,
    sid: u32,
    pattern: &str,
) -> Subscription {
    let want = format!("subscribe {sid} {pattern}");
    let (sub, ()) = tokio::join!(client.subscribe(pattern), peer.confirm(&want));
    sub.unwrap()
}

#[track_caller]
fn next(sub: &mut Subscription) -> impl Future<Output = String> {
    let message = within(sub.next());
    async move { text(message.await) }
}

fn text(message: Option<Message>) -> String {
    message.map_or("end".to_owned(), |m| String::from_utf8_lossy(m.payload()).into_owned())
}

#[tokio::test]
async fn messages_reach_the_subscriptions_that_match() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut exact = subscribe(&client, &mut peer, 1, "a.b").await;
    let mut wide = subscribe(&client, &mut peer, 2, "a.*").await;
    peer.publish("a.b", "1").await;
    peer.publish("a.c", "2").await;
    peer.publish("a.b", "3").await;
    assert_eq!([next(&mut exact).await, next(&mut exact).await], ["1", "3"]);
    let stream = std::future::poll_fn(|context| Pin::new(&mut wide).poll_next(context));
    assert_eq!(text(within(stream).await), "1");
    assert_eq!([next(&mut wide).await, next(&mut wide).await], ["2", "3"]);
}

#[tokio::test]
async fn groups_and_policies_go_to_the_router_and_addressed_messages_to_the_member() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let options = SubscribeOptions {
        pattern: "jobs.*",
        group: "workers",
        overload: Overload::DropNewest,
        ..SubscribeOptions::default()
    };
    let confirm = peer.confirm("subscribe 1 jobs.* group=workers DropNewest");
    let (member, ()) = tokio::join!(client.subscribe_with(options), confirm);
    let mut member = member.unwrap();
    let mut plain = subscribe(&client, &mut peer, 2, "jobs.*").await;
    peer.say(Frame::For { sid: Sid(1) }).await;
    peer.publish("jobs.new", "job").await;
    peer.publish("jobs.new", "notice").await;
    assert_eq!(next(&mut member).await, "job");
    assert_eq!(next(&mut plain).await, "notice");
}

#[tokio::test]
async fn a_refusal_is_typed_and_a_given_up_call_undoes_itself() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let refuse = async {
        peer.hears("subscribe 1 a").await;
        let code = ErrorCode::TooManySubscriptions;
        peer.say(Frame::Error(Refusal { code, sid: Sid(1), text: "full" })).await;
    };
    let (refused, ()) = tokio::join!(within(client.subscribe("a")), refuse);
    let (code, text) = (ErrorCode::TooManySubscriptions, "full".to_owned());
    assert_eq!(refused.unwrap_err(), SubscribeError::Refused { code, text });
    assert_eq!(client.subscribe("a b").await.unwrap_err(), SubscribeError::BadPattern);

    let given_up = tokio::time::timeout(Duration::from_millis(1), client.subscribe("b")).await;
    assert!(given_up.is_err());
    peer.hears("subscribe 2 b").await;
    peer.hears("unsubscribe 2 0").await;
}

#[tokio::test]
async fn a_stream_ends_after_the_number_of_messages_asked_for() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut sub = subscribe(&client, &mut peer, 1, "a").await;
    sub.unsubscribe_after(NonZeroU32::new(2).unwrap());
    peer.hears("unsubscribe 1 2").await;
    for payload in ["1", "2", "3"] {
        peer.publish("a", payload).await;
    }
    assert_eq!(
        [next(&mut sub).await, next(&mut sub).await, next(&mut sub).await],
        ["1", "2", "end"]
    );
    assert_eq!(sub.ended(), Some(Ended::Unsubscribed));
}

#[tokio::test]
async fn an_unsubscribed_stream_ends_when_the_router_says_so() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut sub = subscribe(&client, &mut peer, 1, "a").await;
    sub.unsubscribe();
    peer.hears("unsubscribe 1 0").await;
    peer.publish("a", "on its way").await;
    peer.say(Frame::Unsubscribed { sid: Sid(1) }).await;
    assert_eq!([next(&mut sub).await, next(&mut sub).await], ["on its way", "end"]);
}

#[tokio::test]
async fn a_late_reader_delays_neither_others_nor_replies() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    let options =
        SubscribeOptions { pattern: "a", inbox_bytes: 1000, ..SubscribeOptions::default() };
    let (late, ()) = tokio::join!(client.subscribe_with(options), peer.confirm("subscribe 1 a"));
    let mut late = late.unwrap();
    let mut prompt = subscribe(&client, &mut peer, 2, "*").await;

    let router_side = async {
        for number in 0..1000 {
            peer.publish("a", &number.to_string()).await;
        }
        assert!(peer.hear().await.starts_with("subscribe 3 _INBOX."));
        peer.say(Frame::Subscribed { sid: Sid(3) }).await;
        let request = peer.hear().await;
        let reply = request.split("reply=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        peer.publish(&reply, "yes").await;
    };
    let reader = async {
        for number in 0..1000 {
            assert_eq!(next(&mut prompt).await, number.to_string());
        }
        text(client.request("service", b"", Duration::from_secs(10)).await.ok())
    };
    let (answer, ()) = tokio::join!(reader, router_side);
    assert_eq!(answer, "yes");

    let kept = 1000 - late.dropped();
    assert!(0 < kept && kept < 10, "kept {kept} messages in 1000 bytes");
    assert_eq!(client.counts().overrun, late.dropped());
    assert_eq!(next(&mut late).await, (1000 - kept).to_string(), "the latest are kept");
    let dropped = 1;
    assert_eq!(within(events.next()).await, Some(Event::Lagging { sid: Sid(1), dropped }));
}

#[tokio::test]
async fn messages_survive_any_cut_of_the_byte_stream() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut sub = subscribe(&client, &mut peer, 1, "*").await;
    let mut bytes = Vec::new();
    for number in 0..200_u32 {
        let payload = "x".repeat(number as usize * 37 % 5000) + &number.to_string();
        let publish = Publish { topic: b"t", payload: payload.as_bytes(), ..Publish::default() };
        publish.put(&mut bytes).unwrap();
        Frame::Pong { token: 0 }.put(&mut bytes);
    }
    fastrand::seed(11);
    let say = async {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(fastrand::usize(1..=3000).min(rest.len()));
            peer.say_bytes(piece).await;
            rest = after;
        }
    };
    let hear = async {
        for number in 0..200_u32 {
            let payload = next(&mut sub).await;
            assert_eq!(payload.trim_start_matches('x'), number.to_string());
            assert_eq!(payload.len(), number as usize * 37 % 5000 + number.to_string().len());
        }
    };
    tokio::join!(say, hear);
}

#[tokio::test]
async fn a_drain_brings_in_everything_and_leaves_publishing_open() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut sub = subscribe(&client, &mut peer, 1, "a").await;
    let mut events = client.events();
    let router_side = async {
        peer.hears("drain").await;
        let request = Publish { topic: b"a", reply: b"r", payload: b"last", ..Publish::default() };
        peer.publish_with(request).await;
        peer.say(Frame::Drained).await;
    };
    let (drained, ()) = tokio::join!(within(client.drain()), router_side);
    assert_eq!(drained, Ok(()));
    let last = within(sub.next()).await.unwrap();
    last.reply(b"answered").await.unwrap();
    peer.hears("data r answered").await;
    assert_eq!(next(&mut sub).await, "end");
    assert_eq!(sub.ended(), Some(Ended::Drained));

    assert_eq!(client.drain().await, Err(DrainError::Drained));
    assert_eq!(client.subscribe("b").await.unwrap_err(), SubscribeError::Drained);
    let refused = client.request("b", b"", Duration::from_secs(1)).await;
    assert_eq!(refused.unwrap_err(), RequestError::Drained);

    drop(peer);
    assert!(matches!(within(events.next()).await, Some(Event::Disconnected { .. })));
    assert_eq!(within(events.next()).await, Some(Event::Closed), "not replaced");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let draining = tokio::spawn(async move { client.drain().await });
    peer.hears("drain").await;
    tokio::time::pause();
    while !draining.is_finished() {
        // Pings are answered: it is not for silence that the drain is given up.
        peer.say(Frame::Pong { token: 0 }).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(draining.await.unwrap(), Err(DrainError::Timeout));
}
