//! From what was written to what is allowed: every bound, every refusal.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::path::PathBuf;

use mpreg_proto::limits::SHARDS_MAX;

use super::{Admin, Config, Limits, Listen, Log, Node, file};
use crate::log;

/// Linux's `CPU_SETSIZE`: larger numbers cannot be asked for.
const CPU_MAX: u64 = 1023;

/// `sun_path` is 108 bytes with its terminator.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Linux's `TCP_CA_NAME_MAX`, without the terminator.
const CONGESTION_BYTES_MAX: usize = 15;

/// Smaller outbound queues would drop messages on every scheduling hiccup.
const QUEUE_BYTES_MIN: u64 = 64 << 10;

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
        "listen.tcp is {address}, which other machines can reach; \
         say --allow-remote (listen.allow_remote = true) if that is meant"
    )]
    Remote { address: SocketAddr },
    /// The admin surface asks nobody who they are.
    #[error("admin.listen is {address}, must be a loopback address")]
    AdminRemote { address: SocketAddr },
    #[error("listen.tcp and listen.unix are both empty, nobody could connect")]
    Unreachable,
    #[error("node.cpus names CPU {cpu} twice")]
    CpuTwice { cpu: u64 },
    #[error("log.filter: {why}")]
    LogFilter { why: log::BadFilter },
}

impl TryFrom<file::File> for Config {
    type Error = Refusal;

    fn try_from(file: file::File) -> Result<Self, Refusal> {
        Ok(Self {
            node: file.node.try_into()?,
            listen: file.listen.try_into()?,
            admin: file.admin.try_into()?,
            limits: file.limits.try_into()?,
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
        })
    }
}

impl TryFrom<file::Listen> for Listen {
    type Error = Refusal;

    fn try_from(file: file::Listen) -> Result<Self, Refusal> {
        let tcp = address("listen.tcp", file.tcp)?;
        let unix = unix_path(file.unix)?;
        if tcp.is_none() && unix.is_none() {
            return Err(Refusal::Unreachable);
        }
        match tcp {
            Some(address) if !is_loopback(address) && !file.allow_remote => {
                Err(Refusal::Remote { address })
            }
            Some(_) | None => Ok(Self {
                tcp,
                unix,
                allow_remote: file.allow_remote,
                congestion: congestion(file.tcp_congestion)?,
            }),
        }
    }
}

impl TryFrom<file::Admin> for Admin {
    type Error = Refusal;

    fn try_from(file: file::Admin) -> Result<Self, Refusal> {
        let listen = address("admin.listen", file.listen)?;
        if let Some(address) = listen.filter(|&address| !is_loopback(address)) {
            return Err(Refusal::AdminRemote { address });
        }
        let ready_file = Some(file.ready_file).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { listen, ready_file })
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
