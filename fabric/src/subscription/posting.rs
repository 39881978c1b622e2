//! Posting lists: the values stored under one pattern.
//!
//! One value, the usual case, is kept in the entry itself. More are kept in a sorted list, so that
//! one of 100,000 is found by bisection.
//!
//! Invariants: a list holds at least two values, ascending; a posting of fewer has no list.

use alloc::vec;
use alloc::vec::Vec;
use core::slice;

use slab::Slab;

/// The values of one pattern.
#[derive(Clone, Copy)]
pub(super) enum Posting<T> {
    Empty,
    One(T),
    Many(ListIx),
}

/// A list in its `Lists`.
#[derive(Clone, Copy)]
pub(super) struct ListIx(u32);

const _: () = assert!(size_of::<Posting<u32>>() == 8);

/// The lists of all postings of one structure.
pub(super) struct Lists<T> {
    lists: Slab<Vec<T>>,
    /// Room in all lists together, used or not.
    values_max: usize,
}

impl ListIx {
    fn new(key: usize) -> Self {
        Self(u32::try_from(key).expect("2^32 lists are more than memory holds"))
    }

    fn key(self) -> usize {
        self.0 as usize
    }
}

impl<T> Posting<T> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl<T: Copy + Ord> Lists<T> {
    pub(super) fn new() -> Self {
        Self { lists: Slab::new(), values_max: 0 }
    }

    pub(super) fn values<'a>(&'a self, posting: &'a Posting<T>) -> &'a [T] {
        match posting {
            Posting::Empty => &[],
            Posting::One(value) => slice::from_ref(value),
            Posting::Many(list) => &self.lists[list.key()],
        }
    }

    pub(super) fn add(&mut self, posting: &mut Posting<T>, value: T) {
        match *posting {
            Posting::Empty => *posting = Posting::One(value),
            Posting::One(other) => {
                let list = vec![other.min(value), other.max(value)];
                self.values_max += list.capacity();
                *posting = Posting::Many(ListIx::new(self.lists.insert(list)));
            }
            Posting::Many(list) => {
                let list = &mut self.lists[list.key()];
                let room_before = list.capacity();
                list.insert(list.partition_point(|stored| *stored <= value), value);
                self.values_max += list.capacity() - room_before;
            }
        }
    }

    /// Removes one occurrence; whether there was one.
    pub(super) fn remove(&mut self, posting: &mut Posting<T>, value: T) -> bool {
        match *posting {
            Posting::Empty => false,
            Posting::One(stored) => {
                let is_stored = stored == value;
                if is_stored {
                    *posting = Posting::Empty;
                }
                is_stored
            }
            Posting::Many(list_ix) => {
                let list = &mut self.lists[list_ix.key()];
                let Ok(at) = list.binary_search(&value) else { return false };
                let room_before = list.capacity();
                list.remove(at);
                if list.len() < room_before / 4 {
                    list.shrink_to(room_before / 2);
                }
                self.values_max -= room_before - list.capacity();
                if let [last] = list[..] {
                    *posting = Posting::One(last);
                    self.drop_list(list_ix);
                }
                true
            }
        }
    }

    fn drop_list(&mut self, list: ListIx) {
        self.values_max -= self.lists.remove(list.key()).capacity();
        if self.lists.is_empty() {
            self.lists.shrink_to_fit();
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.lists.capacity() * size_of::<Vec<T>>() + self.values_max * size_of::<T>()
    }
}
