//! Any bytes are a frame, not yet one, or refused; and what was read is written the same way.

use mpreg_proto::frame::{self, Data, Decoded, Frame, Kind, Publish};
use mpreg_proto::limits::{
    CALL_FAILED_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, ENVELOPE_BYTES, FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES, TOPIC_BYTES_MAX,
};

/// Reads `bytes` as a run of frames to its end or to the first that is refused.
pub fn frame(mut bytes: &[u8]) {
    loop {
        match frame::decode(bytes) {
            Ok(Decoded::Need(need)) => {
                assert!(bytes.len() < need, "waits for {need} bytes and has {}", bytes.len());
                assert!(need <= bound(bytes), "waits for {need} bytes");
                return;
            }
            Ok(Decoded::Frame { frame, bytes: taken }) => {
                check_whole(frame, &bytes[..taken]);
                bytes = &bytes[taken..];
            }
            // What is refused is refused whatever follows.
            Err(code) => {
                let longer = [bytes, &[0; 64]].concat();
                assert_eq!(frame::decode(&longer), Err(code));
                return;
            }
        }
    }
}

fn bound(bytes: &[u8]) -> usize {
    match frame::peek(bytes) {
        Ok(None) => 5,
        Ok(Some((_, Kind::Data | Kind::Call | Kind::Result | Kind::Invoke | Kind::Reply))) => {
            FRAME_BYTES_MAX
        }
        Ok(Some((_, Kind::CallFailed))) => CALL_FAILED_BYTES_MAX,
        Ok(Some(_)) => CONTROL_FRAME_BYTES_MAX,
        Err(code) => panic!("{code}: known from the first bytes, and waits for more"),
    }
}

fn check_whole(frame: Frame<'_>, whole: &[u8]) {
    assert!(FRAME_HEADER_BYTES <= whole.len());
    for cut in [0, 1, 4, 5, whole.len() / 2, whole.len() - 1] {
        match frame::decode(&whole[..cut]) {
            Ok(Decoded::Need(need)) => assert!(cut < need && need <= whole.len()),
            other => panic!("{cut} of {} bytes: {other:?}", whole.len()),
        }
    }
    // A name that is too long is read, so that it can be refused by name, and never written.
    let is_too_long = match frame {
        Frame::Subscribe(subscribe) => TOPIC_BYTES_MAX < subscribe.pattern.len(),
        Frame::NoResponders { reply } => TOPIC_BYTES_MAX < reply.len(),
        Frame::Data(_)
        | Frame::Connect(_)
        | Frame::Connected(_)
        | Frame::Subscribed { .. }
        | Frame::Unsubscribe { .. }
        | Frame::Unsubscribed { .. }
        | Frame::Ping { .. }
        | Frame::Pong { .. }
        | Frame::Drain
        | Frame::Drained
        | Frame::For { .. }
        | Frame::Error(_)
        | Frame::GoingAway
        | Frame::Rpc(_) => false,
    };
    if !is_too_long {
        let mut written = Vec::new();
        frame.put(&mut written);
        assert_eq!(written, whole, "{frame:?}");
    }
    if let Frame::Data(data) = frame {
        check_data(data, whole);
    }
}

fn check_data(data: Data<'_>, whole: &[u8]) {
    let Publish { topic, reply, headers, payload, .. } = parts(data);
    let names = [&whole[..ENVELOPE_BYTES], topic, reply, headers, payload].concat();
    assert_eq!(names, whole, "the parts are the frame");
    let mut written = Vec::new();
    parts(data).put(&mut written).expect("what was accepted is within bounds");
    assert_eq!(written, whole);
}

fn parts(data: Data<'_>) -> Publish<'_> {
    Publish {
        topic: data.topic(),
        reply: data.reply(),
        headers: data.headers(),
        payload: data.payload(),
        priority: data.priority(),
        encoding: data.encoding(),
        deadline_ms: data.deadline_ms().unwrap_or(0),
    }
}
