//! Every route over a real socket, in front of cores that only exist as counters.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use mpreg_fabric::fact::DropReason;
use mpreg_proto::error::ErrorCode;

use super::*;

pub(crate) struct Surface {
    pub(crate) admin: Admin,
    pub(crate) view: View,
    /// The filter works as long as its subscriber lives.
    _subscriber: Box<dyn Send>,
}

/// Two shards, some traffic.
pub(crate) fn surface() -> Surface {
    let (subscriber, log_filter) = log::tests::unattached();
    let shards: Vec<_> = (0..2).map(|_| Arc::new(ShardProbe::default())).collect();
    for (shard, messages) in shards.iter().zip([3, 4]) {
        shard.messages_in.add(messages);
        shard.turn_ns.add(1_500_000_000);
        shard.turn_max_ns.raise_to(messages * 1_000_000);
        shard.dropped(DropReason::QueueFullOldest, messages * 10);
    }
    shards[1].refused(ErrorCode::Malformed);
    shards[1].refused(ErrorCode::SlowConsumer);
    let bound = Bound::new(([127, 0, 0, 1], 0).into()).unwrap();
    let view = View {
        node: NodeId(7),
        urls: status::Urls {
            native: Some("mpreg://127.0.0.1:9".to_owned()),
            admin: Some(bound.url()),
            ..status::Urls::default()
        },
        bound: node::Bound { nats: Some(([127, 0, 0, 1], 4222).into()), ..node::Bound::default() },
        config: Arc::new(Config::try_from(crate::config::File::default()).unwrap()),
        bells: Arc::default(),
        shards,
        control: Arc::default(),
        desk: crate::control::inbox().unwrap().0,
        roster: Roster::default(),
        is_draining: Arc::default(),
        log_filter,
        log_lines_dropped: log::tests::none_dropped(),
        reloader: None,
    };
    view.control.uptime_s.set(12);
    let admin = bound.start(view.clone(), None).unwrap();
    Surface { admin, view, _subscriber: Box::new(subscriber) }
}

impl Surface {
    /// Sends `request` as it is and returns the status line's code and the rest of the answer.
    fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let host = self.admin.address();
        self.send(&format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    }
}

#[test]
fn metrics_hold_every_row_once_and_the_shards_of_a_name_together() {
    let surface = surface();
    let (code, page) = surface.ask("GET", "/metrics");
    assert_eq!(code, 200);
    for line in [
        "# TYPE mpreg_messages_in counter",
        "mpreg_messages_in_total{shard=\"0\"} 3\nmpreg_messages_in_total{shard=\"1\"} 4\n",
        "# TYPE mpreg_loop_turn_max_seconds gauge",
        "mpreg_loop_turn_max_seconds{shard=\"1\"} 0.004",
        "mpreg_loop_busy_seconds_total{shard=\"0\"} 1.5",
        "mpreg_messages_dropped_total{shard=\"1\",reason=\"queue_full_oldest\"} 40",
        "mpreg_refusals_total{shard=\"1\",code=\"malformed\"} 1",
        "\nmpreg_uptime_seconds 12\n",
        "\nmpreg_log_lines_dropped_total 0\n",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, surface.view.rows().len());
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn status_sums_shards_and_takes_the_largest_maximum() {
    let surface = surface();
    let (code, body) = surface.ask("GET", "/status");
    assert_eq!(code, 200);
    let status: status::Status = serde_json::from_str(&body).unwrap();
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.node, format!("{:032x}", 7));
    assert_eq!(status.state, status::State::Ready);
    assert_eq!(status.uptime_s, 12);
    assert_eq!(status.urls, surface.view.urls);
    assert_eq!(status.log_filter, "info");
    assert_eq!(status.totals.get("messages_in_total"), 7.0);
    assert_eq!(status.totals.get("loop_turn_max_seconds"), 0.004);
    assert_eq!(status.totals.get("messages_dropped_total"), 70.0);
    assert_eq!(status.shards.len(), 2);
    assert_eq!(status.shards[0].get("messages_in_total"), 3.0);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["totals"]["messages_dropped_total"]["queue_full_oldest"], 70);
    assert_eq!(json["shards"][1]["loop_busy_seconds_total"], 1.5);
    assert_eq!(json["urls"].get("unix"), None);
}

#[test]
fn health_says_when_the_node_is_being_stopped() {
    let surface = surface();
    assert_eq!(surface.ask("GET", "/health"), (200, "ready\n".to_owned()));
    surface.view.is_draining.store(true, Relaxed);
    assert_eq!(surface.ask("GET", "/health"), (503, "draining\n".to_owned()));
    assert!(surface.ask("GET", "/status").1.contains("\"state\":\"draining\""));
}

#[test]
fn the_log_filter_changes_or_is_refused_by_name() {
    let surface = surface();
    let (code, body) = surface.ask("PUT", "/log?filter=warn,mpreg_router%3Ddebug");
    assert_eq!((code, body.as_str()), (200, r#"{"filter":"mpreg_router=debug,warn"}"#));
    assert_eq!(surface.view.log_filter.current(), "mpreg_router=debug,warn");
    for (path, error) in
        [("/log?filter=debgu", "bad_filter"), ("/log?filter=", "bad_filter"), ("/log", "bad_query")]
    {
        let (code, body) = surface.ask("PUT", path);
        assert_eq!(code, 400, "{path}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"], error, "{path}");
    }
    assert_eq!(surface.view.log_filter.current(), "mpreg_router=debug,warn");
}

#[test]
fn what_is_not_there_is_refused_in_json() {
    let surface = surface();
    for (method, path, want_code, error) in [
        ("GET", "/none", 404, "not_found"),
        ("GET", "/log", 405, "bad_method"),
        ("POST", "/status", 405, "bad_method"),
    ] {
        let (code, body) = surface.ask(method, path);
        assert_eq!(code, want_code, "{method} {path}");
        assert!(body.contains(error), "{method} {path}: {body}");
    }
}

#[test]
fn a_foreign_host_name_is_not_answered() {
    let surface = surface();
    for (host, want) in [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1", 200),
        ("[::1]:4281", 200),
        ("attacker.example", 421),
        ("attacker.example:4281", 421),
        ("localhost.attacker.example", 421),
    ] {
        let request = format!("GET /status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(surface.send(&request).0, want, "{host}");
    }
    assert_eq!(surface.send("GET /health HTTP/1.0\r\n\r\n").0, 200, "no host at all");
}

#[test]
fn a_head_without_end_is_cut_off() {
    let surface = surface();
    let long = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(surface.send(&long).0, 431);
}

#[test]
fn seats_are_given_back_and_idle_holders_of_all_do_not_last() {
    let surface = surface();
    let held: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(surface.admin.address()).unwrap())
        .collect();
    // Waits in the accept queue until the holders have shown no request in time.
    assert_eq!(surface.ask("GET", "/health").0, 200);
    for mut stream in held {
        stream.set_read_timeout(Some(HEAD_TIME_MAX * 2)).unwrap();
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).is_ok(), "closed by the surface");
    }
}

#[test]
fn dropping_it_closes_the_port() {
    let surface = surface();
    let address = surface.admin.address();
    drop(surface.admin);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_manual_lists_every_metric() {
    let lines = include_str!("../../../docs/OPERATING.md").lines();
    let documented: BTreeSet<&str> =
        lines.filter_map(|line| line.strip_prefix("| `mpreg_")?.split('`').next()).collect();
    let surface = surface();
    let rows = surface.view.rows();
    let counted: BTreeSet<&str> =
        rows.iter().map(|row| row.name.strip_prefix("mpreg_").unwrap()).collect();
    assert_eq!(documented, counted);
}
