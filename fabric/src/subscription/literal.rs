//! Patterns without a wildcard, by the one topic each of them matches.

use ahash::RandomState;
use mpreg_proto::topic::Topic;

use super::posting::{Lists, Posting};
use super::table::Table;
use super::text::Text;

pub(super) struct Literals<T> {
    entries: Table<Literal<T>>,
    lists: Lists<T>,
    hashes: RandomState,
    /// Held by topics too long for their entry.
    text_bytes: usize,
}

/// 30 bytes in place make an entry of 40, which a table at its emptiest holds in 94 bytes.
struct Literal<T> {
    topic: Text<30>,
    /// Never empty.
    values: Posting<T>,
}

const _: () = assert!(size_of::<Literal<u32>>() == 40);

impl<T: Copy + Ord> Literals<T> {
    pub(super) fn new(hashes: RandomState) -> Self {
        Self { entries: Table::new(), lists: Lists::new(), hashes, text_bytes: 0 }
    }

    pub(super) fn insert(&mut self, topic: &[u8], value: T) {
        let hash = self.hashes.hash_one(topic);
        match self.entries.find_mut(hash, |entry| entry.topic.as_bytes() == topic) {
            Some(entry) => self.lists.add(&mut entry.values, value),
            None => {
                let entry = Literal { topic: Text::new(topic), values: Posting::One(value) };
                self.text_bytes += entry.topic.heap_bytes();
                let hashes = &self.hashes;
                self.entries.insert(hash, entry, |entry| hashes.hash_one(entry.topic.as_bytes()));
            }
        }
    }

    pub(super) fn remove(&mut self, topic: &[u8], value: T) -> bool {
        let hash = self.hashes.hash_one(topic);
        let is_topic = |entry: &Literal<T>| entry.topic.as_bytes() == topic;
        let Some(entry) = self.entries.find_mut(hash, is_topic) else { return false };
        let is_removed = self.lists.remove(&mut entry.values, value);
        if entry.values.is_empty() {
            self.text_bytes -= entry.topic.heap_bytes();
            let hashes = &self.hashes;
            self.entries.remove(hash, is_topic, |entry| hashes.hash_one(entry.topic.as_bytes()));
        }
        is_removed
    }

    pub(super) fn each_match(&self, topic: Topic<'_>, visit: &mut impl FnMut(T)) {
        for &value in self.values(topic.as_bytes()) {
            visit(value);
        }
    }

    pub(super) fn values(&self, topic: &[u8]) -> &[T] {
        let hash = self.hashes.hash_one(topic);
        match self.entries.find(hash, |entry| entry.topic.as_bytes() == topic) {
            Some(entry) => self.lists.values(&entry.values),
            None => &[],
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes() + self.lists.heap_bytes() + self.text_bytes
    }
}
