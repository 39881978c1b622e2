//! A node with everything around it: signals, logs, admin surface, and its end.
//!
//! What `mpreg serve` and `mpreg nats-server` have in common. They differ in what they are asked
//! with, and in how they announce that they serve.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use mpreg_fabric::route::Held;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use toml::Table;

use super::ready::{Member, Ready};
use super::stop::Stop;
use super::{Exit, host};
use crate::admin::status::Urls;
use crate::admin::{self, Admin, StartAdminError, View};
use crate::auth::Accounts;
use crate::config::{self, Config, LoadConfigError};
use crate::limits::LEAVE_MAX;
use crate::listen::ListenError;
use crate::log::{Logs, StartLogsError};
use crate::node::{Node, StartError};
use crate::reload::{Reader, Reloader};

/// Granted beyond `limits.drain_ms` for the cores to notice that it is over.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A killed router's socket is released within some 10 ms; on a busy machine, some 100.
const SOCKET_RELEASE_MAX: Duration = Duration::from_secs(2);

const SOCKET_RELEASE_POLL: Duration = Duration::from_millis(10);

/// How often a lame duck looks whether its clients have gone.
const LEAVING_POLL: Duration = Duration::from_millis(20);

/// A router that serves.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) ready: Ready,
    pub(super) logs: Logs,
    pub(super) runtime: Runtime,
    pub(super) stop: Stop,
    asks: Asks,
    reloader: Option<Arc<Reloader>>,
    node: Node,
    is_draining: Arc<AtomicBool>,
    _socket: Option<Socket>,
    _admin: Option<Admin>,
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
    Logs(#[from] StartLogsError),
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

impl Running {
    /// Starts cores, then the admin surface. `log` starts the logs, on the control core; `reload` says
    /// how the configuration is read again, if it is.
    pub(super) fn start(
        mut config: Config,
        log: impl FnOnce(&config::Log) -> Result<Logs, StartLogsError>,
        reload: Option<(Reader, Table)>,
    ) -> Result<Self, ServeError> {
        host::settle_cores(&mut config.node, host::cpus_allowed()?)?;
        let control_cpu = config.node.cpus[0];
        let logs = host::starting_on(control_cpu, || log(&config.log))??;
        host::settle_limits(&mut config)?;
        if config.auth.has_clear_password() {
            tracing::warn!(
                "[auth] has a password in clear: mpreg hash-password makes a hash of it"
            );
        }
        let (runtime, stop, asks) = keep_signals()?;
        let surface = config.admin.listen.map(admin::Bound::new).transpose()?;
        let node = start(&config)?;
        host::stay_on(control_cpu);
        let urls = urls(&node, surface.as_ref().map(admin::Bound::url));
        let member = config
            .peer
            .as_ref()
            .map(|peer| Member { node: node.id().to_string(), cluster: peer.cluster.to_string() });
        let ready = Ready { pid: std::process::id(), member, urls };
        let socket = node.bound().unix.clone().map(Socket);
        let is_draining = Arc::new(AtomicBool::new(false));
        let reloader = reload
            .map(|(reader, table)| (reader, table, node.keys().clone(), node.desk().clone()))
            .map(|(reader, table, keys, desk)| Arc::new(Reloader::new(reader, table, keys, desk)));
        let view = View {
            reloader: reloader.clone(),
            ..view(&config, &node, &ready.urls, &is_draining, &logs)
        };
        let admin = surface.map(|surface| surface.start(view, Some(control_cpu))).transpose()?;
        Ok(Self {
            config,
            ready,
            logs,
            runtime,
            stop,
            asks,
            reloader,
            node,
            is_draining,
            _socket: socket,
            _admin: admin,
        })
    }

    pub(super) fn bound(&self) -> &crate::node::Bound {
        self.node.bound()
    }

    /// Lets clients in by `accounts` from here on.
    pub(super) fn reload(&mut self, accounts: &Arc<Accounts>) -> io::Result<()> {
        self.config.auth = Arc::clone(accounts);
        self.node.reload(accounts)
    }

    /// Waits for SIGTERM or SIGINT; for SIGUSR2 as well, and then for the end of what it begins. SIGHUP has
    /// the configuration read again.
    pub(super) fn until_asked_to_stop(&mut self) {
        let Self { runtime, stop, asks, reloader, .. } = self;
        let is_lame_duck = runtime.block_on(async {
            loop {
                tokio::select! {
                    () = stop.asked() => break false,
                    _ = asks.lame_duck.recv() => break true,
                    _ = asks.reload.recv() => reload(reloader.as_deref()).await,
                }
            }
        });
        if is_lame_duck {
            self.be_lame_duck();
        }
    }

    /// Takes nobody in any more, tells NATS clients to go elsewhere, and waits until all clients are
    /// gone, `nats.lame_duck_ms` are over, or somebody asks to stop.
    pub(super) fn be_lame_duck(&mut self) {
        self.node.lame_duck();
        let Self { runtime, stop, node, config, .. } = self;
        let is_left = || node.probes().iter().all(|probe| probe.sessions.get() == 0);
        let until_left = async {
            while !is_left() {
                tokio::time::sleep(LEAVING_POLL).await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = until_left => (),
                () = tokio::time::sleep(config.nats.lame_duck) => (),
                () = stop.asked() => (),
            }
        });
    }

    /// Drains, and ends. Logs are given back for the last words.
    pub(super) fn stop(mut self) -> Result<Logs, ServeError> {
        tracing::info!("draining");
        self.is_draining.store(true, Relaxed);
        let leave = self.config.peer.as_ref().map_or(Duration::ZERO, |_| LEAVE_MAX);
        let deadline = leave + self.config.limits.drain + DRAIN_GRACE;
        drain(self.node, &self.runtime, &mut self.stop, deadline)?;
        tracing::info!("stopped");
        Ok(self.logs)
    }
}

/// The kernel takes a killed router's ring apart after its process is gone, and the ring keeps the
/// socket open until then.
fn start(config: &Config) -> Result<Node, StartError> {
    let deadline = Instant::now() + SOCKET_RELEASE_MAX;
    loop {
        match Node::start(config) {
            Err(StartError::Listen(error)) if is_in_use(&error) && Instant::now() < deadline => {
                std::thread::sleep(SOCKET_RELEASE_POLL);
            }
            started => return started,
        }
    }
}

fn is_in_use(error: &ListenError) -> bool {
    match error {
        ListenError::UnixInUse { .. } => true,
        ListenError::Tcp { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
        ListenError::Unix { .. }
        | ListenError::NoSocket { .. }
        | ListenError::Congestion { .. } => false,
    }
}

/// What a running router is asked besides to stop.
struct Asks {
    lame_duck: Signal,
    reload: Signal,
}

async fn reload(reloader: Option<&Reloader>) {
    let Some(reloader) = reloader else { return };
    match reloader.reload(Held::Kept).await {
        Ok(reloaded) => tracing::info!(?reloaded, "configuration read again"),
        Err(error) => tracing::error!(%error, "configuration not followed; what holds, holds on"),
    }
}

/// From here on a signal to stop is kept until it is asked for.
fn keep_signals() -> Result<(Runtime, Stop, Asks), ServeError> {
    let prepare = || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, asks) = runtime.block_on(async {
            let lame_duck = signal(SignalKind::user_defined2())?;
            let asks = Asks { lame_duck, reload: signal(SignalKind::hangup())? };
            io::Result::Ok((Stop::new()?, asks))
        })?;
        Ok((runtime, stop, asks))
    };
    prepare().map_err(|source| ServeError::Signals { source })
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
        peer: url("mpreg-peer", bound.peer),
    }
}

fn view(
    config: &Config,
    node: &Node,
    urls: &Urls,
    is_draining: &Arc<AtomicBool>,
    logs: &Logs,
) -> View {
    View {
        node: node.id(),
        urls: urls.clone(),
        bound: node.bound().clone(),
        config: Arc::new(config.clone()),
        bells: node.bells().clone(),
        shards: node.probes().to_vec(),
        control: Arc::clone(node.control()),
        desk: node.desk().clone(),
        roster: node.roster().clone(),
        is_draining: Arc::clone(is_draining),
        log_filter: logs.filter.clone(),
        log_lines_dropped: logs.lines_dropped.clone(),
        reloader: None,
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
