//! Counters of each core. Written by that core alone, read by whoever asks.
//!
//! Names follow `mpreg_<part>_<thing>_<unit>`; counters end in `_total`; labels are closed sets, so
//! the number of series is known: never a topic, a client name or any other free text.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use mpreg_fabric::fact::{DropReason, EndReason};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::hop::Reason;

/// A number with one writer: a plain add, no locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn raise_to(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).max(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one data shard counts.
#[derive(Debug, Default)]
pub struct ShardProbe {
    pub messages_in: Count,
    pub bytes_in: Count,
    pub messages_out: Count,
    pub bytes_out: Count,
    pub unrouted: Count,
    pub dropped: [Count; DropReason::ALL.len()],
    pub refused: [Count; ErrorCode::ALL.len()],
    pub sessions: Count,
    pub accepted: Count,
    pub peer_closed: Count,
    pub transport_failed: Count,
    pub ended_by_router: Count,
    pub accept_failures: Count,
    pub subscriptions: Count,
    pub queued_bytes: Count,
    pub held_bytes: Count,
    pub turns: Count,
    pub turn_ns: Count,
    pub turn_max_ns: Count,
    pub enters: Count,
    pub completions: Count,
    pub parks: Count,
    pub receive_starved: Count,
    pub reading_paused: Count,
    pub handoffs_out: Count,
    pub handoffs_in: Count,
    pub handoff_waits: Count,
    pub wakes: Count,
    pub route_hits: Count,
    pub route_misses: Count,
    pub routes_cached: Count,
    pub runs_copied: Count,
    pub runs_shared: Count,
    pub links_out: Count,
    pub links_in: Count,
    pub link_messages_out: Count,
    pub link_bytes_out: Count,
    pub link_messages_in: Count,
    pub link_bytes_in: Count,
    /// Frames of planes that this version does not know.
    pub link_frames_skipped: Count,
    pub duplicates: Count,
    pub link_dropped: [Count; LinkDrop::COUNT],
}

/// Why a message that was for another node, or from one, did not get where it was meant to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDrop {
    /// No link leads there, or nobody there wants it.
    Hop(Reason),
    /// The link has not sent what was queued before, and its queue is full.
    QueueFull,
}

impl LinkDrop {
    const COUNT: usize = Reason::ALL.len() + 1;

    fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.into_iter().map(Self::Hop).chain([Self::QueueFull])
    }

    fn index(self) -> usize {
        match self {
            Self::Hop(reason) => reason as usize - 1,
            Self::QueueFull => Self::COUNT - 1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hop(reason) => reason.word(),
            Self::QueueFull => "queue_full",
        }
    }
}

/// What the control core counts.
#[derive(Debug, Default)]
pub struct ControlProbe {
    /// Seconds since start, as the control core saw them last.
    pub uptime_s: Count,
    /// Shards whose loop did not turn although it was asked to, at the last look.
    pub shards_stalled: Count,
}

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// One number for the metrics page.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// The numbers of a shard without a label of their own: kind, name, help, where it is counted.
type Plain = (Kind, &'static str, &'static str, fn(&ShardProbe) -> &Count);

const PLAIN: [Plain; 36] = [
    (Kind::Counter, "mpreg_messages_in_total", "Messages received.", |p| &p.messages_in),
    (Kind::Counter, "mpreg_bytes_in_total", "Bytes received.", |p| &p.bytes_in),
    (Kind::Counter, "mpreg_messages_out_total", "Messages queued.", |p| &p.messages_out),
    (Kind::Counter, "mpreg_bytes_out_total", "Bytes sent.", |p| &p.bytes_out),
    (
        Kind::Counter,
        "mpreg_messages_unrouted_total",
        "Messages that matched no subscription.",
        |p| &p.unrouted,
    ),
    (Kind::Gauge, "mpreg_sessions", "Open connections.", |p| &p.sessions),
    (Kind::Counter, "mpreg_sessions_accepted_total", "Connections accepted.", |p| &p.accepted),
    (
        Kind::Counter,
        "mpreg_accept_failures_total",
        "Accepts that failed, out of descriptors for one.",
        |p| &p.accept_failures,
    ),
    (Kind::Gauge, "mpreg_subscriptions", "Subscriptions held.", |p| &p.subscriptions),
    (
        Kind::Gauge,
        "mpreg_queued_bytes",
        "Bytes in outbound queues and of frames not yet whole.",
        |p| &p.queued_bytes,
    ),
    (Kind::Counter, "mpreg_loop_turns_total", "Turns of the loop.", |p| &p.turns),
    (Kind::Counter, "mpreg_loop_busy_seconds_total", "Time in turns that had work.", |p| {
        &p.turn_ns
    }),
    (Kind::Gauge, "mpreg_loop_turn_max_seconds", "Longest turn since start.", |p| &p.turn_max_ns),
    (Kind::Counter, "mpreg_ring_enters_total", "Calls of io_uring_enter.", |p| &p.enters),
    (Kind::Counter, "mpreg_ring_completions_total", "Completions.", |p| &p.completions),
    (Kind::Counter, "mpreg_parks_total", "Times the core went idle.", |p| &p.parks),
    (Kind::Counter, "mpreg_receive_starved_total", "Receives that found no buffer.", |p| {
        &p.receive_starved
    }),
    (
        Kind::Counter,
        "mpreg_reading_paused_total",
        "Times a publisher was not read from for back-pressure.",
        |p| &p.reading_paused,
    ),
    (Kind::Counter, "mpreg_handoffs_out_total", "Sent to other shards.", |p| &p.handoffs_out),
    (Kind::Counter, "mpreg_handoffs_in_total", "Received from other shards.", |p| &p.handoffs_in),
    (
        Kind::Counter,
        "mpreg_handoff_waits_total",
        "Turns a hand-off waited because the ring was full.",
        |p| &p.handoff_waits,
    ),
    (Kind::Counter, "mpreg_wakes_total", "Other shards woken.", |p| &p.wakes),
    (Kind::Counter, "mpreg_route_hits_total", "Runs of messages whose route was known.", |p| {
        &p.route_hits
    }),
    (Kind::Counter, "mpreg_route_misses_total", "Runs whose route had to be matched.", |p| {
        &p.route_misses
    }),
    (Kind::Gauge, "mpreg_routes_cached", "Topics with a known route.", |p| &p.routes_cached),
    (Kind::Counter, "mpreg_runs_shared_total", "Runs of messages sent by reference.", |p| {
        &p.runs_shared
    }),
    (Kind::Counter, "mpreg_runs_copied_total", "Runs of messages copied to a receiver.", |p| {
        &p.runs_copied
    }),
    (
        Kind::Gauge,
        "mpreg_held_bytes",
        "Bytes of messages waiting for another shard's answer.",
        |p| &p.held_bytes,
    ),
    (Kind::Gauge, "mpreg_links_out", "Links to other nodes.", |p| &p.links_out),
    (Kind::Gauge, "mpreg_links_in", "Links from other nodes.", |p| &p.links_in),
    (
        Kind::Counter,
        "mpreg_link_messages_out_total",
        "Messages queued for other nodes, each copy counted.",
        |p| &p.link_messages_out,
    ),
    (Kind::Counter, "mpreg_link_bytes_out_total", "Bytes sent to other nodes.", |p| {
        &p.link_bytes_out
    }),
    (Kind::Counter, "mpreg_link_messages_in_total", "Messages from other nodes.", |p| {
        &p.link_messages_in
    }),
    (Kind::Counter, "mpreg_link_bytes_in_total", "Bytes received from other nodes.", |p| {
        &p.link_bytes_in
    }),
    (
        Kind::Counter,
        "mpreg_link_frames_skipped_total",
        "Frames from other nodes of a kind this version does not know.",
        |p| &p.link_frames_skipped,
    ),
    (
        Kind::Counter,
        "mpreg_link_duplicates_total",
        "Messages from other nodes that had come before.",
        |p| &p.duplicates,
    ),
];

impl ShardProbe {
    pub fn dropped(&self, reason: DropReason, messages: u64) {
        self.dropped[reason as usize].add(messages);
    }

    pub fn link_dropped(&self, reason: LinkDrop, messages: u64) {
        self.link_dropped[reason.index()].add(messages);
    }

    pub fn link_dropped_for(&self, reason: LinkDrop) -> u64 {
        self.link_dropped[reason.index()].get()
    }

    pub fn refused(&self, code: ErrorCode) {
        self.refused[usize::from(code.as_wire()) - 1].add(1);
    }

    pub fn ended(&self, reason: EndReason) {
        match reason {
            EndReason::PeerClosed => self.peer_closed.add(1),
            EndReason::TransportFailed => self.transport_failed.add(1),
            EndReason::Refused(_) => self.ended_by_router.add(1),
        }
    }

    fn rows(&self, shard: usize, out: &mut Vec<Row>) {
        let label = ("shard", shard.to_string());
        for (kind, name, help, count) in PLAIN {
            let count = count(self).get() as f64;
            let value = if name.contains("_seconds") { count / 1e9 } else { count };
            out.push(Row { name, help, kind, labels: vec![label.clone()], value });
        }
        let mut labelled = |name, help, key, word: &str, count: &Count| {
            let labels = vec![label.clone(), (key, word.to_owned())];
            let value = count.get() as f64;
            out.push(Row { name, help, kind: Kind::Counter, labels, value });
        };
        for reason in DropReason::ALL {
            let count = &self.dropped[reason as usize];
            let help = "Messages not delivered to somebody they were meant for.";
            labelled("mpreg_messages_dropped_total", help, "reason", reason.word(), count);
        }
        for reason in LinkDrop::all() {
            let count = &self.link_dropped[reason.index()];
            let help = "Messages that did not get to, or through, another node.";
            labelled("mpreg_link_dropped_total", help, "reason", reason.word(), count);
        }
        for (code, count) in ErrorCode::ALL.into_iter().zip(&self.refused) {
            let help = "Frames, commands and sessions refused.";
            labelled("mpreg_refusals_total", help, "code", code.word(), count);
        }
        let ends = [
            (EndReason::PeerClosed.word(), &self.peer_closed),
            (EndReason::TransportFailed.word(), &self.transport_failed),
            ("refused", &self.ended_by_router),
        ];
        for (word, count) in ends {
            labelled("mpreg_sessions_ended_total", "Sessions ended.", "reason", word, count);
        }
    }
}

/// Everything countable, shard by shard.
pub fn rows(shards: &[Arc<ShardProbe>], control: &ControlProbe) -> Vec<Row> {
    let mut out = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        shard.rows(index, &mut out);
    }
    let mut gauge = |name, help, value: &Count| {
        let value = value.get() as f64;
        out.push(Row { name, help, kind: Kind::Gauge, labels: Vec::new(), value });
    };
    gauge("mpreg_uptime_seconds", "Seconds since start.", &control.uptime_s);
    gauge("mpreg_shards_stalled", "Shards that do not turn.", &control.shards_stalled);
    out
}
