//! `mpreg call`: calls a function, and prints the result.

use core::time::Duration;
use std::io::Write;

use mpreg_client::limits::CALL_DEADLINE;
use mpreg_client::{CallFailed, Trace, Value};

use super::connect::{Loss, Payload, Router, TalkError, talk};
use super::value::value;
use super::{CommandError, Exit, complain};
use crate::shown::{Failed, Shown};

mod trace;

/// Call a function, wherever it runs, and print the result. Exit code 1 if there is none, 2 if it could
/// not be called.
///
/// What it is called with is JSON if it reads as such, and text or bytes otherwise.
#[derive(Debug, clap::Args)]
pub struct CallFunction {
    #[arg(value_name = "FUNCTION")]
    function: String,
    #[command(flatten)]
    payload: Payload,
    /// Which versions will do, such as ^1.2; any release unless said.
    #[arg(long, value_name = "CONSTRAINT", default_value = "", hide_default_value = true)]
    version: String,
    /// What there must be where it runs; may be given several times.
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// The cluster it has to run in.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    cluster: String,
    /// Milliseconds in which the call ends.
    #[arg(
        long,
        value_name = "N",
        default_value_t = CALL_DEADLINE.as_millis() as u32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    deadline_ms: u32,
    /// The function may run twice: it is tried elsewhere when it was lost.
    #[arg(long)]
    idempotent: bool,
    /// Ask a second worker after so many milliseconds without a result.
    #[arg(
        long,
        value_name = "N",
        requires = "idempotent",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    hedge_after_ms: Option<u32>,
    /// Print JSON objects: part or part_hex for each part of a result but the last, then result or
    /// result_hex with trace, or error with code, reason, target, path and may_have_run.
    #[arg(long)]
    json: bool,
    /// Say below the result which way the call and its answer went. With --json it is always said.
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    router: Router,
}

/// Why a function could not be called.
#[derive(Debug, thiserror::Error)]
pub enum CallFunctionError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("calling {function:?}")]
    Call { function: String, source: CallFailed },
    #[error("writing the result")]
    Output(#[from] std::io::Error),
}

impl CallFunction {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let error = match talk(self.call(out)) {
            Ok(()) => return Ok(Exit::Done),
            Err(CallFunctionError::Output(error)) => return Err(error.into()),
            Err(error) => error,
        };
        let CallFunctionError::Call { source, .. } = &error else { return Err(error.into()) };
        // Asked, and the answer is no.
        let Some(failed) = Failed::new(&self.function, source) else { return Err(error.into()) };
        if self.json {
            writeln!(out, "{}", failed.json())?;
        } else {
            complain(source);
        }
        Ok(Exit::No)
    }

    async fn call(&self, out: &mut impl Write) -> Result<(), CallFunctionError> {
        let argument = value(self.payload.read()?);
        let client = self.router.connect(Loss::Ends).await?;
        let failed = |source| CallFunctionError::Call { function: self.function.clone(), source };
        let mut call = client
            .call(&self.function)
            .version(&self.version)
            .cluster(&self.cluster)
            .deadline(Duration::from_millis(self.deadline_ms.into()));
        for resource in &self.resources {
            call = call.resource(resource);
        }
        if self.idempotent {
            call = call.idempotent();
        }
        if self.json || self.trace {
            call = call.traced();
        }
        if let Some(ms) = self.hedge_after_ms {
            call = call.hedge_after(Duration::from_millis(ms.into()));
        }
        let mut parts = call.stream(argument).await.map_err(failed)?;
        while let Some(part) = parts.next().await {
            let name = if parts.is_over() { "result" } else { "part" };
            self.show(name, (&part.map_err(failed)?, parts.trace()), out)?;
        }
        Ok(())
    }

    fn show(
        &self,
        name: &str,
        (value, trace): (&Value, Option<&Trace>),
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        if self.json {
            let trace = trace.map_or_else(String::new, |trace| format!(",{}", trace::json(trace)));
            let shown = Shown { name, encoding: value.encoding, bytes: &value.payload };
            writeln!(out, "{{{shown}{trace}}}")?;
        } else {
            out.write_all(&value.payload)?;
            writeln!(out)?;
            trace.map_or(Ok(()), |trace| write!(out, "{}", trace::Text(trace)))?;
        }
        out.flush()
    }
}

impl Failed {
    /// None if the router was not asked.
    pub(super) fn new(function: &str, error: &CallFailed) -> Option<Self> {
        let (code, may_have_run) = (error.code()?.word().into(), error.may_have_run());
        let CallFailed::Failed(failure) = error else {
            let (reason, target) = (error.to_string(), function.to_owned());
            return Some(Self { code, reason, target, path: Vec::new(), may_have_run });
        };
        Some(Self::from(&**failure))
    }

    pub(super) fn json(&self) -> String {
        let error = serde_json::to_string(self).expect("strings and a bool");
        format!("{{\"error\":{error}}}")
    }
}

#[cfg(test)]
mod tests {
    use mpreg_client::{CallError, Failure, Target};
    use mpreg_proto::id::NodeId;

    use super::*;

    #[test]
    fn a_failure_is_one_object() {
        let failure = Failure {
            error: CallError::Unreachable,
            target: Target {
                name: "sum".parse().expect("a name"),
                cluster: None,
                node: Some(NodeId(2)),
            },
            path: vec![NodeId(1), NodeId(2)],
            text: "its node is gone".to_owned(),
            may_have_run: true,
        };
        let error = CallFailed::from(failure);
        let [one, two] = [1, 2].map(|id| format!("{id:032x}"));
        let want = format!(
            "{{\"error\":{{\"code\":\"unreachable\",\"reason\":\"its node is gone\",\
             \"target\":\"sum@{two}\",\"path\":[\"{one}\",\"{two}\"],\"may_have_run\":true}}}}"
        );
        assert_eq!(Failed::new("sum", &error).map(|failed| failed.json()), Some(want));
    }

    #[test]
    fn what_the_router_never_heard_of_is_not_its_answer() {
        assert!(Failed::new("sum", &CallFailed::Unsupported).is_none());
        let bad = CallFailed::Cluster("E".to_owned());
        let json = Failed::new("sum", &bad).map(|failed| failed.json());
        let want = r#"{"error":{"code":"malformed","reason":"\"E\" is not the name of a cluster","target":"sum","path":[],"may_have_run":false}}"#;
        assert_eq!(json.as_deref(), Some(want));
    }
}
