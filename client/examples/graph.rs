//! Call graphs: functions that take each other's results, called by the router as soon as they can be;
//! results as they come; a graph that cannot be run, of which nothing is.
//!
//! `cargo run --example graph -- mpreg://HOST:PORT` (or `MPREG_URL`).

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mpreg_client::{Client, Function, Value, Worker};

/// `total` takes a part of what `order` gives.
const ORDER: &str = r#"{"commands": [
    {"name": "total", "function": "example.graph.sum", "args": {"$ref": "order.prices"}},
    {"name": "order", "function": "example.graph.order", "args": {"id": 7}}
]}"#;

/// The same, each result told as soon as it is there.
const STREAMED: &str = r#"{"stream": true, "all": true, "commands": [
    {"name": "order", "function": "example.graph.order", "args": {"id": 7}},
    {"name": "total", "function": "example.graph.sum", "args": {"$ref": "order.prices"}}
]}"#;

/// Each waits for the other.
const CYCLE: &str = r#"{"commands": [
    {"name": "hen", "function": "example.graph.sum", "args": {"$ref": "egg"}},
    {"name": "egg", "function": "example.graph.sum", "args": {"$ref": "hen"}}
]}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().skip(1).find(|arg| arg != "--url");
    run(&url.or_else(|| std::env::var("MPREG_URL").ok()).ok_or("which router? set MPREG_URL")?)
        .await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let service = Client::connect(url).await?;
    let sums = Arc::<AtomicU32>::default();
    let orders = service.serve(Function::new("example.graph.order", "1.0.0")).await?;
    tokio::spawn(order(orders));
    let summing = service.serve(Function::new("example.graph.sum", "1.0.0")).await?;
    tokio::spawn(sum(summing, sums.clone()));

    let client = Client::connect(url).await?;
    let report = client.graph(ORDER).send().await?;
    assert!(report.starts_with(r#"{"results":{"total":12},"errors":{},"#), "{report}");

    let mut events = client.graph(STREAMED).events().await?;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(event?);
    }
    assert_eq!(told[0], r#"{"command":"order","result":{"prices":[3,4,5]}}"#);
    assert_eq!(told[1], r#"{"command":"total","result":12}"#);
    assert!(told[2].starts_with(r#"{"summary":{"took_us":"#), "where the time went comes last");

    let refused = client.graph(CYCLE).send().await.err().ok_or("it has no beginning")?;
    let refusal = refused.graph_refusal().ok_or("it was refused")?;
    assert_eq!((refusal.word, refusal.reason), ("cycle", "cycle: hen, egg"));
    assert_eq!(sums.load(Ordering::Relaxed), 2, "nothing of it was called");

    service.close().await?;
    client.close().await?;
    println!("graph events={} refused={}", told.len(), refusal.word);
    Ok(())
}

/// What an order is made of.
async fn order(mut worker: Worker) {
    while let Some(job) = worker.next().await {
        if let Err(error) = job.reply(Value::json(r#"{"prices":[3,4,5]}"#)).await {
            eprintln!("graph: {error}");
        }
    }
}

/// Adds the numbers of a JSON list.
async fn sum(mut worker: Worker, sums: Arc<AtomicU32>) {
    while let Some(job) = worker.next().await {
        sums.fetch_add(1, Ordering::Relaxed);
        let list = String::from_utf8_lossy(job.payload()).into_owned();
        let numbers = list.trim_matches(['[', ']']).split(',');
        let sum: i64 = numbers.filter_map(|number| number.trim().parse::<i64>().ok()).sum();
        if let Err(error) = job.reply(Value::json(sum.to_string())).await {
            eprintln!("graph: {error}");
        }
    }
}
