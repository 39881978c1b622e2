//! The catalog: what every node offers, as far as it is known here. The single source of truth about
//! who is out there.
//!
//! A node's offers are entries in its two feeds (`mpreg_proto::catalog`). A feed is believed while its
//! owner gives signs of life:
//!
//! ```text
//!                 records, beats                       beats again
//!               +---+                             +-----------------+
//!               |   v                             v                 |
//!   unknown --> LIVE --lease ends----------------------------> LAPSED --keep--> unknown
//!                 |
//!                 +--declared dead, or it left--> OVER --keep--> unknown
//! ```
//!
//! The catalog sends nothing: `gossip` asks it what to make of what was received, and what to send.
//! It knows nothing of links, and nothing of what kinds of entries mean.
//!
//! Invariants:
//! - Only the owner's own words change a feed: numbered by it, for its cluster alone, and never from
//!   another cluster than the owner's about nodes of mine.
//! - A feed that is over stays over for its incarnation, whoever still relays it. A lapsed one comes
//!   back only with a beat that is newer than the last.
//! - Entries of a feed come and go as `Changed` exactly once each, and only those the filter shows.
//! - Feeds and entries are bounded; those of other clusters by less, so that mine always find room.
//!
//! Parts: `learn.rs` (what others say), `beat.rs` (that they live), `own.rs` (what I offer), `hold.rs` (bounds, and ends by time),
//! `log.rs` (records of one feed), `federation.rs` (what may cross and what is shown), `tests.rs`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use mpreg_proto::catalog::{Change, FeedId, Head, Kind, Need, News};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};

use crate::limits::{
    CATALOG_ENTRIES_MAX, CATALOG_FEED_ENTRIES_MAX, CATALOG_FEEDS_MAX, CATALOG_FOREIGN_ENTRIES_MAX,
    CATALOG_FOREIGN_FEEDS_MAX,
};
use crate::time::Instant;

mod beat;
mod federation;
mod hold;
mod learn;
mod log;
mod own;

pub use beat::Heard;
pub use federation::{Federation, Filter, Mode, may_cross};
use hold::{End, Tally};
use log::{Edit, Lacking, Log};

/// Names an entry of a feed.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Key {
    pub kind: Kind,
    pub name: Bytes,
}

impl Key {
    pub fn new(kind: Kind, name: &[u8]) -> Self {
        Self { kind, name: Bytes::copy_from_slice(name) }
    }
}

/// An entry that came, is otherwise, or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub feed: FeedId,
    pub cluster: ClusterId,
    pub key: Key,
    /// None: it is gone.
    pub body: Option<Bytes>,
}

/// An entry as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub feed: FeedId,
    pub cluster: ClusterId,
    pub key: &'a Key,
    pub body: &'a Bytes,
}

/// Who speaks, proven by its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    pub node: NodeId,
    pub cluster: ClusterId,
}

/// Why something is not taken into the catalog. Each is counted under its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// By policy this feed does not go from the speaker's cluster to mine.
    NotExported,
    /// The owner is known to be of another cluster, or claims one that is not its own.
    OtherCluster,
    /// The owner was declared dead, or left, in this incarnation.
    Departed,
    /// There are as many feeds as may be.
    Feeds,
    /// The feed, or all together, have as many entries as may be.
    Entries,
    /// A name or a body is longer than others would take.
    TooLong,
}

impl Refusal {
    pub const ALL: [Self; 6] = [
        Self::NotExported,
        Self::OtherCluster,
        Self::Departed,
        Self::Feeds,
        Self::Entries,
        Self::TooLong,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::NotExported => "not_exported",
            Self::OtherCluster => "other_cluster",
            Self::Departed => "departed",
            Self::Feeds => "feeds",
            Self::Entries => "entries",
            Self::TooLong => "too_long",
        }
    }
}

/// What a head or a change amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing new.
    Old,
    /// The owner lives; its entries are known.
    Beat,
    /// The owner has entries that are not known: ask for them.
    Behind(Need),
    /// Records were taken, and more must follow before others can be told.
    Partly,
    /// Records were taken; those who know the feed up to `after` lack them.
    News {
        after: u64,
    },
    /// The feed is over.
    Ended,
    /// Someone knows more of me than I said, or believes me gone: an incarnation greater than this
    /// is needed.
    Outlived(Incarnation),
    Refused(Refusal),
}

/// From where somebody is sent a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It knows the feed up to here; from the start if that is too long ago.
    Known(u64),
    /// It is being sent the whole, and has been sent it up to here.
    Whole(u64),
}

impl Since {
    pub const fn sequence(self) -> u64 {
        match self {
            Self::Known(sequence) | Self::Whole(sequence) => sequence,
        }
    }
}

/// The bounds a catalog is built with: tests build it with small ones, and meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    pub feeds_max: usize,
    pub foreign_feeds_max: usize,
    pub feed_entries_max: usize,
    pub entries_max: usize,
    pub foreign_entries_max: usize,
}

impl Bounds {
    pub const NODE: Self = Self {
        feeds_max: CATALOG_FEEDS_MAX,
        foreign_feeds_max: CATALOG_FOREIGN_FEEDS_MAX,
        feed_entries_max: CATALOG_FEED_ENTRIES_MAX,
        entries_max: CATALOG_ENTRIES_MAX,
        foreign_entries_max: CATALOG_FOREIGN_ENTRIES_MAX,
    };
}

/// How long things are believed and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lifetimes {
    /// From a sign of life, how long a node's entries are believed without another.
    pub lease: Duration,
    /// How long what ended, lapsed or was cleared is remembered: longer than anything is relayed.
    pub keep: Duration,
}

/// What is known of one feed.
#[derive(Debug)]
struct Feed {
    cluster: ClusterId,
    incarnation: Incarnation,
    beat: u64,
    /// End of the lease, or of being remembered.
    until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Live(Log),
    Lapsed,
    Over,
}

#[derive(Debug)]
pub struct Catalog {
    me: NodeId,
    incarnation: Incarnation,
    has_left: bool,
    federation: Federation,
    filter: Filter,
    bounds: Bounds,
    lifetimes: Lifetimes,
    feeds: BTreeMap<FeedId, Feed>,
    /// Which node each life is of, and some that are forgotten.
    lives: BTreeMap<u64, NodeId>,
    /// Signs of life I gave.
    beats: u64,
    ends: BTreeSet<End>,
    feeds_count: Tally,
    entries_count: Tally,
    edits: Vec<Edit>,
}

impl Catalog {
    pub fn new(
        me: NodeId,
        incarnation: Incarnation,
        federation: Federation,
        bounds: Bounds,
        lifetimes: Lifetimes,
    ) -> Self {
        assert!(Duration::ZERO < lifetimes.lease && lifetimes.lease < lifetimes.keep);
        Self {
            me,
            incarnation,
            has_left: false,
            federation,
            filter: Filter::default(),
            bounds,
            lifetimes,
            feeds: BTreeMap::new(),
            lives: BTreeMap::new(),
            beats: 1,
            ends: BTreeSet::new(),
            feeds_count: Tally::default(),
            entries_count: Tally::default(),
            edits: Vec::new(),
        }
    }

    pub fn cluster(&self) -> ClusterId {
        self.federation.own
    }

    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// All entries of live nodes that the filter shows.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.feeds.iter().flat_map(|(&id, feed)| {
            let log = feed.log().into_iter().flat_map(Log::entries);
            let shown = log.filter(|(key, _)| self.shows(feed.cluster, key));
            shown.map(move |(key, body)| Entry { feed: id, cluster: feed.cluster, key, body })
        })
    }

    /// Entries of live nodes, shown or not.
    pub fn len(&self) -> usize {
        self.entries_count.all
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Feeds known, those that ended included.
    pub fn feeds_count(&self) -> usize {
        self.feeds_count.all
    }

    /// Whether its owner gives signs of life, shown or not.
    pub fn is_live(&self, id: FeedId) -> bool {
        self.feeds.get(&id).is_some_and(|feed| feed.log().is_some())
    }

    /// What to ask for to know more of a feed.
    pub fn need(&self, id: FeedId) -> Option<Need> {
        let feed = self.feeds.get(&id)?;
        let lacking = feed.log().map_or(Lacking::default(), Log::lacking);
        Some(learn::need(id, feed.incarnation, lacking))
    }

    /// From where to send a feed to who needs this. None if it is not newer here.
    pub fn since(&self, need: &Need, now: Instant) -> Option<Since> {
        let version = self.head(need.feed, now)?.version;
        if version <= need.version {
            return None;
        }
        if version.incarnation != need.version.incarnation {
            return Some(Since::Known(0));
        }
        let floor = self.feeds.get(&need.feed)?.log().map_or(0, Log::floor);
        let sequence = need.version.sequence;
        Some(match need.whole {
            Some(theirs) if floor <= theirs => Since::Whole(sequence),
            Some(_) | None => Since::Known(sequence),
        })
    }

    /// How a feed stands here, if it may be told to others.
    pub fn head(&self, id: FeedId, now: Instant) -> Option<Head> {
        let feed = self.feeds.get(&id)?;
        let sequence = match &feed.state {
            State::Live(log) if log.is_complete() => log.sequence(),
            State::Over => Head::OVER,
            State::Live(_) | State::Lapsed => return None,
        };
        let ttl_ms = self.ttl_ms(feed, now);
        let version = Version { incarnation: feed.incarnation, sequence };
        let (cluster, beat) = (feed.cluster, feed.beat);
        (0 < ttl_ms).then_some(Head { feed: id, cluster, version, beat, ttl_ms })
    }

    /// The records of a feed after a sequence, as many as fit a frame.
    pub fn change(&self, id: FeedId, since: Since, now: Instant) -> Option<Change> {
        let head = self.head(id, now)?;
        let log = self.feeds.get(&id)?.log()?;
        let part = log.part(since);
        Some(Change {
            news: News { head, told: Vec::new() },
            after: part.after,
            upto: part.upto,
            floor: log.floor(),
            records: part.records,
        })
    }

    /// Whether a feed may be told to `peer`.
    pub fn is_for(&self, id: FeedId, peer: Speaker) -> bool {
        let own = self.cluster();
        self.feeds.get(&id).is_some_and(|feed| {
            // Who of our cluster is dead, mates hear from membership; whoever is not, should know.
            let is_hearsay = matches!(feed.state, State::Over)
                && ![self.me, peer.node].contains(&id.node)
                && feed.cluster == peer.cluster;
            !is_hearsay && may_cross(feed.cluster, id.scope, own, peer.cluster, &self.federation)
        })
    }

    /// Heads of all feeds that `peer` is told.
    pub fn heads_for(&self, peer: Speaker, now: Instant) -> impl Iterator<Item = Head> {
        let ids = self.feeds.keys().filter(move |id| self.is_for(**id, peer));
        ids.filter_map(move |&id| self.head(id, now))
    }

    /// Heads of all feeds that `peer` may tell of: what it is compared with.
    pub fn heads_from(&self, peer: Speaker, now: Instant) -> impl Iterator<Item = Head> {
        let own = self.cluster();
        let is_mate = peer.cluster == own;
        let heads = self.feeds.keys().filter_map(move |&id| self.head(id, now));
        heads.filter(move |head| {
            let scope = head.feed.scope;
            may_cross(head.cluster, scope, peer.cluster, own, &self.federation)
                && !(is_mate && head.is_over() && head.cluster == own)
        })
    }

    pub fn set_federation(&mut self, federation: Federation) {
        assert_eq!(federation.own, self.federation.own, "a node stays in its cluster");
        self.federation = federation;
    }

    /// Shows and hides what the new filter does and the old one did not.
    pub fn set_filter(&mut self, filter: Filter, out: &mut Vec<Changed>) {
        let own = self.cluster();
        for (&id, feed) in &self.feeds {
            for (key, body) in feed.log().into_iter().flat_map(Log::entries) {
                let cluster = feed.cluster;
                let is_shown = filter.shows(own, cluster, key);
                if is_shown != self.filter.shows(own, cluster, key) {
                    let body = is_shown.then(|| body.clone());
                    out.push(Changed { feed: id, cluster, key: key.clone(), body });
                }
            }
        }
        self.filter = filter;
    }

    fn shows(&self, cluster: ClusterId, key: &Key) -> bool {
        self.filter.shows(self.federation.own, cluster, key)
    }
}

impl Feed {
    fn log(&self) -> Option<&Log> {
        match &self.state {
            State::Live(log) => Some(log),
            State::Lapsed | State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests;
