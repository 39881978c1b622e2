//! Which plain subscriptions a topic is for.
//!
//! A router sends one copy of a message per connection and no subscription number, so the client
//! finds the subscriptions itself. Exact patterns are looked up; patterns with wildcards are
//! walked once per topic and the result is remembered.
//!
//! Invariants:
//! - Results are in order of subscription, exact and wildcard alike.
//! - What is remembered is forgotten when a wildcard or an exact pattern comes or goes.
//! - At most [`TOPICS_REMEMBERED_MAX`] topics are remembered.

use ahash::AHashMap;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::Sid;
use mpreg_proto::topic::{Dialect, Pattern, Topic};

use crate::limits::TOPICS_REMEMBERED_MAX;

#[derive(Debug, Default)]
pub(crate) struct Interest {
    exact: AHashMap<Box<[u8]>, Vec<Sid>>,
    wildcards: Vec<Wildcard>,
    /// Filled only while there are wildcards.
    remembered: AHashMap<Box<[u8]>, Vec<Sid>>,
}

#[derive(Debug)]
struct Wildcard {
    sid: Sid,
    pattern: Box<str>,
}

impl Interest {
    pub(crate) fn insert(&mut self, sid: Sid, pattern: Pattern<'_>) {
        self.remembered.clear();
        if pattern.is_literal() {
            let sids = self.exact.entry(pattern.as_bytes().into()).or_default();
            sids.push(sid);
        } else {
            self.wildcards.push(Wildcard { sid, pattern: pattern.as_str().into() });
        }
    }

    pub(crate) fn remove(&mut self, sid: Sid, pattern: Pattern<'_>) {
        self.remembered.clear();
        if !pattern.is_literal() {
            self.wildcards.retain(|wildcard| wildcard.sid != sid);
            return;
        }
        if let Some(sids) = self.exact.get_mut(pattern.as_bytes()) {
            sids.retain(|&other| other != sid);
            if sids.is_empty() {
                self.exact.remove(pattern.as_bytes());
            }
        }
    }

    /// The subscriptions `topic` is for, or why it is no topic.
    pub(crate) fn find(&mut self, topic: &[u8]) -> Result<&[Sid], ErrorCode> {
        if self.wildcards.is_empty() {
            return Ok(self.exact.get(topic).map_or(&[], Vec::as_slice));
        }
        if !self.remembered.contains_key(topic) {
            let found = self.walk(Topic::parse_as(topic, Dialect::Nats)?);
            if TOPICS_REMEMBERED_MAX <= self.remembered.len() {
                self.remembered.clear();
            }
            self.remembered.insert(topic.into(), found);
        }
        Ok(&self.remembered[topic])
    }

    /// Whether anything but one reply can be meant by a topic made for that reply.
    pub(crate) fn has_wildcards(&self) -> bool {
        !self.wildcards.is_empty()
    }

    /// All matches, found the slow way and not remembered.
    pub(crate) fn walk(&self, topic: Topic<'_>) -> Vec<Sid> {
        let exact = self.exact.get(topic.as_bytes()).into_iter().flatten().copied();
        let wildcards = self.wildcards.iter().filter(|wildcard| {
            let pattern = Pattern::parse(wildcard.pattern.as_bytes());
            pattern.expect("it was one when it came").matches(topic)
        });
        let mut found: Vec<Sid> = exact.chain(wildcards.map(|wildcard| wildcard.sid)).collect();
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers `patterns` from 1 and finds `topic`, asking twice so that memory is tested too.
    #[track_caller]
    fn check(patterns: &str, topic: &str, want: &[u32]) {
        let mut interest = Interest::default();
        for (sid, pattern) in (1..).zip(patterns.split_whitespace()) {
            interest.insert(Sid(sid), Pattern::parse(pattern.as_bytes()).unwrap());
        }
        for _ in 0..2 {
            let found: Vec<u32> =
                interest.find(topic.as_bytes()).unwrap().iter().map(|sid| sid.0).collect();
            assert_eq!(found, want, "{topic} in {patterns}");
        }
    }

    #[test]
    fn finds_exact_and_wildcard_patterns_in_order() {
        check("a.b a.c a.b", "a.b", &[1, 3]);
        check("a.* a.b # >", "a.b", &[1, 2, 3, 4]);
        check("a.b.> a.*", "a.c", &[2]);
        check("a.b", "a.c", &[]);
        check("", "a", &[]);
    }

    #[test]
    fn remembered_topics_see_patterns_come_and_go() {
        let mut interest = Interest::default();
        let (all, exact) = (Pattern::parse(b">").unwrap(), Pattern::parse(b"a").unwrap());
        interest.insert(Sid(1), all);
        assert_eq!(interest.find(b"a"), Ok(&[Sid(1)][..]));
        interest.insert(Sid(2), exact);
        assert_eq!(interest.find(b"a"), Ok(&[Sid(1), Sid(2)][..]));
        interest.insert(Sid(3), all);
        assert_eq!(interest.find(b"a"), Ok(&[Sid(1), Sid(2), Sid(3)][..]));
        interest.remove(Sid(1), all);
        assert_eq!(interest.find(b"a"), Ok(&[Sid(2), Sid(3)][..]));
        interest.remove(Sid(2), exact);
        assert_eq!(interest.find(b"a"), Ok(&[Sid(3)][..]));
        interest.remove(Sid(3), all);
        assert_eq!(interest.find(b"a"), Ok(&[][..]));
        assert!(interest.exact.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut interest = Interest::default();
        interest.insert(Sid(1), Pattern::parse(b">").unwrap());
        for number in 0..3 * TOPICS_REMEMBERED_MAX {
            assert_eq!(interest.find(format!("t.{number}").as_bytes()), Ok(&[Sid(1)][..]));
            assert!(interest.remembered.len() <= TOPICS_REMEMBERED_MAX);
        }
    }

    #[test]
    fn what_is_no_topic_is_refused_before_it_is_remembered() {
        let mut interest = Interest::default();
        interest.insert(Sid(1), Pattern::parse(b">").unwrap());
        assert_eq!(interest.find(b"a..b"), Err(ErrorCode::BadTopic));
        assert!(interest.remembered.is_empty());
    }
}
