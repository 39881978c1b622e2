//! Services of NATS clients as workers: asked what they offer, registered, given jobs.
//!
//! ```text
//!   SUB, UNSUB, time, answers --> Instances --> Act --> MSG $SRV.INFO…; Register, Unregister --> home
//!   home --> Invoke --> MSG endpoint's subject, reply $MPREG.JOB.n --> PUB $MPREG.JOB.n --> Replied
//! ```
//!
//! Invariants:
//! - Only the connection that a job was given to answers it: it is known by its session, not by what it
//!   says.
//! - A client that unsubscribes from an endpoint has its PONG once no further job comes, so that it loses
//!   none when it drains.
//! - A job that has no room in a client's queue is declined; the client stays.

use mpreg_fabric::call::{Effect, Input, Reply};
use mpreg_fabric::function::{self, Registration, Worker};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::permission::Verdict;
use mpreg_fabric::time::Instant;
use mpreg_proto::call::JobId;
use mpreg_proto::frame::Publish;
use mpreg_proto::id::{SessionId, ShardIx, Sid};
use mpreg_proto::topic::{Dialect, Pattern};

use super::Switch;
use super::run::Run;
use crate::limits::NATS_INSTANCES_MAX;
use crate::nats::call::{info_subject, job_headers, job_subject};
use crate::nats::micro::{Act, Subscribed};
use crate::nats::sid::is_number;
use crate::outbound::Lane;

impl Switch {
    /// A NATS client has subscribed.
    pub(super) fn note_subscribed(
        &mut self,
        session: SessionIx,
        sid: Sid,
        pattern: Pattern<'_>,
        group: &str,
    ) {
        let now = self.now;
        if self.machine.member(session, sid).is_none() {
            return;
        }
        let Some(client) = self.client_mut(session) else { return };
        if !client.instances.subscribed(sid, pattern.as_str(), group, now) {
            self.probe.calls.micro_refused.add(1);
            let (subject, most) = (pattern.as_str(), NATS_INSTANCES_MAX);
            tracing::warn!(subject, "a connection has more than {most} services: no functions");
        }
        self.schedule_instances(session);
    }

    /// A subscription of a NATS client is over.
    pub(super) fn note_unsubscribed(&mut self, session: SessionIx, sid: Sid) {
        let (now, mut acts) = (self.now, Vec::new());
        let Some(client) = self.client_mut(session) else { return };
        client.instances.unsubscribed(sid, now, &mut acts);
        self.act_instances(session, acts);
    }

    /// What is due.
    pub(super) fn keep_instances(&mut self) {
        while let Some(&(at, session)) = self.desk.instances.first()
            && at <= self.now
        {
            let (now, mut acts) = (self.now, Vec::new());
            let Some(client) = self.client_mut(session) else {
                self.desk.instances.pop_first();
                continue;
            };
            client.instances.tick(now, &mut acts);
            self.act_instances(session, acts);
            self.perform();
        }
    }

    /// A connection is over, and its services are asked no more.
    pub(super) fn end_instances(&mut self, session: SessionIx) {
        let link = self.link_mut(session);
        let Some(client) = link.and_then(|link| link.nats.as_deref_mut()) else { return };
        let due = std::mem::replace(&mut client.instances_due, Instant::NEVER);
        self.desk.instances.remove(&(due, session));
    }

    /// The answer to a question for INFO.
    pub(super) fn instance_said(&mut self, session: SessionIx, question: u64, json: &[u8]) {
        let mut acts = Vec::new();
        let Self { machine, links, .. } = self;
        let link = links.get_mut(session.0 as usize).and_then(Option::as_mut);
        let Some(client) = link.and_then(|link| link.nats.as_deref_mut()) else { return };
        let mut subscribed = Subscribed::new();
        let lasting = machine.subscriptions_of(session).filter(|known| known.limit == 0);
        for known in lasting.filter(|known| !known.group.is_empty()) {
            subscribed.entry((known.pattern, known.group)).or_default().push(known.sid);
        }
        let mut instances = std::mem::take(&mut client.instances);
        let may = |name: &str, group: &str| {
            let pattern = Pattern::parse_as(name.as_bytes(), Dialect::Nats);
            pattern.is_ok_and(|it| client.may_subscribe(it, Some(group)) == Verdict::Allowed)
        };
        instances.answered(question, json, &subscribed, may, &mut acts);
        client.instances = instances;
        self.act_instances(session, acts);
    }

    fn schedule_instances(&mut self, session: SessionIx) {
        let Some(client) = self.client_mut(session) else { return };
        let due = client.instances.deadline();
        let was = std::mem::replace(&mut client.instances_due, due);
        if was != due {
            self.desk.instances.remove(&(was, session));
            if due < Instant::NEVER {
                self.desk.instances.insert((due, session));
            }
        }
    }

    fn act_instances(&mut self, session: SessionIx, acts: Vec<Act>) {
        self.schedule_instances(session);
        let Some(id) = self.machine.session_id(session) else { return };
        acts.into_iter().for_each(|act| self.act_instance(session, id, act));
    }

    fn act_instance(&mut self, session: SessionIx, id: SessionId, act: Act) {
        match act {
            Act::Ask { sid, subject, question } => self.ask_info(session, sid, &subject, question),
            Act::Register { number, registration } => {
                self.register_nats(session, Worker { session: id, number }, registration);
            }
            Act::Unregister { number } => {
                if let Some(client) = self.client_mut(session) {
                    client.runs_held += 1;
                }
                let worker = Worker { session: id, number };
                if !self.tell_worker_home(worker, function::Input::Unregister(worker)) {
                    self.endpoint_left(session, worker);
                }
            }
            Act::Health { number, health } => {
                let worker = Worker { session: id, number };
                self.tell_worker_home(worker, function::Input::Health { worker, health });
            }
            Act::Refused { subject, why } => {
                self.probe.calls.micro_refused.add(1);
                tracing::info!(session = %id, subject, why, "no function");
            }
            Act::Unanswered { subject } => {
                self.probe.calls.micro_unanswered.add(1);
                tracing::info!(session = %id, subject, "no answer in time");
            }
        }
    }

    fn ask_info(&mut self, session: SessionIx, sid: Sid, subject: &str, question: u64) {
        let Some(member) = self.machine.member(session, sid) else { return };
        let (reply, mut frame) = (info_subject(question), Vec::new());
        let (topic, reply) = (subject.as_bytes(), reply.as_bytes());
        let is_put = Publish { topic, reply, ..Publish::default() }.put(&mut frame);
        if let Some(run) = is_put.ok().and_then(|()| Run::checked(&frame)) {
            self.deliver_to(member, &run);
        }
    }

    fn register_nats(&mut self, session: SessionIx, worker: Worker, registration: Registration) {
        match self.admit_worker(session, worker, &registration.name) {
            Ok(home) => {
                let input = function::Input::Register { worker, registration };
                self.tell_home(home, worker.session, Input::Function(input));
            }
            Err(why) => self.endpoint_refused(session, worker, &why),
        }
    }

    /// Tells a service what a home says of one of its endpoints. It is told nothing: there is no word.
    pub(super) fn tell_instance(
        &mut self,
        session: SessionIx,
        id: SessionId,
        told: function::Effect,
        home: ShardIx,
    ) {
        match told {
            function::Effect::Refused { worker, why } => {
                self.forget_worker(worker);
                self.endpoint_refused(session, worker, &why);
            }
            function::Effect::Revoked { worker, why } => {
                self.forget_worker(worker);
                self.endpoint_refused(session, worker, &function::Refusal::Taken(why));
            }
            function::Effect::Unregistered(worker) => {
                self.forget_worker(worker);
                self.endpoint_left(session, worker);
            }
            function::Effect::Drained(_) => self.drained_at(id, home),
            function::Effect::Registered { .. }
            | function::Effect::Offer { .. }
            | function::Effect::Retract { .. }
            | function::Effect::Unreadable { .. }
            | function::Effect::SplitRefused { .. } => (),
        }
    }

    fn endpoint_refused(&mut self, session: SessionIx, worker: Worker, why: &function::Refusal) {
        let client = self.client_mut(session);
        let endpoint = client.and_then(|client| client.instances.endpoint(worker.number));
        let subject = endpoint.map_or("", |endpoint| endpoint.subject.as_str());
        tracing::info!(session = %worker.session, subject, why = why.word(), "no function");
        self.probe.calls.micro_refused.add(1);
        self.endpoint_left(session, worker);
    }

    /// No job comes for it any more.
    fn endpoint_left(&mut self, session: SessionIx, worker: Worker) {
        let Some(client) = self.client_mut(session) else { return };
        if client.instances.left(worker.number) {
            self.released_nats(Some(session));
        }
    }

    /// Gives a job to a service.
    pub(super) fn invoke_nats(&mut self, session: SessionIx, invoke: Effect) {
        let Effect::Invoke { worker, job, name, version, deadline_left, value } = invoke else {
            return;
        };
        let Some(client) = self.client_mut(session) else { return };
        let Some(endpoint) = client.instances.endpoint(worker.number) else {
            return self.decline(worker.session, job, "its endpoint is gone");
        };
        let (sid, subject, reply) = (endpoint.sid, endpoint.subject.clone(), job_subject(job));
        let headers = job_headers(&name, &version, deadline_left, value.encoding);
        let (mut frame, encoding) = (Vec::new(), value.encoding);
        let (topic, reply, payload) = (subject.as_bytes(), reply.as_bytes(), &value.bytes[..]);
        let publish =
            Publish { topic, reply, headers: &headers, payload, encoding, ..Publish::default() };
        let is_put = publish.put(&mut frame);
        let Some(run) = is_put.ok().and_then(|()| Run::checked(&frame)) else {
            return self.decline(worker.session, job, "its message is too long");
        };
        if !self.has_room_for(session, frame.len()) {
            return self.decline(worker.session, job, "the queue of its connection is full");
        }
        match self.machine.member(session, sid) {
            Some(member) => self.deliver_to(member, &run),
            None if is_number(sid) => {
                run.each().for_each(|data| self.deliver_late(session, sid, data));
            }
            None => self.decline(worker.session, job, "its endpoint is gone"),
        }
    }

    fn has_room_for(&self, session: SessionIx, bytes: usize) -> bool {
        let link = self.links.get(session.0 as usize).and_then(Option::as_ref);
        link.is_some_and(|link| link.outbound.has_room(bytes, Lane::Normal, &self.budget))
    }

    fn decline(&mut self, id: SessionId, job: JobId, text: &str) {
        if let Some(home) = job.shard() {
            let reply = Reply::Declined { text: text.to_owned() };
            self.hand_to(home, Input::Replied { session: id, job, reply });
        }
    }

    /// A service has answered a job. A job's number names its home; what names none is of nobody.
    pub(super) fn replied_nats(&mut self, id: SessionId, job: JobId, reply: Reply) {
        let home = job.shard().filter(|home| home.index() < self.mesh.shards_count());
        if let Some(home) = home {
            self.tell_home(home, id, Input::Replied { session: id, job, reply });
        }
    }
}
