//! Cost of getting at the fields of an envelope, checked, and of making one.
//! `cargo bench -p mpreg-bench --bench envelope`.

use std::hint::black_box;

use mpreg_bench::sample;
use mpreg_proto::envelope::{ArchivedEnvelope, Envelope};
use mpreg_proto::frame::Data;

fn main() {
    let mut criterion = mpreg_bench::criterion();
    let (bytes, _) = sample::chunk(&["orders.eu.created"], sample::CHUNK_BYTES);
    let mut group = criterion.benchmark_group("envelope");
    group.bench_function("access", |b| {
        b.iter(|| ArchivedEnvelope::access(black_box(&bytes)).map(|e| e.deadline_ms.to_native()));
    });
    group.bench_function("access-and-check", |b| {
        b.iter(|| ArchivedEnvelope::access(black_box(&bytes)).map(ArchivedEnvelope::check));
    });
    group.bench_function("topic-of-frame", |b| {
        b.iter(|| Data::parse(black_box(&bytes)).map(|data| data.topic().len()));
    });
    group.bench_function("write", |b| {
        let envelope = Envelope {
            frame_bytes: 97,
            kind: 1,
            priority: 2,
            encoding: 0,
            reserved: 0,
            topic_bytes: 17,
            reply_bytes: 0,
            headers_bytes: 0,
            deadline_ms: 0,
        };
        b.iter(|| black_box(&envelope).to_bytes());
    });
    group.finish();
    criterion.final_summary();
}
