//! The call graphs of one shard's clients: who may have one, whose a call is that comes back, and how
//! all of them end.
//!
//! ```text
//!   a client's call --Call--> graph --> Effect::Call  --> as any call of a function
//!                               |   <-- Finished, by the number of that call
//!   Cancel, Ended, Tick ------> |
//!                               +--> Partial .. Done  --> parts and result of the client's call
//! ```
//!
//! The call of a command is the client's, under a number that no client may use: so it ends with the
//! connection wherever it is, and is counted as one of that connection's. The number says which command
//! of which graph it is of, and is used once.
//!
//! ```text
//!   number u64 = 1 (bit 63), graph (55 bits: counts up from 0), place of the command (8 bits)
//! ```
//!
//! Invariants:
//! - A client's call of a graph ends once: with [`Effect::Done`], or silently with its connection.
//! - No more graphs run, nor bytes are held, than [`GraphBounds`] says.
//! - Once a graph is over or was cancelled nothing of it is held, and none of its calls is open.
//!
//! What the shell does: tells of a connection that ended also those that run the calls of its commands.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use mpreg_proto::id::SessionId;
use mpreg_proto::limits::CALL_NUMBER_MAX;

use super::{CallGraph, CommandIx, End, Outcome, Plan, Settings, Summary, Value};
use crate::call::Caller;
use crate::limits::{CALL_GRAPH_COMMANDS_MAX, GraphBounds};
use crate::time::Instant;

/// A graph of a shard. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GraphNo(u64);

const COMMAND_BITS: u32 = 8;
const _: () = assert!(CALL_GRAPH_COMMANDS_MAX == 1 << COMMAND_BITS);

impl GraphNo {
    /// Under which one of its commands is called.
    fn caller(self, session: SessionId, command: CommandIx) -> Caller {
        let number = (CALL_NUMBER_MAX + 1) | (self.0 << COMMAND_BITS) | u64::from(command.0);
        Caller { session, number }
    }

    /// What is called under this number, if it is of a graph's command.
    pub fn of(caller: Caller) -> Option<(Self, CommandIx)> {
        let number = is_of_command(caller).then_some(caller.number & CALL_NUMBER_MAX)?;
        let command = number & (CALL_GRAPH_COMMANDS_MAX as u64 - 1);
        Some((Self(number >> COMMAND_BITS), CommandIx(command as u16)))
    }
}

/// Whether this is the call of a graph's command, and not one that a client said.
pub const fn is_of_command(caller: Caller) -> bool {
    CALL_NUMBER_MAX < caller.number
}

/// Why a client gets no graph run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a call of this number is under way")]
    NumberInUse,
    #[error("the connection runs as many call graphs as it may")]
    GraphsOfSession,
    #[error("this node runs as many call graphs as it may")]
    Graphs,
    #[error("call graphs hold as many bytes as they may")]
    Bytes,
}

/// What can happen to graphs that were taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Start(GraphNo),
    /// The client does not wait for it any more, or wants what there is.
    Cancel(Caller),
    /// A connection is gone.
    Ended(SessionId),
    /// The call of a command came back, as of [`super::Input::Finished`].
    Finished {
        caller: Caller,
        outcome: Outcome,
        cluster_hops: Option<u8>,
    },
    /// What is due by now is to be done.
    Tick,
}

/// What follows. `client` is whose graph it is, `caller` under which a command is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Call {
        graph: GraphNo,
        command: CommandIx,
        caller: Caller,
        until: Instant,
        argument: Value,
    },
    Cancel {
        graph: GraphNo,
        command: CommandIx,
        caller: Caller,
    },
    Partial {
        graph: GraphNo,
        client: Caller,
        command: CommandIx,
        end: End,
    },
    Done {
        graph: GraphNo,
        client: Caller,
        results: Vec<(CommandIx, End)>,
        summary: Summary,
    },
    /// It is gone with its client.
    Abandoned {
        graph: GraphNo,
    },
}

/// The graphs that run.
#[derive(Debug)]
pub struct Desk {
    bounds: GraphBounds,
    made: u64,
    running: BTreeMap<GraphNo, Running>,
    /// Which of them each client's call is.
    clients: BTreeMap<Caller, GraphNo>,
    timers: BTreeSet<(Instant, GraphNo)>,
    bytes: usize,
}

#[derive(Debug)]
struct Running {
    client: Caller,
    graph: CallGraph,
    until: Instant,
    /// Of what was asked for.
    bytes: usize,
}

impl Running {
    fn held_bytes(&self) -> usize {
        self.bytes + self.graph.held_bytes()
    }
}

impl Desk {
    pub fn new(bounds: GraphBounds) -> Self {
        Self {
            bounds,
            made: 0,
            running: BTreeMap::new(),
            clients: BTreeMap::new(),
            timers: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Whether a graph of so many bytes may run: to be asked before it is read.
    pub fn admit(&self, client: Caller, bytes: usize) -> Result<(), Refused> {
        if self.clients.contains_key(&client) {
            return Err(Refused::NumberInUse);
        }
        if self.bounds.graphs_per_session_max <= self.of_session(client.session).count() {
            return Err(Refused::GraphsOfSession);
        }
        if self.bounds.graphs_max <= self.running.len() {
            return Err(Refused::Graphs);
        }
        if self.bounds.bytes_max - self.bytes < bytes {
            return Err(Refused::Bytes);
        }
        Ok(())
    }

    /// Takes a graph in. Nothing of it is called before [`Input::Start`].
    pub fn open(
        &mut self,
        client: Caller,
        plan: Plan,
        settings: Settings,
        bytes: usize,
    ) -> Result<GraphNo, Refused> {
        self.admit(client, bytes)?;
        let graph = GraphNo(self.made);
        self.made += 1;
        let until = settings.until;
        let running = Running { client, graph: CallGraph::new(plan, settings), until, bytes };
        self.running.insert(graph, running);
        self.clients.insert(client, graph);
        self.timers.insert((until, graph));
        self.bytes += bytes;
        Ok(graph)
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::Start(graph) => self.feed(graph, super::Input::Start, now, out),
            Input::Cancel(client) => {
                if let Some(&graph) = self.clients.get(&client) {
                    self.feed(graph, super::Input::Cancel, now, out);
                }
            }
            Input::Ended(session) => {
                let gone: Vec<GraphNo> = self.of_session(session).collect();
                for graph in gone {
                    self.close(graph);
                    out.push(Effect::Abandoned { graph });
                }
            }
            Input::Finished { caller, outcome, cluster_hops } => {
                self.finished(caller, outcome, cluster_hops, now, out);
            }
            Input::Tick => {
                while let Some(&(_, graph)) = self.timers.first().filter(|(at, _)| *at <= now) {
                    self.feed(graph, super::Input::DeadlineReached, now, out);
                }
            }
        }
    }

    /// When this desk next wants `Tick`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.timers.first().map(|(at, _)| (*at, "end a call graph"))
    }

    /// Graphs that run.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Bytes of what was asked for, and of results that commands wait for or that are told at the end.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    fn of_session(&self, session: SessionId) -> impl Iterator<Item = GraphNo> + '_ {
        let first = Caller { session, number: 0 };
        let last = Caller { session, number: u64::MAX };
        self.clients.range(first..=last).map(|(_, &graph)| graph)
    }

    fn finished(
        &mut self,
        caller: Caller,
        outcome: Outcome,
        cluster_hops: Option<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some((graph, command)) = GraphNo::of(caller) else { return };
        let Some(running) = self.running.get(&graph) else { return };
        if running.client.session != caller.session {
            return;
        }
        let left = self.bounds.bytes_max - self.bytes;
        let outcome = match outcome {
            Outcome::Value(ref value)
                if left < value.bytes.len() && running.graph.would_hold(command) =>
            {
                Outcome::NoRoom
            }
            Outcome::Value(_) | Outcome::Failed(_) | Outcome::NoRoom => outcome,
        };
        self.feed(graph, super::Input::Finished { command, outcome, cluster_hops }, now, out);
    }

    fn feed(&mut self, graph: GraphNo, input: super::Input, now: Instant, out: &mut Vec<Effect>) {
        let Some(running) = self.running.get_mut(&graph) else { return };
        let (client, until) = (running.client, running.until);
        let mut effects = Vec::new();
        self.bytes -= running.held_bytes();
        running.graph.handle(input, now, &mut effects);
        self.bytes += running.held_bytes();
        for effect in effects {
            out.push(match effect {
                super::Effect::Call { command, argument, target: _ } => {
                    let caller = graph.caller(client.session, command);
                    Effect::Call { graph, command, caller, until, argument }
                }
                super::Effect::Cancel { command } => {
                    let caller = graph.caller(client.session, command);
                    Effect::Cancel { graph, command, caller }
                }
                super::Effect::Partial { command, end } => {
                    Effect::Partial { graph, client, command, end }
                }
                super::Effect::Done { results, summary } => {
                    self.close(graph);
                    Effect::Done { graph, client, results, summary }
                }
            });
        }
    }

    fn close(&mut self, graph: GraphNo) {
        let running = self.running.remove(&graph).expect("it was just found");
        self.bytes -= running.held_bytes();
        self.clients.remove(&running.client);
        self.timers.remove(&(running.until, graph));
    }
}

#[cfg(test)]
mod tests;
