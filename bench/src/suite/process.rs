//! Processes a run starts: ready before they are used, gone when it ends.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;

/// A server that writes a ready file within this time, or has failed.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A binary built beside this one.
pub(super) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("finding this binary")?;
    let path = here.with_file_name(name);
    if !path.exists() {
        let packages = "-p mpreg-router -p mpreg-loadgen -p mpreg-bench";
        bail!("no {}; cargo build --release {packages}", path.display());
    }
    Ok(path)
}

/// What a router and the floor say once they serve.
#[derive(Debug, Deserialize)]
struct Ready {
    native: String,
}

/// A router or a floor. Killed when this is dropped.
pub(super) struct Server {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Server {
    pub(super) fn start<A: AsRef<OsStr>>(
        binary: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for the ready file")?;
        let ready_file = folder.path().join("ready.json");
        let child = Command::new(binary)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        // From here on the child is killed whatever happens.
        let mut server = Self { child, url: String::new(), _folder: folder };
        server.url = server.wait_until_ready(&ready_file)?.native;
        Ok(server)
    }

    fn wait_until_ready(&mut self, ready_file: &Path) -> anyhow::Result<Ready> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if let Ok(text) = std::fs::read_to_string(ready_file) {
                return serde_json::from_str(&text).context("reading the ready file");
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it was ready: {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("it was not ready within {READY_WITHIN:?}")
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
