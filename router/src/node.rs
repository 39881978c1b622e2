//! Start and stop: cores, rings, listeners, mesh, in that order, and back.
//!
//! ```text
//!   start --> identity --> listeners bound --> control core --> shards, each with its ring --> serving
//!   drain --> control core tells shards --> goodbyes, queues sent, sockets closed --> shards end
//! ```
//!
//! A shard that fails takes the node with it: with part of the topics unserved, going on would lose
//! messages in silence. Executors are not torn down but at exit.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use crossbeam::channel::{Receiver, Sender, bounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use mpreg_fabric::rng::Rng;
use mpreg_fabric::session::Timing;
use mpreg_fabric::shard::{Settings, Shard as Machine};
use mpreg_proto::hop::Here;
use mpreg_proto::id::{Incarnation, NodeId, ShardIx};
use mpreg_proto::limits::SHARDS_MAX;
use mpreg_proto::nats::Bounds;

use crate::auth::{self, Accounts, Answer};
use crate::clock::Clock;
use crate::config::routes::Pins;
use crate::config::{self, ClientCertificates, Config, Listen};
use crate::control::network::Network;
use crate::control::{self, Desk, Inbox, Request, Watch};
use crate::drive::drive;
use crate::identity::{Identity, IdentityError};
use crate::limits::{EXECUTOR_IO_BYTES, PREEMPT_TIMER};
use crate::listen::{self, Door, ListenError};
use crate::mesh::{self, Bell, Command, Mesh};
use crate::nats;
use crate::peer::roster::Roster;
use crate::peer::route_keys::{KeyFiles, KeySource, RouteKeys};
use crate::probe::{ControlProbe, ShardProbe};
use crate::ring::Ring;
use crate::shard::{Listener, Shard};
use crate::store::Store;
use crate::switch::{Clustered, Connections, Means, Switch};
use crate::transport::tls::{LoadTlsError, TlsFiles, TlsSettings};

mod network;

use network::Around;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The machine refused a ring or a descriptor: `mpreg doctor` says which and what to change.
    #[error("shard {shard}: {source} (mpreg doctor says what to change)")]
    Shard { shard: usize, source: io::Error },
    #[error("executor on cpu {cpu}: {reason} (mpreg doctor says what to change)")]
    Executor { cpu: usize, reason: String },
    #[error("no descriptor for the control core: {0}")]
    Control(io::Error),
    /// Most often: the file is there already.
    #[error("recording to {} (peer.record): {source}", path.display())]
    Record { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] LoadTlsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("starting the thread that verifies clients: {0}")]
    Desk(io::Error),
    #[error("nothing to listen on: set an address of [listen]")]
    NoListener,
}

/// What routes are signed and believed by, and where that comes from.
#[derive(Clone)]
pub struct Keys {
    pub provider: Arc<dyn KeySource>,
    /// What it said last.
    pub held: RouteKeys,
    pub pins: Pins,
}

/// Where the node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    pub native: Option<SocketAddr>,
    pub unix: Option<PathBuf>,
    pub nats: Option<SocketAddr>,
    pub nats_tls: Option<SocketAddr>,
    pub websocket: Option<SocketAddr>,
    pub websocket_tls: Option<SocketAddr>,
    /// Where other nodes do.
    pub peer: Option<SocketAddr>,
}

/// A running node.
pub struct Node {
    id: NodeId,
    bound: Bound,
    cpus: Cpus,
    desk: Desk,
    nats: Nats,
    shards: Vec<ExecutorJoinHandle<io::Result<()>>>,
    control: ExecutorJoinHandle<io::Result<()>>,
    probes: Vec<Arc<ShardProbe>>,
    control_probe: Arc<ControlProbe>,
    roster: Roster,
    keys: Keys,
    /// Of a node that is alone: the data directory is this process's for as long.
    _store: Option<Store>,
}

/// What verifies NATS clients, kept for other accounts.
struct Nats {
    bells: Arc<[Bell]>,
    clock: Clock,
    /// `None` until the first accounts in which somebody has to be verified.
    desk: Option<Arc<auth::Desk>>,
}

/// Which core does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    pub control: usize,
    pub shards: Vec<usize>,
}

impl Cpus {
    fn of(node: &config::Node) -> Self {
        let available = match &node.cpus[..] {
            [] => core_affinity::get_core_ids().unwrap_or_default().iter().map(|c| c.id).collect(),
            chosen => chosen.to_vec(),
        };
        Self::assign(&available, node.shards)
    }

    /// The control core gets the first, shards the following; with too few they share. `shards`
    /// is one less than there are cores if not given, and at least one.
    pub fn assign(available: &[usize], shards: Option<usize>) -> Self {
        let available = if available.is_empty() { &[0] } else { available };
        let count = shards.unwrap_or(available.len() - 1).clamp(1, SHARDS_MAX);
        let shards = (0..count).map(|shard| available[(shard + 1) % available.len()]).collect();
        Self { control: available[0], shards }
    }
}

impl Node {
    /// With keys of routes from the files of the node's credentials.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let files = config.peer.as_ref().map(|peer| peer.identity.clone()).unwrap_or_default();
        Self::start_with(config, Arc::new(KeyFiles(files)))
    }

    /// With keys of routes from wherever they are kept.
    pub fn start_with(config: &Config, provider: Arc<dyn KeySource>) -> Result<Self, StartError> {
        let cpus = Cpus::of(&config.node);
        let count = cpus.shards.len();
        let identity = Identity::settle(config, &*provider)?;
        let keys = Keys { provider, held: identity.route_keys.clone(), pins: config.pins.clone() };
        let (id, incarnation) = (identity.node, identity.incarnation);
        let (mut bound, listeners) = open_listeners(config, count)?;
        let bells: Result<Vec<Bell>, _> = (0..count).map(|_| Bell::new()).collect();
        let bells: Arc<[Bell]> = bells.map_err(StartError::Control)?.into();
        let (desk, inbox) = control::inbox().map_err(StartError::Control)?;
        let probes: Vec<Arc<ShardProbe>> = (0..count).map(|_| Arc::default()).collect();
        let control_probe = Arc::new(ControlProbe::default());
        let clock = Clock::start();
        // The only chance the node takes from outside; everything random follows from it.
        let seed = RandomState::new().hash_one(std::process::id());
        let mut rng = Rng::from_seed(seed);
        let topic_seed = rng.draw();
        tracing::debug!(seed, node = %id, %incarnation, "seeds drawn");
        let watch = Watch {
            clock,
            bells: bells.clone(),
            shards: probes.clone(),
            probe: control_probe.clone(),
        };
        let roster = Roster::default();
        let around = Around { inbox: &inbox, desk: &desk, watch: &watch, roster: &roster };
        let (network, store) = network::open(config, identity, rng.draw(), &around)?;
        let (network, reached) = network.unzip();
        bound.peer = reached;
        let control = start_control(cpus.control, inbox, watch, network)?;
        let mut verifier = Nats { bells: bells.clone(), clock, desk: None };
        let desk_of_clients = verifier.desk_for(&config.auth).map_err(StartError::Desk)?;
        let nats = Arc::new(nats_server(config, id, &mut rng, desk_of_clients)?);
        let connections = Arc::new(Connections::new(config.limits.connections_max));
        let (started, outcomes) = bounded(count);
        let meshes = mesh::join(&bells).into_iter();
        let plans = meshes.zip(listeners).enumerate().map(|(index, (mesh, listeners))| ShardPlan {
            index,
            settings: settings(config, id, index, count, topic_seed, rng.draw()),
            mesh,
            listeners,
            connections: connections.clone(),
            nats: nats.clone(),
            means: means(config, count),
            spin: config.node.spin,
            clock,
            probe: probes[index].clone(),
            clustered: clustered(config, &desk, index, (id, incarnation)),
            started: started.clone(),
        });
        let shards = cpus.shards.iter().zip(plans).map(|(&cpu, plan)| plan.start(cpu));
        let shards = shards.collect::<Result<_, _>>()?;
        drop(started);
        await_shards(&outcomes, count)?;
        Ok(Self {
            id,
            bound,
            cpus,
            desk,
            nats: verifier,
            shards,
            control,
            probes,
            control_probe,
            roster,
            keys,
            _store: store,
        })
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    pub fn cpus(&self) -> &Cpus {
        &self.cpus
    }

    /// Where shards are asked who is connected.
    pub fn bells(&self) -> &Arc<[Bell]> {
        &self.nats.bells
    }

    pub fn probes(&self) -> &[Arc<ShardProbe>] {
        &self.probes
    }

    /// Where the control core is asked.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What routes are signed and believed by, as of the start.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who is linked.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    pub fn control(&self) -> &Arc<ControlProbe> {
        &self.control_probe
    }

    /// Takes nobody in any more and tells NATS clients to go elsewhere.
    pub fn lame_duck(&self) {
        self.desk.ask(Request::LameDuck);
    }

    /// Lets clients in by `accounts` from here on. NATS clients whom they would not let in are told
    /// so and closed, and subscriptions that they do not allow end.
    pub fn reload(&mut self, accounts: &Arc<Accounts>) -> io::Result<()> {
        let desk = self.nats.desk_for(accounts)?;
        // First, so that no shard hears of a user whom it does not know.
        for bell in self.nats.bells.iter() {
            let (accounts, desk) = (accounts.clone(), desk.clone());
            bell.command(Command::Reload { accounts, desk });
        }
        if let Some(desk) = &self.nats.desk {
            desk.replace(accounts.clone());
        }
        Ok(())
    }

    /// Begins an orderly stop: clients are told, queues are sent, sockets closed.
    pub fn drain(&self) {
        self.desk.ask(Request::Stop);
    }

    /// Waits for the end; the first failure of a shard, if one failed.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for handle in self.shards {
            let ended = handle.join().unwrap_or_else(|error| {
                Err(io::Error::other(format!("shard ended abnormally: {error}")))
            });
            result = result.and(ended);
        }
        self.desk.ask(Request::End);
        let control = self.control.join().unwrap_or_else(|error| {
            Err(io::Error::other(format!("control core ended abnormally: {error}")))
        });
        result.and(control)
    }
}

impl Nats {
    /// The desk, if `accounts` need one. It is opened with the first that do, and stays.
    fn desk_for(&mut self, accounts: &Arc<Accounts>) -> io::Result<Option<Arc<auth::Desk>>> {
        if accounts.everybody().is_some() {
            return Ok(None);
        }
        if self.desk.is_none() {
            let bells = self.bells.clone();
            let answer = move |answer: Answer| {
                bells[answer.shard.index()].command(Command::Verified(answer));
            };
            let desk = auth::Desk::open(accounts.clone(), self.clock, answer)?;
            self.desk = Some(Arc::new(desk));
        }
        Ok(self.desk.clone())
    }
}

fn start_control(
    cpu: usize,
    inbox: Inbox,
    watch: Watch,
    network: Option<Network>,
) -> Result<ExecutorJoinHandle<io::Result<()>>, StartError> {
    executor("mpreg-control", cpu)
        .spawn(move || async move { run_control(inbox, watch, network) })
        .map_err(|error| executor_error(cpu, &error))
}

/// Never yields: it waits in `epoll`, and nothing else is to run on its executor.
fn run_control(inbox: Inbox, watch: Watch, network: Option<Network>) -> io::Result<()> {
    let ended = control::run(inbox, watch, network);
    if let Err(error) = &ended {
        tracing::error!(%error, "the control core failed; the node ends");
        std::process::exit(EXIT_CORE_FAILED);
    }
    ended
}

/// All a shard needs, on its way to its core.
struct ShardPlan {
    index: usize,
    settings: Settings,
    mesh: Mesh,
    listeners: Vec<Listener>,
    connections: Arc<Connections>,
    nats: Arc<nats::Server>,
    means: Means,
    spin: Duration,
    clock: Clock,
    probe: Arc<ShardProbe>,
    /// Of a node that is in a cluster.
    clustered: Option<Clustered>,
    started: Sender<(usize, io::Result<()>)>,
}

impl ShardPlan {
    fn start(self, cpu: usize) -> Result<ExecutorJoinHandle<io::Result<()>>, StartError> {
        executor(&format!("mpreg-shard-{}", self.index), cpu)
            .spawn(move || self.run())
            .map_err(|error| executor_error(cpu, &error))
    }

    async fn run(self) -> io::Result<()> {
        let (index, started, spin, probe) =
            (self.index, self.started.clone(), self.spin, self.probe.clone());
        let shard = match self.build() {
            Ok(shard) => shard,
            Err(error) => {
                report(&started, index, Err(error));
                return Ok(());
            }
        };
        report(&started, index, Ok(()));
        drop(started);
        let ended = drive(shard, spin, &probe).await;
        if let Err(error) = &ended {
            tracing::error!(shard = index, %error, "shard failed; the node ends");
            std::process::exit(EXIT_CORE_FAILED);
        }
        ended
    }

    fn build(self) -> io::Result<Shard> {
        let ring = Ring::new()?;
        let machine = Machine::new(self.settings);
        let mut switch = Switch::new(
            machine,
            self.mesh,
            self.connections,
            self.nats,
            self.means,
            self.probe.clone(),
        );
        if let Some(clustered) = self.clustered {
            switch.join(clustered);
        }
        Shard::new(ring, switch, self.listeners, self.clock, self.probe)
    }
}

/// Exit code when a core fails while the node runs (`EX_SOFTWARE`).
pub const EXIT_CORE_FAILED: i32 = 70;

fn report(started: &Sender<(usize, io::Result<()>)>, index: usize, result: io::Result<()>) {
    if started.send((index, result)).is_err() {
        tracing::debug!(shard = index, "nobody waits for the start");
    }
}

fn await_shards(
    outcomes: &Receiver<(usize, io::Result<()>)>,
    count: usize,
) -> Result<(), StartError> {
    for _ in 0..count {
        match outcomes.recv() {
            Ok((_, Ok(()))) => (),
            Ok((shard, Err(source))) => return Err(StartError::Shard { shard, source }),
            Err(_) => return Err(StartError::Control(io::ErrorKind::BrokenPipe.into())),
        }
    }
    Ok(())
}

fn open_listeners(
    config: &Config,
    count: usize,
) -> Result<(Bound, Vec<Vec<Listener>>), StartError> {
    let mut bound = Bound::default();
    let mut listeners: Vec<Vec<Listener>> = (0..count).map(|_| Vec::new()).collect();
    let Listen { tcp, nats, nats_tls, websocket, websocket_tls, .. } = config.listen;
    let congestion = config.listen.congestion.as_deref();
    for (address, door, bound) in [
        (tcp, Door::Native, &mut bound.native),
        (nats, Door::Nats, &mut bound.nats),
        (nats_tls, Door::NatsTls, &mut bound.nats_tls),
        (websocket, Door::WebSocket, &mut bound.websocket),
        (websocket_tls, Door::WebSocketTls, &mut bound.websocket_tls),
    ] {
        let Some(address) = address else { continue };
        let (local, sockets) = listen::tcp(address, congestion, count)?;
        *bound = Some(local);
        for (shard, socket) in listeners.iter_mut().zip(sockets) {
            shard.push(Listener::new(Arc::new(socket), door, true));
        }
    }
    if let Some(path) = &config.listen.unix {
        let socket = Arc::new(listen::unix(path)?);
        bound.unix = Some(path.clone());
        listeners
            .iter_mut()
            .for_each(|shard| shard.push(Listener::new(socket.clone(), Door::Native, false)));
    }
    if bound == Bound::default() {
        return Err(StartError::NoListener);
    }
    Ok((bound, listeners))
}

/// Letters and digits of base 32 (RFC 4648), of which the ids of NATS servers are made.
const BASE_32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What NATS clients are to know of the node.
fn nats_server(
    config: &Config,
    node: NodeId,
    rng: &mut Rng,
    desk: Option<Arc<auth::Desk>>,
) -> Result<nats::Server, StartError> {
    let letter = |_| char::from(BASE_32[rng.below(32) as usize]);
    let id = std::iter::once('N').chain((0..55).map(letter)).collect();
    let limits = &config.nats;
    let tls = config.tls.as_ref().map(|tls| {
        let is_required = tls.client_certificates == ClientCertificates::Required;
        TlsSettings::load(&TlsFiles {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_ca.clone().filter(|_| is_required),
        })
    });
    Ok(nats::Server {
        id,
        name: limits.server_name.clone().unwrap_or_else(|| node.to_string()),
        bounds: Bounds {
            control_line_bytes: limits.control_line_bytes_max,
            payload_bytes: limits.payload_bytes_max,
        },
        speaks_headers: limits.headers,
        connect_urls: limits.advertise.clone(),
        queue_bytes: u32::try_from(config.limits.queue_bytes_max).unwrap_or(u32::MAX),
        subscriptions_max: limits.subscriptions_max,
        auth_timeout: limits.auth_timeout,
        tls: tls.transpose()?,
        is_handshake_first: config.tls.as_ref().is_some_and(|tls| tls.handshake_first),
        handshake_wait: config.tls.as_ref().and_then(|tls| tls.handshake_wait),
        is_tls_optional: config.tls.as_ref().is_some_and(|tls| tls.is_optional),
        websocket: Arc::new(config.listen.websocket_from.clone()),
        ..nats::Server::default()
    }
    .with_accounts(config.auth.clone(), desk))
}

/// `None`: there are no other nodes.
fn clustered(
    config: &Config,
    desk: &Desk,
    index: usize,
    (node, incarnation): (NodeId, Incarnation),
) -> Option<Clustered> {
    let peer = config.peer.as_ref()?;
    let (reporter, hop_budget) = (desk.reporters.of(shard_ix(index)), peer.hop_budget);
    let here = Here { node, cluster: peer.cluster.id() };
    Some(Clustered { here, reporter, incarnation, hop_budget })
}

fn means(config: &Config, shards_count: usize) -> Means {
    Means {
        queue_bytes: config.limits.queue_bytes,
        memory_bytes: config.limits.memory_bytes / shards_count,
        drain: config.limits.drain,
    }
}

fn settings(
    config: &Config,
    node: NodeId,
    index: usize,
    shards_count: usize,
    topic_seed: u64,
    seed: u64,
) -> Settings {
    let limits = &config.limits;
    let cut = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Settings {
        node,
        me: shard_ix(index),
        shards_count,
        topic_seed,
        seed,
        timing: Timing::new(limits.handshake, limits.ping_interval),
        nats_timing: Timing {
            handshake: match config.auth.everybody() {
                Some(_) => limits.handshake,
                None => config.nats.auth_timeout,
            },
            ping_interval: config.nats.ping_interval,
            pings_unanswered_max: u8::try_from(config.nats.pings_out_max).unwrap_or(u8::MAX),
        },
        queue_bytes: cut(limits.queue_bytes),
        queue_bytes_max: cut(limits.queue_bytes_max),
        subscriptions_max: cut(limits.subscriptions_max),
        subscriptions_total_max: cut(limits.subscriptions_total_max / shards_count),
    }
}

fn shard_ix(index: usize) -> ShardIx {
    ShardIx::new(index).expect("shards are at most SHARDS_MAX")
}

fn executor(name: &str, cpu: usize) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(EXECUTOR_IO_BYTES)
}

fn executor_error(cpu: usize, error: &dyn std::fmt::Display) -> StartError {
    StartError::Executor { cpu, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_when_there_are_too_few() {
        let check = |available: &[usize], shards, control, want: &[usize]| {
            let cpus = Cpus::assign(available, shards);
            assert_eq!((cpus.control, &cpus.shards[..]), (control, want), "{available:?}");
        };
        check(&[0, 1, 2, 3], None, 0, &[1, 2, 3]);
        check(&[0, 1], None, 0, &[1]);
        check(&[0, 1], Some(2), 0, &[1, 0]);
        check(&[5], None, 5, &[5]);
        check(&[5], Some(3), 5, &[5, 5, 5]);
        check(&[], None, 0, &[0]);
        check(&[2, 3, 4], Some(1), 2, &[3]);
    }
}
