//! Reports, as they are printed.

use expect_test::expect;
use mpreg_fabric::call_graph::{CriticalPath, Unmet};
use mpreg_fabric::limits::{CALL_GRAPH_COMMANDS_MAX, CALL_GRAPH_DEPTH_MAX};
use mpreg_proto::call::Target;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::function::{Constraint, Resources};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::limits::{FUNCTION_NAME_BYTES_MAX, HOP_PATH_MAX};

use super::*;

fn asked() -> Vec<Asked> {
    let asked = |(name, is_called): (&str, bool)| Asked {
        name: name.to_owned(),
        function: format!("do.{name}").parse().unwrap(),
        constraint: Constraint::ANY,
        resources: Resources::default(),
        cluster: None,
        is_idempotent: false,
        is_called,
    };
    let all = [("a", true), ("b", true), ("c", true), ("d", false), ("e", false), ("f", true)];
    all.into_iter().map(asked).collect()
}

fn value(encoding: Encoding, bytes: impl Into<Bytes>) -> End {
    End::Value(Value { encoding, bytes: bytes.into() })
}

fn results() -> Vec<(CommandIx, End)> {
    let failed = Failure {
        error: CallError::WorkerFailed,
        target: Target { name: "do.c".parse().unwrap(), cluster: None, node: Some(NodeId(2)) },
        path: vec![NodeId(1)],
        text: "no luck".to_owned(),
        may_have_run: true,
    };
    let ends = [
        value(Encoding::Json, &b"{\"x\": 1.0}\n"[..]),
        value(Encoding::Bytes, &b"\x00\xff"[..]),
        End::Failed(failure(&failed)),
        End::Skipped { because: CommandIx(2) },
        End::Unmet(Unmet::Missing { reference: "a.y".to_owned() }),
        End::DeadlinePassed,
    ];
    (0..).map(CommandIx).zip(ends).collect()
}

fn summary(commands_count: u64) -> Summary {
    let spent = |waiting, calling| Spent {
        waiting: Duration::from_micros(waiting),
        queued: Duration::from_micros(1),
        calling: Duration::from_micros(calling),
        cluster_hops: (waiting == 2).then_some(1),
    };
    let commands = vec![CommandIx(0), CommandIx(2)];
    let critical_path = CriticalPath { commands, took: Duration::from_micros(30) };
    Summary {
        took: Duration::from_micros(70),
        commands: (0..commands_count).map(|ix| spent(ix, 10 * ix)).collect(),
        critical_path,
    }
}

#[test]
fn one_object_has_it_all() {
    let (asked, results, summary) = (asked(), results(), summary(6));
    let report = Report { asked: &asked, results: &results, summary: &summary };
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
    let told = &tree["summary"];
    let spent = json!({ "waiting_us": 4, "queued_us": 1, "calling_us": 40 });
    assert_eq!(told["commands"]["e"], spent);
    let spent = json!({ "waiting_us": 2, "queued_us": 1, "calling_us": 20, "cluster_hops": 1 });
    assert_eq!(told["commands"]["c"], spent);
    assert_eq!(told["commands"].as_object().unwrap().len(), 6);
    assert_eq!(told["critical_path"], json!({ "commands": ["a", "c"], "took_us": 30 }));
    assert_eq!(told["took_us"], 70);
    assert_eq!(report.last_line(), format!("{{{}", &json[json.find("\"summary\"").unwrap()..]));
    let json = Report { results: &results[..1], ..report }.json();
    assert!(json.starts_with(r#"{"results":{"a":{"x": 1.0}},"errors":{},"summary":{"#), "{json}");
}

#[test]
fn a_streamed_command_is_a_line() {
    let (asked, results) = (asked(), results());
    let lines: Vec<String> =
        results.iter().map(|(command, end)| event(&asked, *command, end)).collect();
    assert_eq!(lines[0], r#"{"command":"a","result":{"x": 1.0}}"#);
    assert_eq!(lines[1], r#"{"command":"b","result_hex":"00ff"}"#);
    assert_eq!(
        lines[3],
        "{\"command\":\"d\",\"error\":{\"code\":\"skipped\",\"reason\":\"c has no result\",\
         \"target\":\"do.d\",\"path\":[],\"may_have_run\":false,\"because\":\"c\"}}"
    );
}

#[test]
fn a_line_fits_a_payload_or_says_that_it_does_not() {
    let asked = asked();
    let around = r#"{"command":"a","result":""}"#.len();
    let fits = value(Encoding::Text, vec![b'x'; PAYLOAD_BYTES_MAX - around]);
    assert_eq!(event(&asked, CommandIx(0), &fits).len(), PAYLOAD_BYTES_MAX);
    let larger = value(Encoding::Text, vec![b'x'; PAYLOAD_BYTES_MAX - around + 1]);
    let line = event(&asked, CommandIx(0), &larger);
    assert!(line.starts_with(r#"{"command":"a","error":{"code":"too_large","#), "{line}");
    assert!(line.contains(r#""may_have_run":true"#), "{line}");
}

#[test]
fn a_report_has_the_results_that_fit_and_says_which_do_not() {
    let asked = asked();
    let half = || value(Encoding::Text, vec![b'x'; PAYLOAD_BYTES_MAX / 2]);
    let results: Vec<(CommandIx, End)> =
        [half(), half(), value(Encoding::Json, "7"), value(Encoding::Bytes, vec![255; 100_000])]
            .into_iter()
            .enumerate()
            .map(|(ix, end)| (CommandIx(ix as u16), end))
            .collect();
    let summary = summary(6);
    let json = Report { asked: &asked, results: &results, summary: &summary }.json();
    assert!(json.len() <= PAYLOAD_BYTES_MAX, "{}", json.len());
    let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(tree["results"]["a"].as_str().map(str::len), Some(PAYLOAD_BYTES_MAX / 2));
    assert_eq!(tree["errors"]["b"]["code"], "too_large");
    assert_eq!(tree["results"]["c"], 7, "what comes behind it and fits is there");
    assert_eq!(tree["results_hex"]["d"].as_str().map(str::len), Some(200_000));
}

#[test]
fn the_largest_report_fits_a_payload() {
    let count = CALL_GRAPH_COMMANDS_MAX as u16;
    let name = |ix: u16| format!("{ix:n>64}");
    let asked: Vec<Asked> = (0..count)
        .map(|ix| Asked {
            name: name(ix),
            function: "f".repeat(FUNCTION_NAME_BYTES_MAX).parse().unwrap(),
            is_called: true,
            ..asked().remove(0)
        })
        .collect();
    let failed = Failure {
        error: CallError::HopBudgetExhausted,
        target: Target {
            name: asked[0].function.clone(),
            cluster: Some(ClusterId(u128::MAX)),
            node: Some(NodeId(u128::MAX)),
        },
        path: vec![NodeId(u128::MAX); HOP_PATH_MAX],
        text: "\u{1}".repeat(ERROR_TEXT_BYTES_MAX),
        may_have_run: false,
    };
    let large = value(Encoding::Text, "\u{1}".repeat(PAYLOAD_BYTES_MAX));
    let mut summary = summary(0);
    let forever = Duration::from_nanos(u64::MAX);
    let spent =
        Spent { waiting: forever, queued: forever, calling: forever, cluster_hops: Some(255) };
    summary.commands = vec![spent; count.into()];
    summary.critical_path.commands = (0..CALL_GRAPH_DEPTH_MAX as u16).map(CommandIx).collect();
    // All failed; all are too large; half of them each.
    for failed_of in [1, count + 1, 2] {
        let end = |ix: u16| match (ix + 1).is_multiple_of(failed_of) {
            true => End::Failed(failure(&failed)),
            false => large.clone(),
        };
        let results: Vec<_> = (0..count).map(|ix| (CommandIx(ix), end(ix))).collect();
        let json = Report { asked: &asked, results: &results, summary: &summary }.json();
        assert!(json.len() <= PAYLOAD_BYTES_MAX, "{failed_of}: {}", json.len());
        let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(tree["errors"].as_object().unwrap().len(), usize::from(count));
    }
}

#[test]
fn reasons_are_cut() {
    let asked = asked();
    let unmet = Unmet::Missing { reference: "\u{fc}".repeat(1000) };
    let line = event(&asked, CommandIx(3), &End::Unmet(unmet));
    let tree: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(tree["error"]["reason"].as_str().map(str::len), Some(254), "no half letter");
}

#[test]
fn a_function_that_answers_in_parts_has_a_word() {
    let asked = asked();
    let end = End::Failed(streamed(&asked[0].function));
    let tree: serde_json::Value = serde_json::from_str(&event(&asked, CommandIx(0), &end)).unwrap();
    let error = &tree["error"];
    assert_eq!((&error["code"], &error["target"]), (&json!("streamed"), &json!("do.a")));
    assert_eq!(error["may_have_run"], true);
}
