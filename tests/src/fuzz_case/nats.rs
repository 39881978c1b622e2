//! Bytes as what a NATS client says, and as what a server says: read, cut, written again.

use mpreg_proto::limits::{NATS_CONTROL_LINE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use mpreg_proto::nats::{
    Bounds, Command, Heard, Parsed, Publication, Said, parse, parse_said, put_publish, put_tail,
};

const BOUNDS: Bounds =
    Bounds { control_line_bytes: NATS_CONTROL_LINE_BYTES_MAX, payload_bytes: PAYLOAD_BYTES_MAX };

/// Whatever is read fits what is there and means the same read from a beginning and written again;
/// whatever is awaited is within bounds.
pub fn nats(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(taken) = command(rest) {
        rest = &rest[taken..];
    }
    let mut rest = bytes;
    while let Some(taken) = said(rest) {
        rest = &rest[taken..];
    }
}

/// Bytes of line, body and both their ends that may be awaited at most.
const AWAITED_BYTES: usize = NATS_CONTROL_LINE_BYTES_MAX + 32 + PAYLOAD_BYTES_MAX;

fn command(bytes: &[u8]) -> Option<usize> {
    match parse(bytes, BOUNDS) {
        Ok(Parsed::Need(need)) => {
            assert!(bytes.len() < need && need <= AWAITED_BYTES, "{need}");
            None
        }
        Ok(Parsed::Command { command, length }) => {
            assert!(0 < length && length <= bytes.len());
            cut(&bytes[..length], command);
            names(command).into_iter().for_each(|name| {
                assert!(!name.contains(&b'\r') && !name.contains(&b'\n'), "{name:?}");
            });
            if let Command::Publish(publication) = command {
                again(publication);
            }
            Some(length)
        }
        Err(_) => None,
    }
}

/// Alone it is the same command; without its last byte it is none.
fn cut(bytes: &[u8], command: Command<'_>) {
    let length = bytes.len();
    assert_eq!(parse(bytes, BOUNDS), Ok(Parsed::Command { command, length }));
    for cut in [length - 1, length / 2, length.min(5) - 1] {
        match parse(&bytes[..cut], BOUNDS) {
            Ok(Parsed::Need(need)) => assert!(cut < need && need <= length, "{cut}: {need}"),
            other => panic!("{cut}: {other:?}"),
        }
    }
}

fn names<'a>(command: Command<'a>) -> Vec<&'a [u8]> {
    match command {
        Command::Publish(Publication { subject, reply, .. }) => vec![subject, reply],
        Command::Subscribe { subject, group, sid } => vec![subject, group, sid],
        Command::Unsubscribe { sid, .. } => vec![sid],
        Command::Connect { .. }
        | Command::Ping
        | Command::Pong
        | Command::Ok
        | Command::Error
        | Command::Info => Vec::new(),
    }
}

/// Written in plain spelling it is the same publication, whose tail is what was written.
fn again(publication: Publication<'_>) {
    let Publication { subject, reply, headers, payload, tail } = publication;
    let mut rendered = Vec::new();
    put_tail(&mut rendered, reply, headers, payload);
    assert!(tail.is_empty() || tail == rendered);
    let mut written = Vec::new();
    put_publish(&mut written, subject, reply, headers, payload);
    let command = Command::Publish(Publication { tail: &rendered, ..publication });
    match parse(&written, BOUNDS) {
        Ok(parsed) => assert_eq!(parsed, Parsed::Command { command, length: written.len() }),
        // Longer than it came only where sizes were left out of the line: they never are.
        Err(violation) => panic!("{violation}"),
    }
}

fn said(bytes: &[u8]) -> Option<usize> {
    match parse_said(bytes, BOUNDS) {
        Ok(Heard::Need(need)) => {
            assert!(bytes.len() < need && need <= AWAITED_BYTES, "{need}");
            None
        }
        Ok(Heard::Said { said, length }) => {
            assert!(0 < length && length <= bytes.len());
            assert_eq!(parse_said(&bytes[..length], BOUNDS), Ok(Heard::Said { said, length }));
            if let Said::Message(message) = said {
                let body = message.headers.len() + message.payload.len();
                assert!(body + 2 < length);
            }
            Some(length)
        }
        Err(_) => None,
    }
}
