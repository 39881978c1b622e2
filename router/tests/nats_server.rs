//! The binary `nats-server` as scripts meet it before it serves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::process::{Command, Output, Stdio};

fn nats_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-server"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = nats_server(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn it_says_who_it_is_under_both_names() {
    let version = format!("nats-server: mpreg v{}\n", env!("CARGO_PKG_VERSION"));
    for arguments in [&["-v"][..], &["--version"], &["version"]] {
        assert_eq!(run(arguments), (0, version.clone(), String::new()), "{arguments:?}");
    }
    let under = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mpreg")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(under(&["nats-server", "-v"]), (Some(0), version));
    let (code, help) = under(&["nats-server", "-h"]);
    assert_eq!(code, Some(0));
    assert_eq!(run(&["--help"]), (0, help.clone(), String::new()));
    assert!(help.contains("--ports_file_dir"), "{help}");
}

#[test]
fn refusals_are_one_line_and_say_whether_to_change_something() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("nats.conf");
    fs::write(&conf, "port: -1\nfoo: bar\n").unwrap();
    let conf = conf.to_str().unwrap();
    let unknown = format!("mpreg: {conf}, line 2: unknown key \"foo\"\n");
    let table: [(&[&str], i32, &str); 7] = [
        (&["--nope"], 2, "mpreg: there is no flag --nope\n"),
        (&["serve"], 2, "mpreg: unrecognized command: \"serve\"\n"),
        (&["--routes", "nats://a:1"], 2, "mpreg: routes: clusters are not served\n"),
        (&["-c", conf], 78, &unknown),
        (&["-t", "-c", conf], 78, &unknown),
        (&["-c", "/does/not/exist"], 78, "mpreg: reading /does/not/exist: "),
        (&["--tls"], 78, "mpreg: listen.nats_tls is set, so tls.certificate must be\n"),
    ];
    for (arguments, code, complaint) in table {
        let said = run(arguments);
        assert_eq!((said.0, said.1.as_str()), (code, ""), "{arguments:?}: {said:?}");
        assert!(said.2.starts_with(complaint), "{arguments:?}: {said:?}");
        assert_eq!(said.2.lines().count(), 1, "{arguments:?}: {said:?}");
    }
    fs::write(conf, "port: -1\n").unwrap();
    assert_eq!(run(&["-t", "-c", conf]), (0, "configuration is valid\n".to_owned(), String::new()));
}

#[test]
fn a_process_that_is_not_there_is_not_told() {
    let mut ended = nats_server(&["-v"]).stdout(Stdio::null()).spawn().unwrap();
    ended.wait().unwrap();
    let (code, _, complaint) = run(&["--signal", &format!("ldm={}", ended.id())]);
    assert_eq!(code, 2, "{complaint}");
    assert!(complaint.starts_with(&format!("mpreg: process {} cannot be told", ended.id())));
    assert_eq!(run(&["--signal", "up=1"]).0, 2);
}
