//! What must hold of calls, one function each. They judge and change nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use mpreg_fabric::call::Calls;
use mpreg_fabric::limits::{CALL_TRIES_MAX, CallBounds};
use mpreg_fabric::time::Instant;
use mpreg_proto::call::{CallError, Failure, JobId, Message, Route, Trace};
use mpreg_proto::hop::Here;
use mpreg_proto::id::SessionId;

use super::Net;
use super::node::Employee;
use crate::check::Violation;

type Verdict = Result<(), Violation>;

/// What a client was promised.
pub(super) struct Promise {
    node: usize,
    life: u64,
    until: Instant,
    is_idempotent: bool,
    /// When its worker said the last word.
    pub(super) done_at: Option<Instant>,
    /// None: it has not ended.
    pub(super) end: Option<End>,
    pub(super) parts: u32,
    /// Times that a worker got it.
    pub(super) runs: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its client is gone.
    Silent,
    Result {
        is_right: bool,
    },
    Failed(Failure),
}

impl Promise {
    pub(super) fn new(node: usize, life: u64, until: Instant, is_idempotent: bool) -> Self {
        let (done_at, end, parts, runs) = (None, None, 0, 0);
        Self { node, life, until, is_idempotent, done_at, end, parts, runs }
    }

    pub(super) fn is_of(&self, node: usize, life: u64) -> bool {
        (self.node, self.life) == (node, life)
    }
}

/// With some loss and nothing worse an answer is with its caller after so long.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

fn hold(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::new(rule, text())) }
}

/// Nothing grows beyond its bound.
pub(super) fn bounds_hold(bounds: &CallBounds, calls: &Calls) -> Verdict {
    let counts = [
        ("calls", calls.open_count(), bounds.open_max),
        ("jobs", calls.jobs_count(), bounds.jobs_max),
        ("served", calls.served_count(), bounds.served_max),
        ("streams", calls.streams_count(), bounds.streams_max),
        ("bytes", calls.held_bytes(), bounds.open_bytes_max + bounds.answers_bytes_max),
    ];
    let beyond = counts.into_iter().find(|(_, count, max)| max < count);
    hold(beyond.is_none(), "bounds", || format!("{beyond:?}"))
}

/// A message is the same on both ends of a wire.
pub(super) fn reads_back(message: &Message) -> Verdict {
    let mut bytes = Vec::new();
    message.put(&mut bytes);
    let read = Message::parse(&bytes);
    hold(read.as_ref() == Ok(message), "wire", || format!("{message:?} is read as {read:?}"))
}

/// Who asks which way its call went, and nobody else, is told ways that were taken.
pub(super) fn trace_is_true(
    is_asked: bool,
    home: Here,
    trace: Option<&Trace>,
    is_known: impl Fn(bool, &Route) -> bool,
) -> Verdict {
    let is_true = match trace {
        None => !is_asked,
        Some(trace) => is_asked && is_there_and_back(trace, home, is_known),
    };
    hold(is_true, "trace", || format!("{trace:?}"))
}

fn is_there_and_back(
    Trace { call, answer, took, ran }: &Trace,
    home: Here,
    is_known: impl Fn(bool, &Route) -> bool,
) -> bool {
    let ends = (call.nodes.first(), answer.nodes.last());
    let is_round =
        ends == (Some(&home.node), Some(&home.node)) && call.nodes.last() == answer.nodes.first();
    let is_once = [call, answer].into_iter().all(|route| {
        let clusters: BTreeSet<_> = route.clusters.iter().collect();
        clusters.len() == route.clusters.len()
    });
    let is_taken = match call.nodes.len() {
        1 => *call == Route::at(home.node, home.cluster) && call == answer && ran == took,
        _ => is_known(true, call) && is_known(false, answer),
    };
    is_round && is_once && is_taken && ran <= took
}

/// A worker has no more jobs than it takes.
pub(super) fn is_within_limit(employee: &Employee) -> Verdict {
    let Employee { limit, jobs } = employee;
    hold(jobs.len() <= *limit as usize, "limit", || format!("{} of {limit}", jobs.len()))
}

/// Only who is connected gets jobs.
pub(super) fn worker_is_there(session: SessionId) -> Verdict {
    hold(false, "workers", || format!("{session:?} is gone and got a job"))
}

/// What is withdrawn is what the worker has.
pub(super) fn had_the_job(job: JobId, token: Option<usize>) -> Verdict {
    hold(token.is_some(), "workers", || format!("{job:?} is withdrawn from who has it not"))
}

/// A call that is cancelled ends at once.
pub(super) fn is_cancelled(token: usize, promise: &Promise) -> Verdict {
    hold(promise.end.is_some(), "cancel", || format!("call {token} goes on"))
}

/// Parts come in order, none twice, none after the end.
pub(super) fn part_is_next(token: usize, promise: &Promise, is_right: bool) -> Verdict {
    hold(promise.end.is_none() && is_right, "parts", || {
        format!("call {token} got another part than its {}th", promise.parts)
    })
}

/// A call ends once, by its deadline, and a result is its own.
pub(super) fn ends_once_in_time(
    token: usize,
    promise: &Promise,
    end: &End,
    now: Instant,
) -> Verdict {
    let before = &promise.end;
    hold(before.is_none(), "one end", || format!("call {token} ends {before:?}, then {end:?}"))?;
    hold(now <= promise.until, "deadline", || format!("call {token} ends late: {end:?}"))?;
    let is_right = *end != End::Result { is_right: false };
    hold(is_right, "results", || format!("call {token} got what is not its own"))
}

/// Every call has ended, has run as often as it may, and its end is true.
pub(super) fn all_ended(net: &Net) -> Verdict {
    for (token, promise) in net.promises.iter().enumerate() {
        let runs = promise.runs;
        let runs_max = if promise.is_idempotent { CALL_TRIES_MAX as u32 } else { 1 };
        hold(runs <= runs_max, "at most once", || format!("call {token} ran {runs} times"))?;
        match &promise.end {
            None => hold(false, "one end", || format!("call {token} never ended"))?,
            Some(End::Silent) => (),
            Some(End::Result { .. }) => {
                hold(0 < runs, "results", || format!("call {token} has one and did not run"))?;
            }
            Some(End::Failed(failure)) => {
                failure_is_true(token, promise, failure)?;
                hold(!net.plan.is_mild() || !is_lost(promise, failure), "lost", || {
                    format!("call {token} was answered: {failure:?}")
                })?;
            }
        }
    }
    Ok(())
}

fn failure_is_true(token: usize, promise: &Promise, failure: &Failure) -> Verdict {
    hold(failure.may_have_run || promise.runs == 0, "may have run", || {
        format!("call {token} did run: {failure:?}")
    })
}

/// Its worker had said the last word long before. Of two that are asked one may fail before the other
/// has a result.
fn is_lost(promise: &Promise, failure: &Failure) -> bool {
    let by = promise.done_at.map(|at| at + ANSWERED_WITHIN);
    let is_due = by.is_some_and(|by| by <= promise.until);
    is_due && matches!(failure.error, CallError::Deadline | CallError::Unreachable)
}

/// Of what is over nothing is held.
pub(super) fn nothing_is_held(net: &Net) -> Verdict {
    for (place, calls) in machines(net) {
        let counts = [calls.open_count(), calls.jobs_count(), calls.served_count()];
        hold((counts, calls.held_bytes()) == ([0; 3], 0), "leaks", || {
            format!("node {place} holds calls, jobs, served {counts:?}")
        })?;
        let busy = calls.functions().rows().find(|row| row.in_flight != 0);
        hold(busy.is_none(), "leaks", || format!("node {place} counts calls: {busy:?}"))?;
    }
    Ok(())
}

/// Long after, nothing is due.
pub(super) fn nothing_is_due(net: &Net) -> Verdict {
    for (place, calls) in machines(net) {
        let (streams, due) = (calls.streams_count(), calls.deadline());
        hold((streams, due) == (0, None), "leaks", || {
            format!("node {place} has {streams} streams, and is due: {due:?}")
        })?;
    }
    Ok(())
}

fn machines(net: &Net) -> impl Iterator<Item = (usize, &Calls)> {
    let nodes = net.nodes.iter().enumerate();
    nodes.filter_map(|(place, node)| Some((place, node.calls.as_ref()?)))
}
