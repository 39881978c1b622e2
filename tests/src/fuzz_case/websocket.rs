//! Any bytes from a WebSocket client are read as a slow reader reads them, however they are cut.

use std::sync::Arc;

use mpreg_router::limits::{WEBSOCKET_FRAME_BYTES_MAX, WEBSOCKET_SENT_FRAME_BYTES_MAX};
use mpreg_router::transport::upgrade::Origin;
use mpreg_router::transport::websocket::WebSocketSettings;
use mpreg_router::transport::{Transport, TransportError};

use super::Script;

/// A request that is granted.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The longest answer to a request, and a goodbye.
const ANSWER_BYTES_MAX: usize = 200;

/// A kind, how many bytes come at a time, and the bytes: frames of an upgraded client, or with an odd
/// kind all that a client says. The next bit asks for its origin.
pub fn websocket(bytes: &[u8]) {
    let mut script = Script(bytes);
    let (Some(kind), Some(at_once)) = (script.byte(), script.byte()) else { return };
    let (said, is_upgraded) = if kind & 1 == 0 {
        ([REQUEST, script.0].concat(), true)
    } else {
        (script.0.to_vec(), false)
    };
    let settings = Arc::new(WebSocketSettings {
        is_same_origin: kind & 2 != 0,
        allowed_origins: Origin::parse("https://a").filter(|_| kind & 4 != 0).into_iter().collect(),
    });
    let whole = read(&said, said.len(), &settings);
    assert_eq!(read(&said, usize::from(at_once), &settings), whole, "cut every {at_once} bytes");
    assert!(whole.plain.len() <= said.len());
    assert!(whole.wire.len() <= said.len() + ANSWER_BYTES_MAX);
    if is_upgraded {
        check_frames(whole, script.0);
    }
    check_sealed(script.0, usize::from(at_once), &settings);
}

/// What came of what a client said.
#[derive(Debug, PartialEq)]
struct Read {
    plain: Vec<u8>,
    wire: Vec<u8>,
    outcome: Result<(), TransportError>,
}

fn read(said: &[u8], at_once: usize, settings: &Arc<WebSocketSettings>) -> Read {
    let mut transport = Transport::websocket(settings);
    let mut read = Read { plain: Vec::new(), wire: Vec::new(), outcome: Ok(()) };
    for some in said.chunks(at_once.max(1)) {
        read.outcome = transport.receive(some, &mut read.plain, &mut read.wire);
        if read.outcome.is_err() {
            assert!(!transport.is_established());
            break;
        }
    }
    read
}

fn check_frames(read: Read, frames: &[u8]) {
    let head = b"HTTP/1.1 101 ";
    assert!(read.wire.starts_with(head));
    let answer = read.wire.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let answers = &read.wire[answer.expect("the answer ends") + 4..];
    let mut slow = Slow::default();
    let outcome = slow.read(frames);
    assert_eq!((&read.plain, answers), (&slow.plain, &slow.wire[..]));
    match outcome {
        Outcome::Open => assert_eq!(read.outcome, Ok(())),
        Outcome::Ended => assert_eq!(read.outcome, Err(TransportError::Ended)),
        Outcome::Refused => assert!(matches!(read.outcome, Err(TransportError::Frame(_)))),
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Open,
    Ended,
    Refused,
}

/// Reads frames with everything at hand, one byte at a time.
#[derive(Default)]
struct Slow {
    plain: Vec<u8>,
    wire: Vec<u8>,
    is_in_message: bool,
}

impl Slow {
    fn read(&mut self, mut bytes: &[u8]) -> Outcome {
        loop {
            let [first, second, ..] = *bytes else { return Outcome::Open };
            let (is_final, opcode) = (128 <= first, first % 16);
            let is_control = 8 <= opcode;
            let short = second % 128;
            let is_refused = first / 16 % 8 != 0
                || ![0, 1, 2, 8, 9, 10].contains(&opcode)
                || second < 128
                || is_control && (!is_final || 125 < short)
                || !is_control && self.is_in_message != (opcode == 0);
            if is_refused {
                return self.refuse(1002);
            }
            let length_bytes = match short {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let head_bytes = 2 + length_bytes + 4;
            if bytes.len() < head_bytes {
                return Outcome::Open;
            }
            let field = bytes[2..2 + length_bytes].iter();
            let long = field.fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte));
            let length = if length_bytes == 0 { u64::from(short) } else { long };
            match length_bytes {
                2 if length < 126 => return self.refuse(1002),
                8 if length < 65_536 || (i64::MAX as u64) < length => return self.refuse(1002),
                _ if WEBSOCKET_FRAME_BYTES_MAX < length => return self.refuse(1009),
                _ => (),
            }
            let mask = &bytes[head_bytes - 4..head_bytes];
            let masked = bytes[head_bytes..].iter().zip(0..length);
            let payload: Vec<u8> = masked.map(|(byte, at)| byte ^ mask[at as usize % 4]).collect();
            let is_whole = payload.len() as u64 == length;
            bytes = &bytes[head_bytes + payload.len()..];
            if !is_control {
                self.plain.extend(payload);
                self.is_in_message = !is_final;
            } else if !is_whole {
                return Outcome::Open;
            } else if opcode == 8 {
                return self.close(&payload);
            } else if opcode == 9 {
                self.wire.extend([0x8a, payload.len() as u8]);
                self.wire.extend(payload);
            }
        }
    }

    fn refuse(&mut self, code: u16) -> Outcome {
        self.wire.extend([0x88, 2, (code >> 8) as u8, code as u8]);
        Outcome::Refused
    }

    fn close(&mut self, payload: &[u8]) -> Outcome {
        let Some((code, reason)) = payload.split_at_checked(2) else {
            if payload.is_empty() {
                self.wire.extend([0x88, 0]);
                return Outcome::Ended;
            }
            return self.refuse(1002);
        };
        let number = u16::from_be_bytes([code[0], code[1]]);
        let is_assigned = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        let is_code = is_assigned.contains(&number) || (3000..5000).contains(&number);
        if !is_code || std::str::from_utf8(reason).is_err() {
            return self.refuse(1002);
        }
        self.wire.extend([0x88, 2, code[0], code[1]]);
        Outcome::Ended
    }
}

/// What is sealed in pieces is what an unmasking client hears.
fn check_sealed(bytes: &[u8], piece_bytes: usize, settings: &Arc<WebSocketSettings>) {
    let mut transport = Transport::websocket(settings);
    let mut wire = Vec::new();
    let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes.max(1)).collect();
    if transport.seal(&pieces, &mut wire) != Err(TransportError::NotEstablished) {
        panic!("sealed before the upgrade");
    }
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    if transport.receive(REQUEST, &mut plain, &mut answer).is_err() {
        panic!("a client without an origin is granted its request");
    }
    transport.seal(&pieces, &mut wire).expect("established");
    let (mut heard, mut rest) = (Vec::new(), &wire[..]);
    while let [first, short, ..] = *rest {
        assert!(first == 0x82 && short <= 126, "final, binary, not masked");
        let (head_bytes, length) = match short {
            126 => (4, usize::from(rest[2]) * 256 + usize::from(rest[3])),
            short => (2, usize::from(short)),
        };
        assert!(length != 0 && length <= WEBSOCKET_SENT_FRAME_BYTES_MAX);
        heard.extend_from_slice(&rest[head_bytes..head_bytes + length]);
        rest = &rest[head_bytes + length..];
    }
    assert_eq!((&heard[..], rest), (bytes, &[][..]));
}
