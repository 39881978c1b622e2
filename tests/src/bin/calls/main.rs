//! Measures calls of functions over fabrics of real routers.
//!
//! `chain` counts and times them over clusters in a row, `kill` takes away the cluster in the middle while
//! they run, `slow` looks whether functions that take long delay others. Each prints one line of JSON
//! and ends with 1 if something that is promised was not so.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpreg_client::{CallFailed, Client, Function, Value, Worker};
use mpreg_tests::live::{Router, until};
use serde_json::json;

mod chain;
mod kill;
mod slow;

const USAGE: &str = "\
usage: calls chain [CLUSTERS [NODES [CALLS [IN_FLIGHT [BYTES]]]]]   4 clusters of 3, 100000 calls, 64, 64 bytes
       calls kill [REPETITIONS [CALLS]]                             200 times, with 20 calls each
       calls slow [CLUSTERS [RATE [SECONDS [ROUNDS]]]]              3 clusters, 10000 calls/s, 5 s, 5 times";

/// What is late by this has hung.
const DEADLINE: Duration = Duration::from_secs(30);

/// What every worker here takes at a time.
const LIMIT: u32 = 4096;

/// What was found, and whether all that is promised was so.
type Found = Result<(serde_json::Value, bool), Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| match args.get(place) {
        Some(text) => text.parse::<usize>().ok().filter(|&number| number != 0),
        None => Some(default),
    };
    let numbers = |defaults: &[usize]| -> Option<Vec<usize>> {
        defaults.iter().zip(1..).map(|(&default, place)| number(place, default)).collect()
    };
    let found = match args.first().map(String::as_str) {
        Some("chain") => numbers(&[4, 3, 100_000, 64, 64]).map(|all| chain::measure(&all)),
        Some("kill") => numbers(&[200, 20]).map(|all| kill::measure(&all)),
        Some("slow") => numbers(&[3, 10_000, 5, 5]).map(|all| slow::measure(&all)),
        _ => None,
    };
    match found {
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Some(Ok((found, is_good))) => {
            println!("{found}");
            ExitCode::from(u8::from(!is_good))
        }
        Some(Err(error)) => {
            eprintln!("calls: {error}");
            ExitCode::from(2)
        }
    }
}

async fn client_of(router: &Router) -> Result<Client, Box<dyn Error>> {
    Ok(Client::connect(&format!("mpreg://{}", router.bound("native"))).await?)
}

/// How often each number was worked on.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Log {
    fn note(&self, number: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
    }

    fn runs_of(&self, number: u64) -> u32 {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(&number).copied().unwrap_or(0)
    }
}

/// Registers a function that gives back its argument after a while. It ends with its client.
async fn serve_echo(
    service: &Client,
    name: &str,
    wait: Duration,
    log: Option<Log>,
) -> Result<(), Box<dyn Error>> {
    let limit = LIMIT.try_into()?;
    let worker = service.serve(Function { limit, ..Function::new(name, "1.0.0") }).await?;
    tokio::spawn(run_echo(worker, wait, log));
    Ok(())
}

async fn run_echo(mut worker: Worker, wait: Duration, log: Option<Log>) {
    while let Some(job) = worker.next().await {
        let payload = job.payload().to_vec();
        if let Some(log) = &log {
            log.note(number_of(&payload));
        }
        // Whoever called counts what did not come.
        if wait.is_zero() {
            _ = job.reply(payload).await.is_ok();
        } else {
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                _ = job.reply(payload).await.is_ok();
            });
        }
    }
}

/// The number a value begins with.
fn number_of(payload: &[u8]) -> u64 {
    payload.first_chunk().copied().map_or(u64::MAX, u64::from_le_bytes)
}

/// A value of so many bytes that begins with the number.
fn value_of(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(bytes.max(value.len()), 0);
    value
}

fn wait_known(router: &Router, name: &str) {
    let path = format!("/functions?name={name}");
    until("the function is known", || router.get(&path).1.contains(name).then_some(()));
}

/// How long it took; none if it came to nothing, or to something else.
async fn timed(
    call: impl Future<Output = Result<Value, CallFailed>>,
    value: &[u8],
    began: Instant,
) -> Option<Duration> {
    let is_right = call.await.is_ok_and(|result| result.payload == *value);
    is_right.then(|| began.elapsed())
}

/// Microseconds.
fn percentiles(latencies: &Histogram<u64>) -> serde_json::Value {
    let at = |quantile| latencies.value_at_quantile(quantile);
    json!({
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "p99_99": at(0.9999),
        "max": latencies.max(),
    })
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
