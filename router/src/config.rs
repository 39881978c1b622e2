//! Configuration: [`file::File`] is what the file and the flags may say, [`Config`] is what the
//! node runs on.
//!
//! Every key has a default, so no file is needed. Flags are written over what the file said, then
//! everything is checked together; each key is read once, at start, except `log.filter`, which the
//! admin surface changes while the router runs, and the tables that `reload.rs` reads again.
//! `docs/OPERATING.md` lists the keys.
//!
//! Invariants: holding a [`Config`] is the proof that every bound holds, that every listener for
//! clients is on a loopback address unless the operator said otherwise, that the admin surface is
//! on one always, and that there is a certificate if a listener speaks TLS. Nothing checks again.
//!
//! Tests: `config/tests.rs`.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mpreg_fabric::{catalog, route};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::id::FabricId;
use mpreg_proto::member::PeerAddress;

use crate::auth::Accounts;
use crate::dns::ServiceName;
use crate::transport::websocket::WebSocketSettings;

pub mod auth;
pub mod check;
pub mod file;
pub mod link_state;
pub mod routes;

pub use check::Refusal;
pub use file::File;

/// What the node runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub node: Node,
    pub listen: Listen,
    /// There, if a listener of [`Listen`] speaks TLS.
    pub tls: Option<Tls>,
    pub nats: Nats,
    /// Who may come in over the NATS client protocol.
    pub auth: Arc<Accounts>,
    /// Other nodes. `None`: this one is alone.
    pub peer: Option<Peer>,
    /// What is taken from other clusters, and what they are told.
    pub routes: route::Policy,
    /// Keys of clusters that people vouch for.
    pub pins: routes::Pins,
    /// Which of their entries are to be seen.
    pub catalog: catalog::Filter,
    /// Whether nodes tell each other which links between clusters there are.
    pub link_state: link_state::Checked,
    pub admin: Admin,
    pub limits: Limits,
    pub log: Log,
}

/// Cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Data shards. `None`: one less than the CPUs there are, at least one.
    pub shards: Option<usize>,
    /// CPUs by kernel number, the control core's first. Empty: all this process may use.
    pub cpus: Vec<usize>,
    /// How long a shard looks for work after the last before it sleeps.
    pub spin: Duration,
    /// Where what survives the process is kept. `None`: nothing does.
    pub data_dir: Option<PathBuf>,
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub tcp: Option<SocketAddr>,
    /// Absolute.
    pub unix: Option<PathBuf>,
    /// The NATS client protocol over TCP.
    pub nats: Option<SocketAddr>,
    /// The same, over TLS.
    pub nats_tls: Option<SocketAddr>,
    /// The same, over WebSocket.
    pub websocket: Option<SocketAddr>,
    /// The same, over WebSocket over TLS.
    pub websocket_tls: Option<SocketAddr>,
    pub allow_remote: bool,
    /// Which pages may connect by WebSocket.
    pub websocket_from: WebSocketSettings,
    /// TCP congestion control by kernel name. `None`: the kernel's default.
    pub congestion: Option<String>,
}

/// How listeners that speak TLS do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the router's certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// PEM: the key of the first certificate.
    pub key: PathBuf,
    /// PEM: the roots of client certificates. There, if clients have to show one.
    pub client_ca: Option<PathBuf>,
    pub client_certificates: ClientCertificates,
    /// Whether a NATS connection begins with TLS; otherwise the router says INFO in clear first.
    pub handshake_first: bool,
    /// With `handshake_first`: how long a client has to begin until it hears INFO in clear.
    pub handshake_wait: Option<Duration>,
    /// Whether clients that do not begin TLS are taken as well.
    pub is_optional: bool,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    None,
    /// One that leads to a root in `client_ca`.
    Required,
}

/// How the NATS client protocol is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    /// Name in INFO. `None`: the node's id.
    pub server_name: Option<String>,
    /// Largest payload with its headers, as INFO says it.
    pub payload_bytes_max: usize,
    /// Longest line of a command.
    pub control_line_bytes_max: usize,
    pub ping_interval: Duration,
    /// Pings without an answer at which a connection is stale.
    pub pings_out_max: u32,
    /// From accept to a CONNECT that is let in.
    pub auth_timeout: Duration,
    /// Of one connection.
    pub subscriptions_max: usize,
    /// `HOST:PORT`, for INFO's `connect_urls`. Empty: none.
    pub advertise: Vec<String>,
    /// From lame duck, when clients are told, to the goodbye.
    pub lame_duck: Duration,
    /// Whether HPUB and HMSG are spoken.
    pub headers: bool,
}

/// Clusters besides its own that a node may be linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clusters {
    Named(Vec<ClusterName>),
    Any,
}

/// How this node meets others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub cluster: ClusterName,
    pub listen: SocketAddr,
    /// Where others reach it. `None`: where it listens.
    pub advertise: Option<PeerAddress>,
    /// Directory of its credentials.
    pub identity: PathBuf,
    pub fabric: FabricId,
    /// Directory of an authority that signs for the node if it has no credentials. `None`: none does.
    pub laboratory: Option<PathBuf>,
    pub allow_clusters: Clusters,
    pub join: Vec<PeerAddress>,
    /// Names that stand for more of them; asked for again and again while no node is reached.
    pub join_services: Vec<ServiceName>,
    /// Who is asked what they stand for. `None`: whom the host asks.
    pub dns_server: Option<SocketAddr>,
    /// Of more of them; read again and again while the node runs.
    pub join_file: Option<PathBuf>,
    /// Where what the control core is told is written down.
    pub record: Option<PathBuf>,
    pub ping_interval: Duration,
    /// How long what a node offers outlives its last sign of life.
    pub lease: Duration,
    /// Links that a message which starts here may cross.
    pub hop_budget: u8,
}

/// Where operators come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// A loopback address. `None`: no admin surface.
    pub listen: Option<SocketAddr>,
    pub ready_file: Option<PathBuf>,
}

/// What clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    /// From accept to `connect`.
    pub handshake: Duration,
    /// Silence after which a client is pinged.
    pub ping_interval: Duration,
    /// Outbound queue of a client that asks for none.
    pub queue_bytes: usize,
    /// Largest outbound queue a client may ask for.
    pub queue_bytes_max: usize,
    /// All outbound queues and all frames being reassembled, of all shards.
    pub memory_bytes: usize,
    /// Of one session.
    pub subscriptions_max: usize,
    /// Of the whole node.
    pub subscriptions_total_max: usize,
    /// From the signal to stop until the process ends, flushed or not.
    pub drain: Duration,
}

/// What is written to stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Directives as [`crate::log::Filter`] takes them.
    pub filter: String,
    pub json: bool,
}

/// Why there is no [`Config`]. The caller says which file, or which key, and ends.
#[derive(Debug, thiserror::Error)]
pub enum LoadConfigError {
    /// The file named on the command line cannot be read.
    #[error("reading {path}")]
    Read { path: PathBuf, source: io::Error },
    /// Not TOML, a key that does not exist, or a value of the wrong type.
    #[error("{path}, line {line}: {message}")]
    Syntax { path: PathBuf, line: usize, message: String },
    /// A value that is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[cfg(test)]
mod tests;
