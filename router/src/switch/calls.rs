//! Functions: what clients of this shard say and hear of them, and the calls of those that this shard is
//! the home of.
//!
//! ```text
//!   a client's frame --> Input --> home of the name --handed over, if that is another shard--> Calls
//!   Calls --> Effect --> the client's shard, handed back --> frame
//!         --> Send --> other nodes (`call_hops.rs`)
//!         --> Offer, Retract --> control core --> catalog
//! ```
//!
//! Invariants:
//! - What a client says of one name comes to the name's home in order, and that it is gone after all.
//! - A registration is answered once with `Registered` or `Unregistered`; no job comes for it after
//!   the latter.
//! - A client that drains is told so once it has no job left at any home.
//! - Effects of the machine are performed in the order it named them, whatever it is told meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ahash::RandomState;
use bytes::Bytes;
use mpreg_fabric::call::{Caller, Calls, Effect, Input};
use mpreg_fabric::call_graph::desk;
use mpreg_fabric::catalog::Changed;
use mpreg_fabric::function::{self, EndpointId, Place, Verdict, Within, Worker};
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::limits::{CallBounds, FUNCTION_WORKERS_PER_SESSION_MAX};
use mpreg_fabric::shard::Shard;
use mpreg_fabric::time::Instant;
use mpreg_proto::catalog::Kind;
use mpreg_proto::function::FunctionName;
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, SessionId, ShardIx};

use super::Switch;
use super::deliver::shards_of;
use super::measures::Measures;
use crate::limits::FUNCTIONS_LISTED_MAX;
use crate::roster::{Asked, Explained, Function, Judged};

/// What a shard knows of functions and calls.
pub(super) struct Desk {
    /// Of the names that this shard is the home of.
    pub(super) machine: Calls,
    /// Of the machine, to be performed.
    pub(super) effects: Vec<Effect>,
    /// Those that come meanwhile wait for their turn.
    is_performing: bool,
    pub(super) here: Here,
    /// How long calls of functions took.
    pub(super) measures: Measures,
    /// Clients of this shard that said anything of functions.
    pub(super) users: HashMap<SessionId, User, RandomState>,
    /// NATS clients with services, by when these are due.
    pub(super) instances: BTreeSet<(Instant, SessionIx)>,
}

/// One of them.
pub(super) struct User {
    pub(super) session: SessionIx,
    /// Shards that heard of it, a bit each.
    homes: u64,
    /// Where each registration was brought.
    pub(super) registrations: BTreeMap<u32, ShardIx>,
    /// It drains; homes where it may have a job left.
    draining: Option<u64>,
}

impl Desk {
    /// Of a node that knows no others.
    pub(super) fn alone(machine: &Shard, me: ShardIx) -> Self {
        Self::new(Here { node: machine.node(), cluster: ClusterId(0) }, Incarnation(0), me)
    }

    pub(super) fn new(here: Here, life: Incarnation, me: ShardIx) -> Self {
        Self {
            machine: Calls::new(here, life, me, CallBounds::NODE),
            effects: Vec::new(),
            measures: Measures::default(),
            is_performing: false,
            here,
            users: HashMap::default(),
            instances: BTreeSet::new(),
        }
    }

    /// When something is next due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.deadline().map(|(at, _why)| at);
        let instances = self.instances.first().map(|&(at, _)| at);
        machine.into_iter().chain(instances).min()
    }
}

impl Switch {
    /// Notes that a client of this shard says something of functions.
    pub(super) fn user(&mut self, session: SessionIx, id: SessionId) -> &mut User {
        self.desk.users.entry(id).or_insert_with(|| User {
            session,
            homes: 0,
            registrations: BTreeMap::new(),
            draining: None,
        })
    }

    /// The home of a new registration; why there is to be none.
    pub(super) fn admit_worker(
        &mut self,
        session: SessionIx,
        worker: Worker,
        name: &FunctionName,
    ) -> Result<ShardIx, function::Refusal> {
        let home = self.machine.home(name.as_str().as_bytes());
        let registrations = &mut self.user(session, worker.session).registrations;
        if registrations.contains_key(&worker.number) {
            return Err(function::Refusal::NumberInUse);
        }
        if FUNCTION_WORKERS_PER_SESSION_MAX <= registrations.len() {
            return Err(function::Refusal::WorkersOfSession);
        }
        registrations.insert(worker.number, home);
        Ok(home)
    }

    /// To where it was registered; false if it was not.
    pub(super) fn tell_worker_home(&mut self, worker: Worker, input: function::Input) -> bool {
        let user = self.desk.users.get(&worker.session);
        let home = user.and_then(|user| user.registrations.get(&worker.number).copied());
        if let Some(home) = home {
            self.tell_home(home, worker.session, Input::Function(input));
        }
        home.is_some()
    }

    /// What this client says goes there; what routers run themselves is run here.
    pub(super) fn tell_home(&mut self, home: ShardIx, id: SessionId, input: Input) {
        if let Input::Call { caller, request } = &input
            && request.name.is_graph()
        {
            return self.begin_graph(*caller, request);
        }
        if let Some(user) = self.desk.users.get_mut(&id) {
            user.homes |= 1 << home.index();
        }
        self.hand_to(home, input);
    }

    /// To every home that has heard of this client, and to its call graphs.
    pub(super) fn tell_homes(&mut self, id: SessionId, input: &Input) {
        match input {
            // Only a graph cancels its commands.
            Input::Cancel(caller) if desk::is_of_command(*caller) => return,
            Input::Cancel(caller) => self.tell_graphs(desk::Input::Cancel(*caller)),
            Input::Ended(session) => self.tell_graphs(desk::Input::Ended(*session)),
            Input::Function(_)
            | Input::Call { .. }
            | Input::Replied { .. }
            | Input::Heard { .. }
            | Input::NotSent { .. }
            | Input::Tick => (),
        }
        let homes = self.desk.users.get(&id).map_or(0, |user| user.homes);
        shards_of(homes).for_each(|home| self.hand_to(home, input.clone()));
    }

    pub(super) fn hand_to(&mut self, home: ShardIx, input: Input) {
        if home == self.mesh.me() {
            self.tell_calls(input);
        } else {
            self.mesh.stage(home, Handoff::Call(Box::new(input)));
        }
    }

    /// Feeds the machine of calls and does what it wants, after what it wanted before.
    pub(super) fn tell_calls(&mut self, input: Input) {
        let Self { desk, fabric, now, .. } = self;
        let ways = fabric.as_ref().and_then(|fabric| fabric.table());
        desk.machine.handle(input, ways.as_ref(), *now, &mut desk.effects);
        self.perform_calls();
    }

    fn perform_calls(&mut self) {
        if std::mem::replace(&mut self.desk.is_performing, true) {
            return;
        }
        while !self.desk.effects.is_empty() {
            let mut batch = std::mem::take(&mut self.desk.effects);
            for effect in batch.drain(..) {
                self.perform_call(effect);
            }
            if self.desk.effects.is_empty() {
                self.desk.effects = batch;
            }
        }
        self.desk.is_performing = false;
    }

    /// What another shard, a home, has for a client of this one.
    pub(super) fn told(&mut self, effect: Effect, home: ShardIx) {
        if let Some(id) = client_of(&effect) {
            self.tell_client(id, effect, home);
        }
    }

    fn perform_call(&mut self, effect: Effect) {
        if let Effect::Invoke { name, .. } = &effect {
            self.measure_begun(name);
        }
        match client_of(&effect) {
            Some(id) if shard_of(id) == Some(self.mesh.me()) => {
                self.tell_client(id, effect, self.mesh.me());
            }
            Some(id) => {
                if let Some(shard) = shard_of(id) {
                    self.mesh.stage(shard, Handoff::Told(Box::new(effect)));
                }
            }
            None => self.perform_at_home(effect),
        }
    }

    /// What is not for a client.
    fn perform_at_home(&mut self, effect: Effect) {
        match effect {
            Effect::Send { .. } => self.send_call(effect),
            Effect::Count(counted) => self.probe.calls.count(counted),
            Effect::Measured { name, what, took } => self.measure(&name, what, took),
            Effect::Function(function::Effect::Offer { name, body }) => {
                self.tell_other_homes(&name, Some(&body));
                self.report_function(name, Some(body));
            }
            Effect::Function(function::Effect::Retract { name }) => {
                self.tell_other_homes(&name, None);
                self.report_function(name, None);
            }
            Effect::Function(function::Effect::Unreadable { owner }) => {
                self.probe.calls.functions_unreadable.add(1);
                tracing::debug!(node = %owner, "a function that cannot be read");
            }
            Effect::Function(function::Effect::SplitRefused { name }) => {
                tracing::warn!(%name, "calls of no further function are split");
            }
            // For a client.
            Effect::Function(
                function::Effect::Registered { .. }
                | function::Effect::Refused { .. }
                | function::Effect::Revoked { .. }
                | function::Effect::Unregistered(_)
                | function::Effect::Drained(_),
            )
            | Effect::Invoke { .. }
            | Effect::Withdraw { .. }
            | Effect::Part { .. }
            | Effect::Result { .. }
            | Effect::Failed { .. } => (),
        }
    }

    /// Names and ids that are taken here are taken on the whole node.
    fn tell_other_homes(&mut self, name: &Bytes, body: Option<&Bytes>) {
        let (me, owner) = (self.mesh.me(), self.desk.here.node);
        for shard in (0..self.mesh.shards_count()).filter_map(ShardIx::new) {
            if shard != me {
                let (name, body) = (name.clone(), body.cloned());
                let input = Input::Function(function::Input::Named { owner, name, body });
                self.mesh.stage(shard, Handoff::Call(Box::new(input)));
            }
        }
    }

    fn report_function(&mut self, name: Bytes, body: Option<Bytes>) {
        if let Some(fabric) = &mut self.fabric {
            fabric.reporter.function(name, body);
        }
    }

    /// What another node offers of a function, or how calls of it are split. Who is not the name's home
    /// keeps what a name of this cluster stands for.
    pub(super) fn function_elsewhere(&mut self, changed: &Changed) {
        let Changed { feed, cluster, key, body } = changed;
        let is_home = self.machine.home(&key.name) == self.mesh.me();
        let is_mate = *cluster == self.desk.here.cluster;
        let (owner, name, body) = (feed.node, key.name.clone(), body.clone());
        let input = match key.kind {
            Kind::SPLIT if is_home => function::Input::Shares { owner, name, body },
            Kind::FUNCTION if is_home => {
                function::Input::Changed { owner, cluster: *cluster, name, body }
            }
            Kind::FUNCTION if is_mate => function::Input::Named { owner, name, body },
            _of_another_home => return,
        };
        self.tell_calls(Input::Function(input));
        self.perform();
    }

    /// The client has said that it drains.
    pub(super) fn drain_calls(&mut self, session: SessionIx) {
        let Some(id) = self.machine.session_id(session) else { return };
        let Some(user) = self.desk.users.get_mut(&id) else { return };
        user.draining = Some(user.homes);
        self.tell_homes(id, &Input::Function(function::Input::Drain(id)));
    }

    /// A home has no job left for a client that drains.
    pub(super) fn drained_at(&mut self, id: SessionId, home: ShardIx) {
        let Some(user) = self.desk.users.get_mut(&id) else { return };
        let Some(left) = &mut user.draining else { return };
        *left &= !(1 << home.index());
        let session = user.session;
        self.mark_dirty(session);
        self.advance(session);
    }

    /// Whether a client that drains may have jobs left.
    pub(super) fn has_jobs(&self, session: SessionIx) -> bool {
        let user = self.machine.session_id(session).and_then(|id| self.desk.users.get(&id));
        user.and_then(|user| user.draining).is_some_and(|homes| homes != 0)
    }

    /// A client is gone, with all it registered and called.
    pub(super) fn end_calls(&mut self, session: SessionIx) {
        let Some(id) = self.machine.session_id(session) else { return };
        self.end_instances(session);
        self.tell_homes(id, &Input::Ended(id));
        self.desk.users.remove(&id);
    }

    /// What is due.
    pub(super) fn keep_calls(&mut self) {
        if self.desk.machine.deadline().is_some_and(|(at, _why)| at <= self.now) {
            self.tell_calls(Input::Tick);
            self.perform();
        }
    }

    /// For operators: what a call would come to, if this shard is the home of its function.
    pub(super) fn explain(&self, asked: &Asked) -> Option<Explained> {
        let Asked { name, constraint, resources, cluster } = asked;
        let is_mine = self.machine.home(name.as_str().as_bytes()) == self.mesh.me();
        let call = function::Call {
            name,
            constraint,
            resources,
            cluster: *cluster,
            within: Within::Fabric,
            version: None,
            tried: &[],
            request: 0,
        };
        let ways = self.fabric.as_ref().and_then(|fabric| fabric.table());
        let explained = is_mine.then(|| self.desk.machine.explain(&call, ways.as_ref()))?;
        let why = explained.chosen.as_ref().err().map(|failure| &failure.why);
        let chosen = explained.chosen.as_ref().ok().map(|chosen| chosen.endpoint);
        let endpoints = explained.endpoints.iter().take(FUNCTIONS_LISTED_MAX);
        Some(Explained {
            code: why.map(|why| why.word().to_owned()),
            reason: why.map(ToString::to_string),
            endpoints: endpoints.map(|one| judged(one, chosen, self.desk.here)).collect(),
        })
    }

    /// For operators: functions that this shard is the home of.
    pub(super) fn functions(&self, name: Option<&FunctionName>) -> Vec<Function> {
        let rows = self.desk.machine.functions().rows();
        let rows = rows.filter(|row| name.is_none_or(|name| row.name == name));
        rows.take(FUNCTIONS_LISTED_MAX).map(|row| listed(&row, self.desk.here)).collect()
    }
}

fn judged(one: &function::Judged<'_>, chosen: Option<EndpointId>, here: Here) -> Judged {
    let (place, cluster, node) = named(one.place, here);
    let (verdict, distance) = match one.verdict {
        Verdict::Able { distance } if chosen == Some(one.endpoint) => ("chosen", Some(distance)),
        Verdict::Able { distance } => ("able", Some(distance)),
        Verdict::Elsewhere | Verdict::Lacks(_) => (one.verdict.word(), None),
    };
    Judged {
        version: one.version.to_string(),
        resources: one.resources.names().map(str::to_owned).collect(),
        place: place.to_owned(),
        cluster: cluster.to_string(),
        node: node.to_string(),
        limit: one.limit,
        in_flight: one.in_flight,
        verdict: verdict.to_owned(),
        distance,
    }
}

fn named(place: Place, here: Here) -> (&'static str, ClusterId, NodeId) {
    match place {
        Place::Here(_) => ("here", here.cluster, here.node),
        Place::Mate(node) => ("mate", here.cluster, node),
        Place::Remote { cluster, node } => ("remote", cluster, node),
    }
}

fn listed(row: &function::Row<'_>, here: Here) -> Function {
    let (place, cluster, node) = named(row.place, here);
    let session = match row.place {
        Place::Here(worker) => Some(worker.session),
        Place::Mate(_) | Place::Remote { .. } => None,
    };
    Function {
        name: row.name.to_string(),
        id: row.id.map(|id| id.to_string()),
        version: row.version.to_string(),
        resources: row.resources.names().map(str::to_owned).collect(),
        place: place.to_owned(),
        cluster: cluster.to_string(),
        node: node.to_string(),
        session: session.map(|session| session.to_string()),
        limit: row.limit,
        in_flight: row.in_flight,
        is_open: row.is_open,
        share: row.share,
        usage: None,
    }
}

fn shard_of(id: SessionId) -> Option<ShardIx> {
    ShardIx::new((id.0 >> 56) as usize)
}

/// The client that is to hear of it.
fn client_of(effect: &Effect) -> Option<SessionId> {
    match effect {
        Effect::Invoke { worker, .. } | Effect::Withdraw { worker, .. } => Some(worker.session),
        Effect::Part { caller: Caller { session, .. }, .. }
        | Effect::Result { caller: Caller { session, .. }, .. }
        | Effect::Failed { caller: Caller { session, .. }, .. } => Some(*session),
        Effect::Function(told) => match told {
            function::Effect::Registered { worker, .. }
            | function::Effect::Refused { worker, .. }
            | function::Effect::Revoked { worker, .. }
            | function::Effect::Unregistered(worker) => Some(worker.session),
            function::Effect::Drained(session) => Some(*session),
            function::Effect::Offer { .. }
            | function::Effect::Retract { .. }
            | function::Effect::Unreadable { .. }
            | function::Effect::SplitRefused { .. } => None,
        },
        Effect::Send { .. } | Effect::Count(_) | Effect::Measured { .. } => None,
    }
}
