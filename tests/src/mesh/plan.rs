//! What a seed decides of a fabric before anything happens: how many nodes in which clusters, who
//! knows whom at the start, how slow, and what goes wrong at all.
//!
//! As with one node, each seed leaves a random part of what can go wrong out.

use std::time::Duration;

use mpreg_fabric::limits::FULL_MESH_NODES_MAX;
use mpreg_fabric::rng::Rng;
use mpreg_fabric::way::LinkStateMode;

use crate::faults::{micros, pick};
use crate::history::{Broken, Plan};
use crate::trace::Show;

use super::play::{self, MeshReport};
use super::topology::Topology;

/// Something that may be left out of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// A connection breaks and loses the last of what was on it.
    Breaks,
    /// One direction between two nodes stands still for a moment.
    Stalls,
    /// Two sets of nodes hear nothing of each other.
    Partitions,
    /// One set of nodes hears nothing of another, which hears it.
    OneWayPartitions,
    /// A process ends; its kernel says so to its peers.
    Kills,
    /// A machine loses power; nobody says so, and writes not yet on disk may be lost.
    PowerLoss,
    /// A node that comes back has lost its disk, and with it its name.
    DiskLoss,
    /// A node leaves in good order.
    Leaves,
    /// A node accepts no connections for a while.
    Refusals,
    /// Some links carry little.
    SlowLinks,
    /// Frames that take much longer than others.
    Clogs,
    /// The shell wakes a machine long after its deadline.
    LateWakes,
    /// The shell wakes a machine before its deadline, or for nothing.
    SpareWakes,
    /// Clocks that run fast or slow.
    Drift,
    /// Writes that take long.
    SlowDisks,
    /// Clients subscribe, and are gone.
    Subscribers,
    /// Routes are signed, as they must be where clusters do not trust each other.
    Signatures,
    /// Clusters exchange the keys they sign with.
    Rotations,
    /// Clusters stop telling others of each other, and begin again.
    Policies,
    /// Some nodes of different clusters are far apart, and links are measured.
    Distances,
    /// Links take no messages for a while, and shards say so.
    Faults,
    /// A node sends a message where it has been.
    Echoes,
    /// A node says again what it said a while ago.
    Replays,
}

impl Mishap {
    pub const ALL: [Self; 23] = [
        Self::Breaks,
        Self::Stalls,
        Self::Partitions,
        Self::OneWayPartitions,
        Self::Kills,
        Self::PowerLoss,
        Self::DiskLoss,
        Self::Leaves,
        Self::Refusals,
        Self::SlowLinks,
        Self::Clogs,
        Self::LateWakes,
        Self::SpareWakes,
        Self::Drift,
        Self::SlowDisks,
        Self::Subscribers,
        Self::Signatures,
        Self::Rotations,
        Self::Policies,
        Self::Distances,
        Self::Faults,
        Self::Echoes,
        Self::Replays,
    ];

    /// These are what a fabric is like, and stay when nothing goes wrong any more.
    const LASTING: [Self; 4] = [Self::Signatures, Self::Distances, Self::Faults, Self::Replays];
}

/// What the seed decided.
#[derive(Clone, Debug)]
pub struct MeshPlan {
    pub nodes_count: usize,
    pub clusters_count: usize,
    /// Things that go wrong or are asked for, before the quiet.
    pub acts_count: usize,
    /// If not zero: how long things go wrong, however many that are.
    pub minutes: usize,
    pub topology: Topology,
    /// Different words patterns are made of; few, so that nodes meet.
    pub words_count: usize,
    pub act_gap: Duration,
    /// One way between two nodes.
    pub delay: Duration,
    /// Bytes a lane of a link holds.
    pub lane_bytes_max: usize,
    pub wake_late: Duration,
    pub disk_delay: Duration,
    /// Parts in a million by which a clock may be wrong, either way.
    pub drift_ppm: u32,
    /// What ways computed from link-state count for.
    pub mode: LinkStateMode,
    on: u32,
}

impl Plan for MeshPlan {
    type Behaviour = Mishap;
    type Report = MeshReport;
    const BEHAVIOURS: &'static [Mishap] = &Mishap::ALL;
    const SIZES: &'static [&'static str] = &["acts", "nodes", "clusters", "minutes"];
    const IS_EXACT: bool = true;
    const ARGUMENTS: &'static str = " --mesh";

    fn of(seed: u64) -> Self {
        Self::draw(&mut Rng::from_seed(seed).stream(1))
    }

    fn size(&mut self, place: usize) -> &mut usize {
        let sizes = [&mut self.acts_count, &mut self.nodes_count, &mut self.clusters_count];
        let mut sizes = sizes.into_iter().chain([&mut self.minutes]);
        sizes.nth(place).expect("there are four sizes")
    }

    fn has(&self, mishap: Mishap) -> bool {
        self.on >> mishap as u32 & 1 != 0
    }

    fn leave_out(&mut self, mishap: Mishap) {
        self.on &= !(1 << mishap as u32);
        match mishap {
            Mishap::LateWakes => self.wake_late = PROMPT_WAKE,
            Mishap::SlowDisks => self.disk_delay = PROMPT_DISK,
            Mishap::Drift => self.drift_ppm = 0,
            Mishap::Breaks
            | Mishap::Stalls
            | Mishap::Partitions
            | Mishap::OneWayPartitions
            | Mishap::Kills
            | Mishap::PowerLoss
            | Mishap::DiskLoss
            | Mishap::Leaves
            | Mishap::Refusals
            | Mishap::SlowLinks
            | Mishap::Clogs
            | Mishap::SpareWakes
            | Mishap::Subscribers
            | Mishap::Signatures
            | Mishap::Rotations
            | Mishap::Policies
            | Mishap::Distances
            | Mishap::Faults
            | Mishap::Echoes
            | Mishap::Replays => (),
        }
    }

    fn play(self, seed: u64, show: Show) -> Result<MeshReport, Broken> {
        play::play(seed, self, show)
    }
}

impl MeshPlan {
    fn draw(rng: &mut Rng) -> Self {
        let on =
            (0..Mishap::ALL.len()).filter(|_| rng.below(3) != 0).fold(0, |on, ix| on | 1 << ix);
        let is_on = |mishap: Mishap| on >> mishap as u32 & 1 != 0;
        let acts_max = *pick(rng, &[10, 40, 100]);
        let nodes_max = *pick(rng, &[4, 8, 16]);
        // Few are of a size at which not all nodes of a cluster are linked: they take long.
        let is_large = rng.below(400) == 0;
        let nodes_count = 2 + rng.below(nodes_max) as usize + if is_large { 22 } else { 0 };
        let clusters_max = if is_large { 2 } else { 5.min(nodes_count as u32) };
        let disabled = LinkStateMode::Disabled;
        Self {
            nodes_count,
            clusters_count: 1 + rng.below(clusters_max) as usize,
            mode: *pick(rng, &[disabled, disabled, LinkStateMode::Prefer, LinkStateMode::Only]),
            minutes: 0,
            acts_count: 5 + rng.below(acts_max) as usize,
            topology: *pick(rng, &Topology::ALL),
            words_count: 1 + rng.below(4) as usize,
            act_gap: *pick(rng, &[micros(50_000), micros(500_000), micros(3_000_000)]),
            delay: micros(*pick(rng, &[100, 2_000, 20_000, 100_000])),
            // Where all publish at once, what many say has to fit.
            lane_bytes_max: *pick(rng, &[1 << 14, 1 << 17, 1 << 22])
                << if is_large { 3 } else { 0 },
            wake_late: if is_on(Mishap::LateWakes) { micros(300_000) } else { PROMPT_WAKE },
            disk_delay: if is_on(Mishap::SlowDisks) { micros(200_000) } else { PROMPT_DISK },
            drift_ppm: if is_on(Mishap::Drift) { 10_000 } else { 0 },
            on,
        }
    }

    /// Not all nodes of a cluster may be linked.
    pub(super) fn is_large(&self) -> bool {
        FULL_MESH_NODES_MAX < self.nodes_count
    }

    /// Nothing goes wrong, ever.
    pub fn quiet(nodes_count: usize, clusters_count: usize, topology: Topology) -> Self {
        Self {
            nodes_count,
            clusters_count,
            minutes: 0,
            acts_count: 0,
            topology,
            words_count: 1,
            act_gap: micros(500_000),
            delay: micros(1_000),
            lane_bytes_max: 1 << 24,
            wake_late: PROMPT_WAKE,
            disk_delay: PROMPT_DISK,
            drift_ppm: 0,
            mode: LinkStateMode::Disabled,
            on: 0,
        }
    }

    /// Nothing goes wrong any more. Clocks stay as wrong as they were.
    pub fn calm(&mut self) {
        self.on &= Mishap::LASTING.iter().fold(0, |on, &mishap| on | 1 << mishap as u32);
        self.wake_late = PROMPT_WAKE;
        self.disk_delay = PROMPT_DISK;
        self.delay = self.delay.min(micros(20_000));
    }
}

const PROMPT_WAKE: Duration = micros(200);
const PROMPT_DISK: Duration = micros(2_000);
