//! `mpreg nats-server`: a router in place of nats-server.
//!
//! ```text
//!   flags, configuration file --> nats_conf::Options --> config::File --> Config --> node
//!                                        |
//!                                        +--> log, pid file, ports file
//! ```
//!
//! Flags, files, log lines and signals are those of nats-server as far as scripts and the test
//! suites of client libraries use them; what is asked for and not served is refused, or logged
//! where leaving it out harms nobody. The native protocol is not listened for: that is `serve`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use super::running::{Running, ServeError};
use super::{CommandError, Exit};
use crate::config::{Config, Refusal};
use crate::log::{Logs, NatsLog};
use crate::nats_conf::{ConfError, Options};

mod asked;
mod files;
mod flags;
mod settle;

use asked::{Asked, Asks};
use files::Word;
use flags::{FlagError, Flags, Run, Tell};
use settle::SettleError;

/// Run a router in place of nats-server: its flags, its configuration files, its files and signals.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct NatsServer {
    /// As nats-server takes them; `--help` lists those there are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    pub arguments: Vec<OsString>,
}

/// Why there was no router, or why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum NatsServerError {
    #[error(transparent)]
    Flags(#[from] FlagError),
    #[error(transparent)]
    Conf(#[from] ConfError),
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("writing {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("process {process} cannot be told")]
    Tell { process: String, source: std::io::Error },
}

/// Why a configuration was not reloaded. What holds, holds on.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("can only reload config when a file is provided using -c or --config")]
    NoFile,
    #[error(transparent)]
    Options(#[from] NatsServerError),
    #[error("starting the thread that verifies clients: {0}")]
    Desk(#[from] std::io::Error),
}

impl NatsServerError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Conf(_) | Self::Settle(_) | Self::Refused(_) => Exit::Refused,
            Self::Serve(error) => error.exit(),
            Self::Flags(_) | Self::File { .. } | Self::Tell { .. } => Exit::CouldNotAsk,
        }
    }
}

impl NatsServer {
    pub(super) fn run(self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let arguments = self.arguments.into_iter();
        let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
        match Flags::parse(arguments).map_err(NatsServerError::from)? {
            Flags::Help => out.write_all(flags::HELP.as_bytes())?,
            Flags::Version => writeln!(out, "nats-server: mpreg v{}", env!("CARGO_PKG_VERSION"))?,
            Flags::Tell(tell) => tell_process(&tell)?,
            Flags::Run(asked) => {
                let options = asked.options()?;
                let config = config(&options)?;
                if asked.is_test {
                    writeln!(out, "configuration is valid")?;
                } else {
                    serve(&options, config, &asked)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn config(options: &Options) -> Result<Config, NatsServerError> {
    Ok(Config::try_from(settle::file(options)?)?)
}

fn serve(options: &Options, config: Config, said: &Run) -> Result<(), NatsServerError> {
    let log = NatsLog { has_time: !options.no_logtime, file: options.log_file.clone() };
    let mut router = Running::start(config, |config| Logs::start_as_nats(config, &log), None)?;
    let mut asks = Asks::keep(&router.runtime)
        .map_err(|source| NatsServerError::Serve(ServeError::Signals { source }))?;
    let _pid_file = options.pid_file.as_deref().map(Word::pid).transpose()?;
    announce(options, &router);
    let _ports_file = options
        .ports_file_dir
        .as_deref()
        .map(|folder| Word::ports(folder, &router.ready.urls))
        .transpose()?;
    loop {
        match router.runtime.block_on(asks.next(&mut router.stop)) {
            Asked::Stop => break tracing::info!("Initiating Shutdown..."),
            Asked::LameDuck => {
                tracing::info!("Entering lame duck mode, stop accepting new clients");
                router.be_lame_duck();
                break tracing::info!("Initiating Shutdown...");
            }
            Asked::ReopenLog if options.log_file.is_some() => {
                router.logs.reopen.ask();
                tracing::info!("File log re-opened");
            }
            Asked::ReopenLog => tracing::info!("File log re-open ignored, not a file logger"),
            Asked::Reload => match reload(said, &mut router) {
                Ok(()) => tracing::info!("Reloaded server configuration"),
                Err(error) => tracing::error!("Failed to reload server configuration: {error}"),
            },
        }
    }
    let _logs = router.stop()?;
    tracing::info!("Server Exiting..");
    Ok(())
}

/// Takes over the users of the configuration file; the rest of it holds from the next start.
fn reload(said: &Run, router: &mut Running) -> Result<(), ReloadError> {
    if said.file.is_none() {
        return Err(ReloadError::NoFile);
    }
    let Config { auth, listen, tls, nats, .. } = config(&said.options()?)?;
    let running = &router.config;
    if (&listen, &tls, &nats) != (&running.listen, &running.tls, &running.nats) {
        tracing::warn!("only users are reloaded; what else has changed holds from the next start");
    }
    router.reload(&auth)?;
    tracing::info!("Reloaded: authorization users");
    Ok(())
}

/// The lines scripts wait for.
fn announce(options: &Options, router: &Running) {
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  mpreg {}", env!("CARGO_PKG_VERSION"));
    for note in &options.notes {
        tracing::warn!("{note}");
    }
    for warning in settle::warnings(options) {
        tracing::warn!("{warning}");
    }
    if let Some(url) = &router.ready.urls.admin {
        tracing::info!("Starting http monitor on {}", url.trim_start_matches("http://"));
    }
    let urls = &router.ready.urls;
    for url in [&urls.websocket, &urls.websocket_tls].into_iter().flatten() {
        tracing::info!("Listening for websocket clients on {url}");
    }
    let bound = router.bound();
    if let Some(address) = bound.nats.or(bound.nats_tls) {
        // Scripts look for the address they asked for.
        let address = address.to_string().replace("[::]:", "0.0.0.0:");
        tracing::info!("Listening for client connections on {address}");
        if bound.nats_tls.is_some() && !options.allow_non_tls {
            tracing::info!("TLS required for client connections");
        }
    }
    tracing::info!("Server is ready");
}

fn tell_process(tell: &Tell) -> Result<(), NatsServerError> {
    tell.send().map_err(|source| NatsServerError::Tell { process: tell.process.clone(), source })
}
