//! The monitoring pages of nats-server, for tools and test suites that read them.
//!
//! ```text
//!   /varz  /connz  /subsz  /healthz  /routez  /gatewayz  /leafz  /jsz
//! ```
//!
//! Fields have the names that nats-server gives them and hold what is counted here; what is not
//! known here is not there. Lists of connections and subscriptions: `connections.rs`.

use core::net::SocketAddr;
use core::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::View;
use super::connections::{self, Part};
use super::status::{Figures, Status};
use crate::log;
use crate::nats::info::VERSION;

#[derive(Debug, Serialize)]
struct Varz {
    server_id: String,
    server_name: String,
    version: &'static str,
    proto: u8,
    host: String,
    port: u16,
    max_connections: usize,
    max_subscriptions: usize,
    ping_interval: u64,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Nothing,
    gateway: Nothing,
    leaf: Nothing,
    mqtt: Nothing,
    websocket: Websocket,
    jetstream: Nothing,
    tls_required: bool,
    tls_verify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connect_urls: Vec<String>,
    now: String,
    uptime: String,
    cores: usize,
    connections: u64,
    total_connections: u64,
    routes: u8,
    remotes: u8,
    leafnodes: u8,
    in_msgs: u64,
    in_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    slow_consumers: u64,
    subscriptions: u64,
}

/// `{}`, which is how nats-server says that it does not do something.
#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Default, Serialize)]
struct Websocket {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_tls: Option<bool>,
}

pub(super) fn varz(view: &View) -> Response {
    let Status { totals, uptime_s, node, .. } = Status::of(view);
    let config = &view.config;
    let nats = &config.nats;
    let (host, port) = address(view.bound.nats.or(view.bound.nats_tls));
    let (http_host, http_port) = address(view.admin_address());
    let tls = config.tls.as_ref().filter(|_| view.bound.nats_tls.is_some());
    pretty(&Varz {
        server_name: server_name(view),
        server_id: node,
        version: VERSION,
        proto: 1,
        host,
        port,
        max_connections: config.limits.connections_max,
        max_subscriptions: nats.subscriptions_max,
        ping_interval: u64::try_from(nats.ping_interval.as_nanos()).unwrap_or(u64::MAX),
        ping_max: nats.pings_out_max,
        http_host,
        http_port,
        auth_timeout: nats.auth_timeout.as_secs_f64(),
        max_control_line: nats.control_line_bytes_max,
        max_payload: nats.payload_bytes_max,
        max_pending: config.limits.queue_bytes,
        cluster: Nothing {},
        gateway: Nothing {},
        leaf: Nothing {},
        mqtt: Nothing {},
        websocket: websocket(view),
        jetstream: Nothing {},
        tls_required: tls.is_some(),
        tls_verify: tls.is_some_and(|tls| tls.client_ca.is_some()),
        connect_urls: nats.advertise.clone(),
        now: log::now(),
        uptime: span(Duration::from_secs(uptime_s)),
        cores: view.shards.len(),
        connections: count(&totals, "sessions"),
        total_connections: count(&totals, "sessions_accepted_total"),
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: count(&totals, "messages_in_total"),
        in_bytes: count(&totals, "bytes_in_total"),
        out_msgs: count(&totals, "messages_out_total"),
        out_bytes: count(&totals, "bytes_out_total"),
        slow_consumers: labelled(&totals, "refusals_total", "slow_consumer"),
        subscriptions: count(&totals, "subscriptions"),
    })
}

pub(super) fn subsz(view: &View, part: &Part) -> Response {
    connections::subsz(view, part, count(&Status::of(view).totals, "subscriptions"))
}

pub(super) fn healthz(view: &View) -> Response {
    match view.is_draining() {
        false => Json(json!({ "status": "ok" })).into_response(),
        true => {
            let answer = json!({ "status": "unavailable", "error": "draining" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
    }
}

pub(super) fn routez(view: &View) -> Response {
    pretty(&json!({
        "server_id": view.node.to_string(),
        "server_name": server_name(view),
        "now": log::now(),
        "num_routes": 0,
        "routes": [],
    }))
}

pub(super) fn gatewayz(view: &View) -> Response {
    pretty(&json!({
        "server_id": view.node.to_string(),
        "now": log::now(),
        "outbound_gateways": {},
        "inbound_gateways": {},
    }))
}

pub(super) fn leafz(view: &View) -> Response {
    pretty(&json!({
        "server_id": view.node.to_string(),
        "now": log::now(),
        "leafnodes": 0,
        "leafs": [],
    }))
}

pub(super) fn jsz(view: &View) -> Response {
    pretty(&json!({
        "server_id": view.node.to_string(),
        "now": log::now(),
        "disabled": true,
        "config": { "max_memory": 0, "max_storage": 0 },
    }))
}

pub(super) fn pretty(page: &impl Serialize) -> Response {
    let text = serde_json::to_string_pretty(page).expect("texts, numbers and lists of them");
    ([(axum::http::header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn server_name(view: &View) -> String {
    view.config.nats.server_name.clone().unwrap_or_else(|| view.node.to_string())
}

fn websocket(view: &View) -> Websocket {
    let bound = &view.bound;
    let Some(address) = bound.websocket.or(bound.websocket_tls) else {
        return Websocket::default();
    };
    Websocket {
        host: Some(address.ip().to_string()),
        port: Some(address.port()),
        no_tls: Some(bound.websocket.is_some()),
    }
}

fn address(address: Option<SocketAddr>) -> (String, u16) {
    address.map_or((String::new(), 0), |address| (address.ip().to_string(), address.port()))
}

fn count(totals: &Figures, name: &str) -> u64 {
    totals.get(name) as u64
}

fn labelled(totals: &Figures, name: &str, label: &str) -> u64 {
    totals.by_label(name).find(|(found, _)| *found == label).map_or(0, |(_, number)| number as u64)
}

/// `1d2h3m4s`, without units that are zero in front.
pub(super) fn span(uptime: Duration) -> String {
    let s = uptime.as_secs();
    let units = [(s / 86_400, 'd'), (s / 3600 % 24, 'h'), (s / 60 % 60, 'm'), (s % 60, 's')];
    let shown = units.iter().skip_while(|(number, unit)| *number == 0 && *unit != 's');
    shown.map(|(number, unit)| format!("{number}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::admin::tests::surface;

    use super::*;

    #[test]
    fn varz_says_what_is_counted() {
        let surface = surface();
        let (code, body) = surface.ask("GET", "/varz");
        assert_eq!(code, 200);
        let varz: serde_json::Value = serde_json::from_str(&body).unwrap();
        for (field, want) in [
            ("server_id", json!(format!("{:032x}", 7))),
            ("host", json!("127.0.0.1")),
            ("port", json!(4222)),
            ("http_port", json!(surface.admin.address().port())),
            ("max_payload", json!(1 << 20)),
            ("ping_interval", json!(120_000_000_000_u64)),
            ("auth_timeout", json!(2.0)),
            ("uptime", json!("12s")),
            ("in_msgs", json!(7)),
            ("slow_consumers", json!(1)),
            ("tls_required", json!(false)),
            ("jetstream", json!({})),
        ] {
            assert_eq!(varz[field], want, "{field}");
        }
        assert_eq!(varz.get("connect_urls"), None);
    }

    #[test]
    fn numbers_of_a_page_stay_within_bounds() {
        let surface = surface();
        let part = |query: &str| {
            let (code, body) = surface.ask("GET", &format!("/connz?{query}"));
            assert_eq!(code, 200, "{query}");
            let connz: serde_json::Value = serde_json::from_str(&body).unwrap();
            (connz["offset"].as_i64().unwrap(), connz["limit"].as_i64().unwrap())
        };
        assert_eq!(part(""), (0, 1024));
        assert_eq!(part("subs=detail&offset=-5&limit=-1"), (0, 1024));
        let most = i64::MAX;
        assert_eq!(part(&format!("offset={most}&limit={most}")), (most, 1024));
        for query in ["limit=abc", "offset=9223372036854775808"] {
            assert_eq!(surface.ask("GET", &format!("/connz?{query}")).0, 400, "{query}");
            assert_eq!(surface.ask("GET", &format!("/subsz?{query}")).0, 400, "{query}");
        }
    }

    #[test]
    fn the_other_pages_are_there_for_whoever_looks() {
        let surface = surface();
        for (page, field) in [
            ("/subsz", "\"num_subscriptions\": 0"),
            ("/routez", "\"num_routes\": 0"),
            ("/gatewayz", "\"outbound_gateways\": {}"),
            ("/leafz", "\"leafnodes\": 0"),
            ("/jsz", "\"disabled\": true"),
            ("/", "/varz"),
        ] {
            let (code, body) = surface.ask("GET", page);
            assert_eq!(code, 200, "{page}");
            assert!(body.contains(field), "{page}: {body}");
        }
        assert_eq!(surface.ask("GET", "/healthz"), (200, "{\"status\":\"ok\"}".to_owned()));
        surface.view.is_draining.store(true, Relaxed);
        assert_eq!(surface.ask("GET", "/healthz").0, 503);
    }

    #[test]
    fn uptime_is_written_without_leading_zeros() {
        let spans = [0, 59, 60, 3605, 86_400].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["0s", "59s", "1m0s", "1h0m5s", "1d0h0m0s"]);
    }
}
