//! What a shard measures of the functions that it is the home of, by name.
//!
//! The shard writes; whoever shows it reads. Only the times of one function are behind a lock, for as long
//! as it takes to look at them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use mpreg_fabric::call::Measured;
use mpreg_fabric::limits::CALL_DEADLINE_MAX;
use mpreg_proto::call::CallError;
use mpreg_proto::function::FunctionName;
use serde::{Deserialize, Serialize};

use super::{CallProbe, Count, Kind, Row};

/// The label of what has no numbers of its own. No function can have this name.
const OTHERS: &str = "(other)";

/// Of a time, how many digits are kept.
const DIGITS: u8 = 2;

/// Of one function, or of all that have none of their own.
#[derive(Debug, Default)]
pub struct FunctionProbe {
    answered: Count,
    failed: [Count; CallError::ALL.len()],
    calls: Times,
    jobs_begun: Count,
    jobs_done: Count,
    jobs_failed: Count,
    jobs: Times,
}

/// Calls by clients of this node, and jobs of its workers, of one function since it was first called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub calls_answered: u64,
    /// By the error, those that came up.
    pub calls_failed: BTreeMap<String, u64>,
    pub calls: Spent,
    pub jobs_done: u64,
    /// The worker said so, or went away.
    pub jobs_failed: u64,
    pub jobs_in_flight: u64,
    pub jobs: Spent,
}

/// Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub sum_us: u64,
    /// Half of them took no longer, to two digits.
    pub p50_us: u64,
    pub p99_us: u64,
}

#[derive(Debug)]
struct Times {
    us: Count,
    histogram: Mutex<Histogram<u64>>,
}

/// Those that have a name of their own.
pub(super) type Named = Mutex<BTreeMap<FunctionName, Arc<FunctionProbe>>>;

impl FunctionProbe {
    pub fn job_begun(&self) {
        self.jobs_begun.add(1);
    }

    pub fn ended(&self, what: Measured, took: Duration) {
        let (count, times) = match what {
            Measured::Call(None) => (&self.answered, &self.calls),
            Measured::Call(Some(error)) => (&self.failed[index(error)], &self.calls),
            Measured::Job { is_failed: false } => (&self.jobs_done, &self.jobs),
            Measured::Job { is_failed: true } => (&self.jobs_failed, &self.jobs),
        };
        count.add(1);
        times.add(took);
        // It may have begun among the others.
        self.jobs_begun.raise_to(self.jobs_done.get() + self.jobs_failed.get());
    }

    pub fn usage(&self) -> Usage {
        let failed = CallError::ALL.map(|error| (error.word(), self.failed[index(error)].get()));
        let failed = failed.into_iter().filter(|(_, count)| *count != 0);
        let (jobs_done, jobs_failed) = (self.jobs_done.get(), self.jobs_failed.get());
        Usage {
            calls_answered: self.answered.get(),
            calls_failed: failed.map(|(word, count)| (word.to_owned(), count)).collect(),
            calls: self.calls.spent(),
            jobs_done,
            jobs_failed,
            jobs_in_flight: self.jobs_begun.get().saturating_sub(jobs_done + jobs_failed),
            jobs: self.jobs.spent(),
        }
    }

    /// Takes what another one counted. What runs there ends here.
    fn absorb(&self, other: &Self) {
        self.answered.add(other.answered.get());
        for (count, more) in self.failed.iter().zip(&other.failed) {
            count.add(more.get());
        }
        self.calls.absorb(&other.calls);
        self.jobs_begun.add(other.jobs_begun.get());
        self.jobs_done.add(other.jobs_done.get());
        self.jobs_failed.add(other.jobs_failed.get());
        self.jobs.absorb(&other.jobs);
    }
}

impl Default for Times {
    fn default() -> Self {
        let most = micros(CALL_DEADLINE_MAX);
        let histogram = Histogram::new_with_bounds(1, most, DIGITS);
        let histogram = histogram.expect("bounds that are far enough from each other");
        Self { us: Count::default(), histogram: Mutex::new(histogram) }
    }
}

impl Times {
    fn add(&self, took: Duration) {
        let us = micros(took.min(CALL_DEADLINE_MAX));
        self.us.add(us);
        self.lock().saturating_record(us);
    }

    fn absorb(&self, other: &Self) {
        self.us.add(other.us.get());
        self.lock().add(&*other.lock()).expect("their bounds are the same");
    }

    fn spent(&self) -> Spent {
        let histogram = self.lock();
        let [p50_us, p99_us] = [0.5, 0.99].map(|share| histogram.value_at_quantile(share));
        Spent { sum_us: self.us.get(), p50_us, p99_us }
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallProbe {
    /// A function has numbers of its own from here on.
    pub fn list(&self, name: FunctionName, function: Arc<FunctionProbe>) {
        self.named().insert(name, function);
    }

    /// And has no more: they are counted with the others.
    pub fn delist(&self, name: &FunctionName) {
        let gone = self.named().remove(name);
        gone.into_iter().for_each(|function| self.others.absorb(&function));
    }

    pub fn others(&self) -> &FunctionProbe {
        &self.others
    }

    /// By name, without the others.
    pub fn usages(&self) -> BTreeMap<String, Usage> {
        let named = self.named().clone();
        named.iter().map(|(name, function)| (name.to_string(), function.usage())).collect()
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<FunctionName, Arc<FunctionProbe>>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of each function, for the metrics page.
    pub(super) fn function_rows(&self, shard: &str, out: &mut Vec<Row>) {
        let others = (OTHERS.to_owned(), self.others.usage());
        for (name, usage) in self.usages().into_iter().chain([others]) {
            rows_of(&[("shard", shard), ("function", &name)], &usage, out);
        }
    }
}

fn rows_of(labels: &[(&'static str, &str)], usage: &Usage, out: &mut Vec<Row>) {
    let mut row = |kind, name, help, more: Option<(&'static str, &str)>, value| {
        let labels = labels.iter().copied().chain(more);
        let labels = labels.map(|(key, value)| (key, value.to_owned())).collect();
        out.push(Row { name, help, kind, labels, value });
    };
    let outcomes = usage.calls_failed.iter().map(|(word, &count)| (word.as_str(), count));
    for (word, count) in [("answered", usage.calls_answered)].into_iter().chain(outcomes) {
        let help = "Calls of clients by function, and how they ended.";
        let name = "mpreg_function_calls_total";
        row(Kind::Counter, name, help, Some(("outcome", word)), count as f64);
    }
    for (word, count) in [("done", usage.jobs_done), ("failed", usage.jobs_failed)] {
        let help = "Jobs of workers by function, and how they ended.";
        let name = "mpreg_function_jobs_total";
        row(Kind::Counter, name, help, Some(("outcome", word)), count as f64);
    }
    let help = "Jobs that workers have.";
    row(Kind::Gauge, "mpreg_function_jobs_running", help, None, usage.jobs_in_flight as f64);
    let times = [
        (
            ("mpreg_function_call_seconds_total", "Time that calls of clients took."),
            ("mpreg_function_call_quantile_seconds", "In which so many calls ended."),
            &usage.calls,
        ),
        (
            ("mpreg_function_job_seconds_total", "Time that workers took."),
            ("mpreg_function_job_quantile_seconds", "In which so many jobs ended."),
            &usage.jobs,
        ),
    ];
    for ((sum_name, sum_help), (name, help), spent) in times {
        row(Kind::Counter, sum_name, sum_help, None, seconds(spent.sum_us));
        for (quantile, us) in [("0.5", spent.p50_us), ("0.99", spent.p99_us)] {
            row(Kind::Gauge, name, help, Some(("quantile", quantile)), seconds(us));
        }
    }
}

fn index(error: CallError) -> usize {
    usize::from(error.as_wire()) - 1
}

fn micros(span: Duration) -> u64 {
    span.as_micros() as u64
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_ended_is_counted_by_how_and_timed() {
        let function = FunctionProbe::default();
        (1..=3).for_each(|_| function.job_begun());
        function.ended(Measured::Job { is_failed: false }, MS);
        function.ended(Measured::Job { is_failed: true }, 3 * MS);
        for number in 1..=100 {
            function.ended(Measured::Call(None), number * MS);
        }
        function.ended(Measured::Call(Some(CallError::Malformed)), Duration::MAX);
        let usage = function.usage();
        assert_eq!((usage.jobs_done, usage.jobs_failed, usage.jobs_in_flight), (1, 1, 1));
        assert_eq!((usage.calls_answered, usage.calls_failed["malformed"]), (100, 1));
        assert_eq!(usage.calls_failed.len(), 1, "what did not happen is not there");
        assert_eq!(usage.calls.sum_us, 5_050_000 + micros(CALL_DEADLINE_MAX));
        let near = |us: u64, want: u64| us.abs_diff(want) <= want / 50;
        assert!(near(usage.calls.p50_us, 51_000) && near(usage.calls.p99_us, 100_000), "{usage:?}");
        assert!(near(usage.jobs.p99_us, 3_000), "{usage:?}");
        assert_eq!(usage.jobs.sum_us, 4_000);
    }

    #[test]
    fn jobs_that_began_unseen_leave_none_running() {
        let function = FunctionProbe::default();
        function.ended(Measured::Job { is_failed: false }, MS);
        function.job_begun();
        assert_eq!(function.usage().jobs_in_flight, 1);
    }

    #[test]
    fn what_is_delisted_goes_on_among_the_others() {
        let (probe, name) = (CallProbe::default(), "sum".parse::<FunctionName>().expect("a name"));
        let function = Arc::<FunctionProbe>::default();
        probe.list(name.clone(), Arc::clone(&function));
        function.job_begun();
        function.ended(Measured::Call(None), 7 * MS);
        function.ended(Measured::Job { is_failed: true }, 5 * MS);
        let usage = function.usage();
        probe.delist(&name);
        assert!(probe.usages().is_empty());
        assert_eq!(probe.others().usage(), usage);
    }

    #[test]
    fn each_function_has_its_rows_and_all_else_has_one_name() {
        let probe = CallProbe::default();
        let function = Arc::<FunctionProbe>::default();
        probe.list("sum".parse().expect("a name"), Arc::clone(&function));
        function.ended(Measured::Call(Some(CallError::Deadline)), 1500 * MS);
        let mut rows = Vec::new();
        probe.function_rows("3", &mut rows);
        let find = |metric: &str, labels: &[(&'static str, &str)]| -> Option<f64> {
            let is_it = |row: &&Row| {
                let has = |label: &(&'static str, &str)| {
                    row.labels.iter().any(|(key, value)| (*key, value.as_str()) == *label)
                };
                row.name == metric && labels.iter().all(has)
            };
            rows.iter().find(is_it).map(|row| row.value)
        };
        let (shard, sum) = (("shard", "3"), ("function", "sum"));
        let failed = find("mpreg_function_calls_total", &[shard, sum, ("outcome", "deadline")]);
        assert_eq!(failed, Some(1.0));
        assert_eq!(find("mpreg_function_call_seconds_total", &[sum]), Some(1.5));
        let p99 = find("mpreg_function_call_quantile_seconds", &[sum, ("quantile", "0.99")]);
        assert!(p99.is_some_and(|p99| (1.49..1.52).contains(&p99)), "{p99:?}");
        let others = find("mpreg_function_calls_total", &[shard, ("function", OTHERS)]);
        assert_eq!(others, Some(0.0));
        assert!(OTHERS.parse::<FunctionName>().is_err(), "no function is called so");
    }
}
