//! What a seed decides of a history of calls: how many nodes, how many acts, and what goes wrong at all.
//!
//! As elsewhere, each seed leaves a random part of what can go wrong out.

use mpreg_fabric::limits::CallBounds;
use mpreg_fabric::rng::Rng;

use super::play::{self, CallReport};
use crate::history::{Broken, Plan};
use crate::trace::Show;

/// Something that may be left out of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A message is gone, and its sender may know that.
    Loss,
    /// A message comes twice.
    Doubles,
    /// A message takes two seconds, and others overtake it.
    Late,
    /// A node is gone, and comes back with nothing but its name.
    Crashes,
    /// Two nodes hear nothing of each other.
    Cuts,
    /// Connections of workers and clients end.
    Disconnects,
    /// All bounds are so small that they are reached.
    SmallBounds,
}

/// What the seed decided. Rates are of a thousand.
#[derive(Clone, Debug)]
pub struct CallPlan {
    pub(super) nodes_count: usize,
    /// What clients and workers do, before the quiet.
    pub(super) acts_count: usize,
    pub(super) loss: u32,
    pub(super) doubles: u32,
    pub(super) late: u32,
    pub(super) crashes: u32,
    pub(super) cuts: u32,
    pub(super) disconnects: u32,
    pub(super) bounds: CallBounds,
}

const SMALL: CallBounds = CallBounds {
    open_max: 12,
    open_per_session_max: 6,
    open_bytes_max: 400,
    jobs_max: 7,
    served_max: 6,
    answers_bytes_max: 3000,
    parts_bytes_max: 2000,
    streams_max: 3,
};

impl CallPlan {
    /// Some messages are lost and some doubled, and nothing else goes wrong.
    pub fn mild(seed: u64) -> Self {
        let bounds = CallBounds::NODE;
        let (late, crashes, cuts, disconnects) = (0, 0, 0, 0);
        let drawn = Self::of(seed);
        Self { loss: 80, doubles: 50, late, crashes, cuts, disconnects, bounds, ..drawn }
    }

    /// So little goes wrong that a result is not lost.
    pub(super) fn is_mild(&self) -> bool {
        let Self { loss, late, crashes, cuts, disconnects, bounds, .. } = *self;
        let troubles = [late, crashes, cuts, disconnects];
        loss < 100 && troubles == [0; 4] && bounds == CallBounds::NODE
    }

    fn rate(&mut self, trouble: Trouble) -> Option<&mut u32> {
        match trouble {
            Trouble::Loss => Some(&mut self.loss),
            Trouble::Doubles => Some(&mut self.doubles),
            Trouble::Late => Some(&mut self.late),
            Trouble::Crashes => Some(&mut self.crashes),
            Trouble::Cuts => Some(&mut self.cuts),
            Trouble::Disconnects => Some(&mut self.disconnects),
            Trouble::SmallBounds => None,
        }
    }
}

impl Plan for CallPlan {
    type Behaviour = Trouble;
    type Report = CallReport;
    const BEHAVIOURS: &'static [Trouble] = &[
        Trouble::Loss,
        Trouble::Doubles,
        Trouble::Late,
        Trouble::Crashes,
        Trouble::Cuts,
        Trouble::Disconnects,
        Trouble::SmallBounds,
    ];
    const SIZES: &'static [&'static str] = &["acts", "nodes"];
    const IS_EXACT: bool = false;
    const ARGUMENTS: &'static str = " --calls";

    fn of(seed: u64) -> Self {
        let rng = &mut Rng::from_seed(seed).stream(1);
        let mut some = |most: u32| if rng.below(2) == 0 { 0 } else { rng.below(most) };
        let (loss, doubles, late) = (some(300), some(300), some(200));
        let (crashes, cuts, disconnects) = (some(20), some(40), some(40));
        let bounds = if some(2) == 1 { SMALL } else { CallBounds::NODE };
        let nodes_count = 2 + rng.below(4) as usize;
        let acts_count = 40 + rng.below(160) as usize;
        Self { nodes_count, acts_count, loss, doubles, late, crashes, cuts, disconnects, bounds }
    }

    fn size(&mut self, place: usize) -> &mut usize {
        let sizes = [&mut self.acts_count, &mut self.nodes_count];
        sizes.into_iter().nth(place).expect("there are two sizes")
    }

    fn has(&self, trouble: Trouble) -> bool {
        let mut plan = self.clone();
        plan.rate(trouble).map_or(self.bounds == SMALL, |rate| *rate != 0)
    }

    fn leave_out(&mut self, trouble: Trouble) {
        match self.rate(trouble) {
            Some(rate) => *rate = 0,
            None => self.bounds = CallBounds::NODE,
        }
    }

    fn play(self, seed: u64, show: Show) -> Result<CallReport, Broken> {
        play::play(seed, self, show)
    }
}
