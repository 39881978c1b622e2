//! Opens what a node needs to meet others: its listener, its links, the machine that decides about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use mpreg_fabric::control::{Control, Hint, Settings};
use mpreg_fabric::plan::Federation;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::{catalog, route};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::member::PeerAddress;

use super::StartError;
use crate::config::routes::Pins;
use crate::config::{Clusters, Config, Peer, link_state};
use crate::control::network::{Disk, Network, Surroundings, wall_clock};
use crate::control::recorder::Recorder;
use crate::control::services::Services;
use crate::control::{self, Desk, Inbox, Watch};
use crate::identity::{Identity, IdentityError};
use crate::limits::STORE_CHANGES_MAX;
use crate::listen;
use crate::peer::roster::Roster;
use crate::peer::route_keys::RouteKeys;
use crate::peer::tls::Credentials;
use crate::peer::{self, Means, Peers, Timing};
use crate::probe::PeerProbe;
use crate::reload::provided;
use crate::store::writer::Writer;
use crate::store::{Record, Store};

/// What of the control core there is already.
pub(super) struct Around<'a> {
    pub(super) inbox: &'a Inbox,
    pub(super) desk: &'a Desk,
    pub(super) watch: &'a Watch,
    pub(super) roster: &'a Roster,
}

/// What of the configuration is not about who the node is.
struct Policy {
    routes: route::Policy,
    catalog: catalog::Filter,
    link_state: link_state::Checked,
    pins: Pins,
    handshake: Duration,
}

type Opened = (Option<(Network, SocketAddr)>, Option<Store>);

/// The network, and where it is reached. `None`: the configuration has none, and the store comes back.
/// `seed` gives its machine chance.
pub(super) fn open(
    config: &Config,
    identity: Identity,
    seed: u64,
    around: &Around<'_>,
) -> Result<Opened, StartError> {
    match (&config.peer, &identity.credentials) {
        (Some(peer), Some(credentials)) => {
            let credentials = credentials.clone();
            let policy = Policy {
                routes: config.routes.clone(),
                catalog: config.catalog.clone(),
                link_state: config.link_state.clone(),
                pins: config.pins.clone(),
                handshake: config.limits.handshake,
            };
            let opened = join(peer, policy, identity, credentials, (seed, around))?;
            Ok((Some(opened), None))
        }
        (Some(_), None) | (None, _) => Ok((None, identity.store)),
    }
}

fn join(
    config: &Peer,
    policy: Policy,
    identity: Identity,
    credentials: Credentials,
    (seed, around): (u64, &Around<'_>),
) -> Result<(Network, SocketAddr), StartError> {
    let Identity { incarnation, route_keys, store, is_of_laboratory, .. } = identity;
    let names_none = config.allow_clusters == Clusters::Named(Vec::new());
    let allowed = match is_of_laboratory && names_none {
        true => Clusters::Any,
        false => config.allow_clusters.clone(),
    };
    let (bound, sockets) = listen::tcp(config.listen, None, 1)?;
    let listener = sockets.into_iter().next().expect("one was asked for");
    let own = bound.to_string().parse().expect("a bound address is one");
    let address: PeerAddress = config.advertise.clone().unwrap_or(own);
    let port = address.as_str().rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.expect("an address ends in a port");
    let name = credentials.name();
    let mut settings = Settings::new(name.node, name.cluster.clone(), incarnation, address, seed);
    settings.federation = federation(&allowed);
    settings.route.wall = wall_clock(around.watch.clock.now());
    let probe: &PeerProbe = &around.watch.probe.peers;
    configure(&mut settings, config, &route_keys, (store.as_ref(), probe))?;
    (settings.route.policy, settings.filter) = (policy.routes, policy.catalog);
    settings.link_state.mode = policy.link_state.mode;
    settings.link_state.areas = policy.link_state.areas;
    let links = peer::Settings {
        credentials,
        incarnation,
        fabric: config.fabric,
        port,
        federation: settings.federation.clone(),
        timing: Timing::new(policy.handshake, config.ping_interval),
    };
    let means = Means {
        registry: around.inbox.registry().map_err(StartError::Control)?,
        tokens: control::LINKS,
        waker: around.desk.waker(),
        probe: Arc::clone(&around.watch.probe.peers),
        roster: around.roster.clone(),
    };
    let peers = Peers::new(links, listener, means).map_err(StartError::Control)?;
    let disk = store.map_or(Ok(Disk::None), |store| open_disk(store, around.desk));
    let (control, recorder) = machine(config, settings, &around.watch.probe.peers)?;
    let surroundings = Surroundings {
        disk: disk.map_err(StartError::Control)?,
        configured: config.join.clone(),
        seed_file: config.join_file.clone(),
        services: services(config, around.desk).map_err(StartError::Control)?,
        keys: provided(&route_keys, &policy.pins),
        bells: Arc::clone(&around.watch.bells),
        rng: Rng::from_seed(seed).stream(u64::MAX),
        recorder,
    };
    Ok((Network::new(control, peers, surroundings), bound))
}

/// The machine, recorded if the configuration has it so.
fn machine(
    config: &Peer,
    settings: Settings,
    probe: &Arc<PeerProbe>,
) -> Result<(Control, Option<Recorder>), StartError> {
    let Some(path) = &config.record else { return Ok((Control::new(settings), None)) };
    let (control, recorder) = Recorder::start(path, settings, Arc::clone(probe))
        .map_err(|source| StartError::Record { path: path.clone(), source })?;
    tracing::info!(path = %path.display(), "recording what the control core is told");
    Ok((control, Some(recorder)))
}

fn configure(
    settings: &mut Settings,
    config: &Peer,
    route_keys: &RouteKeys,
    (store, probe): (Option<&Store>, &PeerProbe),
) -> Result<(), IdentityError> {
    settings.seeds = config.join.clone();
    let lifetimes = &mut settings.gossip.lifetimes;
    // The dead are remembered until nobody holds a lease of theirs any more.
    lifetimes.keep = lifetimes.keep.max(4 * config.lease);
    lifetimes.lease = config.lease;
    settings.route.root = route_keys.root;
    settings.route.signer = route_keys.own.as_ref().map(|own| own.signer.clone());
    if let Some(store) = store {
        settings.route.stored = store.route_sequence()?;
        settings.route.keys = store.route_keys()?.into();
        settings.hints = Some(hints(store, probe));
    }
    Ok(())
}

/// Those that cannot be read are as good as none: others tell what they said.
fn hints(store: &Store, probe: &PeerProbe) -> Vec<Hint> {
    let kept = match store.get(Record::CatalogHints) {
        Ok(kept) => Hint::parse(&kept.unwrap_or_default()),
        Err(error) => {
            tracing::warn!(%error, "hints of other nodes");
            None
        }
    };
    kept.unwrap_or_else(|| {
        probe.hints_lost.add(1);
        tracing::warn!("what was known of other nodes is lost, and learnt anew");
        Vec::new()
    })
}

/// `None`: no names are configured.
fn services(config: &Peer, desk: &Desk) -> std::io::Result<Option<Services>> {
    let names = config.join_services.clone();
    let has_some = !names.is_empty();
    has_some.then(|| Services::start(names, config.dns_server, desk.waker())).transpose()
}

fn federation(allowed: &Clusters) -> Federation {
    match allowed {
        Clusters::Named(named) if named.is_empty() => Federation::Strict,
        Clusters::Named(named) => Federation::Bridged(named.iter().map(ClusterName::id).collect()),
        Clusters::Any => Federation::Permissive(Vec::new()),
    }
}

/// The thread that writes wakes the control core when something is written.
fn open_disk(store: Store, desk: &Desk) -> std::io::Result<Disk> {
    // Those that wait, those being written, and as many again that are not heard yet.
    let (told, outcomes) = bounded(3 * STORE_CHANGES_MAX);
    let waker = desk.waker();
    let writer = Writer::start(store, move |outcome| {
        if told.try_send(outcome).is_err() {
            tracing::error!("the control core does not hear what is kept");
        }
        if let Err(error) = waker.wake() {
            tracing::warn!(%error, "waking the control core");
        }
    })?;
    Ok(Disk::Kept { writer, outcomes })
}
