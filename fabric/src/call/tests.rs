//! Rules one by one for the asking and the serving side, the window beside a set that forgets nothing,
//! which way a call went and how long things took. A network in which everything goes wrong is in
//! `tests/src/calls.rs`.

mod ask;
mod explain;
mod serve;
mod trace;
mod window;

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;
use core::num::NonZeroU32;

use mpreg_proto::call::{Ask, Dropped, Refusal};
use mpreg_proto::function::{FunctionId, Offer, Offers};

use super::*;
use crate::breaker::Circuit;
use crate::function::Registration;
use crate::way::Link;

/// Node `n` of cluster 1. This one is 1, in its second life.
const LIFE: Incarnation = Incarnation(2);
const OWN: ClusterId = ClusterId(1);
const PEERS: [u128; 4] = [2, 3, 4, 5];

fn sum() -> FunctionName {
    "sum".parse().unwrap()
}

fn value(text: &str) -> Value {
    Value { encoding: Encoding::Text, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn request(text: &str) -> Request {
    Request {
        name: sum(),
        constraint: Constraint::ANY,
        resources: Resources::default(),
        cluster: None,
        deadline: Some(Duration::from_secs(5)),
        is_idempotent: false,
        hedge_after: None,
        is_traced: false,
        value: value(text),
    }
}

fn idempotent(text: &str) -> Request {
    Request { is_idempotent: true, ..request(text) }
}

fn register(session: u64, limit: u32, version: &str) -> Input {
    let worker = Worker { session: SessionId(session), number: 1 };
    let registration = Registration {
        name: sum(),
        id: FunctionId::of("sum"),
        version: version.parse().unwrap(),
        resources: Resources::default(),
        limit: NonZeroU32::new(limit).unwrap(),
    };
    Input::Function(function::Input::Register { worker, registration })
}

/// What a node offers of `sum`: its life and its version. Nothing, if none is given.
fn entry(node: u128, offer: Option<(u64, &str)>) -> Input {
    let body = offer.map(|(life, version)| {
        let (version, resources) = (version.parse().unwrap(), Resources::default());
        let offer = Offer { version, resources, limit: 100 };
        let mut body = Vec::new();
        let offers = Offers::new(FunctionId::of("sum"), Incarnation(life), vec![offer]);
        offers.unwrap().put(&mut body);
        body.into()
    });
    let (owner, cluster, name) = (NodeId(node), OWN, "sum".into());
    Input::Function(function::Input::Changed { owner, cluster, name, body })
}

/// One node, and what it says in short words.
struct Node {
    calls: Calls,
    now: Instant,
    peers: Vec<u128>,
    counted: Vec<Counted>,
    /// Of each job that a worker got.
    jobs: Vec<(SessionId, JobId)>,
    /// Of each message that was sent.
    sent: Vec<Message>,
    traces: Vec<Trace>,
    measured: Vec<(Measured, Duration)>,
}

impl Node {
    fn new() -> Self {
        Self::with(CallBounds::NODE)
    }

    fn with(bounds: CallBounds) -> Self {
        let here = Here { node: NodeId(1), cluster: OWN };
        Self {
            calls: Calls::new(here, LIFE, ShardIx::new(0).unwrap(), bounds),
            now: Instant::START,
            peers: PEERS.to_vec(),
            counted: Vec::new(),
            jobs: Vec::new(),
            sent: Vec::new(),
            traces: Vec::new(),
            measured: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) -> Vec<String> {
        let link =
            |&peer: &u128| Link { peer: NodeId(peer), cluster: OWN, circuit: Circuit::Closed };
        let links: Vec<Link> = self.peers.iter().map(link).collect();
        let here = Here { node: NodeId(1), cluster: OWN };
        let table = Table { here, clusters: &[], nodes: &[], links: &links };
        let mut effects = Vec::new();
        self.calls.handle(input, Some(&table), self.now, &mut effects);
        effects.into_iter().filter_map(|effect| self.show(effect)).collect()
    }

    /// Lets time pass up to this many milliseconds after the start.
    fn at(&mut self, ms: u64) -> Vec<String> {
        let (until, mut said) = (Instant::START + Duration::from_millis(ms), Vec::new());
        while let Some((at, _)) = self.calls.deadline().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            let ms = self.now.since(Instant::START).as_millis();
            said.extend(self.give(Input::Tick).into_iter().map(|what| format!("{ms} {what}")));
        }
        self.now = until;
        said
    }

    fn call(&mut self, number: u64, request: Request) -> Vec<String> {
        self.give(Input::Call { caller: Caller { session: SessionId(9), number }, request })
    }

    /// What the worker says of the `nth` job.
    fn reply(&mut self, nth: usize, reply: Reply) -> Vec<String> {
        let (session, job) = self.jobs[nth];
        self.give(Input::Replied { session, job, reply })
    }

    fn hear(&mut self, from: u128, message: Message, text: &str) -> Vec<String> {
        let back = vec![NodeId(from)];
        let from = ReplyWay { origin: NodeId(from), cluster: OWN, back };
        let (name, value, deadline_left) = (sum(), value(text), Duration::from_secs(5));
        let clusters = if message.is_traced() { vec![OWN] } else { Vec::new() };
        self.give(Input::Heard { from, clusters, name, message, value, deadline_left })
    }

    fn count_of(&self, what: Counted) -> usize {
        self.counted.iter().filter(|counted| **counted == what).count()
    }

    fn show(&mut self, effect: Effect) -> Option<String> {
        let text = |value: &Value| String::from_utf8(value.bytes.to_vec()).unwrap();
        Some(match effect {
            Effect::Invoke { worker, job, version, value, .. } => {
                self.jobs.push((worker.session, job));
                format!("invoke {} {version} {}", worker.session.0, text(&value))
            }
            Effect::Withdraw { worker, .. } => format!("withdraw {}", worker.session.0),
            Effect::Part { caller, value } => format!("part {} {}", caller.number, text(&value)),
            Effect::Result { caller, value, trace } => {
                self.traces.extend(trace.map(|trace| *trace));
                format!("result {} {}", caller.number, text(&value))
            }
            Effect::Failed { caller, failure } => {
                let Failure { error, may_have_run, .. } = *failure;
                let ran = if may_have_run { " perhaps" } else { "" };
                format!("failed {} {error}{ran}", caller.number)
            }
            Effect::Send { node, message, value, .. } => {
                self.sent.push(message.clone());
                let what = match &message {
                    Message::Ask(ask) => format!("{} {}", ask.attempt, text(&value)),
                    Message::Poll { have, .. } | Message::Ack { have, .. } => have.to_string(),
                    Message::Answer { part, is_last, .. } => {
                        format!("{part}{} {}", if *is_last { "." } else { "" }, text(&value))
                    }
                    Message::Failed(refusal) => {
                        let ran = if refusal.may_have_run { " perhaps" } else { "" };
                        format!("{}{ran}", refusal.error)
                    }
                    Message::Cancel { .. } | Message::Accepted { .. } | Message::Unknown { .. } => {
                        String::new()
                    }
                    Message::Dropped(dropped) => dropped.reason.word().into(),
                };
                format!("{} to {} {what}", message.word(), node.0).trim_end().into()
            }
            Effect::Function(function::Effect::Drained(session)) => {
                format!("drained {}", session.0)
            }
            Effect::Function(_) => return None,
            Effect::Measured { what, took, .. } => {
                self.measured.push((what, took));
                return None;
            }
            Effect::Count(what) => {
                self.counted.push(what);
                return None;
            }
        })
    }

    /// Nothing is held.
    #[track_caller]
    fn is_empty(&self) {
        let Calls { sessions, asked, jobs, served, kept, timers, .. } = &self.calls;
        assert!(sessions.is_empty() && asked.is_empty() && timers.is_empty());
        assert!(jobs.is_empty() && served.is_empty() && kept.is_empty());
        assert_eq!((self.calls.open_count, self.calls.held_bytes()), (0, 0));
    }
}
