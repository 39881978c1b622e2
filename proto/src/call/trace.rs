//! Which way a call went and its result came, and how long that took. Only of calls that ask for it.
//!
//! ```text
//!   route = count u8, that many nodes u128, count u8, that many clusters u128       little endian
//!   ran   = took u64, in microseconds, route of the call                    with the last `Answer`
//!   trace = took u64, ran u64, in microseconds, route of the call, route of the answer  to clients
//! ```
//!
//! Invariant: a count is at most `HOP_PATH_MAX`; what is longer is cut when it is written.

use alloc::vec::Vec;
use core::time::Duration;

use crate::error::ErrorCode;
use crate::id::{ClusterId, NodeId};
use crate::limits::HOP_PATH_MAX;
use crate::number::take;

/// Where a message has been, from where it began to where it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    pub nodes: Vec<NodeId>,
    /// As they were entered, the first node's at the front. No two in a row are the same.
    pub clusters: Vec<ClusterId>,
}

/// How a call came to the node that ran it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ran {
    pub route: Route,
    /// From its coming there to the last part of its result. Whole microseconds on the wire.
    pub took: Duration,
}

/// What became of a call that has a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trace {
    /// From the caller's node to the one that ran it.
    pub call: Route,
    /// And back. Another way, if links were lost meanwhile.
    pub answer: Route,
    /// On the caller's node, from the call to the last part of the result. Whole microseconds on the wire.
    pub took: Duration,
    /// Of that, on the node that ran it.
    pub ran: Duration,
}

impl Route {
    /// Of one node.
    pub fn at(node: NodeId, cluster: ClusterId) -> Self {
        Self { nodes: [node].into(), clusters: [cluster].into() }
    }

    /// Links between clusters.
    pub fn cluster_hops(&self) -> usize {
        self.clusters.len().saturating_sub(1)
    }

    /// What it takes in memory, beside itself.
    pub fn bytes(&self) -> usize {
        size_of::<u128>() * (self.nodes.len() + self.clusters.len())
    }

    fn put(&self, out: &mut Vec<u8>) {
        let Self { nodes, clusters } = self;
        put_ids(nodes.iter().map(|node| node.0), out);
        put_ids(clusters.iter().map(|cluster| cluster.0), out);
    }

    fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        Ok(Self {
            nodes: take_ids(rest)?.iter().map(|id| NodeId(u128::from_le_bytes(*id))).collect(),
            clusters: take_ids(rest)?
                .iter()
                .map(|id| ClusterId(u128::from_le_bytes(*id)))
                .collect(),
        })
    }

    fn skip(rest: &mut &[u8]) -> Result<(), ErrorCode> {
        take_ids(rest)?;
        take_ids(rest).map(|_| ())
    }
}

impl Ran {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&micros(self.took).to_le_bytes());
        self.route.put(out);
    }

    pub(super) fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let took = Duration::from_micros(u64::from_le_bytes(take(rest)?));
        Ok(Self { took, route: Route::take(rest)? })
    }
}

impl Trace {
    /// Links between clusters, there and back.
    pub fn cluster_hops(&self) -> u8 {
        let count = self.call.cluster_hops() + self.answer.cluster_hops();
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let Self { call, answer, took, ran } = self;
        out.extend_from_slice(&micros(*took).to_le_bytes());
        out.extend_from_slice(&micros(*ran).to_le_bytes());
        call.put(out);
        answer.put(out);
    }

    pub(crate) fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let took = Duration::from_micros(u64::from_le_bytes(take(rest)?));
        let ran = Duration::from_micros(u64::from_le_bytes(take(rest)?));
        Ok(Self { took, ran, call: Route::take(rest)?, answer: Route::take(rest)? })
    }

    /// Reads over one, and allocates nothing.
    pub(crate) fn skip(rest: &mut &[u8]) -> Result<(), ErrorCode> {
        take::<16>(rest)?;
        Route::skip(rest)?;
        Route::skip(rest)
    }
}

fn put_ids(ids: impl ExactSizeIterator<Item = u128>, out: &mut Vec<u8>) {
    out.push(ids.len().min(HOP_PATH_MAX) as u8);
    ids.take(HOP_PATH_MAX).for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
}

fn take_ids<'a>(rest: &mut &'a [u8]) -> Result<&'a [[u8; 16]], ErrorCode> {
    let [count] = take(rest)?;
    let bytes = usize::from(count) * size_of::<u128>();
    if HOP_PATH_MAX < usize::from(count) {
        return Err(ErrorCode::Malformed);
    }
    let (ids, left) = rest.split_at_checked(bytes).ok_or(ErrorCode::Malformed)?;
    *rest = left;
    Ok(ids.as_chunks().0)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
