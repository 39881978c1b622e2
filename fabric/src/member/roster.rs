//! Who is known, how each stands, and since when: `foca`'s books with time.
//!
//! ```text
//!            +--- suspected ---> SUSPECT ---+
//!   first -> ALIVE <-- refuted --- |        | time over, or declared by another, or goodbye
//!            ^ +-------------------|--------+--> GONE --- expires ---> forgotten
//!            +---------- a greater incarnation ---+
//! ```
//!
//! Invariants:
//! - One entry per node, its greatest incarnation.
//! - A life that is gone stays gone while remembered, whatever is said of it.
//! - A suspicion ends by `latest`, however often it begins anew.
//! - At most `GONE_MAX` are gone; the one nearest to being forgotten makes room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use foca::State;
use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::{Condition, LeaveReason, Life, PeerAddress, Record};

use super::swim::Identity;
use super::{Effect, Fact, Member, Why};
use crate::limits::GONE_MAX;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Roster {
    known: BTreeMap<NodeId, Known>,
    live: usize,
}

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    refutation: u16,
    address: Option<PeerAddress>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Alive,
    Suspect(Suspicion),
    Gone { why: Why, until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspicion {
    /// When it began, or began anew as a silence ended.
    since: Instant,
    until: Instant,
    /// Whatever is heard, or not, it is over by then.
    latest: Instant,
}

/// What a look into `foca`'s books is made with.
pub(super) struct Look<'a> {
    pub(super) now: Instant,
    /// How long a suspicion that begins now lasts.
    pub(super) suspicion: Duration,
    /// The longest it may last.
    pub(super) patience: Duration,
    /// How long what ends now is remembered.
    pub(super) memory: Duration,
    /// Who said goodbye in what was just read.
    pub(super) goodbyes: &'a [(Life, LeaveReason)],
}

impl Roster {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.known.iter().filter_map(|(&node, known)| {
            let address = known.address.clone().filter(|_| known.standing.is_live())?;
            Some(Member { node, incarnation: known.incarnation, address })
        })
    }

    pub(super) fn lives(&self) -> impl Iterator<Item = Life> {
        let live = self.known.iter().filter(|(_, known)| known.standing.is_live());
        live.map(|(&node, known)| Life { node, incarnation: known.incarnation })
    }

    /// The next live member in the order of ids, which is a ring.
    pub(super) fn after(&self, own: NodeId) -> Option<Life> {
        self.lives().find(|life| own < life.node).or_else(|| self.lives().next())
    }

    pub(super) fn live_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        let known = self.known.get(&node).filter(|known| known.standing.is_live())?;
        Some(known.incarnation)
    }

    /// Where a live member in this life of it is.
    pub(super) fn address(&self, life: Life) -> Option<PeerAddress> {
        let known = self.known.get(&life.node).filter(|known| known.standing.is_live())?;
        known.address.clone().filter(|_| known.incarnation == life.incarnation)
    }

    /// Whether this life is known to be over.
    pub(super) fn is_over(&self, life: Life) -> bool {
        self.known.get(&life.node).is_some_and(|known| {
            life.incarnation < known.incarnation
                || life.incarnation == known.incarnation && !known.standing.is_live()
        })
    }

    /// What to tell who takes this life for live, if it is over and no later one is known.
    pub(super) fn obituary(&self, life: Life) -> Option<Record> {
        let known = self.known.get(&life.node)?;
        let Standing::Gone { why, .. } = known.standing else { return None };
        let condition = match why {
            Why::Left(reason) => Condition::Left(reason),
            Why::Failed => Condition::Down,
        };
        let (of, refutation) = (Life { incarnation: known.incarnation, ..life }, known.refutation);
        let record = Record { life: of, refutation, condition, address: None };
        (life.incarnation <= known.incarnation).then_some(record)
    }

    /// Whether a later life of this node is known.
    pub(super) fn is_outlived(&self, life: Life) -> bool {
        self.known.get(&life.node).is_some_and(|known| life.incarnation < known.incarnation)
    }

    /// Whether a live member of this life says this of itself would be news.
    pub(super) fn is_news(&self, life: Life, refutation: u16) -> bool {
        self.known.get(&life.node).is_none_or(|known| {
            (known.incarnation, known.refutation) < (life.incarnation, refutation)
        })
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let until = self.known.values().filter_map(|known| known.standing.until());
        until.min()
    }

    /// Time stood still for this node: suspicions get it back.
    pub(super) fn postpone(&mut self, by: Duration) {
        for known in self.known.values_mut() {
            if let Standing::Suspect(suspicion) = &mut known.standing {
                let Suspicion { since, until, latest } = suspicion;
                [since, until, latest].into_iter().for_each(|at| *at = *at + by);
            }
        }
    }

    /// Suspects that did not refute in time. Who has heard nobody since the suspicion began may well be
    /// deaf, and waits for as long as it can; by that time the others have given *it* up, if it is.
    pub(super) fn condemned(
        &mut self,
        now: Instant,
        heard_at: Instant,
    ) -> Vec<foca::Member<Identity>> {
        let is_one_of_two = self.live == 1;
        let mut condemned = Vec::new();
        for (&node, known) in &mut self.known {
            let Standing::Suspect(suspicion) = &mut known.standing else { continue };
            let Suspicion { since, until, latest } = *suspicion;
            if now < until {
                continue;
            }
            if since < heard_at || is_one_of_two || latest <= now {
                condemned.push(known.as_member(node, State::Down));
            } else {
                suspicion.until = latest;
            }
        }
        condemned
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = foca::Member<Identity>> {
        let suspects = self.known.iter().filter(|(_, known)| known.is_suspect());
        suspects.map(|(&node, known)| known.as_member(node, State::Suspect))
    }

    /// Suspicions begin anew, but for a suspicion of one of two: there is nobody else to hear. None lasts
    /// longer for it than `latest`: where most are dead, silence is the rule and ends with every packet.
    pub(super) fn acquit(&mut self, now: Instant, span: Duration) {
        if self.live == 1 {
            return;
        }
        for known in self.known.values_mut() {
            if let Standing::Suspect(suspicion) = &mut known.standing {
                suspicion.since = now;
                suspicion.until = suspicion.latest.min(now + span);
            }
        }
    }

    /// A live member, as one under suspicion.
    pub(super) fn as_suspect(&self, node: NodeId) -> Option<foca::Member<Identity>> {
        let known = self.known.get(&node).filter(|known| known.standing == Standing::Alive)?;
        Some(known.as_member(node, State::Suspect))
    }

    /// More are gone than are remembered.
    pub(super) fn has_excess(&self) -> bool {
        GONE_MAX < self.known.len() - self.live
    }

    /// Takes out whom to forget: who is gone for long enough, or one too many.
    pub(super) fn take_forgotten(&mut self, now: Instant) -> Vec<Identity> {
        let mut gone: Vec<(Instant, NodeId)> = self
            .known
            .iter()
            .filter(|(_, known)| !known.standing.is_live())
            .filter_map(|(&node, known)| known.standing.until().map(|until| (until, node)))
            .collect();
        gone.sort_unstable();
        let excess = gone.len().saturating_sub(GONE_MAX);
        let due = gone.partition_point(|(until, _)| *until <= now);
        let nodes = gone.into_iter().take(excess.max(due)).map(|(_, node)| node);
        nodes
            .filter_map(|node| {
                let incarnation = self.known.remove(&node)?.incarnation;
                Some(Identity::named(Life { node, incarnation }))
            })
            .collect()
    }

    /// Compares one of `foca`'s members with what is known; says what changed.
    pub(super) fn note(
        &mut self,
        found: &foca::Member<Identity>,
        look: &Look<'_>,
        out: &mut Vec<Effect>,
    ) {
        let life = found.id().life;
        let standing = look.standing(found);
        let old = self.known.get(&life.node);
        let same = old.filter(|old| old.incarnation == life.incarnation);
        if let Some(same) = same
            && same.refutation == found.incarnation()
            && same.standing.is_like(standing)
        {
            return;
        }
        let was_live = old.is_some_and(|old| old.standing.is_live());
        let was_suspect = same.is_some_and(Known::is_suspect);
        let replaces = old.filter(|old| old.standing.is_live()).map(|old| old.incarnation);
        let known = Known {
            incarnation: life.incarnation,
            refutation: found.incarnation(),
            address: found.id().address.clone(),
            standing,
        };
        match standing {
            Standing::Gone { why, .. } => {
                let was_said = same.is_some_and(|same| !same.standing.is_live());
                if was_live || (was_said && matches!(why, Why::Left(_))) {
                    let Life { node, incarnation } = life;
                    out.push(Effect::MemberDown { node, incarnation, why });
                }
            }
            Standing::Alive | Standing::Suspect(_) => {
                if same.is_none_or(|same| !same.standing.is_live()) {
                    let address = known.address.clone().expect("the live have an address");
                    let Life { node, incarnation } = life;
                    let member = Member { node, incarnation, address };
                    out.push(Effect::MemberUp { member, replaces });
                }
            }
        }
        if matches!(standing, Standing::Suspect(_)) {
            out.push(Effect::Fact(Fact::Suspected { node: life.node }));
        } else if was_suspect && standing == Standing::Alive {
            out.push(Effect::Fact(Fact::Refuted { node: life.node }));
        }
        self.live = self.live + usize::from(standing.is_live()) - usize::from(was_live);
        self.known.insert(life.node, known);
    }
}

impl Look<'_> {
    fn standing(&self, found: &foca::Member<Identity>) -> Standing {
        match found.state() {
            State::Alive => Standing::Alive,
            State::Suspect => Standing::Suspect(Suspicion {
                since: self.now,
                until: self.now + self.suspicion,
                latest: self.now + self.patience,
            }),
            State::Down => {
                let life = found.id().life;
                let goodbye = self.goodbyes.iter().find(|(who, _)| *who == life);
                let why = goodbye.map_or(Why::Failed, |(_, reason)| Why::Left(*reason));
                Standing::Gone { why, until: self.now + self.memory }
            }
        }
    }
}

impl Known {
    fn is_suspect(&self) -> bool {
        matches!(self.standing, Standing::Suspect(_))
    }

    fn as_member(&self, node: NodeId, state: State) -> foca::Member<Identity> {
        let life = Life { node, incarnation: self.incarnation };
        let id = Identity { life, address: self.address.clone(), left: None };
        foca::Member::new(id, self.refutation, state)
    }
}

impl Standing {
    fn is_live(self) -> bool {
        match self {
            Self::Alive | Self::Suspect(_) => true,
            Self::Gone { .. } => false,
        }
    }

    fn until(self) -> Option<Instant> {
        match self {
            Self::Alive => None,
            Self::Suspect(Suspicion { until, .. }) | Self::Gone { until, .. } => Some(until),
        }
    }

    /// The same but for when it began. Whoever said goodbye has left, whatever is said after it.
    fn is_like(self, found: Self) -> bool {
        match (self, found) {
            (Self::Alive, Self::Alive) | (Self::Suspect(_), Self::Suspect(_)) => true,
            (Self::Gone { why: known, .. }, Self::Gone { why, .. }) => {
                known == why || why == Why::Failed
            }
            (Self::Alive | Self::Suspect(_) | Self::Gone { .. }, _) => false,
        }
    }
}
