//! A run: set the stage, start the threads, watch the clock, close the books.
//!
//! ```text
//!   stage --> warm-up --> measured window --> drain: until all has arrived, or its deadline --> report
//!                  \______________\__________^  (a failed connection ends publishing at once)
//! ```
//!
//! The caller's thread is the coordinator (`watch.rs`); the traffic is the generator threads' alone.

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::SystemTime;

use crate::board::Board;
use crate::brief::{Brief, Exchange, Pace};
use crate::churn::{self, Churn};
use crate::framing::Mold;
use crate::generator::{Generator, Outcome};
use crate::latency::Window;
use crate::load::{Plan, Rate};
use crate::payload::Codec;
use crate::placement;
use crate::random;
use crate::report::Report;
use crate::schedule::Schedule;
use crate::stage::{Stage, StageError};
use crate::watch::{Progress, Reading, Watch, WatchError};
use crate::wiring::Wiring;
use crate::workload::Workload;

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
    #[error(transparent)]
    Watch(#[from] WatchError),
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
    let mut watch = Watch::new(plan, brief, &board, observe);
    let router_pids: Vec<_> = plan.router_pid.iter().chain(&plan.keep_off_pids).copied().collect();
    let cpus = placement::choose(&plan.cpus, plan.threads_count, &router_pids);
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
    let (readings, router_resident_bytes_max) = (readings?, watch.resident_bytes_max());
    let course = Course { started, readings, outcomes, churn, router_resident_bytes_max };
    Ok(Report::new(plan, brief, course))
}

/// A thread's result; its panic becomes this thread's.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
