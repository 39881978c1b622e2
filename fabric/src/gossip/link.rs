//! What is queued for each link, and turns of sending it.
//!
//! A queue says of which feeds to tell and since when; what is told is read from the catalog when
//! its turn comes. Ends go first, then news, then wholes, these by at most [`GOSSIP_TURN_BYTES`] a
//! turn.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use mpreg_proto::catalog::{Change, FeedId, Message, News};
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::{CATALOG_FRAME_BYTES, CATALOG_HEADS_MAX};

use super::beat::Others;
use super::{Effect, Gossip, Lane};
use crate::catalog::{Since, Speaker};
use crate::limits::{GOSSIP_PACE, GOSSIP_TURN_BYTES};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Speaker,
    pub(super) queue: BTreeMap<FeedId, Queued>,
    /// Nodes to say of that they live.
    pub(super) beats: BTreeMap<NodeId, Others>,
    /// It refused a frame: nothing is sent until then.
    pub(super) rests_until: Option<Instant>,
    /// Its last digest was another than mine.
    pub(super) differs: bool,
}

/// One feed to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    /// None: that its owner lives, or that it is over.
    pub(super) since: Option<Since>,
    pub(super) lane: Lane,
    /// Who else is told.
    pub(super) told: Vec<u32>,
}

impl Link {
    pub(super) fn new(peer: Speaker) -> Self {
        let (queue, beats) = (BTreeMap::new(), BTreeMap::new());
        Self { peer, queue, beats, rests_until: None, differs: false }
    }

    /// Joins what is queued of this feed already: since the earlier of both, and as told only who is
    /// told of both.
    pub(super) fn put(&mut self, feed: FeedId, more: Queued) {
        let queued = match self.queue.entry(feed) {
            Entry::Vacant(entry) => {
                entry.insert(more);
                return;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        queued.told.retain(|mark| more.told.contains(mark));
        let is_earlier = match (more.since, queued.since) {
            (Some(more), Some(queued)) => more.sequence() < queued.sequence(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            queued.since = more.since;
        }
        if is_earlier || more.lane == Lane::Departure {
            queued.lane = more.lane;
        }
    }
}

/// Frames being filled for one link.
struct Frames<'a> {
    to: Speaker,
    lane: Lane,
    heads: Vec<News>,
    changes: Vec<Change>,
    bytes: usize,
    /// Of all frames of this turn.
    sent_bytes: usize,
    gossip: &'a Gossip,
}

impl Gossip {
    /// Sends what is queued, if it is time.
    pub(super) fn take_turn(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.turn_at.is_none_or(|at| now < at) {
            return;
        }
        (self.turn_at, self.turned_at) = (None, Some(now));
        let waiting = self.links.values_mut().filter(|link| !link.queue.is_empty());
        let queues: Vec<_> =
            waiting.map(|link| (link.peer, core::mem::take(&mut link.queue))).collect();
        for (peer, queue) in queues {
            let rest = self.send_queue(peer, queue, now, out);
            if let Some(link) = self.links.get_mut(&peer.node)
                && !rest.is_empty()
            {
                link.queue = rest;
                self.turn_at = Some(now + GOSSIP_PACE);
            }
        }
    }

    /// What did not fit this turn.
    fn send_queue(
        &self,
        to: Speaker,
        mut queue: BTreeMap<FeedId, Queued>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> BTreeMap<FeedId, Queued> {
        let (heads, changes) = (Vec::new(), Vec::new());
        let lane = Lane::Departure;
        let mut frames = Frames { to, lane, heads, changes, bytes: 0, sent_bytes: 0, gossip: self };
        let mut rest = BTreeMap::new();
        for lane in [Lane::Departure, Lane::News, Lane::Bulk] {
            frames.lane = lane;
            for (feed, queued) in queue.extract_if(.., |_, queued| queued.lane == lane) {
                if let Some(later) = frames.tell(feed, queued, now, out) {
                    rest.insert(feed, later);
                }
            }
            frames.close(out);
        }
        rest
    }

    pub(super) fn send_heads(
        &self,
        to: Speaker,
        lane: Lane,
        heads: impl IntoIterator<Item = News>,
        out: &mut Vec<Effect>,
    ) {
        let changes = Vec::new();
        let mut frames =
            Frames { to, lane, heads: Vec::new(), changes, bytes: 0, sent_bytes: 0, gossip: self };
        for news in heads {
            frames.head(news, out);
        }
        frames.close(out);
    }
}

impl Frames<'_> {
    /// Tells of one feed; what is left of it for a later turn.
    fn tell(
        &mut self,
        feed: FeedId,
        queued: Queued,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Option<Queued> {
        let catalog = &self.gossip.catalog;
        // Queued and since withdrawn, or lapsed.
        let head = catalog.head(feed, now).filter(|_| catalog.is_for(feed, self.to))?;
        let Some(mut since) = queued.since.filter(|_| !head.is_over()) else {
            self.head(News { head, told: queued.told }, out);
            return None;
        };
        loop {
            if self.lane == Lane::Bulk && GOSSIP_TURN_BYTES <= self.sent_bytes {
                return Some(Queued { since: Some(since), ..queued });
            }
            let mut change = catalog.change(feed, since, now)?;
            change.news.told.clone_from(&queued.told);
            let (is_last, upto) = (change.upto == head.version.sequence, change.upto);
            let is_whole = change.after == 0 || matches!(since, Since::Whole(_));
            self.change(change, out);
            if is_last {
                return None;
            }
            since = if is_whole { Since::Whole(upto) } else { Since::Known(upto) };
            if self.lane < Lane::Bulk {
                // The rest of much news is as good as a whole.
                return Some(Queued { since: Some(since), lane: Lane::Bulk, ..queued });
            }
        }
    }

    fn head(&mut self, news: News, out: &mut Vec<Effect>) {
        self.bytes += HEAD_BYTES + 4 * news.told.len();
        self.heads.push(news);
        self.close_if_full(out);
    }

    fn change(&mut self, change: Change, out: &mut Vec<Effect>) {
        let records = change.records.iter();
        let records_bytes: usize = records
            .map(|record| 40 + record.name.len() + record.body.as_ref().map_or(0, Vec::len))
            .sum();
        let bytes = HEAD_BYTES + 4 * change.news.told.len() + records_bytes;
        if CATALOG_FRAME_BYTES < self.bytes + bytes {
            self.close(out);
        }
        self.bytes += bytes;
        self.changes.push(change);
        self.close_if_full(out);
    }

    fn close_if_full(&mut self, out: &mut Vec<Effect>) {
        let count = self.heads.len().max(self.changes.len());
        if CATALOG_FRAME_BYTES <= self.bytes || count == CATALOG_HEADS_MAX {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Vec<Effect>) {
        self.sent_bytes += core::mem::take(&mut self.bytes);
        let (heads, changes) =
            (core::mem::take(&mut self.heads), core::mem::take(&mut self.changes));
        if !changes.is_empty() {
            self.gossip.send(self.to.node, self.lane, &Message::Delta(changes), out);
        }
        if !heads.is_empty() {
            self.gossip.send(self.to.node, self.lane, &Message::Heads(heads), out);
        }
    }
}

/// A head or a change in a frame, without its lists: more than either takes.
const HEAD_BYTES: usize = 120;
