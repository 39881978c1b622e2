//! What came of a call graph, as JSON.
//!
//! ```text
//!   {"results": {NAME: X}, "results_hex": {NAME: HEX}, "errors": {NAME: ERROR}, "summary": SUMMARY}
//!   {"command": NAME, "result": X}, or result_hex, or error                  of a graph that is streamed
//!   {"summary": SUMMARY}                                                     at its end
//!   ERROR    as of `shown`; because: which command failed that it needs, if it was skipped
//!   SUMMARY  took_us, commands: {NAME: {waiting_us, queued_us, calling_us, cluster_hops}},
//!            critical_path: {commands: [NAME], took_us}
//! ```
//!
//! Bytes that are no text are in `results_hex`, which is there only then. `cluster_hops` is there if it is known.
//!
//! Invariant: what is said fits a payload. A result that does not fit is told as an error, `too_large`; if errors
//! take more than [`GRAPH_ERRORS_BYTES_MAX`], they are told without reasons and paths.

use core::time::Duration;
use std::borrow::Cow;

use bytes::Bytes;
use mpreg_fabric::call_graph::{CommandIx, End, Spent, Summary, Value};
use mpreg_proto::call::{CallError, Failure};
use mpreg_proto::function::FunctionName;
use mpreg_proto::limits::{ERROR_TEXT_BYTES_MAX, PAYLOAD_BYTES_MAX};
use serde::Serialize;
use serde_json::json;

use super::document::Asked;
use crate::limits::{GRAPH_ERROR_BRIEF_BYTES, GRAPH_ERRORS_BYTES_MAX};
use crate::shown::{Failed, Shown};

/// The whole of it.
#[derive(Debug)]
pub struct Report<'a> {
    pub asked: &'a [Asked],
    /// What was not told before.
    pub results: &'a [(CommandIx, End)],
    pub summary: &'a Summary,
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
pub fn failure(failure: &Failure) -> Bytes {
    kept(&Failed::from(failure))
}

/// What it keeps of one that gave its result in parts.
pub fn streamed(function: &FunctionName) -> Bytes {
    kept(&Failed {
        code: Cow::Borrowed("streamed"),
        reason: "the function answers in parts".to_owned(),
        target: function.to_string(),
        path: Vec::new(),
        may_have_run: true,
    })
}

fn kept(failed: &Failed) -> Bytes {
    serde_json::to_vec(failed).expect("strings and a bool").into()
}

/// How one command of a streamed graph ended.
pub fn event(asked: &[Asked], command: CommandIx, end: &End) -> String {
    let name = name(asked, command);
    if let End::Value(value) = end {
        let line = format!("{{\"command\":\"{name}\",{}}}", member("result", value));
        if line.len() <= PAYLOAD_BYTES_MAX {
            return line;
        }
    }
    let without = Without::new(asked, command, end).json();
    format!("{{\"command\":\"{name}\",\"error\":{without}}}")
}

fn name(asked: &[Asked], command: CommandIx) -> &str {
    &asked[usize::from(command.0)].name
}

/// Of an object.
fn member(name: &str, value: &Value) -> String {
    Shown { name, encoding: value.encoding, bytes: &value.bytes }.to_string()
}

impl<'a> Without<'a> {
    /// Of a result it says that it is too large.
    fn new(asked: &'a [Asked], command: CommandIx, end: &End) -> Self {
        let Asked { function, is_called, .. } = &asked[usize::from(command.0)];
        let mut because = None;
        let (code, reason) = match end {
            End::Value(_) => ("too_large", "there is no room for the result".to_owned()),
            End::Failed(failed) => {
                let mut failed: Failed = serde_json::from_slice(failed).expect("written here");
                cut(&mut failed.reason);
                return Self { failed, because: None };
            }
            End::NoRoom => (end.word(), "the results take more than may be held".to_owned()),
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
        let mut failed = Failed {
            code: Cow::Borrowed(code),
            reason,
            target: function.to_string(),
            path: Vec::new(),
            may_have_run: *is_called,
        };
        cut(&mut failed.reason);
        Self { failed, because }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and a bool")
    }

    fn brief(mut self) -> Self {
        self.failed.reason.clear();
        self.failed.path.clear();
        self
    }
}

fn cut(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
}

impl Report<'_> {
    /// All that was not told before.
    pub fn json(&self) -> String {
        let summary = self.summary_json();
        let mut errors = self.errors();
        let values = self.results.iter().filter(|(_, end)| matches!(end, End::Value(_)));
        // What every result takes at least, if none finds room.
        let reserved = values.count() * GRAPH_ERROR_BRIEF_BYTES;
        let errors_bytes: usize = errors.iter().map(String::len).sum();
        let fixed = summary.len() + errors_bytes + errors.len() + reserved;
        let mut left = PAYLOAD_BYTES_MAX.saturating_sub(fixed + GRAPH_ERROR_BRIEF_BYTES);
        let (mut results, mut hex) = (Vec::new(), Vec::new());
        for (command, end) in self.results {
            let End::Value(value) = end else { continue };
            let name = name(self.asked, *command);
            // What is too large as it is, is not written out.
            let member = (value.bytes.len() < left).then(|| member(name, value));
            let Some(member) = member.filter(|member| member.len() < left) else {
                errors.push(self.error(*command, end, false));
                continue;
            };
            left -= member.len() + 1;
            match member.strip_prefix(&format!("\"{name}_hex\":")) {
                Some(digits) => hex.push(format!("\"{name}\":{digits}")),
                None => results.push(member),
            }
        }
        let hex = match hex.is_empty() {
            true => String::new(),
            false => format!("\"results_hex\":{{{}}},", hex.join(",")),
        };
        let [results, errors] = [results, errors].map(|members| members.join(","));
        format!("{{\"results\":{{{results}}},{hex}\"errors\":{{{errors}}},\"summary\":{summary}}}")
    }

    /// Of a streamed graph, after all others.
    pub fn last_line(&self) -> String {
        format!("{{\"summary\":{}}}", self.summary_json())
    }

    /// Of the commands that have no result: members of an object.
    fn errors(&self) -> Vec<String> {
        let all = |is_brief| -> Vec<String> {
            let failed = self.results.iter().filter(|(_, end)| !matches!(end, End::Value(_)));
            failed.map(|(command, end)| self.error(*command, end, is_brief)).collect()
        };
        let errors = all(false);
        match errors.iter().map(String::len).sum::<usize>() <= GRAPH_ERRORS_BYTES_MAX {
            true => errors,
            false => all(true),
        }
    }

    fn error(&self, command: CommandIx, end: &End, is_brief: bool) -> String {
        let without = Without::new(self.asked, command, end);
        let without = if is_brief { without.brief() } else { without };
        format!("\"{}\":{}", name(self.asked, command), without.json())
    }

    fn summary_json(&self) -> String {
        let Summary { took, commands, critical_path } = self.summary;
        let commands = self.asked.iter().zip(commands).map(|(asked, spent)| {
            let Spent { waiting, queued, calling, cluster_hops } = spent;
            let [waiting, queued, calling] = [waiting, queued, calling].map(us);
            let hops = cluster_hops.map(|hops| format!(",\"cluster_hops\":{hops}"));
            format!(
                "\"{}\":{{\"waiting_us\":{waiting},\"queued_us\":{queued},\"calling_us\":{calling}{}}}",
                asked.name,
                hops.unwrap_or_default()
            )
        });
        let commands: Vec<String> = commands.collect();
        let path = critical_path.commands.iter();
        let path: Vec<&str> = path.map(|&command| name(self.asked, command)).collect();
        let path = json!({ "commands": path, "took_us": us(&critical_path.took) });
        format!(
            "{{\"took_us\":{},\"commands\":{{{}}},\"critical_path\":{path}}}",
            us(took),
            commands.join(",")
        )
    }
}

fn us(time: &Duration) -> u128 {
    time.as_micros()
}

#[cfg(test)]
mod tests;
