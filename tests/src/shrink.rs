//! A failing seed with as little in it as still fails.
//!
//! A history cannot be cut in the middle, as every draw after the cut would be another. What is cut
//! is what the seed decided: behaviours and sizes. Each cut that still breaks the same rule is kept.

use crate::history::{Cuts, Failure, Plan, play_cut};
use crate::trace::Show;

/// The cuts under which `failure` still breaks its rule, and how it does then.
pub fn shrink<P: Plan>(failure: Box<Failure<P>>) -> Box<Failure<P>> {
    let mut least = failure;
    loop {
        let mut is_less = false;
        for cuts in smaller(&mut least) {
            let Err(found) = play_cut(least.seed, &cuts, Show::Nothing) else { continue };
            if found.broken.violation.rule == least.broken.violation.rule {
                least = found;
                is_less = true;
                break;
            }
        }
        if !is_less {
            return least;
        }
    }
}

/// One step down in each direction, the longest first.
fn smaller<P: Plan>(failure: &mut Failure<P>) -> Vec<Cuts<P>> {
    let Failure { cuts, plan, .. } = failure;
    let mut all = Vec::new();
    for place in 0..P::SIZES.len() {
        let size = *plan.size(place);
        for less in [size / 2, size.saturating_sub(1)].into_iter().filter(|&less| 0 < less) {
            let mut cuts = cuts.clone();
            cuts.sizes[place] = Some(less);
            all.push(cuts);
        }
    }
    for &behaviour in P::BEHAVIOURS.iter().filter(|&&behaviour| plan.has(behaviour)) {
        let mut cuts = cuts.clone();
        cuts.without.push(behaviour);
        all.push(cuts);
    }
    all
}
