//! What came of a call graph, as JSON and as text.
//!
//! ```text
//!   {"results": {NAME: X}, "errors": {NAME: ERROR}, "summary": SUMMARY}      --json
//!   {"command": NAME, "result": X}                                           --stream, one a line
//!   {"command": NAME, "error": ERROR}
//!   {"summary": SUMMARY}
//!   {"refused": {"code": WORD, "reason": TEXT}}                              both
//!   ERROR    code, reason, target, path, may_have_run as of `mpreg call`; because: which command
//!            failed that it needs, if it was skipped
//!   SUMMARY  took_us, commands: {NAME: {waiting_us, queued_us, calling_us}},
//!            critical_path: {commands: [NAME], took_us}
//! ```
//!
//! Bytes that are no text are in `results_hex` beside `results`, or `result_hex` in place of `result`.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use mpreg_client::{CallError, CallFailed, Value};
use mpreg_fabric::call_graph::{self, CommandIx, End, Spent, Summary};
use serde::Serialize;
use serde_json::json;

use super::file::{Asked, Refusal};
use super::run::Over;
use crate::cli::call::Failed;
use crate::cli::value::Shown;

/// The whole of it.
#[derive(Debug)]
pub(super) struct Report<'a> {
    results: Vec<(&'a str, Ended<'a>)>,
    summary: &'a Summary,
    asked: &'a [Asked],
}

/// How a command ended.
#[derive(Debug)]
enum Ended<'a> {
    Value(Value),
    Without(Without<'a>),
}

/// A command without a result.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Without<'a> {
    #[serde(flatten)]
    failed: Failed,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'a str>,
}

/// What the call graph keeps of a call that failed.
pub(super) fn failure(function: &str, error: &CallFailed) -> Bytes {
    let word = match (error.code(), error) {
        (Some(code), _) => code.word(),
        (None, CallFailed::Streamed) => "streamed",
        // The connection is gone, and cannot be had again.
        (None, _) => CallError::Unreachable.word(),
    };
    let failed = Failed::with(word, function, error);
    serde_json::to_vec(&failed).expect("strings and a bool").into()
}

pub(super) fn refused(refusal: &Refusal) -> String {
    json!({ "refused": { "code": refusal.word(), "reason": refusal.to_string() } }).to_string()
}

/// One command of a streamed graph.
pub(super) fn line(command: CommandIx, end: &End, asked: &[Asked]) -> String {
    let name = name(asked, command);
    let what = match Ended::new(command, end, asked) {
        Ended::Value(value) => Shown { name: "result", value: &value }.to_string(),
        Ended::Without(without) => format!("\"error\":{}", without.json()),
    };
    format!("{{\"command\":\"{name}\",{what}}}")
}

fn name(asked: &[Asked], command: CommandIx) -> &str {
    &asked[usize::from(command.0)].name
}

impl<'a> Ended<'a> {
    fn new(command: CommandIx, end: &End, asked: &'a [Asked]) -> Self {
        let Asked { function, is_called, .. } = &asked[usize::from(command.0)];
        let mut because = None;
        let (code, reason) = match end {
            End::Value(value) => {
                let call_graph::Value { encoding, bytes } = value.clone();
                return Self::Value(Value { encoding, payload: bytes });
            }
            End::Failed(failed) => {
                let failed = serde_json::from_slice(failed).expect("written here");
                return Self::Without(Without { failed, because: None });
            }
            End::NoRoom => (end.word(), "the results take more than a graph may hold".to_owned()),
            End::Unmet(unmet) => (end.word(), unmet.to_string()),
            End::Skipped { because: source } => {
                let source = name(asked, *source);
                because = Some(source);
                (end.word(), format!("{source} has no result"))
            }
            End::Cancelled => (CallError::Cancelled.word(), "interrupted".to_owned()),
            End::DeadlinePassed => {
                (CallError::Deadline.word(), "the graph's time is over".to_owned())
            }
        };
        let failed = Failed {
            code: Cow::Borrowed(code),
            reason,
            target: function.clone(),
            path: Vec::new(),
            may_have_run: *is_called,
        };
        Self::Without(Without { failed, because })
    }
}

impl Without<'_> {
    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and a bool")
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(over: &'a Over, asked: &'a [Asked]) -> Self {
        let results = over.results.iter();
        let results =
            results.map(|(command, end)| (name(asked, *command), Ended::new(*command, end, asked)));
        Self { results: results.collect(), summary: &over.summary, asked }
    }

    /// Whether every command has a result.
    pub(super) fn is_well(&self) -> bool {
        self.results.iter().all(|(_, ended)| matches!(ended, Ended::Value(_)))
    }

    pub(super) fn json(&self) -> String {
        let (mut results, mut hex, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (name, ended) in &self.results {
            match ended {
                Ended::Value(value) => match is_text(value) {
                    true => results.push(Shown { name, value }.to_string()),
                    false => {
                        hex.push(format!("\"{name}\":\"{}\"", HEXLOWER.encode(&value.payload)))
                    }
                },
                Ended::Without(without) => errors.push(format!("\"{name}\":{}", without.json())),
            }
        }
        let hex = match hex.is_empty() {
            true => String::new(),
            false => format!("\"results_hex\":{{{}}},", hex.join(",")),
        };
        let [results, errors] = [results, errors].map(|members| members.join(","));
        let summary = self.summary_json();
        format!("{{\"results\":{{{results}}},{hex}\"errors\":{{{errors}}},\"summary\":{summary}}}")
    }

    /// Of a streamed graph, after all others.
    pub(super) fn last_line(&self) -> String {
        format!("{{\"summary\":{}}}", self.summary_json())
    }

    fn summary_json(&self) -> String {
        let Summary { took, commands, critical_path } = self.summary;
        let commands = self.asked.iter().zip(commands).map(|(asked, spent)| {
            let Spent { waiting, queued, calling, .. } = spent;
            let [waiting, queued, calling] = [waiting, queued, calling].map(us);
            format!(
                "\"{}\":{{\"waiting_us\":{waiting},\"queued_us\":{queued},\"calling_us\":{calling}}}",
                asked.name
            )
        });
        let commands: Vec<String> = commands.collect();
        let path: Vec<&str> = self.critical_path().collect();
        let path = json!({ "commands": path, "took_us": us(&critical_path.took) });
        format!(
            "{{\"took_us\":{},\"commands\":{{{}}},\"critical_path\":{path}}}",
            us(took),
            commands.join(",")
        )
    }

    fn critical_path(&self) -> impl Iterator<Item = &str> {
        self.summary.critical_path.commands.iter().map(|&command| name(self.asked, command))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ended) in &self.results {
            match ended {
                Ended::Value(Value { payload, .. }) => match core::str::from_utf8(payload) {
                    Ok(text) => writeln!(f, "{name}: {}", text.trim_end())?,
                    Err(_) => writeln!(f, "{name}: hex {}", HEXLOWER.encode(payload))?,
                },
                Ended::Without(Without { failed, .. }) => {
                    writeln!(f, "{name}: {}: {}", failed.code, failed.reason)?;
                }
            }
        }
        writeln!(f, "\n{:>12} {:>12} {:>12}  us", "waited", "queued", "called")?;
        for (asked, spent) in self.asked.iter().zip(&self.summary.commands) {
            let [waited, queued, called] =
                [spent.waiting, spent.queued, spent.calling].map(|it| us(&it));
            writeln!(f, "{waited:>12} {queued:>12} {called:>12}  {}", asked.name)?;
        }
        let Summary { took, critical_path, .. } = self.summary;
        let path: Vec<&str> = self.critical_path().collect();
        write!(f, "took {} us", us(took))?;
        match path.is_empty() {
            true => writeln!(f),
            false => {
                writeln!(f, ", the longest way {} us: {}", us(&critical_path.took), path.join(", "))
            }
        }
    }
}

fn is_text(value: &Value) -> bool {
    core::str::from_utf8(&value.payload).is_ok()
}

fn us(time: &Duration) -> u128 {
    time.as_micros()
}

#[cfg(test)]
mod tests;
