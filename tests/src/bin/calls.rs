//! Measures calls of functions over a chain of clusters of real routers: so many in flight, from a node
//! of the first that is no gateway to one of the last.
#![forbid(unsafe_code)]

use std::error::Error;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpreg_client::{Client, Function, Worker};
use mpreg_tests::live::fabric::{Fabric, grid};
use mpreg_tests::live::{Router, until};
use serde_json::json;
use tokio::task::JoinSet;

const USAGE: &str = "\
usage: calls [CLUSTERS [NODES [CALLS [IN_FLIGHT [BYTES]]]]]     4 clusters of 3 nodes, 100000 calls, 64, 64";

const DEADLINE: Duration = Duration::from_secs(30);

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    clusters: usize,
    nodes: usize,
    calls: u64,
    in_flight: usize,
    bytes: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| match args.get(place) {
        Some(text) => text.parse::<u64>().ok().filter(|&number| number != 0),
        None => Some(default),
    };
    let (Some(clusters), Some(nodes), Some(calls), Some(in_flight), Some(bytes)) =
        (number(0, 4), number(1, 3), number(2, 100_000), number(3, 64), number(4, 64))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (clusters, nodes) = (clusters as usize, nodes as usize);
    let (in_flight, bytes) = (in_flight as usize, (bytes as usize).max(size_of::<u64>()));
    match measure(Plan { clusters, nodes, calls, in_flight, bytes }) {
        Ok(wrong) => ExitCode::from(u8::from(wrong != 0)),
        Err(error) => {
            eprintln!("calls: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found; how many calls went wrong.
fn measure(plan: Plan) -> Result<u64, Box<dyn Error>> {
    let fabric = Fabric::start(grid(plan.clusters, plan.nodes, |near, far| near + 1 == far));
    fabric.wait_known();
    let last = plan.clusters * plan.nodes - 1;
    let (from, to) = (fabric.router(plan.nodes - 1), fabric.router(last));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let service = client_of(to).await?;
        let limit = NonZeroU32::try_from(u32::try_from(plan.in_flight)?)?;
        let echo = Function { limit, ..Function::new("echo", "1.0.0") };
        let echoing = tokio::spawn(run_echo(service.serve(echo).await?));
        until("the function is known", || from.get("/functions").1.contains("echo").then_some(()));
        let client = client_of(from).await?;
        let started = Instant::now();
        let (latencies, wrong) = call_all(&client, plan).await?;
        let took = started.elapsed();
        let at = |quantile| latencies.value_at_quantile(quantile);
        let found = json!({
            "clusters": plan.clusters,
            "nodes": plan.nodes,
            "calls": plan.calls,
            "in_flight": plan.in_flight,
            "bytes": plan.bytes,
            "wrong": wrong,
            "seconds": took.as_secs_f64(),
            "calls_per_second": plan.calls as f64 / took.as_secs_f64(),
            "us": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
                "p99_99": at(0.9999), "max": latencies.max(),
            },
        });
        println!("{found}");
        echoing.abort();
        Ok(wrong)
    })
}

async fn client_of(router: &Router) -> Result<Client, Box<dyn Error>> {
    Ok(Client::connect(&format!("mpreg://{}", router.bound("native"))).await?)
}

async fn run_echo(mut worker: Worker) {
    while let Some(job) = worker.next().await {
        let payload = job.payload().to_vec();
        // Whoever called counts what did not come.
        _ = job.reply(payload).await.is_ok();
    }
}

async fn call_all(client: &Client, plan: Plan) -> Result<(Histogram<u64>, u64), Box<dyn Error>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let (mut calls, mut wrong) = (JoinSet::new(), 0);
    for number in 0..plan.calls {
        while plan.in_flight <= calls.len() {
            note(
                calls.join_next().await.ok_or("calls are under way")??,
                &mut latencies,
                &mut wrong,
            )?;
        }
        let (client, mut value) = (client.clone(), vec![0; plan.bytes]);
        value[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        calls.spawn(async move {
            let began = Instant::now();
            let result = client.call("echo").deadline(DEADLINE).send(value.clone()).await;
            let is_right = result.is_ok_and(|result| result.payload == value[..]);
            is_right.then(|| began.elapsed())
        });
    }
    while let Some(call) = calls.join_next().await {
        note(call?, &mut latencies, &mut wrong)?;
    }
    Ok((latencies, wrong))
}

/// How long a call took; none if it came to nothing, or to something else.
fn note(
    took: Option<Duration>,
    latencies: &mut Histogram<u64>,
    wrong: &mut u64,
) -> Result<(), Box<dyn Error>> {
    match took {
        Some(took) => latencies.record(u64::try_from(took.as_micros())?)?,
        None => *wrong += 1,
    }
    Ok(())
}
