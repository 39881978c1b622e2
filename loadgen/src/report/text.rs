//! A report as a table for people.

use std::fmt;

use super::{Latency, Report};
use crate::ledger::Faults;
use crate::load::Rate;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, subscribers, payload_bytes, duration_s, .. } = self;
        let workload = self.workload.name();
        writeln!(f, "{workload} to {}, {duration_s:.1} s", self.target)?;
        write!(f, "  {connections} publishers, {subscribers} subscribers")?;
        writeln!(f, ", {payload_bytes} B payload, {}", pace(self))?;
        let Self { sent, expected, received, .. } = self;
        writeln!(f, "  sent {sent}   expected {expected}   received {received}")?;
        let Faults { lost, duplicated, reordered, corrupted, misrouted } = self.faults;
        write!(f, "  lost {lost}   duplicated {duplicated}   reordered {reordered}")?;
        writeln!(f, "   corrupted {corrupted}   misrouted {misrouted}")?;
        writeln!(f, "  throughput   {:.0} deliveries/s", self.throughput_per_s)?;
        writeln!(f, "  latency µs   {}", self.latency_us)?;
        if let (Some(ns), Some(router)) = (self.router_cpu_ns_per_message, self.router) {
            writeln!(f, "  router       {ns:.1} ns CPU a message, {:.2} CPUs", router.cpus)?;
        }
        for failure in &self.failures {
            writeln!(f, "  failed: {failure}")?;
        }
        Ok(())
    }
}

fn pace(report: &Report) -> String {
    match (report.rate, report.window) {
        (Rate::PerSecond(per_s), _) => format!("{per_s} messages/s"),
        (Rate::Max, Some(window)) => format!("window {window}"),
        (Rate::Max, None) => String::from("as fast as possible"),
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, p9999, max, .. } = *self;
        let names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
        for (name, us) in names.into_iter().zip([p50, p90, p99, p999, p9999, max]) {
            match us {
                Some(us) => write!(f, "{name} {us:.1}   ")?,
                None => write!(f, "{name} -   ")?,
            }
        }
        Ok(())
    }
}
