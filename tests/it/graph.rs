//! Call graphs as users run them: `mpreg graph`, with functions run by processes and by clients, on
//! one router and on fabrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use mpreg_client::{Client, Function, Job, Value, Worker};
use mpreg_fabric::rng::Rng;
use mpreg_tests::live::fabric::{Fabric, grid};
use mpreg_tests::live::{Launch, Router, program, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Tree, json};
use tokio::runtime::Runtime;

mod library;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Runtime::new().expect("threads are to be had").block_on(future)
}

fn url(router: &Router) -> String {
    format!("mpreg://{}", router.bound("native"))
}

async fn client_of(router: &Router) -> Client {
    Client::connect(&url(router)).await.expect("the router serves")
}

/// A process of a test, killed with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().expect("a child of ours can be killed");
            self.0.wait().expect("a child of ours can be waited for");
        }
    }
}

/// `mpreg graph -`, which was given the graph.
fn start(url: &str, arguments: &[&str], graph: &str) -> Running {
    let mut mpreg = Command::new(program::path());
    mpreg.args(["graph", "-", "--url", url]).args(arguments);
    mpreg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(mpreg.spawn().expect("it runs"));
    let mut stdin = running.0.stdin.take().expect("asked for above");
    stdin.write_all(graph.as_bytes()).expect("it reads all of it");
    running
}

/// What it printed, and its exit code.
fn end(mut running: Running) -> (i32, String, String) {
    let (mut out, mut complaint) = (String::new(), String::new());
    running.0.stdout.take().map(|mut from| from.read_to_string(&mut out).expect("text"));
    running.0.stderr.take().map(|mut from| from.read_to_string(&mut complaint).expect("text"));
    let code = running.0.wait().expect("it is our child").code();
    (code.expect("nobody kills it"), out, complaint)
}

/// Runs a graph to its end: exit code, and what `--json` said.
fn run(url: &str, arguments: &[&str], graph: &str) -> (i32, Tree) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let (code, out, complaint) = end(start(url, &arguments, graph));
    let tree = serde_json::from_str(&out);
    (code, tree.unwrap_or_else(|_| panic!("{code}: {out:?} {complaint:?}")))
}

/// Runs a function by a shell's script. Returns once it is served.
fn serve_fn(router: &Router, name: &str, script: &str) -> Running {
    let mut mpreg = Command::new(program::path());
    mpreg.args(["serve-fn", "--name", name, "--version", "1.0.0", "--url", &url(router)]);
    mpreg.args(["--", "sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(mpreg.spawn().expect("it runs"));
    let mut line = String::new();
    let stderr = running.0.stderr.take().expect("asked for above");
    BufReader::new(stderr).read_line(&mut line).expect("it says that it serves");
    assert_eq!(line, format!("mpreg: serving {name} 1.0.0\n"));
    running
}

const DIAMOND: &str = r#"{"commands": [
    {"name": "last", "function": "cat", "args": {"b": {"$ref": "b"}, "c": {"$ref": "c"},
        "as is": {"$literal": {"$ref": "b"}}}},
    {"name": "b", "function": "double", "version": "^1.0", "args": {"$ref": "first.items.1"}},
    {"name": "c", "function": "double", "args": {"$ref": ["first", "a.b"]}},
    {"name": "first", "function": "fetch", "idempotent": true}
]}"#;

#[test]
fn a_diamond_of_processes() {
    let router = Launch::of(2).start();
    let _fetch = serve_fn(&router, "fetch", r#"echo '{"items": [3, 4], "a.b": 5}'"#);
    let _double = serve_fn(&router, "double", "sleep 0.2; read x; echo $((2 * x))");
    let _second = serve_fn(&router, "double", "sleep 0.2; read x; echo $((2 * x))");
    let _cat = serve_fn(&router, "cat", "cat");
    let last = json!({ "b": 8, "c": 10, "as is": { "$ref": "b" } });

    let (code, said) = run(&url(&router), &[], DIAMOND);
    assert_eq!((code, &said["results"]), (0, &json!({ "last": last })), "{said}");
    assert_eq!(said["errors"], json!({}));
    let us = |at: &str| said.pointer(at).and_then(Tree::as_u64).expect("a time");
    for name in ["b", "c"] {
        assert!(200_000 <= us(&format!("/summary/commands/{name}/calling_us")), "{said}");
    }
    let path = &said["summary"]["critical_path"]["commands"];
    assert!(path[0] == "first" && path[2] == "last", "{said}");
    assert!(us("/summary/critical_path/took_us") <= us("/summary/took_us"), "{said}");

    let (code, said) = run(&url(&router), &["--all"], DIAMOND);
    let first = json!({ "items": [3, 4], "a.b": 5 });
    let all = json!({ "first": first, "b": 8, "c": 10, "last": last });
    assert_eq!((code, &said["results"]), (0, &all), "{said}");

    let file = router.path("graph.json");
    fs::write(&file, DIAMOND).expect("the folder is ours");
    let output = Command::new(program::path())
        .arg("graph")
        .arg(&file)
        .env("MPREG_URL", url(&router))
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.starts_with("last: {\"b\": 8"), "{text}");
    assert!(text.contains("the longest way"), "{text}");
}

/// What functions were called with.
type Seen = Arc<Mutex<Vec<Tree>>>;

fn function(name: &str) -> Function<'_> {
    Function { limit: 1024.try_into().expect("not zero"), ..Function::new(name, "1.0.0") }
}

/// Does this with every job, until its client is gone.
fn work<F: Future<Output = ()> + Send + 'static>(
    mut worker: Worker,
    seen: &Seen,
    mut run: impl FnMut(Job, Tree) -> F + Send + 'static,
) {
    let seen = seen.clone();
    tokio::spawn(async move {
        while let Some(job) = worker.next().await {
            let argument: Tree = serde_json::from_slice(job.payload()).unwrap_or(Tree::Null);
            seen.lock().expect("nobody panics with it").push(argument.clone());
            tokio::spawn(run(job, argument));
        }
    });
}

async fn echo(job: Job, argument: Tree) {
    job.reply(Value::json(argument.to_string())).await.expect("the caller waits");
}

#[test]
fn an_error_stops_its_dependants_and_nobody_else() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let fail = |job: Job, _| async move { job.fail("no luck") };
        work(service.serve(function("fail")).await.unwrap(), &seen, fail);
        let graph = json!({ "commands": [
            { "name": "good", "function": "echo", "args": 1 },
            { "name": "bad", "function": "fail", "args": 2 },
            { "name": "after", "function": "echo", "args": [{ "$ref": "bad" }, { "$ref": "good" }] },
            { "name": "last", "function": "echo", "args": { "$ref": "after" } },
            { "name": "other", "function": "echo", "args": [3, { "$ref": "good" }] },
            { "name": "no_field", "function": "echo", "args": { "$ref": "other.x" } },
            { "name": "nobody", "function": "nothing", "args": 4 },
        ]});
        let (code, said) = run(&url(&router), &[], &graph.to_string());
        // What only commands asked for that were never called is still told.
        assert_eq!((code, &said["results"]), (1, &json!({ "other": [3, 1] })), "{said}");
        let errors = &said["errors"];
        let code = |name: &str| errors[name]["code"].as_str().expect("a word");
        assert_eq!(errors.as_object().map(serde_json::Map::len), Some(5), "{said}");
        assert_eq!((code("bad"), &errors["bad"]["reason"]), ("worker_failed", &json!("no luck")));
        assert_eq!(errors["bad"]["may_have_run"], true);
        for name in ["after", "last"] {
            assert_eq!((code(name), &errors[name]["because"]), ("skipped", &json!("bad")));
        }
        assert_eq!(errors["last"]["may_have_run"], false);
        assert_eq!((code("no_field"), code("nobody")), ("unmet", "not_found"));
        let mut seen: Vec<String> = seen.lock().unwrap().iter().map(Tree::to_string).collect();
        seen.sort_unstable();
        assert_eq!(seen, ["1", "2", "[3,1]"]);
    });
}

#[test]
fn what_is_refused_calls_nothing() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let graph = |args: [Tree; 2]| {
            let [first, second] = args;
            let other = json!({ "name": "other", "function": "echo" });
            json!({ "commands": [other,
                { "name": "a", "function": "echo", "args": first },
                { "name": "b", "function": "echo", "args": second },
            ]})
            .to_string()
        };
        let cycle = graph([json!({ "$ref": "b" }), json!([{ "$ref": "a.x" }])]);
        let unknown = graph([json!({ "$ref": "c" }), json!(1)]);
        for (text, word, reason) in [
            (&cycle, "cycle", "cycle: a, b"),
            (&unknown, "unknown_command", "a refers to c, which is no command"),
        ] {
            let refused = json!({ "refused": { "code": word, "reason": reason } });
            assert_eq!(run(&url(&router), &[], text), (1, refused));
        }
        let (code, out, complaint) = end(start(&url(&router), &[], &cycle));
        assert_eq!((code, &*out, &*complaint), (1, "", "mpreg: cycle: a, b\n"));
        assert_eq!(*seen.lock().unwrap(), Vec::<Tree>::new());
        let (code, out, complaint) = end(start("mpreg://127.0.0.1:1", &[], DIAMOND));
        assert!((code, &*out) == (2, "") && complaint.contains("no router"), "{complaint}");
    });
}

/// Holds each job until it is let go.
fn held(worker: Worker, seen: &Seen) -> Arc<Mutex<Vec<Job>>> {
    let jobs = Arc::<Mutex<Vec<Job>>>::default();
    let kept = jobs.clone();
    work(worker, seen, move |job, _| {
        kept.lock().expect("nobody panics with it").push(job);
        std::future::ready(())
    });
    jobs
}

#[test]
fn a_slow_branch_delays_nobody_and_results_are_told_as_they_come() {
    let router = Launch::of(2).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let jobs = held(service.serve(function("slow")).await.unwrap(), &seen);
        let graph = json!({ "commands": [
            { "name": "slow", "function": "slow", "args": 0 },
            { "name": "after", "function": "echo", "args": [{ "$ref": "slow" }, { "$ref": "a" }] },
            { "name": "a", "function": "echo", "args": 1 },
            { "name": "b", "function": "echo", "args": [{ "$ref": "a" }] },
            { "name": "c", "function": "echo", "args": [{ "$ref": "b" }] },
        ]});
        let mut running = start(&url(&router), &["--stream"], &graph.to_string());
        let mut lines = BufReader::new(running.0.stdout.take().expect("asked for")).lines();
        let mut line = || -> Tree {
            serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("an object")
        };
        // The slow one cannot have ended: it is let go below.
        assert_eq!(line(), json!({ "command": "c", "result": [[1]] }));
        let slow = until("the slow one runs", || jobs.lock().unwrap().pop());
        slow.reply(Value::json("7")).await.expect("the caller waits");
        assert_eq!(line(), json!({ "command": "after", "result": [7, 1] }));
        let last = line();
        assert_eq!(last["summary"]["commands"].as_object().map(serde_json::Map::len), Some(5));
        assert!(lines.next().is_none());
        assert_eq!(end(running).0, 0);
    });
}

#[test]
fn interrupted_or_late_it_cancels_what_runs() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        let jobs = held(service.serve(function("slow")).await.unwrap(), &seen);
        let graph = json!({ "commands": [
            { "name": "slow", "function": "slow", "args": 0 },
            { "name": "after", "function": "slow", "args": { "$ref": "slow" } },
        ]});
        for (arguments, word) in
            [(&["--json"][..], "cancelled"), (&["--json", "--deadline-ms", "1000"], "deadline")]
        {
            let running = start(&url(&router), arguments, &graph.to_string());
            let job = until("it runs", || jobs.lock().unwrap().pop());
            if word == "cancelled" {
                kill_process(Pid::from_child(&running.0), Signal::INT).expect("it is our child");
            }
            let (code, out, complaint) = end(running);
            let said: Tree = serde_json::from_str(&out).expect("an object");
            let errors = &said["errors"];
            assert_eq!((code, &errors["slow"]["code"]), (1, &json!(word)), "{said} {complaint}");
            assert_eq!(errors["slow"]["may_have_run"], true);
            assert_eq!(
                (&errors["after"]["may_have_run"], &said["results"]),
                (&json!(false), &json!({}))
            );
            job.withdrawn().await;
        }
        assert_eq!(*seen.lock().unwrap(), [json!(0), json!(0)].to_vec(), "the second never ran");
    });
}

#[test]
fn a_command_is_called_as_it_says() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        let (none, gpu): (&[&str], &[&str]) = (&[], &["gpu"]);
        for (version, resources) in [("1.9.0", none), ("1.10.0", none), ("2.0.0", gpu)] {
            let offer = Function { version, resources, ..function("who") };
            let say = move |job, _| echo(job, json!(version));
            work(service.serve(offer).await.unwrap(), &seen, say);
        }
        let graph = json!({ "commands": [
            { "name": "one", "function": "who", "version": "^1" },
            { "name": "two", "function": "who", "resources": ["gpu"] },
            { "name": "none", "function": "who", "version": "^1", "resources": ["gpu"] },
            { "name": "away", "function": "who", "cluster": "elsewhere" },
        ]});
        let (code, said) = run(&url(&router), &[], &graph.to_string());
        assert_eq!(said["results"], json!({ "one": "1.10.0", "two": "2.0.0" }));
        let word = |name: &str| said["errors"][name]["code"].as_str().expect("a word");
        assert_eq!((code, word("none")), (1, "no_resource"), "{said}");
        assert!(["not_found", "unreachable"].contains(&word("away")), "{said}");
    });
}

#[test]
fn what_may_run_twice_is_tried_elsewhere() {
    let router = Launch::of(1).start();
    block_on(async {
        let seen = Seen::default();
        let [first, second] = [client_of(&router).await, client_of(&router).await];
        let jobs = held(first.serve(function("slow")).await.unwrap(), &seen);
        let graph = json!({ "commands": [
            { "name": "once", "function": "slow", "args": 1 },
            { "name": "again", "function": "slow", "args": 2, "idempotent": true },
        ]});
        let running = start(&url(&router), &["--json"], &graph.to_string());
        until("both run", || (jobs.lock().unwrap().len() == 2).then_some(()));
        work(second.serve(function("slow")).await.unwrap(), &seen, echo);
        first.close().await.unwrap();
        let (code, out, complaint) = end(running);
        let said: Tree = serde_json::from_str(&out).expect("an object");
        assert_eq!((code, &said["results"]), (1, &json!({ "again": 2 })), "{said} {complaint}");
        let once = &said["errors"]["once"];
        assert_eq!((&once["code"], &once["may_have_run"]), (&json!("worker_failed"), &json!(true)));
    });
}

/// What the functions of random graphs do with their argument.
fn mix(argument: &Tree) -> Tree {
    let text = argument.to_string();
    let sum = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    json!({ "list": [text.len(), sum], "of": { "a.b": format!("{sum:x}\"é"), "zero": -0.5 } })
}

/// A command of a random graph; `sources` are indices, and which part of the result.
#[derive(Debug)]
struct Spec {
    sources: Vec<(usize, Part)>,
    is_reference: bool,
    fails: bool,
    cluster: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Whole,
    Number,
    Dotted,
    Nowhere,
}

/// Commands refer to later ones alone.
fn specs(rng: &mut Rng) -> Vec<Spec> {
    let count = 1 + rng.below(14) as usize;
    let one_in = 3 + rng.below(40);
    let spec = |ix: usize| {
        let later = (count - ix - 1) as u32;
        let references = if later == 0 { 0 } else { rng.below(4) };
        let sources: Vec<(usize, Part)> = (0..references)
            .map(|_| {
                let part = match (rng.below(one_in), rng.below(3)) {
                    (0, _) => Part::Nowhere,
                    (_, 0) => Part::Whole,
                    (_, 1) => Part::Number,
                    _ => Part::Dotted,
                };
                (ix + 1 + rng.below(later) as usize, part)
            })
            .collect();
        Spec {
            is_reference: sources.len() == 1 && rng.below(2) == 0,
            sources,
            fails: rng.below(one_in) == 0,
            cluster: Some(rng.below(4)).filter(|&cluster| cluster < 3),
        }
    };
    (0..count).map(spec).collect()
}

fn written(specs: &[Spec]) -> String {
    let command = |(ix, spec): (usize, &Spec)| {
        let reference = |&(source, part): &(usize, Part)| match part {
            Part::Whole => json!({ "$ref": format!("n{source}") }),
            Part::Number => json!({ "$ref": format!("n{source}.list.1") }),
            Part::Dotted => json!({ "$ref": [format!("n{source}"), "of", "a.b"] }),
            Part::Nowhere => json!({ "$ref": format!("n{source}.list.2") }),
        };
        let references: Vec<Tree> = spec.sources.iter().map(reference).collect();
        let args = match spec.is_reference {
            true => references[0].clone(),
            false => {
                json!({ "of": ix, "in": references, "as is": { "$literal": { "$ref": "x" } } })
            }
        };
        json!({
            "name": format!("n{ix}"),
            "function": if spec.fails { "broken" } else { "mix" },
            "cluster": spec.cluster.map_or(String::new(), |cluster| format!("c{cluster}")),
            "args": args,
        })
    };
    json!({ "commands": specs.iter().enumerate().map(command).collect::<Vec<_>>() }).to_string()
}

/// How a command has to end.
#[derive(Debug)]
enum Verdict {
    Value(Tree),
    Failed,
    /// Never called; by one of these words.
    Uncalled(BTreeSet<&'static str>),
}

/// One command after the other, sources first.
fn evaluate(specs: &[Spec]) -> BTreeMap<usize, Verdict> {
    let mut verdicts = BTreeMap::new();
    for (ix, spec) in specs.iter().enumerate().rev() {
        let (mut parts, mut words) = (Vec::new(), BTreeSet::new());
        for (source, part) in &spec.sources {
            match (&verdicts[source], part) {
                (Verdict::Failed | Verdict::Uncalled(_), _) => _ = words.insert("skipped"),
                (Verdict::Value(_), Part::Nowhere) => _ = words.insert("unmet"),
                (Verdict::Value(value), Part::Whole) => parts.push(value.clone()),
                (Verdict::Value(value), Part::Number) => parts.push(value["list"][1].clone()),
                (Verdict::Value(value), Part::Dotted) => parts.push(value["of"]["a.b"].clone()),
            }
        }
        let verdict = match (words.is_empty(), spec.fails) {
            (false, _) => Verdict::Uncalled(words),
            (true, true) => Verdict::Failed,
            (true, false) => Verdict::Value(mix(&match spec.is_reference {
                true => parts.remove(0),
                false => json!({ "of": ix, "in": parts, "as is": { "$ref": "x" } }),
            })),
        };
        verdicts.insert(ix, verdict);
    }
    verdicts
}

#[track_caller]
fn check(specs: &[Spec], told_all: bool, code: i32, said: &Tree) {
    let verdicts = evaluate(specs);
    let is_called = |ix: usize| !matches!(verdicts[&ix], Verdict::Uncalled(_));
    let consumes = |ix: usize, source: usize| specs[ix].sources.iter().any(|&(of, _)| of == source);
    let (mut results, mut errors) = (serde_json::Map::new(), 0);
    for (ix, verdict) in &verdicts {
        let error = said["errors"][format!("n{ix}")]["code"].as_str();
        match verdict {
            Verdict::Value(value) => {
                let is_consumed = (0..*ix).any(|of| is_called(of) && consumes(of, *ix));
                if told_all || !is_consumed {
                    results.insert(format!("n{ix}"), value.clone());
                }
            }
            Verdict::Failed => assert_eq!(error, Some("worker_failed"), "n{ix}: {said}"),
            Verdict::Uncalled(words) => {
                assert!(error.is_some_and(|word| words.contains(word)), "n{ix}: {said}");
            }
        }
        errors += usize::from(!matches!(verdict, Verdict::Value(_)));
    }
    assert_eq!(said["results"], Tree::Object(results));
    assert_eq!(said["errors"].as_object().map(serde_json::Map::len), Some(errors), "{said}");
    assert_eq!(code, i32::from(errors != 0), "{said}");
}

const RANDOM_GRAPHS: u64 = 1000;

#[test]
fn random_graphs_over_three_clusters_are_as_if_run_one_by_one() {
    let fabric = Fabric::start(grid(3, 1, |_, _| true));
    fabric.wait_known();
    block_on(async {
        let seen = Seen::default();
        let mut services = Vec::new();
        for at in 0..3 {
            let service = client_of(fabric.router(at)).await;
            let mixed = |job, argument: Tree| echo(job, mix(&argument));
            work(service.serve(function("mix")).await.unwrap(), &seen, mixed);
            let broken = |job: Job, _| async move { job.fail("broken") };
            work(service.serve(function("broken")).await.unwrap(), &seen, broken);
            services.push(service);
        }
        for (at, name) in (0..3).flat_map(|at| [(at, "mix"), (at, "broken")]) {
            until("all functions are known", || {
                let (_, body) = fabric.router(at).get(&format!("/functions?name={name}"));
                let rows: Vec<Tree> = serde_json::from_str(&body).expect("a list");
                (rows.len() == 3).then_some(())
            });
        }
        let urls: Vec<String> = (0..3).map(|at| url(fabric.router(at))).collect();
        let next = Arc::new(Mutex::new(0..RANDOM_GRAPHS));
        let turns = (0..4).map(|_| {
            let (urls, next) = (urls.clone(), next.clone());
            tokio::task::spawn_blocking(move || {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    let mut rng = Rng::from_seed(seed);
                    let (specs, told_all) = (specs(&mut rng), rng.below(2) == 0);
                    let more: &[&str] = if told_all { &["--all"] } else { &[] };
                    let (code, said) = run(&urls[seed as usize % 3], more, &written(&specs));
                    println!("seed {seed}");
                    check(&specs, told_all, code, &said);
                }
            })
        });
        for turn in turns.collect::<Vec<_>>() {
            turn.await.unwrap();
        }
        assert!(!seen.lock().unwrap().is_empty());
    });
}
