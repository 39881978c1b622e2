//! Comparing two catalogs by few numbers.
//!
//! Feeds fall into buckets by their names. A bucket's number is made of the heads in it; where the
//! numbers of two nodes differ, they tell each other the heads.

use alloc::vec::Vec;

use mpreg_proto::catalog::{Compare, FeedId, Head, Message, Summary, mix};
use mpreg_proto::id::Version;
use mpreg_proto::limits::{CATALOG_BUCKETS_MAX, CATALOG_HEADS_MAX};

use super::{Effect, Gossip, Lane};
use crate::catalog::Speaker;
use crate::time::Instant;

/// Feeds in a bucket, on average: what must be told for one that differs.
const FEEDS_PER_BUCKET: usize = 4;

impl Gossip {
    /// Asks a peer whether it has all that I may tell it, in one number.
    pub(super) fn send_digest(&self, peer: Speaker, now: Instant, out: &mut Vec<Effect>) {
        let own = self.catalog.cluster();
        // That a feed of ours is over, a mate does not hold against me: see `Catalog::heads_from`.
        let is_end = |head: &Head| peer.cluster == own && head.cluster == own && head.is_over();
        let heads = self.catalog.heads_for(peer, now).filter(|head| !is_end(head));
        let digest = summarise(heads, 1)[0];
        self.send(peer.node, Lane::Bulk, &Message::Digest(digest), out);
    }

    pub(super) fn digested(
        &mut self,
        peer: Speaker,
        digest: u64,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let is_same = summarise(self.catalog.heads_from(peer, now), 1)[0] == digest;
        self.compared_with(peer.node, is_same, out);
        if !is_same {
            self.send(peer.node, Lane::Bulk, &Message::Differs, out);
        }
    }

    pub(super) fn send_summary(&self, peer: Speaker, now: Instant, out: &mut Vec<Effect>) {
        let heads: Vec<Head> = self.catalog.heads_for(peer, now).collect();
        let count = (heads.len() / FEEDS_PER_BUCKET).next_power_of_two().min(CATALOG_BUCKETS_MAX);
        let buckets = summarise(heads, count);
        self.send(peer.node, Lane::Bulk, &Message::Summary(Summary { buckets }), out);
    }

    /// Answers a summary, if mine would be another.
    pub(super) fn compare(
        &self,
        peer: Speaker,
        summary: &Summary,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let count = summary.buckets.len();
        let heads: Vec<Head> = self.catalog.heads_from(peer, now).collect();
        let mine = summarise(heads.iter().copied(), count);
        let pairs = mine.iter().zip(&summary.buckets).enumerate();
        let buckets: Vec<u16> = pairs
            .filter(|(_, (mine, theirs))| mine != theirs)
            .filter_map(|(bucket, _)| u16::try_from(bucket).ok())
            .collect();
        if buckets.is_empty() {
            return;
        }
        let is_in = |head: &Head| buckets.contains(&bucket_of(head.feed, count));
        // Those left out, the peer tells me of, and I know them.
        let heads = heads.into_iter().filter(is_in).take(CATALOG_HEADS_MAX).collect();
        let buckets_count = u16::try_from(count).expect("a summary has at most 256 buckets");
        let compare = Compare { buckets_count, buckets, heads };
        self.send(peer.node, Lane::Bulk, &Message::Compare(compare), out);
    }
}

pub(super) fn bucket_of(feed: FeedId, count: usize) -> u16 {
    (number_of(feed) as usize & (count - 1)) as u16
}

fn summarise(heads: impl IntoIterator<Item = Head>, count: usize) -> Vec<u64> {
    let mut buckets = alloc::vec![0; count];
    for head in heads {
        // Not the beat: who has the newest changes all the time, and the next one comes anyway.
        let Version { incarnation, sequence } = head.version;
        let parts = [incarnation.0, sequence];
        let number = parts.into_iter().fold(number_of(head.feed), |sum, part| mix(sum ^ part));
        buckets[usize::from(bucket_of(head.feed, count))] ^= number;
    }
    buckets
}

fn number_of(feed: FeedId) -> u64 {
    let node = feed.node.0;
    mix(node as u64 ^ mix((node >> 64) as u64 ^ u64::from(feed.scope as u8)))
}
