//! Functions of the broker: the first worker that will do runs a call, and nothing waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mpreg_client::{CallError, SessionId, Why};
use mpreg_proto::frame::{Answer, Call, CallFailed, Frame, Invoke, Path, Rpc, Unregistered};
use mpreg_proto::function::{Constraint, Resources, Version};
use mpreg_proto::id::{ClusterId, NodeId};

use super::{Broker, Session, say};

#[derive(Default)]
pub(super) struct Functions {
    workers: BTreeMap<(SessionId, u32), Worker>,
    /// By job, which is never zero.
    calls: BTreeMap<u64, Running>,
    job_last: u64,
}

struct Worker {
    name: String,
    version: Version,
    resources: Resources,
    limit: usize,
}

struct Running {
    caller: (SessionId, u64),
    worker: (SessionId, u32),
    /// Nobody waits for it any more.
    is_over: bool,
}

type Sessions = BTreeMap<SessionId, Session>;

type Narrowing<'a> = &'a dyn Fn(&Worker) -> bool;

impl Functions {
    /// Something a client said. A call that may be too late one day: its job, and how soon.
    pub(super) fn obey(
        &mut self,
        sessions: &Sessions,
        id: SessionId,
        rpc: Rpc<'_>,
    ) -> Option<(u64, Duration)> {
        let tell = |rpc| say(&sessions[&id], Frame::Rpc(rpc));
        match rpc {
            Rpc::Register(register) => {
                let worker = Worker {
                    name: register.name.to_owned(),
                    version: register.version.parse().unwrap(),
                    resources: register.resources.read().unwrap(),
                    limit: register.limit as usize,
                };
                self.workers.insert((id, register.number), worker);
                tell(Rpc::Registered { number: register.number });
            }
            Rpc::Unregister { number } => {
                self.workers.remove(&(id, number));
                tell(Rpc::Unregistered(Unregistered { number, why: Why::Asked, text: "" }));
            }
            Rpc::Call(call) => match self.select(&call) {
                Ok(worker) => return Some(self.run(sessions, (id, call.number), worker, &call)),
                Err(code) => tell(failed(call.number, code, false, "")),
            },
            Rpc::Cancel { number } => {
                let is_it = |running: &Running| running.caller == (id, number);
                let job = self.calls.iter().find(|(_, running)| is_it(running));
                let job = job.map_or(0, |(&job, _)| job);
                self.give_up(sessions, job);
            }
            Rpc::Reply(answer) => {
                let Answer { number: job, is_last, .. } = answer;
                let running = self.calls.get(&job)?;
                let (caller, number) = running.caller;
                if let (Some(caller), false) = (sessions.get(&caller), running.is_over) {
                    let answer = Answer { number, ..answer };
                    say(caller, Frame::Rpc(Rpc::Result { answer, trace: None }));
                }
                if is_last {
                    self.calls.remove(&job);
                }
            }
            Rpc::ReplyFailed { job, text } => {
                let running = self.calls.remove(&job)?;
                let (caller, number) = running.caller;
                if let (Some(caller), false) = (sessions.get(&caller), running.is_over) {
                    let code = CallError::WorkerFailed;
                    say(caller, Frame::Rpc(failed(number, code, true, text)));
                }
            }
            other @ (Rpc::Health { .. }
            | Rpc::Registered { .. }
            | Rpc::Unregistered(_)
            | Rpc::Result { .. }
            | Rpc::CallFailed(_)
            | Rpc::Invoke(_)
            | Rpc::Withdraw { .. }) => panic!("no client says {other:?} here"),
        }
        None
    }

    /// The highest version that will do, in its first place with room.
    fn select(&self, call: &Call<'_>) -> Result<(SessionId, u32), CallError> {
        let constraint = if call.constraint.is_empty() { "*" } else { call.constraint };
        let (constraint, needed): (Constraint, _) =
            (constraint.parse().unwrap(), call.resources.read().unwrap());
        let mut found: Vec<_> = self.workers.iter().collect();
        let narrowings: [(CallError, Narrowing<'_>); 3] = [
            (CallError::NotFound, &|worker| worker.name == call.name),
            (CallError::NoVersion, &|worker| constraint.allows(&worker.version)),
            (CallError::NoResource, &|worker| needed.is_subset(&worker.resources)),
        ];
        for (code, will_do) in narrowings {
            found.retain(|(_, worker)| will_do(worker));
            if found.is_empty() {
                return Err(code);
            }
        }
        found.retain(|(id, worker)| {
            let running = self.calls.values().filter(|running| running.worker == **id);
            running.count() < worker.limit
        });
        let best = found.into_iter().max_by(|(_, a), (_, b)| a.version.cmp(&b.version));
        best.map(|(id, _)| *id).ok_or(CallError::Overloaded)
    }

    fn run(
        &mut self,
        sessions: &Sessions,
        caller: (SessionId, u64),
        worker: (SessionId, u32),
        call: &Call<'_>,
    ) -> (u64, Duration) {
        self.job_last += 1;
        let (job, deadline_ms) = (self.job_last, call.deadline_ms);
        self.calls.insert(job, Running { caller, worker, is_over: false });
        let Call { encoding, payload, .. } = *call;
        let invoke = Invoke { job, number: worker.1, deadline_ms, encoding, payload };
        say(&sessions[&worker.0], Frame::Rpc(Rpc::Invoke(invoke)));
        (job, Duration::from_millis(u64::from(deadline_ms)))
    }

    /// Nobody waits for this job any more, if it runs at all. Who waited.
    fn give_up(&mut self, sessions: &Sessions, job: u64) -> Option<(SessionId, u64)> {
        let running = self.calls.get_mut(&job).filter(|running| !running.is_over)?;
        running.is_over = true;
        if let Some(worker) = sessions.get(&running.worker.0) {
            say(worker, Frame::Rpc(Rpc::Withdraw { job }));
        }
        Some(running.caller)
    }

    fn too_late(&mut self, sessions: &Sessions, job: u64) {
        let Some((caller, number)) = self.give_up(sessions, job) else { return };
        if let Some(caller) = sessions.get(&caller) {
            say(caller, Frame::Rpc(failed(number, CallError::Deadline, true, "")));
        }
    }

    /// A connection is gone, and its workers with it.
    pub(super) fn ended(&mut self, id: SessionId) {
        self.workers.retain(|worker, _| worker.0 != id);
    }
}

/// Lets a call end in time.
pub(super) async fn end_in_time(broker: Arc<Broker>, job: u64, deadline: Duration) {
    tokio::time::sleep(deadline).await;
    let sessions = broker.sessions.lock().unwrap();
    broker.functions.lock().unwrap().too_late(&sessions, job);
}

fn failed(number: u64, code: CallError, may_have_run: bool, text: &str) -> Rpc<'_> {
    let (cluster, node, path) = (ClusterId(0), NodeId(0), Path::default());
    Rpc::CallFailed(CallFailed { number, code, may_have_run, cluster, node, path, text })
}
