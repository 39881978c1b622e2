//! The newest advertisement of each node, kind and area, and the versions of expired ones.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::id::{NodeId, Version};
use mpreg_proto::limits::SIGNATURE_BYTES;
use mpreg_proto::link_state::{Advertisement, AreaId, Flood};

use crate::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) origin: NodeId,
    pub(super) kind: u16,
    pub(super) area: AreaId,
}

impl Key {
    pub(super) fn of(said: &Advertisement) -> Self {
        let Advertisement { origin, kind, area, .. } = *said;
        Self { origin, kind, area }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) said: Advertisement,
    /// As its node wrote it.
    pub(super) body: Vec<u8>,
    pub(super) signature: Option<[u8; SIGNATURE_BYTES]>,
    pub(super) until: Instant,
}

#[derive(Debug)]
enum Kept {
    Alive(Entry),
    /// It expired. Only what is newer counts.
    Gone {
        version: Version,
        until: Instant,
    },
}

/// What a version is beside the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    New,
    Newer,
    Same,
    Older,
}

#[derive(Debug, Default)]
pub(super) struct Database {
    kept: BTreeMap<Key, Kept>,
    /// Not later than the first of what is kept ends.
    due: Option<Instant>,
}

impl Database {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Advertisement> {
        match self.kept.get(key)? {
            Kept::Alive(entry) => Some(&entry.said),
            Kept::Gone { .. } => None,
        }
    }

    /// What has not expired.
    pub(super) fn alive(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.after(None)
    }

    /// What of it comes after a key, in order.
    pub(super) fn after(&self, key: Option<Key>) -> impl Iterator<Item = (&Key, &Entry)> {
        let later = self.kept.iter().filter(move |(known, _)| key.is_none_or(|key| key < **known));
        later.filter_map(|(key, kept)| match kept {
            Kept::Alive(entry) => Some((key, entry)),
            Kept::Gone { .. } => None,
        })
    }

    pub(super) fn compare(&self, key: &Key, version: Version) -> Heard {
        let known = match self.kept.get(key) {
            None => return Heard::New,
            Some(Kept::Alive(entry)) => entry.said.version,
            Some(Kept::Gone { version, .. }) => *version,
        };
        match version.cmp(&known) {
            core::cmp::Ordering::Greater => Heard::Newer,
            core::cmp::Ordering::Equal => Heard::Same,
            core::cmp::Ordering::Less => Heard::Older,
        }
    }

    /// True if it says something else than what was known.
    pub(super) fn insert(&mut self, key: Key, entry: Entry) -> bool {
        let is_same = self.get(&key).is_some_and(|known| {
            let Advertisement { cluster, links, summaries, .. } = &entry.said;
            known.cluster == *cluster && known.links == *links && known.summaries == *summaries
        });
        self.due = Some(self.due.map_or(entry.until, |due| due.min(entry.until)));
        self.kept.insert(key, Kept::Alive(entry));
        !is_same
    }

    /// What goes over a link now.
    pub(super) fn flood(&self, key: &Key, now: Instant) -> Option<Flood> {
        let Some(Kept::Alive(entry)) = self.kept.get(key) else { return None };
        let ttl_ms = u32::try_from(entry.until.since(now).as_millis()).unwrap_or(u32::MAX);
        let Entry { body, signature, .. } = entry;
        (ttl_ms != 0).then(|| Flood { ttl_ms, body: body.clone(), signature: *signature })
    }

    /// Ends what has expired. True if an advertisement has.
    pub(super) fn expire(&mut self, now: Instant, tombstone: Duration) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let mut has_expired = false;
        self.kept.retain(|_, kept| match kept {
            Kept::Alive(entry) if entry.until <= now => {
                has_expired = true;
                *kept = Kept::Gone { version: entry.said.version, until: now + tombstone };
                true
            }
            Kept::Alive(_) => true,
            Kept::Gone { until, .. } => now < *until,
        });
        self.due = self.kept.values().map(Kept::until).min();
        has_expired
    }
}

impl Kept {
    fn until(&self) -> Instant {
        match self {
            Self::Alive(entry) => entry.until,
            Self::Gone { until, .. } => *until,
        }
    }
}
