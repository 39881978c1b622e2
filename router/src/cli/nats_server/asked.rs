//! What a running router is asked by signal, as nats-server is.
//!
//! ```text
//!   SIGTERM, SIGINT   stop          SIGUSR1   open the log file anew
//!   SIGUSR2           lame duck     SIGHUP    reload
//! ```

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::stop::Stop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Stop,
    LameDuck,
    ReopenLog,
    Reload,
}

/// The signals besides those to stop, kept from the moment this exists.
#[derive(Debug)]
pub(super) struct Asks {
    lame_duck: Signal,
    reopen: Signal,
    reload: Signal,
}

impl Asks {
    pub(super) fn keep(runtime: &Runtime) -> io::Result<Self> {
        let _context = runtime.enter();
        Ok(Self {
            lame_duck: signal(SignalKind::user_defined2())?,
            reopen: signal(SignalKind::user_defined1())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self, stop: &mut Stop) -> Asked {
        let (asked, name) = tokio::select! {
            () = stop.asked() => (Asked::Stop, "terminated"),
            _ = self.lame_duck.recv() => (Asked::LameDuck, "user defined signal 2"),
            _ = self.reopen.recv() => (Asked::ReopenLog, "user defined signal 1"),
            _ = self.reload.recv() => (Asked::Reload, "hangup"),
        };
        tracing::info!("Trapped \"{name}\" signal");
        asked
    }
}
