//! Every bound and default of the client, with its reason.

use std::time::Duration;

use mpreg_proto::limits::{CONTROL_FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};

/// Bytes of one receive chunk. Payloads point into it, so it is also what one kept message can
/// hold on to.
pub const READ_CHUNK_BYTES: usize = 64 << 10;

/// A receive chunk with less room than this is given up for a fresh one: shorter reads would cost
/// more in system calls than the chunk is worth.
pub const READ_ROOM_BYTES_MIN: usize = 4 << 10;

/// Default bytes of published messages that wait to be written. Holds the largest frame; past it a
/// publish waits.
pub const OUTBOUND_BYTES: u32 = 2 << 20;

/// Default bytes a subscription holds for a reader that is late.
pub const INBOX_BYTES: usize = 8 << 20;

/// Charged to an inbox for each message beside its frame, so that empty messages are bounded too.
pub const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// Receive chunks one inbox may hold on to. A message that would pin one more is copied out of its
/// chunk, so a late reader of small messages keeps 4 MiB of chunks and no more.
pub const CHUNKS_PINNED_MAX: usize = 64;

/// Topics for which the matching subscriptions are remembered. Past it the memory starts anew.
pub const TOPICS_REMEMBERED_MAX: usize = 4096;

/// Requests that may wait for their replies at once.
pub const REQUESTS_PENDING_MAX: usize = 1 << 16;

/// Calls that may wait for their results at once.
pub const CALLS_PENDING_MAX: usize = 1 << 16;

/// Default time for a call, as the router has it for clients that say none. This one always says it,
/// so that it knows when to stop waiting.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Time after its deadline in which a call still waits for the router to say how it ended: the word says
/// more than the clock.
pub const CALL_GRACE: Duration = Duration::from_millis(500);

/// Bytes of a result in parts that may wait for a caller that is late. Past it the call ends: parts
/// cannot be left out.
pub const CALL_PARTS_BYTES_MAX: usize = 8 << 20;

/// Bytes a call or a reply is charged with beside its payload: no head of one is longer.
pub const CALL_HEAD_BYTES: usize = CONTROL_FRAME_BYTES_MAX;

/// Flushes that may wait for their pongs at once.
pub const FLUSHES_PENDING_MAX: usize = 1024;

/// Answers to pings that may wait to be written. A router that pings faster than it reads gets
/// no more than these.
pub const PONGS_WAITING_MAX: u32 = 16;

/// Pings a router may leave unanswered before the connection counts as half-open: the router's own
/// rule.
pub const PINGS_MISSED_MAX: u32 = 3;

/// Bounds on the ping interval a router may announce: neither a busy loop nor never.
pub const PING_INTERVAL_MIN: Duration = Duration::from_millis(100);
pub const PING_INTERVAL_MAX: Duration = Duration::from_secs(300);

/// Events kept for an observer that is late.
pub const EVENTS_MAX: usize = 256;

/// Default wait before the second attempt to connect; doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// Default longest wait between attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Default attempts of `Client::connect`: about 6 s of waiting in all.
pub const CONNECT_ATTEMPTS_MAX: u32 = 8;

/// Default attempts to reconnect: about an hour of waiting in all.
pub const RECONNECT_ATTEMPTS_MAX: u32 = 1000;

/// A connection that lasted this long was a good one: the next loss starts with the first wait.
pub const CONNECTION_GOOD_AFTER: Duration = Duration::from_secs(10);

/// Default time for one attempt: socket, hello and `connect` together.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Time for a router to confirm every subscription after a reconnect.
pub const RESUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// Time a drain waits for the router to send what it holds: enough for its default queue of 2 MiB
/// over 35 kB/s.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Time a close waits for what is buffered to be written and the router to hang up.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of the topic a request is answered on: `_INBOX.`, a token of 16 digits, a dot and a number
/// of up to 20 digits.
pub const REPLY_TOPIC_BYTES_MAX: usize = 7 + 16 + 1 + 20;

const _: () = assert!(READ_ROOM_BYTES_MIN < READ_CHUNK_BYTES);
const _: () = assert!(READ_CHUNK_BYTES * CHUNKS_PINNED_MAX <= INBOX_BYTES);
const _: () = assert!(PAYLOAD_BYTES_MAX + MESSAGE_OVERHEAD_BYTES <= CALL_PARTS_BYTES_MAX);
const _: () = assert!(REPLY_TOPIC_BYTES_MAX <= TOPIC_BYTES_MAX);
