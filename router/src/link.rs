//! One connection of a client, or of another node, as bytes: its socket, what of a frame has come, what is to go out.
//!
//! ```text
//!   accepted --> OPENED --session ends--> FLUSHING --queue sent--> SHUT --peer closed, or linger--> CLOSED
//!                   |                        |                       ^
//!                   +--- peer closed, socket failed -----------------+
//! ```
//!
//! The link knows nothing of what frames mean; the shard machine does.
//!
//! Invariants:
//! - The descriptor stays open until neither a receive nor a send is with the kernel.
//! - `partial` holds the beginning of one hello or frame, never a whole one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::time::Instant;
use mpreg_proto::frame::Echo;

use crate::limits::{
    LINK_QUEUE_BYTES_MAX, OWN_QUEUE_BYTES_MAX, READING_WITHIN, STALL_BYTES, STALL_MAX, STALL_SHARE,
    STALL_STEP,
};
use crate::nats::Client;
use crate::outbound::Outbound;
use crate::peer_link::{PeerEnd, PeerLink, Traffic};
use crate::ring::Flight;
use crate::transport::Transport;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes are taken and sent.
    Opened,
    /// The session is over: what is queued goes out, what comes in is ignored.
    Flushing,
    /// Shut down both ways; waiting for the kernel to hand back its receive and its send.
    Shut,
}

#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    pub stage: Stage,
    /// The hello has come; what follows is frames.
    pub is_greeted: bool,
    /// `connect` has come; messages may be taken from here and sent here.
    pub is_open: bool,
    pub echo: Echo,
    pub is_receiving: bool,
    /// Not read from, until the shard has room again.
    pub is_paused: bool,
    /// Until when, if that is because a subscriber is behind.
    pub paused_until: Instant,
    /// When the last of its publishers who wait for it may go on.
    stalls_until: Instant,
    /// When a send last completed.
    pub sent_at: Instant,
    pub is_dirty: bool,
    /// Runs wait for its socket; what comes after them waits too.
    pub is_squeezed: bool,
    pub awaits_empty: bool,
    /// When a link that is going is shut down whatever its peer does.
    pub linger_until: Instant,
    pub partial: Vec<u8>,
    pub outbound: Outbound,
    /// What a NATS client has agreed on. None: the client is native.
    pub nats: Option<Box<Client>>,
    /// The node at the other end, of a data link.
    pub peer: Option<Box<PeerEnd>>,
    /// Of a data link.
    pub traffic: Option<Arc<Traffic>>,
    pub transport: Transport,
    /// What goes out as it is, before anything the transport seals.
    pub wire: Vec<u8>,
    /// The transport has said goodbye.
    pub is_closing: bool,
    /// The send, while it is not with the kernel.
    pub flight: Option<Box<Flight>>,
    pub is_sending: bool,
    /// How often the kernel had been entered when the send was handed to the ring.
    pub flight_entered: u64,
}

impl Link {
    pub fn accepted(socket: OwnedFd, queue_bytes: usize) -> Self {
        Self {
            socket,
            stage: Stage::Opened,
            is_greeted: false,
            is_open: false,
            echo: Echo::On,
            is_receiving: false,
            is_paused: false,
            paused_until: Instant::START,
            stalls_until: Instant::START,
            sent_at: Instant::START,
            is_dirty: false,
            is_squeezed: false,
            awaits_empty: false,
            linger_until: Instant::NEVER,
            partial: Vec::new(),
            outbound: Outbound::new(queue_bytes),
            nats: None,
            peer: None,
            traffic: None,
            transport: Transport::plain(),
            wire: Vec::new(),
            is_closing: false,
            flight: None,
            is_sending: false,
            flight_entered: 0,
        }
    }

    /// A data link to or from another node.
    pub fn of_peer(link: PeerLink, now: Instant) -> Self {
        let PeerLink { peer, cluster, incarnation, direction, socket, tls, wire, traffic, .. } =
            link;
        Self {
            peer: Some(Box::new(PeerEnd { node: peer, cluster, incarnation, direction })),
            traffic: Some(traffic),
            transport: Transport::established(tls),
            wire,
            sent_at: now,
            ..Self::accepted(socket, LINK_QUEUE_BYTES_MAX)
        }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the socket may yet take what is queued: it was not offered it, or not since `entered`,
    /// when completions were last taken. A send that was submitted before and is not over is refused.
    pub fn may_drain(&self, entered: u64) -> bool {
        self.is_dirty || self.is_sending && entered <= self.flight_entered
    }

    /// How long the publisher of `bytes` more is to wait, for a NATS subscriber or node that reads, but
    /// slower than it is sent to: the longer the more is queued, and after all who wait already, so that
    /// many publishers are slowed to what it reads as one is.
    pub fn stall(&mut self, bytes: usize, now: Instant) -> Duration {
        let steps = (self.outbound.queued_bytes() / STALL_BYTES) as u32;
        if steps == 0 || self.sent_at + READING_WITHIN <= now {
            return Duration::ZERO;
        }
        let share = bytes as f64 / STALL_SHARE as f64;
        self.stalls_until =
            self.stalls_until.max(now) + (STALL_STEP * steps * steps).mul_f64(share);
        self.stalls_until.since(now).min(STALL_MAX)
    }

    /// A NATS client that is sent more than it reads is not read from, so that one that hears itself
    /// waits for itself: nothing else would slow it before it is cut off.
    pub fn is_behind_itself(&self) -> bool {
        self.nats.is_some() && OWN_QUEUE_BYTES_MAX < self.outbound.queued_bytes()
    }

    /// Nothing of it is with the kernel any more.
    pub fn is_idle(&self) -> bool {
        !self.is_receiving && !self.is_sending
    }

    /// Ends both directions; the receive and the send then complete by themselves.
    pub fn shut(&mut self) {
        self.stage = Stage::Shut;
        if let Err(error) = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both) {
            tracing::trace!(%error, "shutting a link that is gone");
        }
    }

    /// Says "no more from here" so that the peer reads what was sent and closes.
    pub fn shut_writing(&self) {
        if let Err(error) = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write) {
            tracing::trace!(%error, "shutting a link that is gone");
        }
    }
}
