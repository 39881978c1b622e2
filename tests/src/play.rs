//! One seed, from start to rest.
//!
//! First everything may go wrong and only what must never happen is checked. Then faults stop, time
//! passes, and what was promised must come: every subscription is answered, every message is where it
//! belongs. Then all leave, and nothing may be left of them.

use std::fmt;
use std::time::Duration;

use crate::check::Violation;
use crate::faults::{Faults, micros};
use crate::history::{Broken, Tally};
use crate::trace::Show;
use crate::world::World;

/// What a history amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub messages: u64,
    pub copies: u64,
    pub subscriptions: u64,
    /// Messages a group lost to a member that was leaving.
    pub missed: u64,
    pub fingerprint: u64,
}

impl Tally for Report {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.messages += other.messages;
        self.copies += other.copies;
        self.subscriptions += other.subscriptions;
        self.missed += other.missed;
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }

    fn events(&self) -> u64 {
        self.events
    }

    /// Nobody counts it: one node has no use for quiet.
    fn time(&self) -> Duration {
        Duration::ZERO
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, messages, copies, subscriptions, missed, fingerprint } = self;
        write!(f, "events={events} messages={messages} copies={copies} ")?;
        write!(f, "subscriptions={subscriptions} missed_by_groups={missed} ")?;
        write!(f, "fingerprint={fingerprint:016x}")
    }
}

/// Events after which a history is taken to go round in circles.
const EVENTS_MAX: u64 = 2_000_000;

/// Plays what is left of a history after the cuts.
pub(crate) fn play(seed: u64, faults: Faults, show: Show) -> Result<Report, Broken> {
    let mut world = World::new(seed, faults, show);
    let phases: [fn(&mut World); 4] = [churn, calm, probe, leave];
    for phase in phases {
        phase(&mut world);
        if let Some(violation) = world.model.violation.take() {
            return Err(Broken { event: world.model.event, violation });
        }
    }
    let counts = &world.model.counts;
    Ok(Report {
        events: world.model.event,
        messages: counts.messages,
        copies: counts.copies,
        subscriptions: counts.subscriptions,
        missed: counts.missed,
        fingerprint: world.trace.fingerprint(),
    })
}

fn churn(world: &mut World) {
    while world.is_busy() && world.model.violation.is_none() {
        world.step();
        if EVENTS_MAX < world.model.event {
            let text = "never done".to_owned();
            world.model.note(Err(Violation::new("liveness", text)));
        }
    }
}

/// Long enough for the last ring to move and the last silent client to be given up.
fn calm(world: &mut World) {
    world.fall_quiet();
    let timing = world.faults.timing;
    world.run_for(timing.handshake + timing.ping_interval * 6 + micros(200_000));
    world.check_settled();
    world.check_silent_are_gone();
}

/// New clients on every shard; nothing is excused.
fn probe(world: &mut World) {
    let probers = world.send_probers();
    world.run_for(LONG);
    for &prober in &probers {
        world.settle_in(prober);
    }
    world.run_for(LONG);
    world.model.is_quiet = true;
    for &prober in &probers {
        world.probe(prober);
        world.run_for(micros(50));
    }
    world.run_for(LONG);
    world.check_settled();
    world.model.is_quiet = false;
}

fn leave(world: &mut World) {
    world.send_all_away();
    world.run_for(LONG);
    world.check_settled();
    world.check_rest();
}

/// Much longer than anything takes once nothing is slow.
const LONG: Duration = Duration::from_millis(100);
