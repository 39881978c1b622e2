//! What a file says, and what is refused before anything is called.

use super::*;

fn commands(list: &str) -> Result<Graph, Refusal> {
    Graph::parse(format!("{{\"commands\": [{list}]}}").as_bytes())
}

/// As the plan gets it.
fn command(entry: &str) -> Command {
    let entry: Entry<'_> = serde_json::from_str(entry).unwrap();
    entry.into()
}

#[test]
fn a_command_is_what_it_says() {
    let all = command(
        r#"{"name": "a", "function": "f.g", "version": "^1", "resources": ["gpu", "db"],
            "cluster": "eu", "idempotent": true, "args": {"n":  1.50, "of": {"$ref": "b"}}}"#,
    );
    let target = Target {
        function: "f.g".to_owned(),
        version: "^1".to_owned(),
        resources: vec!["gpu".to_owned(), "db".to_owned()],
        cluster: "eu".to_owned(),
    };
    let bytes = Bytes::from_static(br#"{"n":  1.50, "of": {"$ref": "b"}}"#);
    let argument = Value { encoding: Encoding::Json, bytes };
    assert_eq!(all, Command { name: "a".to_owned(), target, argument }, "as it is written");
    let least = command(r#"{"name": "a", "function": "f"}"#);
    assert_eq!(least.target, Target { function: "f".to_owned(), ..Target::default() });
    assert_eq!(least.argument, Value { encoding: Encoding::Text, bytes: Bytes::new() });
    let null = command(r#"{"name": "a", "function": "f", "args": null}"#);
    let bytes = Bytes::from_static(b"null");
    assert_eq!(null.argument, Value { encoding: Encoding::Json, bytes });
}

#[test]
fn a_graph_keeps_the_order_of_its_commands() {
    let list = r#"{"name": "z", "function": "f", "args": {"$ref": "a"}},
        {"name": "a", "function": "g", "idempotent": true}"#;
    let graph = commands(list).unwrap();
    let asked = |name: &str, function: &str, is_idempotent| Asked {
        name: name.to_owned(),
        function: function.parse().unwrap(),
        constraint: Constraint::ANY,
        resources: Resources::default(),
        cluster: None,
        is_idempotent,
        is_called: false,
    };
    assert_eq!(graph.asked, [asked("z", "f", false), asked("a", "g", true)]);
    assert_eq!((graph.told, graph.when), (Told::Unconsumed, When::AtTheEnd));
}

#[test]
fn a_command_is_called_as_it_says() {
    let list =
        r#"{"name": "a", "function": "f", "version": "^1", "resources": ["gpu"], "cluster": "eu"}"#;
    let graph = commands(list).unwrap();
    let Asked { constraint, resources, cluster, .. } = &graph.asked[0];
    assert_eq!(*constraint, "^1".parse().unwrap());
    assert_eq!(*resources, Resources::new(["gpu"]).unwrap());
    assert_eq!(*cluster, Some("eu".parse::<ClusterName>().unwrap().id()));
}

#[test]
fn what_is_told_is_asked_for_beside_the_commands() {
    let text = r#"{"stream": true, "commands": [{"name": "a",  "function": "f"}], "all": true}"#;
    let graph = Graph::parse(text.as_bytes()).unwrap();
    assert_eq!((graph.told, graph.when), (Told::All, When::Streamed));
    let mut document = Document::parse(text.as_bytes()).unwrap();
    assert!(document.all && document.stream);
    document.stream = false;
    let want = r#"{"commands":[{"name": "a",  "function": "f"}],"all":true,"stream":false}"#;
    assert_eq!(document.json(), want, "commands as they are written");
    assert_eq!(Graph::parse(document.json().as_bytes()).unwrap().when, When::AtTheEnd);
}

#[test]
fn what_cannot_be_run_is_refused_by_a_word() {
    for (list, word, said) in [
        (r#"{"name": "a"}"#, "malformed", "missing field `function`"),
        (r#"{"name": "a", "function": "f", "arguments": 1}"#, "malformed", "`arguments`"),
        (r#"{"name": "a", "function": "f", "args": 1, "args": 2}"#, "malformed", "duplicate"),
        (r#"{"name": "a", "function": "f", "args": {]}"#, "malformed", "line 1"),
        (r#"{"name": "a", "function": "f g"}"#, "bad_function", "command \"a\": "),
        (r#"{"name": "a", "function": "mpreg.graph"}"#, "bad_function", "no other graph"),
        (r#"{"name": "a", "function": "f", "version": "one"}"#, "bad_version", "command \"a\": "),
        (r#"{"name": "a", "function": "f", "resources": [""]}"#, "bad_resource", "command \"a\": "),
        (r#"{"name": "a", "function": "f", "cluster": "E U"}"#, "bad_cluster", "command \"a\": "),
        ("", "empty", "no command"),
        (r#"{"name": "a", "function": "f", "args": {"$ref": "b"}}"#, "unknown_command", "b"),
        (r#"{"name": "a", "function": "f", "args": {"$ref": "a.x"}}"#, "self_reference", "itself"),
    ] {
        let refusal = commands(list).unwrap_err();
        assert_eq!(refusal.word(), word, "{list}");
        assert!(refusal.to_string().contains(said), "{refusal}");
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"commands": {}}"#,
        r#"{"commands": [], "deadline": 1}"#,
        r#"{"commands": [], "all": 1}"#,
    ] {
        assert_eq!(Graph::parse(text.as_bytes()).unwrap_err().word(), "malformed", "{text}");
    }
}

#[test]
fn spaces_do_not_count_until_they_are_many() {
    let mut text = br#"{"commands": [{"name": "a", "function": "f"}]}"#.to_vec();
    text.resize(PAYLOAD_BYTES_MAX, b' ');
    assert!(Graph::parse(&text).is_ok());
    text.push(b' ');
    assert_eq!(Graph::parse(&text).unwrap_err().word(), "too_large");
}
