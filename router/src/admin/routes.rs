//! What is answered to which request.

use core::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::status::Status;
use super::{View, connections, fabric, functions, metrics, monitor, trace, trace_call};
use crate::peer::roster::Row;

/// Every answer that is not the one asked for.
#[derive(Debug, Serialize)]
struct Refused {
    /// For programs: `bad_config`, `bad_filter`, `bad_query`, `not_found`, `bad_method`, `bad_host`,
    /// `no_cluster`, `not_offered`, `late`, `busy`.
    error: &'static str,
    /// For people.
    message: String,
}

#[derive(Debug)]
pub(super) struct Pages {
    pub(super) view: View,
    metrics: metrics::Page,
}

#[derive(Debug, Deserialize)]
struct LogQuery {
    filter: String,
}

pub(super) fn router(view: View) -> Router {
    let metrics = metrics::Page::new(view.clone());
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/peers", get(peers))
        .route("/log", put(change_log))
        .route("/leave", put(leave))
        .merge(fabric::pages())
        .merge(functions::pages())
        .merge(trace::pages())
        .merge(trace_call::pages())
        .merge(of_nats_server())
        .fallback(async || refuse(StatusCode::NOT_FOUND, "not_found", "no such page"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "bad_method", "not with this method")
        })
        .layer(middleware::from_fn(only_local_names))
        .with_state(Arc::new(Pages { view, metrics }))
}

type OfPages = State<Arc<Pages>>;
type OfPart = Result<Query<connections::Part>, QueryRejection>;

fn of_nats_server() -> Router<Arc<Pages>> {
    Router::new()
        .route("/", get(async || "/varz /connz /subsz /healthz /routez /gatewayz /leafz /jsz\n"))
        .route("/varz", get(async |State(pages): OfPages| monitor::varz(&pages.view)))
        .route(
            "/connz",
            get(async |pages: OfPages, part: OfPart| list(pages, part, connections::connz).await),
        )
        .route(
            "/subsz",
            get(async |pages: OfPages, part: OfPart| list(pages, part, monitor::subsz).await),
        )
        .route("/healthz", get(async |State(pages): OfPages| monitor::healthz(&pages.view)))
        .route("/routez", get(async |State(pages): OfPages| monitor::routez(&pages.view)))
        .route("/gatewayz", get(async |State(pages): OfPages| monitor::gatewayz(&pages.view)))
        .route("/leafz", get(async |State(pages): OfPages| monitor::leafz(&pages.view)))
        .route("/jsz", get(async |State(pages): OfPages| monitor::jsz(&pages.view)))
}

/// A page that the shards are asked for, by a thread that may wait for them.
async fn list(
    State(pages): OfPages,
    part: OfPart,
    page: fn(&View, &connections::Part) -> Response,
) -> Response {
    let part = match part {
        Ok(Query(part)) => part,
        Err(rejection) => return connections::refused(rejection.body_text()),
    };
    let listed = tokio::task::spawn_blocking(move || page(&pages.view, &part)).await;
    listed.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn metrics_page(State(pages): State<Arc<Pages>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], pages.metrics.text()).into_response()
}

async fn health(State(pages): State<Arc<Pages>>) -> Response {
    match pages.view.is_draining() {
        false => "ready\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn status(State(pages): State<Arc<Pages>>) -> Json<Status> {
    Json(Status::of(&pages.view))
}

async fn peers(State(pages): State<Arc<Pages>>) -> Json<Vec<Row>> {
    Json(pages.view.roster.rows())
}

async fn change_log(
    State(pages): State<Arc<Pages>>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Response {
    let filter = match query {
        Ok(Query(LogQuery { filter })) => filter,
        Err(rejection) => {
            return refuse(StatusCode::BAD_REQUEST, "bad_query", rejection.body_text());
        }
    };
    match pages.view.log_filter.change(&filter) {
        Ok(()) => {
            tracing::info!(filter, "log filter changed");
            Json(serde_json::json!({ "filter": pages.view.log_filter.current() })).into_response()
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, "bad_filter", error),
    }
}

/// The same as SIGTERM: what is to be done then is done in one place.
async fn leave() -> Response {
    match rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM) {
        Ok(()) => {
            let said = serde_json::json!({ "state": "leaving" });
            (StatusCode::ACCEPTED, Json(said)).into_response()
        }
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "not_leaving", error),
    }
}

/// Lets pass what was asked of an IP address or of `localhost`.
async fn only_local_names(request: Request, next: Next) -> Response {
    if names_this_machine(request.headers()) {
        next.run(request).await
    } else {
        refuse(StatusCode::MISDIRECTED_REQUEST, "bad_host", "ask by IP address or localhost")
    }
}

/// Programs that send no host name were not sent here by a web page.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

pub(super) fn refuse(status: StatusCode, error: &'static str, message: impl ToString) -> Response {
    (status, Json(Refused { error, message: message.to_string() })).into_response()
}
