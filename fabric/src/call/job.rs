//! What workers of this node are asked to run, whoever wants it.
//!
//! Invariant: a job takes a place of its worker until the worker answers it or is gone, be it wanted
//! or not.

use alloc::vec::Vec;

use mpreg_proto::call::{CallId, JobId};
use mpreg_proto::function::{FunctionName, Version};
use mpreg_proto::id::SessionId;

use super::{Caller, Calls, Counted, Effect, Measured, Reply, Step, Value};
use crate::function::{self, EndpointId, Worker};
use crate::time::Instant;

/// A worker has it.
#[derive(Debug)]
pub(super) struct Job {
    endpoint: EndpointId,
    worker: Worker,
    client: Client,
    name: FunctionName,
    since: Instant,
}

/// Who waits for what a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Caller(Caller),
    Served(CallId),
    /// It was withdrawn.
    Nobody,
}

/// A job, as the connection that has it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobKey {
    pub(super) session: SessionId,
    pub(super) job: JobId,
}

/// What is to be run.
pub(super) struct Task {
    pub(super) name: FunctionName,
    pub(super) version: Version,
    pub(super) until: Instant,
    pub(super) value: Value,
}

impl Calls {
    pub(super) fn has_room_for_job(&self) -> bool {
        self.jobs.len() < self.bounds.jobs_max
    }

    pub(super) fn start(
        &mut self,
        (endpoint, worker): (EndpointId, Worker),
        client: Client,
        task: Task,
        step: &mut Step<'_>,
    ) -> JobKey {
        self.jobs_made += 1;
        let job = JobId::new(self.shard, self.jobs_made);
        let key = JobKey { session: worker.session, job };
        self.functions.begin(endpoint);
        let Task { name, version, until, value } = task;
        let job_of = Job { endpoint, worker, client, name: name.clone(), since: step.now };
        self.jobs.insert(key, job_of);
        let deadline_left = until.since(step.now);
        step.out.push(Effect::Invoke { worker, job, name, version, deadline_left, value });
        step.count(Counted::Started);
        key
    }

    /// Nobody waits for it any more.
    pub(super) fn withdraw(&mut self, key: JobKey, step: &mut Step<'_>) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.client = Client::Nobody;
            step.out.push(Effect::Withdraw { worker: job.worker, job: key.job });
        }
    }

    pub(super) fn replied(&mut self, key: JobKey, reply: Reply, step: &mut Step<'_>) {
        let Some(job) = self.jobs.get(&key) else { return step.count(Counted::StrayReply) };
        let (client, endpoint) = (job.client, job.endpoint);
        let is_failed = matches!(reply, Reply::Failed { .. });
        if !matches!(reply, Reply::Part(_)) {
            step.measure(&job.name, Measured::Job { is_failed }, job.since);
            self.jobs.remove(&key);
            self.free(endpoint, step);
        }
        match client {
            Client::Caller(caller) => self.local_reply(caller, key, reply, step),
            Client::Served(call) => self.served_reply(call, reply, step),
            Client::Nobody => step.count(Counted::LateReply),
        }
    }

    /// A connection is gone, and with it all that was asked of it, and all that it asked.
    pub(super) fn ended(&mut self, session: SessionId, step: &mut Step<'_>) {
        self.tell_functions(function::Input::Ended(session), step);
        let first = JobKey { session, job: JobId(0) };
        let last = JobKey { session, job: JobId(u64::MAX) };
        let keys: Vec<JobKey> = self.jobs.range(first..=last).map(|(&key, _)| key).collect();
        let gone: Vec<_> =
            keys.into_iter().filter_map(|key| Some((key, self.jobs.remove(&key)?))).collect();
        self.abandon(session, step);
        for (key, Job { client, name, since, .. }) in gone {
            step.measure(&name, Measured::Job { is_failed: true }, since);
            match client {
                Client::Caller(caller) => self.local_worker_gone(caller, key, step),
                Client::Served(call) => self.served_worker_gone(call, step),
                Client::Nobody => (),
            }
        }
    }

    /// A call that began there ended.
    pub(super) fn free(&mut self, endpoint: EndpointId, step: &mut Step<'_>) {
        let mut told = Vec::new();
        self.functions.end(endpoint, &mut told);
        step.out.extend(told.into_iter().map(Effect::Function));
    }
}
