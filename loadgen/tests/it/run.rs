//! Every workload comes out clean with an honest forwarder, and every mischief shows.

use mpreg_loadgen::load::{Load, Plan, Rate};
use mpreg_loadgen::report::Report;
use mpreg_loadgen::{Faults, Workload, run};

use crate::forwarder::{Forwarder, Mischief};

/// Half a second of a load small enough for a debug build.
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

fn report(load: &Load, mischief: Mischief) -> Report {
    let forwarder = Forwarder::start(mischief);
    let plan = Plan::new(load, forwarder.url.parse().unwrap(), Some(std::process::id())).unwrap();
    run(&plan, &mut |_| ()).unwrap()
}

/// The run is clean and every message became `copies` deliveries.
#[track_caller]
fn clean(load: &Load, copies: u64) -> Report {
    let report = report(load, Mischief::None);
    assert_eq!((report.faults, report.failures.as_slice()), (Faults::default(), [].as_slice()));
    assert!(report.is_clean());
    assert!(100 < report.sent, "sent {}", report.sent);
    assert_eq!(report.expected, report.sent * copies);
    assert_eq!(report.received, report.expected);
    assert!(0.0 < report.throughput_per_s && 0 < report.latency_us.count);
    report
}

#[test]
fn one_to_one() {
    clean(&load(Workload::OneToOne), 1);
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
fn request_reply() {
    clean(&load(Workload::RequestReply), 1);
}

#[test]
fn a_fixed_rate_is_kept() {
    let rate = Rate::PerSecond(2000);
    let report = clean(&Load { rate, duration: 0.5, ..load(Workload::OneToOne) }, 1);
    assert_eq!(report.sent, 1200, "0.1 s of warm-up and 0.5 s at 2000/s");
    assert_eq!(report.latency_us.count, 1000, "every message of the window is timed");
}
