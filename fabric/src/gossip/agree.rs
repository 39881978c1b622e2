//! How far this node agrees with others, by its own clock and what it sees itself.
//!
//! ```text
//!   in step --a peer has what I lack--> BEHIND --all of it came--> in step: CaughtUp, how long it took
//!                                         +--a peer kept silent or went--> in step, Unanswered: digests tell
//! ```
//!
//! News that comes in order makes nobody behind. What was lost on its way, what came while a link was
//! down, and all that a new node lacks, does. Besides, each digest of a peer says whether both have the same.

use alloc::vec::Vec;

use mpreg_proto::id::NodeId;

use super::{Effect, Fact, Gossip};
use crate::time::Instant;

/// What is missing, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lack {
    since: Option<Instant>,
    /// Some of it was asked for in vain.
    is_in_vain: bool,
}

impl Gossip {
    /// Feeds that others have more of, and that were asked for.
    pub fn lacking(&self) -> usize {
        self.asked.len()
    }

    /// Peers whose last digest was another than mine.
    pub fn differing(&self) -> usize {
        self.links.values().filter(|link| link.differs).count()
    }

    pub(super) fn compared_with(&mut self, with: NodeId, is_same: bool, out: &mut Vec<Effect>) {
        if let Some(link) = self.links.get_mut(&with) {
            link.differs = !is_same;
        }
        out.push(Effect::Fact(Fact::Compared { with, is_same }));
    }

    /// Feeds were asked for, and nobody is asked any more.
    pub(super) fn asked_in_vain(&mut self) {
        self.lack.is_in_vain = true;
    }

    /// Once an input is handled.
    pub(super) fn note_lack(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Lack { since, is_in_vain } = self.lack;
        match (since, self.asked.is_empty()) {
            (None, false) => self.lack = Lack { since: Some(now), is_in_vain: false },
            (Some(since), true) => {
                self.lack = Lack::default();
                let after = now.since(since);
                let caught_up = Fact::CaughtUp { after };
                let fact = if is_in_vain { Fact::Unanswered { after } } else { caught_up };
                out.push(Effect::Fact(fact));
            }
            (None, true) | (Some(_), false) => (),
        }
    }
}
