//! What a seed decides before anything happens: how big, how slow, how full, and what is left out.
//!
//! Each seed leaves a random part of the behaviours out (swarm testing, Groce 2012): a history with
//! everything in it seldom has much of one thing.

use std::time::Duration;

use mpreg_fabric::limits::Bounds;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::session::Timing;

use crate::history::{Broken, Plan};
use crate::play::{self, Report};
use crate::trace::Show;

/// Something that may be left out of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Patterns with `*`, `#` and `>`.
    Wildcards,
    Groups,
    Unsubscribe,
    /// Unsubscribe with a number of deliveries.
    UnsubscribeCounted,
    Requests,
    /// Several messages of one topic at once.
    Bursts,
    EchoOff,
    /// A session subscribes to many patterns in one go.
    ManySubscriptions,
    /// Commands that are refused and leave the session as it was.
    Refusals,
    /// Bytes and frames that end the session.
    Nonsense,
    Drain,
    /// The peer is gone between two commands.
    Disconnect,
    /// Peers that stop answering.
    Silence,
    /// Sessions whose queue is full and whose policy is to be disconnected.
    Overflow,
    /// Rings that stand still for a while.
    Clogs,
    /// The shell wakes a shard long after its deadline.
    LateWakes,
    /// The shell wakes a shard before its deadline, or for nothing.
    SpareWakes,
    /// Sockets that take long to close, and inputs of sessions that have ended.
    SlowClose,
    /// The node is stopped in the middle.
    Stop,
}

impl Behaviour {
    pub const ALL: [Self; 19] = [
        Self::Wildcards,
        Self::Groups,
        Self::Unsubscribe,
        Self::UnsubscribeCounted,
        Self::Requests,
        Self::Bursts,
        Self::EchoOff,
        Self::ManySubscriptions,
        Self::Refusals,
        Self::Nonsense,
        Self::Drain,
        Self::Disconnect,
        Self::Silence,
        Self::Overflow,
        Self::Clogs,
        Self::LateWakes,
        Self::SpareWakes,
        Self::SlowClose,
        Self::Stop,
    ];
}

/// What the seed decided.
#[derive(Clone, Debug)]
pub struct Faults {
    pub shards_count: usize,
    pub clients_count: usize,
    /// Commands of all clients together, before the quiet.
    pub acts_count: usize,
    /// Different words topics are made of; few, so that clients meet.
    pub words_count: usize,
    pub act_gap: Duration,
    pub ring_delay: Duration,
    pub ring_batch_max: usize,
    /// A shard with a ring this full stops reading its clients.
    pub ring_capacity: usize,
    pub wake_late: Duration,
    pub close_delay: Duration,
    pub timing: Timing,
    pub bounds: Bounds,
    pub subscriptions_max: u32,
    pub subscriptions_total_max: u32,
    on: u32,
}

impl Plan for Faults {
    type Behaviour = Behaviour;
    type Report = Report;
    const BEHAVIOURS: &'static [Behaviour] = &Behaviour::ALL;
    const SIZES: &'static [&'static str] = &["acts", "clients", "shards"];
    const IS_EXACT: bool = false;
    const ARGUMENTS: &'static str = "";

    fn of(seed: u64) -> Self {
        Self::draw(&mut Rng::from_seed(seed).stream(1))
    }

    fn size(&mut self, place: usize) -> &mut usize {
        [&mut self.acts_count, &mut self.clients_count, &mut self.shards_count]
            .into_iter()
            .nth(place)
            .expect("there are three sizes")
    }

    fn has(&self, behaviour: Behaviour) -> bool {
        self.on >> behaviour as u32 & 1 != 0
    }

    fn leave_out(&mut self, behaviour: Behaviour) {
        self.on &= !(1 << behaviour as u32);
        if behaviour == Behaviour::LateWakes {
            self.wake_late = PROMPT_WAKE;
        }
        if behaviour == Behaviour::SlowClose {
            self.close_delay = PROMPT_CLOSE;
        }
    }

    fn play(self, seed: u64, show: Show) -> Result<Report, Broken> {
        play::play(seed, self, show)
    }
}

impl Faults {
    fn draw(rng: &mut Rng) -> Self {
        let on =
            (0..Behaviour::ALL.len()).filter(|_| rng.below(3) != 0).fold(0, |on, ix| on | 1 << ix);
        let is_on = |behaviour: Behaviour| on >> behaviour as u32 & 1 != 0;
        let late = if is_on(Behaviour::LateWakes) { micros(60_000) } else { PROMPT_WAKE };
        let slow = if is_on(Behaviour::SlowClose) { micros(20_000) } else { PROMPT_CLOSE };
        let acts_max = *pick(rng, &[50, 200, 600]);
        Self {
            shards_count: 1 + rng.below(8) as usize,
            clients_count: 2 + rng.below(20) as usize,
            acts_count: 30 + rng.below(acts_max) as usize,
            words_count: 1 + rng.below(4) as usize,
            act_gap: micros(*pick(rng, &[20, 200, 1000])),
            ring_delay: micros(*pick(rng, &[1, 30, 300, 2000])),
            ring_batch_max: *pick(rng, &[1, 3, 64]),
            ring_capacity: *pick(rng, &[1, 4, 64]),
            wake_late: late,
            close_delay: slow,
            timing: Timing::new(
                micros(*pick(rng, &[5_000, 30_000])),
                micros(*pick(rng, &[10_000, 20_000])),
            ),
            bounds: Bounds {
                routes_cached_max: *pick(rng, &[1, 2, 4, 16, 1 << 16]),
                targets_cached_max: *pick(rng, &[1, 8, 64, 1 << 22]),
                interest_buckets: *pick(rng, &[1, 2, 8, 64, 1024]),
                forget_per_turn_max: *pick(rng, &[1, 3, 1000]),
            },
            subscriptions_max: *pick(rng, &[3, 20, 1000]),
            subscriptions_total_max: *pick(rng, &[10, 1000, 1000]),
            on,
        }
    }

    /// Nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.on = 0;
        self.wake_late = PROMPT_WAKE;
        self.close_delay = PROMPT_CLOSE;
        self.ring_delay = self.ring_delay.min(micros(30));
    }
}

const PROMPT_WAKE: Duration = micros(50);
const PROMPT_CLOSE: Duration = micros(100);

pub(crate) const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len() as u32) as usize]
}
