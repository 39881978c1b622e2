//! `mpreg-loadgen`: parse, run, exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match mpreg_loadgen::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mpreg-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}
