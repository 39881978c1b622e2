//! What a shard counts of functions and calls.

use mpreg_fabric::call::{Calls, Counted};
use mpreg_fabric::call_graph::desk::Desk;
use mpreg_proto::call::CallError;

use super::{Count, FunctionProbe, Kind, functions};

/// Of the functions that one shard is the home of.
#[derive(Debug, Default)]
pub struct CallProbe {
    started: Count,
    answered: Count,
    failed: [Count; CallError::ALL.len()],
    abandoned: Count,
    shed: Count,
    duplicate_asks: Count,
    resent: Count,
    rerouted: Count,
    hedged: Count,
    late_replies: Count,
    stray_replies: Count,
    stray_messages: Count,
    pub messages_unreadable: Count,
    pub functions_unreadable: Count,
    pub micro_refused: Count,
    pub micro_unanswered: Count,
    endpoints: Count,
    open: Count,
    jobs: Count,
    served: Count,
    held_bytes: Count,
    pub(super) functions: functions::Named,
    pub(super) others: FunctionProbe,
    graphs: Count,
    graphs_held_bytes: Count,
}

/// Kind, name, help, where it is counted.
type Plain = (Kind, &'static str, &'static str, fn(&CallProbe) -> &Count);

const PLAIN: [Plain; 22] = [
    (Kind::Counter, "mpreg_call_jobs_started_total", "Jobs given to workers.", |p| &p.started),
    (Kind::Counter, "mpreg_calls_answered_total", "Calls of clients with a result.", |p| {
        &p.answered
    }),
    (Kind::Counter, "mpreg_calls_abandoned_total", "Calls whose client went away.", |p| {
        &p.abandoned
    }),
    (Kind::Counter, "mpreg_calls_shed_total", "Calls refused for want of room.", |p| &p.shed),
    (
        Kind::Counter,
        "mpreg_calls_repeated_total",
        "Calls of other nodes that had come before.",
        |p| &p.duplicate_asks,
    ),
    (Kind::Counter, "mpreg_calls_resent_total", "Times another node was asked again.", |p| {
        &p.resent
    }),
    (Kind::Counter, "mpreg_calls_rerouted_total", "Times somebody else was asked.", |p| {
        &p.rerouted
    }),
    (Kind::Counter, "mpreg_calls_hedged_total", "Times a second one was asked.", |p| &p.hedged),
    (Kind::Counter, "mpreg_call_replies_late_total", "Replies that nobody waited for.", |p| {
        &p.late_replies
    }),
    (Kind::Counter, "mpreg_call_replies_stray_total", "Replies to jobs not given.", |p| {
        &p.stray_replies
    }),
    (
        Kind::Counter,
        "mpreg_call_messages_stray_total",
        "Messages of other nodes about calls that are over, or not theirs.",
        |p| &p.stray_messages,
    ),
    (
        Kind::Counter,
        "mpreg_call_messages_unreadable_total",
        "Messages of other nodes about calls that cannot be read.",
        |p| &p.messages_unreadable,
    ),
    (
        Kind::Counter,
        "mpreg_functions_unreadable_total",
        "Entries of the catalog that should be of a function and cannot be read.",
        |p| &p.functions_unreadable,
    ),
    (
        Kind::Counter,
        "mpreg_micro_refused_total",
        "Services of NATS clients, and endpoints of them, that are no functions.",
        |p| &p.micro_refused,
    ),
    (
        Kind::Counter,
        "mpreg_micro_unanswered_total",
        "Times a service of a NATS client did not say in time what it offers.",
        |p| &p.micro_unanswered,
    ),
    (Kind::Gauge, "mpreg_function_endpoints", "Versions of functions, by who runs them.", |p| {
        &p.endpoints
    }),
    (Kind::Gauge, "mpreg_calls_open", "Calls of clients of this node.", |p| &p.open),
    (Kind::Gauge, "mpreg_call_jobs", "Jobs that workers have not answered.", |p| &p.jobs),
    (
        Kind::Gauge,
        "mpreg_calls_served",
        "Calls of other nodes that run, and answers kept to be said again.",
        |p| &p.served,
    ),
    (Kind::Gauge, "mpreg_calls_held_bytes", "Values of calls and of answers kept.", |p| {
        &p.held_bytes
    }),
    (Kind::Gauge, "mpreg_call_graphs", "Call graphs that run.", |p| &p.graphs),
    (Kind::Gauge, "mpreg_call_graphs_held_bytes", "Call graphs, and results they hold.", |p| {
        &p.graphs_held_bytes
    }),
];

impl CallProbe {
    pub fn count(&self, counted: Counted) {
        let count = match counted {
            Counted::Started => &self.started,
            Counted::Answered => &self.answered,
            Counted::Failed(error) => &self.failed[usize::from(error.as_wire()) - 1],
            Counted::Abandoned => &self.abandoned,
            Counted::Shed => &self.shed,
            Counted::DuplicateAsk => &self.duplicate_asks,
            Counted::Resent => &self.resent,
            Counted::Rerouted => &self.rerouted,
            Counted::Hedged => &self.hedged,
            Counted::LateReply => &self.late_replies,
            Counted::StrayReply => &self.stray_replies,
            Counted::StrayMessage => &self.stray_messages,
        };
        count.add(1);
    }

    /// What is not counted as it happens.
    pub fn look(&self, calls: &Calls, graphs: &Desk) {
        self.endpoints.set(calls.functions().len() as u64);
        self.open.set(calls.open_count() as u64);
        self.jobs.set(calls.jobs_count() as u64);
        self.served.set(calls.served_count() as u64);
        self.held_bytes.set(calls.held_bytes() as u64);
        self.graphs.set(graphs.count() as u64);
        self.graphs_held_bytes.set(graphs.held_bytes() as u64);
    }

    pub(super) fn plain(&self) -> impl Iterator<Item = (Kind, &'static str, &'static str, &Count)> {
        PLAIN.into_iter().map(move |(kind, name, help, count)| (kind, name, help, count(self)))
    }

    /// Calls of clients that ended without a result, by the error.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&'static str, &Count)> {
        CallError::ALL.into_iter().map(CallError::word).zip(&self.failed)
    }
}
