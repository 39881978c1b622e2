//! The configuration file: TOML, every key optional, unknown keys refused.
//!
//! Says nothing about what is allowed; that is `check.rs`.

use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use super::LoadConfigError;
use super::auth::Auth;
use super::link_state::LinkState;
use super::routes::{Catalog, Routes};
use crate::limits::HOP_BUDGET;

/// Bytes of a configuration file. Every key written out with a comment is below 8 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file as written. `File::default()` is a file without a line in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub node: Node,
    pub listen: Listen,
    pub tls: Tls,
    pub nats: Nats,
    pub auth: Auth,
    pub peer: Peer,
    pub routes: Routes,
    pub catalog: Catalog,
    pub link_state: LinkState,
    pub admin: Admin,
    pub limits: Limits,
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Data shards. 0..=64; 0 is one less than the CPUs there are, at least one.
    pub shards: u64,
    /// CPUs to run on by kernel number: the first is the control core's, shards take the others
    /// and share when there are too few. Each 0..=1023, none twice. Empty is all this process may
    /// use.
    pub cpus: Vec<u64>,
    /// Microseconds a shard looks for work after the last before it sleeps. 0..=1000.
    pub spin_us: u64,
    /// Directory of what survives the process. Empty is none.
    pub data_dir: String,
}

/// `[listen]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address and port; port 0 lets the kernel choose. Empty is no TCP.
    pub tcp: String,
    /// Path of a socket. Empty is none.
    pub unix: String,
    /// Address and port of the NATS client protocol. Empty is none, as for the next three.
    pub nats: String,
    /// Address and port of the NATS client protocol over TLS.
    pub nats_tls: String,
    /// Address and port of the NATS client protocol over WebSocket.
    pub websocket: String,
    /// Address and port of the NATS client protocol over WebSocket over TLS.
    pub websocket_tls: String,
    /// Where pages come from that may connect by WebSocket: `https://HOST[:PORT]` each. Empty is
    /// anywhere.
    pub websocket_origins: Vec<String>,
    /// Whether pages must come from the host and port they connect to.
    pub websocket_same_origin: bool,
    /// Whether addresses above may be ones that other machines can reach.
    pub allow_remote: bool,
    /// TCP congestion control by kernel name; `kernel` is the kernel's default.
    pub tcp_congestion: String,
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file: the router's certificate and what leads to its root. Empty is none.
    pub certificate: String,
    /// PEM file: the key of that certificate. Empty is none.
    pub key: String,
    /// PEM file: roots of client certificates. Empty is none.
    pub client_ca: String,
    /// `none` or `required`.
    pub client_certificates: String,
    /// Whether a NATS connection begins with TLS; otherwise INFO is said in clear first.
    pub handshake_first: bool,
    /// With `handshake_first`: milliseconds after which one that has not begun hears INFO in clear
    /// all the same. 0..=10_000; 0 is never.
    pub handshake_wait_ms: u64,
    /// Whether `listen.nats_tls` also takes clients that do not begin TLS.
    pub optional: bool,
}

/// `[nats]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Name in INFO, at most 256 bytes. Empty is the node's id.
    pub server_name: String,
    /// Bytes of the largest payload with its headers. 1..=1_048_576.
    pub payload_bytes_max: u64,
    /// Bytes of the longest command line. 64..=4_096.
    pub control_line_bytes_max: u64,
    /// Milliseconds between pings. 10..=3_600_000.
    pub ping_interval_ms: u64,
    /// Pings without an answer at which a connection is stale. 1..=1_000.
    pub pings_out_max: u64,
    /// Milliseconds from accept to a CONNECT that is let in. 10..=60_000.
    pub auth_timeout_ms: u64,
    /// Subscriptions of one connection. 0..=`limits.subscriptions_max`; 0 is that one.
    pub subscriptions_max: u64,
    /// `HOST:PORT` of this and other routers that clients may connect to. At most 64.
    pub advertise: Vec<String>,
    /// Milliseconds from telling clients that the router is a lame duck to the goodbye.
    /// 0..=3_600_000.
    pub lame_duck_ms: u64,
    /// Whether messages may have headers.
    pub headers: bool,
}

/// `[peer]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// The node's cluster. 1 to 63 of `a-z 0-9 -`. Empty is none, and no other nodes.
    pub cluster: String,
    /// Address and port for other nodes; port 0 lets the kernel choose.
    pub listen: String,
    /// `HOST:PORT` where other nodes reach this one. Empty is where it listens.
    pub advertise: String,
    /// Directory with `node.crt`, `node.key` and `ca.crt`. Empty is `node.data_dir`.
    pub identity: String,
    /// Directory of the authority that signs for a node on a loopback address which has no credentials;
    /// made if it is not there. Empty is `mpreg/laboratory` where this user's programs keep their state.
    pub laboratory: String,
    /// Name that all clusters share which may ever meet. 1 to 63 of `a-z 0-9 -`.
    pub fabric: String,
    /// Clusters besides its own that a gateway may be linked to; `*` alone is any.
    pub allow_clusters: Vec<String>,
    /// `HOST:PORT` of nodes to begin with, or `srv:SERVICE` of SRV records that name some. At most 64.
    pub join: Vec<String>,
    /// File of more of them, one a line. Empty is none.
    pub join_file: String,
    /// File that must not be there yet: what the control core is told is written to it. Empty is none.
    pub record: String,
    /// Address and port of the DNS server that is asked for services. Empty is those of the host.
    pub dns_server: String,
    /// Milliseconds between pings to a node. 50..=60_000.
    pub ping_interval_ms: u64,
    /// Milliseconds that others keep what a silent node offers. 1000..=600_000.
    pub lease_ms: u64,
    /// Links between nodes that a message of this node may cross. 1..=63.
    pub hop_budget: u64,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Loopback address and port of metrics and status. Empty is none.
    pub listen: String,
    /// File that says in JSON what was bound, there once the router serves. Empty is none.
    pub ready_file: String,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections. 1..=1_000_000; cut to what the descriptor limit allows.
    pub connections_max: u64,
    /// Milliseconds from accept to `connect`. 10..=60_000.
    pub handshake_ms: u64,
    /// Milliseconds of silence before a ping; three unanswered end the session. 10..=600_000.
    pub ping_interval_ms: u64,
    /// Bytes of the outbound queue of a client that asks for none. 65_536..=`queue_bytes_max`.
    pub queue_bytes: u64,
    /// Bytes of the largest outbound queue a client may ask for. 65_536..=1_073_741_824.
    pub queue_bytes_max: u64,
    /// Bytes of all outbound queues and unfinished frames together. At least `queue_bytes_max`,
    /// at most 2^40.
    pub memory_bytes: u64,
    /// Subscriptions of one session. 1..=`subscriptions_total_max`.
    pub subscriptions_max: u64,
    /// Subscriptions of the node. 1..=100_000_000.
    pub subscriptions_total_max: u64,
    /// Milliseconds from the signal to stop to the end, flushed or not. 0..=600_000.
    pub drain_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, then `TARGET=LEVEL` for targets that differ, separated by commas.
    pub filter: String,
    /// One JSON object a line; otherwise text.
    pub json: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tcp: "127.0.0.1:4280".to_owned(),
            unix: String::new(),
            nats: String::new(),
            nats_tls: String::new(),
            websocket: String::new(),
            websocket_tls: String::new(),
            websocket_origins: Vec::new(),
            websocket_same_origin: false,
            allow_remote: false,
            tcp_congestion: "cubic".to_owned(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: String::new(),
            key: String::new(),
            client_ca: String::new(),
            client_certificates: "none".to_owned(),
            handshake_first: false,
            handshake_wait_ms: 0,
            optional: false,
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            server_name: String::new(),
            payload_bytes_max: 1 << 20,
            control_line_bytes_max: 4_096,
            ping_interval_ms: 120_000,
            pings_out_max: 2,
            auth_timeout_ms: 2_000,
            subscriptions_max: 0,
            advertise: Vec::new(),
            lame_duck_ms: 0,
            headers: true,
        }
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            listen: String::new(),
            advertise: String::new(),
            identity: String::new(),
            laboratory: String::new(),
            fabric: "mpreg".to_owned(),
            allow_clusters: Vec::new(),
            join: Vec::new(),
            join_file: String::new(),
            record: String::new(),
            dns_server: String::new(),
            ping_interval_ms: 500,
            lease_ms: 30_000,
            hop_budget: HOP_BUDGET.into(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:4281".to_owned(), ready_file: String::new() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            handshake_ms: 5_000,
            ping_interval_ms: 10_000,
            queue_bytes: 2 << 20,
            queue_bytes_max: 64 << 20,
            memory_bytes: 512 << 20,
            subscriptions_max: 1_000_000,
            subscriptions_total_max: 10_000_000,
            drain_ms: 5_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}

impl File {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, LoadConfigError> {
        Ok(Self::read_with_table(path)?.0)
    }

    /// Reads the file at `path`, also as what is written there and nothing else.
    pub fn read_with_table(path: &Path) -> Result<(Self, toml::Table), LoadConfigError> {
        let text = read_bounded(path)
            .map_err(|source| LoadConfigError::Read { path: path.to_owned(), source })?;
        let file = Self::parse(path, &text)?;
        Ok((file, text.parse().unwrap_or_default()))
    }

    /// `path` is for the error alone.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, LoadConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count();
            // The parser's message may have a second line of advice; ours are one line.
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            LoadConfigError::Syntax { path: path.to_owned(), line, message }
        })
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let taken = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if FILE_BYTES_MAX < taken as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}
