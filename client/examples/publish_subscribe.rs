//! Publish and subscribe: one exact subscription, one with a wildcard, each message once to each.
//!
//! `cargo run --example publish_subscribe -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::error::Error;
use std::num::NonZeroU32;

use mpreg_client::{Client, Encoding, Priority, Publish};

const READINGS_COUNT: u32 = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let publisher = Client::connect(url).await?;
    let subscriber = Client::connect(url).await?;

    let mut kitchen = subscriber.subscribe("example.temperature.kitchen").await?;
    let mut house = subscriber.subscribe("example.temperature.*").await?;
    kitchen.unsubscribe_after(NonZeroU32::new(READINGS_COUNT).ok_or("at least one reading")?);

    for number in 0..READINGS_COUNT {
        publisher.publish("example.temperature.kitchen", &number.to_le_bytes()).await?;
    }
    let last = Publish {
        topic: b"example.temperature.cellar",
        payload: b"{\"celsius\":12}",
        priority: Priority::Normal,
        encoding: Encoding::Json,
        ..Publish::default()
    };
    publisher.publish_with(last).await?;

    let mut received = 0_u32;
    while let Some(reading) = kitchen.next().await {
        assert_eq!(reading.payload(), received.to_le_bytes(), "in order, none missing");
        received += 1;
    }
    assert_eq!(received, READINGS_COUNT, "the stream ended by itself");

    let mut is_last_seen = false;
    for _ in 0..=READINGS_COUNT {
        let reading = house.next().await.ok_or("the subscription ended")?;
        if reading.topic() == "example.temperature.cellar" {
            assert_eq!(reading.encoding(), Encoding::Json);
            assert_eq!(reading.into_payload(), "{\"celsius\":12}");
            is_last_seen = true;
        }
    }
    assert!(is_last_seen, "the wildcard saw the cellar too");
    assert_eq!(house.dropped() + kitchen.dropped(), 0);

    publisher.close().await?;
    subscriber.close().await?;
    println!("publish_subscribe readings={READINGS_COUNT} lost=0");
    Ok(())
}
