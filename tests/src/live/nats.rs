//! A NATS client as bytes: lines over a socket, well-behaved only if its test is.
//!
//! It answers nothing by itself, and reads what it hears with a few lines of its own, not with those
//! of the router. What carries the bytes is TCP, or whatever reads and writes like it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use mpreg_proto::limits::SHARDS_MAX;
use rustix::net::sockopt;
use serde_json::Value;

use super::PATIENCE;

/// CONNECT of a client library: not verbose, takes headers, wants to know when nobody is there.
pub const USUAL: &str =
    r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":0}"#;

/// What bytes travel in.
pub trait Carrier: Read + Write + Send {}

impl<T: Read + Write + Send> Carrier for T {}

/// One connection.
pub struct NatsPeer {
    carrier: Box<dyn Carrier>,
    /// The carrier's socket.
    socket: TcpStream,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that were taken.
    taken: usize,
    /// The last one heard.
    pub info: Value,
}

/// A socket as NATS clients open it.
pub fn dialled(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

impl NatsPeer {
    /// A client that has heard INFO and said nothing.
    #[track_caller]
    pub fn dial(address: SocketAddr) -> Self {
        let mut peer = Self::silent(address);
        assert_eq!(peer.hear(), "INFO");
        peer
    }

    /// A socket, and nothing heard.
    #[track_caller]
    pub fn silent(address: SocketAddr) -> Self {
        let socket = dialled(address).expect("the router listens");
        Self::over(socket.try_clone().expect("a descriptor is free"), socket)
    }

    /// A client whose bytes travel in `carrier` over `socket`.
    pub fn over(carrier: impl Carrier + 'static, socket: TcpStream) -> Self {
        let carrier = Box::new(carrier);
        Self { carrier, socket, inbox: Vec::new(), taken: 0, info: Value::Null }
    }

    /// A client that has been let in.
    #[track_caller]
    pub fn connect(address: SocketAddr, options: &str) -> Self {
        let mut peer = Self::dial(address);
        peer.enter(options);
        peer
    }

    /// CONNECT, and PONG as a sign that it was taken.
    #[track_caller]
    pub fn enter(&mut self, options: &str) {
        self.say(&format!("CONNECT {options}\r\nPING"));
        let heard = self.hear();
        if heard == "+OK" {
            return assert_eq!(self.hear(), "PONG");
        }
        assert_eq!(heard, "PONG");
    }

    /// The shard that serves it.
    #[track_caller]
    pub fn shard(&self) -> usize {
        let id = self.info["client_id"].as_u64().expect("INFO has a number for each client");
        id as usize % SHARDS_MAX
    }

    /// Sends bytes, whatever they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the router reads");
    }

    /// Sends what the router takes before it closes.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.carrier.write_all(bytes)?;
        self.carrier.flush()
    }

    /// Sends a line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes());
    }

    #[track_caller]
    pub fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.send(&publication(subject, "", payload));
    }

    /// Subscribes, and waits until it is so.
    #[track_caller]
    pub fn subscribe(&mut self, sid: u32, subject: &str) {
        self.say(&format!("SUB {subject} {sid}"));
        self.flush();
    }

    /// Waits until everything said before was taken; nothing else may come meanwhile.
    #[track_caller]
    pub fn flush(&mut self) {
        self.say("PING");
        assert_eq!(self.hear(), "PONG");
    }

    /// The next line, and behind a `|` what follows it; `closed` once the router has closed.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        let heard = self.hear_within(PATIENCE);
        assert_ne!(heard, "nothing", "for {PATIENCE:?}");
        heard
    }

    /// The same, if it comes in time; otherwise `nothing`.
    #[track_caller]
    pub fn hear_within(&mut self, patience: Duration) -> String {
        loop {
            let rest = &self.inbox[self.taken..];
            if let Some((said, bytes)) = told(rest) {
                self.taken += bytes;
                let Some(info) = said.strip_prefix("INFO ") else { return said };
                self.info = serde_json::from_str(info).expect("INFO is JSON");
                return "INFO".to_owned();
            }
            match self.fill(patience) {
                Ok(0) if self.inbox.is_empty() => return "closed".to_owned(),
                Ok(0) => panic!("closed within {:?}", String::from_utf8_lossy(&self.inbox)),
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return "nothing".to_owned(),
                // Reset, or closed before: gone either way.
                Err(_) => return "closed".to_owned(),
            }
        }
    }

    /// Everything up to the router's closing.
    #[track_caller]
    pub fn hear_out(&mut self) -> Vec<String> {
        std::iter::from_fn(|| Some(self.hear()).filter(|heard| heard != "closed")).collect()
    }

    /// What it hears is this error, then the close.
    #[track_caller]
    pub fn is_refused(&mut self, error: &str) {
        assert_eq!(self.hear_out(), [format!("-ERR '{error}'")]);
    }

    /// The kernel keeps no more than about this for it to read.
    #[track_caller]
    pub fn narrow(&self, bytes: usize) {
        sockopt::set_socket_recv_buffer_size(&self.socket, bytes).expect("a socket has a buffer");
    }

    /// Reads once, and says how many bytes that was.
    fn fill(&mut self, patience: Duration) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(patience))?;
        self.inbox.drain(..std::mem::take(&mut self.taken));
        let had = self.inbox.len();
        self.inbox.resize(had + READ_BYTES, 0);
        let read = self.carrier.read(&mut self.inbox[had..]);
        self.inbox.truncate(had + read.as_ref().copied().unwrap_or(0));
        read
    }
}

const READ_BYTES: usize = 64 << 10;

impl fmt::Debug for NatsPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPeer").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The bytes of a message.
pub fn publication(subject: &str, reply: &str, payload: &[u8]) -> Vec<u8> {
    let gap = if reply.is_empty() { "" } else { " " };
    let line = format!("PUB {subject} {reply}{gap}{}\r\n", payload.len());
    [line.as_bytes(), payload, b"\r\n"].concat()
}

/// The bytes of a message with a header block.
pub fn headed(subject: &str, reply: &str, headers: &str, payload: &str) -> Vec<u8> {
    let gap = if reply.is_empty() { "" } else { " " };
    let (head, all) = (headers.len(), headers.len() + payload.len());
    format!("HPUB {subject} {reply}{gap}{head} {all}\r\n{headers}{payload}\r\n").into_bytes()
}

/// The first line and what belongs to it, and its bytes; none if it is not whole.
fn told(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
    let body = match line.split_once(' ') {
        Some(("MSG" | "HMSG", rest)) => {
            let size = rest.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            size.expect("a message says its size")
        }
        _ => return Some((line, end + 2)),
    };
    let body = bytes.get(end + 2..end + 2 + body + 2)?;
    let payload = body.strip_suffix(b"\r\n").expect("a message ends with CRLF");
    Some((format!("{line}|{}", String::from_utf8_lossy(payload)), end + 2 + body.len()))
}
