//! Runs histories of one node from seeds.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use mpreg_tests::play::{Report, play};
use mpreg_tests::trace::Show;

const USAGE: &str = "usage: sim --seed N [--trace] | sim --seeds FROM..TO";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let seeds = match args[..] {
        ["--seed", seed] => seed.parse().map(|seed: u64| (seed..seed + 1, Show::Nothing)).ok(),
        ["--seed", seed, "--trace"] => {
            seed.parse().map(|seed: u64| (seed..seed + 1, Show::Steps)).ok()
        }
        ["--seeds", range] => range
            .split_once("..")
            .and_then(|(from, to)| Some((from.parse().ok()?..to.parse().ok()?, Show::Nothing))),
        _ => None,
    };
    let Some((seeds, show)) = seeds else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let (mut total, mut count, mut failures) = (Report::default(), 0u64, 0u64);
    for seed in seeds {
        count += 1;
        match play(seed, show) {
            Ok(report) => total.add(&report),
            Err(failure) => {
                failures += 1;
                println!("{failure}");
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {failures} failed, {:.1} s, {:.0} seeds/s, {:.0} events/s",
        seconds,
        count as f64 / seconds,
        total.events as f64 / seconds
    );
    println!("{total}");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
