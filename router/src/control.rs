//! The control core: everything of the node that is not on the way of a message.
//!
//! One executor, whose only task waits in one `epoll` until the nearest deadline, as a shard's waits in
//! its ring (ADR 0007). It takes the node into its cluster and out of it, stops the shards when asked, and
//! looks at them once a second: how long the node has been up, and whether a shard that has work does not
//! turn. A shard never delays it but by the CPU they share, if they share one.
//!
//! ```text
//!   requests --+
//!   links -----+--> wait --> TURN: requests, links, what follows from them, the look --> wait
//!   deadlines -+
//!
//!   SERVING --Stop--> LEAVING --said goodbye, or LEAVE_MAX over--> shards are stopped --End--> over
//! ```

use std::io;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Poll, Registry, Token, Waker};
use mpreg_fabric::time::Instant;
use mpreg_proto::member::LeaveReason;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::limits::{LEAVE_MAX, STALL_AFTER};
use crate::mesh::{Bell, Command};
use crate::probe::{ControlProbe, ShardProbe};

mod data_links;
mod facts;
pub mod network;
mod news;
pub mod question;
pub mod recorder;
pub mod report;
mod seed_file;
pub mod services;

use network::Network;
use question::Question;
use report::{Ears, Report, Reporters};

/// What the process asks of the control core.
#[derive(Debug)]
pub enum Request {
    /// Say goodbye to other nodes, then stop every shard.
    Stop,
    /// Take nobody in any more, and tell NATS clients to go elsewhere.
    LameDuck,
    /// All shards have ended: end too.
    End,
    /// An operator wants to know something. A node without others drops it.
    Answer(Box<Question>),
}

/// The process's end of the control core's inbox.
#[derive(Clone, Debug)]
pub struct Desk {
    requests: Sender<Request>,
    waker: Arc<Waker>,
    /// What shards are given to report by.
    pub reporters: Reporters,
    /// What nodes say of the message that is being traced, for whoever has it traced.
    pub traces: Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>,
}

/// The control core's end.
#[derive(Debug)]
pub struct Inbox {
    requests: Receiver<Request>,
    reports: Receiver<Report>,
    poll: Poll,
}

/// Requests that may wait: those made once in a process's life, and a question of each of the operators'
/// connections.
const REQUESTS_MAX: usize = 4 + 32;

/// What the kernel may say at a time.
const EVENTS: usize = 256;

/// Somebody has something for the control core. Tokens from the next one on are those of links.
const WAKE: Token = Token(0);
pub const LINKS: Token = Token(1);

pub fn inbox() -> io::Result<(Desk, Inbox)> {
    let (sender, requests) = bounded(REQUESTS_MAX);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (reporters, Ears { reports, traces }) = report::reports(waker.clone());
    let traces = Arc::new(tokio::sync::Mutex::new(traces));
    Ok((Desk { requests: sender, waker, reporters, traces }, Inbox { requests, reports, poll }))
}

impl Desk {
    /// Asks; a full inbox holds more than a process and its operators ask at a time.
    pub fn ask(&self, request: Request) {
        if let Err(error) = self.requests.try_send(request) {
            tracing::warn!(%error, "asking the control core");
        }
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "waking the control core");
        }
    }

    /// Wakes the control core, for those that have something for it.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }
}

impl Inbox {
    /// Where links say what they wait for.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }
}

/// What the control core looks at.
pub struct Watch {
    pub clock: Clock,
    pub bells: Arc<[Bell]>,
    pub shards: Vec<Arc<ShardProbe>>,
    pub probe: Arc<ControlProbe>,
}

/// Runs the control core until asked to end. It waits without yielding: nothing else runs on its
/// executor.
pub fn run(inbox: Inbox, watch: Watch, network: Option<Network>) -> io::Result<()> {
    let Inbox { requests, reports, mut poll } = inbox;
    let clock = watch.clock;
    let turns = vec![0; watch.shards.len()];
    let look_due = clock.now();
    let mut core = Core { watch, turns, look_due, network, leave_until: None };
    let mut ready = Events::with_capacity(EVENTS);
    loop {
        let wait = core.deadline().since(clock.now());
        match poll.poll(&mut ready, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            polled => polled?,
        }
        let now = clock.now();
        for request in requests.try_iter() {
            match request {
                Request::Stop => core.leave(now),
                Request::LameDuck => core.lame_duck(),
                Request::End => return Ok(()),
                Request::Answer(question) => core.answer(*question, now),
            }
        }
        reports.try_iter().for_each(|report| core.hear(report, now));
        core.turn(&ready, now);
    }
}

struct Core {
    watch: Watch,
    /// Turns of each shard at the last look.
    turns: Vec<u64>,
    look_due: Instant,
    /// `None`: the node is alone.
    network: Option<Network>,
    /// The node says goodbye, until then at most.
    leave_until: Option<Instant>,
}

impl Core {
    fn deadline(&self) -> Instant {
        let of_network = self.network.as_ref().map_or(Instant::NEVER, Network::deadline);
        self.look_due.min(of_network).min(self.leave_until.unwrap_or(Instant::NEVER))
    }

    fn lame_duck(&self) {
        self.watch.bells.iter().for_each(|bell| bell.command(Command::LameDuck));
        tracing::info!("lame duck: clients are told to go elsewhere");
    }

    fn hear(&mut self, report: Report, now: Instant) {
        if let Some(network) = &mut self.network {
            network.hear(report, now);
        }
    }

    fn answer(&mut self, question: Question, now: Instant) {
        if let Some(network) = &mut self.network {
            network.answer(question, now);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.leave_until = Some(now + LEAVE_MAX);
        if let Some(network) = &mut self.network {
            network.leave(LeaveReason::Shutdown, now);
        }
    }

    fn turn(&mut self, ready: &Events, now: Instant) {
        if let Some(network) = &mut self.network {
            let of_links = ready.iter().filter(|ready| ready.token() != WAKE);
            network.turn(of_links, now);
        }
        self.stop_shards(now);
        if self.look_due <= now {
            self.look_due = now + STALL_AFTER;
            self.look(now);
        }
    }

    /// Once the other nodes have been told, so that nothing more comes from them.
    fn stop_shards(&mut self, now: Instant) {
        let has_left = self.network.as_ref().is_none_or(Network::has_left);
        if self.leave_until.is_some_and(|until| has_left || until <= now) {
            self.leave_until = None;
            self.watch.bells.iter().for_each(|bell| bell.command(Command::Stop));
            tracing::info!(shards = self.watch.bells.len(), has_left, "stopping");
        }
    }

    /// Once a second.
    fn look(&mut self, now: Instant) {
        let Watch { bells, shards, probe, .. } = &self.watch;
        probe.uptime_s.set(now.as_nanos() / 1_000_000_000);
        let mut stalled = 0;
        for ((shard, bell), before) in shards.iter().zip(bells.iter()).zip(&mut self.turns) {
            let turned = shard.turns.get();
            stalled += u64::from(turned == *before && !bell.resting().is_resting());
            *before = turned;
        }
        probe.shards_stalled.set(stalled);
        if let Some(network) = &mut self.network {
            network.look(now);
        }
    }
}
