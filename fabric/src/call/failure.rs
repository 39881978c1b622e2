//! How a call says that it has no result: why, where, by which way.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};

use mpreg_proto::call::{self, CallError, Failure};
use mpreg_proto::function::FunctionName;
use mpreg_proto::hop::Reason;
use mpreg_proto::id::NodeId;

use super::far::Far;
use super::{Caller, Calls, Counted, Effect, Measured, Step};
use crate::function::{self, Target, Why};
use crate::time::Instant;

impl Calls {
    pub(super) fn failure(
        &self,
        error: CallError,
        name: &FunctionName,
        text: impl Into<String>,
    ) -> Box<Failure> {
        let target = call::Target { name: name.clone(), cluster: None, node: None };
        let (path, text) = ([self.here.node].into(), text.into());
        Box::new(Failure { error, target, path, text, may_have_run: false })
    }

    pub(super) fn at_here(&self, mut failure: Box<Failure>) -> Box<Failure> {
        failure.target.cluster = Some(self.here.cluster);
        failure.target.node = Some(self.here.node);
        failure
    }

    /// `back` is the way that a word from there came, its last node first.
    pub(super) fn at_node(
        &self,
        mut failure: Box<Failure>,
        far: &Far,
        back: &[NodeId],
    ) -> Box<Failure> {
        failure.target.cluster = Some(far.cluster);
        failure.target.node = Some(far.node);
        failure.path.extend(back);
        failure
    }

    /// Why nobody can be asked.
    pub(super) fn nobody(&self, none: &function::Failure) -> Box<Failure> {
        let at = match none.why {
            Why::NotFound | Why::NoVersion { .. } | Why::NoResource { .. } => None,
            Why::Unreachable { at } | Why::Overloaded { at } => Some(at),
        };
        let error = error_of(&none.why);
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

/// Of a call that began then.
pub(super) fn fail(caller: Caller, failure: Box<Failure>, since: Instant, step: &mut Step<'_>) {
    step.count(Counted::Failed(failure.error));
    step.measure(&failure.target.name, Measured::Call(Some(failure.error)), since);
    step.out.push(Effect::Failed { caller, failure });
}

pub(super) fn error_of_drop(reason: Reason) -> CallError {
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

pub(super) fn error_of(why: &Why) -> CallError {
    match why {
        Why::NotFound => CallError::NotFound,
        Why::NoVersion { .. } => CallError::NoVersion,
        Why::NoResource { .. } => CallError::NoResource,
        Why::Unreachable { .. } => CallError::Unreachable,
        Why::Overloaded { .. } => CallError::Overloaded,
    }
}
