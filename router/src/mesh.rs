//! The mesh: a bounded ring between each ordered pair of data shards.
//!
//! A hand-off is staged, pushed when the turn ends, and its receiver woken once if it said that it
//! sleeps. A full ring keeps what is staged, in order, until there is room; past a bound the shard
//! stops reading publishers ([`Mesh::is_congested`]). Nothing is ever dropped here.
//!
//! Invariants:
//! - Hand-offs from one shard to another arrive in the order they were staged.
//! - A shard that is about to sleep says so first, then looks at its rings once more; one that pushes
//!   looks at the flag after the push. With a full fence between, one of the two sees the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use mpreg_fabric::handoff::Handoff;
use mpreg_proto::id::ShardIx;
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

use crate::limits::{COMMANDS_MAX, MESH_BATCH_MAX, MESH_RING_SLOTS, STAGED_BYTES_MAX};

/// What the control core tells a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say goodbye to every client, send what is queued, end.
    Stop,
}

/// How others wake a shard.
#[derive(Debug)]
pub struct Bell {
    is_sleeping: CachePadded<AtomicBool>,
    eventfd: OwnedFd,
    commands: ArrayQueue<Command>,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let is_sleeping = CachePadded::new(AtomicBool::new(false));
        Ok(Self { is_sleeping, eventfd, commands: ArrayQueue::new(COMMANDS_MAX) })
    }

    /// Wakes the shard if it sleeps; says whether it did.
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        let was_sleeping =
            self.is_sleeping.load(Ordering::Relaxed) && self.is_sleeping.swap(false, Ordering::AcqRel);
        if was_sleeping {
            // A full counter wakes as well, so a write that would block has done its work.
            if let Err(error) = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes()) {
                tracing::debug!(%error, "waking a shard");
            }
        }
        was_sleeping
    }

    /// Gives the shard a command. False if it has too many waiting.
    #[must_use]
    pub fn command(&self, command: Command) -> bool {
        let taken = self.commands.push(command).is_ok();
        self.ring();
        taken
    }

    pub fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Forgets the rings so far.
    pub fn hush(&self) {
        let mut count = [0; 8];
        // Nothing to read is as quiet as it gets.
        if let Err(error) = rustix::io::read(&self.eventfd, &mut count) {
            tracing::trace!(%error, "eventfd was quiet");
        }
    }

    /// From here on others ring. Look at every ring once more before sleeping.
    pub fn going_to_sleep(&self) {
        self.is_sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether the shard sleeps, or is about to.
    pub fn is_sleeping(&self) -> bool {
        self.is_sleeping.load(Ordering::Relaxed)
    }

    pub fn awake(&self) {
        self.is_sleeping.store(false, Ordering::Relaxed);
    }
}

/// One shard's ends of all its rings.
#[derive(Debug)]
pub struct Mesh {
    me: ShardIx,
    bells: Arc<[Bell]>,
    inboxes: Vec<Option<Consumer<Handoff>>>,
    outboxes: Vec<Option<Outbox>>,
    staged_bytes: usize,
    pub counts: MeshCounts,
}

#[derive(Debug)]
struct Outbox {
    ring: Producer<Handoff>,
    staged: VecDeque<Handoff>,
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
            let (ring, inbox) = RingBuffer::new(MESH_RING_SLOTS);
            meshes[from].outboxes[to] = Some(Outbox { ring, staged: VecDeque::new() });
            meshes[to].inboxes[from] = Some(inbox);
        }
    }
    meshes
}

impl Mesh {
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
            let room = outbox.ring.slots().min(outbox.staged.len());
            if let Ok(chunk) = outbox.ring.write_chunk_uninit(room) {
                let staged_bytes = &mut self.staged_bytes;
                let pushed = chunk.fill_from_iter(
                    outbox.staged.drain(..room).inspect(|h| *staged_bytes -= payload_bytes(h)),
                );
                self.counts.sent += pushed as u64;
            }
            self.counts.waits += u64::from(!outbox.staged.is_empty());
            self.counts.wakes += u64::from(bell.ring());
        }
    }

    /// Whether another shard has something for this one.
    pub fn has_mail(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.is_empty())
            || !self.bell().commands.is_empty()
    }

    /// Takes a bounded share from every ring, in order.
    pub fn receive(&mut self, out: &mut Vec<(ShardIx, Handoff)>) {
        for (from, inbox) in self.inboxes.iter_mut().enumerate() {
            let (Some(inbox), Some(from)) = (inbox, ShardIx::new(from)) else { continue };
            let count = inbox.slots().min(MESH_BATCH_MAX);
            if count == 0 {
                continue;
            }
            if let Ok(chunk) = inbox.read_chunk(count) {
                self.counts.received += count as u64;
                out.extend(chunk.into_iter().map(|handoff| (from, handoff)));
            }
        }
    }
}

fn payload_bytes(handoff: &Handoff) -> usize {
    match handoff {
        Handoff::Run { frames } => frames.len(),
        Handoff::Member { frame, .. } => frame.len(),
        Handoff::Ask { .. }
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
    use bytes::Bytes;

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
    fn only_a_sleeper_is_rung_and_only_once() {
        let bell = Bell::new().unwrap();
        assert!(!bell.ring());
        bell.going_to_sleep();
        assert!(bell.ring());
        assert!(!bell.ring());
        bell.going_to_sleep();
        bell.awake();
        assert!(!bell.ring());
    }
}
