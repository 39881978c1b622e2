//! What a node needs to sign routes to its cluster and to believe those of others, from the directory
//! of its credentials.
//!
//! | file | holds | who has it |
//! |---|---|---|
//! | `routes.pub` | the public key of the fabric's route authority | all nodes |
//! | `routes.key` | the secret key of the node's cluster | gateways |
//! | `routes.auth` | what the authority says of that key, then its signature | gateways |
//! | `routes.revoked` | what the authority says of keys that are void, each with its signature | any node |
//!
//! Lines of hexadecimal digits. A directory may have none of them: then only pinned keys count. They are
//! read again while the node runs (`reload.rs`). Who keeps keys elsewhere gives the node another
//! [`KeySource`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ed25519_dalek::{SigningKey, VerifyingKey};
use mpreg_fabric::route::Signer;
use mpreg_proto::route::{Authorisation, Revocation, Signed};
use zeroize::Zeroizing;

pub const ROUTE_ROOT_FILE: &str = "routes.pub";
pub const ROUTE_KEY_FILE: &str = "routes.key";
pub const AUTHORISATION_FILE: &str = "routes.auth";
pub const REVOCATIONS_FILE: &str = "routes.revoked";

/// Where a node's keys of routes come from: at start, and each time it is told to look again.
pub trait KeySource: Send + Sync {
    /// All that counts now. May wait; what it says replaces what it said before.
    fn load(&self) -> Result<RouteKeys, LoadRouteKeysError>;
}

/// The default: files in the directory of the node's credentials.
#[derive(Clone, Debug)]
pub struct KeyFiles(pub PathBuf);

impl KeySource for KeyFiles {
    fn load(&self) -> Result<RouteKeys, LoadRouteKeysError> {
        RouteKeys::load(&self.0)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteKeys {
    /// Whose word on keys counts.
    pub root: Option<VerifyingKey>,
    pub own: Option<OwnKey>,
    /// Keys that are void from here on, of any cluster.
    pub revocations: Vec<Signed>,
}

/// The key of the node's own cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnKey {
    pub signer: Signer,
    /// What others are told of it.
    pub authorisation: Signed,
}

/// Why there are no keys. The operator mends the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum LoadRouteKeysError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not what mpreg ca issue writes")]
    Meaningless { path: PathBuf },
    #[error("{key} is there, so {authorisation} must be")]
    Incomplete { key: PathBuf, authorisation: PathBuf },
    #[error("{path} is about another key")]
    OtherKey { path: PathBuf },
    /// Of a provider that is not files.
    #[error("keys of routes: {0}")]
    Provider(Box<dyn std::error::Error + Send + Sync>),
}

impl RouteKeys {
    pub fn load(directory: &Path) -> Result<Self, LoadRouteKeysError> {
        let [root, key, authorisation] =
            [ROUTE_ROOT_FILE, ROUTE_KEY_FILE, AUTHORISATION_FILE].map(|name| directory.join(name));
        let root = match lines(&root)? {
            Some(lines) => Some(public_key(&root, &lines)?),
            None => None,
        };
        let own = match (lines(&key)?, lines(&authorisation)?) {
            (Some(secret), Some(said)) => {
                let secret = secret_key(&secret).ok_or_else(|| meaningless(&key))?;
                Some(own_key(secret, &authorisation, &said)?)
            }
            (Some(_), None) => return Err(LoadRouteKeysError::Incomplete { key, authorisation }),
            (None, _) => None,
        };
        let revocations = directory.join(REVOCATIONS_FILE);
        let revocations = match lines(&revocations)? {
            Some(said) => revoked(&revocations, &said)?,
            None => Vec::new(),
        };
        Ok(Self { root, own, revocations })
    }
}

/// As the files hold it.
pub fn text_of_key(key: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", HEXLOWER.encode(key)))
}

/// As the files hold it: an authorisation, or a revocation.
pub fn text_of_record(said: &Signed) -> String {
    let signature = said.signature.unwrap_or([0; 64]);
    format!("{}\n{}\n", HEXLOWER.encode(&said.body), HEXLOWER.encode(&signature))
}

type Lines = Vec<Zeroizing<Vec<u8>>>;

/// `None`: there is no such file.
fn lines(path: &Path) -> Result<Option<Lines>, LoadRouteKeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoadRouteKeysError::Read { path: path.to_owned(), source }),
    };
    let decode = |line: &str| HEXLOWER.decode(line.trim().as_bytes()).map(Zeroizing::new);
    text.lines().map(decode).collect::<Result<_, _>>().map(Some).map_err(|_| meaningless(path))
}

fn meaningless(path: &Path) -> LoadRouteKeysError {
    LoadRouteKeysError::Meaningless { path: path.to_owned() }
}

fn key_of(lines: &Lines) -> Option<&[u8; 32]> {
    match &lines[..] {
        [key] => key.as_slice().try_into().ok(),
        [] | [_, _, ..] => None,
    }
}

/// The secret key in a file of one.
pub fn secret_key_of(path: &Path) -> Result<Option<SigningKey>, LoadRouteKeysError> {
    match lines(path)? {
        Some(lines) => secret_key(&lines).ok_or_else(|| meaningless(path)).map(Some),
        None => Ok(None),
    }
}

fn secret_key(lines: &Lines) -> Option<SigningKey> {
    key_of(lines).map(SigningKey::from_bytes)
}

fn public_key(path: &Path, lines: &Lines) -> Result<VerifyingKey, LoadRouteKeysError> {
    let key = key_of(lines).and_then(|key| VerifyingKey::from_bytes(key).ok());
    key.ok_or_else(|| meaningless(path))
}

fn own_key(key: SigningKey, path: &Path, said: &Lines) -> Result<OwnKey, LoadRouteKeysError> {
    let signed = match &said[..] {
        [body, signature] => record(body, signature),
        [] | [_] | [_, _, _, ..] => None,
    };
    let authorisation = signed.ok_or_else(|| meaningless(path))?;
    let says = Authorisation::parse(&authorisation.body).map_err(|_| meaningless(path))?;
    if says.key != key.verifying_key().to_bytes() {
        return Err(LoadRouteKeysError::OtherKey { path: path.to_owned() });
    }
    Ok(OwnKey { signer: Signer { key_serial: says.key_serial, key }, authorisation })
}

fn record(body: &[u8], signature: &[u8]) -> Option<Signed> {
    let signature = signature.try_into().ok()?;
    Some(Signed { body: body.to_vec(), signature: Some(signature) })
}

fn revoked(path: &Path, said: &Lines) -> Result<Vec<Signed>, LoadRouteKeysError> {
    let one = |pair: &[Zeroizing<Vec<u8>>]| {
        let [body, signature] = pair else { return None };
        Revocation::parse(body).ok()?;
        record(body, signature)
    };
    let records: Option<Vec<Signed>> = said.chunks(2).map(one).collect();
    records.ok_or_else(|| meaningless(path))
}

/// What the authority says of a cluster's newest key, from a file of one.
pub fn authorisation_of(path: &Path) -> Result<Option<Authorisation>, LoadRouteKeysError> {
    let Some(said) = lines(path)? else { return Ok(None) };
    let body = said.first().ok_or_else(|| meaningless(path))?;
    Authorisation::parse(body).map(Some).map_err(|_| meaningless(path))
}
