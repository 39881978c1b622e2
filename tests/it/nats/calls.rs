//! NATS clients that call functions: of native workers, with each way a call can end.

use std::future::Future;
use std::time::Duration;

use mpreg_client::{Client, Function, Value, Worker};
use mpreg_tests::live::nats::{NatsPeer, USUAL, headed, publication};
use mpreg_tests::live::{Launch, Router, until};
use tokio::runtime::Runtime;

use super::options;

const FILE: &str = r#"
limits.connections_max = 1_000
[[auth.users]]
name = "ann"
password = "p"

[[auth.users]]
name = "bob"
password = "p"
[auth.users.permissions]
publish = { allow = ["$MPREG.CALL.up"] }
subscribe = { allow = ["_INBOX.>"] }
"#;

/// Workers on a connection of their own, each run by one task.
struct Native {
    runtime: Runtime,
    client: Client,
}

impl Native {
    fn of(router: &Router) -> Self {
        let runtime = Runtime::new().expect("threads are to be had");
        let url = format!("mpreg://{}", router.bound("native"));
        let client = runtime.block_on(Client::connect(&url)).expect("the router serves");
        Self { runtime, client }
    }

    fn serve<F>(&self, function: Function<'_>, run: impl FnOnce(Worker) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let worker = self.runtime.block_on(self.client.serve(function)).expect("it is free");
        self.runtime.spawn(run(worker));
    }

    /// `up`, which says what it hears in capitals, as it came.
    fn serve_up(&self) {
        self.serve(function("up", "1.2.3"), |mut worker| async move {
            while let Some(job) = worker.next().await {
                let encoding = job.encoding();
                let payload = job.payload().to_ascii_uppercase().into();
                let said = job.reply(Value { encoding, payload }).await;
                said.expect("its client is there");
            }
        });
    }
}

fn function<'a>(name: &'a str, version: &'a str) -> Function<'a> {
    Function { limit: 64.try_into().expect("not zero"), ..Function::new(name, version) }
}

/// A caller whose inbox is its subscription 1.
fn caller(router: &Router, shard: usize) -> NatsPeer {
    let mut peer = router.nats_on(shard, USUAL);
    peer.subscribe(1, "_INBOX.c.*");
    peer
}

/// Calls with header lines, and the payload `x`.
fn call(peer: &mut NatsPeer, name: &str, lines: &str) {
    let headers = format!("NATS/1.0\r\n{lines}\r\n\r\n");
    peer.send(&headed(&format!("$MPREG.CALL.{name}"), "_INBOX.c.1", &headers, "x"));
}

/// What it hears is an error: its code, its word, and whether it may have run.
#[track_caller]
fn hear_error(peer: &mut NatsPeer) -> (u16, String, bool) {
    let heard = peer.hear();
    assert!(heard.starts_with("HMSG _INBOX.c.1 1 "), "{heard}");
    let said = |name: &str| {
        let line = heard.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{heard} has no {name}")).trim().to_owned()
    };
    assert!(!said("Nats-Service-Error:").is_empty() && heard.ends_with("\r\n\r\n"), "{heard}");
    let code = said("Nats-Service-Error-Code:").parse().expect("a number");
    (code, said("Mpreg-Error:"), said("Mpreg-May-Have-Run:") == "true")
}

#[test]
fn a_request_is_a_call_and_its_answer_the_result() {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let native = Native::of(&router);
        native.serve_up();
        for shard in 0..shards {
            let mut peer = caller(&router, shard);
            peer.send(&publication("$MPREG.CALL.up", "_INBOX.c.1", b"abc"));
            assert_eq!(peer.hear(), "MSG _INBOX.c.1 1 3|ABC");
            let lines = "Mpreg-Version: ^1.2\r\nMpreg-Encoding: json\r\nMpreg-Idempotent: true";
            call(&mut peer, "up", lines);
            let json = "NATS/1.0\r\nMpreg-Encoding: json\r\n\r\n";
            assert_eq!(peer.hear(), format!("HMSG _INBOX.c.1 1 {} {}|{json}X", 34, 35));
            // Nobody is told: it has no reply subject.
            peer.send(&publication("$MPREG.CALL.up", "", b"abc"));
            peer.send(&publication("$MPREG.CALL.nothing", "", b"abc"));
            peer.flush();
            // As old libraries ask: one answer, and the subscription is over.
            peer.say("SUB old 2\r\nUNSUB 2 1");
            peer.send(&publication("$MPREG.CALL.up", "old", b"a"));
            assert_eq!(peer.hear(), "MSG old 2 1|A");
            peer.send(&publication("old", "_INBOX.c.1", b"a"));
            assert!(peer.hear().contains(" 503\r\n"), "nobody subscribes to it any more");
        }
        let in_all = u64::try_from(shards).unwrap();
        until("the one without a reply is over", || {
            let page = router.page();
            let of_all = page.sum("mpreg_calls_answered_total", &[]);
            (of_all == 4 * in_all && page.sum("mpreg_calls_open", &[]) == 0).then_some(())
        });
    }
}

#[test]
fn every_error_has_its_code_and_its_word() {
    let router = Launch::of(2).with_nats().start();
    let native = Native::of(&router);
    let busy = Function { limit: 1.try_into().unwrap(), ..Function::new("busy", "1.0.0") };
    native.serve(busy, |mut worker| async move {
        while let Some(job) = worker.next().await {
            job.withdrawn().await;
            job.reply(b"").await.unwrap();
        }
    });
    native.serve(function("fails", "2.0.0"), |mut worker| async move {
        while let Some(job) = worker.next().await {
            job.fail("no luck\r\nat all");
        }
    });
    for shard in 0..2 {
        let mut peer = caller(&router, shard);
        let mut refused = |name: &str, lines: &str| {
            call(&mut peer, name, lines);
            hear_error(&mut peer)
        };
        let word = |code, word: &str, may_have_run| (code, word.to_owned(), may_have_run);
        assert_eq!(refused("nothing", ""), word(404, "not_found", false));
        assert_eq!(refused("fails", "Mpreg-Version: ^1"), word(404, "no_version", false));
        assert_eq!(refused("fails", "Mpreg-Resource: gpu"), word(404, "no_resource", false));
        assert_eq!(refused("fails", "Mpreg-Cluster: c9"), word(503, "unreachable", false));
        assert_eq!(refused("fails", ""), word(500, "worker_failed", true));
        assert_eq!(refused("a..b", ""), word(400, "malformed", false));
        assert_eq!(refused("fails", "Mpreg-Deadline-Ms: soon"), word(400, "malformed", false));
        assert_eq!(refused("fails", "Mpreg-Hedge-After-Ms: 5"), word(400, "malformed", false));
        assert_eq!(refused("busy", "Mpreg-Deadline-Ms: 100"), word(504, "deadline", true));
        until("its worker has answered", || {
            (router.page().sum("mpreg_call_jobs", &[]) == 0).then_some(())
        });
        let mut holder = caller(&router, 1 - shard);
        call(&mut holder, "busy", "Mpreg-Deadline-Ms: 60000");
        until("it runs", || (router.page().sum("mpreg_call_jobs", &[]) == 1).then_some(()));
        assert_eq!(refused("busy", ""), word(503, "overloaded", false));
        // The end of a connection ends its calls.
        drop(holder);
        until("it is withdrawn", || (router.page().sum("mpreg_call_jobs", &[]) == 0).then_some(()));
    }
    // Who takes no headers could not tell an error from a result.
    let router = Launch::of(1).with_nats().start();
    let mut plain = router.nats_on(0, &options(r#"{"headers":false,"no_responders":false}"#));
    plain.subscribe(1, "_INBOX.c.*");
    plain.send(&publication("$MPREG.CALL.nothing", "_INBOX.c.1", b""));
    plain.flush();
}

#[test]
fn a_result_in_parts_is_for_who_asks_for_it() {
    let router = Launch::of(1).with_nats().start();
    let native = Native::of(&router);
    native.serve(function("count", "1.0.0"), |mut worker| async move {
        while let Some(mut job) = worker.next().await {
            job.part(b"1").await.unwrap();
            job.part(b"2").await.unwrap();
            if job.payload() == b"wait" {
                job.withdrawn().await;
            }
            job.reply(b"3").await.unwrap();
        }
    });
    let mut peer = caller(&router, 0);
    call(&mut peer, "count", "Mpreg-Stream: true");
    for (part, is_last) in [(1, false), (2, false), (3, true)] {
        let headers = format!("NATS/1.0\r\nMpreg-Last: {is_last}\r\n\r\n");
        let (head, all) = (headers.len(), headers.len() + 1);
        assert_eq!(peer.hear(), format!("HMSG _INBOX.c.1 1 {head} {all}|{headers}{part}"));
    }
    // Later than anybody here waits.
    let headers = "NATS/1.0\r\nMpreg-Deadline-Ms: 600000\r\n\r\n";
    peer.send(&headed("$MPREG.CALL.count", "_INBOX.c.1", headers, "wait"));
    assert_eq!(hear_error(&mut peer), (400, "malformed".to_owned(), true));
    until("its worker is told", || (router.page().sum("mpreg_call_jobs", &[]) == 0).then_some(()));
    peer.flush();
    assert_eq!(router.page().sum("mpreg_calls_open", &[]), 0);
}

#[test]
fn nobody_has_the_node_publish_where_they_may_not() {
    for shards in [1, 2] {
        let router = Launch::of(shards).file(FILE).with_nats().start();
        let native = Native::of(&router);
        native.serve_up();
        let user = |name: &str, shard| {
            router.nats_on(shard, &options(&format!(r#"{{"user":"{name}","pass":"p"}}"#)))
        };
        let (mut ann, mut bob) = (user("ann", 0), user("bob", shards - 1));
        ann.subscribe(1, "secret");
        bob.subscribe(1, "_INBOX.c.*");
        bob.send(&publication("$MPREG.CALL.down", "_INBOX.c.1", b"x"));
        let refusal = "-ERR 'Permissions Violation for Publish to \"$MPREG.CALL.down\"'";
        assert_eq!(bob.hear(), refusal);
        bob.send(&publication("$MPREG.CALL.up", "secret", b"x"));
        bob.send(&publication("$MPREG.CALL.up", "_INBOX.c.1", b"x"));
        assert_eq!(bob.hear(), "MSG _INBOX.c.1 1 1|X", "which may be answered");
        ann.flush();
        // One who may is answered where somebody else listens.
        let mut other = user("ann", shards - 1);
        other.send(&publication("$MPREG.CALL.up", "secret", b"y"));
        assert_eq!(ann.hear(), "MSG secret 1 1|Y");
        other.send(&publication("$MPREG.CALL.up", "mpreg.fabric.x", b"y"));
        other.flush();
    }
}

#[test]
fn verbose_clients_hear_that_a_call_was_taken() {
    let router = Launch::of(1).with_nats().start();
    let mut peer = router.nats_on(0, &options(r#"{"verbose":true}"#));
    peer.say("SUB _INBOX.c.* 1");
    assert_eq!(peer.hear(), "+OK");
    peer.send(&publication("$MPREG.CALL.nothing", "_INBOX.c.1", b"abc"));
    assert_eq!(peer.hear(), "+OK");
    assert_eq!(hear_error(&mut peer).0, 404);
    // What is not for the node is a message like any other.
    peer.say("SUB $MPREG.> 2");
    assert_eq!(peer.hear(), "+OK");
    for subject in ["$MPREG.OTHER", "$MPREG.JOB.x"] {
        peer.publish(subject, b"z");
        assert_eq!(peer.hear(), "+OK");
        assert_eq!(peer.hear(), format!("MSG {subject} 2 1|z"));
    }
}

/// The time a call may take is that of the caller, not of the default.
#[test]
fn a_call_ends_by_its_deadline() {
    let router = Launch::of(1).with_nats().start();
    let native = Native::of(&router);
    native.serve(function("hangs", "1.0.0"), |mut worker| async move {
        let mut jobs = Vec::new();
        while let Some(job) = worker.next().await {
            jobs.push(job);
        }
    });
    let mut peer = caller(&router, 0);
    let started = std::time::Instant::now();
    call(&mut peer, "hangs", "Mpreg-Deadline-Ms: 300");
    assert_eq!(hear_error(&mut peer).1, "deadline");
    let took = started.elapsed();
    assert!(Duration::from_millis(290) <= took && took < Duration::from_secs(8), "{took:?}");
}

/// Its commands run on native workers; the report comes as one message, or its events as several.
#[test]
fn a_graph_is_run_for_who_asks_by_nats() {
    let router = Launch::of(2).with_nats().start();
    let native = Native::of(&router);
    native.serve_up();
    let mut peer = caller(&router, 0);
    let commands = r#""commands": [
        {"name": "b", "function": "up", "args": {"$ref": "a"}},
        {"name": "a", "function": "up", "args": "x"}]"#;
    let ask = |peer: &mut NatsPeer, graph: &str, lines: &str| {
        let headers = format!("NATS/1.0\r\n{lines}\r\n\r\n");
        peer.send(&headed("$MPREG.CALL.mpreg.graph", "_INBOX.c.1", &headers, graph));
    };
    ask(&mut peer, &format!("{{{commands}}}"), "Mpreg-Encoding: json");
    let heard = peer.hear();
    assert!(heard.contains("Mpreg-Encoding: json\r\n"), "{heard}");
    assert!(heard.contains(r#"{"results":{"b":"X"},"errors":{},"summary":"#), "{heard}");
    let streamed = format!(r#"{{"all": true, "stream": true, {commands}}}"#);
    ask(&mut peer, &streamed, "Mpreg-Encoding: json\r\nMpreg-Stream: true");
    for (is_last, want) in [
        (false, r#"{"command":"a","result":"X"}"#),
        (false, r#"{"command":"b","result":"X"}"#),
        (true, r#"{"summary":"#),
    ] {
        let heard = peer.hear();
        assert!(heard.contains(want), "{heard}");
        assert!(heard.contains(&format!("Mpreg-Last: {is_last}\r\n")), "{heard}");
    }
    // Who does not take parts is told so, and what runs is withdrawn: it would for ten minutes.
    native.serve(function("held", "1.0.0"), |mut worker| async move {
        while let Some(job) = worker.next().await {
            job.withdrawn().await;
            job.fail("nobody waits");
        }
    });
    let held = r#"{"all": true, "stream": true, "commands": [
        {"name": "b", "function": "held", "args": {"$ref": "a"}},
        {"name": "a", "function": "up", "args": "x"}]}"#;
    ask(&mut peer, held, "Mpreg-Encoding: json\r\nMpreg-Deadline-Ms: 600000");
    assert_eq!(hear_error(&mut peer), (400, "malformed".to_owned(), true));
    until("nothing is left of it", || {
        let left =
            ["mpreg_call_graphs", "mpreg_call_jobs"].map(|name| router.page().sum(name, &[]));
        (left == [0, 0]).then_some(())
    });
    let cycle = r#"{"commands": [{"name": "a", "function": "up", "args": {"$ref": "a"}}]}"#;
    ask(&mut peer, cycle, "Mpreg-Encoding: json");
    assert_eq!(hear_error(&mut peer), (400, "malformed".to_owned(), false));
}
