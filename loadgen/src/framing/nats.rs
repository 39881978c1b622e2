//! The NATS client protocol, as the generator needs it: with our router or any nats-server.
//!
//! Sids are the numbers of a session's patterns from one up, so a delivery says which subscription
//! it is for, and that is verified. Such a server confirms no subscription: it answers the PING sent
//! after them. It says nothing of its queues.

use std::io::{ErrorKind, Read, Write};

use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use mpreg_proto::nats::{
    Bounds, Heard, Message, Said, Violation, parse_said, put_connect, put_publish as put,
    put_subscribe as put_sub,
};

use super::{Control, Delivery, Granted, Inbound, Mold, OpenError, Opening, What};
use crate::bytes::equal;
use crate::target::{Credentials, Stream};

/// Largest line of a server: INFO, with the addresses of a large cluster.
pub(super) const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Headers come before the payload and are not the generator's: only an answer that nobody listens
/// has some.
const BOUNDS: Bounds = Bounds {
    control_line_bytes: CONTROL_BYTES_MAX,
    payload_bytes: PAYLOAD_BYTES_MAX + CONTROL_BYTES_MAX,
};

/// Outbound queue a server is taken to hold for a connection unless `--queue-bytes` says: what the
/// router grants by default.
const QUEUE_BYTES: u64 = 2 << 20;

/// How the header block begins of a message that says that nobody is there.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503";

pub(super) fn open(
    stream: &mut Stream,
    opening: &Opening<'_>,
    received: &mut Vec<u8>,
) -> Result<Granted, OpenError> {
    let is_layered = matches!(stream, Stream::Layered(_));
    await_said(stream, received, |said| match said {
        Said::Info { options } => Some(info(options, opening.tls.is_some(), is_layered)),
        Said::Message(_) | Said::Ping | Said::Pong | Said::Ok | Said::Error { .. } => None,
    })??;
    if let Some(tls) = opening.tls {
        if !received.is_empty() {
            return Err(OpenError::Foreign { why: "it goes on in clear before TLS" });
        }
        stream.start_tls(tls)?;
    }
    let mut commands = Vec::new();
    put_connect(&mut commands, connect_options(opening).as_bytes());
    commands.extend_from_slice(PING);
    stream.write_all(&commands)?;
    await_said(stream, received, |said| match said {
        Said::Pong => Some(()),
        Said::Message(_) | Said::Ping | Said::Info { .. } | Said::Ok | Said::Error { .. } => None,
    })?;
    let queue_bytes = match opening.queue_bytes {
        0 => QUEUE_BYTES,
        bytes => bytes.into(),
    };
    Ok(Granted { queue_bytes, subscriptions_max: u64::MAX })
}

fn info(options: &[u8], is_tls_wanted: bool, is_layered: bool) -> Result<(), OpenError> {
    let options: serde_json::Value = serde_json::from_slice(options)
        .map_err(|_| OpenError::Foreign { why: "INFO without JSON" })?;
    let is_required = options["tls_required"] == true;
    if is_tls_wanted && !is_required && options["tls_available"] != true {
        return Err(OpenError::Foreign { why: "it offers no TLS" });
    }
    // TLS around a WebSocket is said to be required, and is there.
    if is_required && !is_tls_wanted && !is_layered {
        return Err(OpenError::Foreign { why: "it wants TLS" });
    }
    Ok(())
}

fn connect_options(opening: &Opening<'_>) -> String {
    let mut options = serde_json::json!({
        "verbose": false,
        "pedantic": false,
        "echo": true,
        "headers": true,
        "no_responders": true,
        "protocol": 1,
        "name": opening.name,
        "lang": "mpreg-loadgen",
        "version": env!("CARGO_PKG_VERSION"),
    });
    match opening.credentials {
        Credentials::None => (),
        Credentials::Token(token) => options["auth_token"] = token.as_str().into(),
        Credentials::User { name, password } => {
            options["user"] = name.as_str().into();
            options["pass"] = password.as_str().into();
        }
    }
    options.to_string()
}

/// Reads until `want` has found what it waits for, answering pings.
fn await_said<T>(
    stream: &mut Stream,
    received: &mut Vec<u8>,
    mut want: impl FnMut(Said<'_>) -> Option<T>,
) -> Result<T, OpenError> {
    let mut chunk = [0; 4096];
    loop {
        match parse_said(received, BOUNDS).map_err(|violation| foreign(&violation))? {
            Heard::Need(_) => {
                let read = stream.read(&mut chunk)?;
                if read == 0 {
                    return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
                }
                received.extend_from_slice(&chunk[..read]);
            }
            Heard::Said { said, length } => {
                if let Said::Error { text } = said {
                    let why = String::from_utf8_lossy(text).into_owned();
                    return Err(OpenError::Refused { why, detail: String::new() });
                }
                if said == Said::Ping {
                    stream.write_all(PONG)?;
                }
                let found = want(said);
                received.drain(..length);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        }
    }
}

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"PONG\r\n";

fn foreign(violation: &Violation) -> OpenError {
    OpenError::Foreign { why: word(violation) }
}

fn word(violation: &Violation) -> &'static str {
    match violation {
        Violation::UnknownOperation => "an unknown operation",
        Violation::ControlLineTooLong => "a line over its bound",
        Violation::PayloadTooLarge => "a payload over its bound",
        Violation::Malformed => "wrong arguments",
        Violation::BadSize => "what is no size",
        Violation::MissingCrlf => "a payload without its CRLF",
    }
}

pub(super) fn put_subscribe(sid: u32, pattern: &str, out: &mut Vec<u8>) {
    put_sub(out, pattern.as_bytes(), b"", sid.to_string().as_bytes());
}

/// Asks for an answer that comes after everything asked for before.
pub(super) fn put_confirm(out: &mut Vec<u8>) {
    out.extend_from_slice(PING);
}

pub(super) fn put_pong(out: &mut Vec<u8>) {
    out.extend_from_slice(PONG);
}

pub(super) fn put_publish(topic: &[u8], reply: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    put(out, topic, reply, b"", payload);
}

pub(super) fn mold(topic_bytes: usize, reply_bytes: usize, payload_bytes: usize) -> Mold {
    let (topic, reply, payload) =
        (vec![b'.'; topic_bytes], vec![b'.'; reply_bytes], vec![0; payload_bytes]);
    let mut frame = Vec::new();
    put_publish(&topic, &reply, &payload, &mut frame);
    let topic_at = b"PUB ".len();
    let reply_at = topic_at + topic_bytes + 1;
    let payload_end = frame.len() - b"\r\n".len();
    Mold {
        topic: topic_at..topic_at + topic_bytes,
        reply: reply_at..reply_at + reply_bytes,
        payload: payload_end - payload_bytes..payload_end,
        frame,
    }
}

/// How most messages of a connection look: everything but the length of the sid is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likeness {
    topic_bytes: usize,
    reply_bytes: usize,
    payload_bytes: usize,
    /// The size of the payload and the end of the line, as written.
    size: [u8; SIZE_BYTES_MAX],
    size_bytes: usize,
}

/// Digits of any payload's size, and CRLF.
const SIZE_BYTES_MAX: usize = 12;

pub(super) fn likeness(mold: &Mold) -> Likeness {
    let payload_bytes = mold.payload.len();
    let text = format!("{payload_bytes}\r\n");
    let mut size = [0; SIZE_BYTES_MAX];
    size[..text.len()].copy_from_slice(text.as_bytes());
    Likeness {
        topic_bytes: mold.topic.len(),
        reply_bytes: mold.reply.len(),
        payload_bytes,
        size,
        size_bytes: text.len(),
    }
}

#[inline]
pub(super) fn next<'a>(
    bytes: &'a [u8],
    likeness: &Likeness,
) -> Result<Option<Inbound<'a>>, &'static str> {
    match likely(bytes, likeness) {
        Some(inbound) => Ok(Some(inbound)),
        None => said(bytes),
    }
}

/// `MSG <topic> <sid> [reply] <size>` with everything of the expected length.
#[inline]
fn likely<'a>(bytes: &'a [u8], likeness: &Likeness) -> Option<Inbound<'a>> {
    let rest = after(bytes, b"MSG ")?;
    let (topic, rest) = rest.split_at_checked(likeness.topic_bytes)?;
    let rest = after(rest, b" ")?;
    let (sid, rest) = short_number(rest)?;
    let (reply, rest) = match likeness.reply_bytes {
        0 => (&[][..], rest),
        reply_bytes => {
            let (reply, rest) = rest.split_at_checked(reply_bytes)?;
            (reply, after(rest, b" ")?)
        }
    };
    let (size, rest) = rest.split_at_checked(likeness.size_bytes)?;
    let (payload, rest) = rest.split_at_checked(likeness.payload_bytes)?;
    let rest = after(rest, b"\r\n")?;
    if !equal(size, &likeness.size[..likeness.size_bytes]) {
        return None;
    }
    let delivery = Delivery { topic, reply, payload, pattern: Some(sid.checked_sub(1)?) };
    Some(Inbound { bytes: bytes.len() - rest.len(), what: What::Delivery(delivery) })
}

/// What follows `prefix`, without the call to `memcmp` that `strip_prefix` is.
#[inline]
fn after<'a, const N: usize>(bytes: &'a [u8], prefix: &[u8; N]) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    (front == prefix).then_some(rest)
}

/// The number of at most seven digits that `bytes` begin with, and what follows the space after it.
#[inline]
fn short_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0;
    for at in 0..8 {
        match *bytes.get(at)? {
            b' ' => return Some((number, &bytes[at + 1..])),
            digit @ b'0'..=b'9' => number = number * 10 + u32::from(digit - b'0'),
            _ => return None,
        }
    }
    None
}

#[cold]
fn said(bytes: &[u8]) -> Result<Option<Inbound<'_>>, &'static str> {
    let (said, length) = match parse_said(bytes, BOUNDS).map_err(|violation| word(&violation))? {
        Heard::Need(_) => return Ok(None),
        Heard::Said { said, length } => (said, length),
    };
    let control = match said {
        Said::Message(Message { headers, .. }) if headers.starts_with(NO_RESPONDERS) => {
            Control::NoResponders
        }
        Said::Message(Message { subject, sid, reply, payload, .. }) => {
            let sid: Option<u32> = std::str::from_utf8(sid).ok().and_then(|sid| sid.parse().ok());
            let pattern = sid.and_then(|sid| sid.checked_sub(1));
            let pattern = Some(pattern.ok_or("a message for a subscription nobody made")?);
            let what = What::Delivery(Delivery { topic: subject, reply, payload, pattern });
            return Ok(Some(Inbound { bytes: length, what }));
        }
        Said::Ping => Control::Ping { token: 0 },
        Said::Pong => Control::Subscribed,
        Said::Error { text } => Control::Refused {
            why: std::str::from_utf8(text).map_err(|_| "an error that is no text")?,
            detail: "",
        },
        Said::Info { .. } | Said::Ok => Control::Other,
    };
    Ok(Some(Inbound { bytes: length, what: What::Control(control) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery<'a>(topic: &'a [u8], reply: &'a [u8], sid: u32) -> What<'a> {
        What::Delivery(Delivery { topic, reply, payload: b"hello", pattern: Some(sid - 1) })
    }

    #[test]
    fn a_mold_is_the_frame_the_wire_would_write() {
        for reply in ["", "r1"] {
            let mut mold = mold(3, reply.len(), 5);
            mold.frame[mold.topic.clone()].copy_from_slice(b"a.b");
            if !reply.is_empty() {
                mold.frame[mold.reply.clone()].copy_from_slice(reply.as_bytes());
            }
            mold.frame[mold.payload.clone()].copy_from_slice(b"hello");
            let mut want = Vec::new();
            put_publish(b"a.b", reply.as_bytes(), b"hello", &mut want);
            assert_eq!(mold.frame, want);
        }
    }

    #[test]
    fn the_short_way_and_the_long_way_say_the_same() {
        for (reply, sid) in [(&b""[..], 1), (b"r1", 1), (b"", 17), (b"r1", 1_234_567)] {
            let likely_one = likeness(&mold(3, reply.len(), 5));
            let unlikely = likeness(&mold(1, 0, 1));
            let mut bytes = Vec::new();
            let sid_text = sid.to_string();
            mpreg_proto::nats::put_message(
                &mut bytes,
                b"a.b",
                reply,
                b"",
                b"hello",
                sid_text.as_bytes(),
            );
            let whole = bytes.len();
            bytes.extend_from_slice(b"MSG and more");
            let want = Inbound { bytes: whole, what: delivery(b"a.b", reply, sid) };
            assert_eq!(likely(&bytes, &likely_one), Some(want));
            assert_eq!(likely(&bytes, &unlikely), None);
            assert_eq!(next(&bytes, &unlikely), Ok(Some(want)));
            for cut in 0..whole {
                assert_eq!(next(&bytes[..cut], &likely_one), Ok(None), "{cut} bytes");
            }
        }
    }

    #[test]
    fn a_message_of_another_size_is_not_taken_for_a_likely_one() {
        let likely_one = likeness(&mold(3, 0, 5));
        assert_eq!(likely(b"MSG a.b 1 6\r\nhello\r\n", &likely_one), None);
        assert_eq!(likely(b"MSG a.b 1 5\r\nhello!\n", &likely_one), None);
        assert_eq!(
            next(b"MSG a.b 1 5\r\nhello!\n", &likely_one),
            Err("a payload without its CRLF")
        );
        assert!(next(b"MSG a.b x 5\r\nhello\r\n", &likely_one).is_err());
        assert!(next(b"MSG a.b 0 5\r\nhello\r\n", &likely_one).is_err());
    }

    #[test]
    fn what_is_no_message() {
        let likely_one = likeness(&mold(3, 2, 5));
        let control = |text: &'static str| match next(text.as_bytes(), &likely_one) {
            Ok(Some(Inbound { bytes, what: What::Control(control) })) if bytes == text.len() => {
                control
            }
            other => panic!("{text:?}: {other:?}"),
        };
        assert_eq!(control("PING\r\n"), Control::Ping { token: 0 });
        assert_eq!(control("PONG\r\n"), Control::Subscribed);
        assert_eq!(control("+OK\r\n"), Control::Other);
        assert_eq!(control("INFO {\"ldm\":true}\r\n"), Control::Other);
        let nobody = "HMSG r1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        assert_eq!(control(nobody), Control::NoResponders);
        let refused = Control::Refused { why: "Slow Consumer", detail: "" };
        assert_eq!(control("-ERR 'Slow Consumer'\r\n"), refused);
    }
}
