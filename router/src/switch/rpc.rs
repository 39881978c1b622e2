//! What clients say of functions and calls, and what they are told.
//!
//! Names, versions and the like are texts in frames; what does not read as what it should be is refused
//! by a word of its own, and the session goes on.
//!
//! Invariant: what does not fit a client's queue ends its session, as it does for NATS: it asked for it.

use bytes::Bytes;
use core::num::NonZeroU32;
use core::time::Duration;

use mpreg_fabric::call::{Caller, Effect, Input, Reply, Request, Value};
use mpreg_fabric::function::{self, Health, Registration, Taken, Worker};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::shard::Input as SessionInput;
use mpreg_proto::call::{CallError, Failure, JobId, Trace};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{
    Answer, Call, CallFailed, Frame, Invoke, Path, Register, Rpc, TraceBlock, Unregistered, Why,
};
use mpreg_proto::function::{Constraint, FunctionId};
use mpreg_proto::id::{ClusterId, NodeId, SessionId, ShardIx};
use mpreg_proto::limits::CALL_NUMBER_MAX;

use super::Switch;
use crate::link::Stage;
use crate::outbound::Lane;

impl Switch {
    /// Takes what a client says of functions.
    pub(super) fn take_rpc(&mut self, session: SessionIx, rpc: Rpc<'_>) {
        let is_open = self.opened(session).is_some_and(|link| link.is_open);
        let Some(id) = self.machine.session_id(session).filter(|_| is_open) else {
            return self.refuse(session, ErrorCode::UnexpectedFrame);
        };
        match rpc {
            Rpc::Register(register) => self.register(session, id, &register),
            Rpc::Unregister { number } => {
                let worker = Worker { session: id, number };
                if !self.tell_worker_home(worker, function::Input::Unregister(worker)) {
                    self.say_unregistered(session, number, Why::Asked, "");
                }
            }
            Rpc::Health { number, is_well } => {
                let worker = Worker { session: id, number };
                let health = if is_well { Health::Well } else { Health::Ill };
                self.tell_worker_home(worker, function::Input::Health { worker, health });
            }
            Rpc::Call(_) if self.machine.is_draining(session) => {
                self.refuse(session, ErrorCode::UnexpectedFrame);
            }
            Rpc::Call(call) => self.call(session, id, &call),
            Rpc::Cancel { number } => {
                self.tell_homes(id, &Input::Cancel(Caller { session: id, number }));
            }
            Rpc::Reply(Answer { number, is_last, encoding, payload }) => {
                let value = Value { encoding, bytes: Bytes::copy_from_slice(payload) };
                let reply = if is_last { Reply::Done(value) } else { Reply::Part(value) };
                self.replied(session, id, JobId(number), reply);
            }
            Rpc::ReplyFailed { job, text } => {
                self.replied(session, id, JobId(job), Reply::Failed { text: text.into() });
            }
            // What only routers say.
            Rpc::Registered { .. }
            | Rpc::Unregistered(_)
            | Rpc::Result { .. }
            | Rpc::CallFailed(_)
            | Rpc::Invoke(_)
            | Rpc::Withdraw { .. } => self.refuse(session, ErrorCode::UnexpectedFrame),
        }
    }

    fn register(&mut self, session: SessionIx, id: SessionId, register: &Register<'_>) {
        let number = register.number;
        let registration = match read_registration(register) {
            Ok(registration) => registration,
            Err(text) => return self.say_unregistered(session, number, Why::Malformed, &text),
        };
        let worker = Worker { session: id, number };
        match self.admit_worker(session, worker, &registration.name) {
            Ok(home) => {
                let input = function::Input::Register { worker, registration };
                self.tell_home(home, id, Input::Function(input));
            }
            Err(why) => self.say_refused(session, number, &why),
        }
    }

    fn call(&mut self, session: SessionIx, id: SessionId, call: &Call<'_>) {
        let request = match read_call(call) {
            Ok(request) => request,
            Err(text) => {
                let failed = CallFailed {
                    number: call.number,
                    code: CallError::Malformed,
                    may_have_run: false,
                    cluster: ClusterId(0),
                    node: NodeId(0),
                    path: Path::default(),
                    text: &text,
                };
                return self.say_rpc(session, Rpc::CallFailed(failed));
            }
        };
        let home = self.machine.home(request.name.as_str().as_bytes());
        self.user(session, id);
        let caller = Caller { session: id, number: call.number };
        self.tell_home(home, id, Input::Call { caller, request });
    }

    /// A job's number names its home, and only that gives jobs.
    fn replied(&mut self, session: SessionIx, id: SessionId, job: JobId, reply: Reply) {
        let home = job.shard().filter(|home| home.index() < self.mesh.shards_count());
        match home.filter(|_| self.desk.users.contains_key(&id)) {
            Some(home) => self.tell_home(home, id, Input::Replied { session: id, job, reply }),
            None => self.refuse(session, ErrorCode::UnexpectedFrame),
        }
    }

    /// Tells a client of this shard what a home says.
    pub(super) fn tell_client(&mut self, id: SessionId, effect: Effect, home: ShardIx) {
        let Some(effect) = self.take_of_command(effect) else { return };
        let Some(session) = self.desk.users.get(&id).map(|user| user.session) else { return };
        if self.link_mut(session).is_some_and(|link| link.nats.is_some()) {
            return self.tell_requester(session, id, effect, home);
        }
        match effect {
            Effect::Invoke { worker, job, deadline_left, value, .. } => {
                let Value { encoding, bytes } = value;
                let (number, job) = (worker.number, job.0);
                let deadline_ms = millis(deadline_left);
                let invoke = Invoke { job, number, deadline_ms, encoding, payload: &bytes };
                self.say_rpc(session, Rpc::Invoke(invoke));
            }
            Effect::Withdraw { job, .. } => self.say_rpc(session, Rpc::Withdraw { job: job.0 }),
            Effect::Part { caller, value } => {
                self.say_result(session, caller, (&value, false), None);
            }
            Effect::Result { caller, value, trace } => {
                self.say_result(session, caller, (&value, true), trace.as_deref());
            }
            Effect::Failed { caller, failure } => self.say_failed(session, caller, &failure),
            Effect::Function(told) => self.tell_worker(session, id, told, home),
            Effect::Send { .. } | Effect::Count(_) | Effect::Measured { .. } => (),
        }
    }

    fn tell_worker(
        &mut self,
        session: SessionIx,
        id: SessionId,
        told: function::Effect,
        home: ShardIx,
    ) {
        match told {
            function::Effect::Registered { worker, .. } => {
                self.say_rpc(session, Rpc::Registered { number: worker.number });
            }
            function::Effect::Refused { worker, why } => {
                self.forget_worker(worker);
                self.say_refused(session, worker.number, &why);
            }
            function::Effect::Revoked { worker, why } => {
                self.forget_worker(worker);
                let why = function::Refusal::Taken(why);
                self.say_refused(session, worker.number, &why);
            }
            function::Effect::Unregistered(worker) => {
                self.forget_worker(worker);
                self.say_unregistered(session, worker.number, Why::Asked, "");
            }
            function::Effect::Drained(_) => self.drained_at(id, home),
            function::Effect::Offer { .. }
            | function::Effect::Retract { .. }
            | function::Effect::Unreadable { .. }
            | function::Effect::SplitRefused { .. } => (),
        }
    }

    pub(super) fn forget_worker(&mut self, worker: Worker) {
        if let Some(user) = self.desk.users.get_mut(&worker.session) {
            user.registrations.remove(&worker.number);
        }
    }

    fn say_refused(&mut self, session: SessionIx, number: u32, why: &function::Refusal) {
        let (why, text) = match why {
            function::Refusal::Taken(Taken::Name { by, id }) => {
                (Why::NameTaken, format!("it has the id {id} at {by}"))
            }
            function::Refusal::Taken(Taken::Id { by, name }) => {
                (Why::IdTaken, format!("it is of {name} at {by}"))
            }
            function::Refusal::Duplicate { number } => {
                (Why::Duplicate, format!("it is registered as {number}"))
            }
            function::Refusal::NumberInUse => (Why::NumberInUse, String::new()),
            function::Refusal::Draining => (Why::Draining, String::new()),
            function::Refusal::Offers => (Why::Offers, String::new()),
            function::Refusal::WorkersOfSession => (Why::WorkersOfSession, String::new()),
            function::Refusal::Workers => (Why::Workers, String::new()),
            function::Refusal::Reserved => (Why::Reserved, String::new()),
        };
        self.say_unregistered(session, number, why, &text);
    }

    fn say_unregistered(&mut self, session: SessionIx, number: u32, why: Why, text: &str) {
        self.say_rpc(session, Rpc::Unregistered(Unregistered { number, why, text }));
    }

    fn say_result(
        &mut self,
        session: SessionIx,
        caller: Caller,
        (value, is_last): (&Value, bool),
        trace: Option<&Trace>,
    ) {
        let mut room = Vec::new();
        let trace = trace.map(|trace| TraceBlock::write(trace, &mut room));
        let (number, encoding) = (caller.number, value.encoding);
        let answer = Answer { number, is_last, encoding, payload: &value.bytes };
        self.say_rpc(session, Rpc::Result { answer, trace });
    }

    fn say_failed(&mut self, session: SessionIx, caller: Caller, failure: &Failure) {
        let Failure { error, target, path, text, may_have_run } = failure;
        let path = Path::wire(path);
        let failed = CallFailed {
            number: caller.number,
            code: *error,
            may_have_run: *may_have_run,
            cluster: target.cluster.unwrap_or(ClusterId(0)),
            node: target.node.unwrap_or(NodeId(0)),
            path: Path::of(&path),
            text,
        };
        self.say_rpc(session, Rpc::CallFailed(failed));
    }

    /// Queues a frame, in the lane of messages: a large one is to delay no control frame.
    pub(super) fn say_rpc(&mut self, session: SessionIx, rpc: Rpc<'_>) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        Frame::Rpc(rpc).put(&mut bytes);
        let Self { links, budget, spares, produced_bytes, .. } = self;
        let link = links.get_mut(session.0 as usize).and_then(Option::as_mut);
        if let Some(link) = link.filter(|link| link.stage == Stage::Opened) {
            let has_room = link.outbound.has_room(bytes.len(), Lane::Normal, budget);
            if has_room {
                link.outbound.copy(&bytes, 0, Lane::Normal, budget, spares);
                *produced_bytes += bytes.len();
                self.mark_dirty(session);
            } else {
                let input = SessionInput::Refused { session, code: ErrorCode::SlowConsumer };
                self.machine.handle(input, self.now, &mut self.effects);
            }
        }
        self.scratch = bytes;
    }
}

fn read_registration(register: &Register<'_>) -> Result<Registration, String> {
    let Register { id, name, version, limit, resources, .. } = *register;
    Ok(Registration {
        name: name.parse().map_err(text_of)?,
        id: if id == 0 { FunctionId::of(name) } else { FunctionId(id) },
        version: version.parse().map_err(text_of)?,
        resources: resources.read().map_err(text_of)?,
        limit: NonZeroU32::new(limit).ok_or("a worker that takes no call at a time")?,
    })
}

fn read_call(call: &Call<'_>) -> Result<Request, String> {
    if CALL_NUMBER_MAX < call.number {
        return Err(format!("the number of a call is at most {CALL_NUMBER_MAX}"));
    }
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let cluster = Some(call.cluster).filter(|cluster| !cluster.is_empty());
    let cluster = cluster.map(str::parse::<ClusterName>).transpose().map_err(text_of)?;
    let constraint = match call.constraint {
        "" => Constraint::ANY,
        text => text.parse().map_err(text_of)?,
    };
    Ok(Request {
        name: call.name.parse().map_err(text_of)?,
        constraint,
        resources: call.resources.read().map_err(text_of)?,
        cluster: cluster.map(|cluster| cluster.id()),
        deadline: Some(ms(call.deadline_ms)).filter(|deadline| !deadline.is_zero()),
        is_idempotent: call.is_idempotent,
        is_traced: call.is_traced,
        hedge_after: Some(ms(call.hedge_after_ms)).filter(|after| !after.is_zero()),
        value: Value { encoding: call.encoding, bytes: Bytes::copy_from_slice(call.payload) },
    })
}

fn text_of(why: impl ToString) -> String {
    why.to_string()
}

/// Never nothing: what is left of a deadline is not zero.
fn millis(left: Duration) -> u32 {
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}
