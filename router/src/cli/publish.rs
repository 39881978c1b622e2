//! `mpreg pub`: publishes a message.

use std::io::Write;

use mpreg_client::{CloseError, FlushError, PublishError};
use mpreg_proto::frame::Publish;

use super::connect::{Loss, Payload, Router, TalkError, Urgency, talk};
use super::{CommandError, Exit};

/// Publish a message. Exit code 0 once the router has read it.
#[derive(Debug, clap::Args)]
pub struct Pub {
    #[arg(value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// Publish it so many times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// What it may overtake.
    #[arg(long, value_enum, default_value_t)]
    priority: Urgency,
    /// Topic for replies.
    #[arg(long, value_name = "TOPIC", default_value = "", hide_default_value = true)]
    reply: String,
    /// Print one JSON object: topic, and how many were published.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Router,
}

/// Why a message may not have reached the router.
#[derive(Debug, thiserror::Error)]
pub enum PubError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("publishing to {topic:?}")]
    Publish { topic: String, source: PublishError },
    #[error("waiting for the router to read everything")]
    Flush(#[from] FlushError),
    #[error("closing the connection")]
    Close(#[from] CloseError),
}

impl Pub {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        talk(self.publish())?;
        if self.json {
            let done = serde_json::json!({ "topic": self.topic, "published": self.count });
            writeln!(out, "{done}")?;
        }
        Ok(Exit::Done)
    }

    async fn publish(&self) -> Result<(), PubError> {
        let payload = self.payload.read()?;
        let publish = Publish {
            topic: self.topic.as_bytes(),
            reply: self.reply.as_bytes(),
            payload: &payload,
            priority: self.priority.into(),
            ..Publish::default()
        };
        let client = self.router.connect(Loss::Ends).await?;
        for _ in 0..self.count {
            client
                .publish_with(publish)
                .await
                .map_err(|source| PubError::Publish { topic: self.topic.clone(), source })?;
        }
        client.flush().await?;
        client.close().await?;
        Ok(())
    }
}
