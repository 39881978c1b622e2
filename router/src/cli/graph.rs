//! `mpreg graph`: calls functions that take each other's results, and prints what comes of it.
//!
//! `file` reads what is asked for, the call graph of `mpreg-fabric` decides what is called when, `run`
//! calls it, `report` says what came of it.
//!
//! Invariants:
//! - Nothing is called of a graph that is refused.
//! - No call outlives the command.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use mpreg_client::limits::CALL_DEADLINE;
use mpreg_fabric::call_graph::{End, Told, When};

use super::connect::{Loss, Router, TalkError, talk};
use super::stop::Stop;
use super::{CommandError, Exit, complain};
use crate::limits::GRAPH_FILE_BYTES_MAX;

mod file;
mod report;
mod run;

use file::{Graph, Refusal};
use report::Report;
use run::Running;

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
    #[error("router knows no functions")]
    Unsupported,
    #[error("writing the results")]
    Output(#[from] io::Error),
}

impl RunGraph {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let graph = match Graph::parse(&self.read()?) {
            Ok(graph) => graph,
            Err(refusal) => return Ok(self.refuse(&refusal, out)?),
        };
        match talk(self.call(graph, out)) {
            Ok(exit) => Ok(exit),
            Err(GraphError::Output(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self) -> Result<Vec<u8>, GraphError> {
        let mut bytes = Vec::new();
        let mut read = |from: &mut dyn Read| {
            from.take(GRAPH_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)
        };
        let read = match self.file.as_os_str() == "-" {
            true => read(&mut io::stdin().lock()),
            false => File::open(&self.file).and_then(|mut file| read(&mut file)),
        };
        read.map_err(|source| GraphError::Read { path: self.file.clone(), source })?;
        Ok(bytes)
    }

    fn refuse(&self, refusal: &Refusal, out: &mut impl Write) -> io::Result<Exit> {
        match self.json || self.stream {
            true => writeln!(out, "{}", report::refused(refusal))?,
            false => complain(refusal),
        }
        Ok(Exit::No)
    }

    async fn call(&self, graph: Graph, out: &mut impl Write) -> Result<Exit, GraphError> {
        let mut stop = Stop::new().map_err(|source| GraphError::Signal { source })?;
        let client = self.router.connect(Loss::Reconnects).await?;
        let told = if self.all { Told::All } else { Told::Unconsumed };
        let when = if self.stream { When::Streamed } else { When::AtTheEnd };
        let deadline = Duration::from_millis(self.deadline_ms.into());
        let mut running = Running::new(client, graph, told, when, deadline);
        let mut is_well = true;
        let over = running.run(&mut stop, |command, end, asked| {
            is_well &= matches!(end, End::Value(_));
            writeln!(out, "{}", report::line(command, end, asked))?;
            out.flush()
        });
        let over = over.await?;
        let report = Report::new(&over, running.asked());
        match (self.stream, self.json) {
            (true, _) => writeln!(out, "{}", report.last_line())?,
            (false, true) => writeln!(out, "{}", report.json())?,
            (false, false) => write!(out, "{report}")?,
        }
        Ok(if is_well && report.is_well() { Exit::Done } else { Exit::No })
    }
}
