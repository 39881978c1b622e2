//! A session being set up: connected, opened, subscribed, all blocking; then handed to the generator.

use std::io::{self, Read, Write};

use crate::framing::{Control, Framing, Granted, Likeness, OpenError, Opening, What};
use crate::target::{SocketOptions, Stream, Target};

/// Subscriptions asked for before their answers are read: few enough that neither side's socket
/// buffer fills while the other waits.
const SUBSCRIBES_PENDING_MAX: usize = 256;

/// An open session on a blocking stream.
#[derive(Debug)]
pub(crate) struct Session {
    stream: Stream,
    framing: Framing,
    granted: Granted,
    received: Vec<u8>,
}

/// Why a session could not be set up, and which.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody there, or the wrong address: the caller stops.
    #[error("cannot connect to {url}")]
    Connect { url: String, source: io::Error },
    #[error("cannot open a session at {url}")]
    Open { url: String, source: OpenError },
    #[error("cannot subscribe to {pattern}")]
    Subscribe { pattern: String, source: OpenError },
    #[error("needs {wanted} subscriptions in one session, the router allows {subscriptions_max}")]
    TooManySubscriptions { wanted: usize, subscriptions_max: u64 },
}

impl Session {
    /// Connects and opens. `queue_bytes` as in [`Opening`].
    pub(crate) fn open(
        target: &Target,
        options: &SocketOptions,
        name: &str,
        queue_bytes: u32,
    ) -> Result<Self, SessionError> {
        let url = || target.url().to_owned();
        let mut stream = target
            .connect(options)
            .map_err(|source| SessionError::Connect { url: url(), source })?;
        let mut received = Vec::new();
        let framing = target.framing();
        let tls =
            target.tls(options).map_err(|source| SessionError::Connect { url: url(), source })?;
        let opening = Opening { name, queue_bytes, credentials: target.credentials(), tls };
        let granted = framing
            .open(&mut stream, &opening, &mut received)
            .map_err(|source| SessionError::Open { url: url(), source })?;
        Ok(Self { stream, framing, granted, received })
    }

    pub(crate) fn granted(&self) -> Granted {
        self.granted
    }

    /// Subscribes to each pattern; returns once every one is in force.
    pub(crate) fn subscribe(&mut self, patterns: &[String]) -> Result<(), SessionError> {
        let subscriptions_max = self.granted.subscriptions_max;
        if subscriptions_max < patterns.len() as u64 {
            let wanted = patterns.len();
            return Err(SessionError::TooManySubscriptions { wanted, subscriptions_max });
        }
        let mut sid = 0;
        for some in patterns.chunks(SUBSCRIBES_PENDING_MAX) {
            let mut commands = Vec::new();
            for pattern in some {
                sid += 1;
                self.framing.put_subscribe(sid, pattern, &mut commands);
            }
            let answers_count = self.framing.put_confirm(some.len(), &mut commands);
            self.stream
                .write_all(&commands)
                .map_err(OpenError::from)
                .and_then(|()| self.await_subscribed(answers_count))
                .map_err(|source| SessionError::Subscribe { pattern: some[0].clone(), source })?;
        }
        Ok(())
    }

    fn await_subscribed(&mut self, mut count: usize) -> Result<(), OpenError> {
        // Messages may already flow on topics subscribed earlier; only churn sees them.
        let likeness = self.framing.likeness(&self.framing.mold(1, 0, 0));
        let mut chunk = [0; 16 * 1024];
        while 0 < count {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.received.extend_from_slice(&chunk[..read]);
            count -= self.take_subscribed(&likeness)?;
        }
        Ok(())
    }

    /// Reads all whole frames; returns how many of them confirm subscriptions.
    fn take_subscribed(&mut self, likeness: &Likeness) -> Result<usize, OpenError> {
        let mut subscribed = 0;
        let mut at = 0;
        let mut pongs = Vec::new();
        while let Some(inbound) =
            likeness.next(&self.received[at..]).map_err(|why| OpenError::Foreign { why })?
        {
            at += inbound.bytes;
            let What::Control(control) = inbound.what else { continue };
            match control {
                Control::Subscribed => subscribed += 1,
                Control::Ping { token } => self.framing.put_pong(token, &mut pongs),
                Control::Refused { why, detail } => {
                    let (why, detail) = (why.to_owned(), detail.to_owned());
                    return Err(OpenError::Refused { why, detail });
                }
                Control::GoingAway => {
                    let (why, detail) = ("going away".to_owned(), String::new());
                    return Err(OpenError::Refused { why, detail });
                }
                Control::NoResponders | Control::Other => (),
            }
        }
        self.received.drain(..at);
        self.stream.write_all(&pongs)?;
        Ok(subscribed)
    }

    /// The stream, and what was read from it beyond the answers.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.received)
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }
}
