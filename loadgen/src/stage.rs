//! Stage: everything connected and subscribed, so that traffic may begin.

use crate::brief::{Exchange, REPLY_DIGITS};
use crate::framing::Granted;
use crate::generator::Share;
use crate::load::Plan;
use crate::session::{Session, SessionError};
use crate::target::Target;
use crate::wiring::Wiring;

/// Descriptors the process needs besides its connections.
const FILES_SPARE: u64 = 64;

/// Part of a router's queue that windows may fill: it counts more than the frames.
const QUEUE_SHARE: u64 = 2;

/// What a reader that never reads lets the kernel hold for it.
const STALLED_BUFFER_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Stage {
    /// The measured connections, by thread.
    pub shares: Vec<Share>,
    /// Open, subscribed, never read; closed when dropped.
    pub stalled: Vec<Session>,
    /// The smallest queue granted to a measured subscriber.
    pub queue_bytes: u64,
}

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("needs {needed} open files, the limit is {limit}; raise it with ulimit -n")]
    TooFewFiles { needed: u64, limit: u64 },
    #[error("cannot set up a socket that never reads")]
    Stalled { source: std::io::Error },
}

impl Stage {
    /// Subscribers first, then those that never read, then publishers, so that the first message
    /// meets everyone it is for. `window` is the one wished for; zero in an open loop.
    pub(crate) fn set(
        plan: &Plan,
        wiring: &Wiring,
        exchange: &Exchange,
        window: u64,
        frame_bytes: usize,
    ) -> Result<Self, StageError> {
        raise_file_limit(plan)?;
        let queue_wanted = match plan.queue_bytes {
            Some(bytes) => bytes,
            None if !plan.target.framing().asks_for_queue() => 0,
            None => queue_bytes(wiring, window, frame_bytes),
        };
        let mut stage = Self {
            shares: (0..plan.threads_count).map(|_| Share::default()).collect(),
            stalled: Vec::new(),
            queue_bytes: u64::MAX,
        };
        for subscriber in 0..wiring.subscribers_count() as u32 {
            let name = format!("load-sub-{subscriber}");
            let mut session = open(plan, &plan.subscribers_at, &name, queue_wanted)?;
            session.subscribe(wiring.patterns(subscriber))?;
            let Granted { queue_bytes, .. } = session.granted();
            stage.queue_bytes = stage.queue_bytes.min(queue_bytes);
            let thread = subscriber as usize % plan.threads_count;
            stage.shares[thread].subscribers.push((subscriber, session));
        }
        for stalled in 0..plan.stalled_count {
            stage.stalled.push(open_stalled(plan, wiring, stalled)?);
        }
        for publisher in 0..wiring.publishers_count() as u32 {
            let name = format!("load-pub-{publisher}");
            let mut session = open(plan, &plan.target, &name, queue_wanted)?;
            if let Exchange::RoundTrip { .. } = exchange {
                session.subscribe(&[format!("{}*", exchange.inbox(publisher))])?;
            }
            let thread = publisher as usize % plan.threads_count;
            stage.shares[thread].publishers.push((publisher, session));
        }
        std::thread::sleep(plan.settle);
        Ok(stage)
    }

    /// The window at which no router queue can overflow, at most `window`.
    pub(crate) fn window(&self, wiring: &Wiring, window: u64, frame_bytes: usize) -> u64 {
        let heard = wiring.publishers_heard_max() as u64;
        let fits = self.queue_bytes / QUEUE_SHARE / (heard * frame_bytes as u64);
        window.min(fits.max(1))
    }
}

fn open(plan: &Plan, at: &Target, name: &str, queue_bytes: u32) -> Result<Session, SessionError> {
    Session::open(at, &plan.sockets, name, queue_bytes)
}

fn open_stalled(plan: &Plan, wiring: &Wiring, stalled: usize) -> Result<Session, StageError> {
    let mut session = open(plan, &plan.subscribers_at, &format!("load-stalled-{stalled}"), 0)?;
    session
        .stream()
        .set_receive_buffer(STALLED_BUFFER_BYTES)
        .map_err(|source| StageError::Stalled { source })?;
    session.subscribe(wiring.patterns((stalled % wiring.subscribers_count()) as u32))?;
    Ok(session)
}

/// The queue a subscriber needs for the windows of all publishers it hears.
fn queue_bytes(wiring: &Wiring, window: u64, frame_bytes: usize) -> u32 {
    let frames = window * wiring.publishers_heard_max() as u64;
    let bytes = frames * (frame_bytes + REPLY_DIGITS) as u64 * QUEUE_SHARE;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Asks the kernel for as many descriptors as the plan needs.
fn raise_file_limit(plan: &Plan) -> Result<(), StageError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let shape = &plan.shape;
    let needed = FILES_SPARE
        + (shape.publishers_count + shape.subscribers_count + plan.stalled_count) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|limit| needed <= limit) {
        return Ok(());
    }
    let raised = Rlimit { current: maximum, maximum };
    let limit = maximum.unwrap_or(u64::MAX);
    if limit < needed || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(StageError::TooFewFiles { needed, limit: limit.min(current.unwrap_or(limit)) });
    }
    Ok(())
}
