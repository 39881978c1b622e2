//! Runs the bare forwarder that router figures are shown beside. A yardstick, not a router.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mpreg_bench::floor::{self, Options, Variant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The least a forwarder can do on the native wire. For comparison on loopback only: it has no
/// limits, no overload policy and no wildcards.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to accept on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Core to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// How frames get to subscribers.
    #[arg(long, value_enum, default_value = "copy")]
    variant: Variant,
    /// Written once serving: JSON with `pid` and `native`.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { listen, cpu, variant, ready_file } = Arguments::parse();
    let Err(error) = floor::serve(&Options { listen, cpu, variant, ready_file });
    eprintln!("mpreg-floor: {error:#}");
    ExitCode::FAILURE
}
