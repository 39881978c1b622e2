//! Asks the domain name system for services (RFC 2782): where nodes are that one may begin with.
//!
//! ```text
//!   name --> question --UDP--> server --cut off?--TCP--> answer --> addresses, best first; how long
//! ```
//!
//! A stub and no more: servers of the host, or the one that is set, do the looking up. Calls wait for
//! answers, so they belong on a thread of their own.
//!
//! Invariants: an answer counts if it has the number and the question that was asked, from the address that
//! was asked; at most `SEEDS_MAX` addresses come of a name; each server is waited for at most
//! [`DNS_ANSWER_MAX`] a try.
//!
//! Tests: `dns/tests.rs`, with a server of their own.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use mpreg_fabric::limits::SEEDS_MAX;
use mpreg_proto::member::PeerAddress;
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

use crate::limits::{DNS_ANSWER_MAX, DNS_MESSAGE_BYTES_MAX, DNS_SERVERS_MAX, DNS_TRIES_MAX};

/// Where the host says which servers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";

const PORT: u16 = 53;

/// A name such as `_mpreg._tcp.example.org`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(String);

/// Why a text names no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a service is _NAME._tcp.DOMAIN, of labels of 1 to 63 letters, digits, - and _")]
pub struct ServiceNameError;

/// What a name stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first to be tried first.
    pub addresses: Vec<PeerAddress>,
    pub good_for: Duration,
}

/// Why it is not known what a name stands for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{RESOLV_CONF} names no server")]
    NoServer,
    #[error("no answer from {server}: {source}")]
    Unanswered { server: SocketAddr, source: io::Error },
    #[error("{server} answers what was not asked, or what is no answer")]
    Malformed { server: SocketAddr },
    #[error("there is no such name")]
    NoSuchName,
    #[error("there is no service of that name")]
    NoService,
    #[error("{server} refuses: {code}")]
    Refused { server: SocketAddr, code: u16 },
    #[error("the operating system gives no chance for a question")]
    Chance,
}

impl AskError {
    /// The word metrics use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoServer => "no_server",
            Self::Unanswered { .. } => "unanswered",
            Self::Malformed { .. } => "malformed",
            Self::NoSuchName => "no_such_name",
            Self::NoService => "no_service",
            Self::Refused { .. } => "refused",
            Self::Chance => "no_chance",
        }
    }

    /// Whether another server may know better.
    const fn may_be_asked_elsewhere(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::Malformed { .. } | Self::Refused { .. } => true,
            Self::NoServer | Self::NoSuchName | Self::NoService | Self::Chance => false,
        }
    }
}

impl ServiceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(text: &str) -> Result<Self, ServiceNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_tcp = matches!(name.split('.').collect::<Vec<_>>()[..],
            [service, "_tcp", _, ..] if service.starts_with('_'));
        let is_good = name.len() <= 253 && is_tcp && name.split('.').all(is_label);
        if is_good { Ok(Self(name.to_owned())) } else { Err(ServiceNameError) }
    }
}

/// Asks `server`, or those of the host. Waits.
pub fn ask(name: &ServiceName, server: Option<SocketAddr>) -> Result<Found, AskError> {
    let servers = server.map_or_else(of_host, |server| vec![server]);
    let mut last = AskError::NoServer;
    for _ in 0..DNS_TRIES_MAX {
        for &server in &servers {
            match ask_one(name, server) {
                Err(error) if error.may_be_asked_elsewhere() => last = error,
                outcome => return outcome,
            }
        }
    }
    Err(last)
}

/// The servers that the host asks.
fn of_host() -> Vec<SocketAddr> {
    fs::read_to_string(RESOLV_CONF).map_or_else(|_| Vec::new(), |text| servers_in(&text))
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    addresses.take(DNS_SERVERS_MAX).map(|address| SocketAddr::new(address, PORT)).collect()
}

fn ask_one(name: &ServiceName, server: SocketAddr) -> Result<Found, AskError> {
    let number = drawn()?;
    let malformed = || AskError::Malformed { server };
    let service = Name::new(name.as_str()).map_err(|_| malformed())?;
    let mut question = Packet::new_query(number);
    question.set_flags(PacketFlag::RECURSION_DESIRED);
    let asked = Question::new(service, TYPE::SRV.into(), CLASS::IN.into(), false);
    question.questions.push(asked);
    let question = question.build_bytes_vec().map_err(|_| malformed())?;
    let unanswered = |source| AskError::Unanswered { server, source };
    let mut answer = by_udp(&question, server).map_err(unanswered)?;
    let is_cut_off = |bytes: &[u8]| {
        Packet::parse(bytes).is_ok_and(|packet| packet.has_flags(PacketFlag::TRUNCATION))
    };
    // What is cut off may be cut off anywhere.
    if is_cut_off(&answer) || (Packet::parse(&answer).is_err() && has_cut_off_bit(&answer)) {
        answer = by_tcp(&question, server).map_err(unanswered)?;
    }
    read(&answer, &question, server)
}

/// The third byte of a message has it.
fn has_cut_off_bit(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

fn drawn() -> Result<u16, AskError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|_| AskError::Chance)?;
    Ok(u16::from_ne_bytes(bytes))
}

fn by_udp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let deadline = Instant::now() + DNS_ANSWER_MAX;
    let mut bytes = vec![0; DNS_MESSAGE_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut bytes)?;
        // Anything else is an answer to somebody's earlier question, or somebody's guess.
        if bytes[..length].get(..2) == question.get(..2) {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
}

fn by_tcp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, DNS_ANSWER_MAX)?;
    stream.set_read_timeout(Some(DNS_ANSWER_MAX))?;
    stream.set_write_timeout(Some(DNS_ANSWER_MAX))?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read(answer: &[u8], question: &[u8], server: SocketAddr) -> Result<Found, AskError> {
    let malformed = |_| AskError::Malformed { server };
    let (answer, question) = (Packet::parse(answer), Packet::parse(question));
    let (answer, question) = (answer.map_err(malformed)?, question.map_err(malformed)?);
    let is_its = answer.has_flags(PacketFlag::RESPONSE)
        && answer.id() == question.id()
        && answer.questions.first().map(|asked| asked.qname.to_string().to_ascii_lowercase())
            == question.questions.first().map(|asked| asked.qname.to_string().to_ascii_lowercase());
    if !is_its {
        return Err(AskError::Malformed { server });
    }
    let code = answer.rcode();
    if code == RCODE::NameError {
        return Err(AskError::NoSuchName);
    }
    if code != RCODE::NoError {
        return Err(AskError::Refused { server, code: code as u16 });
    }
    found(&answer)
}

fn found(answer: &Packet<'_>) -> Result<Found, AskError> {
    let mut services: Vec<(&SRV<'_>, u32)> = Vec::new();
    for record in &answer.answers {
        if let RData::SRV(service) = &record.rdata {
            services.push((service, record.ttl));
        }
    }
    let ttl = services.iter().map(|(_, ttl)| *ttl).min().ok_or(AskError::NoService)?;
    // The lowest priority first, and of one priority the heaviest: all of them are tried anyway.
    services.sort_by_key(|(service, _)| (service.priority, core::cmp::Reverse(service.weight)));
    let address = |service: &SRV<'_>| {
        let host = service.target.to_string();
        let host = host.trim_end_matches('.');
        // A root for a target says that there is decidedly no such service.
        (!host.is_empty()).then(|| format!("{host}:{}", service.port).parse().ok()).flatten()
    };
    let addresses: Vec<PeerAddress> =
        services.iter().filter_map(|(service, _)| address(service)).take(SEEDS_MAX).collect();
    if addresses.is_empty() {
        return Err(AskError::NoService);
    }
    Ok(Found { addresses, good_for: Duration::from_secs(ttl.into()) })
}

#[cfg(test)]
mod tests;
