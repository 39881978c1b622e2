//! What a client sends: order, bounds, back-pressure, flush and close.

use std::time::Duration;

use mpreg_client::{
    CloseError, ConnectOptions, Encoding, FlushError, Priority, Publish, PublishError,
};
use mpreg_proto::frame::Frame;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::router::{Router, quick, within};

#[tokio::test]
async fn messages_arrive_in_order_with_their_options() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    client.publish("a", b"1").await.unwrap();
    let second = Publish {
        topic: b"b",
        reply: b"c",
        headers: b"",
        payload: b"2",
        priority: Priority::Bulk,
        encoding: Encoding::Text,
        deadline_ms: 5,
    };
    client.publish_with(second).await.unwrap();
    peer.hears("data a 1").await;
    peer.hears("data b reply=c deadline 2").await;
}

#[tokio::test]
async fn what_breaks_a_bound_is_refused_and_nothing_is_sent() {
    let mut router = Router::start().await;
    router.connected.frame_bytes_max = 100;
    let (client, mut peer) = router.client().await;
    assert_eq!(client.publish("a.*", b"").await, Err(PublishError::BadTopic));
    assert_eq!(client.publish("mpreg.a", b"").await, Err(PublishError::ReservedTopic));
    assert_eq!(client.publish("a", &[0; 84]).await, Err(PublishError::TooLarge));
    client.publish("a", b"fits").await.unwrap();
    peer.hears("data a fits").await;
}

#[tokio::test]
async fn the_largest_message_passes_both_ways() {
    let router = Router::start().await;
    let options = ConnectOptions { outbound_bytes: 1, ..quick() };
    let (client, mut peer) = router.client_with(options).await;
    let (sub, ()) = tokio::join!(client.subscribe("a"), peer.confirm("subscribe 1 a"));
    let mut sub = sub.unwrap();
    let payload = "x".repeat(PAYLOAD_BYTES_MAX);
    client.publish("a", payload.as_bytes()).await.unwrap();
    assert_eq!(peer.hear().await.len(), "data a ".len() + PAYLOAD_BYTES_MAX);
    let say = peer.publish("a", &payload);
    let (message, ()) = tokio::join!(within(sub.next()), say);
    assert_eq!(message.unwrap().into_payload().len(), PAYLOAD_BYTES_MAX);
}

#[tokio::test]
async fn a_publisher_waits_for_a_router_that_does_not_read() {
    let router = Router::start().await;
    let options = ConnectOptions { outbound_bytes: 64 << 10, ..quick() };
    let (client, mut peer) = router.client_with(options).await;
    let payload = [b'x'; 8 << 10];
    let mut published = 0;
    // The kernel's buffers fill first, then the client's.
    while timeout(Duration::from_millis(300), client.publish("a", &payload)).await.is_ok() {
        published += 1;
        assert!(published < 100_000, "never waited");
    }
    let last = within(async { client.publish("a", b"last").await.unwrap() });
    let read = async {
        for _ in 0..published {
            assert_eq!(peer.hear().await.len(), "data a ".len() + payload.len());
        }
        // The publish that was given up left nothing behind.
        peer.hears("data a last").await;
    };
    tokio::join!(last, read);
}

#[tokio::test]
async fn a_flush_ends_when_the_router_has_read_everything() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    client.publish("a", b"1").await.unwrap();
    let router_side = async {
        peer.hears("data a 1").await;
        peer.hears("ping 1").await;
        peer.say(Frame::Pong { token: 1 }).await;
    };
    let (flushed, ()) = tokio::join!(within(client.flush()), router_side);
    assert_eq!(flushed, Ok(()));

    let router_side = async {
        peer.hears("ping 2").await;
        drop(peer);
    };
    let (flushed, ()) = tokio::join!(within(client.flush()), router_side);
    assert_eq!(flushed, Err(FlushError::Disconnected));
}

#[tokio::test]
async fn a_close_sends_everything_and_waits_for_the_router() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    for _ in 0..100 {
        client.publish("a", b"x").await.unwrap();
    }
    let router_side = async {
        for _ in 0..100 {
            peer.hears("data a x").await;
        }
        peer.hears("hung up").await;
        peer.socket.shutdown().await.unwrap();
    };
    let (closed, ()) = tokio::join!(within(client.close()), router_side);
    assert_eq!(closed, Ok(()));
    assert_eq!(client.publish("a", b"").await, Err(PublishError::Closed));
    assert_eq!(client.flush().await, Err(FlushError::Closed));
    assert_eq!(client.close().await, Ok(()), "as often as one likes");
}

#[tokio::test]
async fn a_close_says_what_it_could_not_do() {
    let router = Router::start().await;
    let options = ConnectOptions { handshake_deadline: Duration::from_secs(3600), ..quick() };
    let (client, peer) = router.client_with(options).await;
    drop(peer);
    // Nobody accepts: the message has no connection to go on, and the close does not wait for one.
    while client.is_connected() {
        tokio::task::yield_now().await;
    }
    client.publish("a", b"x").await.unwrap();
    assert_eq!(within(client.close()).await, Err(CloseError::Unsent { bytes: 18 }));

    let router = Router::start().await;
    let (client, _peer) = router.client().await;
    assert_eq!(within(client.close()).await, Err(CloseError::Unconfirmed), "never hung up");
}

#[tokio::test]
async fn dropping_the_last_handle_sends_everything_and_hangs_up() {
    let router = Router::start().await;
    let (client, mut peer) = router.client().await;
    let (sub, ()) = tokio::join!(client.subscribe("a"), peer.confirm("subscribe 1 a"));
    client.publish("a", b"x").await.unwrap();
    drop(client);
    peer.hears("data a x").await;
    drop(sub);
    peer.hears("unsubscribe 1 0").await;
    peer.hears("hung up").await;
}
