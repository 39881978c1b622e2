//! A failing seed with as little in it as still fails.
//!
//! A history cannot be cut in the middle, as every draw after the cut would be another. What is cut
//! is what the seed decided: behaviours, shards, clients, acts. Each cut that still breaks the same
//! rule is kept.

use std::fmt;

use crate::faults::{Behaviour, Faults};
use crate::play::{Failure, play_cut};
use crate::trace::Show;

/// What is taken from a seed. Its text is what `sim` takes as arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    pub without: Vec<Behaviour>,
    pub shards_max: Option<usize>,
    pub clients_max: Option<usize>,
    pub acts_max: Option<usize>,
}

impl Cuts {
    pub fn apply(&self, faults: &mut Faults) {
        self.without.iter().for_each(|&behaviour| faults.leave_out(behaviour));
        let cut = |count: &mut usize, max: Option<usize>| {
            *count = max.map_or(*count, |max| max.clamp(1, *count));
        };
        cut(&mut faults.shards_count, self.shards_max);
        cut(&mut faults.clients_count, self.clients_max);
        cut(&mut faults.acts_count, self.acts_max);
    }

    /// Takes one argument with its value; whether it is one of these.
    pub fn take(&mut self, argument: &str, value: &str) -> bool {
        let count = value.parse().ok();
        let place = match argument {
            "--shards" => &mut self.shards_max,
            "--clients" => &mut self.clients_max,
            "--acts" => &mut self.acts_max,
            "--without" => {
                let named = |behaviour: &Behaviour| format!("{behaviour:?}") == value;
                let found = Behaviour::ALL.into_iter().find(named);
                self.without.extend(found);
                return found.is_some();
            }
            _ => return false,
        };
        *place = count;
        count.is_some()
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts =
            [("shards", self.shards_max), ("clients", self.clients_max), ("acts", self.acts_max)];
        for (name, max) in counts {
            max.map_or(Ok(()), |max| write!(f, " --{name} {max}"))?;
        }
        self.without.iter().try_for_each(|behaviour| write!(f, " --without {behaviour:?}"))
    }
}

/// The cuts under which `failure` still breaks its rule, and how it does then.
pub fn shrink(failure: Box<Failure>) -> Box<Failure> {
    let mut least = failure;
    loop {
        let before = least.cuts.clone();
        for cuts in smaller(&least) {
            let Err(found) = play_cut(least.seed, &cuts, Show::Nothing) else { continue };
            if found.violation.rule == least.violation.rule {
                least = found;
                break;
            }
        }
        if least.cuts == before {
            return least;
        }
    }
}

/// One step down in each direction, the longest first.
fn smaller(failure: &Failure) -> Vec<Cuts> {
    let Failure { cuts, faults, .. } = failure;
    let mut all = Vec::new();
    let shorter = |count: usize| [count / 2, count - 1].into_iter().filter(|&less| 0 < less);
    for less in shorter(faults.acts_count) {
        all.push(Cuts { acts_max: Some(less), ..cuts.clone() });
    }
    for less in shorter(faults.clients_count) {
        all.push(Cuts { clients_max: Some(less), ..cuts.clone() });
    }
    for less in shorter(faults.shards_count) {
        all.push(Cuts { shards_max: Some(less), ..cuts.clone() });
    }
    for behaviour in Behaviour::ALL.into_iter().filter(|&behaviour| faults.has(behaviour)) {
        let mut cuts = cuts.clone();
        cuts.without.push(behaviour);
        all.push(cuts);
    }
    all
}
