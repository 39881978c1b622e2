//! Whatever an attacker could say, in the bytes of each plane. Keys and records as they should be,
//! unless told otherwise.

use mpreg_proto::catalog::{self, Change, FeedId, Head, News};
use mpreg_proto::member::{Condition, Header, Packet, Record as Word, Saying};
use mpreg_proto::route::{
    Announcement, Authorisation, ChainDigest, Entry, Hop, Item, Message, Metrics, Origin, Relation,
    Revocation, Signed, Signing, Withdrawal, link_message, message,
};

use super::*;

/// 2026.
pub(super) const TODAY: u64 = 1_780_000_000;

/// A frame on a link.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) link: u64,
    pub(super) plane: Plane,
    pub(super) body: Vec<u8>,
}

pub(super) fn name(number: u128) -> ClusterName {
    alloc::format!("c{number}").parse().unwrap()
}

pub(super) fn cluster(number: u128) -> ClusterId {
    name(number).id()
}

pub(super) fn version(incarnation: u64, sequence: u64) -> Version {
    Version { incarnation: Incarnation(incarnation), sequence }
}

pub(super) fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// Nobody's.
pub(super) fn foreign() -> SigningKey {
    SigningKey::from_bytes(&[99; 32])
}

/// The key of a cluster with this serial.
pub(super) fn key(cluster: u128, serial: u64) -> SigningKey {
    let mut seed = [2; 32];
    seed[..16].copy_from_slice(&cluster.to_le_bytes());
    seed[16..24].copy_from_slice(&serial.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

pub(super) fn routes(link: u64, items: &[Item]) -> Sent {
    entries(link, items.iter().map(Item::entry).collect())
}

pub(super) fn entries(link: u64, entries: Vec<Entry>) -> Sent {
    let mut body = Vec::new();
    Message { entries }.put(&mut body);
    Sent { link, plane: Plane::Route, body }
}

/// What the gateway of a cluster says of its own cluster: node 20 speaks for cluster 2.
pub(super) fn origin(of: u128, to: u128, sequence: u64) -> Origin {
    Origin {
        cluster: cluster(of),
        node: NodeId(of * 10),
        version: version(1, sequence),
        to: cluster(to),
        key_serial: 1,
        relation: Relation::Open,
        ttl_ms: 30_000,
        tags: vec![],
    }
}

pub(super) fn hop(of: u128, to: u128, sequence: u64, hops: u16) -> Hop {
    let metrics = Metrics {
        hops,
        latency_us: 10_000 * u32::from(hops),
        bandwidth_mbps: 10,
        reliability_ppm: 999_900,
        cost: 7,
    };
    Hop {
        cluster: cluster(of),
        node: NodeId(of * 10),
        version: version(1, sequence),
        to: cluster(to),
        key_serial: 1,
        relation: Relation::Open,
        metrics,
    }
}

/// An announcement in the making.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) said: Announcement,
    digest: ChainDigest,
}

impl Chain {
    pub(super) fn origin(of: u128, to: u128, sequence: u64) -> Self {
        Self::begin(of, origin(of, to, sequence))
    }

    pub(super) fn begin(of: u128, origin: Origin) -> Self {
        let by = key(of, origin.key_serial);
        Self::begin_by(origin, Some(by))
    }

    pub(super) fn begin_by(origin: Origin, by: Option<SigningKey>) -> Self {
        let (destination, ttl_ms) = (origin.cluster, origin.ttl_ms);
        let said = Announcement { destination, ttl_ms, chain: vec![] };
        Self { said, digest: ChainDigest::EMPTY }.link(origin.body(), by)
    }

    pub(super) fn hop(self, of: u128, to: u128, sequence: u64, hops: u16) -> Self {
        self.hop_as(of, hop(of, to, sequence, hops))
    }

    pub(super) fn hop_as(self, of: u128, hop: Hop) -> Self {
        let by = key(of, hop.key_serial);
        self.link(hop.body(), Some(by))
    }

    pub(super) fn link(mut self, body: Vec<u8>, by: Option<SigningKey>) -> Self {
        let sign = |key: SigningKey| key.sign(&link_message(self.digest, &body)).to_bytes();
        let signed = Signed { signature: by.map(sign), body };
        self.digest = self.digest.then(&signed);
        self.said.chain.push(signed);
        self
    }

    /// With other links in front of those to come.
    pub(super) fn after(mut self, chain: Vec<Signed>) -> Self {
        self.digest = chain.iter().fold(ChainDigest::EMPTY, |digest, link| digest.then(link));
        self.said.chain = chain;
        self
    }

    pub(super) fn item(&self) -> Item {
        Item::Announce(self.said.clone())
    }

    /// On the link with the gateway of this cluster.
    pub(super) fn by(&self, cluster: u64) -> Sent {
        routes(cluster, &[self.item()])
    }
}

/// Cluster 9 as its neighbour 2 tells us of it.
pub(super) fn nine(sequence: u64) -> Chain {
    Chain::origin(9, 2, sequence).hop(2, 1, sequence, 1)
}

pub(super) fn withdrawal(sequence: u64) -> Withdrawal {
    Withdrawal {
        destination: cluster(9),
        cluster: cluster(2),
        node: NodeId(20),
        version: version(1, sequence),
        to: cluster(1),
        key_serial: 1,
    }
}

pub(super) fn withdrawn(withdrawal: &Withdrawal, by: Option<SigningKey>) -> Sent {
    let body = withdrawal.body();
    let sign = |key: SigningKey| key.sign(&message(Signing::Withdrawal, &body)).to_bytes();
    routes(2, &[Item::Withdraw(Signed { signature: by.map(sign), body })])
}

pub(super) fn authorisation(of: u128, serial: u64) -> Authorisation {
    Authorisation {
        cluster: cluster(of),
        key_serial: serial,
        keep_from: 0,
        key: key(of, serial).verifying_key().to_bytes(),
        tags: vec!["gold".into()],
        not_before: TODAY - 1000,
        not_after: TODAY + 1_000_000,
    }
}

pub(super) fn record(signing: Signing, body: Vec<u8>, by: &SigningKey) -> Signed {
    let signature = by.sign(&message(signing, &body)).to_bytes();
    Signed { body, signature: Some(signature) }
}

pub(super) fn authorised(authorisation: &Authorisation, by: &SigningKey) -> Item {
    Item::Authorise(record(Signing::Authorisation, authorisation.body(), by))
}

pub(super) fn revoked(of: u128, serial: u64, by: &SigningKey) -> Item {
    let revocation = Revocation { cluster: cluster(of), key_serial: serial };
    Item::Revoke(record(Signing::Revocation, revocation.body(), by))
}

/// A feed of `node` in cluster `of`, up to `sequence` in its first life.
pub(super) fn head(node: u128, of: u128, scope: Scope, sequence: u64) -> Head {
    Head {
        feed: FeedId { node: NodeId(node), scope },
        cluster: cluster(of),
        version: version(1, sequence),
        beat: 1,
        ttl_ms: 30_000,
    }
}

/// A feed as it is with one entry.
pub(super) fn offered(link: u64, head: Head, name: &[u8]) -> Sent {
    let upto = head.version.sequence;
    let body = Some(b"body".to_vec());
    let record = catalog::Record { sequence: upto, kind: Kind(900), name: name.to_vec(), body };
    let news = News { head, told: vec![] };
    let change = Change { news, after: 0, upto, floor: 0, records: vec![record] };
    entry(link, &catalog::Message::Delta(vec![change]))
}

pub(super) fn heads(link: u64, head: Head) -> Sent {
    entry(link, &catalog::Message::Heads(vec![News { head, told: vec![] }]))
}

pub(super) fn entry(link: u64, message: &catalog::Message) -> Sent {
    let mut body = Vec::new();
    message.put(&mut body);
    Sent { link, plane: Plane::Catalog, body }
}

pub(super) fn life(node: u128, incarnation: u64) -> Life {
    Life { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

pub(super) fn word(life: Life, condition: Condition) -> Word {
    let is_live = matches!(condition, Condition::Alive | Condition::Suspect);
    let address = is_live.then(|| "a:1".parse().unwrap());
    Word { life, refutation: 0, condition, address }
}

pub(super) fn packet(link: u64, source: Life, records: Vec<Word>) -> Sent {
    let (address, target) = ("a:1".parse().unwrap(), life(10, 5));
    let header = Header { source, refutation: 0, address, target, saying: Saying::Gossip };
    let mut body = Vec::new();
    Packet { header, records }.put(&mut body);
    Sent { link, plane: Plane::Member, body }
}
