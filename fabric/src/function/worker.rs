//! Functions that clients of this node run: registered on a connection, gone with it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ops::RangeInclusive;

use bytes::Bytes;
use mpreg_proto::function::{FunctionId, FunctionName, Offer, Offers, Resources, Version};
use mpreg_proto::id::SessionId;
use mpreg_proto::limits::OFFERS_MAX;

use super::namespace::Taken;
use super::{Effect, Endpoint, EndpointId, Functions, Health, Place, Tier};
use crate::limits::{FUNCTION_WORKERS_MAX, FUNCTION_WORKERS_PER_SESSION_MAX};

/// One registration of a connection, as its client numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    pub session: SessionId,
    pub number: u32,
}

/// What is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub name: FunctionName,
    pub id: FunctionId,
    pub version: Version,
    pub resources: Resources,
    /// Calls at a time.
    pub limit: NonZeroU32,
}

/// Why a function is not registered. Each is counted under its word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Taken(Taken),
    /// The connection has a registration of this number.
    NumberInUse,
    /// The connection has registered this version of this function, with this number.
    Duplicate {
        number: u32,
    },
    /// The connection drains.
    Draining,
    /// The node offers the function in as many versions and sets of resources as may be.
    Offers,
    /// The connection has as many registrations as may be.
    WorkersOfSession,
    /// The node has.
    Workers,
    /// The name is one of those that nodes run themselves.
    Reserved,
}

impl Refusal {
    /// The word logs, metrics and `--json` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Taken(taken) => taken.word(),
            Self::NumberInUse => "number_in_use",
            Self::Duplicate { .. } => "duplicate",
            Self::Draining => "draining",
            Self::Offers => "offers",
            Self::WorkersOfSession => "workers_of_session",
            Self::Workers => "workers",
            Self::Reserved => "reserved",
        }
    }
}

/// What is remembered of a registration.
#[derive(Debug)]
pub(super) struct Registered {
    endpoint: EndpointId,
    pub(super) name: FunctionName,
    pub(super) id: FunctionId,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    Waiting,
    Told,
}

impl Functions {
    pub(super) fn register(
        &mut self,
        worker: Worker,
        registration: Registration,
        out: &mut Vec<Effect>,
    ) {
        if let Err(why) = self.admit(worker, &registration) {
            out.push(Effect::Refused { worker, why });
            return;
        }
        let Registration { name, id, version, resources, limit } = registration;
        let (place, limit) = (Place::Here(worker), limit.get());
        let (life, in_flight, is_open) = (self.life, 0, true);
        let endpoint = Endpoint { place, life, version, resources, limit, in_flight, is_open };
        let endpoint = self.insert(&name, endpoint);
        self.namespace.claim(self.me, &name, id);
        let registered = Registered { endpoint, name: name.clone(), id, health: Health::Well };
        self.workers.insert(worker, registered);
        out.push(Effect::Registered { worker, endpoint });
        self.offer(&name, out);
    }

    fn admit(&self, worker: Worker, registration: &Registration) -> Result<(), Refusal> {
        let Registration { name, id, version, resources, .. } = registration;
        if name.is_reserved() {
            return Err(Refusal::Reserved);
        }
        if self.draining.contains_key(&worker.session) {
            return Err(Refusal::Draining);
        }
        if self.workers.contains_key(&worker) {
            return Err(Refusal::NumberInUse);
        }
        let of_session = self.workers.range(all_of(worker.session));
        if FUNCTION_WORKERS_PER_SESSION_MAX <= of_session.count() {
            return Err(Refusal::WorkersOfSession);
        }
        if FUNCTION_WORKERS_MAX <= self.workers.len() {
            return Err(Refusal::Workers);
        }
        // What this node has, it keeps, or loses to a mate that comes before it.
        if !self.namespace.has(self.me, name, *id)
            && let Some(taken) = self.namespace.conflict(name, *id)
        {
            return Err(Refusal::Taken(taken));
        }
        let here = || self.endpoints_here(name);
        let twice = here().find(|(known, endpoint)| {
            known.session == worker.session && endpoint.version == *version
        });
        if let Some((known, _)) = twice {
            return Err(Refusal::Duplicate { number: known.number });
        }
        let is_new =
            !here().any(|(_, known)| (&known.version, &known.resources) == (version, resources));
        let offers = self.offers(name).map_or(0, |offers| offers.offers().len());
        if is_new && offers == OFFERS_MAX {
            return Err(Refusal::Offers);
        }
        Ok(())
    }

    pub(super) fn unregister(&mut self, worker: Worker, out: &mut Vec<Effect>) {
        if let Some(name) = self.forget(worker) {
            self.offer(&name, out);
            self.drained(worker.session, out);
        }
    }

    pub(super) fn ended(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        self.draining.remove(&session);
        let workers = self.workers_of(session).into_iter();
        let names: BTreeSet<_> = workers.filter_map(|worker| self.forget(worker)).collect();
        names.iter().for_each(|name| self.offer(name, out));
    }

    pub(super) fn set_health(&mut self, worker: Worker, health: Health, out: &mut Vec<Effect>) {
        let Some(registered) = self.workers.get_mut(&worker) else { return };
        registered.health = health;
        let name = self.open_or_close(worker);
        self.offer(&name, out);
    }

    pub(super) fn drain(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        self.draining.entry(session).or_insert(Drain::Waiting);
        let workers = self.workers_of(session).into_iter();
        let names: BTreeSet<_> = workers.map(|worker| self.open_or_close(worker)).collect();
        names.iter().for_each(|name| self.offer(name, out));
        self.drained(session, out);
    }

    /// Tells that a draining connection has nothing left to do.
    pub(super) fn drained(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        if self.draining.get(&session) != Some(&Drain::Waiting) {
            return;
        }
        let workers = self.workers_of(session);
        let is_busy = |worker: &Worker| {
            let endpoint = self.workers[worker].endpoint;
            self.in_flight(endpoint) != Some(0)
        };
        if !workers.iter().any(is_busy) {
            self.draining.insert(session, Drain::Told);
            out.push(Effect::Drained(session));
        }
    }

    /// A mate that comes before this node says that this name is this id, or another shard of this
    /// node: takes back what contradicts it. Of two shards, what has the greater name.
    pub(super) fn give_way(&mut self, name: &FunctionName, id: FunctionId, out: &mut Vec<Effect>) {
        for (name, id) in self.namespace.claims(self.me, name, id) {
            let taken = self.namespace.conflict(&name, id);
            let comes_before = |taken: &Taken| match taken {
                Taken::Id { by, name: other } if *by == self.me => *other < name,
                Taken::Id { by, .. } | Taken::Name { by, .. } => *by < self.me,
            };
            let Some(why) = taken.filter(comes_before) else { continue };
            let workers: Vec<Worker> = self.endpoints_here(&name).map(|(at, _)| at).collect();
            for worker in workers {
                out.push(Effect::Revoked { worker, why: why.clone() });
                self.unregister(worker, out);
            }
        }
    }

    fn open_or_close(&mut self, worker: Worker) -> FunctionName {
        let Registered { endpoint, name, health, .. } = &self.workers[&worker];
        let (id, name) = (*endpoint, name.clone());
        let is_open = *health == Health::Well && !self.draining.contains_key(&worker.session);
        self.endpoint(id).expect("every worker has an endpoint").is_open = is_open;
        name
    }

    fn forget(&mut self, worker: Worker) -> Option<FunctionName> {
        let Registered { endpoint, name, .. } = self.workers.remove(&worker)?;
        self.remove(endpoint);
        if self.endpoints_here(&name).next().is_none() {
            self.namespace.release(self.me, &name);
        }
        Some(name)
    }

    /// Tells the catalog, if there is something new to tell.
    fn offer(&mut self, name: &FunctionName, out: &mut Vec<Effect>) {
        let entry = Bytes::copy_from_slice(name.as_str().as_bytes());
        let Some(offers) = self.offers(name) else {
            let earlier = self.offered.remove(name);
            out.extend(earlier.map(|_| Effect::Retract { name: entry }));
            return;
        };
        let mut body = Vec::new();
        offers.put(&mut body);
        if self.offered.get(name).is_none_or(|earlier| *earlier != body) {
            let body = Bytes::from(body);
            self.offered.insert(name.clone(), body.clone());
            out.push(Effect::Offer { name: entry, body });
        }
    }

    /// What the workers here add up to.
    fn offers(&self, name: &FunctionName) -> Option<Offers> {
        let mut limits = BTreeMap::<(&Version, &Resources), u32>::new();
        for (_, endpoint) in self.endpoints_here(name) {
            let limit = if endpoint.is_open { endpoint.limit } else { 0 };
            let sum = limits.entry((&endpoint.version, &endpoint.resources)).or_default();
            *sum = sum.saturating_add(limit);
        }
        let (worker, _) = self.endpoints_here(name).next()?;
        let offer = |((version, resources), limit): ((&Version, &Resources), u32)| Offer {
            version: version.clone(),
            resources: resources.clone(),
            limit,
        };
        let offers = limits.into_iter().map(offer).collect();
        let offers = Offers::new(self.workers[&worker].id, self.life, offers);
        Some(offers.expect("no more are admitted, and none twice"))
    }

    fn endpoints_here(&self, name: &FunctionName) -> impl Iterator<Item = (Worker, &Endpoint)> {
        let endpoints = self.functions.get(name).map(|known| known.of(Tier::Here).values());
        endpoints.into_iter().flatten().filter_map(|endpoint| match endpoint.place {
            Place::Here(worker) => Some((worker, endpoint)),
            Place::Mate(_) | Place::Remote { .. } => None,
        })
    }

    fn workers_of(&self, session: SessionId) -> Vec<Worker> {
        self.workers.range(all_of(session)).map(|(&worker, _)| worker).collect()
    }
}

fn all_of(session: SessionId) -> RangeInclusive<Worker> {
    Worker { session, number: 0 }..=Worker { session, number: u32::MAX }
}
