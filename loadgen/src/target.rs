//! Targets: what a URL names, and the byte streams to it.
//!
//! The scheme decides three things apart: the address family here, what lies upon it (TLS, WebSocket)
//! in `layered.rs`, the protocol in `framing.rs`. A further protocol is a further scheme, nothing else
//! in this crate asks which one is spoken.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use socket2::SockRef;

use crate::framing::Framing;
use crate::layered::Layered;

/// Time a connection may take to be made, and each step of its opening after that.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A router, or anything that speaks its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: String,
    address: Address,
    framing: Framing,
    layers: Layers,
    credentials: Credentials,
}

/// What lies between the socket and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layers {
    Nothing,
    /// Begins once the server has introduced itself.
    Tls,
    WebSocket,
    WebSocketTls,
}

/// Whom a TLS client means to reach, and who vouches for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tls<'a> {
    host: &'a str,
    authorities: &'a Path,
}

/// Who a client says it is, if its protocol has a place for that.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    Token(String),
    User { name: String, password: String },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::User { .. } => "User",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// `host:port`, resolved at each connect.
    Tcp(String),
    Unix(PathBuf),
}

/// Why a text is not a target. Printed to whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("{url} has no scheme; known are {SCHEMES}")]
    NoScheme { url: String },
    #[error("{url} has an unknown scheme; known are {SCHEMES}")]
    UnknownScheme { url: String },
    #[error("{url} does not end in HOST:PORT")]
    NoPort { url: String },
    #[error("{url} does not name an absolute path")]
    NoPath { url: String },
    #[error("the user or password of {url} is not UTF-8 in percent-encoding")]
    NotText { url: String },
}

const SCHEMES: &str = "mpreg://HOST:PORT, mpreg+unix:///PATH and \
    nats, tls, ws or wss://[TOKEN@|USER:PASSWORD@]HOST[:PORT]";

/// Where NATS servers listen unless told otherwise, and where WebSockets are.
const NATS_PORT: u16 = 4222;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// How sockets are set up; everything else is left to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP congestion control by name. None: the system's.
    pub congestion: Option<String>,
    /// PEM file of whoever vouches for servers that speak TLS.
    pub authorities: Option<PathBuf>,
}

/// A connection's bytes.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TCP under TLS, WebSocket or both.
    Layered(Box<Layered>),
}

impl Target {
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// As written, but for the user and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Connects and sets the socket up, blocking for at most [`OPEN_TIMEOUT`] an address.
    pub fn connect(&self, options: &SocketOptions) -> io::Result<Stream> {
        let host = match &self.address {
            Address::Unix(path) => {
                let stream = Stream::Unix(UnixStream::connect(path)?);
                stream.set_timeouts(Some(OPEN_TIMEOUT))?;
                return Ok(stream);
            }
            Address::Tcp(host) => host,
        };
        let tcp = connect_tcp(host)?;
        let socket = SockRef::from(&tcp);
        socket.set_tcp_nodelay(true)?;
        // Acknowledgements ride on data or wait: 15 % of CPU with shallow traffic.
        socket.set_tcp_quickack(false)?;
        if let Some(name) = &options.congestion {
            socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
                io::Error::new(error.kind(), format!("TCP congestion control {name}: {error}"))
            })?;
        }
        tcp.set_read_timeout(Some(OPEN_TIMEOUT))?;
        tcp.set_write_timeout(Some(OPEN_TIMEOUT))?;
        let layered = match self.layers {
            Layers::Nothing | Layers::Tls => return Ok(Stream::Tcp(tcp)),
            Layers::WebSocket => Layered::websocket(tcp, host)?,
            Layers::WebSocketTls => {
                let tls = self.vouched(host, options)?;
                Layered::websocket_tls(tcp, host, tls.host, tls.authorities)?
            }
        };
        Ok(Stream::Layered(Box::new(layered)))
    }

    /// What [`Stream::start_tls`] needs, if that is how this target is spoken to.
    pub(crate) fn tls<'a>(&'a self, options: &'a SocketOptions) -> io::Result<Option<Tls<'a>>> {
        match (&self.address, self.layers) {
            (Address::Tcp(host), Layers::Tls) => self.vouched(host, options).map(Some),
            (Address::Tcp(_) | Address::Unix(_), _) => Ok(None),
        }
    }

    fn vouched<'a>(&self, host: &'a str, options: &'a SocketOptions) -> io::Result<Tls<'a>> {
        let (host, _) = host.rsplit_once(':').expect("an address ends in its port");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match &options.authorities {
            Some(authorities) => Ok(Tls { host, authorities }),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "TLS needs --authorities, the PEM file of whoever vouches for the server",
            )),
        }
    }
}

fn connect_tcp(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, OPEN_TIMEOUT) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let url = text.to_owned();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(BadTarget::NoScheme { url });
        };
        let native = |address| Self {
            url: url.clone(),
            address,
            framing: Framing::Native,
            layers: Layers::Nothing,
            credentials: Credentials::None,
        };
        match scheme {
            "mpreg" => {
                let host = host_and_port(rest).ok_or(BadTarget::NoPort { url: url.clone() })?;
                Ok(native(Address::Tcp(host)))
            }
            "mpreg+unix" if rest.starts_with('/') => Ok(native(Address::Unix(rest.into()))),
            "mpreg+unix" => Err(BadTarget::NoPath { url }),
            "nats" => Self::nats(text, scheme, rest, Layers::Nothing),
            "tls" => Self::nats(text, scheme, rest, Layers::Tls),
            "ws" => Self::nats(text, scheme, rest, Layers::WebSocket),
            "wss" => Self::nats(text, scheme, rest, Layers::WebSocketTls),
            _ => Err(BadTarget::UnknownScheme { url }),
        }
    }
}

impl Target {
    fn nats(text: &str, scheme: &str, rest: &str, layers: Layers) -> Result<Self, BadTarget> {
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A colon within brackets is part of an address.
        let has_port = rest.rfind(':') > rest.rfind(']');
        let port = match layers {
            Layers::Nothing | Layers::Tls => NATS_PORT,
            Layers::WebSocket => HTTP_PORT,
            Layers::WebSocketTls => HTTPS_PORT,
        };
        let with_port = if has_port { rest.to_owned() } else { format!("{rest}:{port}") };
        let url = || text.to_owned();
        let host = host_and_port(&with_port).ok_or_else(|| BadTarget::NoPort { url: url() })?;
        let decoded = |text: &str| {
            let bytes = percent_encoding::percent_decode_str(text);
            bytes.decode_utf8().map(Into::into).map_err(|_| BadTarget::NotText { url: url() })
        };
        let credentials = match user.split_once(':') {
            None if user.is_empty() => Credentials::None,
            None => Credentials::Token(decoded(user)?),
            Some((name, password)) => {
                Credentials::User { name: decoded(name)?, password: decoded(password)? }
            }
        };
        Ok(Self {
            url: format!("{scheme}://{rest}"),
            address: Address::Tcp(host),
            framing: Framing::Nats,
            layers,
            credentials,
        })
    }
}

fn host_and_port(rest: &str) -> Option<String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    (!host.is_empty()).then(|| rest.to_owned())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Stream {
    /// What comes after this is TLS. Blocking.
    pub(crate) fn start_tls(&mut self, tls: Tls<'_>) -> io::Result<()> {
        let Self::Tcp(tcp) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let layered = Layered::tls(tcp.try_clone()?, tls.host, tls.authorities)?;
        *self = Self::Layered(Box::new(layered));
        Ok(())
    }

    /// Bytes it took are not on the socket yet; `flush` sends them on.
    #[inline]
    pub fn has_pending(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Layered(layered) => layered.has_pending(),
        }
    }

    pub fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        let of_tcp = |tcp: &TcpStream| {
            tcp.set_read_timeout(timeout)?;
            tcp.set_write_timeout(timeout)
        };
        match self {
            Self::Tcp(tcp) => of_tcp(tcp),
            Self::Layered(layered) => of_tcp(layered.tcp()),
            Self::Unix(unix) => {
                unix.set_read_timeout(timeout)?;
                unix.set_write_timeout(timeout)
            }
        }
    }

    /// From here on reads and writes return `WouldBlock` where they would wait.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nonblocking(true),
            Self::Unix(unix) => unix.set_nonblocking(true),
            Self::Layered(layered) => layered.set_nonblocking(),
        }
    }

    /// Bounds what the kernel holds for a reader; bytes.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_recv_buffer_size(bytes)
    }

    /// Makes the close abrupt: a reset, where the address family knows one.
    pub fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
            Self::Layered(layered) => layered.read(buffer),
        }
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
            Self::Layered(layered) => layered.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Layered(layered) => layered.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
            Self::Layered(layered) => layered.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str| text.parse::<Target>().map(|target| target.address);
        let tcp = |host: &str| Ok(Address::Tcp(host.to_owned()));
        let url = |text: &str| text.to_owned();
        assert_eq!(check("mpreg://127.0.0.1:4000"), tcp("127.0.0.1:4000"));
        assert_eq!(check("mpreg://[::1]:4000/"), tcp("[::1]:4000"));
        assert_eq!(check("mpreg+unix:///run/m.sock"), Ok(Address::Unix("/run/m.sock".into())));
        assert_eq!(check("mpreg+unix://m"), Err(BadTarget::NoPath { url: url("mpreg+unix://m") }));
        assert_eq!(check("mpreg://h"), Err(BadTarget::NoPort { url: url("mpreg://h") }));
        assert_eq!(check("mpreg://:1"), Err(BadTarget::NoPort { url: url("mpreg://:1") }));
        assert_eq!(check("mpreg://h:x"), Err(BadTarget::NoPort { url: url("mpreg://h:x") }));
        assert_eq!(check("amqp://h:1"), Err(BadTarget::UnknownScheme { url: url("amqp://h:1") }));
        assert_eq!(check("nats://h:1"), tcp("h:1"));
        assert_eq!(check("nats://h"), tcp("h:4222"));
        assert_eq!(check("nats://[::1]/"), tcp("[::1]:4222"));
        assert_eq!(check("nats://[::1]:5"), tcp("[::1]:5"));
        assert_eq!(check("nats://h:x"), Err(BadTarget::NoPort { url: url("nats://h:x") }));
        assert_eq!(check("tls://[::1]:5"), tcp("[::1]:5"));
        assert_eq!(check("tls://h"), tcp("h:4222"));
        assert_eq!(check("ws://h"), tcp("h:80"));
        assert_eq!(check("wss://h/"), tcp("h:443"));
        assert_eq!(check("h:1"), Err(BadTarget::NoScheme { url: url("h:1") }));
    }

    #[test]
    fn who_one_is_stands_in_the_url_and_is_not_shown() {
        let check = |text: &str, want: Credentials| {
            let target = text.parse::<Target>().unwrap();
            assert_eq!(*target.credentials(), want);
            assert_eq!(target.to_string(), "nats://h:1");
            assert_eq!(target.address, Address::Tcp("h:1".to_owned()));
            assert!(!format!("{target:?}").contains("word"));
        };
        let user = |name: &str, password: &str| Credentials::User {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        check("nats://h:1", Credentials::None);
        check("nats://password@h:1", Credentials::Token("password".to_owned()));
        check("nats://anna:password@h:1", user("anna", "password"));
        check("nats://an%40na:pass%3aword@h:1/", user("an@na", "pass:word"));
        let bad = "nats://%ff:word@h:1";
        assert_eq!(bad.parse::<Target>(), Err(BadTarget::NotText { url: bad.to_owned() }));
    }
}
