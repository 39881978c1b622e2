//! The side of the caller: who is asked, again, and after whom, until there is a result or an error.
//!
//! ```text
//!   Call --> try: worker here, or another node --> result
//!              | not run there, or idempotent        ^
//!              +--> next try ------------------------+
//!              | none left, deadline, cancelled
//!              +--> Failure
//! ```
//!
//! An open call is taken out of its map, changed, and put back or ended; whatever is done with it is
//! done in between. Its one timer is the first of its deadline, its hedge and what its tries wait for.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use mpreg_proto::call::{self, CallError, CallId, Dropped, Failure, Message, Refusal};
use mpreg_proto::function::{Constraint, FunctionName, Resources};
use mpreg_proto::hop::Reason;
use mpreg_proto::id::{ClusterId, NodeId, SessionId};

use super::far::{Far, Question};
use super::job::{Client, JobKey, Task};
use super::{Caller, Calls, Counted, Due, Effect, Reply, Request, Step, Value, draw_of};
use crate::function::{self, EndpointId, Place, Target, Within};
use crate::handoff::ReplyWay;
use crate::limits::{CALL_DEADLINE_DEFAULT, CALL_DEADLINE_MAX, CALL_TRIES_MAX, CALL_WORD_DEADLINE};
use crate::time::Instant;

/// A call of a client of this node.
#[derive(Debug)]
pub(super) struct Open {
    id: CallId,
    name: FunctionName,
    until: Instant,
    /// What it waits for first.
    timer: Instant,
    /// By tries that are over.
    may_have_run: bool,
    /// A part of the result was given out.
    is_given: bool,
    /// Side by side.
    tries: [Option<Try>; 2],
    /// What another one is asked with. None: nobody else is.
    spare: Option<Box<Spare>>,
}

#[derive(Debug)]
struct Spare {
    constraint: Constraint,
    resources: Resources,
    cluster: Option<ClusterId>,
    is_idempotent: bool,
    hedge_at: Option<Instant>,
    value: Value,
    /// Whom it was asked of.
    tried: Vec<Place>,
    /// Why the last try failed.
    last: Option<Box<Failure>>,
}

/// One endpoint that is asked.
#[derive(Debug)]
struct Try {
    endpoint: EndpointId,
    at: At,
}

#[derive(Debug)]
enum At {
    Here(JobKey),
    Far(Box<Far>),
}

/// How a try ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    /// Never, whatever copies of it still come.
    No,
    Perhaps,
    /// The function failed: it would do so elsewhere.
    Failed,
}

impl Calls {
    pub(super) fn call(&mut self, caller: Caller, request: Request, step: &mut Step<'_>) {
        if let Err((error, text)) = self.admit(caller, &request) {
            if error == CallError::Overloaded {
                step.count(Counted::Shed);
            }
            let failure = self.failure(error, &request.name, text);
            return fail(caller, failure, step);
        }
        self.calls_made += 1;
        let id = CallId::new(self.here.node, self.life, self.shard, self.calls_made);
        let mut open = Open::new(id, request, step.now);
        match self.begin_try(caller, &mut open, step) {
            Ok(()) => self.put(caller, open),
            Err(failure) => fail(caller, failure, step),
        }
    }

    fn admit(&self, caller: Caller, request: &Request) -> Result<(), (CallError, &'static str)> {
        let of_session = self.sessions.get(&caller.session);
        if of_session.is_some_and(|calls| calls.contains_key(&caller.number)) {
            return Err((CallError::Malformed, "a call of this number is under way"));
        }
        if request.hedge_after.is_some() && !request.is_idempotent {
            return Err((CallError::Malformed, "only what is idempotent may be run side by side"));
        }
        let of_session = of_session.map_or(0, |calls| calls.len());
        if self.bounds.open_per_session_max <= of_session {
            return Err((CallError::Overloaded, "the connection has as many calls as it may"));
        }
        let bytes = self.open_bytes + request.value.bytes.len();
        if self.bounds.open_max <= self.open_count || self.bounds.open_bytes_max < bytes {
            return Err((CallError::Overloaded, "this node has as many calls as it may"));
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, caller: Caller, step: &mut Step<'_>) {
        if let Some(open) = self.take(caller) {
            let failure = self.failure(CallError::Cancelled, &open.name, "the caller said so");
            self.give_up(caller, open, failure, step);
        }
    }

    /// Nobody is there to hear of these.
    pub(super) fn abandon(&mut self, session: SessionId, step: &mut Step<'_>) {
        let numbers: Vec<u64> = self
            .sessions
            .get(&session)
            .into_iter()
            .flat_map(|calls| calls.keys())
            .copied()
            .collect();
        for number in numbers {
            let open = self.take(Caller { session, number });
            self.close(open.expect("it was just listed"), step);
            step.count(Counted::Abandoned);
        }
    }

    /// Asks the best endpoint that was not asked yet, or says why nobody is left.
    fn begin_try(
        &mut self,
        caller: Caller,
        open: &mut Open,
        step: &mut Step<'_>,
    ) -> Result<(), Box<Failure>> {
        let slot = open.tries.iter().position(Option::is_none).expect("two at most");
        let spare = open.spare.as_mut().expect("who asks has what to ask with");
        let call = function::Call {
            name: &open.name,
            constraint: &spare.constraint,
            resources: &spare.resources,
            cluster: spare.cluster,
            within: Within::Fabric,
            version: None,
            tried: &spare.tried,
            request: draw_of(open.id),
        };
        let is_left = spare.tried.len() < CALL_TRIES_MAX;
        let chosen = match self.functions.select(&call, step.distance()) {
            Ok(chosen) if is_left => chosen,
            Ok(_) => return Err(spare.last.take().expect("who was asked has failed")),
            Err(none) => {
                return Err(spare.last.take().unwrap_or_else(|| self.nobody(&none)));
            }
        };
        let (endpoint, place, life) = (chosen.endpoint, chosen.place, chosen.life);
        let version = chosen.version.clone();
        let (cluster, node) = match place {
            Place::Here(worker) => {
                if !self.has_room_for_job() {
                    step.count(Counted::Shed);
                    let text = "workers have as many calls as may be";
                    return Err(self.failure(CallError::Overloaded, &open.name, text));
                }
                let value = if spare.is_idempotent {
                    spare.tried.push(place);
                    spare.value.clone()
                } else {
                    let spare = open.spare.take().expect("it was just looked at");
                    spare.value
                };
                let task = Task { name: open.name.clone(), version, until: open.until, value };
                let job = self.start((endpoint, worker), Client::Caller(caller), task, step);
                open.tries[slot] = Some(Try { endpoint, at: At::Here(job) });
                return Ok(());
            }
            Place::Mate(node) => (self.here.cluster, node),
            Place::Remote { cluster, node } => (cluster, node),
        };
        let nth = spare.tried.len();
        spare.tried.push(place);
        let mut far = Far::new((cluster, node, life), version, nth, step.now);
        far.ask(&spare.question((open.id, &open.name), open.until), step);
        self.functions.begin(endpoint);
        self.asked.insert(open.id.number, caller);
        open.tries[slot] = Some(Try { endpoint, at: At::Far(far.into()) });
        Ok(())
    }

    /// A try ended without a result. Its place is free.
    fn try_failed(
        &mut self,
        caller: Caller,
        mut open: Open,
        ran: Ran,
        failure: Box<Failure>,
        step: &mut Step<'_>,
    ) {
        open.may_have_run |= ran != Ran::No;
        let is_other_open = open.tries.iter().any(Option::is_some);
        if is_other_open && ran != Ran::Failed {
            return self.put(caller, open);
        }
        let spare = open.spare.as_mut().filter(|_| !open.is_given);
        let Some(spare) = spare.filter(|spare| match ran {
            Ran::No => true,
            Ran::Perhaps => spare.is_idempotent,
            Ran::Failed => false,
        }) else {
            return self.give_up(caller, open, failure, step);
        };
        spare.last = Some(failure);
        match self.begin_try(caller, &mut open, step) {
            Ok(()) => {
                step.count(Counted::Rerouted);
                self.put(caller, open);
            }
            Err(failure) => self.give_up(caller, open, failure, step),
        }
    }

    /// The call ends with an error.
    fn give_up(
        &mut self,
        caller: Caller,
        open: Open,
        mut failure: Box<Failure>,
        step: &mut Step<'_>,
    ) {
        failure.may_have_run = open.may_have_run();
        self.close(open, step);
        fail(caller, failure, step);
    }

    /// Tells all that are asked that nobody waits.
    fn close(&mut self, open: Open, step: &mut Step<'_>) {
        self.asked.remove(&open.id.number);
        for one in open.tries.into_iter().flatten() {
            self.close_try(one, (open.id, &open.name), step);
        }
    }

    fn close_try(&mut self, one: Try, (id, name): (CallId, &FunctionName), step: &mut Step<'_>) {
        match one.at {
            At::Here(job) => self.withdraw(job, step),
            At::Far(far) => {
                far.say(name, Message::Cancel { call: id }, step);
                self.free(one.endpoint, step);
            }
        }
    }

    /// The last part of a result.
    fn give_result(&mut self, caller: Caller, open: Open, value: Value, step: &mut Step<'_>) {
        self.close(open, step);
        step.out.push(Effect::Result { caller, value });
        step.count(Counted::Answered);
    }

    /// A part that is not the last: who gave it is who is listened to.
    fn give_part(
        &mut self,
        caller: Caller,
        (open, by): (&mut Open, usize),
        value: Value,
        step: &mut Step<'_>,
    ) {
        open.is_given = true;
        if let Some(other) = open.tries[1 - by].take() {
            open.may_have_run = true;
            self.close_try(other, (open.id, &open.name), step);
        }
        step.out.push(Effect::Part { caller, value });
    }

    pub(super) fn local_reply(
        &mut self,
        caller: Caller,
        key: JobKey,
        reply: Reply,
        step: &mut Step<'_>,
    ) {
        let mut open = self.take(caller).expect("a job of a caller is a try of its call");
        let by = open.position(|at| matches!(at, At::Here(job) if *job == key));
        let by = by.expect("a job of a caller is a try of its call");
        match reply {
            Reply::Part(value) => {
                self.give_part(caller, (&mut open, by), value, step);
                self.put(caller, open);
            }
            Reply::Done(value) => {
                open.tries[by] = None;
                self.give_result(caller, open, value, step);
            }
            Reply::Failed { text } => {
                open.tries[by] = None;
                let failure = self.failure(CallError::WorkerFailed, &open.name, text);
                self.try_failed(caller, open, Ran::Failed, self.at_here(failure), step);
            }
        }
    }

    pub(super) fn local_worker_gone(&mut self, caller: Caller, key: JobKey, step: &mut Step<'_>) {
        // The call may have been of the same connection.
        let Some(mut open) = self.take(caller) else { return };
        let by = open.position(|at| matches!(at, At::Here(job) if *job == key));
        open.tries[by.expect("a job of a caller is a try of its call")] = None;
        let text = "its worker went away";
        let failure = self.failure(CallError::WorkerFailed, &open.name, text);
        self.try_failed(caller, open, Ran::Perhaps, self.at_here(failure), step);
    }

    pub(super) fn accepted(&mut self, from: &ReplyWay, call: CallId, step: &mut Step<'_>) {
        let Some((caller, mut open, by)) = self.take_asked(from, call) else {
            return step.count(Counted::StrayMessage);
        };
        open.far(by).heard(step.now);
        self.put(caller, open);
    }

    pub(super) fn answered(
        &mut self,
        from: &ReplyWay,
        name: &FunctionName,
        (call, part, is_last): (CallId, u32, bool),
        value: Value,
        step: &mut Step<'_>,
    ) {
        let Some((caller, mut open, by)) = self.take_asked(from, call) else {
            step.count(Counted::StrayMessage);
            if !is_last {
                stop(from, name, call, step);
            }
            return;
        };
        let name = open.name.clone();
        let far = open.far(by);
        far.heard(step.now);
        if part != far.have {
            if far.have < part {
                far.missed(call, &name, step);
            }
            return self.put(caller, open);
        }
        if is_last {
            self.end_try(&mut open, by, step);
            return self.give_result(caller, open, value, step);
        }
        far.took_part(call, &name, step);
        self.give_part(caller, (&mut open, by), value, step);
        self.put(caller, open);
    }

    pub(super) fn refused(&mut self, from: &ReplyWay, refusal: Refusal, step: &mut Step<'_>) {
        let Some((caller, mut open, by)) = self.take_asked(from, refusal.call) else {
            return step.count(Counted::StrayMessage);
        };
        let ran = match refusal {
            Refusal { is_by_function: true, .. } => Ran::Failed,
            // What runs there was not refused.
            Refusal { may_have_run: false, .. } if !open.far(by).is_accepted => Ran::No,
            Refusal { .. } => Ran::Perhaps,
        };
        let failure = self.failure(refusal.error, &open.name, refusal.text);
        let failure = self.at_node(failure, open.far(by), &from.back);
        self.end_try(&mut open, by, step);
        self.try_failed(caller, open, ran, failure, step);
    }

    pub(super) fn unknown(&mut self, from: &ReplyWay, call: CallId, step: &mut Step<'_>) {
        let Some((caller, mut open, by)) = self.take_asked(from, call) else {
            return step.count(Counted::StrayMessage);
        };
        let text = "the node that was asked knows nothing of it: it may have started again";
        let failure = self.failure(CallError::Unreachable, &open.name, text);
        let failure = self.at_node(failure, open.far(by), &from.back);
        self.end_try(&mut open, by, step);
        self.try_failed(caller, open, Ran::Perhaps, failure, step);
    }

    pub(super) fn not_sent(&mut self, message: &Message, reason: Reason, step: &mut Step<'_>) {
        if let Some(ask) = message.ask() {
            let (call, attempt, path) = (ask.call, ask.attempt, [self.here.node].into());
            self.dropped(Dropped { call, attempt, reason, path }, step);
        }
    }

    /// A copy of a question did not get there. If none did, another endpoint is asked; if there is
    /// none, the same again for a while.
    pub(super) fn dropped(&mut self, dropped: Dropped, step: &mut Step<'_>) {
        let Dropped { call, attempt, reason, path } = dropped;
        let taken = self.take_call(call, |far| far.has_sent(attempt));
        let Some((caller, mut open, by)) = taken else {
            return step.count(Counted::StrayMessage);
        };
        let (far, now) = (open.far(by), step.now);
        far.note_dropped(attempt);
        if !far.is_dropped() || reason == Reason::DeadlinePassed {
            return self.put(caller, open);
        }
        let is_patient = reason != Reason::HopBudgetExhausted && !far.is_out_of_patience(now);
        let (cluster, node) = (Some(far.cluster), Some(far.node));
        let failure = self.failure(error_of(reason), &open.name, reason.word());
        let mut failure = Box::new(Failure { path, ..*failure });
        (failure.target.cluster, failure.target.node) = (cluster, node);
        let last = open.tries[by].take().expect("it was just found");
        let spare = open.spare.as_mut().expect("who asks another node has what to ask with");
        spare.last = Some(failure);
        match self.begin_try(caller, &mut open, step) {
            Ok(()) => {
                self.free(last.endpoint, step);
                step.count(Counted::Rerouted);
                self.put(caller, open);
            }
            Err(_) if is_patient => {
                open.tries[by] = Some(last);
                self.put(caller, open);
            }
            Err(failure) => {
                self.free(last.endpoint, step);
                match open.tries.iter().any(Option::is_some) {
                    true => self.put(caller, open),
                    false => self.give_up(caller, open, failure, step),
                }
            }
        }
    }

    pub(super) fn open_due(&mut self, caller: Caller, step: &mut Step<'_>) {
        let mut open = self.take(caller).expect("a timer of a call is there while it is");
        if open.until <= step.now {
            let failure = self.failure(CallError::Deadline, &open.name, "no result came in time");
            let failure = match open.tries.iter().flatten().next() {
                Some(Try { at: At::Far(far), .. }) => self.at_node(failure, far, &[]),
                Some(Try { at: At::Here(_), .. }) => self.at_here(failure),
                None => failure,
            };
            return self.give_up(caller, open, failure, step);
        }
        self.hedge(caller, &mut open, step);
        for by in 0..open.tries.len() {
            if open.is_due(by, step.now)
                && let Some((ran, failure)) = self.try_due(&mut open, by, step)
            {
                return self.try_failed(caller, open, ran, failure, step);
            }
        }
        self.put(caller, open);
    }

    fn hedge(&mut self, caller: Caller, open: &mut Open, step: &mut Step<'_>) {
        let Some(spare) = open.spare.as_mut() else { return };
        if spare.hedge_at.is_none_or(|at| step.now < at) {
            return;
        }
        spare.hedge_at = None;
        let is_alone = open.tries.iter().flatten().count() == 1;
        if is_alone && !open.is_given && self.begin_second(caller, open, step) {
            step.count(Counted::Hedged);
        }
    }

    /// Whether there is another one to ask.
    fn begin_second(&mut self, caller: Caller, open: &mut Open, step: &mut Step<'_>) -> bool {
        let spare = open.spare.as_mut().expect("it was just looked at");
        // An error here is nobody's: the first is still at it.
        let (tries, last) = (spare.tried.len(), spare.last.take());
        let is_begun = tries < CALL_TRIES_MAX && self.begin_try(caller, open, step).is_ok();
        if let Some(spare) = open.spare.as_mut() {
            spare.last = last;
        }
        is_begun
    }

    /// No word for long from another node: it is asked again, unless it is gone, and the try over.
    fn try_due(
        &mut self,
        open: &mut Open,
        by: usize,
        step: &mut Step<'_>,
    ) -> Option<(Ran, Box<Failure>)> {
        let (id, name, until) = (open.id, open.name.clone(), open.until);
        let spare = open.spare.as_ref().expect("who asks another node has what to ask with");
        let Some(Try { at: At::Far(far), .. }) = open.tries[by].as_mut() else { return None };
        let is_gone = !self.functions.is_offered(&name, far.node, far.life);
        if is_gone && far.is_silent(step.now) {
            let ran = if far.is_dropped() { Ran::No } else { Ran::Perhaps };
            let text = "the node that was asked is gone";
            let failure = self.failure(CallError::Unreachable, &name, text);
            let failure = self.at_node(failure, far, &[]);
            self.end_try(open, by, step);
            return Some((ran, failure));
        }
        step.count(Counted::Resent);
        if far.is_accepted {
            far.poll(id, &name, step);
        } else {
            far.ask(&spare.question((id, &name), until), step);
        }
        None
    }

    /// Another node that is asked has nothing more to say.
    fn end_try(&mut self, open: &mut Open, by: usize, step: &mut Step<'_>) {
        let one = open.tries[by].take().expect("it was just found");
        self.free(one.endpoint, step);
    }

    fn take(&mut self, caller: Caller) -> Option<Open> {
        let calls = self.sessions.get_mut(&caller.session)?;
        let open = calls.remove(&caller.number)?;
        if calls.is_empty() {
            self.sessions.remove(&caller.session);
        }
        self.open_count -= 1;
        self.open_bytes -= open.bytes();
        self.timers.remove(&(open.timer, Due::Open(caller)));
        Some(open)
    }

    fn put(&mut self, caller: Caller, mut open: Open) {
        open.timer = open.next_due();
        self.timers.insert((open.timer, Due::Open(caller)));
        self.open_count += 1;
        self.open_bytes += open.bytes();
        self.sessions.entry(caller.session).or_default().insert(caller.number, open);
    }

    /// The call that this node is asked for, and which of its tries that is.
    fn take_asked(&mut self, from: &ReplyWay, call: CallId) -> Option<(Caller, Open, usize)> {
        self.take_call(call, |far| far.node == from.origin)
    }

    fn take_call(
        &mut self,
        call: CallId,
        is_it: impl Fn(&Far) -> bool,
    ) -> Option<(Caller, Open, usize)> {
        let caller = *self.asked.get(&call.number)?;
        let open = self.take(caller).expect("who is asked is asked for an open call");
        match open.position(|at| matches!(at, At::Far(far) if is_it(far))) {
            Some(by) => Some((caller, open, by)),
            None => {
                self.put(caller, open);
                None
            }
        }
    }

    fn failure(
        &self,
        error: CallError,
        name: &FunctionName,
        text: impl Into<String>,
    ) -> Box<Failure> {
        let target = call::Target { name: name.clone(), cluster: None, node: None };
        let (path, text) = ([self.here.node].into(), text.into());
        Box::new(Failure { error, target, path, text, may_have_run: false })
    }

    fn at_here(&self, mut failure: Box<Failure>) -> Box<Failure> {
        failure.target.cluster = Some(self.here.cluster);
        failure.target.node = Some(self.here.node);
        failure
    }

    /// `back` is the way that a word from there came, its last node first.
    fn at_node(&self, mut failure: Box<Failure>, far: &Far, back: &[NodeId]) -> Box<Failure> {
        failure.target.cluster = Some(far.cluster);
        failure.target.node = Some(far.node);
        failure.path.extend(back);
        failure
    }

    /// Why nobody can be asked.
    fn nobody(&self, none: &function::Failure) -> Box<Failure> {
        let (error, at) = match none.why {
            function::Why::NotFound => (CallError::NotFound, None),
            function::Why::NoVersion { .. } => (CallError::NoVersion, None),
            function::Why::NoResource { .. } => (CallError::NoResource, None),
            function::Why::Unreachable { at } => (CallError::Unreachable, Some(at)),
            function::Why::Overloaded { at } => (CallError::Overloaded, Some(at)),
        };
        let mut failure = self.failure(error, &none.name, none.why.to_string());
        let (cluster, node) = match at {
            None => (None, None),
            Some(Target::Here) => (Some(self.here.cluster), Some(self.here.node)),
            Some(Target::Node(node)) => (Some(self.here.cluster), Some(node)),
            Some(Target::Cluster(cluster)) => (Some(cluster), None),
        };
        (failure.target.cluster, failure.target.node) = (cluster, node);
        failure
    }
}

fn fail(caller: Caller, failure: Box<Failure>, step: &mut Step<'_>) {
    step.count(Counted::Failed(failure.error));
    step.out.push(Effect::Failed { caller, failure });
}

/// Who sends parts of what nobody waits for is told so again.
fn stop(from: &ReplyWay, name: &FunctionName, call: CallId, step: &mut Step<'_>) {
    step.out.push(Effect::Send {
        cluster: from.cluster,
        node: from.origin,
        back: from.back.clone(),
        name: name.clone(),
        message: Message::Cancel { call },
        value: Value::default(),
        deadline_left: CALL_WORD_DEADLINE,
    });
}

fn error_of(reason: Reason) -> CallError {
    match reason {
        Reason::HopBudgetExhausted => CallError::HopBudgetExhausted,
        Reason::DeadlinePassed => CallError::Deadline,
        Reason::LoopDetected
        | Reason::NoRoute
        | Reason::LinkDown
        | Reason::LinkOpenCircuit
        | Reason::GroupEmptied
        | Reason::Unwanted => CallError::Unreachable,
    }
}

impl Open {
    fn new(id: CallId, request: Request, now: Instant) -> Self {
        let Request { name, constraint, resources, cluster, .. } = request;
        let Request { deadline, is_idempotent, hedge_after, value, .. } = request;
        let until = now + deadline.unwrap_or(CALL_DEADLINE_DEFAULT).min(CALL_DEADLINE_MAX);
        let hedge_at = hedge_after.map(|after| now + after);
        let (tried, last) = (Vec::new(), None);
        let spare =
            Spare { constraint, resources, cluster, is_idempotent, hedge_at, value, tried, last };
        Self {
            id,
            name,
            until,
            timer: until,
            may_have_run: false,
            is_given: false,
            tries: [None, None],
            spare: Some(spare.into()),
        }
    }

    /// Bytes kept to be sent again.
    fn bytes(&self) -> usize {
        self.spare.as_ref().map_or(0, |spare| spare.value.bytes.len())
    }

    fn position(&self, is_it: impl Fn(&At) -> bool) -> Option<usize> {
        self.tries.iter().position(|one| one.as_ref().is_some_and(|one| is_it(&one.at)))
    }

    /// # Panics
    /// If this try is of no other node.
    fn far(&mut self, by: usize) -> &mut Far {
        match self.tries[by].as_mut().map(|one| &mut one.at) {
            Some(At::Far(far)) => far,
            Some(At::Here(_)) | None => panic!("who answers from afar was asked there"),
        }
    }

    fn may_have_run(&self) -> bool {
        let may = |one: &Try| match &one.at {
            At::Here(_) => true,
            At::Far(far) => !far.is_dropped(),
        };
        self.may_have_run || self.is_given || self.tries.iter().flatten().any(may)
    }

    fn is_due(&self, by: usize, now: Instant) -> bool {
        self.tries[by].as_ref().is_some_and(|one| match &one.at {
            At::Here(_) => false,
            At::Far(far) => far.next_at <= now,
        })
    }

    fn next_due(&self) -> Instant {
        let hedge = self.spare.as_ref().and_then(|spare| spare.hedge_at);
        let tries = self.tries.iter().flatten().filter_map(|one| match &one.at {
            At::Here(_) => None,
            At::Far(far) => Some(far.next_at),
        });
        tries.chain(hedge).fold(self.until, Instant::min)
    }
}

impl Spare {
    fn question<'a>(
        &'a self,
        (call, name): (CallId, &'a FunctionName),
        until: Instant,
    ) -> Question<'a> {
        let Self { constraint, resources, is_idempotent, value, .. } = self;
        let is_idempotent = *is_idempotent;
        Question { call, name, constraint, resources, is_idempotent, value, until }
    }
}
