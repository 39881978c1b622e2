//! Graphs by example: one rule each. Random ones are in `random.rs`, what is refused in `refuse.rs`.

extern crate std;

use core::time::Duration;
use std::format;
use std::string::{String, ToString as _};
use std::vec;
use std::vec::Vec;

use mpreg_proto::envelope::Encoding;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use super::*;

mod random;
mod refuse;

fn json(text: &str) -> Value {
    Value { encoding: Encoding::Json, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn command(name: &str, argument: &str) -> Command {
    let target = Target { function: format!("do_{name}"), ..Target::default() };
    Command { name: name.to_string(), target, argument: json(argument) }
}

/// One command a line: `name argument`.
fn commands(text: &str) -> Vec<Command> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, arg)| command(name, arg)).collect()
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

const AT_THE_END: Settings =
    Settings { told: Told::Unconsumed, when: When::AtTheEnd, until: Instant::NEVER };
const STREAMED: Settings = Settings { when: When::Streamed, ..AT_THE_END };

fn written(end: &End) -> String {
    match end {
        End::Value(value) => String::from_utf8_lossy(&value.bytes).into_owned(),
        End::Failed(failure) => format!("failed {}", String::from_utf8_lossy(failure)),
        End::Unmet(unmet) => format!("unmet {unmet}"),
        End::Skipped { because } => format!("skipped {}", because.0),
        End::NoRoom | End::Cancelled | End::DeadlinePassed => end.word().to_string(),
    }
}

struct Bench {
    graph: CallGraph,
    seen: Vec<String>,
    summary: Option<Summary>,
}

impl Bench {
    fn new(graph: &str, settings: Settings) -> Self {
        let plan = Plan::new(commands(graph)).unwrap();
        Self { graph: CallGraph::new(plan, settings), seen: Vec::new(), summary: None }
    }

    fn named(&self, name: &str) -> CommandIx {
        let mut all = (0..self.graph.steps.len()).map(place);
        all.find(|&ix| self.graph.name(ix) == name).unwrap()
    }

    fn input(&mut self, input: Input, now: Instant) {
        let mut effects = Vec::new();
        self.graph.handle(input, now, &mut effects);
        for effect in effects {
            assert!(self.summary.is_none(), "{effect:?} after the end");
            let line = match effect {
                Effect::Call { command, target, argument } => {
                    assert_eq!(target.function, format!("do_{}", self.graph.name(command)));
                    let argument = String::from_utf8_lossy(&argument.bytes).into_owned();
                    format!("call {} {argument}", self.graph.name(command))
                }
                Effect::Cancel { command } => format!("cancel {}", self.graph.name(command)),
                Effect::Partial { command, end } => {
                    format!("partial {} {}", self.graph.name(command), written(&end))
                }
                Effect::Done { results, summary } => {
                    self.summary = Some(summary);
                    let results = results
                        .iter()
                        .map(|(ix, end)| format!(" {}={}", self.graph.name(*ix), written(end)));
                    format!("done{}", results.collect::<String>())
                }
            };
            self.seen.push(line);
        }
    }

    fn finished(&mut self, name: &str, outcome: Outcome, now: Instant) {
        let command = self.named(name);
        self.input(Input::Finished { command, outcome, cluster_hops: Some(2) }, now);
    }
}

/// Runs a script of `<s> start|cancel|wake`, `<s> NAME = JSON`, `<s> NAME ! ERROR`, and compares all
/// that comes out.
#[track_caller]
fn run(graph: &str, settings: Settings, script: &str, want: &str) -> Bench {
    let mut bench = Bench::new(graph, settings);
    for step in script.split('|') {
        let (seconds, what) = step.trim().split_once(' ').unwrap();
        let now = at(seconds.parse().unwrap());
        match what.split_once(' ') {
            Some((name, outcome)) => {
                let (kind, text) = outcome.split_once(' ').unwrap();
                let outcome = match kind {
                    "=" => Outcome::Value(json(text)),
                    "!" => Outcome::Failed(Bytes::copy_from_slice(text.as_bytes())),
                    other => panic!("{other}"),
                };
                bench.finished(name, outcome, now);
            }
            None => bench.input(
                match what {
                    "start" => Input::Start,
                    "cancel" => Input::Cancel,
                    "wake" => Input::DeadlineReached,
                    other => panic!("{other}"),
                },
                now,
            ),
        }
    }
    let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(bench.seen, want, "{script}");
    bench
}

const DIAMOND: &str = r#"
    a 1
    b {"of": {"$ref": "a.x"}}
    c [{"$ref": "a"}, 2]
    d {"b": {"$ref": "b"}, "c": {"$ref": "c.0"}}
"#;

#[test]
fn each_is_called_with_what_it_refers_to() {
    run(
        DIAMOND,
        AT_THE_END,
        r#"0 start | 1 a = {"x": 1.0} | 2 c = ["hi"] | 3 b = true | 4 d = "end""#,
        r#"
            call a 1
            call b {"of": 1.0}
            call c [{"x": 1.0}, 2]
            call d {"b": true, "c": "hi"}
            done d="end"
        "#,
    );
}

#[test]
fn a_slow_branch_does_not_delay_another() {
    run(
        r#"
            slow 0
            quick 0
            after_slow {"$ref": "slow"}
            after_quick {"$ref": "quick"}
            last {"$ref": "after_quick"}
        "#,
        AT_THE_END,
        "0 start | 1 quick = 1 | 2 after_quick = 2 | 3 last = 3 | 60 slow = 4 | 61 after_slow = 5",
        "
            call slow 0
            call quick 0
            call after_quick 1
            call last 2
            call after_slow 4
            done after_slow=5 last=3
        ",
    );
}

#[test]
fn an_error_ends_its_dependants_and_nobody_else() {
    run(
        &format!(
            "{DIAMOND}
            other 0
            e {{\"$ref\": \"d\"}}"
        ),
        AT_THE_END,
        r#"0 start | 1 a = {"x": 1} | 2 b ! no | 3 c = [1] | 4 other = 7"#,
        r#"
            call a 1
            call other 0
            call b {"of": 1}
            call c [{"x": 1}, 2]
            done b=failed no c=[1] d=skipped 1 other=7 e=skipped 1
        "#,
    );
}

#[test]
fn everything_is_told_on_request() {
    run(
        DIAMOND,
        Settings { told: Told::All, ..AT_THE_END },
        r#"0 start | 1 a = {"x": 1} | 2 c = [1] | 3 b = 2 | 4 d = 3"#,
        r#"
            call a 1
            call b {"of": 1}
            call c [{"x": 1}, 2]
            call d {"b": 2, "c": 1}
            done a={"x": 1} b=2 c=[1] d=3
        "#,
    );
}

#[test]
fn streamed_results_are_told_once_each_as_soon_as_that_is_known() {
    let script = r#"0 start | 1 leaf = 0 | 2 a = {"x": 1} | 3 b = 2 | 4 c ! no"#;
    run(
        &format!("{DIAMOND}\nleaf 0"),
        STREAMED,
        script,
        r#"
            call a 1
            call leaf 0
            partial leaf 0
            call b {"of": 1}
            call c [{"x": 1}, 2]
            partial c failed no
            partial b 2
            partial d skipped 2
            done
        "#,
    );
    run(
        &format!("{DIAMOND}\nleaf 0"),
        Settings { told: Told::All, ..STREAMED },
        script,
        r#"
            call a 1
            call leaf 0
            partial leaf 0
            partial a {"x": 1}
            call b {"of": 1}
            call c [{"x": 1}, 2]
            partial b 2
            partial c failed no
            partial d skipped 2
            done
        "#,
    );
}

#[test]
fn cancelling_ends_what_is_under_way_once() {
    run(
        DIAMOND,
        AT_THE_END,
        r#"0 start | 1 a = {"x": 1} | 2 b = 2 | 3 cancel | 4 c = 3 | 4 cancel | 5 wake | 6 start"#,
        r#"
            call a 1
            call b {"of": 1}
            call c [{"x": 1}, 2]
            cancel c
            done b=2 c=cancelled d=cancelled
        "#,
    );
    run("a 1", STREAMED, "0 cancel | 0 start", "partial a cancelled\ndone");
}

#[test]
fn the_deadline_ends_what_is_under_way_and_no_sooner() {
    let settings = Settings { until: at(5), ..AT_THE_END };
    let bench = run(
        DIAMOND,
        settings,
        r#"0 start | 1 wake | 2 a = {"x": 1} | 5 wake | 6 wake | 6 b = 1"#,
        r#"
            call a 1
            call b {"of": 1}
            call c [{"x": 1}, 2]
            cancel b
            cancel c
            done b=deadline_passed c=deadline_passed d=deadline_passed
        "#,
    );
    assert_eq!(bench.graph.deadline(), None);
    let bench = Bench::new(DIAMOND, settings);
    assert_eq!(bench.graph.deadline().map(|(until, _why)| until), Some(at(5)));
}

#[test]
fn what_comes_as_the_deadline_passes_is_told_and_starts_nothing() {
    run(
        "a 1\nb {\"$ref\": \"a\"}",
        Settings { until: at(5), ..AT_THE_END },
        "0 start | 5 a = 2",
        "
            call a 1
            done a=2 b=deadline_passed
        ",
    );
    run("a 1", Settings { until: at(5), ..AT_THE_END }, "6 start", "done a=deadline_passed");
}

#[test]
fn an_outcome_counts_once_and_only_of_what_is_under_way() {
    run(
        "a 1\nb {\"$ref\": \"a\"}",
        AT_THE_END,
        "0 start | 0 start | 1 b = 0 | 1 a = 1 | 2 a = 2 | 2 a ! no | 3 b = 3 | 4 b = 4",
        "
            call a 1
            call b 1
            done b=3
        ",
    );
    let mut bench = Bench::new("a 1", AT_THE_END);
    bench.input(Input::Start, at(0));
    let outcome = Outcome::Failed(Bytes::new());
    bench.input(Input::Finished { command: CommandIx(1), outcome, cluster_hops: None }, at(1));
    assert_eq!(bench.seen, ["call a 1"]);
}

#[test]
fn so_many_are_under_way_and_others_wait_their_turn() {
    let graph: Vec<String> =
        (0..CALL_GRAPH_UNDER_WAY_MAX + 3).map(|ix| format!("c{ix} 0")).collect();
    let mut bench = Bench::new(&graph.join("\n"), AT_THE_END);
    bench.input(Input::Start, at(0));
    assert_eq!(bench.seen.len(), CALL_GRAPH_UNDER_WAY_MAX);
    bench.finished("c5", Outcome::Value(json("1")), at(1));
    bench.finished("c6", Outcome::Failed(Bytes::new()), at(3));
    assert_eq!(bench.seen.split_off(CALL_GRAPH_UNDER_WAY_MAX), ["call c32 0", "call c33 0"]);
    bench.input(Input::Cancel, at(4));
    let cancelled = bench.seen.iter().filter(|line| line.starts_with("cancel"));
    assert_eq!(cancelled.count(), CALL_GRAPH_UNDER_WAY_MAX);
    let queued = |ix: usize| bench.summary.as_ref().unwrap().commands[ix].queued.as_secs();
    assert_eq!([queued(31), queued(32), queued(33), queued(34)], [0, 1, 3, 4]);
}

#[test]
fn a_reference_that_leads_nowhere_is_an_error_before_the_other_inputs_are_there() {
    let graph = r#"
        a 0
        other 0
        b [{"$ref": "a.x.1"}, {"$ref": "other"}]
        c {"$ref": "b"}
    "#;
    for (outcome, want) in [
        (r#"{"x": [0]}"#, "a.x.1: the result has no such field"),
        ("7", "a.x.1: the result has no such field"),
        (r#"{"x": [0, 1]"#, "a.x.1: the result is not of the encoding it declares"),
    ] {
        let mut bench = Bench::new(graph, STREAMED);
        bench.input(Input::Start, at(0));
        bench.finished("a", Outcome::Value(json(outcome)), at(1));
        let want = format!("partial b unmet {want}");
        assert!(bench.seen.contains(&want), "{:?}", bench.seen);
        assert!(bench.seen.contains(&"partial c skipped 2".to_string()), "{:?}", bench.seen);
    }
}

/// What `b` is called with, or why not, when `a` gives this.
fn passed_on(argument: Value, given: Value) -> Result<Value, End> {
    let commands = vec![command("a", "0"), Command { argument, ..command("b", "0") }];
    let mut graph = CallGraph::new(Plan::new(commands).unwrap(), STREAMED);
    let mut out = Vec::new();
    graph.handle(Input::Start, at(0), &mut out);
    out.clear();
    let (command, outcome) = (CommandIx(0), Outcome::Value(given));
    graph.handle(Input::Finished { command, outcome, cluster_hops: None }, at(1), &mut out);
    let mut ends = out.into_iter().filter_map(|effect| match effect {
        Effect::Call { argument, .. } => Some(Ok(argument)),
        Effect::Partial { command: CommandIx(1), end } => Some(Err(end)),
        Effect::Cancel { .. } | Effect::Partial { .. } | Effect::Done { .. } => None,
    });
    ends.next().unwrap()
}

#[test]
fn a_command_with_one_reference_of_two_that_leads_nowhere_ends_once() {
    run(
        r#"
            a 0
            b [{"$ref": "a.w"}, {"$ref": "a.x"}, {"$ref": "a.y"}]
        "#,
        AT_THE_END,
        r#"0 start | 1 a = {"x": 1}"#,
        r#"
            call a 0
            done a={"x": 1} b=unmet a.w: the result has no such field
        "#,
    );
}

#[test]
fn an_argument_that_is_a_reference_takes_any_encoding() {
    for encoding in Encoding::ALL {
        let given = Value { encoding, bytes: Bytes::from_static(b"\xc1 anything") };
        let argument = json(" {\"$ref\" : \"a\"}\n");
        assert_eq!(passed_on(argument, given.clone()), Ok(given));
    }
    let given = json(r#"{"x": 1.50}"#);
    assert_eq!(passed_on(json(r#"{"$ref": "a.x"}"#), given), Ok(json("1.50")));
}

#[test]
fn of_opaque_bytes_there_are_no_fields_and_no_place_in_json() {
    let opaque = Value { encoding: Encoding::Bytes, bytes: Bytes::from_static(b"{\"x\":1}") };
    let unmet = |reference: &str| End::Unmet(Unmet::Opaque { reference: reference.to_string() });
    let field = json(r#"{"$ref": "a.x"}"#);
    assert_eq!(passed_on(field, opaque.clone()), Err(unmet("a.x")));
    assert_eq!(passed_on(json(r#"[{"$ref": "a"}]"#), opaque), Err(unmet("a")));
    let opaque = Value { encoding: Encoding::Bytes, bytes: Bytes::from_static(&[7]) };
    let packed = |bytes: &'static [u8]| Value {
        encoding: Encoding::MessagePack,
        bytes: Bytes::from_static(bytes),
    };
    let argument = packed(b"\x91\x81\xa4$ref\xa1a");
    assert_eq!(passed_on(argument, opaque), Ok(packed(&[0x91, 0xc4, 1, 7])));
    let text = Value { encoding: Encoding::Text, bytes: Bytes::from_static(b"it's") };
    assert_eq!(passed_on(json(r#"[{"$ref": "a"}]"#), text), Ok(json(r#"["it's"]"#)));
}

#[test]
fn a_result_puts_nothing_but_itself_into_an_argument() {
    for given in [r#"1, "admin": true"#, "1}", "", "1 2"] {
        let unmet = Unmet::Malformed { reference: "a".to_string() };
        let argument = json(r#"{"x": {"$ref": "a"}}"#);
        assert_eq!(passed_on(argument, json(given)), Err(End::Unmet(unmet)), "{given}");
    }
    let given = json(r#"{"$ref": "b", "$literal": {"$ref": "b"}}"#);
    let want = json(&format!("[{}]", std::str::from_utf8(&given.bytes).unwrap()));
    assert_eq!(
        passed_on(json(r#"[{"$ref": "a"}]"#), given),
        Ok(want),
        "results are not read again"
    );
}

#[test]
fn literals_are_passed_on_as_they_are_written() {
    for (argument, want) in [
        (r#"{"$literal": {"$ref": "nobody"}}"#, r#"{"$ref": "nobody"}"#),
        (r#"[{"$literal": {"$literal": 1.0}}, "$ref"]"#, r#"[{"$literal": 1.0}, "$ref"]"#),
        (r#"{"$other": 1, "x": "\u0024ref"}"#, r#"{"$other": 1, "x": "\u0024ref"}"#),
        (r#"{"x": {"\u0024literal": "$"}}"#, r#"{"x": "$"}"#),
        ("not json", "not json"),
    ] {
        let bench = run(&format!("a {argument}"), AT_THE_END, "0 start", &format!("call a {want}"));
        assert_eq!(bench.seen, [format!("call a {want}")]);
    }
    let opaque =
        Value { encoding: Encoding::Bytes, bytes: Bytes::from_static(b"{\"$ref\":\"x\"}") };
    let plan = Plan::new(vec![Command { argument: opaque, ..command("a", "") }]);
    assert!(plan.is_ok(), "bytes refer to nothing");
}

#[test]
fn names_with_dots_are_reached_one_by_one() {
    let given = json(r#"{"a.b": [{"": 5}]}"#);
    let argument = json(r#"[{"$ref": ["a", "a.b", 0, ""]}]"#);
    assert_eq!(passed_on(argument, given), Ok(json("[5]")));
}

#[test]
fn an_argument_that_grows_beyond_a_payload_is_an_error() {
    let large = json(&format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX / 2 - 100)));
    let once = passed_on(json(r#"[{"$ref": "a"}]"#), large.clone()).unwrap();
    assert_eq!(once.bytes.len(), large.bytes.len() + 2);
    let thrice = json(r#"[{"$ref": "a"}, {"$ref": "a"}, {"$ref": "a"}]"#);
    assert_eq!(passed_on(thrice, large), Err(End::Unmet(Unmet::TooLarge)));
    // What is read counts, though little of it is left.
    let blank = json(&format!("{}1", " ".repeat(PAYLOAD_BYTES_MAX / 2)));
    let pair = [&[0x92][..], b"\x81\xa4$ref\xa1a\x81\xa4$ref\xa1a"].concat();
    let pair = Value { encoding: Encoding::MessagePack, bytes: pair.into() };
    assert_eq!(passed_on(pair, blank), Err(End::Unmet(Unmet::TooLarge)));
    // 327,680 bytes that become more than a payload as they are translated.
    let zeros = [&[0xdd, 0, 5, 0, 0][..], &vec![0xe0; 5 << 16]].concat();
    let zeros = Value { encoding: Encoding::MessagePack, bytes: zeros.into() };
    assert_eq!(passed_on(json(r#"[{"$ref": "a"}]"#), zeros), Err(End::Unmet(Unmet::TooLarge)));
}

#[test]
fn results_beyond_what_a_graph_may_hold_are_errors_of_their_commands() {
    let graph: Vec<String> = (0..18).map(|ix| format!("c{ix} 0")).collect();
    let graph = format!("{}\nafter {{\"$ref\": \"c17\"}}", graph.join("\n"));
    let mut bench = Bench::new(&graph, AT_THE_END);
    bench.input(Input::Start, at(0));
    let large = Bytes::from(vec![b'1'; PAYLOAD_BYTES_MAX]);
    for ix in 0..18 {
        let value = Value { encoding: Encoding::Bytes, bytes: large.clone() };
        bench.finished(&format!("c{ix}"), Outcome::Value(value), at(1));
        assert!(bench.graph.held_bytes() <= CALL_GRAPH_HELD_BYTES_MAX);
    }
    let last = bench.seen.pop().unwrap();
    assert!(
        last.ends_with(" c16=no_room c17=no_room after=skipped 17"),
        "{}",
        &last[last.len() - 60..]
    );
    let mut bench = Bench::new(&graph, STREAMED);
    bench.input(Input::Start, at(0));
    for ix in 0..17 {
        let value = Value { encoding: Encoding::Bytes, bytes: large.clone() };
        bench.finished(&format!("c{ix}"), Outcome::Value(value), at(1));
        assert_eq!(bench.graph.held_bytes(), 0, "what is told at once is not held");
    }
}

#[test]
fn a_result_is_let_go_when_the_last_consumer_has_taken_it() {
    let graph = "a 0\nother 0\nb {\"$ref\": \"a\"}\nc [{\"$ref\": \"a.x\"}, {\"$ref\": \"other\"}]";
    let mut bench = Bench::new(graph, AT_THE_END);
    bench.input(Input::Start, at(0));
    let value = json("{\"x\": 1}");
    bench.finished("a", Outcome::Value(value.clone()), at(1));
    assert_eq!(bench.graph.held_bytes(), value.bytes.len());
    assert!(!value.bytes.is_unique(), "c waits for it");
    bench.finished("other", Outcome::Value(json("2")), at(2));
    assert_eq!(bench.seen[3], "call c [1, 2]");
    assert_eq!(bench.graph.held_bytes(), 0);
    assert!(value.bytes.is_unique(), "the machine has given it up");
}

#[test]
fn the_summary_says_where_the_time_went() {
    let bench = run(
        DIAMOND,
        AT_THE_END,
        r#"10 start | 11 a = {"x": 1} | 13 c = [1] | 16 b = 2 | 20 d ! no"#,
        r#"
            call a 1
            call b {"of": 1}
            call c [{"x": 1}, 2]
            call d {"b": 2, "c": 1}
            done d=failed no
        "#,
    );
    let summary = bench.summary.unwrap();
    assert_eq!(summary.took, Duration::from_secs(10));
    let spent = |waiting, calling| Spent {
        waiting: Duration::from_secs(waiting),
        queued: Duration::ZERO,
        calling: Duration::from_secs(calling),
        cluster_hops: Some(2),
    };
    assert_eq!(summary.commands, [spent(0, 1), spent(1, 5), spent(1, 2), spent(6, 4)]);
    let critical = CriticalPath {
        commands: vec![CommandIx(0), CommandIx(1), CommandIx(3)],
        took: Duration::from_secs(10),
    };
    assert_eq!(summary.critical_path, critical);
    let bench = run(
        "a 0\nb {\"$ref\": \"a\"}",
        AT_THE_END,
        "1 start | 4 cancel",
        "call a 0\ncancel a\ndone a=cancelled b=cancelled",
    );
    let hops: Vec<_> = bench
        .summary
        .unwrap()
        .commands
        .iter()
        .map(|spent| (spent.calling.as_secs(), spent.cluster_hops))
        .collect();
    assert_eq!(hops, [(3, None), (0, None)]);
}
