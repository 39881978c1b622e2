//! From what was written to what is allowed: every bound, every refusal.

use core::net::SocketAddr;
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpreg_fabric::limits::SEEDS_MAX;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::limits::{HOP_PATH_MAX, PAYLOAD_BYTES_MAX, SHARDS_MAX};
use mpreg_proto::member::PeerAddress;

use super::auth::BadAuth;
use super::link_state::BadLinkState;
use super::routes::{self, BadPolicy};
use super::{
    Admin, ClientCertificates, Clusters, Config, Limits, Listen, Log, Nats, Node, Peer, Tls, file,
};
use crate::dns::ServiceName;
use crate::log;
use crate::transport::upgrade::Origin;
use crate::transport::websocket::WebSocketSettings;

/// Linux's `CPU_SETSIZE`: larger numbers cannot be asked for.
const CPU_MAX: u64 = 1023;

/// `sun_path` is 108 bytes with its terminator.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Linux's `TCP_CA_NAME_MAX`, without the terminator.
const CONGESTION_BYTES_MAX: usize = 15;

/// Smaller outbound queues would drop messages on every scheduling hiccup.
const QUEUE_BYTES_MIN: u64 = 64 << 10;

/// Longer command lines have no use: a subject, a reply subject and a queue name fit.
const CONTROL_LINE_BYTES_MAX: u64 = 4096;

const PEER_ADDRESS_MUST: &str = "HOST:PORT, with a port of 1 to 65535";

const SERVICE_MUST: &str = "a service such as srv:_mpreg._tcp.example.org";

const CLUSTER_NAME_MUST: &str = "1 to 63 characters of a-z, 0-9 and -";

const SERVER_NAME_BYTES_MAX: usize = 256;

/// INFO is one line that every client keeps.
const ADVERTISED_MAX: usize = 64;

/// A DNS name, a colon, a port.
const ADVERTISED_BYTES_MAX: usize = 253 + 1 + 5;

/// Why a value is not allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A number outside its range.
    #[error("{key} is {value}, must be within {min}..={max}")]
    OutOfBounds { key: &'static str, value: u64, min: u64, max: u64 },
    /// A text that does not mean anything there.
    #[error("{key} is {value:?}, must be {must}")]
    Meaningless { key: &'static str, value: String, must: &'static str },
    /// Anybody who reaches the port may publish and subscribe; that has to be asked for.
    #[error(
        "{key} is {address}, which other machines can reach; \
         say --allow-remote (listen.allow_remote = true) if that is meant"
    )]
    Remote { key: &'static str, address: SocketAddr },
    /// The admin surface asks nobody who they are.
    #[error("admin.listen is {address}, must be a loopback address")]
    AdminRemote { address: SocketAddr },
    #[error("every address of [listen] is empty, nobody could connect")]
    Unreachable,
    /// Half of what TLS takes.
    #[error("{needs} is set, so {missing} must be")]
    Incomplete { needs: &'static str, missing: &'static str },
    /// Others cannot be told an address that is every address.
    #[error("peer.listen is set to every address, so peer.advertise must be")]
    NoAdvertise,
    /// Two that cannot both be meant.
    #[error("{one} and {other} exclude each other")]
    Exclusive { one: &'static str, other: &'static str },
    #[error("peer.join has {count} addresses, must be at most {SEEDS_MAX}")]
    Seeds { count: usize },
    #[error("nats.advertise has {count} addresses, must be at most {ADVERTISED_MAX}")]
    Advertised { count: usize },
    #[error(transparent)]
    Auth(#[from] BadAuth),
    #[error(transparent)]
    Policy(#[from] BadPolicy),
    #[error(transparent)]
    LinkState(#[from] BadLinkState),
    #[error("node.cpus names CPU {cpu} twice")]
    CpuTwice { cpu: u64 },
    #[error("log.filter: {why}")]
    LogFilter { why: log::BadFilter },
}

impl TryFrom<file::File> for Config {
    type Error = Refusal;

    fn try_from(file: file::File) -> Result<Self, Refusal> {
        let listen: Listen = file.listen.try_into()?;
        let limits: Limits = file.limits.try_into()?;
        let node: Node = file.node.try_into()?;
        Ok(Self {
            tls: tls(file.tls, &listen)?,
            nats: nats(file.nats, &limits)?,
            auth: Arc::new(file.auth.try_into()?),
            peer: peer(file.peer, node.data_dir.as_deref())?,
            pins: routes::pins(&file.routes.pins)?,
            routes: file.routes.try_into()?,
            catalog: file.catalog.try_into()?,
            link_state: file.link_state.try_into()?,
            node,
            listen,
            admin: file.admin.try_into()?,
            limits,
            log: file.log.try_into()?,
        })
    }
}

impl TryFrom<file::Node> for Node {
    type Error = Refusal;

    fn try_from(file: file::Node) -> Result<Self, Refusal> {
        let shards = within("node.shards", file.shards, 0, SHARDS_MAX as u64)?;
        let mut seen = BTreeSet::new();
        let mut cpus = Vec::with_capacity(file.cpus.len());
        for cpu in file.cpus {
            cpus.push(within("node.cpus", cpu, 0, CPU_MAX)?);
            if !seen.insert(cpu) {
                return Err(Refusal::CpuTwice { cpu });
            }
        }
        let spin_us = within("node.spin_us", file.spin_us, 0, 1_000)?;
        Ok(Self {
            shards: (shards != 0).then_some(shards),
            cpus,
            spin: Duration::from_micros(spin_us as u64),
            data_dir: path(file.data_dir),
        })
    }
}

impl TryFrom<file::Listen> for Listen {
    type Error = Refusal;

    fn try_from(file: file::Listen) -> Result<Self, Refusal> {
        let remote = file.allow_remote;
        let listen = Self {
            tcp: reachable("listen.tcp", file.tcp, remote)?,
            unix: unix_path(file.unix)?,
            nats: reachable("listen.nats", file.nats, remote)?,
            nats_tls: reachable("listen.nats_tls", file.nats_tls, remote)?,
            websocket: reachable("listen.websocket", file.websocket, remote)?,
            websocket_tls: reachable("listen.websocket_tls", file.websocket_tls, remote)?,
            websocket_from: WebSocketSettings {
                is_same_origin: file.websocket_same_origin,
                allowed_origins: origins(file.websocket_origins)?,
            },
            allow_remote: remote,
            congestion: congestion(file.tcp_congestion)?,
        };
        let Self { tcp, nats, nats_tls, websocket, websocket_tls, .. } = listen;
        let is_tcp = [tcp, nats, nats_tls, websocket, websocket_tls].iter().any(Option::is_some);
        if is_tcp || listen.unix.is_some() { Ok(listen) } else { Err(Refusal::Unreachable) }
    }
}

fn origins(written: Vec<String>) -> Result<Vec<Origin>, Refusal> {
    let origin = |value: String| {
        let (key, must) = ("listen.websocket_origins", "http://HOST[:PORT] or https://HOST[:PORT]");
        Origin::parse(&value).ok_or(Refusal::Meaningless { key, value, must })
    };
    written.into_iter().map(origin).collect()
}

fn tls(file: file::Tls, listen: &Listen) -> Result<Option<Tls>, Refusal> {
    let client_certificates = match file.client_certificates.as_str() {
        "none" => ClientCertificates::None,
        "required" => ClientCertificates::Required,
        _ => {
            return Err(Refusal::Meaningless {
                key: "tls.client_certificates",
                value: file.client_certificates,
                must: "none or required",
            });
        }
    };
    let client_ca = path(file.client_ca);
    if client_certificates == ClientCertificates::Required && client_ca.is_none() {
        let needs = "tls.client_certificates";
        return Err(Refusal::Incomplete { needs, missing: "tls.client_ca" });
    }
    let wait_ms = within("tls.handshake_wait_ms", file.handshake_wait_ms, 0, 10_000)? as u64;
    let handshake_first = file.handshake_first;
    let handshake_wait = (wait_ms != 0).then(|| Duration::from_millis(wait_ms));
    let is_optional = file.optional;
    if let Some(other) = [
        ("tls.handshake_first", handshake_first),
        ("tls.client_certificates", client_certificates == ClientCertificates::Required),
    ]
    .into_iter()
    .find_map(|(key, is_set)| is_set.then_some(key).filter(|_| is_optional))
    {
        return Err(Refusal::Exclusive { one: "tls.optional", other });
    }
    match (path(file.certificate), path(file.key)) {
        (Some(certificate), Some(key)) => Ok(Some(Tls {
            certificate,
            key,
            client_ca,
            client_certificates,
            handshake_first,
            handshake_wait,
            is_optional,
        })),
        (Some(_), None) => {
            Err(Refusal::Incomplete { needs: "tls.certificate", missing: "tls.key" })
        }
        (None, Some(_)) => {
            Err(Refusal::Incomplete { needs: "tls.key", missing: "tls.certificate" })
        }
        (None, None) => {
            let listeners = [
                ("listen.nats_tls", listen.nats_tls),
                ("listen.websocket_tls", listen.websocket_tls),
            ];
            match listeners.into_iter().find(|(_, address)| address.is_some()) {
                Some((needs, _)) => Err(Refusal::Incomplete { needs, missing: "tls.certificate" }),
                None => Ok(None),
            }
        }
    }
}

fn nats(file: file::Nats, limits: &Limits) -> Result<Nats, Refusal> {
    let payload_bytes_max =
        within("nats.payload_bytes_max", file.payload_bytes_max, 1, PAYLOAD_BYTES_MAX as u64)?;
    let control_line_bytes_max = within(
        "nats.control_line_bytes_max",
        file.control_line_bytes_max,
        64,
        CONTROL_LINE_BYTES_MAX,
    )?;
    let ping_interval_ms = within("nats.ping_interval_ms", file.ping_interval_ms, 10, 3_600_000)?;
    let pings_out_max = within("nats.pings_out_max", file.pings_out_max, 1, 1_000)?;
    let auth_timeout_ms = within("nats.auth_timeout_ms", file.auth_timeout_ms, 1, 60_000)?;
    let subscriptions_max = within(
        "nats.subscriptions_max",
        file.subscriptions_max,
        0,
        limits.subscriptions_max as u64,
    )?;
    let lame_duck_ms = within("nats.lame_duck_ms", file.lame_duck_ms, 0, 3_600_000)?;
    Ok(Nats {
        server_name: server_name(file.server_name)?,
        payload_bytes_max,
        control_line_bytes_max,
        ping_interval: Duration::from_millis(ping_interval_ms as u64),
        pings_out_max: pings_out_max as u32,
        auth_timeout: Duration::from_millis(auth_timeout_ms as u64),
        subscriptions_max: match subscriptions_max {
            0 => limits.subscriptions_max,
            set => set,
        },
        advertise: advertised(file.advertise)?,
        lame_duck: Duration::from_millis(lame_duck_ms as u64),
        headers: file.headers,
    })
}

/// TLS is always spoken and both sides always show a certificate, so any address will do.
fn peer(file: file::Peer, data_dir: Option<&Path>) -> Result<Option<Peer>, Refusal> {
    let listen = address("peer.listen", file.listen)?;
    let ping_interval_ms = within("peer.ping_interval_ms", file.ping_interval_ms, 50, 60_000)?;
    let lease_ms = within("peer.lease_ms", file.lease_ms, 1000, 600_000)?;
    let hop_budget = within("peer.hop_budget", file.hop_budget, 1, HOP_PATH_MAX as u64 - 1)?;
    let fabric = parsed("peer.fabric", file.fabric, CLUSTER_NAME_MUST)?;
    let fabric = ClusterName::fabric(&fabric);
    let allow_clusters = clusters(file.allow_clusters)?;
    let (join, join_services) = seeds(file.join)?;
    let dns_server = address("peer.dns_server", file.dns_server)?;
    let join_file = path(file.join_file);
    let record = path(file.record);
    let advertise = Some(file.advertise).filter(|text| !text.is_empty());
    let advertise = advertise.map(|text| parsed("peer.advertise", text, PEER_ADDRESS_MUST));
    let advertise = advertise.transpose()?;
    let needs = [
        ("peer.listen", listen.is_some()),
        ("peer.join", !join.is_empty() || !join_services.is_empty()),
        ("peer.join_file", join_file.is_some()),
        ("peer.record", record.is_some()),
    ];
    if file.cluster.is_empty() {
        return match needs.into_iter().find(|(_, is_set)| *is_set) {
            Some((needs, _)) => Err(Refusal::Incomplete { needs, missing: "peer.cluster" }),
            None => Ok(None),
        };
    }
    let incomplete = |missing| Refusal::Incomplete { needs: "peer.cluster", missing };
    let listen = listen.ok_or(incomplete("peer.listen"))?;
    let of_its_own = path(file.identity);
    // Nobody but this machine's processes can reach it, and this user's only can have the key.
    let may_be_signed_for = of_its_own.is_none() && listen.ip().is_loopback();
    let laboratory = path(file.laboratory).or_else(state_directory).filter(|_| may_be_signed_for);
    let identity = of_its_own.or_else(|| data_dir.map(Path::to_owned));
    if listen.ip().is_unspecified() && advertise.is_none() {
        return Err(Refusal::NoAdvertise);
    }
    Ok(Some(Peer {
        cluster: parsed("peer.cluster", file.cluster, CLUSTER_NAME_MUST)?,
        listen,
        advertise,
        identity: identity.ok_or(incomplete("peer.identity"))?,
        laboratory,
        fabric,
        allow_clusters,
        join,
        join_services,
        dns_server,
        join_file,
        record,
        ping_interval: Duration::from_millis(ping_interval_ms as u64),
        lease: Duration::from_millis(lease_ms as u64),
        hop_budget: u8::try_from(hop_budget).expect("it was just bounded"),
    }))
}

fn clusters(names: Vec<String>) -> Result<Clusters, Refusal> {
    if names == ["*"] {
        return Ok(Clusters::Any);
    }
    let parse = |name| parsed("peer.allow_clusters", name, CLUSTER_NAME_MUST);
    Ok(Clusters::Named(names.into_iter().map(parse).collect::<Result<_, _>>()?))
}

/// Where programs of this user keep what is not configuration.
fn state_directory() -> Option<PathBuf> {
    let of_user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(of_user)?;
    Some(state.join("mpreg/laboratory"))
}

fn seeds(written: Vec<String>) -> Result<(Vec<PeerAddress>, Vec<ServiceName>), Refusal> {
    let count = written.len();
    if SEEDS_MAX < count {
        return Err(Refusal::Seeds { count });
    }
    let (mut addresses, mut services) = (Vec::new(), Vec::new());
    for seed in written {
        match seed.strip_prefix("srv:") {
            Some(name) => services.push(parsed("peer.join", name.to_owned(), SERVICE_MUST)?),
            None => addresses.push(parsed("peer.join", seed, PEER_ADDRESS_MUST)?),
        }
    }
    Ok((addresses, services))
}

fn parsed<T: FromStr>(key: &'static str, value: String, must: &'static str) -> Result<T, Refusal> {
    value.parse().map_err(|_| Refusal::Meaningless { key, value, must })
}

/// nats-server takes no spaces either.
fn server_name(value: String) -> Result<Option<String>, Refusal> {
    let is_word = value.bytes().all(|byte| byte.is_ascii_graphic());
    match value.len() {
        0 => Ok(None),
        1..=SERVER_NAME_BYTES_MAX if is_word => Ok(Some(value)),
        _ => Err(Refusal::Meaningless {
            key: "nats.server_name",
            value,
            must: "printable ASCII without spaces, at most 256 bytes",
        }),
    }
}

fn advertised(urls: Vec<String>) -> Result<Vec<String>, Refusal> {
    let count = urls.len();
    if ADVERTISED_MAX < count {
        return Err(Refusal::Advertised { count });
    }
    let is_reachable = |url: &str| {
        url.len() <= ADVERTISED_BYTES_MAX
            && url.rsplit_once(':').is_some_and(|(host, port)| {
                let is_word =
                    host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b));
                !host.is_empty() && is_word && port.parse::<u16>().is_ok_and(|port| port != 0)
            })
    };
    match urls.iter().find(|url| !is_reachable(url)) {
        None => Ok(urls),
        Some(url) => Err(Refusal::Meaningless {
            key: "nats.advertise",
            value: url.clone(),
            must: "a list of HOST:PORT",
        }),
    }
}

impl TryFrom<file::Admin> for Admin {
    type Error = Refusal;

    fn try_from(file: file::Admin) -> Result<Self, Refusal> {
        let listen = address("admin.listen", file.listen)?;
        if let Some(address) = listen.filter(|&address| !is_loopback(address)) {
            return Err(Refusal::AdminRemote { address });
        }
        Ok(Self { listen, ready_file: path(file.ready_file) })
    }
}

impl TryFrom<file::Limits> for Limits {
    type Error = Refusal;

    fn try_from(file: file::Limits) -> Result<Self, Refusal> {
        let connections_max = within("limits.connections_max", file.connections_max, 1, 1_000_000)?;
        let handshake_ms = within("limits.handshake_ms", file.handshake_ms, 10, 60_000)?;
        let ping_interval_ms =
            within("limits.ping_interval_ms", file.ping_interval_ms, 10, 600_000)?;
        let queue_bytes_max =
            within("limits.queue_bytes_max", file.queue_bytes_max, QUEUE_BYTES_MIN, 1 << 30)?;
        let queue_bytes =
            within("limits.queue_bytes", file.queue_bytes, QUEUE_BYTES_MIN, file.queue_bytes_max)?;
        let memory_bytes =
            within("limits.memory_bytes", file.memory_bytes, file.queue_bytes_max, 1 << 40)?;
        let subscriptions_total_max =
            within("limits.subscriptions_total_max", file.subscriptions_total_max, 1, 100_000_000)?;
        let subscriptions_max = within(
            "limits.subscriptions_max",
            file.subscriptions_max,
            1,
            file.subscriptions_total_max,
        )?;
        let drain_ms = within("limits.drain_ms", file.drain_ms, 0, 600_000)?;
        Ok(Self {
            connections_max,
            handshake: Duration::from_millis(handshake_ms as u64),
            ping_interval: Duration::from_millis(ping_interval_ms as u64),
            queue_bytes,
            queue_bytes_max,
            memory_bytes,
            subscriptions_max,
            subscriptions_total_max,
            drain: Duration::from_millis(drain_ms as u64),
        })
    }
}

impl TryFrom<file::Log> for Log {
    type Error = Refusal;

    fn try_from(file: file::Log) -> Result<Self, Refusal> {
        log::check(&file.filter).map_err(|why| Refusal::LogFilter { why })?;
        Ok(Self { filter: file.filter, json: file.json })
    }
}

/// Empty: none.
fn path(value: String) -> Option<PathBuf> {
    Some(value).filter(|path| !path.is_empty()).map(PathBuf::from)
}

const _: () = assert!(size_of::<usize>() == 8, "every bound of a file key fits a usize");

fn within(key: &'static str, value: u64, min: u64, max: u64) -> Result<usize, Refusal> {
    if (min..=max).contains(&value) {
        Ok(value as usize)
    } else {
        Err(Refusal::OutOfBounds { key, value, min, max })
    }
}

fn address(key: &'static str, value: String) -> Result<Option<SocketAddr>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(Refusal::Meaningless {
            key,
            value,
            must: "an IP address and a port such as 127.0.0.1:4280, or empty",
        }),
    }
}

/// An address for clients.
fn reachable(
    key: &'static str,
    value: String,
    allow_remote: bool,
) -> Result<Option<SocketAddr>, Refusal> {
    let address = address(key, value)?;
    match address {
        Some(address) if !is_loopback(address) && !allow_remote => {
            Err(Refusal::Remote { key, address })
        }
        Some(_) | None => Ok(address),
    }
}

/// An IPv6 socket accepts IPv4 too when its address is an IPv4 one in disguise.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn unix_path(value: String) -> Result<Option<PathBuf>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    // A URL can only name an absolute path.
    match std::path::absolute(&value) {
        Ok(path) if path.as_os_str().len() <= UNIX_PATH_BYTES_MAX => Ok(Some(path)),
        Ok(_) | Err(_) => Err(Refusal::Meaningless {
            key: "listen.unix",
            value,
            must: "a path of at most 107 bytes, made absolute",
        }),
    }
}

fn congestion(value: String) -> Result<Option<String>, Refusal> {
    let is_name = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match value.as_str() {
        "kernel" => Ok(None),
        "" => Err(meaningless_congestion(value)),
        name if is_name && name.len() <= CONGESTION_BYTES_MAX => Ok(Some(value)),
        _ => Err(meaningless_congestion(value)),
    }
}

fn meaningless_congestion(value: String) -> Refusal {
    Refusal::Meaningless {
        key: "listen.tcp_congestion",
        value,
        must: "a name the kernel knows, such as cubic, or kernel",
    }
}
