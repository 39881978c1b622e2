//! The native protocol (`docs/WIRE.md`), as the generator needs it.

use std::io::{Read, Write};

use mpreg_proto::envelope::{Encoding, Priority};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{self, Connect, Decoded, Echo, Frame, Publish, Subscribe};
use mpreg_proto::hello::{Hello, Role};
use mpreg_proto::id::Sid;
use mpreg_proto::limits::{ENVELOPE_BYTES, HELLO_BYTES};

use super::{Control, Delivery, Granted, Inbound, Mold, OpenError, What};
use crate::random;
use crate::target::Stream;

/// Largest frame that is not a message.
pub(super) const CONTROL_BYTES_MAX: usize = mpreg_proto::limits::CONTROL_FRAME_BYTES_MAX;

pub(super) fn open(
    stream: &mut Stream,
    name: &str,
    queue_bytes: u32,
    received: &mut Vec<u8>,
) -> Result<Granted, OpenError> {
    let id = u128::from(random::number()) << 64 | u128::from(random::number());
    stream.write_all(&Hello::client(id).to_bytes())?;
    let mut answer = [0; HELLO_BYTES];
    stream.read_exact(&mut answer)?;
    let hello = Hello::parse(&answer).map_err(|code| OpenError::Foreign { why: code.word() })?;
    if hello.role != Role::Router {
        return Err(OpenError::Foreign { why: "the other side is no router" });
    }
    let mut connect = Vec::new();
    Frame::Connect(Connect { name, echo: Echo::On, queue_bytes }).put(&mut connect);
    stream.write_all(&connect)?;
    await_connected(stream, received)
}

fn await_connected(stream: &mut Stream, received: &mut Vec<u8>) -> Result<Granted, OpenError> {
    let mut chunk = [0; 4096];
    loop {
        let bytes = match frame::decode(received) {
            Ok(Decoded::Frame { frame: Frame::Connected(connected), bytes }) => {
                received.drain(..bytes);
                return Ok(Granted {
                    queue_bytes: connected.queue_bytes.into(),
                    subscriptions_max: connected.subscriptions_max.into(),
                });
            }
            Ok(Decoded::Frame { frame: Frame::Error(refusal), .. }) => {
                return Err(OpenError::Refused {
                    why: refusal.code.word().to_owned(),
                    detail: refusal.text.to_owned(),
                });
            }
            Ok(Decoded::Frame { .. }) => {
                return Err(OpenError::Foreign { why: "connect was answered with another frame" });
            }
            Ok(Decoded::Need(_)) => stream.read(&mut chunk)?,
            Err(code) => return Err(OpenError::Foreign { why: code.word() }),
        };
        if bytes == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        received.extend_from_slice(&chunk[..bytes]);
    }
}

pub(super) fn put_subscribe(sid: u32, pattern: &str, out: &mut Vec<u8>) {
    let subscribe = Subscribe {
        sid: Sid(sid),
        overload: frame::Overload::DropOldest,
        pattern: pattern.as_bytes(),
        group: &[],
    };
    Frame::Subscribe(subscribe).put(out);
}

pub(super) fn put_pong(token: u64, out: &mut Vec<u8>) {
    Frame::Pong { token }.put(out);
}

pub(super) fn put_publish(topic: &[u8], reply: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    Publish {
        topic,
        headers: b"",
        reply,
        payload,
        priority: Priority::Normal,
        encoding: Encoding::Bytes,
        deadline_ms: 0,
    }
    .put(out)
    .expect("the plan keeps topics and payloads within the wire's bounds");
}

pub(super) fn mold(topic_bytes: usize, reply_bytes: usize, payload_bytes: usize) -> Mold {
    let (topic, reply, payload) =
        (vec![0; topic_bytes], vec![0; reply_bytes], vec![0; payload_bytes]);
    let mut frame = Vec::new();
    put_publish(&topic, &reply, &payload, &mut frame);
    let topic_end = ENVELOPE_BYTES + topic_bytes;
    let reply_end = topic_end + reply_bytes;
    Mold {
        topic: ENVELOPE_BYTES..topic_end,
        reply: topic_end..reply_end,
        payload: reply_end..frame.len(),
        frame,
    }
}

/// How most frames of a connection begin and are cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likeness {
    head: [u8; ENVELOPE_BYTES],
    topic_end: usize,
    reply_end: usize,
    frame_bytes: usize,
}

/// Deliveries are the publisher's bytes.
pub(super) fn likeness(mold: &Mold) -> Likeness {
    Likeness {
        head: *mold.frame.first_chunk().expect("a mold holds an envelope"),
        topic_end: mold.topic.end,
        reply_end: mold.reply.end,
        frame_bytes: mold.frame.len(),
    }
}

/// An envelope equal to the expected one says the same lengths, so nothing else is looked at.
#[inline]
pub(super) fn next<'a>(
    bytes: &'a [u8],
    likeness: &Likeness,
) -> Result<Option<Inbound<'a>>, &'static str> {
    if let Some(frame) = bytes.get(..likeness.frame_bytes)
        && frame.first_chunk() == Some(&likeness.head)
    {
        let delivery = Delivery {
            topic: &frame[ENVELOPE_BYTES..likeness.topic_end],
            reply: &frame[likeness.topic_end..likeness.reply_end],
            payload: &frame[likeness.reply_end..],
            pattern: None,
        };
        return Ok(Some(Inbound { bytes: frame.len(), what: What::Delivery(delivery) }));
    }
    decoded(bytes).map_err(ErrorCode::word)
}

#[cold]
fn decoded(bytes: &[u8]) -> Result<Option<Inbound<'_>>, ErrorCode> {
    let (frame, bytes) = match frame::decode(bytes)? {
        Decoded::Need(_) => return Ok(None),
        Decoded::Frame { frame, bytes } => (frame, bytes),
    };
    let control = match frame {
        Frame::Data(data) => {
            let (topic, reply, payload) = (data.topic(), data.reply(), data.payload());
            let what = What::Delivery(Delivery { topic, reply, payload, pattern: None });
            return Ok(Some(Inbound { bytes, what }));
        }
        Frame::Ping { token } => Control::Ping { token },
        Frame::Subscribed { .. } => Control::Subscribed,
        Frame::NoResponders { .. } => Control::NoResponders,
        Frame::Error(refusal) => {
            Control::Refused { why: refusal.code.word(), detail: refusal.text }
        }
        Frame::GoingAway => Control::GoingAway,
        Frame::Connect(_)
        | Frame::Connected(_)
        | Frame::Subscribe(_)
        | Frame::Unsubscribe { .. }
        | Frame::Unsubscribed { .. }
        | Frame::Pong { .. }
        | Frame::Drain
        | Frame::Drained
        | Frame::For { .. }
        | Frame::Rpc(_) => Control::Other,
    };
    Ok(Some(Inbound { bytes, what: What::Control(control) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mold_is_the_frame_the_wire_would_write() {
        let mut mold = mold(3, 2, 5);
        mold.frame[mold.topic.clone()].copy_from_slice(b"a.b");
        mold.frame[mold.reply.clone()].copy_from_slice(b"r1");
        mold.frame[mold.payload.clone()].copy_from_slice(b"hello");
        let mut want = Vec::new();
        put_publish(b"a.b", b"r1", b"hello", &mut want);
        assert_eq!(mold.frame, want);
    }

    #[test]
    fn the_short_way_and_the_long_way_say_the_same() {
        let likely = likeness(&mold(3, 2, 5));
        let unlikely = likeness(&mold(1, 0, 1));
        let mut bytes = Vec::new();
        put_publish(b"a.b", b"r1", b"hello", &mut bytes);
        let whole = bytes.len();
        bytes.extend_from_slice(b"more");
        let delivery = Delivery { topic: b"a.b", reply: b"r1", payload: b"hello", pattern: None };
        let what = What::Delivery(delivery);
        let want = Some(Inbound { bytes: whole, what });
        assert_eq!(next(&bytes, &likely), Ok(want));
        assert_eq!(next(&bytes, &unlikely), Ok(want));
        for cut in 0..whole {
            assert_eq!(next(&bytes[..cut], &likely), Ok(None), "{cut} bytes");
        }
    }

    #[test]
    fn what_is_no_frame_is_named() {
        let likely = likeness(&mold(3, 2, 5));
        assert_eq!(next(&[9, 0, 0, 0, 99, 0, 0, 0], &likely), Err("unknown_kind"));
    }
}
