//! Keys that routes are signed with: one of the fabric's authority, and one of each cluster that has
//! gateways, made with the first of them.
//!
//! The authority's certificate says who a node is; this one says which key speaks for a cluster. They
//! are two keys, so that one can be kept elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::route::{Authorisation, Signed, Signing, TAG_ANY, message};

use super::{AUTHORITY_DAYS, BACKDATED, CaError, DAY, make_directory, read, write};
use crate::peer::route_keys::{
    AUTHORISATION_FILE, LoadRouteKeysError, ROUTE_KEY_FILE, ROUTE_ROOT_FILE, secret_key_of,
    text_of_authorisation, text_of_key,
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
    let kept = directory.join(CLUSTERS).join(cluster.as_str());
    if !kept.join(AUTHORISATION_FILE).exists() {
        begin(directory, cluster, &kept, now)?;
    }
    for (name, mode) in [(ROUTE_KEY_FILE, 0o600), (AUTHORISATION_FILE, 0o644)] {
        write(&out.join(name), mode, &read(&kept.join(name))?)?;
    }
    Ok(())
}

/// The first key of a cluster. All its gateways sign with it, so that any of them may speak.
fn begin(
    directory: &Path,
    cluster: &ClusterName,
    kept: &Path,
    now: Duration,
) -> Result<(), CaError> {
    let [secret, _] = files(directory);
    let missing =
        || CaError::File { path: secret.clone(), source: std::io::ErrorKind::NotFound.into() };
    let authority = secret_key_of(&secret)?.ok_or_else(missing)?;
    let key = drawn()?;
    let body = Authorisation {
        cluster: cluster.id(),
        key_serial: 1,
        keep_from: 1,
        key: key.verifying_key().to_bytes(),
        tags: vec![TAG_ANY.to_owned()],
        not_before: now.saturating_sub(BACKDATED).as_secs(),
        not_after: (now + DAY * AUTHORITY_DAYS).as_secs(),
    }
    .body();
    let signature = authority.sign(&message(Signing::Authorisation, &body)).to_bytes();
    let said = Signed { body, signature: Some(signature) };
    make_directory(kept)?;
    write(&kept.join(ROUTE_KEY_FILE), 0o600, &text_of_key(key.as_bytes()))?;
    write(&kept.join(AUTHORISATION_FILE), 0o644, &text_of_authorisation(&said))
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
    use crate::peer::route_keys::RouteKeys;

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
}
