//! `GET /trace/call?function=&version=&resources=&cluster=&timeout_ms=`: who would run a call of a client of
//! this node, why not the others, and which way it would go there. Nobody is called.
//!
//! The shard that is the home of the function chooses as it would for the next call. If that is another
//! node, a traced message goes there by the ways that calls take, and the nodes on the way report.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::function::{Constraint, Resources};
use serde::{Deserialize, Serialize};

use super::connections::ask;
use super::fabric::{Fault, bad_query};
use super::routes::Pages;
use super::trace::{HopRow, TIMEOUT_MS, Traced, follow, within};
use crate::mesh::Command;
use crate::roster::{Asked, Explained, Question};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallQuery {
    function: String,
    #[serde(default)]
    version: String,
    /// Names, separated by commas.
    #[serde(default)]
    resources: String,
    #[serde(default)]
    cluster: String,
    timeout_ms: Option<u64>,
}

/// What a call would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTracePage {
    pub function: String,
    #[serde(flatten)]
    pub explained: Explained,
    /// None if nobody would run it, or a worker of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
}

/// By which it would go. As of a trace of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    pub took_us: u64,
    pub is_complete: bool,
    /// The last one is `reached`, if it gets there.
    pub hops: Vec<HopRow>,
}

pub(super) fn pages() -> Router<Arc<Pages>> {
    Router::new().route("/trace/call", get(trace))
}

async fn trace(
    State(pages): State<Arc<Pages>>,
    query: Result<Query<CallQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|why| bad_query(why.body_text()))?;
    let within = within(query.timeout_ms.unwrap_or(TIMEOUT_MS))?;
    let asked = Arc::new(read(&query)?);
    let asking = (Arc::clone(&pages), Arc::clone(&asked));
    let answers = tokio::task::spawn_blocking(move || {
        let (pages, asked) = asking;
        ask(&pages.view, |answers| Question::Explain { asked: Arc::clone(&asked), answers })
    });
    // One shard is the home. If it does not answer in time, there is nothing to say.
    let explained = answers.await.ok().and_then(|mut answers| answers.pop());
    let Some((home, explained)) = explained else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    let mut page = CallTracePage { function: query.function, explained, way: None };
    if let Some(to) = page.explained.target() {
        let topic = Bytes::copy_from_slice(asked.name.as_str().as_bytes());
        let command = |number| Command::TraceCall { to, topic, number };
        let Traced { took_us, is_complete, mut hops } =
            follow(&pages, home, &page.function, command, within).await?;
        let node = to.1.to_string();
        let is_there = |row: &&mut HopRow| row.node == node && row.outcome == "unwanted";
        hops.iter_mut().filter(is_there).for_each(|row| row.outcome = "reached".to_owned());
        page.way = Some(Way { took_us, is_complete, hops });
    }
    Ok(Json(page).into_response())
}

fn read(query: &CallQuery) -> Result<Asked, Fault> {
    let CallQuery { function, version, resources, cluster, .. } = query;
    let constraint = match version.as_str() {
        "" => Constraint::ANY,
        text => text.parse().map_err(bad_query)?,
    };
    let cluster = Some(cluster).filter(|cluster| !cluster.is_empty());
    let cluster = cluster.map(|cluster| cluster.parse::<ClusterName>()).transpose();
    let names = resources.split(',').filter(|name| !name.is_empty());
    Ok(Asked {
        name: function.parse().map_err(bad_query)?,
        constraint,
        resources: Resources::new(names).map_err(bad_query)?,
        cluster: cluster.map_err(bad_query)?.map(|cluster| cluster.id()),
    })
}
