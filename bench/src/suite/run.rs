//! `mpreg-bench run`: measure this build and keep the figures.

use std::path::PathBuf;
use std::process::ExitCode;

use super::load::Pace;
use super::machine::Machine;
use super::{Store, load, micro};

/// Measure this build and keep the figures as a file of JSON lines.
///
/// The microbenchmarks are built and run by cargo, so this is started in a checkout. The load is
/// put on the binaries beside this one: build them all with `cargo build --release`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Folder for the file, made if it is not there.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// What to measure.
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Only benchmarks and scenarios with this in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Seconds of each round of load.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of load; odd ones have a middle.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// CPUs of the router, separated by commas, the control core's first; the floor takes the last.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    router_cpus: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The microbenchmarks.
    Micro,
    /// Router and floor under load.
    Load,
    All,
}

impl Run {
    /// 1 if a message was lost, duplicated, reordered or corrupted under load.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut store = Store::begin(&self.store, Machine::here())?;
        let only = self.only.as_deref();
        let mut is_clean = true;
        if self.part != Part::Load {
            micro::measure(only, &mut store)?;
        }
        if self.part != Part::Micro {
            let pace = Pace {
                seconds: self.seconds,
                rounds: usize::from(self.rounds),
                router_cpus: self.router_cpus.clone(),
            };
            is_clean = load::measure(&pace, only, &mut store)?;
        }
        println!("{}", store.path.display());
        Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
