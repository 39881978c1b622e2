//! Generator: one thread that publishes, receives and verifies its share of a run.
//!
//! ```text
//!   turn: publish what the pace allows --> wait for events (not at all while spinning)
//!           ^                                  |
//!           |                                  v
//!         post tallies <-- receive: cut into frames, read payloads, ledger, gates, latency
//! ```
//!
//! Nothing in a turn allocates or takes a lock once buffers have grown to their size.
//!
//! Invariants:
//! - A publisher's bytes go out in order and whole: what the socket does not take waits in its
//!   outbox, and it publishes nothing new until that is empty.
//! - A failed connection stops publishing everywhere; receiving goes on.

mod batch;
mod intake;
mod link;
mod publisher;
mod publishing;
mod subscriber;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::board::{Board, Totals};
use crate::brief::Brief;
use crate::latency::LatencyHistogram;
use crate::ledger::{Faults, Ledger};
use crate::session::Session;

use intake::{Intake, Taken};
use link::{Drained, Link};
use publisher::Publisher;
use publishing::{Published, Publishing};
use subscriber::Subscriber;

/// Events taken per wait. More are left for the next turn, so that publishing is not kept waiting.
const EVENTS_MAX: usize = 256;

/// Longest wait when not spinning: a gate opened by another thread is seen this late at worst.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// Marks the event data of subscribers; the rest is an index.
const SUBSCRIBER_BIT: u64 = 1 << 32;

/// The connections of one thread, each with its number in the run.
#[derive(Debug, Default)]
pub(crate) struct Share {
    pub publishers: Vec<(u32, Session)>,
    pub subscribers: Vec<(u32, Session)>,
}

/// One generator thread.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    brief: &'a Brief,
    board: &'a Board,
    thread: usize,
    epoll: OwnedFd,
    publishing: Publishing<'a>,
    subscribers: Vec<Subscriber>,
    /// Subscribers with more to read than one turn takes.
    unread: Vec<usize>,
    intake: Intake<'a>,
    busy_ns: u64,
    failures: Vec<String>,
}

/// What a thread has to tell at the end.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages published, by publisher.
    pub published: Vec<(u32, u64)>,
    /// Messages due, by the schedule, that were never published.
    pub unsent: u64,
    /// Arrivals at this thread's subscribers, by flow.
    pub ledger: Ledger,
    /// Request-reply: replies at this thread's publishers, by stream.
    pub replies: Ledger,
    /// `corrupted` and `misrouted` only; the ledgers know the rest.
    pub damage: Faults,
    pub no_responders: u64,
    pub intervals: Vec<LatencyHistogram>,
    /// Open loop: how late the generator itself was, nanoseconds.
    pub lateness: LatencyHistogram,
    /// Connections that ended before the run did, and why.
    pub failures: Vec<String>,
}

impl<'a> Generator<'a> {
    /// Takes over sessions that are open and subscribed.
    pub(crate) fn new(
        brief: &'a Brief,
        board: &'a Board,
        thread: usize,
        share: Share,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut publishers = Vec::new();
        for (publisher, session) in share.publishers {
            let data = publishers.len() as u64;
            let link = Link::new(session.into_parts(), brief.framing, &epoll, data)?;
            publishers.push(Publisher::new(publisher, link, brief));
        }
        let mut subscribers = Vec::new();
        for (subscriber, session) in share.subscribers {
            let data = subscribers.len() as u64 | SUBSCRIBER_BIT;
            let link = Link::new(session.into_parts(), brief.framing, &epoll, data)?;
            subscribers.push(Subscriber::new(subscriber, link));
        }
        Ok(Self {
            brief,
            board,
            thread,
            epoll,
            publishing: Publishing::new(brief, board, publishers),
            subscribers,
            unread: Vec::new(),
            intake: Intake::new(brief, board, thread),
            busy_ns: 0,
            failures: Vec::new(),
        })
    }

    /// Works until the board says it is over.
    pub(crate) fn run(mut self) -> Outcome {
        self.board.tally(self.thread).begin();
        std::thread::sleep(self.brief.start().saturating_duration_since(Instant::now()));
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.board.is_over() {
            let now_ns = self.brief.now_ns();
            let has_published = self.publishing.turn(now_ns, &self.epoll);
            let timeout = if has_published { Duration::ZERO } else { self.timeout(now_ns) };
            let has_received = self.receive(&mut events, timeout);
            if has_published || has_received {
                self.busy_ns += self.brief.now_ns() - now_ns;
                self.post();
            }
        }
        self.into_outcome()
    }

    fn timeout(&self, now_ns: u64) -> Duration {
        if self.brief.spins || !self.unread.is_empty() {
            return Duration::ZERO;
        }
        self.publishing.wait(now_ns).map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX))
    }

    /// Takes what has arrived, waiting for it at most `timeout`; true if that was anything.
    fn receive(&mut self, events: &mut Vec<epoll::Event>, timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        events.clear();
        let spare = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => self.fail(format!("epoll_wait: {error}")),
        }
        let unread = std::mem::take(&mut self.unread);
        let has_worked = !events.is_empty() || !unread.is_empty();
        for subscriber in unread {
            self.receive_at_subscriber(subscriber);
        }
        for &epoll::Event { flags, data } in events.iter() {
            let index = (data.u64() & (SUBSCRIBER_BIT - 1)) as usize;
            if data.u64() & SUBSCRIBER_BIT != 0 {
                self.subscribers[index].link.heed(flags);
                self.receive_at_subscriber(index);
            } else {
                self.publishing.link(index).heed(flags);
                if let Err((number, end)) =
                    self.publishing.attend(index, &self.epoll, &mut self.intake)
                {
                    self.fail(format!("publisher {number}: {end}"));
                }
            }
        }
        self.intake.open_gate();
        has_worked
    }

    fn receive_at_subscriber(&mut self, index: usize) {
        let subscriber = &mut self.subscribers[index];
        let result = subscriber.receive(self.brief, &mut self.intake);
        subscriber.link.settle(&self.epoll);
        match result {
            Ok(Drained::Yes) => (),
            Ok(Drained::No) => self.unread.push(index),
            Err(end) => {
                let failure = format!("subscriber {}: {end}", subscriber.number);
                self.fail(failure);
            }
        }
    }

    fn fail(&mut self, failure: String) {
        self.failures.push(failure);
        self.board.stop();
    }

    fn post(&self) {
        let (received, busy_ns) = (self.intake.received(), self.busy_ns);
        let totals = Totals { received, busy_ns, ..self.publishing.totals() };
        self.board.tally(self.thread).post(totals);
    }

    fn into_outcome(self) -> Outcome {
        let Published { counts, unsent, lateness } = self.publishing.into_published();
        let Taken { ledger, replies, damage, no_responders, intervals } = self.intake.into_taken();
        Outcome {
            published: counts,
            unsent,
            ledger,
            replies,
            damage,
            no_responders,
            intervals,
            lateness,
            failures: self.failures,
        }
    }
}
