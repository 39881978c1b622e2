//! A router of one's own: this executable, as a child that serves on ports of the kernel's choice.

use core::time::Duration;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::complain;

/// A start takes some 50 ms; a busy machine, some seconds.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// Longer than a drain and its grace.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

const STOP_POLL: Duration = Duration::from_millis(10);

/// Why there is no router, or why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("starting a router")]
    Start { source: io::Error },
    /// It has said why on stderr.
    #[error("the router ended before it served, with {status}")]
    Refused { status: ExitStatus },
    #[error("the router did not serve within {START_TIME_MAX:?}")]
    Late,
    #[error("the router announced {line:?}, which names no address")]
    Unclear { line: String },
    #[error("stopping the router")]
    Stop { source: io::Error },
    #[error("the router ended with {status}")]
    Ended { status: ExitStatus },
    #[error("the router did not stop within {STOP_TIME_MAX:?} and was killed")]
    Stuck,
}

/// A serving router. Killed when dropped, unless it was stopped.
#[derive(Debug)]
pub(super) struct ChildRouter {
    child: Child,
    native: String,
    peer: Option<String>,
}

impl ChildRouter {
    /// Starts a router with `arguments` after `serve`. Its log goes to this process's stderr.
    pub(super) fn start(arguments: &[String]) -> Result<Self, ChildError> {
        let start = |source| ChildError::Start { source };
        let mut child = Command::new(std::env::current_exe().map_err(start)?)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "error"])
            .args(["--parent", &std::process::id().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdout = child.stdout.take().expect("asked for above");
        let mut router = Self { child, native: String::new(), peer: None };
        let line = first_line(stdout)?;
        if line.is_empty() {
            let status = router.child.wait().map_err(start)?;
            return Err(ChildError::Refused { status });
        }
        let native = line.split_whitespace().find_map(|word| word.strip_prefix("native="));
        router.native = native.ok_or(ChildError::Unclear { line: line.clone() })?.to_owned();
        let peer = line.split_whitespace().find_map(|word| word.strip_prefix("peer=mpreg-peer://"));
        router.peer = peer.map(str::to_owned);
        Ok(router)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `mpreg://HOST:PORT`
    pub(super) fn native(&self) -> &str {
        &self.native
    }

    /// `HOST:PORT`, if it listens for other nodes.
    pub(super) fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Ends it without a word.
    pub(super) fn kill(mut self) -> Result<(), ChildError> {
        let stop = |source| ChildError::Stop { source };
        self.child.kill().map_err(stop)?;
        self.child.wait().map_err(stop)?;
        Ok(())
    }

    /// Lets it drain; an error unless it then ends as it should.
    pub(super) fn stop(mut self) -> Result<(), ChildError> {
        let stop = |source| ChildError::Stop { source };
        // A child that has ended cannot be another process: it has not been waited for.
        if self.child.try_wait().map_err(stop)?.is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, Signal::TERM).map_err(|errno| stop(errno.into()))?;
        }
        let deadline = Instant::now() + STOP_TIME_MAX;
        loop {
            match self.child.try_wait().map_err(stop)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(ChildError::Ended { status }),
                None if deadline <= Instant::now() => return Err(ChildError::Stuck),
                None => std::thread::sleep(STOP_POLL),
            }
        }
    }
}

impl Drop for ChildRouter {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let killed = self.child.kill().and_then(|()| self.child.wait());
            if let Err(error) = killed {
                complain(&error);
            }
        }
    }
}

/// What the child says first; empty if it ends without a word.
fn first_line(stdout: std::process::ChildStdout) -> Result<String, ChildError> {
    let (line, said) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = BufReader::new(stdout).read_line(&mut text).map(|_| text);
        // Fails when it came too late to be waited for.
        line.send(read).unwrap_or(());
    });
    match said.recv_timeout(START_TIME_MAX) {
        Ok(read) => read.map_err(|source| ChildError::Start { source }),
        Err(_) => Err(ChildError::Late),
    }
}
