//! The shell of each control core: inputs in, effects performed, and what must hold of both.
//!
//! It does with a machine what the router does, with a stream in place of a socket.

use std::time::Duration;

use mpreg_fabric::control::{CloseReason, Effect, Input, LinkId};
use mpreg_proto::id::NodeId;
use mpreg_proto::peer::Plane;

use super::net::end_of;
use super::node::Life;
use super::plan::Mishap;
use super::stream::{Sent, Sort};
use super::{Direction, EndNo, Happening, Mesh, check};
use crate::check::Violation;
use crate::faults::micros;
use crate::history::Plan as _;

impl Mesh {
    pub(super) fn life_mut(&mut self, node: usize) -> &mut Life {
        self.nodes[node].life.as_mut().expect("the node runs")
    }

    pub(super) fn is_life(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life.as_ref().is_some_and(|it| it.number == life)
    }

    /// Tells a machine, if its process still runs.
    pub(super) fn feed_life(&mut self, node: usize, life: u64, input: Input) {
        if !self.is_life(node, life) || self.violation.is_some() {
            return;
        }
        let now = self.nodes[node].local(self.now);
        let asked = match &input {
            Input::LinkUp(up) => Some(up.link),
            Input::Started
            | Input::LinkDown { .. }
            | Input::DialFailed { .. }
            | Input::Received { .. }
            | Input::Refused { .. }
            | Input::Want(_)
            | Input::Persisted { .. }
            | Input::Measured { .. }
            | Input::LinkFailed { .. }
            | Input::LinkWorked { .. }
            | Input::WallClockRead(_)
            | Input::Command(_)
            | Input::DeadlineReached => None,
        };
        self.note_input(node, &input);
        let mut effects = Vec::new();
        self.life_mut(node).machine.handle(input, now, &mut effects);
        if let Some(link) = asked {
            self.note(check::is_answered(node, link, &effects));
        }
        for effect in effects {
            self.perform(node, effect);
        }
        self.observe(node);
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Admit { link } => self.admit(node, link),
            Effect::Use { peer, link } => self.use_link(node, peer, link),
            Effect::Close { link, why } => self.close_link(node, link, why),
            Effect::Send { to, lane, plane, body } => {
                let sort = if self.is_saying_goodbye { Sort::Goodbye } else { Sort::Plain };
                self.send(node, to, Sent { plane, lane, body, sort });
            }
            Effect::Dial { address, node: expects } => {
                let line = format_args!("dials {address} for {expects:?}");
                self.trace.note(self.now, node, &(address.as_str(), expects), line);
                let verdict = self.is_not_in_grace(node, &address, expects);
                self.note(verdict);
                self.dial(node, address, expects);
            }
            Effect::Persist { ticket, record } => {
                self.nodes[node].persist(ticket, record);
                let life = self.life_mut(node).number;
                let delay = self.delay(self.plan.disk_delay);
                self.after(delay, Happening::Written { node, life });
            }
            Effect::View { view, .. } => {
                self.life_mut(node).view = view;
                let now = self.nodes[node].local(self.now);
                let clusters = (0..self.nodes.len()).map(|it| self.cluster_of(it)).collect();
                let mode = self.plan.mode;
                let machine = &self.life_mut(node).machine;
                let verdict = check::ways_are_used(node, machine, &clusters, mode, now);
                self.note(verdict);
            }
            Effect::Left => {
                let life = self.life_mut(node).number;
                let delay = self.delay(Duration::from_millis(200));
                self.after(delay, Happening::End { node, life });
            }
            Effect::Fact(fact) => {
                self.trace.note(self.now, node, &(), format_args!("{fact:?}"));
                let verdict = self.is_no_change(node, &fact);
                self.note(verdict);
            }
        }
    }

    fn admit(&mut self, node: usize, link: LinkId) {
        let known = self.life_mut(node).links.get_mut(&link);
        let fresh = known.filter(|state| !state.is_admitted && !state.is_closed);
        let Some(state) = fresh else {
            let text = format!("node {node} admits {link:?}, which is gone or admitted");
            return self.note(Err(Violation::new("admitted", text)));
        };
        state.is_admitted = true;
        let (at, peer) = (state.at, state.peer);
        self.trace.note(self.now, node, &link.0, format_args!("admits {} to {peer:?}", link.0));
        self.admitted(at);
    }

    fn use_link(&mut self, node: usize, peer: NodeId, link: LinkId) {
        let life = self.life_mut(node);
        life.used.insert(peer, link);
        let verdict = check::is_usable(node, peer, life.links.get(&link));
        self.note(verdict);
        self.trace.note(self.now, node, &link.0, format_args!("uses {} for {peer:?}", link.0));
    }

    fn close_link(&mut self, node: usize, link: LinkId, why: CloseReason) {
        let known = self.life_mut(node).links.get_mut(&link);
        let Some(state) = known.filter(|state| !state.is_closed) else {
            let text = format!("node {node} closes {link:?}, which is gone or closed");
            return self.note(Err(Violation::new("closed", text)));
        };
        state.is_closed = true;
        state.is_admitted = false;
        let closed = *state;
        let line = format_args!("closes {}: {}", link.0, why.word());
        self.trace.note(self.now, node, &(link.0, why), line);
        let life = self.life_mut(node);
        let used = life.used.get(&closed.peer).and_then(|link| life.links.get(link)).copied();
        self.note(check::is_no_later(node, why, closed, used));
        self.close(end_of(link));
    }

    pub(super) fn send(&mut self, node: usize, to: NodeId, frame: Sent) {
        self.note(check::is_within_bound(node, frame.bytes()));
        let life = self.life_mut(node);
        let used = life.used.get(&to).and_then(|link| life.links.get(link));
        let Some(at) = used.filter(|state| state.is_admitted).map(|state| state.at) else {
            let text = format!("node {node} sends to {to:?}, with which it has no link");
            return self.note(Err(Violation::new("sent", text)));
        };
        if frame.plane == Plane::Route {
            let verdict = check::numbers_are_written(&self.nodes[node], &frame.body);
            self.note(verdict);
        }
        if frame.plane == Plane::Data {
            return self.send_message(node, to, at, frame);
        }
        let lane = frame.lane;
        if self.send_on(at, frame) {
            return;
        }
        self.next_refusal += 1;
        let refusal = self.next_refusal;
        let life = self.life_mut(node);
        life.refusals.insert(refusal, (to, lane));
        let life = life.number;
        self.after(micros(1), Happening::Refuse { node, life, refusal });
    }

    /// Shards say how it went.
    fn send_message(&mut self, node: usize, to: NodeId, at: EndNo, frame: Sent) {
        let target = self.nodes.iter().position(|it| it.id == to);
        let direction = target.map(|to| Direction { from: node, to });
        let until = direction.and_then(|direction| self.faulty.get(&direction));
        let is_faulty = until.is_some_and(|until| self.now < *until);
        let went = !is_faulty && self.send_on(at, frame);
        if !went {
            self.trace.note(self.now, node, &to, format_args!("cannot send a message to {to:?}"));
        }
        if self.plan.has(Mishap::Faults) {
            let life = self.life_mut(node).number;
            let said = match went {
                true => Input::LinkWorked { peer: to },
                false => Input::LinkFailed { peer: to },
            };
            self.feed_life(node, life, said);
        }
    }

    /// Pings of all links come back.
    pub(super) fn measure(&mut self, node: usize, life: u64) {
        if !self.is_life(node, life) {
            return;
        }
        let peers: Vec<NodeId> = self.life_mut(node).view.peers.keys().copied().collect();
        for peer in peers {
            let Some(there) = self.nodes.iter().position(|it| it.id == peer) else { continue };
            let round_trip = self.round_trip(node, there);
            self.feed_life(node, life, Input::Measured { peer, round_trip });
        }
        self.after(Duration::from_secs(1), Happening::Measure { node, life });
    }

    pub(super) fn refuse(&mut self, node: usize, life: u64, refusal: u64) {
        if !self.is_life(node, life) {
            return;
        }
        let refused = self.life_mut(node).refusals.remove(&refusal);
        if let Some((to, lane)) = refused {
            self.feed_life(node, life, Input::Refused { to, lane });
        }
    }

    pub(super) fn written(&mut self, node: usize, life: u64) {
        if !self.is_life(node, life) {
            return;
        }
        if let Some(ticket) = self.nodes[node].written() {
            self.feed_life(node, life, Input::Persisted { ticket });
        }
    }

    pub(super) fn wake(&mut self, node: usize, life: u64, is_spare: bool) {
        if !self.is_life(node, life) {
            return;
        }
        let now = self.now;
        let it = self.life_mut(node);
        let is_due = it.wake_at.is_some_and(|at| at <= now);
        if is_due {
            if Duration::from_secs(1) <= now.since(it.wakes_since) {
                (it.wakes, it.wakes_since) = (0, now);
            }
            it.wakes += 1;
            let verdict = check::sleeps(node, it.wakes);
            self.note(verdict);
        }
        if is_due || is_spare {
            self.life_mut(node).wake_at = None;
            self.feed_life(node, life, Input::DeadlineReached);
        }
    }

    /// After each input: its deadline may have moved, its bounds must hold.
    pub(super) fn observe(&mut self, node: usize) {
        let dials_open = self.dials_open(node);
        self.note(check::dials_are_few(node, dials_open));
        let Some(it) = &self.nodes[node].life else { return };
        let (thought, known) = (it.machine.dials_open(), || self.dials_known(node));
        let verdict = check::dials_come_to_an_end(node, thought, dials_open, known);
        let due = it.machine.deadline().map(|(at, _why)| self.nodes[node].global(at));
        let (life, before) = (it.number, it.wake_at);
        self.note(verdict);
        if before != due {
            self.life_mut(node).wake_at = due;
            if let Some(at) = due {
                let late = self.delay(self.plan.wake_late);
                let at = at.max(self.now) + late;
                self.schedule(at, Happening::Wake { node, life, is_spare: false });
            }
        }
        if self.plan.has(Mishap::SpareWakes) && self.one_in(30) {
            let delay = self.delay(Duration::from_millis(500));
            self.after(delay, Happening::Wake { node, life, is_spare: true });
        }
    }

    fn note_input(&mut self, node: usize, input: &Input) {
        let (trace, nodes, now) = (&mut self.trace, &self.nodes, self.now);
        match input {
            Input::LinkUp(up) => {
                let line =
                    format_args!("link {} is up to {:?}: {:?}", up.link.0, up.peer, up.origin);
                trace.note(now, node, &(up.link.0, up.peer), line);
            }
            Input::LinkDown { link, end } => {
                trace.note(now, node, &link.0, format_args!("link {} is down: {end:?}", link.0));
            }
            Input::DialFailed { address } => {
                let line = format_args!("cannot reach {address}");
                trace.note(now, node, &address.as_str(), line);
            }
            Input::Received { link, plane, body } => {
                let word = Plane::from_wire(*plane).map_or("?", Plane::word);
                let (link, bytes) = (link.0, body.len());
                let line = format_args!("hears on {link} of {word}, {bytes} bytes");
                trace.note(now, node, &(link, plane, body), line);
            }
            Input::Refused { .. }
            | Input::Want(_)
            | Input::Persisted { .. }
            | Input::Measured { .. }
            | Input::LinkFailed { .. }
            | Input::LinkWorked { .. }
            | Input::WallClockRead(_)
            | Input::Command(_) => trace.note(now, node, &(), format_args!("{input:?}")),
            Input::Started => (),
            Input::DeadlineReached => {
                let deadline = nodes[node].life.as_ref().and_then(|life| life.machine.deadline());
                let why = deadline.map_or("nothing is due", |(_, why)| why);
                trace.note(now, node, &(), format_args!("wakes to {why}"));
            }
        }
    }
}
