//! Fabrics in which nothing goes wrong, and numbers about them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mesh;
use super::desk::Subscription;
use super::plan::MeshPlan;
use super::play::{DIALS_REST, HEALED_WITHIN, STEP, settled};
use super::topology::Topology;
use crate::check::Violation;
use crate::trace::Show;

/// What came of many messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Travels {
    pub messages: u64,
    /// Copies that arrived at nodes.
    pub visits: u64,
    /// Copies that came to subscribers who had one.
    pub duplicates: u64,
    /// The most clusters any copy was in.
    pub clusters_max: usize,
}

/// Messages on their way at once.
const BATCH: u64 = 500;

fn fabric(seed: u64, plan: MeshPlan, wants: impl Fn(usize) -> bool) -> Result<Mesh, Violation> {
    let mut mesh = Mesh::new(seed, plan, Show::Nothing);
    for (node, it) in mesh.nodes.iter_mut().enumerate() {
        it.wants = wants(node).then_some(Subscription::Word(0)).into_iter().collect();
    }
    settle(mesh)
}

fn settle(mut mesh: Mesh) -> Result<Mesh, Violation> {
    let start = mesh.now;
    loop {
        mesh.run_for(STEP);
        if let Some(violation) = mesh.violation.take() {
            return Err(violation);
        }
        match settled(&mesh) {
            // The last dials are made, and of two links with one node one is closed.
            Ok(()) => {
                mesh.run_for(DIALS_REST);
                return Ok(mesh);
            }
            Err(violation) if HEALED_WITHIN < mesh.now.since(start) => return Err(violation),
            Err(_) => (),
        }
    }
}

/// A chain of five clusters of one node: for each hop budget, whether a message from the first came
/// to the last, and how many nodes saw it.
pub fn budgets(seed: u64) -> Result<Vec<(u8, bool, usize)>, Violation> {
    let last = 4;
    let mut mesh = fabric(seed, MeshPlan::quiet(5, 5, Topology::Chain), |node| node == last)?;
    let mut found = Vec::new();
    for budget in 0..=6 {
        mesh.hop_budget = budget;
        let message = mesh.publish(0, 0).expect("the node runs");
        mesh.run_for(Duration::from_secs(1));
        let letter = &mesh.letters[&message];
        found.push((budget, letter.got.iter().any(|(node, _)| *node == last), letter.visits.len()));
    }
    Ok(found)
}

/// Messages of every node to every node, published in turn: each must come once, on a shortest way,
/// to no node twice.
pub fn travel(
    seed: u64,
    nodes: usize,
    clusters: usize,
    topology: Topology,
    messages: u64,
) -> Result<Travels, Violation> {
    let mut mesh = fabric(seed, MeshPlan::quiet(nodes, clusters, topology), |_| true)?;
    let mut travels = Travels::default();
    while travels.messages < messages {
        let count = BATCH.min(messages - travels.messages);
        let from = |nth: u64| ((travels.messages + nth) % nodes as u64) as usize;
        let published: Vec<_> = (0..count).filter_map(|nth| mesh.publish(from(nth), 0)).collect();
        mesh.run_for(Duration::from_millis(200));
        mesh.all_have_got(&published, true)?;
        if let Some(violation) = mesh.violation.take() {
            return Err(violation);
        }
        travels.messages += published.len() as u64;
        for letter in std::mem::take(&mut mesh.letters).into_values() {
            travels.visits += letter.visits.len() as u64;
            let farthest = letter.visits.iter().map(|(_, clusters)| *clusters).max();
            travels.clusters_max = travels.clusters_max.max(farthest.unwrap_or(1));
        }
    }
    travels.duplicates = mesh.doubled;
    Ok(travels)
}

/// Bytes a second that a node sends on each plane while nobody does anything.
pub fn idle(
    seed: u64,
    nodes: usize,
    clusters: usize,
    span: Duration,
) -> Result<BTreeMap<&'static str, f64>, Violation> {
    let mut mesh = fabric(seed, MeshPlan::quiet(nodes, clusters, Topology::Random), |_| true)?;
    mesh.run_for(Duration::from_secs(60));
    mesh.bytes.clear();
    mesh.run_for(span);
    settled(&mesh)?;
    let share = span.as_secs_f64() * nodes as f64;
    Ok(mesh.bytes.iter().map(|(plane, bytes)| (plane.word(), *bytes as f64 / share)).collect())
}

/// Nodes of one cluster that all have the first three as seeds, and how often each of the others dials in
/// the span after the first `leaving` leave at once. Shells are woken up to so much too late.
pub fn exodus(
    seed: u64,
    nodes: usize,
    leaving: usize,
    late: Duration,
    span: Duration,
) -> Result<Vec<u64>, Violation> {
    let mut plan = MeshPlan::quiet(nodes, 1, Topology::Full);
    plan.wake_late = late;
    let mut mesh = Mesh::new(seed, plan, Show::Nothing);
    for (node, it) in mesh.nodes.iter_mut().enumerate() {
        it.seeds = (0..3).filter(|&other| other != node).collect();
    }
    let mut mesh = settle(mesh)?;
    let dials = |mesh: &Mesh| -> Vec<u64> {
        mesh.nodes[leaving..].iter().map(|node| node.dials_made).collect()
    };
    let before = dials(&mesh);
    for node in 0..leaving {
        mesh.nodes[node].stays_away = true;
        mesh.leave(node);
    }
    mesh.run_for(span);
    if let Some(violation) = mesh.violation.take() {
        return Err(violation);
    }
    Ok(dials(&mesh).iter().zip(&before).map(|(now, before)| now - before).collect())
}
