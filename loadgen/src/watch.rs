//! Watch: what the coordinator does while the generator threads work.
//!
//! It sleeps, reads the counters at both ends of the measured window, and tells an observer how
//! things stand in between.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::board::{Board, Totals};
use crate::brief::Brief;
use crate::cpu::{self, MachineTimes, TaskTimes};
use crate::latency::Sketch;
use crate::load::Plan;

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(200);

/// Between two looks while draining.
const DRAIN_TICK: Duration = Duration::from_millis(5);

/// How long a drained run is watched for copies too many.
const LINGER: Duration = Duration::from_millis(50);

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub phase: Phase,
    /// Since the first message.
    pub elapsed: Duration,
    /// Warm-up and measured window together.
    pub total: Duration,
    pub published: u64,
    pub received: u64,
    /// Of messages due in the window so far; good to 12 %. None before the first.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    WarmUp,
    Measuring,
    Draining,
}

/// All counters at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub at: Instant,
    pub totals: Totals,
    pub router: Option<TaskTimes>,
    pub router_resident_bytes: Option<u64>,
    pub generator: TaskTimes,
    pub machine: MachineTimes,
}

/// Why counters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such process, or one that may not be looked at.
    #[error("cannot read the CPU time of process {pid}")]
    TaskTimes { pid: u32, source: io::Error },
    #[error("cannot read /proc/stat")]
    MachineTimes { source: io::Error },
}

/// A run being watched.
pub(crate) struct Watch<'a> {
    plan: &'a Plan,
    brief: &'a Brief,
    board: &'a Board,
    observe: &'a mut dyn FnMut(&Progress),
    resident_bytes_max: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        brief: &'a Brief,
        board: &'a Board,
        observe: &'a mut dyn FnMut(&Progress),
    ) -> Self {
        Self { plan, brief, board, observe, resident_bytes_max: None }
    }

    /// The most memory of the router seen so far.
    pub(crate) fn resident_bytes_max(&self) -> Option<u64> {
        self.resident_bytes_max
    }

    /// Waits for both ends of the window and for the drain; the counters at both ends.
    pub(crate) fn readings(&mut self) -> Result<[Reading; 2], WatchError> {
        let start = self.brief.start();
        let window = self.brief.window;
        self.wait_until(start + Duration::from_nanos(window.from_ns), Phase::WarmUp);
        let before = self.read()?;
        self.wait_until(start + Duration::from_nanos(window.to_ns), Phase::Measuring);
        let after = self.read()?;
        self.drain(Instant::now() + self.plan.drain);
        Ok([before, after])
    }

    /// Sleeps, reporting, until then or until a connection has failed.
    fn wait_until(&mut self, end: Instant, phase: Phase) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.board.is_stopped() {
                return;
            }
            thread::sleep(left.min(TICK));
            self.tell(phase);
        }
    }

    fn drain(&mut self, deadline: Instant) {
        let mut told = Instant::now();
        while Instant::now() < deadline {
            let Totals { owed, received, .. } = self.board.totals();
            if owed == received {
                thread::sleep(LINGER);
                // What a thread was publishing at the end of the window is entered by now.
                if self.board.totals() == (Totals { owed, received, ..self.board.totals() }) {
                    return;
                }
            }
            thread::sleep(DRAIN_TICK);
            if TICK < told.elapsed() {
                told = Instant::now();
                self.tell(Phase::Draining);
            }
        }
    }

    fn tell(&mut self, phase: Phase) {
        let resident_bytes = self.plan.router_pid.and_then(cpu::resident_bytes);
        self.resident_bytes_max = self.resident_bytes_max.max(resident_bytes);
        let Totals { published, received, .. } = self.board.totals();
        let quantile_us = |quantile| {
            Sketch::quantile_ns(self.board.sketches(), quantile).map(|ns| ns as f64 / 1e3)
        };
        (self.observe)(&Progress {
            phase,
            elapsed: Instant::now().saturating_duration_since(self.brief.start()),
            total: Duration::from_nanos(self.brief.window.to_ns),
            published,
            received,
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
        });
    }

    fn read(&self) -> Result<Reading, WatchError> {
        let tids = self.board.tids();
        let own_pid = std::process::id();
        // A router in this very process is charged with everything but the generator.
        let router = self
            .plan
            .router_pid
            .map(|pid| {
                TaskTimes::read(pid, |tid| !tids.contains(&tid))
                    .map_err(|source| WatchError::TaskTimes { pid, source })
            })
            .transpose()?;
        let generator = TaskTimes::read(own_pid, |tid| tids.contains(&tid))
            .map_err(|source| WatchError::TaskTimes { pid: own_pid, source })?;
        let machine = MachineTimes::read().map_err(|source| WatchError::MachineTimes { source })?;
        Ok(Reading {
            at: Instant::now(),
            totals: self.board.totals(),
            router,
            router_resident_bytes: self.plan.router_pid.and_then(cpu::resident_bytes),
            generator,
            machine,
        })
    }
}
