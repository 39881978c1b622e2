//! Report: what a run was, what became of its messages, how long they took and what they cost.
//!
//! The JSON form is a contract: keys are added, never renamed.

mod books;
mod hlog;
pub mod plot;
mod recording;
mod text;
mod usage;

use serde::{Serialize, Serializer};

use crate::brief::{Brief, Pace};
use crate::churn::Churn;
use crate::ledger::Faults;
use crate::load::{Plan, Rate};
use crate::run::Course;
use crate::workload::Workload;

use books::Books;
pub use recording::{Latency, QUANTILE_NAMES, Recording};
pub(crate) use text::grouped;
pub use usage::{GeneratorUse, MachineUse, RouterUse};

/// One run. `Display` is a table for people.
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
    /// Of the measured window, as it was.
    pub duration_s: f64,
    /// Messages published, warm-up included.
    pub sent: u64,
    /// Deliveries (or replies) accepted, warm-up included.
    pub received: u64,
    /// Deliveries (or replies) that `sent` had to become.
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
    pub churn: Option<Churn>,
    #[serde(skip)]
    pub recording: Recording,
}

impl Report {
    pub(crate) fn new(plan: &Plan, brief: &Brief, course: Course) -> Self {
        let Course { started, readings, outcomes, churn, router_resident_bytes_max } = course;
        let [before, after] = &readings;
        let window_s = (after.at - before.at).as_secs_f64();
        let received_in_window = (after.totals.received - before.totals.received) as f64;
        let published_in_window = (after.totals.published - before.totals.published) as f64;
        let Books { sent, expected, received, faults } = Books::close(brief, &outcomes);
        let unsent: u64 = outcomes.iter().map(|outcome| outcome.unsent).sum();
        let unsent_share = unsent as f64 / (sent + unsent).max(1) as f64;
        let recording = Recording::merge(brief, started, &outcomes);
        let generator = GeneratorUse::new(plan, &readings, &outcomes, unsent_share);
        let used = after.router.as_ref().zip(before.router.as_ref()).map(|(b, a)| b.since(a));
        let router = plan
            .router_pid
            .zip(used)
            .map(|(pid, used)| RouterUse::new(pid, used, &readings, router_resident_bytes_max));
        let ours_cpus = generator.cpus + router.map_or(0.0, |router| router.cpus);
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
            throughput_per_s: received_in_window / window_s,
            published_per_s: published_in_window / window_s,
            latency_us: Latency::of(&recording.whole()),
            router_cpu_ns_per_message: used
                .map(|used| used.sum_ns as f64 / received_in_window)
                .filter(|ns| ns.is_finite()),
            router,
            machine: MachineUse::new(&readings, ours_cpus),
            generator,
            churn,
            recording,
        }
    }

    /// Everything arrived, once, in order, as it was sent, and no connection failed.
    pub fn is_clean(&self) -> bool {
        let churned = self.churn.as_ref().is_none_or(|churn| churn.failed == 0);
        self.faults.is_none() && self.failures.is_empty() && churned
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

#[cfg(test)]
pub(crate) mod tests;
