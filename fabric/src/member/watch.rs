//! The neighbour we watch: the next live node in the order of ids, probed every period.
//!
//! Random probes find a dead node soon, but how soon has no bound: in one crash of ten thousand nobody
//! happens to ask for a second. So each node is also watched by the one before it, and is a suspect
//! two periods after it died, for certain, while that one lives.
//!
//! ```text
//!   ping --timeout--> ask others to ping --end of period--> suspect
//!     +---- answered -----------+------- answered ----------> next period
//! ```

use core::time::Duration;

use mpreg_proto::member::{Life, Saying};

use super::health::answer;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Watch {
    next: Option<Instant>,
    open: Option<Open>,
    number: u8,
}

#[derive(Debug)]
struct Open {
    target: Life,
    stage: Stage,
    ends: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pinged,
    OthersAsked,
    Answered,
}

/// What is to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ping { target: Life, probe: u8 },
    AskOthers { suspect: Life, probe: u8 },
    Suspect(Life),
}

impl Watch {
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn is_idle(&self) -> bool {
        self.next.is_none()
    }

    pub(super) fn start(&mut self, at: Instant) {
        self.next = Some(at);
    }

    pub(super) fn postpone(&mut self, by: Duration) {
        self.next = self.next.map(|at| at + by);
        if let Some(open) = &mut self.open {
            open.ends = open.ends + by;
        }
    }

    /// Takes the next step that is due.
    pub(super) fn step(
        &mut self,
        now: Instant,
        (timeout, period): (Duration, Duration),
        neighbour: Option<Life>,
    ) -> Option<Step> {
        if self.next.is_none_or(|at| now < at) {
            return None;
        }
        match self.open.take() {
            Some(Open { target, stage: Stage::Pinged, ends }) => {
                self.next = Some(ends);
                self.open = Some(Open { target, stage: Stage::OthersAsked, ends });
                Some(Step::AskOthers { suspect: target, probe: self.number })
            }
            Some(Open { target, stage: Stage::OthersAsked, .. }) => Some(Step::Suspect(target)),
            Some(open) if now < open.ends => {
                self.next = Some(open.ends);
                self.open = Some(open);
                None
            }
            Some(_) | None => {
                let target = neighbour.or_else(|| {
                    self.next = None;
                    None
                })?;
                self.number = self.number.wrapping_add(1);
                self.next = Some(now + timeout);
                self.open = Some(Open { target, stage: Stage::Pinged, ends: now + period });
                Some(Step::Ping { target, probe: self.number })
            }
        }
    }

    /// Whether this answers us.
    pub(super) fn heard(&mut self, source: Life, saying: Saying) -> bool {
        match &mut self.open {
            Some(open) if answer(source, saying) == Some((open.target, self.number)) => {
                open.stage = Stage::Answered;
                self.next = Some(open.ends);
                true
            }
            Some(_) | None => false,
        }
    }
}
