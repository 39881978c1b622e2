//! All tests that span crates, one binary: one link, one list of names.

mod hostile;
mod order;
mod overload;
mod process;
mod session;
mod sim;
mod tidy;
mod wire;
