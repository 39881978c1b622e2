//! Cost of reading and writing frames, per frame. `cargo bench -p mpreg-bench --bench frame`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use mpreg_bench::sample;
use mpreg_proto::frame::{Decoded, Frame, Publish, decode, peek};

fn main() {
    let mut criterion = mpreg_bench::criterion();
    reading(&mut criterion);
    writing(&mut criterion);
    criterion.final_summary();
}

/// A receive buffer full of data frames, read from end to end.
fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/read");
    for payload_bytes in [64, 1024, 8192] {
        let (chunk, frames) = sample::chunk(&["orders.eu.created"], payload_bytes);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_with_input(BenchmarkId::new("decode", payload_bytes), &chunk, |b, chunk| {
            b.iter(|| assert_eq!(decoded(black_box(chunk)), frames));
        });
        group.bench_with_input(BenchmarkId::new("peek", payload_bytes), &chunk, |b, chunk| {
            b.iter(|| assert_eq!(peeked(black_box(chunk)), frames));
        });
    }
    group.finish();
}

fn decoded(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while let Ok(Decoded::Frame { frame, bytes: taken }) = decode(bytes) {
        if let Frame::Data(data) = frame {
            black_box((data.topic(), data.payload()));
        }
        bytes = &bytes[taken..];
        frames += 1;
    }
    frames
}

fn peeked(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while let Ok(Some((taken, kind))) = peek(bytes) {
        black_box(kind);
        bytes = &bytes[taken..];
        frames += 1;
    }
    frames
}

fn writing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/write");
    for payload_bytes in [64, 1024] {
        let payload = vec![0x5a; payload_bytes];
        let mut out = Vec::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("publish", payload_bytes), |b| {
            b.iter(|| {
                out.clear();
                let topic = black_box(&b"orders.eu.created"[..]);
                let publish = Publish { topic, payload: &payload, ..Publish::default() };
                publish.put(&mut out).expect("within bounds");
                black_box(out.len())
            });
        });
    }
    group.finish();
}
