//! A log file that is opened anew when asked: whoever moved it away gets no more lines.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Asks for the log file to be opened anew before the next line.
#[derive(Clone, Debug, Default)]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    pub fn ask(&self) {
        self.0.store(true, Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Reopen,
}

impl LogFile {
    pub(super) fn open(path: &Path, reopen: Reopen) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: appending(path)?, reopen })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Relaxed)
            // A path that is gone for good leaves the file that is open.
            && let Ok(file) = appending(&self.path)
        {
            self.file = file;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn appending(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_moved_away_gets_no_more_lines_once_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let reopen = Reopen::default();
        let mut file = LogFile::open(&path, reopen.clone()).unwrap();
        file.write_all(b"1").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        file.write_all(b"2").unwrap();
        reopen.ask();
        file.write_all(b"3").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"12");
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
    }
}
