//! True updates of one route, many of them: a node that checks everything must refuse none.

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_fabric::rng::Rng;
use mpreg_fabric::route::{
    Effect, Fact, Input, Link, Policy, Provided, Routes, Settings, WallClock,
};
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::route::{
    Announcement, Authorisation, ChainDigest, Hop, Item, Message, Metrics, Origin, Relation,
    Signed, Signing, Withdrawal, link_message, message,
};

/// What came of the updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub updates: u64,
    pub accepted: u64,
    pub withdrawn: u64,
    pub rejected: u64,
}

/// Time of day of the fabric, within what keys are good for.
const TODAY: u64 = 1_800_000_000;

/// Between two updates; a neighbour may send two hundred a second.
const GAP: Duration = Duration::from_millis(6);

const HERE: ClusterId = ClusterId(1);
const NEIGHBOUR: ClusterId = ClusterId(2);
const FAR: ClusterId = ClusterId(9);

/// A neighbour tells of a cluster behind it, and one time in a thousand that it is gone: every six
/// seconds, which is not yet flapping.
pub fn judge(count: u64) -> Judged {
    let mut routes = node();
    let mut now = Instant::START;
    let mut judged = Judged { updates: count, ..Judged::default() };
    for update in 1..=count {
        now = now + GAP;
        let item = match update % 1000 {
            0 => withdrawal(update),
            _ => announcement(update),
        };
        let message = Message { entries: vec![item.entry()] };
        let mut effects = Vec::new();
        routes.handle(Input::Heard { from: speaker(NEIGHBOUR), message }, now, &mut effects);
        for effect in effects {
            let Effect::Fact(fact) = effect else { continue };
            judged.accepted += u64::from(matches!(fact, Fact::Accepted { .. }));
            judged.withdrawn += u64::from(matches!(fact, Fact::Withdrawn { .. }));
            judged.rejected += u64::from(matches!(fact, Fact::Rejected { .. }));
        }
    }
    judged
}

fn node() -> Routes {
    let settings = Settings {
        node: NodeId(1),
        cluster: HERE,
        incarnation: Incarnation(1),
        stored: None,
        root: Some(root().verifying_key()),
        signer: None,
        policy: Policy::open(),
        wall: WallClock { unix_seconds: TODAY, at: Instant::START },
    };
    let mut routes = Routes::new(settings, Rng::from_seed(1));
    let mut effects = Vec::new();
    for cluster in [NEIGHBOUR, FAR] {
        let record = Provided::Authorisation(authorised(cluster));
        routes.handle(Input::KeyProvided(record), Instant::START, &mut effects);
    }
    let link = Link { round_trip_us: 10_000, loss_ppm: 0, bandwidth_mbps: 0, cost: 0 };
    let up = Input::PeerUp { peer: speaker(NEIGHBOUR), cluster: NEIGHBOUR, link };
    routes.handle(up, Instant::START, &mut effects);
    routes
}

fn speaker(cluster: ClusterId) -> NodeId {
    NodeId(cluster.0 * 10)
}

fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn key(cluster: ClusterId) -> SigningKey {
    SigningKey::from_bytes(&[cluster.0 as u8; 32])
}

fn authorised(cluster: ClusterId) -> Signed {
    let authorisation = Authorisation {
        cluster,
        key_serial: 1,
        keep_from: 0,
        key: key(cluster).verifying_key().to_bytes(),
        tags: vec![],
        not_before: TODAY - 1000,
        not_after: TODAY + 100_000_000,
    };
    let body = authorisation.body();
    let signature = root().sign(&message(Signing::Authorisation, &body)).to_bytes();
    Signed { body, signature: Some(signature) }
}

fn link(cluster: ClusterId, before: ChainDigest, body: Vec<u8>) -> Signed {
    let signature = key(cluster).sign(&link_message(before, &body)).to_bytes();
    Signed { body, signature: Some(signature) }
}

fn version(sequence: u64) -> Version {
    Version { incarnation: Incarnation(1), sequence }
}

fn announcement(sequence: u64) -> Item {
    let origin = Origin {
        cluster: FAR,
        node: speaker(FAR),
        version: version(sequence),
        to: NEIGHBOUR,
        key_serial: 1,
        relation: Relation::Open,
        ttl_ms: 30_000,
        tags: vec![],
    };
    let metrics = Metrics {
        hops: 1,
        latency_us: 5000 + (sequence % 7000) as u32,
        bandwidth_mbps: 0,
        reliability_ppm: 1_000_000,
        cost: 0,
    };
    let hop = Hop {
        cluster: NEIGHBOUR,
        node: speaker(NEIGHBOUR),
        version: version(sequence),
        to: HERE,
        key_serial: 1,
        relation: Relation::Open,
        metrics,
    };
    let first = link(FAR, ChainDigest::EMPTY, origin.body());
    let second = link(NEIGHBOUR, ChainDigest::EMPTY.then(&first), hop.body());
    Item::Announce(Announcement { destination: FAR, ttl_ms: 30_000, chain: vec![first, second] })
}

fn withdrawal(sequence: u64) -> Item {
    let withdrawal = Withdrawal {
        destination: FAR,
        cluster: NEIGHBOUR,
        node: speaker(NEIGHBOUR),
        version: version(sequence),
        to: HERE,
        key_serial: 1,
    };
    let body = withdrawal.body();
    let signature = key(NEIGHBOUR).sign(&message(Signing::Withdrawal, &body)).to_bytes();
    Item::Withdraw(Signed { body, signature: Some(signature) })
}
