//! What tests that span crates share.
//!
//! `fuzz_case` says what must hold for any bytes; `seed` makes the bytes fuzzing starts from. The
//! tests themselves are in `it/`, the fuzz targets in `fuzz/`.
#![forbid(unsafe_code)]

pub mod fuzz_case;
pub mod seed;
