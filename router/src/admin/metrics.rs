//! The metrics page: rows, read when somebody asks, in the text format Prometheus reads.

use core::fmt;
use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::View;
use crate::probe::{Kind, Row};

/// What `text::encode` writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Nothing is kept between two pages.
#[derive(Debug)]
pub(super) struct Page(Registry);

impl Page {
    pub(super) fn new(view: View) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Rows(view)));
        Self(registry)
    }

    pub(super) fn text(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.0).expect("a string takes what is written to it");
        page
    }
}

#[derive(Debug)]
struct Rows(View);

impl Collector for Rows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The format wants all rows of one name together; the cores hand them out shard by shard.
        let mut families = BTreeMap::<_, Vec<_>>::new();
        for row in self.0.rows() {
            families.entry(row.name).or_default().push(row);
        }
        for (name, rows) in families {
            let Row { help, kind, .. } = rows[0];
            // The encoder appends `_total` to what it is told is a counter.
            let (stem, kind) = match kind {
                Kind::Counter => (name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge => (name, MetricType::Gauge),
            };
            let mut family = encoder.encode_descriptor(stem, help, None, kind)?;
            for row in &rows {
                encode_row(row, &mut family)?;
            }
        }
        Ok(())
    }
}

fn encode_row(row: &Row, family: &mut MetricEncoder<'_>) -> fmt::Result {
    if row.labels.is_empty() {
        return encode_value(row, family);
    }
    let labels: Vec<(&str, &str)> =
        row.labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
    encode_value(row, &mut family.encode_family(&labels)?)
}

fn encode_value(row: &Row, metric: &mut MetricEncoder<'_>) -> fmt::Result {
    let whole = (row.value.fract() == 0.0 && row.value < EXACT_MAX).then_some(row.value as u64);
    match (row.kind, whole) {
        (Kind::Counter, Some(n)) => metric.encode_counter::<NoLabelSet, _, u64>(&n, None),
        (Kind::Counter, None) => metric.encode_counter::<NoLabelSet, _, u64>(&row.value, None),
        (Kind::Gauge, Some(n)) => metric.encode_gauge(&n),
        (Kind::Gauge, None) => metric.encode_gauge(&row.value),
    }
}

/// Whole numbers below it are exact in an `f64`.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;
