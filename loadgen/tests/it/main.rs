//! The generator against a forwarder in the same process, honest and not.
#![forbid(unsafe_code)]

mod forwarder;
mod run;
