//! Host checks: facts read from the machine, and what they mean for a router.
//!
//! ```text
//!   /proc, /sys --Root--> Facts --+
//!   io_uring    --probe-> Ring  --+--> judge(facts, wish) --> [Finding] --> Report: text, JSON, exit code
//!                   Wish ---------+
//! ```
//!
//! Reading order: `wish` (what is asked of the machine), `facts` (what is read), `ring` (what the
//! kernel's io_uring offers), `judge` (the rules), `finding` and `report` (what is shown),
//! `profile` (files that fix what was found).
//!
//! Invariants:
//! - Nothing on the host is changed; every file is opened for reading only.
//! - Reading never fails: what this machine does not show is absent, and absent facts are never
//!   the reason for a refusal.
//! - [`judge::refusal`] finds something exactly when [`judge::judge`] finds something blocking.
//!
//! Tests: `judge/tests.rs` feeds file texts of a made-up host to the rules; `tests/live.rs` judges
//! the machine it runs on; `profile.rs` holds the shipped files to the rules they satisfy.
#![forbid(unsafe_code)]

pub mod cpus;
pub mod facts;
pub mod finding;
pub mod judge;
pub mod profile;
pub mod report;
pub mod ring;
pub mod root;
pub mod wish;

#[cfg(test)]
mod fake;
