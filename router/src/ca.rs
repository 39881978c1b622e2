//! A certificate authority for a laboratory: one key in a directory that signs certificates of nodes.
//!
//! What it writes is what a node reads (`peer/tls.rs`): an Ed25519 key, a certificate for it that names
//! node, cluster and role, and the authority's own. Where there is an authority already, its
//! certificates serve as well, if they carry the same name.
//!
//! It also makes the keys that routes are signed with (`ca/routes.rs`).
//!
//! Invariants: private keys are readable by their owner alone, from the moment they exist; nothing that
//! is there already is overwritten, but for a key of routes by the next one and for what is revoked, each
//! whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpreg_proto::cluster::{ClusterName, NodeRole};
use mpreg_proto::id::NodeId;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    PublicKeyData as _, SanType,
};
use rustix::fs::{FlockOperation, flock};

use crate::peer::name::PeerName;
use crate::peer::route_keys::{
    AUTHORISATION_FILE, LoadRouteKeysError, ROUTE_KEY_FILE, ROUTE_ROOT_FILE,
};
use crate::peer::tls::{CERTIFICATE_FILE, KEY_FILE, ROOTS_FILE};

mod routes;

const AUTHORITY_KEY_FILE: &str = "ca.key";

/// A certificate is valid from a little before it was made, for machines whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(300);

const DAY: Duration = Duration::from_secs(86_400);

/// Days for which an authority is valid, and those that a laboratory signed for.
const AUTHORITY_DAYS: u32 = 3650;
const LABORATORY_DAYS: u32 = 365;

/// Why nothing was signed, or not all of it written.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is there already and is not overwritten")]
    Exists { path: PathBuf },
    #[error("{path}: {source}")]
    Key { path: PathBuf, source: rcgen::Error },
    #[error(transparent)]
    RouteKey(LoadRouteKeysError),
    #[error("the operating system gives no chance for a key: {0}")]
    Chance(getrandom::Error),
    #[error("cluster {cluster} has no key of routes, since no gateway of it was signed for")]
    NoKey { cluster: ClusterName },
    #[error("cluster {cluster} has no key {serial}, its newest is {newest}")]
    NoSuchKey { cluster: ClusterName, serial: u64, newest: u64 },
    #[error("signing: {0}")]
    Sign(#[from] rcgen::Error),
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Wish {
    pub cluster: ClusterName,
    pub role: NodeRole,
    pub days: u32,
}

/// Begins an authority in `directory`. `now` is since 1970.
pub fn init(directory: &Path, now: Duration) -> Result<(), CaError> {
    let key_path = directory.join(AUTHORITY_KEY_FILE);
    let certificate_path = directory.join(ROOTS_FILE);
    let [route_key_path, route_root_path] = routes::files(directory);
    refuse_existing(&[&key_path, &certificate_path, &route_key_path, &route_root_path])?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = authority(&key, now).self_signed(&key)?;
    make_directory(directory)?;
    write(&key_path, 0o600, &key.serialize_pem())?;
    write(&certificate_path, 0o644, &certificate.pem())?;
    routes::init(directory)
}

/// Makes a node's key, and signs for it with the authority in `directory`. What a node needs is then
/// in `out`. `now` is since 1970.
pub fn issue(
    directory: &Path,
    wish: &Wish,
    out: &Path,
    now: Duration,
) -> Result<PeerName, CaError> {
    let key_path = directory.join(AUTHORITY_KEY_FILE);
    let text = read(&key_path)?;
    let key = KeyPair::from_pem(&text)
        .map_err(|source| CaError::Key { path: key_path.clone(), source })?;
    let root = read(&directory.join(ROOTS_FILE))?;
    let [certificate_path, node_key_path, root_path] =
        [CERTIFICATE_FILE, KEY_FILE, ROOTS_FILE].map(|name| out.join(name));
    let of_routes =
        [ROUTE_ROOT_FILE, ROUTE_KEY_FILE, AUTHORISATION_FILE].map(|name| out.join(name));
    let paths = [&certificate_path, &node_key_path, &root_path].into_iter().chain(&of_routes);
    refuse_existing(&paths.map(PathBuf::as_path).collect::<Vec<_>>())?;
    let (name, certificate, node_key) = signed(&key, wish, now)?;
    make_directory(out)?;
    write(&node_key_path, 0o600, &node_key.serialize_pem())?;
    write(&certificate_path, 0o644, &certificate.pem())?;
    write(&root_path, 0o644, &root)?;
    let gateway_of = (wish.role == NodeRole::Gateway).then_some(&wish.cluster);
    routes::issue(directory, gateway_of, out, now)?;
    Ok(name)
}

/// Makes the next key that a cluster's routes are signed with; its serial. `now` is since 1970.
pub fn rotate(
    directory: &Path,
    cluster: &ClusterName,
    out: &[PathBuf],
    now: Duration,
) -> Result<u64, CaError> {
    routes::rotate(directory, cluster, out, now)
}

/// Says that a cluster's keys of routes up to this serial are void.
pub fn revoke(
    directory: &Path,
    cluster: &ClusterName,
    serial: u64,
    out: &[PathBuf],
) -> Result<(), CaError> {
    routes::revoke(directory, cluster, serial, out)
}

/// Signs for a gateway of `cluster`, with an authority that is begun if there is none. Processes that do
/// so together wait for each other. `now` is since 1970.
pub fn of_laboratory(
    directory: &Path,
    cluster: &ClusterName,
    out: &Path,
    now: Duration,
) -> Result<PeerName, CaError> {
    let file = |source| CaError::File { path: directory.to_owned(), source };
    make_directory(directory)?;
    let lock = File::open(directory).map_err(file)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| file(errno.into()))?;
    if !directory.join(AUTHORITY_KEY_FILE).exists() {
        init(directory, now)?;
    }
    let wish = Wish { cluster: cluster.clone(), role: NodeRole::Gateway, days: LABORATORY_DAYS };
    issue(directory, &wish, out, now)
}

fn signed(
    authority_key: &KeyPair,
    wish: &Wish,
    now: Duration,
) -> Result<(PeerName, Certificate, KeyPair), CaError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let public: &[u8; 32] = key.der_bytes().try_into().expect("an Ed25519 key has 32 bytes");
    let (cluster, role) = (wish.cluster.clone(), wish.role);
    let name = PeerName { node: NodeId::of_key(public), cluster, role };
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("mpreg node {}", name.node));
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(name.to_string())?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, wish.days, now);
    let issuer = Issuer::new(authority(authority_key, now), authority_key);
    Ok((name, params.signed_by(&key, &issuer)?, key))
}

/// The same for the same key, so that the key is all that has to be kept.
fn authority(key: &KeyPair, now: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let fingerprint = NodeId::of_key(key.der_bytes().try_into().expect("an Ed25519 key"));
    params.distinguished_name = common_name(&format!("mpreg authority {fingerprint}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, AUTHORITY_DAYS, now);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(params: &mut CertificateParams, days: u32, now: Duration) {
    let moment = |since_1970: Duration| (std::time::SystemTime::UNIX_EPOCH + since_1970).into();
    params.not_before = moment(now.saturating_sub(BACKDATED));
    params.not_after = moment(now + DAY * days);
}

fn refuse_existing(paths: &[&Path]) -> Result<(), CaError> {
    match paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(CaError::Exists { path: (*path).to_owned() }),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|source| CaError::File { path: path.to_owned(), source })
}

fn make_directory(path: &Path) -> Result<(), CaError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| CaError::File { path: path.to_owned(), source })
}

/// A file in the place of one that may be there. Whoever reads finds the old one or the new one.
fn replace(path: &Path, mode: u32, text: &str) -> Result<(), CaError> {
    let next = path.with_extension("next");
    let file = |source| CaError::File { path: path.to_owned(), source };
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
        Ok(()) | Err(_) => (),
    }
    write(&next, mode, text)?;
    fs::rename(&next, path).map_err(file)
}

/// A file that is not there yet.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), CaError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let path = path.to_owned();
    written.map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            CaError::Exists { path }
        } else {
            CaError::File { path, source }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::since_1970;
    use crate::peer::tls::{Credentials, LoadCredentialsError};
    use crate::tls::FileError;

    fn wish(cluster: &str, role: NodeRole) -> Wish {
        Wish { cluster: cluster.parse().unwrap(), role, days: 1 }
    }

    #[test]
    fn what_is_issued_is_what_a_node_takes() {
        let folder = tempfile::tempdir().unwrap();
        let [ca, one, two] = ["ca", "deep/one", "two"].map(|name| folder.path().join(name));
        init(&ca, since_1970()).unwrap();
        let name = issue(&ca, &wish("eu-1", NodeRole::Gateway), &one, since_1970()).unwrap();
        let credentials = Credentials::load(&one).unwrap();
        assert_eq!(credentials.name(), &name);
        assert_eq!((name.cluster.as_str(), name.role), ("eu-1", NodeRole::Gateway));
        assert_eq!(name.node, NodeId::of_key(credentials.public_key()));
        let other = issue(&ca, &wish("eu-1", NodeRole::Node), &two, since_1970()).unwrap();
        assert_ne!(other.node, name.node);
        assert_eq!(other.role, NodeRole::Node);
    }

    #[test]
    fn keys_are_for_their_owner_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let [ca, node] = ["ca", "node"].map(|name| folder.path().join(name));
        init(&ca, since_1970()).unwrap();
        issue(&ca, &wish("a", NodeRole::Node), &node, since_1970()).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for key in [ca.join(AUTHORITY_KEY_FILE), node.join(KEY_FILE)] {
            assert_eq!(mode(key), 0o600);
        }
        assert_eq!((mode(ca.clone()), mode(node.clone())), (0o700, 0o700));
        let before = fs::read(node.join(KEY_FILE)).unwrap();
        let again = issue(&ca, &wish("a", NodeRole::Node), &node, since_1970());
        assert!(matches!(again, Err(CaError::Exists { .. })));
        assert!(matches!(init(&ca, since_1970()), Err(CaError::Exists { .. })));
        fs::remove_file(node.join(CERTIFICATE_FILE)).unwrap();
        let again = issue(&ca, &wish("a", NodeRole::Node), &node, since_1970());
        assert!(matches!(again, Err(CaError::Exists { .. })), "its key is there");
        assert_eq!(fs::read(node.join(KEY_FILE)).unwrap(), before);
    }

    #[test]
    fn a_node_refuses_what_others_would_not_believe() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        init(&at("ca"), since_1970()).unwrap();
        init(&at("other"), since_1970()).unwrap();
        let name = wish("a", NodeRole::Node);
        issue(&at("ca"), &name, &at("node"), since_1970()).unwrap();
        issue(&at("ca"), &name, &at("second"), since_1970()).unwrap();
        issue(&at("ca"), &name, &at("old"), since_1970() - 2 * DAY).unwrap();
        let copy = |from: &str, to: &str| {
            fs::copy(at(from), at(to)).unwrap();
        };
        let refusal = |node: &str| Credentials::load(&at(node)).unwrap_err();
        assert!(matches!(refusal("nowhere"), LoadCredentialsError::File(FileError::Read { .. })));
        copy("other/ca.crt", "node/ca.crt");
        assert!(matches!(refusal("node"), LoadCredentialsError::Unbelievable { .. }));
        copy("ca/ca.crt", "node/ca.crt");
        Credentials::load(&at("node")).unwrap();
        copy("second/node.key", "node/node.key");
        assert!(matches!(refusal("node"), LoadCredentialsError::Key { .. }));
        copy("ca/ca.crt", "node/node.crt");
        assert!(matches!(refusal("node"), LoadCredentialsError::Name { .. }));
        let expired = refusal("old");
        assert!(matches!(&expired, LoadCredentialsError::Unbelievable { .. }), "{expired}");
    }
}
