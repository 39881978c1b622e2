//! The committed fuzz corpora, replayed through what the fuzz targets call.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use mpreg_tests::fuzz_case::TARGETS;
use mpreg_tests::seed;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/corpus").join(target)
}

#[test]
fn every_file_of_every_corpus_holds() {
    for (target, case) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(catch_unwind(|| case(&bytes)).is_ok(), "{}", path.display());
            files += 1;
        }
        assert!(0 < files, "{target}: the corpus is empty");
    }
}

#[test]
fn every_seed_is_committed_as_it_is_made() {
    for (target, _) in TARGETS {
        for (name, bytes) in seed::seeds(target) {
            let path = corpus(target).join(&name);
            let is_same = fs::read(&path).is_ok_and(|committed| committed == bytes);
            assert!(
                is_same,
                "{}: run `cargo run -p mpreg-tests --bin seed-corpus`",
                path.display()
            );
        }
    }
}

/// Each seed, at every length it can be cut to and with every byte changed.
#[test]
fn what_peers_say_cut_and_bent_anywhere_is_still_read_or_refused() {
    let said = ["frame", "hello", "hop", "link_state", "nats"];
    for (target, case) in TARGETS.into_iter().filter(|(name, _)| said.contains(name)) {
        for (_, bytes) in seed::seeds(target) {
            (0..bytes.len()).for_each(|cut| case(&bytes[..cut]));
            for at in 0..bytes.len() {
                for bits in [0x01, 0x80, 0xff] {
                    let mut bent = bytes.clone();
                    bent[at] ^= bits;
                    case(&bent);
                }
            }
        }
    }
}
