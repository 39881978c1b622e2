//! Functions on fabrics of real processes: registered by a client of one node, called by clients of
//! others.
//!
//! Promised times are held eightfold beside other tests, and as they are with `MPREG_BOUNDS=exact`
//! ([`bound`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mpreg_client::{CallError, Client, Function, Route, Trace, Worker};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::function::FunctionId;
use mpreg_tests::live::fabric::{Fabric, Seat, grid};
use mpreg_tests::live::{Launch, Router, bound, program, until};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// In time for any machine: what is late by this has hung.
const PATIENT: Duration = Duration::from_secs(30);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Runtime::new().expect("threads are to be had").block_on(future)
}

async fn client_of(router: &Router) -> Client {
    let url = format!("mpreg://{}", router.bound("native"));
    Client::connect(&url).await.expect("the router serves")
}

/// How often each value was worked on.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<BTreeMap<u64, usize>>>);

impl Log {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: u64) {
        *self.runs().entry(number).or_default() += 1;
    }

    fn runs_of(&self, number: u64) -> usize {
        self.runs().get(&number).copied().unwrap_or(0)
    }
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("a number"))
}

/// Runs `next`, which says the number after its own, after a wait. Ends with its client.
fn run_next(mut worker: Worker, wait: Duration, log: Log) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(job) = worker.next().await {
            let log = log.clone();
            tokio::spawn(async move {
                let number = number_of(job.payload());
                log.note(number);
                sleep(wait).await;
                // A client that was cut off has nobody to say it to.
                _ = job.reply(&(number + 1).to_le_bytes()).await.is_ok();
            });
        }
    })
}

fn next() -> Function<'static> {
    Function { limit: 1024.try_into().expect("not zero"), ..Function::new("next", "1.2.3") }
}

/// Waits until a node knows the function at so many endpoints.
fn wait_known(router: &Router, name: &str, endpoints: usize) {
    until("the function is known", || {
        let (code, body) = router.get(&format!("/functions?name={name}"));
        assert_eq!(code, 200, "{body}");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&body).expect("a list");
        (rows.len() == endpoints).then_some(())
    });
}

#[test]
fn calls_cross_four_clusters_and_all_come_back_right() {
    let fabric = Fabric::start(grid(4, 3, |near, far| near + 1 == far));
    fabric.wait_known();
    let (caller, server) = (fabric.router(2), fabric.router(11));
    block_on(async {
        let service = client_of(server).await;
        let log = Log::default();
        let running = run_next(service.serve(next()).await.unwrap(), Duration::ZERO, log.clone());
        wait_known(caller, "next", 1);
        let client = client_of(caller).await;
        let (mut calls, mut done) = (JoinSet::new(), 0);
        for number in 0..3_000_u64 {
            if 64 <= calls.len() {
                calls.join_next().await.unwrap().unwrap();
                done += 1;
            }
            let client = client.clone();
            calls.spawn(async move {
                let call = client.call("next").version("^1.2").deadline(PATIENT);
                let result = call.send(&number.to_le_bytes()).await.unwrap();
                assert_eq!(number_of(&result.payload), number + 1);
            });
        }
        done += calls.join_all().await.len();
        assert_eq!(done, 3_000);
        assert!((0..3_000).all(|number| log.runs_of(number) == 1), "each ran once");
        for number in 3_000..3_050 {
            check_trace(&traced(&client, number).await, server);
        }
        explain(caller, server);
        // Not on the nodes between, which ran nothing and were asked for nothing.
        for (at, calls, jobs) in [(caller, 3_050, 0), (server, 0, 3_050), (fabric.router(5), 0, 0)]
        {
            let next = "function=\"next\"";
            let counted = |name| counted(at, name, &[next]);
            assert_eq!(counted("mpreg_function_calls_total"), f64::from(calls));
            assert_eq!(counted("mpreg_function_jobs_total"), f64::from(jobs));
        }
        running.abort();
    });
}

/// Who would run it, and each node on the way, asked without a call.
#[track_caller]
fn explain(caller: &Router, server: &Router) {
    let explained = |query: &str| {
        let (code, body) = caller.get(&format!("/trace/call?function=next{query}&timeout_ms=4000"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).expect("an object")
    };
    let page = explained("&version=%5E1");
    assert_eq!(page["endpoints"][0]["verdict"], "chosen", "{page}");
    assert_eq!(
        (&page["endpoints"][0]["distance"], &page["way"]["is_complete"]),
        (&json!(3), &json!(true))
    );
    let hops = page["way"]["hops"].as_array().expect("a list");
    let mut clusters: Vec<&str> = hops.iter().filter_map(|hop| hop["cluster"].as_str()).collect();
    assert_eq!(clusters.len(), hops.len(), "each said where it is: {page}");
    clusters.dedup();
    assert_eq!(clusters, ["c0", "c1", "c2", "c3"], "each once");
    let (last, others) = hops.split_last().expect("some");
    assert_eq!(
        (&last["outcome"], &last["node"]),
        (&json!("reached"), &page["endpoints"][0]["node"])
    );
    assert!(others.iter().all(|hop| hop["outcome"] == "forwarded"), "{page}");
    assert!(
        hops[1..].iter().all(|hop| hop["wire_us"].is_u64() && hop["queue_us"].is_u64()),
        "{page}"
    );
    for (query, code) in [("&version=%5E7", "no_version"), ("&resources=gpu", "no_resource")] {
        let page = explained(query);
        assert_eq!((&page["code"], &page["endpoints"][0]["verdict"]), (&json!(code), &json!(code)));
        assert!(page["way"].is_null(), "{page}");
    }
    assert_eq!(explained("&cluster=c1")["endpoints"][0]["verdict"], "other_cluster");
    assert_eq!(caller.get("/trace/call?function=a..b").0, 400);
    let (_, here) = server.get("/trace/call?function=next");
    let here: serde_json::Value = serde_json::from_str(&here).expect("an object");
    assert_eq!((&here["endpoints"][0]["place"], here["way"].is_null()), (&json!("here"), true));
}

/// Calls `next` and takes the way it went.
async fn traced(client: &Client, number: u64) -> Trace {
    let call = client.call("next").deadline(PATIENT).traced();
    let mut parts = call.stream(&number.to_le_bytes()).await.expect("it is said");
    let result = parts.next().await.expect("one part").expect("a result");
    assert_eq!(number_of(&result.payload), number + 1);
    parts.trace().expect("it was asked for").clone()
}

/// From the first of the four clusters to the last and back, each passed once.
#[track_caller]
fn check_trace(trace: &Trace, server: &Router) {
    let Trace { call, answer, took, ran } = trace;
    let clusters =
        ["c0", "c1", "c2", "c3"].map(|name| name.parse::<ClusterName>().expect("a name").id());
    let mut back = clusters;
    back.reverse();
    assert_eq!((&call.clusters[..], &answer.clusters[..]), (&clusters[..], &back[..]));
    assert_eq!(trace.cluster_hops(), 6);
    for Route { nodes, .. } in [call, answer] {
        let once: BTreeSet<_> = nodes.iter().collect();
        assert_eq!(once.len(), nodes.len(), "{nodes:?}");
        assert!((4..=8).contains(&nodes.len()), "two nodes of a cluster at most: {nodes:?}");
    }
    assert_eq!(call.nodes.first(), answer.nodes.last());
    assert_eq!(call.nodes.last(), answer.nodes.first());
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&server.get("/functions?name=next").1).expect("a list");
    assert_eq!(rows[0]["place"], "here");
    assert_eq!(rows[0]["node"], call.nodes.last().expect("where it ran").to_string());
    assert!(ran <= took, "{ran:?} of {took:?}");
}

/// A metric in sum over the lines that have all these labels.
fn counted(router: &Router, name: &str, labels: &[&str]) -> f64 {
    let (code, page) = router.get("/metrics");
    assert_eq!(code, 200);
    let lines = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let lines = lines.filter_map(|line| line.split_once("} "));
    let these = lines.filter(|(of, _)| labels.iter().all(|label| of.contains(label)));
    these.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}

#[test]
fn each_function_is_counted_and_timed_by_its_name() {
    let router = Launch::of(2).start();
    block_on(async {
        let client = client_of(&router).await;
        for name in ["even", "odd"] {
            let mut worker = client.serve(Function::new(name, "1.0.0")).await.unwrap();
            tokio::spawn(async move {
                while let Some(job) = worker.next().await {
                    sleep(Duration::from_millis(5)).await;
                    match number_of(job.payload()) % 10 {
                        0..=6 => _ = job.reply(b"").await.is_ok(),
                        _ => job.fail("no luck"),
                    }
                }
            });
            wait_known(&router, name, 1);
            for number in 0..30_u64 {
                let result = client.call(name).send(&number.to_le_bytes()).await;
                assert_eq!(result.is_ok(), number % 10 <= 6, "{result:?}");
            }
        }
        let refused = client.call("even").version("^7").send(b"").await;
        assert_eq!(refused.unwrap_err().code(), Some(CallError::NoVersion));
        assert!(client.call("made-up").send(b"").await.is_err());
        let of = |metric: &str, name: &str, label: &str| {
            counted(&router, metric, &[&format!("function=\"{name}\""), label])
        };
        for (name, no_version) in [("even", 1.0), ("odd", 0.0)] {
            let calls = |outcome| of("mpreg_function_calls_total", name, outcome);
            assert_eq!(calls("answered"), 21.0);
            assert_eq!(calls("worker_failed"), 9.0);
            assert_eq!(calls("no_version"), no_version);
            let jobs = |outcome| of("mpreg_function_jobs_total", name, outcome);
            assert_eq!((jobs("done"), jobs("failed")), (21.0, 9.0));
            assert_eq!(of("mpreg_function_jobs_running", name, ""), 0.0);
            let half = of("mpreg_function_job_quantile_seconds", name, "0.5");
            let sum = of("mpreg_function_job_seconds_total", name, "");
            assert!(0.004 < half && 30.0 * 0.005 <= sum, "{half} {sum}");
            let call_half = of("mpreg_function_call_quantile_seconds", name, "0.5");
            assert!(
                half * 0.9 <= call_half,
                "a call takes longer than its job: {call_half} {half}"
            );
        }
        assert_eq!(
            of("mpreg_function_calls_total", "made-up", ""),
            0.0,
            "callers make up no names"
        );
        assert_eq!(of("mpreg_function_calls_total", "(other)", "not_found"), 1.0);
        let (_, listed) = router.get("/functions?name=odd");
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("a list");
        let usage = &listed[0]["usage"];
        assert_eq!(usage["calls_answered"], 21);
        assert_eq!(usage["calls_failed"], json!({ "worker_failed": 9 }));
        assert_eq!((&usage["jobs_failed"], &usage["jobs_in_flight"]), (&json!(9), &json!(0)));
    });
}

#[test]
fn a_job_that_runs_is_shown_until_it_ends() {
    let router = Launch::of(2).start();
    let running = || counted(&router, "mpreg_function_jobs_running", &["function=\"next\""]);
    block_on(async {
        let client = client_of(&router).await;
        let mut worker = client.serve(next()).await.unwrap();
        let caller = client.clone();
        let call = tokio::spawn(async move { caller.call("next").send(b"").await });
        let job = worker.next().await.expect("it is called");
        until("it runs", || (running() == 1.0).then_some(()));
        job.reply(b"").await.unwrap();
        call.await.unwrap().unwrap();
        until("it has ended", || (running() == 0.0).then_some(()));
    });
}

#[test]
fn the_middle_is_killed_and_the_answer_comes_another_way() {
    // 0 - {1, 2} - 3: clusters, of two gateways each.
    let mut fabric =
        Fabric::start(grid(4, 2, |near, far| far - near == 1 && near != 1 || far - near == 2));
    fabric.wait_known();
    block_on(async {
        let service = client_of(fabric.router(6)).await;
        let log = Log::default();
        let wait = Duration::from_millis(500);
        let running = run_next(service.serve(next()).await.unwrap(), wait, log.clone());
        wait_known(fabric.router(0), "next", 1);
        let client = client_of(fabric.router(0)).await;
        let chosen = &fabric.explained(0, "c3").candidates[0];
        let middle = if chosen.exit_cluster == "c1" { 1 } else { 2 };
        let calls: Vec<_> = (0..20_u64)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let call = client.call("next").deadline(PATIENT);
                    (number, call.send(&number.to_le_bytes()).await)
                })
            })
            .collect();
        until("all run", || (0..20).all(|number| log.runs_of(number) == 1).then_some(()));
        let killed = Instant::now();
        for at in [2 * middle, 2 * middle + 1] {
            fabric.kill(at);
        }
        for call in calls {
            let (number, result) = call.await.unwrap();
            assert_eq!(number_of(&result.unwrap().payload), number + 1);
        }
        let (took, promised) = (killed.elapsed(), bound(Duration::from_secs(2)));
        assert!(took <= promised, "{took:?}, promised within {promised:?}");
        assert!((0..20).all(|number| log.runs_of(number) == 1), "each ran once");
        running.abort();
    });
}

#[test]
fn the_cluster_that_runs_it_is_killed_and_no_call_hangs() {
    let mut fabric = Fabric::start(grid(3, 2, |_, _| true));
    fabric.wait_known();
    block_on(async {
        let log = Log::default();
        let wait = Duration::from_millis(200);
        let mut running = Vec::new();
        let mut services = Vec::new();
        for at in [2, 4] {
            let service = client_of(fabric.router(at)).await;
            running.push(run_next(service.serve(next()).await.unwrap(), wait, log.clone()));
            services.push(service);
        }
        wait_known(fabric.router(0), "next", 2);
        let client = client_of(fabric.router(0)).await;
        let deadline = Duration::from_secs(20);
        let (outcomes, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut calls = JoinSet::new();
        for number in 0..400_u64 {
            let (client, outcomes) = (client.clone(), outcomes.clone());
            calls.spawn(async move {
                let call = client.call("next").deadline(deadline);
                let result = call.send(&number.to_le_bytes()).await;
                outcomes.fetch_add(1, Relaxed);
                (number, result)
            });
            if number == 200 {
                for at in [2, 3] {
                    fabric.kill(at);
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
        let results = calls.join_all().await;
        assert_eq!(outcomes.load(Relaxed), 400);
        assert!(started.elapsed() < deadline + Duration::from_secs(10), "none hangs");
        for (number, result) in results {
            assert!(log.runs_of(number) <= 1, "{number} ran more than once");
            match result {
                Ok(value) => assert_eq!(number_of(&value.payload), number + 1),
                Err(error) => {
                    let code = error.code().expect("the router said so");
                    assert_eq!(code, CallError::Unreachable, "{number}: {error}");
                    assert!(error.may_have_run(), "what had not run went to the other cluster");
                }
            }
        }
        running.into_iter().for_each(|running| running.abort());
    });
}

#[test]
fn what_cannot_be_called_is_said_by_its_word() {
    let mut seats = grid(3, 1, |near, far| near + 1 == far);
    seats[0].more = "hop_budget = 1".to_owned();
    let fabric = Fabric::start(seats);
    fabric.wait_known();
    block_on(async {
        let near = client_of(fabric.router(1)).await;
        let far = client_of(fabric.router(2)).await;
        let mut workers = Vec::new();
        let busy = Function { limit: 1.try_into().unwrap(), ..Function::new("busy", "1.0.0") };
        let resources = &["gpu"];
        let picky = Function { resources, ..Function::new("picky", "2.0.0") };
        for function in [busy, picky] {
            workers.push(near.serve(function).await.unwrap());
        }
        let distant = far.serve(Function::new("distant", "1.0.0")).await.unwrap();
        for (name, at) in [("busy", 0), ("picky", 0), ("distant", 0)] {
            wait_known(fabric.router(at), name, 1);
        }
        let client = client_of(fabric.router(0)).await;
        let holder = client.clone();
        let held = tokio::spawn(async move { holder.call("busy").send(b"").await });
        let job = workers[0].next().await.unwrap();
        let refused = async |call: mpreg_client::Call<'_>| {
            let error = call.deadline(Duration::from_secs(5)).send(b"").await.unwrap_err();
            error.code().expect("the router said so").word()
        };
        assert_eq!(refused(client.call("nothing")).await, "not_found");
        assert_eq!(refused(client.call("picky").version("^1")).await, "no_version");
        assert_eq!(refused(client.call("picky").resource("tpu")).await, "no_resource");
        assert_eq!(refused(client.call("busy")).await, "overloaded");
        assert_eq!(refused(client.call("distant")).await, "hop_budget_exhausted");
        assert_eq!(refused(client.call("picky").cluster("c2")).await, "not_found");
        assert_eq!(refused(client.call("picky").cluster("nowhere")).await, "unreachable");
        let late = client.call("picky").deadline(Duration::from_millis(200)).send(b"").await;
        assert_eq!(late.unwrap_err().code().unwrap().word(), "deadline");
        job.fail("no luck");
        let failed = held.await.unwrap().unwrap_err();
        assert_eq!(failed.code().unwrap().word(), "worker_failed");
        assert!(failed.to_string().contains("no luck"), "{failed}");
        drop((workers, distant));
    });
}

#[test]
fn a_worker_that_drains_loses_no_call() {
    let router = Launch::of(2).start();
    block_on(async {
        let log = Log::default();
        let client = client_of(&router).await;
        let wait = Duration::from_millis(5);
        let first = client_of(&router).await;
        let one = run_next(first.serve(next()).await.unwrap(), wait, log.clone());
        let second = client_of(&router).await;
        let two = run_next(second.serve(next()).await.unwrap(), wait, log.clone());
        let mut calls = JoinSet::new();
        for number in 0..1_000_u64 {
            let client = client.clone();
            calls.spawn(async move {
                let result = client.call("next").send(&number.to_le_bytes()).await.unwrap();
                assert_eq!(number_of(&result.payload), number + 1);
            });
            if number == 500 {
                first.drain().await.unwrap();
                first.close().await.unwrap();
            }
            if number % 8 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(calls.join_all().await.len(), 1_000);
        wait_known(&router, "next", 1);
        assert!((0..1_000).all(|number| log.runs_of(number) == 1));
        one.abort();
        two.abort();
    });
}

/// Two nodes of one cluster.
fn pair_of_nodes() -> Vec<Seat> {
    grid(1, 2, |_, _| false)
}

#[test]
fn functions_are_gone_with_their_client_and_names_are_one_to_one() {
    let fabric = Fabric::start(pair_of_nodes());
    fabric.wait_known();
    block_on(async {
        let service = client_of(fabric.router(0)).await;
        let worker = service.serve(next()).await.unwrap();
        wait_known(fabric.router(1), "next", 1);
        let other = client_of(fabric.router(1)).await;
        let false_id = Function { id: Some(FunctionId(7)), ..next() };
        let refused = other.serve(false_id).await;
        assert!(refused.is_err(), "the name stands for another id there");
        drop(worker);
        service.close().await.unwrap();
        wait_known(fabric.router(1), "next", 0);
    });
}

/// A function whose id is 7.
fn seven(name: &str) -> Function<'_> {
    Function { id: Some(FunctionId(7)), ..Function::new(name, "1.0.0") }
}

/// Whichever shard is the home of a name, and whichever node has the id.
#[test]
fn an_id_that_a_mate_has_is_taken_on_every_shard() {
    let mut seats = pair_of_nodes();
    seats.iter_mut().for_each(|seat| seat.shards = 2);
    let fabric = Fabric::start(seats);
    fabric.wait_known();
    block_on(async {
        let service = client_of(fabric.router(0)).await;
        let _worker = service.serve(seven("first")).await.unwrap();
        wait_known(fabric.router(1), "first", 1);
        for number in 0..8 {
            let name = format!("name{number}");
            let other = client_of(fabric.router(1)).await;
            let refused = other.serve(seven(&name)).await;
            assert!(refused.is_err(), "{name}");
        }
    });
}

/// Names have their homes on different shards.
#[test]
fn an_id_has_one_name_on_all_shards_of_a_node() {
    let router = Launch::of(2).start();
    block_on(async {
        let (mut names, mut workers) = (BTreeMap::new(), Vec::new());
        for number in 0..8 {
            let (client, name) = (client_of(&router).await, format!("name{number}"));
            let function = Function { id: Some(FunctionId(7)), ..Function::new(&name, "1.0.0") };
            let served = client.serve(function).await;
            names.insert(name, served.is_ok());
            workers.push((client, served));
        }
        assert!(names["name0"], "nobody had the id before");
        // One that came to its home before the word of another was heard there gives way.
        until("one is left", || {
            let (_, body) = router.get("/functions");
            let rows: Vec<serde_json::Value> = serde_json::from_str(&body).expect("a list");
            let left = rows.iter().map(|row| &row["name"]).collect::<Vec<_>>();
            assert!(!left.is_empty());
            (left == ["name0"]).then_some(())
        });
    });
}

#[test]
fn one_call_in_ten_goes_to_the_new_version_wherever_that_was_said() {
    const CALLS: u64 = 20_000;
    let fabric = Fabric::start(pair_of_nodes());
    fabric.wait_known();
    block_on(async {
        let service = client_of(fabric.router(0)).await;
        let logs = [Log::default(), Log::default()];
        let mut running = Vec::new();
        for (version, log) in ["1.2.0", "1.3.0"].into_iter().zip(&logs) {
            let worker = service.serve(Function { version, ..next() }).await.unwrap();
            running.push(run_next(worker, Duration::ZERO, log.clone()));
        }
        wait_known(fabric.router(1), "next", 2);
        let split = "/split?name=next&weights=1.2.0:90,1.3.0:10";
        assert_eq!(fabric.router(0).ask("PUT", split).0, 204);
        until("it is known", || {
            fabric.router(1).get("/functions").1.contains("\"share\":10").then_some(())
        });
        let client = client_of(fabric.router(1)).await;
        let mut calls = JoinSet::new();
        for number in 0..CALLS {
            if 64 <= calls.len() {
                calls.join_next().await.unwrap().unwrap();
            }
            let client = client.clone();
            calls.spawn(async move {
                client.call("next").send(&number.to_le_bytes()).await.unwrap();
            });
        }
        calls.join_all().await;
        let [old, new] = logs.map(|log| log.runs().len() as u64);
        assert_eq!(old + new, CALLS);
        // Within 1 %: five standard deviations.
        assert!(new.abs_diff(CALLS / 10) <= CALLS / 100, "{new} of {CALLS}");
        assert_eq!(fabric.router(1).ask("DELETE", "/split?name=next").0, 204);
        until("it is over everywhere", || {
            fabric
                .running()
                .iter()
                .all(|&at| !fabric.router(at).get("/functions").1.contains("share"))
                .then_some(())
        });
        running.into_iter().for_each(|running| running.abort());
    });
}

/// A command that runs a function, until it is dropped.
struct Served(Child);

impl Served {
    fn start(router: &Router, arguments: &[&str]) -> Self {
        let url = format!("mpreg://{}", router.bound("native"));
        let mut command = Command::new(program::path());
        command.args(["serve-fn", "--url", &url]).args(arguments);
        Self(command.stdout(Stdio::null()).spawn().expect("the binary runs"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.0.kill().is_ok();
        _ = self.0.wait().is_ok();
    }
}

/// What `mpreg call --json` prints, and its exit code.
fn call(router: &Router, arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let url = format!("mpreg://{}", router.bound("native"));
    let mut command = Command::new(program::path());
    command.args(["call", "--url", &url, "--json"]).args(arguments);
    let output = command.output().expect("the binary runs");
    let said = serde_json::from_slice(&output.stdout);
    (said.unwrap_or(serde_json::Value::Null), output.status.code())
}

#[test]
fn commands_run_and_call_functions() {
    let router = Launch::of(2).start();
    let shout = ["--name", "shout", "--version", "1.10.0", "--", "tr", "a-z", "A-Z"];
    let older = ["--name", "shout", "--version", "1.9.0", "--", "cat"];
    let broken =
        ["--name", "broken", "--version", "1.0.0", "--", "sh", "-c", "echo no luck >&2; exit 3"];
    let slow = ["--name", "slow", "--version", "1.0.0", "--", "sleep", "60"];
    let _running: Vec<Served> = [&shout[..], &older, &broken, &slow]
        .into_iter()
        .map(|arguments| Served::start(&router, arguments))
        .collect();
    for (name, endpoints) in [("shout", 2), ("broken", 1), ("slow", 1)] {
        wait_known(&router, name, endpoints);
    }
    let (said, code) = call(&router, &["shout", "--", "hello"]);
    assert_eq!((&said["result"], code), (&json!("HELLO"), Some(0)));
    let trace = &said["trace"];
    assert_eq!(trace["call"]["nodes"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!((&trace["call"], &trace["cluster_hops"]), (&trace["answer"], &json!(0)));
    assert!(trace["ran_us"].as_u64() <= trace["took_us"].as_u64(), "{said}");
    let older = call(&router, &["shout", "--version", "~1.9", "--", "hello"]);
    assert_eq!((&older.0["result"], older.1), (&json!("hello"), Some(0)));
    let refused = |arguments: &[&str]| {
        let (said, code) = call(&router, arguments);
        assert_eq!(code, Some(1), "{said}");
        let error = &said["error"];
        assert!(error["target"].is_string() && error["path"].is_array(), "{said}");
        let word = |key: &str| error[key].as_str().unwrap().to_owned();
        (word("code"), word("reason"))
    };
    let (code, reason) = refused(&["broken", "--", "x"]);
    assert_eq!(code, "worker_failed");
    assert!(reason.contains("no luck"), "{reason}");
    assert_eq!(refused(&["slow", "--deadline-ms", "300", "--", "x"]).0, "deadline");
    assert_eq!(refused(&["shout", "--version", ">=2", "--", "x"]).0, "no_version");
    assert_eq!(refused(&["nothing", "--", "x"]).0, "not_found");
    let nobody = Command::new(program::path())
        .args(["call", "--url", "mpreg://127.0.0.1:1", "shout", "--", "x"])
        .output()
        .expect("the binary runs");
    assert_eq!(nobody.status.code(), Some(2));
}
