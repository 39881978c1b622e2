//! The microbenchmarks, run by cargo, read from what criterion leaves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Measurement, Store, Unit, scale};

/// `benchmark.json`.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: Option<u64>,
}

/// `estimates.json`.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Interval,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

pub(super) fn measure(only: Option<&str>, store: &mut Store) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("making a folder for criterion")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--locked", "--package", "mpreg-bench", "--benches", "--"]);
    command.args(only).env("CRITERION_HOME", folder.path());
    let status = command.status().context("running cargo bench")?;
    if !status.success() {
        bail!("cargo bench: {status}");
    }
    let mut found = Vec::new();
    collect(folder.path(), &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.into_iter().try_for_each(|measurement| store.add(measurement))?;
    scale::measure(only, store)
}

/// Every result below `folder`, per element where a benchmark handles several at once.
fn collect(folder: &Path, out: &mut Vec<Measurement>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if !path.ends_with("new") {
            collect(&path, out)?;
            continue;
        }
        let benchmark: Benchmark = read_json(&path.join("benchmark.json"))?;
        let Estimates { median } = read_json(&path.join("estimates.json"))?;
        let elements = benchmark.throughput.and_then(|throughput| throughput.elements);
        let each = |ns: f64| ns / elements.unwrap_or(1) as f64;
        out.push(Measurement {
            name: benchmark.full_id,
            unit: Unit::Nanoseconds,
            median: each(median.point_estimate),
            low: each(median.confidence_interval.lower_bound),
            high: each(median.confidence_interval.upper_bound),
        });
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {path:?}"))?;
    serde_json::from_str(&text).with_context(|| format!("reading {path:?}"))
}
