//! Calls and workers against frames written by hand.

use std::num::NonZeroU32;

use mpreg_proto::call::CallError;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::frame::{
    Answer, CallFailed as Failed, Invoke, Path, Register, ResourceNames, Rpc,
};
use mpreg_proto::frame::{Unregistered, Why};
use mpreg_proto::id::{ClusterId, NodeId};

use super::*;
use crate::answers::{Answers, Part};
use crate::calls::CallNo;
use crate::error::{JobError, ServeError};
use crate::limits::READ_ROOM_BYTES_MIN;
use crate::session::rpc::Registering;
use crate::workers::{Given, JobQueue, Registration};

struct Serving {
    number: u32,
    answer: oneshot::Receiver<Result<(), ServeError>>,
    queue: Arc<JobQueue>,
}

impl Serving {
    /// The next job, if one waits.
    fn next(&self) -> Option<Given> {
        match self.queue.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(given) => given,
            Poll::Pending => None,
        }
    }
}

impl Desk {
    fn call(&mut self) -> Result<(CallNo, Arc<Answers>), CallFailed> {
        let answers = Arc::default();
        let call = self.session.call(&"sum".parse().unwrap(), &answers)?;
        Ok((call, answers))
    }

    fn try_serve(&mut self, limit: u32) -> Result<Serving, ServeError> {
        let queue = Arc::default();
        let registration = Registration {
            name: "sum".parse().unwrap(),
            id: None,
            version: "1.2.0".parse().unwrap(),
            resources: Default::default(),
            limit: NonZeroU32::new(limit).unwrap(),
        };
        let Registering { number, answer } =
            self.session.register(registration, &queue, &mut self.out)?;
        Ok(Serving { number, answer, queue })
    }

    /// A worker in place, and what was sent for it forgotten.
    fn serve(&mut self, limit: u32) -> Serving {
        let serving = self.try_serve(limit).unwrap();
        self.hear_rpc(Rpc::Registered { number: serving.number });
        self.out.clear();
        serving
    }

    #[track_caller]
    fn hear_rpc(&mut self, rpc: Rpc<'_>) {
        self.hear(Frame::Rpc(rpc));
    }

    #[track_caller]
    fn sent_rpc(&mut self, want: &[Rpc<'_>]) {
        let want: Vec<Frame<'_>> = want.iter().map(|&rpc| Frame::Rpc(rpc)).collect();
        self.sent(&want);
    }
}

fn register(number: u32, limit: u32) -> Rpc<'static> {
    let resources = ResourceNames::NONE;
    Rpc::Register(Register { number, limit, id: 0, name: "sum", version: "1.2.0", resources })
}

fn invoke(job: u64, number: u32) -> Rpc<'static> {
    let encoding = Encoding::Json;
    Rpc::Invoke(Invoke { job, number, deadline_ms: 1000, encoding, payload: b"[1]" })
}

fn result(call: CallNo, is_last: bool, payload: &[u8]) -> Rpc<'_> {
    let answer = Answer { number: call.0, is_last, encoding: Encoding::Json, payload };
    Rpc::Result { answer, trace: None }
}

fn failed(call: CallNo) -> Rpc<'static> {
    Rpc::CallFailed(Failed {
        number: call.0,
        code: CallError::NotFound,
        may_have_run: false,
        cluster: ClusterId(0),
        node: NodeId(0),
        path: Path::default(),
        text: "",
    })
}

fn next(answers: &Answers) -> Option<Result<Part, CallFailed>> {
    match answers.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => next,
        Poll::Pending => panic!("nothing is there"),
    }
}

#[test]
fn results_and_failures_find_their_calls() {
    let mut desk = Desk::up();
    let (one, one_answers) = desk.call().unwrap();
    let (other, other_answers) = desk.call().unwrap();
    desk.hear_rpc(failed(other));
    desk.hear_rpc(result(one, true, b"2"));
    let Some(Ok(Part { value, is_last: true, .. })) = next(&one_answers) else {
        panic!("a result")
    };
    assert_eq!((value.encoding, &value.payload[..]), (Encoding::Json, &b"2"[..]));
    let Some(Err(CallFailed::Failed(failure))) = next(&other_answers) else { panic!("a failure") };
    assert_eq!(failure.to_string(), "sum: not_found: ");
    assert_eq!(desk.session.counts(), Counts::default());
    desk.hear_rpc(result(one, true, b"2"));
    desk.hear_rpc(failed(other));
    assert_eq!(desk.session.counts().late_replies, 2);
    desk.sent(&[]);
}

#[test]
fn a_call_given_up_is_cancelled_once_and_only_while_it_is_open() {
    let mut desk = Desk::up();
    let [open, over] = [(); 2].map(|()| desk.call().unwrap().0);
    desk.hear_rpc(result(over, true, b""));
    for call in [open, open, over] {
        desk.session.give_up_call(call, &mut desk.out);
    }
    desk.sent_rpc(&[Rpc::Cancel { number: open.0 }]);
    let (lost, _answers) = desk.call().unwrap();
    desk.session.disconnected();
    desk.session.give_up_call(lost, &mut desk.out);
    desk.sent(&[]);
}

#[test]
fn a_caller_that_is_late_for_its_parts_cancels() {
    let mut desk = Desk::up();
    let (call, _answers) = desk.call().unwrap();
    let part = vec![0; 1 << 20];
    while desk.out.is_empty() {
        desk.hear_rpc(result(call, false, &part));
    }
    desk.sent_rpc(&[Rpc::Cancel { number: call.0 }]);
    assert_eq!(desk.session.counts().overrun, 1);
    desk.hear_rpc(result(call, false, &part));
    desk.sent(&[]);
}

#[test]
fn calls_need_a_connection_and_a_router_that_knows_them() {
    let mut desk = Desk::down();
    assert_eq!(desk.call().err(), Some(CallFailed::Disconnected));
    desk.session.connected(SESSION, 0, &mut desk.out, &mut desk.effects);
    assert_eq!(desk.call().err(), Some(CallFailed::Unsupported));
    assert_eq!(desk.try_serve(1).err(), Some(ServeError::Unsupported));
    let mut desk = Desk::up();
    let (_, answers) = desk.call().unwrap();
    desk.session.disconnected();
    assert_eq!(next(&answers), Some(Err(CallFailed::Disconnected)));
    desk.connect();
    let (_, answers) = desk.call().unwrap();
    desk.session.drain(&mut desk.out).unwrap();
    assert_eq!(desk.call().err(), Some(CallFailed::Drained));
    assert_eq!(desk.try_serve(1).err(), Some(ServeError::Drained));
    desk.hear(Frame::Drained);
    assert_eq!(next(&answers), Some(Err(CallFailed::Drained)));
    desk.session.end();
    assert_eq!(desk.call().err(), Some(CallFailed::Closed));
    assert_eq!(desk.try_serve(1).err(), Some(ServeError::Closed));
}

#[test]
fn a_registration_is_confirmed_or_refused() {
    let mut desk = Desk::up();
    let mut good = desk.try_serve(3).unwrap();
    let mut bad = desk.try_serve(4).unwrap();
    desk.sent_rpc(&[register(good.number, 3), register(bad.number, 4)]);
    assert!(good.answer.try_recv().is_err());
    desk.hear_rpc(Rpc::Registered { number: good.number });
    assert_eq!(good.answer.try_recv(), Ok(Ok(())));
    let (number, why) = (bad.number, Why::NameTaken);
    desk.hear_rpc(Rpc::Unregistered(Unregistered { number, why, text: "by 1" }));
    let text = "by 1".to_owned();
    assert_eq!(bad.answer.try_recv(), Ok(Err(ServeError::Refused { why, text: text.clone() })));
    let why = Dismissed::Refused { why, text };
    assert_eq!((good.queue.ended(), bad.queue.ended()), (None, Some(why)));
}

#[test]
fn jobs_are_given_answered_and_counted_against_the_limit() {
    let mut desk = Desk::up();
    let serving = desk.serve(2);
    desk.hear_rpc(invoke(7, serving.number));
    desk.hear_rpc(invoke(8, serving.number));
    let given = serving.next().unwrap();
    assert_eq!((given.number.number(), &given.value.payload[..]), (7, &b"[1]"[..]));
    assert!(given.deadline.is_some_and(|at| Instant::now() < at));
    assert_eq!(desk.session.answer_job(given.number, false), Ok(()));
    assert_eq!(desk.session.answer_job(given.number, true), Ok(()));
    let again = desk.session.answer_job(given.number, true);
    assert_eq!(again, Err(JobError::Disconnected), "it is over");
    desk.hear_rpc(invoke(9, serving.number));
    let too_many = desk.try_hear(Frame::Rpc(invoke(10, serving.number)));
    assert_eq!(too_many, Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame)));
    desk.session.fail_job(serving.next().unwrap().number, "why", &mut desk.out);
    desk.sent_rpc(&[Rpc::ReplyFailed { job: 8, text: "why" }]);
    let twice = desk.try_hear(Frame::Rpc(invoke(9, serving.number)));
    assert_eq!(twice, Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame)), "it is under way");
}

#[test]
fn a_withdrawn_job_takes_its_place_until_it_is_answered() {
    let mut desk = Desk::up();
    let serving = desk.serve(1);
    desk.hear_rpc(invoke(1, serving.number));
    let given = serving.next().unwrap();
    assert!(!given.withdrawal.is_withdrawn());
    desk.hear_rpc(Rpc::Withdraw { job: 1 });
    desk.hear_rpc(Rpc::Withdraw { job: 2 });
    assert!(given.withdrawal.is_withdrawn());
    assert!(desk.try_hear(Frame::Rpc(invoke(2, serving.number))).is_err(), "the place is taken");
    assert_eq!(desk.session.answer_job(given.number, true), Ok(()));
    desk.hear_rpc(invoke(2, serving.number));
}

#[test]
fn a_new_connection_registers_again_and_jobs_of_the_old_one_are_withdrawn() {
    let mut desk = Desk::up();
    let serving = desk.serve(1);
    let leaving = desk.serve(1);
    desk.session.set_health(serving.number, false, &mut desk.out);
    desk.session.unregister(leaving.number, &mut desk.out);
    let (number, is_well) = (serving.number, false);
    desk.sent_rpc(&[Rpc::Health { number, is_well }, Rpc::Unregister { number: leaving.number }]);
    desk.hear_rpc(invoke(1, number));
    let old = serving.next().unwrap();
    desk.session.disconnected();
    assert!(old.withdrawal.is_withdrawn());
    assert_eq!(leaving.queue.ended(), Some(Dismissed::Unregistered));
    desk.connect();
    desk.sent_rpc(&[register(number, 1), Rpc::Health { number, is_well }]);
    assert_eq!(desk.effects(), []);
    desk.hear_rpc(Rpc::Registered { number });
    assert_eq!(desk.effects(), [Effect::Open, connected()]);
    desk.hear_rpc(invoke(1, number));
    assert_eq!(desk.session.answer_job(old.number, true), Err(JobError::Disconnected));
    desk.session.fail_job(old.number, "late", &mut desk.out);
    desk.sent(&[]);
    let new = serving.next().unwrap();
    assert_eq!(desk.session.answer_job(new.number, true), Ok(()), "the same number, another job");
}

#[test]
fn jobs_of_lost_connections_do_not_pile_up() {
    let mut desk = Desk::up();
    let serving = desk.serve(1);
    for _ in 0..3 {
        desk.hear_rpc(invoke(1, serving.number));
        desk.session.disconnected();
        desk.connect();
    }
    desk.hear_rpc(invoke(1, serving.number));
    let given = serving.next().unwrap();
    assert_eq!(desk.session.answer_job(given.number, true), Ok(()));
    assert!(serving.next().is_none());
}

#[test]
fn a_registration_refused_or_dropped_while_resuming_is_not_waited_for() {
    let mut desk = Desk::up();
    let workers = [(); 3].map(|()| desk.serve(1));
    desk.session.disconnected();
    desk.connect();
    let number = workers[0].number;
    desk.hear_rpc(Rpc::Unregistered(Unregistered { number, why: Why::Workers, text: "" }));
    desk.session.forget_worker(workers[1].number, &mut desk.out, &mut desk.effects);
    assert_eq!(desk.effects(), []);
    desk.hear_rpc(Rpc::Registered { number: workers[2].number });
    assert_eq!(desk.effects(), [Effect::Open, connected()]);
}

#[test]
fn a_router_without_functions_ends_the_workers_and_nothing_else() {
    let mut desk = Desk::up();
    let serving = desk.serve(1);
    let sub = desk.subscribe("a");
    desk.hear(Frame::Subscribed { sid: sub.sid });
    desk.session.disconnected();
    desk.out.clear();
    desk.session.connected(SESSION, 0, &mut desk.out, &mut desk.effects);
    assert_eq!(serving.queue.ended(), Some(Dismissed::Unsupported));
    desk.sent(&[subscribe(sub.sid, "a")]);
    assert_eq!(sub.inbox.ended(), None);
}

#[test]
fn jobs_that_came_before_the_end_of_a_registration_are_still_given() {
    let mut desk = Desk::up();
    let serving = desk.serve(2);
    desk.session.unregister(serving.number, &mut desk.out);
    desk.session.unregister(serving.number, &mut desk.out);
    desk.hear_rpc(invoke(1, serving.number));
    let gone = Unregistered { number: serving.number, why: Why::Asked, text: "" };
    desk.hear_rpc(Rpc::Unregistered(gone));
    let given = serving.next().unwrap();
    assert_eq!(desk.session.answer_job(given.number, true), Ok(()));
    assert!(serving.next().is_none());
    desk.sent_rpc(&[Rpc::Unregister { number: serving.number }]);
}

#[test]
fn a_worker_that_is_dropped_refuses_what_waits() {
    let mut desk = Desk::up();
    let serving = desk.serve(2);
    desk.hear_rpc(invoke(1, serving.number));
    desk.hear_rpc(invoke(2, serving.number));
    let taken = serving.next().unwrap();
    desk.session.forget_worker(serving.number, &mut desk.out, &mut desk.effects);
    let refused = Rpc::ReplyFailed { job: 2, text: "the worker was dropped" };
    desk.sent_rpc(&[refused, Rpc::Unregister { number: serving.number }]);
    assert_eq!(desk.session.answer_job(taken.number, true), Ok(()), "what was taken goes on");
    desk.hear_rpc(invoke(3, serving.number));
    desk.sent_rpc(&[Rpc::ReplyFailed { job: 3, text: "the worker is gone" }]);
}

#[test]
fn what_only_clients_say_ends_the_connection() {
    let mut desk = Desk::up();
    let unexpected = Err(Disconnect::Malformed(ErrorCode::UnexpectedFrame));
    for rpc in [Rpc::Cancel { number: 1 }, register(1, 1), Rpc::Unregister { number: 1 }] {
        assert_eq!(desk.try_hear(Frame::Rpc(rpc)), unexpected);
    }
    desk.hear(Frame::For { sid: Sid(1) });
    assert_eq!(desk.try_hear(Frame::Rpc(Rpc::Withdraw { job: 1 })), unexpected, "behind a For");
}

#[test]
fn short_values_do_not_hold_on_to_what_they_came_in() {
    let mut desk = Desk::up();
    for (bytes, is_kept) in [(READ_ROOM_BYTES_MIN - 1, false), (READ_ROOM_BYTES_MIN, true)] {
        let (call, answers) = desk.call().unwrap();
        let payload = vec![7; bytes];
        let mut frame = Vec::new();
        Frame::Rpc(result(call, true, &payload)).put(&mut frame);
        let within = frame.as_ptr_range();
        desk.hear_bytes(frame).unwrap();
        let Some(Ok(Part { value, .. })) = next(&answers) else { panic!("a result") };
        assert_eq!(value.payload, payload);
        assert_eq!(within.contains(&value.payload.as_ptr()), is_kept, "{bytes}");
    }
}
