//! Cost of reading and writing the NATS client protocol, per message.
//! `cargo bench -p mpreg-bench --bench nats`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use mpreg_bench::sample::CHUNK_BYTES;
use mpreg_proto::limits::{NATS_CONTROL_LINE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use mpreg_proto::nats::{
    Bounds, Command, Heard, Parsed, Said, parse, parse_said, put_head, put_message, put_publish,
    put_with_tail,
};

const BOUNDS: Bounds =
    Bounds { control_line_bytes: NATS_CONTROL_LINE_BYTES_MAX, payload_bytes: PAYLOAD_BYTES_MAX };

const SUBJECT: &[u8] = b"bench.topic";
const REPLY: &[u8] = b"_INBOX.Jk2mQ0xw8Yh3c.17";
const HEADERS: &[u8] = b"NATS/1.0\r\nTrace: 7\r\n\r\n";

fn main() {
    let mut criterion = mpreg_bench::criterion();
    reading(&mut criterion);
    writing(&mut criterion);
    criterion.final_summary();
}

/// A receive buffer full of messages, read from end to end.
fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nats/read");
    let kinds: [(&str, &[u8], &[u8]); 3] =
        [("pub", b"", b""), ("pub-reply", REPLY, b""), ("hpub", b"", HEADERS)];
    for (kind, reply, headers) in kinds {
        for payload_bytes in [16, 128, 1024] {
            let payload = vec![0x5a; payload_bytes];
            let put = |out: &mut Vec<u8>| put_publish(out, SUBJECT, reply, headers, &payload);
            let (chunk, messages) = filled(put);
            group.throughput(Throughput::Elements(messages as u64));
            group.bench_with_input(BenchmarkId::new(kind, payload_bytes), &chunk, |b, chunk| {
                b.iter(|| assert_eq!(published(black_box(chunk)), messages));
            });
        }
    }
    for payload_bytes in [16, 1024] {
        let payload = vec![0x5a; payload_bytes];
        let put = |out: &mut Vec<u8>| put_message(out, SUBJECT, b"", b"", &payload, b"17");
        let (chunk, messages) = filled(put);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_with_input(BenchmarkId::new("msg", payload_bytes), &chunk, |b, chunk| {
            b.iter(|| assert_eq!(delivered(black_box(chunk)), messages));
        });
    }
    group.finish();
}

/// As many messages as fit a receive buffer.
fn filled(put: impl Fn(&mut Vec<u8>)) -> (Vec<u8>, usize) {
    let mut one = Vec::new();
    put(&mut one);
    let messages = CHUNK_BYTES / one.len();
    (one.repeat(messages), messages)
}

fn published(mut bytes: &[u8]) -> usize {
    let mut messages = 0;
    while let Ok(Parsed::Command { command: Command::Publish(publication), length }) =
        parse(bytes, BOUNDS)
    {
        black_box((publication.subject, publication.tail));
        bytes = &bytes[length..];
        messages += 1;
    }
    messages
}

fn delivered(mut bytes: &[u8]) -> usize {
    let mut messages = 0;
    while let Ok(Heard::Said { said: Said::Message(message), length }) = parse_said(bytes, BOUNDS) {
        black_box((message.sid, message.payload));
        bytes = &bytes[length..];
        messages += 1;
    }
    messages
}

/// Messages appended to an output that is emptied when it is as large as a receive buffer.
fn writing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nats/write");
    group.throughput(Throughput::Elements(1));
    for payload_bytes in [16, 128, 1024] {
        let payload = vec![0x5a; payload_bytes];
        let mut tail = Vec::new();
        mpreg_proto::nats::put_tail(&mut tail, b"", b"", &payload);
        let mut head = Vec::new();
        put_head(&mut head, false, SUBJECT, b"17");
        let mut write = |name: &str, put: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::with_capacity(CHUNK_BYTES);
            group.bench_function(BenchmarkId::new(name, payload_bytes), |b| {
                b.iter(|| {
                    if CHUNK_BYTES - 2048 < out.len() {
                        out.clear();
                    }
                    put(&mut out);
                    black_box(out.len())
                });
            });
        };
        write("parts", &|out| put_message(out, SUBJECT, b"", b"", black_box(&payload), b"17"));
        write("tail", &|out| put_with_tail(out, false, SUBJECT, b"17", black_box(&tail)));
        write("head-and-tail", &|out| {
            out.extend_from_slice(black_box(&head));
            out.extend_from_slice(black_box(&tail));
        });
    }
    group.finish();
}
