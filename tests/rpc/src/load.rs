//! So many calls a second whatever becomes of them, or so many at a time.
//!
//! A call is timed from when it is sent. At a rate, nothing waits for earlier ones, so what is slow is
//! timed as often as what is fast.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::contender::Caller;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Rate(u64),
    InFlight(usize),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "at {rate}/s"),
            Self::InFlight(count) => write!(f, "{count} in flight"),
        }
    }
}

/// What a turn came to.
pub struct Turn {
    /// Microseconds, of calls that came back right.
    pub latencies: Histogram<u64>,
    pub wrong: u64,
    pub took: Duration,
}

/// What is not counted: connections and caches are warm after it.
const WARM_UP: Duration = Duration::from_millis(500);

/// Between two looks at what is due.
const TURN: Duration = Duration::from_millis(1);

pub async fn run(
    callers: Vec<Caller>,
    load: Load,
    span: Duration,
    bytes: usize,
) -> Result<Turn, Box<dyn Error>> {
    let value = Bytes::from(vec![7; bytes]);
    let all = callers.len();
    for span in [WARM_UP, span] {
        let (started, mut tasks) = (Instant::now(), JoinSet::new());
        for (place, caller) in callers.iter().enumerate() {
            let (caller, value) = (caller.clone(), value.clone());
            tasks.spawn(async move {
                match load {
                    Load::Rate(rate) => at_rate(caller, value, (place, all), rate, span).await,
                    Load::InFlight(count) => {
                        in_flight(caller, value, (count / all).max(1), span).await
                    }
                }
            });
        }
        let mut turn = Turn { latencies: Histogram::new(3)?, wrong: 0, took: span };
        while let Some(calls) = tasks.join_next().await {
            for took in calls? {
                match took {
                    Some(took) => turn.latencies.record(took.as_micros() as u64)?,
                    None => turn.wrong += 1,
                }
            }
        }
        turn.took = started.elapsed();
        if span != WARM_UP {
            return Ok(turn);
        }
    }
    Err("there is a turn after the first".into())
}

type Took = Option<Duration>;

async fn one(mut caller: Caller, value: Bytes) -> Took {
    let began = Instant::now();
    let is_right = caller.call(value.clone()).await.is_some_and(|result| result == value);
    is_right.then(|| began.elapsed())
}

/// The part of this caller.
async fn at_rate(
    caller: Caller,
    value: Bytes,
    (place, all): (usize, usize),
    rate: u64,
    span: Duration,
) -> Vec<Took> {
    let (gap, started) = (Duration::from_secs(all as u64) / rate as u32, Instant::now());
    let mut due = gap * place as u32 / all as u32;
    let (mut calls, mut ended) = (FuturesUnordered::new(), Vec::new());
    let mut turns = tokio::time::interval(TURN);
    while due < span || !calls.is_empty() {
        while due < span && due <= started.elapsed() {
            calls.push(one(caller.clone(), value.clone()));
            due += gap;
        }
        tokio::select! {
            Some(took) = calls.next() => ended.push(took),
            _ = turns.tick(), if due < span => (),
        }
    }
    ended
}

async fn in_flight(caller: Caller, value: Bytes, count: usize, span: Duration) -> Vec<Took> {
    let (started, mut ended) = (Instant::now(), Vec::new());
    let mut calls: FuturesUnordered<_> =
        (0..count).map(|_| one(caller.clone(), value.clone())).collect();
    while let Some(took) = calls.next().await {
        ended.push(took);
        if started.elapsed() < span {
            calls.push(one(caller.clone(), value.clone()));
        }
    }
    ended
}
