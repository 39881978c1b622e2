//! All tests that span crates, one binary: one link, one list of names.

mod clusters;
mod fabric;
mod flood;
mod functions;
mod graph;
mod hostile;
mod idle;
mod keys;
mod mesh;
mod mishap;
mod nats;
mod news;
mod order;
mod overload;
mod peer;
mod permission;
mod policy;
mod process;
mod record;
mod replay;
mod session;
mod sim;
mod tidy;
mod trace;
mod ways;
mod wire;
