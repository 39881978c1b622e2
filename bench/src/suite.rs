//! The suite: what one measurement is, how a run is kept, what runs it.
//!
//! A run is a file of JSON lines: the machine and the commit first, then one line per measurement.
//! Lines are written as they are taken, so a run that was cut short is a shorter run.
//!
//! `run` measures: `micro` through cargo and criterion, `scale` by itself, `load` through router, floor and load
//! generator as processes. `compare` reads two runs.

pub mod compare;
mod load;
mod machine;
mod micro;
mod process;
pub mod run;
mod scale;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use machine::Machine;

/// One line of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Machine(Machine),
    Measurement(Measurement),
}

/// A figure with what it varied between.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Measurement {
    /// What and how: `forward/one-topic/1-to/64`, `bulk-64/router/latency-p99`.
    name: String,
    unit: Unit,
    /// Of several rounds, the one in the middle.
    median: f64,
    low: f64,
    high: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum Unit {
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "bytes")]
    Bytes,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::PerSecond => "1/s",
            Self::Bytes => "bytes",
        }
    }

    /// Whether more is better. Of the units here only rates are wished high.
    fn is_better_high(self) -> bool {
        self == Self::PerSecond
    }
}

impl Measurement {
    /// The middle and the ends of rounds, of which there is at least one.
    fn of_rounds(name: String, unit: Unit, mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let (low, high) = (rounds[0], rounds[rounds.len() - 1]);
        Self { name, unit, median: rounds[rounds.len() / 2], low, high }
    }
}

/// A run being written.
struct Store {
    path: PathBuf,
    file: File,
}

impl Store {
    /// Begins a file in `folder` named after the time and the commit.
    fn begin(folder: &Path, machine: Machine) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(format!("{}-{}.jsonl", machine.unix_time_s, machine.commit));
        let file = File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        let mut store = Self { path, file };
        store.write(&Line::Machine(machine))?;
        Ok(store)
    }

    fn add(&mut self, measurement: Measurement) -> anyhow::Result<()> {
        let Measurement { name, unit, median, low, high } = &measurement;
        eprintln!("{name:<44} {median:>14.1} {:<5} {low:.1}..{high:.1}", unit.word());
        self.write(&Line::Measurement(measurement))
    }

    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| format!("writing {}", self.path.display()))
    }
}

/// Reads a run: its machine and its measurements, as they were taken.
fn read(path: &Path) -> anyhow::Result<(Machine, Vec<Measurement>)> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let lines: io::Result<Vec<String>> = BufReader::new(file).lines().collect();
    let (mut machine, mut measurements) = (None, Vec::new());
    for (number, line) in (1..).zip(lines?) {
        let line = serde_json::from_str(&line);
        match line.with_context(|| format!("{}, line {number}", path.display()))? {
            Line::Machine(found) => machine = Some(found),
            Line::Measurement(measurement) => measurements.push(measurement),
        }
    }
    let machine = machine.with_context(|| format!("{} names no machine", path.display()))?;
    Ok((machine, measurements))
}

#[cfg(test)]
mod tests;
