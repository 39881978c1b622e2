//! Plants each bug of `planted.rs` in a copy of the sources and plays seeds until one fails.
//!
//! Arguments: names or numbers of bugs; none means all. The copy and its build stay in the target
//! directory.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};
use std::time::Instant;

use mpreg_tests::planted::{ALL, Planted, SEEDS, build, find};

/// Seeds played at once: enough to be worth a process, few enough to end soon after the first failure.
const AT_ONCE: u64 = 50;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let bugs: Vec<&Planted> = match wanted.is_empty() {
        true => ALL.iter().collect(),
        false => wanted.iter().filter_map(|name| find(name)).collect(),
    };
    let mut found_count = 0;
    for bug in &bugs {
        let found = build(bug).and_then(search);
        found_count += usize::from(found.is_ok());
        let (Ok(text) | Err(text)) = found;
        println!("{:<36} {text}", bug.name);
    }
    println!("{found_count} of {} found", bugs.len());
    if found_count == bugs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How long it took and the first line of the first failure.
fn search(mut sim: Command) -> Result<String, String> {
    let started = Instant::now();
    sim.arg("--mesh").arg("--seeds");
    for from in (0..SEEDS).step_by(AT_ONCE as usize) {
        let mut some = Command::new(sim.get_program());
        some.args(sim.get_args()).arg(format!("{from}..{}", from + AT_ONCE));
        let played = some.output().map_err(|error| error.to_string())?;
        if !played.status.success() {
            let said = String::from_utf8_lossy(&played.stderr).into_owned();
            let is_it = |line: &&str| line.contains("seed ");
            let first: String = said.lines().find(is_it).unwrap_or("?").chars().take(120).collect();
            return Ok(format!("{:>6.1} s  {first}", started.elapsed().as_secs_f64()));
        }
    }
    Err(format!("NOT FOUND in {SEEDS} seeds"))
}
