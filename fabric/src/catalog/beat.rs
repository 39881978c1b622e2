//! Signs of life: what keeps a node's feeds believed.
//!
//! One beat is for both feeds of a life. It says nothing new about a feed that is not known here: who
//! hears it finds what it lacks by comparing.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::catalog::{Beat, FeedId, Head, Scope, life_mark};
use mpreg_proto::id::{NodeId, Version};
use mpreg_proto::limits::CATALOG_BEATS_MAX;

use super::{Catalog, Changed, Feed, Learned, Speaker, may_cross};
use crate::time::Instant;

/// What a beat amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub node: NodeId,
    /// For each feed of it that is known and that the speaker may tell of.
    pub learned: Vec<(FeedId, Learned)>,
}

impl Catalog {
    /// Counts one more sign of life of my own. Whether there is anything to keep alive.
    pub fn beat(&mut self) -> bool {
        self.beats += 1;
        let beats = self.beats;
        !self.my_feeds(|feed| feed.beat = beats).is_empty()
    }

    /// The last sign of life of a node, while it is believed.
    pub fn last_beat(&self, node: NodeId, now: Instant) -> Option<Beat> {
        let live = self.feeds_of(node).filter(|(_, feed)| feed.log().is_some());
        let (_, feed) = live.max_by_key(|(_, feed)| (feed.beat, feed.until))?;
        let (life, number) = (life_mark(node, feed.incarnation), feed.beat);
        let ttl_ms = self.ttl_ms(feed, now);
        (0 < ttl_ms).then_some(Beat { life, number, ttl_ms })
    }

    /// Nodes whose beats `peer` may be told.
    pub fn beats_for(&self, peer: Speaker) -> Vec<NodeId> {
        let live = self.feeds.iter().filter(|(_, feed)| feed.log().is_some());
        let mut nodes: Vec<NodeId> =
            live.filter(|(id, _)| self.is_for(**id, peer)).map(|(id, _)| id.node).collect();
        nodes.dedup();
        nodes.retain(|node| *node != peer.node);
        nodes
    }

    pub fn is_beat_for(&self, node: NodeId, peer: Speaker) -> bool {
        node != peer.node
            && self.feeds_of(node).any(|(id, feed)| feed.log().is_some() && self.is_for(id, peer))
    }

    /// Nodes of my cluster but me, as far as they offer anything.
    pub fn mates(&self) -> impl Iterator<Item = NodeId> {
        let own = self.cluster();
        let mates = self.feeds.iter().filter(move |(id, feed)| {
            feed.cluster == own && feed.log().is_some() && id.node != self.me
        });
        mates.map(|(id, _)| id.node)
    }

    /// `None`: no such life is known, or it is my own.
    pub fn learn_beat(
        &mut self,
        beat: &Beat,
        from: Speaker,
        now: Instant,
        out: &mut Vec<Changed>,
    ) -> Option<Heard> {
        let node = *self.lives.get(&beat.life)?;
        let own = self.cluster();
        let heads: Vec<Head> = self
            .feeds_of(node)
            .filter(|(_, feed)| life_mark(node, feed.incarnation) == beat.life)
            .filter(|(id, feed)| {
                may_cross(feed.cluster, id.scope, from.cluster, own, &self.federation)
            })
            .map(|(id, feed)| {
                let sequence = feed.log().map_or(0, super::Log::sequence);
                let version = Version { incarnation: feed.incarnation, sequence };
                let (cluster, Beat { number, ttl_ms, .. }) = (feed.cluster, *beat);
                Head { feed: id, cluster, version, beat: number, ttl_ms }
            })
            .collect();
        let learned = heads.iter().map(|head| (head.feed, self.learn(head, from, now, out)));
        let learned: Vec<_> = learned.collect();
        (node != self.me && !learned.is_empty()).then_some(Heard { node, learned })
    }

    /// Lives whose lease is more than half gone: a beat of them was lost.
    pub fn doubtful(&self, now: Instant) -> Vec<u64> {
        let soon = now + self.lifetimes.lease / 2;
        let ends = self.ends.iter().take_while(|end| end.at < soon);
        let live = ends.filter_map(|end| {
            let feed = self.feeds.get(&end.feed).filter(|feed| feed.log().is_some())?;
            Some(life_mark(end.feed.node, feed.incarnation))
        });
        let lives: BTreeSet<u64> = live.take(CATALOG_BEATS_MAX).collect();
        lives.into_iter().collect()
    }

    /// The node of a life, if I have heard of it lately and may tell `peer`.
    pub fn believed(&self, life: u64, peer: Speaker, now: Instant) -> Option<NodeId> {
        let node = *self.lives.get(&life)?;
        let beat = self.last_beat(node, now).filter(|beat| beat.life == life)?;
        let is_late = self.lifetimes.lease / 2 < Duration::from_millis(beat.ttl_ms.into());
        (is_late && self.is_beat_for(node, peer)).then_some(node)
    }

    fn feeds_of(&self, node: NodeId) -> impl Iterator<Item = (FeedId, &Feed)> {
        let ids = [Scope::Cluster, Scope::Fabric].map(|scope| FeedId { node, scope });
        ids.into_iter().filter_map(|id| Some((id, self.feeds.get(&id)?)))
    }

    /// Remembers which node a life is of.
    pub(super) fn name_life(&mut self, id: FeedId) {
        if let Some(feed) = self.feeds.get(&id) {
            self.lives.insert(life_mark(id.node, feed.incarnation), id.node);
        }
    }

    /// Forgets lives that no feed is of any more.
    pub(super) fn purge_lives(&mut self) {
        let Self { lives, feeds, .. } = self;
        lives.retain(|&life, &mut node| {
            let ids = [Scope::Cluster, Scope::Fabric].map(|scope| FeedId { node, scope });
            let feeds = ids.iter().filter_map(|id| feeds.get(id));
            let is_its = |feed: &Feed| life_mark(node, feed.incarnation) == life;
            feeds.into_iter().any(is_its)
        });
    }

    pub(super) fn ttl_ms(&self, feed: &Feed, now: Instant) -> u32 {
        let left = match feed.until {
            Instant::NEVER => self.lifetimes.lease,
            until => until.since(now),
        };
        u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
    }
}
