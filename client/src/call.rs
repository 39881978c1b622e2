//! Calling a function: what is asked for, and the result, whole or in parts.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use mpreg_proto::call::{CallError, Failure, Target, Trace};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::frame::{self, Frame, ResourceNames, Rpc};
use mpreg_proto::function::{Constraint, FunctionName, Resources};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use tokio::time::{self, Instant};

use crate::answers::{Answers, Part};
use crate::calls::CallNo;
use crate::client::Client;
use crate::error::CallFailed;
use crate::limits::{CALL_DEADLINE, CALL_GRACE, CALL_HEAD_BYTES};
use crate::request::deadline_ms;
use crate::value::Value;

/// A call to be made; see [`Client::call`].
#[derive(Clone, Debug)]
pub struct Call<'a> {
    client: &'a Client,
    name: &'a str,
    constraint: &'a str,
    resources: Vec<&'a str>,
    cluster: &'a str,
    deadline: Duration,
    hedge_after: Option<Duration>,
    is_idempotent: bool,
    is_traced: bool,
}

/// A call that was checked.
#[derive(Debug)]
struct Checked<'a> {
    name: FunctionName,
    constraint: &'a str,
    resources: Resources,
    cluster: &'a str,
    until: Instant,
    hedge_after_ms: u32,
    is_idempotent: bool,
    is_traced: bool,
    value: Value,
}

impl<'a> Call<'a> {
    pub(crate) fn new(client: &'a Client, name: &'a str) -> Self {
        Self {
            client,
            name,
            constraint: "",
            resources: Vec::new(),
            cluster: "",
            deadline: CALL_DEADLINE,
            hedge_after: None,
            is_idempotent: false,
            is_traced: false,
        }
    }

    /// Which versions will do, such as `^1.2` or `>=1.2, <1.9`. Any release, unless said.
    pub fn version(mut self, constraint: &'a str) -> Self {
        self.constraint = constraint;
        self
    }

    /// What there must be where it runs. May be said several times.
    pub fn resource(mut self, name: &'a str) -> Self {
        self.resources.push(name);
        self
    }

    /// The cluster it has to run in. Any, unless said.
    pub fn cluster(mut self, name: &'a str) -> Self {
        self.cluster = name;
        self
    }

    /// How long the result is worth having. The call has ended then, wherever it runs.
    /// [`CALL_DEADLINE`], unless said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The function may run twice: a call that was lost may be made again.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Asks a second worker after so long without a result, and takes what comes first. Only of what is
    /// [idempotent](Self::idempotent).
    pub fn hedge_after(mut self, wait: Duration) -> Self {
        self.hedge_after = Some(wait);
        self
    }

    /// Asks which way the call and its result went, and how long it took: [`Parts::trace`] says so after the
    /// last part of a [streamed](Self::stream) result.
    pub fn traced(mut self) -> Self {
        self.is_traced = true;
        self
    }

    /// Calls, and waits for the result. Without a connection, waits for one. A call that is open when
    /// the connection is lost ends with [`CallFailed::Disconnected`], or is made again if it is
    /// idempotent. Dropping the future cancels the call.
    pub async fn send(self, value: impl Into<Value>) -> Result<Value, CallFailed> {
        let client = self.client;
        let checked = self.check(value.into())?;
        loop {
            let mut opened = client.open(&checked).await?;
            match opened.next(&checked.name).await {
                Some(Ok(Part { value, is_last: true, .. })) => return Ok(value),
                Some(Ok(Part { is_last: false, .. })) => return Err(CallFailed::Streamed),
                Some(Err(CallFailed::Disconnected)) if checked.is_idempotent => (),
                Some(Err(error)) => return Err(error),
                None => return Err(CallFailed::Closed),
            }
        }
    }

    /// Calls, and takes the result part by part. Returns once the call is said; dropping the parts
    /// cancels it.
    pub async fn stream(self, value: impl Into<Value>) -> Result<Parts, CallFailed> {
        let client = self.client;
        let checked = self.check(value.into())?;
        let opened = client.open(&checked).await?;
        Ok(Parts { opened, name: checked.name, is_over: false, trace: None })
    }

    fn check(self, value: Value) -> Result<Checked<'a>, CallFailed> {
        let Self { client, name, constraint, resources, cluster, .. } = self;
        if !constraint.is_empty() {
            constraint.parse::<Constraint>()?;
        }
        if !cluster.is_empty() && cluster.parse::<ClusterName>().is_err() {
            return Err(CallFailed::Cluster(cluster.to_owned()));
        }
        if self.hedge_after.is_some() && !self.is_idempotent {
            return Err(CallFailed::Hedge);
        }
        let frame_bytes_max = client.shared().frame_bytes_max() as usize;
        let frame_bytes = value.payload.len() + CALL_HEAD_BYTES;
        if PAYLOAD_BYTES_MAX < value.payload.len() || frame_bytes_max < frame_bytes {
            return Err(CallFailed::TooLarge);
        }
        // As it is said on the wire.
        let deadline = Duration::from_millis(deadline_ms(self.deadline).into());
        Ok(Checked {
            name: name.parse()?,
            constraint,
            resources: Resources::new(resources)?,
            cluster,
            until: Instant::now() + deadline,
            hedge_after_ms: self.hedge_after.map_or(0, deadline_ms),
            is_idempotent: self.is_idempotent,
            is_traced: self.is_traced,
            value,
        })
    }
}

impl Checked<'_> {
    fn put(&self, call: CallNo, out: &mut Vec<u8>) {
        let mut room = Vec::new();
        let left = self.until.saturating_duration_since(Instant::now());
        let call = frame::Call {
            number: call.0,
            deadline_ms: deadline_ms(left),
            hedge_after_ms: self.hedge_after_ms,
            is_idempotent: self.is_idempotent,
            is_traced: self.is_traced,
            encoding: self.value.encoding,
            cluster: self.cluster,
            name: self.name.as_str(),
            constraint: self.constraint,
            resources: ResourceNames::write(&self.resources, &mut room),
            payload: &self.value.payload,
        };
        Frame::Rpc(Rpc::Call(call)).put(out);
    }
}

impl Client {
    /// Says the call, once there is a connection with room for it.
    async fn open(&self, checked: &Checked<'_>) -> Result<Opened, CallFailed> {
        let opening = async {
            loop {
                self.shared().up().await.map_err(|_| CallFailed::Closed)?;
                match self.try_open(checked).await {
                    // It was lost meanwhile, and nothing was said on it.
                    Err(CallFailed::Disconnected) => (),
                    opened => return opened,
                }
            }
        };
        let opened = time::timeout_at(checked.until, opening).await;
        opened.unwrap_or_else(|_| Err(too_late(&checked.name, false)))
    }

    async fn try_open(&self, checked: &Checked<'_>) -> Result<Opened, CallFailed> {
        let shared = self.shared();
        let charge = (checked.value.payload.len() + CALL_HEAD_BYTES) as u32;
        let room = shared.outbound.room(charge).await.map_err(|_| CallFailed::Closed)?;
        let answers = Arc::<Answers>::default();
        let call = shared
            .say(
                room,
                |session| session.call(&checked.name, &answers),
                |call, out| checked.put(call, out),
            )
            .map_err(|_| CallFailed::Closed)??;
        let until = checked.until + CALL_GRACE;
        Ok(Opened { client: self.clone(), call, answers, until })
    }
}

/// A call that was said; cancels it when dropped.
#[derive(Debug)]
struct Opened {
    client: Client,
    call: CallNo,
    answers: Arc<Answers>,
    until: Instant,
}

impl Opened {
    async fn next(&mut self, name: &FunctionName) -> Option<Result<Part, CallFailed>> {
        let next = future::poll_fn(|context| self.answers.poll(context));
        let next = time::timeout_at(self.until, next).await;
        next.unwrap_or_else(|_| Some(Err(too_late(name, true))))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.client.shared().act(|session, out, _| session.give_up_call(self.call, out));
    }
}

/// The parts of one result, in order. Cancels the call when dropped.
///
/// A reader that is late loses the call, not parts of it: past
/// [`CALL_PARTS_BYTES_MAX`](crate::limits::CALL_PARTS_BYTES_MAX) bytes that wait it ends with
/// [`CallFailed::Overrun`].
#[derive(Debug)]
pub struct Parts {
    opened: Opened,
    name: FunctionName,
    is_over: bool,
    trace: Option<Box<Trace>>,
}

impl Parts {
    /// Waits for the next part; `None` after the last one, and after a failure. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Value, CallFailed>> {
        if self.is_over {
            return None;
        }
        let next = self.opened.next(&self.name).await;
        self.is_over = !matches!(next, Some(Ok(Part { is_last: false, .. })));
        next.map(|part| {
            part.map(|Part { value, trace, .. }| {
                self.trace = trace;
                value
            })
        })
    }

    /// Which way a [traced](Call::traced) call and its result went. `None` before its last part, and after a
    /// failure, which has a path of its own.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// Asks for the end; what comes of that still comes.
    pub(crate) fn cancel(&self) {
        self.opened
            .client
            .shared()
            .act(|session, out, _| session.cancel_call(self.opened.call, out));
    }

    /// Whether the last part was taken, or the failure in its place.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Nobody has said how the call ended.
fn too_late(name: &FunctionName, may_have_run: bool) -> CallFailed {
    let text = if may_have_run { "no word from the router" } else { "no connection in time" };
    CallFailed::from(Failure {
        error: CallError::Deadline,
        target: Target { name: name.clone(), cluster: None, node: None },
        path: Vec::new(),
        text: text.to_owned(),
        may_have_run,
    })
}
