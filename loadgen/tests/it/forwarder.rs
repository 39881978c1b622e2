//! A forwarder that speaks the wire and can be told to misbehave: what the generator is tested on.
//!
//! One thread reads each connection and one writes it; a connection that does not take its messages
//! is closed. Slow, and simple enough to be believed. `nats` is the other protocol it knows.

mod nats;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use mpreg_proto::frame::{Connected, Data, Decoded, Frame, decode};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::SessionId;
use mpreg_proto::limits::{FRAME_BYTES_MAX, HELLO_BYTES};
use mpreg_proto::topic::{Pattern, Topic};

/// Frames that may wait for a connection.
const QUEUE_FRAMES: usize = 4096;

/// What happens to the messages on their way, counted over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    None,
    /// Every n-th delivery is not made.
    Lose(u64),
    /// Every n-th delivery is made twice.
    Duplicate(u64),
    /// Every n-th delivery is held back until the next to the same connection is made.
    Swap(u64),
    /// Every n-th delivery has the last byte of its payload changed.
    Corrupt(u64),
    /// After n deliveries the connection they go to is closed.
    Close(u64),
    /// NATS: every n-th delivery says that it is for the subscription after the one it is for.
    Misnumber(u64),
}

/// What connections are told they may use. The forwarder itself holds nobody to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) queue_bytes: u32,
    pub(crate) subscriptions_max: u32,
}

pub(crate) const PLENTY: Grant = Grant { queue_bytes: 1 << 26, subscriptions_max: 1 << 20 };

/// A running forwarder; its threads end with the process.
pub(crate) struct Forwarder {
    pub(crate) url: String,
}

/// A connection of either family.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct Hub {
    mischief: Mischief,
    grant: Grant,
    /// What the options of a NATS client must hold, as written.
    password: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    deliveries: u64,
    opened: u64,
}

struct Member {
    session: u64,
    patterns: Vec<String>,
    outbound: SyncSender<Vec<u8>>,
    held: Option<Vec<u8>>,
}

impl Forwarder {
    pub(crate) fn start(mischief: Mischief) -> Self {
        Self::granting(mischief, PLENTY)
    }

    /// Tells connections they have this much.
    pub(crate) fn granting(mischief: Mischief, grant: Grant) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mpreg://{}", listener.local_addr().unwrap());
        let hub = Hub::new(mischief, grant, "");
        Self::accept(url, hub, serve, move || Socket::Tcp(listener.accept().unwrap().0))
    }

    /// Listens at a path.
    pub(crate) fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let url = format!("mpreg+unix://{}", path.display());
        let hub = Hub::new(Mischief::None, PLENTY, "");
        Self::accept(url, hub, serve, move || Socket::Unix(listener.accept().unwrap().0))
    }

    /// Speaks the NATS client protocol with those whose options hold `password`.
    pub(crate) fn nats(mischief: Mischief, password: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let hub = Hub::new(mischief, PLENTY, password);
        Self::accept(url, hub, serve_nats, move || Socket::Tcp(listener.accept().unwrap().0))
    }

    fn accept(
        url: String,
        hub: Hub,
        serve: fn(&Hub, Socket),
        accept: impl Fn() -> Socket + Send + 'static,
    ) -> Self {
        let hub = Arc::new(hub);
        thread::spawn(move || {
            loop {
                let (hub, socket) = (hub.clone(), accept());
                thread::spawn(move || serve(&hub, socket));
            }
        });
        Self { url }
    }
}

/// One connection, until it ends or says something it should not.
fn serve(hub: &Hub, mut stream: Socket) {
    let mut hello = [0; HELLO_BYTES];
    if stream.read_exact(&mut hello).is_err() {
        return;
    }
    let answer = Hello::parse(&hello).unwrap().answer(1, 0).unwrap();
    let session = hub.enter(&stream, &answer.to_bytes());
    read_frames(hub, session, &mut stream);
    hub.leave(session);
}

/// The same, of the other protocol.
fn serve_nats(hub: &Hub, mut stream: Socket) {
    let session = hub.enter(&stream, nats::INFO);
    nats::read_commands(hub, session, &mut stream);
    hub.leave(session);
}

fn read_frames(hub: &Hub, session: u64, stream: &mut Socket) {
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let mut at = 0;
        while let Decoded::Frame { frame, bytes } = decode(&bytes[at..]).expect("a frame") {
            at += bytes;
            hub.handle(session, frame);
        }
        bytes.drain(..at);
    }
}

impl Socket {
    fn second(&self) -> Self {
        match self {
            Self::Tcp(tcp) => Self::Tcp(tcp.try_clone().unwrap()),
            Self::Unix(unix) => Self::Unix(unix.try_clone().unwrap()),
        }
    }

    fn shutdown(&self) {
        _ = match self {
            Self::Tcp(tcp) => tcp.shutdown(Shutdown::Both),
            Self::Unix(unix) => unix.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hub {
    fn new(mischief: Mischief, grant: Grant, password: &'static str) -> Self {
        Self { mischief, grant, password, state: Mutex::default() }
    }

    /// Starts what writes to a connection, `greeting` first; returns its session.
    fn enter(&self, stream: &Socket, greeting: &[u8]) -> u64 {
        if let Socket::Tcp(tcp) = stream {
            tcp.set_nodelay(true).unwrap();
        }
        let (outbound, queue) = mpsc::sync_channel::<Vec<u8>>(QUEUE_FRAMES);
        outbound.send(greeting.to_vec()).unwrap();
        let mut out = stream.second();
        thread::spawn(move || {
            while let Ok(first) = queue.recv() {
                let mut bytes = first;
                queue.try_iter().take(512).for_each(|more| bytes.extend(more));
                if out.write_all(&bytes).is_err() {
                    break;
                }
            }
            // Both halves: the reader must notice too.
            out.shutdown();
        });
        let mut state = self.state.lock().unwrap();
        state.opened += 1;
        let session = state.opened;
        state.members.push(Member { session, patterns: Vec::new(), outbound, held: None });
        session
    }

    fn leave(&self, session: u64) {
        self.state.lock().unwrap().members.retain(|member| member.session != session);
    }

    fn handle(&self, session: u64, frame: Frame<'_>) {
        let mut state = self.state.lock().unwrap();
        match frame {
            Frame::Connect(_) => {
                let answer = Frame::Connected(Connected {
                    session: SessionId(session),
                    frame_bytes_max: FRAME_BYTES_MAX as u32,
                    queue_bytes: self.grant.queue_bytes,
                    ping_interval_ms: 10_000,
                    subscriptions_max: self.grant.subscriptions_max,
                });
                state.tell(session, answer);
            }
            Frame::Subscribe(subscribe) => {
                let pattern = Pattern::parse(subscribe.pattern).unwrap().as_str().to_owned();
                if let Some(member) = state.member(session) {
                    member.patterns.push(pattern);
                }
                state.tell(session, Frame::Subscribed { sid: subscribe.sid });
            }
            Frame::Data(data) => state.forward(session, data, self.mischief),
            Frame::Pong { .. } => (),
            Frame::Connected(_)
            | Frame::Subscribed { .. }
            | Frame::Unsubscribe { .. }
            | Frame::Unsubscribed { .. }
            | Frame::Ping { .. }
            | Frame::Drain
            | Frame::Drained
            | Frame::For { .. }
            | Frame::NoResponders { .. }
            | Frame::Error(_)
            | Frame::GoingAway
            | Frame::Rpc(_) => panic!("a generator does not send {frame:?}"),
        }
    }
}

impl State {
    /// None once its connection has been ended for not reading.
    fn member(&mut self, session: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.session == session)
    }

    fn tell(&mut self, session: u64, frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        if let Some(member) = self.member(session) {
            _ = member.outbound.try_send(bytes);
        }
    }

    fn forward(&mut self, session: u64, data: Data<'_>, mischief: Mischief) {
        let topic = Topic::parse(data.topic()).unwrap();
        let hears = |pattern: &String| Pattern::parse(pattern.as_bytes()).unwrap().matches(topic);
        let mut heard = false;
        let mut gone = Vec::new();
        for member in &mut self.members {
            if member.patterns.iter().any(hears) {
                heard = true;
                self.deliveries += 1;
                let last = data.frame().len() - 1;
                if !member.deliver(data.frame(), last, self.deliveries, mischief) {
                    gone.push(member.session);
                }
            }
        }
        // Dropping its queue ends the writer, which shuts the connection down.
        self.members.retain(|member| !gone.contains(&member.session));
        if !heard && !data.reply().is_empty() {
            self.tell(session, Frame::NoResponders { reply: data.reply() });
        }
    }
}

impl Member {
    /// Queues one delivery, more or less; false if the connection must end. Its payload ends with
    /// byte `last`.
    fn deliver(&mut self, frame: &[u8], last: usize, count: u64, mischief: Mischief) -> bool {
        let mut frame = frame.to_vec();
        let mut copies = 1;
        match mischief {
            Mischief::Lose(n) if count.is_multiple_of(n) => copies = 0,
            Mischief::Duplicate(n) if count.is_multiple_of(n) => copies = 2,
            Mischief::Corrupt(n) if count.is_multiple_of(n) => frame[last] ^= 0x10,
            Mischief::Swap(n) if count.is_multiple_of(n) && self.held.is_none() => {
                self.held = Some(frame);
                return true;
            }
            Mischief::Close(n) if n == count => return false,
            Mischief::None
            | Mischief::Lose(_)
            | Mischief::Duplicate(_)
            | Mischief::Swap(_)
            | Mischief::Corrupt(_)
            | Mischief::Close(_)
            | Mischief::Misnumber(_) => (),
        }
        for _ in 0..copies {
            if self.outbound.try_send(frame.clone()).is_err() {
                return false;
            }
        }
        self.held.take().is_none_or(|held| self.outbound.try_send(held).is_ok())
    }
}
