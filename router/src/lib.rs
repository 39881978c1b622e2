//! What a node does: cores, rings, sockets, the process.
#![deny(unsafe_code)]

pub mod admin;
pub mod config;
pub mod log;
pub mod probe;
