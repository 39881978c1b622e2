//! Services of NATS micro as workers: found by their conventions, called by clients of both protocols.
//!
//! A service here says line by line what libraries say: first its verbs, then its endpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use mpreg_client::{CallError, CallFailed, Client};
use mpreg_tests::live::fabric::{Fabric, grid};
use mpreg_tests::live::nats::{NatsPeer, USUAL, headed, publication};
use mpreg_tests::live::{Launch, Router, until};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use super::options;

/// In time for any machine.
const PATIENT: Duration = Duration::from_secs(30);

/// The subscription that INFO is asked by; those of endpoints come after it.
const ASKED_BY: u32 = 3;

/// An instance of the service `sums`.
struct Micro {
    peer: NatsPeer,
    version: &'static str,
    endpoints: Vec<Value>,
    next: u32,
    questions: usize,
}

/// A message for an endpoint.
#[derive(Debug)]
struct Job {
    subject: String,
    sid: u32,
    reply: String,
    headers: String,
    payload: String,
}

impl Micro {
    fn start(peer: NatsPeer) -> Self {
        let (endpoints, next, questions) = (Vec::new(), ASKED_BY + 1, 0);
        let mut micro = Self { peer, version: "1.2.3", endpoints, next, questions };
        for (sid, subject) in [(1, "$SRV.INFO"), (2, "$SRV.INFO.sums"), (3, "$SRV.INFO.sums.I1")] {
            micro.peer.say(&format!("SUB {subject} {sid}"));
        }
        micro
    }

    fn on(router: &Router, shard: usize) -> Self {
        Self::start(router.nats_on(shard, USUAL))
    }

    /// Adds an endpoint, and says the number of its subscription.
    fn add(&mut self, subject: &str, metadata: Value) -> u32 {
        let sid = self.next;
        self.next += 1;
        self.peer.say(&format!("SUB {subject} q {sid}"));
        let name = subject.replace('.', "-");
        let endpoint = json!({
            "name": name, "subject": subject, "queue_group": "q", "metadata": metadata,
        });
        self.endpoints.push(endpoint);
        sid
    }

    fn info(&self) -> String {
        json!({
            "type": "io.nats.micro.v1.info_response", "name": "sums", "id": "I1",
            "version": self.version, "description": "", "metadata": {},
            "endpoints": self.endpoints,
        })
        .to_string()
    }

    /// The next line that is no question; those are answered.
    fn hear(&mut self) -> String {
        self.hear_within(PATIENT)
    }

    fn hear_within(&mut self, patience: Duration) -> String {
        loop {
            let heard = self.peer.hear_within(patience);
            let Some(rest) = heard.strip_prefix("MSG $SRV.INFO.sums.I1 3 ") else { return heard };
            let reply = rest.split(' ').next().expect("where to answer");
            assert!(reply.starts_with("$MPREG.INFO."), "{heard}");
            self.questions += 1;
            let info = self.info();
            self.peer.publish(reply, info.as_bytes());
        }
    }

    #[track_caller]
    fn job(&mut self) -> Job {
        Self::read(&self.hear())
    }

    #[track_caller]
    fn read(heard: &str) -> Job {
        let (line, body) = heard.split_once('|').unwrap_or_else(|| panic!("{heard}"));
        let words: Vec<&str> = line.split(' ').collect();
        let ["HMSG", subject, sid, reply, head, _] = words[..] else { panic!("{heard}") };
        let (headers, payload) = body.split_at(head.parse().expect("a number"));
        let [subject, reply, headers, payload] =
            [subject, reply, headers, payload].map(str::to_owned);
        Job { subject, sid: sid.parse().expect("a number"), reply, headers, payload }
    }

    /// Answers questions until one was answered that knew of all endpoints.
    #[track_caller]
    fn settle(&mut self) {
        let had = self.questions;
        until("it is asked", || {
            let heard = self.hear_within(Duration::from_millis(20));
            assert_eq!(heard, "nothing");
            (had < self.questions).then_some(())
        });
    }

    /// Answers questions until the functions of the node are as many endpoints.
    #[track_caller]
    fn serve_until_known(&mut self, router: &Router, endpoints: usize) {
        until("functions are known", || {
            assert_eq!(self.hear_within(Duration::from_millis(20)), "nothing");
            (known(router).len() == endpoints).then_some(())
        });
    }

    /// Answers each job in capitals until the connection ends.
    fn run(mut self) -> std::thread::JoinHandle<usize> {
        std::thread::spawn(move || {
            for done in 0.. {
                let heard = self.hear();
                if heard == "closed" || heard.ends_with("stop") {
                    return done;
                }
                let (line, body) = heard.split_once('|').expect("a job");
                let words: Vec<&str> = line.split(' ').collect();
                let payload = &body[words[4].parse().expect("a number")..];
                self.peer.publish(words[3], payload.to_ascii_uppercase().as_bytes());
            }
            unreachable!("it counts on");
        })
    }
}

fn known(router: &Router) -> Vec<Value> {
    let (code, body) = router.get("/functions");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("a list")
}

fn runtime() -> Runtime {
    Runtime::new().expect("threads are to be had")
}

async fn client_of(router: &Router) -> Client {
    let url = format!("mpreg://{}", router.bound("native"));
    Client::connect(&url).await.expect("the router serves")
}

type Called = JoinHandle<Result<mpreg_client::Value, CallFailed>>;

/// A native call under way.
fn call(runtime: &Runtime, client: &Client, name: &'static str, payload: &'static str) -> Called {
    let client = client.clone();
    let call = async move { client.call(name).deadline(PATIENT).send(payload.as_bytes()).await };
    runtime.spawn(call)
}

fn failed(runtime: &Runtime, called: Called) -> (CallError, String, bool) {
    let ended = runtime.block_on(called).expect("nothing panics");
    let error = ended.expect_err("there is no result");
    let code = error.code().expect("the router said so");
    (code, error.to_string(), error.may_have_run())
}

#[test]
fn endpoints_are_functions_from_when_they_are_added() {
    for (shards, on) in [(1, 0), (2, 0), (2, 1)] {
        let router = Launch::of(shards).with_nats().start();
        let (runtime, mut micro) = (runtime(), Micro::on(&router, on));
        micro.settle();
        assert!(known(&router).is_empty(), "it has no endpoints");
        let add = micro.add("sums.add", json!({ "mpreg.concurrency": "1" }));
        let metadata = json!({ "mpreg.function": "mul", "mpreg.resources": "gpu" });
        let mul = micro.add("sums.mul", metadata);
        micro.serve_until_known(&router, 2);
        let rows: BTreeSet<(String, String, String, u64)> = known(&router)
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap().to_owned();
                let resources = row["resources"].to_string();
                (text("name"), text("version"), resources, row["limit"].as_u64().unwrap())
            })
            .collect();
        let row = |name: &str, resources: &str, limit| {
            (name.to_owned(), "1.2.3".to_owned(), resources.to_owned(), limit)
        };
        assert_eq!(rows, [row("sums.add", "[]", 1), row("mul", "[\"gpu\"]", 1024)].into());
        let client = runtime.block_on(client_of(&router));
        let called = call(&runtime, &client, "sums.add", "1 2");
        let job = micro.job();
        assert_eq!((&*job.subject, job.sid, &*job.payload), ("sums.add", add, "1 2"));
        for line in ["Mpreg-Function: sums.add", "Mpreg-Version: 1.2.3", "Mpreg-Deadline-Ms: "] {
            assert!(job.headers.contains(line), "{}", job.headers);
        }
        let (code, ..) = failed(&runtime, call(&runtime, &client, "sums.add", "3"));
        assert_eq!(code, CallError::Overloaded, "it takes one at a time");
        micro.peer.publish(&job.reply, b"3");
        assert_eq!(runtime.block_on(called).unwrap().unwrap().payload, "3");
        let called = call(&runtime, &client, "mul", "x");
        let job = micro.job();
        assert_eq!((&*job.subject, job.sid), ("sums.mul", mul));
        let error = "NATS/1.0\r\nNats-Service-Error: not a number\r\n\
                     Nats-Service-Error-Code: 422\r\n\r\n";
        micro.peer.send(&headed(&job.reply, "", error, ""));
        let (code, text, _) = failed(&runtime, called);
        assert_eq!(code, CallError::WorkerFailed);
        assert!(text.contains("422 not a number"), "{text}");
        // Ordinary requests are what they were.
        let mut other = router.nats_on(0, USUAL);
        other.subscribe(1, "_INBOX.o");
        other.send(&publication("sums.add", "_INBOX.o", b"plain"));
        assert_eq!(micro.hear(), format!("MSG sums.add {add} _INBOX.o 5|plain"));
        micro.peer.publish("_INBOX.o", b"well");
        assert_eq!(other.hear(), "MSG _INBOX.o 1 4|well");
    }
}

#[test]
fn a_job_is_answered_by_the_connection_that_has_it_alone() {
    let router = Launch::of(2).with_nats().start();
    let (runtime, mut micro) = (runtime(), Micro::on(&router, 0));
    micro.add("sums.add", json!(null));
    micro.serve_until_known(&router, 1);
    let client = runtime.block_on(client_of(&router));
    let called = call(&runtime, &client, "sums.add", "x");
    let job = micro.job();
    for shard in [0, 1] {
        let mut forger = router.nats_on(shard, USUAL);
        forger.subscribe(1, "$MPREG.JOB.>");
        forger.publish(&job.reply, b"forged");
        forger.flush();
        let info = micro.info().replace("1.2.3", "6.6.6");
        (1..9).for_each(|n| forger.publish(&format!("$MPREG.INFO.{n}"), info.as_bytes()));
        forger.flush();
    }
    until("it was noticed", || {
        (router.page().sum("mpreg_call_replies_stray_total", &[]) == 2).then_some(())
    });
    micro.peer.publish(&job.reply, b"true");
    assert_eq!(runtime.block_on(called).unwrap().unwrap().payload, "true");
    // In parts as well; and an answer to what is over is nothing.
    let called = call(&runtime, &client, "sums.add", "y");
    micro.peer.publish(&job.reply, b"again");
    let job = micro.job();
    let more = "NATS/1.0\r\nMpreg-Last: false\r\n\r\n";
    micro.peer.send(&headed(&job.reply, "", more, "one "));
    micro.peer.publish(&job.reply, b"two");
    drop(called);
    assert_eq!(known(&router)[0]["version"], "1.2.3");
}

#[test]
fn what_ends_is_no_function_any_more_and_running_jobs_are_answered() {
    for on in [0, 1] {
        let router = Launch::of(2).with_nats().start();
        let (runtime, mut micro) = (runtime(), Micro::on(&router, on));
        let add = micro.add("sums.add", json!(null));
        let mul = micro.add("sums.mul", json!(null));
        micro.serve_until_known(&router, 2);
        let client = runtime.block_on(client_of(&router));
        let called = call(&runtime, &client, "sums.add", "x");
        let job = micro.job();
        micro.peer.say(&format!("UNSUB {add}\r\nPING"));
        micro.endpoints.remove(0);
        assert_eq!(micro.hear(), "PONG");
        let names: Vec<Value> = known(&router).into_iter().map(|row| row["name"].clone()).collect();
        assert_eq!(names, ["sums.mul"]);
        assert_eq!(
            failed(&runtime, call(&runtime, &client, "sums.add", "y")).0,
            CallError::NotFound
        );
        micro.peer.publish(&job.reply, b"late");
        assert_eq!(runtime.block_on(called).unwrap().unwrap().payload, "late");
        // One that is to end after some messages takes no jobs.
        micro.peer.say(&format!("UNSUB {mul} 5\r\nPING"));
        assert_eq!(micro.hear(), "PONG");
        assert!(known(&router).is_empty());
        micro.settle();
        assert!(known(&router).is_empty(), "though it is still offered");
        micro.endpoints.clear();
        micro.add("sums.sub", json!(null));
        micro.add("sums.div", json!(null));
        micro.serve_until_known(&router, 2);
        // With the service all of its endpoints go, and with the connection those of all.
        micro.peer.say(&format!("UNSUB {ASKED_BY}\r\nPING"));
        assert_eq!(micro.hear(), "PONG");
        assert!(known(&router).is_empty());
        micro.peer.say("SUB $SRV.INFO.sums.I1 3");
        micro.serve_until_known(&router, 2);
        let called = call(&runtime, &client, "sums.sub", "x");
        let _job = micro.job();
        drop(micro);
        let (code, _, may_have_run) = failed(&runtime, called);
        assert_eq!((code, may_have_run), (CallError::WorkerFailed, true));
        until("it is gone", || known(&router).is_empty().then_some(()));
    }
}

#[test]
fn a_service_that_drains_loses_no_call() {
    let router = Launch::of(2).with_nats().start();
    let runtime = runtime();
    let stays = {
        let mut micro = Micro::on(&router, 0);
        micro.add("sums.up", json!({ "mpreg.concurrency": "100000" }));
        micro.serve_until_known(&router, 1);
        micro.run()
    };
    let client = runtime.block_on(client_of(&router));
    for round in 0..20 {
        let mut drains = Micro::on(&router, round % 2);
        let sid = drains.add("sums.up", json!({ "mpreg.concurrency": "100000" }));
        drains.serve_until_known(&router, 2);
        let calls = runtime.spawn({
            let client = client.clone();
            async move {
                let mut calls = JoinSet::new();
                for number in 0..200_u32 {
                    let client = client.clone();
                    calls.spawn(async move {
                        let said = format!("a{number}");
                        let result = client.call("sums.up").send(said.as_bytes()).await;
                        assert_eq!(result.unwrap().payload, format!("A{number}"));
                    });
                }
                calls.join_all().await;
            }
        });
        // As a library drains: what comes before the PONG is answered, what comes later nobody hears.
        let answer = |drains: &mut Micro, heard: &str| {
            let (line, body) = heard.split_once('|').expect("a job");
            let words: Vec<&str> = line.split(' ').collect();
            let payload = &body[words[4].parse().expect("a number")..];
            drains.peer.publish(words[3], payload.to_ascii_uppercase().as_bytes());
        };
        let first = drains.hear();
        answer(&mut drains, &first);
        drains.peer.say(&format!("UNSUB {sid}\r\nPING"));
        loop {
            match drains.hear() {
                heard if heard == "PONG" => break,
                heard => answer(&mut drains, &heard),
            }
        }
        // Its answers are taken before its end.
        drains.peer.say("PING");
        assert_eq!(drains.hear(), "PONG");
        drop(drains);
        runtime.block_on(calls).expect("no call is lost");
    }
    drop(router);
    stays.join().expect("it ended with its connection");
}

#[test]
fn a_service_that_says_nothing_is_no_function_until_it_does() {
    let router = Launch::of(1).with_nats().start();
    let mut micro = Micro::on(&router, 0);
    micro.add("sums.add", json!(null));
    micro.add("sums.*", json!({ "mpreg.function": "any" }));
    until("it was waited for", || {
        (router.page().sum("mpreg_micro_unanswered_total", &[]) == 1).then_some(())
    });
    assert!(known(&router).is_empty());
    micro.add("sums.mul", json!(null));
    micro.serve_until_known(&router, 2);
    let refused = router.page().sum("mpreg_micro_refused_total", &[]);
    assert!(0 < refused, "the one with a wildcard");
}

/// Its socket and its queue hold some of them. It reads once one was declined, and is still there.
#[test]
fn jobs_that_find_no_room_are_declined_and_the_service_stays() {
    const CALLS: usize = 64;
    let file = "limits.queue_bytes = 4_194_304\nlimits.queue_bytes_max = 4_194_304";
    let router = Launch::of(2).file(file).with_nats().start();
    let (runtime, mut micro) = (runtime(), Micro::on(&router, 0));
    micro.add("sums.add", json!(null));
    micro.serve_until_known(&router, 1);
    let client = runtime.block_on(client_of(&router));
    let large: Vec<u8> = vec![b'x'; 900_000];
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (client, large) = (client.clone(), large.clone());
        let call = async move { client.call("sums.add").deadline(PATIENT).send(large).await };
        calls.spawn_on(call, runtime.handle());
    }
    let first = runtime.block_on(calls.join_next()).expect("some are under way").unwrap();
    let mut ends = vec![first];
    until("all calls have ended", || {
        let heard = micro.hear_within(Duration::from_millis(20));
        if heard != "nothing" {
            micro.peer.publish(&Micro::read(&heard).reply, b"read");
        }
        ends.extend(std::iter::from_fn(|| calls.try_join_next()).map(Result::unwrap));
        (ends.len() == CALLS).then_some(())
    });
    let (read, declined): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert!(!read.is_empty() && !declined.is_empty(), "some found room, some found none");
    assert!(read.into_iter().all(|answer| answer.unwrap().payload == "read"));
    for error in declined.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.code(), error.may_have_run()), (Some(CallError::Overloaded), false));
    }
    assert_eq!(known(&router).len(), 1);
}

const FILE: &str = r#"
limits.connections_max = 1_000
[[auth.users]]
name = "ann"
password = "p"

[[auth.users]]
name = "service"
password = "p"
[auth.users.permissions]
publish = { deny = [">"] }
subscribe = { allow = ["sums.>", "$SRV.>"] }
"#;

#[test]
fn a_service_may_offer_what_it_may_subscribe_to() {
    let router = Launch::of(2).file(FILE).with_nats().start();
    let runtime = runtime();
    let peer = router.nats_on(1, &options(r#"{"user":"service","pass":"p"}"#));
    let mut micro = Micro::start(peer);
    micro.add("sums.add", json!(null));
    micro.add("sums.other", json!({ "mpreg.function": "payments.all" }));
    micro.serve_until_known(&router, 1);
    let client = runtime.block_on(client_of(&router));
    // It may publish nothing, and answers all the same what it was asked.
    let called = call(&runtime, &client, "sums.add", "x");
    let job = micro.job();
    micro.peer.publish(&job.reply, b"y");
    assert_eq!(runtime.block_on(called).unwrap().unwrap().payload, "y");
    assert_eq!(
        failed(&runtime, call(&runtime, &client, "payments.all", "")).0,
        CallError::NotFound
    );
}

#[test]
fn both_ends_speak_nats_two_clusters_apart() {
    let fabric = Fabric::start(grid(3, 1, |near, far| near + 1 == far));
    fabric.wait_known();
    let mut micro = Micro::start(fabric.client(2));
    micro.add("sums.up", json!(null));
    micro.serve_until_known(fabric.router(0), 1);
    let worker = micro.run();
    let mut caller = fabric.client(0);
    caller.subscribe(1, "_INBOX.c.*");
    until("a way leads there", || {
        caller.send(&publication("$MPREG.CALL.sums.up", "_INBOX.c.0", b"first"));
        let heard = caller.hear();
        let is_first = heard == "MSG _INBOX.c.0 1 5|FIRST";
        assert!(is_first || heard.contains("Mpreg-Error: unreachable"), "{heard}");
        is_first.then_some(())
    });
    for number in 0..100 {
        let (reply, payload) = (format!("_INBOX.c.{number}"), format!("n{number}"));
        caller.send(&publication("$MPREG.CALL.sums.up", &reply, payload.as_bytes()));
    }
    let heard: BTreeSet<String> = (0..100).map(|_| caller.hear()).collect();
    let want = (0..100).map(|n| {
        let payload = format!("N{n}");
        format!("MSG _INBOX.c.{n} 1 {}|{payload}", payload.len())
    });
    assert_eq!(heard, want.collect());
    let headers = "NATS/1.0\r\nMpreg-Cluster: c1\r\n\r\n";
    caller.send(&headed("$MPREG.CALL.sums.up", "_INBOX.c.1", headers, ""));
    let heard = caller.hear();
    assert!(heard.contains("Mpreg-Error: not_found"), "{heard}");
    caller.send(&publication("$MPREG.CALL.sums.up", "", b"stop"));
    assert_eq!(worker.join().expect("it was stopped"), 101);
}
