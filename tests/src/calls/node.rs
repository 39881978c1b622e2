//! A node: its machine, its clients, its workers, and what it and others know of what it offers.
//!
//! ```text
//!   down --start (the next life)--> up --crash: all of it is gone, and entries of it go later--> down
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Bytes;
use mpreg_fabric::call::{Calls, Input};
use mpreg_fabric::function::{self, Registration, Worker};
use mpreg_proto::call::JobId;
use mpreg_proto::function::{FunctionId, Resources};
use mpreg_proto::hop::Here;
use mpreg_proto::id::{Incarnation, SessionId, ShardIx};

use super::check::{End, Promise};
use super::net::here;
use super::{FUNCTION, MS, Net, Pending, name};

pub(super) struct Node {
    /// None: it is down.
    pub(super) calls: Option<Calls>,
    pub(super) life: u64,
    /// Connections of clients, and of workers.
    pub(super) clients: Vec<SessionId>,
    pub(super) workers: BTreeMap<SessionId, Employee>,
    /// What it offers: number and body.
    offer: (u64, Option<Bytes>),
    /// The newest entry of each other node that came here.
    heard: BTreeMap<usize, u64>,
}

/// A worker, its limit and what it has.
pub(super) struct Employee {
    pub(super) limit: u32,
    /// Token of each.
    pub(super) jobs: BTreeMap<JobId, usize>,
}

impl Node {
    /// It has never run.
    pub(super) fn down() -> Self {
        Self {
            calls: None,
            life: 0,
            clients: Vec::new(),
            workers: BTreeMap::new(),
            offer: (0, None),
            heard: BTreeMap::new(),
        }
    }
}

impl Net {
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].calls.is_some() {
            return;
        }
        let shard = ShardIx::new(0).expect("there is a first shard");
        let at = &mut self.nodes[node];
        at.life += 1;
        at.calls = Some(Calls::new(here(node), Incarnation(at.life), shard, self.plan.bounds));
        for of in self.others(node) {
            let (number, body) = self.nodes[of].offer.clone();
            if self.nodes[of].calls.is_some() {
                self.later(Pending::Entry { to: node, of, number, body }, 20 * MS);
            }
        }
        (0..2).for_each(|_| self.add_client(node));
        (0..self.rng.below(3)).for_each(|_| self.add_worker(node));
    }

    pub(super) fn add_client(&mut self, node: usize) {
        self.sessions_made += 1;
        let client = SessionId(self.sessions_made);
        self.nodes[node].clients.push(client);
    }

    pub(super) fn add_worker(&mut self, node: usize) {
        self.sessions_made += 1;
        let (session, limit) = (SessionId(self.sessions_made), 1 + self.rng.below(3));
        let jobs = BTreeMap::new();
        self.nodes[node].workers.insert(session, Employee { limit, jobs });
        let version = ["1.0.0", "1.1.0", "2.0.0"][self.rng.below(3) as usize];
        let registration = Registration {
            name: name(),
            id: FunctionId::of(FUNCTION),
            version: version.parse().expect("it is a version"),
            resources: Resources::default(),
            limit: NonZeroU32::new(limit).expect("it is one at least"),
        };
        let worker = Worker { session, number: 1 };
        self.tell(node, Input::Function(function::Input::Register { worker, registration }));
    }

    pub(super) fn crash(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        if at.calls.take().is_none() {
            return;
        }
        at.clients.clear();
        at.workers.clear();
        at.heard.clear();
        at.offer = (at.offer.0 + 1, None);
        let (life, number) = (at.life, at.offer.0);
        let silent = |promise: &&mut Promise| promise.is_of(node, life);
        for promise in self.promises.iter_mut().filter(silent) {
            promise.end.get_or_insert(End::Silent);
        }
        for to in self.others(node) {
            let after = 200 + self.rng.below(1500);
            self.later(Pending::Entry { to, of: node, number, body: None }, after * MS);
        }
        let after = 50 + self.rng.below(3000);
        self.later(Pending::Restart { node }, after * MS);
    }

    /// What a node offers is told to all others, each in its time.
    pub(super) fn offer(&mut self, node: usize, body: Option<Bytes>) {
        let number = self.nodes[node].offer.0 + 1;
        self.nodes[node].offer = (number, body.clone());
        for to in self.others(node) {
            let after = 5 + self.rng.below(100);
            let body = body.clone();
            self.later(Pending::Entry { to, of: node, number, body }, after * MS);
        }
    }

    /// An older entry than one that came is none.
    pub(super) fn hear_entry(&mut self, to: usize, of: usize, number: u64, body: Option<Bytes>) {
        let at = &mut self.nodes[to];
        let is_new = at.heard.get(&of).is_none_or(|known| *known < number);
        if at.calls.is_some() && is_new {
            at.heard.insert(of, number);
            let Here { node: owner, cluster } = here(of);
            let name = FUNCTION.into();
            let changed = function::Input::Changed { owner, cluster, name, body };
            self.tell(to, Input::Function(changed));
        }
    }
}
