//! Every bound of the shell, with its reason. Those an operator may set are in `config`.

use core::num::NonZeroU32;
use core::time::Duration;

use mpreg_fabric::limits::{
    CALL_COMMAND_NAME_BYTES_MAX, CALL_GRAPH_COMMANDS_MAX, CALL_GRAPH_DEPTH_MAX, DIALS_MAX,
};
use mpreg_proto::limits::{FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX, PEER_CONTROL_FRAME_BYTES_MAX};

/// Submission entries of a ring. One turn rarely queues more; a full queue is submitted early.
pub const RING_ENTRIES: u32 = 1024;

/// Completion entries: four for each submission entry and again as many, so a burst of accepts and
/// sends does not overflow into the kernel's slow list.
pub const RING_COMPLETIONS: u32 = 8192;

/// Names in one list of a policy. Each route is compared with them in logarithmic time.
pub const POLICY_NAMES_MAX: usize = 1024;

/// How long a DNS server is waited for: a recursive look-up over a slow line.
pub const DNS_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How often each server is asked: one packet may be lost.
pub const DNS_TRIES_MAX: usize = 2;

/// Servers of the host that are asked, as the C library does.
pub const DNS_SERVERS_MAX: usize = 3;

/// Bytes of an answer in one packet. Without an extension no server sends more than 512.
pub const DNS_MESSAGE_BYTES_MAX: usize = 4096;

/// Receive buffers of a shard, and bytes of each. 64 of 32 KiB stay in cache: 256 of them cost 15 to
/// 27 % of throughput at 1 KiB, buffers of 4 KiB cost 16 %.
pub const RECEIVE_BUFFERS: u16 = 64;
pub const RECEIVE_BUFFER_BYTES: usize = 32 << 10;

/// Bytes of one send in flight. A message of a higher lane waits for at most this much.
pub const FLIGHT_BYTES_MAX: usize = 512 << 10;

/// Pieces of one send. The kernel takes 1,024 iovecs.
pub const FLIGHT_PIECES_MAX: usize = 1000;

/// A run shorter than this is copied per subscriber; a longer one is copied once and referenced.
/// A reference costs 25 to 30 ns in the kernel, which is about 1 KiB of copying; twice that leaves
/// room for the count.
pub const SHARED_RUN_BYTES_MIN: usize = 2 << 10;

/// Referenced pieces a connection may hold. Each pins at most one arena page, so a connection that
/// does not read pins at most 4 MiB; past it everything is copied.
pub const SHARED_PIECES_MAX: usize = 64;

/// Bytes queued behind a send in flight past which a connection lags and is copied for.
pub const LAGGING_BYTES: usize = 128 << 10;

/// Bytes a connection holds that keeps up: one read's worth of messages behind another, or the
/// beginning of a frame. Those that hold more leave three tenths of the memory budget to the others.
pub const MODEST_BYTES: usize = 2 * RECEIVE_BUFFER_BYTES;

/// Bytes of one arena page.
pub const ARENA_PAGE_BYTES: usize = 64 << 10;

/// Bytes at which an outbound buffer is closed and another one opened: an eighth of the queue's bound,
/// within these. What was given up at the front of a buffer is held until the buffer is sent.
pub const OUT_BUFFER_BYTES_MIN: usize = 16 << 10;
pub const OUT_BUFFER_BYTES_MAX: usize = 256 << 10;

/// Outbound buffers a shard keeps for reuse, and the largest it keeps.
pub const SPARE_BUFFERS_MAX: usize = 64;
pub const SPARE_BUFFER_BYTES_MAX: usize = 2 * OUT_BUFFER_BYTES_MAX;

/// Bytes of output produced after which a turn flushes before it goes on, so that output is still in
/// cache when the kernel copies it.
pub const FLUSH_AFTER_BYTES: usize = 512 << 10;

/// Runs that wait for the sockets of queues without room: one receive buffer of short runs for one
/// reader, or of long ones for many. Past it the policies decide at once.
pub const SQUEEZES_MAX: usize = 4096;

/// Bytes a client may send while its credentials are being checked: what libraries send without
/// waiting is a few lines.
pub const VERIFYING_BYTES_MAX: usize = 2 * RECEIVE_BUFFER_BYTES;

/// Entries of the catalog in one answer to an operator: a copy of some milliseconds.
pub const ENTRIES_ANSWERED_MAX: usize = 10_000;

/// Processes that `mpreg demo --clusters` starts: more are not told apart from a busy machine.
pub const DEMO_NODES_MAX: usize = 60;

/// Bytes kept of a name of a NATS client's choice, for lists.
pub const TEXT_BYTES_MAX: usize = 64;

/// Bytes of a NATS subscription's number that is no number. Libraries write numbers.
pub const SID_BYTES_MAX: usize = 64;

/// Bytes queued for a NATS subscriber that reads past which its publishers wait: NATS publishers never
/// do by themselves. Those of two sends and of all receive buffers.
pub const STALL_BYTES: usize = 4 << 20;

/// How long they wait, all together, for each so many bytes they publish, all of one read: so long times the
/// square of how many times [`STALL_BYTES`] are queued. 4 MiB allow 1 GB/s, 16 MiB 65 MB/s, and a subscriber that reads 5 MB/s is waited
/// for before it is cut off at 64 MiB.
pub const STALL_STEP: Duration = Duration::from_millis(2);
pub const STALL_SHARE: usize = RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES;

/// How long one of them waits at most: well below what clients wait for an answer to a ping.
pub const STALL_MAX: Duration = Duration::from_secs(1);

/// The time since its last send completed after which a subscriber no longer reads, so that nobody waits
/// for it.
pub const READING_WITHIN: Duration = Duration::from_millis(500);

/// Bytes queued for a NATS client past which it is not read from. A send's worth twice over.
pub const OWN_QUEUE_BYTES_MAX: usize = 2 * FLIGHT_BYTES_MAX;

/// Publications of a NATS client that are one run: 5 KiB on the stack.
pub const PUBLICATIONS_MAX: usize = 64;

/// Calls of a NATS client whose answers are waited for: their reply subjects take 3 MiB at most.
pub const NATS_CALLS_MAX: usize = 8192;

/// Instances of services on one NATS connection: a process has a few.
pub const NATS_INSTANCES_MAX: usize = 64;

/// Jobs at a time of an endpoint that says nothing about it: its library hands them to its handler one
/// by one, and has room for as many.
pub const NATS_CONCURRENCY: NonZeroU32 = NonZeroU32::new(1024).expect("not zero");

/// From the last subscription of a service to the question what it offers, so that there is one for all
/// of its endpoints; and to the second, for those that its library notes after it has subscribed.
pub const NATS_INFO_AFTER: Duration = Duration::from_millis(20);
pub const NATS_INFO_AGAIN: Duration = Duration::from_secs(1);

/// How often it is asked whether it is well, and how long an answer may take.
pub const NATS_INFO_EVERY: Duration = Duration::from_secs(30);
pub const NATS_INFO_WITHIN: Duration = Duration::from_secs(5);

/// Control frames a session may have queued beyond its queue: answers to its own commands, which it
/// does not read. Past it the session ends.
pub const CONTROL_RESERVE_BYTES: usize = 64 << 10;

/// Hand-offs in the ring between two cores. 1,024 of 72 bytes are 74 KiB a pair.
pub const MESH_RING_SLOTS: usize = 1024;

/// Payload bytes in the ring between two cores: what a shard may hold for another beyond its own
/// staging. Eight receives' worth, so that a busy pair does not wait for every batch.
pub const MESH_RING_BYTES_MAX: usize = 256 << 10;

/// Hand-offs taken from one ring per turn, so that a busy neighbour does not starve local clients.
pub const MESH_BATCH_MAX: usize = 256;

/// Bytes waiting for a full ring past which publishers are not read from.
pub const STAGED_BYTES_MAX: usize = 1 << 20;

/// Bytes queued for another node on one link. Publishers wait from 4 MiB on while the link drains; at
/// 10 Gbit/s this is 27 ms of it, and one that stands still costs no more.
pub const LINK_QUEUE_BYTES_MAX: usize = 32 << 20;

/// Links between nodes that a message may be sent on, if nobody says otherwise: ten clusters of 1,000 nodes,
/// three hops each.
pub const HOP_BUDGET: u8 = 32;

/// Streams whose messages of late a shard remembers may be silent for so long, and are forgotten then.
pub const STREAM_IDLE: Duration = Duration::from_secs(60);

/// Replies asked for by other nodes whose way back a shard knows, and for how long at least: as long as
/// interest takes to spread, many times over, and as most who ask wait. At about 200 bytes, 1.6 MiB.
pub const REPLY_WAYS_MAX: usize = 8192;
pub const REPLY_WAY_FOR: Duration = Duration::from_secs(30);

/// A data link with traffic is asked so often whether it carries: four pings a second cost nothing beside
/// messages, and a link that came back is known to within a few of them.
pub const PULSE_EVERY: Duration = Duration::from_millis(250);

/// An answer is late after this: twice as long as a peer stops reading while what it sends on waits
/// ([`STALL_MAX`]). And a link is given up for another after so long without one.
pub const PULSE_LATE_AFTER: Duration = Duration::from_secs(2);
pub const PULSE_DEAD_AFTER: Duration = Duration::from_secs(10);

/// Reports on traced messages that a shard makes in a second: those of some dozens of traces by operators,
/// and what a node that has all of its messages traced costs the others.
pub const TRACE_REPORTS_PER_S: u32 = 200;

/// Traced copies in queues of a shard's links that are remembered; targets that one report names, a sixth of
/// the largest data frame at most; reports that wait for the operator who asked; nodes that an answer names.
pub const TRACED_WAITING_MAX: usize = 256;
pub const TRACE_TARGETS_MAX: usize = 512;
pub const TRACE_REPORTS_WAITING_MAX: usize = 4096;
pub const TRACE_HOPS_MAX: usize = 1024;

/// Facts of the fabric that a node tells its clients in a second: those of a cluster of some hundred nodes that
/// comes up at once. An operator who sees that some were dropped asks the admin surface.
pub const NEWS_PER_S: u32 = 1000;

/// Clusters that such facts call by their names; further ones go by their numbers. At 80 bytes each.
pub const CLUSTERS_NAMED_MAX: usize = 4096;

/// Bytes of a recording of the control core: two days of a node of four at rest, eight hours of one of twenty, and
/// no more than any machine has room for. And steps of it that wait for the disk: at some hundreds a second, ten seconds of a stall.
pub const RECORDED_BYTES_MAX: u64 = 256 << 20;
pub const STEPS_UNWRITTEN_MAX: usize = 4096;

/// How long after one trace the next may begin.
pub const TRACE_EVERY: Duration = Duration::from_millis(50);

/// Words of shards that wait for the control core. What finds no room waits on its shard.
pub const REPORTS_MAX: usize = 1024;

/// Longest wait in the ring. Below the tick of 4 ms a timeout reprograms the timer at each park and
/// costs 11 to 28 % CPU; above it the executor's own timers come late.
pub const WAIT_MAX: Duration = Duration::from_millis(5);

/// Waits that time out before a shard parks in its executor, where being idle costs nothing.
pub const IDLE_WAITS: u32 = 2;

/// From the last word to a client to closing its socket: time to read the reason.
pub const LINGER: Duration = Duration::from_secs(1);

/// Back-off after an accept that failed for want of descriptors.
pub const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(5);
pub const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(1);

/// Descriptors kept back from connections: rings, listeners, logs, the admin page, a spare.
pub const DESCRIPTORS_RESERVED: usize = 128;

/// Bytes of one thing a client shows to prove who it is: hashes and signatures have 120 at most, and
/// no password anybody types is longer.
pub const CREDENTIAL_BYTES_MAX: usize = 512;

/// Clients whose credentials wait to be verified. With a bcrypt hash of cost 10, 50 ms, the last one
/// waits about as long as a handshake may take.
pub const QUESTIONS_MAX: usize = 128;

/// What a password hash in the configuration may cost, so that no client occupies the desk for more
/// than a few seconds.
pub const BCRYPT_COST_MAX: u32 = 15;
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 << 10;
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Preempt timer of a data core's executor: never, in effect. The shard is its only task. And the
/// executor (glommio 0.9) goes to sleep beside a runnable task if the timer fires between two checks
/// of its loop, as it does when the thread is descheduled there for longer than the timer.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// Bytes an executor registers, three times, for file I/O that is hardly used here.
pub const EXECUTOR_IO_BYTES: usize = 64 << 10;

/// A shard that has work and has not turned for this long is reported.
pub const STALL_AFTER: Duration = Duration::from_secs(1);

/// Bytes of a TLS handshake: a chain of a few certificates from the client, many times over, and what
/// one message of it may be.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// Bytes the TLS layer may seal before they are moved on: four records.
pub const TLS_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bytes and headers of a request to become a WebSocket. Browsers send about 600 bytes and 15 headers,
/// and the cookies of the host.
pub const UPGRADE_BYTES_MAX: usize = 8 << 10;
pub const UPGRADE_HEADERS_MAX: usize = 64;

/// Payload bytes of a WebSocket frame from a client. Nothing is kept for it; clients put whatever they
/// have waiting into one frame, and what they may have waiting is 8 MiB with the largest of them.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = 64 << 20;

/// Payload bytes of a WebSocket frame to a client: the most that needs a header of 4 bytes. Clients
/// hold a frame until it is whole, and some refuse long ones.
pub const WEBSOCKET_SENT_FRAME_BYTES_MAX: usize = u16::MAX as usize;

/// Connections and subscriptions in one answer of a shard to an operator, who waits for well under a
/// millisecond of its time.
pub const CONNECTIONS_LISTED_MAX: usize = 1024;
pub const SUBSCRIPTIONS_LISTED_MAX: usize = 4096;

/// Endpoints of functions a shard names in one answer: a few hundred bytes each.
pub const FUNCTIONS_LISTED_MAX: usize = 4_096;

/// Functions of a shard with numbers of their own on the metrics page: each takes 50 kB for its times, and up
/// to twenty lines of the page. Others are counted together.
pub const FUNCTIONS_MEASURED_MAX: usize = 256;

/// How often names are looked for that gave up their place: once in so long, it costs some microseconds.
pub const FUNCTIONS_MEASURED_SWEEP: Duration = Duration::from_secs(1);

/// Bytes of one record of the state that survives. Snapshots are hints: what does not fit is learnt
/// from others again.
pub const STORE_RECORD_BYTES_MAX: usize = 4 << 20;

/// Changes that wait for the thread that keeps state, and that it commits together.
pub const STORE_CHANGES_MAX: usize = 64;

/// Links to other nodes. A cluster of 20 has 19 each; larger ones are not fully meshed.
pub const PEER_LINKS_MAX: usize = 256;

/// Connections that are no links yet, and of one address: whoever opens more waits for others to be
/// done or to time out.
pub const PEER_STRANGERS_MAX: usize = 256;
pub const PEER_STRANGERS_OF_ADDRESS_MAX: usize = 64;

/// Connections opened at the same time, so that the end of many nodes is no storm of dials.
pub const PEER_DIALS_MAX: usize = 8;

const _: () = assert!(DIALS_MAX <= PEER_DIALS_MAX);

/// The same of data links, of which each shard has one to each node: they are in nobody's way.
pub const PEER_DATA_DIALS_MAX: usize = 8;

/// Goodbyes that are not written after this are given up: links linger for a second after theirs.
pub const LEAVE_MAX: Duration = Duration::from_millis(1_200);

/// Bytes of a file of addresses to begin with.
pub const PEER_SEEDS_BYTES_MAX: u64 = 64 << 10;

/// Bytes queued for a link; a tenth is for control and critical frames alone. Thirty of the largest
/// frames, so that a snapshot of a catalog goes out without a refusal.
pub const PEER_QUEUE_BYTES_MAX: usize = 2 << 20;

/// Bytes sealed and not yet taken by the kernel, and bytes the kernel has not sent: what a frame of a
/// higher lane waits for. Two TLS records each.
pub const PEER_WIRE_BYTES: usize = 32 << 10;

/// Bytes of a read, and those read from one link before the others have their turn.
pub const PEER_READ_BYTES: usize = 32 << 10;
pub const PEER_TURN_BYTES_MAX: usize = 8 * PEER_READ_BYTES;

/// Pings without an answer that are remembered, and answers to pings that wait. More come from nobody
/// who keeps to the interval.
pub const PEER_PINGS_OUT_MAX: usize = 16;
pub const PEER_PONGS_WAITING_MAX: usize = 16;

/// A command without a result in the report of a call graph: two names, at most 64 and 128 bytes, and words
/// around them. Its line in the summary is shorter.
pub const GRAPH_ERROR_BRIEF_BYTES: usize = 512;

/// Bytes of errors in the report of a call graph. With more, each is told as briefly: half of the report,
/// so that there is as much for results.
pub const GRAPH_ERRORS_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 2;

const _: () = assert!(
    GRAPH_ERRORS_BYTES_MAX
        + (2 * CALL_GRAPH_COMMANDS_MAX + 1) * GRAPH_ERROR_BRIEF_BYTES
        + 2 * CALL_GRAPH_DEPTH_MAX * CALL_COMMAND_NAME_BYTES_MAX
        <= PAYLOAD_BYTES_MAX,
    "a report without results fits a payload"
);

const _: () = assert!(PEER_CONTROL_FRAME_BYTES_MAX < PEER_QUEUE_BYTES_MAX / 10);
const _: () = assert!(STALL_BYTES < LINK_QUEUE_BYTES_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize / 2);
const _: () = assert!(SHARED_RUN_BYTES_MIN < RECEIVE_BUFFER_BYTES);
const _: () = assert!(RECEIVE_BUFFER_BYTES <= ARENA_PAGE_BYTES);
const _: () = assert!(OUT_BUFFER_BYTES_MAX <= FLIGHT_BYTES_MAX);
const _: () = assert!(NATS_INFO_WITHIN.as_nanos() < NATS_INFO_EVERY.as_nanos());
