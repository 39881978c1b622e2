//! Load as written on the command line, and the plan it becomes once every bound is checked.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use crate::payload::HEADER_BYTES;
use crate::placement::Cpus;
use crate::target::{SocketOptions, Target};
use crate::workload::{Shape, Workload};

/// Connections of a run, of each kind. Reply inboxes number publishers with five digits.
const CONNECTIONS_MAX: usize = 65_536;

/// Flows of a run; 8 bytes each in every thread.
const FLOWS_MAX: usize = 1 << 26;

/// Topics of a run.
const TOPICS_MAX: usize = 1 << 22;

/// Due times are 48 bits of nanoseconds.
const SECONDS_MAX: f64 = 86_400.0;

/// `--window` where it is not given: this many messages, or fewer if that were more than
/// `WINDOW_BYTES`.
const WINDOW_MESSAGES: u64 = 1024;
const WINDOW_BYTES: u64 = 1 << 20;

/// Printed under the options: how counts become topics and subscriptions.
pub(crate) const WORKLOADS: &str = "\
Workloads, with C publishers (--connections) and S subscribers (--subscribers):
  one-to-one        larger(C,S) topics; topic t joins publisher t%C and subscriber t%S
  many-to-many      one topic; all publish, all subscribe: S copies of each message
  fan-out           a topic per publisher; all subscribe to all: S copies of each message
  topics            T topics; topic t joins publisher t%C and subscriber (t/C)%S
  wildcard          T topics in S groups; two overlapping patterns per subscriber
  slow-subscribers  fan-out, with K further subscribers that never read (--stalled)
  churn             one-to-one, while connections come and go (--churn-rate)
  request-reply     C ask, S answer, paired as in one-to-one; round trips are measured
Deliveries (or replies) are what is counted, timed and charged to the router.";

/// What to send and for how long; checked by [`Plan::new`].
#[derive(Args, Clone, Debug, PartialEq)]
pub struct Load {
    /// Shape of the traffic.
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true,
          default_value_t = Self::default().workload)]
    pub workload: Workload,
    /// Publishing connections, C. 1 to 65,536.
    #[arg(long, value_name = "C", default_value_t = Self::default().connections)]
    pub connections: usize,
    /// Reading subscriber connections, S. 1 to 65,536. Left out: as many as publishers.
    #[arg(long, value_name = "S")]
    pub subscribers: Option<usize>,
    /// Payload of a message, bytes. 16 to 1,048,576.
    #[arg(long, value_name = "BYTES", default_value_t = Self::default().payload)]
    pub payload: usize,
    /// Messages a second over all publishers together (open loop), or `max`: as many as a window
    /// of undelivered ones allows (closed loop).
    #[arg(long, value_name = "PER_S|max", default_value = "max")]
    pub rate: Rate,
    /// Seconds measured. Up to 86,400; fractions allowed.
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().duration)]
    pub duration: f64,
    /// Seconds of traffic before the measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().warm_up)]
    pub warm_up: f64,
    /// Seconds to wait, at most, for messages still under way at the end.
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().drain)]
    pub drain: f64,
    /// Closed loop: messages each publisher may be ahead of its slowest subscriber. Left out: 1024,
    /// or fewer if those are more than 1 MiB. Lowered if the router's queues are too small for it.
    #[arg(long, value_name = "MESSAGES")]
    pub window: Option<u64>,
    /// Where subscribers connect, if not where publishers do. The same protocol.
    #[arg(long, value_name = "URL")]
    pub subscribers_at: Option<Target>,
    /// Seconds from the last subscription to the first message, for routers to tell each other.
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().settle)]
    pub settle: f64,
    /// Topics of `topics` and `wildcard`. 1 to 4,194,304.
    #[arg(long, value_name = "T", default_value_t = Self::default().topics)]
    pub topics: usize,
    /// Subscribers beyond S that subscribe to everything and never read. Neither measured nor
    /// verified. Left out: 1 with slow-subscribers, else 0.
    #[arg(long, value_name = "K")]
    pub stalled: Option<usize>,
    /// Connections a second that are opened, subscribed to a measured topic and closed, while the
    /// measured ones go on. Left out: 100 with churn, else 0.
    #[arg(long, value_name = "PER_S")]
    pub churn_rate: Option<u64>,
    /// Generator threads. 1 to 64; connections are dealt out to them in turn.
    #[arg(long, value_name = "N", default_value_t = Self::default().threads)]
    pub threads: usize,
    /// CPUs for the generator threads: `0`, `0,2`, `none`, or `auto`: those the router's threads are
    /// not pinned to, or at least not its data threads; none if there are too few of them.
    #[arg(long, value_name = "LIST", default_value = "auto")]
    pub cpu: Cpus,
    /// Wait for events: less CPU burnt, later timestamps.
    #[arg(long)]
    pub no_spin: bool,
    /// TCP congestion control of the generator's sockets. Left out: the system's.
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,
    /// PEM file of whoever vouches for the servers at tls:// and wss:// targets.
    #[arg(long, value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// Outbound queue to ask the router for, per subscriber, bytes; NATS servers cannot be asked and
    /// are taken to have it. Left out: what the windows need, or in open loop the router's default.
    #[arg(long, value_name = "BYTES")]
    pub queue_bytes: Option<u32>,
}

/// `--rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Max,
    /// Messages a second, at least one.
    PerSecond(u64),
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a whole number of messages a second from 1 to 1000000000, or max")]
pub struct BadRate;

/// A load whose every bound is checked, with the target it is for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    /// Where subscribers connect.
    pub subscribers_at: Target,
    pub settle: Duration,
    /// The process whose CPU is charged to the messages.
    pub router_pid: Option<u32>,
    /// Further processes whose CPUs `Cpus::Auto` keeps off, so that all runs of a comparison have the
    /// generator in one place.
    pub keep_off_pids: Vec<u32>,
    pub shape: Shape,
    pub payload_bytes: usize,
    pub rate: Rate,
    pub warm_up: Duration,
    pub duration: Duration,
    pub drain: Duration,
    /// As asked for; none is the default.
    pub window: Option<u64>,
    pub stalled_count: usize,
    pub churn_per_s: u64,
    pub threads_count: usize,
    pub cpus: Cpus,
    pub spins: bool,
    pub sockets: SocketOptions,
    pub queue_bytes: Option<u32>,
}

/// An option outside its bounds, or options that are too much together. Printed, then exit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadLoad {
    #[error("--{option} is {value}, must be within {min}..={max}")]
    OutOfBounds { option: &'static str, value: f64, min: f64, max: f64 },
    #[error("{flows} flows of messages to verify, at most {FLOWS_MAX}; ask for fewer connections")]
    TooManyFlows { flows: usize },
    #[error("subscribers and publishers speak one protocol")]
    TwoProtocols,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            workload: Workload::OneToOne,
            connections: 1,
            subscribers: None,
            payload: 64,
            rate: Rate::Max,
            duration: 10.0,
            warm_up: 1.0,
            drain: 5.0,
            window: None,
            subscribers_at: None,
            settle: 0.0,
            topics: 1000,
            stalled: None,
            churn_rate: None,
            threads: 1,
            cpu: Cpus::Auto,
            no_spin: false,
            congestion: None,
            authorities: None,
            queue_bytes: None,
        }
    }
}

impl Plan {
    pub fn new(load: &Load, target: Target, router_pid: Option<u32>) -> Result<Self, BadLoad> {
        let Load { workload, .. } = *load;
        let connections = within("connections", load.connections, 1, CONNECTIONS_MAX)?;
        let subscribers = load.subscribers.unwrap_or(connections);
        let shape = Shape {
            workload,
            publishers_count: connections,
            subscribers_count: within("subscribers", subscribers, 1, CONNECTIONS_MAX)?,
            topics_wanted: within("topics", load.topics, 1, TOPICS_MAX)?,
            dialect: target.framing().dialect(),
        };
        check_flows(&shape)?;
        let stalled = load.stalled.unwrap_or((workload == Workload::SlowSubscribers).into());
        let churn = load.churn_rate.unwrap_or(if workload == Workload::Churn { 100 } else { 0 });
        let subscribers_at = load.subscribers_at.clone().unwrap_or_else(|| target.clone());
        if subscribers_at.framing() != target.framing() {
            return Err(BadLoad::TwoProtocols);
        }
        Ok(Self {
            target,
            subscribers_at,
            settle: seconds("settle", load.settle, 0.0)?,
            router_pid,
            keep_off_pids: Vec::new(),
            shape,
            payload_bytes: within("payload", load.payload, HEADER_BYTES, PAYLOAD_BYTES_MAX)?,
            rate: load.rate,
            warm_up: seconds("warm-up", load.warm_up, 0.0)?,
            duration: seconds("duration", load.duration, 0.01)?,
            drain: seconds("drain", load.drain, 0.0)?,
            window: load.window.map(|window| within("window", window, 1, 1 << 24)).transpose()?,
            stalled_count: within("stalled", stalled, 0, CONNECTIONS_MAX)?,
            churn_per_s: within("churn-rate", churn, 0, 100_000)?,
            threads_count: within("threads", load.threads, 1, 64)?,
            cpus: load.cpu.clone(),
            spins: !load.no_spin,
            sockets: SocketOptions {
                congestion: load.congestion.clone(),
                authorities: load.authorities.clone(),
            },
            queue_bytes: load.queue_bytes,
        })
    }

    /// The window in messages, before the router has said how large its queues are.
    pub fn window_wanted(&self, frame_bytes: usize) -> u64 {
        self.window.unwrap_or((WINDOW_BYTES / frame_bytes as u64).clamp(1, WINDOW_MESSAGES))
    }
}

fn check_flows(shape: &Shape) -> Result<(), BadLoad> {
    let copies = match shape.workload {
        Workload::ManyToMany | Workload::FanOut | Workload::SlowSubscribers => {
            shape.subscribers_count
        }
        Workload::Wildcard
        | Workload::OneToOne
        | Workload::Topics
        | Workload::Churn
        | Workload::RequestReply => 1,
    };
    let flows = shape.topics_count().max(shape.publishers_count) * copies;
    if FLOWS_MAX < flows { Err(BadLoad::TooManyFlows { flows }) } else { Ok(()) }
}

fn within<T>(option: &'static str, value: T, min: T, max: T) -> Result<T, BadLoad>
where
    T: PartialOrd + Copy + TryInto<u64>,
{
    let number = |value: T| value.try_into().unwrap_or(u64::MAX) as f64;
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        let (value, min, max) = (number(value), number(min), number(max));
        Err(BadLoad::OutOfBounds { option, value, min, max })
    }
}

fn seconds(option: &'static str, value: f64, min: f64) -> Result<Duration, BadLoad> {
    if (min..=SECONDS_MAX).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(BadLoad::OutOfBounds { option, value, min, max: SECONDS_MAX })
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let per_s = text.parse().map_err(|_| BadRate)?;
        if (1..=1_000_000_000).contains(&per_s) { Ok(Self::PerSecond(per_s)) } else { Err(BadRate) }
    }
}
