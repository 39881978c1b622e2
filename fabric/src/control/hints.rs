//! What this node knew of others in its last life: whom to dial before anybody tells, and what to show as
//! what may be.
//!
//! ```text
//!   disk --at start--> HELD --its node is heard of--> forgotten
//!                       |  ^                            ^
//!                       |  +-- a member failed          +-- long after somebody was reached
//!                       +--> addresses to dial, beside the seeds
//!   catalog, HELD --after changes, paced--> disk
//! ```
//!
//! A hint is no entry: nothing is routed by it and nobody is told of it.
//!
//! Invariants:
//! - Of a node whose own entry is known there is no hint.
//! - At most [`HINTS_BYTES_MAX`] are written, and at most once in [`HINTS_PACE`]; nodes come before all
//!   else, this cluster's first.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::catalog::{EndpointRole, Kind, Node};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::member::PeerAddress;

use super::{Control, Effect, Record, Unwritten};
use crate::catalog::{Changed, Entry};
use crate::dial;
use crate::limits::{HINTS_BYTES_MAX, HINTS_DELAY, HINTS_LIFE, HINTS_PACE, LOST_NODES_MAX};
use crate::time::Instant;

/// What a node offered when it was last known.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hint {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub kind: Kind,
    pub name: Bytes,
    /// Of what a node said of itself; of anything else nothing.
    pub body: Bytes,
    /// This node had a link with it, or is of its cluster: it is worth dialling.
    pub is_near: bool,
}

/// Hints, and when they are written.
#[derive(Debug)]
pub(super) struct Hints {
    /// Of the last life.
    held: Vec<Hint>,
    /// Members that failed in this life.
    lost: Vec<Hint>,
    /// What the disk was given last.
    written: Bytes,
    written_at: Option<Instant>,
    /// When to write, or to forget.
    due: Option<Instant>,
}

impl Hint {
    fn of(entry: &Entry<'_>, is_near: bool) -> Self {
        let kind = entry.key.kind;
        let body = if kind == Kind::NODE { entry.body.clone() } else { Bytes::new() };
        let (node, cluster) = (entry.feed.node, entry.cluster);
        Self { node, cluster, kind, name: entry.key.name.clone(), body, is_near }
    }

    /// Where other nodes reached it.
    pub(super) fn address(&self) -> Option<PeerAddress> {
        let said = Node::parse(&self.body).ok().filter(|_| self.kind == Kind::NODE)?;
        let peer = said.endpoints.iter().find(|at| at.role == EndpointRole::PEER)?;
        let mut text = String::new();
        core::fmt::Write::write_fmt(&mut text, format_args!("{}:{}", peer.host, peer.port)).ok()?;
        text.parse().ok()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.kind.0.to_le_bytes());
        out.push(self.is_near.into());
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.cluster.0.to_le_bytes());
        for part in [&self.name, &self.body] {
            let length = u16::try_from(part.len()).expect("names and what nodes say are short");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let kind = Kind(u16::from_le_bytes(cut(bytes)?));
        let [is_near] = cut(bytes)?;
        let node = NodeId(u128::from_le_bytes(cut(bytes)?));
        let cluster = ClusterId(u128::from_le_bytes(cut(bytes)?));
        let mut part = || {
            let length = usize::from(u16::from_le_bytes(cut(bytes)?));
            let (part, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Bytes::copy_from_slice(part))
        };
        let (name, body) = (part()?, part()?);
        Some(Self { node, cluster, kind, name, body, is_near: is_near != 0 })
    }

    /// What [`Record::CatalogHints`] holds. `None`: something else.
    pub fn parse(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut hints = Vec::new();
        while !bytes.is_empty() {
            hints.push(Self::take(&mut bytes)?);
        }
        Some(hints)
    }
}

fn cut<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

impl Hints {
    pub(super) fn new(held: Vec<Hint>) -> Self {
        let due = (!held.is_empty()).then_some(Instant::START + HINTS_LIFE);
        Self { held, lost: Vec::new(), written: Bytes::new(), written_at: None, due }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn addresses(&self) -> impl Iterator<Item = PeerAddress> {
        self.held.iter().filter(|hint| hint.is_near).filter_map(Hint::address)
    }

    /// True if there is one less to dial.
    fn forget(&mut self, node: NodeId) -> bool {
        let before = self.held.len();
        self.held.retain(|hint| hint.node != node);
        self.lost.retain(|hint| hint.node != node);
        self.held.len() < before
    }

    fn changed(&mut self, now: Instant) {
        let at = self.written_at.map_or(now, |at| at + HINTS_PACE).max(now + HINTS_DELAY);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Control {
    /// What this node knew in its last life and has not heard of yet.
    pub fn hints(&self) -> impl Iterator<Item = &Hint> {
        self.hints.iter().flat_map(|hints| &hints.held)
    }

    /// Dials these, and whom there are hints of.
    pub(super) fn reseed(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let hinted = self.hints.iter().flat_map(Hints::addresses);
        let mut seen = BTreeSet::new();
        let all = self.seeds.iter().cloned().chain(hinted);
        let all = all.filter(|address| seen.insert(address.as_str().as_bytes().to_vec()));
        let all = all.collect();
        self.dial(dial::Input::Seeds(all), now, out);
    }

    /// The catalog is not what it was.
    pub(super) fn hints_changed(&mut self, changed: &Changed, now: Instant, out: &mut Vec<Effect>) {
        let (kind, node) = (changed.key.kind, changed.feed.node);
        let Some(hints) = &mut self.hints else { return };
        if !is_kept(kind) || node == self.here.node {
            return;
        }
        hints.changed(now);
        if kind == Kind::NODE && changed.body.is_some() && hints.forget(node) {
            self.reseed(now, out);
        }
    }

    /// A member failed: it may be back, in this life or the next.
    pub(super) fn hint_at(&mut self, node: NodeId) {
        let entry = self.gossip.catalog().entries();
        let mut entry = entry.filter(|one| one.feed.node == node && one.key.kind == Kind::NODE);
        let hint = entry.next().map(|entry| Hint::of(&entry, true));
        if let (Some(hints), Some(hint)) = (&mut self.hints, hint)
            && hints.lost.len() < LOST_NODES_MAX
        {
            hints.lost.push(hint);
        }
    }

    /// A member said goodbye.
    pub(super) fn hint_no_more(&mut self, node: NodeId, now: Instant, out: &mut Vec<Effect>) {
        if self.hints.as_mut().is_some_and(|hints| hints.forget(node)) {
            self.reseed(now, out);
        }
    }

    /// Writes what is known, if that is due, and forgets what nobody has heard of for long.
    pub(super) fn wake_hints(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(hints) = &mut self.hints else { return };
        if hints.due.is_none_or(|due| now < due) {
            return;
        }
        hints.due = None;
        if Instant::START + HINTS_LIFE <= now && !hints.held.is_empty() {
            if self.peers.is_empty() {
                hints.due = Some(now + HINTS_LIFE);
            } else {
                hints.held.clear();
                self.reseed(now, out);
            }
        }
        let bytes = self.hint_bytes();
        let Some(hints) = &mut self.hints else { return };
        hints.written_at = Some(now);
        if !hints.held.is_empty() && hints.due.is_none() {
            hints.due = Some((Instant::START + HINTS_LIFE).max(now + HINTS_PACE));
        }
        if bytes != hints.written {
            hints.written = bytes.clone();
            self.persist(Record::CatalogHints(bytes), Unwritten::Nothing, out);
        }
    }

    /// As much as may be written, what matters most first.
    fn hint_bytes(&self) -> Bytes {
        let (mut near, mut far, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for entry in self.gossip.catalog().entries() {
            let (node, kind) = (entry.feed.node, entry.key.kind);
            if node == self.here.node
                || !is_kept(kind)
                || HINTS_BYTES_MAX / HINT_BYTES_MIN < rest.len()
            {
                continue;
            }
            let is_mate = entry.cluster == self.here.cluster;
            let is_near = is_mate || self.peers.contains_key(&node);
            let hint = Hint::of(&entry, is_near);
            match kind {
                Kind::NODE if is_near => near.push(hint),
                Kind::NODE => far.push(hint),
                _ => rest.push(hint),
            }
        }
        let held = self.hints.iter().flat_map(|hints| hints.lost.iter().chain(&hints.held));
        let mut out = Vec::new();
        for hint in near.iter().chain(held).chain(&far).chain(&rest) {
            let before = out.len();
            hint.put(&mut out);
            if HINTS_BYTES_MAX < out.len() {
                out.truncate(before);
                break;
            }
        }
        out.into()
    }
}

/// Of the shortest.
const HINT_BYTES_MIN: usize = 2 + 1 + 16 + 16 + 2 + 2;

/// Wants are many, change often, and say nothing about where nodes are.
fn is_kept(kind: Kind) -> bool {
    ![Kind::SUBSCRIPTION, Kind::CLUSTER_INTEREST, Kind::ROUTE_KEY].contains(&kind)
}
