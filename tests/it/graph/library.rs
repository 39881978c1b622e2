//! Call graphs as programs run them: calls of `mpreg.graph`, by the client library and byte by byte.

use std::time::Duration;

use mpreg_client::{CallError, CallFailed, GraphEvents, ServeError, Why};
use mpreg_fabric::limits::GraphBounds;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::frame::{self, Answer, Frame, ResourceNames, Rpc};
use mpreg_proto::function::Resources;
use mpreg_proto::limits::{CALL_NUMBER_MAX, PAYLOAD_BYTES_MAX};
use mpreg_tests::live::peer::{Peer, Wish};

use super::*;

async fn next(events: &mut GraphEvents) -> Tree {
    let event = events.next().await.expect("more comes").expect("it runs");
    serde_json::from_str(&event).expect("an object")
}

async fn report(client: &Client, graph: &Tree) -> Tree {
    let report = client.graph(graph.to_string()).send().await.expect("it runs");
    serde_json::from_str(&report).expect("an object")
}

async fn refused(client: &Client, graph: &str) -> CallFailed {
    client.graph(graph.to_owned()).send().await.expect_err("it is refused")
}

/// Two commands, the second of which takes the first one's result.
fn pair(first: &str, second: &str) -> Tree {
    json!({ "commands": [
        { "name": "first", "function": first, "args": 1 },
        { "name": "second", "function": second, "args": [{ "$ref": "first" }] },
    ]})
}

fn with(mut graph: Tree, option: &str) -> Tree {
    graph[option] = json!(true);
    graph
}

#[test]
fn events_come_as_they_happen_and_the_summary_last() {
    let router = Launch::of(2).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let jobs = held(service.serve(function("slow")).await.unwrap(), &seen);
        // Whatever the shard of the client and those of the names.
        for _ in 0..8 {
            let client = client_of(&router).await;
            let graph = with(with(pair("echo", "slow"), "stream"), "all").to_string();
            let mut events = client.graph(graph).events().await.unwrap();
            assert_eq!(next(&mut events).await, json!({ "command": "first", "result": 1 }));
            let slow = until("the second runs", || jobs.lock().unwrap().pop());
            slow.reply(Value::json("2")).await.unwrap();
            assert_eq!(next(&mut events).await, json!({ "command": "second", "result": 2 }));
            let summary = next(&mut events).await;
            let path = &summary["summary"]["critical_path"]["commands"];
            assert_eq!(path, &json!(["first", "second"]), "{summary}");
            let hops = &summary["summary"]["commands"]["second"]["cluster_hops"];
            assert_eq!(hops, &json!(0), "it ran where it was asked for");
            assert!(events.is_over() && events.next().await.is_none());
            let said = report(&client, &pair("echo", "echo")).await;
            assert_eq!(said["results"], json!({ "second": [1] }), "told are those of the end");
            let graph = Value::json(pair("echo", "echo").to_string());
            let mut parts = client.call("mpreg.graph").traced().stream(graph).await.unwrap();
            parts.next().await.unwrap().unwrap();
            let trace = parts.trace().expect("it was asked for");
            assert!(trace.call == trace.answer && trace.call.nodes.len() == 1, "{trace:?}");
            client.close().await.unwrap();
        }
    });
}

/// Commands run two clusters away.
#[test]
fn the_summary_says_how_many_clusters_were_crossed() {
    let fabric = Fabric::start(grid(3, 1, |near, far| near + 1 == far));
    fabric.wait_known();
    block_on(async {
        let (service, seen) = (client_of(fabric.router(2)).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        until("the function is known", || {
            fabric.router(0).get("/functions?name=echo").1.contains("remote").then_some(())
        });
        let client = client_of(fabric.router(0)).await;
        let said = report(&client, &pair("echo", "echo")).await;
        assert_eq!(said["results"], json!({ "second": [1] }), "{said}");
        for name in ["first", "second"] {
            let hops = &said["summary"]["commands"][name]["cluster_hops"];
            assert_eq!(hops, &json!(4), "two links there and two back: {said}");
        }
    });
}

#[test]
fn a_cancelled_graph_says_what_it_had_and_runs_no_further() {
    let router = Launch::of(2).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let jobs = held(service.serve(function("slow")).await.unwrap(), &seen);
        let client = client_of(&router).await;
        let mut graph = with(pair("echo", "slow"), "all");
        graph["commands"]
            .as_array_mut()
            .expect("a list")
            .push(json!({ "name": "third", "function": "echo", "args": { "$ref": "second" } }));
        let mut events = client.graph(graph.to_string()).events().await.unwrap();
        let job = until("it runs", || jobs.lock().unwrap().pop());
        events.cancel();
        let said = next(&mut events).await;
        assert_eq!(said["results"], json!({ "first": 1 }), "{said}");
        let errors = &said["errors"];
        assert_eq!(errors["second"]["code"], "cancelled", "{said}");
        assert_eq!(errors["second"]["may_have_run"], true);
        assert_eq!(errors["third"]["may_have_run"], false);
        job.withdrawn().await;
        // Dropped, it is cancelled too.
        let events = client.graph(graph.to_string()).events().await.unwrap();
        let job = until("it runs", || jobs.lock().unwrap().pop());
        drop(events);
        job.withdrawn().await;
        // So it is when the client goes.
        let events = client.graph(graph.to_string()).events().await.unwrap();
        let job = until("it runs", || jobs.lock().unwrap().pop());
        client.close().await.unwrap();
        job.withdrawn().await;
        drop(events);
        assert_eq!(seen.lock().unwrap().len(), 6, "two of three ran, each time");
        until("nothing is left", || {
            let (_, metrics) = router.get("/metrics");
            let of = |name: &str| {
                let lines = metrics.lines().filter(|line| line.starts_with(name));
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
            };
            (of("mpreg_call_graphs{") + of("mpreg_call_graphs_held_bytes{") == 0
                && metrics.contains("mpreg_call_graphs{"))
            .then_some(())
        });
    });
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_runs() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let client = client_of(&router).await;
        let cycle = json!({ "commands": [
            { "name": "free", "function": "echo" },
            { "name": "a", "function": "echo", "args": { "$ref": "b" } },
            { "name": "b", "function": "echo", "args": { "$ref": "a" } },
        ]});
        let unknown = json!({ "commands": [
            { "name": "free", "function": "echo" },
            { "name": "a", "function": "echo", "args": { "$ref": "b" } },
        ]});
        let nested = json!({ "commands": [{ "name": "a", "function": "mpreg.graph" }] });
        for (graph, word, reason) in [
            (cycle.to_string(), "cycle", "cycle: a, b"),
            (unknown.to_string(), "unknown_command", "a refers to b, which is no command"),
            (nested.to_string(), "bad_function", "command \"a\": a graph runs no other graph"),
            (r#"{"commands": 1}"#.to_owned(), "malformed", "line 1 column 14"),
        ] {
            let failed = refused(&client, &graph).await;
            let refusal = failed.graph_refusal().expect("it says why");
            assert!(refusal.word == word && refusal.reason.contains(reason), "{refusal:?}");
            assert_eq!((failed.code(), failed.may_have_run()), (Some(CallError::Malformed), false));
        }
        let graph = json!({ "commands": [{ "name": "a", "function": "echo" }] }).to_string();
        let call = || client.call("mpreg.graph");
        for (call, code) in [
            (call().version("^2"), CallError::NoVersion),
            (call().resource("gpu"), CallError::NoResource),
            (call().cluster("elsewhere"), CallError::NotFound),
        ] {
            let failed = call.send(Value::json(graph.clone())).await.unwrap_err();
            assert_eq!(failed.code(), Some(code), "{failed}");
            assert!(!failed.may_have_run());
        }
        assert!(seen.lock().unwrap().is_empty());
        let said = call().version("^1").send(Value::json(graph)).await.unwrap();
        assert_eq!(said.encoding, Encoding::Json);
    });
}

#[test]
fn names_that_routers_run_are_nobodys() {
    let router = Launch::of(2).start();
    block_on(async {
        let client = client_of(&router).await;
        for name in ["mpreg.graph", "mpreg.other", "mpreg.a.b"] {
            let refused = client.serve(Function::new(name, "1.0.0")).await.unwrap_err();
            let ServeError::Refused { why, .. } = refused else { panic!("{refused}") };
            assert_eq!(why, Why::Reserved, "{name}");
        }
        client.serve(Function::new("mpregs.graph", "1.0.0")).await.unwrap();
        client.serve(Function::new("mpreg", "1.0.0")).await.unwrap();
    });
}

#[test]
fn a_connection_runs_so_many_graphs_at_a_time() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        let jobs = held(service.serve(function("slow")).await.unwrap(), &seen);
        let [client, other] = [client_of(&router).await, client_of(&router).await];
        let graph = json!({ "commands": [{ "name": "a", "function": "slow" }] });
        let mut running = Vec::new();
        for _ in 0..GraphBounds::SHARD.graphs_per_session_max {
            running.push(client.graph(graph.to_string()).events().await.unwrap());
        }
        let busy = refused(&client, &graph.to_string()).await;
        assert_eq!((busy.code(), busy.may_have_run()), (Some(CallError::Overloaded), false));
        assert!(busy.graph_refusal().is_none(), "there is nothing wrong with it");
        let mut others = other.graph(graph.to_string()).events().await.unwrap();
        until("all run", || (jobs.lock().unwrap().len() == running.len() + 1).then_some(()));
        // It came last.
        let job = jobs.lock().unwrap().pop().expect("it runs");
        job.reply(Value::json("1")).await.unwrap();
        assert_eq!(next(&mut others).await["results"], json!({ "a": 1 }));
        let job = jobs.lock().unwrap().remove(0);
        job.reply(Value::json("2")).await.unwrap();
        assert_eq!(next(&mut running[0]).await["results"], json!({ "a": 2 }));
        running[0] = client.graph(graph.to_string()).events().await.unwrap();
        until("it runs", || (jobs.lock().unwrap().len() == running.len()).then_some(()));
    });
}

#[test]
fn a_function_that_answers_in_parts_is_an_error_of_its_command() {
    let router = Launch::of(2).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        work(service.serve(function("echo")).await.unwrap(), &seen, echo);
        let withdrawn = Seen::default();
        let heard = withdrawn.clone();
        let parts = move |mut job: Job, _| {
            let heard = heard.clone();
            async move {
                job.part("one").await.expect("the router waits");
                job.withdrawn().await;
                heard.lock().expect("nobody panics with it").push(json!("withdrawn"));
            }
        };
        work(service.serve(function("parts")).await.unwrap(), &seen, parts);
        let client = client_of(&router).await;
        let mut graph = pair("parts", "echo");
        graph["commands"][1]["args"] = json!(2);
        // Nobody waits so long for a word of its deadline.
        let graph = client.graph(graph.to_string()).deadline(Duration::from_secs(600));
        let said: Tree = serde_json::from_str(&graph.send().await.unwrap()).expect("an object");
        assert_eq!(said["errors"]["first"]["code"], "streamed", "{said}");
        assert_eq!(said["results"], json!({ "second": 2 }));
        until("nobody waits for the other parts", || withdrawn.lock().unwrap().pop());
    });
}

#[test]
fn results_that_do_not_fit_together_come_one_by_one() {
    let router = Launch::of(1).start();
    block_on(async {
        let (service, seen) = (client_of(&router).await, Seen::default());
        let large = |job: Job, _| async move {
            let text = "x".repeat(PAYLOAD_BYTES_MAX - 100);
            job.reply(text).await.expect("the caller waits");
        };
        work(service.serve(function("large")).await.unwrap(), &seen, large);
        let client = client_of(&router).await;
        let graph = json!({ "commands": [
            { "name": "a", "function": "large" }, { "name": "b", "function": "large" },
        ]});
        let said = report(&client, &graph).await;
        let errors = &said["errors"];
        let both = (&errors["a"]["code"], &errors["b"]["code"]);
        assert_eq!(both, (&json!("too_large"), &json!("too_large")));
        let graph = with(graph, "stream").to_string();
        let mut events = client.graph(graph).events().await.unwrap();
        for _ in 0..2 {
            let event = next(&mut events).await;
            let text = event["result"].as_str().map(str::len);
            assert_eq!(text, Some(PAYLOAD_BYTES_MAX - 100));
        }
        assert!(next(&mut events).await["summary"].is_object());
    });
}

fn graph_call(number: u64, deadline_ms: u32, name: &str, graph: &str, to: &mut Peer) {
    let mut room = Vec::new();
    let call = frame::Call {
        number,
        deadline_ms,
        hedge_after_ms: 0,
        is_idempotent: false,
        is_traced: false,
        encoding: Encoding::Json,
        cluster: "",
        name,
        constraint: "",
        resources: ResourceNames::write(&Resources::default(), &mut room),
        payload: graph.as_bytes(),
    };
    to.say(Frame::Rpc(Rpc::Call(call)));
}

/// The number of the call that a result or failure is of, and which.
fn answer(from: &mut Peer) -> (u64, Result<Tree, CallError>) {
    match from.frame() {
        Some(Frame::Rpc(Rpc::Result { answer: Answer { number, payload, .. }, .. })) => {
            (number, Ok(serde_json::from_slice(payload).expect("JSON")))
        }
        Some(Frame::Rpc(Rpc::CallFailed(failed))) => (failed.number, Err(failed.code)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_meddles_with_commands_by_their_number() {
    let router = Launch::of(1).start();
    let seen = Seen::default();
    let running = Runtime::new().expect("threads are to be had");
    let (jobs, _service) = running.block_on(async {
        let service = client_of(&router).await;
        (held(service.serve(function("slow")).await.unwrap(), &seen), service)
    });
    let mut peer = Peer::connect(&router.tcp(), Wish::default());
    let graph = json!({ "commands": [{ "name": "a", "function": "slow" }] }).to_string();
    graph_call(7, 0, "mpreg.graph", &graph, &mut peer);
    let job = until("it runs", || jobs.lock().unwrap().pop());
    graph_call(7, 0, "mpreg.graph", &graph, &mut peer);
    assert_eq!(answer(&mut peer), (7, Err(CallError::Malformed)), "it is under way");
    // The first graph of a shard, and its first command.
    let command = CALL_NUMBER_MAX + 1;
    for name in ["slow", "mpreg.graph"] {
        graph_call(command, 0, name, &graph, &mut peer);
        assert_eq!(answer(&mut peer), (command, Err(CallError::Malformed)));
    }
    peer.say(Frame::Rpc(Rpc::Cancel { number: command }));
    peer.say(Frame::Ping { token: 1 });
    assert_eq!(peer.frame(), Some(Frame::Pong { token: 1 }), "nothing was cancelled");
    running.block_on(job.reply(Value::json("3"))).unwrap();
    let (number, said) = answer(&mut peer);
    assert_eq!((number, &said.unwrap()["results"]), (7, &json!({ "a": 3 })));
    // What a router is told takes its deadline from the call.
    graph_call(7, 300, "mpreg.graph", &graph, &mut peer);
    let job = until("it runs", || jobs.lock().unwrap().pop());
    let (_, said) = answer(&mut peer);
    assert_eq!(said.unwrap()["errors"]["a"]["code"], "deadline");
    let withdrawn = async { tokio::time::timeout(Duration::from_secs(10), job.withdrawn()).await };
    running.block_on(withdrawn).expect("it hears of it");
}
