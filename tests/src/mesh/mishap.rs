//! What goes wrong, and what operators do: one act at a time, of those the seed did not leave out.

use std::time::Duration;

use mpreg_fabric::control::{Command, Input};
use mpreg_fabric::time::Instant;
use mpreg_proto::id::NodeId;
use mpreg_proto::member::LeaveReason;

use super::net::SILENCE_MAX;
use super::plan::Mishap;
use super::{Direction, Happening, Mesh};
use crate::faults::micros;
use crate::history::Plan as _;

impl Mesh {
    pub(super) fn act(&mut self) {
        if self.acts_left == 0 {
            return;
        }
        let until = Duration::from_secs(60 * self.plan.minutes as u64);
        self.acts_left = match self.now.since(Instant::START) < until {
            true => self.acts_left,
            false if self.plan.minutes != 0 => 0,
            false => self.acts_left - 1,
        };
        let delay = self.delay(self.plan.act_gap * 2);
        self.after(delay, Happening::Act);
        let node = self.rng.below(self.nodes.len() as u32) as usize;
        let word = self.rng.below(self.plan.words_count as u32) as u8;
        self.publish(node, word);
        let node = self.rng.below(self.nodes.len() as u32) as usize;
        let mishap = Mishap::ALL[self.rng.below(Mishap::ALL.len() as u32) as usize];
        if !self.plan.has(mishap) {
            return;
        }
        match mishap {
            Mishap::Breaks => self.break_one(),
            Mishap::Stalls => self.stall(node),
            Mishap::Partitions => self.part(true),
            Mishap::OneWayPartitions => self.part(false),
            Mishap::Kills => self.end(node, true),
            Mishap::PowerLoss => self.end(node, false),
            Mishap::DiskLoss => self.end_for_good(node),
            Mishap::Leaves => self.leave(node),
            Mishap::Refusals => {
                let span = self.delay(Duration::from_secs(10));
                self.nodes[node].refuses_until = self.now + span;
            }
            Mishap::Subscribers => self.resubscribe(node),
            Mishap::Rotations => self.rotate(node),
            Mishap::Policies => self.close_or_open(node),
            Mishap::Faults => self.fault(node),
            Mishap::Replays => self.replay(8),
            // These are not acts: they colour all others.
            Mishap::SlowLinks
            | Mishap::Clogs
            | Mishap::LateWakes
            | Mishap::SpareWakes
            | Mishap::Drift
            | Mishap::SlowDisks
            | Mishap::Signatures
            | Mishap::Distances
            | Mishap::Echoes => (),
        }
    }

    fn break_one(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        let place = self.rng.below(self.wires.len() as u32) as usize;
        let Some(&wire) = self.wires.keys().nth(place) else { return };
        self.trace.note(self.now, 0, &wire, format_args!("-- {wire:?} breaks"));
        self.break_wire(wire);
    }

    /// A link takes no messages for a while; some are published meanwhile.
    fn fault(&mut self, node: usize) {
        let Some(life) = &self.nodes[node].life else { return };
        let peers: Vec<NodeId> = life.view.peers.keys().copied().collect();
        if peers.is_empty() {
            return;
        }
        let peer = peers[self.rng.below(peers.len() as u32) as usize];
        let Some(to) = self.nodes.iter().position(|it| it.id == peer) else { return };
        let span = self.delay(Duration::from_secs(6));
        self.faulty.insert(Direction { from: node, to }, self.now + span);
        for _ in 0..8 {
            let word = self.rng.below(self.plan.words_count as u32) as u8;
            self.publish(node, word);
        }
    }

    fn stall(&mut self, from: usize) {
        let to = self.rng.below(self.nodes.len() as u32) as usize;
        let span = self.delay(micros(1_900_000));
        self.block(Direction { from, to }, span);
    }

    /// Nodes below a random place in a random order hear nothing of the others, nor they of them.
    fn part(&mut self, both_ways: bool) {
        let span = self.delay(Duration::from_secs(20));
        let sides: Vec<bool> = (0..self.nodes.len()).map(|_| self.one_in(2)).collect();
        let line = format_args!("-- parted for {span:?}, both ways {both_ways}: {sides:?}");
        self.trace.note(self.now, 0, &sides, line);
        for from in 0..sides.len() {
            for to in 0..sides.len() {
                if sides[from] != sides[to] && (both_ways || sides[from]) {
                    self.block(Direction { from, to }, span);
                }
            }
        }
    }

    /// The process ends; it starts again after a while, or later, when all is calm.
    pub(super) fn end(&mut self, node: usize, has_power: bool) {
        if self.nodes[node].life.is_none() {
            return;
        }
        let line = format_args!("-- ends, with power {has_power}");
        self.trace.note(self.now, node, &has_power, line);
        self.end_life(node, has_power);
        if !self.is_busy() || !self.one_in(4) {
            let delay = self.delay(Duration::from_secs(10));
            self.after(delay, Happening::Start { node });
        }
    }

    fn end_for_good(&mut self, node: usize) {
        self.end(node, false);
        if self.nodes[node].life.is_none() {
            let Self { nodes, rng, .. } = self;
            nodes[node].lose_disk(rng);
        }
    }

    pub(super) fn leave(&mut self, node: usize) {
        let Some(life) = self.nodes[node].life.as_ref().map(|life| life.number) else { return };
        let reason = LeaveReason::Maintenance;
        self.is_saying_goodbye = true;
        self.feed_life(node, life, Input::Command(Command::Leave { reason }));
        self.is_saying_goodbye = false;
    }

    /// Everything that is down starts, everything that is blocked opens.
    pub fn heal(&mut self) {
        self.acts_left = 0;
        self.plan.calm();
        self.faulty.clear();
        for direction in self.blocked.keys().copied().collect::<Vec<_>>() {
            self.blocked.remove(&direction);
            self.unblocked(direction);
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].refuses_until = self.now;
            let delay = self.delay(Duration::from_secs(1));
            self.after(delay, Happening::Start { node });
        }
    }

    fn block(&mut self, direction: Direction, span: Duration) {
        let Direction { from, to } = direction;
        if from == to {
            return;
        }
        let until = self.now + span;
        let was = self.blocked.get(&direction).copied();
        self.blocked.insert(direction, was.map_or(until, |was| was.max(until)));
        self.schedule(until, Happening::Unblock { from, to });
        self.fall_silent(direction);
    }

    pub(super) fn unblock(&mut self, direction: Direction) {
        if self.blocked.get(&direction).is_some_and(|until| *until <= self.now) {
            self.blocked.remove(&direction);
            self.unblocked(direction);
        }
    }
}

/// Long enough for every dead link to be noticed.
pub(super) const NOTICED: Duration = SILENCE_MAX;
