//! What survives, what is refused, and what a failing disk does.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::channel::bounded;
use redb::StorageBackend;
use tempfile::TempDir;

use super::writer::{Busy, Change, Outcome, Writer};
use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_life_is_greater_than_the_last() {
    let folder = folder();
    let mut lives = Vec::new();
    for wall_ms in [5, 5, 3, 100, 0] {
        let mut store = Store::open(folder.path()).unwrap();
        lives.push(store.next_incarnation(wall_ms).unwrap().0);
    }
    assert_eq!(lives, [5, 6, 7, 100, 101]);
    let mut store = Store::open(folder.path()).unwrap();
    store.put(&[(Record::Incarnation, &u64::MAX.to_le_bytes())]).unwrap();
    assert!(matches!(store.next_incarnation(0), Err(StoreError::Exhausted(u64::MAX))));
}

#[test]
fn a_route_sequence_reads_as_it_was_written() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.route_sequence().unwrap(), None);
    let version = Version { incarnation: Incarnation(3), sequence: 1 << 40 };
    store.put(&[(Record::RouteSequence, &version_bytes(version))]).unwrap();
    assert_eq!(store.route_sequence().unwrap(), Some(version));
    store.put(&[(Record::RouteSequence, &[0; 15])]).unwrap();
    assert!(matches!(store.route_sequence(), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_drawn_key_stays_and_names_the_node() {
    let (one, other) = (folder(), folder());
    let settle = |at: &TempDir| Store::open(at.path()).unwrap().settle_node(None).unwrap();
    let node = settle(&one);
    assert_eq!(settle(&one), node);
    assert_ne!(settle(&other), node);
}

#[test]
fn a_directory_belongs_to_one_node() {
    let folder = folder();
    let settle = |key: Option<&[u8; 32]>| Store::open(folder.path()).unwrap().settle_node(key);
    let (mine, yours) = ([1; 32], [2; 32]);
    let node = settle(Some(&mine)).unwrap();
    assert_eq!(node, NodeId::of_key(&mine));
    assert_eq!(settle(None).unwrap(), node, "the certificate is not there this time");
    let refusal = settle(Some(&yours)).unwrap_err().to_string();
    assert!(refusal.ends_with(&format!("of node {node}, this is node {}", NodeId::of_key(&yours))));
}

#[test]
fn a_directory_has_one_process() {
    let folder = folder();
    let first = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    drop(first);
    Store::open(folder.path()).unwrap();
}

#[test]
fn nobody_else_may_look() {
    let folder = folder();
    let directory = folder.path().join("a/b");
    drop(Store::open(&directory).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join(FILE_NAME))), (0o700, 0o600));
}

/// Puts bytes there that no version of this program writes.
fn forge(store: &Store, record: Record, kept: &[u8]) {
    let transaction = store.database.begin_write().unwrap();
    transaction.open_table(RECORDS).unwrap().insert(record.name(), kept).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn what_this_program_did_not_write_is_refused_by_name() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    for record in Record::ALL {
        assert_eq!(store.get(record).unwrap(), None);
        store.put(&[(record, b"body")]).unwrap();
        assert_eq!(store.get(record).unwrap().unwrap(), b"body");
        let kept = store.read(record).unwrap().unwrap();
        let mut newer = kept.to_vec();
        newer[0] += 1;
        forge(&store, record, &newer);
        let refusal = text(store.get(record));
        assert!(refusal.contains(&format!("{} of ", record.name())), "{refusal}");
        assert!(refusal.contains("has version 2, this program knows 1"), "{refusal}");
        for bit in (8 * VERSION_BYTES)..(8 * kept.len()) {
            let mut flipped = kept.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            forge(&store, record, &flipped);
            assert!(matches!(store.get(record), Err(StoreError::Damaged { .. })), "bit {bit}");
        }
        for bytes in 0..VERSION_BYTES + DIGEST_BYTES {
            forge(&store, record, &kept[..bytes]);
            assert!(matches!(store.get(record), Err(StoreError::Damaged { .. })), "{bytes} bytes");
        }
    }
    let other = store.read(Record::Key).unwrap().unwrap();
    forge(&store, Record::Incarnation, &other);
    assert!(store.next_incarnation(0).is_err(), "a record is not another's");
}

#[test]
fn a_file_of_another_program_is_refused() {
    let folder = folder();
    fs::write(folder.path().join(FILE_NAME), "precious data".repeat(1000)).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Open { .. })));
    let text = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert!(text.starts_with("precious data"));
}

#[test]
fn a_record_has_a_bound() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let body = vec![7; STORE_RECORD_BYTES_MAX + 1];
    let refused = store.put(&[(Record::RouteKeys, b"kept"), (Record::CatalogHints, &body)]);
    assert!(matches!(refused, Err(StoreError::TooLong { record: "catalog_hints", .. })));
    assert_eq!(store.get(Record::RouteKeys).unwrap(), None, "all or nothing");
    store.put(&[(Record::CatalogHints, &body[1..])]).unwrap();
    assert_eq!(store.get(Record::CatalogHints).unwrap().unwrap(), &body[1..]);
}

/// Whether disks are full.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// One at a time has a disk that is full.
static FULL_DISK: Mutex<()> = Mutex::new(());

/// A disk that does not sync while it is full.
#[derive(Debug)]
struct Failing(FileBackend);

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match IS_FULL.load(Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.0.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A store on a disk that is full when it is said to be.
struct Disk {
    folder: TempDir,
    store: Store,
    _alone: MutexGuard<'static, ()>,
}

fn failing() -> Disk {
    let _alone = FULL_DISK.lock().unwrap_or_else(PoisonError::into_inner);
    IS_FULL.store(false, Relaxed);
    let folder = folder();
    let opener: Opener = |file| {
        let backend = Failing(FileBackend::new(file)?);
        Builder::new().create_with_backend(backend)
    };
    let store = Store::open_by(folder.path(), opener).unwrap();
    Disk { folder, store, _alone }
}

#[test]
fn what_failed_goes_into_a_new_file_with_all_the_rest() {
    let mut disk = failing();
    let store = &mut disk.store;
    let node = store.settle_node(None).unwrap();
    assert_eq!(store.next_incarnation(1).unwrap().0, 1);
    IS_FULL.store(true, Relaxed);
    for _ in 0..3 {
        assert!(matches!(store.put(&[(Record::RouteKeys, b"a")]), Err(StoreError::Commit { .. })));
    }
    let names = || -> Vec<String> {
        let entries = fs::read_dir(disk.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(), [FILE_NAME]);
    IS_FULL.store(false, Relaxed);
    store.put(&[(Record::RouteKeys, b"b")]).unwrap();
    store.put(&[(Record::CatalogHints, b"c")]).unwrap();
    assert_eq!(names(), [FILE_NAME]);
    drop(disk.store);
    let mut store = Store::open(disk.folder.path()).unwrap();
    assert_eq!(store.settle_node(None).unwrap(), node);
    assert_eq!(store.next_incarnation(0).unwrap().0, 2, "no life is lived twice");
    let kept = [Record::RouteKeys, Record::CatalogHints].map(|record| store.get(record).unwrap());
    assert_eq!(kept, [Some(b"b".to_vec()), Some(b"c".to_vec())]);
}

fn change(ticket: u64, body: &[u8]) -> Change {
    Change { ticket, record: Record::RouteKeys, body: body.to_vec() }
}

#[test]
fn changes_are_told_of_in_order_and_once() {
    let folder = folder();
    let (told, outcomes) = bounded(100);
    let store = Store::open(folder.path()).unwrap();
    let writer = Writer::start(store, move |outcome| told.send(outcome).unwrap()).unwrap();
    for ticket in 0..50 {
        let mut change = change(ticket, &[ticket as u8]);
        while let Err(Busy(again)) = writer.keep(change) {
            change = again;
            std::thread::yield_now();
        }
    }
    drop(writer);
    let want: Vec<Outcome> = (0..50).map(|ticket| Outcome::Kept { ticket }).collect();
    assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), want);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get(Record::RouteKeys).unwrap().unwrap(), [49]);
}

#[test]
fn what_a_full_disk_does_not_take_is_tried_until_it_does() {
    let disk = failing();
    IS_FULL.store(true, Relaxed);
    let (told, outcomes) = bounded(100);
    let writer = Writer::start(disk.store, move |outcome| told.send(outcome).unwrap()).unwrap();
    writer.keep(change(1, b"a")).unwrap();
    for _ in 0..2 {
        assert_eq!(outcomes.recv().unwrap(), Outcome::Failing);
    }
    writer.keep(change(2, b"b")).unwrap();
    IS_FULL.store(false, Relaxed);
    let kept: Vec<Outcome> =
        outcomes.iter().filter(|said| *said != Outcome::Failing).take(2).collect();
    assert_eq!(kept, [Outcome::Kept { ticket: 1 }, Outcome::Kept { ticket: 2 }]);
    drop(writer);
    let store = Store::open(disk.folder.path()).unwrap();
    assert_eq!(store.get(Record::RouteKeys).unwrap().unwrap(), b"b");
}

#[test]
fn a_full_disk_keeps_no_process_from_ending() {
    let disk = failing();
    IS_FULL.store(true, Relaxed);
    let (told, outcomes) = bounded(100);
    let writer = Writer::start(disk.store, move |outcome| told.send(outcome).unwrap()).unwrap();
    writer.keep(change(1, b"a")).unwrap();
    assert_eq!(outcomes.recv().unwrap(), Outcome::Failing);
    drop(writer);
    assert!(outcomes.try_iter().all(|outcome| outcome == Outcome::Failing));
}

#[test]
fn what_no_disk_would_take_is_turned_away_and_holds_up_nothing() {
    let folder = folder();
    let (told, outcomes) = bounded(100);
    let store = Store::open(folder.path()).unwrap();
    let writer = Writer::start(store, move |outcome| told.send(outcome).unwrap()).unwrap();
    writer.keep(change(1, &vec![0; STORE_RECORD_BYTES_MAX + 1])).unwrap();
    writer.keep(change(2, b"b")).unwrap();
    drop(writer);
    let told: Vec<Outcome> = outcomes.try_iter().collect();
    assert_eq!(told, [Outcome::Refused { ticket: 1 }, Outcome::Kept { ticket: 2 }]);
}
