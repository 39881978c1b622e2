//! The socket under a link: bytes between the kernel and [`Link`], as far as they go without waiting.

use core::net::SocketAddr;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use mpreg_fabric::fact::LinkEndReason;
use mpreg_fabric::time::Instant;
use socket2::SockRef;

use super::link::Link;
use crate::limits::{PEER_READ_BYTES, PEER_TURN_BYTES_MAX, PEER_WIRE_BYTES};

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    remote: SocketAddr,
    is_connecting: bool,
    is_readable: bool,
    is_writable: bool,
    /// Nothing more is said, nothing more is heard.
    is_shut: bool,
    has_ended: bool,
}

impl Socket {
    pub(super) fn accepted(stream: TcpStream, remote: SocketAddr) -> Self {
        Self {
            stream,
            remote,
            is_connecting: false,
            is_readable: true,
            is_writable: true,
            is_shut: false,
            has_ended: false,
        }
    }

    /// Begins to connect.
    pub(super) fn dial(remote: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(remote)?;
        let accepted = Self::accepted(stream, remote);
        Ok(Self { is_connecting: true, is_readable: false, is_writable: false, ..accepted })
    }

    /// Has the kernel say what becomes possible under `token`.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // What is written and not sent is what an urgent frame waits for.
        SockRef::from(&self.stream).set_tcp_notsent_lowat(PEER_WIRE_BYTES as u32)?;
        self.stream.set_nodelay(true)?;
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Gives it up, for whoever waits for it in a ring.
    pub(super) fn release(mut self, registry: &Registry) -> io::Result<OwnedFd> {
        registry.deregister(&mut self.stream)?;
        SockRef::from(&self.stream).set_nonblocking(false)?;
        Ok(self.stream.into())
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) fn may(&mut self, is_readable: bool, is_writable: bool) {
        self.is_readable |= is_readable;
        self.is_writable |= is_writable;
    }

    /// There is more to be read at once.
    pub(super) fn has_more(&self) -> bool {
        self.is_readable && !self.is_connecting && !self.has_ended
    }

    /// Nothing can come of it any more.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended || self.is_connecting
    }

    /// False while it is not known whether there is somebody.
    pub(super) fn connected(&mut self) -> Result<bool, LinkEndReason> {
        if !self.is_connecting {
            return Ok(true);
        }
        if !self.is_writable {
            return Ok(false);
        }
        let failed = self.stream.take_error().ok().flatten();
        match self.stream.peer_addr() {
            Ok(_) if failed.is_none() => {
                self.is_connecting = false;
                self.is_readable = true;
                Ok(true)
            }
            Err(error) if failed.is_none() && error.kind() == io::ErrorKind::NotConnected => {
                self.is_writable = false;
                Ok(false)
            }
            Ok(_) | Err(_) => Err(LinkEndReason::Unreachable),
        }
    }

    /// Reads what has come, a turn's worth at most. Returns how much it was.
    pub(super) fn receive(&mut self, link: &mut Link, now: Instant) -> usize {
        let mut taken = 0;
        let mut buffer = [0; PEER_READ_BYTES];
        while self.is_readable && !self.has_ended && taken < PEER_TURN_BYTES_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    link.hung_up(LinkEndReason::CutOff);
                }
                Ok(count) => {
                    taken += count;
                    link.take(&buffer[..count], now);
                }
                Err(error) => self.is_readable = self.goes_on(&error, link),
            }
        }
        taken
    }

    /// Writes what is waiting, as much as the kernel takes. Returns how much it was.
    pub(super) fn send(&mut self, link: &mut Link, now: Instant) -> usize {
        let mut taken = 0;
        while self.is_writable && !self.is_connecting && !self.has_ended {
            let bytes = link.output(now);
            if bytes.is_empty() {
                self.shut_if(link.is_closing());
                break;
            }
            match self.stream.write(bytes) {
                Ok(count) => {
                    taken += count;
                    link.sent(count);
                }
                Err(error) => self.is_writable = self.goes_on(&error, link),
            }
        }
        taken
    }

    /// Whether to try again at once.
    fn goes_on(&mut self, error: &io::Error, link: &mut Link) -> bool {
        if error.kind() == io::ErrorKind::Interrupted {
            return true;
        }
        if error.kind() != io::ErrorKind::WouldBlock {
            self.has_ended = true;
            link.hung_up(LinkEndReason::TransportFailed);
        }
        false
    }

    /// After the last word: the other reads it, and hangs up.
    fn shut_if(&mut self, is_over: bool) {
        if is_over && !self.is_shut {
            self.is_shut = true;
            if self.stream.shutdown(Shutdown::Write).is_err() {
                self.has_ended = true;
            }
        }
    }
}
