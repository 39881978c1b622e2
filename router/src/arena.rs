//! Bytes copied once to be sent many times.
//!
//! Runs of frames go one behind the other into pages; what comes out is a counted reference into
//! the page, which any core may hold and drop. Receive buffers so go back to the kernel at once,
//! whoever still has to be sent what was in them.

use bytes::{Bytes, BytesMut};

use crate::limits::ARENA_PAGE_BYTES;

#[derive(Debug, Default)]
pub struct Arena {
    page: BytesMut,
    draft: Vec<u8>,
}

impl Arena {
    /// A lasting copy of `bytes`.
    pub fn share(&mut self, bytes: &[u8]) -> Bytes {
        if ARENA_PAGE_BYTES < bytes.len() {
            return Bytes::copy_from_slice(bytes);
        }
        if self.page.capacity() < bytes.len() {
            self.page = BytesMut::with_capacity(ARENA_PAGE_BYTES);
        }
        self.page.extend_from_slice(bytes);
        self.page.split().freeze()
    }

    /// Lasting bytes that `write` appends.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut bytes = std::mem::take(&mut self.draft);
        write(&mut bytes);
        let shared = self.share(&bytes);
        bytes.clear();
        bytes.shrink_to(ARENA_PAGE_BYTES);
        self.draft = bytes;
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shared_stays_while_the_page_fills_and_turns() {
        let mut arena = Arena::default();
        let runs: Vec<Vec<u8>> = (0..200usize).map(|n| vec![n as u8; n * 37 % 9000]).collect();
        let shared: Vec<Bytes> = runs.iter().map(|run| arena.share(run)).collect();
        assert!(runs.iter().zip(&shared).all(|(run, shared)| run == shared));
        let long = vec![7; ARENA_PAGE_BYTES + 1];
        assert_eq!(arena.share(&long), long);
    }
}
