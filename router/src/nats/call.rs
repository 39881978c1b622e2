//! Calls of functions as NATS clients say and hear them: subjects, headers, errors.
//!
//! ```text
//!   caller --> $MPREG.CALL.<function>, reply r --> node --> r: the result, or Nats-Service-Error
//!   node --> an endpoint's subject, reply $MPREG.JOB.<number> --> worker --> that: the same
//!   node --> $SRV.INFO.<name>.<id>, reply $MPREG.INFO.<number> --> worker --> that: its INFO
//! ```
//!
//! Errors are those of NATS micro, with headers of our own that say more. Names of headers are taken in
//! any case; headers that are not ours are not looked at.
//!
//! Invariants:
//! - An error has the header `Nats-Service-Error-Code`, a result never has.
//! - What goes into a header is one line, whatever it was.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::call::{Reply, Request, Value};
use mpreg_proto::call::{CallError, Failure, JobId};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::{Constraint, FunctionName, Resources, Version};
use mpreg_proto::id::{NodeId, ShardIx};
use mpreg_proto::limits::ERROR_TEXT_BYTES_MAX;

use crate::limits::NATS_CALLS_MAX;

/// What all subjects that mean something to the node itself begin with.
pub const SUBJECTS: &[u8] = b"$MPREG.";

const ENCODING: &str = "Mpreg-Encoding";
const LAST: &str = "Mpreg-Last";

const ENCODINGS: [(Encoding, &str); 4] = [
    (Encoding::Bytes, "bytes"),
    (Encoding::Text, "text"),
    (Encoding::Json, "json"),
    (Encoding::MessagePack, "message_pack"),
];

/// Whom a publication is for, if it is for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed<'a> {
    /// The function of this name is called.
    Call(&'a [u8]),
    /// A job is answered.
    Job(JobId),
    /// A question for INFO is answered.
    Info(u64),
}

impl<'a> Addressed<'a> {
    pub fn read(subject: &'a [u8]) -> Option<Self> {
        let rest = subject.strip_prefix(SUBJECTS)?;
        let number = |digits| str::from_utf8(digits).ok()?.parse().ok();
        if let Some(name) = rest.strip_prefix(b"CALL.") {
            return Some(Self::Call(name));
        }
        if let Some(digits) = rest.strip_prefix(b"JOB.") {
            return Some(Self::Job(JobId(number(digits)?)));
        }
        Some(Self::Info(number(rest.strip_prefix(b"INFO.")?)?))
    }
}

/// Where a job is answered.
pub fn job_subject(job: JobId) -> String {
    format!("$MPREG.JOB.{}", job.0)
}

/// Where a question for INFO is answered.
pub fn info_subject(question: u64) -> String {
    format!("$MPREG.INFO.{question}")
}

/// Calls of one connection that wait for a result.
#[derive(Debug, Default)]
pub struct Calls {
    made: u64,
    open: BTreeMap<u64, Asked>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Asked {
    pub reply: Box<[u8]>,
    /// A result in parts is understood.
    pub is_stream: bool,
    pub home: ShardIx,
}

impl Calls {
    /// The number of a further call. Of one without a reply subject nothing is kept. `None`: as many
    /// wait as may.
    pub fn begin(&mut self, asked: Asked) -> Option<u64> {
        if NATS_CALLS_MAX <= self.open.len() {
            return None;
        }
        self.made += 1;
        if !asked.reply.is_empty() {
            self.open.insert(self.made, asked);
        }
        Some(self.made)
    }

    pub fn asked(&self, number: u64) -> Option<&Asked> {
        self.open.get(&number)
    }

    pub fn end(&mut self, number: u64) -> Option<Asked> {
        self.open.remove(&number)
    }
}

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub request: Request,
    /// It takes a result in parts.
    pub is_stream: bool,
}

impl Wanted {
    pub fn read(name: &[u8], headers: &[u8], payload: &[u8]) -> Result<Self, String> {
        let mut request = Request {
            name: FunctionName::parse(name).map_err(text_of)?,
            constraint: Constraint::ANY,
            resources: Resources::default(),
            cluster: None,
            deadline: None,
            is_idempotent: false,
            hedge_after: None,
            is_traced: false,
            value: Value::default(),
        };
        let (mut resources, mut encoding, mut is_stream) = (Vec::new(), Encoding::Bytes, false);
        for (name, value) in fields(headers) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("Mpreg-Version") {
                request.constraint = read("Mpreg-Version", value)?;
            } else if is("Mpreg-Resource") {
                let names = text("Mpreg-Resource", value)?.split(',').map(str::trim);
                resources.extend(names.filter(|name| !name.is_empty()));
            } else if is("Mpreg-Cluster") {
                let cluster: ClusterName = read("Mpreg-Cluster", value)?;
                request.cluster = Some(cluster.id());
            } else if is("Mpreg-Deadline-Ms") {
                request.deadline = Some(millis("Mpreg-Deadline-Ms", value)?);
            } else if is("Mpreg-Hedge-After-Ms") {
                request.hedge_after = Some(millis("Mpreg-Hedge-After-Ms", value)?);
            } else if is("Mpreg-Idempotent") {
                request.is_idempotent = read("Mpreg-Idempotent", value)?;
            } else if is("Mpreg-Stream") {
                is_stream = read("Mpreg-Stream", value)?;
            } else if is(ENCODING) {
                encoding = read_encoding(value)?;
            }
        }
        request.resources = Resources::new(resources).map_err(text_of)?;
        request.value = Value { encoding, bytes: Bytes::copy_from_slice(payload) };
        Ok(Self { request, is_stream })
    }
}

/// What a worker publishes in answer to a job.
pub fn read_reply(headers: &[u8], payload: &[u8]) -> Reply {
    let (mut code, mut error, mut encoding, mut is_last) = (None, None, Encoding::Bytes, true);
    for (name, value) in fields(headers) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Nats-Service-Error-Code") {
            code = Some(String::from_utf8_lossy(value));
        } else if is("Nats-Service-Error") {
            error = Some(String::from_utf8_lossy(value));
        } else if is(LAST) {
            match read(LAST, value) {
                Ok(said) => is_last = said,
                Err(text) => return failed(&text),
            }
        } else if is(ENCODING) {
            match read_encoding(value) {
                Ok(said) => encoding = said,
                Err(text) => return failed(&text),
            }
        }
    }
    if code.is_some() || error.is_some() {
        let words = [code, error].into_iter().flatten().collect::<Vec<_>>();
        return failed(&words.join(" "));
    }
    let value = Value { encoding, bytes: Bytes::copy_from_slice(payload) };
    if is_last { Reply::Done(value) } else { Reply::Part(value) }
}

fn failed(text: &str) -> Reply {
    Reply::Failed { text: text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned() }
}

/// Headers of a job.
pub fn job_headers(
    name: &FunctionName,
    version: &Version,
    deadline_left: Duration,
    encoding: Encoding,
) -> Vec<u8> {
    let mut block = Block::new();
    block.put("Mpreg-Function", name);
    block.put("Mpreg-Version", version);
    block.put("Mpreg-Deadline-Ms", deadline_left.as_millis().max(1));
    block.put_encoding(encoding);
    block.end()
}

/// Headers of a result, or of a part of one. None, if there is nothing to say.
pub fn result_headers(encoding: Encoding, is_stream: bool, is_last: bool) -> Vec<u8> {
    if encoding == Encoding::Bytes && !is_stream {
        return Vec::new();
    }
    let mut block = Block::new();
    block.put_encoding(encoding);
    if is_stream {
        block.put(LAST, is_last);
    }
    block.end()
}

/// Headers of an error.
pub fn failure_headers(failure: &Failure) -> Vec<u8> {
    let Failure { error, target, path, text, may_have_run } = failure;
    let mut block = Block::of_error(*error, text, *may_have_run);
    block.put("Mpreg-Target", target);
    let path: Vec<String> = path.iter().map(NodeId::to_string).collect();
    block.put("Mpreg-Path", path.join(" "));
    block.end()
}

/// The same of a call that did not get as far as to have a target.
pub fn refusal_headers(error: CallError, text: &str, may_have_run: bool) -> Vec<u8> {
    Block::of_error(error, text, may_have_run).end()
}

/// In the manner of HTTP, as NATS micro has it.
const fn code_of(error: CallError) -> u16 {
    match error {
        CallError::Malformed => 400,
        CallError::NotFound | CallError::NoVersion | CallError::NoResource => 404,
        CallError::Cancelled => 499,
        CallError::WorkerFailed => 500,
        CallError::Unreachable | CallError::HopBudgetExhausted | CallError::Overloaded => 503,
        CallError::Deadline => 504,
    }
}

/// A header block as it is written.
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self(b"NATS/1.0\r\n".to_vec())
    }

    fn of_error(error: CallError, text: &str, may_have_run: bool) -> Self {
        let mut block = Self::new();
        block.put("Nats-Service-Error-Code", code_of(error));
        block.put("Nats-Service-Error", if text.is_empty() { error.word() } else { text });
        block.put("Mpreg-Error", error);
        block.put("Mpreg-May-Have-Run", may_have_run);
        block
    }

    fn put(&mut self, name: &str, value: impl Display) {
        let line = value.to_string().replace(char::is_control, " ");
        write!(self.0, "{name}: {line}\r\n").expect("into memory");
    }

    fn put_encoding(&mut self, encoding: Encoding) {
        let known = ENCODINGS.iter().find(|(of, _)| *of == encoding && encoding != Encoding::Bytes);
        if let Some((_, word)) = known {
            self.put(ENCODING, word);
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

/// Names and values of a header block, without the spaces around them.
fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = block.split(|&byte| byte == b'\n').skip(1).map(<[u8]>::trim_ascii);
    lines.filter_map(|line| {
        let at = line.iter().position(|&byte| byte == b':')?;
        Some((line[..at].trim_ascii(), line[at + 1..].trim_ascii()))
    })
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, String> {
    str::from_utf8(value).map_err(|_| format!("{name} is not UTF-8"))
}

fn read<T: FromStr<Err: Display>>(name: &str, value: &[u8]) -> Result<T, String> {
    let value = text(name, value)?;
    value.parse().map_err(|why| format!("{name}: {value:?}: {why}"))
}

fn millis(name: &str, value: &[u8]) -> Result<Duration, String> {
    match read(name, value)? {
        0 => Err(format!("{name}: zero is no time")),
        ms => Ok(Duration::from_millis(ms)),
    }
}

fn read_encoding(value: &[u8]) -> Result<Encoding, String> {
    let known = ENCODINGS.iter().find(|(_, word)| word.as_bytes() == value);
    let value = || value.escape_ascii().to_string();
    known.map(|(encoding, _)| *encoding).ok_or_else(|| {
        format!("{ENCODING}: {:?} is not bytes, text, json or message_pack", value())
    })
}

fn text_of(why: impl ToString) -> String {
    why.to_string()
}

#[cfg(test)]
mod tests {
    use mpreg_proto::call::Target;
    use mpreg_proto::id::ClusterId;
    use proptest::prelude::*;

    use super::*;

    fn wanted(headers: &str) -> Result<Wanted, String> {
        Wanted::read(b"a.b", headers.as_bytes(), b"x")
    }

    fn lines(block: Vec<u8>) -> Vec<String> {
        String::from_utf8(block).unwrap().split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn subjects_of_the_node_are_told_from_others() {
        let read = |subject: &'static str| Addressed::read(subject.as_bytes());
        assert_eq!(read("$MPREG.CALL.a.b"), Some(Addressed::Call(b"a.b")));
        assert_eq!(read(&job_subject(JobId(7)).leak()[..]), Some(Addressed::Job(JobId(7))));
        assert_eq!(read(&info_subject(9).leak()[..]), Some(Addressed::Info(9)));
        for other in ["$MPREG.JOB.x", "$MPREG.INFO.", "$MPREG.CAL.a", "$MPREGCALL.a", "a.b", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn headers_say_what_is_wanted() {
        let all = "NATS/1.0\r\nMpreg-Version: ^1.2\r\nmpreg-resource: gpu, ram\r\nMPREG-RESOURCE: \
                   disk\r\nMpreg-Cluster: c2\r\nMpreg-Deadline-Ms:250\r\nMpreg-Idempotent: true\r\n\
                   Mpreg-Hedge-After-Ms: 20\r\nMpreg-Encoding: json\r\nMpreg-Stream: true\r\nX: \
                   y\r\n\r\n";
        let Wanted { request, is_stream } = wanted(all).unwrap();
        assert!(is_stream && request.is_idempotent);
        assert_eq!((request.name.as_str(), request.constraint.to_string()), ("a.b", "^1.2".into()));
        assert_eq!(request.resources, Resources::new(["disk", "gpu", "ram"]).unwrap());
        assert_eq!(request.cluster, Some("c2".parse::<ClusterName>().unwrap().id()));
        assert_eq!(request.deadline, Some(Duration::from_millis(250)));
        assert_eq!(request.hedge_after, Some(Duration::from_millis(20)));
        let bytes = Bytes::from_static(b"x");
        assert_eq!(request.value, Value { encoding: Encoding::Json, bytes });
        let plain = wanted("").unwrap();
        assert_eq!((plain.is_stream, plain.request.deadline), (false, None));
        assert_eq!(plain.request.value.encoding, Encoding::Bytes);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_header() {
        for (line, said) in [
            ("Mpreg-Version: one", "Mpreg-Version"),
            ("Mpreg-Deadline-Ms: 0", "zero"),
            ("Mpreg-Deadline-Ms: soon", "Mpreg-Deadline-Ms"),
            ("Mpreg-Idempotent: yes", "Mpreg-Idempotent"),
            ("Mpreg-Encoding: xml", "message_pack"),
            ("Mpreg-Cluster: not a name", "Mpreg-Cluster"),
        ] {
            let refused = wanted(&format!("NATS/1.0\r\n{line}\r\n\r\n")).unwrap_err();
            assert!(refused.contains(said), "{line}: {refused}");
        }
        assert!(Wanted::read(b"a..b", b"", b"").is_err());
        let foreign = Wanted::read(b"a", b"NATS/1.0\r\nMpreg-Version: \xff\r\n\r\n", b"");
        assert!(foreign.unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_worker_answers_with_values_parts_and_errors() {
        let read = |headers: &str| read_reply(headers.as_bytes(), b"v");
        let value = |encoding| Value { encoding, bytes: Bytes::from_static(b"v") };
        assert_eq!(read(""), Reply::Done(value(Encoding::Bytes)));
        let json = "NATS/1.0\r\nMpreg-Encoding: json\r\nMpreg-Last: true\r\n\r\n";
        assert_eq!(read(json), Reply::Done(value(Encoding::Json)));
        assert_eq!(
            read("NATS/1.0\r\nmpreg-last: false\r\n\r\n"),
            Reply::Part(value(Encoding::Bytes))
        );
        let failed = |text: &str| Reply::Failed { text: text.into() };
        let both =
            "NATS/1.0\r\nNats-Service-Error: no luck\r\nNats-Service-Error-Code: 422\r\n\r\n";
        assert_eq!(read(both), failed("422 no luck"));
        assert_eq!(read("NATS/1.0\r\nNats-Service-Error-Code: 500\r\n\r\n"), failed("500"));
        assert!(matches!(
            read("NATS/1.0\r\nMpreg-Encoding: xml\r\n\r\n"),
            Reply::Failed { text } if text.contains("xml")
        ));
        let long = format!("NATS/1.0\r\nNats-Service-Error: {}\r\n\r\n", "ö".repeat(200));
        let Reply::Failed { text } = read(&long) else { panic!("an error") };
        assert_eq!(text.len(), 254, "no half characters");
    }

    #[test]
    fn errors_have_a_code_a_word_and_a_place() {
        let codes = CallError::ALL.map(code_of);
        assert_eq!(codes, [404, 404, 404, 503, 503, 504, 499, 503, 500, 400]);
        let failure = Failure {
            error: CallError::WorkerFailed,
            target: Target {
                name: "a.b".parse().unwrap(),
                cluster: Some(ClusterId(1)),
                node: Some(NodeId(2)),
            },
            path: [NodeId(3), NodeId(2)].into(),
            text: "one\r\ntwo: three".into(),
            may_have_run: true,
        };
        let lines = lines(failure_headers(&failure));
        let (node, other) = (NodeId(2), NodeId(3));
        assert_eq!(
            lines,
            [
                "NATS/1.0",
                "Nats-Service-Error-Code: 500",
                "Nats-Service-Error: one  two: three",
                "Mpreg-Error: worker_failed",
                "Mpreg-May-Have-Run: true",
                &format!("Mpreg-Target: {}", failure.target),
                &format!("Mpreg-Path: {other} {node}"),
                "",
                ""
            ]
        );
    }

    #[test]
    fn a_result_says_only_what_needs_saying() {
        assert_eq!(result_headers(Encoding::Bytes, false, true), b"");
        let text = lines(result_headers(Encoding::Text, false, true));
        assert_eq!(text, ["NATS/1.0", "Mpreg-Encoding: text", "", ""]);
        let part = lines(result_headers(Encoding::Bytes, true, false));
        assert_eq!(part, ["NATS/1.0", "Mpreg-Last: false", "", ""]);
        let job = job_headers(
            &"f".parse().unwrap(),
            &"1.2.3".parse().unwrap(),
            Duration::from_micros(10),
            Encoding::MessagePack,
        );
        let want = ["Mpreg-Version: 1.2.3", "Mpreg-Deadline-Ms: 1", "Mpreg-Encoding: message_pack"];
        assert_eq!(lines(job)[2..5], want);
    }

    #[test]
    fn so_many_calls_wait_and_no_more() {
        let home = ShardIx::new(0).unwrap();
        let asked = |reply: &[u8]| Asked { reply: reply.into(), is_stream: false, home };
        let mut calls = Calls::default();
        let numbers: Vec<u64> =
            (0..NATS_CALLS_MAX).map(|_| calls.begin(asked(b"r")).unwrap()).collect();
        assert!(calls.begin(asked(b"r")).is_none());
        assert!(calls.end(numbers[3]).is_some() && calls.end(numbers[3]).is_none());
        let silent = calls.begin(asked(b"")).unwrap();
        assert!(calls.asked(silent).is_none() && !numbers.contains(&silent));
        assert!(calls.begin(asked(b"r")).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(headers: Vec<u8>, payload: Vec<u8>) {
            let block = [b"NATS/1.0\r\n", &headers[..]].concat();
            let read = Wanted::read(b"f", &block, &payload);
            prop_assert!(read.is_err() || read.unwrap().request.value.bytes == payload);
            let is_whole = match read_reply(&block, &payload) {
                Reply::Done(value) | Reply::Part(value) => value.bytes == payload,
                Reply::Failed { text } => text.len() <= ERROR_TEXT_BYTES_MAX,
                Reply::Declined { .. } => false,
            };
            prop_assert!(is_whole);
        }
    }
}
