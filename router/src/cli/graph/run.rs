//! Runs a call graph: makes the calls it decides on, and tells it what came of them.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;

use mpreg_client::{CallFailed, Client, Value};
use mpreg_fabric::call_graph::{
    self, CallGraph, CommandIx, Effect, End, Input, Outcome, Settings, Summary, Target, Told, When,
};
use tokio::task::{AbortHandle, JoinSet};

use super::GraphError;
use super::file::{Asked, Graph};
use super::report;
use crate::cli::stop::Stop;
use crate::clock::Clock;

/// A graph, and the calls of it that are under way.
#[derive(Debug)]
pub(super) struct Running {
    client: Client,
    clock: Clock,
    graph: CallGraph,
    asked: Vec<Asked>,
    calls: JoinSet<Called>,
    under_way: BTreeMap<CommandIx, AbortHandle>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Over {
    /// What was not told before.
    pub(super) results: Vec<(CommandIx, End)>,
    pub(super) summary: Summary,
}

/// A call that came back.
#[derive(Debug)]
struct Called {
    command: CommandIx,
    result: Result<Value, CallFailed>,
}

impl Running {
    pub(super) fn new(
        client: Client,
        graph: Graph,
        told: Told,
        when: When,
        deadline: Duration,
    ) -> Self {
        let clock = Clock::start();
        let settings = Settings { told, when, until: clock.now() + deadline };
        Self {
            client,
            clock,
            graph: CallGraph::new(graph.plan, settings),
            asked: graph.asked,
            calls: JoinSet::new(),
            under_way: BTreeMap::new(),
        }
    }

    /// By their place in the graph.
    pub(super) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Runs it to its end, or until `stop` is asked. `tell` hears at once how commands of a streamed
    /// graph ended.
    pub(super) async fn run(
        &mut self,
        stop: &mut Stop,
        mut tell: impl FnMut(CommandIx, &End, &[Asked]) -> io::Result<()>,
    ) -> Result<Over, GraphError> {
        let mut input = Input::Start;
        loop {
            let mut effects = Vec::new();
            self.graph.handle(input, self.clock.now(), &mut effects);
            for effect in effects {
                match effect {
                    Effect::Call { command, target, argument } => {
                        self.call(command, target, argument);
                    }
                    Effect::Cancel { command } => {
                        // Dropped, a call is cancelled where it runs.
                        if let Some(call) = self.under_way.remove(&command) {
                            call.abort();
                        }
                    }
                    Effect::Partial { command, end } => tell(command, &end, &self.asked)?,
                    Effect::Done { results, summary } => return Ok(Over { results, summary }),
                }
            }
            input = self.next(stop).await?;
        }
    }

    fn call(&mut self, command: CommandIx, target: Target, argument: call_graph::Value) {
        let asked = &mut self.asked[usize::from(command.0)];
        asked.is_called = true;
        let (client, is_idempotent) = (self.client.clone(), asked.is_idempotent);
        let deadline = self.left();
        let call = async move {
            let mut call = client
                .call(&target.function)
                .version(&target.version)
                .cluster(&target.cluster)
                .deadline(deadline);
            for resource in &target.resources {
                call = call.resource(resource);
            }
            if is_idempotent {
                call = call.idempotent();
            }
            let argument = Value { encoding: argument.encoding, payload: argument.bytes };
            Called { command, result: call.send(argument).await }
        };
        self.under_way.insert(command, self.calls.spawn(call));
    }

    /// Waits for what happens next.
    async fn next(&mut self, stop: &mut Stop) -> Result<Input, GraphError> {
        let left = self.left();
        tokio::select! {
            Some(ended) = self.calls.join_next() => match ended {
                Ok(called) => self.finished(called),
                // Nothing is cancelled before the graph is over.
                Err(error) => resume_unwind(error.into_panic()),
            },
            () = stop.asked() => Ok(Input::Cancel),
            () = tokio::time::sleep(left) => Ok(Input::DeadlineReached),
        }
    }

    fn finished(&mut self, called: Called) -> Result<Input, GraphError> {
        let Called { command, result } = called;
        self.under_way.remove(&command);
        let outcome = match result {
            Ok(Value { encoding, payload: bytes }) => {
                Outcome::Value(call_graph::Value { encoding, bytes })
            }
            Err(CallFailed::Unsupported) => return Err(GraphError::Unsupported),
            Err(error) => {
                let function = &self.asked[usize::from(command.0)].function;
                Outcome::Failed(report::failure(function, &error))
            }
        };
        // The result does not say which way it came.
        Ok(Input::Finished { command, outcome, cluster_hops: None })
    }

    fn left(&self) -> Duration {
        let until = self.graph.deadline();
        until.map_or(Duration::ZERO, |(until, _)| until.since(self.clock.now()))
    }
}
