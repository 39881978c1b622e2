//! The life of a client: connection after connection, until closed, drained, or out of attempts.

use std::sync::Arc;

use tokio::time::{self, Instant};

use crate::backoff::Backoff;
use crate::connection;
use crate::error::{ConnectError, Disconnect};
use crate::event::Event;
use crate::handshake::{self, Established};
use crate::limits::CONNECTION_GOOD_AFTER;
use crate::options::ConnectOptions;
use crate::shared::Shared;
use crate::url::Url;

/// Connects for the first time, in as many attempts as the options allow.
pub(crate) async fn connect(
    url: &Url,
    options: &ConnectOptions,
) -> Result<Established, ConnectError> {
    let mut backoff = backoff(options, options.connect_attempts_max);
    loop {
        match handshake::establish(url, options).await {
            Ok(established) => return Ok(established),
            Err(error) if error.is_retriable() => match backoff.failed(fastrand::u32(..)) {
                Some(wait) => time::sleep(wait).await,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Serves `established`, of which the session knows, and its successors.
pub(crate) async fn run(shared: Arc<Shared>, established: Established, mut opening: Vec<u8>) {
    // The loss of the connection counts as the first failure.
    let attempts_max = shared.options.reconnect_attempts_max.saturating_add(1);
    let mut backoff = backoff(&shared.options, attempts_max);
    let mut next = Some(established);
    let mut last = Disconnect::HungUp;
    while let Some(established) = next.take() {
        let since = Instant::now();
        last = connection::serve(&shared, established, &opening).await;
        shared.emit(Event::Disconnected { reason: last.clone() });
        if CONNECTION_GOOD_AFTER <= since.elapsed() {
            backoff.reset();
        }
        next = reconnect(&shared, &mut backoff).await;
        if let Some(established) = &next {
            opening = shared.connected(&established.connected, established.features);
        }
    }
    shared.end(&last);
}

/// The next connection, or `None` if there is to be none.
async fn reconnect(shared: &Shared, backoff: &mut Backoff) -> Option<Established> {
    loop {
        if shared.is_closing() || shared.is_drained() {
            return None;
        }
        let wait = backoff.failed(fastrand::u32(..))?;
        let attempt = async {
            time::sleep(wait).await;
            handshake::establish(&shared.url, &shared.options).await
        };
        tokio::select! {
            attempt = attempt => match attempt {
                Ok(established) => return Some(established),
                Err(error) if error.is_retriable() => (),
                Err(_) => return None,
            },
            () = shared.closing() => return None,
        }
    }
}

fn backoff(options: &ConnectOptions, attempts_max: u32) -> Backoff {
    Backoff::new(options.backoff_first, options.backoff_max, attempts_max)
}
