//! Report: what a run was, what became of its messages, how long they took and what they cost.
//!
//! The JSON form is a contract: keys are added, never renamed.

mod text;

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::brief::{Brief, Exchange, Pace};
use crate::cpu;
use crate::generator::Outcome;
use crate::latency::{LatencyHistogram, histogram};
use crate::ledger::Faults;
use crate::load::{Plan, Rate};
use crate::run::Reading;
use crate::workload::Workload;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub target: String,
    pub workload: Workload,
    pub connections: usize,
    pub subscribers: usize,
    pub stalled: usize,
    pub topics: usize,
    pub payload_bytes: usize,
    /// A message as published, framing and topic included.
    pub frame_bytes: usize,
    pub rate: Rate,
    /// Closed loop only: the window in force.
    pub window: Option<u64>,
    pub duration_s: f64,
    /// Messages published, warm-up included.
    pub sent: u64,
    /// Deliveries (or replies) accepted, warm-up included.
    pub received: u64,
    /// Deliveries that `sent` had to become.
    pub expected: u64,
    #[serde(flatten)]
    pub faults: Faults,
    /// Open loop: messages due that were never published.
    pub unsent: u64,
    /// Requests the router said nobody answers.
    pub no_responders: u64,
    /// Measured connections that ended early, and why.
    pub failures: Vec<String>,
    /// Deliveries (or replies) a second in the measured window.
    pub throughput_per_s: f64,
    pub published_per_s: f64,
    pub latency_us: Latency,
    /// Of the router, over the window, per delivery (or reply).
    pub router_cpu_ns_per_message: Option<f64>,
    pub router: Option<RouterUse>,
    pub generator: GeneratorUse,
    pub machine: MachineUse,
    #[serde(skip)]
    pub recording: Recording,
}

/// Microseconds; none where nothing was timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
    /// Messages timed.
    pub count: u64,
}

/// Of the process named by `--router-pid`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RouterUse {
    pub pid: u32,
    /// CPUs kept busy, of all its threads.
    pub cpus: f64,
    /// Share of the window its busiest thread ran: near 1, the router was saturated or spinning.
    pub busiest_thread: f64,
    /// At the end of the run.
    pub resident_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GeneratorUse {
    pub threads: usize,
    /// CPUs kept busy; a spinning thread always keeps one.
    pub cpus: f64,
    /// Share of the window in which its threads sent or received: near 1, the generator was
    /// saturated and the figures say more about it than about the router.
    pub busy: f64,
    /// Open loop: how much later than due messages were published, where the router did not push
    /// back. Microseconds.
    pub late_p99_us: f64,
    pub late_max_us: f64,
    /// Open loop: the schedule was not kept, and the latencies are those of an overload.
    pub fell_behind: bool,
}

/// What else went on: figures taken on a disturbed machine are not worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MachineUse {
    pub cpus: usize,
    /// CPUs kept busy by processes other than router and generator.
    pub others_cpus: f64,
    /// CPUs wanted and withheld by the hypervisor.
    pub steal_cpus: f64,
}

/// The latencies behind [`Latency`].
#[derive(Clone, Debug)]
pub struct Recording {
    pub started: SystemTime,
    /// From `started` to the first interval.
    pub offset: Duration,
    pub interval: Duration,
    pub intervals: Vec<LatencyHistogram>,
}

/// More than this late at p99, or this share unsent, and the generator fell behind.
const LATE_P99_US: f64 = 1000.0;
const UNSENT_SHARE: f64 = 0.005;

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        brief: &Brief,
        started: SystemTime,
        [before, after]: [&Reading; 2],
        outcomes: Vec<Outcome>,
    ) -> Self {
        let window_s = (after.at - before.at).as_secs_f64();
        let received = after.totals.received - before.totals.received;
        let throughput_per_s = received as f64 / window_s;
        let Books { sent, expected, received, faults } = Books::close(brief, &outcomes);
        let unsent: u64 = outcomes.iter().map(|outcome| outcome.unsent).sum();
        let recording = Recording::merge(brief, started, &outcomes);
        let router = plan.router_pid.zip(after.router.as_ref()).zip(before.router.as_ref());
        let router_used = router.map(|((pid, after), before)| (pid, after.since(before)));
        let router_cpus = router_used.map_or(0.0, |(_, used)| used.sum_ns as f64 / 1e9 / window_s);
        let generator = GeneratorUse::new(
            plan,
            [before, after],
            &outcomes,
            unsent as f64 / (sent + unsent).max(1) as f64,
        );
        Self {
            target: plan.target.to_string(),
            workload: plan.shape.workload,
            connections: plan.shape.publishers_count,
            subscribers: plan.shape.subscribers_count,
            stalled: plan.stalled_count,
            topics: plan.shape.topics_count(),
            payload_bytes: plan.payload_bytes,
            frame_bytes: brief.mold.frame.len(),
            rate: plan.rate,
            window: match brief.pace {
                Pace::Closed { window } => Some(window),
                Pace::Open(_) => None,
            },
            duration_s: window_s,
            sent,
            received,
            expected,
            faults,
            unsent,
            no_responders: outcomes.iter().map(|outcome| outcome.no_responders).sum(),
            failures: outcomes.iter().flat_map(|outcome| outcome.failures.clone()).collect(),
            throughput_per_s,
            published_per_s: (after.totals.published - before.totals.published) as f64 / window_s,
            latency_us: Latency::of(&recording.whole()),
            router_cpu_ns_per_message: router_used
                .map(|(_, used)| used.sum_ns as f64 / (throughput_per_s * window_s))
                .filter(|ns| ns.is_finite()),
            router: router_used.map(|(pid, used)| RouterUse {
                pid,
                cpus: router_cpus,
                busiest_thread: used.busiest_ns as f64 / 1e9 / window_s,
                resident_bytes: cpu::resident_bytes(pid),
            }),
            machine: MachineUse::new([before, after], router_cpus + generator.cpus),
            generator,
            recording,
        }
    }

    /// Everything arrived, once, in order, as it was sent, and no connection failed.
    pub fn is_clean(&self) -> bool {
        self.faults.is_none() && self.failures.is_empty()
    }
}

/// All ledgers together, held against what was sent.
struct Books {
    sent: u64,
    expected: u64,
    received: u64,
    faults: Faults,
}

impl Books {
    fn close(brief: &Brief, outcomes: &[Outcome]) -> Self {
        let wiring = &brief.wiring;
        let published = outcomes.iter().flat_map(|outcome| outcome.published.iter().copied());
        let streams: Vec<(u32, u64)> = published
            .clone()
            .flat_map(|(publisher, count)| wiring.sent(publisher, count))
            .collect();
        let threads_count = outcomes.len();
        let mut books = Self {
            sent: published.map(|(_, count)| count).sum(),
            expected: streams.iter().map(|&(stream, sent)| sent * wiring.copies(stream)).sum(),
            received: 0,
            faults: Faults::default(),
        };
        for (thread, outcome) in outcomes.iter().enumerate() {
            books.faults.add(&outcome.damage);
            let mut faults = match brief.exchange {
                Exchange::OneWay => {
                    books.received += outcome.ledger.received();
                    let here = |subscriber: u32| subscriber as usize % threads_count == thread;
                    outcome.ledger.close(streams.iter().flat_map(|&(stream, sent)| {
                        let flows = wiring.flows_of(stream);
                        flows
                            .filter(move |&(subscriber, _)| here(subscriber))
                            .map(move |(_, flow)| (flow, sent))
                    }))
                }
                Exchange::RoundTrip { .. } => {
                    books.received += outcome.replies.received();
                    let here = |&&(stream, _): &&(u32, u64)| {
                        wiring.stream(stream).is_some_and(|stream| {
                            stream.publisher as usize % threads_count == thread
                        })
                    };
                    let own = streams.iter().filter(here);
                    outcome.replies.close(own.map(|&(stream, sent)| (stream as usize, sent)))
                }
            };
            if let Exchange::RoundTrip { .. } = brief.exchange {
                faults.reordered += outcome.ledger.reordered();
            }
            books.faults.add(&faults);
        }
        books
    }
}

impl GeneratorUse {
    fn new(plan: &Plan, [before, after]: [&Reading; 2], outcomes: &[Outcome], unsent: f64) -> Self {
        let window_s = (after.at - before.at).as_secs_f64();
        let mut lateness = histogram();
        for outcome in outcomes {
            lateness.add(&outcome.lateness).expect("histograms of the same bounds");
        }
        let late_p99_us = lateness.value_at_quantile(0.99) as f64 / 1e3;
        let busy_ns = after.totals.busy_ns - before.totals.busy_ns;
        Self {
            threads: plan.threads_count,
            cpus: after.generator.since(&before.generator).sum_ns as f64 / 1e9 / window_s,
            busy: busy_ns as f64 / 1e9 / window_s / plan.threads_count as f64,
            late_p99_us,
            late_max_us: lateness.max() as f64 / 1e3,
            fell_behind: LATE_P99_US < late_p99_us || UNSENT_SHARE < unsent,
        }
    }
}

impl MachineUse {
    fn new([before, after]: [&Reading; 2], ours_cpus: f64) -> Self {
        let window_s = (after.at - before.at).as_secs_f64();
        let used = after.machine.since(&before.machine);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            others_cpus: (used.busy_ns as f64 / 1e9 / window_s - ours_cpus).max(0.0),
            steal_cpus: used.steal_ns as f64 / 1e9 / window_s,
        }
    }
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
}

impl Recording {
    fn merge(brief: &Brief, started: SystemTime, outcomes: &[Outcome]) -> Self {
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

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Max => serializer.serialize_str("max"),
            Self::PerSecond(per_s) => serializer.serialize_u64(per_s),
        }
    }
}
