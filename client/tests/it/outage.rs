//! Lost connections: noticed, told, replaced, and nothing kept that belonged to the old one.

use std::time::Duration;

use mpreg_client::limits::{CONNECTION_GOOD_AFTER, RESUBSCRIBE_DEADLINE};
use mpreg_client::{
    ConnectOptions, Disconnect, Ended, ErrorCode, Event, Events, PublishError, RequestError,
    SessionId, Sid,
};
use mpreg_proto::frame::{Frame, Refusal};

use crate::router::{Router, quick, within};

const CONNECTED: Event = Event::Connected { session: SessionId(1) };

#[track_caller]
fn expect(events: &mut Events, want: Event) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let event = within(events.next());
    async move { assert_eq!(event.await, Some(want), "at {caller}") }
}

fn lost(reason: Disconnect) -> Event {
    Event::Disconnected { reason }
}

#[tokio::test]
async fn resubscribes_and_only_then_sends_what_was_published_meanwhile() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    let (sub, ()) = tokio::join!(client.subscribe("a.*"), peer.confirm("subscribe 1 a.*"));
    let mut sub = sub.unwrap();
    drop(peer);
    expect(&mut events, lost(Disconnect::HungUp)).await;
    client.publish("a.b", b"meanwhile").await.unwrap();

    let mut peer = router.accept().await;
    peer.hears("subscribe 1 a.*").await;
    assert!(!client.is_connected());
    // Nothing but an answer to this may come before the subscription is confirmed.
    peer.say(Frame::Subscribed { sid: Sid(1) }).await;
    peer.hears("data a.b meanwhile").await;
    expect(&mut events, CONNECTED).await;
    assert!(client.is_connected());
    peer.publish("a.c", "after").await;
    assert_eq!(within(sub.next()).await.unwrap().payload(), b"after");
}

#[tokio::test]
async fn nothing_is_sent_before_every_subscription_is_confirmed() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let (_sub, ()) = tokio::join!(client.subscribe("a"), peer.confirm("subscribe 1 a"));
    let (_other, ()) = tokio::join!(client.subscribe("b"), peer.confirm("subscribe 2 b"));
    drop(peer);
    let mut peer = router.accept().await;
    client.publish("c", b"x").await.unwrap();
    peer.hears("subscribe 1 a").await;
    peer.hears("subscribe 2 b").await;
    peer.say(Frame::Subscribed { sid: Sid(2) }).await;
    let early = tokio::time::timeout(Duration::from_millis(50), peer.hear()).await;
    assert!(early.is_err(), "{early:?}");
    peer.say(Frame::Subscribed { sid: Sid(1) }).await;
    peer.hears("data c x").await;
}

#[tokio::test]
async fn a_reply_finds_its_request_over_a_new_connection() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let router_side = async {
        let inbox = peer.hear().await;
        peer.say(Frame::Subscribed { sid: Sid(1) }).await;
        let request = peer.hear().await;
        let reply = request.split("reply=").nth(1).unwrap().split(' ').next().unwrap();
        drop(peer);
        let mut peer = router.accept().await;
        peer.confirm(&inbox).await;
        peer.publish(reply, "still here").await;
        peer
    };
    let asked = within(client.request("a", b"", Duration::from_secs(10)));
    let (reply, _peer) = tokio::join!(asked, router_side);
    assert_eq!(reply.unwrap().payload(), b"still here");
}

#[tokio::test]
async fn a_router_that_is_leaving_gets_nothing_more() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    peer.say(Frame::GoingAway).await;
    expect(&mut events, Event::GoingAway).await;
    client.publish("a", b"kept").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), peer.hear()).await;
    assert!(early.is_err(), "{early:?}");
    drop(peer);
    let mut peer = router.accept().await;
    peer.hears("data a kept").await;
}

#[tokio::test]
async fn answers_pings() {
    let router = Router::start().await;
    let (_client, mut peer) = router.client().await;
    for token in [0, 7, u64::MAX] {
        peer.say(Frame::Ping { token }).await;
        peer.hears(&format!("pong {token}")).await;
    }
}

#[tokio::test]
async fn a_silent_router_is_pinged_and_then_given_up() {
    let router = Router::start().await;
    let options = ConnectOptions { ping_interval: Some(Duration::from_millis(20)), ..quick() };
    let (client, mut peer) = router.client_with(options).await;
    let mut events = client.events();
    for _ in 0..10 {
        peer.hears("ping 0").await;
        peer.say(Frame::Pong { token: 0 }).await;
    }
    let mut unanswered = 0;
    while peer.hear().await == "ping 0" {
        unanswered += 1;
    }
    assert!(3 <= unanswered, "gave up after {unanswered}");
    expect(&mut events, lost(Disconnect::Silent)).await;
    router.accept().await;
    expect(&mut events, CONNECTED).await;
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection_with_a_reason() {
    let malformed = |code| lost(Disconnect::Malformed(code));
    let cases: &[(&[u8], Event)] = &[
        (&[255; 8], malformed(ErrorCode::UnknownKind)),
        (&[255, 255, 255, 255, 1], malformed(ErrorCode::FrameTooLarge)),
        (&[7, 0, 0, 0, 9], malformed(ErrorCode::Malformed)),
        (&[16, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], malformed(ErrorCode::ReservedBits)),
        // A subscription is a client's to ask for.
        (&[8, 0, 0, 0, 10, 0, 0, 0], malformed(ErrorCode::UnexpectedFrame)),
        // A message whose topic is not text.
        (&[17, 0, 0, 0, 1, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255], malformed(ErrorCode::BadTopic)),
        // An address that no message follows.
        (
            &[12, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 15, 0, 0, 0],
            malformed(ErrorCode::UnexpectedFrame),
        ),
        // Half a frame, then the end.
        (&[16, 0, 0], lost(Disconnect::HungUp)),
    ];
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    for (bytes, want) in cases {
        peer.say_bytes(bytes).await;
        if *want == lost(Disconnect::HungUp) {
            drop(peer);
        }
        expect(&mut events, want.clone()).await;
        peer = router.accept().await;
        expect(&mut events, CONNECTED).await;
    }
    assert!(client.is_connected());
}

#[tokio::test]
async fn random_bytes_are_no_more_than_a_lost_connection() {
    fastrand::seed(13);
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    for _ in 0..200 {
        let length = fastrand::usize(1..200);
        let mut bytes: Vec<u8> = (0..length).map(|_| fastrand::u8(..)).collect();
        // A plausible length lets more of it be looked at.
        bytes.iter_mut().skip(1).take(3).for_each(|byte| *byte = 0);
        peer.say_bytes(&bytes).await;
        drop(peer);
        loop {
            match within(events.next()).await.expect("the client lives on") {
                Event::Disconnected { .. } => break,
                Event::GoingAway
                | Event::Refused { .. }
                | Event::NoResponders { .. }
                | Event::Lagging { .. }
                | Event::Missed { .. } => (),
                event @ (Event::Connected { .. } | Event::Closed) => panic!("{event:?}"),
            }
        }
        peer = router.accept().await;
        expect(&mut events, CONNECTED).await;
    }
    client.publish("a", b"fine").await.unwrap();
    peer.hears("data a fine").await;
}

#[tokio::test]
async fn a_fatal_error_is_told_before_the_next_attempt() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    let code = ErrorCode::SlowConsumer;
    peer.say(Frame::Error(Refusal { code, sid: Sid(0), text: "read faster" })).await;
    let text = "read faster".to_owned();
    expect(&mut events, lost(Disconnect::Refused { code, text })).await;
    router.accept().await;
    expect(&mut events, CONNECTED).await;
}

/// Lets time pass that nothing else is due in.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_router_that_does_not_confirm_subscriptions_is_given_up() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let mut events = client.events();
    let (_sub, ()) = tokio::join!(client.subscribe("a"), peer.confirm("subscribe 1 a"));
    drop(peer);
    expect(&mut events, lost(Disconnect::HungUp)).await;
    let mut peer = router.accept().await;
    peer.hears("subscribe 1 a").await;
    pass(RESUBSCRIBE_DEADLINE).await;
    expect(&mut events, lost(Disconnect::Unconfirmed)).await;
}

#[tokio::test]
async fn only_connections_that_last_win_back_the_attempts() {
    let router = Router::start().await;
    let handshake_deadline = Duration::from_secs(3600);
    let options = ConnectOptions { reconnect_attempts_max: 1, handshake_deadline, ..quick() };
    let (client, mut peer) = router.client_with(options).await;
    let mut events = client.events();
    for _ in 0..3 {
        pass(CONNECTION_GOOD_AFTER).await;
        drop(peer);
        expect(&mut events, lost(Disconnect::HungUp)).await;
        peer = router.accept().await;
        expect(&mut events, CONNECTED).await;
    }
    drop(peer);
    expect(&mut events, lost(Disconnect::HungUp)).await;
    expect(&mut events, Event::Closed).await;
}

#[tokio::test]
async fn out_of_attempts_everything_ends() {
    let router = Router::start().await;
    let options = ConnectOptions { reconnect_attempts_max: 2, ..quick() };
    let (client, mut peer) = router.client_with(options).await;
    let mut events = client.events();
    let (sub, ()) = tokio::join!(client.subscribe("a"), peer.confirm("subscribe 1 a"));
    let mut sub = sub.unwrap();
    drop((router, peer));
    expect(&mut events, lost(Disconnect::HungUp)).await;
    expect(&mut events, Event::Closed).await;
    assert_eq!(events.next().await, None);
    assert!(within(sub.next()).await.is_none());
    assert_eq!(sub.ended(), Some(Ended::Closed));
    assert_eq!(client.publish("a", b"").await, Err(PublishError::Closed));
    let request = client.request("a", b"", Duration::from_secs(5)).await;
    assert_eq!(request.unwrap_err(), RequestError::Closed);
    assert_eq!(client.events().next().await, None, "whoever asks later is told at once");
}

#[tokio::test]
async fn a_client_told_not_to_reconnect_does_not() {
    let router = Router::start().await;
    let options = ConnectOptions { reconnect_attempts_max: 0, ..quick() };
    let (client, peer) = router.client_with(options).await;
    let mut events = client.events();
    drop(peer);
    expect(&mut events, lost(Disconnect::HungUp)).await;
    expect(&mut events, Event::Closed).await;
}
