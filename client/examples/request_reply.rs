//! Request and reply: a service that doubles numbers, many requests in flight, and the two ways a
//! request goes unanswered.
//!
//! `cargo run --example request_reply -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::error::Error;
use std::time::Duration;

use mpreg_client::{Client, RequestError, Subscription};

const REQUESTS_COUNT: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let service = Client::connect(url).await?;
    let answering = tokio::spawn(serve(service.subscribe("example.double").await?));

    let client = Client::connect(url).await?;
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..REQUESTS_COUNT {
        let client = client.clone();
        requests.spawn(async move {
            let reply = client.request("example.double", &number.to_le_bytes(), PATIENCE).await?;
            assert_eq!(reply.payload(), (2 * number).to_le_bytes(), "the reply to this request");
            Ok::<(), RequestError>(())
        });
    }
    while let Some(outcome) = requests.join_next().await {
        outcome??;
    }

    let nobody = client.request("example.nobody", b"", PATIENCE).await;
    assert_eq!(nobody.err(), Some(RequestError::NoResponders));

    let _silent = service.subscribe("example.silent").await?;
    let waited = client.request("example.silent", b"", Duration::from_millis(50)).await;
    assert_eq!(waited.err(), Some(RequestError::Timeout));

    service.drain().await?;
    let answered = answering.await?;
    assert_eq!(answered, REQUESTS_COUNT);
    service.close().await?;
    client.close().await?;
    println!("request_reply requests={REQUESTS_COUNT} answered={answered}");
    Ok(())
}

/// Doubles until drained.
async fn serve(mut requests: Subscription) -> u64 {
    let mut answered = 0;
    while let Some(request) = requests.next().await {
        let number = request.payload().try_into().map_or(0, u64::from_le_bytes);
        match request.reply(&(2 * number).to_le_bytes()).await {
            Ok(()) => answered += 1,
            Err(error) => eprintln!("request_reply: {error}"),
        }
    }
    answered
}
