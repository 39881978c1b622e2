//! Which way a call went and its answer came, and how long what took.

use super::*;

const FAR: ClusterId = ClusterId(3);

fn traced(text: &str) -> Request {
    Request { is_traced: true, ..request(text) }
}

fn route(nodes: &[u128], clusters: &[ClusterId]) -> Route {
    let nodes = nodes.iter().copied().map(NodeId).collect();
    Route { nodes, clusters: clusters.to_vec() }
}

/// A message that came through these nodes and clusters.
fn heard(nodes: &[u128], clusters: &[ClusterId], message: Message, text: &str) -> Input {
    let back: Vec<NodeId> = nodes.iter().rev().copied().map(NodeId).collect();
    let from = ReplyWay { origin: NodeId(nodes[0]), cluster: clusters[0], back };
    let (clusters, name, value) = (clusters.to_vec(), sum(), value(text));
    Input::Heard { from, clusters, name, message, value, deadline_left: Duration::from_secs(5) }
}

#[test]
fn a_call_that_stays_says_so() {
    let mut node = Node::new();
    node.give(register(7, 1, "1.0.0"));
    node.call(1, traced("x"));
    node.at(30);
    assert_eq!(node.reply(0, Reply::Done(value("a"))), ["result 1 a"]);
    let (at, took) = (route(&[1], &[OWN]), Duration::from_millis(30));
    let want = Trace { call: at.clone(), answer: at, took, ran: took };
    assert_eq!(node.traces, [want]);
}

#[test]
fn a_result_from_elsewhere_says_both_ways_and_an_untraced_one_neither() {
    for is_traced in [true, false] {
        let mut node = Node::new();
        node.give(entry(2, Some((1, "1.0.0"))));
        node.call(1, Request { is_traced, ..request("x") });
        let Some(Message::Ask(ask)) = node.sent.last().cloned() else { panic!() };
        assert_eq!(ask.is_traced, is_traced);
        node.at(90);
        let call = route(&[1, 4, 2], &[OWN]);
        let ran = Ran { route: call.clone(), took: Duration::from_millis(40) };
        let ran = is_traced.then(|| ran.clone().into());
        let answer = Message::Answer { call: ask.call, part: 0, is_last: true, ran };
        assert_eq!(node.give(heard(&[2, 5], &[OWN], answer, "a")), ["result 1 a"]);
        let (took, ran) = (Duration::from_millis(90), Duration::from_millis(40));
        let want = Trace { call, answer: route(&[2, 5, 1], &[OWN]), took, ran };
        let want = is_traced.then_some(want);
        assert_eq!(node.traces, want.into_iter().collect::<Vec<_>>());
    }
}

/// Said again it is the same, however it was asked again.
#[test]
fn who_runs_it_says_how_the_call_came_with_the_last_part() {
    let mut node = Node::new();
    node.give(register(7, 1, "1.0.0"));
    let call = CallId { origin: NodeId(2), number: 1 << 48 | 1 };
    let ask = Ask {
        call,
        attempt: 0,
        is_idempotent: false,
        is_traced: true,
        life: LIFE,
        version: "1.0.0".parse().unwrap(),
        constraint: Constraint::ANY,
        resources: Resources::default(),
    };
    let ask = Message::Ask(ask.into());
    node.give(heard(&[2, 9, 3], &[FAR, ClusterId(8)], ask.clone(), "x"));
    node.at(50);
    node.reply(0, Reply::Part(value("a")));
    assert!(!node.sent.last().unwrap().is_traced(), "there is more");
    node.at(70);
    node.reply(0, Reply::Done(value("b")));
    let (clusters, took) = ([FAR, ClusterId(8), OWN], Duration::from_millis(70));
    let ran = Ran { route: route(&[2, 9, 3, 1], &clusters), took };
    assert_eq!(ran.route.cluster_hops(), 2);
    let want = Message::Answer { call, part: 1, is_last: true, ran: Some(ran.into()) };
    assert_eq!(node.sent.last(), Some(&want));
    node.at(80);
    node.give(heard(&[2, 4], &[FAR], ask, "x"));
    assert_eq!(node.sent.last(), Some(&want));
}

/// What is kept for it is counted, and freed.
#[test]
fn a_route_that_is_kept_takes_room() {
    let kept = |is_traced| {
        let mut node = Node::new();
        node.give(register(7, 1, "1.0.0"));
        let call = CallId { origin: NodeId(2), number: 1 << 48 | 1 };
        let (version, constraint) = ("1.0.0".parse().unwrap(), Constraint::ANY);
        let (attempt, is_idempotent, resources) = (0, false, Resources::default());
        let life = LIFE;
        let ask =
            Ask { call, attempt, is_idempotent, is_traced, life, version, constraint, resources };
        node.give(heard(&[2, 9, 3], &[FAR], Message::Ask(ask.into()), "x"));
        node.reply(0, Reply::Done(value("a")));
        let held = node.calls.held_bytes();
        node.at(5000);
        node.is_empty();
        held
    };
    assert!(kept(false) + route(&[2, 9, 3, 1], &[FAR, OWN]).bytes() < kept(true));
}

#[test]
fn calls_and_jobs_are_measured_by_their_end() {
    let mut node = Node::new();
    node.give(register(7, 3, "1.0.0"));
    for number in 1..=3 {
        node.call(number, request("x"));
    }
    node.at(10);
    node.reply(0, Reply::Part(value("a")));
    assert_eq!(node.measured, [], "there is more");
    node.reply(0, Reply::Done(value("b")));
    node.at(20);
    node.reply(1, Reply::Failed { text: "no".into() });
    node.at(5000);
    node.reply(2, Reply::Done(value("late")));
    node.call(4, Request { constraint: "^7".parse().unwrap(), ..request("x") });
    let (ms, job) = (Duration::from_millis, |is_failed| Measured::Job { is_failed });
    let failed = |error| Measured::Call(Some(error));
    let want = [
        (job(false), ms(10)),
        (Measured::Call(None), ms(10)),
        (job(true), ms(20)),
        (failed(CallError::WorkerFailed), ms(20)),
        (failed(CallError::Deadline), ms(5000)),
        (job(false), ms(5000)),
        (failed(CallError::NoVersion), ms(0)),
    ];
    assert_eq!(node.measured, want);
    node.give(Input::Ended(SessionId(7)));
    assert_eq!(node.measured.len(), want.len(), "it had nothing left");
}
