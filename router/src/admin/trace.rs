//! `GET /trace?subject=&timeout_ms=`: where messages of a subject go from this node, hop by hop.
//!
//! A message is sent over the fabric that is delivered to nobody and that every node on the way reports
//! on. The answer is there when everyone reported whom it was sent to, or when the time is over.
//!
//! Invariants:
//! - One message is under way at a time, and the next begins [`TRACE_EVERY`] later at the soonest.
//! - What is kept of a journey is bounded by [`TRACE_HOPS_MAX`] nodes, whatever is reported.

use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use mpreg_proto::id::ClusterId;
use mpreg_proto::topic::{Dialect, Topic};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::fabric::{Fault, ask, bad_query};
use super::routes::Pages;
use crate::control::question::{Names, Question};
use crate::limits::{TRACE_EVERY, TRACE_HOPS_MAX};
use crate::mesh::Command;
use crate::trace::{Decided, Dropped, Left, Number, Report, Said, Sent, Target};

/// How long nodes may take to report, if nothing is said.
pub(super) const TIMEOUT_MS: u64 = 1000;
const TIMEOUT_MS_MAX: u64 = 4000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    subject: String,
    timeout_ms: Option<u64>,
}

/// Where a message went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePage {
    pub subject: String,
    /// From the asking until the last report was here.
    pub took_us: u64,
    /// Everyone reported whom it was sent to.
    pub is_complete: bool,
    /// Each node behind the one that sent it there; the first is where it began.
    pub hops: Vec<HopRow>,
}

/// The message on one node. Times are each of one clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopRow {
    /// Links the message went over.
    pub hop: usize,
    pub node: String,
    pub cluster: Option<String>,
    pub from: Option<String>,
    /// `delivered`, `forwarded`, `unwanted`, a reason why it was dropped; `queued` if it has not left
    /// the node before, `no_answer` if it has.
    pub outcome: String,
    /// Waited in the queue of the link to this node, by the clock of `from`.
    pub queue_us: Option<u64>,
    /// Half of the last round trip of that link, by the clock of `from`.
    pub wire_us: Option<u64>,
    /// Waited on this node until it was decided where it goes, by its own clock.
    pub held_us: Option<u64>,
    /// From the asking until this node's report was here, by the clock of the first node.
    pub answered_us: Option<u64>,
    /// Whom the copy is for, and why it was sent this way.
    pub sent: Vec<Sent>,
    pub subscribers: usize,
    pub shards: u32,
    pub groups: Vec<String>,
    pub dropped: Vec<Dropped>,
}

pub(super) fn pages() -> Router<Arc<Pages>> {
    Router::new().route("/trace", get(trace))
}

async fn trace(
    State(pages): State<Arc<Pages>>,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(TraceQuery { subject, timeout_ms }) =
        query.map_err(|why| bad_query(why.body_text()))?;
    let within = within(timeout_ms.unwrap_or(TIMEOUT_MS))?;
    let topic = Topic::parse_as(subject.as_bytes(), Dialect::Nats);
    if topic.is_ok_and(Topic::is_reserved) || topic.is_err() {
        return Err(bad_query("subject is one that clients may publish to"));
    }
    let topic = Bytes::from(subject.clone());
    let command = |number| Command::Trace { topic, number };
    let Traced { took_us, is_complete, hops } =
        follow(&pages, 0, &subject, command, within).await?;
    Ok(Json(TracePage { subject, took_us, is_complete, hops }).into_response())
}

/// What came of a traced message.
pub(super) struct Traced {
    pub(super) took_us: u64,
    pub(super) is_complete: bool,
    pub(super) hops: Vec<HopRow>,
}

/// How long nodes may take to report.
pub(super) fn within(timeout_ms: u64) -> Result<Duration, Fault> {
    if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(bad_query(format_args!("timeout_ms is 1 to {TIMEOUT_MS_MAX}")));
    }
    Ok(Duration::from_millis(timeout_ms))
}

/// Has a shard send a traced message, and hears what nodes say of it.
pub(super) async fn follow(
    pages: &Pages,
    shard: usize,
    what: &str,
    command: impl FnOnce(Number) -> Command,
    within: Duration,
) -> Result<Traced, Fault> {
    let names = ask(pages, |answer| Question::Names { answer }).await?;
    let Ok(mut reports) = pages.view.desk.traces.try_lock() else { return Err(Fault::Busy) };
    while reports.try_recv().is_ok() {}
    let number = Number(RandomState::new().hash_one(what));
    let mut journey = Journey::new(pages.view.node.to_string());
    let Some(bell) = pages.view.bells.get(shard) else { return Err(Fault::NoCluster) };
    bell.command(command(number));
    // What is missing when the time is over is seen in the answer.
    let is_complete = timeout(within, journey.follow(&mut reports, number)).await.is_ok();
    let (took_us, hops) = (journey.last_us, journey.rows(&names));
    sleep(TRACE_EVERY).await;
    Ok(Traced { took_us, is_complete, hops })
}

/// What is known of a message's way.
struct Journey {
    began: Instant,
    last_us: u64,
    first: String,
    /// By the node, and who sent it there.
    decided: BTreeMap<(String, Option<String>), Known>,
    /// By who sent it, and to whom.
    left: BTreeMap<(String, String), Left>,
}

struct Known {
    cluster: String,
    answered_us: u64,
    said: Decided,
}

impl Journey {
    fn new(first: String) -> Self {
        let (decided, left) = (BTreeMap::new(), BTreeMap::new());
        Self { began: Instant::now(), last_us: 0, first, decided, left }
    }

    /// Until everyone has reported.
    async fn follow(&mut self, reports: &mut Receiver<Vec<u8>>, number: Number) {
        let trace = number.text();
        while !self.is_complete()
            && let Some(report) = reports.recv().await
        {
            if let Some(report) = Report::parse(&report).filter(|report| report.trace == trace) {
                let answered_us = self.began.elapsed().as_micros() as u64;
                self.hear(report, answered_us);
            }
        }
    }

    fn hear(&mut self, report: Report, answered_us: u64) {
        if TRACE_HOPS_MAX <= self.decided.len().max(self.left.len()) {
            return;
        }
        let Report { node, cluster, said, .. } = report;
        self.last_us = answered_us;
        match said {
            Said::Decided(said) => {
                let known = Known { cluster, answered_us, said };
                self.decided.insert((node, known.said.from.clone()), known);
            }
            Said::Left(left) => _ = self.left.insert((node, left.to.clone()), left),
        }
    }

    fn is_complete(&self) -> bool {
        let has_begun = self.decided.contains_key(&(self.first.clone(), None));
        let is_followed = |(node, _): &(String, Option<String>), known: &Known| {
            known.said.next.iter().all(|next| {
                let link = (node.clone(), next.node.clone());
                let decided = (next.node.clone(), Some(node.clone()));
                self.left.contains_key(&link) && self.decided.contains_key(&decided)
            })
        };
        has_begun && self.decided.iter().all(|(key, known)| is_followed(key, known))
    }

    fn rows(&self, names: &Names) -> Vec<HopRow> {
        let mut rows = Vec::new();
        let mut seen = BTreeSet::new();
        self.add(0, self.first.clone(), None, Vec::new(), &mut seen, &mut rows);
        rows.iter_mut().for_each(|row| row.name(names));
        rows
    }

    /// A node, and behind it those it sent the message to.
    fn add(
        &self,
        hop: usize,
        node: String,
        from: Option<String>,
        sent: Vec<Sent>,
        seen: &mut BTreeSet<(String, Option<String>)>,
        rows: &mut Vec<HopRow>,
    ) {
        let key = (node, from);
        if TRACE_HOPS_MAX <= rows.len() || !seen.insert(key.clone()) {
            return;
        }
        let left = key.1.as_ref().and_then(|from| self.left.get(&(from.clone(), key.0.clone())));
        let known = self.decided.get(&key);
        rows.push(HopRow {
            queue_us: left.map(|left| left.queue_us),
            wire_us: left.and_then(|left| Some(left.round_trip_us? / 2)),
            sent,
            ..HopRow::of(hop, &key, known, left.is_some())
        });
        for next in known.iter().flat_map(|known| &known.said.next) {
            let from = Some(key.0.clone());
            self.add(hop + 1, next.node.clone(), from, next.targets.clone(), seen, rows);
        }
    }
}

impl HopRow {
    fn of(
        hop: usize,
        (node, from): &(String, Option<String>),
        known: Option<&Known>,
        has_left: bool,
    ) -> Self {
        let row = Self { hop, node: node.clone(), from: from.clone(), ..Self::default() };
        let Some(Known { cluster, answered_us, said }) = known else {
            let outcome = if has_left { "no_answer" } else { "queued" };
            return Self { outcome: outcome.to_owned(), ..row };
        };
        let Decided { held_us, subscribers, shards, groups, dropped, next, .. } = said;
        let is_here = *subscribers != 0 || *shards != 0 || !groups.is_empty();
        let outcome = match (is_here, next.is_empty(), dropped.first()) {
            (true, _, _) => "delivered",
            (false, false, _) => "forwarded",
            (false, true, Some(dropped)) => &dropped.reason,
            (false, true, None) => "unwanted",
        };
        Self {
            cluster: Some(cluster.clone()),
            outcome: outcome.to_owned(),
            held_us: Some(*held_us),
            answered_us: Some(*answered_us),
            subscribers: *subscribers,
            shards: *shards,
            groups: groups.clone(),
            dropped: dropped.clone(),
            ..row
        }
    }

    /// Puts names of clusters where their numbers are.
    fn name(&mut self, names: &Names) {
        let rename = |cluster: &mut String| {
            let id = u128::from_str_radix(cluster, 16).map(ClusterId);
            if let Some(name) = id.ok().and_then(|id| names.get(&id)) {
                cluster.clone_from(name);
            }
        };
        self.cluster.iter_mut().for_each(rename);
        let sent = self.sent.iter_mut().map(|sent| &mut sent.target);
        let dropped = self.dropped.iter_mut().map(|dropped| &mut dropped.target);
        for target in sent.chain(dropped) {
            match target {
                Target::Cluster(cluster) | Target::Group { cluster, .. } => rename(cluster),
                Target::Node(_) => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Next;

    fn next(node: &str) -> Next {
        let sent = Sent {
            target: Target::Cluster(format!("{:032x}", 7)),
            why: "best".to_owned(),
            instead_of_best: None,
        };
        Next { node: node.to_owned(), targets: vec![sent] }
    }

    fn report(node: &str, said: Said) -> Report {
        let (trace, cluster) = (String::new(), format!("{:032x}", 7));
        Report { trace, node: node.to_owned(), cluster, said }
    }

    fn decided(node: &str, from: Option<&str>, subscribers: usize, to: &[&str]) -> Report {
        let (from, next) = (from.map(str::to_owned), to.iter().map(|to| next(to)).collect());
        report(node, Said::Decided(Decided { from, subscribers, next, ..Decided::default() }))
    }

    fn left(node: &str, to: &str, round_trip_us: Option<u64>) -> Report {
        report(node, Said::Left(Left { to: to.to_owned(), queue_us: 5, round_trip_us }))
    }

    #[test]
    fn a_journey_is_complete_when_everyone_reported_and_reads_as_a_tree() {
        let mut journey = Journey::new("a".to_owned());
        assert!(!journey.is_complete());
        journey.hear(decided("b", Some("a"), 2, &[]), 30);
        assert!(!journey.is_complete(), "nobody knows how it came there");
        journey.hear(decided("a", None, 0, &["b", "c"]), 40);
        journey.hear(decided("c", Some("a"), 0, &["d"]), 41);
        journey.hear(left("a", "b", Some(90)), 42);
        journey.hear(left("a", "c", None), 43);
        journey.hear(left("c", "d", Some(8)), 44);
        assert!(!journey.is_complete());
        let names = Names::from([(ClusterId(7), "eu".to_owned())]);
        let told = |journey: &Journey| -> Vec<String> {
            let rows = journey.rows(&names).into_iter();
            let line = |row: HopRow| {
                let HopRow { hop, node, outcome, wire_us, .. } = row;
                format!("{hop} {node} {outcome} {wire_us:?}")
            };
            rows.map(line).collect()
        };
        assert_eq!(
            told(&journey),
            [
                "0 a forwarded None",
                "1 b delivered Some(45)",
                "1 c forwarded None",
                "2 d no_answer Some(4)"
            ]
        );
        journey.hear(decided("d", Some("c"), 0, &[]), 50);
        assert!(journey.is_complete());
        assert_eq!(journey.last_us, 50);
        let rows = journey.rows(&names);
        assert_eq!(rows[3].outcome, "unwanted");
        assert_eq!(rows[3].cluster.as_deref(), Some("eu"));
        assert_eq!(rows[3].sent[0].target, Target::Cluster("eu".to_owned()));
        assert_eq!(rows[1].queue_us, Some(5));
    }

    #[test]
    fn nodes_that_lie_make_no_endless_tree() {
        let mut journey = Journey::new("a".to_owned());
        journey.hear(decided("a", None, 0, &["b"]), 1);
        journey.hear(decided("b", Some("a"), 0, &["a"]), 2);
        journey.hear(decided("a", Some("b"), 0, &["b"]), 3);
        journey.hear(decided("b", Some("a"), 0, &["b"]), 4);
        journey.hear(decided("b", Some("b"), 0, &["b"]), 5);
        assert!(journey.rows(&Names::new()).len() <= 4);
        for n in 0..2 * TRACE_HOPS_MAX {
            journey.hear(decided(&n.to_string(), None, 0, &[]), 6);
        }
        assert_eq!(journey.decided.len(), TRACE_HOPS_MAX);
    }
}
