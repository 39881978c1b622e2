//! A hash table that grows and shrinks in small steps.
//!
//! One table of a million entries stops its shard for tens of milliseconds while it doubles. This
//! one is cut into parts by bits of the hash, and each doubles on its own.

use alloc::boxed::Box;

use hashbrown::HashTable;

/// Parts of a table. A million entries are 16,000 a part: doubling one takes well under 1 ms.
const PARTS_COUNT: usize = 64;
const _: () = assert!(PARTS_COUNT.is_power_of_two());

/// Entries by hash. The caller supplies hash and equality, because entries here are smaller than
/// the keys they are found by.
pub(super) struct Table<E> {
    parts: Box<[HashTable<E>]>,
}

impl<E> Table<E> {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS_COUNT).map(|_| HashTable::new()).collect() }
    }

    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&E) -> bool) -> Option<&E> {
        self.parts[part_of(hash)].find(hash, eq)
    }

    pub(super) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&E) -> bool) -> Option<&mut E> {
        self.parts[part_of(hash)].find_mut(hash, eq)
    }

    /// Adds an entry that is not there. `rehash` gives the hash of any entry.
    pub(super) fn insert(&mut self, hash: u64, entry: E, rehash: impl Fn(&E) -> u64) {
        self.parts[part_of(hash)].insert_unique(hash, entry, rehash);
    }

    /// Removes the entry and gives back room that has become far too large.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        eq: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> u64,
    ) -> Option<E> {
        let part = &mut self.parts[part_of(hash)];
        let (entry, _) = part.find_entry(hash, eq).ok()?.remove();
        if part.len() * 8 < part.capacity() {
            part.shrink_to(part.len() * 2, rehash);
        }
        Some(entry)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let entries_bytes: usize = self.parts.iter().map(HashTable::allocation_size).sum();
        entries_bytes + size_of_val(&*self.parts)
    }
}

/// From the middle of the hash: a part places its entries by the low bits and tags them with the
/// high ones.
fn part_of(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS_COUNT
}
