//! Tests of wirings: who hears what, per workload.

use std::fmt::Write;

use clap::ValueEnum;
use expect_test::{Expect, expect};
use mpreg_proto::topic::{Pattern, Topic};

use super::*;
use crate::workload::Dialect;

/// Prints every stream with its topic and audience, and every subscriber with its patterns.
#[track_caller]
fn check(workload: Workload, counts: [usize; 3], want: Expect) {
    let [publishers_count, subscribers_count, topics_wanted] = counts;
    let shape = Shape {
        workload,
        publishers_count,
        subscribers_count,
        topics_wanted,
        dialect: Dialect::Native,
    };
    let wiring = Wiring::new(&shape, "T");
    let mut text = String::new();
    for (ix, stream) in (0..).zip(&wiring.streams) {
        let name = std::str::from_utf8(wiring.name(stream.topic)).unwrap();
        let heard: Vec<_> = wiring.flows_of(ix).collect();
        writeln!(text, "p{} {name} {heard:?}", stream.publisher).unwrap();
        agrees_with_patterns(&wiring, stream, &heard);
    }
    for (subscriber, patterns) in wiring.patterns.iter().enumerate() {
        writeln!(text, "s{subscriber} {}", patterns.join(" ")).unwrap();
    }
    want.assert_eq(&text);
}

/// The audience computed from the shape is the one the subscriptions ask for.
#[track_caller]
fn agrees_with_patterns(wiring: &Wiring, stream: &Stream, heard: &[(u32, usize)]) {
    let topic = Topic::parse(wiring.name(stream.topic)).unwrap();
    for (subscriber, patterns) in (0..).zip(&wiring.patterns) {
        let wants = patterns.iter().any(|p| Pattern::parse(p.as_bytes()).unwrap().matches(topic));
        let flow = wiring.flow(stream, subscriber, None).map(|flow| flow.flow);
        let listed = heard.iter().find(|(member, _)| *member == subscriber).map(|(_, flow)| *flow);
        assert_eq!(flow.is_some(), wants, "{topic} at subscriber {subscriber}");
        assert_eq!(flow, listed);
    }
}

#[test]
fn one_to_one_pairs() {
    check(
        Workload::OneToOne,
        [3, 3, 0],
        expect![[r#"
        p0 load.T.0 [(0, 0)]
        p1 load.T.1 [(1, 1)]
        p2 load.T.2 [(2, 2)]
        s0 load.T.0
        s1 load.T.1
        s2 load.T.2
    "#]],
    );
}

#[test]
fn one_to_one_with_fewer_subscribers_shares_them() {
    check(
        Workload::OneToOne,
        [3, 2, 0],
        expect![[r#"
        p0 load.T.0 [(0, 0)]
        p1 load.T.1 [(1, 1)]
        p2 load.T.2 [(0, 2)]
        s0 load.T.0 load.T.2
        s1 load.T.1
    "#]],
    );
}

#[test]
fn one_to_one_with_more_subscribers_takes_them_in_turn() {
    check(
        Workload::OneToOne,
        [2, 3, 0],
        expect![[r#"
        p0 load.T.0 [(0, 0)]
        p0 load.T.2 [(2, 1)]
        p1 load.T.1 [(1, 2)]
        s0 load.T.0
        s1 load.T.1
        s2 load.T.2
    "#]],
    );
}

#[test]
fn many_to_many_shares_one_topic() {
    check(
        Workload::ManyToMany,
        [2, 3, 0],
        expect![[r#"
        p0 load.T.0 [(0, 0), (1, 1), (2, 2)]
        p1 load.T.0 [(0, 3), (1, 4), (2, 5)]
        s0 load.T.0
        s1 load.T.0
        s2 load.T.0
    "#]],
    );
}

#[test]
fn fan_out_gives_each_publisher_a_topic() {
    check(
        Workload::FanOut,
        [2, 3, 0],
        expect![[r#"
        p0 load.T.0 [(0, 0), (1, 1), (2, 2)]
        p1 load.T.1 [(0, 3), (1, 4), (2, 5)]
        s0 load.T.0 load.T.1
        s1 load.T.0 load.T.1
        s2 load.T.0 load.T.1
    "#]],
    );
}

#[test]
fn neighbouring_topics_go_to_different_subscribers() {
    check(
        Workload::Topics,
        [2, 2, 11],
        expect![[r#"
        p0 load.T.00 [(0, 0)]
        p0 load.T.02 [(1, 1)]
        p0 load.T.04 [(0, 2)]
        p0 load.T.06 [(1, 3)]
        p0 load.T.08 [(0, 4)]
        p0 load.T.10 [(1, 5)]
        p1 load.T.01 [(0, 6)]
        p1 load.T.03 [(1, 7)]
        p1 load.T.05 [(0, 8)]
        p1 load.T.07 [(1, 9)]
        p1 load.T.09 [(0, 10)]
        s0 load.T.00 load.T.01 load.T.04 load.T.05 load.T.08 load.T.09
        s1 load.T.02 load.T.03 load.T.06 load.T.07 load.T.10
    "#]],
    );
}

#[test]
fn wildcards_overlap_and_count_once() {
    check(
        Workload::Wildcard,
        [2, 3, 7],
        expect![[r#"
        p0 load.T.0.0 [(0, 0)]
        p0 load.T.2.0 [(0, 1), (2, 2)]
        p0 load.T.1.1 [(1, 3)]
        p0 load.T.0.2 [(0, 4), (2, 5)]
        p1 load.T.1.0 [(0, 6), (1, 7)]
        p1 load.T.0.1 [(0, 8), (1, 9)]
        p1 load.T.2.1 [(1, 10), (2, 11)]
        s0 load.T.0.* load.T.*.0
        s1 load.T.1.> load.T.*.1
        s2 load.T.2.# load.T.*.2
    "#]],
    );
}

#[test]
fn what_was_sent_follows_from_one_count() {
    let shape = Shape {
        workload: Workload::Topics,
        publishers_count: 2,
        subscribers_count: 1,
        topics_wanted: 6,
        dialect: Dialect::Native,
    };
    let wiring = Wiring::new(&shape, "T");
    let sent: Vec<_> = wiring.sent(1, 8).collect();
    assert_eq!(sent, [(3, 3), (4, 3), (5, 2)]);
}

#[test]
fn gates_are_one_per_subscriber_only_where_all_hear_all() {
    let gates = |workload| {
        let shape = Shape {
            workload,
            publishers_count: 2,
            subscribers_count: 3,
            topics_wanted: 6,
            dialect: Dialect::Native,
        };
        let wiring = Wiring::new(&shape, "T");
        (0..2).map(|publisher| wiring.gates_of(publisher)).collect::<Vec<_>>()
    };
    assert_eq!(gates(Workload::FanOut), [0..3, 3..6]);
    assert_eq!(gates(Workload::Topics), [0..1, 1..2]);
    assert_eq!(gates(Workload::Wildcard), [0..1, 1..2]);
}

/// A copy for each subscription that matches, each told apart from every other.
#[track_caller]
fn has_a_flow_per_subscription(shape: &Shape) {
    let wiring = Wiring::new(shape, "T");
    let mut flows = Vec::new();
    for (ix, stream) in (0..).zip(&wiring.streams) {
        let topic = Topic::parse(wiring.name(stream.topic)).unwrap();
        let mut heard = Vec::new();
        for (subscriber, patterns) in (0..).zip(&wiring.patterns) {
            for (number, pattern) in (0..).zip(patterns) {
                let matches = Pattern::parse(pattern.as_bytes()).unwrap().matches(topic);
                let flow = wiring.flow(stream, subscriber, Some(number)).map(|flow| flow.flow);
                assert_eq!(flow.is_some(), matches, "{shape:?}: {topic} by {pattern}");
                heard.extend(flow.map(|flow| (subscriber, flow)));
            }
            let beyond = patterns.len() as u32;
            assert_eq!(wiring.flow(stream, subscriber, Some(beyond)), None);
        }
        heard.sort_unstable();
        assert_eq!(wiring.flows_of(ix).collect::<Vec<_>>(), heard, "{shape:?}: {topic}");
        flows.extend(heard.into_iter().map(|(_, flow)| flow));
    }
    assert_eq!(flows, (0..wiring.flows_count()).collect::<Vec<_>>(), "{shape:?}");
}

#[test]
fn where_each_subscription_gets_a_copy_each_copy_is_a_flow() {
    let counts = [[1, 1, 1], [3, 3, 7], [2, 5, 9], [5, 2, 20], [3, 4, 24]];
    for workload in Workload::value_variants() {
        for [publishers_count, subscribers_count, topics_wanted] in counts {
            has_a_flow_per_subscription(&Shape {
                workload: *workload,
                publishers_count,
                subscribers_count,
                topics_wanted,
                dialect: Dialect::Nats,
            });
        }
    }
}
