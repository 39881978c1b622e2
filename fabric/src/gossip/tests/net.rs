//! A network of gossiping nodes: frames take time, and are lost, doubled, reordered and cut off as a
//! test says, by a seed.

extern crate std;

use alloc::collections::{BTreeMap, BTreeSet};
use std::format;

use super::*;

/// Frames on the way and wakes, by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    time: Instant,
    number: u64,
}

enum Happening {
    Arrives { from: NodeId, to: NodeId, bytes: Bytes },
    Wakes(NodeId),
}

/// What one node shows its observers.
pub(super) type Shown = BTreeMap<(FeedId, Key), Bytes>;

pub(super) struct Peer {
    pub(super) gossip: Gossip,
    pub(super) cluster: ClusterId,
    pub(super) shown: Shown,
    pub(super) facts: Vec<Fact>,
    pub(super) outlived: Vec<Incarnation>,
    pub(super) not_offered: Vec<Refusal>,
    /// Bytes and frames sent.
    pub(super) sent: (usize, usize),
    wakes_at: Option<Instant>,
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<NodeId, Peer>,
    /// What live nodes offer.
    pub(super) offered: Shown,
    /// Both ways; cut ones lose every frame.
    pub(super) links: BTreeSet<(NodeId, NodeId)>,
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes that have no room for frames.
    pub(super) full: BTreeSet<NodeId>,
    /// Of 1,000 frames.
    pub(super) lost: u32,
    pub(super) doubled: u32,
    /// The longest way; the shortest is 1 ms.
    pub(super) latency_ms: u32,
    /// Whether frames of one lane may overtake each other.
    pub(super) reorders: bool,
    /// Frames to one peer that fit one moment; more are refused.
    pub(super) room: Option<usize>,
    /// Frames sent at this moment, to whom.
    sent_now: (Instant, Vec<NodeId>),
    /// When the last frame of a lane arrives.
    last: BTreeMap<(NodeId, NodeId, Lane), Instant>,
    /// All frames that were sent, while this is `Some`.
    pub(super) recorded: Option<Vec<(NodeId, NodeId, Bytes)>>,
    pub(super) options: Options,
    rng: Rng,
    queue: BTreeMap<At, Happening>,
    number: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::START,
            nodes: BTreeMap::new(),
            offered: Shown::new(),
            links: BTreeSet::new(),
            cut: BTreeSet::new(),
            full: BTreeSet::new(),
            lost: 0,
            doubled: 0,
            latency_ms: 5,
            reorders: false,
            room: None,
            sent_now: (Instant::START, Vec::new()),
            last: BTreeMap::new(),
            recorded: None,
            options: Options::DEFAULT,
            rng: Rng::from_seed(seed),
            queue: BTreeMap::new(),
            number: 0,
        }
    }

    /// A full mesh of one cluster, each node with one entry.
    pub(super) fn mesh(seed: u64, count: u128) -> Self {
        let mut net = Self::new(seed);
        for node in 1..=count {
            net.start(node, 1, 1);
            (1..node).for_each(|other| net.link(node, other));
        }
        for node in 1..=count {
            net.offer(node, Scope::Cluster, "self");
        }
        net.run(2_000);
        net.assert_agreed();
        net
    }

    pub(super) fn start(&mut self, node: u128, cluster: u128, incarnation: u64) {
        self.start_with(node, incarnation, Federation::strict(ClusterId(cluster)));
    }

    pub(super) fn start_with(&mut self, node: u128, incarnation: u64, federation: Federation) {
        let (node, cluster) = (NodeId(node), federation.own);
        let rng = self.rng.stream(self.number);
        self.number += 1;
        let incarnation = Incarnation(incarnation);
        let gossip = Gossip::new(node, incarnation, federation, self.options, rng, self.now);
        let peer = Peer {
            gossip,
            cluster,
            shown: Shown::new(),
            facts: Vec::new(),
            outlived: Vec::new(),
            not_offered: Vec::new(),
            sent: (0, 0),
            wakes_at: None,
        };
        self.nodes.insert(node, peer);
        self.plan_wake(node);
    }

    /// Takes a node away without a word.
    pub(super) fn crash(&mut self, node: u128) {
        let node = NodeId(node);
        for (a, b) in self.links.clone() {
            if a == node || b == node {
                self.unlink(a.0, b.0);
            }
        }
        self.nodes.remove(&node);
        self.offered.retain(|(feed, _), _| feed.node != node);
    }

    pub(super) fn link(&mut self, a: u128, b: u128) {
        let (a, b) = (NodeId(a), NodeId(b));
        self.links.insert((a.min(b), a.max(b)));
        for (here, there) in [(a, b), (b, a)] {
            let cluster = self.nodes[&there].cluster;
            self.input(here, Input::LinkUp(Speaker { node: there, cluster }));
        }
    }

    pub(super) fn unlink(&mut self, a: u128, b: u128) {
        let (a, b) = (NodeId(a), NodeId(b));
        self.links.remove(&(a.min(b), a.max(b)));
        for (here, there) in [(a, b), (b, a)] {
            self.input(here, Input::LinkDown { peer: there });
        }
    }

    pub(super) fn offer(&mut self, node: u128, scope: Scope, name: &str) {
        self.offer_body(node, scope, name, b"");
    }

    pub(super) fn offer_body(&mut self, node: u128, scope: Scope, name: &str, body: &'static [u8]) {
        let (node, key, body) = (NodeId(node), key(name), Bytes::from_static(body));
        self.offered.insert((FeedId { node, scope }, key.clone()), body.clone());
        self.input(node, Input::Offer { scope, key, body });
    }

    pub(super) fn retract(&mut self, node: u128, scope: Scope, name: &str) {
        let (node, key) = (NodeId(node), key(name));
        self.offered.remove(&(FeedId { node, scope }, key.clone()));
        self.input(node, Input::Retract { scope, key });
    }

    pub(super) fn input(&mut self, node: NodeId, input: Input) {
        let Some(peer) = self.nodes.get_mut(&node) else { return };
        let mut effects = Vec::new();
        peer.gossip.handle(input, self.now, &mut effects);
        for effect in effects {
            self.perform(node, effect);
        }
        self.plan_wake(node);
    }

    fn perform(&mut self, node: NodeId, effect: Effect) {
        let peer = self.nodes.get_mut(&node).unwrap();
        match effect {
            Effect::Send { to, lane, bytes } => self.send(node, to, lane, bytes),
            Effect::Changed(Changed { feed, key, body, .. }) => {
                let what = format!("{feed:?} {key:?} on {node} at {:?}", self.now);
                match body {
                    Some(body) => {
                        let old = peer.shown.insert((feed, key), body.clone());
                        assert_ne!(old, Some(body), "came twice: {what}");
                    }
                    None => assert!(peer.shown.remove(&(feed, key)).is_some(), "was not: {what}"),
                }
            }
            Effect::NotOffered { why, .. } => peer.not_offered.push(why),
            Effect::Outlived { incarnation } => peer.outlived.push(incarnation),
            Effect::Fact(fact) => peer.facts.push(fact),
        }
    }

    fn has_room(&mut self, to: NodeId) -> bool {
        if self.sent_now.0 != self.now {
            self.sent_now = (self.now, Vec::new());
        }
        self.sent_now.1.push(to);
        let count = self.sent_now.1.iter().filter(|peer| **peer == to).count();
        !self.full.contains(&to) && self.room.is_none_or(|room| count <= room)
    }

    fn send(&mut self, from: NodeId, to: NodeId, lane: Lane, bytes: Bytes) {
        assert!(bytes.len() <= (1 << 16) - 8, "{} bytes are no frame", bytes.len());
        if !self.has_room(to) {
            return self.soon(from, Input::Refused { to });
        }
        let peer = self.nodes.get_mut(&from).unwrap();
        peer.sent = (peer.sent.0 + bytes.len(), peer.sent.1 + 1);
        if let Some(recorded) = &mut self.recorded {
            recorded.push((from, to, bytes.clone()));
        }
        let link = (from.min(to), from.max(to));
        assert!(self.links.contains(&link), "{from} has no link to {to}");
        let copies = 1 + usize::from(self.rng.below(1000) < self.doubled);
        for _ in 0..copies {
            if self.cut.contains(&link) || self.rng.below(1000) < self.lost {
                continue;
            }
            let micros = 1000 + self.rng.below(self.latency_ms * 1000 - 999);
            let mut time = self.now + Duration::from_micros(micros.into());
            if !self.reorders {
                let last = self.last.entry((from, to, lane)).or_insert(time);
                time = time.max(*last);
                *last = time;
            }
            self.plan(time, Happening::Arrives { from, to, bytes: bytes.clone() });
        }
    }

    fn soon(&mut self, node: NodeId, input: Input) {
        let peer = self.nodes.get_mut(&node).unwrap();
        let mut effects = Vec::new();
        peer.gossip.handle(input, self.now, &mut effects);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { .. })));
    }

    fn plan(&mut self, time: Instant, happening: Happening) {
        self.number += 1;
        self.queue.insert(At { time, number: self.number }, happening);
    }

    fn plan_wake(&mut self, node: NodeId) {
        let Some(peer) = self.nodes.get_mut(&node) else { return };
        let deadline = peer.gossip.deadline();
        if let Some(at) = deadline
            && peer.wakes_at != deadline
        {
            peer.wakes_at = deadline;
            self.plan(at.max(self.now), Happening::Wakes(node));
        }
    }

    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until all agree; how many milliseconds that took.
    pub(super) fn run_until_agreed(&mut self, millis_max: u64) -> u64 {
        let (start, end) = (self.now, self.now + Duration::from_millis(millis_max));
        while !self.is_agreed() {
            assert!(self.step(end), "not agreed after {millis_max} ms");
        }
        u64::try_from(self.now.since(start).as_millis()).unwrap()
    }

    fn step(&mut self, end: Instant) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().time <= end) else {
            return false;
        };
        let (at, happening) = entry.remove_entry();
        self.now = at.time;
        match happening {
            Happening::Arrives { from, to, bytes } => {
                if self.links.contains(&(from.min(to), from.max(to))) {
                    self.input(to, Input::Received { from, bytes });
                }
            }
            Happening::Wakes(node) => {
                let is_due = |peer: &Peer| peer.wakes_at.is_some_and(|at| at <= self.now);
                if self.nodes.get(&node).is_some_and(is_due) {
                    self.nodes.get_mut(&node).unwrap().wakes_at = None;
                    self.input(node, Input::DeadlineReached);
                }
            }
        }
        true
    }

    /// What a node of one cluster should show, if all clusters were strict and apart.
    fn expected(&self, cluster: ClusterId) -> Shown {
        let of_cluster = |feed: &FeedId| self.nodes[&feed.node].cluster == cluster;
        let mine = self.offered.iter().filter(|((feed, _), _)| of_cluster(feed));
        mine.map(|(key, body)| (key.clone(), body.clone())).collect()
    }

    pub(super) fn is_agreed(&self) -> bool {
        self.nodes.values().all(|peer| peer.shown == self.expected(peer.cluster))
    }

    #[track_caller]
    pub(super) fn assert_agreed(&self) {
        for (node, peer) in &self.nodes {
            let expected = self.expected(peer.cluster);
            if peer.shown == expected {
                continue;
            }
            let names = |one: &Shown, other: &Shown| {
                let lacking = one.iter().filter(|(key, body)| other.get(*key) != Some(*body));
                lacking
                    .map(|((feed, key), _)| format!("{}:{key:?}", feed.node.0))
                    .collect::<Vec<_>>()
            };
            let (lacks, has) = (names(&expected, &peer.shown), names(&peer.shown, &expected));
            panic!("{} lacks {lacks:?}, has {has:?} at {:?}", node.0, self.now);
        }
    }

    pub(super) fn shown(&self, node: u128) -> &Shown {
        &self.nodes[&NodeId(node)].shown
    }

    pub(super) fn shows(&self, node: u128, owner: u128, name: &str) -> bool {
        let mut all = self.shown(node).keys();
        all.any(|(feed, shown)| feed.node == NodeId(owner) && *shown == key(name))
    }

    pub(super) fn count(&self, node: u128, is_it: impl Fn(&Fact) -> bool) -> usize {
        self.nodes[&NodeId(node)].facts.iter().filter(|fact| is_it(fact)).count()
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.rng.below(bound)
    }

    pub(super) fn forget_counts(&mut self) {
        for peer in self.nodes.values_mut() {
            peer.facts.clear();
            peer.sent = (0, 0);
        }
    }
}

/// Of a kind nobody knows.
pub(super) fn key(name: &str) -> Key {
    Key::new(Kind(900), name.as_bytes())
}
