//! The word that the router serves: a line on stdout, a file for scripts.
//!
//! Invariant: the file is there, whole, exactly while the router serves; a file that a killed
//! router left is removed before the next one starts.

use core::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::admin::status::Urls;

/// What is said. As JSON it is what the ready file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ready {
    pub(super) pid: u32,
    #[serde(flatten)]
    pub(super) member: Option<Member>,
    #[serde(flatten)]
    pub(super) urls: Urls,
}

/// Of a node that is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    /// 32 hexadecimal digits.
    pub(super) node: String,
    pub(super) cluster: String,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mpreg ready")?;
        if let Some(Member { node, cluster }) = &self.member {
            write!(f, " node={node} cluster={cluster}")?;
        }
        self.urls.named().try_for_each(|(name, url)| write!(f, " {name}={url}"))
    }
}

/// A ready file in place. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct ReadyFile {
    path: PathBuf,
    text: String,
}

impl ReadyFile {
    /// Removes what an earlier router left at `path`.
    pub(super) fn clear(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whoever opens `path` finds all of the text or no file.
    pub(super) fn write(path: &Path, ready: &Ready) -> io::Result<Self> {
        let mut text = serde_json::to_string(ready).expect("strings and a number");
        text.push('\n');
        let unfinished = unfinished(path)?;
        let write = || {
            fs::File::create_new(&unfinished)?.write_all(text.as_bytes())?;
            fs::rename(&unfinished, path)
        };
        write().inspect_err(|_| {
            // The failure to be told is the first one.
            fs::remove_file(&unfinished).unwrap_or(());
        })?;
        Ok(Self { path: path.to_owned(), text })
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // A router started since with the same path has put its own word there.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the ready file stays");
        }
    }
}

/// A name beside `path`, on the same file system, of this process alone.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    fn ready(port: u16) -> Ready {
        let urls = Urls {
            native: Some(format!("mpreg://127.0.0.1:{port}")),
            admin: Some("http://127.0.0.1:1".to_owned()),
            ..Urls::default()
        };
        Ready { pid: 42, member: None, urls }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn line_and_file_name_what_was_bound() {
        assert_eq!(
            ready(9).to_string(),
            "mpreg ready native=mpreg://127.0.0.1:9 admin=http://127.0.0.1:1"
        );
        let mut unix = ready(9);
        unix.urls = Urls { unix: Some("mpreg+unix:///run/m".to_owned()), ..Urls::default() };
        assert_eq!(unix.to_string(), "mpreg ready unix=mpreg+unix:///run/m");
        unix.urls.nats = Some("nats://127.0.0.1:1".to_owned());
        unix.urls.websocket_tls = Some("wss://127.0.0.1:2".to_owned());
        assert_eq!(
            unix.to_string(),
            "mpreg ready unix=mpreg+unix:///run/m nats=nats://127.0.0.1:1 \
             websocket_tls=wss://127.0.0.1:2"
        );
        assert_eq!(
            serde_json::to_string(&ready(9)).unwrap(),
            r#"{"pid":42,"native":"mpreg://127.0.0.1:9","admin":"http://127.0.0.1:1"}"#
        );
    }

    #[test]
    fn a_reader_never_sees_half_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Relaxed) {
                    if let Ok(text) = fs::read_to_string(&path) {
                        let _whole: serde_json::Value = serde_json::from_str(&text).unwrap();
                        seen += 1;
                    }
                }
                seen
            });
            for port in 0..2000 {
                ReadyFile::clear(&path).unwrap();
                drop(ReadyFile::write(&path, &ready(port)).unwrap());
            }
            let file = ReadyFile::write(&path, &ready(1)).unwrap();
            done.store(true, Relaxed);
            assert!(reader.join().is_ok());
            drop(file);
        });
        assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing is left");
    }

    #[test]
    fn another_routers_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let first = ReadyFile::write(&path, &ready(1)).unwrap();
        let second = ReadyFile::write(&path, &ready(2)).unwrap();
        drop(first);
        assert_eq!(names(dir.path()), ["ready.json"]);
        drop(second);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("ready.json");
        fs::create_dir(&taken).unwrap();
        assert!(ReadyFile::clear(&taken).is_err());
        assert!(ReadyFile::write(&taken, &ready(1)).is_err());
        assert_eq!(names(dir.path()), ["ready.json"]);
        assert!(ReadyFile::write(&dir.path().join("no/ready.json"), &ready(1)).is_err());
    }
}
