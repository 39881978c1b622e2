//! Calls of functions: those of clients of this node, and those that its workers run for other nodes.
//!
//! ```text
//!   client --Call--> ask.rs --- worker here -------------------> job.rs <--> worker
//!     ^                |  ^                                          ^
//!     |           Ask, Poll, Cancel; Accepted, Answer, Failed        |
//!     +-- Result       v  |                                          |
//!         Failed    another node: serve.rs --- window.rs says: new --+
//! ```
//!
//! One machine has all there is of a function on its node: its workers, its calls, the calls of other
//! nodes. So what is counted is exact, and a name is of one machine only. Values are not looked at.
//!
//! A message between nodes may be lost, come late, twice, or before an earlier one. Who asks repeats
//! it until a word comes; who runs it knows by its [`CallId`] that it has, and says again what it said.
//! A call that is not idempotent goes to another endpoint only if the one before has said that it will
//! never run there, or every copy sent there was dropped on the way.
//!
//! What the shell does: gives what it could not send back at once ([`Input::NotSent`]); has a node that
//! drops an `Ask` tell its origin, once for each copy it drops; never makes two copies of a message
//! and reports one of them dropped.
//!
//! Invariants:
//! - A call that is not idempotent is run at most once, whatever is lost, repeated and started again.
//! - Each call ends once, with a result or a [`Failure`], at its deadline at the latest; those of a
//!   connection that ended end silently.
//! - A worker has no more jobs than its limit, those counted that nobody waits for any more.
//! - Parts of a result come in order, none twice; after a part no other endpoint is asked.
//! - When calls, answers and streams are over and workers have answered, nothing is held.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: the side of the caller are `ask.rs` (whom to
//! ask), `explain.rs` (whom it would be), `hear.rs` (what they say), `open.rs` (a call), `far.rs` (one node that is asked) and `failure.rs`; that
//! of the worker are `serve.rs` and `window.rs` (what came before); `job.rs` is what workers have; `tests/`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::call::{CallError, CallId, Failure, JobId, Message, Ran, Route, Trace};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::{Constraint, FunctionName, Resources, Version};
use mpreg_proto::hop::{Here, Reason};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, SessionId, ShardIx};

use crate::function::{self, Functions, Target, Worker};
use crate::hop::ReplyWay;
use crate::limits::CallBounds;
use crate::time::Instant;
use crate::way::Table;

mod ask;
mod explain;
mod failure;
mod far;
mod hear;
mod job;
mod open;
mod serve;
mod window;

pub use explain::Explained;

use job::{Job, JobKey};
use open::Open;
use serve::Served;
use window::Window;

/// A call as its client numbers it. A number is free again when its call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    pub session: SessionId,
    pub number: u64,
}

/// Bytes and what their maker says they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    pub encoding: Encoding,
    pub bytes: Bytes,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub name: FunctionName,
    pub constraint: Constraint,
    pub resources: Resources,
    /// There and nowhere else.
    pub cluster: Option<ClusterId>,
    /// None: [`crate::limits::CALL_DEADLINE_DEFAULT`]. Cut to the longest that may be.
    pub deadline: Option<Duration>,
    /// To run it twice does no harm: it may be asked of another where one is lost.
    pub is_idempotent: bool,
    /// Of an idempotent call: a second one is asked if nothing came for so long.
    pub hedge_after: Option<Duration>,
    /// The result is to say which way the call went.
    pub is_traced: bool,
    pub value: Value,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// More follows.
    Part(Value),
    Done(Value),
    /// The function failed.
    Failed {
        text: String,
    },
    /// It has not run, and will not: there was no room for it.
    Declined {
        text: String,
    },
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Function(function::Input),
    Call {
        caller: Caller,
        request: Request,
    },
    /// The client does not wait for it any more.
    Cancel(Caller),
    Replied {
        session: SessionId,
        job: JobId,
        reply: Reply,
    },
    /// A connection is gone, whatever it was here for.
    Ended(SessionId),
    /// A message of another node, and how long it was still worth having.
    Heard {
        from: ReplyWay,
        /// Those that a traced message came through, its origin's first. Of others none are told.
        clusters: Vec<ClusterId>,
        name: FunctionName,
        message: Message,
        value: Value,
        deadline_left: Duration,
    },
    /// This node could not send what it was to send. No copy of it left.
    NotSent {
        message: Message,
        reason: Reason,
    },
    /// What is due by now is to be done.
    Tick,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Invoke {
        worker: Worker,
        job: JobId,
        name: FunctionName,
        version: Version,
        deadline_left: Duration,
        value: Value,
    },
    /// Nobody waits for it any more. The worker is to answer it nevertheless.
    Withdraw {
        worker: Worker,
        job: JobId,
    },
    /// A part of a result, and there is more.
    Part {
        caller: Caller,
        value: Value,
    },
    /// The result, or its last part.
    Result {
        caller: Caller,
        value: Value,
        /// Of a call that asked for it.
        trace: Option<Box<Trace>>,
    },
    Failed {
        caller: Caller,
        failure: Box<Failure>,
    },
    /// Send it to this node of this cluster, if possible the way `back`.
    Send {
        cluster: ClusterId,
        node: NodeId,
        back: Vec<NodeId>,
        name: FunctionName,
        message: Message,
        value: Value,
        deadline_left: Duration,
    },
    Function(function::Effect),
    Count(Counted),
    /// How long something took of this function.
    Measured {
        name: FunctionName,
        what: Measured,
        took: Duration,
    },
}

impl Input {
    /// Bytes of the value it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Call { request, .. } => request.value.bytes.len(),
            Self::Replied { reply: Reply::Part(value) | Reply::Done(value), .. }
            | Self::Heard { value, .. } => value.bytes.len(),
            Self::Replied { reply: Reply::Failed { .. } | Reply::Declined { .. }, .. }
            | Self::Function(_)
            | Self::Cancel(_)
            | Self::Ended(_)
            | Self::NotSent { .. }
            | Self::Tick => 0,
        }
    }
}

impl Effect {
    /// Bytes of the value it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Invoke { value, .. }
            | Self::Part { value, .. }
            | Self::Result { value, .. }
            | Self::Send { value, .. } => value.bytes.len(),
            Self::Withdraw { .. }
            | Self::Failed { .. }
            | Self::Function(_)
            | Self::Count(_)
            | Self::Measured { .. } => 0,
        }
    }
}

/// What is counted, once each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counted {
    /// A worker got a job.
    Started,
    /// A client got its result.
    Answered,
    /// A client got an error.
    Failed(CallError),
    /// A call whose client is gone.
    Abandoned,
    /// A call of another node was refused, or of a client: there was no room for it.
    Shed,
    /// An `Ask` that had come before.
    DuplicateAsk,
    /// An `Ask` or `Poll` again, because no word came.
    Resent,
    /// Another endpoint is asked, because one failed.
    Rerouted,
    /// A second one is asked, because one is slow.
    Hedged,
    /// A worker answered what nobody waited for any more.
    LateReply,
    /// A connection answered what it was not asked.
    StrayReply,
    /// Another node spoke of a call that is over, or not its own.
    StrayMessage,
}

/// What took its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measured {
    /// A call of a client of this node, until its result or its error.
    Call(Option<CallError>),
    /// A worker of this node, until its last word or its end.
    Job { is_failed: bool },
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Open(Caller),
    Served(CallId),
}

/// What one input is handled with.
struct Step<'a> {
    ways: Option<&'a Table<'a>>,
    now: Instant,
    out: &'a mut Vec<Effect>,
}

/// The calls of one shard's functions.
#[derive(Debug)]
pub struct Calls {
    here: Here,
    life: Incarnation,
    shard: ShardIx,
    bounds: CallBounds,
    functions: Functions,
    calls_made: u64,
    jobs_made: u64,
    /// Calls of clients of this node. No connection is without one.
    sessions: BTreeMap<SessionId, BTreeMap<u64, Box<Open>>>,
    open_count: usize,
    open_bytes: usize,
    /// Those that other nodes were asked to run, by number.
    asked: BTreeMap<u64, Caller>,
    jobs: BTreeMap<JobKey, Job>,
    /// Calls of other nodes that run, and answers kept.
    served: BTreeMap<CallId, Served>,
    /// The answers of those, the oldest first.
    kept: BTreeMap<u64, CallId>,
    kept_made: u64,
    served_bytes: usize,
    window: Window,
    timers: BTreeSet<(Instant, Due)>,
}

impl Calls {
    pub fn new(here: Here, life: Incarnation, shard: ShardIx, bounds: CallBounds) -> Self {
        Self {
            here,
            life,
            shard,
            bounds,
            functions: Functions::new(here.node, here.cluster, life),
            calls_made: 0,
            jobs_made: 0,
            sessions: BTreeMap::new(),
            open_count: 0,
            open_bytes: 0,
            asked: BTreeMap::new(),
            jobs: BTreeMap::new(),
            served: BTreeMap::new(),
            kept: BTreeMap::new(),
            kept_made: 0,
            served_bytes: 0,
            window: Window::new(bounds.streams_max),
            timers: BTreeSet::new(),
        }
    }

    /// `ways` are those of now. None: the node is alone.
    pub fn handle(
        &mut self,
        input: Input,
        ways: Option<&Table<'_>>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let step = &mut Step { ways, now, out };
        match input {
            Input::Function(function::Input::Ended(session)) | Input::Ended(session) => {
                self.ended(session, step);
            }
            Input::Function(input) => self.tell_functions(input, step),
            Input::Call { caller, request } => self.call(caller, request, step),
            Input::Cancel(caller) => self.cancel(caller, step),
            Input::Replied { session, job, reply } => {
                self.replied(JobKey { session, job }, reply, step);
            }
            Input::Heard { from, clusters, name, message, value, deadline_left } => {
                let route = message.is_traced().then(|| self.route(&from, clusters));
                self.heard((from, route), name, (message, value), deadline_left, step);
            }
            Input::NotSent { message, reason } => self.not_sent(&message, reason, step),
            Input::Tick => self.tick(step),
        }
    }

    /// When this machine next wants `Tick`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let timer = self.timers.first().map(|(at, due)| match due {
            Due::Open(_) => (*at, "a call of a client"),
            Due::Served(_) => (*at, "a call of another node"),
        });
        let sweep = self.window.deadline().map(|at| (at, "forget streams of calls"));
        timer.into_iter().chain(sweep).min()
    }

    /// Which functions there are.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Calls of clients that have not ended.
    pub fn open_count(&self) -> usize {
        self.open_count
    }

    /// What workers have not answered.
    pub fn jobs_count(&self) -> usize {
        self.jobs.len()
    }

    /// Calls of other nodes that run, and answers kept.
    pub fn served_count(&self) -> usize {
        self.served.len()
    }

    /// Bytes of values of calls, and of answers kept.
    pub fn held_bytes(&self) -> usize {
        self.open_bytes + self.served_bytes
    }

    /// Streams of calls of other nodes that are remembered.
    pub fn streams_count(&self) -> usize {
        self.window.len()
    }

    fn tell_functions(&mut self, input: function::Input, step: &mut Step<'_>) {
        let mut told = Vec::new();
        self.functions.handle(input, &mut told);
        step.out.extend(told.into_iter().map(Effect::Function));
    }

    fn heard(
        &mut self,
        (from, route): (ReplyWay, Option<Route>),
        name: FunctionName,
        (message, value): (Message, Value),
        left: Duration,
        step: &mut Step<'_>,
    ) {
        let is_mine = message.call().origin == self.here.node;
        // What is said to who runs a call is said by who asked for it.
        let is_askers = message.call().origin == from.origin && !is_mine;
        match message {
            Message::Ask(ask) if is_askers => {
                self.asked_for((from, route), name, (*ask, value), left, step);
            }
            Message::Poll { call, have } if is_askers => {
                self.polled(from, name, (call, have), step)
            }
            Message::Ack { call, have } if is_askers => self.acked(call, have, step),
            Message::Cancel { call } if is_askers => self.cancelled(call, step),
            Message::Accepted { call } if is_mine => self.accepted(&from, call, step),
            Message::Answer { call, part, is_last, ran } if is_mine => {
                let trace = ran.zip(route).map(|(ran, route)| trace_of(*ran, route));
                self.answered(&from, &name, (call, part, is_last), (value, trace), step);
            }
            Message::Failed(refusal) if is_mine => self.refused(&from, *refusal, step),
            Message::Unknown { call } if is_mine => self.unknown(&from, call, step),
            Message::Dropped(dropped) if is_mine => self.dropped(*dropped, step),
            Message::Ask(_)
            | Message::Poll { .. }
            | Message::Ack { .. }
            | Message::Cancel { .. }
            | Message::Accepted { .. }
            | Message::Answer { .. }
            | Message::Failed(_)
            | Message::Unknown { .. }
            | Message::Dropped(_) => step.count(Counted::StrayMessage),
        }
    }

    /// By which a message came here.
    fn route(&self, from: &ReplyWay, mut clusters: Vec<ClusterId>) -> Route {
        if clusters.last() != Some(&self.here.cluster) {
            clusters.push(self.here.cluster);
        }
        Route { nodes: from.back.iter().rev().copied().chain([self.here.node]).collect(), clusters }
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        while let Some(&(_, due)) = self.timers.first().filter(|(at, _)| *at <= step.now) {
            match due {
                Due::Open(caller) => self.open_due(caller, step),
                Due::Served(call) => self.served_due(call, step),
            }
        }
        self.window.sweep(step.now);
    }
}

impl Step<'_> {
    fn count(&mut self, what: Counted) {
        self.out.push(Effect::Count(what));
    }

    fn measure(&mut self, name: &FunctionName, what: Measured, since: Instant) {
        let took = self.now.since(since);
        self.out.push(Effect::Measured { name: name.clone(), what, took });
    }

    /// How far away, by the ways there are now.
    fn distance(&self) -> impl Fn(Target) -> Option<u32> {
        distance(self.ways)
    }
}

fn distance(ways: Option<&Table<'_>>) -> impl Fn(Target) -> Option<u32> {
    move |to| match to {
        Target::Here => Some(0),
        Target::Node(node) => ways?.node_distance(node),
        Target::Cluster(cluster) => ways?.cluster_distance(cluster),
    }
}

/// Of a call that ran elsewhere, but for the time it took in all.
fn trace_of(Ran { route: call, took: ran }: Ran, answer: Route) -> Box<Trace> {
    Box::new(Trace { call, answer, ran, took: Duration::ZERO })
}

/// What endpoints are drawn by: the same wherever the call is looked at.
fn draw_of(call: CallId) -> u128 {
    call.origin.0 << 64 | u128::from(call.number)
}

#[cfg(test)]
mod tests;
