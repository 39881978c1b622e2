//! Call graphs of this shard's clients: calls of the function `mpreg.graph`, which every shard runs itself.
//!
//! ```text
//!   a client's Call, whatever protocol --> tell_home --> call_graph::Graph --> Desk
//!   Desk --> Call, Cancel of a command --> home of its function, as for any other call
//!   tell_client <-- result of a command, by its number --> Desk
//!   Desk --> parts and result of the client's call --> tell_client
//! ```
//!
//! Invariants:
//! - A graph that is refused called nothing.
//! - What desk and homes say to each other is handled in the order it was said: what is said meanwhile waits.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mpreg_fabric::call::{self, Caller, Counted, Request};
use mpreg_fabric::call_graph::desk::{Desk, Effect, GraphNo, Input, Refused, is_of_command};
use mpreg_fabric::call_graph::{CommandIx, End, Outcome, Settings, Summary, Value, When};
use mpreg_fabric::limits::{CALL_DEADLINE_DEFAULT, CALL_DEADLINE_MAX, GraphBounds};
use mpreg_fabric::time::Instant;
use mpreg_proto::call::{CallError, Failure, Route, Target, Trace};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::Version;

use super::Switch;
use crate::call_graph::{Asked, Graph, Report, event, failure, streamed};

/// What calls of `mpreg.graph` choose by.
const VERSION: &str = "1.0.0";

/// The graphs that run.
pub(super) struct Graphs {
    pub(super) desk: Desk,
    running: BTreeMap<GraphNo, Running>,
    /// What is to be told to the desk once it is done with what it was told before.
    waiting: VecDeque<Input>,
    is_telling: bool,
}

struct Running {
    asked: Vec<Asked>,
    when: When,
    /// Of a call that asks which way it went: since when it runs.
    traced: Option<Instant>,
}

impl Default for Graphs {
    fn default() -> Self {
        Self {
            desk: Desk::new(GraphBounds::SHARD),
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_telling: false,
        }
    }
}

impl Switch {
    /// A client calls `mpreg.graph`.
    pub(super) fn begin_graph(&mut self, client: Caller, request: &Request) {
        match self.open_graph(client, request) {
            Ok(graph) => self.tell_graphs(Input::Start(graph)),
            Err((error, text)) => {
                if error == CallError::Overloaded {
                    self.probe.calls.count(Counted::Shed);
                }
                self.probe.calls.count(Counted::Failed(error));
                let failure = Box::new(self.graph_failure(request, error, text));
                let failed = call::Effect::Failed { caller: client, failure };
                self.tell_client(client.session, failed, self.mesh.me());
            }
        }
    }

    fn open_graph(
        &mut self,
        client: Caller,
        request: &Request,
    ) -> Result<GraphNo, (CallError, String)> {
        self.check_graph(request)?;
        let json = &request.value.bytes;
        let refused = |why: Refused| {
            let error = match why {
                Refused::NumberInUse => CallError::Malformed,
                Refused::GraphsOfSession | Refused::Graphs | Refused::Bytes => {
                    CallError::Overloaded
                }
            };
            (error, why.to_string())
        };
        self.graphs.desk.admit(client, json.len()).map_err(refused)?;
        let graph = Graph::parse(json)
            .map_err(|refusal| (CallError::Malformed, format!("{}: {refusal}", refusal.word())))?;
        let Graph { plan, asked, told, when } = graph;
        let left = request.deadline.unwrap_or(CALL_DEADLINE_DEFAULT).min(CALL_DEADLINE_MAX);
        let settings = Settings { told, when, until: self.now + left };
        let graph = self.graphs.desk.open(client, plan, settings, json.len()).map_err(refused)?;
        let traced = request.is_traced.then_some(self.now);
        self.graphs.running.insert(graph, Running { asked, when, traced });
        Ok(graph)
    }

    /// Whether this shard is who the call asks for.
    fn check_graph(&self, request: &Request) -> Result<(), (CallError, String)> {
        let Request { constraint, resources, cluster, is_idempotent, hedge_after, .. } = request;
        let version: Version = VERSION.parse().expect("a version");
        let fail = |error, text: &str| Err((error, text.to_owned()));
        if hedge_after.is_some() && !is_idempotent {
            return fail(CallError::Malformed, "only what is idempotent may be run side by side");
        }
        if !constraint.allows(&version) {
            return fail(CallError::NoVersion, "call graphs are of version 1.0.0");
        }
        if resources.names().len() != 0 {
            return fail(CallError::NoResource, "what runs call graphs has no resources");
        }
        if cluster.is_some_and(|cluster| cluster != self.desk.here.cluster) {
            return fail(CallError::NotFound, "a call graph runs on the node that is asked");
        }
        Ok(())
    }

    fn graph_failure(&self, request: &Request, error: CallError, text: String) -> Failure {
        let here = self.desk.here;
        let (cluster, node) = (Some(here.cluster), Some(here.node));
        let target = Target { name: request.name.clone(), cluster, node };
        Failure { error, target, path: vec![here.node], text, may_have_run: false }
    }

    /// What clients and homes say of graphs. The desk hears it once what it said before is done.
    pub(super) fn tell_graphs(&mut self, input: Input) {
        self.graphs.waiting.push_back(input);
        if std::mem::replace(&mut self.graphs.is_telling, true) {
            return;
        }
        let mut effects = Vec::new();
        while let Some(input) = self.graphs.waiting.pop_front() {
            self.graphs.desk.handle(input, self.now, &mut effects);
            effects.drain(..).for_each(|effect| self.perform_graph(effect));
        }
        self.graphs.is_telling = false;
    }

    fn perform_graph(&mut self, effect: Effect) {
        match effect {
            Effect::Call { graph, command, caller, until, argument } => {
                let Some(asked) = self.graphs.asked(graph, command) else { return };
                asked.is_called = true;
                let Value { encoding, bytes } = argument;
                let request = Request {
                    name: asked.function.clone(),
                    constraint: asked.constraint.clone(),
                    resources: asked.resources.clone(),
                    cluster: asked.cluster,
                    is_idempotent: asked.is_idempotent,
                    deadline: Some(until.since(self.now)),
                    hedge_after: None,
                    // For the summary, which says how many clusters it went through.
                    is_traced: true,
                    value: call::Value { encoding, bytes },
                };
                let home = self.machine.home(request.name.as_str().as_bytes());
                self.tell_home(home, caller.session, call::Input::Call { caller, request });
            }
            Effect::Cancel { graph, command, caller } => {
                self.cancel_command(graph, command, caller)
            }
            Effect::Partial { graph, client, command, end } => {
                let Some(running) = self.graphs.running.get(&graph) else { return };
                let value = json(event(&running.asked, command, &end));
                let part = call::Effect::Part { caller: client, value };
                self.tell_client(client.session, part, self.mesh.me());
            }
            Effect::Done { graph, client, results, summary } => {
                self.end_graph(graph, client, &results, &summary);
            }
            Effect::Abandoned { graph } => {
                self.graphs.running.remove(&graph);
                self.probe.calls.count(Counted::Abandoned);
            }
        }
    }

    fn cancel_command(&mut self, graph: GraphNo, command: CommandIx, caller: Caller) {
        let Some(asked) = self.graphs.asked(graph, command) else { return };
        let name = asked.function.clone();
        let home = self.machine.home(name.as_str().as_bytes());
        self.hand_to(home, call::Input::Cancel(caller));
    }

    fn end_graph(
        &mut self,
        graph: GraphNo,
        client: Caller,
        results: &[(CommandIx, End)],
        summary: &Summary,
    ) {
        let Some(running) = self.graphs.running.remove(&graph) else { return };
        let Running { asked, when, traced } = running;
        let report = Report { asked: &asked, results, summary };
        let value = json(match when {
            When::AtTheEnd => report.json(),
            When::Streamed => report.last_line(),
        });
        self.probe.calls.count(Counted::Answered);
        let trace = traced.map(|since| self.trace_here(since));
        let result = call::Effect::Result { caller: client, value, trace };
        self.tell_client(client.session, result, self.mesh.me());
    }

    /// The graph itself goes nowhere.
    fn trace_here(&self, since: Instant) -> Box<Trace> {
        let route = Route::at(self.desk.here.node, self.desk.here.cluster);
        let took = self.now.since(since);
        Box::new(Trace { call: route.clone(), answer: route, took, ran: took })
    }

    /// Takes what a home says of a graph's command. What is for a client comes back.
    pub(super) fn take_of_command(&mut self, effect: call::Effect) -> Option<call::Effect> {
        let mut cluster_hops = None;
        let (caller, outcome) = match effect {
            call::Effect::Result { caller, value, trace } if is_of_command(caller) => {
                let call::Value { encoding, bytes } = value;
                cluster_hops = trace.map(|trace| trace.cluster_hops());
                (caller, Outcome::Value(Value { encoding, bytes }))
            }
            call::Effect::Failed { caller, failure: why } if is_of_command(caller) => {
                (caller, Outcome::Failed(failure(&why)))
            }
            call::Effect::Part { caller, .. } if is_of_command(caller) => {
                let (graph, command) = GraphNo::of(caller)?;
                let outcome =
                    Outcome::Failed(streamed(&self.graphs.asked(graph, command)?.function));
                // Nobody takes what follows.
                self.cancel_command(graph, command, caller);
                (caller, outcome)
            }
            call::Effect::Result { .. }
            | call::Effect::Failed { .. }
            | call::Effect::Part { .. }
            | call::Effect::Invoke { .. }
            | call::Effect::Withdraw { .. }
            | call::Effect::Send { .. }
            | call::Effect::Function(_)
            | call::Effect::Count(_)
            | call::Effect::Measured { .. } => return Some(effect),
        };
        self.tell_graphs(Input::Finished { caller, outcome, cluster_hops });
        None
    }

    /// What is due.
    pub(super) fn keep_graphs(&mut self) {
        if self.graphs.desk.deadline().is_some_and(|(at, _why)| at <= self.now) {
            self.tell_graphs(Input::Tick);
            self.perform();
        }
    }
}

impl Graphs {
    fn asked(&mut self, graph: GraphNo, command: CommandIx) -> Option<&mut Asked> {
        self.running.get_mut(&graph)?.asked.get_mut(usize::from(command.0))
    }
}

fn json(text: String) -> call::Value {
    call::Value { encoding: Encoding::Json, bytes: Bytes::from(text) }
}
