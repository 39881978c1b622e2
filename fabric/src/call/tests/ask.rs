//! The side of the caller, rule by rule.

use super::*;
use crate::limits::{CALL_DEADLINE_MAX, CALL_PARTS_PER_ACK, CALL_TRIES_MAX};

/// With these nodes that offer 1.0.0 in their first life.
fn beside(nodes: &[u128]) -> Node {
    let mut node = Node::new();
    nodes.iter().for_each(|&peer| assert_eq!(node.give(entry(peer, Some((1, "1.0.0")))), [""; 0]));
    node
}

/// The call of the last question.
fn last(node: &Node) -> CallId {
    node.sent.iter().rev().find_map(Message::ask).unwrap().call
}

fn accepted(node: &Node) -> Message {
    Message::Accepted { call: last(node) }
}

fn part(node: &Node, part: u32, is_last: bool) -> Message {
    Message::Answer { call: last(node), part, is_last, ran: None }
}

fn refusal(node: &Node, error: CallError) -> Refusal {
    let (call, text) = (last(node), String::new());
    Refusal { call, error, may_have_run: false, is_by_function: false, text }
}

fn dropped(node: &Node, attempt: u16, reason: Reason) -> Message {
    let path = vec![NodeId(1), NodeId(77)];
    Message::Dropped(Dropped { call: last(node), attempt, reason, path }.into())
}

#[test]
fn a_worker_of_this_node_runs_it_and_nothing_is_left() {
    let mut node = Node::new();
    node.give(register(7, 2, "1.0.0"));
    assert_eq!(node.call(1, request("x")), ["invoke 7 1.0.0 x"]);
    assert_eq!(node.calls.held_bytes(), 0, "it is asked once, so it is not kept");
    assert_eq!(node.call(2, request("y")), ["invoke 7 1.0.0 y"]);
    assert_eq!(node.call(3, request("z")), ["failed 3 overloaded"], "its limit");
    assert_eq!(node.reply(1, Reply::Part(value("p"))), ["part 2 p"]);
    assert_eq!(node.reply(1, Reply::Done(value("b"))), ["result 2 b"]);
    assert_eq!(node.reply(0, Reply::Done(value("a"))), ["result 1 a"]);
    assert_eq!(node.at(10_000), [""; 0]);
    node.is_empty();
    assert_eq!(node.reply(0, Reply::Done(value("a"))), [""; 0]);
    assert_eq!(node.count_of(Counted::StrayReply), 1);
}

#[test]
fn a_connection_answers_only_its_own_jobs() {
    let mut node = Node::new();
    node.give(register(7, 2, "1.0.0"));
    node.call(1, request("x"));
    let (_, job) = node.jobs[0];
    let reply = Reply::Done(value("forged"));
    assert_eq!(node.give(Input::Replied { session: SessionId(8), job, reply }), [""; 0]);
    assert_eq!(node.count_of(Counted::StrayReply), 1);
    assert_eq!(node.reply(0, Reply::Done(value("a"))), ["result 1 a"]);
}

#[test]
fn at_the_deadline_it_is_withdrawn_and_its_place_stays_taken() {
    let mut node = Node::new();
    node.give(register(7, 1, "1.0.0"));
    node.call(1, request("x"));
    assert_eq!(node.at(4999), [""; 0]);
    assert_eq!(node.at(5000), ["5000 withdraw 7", "5000 failed 1 deadline perhaps"]);
    assert_eq!(node.call(2, request("y")), ["failed 2 overloaded"]);
    assert_eq!(node.reply(0, Reply::Part(value("late"))), [""; 0]);
    assert_eq!(node.call(2, request("y")), ["failed 2 overloaded"]);
    assert_eq!(node.reply(0, Reply::Done(value("late"))), [""; 0]);
    assert_eq!(node.count_of(Counted::LateReply), 2);
    assert_eq!(node.call(2, request("y")), ["invoke 7 1.0.0 y"]);
}

#[test]
fn deadlines_have_a_default_and_a_most() {
    let mut node = Node::new();
    node.give(register(7, 9, "1.0.0"));
    node.call(1, Request { deadline: None, ..request("x") });
    node.call(2, Request { deadline: Some(Duration::from_secs(1 << 40)), ..request("x") });
    assert_eq!(node.at(10_000), ["10000 withdraw 7", "10000 failed 1 deadline perhaps"]);
    let longest = CALL_DEADLINE_MAX.as_millis() as u64;
    assert_eq!(node.at(longest - 1), [""; 0]);
    assert_eq!(node.at(longest).len(), 2);
}

#[test]
fn without_a_word_the_same_node_is_asked_again() {
    let mut node = beside(&[2, 3]);
    let first = node.call(1, request("x"));
    assert_eq!(first.len(), 1);
    let (_, to) = first[0].split_once(" to ").unwrap();
    let to = &to[..1];
    let asks = |ms: u64, copy: u32| format!("{ms} ask to {to} {copy} x");
    let want = [asks(200, 1), asks(600, 2), asks(1400, 3), asks(2400, 4), asks(3400, 5)];
    assert_eq!(node.at(4000), want);
    let ends =
        [asks(4400, 6), format!("5000 cancel to {to}"), "5000 failed 1 deadline perhaps".into()];
    assert_eq!(node.at(9000), ends);
    node.is_empty();
}

#[test]
fn who_has_accepted_is_polled_not_asked() {
    let mut node = beside(&[2]);
    assert_eq!(node.call(1, request("x")), ["ask to 2 0 x"]);
    node.at(100);
    assert_eq!(node.hear(2, accepted(&node), ""), [""; 0]);
    let polls = ["350 poll to 2 0", "600 poll to 2 0", "1100 poll to 2 0"];
    assert_eq!(node.at(2000), polls);
    assert_eq!(node.hear(2, accepted(&node), ""), [""; 0], "a word starts the waits again");
    assert_eq!(node.at(2250), ["2250 poll to 2 0"]);
    assert_eq!(node.hear(3, part(&node, 0, true), "forged"), [""; 0], "it was not asked");
    assert_eq!(node.hear(2, part(&node, 0, true), "a"), ["result 1 a"]);
    node.is_empty();
    assert_eq!(node.hear(2, part(&node, 0, true), "a"), [""; 0], "once");
    assert_eq!(node.count_of(Counted::StrayMessage), 2);
}

#[test]
fn what_was_refused_goes_to_others_and_the_last_refusal_is_the_error() {
    let mut node = beside(&[2, 3]);
    let first = node.call(1, request("x"));
    let (one, other) = if first[0] == "ask to 2 0 x" { (2, 3) } else { (3, 2) };
    let refused = |node: &Node, error| Message::Failed(refusal(node, error).into());
    let said = node.hear(one, refused(&node, CallError::NoVersion), "");
    assert_eq!(said, [format!("ask to {other} 4096 x")]);
    // Its copies of before are of no interest any more.
    assert_eq!(node.hear(one, refused(&node, CallError::NoVersion), ""), [""; 0]);
    let said = node.hear(other, refused(&node, CallError::Overloaded), "");
    assert_eq!(said, ["failed 1 overloaded"]);
    node.is_empty();
    assert_eq!(node.count_of(Counted::Rerouted), 1);
}

#[test]
fn a_worker_here_is_asked_when_others_refuse_and_the_other_way_round() {
    let mut node = beside(&[2]);
    node.give(register(7, 1, "1.0.0"));
    assert_eq!(node.call(1, request("x")), ["invoke 7 1.0.0 x"]);
    assert_eq!(node.call(2, request("y")), ["ask to 2 0 y"], "here is no room");
    node.reply(0, Reply::Done(value("a")));
    let refused = Message::Failed(refusal(&node, CallError::Overloaded).into());
    assert_eq!(node.hear(2, refused, ""), ["invoke 7 1.0.0 y"]);
    assert_eq!(node.reply(1, Reply::Done(value("b"))), ["result 2 b"]);
    node.is_empty();
}

#[test]
fn what_may_have_run_goes_to_others_only_if_it_is_idempotent() {
    let lost = |node: &Node| Message::Unknown { call: last(node) };
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    node.give(entry(3, Some((1, "1.0.0"))));
    assert_eq!(node.hear(2, lost(&node), ""), ["failed 1 unreachable perhaps"]);
    node.give(entry(3, None));
    node.call(2, idempotent("y"));
    node.give(entry(3, Some((1, "1.0.0"))));
    assert_eq!(node.hear(2, lost(&node), ""), ["ask to 3 4096 y"]);
    assert_eq!(node.hear(3, lost(&node), ""), ["failed 2 unreachable perhaps"]);
    node.is_empty();
}

/// A node that refuses what it said it runs has forgotten it.
#[test]
fn who_has_accepted_cannot_say_it_never_ran() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    node.give(entry(3, Some((1, "1.0.0"))));
    node.hear(2, accepted(&node), "");
    let refused = Message::Failed(refusal(&node, CallError::Overloaded).into());
    assert_eq!(node.hear(2, refused, ""), ["failed 1 overloaded perhaps"]);
}

#[test]
fn the_functions_own_failure_is_final_and_a_lost_worker_is_not() {
    let mut node = beside(&[2]);
    node.give(register(7, 1, "1.0.0"));
    node.call(1, idempotent("x"));
    let failed = Reply::Failed { text: "bad".into() };
    assert_eq!(node.reply(0, failed), ["failed 1 worker_failed perhaps"]);
    node.call(2, idempotent("y"));
    assert_eq!(node.give(Input::Ended(SessionId(7))), ["ask to 2 4096 y"]);
    let by_function = Refusal {
        may_have_run: true,
        is_by_function: true,
        ..refusal(&node, CallError::WorkerFailed)
    };
    node.give(entry(3, Some((1, "1.0.0"))));
    let said = node.hear(2, Message::Failed(by_function.into()), "");
    assert_eq!(said, ["failed 2 worker_failed perhaps"]);
    node.give(register(8, 1, "1.0.0"));
    node.call(3, request("z"));
    assert_eq!(node.give(Input::Ended(SessionId(8))), ["failed 3 worker_failed perhaps"]);
    node.is_empty();
}

#[test]
fn only_if_every_copy_was_dropped_is_another_asked() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    node.at(200);
    node.give(entry(3, Some((1, "1.0.0"))));
    let one = dropped(&node, 1, Reason::LinkDown);
    assert_eq!(node.hear(77, one.clone(), ""), [""; 0], "the first copy may be there");
    assert_eq!(node.hear(77, one, ""), [""; 0], "the same one");
    assert_eq!(node.hear(77, dropped(&node, 9, Reason::LinkDown), ""), [""; 0], "never sent");
    assert_eq!(node.hear(77, dropped(&node, 0, Reason::NoRoute), ""), ["ask to 3 4096 x"]);
    // A word of the first is of no interest any more, and the second is told apart.
    assert_eq!(node.hear(2, accepted(&node), ""), [""; 0]);
    assert_eq!(node.hear(3, part(&node, 0, true), "a"), ["result 1 a"]);
    node.is_empty();
}

#[test]
fn who_cannot_be_reached_is_asked_again_for_a_while_if_nobody_else_can_be() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    for (ms, attempt) in [(10, 0), (200, 1), (600, 2), (1400, 3)] {
        node.at(ms);
        let message = node.sent.last().unwrap().clone();
        assert_eq!(message.ask().unwrap().attempt, attempt);
        assert_eq!(node.give(Input::NotSent { message, reason: Reason::NoRoute }), [""; 0]);
    }
    assert_eq!(node.at(2400), ["2400 ask to 2 4 x"]);
    let said = node.hear(77, dropped(&node, 4, Reason::NoRoute), "");
    assert_eq!(said, ["failed 1 unreachable"], "and it did not run");
    node.is_empty();
    node.call(2, request("y"));
    let said = node.hear(77, dropped(&node, 0, Reason::HopBudgetExhausted), "");
    assert_eq!(said, ["failed 2 hop_budget_exhausted"], "which another time would not change");
    node.is_empty();
}

#[test]
fn a_failure_says_where_and_by_which_way() {
    let mut node = beside(&[2]);
    let (caller, mut out) = (Caller { session: SessionId(9), number: 1 }, Vec::new());
    node.call(1, request("x"));
    let message = dropped(&node, 0, Reason::HopBudgetExhausted);
    let from = ReplyWay { origin: NodeId(77), cluster: OWN, back: vec![NodeId(77)] };
    let (name, value, deadline_left) = (sum(), Value::default(), Duration::ZERO);
    let clusters = Vec::new();
    let heard = Input::Heard { from, clusters, name, message, value, deadline_left };
    node.calls.handle(heard, None, node.now, &mut out);
    let Some(Effect::Failed { caller: of, failure }) = out.pop() else { panic!("{out:?}") };
    assert_eq!(of, caller);
    assert_eq!(failure.path, [NodeId(1), NodeId(77)]);
    assert_eq!(failure.target.node, Some(NodeId(2)));
    assert_eq!(failure.text, "hop_budget_exhausted");
}

#[test]
fn a_node_that_offers_it_no_more_and_is_silent_is_gone() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    node.hear(2, accepted(&node), "");
    node.give(entry(2, None));
    node.at(1700);
    node.hear(2, accepted(&node), "");
    assert!(node.at(3600).iter().all(|said| said.contains("poll")), "it only takes no new ones");
    assert_eq!(node.at(3700), ["3700 failed 1 unreachable perhaps"]);
    node.is_empty();
    node.give(entry(2, Some((1, "1.0.0"))));
    node.call(2, request("y"));
    node.give(entry(2, Some((2, "1.0.0"))));
    assert!(node.at(6099).iter().all(|said| said.contains("ask to 2")));
    assert_eq!(node.at(6100), ["6100 failed 2 unreachable perhaps"], "the next life is another");
    node.is_empty();
}

#[test]
fn parts_come_in_order_and_what_is_missing_is_asked_for_once() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    assert_eq!(node.hear(2, part(&node, 1, false), "b"), ["poll to 2 0"]);
    assert_eq!(node.hear(2, part(&node, 2, true), "c"), [""; 0]);
    assert_eq!(node.hear(2, part(&node, 0, false), "a"), ["part 1 a"]);
    assert_eq!(node.hear(2, part(&node, 0, false), "a"), [""; 0]);
    assert_eq!(node.hear(2, part(&node, 2, true), "c"), ["poll to 2 1"]);
    assert_eq!(node.hear(2, part(&node, 1, false), "b"), ["part 1 b"]);
    assert_eq!(node.hear(2, part(&node, 2, true), "c"), ["result 1 c"]);
    node.is_empty();
    assert_eq!(node.hear(2, part(&node, 3, false), "d"), ["cancel to 2"], "it is over");
}

#[test]
fn parts_are_acknowledged() {
    let mut node = beside(&[2]);
    node.call(1, request("x"));
    for nth in 1..=CALL_PARTS_PER_ACK {
        let said = node.hear(2, part(&node, nth - 1, false), "p");
        assert_eq!(said.len(), 1 + usize::from(nth == CALL_PARTS_PER_ACK));
        if nth == CALL_PARTS_PER_ACK {
            assert!(said.contains(&format!("ack to 2 {nth}")), "{said:?}");
        }
    }
}

#[test]
fn after_a_part_nobody_else_is_asked() {
    let mut node = beside(&[2, 3]);
    let first = node.call(1, idempotent("x"));
    let to = if first[0].starts_with("ask to 2") { 2 } else { 3 };
    assert_eq!(node.hear(to, part(&node, 0, false), "p"), ["part 1 p"]);
    let said = node.hear(to, Message::Unknown { call: last(&node) }, "");
    assert_eq!(said, ["failed 1 unreachable perhaps"]);
}

#[test]
fn a_slow_call_is_hedged_and_the_first_answer_wins() {
    let mut node = beside(&[2]);
    let hedge_after = Some(Duration::from_millis(100));
    let hedged = |text| Request { hedge_after, ..idempotent(text) };
    assert_eq!(node.call(1, hedged("x")), ["ask to 2 0 x"]);
    node.give(entry(3, Some((1, "1.0.0"))));
    assert_eq!(node.at(150), ["100 ask to 3 4096 x"]);
    node.hear(2, accepted(&node), "");
    assert_eq!(node.hear(3, part(&node, 0, true), "a"), ["cancel to 2", "result 1 a"]);
    node.is_empty();
    assert_eq!(node.count_of(Counted::Hedged), 1);
    // One fails, the other is still at it.
    node.give(entry(3, None));
    node.call(2, hedged("y"));
    node.give(entry(3, Some((1, "1.0.0"))));
    node.at(300);
    assert_eq!(node.hear(3, Message::Unknown { call: last(&node) }, ""), [""; 0]);
    assert_eq!(node.hear(2, part(&node, 0, false), "p"), ["part 2 p"]);
    assert_eq!(node.hear(2, part(&node, 1, true), "b"), ["result 2 b"]);
    node.is_empty();
    assert_eq!(node.call(3, Request { hedge_after, ..request("z") }), ["failed 3 malformed"]);
}

#[test]
fn a_part_ends_the_other_of_two() {
    let mut node = beside(&[2]);
    let hedge_after = Some(Duration::from_millis(100));
    node.call(1, Request { hedge_after, ..idempotent("x") });
    node.give(entry(3, Some((1, "1.0.0"))));
    node.at(150);
    assert_eq!(node.hear(3, part(&node, 0, false), "p"), ["cancel to 2", "part 1 p"]);
    assert_eq!(node.hear(2, part(&node, 0, true), "other"), [""; 0]);
}

#[test]
fn no_more_endpoints_are_asked_than_may_be() {
    let mut node = beside(&[2, 3, 4, 5]);
    node.peers = vec![2, 3, 4, 5, 6];
    node.give(entry(6, Some((1, "1.0.0"))));
    let mut said = node.call(1, request("x"));
    let mut asked = 0;
    while let Some((_, to)) = said[0].split_once("ask to ") {
        asked += 1;
        let refused = Message::Failed(refusal(&node, CallError::Overloaded).into());
        said = node.hear(to[..1].parse().unwrap(), refused, "");
    }
    assert_eq!((asked, &said[..]), (CALL_TRIES_MAX, &["failed 1 overloaded".to_string()][..]));
}

#[test]
fn who_cancels_is_told_and_who_left_is_not() {
    let mut node = beside(&[2]);
    node.give(register(7, 1, "1.0.0"));
    node.call(1, request("x"));
    node.call(2, request("y"));
    let caller = |number| Caller { session: SessionId(9), number };
    let said = node.give(Input::Cancel(caller(1)));
    assert_eq!(said, ["withdraw 7", "failed 1 cancelled perhaps"]);
    let said = node.give(Input::Cancel(caller(2)));
    assert_eq!(said, ["cancel to 2", "failed 2 cancelled perhaps"]);
    assert_eq!(node.give(Input::Cancel(caller(2))), [""; 0]);
    node.reply(0, Reply::Done(value("late")));
    node.call(3, request("x"));
    node.call(4, request("y"));
    assert_eq!(node.give(Input::Ended(SessionId(9))), ["withdraw 7", "cancel to 2"]);
    node.reply(1, Reply::Done(value("late")));
    node.is_empty();
    assert_eq!(node.count_of(Counted::Abandoned), 2);
}

/// It calls its own function, and goes.
#[test]
fn a_connection_that_is_caller_and_worker_leaves_nothing() {
    let mut node = Node::new();
    node.give(register(9, 1, "1.0.0"));
    assert_eq!(node.call(1, idempotent("x")), ["invoke 9 1.0.0 x"]);
    assert_eq!(node.give(Input::Ended(SessionId(9))), [""; 0]);
    node.is_empty();
}

#[test]
fn bounds_shed_and_numbers_are_used_once_at_a_time() {
    let bounds =
        CallBounds { open_max: 3, open_per_session_max: 2, open_bytes_max: 5, ..CallBounds::NODE };
    let mut node = Node::with(bounds);
    node.give(register(7, 9, "1.0.0"));
    assert_eq!(node.call(1, request("x")), ["invoke 7 1.0.0 x"]);
    assert_eq!(node.call(1, request("x")), ["failed 1 malformed"]);
    assert_eq!(node.call(2, idempotent("1234")), ["invoke 7 1.0.0 1234"]);
    assert_eq!(node.call(3, request("x")), ["failed 3 overloaded"], "of the connection");
    let other = |number| Caller { session: SessionId(10), number };
    let mut call = |number, request| node.give(Input::Call { caller: other(number), request });
    assert_eq!(call(1, request("12")), ["failed 1 overloaded"], "bytes");
    assert_eq!(call(1, request("1")), ["invoke 7 1.0.0 1"]);
    assert_eq!(call(2, request("1")), ["failed 2 overloaded"], "of the node");
    assert_eq!(node.count_of(Counted::Shed), 3);
    assert_eq!(node.reply(0, Reply::Done(value("a"))), ["result 1 a"]);
    assert_eq!(node.call(1, request("x")), ["invoke 7 1.0.0 x"], "it is free again");
    let bounds = CallBounds { jobs_max: 1, ..CallBounds::NODE };
    let mut node = Node::with(bounds);
    node.give(register(7, 9, "1.0.0"));
    node.call(1, request("x"));
    assert_eq!(node.call(2, request("x")), ["failed 2 overloaded"], "jobs");
}

#[test]
fn nobody_to_ask_is_said_at_once() {
    let mut node = beside(&[2]);
    let constraint = "^2".parse().unwrap();
    assert_eq!(node.call(1, Request { constraint, ..request("x") }), ["failed 1 no_version"]);
    let resources = Resources::new(["gpu"]).unwrap();
    assert_eq!(node.call(1, Request { resources, ..request("x") }), ["failed 1 no_resource"]);
    let cluster = Some(ClusterId(5));
    assert_eq!(node.call(1, Request { cluster, ..request("x") }), ["failed 1 unreachable"]);
    let name = "product".parse().unwrap();
    assert_eq!(node.call(1, Request { name, ..request("x") }), ["failed 1 not_found"]);
    node.peers.clear();
    assert_eq!(node.call(1, request("x")), ["failed 1 unreachable"]);
    node.is_empty();
}

#[test]
fn a_draining_worker_ends_what_it_has() {
    let mut node = Node::new();
    node.give(register(7, 2, "1.0.0"));
    node.call(1, request("x"));
    assert_eq!(node.give(Input::Function(function::Input::Drain(SessionId(7)))), [""; 0]);
    assert_eq!(node.call(2, request("y")), ["failed 2 unreachable"]);
    assert_eq!(node.reply(0, Reply::Done(value("a"))), ["drained 7", "result 1 a"]);
}

#[test]
fn a_job_that_was_declined_has_not_run() {
    let mut node = Node::new();
    node.give(register(7, 1, "1.0.0"));
    node.give(register(8, 1, "1.0.0"));
    node.call(1, request("x"));
    let declined = || Reply::Declined { text: "full".into() };
    assert_eq!(node.reply(0, declined()), ["failed 1 overloaded"], "it was asked once");
    node.is_empty();
    assert_eq!(node.call(2, idempotent("y")).len(), 1);
    let other = node.reply(1, declined()).remove(0);
    assert!(other.starts_with("invoke "), "{other}: what is kept is asked of the other one");
    assert_ne!(node.jobs[1].0, node.jobs[2].0);
    assert_eq!(node.reply(2, Reply::Done(value("b"))), ["result 2 b"]);
    node.is_empty();
}
