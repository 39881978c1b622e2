//! The ways back to those on other nodes who asked for a reply.
//!
//! A reply goes to the node that asked before anybody has told this one that its topic is wanted there.
//! Kept in two halves: when the young half is full or old, the other is forgotten.
//!
//! Invariants:
//! - At most `REPLY_WAYS_MAX` topics; each is known for `REPLY_WAY_FOR`, unless more come meanwhile,
//!   and for less than twice as long.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use mpreg_fabric::hop::ReplyWay;
use mpreg_fabric::time::Instant;

use crate::limits::{REPLY_WAY_FOR, REPLY_WAYS_MAX};

type Ways = HashMap<Bytes, Arc<ReplyWay>, RandomState>;

#[derive(Debug)]
pub(super) struct Replies {
    young: Ways,
    old: Ways,
    turned_at: Instant,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { young: Ways::default(), old: Ways::default(), turned_at: Instant::START }
    }

    pub(super) fn note(&mut self, reply: Bytes, way: Arc<ReplyWay>, now: Instant) {
        let is_old = self.turned_at + REPLY_WAY_FOR <= now;
        if is_old || REPLY_WAYS_MAX / 2 <= self.young.len() {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = now;
        }
        self.young.insert(reply, way);
    }

    /// The way back for what is published to this topic.
    #[inline]
    pub(super) fn way(&self, topic: &[u8], now: Instant) -> Option<&Arc<ReplyWay>> {
        let is_over = self.turned_at + 2 * REPLY_WAY_FOR <= now;
        if is_over || self.young.is_empty() && self.old.is_empty() {
            return None;
        }
        self.young.get(topic).or_else(|| self.old.get(topic))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mpreg_proto::id::{ClusterId, NodeId};

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn note(replies: &mut Replies, topic: &str, origin: u128, seconds: u64) {
        let (origin, cluster) = (NodeId(origin), ClusterId(1));
        let way = ReplyWay { origin, cluster, back: vec![origin] };
        replies.note(topic.to_owned().into(), Arc::new(way), at(seconds));
    }

    fn origin(replies: &Replies, topic: &str, seconds: u64) -> Option<u128> {
        replies.way(topic.as_bytes(), at(seconds)).map(|way| way.origin.0)
    }

    #[test]
    fn the_last_who_asked_gets_the_reply_for_a_while() {
        let mut replies = Replies::new();
        assert_eq!(origin(&replies, "r", 0), None);
        note(&mut replies, "r", 1, 100);
        note(&mut replies, "r", 2, 101);
        assert_eq!(origin(&replies, "r", 102), Some(2));
        assert_eq!(origin(&replies, "s", 102), None);
        assert_eq!(origin(&replies, "r", 129), Some(2));
        note(&mut replies, "s", 3, 131);
        assert_eq!(origin(&replies, "r", 131), Some(2), "known for long enough, and a while more");
        note(&mut replies, "s", 3, 162);
        assert_eq!(origin(&replies, "r", 162), None);
        assert_eq!(origin(&replies, "s", 222), None, "even if nothing else comes");
    }

    #[test]
    fn so_many_are_known_and_no_more() {
        let mut replies = Replies::new();
        for n in 0..3 * REPLY_WAYS_MAX as u128 {
            note(&mut replies, &n.to_string(), n, 100);
            assert!(replies.young.len() + replies.old.len() <= REPLY_WAYS_MAX);
        }
        let last = 3 * REPLY_WAYS_MAX as u128 - 1;
        assert_eq!(origin(&replies, &last.to_string(), 100), Some(last));
        assert_eq!(origin(&replies, "0", 100), None);
    }
}
