//! Who may do what: the topics a user may publish to, the patterns it may subscribe to.
//!
//! Built once from what the operator wrote, asked for each publish and each subscription. An entry
//! is a pattern; an entry about subscriptions may name a queue group after a space (`jobs.> workers`),
//! itself with wildcards. Knows nothing of users, sessions or passwords.
//!
//! Invariants:
//! - A deny that applies wins over every allow, for replies too.
//! - A subscription is granted only if one allow entry contains all it can match. Two entries that
//!   contain it only together do not grant it: that errs on the safe side, as nats-server does.
//! - What a granted subscription can match and a deny entry covers is never received: either no such
//!   topic exists ([`Verdict::Allowed`]) or deliveries are asked about ([`Verdict::Filtered`]).
//! - A deny entry without a queue holds for queue subscriptions as well; an allow entry with a queue
//!   grants nothing to a plain subscription.
//! - Containment and overlap are decided exactly, over topics of any length; real topics are shorter,
//!   which again errs on the safe side.
//!
//! Tests: `permission/tests.rs`; `tests/src/permission_oracle.rs` compares with every topic over a
//! small alphabet.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use mpreg_proto::limits::GROUP_BYTES_MAX;
use mpreg_proto::topic::{Pattern, Topic};

use crate::limits::PERMISSION_ENTRIES_MAX;

mod reply;
mod shape;

pub use reply::{Allowance, Replies};
pub use shape::Shape;

/// What one user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    publish: Rules,
    subscribe: Rules,
}

/// Entries as an operator wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written<'a> {
    /// `None` allows everything that is not denied, an empty list nothing.
    pub allow: Option<&'a [String]>,
    pub deny: &'a [String],
}

/// The answer to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Granted, but some of what it matches is denied: each delivery is to be asked about with
    /// [`Permissions::may_receive`].
    Filtered,
    Refused,
}

/// Why entries are no permissions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("{entry:?} is not a pattern")]
    Pattern { entry: String },
    #[error("{entry:?} names a queue, which means something for subscriptions alone")]
    QueueOfPublish { entry: String },
    #[error("{entry:?} has more than a pattern and a queue of at most 64 bytes")]
    Queue { entry: String },
    #[error("{entries} entries, at most 1024")]
    TooMany { entries: usize },
}

const _: () = assert!(PERMISSION_ENTRIES_MAX == 1024 && GROUP_BYTES_MAX == 64, "texts say so");

impl Permissions {
    pub fn new(publish: Written<'_>, subscribe: Written<'_>) -> Result<Self, BadEntry> {
        Ok(Self {
            publish: Rules::read(publish, Entry::of_publish)?,
            subscribe: Rules::read(subscribe, Entry::of_subscribe)?,
        })
    }

    /// Whether there is anything that may not be done.
    pub fn is_limited(&self) -> bool {
        [&self.publish, &self.subscribe]
            .iter()
            .any(|may| may.allow.is_some() || !may.deny.is_empty())
    }

    /// Whether a message may be published to `topic`.
    pub fn may_publish(&self, topic: Topic<'_>) -> bool {
        let is_allowed = match &self.publish.allow {
            Some(allow) => allow.iter().any(|entry| entry.topics.matches(topic.as_str())),
            None => true,
        };
        is_allowed && self.may_reply(topic)
    }

    /// Whether `topic` may be published to by whoever was asked to reply there ([`Replies`]): it
    /// needs no allow entry, a deny entry forbids it all the same.
    pub fn may_reply(&self, topic: Topic<'_>) -> bool {
        !self.publish.deny.iter().any(|entry| entry.topics.matches(topic.as_str()))
    }

    /// What becomes of a subscription to `pattern`, as a member of `group` if there is one.
    pub fn may_subscribe(&self, pattern: Pattern<'_>, group: Option<&str>) -> Verdict {
        let wanted = Shape::of_pattern(pattern);
        if !self.subscribe.grants(&wanted, group) {
            return Verdict::Refused;
        }
        let mut verdict = Verdict::Allowed;
        for entry in self.subscribe.deny.iter().filter(|entry| entry.denies_group(group)) {
            if entry.topics.contains(&wanted) {
                return Verdict::Refused;
            }
            if entry.topics.overlaps(&wanted) {
                verdict = Verdict::Filtered;
            }
        }
        verdict
    }

    /// Whether a granted subscription of `group` may receive what was published to `topic`.
    pub fn may_receive(&self, topic: Topic<'_>, group: Option<&str>) -> bool {
        let mut denies = self.subscribe.deny.iter().filter(|entry| entry.denies_group(group));
        !denies.any(|entry| entry.topics.matches(topic.as_str()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    allow: Option<Box<[Entry]>>,
    deny: Box<[Entry]>,
}

impl Rules {
    fn read(
        written: Written<'_>,
        read_entry: fn(&str) -> Result<Entry, BadEntry>,
    ) -> Result<Self, BadEntry> {
        let read = |entries: &[String]| {
            if PERMISSION_ENTRIES_MAX < entries.len() {
                return Err(BadEntry::TooMany { entries: entries.len() });
            }
            entries.iter().map(|entry| read_entry(entry)).collect::<Result<Box<[_]>, _>>()
        };
        Ok(Self { allow: written.allow.map(read).transpose()?, deny: read(written.deny)? })
    }

    /// Whether an allow entry contains `wanted`. For a member of a group, entries that name queues
    /// and contain `wanted` decide, where there are any; the others where there are none.
    fn grants(&self, wanted: &Shape<&str>, group: Option<&str>) -> bool {
        let Some(allow) = &self.allow else { return true };
        let mut is_plain_allowed = false;
        let mut is_queue_named = false;
        for entry in allow.iter().filter(|entry| entry.topics.contains(wanted)) {
            match (&entry.queue, group) {
                (None, _) => is_plain_allowed = true,
                (Some(_), None) => (),
                (Some(queue), Some(group)) if queue.matches(group) => return true,
                (Some(_), Some(_)) => is_queue_named = true,
            }
        }
        is_plain_allowed && !is_queue_named
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    topics: Shape<Box<str>>,
    /// Names of groups. `None` is everybody, in a group or not.
    queue: Option<Shape<Box<str>>>,
}

impl Entry {
    fn of_publish(entry: &str) -> Result<Self, BadEntry> {
        let found = Self::of_subscribe(entry)?;
        if found.queue.is_some() {
            return Err(BadEntry::QueueOfPublish { entry: entry.to_string() });
        }
        Ok(found)
    }

    fn of_subscribe(entry: &str) -> Result<Self, BadEntry> {
        let words: Vec<&str> = entry.split_ascii_whitespace().collect();
        let (pattern, queue) = match words[..] {
            [pattern] => (pattern, None),
            [pattern, queue] if queue.len() <= GROUP_BYTES_MAX => (pattern, Some(queue)),
            [] => return Err(BadEntry::Pattern { entry: entry.to_string() }),
            [_, ..] => return Err(BadEntry::Queue { entry: entry.to_string() }),
        };
        let pattern = Pattern::parse(pattern.as_bytes())
            .map_err(|_| BadEntry::Pattern { entry: entry.to_string() })?;
        let parse_queue = |queue: &str| match Pattern::parse(queue.as_bytes()) {
            Ok(queue) => Ok(Shape::of_pattern(queue).to_owned()),
            Err(_) => Err(BadEntry::Queue { entry: entry.to_string() }),
        };
        let queue = queue.map(parse_queue).transpose()?;
        Ok(Self { topics: Shape::of_pattern(pattern).to_owned(), queue })
    }

    /// Whether this deny entry is about a subscription of `group`.
    fn denies_group(&self, group: Option<&str>) -> bool {
        match (&self.queue, group) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(queue), Some(group)) => queue.matches(group),
        }
    }
}

#[cfg(test)]
mod tests;
