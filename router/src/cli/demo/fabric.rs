//! `mpreg demo --clusters C`: a fabric of real processes on loopback, traffic between all of them,
//! and, if asked, nodes that are killed and started again while it flows.
//!
//! ```text
//!   authority, certificates --> processes --> clients --> everybody hears everybody
//!        --> (kill, wait, start again, wait)* --> what was promised and what came
//! ```
//!
//! Clusters form a ring. Each has two gateways, if it has two nodes, each linked with its like in both
//! neighbouring clusters, so that every node may die without cutting the others off.

use core::time::Duration;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mpreg_client::{ConnectError, SubscribeError};
use mpreg_proto::cluster::{ClusterNameError, NodeRole};
use tempfile::TempDir;
use tokio::time::sleep;

use super::account::{Played, Unrest};
use super::ledger::Mishap;
use super::traffic::Stage;
use crate::ca::{self, CaError, Wish};
use crate::cli::child::{ChildError, ChildRouter};
use crate::clock::since_1970;
use crate::limits::DEMO_NODES_MAX;

/// A cold start of many processes on a busy machine; it takes a second or two.
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// What was said last has arrived by then.
const ARRIVAL: Duration = Duration::from_secs(1);

/// From a kill to the start of the node's next life, from there to the next kill.
pub(super) const DEAD_FOR: Duration = Duration::from_secs(4);
pub(super) const CYCLE: Duration = Duration::from_secs(10);

/// A crash is noticed within 1.5 s, and ways around are found within 0.5 s.
const GRACE_AFTER_KILL: Duration = Duration::from_millis(2000);

/// A node that starts again is usable within 4 s.
const GRACE_AFTER_START: Duration = Duration::from_millis(4000);

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    #[error("--clusters {clusters} with --nodes {nodes} is {} nodes, must be 2 to {DEMO_NODES_MAX}", clusters * nodes)]
    Size { clusters: usize, nodes: usize },
    #[error("--kill needs a --duration of {} s at least", CYCLE.as_secs())]
    TooShort,
    #[error("a folder for keys and data")]
    Folder { source: io::Error },
    #[error(transparent)]
    Name(#[from] ClusterNameError),
    #[error(transparent)]
    Authority(#[from] CaError),
    #[error(transparent)]
    Router(#[from] ChildError),
    #[error("{url:?} is not a router address")]
    Address { url: String },
    #[error("no router at {url}")]
    Connect { url: String, source: ConnectError },
    #[error("subscribing")]
    Subscribe { source: SubscribeError },
    #[error("the nodes did not all hear each other within {JOIN_TIME_MAX:?}")]
    Apart,
}

/// How large, and what is to happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub clusters: usize,
    pub nodes_per_cluster: usize,
    pub duration: Duration,
    pub kills: bool,
}

struct Member {
    cluster: usize,
    is_gateway: bool,
    identity: PathBuf,
    data: PathBuf,
    router: Option<ChildRouter>,
}

/// All nodes, each cluster's side by side.
struct Fabric {
    shape: Shape,
    members: Vec<Member>,
    /// Removed with everything in it at the end.
    _folder: TempDir,
}

/// Runs the whole of it.
pub(super) async fn play(shape: Shape) -> Result<Played, FabricError> {
    let Shape { clusters, nodes_per_cluster, duration, kills } = shape;
    if !(2..=DEMO_NODES_MAX).contains(&(clusters * nodes_per_cluster)) {
        return Err(FabricError::Size { clusters, nodes: nodes_per_cluster });
    }
    if kills && duration < CYCLE {
        return Err(FabricError::TooShort);
    }
    let mut fabric = Fabric::prepare(shape)?;
    for node in 0..fabric.members.len() {
        fabric.start(node)?;
    }
    let stage = Stage::new(clusters, nodes_per_cluster);
    for node in 0..fabric.members.len() {
        stage.enter(node, fabric.url(node)).await?;
    }
    await_joined(&stage).await?;
    let joined = stage.now();
    stage.ledger.borrow_mut().mishap(Mishap { at: Duration::ZERO, grace: joined });
    let mut unrests = vec![Unrest { what: "start", node: None, at: Duration::ZERO, until: joined }];
    if kills {
        let cycles = duration.as_secs() / CYCLE.as_secs();
        for cycle in 0..cycles {
            unrests.extend(fabric.kill_and_start(victim(shape, cycle as usize), &stage).await?);
        }
    }
    sleep((joined + duration).saturating_sub(stage.now())).await;
    let until = stage.now();
    sleep(ARRIVAL).await;
    let played = Played::of(shape, &stage.ledger.borrow(), &unrests, until);
    fabric.stop()?;
    Ok(played)
}

async fn await_joined(stage: &Stage) -> Result<(), FabricError> {
    let since = stage.now();
    while !stage.ledger.borrow().is_joined(since) {
        if JOIN_TIME_MAX < stage.now() {
            return Err(FabricError::Apart);
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Gateways and others, of one cluster after the other.
fn victim(shape: Shape, cycle: usize) -> usize {
    let place = match cycle % 2 {
        0 => 0,
        _ => shape.nodes_per_cluster - 1,
    };
    cycle % shape.clusters * shape.nodes_per_cluster + place
}

impl Fabric {
    fn prepare(shape: Shape) -> Result<Self, FabricError> {
        let io = |source| FabricError::Folder { source };
        let folder = tempfile::Builder::new().prefix("mpreg-demo-").tempdir().map_err(io)?;
        let authority = folder.path().join("authority");
        ca::init(&authority, since_1970())?;
        let mut members = Vec::new();
        for cluster in 0..shape.clusters {
            for place in 0..shape.nodes_per_cluster {
                let own = folder.path().join(format!("{cluster}-{place}"));
                let member = prepare(&own, &authority, (cluster, place), shape)?;
                members.push(member);
            }
        }
        Ok(Self { shape, members, _folder: folder })
    }

    /// Starts a node, which is told of those that run.
    fn start(&mut self, node: usize) -> Result<(), FabricError> {
        let member = &self.members[node];
        let text = |path: &Path| path.display().to_string();
        let mut arguments = vec![
            "--cluster".to_owned(),
            cluster_name(member.cluster),
            "--shards".to_owned(),
            "1".to_owned(),
            "--peer-identity".to_owned(),
            text(&member.identity),
            "--data-dir".to_owned(),
            text(&member.data),
            "--peer-listen".to_owned(),
            "127.0.0.1:0".to_owned(),
        ];
        let joined: Vec<&str> = self.neighbours(node).collect();
        if !joined.is_empty() {
            arguments.extend(["--join".to_owned(), joined.join(",")]);
        }
        if member.is_gateway {
            let others = (0..self.shape.clusters).filter(|&other| other != member.cluster);
            let others: Vec<String> = others.map(cluster_name).collect();
            arguments.extend(["--peer-clusters".to_owned(), others.join(",")]);
        }
        self.members[node].router = Some(ChildRouter::start(&arguments)?);
        Ok(())
    }

    /// Where nodes listen that this one is linked with: its cluster's, and its like in the clusters
    /// beside it.
    fn neighbours(&self, node: usize) -> impl Iterator<Item = &str> {
        let count = self.shape.nodes_per_cluster;
        let (me, clusters) = (&self.members[node], self.shape.clusters);
        let is_beside = move |other: usize| {
            let apart = other.abs_diff(me.cluster);
            apart == 1 || apart + 1 == clusters
        };
        let others = self.members.iter().enumerate().filter(move |&(at, other)| {
            let is_mate = other.cluster == me.cluster;
            let is_like = me.is_gateway && at % count == node % count && is_beside(other.cluster);
            at != node && (is_mate || is_like)
        });
        others.filter_map(|(_, other)| other.router.as_ref()?.peer())
    }

    fn url(&self, node: usize) -> &str {
        self.members[node].router.as_ref().map_or("", ChildRouter::native)
    }

    async fn kill_and_start(
        &mut self,
        node: usize,
        stage: &Stage,
    ) -> Result<[Unrest; 2], FabricError> {
        let cycle = stage.now();
        let killed = stage.now();
        {
            let mut ledger = stage.ledger.borrow_mut();
            ledger.end(node, killed);
            ledger.mishap(Mishap { at: killed, grace: GRACE_AFTER_KILL });
        }
        if let Some(router) = self.members[node].router.take() {
            router.kill()?;
        }
        sleep(DEAD_FOR).await;
        let started = stage.now();
        stage.ledger.borrow_mut().mishap(Mishap { at: started, grace: GRACE_AFTER_START });
        self.start(node)?;
        stage.enter(node, self.url(node)).await?;
        sleep((cycle + CYCLE).saturating_sub(stage.now())).await;
        let node = Some(node);
        Ok([
            Unrest { what: "kill", node, at: killed, until: started },
            Unrest { what: "start", node, at: started, until: stage.now() },
        ])
    }

    fn stop(self) -> Result<(), FabricError> {
        for member in self.members {
            if let Some(router) = member.router {
                router.stop()?;
            }
        }
        Ok(())
    }
}

fn cluster_name(cluster: usize) -> String {
    format!("c{cluster}")
}

/// The keys of one node.
fn prepare(
    own: &Path,
    authority: &Path,
    (cluster, place): (usize, usize),
    shape: Shape,
) -> Result<Member, FabricError> {
    let is_gateway = 1 < shape.clusters && place < 2;
    let role = if is_gateway { NodeRole::Gateway } else { NodeRole::Node };
    let wish = Wish { cluster: cluster_name(cluster).parse()?, role, days: 1 };
    let identity = own.join("identity");
    fs::create_dir_all(own).map_err(|source| FabricError::Folder { source })?;
    ca::issue(authority, &wish, &identity, since_1970())?;
    Ok(Member { cluster, is_gateway, identity, data: own.join("data"), router: None })
}
