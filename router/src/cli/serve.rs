//! `mpreg serve`: runs a node until it is told to stop.
//!
//! ```text
//!   configuration -> machine -> cores -> admin surface -> ready: stdout line, ready file
//!                                                           |
//!                           SIGTERM, SIGINT ----------------+
//!                           SIGUSR2 -- nats.lame_duck_ms ---+
//!                           SIGHUP --> reload.rs            |
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

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::ready::ReadyFile;
use super::running::{Running, ServeError};
use super::{CommandError, Exit};
use crate::config::{Config, File, LoadConfigError};
use crate::log::Logs;
use crate::reload::{Read, Reader};

/// Run a router.
///
/// Defaults, then the file, then flags. Prints one line when it serves; SIGTERM or SIGINT makes it
/// send what is queued and stop, a second one stops it at once.
#[derive(Clone, Debug, clap::Args)]
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
    /// Directory of what survives the process: who the node is and which life this is.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The cluster this node is of; without it there are no other nodes.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Address for other nodes; port 0 lets the kernel choose.
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// Where other nodes reach this one, if not where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertise: Option<String>,
    /// Directory of node.crt, node.key and ca.crt, as `mpreg ca issue` writes it; the data directory if
    /// it is not given.
    #[arg(long, value_name = "DIR")]
    peer_identity: Option<String>,
    /// Clusters that a gateway may be linked to, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    peer_clusters: Option<Vec<String>>,
    /// Nodes to begin with, separated by commas.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Option<Vec<String>>,
    /// File of more nodes to begin with, one a line; read again and again.
    #[arg(long, value_name = "FILE")]
    join_file: Option<String>,
    /// Write all that the control core is told to this file, which must not be there yet, for `sim --replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<String>,
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

impl Serve {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        self.serve(out)?;
        Ok(Exit::Done)
    }

    fn serve(&self, out: &mut impl Write) -> Result<(), ServeError> {
        self.follow_parent()?;
        let Read { config, table } = self.read()?;
        let again = self.clone();
        let ready_file = config.admin.ready_file.clone();
        let ready_error = |path: &PathBuf| {
            let path = path.clone();
            |source| ServeError::ReadyFile { path, source }
        };
        if let Some(path) = &ready_file {
            ReadyFile::clear(path).map_err(ready_error(path))?;
        }
        let reload = Some((Arc::new(move || again.read()) as Reader, table));
        let mut router = Running::start(config, Logs::start, reload)?;
        let ready = &router.ready;
        writeln!(out, "{ready}")
            .and_then(|()| out.flush())
            .map_err(|source| ServeError::Announce { source })?;
        let _ready_file = ready_file
            .map(|path| ReadyFile::write(&path, ready).map_err(ready_error(&path)))
            .transpose()?;
        tracing::info!(shards = router.config.node.shards, cpus = ?router.config.node.cpus, "{ready}");
        router.until_asked_to_stop();
        router.stop()?;
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
    fn read(&self) -> Result<Read, LoadConfigError> {
        let read = self.config.as_deref().map(File::read_with_table);
        let (mut file, table) = read.transpose()?.unwrap_or_default();
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
        overwrite(&mut file.node.data_dir, &self.data_dir);
        overwrite(&mut file.peer.cluster, &self.cluster);
        overwrite(&mut file.peer.listen, &self.peer_listen);
        overwrite(&mut file.peer.advertise, &self.peer_advertise);
        overwrite(&mut file.peer.identity, &self.peer_identity);
        overwrite(&mut file.peer.allow_clusters, &self.peer_clusters);
        overwrite(&mut file.peer.join, &self.join);
        overwrite(&mut file.peer.join_file, &self.join_file);
        overwrite(&mut file.peer.record, &self.record);
        overwrite(&mut file.admin.listen, admin);
        overwrite(&mut file.admin.ready_file, ready_file);
        overwrite(&mut file.node.shards, shards);
        overwrite(&mut file.node.cpus, cpus);
        overwrite(&mut file.node.spin_us, spin_us);
        overwrite(&mut file.log.filter, log);
        file.listen.allow_remote |= self.allow_remote;
        file.log.json |= self.log_json;
        Ok(Read { config: Config::try_from(file)?, table })
    }
}

fn overwrite<T: Clone>(value: &mut T, flag: &Option<T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}
