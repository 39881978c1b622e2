//! `mpreg sub`: prints the messages that match.
//!
//! The connection is served by a thread of its own, so a reader of stdout that is slow for a minute
//! does not make this client look dead; the subscription's policy decides what gives way.

use core::num::NonZeroU32;
use std::io::{self, Write};

use mpreg_client::{Client, DrainError, Ended, SubscribeError, SubscribeOptions, Subscription};
use mpreg_proto::frame::Overload;
use tokio::sync::mpsc;

use super::connect::{Loss, Router, TalkError, talk};
use super::message::Shown;
use super::stop::Stop;
use super::{CommandError, Exit, notice};

/// Lines between the connection and stdout: enough that neither waits for each single one.
const LINES_WAITING_MAX: usize = 64;

/// Print every message that matches a pattern, one a line, until interrupted.
///
/// In a pattern * is one segment, # any number of them, > one or more at the end.
#[derive(Debug, clap::Args)]
pub struct Sub {
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Share the messages with the other members of this group.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    group: String,
    /// What gives way when messages arrive faster than they are read.
    #[arg(long, value_enum, default_value_t)]
    overload: GivesWay,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU32>,
    /// Print JSON objects: topic, reply, priority, and payload or payload_hex.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Router,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum GivesWay {
    #[default]
    DropOldest,
    DropNewest,
    Disconnect,
}

/// Why no further messages are printed.
#[derive(Debug, thiserror::Error)]
pub enum SubError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("subscribing to {pattern:?}")]
    Subscribe { pattern: String, source: SubscribeError },
    #[error("subscription to {pattern:?} ended: {why}")]
    Ended { pattern: String, why: &'static str },
    #[error("waiting to be interrupted")]
    Signal { source: io::Error },
    #[error("taking what the router still holds")]
    Drain(#[from] DrainError),
}

impl Sub {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let (lines, mut waiting) = mpsc::channel(LINES_WAITING_MAX);
        std::thread::scope(|scope| {
            let talking = scope.spawn(|| talk(self.read(lines)));
            let mut print = || -> io::Result<()> {
                while let Some(line) = waiting.blocking_recv() {
                    writeln!(out, "{line}")?;
                }
                Ok(())
            };
            let printed = print();
            // Ends the conversation if it has not ended by itself.
            drop(waiting);
            let talked = talking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            printed?;
            talked?;
            Ok(Exit::Done)
        })
    }

    /// Sends a line for every message until the subscription ends, this process is interrupted, or
    /// nobody takes the lines.
    async fn read(&self, lines: mpsc::Sender<String>) -> Result<(), SubError> {
        let mut stop = Stop::new().map_err(|source| SubError::Signal { source })?;
        let client = self.router.connect(Loss::Reconnects).await?;
        let options = SubscribeOptions {
            pattern: &self.pattern,
            group: &self.group,
            overload: self.overload.into(),
            ..SubscribeOptions::default()
        };
        let mut subscription = subscribe(&client, options).await?;
        if let Some(count) = self.count {
            subscription.unsubscribe_after(count);
        }
        tokio::select! {
            () = lines.closed() => return Ok(()),
            () = stop.asked() => {
                client.drain().await?;
                self.pass_on(&mut subscription, &lines).await;
            }
            () = self.pass_on(&mut subscription, &lines) => (),
        }
        let dropped = subscription.dropped();
        if dropped != 0 {
            notice(format_args!("{dropped} messages were dropped, their reader was too slow"));
        }
        over(&self.pattern, subscription.ended())
    }

    /// Returns when nothing further will come or nobody takes the lines.
    async fn pass_on(&self, subscription: &mut Subscription, lines: &mpsc::Sender<String>) {
        while let Some(message) = subscription.next().await {
            let shown = Shown::from(&message);
            let line = if self.json { shown.json() } else { shown.to_string() };
            if lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// Subscribes, and says on stderr that from here on every message arrives.
pub(super) async fn subscribe(
    client: &Client,
    options: SubscribeOptions<'_>,
) -> Result<Subscription, SubError> {
    let pattern = options.pattern;
    let subscription = client
        .subscribe_with(options)
        .await
        .map_err(|source| SubError::Subscribe { pattern: pattern.to_owned(), source })?;
    notice(format_args!("subscribed to {pattern}"));
    Ok(subscription)
}

/// Whether a subscription that brings nothing further was meant to.
pub(super) fn over(pattern: &str, ended: Option<Ended>) -> Result<(), SubError> {
    let why = match ended {
        Some(Ended::Unsubscribed | Ended::Drained) => return Ok(()),
        Some(Ended::Overrun) => "messages arrived faster than they were read",
        Some(Ended::Refused { code, .. }) => code.word(),
        Some(Ended::Closed) | None => "the router is gone",
    };
    Err(SubError::Ended { pattern: pattern.to_owned(), why })
}

impl From<GivesWay> for Overload {
    fn from(gives_way: GivesWay) -> Self {
        match gives_way {
            GivesWay::DropOldest => Self::DropOldest,
            GivesWay::DropNewest => Self::DropNewest,
            GivesWay::Disconnect => Self::Disconnect,
        }
    }
}
