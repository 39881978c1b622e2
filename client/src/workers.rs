//! Functions that this client runs: what it registered, and the jobs it was given.
//!
//! Invariants:
//! - A registration is confirmed, refused or ended exactly once to whoever asked for it.
//! - A registration has at most as many jobs under way on one connection as its limit says; a router
//!   that gives more is not believed.
//! - A job is answered over the connection it came on, or not at all.
//!
//! Tests: `session/tests/rpc.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use ahash::AHashMap;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Frame, Register, ResourceNames, Rpc, Why};
use mpreg_proto::function::{FunctionId, FunctionName, Resources, Version};
use tokio::sync::{Notify, oneshot};

use crate::error::{JobError, ServeError};
use crate::value::Value;

/// What is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) name: FunctionName,
    /// `None`: the one that goes with the name.
    pub(crate) id: Option<FunctionId>,
    pub(crate) version: Version,
    pub(crate) resources: Resources,
    pub(crate) limit: NonZeroU32,
}

/// Why a worker gets no further jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dismissed {
    /// Asked for.
    Unregistered,
    /// The client was drained.
    Drained,
    /// The router refused it after a reconnect, or took it back.
    Refused { why: Why, text: String },
    /// The router of a later connection knows no functions.
    Unsupported,
    /// The client is closed, or has given up reconnecting.
    Closed,
}

/// Which connection, counted; a job of an earlier one cannot be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionNo(u64);

/// A job, as the connection it came on calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobNo {
    connection: ConnectionNo,
    job: u64,
}

impl JobNo {
    /// What the router calls it.
    pub(crate) fn number(self) -> u64 {
        self.job
    }
}

/// A job that no one has taken yet.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) number: JobNo,
    pub(crate) value: Value,
    pub(crate) deadline: Option<Instant>,
    pub(crate) withdrawal: Arc<Withdrawal>,
}

/// Whether anybody still waits for a job.
#[derive(Debug, Default)]
pub(crate) struct Withdrawal {
    is_withdrawn: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Workers {
    entries: BTreeMap<u32, Entry>,
    number_last: u32,
    connection: ConnectionNo,
    /// Of this connection.
    jobs: AHashMap<u64, UnderWay>,
}

#[derive(Debug)]
struct Entry {
    registration: Registration,
    queue: Arc<JobQueue>,
    /// Whoever waits to be told that it is registered.
    asker: Option<oneshot::Sender<Result<(), ServeError>>>,
    /// Counted by the session as not yet in place.
    is_awaited: bool,
    /// Told to end; its end is on its way.
    is_leaving: bool,
    is_well: bool,
    /// Jobs of this connection that are not answered.
    jobs: u32,
}

#[derive(Debug)]
struct UnderWay {
    registration: u32,
    withdrawal: Arc<Withdrawal>,
}

/// Whether the session waited for this one to be in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Awaited,
    Before,
}

impl Workers {
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Takes a registration in; asks the router for it if there is one.
    pub(crate) fn insert(
        &mut self,
        registration: Registration,
        queue: &Arc<JobQueue>,
        out: Option<&mut Vec<u8>>,
    ) -> (u32, oneshot::Receiver<Result<(), ServeError>>) {
        let number = self.next_number();
        let (asker, answer) = oneshot::channel();
        let entry = Entry {
            registration,
            queue: Arc::clone(queue),
            asker: Some(asker),
            is_awaited: false,
            is_leaving: false,
            is_well: true,
            jobs: 0,
        };
        if let Some(out) = out {
            entry.put(number, out);
        }
        self.entries.insert(number, entry);
        (number, answer)
    }

    /// The next number not in use.
    fn next_number(&mut self) -> u32 {
        loop {
            self.number_last = self.number_last.wrapping_add(1);
            if !self.entries.contains_key(&self.number_last) {
                return self.number_last;
            }
        }
    }

    /// A new connection: asks for every registration again.
    pub(crate) fn connected(&mut self, out: &mut Vec<u8>) {
        self.connection.0 += 1;
        for (&number, entry) in &mut self.entries {
            entry.is_awaited = true;
            entry.put(number, out);
        }
    }

    /// The connection is lost, and with it what it had us do.
    pub(crate) fn disconnected(&mut self) {
        for (_, job) in self.jobs.drain() {
            job.withdrawal.withdraw();
        }
        let left = self.entries.extract_if(.., |_, entry| {
            entry.jobs = 0;
            entry.is_leaving
        });
        left.for_each(|(_, entry)| entry.end(Dismissed::Unregistered));
    }

    pub(crate) fn confirm(&mut self, number: u32) -> Settled {
        let Some(entry) = self.entries.get_mut(&number) else { return Settled::Before };
        if let Some(asker) = entry.asker.take() {
            // Whoever stopped waiting drops the worker too.
            asker.send(Ok(())).ok();
        }
        match std::mem::take(&mut entry.is_awaited) {
            true => Settled::Awaited,
            false => Settled::Before,
        }
    }

    /// Takes a registration out and says why.
    pub(crate) fn remove(&mut self, number: u32, why: Dismissed) -> Settled {
        let Some(entry) = self.entries.remove(&number) else { return Settled::Before };
        let settled = if entry.is_awaited { Settled::Awaited } else { Settled::Before };
        entry.end(why);
        settled
    }

    /// Asks the router for an end, or ends at once without one.
    pub(crate) fn unregister(&mut self, number: u32, out: Option<&mut Vec<u8>>) {
        match (self.entries.get_mut(&number), out) {
            (Some(entry), Some(out)) if !entry.is_leaving => {
                entry.is_leaving = true;
                Frame::Rpc(Rpc::Unregister { number }).put(out);
            }
            (Some(_), Some(_)) | (None, _) => (),
            (Some(_), None) => {
                self.remove(number, Dismissed::Unregistered);
            }
        }
    }

    pub(crate) fn set_health(&mut self, number: u32, is_well: bool, out: Option<&mut Vec<u8>>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.is_well = is_well;
        if let Some(out) = out {
            Frame::Rpc(Rpc::Health { number, is_well }).put(out);
        }
    }

    /// Nobody takes jobs from this one any more: those that wait are refused.
    pub(crate) fn forget(&mut self, number: u32, out: Option<&mut Vec<u8>>) -> Settled {
        let Some(entry) = self.entries.get(&number) else { return Settled::Before };
        let waiting = entry.queue.end(Dismissed::Unregistered, Waiting::Taken);
        if let Some(out) = out {
            for given in waiting {
                self.refuse(given.number, "the worker was dropped", out);
            }
            if !self.entries[&number].is_leaving {
                Frame::Rpc(Rpc::Unregister { number }).put(out);
            }
        }
        self.remove(number, Dismissed::Unregistered)
    }

    /// A job came, received at `now`.
    pub(crate) fn given(
        &mut self,
        job: u64,
        number: u32,
        value: Value,
        deadline: Option<Instant>,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        if self.jobs.contains_key(&job) {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let Some(entry) = self.entries.get_mut(&number) else {
            // It and the end of its registration have crossed.
            put_failed(job, "the worker is gone", out);
            return Ok(());
        };
        if entry.registration.limit.get() <= entry.jobs {
            return Err(ErrorCode::UnexpectedFrame);
        }
        entry.jobs += 1;
        let withdrawal = Arc::<Withdrawal>::default();
        let under_way = UnderWay { registration: number, withdrawal: Arc::clone(&withdrawal) };
        self.jobs.insert(job, under_way);
        let number = JobNo { connection: self.connection, job };
        entry.queue.push(Given { number, value, deadline, withdrawal });
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, job: u64) {
        if let Some(job) = self.jobs.get(&job) {
            job.withdrawal.withdraw();
        }
    }

    /// Whether `job` can still be answered.
    pub(crate) fn check(&self, job: JobNo) -> Result<(), JobError> {
        let is_open = job.connection == self.connection && self.jobs.contains_key(&job.job);
        if is_open { Ok(()) } else { Err(JobError::Disconnected) }
    }

    /// The last word on `job` is being said.
    pub(crate) fn finish(&mut self, job: JobNo) -> Result<(), JobError> {
        self.check(job)?;
        let under_way = self.jobs.remove(&job.job).ok_or(JobError::Disconnected)?;
        if let Some(entry) = self.entries.get_mut(&under_way.registration) {
            entry.jobs -= 1;
        }
        Ok(())
    }

    /// Says that nothing comes of `job`.
    pub(crate) fn refuse(&mut self, job: JobNo, text: &str, out: &mut Vec<u8>) {
        if self.finish(job).is_ok() {
            put_failed(job.job, text, out);
        }
    }

    /// Ends every registration.
    pub(crate) fn end(&mut self, why: &Dismissed) {
        for (_, entry) in std::mem::take(&mut self.entries) {
            entry.end(why.clone());
        }
    }
}

impl Entry {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        let Registration { name, id, version, resources, limit } = &self.registration;
        let mut room = Vec::new();
        let register = Register {
            number,
            limit: limit.get(),
            id: id.map_or(0, |id| id.0),
            name: name.as_str(),
            version: &version.to_string(),
            resources: ResourceNames::write(resources, &mut room),
        };
        Frame::Rpc(Rpc::Register(register)).put(out);
        if !self.is_well {
            Frame::Rpc(Rpc::Health { number, is_well: false }).put(out);
        }
    }

    fn end(self, why: Dismissed) {
        if let Some(asker) = self.asker {
            // Whoever stopped waiting drops the worker too.
            asker.send(Err(why.clone().into())).ok();
        }
        self.queue.end(why, Waiting::Kept);
    }
}

fn put_failed(job: u64, text: &str, out: &mut Vec<u8>) {
    Frame::Rpc(Rpc::ReplyFailed { job, text }).put(out);
}

impl Withdrawal {
    fn withdraw(&self) {
        self.is_withdrawn.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Ordering::Acquire)
    }

    pub(crate) async fn withdrawn(&self) {
        let changed = self.changed.notified();
        // Asked for before the look, so that nothing is missed between both.
        if !self.is_withdrawn() {
            changed.await;
        }
    }
}

/// The jobs one worker has not taken yet. As many as its limit at most, those of lost connections
/// apart, which are gone when they are taken.
#[derive(Debug, Default)]
pub(crate) struct JobQueue(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Given>,
    ended: Option<Dismissed>,
    reader: Option<Waker>,
}

/// What becomes of jobs that wait when their queue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The worker still gets them.
    Kept,
    Taken,
}

impl JobQueue {
    fn push(&self, given: Given) {
        let mut queue = self.lock();
        // Nobody waits for these, and a connection that comes and goes would pile them up.
        queue.jobs.retain(|waiting| waiting.number.connection == given.number.connection);
        queue.jobs.push_back(given);
        wake(queue);
    }

    /// The next job, or `None` at the end.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Given>> {
        let mut queue = self.lock();
        if let Some(job) = queue.jobs.pop_front() {
            return Poll::Ready(Some(job));
        }
        if queue.ended.is_some() {
            return Poll::Ready(None);
        }
        match &mut queue.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) fn ended(&self) -> Option<Dismissed> {
        self.lock().ended.clone()
    }

    /// Lets nothing further in. The first reason stays.
    fn end(&self, why: Dismissed, waiting: Waiting) -> VecDeque<Given> {
        let mut queue = self.lock();
        queue.ended.get_or_insert(why);
        let taken = match waiting {
            Waiting::Kept => VecDeque::new(),
            Waiting::Taken => std::mem::take(&mut queue.jobs),
        };
        wake(queue);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("nothing panics while holding it")
    }
}

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}
