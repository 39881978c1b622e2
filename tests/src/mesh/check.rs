//! What must hold of a fabric, one function each. They judge and change nothing.
//!
//! Those of the first part hold at any time, those of the second once nothing has gone wrong for long
//! enough.

use std::collections::BTreeSet;

use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::control::{Candidate, CloseReason, Control, Effect, LinkId, View};
use mpreg_fabric::hop::Decision;
use mpreg_fabric::limits::{EXITS_MAX, FULL_MESH_NODES_MAX};
use mpreg_fabric::plan::{Source, Verdict};
use mpreg_fabric::route::Filtered;
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::LinkStateMode;
use mpreg_proto::hop::MessageId;
use mpreg_proto::id::{ClusterId, NodeId, Version};
use mpreg_proto::limits::PEER_CONTROL_FRAME_BYTES_MAX;
use mpreg_proto::route::{Entry, Hop, Item, Message, Origin, Withdrawal};

use super::Mesh;
use super::node::{LinkState, Node};
use crate::check::Violation;

type Checked = Result<(), Violation>;

fn hold(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(rule, text())) }
}

/// A link that comes up is admitted or closed at once, once.
pub(super) fn is_answered(node: usize, link: LinkId, effects: &[Effect]) -> Checked {
    let is_answer = |effect: &&Effect| match effect {
        Effect::Admit { link: to } | Effect::Close { link: to, .. } => *to == link,
        Effect::Send { .. }
        | Effect::Use { .. }
        | Effect::Dial { .. }
        | Effect::Persist { .. }
        | Effect::View { .. }
        | Effect::Left
        | Effect::Fact(_) => false,
    };
    let answers = effects.iter().filter(is_answer).count();
    hold(answers == 1, "answered", || format!("node {node} answers {link:?} {answers} times"))
}

/// What is used is an admitted link of that peer.
pub(super) fn is_usable(node: usize, peer: NodeId, link: Option<&LinkState>) -> Checked {
    hold(link.is_some_and(|link| link.is_admitted && link.peer == peer), "usable", || {
        format!("node {node} uses {link:?} for {peer:?}")
    })
}

/// Frames between control cores are short.
pub(super) fn is_within_bound(node: usize, bytes: usize) -> Checked {
    hold(bytes <= PEER_CONTROL_FRAME_BYTES_MAX, "frames", || {
        format!("node {node} sends a frame of {bytes} bytes")
    })
}

/// Dials at once are few, so that a cluster that is down is not stormed.
pub(super) fn dials_are_few(node: usize, open: usize) -> Checked {
    hold(open <= 4, "dials", || format!("node {node} has {open} dials open"))
}

/// What the machine thinks is under way, its shell knows of.
pub(super) fn dials_come_to_an_end(
    node: usize,
    thought: usize,
    open: usize,
    known: impl Fn() -> usize,
) -> Checked {
    hold(thought <= open || thought <= known(), "dial ends", || {
        format!("node {node} thinks that {thought} dials are under way, and {} are", known())
    })
}

/// A machine that was woken has done what was due: it does not ask for it again and again.
pub(super) fn sleeps(node: usize, wakes: u32) -> Checked {
    hold(wakes < 2_000, "sleeps", || format!("node {node} is woken {wakes} times in a second"))
}

/// Of two links the one with the later life of the peer stays.
pub(super) fn is_no_later(
    node: usize,
    why: CloseReason,
    closed: LinkState,
    used: Option<LinkState>,
) -> Checked {
    let is_later = used.is_some_and(|used| used.incarnation < closed.incarnation);
    hold(why != CloseReason::Duplicate || !is_later, "earlier", || {
        format!("node {node} closes {closed:?} and keeps to {used:?}")
    })
}

/// What a node signs, or says to its cluster, bears a number that its disk has as used.
pub(super) fn numbers_are_written(node: &Node, body: &[u8]) -> Checked {
    let entries = Message::parse(body).map_or_else(|_| Vec::new(), |message| message.entries);
    let written = node.route_sequence().map_or(0, |upto| upto.sequence);
    for entry in &entries {
        let number = number_of(node.id, entry);
        hold(number.is_none_or(|number| number.sequence < written), "numbers", || {
            format!("{:?} says {number:?}, and numbers to {written} are written", node.id)
        })?;
    }
    Ok(())
}

/// The number of what a node says in its own name.
fn number_of(own: NodeId, entry: &Entry) -> Option<Version> {
    match Item::read(entry).ok()?? {
        Item::Announce(announcement) => {
            let last = announcement.chain.last()?;
            match announcement.chain.len() {
                1 => Some(Origin::parse(&last.body).ok()?.version),
                _ => Some(Hop::parse(&last.body).ok()?.version),
            }
        }
        Item::Withdraw(signed) => Some(Withdrawal::parse(&signed.body).ok()?.version),
        Item::Inside(inside) => (inside.gateway == own).then_some(inside.version),
        Item::Authorise(_) | Item::Revoke(_) | Item::Sum(_) | Item::Held(_) => None,
    }
}

/// Where any way is known, one is used, however it was lost before; and few are kept.
pub(super) fn ways_are_used(
    node: usize,
    machine: &Control,
    clusters: &BTreeSet<ClusterId>,
    mode: LinkStateMode,
    now: Instant,
) -> Checked {
    let counts = |way: &&Candidate| {
        let is_left_out = mode == LinkStateMode::Only && way.source == Source::Routes;
        !is_left_out && way.verdict != Verdict::SourceNotCounted
    };
    let is_live = |way: &Candidate| {
        let route = Some(way).filter(counts).and_then(|way| way.route.as_ref());
        route.is_some_and(|route| route.filtered != Some(Filtered::Expired))
    };
    let is_used = |to: &ClusterId| machine.destinations().any(|known| known == *to);
    for &to in clusters.iter().filter(|to| !is_used(to)) {
        let why = machine.explain(to, &[], now);
        hold(!why.candidates.iter().any(is_live), "ways", || {
            format!("node {node} has no way to {to} and knows {why:?}")
        })?;
    }
    for ways in &machine.view().clusters {
        hold(ways.exits.len() <= EXITS_MAX, "few ways", || format!("node {node} keeps {ways:?}"))?;
    }
    Ok(())
}

/// An open circuit carries nothing.
pub(super) fn circuit_is_not_open(node: usize, to: NodeId, view: &View) -> Checked {
    let link = view.links.iter().find(|link| link.peer == to);
    hold(link.is_some_and(|link| link.circuit != Circuit::Open), "open", || {
        format!("node {node} sends a message over {link:?}")
    })
}

/// A message that was here before, or in this cluster before the last one, is for nobody.
pub(super) fn goes_no_further(node: usize, message: MessageId, decision: &Decision) -> Checked {
    let is_over =
        decision.shares().is_empty() && !decision.is_here && decision.groups_here.is_empty();
    hold(is_over, "echoes", || {
        format!("{message} comes back to node {node}, and goes on: {decision:?}")
    })
}

/// Both ends use the same link, and nobody uses one to the dead.
pub(super) fn links_agree(mesh: &Mesh) -> Checked {
    for node in mesh.live() {
        let Some(life) = &mesh.nodes[node].life else { continue };
        for (peer, known) in &life.view.peers {
            let there = mesh.nodes.iter().find(|it| it.id == *peer && it.life.is_some());
            let there = there.and_then(|it| it.life.as_ref());
            let back = there.and_then(|there| there.view.peers.get(&mesh.nodes[node].id));
            hold(back.is_some_and(|back| back.link.0 / 2 == known.link.0 / 2), "links", || {
                format!("node {node} has {known:?} to {peer:?}, which has {back:?}")
            })?;
        }
    }
    Ok(())
}

/// Whoever is linked with all it wants dials nobody. Nodes that are gone may be looked for.
pub(super) fn nobody_dials(before: u64, now: u64) -> Checked {
    hold(before == now, "restless", || format!("{} dials with nothing wrong", now - before))
}

/// A small cluster is a full mesh, and everybody is linked with its seeds.
pub(super) fn the_wanted_are_linked(mesh: &Mesh) -> Checked {
    for node in mesh.live() {
        let here = &mesh.nodes[node];
        let Some(life) = &here.life else { continue };
        for other in mesh.live().into_iter().filter(|&other| other != node) {
            let there = &mesh.nodes[other];
            let is_mate = there.cluster_id == here.cluster_id;
            let mates = mesh.nodes.iter().filter(|it| it.cluster_id == here.cluster_id).count();
            let is_wanted = match is_mate {
                true => mates <= FULL_MESH_NODES_MAX,
                false => here.seeds.contains(&other),
            };
            hold(!is_wanted || life.view.peers.contains_key(&there.id), "wanted", || {
                format!("node {node} has no link to node {other}")
            })?;
        }
    }
    Ok(())
}

/// Each node knows the live nodes of its cluster, in their present life, and no others.
pub(super) fn members_are_the_living(mesh: &Mesh) -> Checked {
    for node in mesh.live() {
        let here = &mesh.nodes[node];
        let others = mesh.live().into_iter().map(|other| &mesh.nodes[other]);
        let others =
            others.filter(|other| other.cluster_id == here.cluster_id && other.id != here.id);
        let living: BTreeSet<NodeId> = others.map(|other| other.id).collect();
        let Some(life) = &here.life else { continue };
        let known: BTreeSet<NodeId> = life.machine.members().map(|member| member.node).collect();
        hold(known == living, "members", || {
            format!("node {node} knows {known:?}, there are {living:?}")
        })?;
    }
    Ok(())
}

/// Live nodes of a cluster, and clusters told of each other, hang together by links.
pub(super) fn nodes_hang_together(mesh: &Mesh) -> Checked {
    hang_together(mesh, None)
}

/// Whether they do without one of them.
pub(super) fn hang_together(mesh: &Mesh, without: Option<usize>) -> Checked {
    let live: BTreeSet<usize> =
        mesh.live().into_iter().filter(|&node| Some(node) != without).collect();
    let Some(&first) = live.first() else { return Ok(()) };
    let mut reached = vec![first];
    let mut at = 0;
    while let Some(&node) = reached.get(at) {
        at += 1;
        let Some(life) = &mesh.nodes[node].life else { continue };
        for &next in &live {
            let is_peer = life.view.peers.contains_key(&mesh.nodes[next].id);
            if is_peer && !reached.contains(&next) {
                reached.push(next);
            }
        }
    }
    hold(reached.len() == live.len(), "together", || {
        format!("from node {first} only {reached:?} of {live:?} are reached")
    })
}
