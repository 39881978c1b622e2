//! Tests of reports: their text, their JSON, their logs.

use std::time::{Duration, SystemTime};

use expect_test::expect;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::latency::histogram;

/// A report as of a run that timed one message a microsecond apart, from 1 to `up_to_us`.
pub(crate) fn sample(up_to_us: u64) -> Report {
    let mut intervals = vec![histogram(), histogram()];
    for us in 1..=up_to_us {
        intervals[(us % 2) as usize].saturating_record(us * 1000);
    }
    let recording = Recording {
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        offset: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        intervals,
    };
    Report {
        target: String::from("mpreg://127.0.0.1:4000"),
        workload: Workload::Wildcard,
        connections: 2,
        subscribers: 3,
        stalled: 1,
        topics: 1000,
        payload_bytes: 64,
        frame_bytes: 91,
        rate: Rate::PerSecond(20_000),
        window: None,
        duration_s: 2.0,
        sent: 60_000,
        received: 179_999,
        expected: 180_000,
        faults: Faults { lost: 1, ..Faults::default() },
        unsent: 5,
        no_responders: 0,
        failures: vec![String::from("subscriber 2: closed by the router")],
        throughput_per_s: 59_999.5,
        published_per_s: 20_000.0,
        latency_us: Latency::of(&recording.whole()),
        router_cpu_ns_per_message: Some(1234.5),
        router: Some(RouterUse {
            pid: 77,
            cpus: 0.75,
            busiest_thread: 0.5,
            resident_bytes_start: Some(1 << 20),
            resident_bytes_end: Some(2 << 20),
            resident_bytes_max: Some(3 << 20),
        }),
        generator: GeneratorUse {
            threads: 1,
            cpus: 1.0,
            busy: 0.3,
            is_saturated: false,
            late_p99_us: 3.0,
            late_max_us: 40.0,
            fell_behind: true,
        },
        machine: MachineUse { cpus: 2, others_cpus: 0.02, steal_cpus: 0.01 },
        churn: Some(Churn {
            asked_per_s: 100,
            completed: 290,
            failed: 1,
            failure: Some(String::from("cannot connect")),
        }),
        recording,
    }
}

#[test]
fn text_says_what_was_what_arrived_and_what_disturbed() {
    expect![[r#"
        wildcard to mpreg://127.0.0.1:4000 for 2.0 s
          2 publishers, 3 subscribers and 1 stalled, 1000 topics, 64 B payload (91 B frames), 20 000 messages/s
          messages    sent 60000   expected 180000   received 179999
          verified    lost 1   duplicated 0   reordered 0   corrupted 0   misrouted 0
          UNSENT      5 messages were due and never published
          throughput        60 000 deliveries/s   (20 000 published/s)
          latency µs  p50 500.2   p90 900.1   p99 990.2   p99.9 999.4   p99.99 1000.4   max 1000.4   (1000 timed)
          router            1234.5 ns CPU/message   0.75 CPUs, busiest thread 50 %, 3.0 MiB resident at most
          generator   1 threads, 1.00 CPUs, busy 30 %, late p99 3.0 µs, max 40.0 µs: FELL BEHIND its schedule
          machine     2 CPUs, other processes 0.02, steal 0.01
          churn       290 connections, 1 failed: cannot connect
          FAILED      subscriber 2: closed by the router
    "#]].assert_eq(&sample(1000).to_string());
}

#[test]
fn json_holds_the_keys_scripts_rely_on() {
    let mut report = sample(1000);
    report.failures.clear();
    expect![[r#"
        {
          "target": "mpreg://127.0.0.1:4000",
          "workload": "wildcard",
          "connections": 2,
          "subscribers": 3,
          "stalled": 1,
          "topics": 1000,
          "payload_bytes": 64,
          "frame_bytes": 91,
          "rate": 20000,
          "window": null,
          "duration_s": 2.0,
          "sent": 60000,
          "received": 179999,
          "expected": 180000,
          "lost": 1,
          "duplicated": 0,
          "reordered": 0,
          "corrupted": 0,
          "misrouted": 0,
          "unsent": 5,
          "no_responders": 0,
          "failures": [],
          "throughput_per_s": 59999.5,
          "published_per_s": 20000.0,
          "latency_us": {
            "p50": 500.223,
            "p90": 900.095,
            "p99": 990.207,
            "p999": 999.423,
            "p9999": 1000.447,
            "max": 1000.447,
            "count": 1000
          },
          "router_cpu_ns_per_message": 1234.5,
          "router": {
            "pid": 77,
            "cpus": 0.75,
            "busiest_thread": 0.5,
            "resident_bytes_start": 1048576,
            "resident_bytes_end": 2097152,
            "resident_bytes_max": 3145728
          },
          "generator": {
            "threads": 1,
            "cpus": 1.0,
            "busy": 0.3,
            "is_saturated": false,
            "late_p99_us": 3.0,
            "late_max_us": 40.0,
            "fell_behind": true
          },
          "machine": {
            "cpus": 2,
            "others_cpus": 0.02,
            "steal_cpus": 0.01
          },
          "churn": {
            "asked_per_s": 100,
            "completed": 290,
            "failed": 1,
            "failure": "cannot connect"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn nothing_timed_is_null_and_not_zero() {
    let latency = sample(0).latency_us;
    assert_eq!(latency, Latency::default());
    assert!(serde_json::to_string(&latency).unwrap().contains(r#""p50":null"#));
}

#[test]
fn clean_means_no_fault_no_failure_no_failed_churn() {
    let mut report = sample(10);
    report.churn = None;
    report.failures.clear();
    report.faults = Faults::default();
    assert!(report.is_clean());
    for spoil in [
        (|report| report.faults.lost = 1) as fn(&mut Report),
        |report| report.faults.duplicated = 1,
        |report| report.faults.reordered = 1,
        |report| report.faults.corrupted = 1,
        |report| report.faults.misrouted = 1,
        |report| report.failures.push(String::new()),
        |report| report.churn = Some(Churn { failed: 1, ..Churn::default() }),
    ] {
        let mut spoilt = report.clone();
        spoil(&mut spoilt);
        assert!(!spoilt.is_clean());
    }
}

#[test]
fn an_hlog_reads_back_as_the_histograms_it_was_written_from() {
    let report = sample(1000);
    let mut bytes = Vec::new();
    report.write_hlog(&mut bytes).unwrap();
    let mut sum = histogram();
    let mut starts = Vec::new();
    for entry in IntervalLogIterator::new(&bytes) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            starts.push(interval.start_timestamp().as_secs());
            let packed = base64(interval.encoded_histogram());
            sum.add(Deserializer::new().deserialize::<u32, _>(&mut &packed[..]).unwrap()).unwrap();
        }
    }
    assert_eq!(starts, [1, 2]);
    assert_eq!(sum, report.recording.whole());
}

/// Standard alphabet, as interval logs use.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| alphabet.iter().position(|&each| each == byte));
    let (mut bits, mut count, mut bytes) = (0usize, 0, Vec::new());
    for digit in digits {
        bits = bits << 6 | digit;
        count += 6;
        if 8 <= count {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
