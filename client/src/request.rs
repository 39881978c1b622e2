//! Requests that wait for their replies: the topics replies come back on, and who waits for which.
//!
//! A client subscribes once, to `_INBOX.<token>.*`; each request is answered on
//! `_INBOX.<token>.<number>`. The token is drawn once per client and outlives reconnects, so a reply
//! to a request sent before one still finds its way.
//!
//! Invariant: a request is settled once, by whatever comes first. Later replies are for nobody.

use std::io::Write;
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::oneshot;

use crate::error::RequestError;
use crate::limits::{REPLY_TOPIC_BYTES_MAX, REQUESTS_PENDING_MAX};
use crate::message::Message;

/// What a request ends with.
pub(crate) type Outcome = Result<Message, RequestError>;

/// A request of this client; counts up from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestIx(u64);

#[derive(Debug)]
pub(crate) struct Requests {
    /// `_INBOX.<token>.`
    prefix: Box<str>,
    pending: AHashMap<RequestIx, oneshot::Sender<Outcome>>,
    last: u64,
}

/// What came of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Delivered,
    /// Its request was settled before, or given up.
    Late,
}

impl Requests {
    pub(crate) fn new(token: u64) -> Self {
        let prefix = format!("_INBOX.{token:016x}.").into();
        Self { prefix, pending: AHashMap::new(), last: 0 }
    }

    /// What the client subscribes to for its replies.
    pub(crate) fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// Admits one more request.
    pub(crate) fn open(&mut self) -> Result<(RequestIx, oneshot::Receiver<Outcome>), RequestError> {
        if REQUESTS_PENDING_MAX <= self.pending.len() {
            return Err(RequestError::TooMany);
        }
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        self.pending.insert(RequestIx(self.last), sender);
        Ok((RequestIx(self.last), receiver))
    }

    /// The topic the reply to `request` is published on.
    pub(crate) fn topic(&self, request: RequestIx) -> ReplyTopic {
        let mut bytes = [0; REPLY_TOPIC_BYTES_MAX];
        let mut rest = &mut bytes[..];
        write!(rest, "{}{}", self.prefix, request.0).expect("the longest number fits");
        let left = rest.len();
        ReplyTopic { bytes, len: REPLY_TOPIC_BYTES_MAX - left }
    }

    /// The request `topic` answers, if it is a reply topic of this client.
    pub(crate) fn find(&self, topic: &[u8]) -> Option<RequestIx> {
        let number = topic.strip_prefix(self.prefix.as_bytes())?;
        std::str::from_utf8(number).ok()?.parse().ok().map(RequestIx)
    }

    pub(crate) fn settle(&mut self, request: RequestIx, outcome: Outcome) -> Settled {
        let waiter = self.pending.remove(&request);
        match waiter.map(|waiter| waiter.send(outcome)) {
            Some(Ok(())) => Settled::Delivered,
            Some(Err(_)) | None => Settled::Late,
        }
    }

    /// Stops waiting.
    pub(crate) fn give_up(&mut self, request: RequestIx) {
        self.pending.remove(&request);
    }

    /// Settles every request with `error`.
    pub(crate) fn end(&mut self, error: &RequestError) {
        for (_, waiter) in self.pending.drain() {
            // Whoever stopped waiting misses nothing.
            waiter.send(Err(error.clone())).ok();
        }
    }
}

/// A reply topic, built without allocating.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTopic {
    bytes: [u8; REPLY_TOPIC_BYTES_MAX],
    len: usize,
}

impl ReplyTopic {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A wait as the wire says it: whole milliseconds, rounded up, at least one.
pub(crate) fn deadline_ms(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_topics_lead_back_to_their_requests() {
        let mut requests = Requests::new(0xab);
        assert_eq!(requests.pattern(), "_INBOX.00000000000000ab.*");
        let (first, _) = requests.open().unwrap();
        let (second, _) = requests.open().unwrap();
        assert_eq!(requests.topic(second).as_bytes(), b"_INBOX.00000000000000ab.2");
        assert_eq!(requests.find(requests.topic(first).as_bytes()), Some(first));
        assert_eq!(requests.find(requests.topic(second).as_bytes()), Some(second));
        for foreign in ["_INBOX.00000000000000ac.1", "_INBOX.00000000000000ab.", "a.1"] {
            assert_eq!(requests.find(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn the_longest_reply_topic_fits() {
        let requests = Requests::new(u64::MAX);
        let topic = requests.topic(RequestIx(u64::MAX));
        assert_eq!(topic.as_bytes().len(), REPLY_TOPIC_BYTES_MAX);
        assert_eq!(requests.find(topic.as_bytes()), Some(RequestIx(u64::MAX)));
    }

    #[test]
    fn a_request_is_settled_once() {
        let mut requests = Requests::new(1);
        let (request, mut waiter) = requests.open().unwrap();
        let no_responders = || Err(RequestError::NoResponders);
        assert_eq!(requests.settle(request, no_responders()), Settled::Delivered);
        assert_eq!(requests.settle(request, no_responders()), Settled::Late);
        assert_eq!(waiter.try_recv().unwrap().unwrap_err(), RequestError::NoResponders);
    }

    #[test]
    fn whoever_gave_up_makes_the_reply_late() {
        let mut requests = Requests::new(1);
        let (dropped, waiter) = requests.open().unwrap();
        drop(waiter);
        assert_eq!(requests.settle(dropped, Err(RequestError::NoResponders)), Settled::Late);
        let (given_up, _waiter) = requests.open().unwrap();
        requests.give_up(given_up);
        assert_eq!(requests.settle(given_up, Err(RequestError::NoResponders)), Settled::Late);
    }

    #[test]
    fn pending_requests_are_bounded_and_end_together() {
        let mut requests = Requests::new(1);
        let mut waiters: Vec<_> =
            (0..REQUESTS_PENDING_MAX).map(|_| requests.open().unwrap().1).collect();
        assert_eq!(requests.open().unwrap_err(), RequestError::TooMany);
        requests.end(&RequestError::Closed);
        for waiter in &mut waiters {
            assert_eq!(waiter.try_recv().unwrap().unwrap_err(), RequestError::Closed);
        }
        assert!(requests.open().is_ok());
    }

    #[test]
    fn deadlines_round_up_and_never_mean_none() {
        for (wait, want) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(5), 5),
            (Duration::from_micros(5_001), 6),
            (Duration::MAX, u32::MAX),
        ] {
            assert_eq!(deadline_ms(wait), want, "{wait:?}");
        }
    }
}
