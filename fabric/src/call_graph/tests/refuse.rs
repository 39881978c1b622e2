//! Graphs that are refused before anything of them runs.

use super::*;
use crate::limits::{
    CALL_ARGUMENT_DEPTH_MAX, CALL_COMMAND_NAME_BYTES_MAX, CALL_GRAPH_BYTES_MAX,
    CALL_GRAPH_COMMANDS_MAX, CALL_GRAPH_DEPTH_MAX, CALL_GRAPH_REFERENCES_MAX,
    CALL_REFERENCE_FIELDS_MAX,
};

fn refused(text: &str) -> Option<Refused> {
    Plan::new(commands(text)).err()
}

#[track_caller]
fn check(text: &str, want: &str) {
    assert_eq!(refused(text).map(|refused| refused.to_string()).as_deref(), Some(want), "{text}");
}

#[test]
fn a_cycle_is_named() {
    check("a {\"$ref\": \"a.x\"}", "a refers to itself");
    check("a {\"$ref\": \"b\"}\nb {\"$ref\": \"a\"}", "cycle: a, b");
    check(
        "
            start 1
            after [{\"$ref\": \"z\"}, {\"$ref\": \"start\"}]
            x {\"$ref\": \"y\"}
            y [{\"$ref\": \"start\"}, {\"$ref\": \"z\"}]
            z {\"$ref\": \"x\"}
        ",
        "cycle: z, x, y",
    );
}

#[test]
fn names_are_known_and_once() {
    check("a {\"$ref\": \"b.x\"}", "a refers to b, which is no command");
    check("a 1\nb 1\na 2", "two commands are named a");
    let long = "n".repeat(CALL_COMMAND_NAME_BYTES_MAX + 1);
    assert_eq!(refused(&format!("{} 1", &long[1..])), None);
    for name in [&long, "", "a.b", "é", "$"] {
        let refused = Plan::new(vec![command("ok", "1"), command(name, "1")]).err();
        assert_eq!(refused, Some(Refused::Name { place: 1 }), "{name}");
    }
}

#[test]
fn references_are_well_formed() {
    let argument = |text: &str| match refused(&format!("a {text}\nb 1")) {
        Some(Refused::Argument { command, why }) if command == "a" => Some(why),
        None => None,
        other => panic!("{other:?}"),
    };
    for text in [
        r#"{"$ref": "b", "x": 1}"#,
        r#"[{"x": 1, "$literal": 2}]"#,
        r#"{"$ref": "b", "$ref": "b"}"#,
        r#"{"$ref": "b", "$literal": 1}"#,
        r#"{"x": {"$ref": "b"}, "$ref": "b"}"#,
    ] {
        assert_eq!(argument(text), Some(ArgumentError::NotAlone), "{text}");
    }
    for written in
        ["1", "\"\"", "\"b.\"", "\".b\"", "[]", "[\"b\", -1]", "[\"b\", []]", "{}", "null"]
    {
        let text = format!("{{\"$ref\": {written}}}");
        assert_eq!(argument(&text), Some(ArgumentError::Reference), "{text}");
    }
    for text in [r#"{"$ref": "b""#, r#"{"$ref": "b"}}"#, r#"["$", nul]"#] {
        assert_eq!(argument(text), Some(ArgumentError::Malformed), "{text}");
    }
    let fields = |count| format!("{{\"$ref\": \"b{}\"}}", ".x".repeat(count));
    assert_eq!(argument(&fields(CALL_REFERENCE_FIELDS_MAX)), None);
    assert_eq!(argument(&fields(CALL_REFERENCE_FIELDS_MAX + 1)), Some(ArgumentError::Reference));
    let listed = |count| format!("{{\"$ref\": [\"b\"{}]}}", ", 0".repeat(count));
    assert_eq!(argument(&listed(CALL_REFERENCE_FIELDS_MAX)), None);
    assert_eq!(argument(&listed(CALL_REFERENCE_FIELDS_MAX + 1)), Some(ArgumentError::Reference));
    let deep = |levels| format!("{}{{\"$ref\": \"b\"}}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(argument(&deep(CALL_ARGUMENT_DEPTH_MAX - 1)), None);
    assert_eq!(argument(&deep(CALL_ARGUMENT_DEPTH_MAX)), Some(ArgumentError::TooDeep));
    assert_eq!(argument(&deep(100).replace("$ref", "ref")), None, "nothing refers");
}

#[test]
fn each_refusal_has_a_word() {
    let word = |text: &str| refused(text).map(|refused| refused.word());
    for (text, want) in [
        ("", "empty"),
        ("a.b 1", "bad_name"),
        ("a 1\na 1", "duplicate_name"),
        ("a {\"$ref\": 1.5}", "bad_argument"),
        ("a {\"$ref\": \"b\"}", "unknown_command"),
        ("a {\"$ref\": \"a\"}", "self_reference"),
        ("a {\"$ref\": \"b\"}\nb {\"$ref\": \"a\"}", "cycle"),
    ] {
        assert_eq!(word(text), Some(want), "{text}");
    }
}

#[test]
fn graphs_have_bounds() {
    let many = |count: usize| (0..count).map(|ix| command(&format!("c{ix}"), "1")).collect();
    assert_eq!(Plan::new(many(0)).err(), Some(Refused::Empty));
    assert!(Plan::new(many(CALL_GRAPH_COMMANDS_MAX)).is_ok());
    let count = CALL_GRAPH_COMMANDS_MAX + 1;
    assert_eq!(Plan::new(many(count)).err(), Some(Refused::TooManyCommands { count }));

    let chain = |count: usize| {
        let link =
            |ix: usize| command(&format!("c{}", ix + 1), &format!("{{\"$ref\": \"c{ix}\"}}"));
        (1..count).rev().map(link).chain([command("c1", "1")]).collect()
    };
    assert!(Plan::new(chain(CALL_GRAPH_DEPTH_MAX)).is_ok());
    let commands = CALL_GRAPH_DEPTH_MAX + 1;
    assert_eq!(Plan::new(chain(commands)).err(), Some(Refused::TooDeep { commands }));

    let references = |count| {
        let all = vec!["{\"$ref\": \"a\"}"; count].join(",");
        vec![command("a", "1"), command("b", &format!("[{all}]"))]
    };
    assert!(Plan::new(references(CALL_GRAPH_REFERENCES_MAX)).is_ok());
    let count = CALL_GRAPH_REFERENCES_MAX + 1;
    assert_eq!(Plan::new(references(count)).err(), Some(Refused::TooManyReferences { count }));

    let sized = |bytes: usize| {
        let mut command = command("a", &"1".repeat(bytes - "a".len() - "do_a".len() - 4));
        command.target.version = "v".to_string();
        command.target.cluster = "c".to_string();
        command.target.resources = vec!["r".to_string(), "s".to_string()];
        vec![command]
    };
    assert!(Plan::new(sized(CALL_GRAPH_BYTES_MAX)).is_ok());
    let bytes = CALL_GRAPH_BYTES_MAX + 1;
    assert_eq!(Plan::new(sized(bytes)).err(), Some(Refused::TooLarge { bytes }));
}
