//! One data shard at work: its ring and its switch, turn by turn.
//!
//! A turn takes every completion at hand, then what other shards and the clock ask for, then hands
//! the ring all that came of it: one send per dirty connection, receives to arm, buffers back. The
//! kernel is entered once per turn, by [`crate::drive`].
//!
//! Invariants:
//! - A receive buffer is back in the kernel's hands before the turn ends, whoever its bytes were for.
//! - A listener that failed is armed again after a back-off, never in a tight loop.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::ShardIx;

use crate::clock::Clock;
use crate::limits::{
    ACCEPT_RETRY_MAX, ACCEPT_RETRY_MIN, FLUSH_AFTER_BYTES, RECEIVE_BUFFERS, WAIT_MAX,
};
use crate::link::Stage;
use crate::listen::{self, Door};
use crate::probe::ShardProbe;
use crate::ring::{Buffer, Completion, Ring};
use crate::switch::Switch;

/// A listening socket, and when to try again if it failed.
#[derive(Debug)]
pub struct Listener {
    pub socket: Arc<OwnedFd>,
    pub is_tcp: bool,
    door: Door,
    retry_after: Duration,
    retry_at: Option<Instant>,
}

impl Listener {
    pub fn new(socket: Arc<OwnedFd>, door: Door, is_tcp: bool) -> Self {
        Self { socket, is_tcp, door, retry_after: ACCEPT_RETRY_MIN, retry_at: None }
    }
}

/// See the file's header.
pub struct Shard {
    pub ring: Ring,
    pub switch: Switch,
    listeners: Vec<Listener>,
    clock: Clock,
    completions: Vec<Completion>,
    mail: Vec<(ShardIx, Handoff)>,
    /// When the ring's timer is due, if it is armed.
    timer_at: Option<Instant>,
    probe: Arc<ShardProbe>,
}

impl Shard {
    pub fn new(
        mut ring: Ring,
        switch: Switch,
        listeners: Vec<Listener>,
        clock: Clock,
        probe: Arc<ShardProbe>,
    ) -> io::Result<Self> {
        ring.arm_wake(switch.mesh.bell().ring_eventfd())?;
        for (index, listener) in listeners.iter().enumerate() {
            ring.arm_accept(index as u8, listener.socket.as_fd())?;
        }
        let (completions, mail, timer_at) = (Vec::new(), Vec::new(), None);
        Ok(Self { ring, switch, listeners, clock, completions, mail, timer_at, probe })
    }

    /// Does all there is to do. True if there was anything.
    pub fn turn(&mut self) -> io::Result<bool> {
        let began = self.clock.now();
        self.switch.now = began;
        self.reap()?;
        let mut completions = std::mem::take(&mut self.completions);
        let mut worked = !completions.is_empty();
        for completion in completions.drain(..) {
            self.complete(completion)?;
            if FLUSH_AFTER_BYTES < self.switch.produced_bytes || self.switch.is_pressed() {
                self.send_off()?;
            }
        }
        completions.append(&mut self.completions);
        self.completions = completions;
        worked |= self.switch.mesh.has_mail() || self.is_due(began);
        let mut mail = std::mem::take(&mut self.mail);
        self.switch.keep_up(&mut mail);
        self.mail = mail;
        self.retry_listeners()?;
        self.flush()?;
        while self.switch.has_squeezes() {
            self.send_off()?;
        }
        self.switch.mesh.flush();
        self.count(began, worked);
        Ok(worked)
    }

    /// When there is something to do even if nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.retry_at);
        self.switch.deadline().into_iter().chain(listeners).min()
    }

    /// How long to wait for the next completion.
    pub fn wait(&self) -> Duration {
        if !self.completions.is_empty() {
            return Duration::ZERO;
        }
        let until_due = self.deadline().map_or(WAIT_MAX, |at| at.since(self.clock.now()));
        until_due.min(WAIT_MAX)
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Has the ring complete something when the next deadline comes. A timer that is armed for
    /// earlier serves as well: the shard wakes, and asks again.
    pub fn arm_timer(&mut self) -> io::Result<()> {
        let Some(at) = self.deadline() else { return Ok(()) };
        if self.timer_at.is_some_and(|armed| armed <= at) {
            return Ok(());
        }
        self.timer_at = Some(at);
        self.ring.arm_timer(at.since(self.clock.now()))
    }

    /// Takes the completions at hand.
    fn reap(&mut self) -> io::Result<()> {
        self.switch.entered = self.ring.counts.enters;
        let switch = &self.switch;
        self.ring.reap(|slot| switch.socket(slot), &mut self.completions)
    }

    /// Has the kernel send what is queued, in the midst of a turn, and notes what it took. What else
    /// completes waits for the next turn.
    fn send_off(&mut self) -> io::Result<()> {
        self.flush()?;
        self.ring.submit_and_run()?;
        let first = self.completions.len();
        self.reap()?;
        let is_sent = |completion: &mut Completion| matches!(completion, Completion::Sent { .. });
        for completion in self.completions.extract_if(first.., is_sent).collect::<Vec<_>>() {
            self.complete(completion)?;
        }
        self.switch.squeeze();
        self.flush()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Received { slot, buffer, more } => self.received(slot, buffer, more),
            Completion::Sent { slot, flight, result } => {
                self.switch.sent(SessionIx(slot), flight, result.is_err());
            }
            Completion::ReceiveEnded { slot, error } => self.receive_ended(slot, error),
            Completion::Accepted { listener, socket } => self.accepted(listener, socket),
            Completion::AcceptEnded { listener, error } => {
                self.probe.accept_failures.add(1);
                let now = self.switch.now;
                if let Some(listener) = self.listeners.get_mut(usize::from(listener)) {
                    tracing::warn!(%error, retry = ?listener.retry_after, "accepting failed");
                    listener.retry_at = Some(now + listener.retry_after);
                    listener.retry_after = (listener.retry_after * 2).min(ACCEPT_RETRY_MAX);
                }
            }
            Completion::Woken { more } => {
                self.switch.mesh.bell().hush();
                if !more {
                    self.ring.arm_wake(self.switch.mesh.bell().ring_eventfd())?;
                }
            }
            Completion::TimerDue => self.timer_at = None,
        }
        Ok(())
    }

    fn received(&mut self, slot: u32, buffer: Buffer, more: bool) {
        let session = SessionIx(slot);
        if let Some(link) = self.switch.link_mut(session) {
            link.is_receiving = more;
            if !more {
                self.switch.to_arm.push(session);
            }
        }
        self.switch.take(session, self.ring.bytes(&buffer));
        self.ring.recycle(buffer);
    }

    fn receive_ended(&mut self, slot: u32, error: Option<io::Error>) {
        let session = SessionIx(slot);
        let Some(link) = self.switch.link_mut(session) else { return };
        link.is_receiving = false;
        match error.map(|error| error.raw_os_error()) {
            None => self.switch.lost(session, EndReason::PeerClosed),
            Some(Some(libc::ENOBUFS)) => {
                self.probe.receive_starved.add(1);
                self.switch.to_arm.push(session);
            }
            Some(Some(libc::ECANCELED)) if link.stage != Stage::Shut => {
                self.switch.to_arm.push(session);
            }
            Some(_) => self.switch.lost(session, EndReason::TransportFailed),
        }
    }

    fn accepted(&mut self, listener: u8, socket: OwnedFd) {
        // A node that stops has no listeners; the peer sees its connection closed.
        let Some(listener) = self.listeners.get_mut(usize::from(listener)) else { return };
        listener.retry_after = ACCEPT_RETRY_MIN;
        if listener.is_tcp {
            listen::delay_acknowledgements(&socket);
        }
        self.switch.accept(socket, listener.door);
    }

    fn retry_listeners(&mut self) -> io::Result<()> {
        if self.switch.is_closed() {
            self.listeners.clear();
        }
        let now = self.switch.now;
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.retry_at.is_some_and(|at| at <= now) {
                listener.retry_at = None;
                self.ring.arm_accept(index as u8, listener.socket.as_fd())?;
            }
        }
        Ok(())
    }

    /// Hands the ring what the switch noted.
    fn flush(&mut self) -> io::Result<()> {
        self.switch.produced_bytes = 0;
        self.ring.publish_buffers();
        while let Some(session) = self.switch.to_cancel.pop() {
            if self.switch.link_mut(session).is_some_and(|link| link.is_receiving) {
                self.ring.cancel_receive(session.0)?;
            }
        }
        while let Some(session) = self.switch.to_arm.pop() {
            self.arm(session)?;
        }
        // Sending may make more links dirty: one whose queue is empty may have been waiting for that.
        let mut at = 0;
        while let Some(&session) = self.switch.dirty.get(at) {
            self.send(session)?;
            at += 1;
        }
        self.switch.dirty.clear();
        Ok(())
    }

    fn arm(&mut self, session: SessionIx) -> io::Result<()> {
        let Some(link) = self.switch.link_mut(session) else { return Ok(()) };
        if link.stage == Stage::Shut {
            // Its last receive ended otherwise than by the end of the stream.
            self.switch.advance(session);
            return Ok(());
        }
        if link.is_receiving || link.is_paused {
            return Ok(());
        }
        link.is_receiving = true;
        self.ring.arm_receive(session.0, link.socket())
    }

    fn send(&mut self, session: SessionIx) -> io::Result<()> {
        let Some(link) = self.switch.link_mut(session) else { return Ok(()) };
        link.is_dirty = false;
        if link.is_sending || link.stage == Stage::Shut {
            return Ok(());
        }
        let mut flight = link.flight.take().unwrap_or_default();
        let bytes = match link.transport.is_plain() && link.wire.is_empty() {
            true => link.outbound.take_flight(&mut flight.pieces),
            false => self.switch.seal(session, &mut flight.pieces),
        };
        let Some(link) = self.switch.link_mut(session) else { return Ok(()) };
        if bytes == 0 {
            link.flight = Some(flight);
            self.switch.advance(session);
            return Ok(());
        }
        link.is_sending = true;
        self.ring.send(session.0, link.socket(), flight, bytes)?;
        if let Some(link) = self.switch.link_mut(session) {
            link.flight_entered = self.ring.counts.enters;
        }
        Ok(())
    }

    fn count(&mut self, began: Instant, worked: bool) {
        let probe = &self.probe;
        probe.turns.add(1);
        probe.enters.set(self.ring.counts.enters);
        probe.completions.set(self.ring.counts.completions);
        self.switch.publish_gauges();
        if worked {
            let spent = self.clock.now().since(began).as_nanos() as u64;
            probe.turn_ns.add(spent);
            probe.turn_max_ns.raise_to(spent);
        }
    }
}

const _: () = assert!(RECEIVE_BUFFERS > 1, "one to fill while another is read");

#[cfg(test)]
mod tests;
