//! `mpreg graph`: has a router call functions that take each other's results, and prints what comes of it.
//!
//! Invariants:
//! - Nothing is called of a graph that is refused.
//! - No call outlives the command.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use mpreg_client::CallFailed;
use mpreg_client::limits::CALL_DEADLINE;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use serde_json::json;

use super::connect::{Loss, Router, TalkError, talk};
use super::stop::Stop;
use super::{CommandError, Exit, complain, notice};
use crate::call_graph::{Document, Graph, Refusal};
use crate::shown::Failed;

mod told;

use told::Told;

/// Call functions that take each other's results, each as soon as its inputs are there. Exit code 1 if
/// the graph is refused or a command of it fails, 2 if nothing could be called.
///
/// FILE is JSON: {"commands": [{"name": "sum", "function": "math.sum", "args": [1, {"$ref":
/// "other.field.0"}]}, ...]}. {"$ref": "other.field.0"} stands for the result of the command `other`, or
/// the part of it that is said, {"$ref": ["other", "a.b", 0]} for the same where names have dots in
/// them, {"$literal": X} for X as it is written. A command may also say version, resources, cluster and
/// idempotent, as `mpreg call` does.
#[derive(Debug, clap::Args)]
pub struct RunGraph {
    /// What to call; - reads it from stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object: results, results_hex for those that are no text, errors, summary; or
    /// refused, with code and reason.
    #[arg(long)]
    json: bool,
    /// Print JSON objects, one a line, as soon as there is something to say: command with result,
    /// result_hex or error; at the end summary.
    #[arg(long)]
    stream: bool,
    /// Print also the results that were inputs of other commands.
    #[arg(long)]
    all: bool,
    /// Milliseconds in which the last call ends.
    #[arg(
        long,
        value_name = "N",
        default_value_t = CALL_DEADLINE.as_millis() as u32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    deadline_ms: u32,
    #[command(flatten)]
    router: Router,
}

/// Why nothing could be called.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("reading {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("waiting to be interrupted")]
    Signal { source: io::Error },
    #[error("running the graph")]
    Call { source: CallFailed },
    #[error("interrupted before the router said how it ended")]
    Interrupted,
    #[error("the router says what this command cannot read")]
    Unreadable { source: serde_json::Error },
    #[error("writing the results")]
    Output(#[from] io::Error),
}

/// What is printed, and whether every command has a result.
struct Printed<'a, W> {
    out: &'a mut W,
    is_well: bool,
}

impl RunGraph {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let document = match self.document(&self.read()?) {
            Ok(document) => document,
            Err(refusal) => return Ok(self.refuse(refusal.word(), &refusal.to_string(), out)?),
        };
        let error = match talk(self.call(document, out)) {
            Ok(exit) => return Ok(exit),
            Err(GraphError::Output(error)) => return Err(error.into()),
            Err(GraphError::Call { source }) => source,
            Err(error) => return Err(error.into()),
        };
        if let Some(refused) = error.graph_refusal() {
            return Ok(self.refuse(refused.word, refused.reason, out)?);
        }
        let Some(failed) = Failed::new("mpreg.graph", &error) else {
            return Err(GraphError::Call { source: error }.into());
        };
        match self.json || self.stream {
            true => writeln!(out, "{}", failed.json())?,
            false => complain(&error),
        }
        Ok(Exit::No)
    }

    fn read(&self) -> Result<Vec<u8>, GraphError> {
        let mut bytes = Vec::new();
        let mut read =
            |from: &mut dyn Read| from.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        let read = match self.file.as_os_str() == "-" {
            true => read(&mut io::stdin().lock()),
            false => File::open(&self.file).and_then(|mut file| read(&mut file)),
        };
        read.map_err(|source| GraphError::Read { path: self.file.clone(), source })?;
        Ok(bytes)
    }

    /// What the router is told. It would refuse the same, but not say where in the file.
    fn document(&self, bytes: &[u8]) -> Result<String, Refusal> {
        Graph::parse(bytes)?;
        let mut document = Document::parse(bytes)?;
        document.all |= self.all;
        document.stream |= self.stream;
        let document = document.json();
        if PAYLOAD_BYTES_MAX < document.len() {
            return Err(Refusal::TooLong);
        }
        Ok(document)
    }

    fn refuse(&self, word: &str, reason: &str, out: &mut impl Write) -> io::Result<Exit> {
        match self.json || self.stream {
            true => {
                let refused = json!({ "refused": { "code": word, "reason": reason } });
                writeln!(out, "{refused}")?;
            }
            false => notice(format_args!("{reason}")),
        }
        Ok(Exit::No)
    }

    async fn call(&self, document: String, out: &mut impl Write) -> Result<Exit, GraphError> {
        let mut stop = Stop::new().map_err(|source| GraphError::Signal { source })?;
        let client = self.router.connect(Loss::Ends).await?;
        let deadline = Duration::from_millis(self.deadline_ms.into());
        let graph = client.graph(document).deadline(deadline);
        let mut events = graph.events().await.map_err(|source| GraphError::Call { source })?;
        let mut printed = Printed { out, is_well: true };
        let mut was_stopped = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        let event = event.map_err(|source| GraphError::Call { source })?;
                        self.print(&event, &mut printed)?;
                    }
                    None => break,
                },
                () = stop.asked() => {
                    if was_stopped {
                        return Err(GraphError::Interrupted);
                    }
                    was_stopped = true;
                    events.cancel();
                }
            }
        }
        Ok(if printed.is_well { Exit::Done } else { Exit::No })
    }

    fn print(&self, event: &str, to: &mut Printed<'_, impl Write>) -> Result<(), GraphError> {
        let told = Told::read(event).map_err(|source| GraphError::Unreadable { source })?;
        to.is_well &= told.is_well();
        match told {
            Told::Report(report) if !self.json => write!(to.out, "{report}")?,
            Told::Report(_) | Told::Event(_) => writeln!(to.out, "{event}")?,
        }
        Ok(to.out.flush()?)
    }
}
