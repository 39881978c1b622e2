//! The status page: who this node is, where it listens, and every counter as JSON.
//!
//! Counters keep their metric names without `mpreg_`. What is counted by a label besides the shard
//! is an object from label to number. Read back by `mpreg status`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::View;
use crate::probe::Row;

/// `GET /status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// 32 hexadecimal digits.
    pub node: String,
    pub state: State,
    pub uptime_s: u64,
    pub urls: Urls,
    pub log_filter: String,
    /// Over all shards: sums, except that of a maximum the largest is taken; and what is counted
    /// for the whole process.
    pub totals: Figures,
    /// By shard number.
    pub shards: Vec<Figures>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ready,
    /// Told to stop: no new connections, those there are being flushed.
    Draining,
}

/// Where the node listens. Also what the ready file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// `mpreg://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// `http://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// `mpreg+unix:///PATH`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix: Option<String>,
    /// `nats://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<String>,
    /// `tls://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_tls: Option<String>,
    /// `ws://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<String>,
    /// `wss://HOST:PORT`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket_tls: Option<String>,
    /// `mpreg-peer://HOST:PORT`, for other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

impl Urls {
    /// Those there are, by name, in the order in which they are told.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { native, admin, unix, nats, nats_tls, websocket, websocket_tls, peer } = self;
        let all = [
            ("native", native),
            ("admin", admin),
            ("unix", unix),
            ("nats", nats),
            ("nats_tls", nats_tls),
            ("websocket", websocket),
            ("websocket_tls", websocket_tls),
            ("peer", peer),
        ];
        all.into_iter().filter_map(|(name, url)| url.as_deref().map(|url| (name, url)))
    }
}

/// Numbers by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, Figure>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Figure {
    One(Number),
    ByLabel(BTreeMap<String, Number>),
}

impl Status {
    pub(super) fn of(view: &View) -> Self {
        let (totals, shards) = figures(&view.rows(), view.shards.len());
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node: view.node.to_string(),
            state: if view.is_draining() { State::Draining } else { State::Ready },
            uptime_s: view.control.uptime_s.get(),
            urls: view.urls.clone(),
            log_filter: view.log_filter.current(),
            totals,
            shards,
        }
    }
}

impl Figures {
    /// The number called `name`; the sum of its labels if it has some; zero if there is none.
    pub fn get(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Figure::One(number)) => value(number),
            Some(Figure::ByLabel(numbers)) => numbers.values().map(value).sum(),
            None => 0.0,
        }
    }

    /// The labels under which `name` is counted, with their numbers.
    pub fn by_label(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let labelled = match self.0.get(name) {
            Some(Figure::ByLabel(numbers)) => Some(numbers),
            Some(Figure::One(_)) | None => None,
        };
        labelled.into_iter().flatten().map(|(label, number)| (label.as_str(), value(number)))
    }

    fn merge(&mut self, name: &str, label: Option<&str>, number: f64) {
        let merged = |old: f64| match name.contains("_max_") {
            true => old.max(number),
            false => old + number,
        };
        let name = name.to_owned();
        let slot = match label {
            None => self.0.entry(name).or_insert_with(|| Figure::One(Number::from(0))),
            Some(_) => self.0.entry(name).or_insert_with(|| Figure::ByLabel(BTreeMap::new())),
        };
        match (slot, label) {
            (Figure::One(old), None) => *old = written(merged(value(old))),
            (Figure::ByLabel(numbers), Some(label)) => {
                let old = numbers.entry(label.to_owned()).or_insert_with(|| Number::from(0));
                *old = written(merged(value(old)));
            }
            (Figure::One(_) | Figure::ByLabel(_), _) => {
                unreachable!("a name has one label besides the shard, always or never")
            }
        }
    }
}

fn figures(rows: &[Row], shards_count: usize) -> (Figures, Vec<Figures>) {
    let mut totals = Figures::default();
    let mut shards = vec![Figures::default(); shards_count];
    for row in rows {
        let name = row.name.trim_start_matches("mpreg_");
        let (of_shard, others): (Vec<_>, Vec<_>) =
            row.labels.iter().partition(|(key, _)| *key == "shard");
        let label = others.first().map(|(_, value)| value.as_str());
        totals.merge(name, label, row.value);
        if let Some((_, shard)) = of_shard.first() {
            let shard: usize = shard.parse().expect("shards are labelled with their number");
            shards[shard].merge(name, label, row.value);
        }
    }
    (totals, shards)
}

fn value(number: &Number) -> f64 {
    number.as_f64().expect("JSON numbers are read as 64-bit ones")
}

/// Whole numbers are written as such.
fn written(value: f64) -> Number {
    if value.fract() == 0.0 {
        Number::from(value as u64)
    } else {
        Number::from_f64(value).expect("counters are finite")
    }
}
