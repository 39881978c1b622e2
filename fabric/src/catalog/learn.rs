//! What others say: heads and changes of feeds, and who is dead.
//!
//! Invariant: nothing is taken before [`Catalog::admit`] let it, and nothing about myself at all.

use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::catalog::{Change, FeedId, Head, Need, Scope};
use mpreg_proto::id::{Incarnation, NodeId, Version};

use super::log::{Applied, Lacking, Log};
use super::{Catalog, Changed, Feed, Learned, Lifetimes, Refusal, Speaker, State, may_cross};
use crate::time::Instant;

impl Catalog {
    /// What a head says, as `from` has it.
    pub fn learn(
        &mut self,
        head: &Head,
        from: Speaker,
        now: Instant,
        out: &mut Vec<Changed>,
    ) -> Learned {
        if let Err(refusal) = self.admit(head, from) {
            return Learned::Refused(refusal);
        }
        if head.feed.node == self.me {
            return self.learn_of_me(head);
        }
        let ttl = Duration::from_millis(head.ttl_ms.into());
        let need = |lacking| need(head.feed, head.version.incarnation, lacking);
        let nothing = need(Lacking::default());
        let own = self.cluster();
        let Lifetimes { lease, keep } = self.lifetimes;
        let until = now + ttl.min(if head.is_over() { keep } else { lease });
        let Some(feed) = self.feeds.get_mut(&head.feed) else {
            if head.is_over() {
                self.remember_over(head, until);
                return Learned::Ended;
            }
            return Learned::Behind(nothing);
        };
        if head.version.incarnation < feed.incarnation {
            return Learned::Old;
        }
        let is_same = head.version.incarnation == feed.incarnation;
        let is_own = head.cluster == own;
        if head.is_over() {
            // Of nodes of my cluster it is membership that says so, or the node itself.
            let is_hearsay = is_own && from.node != head.feed.node;
            let lives_on = is_same && !is_own && head.beat + BEATS_IN_FLIGHT < feed.beat;
            if is_hearsay || lives_on {
                return Learned::Old;
            }
            if is_same && matches!(feed.state, State::Over) {
                feed.beat = feed.beat.max(head.beat);
                return Learned::Old;
            }
            // Not of the last sign of life here: whoever passes this on would outbid the next one.
            feed.beat = head.beat;
            self.end(head.feed, head.version.incarnation, State::Over, until, out);
            return Learned::Ended;
        }
        match &feed.state {
            State::Over if is_same && (is_own || head.beat <= feed.beat + BEATS_IN_FLIGHT) => {
                Learned::Refused(Refusal::Departed)
            }
            State::Lapsed if is_same && head.beat <= feed.beat => Learned::Old,
            State::Live(log) if is_same => {
                let is_newer = feed.beat < head.beat;
                let (lacking, is_complete) = (log.lacking(), log.is_complete());
                if is_newer {
                    feed.beat = head.beat;
                    self.extend(head.feed, until);
                }
                match lacking.sequence < head.version.sequence {
                    true => Learned::Behind(need(lacking)),
                    false if is_newer && is_complete => Learned::Beat,
                    false => Learned::Old,
                }
            }
            State::Over | State::Lapsed | State::Live(_) => Learned::Behind(nothing),
        }
    }

    /// Takes the records of a change, if they are what follows.
    pub fn apply(
        &mut self,
        change: &Change,
        from: Speaker,
        now: Instant,
        out: &mut Vec<Changed>,
    ) -> Learned {
        let head = &change.news.head;
        let learned = self.learn(head, from, now, out);
        // Anything else needs no records, or may not have them.
        let Learned::Behind(lacked) = learned else { return learned };
        let is_current =
            |feed: &Feed| feed.incarnation == head.version.incarnation && feed.log().is_some();
        if !self.feeds.get(&head.feed).is_some_and(is_current) {
            if change.after != 0 {
                return Learned::Behind(lacked);
            }
            if let Err(refusal) = self.open(head, now) {
                return Learned::Refused(refusal);
            }
        }
        let room = self.room(head.feed, head.cluster);
        let feed = self.feeds.get_mut(&head.feed).expect("it was current or was just opened");
        let State::Live(log) = &mut feed.state else { unreachable!("a current feed has a log") };
        let before = log.len();
        let applied = log.apply(change, room, now, &mut self.edits);
        let after = log.len();
        self.recount(head.cluster, before, after);
        self.show_edits(head.feed, head.cluster, out);
        match applied {
            Ok(Applied::Known) => Learned::Old,
            Ok(Applied::Behind(lacking)) => {
                Learned::Behind(need(head.feed, head.version.incarnation, lacking))
            }
            Ok(Applied::Partly) => Learned::Partly,
            Ok(Applied::Wholly { after }) => Learned::News { after },
            Err(refusal) => Learned::Refused(refusal),
        }
    }

    /// Membership declared a node of my cluster dead. The feeds to tell others of.
    pub fn dead(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        now: Instant,
        out: &mut Vec<Changed>,
    ) -> Vec<FeedId> {
        let mut ended = Vec::new();
        let until = now + self.lifetimes.keep;
        for scope in [Scope::Cluster, Scope::Fabric] {
            let id = FeedId { node, scope };
            match self.feeds.get(&id) {
                _ if node == self.me => (),
                Some(feed) if incarnation < feed.incarnation => (),
                Some(Feed { state: State::Over, .. }) => (),
                Some(feed) => {
                    ended.extend(feed.log().map(|_| id));
                    self.end(id, incarnation, State::Over, until, out);
                }
                None => {
                    let version = Version { incarnation, sequence: Head::OVER };
                    let (cluster, beat, ttl_ms) = (self.cluster(), 0, 0);
                    self.remember_over(&Head { feed: id, cluster, version, beat, ttl_ms }, until);
                }
            }
        }
        ended
    }

    fn learn_of_me(&self, head: &Head) -> Learned {
        let said = head.version;
        let known = self.feeds.get(&head.feed).and_then(Feed::log).map_or(0, Log::sequence);
        let is_news = self.incarnation < said.incarnation
            || self.incarnation == said.incarnation && known < said.sequence;
        if is_news && !self.has_left { Learned::Outlived(said.incarnation) } else { Learned::Old }
    }

    fn admit(&self, head: &Head, from: Speaker) -> Result<(), Refusal> {
        let (own, FeedId { node, scope }) = (self.cluster(), head.feed);
        if !may_cross(head.cluster, scope, from.cluster, own, &self.federation) {
            return Err(Refusal::NotExported);
        }
        let is_misplaced = node == from.node && head.cluster != from.cluster;
        let is_elsewhere = |scope| {
            let feed = self.feeds.get(&FeedId { node, scope });
            feed.is_some_and(|feed| feed.cluster != head.cluster)
        };
        if is_misplaced || is_elsewhere(Scope::Cluster) || is_elsewhere(Scope::Fabric) {
            return Err(Refusal::OtherCluster);
        }
        Ok(())
    }

    /// Makes a feed live in the incarnation of `head`, its records still to come.
    fn open(&mut self, head: &Head, now: Instant) -> Result<(), Refusal> {
        let (id, incarnation) = (head.feed, head.version.incarnation);
        let until = now + Duration::from_millis(head.ttl_ms.into()).min(self.lifetimes.lease);
        if !self.feeds.contains_key(&id) {
            self.check_feeds(head.cluster)?;
            let state = State::Live(Log::unknown());
            let (cluster, beat) = (head.cluster, head.beat);
            self.insert(id, Feed { cluster, incarnation, beat, until, state });
            return Ok(());
        }
        let feed = self.feeds.get_mut(&id).expect("just found");
        (feed.incarnation, feed.beat) = (incarnation, head.beat);
        match &mut feed.state {
            State::Live(log) => log.restart(),
            State::Lapsed | State::Over => feed.state = State::Live(Log::unknown()),
        }
        self.extend(id, until);
        self.name_life(id);
        Ok(())
    }

    /// Remembers the end of a feed that was not known; if there is no room, it is not needed: nothing
    /// would be taken either.
    fn remember_over(&mut self, head: &Head, until: Instant) {
        let Head { feed, cluster, version, beat, .. } = *head;
        if self.check_feeds(cluster).is_ok() {
            let (state, incarnation) = (State::Over, version.incarnation);
            self.insert(feed, Feed { cluster, incarnation, beat, until, state });
        }
    }
}

/// Signs of life that may have been on their way when a node was declared dead. A node of another
/// cluster that has given more lives: those who declared it dead were cut off from it, and are gone or
/// will hear of it.
const BEATS_IN_FLIGHT: u64 = 1;

pub(super) fn need(feed: FeedId, incarnation: Incarnation, lacking: Lacking) -> Need {
    let Lacking { sequence, whole } = lacking;
    Need { feed, version: Version { incarnation, sequence }, whole }
}
