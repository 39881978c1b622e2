//! Link: a non-blocking connection with what it could not send yet and what it has half received.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use rustix::event::epoll;

use crate::framing::Framing;
use crate::target::Stream;

/// Reads of one link before others have their turn.
const READS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    framing: Framing,
    /// Event data it is registered with.
    data: u64,
    /// Bytes to send, and how many of them are gone.
    outbox: Vec<u8>,
    sent: usize,
    /// The beginning of a frame, or what came before the generator started.
    carry: Vec<u8>,
    /// Whether the socket was last registered for "has room".
    awaits_room: bool,
    /// The other side has closed: what is left must be read to its end, for no event will follow.
    is_closing: bool,
    end: Option<End>,
    /// Whether `end` has been returned to someone.
    is_end_told: bool,
}

/// What is always watched for; `OUT` is added while something waits to be sent.
const WATCHED: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);

/// Whether a socket has been read empty. If not, no event will say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    Yes,
    No,
}

/// Why a connection can no longer be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Io(ErrorKind),
    Refused { why: String, detail: String },
    NotAFrame { why: &'static str },
    GoingAway,
}

impl Link {
    /// Registers for arriving bytes, edge-triggered. `carry` is what was read from the stream so far
    /// and not used.
    pub(super) fn new(
        (mut stream, carry): (Stream, Vec<u8>),
        framing: Framing,
        epoll: &OwnedFd,
        data: u64,
    ) -> io::Result<Self> {
        stream.set_nonblocking()?;
        let event_data = epoll::EventData::new_u64(data);
        epoll::add(epoll, &stream, event_data, WATCHED)?;
        Ok(Self {
            stream,
            framing,
            data,
            outbox: Vec::new(),
            sent: 0,
            carry,
            awaits_room: false,
            is_closing: false,
            end: None,
            is_end_told: false,
        })
    }

    /// Does what an event asks for, but for reading: sends what waits, notes the other side's end.
    pub(super) fn heed(&mut self, flags: epoll::EventFlags) {
        use epoll::EventFlags;
        self.is_closing |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::OUT) {
            self.flush();
        }
    }

    /// Some bytes given to it are not sent yet, or never will be.
    pub(super) fn is_blocked(&self) -> bool {
        self.wants_room() || self.end.is_some()
    }

    /// Bytes wait for room, here or in a layer of the stream's.
    fn wants_room(&self) -> bool {
        !self.outbox.is_empty() || self.stream.has_pending()
    }

    /// Sends what the socket takes; the rest waits. Only for a link that is not blocked.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        assert!(!self.is_blocked(), "frames would be torn or overtaken");
        let sent = self.write(bytes);
        self.outbox.extend_from_slice(&bytes[sent..]);
    }

    /// To be filled with whole frames, then flushed.
    pub(super) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        if let Err(error) = self.stream.flush() {
            self.end = Some(End::Io(error.kind()));
        }
        let outbox = std::mem::take(&mut self.outbox);
        self.sent += self.write(&outbox[self.sent..]);
        self.outbox = outbox;
        if self.sent == self.outbox.len() || self.end.is_some() {
            self.outbox.clear();
            self.sent = 0;
        }
    }

    /// Writes until the socket is full; the bytes it took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() && self.end.is_none() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => self.end = Some(End::Io(error.kind())),
            }
        }
        sent
    }

    /// Asks for an event when there is room, if and only if something waits for it.
    pub(super) fn settle(&mut self, epoll: &OwnedFd) {
        let wants_room = self.wants_room();
        if wants_room == self.awaits_room || self.end.is_some() {
            return;
        }
        let mut flags = WATCHED;
        flags.set(epoll::EventFlags::OUT, wants_room);
        let event_data = epoll::EventData::new_u64(self.data);
        match epoll::modify(epoll, &self.stream, event_data, flags) {
            Ok(()) => self.awaits_room = wants_room,
            Err(error) => self.end = Some(End::Io(io::Error::from(error).kind())),
        }
    }

    /// Reads what has arrived into `inbox` and shows it to `take`, which returns the bytes of whole
    /// frames it used; the rest is kept for the next read. A short read empties the socket. An end
    /// of the connection, however noticed, is returned once.
    pub(super) fn receive(
        &mut self,
        inbox: &mut [u8],
        mut take: impl FnMut(&mut Self, &[u8]) -> Result<usize, End>,
    ) -> Result<Drained, End> {
        if let Some(end) = self.end.clone() {
            return if self.is_end_told { Ok(Drained::Yes) } else { Err(self.ended(end)) };
        }
        for _ in 0..READS_MAX {
            let carried = self.carry.len();
            if carried == inbox.len() {
                return Err(self.ended(End::NotAFrame { why: "longer than any expected" }));
            }
            inbox[..carried].copy_from_slice(&self.carry);
            let read = match self.stream.read(&mut inbox[carried..]) {
                Ok(0) => Err(End::Closed),
                Ok(read) => Ok(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Drained::Yes),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(End::Io(error.kind())),
            };
            let filled = carried + read.map_err(|end| self.ended(end))?;
            let used = take(self, &inbox[..filled]).map_err(|end| self.ended(end))?;
            self.carry.clear();
            self.carry.extend_from_slice(&inbox[used..filled]);
            if filled < inbox.len() && !self.is_closing {
                return Ok(Drained::Yes);
            }
        }
        Ok(Drained::No)
    }

    pub(super) fn pong(&mut self, token: u64) {
        self.framing.put_pong(token, &mut self.outbox);
        self.flush();
    }

    fn ended(&mut self, end: End) -> End {
        self.end = Some(end.clone());
        self.is_end_told = true;
        end
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the router"),
            Self::Io(kind) => write!(f, "{kind}"),
            Self::Refused { why, detail } => write!(f, "refused: {why} {detail}"),
            Self::NotAFrame { why } => write!(f, "received what is no frame: {why}"),
            Self::GoingAway => f.write_str("the router is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests;
