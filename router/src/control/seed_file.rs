//! Addresses to begin with, from a file: one `host:port` a line, `#` begins a comment.
//!
//! The file is read anew every two seconds, so that a node that waits for others finds those that were
//! added. Whom to dial of them, and when, is for the control core's machine to say.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mpreg_fabric::time::Instant;
use mpreg_proto::member::PeerAddress;

use crate::limits::PEER_SEEDS_BYTES_MAX;

const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct SeedFile {
    path: PathBuf,
    due: Instant,
    /// What was in it when it was last read.
    listed: Vec<PeerAddress>,
}

impl SeedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, due: Instant::START, listed: Vec::new() }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    /// What was listed when it was last read.
    pub(super) fn listed(&self) -> &[PeerAddress] {
        &self.listed
    }

    /// Reads it, if that is due. Whether something else is listed than before.
    pub(super) fn is_changed(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + EVERY;
        match read(&self.path) {
            Ok(listed) => {
                let before = core::mem::replace(&mut self.listed, listed);
                before != self.listed
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "seeds not read");
                false
            }
        }
    }
}

/// What is no address is told of and left out.
fn read(path: &Path) -> io::Result<Vec<PeerAddress>> {
    let mut text = String::new();
    File::open(path)?.take(PEER_SEEDS_BYTES_MAX).read_to_string(&mut text)?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let parse = |line: &str| match line.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            tracing::warn!(%error, line, path = %path.display(), "not a seed");
            None
        }
    };
    Ok(lines.filter(|line| !line.is_empty()).filter_map(parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_anew_and_told_of_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seeds");
        let mut file = SeedFile::new(path.clone());
        let mut now = Instant::START;
        let mut check = |want: Option<&[&str]>| {
            let is_changed = file.is_changed(now);
            let names = file.listed().iter().map(PeerAddress::as_str);
            let names = is_changed.then(|| names.collect::<Vec<_>>());
            assert_eq!(names, want.map(<[&str]>::to_vec));
            assert!(!file.is_changed(now), "not due");
            now = file.deadline();
        };
        check(None);
        std::fs::write(&path, "a:1 # the first\n\n  b:1\nnonsense\n").unwrap();
        check(Some(&["a:1", "b:1"]));
        check(None);
        std::fs::write(&path, "").unwrap();
        check(Some(&[]));
        std::fs::remove_file(&path).unwrap();
        check(None);
    }
}
