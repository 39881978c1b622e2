//! What tests that span crates share.
//!
//! `fuzz_case` says what must hold for any bytes; `seed` makes the bytes fuzzing starts from;
//! `permission_oracle` compares permissions with brute force. The
//! tests themselves are in `it/`, the fuzz targets in `fuzz/`.
//!
//! The simulator of one node: `faults` (what a seed decides), `world` (shards, rings, clients and
//! the shell between them), `model` (the obvious node it is compared with), `check` (what must hold),
//! `play` (one seed from start to rest); `lexicon` serves them. The simulator of many nodes: `mesh`; that
//! of calls of functions: `calls`. All
//! share `history` (what a seed plays), `shrink` (less of a seed) and `trace`; `planted` tries the latter. `bin/sim.rs` runs seeds.
//! Without the feature `live` there is the simulator alone, which needs no router to be built.
//!
//! `updates` are true updates of routes, of which none may be refused.
#![forbid(unsafe_code)]

pub mod calls;
pub mod check;
pub mod faults;
#[cfg(feature = "live")]
pub mod fuzz_case;
pub mod history;
pub mod lexicon;
#[cfg(feature = "live")]
pub mod live;
pub mod mesh;
pub mod model;
pub mod permission_oracle;
pub mod planted;
pub mod play;
#[cfg(feature = "live")]
pub mod seed;
pub mod shrink;
pub mod trace;
pub mod updates;
pub mod world;
