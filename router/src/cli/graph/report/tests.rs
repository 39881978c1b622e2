//! Reports, as they are printed.

use expect_test::expect;
use mpreg_client::{Failure, Target};
use mpreg_fabric::call_graph::{CriticalPath, Unmet};
use mpreg_proto::envelope::Encoding;
use mpreg_proto::id::NodeId;

use super::*;

fn asked() -> Vec<Asked> {
    let asked = |(name, is_called): (&str, bool)| Asked {
        name: name.to_owned(),
        function: format!("do.{name}"),
        is_idempotent: false,
        is_called,
    };
    let all = [("a", true), ("b", true), ("c", true), ("d", false), ("e", false), ("f", true)];
    all.into_iter().map(asked).collect()
}

fn value(encoding: Encoding, bytes: &'static [u8]) -> End {
    End::Value(call_graph::Value { encoding, bytes: Bytes::from_static(bytes) })
}

fn over() -> Over {
    let failed = Failure {
        error: CallError::WorkerFailed,
        target: Target { name: "do.c".parse().unwrap(), cluster: None, node: Some(NodeId(2)) },
        path: vec![NodeId(1)],
        text: "no luck".to_owned(),
        may_have_run: true,
    };
    let ends = [
        value(Encoding::Json, b"{\"x\": 1.0}\n"),
        value(Encoding::Bytes, b"\x00\xff"),
        End::Failed(failure("do.c", &failed.into())),
        End::Skipped { because: CommandIx(2) },
        End::Unmet(Unmet::Missing { reference: "a.y".to_owned() }),
        End::DeadlinePassed,
    ];
    let spent = |waiting, calling| Spent {
        waiting: Duration::from_micros(waiting),
        queued: Duration::from_micros(1),
        calling: Duration::from_micros(calling),
        cluster_hops: None,
    };
    let commands = vec![CommandIx(0), CommandIx(2)];
    let critical_path = CriticalPath { commands, took: Duration::from_micros(30) };
    let summary = Summary {
        took: Duration::from_micros(70),
        commands: (0..6).map(|ix| spent(ix, 10 * ix)).collect(),
        critical_path,
    };
    Over { results: (0..).map(CommandIx).zip(ends).collect(), summary }
}

#[test]
fn one_object_has_it_all() {
    let (over, asked) = (over(), asked());
    let report = Report::new(&over, &asked);
    let json = report.json();
    let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
    expect![[r#"
        {
          "errors": {
            "c": {
              "code": "worker_failed",
              "may_have_run": true,
              "path": [
                "00000000000000000000000000000001"
              ],
              "reason": "no luck",
              "target": "do.c@00000000000000000000000000000002"
            },
            "d": {
              "because": "c",
              "code": "skipped",
              "may_have_run": false,
              "path": [],
              "reason": "c has no result",
              "target": "do.d"
            },
            "e": {
              "code": "unmet",
              "may_have_run": false,
              "path": [],
              "reason": "a.y: the result has no such field",
              "target": "do.e"
            },
            "f": {
              "code": "deadline",
              "may_have_run": true,
              "path": [],
              "reason": "the graph's time is over",
              "target": "do.f"
            }
          },
          "results": {
            "a": {
              "x": 1.0
            }
          },
          "results_hex": {
            "b": "00ff"
          },
          "summary": {"#]]
    .assert_eq(
        serde_json::to_string_pretty(&tree)
            .unwrap()
            .split_inclusive("\"summary\": {")
            .next()
            .unwrap(),
    );
    let summary = &tree["summary"];
    let spent = json!({ "waiting_us": 4, "queued_us": 1, "calling_us": 40 });
    assert_eq!(summary["commands"]["e"], spent);
    assert_eq!(summary["commands"].as_object().unwrap().len(), 6);
    assert_eq!(summary["critical_path"], json!({ "commands": ["a", "c"], "took_us": 30 }));
    assert_eq!(summary["took_us"], 70);
    assert_eq!(report.last_line(), format!("{{{}", &json[json.find("\"summary\"").unwrap()..]));
    assert!(!report.is_well());
    let mut well = Over { results: over.results[..2].to_vec(), summary: over.summary };
    assert!(Report::new(&well, &asked).is_well());
    well.results.pop();
    let json = Report::new(&well, &asked).json();
    assert!(json.starts_with(r#"{"results":{"a":{"x": 1.0}},"errors":{},"summary":{"#), "{json}");
}

#[test]
fn a_streamed_command_is_a_line() {
    let (over, asked) = (over(), asked());
    let lines: Vec<String> =
        over.results.iter().map(|(command, end)| line(*command, end, &asked)).collect();
    assert_eq!(lines[0], r#"{"command":"a","result":{"x": 1.0}}"#);
    assert_eq!(lines[1], r#"{"command":"b","result_hex":"00ff"}"#);
    assert_eq!(
        lines[3],
        "{\"command\":\"d\",\"error\":{\"code\":\"skipped\",\"reason\":\"c has no result\",\
         \"target\":\"do.d\",\"path\":[],\"may_have_run\":false,\"because\":\"c\"}}"
    );
}

#[test]
fn as_text_it_is_a_line_each_and_a_table() {
    let (over, asked) = (over(), asked());
    expect![[r#"
        a: {"x": 1.0}
        b: hex 00ff
        c: worker_failed: no luck
        d: skipped: c has no result
        e: unmet: a.y: the result has no such field
        f: deadline: the graph's time is over

              waited       queued       called  us
                   0            1            0  a
                   1            1           10  b
                   2            1           20  c
                   3            1           30  d
                   4            1           40  e
                   5            1           50  f
        took 70 us, the longest way 30 us: a, c
    "#]]
    .assert_eq(&Report::new(&over, &asked).to_string());
}

#[test]
fn calls_that_nobody_answered_have_a_word_too() {
    let word = |error: &CallFailed| {
        let failed: Failed = serde_json::from_slice(&failure("f", error)).unwrap();
        (failed.code.into_owned(), failed.target, failed.may_have_run)
    };
    for (error, want, may_have_run) in [
        (CallFailed::Streamed, "streamed", true),
        (CallFailed::Closed, "unreachable", true),
        (CallFailed::TooMany, "overloaded", false),
    ] {
        assert_eq!(word(&error), (want.to_owned(), "f".to_owned(), may_have_run));
    }
}

#[test]
fn a_refusal_is_one_object() {
    let refusal = Refusal::Graph(call_graph::Refused::Cycle {
        commands: vec!["a".to_owned(), "b".to_owned()],
    });
    assert_eq!(refused(&refusal), r#"{"refused":{"code":"cycle","reason":"cycle: a, b"}}"#);
}
