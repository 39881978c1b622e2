//! `mpreg demo`: a router of its own, traffic of several shapes, every message verified. With
//! `--clusters`, a fabric of many (`demo/fabric.rs`).

use core::fmt;
use core::time::Duration;
use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use mpreg_loadgen::load::{BadLoad, Load, Plan, Rate};
use mpreg_loadgen::report::Report;
use mpreg_loadgen::target::{BadTarget, Target};
use mpreg_loadgen::{Faults, Progress, RunError, Workload};
use serde::Serialize;

use super::child::{ChildError, ChildRouter};
use super::{CommandError, Exit};

mod account;
mod fabric;
mod ledger;
mod traffic;

use fabric::{FabricError, Shape};

/// Start a router, send it traffic, verify every message, show what it cost.
///
/// Exit code 0 only if every message arrived once, in order and unchanged, and the router stopped
/// as it should. With --clusters, only if nothing promised was lost or came twice.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Seconds of traffic.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    duration: f64,
    /// Data shards of the router; 0 is one less than the CPUs there are.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "clusters")]
    shards: u64,
    /// Start a fabric of so many clusters instead, a process for each node.
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=60))]
    clusters: Option<u16>,
    /// Nodes of each cluster.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "clusters",
        value_parser = clap::value_parser!(u16).range(1..=60))]
    nodes: u16,
    /// Kill nodes while traffic flows, and start them again.
    #[arg(long, requires = "clusters")]
    kill: bool,
    /// Print one JSON object: verified, router, and a report for each scene.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("--duration is {seconds}, must be within 0.5..={seconds_max}")]
    Duration { seconds: f64, seconds_max: f64 },
    #[error(transparent)]
    Router(#[from] ChildError),
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error(transparent)]
    Load(#[from] BadLoad),
    #[error(transparent)]
    Fabric(#[from] FabricError),
    #[error("preparing clients")]
    Runtime { source: std::io::Error },
    #[error("{scene}")]
    Run { scene: &'static str, source: RunError },
}

const SECONDS_MAX: f64 = 86_400.0;

/// Of every message it is remembered who heard it: some MB a minute.
const FABRIC_SECONDS_MAX: f64 = 3600.0;

/// Traffic of one shape.
struct Scene {
    name: &'static str,
    load: Load,
}

/// What came of a scene.
#[derive(Debug, Serialize)]
struct Played {
    scene: &'static str,
    #[serde(flatten)]
    report: Report,
}

impl Demo {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        if let Some(clusters) = self.clusters {
            return self.run_fabric(usize::from(clusters), out);
        }
        let (router, played) = self.play()?;
        let (pid, native) = (router.pid(), router.native().to_owned());
        let stopped = router.stop();
        let is_verified = played.iter().all(Played::is_verified) && stopped.is_ok();
        if self.json {
            let json = serde_json::json!({
                "verified": is_verified,
                "router": { "pid": pid, "native": native },
                "scenes": played,
            });
            writeln!(out, "{json}")?;
        } else {
            let rows: Vec<Row> = played.iter().map(Row::from).collect();
            write!(out, "{}", Table(&rows))?;
        }
        stopped.map_err(DemoError::from)?;
        Ok(if is_verified { Exit::Done } else { Exit::No })
    }

    fn run_fabric(&self, clusters: usize, out: &mut impl Write) -> Result<Exit, CommandError> {
        let shape = Shape {
            clusters,
            nodes_per_cluster: usize::from(self.nodes),
            duration: self.duration(FABRIC_SECONDS_MAX)?,
            kills: self.kill,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| DemoError::Runtime { source })?;
        let played = tokio::task::LocalSet::new().block_on(&runtime, fabric::play(shape));
        let played = played.map_err(DemoError::from)?;
        match self.json {
            true => writeln!(out, "{}", serde_json::json!(played))?,
            false => write!(out, "{played}")?,
        }
        Ok(if played.is_verified() { Exit::Done } else { Exit::No })
    }

    fn duration(&self, seconds_max: f64) -> Result<Duration, DemoError> {
        let seconds = self.duration;
        match (0.5..=seconds_max).contains(&seconds) {
            true => Ok(Duration::from_secs_f64(seconds)),
            false => Err(DemoError::Duration { seconds, seconds_max }),
        }
    }

    fn play(&self) -> Result<(ChildRouter, Vec<Played>), DemoError> {
        let seconds = self.duration(SECONDS_MAX)?.as_secs_f64();
        let router = ChildRouter::start(&["--shards".to_owned(), self.shards.to_string()])?;
        let target: Target = router.native().parse()?;
        let scenes = scenes();
        let count = scenes.len() as f64;
        let mut played = Vec::with_capacity(scenes.len());
        for Scene { name, load } in scenes {
            let share = seconds / count;
            let warm_up = (share / 10.0).min(0.5);
            let load = Load { duration: share - warm_up, warm_up, ..load };
            let plan = Plan::new(&load, target.clone(), Some(router.pid()))?;
            let line = live_line(name);
            let report = mpreg_loadgen::run(&plan, &mut |progress| show(&line, progress))
                .map_err(|source| DemoError::Run { scene: name, source })?;
            line.finish_and_clear();
            played.push(Played { scene: name, report });
        }
        Ok((router, played))
    }
}

impl Played {
    /// Nothing at all would be clean too.
    fn is_verified(&self) -> bool {
        self.report.is_clean() && 0 < self.report.received
    }
}

/// Latency at a rate well below what one core carries, then as much as each shape allows.
fn scenes() -> [Scene; 5] {
    let scene = |name, workload, connections, subscribers, rate| Scene {
        name,
        load: Load {
            workload,
            connections,
            subscribers: Some(subscribers),
            rate,
            ..Load::default()
        },
    };
    let steady = Rate::PerSecond(10_000);
    [
        scene("steady", Workload::OneToOne, 10, 10, steady),
        scene("bulk", Workload::OneToOne, 4, 4, Rate::Max),
        scene("fan-out", Workload::FanOut, 1, 10, Rate::Max),
        scene("wildcard", Workload::Wildcard, 4, 4, steady),
        scene("request", Workload::RequestReply, 8, 8, Rate::PerSecond(2_000)),
    ]
}

/// On stderr while there is somebody to look at it.
fn live_line(scene: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<9} {bar:20} {msg}")
        .expect("the template is well formed");
    let line = ProgressBar::new(1000).with_style(style).with_prefix(scene);
    line.enable_steady_tick(Duration::from_millis(200));
    line
}

fn show(line: &ProgressBar, progress: &Progress) {
    let Progress { elapsed, total, published, received, p50_us, p99_us, .. } = *progress;
    let share = elapsed.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
    line.set_position((share * 1000.0).min(1000.0) as u64);
    let (p50, p99) = (Us(p50_us), Us(p99_us));
    line.set_message(format!("{published} sent, {received} received, p50 {p50}, p99 {p99}"));
}

/// A time in microseconds, if there is one.
struct Us(Option<f64>);

impl fmt::Display for Us {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(us) if us < 10_000.0 => f.pad(&format!("{us:.1}µs")),
            Some(us) => f.pad(&format!("{:.1}ms", us / 1e3)),
            None => f.pad("-"),
        }
    }
}

/// What is shown of a scene.
#[derive(Clone, Debug)]
struct Row {
    scene: &'static str,
    sent: u64,
    received: u64,
    faults: u64,
    per_s: f64,
    /// p50, p99, p99.9, max.
    latency_us: [Option<f64>; 4],
    cpu_ns: Option<f64>,
    failures: Vec<String>,
    is_verified: bool,
}

impl From<&Played> for Row {
    fn from(played: &Played) -> Self {
        let Report { sent, received, faults, throughput_per_s, latency_us, .. } = played.report;
        let Faults { lost, duplicated, reordered, corrupted, misrouted } = faults;
        Self {
            scene: played.scene,
            sent,
            received,
            faults: lost + duplicated + reordered + corrupted + misrouted,
            per_s: throughput_per_s,
            latency_us: [latency_us.p50, latency_us.p99, latency_us.p999, latency_us.max],
            cpu_ns: played.report.router_cpu_ns_per_message,
            failures: played.report.failures.clone(),
            is_verified: played.is_verified(),
        }
    }
}

/// One line a scene, and what the whole amounts to.
struct Table<'a>(&'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9}{:>12}{:>12}{:>9}{:>12}", "SCENE", "SENT", "RECEIVED", "FAULTS", "PER S")?;
        writeln!(f, "{:>10}{:>10}{:>10}{:>10}{:>10}", "P50", "P99", "P99.9", "MAX", "CPU")?;
        for Row { scene, sent, received, faults, per_s, latency_us, cpu_ns, .. } in self.0 {
            write!(f, "{scene:<9}{sent:>12}{received:>12}{faults:>9}{per_s:>12.0}")?;
            for us in latency_us {
                write!(f, "{:>10}", Us(*us))?;
            }
            match cpu_ns {
                Some(ns) => writeln!(f, "{ns:>8.0}ns")?,
                None => writeln!(f, "{:>10}", "-")?,
            }
        }
        writeln!(f)?;
        for Row { scene, failures, .. } in self.0 {
            for failure in failures {
                writeln!(f, "{scene}: {failure}")?;
            }
        }
        let received: u64 = self.0.iter().map(|row| row.received).sum();
        match self.0.iter().all(|row| row.is_verified) {
            true => writeln!(f, "{received} messages, each arrived once, in order, unchanged"),
            false => writeln!(f, "not verified: messages are missing, too many, or not as sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn row() -> Row {
        Row {
            scene: "steady",
            sent: 20_000,
            received: 20_000,
            faults: 0,
            per_s: 9_999.6,
            latency_us: [Some(35.25), Some(74.0), Some(9_999.9), Some(34_865.2)],
            cpu_ns: Some(1_850.2),
            failures: Vec::new(),
            is_verified: true,
        }
    }

    #[test]
    fn a_clean_demo_says_how_many_messages_that_is() {
        let quiet = Row { scene: "request", cpu_ns: None, received: 5, ..row() };
        expect![[r#"
            SCENE            SENT    RECEIVED   FAULTS       PER S       P50       P99     P99.9       MAX       CPU
            steady          20000       20000        0       10000    35.2µs    74.0µs  9999.9µs    34.9ms    1850ns
            request         20000           5        0       10000    35.2µs    74.0µs  9999.9µs    34.9ms         -

            20005 messages, each arrived once, in order, unchanged
        "#]].assert_eq(&Table(&[row(), quiet]).to_string());
    }

    #[test]
    fn one_bad_scene_is_enough() {
        let failures = vec!["connection reset".to_owned()];
        let bad = Row { faults: 3, failures, is_verified: false, ..row() };
        expect![[r#"
            SCENE            SENT    RECEIVED   FAULTS       PER S       P50       P99     P99.9       MAX       CPU
            steady          20000       20000        0       10000    35.2µs    74.0µs  9999.9µs    34.9ms    1850ns
            steady          20000       20000        3       10000    35.2µs    74.0µs  9999.9µs    34.9ms    1850ns

            steady: connection reset
            not verified: messages are missing, too many, or not as sent
        "#]].assert_eq(&Table(&[row(), bad]).to_string());
    }

    #[test]
    fn every_scene_is_a_load_that_may_be_asked_for() {
        let target: Target = "mpreg://127.0.0.1:1".parse().unwrap();
        for Scene { name, load } in scenes() {
            assert!(Plan::new(&load, target.clone(), None).is_ok(), "{name}");
        }
    }
}
