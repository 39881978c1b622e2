//! Keys that routes are signed with: one of the fabric's authority, and one of each cluster that has
//! gateways, made with the first of them and again when an operator says so.
//!
//! The authority's certificate says who a node is; this one says which key speaks for a cluster. They
//! are two keys, so that one can be kept elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::route::{Authorisation, Revocation, Signed, Signing, TAG_ANY, message};

use super::{AUTHORITY_DAYS, BACKDATED, CaError, DAY, make_directory, read, replace, write};
use crate::peer::route_keys::{
    AUTHORISATION_FILE, LoadRouteKeysError, REVOCATIONS_FILE, ROUTE_KEY_FILE, ROUTE_ROOT_FILE,
    RouteKeys, authorisation_of, secret_key_of, text_of_key, text_of_record,
};

const ROUTE_AUTHORITY_FILE: &str = "routes-ca.key";

const CLUSTERS: &str = "clusters";

pub(super) fn files(directory: &Path) -> [PathBuf; 2] {
    [ROUTE_AUTHORITY_FILE, ROUTE_ROOT_FILE].map(|name| directory.join(name))
}

/// Begins the route authority.
pub(super) fn init(directory: &Path) -> Result<(), CaError> {
    let [secret, public] = files(directory);
    let key = drawn()?;
    write(&secret, 0o600, &text_of_key(key.as_bytes()))?;
    write(&public, 0o644, &text_of_key(key.verifying_key().as_bytes()))
}

/// What every node is given, and what a gateway is given besides.
pub(super) fn issue(
    directory: &Path,
    gateway_of: Option<&ClusterName>,
    out: &Path,
    now: Duration,
) -> Result<(), CaError> {
    let [_, public] = files(directory);
    write(&out.join(ROUTE_ROOT_FILE), 0o644, &read(&public)?)?;
    let Some(cluster) = gateway_of else { return Ok(()) };
    let kept = kept(directory, cluster);
    if !kept.join(AUTHORISATION_FILE).exists() {
        begin(directory, cluster, &kept, now)?;
    }
    for (name, mode) in [(ROUTE_KEY_FILE, 0o600), (AUTHORISATION_FILE, 0o644)] {
        write(&out.join(name), mode, &read(&kept.join(name))?)?;
    }
    Ok(())
}

/// The next key of a cluster, which the key before it overlaps: routes signed with either are believed
/// until the older one is revoked, or the key after this one is made. Returns its serial. What gateways
/// need is put into the directories of `out` as well, in the place of what is there.
pub(super) fn rotate(
    directory: &Path,
    cluster: &ClusterName,
    out: &[PathBuf],
    now: Duration,
) -> Result<u64, CaError> {
    let kept = kept(directory, cluster);
    let newest = newest(&kept, cluster)?;
    let serial = newest.key_serial + 1;
    let (key, said) = made(directory, cluster, (serial, newest.key_serial), now)?;
    for directory in out.iter().chain([&kept]) {
        // What vouches for a key is there before the key.
        replace(&directory.join(AUTHORISATION_FILE), 0o644, &text_of_record(&said))?;
        replace(&directory.join(ROUTE_KEY_FILE), 0o600, &text_of_key(key.as_bytes()))?;
    }
    Ok(serial)
}

/// Says that the keys of a cluster up to this serial are void, in a file beside its key and in the
/// directories of `out`. What these say of other clusters stays.
pub(super) fn revoke(
    directory: &Path,
    cluster: &ClusterName,
    serial: u64,
    out: &[PathBuf],
) -> Result<(), CaError> {
    let kept = kept(directory, cluster);
    let newest = newest(&kept, cluster)?.key_serial;
    if !(1..=newest).contains(&serial) {
        return Err(CaError::NoSuchKey { cluster: cluster.clone(), serial, newest });
    }
    let body = Revocation { cluster: cluster.id(), key_serial: serial }.body();
    let signature = authority(directory)?.sign(&message(Signing::Revocation, &body)).to_bytes();
    let said = Signed { body, signature: Some(signature) };
    for directory in out.iter().chain([&kept]) {
        let path = directory.join(REVOCATIONS_FILE);
        let is_other = |record: &&Signed| {
            Revocation::parse(&record.body).is_ok_and(|other| other.cluster != cluster.id())
        };
        let before = RouteKeys::load(directory)?.revocations;
        let records = before.iter().filter(is_other).chain([&said]);
        replace(&path, 0o644, &records.map(text_of_record).collect::<String>())?;
    }
    Ok(())
}

fn kept(directory: &Path, cluster: &ClusterName) -> PathBuf {
    directory.join(CLUSTERS).join(cluster.as_str())
}

fn newest(kept: &Path, cluster: &ClusterName) -> Result<Authorisation, CaError> {
    let said = authorisation_of(&kept.join(AUTHORISATION_FILE))?;
    said.ok_or_else(|| CaError::NoKey { cluster: cluster.clone() })
}

fn authority(directory: &Path) -> Result<SigningKey, CaError> {
    let [secret, _] = files(directory);
    let missing =
        || CaError::File { path: secret.clone(), source: std::io::ErrorKind::NotFound.into() };
    secret_key_of(&secret)?.ok_or_else(missing)
}

/// The first key of a cluster. All its gateways sign with it, so that any of them may speak.
fn begin(
    directory: &Path,
    cluster: &ClusterName,
    kept: &Path,
    now: Duration,
) -> Result<(), CaError> {
    let (key, said) = made(directory, cluster, (1, 1), now)?;
    make_directory(kept)?;
    write(&kept.join(ROUTE_KEY_FILE), 0o600, &text_of_key(key.as_bytes()))?;
    write(&kept.join(AUTHORISATION_FILE), 0o644, &text_of_record(&said))
}

/// A key, and what the authority says of it: its serial, and from which serial on keys stay good.
fn made(
    directory: &Path,
    cluster: &ClusterName,
    (key_serial, keep_from): (u64, u64),
    now: Duration,
) -> Result<(SigningKey, Signed), CaError> {
    let authority = authority(directory)?;
    let key = drawn()?;
    let body = Authorisation {
        cluster: cluster.id(),
        key_serial,
        keep_from,
        key: key.verifying_key().to_bytes(),
        tags: vec![TAG_ANY.to_owned()],
        not_before: now.saturating_sub(BACKDATED).as_secs(),
        not_after: (now + DAY * AUTHORITY_DAYS).as_secs(),
    }
    .body();
    let signature = authority.sign(&message(Signing::Authorisation, &body)).to_bytes();
    Ok((key, Signed { body, signature: Some(signature) }))
}

fn drawn() -> Result<SigningKey, CaError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(CaError::Chance)?;
    Ok(SigningKey::from_bytes(&seed))
}

impl From<LoadRouteKeysError> for CaError {
    fn from(error: LoadRouteKeysError) -> Self {
        Self::RouteKey(error)
    }
}

#[cfg(test)]
mod tests {
    use mpreg_proto::cluster::NodeRole;

    use super::*;
    use crate::ca::{self, Wish};
    use crate::clock::since_1970;

    #[test]
    fn gateways_of_a_cluster_share_a_key_that_the_authority_vouches_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        ca::init(&at("ca"), since_1970()).unwrap();
        let issue = |name: &str, cluster: &str, role| {
            let wish = Wish { cluster: cluster.parse().unwrap(), role, days: 1 };
            ca::issue(&at("ca"), &wish, &at(name), since_1970()).unwrap();
            RouteKeys::load(&at(name)).unwrap()
        };
        let [one, two] = ["one", "two"].map(|name| issue(name, "eu", NodeRole::Gateway));
        let other = issue("other", "us", NodeRole::Gateway);
        let node = issue("node", "eu", NodeRole::Node);
        assert!(node.own.is_none() && node.root == one.root);
        let root = one.root.unwrap();
        let [one, two, other] = [one, two, other].map(|keys| keys.own.unwrap());
        assert_eq!(one.signer, two.signer);
        assert_ne!(one.signer, other.signer);
        let signature = one.authorisation.signature.unwrap();
        let signed = message(Signing::Authorisation, &one.authorisation.body);
        root.verify_strict(&signed, &ed25519_dalek::Signature::from_bytes(&signature)).unwrap();
        std::fs::copy(at("other").join(AUTHORISATION_FILE), at("one").join(AUTHORISATION_FILE))
            .unwrap();
        assert!(matches!(RouteKeys::load(&at("one")), Err(LoadRouteKeysError::OtherKey { .. })));
    }

    #[test]
    fn the_next_key_overlaps_the_last_until_that_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        ca::init(&at("ca"), since_1970()).unwrap();
        let eu: ClusterName = "eu".parse().unwrap();
        let nobody = ca::rotate(&at("ca"), &eu, &[], since_1970());
        assert!(matches!(nobody, Err(CaError::NoKey { .. })));
        let wish = Wish { cluster: eu.clone(), role: NodeRole::Gateway, days: 1 };
        ca::issue(&at("ca"), &wish, &at("one"), since_1970()).unwrap();
        let said = |name: &str| {
            let own = RouteKeys::load(&at(name)).unwrap().own.unwrap();
            let said = Authorisation::parse(&own.authorisation.body).unwrap();
            assert_eq!(own.signer.key_serial, said.key_serial);
            (said.key_serial, said.keep_from, said.key)
        };
        let first = said("one");
        assert_eq!((first.0, first.1), (1, 1));
        assert_eq!(ca::rotate(&at("ca"), &eu, &[at("one")], since_1970()).unwrap(), 2);
        let second = said("one");
        assert_eq!((second.0, second.1), (2, 1));
        assert_ne!(first.2, second.2);
        assert_eq!(ca::rotate(&at("ca"), &eu, &[], since_1970()).unwrap(), 3);
        ca::issue(&at("ca"), &wish, &at("two"), since_1970()).unwrap();
        assert_eq!((said("two").0, said("two").1), (3, 2), "new gateways have the newest");
        for serial in [0, 4] {
            let refused = ca::revoke(&at("ca"), &eu, serial, &[]);
            assert!(matches!(refused, Err(CaError::NoSuchKey { newest: 3, .. })));
        }
        for (name, serial) in [("one", 1), ("one", 2), ("two", 2)] {
            ca::revoke(&at("ca"), &eu, serial, &[at(name)]).unwrap();
        }
        let [one, two] = ["one", "two"].map(|name| RouteKeys::load(&at(name)).unwrap());
        assert_eq!(one.revocations.len(), 1, "the last word on a cluster");
        assert_eq!(one.revocations, two.revocations);
        let revoked = Revocation::parse(&one.revocations[0].body).unwrap();
        assert_eq!((revoked.cluster, revoked.key_serial), (eu.id(), 2));
        std::fs::write(at("one").join(REVOCATIONS_FILE), "00\n").unwrap();
        let refused = RouteKeys::load(&at("one"));
        assert!(matches!(refused, Err(LoadRouteKeysError::Meaningless { .. })));
    }
}
