//! Graphs of several clients side by side: each rule once, then random ones of them at once.

extern crate std;

use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use core::time::Duration;
use std::format;

use bytes::Bytes;
use mpreg_proto::envelope::Encoding;
use proptest::prelude::*;

use super::super::{Command, Target, Told, When};
use super::*;

const BOUNDS: GraphBounds =
    GraphBounds { graphs_max: 3, graphs_per_session_max: 2, bytes_max: 100 };

fn client(session: u64, number: u64) -> Caller {
    Caller { session: SessionId(session), number }
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

fn json(text: &str) -> Value {
    Value { encoding: Encoding::Json, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

/// `name argument`, one a line.
fn plan(text: &str) -> Plan {
    let command = |line: &str| {
        let (name, argument) = line.trim().split_once(' ').unwrap();
        Command { name: name.to_string(), target: Target::default(), argument: json(argument) }
    };
    Plan::new(text.lines().map(command).collect()).unwrap()
}

fn settings(until: Instant, when: When) -> Settings {
    Settings { told: Told::Unconsumed, when, until }
}

const PAIR: &str = "a 1\nb [{\"$ref\": \"a\"}]";

struct Bench {
    desk: Desk,
    out: Vec<Effect>,
}

impl Bench {
    fn new(bounds: GraphBounds) -> Self {
        Self { desk: Desk::new(bounds), out: Vec::new() }
    }

    fn run(&mut self, client: Caller, until: Instant, when: When) -> Result<GraphNo, Refused> {
        let graph = self.desk.open(client, plan(PAIR), settings(until, when), 10)?;
        self.desk.handle(Input::Start(graph), at(0), &mut self.out);
        Ok(graph)
    }

    fn input(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        self.out.clear();
        self.desk.handle(input, now, &mut self.out);
        self.out.clone()
    }

    fn finish(&mut self, caller: Caller, outcome: Outcome, now: Instant) -> Vec<Effect> {
        self.input(Input::Finished { caller, outcome, cluster_hops: None }, now)
    }

    /// The calls made since it was last asked.
    fn calls(&mut self) -> Vec<Caller> {
        let calls = self.out.drain(..).filter_map(|effect| match effect {
            Effect::Call { caller, .. } => Some(caller),
            Effect::Cancel { .. }
            | Effect::Partial { .. }
            | Effect::Done { .. }
            | Effect::Abandoned { .. } => None,
        });
        calls.collect()
    }
}

#[test]
fn a_commands_number_is_no_clients_and_says_whose_it_is() {
    for (graph, command) in [(0, 0), (0, 255), (1, 0), ((1 << 55) - 1, 255)] {
        let (graph, command) = (GraphNo(graph), CommandIx(command));
        let caller = graph.caller(SessionId(7), command);
        assert!(is_of_command(caller));
        assert_eq!(GraphNo::of(caller), Some((graph, command)));
    }
    for number in [0, 1, CALL_NUMBER_MAX] {
        assert!(!is_of_command(client(7, number)));
        assert_eq!(GraphNo::of(client(7, number)), None);
    }
}

#[test]
fn a_graph_runs_to_its_end_and_leaves_nothing() {
    let mut bench = Bench::new(BOUNDS);
    let graph = bench.run(client(1, 5), at(9), When::AtTheEnd).unwrap();
    let [a] = bench.calls()[..] else { panic!("one waits for nothing") };
    assert_eq!(a.session, SessionId(1), "it is of the client's connection");
    assert_eq!((bench.desk.count(), bench.desk.held_bytes()), (1, 10));
    let effects = bench.finish(a, Outcome::Value(json("77")), at(1));
    let [Effect::Call { caller: b, argument, until, command, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((argument, *until, *command), (&json("[77]"), at(9), CommandIx(1)));
    let effects = bench.finish(*b, Outcome::Value(json("8")), at(2));
    let [Effect::Done { graph: of, client: to, results, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((*of, *to), (graph, client(1, 5)));
    assert_eq!(results[..], [(CommandIx(1), End::Value(json("8")))]);
    assert_eq!((bench.desk.count(), bench.desk.held_bytes()), (0, 0));
    assert_eq!(bench.desk.deadline(), None);
    assert_eq!(bench.finish(*b, Outcome::Value(json("8")), at(2)), [], "it is over");
}

#[test]
fn graphs_are_bounded_by_connection_by_count_and_by_bytes() {
    let mut bench = Bench::new(BOUNDS);
    let mut run = |at: Caller| bench.run(at, Instant::NEVER, When::AtTheEnd).err();
    assert_eq!(run(client(1, 1)), None);
    assert_eq!(run(client(1, 1)), Some(Refused::NumberInUse));
    assert_eq!(run(client(1, 2)), None);
    assert_eq!(run(client(1, 3)), Some(Refused::GraphsOfSession));
    assert_eq!(run(client(2, 1)), None);
    assert_eq!(run(client(3, 1)), Some(Refused::Graphs));
    bench.input(Input::Ended(SessionId(1)), at(1));
    let desk = &mut bench.desk;
    assert_eq!(desk.admit(client(1, 3), 90), Ok(()), "beside ten of another");
    assert_eq!(desk.admit(client(1, 3), 91), Err(Refused::Bytes));
}

#[test]
fn what_all_graphs_hold_is_bounded() {
    let mut bench = Bench::new(BOUNDS);
    bench.run(client(1, 1), Instant::NEVER, When::AtTheEnd).unwrap();
    bench.run(client(2, 1), Instant::NEVER, When::AtTheEnd).unwrap();
    let [one, other] = bench.calls()[..] else { panic!("two calls") };
    let large = |bytes: usize| Outcome::Value(json(&"1".repeat(bytes)));
    assert_eq!(bench.finish(one, large(81), at(1)).len(), 1, "no room, so both have ended");
    assert_eq!(bench.desk.held_bytes(), 10);
    let effects = bench.finish(other, large(90), at(1));
    assert!(matches!(effects[..], [Effect::Call { .. }]), "just room: {effects:?}");
    // The argument has gone with the call, and nobody else needs the result.
    assert_eq!(bench.desk.held_bytes(), 10);
}

#[test]
fn a_result_that_is_only_told_on_needs_no_room() {
    let mut bench = Bench::new(BOUNDS);
    let settings = settings(Instant::NEVER, When::Streamed);
    let graph = bench.desk.open(client(1, 1), plan("a 1\nb 2"), settings, 10).unwrap();
    bench.desk.handle(Input::Start(graph), at(0), &mut bench.out);
    let [a, _] = bench.calls()[..] else { panic!("two calls") };
    let value = json(&"1".repeat(200));
    let want = End::Value(value.clone());
    let effects = bench.finish(a, Outcome::Value(value), at(1));
    let (client, command) = (client(1, 1), CommandIx(0));
    assert_eq!(effects, [Effect::Partial { graph, client, command, end: want }]);
}

#[test]
fn a_cancelled_graph_ends_with_what_there_is_and_cancels_what_runs() {
    let mut bench = Bench::new(BOUNDS);
    let graph = bench.run(client(1, 5), at(9), When::AtTheEnd).unwrap();
    let [a] = bench.calls()[..] else { panic!("one call") };
    assert_eq!(bench.input(Input::Cancel(client(1, 6)), at(1)), [], "that is no graph");
    let effects = bench.input(Input::Cancel(client(1, 5)), at(1));
    let cancel = Effect::Cancel { graph, command: CommandIx(0), caller: a };
    let [first, Effect::Done { results, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*first, cancel);
    assert_eq!(results[..], [0, 1].map(|ix| (CommandIx(ix), End::Cancelled)));
    assert_eq!(bench.finish(a, Outcome::NoRoom, at(1)), [], "what comes late is nobody's");
}

#[test]
fn at_its_deadline_each_graph_ends() {
    let mut bench = Bench::new(BOUNDS);
    bench.run(client(1, 1), at(3), When::AtTheEnd).unwrap();
    bench.run(client(1, 2), at(2), When::AtTheEnd).unwrap();
    assert_eq!(bench.desk.deadline().map(|(at, _)| at), Some(at(2)));
    assert_eq!(bench.input(Input::Tick, at(1)), []);
    let effects = bench.input(Input::Tick, at(2));
    let [Effect::Cancel { .. }, Effect::Done { client: whose, results, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((*whose, &results[0].1), (client(1, 2), &End::DeadlinePassed));
    assert_eq!(bench.desk.deadline().map(|(at, _)| at), Some(at(3)));
}

#[test]
fn a_connection_that_ends_takes_its_graphs_alone() {
    let mut bench = Bench::new(BOUNDS);
    let one = bench.run(client(1, 1), at(3), When::AtTheEnd).unwrap();
    let two = bench.run(client(1, 2), at(3), When::AtTheEnd).unwrap();
    bench.run(client(2, 1), at(4), When::AtTheEnd).unwrap();
    let calls = bench.calls();
    let effects = bench.input(Input::Ended(SessionId(1)), at(1));
    assert_eq!(effects, [one, two].map(|graph| Effect::Abandoned { graph }));
    assert_eq!((bench.desk.count(), bench.desk.held_bytes()), (1, 10));
    assert_eq!(bench.desk.deadline().map(|(at, _)| at), Some(at(4)));
    assert_eq!(bench.finish(calls[0], Outcome::Value(json("1")), at(1)), []);
    assert_eq!(bench.finish(calls[2], Outcome::Value(json("1")), at(1)).len(), 1, "it goes on");
}

#[test]
fn nobody_answers_for_anothers_command() {
    let mut bench = Bench::new(BOUNDS);
    bench.run(client(1, 1), at(3), When::AtTheEnd).unwrap();
    let [a] = bench.calls()[..] else { panic!("one call") };
    let forged = Caller { session: SessionId(2), ..a };
    assert_eq!(bench.finish(forged, Outcome::Value(json("1")), at(1)), []);
    let stray = Caller { number: 1, ..a };
    assert_eq!(bench.finish(stray, Outcome::Value(json("1")), at(1)), []);
    assert_eq!(bench.finish(a, Outcome::Value(json("1")), at(1)).len(), 1);
}

#[derive(Clone, Debug)]
enum Act {
    Run { session: u64, number: u64, seconds: u64, is_streamed: bool },
    Finish { nth: usize, kind: u8, bytes: usize },
    Cancel { session: u64, number: u64 },
    End { session: u64 },
    Wait { seconds: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let (session, number) = (1..4_u64, 0..4_u64);
    prop_oneof![
        4 => (session.clone(), number.clone(), 1..20_u64, any::<bool>()).prop_map(
            |(session, number, seconds, is_streamed)| Act::Run {
                session,
                number,
                seconds,
                is_streamed
            }
        ),
        8 => (any::<usize>(), 0..4_u8, 1..60_usize)
            .prop_map(|(nth, kind, bytes)| Act::Finish { nth, kind, bytes }),
        1 => (session.clone(), number).prop_map(|(session, number)| Act::Cancel { session, number }),
        1 => session.prop_map(|session| Act::End { session }),
        1 => (0..5_u64).prop_map(|seconds| Act::Wait { seconds }),
    ]
}

/// What the outside knows: which clients wait, which calls are open, by what was said alone.
#[derive(Default)]
struct Outside {
    waiting: BTreeMap<Caller, GraphNo>,
    open: BTreeMap<Caller, GraphNo>,
    ever: BTreeSet<Caller>,
    told: BTreeSet<(GraphNo, CommandIx)>,
}

impl Outside {
    fn hear(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Call { graph, caller, .. } => {
                    assert!(self.ever.insert(*caller), "a number is used once");
                    assert!(self.waiting.contains_key(&self.client_of(*graph)));
                    self.open.insert(*caller, *graph);
                }
                Effect::Cancel { graph, caller, .. } => {
                    assert_eq!(self.open.remove(caller), Some(*graph), "it was open");
                }
                Effect::Partial { graph, client, command, .. } => {
                    assert_eq!(self.waiting.get(client), Some(graph));
                    assert!(self.told.insert((*graph, *command)), "told once");
                }
                Effect::Done { graph, client, .. } => {
                    assert_eq!(self.waiting.remove(client), Some(*graph), "it ends once");
                    assert!(!self.open.values().any(|of| of == graph), "no call outlives it");
                }
                Effect::Abandoned { graph } => {
                    let client = self.client_of(*graph);
                    self.waiting.remove(&client);
                    self.open.retain(|_, of| of != graph);
                }
            }
        }
    }

    fn client_of(&self, graph: GraphNo) -> Caller {
        let mut all = self.waiting.iter();
        *all.find(|(_, of)| **of == graph).expect("somebody waits for it").0
    }
}

proptest! {
    #[test]
    fn every_call_of_a_graph_ends_once_whatever_happens(acts in prop::collection::vec(act(), 1..80)) {
        let bounds = GraphBounds { graphs_max: 5, graphs_per_session_max: 3, bytes_max: 120 };
        let (mut desk, mut outside, mut now) = (Desk::new(bounds), Outside::default(), at(0));
        let plans = ["a 1", PAIR, "a 1\nb 2\nc [{\"$ref\": \"a\"}, {\"$ref\": \"b.0\"}]"];
        for (nth, act) in acts.into_iter().enumerate() {
            let mut out = Vec::new();
            match act {
                Act::Run { session, number, seconds, is_streamed } => {
                    let when = if is_streamed { When::Streamed } else { When::AtTheEnd };
                    let settings = settings(now + Duration::from_secs(seconds), when);
                    let (whose, plan) = (client(session, number), plan(plans[nth % 3]));
                    if let Ok(graph) = desk.open(whose, plan, settings, 10) {
                        prop_assert_eq!(outside.waiting.insert(whose, graph), None);
                        desk.handle(Input::Start(graph), now, &mut out);
                    }
                }
                Act::Finish { nth, kind, bytes } => {
                    let Some((&caller, _)) = outside.open.iter().nth(nth % outside.open.len().max(1))
                    else { continue };
                    outside.open.remove(&caller);
                    let outcome = match kind {
                        0 => Outcome::Failed(Bytes::new()),
                        _ => Outcome::Value(json(&format!("[{}]", "1".repeat(bytes)))),
                    };
                    desk.handle(Input::Finished { caller, outcome, cluster_hops: None }, now, &mut out);
                }
                Act::Cancel { session, number } => {
                    desk.handle(Input::Cancel(client(session, number)), now, &mut out);
                }
                Act::End { session } => {
                    desk.handle(Input::Ended(SessionId(session)), now, &mut out);
                    let is_silent = out.iter().all(|effect| matches!(effect, Effect::Abandoned { .. }));
                    prop_assert!(is_silent);
                }
                Act::Wait { seconds } => {
                    now = now + Duration::from_secs(seconds);
                    desk.handle(Input::Tick, now, &mut out);
                }
            }
            outside.hear(&out);
            prop_assert_eq!(desk.count(), outside.waiting.len());
            prop_assert!(desk.count() <= bounds.graphs_max && desk.held_bytes() <= bounds.bytes_max);
            for session in 1..4 {
                let of_session = outside.waiting.keys().filter(|it| it.session.0 == session);
                prop_assert!(of_session.count() <= bounds.graphs_per_session_max);
            }
            prop_assert!(desk.deadline().is_none_or(|(at, _)| now < at));
        }
        let mut out = Vec::new();
        desk.handle(Input::Tick, at(1000), &mut out);
        outside.hear(&out);
        prop_assert!(outside.waiting.is_empty() && outside.open.is_empty());
        prop_assert_eq!((desk.count(), desk.held_bytes()), (0, 0));
    }
}
