//! Publishing: all publishers of a thread, kept to the pace of the run.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::batch::Batch;
use super::intake::Intake;
use super::link::End;
use super::publisher::Publisher;
use crate::board::{Board, Totals};
use crate::brief::{Brief, Pace};
use crate::latency::{LatencyHistogram, histogram};
use crate::schedule::Schedule;

#[derive(Debug)]
pub(super) struct Publishing<'a> {
    brief: &'a Brief,
    board: &'a Board,
    publishers: Vec<Publisher>,
    batch: Batch,
    /// From the start to the end of the window, or to the first failure.
    is_on: bool,
    /// Open loop: visits to publishers so far, one per message due. They are due in the order of
    /// the publishers, so the next visit's time is the next message's.
    visits: u64,
    lateness: LatencyHistogram,
}

/// What publishing leaves behind.
#[derive(Debug)]
pub(super) struct Published {
    /// Messages by publisher.
    pub(super) counts: Vec<(u32, u64)>,
    /// Messages due, by the schedule, that were never published.
    pub(super) unsent: u64,
    /// Open loop: how late the generator itself was, nanoseconds.
    pub(super) lateness: LatencyHistogram,
}

impl<'a> Publishing<'a> {
    pub(super) fn new(brief: &'a Brief, board: &'a Board, publishers: Vec<Publisher>) -> Self {
        Self {
            brief,
            board,
            is_on: !publishers.is_empty(),
            publishers,
            batch: Batch::new(brief),
            visits: 0,
            lateness: histogram(),
        }
    }

    /// Publishes what the pace allows; true if that was anything.
    pub(super) fn turn(&mut self, now_ns: u64, epoll: &OwnedFd) -> bool {
        if !self.is_on {
            return false;
        }
        let to_ns = self.brief.window.to_ns;
        self.is_on = now_ns < to_ns && !self.board.is_stopped();
        match self.brief.pace {
            Pace::Closed { window } => self.is_on && self.fill_windows(window, now_ns, epoll),
            Pace::Open(schedule) => {
                // A batch only: whoever catches up must not leave what arrives unread. After the end
                // once more, and then all that was due before it.
                let most = if self.is_on { self.batch.slots() as u64 } else { u64::MAX };
                self.publish_due(&schedule, now_ns.min(to_ns - 1), most, epoll)
            }
        }
    }

    fn fill_windows(&mut self, window: u64, now_ns: u64, epoll: &OwnedFd) -> bool {
        let slots = self.batch.slots() as u64;
        // Half a window at a time: both sides stay busy, and writes stay long.
        let least = (window / 2).clamp(1, slots);
        let mut has_worked = false;
        for publisher in self.publishers.iter_mut().filter(|each| !each.link.is_blocked()) {
            let room = publisher.room(window, self.board);
            if least <= room {
                publisher.publish(room.min(slots), self.brief, &mut self.batch, |_| now_ns);
                publisher.link.settle(epoll);
                has_worked = true;
            }
        }
        has_worked
    }

    fn publish_due(
        &mut self,
        schedule: &Schedule,
        now_ns: u64,
        mut most: u64,
        epoll: &OwnedFd,
    ) -> bool {
        let mut has_worked = false;
        loop {
            let (index, due_ns) = self.next_visit(schedule);
            if now_ns < due_ns || most == 0 {
                return has_worked;
            }
            self.visits += 1;
            has_worked = true;
            if self.brief.window.from_ns <= now_ns {
                self.lateness.saturating_record(now_ns - due_ns);
            }
            let publisher = &mut self.publishers[index];
            most -= publisher.publish_due(schedule, now_ns, most, self.brief, &mut self.batch);
            publisher.link.settle(epoll);
        }
    }

    /// The publisher next in turn, and when its message of that turn is due.
    fn next_visit(&self, schedule: &Schedule) -> (usize, u64) {
        let count = self.publishers.len() as u64;
        let index = (self.visits % count) as usize;
        (index, schedule.due_ns(self.publishers[index].number, self.visits / count))
    }

    /// Time until there may be something to publish; none if only arrivals can change that.
    pub(super) fn wait(&self, now_ns: u64) -> Option<Duration> {
        let (Pace::Open(schedule), true) = (self.brief.pace, self.is_on) else { return None };
        let (_, due_ns) = self.next_visit(&schedule);
        Some(Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }

    /// A publisher's socket may have room, or bytes.
    pub(super) fn attend(
        &mut self,
        index: usize,
        epoll: &OwnedFd,
        intake: &mut Intake<'_>,
    ) -> Result<(), (u32, End)> {
        let publisher = &mut self.publishers[index];
        // What fell due while the socket was full; after this turn nobody may come by for long.
        if let (Pace::Open(schedule), true) = (self.brief.pace, self.is_on) {
            let (now_ns, most) = (self.brief.now_ns(), self.batch.slots() as u64);
            publisher.publish_due(&schedule, now_ns, most, self.brief, &mut self.batch);
        }
        let result = publisher.receive(self.brief, intake);
        publisher.link.settle(epoll);
        result.map_err(|end| (publisher.number, end))
    }

    pub(super) fn link(&mut self, index: usize) -> &mut super::link::Link {
        &mut self.publishers[index].link
    }

    /// The totals that are the publishers'.
    pub(super) fn totals(&self) -> Totals {
        self.publishers.iter().fold(Totals::default(), |sum, publisher| Totals {
            published: sum.published + publisher.published(),
            owed: sum.owed + publisher.owed(),
            ..sum
        })
    }

    pub(super) fn into_published(self) -> Published {
        let end_ns = self.brief.window.to_ns - 1;
        let counts: Vec<_> =
            self.publishers.iter().map(|each| (each.number, each.published())).collect();
        let unsent = match self.brief.pace {
            Pace::Closed { .. } => 0,
            Pace::Open(schedule) => counts
                .iter()
                .map(|&(number, published)| schedule.due_count(number, end_ns) - published)
                .sum(),
        };
        Published { counts, unsent, lateness: self.lateness }
    }
}
