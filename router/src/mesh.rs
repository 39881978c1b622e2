//! The mesh: a bounded ring between each ordered pair of data shards.
//!
//! A hand-off is staged, pushed when the turn ends, and its receiver woken once if it said that it
//! sleeps. A full ring keeps what is staged, in order, until there is room; past a bound the shard
//! stops reading publishers ([`Mesh::is_congested`]). Nothing is ever dropped here.
//!
//! Invariants:
//! - Hand-offs from one shard to another arrive in the order they were staged.
//! - A shard that sleeps is woken for what is pushed to it: `rest.rs`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam::queue::SegQueue;
use crossbeam::utils::CachePadded;
use mpreg_fabric::catalog::Changed;
use mpreg_fabric::control::View;
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::want::Stale;
use mpreg_proto::id::{ClusterId, NodeId, ShardIx};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

use crate::auth::{Accounts, Answer, Desk};
use crate::limits::{MESH_BATCH_MAX, MESH_RING_BYTES_MAX, MESH_RING_SLOTS, STAGED_BYTES_MAX};
use crate::peer_link::PeerLink;
use crate::roster::Question;
use crate::trace;

pub mod rest;

use rest::{Rest, Resting};

/// What the control core tells a shard.
#[derive(Debug)]
pub enum Command {
    /// Say goodbye to every client, send what is queued, end.
    Stop,
    /// Tell NATS clients that the node is about to go.
    LameDuck,
    /// A client was verified, or not.
    Verified(Answer),
    /// Somebody asks who is connected.
    List(Question),
    /// These hold from here on. `desk` verifies by them, if anybody has to be verified.
    Reload { accounts: Arc<Accounts>, desk: Option<Arc<Desk>> },
    /// A data link, secured and greeted, for this shard to serve.
    PeerLink(Box<PeerLink>),
    /// What the shard knows of other nodes from here on, and of which topics it is no longer right who
    /// was remembered to want them.
    View { view: Arc<View>, stale: Stale },
    /// What happened in the fabric, as a message for whoever listens.
    News { frame: Bytes },
    /// What another node offers of a function, or no more; how calls of one are split.
    Function(Arc<Changed>),
    /// An operator wants to know where messages of a topic go.
    Trace { topic: Bytes, number: trace::Number },
    /// And which way a call to that node would go.
    TraceCall { to: (ClusterId, NodeId), topic: Bytes, number: trace::Number },
}

/// How others wake a shard.
///
/// A shard sleeps in its ring or parks in its executor, and each has an eventfd of its own. One would
/// do if rings chained: an eventfd polled by a ring that signals the eventfd the executor reads. But
/// a signal raised inside another eventfd's wake-up is deferred by the kernel, and on 6.18 only the
/// first of a ring's life arrives. For the same reason a shard does not park while somebody is about
/// to write to the eventfd its ring polls.
#[derive(Debug)]
pub struct Bell {
    resting: CachePadded<Resting>,
    /// Polled by the shard's ring.
    ring_eventfd: OwnedFd,
    /// Read by the shard's executor while it parks; the ring signals it as well.
    park_eventfd: OwnedFd,
    /// As many as there are sessions being verified, entries of functions that changed in a turn, and a few
    /// of the process's life.
    commands: SegQueue<Command>,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            resting: CachePadded::new(Resting::default()),
            ring_eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            park_eventfd: eventfd(0, EventfdFlags::CLOEXEC)?,
            commands: SegQueue::new(),
        })
    }

    /// Wakes the shard if it sleeps; says whether it did.
    pub fn ring(&self) -> bool {
        self.resting.ring(|place| {
            let eventfd = match place {
                Rest::InRing => &self.ring_eventfd,
                Rest::Parked => &self.park_eventfd,
            };
            if let Err(error) = rustix::io::write(eventfd, &1u64.to_ne_bytes()) {
                tracing::warn!(%error, "waking a shard");
            }
        })
    }

    /// Gives the shard a command.
    pub fn command(&self, command: Command) {
        self.commands.push(command);
        self.ring();
    }

    pub fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub fn ring_eventfd(&self) -> BorrowedFd<'_> {
        self.ring_eventfd.as_fd()
    }

    pub fn park_eventfd(&self) -> &OwnedFd {
        &self.park_eventfd
    }

    /// Forgets the rings so far.
    pub fn hush(&self) {
        let mut count = [0; 8];
        // Nothing to read is as quiet as it gets.
        if let Err(error) = rustix::io::read(&self.ring_eventfd, &mut count) {
            tracing::trace!(%error, "eventfd was quiet");
        }
    }

    /// Where the shard says that it rests.
    pub fn resting(&self) -> &Resting {
        &self.resting
    }
}

/// One shard's ends of all its rings.
#[derive(Debug)]
pub struct Mesh {
    me: ShardIx,
    bells: Arc<[Bell]>,
    inboxes: Vec<Option<Inbox>>,
    outboxes: Vec<Option<Outbox>>,
    staged_bytes: usize,
    pub counts: MeshCounts,
}

#[derive(Debug)]
struct Outbox {
    ring: Producer<Handoff>,
    staged: VecDeque<Handoff>,
    /// Payload bytes in the ring: added here, taken off by the receiver.
    ring_bytes: Arc<CachePadded<AtomicUsize>>,
}

#[derive(Debug)]
struct Inbox {
    ring: Consumer<Handoff>,
    ring_bytes: Arc<CachePadded<AtomicUsize>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct MeshCounts {
    pub sent: u64,
    pub received: u64,
    pub waits: u64,
    pub wakes: u64,
}

/// The meshes of all shards, joined.
pub fn join(bells: &Arc<[Bell]>) -> Vec<Mesh> {
    let count = bells.len();
    let mut meshes: Vec<Mesh> = (0..count)
        .filter_map(ShardIx::new)
        .map(|me| Mesh {
            me,
            bells: bells.clone(),
            inboxes: (0..count).map(|_| None).collect(),
            outboxes: (0..count).map(|_| None).collect(),
            staged_bytes: 0,
            counts: MeshCounts::default(),
        })
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|&to| to != from) {
            let (ring, end) = RingBuffer::new(MESH_RING_SLOTS);
            let ring_bytes = Arc::new(CachePadded::new(AtomicUsize::new(0)));
            let inbox = Inbox { ring: end, ring_bytes: ring_bytes.clone() };
            meshes[to].inboxes[from] = Some(inbox);
            let outbox = Outbox { ring, staged: VecDeque::new(), ring_bytes };
            meshes[from].outboxes[to] = Some(outbox);
        }
    }
    meshes
}

impl Mesh {
    pub fn me(&self) -> ShardIx {
        self.me
    }

    pub fn shards_count(&self) -> usize {
        self.bells.len()
    }

    pub fn bell(&self) -> &Bell {
        &self.bells[self.me.index()]
    }

    /// Takes a hand-off; it is pushed by [`Mesh::flush`].
    pub fn stage(&mut self, to: ShardIx, handoff: Handoff) {
        let Some(outbox) = &mut self.outboxes[to.index()] else { return };
        self.staged_bytes += payload_bytes(&handoff);
        outbox.staged.push_back(handoff);
    }

    /// Whether so much waits that publishers should.
    pub fn is_congested(&self) -> bool {
        STAGED_BYTES_MAX < self.staged_bytes
    }

    /// Whether something waits for room in a ring.
    pub fn is_waiting(&self) -> bool {
        self.outboxes.iter().flatten().any(|outbox| !outbox.staged.is_empty())
    }

    /// Pushes what is staged, and wakes the shards it is for.
    pub fn flush(&mut self) {
        for (outbox, bell) in self.outboxes.iter_mut().zip(self.bells.iter()) {
            let Some(outbox) = outbox else { continue };
            if outbox.staged.is_empty() {
                continue;
            }
            let (count, bytes) = outbox.share();
            if let Ok(chunk) = outbox.ring.write_chunk_uninit(count) {
                outbox.ring_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.staged_bytes -= bytes;
                let pushed = chunk.fill_from_iter(outbox.staged.drain(..count));
                self.counts.sent += pushed as u64;
            }
            self.counts.waits += u64::from(!outbox.staged.is_empty());
            self.counts.wakes += u64::from(bell.ring());
        }
    }

    /// Whether another shard has something for this one.
    pub fn has_mail(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.ring.is_empty())
            || !self.bell().commands.is_empty()
    }

    /// Takes a bounded share from every ring, in order.
    pub fn receive(&mut self, out: &mut Vec<(ShardIx, Handoff)>) {
        for (from, inbox) in self.inboxes.iter_mut().enumerate() {
            let (Some(inbox), Some(from)) = (inbox, ShardIx::new(from)) else { continue };
            let count = inbox.ring.slots().min(MESH_BATCH_MAX);
            if count == 0 {
                continue;
            }
            if let Ok(chunk) = inbox.ring.read_chunk(count) {
                self.counts.received += count as u64;
                let before = out.len();
                out.extend(chunk.into_iter().map(|handoff| (from, handoff)));
                let bytes = out[before..].iter().map(|(_, handoff)| payload_bytes(handoff)).sum();
                inbox.ring_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }
}

impl Outbox {
    /// How many of the staged fit the ring, in slots and in bytes, and their bytes. An empty ring
    /// takes one of any size.
    fn share(&self) -> (usize, usize) {
        let in_ring = self.ring_bytes.load(Ordering::Relaxed);
        let (mut count, mut bytes) = (0, 0);
        for handoff in self.staged.iter().take(self.ring.slots()) {
            let more = payload_bytes(handoff);
            if MESH_RING_BYTES_MAX < in_ring + bytes + more && in_ring + bytes != 0 && more != 0 {
                break;
            }
            bytes += more;
            count += 1;
        }
        (count, bytes)
    }
}

fn payload_bytes(handoff: &Handoff) -> usize {
    match handoff {
        Handoff::Run { frames } => frames.len(),
        Handoff::Member { frame, .. } | Handoff::Returned { frame, .. } => frame.len(),
        Handoff::Call(input) => input.value_bytes(),
        Handoff::Told(effect) => effect.value_bytes(),
        Handoff::Asked { .. }
        | Handoff::Ask { .. }
        | Handoff::Answer { .. }
        | Handoff::Want { .. }
        | Handoff::Settled { .. }
        | Handoff::Forget { .. }
        | Handoff::Forgotten { .. }
        | Handoff::Emptied { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: usize) -> Handoff {
        Handoff::Run { frames: Bytes::from(n.to_le_bytes().to_vec()) }
    }

    #[test]
    fn a_full_ring_keeps_order_and_loses_nothing() {
        let bells: Arc<[Bell]> = (0..2).map(|_| Bell::new().unwrap()).collect();
        let mut meshes = join(&bells);
        let (mut right, mut left) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        let to = ShardIx::new(1).unwrap();
        let total = 3 * MESH_RING_SLOTS;
        (0..total).for_each(|n| left.stage(to, run(n)));
        let mut got = Vec::new();
        while got.len() < total {
            left.flush();
            right.receive(&mut got);
        }
        assert!(got.iter().enumerate().all(|(n, (_, handoff))| *handoff == run(n)));
        assert!(!left.is_waiting() && !right.has_mail());
        assert_eq!(left.staged_bytes, 0);
        assert!(left.counts.waits != 0, "the ring was full at times");
    }

    #[test]
    fn a_ring_takes_so_many_bytes_and_no_more() {
        let bells: Arc<[Bell]> = (0..2).map(|_| Bell::new().unwrap()).collect();
        let mut meshes = join(&bells);
        let (mut right, mut left) = (meshes.pop().unwrap(), meshes.pop().unwrap());
        let to = ShardIx::new(1).unwrap();
        let frames = Bytes::from(vec![0; MESH_RING_BYTES_MAX / 2 + 1]);
        (0..4).for_each(|_| left.stage(to, Handoff::Run { frames: frames.clone() }));
        let mut got = Vec::new();
        for received in 1..=4 {
            left.flush();
            right.receive(&mut got);
            assert_eq!(got.len(), received, "two are over the bound, one never is");
        }
        assert!(!left.is_waiting());
    }

    #[test]
    fn congestion_shows_in_bytes_and_ends() {
        let bells: Arc<[Bell]> = (0..2).map(|_| Bell::new().unwrap()).collect();
        let mut meshes = join(&bells);
        let to = ShardIx::new(1).unwrap();
        let frames = Bytes::from(vec![0; STAGED_BYTES_MAX]);
        meshes[0].stage(to, Handoff::Run { frames });
        assert!(!meshes[0].is_congested());
        meshes[0].stage(to, run(1));
        assert!(meshes[0].is_congested());
        meshes[0].flush();
        assert!(!meshes[0].is_congested());
    }

    #[test]
    fn only_a_sleeper_is_rung_only_once_and_where_it_sleeps() {
        let bell = Bell::new().unwrap();
        let count = |eventfd: BorrowedFd<'_>| {
            let mut count = [0; 8];
            rustix::io::read(eventfd, &mut count).map(|_| u64::from_ne_bytes(count))
        };
        assert!(!bell.ring());
        assert!(bell.resting().rest(Rest::InRing));
        assert!(bell.ring());
        assert!(!bell.ring(), "it was rung");
        assert_eq!(count(bell.ring_eventfd()), Ok(1));
        assert!(bell.resting().rest(Rest::Parked));
        assert!(bell.ring());
        assert_eq!(count(bell.park_eventfd().as_fd()), Ok(1));
        assert!(bell.resting().rest(Rest::InRing));
        bell.resting().woke(Rest::InRing);
        assert!(!bell.ring());
        assert!(count(bell.ring_eventfd()).is_err(), "nobody rang");
    }
}
