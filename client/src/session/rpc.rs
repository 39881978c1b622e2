//! Calls and workers, as far as the session knows of them.

use bytes::Bytes;
use mpreg_proto::frame::{Answer, Invoke, Rpc, TraceBlock, Why};
use mpreg_proto::function::FunctionName;

use super::*;
use crate::answers::{Answers, Part};
use crate::calls::{CallNo, Heard};
use crate::error::{CallFailed, JobError, ServeError};
use crate::limits::READ_ROOM_BYTES_MIN;
use crate::value::Value;
use crate::workers::{Dismissed, JobNo, JobQueue, Registration, Settled};

/// Where the answer to a registration comes.
#[derive(Debug)]
pub(crate) struct Registering {
    pub(crate) number: u32,
    pub(crate) answer: oneshot::Receiver<Result<(), ServeError>>,
}

impl Session {
    /// Admits one more call, if there is a connection to say it on.
    pub(crate) fn call(
        &mut self,
        name: &FunctionName,
        answers: &Arc<Answers>,
    ) -> Result<CallNo, CallFailed> {
        if self.is_over {
            return Err(CallFailed::Closed);
        }
        if self.is_drained() {
            return Err(CallFailed::Drained);
        }
        if self.link != Link::Up {
            return Err(CallFailed::Disconnected);
        }
        if !self.has_functions {
            return Err(CallFailed::Unsupported);
        }
        self.calls.open(name, answers)
    }

    /// Nobody waits for this call any more.
    pub(crate) fn give_up_call(&mut self, call: CallNo, out: &mut Vec<u8>) {
        // Without a connection none is open.
        if self.calls.give_up(call) {
            put_cancel(call, out);
        }
    }

    /// Its caller wants it to end, and to hear how.
    pub(crate) fn cancel_call(&mut self, call: CallNo, out: &mut Vec<u8>) {
        if self.calls.is_open(call) {
            put_cancel(call, out);
        }
    }

    pub(crate) fn register(
        &mut self,
        registration: Registration,
        queue: &Arc<JobQueue>,
        out: &mut Vec<u8>,
    ) -> Result<Registering, ServeError> {
        if self.is_over {
            return Err(ServeError::Closed);
        }
        if self.is_drained() {
            return Err(ServeError::Drained);
        }
        if self.link != Link::Down && !self.has_functions {
            return Err(ServeError::Unsupported);
        }
        let out = self.link.is_there(out);
        let (number, answer) = self.workers.insert(registration, queue, out);
        Ok(Registering { number, answer })
    }

    /// No further jobs for this worker. Those it has go on.
    pub(crate) fn unregister(&mut self, number: u32, out: &mut Vec<u8>) {
        self.workers.unregister(number, self.link.is_there(out));
    }

    /// Nobody takes jobs from this worker any more.
    pub(crate) fn forget_worker(
        &mut self,
        number: u32,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let settled = self.workers.forget(number, self.link.is_there(out));
        self.settled(settled, effects);
    }

    pub(crate) fn set_health(&mut self, number: u32, is_well: bool, out: &mut Vec<u8>) {
        self.workers.set_health(number, is_well, self.link.is_there(out));
    }

    /// Whether a part of a job's answer can be said now; with the last one the job is over.
    pub(crate) fn answer_job(&mut self, job: JobNo, is_last: bool) -> Result<(), JobError> {
        if is_last { self.workers.finish(job) } else { self.workers.check(job) }
    }

    /// Says that nothing comes of a job, if that can still be said.
    pub(crate) fn fail_job(&mut self, job: JobNo, text: &str, out: &mut Vec<u8>) {
        self.workers.refuse(job, text, out);
    }

    /// Asks for every registration again, of a router that knows them.
    pub(super) fn register_all(&mut self, out: &mut Vec<u8>) -> usize {
        if !self.has_functions {
            self.workers.end(&Dismissed::Unsupported);
        }
        self.workers.connected(out);
        self.workers.count()
    }

    pub(super) fn rpc(
        &mut self,
        rpc: Rpc<'_>,
        frame: &Bytes,
        at: Instant,
        out: &mut Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Disconnect> {
        match rpc {
            Rpc::Registered { number } => {
                let settled = self.workers.confirm(number);
                self.settled(settled, effects);
            }
            Rpc::Unregistered(gone) => {
                let dismissed = if gone.why == Why::Asked {
                    Dismissed::Unregistered
                } else {
                    Dismissed::Refused { why: gone.why, text: gone.text.to_owned() }
                };
                let settled = self.workers.remove(gone.number, dismissed);
                self.settled(settled, effects);
            }
            Rpc::Result { answer, trace } => self.result(answer, trace, frame, out),
            Rpc::CallFailed(failed) => {
                let heard = self.calls.failed(failed);
                self.counts.late_replies += u64::from(heard == Heard::Late);
            }
            Rpc::Invoke(Invoke { job, number, deadline_ms, encoding, payload }) => {
                let value = Value { encoding, payload: kept(frame, payload) };
                let deadline = at.checked_add(Duration::from_millis(u64::from(deadline_ms)));
                let given = self.workers.given(job, number, value, deadline, out);
                given.map_err(Disconnect::Malformed)?;
            }
            Rpc::Withdraw { job } => self.workers.withdraw(job),
            Rpc::Register(_)
            | Rpc::Unregister { .. }
            | Rpc::Health { .. }
            | Rpc::Call(_)
            | Rpc::Cancel { .. }
            | Rpc::Reply(_)
            | Rpc::ReplyFailed { .. } => {
                return Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
            }
        }
        Ok(())
    }

    fn result(
        &mut self,
        answer: Answer<'_>,
        trace: Option<TraceBlock<'_>>,
        frame: &Bytes,
        out: &mut Vec<u8>,
    ) {
        let Answer { number, is_last, encoding, payload } = answer;
        let value = Value { encoding, payload: kept(frame, payload) };
        let trace = trace.map(|trace| trace.read().into());
        match self.calls.part(CallNo(number), Part { value, is_last, trace }) {
            Heard::Delivered => (),
            Heard::Overrun => {
                self.counts.overrun += 1;
                put_cancel(CallNo(number), out);
            }
            Heard::Late => self.counts.late_replies += 1,
        }
    }

    fn settled(&mut self, settled: Settled, effects: &mut Vec<Effect>) {
        if settled == Settled::Awaited {
            self.one_less_awaited(effects);
        }
    }
}

impl Link {
    /// What is to be said, if there is a connection to say it on.
    fn is_there(self, out: &mut Vec<u8>) -> Option<&mut Vec<u8>> {
        (self != Self::Down).then_some(out)
    }
}

/// A payload to be kept: a short one is copied, so that it does not hold on to the chunk it came in.
fn kept(frame: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() < READ_ROOM_BYTES_MIN {
        Bytes::copy_from_slice(payload)
    } else {
        frame.slice_ref(payload)
    }
}

fn put_cancel(call: CallNo, out: &mut Vec<u8>) {
    Frame::Rpc(Rpc::Cancel { number: call.0 }).put(out);
}
