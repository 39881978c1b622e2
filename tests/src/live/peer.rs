//! A client as bytes: the wire over a plain blocking socket, well-behaved only if its test is.
//!
//! It answers nothing by itself and checks nothing but that what it hears are frames.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use mpreg_proto::frame::{
    Connect, Connected, Data, Decoded, Echo, Frame, Overload, Publish, Refusal, Subscribe, decode,
};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::Sid;
use mpreg_proto::limits::HELLO_BYTES;
use rustix::net::sockopt::{self, Timeout};

use super::PATIENCE;

/// Where a router listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How a client wishes to be served.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub echo: Echo,
    /// Outbound queue; zero is the router's default.
    pub queue_bytes: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self { echo: Echo::On, queue_bytes: 0 }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// This many bytes: a whole frame, or what one read gave.
    Bytes(usize),
    Closed,
    Nothing,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    socket: Socket,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that were taken.
    taken: usize,
    connected: Option<Connected>,
}

impl Peer {
    /// A socket, and nothing said.
    #[track_caller]
    pub fn dial(address: &Address) -> Self {
        Self::try_dial(address).expect("the router listens")
    }

    pub fn try_dial(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
        };
        let peer = Self { socket, inbox: Vec::new(), taken: 0, connected: None };
        sockopt::set_socket_timeout(&peer, Timeout::Send, Some(PATIENCE))?;
        Ok(peer)
    }

    /// A client that has been let in.
    #[track_caller]
    pub fn connect(address: &Address, wish: Wish) -> Self {
        let mut peer = Self::dial(address);
        peer.enter(wish);
        peer
    }

    /// Hello and `connect`, and the router's answers to both.
    #[track_caller]
    pub fn enter(&mut self, wish: Wish) {
        self.greet();
        let Wish { echo, queue_bytes } = wish;
        self.say(Frame::Connect(Connect { name: "test", echo, queue_bytes }));
        match self.frame() {
            Some(Frame::Connected(connected)) => self.connected = Some(connected),
            other => panic!("not let in: {other:?}"),
        }
    }

    /// The hellos alone.
    #[track_caller]
    pub fn greet(&mut self) {
        self.send(&Hello::client(7).to_bytes());
        self.hear_hello();
    }

    /// The router's hello, to one that was sent.
    #[track_caller]
    pub fn hear_hello(&mut self) {
        while self.inbox.len() < HELLO_BYTES {
            assert_ne!(self.fill(PATIENCE), Heard::Closed, "the hello was refused");
        }
        let (answer, _) = self.inbox.split_first_chunk().expect("there are as many bytes");
        Hello::parse(answer).expect("the router says hello");
        self.taken = HELLO_BYTES;
    }

    /// The shard that serves it.
    #[track_caller]
    pub fn shard(&self) -> usize {
        (self.connected().session.0 >> 56) as usize
    }

    #[track_caller]
    pub fn connected(&self) -> Connected {
        self.connected.expect("it has been let in")
    }

    /// Sends bytes, whatever they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the router reads");
    }

    /// Sends what the router takes before it closes.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    #[track_caller]
    pub fn say(&mut self, frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.send(&bytes);
    }

    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&message(topic, payload));
    }

    /// Subscribes without waiting for the answer.
    #[track_caller]
    pub fn ask(&mut self, sid: u32, pattern: &str, group: &str, overload: Overload) {
        let (pattern, group) = (pattern.as_bytes(), group.as_bytes());
        self.say(Frame::Subscribe(Subscribe { sid: Sid(sid), overload, pattern, group }));
    }

    /// Subscribes, and waits until it is so.
    #[track_caller]
    pub fn subscribe(&mut self, sid: u32, pattern: &str) {
        self.ask(sid, pattern, "", Overload::default());
        assert_eq!(self.hear(), format!("subscribed {sid}"));
    }

    /// The next frame; none once the router has closed.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        match self.wait(PATIENCE) {
            Heard::Bytes(bytes) => Some(self.take(bytes)),
            Heard::Closed => None,
            Heard::Nothing => panic!("heard nothing for {PATIENCE:?}"),
        }
    }

    /// The next message.
    #[track_caller]
    pub fn data(&mut self) -> Data<'_> {
        match self.frame() {
            Some(Frame::Data(data)) => data,
            other => panic!("not a message: {}", told(other)),
        }
    }

    /// The next frame in words; `closed` once the router has closed.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        told(self.frame())
    }

    /// The same, if it comes in time; otherwise `nothing`.
    #[track_caller]
    pub fn hear_within(&mut self, patience: Duration) -> String {
        match self.wait(patience) {
            Heard::Bytes(bytes) => told(Some(self.take(bytes))),
            Heard::Closed => told(None),
            Heard::Nothing => "nothing".to_owned(),
        }
    }

    /// Everything up to the router's closing, in words.
    #[track_caller]
    pub fn hear_out(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.frame().map(|frame| told(Some(frame)))).collect()
    }

    /// Waits until the router has closed, whatever it says before.
    #[track_caller]
    pub fn wait_closed(&mut self) {
        while self.frame().is_some() {}
    }

    /// The kernel keeps no more than about this for it to read.
    #[track_caller]
    pub fn narrow(&self, bytes: usize) {
        sockopt::set_socket_recv_buffer_size(self, bytes).expect("a socket has a buffer");
    }

    /// Closes with a reset instead of a goodbye.
    #[track_caller]
    pub fn reset(self) {
        sockopt::set_socket_linger(&self, Some(Duration::ZERO)).expect("a TCP socket lingers");
    }

    /// Says that no more will come, and goes on listening.
    #[track_caller]
    pub fn finish(&self) {
        rustix::net::shutdown(self, rustix::net::Shutdown::Write).expect("it is connected");
    }

    #[track_caller]
    fn wait(&mut self, patience: Duration) -> Heard {
        loop {
            match decode(&self.inbox[self.taken..]).expect("the router sends frames") {
                Decoded::Frame { bytes, .. } => return Heard::Bytes(bytes),
                Decoded::Need(_) => match self.fill(patience) {
                    Heard::Bytes(_) => (),
                    ended @ (Heard::Closed | Heard::Nothing) => return ended,
                },
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Frame<'_> {
        let from = self.taken;
        self.taken += bytes;
        match decode(&self.inbox[from..self.taken]) {
            Ok(Decoded::Frame { frame, .. }) => frame,
            other => unreachable!("it was a frame before: {other:?}"),
        }
    }

    /// Reads once, and says how many bytes that was.
    fn fill(&mut self, patience: Duration) -> Heard {
        sockopt::set_socket_timeout(&*self, Timeout::Recv, Some(patience)).expect("it is a socket");
        self.inbox.drain(..std::mem::take(&mut self.taken));
        let had = self.inbox.len();
        self.inbox.resize(had + READ_BYTES, 0);
        let room = &mut self.inbox[had..];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(room),
            Socket::Unix(stream) => stream.read(room),
        };
        self.inbox.truncate(had + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Heard::Closed,
            Ok(bytes) => Heard::Bytes(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Heard::Nothing,
            // Reset, or closed before: gone either way.
            Err(_) => Heard::Closed,
        }
    }
}

const READ_BYTES: usize = 64 << 10;

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The bytes of a message.
pub fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    frame_of(Publish { topic: topic.as_bytes(), payload, ..Publish::default() })
}

/// The bytes of a message.
pub fn frame_of(publish: Publish<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    publish.put(&mut bytes).expect("within the bounds of the wire");
    bytes
}

/// A frame in words.
pub fn told(frame: Option<Frame<'_>>) -> String {
    let Some(frame) = frame else { return "closed".to_owned() };
    let text = String::from_utf8_lossy;
    match frame {
        Frame::Data(data) => format!("{} {}", text(data.topic()), text(data.payload())),
        Frame::Connected(_) => "connected".to_owned(),
        Frame::Subscribed { sid } => format!("subscribed {sid}"),
        Frame::Unsubscribed { sid } => format!("unsubscribed {sid}"),
        Frame::For { sid } => format!("for {sid}"),
        Frame::NoResponders { reply } => format!("no_responders {}", text(reply)),
        Frame::Error(Refusal { code, sid: Sid(0), .. }) => format!("error {code}"),
        Frame::Error(Refusal { code, sid, .. }) => format!("error {code} {sid}"),
        Frame::Ping { .. } => "ping".to_owned(),
        Frame::Pong { token } => format!("pong {token}"),
        Frame::Drained => "drained".to_owned(),
        Frame::GoingAway => "going_away".to_owned(),
        only_clients_say @ (Frame::Connect(_)
        | Frame::Subscribe(_)
        | Frame::Unsubscribe { .. }
        | Frame::Drain
        | Frame::Rpc(_)) => panic!("the router said {only_clients_say:?}"),
    }
}
