//! The parts of one result that its caller has not taken yet: bounded, never waited for by the
//! connection.
//!
//! Invariants:
//! - What waits is at most [`CALL_PARTS_BYTES_MAX`], or one part. Past it the result ends.
//! - Nothing enters after the end. What was there before it can still be taken, then the end is told
//!   once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use mpreg_proto::call::Trace;

use crate::error::CallFailed;
use crate::limits::{CALL_PARTS_BYTES_MAX, MESSAGE_OVERHEAD_BYTES};
use crate::value::Value;

/// A part of a result; all of it, if the first is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) value: Value,
    pub(crate) is_last: bool,
    /// Which way it went, if that was asked for. With the last part.
    pub(crate) trace: Option<Box<Trace>>,
}

#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Part>,
    bytes: usize,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    /// The failure that is still to be told.
    Failed(CallFailed),
    Told,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Waits,
    /// More waits than may: the result has ended.
    Overrun,
}

impl Answers {
    pub(crate) fn push(&self, part: Part) -> Taken {
        let mut state = self.lock();
        let taken = state.push(part);
        wake(state);
        taken
    }

    /// There are no further parts. The first reason stays.
    pub(crate) fn fail(&self, error: CallFailed) {
        let mut state = self.lock();
        state.end(End::Failed(error));
        wake(state);
    }

    /// The next part, or why there is none; `None` at the end.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Part, CallFailed>>> {
        let mut state = self.lock();
        if let Some(part) = state.parts.pop_front() {
            state.bytes -= charge(&part);
            return Poll::Ready(Some(Ok(part)));
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::Failed(error) => return Poll::Ready(Some(Err(error))),
            End::Told => return Poll::Ready(None),
            End::Open => state.end = End::Open,
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

impl State {
    fn push(&mut self, part: Part) -> Taken {
        if !matches!(self.end, End::Open) {
            return Taken::Waits;
        }
        let charge = charge(&part);
        if !self.parts.is_empty() && CALL_PARTS_BYTES_MAX < self.bytes + charge {
            self.end(End::Failed(CallFailed::Overrun));
            return Taken::Overrun;
        }
        if part.is_last {
            self.end(End::Told);
        }
        self.bytes += charge;
        self.parts.push_back(part);
        Taken::Waits
    }

    fn end(&mut self, end: End) {
        if matches!(self.end, End::Open) {
            self.end = end;
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

fn charge(part: &Part) -> usize {
    part.value.payload.len() + MESSAGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: usize, is_last: bool) -> Part {
        Part { value: vec![0; bytes].into(), is_last, trace: None }
    }

    fn next(answers: &Answers) -> Poll<Option<Result<Part, CallFailed>>> {
        answers.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn parts_come_in_order_and_end_with_the_last() {
        let answers = Answers::default();
        assert_eq!(next(&answers), Poll::Pending);
        for (bytes, is_last) in [(1, false), (2, false), (3, true)] {
            assert_eq!(answers.push(part(bytes, is_last)), Taken::Waits);
        }
        answers.push(part(4, true));
        answers.fail(CallFailed::Closed);
        for (bytes, is_last) in [(1, false), (2, false), (3, true)] {
            assert_eq!(next(&answers), Poll::Ready(Some(Ok(part(bytes, is_last)))));
        }
        assert_eq!(next(&answers), Poll::Ready(None), "what came after the last part is nothing");
    }

    #[test]
    fn a_failure_comes_behind_what_there_is_and_once() {
        let answers = Answers::default();
        answers.push(part(1, false));
        answers.fail(CallFailed::Closed);
        answers.fail(CallFailed::Drained);
        answers.push(part(2, false));
        assert_eq!(next(&answers), Poll::Ready(Some(Ok(part(1, false)))));
        assert_eq!(next(&answers), Poll::Ready(Some(Err(CallFailed::Closed))));
        assert_eq!(next(&answers), Poll::Ready(None));
    }

    #[test]
    fn a_late_reader_gets_what_fits_and_is_told() {
        let answers = Answers::default();
        let bytes = CALL_PARTS_BYTES_MAX / 2 - MESSAGE_OVERHEAD_BYTES;
        assert_eq!(answers.push(part(bytes, false)), Taken::Waits);
        assert_eq!(answers.push(part(bytes, false)), Taken::Waits);
        assert_eq!(answers.push(part(0, false)), Taken::Overrun);
        assert_eq!(answers.push(part(0, true)), Taken::Waits, "it has ended already");
        assert_eq!(next(&answers), Poll::Ready(Some(Ok(part(bytes, false)))));
        assert_eq!(next(&answers), Poll::Ready(Some(Ok(part(bytes, false)))));
        assert_eq!(next(&answers), Poll::Ready(Some(Err(CallFailed::Overrun))));
    }
}
