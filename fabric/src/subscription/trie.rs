//! Patterns with wildcards: a trie by segments, walked with a set of nodes.
//!
//! ```text
//!   patterns   a.*   a.#.b   a.>        root --a--> ( > ) --*--> here
//!                                                     |
//!                                                     #--> ( ) --b--> here
//! ```
//!
//! After each segment of a topic the walk is at a set of nodes. A node behind `#` stays in the set
//! once it is in; any other is left with the next segment. Each node has one parent, so a node can
//! only be reached twice through a parent that is reached twice, at different segments. Whatever
//! hangs on a node by `#` or `>` is dealt with the first time, and the node is marked with the
//! number of the walk. Marks are the walker's, so that several may walk one trie.
//!
//! Invariants:
//! - Every node but the root has a parent, and every leaf has values. An empty trie has no root.
//! - A word edge is in `edges` exactly if its parent counts it in `words_count`.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use ahash::RandomState;
use mpreg_proto::topic::{Pattern, Segment, Topic};
use slab::Slab;

use super::posting::{Lists, Posting};
use super::table::Table;
use super::text::Text;

pub(super) struct Trie<T> {
    root: Option<NodeIx>,
    nodes: Slab<Node<T>>,
    edges: Table<Edge>,
    lists: Lists<T>,
    hashes: RandomState,
    /// Held by words too long for their edge.
    text_bytes: usize,
}

/// A node in the slab. Never zero, so that an absent child costs no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NodeIx(NonZeroU32);

struct Node<T> {
    /// Values of the patterns that end at this node.
    here: Posting<T>,
    /// Values of the patterns that end with a `>` after this node.
    rest: Posting<T>,
    /// Behind `*`.
    one: Option<NodeIx>,
    /// Behind `#`.
    any: Option<NodeIx>,
    /// Children behind words.
    words_count: u32,
}

/// From a node to its child behind a word.
struct Edge {
    parent: NodeIx,
    child: NodeIx,
    word: Text<22>,
}

/// Scratch space of a match, kept between matches: with it nothing is allocated once it has grown. It
/// may be used with one index after another.
#[derive(Debug, Default)]
pub struct Walk {
    number: u64,
    /// By node, the last walk that dealt with what hangs on it by `#` and `>`.
    marks: Vec<u64>,
    /// Nodes to be left with the next segment.
    passing: Vec<NodeIx>,
    /// The same after the present segment.
    next: Vec<NodeIx>,
    /// Nodes behind `#`.
    staying: Vec<NodeIx>,
}

impl<T: Copy + Ord> Trie<T> {
    pub(super) fn new(hashes: RandomState) -> Self {
        Self {
            root: None,
            nodes: Slab::new(),
            edges: Table::new(),
            lists: Lists::new(),
            hashes,
            text_bytes: 0,
        }
    }

    pub(super) fn insert(&mut self, pattern: Pattern<'_>, value: T) {
        let nodes = &mut self.nodes;
        let mut at = *self.root.get_or_insert_with(|| NodeIx::of(nodes.insert(Node::new())));
        for segment in pattern.segments() {
            if segment == Segment::Rest {
                return self.lists.add(&mut self.nodes[at.key()].rest, value);
            }
            at = self.child(at, segment).unwrap_or_else(|| self.grow(at, segment));
        }
        self.lists.add(&mut self.nodes[at.key()].here, value);
    }

    /// Removes one occurrence; whether there was one.
    pub(super) fn remove(&mut self, pattern: Pattern<'_>, value: T) -> bool {
        let Some(root) = self.root else { return false };
        let is_removed = self.remove_below(root, pattern.segments(), value);
        if self.nodes[root.key()].is_bare() {
            self.nodes.remove(root.key());
            self.root = None;
            self.nodes.shrink_to_fit();
        }
        is_removed
    }

    /// Visits the values of all patterns that match, and says how many nodes it went through.
    pub(super) fn each_match(
        &self,
        topic: Topic<'_>,
        walk: &mut Walk,
        visit: &mut impl FnMut(T),
    ) -> usize {
        let Some(root) = self.root else { return 0 };
        walk.restart();
        self.arrive(root, false, walk, visit);
        let mut steps_count = 1;
        let mut words = topic.segments().peekable();
        while let Some(word) = words.next() {
            let is_last = words.peek().is_none();
            walk.advance();
            // Those that come to stay with this segment are not left with it.
            let staying_count = walk.staying.len();
            steps_count += walk.passing.len() + staying_count;
            for nth in 0..walk.passing.len() {
                self.step(walk.passing[nth], word, is_last, walk, visit);
            }
            for nth in 0..staying_count {
                self.step(walk.staying[nth], word, is_last, walk, visit);
            }
        }
        for at in walk.next.iter().chain(&walk.staying) {
            for &value in self.lists.values(&self.nodes[at.key()].here) {
                visit(value);
            }
        }
        steps_count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn values(&self, pattern: Pattern<'_>) -> &[T] {
        let Some(mut at) = self.root else { return &[] };
        for segment in pattern.segments() {
            if segment == Segment::Rest {
                return self.lists.values(&self.nodes[at.key()].rest);
            }
            let Some(child) = self.child(at, segment) else { return &[] };
            at = child;
        }
        self.lists.values(&self.nodes[at.key()].here)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<T>>()
            + self.edges.heap_bytes()
            + self.lists.heap_bytes()
            + self.text_bytes
    }

    /// Leaves `at` with `word`.
    fn step(
        &self,
        at: NodeIx,
        word: &str,
        is_last: bool,
        walk: &mut Walk,
        visit: &mut impl FnMut(T),
    ) {
        let node = &self.nodes[at.key()];
        if let Some(child) = node.one {
            self.arrive(child, is_last, walk, visit);
        }
        if 0 < node.words_count
            && let Some(child) = self.child(at, Segment::Word(word))
        {
            self.arrive(child, is_last, walk, visit);
        }
    }

    /// Puts `at` into the set, with all that is reached from it by `#` matching nothing.
    fn arrive(&self, mut at: NodeIx, is_last: bool, walk: &mut Walk, visit: &mut impl FnMut(T)) {
        walk.next.push(at);
        loop {
            let node = &self.nodes[at.key()];
            if node.any.is_none() && node.rest.is_empty() || !walk.mark(at) {
                return;
            }
            if !is_last {
                for &value in self.lists.values(&node.rest) {
                    visit(value);
                }
            }
            let Some(any) = node.any else { return };
            walk.staying.push(any);
            at = any;
        }
    }

    fn child(&self, at: NodeIx, segment: Segment<'_>) -> Option<NodeIx> {
        let node = &self.nodes[at.key()];
        match segment {
            Segment::One => node.one,
            Segment::Any => node.any,
            Segment::Rest => None,
            Segment::Word(word) => {
                let word = word.as_bytes();
                let hash = edge_hash(&self.hashes, at, word);
                self.edges.find(hash, |edge| edge.is(at, word)).map(|edge| edge.child)
            }
        }
    }

    /// Gives `at` the child it lacks.
    fn grow(&mut self, at: NodeIx, segment: Segment<'_>) -> NodeIx {
        let child = NodeIx::of(self.nodes.insert(Node::new()));
        let node = &mut self.nodes[at.key()];
        match segment {
            Segment::One => node.one = Some(child),
            Segment::Any => node.any = Some(child),
            Segment::Rest => unreachable!("`>` ends a pattern at the node before it"),
            Segment::Word(word) => {
                node.words_count += 1;
                let edge = Edge { parent: at, child, word: Text::new(word.as_bytes()) };
                self.text_bytes += edge.word.heap_bytes();
                let hashes = &self.hashes;
                self.edges.insert(edge.hash(hashes), edge, |edge| edge.hash(hashes));
            }
        }
        child
    }

    /// Recursive, at most as deep as a pattern has segments.
    fn remove_below<'a>(
        &mut self,
        at: NodeIx,
        mut segments: impl Iterator<Item = Segment<'a>>,
        value: T,
    ) -> bool {
        let segment = match segments.next() {
            None => return self.lists.remove(&mut self.nodes[at.key()].here, value),
            Some(Segment::Rest) => {
                return self.lists.remove(&mut self.nodes[at.key()].rest, value);
            }
            Some(segment) => segment,
        };
        let Some(child) = self.child(at, segment) else { return false };
        let is_removed = self.remove_below(child, segments, value);
        if self.nodes[child.key()].is_bare() {
            self.prune(at, segment, child);
        }
        is_removed
    }

    fn prune(&mut self, at: NodeIx, segment: Segment<'_>, child: NodeIx) {
        self.nodes.remove(child.key());
        let node = &mut self.nodes[at.key()];
        match segment {
            Segment::One => node.one = None,
            Segment::Any => node.any = None,
            Segment::Rest => unreachable!("`>` has no node of its own"),
            Segment::Word(word) => {
                node.words_count -= 1;
                let (hashes, word) = (&self.hashes, word.as_bytes());
                let hash = edge_hash(hashes, at, word);
                self.edges
                    .remove(hash, |edge| edge.is(at, word), |edge| edge.hash(hashes))
                    .inspect(|edge| self.text_bytes -= edge.word.heap_bytes())
                    .expect("a child was found behind this word");
            }
        }
    }
}

impl<T> Node<T> {
    fn new() -> Self {
        let (here, rest) = (Posting::Empty, Posting::Empty);
        Self { here, rest, one: None, any: None, words_count: 0 }
    }

    /// No pattern ends at or below it.
    fn is_bare(&self) -> bool {
        self.here.is_empty()
            && self.rest.is_empty()
            && self.one.is_none()
            && self.any.is_none()
            && self.words_count == 0
    }
}

impl Edge {
    fn is(&self, parent: NodeIx, word: &[u8]) -> bool {
        self.parent == parent && self.word.as_bytes() == word
    }

    fn hash(&self, hashes: &RandomState) -> u64 {
        edge_hash(hashes, self.parent, self.word.as_bytes())
    }
}

fn edge_hash(hashes: &RandomState, parent: NodeIx, word: &[u8]) -> u64 {
    hashes.hash_one((parent, word))
}

impl Walk {
    fn restart(&mut self) {
        self.number += 1;
        self.passing.clear();
        self.next.clear();
        self.staying.clear();
    }

    fn advance(&mut self) {
        core::mem::swap(&mut self.passing, &mut self.next);
        self.next.clear();
    }

    /// Whether this walk is the first to be at `at`, from now on not.
    fn mark(&mut self, at: NodeIx) -> bool {
        let at = at.key();
        if self.marks.len() <= at {
            self.marks.resize(at + 1, 0);
        }
        core::mem::replace(&mut self.marks[at], self.number) != self.number
    }

    /// Gives back its room.
    pub(super) fn shrink(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let nodes_max = self.passing.capacity() + self.next.capacity() + self.staying.capacity();
        nodes_max * size_of::<NodeIx>() + self.marks.capacity() * size_of::<u64>()
    }
}

impl NodeIx {
    fn of(key: usize) -> Self {
        let number = u32::try_from(key + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("2^32 nodes are more than memory holds"))
    }

    fn key(self) -> usize {
        self.0.get() as usize - 1
    }
}
