//! A million patterns: what criterion has no word for, bytes of each and the slowest of a hundred
//! matches.

use std::time::Instant;

use mpreg_proto::topic::Topic;

use super::{Measurement, Store, Unit};
use crate::sample;

const PATTERNS: usize = 1_000_000;

/// Matches timed one by one, each of another topic.
const MATCHES: usize = 200_000;

/// A step through the topics that comes to all of them and never near the last.
const STRIDE: usize = 618_033;

pub(super) fn measure(only: Option<&str>, store: &mut Store) -> anyhow::Result<()> {
    type Sample = fn(usize) -> String;
    let kinds: [(&str, Sample); 2] = [("literal", sample::topic), ("wildcard", sample::wildcard)];
    for (kind, pattern) in kinds {
        let names = [format!("topic/index-bytes/{kind}"), format!("topic/match-p99/{kind}")];
        let wanted = |name: &String| only.is_none_or(|part| name.contains(part));
        if !names.iter().any(wanted) {
            continue;
        }
        let mut index = sample::index(PATTERNS, pattern);
        let bytes = index.heap_bytes() as f64 / PATTERNS as f64;
        let [bytes_name, p99_name] = names;
        store.add(Measurement::of_rounds(bytes_name, Unit::Bytes, vec![bytes]))?;
        let rounds = (0..3).map(|_| {
            p99_ns(|topic| {
                let mut found = 0;
                index.each_match(topic, &mut |_| found += 1);
                found
            })
        });
        store.add(Measurement::of_rounds(p99_name, Unit::Nanoseconds, rounds.collect()))?;
    }
    Ok(())
}

/// The 99th percentile, two readings of the clock included.
fn p99_ns(mut find: impl FnMut(Topic<'_>) -> u32) -> f64 {
    let mut times = Vec::with_capacity(MATCHES);
    let mut found = 0;
    for at in 0..MATCHES {
        let text = sample::topic(at * STRIDE % PATTERNS);
        let topic = Topic::parse(text.as_bytes()).expect("samples are topics");
        let started = Instant::now();
        found += find(topic);
        times.push(started.elapsed());
    }
    assert_ne!(found, 0, "some topic of the sample matches");
    times.sort_unstable();
    times[MATCHES * 99 / 100].as_nanos() as f64
}
