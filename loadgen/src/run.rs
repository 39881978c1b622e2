//! A run: set the stage, start the threads, watch the clock, close the books.
//!
//! ```text
//!   stage --> warm-up --> measured window --> drain: until all has arrived, or its deadline --> report
//!                  \______________\__________^  (a failed connection ends publishing at once)
//! ```
//!
//! The coordinator is the caller's thread. It sleeps, reads counters at both ends of the window,
//! and tells an observer how things stand; the traffic is the generator threads' alone.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::board::{Board, Totals};
use crate::brief::{Brief, Exchange, Pace};
use crate::churn::{self, Churn};
use crate::cpu::{self, MachineTimes, TaskTimes};
use crate::framing::Mold;
use crate::generator::{Generator, Outcome};
use crate::latency::{Sketch, Window};
use crate::load::{Plan, Rate};
use crate::payload::Codec;
use crate::placement;
use crate::random;
use crate::report::Report;
use crate::schedule::Schedule;
use crate::stage::{Stage, StageError};
use crate::wiring::Wiring;
use crate::workload::Workload;

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(200);

/// Between two looks while draining.
const DRAIN_TICK: Duration = Duration::from_millis(5);

/// How long a drained run is watched for copies too many.
const LINGER: Duration = Duration::from_millis(50);

/// Above this window only one message in sixteen is timed: at tens of millions a second, timing
/// all would cost a tenth of the generator.
const WINDOW_FULLY_TIMED: u64 = 16;
const SAMPLE_MASK: u32 = 15;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("cannot watch sockets")]
    Epoll { source: io::Error },
    #[error("cannot read the CPU time of process {pid}")]
    RouterTimes { pid: u32, source: io::Error },
    #[error("cannot read {path}")]
    Proc { path: &'static str, source: io::Error },
}

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

/// All that a run leaves behind.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) started: SystemTime,
    /// At both ends of the window.
    pub(crate) readings: [Reading; 2],
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) churn: Option<Churn>,
    /// Of the readings and all ticks between.
    pub(crate) router_resident_bytes_max: Option<u64>,
}

/// Runs the plan; `observe` is called about five times a second.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(&Progress)) -> Result<Report, RunError> {
    let token = random::token();
    let wiring = Wiring::new(&plan.shape, &token);
    let exchange = match plan.shape.workload {
        Workload::RequestReply => Exchange::RoundTrip { token },
        Workload::OneToOne
        | Workload::ManyToMany
        | Workload::FanOut
        | Workload::Topics
        | Workload::Wildcard
        | Workload::SlowSubscribers
        | Workload::Churn => Exchange::OneWay,
    };
    let framing = plan.target.framing();
    let mold = framing.mold(wiring.name_bytes(), exchange.reply_bytes(), plan.payload_bytes);
    let frame_bytes = mold.frame.len();
    let wanted = match plan.rate {
        Rate::Max => plan.window_wanted(frame_bytes),
        Rate::PerSecond(_) => 0,
    };
    let stage = Stage::set(plan, &wiring, &exchange, wanted, frame_bytes)?;
    let pace = match plan.rate {
        Rate::Max => Pace::Closed { window: stage.window(&wiring, wanted, frame_bytes) },
        Rate::PerSecond(per_s) => Pace::Open(Schedule::new(per_s, plan.shape.publishers_count)),
    };
    perform(plan, &brief(plan, wiring, exchange, mold, pace), stage, observe)
}

fn brief(plan: &Plan, wiring: Wiring, exchange: Exchange, mold: Mold, pace: Pace) -> Brief {
    let framing = plan.target.framing();
    let reply_mold = framing.mold(exchange.reply_bytes().max(1), 0, plan.payload_bytes);
    let from_ns = plan.warm_up.as_nanos() as u64;
    let sample_mask = match pace {
        Pace::Closed { window } if WINDOW_FULLY_TIMED < window => SAMPLE_MASK,
        Pace::Closed { .. } | Pace::Open(_) => 0,
    };
    Brief {
        framing,
        codec: Codec::new(random::number(), plan.payload_bytes),
        delivery: framing.likeness(&mold),
        reply: framing.likeness(&reply_mold),
        exchange,
        mold,
        wiring,
        pace,
        sample_mask,
        base: OnceLock::new(),
        window: Window { from_ns, to_ns: from_ns + plan.duration.as_nanos() as u64 },
        spins: plan.spins,
    }
}

/// From the first message to the report.
fn perform(
    plan: &Plan,
    brief: &Brief,
    stage: Stage,
    observe: &mut dyn FnMut(&Progress),
) -> Result<Report, RunError> {
    let board = Board::new(brief.wiring.gates_count(), plan.threads_count);
    let Stage { shares, stalled, .. } = stage;
    let generators = shares
        .into_iter()
        .enumerate()
        .map(|(thread, share)| Generator::new(brief, &board, thread, share))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|source| RunError::Epoll { source })?;
    let mut watch = Watch { plan, brief, board: &board, observe, resident_bytes_max: None };
    let cpus = placement::choose(&plan.cpus, plan.threads_count, plan.router_pid.as_slice());
    let started = SystemTime::now();
    brief.start();
    let (readings, churn, outcomes) = thread::scope(|scope| {
        let threads: Vec<_> = generators
            .into_iter()
            .zip(cpus)
            .map(|(generator, cpu)| {
                scope.spawn(move || {
                    let _pinned = cpu.map(placement::pin);
                    generator.run()
                })
            })
            .collect();
        let churn = (0 < plan.churn_per_s)
            .then(|| scope.spawn(|| churn::churn(plan, &brief.wiring, &board)));
        let readings = watch.readings();
        board.end();
        (readings, churn.map(joined), threads.into_iter().map(joined).collect())
    });
    drop(stalled);
    let (readings, router_resident_bytes_max) = (readings?, watch.resident_bytes_max);
    let course = Course { started, readings, outcomes, churn, router_resident_bytes_max };
    Ok(Report::new(plan, brief, course))
}

/// A thread's result; its panic becomes this thread's.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the coordinator does while the threads work.
struct Watch<'a> {
    plan: &'a Plan,
    brief: &'a Brief,
    board: &'a Board,
    observe: &'a mut dyn FnMut(&Progress),
    /// Of the router, at any tick so far.
    resident_bytes_max: Option<u64>,
}

impl Watch<'_> {
    /// Waits for both ends of the window and for the drain; the counters at both ends.
    fn readings(&mut self) -> Result<[Reading; 2], RunError> {
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

    fn read(&self) -> Result<Reading, RunError> {
        let tids = self.board.tids();
        let own_pid = std::process::id();
        // A router in this very process is charged with everything but the generator.
        let router = self
            .plan
            .router_pid
            .map(|pid| {
                TaskTimes::read(pid, |tid| !tids.contains(&tid))
                    .map_err(|source| RunError::RouterTimes { pid, source })
            })
            .transpose()?;
        let generator = TaskTimes::read(own_pid, |tid| tids.contains(&tid))
            .map_err(|source| RunError::RouterTimes { pid: own_pid, source })?;
        let machine =
            MachineTimes::read().map_err(|source| RunError::Proc { path: "/proc/stat", source })?;
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
