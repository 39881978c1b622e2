//! Counters of each core. Written by that core alone, read by whoever asks.
//!
//! Names follow `mpreg_<part>_<thing>_<unit>`; counters end in `_total`; labels are closed sets, or names of
//! functions, of which there is a bound, so the number of series is known: never a topic, a client name or
//! any other free text.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mpreg_fabric::fact::{DropReason, EndReason, LinkEndReason};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::hop::Reason;

mod calls;
mod functions;

pub use calls::CallProbe;
pub use functions::{FunctionProbe, Spent, Usage};

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
    pub trace_reports: Count,
    pub trace_reports_dropped: Count,
    pub link_dropped: [Count; LinkDrop::COUNT],
    pub calls: CallProbe,
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

    pub fn word(self) -> &'static str {
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
    pub peers: Arc<PeerProbe>,
}

/// What the control core counts of links to other nodes.
#[derive(Debug, Default)]
pub struct PeerProbe {
    pub links: Count,
    pub links_up: Count,
    pub ended: EndCounts,
    pub strangers_refused: EndCounts,
    pub accept_failures: Count,
    pub dials: Count,
    pub dials_failed: EndCounts,
    pub bytes_in: Count,
    pub bytes_out: Count,
    pub frames_in: Count,
    pub frames_out: Count,
    pub frames_refused: Count,
    pub queued_bytes: Count,
    /// Live members of the cluster beside this node.
    pub members: Count,
    pub members_up: Count,
    pub members_failed: Count,
    pub members_left: Count,
    pub members_suspected: Count,
    pub packets_rejected: Count,
    pub planes_unknown: Count,
    pub frames_unlinked: Count,
    /// Handed to shards.
    pub data_links: Count,
    pub entries_learned: Count,
    pub entries_known: Count,
    pub entries_refused: WordCounts,
    /// Digests of peers, by whether they have what this node has.
    pub catalogs_compared: WordCounts,
    pub catalogs_differing: Count,
    pub feeds_lacking: Count,
    /// From knowing that something is missing to having all of it.
    pub catch_ups: Count,
    pub catch_up_ns: Count,
    pub catch_ups_failed: Count,
    pub routes_accepted: Count,
    pub routes_withdrawn: Count,
    pub routes_expired: Count,
    pub routes_changed: Count,
    pub routes_rejected: WordCounts,
    pub keys_rejected: WordCounts,
    pub link_states_rejected: WordCounts,
    /// Nodes whose data links let nothing through.
    pub circuits_open: Count,
    pub circuits_changed: WordCounts,
    pub services_failed: WordCounts,
    /// Whether the disk did not take what was last to be kept.
    pub store_failing: Count,
    pub store_failures: Count,
    pub store_refused: Count,
    pub hints_lost: Count,
    pub news: Count,
    pub news_dropped: Count,
    /// Of the recording of this process, if it makes one.
    pub recorded_bytes: Count,
    pub recordings_ended: WordCounts,
}

/// One number for each word that came up. The words are those of closed sets.
#[derive(Debug, Default)]
pub struct WordCounts(Mutex<BTreeMap<&'static str, u64>>);

impl WordCounts {
    pub fn add(&self, word: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
    }

    /// `none`, while no word came up: what is counted is seen to be counted.
    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if counts.is_empty() { BTreeMap::from([("none", 0)]) } else { counts }
    }
}

/// One number for each way in which a link ends.
#[derive(Debug)]
pub struct EndCounts([Count; LinkEndReason::ALL.len()]);

impl EndCounts {
    pub fn of(&self, end: LinkEndReason) -> &Count {
        &self.0[end.index()]
    }
}

impl Default for EndCounts {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Count::default()))
    }
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

const PLAIN: [Plain; 38] = [
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
    (Kind::Counter, "mpreg_trace_reports_total", "Reports made of traced messages.", |p| {
        &p.trace_reports
    }),
    (
        Kind::Counter,
        "mpreg_trace_reports_dropped_total",
        "Reports of traced messages that were over a bound.",
        |p| &p.trace_reports_dropped,
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
        for (kind, name, help, count) in self.calls.plain() {
            let value = count.get() as f64;
            out.push(Row { name, help, kind, labels: vec![label.clone()], value });
        }
        self.calls.function_rows(&label.1, out);
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
        for (word, count) in self.calls.failed() {
            let help = "Calls of clients without a result.";
            labelled("mpreg_calls_failed_total", help, "error", word, count);
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

/// The numbers of links without a label: kind, name, help, where it is counted.
type PlainOfPeers = (Kind, &'static str, &'static str, fn(&PeerProbe) -> &Count);

const PLAIN_OF_PEERS: [PlainOfPeers; 38] = [
    (Kind::Gauge, "mpreg_peer_links", "Links to other nodes.", |p| &p.links),
    (Kind::Counter, "mpreg_peer_links_up_total", "Links that came up.", |p| &p.links_up),
    (Kind::Counter, "mpreg_peer_dials_total", "Addresses of nodes dialled.", |p| &p.dials),
    (
        Kind::Counter,
        "mpreg_peer_accept_failures_total",
        "Accepts of nodes that failed, out of descriptors for one.",
        |p| &p.accept_failures,
    ),
    (Kind::Counter, "mpreg_peer_bytes_in_total", "Bytes received from nodes.", |p| &p.bytes_in),
    (Kind::Counter, "mpreg_peer_bytes_out_total", "Bytes sent to nodes.", |p| &p.bytes_out),
    (Kind::Counter, "mpreg_peer_frames_in_total", "Frames received from nodes.", |p| &p.frames_in),
    (Kind::Counter, "mpreg_peer_frames_out_total", "Frames queued for nodes.", |p| &p.frames_out),
    (
        Kind::Counter,
        "mpreg_peer_frames_refused_total",
        "Frames for nodes that found no room.",
        |p| &p.frames_refused,
    ),
    (Kind::Gauge, "mpreg_peer_queued_bytes", "Bytes queued for nodes.", |p| &p.queued_bytes),
    (Kind::Counter, "mpreg_peer_frames_unlinked_total", "Frames for nodes without a link.", |p| {
        &p.frames_unlinked
    }),
    (
        Kind::Counter,
        "mpreg_peer_frames_unknown_total",
        "Frames of nodes that this version does not know.",
        |p| &p.planes_unknown,
    ),
    (Kind::Counter, "mpreg_catalog_learned_total", "Messages of the catalog with news.", |p| {
        &p.entries_learned
    }),
    (Kind::Counter, "mpreg_catalog_known_total", "Messages of the catalog without news.", |p| {
        &p.entries_known
    }),
    (Kind::Counter, "mpreg_routes_accepted_total", "Routes taken.", |p| &p.routes_accepted),
    (Kind::Counter, "mpreg_routes_withdrawn_total", "Routes taken back.", |p| &p.routes_withdrawn),
    (Kind::Counter, "mpreg_routes_expired_total", "Routes not said again in time, or void.", |p| {
        &p.routes_expired
    }),
    (Kind::Counter, "mpreg_routes_changed_total", "Best ways that changed.", |p| &p.routes_changed),
    (Kind::Counter, "mpreg_peer_data_links_total", "Data links handed to shards.", |p| {
        &p.data_links
    }),
    (Kind::Gauge, "mpreg_circuits_open", "Nodes whose data links let nothing through.", |p| {
        &p.circuits_open
    }),
    (Kind::Gauge, "mpreg_members", "Live members of the cluster beside this node.", |p| &p.members),
    (Kind::Counter, "mpreg_members_up_total", "Members that came up.", |p| &p.members_up),
    (Kind::Counter, "mpreg_members_failed_total", "Members that failed.", |p| &p.members_failed),
    (Kind::Counter, "mpreg_members_left_total", "Members that said goodbye.", |p| &p.members_left),
    (
        Kind::Counter,
        "mpreg_members_suspected_total",
        "Members that did not answer in time, once or for good.",
        |p| &p.members_suspected,
    ),
    (
        Kind::Counter,
        "mpreg_member_packets_rejected_total",
        "Packets of membership that were not believed.",
        |p| &p.packets_rejected,
    ),
    (Kind::Gauge, "mpreg_store_failing", "1 while the disk does not take state.", |p| {
        &p.store_failing
    }),
    (Kind::Counter, "mpreg_store_failures_total", "Times the disk did not take state.", |p| {
        &p.store_failures
    }),
    (Kind::Counter, "mpreg_catalog_hints_lost_total", "Times kept hints could not be read.", |p| {
        &p.hints_lost
    }),
    (Kind::Gauge, "mpreg_catalogs_differing", "Peers whose last digest was another.", |p| {
        &p.catalogs_differing
    }),
    (Kind::Gauge, "mpreg_catalog_feeds_lacking", "Feeds that others have more of.", |p| {
        &p.feeds_lacking
    }),
    (Kind::Counter, "mpreg_catalog_catch_ups_total", "Times all that was missing came.", |p| {
        &p.catch_ups
    }),
    (Kind::Counter, "mpreg_catalog_catch_up_seconds_total", "Time until it was there.", |p| {
        &p.catch_up_ns
    }),
    (Kind::Counter, "mpreg_catalog_catch_ups_failed_total", "Times some did not come.", |p| {
        &p.catch_ups_failed
    }),
    (Kind::Counter, "mpreg_news_total", "Facts of the fabric told to clients.", |p| &p.news),
    (Kind::Counter, "mpreg_news_dropped_total", "Facts not told, over the bound.", |p| {
        &p.news_dropped
    }),
    (Kind::Gauge, "mpreg_recorded_bytes", "Bytes of the recording peer.record.", |p| {
        &p.recorded_bytes
    }),
    (Kind::Counter, "mpreg_store_refused_total", "Records too long to be kept.", |p| {
        &p.store_refused
    }),
];

impl PeerProbe {
    fn rows(&self, out: &mut Vec<Row>) {
        for (kind, name, help, count) in PLAIN_OF_PEERS {
            let count = count(self).get() as f64;
            let value = if name.contains("_seconds") { count / 1e9 } else { count };
            out.push(Row { name, help, kind, labels: Vec::new(), value });
        }
        let labelled = [
            ("mpreg_peer_links_ended_total", "Links that ended.", &self.ended),
            (
                "mpreg_peer_refused_total",
                "Connections from nodes that became no link.",
                &self.strangers_refused,
            ),
            ("mpreg_peer_dials_failed_total", "Dials that became no link.", &self.dials_failed),
        ];
        for (name, help, counts) in labelled {
            for end in LinkEndReason::ALL {
                let labels = vec![("reason", end.word().to_owned())];
                let value = counts.of(end).get() as f64;
                out.push(Row { name, help, kind: Kind::Counter, labels, value });
            }
        }
        let worded = [
            (
                "mpreg_catalog_refused_total",
                "Entries of the catalog not taken.",
                &self.entries_refused,
            ),
            ("mpreg_routes_rejected_total", "Routes not taken.", &self.routes_rejected),
            ("mpreg_route_keys_rejected_total", "Keys not taken.", &self.keys_rejected),
            (
                "mpreg_link_states_rejected_total",
                "Link states without effect.",
                &self.link_states_rejected,
            ),
            (
                "mpreg_services_failed_total",
                "Names of peer.join that were asked for and not found.",
                &self.services_failed,
            ),
            (
                "mpreg_recordings_ended_total",
                "Recordings that ended before the process.",
                &self.recordings_ended,
            ),
        ];
        let mut of_words = |name, help, key, counts: &WordCounts| {
            for (word, count) in counts.get() {
                let (labels, value) = (vec![(key, word.to_owned())], count as f64);
                out.push(Row { name, help, kind: Kind::Counter, labels, value });
            }
        };
        for (name, help, counts) in worded {
            of_words(name, help, "reason", counts);
        }
        let help = "Digests of peers, by whether they have what this node has.";
        of_words("mpreg_catalogs_compared_total", help, "outcome", &self.catalogs_compared);
        let help = "Changes of what the data links to a node let through.";
        of_words("mpreg_circuits_changed_total", help, "to", &self.circuits_changed);
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
    control.peers.rows(&mut out);
    out
}
