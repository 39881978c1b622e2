//! Pages that received bytes are copied into once and sent from many times.
//!
//! Invariants:
//! - A page is written from front to back and never where a [`Segment`] lies.
//! - A page is begun anew only when no segment of it is left.
//! - Bytes are in `Cell`s, so the writer and the kernel, which reads segments, never hold
//!   references that exclude each other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes of a page: eight full receive buffers.
const PAGE_BYTES: usize = 256 * 1024;

/// Old pages looked at before a new one is made. One that a stalled reader holds is passed over.
const LOOKS_MAX: usize = 4;

pub(super) struct Page(Box<[Cell<u8>]>);

/// Bytes of a page that wait to be sent.
pub(super) struct Segment {
    page: Rc<Page>,
    start: usize,
    bytes: usize,
}

/// Where a run of received bytes was put.
pub(super) struct Place {
    page: Rc<Page>,
    start: usize,
}

pub(super) struct Arena {
    page: Rc<Page>,
    used: usize,
    /// Pages that were full once, oldest first.
    full: VecDeque<Rc<Page>>,
}

impl Page {
    fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self(vec![Cell::new(0); bytes].into_boxed_slice()))
    }
}

impl Arena {
    pub(super) fn new() -> Self {
        Self { page: Page::new(PAGE_BYTES), used: 0, full: VecDeque::new() }
    }

    /// Copies `bytes` in, all in one page.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Place {
        if PAGE_BYTES < bytes.len() {
            let page = Page::new(bytes.len());
            fill(&page.0, bytes);
            return Place { page, start: 0 };
        }
        if PAGE_BYTES - self.used < bytes.len() {
            let fresh = self.unused_page();
            self.full.push_back(std::mem::replace(&mut self.page, fresh));
            self.used = 0;
        }
        let start = self.used;
        self.used += bytes.len();
        fill(&self.page.0[start..self.used], bytes);
        Place { page: Rc::clone(&self.page), start }
    }

    fn unused_page(&mut self) -> Rc<Page> {
        for _ in 0..LOOKS_MAX.min(self.full.len()) {
            let oldest = self.full.pop_front().expect("there are at least this many");
            if Rc::strong_count(&oldest) == 1 {
                return oldest;
            }
            self.full.push_back(oldest);
        }
        Page::new(PAGE_BYTES)
    }
}

fn fill(cells: &[Cell<u8>], bytes: &[u8]) {
    for (cell, &byte) in cells.iter().zip(bytes) {
        cell.set(byte);
    }
}

impl Place {
    /// Queues the `bytes` at `offset` of this place, merged with what is queued if they follow it.
    #[inline]
    pub(super) fn queue(&self, offset: usize, bytes: usize, queue: &mut Vec<Segment>) {
        let start = self.start + offset;
        if let Some(last) = queue.last_mut()
            && last.start + last.bytes == start
            && Rc::ptr_eq(&last.page, &self.page)
        {
            last.bytes += bytes;
            return;
        }
        queue.push(Segment { page: Rc::clone(&self.page), start, bytes });
    }
}

impl Segment {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the first `bytes`, which are sent.
    pub(super) fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes, "no more is sent than was given");
        self.start += bytes;
        self.bytes -= bytes;
    }

    /// Where the bytes are; readable for as long as the segment lives.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.page.0[self.start..self.start + self.bytes].as_ptr().cast()
    }
}
