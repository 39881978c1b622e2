//! The admin surface: metrics, health and status over HTTP on a loopback address.
//!
//! ```text
//!   GET /metrics          every counter, as Prometheus reads it
//!   GET /status           the same numbers as JSON, with identity and addresses
//!   GET /health           200 ready, 503 draining
//!   GET /peers            links to other nodes, as JSON
//!   GET /catalog /routes  what other nodes offer, and ways to them: `fabric.rs`
//!   GET /trace?subject=  where messages of a subject go: `trace.rs`
//!   PUT /log?filter=...   changes the log filter
//!   POST /policy/reload   reads the configuration again: `fabric.rs`
//!   PUT /leave            says goodbye and ends, as SIGTERM does
//!   GET /varz /connz ...  the pages of nats-server: `monitor.rs`
//! ```
//!
//! One ordinary thread on the control core's CPU. It reads what the cores publish, so a scrape costs
//! the data plane no more than the cache lines it reads. Only lists of connections, and what is known of
//! other nodes, are asked for.
//!
//! Invariants:
//! - Bound to a loopback address, and answers only requests that name such an address or
//!   `localhost` as their host: a web page that had its own name resolve to this machine is not
//!   answered.
//! - Never more than `CONNECTIONS_MAX` connections, `HEAD_BYTES_MAX` bytes of request head,
//!   `CONNECTION_LIFE` of connection. Request bodies are not read.
//!
//! Tests: `admin/tests.rs`, over real sockets.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use core_affinity::CoreId;
use mpreg_proto::id::NodeId;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::control::Desk;
use crate::log;
use crate::mesh::Bell;
use crate::node;
use crate::peer::roster::Roster;
use crate::probe::{self, ControlProbe, Kind, Row, ShardProbe};
use crate::reload::Reloader;

mod connections;
pub mod fabric;
mod functions;
mod metrics;
mod monitor;
mod routes;
mod serve;
pub mod status;
pub mod trace;
pub mod trace_call;

/// Connections open at once: a scraper, a dashboard, a few curious people.
const CONNECTIONS_MAX: usize = 32;

/// Bytes of a request's first line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a request's head may take to arrive.
const HEAD_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a connection may stay, used or not.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// What the surface shows. Nothing in it reaches into a core but `bells` and `desk`.
#[derive(Clone, Debug)]
pub struct View {
    pub node: NodeId,
    pub urls: status::Urls,
    pub bound: node::Bound,
    pub config: Arc<Config>,
    /// Where shards are asked who is connected.
    pub bells: Arc<[Bell]>,
    pub shards: Vec<Arc<ShardProbe>>,
    pub control: Arc<ControlProbe>,
    /// Where the control core is asked.
    pub desk: Desk,
    /// Who is linked.
    pub roster: Roster,
    /// Set once the node has been told to stop.
    pub is_draining: Arc<AtomicBool>,
    pub log_filter: log::Filter,
    pub log_lines_dropped: log::LinesDropped,
    /// `None`: the configuration is not read again.
    pub reloader: Option<Arc<Reloader>>,
}

/// The running surface. Ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    /// `None` only while being dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no admin surface.
#[derive(Debug, thiserror::Error)]
pub enum StartAdminError {
    /// Most often: in use.
    #[error("listening on {address} (admin.listen)")]
    Listen { address: SocketAddr, source: io::Error },
    /// The process is out of threads, descriptors or memory.
    #[error("starting the admin thread")]
    Thread { source: io::Error },
}

/// A bound address that answers nobody yet, so that `view` can name it.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    pub fn new(address: SocketAddr) -> Result<Self, StartAdminError> {
        assert!(address.ip().to_canonical().is_loopback(), "a checked configuration");
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|source| StartAdminError::Listen { address, source })
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts answering, on `cpu` if one is given.
    pub fn start(self, view: View, cpu: Option<usize>) -> Result<Admin, StartAdminError> {
        let start = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let listener = {
                let _context = runtime.enter();
                tokio::net::TcpListener::from_std(self.listener)?
            };
            let (stop, stopped) = oneshot::channel();
            let thread =
                thread::Builder::new().name("mpreg-admin".to_owned()).spawn(move || {
                    if let Some(id) = cpu
                        && !core_affinity::set_for_current(CoreId { id })
                    {
                        tracing::warn!(cpu = id, "the admin thread could not be kept to one CPU");
                    }
                    runtime.block_on(serve::until(stopped, listener, routes::router(view)));
                })?;
            Ok(Admin { address: self.address, stop: Some(stop), thread: Some(thread) })
        };
        start().map_err(|source| StartAdminError::Thread { source })
    }
}

impl Admin {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
    }
}

impl View {
    fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Where this surface is.
    fn admin_address(&self) -> Option<SocketAddr> {
        self.urls.admin.as_deref()?.strip_prefix("http://")?.parse().ok()
    }

    /// Every number there is.
    fn rows(&self) -> Vec<Row> {
        let mut rows = probe::rows(&self.shards, &self.control);
        rows.push(Row {
            name: "mpreg_log_lines_dropped_total",
            help: "Log lines dropped because stderr did not keep up.",
            kind: Kind::Counter,
            labels: Vec::new(),
            value: self.log_lines_dropped.get() as f64,
        });
        rows
    }
}

#[cfg(test)]
pub(crate) mod tests;
