//! The handle applications hold: publish, subscribe, request, call, serve, flush, drain, close.

use std::sync::Arc;
use std::time::Duration;

use mpreg_proto::frame::Publish;
use mpreg_proto::limits::{ENVELOPE_BYTES, PAYLOAD_BYTES_MAX};
use mpreg_proto::topic::Topic;
use tokio::time;

use crate::call::Call;
use crate::error::{
    CloseError, ConnectError, DrainError, FlushError, PublishError, RequestError, ServeError,
    SubscribeError,
};
use crate::event::Events;
use crate::inbox::Inbox;
use crate::life;
use crate::limits::DRAIN_DEADLINE;
use crate::message::Message;
use crate::options::{ConnectOptions, SubscribeOptions};
use crate::request::{self, RequestIx};
use crate::session::Counts;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::url::Url;
use crate::worker::{Function, Worker};

/// A client of one router. Clones share the connection, which closes once all of them and all
/// subscriptions are dropped; [`Client::close`] also says whether everything was sent.
///
/// A lost connection is replaced and every subscription asked for again. Messages published
/// meanwhile wait in the outbound buffer. Delivery is at most once: what a router had taken but not
/// yet passed on when it failed is lost.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Closes the connection with the last handle.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Client {
    /// Connects to the router at `url`: `mpreg://HOST:PORT` or `mpreg+unix:///path`. Must be called
    /// within a tokio runtime with time and I/O enabled; a task of that runtime serves the connection.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_with(url.parse()?, ConnectOptions::default()).await
    }

    /// Connects as `options` say.
    pub async fn connect_with(url: Url, options: ConnectOptions) -> Result<Self, ConnectError> {
        let established = life::connect(&url, &options).await?;
        let shared = Arc::new(Shared::new(url, options));
        let opening = shared.connected(&established.connected, established.features);
        tokio::spawn(life::run(Arc::clone(&shared), established, opening));
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// Publishes `payload` to `topic` in normal priority. Returns once the message has a place in
    /// the outbound buffer, which may mean waiting for one. Safe to cancel: the message is taken
    /// whole or not at all.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<(), PublishError> {
        let topic = topic.as_bytes();
        self.publish_with(Publish { topic, payload, ..Publish::default() }).await
    }

    /// Publishes with a priority, an encoding, a deadline or a reply topic of the caller's choice.
    pub async fn publish_with(&self, publish: Publish<'_>) -> Result<(), PublishError> {
        let outbound = &self.shared().outbound;
        let frame_bytes = check(&publish, self.shared().frame_bytes_max())?;
        let room = outbound.room(frame_bytes).await.map_err(|_| PublishError::Closed)?;
        outbound
            .append(room, |out| publish.put(out).expect("every bound was checked"))
            .map_err(|_| PublishError::Closed)
    }

    /// Subscribes to a topic or a pattern. Returns once every message published from then on will
    /// arrive.
    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(SubscribeOptions { pattern, ..SubscribeOptions::default() }).await
    }

    /// Subscribes with a queue group, an overload policy or an inbox bound.
    pub async fn subscribe_with(
        &self,
        options: SubscribeOptions<'_>,
    ) -> Result<Subscription, SubscribeError> {
        let inbox = Arc::new(Inbox::new(options.overload, options.inbox_bytes));
        let asked =
            self.shared().act(|session, out, _| session.subscribe(&options, &inbox, out))?;
        // From here on the subscription undoes itself if this call is cancelled.
        let subscription = Subscription::new(self.clone(), asked.sid, inbox);
        asked.answer.await.unwrap_or(Err(SubscribeError::Closed))?;
        Ok(subscription)
    }

    /// Publishes a request and waits up to `deadline` for the first reply. The deadline travels with
    /// the request.
    pub async fn request(
        &self,
        topic: &str,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<Message, RequestError> {
        let topic = topic.as_bytes();
        self.request_with(Publish { topic, payload, ..Publish::default() }, deadline).await
    }

    /// Requests with a priority or an encoding. `publish.reply` is overwritten, and so is
    /// `publish.deadline_ms` unless it is set.
    pub async fn request_with(
        &self,
        publish: Publish<'_>,
        deadline: Duration,
    ) -> Result<Message, RequestError> {
        let until = time::Instant::now() + deadline;
        let exchange = async {
            self.prepare_replies().await?;
            let (request, topic, answer) = self.shared().act(|session, _, _| session.request())?;
            let _pending = Pending { shared: self.shared(), request };
            let mut publish = Publish { reply: topic.as_bytes(), ..publish };
            if publish.deadline_ms == 0 {
                let left = until.saturating_duration_since(time::Instant::now());
                publish.deadline_ms = request::deadline_ms(left);
            }
            self.publish_with(publish).await?;
            answer.await.unwrap_or(Err(RequestError::Closed))
        };
        let mut reply =
            time::timeout_at(until, exchange).await.map_err(|_| RequestError::Timeout)??;
        reply.attach(self);
        Ok(reply)
    }

    /// A call of the function of this name, wherever it runs; [`Call::send`] makes it.
    pub fn call<'a>(&'a self, name: &'a str) -> Call<'a> {
        Call::new(self, name)
    }

    /// Runs a function for whoever calls it. Returns once calls may come.
    pub async fn serve(&self, function: Function<'_>) -> Result<Worker, ServeError> {
        Worker::register(self, function).await
    }

    /// Waits until the router has read everything this client has published so far. Without a
    /// connection, waits for one.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let answer = self.shared().act(|session, out, _| session.flush(out))?;
        answer.await.unwrap_or(Err(FlushError::Closed))
    }

    /// Ends every subscription without losing what the router holds for them: returns once all of
    /// it is in the inboxes, which end after it. No further jobs come, and those under way are waited
    /// for. Pending requests and calls fail. Publishing, and so
    /// replying, goes on as long as the connection does; it is not replaced. Waits no longer than
    /// [`DRAIN_DEADLINE`].
    pub async fn drain(&self) -> Result<(), DrainError> {
        let answer = self.shared().act(|session, out, _| session.drain(out))?;
        let drained = time::timeout(DRAIN_DEADLINE, answer).await;
        drained.map_err(|_| DrainError::Timeout)?.unwrap_or(Err(DrainError::Closed))
    }

    /// Refuses further messages, writes what is buffered, hangs up, and waits for the router to do
    /// the same, all within [`CLOSE_DEADLINE`](crate::limits::CLOSE_DEADLINE).
    pub async fn close(&self) -> Result<(), CloseError> {
        self.shared().begin_close();
        self.shared().closed().await
    }

    /// What happens to the connection from here on.
    pub fn events(&self) -> Events {
        self.shared().events()
    }

    /// Whether there is a connection with every subscription in place.
    pub fn is_connected(&self) -> bool {
        self.shared().is_up()
    }

    /// Messages that reached nobody here, by reason.
    pub fn counts(&self) -> Counts {
        self.shared().act(|session, _, _| session.counts())
    }

    /// The router's address.
    pub fn url(&self) -> &Url {
        &self.shared().url
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Sees to it that replies arrive.
    async fn prepare_replies(&self) -> Result<(), RequestError> {
        if self.shared().act(|session, _, _| session.has_replies()) {
            return Ok(());
        }
        let _asking = self.shared().replies_asked.lock().await;
        let subscribed =
            match self.shared().act(|s, out, effects| s.subscribe_replies(out, effects)) {
                Ok(None) => Ok(()),
                Ok(Some(asked)) => asked.answer.await.unwrap_or(Err(SubscribeError::Closed)),
                Err(error) => Err(error),
            };
        Ok(subscribed?)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

/// A request that is waiting; gives up when dropped.
struct Pending<'a> {
    shared: &'a Shared,
    request: RequestIx,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.shared.act(|session, _, _| session.give_up_request(self.request));
    }
}

/// Bytes of the frame, or the bound it breaks.
fn check(publish: &Publish<'_>, frame_bytes_max: u32) -> Result<u32, PublishError> {
    let topic = Topic::parse(publish.topic).map_err(|_| PublishError::BadTopic)?;
    if topic.is_reserved() {
        return Err(PublishError::ReservedTopic);
    }
    if !publish.reply.is_empty() {
        Topic::parse(publish.reply).map_err(|_| PublishError::BadReply)?;
    }
    if PAYLOAD_BYTES_MAX < publish.payload.len() {
        return Err(PublishError::TooLarge);
    }
    let names_bytes = publish.topic.len() + publish.reply.len();
    let frame_bytes = (ENVELOPE_BYTES + names_bytes + publish.payload.len()) as u32;
    if frame_bytes_max < frame_bytes {
        return Err(PublishError::TooLarge);
    }
    Ok(frame_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpreg_proto::limits::FRAME_BYTES_MAX;
    use tokio::sync::oneshot;

    #[test]
    fn a_request_given_up_leaves_nothing_pending() {
        let shared = Shared::new("mpreg://nowhere:1".parse().unwrap(), ConnectOptions::default());
        let (request, _, mut answer) = shared.act(|session, _, _| session.request()).unwrap();
        let pending = Pending { shared: &shared, request };
        assert_eq!(answer.try_recv().unwrap_err(), oneshot::error::TryRecvError::Empty);
        drop(pending);
        assert_eq!(answer.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    }

    #[test]
    fn bounds_are_checked_before_anything_is_buffered() {
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        let check = |topic: &str, reply: &str, payload_bytes: usize, frame_bytes_max: usize| {
            let (topic, reply) = (topic.as_bytes(), reply.as_bytes());
            let payload = &long[..payload_bytes];
            let publish = Publish { topic, reply, payload, ..Publish::default() };
            check(&publish, frame_bytes_max as u32)
        };
        assert_eq!(check("a.b", "c", 10, FRAME_BYTES_MAX), Ok(30));
        assert_eq!(check("a.*", "", 0, FRAME_BYTES_MAX), Err(PublishError::BadTopic));
        assert_eq!(check("a", "b..c", 0, FRAME_BYTES_MAX), Err(PublishError::BadReply));
        assert_eq!(check("mpreg.a", "", 0, FRAME_BYTES_MAX), Err(PublishError::ReservedTopic));
        assert!(check("a", "", PAYLOAD_BYTES_MAX, FRAME_BYTES_MAX).is_ok());
        let too_large = Err(PublishError::TooLarge);
        assert_eq!(check("a", "", PAYLOAD_BYTES_MAX + 1, FRAME_BYTES_MAX), too_large);
        assert_eq!(check("a.b", "c", 10, 30), Ok(30));
        assert_eq!(check("a.b", "c", 10, 29), too_large, "the router's own bound holds too");
    }
}
