//! One seed of calls, from start to rest.
//!
//! First things go wrong; then they do not, and all must end; then workers answer what they still have,
//! and nothing may be left.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mpreg_fabric::call::Counted;
use mpreg_fabric::limits::{CALL_DEADLINE_MAX, CALL_STREAM_IDLE};
use mpreg_fabric::time::Instant;

use super::plan::CallPlan;
use super::{MS, Net, check};
use crate::history::{Broken, Tally};
use crate::trace::Show;

/// What a history amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallReport {
    pub histories: u64,
    pub events: u64,
    pub calls: u64,
    /// What the machines count.
    pub counted: BTreeMap<Counted, u64>,
    /// Time that passed.
    pub time: Duration,
    pub fingerprint: u64,
}

impl Tally for CallReport {
    fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.events += other.events;
        self.calls += other.calls;
        for (&what, count) in &other.counted {
            *self.counted.entry(what).or_default() += count;
        }
        self.time += other.time;
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }

    fn events(&self) -> u64 {
        self.events
    }

    fn time(&self) -> Duration {
        self.time
    }
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, events, calls, counted, fingerprint, .. } = self;
        write!(f, "histories={histories} events={events} calls={calls} ")?;
        for (what, count) in counted {
            write!(f, "{what:?}={count} ")?;
        }
        write!(f, "fingerprint={fingerprint:016x}")
    }
}

/// Longer than any deadline of these calls.
const QUIET: Duration = Duration::from_secs(20);

/// Plays what is left of a history after the cuts.
pub(super) fn play(seed: u64, plan: CallPlan, show: Show) -> Result<CallReport, Broken> {
    let mut net = Net::new(seed, plan, show);
    net.run(100 * MS);
    for _ in 0..net.plan.acts_count {
        if net.violation.is_some() {
            break;
        }
        net.act();
        let pause = net.rng.below(60);
        net.run(pause * MS);
    }
    net.is_quiet = true;
    net.cuts.clear();
    (0..net.nodes.len()).for_each(|node| net.start(node));
    net.run(QUIET);
    net.answer_all();
    net.run(Duration::from_secs(1));
    let verdict = check::all_ended(&net).and_then(|()| check::nothing_is_held(&net));
    net.note(verdict);
    net.run(2 * CALL_STREAM_IDLE + CALL_DEADLINE_MAX);
    let verdict = check::nothing_is_due(&net);
    net.note(verdict);
    let event = net.event;
    match net.violation.take() {
        Some(violation) => Err(Broken { event, violation }),
        None => Ok(CallReport {
            histories: 1,
            events: event,
            calls: net.promises.len() as u64,
            counted: net.counted,
            time: net.now.since(Instant::START),
            fingerprint: net.trace.fingerprint(),
        }),
    }
}
