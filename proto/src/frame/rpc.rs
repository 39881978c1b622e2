//! Frames about functions: who runs which, who calls which, and how it went.
//!
//! ```text
//!   caller                          router                             worker
//!     |                               |   <-- Register, Health, Unregister -- |
//!     |                               | -- Registered, Unregistered -->       |
//!     | -- Call -------------------->  | -- Invoke ----------------->          |
//!     | -- Cancel ------------------>  | -- Withdraw --------------->          |
//!     |  <-- Result, CallFailed ----  |     <------ Reply, ReplyFailed ------ |
//! ```
//!
//! A router that knows them says so in its hello ([`crate::hello::FUNCTIONS`]).
//!
//! Invariants, beside those of `frame`: a name is text within its bound; whether it is the name of a
//! function, a version or a constraint is for the router to check, and no fault of the frame.
//!
//! Tests: `rpc/tests.rs`.

use alloc::vec::Vec;

use super::{Body, Kind, cut, put_control};
use crate::call::{CallError, Trace};
use crate::envelope::Encoding;
use crate::error::ErrorCode;
use crate::function::{ResourceError, Resources};
use crate::id::{ClusterId, NodeId};
use crate::limits::{
    CLUSTER_NAME_BYTES_MAX, CONSTRAINT_BYTES_MAX, ERROR_TEXT_BYTES_MAX, FUNCTION_NAME_BYTES_MAX,
    HOP_PATH_MAX, PAYLOAD_BYTES_MAX, RESOURCE_BYTES_MAX, RESOURCES_MAX, VERSION_BYTES_MAX,
};

/// In the flags of `Call` and `Result`.
const TRACED: u16 = 2;

/// One frame about functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc<'a> {
    /// Client: I run this.
    Register(Register<'a>),
    /// Router: calls may come from here on.
    Registered { number: u32 },
    /// Client: no further calls for this registration. Those that came go on.
    Unregister { number: u32 },
    /// Router: no further calls come for this registration: it was refused, ended or taken back.
    Unregistered(Unregistered<'a>),
    /// Client: whether this registration takes calls.
    Health { number: u32, is_well: bool },
    /// Client: call this.
    Call(Call<'a>),
    /// Client: whatever comes of it, I do not want it any more.
    Cancel { number: u64 },
    /// Router: what the function said; with the last part, if the call asks for it, which way it went.
    Result { answer: Answer<'a>, trace: Option<TraceBlock<'a>> },
    /// Router: there is no result, or no further part of it.
    CallFailed(CallFailed<'a>),
    /// Router, to a worker: run this.
    Invoke(Invoke<'a>),
    /// Router, to a worker: nobody waits for this any more. It still answers, so that its place is free.
    Withdraw { job: u64 },
    /// Worker: what comes of a job.
    Reply(Answer<'a>),
    /// Worker: nothing comes of a job, and why.
    ReplyFailed { job: u64, text: &'a str },
}

/// `Rpc::Register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// As the client numbers its registrations.
    pub number: u32,
    /// Calls at a time; at least one.
    pub limit: u32,
    /// Zero: the id that goes with the name.
    pub id: u128,
    pub name: &'a str,
    pub version: &'a str,
    pub resources: ResourceNames<'a>,
}

/// `Rpc::Unregistered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unregistered<'a> {
    pub number: u32,
    pub why: Why,
    pub text: &'a str,
}

/// Why a registration is none. The number is the wire form and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Why {
    /// The client said so.
    Asked = 1,
    /// Not the name of a function, a version, a set of resources, or a limit of zero.
    Malformed = 2,
    /// The name stands for another id. May come late: a node that said so at the same time stays.
    NameTaken = 3,
    /// The id has another name.
    IdTaken = 4,
    /// The session has a registration of this number.
    NumberInUse = 5,
    /// The session has registered this version of this function.
    Duplicate = 6,
    /// The session drains.
    Draining = 7,
    /// The node offers the function in as many versions and sets of resources as may be.
    Offers = 8,
    /// The session has as many registrations as may be.
    WorkersOfSession = 9,
    /// The node has.
    Workers = 10,
    /// The name is one of those that routers run themselves.
    Reserved = 11,
}

/// `Rpc::Call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// As the client numbers its calls.
    pub number: u64,
    /// How long the result is worth having, from receipt; zero takes the router's default.
    pub deadline_ms: u32,
    /// Ask a second endpoint after so long; zero: never. Only of what is idempotent.
    pub hedge_after_ms: u32,
    /// Whether the function may run twice.
    pub is_idempotent: bool,
    /// Whether the result is to say which way the call went.
    pub is_traced: bool,
    pub encoding: Encoding,
    /// The cluster it has to run in; empty: anywhere.
    pub cluster: &'a str,
    pub name: &'a str,
    /// Which versions will do; empty: any release.
    pub constraint: &'a str,
    pub resources: ResourceNames<'a>,
    pub payload: &'a [u8],
}

/// `Rpc::Result` of a call, `Rpc::Reply` to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Of the call, or of the job.
    pub number: u64,
    /// Whether this is all. Parts before it come in order.
    pub is_last: bool,
    pub encoding: Encoding,
    pub payload: &'a [u8],
}

/// `Rpc::CallFailed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallFailed<'a> {
    pub number: u64,
    pub code: CallError,
    /// Whether the function may have been started. If not, calling again is safe.
    pub may_have_run: bool,
    /// Where the call was to run when it failed; zero: that was not found.
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The nodes the call, or its refusal, came through.
    pub path: Path<'a>,
    pub text: &'a str,
}

/// `Rpc::Invoke`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoke<'a> {
    /// As the router numbers what it has this session do.
    pub job: u64,
    /// The registration.
    pub number: u32,
    /// How long it is worth doing, from receipt. Never zero.
    pub deadline_ms: u32,
    pub encoding: Encoding,
    pub payload: &'a [u8],
}

/// Names of resources as they lie in a frame: a count u8, at most [`RESOURCES_MAX`], and so many names,
/// each a length u8 and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceNames<'a>(&'a [u8]);

/// Nodes, at most [`HOP_PATH_MAX`], as they lie in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<'a>(&'a [[u8; 16]]);

/// A [`Trace`] as it lies in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceBlock<'a>(&'a [u8]);

impl<'a> TraceBlock<'a> {
    /// Writes the trace into `room`, which was empty.
    pub fn write(trace: &Trace, room: &'a mut Vec<u8>) -> Self {
        trace.put(room);
        Self(room)
    }

    pub fn read(self) -> Trace {
        Trace::take(&mut &*self.0).expect("checked by take")
    }

    fn take(body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let before = body.0;
        Trace::skip(&mut body.0)?;
        Ok(Self(&before[..before.len() - body.0.len()]))
    }
}

impl<'a> ResourceNames<'a> {
    pub const NONE: Self = Self(&[0]);

    /// Writes the names into `room`, which was empty.
    pub fn write(resources: &Resources, room: &'a mut Vec<u8>) -> Self {
        room.push(resources.names().len() as u8);
        for name in resources.names() {
            room.push(u8::try_from(name.len()).expect("names of resources are short"));
            room.extend_from_slice(name.as_bytes());
        }
        Self(room)
    }

    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut body = Body(&self.0[1..]);
        (0..self.0[0]).map(move |_| body.word(RESOURCE_BYTES_MAX).expect("checked by take"))
    }

    /// The set, or what is wrong with it.
    pub fn read(self) -> Result<Resources, ResourceError> {
        Resources::new(self.iter())
    }

    fn take(body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let before = body.0;
        let [count] = body.array()?;
        if RESOURCES_MAX < usize::from(count) {
            return Err(ErrorCode::Malformed);
        }
        for _ in 0..count {
            body.word(RESOURCE_BYTES_MAX)?;
        }
        Ok(Self(&before[..before.len() - body.0.len()]))
    }
}

impl<'a> Path<'a> {
    /// Of nodes in wire form, see [`Path::wire`]. What is over the bound is left out.
    pub fn of(nodes: &'a [[u8; 16]]) -> Self {
        Self(&nodes[..nodes.len().min(HOP_PATH_MAX)])
    }

    pub fn wire(nodes: &[NodeId]) -> Vec<[u8; 16]> {
        nodes.iter().map(|node| node.0.to_le_bytes()).collect()
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = NodeId> + 'a {
        self.0.iter().map(|bytes| NodeId(u128::from_le_bytes(*bytes)))
    }
}

impl<'a> Rpc<'a> {
    /// Reads the body of a frame of one of these kinds.
    pub(super) fn parse(
        kind: Kind,
        small: u8,
        number: u16,
        body: &mut Body<'a>,
    ) -> Result<Self, ErrorCode> {
        Ok(match kind {
            Kind::Register => Self::Register(Register::parse(body)?),
            Kind::Registered => Self::Registered { number: body.u32()? },
            Kind::Unregister => Self::Unregister { number: body.u32()? },
            Kind::Unregistered => Self::Unregistered(Unregistered {
                why: Why::from_wire(number).ok_or(ErrorCode::Malformed)?,
                number: body.u32()?,
                text: body.rest_text()?,
            }),
            Kind::Health => Self::Health { is_well: !is_set(small)?, number: body.u32()? },
            Kind::Call => Self::Call(Call::parse(small, number, body)?),
            Kind::Cancel => Self::Cancel { number: body.u64()? },
            Kind::Result => {
                let is_traced = number & TRACED != 0;
                let head = Answer::head(small, number & !TRACED, body)?;
                let trace = is_traced.then(|| TraceBlock::take(body)).transpose()?;
                let answer = Answer { payload: body.payload()?, ..head };
                Self::Result { answer, trace }
            }
            Kind::CallFailed => Self::CallFailed(CallFailed::parse(small, number, body)?),
            Kind::Invoke => Self::Invoke(Invoke::parse(small, body)?),
            Kind::Withdraw => Self::Withdraw { job: body.u64()? },
            Kind::Reply => {
                let head = Answer::head(small, number, body)?;
                Self::Reply(Answer { payload: body.payload()?, ..head })
            }
            Kind::ReplyFailed => Self::ReplyFailed { job: body.u64()?, text: body.rest_text()? },
            Kind::Data
            | Kind::Connect
            | Kind::Connected
            | Kind::Subscribe
            | Kind::Subscribed
            | Kind::Unsubscribe
            | Kind::Unsubscribed
            | Kind::Ping
            | Kind::Pong
            | Kind::Drain
            | Kind::Drained
            | Kind::For
            | Kind::NoResponders
            | Kind::Error
            | Kind::GoingAway => return Err(ErrorCode::Malformed),
        })
    }

    /// Appends the frame. Texts longer than their bound are cut to it, and a payload that is is a
    /// mistake of the caller's.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let put_number = |kind, number: &[u8], out| put_control(out, kind, 0, 0, &[number]);
        match *self {
            Self::Register(register) => register.put(out),
            Self::Registered { number } => put_number(Kind::Registered, &number.to_le_bytes(), out),
            Self::Unregister { number } => put_number(Kind::Unregister, &number.to_le_bytes(), out),
            Self::Unregistered(Unregistered { number, why, text }) => {
                let parts = [&number.to_le_bytes()[..], text_of(text)];
                put_control(out, Kind::Unregistered, 0, why as u16, &parts);
            }
            Self::Health { number, is_well } => {
                put_control(out, Kind::Health, u8::from(!is_well), 0, &[&number.to_le_bytes()]);
            }
            Self::Call(call) => call.put(out),
            Self::Cancel { number } => put_number(Kind::Cancel, &number.to_le_bytes(), out),
            Self::Result { answer, trace } => answer.put(Kind::Result, trace, out),
            Self::CallFailed(failed) => failed.put(out),
            Self::Invoke(invoke) => invoke.put(out),
            Self::Withdraw { job } => put_number(Kind::Withdraw, &job.to_le_bytes(), out),
            Self::Reply(answer) => answer.put(Kind::Reply, None, out),
            Self::ReplyFailed { job, text } => {
                let parts = [&job.to_le_bytes()[..], text_of(text)];
                put_control(out, Kind::ReplyFailed, 0, 0, &parts);
            }
        }
    }
}

impl<'a> Register<'a> {
    fn parse(body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        Ok(Self {
            number: body.u32()?,
            limit: body.u32()?,
            id: body.u128()?,
            name: body.word(FUNCTION_NAME_BYTES_MAX)?,
            version: body.word(VERSION_BYTES_MAX)?,
            resources: ResourceNames::take(body)?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let Self { number, limit, id, name, version, resources } = *self;
        let name = cut(name, FUNCTION_NAME_BYTES_MAX).as_bytes();
        let version = cut(version, VERSION_BYTES_MAX).as_bytes();
        let parts = [
            &number.to_le_bytes()[..],
            &limit.to_le_bytes(),
            &id.to_le_bytes(),
            &[name.len() as u8],
            name,
            &[version.len() as u8],
            version,
            resources.0,
        ];
        put_control(out, Kind::Register, 0, 0, &parts);
    }
}

impl<'a> Call<'a> {
    fn parse(small: u8, flags: u16, body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let encoding = Encoding::from_wire(small).ok_or(ErrorCode::Malformed)?;
        let (is_idempotent, is_traced) = (is_set(flags & !TRACED)?, flags & TRACED != 0);
        Ok(Self {
            number: body.u64()?,
            deadline_ms: body.u32()?,
            hedge_after_ms: body.u32()?,
            is_idempotent,
            is_traced,
            encoding,
            cluster: body.word(CLUSTER_NAME_BYTES_MAX)?,
            name: body.word(FUNCTION_NAME_BYTES_MAX)?,
            constraint: body.word(CONSTRAINT_BYTES_MAX)?,
            resources: ResourceNames::take(body)?,
            payload: body.payload()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let cluster = cut(self.cluster, CLUSTER_NAME_BYTES_MAX).as_bytes();
        let name = cut(self.name, FUNCTION_NAME_BYTES_MAX).as_bytes();
        let constraint = cut(self.constraint, CONSTRAINT_BYTES_MAX).as_bytes();
        let parts = [
            &self.number.to_le_bytes()[..],
            &self.deadline_ms.to_le_bytes(),
            &self.hedge_after_ms.to_le_bytes(),
            &[cluster.len() as u8],
            cluster,
            &[name.len() as u8],
            name,
            &[constraint.len() as u8],
            constraint,
            self.resources.0,
            self.payload,
        ];
        let traced = if self.is_traced { TRACED } else { 0 };
        let flags = u16::from(self.is_idempotent) | traced;
        put_control(out, Kind::Call, self.encoding as u8, flags, &parts);
    }
}

impl<'a> Answer<'a> {
    /// What is before the payload, or before the trace.
    fn head(small: u8, flags: u16, body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let encoding = Encoding::from_wire(small).ok_or(ErrorCode::Malformed)?;
        let (is_last, number) = (is_set(flags)?, body.u64()?);
        Ok(Self { number, is_last, encoding, payload: &[] })
    }

    fn put(&self, kind: Kind, trace: Option<TraceBlock<'_>>, out: &mut Vec<u8>) {
        let Self { number, is_last, encoding, payload } = *self;
        let flags = u16::from(is_last) | trace.map_or(0, |_| TRACED);
        let parts = [&number.to_le_bytes()[..], trace.map_or(&[], |trace| trace.0), payload];
        put_control(out, kind, encoding as u8, flags, &parts);
    }
}

impl<'a> CallFailed<'a> {
    fn parse(code: u8, flags: u16, body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let code = CallError::from_wire(code).ok_or(ErrorCode::Malformed)?;
        let may_have_run = is_set(flags)?;
        let number = body.u64()?;
        let (cluster, node) = (ClusterId(body.u128()?), NodeId(body.u128()?));
        let [count] = body.array()?;
        if HOP_PATH_MAX < usize::from(count) {
            return Err(ErrorCode::Malformed);
        }
        let (path, _) = body.bytes(usize::from(count) * size_of::<u128>())?.as_chunks();
        let text = body.rest_text()?;
        Ok(Self { number, code, may_have_run, cluster, node, path: Path(path), text })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let Self { number, code, may_have_run, cluster, node, path, text } = *self;
        let parts = [
            &number.to_le_bytes()[..],
            &cluster.0.to_le_bytes(),
            &node.0.to_le_bytes(),
            &[path.0.len() as u8],
            path.0.as_flattened(),
            text_of(text),
        ];
        put_control(out, Kind::CallFailed, code.as_wire(), u16::from(may_have_run), &parts);
    }
}

impl<'a> Invoke<'a> {
    fn parse(small: u8, body: &mut Body<'a>) -> Result<Self, ErrorCode> {
        let encoding = Encoding::from_wire(small).ok_or(ErrorCode::Malformed)?;
        let (job, number, deadline_ms) = (body.u64()?, body.u32()?, body.u32()?);
        if deadline_ms == 0 {
            return Err(ErrorCode::Malformed);
        }
        Ok(Self { job, number, deadline_ms, encoding, payload: body.payload()? })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let Self { job, number, deadline_ms, encoding, payload } = *self;
        let parts =
            [&job.to_le_bytes()[..], &number.to_le_bytes(), &deadline_ms.to_le_bytes(), payload];
        put_control(out, Kind::Invoke, encoding as u8, 0, &parts);
    }
}

impl<'a> Body<'a> {
    fn u128(&mut self) -> Result<u128, ErrorCode> {
        self.array().map(u128::from_le_bytes)
    }

    /// Text behind its length, which is a byte.
    fn word(&mut self, bytes_max: usize) -> Result<&'a str, ErrorCode> {
        let [count] = self.array()?;
        let bytes = self.bytes(usize::from(count))?;
        if bytes_max < bytes.len() {
            return Err(ErrorCode::Malformed);
        }
        core::str::from_utf8(bytes).map_err(|_| ErrorCode::Malformed)
    }

    fn payload(&mut self) -> Result<&'a [u8], ErrorCode> {
        let payload = self.rest();
        if PAYLOAD_BYTES_MAX < payload.len() {
            return Err(ErrorCode::FrameTooLarge);
        }
        Ok(payload)
    }
}

fn text_of(text: &str) -> &[u8] {
    cut(text, ERROR_TEXT_BYTES_MAX).as_bytes()
}

/// A flag where there is room for others, which are for later versions.
fn is_set(flag: impl Into<u16>) -> Result<bool, ErrorCode> {
    match flag.into() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ErrorCode::ReservedBits),
    }
}

impl Why {
    pub const ALL: [Self; 11] = [
        Self::Asked,
        Self::Malformed,
        Self::NameTaken,
        Self::IdTaken,
        Self::NumberInUse,
        Self::Duplicate,
        Self::Draining,
        Self::Offers,
        Self::WorkersOfSession,
        Self::Workers,
        Self::Reserved,
    ];

    fn from_wire(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Malformed => "malformed",
            Self::NameTaken => "name_taken",
            Self::IdTaken => "id_taken",
            Self::NumberInUse => "number_in_use",
            Self::Duplicate => "duplicate",
            Self::Draining => "draining",
            Self::Offers => "offers",
            Self::WorkersOfSession => "workers_of_session",
            Self::Workers => "workers",
            Self::Reserved => "reserved",
        }
    }
}

#[cfg(test)]
mod tests;
