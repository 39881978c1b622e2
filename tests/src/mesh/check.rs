//! What must hold of a fabric, one function each. They judge and change nothing.
//!
//! Those of the first part hold at any time, those of the second once nothing has gone wrong for long
//! enough.

use std::collections::BTreeSet;

use mpreg_fabric::control::{Effect, LinkId};
use mpreg_fabric::limits::FULL_MESH_NODES_MAX;
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::PEER_CONTROL_FRAME_BYTES_MAX;

use super::Mesh;
use super::node::LinkState;
use crate::check::Violation;

type Verdict = Result<(), Violation>;

fn hold(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::new(rule, text())) }
}

/// A link that comes up is admitted or closed at once, once.
pub(super) fn is_answered(node: usize, link: LinkId, effects: &[Effect]) -> Verdict {
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
pub(super) fn is_usable(node: usize, peer: NodeId, link: Option<&LinkState>) -> Verdict {
    hold(link.is_some_and(|link| link.is_admitted && link.peer == peer), "usable", || {
        format!("node {node} uses {link:?} for {peer:?}")
    })
}

/// Frames between control cores are short.
pub(super) fn is_within_bound(node: usize, bytes: usize) -> Verdict {
    hold(bytes <= PEER_CONTROL_FRAME_BYTES_MAX, "frames", || {
        format!("node {node} sends a frame of {bytes} bytes")
    })
}

/// Dials at once are few, so that a cluster that is down is not stormed.
pub(super) fn dials_are_few(node: usize, open: usize) -> Verdict {
    hold(open <= 4, "dials", || format!("node {node} has {open} dials open"))
}

/// Both ends use the same link, and nobody uses one to the dead.
pub(super) fn links_agree(mesh: &Mesh) -> Verdict {
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
pub(super) fn nobody_dials(before: u64, now: u64) -> Verdict {
    hold(before == now, "restless", || format!("{} dials with nothing wrong", now - before))
}

/// A small cluster is a full mesh, and everybody is linked with its seeds.
pub(super) fn the_wanted_are_linked(mesh: &Mesh) -> Verdict {
    for node in mesh.live() {
        let here = &mesh.nodes[node];
        let Some(life) = &here.life else { continue };
        for other in mesh.live().into_iter().filter(|&other| other != node) {
            let there = &mesh.nodes[other];
            let is_mate = there.cluster == here.cluster;
            let mates = mesh.nodes.iter().filter(|it| it.cluster == here.cluster).count();
            let is_wanted = is_mate && mates <= FULL_MESH_NODES_MAX || here.seeds.contains(&other);
            hold(!is_wanted || life.view.peers.contains_key(&there.id), "wanted", || {
                format!("node {node} has no link to node {other}")
            })?;
        }
    }
    Ok(())
}

/// Each node knows the live nodes of its cluster, in their present life, and no others.
pub(super) fn members_are_the_living(mesh: &Mesh) -> Verdict {
    for node in mesh.live() {
        let here = &mesh.nodes[node];
        let others = mesh.live().into_iter().map(|other| &mesh.nodes[other]);
        let others = others.filter(|other| other.cluster == here.cluster && other.id != here.id);
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
pub(super) fn nodes_hang_together(mesh: &Mesh) -> Verdict {
    let live = mesh.live();
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
