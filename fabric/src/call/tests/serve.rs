//! The side of the worker, rule by rule.

use super::*;
use crate::limits::CALL_ANSWER_OVERHEAD_BYTES;

/// With a worker of this limit.
fn serving(limit: u32) -> Node {
    let mut node = Node::new();
    node.give(register(7, limit, "1.0.0"));
    node
}

/// The `count`th call of node 2.
fn id(count: u64) -> CallId {
    CallId { origin: NodeId(2), number: 1 << 48 | count }
}

fn asked(count: u64) -> Ask {
    Ask {
        call: id(count),
        attempt: 0,
        is_idempotent: false,
        is_traced: false,
        life: LIFE,
        version: "1.0.0".parse().unwrap(),
        constraint: Constraint::ANY,
        resources: Resources::default(),
    }
}

fn ask(node: &mut Node, count: u64) -> Vec<String> {
    node.hear(2, Message::Ask(asked(count).into()), "x")
}

fn poll(node: &mut Node, count: u64, have: u32) -> Vec<String> {
    node.hear(2, Message::Poll { call: id(count), have }, "")
}

const DONE: fn(&str) -> Reply = |text| Reply::Done(value(text));
const PART: fn(&str) -> Reply = |text| Reply::Part(value(text));

#[test]
fn a_call_runs_once_and_says_the_same_again() {
    let mut node = serving(2);
    assert_eq!(ask(&mut node, 1), ["invoke 7 1.0.0 x"]);
    assert_eq!(ask(&mut node, 1), ["accepted to 2"]);
    assert_eq!(poll(&mut node, 1, 0), ["accepted to 2"]);
    assert_eq!(node.reply(0, DONE("a")), ["answer to 2 0. a"]);
    assert_eq!(ask(&mut node, 1), ["answer to 2 0. a"]);
    assert_eq!(poll(&mut node, 1, 0), ["answer to 2 0. a"]);
    assert_eq!((node.jobs.len(), node.count_of(Counted::DuplicateAsk)), (1, 2));
    assert_eq!(node.at(5000), [""; 0]);
    node.is_empty();
    assert_eq!(ask(&mut node, 1), ["failed to 2 unreachable perhaps"], "after its deadline too");
    assert_eq!(poll(&mut node, 1, 0), ["failed to 2 unreachable perhaps"]);
}

#[test]
fn only_what_takes_long_is_accepted_with_a_word() {
    let mut node = serving(2);
    ask(&mut node, 1);
    ask(&mut node, 2);
    node.at(19);
    node.reply(0, DONE("a"));
    assert_eq!(node.at(100), ["20 accepted to 2"], "the second");
    ask(&mut node, 3);
    node.at(120);
    assert_eq!(node.reply(2, PART("p")), ["answer to 2 0 p"]);
    assert_eq!(node.at(200), ["120 accepted to 2"; 0], "a part says it");
}

#[test]
fn what_was_refused_is_never_run() {
    let mut node = serving(1);
    ask(&mut node, 1);
    assert_eq!(ask(&mut node, 2), ["failed to 2 overloaded"]);
    node.reply(0, DONE("a"));
    assert_eq!(ask(&mut node, 2), ["failed to 2 overloaded"]);
    assert_eq!(poll(&mut node, 2, 0), ["failed to 2 overloaded"]);
    assert_eq!(ask(&mut node, 3), ["invoke 7 1.0.0 x"]);
    let constraint = "^2".parse().unwrap();
    let message =
        Message::Ask(Ask { constraint, version: "2.0.0".parse().unwrap(), ..asked(4) }.into());
    assert_eq!(node.hear(2, message, ""), ["failed to 2 no_version"]);
    assert_eq!(node.jobs.len(), 2);
}

#[test]
fn another_life_runs_nothing_that_was_asked_of_this() {
    let mut node = serving(1);
    for life in [1, 3] {
        let message = Message::Ask(Ask { life: Incarnation(life), ..asked(1) }.into());
        assert_eq!(node.hear(2, message, "x"), ["unknown to 2"]);
    }
    assert_eq!(poll(&mut node, 1, 0), ["unknown to 2"]);
    assert_eq!(ask(&mut node, 1), ["invoke 7 1.0.0 x"]);
}

#[test]
fn a_cancelled_call_is_withdrawn_and_not_run_if_it_comes_later() {
    let mut node = serving(2);
    ask(&mut node, 1);
    let cancel = |node: &mut Node, count| node.hear(2, Message::Cancel { call: id(count) }, "");
    assert_eq!(cancel(&mut node, 1), ["withdraw 7"]);
    assert_eq!(ask(&mut node, 1), ["failed to 2 unreachable perhaps"]);
    assert_eq!(cancel(&mut node, 5), [""; 0]);
    assert_eq!(ask(&mut node, 5), ["failed to 2 overloaded"], "its place was cancelled");
    assert_eq!(node.reply(0, DONE("late")), [""; 0]);
    node.is_empty();
}

#[test]
fn only_who_asked_speaks_of_a_call() {
    let mut node = serving(2);
    ask(&mut node, 1);
    let call = id(1);
    let (poll, ack) = (Message::Poll { call, have: 0 }, Message::Ack { call, have: 9 });
    for message in [Message::Cancel { call }, poll, ack, Message::Ask(asked(2).into())] {
        assert_eq!(node.hear(3, message, ""), [""; 0]);
    }
    assert_eq!(node.hear(2, Message::Accepted { call }, ""), [""; 0]);
    assert_eq!((node.count_of(Counted::StrayMessage), node.jobs.len()), (5, 1));
    assert_eq!(node.reply(0, DONE("a")), ["answer to 2 0. a"]);
}

#[test]
fn at_its_deadline_it_is_withdrawn_and_its_place_stays_taken() {
    let mut node = serving(1);
    ask(&mut node, 1);
    assert_eq!(node.at(5000), ["20 accepted to 2", "5000 withdraw 7"]);
    assert_eq!(ask(&mut node, 2), ["failed to 2 overloaded"]);
    assert_eq!(node.reply(0, DONE("late")), [""; 0]);
    assert_eq!(node.count_of(Counted::LateReply), 1);
    assert_eq!(ask(&mut node, 3), ["invoke 7 1.0.0 x"]);
}

#[test]
fn what_came_too_late_is_not_begun() {
    let mut node = serving(1);
    let from = ReplyWay { origin: NodeId(2), cluster: OWN, back: vec![NodeId(2)] };
    let (message, name, value) = (Message::Ask(asked(1).into()), sum(), value("x"));
    let (clusters, deadline_left) = (Vec::new(), Duration::ZERO);
    let heard = Input::Heard { from, clusters, name, message, value, deadline_left };
    assert_eq!(node.give(heard), ["failed to 2 deadline"]);
    assert_eq!(ask(&mut node, 1), ["failed to 2 overloaded"]);
}

/// The origin chose it among all there are, by shares of versions perhaps.
#[test]
fn the_version_that_the_origin_chose_comes_first() {
    let mut node = serving(1);
    node.give(register(8, 9, "2.0.0"));
    assert_eq!(ask(&mut node, 1), ["invoke 7 1.0.0 x"]);
    assert_eq!(ask(&mut node, 2), ["invoke 8 2.0.0 x"], "else what will do");
    let constraint: Constraint = "^1".parse().unwrap();
    let message = Message::Ask(Ask { constraint, ..asked(3) }.into());
    assert_eq!(node.hear(2, message, "x"), ["failed to 2 overloaded"]);
}

#[test]
fn parts_are_kept_until_they_came() {
    let mut node = serving(1);
    ask(&mut node, 1);
    assert_eq!(node.reply(0, PART("a")), ["answer to 2 0 a"]);
    assert_eq!(node.reply(0, PART("b")), ["answer to 2 1 b"]);
    assert_eq!(poll(&mut node, 1, 1), ["answer to 2 1 b"]);
    assert_eq!(poll(&mut node, 1, 2), ["accepted to 2"]);
    assert_eq!(node.reply(0, PART("c")), ["answer to 2 2 c"]);
    assert_eq!(poll(&mut node, 1, 0), ["answer to 2 2 c"], "what came is not there any more");
    assert_eq!(node.reply(0, DONE("d")), ["answer to 2 3. d"]);
    assert_eq!(poll(&mut node, 1, 2), ["answer to 2 2 c", "answer to 2 3. d"]);
    assert_eq!(node.hear(2, Message::Ack { call: id(1), have: 3 }, ""), [""; 0]);
    assert_eq!(node.calls.served_count(), 1);
    assert_eq!(node.hear(2, Message::Ack { call: id(1), have: 4 }, ""), [""; 0]);
    node.is_empty();
}

#[test]
fn parts_that_nobody_takes_end_the_call() {
    let parts_bytes_max = 2 * CALL_ANSWER_OVERHEAD_BYTES + 20;
    let mut node = Node::with(CallBounds { parts_bytes_max, ..CallBounds::NODE });
    node.give(register(7, 1, "1.0.0"));
    ask(&mut node, 1);
    node.reply(0, PART("0123456789"));
    assert_eq!(node.reply(0, PART("0123456789")), ["answer to 2 1 0123456789"]);
    let said = node.reply(0, PART("z"));
    assert_eq!(said, ["withdraw 7", "failed to 2 overloaded perhaps"]);
    assert_eq!(node.reply(0, DONE("z")), [""; 0]);
    assert_eq!(
        poll(&mut node, 1, 1),
        ["answer to 2 1 0123456789", "failed to 2 overloaded perhaps"]
    );
    node.at(5000);
    node.is_empty();
}

#[test]
fn the_oldest_answers_give_way() {
    let answers_bytes_max = 4 * CALL_ANSWER_OVERHEAD_BYTES + 20;
    let mut node = Node::with(CallBounds { answers_bytes_max, ..CallBounds::NODE });
    node.give(register(7, 9, "1.0.0"));
    for count in 1..=3 {
        ask(&mut node, count);
    }
    for nth in [1, 0, 2] {
        node.reply(nth, DONE("0123456789"));
        assert!(node.calls.held_bytes() <= answers_bytes_max);
    }
    assert_eq!(poll(&mut node, 2, 0), ["failed to 2 unreachable perhaps"], "it was the first");
    assert_eq!(poll(&mut node, 1, 0), ["answer to 2 0. 0123456789"]);
    assert_eq!(poll(&mut node, 3, 0), ["answer to 2 0. 0123456789"]);
    let much = "x".repeat(answers_bytes_max);
    ask(&mut node, 4);
    assert_eq!(node.reply(3, Reply::Done(value(&much))), ["failed to 2 overloaded perhaps"]);
}

#[test]
fn a_worker_that_goes_is_told_from_one_that_fails() {
    let mut node = serving(2);
    ask(&mut node, 1);
    ask(&mut node, 2);
    let failed = |node: &Node| match node.sent.last() {
        Some(Message::Failed(refusal)) => (refusal.error, refusal.is_by_function),
        other => panic!("{other:?}"),
    };
    node.reply(0, Reply::Failed { text: "bad".into() });
    assert_eq!(failed(&node), (CallError::WorkerFailed, true));
    let said = node.give(Input::Ended(SessionId(7)));
    assert_eq!(said, ["failed to 2 worker_failed perhaps"]);
    assert_eq!(failed(&node), (CallError::WorkerFailed, false));
    assert_eq!(poll(&mut node, 2, 0), ["failed to 2 worker_failed perhaps"], "said again");
    node.at(5000);
    node.is_empty();
}

#[test]
fn what_has_no_room_is_shed() {
    let mut node = Node::with(CallBounds { served_max: 1, streams_max: 1, ..CallBounds::NODE });
    node.give(register(7, 9, "1.0.0"));
    ask(&mut node, 1);
    assert_eq!(ask(&mut node, 2), ["failed to 2 overloaded"]);
    node.reply(0, DONE("a"));
    node.hear(2, Message::Ack { call: id(1), have: 1 }, "");
    assert_eq!(node.calls.served_count(), 0);
    let call = CallId { origin: NodeId(3), number: 1 };
    let other = Message::Ask(Ask { call, ..asked(1) }.into());
    let said = node.hear(3, other, "x");
    assert_eq!(said, ["failed to 3 overloaded perhaps"], "a copy may find room");
    assert_eq!((node.jobs.len(), node.count_of(Counted::Shed)), (1, 2));
}

/// Whoever asks again may be asking another way.
#[test]
fn the_last_way_is_the_way_back() {
    let mut node = serving(1);
    ask(&mut node, 1);
    let back = vec![NodeId(4), NodeId(2)];
    let from = ReplyWay { origin: NodeId(2), cluster: OWN, back: back.clone() };
    let (message, name) = (Message::Poll { call: id(1), have: 0 }, sum());
    let (value, deadline_left) = (Value::default(), Duration::ZERO);
    let clusters = Vec::new();
    node.give(Input::Heard { from, clusters, name, message, value, deadline_left });
    let (session, job) = node.jobs[0];
    let mut out = Vec::new();
    let input = Input::Replied { session, job, reply: DONE("a") };
    node.calls.handle(input, None, node.now, &mut out);
    let Some(Effect::Send { back: last, .. }) = out.pop() else { panic!("{out:?}") };
    assert_eq!(last, back);
}

#[test]
fn a_job_that_was_declined_has_not_run_unless_parts_say_so() {
    let mut node = serving(2);
    ask(&mut node, 1);
    ask(&mut node, 2);
    let declined = || Reply::Declined { text: "full".into() };
    assert_eq!(node.reply(0, declined()), ["failed to 2 overloaded"]);
    node.reply(1, PART("p"));
    assert_eq!(node.reply(1, declined()), ["failed to 2 overloaded perhaps"]);
}
