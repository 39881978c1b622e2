//! Several nodes, workers and clients of each, and a network between them that loses, doubles, delays and
//! cuts. Everything is drawn from a seed.

use super::*;
use crate::limits::{CALL_DEADLINE_MAX, CALL_STREAM_IDLE, CALL_TRIES_MAX};
use crate::rng::Rng;
use crate::way::{Exit, Ways};

const MS: Duration = Duration::from_millis(1);

/// What goes wrong in a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    nodes: usize,
    /// Of a thousand messages.
    loss: u32,
    doubled: u32,
    /// Of a thousand messages, take up to two seconds.
    late: u32,
    /// Of a thousand turns of each node.
    crashes: u32,
    cuts: u32,
    worker_ends: u32,
    /// So many acts of clients.
    acts: u32,
    bounds: CallBounds,
}

impl Faults {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut some = |most: u32| if rng.below(2) == 0 { 0 } else { rng.below(most) };
        let (loss, doubled, late) = (some(300), some(300), some(200));
        let (crashes, cuts, worker_ends) = (some(20), some(40), some(40));
        let small = CallBounds {
            open_max: 12,
            open_per_session_max: 6,
            open_bytes_max: 400,
            jobs_max: 7,
            served_max: 6,
            answers_bytes_max: 3000,
            parts_bytes_max: 2000,
            streams_max: 3,
        };
        let bounds = if some(2) == 1 { small } else { CallBounds::NODE };
        Self {
            nodes: 2 + rng.below(4) as usize,
            loss,
            doubled,
            late,
            crashes,
            cuts,
            worker_ends,
            acts: 40 + rng.below(160),
            bounds,
        }
    }
}

impl Faults {
    fn is_mild(&self) -> bool {
        let Self { loss, late, crashes, cuts, worker_ends, bounds, .. } = *self;
        loss < 100 && [late, crashes, cuts, worker_ends] == [0; 4] && bounds == CallBounds::NODE
    }
}

struct Peer {
    /// None: it is down.
    calls: Option<Calls>,
    life: u64,
    /// Connections of clients, and of workers with their limits and what they have.
    clients: Vec<SessionId>,
    workers: BTreeMap<SessionId, At>,
    /// What it offers: body and number.
    offer: (u64, Option<Bytes>),
    /// The newest entry of each other node that came here.
    heard: BTreeMap<usize, u64>,
}

#[derive(Default)]
struct At {
    limit: u32,
    /// Token of each.
    jobs: BTreeMap<JobId, u64>,
}

enum Event {
    Message {
        to: usize,
        from: ReplyWay,
        message: Message,
        value: Value,
        left: Duration,
    },
    /// Of this life alone.
    Reply {
        node: usize,
        life: u64,
        session: SessionId,
        job: JobId,
        reply: Reply,
    },
    Entry {
        to: usize,
        of: usize,
        number: u64,
        body: Option<Bytes>,
    },
    Restart {
        node: usize,
    },
}

/// What a client was promised.
struct Promise {
    node: usize,
    life: u64,
    until: Instant,
    is_idempotent: bool,
    /// When its worker said the last word.
    done_at: Option<Instant>,
    /// None: it has not ended. Its client is gone, if it is silent.
    end: Option<End>,
    parts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Silent,
    Result,
    Failed(Failure),
}

pub(super) struct Net {
    faults: Faults,
    rng: Rng,
    now: Instant,
    peers: Vec<Peer>,
    /// Pairs that hear nothing of each other, until then.
    cuts: BTreeMap<(usize, usize), Instant>,
    events: BTreeMap<(Instant, u64), Event>,
    made: u64,
    sessions_made: u64,
    promises: Vec<Promise>,
    by_caller: BTreeMap<(usize, u64, Caller), usize>,
    runs: BTreeMap<u64, u32>,
    pub(super) counted: BTreeMap<Counted, u32>,
    is_quiet: bool,
}

fn cluster_of(node: usize) -> ClusterId {
    ClusterId(if node < 3 { 1 } else { 2 })
}

fn here(node: usize) -> Here {
    Here { node: NodeId(node as u128 + 1), cluster: cluster_of(node) }
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let faults = Faults::draw(&mut rng);
        Self::with(faults, rng)
    }

    /// Some messages are lost and some doubled, and nothing else goes wrong.
    pub(super) fn mild(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let (loss, doubled, bounds) = (80, 50, CallBounds::NODE);
        let (late, crashes, cuts, worker_ends) = (0, 0, 0, 0);
        let drawn = Faults::draw(&mut rng);
        let faults = Faults { loss, doubled, late, crashes, cuts, worker_ends, bounds, ..drawn };
        Self::with(faults, rng)
    }

    fn with(faults: Faults, rng: Rng) -> Self {
        let peer = |_| Peer {
            calls: None,
            life: 0,
            clients: Vec::new(),
            workers: BTreeMap::new(),
            offer: (0, None),
            heard: BTreeMap::new(),
        };
        let mut net = Self {
            faults,
            rng,
            now: Instant::START,
            peers: (0..faults.nodes).map(peer).collect(),
            cuts: BTreeMap::new(),
            events: BTreeMap::new(),
            made: 0,
            sessions_made: 0,
            promises: Vec::new(),
            by_caller: BTreeMap::new(),
            runs: BTreeMap::new(),
            counted: BTreeMap::new(),
            is_quiet: false,
        };
        (0..faults.nodes).for_each(|node| net.start(node));
        net
    }

    /// Things go wrong; then they do not, and all must end; then nothing may be left.
    pub(super) fn play(&mut self) {
        self.run(100 * MS);
        for _ in 0..self.faults.acts {
            self.act();
            let pause = self.rng.below(60);
            self.run(pause * MS);
        }
        self.is_quiet = true;
        self.cuts.clear();
        (0..self.peers.len()).for_each(|node| self.start(node));
        self.run(Duration::from_secs(20));
        for node in 0..self.peers.len() {
            let sessions: Vec<_> = self.peers[node].workers.keys().copied().collect();
            for session in sessions {
                let jobs: Vec<_> =
                    self.peers[node].workers[&session].jobs.clone().into_iter().collect();
                for (job, token) in jobs {
                    self.worker_says(node, session, job, Reply::Done(answer(token, 0)));
                }
            }
        }
        self.run(Duration::from_secs(1));
        self.check_all_ended();
        self.run(2 * CALL_STREAM_IDLE + CALL_DEADLINE_MAX);
        for peer in &self.peers {
            let calls = peer.calls.as_ref().unwrap();
            assert_eq!((calls.streams_count(), calls.deadline()), (0, None));
        }
    }

    fn check_all_ended(&self) {
        for (token, promise) in self.promises.iter().enumerate() {
            let runs = self.runs.get(&(token as u64)).copied().unwrap_or(0);
            let runs_max = if promise.is_idempotent { CALL_TRIES_MAX as u32 } else { 1 };
            assert!(runs <= runs_max, "call {token} ran {runs} times");
            match promise.end.as_ref().unwrap_or_else(|| panic!("call {token} never ended")) {
                End::Silent => (),
                End::Result => assert!(0 < runs, "call {token} has a result and did not run"),
                End::Failed(failure) => {
                    // With some loss and nothing worse, an answer gets there.
                    let by = promise.done_at.map(|at| at + Duration::from_secs(3));
                    let is_due = by.is_some_and(|by| by <= promise.until);
                    // Of two that are asked one may fail before the other has a result.
                    let is_lost =
                        matches!(failure.error, CallError::Deadline | CallError::Unreachable);
                    assert!(
                        !is_due || !is_lost || !self.faults.is_mild(),
                        "call {token} was answered: {failure:?}"
                    );
                    assert!(failure.may_have_run || runs == 0, "call {token} did run: {failure:?}");
                }
            }
        }
        for peer in &self.peers {
            let calls = peer.calls.as_ref().expect("all were started");
            let counts = [calls.open_count(), calls.jobs_count(), calls.served_count()];
            assert_eq!((counts, calls.held_bytes()), ([0; 3], 0), "something is left");
            assert!(calls.asked.is_empty() && calls.kept.is_empty() && calls.timers.is_empty());
            for endpoint in 0..=2000 {
                let in_flight = calls.functions.in_flight(function::EndpointId(endpoint));
                assert!(in_flight.is_none_or(|calls| calls == 0), "{endpoint}: {in_flight:?}");
            }
        }
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.rng.below(1000) < of_thousand && !self.is_quiet
    }

    fn later(&mut self, event: Event, after: Duration) {
        self.made += 1;
        self.events.insert((self.now + after, self.made), event);
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let timers = self.peers.iter().filter_map(|peer| peer.calls.as_ref()?.deadline());
            let timer = timers.map(|(at, _)| at).min();
            let Some(next) = event.into_iter().chain(timer).min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if timer.is_some_and(|at| at <= self.now) {
                (0..self.peers.len()).for_each(|node| self.tell(node, Input::Tick));
            } else {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message { to, from, message, value, left } => {
                let (name, deadline_left) = (sum(), left);
                self.tell(to, Input::Heard { from, name, message, value, deadline_left });
            }
            Event::Reply { node, life, session, job, reply } => {
                if self.peers[node].life == life {
                    self.worker_says(node, session, job, reply);
                }
            }
            Event::Entry { to, of, number, body } => {
                let is_new = self.peers[to].heard.get(&of).is_none_or(|known| *known < number);
                if self.peers[to].calls.is_some() && is_new {
                    self.peers[to].heard.insert(of, number);
                    let Here { node: owner, cluster } = here(of);
                    let name = "sum".into();
                    let changed = function::Input::Changed { owner, cluster, name, body };
                    self.tell(to, Input::Function(changed));
                }
            }
            Event::Restart { node } => self.start(node),
        }
    }

    fn start(&mut self, node: usize) {
        if self.peers[node].calls.is_some() {
            return;
        }
        let peer = &mut self.peers[node];
        peer.life += 1;
        let shard = ShardIx::new(0).unwrap();
        peer.calls =
            Some(Calls::new(here(node), Incarnation(peer.life), shard, self.faults.bounds));
        for of in 0..self.peers.len() {
            let (number, body) = self.peers[of].offer.clone();
            if of != node && self.peers[of].calls.is_some() {
                self.later(Event::Entry { to: node, of, number, body }, 20 * MS);
            }
        }
        for _ in 0..2 {
            self.sessions_made += 1;
            let client = SessionId(self.sessions_made);
            self.peers[node].clients.push(client);
        }
        for _ in 0..self.rng.below(3) {
            self.add_worker(node);
        }
    }

    fn add_worker(&mut self, node: usize) {
        self.sessions_made += 1;
        let (session, limit) = (self.sessions_made, 1 + self.rng.below(3));
        let jobs = BTreeMap::new();
        self.peers[node].workers.insert(SessionId(session), At { limit, jobs });
        let version = ["1.0.0", "1.1.0", "2.0.0"][self.rng.below(3) as usize];
        self.tell(node, register(session, limit, version));
    }

    fn crash(&mut self, node: usize) {
        let peer = &mut self.peers[node];
        if peer.calls.take().is_none() {
            return;
        }
        peer.clients.clear();
        peer.workers.clear();
        peer.heard.clear();
        peer.offer = (peer.offer.0 + 1, None);
        let life = peer.life;
        for promise in &mut self.promises {
            if (promise.node, promise.life) == (node, life) {
                promise.end.get_or_insert(End::Silent);
            }
        }
        let (number, _) = self.peers[node].offer;
        for to in (0..self.peers.len()).filter(|&to| to != node) {
            let after = 200 + self.rng.below(1500);
            self.later(Event::Entry { to, of: node, number, body: None }, after * MS);
        }
        let after = 50 + self.rng.below(3000);
        self.later(Event::Restart { node }, after * MS);
    }

    fn act(&mut self) {
        let node = self.rng.below(self.peers.len() as u32) as usize;
        if self.chance(self.faults.crashes) {
            return self.crash(node);
        }
        if self.chance(self.faults.cuts) {
            let other = self.rng.below(self.peers.len() as u32) as usize;
            let until = self.now + self.rng.below(3000) * MS;
            self.cuts.insert((node.min(other), node.max(other)), until);
        }
        if self.peers[node].calls.is_none() {
            return;
        }
        let is_ended = self.chance(self.faults.worker_ends);
        if is_ended && let Some(&session) = self.peers[node].workers.keys().next() {
            self.peers[node].workers.remove(&session);
            self.tell(node, Input::Ended(session));
            return self.add_worker(node);
        }
        let is_gone = self.chance(self.faults.worker_ends);
        if is_gone && let Some(session) = self.peers[node].clients.pop() {
            self.tell(node, Input::Ended(session));
            for (&(at, _, caller), &token) in &self.by_caller {
                if at == node && caller.session == session {
                    self.promises[token].end.get_or_insert(End::Silent);
                }
            }
            self.sessions_made += 1;
            let client = SessionId(self.sessions_made);
            self.peers[node].clients.push(client);
        }
        match self.rng.below(12) {
            0 => self.cancel_some(node),
            1 => {
                let sessions: Vec<_> = self.peers[node].workers.keys().copied().collect();
                if let Some(&session) = sessions.last() {
                    let worker = Worker { session, number: 1 };
                    let is_well = self.rng.below(3) != 0;
                    let health =
                        if is_well { function::Health::Well } else { function::Health::Ill };
                    self.tell(node, Input::Function(function::Input::Health { worker, health }));
                }
            }
            2 if self.peers[node].workers.len() < 3 => self.add_worker(node),
            _ => self.call(node),
        }
    }

    fn call(&mut self, node: usize) {
        let clients = &self.peers[node].clients;
        if clients.is_empty() {
            return;
        }
        let session = clients[self.rng.below(clients.len() as u32) as usize];
        let token = self.promises.len();
        let caller = Caller { session, number: token as u64 };
        let deadline = (50 + self.rng.below(4000)) * MS;
        let is_idempotent = self.rng.below(2) == 0;
        let hedge_after =
            (is_idempotent && self.rng.below(2) == 0).then(|| self.rng.below(300) * MS);
        let cluster = (self.rng.below(6) == 0).then_some(ClusterId(2));
        let constraint = ["*", "^1", "2.*"][self.rng.below(3) as usize].parse().unwrap();
        let request = Request {
            constraint,
            cluster,
            deadline: Some(deadline),
            is_idempotent,
            hedge_after,
            value: value(&token.to_string()),
            ..request("")
        };
        let (life, until) = (self.peers[node].life, self.now + deadline);
        let (done_at, end, parts) = (None, None, 0);
        self.promises.push(Promise { node, life, until, is_idempotent, done_at, end, parts });
        self.by_caller.insert((node, life, caller), token);
        self.tell(node, Input::Call { caller, request });
    }

    fn cancel_some(&mut self, node: usize) {
        let life = self.peers[node].life;
        let open = |promise: &Promise| {
            (promise.node, promise.life) == (node, life) && promise.end.is_none()
        };
        let Some(token) = self.promises.iter().position(open) else { return };
        let found = self.by_caller.iter().find(|(_, known)| **known == token);
        let (&(_, _, caller), _) = found.unwrap();
        self.tell(node, Input::Cancel(caller));
        assert!(self.promises[token].end.is_some(), "cancelled");
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        let until = self.cuts.get(&(one.min(other), one.max(other)));
        until.is_some_and(|until| self.now < *until)
    }

    fn tell(&mut self, node: usize, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let others = (0..self.peers.len()).filter(|&other| other != node);
            let up: Vec<usize> = others.filter(|&other| !self.is_cut(node, other)).collect();
            let link = |&other: &usize| {
                let Here { node: peer, cluster } = here(other);
                Link { peer, cluster, circuit: Circuit::Closed }
            };
            let links: Vec<Link> = up.iter().map(link).collect();
            let mine = here(node).cluster;
            let exits: Vec<Exit> = links
                .iter()
                .filter(|link| link.cluster != mine)
                .map(|link| Exit { node: link.peer, cluster: link.cluster })
                .collect();
            let to = ClusterId(3 - mine.0);
            let clusters = match exits.is_empty() {
                true => vec![],
                false => vec![Ways { to, exits, equal_count: 1, distance: 1 }],
            };
            let table = Table { here: here(node), clusters: &clusters, nodes: &[], links: &links };
            let Some(calls) = self.peers[node].calls.as_mut() else { return };
            let mut effects = Vec::new();
            calls.handle(input, Some(&table), self.now, &mut effects);
            self.check_bounds(node);
            for effect in effects {
                inputs.extend(self.perform(node, effect));
            }
        }
    }

    fn check_bounds(&self, node: usize) {
        let calls = self.peers[node].calls.as_ref().unwrap();
        let CallBounds { open_max, jobs_max, served_max, streams_max, .. } = calls.bounds;
        assert!(calls.open_count() <= open_max && calls.jobs_count() <= jobs_max);
        assert!(calls.served_count() <= served_max && calls.streams_count() <= streams_max);
        assert!(calls.open_bytes <= calls.bounds.open_bytes_max);
        assert!(calls.served_bytes <= calls.bounds.answers_bytes_max);
    }

    fn perform(&mut self, node: usize, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Invoke { worker, job, value, .. } => self.invoked(node, worker, job, &value),
            Effect::Withdraw { worker, job } => {
                let at = &self.peers[node].workers[&worker.session];
                let token = at.jobs[&job];
                if self.rng.below(2) == 0 {
                    self.reply_later(node, worker.session, job, Reply::Done(answer(token, 0)), 5);
                }
            }
            Effect::Part { caller, value } => {
                let promise = self.promise(node, caller);
                assert_eq!(value, answer(caller.number, promise.parts), "parts are in order");
                promise.parts += 1;
                assert_eq!(promise.end, None);
            }
            Effect::Result { caller, value } => {
                let promise = self.promise(node, caller);
                assert_eq!(value, answer(caller.number, promise.parts), "it is of its call");
                self.ended(node, caller, End::Result);
            }
            Effect::Failed { caller, failure } => self.ended(node, caller, End::Failed(*failure)),
            Effect::Send { node: to, message, value, deadline_left, .. } => {
                return self.send(node, to.0 as usize - 1, (message, value), deadline_left);
            }
            Effect::Function(function::Effect::Offer { body, .. }) => self.offer(node, Some(body)),
            Effect::Function(function::Effect::Retract { .. }) => self.offer(node, None),
            Effect::Function(_) => (),
            Effect::Count(what) => *self.counted.entry(what).or_default() += 1,
        }
        None
    }

    fn promise(&mut self, node: usize, caller: Caller) -> &mut Promise {
        let life = self.peers[node].life;
        let token = self.by_caller[&(node, life, caller)];
        &mut self.promises[token]
    }

    fn ended(&mut self, node: usize, caller: Caller, end: End) {
        let now = self.now;
        let promise = self.promise(node, caller);
        assert_eq!(promise.end, None, "a call ends once");
        assert!(now <= promise.until, "a call ends by its deadline");
        promise.end = Some(end);
    }

    fn offer(&mut self, node: usize, body: Option<Bytes>) {
        let number = self.peers[node].offer.0 + 1;
        self.peers[node].offer = (number, body.clone());
        for to in (0..self.peers.len()).filter(|&to| to != node) {
            let after = 5 + self.rng.below(100);
            let body = body.clone();
            self.later(Event::Entry { to, of: node, number, body }, after * MS);
        }
    }

    fn send(
        &mut self,
        from: usize,
        to: usize,
        (message, value): (Message, Value),
        left: Duration,
    ) -> Option<Input> {
        let is_cut = self.is_cut(from, to);
        if is_cut || self.chance(self.faults.loss) {
            // Lost without a word, or known not to have left, or dropped by a node between.
            let reason = Reason::LinkDown;
            return match (self.rng.below(3), message.ask()) {
                (0, _) => Some(Input::NotSent { message, reason }),
                (1, Some(ask)) => {
                    let path = vec![here(from).node, NodeId(99)];
                    let (call, attempt) = (ask.call, ask.attempt);
                    let dropped = Dropped { call, attempt, reason, path };
                    let back = vec![NodeId(99)];
                    let way = ReplyWay { origin: NodeId(99), cluster: ClusterId(1), back };
                    let message = Message::Dropped(dropped.into());
                    self.deliver(from, way, (message, Value::default()), left);
                    None
                }
                (_, _) => None,
            };
        }
        let Here { node, cluster } = here(from);
        let way = ReplyWay { origin: node, cluster, back: vec![node] };
        if self.chance(self.faults.doubled) {
            self.deliver(to, way.clone(), (message.clone(), value.clone()), left);
        }
        self.deliver(to, way, (message, value), left);
        None
    }

    fn deliver(
        &mut self,
        to: usize,
        from: ReplyWay,
        (message, value): (Message, Value),
        left: Duration,
    ) {
        // As on the wire.
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        assert_eq!(Message::parse(&bytes), Ok(message.clone()));
        let after = if self.chance(self.faults.late) { 2000 } else { 20 };
        let after = (1 + self.rng.below(after)) * MS;
        self.later(Event::Message { to, from, message, value, left }, after);
    }

    fn invoked(&mut self, node: usize, worker: Worker, job: JobId, value: &Value) {
        let token: u64 = core::str::from_utf8(&value.bytes).unwrap().parse().unwrap();
        *self.runs.entry(token).or_default() += 1;
        let at = self.peers[node].workers.get_mut(&worker.session).expect("it is connected");
        at.jobs.insert(job, token);
        assert!(at.jobs.len() as u32 <= at.limit, "a worker has no more than its limit");
        let session = worker.session;
        let mut after = self.rng.below(60);
        match self.rng.below(20) {
            0 => (),
            1 => {
                let text = "no".into();
                self.reply_later(node, session, job, Reply::Failed { text }, after);
            }
            2..=5 => {
                let parts = self.rng.below(40);
                for part in 0..parts {
                    self.reply_later(node, session, job, Reply::Part(answer(token, part)), after);
                    after += self.rng.below(10);
                }
                self.reply_later(node, session, job, Reply::Done(answer(token, parts)), after);
            }
            6..=8 => {
                let after = 200 + self.rng.below(3000);
                self.reply_later(node, session, job, Reply::Done(answer(token, 0)), after);
            }
            _ => self.reply_later(node, session, job, Reply::Done(answer(token, 0)), after),
        }
    }

    fn reply_later(
        &mut self,
        node: usize,
        session: SessionId,
        job: JobId,
        reply: Reply,
        after: u32,
    ) {
        let life = self.peers[node].life;
        self.later(Event::Reply { node, life, session, job, reply }, after * MS);
    }

    /// Once only: a worker that was told to stop may have said the last word.
    fn worker_says(&mut self, node: usize, session: SessionId, job: JobId, reply: Reply) {
        let Some(at) = self.peers[node].workers.get_mut(&session) else { return };
        let token = match reply {
            Reply::Part(_) => at.jobs.get(&job).copied(),
            Reply::Done(_) | Reply::Failed { .. } => at.jobs.remove(&job),
        };
        if let Some(token) = token {
            if matches!(reply, Reply::Done(_)) {
                self.promises[token as usize].done_at = Some(self.now);
            }
            self.tell(node, Input::Replied { session, job, reply });
        }
    }
}

/// A part of the result of the call with this token.
fn answer(token: u64, part: u32) -> Value {
    value(&format!("{token} {part} {}", "x".repeat((token % 100) as usize)))
}
