//! The command line: what `mpreg-loadgen` is asked to do, and its exit code.

mod compare;
mod files;
mod progress;
mod run;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load for message routers: every message verified, latencies and costs reported.
///
/// Exit code 0: every message arrived once, in order, as it was sent. 1: some did not, or a
/// connection failed. 2: the load could not be run.
#[derive(Debug, Parser)]
#[command(name = "mpreg-loadgen", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Compare(compare::Compare),
    Sweep(sweep::Sweep),
}

impl Cli {
    /// Runs the subcommand; an error is for stderr, with exit code 2.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Run(run) => run.run(),
            Command::Compare(compare) => compare.run(),
            Command::Sweep(sweep) => sweep.run(),
        }
    }
}

fn verdict(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
