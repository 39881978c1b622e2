//! Fabrics of real routers, reached by each other over cables that a test may cut.
//!
//! [`Seat`] says where a node is to be, [`Fabric`] starts all and knows who is who. Every node has a data
//! directory, so that it is the same node after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mpreg_router::admin::fabric::{CatalogPage, CatalogRow, RouteRow};
use rustix::process::Signal;
use serde::de::DeserializeOwned;

use super::cable::Cables;
use super::laboratory::Laboratory;
use super::nats::{NatsPeer, USUAL};
use super::{Launch, Router, until};

/// A node to be.
#[derive(Clone, Debug)]
pub struct Seat {
    pub cluster: String,
    pub role: &'static str,
    /// Places of those it is told of, if they run when it starts.
    pub joins: Vec<usize>,
    /// Of the configuration, below `[peer]`.
    pub more: String,
    pub shards: usize,
}

impl Seat {
    pub fn gateway(cluster: &str, joins: &[usize]) -> Self {
        let (cluster, joins) = (cluster.to_owned(), joins.to_vec());
        Self { cluster, role: "gateway", joins, more: String::new(), shards: 1 }
    }
}

/// So many clusters `c0`, `c1`, … of so many nodes, side by side. The first two of each are gateways,
/// linked with their like of the clusters that `is_linked` with theirs.
pub fn grid(clusters: usize, nodes: usize, is_linked: impl Fn(usize, usize) -> bool) -> Vec<Seat> {
    let seat = |at: usize| {
        let (cluster, place) = (at / nodes, at % nodes);
        let is_gateway = place < 2;
        let mates = (cluster * nodes..(cluster + 1) * nodes).filter(|&other| other != at);
        let near = (0..cluster).filter(|&other| is_gateway && is_linked(other, cluster));
        Seat {
            cluster: format!("c{cluster}"),
            role: if is_gateway { "gateway" } else { "node" },
            joins: mates.chain(near.map(|other| other * nodes + place)).collect(),
            more: String::new(),
            shards: 1,
        }
    };
    (0..clusters * nodes).map(seat).collect()
}

/// See [`Seat`].
#[derive(Debug)]
pub struct Member {
    pub seat: Seat,
    pub id: String,
    pub credentials: PathBuf,
    /// Where else it is told to dial.
    pub via: Vec<SocketAddr>,
    data: PathBuf,
    router: Option<Router>,
}

/// All nodes.
#[derive(Debug)]
pub struct Fabric {
    pub members: Vec<Member>,
    pub cables: Cables,
    pub laboratory: Laboratory,
    _alone: MutexGuard<'static, ()>,
}

/// One fabric at a time: two would take each other's CPUs, and the times of both would be of nothing.
static ALONE: Mutex<()> = Mutex::new(());

impl Fabric {
    /// Starts all, and waits until each serves.
    #[track_caller]
    pub fn start(seats: Vec<Seat>) -> Self {
        let mut fabric = Self::of(seats);
        (0..fabric.members.len()).for_each(|at| fabric.start_one(at));
        fabric
    }

    /// All of them, and none is started.
    #[track_caller]
    pub fn of(seats: Vec<Seat>) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let laboratory = Laboratory::default();
        let cables = Cables::lay(seats.len());
        let member = |(at, seat): (usize, Seat)| {
            let name = format!("n{at}");
            let (credentials, id) = laboratory.issue(&name, &seat.cluster, seat.role);
            let data = laboratory.path(&format!("d{at}"));
            Member { seat, id, credentials, via: Vec::new(), data, router: None }
        };
        let members = seats.into_iter().enumerate().map(member).collect();
        Self { members, cables, laboratory, _alone: alone }
    }

    /// Starts a node that does not run.
    #[track_caller]
    pub fn start_one(&mut self, at: usize) {
        let Member { seat, credentials, via, data, .. } = &self.members[at];
        let running = seat.joins.iter().filter(|&&other| self.members[other].router.is_some());
        let joins = running.map(|&other| self.cables.address(other));
        let join = joins.chain(via.iter().copied()).map(|address| format!("'{address}'"));
        let more = format!(
            "advertise = '{}'\nallow_clusters = ['*']\njoin = [{}]\n{}",
            self.cables.address(at),
            join.collect::<Vec<_>>().join(", "),
            seat.more
        );
        let launch = Launch::of(seat.shards).with_nats().keeping(data);
        let launch = launch.as_node(credentials, &seat.cluster, &more);
        let router = launch.start_telling(|process| self.cables.starts(at, process));
        self.cables.listens(at, router.bound("peer"));
        self.members[at].router = Some(router);
    }

    /// Ends a node at once.
    #[track_caller]
    pub fn kill(&mut self, at: usize) {
        let mut router = self.take(at);
        router.signal(Signal::KILL);
        router.wait();
    }

    /// A node that is about to end.
    #[track_caller]
    pub fn take(&mut self, at: usize) -> Router {
        self.members[at].router.take().expect("it runs")
    }

    #[track_caller]
    pub fn router(&self, at: usize) -> &Router {
        self.members[at].router.as_ref().expect("it runs")
    }

    /// Places of those that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&at| self.members[at].router.is_some()).collect()
    }

    /// Places of those of a cluster.
    pub fn of_cluster(&self, cluster: &str) -> Vec<usize> {
        (0..self.members.len()).filter(|&at| self.members[at].seat.cluster == cluster).collect()
    }

    /// A client of each node that runs.
    pub fn clients(&self) -> Vec<NatsPeer> {
        self.running().into_iter().map(|at| self.client(at)).collect()
    }

    #[track_caller]
    pub fn client(&self, at: usize) -> NatsPeer {
        self.router(at).nats_on(0, USUAL)
    }

    /// All that a node knows to be offered.
    #[track_caller]
    pub fn catalog(&self, at: usize) -> Vec<CatalogRow> {
        let page: CatalogPage = self.asked(at, "/catalog");
        page.entries
    }

    /// The nodes whose entries this one knows.
    pub fn known(&self, at: usize) -> BTreeSet<String> {
        let nodes = self.catalog(at).into_iter().filter(|entry| entry.kind == "node");
        nodes.map(|entry| entry.node).collect()
    }

    /// What a node knows that is for the whole fabric to know.
    pub fn shared(&self, at: usize) -> BTreeSet<[String; 3]> {
        let shared = self.catalog(at).into_iter().filter(|entry| entry.scope == "fabric");
        shared.map(|entry| [entry.kind, entry.name, entry.node]).collect()
    }

    /// The way from a node to a cluster.
    #[track_caller]
    pub fn explained(&self, at: usize, to: &str) -> RouteRow {
        self.asked(at, &format!("/routes/explain?to={to}"))
    }

    /// What the control core of a node answers, which may be busy for a while.
    #[track_caller]
    fn asked<T: DeserializeOwned>(&self, at: usize, path: &str) -> T {
        let body = until("the control core answers", || match self.router(at).get(path) {
            (200, body) => Some(body),
            (503, _late) => None,
            other => panic!("{path}: {other:?}"),
        });
        serde_json::from_str(&body).expect("the page is what it is said to be")
    }

    /// Messages that a node has sent to each that it is linked with, and got from it.
    pub fn carried(&self, at: usize) -> BTreeMap<String, (u64, u64)> {
        let rows = self.router(at).peers().into_iter();
        rows.map(|row| (row.node, (row.messages_out, row.messages_in))).collect()
    }

    /// A counter of each node that runs, all reasons together.
    pub fn counts(&self, name: &str) -> Vec<u64> {
        self.running().into_iter().map(|at| self.router(at).page().sum(name, &[])).collect()
    }

    /// Waits until all that run are linked with all of their cluster and with whom they join.
    #[track_caller]
    pub fn wait_linked(&self) {
        let joins = |one: usize, other: usize| self.members[one].seat.joins.contains(&other);
        for at in self.running() {
            let mates = self.of_cluster(&self.members[at].seat.cluster);
            let is_near =
                |&other: &usize| mates.contains(&other) || joins(at, other) || joins(other, at);
            let near = self.running().into_iter().filter(|&other| other != at).filter(is_near);
            let near: BTreeSet<_> = near.map(|other| self.members[other].id.clone()).collect();
            until("all are linked", || {
                let linked = self.router(at).peers().into_iter().map(|row| row.node);
                near.is_subset(&linked.collect()).then_some(())
            });
        }
    }

    /// Waits until all that run know all that run, and nobody else.
    #[track_caller]
    pub fn wait_known(&self) {
        let ids = self.running().into_iter().map(|at| self.members[at].id.clone()).collect();
        for at in self.running() {
            until("all nodes are known", || (self.known(at) == ids).then_some(()));
        }
    }
}

/// Has everybody say something until everybody has heard everybody. They subscribe to `z.>` before.
#[track_caller]
pub fn join_up(clients: &mut [NatsPeer], round: usize) {
    let count = clients.len();
    let mut heard = vec![BTreeSet::new(); count];
    until("everybody hears everybody", || {
        for (at, client) in clients.iter_mut().enumerate() {
            client.publish(&format!("z.{round}.{at}"), b"");
        }
        for (client, heard) in clients.iter_mut().zip(&mut heard) {
            loop {
                let said = client.hear_within(Duration::from_millis(1));
                let Some(rest) = said.strip_prefix(&format!("MSG z.{round}.")) else { break };
                heard.insert(rest.split(' ').next().expect("a subject").to_owned());
            }
        }
        heard.iter().all(|heard| heard.len() == count).then_some(())
    });
}
