//! Which router to talk to, and talking to it as a client.

use core::future::Future;
use std::io::{self, Read};

use mpreg_client::{Client, ConnectError, ConnectOptions, ParseUrlError, Url};
use mpreg_proto::envelope::Priority;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

/// Which router to talk to.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Router {
    /// Address of the router: mpreg://HOST:PORT or mpreg+unix:///PATH.
    #[arg(long, value_name = "URL", env = "MPREG_URL", default_value = "mpreg://127.0.0.1:4280")]
    url: String,
}

/// Whether a lost connection is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// What was asked for cannot be told from what was lost: the command ends.
    Ends,
    /// The command goes on as long as the router can be reached again.
    Reconnects,
}

/// Why there is nobody to talk to.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("{url:?} is not a router address")]
    BadUrl { url: String, source: ParseUrlError },
    #[error("no router at {url}")]
    Connect { url: String, source: ConnectError },
    #[error("reading the payload from stdin")]
    Payload { source: io::Error },
    #[error("the payload is longer than {PAYLOAD_BYTES_MAX} bytes")]
    PayloadTooLong,
    /// The process is out of descriptors or memory.
    #[error("preparing to connect")]
    Runtime { source: io::Error },
}

/// Payload of a message: `-` in its place reads stdin to its end.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Payload {
    /// The message's payload; - reads it from stdin.
    #[arg(value_name = "PAYLOAD", default_value = "", hide_default_value = true)]
    payload: String,
}

/// Priority, as written on the command line.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Urgency {
    Critical,
    High,
    #[default]
    Normal,
    Low,
    Bulk,
}

impl Router {
    /// Connects at the first attempt or not at all: whoever waits for a router can try again.
    pub(super) async fn connect(&self, loss: Loss) -> Result<Client, TalkError> {
        let url: Url = self
            .url
            .parse()
            .map_err(|source| TalkError::BadUrl { url: self.url.clone(), source })?;
        let defaults = ConnectOptions::default();
        let options = ConnectOptions {
            name: format!("mpreg-{}", std::process::id()),
            connect_attempts_max: 1,
            reconnect_attempts_max: match loss {
                Loss::Ends => 0,
                Loss::Reconnects => defaults.reconnect_attempts_max,
            },
            ..defaults
        };
        Client::connect_with(url, options)
            .await
            .map_err(|source| TalkError::Connect { url: self.url.clone(), source })
    }
}

impl Payload {
    pub(super) fn read(&self) -> Result<Vec<u8>, TalkError> {
        if self.payload != "-" {
            return within_bounds(self.payload.clone().into_bytes());
        }
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(PAYLOAD_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| TalkError::Payload { source })?;
        within_bounds(bytes)
    }
}

fn within_bounds(bytes: Vec<u8>) -> Result<Vec<u8>, TalkError> {
    if bytes.len() <= PAYLOAD_BYTES_MAX { Ok(bytes) } else { Err(TalkError::PayloadTooLong) }
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Critical => Self::Critical,
            Urgency::High => Self::High,
            Urgency::Normal => Self::Normal,
            Urgency::Low => Self::Low,
            Urgency::Bulk => Self::Bulk,
        }
    }
}

/// Runs a conversation on this thread.
pub(super) fn talk<T, E: From<TalkError>>(
    conversation: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| TalkError::Runtime { source })?
        .block_on(conversation)
}
