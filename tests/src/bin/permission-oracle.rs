//! Compares permissions with brute force: every pair of patterns, then random lists.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use mpreg_tests::permission_oracle::{Answers, Oracle};

const USAGE: &str = "\
usage: permission-oracle [--cases N] [--seed N]

  --cases    random questions, 10,000,000 unless told
  --seed     of the random questions, 1 unless told";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((cases, seed)) = parse(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let oracle = Oracle::new();
    let started = Instant::now();
    let outcome = oracle.exhaust(&Answers::PRODUCT).and_then(|pairs| {
        println!("{pairs} pairs of patterns agree, {:.1} s", started.elapsed().as_secs_f64());
        oracle.judge(&Answers::PRODUCT, cases, seed)
    });
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(tally) => {
            println!("{cases} cases from seed {seed} agree, {seconds:.1} s in all: {tally:?}");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            println!("seed {seed}, after {seconds:.1} s: {difference}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Option<(u64, u64)> {
    let (mut cases, mut seed) = (10_000_000, 1);
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        let value = args.next()?.parse().ok()?;
        match argument.as_str() {
            "--cases" => cases = value,
            "--seed" => seed = value,
            _ => return None,
        }
    }
    Some((cases, seed))
}
