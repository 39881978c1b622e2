//! Framing: how a protocol opens a session, asks for messages, and puts them into bytes.
//!
//! The generator knows only what is here: a frame is cast once from a [`Mold`] and patched in
//! place, and received bytes become [`Inbound`]s. Each protocol is one variant of [`Framing`] and
//! one module; a match per call costs less than a virtual call and lets the fast paths be inlined.

mod native;
mod nats;

use std::io;
use std::ops::Range;

use crate::target::{Credentials, OPEN_TIMEOUT, Stream, Tls};
use crate::workload::Dialect;

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `docs/WIRE.md`.
    Native,
    /// The NATS client protocol.
    Nats,
}

/// A frame to publish, and where in it the parts are that change from message to message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mold {
    pub(crate) frame: Vec<u8>,
    pub(crate) topic: Range<usize>,
    pub(crate) reply: Range<usize>,
    pub(crate) payload: Range<usize>,
}

/// How most frames a connection receives are cut up: those like it take the short way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likeness(Like);

#[derive(Clone, Copy, Debug)]
enum Like {
    Native(native::Likeness),
    Nats(nats::Likeness),
}

/// One frame of the router's, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inbound<'a> {
    /// Bytes it took.
    pub(crate) bytes: usize,
    pub(crate) what: What<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What<'a> {
    Delivery(Delivery<'a>),
    Control(Control<'a>),
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    pub(crate) topic: &'a [u8],
    /// Empty: no answer is expected.
    pub(crate) reply: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Which of the session's patterns it is for, from zero up, where the protocol says so.
    pub(crate) pattern: Option<u32>,
}

/// Anything else the router says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control<'a> {
    /// To be answered with [`Framing::put_pong`].
    Ping { token: u64 },
    /// An answer to [`Framing::put_subscribe`] or [`Framing::put_confirm`].
    Subscribed,
    /// A request found nobody to answer it.
    NoResponders,
    /// A command was refused, or the session ends.
    Refused { why: &'a str, detail: &'a str },
    /// The router is shutting down.
    GoingAway,
    /// Nothing the generator acts on.
    Other,
}

/// What a session says of itself when it opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) name: &'a str,
    /// Outbound queue asked for; zero takes the router's default. Where the protocol cannot ask it
    /// is taken as granted.
    pub(crate) queue_bytes: u32,
    pub(crate) credentials: &'a Credentials,
    /// TLS begins once the server has introduced itself.
    pub(crate) tls: Option<Tls<'a>>,
}

/// What the router granted when a session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Outbound queue, bytes.
    pub(crate) queue_bytes: u64,
    /// Subscriptions a session may hold.
    pub(crate) subscriptions_max: u64,
}

/// Why a session could not be opened or a subscription not made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the connection failed while opening a session")]
    Io(#[source] io::Error),
    #[error("no answer within {} s", OPEN_TIMEOUT.as_secs())]
    Silent,
    #[error("the router speaks another protocol: {why}")]
    Foreign { why: &'static str },
    #[error("the router refused: {why} {detail}")]
    Refused { why: String, detail: String },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        // How a blocking socket says that its time is up.
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            Self::Silent
        } else {
            Self::Io(error)
        }
    }
}

impl Framing {
    /// What subscriptions mean.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Native => Dialect::Native,
            Self::Nats => Dialect::Nats,
        }
    }

    /// Whether a session can ask for an outbound queue of some size.
    pub(crate) fn asks_for_queue(self) -> bool {
        match self {
            Self::Native => true,
            Self::Nats => false,
        }
    }

    /// Opens a session on a fresh stream, blocking. Leaves in `received` what came after the answer.
    pub(crate) fn open(
        self,
        stream: &mut Stream,
        opening: &Opening<'_>,
        received: &mut Vec<u8>,
    ) -> Result<Granted, OpenError> {
        match self {
            Self::Native => native::open(stream, opening.name, opening.queue_bytes, received),
            Self::Nats => nats::open(stream, opening, received),
        }
    }

    /// Appends a subscription. `sid` is the number of the session's pattern, from one up.
    pub(crate) fn put_subscribe(self, sid: u32, pattern: &str, out: &mut Vec<u8>) {
        match self {
            Self::Native => native::put_subscribe(sid, pattern, out),
            Self::Nats => nats::put_subscribe(sid, pattern, out),
        }
    }

    /// Appends what makes the router say that the `count` subscriptions before it are in force;
    /// returns in how many answers.
    pub(crate) fn put_confirm(self, count: usize, out: &mut Vec<u8>) -> usize {
        match self {
            Self::Native => count,
            Self::Nats => {
                nats::put_confirm(out);
                1
            }
        }
    }

    pub(crate) fn put_pong(self, token: u64, out: &mut Vec<u8>) {
        match self {
            Self::Native => native::put_pong(token, out),
            Self::Nats => nats::put_pong(out),
        }
    }

    /// Appends one message. `reply` may be empty. All within the protocol's bounds.
    pub(crate) fn put_publish(self, topic: &[u8], reply: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Native => native::put_publish(topic, reply, payload, out),
            Self::Nats => nats::put_publish(topic, reply, payload, out),
        }
    }

    /// A frame with parts of these lengths.
    pub(crate) fn mold(self, topic_bytes: usize, reply_bytes: usize, payload_bytes: usize) -> Mold {
        match self {
            Self::Native => native::mold(topic_bytes, reply_bytes, payload_bytes),
            Self::Nats => nats::mold(topic_bytes, reply_bytes, payload_bytes),
        }
    }

    /// What a frame cast from `mold` looks like when it is delivered.
    pub(crate) fn likeness(self, mold: &Mold) -> Likeness {
        Likeness(match self {
            Self::Native => Like::Native(native::likeness(mold)),
            Self::Nats => Like::Nats(nats::likeness(mold)),
        })
    }

    /// The longest inbox a frame of the router's may need, given the longest message expected.
    pub(crate) fn inbound_bytes_max(self, mold: &Mold) -> usize {
        match self {
            Self::Native => mold.frame.len().max(native::CONTROL_BYTES_MAX),
            Self::Nats => mold.frame.len() + nats::CONTROL_BYTES_MAX,
        }
    }
}

impl Likeness {
    /// The frame at the front of `bytes`; `None` while it is not whole.
    #[inline]
    pub(crate) fn next<'a>(&self, bytes: &'a [u8]) -> Result<Option<Inbound<'a>>, &'static str> {
        match &self.0 {
            Like::Native(likeness) => native::next(bytes, likeness),
            Like::Nats(likeness) => nats::next(bytes, likeness),
        }
    }
}
