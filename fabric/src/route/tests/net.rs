//! Nodes, links with delays, and one clock. Everything is drawn from one seed.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_proto::route::{Authorisation, Revocation, Signing, message};

use super::*;

pub(super) fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// The key of a cluster with this serial.
pub(super) fn key(cluster: ClusterId, key_serial: u64) -> SigningKey {
    let mut seed = [2; 32];
    seed[..16].copy_from_slice(&cluster.0.to_le_bytes());
    seed[16..24].copy_from_slice(&key_serial.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

pub(super) fn authorisation(cluster: ClusterId, key_serial: u64) -> Authorisation {
    Authorisation {
        cluster,
        key_serial,
        keep_from: 0,
        key: key(cluster, key_serial).verifying_key().to_bytes(),
        tags: vec!["gold".into(), "eu".into()],
        not_before: TODAY - 1000,
        not_after: TODAY + 1_000_000,
    }
}

pub(super) fn by_root(signing: Signing, body: Vec<u8>) -> Signed {
    let signature = root().sign(&message(signing, &body)).to_bytes();
    Signed { body, signature: Some(signature) }
}

pub(super) fn authorised(authorisation: &Authorisation) -> Signed {
    by_root(Signing::Authorisation, authorisation.body())
}

pub(super) fn revoked(cluster: ClusterId, key_serial: u64) -> Signed {
    by_root(Signing::Revocation, Revocation { cluster, key_serial }.body())
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<NodeId, Peer>,
    pub(super) links: Vec<Wire>,
    happenings: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    seed: u64,
    signed: bool,
    policy: Policy,
    pub(super) messages: u64,
}

pub(super) struct Peer {
    pub(super) routes: Routes,
    pub(super) cluster: ClusterId,
    pub(super) facts: Vec<Fact>,
    pub(super) stored: Option<Version>,
    incarnation: u64,
    pub(super) sent: VecDeque<Message>,
}

#[derive(Clone, Copy)]
pub(super) struct Wire {
    pub(super) ends: [NodeId; 2],
    pub(super) link: Link,
    pub(super) is_up: bool,
    /// Counts cuts, so that what was on the way is lost.
    life: u32,
}

enum Happening {
    Arrives { wire: usize, life: u32, to: NodeId, from: NodeId, bytes: Vec<u8> },
    Persisted { node: NodeId, incarnation: u64, ticket: Ticket },
}

impl Net {
    pub(super) fn unsigned(seed: u64) -> Self {
        let policy = Policy { signatures: Signatures::UnsignedAllowed, ..Policy::open() };
        Self::new(seed, policy, false)
    }

    pub(super) fn signed(seed: u64) -> Self {
        Self::new(seed, Policy::open(), true)
    }

    pub(super) fn new(seed: u64, policy: Policy, signed: bool) -> Self {
        Self {
            now: Instant::START + SECOND,
            nodes: BTreeMap::new(),
            links: Vec::new(),
            happenings: BTreeMap::new(),
            count: 0,
            seed,
            signed,
            policy,
            messages: 0,
        }
    }

    pub(super) fn add(&mut self, node: u128, cluster: u128) -> NodeId {
        let (node, cluster) = (NodeId(node), ClusterId(cluster));
        let routes = self.start(node, cluster, 1, None);
        let peer = Peer {
            routes,
            cluster,
            facts: Vec::new(),
            stored: None,
            incarnation: 1,
            sent: VecDeque::new(),
        };
        self.nodes.insert(node, peer);
        if self.signed {
            self.provide_keys(node);
        }
        self.input(node, Input::DeadlineReached);
        node
    }

    fn start(
        &self,
        node: NodeId,
        cluster: ClusterId,
        life: u64,
        stored: Option<Version>,
    ) -> Routes {
        let settings = Settings {
            node,
            cluster,
            incarnation: Incarnation(life),
            stored,
            root: Some(root().verifying_key()),
            signer: self.signed.then(|| Signer { key_serial: 1, key: key(cluster, 1) }),
            policy: self.policy.clone(),
            wall: WallClock { unix_seconds: TODAY, at: Instant::START },
        };
        Routes::new(settings, Rng::from_seed(self.seed ^ node.0 as u64 ^ life))
    }

    /// Every node knows the keys of its own cluster and hears of the others.
    fn provide_keys(&mut self, node: NodeId) {
        let record = authorised(&authorisation(self.nodes[&node].cluster, 1));
        self.input(node, Input::KeyProvided(Provided::Authorisation(record)));
    }

    /// Crashes and comes back with what was on disk.
    pub(super) fn restart(&mut self, node: NodeId, incarnation: u64) {
        let wires: Vec<usize> = (0..self.links.len())
            .filter(|wire| self.links[*wire].ends.contains(&node) && self.links[*wire].is_up)
            .collect();
        wires.iter().for_each(|wire| self.cut(*wire));
        let Peer { cluster, stored, .. } = self.nodes[&node];
        let routes = self.start(node, cluster, incarnation, stored);
        let peer = self.nodes.get_mut(&node).unwrap();
        peer.routes = routes;
        peer.incarnation = incarnation;
        if self.signed {
            self.provide_keys(node);
        }
        self.input(node, Input::DeadlineReached);
        wires.iter().for_each(|wire| self.restore(*wire));
    }

    pub(super) fn connect(&mut self, a: NodeId, b: NodeId, link: Link) -> usize {
        self.links.push(Wire { ends: [a, b], link, is_up: false, life: 0 });
        self.restore(self.links.len() - 1);
        self.links.len() - 1
    }

    pub(super) fn restore(&mut self, wire: usize) {
        self.links[wire].is_up = true;
        let Wire { ends: [a, b], link, .. } = self.links[wire];
        for (node, peer) in [(a, b), (b, a)] {
            let cluster = self.nodes[&peer].cluster;
            self.input(node, Input::PeerUp { peer, cluster, link });
        }
    }

    pub(super) fn cut(&mut self, wire: usize) {
        self.links[wire].is_up = false;
        self.links[wire].life += 1;
        let [a, b] = self.links[wire].ends;
        self.input(a, Input::PeerDown { peer: b });
        self.input(b, Input::PeerDown { peer: a });
    }

    pub(super) fn input(&mut self, node: NodeId, input: Input) {
        let mut effects = Vec::new();
        let peer = self.nodes.get_mut(&node).unwrap();
        peer.routes.handle(input, self.now, &mut effects);
        for effect in effects {
            self.effect(node, effect);
        }
    }

    fn effect(&mut self, node: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(node, to, &message),
            Effect::Persist { ticket, reserved } => {
                let peer = self.nodes.get_mut(&node).unwrap();
                peer.stored = Some(reserved);
                let incarnation = peer.incarnation;
                self.later(MS, Happening::Persisted { node, incarnation, ticket });
            }
            Effect::View(view) => assert_eq!(&view, self.nodes[&node].routes.view()),
            Effect::KeysChanged => (),
            Effect::Fact(fact) => self.nodes.get_mut(&node).unwrap().facts.push(fact),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let joins =
            |wire: &Wire| wire.is_up && wire.ends.contains(&from) && wire.ends.contains(&to);
        let wire = self.links.iter().position(joins).expect("only peers are sent to");
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        self.messages += 1;
        let peer = self.nodes.get_mut(&from).unwrap();
        peer.sent.push_back(message.clone());
        let Wire { link, life, .. } = self.links[wire];
        let delay = Duration::from_micros(u64::from(link.round_trip_us) / 2);
        self.later(delay, Happening::Arrives { wire, life, to, from, bytes });
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.count += 1;
        self.happenings.insert((self.now + delay, self.count), happening);
    }

    /// The next moment anything happens, and lets it.
    fn step(&mut self, until: Instant) -> bool {
        let due = self.nodes.iter().filter_map(|(id, node)| Some((node.routes.deadline()?, *id)));
        let due = due.min();
        let first = self.happenings.keys().next().map(|(at, _)| *at);
        let at = first.unwrap_or(Instant::NEVER).min(due.map_or(Instant::NEVER, |(at, _)| at));
        if until < at {
            self.now = until;
            return false;
        }
        self.now = self.now.max(at);
        if first == Some(at) {
            let (_, happening) = self.happenings.pop_first().unwrap();
            self.happen(happening);
        } else if let Some((_, node)) = due {
            self.input(node, Input::DeadlineReached);
            let next = self.nodes[&node].routes.deadline();
            assert!(next.is_none_or(|next| self.now < next), "{node} spins");
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { wire, life, to, from, bytes } => {
                if self.links[wire].life == life {
                    let message = Message::parse(&bytes).unwrap();
                    self.input(to, Input::Heard { from, message });
                }
            }
            Happening::Persisted { node, incarnation, ticket } => {
                if self.nodes[&node].incarnation == incarnation {
                    self.input(node, Input::Persisted { ticket });
                }
            }
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
    }

    /// Runs until `is_so`, looking after every step; how long that took.
    pub(super) fn run_until(&mut self, most: Duration, is_so: impl Fn(&Self) -> bool) -> Duration {
        let begun = self.now;
        while !is_so(self) {
            assert!(self.step(begun + most), "not so after {most:?}");
        }
        self.now.since(begun)
    }

    pub(super) fn clusters(&self) -> Vec<ClusterId> {
        let mut clusters: Vec<_> = self.nodes.values().map(|node| node.cluster).collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    pub(super) fn next(&self, node: NodeId, destination: u128) -> Option<NodeId> {
        let hop = self.nodes[&node].routes.view().next_hop(ClusterId(destination), &[]);
        hop.map(|hop| hop.next.node())
    }

    pub(super) fn path(&self, node: NodeId, destination: u128) -> Vec<u128> {
        let hop = self.nodes[&node].routes.view().next_hop(ClusterId(destination), &[]);
        hop.map_or_else(Vec::new, |hop| hop.path.iter().map(|cluster| cluster.0).collect())
    }

    pub(super) fn count(&self, node: NodeId, is_it: impl Fn(&Fact) -> bool) -> usize {
        self.nodes[&node].facts.iter().filter(|fact| is_it(fact)).count()
    }

    pub(super) fn rejected(&self, reason: Reject) -> usize {
        let nodes = self.nodes.keys();
        let is_it =
            |fact: &Fact| matches!(fact, Fact::Rejected { reason: seen, .. } if *seen == reason);
        nodes.map(|node| self.count(*node, is_it)).sum()
    }

    /// Nodes passed from `from` until the destination's cluster, or `None` where it does not arrive.
    pub(super) fn walk(&self, from: NodeId, destination: ClusterId) -> Option<Vec<NodeId>> {
        let mut passed = vec![from];
        let mut at = from;
        while self.nodes[&at].cluster != destination {
            let hop = self.nodes[&at].routes.view().next_hop(destination, &[])?;
            at = hop.next.node();
            if passed.contains(&at) {
                return None;
            }
            passed.push(at);
        }
        Some(passed)
    }
}
