//! Plants the bugs of `planted/bugs.rs` in a copy of the sources and plays seeds with each until one fails.
//!
//! Arguments: names or numbers of bugs; none means all. The copy and its build stay in the target
//! directory.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use mpreg_tests::planted::{ALL, SEEDS, VARIABLE, build, find};

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let bugs: Option<Vec<usize>> = match wanted.is_empty() {
        true => Some((1..=ALL.len()).collect()),
        false => wanted.iter().map(|name| find(name)).collect(),
    };
    let Some(bugs) = bugs else {
        eprintln!("there are bugs 1 to {}", ALL.len());
        return ExitCode::from(2);
    };
    let sim = match build() {
        Ok(sim) => sim,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("{:>2} {:<44} {:<12} {:>6} {:>8}", "", "bug", "rule", "seed", "time");
    let mut found_count = 0;
    for &bug in &bugs {
        let found = search(&sim, bug);
        found_count += usize::from(found.is_ok());
        let (Ok(text) | Err(text)) = found;
        println!("{bug:>2} {:<44} {text}", ALL[bug - 1].name);
    }
    println!("{found_count} of {} found", bugs.len());
    if found_count == bugs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The rule that broke first, at which seed, and how long it took to get there. A seed is a process: with
/// a bug one may take very long, and it is not one before the first that fails.
fn search(sim: &Path, bug: usize) -> Result<String, String> {
    let started = Instant::now();
    for seed in 0..SEEDS {
        let mut one = Command::new(sim);
        let kind = ALL[bug - 1].simulator();
        one.env(VARIABLE, bug.to_string()).args([kind, "--seed", &seed.to_string()]);
        let played = one.output().map_err(|error| error.to_string())?;
        if !played.status.success() {
            let said = String::from_utf8_lossy(&played.stderr).into_owned();
            let (rule, seconds) = (first_failure(&said), started.elapsed().as_secs_f64());
            return Ok(format!("{rule:<12} {seed:>6} {seconds:>6.1} s"));
        }
    }
    Err(format!("NOT FOUND in {SEEDS} seeds"))
}

/// Of what `sim` says: `seed 7, event 9: rule: why`, or that an assertion broke.
fn first_failure(said: &str) -> &str {
    said.lines().find_map(failure).unwrap_or("assertion")
}

fn failure(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("seed ")?.split_once(", event ")?;
    let (_, rest) = rest.split_once(": ")?;
    let (rule, _) = rest.split_once(':')?;
    Some(rule)
}
