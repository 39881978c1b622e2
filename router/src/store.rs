//! What survives the process: the node's key, its incarnation, sequences given out, and snapshots.
//!
//! One redb file in the data directory, of a few named records. Each carries the version of its layout
//! and the start of a digest over both: what is not what was written is an error, never a guess. Small
//! and rarely written; messages are not kept here.
//!
//! Invariants:
//! - What a call returns was committed and synced before it returned: an incarnation or a sequence that
//!   is used was never used before, whatever happens to the process or the machine.
//! - After a commit that failed nothing is written to that file any more: what the disk holds of it is
//!   not known. What is kept next goes into a new file, whole, which takes its place.
//! - A directory belongs to one node, and to one process at a time.
//!
//! Tests: `store/tests.rs`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use mpreg_proto::id::{Incarnation, NodeId, Version};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableError,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::limits::STORE_RECORD_BYTES_MAX;

pub mod writer;

const FILE_NAME: &str = "node.redb";

/// The file that takes the place of one that could not be written.
const NEXT_FILE_NAME: &str = "node.redb.next";

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

const VERSION_BYTES: usize = 2;
const DIGEST_BYTES: usize = 8;

/// Bytes of pages kept in memory. The default of a gigabyte is for other uses.
const CACHE_BYTES: usize = 1 << 20;

/// What is kept, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Whose state this is.
    Key,
    Incarnation,
    /// Up to where numbers of routes were given out.
    RouteSequence,
    /// Keys of clusters as the route plane writes them.
    RouteKeys,
    /// What was last known of the catalog, as the catalog plane writes it.
    CatalogHints,
}

impl Record {
    pub const ALL: [Self; 5] =
        [Self::Key, Self::Incarnation, Self::RouteSequence, Self::RouteKeys, Self::CatalogHints];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Incarnation => "incarnation",
            Self::RouteSequence => "route_sequence",
            Self::RouteKeys => "route_keys",
            Self::CatalogHints => "catalog_hints",
        }
    }

    /// Of the layout that this program writes and reads.
    const fn version(self) -> u16 {
        match self {
            Self::Key
            | Self::Incarnation
            | Self::RouteSequence
            | Self::RouteKeys
            | Self::CatalogHints => 1,
        }
    }
}

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("opening {path}: {source}")]
    Open { path: PathBuf, source: DatabaseError },
    #[error("reading {record} of {path}: {source}")]
    Read { path: PathBuf, record: &'static str, source: Box<redb::Error> },
    #[error(
        "{record} of {path} has version {found}, this program knows {known}; use the one that wrote it"
    )]
    Version { path: PathBuf, record: &'static str, found: u16, known: u16 },
    #[error("{record} of {path} is not what was written")]
    Damaged { path: PathBuf, record: &'static str },
    #[error("{record} has {bytes} bytes, at most {STORE_RECORD_BYTES_MAX} are kept")]
    TooLong { record: &'static str, bytes: usize },
    #[error("writing {path}: {source}")]
    Commit { path: PathBuf, source: Box<redb::Error> },
    #[error("{path} holds the state of node {of}, this is node {node}")]
    OtherNode { path: PathBuf, of: NodeId, node: NodeId },
    #[error("the operating system gives no chance for a key: {0}")]
    Chance(getrandom::Error),
    #[error("there is no number left after {0}")]
    Exhausted(u64),
}

/// The open file of one node.
pub struct Store {
    database: Database,
    path: PathBuf,
    /// Writing it has failed.
    is_fenced: bool,
    /// What was committed last, by name and as it is in the file: what the next file begins with.
    kept: BTreeMap<String, Kept>,
    opener: Opener,
}

type Kept = Zeroizing<Vec<u8>>;

/// Makes a database of a file.
type Opener = fn(File) -> Result<Database, DatabaseError>;

/// How the node's key is kept. The first byte says which.
const KEY_OF_CERTIFICATE: u8 = 1;
const KEY_OF_ITS_OWN: u8 = 2;

impl Store {
    /// Opens the directory's state, or begins it. Nobody but this user may look.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_by(directory, open)
    }

    fn open_by(directory: &Path, opener: Opener) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let file = create(directory, &path)
            .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
        let database = match opener(file) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse { path }),
            Err(source) => return Err(StoreError::Open { path, source }),
        };
        let kept = all(&database).map_err(|source| StoreError::Read {
            path: path.clone(),
            record: "all",
            source: Box::new(source),
        })?;
        Ok(Self { database, path, is_fenced: false, kept, opener })
    }

    /// The node whose state this is. `certified` is the public key of its certificate, if it has one;
    /// otherwise a key is drawn, once.
    pub fn settle_node(&mut self, certified: Option<&[u8; 32]>) -> Result<NodeId, StoreError> {
        let node = match self.node()? {
            Some(node) => node,
            None => {
                let record = self.first_key(certified)?;
                self.put(&[(Record::Key, record.as_slice())])?;
                self.node()?.ok_or_else(|| self.damaged(Record::Key))?
            }
        };
        match certified.map(NodeId::of_key) {
            Some(now) if now != node => {
                Err(StoreError::OtherNode { path: self.path.clone(), of: node, node: now })
            }
            Some(_) | None => Ok(node),
        }
    }

    /// `None`: the directory is new.
    fn node(&self) -> Result<Option<NodeId>, StoreError> {
        let Some(record) = self.get(Record::Key)?.map(Zeroizing::new) else { return Ok(None) };
        let (kind, key) = record.split_first().ok_or_else(|| self.damaged(Record::Key))?;
        let key: &[u8; 32] = key.try_into().map_err(|_| self.damaged(Record::Key))?;
        match *kind {
            KEY_OF_CERTIFICATE => Ok(Some(NodeId::of_key(key))),
            KEY_OF_ITS_OWN => {
                let public = SigningKey::from_bytes(key).verifying_key();
                Ok(Some(NodeId::of_key(public.as_bytes())))
            }
            _ => Err(self.damaged(Record::Key)),
        }
    }

    fn first_key(&self, certified: Option<&[u8; 32]>) -> Result<Zeroizing<[u8; 33]>, StoreError> {
        let mut record = Zeroizing::new([KEY_OF_ITS_OWN; 33]);
        match certified {
            Some(key) => {
                record[0] = KEY_OF_CERTIFICATE;
                record[1..].copy_from_slice(key);
            }
            None => getrandom::fill(&mut record[1..]).map_err(StoreError::Chance)?,
        }
        Ok(record)
    }

    /// The life that begins. Greater than any before; and not less than `wall_ms`, milliseconds since
    /// 1970, so that it is greater as well when the directory was lost.
    pub fn next_incarnation(&mut self, wall_ms: u64) -> Result<Incarnation, StoreError> {
        let last = self.number(Record::Incarnation)?;
        let next = last.checked_add(1).ok_or(StoreError::Exhausted(last))?.max(wall_ms);
        self.put(&[(Record::Incarnation, &next.to_le_bytes())])?;
        Ok(Incarnation(next))
    }

    /// Up to where numbers of routes were given out. `None`: none was.
    pub fn route_sequence(&self) -> Result<Option<Version>, StoreError> {
        let Some(bytes) = self.get(Record::RouteSequence)? else { return Ok(None) };
        let (incarnation, sequence) = bytes
            .split_first_chunk()
            .and_then(|(incarnation, rest)| Some((incarnation, rest.try_into().ok()?)))
            .ok_or_else(|| self.damaged(Record::RouteSequence))?;
        let incarnation = Incarnation(u64::from_le_bytes(*incarnation));
        Ok(Some(Version { incarnation, sequence: u64::from_le_bytes(sequence) }))
    }

    /// Keys of clusters, or nothing.
    pub fn route_keys(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.get(Record::RouteKeys)?.unwrap_or_default())
    }

    /// Zero if there is none.
    fn number(&self, record: Record) -> Result<u64, StoreError> {
        let Some(bytes) = self.get(record)? else { return Ok(0) };
        let bytes = bytes.try_into().map_err(|_| self.damaged(record))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// What was last put there.
    pub fn get(&self, record: Record) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(kept) = self.read(record)? else { return Ok(None) };
        let Some((version, rest)) = kept.split_first_chunk::<VERSION_BYTES>() else {
            return Err(self.damaged(record));
        };
        let found = u16::from_le_bytes(*version);
        if found != record.version() {
            return Err(StoreError::Version {
                path: self.path.clone(),
                record: record.name(),
                found,
                known: record.version(),
            });
        }
        match rest.split_first_chunk::<DIGEST_BYTES>() {
            Some((digest, body)) if *digest == digest_of(record, body) => Ok(Some(body.to_vec())),
            Some(_) | None => Err(self.damaged(record)),
        }
    }

    fn read(&self, record: Record) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = match transaction.open_table(RECORDS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let kept = table.get(record.name())?;
            Ok(kept.map(|kept| Zeroizing::new(kept.value().to_vec())))
        };
        read().map_err(|source| StoreError::Read {
            path: self.path.clone(),
            record: record.name(),
            source: Box::new(source),
        })
    }

    /// Writes all of `changes` or none, and returns once the disk has them. What failed may be tried
    /// again.
    pub fn put(&mut self, changes: &[(Record, &[u8])]) -> Result<(), StoreError> {
        for (record, body) in changes {
            if STORE_RECORD_BYTES_MAX < body.len() {
                return Err(StoreError::TooLong { record: record.name(), bytes: body.len() });
            }
        }
        let written = changes.iter().map(|(record, body)| (record.name(), written(*record, body)));
        let written: Vec<(&str, Kept)> = written.collect();
        let failed = |path: &Path, source| StoreError::Commit {
            path: path.to_owned(),
            source: Box::new(source),
        };
        if self.is_fenced {
            let next = self.path.with_file_name(NEXT_FILE_NAME);
            self.database = self.next_file(&next, &written).map_err(|source| {
                // What is left of it is removed before the next try as well.
                fs::remove_file(&next).unwrap_or(());
                failed(&next, source)
            })?;
            self.is_fenced = false;
        } else if let Err(source) = commit(&self.database, &written) {
            self.is_fenced = true;
            return Err(failed(&self.path, source));
        }
        self.kept.extend(written.into_iter().map(|(name, kept)| (name.to_owned(), kept)));
        Ok(())
    }

    /// A file with all that was kept and what is new. It is in place, and on the disk, once this returns.
    fn next_file(&self, next: &Path, changes: &[(&str, Kept)]) -> Result<Database, redb::Error> {
        match fs::remove_file(next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => (),
        }
        let directory =
            next.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let database = (self.opener)(create(directory, next)?)?;
        // Hints are most of it, and not worth a disk that is full.
        let kept = self.kept.iter().filter(|(name, _)| *name != Record::CatalogHints.name());
        let mut all: BTreeMap<&str, Kept> =
            kept.map(|(name, kept)| (name.as_str(), kept.clone())).collect();
        all.extend(changes.iter().cloned());
        commit(&database, &all.into_iter().collect::<Vec<_>>())?;
        fs::rename(next, &self.path)?;
        File::open(directory)?.sync_all()?;
        tracing::warn!(path = %self.path.display(), "state is kept in a new file");
        Ok(database)
    }

    fn damaged(&self, record: Record) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), record: record.name() }
    }
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { path, is_fenced, .. } = self;
        f.debug_struct("Store")
            .field("path", path)
            .field("is_fenced", is_fenced)
            .finish_non_exhaustive()
    }
}

fn open(file: File) -> Result<Database, DatabaseError> {
    let backend = FileBackend::new(file)?;
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)
}

/// Everything in the file, whoever wrote it.
fn all(database: &Database) -> Result<BTreeMap<String, Kept>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(RECORDS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        table => table?,
    };
    let mut all = BTreeMap::new();
    for entry in table.iter()? {
        let (name, kept) = entry?;
        all.insert(name.value().to_owned(), Zeroizing::new(kept.value().to_vec()));
    }
    Ok(all)
}

fn commit(database: &Database, changes: &[(&str, Kept)]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // So that opening it after a crash takes no walk through the file.
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(RECORDS)?;
        for (name, kept) in changes {
            table.insert(*name, kept.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// A record as it is in the file.
fn written(record: Record, body: &[u8]) -> Kept {
    let mut kept = Zeroizing::new(Vec::with_capacity(VERSION_BYTES + DIGEST_BYTES + body.len()));
    kept.extend_from_slice(&record.version().to_le_bytes());
    kept.extend_from_slice(&digest_of(record, body));
    kept.extend_from_slice(body);
    kept
}

/// As [`Store::route_sequence`] reads it.
pub fn version_bytes(version: Version) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&version.incarnation.0.to_le_bytes());
    bytes[8..].copy_from_slice(&version.sequence.to_le_bytes());
    bytes
}

/// The start of SHA-256 over name, version and body.
fn digest_of(record: Record, body: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = Sha256::new()
        .chain_update(record.name())
        .chain_update(record.version().to_le_bytes())
        .chain_update(body)
        .finalize();
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

/// The file, and that it is there, survive a power cut from here on.
fn create(directory: &Path, path: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
