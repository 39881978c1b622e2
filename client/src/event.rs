//! What happens to a connection, for those who want to know.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::{SessionId, Sid};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::error::Disconnect;

/// Something that happened outside any single call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connected, and every subscription is in place.
    Connected { session: SessionId },
    /// The connection is lost. Attempts to reconnect follow unless the client is closing.
    Disconnected { reason: Disconnect },
    /// The router is stopping and will hang up. Messages published from here on wait for the next
    /// connection.
    GoingAway,
    /// A subscription's inbox overflowed; `dropped` counts its dropped messages so far. Told once
    /// per run of drops.
    Lagging { sid: Sid, dropped: u64 },
    /// The router refused something that no call waits for, such as a topic.
    Refused { code: ErrorCode, text: String },
    /// A message with a reply topic of the caller's own choice reached nobody.
    NoResponders { reply: String },
    /// This observer was late and that many events are gone.
    Missed { events: u64 },
    /// The client is closed, or has given up reconnecting. The last event.
    Closed,
}

/// The events of a client from the moment of asking on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>, is_over: bool) -> Self {
        Self { receiver, is_over }
    }

    /// Waits for the next event; `None` after [`Event::Closed`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        match self.receiver.recv().await {
            Ok(event) => {
                self.is_over = event == Event::Closed;
                Some(event)
            }
            Err(RecvError::Lagged(events)) => Some(Event::Missed { events }),
            Err(RecvError::Closed) => None,
        }
    }
}
