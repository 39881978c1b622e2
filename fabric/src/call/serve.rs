//! The side of the worker: calls that other nodes ask this one to run.
//!
//! ```text
//!   Ask, new --> RUNNING --- worker answers, or is gone --> KEPT --> forgotten
//!     |             |  Accepted after CALL_ACCEPT             | Ask, Poll: said again
//!     |             +-- Cancel, deadline: withdrawn           +-- deadline, or no room: the oldest first
//!     +--> refused: never run, however often it comes
//! ```
//!
//! A call is run or refused when it comes first; nothing waits. What is sent is kept until the other
//! node has said that it came, or nobody asks any more.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use core::time::Duration;

use mpreg_proto::call::{Ask, CallError, CallId, Message, Ran, Refusal, Route};
use mpreg_proto::function::{FunctionName, Version};

use super::failure::error_of;
use super::job::{Client, JobKey, Task};
use super::window::Verdict;
use super::{Calls, Counted, Due, Effect, Reply, Step, Value, draw_of};
use crate::function::{self, EndpointId, Place, Within, Worker};
use crate::hop::ReplyWay;
use crate::limits::{
    CALL_ACCEPT, CALL_ANSWER_OVERHEAD_BYTES, CALL_DEADLINE_MAX, CALL_WORD_DEADLINE,
};
use crate::time::Instant;

/// A call of another node.
#[derive(Debug)]
pub(super) struct Served {
    name: FunctionName,
    /// By which its last word came.
    way: ReplyWay,
    until: Instant,
    timer: Instant,
    state: State,
    /// Parts of the result that are not known to have come, from the one with number `first` on.
    parts: VecDeque<Value>,
    first: u32,
    parts_bytes: usize,
    traced: Option<Box<Traced>>,
}

/// Which way a call came whose answer is to say that.
#[derive(Debug)]
struct Traced {
    since: Instant,
    /// How long it took is known with the last part.
    ran: Ran,
}

#[derive(Debug)]
enum State {
    Running {
        job: JobKey,
        /// The other node knows.
        is_told: bool,
    },
    /// Its last part is among the parts, or came.
    Answered {
        kept: u64,
    },
    Failed {
        kept: u64,
        refusal: Refusal,
    },
}

/// Who is to run it.
type Chosen = (EndpointId, Worker, Version);

impl Calls {
    pub(super) fn asked_for(
        &mut self,
        (from, route): (ReplyWay, Option<Route>),
        name: FunctionName,
        (ask, value): (Ask, Value),
        left: Duration,
        step: &mut Step<'_>,
    ) {
        let call = ask.call;
        if let Some(served) = self.served.get_mut(&call) {
            served.way = from;
            step.count(Counted::DuplicateAsk);
            return self.say_again(call, 0, step);
        }
        if ask.life != self.life {
            return say(&from, &name, Message::Unknown { call }, step);
        }
        let verdict = self.window.check(call);
        if verdict != Verdict::Fresh {
            step.count(Counted::DuplicateAsk);
            return say(&from, &name, forgotten(call, verdict), step);
        }
        let refusal = match self.choose(&name, &ask, step) {
            Ok(_) if left.is_zero() => (CallError::Deadline, "it came too late".into()),
            Ok(chosen) => {
                let way = (from, route);
                return self.serve((way, name), (call, value), chosen, left, step);
            }
            Err(refusal) => refusal,
        };
        let (error, text) = refusal;
        if error == CallError::Overloaded {
            step.count(Counted::Shed);
        }
        // Where there is no room to remember that it was refused, a copy may run later.
        let may_have_run = !self.window.note(call, false, step.now);
        let refusal = Refusal { call, error, may_have_run, is_by_function: false, text };
        say(&from, &name, Message::Failed(refusal.into()), step);
    }

    /// The worker of this node that is to run it: of the version the origin chose, if there is one.
    fn choose(
        &self,
        name: &FunctionName,
        ask: &Ask,
        step: &Step<'_>,
    ) -> Result<Chosen, (CallError, String)> {
        if self.bounds.served_max <= self.served.len() || !self.has_room_for_job() {
            return Err((CallError::Overloaded, "the node has as many calls as it may".into()));
        }
        let Ask { constraint, resources, .. } = ask;
        let by_constraint = function::Call {
            name,
            constraint,
            resources,
            cluster: None,
            within: Within::Node,
            version: None,
            tried: &[],
            request: draw_of(ask.call),
        };
        let by_version = function::Call { version: Some(&ask.version), ..by_constraint };
        let select = |call| self.functions.select(call, step.distance());
        let chosen = select(&by_version).or_else(|_| select(&by_constraint));
        match chosen {
            Ok(function::Chosen { endpoint, place: Place::Here(worker), version, .. }) => {
                Ok((endpoint, worker, version.clone()))
            }
            Ok(_) => unreachable!("only workers of this node were looked at"),
            Err(none) => Err((error_of(&none.why), none.why.to_string())),
        }
    }

    fn serve(
        &mut self,
        ((way, route), name): ((ReplyWay, Option<Route>), FunctionName),
        (call, value): (CallId, Value),
        (endpoint, worker, version): Chosen,
        left: Duration,
        step: &mut Step<'_>,
    ) {
        if !self.window.note(call, true, step.now) {
            let (error, text) = (CallError::Overloaded, "the node knows too many others".into());
            step.count(Counted::Shed);
            let (may_have_run, is_by_function) = (true, false);
            let refusal = Refusal { call, error, may_have_run, is_by_function, text };
            return say(&way, &name, Message::Failed(refusal.into()), step);
        }
        let until = step.now + left.min(CALL_DEADLINE_MAX);
        let task = Task { name: name.clone(), version, until, value };
        let job = self.start((endpoint, worker), Client::Served(call), task, step);
        let timer = until.min(step.now + CALL_ACCEPT);
        self.timers.insert((timer, Due::Served(call)));
        let state = State::Running { job, is_told: false };
        let (parts, first, parts_bytes) = (VecDeque::new(), 0, 0);
        let ran = |route| Ran { route, took: Duration::ZERO };
        let traced = route.map(|route| Box::new(Traced { since: step.now, ran: ran(route) }));
        let served = Served { name, way, until, timer, state, parts, first, parts_bytes, traced };
        self.served.insert(call, served);
    }

    /// Parts before `have` came; those after it are to be sent again.
    pub(super) fn polled(
        &mut self,
        from: ReplyWay,
        name: FunctionName,
        (call, have): (CallId, u32),
        step: &mut Step<'_>,
    ) {
        if let Some(served) = self.served.get_mut(&call) {
            served.way = from;
            self.acked(call, have, step);
            return self.say_again(call, have, step);
        }
        let message = match self.window.check(call) {
            Verdict::Fresh | Verdict::Late => Message::Unknown { call },
            verdict @ (Verdict::Started | Verdict::Refused) => forgotten(call, verdict),
        };
        say(&from, &name, message, step);
    }

    /// Parts before `have` came.
    pub(super) fn acked(&mut self, call: CallId, have: u32, step: &mut Step<'_>) {
        let Some(served) = self.served.get_mut(&call) else {
            return step.count(Counted::StrayMessage);
        };
        while served.first < have
            && let Some(part) = served.parts.pop_front()
        {
            served.first += 1;
            served.parts_bytes -= cost(&part);
            self.served_bytes -= cost(&part);
        }
        let is_all = served.parts.is_empty() && matches!(served.state, State::Answered { .. });
        if is_all {
            self.forget(call);
        }
    }

    pub(super) fn cancelled(&mut self, call: CallId, step: &mut Step<'_>) {
        match self.forget(call) {
            Some(Served { state: State::Running { job, .. }, .. }) => self.withdraw(job, step),
            Some(_) => (),
            // Its Ask may still come. What has no room here is run when it does, for nobody.
            None => _ = self.window.note(call, false, step.now),
        }
    }

    pub(super) fn served_reply(&mut self, call: CallId, reply: Reply, step: &mut Step<'_>) {
        match reply {
            Reply::Part(value) => self.send_part(call, value, false, step),
            Reply::Done(value) => self.send_part(call, value, true, step),
            Reply::Failed { text } => {
                let (may_have_run, is_by_function) = (true, true);
                let error = CallError::WorkerFailed;
                let refusal = Refusal { call, error, may_have_run, is_by_function, text };
                self.end_failed(refusal, step);
            }
            Reply::Declined { text } => {
                let served = self.served.get(&call).expect("a job of a served call is there");
                let may_have_run = 0 < served.first || !served.parts.is_empty();
                let (error, is_by_function) = (CallError::Overloaded, false);
                let refusal = Refusal { call, error, may_have_run, is_by_function, text };
                self.end_failed(refusal, step);
            }
        }
    }

    pub(super) fn served_worker_gone(&mut self, call: CallId, step: &mut Step<'_>) {
        let (error, text) = (CallError::WorkerFailed, "its worker went away".into());
        self.end_failed(
            Refusal { call, error, may_have_run: true, is_by_function: false, text },
            step,
        );
    }

    fn send_part(&mut self, call: CallId, value: Value, is_last: bool, step: &mut Step<'_>) {
        let parts_bytes_max = self.bounds.parts_bytes_max;
        let bytes = cost(&value);
        let has_room = self.make_room(bytes);
        let served = self.served.get_mut(&call).expect("a job of a served call is there with it");
        if !has_room || parts_bytes_max < served.parts_bytes + bytes {
            let text = "its parts come faster than they are taken".into();
            return self.give_up_job(call, text, is_last, step);
        }
        let part = served.first + served.parts.len() as u32;
        served.parts.push_back(value.clone());
        served.parts_bytes += bytes;
        self.served_bytes += bytes;
        if let State::Running { is_told, .. } = &mut served.state {
            *is_told = true;
        }
        if let Some(traced) = served.traced.as_mut().filter(|_| is_last) {
            traced.ran.took = step.now.since(traced.since);
        }
        let message = served.answer(call, part, is_last);
        served.send((message, value), step);
        if is_last {
            let kept = self.keep(call);
            let served = self.served.get_mut(&call).expect("it was just there");
            served.state = State::Answered { kept };
            self.make_room(0);
        }
    }

    /// What it says finds no room.
    fn give_up_job(&mut self, call: CallId, text: String, is_over: bool, step: &mut Step<'_>) {
        step.count(Counted::Shed);
        let served = self.served.get(&call).expect("who says something is there");
        if let State::Running { job, .. } = served.state
            && !is_over
        {
            self.withdraw(job, step);
        }
        let (error, is_by_function) = (CallError::Overloaded, false);
        self.end_failed(Refusal { call, error, may_have_run: true, is_by_function, text }, step);
    }

    /// There is no more of it. What came before stays to be said again.
    fn end_failed(&mut self, refusal: Refusal, step: &mut Step<'_>) {
        let call = refusal.call;
        let kept = self.keep(call);
        let served = self.served.get_mut(&call).expect("who fails is there");
        served.say(Message::Failed(refusal.clone().into()), step);
        served.state = State::Failed { kept, refusal };
        self.make_room(0);
    }

    /// What it says is kept until its deadline, or until there is no room.
    fn keep(&mut self, call: CallId) -> u64 {
        self.kept_made += 1;
        self.kept.insert(self.kept_made, call);
        let served = self.served.get_mut(&call).expect("who is kept is there");
        self.timers.remove(&(served.timer, Due::Served(call)));
        served.timer = served.until;
        self.timers.insert((served.timer, Due::Served(call)));
        self.served_bytes += served.kept_bytes();
        self.kept_made
    }

    /// Forgets answers, the oldest first, until so much more may be held. False: it may not.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bounds.answers_bytes_max < self.served_bytes + bytes {
            let Some((_, &call)) = self.kept.first_key_value() else { return false };
            self.forget(call);
        }
        true
    }

    fn forget(&mut self, call: CallId) -> Option<Served> {
        let served = self.served.remove(&call)?;
        self.timers.remove(&(served.timer, Due::Served(call)));
        self.served_bytes -= served.parts_bytes;
        if let State::Answered { kept } | State::Failed { kept, .. } = served.state {
            self.kept.remove(&kept);
            self.served_bytes -= served.kept_bytes();
        }
        Some(served)
    }

    /// What there is to say of it, parts from `have` on.
    fn say_again(&mut self, call: CallId, have: u32, step: &mut Step<'_>) {
        let Some(served) = self.served.get_mut(&call) else { return };
        let is_answered = matches!(served.state, State::Answered { .. });
        let parts = (served.first..).zip(&served.parts).filter(|(part, _)| have <= *part);
        let last = served.first + served.parts.len() as u32;
        let mut said = 0;
        for (part, value) in parts {
            let is_last = is_answered && part + 1 == last;
            served.send((served.answer(call, part, is_last), value.clone()), step);
            said += 1;
        }
        match &mut served.state {
            State::Failed { refusal, .. } => {
                let message = Message::Failed(refusal.clone().into());
                served.say(message, step);
            }
            State::Running { is_told, .. } => {
                *is_told = true;
                if said == 0 {
                    served.say(Message::Accepted { call }, step);
                }
            }
            State::Answered { .. } => (),
        }
    }

    pub(super) fn served_due(&mut self, call: CallId, step: &mut Step<'_>) {
        let served = self.served.get_mut(&call).expect("a timer of a call is there while it is");
        if served.until <= step.now {
            let served = self.forget(call).expect("it was just there");
            if let State::Running { job, .. } = served.state {
                self.withdraw(job, step);
            }
            return;
        }
        self.timers.remove(&(served.timer, Due::Served(call)));
        served.timer = served.until;
        self.timers.insert((served.timer, Due::Served(call)));
        if let State::Running { is_told: is_told @ false, .. } = &mut served.state {
            *is_told = true;
            served.say(Message::Accepted { call }, step);
        }
    }
}

impl Served {
    fn answer(&self, call: CallId, part: u32, is_last: bool) -> Message {
        let ran = self.traced.as_ref().filter(|_| is_last).map(|traced| traced.ran.clone().into());
        Message::Answer { call, part, is_last, ran }
    }

    /// What it takes while it is kept, beside its parts.
    fn kept_bytes(&self) -> usize {
        CALL_ANSWER_OVERHEAD_BYTES
            + self
                .traced
                .as_ref()
                .map_or(0, |traced| size_of::<Traced>() + traced.ran.route.bytes())
    }

    fn say(&self, message: Message, step: &mut Step<'_>) {
        self.send((message, Value::default()), step);
    }

    fn send(&self, (message, value): (Message, Value), step: &mut Step<'_>) {
        let deadline_left = self.until.since(step.now);
        send(&self.way, &self.name, (message, value), deadline_left, step);
    }
}

/// A word about a call that is not kept here.
fn say(way: &ReplyWay, name: &FunctionName, message: Message, step: &mut Step<'_>) {
    send(way, name, (message, Value::default()), CALL_WORD_DEADLINE, step);
}

fn send(
    way: &ReplyWay,
    name: &FunctionName,
    (message, value): (Message, Value),
    deadline_left: Duration,
    step: &mut Step<'_>,
) {
    let ReplyWay { origin: node, cluster, ref back } = *way;
    let (back, name) = (back.clone(), name.clone());
    step.out.push(Effect::Send { cluster, node, back, name, message, value, deadline_left });
}

/// What is known of a call that came before and is not kept.
fn forgotten(call: CallId, verdict: Verdict) -> Message {
    let (error, may_have_run, text) = match verdict {
        Verdict::Refused => (CallError::Overloaded, false, "it was refused before"),
        Verdict::Started => {
            (CallError::Unreachable, true, "it was run, and its answer is not kept")
        }
        Verdict::Fresh | Verdict::Late => {
            (CallError::Unreachable, true, "it came too late to know whether it was run")
        }
    };
    let text = text.into();
    Message::Failed(Refusal { call, error, may_have_run, is_by_function: false, text }.into())
}

/// What a part takes while it is held.
fn cost(part: &Value) -> usize {
    part.bytes.len() + CALL_ANSWER_OVERHEAD_BYTES
}
