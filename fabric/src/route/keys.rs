//! Whose key is whose: what the fabric's root key has authorised, and what people have pinned.
//!
//! A record counts because of its signature, whoever brought it: a peer, a file, a service. Records
//! are passed on as they came. A cluster has the key it signs with and the next one; a later
//! authorisation says from which serial on earlier keys stay good, so a change of keys overlaps.
//!
//! Invariants:
//! - A key is never taken from the announcement it would vouch for.
//! - Serials never go back: a key below those kept, or once revoked, is not taken again.
//! - A pinned cluster has its pinned keys and no others.
//! - The time of day is compared with authorisations alone, and within
//!   [`KEY_CLOCK_TOLERANCE_S_MAX`](crate::limits::KEY_CLOCK_TOLERANCE_S_MAX).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use ed25519_dalek::{Signature, VerifyingKey};
use mpreg_proto::id::ClusterId;
use mpreg_proto::route::{Authorisation, Revocation, Signed, Signing, TAG_ANY, Tag, message};

use super::fact::{KeyFault, SignatureFault};
use crate::limits::{KEY_CLOCK_TOLERANCE_S_MAX, KEY_CLUSTERS_MAX, KEYS_PER_CLUSTER_MAX};
use crate::time::Instant;

/// The time of day, as the shell said it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WallClock {
    /// Seconds since 1970.
    pub unix_seconds: u64,
    pub at: Instant,
}

impl WallClock {
    pub fn seconds(self, now: Instant) -> u64 {
        self.unix_seconds.saturating_add(now.since(self.at).as_secs())
    }
}

/// A key people vouch for themselves. Two may be pinned per cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pin {
    pub cluster: ClusterId,
    pub key_serial: u64,
    pub key: [u8; 32],
}

/// A record, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    New {
        cluster: ClusterId,
        key_serial: u64,
    },
    /// Nothing that was not known.
    Known,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    root: Option<VerifyingKey>,
    clusters: BTreeMap<ClusterId, Keys>,
    pins: BTreeMap<ClusterId, Vec<Pinned>>,
}

#[derive(Debug, Default)]
struct Keys {
    /// By serial, lowest first.
    authorised: Vec<Authorised>,
    /// Serials up to this are void.
    revoked: Option<Revoked>,
}

#[derive(Debug)]
struct Authorised {
    authorisation: Authorisation,
    key: VerifyingKey,
    record: Signed,
}

#[derive(Debug)]
struct Revoked {
    key_serial: u64,
    record: Signed,
}

#[derive(Debug)]
struct Pinned {
    key_serial: u64,
    key: VerifyingKey,
}

impl Registry {
    /// `root` is 32 bytes of an Ed25519 public key; without one only pinned keys count.
    pub(super) fn new(root: Option<VerifyingKey>) -> Self {
        Self { root, clusters: BTreeMap::new(), pins: BTreeMap::new() }
    }

    pub(super) fn authorise(&mut self, record: &Signed) -> Result<Taken, KeyFault> {
        // Every new link brings all keys once more.
        let mut held = self.clusters.values().flat_map(|keys| &keys.authorised);
        if held.any(|held| held.record == *record) {
            return Ok(Taken::Known);
        }
        self.check(Signing::Authorisation, record)?;
        let authorisation = Authorisation::parse(&record.body).map_err(|_| KeyFault::Malformed)?;
        let key = VerifyingKey::from_bytes(&authorisation.key).map_err(|_| KeyFault::Malformed)?;
        let Authorisation { cluster, key_serial, .. } = authorisation;
        let is_new = !self.clusters.contains_key(&cluster);
        if is_new && KEY_CLUSTERS_MAX <= self.clusters.len() {
            return Err(KeyFault::TooMany);
        }
        let keys = self.clusters.entry(cluster).or_default();
        let is_taken = keys.add(Authorised { authorisation, key, record: record.clone() })?;
        Ok(if is_taken { Taken::New { cluster, key_serial } } else { Taken::Known })
    }

    pub(super) fn revoke(&mut self, record: &Signed) -> Result<Taken, KeyFault> {
        self.check(Signing::Revocation, record)?;
        let Revocation { cluster, key_serial } =
            Revocation::parse(&record.body).map_err(|_| KeyFault::Malformed)?;
        let is_new = !self.clusters.contains_key(&cluster);
        if is_new && KEY_CLUSTERS_MAX <= self.clusters.len() {
            return Err(KeyFault::TooMany);
        }
        let keys = self.clusters.entry(cluster).or_default();
        if keys.revoked.as_ref().is_some_and(|revoked| key_serial <= revoked.key_serial) {
            return Ok(Taken::Known);
        }
        keys.revoked = Some(Revoked { key_serial, record: record.clone() });
        keys.authorised.retain(|held| key_serial < held.authorisation.key_serial);
        Ok(Taken::New { cluster, key_serial })
    }

    pub(super) fn pin(&mut self, pin: Pin) -> Result<(), KeyFault> {
        let key = VerifyingKey::from_bytes(&pin.key).map_err(|_| KeyFault::Malformed)?;
        let pins = self.pins.entry(pin.cluster).or_default();
        pins.retain(|held| held.key_serial != pin.key_serial);
        if KEYS_PER_CLUSTER_MAX <= pins.len() {
            return Err(KeyFault::TooMany);
        }
        pins.push(Pinned { key_serial: pin.key_serial, key });
        Ok(())
    }

    pub(super) fn unpin(&mut self, cluster: ClusterId) {
        self.pins.remove(&cluster);
    }

    /// Whether something of this cluster could be verified: then nothing of it goes unsigned.
    pub(super) fn knows(&self, cluster: ClusterId) -> bool {
        self.pins.contains_key(&cluster)
            || self
                .clusters
                .get(&cluster)
                .is_some_and(|keys| !keys.authorised.is_empty() || keys.revoked.is_some())
    }

    /// The key of this serial, if it is good at this time of day.
    pub(super) fn key(
        &self,
        cluster: ClusterId,
        key_serial: u64,
        unix_seconds: u64,
    ) -> Result<&VerifyingKey, SignatureFault> {
        if let Some(pins) = self.pins.get(&cluster) {
            let pinned = pins.iter().find(|pinned| pinned.key_serial == key_serial);
            return pinned.map(|pinned| &pinned.key).ok_or(SignatureFault::UnknownKey);
        }
        let held = self.authorised(cluster, key_serial)?;
        let Authorisation { not_before, not_after, .. } = held.authorisation;
        if unix_seconds.saturating_add(KEY_CLOCK_TOLERANCE_S_MAX) < not_before {
            return Err(SignatureFault::NotYetValid);
        }
        if not_after.saturating_add(KEY_CLOCK_TOLERANCE_S_MAX) < unix_seconds {
            return Err(SignatureFault::Lapsed);
        }
        Ok(&held.key)
    }

    /// All keys that are good at this time of day.
    pub(super) fn keys(
        &self,
        cluster: ClusterId,
        unix_seconds: u64,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let pinned = self.pins.get(&cluster).into_iter().flatten().map(|pin| pin.key_serial);
        let authorised = self.clusters.get(&cluster).into_iter().flat_map(|keys| &keys.authorised);
        let serials = pinned.chain(authorised.map(|held| held.authorisation.key_serial));
        serials.filter_map(move |serial| self.key(cluster, serial, unix_seconds).ok())
    }

    /// Whether a cluster may mark its routes so, by the key it signs with. Pinned ones may as they like.
    pub(super) fn may_tag(&self, cluster: ClusterId, key_serial: u64, tags: &[Tag]) -> bool {
        if self.pins.contains_key(&cluster) {
            return true;
        }
        let Ok(held) = self.authorised(cluster, key_serial) else { return tags.is_empty() };
        let allowed = &held.authorisation.tags;
        let has = |word: &str| allowed.iter().map(String::as_str).any(|tag| tag == word);
        tags.iter().all(|tag| has(tag.as_str()) || has(TAG_ANY))
    }

    /// Every record that counts, as it came, in an order in which they can be taken again:
    /// authorisations first, then revocations.
    pub(super) fn records(&self) -> (Vec<&Signed>, Vec<&Signed>) {
        let authorised = self.clusters.values().flat_map(|keys| &keys.authorised);
        let revoked = self.clusters.values().filter_map(|keys| keys.revoked.as_ref());
        let records = authorised.map(|held| &held.record).collect();
        (records, revoked.map(|revoked| &revoked.record).collect())
    }

    fn authorised(&self, cluster: ClusterId, serial: u64) -> Result<&Authorised, SignatureFault> {
        let keys = self.clusters.get(&cluster).ok_or(SignatureFault::UnknownCluster)?;
        if keys.revoked.as_ref().is_some_and(|revoked| serial <= revoked.key_serial) {
            return Err(SignatureFault::Revoked);
        }
        let held = keys.authorised.iter().find(|held| held.authorisation.key_serial == serial);
        held.ok_or(SignatureFault::UnknownKey)
    }

    fn check(&self, signing: Signing, record: &Signed) -> Result<(), KeyFault> {
        let root = self.root.as_ref().ok_or(KeyFault::NoRoot)?;
        let signature = record.signature.as_ref().ok_or(KeyFault::Forged)?;
        let message = message(signing, &record.body);
        let signature = Signature::from_bytes(signature);
        root.verify_strict(&message, &signature).map_err(|_| KeyFault::Forged)
    }
}

impl Keys {
    /// `false` if it is held already.
    fn add(&mut self, new: Authorised) -> Result<bool, KeyFault> {
        let serial = new.authorisation.key_serial;
        if self.revoked.as_ref().is_some_and(|revoked| serial <= revoked.key_serial) {
            return Err(KeyFault::Revoked);
        }
        let same = self.authorised.iter().find(|held| held.authorisation.key_serial == serial);
        if let Some(same) = same {
            let is_equal = same.authorisation == new.authorisation;
            return if is_equal { Ok(false) } else { Err(KeyFault::Conflict) };
        }
        let newest = self.authorised.last().map(|held| &held.authorisation);
        let is_newest = newest.is_none_or(|newest| newest.key_serial < serial);
        let is_full = KEYS_PER_CLUSTER_MAX <= self.authorised.len();
        let is_kept = newest.is_some_and(|newest| newest.keep_from <= serial) && !is_full;
        if !is_newest && !is_kept {
            return Err(KeyFault::Rollback);
        }
        if is_newest {
            let keep_from = new.authorisation.keep_from;
            self.authorised.retain(|held| keep_from <= held.authorisation.key_serial);
            if KEYS_PER_CLUSTER_MAX <= self.authorised.len() {
                self.authorised.remove(0);
            }
        }
        self.authorised.push(new);
        self.authorised.sort_by_key(|held| held.authorisation.key_serial);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
