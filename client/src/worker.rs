//! Running a function for whoever calls it: jobs in, answers out.

use std::future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use mpreg_proto::envelope::Encoding;
use mpreg_proto::frame::{Answer, Frame, Rpc};
use mpreg_proto::function::{FunctionId, Resources};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use crate::client::Client;
use crate::error::{JobError, ServeError};
use crate::limits::CALL_HEAD_BYTES;
use crate::value::Value;
use crate::workers::{Dismissed, Given, JobNo, JobQueue, Registration, Withdrawal};

/// What a worker runs.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Words of letters, digits, `-` and `_`, separated by dots.
    pub name: &'a str,
    /// The same function under whatever name; `None`: the one that goes with the name.
    pub id: Option<FunctionId>,
    /// Three numbers, as semantic versions are written.
    pub version: &'a str,
    /// What there is where it runs.
    pub resources: &'a [&'a str],
    /// Calls at a time. Whoever comes when all are taken is refused, or runs elsewhere.
    pub limit: NonZeroU32,
}

impl<'a> Function<'a> {
    /// One call at a time, without resources.
    pub fn new(name: &'a str, version: &'a str) -> Self {
        Self { name, id: None, version, resources: &[], limit: NonZeroU32::MIN }
    }

    fn check(self) -> Result<Registration, ServeError> {
        Ok(Registration {
            name: self.name.parse()?,
            id: self.id,
            version: self.version.parse()?,
            resources: Resources::new(self.resources.iter().copied())?,
            limit: self.limit,
        })
    }
}

/// A function this client runs: a stream of the jobs that come for it. Jobs that wait are refused, and
/// no further ones come, once it is dropped.
///
/// A lost connection is replaced and the function registered again. Jobs of the lost connection are
/// withdrawn.
#[derive(Debug)]
pub struct Worker {
    client: Client,
    number: u32,
    queue: Arc<JobQueue>,
}

impl Worker {
    pub(crate) async fn register(
        client: &Client,
        function: Function<'_>,
    ) -> Result<Self, ServeError> {
        let registration = function.check()?;
        let queue = Arc::<JobQueue>::default();
        let shared = client.shared();
        let registering =
            shared.act(|session, out, _| session.register(registration, &queue, out))?;
        // From here on the registration undoes itself if this call is cancelled.
        let worker = Self { client: client.clone(), number: registering.number, queue };
        registering.answer.await.unwrap_or(Err(ServeError::Closed))?;
        Ok(worker)
    }

    /// Waits for the next job; `None` once no further ones come, see [`Worker::dismissed`]. Safe to
    /// cancel.
    pub async fn next(&mut self) -> Option<Job> {
        future::poll_fn(|context| self.poll(context)).await
    }

    /// Asks for no further jobs. Those that came before the router heard are still given, then the
    /// stream ends: so no call is lost.
    pub fn unregister(&self) {
        self.client.shared().act(|session, out, _| session.unregister(self.number, out));
    }

    /// Whether this worker takes jobs, from here on and after a reconnect. It does when it is made.
    pub fn set_well(&self, is_well: bool) {
        let shared = self.client.shared();
        shared.act(|session, out, _| session.set_health(self.number, is_well, out));
    }

    /// Why no further jobs come, once that is so. Some may wait still.
    pub fn dismissed(&self) -> Option<Dismissed> {
        self.queue.ended()
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Job>> {
        self.queue.poll(context).map(|given| {
            let Given { number, value, deadline, withdrawal } = given?;
            let saying = Saying { client: self.client.clone(), job: number, is_open: true };
            Some(Job { value, deadline, withdrawal, saying })
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let shared = self.client.shared();
        shared.act(|session, out, effects| session.forget_worker(self.number, out, effects));
    }
}

/// One call to be answered: with one value, with parts and a last one, or with a failure. One that is
/// dropped fails.
#[derive(Debug)]
pub struct Job {
    value: Value,
    deadline: Option<Instant>,
    withdrawal: Arc<Withdrawal>,
    saying: Saying,
}

/// Sees to it that a job is answered.
#[derive(Debug)]
struct Saying {
    client: Client,
    job: JobNo,
    is_open: bool,
}

impl Job {
    pub fn payload(&self) -> &[u8] {
        &self.value.payload
    }

    pub fn encoding(&self) -> Encoding {
        self.value.encoding
    }

    /// What the function is called with.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Until when the result is worth having, counted from the arrival of the job.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether nobody waits for the result any more. An answer is due all the same: until it comes, the
    /// job takes a place.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawal.is_withdrawn()
    }

    /// Resolves once nobody waits for the result any more: the caller has cancelled or is gone, the
    /// deadline has passed, or the connection is lost. Safe to cancel.
    pub async fn withdrawn(&self) {
        self.withdrawal.withdrawn().await;
    }

    /// Answers with the result, or the last part of it. Waits as `publish` does.
    pub async fn reply(mut self, value: impl Into<Value>) -> Result<(), JobError> {
        let said = self.saying.answer(value.into(), true).await;
        if said == Err(JobError::TooLarge) {
            self.saying.fail("the result is larger than a frame");
        }
        said
    }

    /// Answers with a part of the result; more follow. Waits as `publish` does.
    pub async fn part(&mut self, value: impl Into<Value>) -> Result<(), JobError> {
        self.saying.answer(value.into(), false).await
    }

    /// There is no result: the caller gets `worker_failed` with this text, cut at
    /// [`ERROR_TEXT_BYTES_MAX`](mpreg_proto::limits::ERROR_TEXT_BYTES_MAX) bytes.
    pub fn fail(mut self, text: &str) {
        self.saying.fail(text);
    }
}

impl Saying {
    async fn answer(&mut self, value: Value, is_last: bool) -> Result<(), JobError> {
        let Value { encoding, payload } = value;
        let shared = self.client.shared();
        let frame_bytes = payload.len() + CALL_HEAD_BYTES;
        if PAYLOAD_BYTES_MAX < payload.len() || (shared.frame_bytes_max() as usize) < frame_bytes {
            return Err(JobError::TooLarge);
        }
        let room = shared.outbound.room(frame_bytes as u32).await;
        let answer = Answer { number: self.job.number(), is_last, encoding, payload: &payload };
        let said = shared.say(
            room.map_err(|_| JobError::Closed)?,
            |session| session.answer_job(self.job, is_last),
            |(), out| Frame::Rpc(Rpc::Reply(answer)).put(out),
        );
        said.map_err(|_| JobError::Closed)??;
        self.is_open = !is_last;
        Ok(())
    }

    fn fail(&mut self, text: &str) {
        if std::mem::take(&mut self.is_open) {
            self.client.shared().act(|session, out, _| session.fail_job(self.job, text, out));
        }
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        self.fail("the worker dropped the job");
    }
}
