//! Call graphs: functions that take each other's results, called by the router this client is connected to.

use std::time::Duration;

use bytes::Bytes;
use mpreg_proto::call::CallError;
use mpreg_proto::function::GRAPH_FUNCTION;

use crate::call::{Call, Parts};
use crate::client::Client;
use crate::error::CallFailed;
use crate::value::Value;

/// A graph to be run; see [`Client::graph`].
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    call: Call<'a>,
    document: Bytes,
}

/// Why a router does not run a graph. Nothing of it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphRefusal<'a> {
    /// Such as `cycle`: what programs go by.
    pub word: &'a str,
    /// What is wrong, and where.
    pub reason: &'a str,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(client: &'a Client, document: Bytes) -> Self {
        Self { call: client.call(GRAPH_FUNCTION), document }
    }

    /// How long all of it may take; calls that are open then are cancelled, and the report says so.
    /// [`CALL_DEADLINE`](crate::limits::CALL_DEADLINE), unless said.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { call: self.call.deadline(deadline), ..self }
    }

    /// Runs it to its end: the report, which is JSON. Errors of single commands are in it; this fails if
    /// there is no report, as of a graph that is [refused](CallFailed::graph_refusal) or says that it is
    /// to be streamed. Dropping the future cancels what runs.
    pub async fn send(self) -> Result<String, CallFailed> {
        text(self.call.send(Value::json(self.document)).await?)
    }

    /// Runs it, and takes what comes of it as it comes: of a graph that is streamed an event for each
    /// command that is told and at last the summary, otherwise the report. Returns once it is said.
    pub async fn events(self) -> Result<GraphEvents, CallFailed> {
        Ok(GraphEvents(self.call.stream(Value::json(self.document)).await?))
    }
}

/// What comes of one graph, in order: JSON, an object each. Cancels what runs when dropped.
#[derive(Debug)]
pub struct GraphEvents(Parts);

impl GraphEvents {
    /// Waits for the next; `None` after the last one, and after a failure. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<String, CallFailed>> {
        self.0.next().await.map(|value| text(value?))
    }

    /// Has the router end it now. What was not told before still comes, and says what was cancelled.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the last was taken, or the failure in its place.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

impl Client {
    /// A run of a call graph, described by JSON text (`docs/OPERATING.md`, “Call graphs”): commands, each the
    /// name of a function and its arguments, which may refer to other commands' results.
    ///
    /// ```no_run
    /// # async fn example(client: mpreg_client::Client) -> Result<(), mpreg_client::CallFailed> {
    /// let report = client.graph(r#"{"commands": [
    ///     {"name": "order", "function": "orders.get", "args": {"id": 7}},
    ///     {"name": "price", "function": "prices.sum", "args": {"of": {"$ref": "order.items"}}}
    /// ]}"#).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn graph(&self, document: impl Into<Bytes>) -> Graph<'_> {
        Graph::new(self, document.into())
    }
}

impl CallFailed {
    /// If this is a call graph that the router refused to run.
    pub fn graph_refusal(&self) -> Option<GraphRefusal<'_>> {
        let Self::Failed(failure) = self else { return None };
        if failure.error != CallError::Malformed || !failure.target.name.is_graph() {
            return None;
        }
        let (word, reason) = failure.text.split_once(": ")?;
        Some(GraphRefusal { word, reason })
    }
}

/// A router says JSON, which is text.
fn text(value: Value) -> Result<String, CallFailed> {
    String::from_utf8(value.payload.into()).map_err(|_| CallFailed::Unsupported)
}

#[cfg(test)]
mod tests {
    use mpreg_proto::call::{Failure, Target};

    use super::*;

    #[test]
    fn a_refusal_is_a_word_and_a_reason() {
        let failed = |name: &str, error, text: &str| {
            let name = name.parse().unwrap();
            CallFailed::from(Failure {
                error,
                target: Target { name, cluster: None, node: None },
                path: Vec::new(),
                text: text.to_owned(),
                may_have_run: false,
            })
        };
        let refused = failed(GRAPH_FUNCTION, CallError::Malformed, "cycle: cycle: a, b");
        let want = GraphRefusal { word: "cycle", reason: "cycle: a, b" };
        assert_eq!(refused.graph_refusal(), Some(want));
        let busy = failed(GRAPH_FUNCTION, CallError::Overloaded, "many: graphs");
        assert_eq!(busy.graph_refusal(), None);
        let other = failed("sum", CallError::Malformed, "a: b");
        assert_eq!(other.graph_refusal(), None);
        assert_eq!(CallFailed::TooLarge.graph_refusal(), None);
    }
}
