//! What I offer.

use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::catalog::{FeedId, Scope};
use mpreg_proto::id::Incarnation;
use mpreg_proto::limits::{CATALOG_BODY_BYTES_MAX, CATALOG_NAME_BYTES_MAX};

use super::log::{Edit, Log};
use super::{Catalog, Changed, Feed, Key, Refusal, State};
use crate::time::Instant;

impl Catalog {
    /// Sets (`Some`) or clears (`None`) an entry of my own. Says after which sequence others lack it,
    /// or `None` if it was so already.
    pub fn write(
        &mut self,
        scope: Scope,
        key: Key,
        body: Option<Bytes>,
        now: Instant,
        out: &mut Vec<Changed>,
    ) -> Result<Option<u64>, Refusal> {
        let id = FeedId { node: self.me, scope };
        if self.has_left {
            return Err(Refusal::Departed);
        }
        if CATALOG_NAME_BYTES_MAX < key.name.len()
            || body.as_ref().is_some_and(|body| CATALOG_BODY_BYTES_MAX < body.len())
        {
            return Err(Refusal::TooLong);
        }
        let old = self.feeds.get(&id).and_then(Feed::log).and_then(|log| log.body(&key));
        if old == body.as_ref() {
            return Ok(None);
        }
        if body.is_some() && old.is_none() && self.room(id, self.cluster()) == 0 {
            return Err(Refusal::Entries);
        }
        if !self.feeds.contains_key(&id) {
            let state = State::Live(Log::default());
            let (cluster, incarnation) = (self.cluster(), self.incarnation);
            self.insert(
                id,
                Feed { cluster, incarnation, beat: self.beats, until: Instant::NEVER, state },
            );
        }
        let feed = self.feeds.get_mut(&id).expect("it was there or was just inserted");
        let State::Live(log) = &mut feed.state else { unreachable!("my feeds live until I leave") };
        let (before, after) = (log.len(), log.sequence());
        log.write(key.clone(), body.clone(), now);
        let len = log.len();
        self.recount(self.cluster(), before, len);
        self.edits.push(Edit { key, body });
        self.show_edits(id, self.cluster(), out);
        Ok(Some(after))
    }

    /// I am someone new: all I offer is offered anew. The feeds to tell.
    pub fn renew(&mut self, incarnation: Incarnation) -> Vec<FeedId> {
        if incarnation <= self.incarnation {
            return Vec::new();
        }
        self.incarnation = incarnation;
        let mine = self.my_feeds(|feed| feed.incarnation = incarnation);
        mine.iter().for_each(|&id| self.name_life(id));
        mine
    }

    /// Takes back all I offer, for good. The feeds to tell.
    pub fn leave(&mut self, now: Instant, out: &mut Vec<Changed>) -> Vec<FeedId> {
        self.has_left = true;
        let mine = self.my_feeds(|_| ());
        let until = now + self.lifetimes.keep;
        mine.iter().for_each(|&id| self.end(id, self.incarnation, State::Over, until, out));
        mine
    }

    pub(super) fn my_feeds(&mut self, mut change: impl FnMut(&mut Feed)) -> Vec<FeedId> {
        let ids = [Scope::Cluster, Scope::Fabric].map(|scope| FeedId { node: self.me, scope });
        let mut mine = Vec::new();
        for id in ids {
            if let Some(feed) = self.feeds.get_mut(&id).filter(|feed| feed.log().is_some()) {
                change(feed);
                mine.push(id);
            }
        }
        mine
    }
}
