//! What shards tell the control core.
//!
//! Wants are told once each has settled for a turn: a subscription that comes and goes between two
//! turns is not told, and what finds no room in the channel waits on its shard, the last word for each
//! pattern and group. So a shard holds no more than its clients subscribe to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use mpreg_fabric::control::Want;
use mpreg_proto::id::{NodeId, ShardIx};

use crate::limits::REPORTS_MAX;
use crate::peer_link::Direction;

/// One thing a shard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Want(Want),
    /// A data link that the shard served is gone.
    PeerLost {
        peer: NodeId,
        shard: ShardIx,
        direction: Direction,
    },
}

/// One shard's end.
#[derive(Debug)]
pub struct Reporter {
    shard: ShardIx,
    reports: Sender<Report>,
    /// Of the control core.
    waker: Arc<Waker>,
    /// Members by pattern and group, as last heard and not told.
    wants: BTreeMap<(Bytes, Bytes), u32>,
    lost: Vec<(NodeId, Direction)>,
}

/// What the shards' ends are made of.
#[derive(Clone, Debug)]
pub struct Reporters {
    reports: Sender<Report>,
    waker: Arc<Waker>,
}

/// `waker` is woken when there is something to receive.
pub fn reports(waker: Arc<Waker>) -> (Reporters, Receiver<Report>) {
    let (sender, receiver) = bounded(REPORTS_MAX);
    (Reporters { reports: sender, waker }, receiver)
}

impl Reporters {
    pub fn of(&self, shard: ShardIx) -> Reporter {
        Reporter {
            shard,
            reports: self.reports.clone(),
            waker: self.waker.clone(),
            wants: BTreeMap::new(),
            lost: Vec::new(),
        }
    }
}

impl Reporter {
    /// The shard has so many subscribers of a pattern in a group from here on.
    pub fn want(&mut self, pattern: Bytes, group: Bytes, members: u32) {
        self.wants.insert((pattern, group), members);
    }

    pub fn peer_lost(&mut self, peer: NodeId, direction: Direction) {
        self.lost.push((peer, direction));
    }

    /// Whether something is not told yet.
    pub fn is_waiting(&self) -> bool {
        !self.wants.is_empty() || !self.lost.is_empty()
    }

    /// Tells what there is room for.
    pub fn flush(&mut self) {
        if !self.is_waiting() {
            return;
        }
        let shard = self.shard;
        let mut is_told = false;
        while let Some(&(peer, direction)) = self.lost.first() {
            if !self.tell(Report::PeerLost { peer, shard, direction }) {
                break;
            }
            self.lost.remove(0);
            is_told = true;
        }
        while let Some(((pattern, group), members)) = self.wants.pop_first() {
            let want = Want { shard, pattern, group, members };
            if !self.tell(Report::Want(want.clone())) {
                self.wants.insert((want.pattern, want.group), members);
                break;
            }
            is_told = true;
        }
        if is_told && let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "waking the control core");
        }
    }

    /// False if there is no room. A control core that has ended wants to hear nothing.
    fn tell(&self, report: Report) -> bool {
        !matches!(self.reports.try_send(report), Err(TrySendError::Full(_)))
    }
}
