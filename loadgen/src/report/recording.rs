//! Latencies of a run: in full, by interval, and the six figures they are quoted by.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::brief::Brief;
use crate::generator::Outcome;
use crate::latency::{LatencyHistogram, histogram};

/// Microseconds; none where nothing was timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
    /// Messages timed: all, or in a closed loop with a window above 16 one of sixteen.
    pub count: u64,
}

/// The names of the figures, for tables and plots.
pub const QUANTILE_NAMES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// Histograms in nanoseconds, one per interval of the measured window.
#[derive(Clone, Debug)]
pub struct Recording {
    pub started: SystemTime,
    /// From `started` to the first interval.
    pub offset: Duration,
    pub interval: Duration,
    pub intervals: Vec<LatencyHistogram>,
}

impl Latency {
    pub fn of(histogram: &LatencyHistogram) -> Self {
        let count = histogram.len();
        let us = |ns: u64| (0 < count).then_some(ns as f64 / 1e3);
        let quantile = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            p9999: quantile(0.9999),
            max: us(histogram.max()),
            count,
        }
    }

    /// The figures, in the order of [`QUANTILE_NAMES`].
    pub fn quantiles(&self) -> [Option<f64>; 6] {
        let Self { p50, p90, p99, p999, p9999, max, count: _ } = *self;
        [p50, p90, p99, p999, p9999, max]
    }
}

impl Recording {
    pub(super) fn merge(brief: &Brief, started: SystemTime, outcomes: &[Outcome]) -> Self {
        let (first, rest) = outcomes.split_first().expect("a run has a thread");
        let mut intervals = first.intervals.clone();
        for outcome in rest {
            for (sum, interval) in intervals.iter_mut().zip(&outcome.intervals) {
                sum.add(interval).expect("histograms of the same bounds");
            }
        }
        Self {
            started,
            offset: Duration::from_nanos(brief.window.from_ns),
            interval: Duration::from_nanos(brief.window.interval_ns()),
            intervals,
        }
    }

    /// All intervals as one.
    pub fn whole(&self) -> LatencyHistogram {
        let mut whole = histogram();
        for interval in &self.intervals {
            whole.add(interval).expect("histograms of the same bounds");
        }
        whole
    }
}
