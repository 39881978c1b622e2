//! What happened, as closed sets: logs, counters and test assertions all read these.

use mpreg_proto::error::ErrorCode;

/// Why a message was not delivered to somebody it was meant for. Each drop counts under one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The subscriber's queue was full and its policy gives up the oldest.
    QueueFullOldest,
    /// The subscriber's queue was full and its policy refuses the newest.
    QueueFullNewest,
    /// The subscriber's queue was full and its policy ends the session.
    QueueFullDisconnect,
    /// The node's memory budget was used up.
    MemoryBudget,
    /// Queued for a session that ended before it was sent.
    SessionEnded,
    /// No member of a queue group was there that may have it.
    GroupEmptied,
    /// The subscriber may not receive this topic, though its pattern matches.
    NotPermitted,
}

impl DropReason {
    pub const ALL: [Self; 7] = [
        Self::QueueFullOldest,
        Self::QueueFullNewest,
        Self::QueueFullDisconnect,
        Self::MemoryBudget,
        Self::SessionEnded,
        Self::GroupEmptied,
        Self::NotPermitted,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::QueueFullOldest => "queue_full_oldest",
            Self::QueueFullNewest => "queue_full_newest",
            Self::QueueFullDisconnect => "queue_full_disconnect",
            Self::MemoryBudget => "memory_budget",
            Self::SessionEnded => "session_ended",
            Self::GroupEmptied => "group_emptied",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// The peer closed its side, or drained and left.
    PeerClosed,
    /// The socket failed: reset, timeout of the transport, broken pipe.
    TransportFailed,
    /// The router ended it and told the peer why.
    Refused(ErrorCode),
}

impl EndReason {
    pub const fn word(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::TransportFailed => "transport_failed",
            Self::Refused(code) => code.word(),
        }
    }
}
