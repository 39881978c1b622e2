//! What the router is measured with and against.
//!
//! `floor` is the bare forwarder the router's figures are shown beside; the binary `mpreg-floor`
//! runs it. `sample` makes the inputs of the microbenchmarks in `benches/`. `suite` is
//! the binary `mpreg-bench`: it runs them and the load generator, keeps the figures, compares.
//!
//! Unsafe code is in `floor/ring.rs` alone.
#![deny(unsafe_code)]

pub mod catalog;
pub mod floor;
pub mod hold;
pub mod sample;
pub mod suite;

use std::time::Duration;

/// How every microbenchmark measures: short, because they are many and runs are compared with runs.
pub fn criterion() -> criterion::Criterion {
    criterion::Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .configure_from_args()
}
