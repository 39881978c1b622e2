//! The network: dials, links that come up, carry frames and break, and directions that carry nothing.
//!
//! A link that hears nothing for [`SILENCE_MIN`] or more is down, as links ask each other all the
//! time whether they are there (docs/WIRE.md). A block shorter than that is a stall.

use std::time::Duration;

use mpreg_fabric::control::{End as LinkEnd, Input, LinkId, LinkUp, Origin};
use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::NodeId;
use mpreg_proto::member::PeerAddress;
use mpreg_proto::peer::Plane;

use super::node::LinkState;
use super::plan::Mishap;
use super::stream::{Sent, Stream};
use super::{Direction, EndNo, Happening, Mesh};
use crate::faults::{micros, pick};
use crate::history::Plan as _;

/// Silence after which a link may be taken for dead, and after which it is.
pub(super) const SILENCE_MIN: Duration = Duration::from_millis(2_000);
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(3_000);

/// How long a shell waits for an answer, and the machine for its shell a little longer.
const DIAL_TIMEOUT: Duration = Duration::from_millis(4_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireNo(pub(super) u64);

/// A dial that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    pub(super) node: usize,
    life: u64,
    address: PeerAddress,
    expects: Option<NodeId>,
}

pub(super) struct Wire {
    ends: [End; 2],
    /// `streams[end]` flows to `ends[end]`.
    streams: [Stream; 2],
    address: PeerAddress,
    /// What it carries in a millisecond.
    bytes_per_ms: usize,
    /// What its length adds, one way.
    length: Duration,
}

#[derive(Clone, Copy, Debug)]
struct End {
    node: usize,
    life: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its machine has not been told.
    Opening,
    Up,
    /// Its machine may read it.
    Admitted,
    /// Its machine has closed it.
    Closed,
    /// Its machine was told that it is down, or is gone.
    Down,
}

pub(super) fn link(at: EndNo) -> LinkId {
    LinkId(at.wire.0 * 2 + at.end as u64)
}

pub(super) fn end_of(link: LinkId) -> EndNo {
    EndNo { wire: WireNo(link.0 / 2), end: (link.0 % 2) as usize }
}

impl EndNo {
    pub(super) fn other(self) -> Self {
        Self { end: 1 - self.end, ..self }
    }
}

impl Mesh {
    pub(super) fn dial(&mut self, node: usize, address: PeerAddress, expects: Option<NodeId>) {
        let life = self.life_mut(node).number;
        self.next_dial += 1;
        self.nodes[node].dials_made += 1;
        let dial = self.next_dial;
        self.dials_made +=
            u64::from(expects.is_none_or(|id| self.nodes.iter().any(|node| node.id == id)));
        self.dials.insert(dial, Dialling { node, life, address, expects });
        // Three round trips: the transport's and two of TLS.
        let delay = self.delay(self.plan.delay * 6);
        self.after(delay, Happening::Connect { dial });
        self.after(DIAL_TIMEOUT, Happening::DialFails { dial });
    }

    /// Dials of a node's present life that have not ended.
    pub(super) fn dials_open(&self, node: usize) -> usize {
        let life = self.nodes[node].life.as_ref().map(|life| life.number);
        let is_its = |dial: &&Dialling| dial.node == node && Some(dial.life) == life;
        self.dials.values().filter(is_its).count()
    }

    pub(super) fn connect(&mut self, dial: u64) {
        let Some(Dialling { node, life, address, expects }) = self.dials.get(&dial).cloned() else {
            return;
        };
        let Some(target) = self.nodes.iter().position(|node| node.address == address) else {
            return self.dial_fails(dial);
        };
        let is_reached = !self.is_blocked(node, target) && !self.is_blocked(target, node);
        if !is_reached {
            return;
        }
        let accepts = match &self.nodes[target].life {
            Some(there) if self.nodes[target].refuses_until <= self.now => Some(there.number),
            Some(_) | None => None,
        };
        let is_expected = expects.is_none_or(|expects| expects == self.nodes[target].id);
        let is_here = self.nodes[node].life.as_ref().is_some_and(|here| here.number == life);
        let Some(accepts) = accepts.filter(|_| is_expected && is_here) else {
            return self.dial_fails(dial);
        };
        self.dials.remove(&dial);
        let end = |node, life| End { node, life, stage: Stage::Opening };
        let is_slow = self.plan.has(Mishap::SlowLinks) && self.one_in(4);
        // Where many are, more is said.
        let slow = *pick(&mut self.rng, &[20, 200]) * if self.plan.is_large() { 8 } else { 1 };
        self.next_wire += 1;
        let wire = WireNo(self.next_wire);
        let opened = Wire {
            ends: [end(node, life), end(target, accepts)],
            streams: Default::default(),
            address,
            bytes_per_ms: if is_slow { slow } else { 100_000 },
            length: self.length(node, target),
        };
        self.wires.insert(wire, opened);
        for end in 0..2 {
            let delay = self.delay(self.plan.delay);
            self.after(delay, Happening::Up { at: EndNo { wire, end } });
        }
    }

    pub(super) fn dial_fails(&mut self, dial: u64) {
        let Some(Dialling { node, life, address, .. }) = self.dials.remove(&dial) else { return };
        self.feed_life(node, life, Input::DialFailed { address });
    }

    pub(super) fn up(&mut self, at: EndNo) {
        let Some(wire) = self.wires.get_mut(&at.wire) else { return };
        let End { node, life, stage } = wire.ends[at.end];
        let there = wire.ends[1 - at.end];
        if stage != Stage::Opening {
            return;
        }
        let is_here = self.nodes[node].life.as_ref().is_some_and(|here| here.number == life);
        let origin = match at.end {
            0 => Origin::Dialled { address: wire.address.clone() },
            _ => Origin::Accepted,
        };
        let Some(peer) = self.nodes[there.node].life.as_ref() else { return self.down(at) };
        if peer.number != there.life || !is_here {
            return self.down(at);
        }
        wire.ends[at.end].stage = Stage::Up;
        let incarnation = peer.incarnation;
        let it = &self.nodes[there.node];
        let (peer, cluster) = (it.id, it.cluster.clone());
        let state = LinkState { at, peer, incarnation, is_admitted: false, is_closed: false };
        self.life_mut(node).links.insert(link(at), state);
        let up = LinkUp { link: link(at), peer, cluster, incarnation, origin };
        self.feed_life(node, life, Input::LinkUp(up));
    }

    /// The machine at this end may read it from here on.
    pub(super) fn admitted(&mut self, at: EndNo) {
        let Some(wire) = self.wires.get_mut(&at.wire) else { return };
        wire.ends[at.end].stage = Stage::Admitted;
        self.after(micros(1), Happening::Arrive { to: at });
    }

    /// Whether the lane had room.
    pub(super) fn send_on(&mut self, at: EndNo, frame: Sent) -> bool {
        let lane_bytes_max = self.plan.lane_bytes_max;
        let to = at.other();
        let Some(wire) = self.wires.get_mut(&at.wire) else { return false };
        let has_room = wire.streams[to.end].send(frame, lane_bytes_max);
        self.depart_later(to, micros(1));
        has_room
    }

    fn depart_later(&mut self, to: EndNo, delay: Duration) {
        let Some(wire) = self.wires.get_mut(&to.wire) else { return };
        let stream = &mut wire.streams[to.end];
        if !stream.is_departing && stream.has_waiting() {
            stream.is_departing = true;
            self.after(delay, Happening::Depart { to });
        }
    }

    pub(super) fn depart(&mut self, to: EndNo) {
        let clogs = self.plan.has(Mishap::Clogs) && self.one_in(50);
        let clog = if clogs { self.delay(micros(1_500_000)) } else { Duration::ZERO };
        let flight = self.plan.delay / 2 + self.delay(self.plan.delay / 2) + clog;
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&to.wire) else { return };
        let stream = &mut wire.streams[to.end];
        stream.is_departing = false;
        let Some(frame) = stream.take() else { return };
        let takes = micros((frame.bytes() * 1000 / wire.bytes_per_ms) as u64);
        let at = stream.fly(frame, now + takes + flight + wire.length);
        self.schedule(at, Happening::Arrive { to });
        self.depart_later(to, takes.max(micros(1)));
    }

    pub(super) fn arrive(&mut self, to: EndNo) {
        let Some(wire) = self.wires.get_mut(&to.wire) else { return };
        let End { node, life, stage } = wire.ends[to.end];
        let from = wire.ends[1 - to.end].node;
        let stream = &mut wire.streams[to.end];
        if stream.is_dead || self.blocked.contains_key(&Direction { from, to: node }) {
            return;
        }
        if stream.is_over() {
            return self.down(to);
        }
        if stage != Stage::Admitted {
            return;
        }
        let Some(frame) = stream.arrived(self.now) else { return };
        let next = stream.next_arrival();
        let is_over = stream.is_over();
        self.frames += 1;
        *self.bytes.entry(frame.plane).or_default() += frame.bytes() as u64;
        if frame.plane == Plane::Data {
            self.carry(node, &frame.body, frame.sort);
        } else {
            if self.plan.has(Mishap::Replays) {
                self.record(from, node, &frame);
            }
            let (plane, body) = (frame.plane as u8, frame.body.to_vec());
            let input = Input::Received { link: link(to), plane, body };
            self.feed_life(node, life, input);
        }
        if is_over {
            self.after(micros(1), Happening::Arrive { to });
        } else if let Some(next) = next {
            self.schedule(next.max(self.now), Happening::Arrive { to });
        }
    }

    /// Tells this end that its link is down, and the other one, once it hears of it.
    pub(super) fn down(&mut self, at: EndNo) {
        let Self { wires, rng, .. } = self;
        let Some(wire) = wires.get_mut(&at.wire) else { return };
        let End { node, life, stage } = wire.ends[at.end];
        if stage == Stage::Down {
            return;
        }
        wire.ends[at.end].stage = Stage::Down;
        let address = wire.address.clone();
        if stage != Stage::Closed {
            wire.streams[1 - at.end].cut(rng);
        }
        if wire.ends[1 - at.end].stage == Stage::Down {
            self.wires.remove(&at.wire);
        } else {
            self.after(self.plan.delay, Happening::Arrive { to: at.other() });
        }
        let end = if stage == Stage::Closed { LinkEnd::Closed } else { LinkEnd::Lost };
        if stage == Stage::Opening && at.end == 0 {
            self.feed_life(node, life, Input::DialFailed { address });
        } else if self.is_life(node, life) && self.life_mut(node).links.remove(&link(at)).is_some()
        {
            self.feed_life(node, life, Input::LinkDown { link: link(at), end });
        }
    }

    /// The machine at this end wants no more of the link; what it sent still goes.
    pub(super) fn close(&mut self, at: EndNo) {
        let Some(wire) = self.wires.get_mut(&at.wire) else { return };
        wire.ends[at.end].stage = Stage::Closed;
        wire.streams[1 - at.end].finish();
        let delay = self.delay(micros(20_000));
        self.after(self.plan.delay, Happening::Arrive { to: at.other() });
        self.after(delay, Happening::Down { at });
    }

    pub(super) fn silence(&mut self, at: EndNo, since: Instant) {
        let Some(wire) = self.wires.get(&at.wire) else { return };
        if wire.streams[at.end].silent_since == Some(since) {
            self.down(at);
        }
    }

    /// Both directions lose the last of what they carry.
    pub(super) fn break_wire(&mut self, number: WireNo) {
        let Self { wires, rng, .. } = self;
        let Some(wire) = wires.get_mut(&number) else { return };
        wire.streams.iter_mut().for_each(|stream| stream.cut(rng));
        for end in 0..2 {
            let delay = self.delay(self.plan.delay * 2);
            self.after(delay, Happening::Arrive { to: EndNo { wire: number, end } });
        }
    }

    /// The process of a node ends. With power its kernel closes its links; without, its peers hear
    /// nothing more.
    pub(super) fn end_life(&mut self, node: usize, has_power: bool) {
        let Self { nodes, rng, .. } = self;
        nodes[node].end(has_power, rng);
        self.dials.retain(|_, dial| dial.node != node);
        let ends: Vec<EndNo> = self.ends_of(|wire, end| wire.ends[end].node == node);
        for at in ends {
            if has_power {
                self.down(at);
            } else if let Some(wire) = self.wires.get_mut(&at.wire) {
                wire.ends[at.end].stage = Stage::Down;
                wire.streams[1 - at.end].is_dead = true;
                self.hear_nothing(at.other());
            }
        }
    }

    /// What flows this way stands still from here on.
    pub(super) fn fall_silent(&mut self, Direction { from, to }: Direction) {
        let is_it =
            |wire: &Wire, end: usize| wire.ends[end].node == to && wire.ends[1 - end].node == from;
        for at in self.ends_of(is_it) {
            self.hear_nothing(at);
        }
    }

    fn hear_nothing(&mut self, at: EndNo) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&at.wire) else { return };
        let since = *wire.streams[at.end].silent_since.get_or_insert(now);
        let patience = SILENCE_MIN + self.delay(SILENCE_MAX - SILENCE_MIN);
        self.after(patience, Happening::Silence { at, since });
    }

    /// What stood still this way flows.
    pub(super) fn unblocked(&mut self, Direction { from, to }: Direction) {
        let is_it =
            |wire: &Wire, end: usize| wire.ends[end].node == to && wire.ends[1 - end].node == from;
        for to in self.ends_of(is_it) {
            let Some(wire) = self.wires.get_mut(&to.wire) else { continue };
            let stream = &mut wire.streams[to.end];
            if !stream.is_dead {
                stream.silent_since = None;
                self.after(micros(1), Happening::Arrive { to });
            }
        }
    }

    fn ends_of(&self, is_it: impl Fn(&Wire, usize) -> bool) -> Vec<EndNo> {
        let both = self.wires.iter().flat_map(|(&wire, it)| [(wire, it, 0), (wire, it, 1)]);
        both.filter(|&(_, it, end)| is_it(it, end))
            .map(|(wire, _, end)| EndNo { wire, end })
            .collect()
    }

    /// How much farther apart two nodes are than others: some, of different clusters.
    pub(super) fn length(&self, a: usize, b: usize) -> Duration {
        let is_near = self.cluster_of(a) == self.cluster_of(b) || !self.plan.has(Mishap::Distances);
        let pair = Rng::from_seed((a.min(b) * 1000 + a.max(b)) as u64).below(6);
        micros(if is_near { 0 } else { [0, 0, 0, 5_000, 20_000, 60_000][pair as usize] })
    }

    /// How long a ping takes over a link between these, on average.
    pub(super) fn round_trip(&self, a: usize, b: usize) -> Duration {
        (self.plan.delay * 3 / 4 + self.length(a, b)) * 2
    }

    /// Dials of a node that its machine has to think are under way.
    pub(super) fn dials_known(&self, node: usize) -> usize {
        let life = self.nodes[node].life.as_ref().map(|life| life.number);
        let is_its = |end: &End| end.node == node && Some(end.life) == life;
        let opening = self.wires.values().map(|wire| &wire.ends[0]);
        let opening = opening.filter(|end| end.stage == Stage::Opening && is_its(end));
        self.dials_open(node) + opening.count()
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&Direction { from, to })
    }
}
