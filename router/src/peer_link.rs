//! A data link to another node, on its way from the control core, which secured and greeted it, to
//! the shard that serves it.
//!
//! Each shard has one link out to each peer, so that what one publisher sends stays in order, and
//! serves some of those that peers opened. Messages go one way on it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mpreg_proto::id::{ClusterId, Incarnation, NodeId};

use crate::probe::Count;

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Outgoing,
    Incoming,
}

impl Direction {
    /// The word logs use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

/// Who is at the other end of a data link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEnd {
    pub node: NodeId,
    /// The node's.
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
    pub direction: Direction,
}

/// Messages that one data link carried. Its shard writes.
#[derive(Debug, Default)]
pub struct Traffic {
    pub messages_out: Count,
    pub messages_in: Count,
}

/// See the file's header.
#[derive(Debug)]
pub struct PeerLink {
    pub peer: NodeId,
    /// The peer's.
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
    pub direction: Direction,
    /// Blocking: the ring waits by itself.
    pub socket: OwnedFd,
    /// After its handshake.
    pub tls: rustls::Connection,
    /// Decrypted, and not read yet.
    pub plain: Vec<u8>,
    /// Sealed, and not written yet.
    pub wire: Vec<u8>,
    pub traffic: Arc<Traffic>,
}
