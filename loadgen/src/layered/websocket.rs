//! WebSocket, the client's side: what is asked for, frames to payload, payload to masked frames.
//!
//! Where frames begin and end is not kept: the protocol reads a stream. The server is trusted to be one;
//! what it may not send is an error and ends the connection.

use std::io::{self, ErrorKind};

use crate::random;

/// Bytes of a server's answer to the request.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// A head without a mask, the longest.
const HEAD_BYTES_LONGEST: usize = 10;

const BINARY: u8 = 0x82;
const PONG: u8 = 0x8a;

/// Asks to become a WebSocket. The key proves that the server speaks it, and is not checked: a load
/// generator is told where to go.
pub(super) fn put_request(host: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: bXByZWctbG9hZGdlbi1rZQ==\r\n\r\n",
    );
}

/// Bytes of the answer, if it is whole; frames may follow it.
pub(super) fn answer_bytes(head: &[u8]) -> io::Result<Option<usize>> {
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    match end {
        Some(end) if line.starts_with(b"HTTP/1.1 101 ") => Ok(Some(end + 4)),
        None if head.len() < ANSWER_BYTES_MAX => Ok(None),
        Some(_) | None => Err(io::Error::new(
            ErrorKind::ConnectionRefused,
            format!("no WebSocket: {}", String::from_utf8_lossy(line).escape_debug()),
        )),
    }
}

#[derive(Debug, Default)]
pub(super) struct WebSocket {
    head: Vec<u8>,
    /// Of the frame that is coming, and its opcode.
    bytes_left: u64,
    opcode: u8,
    /// Payload of a control frame that is coming.
    control: Vec<u8>,
    mask: u64,
}

impl WebSocket {
    /// Appends payload to `plain` and answers to pings to `out`. Says whether the server has closed.
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        loop {
            if self.bytes_left == 0 {
                let Some(after) = self.take_head(bytes)? else { return Ok(false) };
                bytes = after;
            }
            let count = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).min(bytes.len());
            let (some, after) = bytes.split_at(count);
            bytes = after;
            self.bytes_left -= count as u64;
            if self.opcode < 8 {
                plain.extend_from_slice(some);
            } else {
                self.control.extend_from_slice(some);
            }
            match (self.bytes_left, self.opcode) {
                (0, 8) => return Ok(true),
                (0, 9) => {
                    let payload = std::mem::take(&mut self.control);
                    self.put_frame(PONG, &payload, out);
                }
                (0, _) => self.control.clear(),
                _ => return Ok(false),
            }
        }
    }

    /// What follows a whole head; `None` while it is not whole.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> io::Result<Option<&'a [u8]>> {
        let had = self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_LONGEST - had)]);
        let (length, head_bytes) = match self.head[..] {
            [_, short @ 0..=125, ..] => (u64::from(short), 2),
            [_, 126, a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 4),
            [_, 127, a, b, c, d, e, f, g, h, ..] => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10)
            }
            [_, 128..=255, ..] => {
                return Err(io::Error::new(ErrorKind::InvalidData, "a server's frame is masked"));
            }
            _ => return Ok(None),
        };
        self.opcode = self.head[0] & 0x0f;
        self.bytes_left = length;
        self.head.clear();
        Ok(Some(&bytes[head_bytes - had..]))
    }

    pub(super) fn put_data(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.put_frame(BINARY, bytes, out);
    }

    fn put_frame(&mut self, first: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.reserve(14 + payload.len());
        match payload.len() {
            short @ 0..=125 => out.extend([first, 0x80 | short as u8]),
            middle @ 126..=0xffff => {
                out.extend([first, 0x80 | 126]);
                out.extend((middle as u16).to_be_bytes());
            }
            long => {
                out.extend([first, 0x80 | 127]);
                out.extend((long as u64).to_be_bytes());
            }
        }
        let mask = self.next_mask();
        out.extend(mask);
        let from = out.len();
        out.extend_from_slice(payload);
        let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
        let (words, rest) = out[from..].as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
            *byte ^= mask;
        }
    }

    /// A mask for each frame, from a number drawn once: masks keep pages from writing what proxies
    /// would take for something else, and there is neither here.
    fn next_mask(&mut self) -> [u8; 4] {
        if self.mask == 0 {
            self.mask = random::number() | 1;
        }
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 7;
        self.mask ^= self.mask << 17;
        ((self.mask >> 32) as u32).to_ne_bytes()
    }
}
