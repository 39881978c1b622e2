//! Leave to reply: a session that may not publish to a topic may answer those who asked it to.
//!
//! Fed with the reply topic of each message the session receives. Knows nothing of permissions: a
//! denied topic is refused before anybody asks here.
//!
//! Invariants:
//! - A reply topic is good for `messages_max` messages and for `expires`, counted from the latest
//!   message that named it.
//! - At most `REPLIES_OPEN_MAX` are remembered; the oldest is forgotten first.
//! - `topics` and `ages` hold the same topics.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use mpreg_proto::topic::Topic;

use crate::limits::REPLIES_OPEN_MAX;
use crate::time::Instant;

/// How much may be replied to each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `None`: any number.
    pub messages_max: Option<u32>,
    /// `None`: for as long as it is remembered.
    pub expires: Option<Duration>,
}

/// The replies a session may still give.
#[derive(Debug)]
pub struct Replies {
    allowance: Allowance,
    topics: BTreeMap<Box<str>, Open>,
    /// By the number of the message that named it last.
    ages: BTreeMap<u64, Box<str>>,
    received: u64,
}

#[derive(Debug)]
struct Open {
    number: u64,
    until: Instant,
    left: Option<u32>,
}

impl Default for Allowance {
    /// As nats-server: one message within two minutes.
    fn default() -> Self {
        Self { messages_max: Some(1), expires: Some(Duration::from_secs(120)) }
    }
}

impl Replies {
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, topics: BTreeMap::new(), ages: BTreeMap::new(), received: 0 }
    }

    /// The session received a message that asks for a reply to `topic`.
    pub fn asked(&mut self, topic: Topic<'_>, now: Instant) {
        self.forget(topic.as_str());
        while let Some((_, oldest)) = self.ages.first_key_value() {
            let is_over = self.topics.get(oldest).is_none_or(|open| open.until <= now);
            if !is_over && self.topics.len() < REPLIES_OPEN_MAX {
                break;
            }
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
        let number = self.received;
        self.received += 1;
        let until = self.allowance.expires.map_or(Instant::NEVER, |expires| now + expires);
        let open = Open { number, until, left: self.allowance.messages_max };
        self.topics.insert(topic.as_str().into(), open);
        self.ages.insert(number, topic.as_str().into());
    }

    /// Whether the session may publish to `topic` because it was asked to; counts that it does.
    pub fn take(&mut self, topic: Topic<'_>, now: Instant) -> bool {
        let Some(open) = self.topics.get_mut(topic.as_str()) else { return false };
        let is_over = open.until <= now || open.left == Some(0);
        open.left = open.left.map(|left| left.saturating_sub(1));
        if is_over || open.left == Some(0) {
            self.forget(topic.as_str());
        }
        !is_over
    }

    fn forget(&mut self, topic: &str) {
        if let Some(open) = self.topics.remove(topic) {
            self.ages.remove(&open.number);
        }
    }
}
