//! Runs are read as they were written.

use super::*;

fn measurement(name: &str) -> Measurement {
    Measurement::of_rounds(name.to_owned(), Unit::Nanoseconds, vec![3.0, 1.0, 2.5])
}

#[test]
fn a_run_reads_back_as_it_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::here();
    let mut store = Store::begin(folder.path(), machine.clone()).unwrap();
    let taken = vec![measurement("a/b"), measurement("c")];
    taken.iter().for_each(|one| store.add(one.clone()).unwrap());
    assert_eq!(read(&store.path).unwrap(), (machine, taken));
}

#[test]
fn rounds_become_their_middle_and_ends() {
    let Measurement { median, low, high, .. } = measurement("a");
    assert_eq!((low, median, high), (1.0, 2.5, 3.0));
}

#[test]
fn a_line_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::begin(folder.path(), Machine::here()).unwrap();
    store.file.write_all(b"{\"torn").unwrap();
    let error = format!("{:#}", read(&store.path).unwrap_err());
    assert!(error.contains(", line 2: "), "{error}");
}

#[test]
fn this_machine_is_known_and_like_itself() {
    let here = Machine::here();
    assert!(!here.cpu.is_empty() && !here.kernel.is_empty() && here.memory_bytes != 0);
    assert!(here.is_like(&Machine { commit: "other".into(), unix_time_s: 0, ..here.clone() }));
    assert!(!here.is_like(&Machine { cpus: here.cpus + 1, ..here.clone() }));
}
