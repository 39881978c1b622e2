//! `mpreg-loadgen run`: one run against one target.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::files;
use super::progress::Bar;
use crate::load::{Load, Plan, WORKLOADS};
use crate::report::plot::Curve;
use crate::target::Target;

/// Send one load to one target and report.
#[derive(Args, Debug)]
#[command(after_help = WORKLOADS)]
pub(super) struct Run {
    /// Where to send: mpreg://HOST:PORT, mpreg+unix:///PATH, or nats, tls, ws or wss://HOST:PORT.
    #[arg(long, value_name = "URL")]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Process whose CPU time is charged to the messages.
    #[arg(long, value_name = "PID")]
    router_pid: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the latencies as an HdrHistogram interval log.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a plot of latency by percentile.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let plan = Plan::new(&self.load, self.target.clone(), self.router_pid)?;
        let mut bar = Bar::new(plan.shape.workload.name(), !self.json);
        let report = crate::run(&plan, &mut |progress| bar.show(progress))?;
        bar.clear();
        if let Some(path) = &self.hlog {
            files::write_hlog(path, &report)?;
        }
        if let Some(path) = &self.svg {
            let name = report.target.clone();
            let curve = Curve { name, histogram: report.recording.whole() };
            files::write_svg(path, &report.workload.name(), &[curve])?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print!("{report}");
        }
        Ok(super::verdict(report.is_clean()))
    }
}
