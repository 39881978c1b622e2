//! Link-state: every node says which links it has, everyone in reach of that computes the ways.
//!
//! ```text
//!   LinkUp, LinkDown, Measured --> own advertisement --flood-->  links it may go over
//!   Heard --newer?--> database --flood--> all other such links
//!                        |
//!                        +--paced--> compute: nodes of this cluster, other clusters
//! ```
//!
//! Links inside the cluster are always advertised, to this cluster: its nodes need the way to each
//! other where not all of them are linked. Links to other clusters are advertised unless the mode is
//! disabled, within their area. A link counts when both ends say that it is there, so what a node
//! alone claims, or a node that died still says, leads nowhere. Between two that have both died there
//! may be one that both still claim: so a link counts only if it hangs together with this node. Of the
//! inside of other clusters nothing is known but this: a node with links to other clusters also says
//! which such nodes of its own it reaches, its mates. A cluster that fell apart is no way through.
//!
//! Signatures are the caller's (`control/links.rs`): [`Effect::Send`] carries own advertisements unsigned,
//! and `Heard` is said of floods whose signature was found good, or that change nothing.
//!
//! Invariants:
//! - Of one node, kind and area the newest version is kept; older and equal ones change nothing.
//! - An advertisement lives as long as its node said, less the time it was held on the way, and at
//!   most [`Timing::ttl_max`]. When it expires its version is remembered, so a replay has no effect.
//! - At most one computation per `compute_every`, and one within `compute_every` of any change.
//! - At most `ADJACENCIES_MAX` links and [`ADVERTISEMENTS_MAX`] advertisements.
//!
//! Parts: `area.rs` (which links are of which area), `database.rs` (what was heard), `compute.rs`
//! (ways), `tests.rs` and `tests/` (many nodes).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::limits::{ADJACENCIES_MAX, SUMMARIES_MAX};
use mpreg_proto::link_state::{Adjacency, Advertisement, AreaId, Flood, Kind, Metrics, Summary};

use crate::limits::{ADVERTISEMENTS_MAX, FLOODS_SHARE_BYTES};
use crate::time::Instant;
use crate::way::{LinkStateMode, Ways};

mod area;
mod compute;
mod database;

pub use area::{Areas, Summarised, SummaryFilter, Unmapped};
pub use compute::link_cost;
use database::{Database, Entry, Heard, Key};

/// What a node is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub here: Here,
    pub incarnation: Incarnation,
    pub mode: LinkStateMode,
    pub areas: Areas,
    pub timing: Timing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// What own advertisements are good for. They are said again three times as often.
    pub ttl: Duration,
    /// What those of others are good for at most.
    pub ttl_max: Duration,
    /// How long the version of an expired advertisement is remembered.
    pub tombstone: Duration,
    /// Between two computations.
    pub compute_every: Duration,
    /// Between two advertisements that say something new.
    pub advertise_every: Duration,
    /// Until a peer whose link was full is told again.
    pub resend_after: Duration,
    /// Between two shares of all there is.
    pub share_every: Duration,
}

impl Timing {
    pub const NODE: Self = Self {
        ttl: Duration::from_secs(300),
        ttl_max: Duration::from_secs(600),
        tombstone: Duration::from_secs(600),
        compute_every: Duration::from_millis(100),
        advertise_every: Duration::from_millis(50),
        resend_after: Duration::from_secs(1),
        share_every: Duration::from_millis(10),
    };
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    LinkUp {
        peer: NodeId,
        cluster: ClusterId,
        metrics: Metrics,
    },
    LinkDown {
        peer: NodeId,
    },
    Measured {
        peer: NodeId,
        metrics: Metrics,
    },
    /// A flood came whose signature is good.
    Heard {
        from: NodeId,
        flood: Flood,
    },
    /// The link had no room for a `Send`.
    Refused {
        to: NodeId,
    },
    /// What this node says is signed with another key from here on. Whoever comes to know the earlier
    /// one no more could not believe what it has signed.
    SignerChanged,
    DeadlineReached,
}

/// What is to be done, or is now so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        flood: Flood,
    },
    /// [`LinkState::clusters`] and [`LinkState::nodes`] were computed anew.
    Computed,
    /// A node says of its links what it did not say before.
    Changed {
        node: NodeId,
        cluster: ClusterId,
        links: usize,
    },
    Rejected {
        from: NodeId,
        reason: Reject,
    },
}

/// Why something heard has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    Malformed,
    /// From a node that is not linked.
    Unlinked,
    /// About links between clusters, and the mode is disabled.
    Disabled,
    /// About the inside of another cluster.
    OutOfScope,
    /// Of an area this cluster is not in, or that does not reach over this link.
    AreaMismatch,
    /// A linked node is said to be of a cluster that it is not of, or this node of a later life.
    Forged,
    /// Not signed by its cluster, as far as that cluster's keys are known.
    Signature,
    /// Older than what is known.
    Stale,
    /// What is known.
    Duplicate,
    Expired,
    /// No room for another.
    Full,
}

impl Reject {
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unlinked,
        Self::Disabled,
        Self::OutOfScope,
        Self::AreaMismatch,
        Self::Forged,
        Self::Signature,
        Self::Stale,
        Self::Duplicate,
        Self::Expired,
        Self::Full,
    ];

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unlinked => "unlinked",
            Self::Disabled => "disabled",
            Self::OutOfScope => "out_of_scope",
            Self::AreaMismatch => "area_mismatch",
            Self::Forged => "forged",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Expired => "expired",
            Self::Full => "full",
        }
    }
}

/// A link that is up.
#[derive(Clone, Copy, Debug)]
struct Adjacent {
    cluster: ClusterId,
    metrics: Metrics,
    /// Where it is told all there is.
    walk: Option<Walk>,
    /// The last share of that: when it was sent, and what it began after.
    last: Option<(Instant, Option<Key>)>,
}

/// All advertisements on their way to a peer, a share at a time, so that each share fits its lane.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// The next share begins after this.
    after: Option<Key>,
    at: Instant,
}

#[derive(Debug)]
pub struct LinkState {
    settings: Settings,
    /// Of this node's own advertisements.
    sequence: u64,
    links: BTreeMap<NodeId, Adjacent>,
    database: Database,
    advertise_at: Option<Instant>,
    advertised_at: Instant,
    refresh_at: Instant,
    compute_at: Option<Instant>,
    computed_at: Instant,
    ways: compute::Computed,
}

impl LinkState {
    /// # Panics
    /// If the cluster is in no area.
    pub fn new(settings: Settings, now: Instant) -> Self {
        assert!(!settings.areas.local.is_empty(), "a cluster is in an area");
        let refresh_at = now + settings.timing.ttl / 3;
        Self {
            settings,
            sequence: 0,
            links: BTreeMap::new(),
            database: Database::default(),
            advertise_at: None,
            advertised_at: Instant::START,
            refresh_at,
            compute_at: None,
            computed_at: Instant::START,
            ways: compute::Computed::default(),
        }
    }

    /// Ways to other clusters, sorted. None if the mode is disabled.
    pub fn clusters(&self) -> &[Ways<ClusterId>] {
        &self.ways.clusters
    }

    /// Ways to the other nodes of this cluster, sorted.
    pub fn nodes(&self) -> &[Ways<NodeId>] {
        &self.ways.nodes
    }

    /// Every advertisement that is alive, for whoever wants to see them.
    pub fn advertisements(&self) -> impl Iterator<Item = &Advertisement> {
        self.database.alive().map(|(_, entry)| &entry.said)
    }

    /// Whether it would change anything that this was said: then its signature has to be good.
    pub fn is_news(&self, said: &Advertisement) -> bool {
        if said.origin == self.settings.here.node {
            return self.sequence < said.version.sequence;
        }
        let known = self.database.compare(&Key::of(said), said.version);
        matches!(known, Heard::New | Heard::Newer)
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        match input {
            Input::LinkUp { peer, cluster, metrics } => {
                self.link_up(peer, cluster, metrics, now, out)
            }
            Input::LinkDown { peer } => {
                if self.links.remove(&peer).is_some() {
                    self.changed(now);
                }
            }
            Input::Measured { peer, metrics } => self.measured(peer, metrics, now),
            Input::Heard { from, flood } => {
                if let Err(reason) = self.heard(from, flood, now, out) {
                    out.push(Effect::Rejected { from, reason });
                }
            }
            Input::Refused { to } => self.refused(to, now),
            Input::SignerChanged => self.refresh_at = now,
            Input::DeadlineReached => self.wake(now, out),
        }
    }

    /// When this machine next wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let walks = self.links.values().filter_map(|link| link.walk);
        let walk = walks.map(|walk| walk.at).min();
        let all = [
            Some((self.refresh_at, "say one's links again")),
            self.advertise_at.map(|at| (at, "say which links changed")),
            self.compute_at.map(|at| (at, "compute ways")),
            self.database.due().map(|at| (at, "forget what expired")),
            walk.map(|at| (at, "tell a peer more of all there is")),
        ];
        all.into_iter().flatten().min()
    }

    fn wake(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.database.expire(now, self.settings.timing.tombstone) {
            self.compute_soon(now);
        }
        if self.compute_at.is_some_and(|at| at <= now) {
            self.compute(now, out);
        }
        let is_refresh = self.refresh_at <= now;
        if is_refresh || self.advertise_at.is_some_and(|at| at <= now) {
            self.advertise(is_refresh, now, out);
        }
        let is_due = |link: &Adjacent| link.walk.is_some_and(|walk| walk.at <= now);
        let due = self.links.iter().filter(|(_, link)| is_due(link)).map(|(&peer, _)| peer);
        let due: Vec<_> = due.collect();
        due.into_iter().for_each(|peer| self.walk(peer, now, out));
    }

    fn link_up(
        &mut self,
        peer: NodeId,
        cluster: ClusterId,
        metrics: Metrics,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if ADJACENCIES_MAX <= self.links.len() && !self.links.contains_key(&peer) {
            out.push(Effect::Rejected { from: peer, reason: Reject::Full });
            return;
        }
        let walk = Some(Walk { after: None, at: now });
        self.links.insert(peer, Adjacent { cluster, metrics, walk, last: None });
        self.walk(peer, now, out);
        self.changed(now);
    }

    /// What is less than an eighth away from what was said is not worth telling everyone.
    fn measured(&mut self, peer: NodeId, metrics: Metrics, now: Instant) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (before, after) = (link_cost(&link.metrics), link_cost(&metrics));
        if before / 8 <= before.abs_diff(after) {
            link.metrics = metrics;
            self.changed(now);
        }
    }

    /// Own links are not what they were.
    fn changed(&mut self, now: Instant) {
        let at = (self.advertised_at + self.settings.timing.advertise_every).max(now);
        self.advertise_at.get_or_insert(at);
        self.compute_soon(now);
    }

    fn compute_soon(&mut self, now: Instant) {
        let at = (self.computed_at + self.settings.timing.compute_every).max(now);
        self.compute_at.get_or_insert(at);
    }

    fn heard(
        &mut self,
        from: NodeId,
        flood: Flood,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> Result<(), Reject> {
        let said = Advertisement::parse(&flood.body).map_err(|_| Reject::Malformed)?;
        let link = self.links.get(&from).ok_or(Reject::Unlinked)?;
        self.check_scope(&said, link.cluster)?;
        let is_elsewhere = |link: &Adjacent| link.cluster != said.cluster;
        if self.links.get(&said.origin).is_some_and(is_elsewhere) {
            return Err(Reject::Forged);
        }
        if said.origin == self.settings.here.node {
            return self.heard_of_self(&said, now);
        }
        let ttl = Duration::from_millis(u64::from(flood.ttl_ms)).min(self.settings.timing.ttl_max);
        if ttl.is_zero() {
            return Err(Reject::Expired);
        }
        let key = Key::of(&said);
        match self.database.compare(&key, said.version) {
            Heard::Newer => (),
            Heard::Same => return Err(Reject::Duplicate),
            Heard::Older => {
                self.send_one(&key, from, now, out);
                return Err(Reject::Stale);
            }
            Heard::New if ADVERTISEMENTS_MAX <= self.database.len() => return Err(Reject::Full),
            Heard::New => (),
        }
        let (node, cluster, links) = (said.origin, said.cluster, said.links.len());
        let entry = Entry { said, body: flood.body, signature: flood.signature, until: now + ttl };
        if self.database.insert(key, entry) {
            out.push(Effect::Changed { node, cluster, links });
            self.compute_soon(now);
        }
        self.flood(&key, Some(from), now, out);
        Ok(())
    }

    /// Something this node said before it forgot what it said: it says something newer.
    fn heard_of_self(&mut self, said: &Advertisement, now: Instant) -> Result<(), Reject> {
        let Version { incarnation, sequence } = said.version;
        let (life, known) = (self.settings.incarnation, self.sequence);
        if life < incarnation {
            return Err(Reject::Forged);
        }
        if incarnation == life && sequence == known {
            return Err(Reject::Duplicate);
        }
        if incarnation < life || sequence < known {
            return Err(Reject::Stale);
        }
        self.sequence = sequence;
        self.refresh_at = now;
        Ok(())
    }

    fn check_scope(&self, said: &Advertisement, from: ClusterId) -> Result<(), Reject> {
        let mine = self.settings.here.cluster;
        if Kind::from_wire(said.kind) == Some(Kind::Mesh) {
            let is_inside = said.cluster == mine && from == mine;
            return if is_inside { Ok(()) } else { Err(Reject::OutOfScope) };
        }
        if self.settings.mode == LinkStateMode::Disabled {
            return Err(Reject::Disabled);
        }
        let areas = &self.settings.areas;
        let is_over_link = from == mine || areas.of(from) == Some(said.area);
        let is_known = areas.local.contains(&said.area) && is_over_link;
        if is_known { Ok(()) } else { Err(Reject::AreaMismatch) }
    }

    /// Whether an advertisement goes over the link to a node of this cluster or of another.
    fn goes_to(&self, key: &Key, cluster: ClusterId) -> bool {
        let is_inside = cluster == self.settings.here.cluster;
        match Kind::from_wire(key.kind) {
            Some(Kind::Mesh) => is_inside,
            Some(Kind::Border) | None => {
                is_inside || self.settings.areas.of(cluster) == Some(key.area)
            }
        }
    }

    fn flood(&self, key: &Key, but: Option<NodeId>, now: Instant, out: &mut Vec<Effect>) {
        // Whom the origin is linked with, it tells itself: in a full mesh nobody repeats anything.
        let said = self.database.get(key).filter(|_| key.origin != self.settings.here.node);
        let is_told = |peer: NodeId| said.is_some_and(|said| is_linked(said, peer));
        let is_left = |peer: NodeId| Some(peer) != but && peer != key.origin && !is_told(peer);
        let peers = self.links.keys().filter(|&&peer| is_left(peer));
        peers.for_each(|&peer| self.send_one(key, peer, now, out));
    }

    fn send_one(&self, key: &Key, to: NodeId, now: Instant, out: &mut Vec<Effect>) {
        let goes = self.links.get(&to).is_some_and(|link| self.goes_to(key, link.cluster));
        if let Some(flood) = self.database.flood(key, now).filter(|_| goes) {
            out.push(Effect::Send { to, flood });
        }
    }

    /// Tells a peer the next share of all there is.
    fn walk(&mut self, to: NodeId, now: Instant, out: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&to) else { return };
        let Some(Walk { after, .. }) = link.walk.take() else { return };
        link.last = Some((now, after));
        let (mut bytes, mut told, mut is_left) = (0, after, false);
        for (key, entry) in self.database.after(after) {
            is_left = FLOODS_SHARE_BYTES < bytes;
            if is_left {
                break;
            }
            bytes += entry.body.len();
            told = Some(*key);
            self.send_one(key, to, now, out);
        }
        if is_left && let Some(link) = self.links.get_mut(&to) {
            link.walk = Some(Walk { after: told, at: now + self.settings.timing.share_every });
        }
    }

    /// The lane was full: of a share that was just sent, or of news, which may have been anything.
    fn refused(&mut self, to: NodeId, now: Instant) {
        let Timing { resend_after, share_every: every, .. } = self.settings.timing;
        let at = now + resend_after;
        let Some(link) = self.links.get_mut(&to) else { return };
        let share = link.last.filter(|(sent_at, _)| now < *sent_at + every);
        link.walk = Some(Walk { after: share.and_then(|(_, after)| after), at });
    }

    /// Says what is new of own links, or all of it again.
    fn advertise(&mut self, is_refresh: bool, now: Instant, out: &mut Vec<Effect>) {
        self.advertise_at = None;
        self.advertised_at = now;
        if is_refresh {
            self.refresh_at = now + self.settings.timing.ttl / 3;
        }
        let mut scopes = alloc::vec![(Kind::Mesh, AreaId::default())];
        if self.settings.mode != LinkStateMode::Disabled {
            scopes.extend(self.settings.areas.local.iter().map(|&area| (Kind::Border, area)));
        }
        for (kind, area) in scopes {
            let (links, summaries) = self.own(kind, area, out);
            let Here { node, cluster } = self.settings.here;
            let key = Key { origin: node, kind: kind as u16, area };
            let known = self.database.get(&key);
            let is_new = match known {
                Some(said) => said.links != links || said.summaries != summaries,
                None => !links.is_empty() || !summaries.is_empty(),
            };
            if !(is_new || is_refresh && known.is_some()) {
                continue;
            }
            self.sequence += 1;
            let version =
                Version { incarnation: self.settings.incarnation, sequence: self.sequence };
            let (origin, kind) = (node, kind as u16);
            let said = Advertisement { origin, cluster, version, kind, area, links, summaries };
            let (body, until) = (said.to_body(), now + self.settings.timing.ttl);
            self.database.insert(key, Entry { said, body, signature: None, until });
            self.flood(&key, None, now, out);
        }
    }

    /// What this node has to say.
    fn own(
        &self,
        kind: Kind,
        area: AreaId,
        out: &mut Vec<Effect>,
    ) -> (Vec<Adjacency>, Vec<Summary>) {
        let Here { node, cluster: mine } = self.settings.here;
        let is_of_kind = |link: &Adjacent| match kind {
            Kind::Mesh => link.cluster == mine,
            Kind::Border => {
                link.cluster != mine && self.settings.areas.of(link.cluster) == Some(area)
            }
        };
        let links = self.links.iter().filter(|(_, link)| is_of_kind(link));
        let mut links: Vec<_> = links
            .map(|(&node, &Adjacent { cluster, metrics, .. })| Adjacency { node, cluster, metrics })
            .collect();
        let mut summaries = Vec::new();
        if kind == Kind::Border && !links.is_empty() {
            let mates = self.ways.mates(area).map(|node| Adjacency {
                node,
                cluster: mine,
                metrics: NOTHING,
            });
            links.extend(mates.take(ADJACENCIES_MAX - links.len()));
            links.sort_by_key(|link| link.node);
            summaries = self.ways.summaries(&self.settings.areas, area);
        }
        if SUMMARIES_MAX < summaries.len() {
            summaries.truncate(SUMMARIES_MAX);
            out.push(Effect::Rejected { from: node, reason: Reject::Full });
        }
        (links, summaries)
    }

    fn compute(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.compute_at = None;
        self.computed_at = now;
        let links = self.links.iter().map(|(&node, &Adjacent { cluster, metrics, .. })| {
            Adjacency { node, cluster, metrics }
        });
        let links: Vec<_> = links.collect();
        let ways = compute::compute(&self.settings, &links, &self.database);
        let before = core::mem::replace(&mut self.ways, ways);
        out.push(Effect::Computed);
        // Ways to clusters of one area are what another area is told.
        if self.ways.has_other_mates(&before) || !self.settings.areas.summaries.is_empty() {
            let at = (self.advertised_at + self.settings.timing.advertise_every).max(now);
            self.advertise_at.get_or_insert(at);
        }
    }
}

/// What it costs to get to a mate is nobody's business but the cluster's.
const NOTHING: Metrics =
    Metrics { latency_us: 0, bandwidth_mbps: 0, reliability_ppm: 1_000_000, cost: 0 };

/// Whether a node says that it has a link to another. To a mate it may have none.
fn is_linked(said: &Advertisement, to: NodeId) -> bool {
    let is_link = |link: &Adjacency| said.kind == Kind::Mesh as u16 || link.cluster != said.cluster;
    said.links.iter().any(|link| link.node == to && is_link(link))
}

#[cfg(test)]
mod tests;
