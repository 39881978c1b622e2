//! What was said once, said again later: by a node that kept it, or means ill.
//!
//! A frame is replayed on a link between the two nodes it passed between, while the one that heard it
//! still remembers: in the same life of it, and sooner than it forgets what ended. Routes are also told
//! to others than they were meant for, and with a number that nobody signed.

use std::collections::VecDeque;
use std::time::Duration;

use mpreg_fabric::time::Instant;
use mpreg_proto::id::NodeId;
use mpreg_proto::peer::Plane;
use mpreg_proto::route::{Announcement, Hop, Item, Message, Origin};

use super::Mesh;
use super::stream::{Sent, Sort};

/// Shorter than anything that ended is remembered (`gossip::Options::DEFAULT`, `keep`).
const KEPT_FOR: Duration = Duration::from_secs(100);

/// Frames kept at most, of each of the planes below.
const KEPT_MAX: usize = 200;

/// Of packets between members, which are many, one in so many is kept.
const PACKETS_ONE_IN: u32 = 32;

#[derive(Debug, Default)]
pub(super) struct Tape {
    kept: [VecDeque<Kept>; 4],
}

#[derive(Clone, Debug)]
struct Kept {
    at: Instant,
    from: NodeId,
    to: NodeId,
    /// The one that `to` was in.
    life: u64,
    frame: Sent,
}

fn place(plane: Plane) -> Option<usize> {
    match plane {
        Plane::Member => Some(0),
        Plane::Catalog => Some(1),
        Plane::Route => Some(2),
        Plane::LinkState => Some(3),
        Plane::Data | Plane::Ping | Plane::Pong => None,
    }
}

impl Mesh {
    /// Keeps a frame that is heard. Goodbyes are always kept.
    pub(super) fn record(&mut self, from: usize, to: usize, frame: &Sent) {
        let Some(place) = place(frame.plane).filter(|_| frame.sort != Sort::Again) else { return };
        if place == 0 && frame.sort != Sort::Goodbye && !self.one_in(PACKETS_ONE_IN) {
            return;
        }
        let Some(life) = self.nodes[to].life.as_ref().map(|life| life.number) else { return };
        let (from, to) = (self.nodes[from].id, self.nodes[to].id);
        let (at, frame) = (self.now, Sent { sort: Sort::Again, ..frame.clone() });
        let kept = &mut self.tape.kept[place];
        kept.push_back(Kept { at, from, to, life, frame });
        if KEPT_MAX < kept.len() {
            kept.pop_front();
        }
    }

    /// Where the node of this name runs, and in which life.
    fn running(&self, id: NodeId) -> Option<(usize, u64)> {
        let node = self.nodes.iter().position(|node| node.id == id)?;
        Some((node, self.nodes[node].life.as_ref()?.number))
    }

    /// Says some of what is kept again, or all of it.
    pub(super) fn replay(&mut self, count: usize) {
        for place in 0..self.tape.kept.len() {
            let mut kept: Vec<Kept> = self.tape.kept[place].iter().cloned().collect();
            kept.retain(|kept| self.now.since(kept.at) < KEPT_FOR);
            while count < kept.len() {
                let nth = self.rng.below(kept.len() as u32) as usize;
                kept.swap_remove(nth);
            }
            for kept in kept {
                self.say_again(kept);
            }
        }
    }

    fn say_again(&mut self, kept: Kept) {
        let Kept { from, to, life, frame, .. } = kept;
        let Some((node, _)) = self.running(from) else { return };
        let Some(there) = self.running(to).filter(|(_, there)| *there == life) else { return };
        let line = format_args!(
            "says again to {to:?}: {} bytes of {}",
            frame.body.len(),
            frame.plane.word()
        );
        self.trace.note(self.now, node, &frame.body, line);
        self.send_again(node, to, &frame);
        if frame.plane == Plane::Route && self.cluster_of(node) != self.cluster_of(there.0) {
            if let Some(forged) = forged(&frame) {
                self.send_again(node, to, &forged);
            }
            let view = self.nodes[node].life.as_ref().map(|life| life.view.clone());
            let others = view.iter().flat_map(|view| &view.peers);
            let meant = self.cluster_of(there.0);
            for (&other, _) in others.filter(|(_, peer)| peer.cluster != meant) {
                self.send_again(node, other, &frame);
            }
        }
    }

    fn send_again(&mut self, node: usize, to: NodeId, frame: &Sent) {
        let Some(life) = &self.nodes[node].life else { return };
        let used = life.used.get(&to).and_then(|link| life.links.get(link));
        if let Some(at) = used.filter(|state| state.is_admitted).map(|state| state.at) {
            self.send_on(at, frame.clone());
        }
    }
}

/// What a route would be if whoever sent it could sign it anew: newer by far, and nobody's word.
fn forged(frame: &Sent) -> Option<Sent> {
    let said = Message::parse(&frame.body).ok()?;
    let newer = |entry| match Item::read(entry) {
        Ok(Some(Item::Announce(announcement))) => Some(Item::Announce(newer(announcement)?)),
        Ok(
            Some(
                Item::Withdraw(_)
                | Item::Inside(_)
                | Item::Authorise(_)
                | Item::Revoke(_)
                | Item::Sum(_)
                | Item::Held(_),
            )
            | None,
        )
        | Err(_) => None,
    };
    let entries: Vec<_> = said.entries.iter().filter_map(newer).map(|item| item.entry()).collect();
    let mut body = Vec::new();
    Message { entries }.put(&mut body);
    Some(Sent { body: body.into(), ..frame.clone() })
}

/// Signed as it was; unsigned ones are anybody's.
fn newer(mut announcement: Announcement) -> Option<Announcement> {
    let is_first = announcement.chain.len() == 1;
    let last = announcement.chain.last_mut()?;
    last.signature?;
    last.body = if is_first {
        let mut origin = Origin::parse(&last.body).ok()?;
        origin.version.sequence += 1_000_000;
        origin.body()
    } else {
        let mut hop = Hop::parse(&last.body).ok()?;
        hop.version.sequence += 1_000_000;
        hop.body()
    };
    Some(announcement)
}
