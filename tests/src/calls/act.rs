//! What clients and workers do.
//!
//! A worker answers soon, late, in parts, with an error, or not at all before the quiet.

use mpreg_fabric::call::{Caller, Input, Reply, Request, Value};
use mpreg_fabric::function::{self, Health, Worker};
use mpreg_proto::call::JobId;
use mpreg_proto::function::Resources;
use mpreg_proto::id::{ClusterId, SessionId};

use super::check::{self, End, Promise};
use super::route::is_traced;
use super::{MS, Net, Pending, answer, name, text};

impl Net {
    /// Something goes wrong, or a client or a worker does something.
    pub(super) fn act(&mut self) {
        let node = self.rng.below(self.nodes.len() as u32) as usize;
        if self.chance(self.plan.crashes) {
            return self.crash(node);
        }
        if self.chance(self.plan.cuts) {
            let other = self.rng.below(self.nodes.len() as u32) as usize;
            let until = self.now + self.rng.below(3000) * MS;
            self.cuts.insert((node.min(other), node.max(other)), until);
        }
        if self.nodes[node].calls.is_none() {
            return;
        }
        let is_fired = self.chance(self.plan.disconnects);
        if is_fired && let Some((session, _)) = self.nodes[node].workers.pop_first() {
            self.tell(node, Input::Ended(session));
            return self.add_worker(node);
        }
        let is_gone = self.chance(self.plan.disconnects);
        if is_gone && let Some(session) = self.nodes[node].clients.pop() {
            self.disconnect(node, session);
        }
        match self.rng.below(12) {
            0 => self.cancel_some(node),
            1 => self.change_health(node),
            2 if self.nodes[node].workers.len() < 3 => self.add_worker(node),
            _ => self.call(node),
        }
    }

    fn disconnect(&mut self, node: usize, session: SessionId) {
        self.tell(node, Input::Ended(session));
        for (&(at, _, caller), &token) in &self.by_caller {
            if at == node && caller.session == session {
                self.promises[token].end.get_or_insert(End::Silent);
            }
        }
        self.add_client(node);
    }

    fn change_health(&mut self, node: usize) {
        let Some((&session, _)) = self.nodes[node].workers.last_key_value() else { return };
        let worker = Worker { session, number: 1 };
        let health = if self.rng.below(3) == 0 { Health::Ill } else { Health::Well };
        self.tell(node, Input::Function(function::Input::Health { worker, health }));
    }

    fn call(&mut self, node: usize) {
        let clients = &self.nodes[node].clients;
        let session = clients[self.rng.below(clients.len() as u32) as usize];
        let token = self.promises.len();
        let caller = Caller { session, number: token as u64 };
        let deadline = (50 + self.rng.below(4000)) * MS;
        let is_idempotent = self.rng.below(2) == 0;
        let is_hedged = is_idempotent && self.rng.below(2) == 0;
        let hedge_after = is_hedged.then(|| self.rng.below(300) * MS);
        let cluster = (self.rng.below(6) == 0).then_some(ClusterId(2));
        let constraint = ["*", "^1", "2.*"][self.rng.below(3) as usize];
        let request = Request {
            name: name(),
            constraint: constraint.parse().expect("it is a constraint"),
            resources: Resources::default(),
            cluster,
            deadline: Some(deadline),
            is_idempotent,
            hedge_after,
            is_traced: is_traced(token),
            value: text(&token.to_string()),
        };
        let life = self.nodes[node].life;
        self.promises.push(Promise::new(node, life, self.now + deadline, is_idempotent));
        self.by_caller.insert((node, life, caller), token);
        self.tell(node, Input::Call { caller, request });
    }

    fn cancel_some(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let mut open = self.by_caller.iter().filter(|(key, token)| {
            (key.0, key.1) == (node, life) && self.promises[**token].end.is_none()
        });
        let Some((&(_, _, caller), &token)) = open.next() else { return };
        self.tell(node, Input::Cancel(caller));
        let verdict = check::is_cancelled(token, &self.promises[token]);
        self.note(verdict);
    }

    /// A worker got a job.
    pub(super) fn invoked(&mut self, node: usize, worker: Worker, job: JobId, value: &Value) {
        let token = str::from_utf8(&value.bytes).ok().and_then(|token| token.parse().ok());
        let token: usize = token.expect("callers send numbers");
        self.promises[token].runs += 1;
        let session = worker.session;
        let verdict = match self.nodes[node].workers.get_mut(&session) {
            Some(employee) => {
                employee.jobs.insert(job, token);
                check::is_within_limit(employee)
            }
            None => check::worker_is_there(session),
        };
        self.note(verdict);
        let after = self.rng.below(60);
        match self.rng.below(20) {
            0 => (),
            1 => {
                let text = "no".into();
                self.reply_later(node, session, (job, Reply::Failed { text }), after);
            }
            2..=5 => self.stream(node, session, (job, token), after),
            6..=8 => {
                let after = 200 + self.rng.below(3000);
                self.reply_later(node, session, (job, Reply::Done(answer(token, 0))), after);
            }
            9 => {
                let text = "full".into();
                self.reply_later(node, session, (job, Reply::Declined { text }), after);
            }
            _ => self.reply_later(node, session, (job, Reply::Done(answer(token, 0))), after),
        }
    }

    fn stream(
        &mut self,
        node: usize,
        session: SessionId,
        (job, token): (JobId, usize),
        mut after: u32,
    ) {
        let parts = self.rng.below(40);
        for part in 0..parts {
            self.reply_later(node, session, (job, Reply::Part(answer(token, part))), after);
            after += self.rng.below(10);
        }
        self.reply_later(node, session, (job, Reply::Done(answer(token, parts))), after);
    }

    /// One worker in two answers at once, the others as they would have.
    pub(super) fn withdrawn(&mut self, node: usize, worker: Worker, job: JobId) {
        let employee = self.nodes[node].workers.get(&worker.session);
        let token = employee.and_then(|employee| employee.jobs.get(&job).copied());
        let verdict = check::had_the_job(job, token);
        self.note(verdict);
        if let Some(token) = token.filter(|_| self.rng.below(2) == 0) {
            self.reply_later(node, worker.session, (job, Reply::Done(answer(token, 0))), 5);
        }
    }

    fn reply_later(
        &mut self,
        node: usize,
        session: SessionId,
        (job, reply): (JobId, Reply),
        after_ms: u32,
    ) {
        let life = self.nodes[node].life;
        self.later(Pending::Reply { node, life, session, job, reply }, after_ms * MS);
    }

    /// Once only: a worker that was told to stop may have said the last word.
    pub(super) fn worker_says(
        &mut self,
        node: usize,
        session: SessionId,
        job: JobId,
        reply: Reply,
    ) {
        let Some(employee) = self.nodes[node].workers.get_mut(&session) else { return };
        let token = match reply {
            Reply::Part(_) => employee.jobs.get(&job).copied(),
            Reply::Done(_) | Reply::Failed { .. } | Reply::Declined { .. } => {
                employee.jobs.remove(&job)
            }
        };
        if let Some(token) = token {
            if matches!(reply, Reply::Done(_)) {
                self.promises[token].done_at = Some(self.now);
            }
            if matches!(reply, Reply::Declined { .. }) {
                // It was there, and did not run.
                self.promises[token].runs -= 1;
            }
            self.tell(node, Input::Replied { session, job, reply });
        }
    }

    /// All that workers still have is answered.
    pub(super) fn answer_all(&mut self) {
        for node in 0..self.nodes.len() {
            let workers = self.nodes[node].workers.iter();
            let jobs = workers.flat_map(|(&session, employee)| {
                employee.jobs.iter().map(move |(&job, &token)| (session, job, token))
            });
            for (session, job, token) in jobs.collect::<Vec<_>>() {
                self.worker_says(node, session, job, Reply::Done(answer(token, 0)));
            }
        }
    }

    /// Its token.
    pub(super) fn token_of(&self, node: usize, caller: Caller) -> usize {
        self.by_caller[&(node, self.nodes[node].life, caller)]
    }

    pub(super) fn is_next_part(&self, node: usize, caller: Caller, value: &Value) -> bool {
        let token = self.token_of(node, caller);
        *value == answer(token, self.promises[token].parts)
    }

    pub(super) fn part_came(&mut self, node: usize, caller: Caller, value: &Value) {
        let is_right = self.is_next_part(node, caller, value);
        let token = self.token_of(node, caller);
        let verdict = check::part_is_next(token, &self.promises[token], is_right);
        self.note(verdict);
        self.promises[token].parts += 1;
    }

    pub(super) fn ended(&mut self, node: usize, caller: Caller, end: End) {
        let token = self.token_of(node, caller);
        let verdict = check::ends_once_in_time(token, &self.promises[token], &end, self.now);
        self.note(verdict);
        self.promises[token].end = Some(end);
    }
}
