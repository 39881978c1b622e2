//! Keys that clusters sign their routes with, and what their policy about routes is.
//!
//! One root vouches for all. A node is given the key of its cluster and what vouches for it; of the keys
//! of others it hears as of routes. All of it follows from the names of clusters and serials.

use std::collections::BTreeSet;

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_fabric::control::{Command, Input, RouteSettings};
use mpreg_fabric::route::{
    Among, Filter, Held, Policy, Provided, Signatures, Signer, Terms, WallClock,
};
use mpreg_fabric::time::Instant;
use mpreg_proto::id::ClusterId;
use mpreg_proto::route::{Authorisation, Signed, Signing, message};

use super::Mesh;
use super::plan::Mishap;
use crate::history::Plan as _;

/// Time of day of the fabric, within what keys are good for.
const TODAY: u64 = 1_800_000_000;

fn root() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn key(cluster: ClusterId, key_serial: u64) -> SigningKey {
    let mut seed = [9; 32];
    seed[..16].copy_from_slice(&cluster.0.to_le_bytes());
    seed[16..24].copy_from_slice(&key_serial.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn signer(cluster: ClusterId, key_serial: u64) -> Signer {
    Signer { key_serial, key: key(cluster, key_serial) }
}

/// The key before stays good beside this one.
fn authorised(cluster: ClusterId, key_serial: u64) -> Provided {
    let body = Authorisation {
        cluster,
        key_serial,
        keep_from: key_serial - 1,
        key: key(cluster, key_serial).verifying_key().to_bytes(),
        tags: Vec::new(),
        not_before: TODAY - 1_000_000,
        not_after: TODAY + 1_000_000,
    }
    .body();
    let signature = root().sign(&message(Signing::Authorisation, &body)).to_bytes();
    Provided::Authorisation(Signed { body, signature: Some(signature) })
}

impl Mesh {
    fn key_serial(&self, cluster: ClusterId) -> u64 {
        1 + self.rotations.get(&cluster).copied().unwrap_or(0)
    }

    /// Whether this cluster tells others of no cluster but itself.
    pub(super) fn is_closed(&self, cluster: ClusterId) -> bool {
        self.closed.contains(&cluster)
    }

    fn policy(&self, cluster: ClusterId, of: Policy) -> Policy {
        let signatures = match self.plan.has(Mishap::Signatures) {
            true => Signatures::Required,
            false => Signatures::UnsignedAllowed,
        };
        let mut terms = Terms::default();
        if self.is_closed(cluster) {
            let advertisers = Among::Only(BTreeSet::from([cluster]));
            terms.export = Filter { advertisers, ..Filter::default() };
        }
        Policy { signatures, others: Some(terms), ..of }
    }

    /// What a node of this cluster is told of routes at its start, but for what its disk kept.
    pub(super) fn route_settings(&self, cluster: ClusterId) -> RouteSettings {
        let mut settings = RouteSettings::default();
        settings.policy = self.policy(cluster, settings.policy);
        if self.plan.has(Mishap::Signatures) {
            settings.root = Some(root().verifying_key());
            settings.signer = Some(signer(cluster, self.key_serial(cluster)));
        }
        settings.wall = WallClock { unix_seconds: TODAY, at: Instant::START };
        settings
    }

    /// What vouches for the key of a node's own cluster, told at its start and when it is another.
    pub(super) fn provide_key(&mut self, node: usize, life: u64) {
        let cluster = self.cluster_of(node);
        if self.plan.has(Mishap::Signatures) {
            let record = authorised(cluster, self.key_serial(cluster));
            self.feed_life(node, life, Input::Command(Command::Key(record)));
        }
    }

    /// The cluster of a node signs with its next key from here on.
    pub(super) fn rotate(&mut self, of: usize) {
        if !self.plan.has(Mishap::Signatures) {
            return;
        }
        let cluster = self.cluster_of(of);
        *self.rotations.entry(cluster).or_default() += 1;
        let serial = self.key_serial(cluster);
        for (node, life) in self.lives_of(cluster) {
            self.provide_key(node, life);
            let command = Command::Signer(Some(signer(cluster, serial)));
            self.feed_life(node, life, Input::Command(command));
        }
    }

    /// The cluster of a node tells of others no more, or again.
    pub(super) fn close_or_open(&mut self, of: usize) {
        let cluster = self.cluster_of(of);
        if !self.closed.remove(&cluster) {
            self.closed.insert(cluster);
        }
        let policy = self.policy(cluster, RouteSettings::default().policy);
        for (node, life) in self.lives_of(cluster) {
            let policy = Box::new(policy.clone());
            let command = Command::Policy { policy, held: Held::Kept };
            self.feed_life(node, life, Input::Command(command));
        }
    }

    fn lives_of(&self, cluster: ClusterId) -> Vec<(usize, u64)> {
        let live = self.live().into_iter().filter(|&node| self.cluster_of(node) == cluster);
        live.filter_map(|node| Some((node, self.nodes[node].life.as_ref()?.number))).collect()
    }
}
