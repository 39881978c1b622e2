//! What a run used: router, generator, and everything else on the machine.

use serde::Serialize;

use crate::cpu::Used;
use crate::generator::Outcome;
use crate::latency::histogram;
use crate::load::Plan;
use crate::watch::Reading;

/// An open loop fell behind if the generator was this late at p99, or left this share unsent.
const LATE_P99_US: f64 = 1000.0;
const UNSENT_SHARE: f64 = 0.005;

/// Share of the window a side is busy above which it sets the pace.
const SATURATED: f64 = 0.9;

/// Of the process named by `--router-pid`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RouterUse {
    pub pid: u32,
    /// CPUs kept busy, over all threads.
    pub cpus: f64,
    /// Share of the window its busiest thread ran: near 1, it was saturated, or spinning.
    pub busiest_thread: f64,
    /// At the ends of the window, and the most seen on the way.
    pub resident_bytes_start: Option<u64>,
    pub resident_bytes_end: Option<u64>,
    pub resident_bytes_max: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GeneratorUse {
    pub threads: usize,
    /// CPUs kept busy; a spinning thread always keeps one.
    pub cpus: f64,
    /// Share of the window in which its threads sent or received.
    pub busy: f64,
    /// Busy nearly all the time: the figures say more about the generator than about the router.
    pub is_saturated: bool,
    /// Open loop: how much later than due the generator came to a message. Microseconds.
    pub late_p99_us: f64,
    pub late_max_us: f64,
    /// Open loop: the schedule was not kept; the latencies are those of an overload.
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

impl RouterUse {
    /// `used` over the window, by the process the plan names.
    pub(super) fn new(
        pid: u32,
        used: Used,
        [before, after]: &[Reading; 2],
        resident_bytes_max: Option<u64>,
    ) -> Self {
        let window_ns = (after.at - before.at).as_nanos() as f64;
        Self {
            pid,
            cpus: used.sum_ns as f64 / window_ns,
            busiest_thread: used.busiest_ns as f64 / window_ns,
            resident_bytes_start: before.router_resident_bytes,
            resident_bytes_end: after.router_resident_bytes,
            resident_bytes_max,
        }
    }
}

impl GeneratorUse {
    /// `unsent_share` is that of the messages due.
    pub(super) fn new(
        plan: &Plan,
        [before, after]: &[Reading; 2],
        outcomes: &[Outcome],
        unsent_share: f64,
    ) -> Self {
        let window_ns = (after.at - before.at).as_nanos() as f64;
        let mut lateness = histogram();
        for outcome in outcomes {
            lateness.add(&outcome.lateness).expect("histograms of the same bounds");
        }
        let late_p99_us = lateness.value_at_quantile(0.99) as f64 / 1e3;
        let busy_ns = after.totals.busy_ns - before.totals.busy_ns;
        let busy = busy_ns as f64 / window_ns / plan.threads_count as f64;
        Self {
            threads: plan.threads_count,
            cpus: after.generator.since(&before.generator).sum_ns as f64 / window_ns,
            busy,
            is_saturated: SATURATED < busy,
            late_p99_us,
            late_max_us: lateness.max() as f64 / 1e3,
            fell_behind: LATE_P99_US < late_p99_us || UNSENT_SHARE < unsent_share,
        }
    }
}

impl MachineUse {
    /// `ours_cpus`: what router and generator kept busy.
    pub(super) fn new([before, after]: &[Reading; 2], ours_cpus: f64) -> Self {
        let window_ns = (after.at - before.at).as_nanos() as f64;
        let used = after.machine.since(&before.machine);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            others_cpus: (used.busy_ns as f64 / window_ns - ours_cpus).max(0.0),
            steal_cpus: used.steal_ns as f64 / window_ns,
        }
    }
}
