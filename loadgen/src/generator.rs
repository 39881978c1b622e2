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
mod subscriber;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::board::{Board, Totals};
use crate::brief::{Brief, Pace};
use crate::latency::{LatencyHistogram, histogram};
use crate::ledger::{Faults, Ledger};
use crate::schedule::Schedule;
use crate::session::Session;

use batch::Batch;
use intake::Intake;
use link::Link;
use publisher::Publisher;
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
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Subscribers with more to read than one turn takes.
    unread: Vec<usize>,
    is_publishing: bool,
    /// Open loop: visits to publishers so far; one visit per message due.
    visits: u64,
    batch: Batch,
    intake: Intake<'a>,
    busy_ns: u64,
    lateness: LatencyHistogram,
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
            let link = Link::new(session, &epoll, publishers.len() as u64)?;
            publishers.push(Publisher::new(publisher, link, brief));
        }
        let mut subscribers = Vec::new();
        for (subscriber, session) in share.subscribers {
            let data = subscribers.len() as u64 | SUBSCRIBER_BIT;
            subscribers.push(Subscriber::new(subscriber, Link::new(session, &epoll, data)?));
        }
        Ok(Self {
            brief,
            board,
            thread,
            epoll,
            publishers,
            subscribers,
            unread: Vec::new(),
            is_publishing: true,
            visits: 0,
            batch: Batch::new(brief),
            intake: Intake::new(brief, board, thread),
            busy_ns: 0,
            lateness: histogram(),
            failures: Vec::new(),
        })
    }

    /// Works until the board says it is over.
    pub(crate) fn run(mut self) -> Outcome {
        self.board.tally(self.thread).begin();
        std::thread::sleep(self.brief.start().saturating_duration_since(Instant::now()));
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now_ns = self.brief.now_ns();
            let mut has_worked = false;
            if self.is_publishing {
                has_worked |= self.publish(now_ns);
            }
            has_worked |= self.receive(&mut events, self.timeout(now_ns, has_worked));
            if has_worked {
                self.busy_ns += self.brief.now_ns() - now_ns;
                self.post();
            }
            if self.board.is_over() {
                return self.into_outcome();
            }
        }
    }

    /// Publishes what the pace allows; true if that was anything.
    fn publish(&mut self, now_ns: u64) -> bool {
        let to_ns = self.brief.window.to_ns;
        self.is_publishing = now_ns < to_ns && !self.board.is_stopped();
        match self.brief.pace {
            Pace::Closed { window } => self.is_publishing && self.publish_closed(window, now_ns),
            // Once more after the end: all that was due before it.
            Pace::Open(schedule) => self.publish_due(&schedule, now_ns.min(to_ns - 1)),
        }
    }

    fn publish_closed(&mut self, window: u64, now_ns: u64) -> bool {
        let slots = self.batch.slots() as u64;
        // Half a window at a time: both sides stay busy, and writes stay long.
        let least = (window / 2).clamp(1, slots);
        let mut has_worked = false;
        for publisher in &mut self.publishers {
            if publisher.link.is_blocked() {
                continue;
            }
            let room = publisher.room(window, self.board);
            if least <= room {
                publisher.publish(room.min(slots), self.brief, &mut self.batch, |_| now_ns);
                publisher.link.settle(&self.epoll);
                has_worked = true;
            }
        }
        has_worked
    }

    fn publish_due(&mut self, schedule: &Schedule, now_ns: u64) -> bool {
        let count = self.publishers.len() as u64;
        let mut has_worked = false;
        if count == 0 {
            return false;
        }
        loop {
            let publisher = &mut self.publishers[(self.visits % count) as usize];
            let due_ns = schedule.due_ns(publisher.number, self.visits / count);
            if now_ns < due_ns {
                return has_worked;
            }
            self.visits += 1;
            has_worked = true;
            if now_ns >= self.brief.window.from_ns {
                self.lateness.saturating_record(now_ns - due_ns);
            }
            publisher.publish_due(schedule, now_ns, self.brief, &mut self.batch);
            publisher.link.settle(&self.epoll);
        }
    }

    fn timeout(&self, now_ns: u64, has_worked: bool) -> Duration {
        if self.brief.spins || has_worked || !self.unread.is_empty() {
            return Duration::ZERO;
        }
        let count = self.publishers.len() as u64;
        let (Pace::Open(schedule), true) = (self.brief.pace, self.is_publishing && 0 < count)
        else {
            return WAIT_MAX;
        };
        let next = &self.publishers[(self.visits % count) as usize];
        let due_ns = schedule.due_ns(next.number, self.visits / count);
        Duration::from_nanos(due_ns.saturating_sub(now_ns)).min(WAIT_MAX)
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
                self.subscribers[index].link.note(flags);
                self.receive_at_subscriber(index);
                self.subscribers[index].link.settle(&self.epoll);
            } else {
                self.handle_publisher(index, flags);
            }
        }
        self.intake.open_gate();
        has_worked
    }

    fn receive_at_subscriber(&mut self, index: usize) {
        let subscriber = &mut self.subscribers[index];
        match subscriber.receive(self.brief, &mut self.intake) {
            Ok(link::Drained::Yes) => (),
            Ok(link::Drained::No) => self.unread.push(index),
            Err(end) => {
                let failure = format!("subscriber {}: {end}", subscriber.number);
                self.fail(failure);
            }
        }
    }

    fn handle_publisher(&mut self, index: usize, flags: epoll::EventFlags) {
        let publisher = &mut self.publishers[index];
        publisher.link.note(flags);
        let mut result = Ok(());
        if flags.contains(epoll::EventFlags::OUT) {
            publisher.link.flush();
            // What fell due while the socket was full.
            if let (Pace::Open(schedule), true) = (self.brief.pace, self.is_publishing) {
                let now_ns = self.brief.now_ns();
                publisher.publish_due(&schedule, now_ns, self.brief, &mut self.batch);
            }
        }
        if flags != epoll::EventFlags::OUT {
            result = publisher.receive(self.brief, &mut self.intake);
        }
        publisher.link.settle(&self.epoll);
        if let Err(end) = result {
            let failure = format!("publisher {}: {end}", publisher.number);
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: String) {
        self.failures.push(failure);
        self.board.stop();
    }

    fn post(&self) {
        let totals = self.publishers.iter().fold(Totals::default(), |sum, publisher| Totals {
            published: sum.published + publisher.published(),
            owed: sum.owed + publisher.owed(),
            ..sum
        });
        let received = self.intake.received();
        self.board.tally(self.thread).post(Totals { received, busy_ns: self.busy_ns, ..totals });
    }

    fn into_outcome(self) -> Outcome {
        let unsent = match self.brief.pace {
            Pace::Closed { .. } => 0,
            Pace::Open(schedule) => self
                .publishers
                .iter()
                .map(|publisher| {
                    let end_ns = self.brief.window.to_ns - 1;
                    schedule.due_count(publisher.number, end_ns) - publisher.published()
                })
                .sum(),
        };
        let published =
            self.publishers.iter().map(|each| (each.number, each.published())).collect();
        let taken = self.intake.into_taken();
        Outcome {
            published,
            unsent,
            ledger: taken.ledger,
            replies: taken.replies,
            damage: taken.damage,
            no_responders: taken.no_responders,
            intervals: taken.intervals,
            lateness: self.lateness,
            failures: self.failures,
        }
    }
}
