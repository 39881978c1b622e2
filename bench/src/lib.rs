//! What the router is measured with and against.
//!
//! `floor` is the bare forwarder the router's figures are shown beside; the binary `mpreg-floor`
//! runs it. The microbenchmarks are in `benches/`.
//!
//! Unsafe code is in `floor/ring.rs` alone.
#![deny(unsafe_code)]

pub mod floor;
