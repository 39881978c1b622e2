//! A call of a client of this node, while it is open: what it is, whom it is asked of, and where it is
//! kept.
//!
//! It is taken out of its map, changed, and put back or ended; whatever is done with it is done in
//! between. Its one timer is the first of its deadline, its hedge and what its tries wait for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mpreg_proto::call::{CallId, Failure};
use mpreg_proto::function::{Constraint, FunctionName, Resources};
use mpreg_proto::id::ClusterId;

use super::far::{Far, Question};
use super::job::JobKey;
use super::{Caller, Calls, Due, Request, Value};
use crate::function::{EndpointId, Place};
use crate::hop::ReplyWay;
use crate::limits::{CALL_DEADLINE_DEFAULT, CALL_DEADLINE_MAX};
use crate::time::Instant;

/// A call of a client of this node.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: CallId,
    pub(super) name: FunctionName,
    pub(super) since: Instant,
    pub(super) until: Instant,
    /// What it waits for first.
    pub(super) timer: Instant,
    /// By tries that are over.
    pub(super) may_have_run: bool,
    /// A part of the result was given out.
    pub(super) is_given: bool,
    pub(super) is_traced: bool,
    /// Side by side.
    pub(super) tries: [Option<Try>; 2],
    /// What another one is asked with. None: nobody else is.
    pub(super) spare: Option<Box<Spare>>,
}

#[derive(Debug)]
pub(super) struct Spare {
    pub(super) constraint: Constraint,
    pub(super) resources: Resources,
    pub(super) cluster: Option<ClusterId>,
    pub(super) is_idempotent: bool,
    pub(super) hedge_at: Option<Instant>,
    pub(super) value: Value,
    /// Whom it was asked of.
    pub(super) tried: Vec<Place>,
    /// Why the last try failed.
    pub(super) last: Option<Box<Failure>>,
}

/// One endpoint that is asked.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) endpoint: EndpointId,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) enum At {
    Here(JobKey),
    Far(Box<Far>),
}

/// How a try ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// Never, whatever copies of it still come.
    No,
    Perhaps,
    /// The function failed: it would do so elsewhere.
    Failed,
}

impl Open {
    pub(super) fn new(id: CallId, request: Request, now: Instant) -> Self {
        let Request { name, constraint, resources, cluster, .. } = request;
        let Request { deadline, is_idempotent, hedge_after, is_traced, value, .. } = request;
        let until = now + deadline.unwrap_or(CALL_DEADLINE_DEFAULT).min(CALL_DEADLINE_MAX);
        let hedge_at = hedge_after.map(|after| now + after);
        let (tried, last) = (Vec::new(), None);
        let spare =
            Spare { constraint, resources, cluster, is_idempotent, hedge_at, value, tried, last };
        Self {
            id,
            name,
            since: now,
            until,
            timer: until,
            may_have_run: false,
            is_given: false,
            is_traced,
            tries: [None, None],
            spare: Some(spare.into()),
        }
    }

    /// Bytes kept to be sent again.
    fn bytes(&self) -> usize {
        self.spare.as_ref().map_or(0, |spare| spare.value.bytes.len())
    }

    pub(super) fn position(&self, is_it: impl Fn(&At) -> bool) -> Option<usize> {
        self.tries.iter().position(|one| one.as_ref().is_some_and(|one| is_it(&one.at)))
    }

    /// # Panics
    /// If this try is of no other node.
    pub(super) fn far(&mut self, by: usize) -> &mut Far {
        match self.tries[by].as_mut().map(|one| &mut one.at) {
            Some(At::Far(far)) => far,
            Some(At::Here(_)) | None => panic!("who answers from afar was asked there"),
        }
    }

    pub(super) fn may_have_run(&self) -> bool {
        let may = |one: &Try| match &one.at {
            At::Here(_) => true,
            At::Far(far) => !far.is_dropped(),
        };
        self.may_have_run || self.is_given || self.tries.iter().flatten().any(may)
    }

    pub(super) fn is_due(&self, by: usize, now: Instant) -> bool {
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
    pub(super) fn question<'a>(
        &'a self,
        (call, name): (CallId, &'a FunctionName),
        (until, is_traced): (Instant, bool),
    ) -> Question<'a> {
        let Self { constraint, resources, is_idempotent, value, .. } = self;
        let is_idempotent = *is_idempotent;
        Question { call, name, constraint, resources, is_idempotent, is_traced, value, until }
    }
}

impl Calls {
    pub(super) fn take(&mut self, caller: Caller) -> Option<Box<Open>> {
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

    pub(super) fn put(&mut self, caller: Caller, mut open: Box<Open>) {
        open.timer = open.next_due();
        self.timers.insert((open.timer, Due::Open(caller)));
        self.open_count += 1;
        self.open_bytes += open.bytes();
        self.sessions.entry(caller.session).or_default().insert(caller.number, open);
    }

    /// The call that this node is asked for, and which of its tries that is.
    pub(super) fn take_asked(
        &mut self,
        from: &ReplyWay,
        call: CallId,
    ) -> Option<(Caller, Box<Open>, usize)> {
        self.take_call(call, |far| far.node == from.origin)
    }

    pub(super) fn take_call(
        &mut self,
        call: CallId,
        is_it: impl Fn(&Far) -> bool,
    ) -> Option<(Caller, Box<Open>, usize)> {
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
}
