//! The rules: facts and a wish in, findings out. No file is read and no clock asked here.
//!
//! What blocks: io_uring refused, a part of it missing that the data plane has no other way for,
//! locked memory or descriptors too few. All else is advice.

mod cpu;
mod limits;
mod memory;
mod ring;
mod socket;

use crate::facts::{Facts, StartFacts};
use crate::finding::{Finding, Verdict};
use crate::wish::Wish;

/// One finding per check, in the order of [`crate::finding::Check`]. Where io_uring is refused,
/// nothing can be said of its features and level, and those two are left out.
pub fn judge(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let start = &facts.start;
    let mut findings = vec![ring::kernel(facts), ring::io_uring(start)];
    if let Ok(ring) = &start.ring {
        findings.extend([ring::features(ring), ring::level(ring)]);
    }
    findings.extend([
        ring::seccomp(start),
        limits::memlock(start, wish),
        limits::nofile(start, wish),
        cpu::cpus(facts, wish),
        cpu::quota(facts, wish),
        cpu::isolated(facts),
        cpu::numa(facts),
        cpu::governor(facts),
        cpu::clocksource(facts),
        cpu::interrupts(facts),
        cpu::mitigations(facts),
        memory::huge_pages(facts),
        memory::swap(facts),
        memory::usable(facts, wish),
        socket::accept_backlog(facts),
        socket::buffers(facts),
    ]);
    findings
}

/// The first thing that keeps a router from starting, for `mpreg serve` to print and give up.
/// `StartFacts::of_host` and this together take well under 2 ms.
pub fn refusal(facts: &StartFacts, wish: &Wish) -> Option<Finding> {
    let features = facts.ring.as_ref().ok().map(ring::features);
    [Some(ring::io_uring(facts)), features]
        .into_iter()
        .flatten()
        .chain([limits::memlock(facts, wish), limits::nofile(facts, wish)])
        .find(|finding| finding.verdict == Verdict::Blocking)
}

#[cfg(test)]
mod tests;
