//! What held things cost: resident memory of a running router per idle connection and per
//! subscription, from `/proc/PID/statm` before and after.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, bail};
use mpreg_proto::frame::{Connect, Decoded, Echo, Frame, Overload, Subscribe, decode};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::Sid;
use mpreg_proto::limits::HELLO_BYTES;

/// Open connections or subscriptions on a router and say what each costs in resident bytes.
#[derive(Debug, clap::Args)]
pub struct Hold {
    /// Where the router listens, as its ready file says: mpreg://HOST:PORT.
    #[arg(long, value_name = "URL")]
    target: String,
    /// The router's process.
    #[arg(long, value_name = "PID")]
    router_pid: u32,
    /// Idle connections.
    #[arg(long, default_value_t = 0)]
    connections: usize,
    /// Subscriptions to distinct literal topics of 23 bytes, spread over ten connections.
    #[arg(long, default_value_t = 0)]
    subscriptions: usize,
}

/// Bytes of a page where this runs.
const PAGE_BYTES: u64 = 4096;

/// Connections the subscriptions are spread over.
const SUBSCRIBERS: usize = 10;

/// Subscriptions asked for before their answers are read.
const BATCH: usize = 1000;

/// One session, its frames read one by one.
struct Session {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Hold {
    pub fn run(&self) -> anyhow::Result<()> {
        let address = self.target.strip_prefix("mpreg://").context("a mpreg:// URL")?;
        // Pages the first session touches are the router's, not the connections'.
        drop(Session::open(address)?);
        let before = resident_bytes(self.router_pid)?;
        let idle: Vec<Session> =
            (0..self.connections).map(|_| Session::open(address)).collect::<Result<_, _>>()?;
        let with_connections = resident_bytes(self.router_pid)?;
        let count = if self.subscriptions == 0 { 0 } else { SUBSCRIBERS };
        let mut subscribers: Vec<Session> =
            (0..count).map(|_| Session::open(address)).collect::<Result<_, _>>()?;
        let without = resident_bytes(self.router_pid)?;
        for (at, session) in subscribers.iter_mut().enumerate() {
            session.subscribe(at * self.subscriptions / count, self.subscriptions / count)?;
        }
        let with = resident_bytes(self.router_pid)?;
        let each = |bytes: u64, count: usize| bytes as f64 / count.max(1) as f64;
        println!(
            "connections={} bytes_per_connection={:.0} subscriptions={} \
             bytes_per_subscription={:.0} resident_before={before} resident_after={with}",
            idle.len(),
            each(with_connections.saturating_sub(before), idle.len()),
            self.subscriptions,
            each(with.saturating_sub(without), self.subscriptions),
        );
        Ok(())
    }
}

impl Session {
    fn open(address: &str) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(address).context("connecting")?;
        socket.set_nodelay(true)?;
        let mut bytes = Hello::client(1).to_bytes().to_vec();
        Frame::Connect(Connect { name: "hold", echo: Echo::On, queue_bytes: 0 }).put(&mut bytes);
        socket.write_all(&bytes)?;
        let mut hello = [0; HELLO_BYTES];
        socket.read_exact(&mut hello)?;
        let mut session = Self { socket, received: Vec::new() };
        session.await_frames(1, |frame| matches!(frame, Frame::Connected(_)))?;
        Ok(session)
    }

    fn subscribe(&mut self, from: usize, count: usize) -> anyhow::Result<()> {
        for batch in 0..count.div_ceil(BATCH) {
            let some = BATCH.min(count - batch * BATCH);
            let mut bytes = Vec::new();
            for number in 0..some {
                let sid = batch * BATCH + number;
                let topic = format!("hold.plant.{:012}", from + sid);
                Frame::Subscribe(Subscribe {
                    sid: Sid(sid as u32 + 1),
                    overload: Overload::DropOldest,
                    pattern: topic.as_bytes(),
                    group: b"",
                })
                .put(&mut bytes);
            }
            self.socket.write_all(&bytes)?;
            self.await_frames(some, |frame| matches!(frame, Frame::Subscribed { .. }))?;
        }
        Ok(())
    }

    /// Reads until `count` frames came that `wanted` knows; pings apart, no others may come.
    fn await_frames(
        &mut self,
        count: usize,
        wanted: impl Fn(&Frame<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let mut seen = 0;
        let mut chunk = [0; 64 << 10];
        loop {
            let mut at = 0;
            while let Decoded::Frame { frame, bytes } = decode(&self.received[at..])? {
                if wanted(&frame) {
                    seen += 1;
                } else if !matches!(frame, Frame::Ping { .. }) {
                    bail!("the router said {frame:?}");
                }
                at += bytes;
            }
            self.received.drain(..at);
            if seen == count {
                return Ok(());
            }
            match self.socket.read(&mut chunk)? {
                0 => bail!("the router hung up"),
                more => self.received.extend_from_slice(&chunk[..more]),
            }
        }
    }
}

/// Resident memory of a process.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let pages = text.split_whitespace().nth(1).context("statm has resident pages")?;
    Ok(pages.parse::<u64>()? * PAGE_BYTES)
}
