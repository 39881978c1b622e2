//! Which functions there are, who runs them, and who runs the next call: registry and selection.
//!
//! ```text
//!   workers register here --> endpoints --+                       +--> Offer, Retract (the catalog)
//!   entries of the catalog -> endpoints --+-- by name of function +--> select(call, ways) -> endpoint
//!   calls in flight, health, draining ----+                       |
//!   splits between versions --------------------------------------+
//! ```
//!
//! An endpoint is one version of a function with some resources: at a worker of this node, or at
//! another node, which chooses among its own workers. What workers of this node offer of a function is
//! one entry of the catalog (`mpreg_proto::function::Offers`).
//!
//! Who performs calls says when one begins and ends somewhere ([`Functions::begin`], [`Functions::end`]): of a
//! worker all of them are counted, of another node those that this one knows of.
//!
//! A name is one id and an id one name within a cluster. Who contradicts that is refused where it
//! registers, as far as known there. Where two nodes did so at once, the one with the greater `NodeId`
//! gives way when it hears of the other. Other clusters have names of their own.
//!
//! Time is of no interest here: nothing waits, so there is no deadline.
//!
//! Invariants:
//! - The entry of a function is what its workers here add up to, and is there while one is. A worker
//!   that takes no calls counts with a limit of zero.
//! - Who leaves takes all it registered along, and nothing else.
//! - No worker of this node has a name or an id that another one here has otherwise.
//! - The same state and the same call give the same choice.
//!
//! Inputs and effects are [`Input`] and [`Effect`]. Parts: `namespace.rs` (names and ids), `worker.rs`
//! (who registers here), `far.rs` (what other nodes offer), `select.rs` (the choice), `split.rs`
//! (shares of versions), `list.rs` (what operators see), `tests/`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::function::{FunctionName, Resources, Shares, Version};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, SessionId};

use crate::limits::SPLITS_MAX;

mod far;
mod list;
mod namespace;
mod select;
mod split;
mod worker;

pub use list::Row;
use namespace::Namespace;
pub use namespace::Taken;
pub use select::{Call, Chosen, Failure, Judged, Target, Verdict, Why, Within};
pub use split::{Split, SplitError};
pub use worker::{Refusal, Registration, Worker};

/// An endpoint, as this node numbers them. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// Where an endpoint is. In order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At a worker of this node.
    Here(Worker),
    /// At another node of this cluster.
    Mate(NodeId),
    /// At a node of another cluster.
    Remote { cluster: ClusterId, node: NodeId },
}

/// Whether a worker of this node takes calls, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    Well,
    Ill,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Register {
        worker: Worker,
        registration: Registration,
    },
    /// Calls that run there go on, and are not waited for.
    Unregister(Worker),
    /// The connection is gone. Needed of each that registered or was to drain.
    Ended(SessionId),
    Health {
        worker: Worker,
        health: Health,
    },
    /// No further calls to this connection. There is no way back but a new one.
    Drain(SessionId),
    /// An entry of a function came, is otherwise, or went.
    Changed {
        owner: NodeId,
        cluster: ClusterId,
        name: Bytes,
        body: Option<Bytes>,
    },
    /// The same of a name that another shard of this node is the home of: what another node of this
    /// cluster offers, or this one.
    Named {
        owner: NodeId,
        name: Bytes,
        body: Option<Bytes>,
    },
    /// What a node says of how calls are split: an entry came, is otherwise, or went.
    Shares {
        owner: NodeId,
        name: Bytes,
        body: Option<Bytes>,
    },
    /// None: calls are no longer split.
    Split {
        name: FunctionName,
        split: Option<Split>,
    },
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Registered {
        worker: Worker,
        endpoint: EndpointId,
    },
    Refused {
        worker: Worker,
        why: Refusal,
    },
    /// It is not registered any more, because its client said so.
    Unregistered(Worker),
    /// What was registered is not any more: the namespace of the cluster is another's.
    Revoked {
        worker: Worker,
        why: Taken,
    },
    /// The connection drains, and nothing runs there any more. Told once.
    Drained(SessionId),
    /// Offer this entry to the fabric, in place of one of its name.
    Offer {
        name: Bytes,
        body: Bytes,
    },
    Retract {
        name: Bytes,
    },
    /// The entry is of a function, and cannot be read.
    Unreadable {
        owner: NodeId,
    },
    /// There are as many splits as may be.
    SplitRefused {
        name: FunctionName,
    },
}

#[derive(Debug)]
struct Endpoint {
    place: Place,
    /// The life of the node that is there.
    life: Incarnation,
    version: Version,
    resources: Resources,
    limit: u32,
    in_flight: u32,
    is_open: bool,
}

/// The endpoints of one function: at this node, in this cluster, elsewhere. No tier is looked at if one
/// before it can take a call.
#[derive(Debug, Default)]
struct Endpoints {
    tiers: [BTreeMap<EndpointId, Endpoint>; 3],
}

#[derive(Debug)]
pub struct Functions {
    me: NodeId,
    cluster: ClusterId,
    life: Incarnation,
    endpoints_made: u64,
    /// None is without endpoints.
    functions: BTreeMap<FunctionName, Endpoints>,
    names: BTreeMap<EndpointId, (FunctionName, Tier)>,
    workers: BTreeMap<Worker, worker::Registered>,
    /// Those that drain, and whether that was told to be done.
    draining: BTreeMap<SessionId, worker::Drain>,
    namespace: Namespace,
    /// What the catalog was last told.
    offered: BTreeMap<FunctionName, Bytes>,
    splits: BTreeMap<FunctionName, Split>,
    said: split::Said,
}

impl Functions {
    pub fn new(me: NodeId, cluster: ClusterId, life: Incarnation) -> Self {
        Self {
            me,
            cluster,
            life,
            endpoints_made: 0,
            functions: BTreeMap::new(),
            names: BTreeMap::new(),
            workers: BTreeMap::new(),
            draining: BTreeMap::new(),
            namespace: Namespace::default(),
            offered: BTreeMap::new(),
            splits: BTreeMap::new(),
            said: split::Said::default(),
        }
    }

    pub fn handle(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Register { worker, registration } => self.register(worker, registration, out),
            Input::Unregister(worker) if self.workers.contains_key(&worker) => {
                self.unregister(worker, out);
                out.push(Effect::Unregistered(worker));
            }
            // It was told why it is not registered.
            Input::Unregister(_) => (),
            Input::Ended(session) => self.ended(session, out),
            Input::Health { worker, health } => self.set_health(worker, health, out),
            Input::Drain(session) => self.drain(session, out),
            Input::Changed { owner, cluster, name, body } => {
                self.changed(owner, cluster, &name, body.as_deref(), out);
            }
            Input::Named { owner, name, body } => self.named(owner, &name, body.as_deref(), out),
            Input::Shares { owner, name, body } => {
                self.hear_shares(owner, &name, body.as_deref(), out);
            }
            Input::Split { name, split } => self.set_split(name, split, out),
        }
    }

    /// Endpoints here and elsewhere.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether anybody offers it.
    pub fn has(&self, name: &FunctionName) -> bool {
        self.functions.contains_key(name)
    }

    /// A call begins there. An endpoint that is gone counts nothing.
    pub fn begin(&mut self, id: EndpointId) {
        if let Some(endpoint) = self.endpoint(id) {
            endpoint.in_flight += 1;
        }
    }

    /// A call that began there ended.
    pub fn end(&mut self, id: EndpointId, out: &mut Vec<Effect>) {
        let Some(endpoint) = self.endpoint(id) else { return };
        endpoint.in_flight -= 1;
        if let (0, Place::Here(worker)) = (endpoint.in_flight, endpoint.place) {
            self.drained(worker.session, out);
        }
    }

    /// Calls that run there. None: it is gone.
    pub fn in_flight(&self, id: EndpointId) -> Option<u32> {
        let (name, tier) = self.names.get(&id)?;
        Some(self.functions.get(name)?.tiers[*tier as usize].get(&id)?.in_flight)
    }

    /// Whether this life of the node offers the function, by what is known here.
    pub fn is_offered(&self, name: &FunctionName, node: NodeId, life: Incarnation) -> bool {
        let endpoints = self.functions.get(name).into_iter().flat_map(Endpoints::iter);
        let mut there = endpoints.filter(|(_, known)| known.place.node() == Some(node));
        there.any(|(_, known)| known.life == life)
    }

    fn hear_shares(
        &mut self,
        owner: NodeId,
        name: &[u8],
        body: Option<&[u8]>,
        out: &mut Vec<Effect>,
    ) {
        let shares = body.map(Shares::parse).transpose();
        let (Ok(name), Ok(shares)) = (FunctionName::parse(name), shares) else {
            return out.push(Effect::Unreadable { owner });
        };
        let split = self.said.hear(owner, &name, shares);
        self.set_split(name, split, out);
    }

    fn set_split(&mut self, name: FunctionName, split: Option<Split>, out: &mut Vec<Effect>) {
        let Some(split) = split else {
            self.splits.remove(&name);
            return;
        };
        if self.splits.len() == SPLITS_MAX && !self.splits.contains_key(&name) {
            out.push(Effect::SplitRefused { name });
            return;
        }
        self.splits.insert(name, split);
    }

    fn endpoint(&mut self, id: EndpointId) -> Option<&mut Endpoint> {
        let (name, tier) = self.names.get(&id)?;
        self.functions.get_mut(name)?.tiers[*tier as usize].get_mut(&id)
    }

    fn insert(&mut self, name: &FunctionName, endpoint: Endpoint) -> EndpointId {
        self.endpoints_made += 1;
        let id = EndpointId(self.endpoints_made);
        let tier = endpoint.place.tier();
        self.names.insert(id, (name.clone(), tier));
        let endpoints = self.functions.entry(name.clone()).or_default();
        endpoints.tiers[tier as usize].insert(id, endpoint);
        id
    }

    fn remove(&mut self, id: EndpointId) {
        let (name, tier) = self.names.remove(&id).expect("every endpoint has a function");
        let endpoints = self.functions.get_mut(&name).expect("every endpoint is of its function");
        endpoints.tiers[tier as usize].remove(&id);
        if endpoints.iter().next().is_none() {
            self.functions.remove(&name);
        }
    }
}

/// How near an endpoint is, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Here,
    Mates,
    Remote,
}

impl Endpoints {
    fn iter(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.tiers.iter().flatten().map(|(&id, endpoint)| (id, endpoint))
    }

    fn of(&self, tier: Tier) -> &BTreeMap<EndpointId, Endpoint> {
        &self.tiers[tier as usize]
    }
}

impl Place {
    fn tier(self) -> Tier {
        match self {
            Self::Here(_) => Tier::Here,
            Self::Mate(_) => Tier::Mates,
            Self::Remote { .. } => Tier::Remote,
        }
    }

    /// Another one than this.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Here(_) => None,
            Self::Mate(node) | Self::Remote { node, .. } => Some(node),
        }
    }
}

#[cfg(test)]
mod tests;
