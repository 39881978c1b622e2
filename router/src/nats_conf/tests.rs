//! What the language says, what its keys come to, and what is refused where.

use expect_test::expect;

use super::*;
use crate::auth::Secret;
use crate::config::auth::{AllowResponses, Auth};

fn options(text: &str) -> Result<Options, ConfError> {
    Options::of(&parse::text(Path::new("nats.conf"), text)?)
}

/// `key = value` of every entry, or the refusal.
fn parsed(text: &str) -> String {
    fn said(value: &Value) -> String {
        match value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(integer) => integer.to_string(),
            Value::Decimal(decimal) => decimal.to_string(),
            Value::Truth(truth) => truth.to_string(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|(_, item)| said(item)).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Block(entries) => format!("{{{}}}", all(entries)),
        }
    }
    fn all(entries: &[Entry]) -> String {
        let said = entries.iter().map(|entry| format!("{}={}", entry.key, said(&entry.value)));
        said.collect::<Vec<_>>().join(" ")
    }
    match parse::text(Path::new("nats.conf"), text) {
        Ok(entries) => all(&entries),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_language_is_read() {
    let table = [
        ("port: 4222", "port=4222"),
        ("port = 4222", "port=4222"),
        ("port 4222", "port=4222"),
        ("port:4222;host:a", "port=4222 host=\"a\""),
        ("  # nothing\n// at all\nport: -1 # chosen\n", "port=-1"),
        ("http: 127.0.0.1:-1", "http=\"127.0.0.1:-1\""),
        ("listen: [::1]:4222", "nats.conf, line 1: a key is expected here"),
        ("url: nats://a:1//b", "url=\"nats://a:1//b\""),
        ("a: 1K b: 1KB c: 2MiB d: 3gi", "a=1000 b=1024 c=2097152 d=3221225472"),
        ("a: 1m", "a=1000000"),
        ("a: 10ms b: 1.5 c: 1.2.3", "a=\"10ms\" b=1.5 c=\"1.2.3\""),
        ("a: true b: off c: YES", "a=true b=false c=true"),
        ("a: 'x\\n\"' b: \"x\\ty\\x41\"", "a=\"x\\\\n\\\"\" b=\"x\\ty\\u{41}\""),
        ("a (\n one\n two )\nb 1", "a=\"one\\n two\" b=1"),
        ("a { b: 1, c { d: e } }", "a={b=1 c={d=\"e\"}}"),
        ("a\n{\n b 1\n}", "a={b=1}"),
        ("a: [1, b\n c.>\n]", "a=[1 \"b\" \"c.>\"]"),
        ("users = [ {user: a} {user: b} ]", "users=[{user=\"a\"} {user=\"b\"}]"),
        ("'a b': 1", "a b=1"),
        ("p: $2a$11$abc", "p=\"$2a$11$abc\""),
        ("A: 7 b { c: $A }", "A=7 b={c=7}"),
        ("b { A: 7 } c: $A", "nats.conf, line 1: there is no variable \"A\""),
        ("a: 1\na:\n", "nats.conf, line 2: a key without a value"),
        ("a {\nb: 1\n", "nats.conf, line 3: a block is not closed"),
        ("a: 1\n}\n", "nats.conf, line 2: a key is expected here"),
        ("a: [1", "nats.conf, line 1: a list is not closed"),
        ("a: 'b", "nats.conf, line 1: a text in quotes is not closed"),
        ("a: \"\\q\"", "nats.conf, line 1: an escape is one of \\t \\n \\r \\\" \\\\ \\xHH"),
        ("a: \"\\xé\"", "nats.conf, line 1: \\x takes two hexadecimal digits"),
        (": 1", "nats.conf, line 1: a key is expected here"),
    ];
    for (text, want) in table {
        // `{:?}` of a text writes what it can as it is.
        assert_eq!(parsed(text), want.replace("\\u{41}", "A"), "{text}");
    }
}

#[test]
fn nesting_and_variables_have_bounds() {
    let deep = "a {".repeat(33);
    assert_eq!(parsed(&deep), "nats.conf, line 1: nested too deeply");
    let mut text = "a0: [1 1 1 1 1 1 1 1 1 1]\n".to_owned();
    for round in 1..20 {
        let before = format!("$a{} ", round - 1).repeat(10);
        text.push_str(&format!("a{round}: [{before}]\n"));
    }
    assert_eq!(parsed(&text), "nats.conf, line 5: variables multiply beyond bounds");
}

#[test]
fn files_include_files_next_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    let users = folder.path().join("users.conf");
    std::fs::write(&path, "max_payload: 2KB\ninclude './users.conf'\nauthorization: $AUTH\n")
        .unwrap();
    std::fs::write(&users, "AUTH { user: a, password: b }\n").unwrap();
    let options = read(&path).unwrap();
    assert_eq!(options.max_payload, Some(2048));
    assert_eq!(options.access.auth.users[0].name, "a");
    std::fs::write(&users, "include nats.conf\n").unwrap();
    let refusal = read(&path).unwrap_err().to_string();
    assert!(refusal.ends_with("line 2: files include each other too deeply"), "{refusal}");
    std::fs::remove_file(&users).unwrap();
    assert!(
        matches!(read(&path), Err(ConfError::Read { path, .. }) if path.ends_with("users.conf"))
    );
}

/// What the launcher of nats.js writes.
const NATS_JS: &str = "host: 127.0.0.1
port: -1
http: 127.0.0.1:-1
leafnodes {
  listen: 127.0.0.1:-1
   }
server_tags [
id:NBGWQ1AY9O5SWJQTVPCHV3
   ]
websocket {
  port: -1
  no_tls: true
   }
authorization {
  users [
   {
    user: a
    password: \"1 b\"
    permission {
      publish: r
      subscribe [
      q
      \"_INBOX.> g\"
       ]
      allow_responses: true
     }
     }
   ]
   }
ports_file_dir: /tmp";

#[test]
fn what_client_suites_write_is_taken() {
    let options = options(NATS_JS).unwrap();
    assert_eq!((options.host.as_deref(), options.port), (Some("127.0.0.1"), Some(-1)));
    assert_eq!(options.http, Some((Some("127.0.0.1".to_owned()), -1)));
    assert_eq!(options.ports_file_dir, Some("/tmp".into()));
    let websocket =
        WebsocketOptions { port: Some(-1), no_tls: true, ..WebsocketOptions::default() };
    assert_eq!(options.websocket, Some(websocket));
    let [login] = &options.access.auth.users[..] else { panic!("one user") };
    assert_eq!((login.name.as_str(), secret(login.password.as_ref())), ("a", "1 b"));
    expect![[r#"
        Some(
            Permission {
                publish: Lists {
                    allow: Some(
                        [
                            "r",
                        ],
                    ),
                    deny: [],
                },
                subscribe: Lists {
                    allow: Some(
                        [
                            "q",
                            "_INBOX.> g",
                        ],
                    ),
                    deny: [],
                },
                allow_responses: Some(
                    Usual(
                        true,
                    ),
                ),
            },
        )
    "#]]
    .assert_debug_eq(&login.permissions);
    expect![[r#"
        nats.conf, line 4: leafnodes has no effect: leaf nodes are not served
        nats.conf, line 7: server_tags has no effect: tags are not shown"#]]
    .assert_eq(&options.notes.join("\n"));
}

#[test]
fn every_key_reaches_its_option() {
    let options = options(
        "listen: 'localhost:4222', http_port: 8222, server_name: n, client_advertise: 'h:1'
        pid_file: /p, logfile: /l, debug: true, trace: true, logtime: false
        max_payload: 1MB, max_control_line: 1K, max_connections: 5, max_subscriptions: 6
        max_pending: 7MB, ping_interval: '2m', ping_max: 8, lame_duck_grace_period: 1m30s
        no_header_support: true, no_auth_user: u
        authorization { token: 7, timeout: 0.5, default_permissions { sub { deny: x } } }
        allow_non_tls: true
        tls { cert_file: c, key_file: k, ca_file: a, verify: yes, handshake_first: 300ms }
        websocket { listen: '0.0.0.0:443', tls { cert_file: c, key_file: k }
            same_origin: true, allowed_origins: ['https://a'] }",
    )
    .unwrap();
    let tls = |ca: &str, is_strict| TlsOptions {
        certificate: "c".to_owned(),
        key: "k".to_owned(),
        ca: ca.to_owned(),
        verify: is_strict,
        handshake_first: is_strict,
        handshake_wait: is_strict.then(|| std::time::Duration::from_millis(300)),
    };
    let duration = std::time::Duration::from_millis;
    let want = Options {
        host: Some("localhost".to_owned()),
        port: Some(4222),
        http: Some((None, 8222)),
        server_name: Some("n".to_owned()),
        client_advertise: Some("h:1".to_owned()),
        pid_file: Some("/p".into()),
        log_file: Some("/l".into()),
        debug: true,
        trace: true,
        no_logtime: true,
        max_payload: Some(1 << 20),
        max_control_line: Some(1000),
        max_connections: Some(5),
        max_subscriptions: Some(6),
        max_pending: Some(7 << 20),
        ping_interval: Some(duration(120_000)),
        ping_max: Some(8),
        lame_duck_grace: Some(duration(90_000)),
        no_headers: true,
        access: options.access.clone(),
        tls: Some(tls("a", true)),
        allow_non_tls: true,
        websocket: Some(WebsocketOptions {
            host: Some("0.0.0.0".to_owned()),
            port: Some(443),
            no_tls: false,
            tls: Some(tls("", false)),
            same_origin: true,
            allowed_origins: vec!["https://a".to_owned()],
        }),
        ..Options::default()
    };
    assert_eq!(format!("{options:?}"), format!("{want:?}"));
    let Access { auth, timeout } = options.access;
    assert_eq!((secret(auth.token.as_ref()), timeout), ("7", Some(duration(500))));
    assert_eq!(auth.no_auth_user.as_deref(), Some("u"));
    assert_eq!(auth.default_permissions.unwrap().subscribe.deny, ["x"]);
}

fn secret(secret: Option<&Secret>) -> &str {
    secret.unwrap().reveal()
}

#[test]
fn what_is_not_served_is_refused_with_its_line() {
    let table = [
        ("foo: 1", "unknown key \"foo\""),
        ("authorization { usr: a }", "unknown key \"usr\""),
        ("authorization { users: [{ user: a, pasword: b }] }", "unknown key \"pasword\""),
        (
            "authorization { users: [{ password: b }] }",
            "users must be a list of users that each have a name or an nkey",
        ),
        ("authorization { password: b }", "authorization must be a user where there is a password"),
        ("authorization { users: [a] }", "users must be a list of users in braces"),
        (
            "authorization { users [{user: a, permissions { publish { alow: x } }}] }",
            "unknown key \"alow\"",
        ),
        (
            "accounts { A { users: [{user: a}] }, B { users: [{user: b}] } }",
            "B: accounts are not kept apart here, so only one may have users",
        ),
        ("accounts { A { imports: [] } }", "imports: there is one account, without any of these"),
        ("operator: eyJ0", "operator: accounts by JWT are not served"),
        ("gateway { name: c }", "gateway: clusters are not served"),
        (
            "authorization { users: [{user: a, permissions { publish: ['a.#'] }}] }",
            "publish: # would be a wildcard here, and is a word there",
        ),
        ("leafnodes { remotes [ {url: a} ] }", "remotes: leaf nodes are not served"),
        ("tls { cert_file: c }", "tls must be a block with cert_file and key_file"),
        (
            "tls { cert_file: c, key_file: k, verify_and_map: true }",
            "verify_and_map: not a key of TLS here",
        ),
        (
            "tls { cert_file: c, key_file: k, handshake_first: soon }",
            "handshake_first must be a duration such as 2s",
        ),
        ("websocket { jwt_cookie: a }", "jwt_cookie: not a key of WebSocket here"),
        ("port: abc", "port must be a whole number"),
        ("listen: abc", "listen must be HOST:PORT, or a port"),
        ("ping_interval: often", "ping_interval must be a duration such as 2s"),
        ("debug: maybe", "debug must be true or false"),
        ("max_payload: [1]", "max_payload must be a whole number"),
    ];
    for (text, want) in table {
        let refusal = options(&format!("\n{text}")).unwrap_err().to_string();
        assert_eq!(refusal, format!("nats.conf, line 2: {want}"), "{text}");
    }
    for text in [
        "foo: 1, port: $foo",
        "cluster { name: c, listen: 'a:1', routes: [nats://a:1], authorization { user: a } }",
        "authorization { token: a, timeout: 0.001 }",
        "jetstream: disabled",
        "jetstream { store_dir: a }",
        "accounts { A { users: [{user: a}] }, $SYS { } }",
    ] {
        assert!(options(text).is_ok(), "{text}");
    }
}

#[test]
fn replies_are_allowed_in_number_and_time() {
    let given = |text: &str| {
        let text = format!(
            "authorization {{ users: [{{ user: a, permissions {{ allow_responses {text} }} }}] }}"
        );
        let Auth { users, .. } = options(&text).unwrap().access.auth;
        match users[0].permissions.as_ref().unwrap().allow_responses.unwrap() {
            AllowResponses::Usual(is_allowed) => format!("{is_allowed}"),
            AllowResponses::Given(given) => format!("{} in {} ms", given.max, given.expires_ms),
        }
    };
    assert_eq!(given(": false"), "false");
    assert_eq!(given("{ max: -1, expires: '1m' }"), "0 in 60000 ms");
    assert_eq!(given("{ max: 0 }"), "1 in 120000 ms");
    assert_eq!(given("{ max: 5000000000, ttl: 1.5 }"), "4294967295 in 1500 ms");
}
