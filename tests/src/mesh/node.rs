//! One node: what it is, its disk, its clock, and the machine of its present life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::control::{
    Control, Input, LinkId, LinkStateSettings, Record, RouteSettings, Settings, Ticket, View,
};
use mpreg_fabric::rng::Rng;
use mpreg_fabric::time::Instant;
use mpreg_fabric::way::LinkStateMode;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::member::PeerAddress;
use mpreg_proto::peer::Lane;

use super::desk::{Desk, Subscription};
use super::plan::{MeshPlan, Mishap};
use super::topology;
use super::{EndNo, Happening, Mesh};
use crate::history::Plan as _;

pub(super) struct Node {
    pub(super) id: NodeId,
    index: usize,
    /// How many it has had.
    names: u32,
    pub(super) cluster: ClusterName,
    pub(super) cluster_id: ClusterId,
    pub(super) address: PeerAddress,
    /// Nodes it is told of at its start.
    pub(super) seeds: BTreeSet<usize>,
    /// What its clients want. They come back when it does.
    pub(super) wants: BTreeSet<Subscription>,
    disk: Disk,
    pub(super) life: Option<Life>,
    /// Lives so far, over all names.
    pub(super) lives: u64,
    /// It does not start again.
    pub(super) stays_away: bool,
    /// Dials of all its lives.
    pub(super) dials_made: u64,
    /// Accepts no connections until then.
    pub(super) refuses_until: Instant,
    /// Its clock gains this many parts in a million.
    drift_ppm: i64,
}

/// What survives the end of a process.
#[derive(Default)]
struct Disk {
    incarnation: u64,
    route_sequence: Option<Version>,
    route_keys: Bytes,
    /// Handed to the disk, not yet safe.
    unwritten: VecDeque<(Ticket, Record)>,
}

/// A process that runs.
pub(super) struct Life {
    pub(super) number: u64,
    pub(super) incarnation: Incarnation,
    pub(super) machine: Control,
    born: Instant,
    /// The moment it last asked to be woken at, of true time.
    pub(super) wake_at: Option<Instant>,
    /// How often it was woken since then.
    pub(super) wakes: u32,
    pub(super) wakes_since: Instant,
    /// Links that came up and are not gone.
    pub(super) links: BTreeMap<LinkId, LinkState>,
    /// What is sent to a peer goes here.
    pub(super) used: BTreeMap<NodeId, LinkId>,
    /// What the machine last told its shards.
    pub(super) view: Arc<View>,
    pub(super) refusals: BTreeMap<u64, (NodeId, Lane)>,
    pub(super) desk: Desk,
}

/// What a process is told at its start, besides what its disk kept.
pub(super) struct Told<'a> {
    /// Of all nodes.
    addresses: &'a [PeerAddress],
    routes: RouteSettings,
    mode: LinkStateMode,
    seed: u64,
}

/// A link as its shell knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub(super) at: EndNo,
    pub(super) peer: NodeId,
    /// The life of the peer, as its hello said.
    pub(super) incarnation: Incarnation,
    pub(super) is_admitted: bool,
    /// Closed by the machine, which is yet to hear that it is down.
    pub(super) is_closed: bool,
}

pub(super) fn all(plan: &MeshPlan, root: &Rng) -> Vec<Node> {
    let mut rng = root.stream(3);
    let clusters_count = plan.clusters_count.min(plan.nodes_count);
    // Each cluster has a node; the others fall where they fall.
    let clusters: Vec<usize> =
        (0..plan.nodes_count)
            .map(|node| {
                if node < clusters_count { node } else { rng.below(clusters_count as u32) as usize }
            })
            .collect();
    let seeds = topology::seeds(&clusters, plan.topology, &mut rng);
    let node = |(index, seeds): (usize, BTreeSet<usize>)| {
        let cluster: ClusterName = format!("c{}", clusters[index]).parse().expect("a good name");
        Node {
            id: draw_id(index, 1, &mut rng),
            index,
            names: 1,
            cluster_id: cluster.id(),
            cluster,
            address: address(index),
            seeds,
            wants: wants(plan, &mut rng),
            disk: Disk::default(),
            life: None,
            lives: 0,
            stays_away: false,
            dials_made: 0,
            refuses_until: Instant::START,
            drift_ppm: i64::from(rng.below(2 * plan.drift_ppm + 1)) - i64::from(plan.drift_ppm),
        }
    };
    seeds.into_iter().enumerate().map(node).collect()
}

fn wants(plan: &MeshPlan, rng: &mut Rng) -> BTreeSet<Subscription> {
    (0..rng.below(3)).map(|_| Subscription::draw(plan.words_count, rng)).collect()
}

/// Short, and says which node of the seed it is and under which of its names: `NodeId(731_002_004)` is
/// the second name of node 4. What order names have is chance.
fn draw_id(index: usize, names: u32, rng: &mut Rng) -> NodeId {
    NodeId(u128::from(1 + rng.below(999)) * 1_000_000 + u128::from(names) * 1000 + index as u128)
}

fn address(index: usize) -> PeerAddress {
    format!("node-{index}:1").parse().expect("a good address")
}

impl Node {
    /// Time as its machine sees it.
    pub(super) fn local(&self, now: Instant) -> Instant {
        let born = self.life.as_ref().map_or(now, |life| life.born);
        let span = now.since(born).as_nanos() as i128;
        Instant::from_nanos((span + span * i128::from(self.drift_ppm) / 1_000_000) as u64)
    }

    /// True time of a moment of its machine, the first that is not before it.
    pub(super) fn global(&self, local: Instant) -> Instant {
        let born = self.life.as_ref().map_or(Instant::START, |life| life.born);
        let rate = 1_000_000 + i128::from(self.drift_ppm);
        let span = (i128::from(local.as_nanos()) * 1_000_000 + rate - 1) / rate;
        // A nanosecond more, as the way back rounds down.
        born + Duration::from_nanos(u64::try_from(span + 1).unwrap_or(u64::MAX))
    }

    /// A process starts on this disk.
    pub(super) fn start(&mut self, now: Instant, told: Told<'_>) {
        let Told { addresses, routes, mode, seed } = told;
        self.disk.incarnation += 1;
        self.lives += 1;
        let here = Here { node: self.id, cluster: self.cluster_id };
        let incarnation = Incarnation(self.disk.incarnation);
        let (cluster, address) = (self.cluster.clone(), self.address.clone());
        let mut settings = Settings::new(self.id, cluster, incarnation, address, seed);
        settings.seeds = self.seeds.iter().map(|&seed| addresses[seed].clone()).collect();
        settings.route = RouteSettings {
            stored: self.disk.route_sequence,
            keys: self.disk.route_keys.clone(),
            ..routes
        };
        settings.link_state = LinkStateSettings { mode, ..LinkStateSettings::default() };
        self.life = Some(Life {
            number: self.lives,
            incarnation,
            machine: Control::new(settings),
            born: now,
            wake_at: None,
            wakes: 0,
            wakes_since: now,
            links: BTreeMap::new(),
            used: BTreeMap::new(),
            view: Arc::new(View::alone(here)),
            refusals: BTreeMap::new(),
            desk: Desk::new(),
        });
    }

    /// The process ends; of what the disk was handed a first part is safe, at a loss of power.
    pub(super) fn end(&mut self, has_power: bool, rng: &mut Rng) {
        self.life = None;
        let count = self.disk.unwritten.len();
        let kept = if has_power { count } else { rng.below(count as u32 + 1) as usize };
        for _ in 0..kept {
            self.disk.write();
        }
        self.disk.unwritten.clear();
    }

    /// The disk is gone, and the name with it.
    pub(super) fn lose_disk(&mut self, rng: &mut Rng) {
        self.disk = Disk::default();
        self.names += 1;
        self.id = draw_id(self.index, self.names, rng);
    }

    pub(super) fn persist(&mut self, ticket: Ticket, record: Record) {
        self.disk.unwritten.push_back((ticket, record));
    }

    /// Numbers of routes that its disk says may be used.
    pub(super) fn route_sequence(&self) -> Option<Version> {
        self.disk.route_sequence
    }

    /// The oldest write is on disk.
    pub(super) fn written(&mut self) -> Option<Ticket> {
        self.disk.write()
    }
}

impl Disk {
    fn write(&mut self) -> Option<Ticket> {
        let (ticket, record) = self.unwritten.pop_front()?;
        match record {
            Record::Incarnation(Incarnation(life)) => {
                self.incarnation = self.incarnation.max(life);
            }
            Record::RouteSequence(upto) => self.route_sequence = Some(upto),
            Record::RouteKeys(keys) => self.route_keys = keys,
            // Nodes of the simulator are told of all others.
            Record::CatalogHints(_) => (),
        }
        Some(ticket)
    }
}

impl Mesh {
    pub(super) fn start(&mut self, node: usize) {
        let is_away = self.nodes[node].stays_away;
        let is_parted = self.parted.is_some_and(|parted| parted.node == node);
        if self.nodes[node].life.is_some() || is_away || is_parted {
            return;
        }
        let addresses: Vec<PeerAddress> =
            self.nodes.iter().map(|node| node.address.clone()).collect();
        let seed = self.rng.draw();
        let (now, mode) = (self.now, self.plan.mode);
        let routes = self.route_settings(self.cluster_of(node));
        let it = &mut self.nodes[node];
        it.start(now, Told { addresses: &addresses, routes, mode, seed });
        let (id, lives) = (it.id, it.lives);
        self.trace.note(now, node, &(id, lives), format_args!("starts as {id:?}, life {lives}"));
        self.feed_life(node, lives, Input::Started);
        self.provide_key(node, lives);
        if self.plan.has(Mishap::Distances) {
            let delay = self.delay(Duration::from_secs(1));
            self.after(delay, Happening::Measure { node, life: lives });
        }
        for want in self.nodes[node].wants.clone() {
            self.feed_life(node, lives, Input::Want(want.want(1)));
        }
    }
}
