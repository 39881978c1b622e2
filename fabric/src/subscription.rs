//! The subscription index: patterns with values, matched against topics.
//!
//! Patterns without a wildcard, nearly all of them in practice, lie in a hash table: one lookup
//! per topic however many there are. The others form a trie that is walked with a set of nodes, so
//! that `#` costs no back-tracking. The index knows nothing of what a value stands for.
//!
//! Invariants:
//! - Every stored (pattern, value) is visited exactly once per matching topic, in however many
//!   ways its `#`s can be read.
//! - The order of visits depends on what is stored, never on the hash seed or on the order in
//!   which it was stored.
//! - A match costs at most segments of the topic times nodes active at once. Patterns that cannot
//!   match, given the segments seen so far, cost nothing.
//! - An emptied index holds no entry, node or list.
//!
//! Tests: `subscription/tests.rs`, with [`Pattern::matches`] as the oracle.

use ahash::RandomState;
use mpreg_proto::topic::{Pattern, Topic};

mod literal;
mod posting;
mod table;
mod text;
mod trie;

use literal::Literals;
use trie::Trie;
pub use trie::Walk;

/// Patterns with values, matched against topics. A multiset: the same value may be stored under
/// the same pattern more than once, and is then visited as often.
pub struct Index<T> {
    literals: Literals<T>,
    trie: Trie<T>,
    walk: Walk,
    len: usize,
}

impl<T: Copy + Ord> Index<T> {
    /// `seed` keeps clients from choosing patterns that collide: random in production, fixed in
    /// tests.
    pub fn new(seed: u64) -> Self {
        // Four keys from one seed: the odd constant is 2^64 over the golden ratio.
        let key = |nth: u64| seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hashes = RandomState::with_seeds(key(1), key(2), key(3), key(4));
        let (literals, trie) = (Literals::new(hashes.clone()), Trie::new(hashes));
        Self { literals, trie, walk: Walk::default(), len: 0 }
    }

    pub fn insert(&mut self, pattern: Pattern<'_>, value: T) {
        if pattern.is_literal() {
            self.literals.insert(pattern.as_bytes(), value);
        } else {
            self.trie.insert(pattern, value);
        }
        self.len += 1;
    }

    /// Removes one occurrence; whether there was one.
    pub fn remove(&mut self, pattern: Pattern<'_>, value: T) -> bool {
        let is_removed = if pattern.is_literal() {
            self.literals.remove(pattern.as_bytes(), value)
        } else {
            self.trie.remove(pattern, value)
        };
        if self.trie.is_empty() {
            self.walk.shrink();
        }
        self.len -= usize::from(is_removed);
        is_removed
    }

    /// Visits the value of every stored pattern that matches. `&mut` because the walk marks the
    /// nodes it has been to and reuses its scratch space: nothing is allocated once that has grown.
    pub fn each_match(&mut self, topic: Topic<'_>, visit: &mut impl FnMut(T)) {
        self.literals.each_match(topic, visit);
        self.trie.each_match(topic, &mut self.walk, visit);
    }

    /// The same for one of several readers, each with a walk of its own.
    pub fn each_match_by(&self, walk: &mut Walk, topic: Topic<'_>, visit: &mut impl FnMut(T)) {
        self.literals.each_match(topic, visit);
        self.trie.each_match(topic, walk, visit);
    }

    /// The values stored under exactly this pattern, ascending.
    pub fn values(&self, pattern: Pattern<'_>) -> &[T] {
        if pattern.is_literal() {
            self.literals.values(pattern.as_bytes())
        } else {
            self.trie.values(pattern)
        }
    }

    /// Values stored, each occurrence counted.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held on the heap, the allocator's own overhead not included.
    pub fn heap_bytes(&self) -> usize {
        self.literals.heap_bytes() + self.trie.heap_bytes() + self.walk.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
