//! Many nodes: their control cores in one thread, a network between them, disks, clocks that differ.
//!
//! ```text
//!   pending --step--> a frame departs or arrives | a link comes up or down | a machine wakes
//!                       |                          a record is on disk | something goes wrong
//!                       v
//!                  shell (what the router does with a control core) --> check (what must hold)
//! ```
//!
//! A link is a reliable stream with lanes, as the router's are: frames of one lane keep their order, a
//! break loses the last of them, and nothing comes twice. All chance comes from one seed, so a
//! seed is a history.
//!
//! Parts: `plan.rs` and `topology.rs` (what a seed decides), `node.rs` (a node: disk, clock, life),
//! `net.rs` and `stream.rs` (links), `shell.rs` (performs effects), `mishap.rs` (what goes wrong),
//! `replay.rs` (what was said once, said again), `keys.rs` (signatures, policies of routes),
//! `desk.rs` (messages, hop by hop), `post.rs` (who got which), `oracle.rs` (what everyone should know),
//! `parting.rs` (one node goes while all others are well), `trial.rs` (fabrics in which nothing goes wrong), `check.rs` (what must hold), `play.rs` (one seed from start to rest).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_proto::hop::MessageId;
use mpreg_proto::id::ClusterId;
use mpreg_proto::peer::Plane;

use crate::check::Violation;
use crate::faults::micros;
use crate::trace::{Show, Trace};

pub mod check;
mod desk;
mod keys;
mod mishap;
mod net;
mod node;
mod oracle;
mod parting;
pub mod plan;
pub mod play;
mod post;
mod replay;
mod shell;
mod stream;
pub mod topology;
pub mod trial;

use net::{Dialling, Wire, WireNo};
use node::Node;
use parting::Parted;
use plan::MeshPlan;
use post::Letter;
use replay::Tape;

pub struct Mesh {
    pub now: Instant,
    pub plan: MeshPlan,
    pub trace: Trace,
    /// What has happened so far.
    pub event: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// The first broken rule.
    pub violation: Option<Violation>,
    rng: Rng,
    pending: BinaryHeap<Reverse<Pending>>,
    sequence: u64,
    nodes: Vec<Node>,
    wires: BTreeMap<WireNo, Wire>,
    dials: BTreeMap<u64, Dialling>,
    next_wire: u64,
    next_dial: u64,
    next_refusal: u64,
    /// Dials of nodes that are not gone.
    dials_made: u64,
    /// Directions between two nodes that carry nothing, and until when.
    blocked: BTreeMap<Direction, Instant>,
    acts_left: usize,
    letters: BTreeMap<MessageId, Letter>,
    pub published: u64,
    /// Copies that came to subscribers who had one.
    pub doubled: u64,
    /// Bytes of frames that arrived, by plane.
    pub bytes: BTreeMap<Plane, u64>,
    /// Of messages that are published.
    hop_budget: u8,
    /// How often clusters have exchanged their keys.
    rotations: BTreeMap<ClusterId, u64>,
    /// Clusters that tell others of no cluster but themselves.
    closed: BTreeSet<ClusterId>,
    tape: Tape,
    is_saying_goodbye: bool,
    /// Directions in which links take no messages, and until when.
    faulty: BTreeMap<Direction, Instant>,
    /// Nothing goes wrong and all agree: nothing may change.
    is_still: bool,
    /// A node that is gone while all others are well.
    parted: Option<Parted>,
}

/// From one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Direction {
    from: usize,
    to: usize,
}

/// One end of a wire: 0 dialled, 1 accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EndNo {
    wire: WireNo,
    end: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    at: Instant,
    sequence: u64,
    happening: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A node starts for the first time, or again.
    Start {
        node: usize,
    },
    /// A process that has left ends.
    End {
        node: usize,
        life: u64,
    },
    /// Something goes wrong, or is asked for.
    Act,
    /// A dial reaches its address.
    Connect {
        dial: u64,
    },
    DialFails {
        dial: u64,
    },
    Up {
        at: EndNo,
    },
    /// The next frame towards this end goes on its way.
    Depart {
        to: EndNo,
    },
    /// The next frame on its way to this end may be there.
    Arrive {
        to: EndNo,
    },
    /// This end is told that its link is down.
    Down {
        at: EndNo,
    },
    /// Nothing was heard here since then, if nothing was.
    Silence {
        at: EndNo,
        since: Instant,
    },
    Unblock {
        from: usize,
        to: usize,
    },
    Wake {
        node: usize,
        life: u64,
        is_spare: bool,
    },
    Refuse {
        node: usize,
        life: u64,
        refusal: u64,
    },
    Written {
        node: usize,
        life: u64,
    },
    /// The links of a node are measured.
    Measure {
        node: usize,
        life: u64,
    },
}

impl Mesh {
    pub fn new(seed: u64, plan: MeshPlan, show: Show) -> Self {
        let root = Rng::from_seed(seed);
        let mut mesh = Self {
            now: Instant::START,
            trace: Trace::new(show, "node"),
            event: 0,
            frames: 0,
            violation: None,
            nodes: node::all(&plan, &root),
            rng: root.stream(2),
            pending: BinaryHeap::new(),
            sequence: 0,
            wires: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_wire: 0,
            next_dial: 0,
            next_refusal: 0,
            dials_made: 0,
            blocked: BTreeMap::new(),
            acts_left: plan.acts_count,
            letters: BTreeMap::new(),
            published: 0,
            doubled: 0,
            bytes: BTreeMap::new(),
            hop_budget: desk::HOP_BUDGET,
            rotations: BTreeMap::new(),
            closed: BTreeSet::new(),
            tape: Tape::default(),
            is_saying_goodbye: false,
            faulty: BTreeMap::new(),
            is_still: false,
            parted: None,
            plan,
        };
        for node in 0..mesh.nodes.len() {
            let delay = mesh.delay(micros(500_000));
            mesh.after(delay, Happening::Start { node });
        }
        mesh.after(mesh.plan.act_gap, Happening::Act);
        mesh
    }

    pub fn is_busy(&self) -> bool {
        self.acts_left != 0
    }

    /// Lets time pass. Ends early if something went wrong.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.violation.is_none()
            && self.pending.peek().is_some_and(|Reverse(next)| next.at <= until)
        {
            self.step();
        }
        self.now = until;
    }

    /// Advances to the next thing that happens. Time costs nothing here.
    pub fn step(&mut self) {
        let Some(Reverse(Pending { at, happening, .. })) = self.pending.pop() else {
            self.acts_left = 0;
            return;
        };
        self.now = at;
        self.event += 1;
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::End { node, life } => {
                if self.is_life(node, life) {
                    self.end(node, true);
                }
            }
            Happening::Act => self.act(),
            Happening::Connect { dial } => self.connect(dial),
            Happening::DialFails { dial } => self.dial_fails(dial),
            Happening::Up { at } => self.up(at),
            Happening::Depart { to } => self.depart(to),
            Happening::Arrive { to } => self.arrive(to),
            Happening::Down { at } => self.down(at),
            Happening::Silence { at, since } => self.silence(at, since),
            Happening::Unblock { from, to } => self.unblock(Direction { from, to }),
            Happening::Wake { node, life, is_spare } => self.wake(node, life, is_spare),
            Happening::Refuse { node, life, refusal } => self.refuse(node, life, refusal),
            Happening::Written { node, life } => self.written(node, life),
            Happening::Measure { node, life } => self.measure(node, life),
        }
    }

    /// Takes note of the first broken rule.
    fn note(&mut self, verdict: Result<(), Violation>) {
        if let (Err(violation), None) = (verdict, &self.violation) {
            self.violation = Some(violation);
        }
    }

    /// Nodes that run, in their order.
    fn live(&self) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].life.is_some()).collect()
    }

    /// At least a microsecond, at most `longest`.
    fn delay(&mut self, longest: Duration) -> Duration {
        let longest_us = (longest.as_micros() as u32).max(1);
        micros(u64::from(1 + self.rng.below(longest_us)))
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.schedule(self.now + delay, happening);
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.pending.push(Reverse(Pending { at, sequence: self.sequence, happening }));
    }

    /// Whether chance has it, one time in `of`.
    fn one_in(&mut self, of: u32) -> bool {
        self.rng.below(of) == 0
    }
}
