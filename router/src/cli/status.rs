//! `mpreg status`: how a running router is.

use core::fmt;
use std::io::Write;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit};
use crate::admin::status::{Figures, State, Status};

/// Show how a running router is. Exit code 1 if it is being stopped.
#[derive(Debug, clap::Args)]
pub struct AskStatus {
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskStatus {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let answer = self.router.ask(Method::GET, "/status")?;
        if answer.code != 200 {
            return Err(AskError::Unexpected { code: answer.code }.into());
        }
        let status: Status = answer.json()?;
        if self.json {
            out.write_all(&answer.body)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", Text(&status))?;
        }
        Ok(match status.state {
            State::Ready => Exit::Done,
            State::Draining => Exit::No,
        })
    }
}

/// What people read.
struct Text<'a>(&'a Status);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { version, pid, node, state, uptime_s, urls, log_filter, totals, shards } =
            self.0;
        let state = match state {
            State::Ready => "ready",
            State::Draining => "draining",
        };
        writeln!(f, "mpreg {version}, {state}, up {}, pid {pid}, node {node}", Span(*uptime_s))?;
        for (_, url) in urls.named() {
            writeln!(f, "  {url}")?;
        }
        writeln!(f, "  logs {log_filter}\n")?;
        write!(f, "{:<7}", "SHARD")?;
        for (heading, ..) in COLUMNS {
            write!(f, " {heading:>9}")?;
        }
        writeln!(f)?;
        for (shard, figures) in shards.iter().enumerate() {
            row(f, &shard.to_string(), figures)?;
        }
        if 1 < shards.len() {
            row(f, "all", totals)?;
        }
        if 0.0 < totals.get("store_failing") {
            let failures = totals.get("store_failures_total");
            writeln!(f, "disk: state is not kept ({failures} failures); what needs it waits")?;
        }
        for (title, name) in [
            ("dropped", "messages_dropped_total"),
            ("refused", "refusals_total"),
            ("sessions ended", "sessions_ended_total"),
        ] {
            for (label, count) in totals.by_label(name).filter(|(_, count)| 0.0 < *count) {
                writeln!(f, "{title}: {label} {count}")?;
            }
        }
        Ok(())
    }
}

/// How a number is shown.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    Seconds,
}

const COLUMNS: [(&str, &str, Unit); 9] = [
    ("SESSIONS", "sessions", Unit::Count),
    ("SUBS", "subscriptions", Unit::Count),
    ("IN", "messages_in_total", Unit::Count),
    ("OUT", "messages_out_total", Unit::Count),
    ("DROPPED", "messages_dropped_total", Unit::Count),
    ("UNROUTED", "messages_unrouted_total", Unit::Count),
    ("QUEUED", "queued_bytes", Unit::Bytes),
    ("HANDOFFS", "handoffs_out_total", Unit::Count),
    ("TURN MAX", "loop_turn_max_seconds", Unit::Seconds),
];

fn row(f: &mut fmt::Formatter<'_>, shard: &str, figures: &Figures) -> fmt::Result {
    write!(f, "{shard:<7}")?;
    for (_, name, unit) in COLUMNS {
        let value = figures.get(name);
        let text = match unit {
            Unit::Count => scaled(value, 1000.0, ["", "k", "M", "G", "T"]),
            Unit::Bytes => scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"]),
            Unit::Seconds => format!("{:.1}ms", value * 1e3),
        };
        write!(f, " {text:>9}")?;
    }
    writeln!(f)
}

/// `value` with at least two digits in front of its unit: 1234 is 1234, 123456 is 123.5k.
fn scaled(value: f64, step: f64, units: [&str; 5]) -> String {
    let mut value = value;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while 10.0 * step <= value {
        let Some(next) = units.next() else { break };
        value /= step;
        unit = next;
    }
    if value.fract() == 0.0 { format!("{value}{unit}") } else { format!("{value:.1}{unit}") }
}

/// Seconds, as people say them.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours) = (self.0 / 86_400, self.0 / 3600 % 24);
        let (minutes, seconds) = (self.0 / 60 % 60, self.0 % 60);
        match self.0 {
            0..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{minutes}m {seconds}s"),
            3600..86_400 => write!(f, "{hours}h {minutes}m"),
            86_400.. => write!(f, "{days}d {hours}h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn status(shards: &str) -> Status {
        let text = format!(
            r#"{{"version": "0.1.0", "pid": 42, "node": "0000000000000000000000000000000a",
            "state": "ready", "uptime_s": 3700,
            "urls": {{"native": "mpreg://127.0.0.1:4280", "admin": "http://127.0.0.1:4281"}},
            "log_filter": "info",
            "totals": {{
                "sessions": 3, "messages_in_total": 1234567, "messages_out_total": 9999,
                "messages_dropped_total": {{"queue_full_oldest": 12, "memory_budget": 0}},
                "queued_bytes": 5242880, "loop_turn_max_seconds": 0.0021,
                "refusals_total": {{"malformed": 1}}
            }},
            "shards": {shards}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_exit_code_says_whether_the_router_is_ready() {
        let surface = crate::admin::tests::surface();
        let url = format!("http://{}", surface.admin.address());
        let ask = |json| {
            let mut out = Vec::new();
            let router = super::super::ask::tests::address(&url);
            let exit = AskStatus { json, router }.run(&mut out).unwrap();
            (exit, String::from_utf8(out).unwrap())
        };
        let (exit, json) = ask(true);
        assert_eq!(exit, Exit::Done);
        let status: Status = serde_json::from_str(&json).unwrap();
        assert_eq!(status.totals.get("messages_in_total"), 7.0);
        assert_eq!(ask(false), (Exit::Done, Text(&status).to_string()));
        surface.view.is_draining.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(ask(true).0, Exit::No);
    }

    #[test]
    fn one_row_per_shard_and_their_sum() {
        let shards = r#"[
            {"sessions": 2, "messages_in_total": 1234000, "loop_turn_max_seconds": 0.0021},
            {"sessions": 1, "messages_in_total": 567, "queued_bytes": 5242880}
        ]"#;
        expect![[r#"
            mpreg 0.1.0, ready, up 1h 1m, pid 42, node 0000000000000000000000000000000a
              mpreg://127.0.0.1:4280
              http://127.0.0.1:4281
              logs info

            SHARD    SESSIONS      SUBS        IN       OUT   DROPPED  UNROUTED    QUEUED  HANDOFFS  TURN MAX
            0               2         0     1234k         0         0         0        0B         0     2.1ms
            1               1         0       567         0         0         0   5120KiB         0     0.0ms
            all             3         0   1234.6k      9999        12         0   5120KiB         0     2.1ms
            dropped: queue_full_oldest 12
            refused: malformed 1
        "#]].assert_eq(&Text(&status(shards)).to_string());
    }

    #[test]
    fn one_shard_needs_no_sum() {
        expect![[r#"
            mpreg 0.1.0, ready, up 1h 1m, pid 42, node 0000000000000000000000000000000a
              mpreg://127.0.0.1:4280
              http://127.0.0.1:4281
              logs info

            SHARD    SESSIONS      SUBS        IN       OUT   DROPPED  UNROUTED    QUEUED  HANDOFFS  TURN MAX
            0               3         0         0         0         0         0        0B         0     0.0ms
            dropped: queue_full_oldest 12
            refused: malformed 1
        "#]].assert_eq(&Text(&status(r#"[{"sessions": 3}]"#)).to_string());
    }

    #[test]
    fn spans_are_said_in_two_units() {
        let spans = [0, 59, 60, 3599, 3600, 86_399, 86_400, 31 * 86_400 + 3600];
        let said = spans.map(|span| Span(span).to_string()).join(", ");
        assert_eq!(said, "0s, 59s, 1m 0s, 59m 59s, 1h 0m, 23h 59m, 1d 0h, 31d 1h");
    }
}
