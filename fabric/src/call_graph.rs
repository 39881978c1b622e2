//! One call graph: commands that take each other's results, each called as soon as its inputs are
//! there.
//!
//! ```text
//!             inputs there         a place free         finished
//!   WAITING --------------> READY --------------> UNDER WAY -------> ENDED (value, or error)
//!      |                      |                        |
//!      +-- an input failed ---+---- cancel, deadline --+-----------> ENDED (skipped, cancelled, late)
//! ```
//!
//! No command waits for one it takes nothing from, but for a place among those under way. A command
//! that ends in an error takes with it those that need its result, at once; all others go on. A result
//! that some command was called with is consumed; what nobody consumed is told, and so is every error.
//!
//! The machine knows nothing of functions, nodes or clocks: the shell calls, gives an outcome once, and
//! says how far it was.
//!
//! Invariants:
//! - A command is called at most once, and not before all its inputs are there.
//! - A call ends with its outcome or with [`Effect::Cancel`], never with both.
//! - [`Effect::Done`] comes once, and nothing after it.
//! - A result is held until the last command that needs it was called or ended; longer only if it is to
//!   be told at the end.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: `value.rs` (values and their encodings),
//! `template.rs` (references, and the escape for what looks like one), `plan.rs` (what is checked before
//! anything runs), `summary.rs` (where the time went), `desk.rs` (all graphs of a shard's clients).

use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::limits::{CALL_GRAPH_HELD_BYTES_MAX, CALL_GRAPH_UNDER_WAY_MAX};
use crate::time::Instant;

pub mod desk;
mod plan;
mod summary;
mod template;
mod value;

pub use plan::{Command, Plan, Refused, Target};
pub use summary::{CriticalPath, Spent, Summary};
pub use template::ArgumentError;
pub use value::Value;

use plan::{Planned, Uncalled};
use template::NotFilled;
use value::{NotEmbedded, Wanted};

/// A command's place among those of its graph, as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandIx(pub u16);

/// Which results are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Those no command was called with.
    #[default]
    Unconsumed,
    All,
}

/// When they are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    #[default]
    AtTheEnd,
    /// Each as soon as it is known that it is told.
    Streamed,
}

/// How a graph is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub told: Told,
    pub when: When,
    pub until: Instant,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Start,
    /// A call came back, over so many clusters' borders if that is known. Ignored if it is not under
    /// way.
    Finished {
        command: CommandIx,
        outcome: Outcome,
        cluster_hops: Option<u8>,
    },
    Cancel,
    DeadlineReached,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Value(Value),
    /// The error as the caller of a single call gets it; not looked at.
    Failed(Bytes),
    /// It came, and whoever runs several graphs has no room for it.
    NoRoom,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Call {
        command: CommandIx,
        target: Target,
        argument: Value,
    },
    /// Nobody waits for this call any more.
    Cancel {
        command: CommandIx,
    },
    /// Of a streamed graph: how one command ended.
    Partial {
        command: CommandIx,
        end: End,
    },
    /// It is over. Of a streamed graph everything was told before, and `results` is empty.
    Done {
        results: Vec<(CommandIx, End)>,
        summary: Summary,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Value(Value),
    /// The call failed; as the shell said it.
    Failed(Bytes),
    /// It took more than the graph may hold.
    NoRoom,
    /// Never called: its argument could not be made.
    Unmet(Unmet),
    /// Never called: that command, which it needs directly or through others, ended in an error.
    Skipped {
        because: CommandIx,
    },
    Cancelled,
    DeadlinePassed,
}

/// Why an argument could not be made of the results that came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    #[error("{reference}: the result has no such field")]
    Missing { reference: String },
    #[error("{reference}: the result is opaque bytes")]
    Opaque { reference: String },
    #[error("{reference}: the result is not of the encoding it declares")]
    Malformed { reference: String },
    #[error("{reference}: what is there cannot be said in the argument's encoding")]
    Untranslatable { reference: String },
    #[error("the argument is larger than a payload")]
    TooLarge,
}

impl End {
    /// The word logs, metrics and `--json` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::Failed(_) => "failed",
            Self::NoRoom => "no_room",
            Self::Unmet(_) => "unmet",
            Self::Skipped { .. } => "skipped",
            Self::Cancelled => "cancelled",
            Self::DeadlinePassed => "deadline_passed",
        }
    }
}

/// A graph that runs.
#[derive(Debug)]
pub struct CallGraph {
    settings: Settings,
    steps: Vec<Step>,
    /// See [`Plan`].
    order: Vec<usize>,
    /// Whose inputs are there, first come first.
    ready: VecDeque<usize>,
    under_way: usize,
    /// Commands that have not ended.
    left: usize,
    held_bytes: usize,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    New,
    Running { since: Instant },
    Over,
}

#[derive(Debug)]
struct Step {
    plan: Planned,
    /// By reference, what it led to. Gone with the call.
    found: Vec<Option<Value>>,
    /// Sources that have not ended.
    sources_left: usize,
    /// Consumers that were neither called nor ended.
    consumers_left: usize,
    is_consumed: bool,
    is_told: bool,
    state: State,
    spent: Spent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ready {
        since: Instant,
    },
    UnderWay {
        since: Instant,
    },
    Ended(End),
    /// It was told or consumed, and is not held any more.
    LetGo,
}

impl State {
    fn is_over(&self) -> bool {
        match self {
            Self::Ended(_) | Self::LetGo => true,
            Self::Waiting | Self::Ready { .. } | Self::UnderWay { .. } => false,
        }
    }
}

impl CallGraph {
    pub fn new(plan: Plan, settings: Settings) -> Self {
        let Plan { steps, order } = plan;
        let steps: Vec<Step> = steps.into_iter().map(Step::new).collect();
        Self {
            settings,
            left: steps.len(),
            steps,
            order,
            ready: VecDeque::new(),
            under_way: 0,
            held_bytes: 0,
            life: Life::New,
        }
    }

    /// # Panics
    /// If there is no such command.
    pub fn name(&self, command: CommandIx) -> &str {
        &self.steps[usize::from(command.0)].plan.name
    }

    /// Bytes of results that commands wait for, or that are told at the end.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether a result of this command would be held: it is under way, and not only told on.
    pub fn would_hold(&self, command: CommandIx) -> bool {
        let step = self.steps.get(usize::from(command.0));
        step.is_some_and(|step| {
            let is_told_on = self.settings.when == When::Streamed && step.consumers_left == 0;
            matches!(step.state, State::UnderWay { .. }) && !is_told_on
        })
    }

    /// When this graph wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        (self.life != Life::Over).then_some((self.settings.until, "end a call graph"))
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        if self.life == Life::Over {
            return;
        }
        match input {
            Input::Start => self.start(now),
            Input::Finished { command, outcome, cluster_hops } => {
                self.finish(command, outcome, cluster_hops, now, out);
            }
            Input::Cancel => self.stop(&End::Cancelled, now, out),
            Input::DeadlineReached => (),
        }
        if self.settings.until <= now {
            self.stop(&End::DeadlinePassed, now, out);
        }
        self.call_ready(now, out);
        if self.left == 0 {
            let done = self.done(now);
            out.push(done);
        }
    }

    fn start(&mut self, now: Instant) {
        if self.life != Life::New {
            return;
        }
        self.life = Life::Running { since: now };
        for ix in 0..self.steps.len() {
            self.ready_if_complete(ix, now);
        }
    }

    fn finish(
        &mut self,
        command: CommandIx,
        outcome: Outcome,
        cluster_hops: Option<u8>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let ix = usize::from(command.0);
        let Some(step) = self.steps.get_mut(ix) else { return };
        let State::UnderWay { .. } = step.state else { return };
        step.spent.cluster_hops = cluster_hops;
        let is_held = self.would_hold(command);
        match outcome {
            Outcome::Failed(failure) => self.fail(ix, End::Failed(failure), now, out),
            Outcome::NoRoom => self.fail(ix, End::NoRoom, now, out),
            Outcome::Value(value) => {
                let bytes = value.bytes.len();
                if is_held && CALL_GRAPH_HELD_BYTES_MAX - self.held_bytes < bytes {
                    return self.fail(ix, End::NoRoom, now, out);
                }
                self.held_bytes += bytes;
                self.end(ix, End::Value(value.clone()), now, out);
                self.hand_out(ix, &value, now, out);
            }
        }
    }

    /// Gives every consumer that waits its part of a result.
    fn hand_out(&mut self, source: usize, value: &Value, now: Instant, out: &mut Vec<Effect>) {
        for (consumer, slot, found) in self.look_up(source, value) {
            // Another reference of it led nowhere.
            if self.steps[consumer].state.is_over() {
                continue;
            }
            match found {
                Ok(found) => self.steps[consumer].found[slot] = Some(found),
                Err(unmet) => self.fail(consumer, End::Unmet(unmet), now, out),
            }
        }
        for at in 0..self.steps[source].plan.consumers.len() {
            let consumer = self.steps[source].plan.consumers[at];
            self.steps[consumer].sources_left -= 1;
            self.ready_if_complete(consumer, now);
        }
    }

    /// What each reference to this result led to: consumer, place among its references, part.
    fn look_up(&self, source: usize, value: &Value) -> Vec<(usize, usize, Result<Value, Unmet>)> {
        let mut wanted = Vec::new();
        for &consumer in &self.steps[source].plan.consumers {
            let step = &self.steps[consumer];
            if step.state == State::Waiting {
                let references = step.plan.references.iter().enumerate();
                let here = references.filter(|(_, (place, _))| *place == source);
                wanted.extend(here.map(|(slot, (_, reference))| Wanted {
                    path: &reference.path,
                    of: (consumer, slot),
                    found: None,
                }));
            }
        }
        let is_whole = |wanted: &Wanted<'_>| {
            wanted.path.is_empty() && self.steps[wanted.of.0].takes_unread(value)
        };
        let mut is_read = Ok(());
        if value.is_structured() && !wanted.iter().all(is_whole) {
            is_read = value.look_up(&mut wanted);
        }
        let found = wanted.into_iter().map(|wanted| {
            let (consumer, slot) = wanted.of;
            let reference = || self.steps[consumer].plan.references[slot].1.to_string();
            let found = match wanted.found {
                _ if is_whole(&wanted) => Ok(value.clone()),
                _ if !value.is_structured() => Err(Unmet::Opaque { reference: reference() }),
                _ if is_read.is_err() => Err(Unmet::Malformed { reference: reference() }),
                None => Err(Unmet::Missing { reference: reference() }),
                Some(bytes) => Ok(Value { encoding: value.encoding, bytes }),
            };
            (consumer, slot, found)
        });
        found.collect()
    }

    fn ready_if_complete(&mut self, ix: usize, now: Instant) {
        let Life::Running { since } = self.life else { return };
        let step = &mut self.steps[ix];
        if step.state == State::Waiting && step.sources_left == 0 {
            step.spent.waiting = now.since(since);
            step.state = State::Ready { since: now };
            self.ready.push_back(ix);
        }
    }

    fn call_ready(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while self.under_way < CALL_GRAPH_UNDER_WAY_MAX
            && let Some(ix) = self.ready.pop_front()
        {
            let step = &mut self.steps[ix];
            let State::Ready { since } = step.state else { continue };
            let Uncalled { target, template } =
                step.plan.uncalled.take().expect("what is ready was not called");
            let found: Option<Vec<Value>> = core::mem::take(&mut step.found).into_iter().collect();
            match template.fill(&found.expect("what is ready has its inputs")) {
                Ok(argument) => {
                    step.spent.queued = now.since(since);
                    step.state = State::UnderWay { since: now };
                    self.under_way += 1;
                    out.push(Effect::Call { command: place(ix), target, argument });
                    self.release_sources(ix, Consumed::Yes, out);
                }
                Err(why) => {
                    let unmet = step.unmet(why);
                    self.fail(ix, End::Unmet(unmet), now, out);
                }
            }
        }
    }

    /// Ends this command in an error, and all that need its result.
    fn fail(&mut self, ix: usize, end: End, now: Instant, out: &mut Vec<Effect>) {
        self.end(ix, end, now, out);
        let mut lost = self.steps[ix].plan.consumers.clone();
        while let Some(consumer) = lost.pop() {
            if !self.steps[consumer].state.is_over() {
                self.end(consumer, End::Skipped { because: place(ix) }, now, out);
                lost.extend_from_slice(&self.steps[consumer].plan.consumers);
            }
        }
    }

    fn stop(&mut self, end: &End, now: Instant, out: &mut Vec<Effect>) {
        for ix in 0..self.steps.len() {
            let is_under_way = matches!(self.steps[ix].state, State::UnderWay { .. });
            out.extend(is_under_way.then_some(Effect::Cancel { command: place(ix) }));
            if !self.steps[ix].state.is_over() {
                self.end(ix, end.clone(), now, out);
            }
        }
    }

    fn end(&mut self, ix: usize, end: End, now: Instant, out: &mut Vec<Effect>) {
        let step = &mut self.steps[ix];
        let is_called = match step.state {
            State::Waiting => {
                if let Life::Running { since } = self.life {
                    step.spent.waiting = now.since(since);
                }
                false
            }
            State::Ready { since } => {
                step.spent.queued = now.since(since);
                false
            }
            State::UnderWay { since } => {
                step.spent.calling = now.since(since);
                self.under_way -= 1;
                true
            }
            State::Ended(_) | State::LetGo => unreachable!("a command ends once"),
        };
        step.state = State::Ended(end);
        step.plan.uncalled = None;
        step.found = Vec::new();
        self.left -= 1;
        if !is_called {
            self.release_sources(ix, Consumed::No, out);
        }
        self.settle(ix, out);
    }

    /// This command needs nothing more of its sources.
    fn release_sources(&mut self, ix: usize, consumed: Consumed, out: &mut Vec<Effect>) {
        for at in 0..self.steps[ix].plan.sources.len() {
            let source = self.steps[ix].plan.sources[at];
            let step = &mut self.steps[source];
            step.consumers_left -= 1;
            step.is_consumed |= consumed == Consumed::Yes;
            self.settle(source, out);
        }
    }

    /// Tells how a command ended if that is told now, and lets go of what is not needed any more.
    fn settle(&mut self, ix: usize, out: &mut Vec<Effect>) {
        let step = &mut self.steps[ix];
        let State::Ended(end) = &step.state else { return };
        let is_needed = matches!(end, End::Value(_)) && 0 < step.consumers_left;
        let is_to_be_told = match (end, self.settings.told) {
            (End::Value(_), Told::Unconsumed) => !step.is_consumed && !is_needed,
            _ => true,
        };
        let is_streamed = self.settings.when == When::Streamed;
        if is_to_be_told && is_streamed && !core::mem::replace(&mut step.is_told, true) {
            out.push(Effect::Partial { command: place(ix), end: end.clone() });
        }
        if !is_needed && (is_streamed || !is_to_be_told) {
            if let End::Value(value) = end {
                self.held_bytes -= value.bytes.len();
            }
            step.state = State::LetGo;
        }
    }

    fn done(&mut self, now: Instant) -> Effect {
        let took = match self.life {
            Life::Running { since } => now.since(since),
            Life::New | Life::Over => core::time::Duration::ZERO,
        };
        self.life = Life::Over;
        self.held_bytes = 0;
        let critical_path = summary::critical_path(&self.steps, &self.order);
        let commands = self.steps.iter().map(|step| step.spent).collect();
        let steps = self.steps.iter_mut().enumerate();
        let results = steps.filter_map(|(ix, step)| {
            match core::mem::replace(&mut step.state, State::LetGo) {
                State::Ended(end) => Some((place(ix), end)),
                State::LetGo => None,
                State::Waiting | State::Ready { .. } | State::UnderWay { .. } => {
                    unreachable!("all have ended")
                }
            }
        });
        let results = results.collect();
        Effect::Done { results, summary: Summary { took, commands, critical_path } }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Consumed {
    Yes,
    No,
}

impl Step {
    fn new(plan: Planned) -> Self {
        Self {
            found: alloc::vec![None; plan.references.len()],
            sources_left: plan.sources.len(),
            consumers_left: plan.consumers.len(),
            is_consumed: false,
            is_told: false,
            state: State::Waiting,
            spent: Spent::default(),
            plan,
        }
    }

    /// Whether a whole result goes into its argument without being looked at.
    fn takes_unread(&self, value: &Value) -> bool {
        let uncalled = self.plan.uncalled.as_ref();
        uncalled.is_some_and(|uncalled| uncalled.template.takes_unread(value.encoding))
    }

    fn unmet(&self, why: NotFilled) -> Unmet {
        let NotFilled::Reference(slot, why) = why else { return Unmet::TooLarge };
        let reference = self.plan.references[slot].1.to_string();
        match why {
            NotEmbedded::Malformed => Unmet::Malformed { reference },
            NotEmbedded::Opaque => Unmet::Opaque { reference },
            NotEmbedded::Untranslatable => Unmet::Untranslatable { reference },
        }
    }
}

fn place(ix: usize) -> CommandIx {
    CommandIx(u16::try_from(ix).expect("a plan has few commands"))
}

#[cfg(test)]
mod tests;
