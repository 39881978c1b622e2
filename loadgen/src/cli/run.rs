//! `mpreg-loadgen run`: one run against one target.

use std::process::ExitCode;

use clap::Args;

use crate::load::{Load, Plan};
use crate::target::Target;

/// Send one load to one target and report.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Where to send: mpreg://HOST:PORT or mpreg+unix:///PATH.
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
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let plan = Plan::new(&self.load, self.target.clone(), self.router_pid)?;
        let report = crate::run(&plan, &mut |_| ())?;
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print!("{report}");
        }
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
