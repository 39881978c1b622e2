//! `mpreg-bench`: measures, keeps what it measured, and compares two kept runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use mpreg_bench::catalog::Catalogs;
use mpreg_bench::hold::Hold;
use mpreg_bench::suite::{compare::Compare, run::Run};

/// Measure this build, keep the figures, compare two runs.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    Run(Run),
    Compare(Compare),
    Hold(Hold),
    Catalog(Catalogs),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Run(run) => run.run(),
        Command::Compare(compare) => compare.run(&mut std::io::stdout().lock()),
        Command::Catalog(catalogs) => catalogs.run().map(|()| ExitCode::SUCCESS),
        Command::Hold(hold) => hold.run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("mpreg-bench: {error:#}");
        ExitCode::from(2)
    })
}
