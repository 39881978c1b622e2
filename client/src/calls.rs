//! Calls that wait for their results.
//!
//! Invariants:
//! - A call ends once: with its last part, with a failure, or because its caller gave it up.
//! - Numbers count up and are used once, over connections too.

use std::sync::Arc;

use ahash::AHashMap;
use mpreg_proto::call::{Failure, Target};
use mpreg_proto::frame;
use mpreg_proto::function::FunctionName;

use crate::answers::{Answers, Part, Taken};
use crate::error::CallFailed;
use crate::limits::CALLS_PENDING_MAX;

/// A call of this client; counts up from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallNo(pub(crate) u64);

#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: AHashMap<CallNo, Open>,
    last: u64,
}

#[derive(Debug)]
struct Open {
    name: FunctionName,
    answers: Arc<Answers>,
}

/// What came of something said about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Delivered,
    /// Its caller is too late to take it: the call is over, and the router is to know.
    Overrun,
    /// The call was over.
    Late,
}

impl Calls {
    /// Admits one more call.
    pub(crate) fn open(
        &mut self,
        name: &FunctionName,
        answers: &Arc<Answers>,
    ) -> Result<CallNo, CallFailed> {
        if CALLS_PENDING_MAX <= self.open.len() {
            return Err(CallFailed::TooMany);
        }
        self.last += 1;
        let open = Open { name: name.clone(), answers: Arc::clone(answers) };
        self.open.insert(CallNo(self.last), open);
        Ok(CallNo(self.last))
    }

    pub(crate) fn part(&mut self, call: CallNo, part: Part) -> Heard {
        let Some(open) = self.open.get(&call) else { return Heard::Late };
        let is_last = part.is_last;
        let taken = open.answers.push(part);
        if is_last || taken == Taken::Overrun {
            self.open.remove(&call);
        }
        match taken {
            Taken::Overrun if !is_last => Heard::Overrun,
            Taken::Overrun | Taken::Waits => Heard::Delivered,
        }
    }

    pub(crate) fn failed(&mut self, failed: frame::CallFailed<'_>) -> Heard {
        let Some(open) = self.open.remove(&CallNo(failed.number)) else { return Heard::Late };
        let frame::CallFailed { code, may_have_run, path, text, .. } = failed;
        let cluster = Some(failed.cluster).filter(|cluster| cluster.0 != 0);
        let node = Some(failed.node).filter(|node| node.0 != 0);
        open.answers.fail(CallFailed::from(Failure {
            error: code,
            target: Target { name: open.name, cluster, node },
            path: path.iter().collect(),
            text: text.to_owned(),
            may_have_run,
        }));
        Heard::Delivered
    }

    pub(crate) fn is_open(&self, call: CallNo) -> bool {
        self.open.contains_key(&call)
    }

    /// Stops waiting; whether there was something to wait for.
    pub(crate) fn give_up(&mut self, call: CallNo) -> bool {
        self.open.remove(&call).is_some()
    }

    /// Ends every call with `error`.
    pub(crate) fn end(&mut self, error: &CallFailed) {
        for (_, open) in self.open.drain() {
            open.answers.fail(error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use mpreg_proto::call::CallError;
    use mpreg_proto::frame::Path;
    use mpreg_proto::id::{ClusterId, NodeId};

    use super::*;

    fn opened(calls: &mut Calls) -> (CallNo, Arc<Answers>) {
        let answers = Arc::default();
        (calls.open(&"sum".parse().unwrap(), &answers).unwrap(), answers)
    }

    fn next(answers: &Answers) -> Option<Result<Part, CallFailed>> {
        match answers.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => panic!("nothing is there"),
        }
    }

    fn part(is_last: bool) -> Part {
        Part { value: b"1".into(), is_last, trace: None }
    }

    #[test]
    fn a_call_ends_once() {
        let mut calls = Calls::default();
        let ((one, answers), (other, _)) = (opened(&mut calls), opened(&mut calls));
        assert_ne!(one, other);
        assert_eq!(calls.part(one, part(false)), Heard::Delivered);
        assert_eq!(calls.part(one, part(true)), Heard::Delivered);
        assert_eq!(calls.part(one, part(true)), Heard::Late);
        assert!(!calls.give_up(one), "there is nothing to cancel");
        assert!(calls.give_up(other));
        assert_eq!(calls.part(other, part(true)), Heard::Late);
        assert_eq!(next(&answers), Some(Ok(part(false))));
        assert_eq!(next(&answers), Some(Ok(part(true))));
        assert_eq!(next(&answers), None);
    }

    #[test]
    fn a_failure_says_what_was_called_and_where_it_ended() {
        let mut calls = Calls::default();
        let (call, answers) = opened(&mut calls);
        let path = Path::wire(&[NodeId(1), NodeId(2)]);
        let failed = frame::CallFailed {
            number: call.0,
            code: CallError::Overloaded,
            may_have_run: false,
            cluster: ClusterId(0),
            node: NodeId(2),
            path: Path::of(&path),
            text: "busy",
        };
        assert_eq!(calls.failed(failed), Heard::Delivered);
        assert_eq!(calls.failed(failed), Heard::Late);
        let want = Failure {
            error: CallError::Overloaded,
            target: Target { name: "sum".parse().unwrap(), cluster: None, node: Some(NodeId(2)) },
            path: vec![NodeId(1), NodeId(2)],
            text: "busy".to_owned(),
            may_have_run: false,
        };
        assert_eq!(next(&answers), Some(Err(want.into())));
    }

    #[test]
    fn open_calls_are_bounded_and_end_together() {
        let mut calls = Calls::default();
        let all: Vec<_> = (0..CALLS_PENDING_MAX).map(|_| opened(&mut calls).1).collect();
        let one_more = calls.open(&"sum".parse().unwrap(), &Arc::default());
        assert_eq!(one_more, Err(CallFailed::TooMany));
        calls.end(&CallFailed::Closed);
        for answers in &all {
            assert_eq!(next(answers), Some(Err(CallFailed::Closed)));
        }
        opened(&mut calls);
    }

    #[test]
    fn a_caller_that_is_late_ends_its_call() {
        let mut calls = Calls::default();
        let (call, _answers) = opened(&mut calls);
        let large = Part { value: vec![0; 1 << 20].into(), is_last: false, trace: None };
        let mut heard = Heard::Delivered;
        while heard == Heard::Delivered {
            heard = calls.part(call, large.clone());
        }
        assert_eq!(heard, Heard::Overrun);
        assert_eq!(calls.part(call, large), Heard::Late);
    }
}
