//! What the handles of a client and its connection share.
//!
//! Invariant: frames made by the session are appended to the outbound buffer while the session is
//! locked (lock order: session, then outbound). So a frame for one connection never waits for the
//! next.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use mpreg_proto::frame::Connected;
use mpreg_proto::limits::FRAME_BYTES_MAX;
use tokio::sync::{SemaphorePermit, broadcast, watch};

use crate::error::{CloseError, Disconnect};
use crate::event::{Event, Events};
use crate::limits::EVENTS_MAX;
use crate::options::ConnectOptions;
use crate::outbound::{Batch, Closed, Outbound};
use crate::session::{Effect, Session};
use crate::url::Url;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) url: Url,
    pub(crate) options: ConnectOptions,
    pub(crate) outbound: Outbound,
    /// Held while the subscription to replies is asked for, so that it is asked for once.
    pub(crate) replies_asked: tokio::sync::Mutex<()>,
    session: Mutex<Session>,
    /// Largest frame the router takes, as last heard.
    frame_bytes_max: AtomicU32,
    events: broadcast::Sender<Event>,
    standing: watch::Sender<Standing>,
    is_closing: watch::Sender<bool>,
    /// How it ended, once it has.
    closed: watch::Sender<Option<Result<(), CloseError>>>,
}

/// Whether calls can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Down,
    Up,
    /// No connection is there and none will come.
    Over,
}

impl Shared {
    pub(crate) fn new(url: Url, options: ConnectOptions) -> Self {
        Self {
            url,
            outbound: Outbound::new(options.outbound_bytes),
            options,
            replies_asked: tokio::sync::Mutex::new(()),
            session: Mutex::new(Session::new(fastrand::u64(..))),
            frame_bytes_max: AtomicU32::new(FRAME_BYTES_MAX as u32),
            events: broadcast::Sender::new(EVENTS_MAX),
            standing: watch::Sender::new(Standing::Down),
            is_closing: watch::Sender::new(false),
            closed: watch::Sender::new(None),
        }
    }

    /// Runs `act` on the session, then does what it wants done.
    pub(crate) fn act<T>(
        &self,
        act: impl FnOnce(&mut Session, &mut Vec<u8>, &mut Vec<Effect>) -> T,
    ) -> T {
        let (mut out, mut effects) = (Vec::new(), Vec::new());
        let mut session = self.session();
        let result = act(&mut session, &mut out, &mut effects);
        if !out.is_empty() {
            self.outbound.append_control(&out);
        }
        self.perform(effects);
        result
    }

    /// Asks the session for leave to say something that takes `room`, and appends what `put` writes if it
    /// gives it. Nothing else is said between both.
    pub(crate) fn say<T: Copy, E>(
        &self,
        room: SemaphorePermit<'_>,
        ask: impl FnOnce(&mut Session) -> Result<T, E>,
        put: impl FnOnce(T, &mut Vec<u8>),
    ) -> Result<Result<T, E>, Closed> {
        let mut session = self.session();
        let leave = ask(&mut session);
        if let Ok(leave) = leave {
            self.outbound.append(room, |out| put(leave, out))?;
        }
        Ok(leave)
    }

    /// Resolves once calls can be said.
    pub(crate) async fn up(&self) -> Result<(), Closed> {
        let mut standing = self.standing.subscribe();
        let up = standing.wait_for(|&standing| standing != Standing::Down).await;
        // The sender is ours, so it is not gone.
        if up.is_ok_and(|standing| *standing == Standing::Up) { Ok(()) } else { Err(Closed) }
    }

    /// A connection is there, to a router with these features. What to write before anything else.
    pub(crate) fn connected(&self, connected: &Connected, features: u64) -> Vec<u8> {
        let frame_bytes_max = connected.frame_bytes_max.min(FRAME_BYTES_MAX as u32);
        self.frame_bytes_max.store(frame_bytes_max, Ordering::Relaxed);
        let (mut opening, mut effects) = (Vec::new(), Vec::new());
        let mut session = self.session();
        session.connected(connected.session, features, &mut opening, &mut effects);
        self.perform(effects);
        opening
    }

    /// The connection is lost, with `batch` partly written.
    pub(crate) fn disconnected(&self, batch: &mut Batch) {
        let mut session = self.session();
        session.disconnected();
        self.standing.send_replace(Standing::Down);
        self.outbound.put_back(batch);
    }

    /// No connection is there and none will come.
    pub(crate) fn end(&self, last: &Disconnect) {
        self.begin_close();
        self.session().end();
        self.standing.send_replace(Standing::Over);
        let unsent_bytes = self.outbound.waiting_bytes();
        let outcome = match last {
            _ if unsent_bytes != 0 => Err(CloseError::Unsent { bytes: unsent_bytes }),
            Disconnect::HungUp => Ok(()),
            Disconnect::Io(_)
            | Disconnect::Silent
            | Disconnect::Refused { .. }
            | Disconnect::Malformed(_)
            | Disconnect::Unconfirmed
            | Disconnect::CloseTimeout => Err(CloseError::Unconfirmed),
        };
        self.closed.send_replace(Some(outcome));
        self.emit(Event::Closed);
    }

    /// Takes nothing more and lets the connection finish.
    pub(crate) fn begin_close(&self) {
        self.outbound.finish();
        self.is_closing.send_replace(true);
    }

    /// Resolves once the client is closing.
    pub(crate) async fn closing(&self) {
        let mut is_closing = self.is_closing.subscribe();
        // The sender is ours, so it is not gone.
        is_closing.wait_for(|&is_closing| is_closing).await.ok();
    }

    /// Resolves once nothing is left to do, with how it ended.
    pub(crate) async fn closed(&self) -> Result<(), CloseError> {
        let mut closed = self.closed.subscribe();
        let outcome = closed.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| *outcome).unwrap_or(Err(CloseError::Unconfirmed))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.session().is_up()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.session().is_drained()
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.is_closing.borrow()
    }

    pub(crate) fn frame_bytes_max(&self) -> u32 {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn events(&self) -> Events {
        let receiver = self.events.subscribe();
        Events::new(receiver, self.closed.borrow().is_some())
    }

    pub(crate) fn emit(&self, event: Event) {
        // Fails when nobody observes, which is fine.
        self.events.send(event).ok();
    }

    fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(event) => self.emit(event),
                Effect::Pong { token } => self.outbound.append_pong(token),
                Effect::Open => {
                    self.outbound.open();
                    self.standing.send_replace(Standing::Up);
                }
                Effect::Hold => {
                    self.outbound.hold();
                    self.standing.send_replace(Standing::Down);
                }
            }
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use mpreg_proto::id::SessionId;

    use super::*;

    /// Whether calls can be said, if that is known.
    fn up(shared: &Shared) -> Option<Result<(), Closed>> {
        match pin!(shared.up()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(up) => Some(up),
            Poll::Pending => None,
        }
    }

    #[test]
    fn calls_can_be_said_while_a_router_is_there_and_stays() {
        let shared = Shared::new("mpreg://nowhere:1".parse().unwrap(), ConnectOptions::default());
        let connected = Connected {
            session: SessionId(1),
            frame_bytes_max: 0,
            queue_bytes: 0,
            ping_interval_ms: 0,
            subscriptions_max: 0,
        };
        assert_eq!(up(&shared), None);
        for leave in [Some(Effect::Hold), None] {
            shared.connected(&connected, 0);
            assert_eq!(up(&shared), Some(Ok(())));
            if let Some(hold) = leave {
                shared.perform(vec![hold]);
                assert_eq!(up(&shared), None);
            }
            shared.disconnected(&mut Batch::default());
            assert_eq!(up(&shared), None);
        }
        shared.end(&Disconnect::HungUp);
        assert_eq!(up(&shared), Some(Err(Closed)));
    }
}
