//! Calls of one function that gives back its argument, in turns: through this router by its own protocol,
//! through it and through nats-server as a NATS micro service with one and the same NATS client, and by
//! gRPC without anything in between.
//!
//! ```text
//!   callers --calls--> router, or none --> worker      callers and worker are this process
//! ```
//!
//! Each contender has a router and connections of its own, and is gone before the next. In each round every
//! contender has its turn with every number of callers, first at a fixed rate, then with so many calls
//! in flight. One line of JSON a turn, and a summary.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

mod contender;
mod grpc;
mod load;
mod process;

use contender::{Contender, Kind};
use load::{Load, Turn};

#[derive(Debug, Parser)]
#[command(about = "Calls of a function through this router, through nats-server, and by gRPC")]
struct Wish {
    /// The router: target/release/mpreg.
    #[arg(long)]
    mpreg: PathBuf,
    /// Without it nats-server has no turn.
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// Calls a second, all callers together.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Calls in flight when there is no rate, all callers together, one each at least.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50])]
    clients: Vec<usize>,
    /// Of each turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of the argument.
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

fn main() -> ExitCode {
    let wish = Wish::parse();
    let run = tokio::runtime::Runtime::new().map_err(Into::into);
    match run.and_then(|runtime| runtime.block_on(compare(&wish))) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("rpc: {wrong} calls went wrong");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("rpc: {error}");
            ExitCode::from(2)
        }
    }
}

/// How many calls went wrong.
async fn compare(wish: &Wish) -> Result<u64, Box<dyn Error>> {
    let span = Duration::from_secs(wish.seconds);
    let mut turns = Vec::new();
    for round in 0..wish.rounds {
        for &clients in &wish.clients {
            for load in [Load::Rate(wish.rate), Load::InFlight(wish.in_flight)] {
                for kind in Kind::ALL {
                    let Some(contender) = Contender::start(kind, wish, clients).await? else {
                        continue;
                    };
                    let cpu = contender.cpu();
                    let turn = load::run(contender.callers(), load, span, wish.bytes).await?;
                    let cpu = contender.cpu().zip(cpu).map(|(after, before)| after - before);
                    println!("{}", shown(round, (kind, clients, load), &turn, cpu));
                    turns.push(((clients, load, kind), turn, cpu));
                }
            }
        }
    }
    for &clients in &wish.clients {
        for load in [Load::Rate(wish.rate), Load::InFlight(wish.in_flight)] {
            for kind in Kind::ALL {
                let of = turns.iter().filter(|(key, _, _)| *key == (clients, load, kind));
                let rows: Vec<_> = of.map(|(_, turn, cpu)| (turn, *cpu)).collect();
                if !rows.is_empty() {
                    println!("{}", summary((kind, clients, load), &rows));
                }
            }
        }
    }
    Ok(turns.iter().map(|(_, turn, _)| turn.wrong).sum())
}

type Key = (Kind, usize, Load);

fn shown(round: usize, key: Key, turn: &Turn, cpu: Option<Duration>) -> String {
    let (kind, clients, load) = key;
    let [p50, p99, p99_9] = [0.5, 0.99, 0.999].map(|at| turn.latencies.value_at_quantile(at));
    json!({
        "round": round, "contender": kind.name(), "clients": clients, "load": load.to_string(),
        "calls_per_s": per_second(turn), "wrong": turn.wrong,
        "us": { "p50": p50, "p99": p99, "p99_9": p99_9 },
        "calls_per_router_cpu_s": cpu.map(|cpu| per_cpu_second(turn, cpu)),
    })
    .to_string()
}

/// The medians over all rounds.
fn summary((kind, clients, load): Key, rows: &[(&Turn, Option<Duration>)]) -> String {
    let of = |value: &dyn Fn(&Turn) -> f64| median(rows.iter().map(|(turn, _)| value(turn)));
    let at = |quantile: f64| of(&|turn| turn.latencies.value_at_quantile(quantile) as f64);
    let cpu = rows.iter().filter_map(|(turn, cpu)| Some(per_cpu_second(turn, (*cpu)?)));
    format!(
        "{:<12} {clients:>3} clients {:<14} {:>8.0} calls/s  p50 {:>6.0} p99 {:>6.0} p99.9 {:>6.0} us  {:>8.0} calls/router-CPU-s",
        kind.name(),
        load.to_string(),
        of(&per_second),
        at(0.5),
        at(0.99),
        at(0.999),
        median(cpu),
    )
}

fn per_second(turn: &Turn) -> f64 {
    turn.latencies.len() as f64 / turn.took.as_secs_f64()
}

fn per_cpu_second(turn: &Turn, cpu: Duration) -> f64 {
    turn.latencies.len() as f64 / cpu.as_secs_f64()
}

/// Of nothing: not a number.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
