//! One node goes while all others are well, and comes back.
//!
//! ```text
//!   all agree --leaves, is killed, loses power--> known --> all agree without it --> it is back
//! ```
//!
//! While things go wrong almost anything may be forgotten for a while. Here nothing else does, so what
//! is known of a node that is gone, how soon, and by whom, can be told exactly.

use std::time::Duration;

use mpreg_fabric::control::Fact;
use mpreg_fabric::dial;
use mpreg_fabric::member::Why;
use mpreg_fabric::route;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::NodeId;
use mpreg_proto::member::PeerAddress;

use super::play::{HEALED_WITHIN, Rule, SETTLED, STEP, deliver, settled};
use super::{Mesh, check};
use crate::check::Violation;

/// How a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Leaves,
    IsKilled,
    LosesPower,
}

/// Who is gone, how, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parted {
    pub(super) node: usize,
    way: Way,
    at: Instant,
}

/// A crash is known to all of the cluster in less than a second and a half; the rest is what packets
/// take.
const CRASH_KNOWN_WITHIN: Duration = Duration::from_millis(1_700);

/// A goodbye goes at once.
const GOODBYE_KNOWN_WITHIN: Duration = Duration::from_millis(500);

/// Until a link is taken for dead, a crash known, and told to all.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(8);

/// Until whoever was there before is known to all of its cluster.
const BACK_WITHIN: Duration = Duration::from_secs(4);

/// What holds soon, whoever is gone. Ways may be damped for longer.
const SOON: [Rule; 3] =
    [check::links_agree, check::members_are_the_living, check::the_wanted_are_linked];

/// One history in so many ends so: it takes a fifth of its time.
const PARTS_ONE_IN: u32 = 3;

pub(super) fn part(mesh: &mut Mesh) {
    if mesh.violation.is_some() || !mesh.one_in(PARTS_ONE_IN) {
        return;
    }
    let Some(node) = dispensable(mesh) else { return };
    let way = [Way::Leaves, Way::IsKilled, Way::LosesPower][mesh.rng.below(3) as usize];
    let at = mesh.now;
    mesh.is_still = false;
    mesh.parted = Some(Parted { node, way, at });
    mesh.trace.note(at, node, &(), format_args!("-- while all others are well: {way:?}"));
    match way {
        Way::Leaves => mesh.leave(node),
        Way::IsKilled => mesh.end(node, true),
        Way::LosesPower => mesh.end(node, false),
    }
    let known_within = match way {
        Way::Leaves => GOODBYE_KNOWN_WITHIN,
        Way::IsKilled | Way::LosesPower => CRASH_KNOWN_WITHIN,
    };
    mesh.run_for(known_within);
    let verdict = check::members_are_the_living(mesh);
    mesh.note(verdict);
    mesh.run_for(FORGOTTEN_WITHIN - known_within);
    let has_mates = mesh.live().iter().any(|&mate| mesh.cluster_of(mate) == mesh.cluster_of(node));
    // Of the last of a cluster nobody can say that it is dead: its lease ends.
    let is_told = has_mates || way == Way::Leaves;
    let rules = SOON.iter().copied().chain(is_told.then_some(Mesh::catalogs_agree as Rule));
    let verdict = rules.collect::<Vec<_>>().into_iter().try_for_each(|rule| rule(mesh));
    mesh.note(verdict);
    agree(mesh);
    deliver(mesh);
    come_back(mesh, node);
}

/// Waits until all that are there agree.
fn agree(mesh: &mut Mesh) {
    let start = mesh.now;
    while mesh.violation.is_none() && settled(mesh).is_err() {
        mesh.run_for(STEP);
        if HEALED_WITHIN < mesh.now.since(start) {
            let verdict = SETTLED.iter().try_for_each(|rule| rule(mesh));
            mesh.note(verdict);
        }
    }
}

fn come_back(mesh: &mut Mesh, node: usize) {
    if mesh.violation.is_some() {
        return;
    }
    mesh.parted = None;
    mesh.start(node);
    mesh.run_for(BACK_WITHIN);
    let verdict = check::members_are_the_living(mesh);
    mesh.note(verdict);
    agree(mesh);
}

/// A node without which all others still hang together.
fn dispensable(mesh: &mut Mesh) -> Option<usize> {
    let live: Vec<usize> = mesh.live().into_iter().collect();
    let can_go: Vec<usize> = live
        .iter()
        .copied()
        .filter(|&node| check::hang_together(mesh, Some(node)).is_ok())
        .collect();
    if can_go.is_empty() || live.len() < 2 {
        return None;
    }
    Some(can_go[mesh.rng.below(can_go.len() as u32) as usize])
}

impl Mesh {
    /// Whoever said goodbye is not dialled by those it said it to, until it may be back.
    pub(super) fn is_not_in_grace(
        &self,
        node: usize,
        address: &PeerAddress,
        expects: Option<NodeId>,
    ) -> Result<(), Violation> {
        let Some(Parted { node: gone, way: Way::Leaves, at }) = self.parted else { return Ok(()) };
        // Who was there under another name is not it.
        let is_it = self.nodes[gone].address == *address
            && expects.is_none_or(|id| id == self.nodes[gone].id);
        let is_mate = self.cluster_of(gone) == self.cluster_of(node);
        let since = self.now.since(at);
        // Clocks may be wrong by a hundredth.
        let grace = dial::Timing::DEFAULT.grace * 98 / 100;
        if is_it && is_mate && GOODBYE_KNOWN_WITHIN < since && since < grace {
            let text = format!("node {node} dials node {gone}, which left {since:?} ago");
            return Err(Violation::new("grace", text));
        }
        Ok(())
    }

    /// Nothing of what there is goes or changes while nothing happens. Whoever left has not failed.
    pub(super) fn is_no_change(&self, node: usize, fact: &Fact) -> Result<(), Violation> {
        // Who is told late that one long dead had said goodbye knows of no other change.
        let is_dead = |id: NodeId| self.live().iter().all(|&live| self.nodes[live].id != id);
        let is_change = match fact {
            Fact::MemberDown { node, why: Why::Left(_), .. } if is_dead(*node) => false,
            Fact::MemberDown { why: Why::Failed, .. } => {
                self.is_still || self.parted.is_some_and(|parted| parted.way == Way::Leaves)
            }
            Fact::MemberDown { .. }
            | Fact::MemberUp(_)
            | Fact::PeerDown { .. }
            | Fact::Entry(_)
            | Fact::Route(route::Fact::Best { via: None, .. }) => self.is_still,
            Fact::PeerUp { .. }
            | Fact::PlaneUnknown { .. }
            | Fact::Unlinked { .. }
            | Fact::Unreadable { .. }
            | Fact::ClusterRefused { .. }
            | Fact::NotOffered { .. }
            | Fact::WantUnreadable { .. }
            | Fact::Circuit { .. }
            | Fact::Member(_)
            | Fact::Gossip(_)
            | Fact::Route(_)
            | Fact::LinksChanged { .. }
            | Fact::LinkState { .. } => false,
        };
        if is_change {
            let text = format!("at node {node}, with nothing wrong: {fact:?}");
            return Err(Violation::new("still", text));
        }
        Ok(())
    }
}
