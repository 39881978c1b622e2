//! Frames: everything said after the hello. Bytes to frames, frames to bytes.
//!
//! Every frame starts with its whole length (u32, little endian) and its kind (u8). A data frame is
//! an [`Envelope`], topic, reply topic, payload. The others have three kind-specific bytes after
//! the kind, then a fixed body, then names. `docs/WIRE.md` draws each. Those about functions are in
//! `rpc.rs`.
//!
//! Invariants:
//! - [`decode`] is total: any bytes give a frame, the number of bytes to wait for, or a code. It
//!   allocates nothing, and never asks to wait for more than the bound of the kind.
//! - What [`decode`] accepts, the `put` functions write the same way, byte for byte; names over their
//!   bound apart, which they cut.

use alloc::vec::Vec;

use crate::envelope::{ArchivedEnvelope, Encoding, Envelope, Priority};
use crate::error::ErrorCode;
use crate::id::{SessionId, Sid};
use crate::limits::{
    CALL_FAILED_BYTES_MAX, CLIENT_NAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, ENVELOPE_BYTES,
    ERROR_TEXT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, GROUP_BYTES_MAX,
};

mod rpc;

pub use rpc::{
    Answer, Call, CallFailed, Invoke, Path, Register, ResourceNames, Rpc, TraceBlock, Unregistered,
    Why,
};

/// The fifth byte of every frame. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Data = 1,
    Connect = 2,
    Connected = 3,
    Subscribe = 4,
    Subscribed = 5,
    Unsubscribe = 6,
    Unsubscribed = 7,
    Ping = 8,
    Pong = 9,
    Drain = 10,
    Drained = 11,
    For = 12,
    NoResponders = 13,
    Error = 14,
    GoingAway = 15,
    Register = 16,
    Registered = 17,
    Unregister = 18,
    Unregistered = 19,
    Health = 20,
    Call = 21,
    Cancel = 22,
    Result = 23,
    CallFailed = 24,
    Invoke = 25,
    Withdraw = 26,
    Reply = 27,
    ReplyFailed = 28,
}

/// One frame, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Both ways: a message.
    Data(Data<'a>),
    /// Client: who I am and how I want to be served. First frame after the hello.
    Connect(Connect<'a>),
    /// Router: you are in; these are the bounds.
    Connected(Connected),
    /// Client: send me what matches.
    Subscribe(Subscribe<'a>),
    /// Router: from here on every matching message is sent.
    Subscribed { sid: Sid },
    /// Client: stop after `deliveries` messages in all; zero stops at once.
    Unsubscribe { sid: Sid, deliveries: u32 },
    /// Router: nothing more will be sent for this subscription.
    Unsubscribed { sid: Sid },
    /// Both ways: are you there?
    Ping { token: u64 },
    /// Both ways: I am. Carries the token of the ping.
    Pong { token: u64 },
    /// Client: end every subscription, call nothing here any more, send what is queued, then say so.
    Drain,
    /// Router: the queue is empty, every job is answered, and nothing more will come.
    Drained,
    /// Router: the data frame that follows is for this subscription alone (one of a queue group).
    For { sid: Sid },
    /// Router: nobody is subscribed to the topic of the request with this reply topic.
    NoResponders { reply: &'a [u8] },
    /// Router: a command was refused, or, if `code.is_fatal()`, the session ends.
    Error(Refusal<'a>),
    /// Router: shutting down; the connection ends once the queue is sent.
    GoingAway,
    /// Both ways: about functions.
    Rpc(Rpc<'a>),
}

/// A message. `frame` is all its bytes, as they came and as they go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    frame: &'a [u8],
}

/// `Frame::Connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// For logs and status. May be empty.
    pub name: &'a str,
    /// Whether the session's own messages come back to its own subscriptions.
    pub echo: Echo,
    /// Outbound queue wished for, in bytes; zero takes the router's default, more is cut to its
    /// maximum.
    pub queue_bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Echo {
    #[default]
    On = 0,
    Off = 1,
}

/// `Frame::Connected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    pub session: SessionId,
    /// Largest frame this router takes.
    pub frame_bytes_max: u32,
    /// Outbound queue granted.
    pub queue_bytes: u32,
    /// The router pings after this much silence and gives up after three of them.
    pub ping_interval_ms: u32,
    /// Subscriptions this session may hold.
    pub subscriptions_max: u32,
}

/// `Frame::Subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub sid: Sid,
    pub overload: Overload,
    pub pattern: &'a [u8],
    /// Empty: every message. Otherwise one member of the group of this name gets each message.
    pub group: &'a [u8],
}

/// What gives way when messages arrive faster than this subscriber reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Overload {
    /// The oldest queued message of the same or a lower lane.
    #[default]
    DropOldest = 0,
    /// The message that just arrived.
    DropNewest = 1,
    /// The session.
    Disconnect = 2,
}

/// `Frame::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    pub code: ErrorCode,
    /// The subscription it is about; zero if none.
    pub sid: Sid,
    pub text: &'a str,
}

/// What a run of bytes begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Not a whole frame yet: come back with at least this many bytes.
    Need(usize),
    Frame {
        frame: Frame<'a>,
        /// Bytes it took.
        bytes: usize,
    },
}

/// Length and kind of the frame at the front of `bytes`; `None` while fewer than five are there.
#[inline]
pub fn peek(bytes: &[u8]) -> Result<Option<(usize, Kind)>, ErrorCode> {
    let Some(head) = bytes.first_chunk::<5>() else { return Ok(None) };
    let frame_bytes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if head[4] == Kind::Data as u8 {
        return match frame_bytes {
            0..ENVELOPE_BYTES => Err(ErrorCode::Malformed),
            ENVELOPE_BYTES..=FRAME_BYTES_MAX => Ok(Some((frame_bytes, Kind::Data))),
            _ => Err(ErrorCode::FrameTooLarge),
        };
    }
    let kind = Kind::from_wire(head[4]).ok_or(ErrorCode::UnknownKind)?;
    match frame_bytes {
        0..FRAME_HEADER_BYTES => Err(ErrorCode::Malformed),
        _ if kind.bytes_max() < frame_bytes => Err(ErrorCode::FrameTooLarge),
        _ => Ok(Some((frame_bytes, kind))),
    }
}

/// Reads the frame at the front of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, ErrorCode> {
    let Some((frame_bytes, kind)) = peek(bytes)? else { return Ok(Decoded::Need(5)) };
    let Some(whole) = bytes.get(..frame_bytes) else { return Ok(Decoded::Need(frame_bytes)) };
    let frame = if kind == Kind::Data {
        Frame::Data(Data::parse(whole)?)
    } else {
        decode_control(kind, whole)?
    };
    Ok(Decoded::Frame { frame, bytes: frame_bytes })
}

/// Reads a frame that is not data, of which all bytes are there.
fn decode_control(kind: Kind, whole: &[u8]) -> Result<Frame<'_>, ErrorCode> {
    let (head, body) = whole.split_at(FRAME_HEADER_BYTES);
    let small = head[5];
    let number = u16::from_le_bytes([head[6], head[7]]);
    let mut body = Body(body);
    let frame = match kind {
        // Data frames have their own header and never come here.
        Kind::Data => return Err(ErrorCode::Malformed),
        Kind::Connect => {
            let echo = Echo::from_wire(small).ok_or(ErrorCode::Malformed)?;
            let queue_bytes = body.u32()?;
            let name = body.text(number, CLIENT_NAME_BYTES_MAX)?;
            Frame::Connect(Connect { name, echo, queue_bytes })
        }
        Kind::Connected => Frame::Connected(Connected {
            session: SessionId(body.u64()?),
            frame_bytes_max: body.u32()?,
            queue_bytes: body.u32()?,
            ping_interval_ms: body.u32()?,
            subscriptions_max: body.u32()?,
        }),
        Kind::Subscribe => {
            let overload = Overload::from_wire(small).ok_or(ErrorCode::Malformed)?;
            let sid = Sid(body.u32()?);
            let group = body.bytes(usize::from(number))?;
            let pattern = body.rest();
            if GROUP_BYTES_MAX < group.len() {
                return Err(ErrorCode::BadName);
            }
            Frame::Subscribe(Subscribe { sid, overload, pattern, group })
        }
        Kind::Subscribed => Frame::Subscribed { sid: Sid(body.u32()?) },
        Kind::Unsubscribe => Frame::Unsubscribe { sid: Sid(body.u32()?), deliveries: body.u32()? },
        Kind::Unsubscribed => Frame::Unsubscribed { sid: Sid(body.u32()?) },
        Kind::Ping => Frame::Ping { token: body.u64()? },
        Kind::Pong => Frame::Pong { token: body.u64()? },
        Kind::Drain => Frame::Drain,
        Kind::Drained => Frame::Drained,
        Kind::For => Frame::For { sid: Sid(body.u32()?) },
        Kind::NoResponders => Frame::NoResponders { reply: body.rest() },
        Kind::Error => {
            let code = ErrorCode::from_wire(number).ok_or(ErrorCode::Malformed)?;
            let sid = Sid(body.u32()?);
            Frame::Error(Refusal { code, sid, text: body.rest_text()? })
        }
        Kind::GoingAway => Frame::GoingAway,
        Kind::Register
        | Kind::Registered
        | Kind::Unregister
        | Kind::Unregistered
        | Kind::Health
        | Kind::Call
        | Kind::Cancel
        | Kind::Result
        | Kind::CallFailed
        | Kind::Invoke
        | Kind::Withdraw
        | Kind::Reply
        | Kind::ReplyFailed => Frame::Rpc(Rpc::parse(kind, small, number, &mut body)?),
    };
    if !kind.has_small() && small != 0 || !kind.has_number() && number != 0 {
        return Err(ErrorCode::ReservedBits);
    }
    if body.0.is_empty() { Ok(frame) } else { Err(ErrorCode::Malformed) }
}

/// What is left of a control frame's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], ErrorCode> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(ErrorCode::Malformed)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ErrorCode> {
        let (taken, left) = self.0.split_first_chunk::<N>().ok_or(ErrorCode::Malformed)?;
        self.0 = left;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, ErrorCode> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ErrorCode> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, count: u16, bytes_max: usize) -> Result<&'a str, ErrorCode> {
        let bytes = self.bytes(usize::from(count))?;
        if bytes_max < bytes.len() {
            return Err(ErrorCode::BadName);
        }
        core::str::from_utf8(bytes).map_err(|_| ErrorCode::BadName)
    }

    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// What is left, a text for people.
    fn rest_text(&mut self) -> Result<&'a str, ErrorCode> {
        let text = core::str::from_utf8(self.rest()).map_err(|_| ErrorCode::Malformed)?;
        if text.len() <= ERROR_TEXT_BYTES_MAX { Ok(text) } else { Err(ErrorCode::Malformed) }
    }
}

impl<'a> Data<'a> {
    /// Reads a data frame of which all bytes, and no others, are in `frame`.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, ErrorCode> {
        let envelope = ArchivedEnvelope::access(frame).ok_or(ErrorCode::Malformed)?;
        envelope.check()?;
        if envelope.frame_bytes.to_native() as usize != frame.len()
            || envelope.kind != Kind::Data as u8
        {
            return Err(ErrorCode::Malformed);
        }
        Ok(Self { frame })
    }

    #[inline]
    pub fn envelope(self) -> &'a ArchivedEnvelope {
        ArchivedEnvelope::access(self.frame).expect("checked by parse")
    }

    #[inline]
    pub fn frame(self) -> &'a [u8] {
        self.frame
    }

    /// As sent; whether it is a topic is for the router to check, once per topic.
    #[inline]
    pub fn topic(self) -> &'a [u8] {
        &self.frame[ENVELOPE_BYTES..ENVELOPE_BYTES + usize::from(self.envelope().topic_bytes)]
    }

    /// Where an answer should be published. Empty: none is expected.
    #[inline]
    pub fn reply(self) -> &'a [u8] {
        let from = ENVELOPE_BYTES + usize::from(self.envelope().topic_bytes);
        &self.frame[from..from + usize::from(self.envelope().reply_bytes)]
    }

    #[inline]
    pub fn payload(self) -> &'a [u8] {
        &self.frame[self.envelope().fixed_bytes()..]
    }

    /// The header block as its publisher wrote it, see [`crate::header`]. Empty: none.
    #[inline]
    pub fn headers(self) -> &'a [u8] {
        let envelope = self.envelope();
        let to = envelope.fixed_bytes();
        &self.frame[to - usize::from(envelope.headers_bytes.to_native())..to]
    }

    #[inline]
    pub fn priority(self) -> Priority {
        Priority::from_wire(self.envelope().priority).expect("checked by parse")
    }

    pub fn encoding(self) -> Encoding {
        Encoding::from_wire(self.envelope().encoding).expect("checked by parse")
    }

    /// Milliseconds from receipt; `None` if it never goes stale.
    pub fn deadline_ms(self) -> Option<u32> {
        Some(self.envelope().deadline_ms.to_native()).filter(|&ms| ms != 0)
    }
}

/// A message to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publish<'a> {
    pub topic: &'a [u8],
    pub reply: &'a [u8],
    /// Empty, or a block as [`crate::header`] describes it.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub priority: Priority,
    pub encoding: Encoding,
    /// Zero: none.
    pub deadline_ms: u32,
}

impl Publish<'_> {
    /// Appends the frame, or says which bound it breaks and appends nothing.
    pub fn put(&self, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let Self { topic, reply, headers, payload, .. } = *self;
        let frame_bytes =
            ENVELOPE_BYTES + topic.len() + reply.len() + headers.len() + payload.len();
        let envelope = Envelope {
            frame_bytes: u32::try_from(frame_bytes).map_err(|_| ErrorCode::FrameTooLarge)?,
            kind: Kind::Data as u8,
            priority: self.priority as u8,
            encoding: self.encoding as u8,
            reserved: 0,
            topic_bytes: u8::try_from(self.topic.len())
                .ok()
                .filter(|&bytes| bytes != 0)
                .ok_or(ErrorCode::BadTopic)?,
            reply_bytes: u8::try_from(self.reply.len()).map_err(|_| ErrorCode::BadTopic)?,
            headers_bytes: u16::try_from(headers.len()).map_err(|_| ErrorCode::FrameTooLarge)?,
            deadline_ms: self.deadline_ms,
        };
        if crate::limits::PAYLOAD_BYTES_MAX < payload.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        out.reserve(frame_bytes);
        out.extend_from_slice(&envelope.to_bytes());
        [topic, reply, headers, payload].into_iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    }
}

impl Frame<'_> {
    /// Appends the frame. Names longer than their bound are cut to it: the caller has checked
    /// those that matter.
    pub fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Frame::Data(data) => out.extend_from_slice(data.frame),
            Frame::Connect(Connect { name, echo, queue_bytes }) => {
                let name = cut(name, CLIENT_NAME_BYTES_MAX).as_bytes();
                let parts = [&queue_bytes.to_le_bytes()[..], name];
                put_control(out, Kind::Connect, echo as u8, name.len() as u16, &parts);
            }
            Frame::Connected(Connected {
                session,
                frame_bytes_max,
                queue_bytes,
                ping_interval_ms,
                subscriptions_max,
            }) => {
                let parts = [
                    &session.0.to_le_bytes()[..],
                    &frame_bytes_max.to_le_bytes(),
                    &queue_bytes.to_le_bytes(),
                    &ping_interval_ms.to_le_bytes(),
                    &subscriptions_max.to_le_bytes(),
                ];
                put_control(out, Kind::Connected, 0, 0, &parts);
            }
            Frame::Subscribe(Subscribe { sid, overload, pattern, group }) => {
                let group = &group[..group.len().min(GROUP_BYTES_MAX)];
                let pattern = &pattern[..pattern.len().min(crate::limits::TOPIC_BYTES_MAX)];
                let parts = [&sid.0.to_le_bytes()[..], group, pattern];
                put_control(out, Kind::Subscribe, overload as u8, group.len() as u16, &parts);
            }
            Frame::Subscribed { sid } => put_number(out, Kind::Subscribed, sid.0),
            Frame::Unsubscribe { sid, deliveries } => {
                let parts = [&sid.0.to_le_bytes()[..], &deliveries.to_le_bytes()];
                put_control(out, Kind::Unsubscribe, 0, 0, &parts);
            }
            Frame::Unsubscribed { sid } => put_number(out, Kind::Unsubscribed, sid.0),
            Frame::Ping { token } => put_control(out, Kind::Ping, 0, 0, &[&token.to_le_bytes()]),
            Frame::Pong { token } => put_control(out, Kind::Pong, 0, 0, &[&token.to_le_bytes()]),
            Frame::Drain => put_control(out, Kind::Drain, 0, 0, &[]),
            Frame::Drained => put_control(out, Kind::Drained, 0, 0, &[]),
            Frame::For { sid } => put_number(out, Kind::For, sid.0),
            Frame::NoResponders { reply } => {
                let reply = &reply[..reply.len().min(crate::limits::TOPIC_BYTES_MAX)];
                put_control(out, Kind::NoResponders, 0, 0, &[reply]);
            }
            Frame::Error(Refusal { code, sid, text }) => {
                let text = cut(text, ERROR_TEXT_BYTES_MAX).as_bytes();
                let parts = [&sid.0.to_le_bytes()[..], text];
                put_control(out, Kind::Error, 0, code.as_wire(), &parts);
            }
            Frame::GoingAway => put_control(out, Kind::GoingAway, 0, 0, &[]),
            Frame::Rpc(rpc) => rpc.put(out),
        }
    }
}

fn put_number(out: &mut Vec<u8>, kind: Kind, number: u32) {
    put_control(out, kind, 0, 0, &[&number.to_le_bytes()]);
}

fn put_control(out: &mut Vec<u8>, kind: Kind, small: u8, number: u16, parts: &[&[u8]]) {
    let bytes = FRAME_HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    debug_assert!(bytes <= kind.bytes_max());
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out.extend_from_slice(&[kind as u8, small]);
    out.extend_from_slice(&number.to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The longest beginning of `text` of at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Kind {
    pub const ALL: [Self; 28] = [
        Self::Data,
        Self::Connect,
        Self::Connected,
        Self::Subscribe,
        Self::Subscribed,
        Self::Unsubscribe,
        Self::Unsubscribed,
        Self::Ping,
        Self::Pong,
        Self::Drain,
        Self::Drained,
        Self::For,
        Self::NoResponders,
        Self::Error,
        Self::GoingAway,
        Self::Register,
        Self::Registered,
        Self::Unregister,
        Self::Unregistered,
        Self::Health,
        Self::Call,
        Self::Cancel,
        Self::Result,
        Self::CallFailed,
        Self::Invoke,
        Self::Withdraw,
        Self::Reply,
        Self::ReplyFailed,
    ];

    fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// Whether what it carries is an application's, of up to 1 MiB.
    pub const fn has_payload(self) -> bool {
        matches!(self, Self::Data | Self::Call | Self::Result | Self::Invoke | Self::Reply)
    }

    /// Bytes of the longest frame.
    pub const fn bytes_max(self) -> usize {
        if self.has_payload() {
            FRAME_BYTES_MAX
        } else if matches!(self, Self::CallFailed) {
            CALL_FAILED_BYTES_MAX
        } else {
            CONTROL_FRAME_BYTES_MAX
        }
    }

    /// Whether the byte behind the kind says something.
    fn has_small(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Subscribe
                | Self::Health
                | Self::Call
                | Self::Result
                | Self::CallFailed
                | Self::Invoke
                | Self::Reply
        )
    }

    /// Whether the two bytes behind that one do.
    fn has_number(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Subscribe
                | Self::Error
                | Self::Unregistered
                | Self::Call
                | Self::Result
                | Self::CallFailed
                | Self::Reply
        )
    }
}

impl Echo {
    fn from_wire(number: u8) -> Option<Self> {
        [Self::On, Self::Off].get(usize::from(number)).copied()
    }
}

impl Overload {
    pub const ALL: [Self; 3] = [Self::DropOldest, Self::DropNewest, Self::Disconnect];

    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests;
