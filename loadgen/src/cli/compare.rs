//! `mpreg-loadgen compare`: the same load on two targets in turn, and the ratios.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::files;
use super::progress::Bar;
use crate::latency::histogram;
use crate::load::{Load, Plan, WORKLOADS};
use crate::ratio::{Figures, Spread};
use crate::report::plot::Curve;
use crate::report::{QUANTILE_NAMES, Report, grouped};
use crate::target::Target;

/// Send the same load to two targets in turn and report ratios, b over a.
///
/// Rounds are A B, B A, A B ...: each pair of runs is close in time and neither side always goes
/// first. Ratios are taken within each pair; medians and ranges are over the pairs.
#[derive(Args, Debug)]
#[command(after_help = WORKLOADS)]
pub(super) struct Compare {
    /// The target ratios are relative to.
    #[arg(long, value_name = "URL")]
    a: Target,
    /// Its process, whose CPU time is charged to its messages.
    #[arg(long, value_name = "PID")]
    a_pid: Option<u32>,
    /// The other target.
    #[arg(long, value_name = "URL")]
    b: Target,
    #[arg(long, value_name = "PID")]
    b_pid: Option<u32>,
    /// Pairs of runs. 1 to 1,000.
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    load: Load,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a plot of latency by percentile, all rounds of a target together.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What a comparison found.
#[derive(Debug, Serialize)]
struct Comparison {
    rounds: u32,
    /// Which way round the ratios are.
    ratio_is: &'static str,
    ratio: Figures,
    a: Side,
    b: Side,
    /// All messages of all runs arrived as they should.
    is_clean: bool,
    runs: Vec<Pair>,
}

/// One target's figures over all rounds.
#[derive(Debug, Serialize)]
struct Side {
    target: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Pair {
    first: &'static str,
    a: Report,
    b: Report,
}

impl Pair {
    fn new(a: Report, b: Report) -> Self {
        let first = if a.recording.started <= b.recording.started { "a" } else { "b" };
        Self { first, a, b }
    }
}

impl Compare {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut a = Plan::new(&self.load, self.a.clone(), self.a_pid)?;
        let mut b = Plan::new(&self.load, self.b.clone(), self.b_pid)?;
        a.keep_off_pids.extend(self.b_pid);
        b.keep_off_pids.extend(self.a_pid);
        let mut pairs = Vec::new();
        for round in 0..self.rounds {
            let pair = if round % 2 == 0 {
                let a = self.half(round, "a", &a)?;
                (a, self.half(round, "b", &b)?)
            } else {
                let b = self.half(round, "b", &b)?;
                (self.half(round, "a", &a)?, b)
            };
            pairs.push(pair);
        }
        if let Some(path) = &self.svg {
            let curves = [("a", &a, 0), ("b", &b, 1)].map(|(name, plan, side)| {
                let mut whole = histogram();
                for pair in &pairs {
                    let report = if side == 0 { &pair.0 } else { &pair.1 };
                    whole.add(report.recording.whole()).expect("histograms of the same bounds");
                }
                Curve { name: format!("{name}: {}", plan.target), histogram: whole }
            });
            files::write_svg(path, &a.shape.workload.name(), &curves)?;
        }
        let comparison = Comparison::of(pairs);
        if self.json {
            println!("{}", serde_json::to_string(&comparison)?);
        } else {
            print!("{comparison}");
        }
        Ok(super::verdict(comparison.is_clean))
    }

    fn half(&self, round: u32, side: &str, plan: &Plan) -> anyhow::Result<Report> {
        let name = format!("round {}/{} {side}", round + 1, self.rounds);
        let mut bar = Bar::new(name, !self.json);
        let report = crate::run(plan, &mut |progress| bar.show(progress))?;
        bar.clear();
        Ok(report)
    }
}

impl Comparison {
    /// Of pairs `(a, b)`, at least one.
    fn of(pairs: Vec<(Report, Report)>) -> Self {
        let side = |pick: fn(&(Report, Report)) -> &Report| Side {
            target: pick(&pairs[0]).target.clone(),
            figures: Figures::of(pairs.iter().map(pick)),
        };
        Self {
            rounds: pairs.len() as u32,
            ratio_is: "b/a",
            ratio: Figures::ratios(&pairs),
            a: side(|pair| &pair.0),
            b: side(|pair| &pair.1),
            is_clean: pairs.iter().all(|(a, b)| a.is_clean() && b.is_clean()),
            runs: pairs.into_iter().map(|(a, b)| Pair::new(a, b)).collect(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, ratio, a, b, runs, .. } = self;
        writeln!(f, "a: {}\nb: {}", a.target, b.target)?;
        let load = &runs[0].a;
        write!(f, "{}, {} to {}", load.workload.name(), load.connections, load.subscribers)?;
        writeln!(f, ", {} B payload, {rounds} rounds", load.payload_bytes)?;
        writeln!(f, "{:<18}{:>14}{:>14}{:>8}   range", "", "a", "b", "b/a")?;
        let columns = [a.figures, b.figures, *ratio];
        row(f, "deliveries/s", columns.map(|figures| figures.throughput_per_s))?;
        row(f, "router CPU ns", columns.map(|figures| figures.router_cpu_ns_per_message))?;
        for (at, name) in QUANTILE_NAMES.into_iter().enumerate() {
            let quantile = |figures: Figures| figures.latency_us.quantiles()[at];
            row(f, &format!("{name} µs"), columns.map(quantile))?;
        }
        let most = |figure: fn(&Report) -> f64| {
            runs.iter().flat_map(|pair| [figure(&pair.a), figure(&pair.b)]).fold(0.0, f64::max)
        };
        writeln!(
            f,
            "worst round: generator busy {:.0} %, other processes {:.2} CPUs, steal {:.2} CPUs",
            100.0 * most(|report| report.generator.busy),
            most(|report| report.machine.others_cpus),
            most(|report| report.machine.steal_cpus),
        )?;
        for Pair { a, b, .. } in runs.iter().filter(|pair| !pair.a.is_clean() || !pair.b.is_clean())
        {
            write!(f, "NOT CLEAN:\n{a}{b}")?;
        }
        Ok(())
    }
}

/// One figure: both medians, and the ratio with its range. No line if either side lacks it.
fn row(f: &mut fmt::Formatter<'_>, name: &str, columns: [Option<Spread>; 3]) -> fmt::Result {
    let [Some(a), Some(b), Some(Spread { median, min, max })] = columns else { return Ok(()) };
    let figure = |spread: Spread| {
        if spread.median < 1e5 { format!("{:.1}", spread.median) } else { grouped(spread.median) }
    };
    let (a, b) = (figure(a), figure(b));
    writeln!(f, "{name:<18}{a:>14}{b:>14}{median:>8.3}   {min:.3} to {max:.3}")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::report::tests::sample;

    fn clean(up_to_us: u64) -> Report {
        let mut report = sample(up_to_us);
        report.faults.lost = 0;
        report.failures.clear();
        report.churn = None;
        report
    }

    #[test]
    fn the_table_shows_medians_ratios_and_what_disturbed() {
        let pairs = vec![(clean(1000), clean(2000)), (clean(1000), clean(500))];
        expect![[r#"
            a: mpreg://127.0.0.1:4000
            b: mpreg://127.0.0.1:4000
            wildcard, 2 to 3, 64 B payload, 2 rounds
                                           a             b     b/a   range
            deliveries/s             59999.5       59999.5   1.000   1.000 to 1.000
            router CPU ns             1234.5        1234.5   1.000   1.000 to 1.000
            p50 µs                     500.2         625.3   1.250   0.500 to 2.000
            p90 µs                     900.1        1125.1   1.250   0.500 to 2.000
            p99 µs                     990.2        1237.8   1.250   0.500 to 2.000
            p99.9 µs                   999.4        1249.5   1.250   0.501 to 2.000
            p99.99 µs                 1000.4        1250.6   1.250   0.500 to 2.000
            max µs                    1000.4        1250.6   1.250   0.500 to 2.000
            worst round: generator busy 30 %, other processes 0.02 CPUs, steal 0.01 CPUs
        "#]]
        .assert_eq(&Comparison::of(pairs).to_string());
    }

    #[test]
    fn one_unclean_run_makes_the_comparison_unclean() {
        let mut bad = clean(1000);
        bad.faults.lost = 1;
        assert!(Comparison::of(vec![(clean(1000), clean(1000))]).is_clean);
        assert!(!Comparison::of(vec![(clean(1000), clean(1000)), (clean(1000), bad)]).is_clean);
    }

    #[test]
    fn json_has_the_ratios_under_the_names_of_a_report() {
        let json = serde_json::to_value(Comparison::of(vec![(clean(1000), clean(2000))])).unwrap();
        assert_eq!(json["ratio"]["throughput_per_s"]["median"], 1.0);
        assert_eq!(json["ratio"]["router_cpu_ns_per_message"]["max"], 1.0);
        let p50 = json["ratio"]["latency_us"]["p50"]["min"].as_f64().unwrap();
        assert!((1.99..=2.01).contains(&p50), "{p50}");
        assert_eq!(json["ratio_is"], "b/a");
        assert_eq!(json["runs"][0]["a"]["sent"], 60_000);
    }
}
