//! Signing what this node says and verifying what others say.
//!
//! A link of a chain signs everything before it, its own body, and so the neighbour its body names.
//! A chain cut out of one announcement does not fit another, nor another neighbour. What was verified
//! once is remembered by the digest of the chain up to there, signatures included; whether its keys
//! still hold is asked each time.
//!
//! Invariants:
//! - Only bytes as carried are verified, with `verify_strict`, each kind under its own domain.
//! - A link goes unsigned only if the policy says so and no key of its cluster is known.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use mpreg_proto::id::ClusterId;
use mpreg_proto::route::{
    Announcement, ChainDigest, Signed, Signing, Withdrawal, link_message, message,
};

use super::Routes;
use super::chain::Chain;
use super::fact::SignatureFault;
use super::keys::Registry;
use super::policy::Signatures;
use crate::limits::ROUTE_CHAINS_VERIFIED_MAX;
use crate::tape::Tape;
use crate::time::Instant;

/// The key a cluster's gateways sign with. Wiped from memory when dropped. Of it a recording has the
/// serial alone.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Signer {
    pub key_serial: u64,
    #[serde(skip, default = "nobodys")]
    pub key: SigningKey,
}

/// In place of the key that made the signatures of a recording. Those are in it.
fn nobodys() -> SigningKey {
    SigningKey::from_bytes(&[0; 32])
}

/// Signatures that were made.
pub type Made = Tape<[u8; 64]>;

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.key_serial == other.key_serial && self.key.verifying_key() == other.key.verifying_key()
    }
}

impl Eq for Signer {}

impl Signer {
    fn sign(&self, message: &[u8], made: &mut Made) -> [u8; 64] {
        made.ask(|| self.key.sign(message).to_bytes(), [0; 64])
    }

    pub(super) fn link(&self, before: ChainDigest, body: Vec<u8>, made: &mut Made) -> Signed {
        let signature = self.sign(&link_message(before, &body), made);
        Signed { body, signature: Some(signature) }
    }

    pub(super) fn withdrawal(&self, body: Vec<u8>, made: &mut Made) -> Signed {
        let signature = self.sign(&message(Signing::Withdrawal, &body), made);
        Signed { body, signature: Some(signature) }
    }
}

impl Routes {
    /// The signature of this cluster over what a node of it says of its links to others. `None`: there is
    /// no key to sign with.
    pub fn sign_links(&mut self, body: &[u8]) -> Option<[u8; 64]> {
        let signer = self.signer.as_ref()?;
        Some(signer.sign(&message(Signing::LinkState, body), &mut self.made))
    }

    /// Signatures that this node makes.
    pub fn made(&mut self) -> &mut Made {
        &mut self.made
    }

    /// Whether a cluster has said this of its links, by the keys and the policy that hold for routes.
    pub fn has_signed_links(
        &self,
        cluster: ClusterId,
        body: &[u8],
        signature: Option<&[u8; 64]>,
        now: Instant,
    ) -> Result<(), SignatureFault> {
        let judge = Judge {
            registry: &self.registry,
            signatures: self.policy.signatures,
            unix_seconds: self.wall.seconds(now),
            own: self.cluster,
        };
        judge.links(cluster, body, signature)
    }
}

/// What is needed to judge a signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) registry: &'a Registry,
    pub(super) signatures: Signatures,
    pub(super) unix_seconds: u64,
    /// The cluster that was told.
    pub(super) own: ClusterId,
}

/// Beginnings of chains whose signatures were verified.
#[derive(Debug, Default)]
pub(super) struct Verified {
    digests: BTreeSet<ChainDigest>,
    order: VecDeque<ChainDigest>,
}

impl Verified {
    /// The digest of the whole chain, if every link of it holds.
    pub(super) fn chain(
        &mut self,
        announcement: &Announcement,
        chain: &Chain,
        judge: Judge<'_>,
    ) -> Result<ChainDigest, SignatureFault> {
        judge.follows(chain)?;
        judge.holds(chain, announcement.chain.iter().map(|link| link.signature.is_some()))?;
        let mut before = ChainDigest::EMPTY;
        for (link, said) in announcement.chain.iter().zip(&chain.said) {
            let digest = before.then(link);
            if let Some(signature) = &link.signature
                && !self.digests.contains(&digest)
            {
                let message = link_message(before, &link.body);
                judge.verify(said.cluster, said.key_serial, &message, signature)?;
                self.remember(digest);
            }
            before = digest;
        }
        Ok(before)
    }

    /// What was verified by keys that were exchanged since is verified again.
    pub(super) fn clear(&mut self) {
        self.digests.clear();
        self.order.clear();
    }

    fn remember(&mut self, digest: ChainDigest) {
        if ROUTE_CHAINS_VERIFIED_MAX <= self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
        self.digests.insert(digest);
        self.order.push_back(digest);
    }
}

impl Judge<'_> {
    pub(super) fn withdrawal(
        &self,
        signed: &Signed,
        withdrawal: &Withdrawal,
    ) -> Result<(), SignatureFault> {
        if withdrawal.to != self.own {
            return Err(SignatureFault::OtherNeighbour);
        }
        let Some(signature) = &signed.signature else {
            return self.unsigned(withdrawal.cluster);
        };
        let message = message(Signing::Withdrawal, &signed.body);
        self.verify(withdrawal.cluster, withdrawal.key_serial, &message, signature)
    }

    /// What a cluster says of its links carries no serial: any of its keys will do.
    pub(super) fn links(
        &self,
        cluster: ClusterId,
        body: &[u8],
        signature: Option<&[u8; 64]>,
    ) -> Result<(), SignatureFault> {
        let Some(signature) = signature else { return self.unsigned(cluster) };
        let message = message(Signing::LinkState, body);
        let signature = Signature::from_bytes(signature);
        let mut keys = self.registry.keys(cluster, self.unix_seconds);
        let is_good = keys.any(|key| key.verify_strict(&message, &signature).is_ok());
        if is_good { Ok(()) } else { Err(SignatureFault::Forged) }
    }

    /// Whether the keys of a chain that was verified hold, and its links were allowed to be
    /// unsigned.
    pub(super) fn holds(
        &self,
        chain: &Chain,
        signed: impl Iterator<Item = bool>,
    ) -> Result<(), SignatureFault> {
        for (said, is_signed) in chain.said.iter().zip(signed) {
            if is_signed {
                self.registry.key(said.cluster, said.key_serial, self.unix_seconds)?;
            } else {
                self.unsigned(said.cluster)?;
            }
        }
        let origin = chain.origin();
        let is_checked = self.registry.knows(origin.cluster);
        if is_checked && !self.registry.may_tag(origin.cluster, origin.key_serial, &chain.tags) {
            return Err(SignatureFault::TagNotAllowed);
        }
        Ok(())
    }

    /// Whether each link was said to the one that follows, and the last to this cluster.
    fn follows(&self, chain: &Chain) -> Result<(), SignatureFault> {
        let next = chain.said.iter().skip(1).map(|said| said.cluster).chain([self.own]);
        let is_told = chain.said.iter().zip(next).all(|(said, next)| said.to == next);
        if is_told { Ok(()) } else { Err(SignatureFault::OtherNeighbour) }
    }

    fn unsigned(&self, cluster: ClusterId) -> Result<(), SignatureFault> {
        match self.signatures {
            Signatures::UnsignedAllowed if !self.registry.knows(cluster) => Ok(()),
            Signatures::UnsignedAllowed | Signatures::Required => Err(SignatureFault::Missing),
        }
    }

    fn verify(
        &self,
        cluster: ClusterId,
        key_serial: u64,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureFault> {
        let key = self.registry.key(cluster, key_serial, self.unix_seconds)?;
        let signature = Signature::from_bytes(signature);
        key.verify_strict(message, &signature).map_err(|_| SignatureFault::Forged)
    }
}
