//! What shards tell the control core.
//!
//! Wants are told once each has settled for a turn: a subscription that comes and goes between two
//! turns is not told, and what finds no room in the channel waits on its shard, the last word for each
//! pattern and group. So a shard holds no more than its clients subscribe to. Of how a link fared, and of
//! what is offered of a function, the last word of a turn is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use mpreg_fabric::control::Want;
use mpreg_proto::id::{NodeId, ShardIx};
use tokio::sync::mpsc;

use crate::limits::{REPORTS_MAX, TRACE_REPORTS_WAITING_MAX};
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
    /// A data link to this peer carries what is sent on it, or does not.
    Fared {
        peer: NodeId,
        is_working: bool,
    },
    /// What workers of this node offer of a function, as an entry of the catalog; none: no more.
    Function {
        name: Bytes,
        body: Option<Bytes>,
    },
}

/// One shard's end.
#[derive(Debug)]
pub struct Reporter {
    shard: ShardIx,
    reports: Sender<Report>,
    /// Of the control core.
    waker: Arc<Waker>,
    /// What nodes say of traced messages, for operators.
    traces: mpsc::Sender<Vec<u8>>,
    /// Members by the name of the want, as last heard and not told.
    wants: BTreeMap<Bytes, u32>,
    lost: Vec<(NodeId, Direction)>,
    /// How links fared, as last heard and not told.
    fared: BTreeMap<NodeId, bool>,
    /// Entries by the name of the function, as last heard and not told.
    functions: BTreeMap<Bytes, Option<Bytes>>,
}

/// What the shards' ends are made of.
#[derive(Clone, Debug)]
pub struct Reporters {
    reports: Sender<Report>,
    waker: Arc<Waker>,
    traces: mpsc::Sender<Vec<u8>>,
}

/// What shards say, for the control core and for operators.
#[derive(Debug)]
pub struct Ears {
    pub reports: Receiver<Report>,
    pub traces: mpsc::Receiver<Vec<u8>>,
}

/// `waker` is woken when there is a report to receive.
pub fn reports(waker: Arc<Waker>) -> (Reporters, Ears) {
    let (sender, reports) = bounded(REPORTS_MAX);
    let (traced, traces) = mpsc::channel(TRACE_REPORTS_WAITING_MAX);
    (Reporters { reports: sender, waker, traces: traced }, Ears { reports, traces })
}

impl Reporters {
    pub fn of(&self, shard: ShardIx) -> Reporter {
        Reporter {
            shard,
            reports: self.reports.clone(),
            waker: self.waker.clone(),
            traces: self.traces.clone(),
            wants: BTreeMap::new(),
            lost: Vec::new(),
            fared: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }
}

impl Reporter {
    /// The shard has so many subscribers from here on of what a `catalog::Want` names.
    pub fn want(&mut self, name: Bytes, members: u32) {
        self.wants.insert(name, members);
    }

    pub fn peer_lost(&mut self, peer: NodeId, direction: Direction) {
        self.lost.push((peer, direction));
    }

    pub fn fared(&mut self, peer: NodeId, is_working: bool) {
        self.fared.insert(peer, is_working);
    }

    pub fn function(&mut self, name: Bytes, body: Option<Bytes>) {
        self.functions.insert(name, body);
    }

    /// Tells operators what a node says of a traced message; false if there is no room.
    pub fn trace(&self, report: Vec<u8>) -> bool {
        self.traces.try_send(report).is_ok()
    }

    /// Whether something is not told yet.
    pub fn is_waiting(&self) -> bool {
        !self.wants.is_empty()
            || !self.lost.is_empty()
            || !self.fared.is_empty()
            || !self.functions.is_empty()
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
        while let Some((peer, is_working)) = self.fared.pop_first() {
            if !self.tell(Report::Fared { peer, is_working }) {
                self.fared.insert(peer, is_working);
                break;
            }
            is_told = true;
        }
        while let Some((name, members)) = self.wants.pop_first() {
            let want = Want { shard, name: name.clone(), members };
            if !self.tell(Report::Want(want)) {
                self.wants.insert(name, members);
                break;
            }
            is_told = true;
        }
        while let Some((name, body)) = self.functions.pop_first() {
            let (told, copy) = (name.clone(), body.clone());
            if !self.tell(Report::Function { name: told, body: copy }) {
                self.functions.insert(name, body);
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
