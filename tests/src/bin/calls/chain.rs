//! Calls from a node of the first of several clusters in a row, one that is no gateway, to one of the last.

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpreg_client::Client;
use mpreg_tests::live::fabric::{Fabric, grid};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    DEADLINE, Found, client_of, micros, percentiles, serve_echo, timed, value_of, wait_known,
};

/// Clusters, nodes of each, calls, how many in flight, and bytes of each value.
pub(super) fn measure(numbers: &[usize]) -> Found {
    let &[clusters, nodes, calls, in_flight, bytes] = numbers else { return Err("numbers".into()) };
    let fabric = Fabric::start(grid(clusters, nodes, |near, far| near + 1 == far));
    fabric.wait_known();
    let (from, to) = (fabric.router(nodes - 1), fabric.router(clusters * nodes - 1));
    tokio::runtime::Runtime::new()?.block_on(async {
        let service = client_of(to).await?;
        serve_echo(&service, "echo", Duration::ZERO, None).await?;
        wait_known(from, "echo");
        let client = client_of(from).await?;
        let started = Instant::now();
        let (latencies, wrong) = call_all(&client, calls as u64, in_flight, bytes).await?;
        let seconds = started.elapsed().as_secs_f64();
        let found = json!({
            "clusters": clusters,
            "nodes": nodes,
            "calls": calls,
            "in_flight": in_flight,
            "bytes": bytes,
            "wrong": wrong,
            "seconds": seconds,
            "calls_per_second": calls as f64 / seconds,
            "us": percentiles(&latencies),
        });
        Ok((found, wrong == 0))
    })
}

async fn call_all(
    client: &Client,
    count: u64,
    in_flight: usize,
    bytes: usize,
) -> Result<(Histogram<u64>, u64), Box<dyn Error>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let (mut calls, mut wrong, mut number) = (JoinSet::new(), 0, 0);
    loop {
        while calls.len() < in_flight && number < count {
            let (client, value) = (client.clone(), value_of(number, bytes));
            calls.spawn(async move {
                let call = client.call("echo").deadline(DEADLINE).send(value.clone());
                timed(call, &value, Instant::now()).await
            });
            number += 1;
        }
        match calls.join_next().await {
            Some(took) => match took? {
                Some(took) => latencies.record(micros(took))?,
                None => wrong += 1,
            },
            None => return Ok((latencies, wrong)),
        }
    }
}
