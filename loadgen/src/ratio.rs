//! Ratios: two targets under the same load, pair by pair.
//!
//! Machines drift over minutes; two runs next to each other drift together. So a ratio is taken
//! within each pair and the median is over ratios, never a ratio of medians.

use serde::Serialize;

use crate::report::{Latency, Report};

/// Several figures as one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// The figures two runs are compared by, each over several runs or pairs of them. None where a run
/// did not have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub throughput_per_s: Option<Spread>,
    pub router_cpu_ns_per_message: Option<Spread>,
    pub latency_us: LatencyFigures,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyFigures {
    pub p50: Option<Spread>,
    pub p90: Option<Spread>,
    pub p99: Option<Spread>,
    pub p999: Option<Spread>,
    pub p9999: Option<Spread>,
    pub max: Option<Spread>,
}

impl Spread {
    /// None if there are no figures, or any of them is not a number.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        if figures.is_empty() || !figures.iter().all(|figure| figure.is_finite()) {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Self { median, min: figures[0], max: figures[figures.len() - 1] })
    }
}

impl Figures {
    /// Of several runs.
    pub fn of<'a>(reports: impl Iterator<Item = &'a Report>) -> Self {
        Self::spread(reports.map(figures).collect())
    }

    /// `b / a` of each pair `(a, b)`.
    pub fn ratios(pairs: &[(Report, Report)]) -> Self {
        let ratios = |(a, b): &(Report, Report)| {
            let (a, b) = (figures(a), figures(b));
            std::array::from_fn(|at| Some(b[at]? / a[at]?))
        };
        Self::spread(pairs.iter().map(ratios).collect())
    }

    fn spread(rows: Vec<Row>) -> Self {
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Option<Vec<_>>>();
        let [throughput_per_s, router_cpu_ns_per_message, p50, p90, p99, p999, p9999, max] =
            std::array::from_fn(|at| column(at).and_then(Spread::of));
        let latency_us = LatencyFigures { p50, p90, p99, p999, p9999, max };
        Self { throughput_per_s, router_cpu_ns_per_message, latency_us }
    }
}

/// One run's figures, in the order of the fields of [`Figures`].
type Row = [Option<f64>; 8];

fn figures(report: &Report) -> Row {
    let Latency { p50, p90, p99, p999, p9999, max, count: _ } = report.latency_us;
    let throughput = Some(report.throughput_per_s);
    [throughput, report.router_cpu_ns_per_message, p50, p90, p99, p999, p9999, max]
}

impl LatencyFigures {
    /// In the order of [`crate::report::QUANTILE_NAMES`].
    pub fn quantiles(&self) -> [Option<Spread>; 6] {
        let Self { p50, p90, p99, p999, p9999, max } = *self;
        [p50, p90, p99, p999, p9999, max]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    fn spread(figures: &[f64]) -> Option<[f64; 3]> {
        Spread::of(figures.to_vec()).map(|Spread { median, min, max }| [median, min, max])
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(spread(&[3.0]), Some([3.0, 3.0, 3.0]));
        assert_eq!(spread(&[5.0, 1.0, 3.0]), Some([3.0, 1.0, 5.0]));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 8.0]), Some([3.0, 1.0, 8.0]));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[1.0, f64::NAN]), None);
        assert_eq!(spread(&[1.0, f64::INFINITY]), None);
    }

    fn report(throughput_per_s: f64, cpu_ns: Option<f64>, p99: Option<f64>) -> Report {
        let latency_us = Latency { p99, ..Latency::default() };
        Report { throughput_per_s, router_cpu_ns_per_message: cpu_ns, latency_us, ..sample(0) }
    }

    #[test]
    fn ratios_are_b_over_a_within_each_pair() {
        let pairs = [
            (report(100.0, Some(10.0), Some(4.0)), report(200.0, Some(5.0), Some(4.0))),
            (report(10.0, Some(10.0), Some(2.0)), report(10.0, Some(20.0), Some(1.0))),
            (report(50.0, Some(1.0), Some(1.0)), report(150.0, Some(1.0), Some(8.0))),
        ];
        let ratio = Figures::ratios(&pairs);
        let numbers = |spread: Option<Spread>| spread.map(|s| [s.median, s.min, s.max]);
        assert_eq!(numbers(ratio.throughput_per_s), Some([2.0, 1.0, 3.0]));
        assert_eq!(numbers(ratio.router_cpu_ns_per_message), Some([1.0, 0.5, 2.0]));
        assert_eq!(numbers(ratio.latency_us.p99), Some([1.0, 0.5, 8.0]));
        assert_eq!(ratio.latency_us.p50, None);
        let side = Figures::of(pairs.iter().map(|(_, b)| b));
        assert_eq!(numbers(side.throughput_per_s), Some([150.0, 10.0, 200.0]));
    }

    #[test]
    fn a_figure_missing_on_one_side_has_no_ratio() {
        let pairs = [(report(1.0, None, Some(1.0)), report(1.0, Some(1.0), Some(1.0)))];
        assert_eq!(Figures::ratios(&pairs).router_cpu_ns_per_message, None);
    }
}
