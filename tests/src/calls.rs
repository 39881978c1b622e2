//! Calls of functions: several nodes, workers and clients of each, and a network between them that
//! loses, doubles, delays and cuts.
//!
//! ```text
//!   pending --step--> a message arrives | a worker answers | an entry of the catalog arrives
//!                       |                 | a node starts again | a machine is due
//!                       v
//!                  Calls of that node --effects--> network, workers, clients --> check (what must hold)
//! ```
//!
//! There are two clusters, of three nodes and of those beyond, and each node is linked with each other.
//! Hops in between, whole catalogs and routes are what the simulator of many nodes has (`mesh`). All
//! chance comes from one seed, so a seed is a history.
//!
//! Parts: `plan.rs` (what a seed decides), `node.rs` (a node: its clients, its workers, its lives),
//! `act.rs` (what clients and workers do), `net.rs` (what nodes say to each other), `route.rs` (which way), `check.rs` (what must
//! hold), `play.rs` (one seed from start to rest).

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::call::{Caller, Counted, Effect, Input, Reply, Value};
use mpreg_fabric::function;
use mpreg_fabric::hop::ReplyWay;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_proto::call::{JobId, Message};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::FunctionName;
use mpreg_proto::id::{ClusterId, SessionId};

use crate::check::Violation;
use crate::trace::{Show, Trace};

mod act;
mod check;
mod net;
mod node;
pub mod plan;
pub mod play;
mod route;

use check::{End, Promise};
use node::Node;
use plan::CallPlan;

const MS: Duration = Duration::from_millis(1);

/// The one function of all nodes, in several versions.
const FUNCTION: &str = "sum";

/// All of a history.
struct Net {
    plan: CallPlan,
    rng: Rng,
    now: Instant,
    trace: Trace,
    event: u64,
    violation: Option<Violation>,
    nodes: Vec<Node>,
    /// Pairs that hear nothing of each other, until then.
    cuts: BTreeMap<(usize, usize), Instant>,
    pending: BTreeMap<(Instant, u64), Pending>,
    pending_made: u64,
    sessions_made: u64,
    /// By their tokens, which are their places.
    promises: Vec<Promise>,
    by_caller: BTreeMap<(usize, u64, Caller), usize>,
    counted: BTreeMap<Counted, u64>,
    /// By which copies of traced messages went.
    routes: route::Routes,
    /// Nothing goes wrong any more.
    is_quiet: bool,
}

/// What is to happen.
enum Pending {
    Message {
        to: usize,
        from: ReplyWay,
        clusters: Vec<ClusterId>,
        message: Message,
        value: Value,
        left: Duration,
    },
    /// Of this life alone.
    Reply {
        node: usize,
        life: u64,
        session: SessionId,
        job: JobId,
        reply: Reply,
    },
    Entry {
        to: usize,
        of: usize,
        number: u64,
        body: Option<Bytes>,
    },
    Restart {
        node: usize,
    },
}

impl Net {
    fn new(seed: u64, plan: CallPlan, show: Show) -> Self {
        let nodes = (0..plan.nodes_count).map(|_| Node::down()).collect();
        let mut net = Self {
            plan,
            rng: Rng::from_seed(seed).stream(2),
            now: Instant::START,
            trace: Trace::new(show, "node"),
            event: 0,
            violation: None,
            nodes,
            cuts: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_made: 0,
            sessions_made: 0,
            promises: Vec::new(),
            by_caller: BTreeMap::new(),
            counted: BTreeMap::new(),
            routes: BTreeMap::new(),
            is_quiet: false,
        };
        (0..net.nodes.len()).for_each(|node| net.start(node));
        net
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.rng.below(1000) < of_thousand && !self.is_quiet
    }

    fn later(&mut self, pending: Pending, after: Duration) {
        self.pending_made += 1;
        self.pending.insert((self.now + after, self.pending_made), pending);
    }

    /// The first broken rule is kept.
    fn note(&mut self, verdict: Result<(), Violation>) {
        if let (None, Err(violation)) = (&self.violation, verdict) {
            self.violation = Some(violation);
        }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.violation.is_none() {
            let event = self.pending.first_key_value().map(|(&(at, _), _)| at);
            let due = self.nodes.iter().filter_map(|node| node.calls.as_ref()?.deadline());
            let due = due.map(|(at, _)| at).min();
            let Some(next) = event.into_iter().chain(due).min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if due.is_some_and(|at| at <= self.now) {
                (0..self.nodes.len()).for_each(|node| self.tell(node, Input::Tick));
            } else if let Some((_, pending)) = self.pending.pop_first() {
                self.happen(pending);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Message { to, from, clusters, message, value, left } => {
                let (name, deadline_left) = (name(), left);
                let heard = Input::Heard { from, clusters, name, message, value, deadline_left };
                self.tell(to, heard);
            }
            Pending::Reply { node, life, session, job, reply } => {
                if self.nodes[node].life == life {
                    self.worker_says(node, session, job, reply);
                }
            }
            Pending::Entry { to, of, number, body } => self.hear_entry(to, of, number, body),
            Pending::Restart { node } => self.start(node),
        }
    }

    /// Feeds the machine of a node that is up, and does what it wants.
    fn tell(&mut self, node: usize, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let up =
                self.others(node).filter(|&other| !self.is_cut(node, other)).collect::<Vec<_>>();
            let Some(calls) = self.nodes[node].calls.as_mut() else { return };
            self.event += 1;
            self.trace.note(self.now, node, &discriminant(&input), format_args!("{input:?}"));
            let mut effects = Vec::new();
            net::with_table(node, &up, |table| {
                calls.handle(input, Some(table), self.now, &mut effects);
            });
            let verdict = check::bounds_hold(&self.plan.bounds, calls);
            self.note(verdict);
            for effect in effects {
                let what = discriminant(&effect);
                self.trace.note(self.now, node, &what, format_args!("  {effect:?}"));
                inputs.extend(self.perform(node, effect));
            }
        }
    }

    /// What the machine is to be told at once.
    fn perform(&mut self, node: usize, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Invoke { worker, job, value, .. } => self.invoked(node, worker, job, &value),
            Effect::Withdraw { worker, job } => self.withdrawn(node, worker, job),
            Effect::Part { caller, value } => self.part_came(node, caller, &value),
            Effect::Result { caller, value, trace } => {
                self.traced(node, caller, trace.as_deref());
                let end = End::Result { is_right: self.is_next_part(node, caller, &value) };
                self.ended(node, caller, end);
            }
            Effect::Failed { caller, failure } => self.ended(node, caller, End::Failed(*failure)),
            Effect::Send { node: to, message, value, deadline_left, .. } => {
                return self.send(node, net::place_of(to), (message, value), deadline_left);
            }
            Effect::Function(function::Effect::Offer { body, .. }) => self.offer(node, Some(body)),
            Effect::Function(function::Effect::Retract { .. }) => self.offer(node, None),
            Effect::Function(_) => (),
            Effect::Count(what) => *self.counted.entry(what).or_default() += 1,
            Effect::Measured { .. } => (),
        }
        None
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.nodes.len()).filter(move |&other| other != node)
    }
}

fn name() -> FunctionName {
    FUNCTION.parse().expect("it is a name")
}

/// A part of the result of the call with this token.
fn answer(token: usize, part: u32) -> Value {
    text(&format!("{token} {part} {}", "x".repeat(token % 100)))
}

fn text(text: &str) -> Value {
    Value { encoding: Encoding::Text, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}
