//! Where the time of a graph went.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{CommandIx, Step};

/// Of one command. What it did not come to is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From the start until its inputs were there, or it ended for want of them.
    pub waiting: Duration,
    /// From there until it was called: too many others were under way.
    pub queued: Duration,
    /// From there until it ended.
    pub calling: Duration,
    /// Borders between clusters on the way; none if it did not come back, or nobody counted them.
    pub cluster_hops: Option<u8>,
}

/// The commands that set how soon the graph could end, were there no bound on what is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// In the order they were called.
    pub commands: Vec<CommandIx>,
    /// What their calls took in sum.
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub took: Duration,
    /// By [`CommandIx`].
    pub commands: Vec<Spent>,
    pub critical_path: CriticalPath,
}

/// The longest way through the graph, measured in time of calls. `order` has sources first.
pub(super) fn critical_path(steps: &[Step], order: &[usize]) -> CriticalPath {
    let mut until = vec![Duration::ZERO; steps.len()];
    let mut before = vec![None; steps.len()];
    for &ix in order {
        let sources = steps[ix].plan.sources.iter();
        before[ix] = sources.copied().max_by_key(|&source| until[source]);
        until[ix] = before[ix].map_or(Duration::ZERO, |source| until[source]);
        until[ix] += steps[ix].spent.calling;
    }
    let Some(last) = (0..steps.len()).max_by_key(|&ix| until[ix]) else {
        return CriticalPath::default();
    };
    let way = core::iter::successors(Some(last), |&ix| before[ix]);
    let mut commands: Vec<CommandIx> =
        way.filter(|&ix| !steps[ix].spent.calling.is_zero()).map(super::place).collect();
    commands.reverse();
    CriticalPath { commands, took: until[last] }
}
