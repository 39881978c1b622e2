//! `mpreg serve`: runs a node until it is told to stop.
//!
//! ```text
//!   configuration -> machine -> cores -> admin surface -> ready: stdout line, ready file
//!                                                           |
//!                           SIGTERM, SIGINT ----------------+
//!                                  |
//!                                  v
//!                               draining ---- flushed ------------------> exit 0
//!                                  |
//!                                  +--- second signal, or drain overran -> exit 1
//!                                  +--- a core failed -------------------> exit 70
//! ```
//!
//! Everything that can refuse does so before the first core starts, in one line, with exit code 78
//! when the configuration or the machine has to be changed. Ready file and socket go when the
//! process does; `kill -9` leaves only what the next start removes.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::ready::{Ready, ReadyFile};
use super::stop::Stop;
use super::{CommandError, Exit, host};
use crate::admin::status::Urls;
use crate::admin::{self, Admin, StartAdminError, View};
use crate::config::{Config, File, LoadConfigError};
use crate::listen::ListenError;
use crate::log::{AlreadyStarted, Logs};
use crate::node::{Node, StartError};

/// Granted beyond `limits.drain_ms` for the cores to notice that it is over.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A killed router's socket is released within some 10 ms; on a busy machine, some 100.
const SOCKET_RELEASE_MAX: Duration = Duration::from_secs(2);

const SOCKET_RELEASE_POLL: Duration = Duration::from_millis(10);

/// Run a router.
///
/// Defaults, then the file, then flags. Prints one line when it serves; SIGTERM or SIGINT makes it
/// send what is queued and stop, a second one stops it at once.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for clients; port 0 lets the kernel choose; empty is none.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Socket path for clients of this machine.
    #[arg(long, value_name = "PATH")]
    unix: Option<String>,
    /// Address for NATS clients.
    #[arg(long, value_name = "ADDR")]
    nats: Option<String>,
    /// Address for NATS clients over TLS.
    #[arg(long, value_name = "ADDR")]
    nats_tls: Option<String>,
    /// Address for NATS clients over WebSocket.
    #[arg(long, value_name = "ADDR")]
    websocket: Option<String>,
    /// Address for NATS clients over WebSocket over TLS.
    #[arg(long, value_name = "ADDR")]
    websocket_tls: Option<String>,
    /// The router's certificate and what leads to its root (PEM).
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The key of the router's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Roots of client certificates (PEM); with it clients must show one.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Loopback address for metrics and status; port 0 lets the kernel choose; empty is none.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Allow addresses for clients that other machines can reach.
    #[arg(long)]
    allow_remote: bool,
    /// Data shards; 0 is one less than the CPUs there are.
    #[arg(long, value_name = "N")]
    shards: Option<u64>,
    /// CPU numbers, separated by commas: the control core's first, then the shards'.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cpus: Option<Vec<u64>>,
    /// Microseconds a shard looks for work before it sleeps.
    #[arg(long, value_name = "N")]
    spin_us: Option<u64>,
    /// Write what was bound to this file, as JSON, once it serves.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<String>,
    /// Log filter: a level, then TARGET=LEVEL where it differs, separated by commas.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Log JSON, one object a line.
    #[arg(long)]
    log_json: bool,
    /// End with the process of this id, which must be the parent.
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

/// Why there was no node, or why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] LoadConfigError),
    #[error("cannot start here")]
    Host(#[from] host::HostRefusal),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] StartAdminError),
    #[error("writing the ready file {path}")]
    ReadyFile { path: PathBuf, source: io::Error },
    #[error("announcing on stdout")]
    Announce { source: io::Error },
    #[error(transparent)]
    Logs(#[from] AlreadyStarted),
    #[error("preparing to be stopped")]
    Signals { source: io::Error },
    /// A second signal came, or the time to drain was over.
    #[error("stopped before everything queued was sent")]
    Forced,
    #[error("a core failed while draining")]
    Core { source: io::Error },
    #[error("the parent process has ended")]
    Orphaned,
}

impl ServeError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Host(_) => Exit::Refused,
            Self::Forced => Exit::No,
            Self::Core { .. } => Exit::CoreFailed,
            Self::Start(_)
            | Self::Admin(_)
            | Self::ReadyFile { .. }
            | Self::Announce { .. }
            | Self::Logs(_)
            | Self::Signals { .. }
            | Self::Orphaned => Exit::CouldNotAsk,
        }
    }
}

impl Serve {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        self.serve(out)?;
        Ok(Exit::Done)
    }

    fn serve(&self, out: &mut impl Write) -> Result<(), ServeError> {
        self.follow_parent()?;
        let mut config = self.config()?;
        host::settle_cores(&mut config.node, host::cpus_allowed()?)?;
        let control_cpu = config.node.cpus[0];
        let logs = host::starting_on(control_cpu, || Logs::start(&config.log))??;
        host::settle_limits(&mut config)?;
        if config.auth.has_clear_password() {
            tracing::warn!(
                "[auth] has a password in clear: mpreg hash-password makes a hash of it"
            );
        }
        let (runtime, mut stop) = keep_signals()?;
        let ready_file = config.admin.ready_file.clone();
        let ready_error = |path: &PathBuf| {
            let path = path.clone();
            |source| ServeError::ReadyFile { path, source }
        };
        if let Some(path) = &ready_file {
            ReadyFile::clear(path).map_err(ready_error(path))?;
        }
        let surface = config.admin.listen.map(admin::Bound::new).transpose()?;

        let node = start(&config)?;
        host::stay_on(control_cpu);
        let ready = Ready {
            pid: std::process::id(),
            urls: urls(&node, surface.as_ref().map(admin::Bound::url)),
        };
        let _socket = node.bound().unix.clone().map(Socket);
        let is_draining = Arc::new(AtomicBool::new(false));
        let view = view(&node, &ready.urls, &is_draining, &logs);
        let _admin: Option<Admin> =
            surface.map(|surface| surface.start(view, Some(control_cpu))).transpose()?;
        writeln!(out, "{ready}")
            .and_then(|()| out.flush())
            .map_err(|source| ServeError::Announce { source })?;
        let _ready_file = ready_file
            .map(|path| ReadyFile::write(&path, &ready).map_err(ready_error(&path)))
            .transpose()?;
        tracing::info!(shards = config.node.shards, cpus = ?config.node.cpus, "{ready}");

        runtime.block_on(stop.asked());
        tracing::info!("draining");
        is_draining.store(true, Relaxed);
        drain(node, &runtime, &mut stop, config.limits.drain + DRAIN_GRACE)?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Asks the kernel to stop this process when its parent ends, however that happens.
    fn follow_parent(&self) -> Result<(), ServeError> {
        let Some(parent) = self.parent else { return Ok(()) };
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|errno| ServeError::Signals { source: errno.into() })?;
        // It may have ended before it was asked for.
        let is_there = getppid()
            .map(Pid::as_raw_nonzero)
            .is_some_and(|pid| u32::try_from(pid.get()).is_ok_and(|pid| pid == parent));
        if is_there { Ok(()) } else { Err(ServeError::Orphaned) }
    }

    /// Defaults, then the file, then the flags.
    fn config(&self) -> Result<Config, LoadConfigError> {
        let mut file = self.config.as_deref().map_or_else(|| Ok(File::default()), File::read)?;
        let Self { listen, unix, admin, shards, cpus, spin_us, ready_file, log, .. } = self;
        overwrite(&mut file.listen.tcp, listen);
        overwrite(&mut file.listen.unix, unix);
        overwrite(&mut file.listen.nats, &self.nats);
        overwrite(&mut file.listen.nats_tls, &self.nats_tls);
        overwrite(&mut file.listen.websocket, &self.websocket);
        overwrite(&mut file.listen.websocket_tls, &self.websocket_tls);
        overwrite(&mut file.tls.certificate, &self.tls_cert);
        overwrite(&mut file.tls.key, &self.tls_key);
        overwrite(&mut file.tls.client_ca, &self.tls_ca);
        if self.tls_ca.is_some() {
            "required".clone_into(&mut file.tls.client_certificates);
        }
        overwrite(&mut file.admin.listen, admin);
        overwrite(&mut file.admin.ready_file, ready_file);
        overwrite(&mut file.node.shards, shards);
        overwrite(&mut file.node.cpus, cpus);
        overwrite(&mut file.node.spin_us, spin_us);
        overwrite(&mut file.log.filter, log);
        file.listen.allow_remote |= self.allow_remote;
        file.log.json |= self.log_json;
        Ok(Config::try_from(file)?)
    }
}

/// The kernel takes a killed router's ring apart after its process is gone, and the ring keeps the
/// socket open until then.
fn start(config: &Config) -> Result<Node, StartError> {
    let deadline = Instant::now() + SOCKET_RELEASE_MAX;
    loop {
        match Node::start(config) {
            Err(StartError::Listen(ListenError::UnixInUse { .. })) if Instant::now() < deadline => {
                std::thread::sleep(SOCKET_RELEASE_POLL);
            }
            started => return started,
        }
    }
}

/// From here on a signal to stop is kept until it is asked for.
fn keep_signals() -> Result<(Runtime, Stop), ServeError> {
    let prepare = || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let stop = runtime.block_on(async { Stop::new() })?;
        Ok((runtime, stop))
    };
    prepare().map_err(|source| ServeError::Signals { source })
}

fn overwrite<T: Clone>(value: &mut T, flag: &Option<T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}

fn urls(node: &Node, admin: Option<String>) -> Urls {
    let bound = node.bound();
    let url = |scheme: &str, address: Option<SocketAddr>| {
        address.map(|address| format!("{scheme}://{address}"))
    };
    Urls {
        native: url("mpreg", bound.native),
        admin,
        unix: bound.unix.as_ref().map(|path| format!("mpreg+unix://{}", path.display())),
        nats: url("nats", bound.nats),
        nats_tls: url("tls", bound.nats_tls),
        websocket: url("ws", bound.websocket),
        websocket_tls: url("wss", bound.websocket_tls),
    }
}

fn view(node: &Node, urls: &Urls, is_draining: &Arc<AtomicBool>, logs: &Logs) -> View {
    View {
        node: node.id(),
        urls: urls.clone(),
        shards: node.probes().to_vec(),
        control: Arc::clone(node.control()),
        is_draining: Arc::clone(is_draining),
        log_filter: logs.filter.clone(),
        log_lines_dropped: logs.lines_dropped.clone(),
    }
}

/// A socket path that is removed with the process.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket was gone already");
        }
    }
}

/// Waits until `node` has sent what it had queued, `stop` is asked again, or `deadline`.
fn drain(
    node: Node,
    runtime: &Runtime,
    stop: &mut Stop,
    deadline: Duration,
) -> Result<(), ServeError> {
    node.drain();
    let (done, is_done) = oneshot::channel();
    // Left behind when time is up: the process ends, and it with it.
    let wait = move || done.send(node.join()).unwrap_or(());
    std::thread::Builder::new()
        .name("mpreg-join".to_owned())
        .spawn(wait)
        .map_err(|source| ServeError::Signals { source })?;
    runtime.block_on(async {
        tokio::select! {
            Ok(ended) = is_done => ended.map_err(|source| ServeError::Core { source }),
            () = stop.asked() => Err(ServeError::Forced),
            () = tokio::time::sleep(deadline) => Err(ServeError::Forced),
        }
    })
}
