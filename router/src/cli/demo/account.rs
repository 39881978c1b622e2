//! What a demo of many nodes shows: what was promised, what came, how long it took.

use core::fmt;
use core::time::Duration;

use serde::Serialize;

use super::fabric::Shape;
use super::ledger::{Account, Ledger};

/// A time after which not everybody may have heard everybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrest {
    pub what: &'static str,
    pub node: Option<usize>,
    pub at: Duration,
    /// What is said later counts for the next.
    pub until: Duration,
}

/// What came of the whole.
#[derive(Debug, Serialize)]
pub(super) struct Played {
    verified: bool,
    clusters: usize,
    nodes: usize,
    duration_s: f64,
    /// From the last process's start until everybody heard everybody.
    converged_ms: f64,
    sent: u64,
    received: u64,
    /// Messages times subscribers that were promised them.
    promised: u64,
    lost: u64,
    /// While the fabric came together, or a node had just died or started.
    lost_unpromised: u64,
    duplicated: u64,
    reordered: u64,
    hops: Vec<Hop>,
    mishaps: Vec<Shown>,
}

/// Latency by the number of clusters that were crossed.
#[derive(Debug, Serialize)]
struct Hop {
    /// None: subscriber and publisher are of one node.
    clusters: Option<usize>,
    messages: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

#[derive(Debug, Serialize)]
struct Shown {
    what: &'static str,
    node: Option<usize>,
    at_s: f64,
    /// Until everything said reached everybody who lived.
    converged_ms: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

impl Played {
    pub(super) fn of(shape: Shape, ledger: &Ledger, unrests: &[Unrest], until: Duration) -> Self {
        let Account { said, heard, promised, lost, lost_unpromised, .. } = ledger.account(until);
        let Account { duplicated, reordered, unknown, .. } = ledger.account(until);
        let mishaps: Vec<Shown> = unrests
            .iter()
            .map(|unrest| Shown {
                what: unrest.what,
                node: unrest.node,
                at_s: unrest.at.as_secs_f64(),
                converged_ms: ms(ledger.unrest(unrest.at, unrest.until)),
            })
            .collect();
        let hops = ledger.ways().into_iter().map(|way| Hop {
            clusters: way.clusters,
            messages: way.latency_us.len(),
            p50_us: way.latency_us.value_at_quantile(0.5),
            p99_us: way.latency_us.value_at_quantile(0.99),
            max_us: way.latency_us.max(),
        });
        Self {
            verified: lost + duplicated + unknown == 0 && 0 < promised,
            clusters: shape.clusters,
            nodes: shape.clusters * shape.nodes_per_cluster,
            duration_s: shape.duration.as_secs_f64(),
            converged_ms: mishaps.first().map_or(0.0, |first| first.converged_ms),
            sent: said,
            received: heard,
            promised,
            lost,
            lost_unpromised,
            duplicated,
            reordered,
            hops: hops.collect(),
            mishaps,
        }
    }

    pub(super) fn is_verified(&self) -> bool {
        self.verified
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes in {} clusters\n", self.nodes, self.clusters)?;
        writeln!(f, "{:<22}{:>10}{:>10}{:>10}{:>10}", "WAY", "RECEIVED", "P50", "P99", "MAX")?;
        for Hop { clusters, messages, p50_us, p99_us, max_us } in &self.hops {
            let way = match clusters {
                None => "same node".to_owned(),
                Some(0) => "same cluster".to_owned(),
                Some(1) => "next cluster".to_owned(),
                Some(count) => format!("{count} clusters away"),
            };
            writeln!(f, "{way:<22}{messages:>10}{p50_us:>8}µs{p99_us:>8}µs{max_us:>8}µs")?;
        }
        writeln!(f)?;
        for Shown { what, node, at_s, converged_ms } in &self.mishaps {
            let whom = node.map_or("everybody".to_owned(), |node| format!("node {node}"));
            writeln!(
                f,
                "{at_s:>7.1} s  {what} of {whom}: all heard again after {converged_ms:.0} ms"
            )?;
        }
        let Self { promised, lost, lost_unpromised, duplicated, reordered, .. } = self;
        writeln!(f, "\n{promised} deliveries promised, {lost} lost, {duplicated} duplicated")?;
        writeln!(f, "{lost_unpromised} not promised were lost, {reordered} came late")?;
        match self.verified {
            true => writeln!(f, "verified: nothing promised was lost or came twice"),
            false => writeln!(f, "not verified"),
        }
    }
}
