//! One node that is told things, true and false.

use alloc::vec;

use ed25519_dalek::SigningKey;
use mpreg_proto::route::{Announcement, Hop, Inside, Item, Origin, Relation, Withdrawal};

use super::net::{authorisation, authorised, key, root};
use super::*;

/// Node 1 of cluster 1. It knows the keys of clusters 1 to 9, each of which signs with serial 1.
pub(super) struct Lab {
    pub(super) routes: Routes,
    pub(super) now: Instant,
    pub(super) effects: Vec<Effect>,
}

/// The node of a cluster that speaks for it.
pub(super) fn speaker(cluster: u128) -> NodeId {
    NodeId(cluster * 10)
}

pub(super) fn version(sequence: u64) -> Version {
    Version { incarnation: Incarnation(1), sequence }
}

impl Lab {
    pub(super) fn new(policy: Policy) -> Self {
        let cluster = ClusterId(1);
        let settings = Settings {
            node: NodeId(1),
            cluster,
            incarnation: Incarnation(1),
            stored: None,
            root: Some(root().verifying_key()),
            signer: Some(Signer { key_serial: 1, key: key(cluster, 1) }),
            policy,
            wall: WallClock { unix_seconds: TODAY, at: Instant::START },
        };
        let routes = Routes::new(settings, Rng::from_seed(1));
        let now = Instant::START + SECOND;
        let mut lab = Self { routes, now, effects: Vec::new() };
        for cluster in 1..=9 {
            let record = authorised(&authorisation(ClusterId(cluster), 1));
            lab.input(Input::KeyProvided(Provided::Authorisation(record)));
        }
        lab.input(Input::Persisted { ticket: Ticket(1) });
        lab
    }

    /// With the speakers of clusters 2 to 4 as neighbours.
    pub(super) fn open() -> Self {
        let mut lab = Self::new(Policy::open());
        (2..=4).for_each(|cluster| lab.up(cluster));
        lab
    }

    pub(super) fn up(&mut self, cluster: u128) {
        let (peer, cluster) = (speaker(cluster), ClusterId(cluster));
        self.input(Input::PeerUp { peer, cluster, link: link(10) });
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<Fact> {
        let begun = self.effects.len();
        self.routes.handle(input, self.now, &mut self.effects);
        facts(&self.effects[begun..])
    }

    pub(super) fn wait(&mut self, span: Duration) -> Vec<Fact> {
        self.now = self.now + span;
        self.input(Input::DeadlineReached)
    }

    /// The speaker of a cluster says something.
    pub(super) fn told(&mut self, by: u128, item: &Item) -> Vec<Fact> {
        let message = Message { entries: vec![item.entry()] };
        self.input(Input::Heard { from: speaker(by), message })
    }

    /// Why it is refused, or `None` where it is taken.
    pub(super) fn refusal(&mut self, by: u128, item: &Item) -> Option<Reject> {
        let reasons: Vec<_> = self.told(by, item).into_iter().filter_map(reason).collect();
        assert!(reasons.len() <= 1, "one reason for one thing said: {reasons:?}");
        reasons.first().copied()
    }

    pub(super) fn path(&self, destination: u128) -> Vec<u128> {
        let hop = self.routes.next_hop(ClusterId(destination), &[], self.now);
        hop.map_or_else(Vec::new, |hop| hop.path.iter().map(|cluster| cluster.0).collect())
    }

    pub(super) fn sent(&self, to: NodeId) -> Vec<Item> {
        let entries = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { to: peer, message } if *peer == to => Some(&message.entries),
            Effect::Send { .. }
            | Effect::Persist { .. }
            | Effect::View(_)
            | Effect::KeysChanged
            | Effect::Fact(_) => None,
        });
        entries.flatten().map(|entry| Item::read(entry).unwrap().unwrap()).collect()
    }

    /// What a neighbour was told of a destination last: a path, none, or nothing at all.
    pub(super) fn knows(&self, cluster: u128, destination: u128) -> Option<usize> {
        let mut said = self.sent(speaker(cluster)).into_iter().filter_map(|item| match item {
            Item::Announce(announcement) if announcement.destination.0 == destination => {
                Some(announcement.chain.len())
            }
            Item::Withdraw(signed) => {
                let withdrawal = Withdrawal::parse(&signed.body).unwrap();
                (withdrawal.destination.0 == destination).then_some(0)
            }
            Item::Announce(_)
            | Item::Inside(_)
            | Item::Authorise(_)
            | Item::Revoke(_)
            | Item::Sum(_)
            | Item::Held(_) => None,
        });
        said.next_back()
    }
}

pub(super) fn reason(fact: Fact) -> Option<Reject> {
    match fact {
        Fact::Rejected { reason, .. } => Some(reason),
        Fact::Accepted { .. }
        | Fact::Withdrawn { .. }
        | Fact::Expired { .. }
        | Fact::Void { .. }
        | Fact::Best { .. }
        | Fact::KeyAccepted { .. }
        | Fact::KeyRevoked { .. }
        | Fact::KeyRejected { .. }
        | Fact::CannotSign { .. } => None,
    }
}

/// What the speaker of a cluster says of its own cluster.
pub(super) fn origin(cluster: u128, to: u128, sequence: u64) -> Origin {
    Origin {
        cluster: ClusterId(cluster),
        node: speaker(cluster),
        version: version(sequence),
        to: ClusterId(to),
        key_serial: 1,
        relation: Relation::Open,
        ttl_ms: 30_000,
        tags: vec![],
    }
}

/// What the speaker of a cluster says of another one, `hops` links away.
pub(super) fn hop(cluster: u128, to: u128, sequence: u64, hops: u16) -> Hop {
    Hop {
        cluster: ClusterId(cluster),
        node: speaker(cluster),
        version: version(sequence),
        to: ClusterId(to),
        key_serial: 1,
        relation: Relation::Open,
        metrics: Metrics {
            hops,
            latency_us: 10_000 * u32::from(hops),
            bandwidth_mbps: 0,
            reliability_ppm: 1_000_000,
            cost: 0,
        },
    }
}

/// An announcement in the making: each link signed with the key it should be, unless told otherwise.
#[derive(Clone)]
pub(super) struct Forged {
    pub(super) announcement: Announcement,
    digest: ChainDigest,
}

impl Forged {
    pub(super) fn origin(origin: Origin) -> Self {
        let key = key(origin.cluster, origin.key_serial);
        Self::origin_by(origin, Some(key))
    }

    pub(super) fn origin_by(origin: Origin, key: Option<SigningKey>) -> Self {
        let announcement =
            Announcement { destination: origin.cluster, ttl_ms: origin.ttl_ms, chain: vec![] };
        Self { announcement, digest: ChainDigest::EMPTY }.link(origin.body(), key)
    }

    pub(super) fn hop(self, hop: Hop) -> Self {
        let key = key(hop.cluster, hop.key_serial);
        self.hop_by(hop, Some(key))
    }

    pub(super) fn hop_by(self, hop: Hop, key: Option<SigningKey>) -> Self {
        self.link(hop.body(), key)
    }

    fn link(mut self, body: Vec<u8>, key: Option<SigningKey>) -> Self {
        let signed = match key {
            Some(key) => {
                Signer { key_serial: 1, key }.link(self.digest, body, &mut Made::default())
            }
            None => Signed { body, signature: None },
        };
        self.digest = self.digest.then(&signed);
        self.announcement.chain.push(signed);
        self
    }

    /// Puts other links in front of those to come.
    pub(super) fn spliced(mut self, chain: Vec<Signed>) -> Self {
        self.digest = chain.iter().fold(ChainDigest::EMPTY, |digest, link| digest.then(link));
        self.announcement.chain = chain;
        self
    }

    pub(super) fn item(&self) -> Item {
        Item::Announce(self.announcement.clone())
    }
}

/// Cluster 9 as neighbour `by` tells of it: `by` is next to it.
pub(super) fn nine(by: u128, sequence: u64) -> Forged {
    Forged::origin(origin(9, by, sequence)).hop(hop(by, 1, sequence, 1))
}

pub(super) fn withdrawal(by: u128, destination: u128, sequence: u64) -> Withdrawal {
    Withdrawal {
        destination: ClusterId(destination),
        cluster: ClusterId(by),
        node: speaker(by),
        version: version(sequence),
        to: ClusterId(1),
        key_serial: 1,
    }
}

pub(super) fn withdraw(withdrawal: &Withdrawal) -> Item {
    withdraw_by(withdrawal, key(withdrawal.cluster, 1))
}

pub(super) fn withdraw_by(withdrawal: &Withdrawal, key: SigningKey) -> Item {
    Item::Withdraw(
        Signer { key_serial: 1, key }.withdrawal(withdrawal.body(), &mut Made::default()),
    )
}

/// What gateway `gateway` has to cluster 9 over neighbour 2, or that it has nothing.
pub(super) fn inside(gateway: u128, sequence: u64, forged: Option<Forged>) -> Inside {
    let route = forged.map(|forged| mpreg_proto::route::InsideRoute {
        metrics: link(5).to(hop(2, 1, 0, 1).metrics),
        is_damped: false,
        announcement: forged.announcement,
    });
    Inside {
        gateway: NodeId(gateway),
        version: version(sequence),
        destination: ClusterId(9),
        route,
        told: vec![],
    }
}
