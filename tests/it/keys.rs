//! Keys that routes are signed with: the next one takes over while messages flow, and the last is void.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use mpreg_router::admin::fabric::RouteRow;
use mpreg_router::reload::Reloaded;
use mpreg_tests::live::laboratory::{Laboratory, mpreg};
use mpreg_tests::live::nats::{NatsPeer, USUAL};
use mpreg_tests::live::{Launch, Router, until};

const NAMES: [&str; 3] = ["near", "mid", "far"];

/// Three clusters of a gateway each, in a row.
struct Row {
    laboratory: Laboratory,
    nodes: Vec<(PathBuf, Router)>,
}

impl Row {
    fn start() -> Self {
        let laboratory = Laboratory::default();
        let mut nodes: Vec<(PathBuf, Router)> = Vec::new();
        for cluster in NAMES {
            let (credentials, _) = laboratory.issue(cluster, cluster, "gateway");
            let join = nodes.last().map(|(_, last)| format!("'{}'", last.bound("peer")));
            let more = format!("join = [{}]\nallow_clusters = ['*']", join.unwrap_or_default());
            let launch = Launch::of(1).with_nats().as_node(&credentials, cluster, &more);
            nodes.push((credentials, launch.start()));
        }
        Self { laboratory, nodes }
    }

    fn router(&self, at: usize) -> &Router {
        &self.nodes[at].1
    }

    /// `mpreg ca WORD` for a cluster, with its gateway's credentials as where to put what comes of it.
    #[track_caller]
    fn ca(&self, word: &str, at: usize, more: &[&str]) -> String {
        let (authority, out) = (self.laboratory.authority(), &self.nodes[at].0);
        let [dir, out] = [&authority, out].map(|path| path.to_str().expect("paths are text"));
        let words = ["ca", word, "--dir", dir, "--cluster", NAMES[at], "--out", out];
        let said = mpreg(&[&words, more].concat());
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).expect("serials are text")
    }

    #[track_caller]
    fn reload(&self, at: usize) -> Reloaded {
        let admin = self.router(at).ready["admin"].as_str().expect("it has an admin surface");
        let said = mpreg(&["policy", "reload", "--json", "--admin", admin]);
        let text = String::from_utf8(said.stdout).expect("answers are text");
        assert!(said.status.success(), "{text}");
        serde_json::from_str(&text).expect("the answer is one of a reload")
    }

    fn has_way(&self, at: usize, to: &str) -> bool {
        let (_, body) = self.router(at).get(&format!("/routes/explain?to={to}"));
        let row: RouteRow = serde_json::from_str(&body).expect("a way");
        row.candidates.iter().any(|way| way.source == "routes" && way.verdict == "chosen")
    }

    /// Everybody has announced ways to both others.
    fn settle(&self) {
        until("all have ways", || {
            let has_all = |at: usize| {
                NAMES.iter().filter(|to| **to != NAMES[at]).all(|to| self.has_way(at, to))
            };
            (0..3).all(has_all).then_some(())
        });
    }

    fn refused(&self, at: usize) -> u64 {
        let page = self.router(at).page();
        let reasons = ["signature_unknown_key", "signature_revoked", "signature_forged"];
        let label = |reason: &str| format!("reason=\"{reason}\"");
        let of = |reason| page.sum("mpreg_routes_rejected_total", &[&label(reason)]);
        reasons.into_iter().map(of).sum()
    }
}

/// Publishes numbers until told to stop; how many.
fn publish_on(mut publisher: NatsPeer, is_over: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut number = 0;
        while !is_over.load(Relaxed) {
            publisher.publish("k.x", number.to_string().as_bytes());
            number += 1;
            // Below what links carry, so that nothing is dropped for want of room.
            thread::sleep(Duration::from_micros(500));
        }
        publisher.flush();
        number
    })
}

#[test]
fn keys_rotate_and_are_revoked_under_traffic_without_a_loss() {
    let row = Row::start();
    row.settle();
    let mut subscriber = row.router(2).nats_on(0, USUAL);
    subscriber.subscribe(1, "k.*");
    let mut publisher = row.router(0).nats_on(0, USUAL);
    until("the far cluster hears", || {
        publisher.publish("k.y", b"try");
        (subscriber.hear_within(Duration::from_millis(20)) != "nothing").then_some(())
    });
    while subscriber.hear_within(Duration::from_millis(50)) != "nothing" {}
    let is_over = Arc::new(AtomicBool::new(false));
    let publishing = publish_on(publisher, Arc::clone(&is_over));
    let mut next = 0;
    let mut hear_up_to = |count: u64| {
        while next < count {
            let said = subscriber.hear();
            let body = said.split_once('|').map(|(_, body)| body.to_owned());
            assert_eq!(body, Some(next.to_string()), "all, in order, once: {said}");
            next += 1;
        }
        next
    };
    for round in 1..=3 {
        for (at, name) in NAMES.iter().enumerate() {
            assert_eq!(row.ca("rotate", at, &[]), format!("{}\n", round + 1));
            let reloaded = row.reload(at);
            assert_eq!(reloaded.signs_with, Some(round + 1));
            let [key] = &reloaded.keys[..] else { panic!("{reloaded:?}") };
            assert_eq!(
                (key.cluster.as_str(), key.serial, key.is_revoked),
                (*name, round + 1, false)
            );
            let heard = hear_up_to(0);
            hear_up_to(heard + 50);
        }
        row.settle();
        for at in 0..3 {
            row.ca("revoke", at, &["--serial", &round.to_string()]);
            let reloaded = row.reload(at);
            assert!(reloaded.keys.iter().any(|key| key.serial == round && key.is_revoked));
            assert_eq!(reloaded.signs_with, None);
            let heard = hear_up_to(0);
            hear_up_to(heard + 50);
            (0..3).for_each(|at| assert_eq!(row.refused(at), 0, "true updates are taken"));
        }
    }
    row.settle();
    is_over.store(true, Relaxed);
    let published = publishing.join().expect("the publisher has no reason to fail");
    assert_eq!(hear_up_to(published), published);
    assert_eq!(subscriber.hear_within(Duration::from_millis(50)), "nothing");
}

#[test]
fn a_key_that_would_not_be_believed_does_not_sign() {
    let row = Row::start();
    row.settle();
    let (credentials, router) = &row.nodes[1];
    let before: Vec<_> = ["routes.key", "routes.auth"]
        .map(|name| fs::read(credentials.join(name)).expect("gateways have a key"))
        .into();
    row.ca("rotate", 1, &[]);
    row.ca("rotate", 1, &[]);
    assert_eq!(row.reload(1).signs_with, Some(3));
    // An old copy comes back.
    for (name, bytes) in ["routes.key", "routes.auth"].iter().zip(&before) {
        fs::write(credentials.join(name), bytes).expect("the folder is ours");
    }
    let (code, body) = router.ask("POST", "/policy/reload");
    assert_eq!(code, 422);
    assert!(body.contains("a key of routes is not taken: rollback"), "{body}");
    row.ca("revoke", 1, &["--serial", "3"]);
    row.ca("rotate", 1, &[]);
    let reloaded = row.reload(1);
    assert_eq!(reloaded.signs_with, Some(4));
    row.settle();
}
