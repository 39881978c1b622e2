//! The generator against a forwarder in the same process, honest and not.
#![forbid(unsafe_code)]

mod cli;
#[expect(clippy::unwrap_used, reason = "a forwarder that fails should fail its test")]
mod forwarder;
#[expect(clippy::unwrap_used, reason = "what cannot be set up should fail its test")]
mod run;
