//! The NATS client protocol: what a client says to a server, read; what either says, written.
//!
//! A line is an operation, its arguments separated by spaces or tabs, and an end of line; `PUB` and
//! `HPUB` are followed by as many bytes as they announce and one more CRLF. What nats-server 2.15.1
//! takes is taken here and means the same, but for lines that are over the bound only by their
//! spaces or by what follows `PING`, `PONG` or `+OK`, and for a CR within arguments: these are
//! refused. What subjects, sids and options may hold is not looked at.
//!
//! Invariants:
//! - [`parse`] is total: any bytes give a command, the number of bytes to wait for, or a violation. It
//!   allocates nothing, and never asks to wait for more than the bounds allow.
//! - What a beginning of some bytes is parsed to, the whole is parsed to as well.
//! - No field of a command holds a CR or LF, but headers and payload.
//! - A tail, written after `MSG <subject> <sid> `, is the message that was published.
//!
//! While a payload is awaited nothing is read twice; while a line is, it is searched for its
//! end on each call, which the bound on lines keeps below the cost of receiving a byte.
//!
//! Reading order: here what a client may say, `publication` (the way of `PUB` and `HPUB`), `line` (all
//! other lines, and those not in plain spelling), `put` (what is written), `said` (what a server
//! says, for load generators).

mod line;
mod publication;
mod put;
mod said;
mod scan;

pub use put::{
    put_connect, put_head, put_message, put_publish, put_subscribe, put_tail, put_unsubscribe,
    put_with_tail,
};
pub use said::{Heard, Message, Said, parse_said};

/// What one line or message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the arguments of a line.
    pub control_line_bytes: usize,
    /// Bytes of headers and payload of a message, together.
    pub payload_bytes: usize,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `CONNECT`, with its JSON as it is written.
    Connect {
        options: &'a [u8],
    },
    /// `PUB` and `HPUB`.
    Publish(Publication<'a>),
    /// `SUB`; no group is empty.
    Subscribe {
        subject: &'a [u8],
        group: &'a [u8],
        sid: &'a [u8],
    },
    /// `UNSUB`; zero deliveries, or a number nobody can read, end the subscription at once.
    Unsubscribe {
        sid: &'a [u8],
        deliveries: u32,
    },
    Ping,
    Pong,
    /// `+OK`: a server ignores it.
    Ok,
    /// `-ERR`: nats-server closes the connection and says nothing.
    Error,
    /// `INFO`: nats-server ignores it if it is JSON and closes the connection otherwise.
    Info,
}

/// A message as a client publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    pub subject: &'a [u8],
    /// Empty: none.
    pub reply: &'a [u8],
    /// The whole header block with its `NATS/1.0` line. Empty: none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// What follows `MSG <subject> <sid> ` or `HMSG <subject> <sid> ` in the message a subscriber gets,
    /// where the publisher wrote just that; empty where its spacing or numbers are spelled
    /// otherwise.
    pub tail: &'a [u8],
}

/// What some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    Command {
        command: Command<'a>,
        /// Bytes it took.
        length: usize,
    },
    /// Not whole yet: come back with at least this many bytes.
    Need(usize),
}

/// Why bytes are not a command. The connection cannot go on after any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Violation {
    #[error("not an operation")]
    UnknownOperation,
    #[error("line over its bound")]
    ControlLineTooLong,
    #[error("payload over its bound")]
    PayloadTooLarge,
    #[error("wrong number of arguments")]
    Malformed,
    #[error("not a size")]
    BadSize,
    #[error("payload without its CRLF")]
    MissingCrlf,
}

impl Violation {
    pub const ALL: [Self; 6] = [
        Self::UnknownOperation,
        Self::ControlLineTooLong,
        Self::PayloadTooLarge,
        Self::Malformed,
        Self::BadSize,
        Self::MissingCrlf,
    ];

    /// What nats-server puts between the quotes of `-ERR ''` before it closes the connection. Nothing:
    /// it closes without a word.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation | Self::MissingCrlf => Some("Unknown Protocol Operation"),
            Self::ControlLineTooLong => Some("maximum control line exceeded"),
            Self::PayloadTooLarge => Some("Maximum Payload Violation"),
            Self::Malformed | Self::BadSize => None,
        }
    }
}

/// Reads the command at the front of `bytes`.
#[inline]
pub fn parse(bytes: &[u8], bounds: Bounds) -> Result<Parsed<'_>, Violation> {
    match publication::parse_plain(bytes, bounds) {
        Some(parsed) => parsed,
        None => line::parse(bytes, bounds),
    }
}

#[cfg(test)]
mod tests;
