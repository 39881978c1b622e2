//! `mpreg reply`: answers requests with what a command prints.

use core::num::NonZeroU64;
use std::io::{self, Write};
use std::process::Stdio;
use std::time::Instant;

use mpreg_client::{Message, ReplyError, SubscribeOptions};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::connect::{Loss, Router, talk};
use super::stop::Stop;
use super::subscribe::{SubError, over, subscribe};
use super::{CommandError, Exit, complain};

/// Answer requests, one after the other, until interrupted.
///
/// Each request runs COMMAND with the request's payload as its stdin and its topic in MPREG_TOPIC;
/// what it prints is the reply. A command that fails, prints more than a message holds, or takes
/// longer than the request's deadline sends none.
#[derive(Debug, clap::Args)]
pub struct Reply {
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Reply with the request's own payload.
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    echo: bool,
    /// Share the requests with the other members of this group.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    group: String,
    /// End after so many requests.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    #[command(flatten)]
    router: Router,
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

/// Why a request got no reply. Said on stderr; the next request is answered all the same.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("running {program:?}")]
    Run { program: String, source: io::Error },
    #[error("{program:?} ended with {status}")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("{program:?} was still running at the request's deadline")]
    Late { program: String },
    #[error("{program:?} printed more than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong { program: String },
    #[error("replying")]
    Reply(#[from] ReplyError),
}

impl Reply {
    pub(super) fn run(&self, _out: &mut impl Write) -> Result<Exit, CommandError> {
        talk(self.answer_all())?;
        Ok(Exit::Done)
    }

    async fn answer_all(&self) -> Result<(), SubError> {
        let mut stop = Stop::new().map_err(|source| SubError::Signal { source })?;
        let client = self.router.connect(Loss::Reconnects).await?;
        let options = SubscribeOptions {
            pattern: &self.pattern,
            group: &self.group,
            ..SubscribeOptions::default()
        };
        let mut subscription = subscribe(&client, options).await?;
        let mut left = self.count.map_or(u64::MAX, NonZeroU64::get);
        while 0 < left {
            let message = tokio::select! {
                message = subscription.next() => message,
                () = stop.asked() => break,
            };
            let Some(message) = message else {
                return over(&self.pattern, subscription.ended());
            };
            if message.reply_topic().is_some() {
                left -= 1;
                self.answer(&message).await.unwrap_or_else(|unanswered| complain(&unanswered));
            }
        }
        // Replies may still be on their way out; a router that is gone has no use for them.
        client.close().await.unwrap_or_else(|error| complain(&error));
        Ok(())
    }

    async fn answer(&self, request: &Message) -> Result<(), Unanswered> {
        match self.command.as_slice() {
            [program, arguments @ ..] => {
                let reply = output(program, arguments, request).await?;
                request.reply(&reply).await?;
            }
            [] => request.reply(request.payload()).await?,
        }
        Ok(())
    }
}

/// What the command prints, by the request's deadline.
async fn output(
    program: &str,
    arguments: &[String],
    request: &Message,
) -> Result<Vec<u8>, Unanswered> {
    let program = program.to_owned();
    let failed = |source| Unanswered::Run { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(arguments)
        .env("MPREG_TOPIC", request.topic())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("asked for above");
    let stdout = child.stdout.take().expect("asked for above");
    let mut printed = Vec::new();
    let exchange = async {
        let feed = async {
            // A command may well answer without reading what it was asked.
            stdin.write_all(request.payload()).await.or_else(unless_closed)?;
            drop(stdin);
            Ok(())
        };
        let mut stdout = stdout.take(PAYLOAD_BYTES_MAX as u64 + 1);
        tokio::try_join!(feed, stdout.read_to_end(&mut printed))?;
        // A command that has more to print is waiting for a reader there will not be.
        drop(stdout);
        child.wait().await
    };
    let status = match request.deadline() {
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            let exchange = tokio::time::timeout(left, exchange).await;
            exchange.map_err(|_| Unanswered::Late { program: program.clone() })?
        }
        None => exchange.await,
    }
    .map_err(failed)?;
    if PAYLOAD_BYTES_MAX < printed.len() {
        return Err(Unanswered::TooLong { program });
    }
    if !status.success() {
        return Err(Unanswered::Failed { program, status });
    }
    Ok(printed)
}

fn unless_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
