//! Cost of finding who wants a topic among 10 to 1,000,000 patterns.
//! `cargo bench -p mpreg-bench --bench topic`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion};
use mpreg_bench::sample;
use mpreg_proto::topic::{Pattern, Topic};

/// Topics asked for in turn, so that no single one stays in the nearest cache.
const TOPICS: usize = 1024;

/// The pattern of a number.
type Sample = fn(usize) -> String;

const KINDS: [(&str, Sample); 2] = [("literal", sample::topic), ("wildcard", sample::wildcard)];

fn main() {
    let mut criterion = mpreg_bench::criterion();
    indexed(&mut criterion);
    changing(&mut criterion);
    single(&mut criterion);
    criterion.final_summary();
}

fn sizes() -> &'static [usize] {
    let all = &[10, 1_000, 100_000, 1_000_000];
    if sample::is_measuring() { all } else { &all[..2] }
}

fn indexed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/match");
    for (name, pattern) in KINDS {
        for &size in sizes() {
            let mut index = sample::index(size, pattern);
            let stride = (size / TOPICS).max(1);
            let texts: Vec<String> =
                (0..TOPICS).map(|at| sample::topic(at * stride % size)).collect();
            let topics: Vec<Topic<'_>> = texts.iter().map(|text| parsed(text)).collect();
            let mut found = 0_u64;
            topics.iter().for_each(|&topic| index.each_match(topic, &mut |_| found += 1));
            assert!(topics.len() as u64 / 4 <= found, "the sample matches: {found}");
            let mut asked = topics.iter().cycle();
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    let topic = *asked.next().expect("a cycle does not end");
                    index.each_match(black_box(topic), &mut |_| found += 1);
                });
            });
        }
    }
    group.finish();
}

fn parsed(text: &str) -> Topic<'_> {
    Topic::parse(text.as_bytes()).expect("samples are topics")
}

/// One subscription made and ended among many.
fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/insert-and-remove");
    for &size in sizes() {
        let mut index = sample::index(size, sample::topic);
        let mut numbers = size..;
        group.bench_function(BenchmarkId::new("literal", size), |b| {
            b.iter_batched(
                || sample::topic(numbers.next().expect("numbers do not end")),
                |text| {
                    let pattern = Pattern::parse(text.as_bytes()).expect("samples are patterns");
                    index.insert(pattern, 1);
                    assert!(index.remove(pattern, 1));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// What a client does per message and subscription.
fn single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic/one-pattern");
    let topic = parsed("site7.line12.machine3.speed");
    group.bench_function("parse", |b| {
        b.iter(|| Topic::parse(black_box(topic.as_bytes())));
    });
    for text in ["site7.line12.machine3.speed", "site7.*.machine3.*", "site7.>", "#.speed"] {
        let pattern = Pattern::parse(text.as_bytes()).expect("a pattern");
        group.bench_function(text, |b| {
            b.iter(|| assert!(black_box(pattern).matches(black_box(topic))));
        });
    }
    group.finish();
}
