//! A report as a table for people.

use std::fmt;

use super::{GeneratorUse, Latency, MachineUse, QUANTILE_NAMES, Report, RouterUse};
use crate::ledger::Faults;
use crate::load::Rate;
use crate::workload::Workload;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(self, f)?;
        messages(self, f)?;
        let unit = if self.workload == Workload::RequestReply { "replies" } else { "deliveries" };
        write!(f, "  throughput  {:>12} {unit}/s", grouped(self.throughput_per_s))?;
        writeln!(f, "   ({} published/s)", grouped(self.published_per_s))?;
        writeln!(f, "  latency µs {}", self.latency_us)?;
        if let (Some(ns), Some(router)) = (self.router_cpu_ns_per_message, self.router) {
            write!(f, "  router      {ns:>12.1} ns CPU/message   {router}")?;
            writeln!(f)?;
        }
        writeln!(f, "  generator   {}", self.generator)?;
        writeln!(f, "  machine     {}", self.machine)?;
        if let Some(churn) = &self.churn {
            write!(f, "  churn       {} connections, {} failed", churn.completed, churn.failed)?;
            writeln!(
                f,
                "{}",
                churn.failure.as_deref().map(|why| format!(": {why}")).unwrap_or_default()
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "  FAILED      {failure}")?;
        }
        Ok(())
    }
}

fn head(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Report { target, connections, subscribers, stalled, payload_bytes, .. } = report;
    writeln!(f, "{} to {target} for {:.1} s", report.workload.name(), report.duration_s)?;
    write!(f, "  {connections} publishers, {subscribers} subscribers")?;
    if 0 < *stalled {
        write!(f, " and {stalled} stalled")?;
    }
    if report.workload.has_topics_option() {
        write!(f, ", {} topics", report.topics)?;
    }
    let pace = match (report.rate, report.window) {
        (Rate::PerSecond(per_s), _) => format!("{} messages/s", grouped(per_s as f64)),
        (Rate::Max, Some(window)) => format!("window {window}"),
        (Rate::Max, None) => String::from("closed loop"),
    };
    writeln!(f, ", {payload_bytes} B payload ({} B frames), {pace}", report.frame_bytes)
}

fn messages(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Report { sent, expected, received, unsent, no_responders, .. } = report;
    writeln!(f, "  messages    sent {sent}   expected {expected}   received {received}")?;
    let Faults { lost, duplicated, reordered, corrupted, misrouted } = report.faults;
    write!(f, "  verified    lost {lost}   duplicated {duplicated}   reordered {reordered}")?;
    writeln!(f, "   corrupted {corrupted}   misrouted {misrouted}")?;
    if 0 < *unsent {
        writeln!(f, "  UNSENT      {unsent} messages were due and never published")?;
    }
    if 0 < *no_responders {
        writeln!(f, "  UNANSWERED  {no_responders} requests found no responder")?;
    }
    Ok(())
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, us) in QUANTILE_NAMES.into_iter().zip(self.quantiles()) {
            match us {
                Some(us) => write!(f, " {name} {us:.1}  ")?,
                None => write!(f, " {name} -  ")?,
            }
        }
        write!(f, " ({} timed)", self.count)
    }
}

impl fmt::Display for RouterUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, busiest_thread, .. } = self;
        write!(f, "{cpus:.2} CPUs, busiest thread {:.0} %", busiest_thread * 100.0)?;
        if let Some(bytes) = self.resident_bytes_max {
            write!(f, ", {:.1} MiB resident at most", bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}

impl fmt::Display for GeneratorUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, cpus, busy, late_p99_us, late_max_us, .. } = self;
        write!(f, "{threads} threads, {cpus:.2} CPUs, busy {:.0} %", busy * 100.0)?;
        if self.is_saturated {
            write!(f, ": SATURATED, the figures may be its own")?;
        }
        if 0.0 < *late_max_us {
            write!(f, ", late p99 {late_p99_us:.1} µs, max {late_max_us:.1} µs")?;
        }
        if self.fell_behind {
            write!(f, ": FELL BEHIND its schedule")?;
        }
        Ok(())
    }
}

impl fmt::Display for MachineUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, others_cpus, steal_cpus } = self;
        write!(f, "{cpus} CPUs, other processes {others_cpus:.2}, steal {steal_cpus:.2}")
    }
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let (sign, digits) = digits.split_at(usize::from(digits.starts_with('-')));
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{sign}{}", groups.join(" "))
}
