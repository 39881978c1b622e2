//! One seed of a fabric, from start to rest.
//!
//! First everything may go wrong and only what must never happen is checked. Then all is healed and
//! every node runs; within `HEALED_WITHIN` every node must agree with every other, and stay so.

use std::fmt;
use std::time::Duration;

use mpreg_fabric::time::Instant;

use super::check;
use super::mishap::NOTICED;
use super::parting::part;
use super::plan::{MeshPlan, Mishap};
use super::{Mesh, Violation};
use crate::history::{Broken, Plan as _, Tally};

use crate::trace::Show;

/// What a history amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshReport {
    pub histories: u64,
    pub events: u64,
    pub frames: u64,
    pub lives: u64,
    /// Messages published.
    pub messages: u64,
    /// Time that passed.
    pub time: Duration,
    /// The longest that any took to agree, once healed.
    pub agreed_after: Duration,
    pub fingerprint: u64,
}

impl Tally for MeshReport {
    fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.events += other.events;
        self.frames += other.frames;
        self.lives += other.lives;
        self.messages += other.messages;
        self.time += other.time;
        self.agreed_after = self.agreed_after.max(other.agreed_after);
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }

    fn events(&self) -> u64 {
        self.events
    }

    fn time(&self) -> Duration {
        self.time
    }
}

impl fmt::Display for MeshReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, events, frames, lives, messages, .. } = self;
        let Self { time, agreed_after, fingerprint, .. } = self;
        write!(f, "histories={histories} events={events} frames={frames} lives={lives} ")?;
        write!(f, "messages={messages} hours={:.1} ", time.as_secs_f64() / 3600.0)?;
        write!(f, "agreed_after_ms={} ", agreed_after.as_millis())?;
        write!(f, "fingerprint={fingerprint:016x}")
    }
}

/// Events after which a history is taken to go round in circles.
const EVENTS_MAX: u64 = 5_000_000;

/// From the end of all that goes wrong until all agree. Dead links are noticed, what is down is dialled
/// again, what was missed is told.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// When the last dial that was due has been made, and how long all must stay as it is from then on.
pub(super) const DIALS_REST: Duration = Duration::from_secs(15);
const STAYS_FOR: Duration = Duration::from_secs(10);

/// Between two looks at what must stay so.
const SECOND: Duration = Duration::from_secs(1);

pub(super) const STEP: Duration = Duration::from_millis(100);

/// What must hold once all is healed.
pub(super) const SETTLED: [Rule; 6] = [
    check::links_agree,
    check::nodes_hang_together,
    check::members_are_the_living,
    check::the_wanted_are_linked,
    Mesh::catalogs_agree,
    Mesh::routes_are_shortest,
];

/// Ten hops of the longest, on links that carry the least.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);

/// Rounds of messages until every link of theirs is tried three times; one message in sixteen tries.
const CIRCUITS_TRIES: u32 = 300;

pub(super) type Rule = fn(&Mesh) -> Result<(), Violation>;

/// Plays what is left of a history after the cuts.
pub(super) fn play(seed: u64, plan: MeshPlan, show: Show) -> Result<MeshReport, Broken> {
    let mut mesh = Mesh::new(seed, plan, show);
    let mut agreed_after = Duration::ZERO;
    churn(&mut mesh);
    if mesh.violation.is_none() {
        mesh.heal();
        agreed_after = calm(&mut mesh);
    }
    let event = mesh.event;
    match mesh.violation.take() {
        Some(violation) => Err(Broken { event, violation }),
        None => Ok(MeshReport {
            histories: 1,
            events: event,
            frames: mesh.frames,
            lives: mesh.nodes.iter().map(|node| node.lives).sum(),
            messages: mesh.published,
            time: mesh.now.since(Instant::START),
            agreed_after,
            fingerprint: mesh.trace.fingerprint(),
        }),
    }
}

fn churn(mesh: &mut Mesh) {
    while mesh.is_busy() && mesh.violation.is_none() {
        mesh.step();
        if EVENTS_MAX < mesh.event {
            let text = "never done".to_owned();
            mesh.note(Err(Violation::new("liveness", text)));
        }
    }
}

/// Waits until all agree, and then that they stay so. How long it took them.
fn calm(mesh: &mut Mesh) -> Duration {
    let start = mesh.now;
    mesh.run_for(NOTICED);
    while mesh.violation.is_none() && settled(mesh).is_err() {
        mesh.run_for(STEP);
        if HEALED_WITHIN < mesh.now.since(start) {
            let verdict = settled(mesh);
            mesh.note(verdict);
        }
    }
    let agreed_after = mesh.now.since(start);
    // A seed behind which is somebody already linked is dialled once more, and one of two links closed.
    mesh.run_for(DIALS_REST);
    let dials = mesh.dials_made;
    mesh.is_still = true;
    if mesh.plan.has(Mishap::Replays) {
        mesh.replay(usize::MAX);
    }
    // Its earlier key is good until everybody has the next one, and longer.
    mesh.rotate(0);
    stay(mesh, STAYS_FOR);
    let verdict = check::nobody_dials(dials, mesh.dials_made);
    mesh.note(verdict);
    deliver(mesh);
    part(mesh);
    agreed_after
}

/// While nothing changes nothing is lost, but what circuits refuse that are half-open still: until
/// enough went over such links.
pub(super) fn deliver(mesh: &mut Mesh) {
    // All that was published before has come: a link that carries little has room.
    let mut is_alone = true;
    for _ in 0..CIRCUITS_TRIES {
        if mesh.violation.is_some() {
            return;
        }
        let was_open = mesh.are_circuits_closed();
        let messages = mesh.publish_all();
        mesh.run_for(STEP);
        let has_faults = mesh.plan.has(Mishap::Faults);
        if has_faults && mesh.are_refused(&messages) {
            is_alone = false;
            continue;
        }
        mesh.run_for(DELIVERED_WITHIN);
        if is_alone && !(has_faults && mesh.are_refused(&messages)) {
            let verdict = mesh.all_have_got(&messages, was_open);
            return mesh.note(verdict);
        }
        is_alone = true;
    }
    let text = format!("circuits refuse messages after {CIRCUITS_TRIES} tries");
    mesh.note(Err(Violation::new("circuits", text)));
}

/// All agree for as long as this.
fn stay(mesh: &mut Mesh, span: Duration) {
    let until = mesh.now + span;
    while mesh.violation.is_none() && mesh.now < until {
        mesh.run_for(SECOND);
        let verdict = settled(mesh);
        mesh.note(verdict);
    }
}

pub(super) fn settled(mesh: &Mesh) -> Result<(), Violation> {
    SETTLED.iter().try_for_each(|check| check(mesh))
}
