//! All tests that span crates, one binary: one link, one list of names.

mod process;
mod sim;
mod tidy;
mod wire;
