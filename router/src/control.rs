//! The control core: everything of the node that is not on the way of a message.
//!
//! It stops the shards when asked, and looks at them once a second: how long the node has been up,
//! and whether a shard that has work does not turn.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use glommio::io::BufferedFile;
use glommio::timer::Timer;
use rustix::event::{EventfdFlags, eventfd};

pub mod report;

use report::{Report, Reporters};

use crate::clock::Clock;
use crate::limits::STALL_AFTER;
use crate::mesh::{Bell, Command};
use crate::probe::{ControlProbe, ShardProbe};

/// What the process asks of the control core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop every shard.
    Stop,
    /// Take nobody in any more, and tell NATS clients to go elsewhere.
    LameDuck,
    /// All shards have ended: end too.
    End,
}

/// The process's end of the control core's inbox.
#[derive(Debug)]
pub struct Desk {
    requests: Sender<Request>,
    eventfd: OwnedFd,
    /// What shards are given to report by.
    pub reporters: Reporters,
}

/// The control core's end.
#[derive(Debug)]
pub struct Inbox {
    requests: Receiver<Request>,
    reports: Receiver<Report>,
    eventfd: OwnedFd,
}

/// Requests that may wait: each is made once in a process's life.
const REQUESTS_MAX: usize = 4;

pub fn inbox() -> io::Result<(Desk, Inbox)> {
    let (sender, requests) = bounded(REQUESTS_MAX);
    let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
    let (reporters, reports) = report::reports(eventfd.try_clone()?);
    let desk = Desk { requests: sender, eventfd: eventfd.try_clone()?, reporters };
    Ok((desk, Inbox { requests, reports, eventfd }))
}

impl Desk {
    /// Asks; a full inbox already holds the same.
    pub fn ask(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            tracing::debug!(?request, "the control core has been asked before");
        }
        if let Err(error) = rustix::io::write(self.eventfd.as_fd(), &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "waking the control core");
        }
    }
}

/// What the control core looks at.
pub struct Watch {
    pub clock: Clock,
    pub bells: Arc<[Bell]>,
    pub shards: Vec<Arc<ShardProbe>>,
    pub probe: Arc<ControlProbe>,
}

/// Runs the control core until asked to end.
pub async fn run(inbox: Inbox, watch: Watch) -> io::Result<()> {
    let bells = watch.bells.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let seen_over = is_over.clone();
    let watching = glommio::spawn_local(async move { watch.look(&seen_over).await }).detach();
    // SAFETY: the descriptor is ours alone and is given up here; the file closes it.
    #[expect(unsafe_code, reason = "the executor awaits a foreign descriptor in no other way")]
    let eventfd = unsafe { BufferedFile::from_raw_fd(inbox.eventfd.into_raw_fd()) };
    'asked: loop {
        let read = eventfd.read_at(0, size_of::<u64>()).await;
        read.map_err(|error| io::Error::other(error.to_string()))?;
        for report in inbox.reports.try_iter() {
            tracing::trace!(?report, "a shard reports");
        }
        for request in inbox.requests.try_iter() {
            match request {
                Request::Stop => {
                    bells.iter().for_each(|bell| bell.command(Command::Stop));
                    tracing::info!(shards = bells.len(), "stopping");
                }
                Request::LameDuck => {
                    bells.iter().for_each(|bell| bell.command(Command::LameDuck));
                    tracing::info!("lame duck: clients are told to go elsewhere");
                }
                Request::End => break 'asked,
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    watching.cancel();
    Ok(())
}

impl Watch {
    /// Once a second.
    async fn look(&self, is_over: &AtomicBool) {
        let mut turns: Vec<u64> = vec![0; self.shards.len()];
        while !is_over.load(Ordering::Relaxed) {
            Timer::new(STALL_AFTER).await;
            self.probe.uptime_s.set(self.clock.now().as_nanos() / 1_000_000_000);
            let mut stalled = 0;
            for ((shard, bell), before) in self.shards.iter().zip(self.bells.iter()).zip(&mut turns)
            {
                let turned = shard.turns.get();
                stalled += u64::from(turned == *before && !bell.resting().is_resting());
                *before = turned;
            }
            self.probe.shards_stalled.set(stalled);
        }
    }
}
