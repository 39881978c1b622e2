//! One node: its shards in one thread, the rings between them, clients, a clock that costs nothing.
//!
//! ```text
//!   pending --step--> a client acts | a ring moves | a shard wakes | a socket closes
//!                       |
//!                       v
//!                  shell (what the router does with a machine) --> model (what should have happened)
//! ```
//!
//! Between two shards hand-offs keep their order; which ring moves next is chance. All chance comes
//! from one seed, so a seed is a history.
//!
//! Parts: `shell.rs` performs effects, `carry.rs` carries messages, `client.rs` and `command.rs`
//! are what clients do.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::shard::{Effect, Input, Settings, Shard};
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{NodeId, ShardIx};
use mpreg_proto::topic::Dialect;

use crate::check;
use crate::faults::{Behaviour, Faults, micros};
use crate::history::Plan as _;
use crate::model::{ClientNo, Model};
use crate::trace::{Show, Trace};

mod carry;
mod client;
mod command;
mod shell;

use client::Client;

pub struct World {
    pub now: Instant,
    pub faults: Faults,
    pub model: Model,
    pub trace: Trace,
    rng: Rng,
    pending: BinaryHeap<Reverse<Pending>>,
    sequence: u64,
    seats: Vec<Seat>,
    /// By sender, then receiver.
    rings: Vec<Ring>,
    clients: Vec<Client>,
    acts_left: usize,
    messages_made: u64,
}

/// One shard and what its shell keeps for it.
struct Seat {
    machine: Shard,
    slots: Vec<Slot>,
    free: Vec<SessionIx>,
    /// The deadline it last named. A wake for any other moment is stale.
    wake_at: Option<Instant>,
    /// The most targets one route can have had.
    route_max: usize,
    /// Not yet performed.
    effects: Vec<Effect>,
    /// A run is being routed, or effects performed.
    is_busy: bool,
    /// Messages dealt with, once all effects are performed.
    handled: Vec<u64>,
    /// Topics with messages held.
    held: BTreeSet<Vec<u8>>,
}

/// A slot for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Open(ClientNo),
    /// The session has ended; its socket is being closed.
    Closing(ClientNo),
    /// The socket is closed; the shard may still need the slot.
    Closed(ClientNo),
}

#[derive(Default)]
struct Ring {
    queue: VecDeque<Handoff>,
    /// A move is pending.
    is_moving: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    at: Instant,
    sequence: u64,
    happening: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Happening {
    /// The next client connects.
    Arrive,
    /// A client does something of its own accord.
    Act {
        client: ClientNo,
    },
    /// A client answers what it was sent.
    React {
        client: ClientNo,
    },
    /// The next hand-offs of a ring arrive.
    Move {
        from: usize,
        to: usize,
    },
    Wake {
        shard: usize,
        is_spare: bool,
    },
    Close {
        client: ClientNo,
    },
    /// Something reaches the shell of a session that may have ended.
    Echo {
        client: ClientNo,
    },
    Empty {
        client: ClientNo,
    },
    Stop {
        shard: usize,
    },
}

impl World {
    pub fn new(seed: u64, faults: Faults, show: Show) -> Self {
        let root = Rng::from_seed(seed);
        let count = faults.shards_count;
        let late_ns = faults.wake_late.as_nanos() as u64;
        let seat = |index: usize| Seat {
            machine: Shard::with_bounds(settings(&root, &faults, index), faults.bounds),
            slots: Vec::new(),
            free: Vec::new(),
            wake_at: None,
            route_max: 0,
            effects: Vec::new(),
            is_busy: false,
            handled: Vec::new(),
            held: BTreeSet::new(),
        };
        let mut world = Self {
            now: Instant::START,
            model: Model::new(count, faults.timing, late_ns),
            trace: Trace::new(show, "shard"),
            rng: root.stream(2),
            pending: BinaryHeap::new(),
            sequence: 0,
            seats: (0..count).map(seat).collect(),
            rings: (0..count * count).map(|_| Ring::default()).collect(),
            clients: Vec::new(),
            acts_left: faults.acts_count,
            messages_made: 0,
            faults,
        };
        world.arrive_in_time();
        world
    }

    /// Clients still to come, or still to do something.
    pub fn is_busy(&self) -> bool {
        self.acts_left != 0
    }

    /// From here on clients only answer, and nothing is slow.
    pub fn fall_quiet(&mut self) {
        self.acts_left = 0;
        self.faults.calm();
    }

    /// Lets time pass. Ends early if something went wrong.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.model.violation.is_none()
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
        self.model.event += 1;
        match happening {
            Happening::Arrive => self.arrive(),
            Happening::Act { client } => self.act(client),
            Happening::React { client } => self.react(client),
            Happening::Move { from, to } => self.move_ring(from, to),
            Happening::Wake { shard, is_spare } => self.wake(shard, is_spare),
            Happening::Close { client } => self.close(client),
            Happening::Echo { client } => self.echo(client),
            Happening::Empty { client } => self.empty(client),
            Happening::Stop { shard } => self.stop(shard),
        }
    }

    /// What must be so whenever nothing is under way.
    pub fn check_settled(&mut self) {
        for shard in 0..self.seats.len() {
            let settling = self.seats[shard].machine.settling_count();
            let held = self.seats[shard].machine.held_bytes();
            if settling + held != 0 {
                let text = format!("shard {shard} settles {settling} and holds {held} bytes");
                self.model.note(Err(check::Violation::new("liveness", text)));
            }
        }
        let under_way = self.model.messages.first_key_value();
        if let Some((number, message)) = under_way {
            let text = format!("message {number} is still under way: {message:?}");
            self.model.note(Err(check::Violation::new("liveness", text)));
        }
        self.model.all_answered();
    }

    /// What must be so when all clients have left.
    pub fn check_rest(&mut self) {
        for shard in 0..self.seats.len() {
            let verdict = check::is_at_rest(shard, &self.seats[shard].machine);
            self.model.note(verdict);
            for topic in self.topics() {
                let machine = &mut self.seats[shard].machine;
                let (route, _) = machine.route(topic.as_bytes(), Dialect::Native, &mut Vec::new());
                let machine = &self.seats[shard].machine;
                let verdict = check::leads_nowhere(shard, &topic, machine, route);
                self.model.note(verdict);
            }
            let slots = &self.seats[shard].slots;
            if let Some(taken) = slots.iter().find(|slot| **slot != Slot::Free) {
                let text = format!("shard {shard} never freed {taken:?}");
                self.model.note(Err(check::Violation::new("rest", text)));
            }
        }
    }

    /// Takes every so many hand-offs off a ring.
    fn move_ring(&mut self, from: usize, to: usize) {
        let ix = from * self.seats.len() + to;
        for _ in 0..self.faults.ring_batch_max {
            let Some(handoff) = self.rings[ix].queue.pop_front() else { break };
            self.hear(to, from, handoff);
        }
        self.rings[ix].is_moving = false;
        self.move_later(from, to);
    }

    fn push(&mut self, from: usize, to: usize, handoff: Handoff) {
        assert_ne!(from, to, "a shard does not write to itself");
        let ix = from * self.seats.len() + to;
        self.rings[ix].queue.push_back(handoff);
        self.move_later(from, to);
    }

    fn move_later(&mut self, from: usize, to: usize) {
        let ring = &mut self.rings[from * self.seats.len() + to];
        if ring.queue.is_empty() || std::mem::replace(&mut ring.is_moving, true) {
            return;
        }
        let mut delay = self.delay(self.faults.ring_delay);
        if self.faults.has(Behaviour::Clogs) && self.rng.below(40) == 0 {
            delay += self.delay(micros(4_000));
        }
        self.after(delay, Happening::Move { from, to });
    }

    /// Whether the shard must stop reading its clients.
    fn is_congested(&self, shard: usize) -> bool {
        let count = self.seats.len();
        let mut rings = self.rings[shard * count..(shard + 1) * count].iter();
        rings.any(|ring| self.faults.ring_capacity < ring.queue.len())
    }

    fn wake(&mut self, shard: usize, is_spare: bool) {
        let is_due = self.seats[shard].wake_at.is_some_and(|at| at <= self.now);
        if is_due || is_spare {
            self.seats[shard].wake_at = None;
            self.feed(shard, Input::DeadlineReached);
        }
    }

    fn stop(&mut self, shard: usize) {
        self.model.stopped[shard] = true;
        self.feed(shard, Input::Stop);
        self.model.all_ended(shard);
    }

    /// After each event of a shard: its deadline may have moved, its bounds must hold.
    fn observe(&mut self, shard: usize) {
        let Seat { machine, wake_at, held, route_max, .. } = &mut self.seats[shard];
        let due = machine.deadline().map(|(at, _why)| at);
        // Two entries for each subscription here, one for each group member elsewhere.
        let widest = 2 * machine.subscriptions_count() + self.model.live_count();
        *route_max = (*route_max).max(widest);
        let verdict =
            check::caches_are_bounded(shard, machine, held.len(), *route_max, &self.faults);
        self.model.note(verdict);
        let (count, settling) = (machine.subscriptions_count(), machine.settling_count());
        self.model.observed(shard, count, settling == 0);
        if *wake_at != due {
            *wake_at = due;
            if let Some(at) = due {
                let late = self.delay(self.faults.wake_late);
                let at = at.max(self.now) + late.min(self.faults.wake_late);
                self.schedule(at, Happening::Wake { shard, is_spare: false });
            }
        }
        if self.faults.has(Behaviour::SpareWakes) && self.rng.below(30) == 0 {
            let delay = self.delay(micros(5_000));
            self.after(delay, Happening::Wake { shard, is_spare: true });
        }
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
}

fn settings(root: &Rng, faults: &Faults, index: usize) -> Settings {
    Settings {
        node: NodeId(1),
        me: ShardIx::new(index).expect("at most 8 shards"),
        shards_count: faults.shards_count,
        topic_seed: root.stream(3).draw(),
        seed: root.stream(100 + index as u64).draw(),
        timing: faults.timing,
        nats_timing: faults.timing,
        queue_bytes: 1 << 21,
        queue_bytes_max: 1 << 26,
        subscriptions_max: faults.subscriptions_max,
        subscriptions_total_max: faults.subscriptions_total_max,
    }
}
