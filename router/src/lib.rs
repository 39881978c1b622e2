//! What a node does: cores, rings, sockets, the process.
//!
//! Reading order: `node` (start and stop), `drive` (the loop of a shard), `shard` and `switch` (a
//! turn), `link`, `outbound`, `arena`, `mesh` (bytes between), `ring` (the kernel). `control`, `auth`,
//! `peer`,
//! `store`, `identity`, `reload`, `ca`, `probe`, `admin`, `log` and `cli` are not on the way of a message.
#![deny(unsafe_code)]

pub mod admin;
pub mod arena;
pub mod auth;
pub mod ca;
pub mod call_graph;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dns;
pub mod drive;
pub mod identity;
pub mod limits;
pub mod link;
pub mod listen;
pub mod log;
pub mod mesh;
pub mod nats;
pub mod nats_conf;
pub mod node;
pub mod outbound;
pub mod peer;
pub mod peer_link;
pub mod probe;
pub mod reload;
pub mod ring;
pub mod roster;
pub mod shard;
pub mod shown;
pub mod store;
pub mod switch;
pub mod tls;
pub mod trace;
pub mod transport;
