//! A subscription: a stream of the messages that match.

use std::future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use mpreg_proto::id::Sid;

use crate::client::Client;
use crate::inbox::{Ended, Inbox};
use crate::message::Message;

/// Messages of one subscription, in order per publisher, topic and priority. Unsubscribes when
/// dropped.
///
/// A reader that is late delays nobody else: past the inbox bound the overload policy of the
/// subscription decides, drops are counted by [`Subscription::dropped`] and told as
/// [`Event::Lagging`](crate::Event::Lagging).
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    sid: Sid,
    inbox: Arc<Inbox>,
}

impl Subscription {
    pub(crate) fn new(client: Client, sid: Sid, inbox: Arc<Inbox>) -> Self {
        Self { client, sid, inbox }
    }

    /// Waits for the next message; `None` once the subscription has ended and its inbox is empty,
    /// see [`Subscription::ended`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Message> {
        future::poll_fn(|context| self.poll(context)).await
    }

    /// Asks the router to stop at once. Messages it sent before it heard are still delivered, then
    /// the stream ends.
    pub fn unsubscribe(&self) {
        self.stop_after(0);
    }

    /// Ends the stream after `deliveries` messages in all, counted from the beginning, at once if
    /// there were as many.
    pub fn unsubscribe_after(&self, deliveries: NonZeroU32) {
        self.stop_after(deliveries.get());
    }

    /// Why no further messages will arrive, once that is so. Some may wait in the inbox still.
    pub fn ended(&self) -> Option<Ended> {
        self.inbox.ended()
    }

    /// Messages dropped in this client because the reader was late. The router counts its own.
    pub fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }

    /// The number events and the router know it by.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    fn stop_after(&self, deliveries: u32) {
        let shared = self.client.shared();
        shared.act(|session, out, effects| session.unsubscribe(self.sid, deliveries, out, effects));
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.inbox.poll(context).map(|message| {
            let mut message = message?;
            message.attach(&self.client);
            Some(message)
        })
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = self.client.shared();
        shared.act(|session, out, effects| session.forget(self.sid, out, effects));
    }
}
