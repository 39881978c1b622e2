//! Suspicions: raised by the watch and by lost links, told to all and to the suspects.

use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::member::{Life, Record, Saying};

use super::swim::{self, Identity};
use super::watch::Step;
use super::{Effect, Membership};
use crate::time::Instant;

impl Membership {
    /// There is somebody to watch, and nobody is watched.
    pub(super) fn is_watch_wanted(&self) -> bool {
        self.watch.is_idle() && 0 < self.roster.live()
    }

    pub(super) fn watch_neighbour(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.is_watch_wanted() {
            // Not all nodes in step.
            let period = u32::try_from(self.timing.probe_period.as_micros()).unwrap_or(u32::MAX);
            let micros = u64::from(self.rng.below(period.max(1)));
            self.watch.start(now + Duration::from_micros(micros));
        }
        let stretch = self.health.stretch();
        let spans = (self.timing.probe_timeout * stretch, self.timing.probe_period * stretch);
        while let Some(step) = {
            let neighbour = self.roster.after(self.life.node);
            self.watch.step(now, spans, neighbour)
        } {
            match step {
                Step::Ping { target, probe } => {
                    self.push(target, Saying::Ping { probe }, Vec::new());
                }
                Step::AskOthers { suspect, probe } => {
                    for helper in self.helpers(suspect) {
                        self.push(helper, Saying::PingRequest { suspect, probe }, Vec::new());
                    }
                }
                Step::Suspect(life) => self.suspect(life, now, out),
            }
        }
    }

    /// Others, drawn at random.
    fn helpers(&mut self, suspect: Life) -> Vec<Life> {
        let mut others: Vec<Life> =
            self.roster.lives().filter(|life| life.node != suspect.node).collect();
        let wanted = others.len().min(usize::from(self.timing.indirect_probes));
        for place in 0..wanted {
            let rest = u32::try_from(others.len() - place).expect("members are bounded");
            others.swap(place, place + self.rng.below(rest) as usize);
        }
        others.truncate(wanted);
        others
    }

    pub(super) fn suspect(&mut self, life: Life, now: Instant, out: &mut Vec<Effect>) {
        let found = self.roster.as_suspect(life.node).filter(|found| found.id().life == life);
        if let Some(found) = found {
            self.tell_all(alloc::vec![found], now, out);
            self.accuse_suspects();
        }
    }

    /// Applies what we found out ourselves and tells some at once.
    pub(super) fn tell_all(
        &mut self,
        found: Vec<foca::Member<Identity>>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let done = self.call(now, out, |swim, mut outbox| {
            swim.apply_many(found.into_iter(), true, &mut outbox)?;
            swim.gossip(outbox)
        });
        done.expect("what is known fits a packet");
        self.is_changed = true;
        self.settle(self.health.stretch(), &[], now, out);
    }

    /// Tells suspects themselves, each probe period, so that they can refute whatever is lost.
    pub(super) fn accuse_suspects(&mut self) {
        let suspects: Vec<Record> =
            self.roster.suspects().map(|found| swim::record(&found)).collect();
        for record in suspects {
            self.push(record.life, Saying::Gossip, alloc::vec![record]);
        }
    }
}
