//! `/connz` and `/subsz`: who is connected and to what they subscribe, as nats-server lists it.
//!
//! The shards are asked, each for no more than a page holds. What no shard knows is left out, and
//! closed connections are none.

use core::time::Duration;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::View;
use super::monitor::{pretty, span};
use crate::limits::CONNECTIONS_LISTED_MAX;
use crate::log;
use crate::mesh::Command;
use crate::roster::{Connection, Question, Subscription, Subscriptions};

/// How long shards may take to answer. They take microseconds; one that takes this long is stalled,
/// and its connections are missing from the list.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What is asked for. Negative numbers are the defaults, as nats-server takes them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Part {
    offset: Option<i64>,
    limit: Option<i64>,
    cid: Option<u64>,
    #[serde(default)]
    subs: Listing,
    #[serde(default)]
    state: State,
    auth: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Listing {
    #[default]
    #[serde(alias = "0", rename = "false")]
    None,
    #[serde(alias = "1", rename = "true")]
    Subjects,
    #[serde(rename = "detail")]
    Details,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Open,
    Closed,
    #[serde(alias = "all")]
    Any,
}

/// One connection, in the order in which nats-server writes it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    cid: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list_detail: Option<Vec<Detail<'a>>>,
}

#[derive(Debug, Serialize)]
struct Detail<'a> {
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    qgroup: &'a str,
    sid: &'a str,
    msgs: u32,
    cid: u64,
}

impl Part {
    fn offset(&self) -> usize {
        self.offset.and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0)
    }

    /// At most what one answer of a shard holds.
    fn limit(&self) -> usize {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok());
        limit
            .filter(|&limit| limit != 0)
            .map_or(CONNECTIONS_LISTED_MAX, |limit| limit.min(CONNECTIONS_LISTED_MAX))
    }
}

pub(super) fn connz(view: &View, part: &Part) -> Response {
    let numbers = if part.state == State::Closed { Vec::new() } else { numbers(view) };
    let total = numbers.len();
    let (offset, limit) = if part.cid.is_some() { (0, 1) } else { (part.offset(), part.limit()) };
    let wanted = numbers.into_iter().filter(|number| part.cid.is_none_or(|cid| cid == *number));
    let page = wanted.skip(offset).take(limit).collect();
    let subscriptions = match part.subs {
        Listing::None => Subscriptions::Counted,
        Listing::Subjects | Listing::Details => Subscriptions::Listed,
    };
    let connections = details(view, page, subscriptions);
    let rows: Vec<Row<'_>> = connections.iter().map(|connection| row(connection, part)).collect();
    pretty(&json!({
        "server_id": view.node.to_string(),
        "now": log::now(),
        "num_connections": rows.len(),
        "total": total,
        "offset": offset,
        "limit": limit,
        "connections": rows,
    }))
}

/// `count` is of all subscriptions, native ones included.
pub(super) fn subsz(view: &View, part: &Part, count: u64) -> Response {
    let (offset, limit) = (part.offset(), part.limit());
    let mut page = json!({
        "server_id": view.node.to_string(),
        "now": log::now(),
        "num_subscriptions": count,
        "total": 0,
        "offset": offset,
        "limit": limit,
    });
    if part.subs != Listing::None {
        let page_of_all = numbers(view).into_iter().take(CONNECTIONS_LISTED_MAX).collect();
        let connections = details(view, page_of_all, Subscriptions::Listed);
        let all = connections.iter().flat_map(|connection| {
            connection.subscriptions.iter().map(|subscription| detail(connection.id, subscription))
        });
        let all: Vec<Detail<'_>> = all.collect();
        page["total"] = Value::from(all.len());
        let part: Vec<&Detail<'_>> = all.iter().skip(offset).take(limit).collect();
        page["subscriptions_list"] = json!(part);
    }
    pretty(&page)
}

pub(super) fn refused(why: String) -> Response {
    (StatusCode::BAD_REQUEST, why).into_response()
}

fn row<'a>(connection: &'a Connection, part: &Part) -> Row<'a> {
    let Connection { id, peer, age, idle, round_trip, queued_bytes, traffic, .. } = *connection;
    let subscriptions = &connection.subscriptions;
    let subjects = || subscriptions.iter().map(|subscription| &subscription.subject[..]).collect();
    let details = || subscriptions.iter().map(|subscription| detail(id, subscription)).collect();
    let asks_who = part.auth.as_deref().is_some_and(|auth| auth == "1" || auth == "true");
    Row {
        cid: id,
        kind: "Client",
        ip: peer.map_or_else(String::new, |peer| peer.ip().to_string()),
        port: peer.map_or(0, |peer| peer.port()),
        start: ago(age),
        last_activity: ago(idle),
        rtt: format!("{round_trip:?}"),
        uptime: span(age),
        idle: span(idle),
        pending_bytes: queued_bytes,
        in_msgs: traffic.messages_in,
        out_msgs: traffic.messages_out,
        in_bytes: traffic.bytes_in,
        out_bytes: traffic.bytes_out,
        subscriptions: connection.subscriptions_count,
        name: &connection.name,
        lang: &connection.lang,
        version: &connection.version,
        authorized_user: asks_who.then_some(&connection.user[..]).filter(|user| !user.is_empty()),
        subscriptions_list: (part.subs == Listing::Subjects).then(subjects),
        subscriptions_list_detail: (part.subs == Listing::Details).then(details),
    }
}

fn detail(cid: u64, subscription: &Subscription) -> Detail<'_> {
    let Subscription { subject, group, sid, delivered } = subscription;
    Detail { subject, qgroup: group, sid, msgs: *delivered, cid }
}

/// The numbers of all connections, sorted.
fn numbers(view: &View) -> Vec<u64> {
    let answers = ask(view, |answers| Question::Numbers { answers });
    let mut numbers = answers.concat();
    numbers.sort_unstable();
    numbers
}

/// What is known of these, sorted.
fn details(view: &View, of: Vec<u64>, subscriptions: Subscriptions) -> Vec<Connection> {
    if of.is_empty() {
        return Vec::new();
    }
    let of: Arc<[u64]> = of.into();
    let answers = ask(view, |answers| Question::Details { of: of.clone(), subscriptions, answers });
    let mut connections = answers.concat();
    connections.sort_unstable_by_key(|connection| connection.id);
    connections
}

/// Asks every shard and waits for the answers; whoever does not answer in time is left out.
pub(super) fn ask<T>(view: &View, question: impl Fn(Sender<T>) -> Question) -> Vec<T> {
    let (sender, answers): (_, Receiver<T>) = bounded(view.bells.len());
    for bell in view.bells.iter() {
        bell.command(Command::List(question(sender.clone())));
    }
    drop(sender);
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    std::iter::from_fn(|| answers.recv_deadline(deadline).ok()).collect()
}

fn ago(age: Duration) -> String {
    date(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// `2026-01-02T15:04:05Z`
fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (since / 86_400, since % 86_400);
    // Days of years that begin in March, so that the leap day is the last one.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, after) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + after;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
    }
}
