//! The NATS edge of real routers: what its clients are told, and what they share with native ones.

mod auth;
mod both;
mod calls;
mod carried;
mod carrier;
mod command;
mod flow;
mod permission;
mod services;

use mpreg_tests::live::Launch;
use mpreg_tests::live::nats::{NatsPeer, USUAL};

/// CONNECT with one option changed.
fn options(changed: &str) -> String {
    let mut all: serde_json::Value = serde_json::from_str(USUAL).expect("JSON");
    let changed: serde_json::Value = serde_json::from_str(changed).expect("JSON");
    let changed = changed.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(changed);
    all.to_string()
}

/// Does `test` with two clients on each pair of shards of one and of two.
#[track_caller]
fn on_all_shards(test: impl Fn(&mut NatsPeer, &mut NatsPeer)) {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        for (first, second) in (0..shards).flat_map(|a| (0..shards).map(move |b| (a, b))) {
            let [mut one, mut other] = [first, second].map(|on| router.nats_on(on, USUAL));
            test(&mut one, &mut other);
        }
    }
}

/// So many lines, in whatever order they came.
#[track_caller]
fn hear_sorted(peer: &mut NatsPeer, count: usize) -> Vec<String> {
    let mut heard: Vec<String> = (0..count).map(|_| peer.hear()).collect();
    heard.sort_unstable();
    heard
}
