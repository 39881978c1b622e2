//! One other node that is asked to run a call: which copies of the question are under way, and what
//! came back.
//!
//! ```text
//!             Accepted, Answer
//!   ASKED ------------------------> ACCEPTED ---------> over: last part, Failed, Unknown, gone
//!    | ^ Ask again: CALL_RESEND       | ^ Poll: CALL_POLL
//!    +-+ .. CALL_WAIT_MAX             +-+ .. CALL_WAIT_MAX
//! ```

use core::time::Duration;

use mpreg_proto::call::{Ask, CallId, Message};
use mpreg_proto::function::{Constraint, FunctionName, Resources, Version};
use mpreg_proto::hop::Here;
use mpreg_proto::id::{ClusterId, Incarnation, NodeId};

use super::{Effect, Step, Value};
use crate::function::Target;
use crate::limits::{
    CALL_DEADLINE_MAX, CALL_DROP_PATIENCE, CALL_PARTS_PER_ACK, CALL_POLL, CALL_RESEND,
    CALL_TRIES_MAX, CALL_WAIT_MAX, CALL_WORD_DEADLINE,
};
use crate::time::Instant;

/// Copies of one question that are told apart: with more of them it is not known any more whether all
/// were dropped.
const COPIES: u16 = u64::BITS as u16;

/// Numbers of the copies to one node, apart from those to others: more than there are seconds in the
/// longest call.
const ATTEMPTS_PER_TRY: u16 = 1 << 12;

const _: () = assert!(CALL_TRIES_MAX < (1 << 4));
const _: () = assert!(CALL_DEADLINE_MAX.as_secs() * 2 < ATTEMPTS_PER_TRY as u64);

#[derive(Debug)]
pub(super) struct Far {
    pub(super) node: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) life: Incarnation,
    version: Version,
    first_attempt: u16,
    /// Copies sent.
    copies: u16,
    /// Which of them were dropped, a bit each.
    dropped: u64,
    pub(super) is_accepted: bool,
    /// Parts that came.
    pub(super) have: u32,
    /// Of these, those that the node was told of.
    told: u32,
    /// A part is missing, and was asked for.
    is_gap_told: bool,
    asked_at: Instant,
    heard_at: Instant,
    pub(super) next_at: Instant,
    wait: Duration,
}

/// What is asked, whoever is.
pub(super) struct Question<'a> {
    pub(super) call: CallId,
    pub(super) name: &'a FunctionName,
    pub(super) constraint: &'a Constraint,
    pub(super) resources: &'a Resources,
    pub(super) is_idempotent: bool,
    pub(super) is_traced: bool,
    pub(super) value: &'a Value,
    pub(super) until: Instant,
}

impl Far {
    /// The `nth` that is asked. Nothing is sent yet.
    pub(super) fn new(
        (cluster, node, life): (ClusterId, NodeId, Incarnation),
        version: Version,
        nth: usize,
        now: Instant,
    ) -> Self {
        let first_attempt = nth as u16 * ATTEMPTS_PER_TRY;
        Self {
            node,
            cluster,
            life,
            version,
            first_attempt,
            copies: 0,
            dropped: 0,
            is_accepted: false,
            have: 0,
            told: 0,
            is_gap_told: false,
            asked_at: now,
            heard_at: now,
            next_at: now,
            wait: CALL_RESEND,
        }
    }

    /// Sends one more copy.
    pub(super) fn ask(&mut self, question: &Question<'_>, step: &mut Step<'_>) {
        let attempt = self.first_attempt + self.copies;
        self.copies = (self.copies + 1).min(ATTEMPTS_PER_TRY - 1);
        let ask = Ask {
            call: question.call,
            attempt,
            is_idempotent: question.is_idempotent,
            is_traced: question.is_traced,
            life: self.life,
            version: self.version.clone(),
            constraint: question.constraint.clone(),
            resources: question.resources.clone(),
        };
        let left = question.until.since(step.now);
        let message = Message::Ask(ask.into());
        self.send(question.name, (message, question.value.clone()), left, step);
        self.wait_longer(step.now);
    }

    /// Asks whether it is at it, and for parts that did not come.
    pub(super) fn poll(&mut self, call: CallId, name: &FunctionName, step: &mut Step<'_>) {
        self.told = self.have;
        self.say(name, Message::Poll { call, have: self.have }, step);
        self.wait_longer(step.now);
    }

    /// A word without a value.
    pub(super) fn say(&self, name: &FunctionName, message: Message, step: &mut Step<'_>) {
        self.send(name, (message, Value::default()), CALL_WORD_DEADLINE, step);
    }

    /// It runs there.
    pub(super) fn heard(&mut self, now: Instant) {
        self.is_accepted = true;
        self.heard_at = now;
        self.wait = CALL_POLL;
        self.next_at = now + self.wait;
    }

    /// A part that is not the next one. Asks for it, once.
    pub(super) fn missed(&mut self, call: CallId, name: &FunctionName, step: &mut Step<'_>) {
        if !core::mem::replace(&mut self.is_gap_told, true) {
            self.poll(call, name, step);
        }
    }

    /// The next part came, and is not the last.
    pub(super) fn took_part(&mut self, call: CallId, name: &FunctionName, step: &mut Step<'_>) {
        self.have = self.have.saturating_add(1);
        self.is_gap_told = false;
        if self.told + CALL_PARTS_PER_ACK <= self.have {
            self.told = self.have;
            self.say(name, Message::Ack { call, have: self.have }, step);
        }
    }

    /// Whether this copy is one of those sent there.
    pub(super) fn has_sent(&self, attempt: u16) -> bool {
        self.first_attempt <= attempt && attempt - self.first_attempt < self.copies
    }

    pub(super) fn note_dropped(&mut self, attempt: u16) {
        let copy = attempt - self.first_attempt;
        if copy < COPIES {
            self.dropped |= 1 << copy;
        }
    }

    /// Whether it did not run there, and no copy is left that could.
    pub(super) fn is_dropped(&self) -> bool {
        let all = u32::from(self.copies) == self.dropped.count_ones();
        all && self.copies <= COPIES && !self.is_accepted
    }

    /// Whether it was tried for long enough, when nothing gets there.
    pub(super) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.asked_at + CALL_DROP_PATIENCE <= now
    }

    /// What ways lead to.
    pub(super) fn target(&self, here: Here) -> Target {
        match self.cluster == here.cluster {
            true => Target::Node(self.node),
            false => Target::Cluster(self.cluster),
        }
    }

    /// Whether nothing was heard for so long.
    pub(super) fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        self.heard_at + patience <= now
    }

    fn wait_longer(&mut self, now: Instant) {
        self.next_at = now + self.wait;
        self.wait = (2 * self.wait).min(CALL_WAIT_MAX);
    }

    fn send(
        &self,
        name: &FunctionName,
        (message, value): (Message, Value),
        deadline_left: Duration,
        step: &mut Step<'_>,
    ) {
        let (cluster, node, back, name) = (self.cluster, self.node, [].into(), name.clone());
        step.out.push(Effect::Send { cluster, node, back, name, message, value, deadline_left });
    }
}
