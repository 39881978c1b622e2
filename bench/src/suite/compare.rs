//! `mpreg-bench compare`: two kept runs, figure by figure.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{Measurement, Unit, read};

/// Set one kept run beside another.
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// The run that is the measure.
    a: PathBuf,
    /// The run that is measured by it.
    b: PathBuf,
    /// Exit with 1 if a figure of B is worse than A's by more than this, beyond what both varied.
    #[arg(long, value_name = "PERCENT")]
    allow: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// All figures of both runs.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Said before anything else when the runs were taken on different machines.
    is_same_machine: bool,
    rows: Vec<Row>,
    /// Figures that one of the runs lacks.
    only_in_a: Vec<String>,
    only_in_b: Vec<String>,
}

/// A figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    name: String,
    unit: Unit,
    a: f64,
    b: f64,
    /// B through A.
    ratio: f64,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Better,
    Worse,
    /// What the two varied between overlaps.
    Same,
}

impl Compare {
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let ((machine_a, a), (machine_b, b)) = (read(&self.a)?, read(&self.b)?);
        let comparison = Comparison {
            is_same_machine: machine_a.is_like(&machine_b),
            ..Comparison::between(&a, &b)
        };
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&comparison)?)?;
        } else {
            write!(out, "{comparison}")?;
        }
        let is_allowed = self.allow.is_none_or(|percent| comparison.is_within(percent));
        Ok(if is_allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Comparison {
    fn between(a: &[Measurement], b: &[Measurement]) -> Self {
        let find = |all: &[Measurement], name: &str| {
            all.iter().find(|measurement| measurement.name == name).cloned()
        };
        let missing = |from: &[Measurement], to: &[Measurement]| {
            let names = from.iter().map(|measurement| measurement.name.clone());
            names.filter(|name| find(to, name).is_none()).collect()
        };
        let pairs = a.iter().filter_map(|a| Some((a, find(b, &a.name)?)));
        Self {
            is_same_machine: true,
            rows: pairs.map(|(a, b)| Row::of(a, &b)).collect(),
            only_in_a: missing(a, b),
            only_in_b: missing(b, a),
        }
    }

    /// No figure is worse by more than this, those apart whose spreads overlap.
    fn is_within(&self, percent: f64) -> bool {
        let worst = |row: &Row| match row.unit.is_better_high() {
            true => row.a / row.b,
            false => row.ratio,
        };
        let worse = self.rows.iter().filter(|row| row.verdict == Verdict::Worse);
        worse.map(worst).all(|ratio| ratio <= 1.0 + percent / 100.0)
    }
}

impl Row {
    fn of(a: &Measurement, b: &Measurement) -> Self {
        let is_higher = a.high < b.low;
        let is_lower = b.high < a.low;
        let verdict = match (is_higher, is_lower) {
            (false, false) => Verdict::Same,
            _ if is_higher == a.unit.is_better_high() => Verdict::Better,
            _ => Verdict::Worse,
        };
        let ratio = b.median / a.median;
        Self { name: a.name.clone(), unit: a.unit, a: a.median, b: b.median, ratio, verdict }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_same_machine {
            writeln!(f, "taken on different machines: the ratios say little")?;
        }
        writeln!(f, "{:<44} {:>14} {:>14} {:<5} {:>7}", "", "A", "B", "", "B/A")?;
        for Row { name, unit, a, b, ratio, verdict } in &self.rows {
            let (unit, mark) = (unit.word(), verdict.mark());
            writeln!(f, "{name:<44} {a:>14.1} {b:>14.1} {unit:<5} {ratio:>7.3}{mark}")?;
        }
        for (names, run) in [(&self.only_in_a, "A"), (&self.only_in_b, "B")] {
            if !names.is_empty() {
                writeln!(f, "only in {run}: {} figures; --json names them", names.len())?;
            }
        }
        Ok(())
    }
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Self::Better => "  better",
            Self::Worse => "  worse",
            Self::Same => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, unit: Unit, low: f64, median: f64, high: f64) -> Measurement {
        Measurement { name: name.to_owned(), unit, median, low, high }
    }

    fn compared(unit: Unit, a: [f64; 3], b: [f64; 3]) -> Comparison {
        let one = |[low, median, high]: [f64; 3]| vec![measured("x", unit, low, median, high)];
        Comparison::between(&one(a), &one(b))
    }

    #[test]
    fn what_overlaps_is_the_same_however_far_the_middles_are() {
        let comparison = compared(Unit::Nanoseconds, [10.0, 11.0, 20.0], [19.0, 30.0, 40.0]);
        assert_eq!(comparison.rows[0].verdict, Verdict::Same);
        assert!(comparison.is_within(0.0));
    }

    #[test]
    fn less_time_is_better_and_fewer_a_second_is_worse() {
        let (few, many) = ([10.0, 11.0, 12.0], [20.0, 22.0, 24.0]);
        let verdict = |unit, a, b| compared(unit, a, b).rows[0].verdict;
        assert_eq!(verdict(Unit::Nanoseconds, many, few), Verdict::Better);
        assert_eq!(verdict(Unit::Nanoseconds, few, many), Verdict::Worse);
        assert_eq!(verdict(Unit::PerSecond, many, few), Verdict::Worse);
        assert_eq!(verdict(Unit::PerSecond, few, many), Verdict::Better);
    }

    #[test]
    fn allowance_is_in_percent_of_what_got_worse() {
        let comparison = compared(Unit::PerSecond, [20.0; 3], [16.0; 3]);
        assert!(comparison.is_within(25.0));
        assert!(!comparison.is_within(24.9));
        let comparison = compared(Unit::Microseconds, [20.0; 3], [25.0; 3]);
        assert!(comparison.is_within(25.0));
        assert!(!comparison.is_within(24.9));
    }

    #[test]
    fn figures_that_only_one_run_has_are_named() {
        let a = [
            measured("both", Unit::Bytes, 1.0, 1.0, 1.0),
            measured("a", Unit::Bytes, 1.0, 1.0, 1.0),
        ];
        let b = [
            measured("b", Unit::Bytes, 1.0, 1.0, 1.0),
            measured("both", Unit::Bytes, 1.0, 1.0, 1.0),
        ];
        let comparison = Comparison::between(&a, &b);
        assert_eq!(comparison.rows.len(), 1);
        assert_eq!(
            (comparison.only_in_a, comparison.only_in_b),
            (vec!["a".into()], vec!["b".into()])
        );
    }
}
