//! Frames of peers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mpreg_proto::catalog::{Change, Compare, FeedId, Head, Message, Need, News, Told};
use mpreg_proto::id::NodeId;

use super::digest::bucket_of;
use super::link::Queued;
use super::{Effect, Fact, Gossip, Lane, Rumor};
use crate::catalog::{Learned, Since, Speaker};
use crate::limits::GOSSIP_PATIENCE;
use crate::time::Instant;

impl Gossip {
    pub(super) fn received(
        &mut self,
        from: NodeId,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let Some(link) = self.links.get(&from) else {
            out.push(Effect::Fact(Fact::Unlinked { from }));
            return;
        };
        let peer = link.peer;
        match Message::parse(bytes) {
            Ok(Message::Beats(groups)) => self.beats_heard(peer, &groups, now, out),
            Ok(Message::Doubts(lives)) => self.doubted(peer, &lives, now),
            Ok(Message::Digest(digest)) => self.digested(peer, digest, now, out),
            Ok(Message::Differs) => self.send_summary(peer, now, out),
            Ok(Message::Summary(summary)) => self.compare(peer, &summary, now, out),
            Ok(Message::Compare(compare)) => self.compared(peer, compare, now, out),
            Ok(Message::Heads(heads)) => {
                heads.into_iter().for_each(|news| self.head(peer, &news, now, out));
            }
            Ok(Message::Want(needs)) => {
                needs.into_iter().for_each(|need| self.wanted(peer, need, now));
            }
            Ok(Message::Delta(changes)) => {
                changes.iter().for_each(|change| self.change(peer, change, now, out));
            }
            Err(code) => out.push(Effect::Fact(Fact::Unreadable { from, code })),
        }
    }

    fn head(&mut self, peer: Speaker, news: &News, now: Instant, out: &mut Vec<Effect>) {
        let learned = self.catalog.learn(&news.head, peer, now, &mut self.changed);
        if learned == Learned::Beat {
            out.push(Effect::Fact(Fact::Learned { from: peer.node }));
            let nobody = Told::Marks(Vec::new());
            return self.spread_beat(news.head.feed.node, Some(peer), &nobody, now);
        }
        self.learned(peer, news, learned, now, out);
    }

    fn change(&mut self, peer: Speaker, change: &Change, now: Instant, out: &mut Vec<Effect>) {
        let feed = change.news.head.feed;
        let was_asked = self.asked.get(&feed).is_some_and(|asked| asked.from == peer.node);
        let is_last = change.upto == change.news.head.version.sequence;
        let learned = self.catalog.apply(change, peer, now, &mut self.changed);
        if let Some(asked) = self.asked.get_mut(&feed).filter(|_| was_asked) {
            asked.until = now + GOSSIP_PATIENCE;
        }
        let is_news = matches!(learned, Learned::News { .. });
        // Others are not sent what I had to ask for, only told: perhaps nobody else lacked it.
        let learned = match was_asked && is_news {
            true if is_last => Learned::Beat,
            true => Learned::Partly,
            false => learned,
        };
        self.learned(peer, &change.news, learned, now, out);
        if is_last && (is_news || matches!(learned, Learned::Old | Learned::Beat)) {
            self.answered(feed);
        }
    }

    fn learned(
        &mut self,
        peer: Speaker,
        news: &News,
        learned: Learned,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let (feed, from) = (news.head.feed, peer.node);
        let rumor = |since, lane| Rumor { feed, since, lane, from: Some(from), told: &news.told };
        match learned {
            Learned::Old => return out.push(Effect::Fact(Fact::Duplicate { from })),
            Learned::Refused(why) => return out.push(Effect::Fact(Fact::Refused { from, why })),
            Learned::Outlived(incarnation) => return out.push(Effect::Outlived { incarnation }),
            Learned::Behind(need) => return self.ask(need, from, now),
            Learned::Partly => (),
            Learned::Beat => self.spread(rumor(None, Lane::News), now),
            Learned::Ended => self.spread(rumor(None, Lane::Departure), now),
            Learned::News { after } => {
                self.spread(rumor(Some(Since::Known(after)), Lane::News), now);
            }
        }
        out.push(Effect::Fact(Fact::Learned { from }));
    }

    /// The feed is known as far as whoever was asked knew it. Someone may know more.
    fn answered(&mut self, feed: FeedId) {
        let Some(then) = self.asked.remove(&feed).and_then(|asked| asked.then) else { return };
        if let Some(need) = self.catalog.need(feed)
            && self.links.contains_key(&then)
        {
            self.needs.entry(then).or_default().push(need);
        }
    }

    fn wanted(&mut self, peer: Speaker, need: Need, now: Instant) {
        if !self.catalog.is_for(need.feed, peer) {
            return;
        }
        let Some(since) = self.catalog.since(&need, now) else { return };
        let Some(link) = self.links.get_mut(&peer.node) else { return };
        if link.rests_until.is_none() {
            link.put(need.feed, Queued { since: Some(since), lane: Lane::Bulk, told: Vec::new() });
            self.plan_turn(now);
        }
    }

    /// A peer has these heads where our summaries differ: learn from them, and tell what is newer here.
    fn compared(&mut self, peer: Speaker, compare: Compare, now: Instant, out: &mut Vec<Effect>) {
        let theirs: BTreeMap<FeedId, Head> =
            compare.heads.iter().map(|head| (head.feed, *head)).collect();
        let count = usize::from(compare.buckets_count);
        let is_newer = |head: &Head| {
            compare.buckets.contains(&bucket_of(head.feed, count))
                && theirs
                    .get(&head.feed)
                    .is_none_or(|their| (their.version, their.beat) < (head.version, head.beat))
        };
        let newer = self.catalog.heads_for(peer, now).filter(is_newer);
        let newer: Vec<News> = newer.map(|head| News { head, told: Vec::new() }).collect();
        self.send_heads(peer, Lane::Bulk, newer, out);
        // A peer of another cluster lists what it has of what I may tell; not what it tells me.
        if peer.cluster == self.catalog.cluster() {
            for head in compare.heads {
                self.head(peer, &News { head, told: Vec::new() }, now, out);
            }
        }
    }
}
