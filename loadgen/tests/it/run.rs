//! Every workload comes out clean with an honest forwarder, and every mischief shows.

use std::time::Duration;

use mpreg_loadgen::load::{BadLoad, Load, Plan, Rate};
use mpreg_loadgen::report::Report;
use mpreg_loadgen::{Faults, Phase, Workload, run};

use crate::forwarder::{Forwarder, Grant, Mischief, PLENTY};

/// A load short and small enough for a debug build.
fn load(workload: Workload) -> Load {
    Load {
        workload,
        connections: 3,
        subscribers: Some(3),
        duration: 0.3,
        warm_up: 0.1,
        window: Some(16),
        no_spin: true,
        topics: 20,
        ..Load::default()
    }
}

fn plan(load: &Load, forwarder: &Forwarder) -> Plan {
    Plan::new(load, forwarder.url.parse().unwrap(), Some(std::process::id())).unwrap()
}

fn report(load: &Load, mischief: Mischief) -> Report {
    run(&plan(load, &Forwarder::start(mischief)), &mut |_| ()).unwrap()
}

/// The run is clean and every message became `copies` deliveries.
#[track_caller]
fn clean(load: &Load, copies: u64) -> Report {
    let report = report(load, Mischief::None);
    assert!(report.is_clean(), "{report}");
    assert!(100 < report.sent, "sent {}", report.sent);
    assert_eq!(report.expected, report.sent * copies);
    assert_eq!(report.received, report.expected);
    assert!(0.0 < report.throughput_per_s && 0 < report.latency_us.count, "{report}");
    assert!(0.0 < report.router_cpu_ns_per_message.unwrap(), "{report}");
    report
}

#[test]
fn one_to_one() {
    clean(&load(Workload::OneToOne), 1);
}

#[test]
fn one_to_one_with_a_window_of_one() {
    let wide = Load {
        connections: 16,
        subscribers: Some(16),
        window: Some(1),
        ..load(Workload::OneToOne)
    };
    let report = clean(&wide, 1);
    assert_eq!(report.window, Some(1));
    assert!(report.sent / 16 * 15 < report.latency_us.count + report.sent / 2, "all are timed");
}

#[test]
fn many_to_many() {
    clean(&load(Workload::ManyToMany), 3);
}

#[test]
fn fan_out() {
    clean(&Load { connections: 1, subscribers: Some(5), ..load(Workload::FanOut) }, 5);
}

#[test]
fn topics() {
    clean(&load(Workload::Topics), 1);
}

#[test]
fn wildcard_delivers_once_however_many_patterns_match() {
    let report = report(&load(Workload::Wildcard), Mischief::None);
    assert!(report.is_clean(), "{report}");
    assert!(report.sent < report.expected && report.received == report.expected, "{report}");
}

#[test]
fn slow_subscribers_are_neither_waited_for_nor_counted() {
    let slow = Load { stalled: Some(2), ..load(Workload::SlowSubscribers) };
    let report = clean(&slow, 3);
    assert_eq!(report.stalled, 2);
}

#[test]
fn churn_goes_on_beside_the_measured_traffic() {
    let load = Load { churn_rate: Some(100), duration: 1.0, ..load(Workload::Churn) };
    let churn = clean(&load, 1).churn.unwrap();
    // All three ways to end, at least; how many depends on what else the machine does.
    assert!(3 <= churn.completed && churn.failed == 0, "{churn:?}");
}

#[test]
fn request_reply() {
    clean(&load(Workload::RequestReply), 1);
}

#[test]
fn over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let forwarder = Forwarder::at(&dir.path().join("forwarder.sock"));
    // Half a megabyte is more than such a socket takes at once.
    for (workload, payload) in [(Workload::FanOut, 64), (Workload::RequestReply, 500_000)] {
        let load = Load { payload, window: Some(2), ..load(workload) };
        let report = run(&plan(&load, &forwarder), &mut |_| ()).unwrap();
        assert!(report.is_clean() && 10 < report.received, "{report}");
        assert!(report.target.starts_with("mpreg+unix:///"), "{}", report.target);
    }
}

#[test]
fn subscribers_may_be_elsewhere() {
    let (near, far) = (Forwarder::start(Mischief::None), Forwarder::start(Mischief::None));
    let subscribers_at = Some(far.url.parse().unwrap());
    let load = Load { subscribers_at, drain: 0.1, settle: 0.1, ..load(Workload::OneToOne) };
    let report = run(&plan(&load, &near), &mut |_| ()).unwrap();
    assert!(
        0 < report.sent && report.received == 0,
        "nothing leads from one to the other: {report}"
    );
    let other = Some("nats://127.0.0.1:1".parse().unwrap());
    let plan = Plan::new(&Load { subscribers_at: other, ..load }, near.url.parse().unwrap(), None);
    assert_eq!(plan.unwrap_err(), BadLoad::TwoProtocols);
}

#[test]
fn large_and_smallest_payloads() {
    for payload in [16, 17, 300_000] {
        let load = Load { payload, window: None, ..load(Workload::OneToOne) };
        let report = report(&load, Mischief::None);
        assert!(report.is_clean() && 0 < report.received, "{report}");
    }
}

#[test]
fn several_threads_share_the_work_and_the_windows() {
    for workload in [Workload::FanOut, Workload::Topics, Workload::RequestReply] {
        let report = report(&Load { threads: 3, ..load(workload) }, Mischief::None);
        assert!(report.is_clean() && 100 < report.received, "{report}");
    }
}

#[test]
fn a_fixed_rate_is_kept_to_the_message() {
    let rate = Rate::PerSecond(2000);
    let report = clean(&Load { rate, duration: 0.5, ..load(Workload::OneToOne) }, 1);
    assert_eq!(report.sent, 1200, "0.1 s of warm-up and 0.5 s at 2000/s");
    assert_eq!(report.latency_us.count, 1000, "every message of the window is timed");
    assert_eq!(report.unsent, 0);
    let logged: u64 = report.recording.intervals.iter().map(|each| each.len()).sum();
    assert_eq!(logged, 1000);
}

#[test]
fn what_fell_due_in_the_last_turn_is_still_sent() {
    let rate = Rate::PerSecond(100_000);
    let load = Load { rate, warm_up: 0.05, duration: 0.05, ..load(Workload::OneToOne) };
    let report = report(&load, Mischief::None);
    assert_eq!((report.sent, report.unsent), (10_000, 0), "{report}");
}

#[test]
fn a_rate_too_high_is_reported_as_such() {
    let rate = Rate::PerSecond(50_000_000);
    let report = report(&Load { rate, drain: 0.1, ..load(Workload::OneToOne) }, Mischief::None);
    assert!(report.generator.fell_behind, "{report}");
}

#[test]
fn the_window_shrinks_to_what_the_routers_queues_hold() {
    let grant = Grant { queue_bytes: 10_000, ..PLENTY };
    let forwarder = Forwarder::granting(Mischief::None, grant);
    let load = Load { window: Some(10_000), ..load(Workload::FanOut) };
    let report = run(&plan(&load, &forwarder), &mut |_| ()).unwrap();
    let frames = report.window.unwrap() * 3 * report.frame_bytes as u64;
    assert!(report.is_clean() && frames <= 5000 && 4000 < frames, "{report}");
}

#[test]
fn an_observer_sees_the_phases_go_by() {
    let forwarder = Forwarder::start(Mischief::None);
    let load = Load { warm_up: 0.3, duration: 0.5, ..load(Workload::OneToOne) };
    let mut seen = Vec::new();
    let report = run(&plan(&load, &forwarder), &mut |progress| seen.push(*progress)).unwrap();
    assert!(seen.iter().any(|progress| progress.phase == Phase::WarmUp));
    let last = seen.iter().rfind(|progress| progress.phase == Phase::Measuring).unwrap();
    assert!(0 < last.received && last.received <= report.received);
    assert!(last.p50_us.is_some() && last.p50_us <= last.p99_us);
    assert!(Duration::from_millis(700) < last.elapsed && last.total == Duration::from_millis(800));
}

/// The faults of a run of `workload` with a forwarder that does mischief.
#[track_caller]
fn faults(workload: Workload, mischief: Mischief) -> Faults {
    let load = Load { window: Some(64), drain: 0.3, ..load(workload) };
    let report = report(&load, mischief);
    assert!(!report.is_clean(), "{report}");
    assert_eq!(report.faults.lost, report.expected - report.received, "{report}");
    report.faults
}

const ONE_WAY: [Workload; 4] =
    [Workload::OneToOne, Workload::FanOut, Workload::Topics, Workload::Wildcard];

#[test]
fn loss_shows() {
    for workload in ONE_WAY.into_iter().chain([Workload::RequestReply]) {
        let faults = faults(workload, Mischief::Lose(50));
        assert!(0 < faults.lost, "{workload:?} {faults:?}");
        assert_eq!((faults.duplicated, faults.corrupted), (0, 0), "{workload:?} {faults:?}");
    }
}

#[test]
fn duplicates_show() {
    for workload in ONE_WAY.into_iter().chain([Workload::RequestReply]) {
        let faults = faults(workload, Mischief::Duplicate(50));
        assert!(0 < faults.duplicated, "{workload:?} {faults:?}");
        assert_eq!((faults.lost, faults.reordered, faults.corrupted), (0, 0, 0));
    }
}

#[test]
fn disorder_shows() {
    // Of request-reply, requests only: replies have no order among them.
    for workload in [Workload::OneToOne, Workload::FanOut, Workload::RequestReply] {
        let faults = faults(workload, Mischief::Swap(51));
        assert!(0 < faults.reordered, "{workload:?} {faults:?}");
        assert_eq!((faults.duplicated, faults.corrupted), (0, 0), "{workload:?} {faults:?}");
    }
}

#[test]
fn damage_shows() {
    for workload in ONE_WAY.into_iter().chain([Workload::RequestReply]) {
        let faults = faults(workload, Mischief::Corrupt(50));
        assert!(0 < faults.corrupted, "{workload:?} {faults:?}");
        assert_eq!(faults.duplicated, 0, "{workload:?} {faults:?}");
    }
}

#[test]
fn a_closed_connection_ends_the_run_early_and_is_named() {
    let forwarder = Forwarder::start(Mischief::Close(200));
    let load = Load { duration: 60.0, drain: 2.0, ..load(Workload::OneToOne) };
    let report = run(&plan(&load, &forwarder), &mut |_| ()).unwrap();
    assert!(report.sent < 5000, "nothing is published after it, not for 2 s: {report}");
    assert!(!report.is_clean() && report.duration_s < 30.0, "{report}");
    assert!(report.failures[0].starts_with("subscriber "), "{:?}", report.failures);
}

#[test]
fn more_subscriptions_than_granted_is_an_error_that_says_how_many() {
    let grant = Grant { subscriptions_max: 10, ..PLENTY };
    let forwarder = Forwarder::granting(Mischief::None, grant);
    let load = Load { subscribers: Some(1), topics: 11, ..load(Workload::Topics) };
    let error = run(&plan(&load, &forwarder), &mut |_| ()).unwrap_err();
    let want = "needs 11 subscriptions in one session, the router allows 10";
    assert_eq!(error.to_string(), want);
}

#[test]
fn nobody_listening_is_an_error_that_names_the_target() {
    let plan = Plan::new(&load(Workload::OneToOne), "mpreg://127.0.0.1:1".parse().unwrap(), None);
    let error = run(&plan.unwrap(), &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to mpreg://127.0.0.1:1");
}

const EVERY_WORKLOAD: [Workload; 8] = [
    Workload::OneToOne,
    Workload::ManyToMany,
    Workload::FanOut,
    Workload::Topics,
    Workload::Wildcard,
    Workload::SlowSubscribers,
    Workload::Churn,
    Workload::RequestReply,
];

#[test]
fn every_workload_over_nats() {
    for workload in EVERY_WORKLOAD {
        let forwarder = Forwarder::nats(Mischief::None, "");
        let report = run(&plan(&load(workload), &forwarder), &mut |_| ()).unwrap();
        assert!(report.is_clean() && 100 < report.sent, "{report}");
        assert_eq!(report.received, report.expected, "{report}");
    }
}

#[test]
fn payloads_over_nats_have_sizes_of_any_number_of_digits() {
    for payload in [16, 999, 1000, 300_000] {
        let forwarder = Forwarder::nats(Mischief::None, "");
        let load = Load { payload, window: Some(4), ..load(Workload::RequestReply) };
        let report = run(&plan(&load, &forwarder), &mut |_| ()).unwrap();
        assert!(report.is_clean() && 0 < report.received, "{report}");
    }
}

#[test]
fn mischief_over_nats_shows() {
    let faults = |workload, mischief| {
        let load = Load { window: Some(64), drain: 0.3, ..load(workload) };
        let forwarder = Forwarder::nats(mischief, "");
        let report = run(&plan(&load, &forwarder), &mut |_| ()).unwrap();
        assert!(!report.is_clean(), "{report}");
        report.faults
    };
    for workload in ONE_WAY.into_iter().chain([Workload::RequestReply]) {
        assert!(0 < faults(workload, Mischief::Lose(50)).lost, "{workload:?}");
        assert!(0 < faults(workload, Mischief::Duplicate(50)).duplicated, "{workload:?}");
        assert!(0 < faults(workload, Mischief::Corrupt(50)).corrupted, "{workload:?}");
        let misnumbered = faults(workload, Mischief::Misnumber(50));
        assert!(0 < misnumbered.misrouted, "{workload:?} {misnumbered:?}");
    }
    assert!(0 < faults(Workload::FanOut, Mischief::Swap(51)).reordered);
}

#[test]
fn nats_credentials_go_into_connect() {
    let forwarder = Forwarder::nats(Mischief::None, "\"pass\":\"s3@cret\"");
    let with = |user: &str| {
        let url = forwarder.url.replace("://", &format!("://{user}@"));
        let plan = Plan::new(&load(Workload::OneToOne), url.parse().unwrap(), None).unwrap();
        run(&plan, &mut |_| ())
    };
    let report = with("anna:s3%40cret").unwrap();
    assert!(report.is_clean() && !report.target.contains("cret"), "{report}");
    let refused = with("anna:other").unwrap_err();
    let source = std::error::Error::source(&refused).map(ToString::to_string);
    assert!(refused.to_string().starts_with("cannot open a session at nats://127"), "{refused}");
    assert_eq!(source.as_deref(), Some("the router refused: Authorization Violation "));
}
