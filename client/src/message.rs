//! A received message, read in place from the bytes it arrived in.
//!
//! Invariant: the frame is whole, its topic and reply topic are UTF-8, both checked on arrival.

use std::str;
use std::time::Instant;

use bytes::Bytes;
use mpreg_proto::envelope::{Encoding, Priority};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Data, Publish};
use mpreg_proto::header::Headers;

use crate::client::Client;
use crate::error::ReplyError;

/// A message. Holds on to the receive chunk it points into, up to
/// [`READ_CHUNK_BYTES`](crate::limits::READ_CHUNK_BYTES): copy the payload to keep it for long.
#[derive(Clone, Debug)]
pub struct Message {
    frame: Bytes,
    deadline: Option<Instant>,
    /// Set on the way out of a subscription, on messages that ask for a reply.
    client: Option<Client>,
}

impl Message {
    /// Checks a whole data frame received at `now`.
    pub(crate) fn new(frame: Bytes, now: Instant) -> Result<Self, ErrorCode> {
        let data = Data::parse(&frame)?;
        str::from_utf8(data.topic()).map_err(|_| ErrorCode::BadTopic)?;
        str::from_utf8(data.reply()).map_err(|_| ErrorCode::BadTopic)?;
        let deadline = data.deadline_ms().and_then(|ms| now.checked_add(millis(ms)));
        Ok(Self { frame, deadline, client: None })
    }

    pub fn topic(&self) -> &str {
        str::from_utf8(self.data().topic()).expect("checked on arrival")
    }

    /// Where a reply is expected, if one is.
    pub fn reply_topic(&self) -> Option<&str> {
        let reply = str::from_utf8(self.data().reply()).expect("checked on arrival");
        Some(reply).filter(|topic| !topic.is_empty())
    }

    pub fn payload(&self) -> &[u8] {
        self.data().payload()
    }

    /// The header block, if the message has one.
    pub fn headers(&self) -> Option<Headers<'_>> {
        Headers::parse(self.data().headers())
    }

    /// The first value of a header, its name's case disregarded.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()?.get(name.as_bytes())
    }

    /// The payload without copying it; it keeps the receive chunk alive as the message does.
    pub fn into_payload(mut self) -> Bytes {
        let names_end = self.frame.len() - self.payload().len();
        self.frame.split_off(names_end)
    }

    pub fn priority(&self) -> Priority {
        self.data().priority()
    }

    pub fn encoding(&self) -> Encoding {
        self.data().encoding()
    }

    /// Until when the message is worth having, counted from its arrival here; `None` if it never
    /// goes stale.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Answers a request, in the priority and encoding of the request. What remains of the
    /// request's deadline travels with the reply. Waits as `publish` does.
    pub async fn reply(&self, payload: &[u8]) -> Result<(), ReplyError> {
        let (Some(client), Some(topic)) = (&self.client, self.reply_topic()) else {
            return Err(ReplyError::NotARequest);
        };
        let deadline_ms = match self.deadline {
            None => 0,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ReplyError::Expired);
                }
                crate::request::deadline_ms(left)
            }
        };
        let reply = Publish {
            topic: topic.as_bytes(),
            reply: b"",
            headers: b"",
            payload,
            priority: self.priority(),
            encoding: self.encoding(),
            deadline_ms,
        };
        client.publish_with(reply).await.map_err(ReplyError::Publish)
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Moves the frame out of its receive chunk.
    pub(crate) fn unpin(&mut self) {
        self.frame = Bytes::copy_from_slice(&self.frame);
    }

    /// Lets `reply` work.
    pub(crate) fn attach(&mut self, client: &Client) {
        if !self.data().reply().is_empty() {
            self.client = Some(client.clone());
        }
    }

    fn data(&self) -> Data<'_> {
        Data::parse(&self.frame).expect("checked on arrival")
    }
}

fn millis(ms: u32) -> std::time::Duration {
    std::time::Duration::from_millis(u64::from(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn message(publish: Publish<'_>, now: Instant) -> Result<Message, ErrorCode> {
        let mut frame = Vec::new();
        publish.put(&mut frame).unwrap();
        Message::new(frame.into(), now)
    }

    #[test]
    fn every_part_reads_back_and_the_payload_is_not_copied() {
        let now = Instant::now();
        let publish = Publish {
            topic: b"orders.new",
            reply: b"_INBOX.1.2",
            headers: b"NATS/1.0\r\nTrace: 7\r\n\r\n",
            payload: b"{}",
            priority: Priority::High,
            encoding: Encoding::Json,
            deadline_ms: 250,
        };
        let message = message(publish, now).unwrap();
        assert_eq!(message.topic(), "orders.new");
        assert_eq!(message.reply_topic(), Some("_INBOX.1.2"));
        assert_eq!(message.header("trace"), Some(&b"7"[..]));
        assert_eq!(message.header("other"), None);
        assert_eq!(message.payload(), b"{}");
        assert_eq!(message.priority(), Priority::High);
        assert_eq!(message.encoding(), Encoding::Json);
        assert_eq!(message.deadline(), Some(now + Duration::from_millis(250)));
        let address = message.payload().as_ptr();
        let payload = message.into_payload();
        assert_eq!(payload, "{}");
        assert_eq!(payload.as_ptr(), address);
    }

    #[test]
    fn without_reply_and_deadline_there_are_none() {
        let publish = Publish { topic: b"a", ..Publish::default() };
        let message = message(publish, Instant::now()).unwrap();
        assert_eq!(message.reply_topic(), None);
        assert_eq!(message.deadline(), None);
        assert_eq!(message.into_payload(), "");
    }

    #[test]
    fn names_that_are_not_text_are_refused() {
        let now = Instant::now();
        let topic = message(Publish { topic: b"\xff", ..Publish::default() }, now);
        assert_eq!(topic.err(), Some(ErrorCode::BadTopic));
        let reply = Publish { topic: b"a", reply: b"\xff", ..Publish::default() };
        assert_eq!(message(reply, now).err(), Some(ErrorCode::BadTopic));
    }

    #[tokio::test]
    async fn reply_needs_a_request() {
        let publish = Publish { topic: b"a", ..Publish::default() };
        let message = message(publish, Instant::now()).unwrap();
        assert_eq!(message.reply(b"").await, Err(ReplyError::NotARequest));
    }
}
