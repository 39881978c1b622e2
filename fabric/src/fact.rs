//! What happened, as closed sets: logs, counters and test assertions all read these.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::peer_hello::Refusal;

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

/// Why a connection between two nodes ended, or never became a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkEndReason {
    /// Nobody there, or nobody who answers in time.
    Unreachable,
    /// The address is a name that names nothing.
    Unresolved,
    /// Neither secured nor greeted in time.
    HandshakeTimeout,
    /// Another node than the one expected there.
    OtherNode,
    NotTls,
    NoCertificate,
    UnknownIssuer,
    /// Not valid any more, or not yet.
    CertificateExpired,
    /// Names no node, or one whose key it does not have.
    BadCertificate,
    /// The other would not have this node's certificate.
    CertificateRefused,
    TlsFailed,
    BadHello,
    /// One of both would not have a link.
    Refused(Refusal),
    /// A frame over its bound.
    FrameTooLarge,
    BadFrame,
    /// A frame that has no place on this link.
    UnexpectedFrame,
    /// Another link to the same node has taken its place.
    Replaced,
    /// Nothing was heard for too long.
    Silent,
    /// What was sent is not read.
    SendHold,
    TransportFailed,
    /// The other has hung up without a word, as a process does that is killed.
    CutOff,
    /// The other closed it.
    Closed,
    /// The other said goodbye to its cluster.
    Departed,
    /// This node stops.
    Stopped,
}

impl LinkEndReason {
    pub const ALL: [Self; 35] = {
        let mut all = [Self::Stopped; 35];
        let (mut at, mut refusals) = (0, 0);
        while at < Self::PLAIN.len() {
            all[at] = Self::PLAIN[at];
            at += 1;
        }
        while refusals < Refusal::ALL.len() {
            all[at + refusals] = Self::Refused(Refusal::ALL[refusals]);
            refusals += 1;
        }
        assert!(at + refusals == all.len());
        all
    };

    const PLAIN: [Self; 23] = [
        Self::Unreachable,
        Self::Unresolved,
        Self::HandshakeTimeout,
        Self::OtherNode,
        Self::NotTls,
        Self::NoCertificate,
        Self::UnknownIssuer,
        Self::CertificateExpired,
        Self::BadCertificate,
        Self::CertificateRefused,
        Self::TlsFailed,
        Self::BadHello,
        Self::FrameTooLarge,
        Self::BadFrame,
        Self::UnexpectedFrame,
        Self::Replaced,
        Self::Silent,
        Self::SendHold,
        Self::TransportFailed,
        Self::CutOff,
        Self::Closed,
        Self::Departed,
        Self::Stopped,
    ];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        let found = Self::ALL.iter().position(|end| *end == self);
        found.expect("every end is in the list of all")
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unresolved => "unresolved",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::OtherNode => "other_node",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::CertificateExpired => "certificate_expired",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateRefused => "certificate_refused",
            Self::TlsFailed => "tls_failed",
            Self::BadHello => "bad_hello",
            Self::Refused(refusal) => refusal.word(),
            Self::FrameTooLarge => "frame_too_large",
            Self::BadFrame => "bad_frame",
            Self::UnexpectedFrame => "unexpected_frame",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
            Self::SendHold => "send_hold",
            Self::TransportFailed => "transport_failed",
            Self::CutOff => "cut_off",
            Self::Closed => "closed",
            Self::Departed => "departed",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_end_of_a_link_has_its_place_and_its_word() {
        let words: BTreeSet<_> = LinkEndReason::ALL.iter().map(|end| end.word()).collect();
        assert_eq!(words.len(), LinkEndReason::ALL.len());
        for (place, end) in LinkEndReason::ALL.into_iter().enumerate() {
            assert_eq!(end.index(), place);
        }
    }
}
