//! `mpreg request`: asks, and prints the reply.

use core::time::Duration;
use std::io::Write;

use mpreg_client::RequestError;
use mpreg_proto::frame::Publish;

use super::connect::{Loss, Payload, Router, TalkError, Urgency, talk};
use super::message::Shown;
use super::{CommandError, Exit, complain};

/// Publish a request and print the first reply. Exit code 1 if nobody answers.
#[derive(Debug, clap::Args)]
pub struct Request {
    #[arg(value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// Milliseconds to wait for the reply.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    deadline_ms: u32,
    /// What it may overtake.
    #[arg(long, value_enum, default_value_t)]
    priority: Urgency,
    /// Print one JSON object: topic, priority, and payload or payload_hex.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Router,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskRouterError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("requesting {topic:?}")]
    Request { topic: String, source: RequestError },
}

impl Request {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let reply = match talk(self.request()) {
            Ok(reply) => reply,
            // Asked, and the answer is no.
            Err(
                error @ AskRouterError::Request {
                    source: RequestError::NoResponders | RequestError::Timeout,
                    ..
                },
            ) => {
                complain(&error);
                return Ok(Exit::No);
            }
            Err(error) => return Err(error.into()),
        };
        if self.json {
            writeln!(out, "{}", Shown::from(&reply).json())?;
        } else {
            out.write_all(reply.payload())?;
            writeln!(out)?;
        }
        Ok(Exit::Done)
    }

    async fn request(&self) -> Result<mpreg_client::Message, AskRouterError> {
        let payload = self.payload.read()?;
        let publish = Publish {
            topic: self.topic.as_bytes(),
            payload: &payload,
            priority: self.priority.into(),
            ..Publish::default()
        };
        let client = self.router.connect(Loss::Ends).await?;
        let deadline = Duration::from_millis(self.deadline_ms.into());
        client
            .request_with(publish, deadline)
            .await
            .map_err(|source| AskRouterError::Request { topic: self.topic.clone(), source })
    }
}
