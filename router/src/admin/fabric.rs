//! Pages about other nodes: what they offer, and which ways lead to them. The control core is asked.
//!
//! ```text
//!   GET    /catalog?kind=&offset=&limit=      what nodes offer
//!   PUT    /catalog?scope=&kind=&name=&body=  have this node offer something
//!   DELETE /catalog?scope=&kind=&name=        and no more
//!   GET    /routes                            the way to each cluster, and the ways not taken
//!   GET    /routes/explain?to=&avoid=         the same for one
//!   GET    /link-state                        which links nodes say that they have
//!   POST   /policy/reload?held=               follow the configuration as it is now
//! ```

use core::time::Duration;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mpreg_fabric::catalog::Refusal;
use mpreg_fabric::control::{Candidate, Explanation, Hint};
use mpreg_fabric::route::Held;
use mpreg_fabric::{plan, route};
use mpreg_proto::catalog::{Kind, Scope};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::id::ClusterId;
use mpreg_proto::limits::{CATALOG_BODY_BYTES_MAX, CATALOG_NAME_BYTES_MAX};
use mpreg_proto::link_state::Advertisement;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::routes::{Pages, refuse};
use crate::control::Request;
use crate::control::question::{
    self, Catalog, Entry, LinkState, Names, Offer, Question, Routes, entry_name,
};
use crate::limits::ENTRIES_ANSWERED_MAX;
use crate::reload::ReloadError;

/// The control core answers within a turn.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What a node offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRow {
    pub kind: String,
    /// As text; of a subscription, its pattern and, behind a space, its group.
    pub name: String,
    pub node: String,
    /// Its name, or its number while nobody has said the name.
    pub cluster: String,
    /// `cluster` or `fabric`.
    pub scope: String,
    pub body_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPage {
    pub total: usize,
    pub offset: usize,
    pub entries: Vec<CatalogRow>,
    /// What was known when the node last ran, of nodes it has not heard of since. Nothing goes by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<HintRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintRow {
    pub kind: String,
    pub name: String,
    pub node: String,
    pub cluster: String,
}

/// The way to a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    pub destination: String,
    pub avoid: Vec<String>,
    /// None: no way can be taken.
    pub selected: Option<Selected>,
    /// Why none can, if none can.
    pub reason: Option<String>,
    /// Best first, those left out last.
    pub candidates: Vec<CandidateRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// The linked node that gets the message.
    pub next_hop: String,
}

/// One way, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateRow {
    /// `link_state`, `routes` or `direct`.
    pub source: String,
    /// The node where the cluster is left, or that is next outside it.
    pub exit: String,
    pub exit_cluster: String,
    /// `chosen`, `alternate`, or why it is neither.
    pub verdict: String,
    /// Fewer are better. None: not an announced route.
    pub score: Option<f64>,
    pub tie_breakers: Option<TieBreakers>,
    /// Why the route itself was left out.
    pub filtered: Option<String>,
    /// Clusters, the next one first.
    pub path: Vec<String>,
    pub expires_in_ms: Option<u64>,
}

/// Compared in this order where scores are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TieBreakers {
    pub hops: u16,
    pub latency_us: u32,
    pub reliability_ppm: u32,
    pub advertiser: String,
    pub neighbour: String,
}

/// What a node says of its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStateRow {
    pub node: String,
    pub cluster: String,
    pub area: u32,
    pub incarnation: u64,
    pub sequence: u64,
    pub links: Vec<LinkRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    pub node: String,
    pub cluster: String,
    pub latency_us: u32,
    pub bandwidth_mbps: u32,
    pub reliability_ppm: u32,
    pub cost: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartQuery {
    kind: Option<String>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferQuery {
    scope: String,
    kind: String,
    name: String,
    #[serde(default)]
    body: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    to: String,
    /// Separated by commas.
    #[serde(default)]
    avoid: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    /// `kept` or `judged`.
    #[serde(default)]
    held: String,
}

type OfPages = State<Arc<Pages>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn pages() -> Router<Arc<Pages>> {
    Router::new()
        .route("/catalog", get(catalog).put(put_offer).delete(delete_offer))
        .route("/routes", get(routes))
        .route("/routes/explain", get(explain))
        .route("/link-state", get(link_state))
        .route("/policy/reload", post(reload))
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Fault {
    BadQuery(String),
    /// This router is in none, so it knows of no others.
    NoCluster,
    /// There is no room for it.
    NotOffered(Refusal),
    /// The configuration is not followed.
    BadConfig(String),
    Late,
    /// Somebody else has a message traced.
    Busy,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Self::BadQuery(message) => refuse(StatusCode::BAD_REQUEST, "bad_query", message),
            Self::NoCluster => {
                refuse(StatusCode::NOT_FOUND, "no_cluster", "this router is in no cluster")
            }
            Self::NotOffered(why) => {
                refuse(StatusCode::INSUFFICIENT_STORAGE, "not_offered", why.word())
            }
            Self::Busy => {
                let message = "another message is being traced";
                refuse(StatusCode::TOO_MANY_REQUESTS, "busy", message)
            }
            Self::BadConfig(message) => {
                refuse(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", message)
            }
            Self::Late => {
                let message = "the control core does not answer";
                refuse(StatusCode::SERVICE_UNAVAILABLE, "late", message)
            }
        }
    }
}

/// Asks the control core.
pub(super) async fn ask<T>(
    pages: &Pages,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Result<T, Fault> {
    let (sender, answer) = oneshot::channel();
    pages.view.desk.ask(Request::Answer(Box::new(question(sender))));
    match timeout(ANSWER_TIME_MAX, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_dropped)) => Err(Fault::NoCluster),
        Err(_late) => Err(Fault::Late),
    }
}

pub(super) fn bad_query(message: impl ToString) -> Fault {
    Fault::BadQuery(message.to_string())
}

async fn catalog(State(pages): OfPages, query: Asked<PartQuery>) -> Result<Response, Fault> {
    let Query(PartQuery { kind, offset, limit }) =
        query.map_err(|why| bad_query(why.body_text()))?;
    let kind = kind.as_deref().map(parse_kind).transpose()?;
    let part = question::Part { kind, offset, limit: limit.unwrap_or(ENTRIES_ANSWERED_MAX) };
    let Catalog { entries, total, hints, names } =
        ask(&pages, |answer| Question::Catalog { part, answer }).await?;
    let entries = entries.iter().map(|entry| catalog_row(entry, &names)).collect();
    let hints = hints.iter().map(|hint| hint_row(hint, &names)).collect();
    Ok(Json(CatalogPage { total, offset, entries, hints }).into_response())
}

async fn put_offer(State(pages): OfPages, query: Asked<OfferQuery>) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|why| bad_query(why.body_text()))?;
    let body = query.body.clone().into_bytes();
    offer(&pages, query, Some(body)).await
}

async fn delete_offer(State(pages): OfPages, query: Asked<OfferQuery>) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|why| bad_query(why.body_text()))?;
    offer(&pages, query, None).await
}

async fn offer(pages: &Pages, query: OfferQuery, body: Option<Vec<u8>>) -> Result<Response, Fault> {
    let kind = parse_kind(&query.kind)?;
    if ![Kind::FUNCTION, Kind::QUEUE, Kind::CACHE].contains(&kind) {
        return Err(bad_query("kind is one that operators may offer: function, queue, cache"));
    }
    let scope = match query.scope.as_str() {
        "cluster" => Scope::Cluster,
        "fabric" => Scope::Fabric,
        _ => return Err(bad_query("scope is cluster or fabric")),
    };
    let name = query.name.into_bytes();
    let is_too_long = CATALOG_NAME_BYTES_MAX < name.len()
        || body.as_ref().is_some_and(|body| CATALOG_BODY_BYTES_MAX < body.len());
    if name.is_empty() || is_too_long {
        return Err(bad_query(format_args!(
            "name has 1 to {CATALOG_NAME_BYTES_MAX} bytes, body {CATALOG_BODY_BYTES_MAX} at most"
        )));
    }
    let offer = Offer { scope, kind, name: name.into(), body: body.map(Into::into) };
    let done = ask(pages, |answer| Question::Offer { offer, answer }).await?;
    done.map_err(Fault::NotOffered)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn routes(State(pages): OfPages) -> Result<Response, Fault> {
    let Routes { explained, names } = ask(&pages, |answer| Question::Routes { answer }).await?;
    let rows: Vec<RouteRow> = explained.iter().map(|one| route_row(one, &names)).collect();
    Ok(Json(rows).into_response())
}

async fn explain(State(pages): OfPages, query: Asked<ExplainQuery>) -> Result<Response, Fault> {
    let Query(ExplainQuery { to, avoid }) = query.map_err(|why| bad_query(why.body_text()))?;
    let to = parse_cluster(&to)?;
    let avoid = avoid.split(',').filter(|name| !name.is_empty()).map(parse_cluster);
    let avoid = avoid.collect::<Result<Vec<_>, _>>()?;
    let mut named: Names =
        avoid.iter().chain([&to]).map(|name| (name.id(), name.to_string())).collect();
    let (to, avoid) = (to.id(), avoid.iter().map(ClusterName::id).collect());
    let Routes { explained, names } =
        ask(&pages, |answer| Question::Explain { to, avoid, answer }).await?;
    named.extend(names);
    let row = explained.first().map(|one| route_row(one, &named));
    Ok(Json(row).into_response())
}

async fn link_state(State(pages): OfPages) -> Result<Response, Fault> {
    let LinkState { advertisements, names } =
        ask(&pages, |answer| Question::LinkState { answer }).await?;
    let rows: Vec<_> = advertisements.iter().map(|one| link_state_row(one, &names)).collect();
    Ok(Json(rows).into_response())
}

async fn reload(State(pages): OfPages, query: Asked<ReloadQuery>) -> Result<Response, Fault> {
    let Query(ReloadQuery { held }) = query.map_err(|why| bad_query(why.body_text()))?;
    let held = match held.as_str() {
        "" | "kept" => Held::Kept,
        "judged" => Held::Judged,
        _ => return Err(bad_query("held is kept or judged")),
    };
    let none = || Fault::BadConfig("this router does not read its configuration again".to_owned());
    let reloader = pages.view.reloader.as_ref().ok_or_else(none)?;
    let reloaded = reloader.reload(held).await.map_err(|error| match error {
        ReloadError::NoCluster => Fault::NoCluster,
        ReloadError::Late => Fault::Late,
        ReloadError::Config(error) => Fault::BadConfig(whole(&error)),
        ReloadError::Keys(error) => Fault::BadConfig(whole(&error)),
        fault @ ReloadError::Key(_) => Fault::BadConfig(fault.to_string()),
    })?;
    tracing::info!(?reloaded, "configuration read again");
    Ok(Json(reloaded).into_response())
}

/// An error and what it comes from.
fn whole(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn parse_kind(word: &str) -> Result<Kind, Fault> {
    let known = (1..=Kind::SPLIT.0).map(Kind).find(|kind| kind.word() == word);
    known.ok_or_else(|| {
        bad_query(
            "kind is node, subscription, cluster_interest, route_key, function, queue, cache or split",
        )
    })
}

fn parse_cluster(name: &str) -> Result<ClusterName, Fault> {
    name.parse().map_err(|error| bad_query(format_args!("{name:?}: {error}")))
}

fn named(cluster: ClusterId, names: &Names) -> String {
    names.get(&cluster).cloned().unwrap_or_else(|| cluster.to_string())
}

fn catalog_row(entry: &Entry, names: &Names) -> CatalogRow {
    let Entry { node, cluster, scope, kind, name, body } = entry;
    CatalogRow {
        kind: kind.word().to_owned(),
        name: entry_name(*kind, name),
        node: node.to_string(),
        cluster: named(*cluster, names),
        scope: match scope {
            Scope::Cluster => "cluster",
            Scope::Fabric => "fabric",
        }
        .to_owned(),
        body_bytes: body.len(),
    }
}

fn hint_row(hint: &Hint, names: &Names) -> HintRow {
    HintRow {
        kind: hint.kind.word().to_owned(),
        name: String::from_utf8_lossy(&hint.name).into_owned(),
        node: hint.node.to_string(),
        cluster: named(hint.cluster, names),
    }
}

fn route_row(explained: &Explanation, names: &Names) -> RouteRow {
    let Explanation { to, avoid, next_hop, candidates } = explained;
    RouteRow {
        destination: named(*to, names),
        avoid: avoid.iter().map(|&cluster| named(cluster, names)).collect(),
        selected: next_hop.ok().map(|node| Selected { next_hop: node.to_string() }),
        reason: next_hop.err().map(|reason| reason.word().to_owned()),
        candidates: candidates.iter().map(|one| candidate_row(one, names)).collect(),
    }
}

fn candidate_row(candidate: &Candidate, names: &Names) -> CandidateRow {
    let Candidate { source, exit, verdict, route } = candidate;
    let source: &plan::Source = source;
    let route: Option<&route::Reason> = route.as_ref();
    CandidateRow {
        source: source.word().to_owned(),
        exit: exit.node.to_string(),
        exit_cluster: named(exit.cluster, names),
        verdict: verdict.word().to_owned(),
        score: route.map(|reason| reason.score.0 as f64 / 1e6),
        tie_breakers: route.map(|reason| TieBreakers {
            hops: reason.ties.hops,
            latency_us: reason.ties.latency_us,
            reliability_ppm: reason.ties.reliability_ppm,
            advertiser: named(reason.ties.advertiser, names),
            neighbour: reason.ties.neighbour.to_string(),
        }),
        filtered: route.and_then(|reason| Some(reason.filtered?.word().to_owned())),
        path: route.map_or(Vec::new(), |reason| {
            reason.path.iter().map(|&cluster| named(cluster, names)).collect()
        }),
        expires_in_ms: route.map(|reason| reason.expires_in.as_millis() as u64),
    }
}

fn link_state_row(said: &Advertisement, names: &Names) -> LinkStateRow {
    let links = said.links.iter().map(|link| LinkRow {
        node: link.node.to_string(),
        cluster: named(link.cluster, names),
        latency_us: link.metrics.latency_us,
        bandwidth_mbps: link.metrics.bandwidth_mbps,
        reliability_ppm: link.metrics.reliability_ppm,
        cost: link.metrics.cost,
    });
    LinkStateRow {
        node: said.origin.to_string(),
        cluster: named(said.cluster, names),
        area: said.area.0,
        incarnation: said.version.incarnation.0,
        sequence: said.version.sequence,
        links: links.collect(),
    }
}
