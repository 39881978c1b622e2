//! Gossip: spreading changes of the catalog until all nodes agree.
//!
//! ```text
//!   offered or heard --> queue of each link --paced turns--> Heads, Delta     (news, at once)
//!   a sign of life --> beats of each link --few times a second--> Beats
//!   interval --> Digest -- differs --> Differs --+
//!   link up  ------------------------------------+--> Summary -- differs --> Compare --> Heads
//!   a head that is ahead --> Want --> Delta                                   (what is missing)
//! ```
//!
//! News goes to all links, or to some of many, and says to whom it went, so that in a full mesh
//! nobody repeats it. Links queue which feeds to tell of and since when, never frames: a slow link
//! gets more in fewer frames, and a queue is at most as long as the catalog has feeds. A link that
//! refuses a frame is left alone for a while and then compared with.
//!
//! The machine knows links by the node and cluster their peer was proven to be. It sends nothing to a
//! peer that policy does not let through, and takes nothing from it either (`catalog`).
//!
//! Invariants:
//! - A record, head or end that is known already is counted and goes no further: each is processed at
//!   most once.
//! - Ends go before news, news before wholes.
//! - A feed is asked of one peer at a time, unless that one keeps silent.
//! - Two linked nodes that stop changing agree within one interval after frames pass between them.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: `hear.rs` (frames of peers), `link.rs`
//! (queues and turns), `beat.rs` (signs of life), `digest.rs` (buckets), `agree.rs` (how far from agreement); tests: `tests.rs` with a network of its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::catalog::{FeedId, Message, Need, Scope, Told, mark};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::{Incarnation, NodeId, Version};
use mpreg_proto::limits::{CATALOG_HEADS_MAX, CATALOG_TOLD_MAX};

use crate::catalog::{
    Bounds, Catalog, Changed, Federation, Filter, Key, Lifetimes, Refusal, Since, Speaker,
};
use crate::limits::{GOSSIP_FULL_FANOUT_MAX, GOSSIP_PACE, GOSSIP_PATIENCE, GOSSIP_REST};
use crate::rng::Rng;
use crate::time::Instant;

mod agree;
mod beat;
mod digest;
mod hear;
mod link;

use agree::Lack;
use link::{Link, Queued};

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Frames pass between us and this peer from here on.
    LinkUp(Speaker),
    LinkDown {
        peer: NodeId,
    },
    /// A frame of the catalog's plane.
    Received {
        from: NodeId,
        bytes: Bytes,
    },
    /// A frame to this peer was dropped for want of room.
    Refused {
        to: NodeId,
    },
    /// This node offers something, or offers it otherwise.
    Offer {
        scope: Scope,
        key: Key,
        body: Bytes,
    },
    /// This node offers it no more.
    Retract {
        scope: Scope,
        key: Key,
    },
    /// Membership declared a node of my cluster dead, or heard it say goodbye.
    NodeDead {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// I have a greater incarnation, and it is persisted.
    Renewed(Incarnation),
    /// I am leaving: take back all I offer.
    Leave,
    Federation(Federation),
    Filter(Filter),
    DeadlineReached,
}

/// What gossip wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        lane: Lane,
        bytes: Bytes,
    },
    /// An entry the filter shows came, changed or went; my own too.
    Changed(Changed),
    /// An `Offer` or `Retract` was not taken.
    NotOffered {
        key: Key,
        why: Refusal,
    },
    /// Others believe me gone, or know more of me than I said: persist an incarnation greater than
    /// this, then say `Renewed`.
    Outlived {
        incarnation: Incarnation,
    },
    Fact(Fact),
}

/// Which frames overtake which on a link. The order of frames in different lanes is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Nodes that are gone.
    Departure,
    News,
    /// Whole feeds, and comparing.
    Bulk,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Records or heads that were news.
    Learned {
        from: NodeId,
    },
    /// Known already.
    Duplicate {
        from: NodeId,
    },
    Refused {
        from: NodeId,
        why: Refusal,
    },
    /// A frame that is none of this plane, or of a kind from a later version.
    Unreadable {
        from: NodeId,
        code: ErrorCode,
    },
    /// A frame of a peer without a link.
    Unlinked {
        from: NodeId,
    },
    /// A digest of a peer came: whether it has what I have, as far as either may tell the other.
    Compared {
        with: NodeId,
        is_same: bool,
    },
    /// All that others had and I lacked is here, so long after I knew of the first of it.
    CaughtUp {
        after: Duration,
    },
    /// Some of what I lacked did not come from anybody who was asked.
    Unanswered {
        after: Duration,
    },
    /// A node's lease ended without its being declared dead.
    Lapsed {
        node: NodeId,
    },
}

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Options {
    pub lifetimes: Lifetimes,
    /// Between two comparisons with each peer.
    pub interval: Duration,
    pub bounds: Bounds,
}

impl Options {
    pub const DEFAULT: Self = Self {
        lifetimes: Lifetimes { lease: Duration::from_secs(30), keep: Duration::from_secs(120) },
        interval: Duration::from_secs(5),
        bounds: Bounds::NODE,
    };
}

/// Signs of life within one lease: two may get lost.
const BEATS_PER_LEASE: u32 = 3;

#[derive(Debug)]
pub struct Gossip {
    me: NodeId,
    catalog: Catalog,
    options: Options,
    rng: Rng,
    links: BTreeMap<NodeId, Link>,
    /// Feeds that were asked for and not received yet.
    asked: BTreeMap<FeedId, Asked>,
    lack: Lack,
    /// What the present input makes us ask for, by whom.
    needs: BTreeMap<NodeId, Vec<Need>>,
    changed: Vec<Changed>,
    beat_at: Instant,
    compare_at: Instant,
    /// No later than the first time somebody is kept waiting too long for what was asked for.
    patient_until: Option<Instant>,
    /// The next turn of sending, if anything is queued.
    turn_at: Option<Instant>,
    turned_at: Option<Instant>,
    /// The next time beats are sent, if any are queued.
    beats_at: Option<Instant>,
    beats_sent_at: Option<Instant>,
}

#[derive(Debug)]
struct Asked {
    from: NodeId,
    until: Instant,
    /// Who had more meanwhile.
    then: Option<NodeId>,
}

/// News about a feed, on its way to other links.
struct Rumor<'a> {
    feed: FeedId,
    /// Since when there are records to send; none for a sign of life.
    since: Option<Since>,
    lane: Lane,
    from: Option<NodeId>,
    told: &'a [u32],
}

impl Gossip {
    /// `incarnation` is greater than any before and persisted. `rng` is a stream of its own.
    pub fn new(
        me: NodeId,
        incarnation: Incarnation,
        federation: Federation,
        options: Options,
        mut rng: Rng,
        now: Instant,
    ) -> Self {
        let Options { lifetimes, interval, bounds } = options;
        assert!(Duration::ZERO < interval);
        // Nodes started together do not compare together.
        let phase = interval.mul_f64(f64::from(rng.below(1000)) / 1000.0);
        Self {
            me,
            catalog: Catalog::new(me, incarnation, federation, bounds, lifetimes),
            options,
            rng,
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            lack: Lack::default(),
            needs: BTreeMap::new(),
            changed: Vec::new(),
            beat_at: now + lifetimes.lease / BEATS_PER_LEASE,
            compare_at: now + phase,
            patient_until: None,
            turn_at: None,
            turned_at: None,
            beats_at: None,
            beats_sent_at: None,
        }
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::LinkUp(peer) => {
                self.links.insert(peer.node, Link::new(peer));
                self.send_summary(peer, now, out);
                self.tell_beats(peer, now);
            }
            Input::LinkDown { peer } => self.link_down(peer, now),
            Input::Received { from, bytes } => self.received(from, &bytes, now, out),
            Input::Refused { to } => self.refused(to, now),
            Input::Offer { scope, key, body } => self.write(scope, key, Some(body), now, out),
            Input::Retract { scope, key } => self.write(scope, key, None, now, out),
            Input::NodeDead { node, incarnation } => {
                let ended = self.catalog.dead(node, incarnation, now, &mut self.changed);
                self.tell(ended, Lane::Departure, None, now);
            }
            Input::Renewed(incarnation) => {
                let mine = self.catalog.renew(incarnation);
                self.tell(mine, Lane::News, Some(Since::Known(0)), now);
            }
            Input::Leave => {
                let mine = self.catalog.leave(now, &mut self.changed);
                // Links are about to close: who leaves does not wait for the next turn.
                (self.turn_at, self.turned_at) = (None, None);
                self.tell(mine, Lane::Departure, None, now);
            }
            Input::Federation(federation) => self.catalog.set_federation(federation),
            Input::Filter(filter) => self.catalog.set_filter(filter, &mut self.changed),
            Input::DeadlineReached => (),
        }
        self.wake(now, out);
        self.send_needs(out);
        self.take_turn(now, out);
        self.send_beats(now, out);
        self.note_lack(now, out);
        out.extend(self.changed.drain(..).map(Effect::Changed));
    }

    pub fn deadline(&self) -> Option<Instant> {
        let rested = self.links.values().filter_map(|link| link.rests_until).min();
        let times =
            [self.catalog.next_end(), rested, self.turn_at, self.beats_at, self.patient_until];
        times.into_iter().flatten().chain([self.beat_at, self.compare_at]).min()
    }

    fn wake(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for feed in self.catalog.expire(now, &mut self.changed) {
            out.push(Effect::Fact(Fact::Lapsed { node: feed.node }));
        }
        if self.beat_at <= now {
            self.beat_at = now + self.options.lifetimes.lease / BEATS_PER_LEASE;
            if self.catalog.beat() {
                self.spread_beat(self.me, None, &Told::Marks(Vec::new()), now);
            }
        }
        if self.patient_until.is_some_and(|until| until <= now) {
            self.ask_again(now);
        }
        let is_rested = |link: &&mut Link| link.rests_until.is_some_and(|until| until <= now);
        let mut due = Vec::new();
        for link in self.links.values_mut().filter(is_rested) {
            link.rests_until = None;
            due.push(link.peer);
        }
        for peer in due {
            self.send_summary(peer, now, out);
            self.tell_beats(peer, now);
        }
        if self.compare_at <= now {
            self.compare_at = now + self.options.interval;
            self.catalog.purge(now);
            self.links.values().for_each(|link| self.send_digest(link.peer, now, out));
            self.doubt(now, out);
        }
    }

    fn write(
        &mut self,
        scope: Scope,
        key: Key,
        body: Option<Bytes>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        match self.catalog.write(scope, key.clone(), body, now, &mut self.changed) {
            Ok(Some(after)) => {
                let mine = FeedId { node: self.me, scope };
                self.tell([mine], Lane::News, Some(Since::Known(after)), now);
            }
            Ok(None) => (),
            Err(why) => out.push(Effect::NotOffered { key, why }),
        }
    }

    fn link_down(&mut self, peer: NodeId, now: Instant) {
        self.links.remove(&peer);
        self.stop_asking(peer, now);
    }

    fn refused(&mut self, to: NodeId, now: Instant) {
        let Some(link) = self.links.get_mut(&to) else { return };
        link.rests_until = Some(now + GOSSIP_REST);
        // All of it will show when feeds are compared.
        link.queue.clear();
        link.beats.clear();
        self.stop_asking(to, now);
    }

    /// What this peer was asked for, somebody else is to be asked for: comparing tells whom.
    fn stop_asking(&mut self, peer: NodeId, now: Instant) {
        let before = self.asked.len();
        self.asked.retain(|_, asked| asked.from != peer);
        if self.asked.len() < before {
            self.asked_in_vain();
            self.compare_at = self.compare_at.min(now + GOSSIP_REST);
        }
    }

    /// Something of my own, or from membership.
    fn tell(
        &mut self,
        feeds: impl IntoIterator<Item = FeedId>,
        lane: Lane,
        since: Option<Since>,
        now: Instant,
    ) {
        for feed in feeds {
            self.spread(Rumor { feed, since, lane, from: None, told: &[] }, now);
        }
    }

    /// Queues news for all links it may go on and that were not told, or for some of them.
    fn spread(&mut self, rumor: Rumor<'_>, now: Instant) {
        let targets = self.targets(&rumor);
        if targets.is_empty() {
            return;
        }
        let mut told: Vec<u32> = targets.iter().copied().chain([self.me]).map(mark).collect();
        told.extend(rumor.from.map(mark));
        told.extend(rumor.told);
        told.truncate(CATALOG_TOLD_MAX);
        told.sort_unstable();
        told.dedup();
        for peer in targets {
            let link = self.links.get_mut(&peer).expect("targets are links");
            let (since, lane, told) = (rumor.since, rumor.lane, told.clone());
            link.put(rumor.feed, Queued { since, lane, told });
        }
        self.plan_turn(now);
    }

    fn plan_turn(&mut self, now: Instant) {
        let at = self.turned_at.map_or(now, |turned| now.max(turned + GOSSIP_PACE));
        self.turn_at.get_or_insert(at);
    }

    fn targets(&mut self, rumor: &Rumor<'_>) -> Vec<NodeId> {
        let is_target = |link: &&Link| {
            let peer = link.peer;
            link.rests_until.is_none()
                && Some(peer.node) != rumor.from
                && !rumor.told.contains(&mark(peer.node))
                && self.catalog.is_for(rumor.feed, peer)
        };
        let peers = self.links.values().filter(is_target).map(|link| link.peer).collect();
        self.some_of(peers)
    }

    /// Links with nodes of my cluster.
    fn mates_count(&self) -> usize {
        let own = self.catalog.cluster();
        self.links.values().filter(|link| link.peer.cluster == own).count()
    }

    /// All of these peers, or, if I am linked with many of my cluster, some of those.
    fn some_of(&mut self, peers: Vec<Speaker>) -> Vec<NodeId> {
        let (own, mates_count) = (self.catalog.cluster(), self.mates_count());
        let is_mate = |peer: &Speaker| peer.cluster == own;
        let (mut mates, others): (Vec<_>, Vec<_>) = peers.into_iter().partition(is_mate);
        if GOSSIP_FULL_FANOUT_MAX < mates_count {
            let some = 3 + mates_count.ilog2() as usize;
            for nth in 0..some.min(mates.len()) {
                let left = u32::try_from(mates.len() - nth).expect("links are few");
                mates.swap(nth, nth + self.rng.below(left) as usize);
            }
            mates.truncate(some);
        }
        others.into_iter().chain(mates).map(|peer| peer.node).collect()
    }

    fn ask(&mut self, need: Need, from: NodeId, now: Instant) {
        match self.asked.get_mut(&need.feed) {
            Some(asked) if now < asked.until => asked.then = Some(from),
            Some(_) | None => {
                let until = now + GOSSIP_PATIENCE;
                self.asked.insert(need.feed, Asked { from, until, then: None });
                self.patient_until.get_or_insert(until);
                self.needs.entry(from).or_default().push(need);
            }
        }
    }

    /// Asks somebody else for what was not answered.
    fn ask_again(&mut self, now: Instant) {
        let is_late = |_: &FeedId, asked: &mut Asked| asked.until <= now;
        let late: Vec<_> = self.asked.extract_if(.., is_late).collect();
        self.patient_until = self.asked.values().map(|asked| asked.until).min();
        for (feed, asked) in late {
            if let Some(then) = asked.then.filter(|then| self.links.contains_key(then)) {
                let version = Version { incarnation: Incarnation(0), sequence: 0 };
                let nothing = Need { feed, version, whole: None };
                self.ask(self.catalog.need(feed).unwrap_or(nothing), then, now);
            } else {
                self.asked_in_vain();
            }
        }
    }

    fn send_needs(&mut self, out: &mut Vec<Effect>) {
        for (peer, needs) in core::mem::take(&mut self.needs) {
            for some in needs.chunks(CATALOG_HEADS_MAX) {
                self.send(peer, Lane::News, &Message::Want(some.to_vec()), out);
            }
        }
    }

    fn send(&self, to: NodeId, lane: Lane, message: &Message, out: &mut Vec<Effect>) {
        if self.links.get(&to).is_some_and(|link| link.rests_until.is_none()) {
            let mut bytes = Vec::new();
            message.put(&mut bytes);
            out.push(Effect::Send { to, lane, bytes: bytes.into() });
        }
    }
}

#[cfg(test)]
mod tests;
