//! `mpreg-loadgen sweep`: find the knee, then look at latency below it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::files;
use super::progress::Bar;
use crate::load::{Load, Plan, Rate, WORKLOADS};
use crate::report::plot::Curve;
use crate::report::{QUANTILE_NAMES, Report, grouped};
use crate::target::Target;

/// Measure the highest throughput, then latency at fixed fractions of it.
#[derive(Args, Debug)]
#[command(after_help = WORKLOADS)]
pub(super) struct Sweep {
    /// Where to send: mpreg://HOST:PORT, mpreg+unix:///PATH, or nats, tls, ws or wss://HOST:PORT.
    #[arg(long, value_name = "URL")]
    target: Target,
    /// Percent of the knee to run at.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [25, 50, 75],
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    fractions: Vec<u32>,
    /// Published messages a second taken as the knee. Left out: those of a closed-loop run.
    #[arg(long, value_name = "PER_S", value_parser = clap::value_parser!(u64).range(1..))]
    knee: Option<u64>,
    #[command(flatten)]
    load: Load,
    /// Process whose CPU time is charged to the messages.
    #[arg(long, value_name = "PID")]
    router_pid: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write latency-N.hlog and latency-N.svg for each fraction N, and latency.svg with all.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What a sweep found.
#[derive(Debug, Serialize)]
struct Steps {
    /// Published messages a second.
    knee_per_s: u64,
    /// The closed-loop run the knee was taken from.
    knee: Option<Report>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    percent: u32,
    report: Report,
}

impl Sweep {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let knee = match self.knee {
            Some(_) => None,
            None => Some(self.measure("knee", Rate::Max)?),
        };
        let measured = || knee.as_ref().map_or(0, |report| report.published_per_s as u64);
        let knee_per_s = self.knee.unwrap_or_else(measured);
        let mut steps = Vec::new();
        for &percent in &self.fractions {
            let per_s = (knee_per_s * u64::from(percent) / 100).max(1);
            let report = self.measure(&format!("{percent} %"), Rate::PerSecond(per_s))?;
            steps.push(Step { percent, report });
        }
        let found = Steps { knee_per_s, knee, steps };
        self.write_files(&found)?;
        if self.json {
            println!("{}", serde_json::to_string(&found)?);
        } else {
            print!("{found}");
        }
        Ok(super::verdict(found.is_clean()))
    }

    fn measure(&self, name: &str, rate: Rate) -> anyhow::Result<Report> {
        let load = Load { rate, ..self.load.clone() };
        let plan = Plan::new(&load, self.target.clone(), self.router_pid)?;
        let mut bar = Bar::new(name.to_owned(), !self.json);
        let report = crate::run(&plan, &mut |progress| bar.show(progress))?;
        bar.clear();
        Ok(report)
    }

    fn write_files(&self, found: &Steps) -> anyhow::Result<()> {
        let Some(dir) = &self.out else { return Ok(()) };
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let workload = self.load.workload.name();
        for step in &found.steps {
            let stem = format!("latency-{}", step.percent);
            files::write_hlog(&dir.join(format!("{stem}.hlog")), &step.report)?;
            files::write_svg(&dir.join(format!("{stem}.svg")), &workload, &[step.curve()])?;
        }
        let curves: Vec<_> = found.steps.iter().map(Step::curve).collect();
        files::write_svg(&dir.join("latency.svg"), &workload, &curves)
    }
}

impl Steps {
    fn is_clean(&self) -> bool {
        self.knee.iter().chain(self.steps.iter().map(|step| &step.report)).all(Report::is_clean)
    }
}

impl Step {
    fn curve(&self) -> Curve {
        let Rate::PerSecond(per_s) = self.report.rate else { unreachable!("steps have rates") };
        let name = format!("{} %: {}/s", self.percent, grouped(per_s as f64));
        Curve { name, histogram: self.report.recording.whole() }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "knee {} published/s", grouped(self.knee_per_s as f64))?;
        write!(f, "{:>6}{:>14}", "", "published/s")?;
        QUANTILE_NAMES.iter().try_for_each(|name| write!(f, "{name:>11}"))?;
        writeln!(f, "{:>9}", "CPU ns")?;
        for Step { percent, report } in &self.steps {
            write!(f, "{percent:>4} %{:>14}", grouped(report.published_per_s))?;
            for us in report.latency_us.quantiles() {
                write!(f, "{:>11}", us.map_or(String::from("-"), |us| format!("{us:.1}")))?;
            }
            let cpu_ns = report.router_cpu_ns_per_message;
            write!(f, "{:>9}", cpu_ns.map_or(String::from("-"), |ns| format!("{ns:.1}")))?;
            if report.generator.fell_behind {
                write!(f, "   GENERATOR FELL BEHIND")?;
            }
            writeln!(f)?;
        }
        for report in self.knee.iter().chain(self.steps.iter().map(|step| &step.report)) {
            if !report.is_clean() {
                write!(f, "NOT CLEAN:\n{report}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_table_has_a_line_per_rate() {
        let clean = |up_to_us| {
            let mut report = sample(up_to_us);
            report.faults.lost = 0;
            report.failures.clear();
            report.churn = None;
            report.generator.fell_behind = up_to_us == 9000;
            report
        };
        let steps = vec![
            Step { percent: 25, report: clean(100) },
            Step { percent: 75, report: clean(9000) },
        ];
        let found = Steps { knee_per_s: 80_000, knee: None, steps };
        expect![[r#"
            knee 80 000 published/s
                     published/s        p50        p90        p99      p99.9     p99.99        max   CPU ns
              25 %        20 000       50.0       90.0       99.0      100.0      100.0      100.0   1234.5
              75 %        20 000     4501.5     8101.9     8912.9     8994.8     9003.0     9003.0   1234.5   GENERATOR FELL BEHIND
        "#]].assert_eq(&found.to_string());
    }
}
