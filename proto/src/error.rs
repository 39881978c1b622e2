//! What a peer may be told. One code per thing the peer would do differently.

use core::fmt;

/// Why a frame, a command or a session was refused. The number is the wire form and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// The first bytes are not this protocol.
    BadMagic = 1,
    /// No protocol version in common.
    VersionUnsupported = 2,
    /// A frame contradicts itself: lengths that do not add up, a value outside its set.
    Malformed = 3,
    /// A frame is longer than the bound of its kind.
    FrameTooLarge = 4,
    /// A kind this version does not know.
    UnknownKind = 5,
    /// Bits or bytes set that this version keeps at zero.
    ReservedBits = 6,
    /// A frame that may not come now: before `connect`, twice, or only from the other side.
    UnexpectedFrame = 7,
    /// No hello or no `connect` in time.
    HandshakeTimeout = 8,
    /// Not a topic: empty segment, wildcard, space or control character, too long, not UTF-8.
    BadTopic = 9,
    /// Not a pattern.
    BadPattern = 10,
    /// Topics under `mpreg.` are published by the fabric alone.
    ReservedTopic = 11,
    /// A client name, or a group name, that is empty, too long or not UTF-8.
    BadName = 12,
    /// The session already has a subscription of this number.
    SidInUse = 13,
    /// The session has no subscription of this number.
    UnknownSid = 14,
    /// The session or the router holds as many subscriptions as it may.
    TooManySubscriptions = 15,
    /// The router holds as many connections as it may.
    TooManyConnections = 16,
    /// Nothing was heard for longer than the announced interval allows.
    IdleTimeout = 17,
    /// The session reads slower than its messages arrive, and a subscription asked to be
    /// disconnected then.
    SlowConsumer = 18,
    /// The router's memory budget is used up.
    OutOfMemory = 19,
    /// The router is shutting down; connect elsewhere or later.
    ShuttingDown = 20,
}

impl ErrorCode {
    pub const ALL: [Self; 20] = [
        Self::BadMagic,
        Self::VersionUnsupported,
        Self::Malformed,
        Self::FrameTooLarge,
        Self::UnknownKind,
        Self::ReservedBits,
        Self::UnexpectedFrame,
        Self::HandshakeTimeout,
        Self::BadTopic,
        Self::BadPattern,
        Self::ReservedTopic,
        Self::BadName,
        Self::SidInUse,
        Self::UnknownSid,
        Self::TooManySubscriptions,
        Self::TooManyConnections,
        Self::IdleTimeout,
        Self::SlowConsumer,
        Self::OutOfMemory,
        Self::ShuttingDown,
    ];

    pub fn from_wire(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_wire() == number)
    }

    pub const fn as_wire(self) -> u16 {
        self as u16
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadMagic => "bad_magic",
            Self::VersionUnsupported => "version_unsupported",
            Self::Malformed => "malformed",
            Self::FrameTooLarge => "frame_too_large",
            Self::UnknownKind => "unknown_kind",
            Self::ReservedBits => "reserved_bits",
            Self::UnexpectedFrame => "unexpected_frame",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::BadTopic => "bad_topic",
            Self::BadPattern => "bad_pattern",
            Self::ReservedTopic => "reserved_topic",
            Self::BadName => "bad_name",
            Self::SidInUse => "sid_in_use",
            Self::UnknownSid => "unknown_sid",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::TooManyConnections => "too_many_connections",
            Self::IdleTimeout => "idle_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::OutOfMemory => "out_of_memory",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What to do about it, in a sentence for a person.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::BadMagic => "this port speaks the mpreg protocol; check the address",
            Self::VersionUnsupported => "no protocol version in common; upgrade the older side",
            Self::Malformed => "the frame contradicts itself",
            Self::FrameTooLarge => "the frame is over the bound announced at connect",
            Self::UnknownKind => "the frame kind is unknown to this version",
            Self::ReservedBits => "bytes kept at zero in this version are set",
            Self::UnexpectedFrame => "this frame may not come now",
            Self::HandshakeTimeout => "hello and connect did not arrive in time",
            Self::BadTopic => "a topic is 1 to 32 dot-separated words of at most 255 bytes in all",
            Self::BadPattern => "wildcards are whole segments, and > only comes last",
            Self::ReservedTopic => "topics under mpreg. are published by the fabric alone",
            Self::BadName => "names are UTF-8 of at most 64 bytes",
            Self::SidInUse => "this session already uses that subscription number",
            Self::UnknownSid => "this session has no subscription of that number",
            Self::TooManySubscriptions => "unsubscribe something, or raise the router's limit",
            Self::TooManyConnections => "the router is at limits.connections_max",
            Self::IdleTimeout => "pings went unanswered",
            Self::SlowConsumer => "messages came faster than they were read",
            Self::OutOfMemory => "the router is at limits.memory_bytes; try later",
            Self::ShuttingDown => "the router is going away; reconnect",
        }
    }

    /// Whether the session ends with this error. The others refuse one command and go on.
    pub const fn is_fatal(self) -> bool {
        match self {
            Self::BadTopic
            | Self::BadPattern
            | Self::ReservedTopic
            | Self::SidInUse
            | Self::UnknownSid
            | Self::TooManySubscriptions => false,
            Self::BadMagic
            | Self::VersionUnsupported
            | Self::Malformed
            | Self::FrameTooLarge
            | Self::UnknownKind
            | Self::ReservedBits
            | Self::UnexpectedFrame
            | Self::HandshakeTimeout
            | Self::BadName
            | Self::TooManyConnections
            | Self::IdleTimeout
            | Self::SlowConsumer
            | Self::OutOfMemory
            | Self::ShuttingDown => true,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl core::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_no_other_number_does() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.as_wire()), Some(code));
        }
        let known = (0..=u16::MAX).filter(|&n| ErrorCode::from_wire(n).is_some()).count();
        assert_eq!(known, ErrorCode::ALL.len());
    }
}
