//! Layered: a TCP stream with TLS, WebSocket or both upon it, read and written like one without.
//!
//! ```text
//!   write --> [ WebSocket ] --> [ TLS ] --> wire --> socket
//!   read  <-- plain <-- [ WebSocket ] <-- [ TLS ] <-- socket
//! ```
//!
//! Invariants, which hold for a non-blocking socket and let its user treat it as a plain one:
//! - A read shorter than asked for has emptied the socket.
//! - Bytes that a write took are on the socket, or wait in `wire`, which `has_pending` says and `flush`
//!   sends on. Nothing is taken while something waits.
//!
//! Tests: `tests.rs`, with servers that others wrote.

mod websocket;

use std::io::{self, BufRead as _, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use websocket::WebSocket;

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 64 << 10;

/// Bytes sealed at a time: what waits when the socket is full.
const SEALED_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub struct Layered {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    websocket: Option<WebSocket>,
    is_nonblocking: bool,
    /// The other side will say no more.
    is_over: bool,
    received: Box<[u8]>,
    /// What was read and not asked for yet begins at `plain_at`.
    plain: Vec<u8>,
    plain_at: usize,
    /// What the socket did not take yet begins at `wire_at`.
    wire: Vec<u8>,
    wire_at: usize,
}

impl Layered {
    fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            tls: None,
            websocket: None,
            is_nonblocking: false,
            is_over: false,
            received: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            plain_at: 0,
            wire: Vec::new(),
            wire_at: 0,
        }
    }

    /// Becomes a TLS client of `host`, blocking. The server proves itself by a certificate that the
    /// PEM file `authorities` vouches for.
    pub fn tls(tcp: TcpStream, host: &str, authorities: &Path) -> io::Result<Self> {
        let mut layered = Self::new(tcp);
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let connection = ClientConnection::new(Arc::new(config(authorities)?), name);
        let mut connection = connection.map_err(invalid)?;
        connection.complete_io(&mut layered.tcp)?;
        layered.tls = Some(connection);
        Ok(layered)
    }

    /// Becomes a WebSocket client, blocking.
    pub fn websocket(tcp: TcpStream, host: &str) -> io::Result<Self> {
        Self::new(tcp).upgraded(host)
    }

    /// Becomes a WebSocket client within TLS, blocking.
    pub fn websocket_tls(
        tcp: TcpStream,
        host_and_port: &str,
        host: &str,
        authorities: &Path,
    ) -> io::Result<Self> {
        Self::tls(tcp, host, authorities)?.upgraded(host_and_port)
    }

    /// `host` as in the request's header: with a port.
    fn upgraded(mut self, host: &str) -> io::Result<Self> {
        let mut request = Vec::new();
        websocket::put_request(host, &mut request);
        self.write_all(&request)?;
        let mut head = Vec::new();
        loop {
            if let Some(end) = websocket::answer_bytes(&head)? {
                let mut websocket = WebSocket::default();
                websocket.receive(&head[end..], &mut self.plain, &mut self.wire)?;
                self.websocket = Some(websocket);
                return Ok(self);
            }
            let mut chunk = [0; 1024];
            let count = self.read(&mut chunk)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&chunk[..count]);
        }
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        self.is_nonblocking = true;
        self.tcp.set_nonblocking(true)
    }

    /// Something written waits for room on the socket.
    pub fn has_pending(&self) -> bool {
        self.wire_at < self.wire.len()
    }

    /// Takes one read of the socket's. Says whether that may have left something there.
    fn fill(&mut self) -> io::Result<bool> {
        let count = match self.tcp.read(&mut self.received) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_nonblocking => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.is_over |= count == 0;
        let Self { tls, websocket, received, plain, wire, .. } = self;
        let mut answer = Vec::new();
        let mut take = |bytes: &[u8]| match websocket {
            Some(websocket) => websocket.receive(bytes, plain, &mut answer),
            None => {
                plain.extend_from_slice(bytes);
                Ok(false)
            }
        };
        let mut bytes = &received[..count];
        let Some(tls) = tls else {
            self.is_over |= take(bytes)?;
            wire.append(&mut answer);
            return Ok(count == READ_BYTES);
        };
        while !bytes.is_empty() && !self.is_over {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().map_err(invalid)?;
            let mut reader = tls.reader();
            while let Ok(some) = reader.fill_buf()
                && !some.is_empty()
            {
                let count = some.len();
                self.is_over |= take(some)?;
                reader.consume(count);
            }
            self.is_over |= state.peer_has_closed();
        }
        put_records(tls, &answer, wire)?;
        Ok(count == READ_BYTES)
    }

    fn drain(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.plain[self.plain_at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.plain_at += count;
        if self.plain_at == self.plain.len() {
            self.plain.clear();
            self.plain_at = 0;
        }
        count
    }

    /// Appends to `wire` what carries these bytes.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { tls, websocket, wire, .. } = self;
        let Some(tls) = tls else {
            match websocket {
                Some(websocket) => websocket.put_data(bytes, wire),
                None => wire.extend_from_slice(bytes),
            }
            return Ok(());
        };
        let Some(websocket) = websocket else { return put_records(tls, bytes, wire) };
        let mut frame = Vec::new();
        websocket.put_data(bytes, &mut frame);
        put_records(tls, &frame, wire)
    }
}

/// Seals bytes, and what TLS has to say for itself.
fn put_records(tls: &mut ClientConnection, mut bytes: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let count = tls.writer().write(bytes)?;
        bytes = &bytes[count..];
        while tls.wants_write() {
            tls.write_tls(wire)?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

impl Read for Layered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.drain(buffer);
        let mut may_be_more = true;
        while filled < buffer.len() && may_be_more && !self.is_over {
            if 0 < filled && !self.is_nonblocking {
                break;
            }
            let is_left = self.fill()?;
            may_be_more = is_left || !self.is_nonblocking;
            filled += self.drain(&mut buffer[filled..]);
        }
        // Answers to pings, new keys.
        if self.has_pending() {
            self.flush()?;
        }
        if filled == 0 && !self.is_over { Err(ErrorKind::WouldBlock.into()) } else { Ok(filled) }
    }
}

impl Write for Layered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.has_pending() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let some = &bytes[..bytes.len().min(SEALED_BYTES)];
        self.seal(some)?;
        self.flush()?;
        Ok(some.len())
    }

    /// Sends what waits, as far as the socket takes it.
    fn flush(&mut self) -> io::Result<()> {
        while self.has_pending() {
            match self.tcp.write(&self.wire[self.wire_at..]) {
                Ok(count) => self.wire_at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_nonblocking => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.wire.clear();
        self.wire_at = 0;
        Ok(())
    }
}

impl AsFd for Layered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

fn config(authorities: &Path) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&std::fs::read(authorities)?) {
        roots.add(certificate.map_err(invalid)?).map_err(invalid)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(invalid)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Each connection is one of many clients, and none has been here before.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
