//! The subcommands.

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load for message routers: every message verified, latencies and costs reported.
#[derive(Debug, Parser)]
#[command(name = "mpreg-loadgen", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
}

impl Cli {
    /// 0: all messages arrived as they should. 1: some did not.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Run(run) => run.run(),
        }
    }
}
