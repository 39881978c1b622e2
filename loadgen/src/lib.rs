//! Load, verified message by message, and latency reports.
//!
//! ```text
//!   Load --checked--> Plan --run()--> Report
//! ```
//!
//! Reading order: `load` (what may be asked for), `workload` and `wiring` (who talks to whom),
//! `payload` and `ledger` (how a message is recognised and what is missed), `schedule` and `latency`
//! (when), `target`, `layered`, `framing`, `session` (how to speak), `stage`, `generator`, `run` (doing
//! it), `report`.
//!
//! Invariants:
//! - Every message published is accounted for: received, or lost; and nothing else is received.
//! - A report that is clean says all arrived once, in order and unchanged.
#![forbid(unsafe_code)]

mod board;
mod brief;
mod bytes;
mod churn;
pub mod cli;
mod cpu;
mod framing;
mod generator;
mod latency;
mod layered;
mod ledger;
pub mod load;
mod payload;
mod placement;
mod random;
pub mod ratio;
pub mod report;
mod run;
mod schedule;
mod session;
mod stage;
pub mod target;
mod watch;
mod wiring;
mod workload;

pub use ledger::Faults;
pub use placement::Cpus;
pub use run::{RunError, run};
pub use watch::{Phase, Progress, WatchError};
pub use workload::{Shape, Workload};
