//! What tests that span crates share.
//!
//! `fuzz_case` says what must hold for any bytes; `seed` makes the bytes fuzzing starts from;
//! `permission_oracle` compares permissions with brute force. The
//! tests themselves are in `it/`, the fuzz targets in `fuzz/`.
//!
//! The simulator of one node: `faults` (what a seed decides), `world` (shards, rings, clients and
//! the shell between them), `model` (the obvious node it is compared with), `check` (what must hold),
//! `play` (one seed from start to rest), `shrink` (less of a seed); `lexicon` and `trace` serve them. `bin/sim.rs` runs seeds.
#![forbid(unsafe_code)]

pub mod check;
pub mod faults;
pub mod fuzz_case;
pub mod lexicon;
pub mod live;
pub mod model;
pub mod permission_oracle;
pub mod play;
pub mod seed;
pub mod shrink;
pub mod trace;
pub mod world;
