//! Functions, as far as this node knows of them.
//!
//! ```text
//!   GET    /functions?name=        which there are, and who runs them: the shards are asked
//!   PUT    /split?name=&weights=   how calls are split between versions: `1.2.0:90,1.3.0:10`
//!   DELETE /split?name=            and no more
//! ```
//!
//! A split is an entry of the catalog that this node offers: it holds on every node of the fabric, for as
//! long as this node is there, or until it is said otherwise anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use mpreg_fabric::catalog::{Changed, Key};
use mpreg_fabric::function::Split;
use mpreg_proto::catalog::{FeedId, Kind, Scope};
use mpreg_proto::function::{FunctionName, Shares, Version};
use mpreg_proto::id::ClusterId;
use serde::Deserialize;

use super::View;
use super::connections::ask;
use super::fabric::{self, Fault, bad_query};
use super::routes::Pages;
use crate::control::question::{self, Offer};
use crate::mesh::Command;
use crate::probe::Usage;
use crate::roster::{Function, Question};

#[derive(Debug, Deserialize)]
struct FunctionsQuery {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SplitQuery {
    name: String,
    #[serde(default)]
    weights: String,
}

type OfPages = State<Arc<Pages>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn pages() -> Router<Arc<Pages>> {
    Router::new()
        .route("/functions", get(functions))
        .route("/split", put(put_split).delete(delete_split))
}

async fn functions(State(pages): OfPages, query: Asked<FunctionsQuery>) -> Result<Response, Fault> {
    let Query(FunctionsQuery { name }) = query.map_err(|why| bad_query(why.body_text()))?;
    let name = name.map(|name| name.parse()).transpose().map_err(bad_query)?;
    let listed = tokio::task::spawn_blocking(move || listed(&pages.view, name)).await;
    Ok(match listed {
        Ok(rows) => Json(rows).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

/// By name.
fn listed(view: &View, name: Option<FunctionName>) -> Vec<Function> {
    let answers = ask(view, |answers| Question::Functions { name: name.clone(), answers });
    let mut rows: Vec<Function> = answers.concat();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let usages = view.shards.iter().map(|shard| shard.calls.usages());
    let usages: BTreeMap<String, Usage> = usages.flatten().collect();
    rows.iter_mut().for_each(|row| row.usage = usages.get(&row.name).cloned());
    rows
}

async fn put_split(State(pages): OfPages, query: Asked<SplitQuery>) -> Result<Response, Fault> {
    let Query(SplitQuery { name, weights }) = query.map_err(|why| bad_query(why.body_text()))?;
    let weights = weights.split(',').map(read_weight).collect::<Result<Vec<_>, _>>()?;
    let split = Split::new(weights).map_err(bad_query)?;
    say(&pages, &name, split.weights().to_vec()).await
}

async fn delete_split(State(pages): OfPages, query: Asked<SplitQuery>) -> Result<Response, Fault> {
    let Query(SplitQuery { name, .. }) = query.map_err(|why| bad_query(why.body_text()))?;
    say(&pages, &name, Vec::new()).await
}

fn read_weight(text: &str) -> Result<(Version, u32), Fault> {
    let Some((version, weight)) = text.rsplit_once(':') else {
        return Err(bad_query(format_args!("{text:?} is not VERSION:WEIGHT")));
    };
    let weight = weight.parse().map_err(|why| bad_query(format_args!("{text:?}: {why}")))?;
    Ok((version.parse().map_err(bad_query)?, weight))
}

/// On every node. A node that knows no others tells its shards.
async fn say(pages: &Pages, name: &str, weights: Vec<(Version, u32)>) -> Result<Response, Fault> {
    let name: FunctionName = name.parse().map_err(bad_query)?;
    let said_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut body = Vec::new();
    Shares { said_at: said_at as u64, weights }.put(&mut body);
    let (name, body) = (Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::from(body));
    let (kind, scope) = (Kind::SPLIT, Scope::Fabric);
    let offer = Offer { scope, kind, name: name.clone(), body: Some(body.clone()) };
    match fabric::ask(pages, |answer| question::Question::Offer { offer, answer }).await {
        Ok(done) => done.map_err(Fault::NotOffered)?,
        Err(Fault::NoCluster) => {
            let feed = FeedId { node: pages.view.node, scope };
            let (cluster, key) = (ClusterId(0), Key { kind, name });
            let changed = Arc::new(Changed { feed, cluster, key, body: Some(body) });
            let bells = pages.view.bells.iter();
            bells.for_each(|bell| bell.command(Command::Function(Arc::clone(&changed))));
        }
        Err(fault) => return Err(fault),
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
