//! The side of the caller: who is asked, again, and after whom, until there is a result or an error.
//!
//! ```text
//!   Call --> try: worker here, or another node --> result
//!              | not run there, or idempotent        ^
//!              +--> next try ------------------------+
//!              | none left, deadline, cancelled
//!              +--> Failure
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::call::{CallError, CallId, Failure, Message, Route, Trace};
use mpreg_proto::function::FunctionName;
use mpreg_proto::id::SessionId;

use super::failure::fail;
use super::far::Far;
use super::job::{Client, JobKey, Task};
use super::open::{At, Open, Ran, Try};
use super::{Caller, Calls, Counted, Effect, Measured, Reply, Request, Step, Value, draw_of};
use crate::function::{self, Place, Within};
use crate::limits::{CALL_CUT_PATIENCE, CALL_GONE_PATIENCE, CALL_TRIES_MAX};

impl Calls {
    pub(super) fn call(&mut self, caller: Caller, request: Request, step: &mut Step<'_>) {
        if let Err((error, text)) = self.admit(caller, &request) {
            if error == CallError::Overloaded {
                step.count(Counted::Shed);
            }
            let failure = self.failure(error, &request.name, text);
            return fail(caller, failure, step.now, step);
        }
        self.calls_made += 1;
        let id = CallId::new(self.here.node, self.life, self.shard, self.calls_made);
        let mut open = Box::new(Open::new(id, request, step.now));
        match self.begin_try(caller, &mut open, step) {
            Ok(()) => self.put(caller, open),
            Err(failure) => fail(caller, failure, step.now, step),
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
            self.give_up(caller, *open, failure, step);
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
            self.close(*open.expect("it was just listed"), step);
            step.count(Counted::Abandoned);
        }
    }

    /// Asks the best endpoint that was not asked yet, or says why nobody is left.
    pub(super) fn begin_try(
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
        far.ask(&spare.question((open.id, &open.name), (open.until, open.is_traced)), step);
        self.functions.begin(endpoint);
        self.asked.insert(open.id.number, caller);
        open.tries[slot] = Some(Try { endpoint, at: At::Far(far.into()) });
        Ok(())
    }

    /// A try ended without a result. Its place is free.
    pub(super) fn try_failed(
        &mut self,
        caller: Caller,
        mut open: Box<Open>,
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
            return self.give_up(caller, *open, failure, step);
        };
        spare.last = Some(failure);
        match self.begin_try(caller, &mut open, step) {
            Ok(()) => {
                step.count(Counted::Rerouted);
                self.put(caller, open);
            }
            Err(failure) => self.give_up(caller, *open, failure, step),
        }
    }

    /// The call ends with an error.
    pub(super) fn give_up(
        &mut self,
        caller: Caller,
        open: Open,
        mut failure: Box<Failure>,
        step: &mut Step<'_>,
    ) {
        failure.may_have_run = open.may_have_run();
        let since = open.since;
        self.close(open, step);
        fail(caller, failure, since, step);
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
    pub(super) fn give_result(
        &mut self,
        caller: Caller,
        open: Open,
        (value, trace): (Value, Option<Box<Trace>>),
        step: &mut Step<'_>,
    ) {
        let took = step.now.since(open.since);
        let trace =
            trace.filter(|_| open.is_traced).map(|trace| Box::new(Trace { took, ..*trace }));
        step.measure(&open.name, Measured::Call(None), open.since);
        self.close(open, step);
        step.out.push(Effect::Result { caller, value, trace });
        step.count(Counted::Answered);
    }

    /// A part that is not the last: who gave it is who is listened to.
    pub(super) fn give_part(
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
                let trace = open.is_traced.then(|| self.trace_here(step.now.since(open.since)));
                self.give_result(caller, *open, (value, trace), step);
            }
            Reply::Failed { text } => {
                open.tries[by] = None;
                let failure = self.failure(CallError::WorkerFailed, &open.name, text);
                self.try_failed(caller, open, Ran::Failed, self.at_here(failure), step);
            }
            Reply::Declined { text } => {
                open.tries[by] = None;
                let failure = self.failure(CallError::Overloaded, &open.name, text);
                self.try_failed(caller, open, Ran::No, self.at_here(failure), step);
            }
        }
    }

    /// Of a call that left its node for nobody.
    fn trace_here(&self, ran: Duration) -> Box<Trace> {
        let route = Route::at(self.here.node, self.here.cluster);
        Box::new(Trace { call: route.clone(), answer: route, ran, took: ran })
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

    pub(super) fn open_due(&mut self, caller: Caller, step: &mut Step<'_>) {
        let mut open = self.take(caller).expect("a timer of a call is there while it is");
        if open.until <= step.now {
            let failure = self.failure(CallError::Deadline, &open.name, "no result came in time");
            let failure = match open.tries.iter().flatten().next() {
                Some(Try { at: At::Far(far), .. }) => self.at_node(failure, far, &[]),
                Some(Try { at: At::Here(_), .. }) => self.at_here(failure),
                None => failure,
            };
            return self.give_up(caller, *open, failure, step);
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
        let (id, name, how) = (open.id, open.name.clone(), (open.until, open.is_traced));
        let spare = open.spare.as_ref().expect("who asks another node has what to ask with");
        let Some(Try { at: At::Far(far), .. }) = open.tries[by].as_mut() else { return None };
        let is_gone = !self.functions.is_offered(&name, far.node, far.life)
            && far.is_silent(CALL_GONE_PATIENCE, step.now);
        let is_cut_off = step.distance()(far.target(self.here)).is_none()
            && far.is_silent(CALL_CUT_PATIENCE, step.now);
        if is_gone || is_cut_off {
            let ran = if far.is_dropped() { Ran::No } else { Ran::Perhaps };
            let text = match is_gone {
                true => "the node that was asked is gone",
                false => "no way leads to the node that was asked any more",
            };
            let failure = self.failure(CallError::Unreachable, &name, text);
            let failure = self.at_node(failure, far, &[]);
            self.end_try(open, by, step);
            return Some((ran, failure));
        }
        step.count(Counted::Resent);
        if far.is_accepted {
            far.poll(id, &name, step);
        } else {
            far.ask(&spare.question((id, &name), how), step);
        }
        None
    }

    /// Another node that is asked has nothing more to say.
    pub(super) fn end_try(&mut self, open: &mut Open, by: usize, step: &mut Step<'_>) {
        let one = open.tries[by].take().expect("it was just found");
        self.free(one.endpoint, step);
    }
}
