//! What a node decides. Deterministic machines; no sockets, files, clocks or threads.
//!
//! # The contract of a machine
//!
//! 1. A machine is a plain struct. `handle(input, now, &mut effects)` is how it changes.
//! 2. `deadline()` is the only way it asks for time. It may be woken early, late or twice.
//! 3. `handle` never fails. A peer's nonsense is data: it yields an effect that says so. A broken
//!    invariant of our own is an `assert!`.
//! 4. Sending never waits; time comes in; chance comes from the machine's own seeded stream.
//! 5. Iteration order is part of the result: trees, slabs, bit sets, sorted vectors. Hash tables are
//!    looked up, never walked.
//! 6. No `async`, no `dyn`, no callbacks, no interior mutability.
//!
//! The data plane keeps the shape and pays nothing for it: [`shard::Shard::route`] takes a topic
//! and answers with targets; payloads stay with the shell.
//!
//! Reading order: `fact`, `id`, `time`, `limits` (words), `session`, `subscription`, `interest`,
//! `forward`, `permission` (parts that do not know each other), `handoff` (what shards say), `shard`
//! (joins them, all but `permission`, which the shell asks). Of the control core: `member` (who is in
//! the cluster), `dial` (whom to be linked with), `catalog` and `gossip` (what every node offers),
//! `want` (what subscribers elsewhere want), `route` and `link_state` (ways between clusters, two
//! kinds), `plan` (which of them count), `breaker` (which links work), `control` (joins them). `way`
//! and `hop` (one hop of a message) are what shards do with the view it makes; `graph` and `tape` are
//! tools. `function` (who runs a call) is part of `call` (a call from its client to its worker and back);
//! `call_graph` (calls that take each other's results) is run by whoever calls, not by nodes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod breaker;
pub mod call;
pub mod call_graph;
pub mod catalog;
pub mod control;
pub mod dial;
pub mod fact;
pub mod forward;
pub mod function;
pub mod gossip;
pub mod graph;
pub mod handoff;
pub mod hop;
pub mod id;
pub mod interest;
pub mod limits;
pub mod link_state;
pub mod member;
pub mod permission;
pub mod plan;
pub mod rng;
pub mod route;
pub mod session;
pub mod shard;
pub mod subscription;
pub mod tape;
pub mod time;
pub mod want;
pub mod way;
