//! The files nats-server leaves for scripts: its process id, and the ports it listens on.
//!
//! Invariant: both are whole when they can be seen, and gone when the router has stopped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::NatsServerError;
use super::settle::has_ipv6;
use crate::admin::status::Urls;

/// A file that is removed with the process, unless another one has put its own in its place.
#[derive(Debug)]
pub(super) struct Word {
    path: PathBuf,
    text: String,
}

/// What `nats-server_<pid>.ports` holds, as JSON.
#[derive(Serialize)]
struct Ports {
    nats: Vec<String>,
    monitoring: Vec<String>,
    cluster: [String; 0],
    profile: [String; 0],
    websocket: Vec<String>,
}

impl Word {
    /// The process id in decimal digits and nothing else: scripts parse the whole file.
    pub(super) fn pid(path: &Path) -> Result<Self, NatsServerError> {
        Self::write(path.to_owned(), std::process::id().to_string())
    }

    /// Where the router listens.
    pub(super) fn ports(folder: &Path, urls: &Urls) -> Result<Self, NatsServerError> {
        let path = folder.join(format!("nats-server_{}.ports", std::process::id()));
        let ports = serde_json::to_string(&Ports::of(urls)).expect("lists of strings");
        Self::write(path, ports)
    }

    fn write(path: PathBuf, text: String) -> Result<Self, NatsServerError> {
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".unfinished");
        let write = || -> io::Result<()> {
            fs::write(&unfinished, &text)?;
            fs::rename(&unfinished, &path)
        };
        match write() {
            Ok(()) => Ok(Self { path, text }),
            Err(source) => Err(NatsServerError::File { path, source }),
        }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a file stays");
        }
    }
}

impl Ports {
    fn of(urls: &Urls) -> Self {
        let local = |urls: [&Option<String>; 2]| {
            urls.into_iter().flatten().map(|url| reachable_here(url)).collect()
        };
        Self {
            nats: local([&urls.nats, &urls.nats_tls]),
            monitoring: local([&urls.admin, &None]),
            cluster: [],
            profile: [],
            websocket: local([&urls.websocket, &urls.websocket_tls]),
        }
    }
}

/// Where a listener is on all addresses, the loopback one stands for them.
fn reachable_here(url: &str) -> String {
    let of_both = if has_ipv6() { "//127.0.0.1:" } else { "//[::1]:" };
    url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", of_both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_urls_that_can_be_connected_to_from_here() {
        let urls = Urls {
            nats_tls: Some("tls://0.0.0.0:1".to_owned()),
            admin: Some("http://127.0.0.1:2".to_owned()),
            websocket: Some("ws://[::]:3".to_owned()),
            ..Urls::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let word = Word::ports(folder.path(), &urls).unwrap();
        let path = folder.path().join(format!("nats-server_{}.ports", std::process::id()));
        let of_both = if has_ipv6() { "127.0.0.1" } else { "[::1]" };
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!(
                r#"{{"nats":["tls://127.0.0.1:1"],"monitoring":["http://127.0.0.1:2"],"cluster":[],"profile":[],"websocket":["ws://{of_both}:3"]}}"#
            )
        );
        drop(word);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left");
    }

    #[test]
    fn the_pid_is_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = Word::pid(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().parse(), Ok(std::process::id()));
        fs::write(&path, "1").unwrap();
        drop(first);
        assert!(path.exists(), "another process has put its own there");
        assert!(matches!(
            Word::pid(&folder.path().join("no/pid")),
            Err(NatsServerError::File { .. })
        ));
    }
}
