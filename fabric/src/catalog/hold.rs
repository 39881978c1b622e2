//! Feeds held: how many, with how much, and until when.
//!
//! Invariant: `ends` names each feed but mine once, at its `until`; the counts are those of `feeds`.

use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::catalog::FeedId;
use mpreg_proto::id::{ClusterId, Incarnation};

use super::log::{Edit, Log};
use super::{Catalog, Changed, Feed, Key, Refusal, State};
use crate::time::Instant;

/// When a feed's state ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) at: Instant,
    pub(super) feed: FeedId,
}

/// Numbers of things, those of other clusters counted a second time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) all: usize,
    pub(super) foreign: usize,
}

impl Catalog {
    /// When [`Catalog::expire`] next has something to do.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|end| end.at)
    }

    /// Lets leases end that were not renewed, and forgets what was remembered long enough. The feeds
    /// that lapsed.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Changed>) -> Vec<FeedId> {
        let mut lapsed = Vec::new();
        while let Some(&End { at, feed: id }) = self.ends.first()
            && at <= now
        {
            let feed = &self.feeds[&id];
            let incarnation = feed.incarnation;
            match feed.state {
                State::Live(_) => {
                    self.end(id, incarnation, State::Lapsed, now + self.lifetimes.keep, out);
                    lapsed.push(id);
                }
                State::Lapsed | State::Over => self.forget(id),
            }
        }
        lapsed
    }

    /// Forgets what was cleared long ago.
    pub fn purge(&mut self, now: Instant) {
        for feed in self.feeds.values_mut() {
            if let State::Live(log) = &mut feed.state {
                log.purge(self.lifetimes.keep, now);
            }
        }
        self.purge_lives();
    }

    /// Ends a feed that may be live, and remembers it as lapsed or over.
    pub(super) fn end(
        &mut self,
        id: FeedId,
        incarnation: Incarnation,
        state: State,
        until: Instant,
        out: &mut Vec<Changed>,
    ) {
        let feed = self.feeds.get_mut(&id).expect("only known feeds end");
        feed.incarnation = incarnation;
        let cluster = feed.cluster;
        if let State::Live(log) = core::mem::replace(&mut feed.state, state) {
            self.recount(cluster, log.len(), 0);
            let gone = |(key, _): (&Key, &Bytes)| Edit { key: key.clone(), body: None };
            self.edits.extend(log.entries().map(gone));
            self.show_edits(id, cluster, out);
        }
        self.extend(id, until);
        self.name_life(id);
    }

    pub(super) fn check_feeds(&self, cluster: ClusterId) -> Result<(), Refusal> {
        let is_foreign = cluster != self.cluster();
        let is_full = self.bounds.feeds_max <= self.feeds_count.all
            || is_foreign && self.bounds.foreign_feeds_max <= self.feeds_count.foreign;
        if is_full { Err(Refusal::Feeds) } else { Ok(()) }
    }

    /// Entries a feed may have more of.
    pub(super) fn room(&self, id: FeedId, cluster: ClusterId) -> usize {
        let held = self.feeds.get(&id).and_then(Feed::log).map_or(0, Log::len);
        let in_feed = self.bounds.feed_entries_max.saturating_sub(held);
        let in_all = self.bounds.entries_max.saturating_sub(self.entries_count.all);
        let in_foreign = match cluster == self.cluster() {
            true => usize::MAX,
            false => self.bounds.foreign_entries_max.saturating_sub(self.entries_count.foreign),
        };
        in_feed.min(in_all).min(in_foreign)
    }

    pub(super) fn recount(&mut self, cluster: ClusterId, before: usize, after: usize) {
        let is_foreign = cluster != self.cluster();
        self.entries_count.change(is_foreign, before, after);
    }

    pub(super) fn insert(&mut self, id: FeedId, feed: Feed) {
        self.feeds_count.change(feed.cluster != self.cluster(), 0, 1);
        self.ends
            .extend((feed.until != Instant::NEVER).then_some(End { at: feed.until, feed: id }));
        self.feeds.insert(id, feed);
        self.name_life(id);
    }

    pub(super) fn forget(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.remove(&id) else { return };
        self.ends.remove(&End { at: feed.until, feed: id });
        self.feeds_count.change(feed.cluster != self.cluster(), 1, 0);
    }

    pub(super) fn extend(&mut self, id: FeedId, until: Instant) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        self.ends.remove(&End { at: feed.until, feed: id });
        feed.until = until;
        self.ends.insert(End { at: until, feed: id });
    }

    pub(super) fn show_edits(&mut self, feed: FeedId, cluster: ClusterId, out: &mut Vec<Changed>) {
        for Edit { key, body } in core::mem::take(&mut self.edits) {
            if self.shows(cluster, &key) {
                out.push(Changed { feed, cluster, key, body });
            }
        }
    }
}

impl Tally {
    fn change(&mut self, is_foreign: bool, before: usize, after: usize) {
        self.all = self.all + after - before;
        if is_foreign {
            self.foreign = self.foreign + after - before;
        }
    }
}
