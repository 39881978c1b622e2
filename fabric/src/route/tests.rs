//! Clusters that route to each other over links with delays, and one node that is lied to.
//!
//! `net` is a small world of nodes; `forge` makes whatever an attacker could say.

mod attack;
mod converge;
mod forge;
mod inside;
mod net;
mod policy;
mod refuse;
mod rotate;
mod select;

use core::time::Duration;

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MS: Duration = Duration::from_millis(1);

/// 2026.
pub(super) const TODAY: u64 = 1_780_000_000;

pub(super) fn cluster(number: u128) -> ClusterId {
    ClusterId(number)
}

pub(super) fn link(round_trip_ms: u32) -> Link {
    Link { round_trip_us: round_trip_ms * 1000, loss_ppm: 0, bandwidth_mbps: 0, cost: 0 }
}

pub(super) fn facts(effects: &[Effect]) -> Vec<Fact> {
    let fact = |effect: &Effect| match effect {
        Effect::Fact(fact) => Some(*fact),
        Effect::Send { .. } | Effect::Persist { .. } | Effect::View(_) | Effect::KeysChanged => {
            None
        }
    };
    effects.iter().filter_map(fact).collect()
}
