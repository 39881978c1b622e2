//! What is said between clients and routers: names, bounds, bytes. No state, no I/O.
//!
//! Reading order: `limits` (every bound), `id` and `topic` (names), `envelope` (a message on the
//! wire), `hello` (the only thing parsed before a peer is known), `frame` (everything after it),
//! `error` (what a peer may be told), `nats` (another protocol for the same messages), `function` (what
//! is called, in which version), `call` (one call, and what nodes say about it). Between nodes:
//! `peer` (a link), `member` (who is there), `catalog` (what they offer), `route` (ways between
//! clusters), `link_state` (which touch which), `hop` (what goes in front of a message).
//! `error` (what a peer may be told), `nats` (another protocol for the same messages), `peer_hello` and
//! `peer` (what nodes say to each other).
//!
//! Invariants:
//! - Any bytes decode to a frame, to "not yet whole", or to an [`error::ErrorCode`]. Decoding
//!   allocates nothing and never panics.
//! - A length is checked against its bound before anything is sized by it.
//! - The bytes a subscriber receives for a message are the bytes its publisher sent.
//!
//! The byte layouts are drawn in `docs/WIRE.md`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod call;
pub mod catalog;
pub mod cluster;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod function;
pub mod header;
pub mod hello;
pub mod hop;
pub mod id;
pub mod limits;
pub mod link_state;
pub mod member;
pub mod nats;
mod number;
pub mod peer;
pub mod peer_hello;
pub mod route;
mod text;
pub mod topic;
