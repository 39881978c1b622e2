//! How a client connects and what it may hold. Every field has a default.

use std::time::Duration;

use mpreg_proto::frame::{Echo, Overload};

use crate::limits;

/// How a client connects, and what it may hold in memory.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// For the router's logs and status. At most
    /// [`CLIENT_NAME_BYTES_MAX`](mpreg_proto::limits::CLIENT_NAME_BYTES_MAX) bytes; longer is cut.
    pub name: String,
    /// Whether messages of this client come back to its own subscriptions.
    pub echo: Echo,
    /// Bytes the router may queue for this client; zero takes the router's default.
    pub queue_bytes: u32,
    /// Bytes of published messages that may wait to be written before `publish` waits. A single
    /// message may be larger.
    pub outbound_bytes: u32,
    /// Attempts of `connect`, at least one.
    pub connect_attempts_max: u32,
    /// Attempts after a connection is lost; zero never reconnects.
    pub reconnect_attempts_max: u32,
    /// Longest wait before the second attempt; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// Time for one attempt.
    pub handshake_deadline: Duration,
    /// Silence after which the client pings; after
    /// [`PINGS_MISSED_MAX`](crate::limits::PINGS_MISSED_MAX) unanswered pings the connection is
    /// given up. `None` takes the interval the router announces.
    pub ping_interval: Option<Duration>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            echo: Echo::On,
            queue_bytes: 0,
            outbound_bytes: limits::OUTBOUND_BYTES,
            connect_attempts_max: limits::CONNECT_ATTEMPTS_MAX,
            reconnect_attempts_max: limits::RECONNECT_ATTEMPTS_MAX,
            backoff_first: limits::BACKOFF_FIRST,
            backoff_max: limits::BACKOFF_MAX,
            handshake_deadline: limits::HANDSHAKE_DEADLINE,
            ping_interval: None,
        }
    }
}

/// What to subscribe to, and how.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions<'a> {
    /// A topic, or a shape of topics with `*`, `#` and `>`.
    pub pattern: &'a str,
    /// Empty: every message. Otherwise one member of the group of this name gets each message.
    pub group: &'a str,
    /// What gives way when messages arrive faster than they are taken, in the router's queue and
    /// in this subscription's inbox alike. In the inbox, [`Overload::Disconnect`] ends this
    /// subscription with [`Ended::Overrun`](crate::Ended::Overrun) and leaves the connection open.
    pub overload: Overload,
    /// Bytes the inbox holds for a reader that is late. An empty inbox takes any one message.
    pub inbox_bytes: usize,
}

impl Default for SubscribeOptions<'_> {
    fn default() -> Self {
        Self {
            pattern: "",
            group: "",
            overload: Overload::DropOldest,
            inbox_bytes: limits::INBOX_BYTES,
        }
    }
}
