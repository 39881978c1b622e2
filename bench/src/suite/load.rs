//! Load on a router and on the floor, in turn, by the load generator.
//!
//! Every scenario has a router and every floor running and loads them one after the other, round
//! by round, so that what drifts on the machine drifts for all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::process::{Server, sibling};
use super::{Measurement, Store, Unit};

/// How each target is loaded, and for how long.
pub(super) struct Pace {
    pub(super) seconds: f64,
    pub(super) rounds: usize,
    /// CPUs of the router, control core's first; the floor runs on the last of them.
    pub(super) router_cpus: Vec<usize>,
}

/// A load by name, in the words of `mpreg-loadgen run`. Topics are literal: the floor knows no
/// others.
struct Scenario {
    name: &'static str,
    load: &'static [&'static str],
}

const FLOORS: [(&str, &str); 3] = [
    ("floor-copy", "--variant=copy"),
    ("floor-arena", "--variant=arena"),
    ("floor-runs", "--variant=runs"),
];

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "bulk-64",
        load: &["--workload=one-to-one", "--connections=10", "--payload=64"],
    },
    Scenario {
        name: "bulk-1024",
        load: &["--workload=one-to-one", "--connections=10", "--payload=1024"],
    },
    Scenario {
        name: "fan-out-10x64",
        load: &["--workload=fan-out", "--connections=1", "--subscribers=10", "--payload=64"],
    },
    Scenario {
        name: "fan-out-10x1024",
        load: &["--workload=fan-out", "--connections=1", "--subscribers=10", "--payload=1024"],
    },
    Scenario {
        name: "window-1",
        load: &["--workload=one-to-one", "--connections=64", "--payload=64", "--window=1"],
    },
    Scenario {
        name: "window-4",
        load: &["--workload=one-to-one", "--connections=64", "--payload=64", "--window=4"],
    },
    Scenario {
        name: "rate-20k",
        load: &["--workload=one-to-one", "--connections=10", "--payload=64", "--rate=20000"],
    },
];

/// What the load generator says of a run, as far as it is kept.
#[derive(Debug, Deserialize)]
struct Report {
    throughput_per_s: f64,
    latency_us: Latency,
    router_cpu_ns_per_message: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
}

/// Whether every message of every round arrived once, whole and in order.
pub(super) fn measure(pace: &Pace, only: Option<&str>, store: &mut Store) -> anyhow::Result<bool> {
    let loadgen = sibling("mpreg-loadgen")?;
    let mut is_clean = true;
    for scenario in SCENARIOS.iter().filter(|one| only.is_none_or(|part| one.name.contains(part))) {
        let targets = start_targets(pace)?;
        let mut reports: Vec<Vec<Report>> = targets.iter().map(|_| Vec::new()).collect();
        for round in 0..pace.rounds {
            // A different one goes first each time.
            for turn in 0..targets.len() {
                let at = (round + turn) % targets.len();
                let (report, is_verified) = load(&loadgen, scenario, pace, &targets[at].1)?;
                if !is_verified {
                    eprintln!("{}/{}: not every message arrived", scenario.name, targets[at].0);
                }
                is_clean &= is_verified;
                reports[at].push(report);
            }
        }
        for ((target, _), reports) in targets.iter().zip(&reports) {
            keep(&format!("{}/{target}", scenario.name), reports, store)?;
        }
    }
    Ok(is_clean)
}

fn start_targets(pace: &Pace) -> anyhow::Result<Vec<(&'static str, Server)>> {
    let (router, floor): (PathBuf, PathBuf) = (sibling("mpreg")?, sibling("mpreg-floor")?);
    let cpus: Vec<String> = pace.router_cpus.iter().map(usize::to_string).collect();
    let last = cpus.last().context("the router has a CPU")?;
    let (cpus, cpu) = (format!("--cpus={}", cpus.join(",")), format!("--cpu={last}"));
    let any = "--listen=127.0.0.1:0";
    let serve = ["serve", any, "--admin=127.0.0.1:0", "--shards=1", &cpus, "--log=error"];
    let mut targets = vec![("router", Server::start(&router, serve).context("mpreg serve")?)];
    for (name, variant) in FLOORS {
        let server = Server::start(&floor, [any, &cpu, variant]).context("mpreg-floor")?;
        targets.push((name, server));
    }
    Ok(targets)
}

/// One round. The load generator ends with 1 if it found a message lost, twice, late or bent.
fn load(
    loadgen: &Path,
    scenario: &Scenario,
    pace: &Pace,
    target: &Server,
) -> anyhow::Result<(Report, bool)> {
    let output = Command::new(loadgen)
        .args(["run", "--json", "--target", target.url()])
        .args(scenario.load)
        .arg(format!("--duration={}", pace.seconds))
        .arg(format!("--router-pid={}", target.pid()))
        .stderr(Stdio::inherit())
        .output()
        .context("running mpreg-loadgen")?;
    let is_verified = match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        _ => bail!("mpreg-loadgen: {}", output.status),
    };
    let report = serde_json::from_slice(&output.stdout).context("reading its report")?;
    Ok((report, is_verified))
}

fn keep(name: &str, reports: &[Report], store: &mut Store) -> anyhow::Result<()> {
    type Figure = fn(&Report) -> Option<f64>;
    let figures: [(&str, Unit, Figure); 5] = [
        ("throughput", Unit::PerSecond, |report| Some(report.throughput_per_s)),
        ("cpu-per-message", Unit::Nanoseconds, |report| report.router_cpu_ns_per_message),
        ("latency-p50", Unit::Microseconds, |report| report.latency_us.p50),
        ("latency-p99", Unit::Microseconds, |report| report.latency_us.p99),
        ("latency-p99.9", Unit::Microseconds, |report| report.latency_us.p999),
    ];
    for (figure, unit, of) in figures {
        let rounds: Vec<f64> = reports.iter().filter_map(of).collect();
        if !rounds.is_empty() {
            store.add(Measurement::of_rounds(format!("{name}/{figure}"), unit, rounds))?;
        }
    }
    Ok(())
}
