//! What other nodes that are asked say, and what becomes of copies that do not get there.

use alloc::boxed::Box;

use mpreg_proto::call::{CallError, CallId, Dropped, Failure, Message, Refusal, Trace};
use mpreg_proto::function::FunctionName;
use mpreg_proto::hop::Reason;

use super::failure::error_of_drop;
use super::open::Ran;
use super::{Calls, Counted, Effect, Step, Value};
use crate::hop::ReplyWay;
use crate::limits::CALL_WORD_DEADLINE;

impl Calls {
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
        (value, trace): (Value, Option<Box<Trace>>),
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
            return self.give_result(caller, *open, (value, trace), step);
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
        let failure = self.failure(error_of_drop(reason), &open.name, reason.word());
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
                    false => self.give_up(caller, *open, failure, step),
                }
            }
        }
    }
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
