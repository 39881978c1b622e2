//! The binary `nats-server` as scripts and the launchers of client suites meet it.
//!
//! Everything waits for a condition with a deadline; ports are the kernel's choice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far above what anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

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

#[track_caller]
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let table: [(&[&str], i32, &str); 6] = [
        (&["--nope"], 2, "mpreg: there is no flag --nope\n"),
        (&["serve"], 2, "mpreg: unrecognized command: \"serve\"\n"),
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

/// A running server, its files in a folder of its own. Killed with the test.
struct Served {
    process: Child,
    folder: TempDir,
    ports: serde_json::Value,
}

impl Served {
    /// What the launcher of nats.js does: a file, and waiting for the ports file.
    fn start(conf: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        let text = format!(
            "host: 127.0.0.1\nport: -1\nhttp: 127.0.0.1:-1\nwebsocket {{\n port: -1\n no_tls: true\n}}\n\
             ports_file_dir: {}\n{conf}",
            folder.path().display()
        );
        fs::write(&file, text).unwrap();
        let mut command = nats_server(&["-c", file.to_str().unwrap()]);
        command.current_dir(folder.path()).args(["-P", "pid", "-l", "log"]).args(flags);
        let process = command.spawn().unwrap();
        let path = folder.path().join(format!("nats-server_{}.ports", process.id()));
        let mut served = Self { process, folder, ports: serde_json::Value::Null };
        served.ports = wait_until("the ports file", || {
            assert_eq!(served.process.try_wait().unwrap(), None, "{}", served.log());
            serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()
        });
        served
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn address(&self, listener: &str) -> String {
        let url = self.ports[listener][0].as_str().unwrap();
        url.split_once("://").unwrap().1.to_owned()
    }

    #[track_caller]
    fn wait_for_log(&self, part: &str) {
        wait_until(part, || self.log().contains(part).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    #[track_caller]
    fn exit_code(&mut self) -> Option<i32> {
        wait_until("the process ends", || self.process.try_wait().unwrap()).code()
    }

    fn page(&self, page: &str) -> String {
        let mut stream = TcpStream::connect(self.address("monitoring")).unwrap();
        let head = format!("GET {page} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A NATS client that says what it is told to.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Connected, and past its first PONG. `options` go into CONNECT.
    fn connect(served: &Served, options: &str) -> Self {
        let stream = TcpStream::connect(served.address("nats")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.line_of("INFO {");
        client.say(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"test\",\"version\":\"1\"{options}}}\r\n"
        ));
        client.flush();
        client
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line, without its end. `None` once the connection is closed.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.0.read_line(&mut line).unwrap();
        (bytes != 0).then(|| line.trim_end().to_owned())
    }

    /// The next line that begins so.
    #[track_caller]
    fn line_of(&mut self, start: &str) -> String {
        let mut lines = std::iter::from_fn(|| self.line());
        lines.find(|line| line.starts_with(start)).expect(start)
    }

    fn flush(&mut self) {
        self.say("PING\r\n");
        self.line_of("PONG");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }
}

#[test]
fn launchers_find_it_by_its_files_and_its_log() {
    let mut served = Served::start("", &[]);
    let pid = served.process.id();
    assert_eq!(fs::read_to_string(served.path("pid")).unwrap(), pid.to_string());
    served.wait_for_log("[INF] Server is ready\n");
    let nats = served.address("nats");
    let line = format!(" [INF] Listening for client connections on {nats}\n");
    let log = served.log();
    assert!(log.contains(&line), "{log}");
    assert!(log.lines().all(|line| line.starts_with(&format!("[{pid}] 20"))), "{log}");
    assert!(TcpStream::connect(&nats).is_ok());
    assert!(TcpStream::connect(served.address("websocket")).is_ok());
    let varz = served.page("/varz");
    let (_, varz) = varz.split_once("\r\n\r\n").unwrap();
    let varz: serde_json::Value = serde_json::from_str(varz).unwrap();
    assert_eq!(format!("127.0.0.1:{}", varz["port"]), nats);
    assert!(served.page("/healthz").ends_with("{\"status\":\"ok\"}"));
    served.signal(Signal::TERM);
    assert_eq!(served.exit_code(), Some(0));
    assert!(served.log().ends_with("[INF] Server Exiting..\n"), "{}", served.log());
    let mut left: Vec<_> = fs::read_dir(served.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["log", "nats.conf"]);
}

#[test]
fn what_was_shown_on_the_command_line_is_on_no_page() {
    let secrets = ["u5er-w0rd", "pa55-w0rd"];
    let served = Served::start("", &["--user", secrets[0], "--pass", secrets[1]]);
    let connect = format!(",\"user\":\"{}\",\"pass\":\"{}\"", secrets[0], secrets[1]);
    let _client = Client::connect(&served, &connect);
    for page in [
        "/",
        "/varz",
        "/connz?subs=detail",
        "/connz?auth=true",
        "/subsz",
        "/routez",
        "/status",
        "/metrics",
    ] {
        let answer = served.page(page);
        assert!(answer.starts_with("HTTP/1.1 "), "{page}: {answer}");
        assert!(!answer.contains(secrets[1]), "{page}: {answer}");
    }
    assert!(!served.log().contains(secrets[1]), "{}", served.log());
}

#[test]
fn signals_are_those_of_nats_server() {
    let mut served = Served::start("leafnodes {\n listen: 127.0.0.1:-1\n}\n", &["-T=false"]);
    served.wait_for_log("Server is ready");
    let note = "nats.conf, line 9: leafnodes has no effect: leaf nodes are not served\n";
    assert!(served.log().contains(note), "{}", served.log());
    fs::rename(served.path("log"), served.path("log.1")).unwrap();
    served.signal(Signal::USR1);
    served.wait_for_log("[INF] File log re-opened");
    let pid_file = format!("reload={}", served.path("pid").display());
    assert_eq!(run(&["--signal", &pid_file]), (0, String::new(), String::new()));
    served.wait_for_log("[INF] Reloaded server configuration");
    let pid = format!("ldm={}", served.process.id());
    assert_eq!(run(&["-sl", &pid]).0, 0);
    assert_eq!(served.exit_code(), Some(0));
    assert!(served.log().contains("[INF] Entering lame duck mode"), "{}", served.log());
}

#[test]
fn a_port_in_use_is_said_and_leaves_no_files() {
    let first = Served::start("", &[]);
    let port = first.address("nats").rsplit_once(':').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pid = folder.join("pid");
    let (code, _, complaint) = run(&["-p", &port, "-P", pid.to_str().unwrap()]);
    assert_eq!(code, 2, "{complaint}");
    assert!(complaint.contains(&port), "{complaint}");
    assert!(!pid.exists());
}

#[test]
fn a_lame_duck_sends_its_clients_away_and_ends_when_they_are_gone() {
    let mut served = Served::start("lame_duck_grace_period: '10m'\n", &[]);
    let mut client = Client::connect(&served, "");
    served.signal(Signal::USR2);
    let info = client.line_of("INFO {");
    assert!(info.contains("\"ldm\":true"), "{info}");
    client.flush();
    let address = served.address("nats");
    wait_until("nobody is taken in", || {
        let Ok(mut stream) = TcpStream::connect(&address) else { return Some(()) };
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        matches!(stream.read(&mut [0]), Ok(0) | Err(_)).then_some(())
    });
    assert_eq!(served.process.try_wait().unwrap(), None, "it waits for its clients");
    drop(client);
    assert_eq!(served.exit_code(), Some(0));
    assert!(served.log().contains("[INF] Entering lame duck mode"), "{}", served.log());
}

#[test]
fn commands_are_traced_when_asked_for() {
    let served = Served::start("trace: true\n", &[]);
    let mut client = Client::connect(&served, ",\"name\":\"me\",\"pass\":\"secret\"");
    client.say("SUB foo 1\r\nSUB bar q 2\r\nUNSUB 1 5\r\n");
    client.flush();
    served.wait_for_log("[UNSUB 1 5]");
    let log = served.log();
    let line = "[TRC] 127.0.0.1:";
    assert!(log.contains(line) && log.contains(" - \"v1:test:me\" - <<- [SUB foo 1]\n"), "{log}");
    assert!(log.contains("<<- [SUB bar q 2]\n") && !log.contains("secret"), "{log}");
    let quiet = Served::start("", &[]);
    Client::connect(&quiet, "");
    assert!(!quiet.log().contains("<<-"), "{}", quiet.log());
}

#[test]
fn a_reload_holds_for_those_who_are_connected() {
    let users = |of_a: &str, rest: &str| {
        format!("authorization {{\n users: [{{user: a, password: a{of_a}}}{rest}]\n}}\n")
    };
    let others = ", {user: b, password: b}, {user: c, password: c}";
    let served = Served::start(&users("", others), &[]);
    let conf = served.path("nats.conf");
    let before = fs::read_to_string(&conf).unwrap();
    let login = |user: &str| format!(",\"user\":\"{user}\",\"pass\":\"{user}\"");
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|user| Client::connect(&served, &login(user)));
    a.say("SUB foo.bar 1\r\nSUB foo.bar q 2\r\nSUB free 3\r\n");
    a.flush();
    let denied = users(", permissions: {subscribe: {deny: 'foo.>'}}", ", {user: b, password: x}");
    fs::write(&conf, before.replace(&users("", others), &denied)).unwrap();
    served.signal(Signal::HUP);
    served.wait_for_log("[INF] Reloaded server configuration");
    assert_eq!(b.line_of("-ERR"), "-ERR 'Authorization Violation'");
    assert_eq!(c.line_of("-ERR"), "-ERR 'Authorization Violation'");
    assert_eq!((b.line(), c.line()), (None, None), "both are closed");
    let lost = "-ERR 'Permissions Violation for Subscription to \"foo.bar\"";
    assert_eq!(a.line_of("-ERR"), format!("{lost} (sid \"1\")'"));
    assert_eq!(a.line_of("-ERR"), format!("{lost} using queue \"q\" (sid \"2\")'"));
    a.say("PUB foo.bar 0\r\n\r\nPUB free 2\r\nhi\r\n");
    assert_eq!(a.line_of("MSG"), "MSG free 3 2");
    fs::write(&conf, "no: such\n").unwrap();
    served.signal(Signal::HUP);
    served.wait_for_log("[ERR] Failed to reload server configuration: ");
    a.flush();
}

#[test]
fn connections_are_listed_with_what_they_sent_and_got() {
    let served = Served::start("", &[]);
    let json = |page: &str| -> serde_json::Value {
        serde_json::from_str(served.page(page).split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let mut first = Client::connect(&served, ",\"name\":\"first\",\"headers\":true");
    let _second = Client::connect(&served, "");
    first.say("SUB hello 1\r\nSUB other q 2\r\nSUB hello 7\r\nPUB hello 2\r\nhi\r\n");
    first.say("HPUB hello 22 27\r\nNATS/1.0\r\nhello: a\r\n\r\nhello\r\nPUB other 3\r\nabc\r\n");
    first.flush();
    let all = json("/connz?subs=detail");
    assert_eq!((&all["total"], &all["num_connections"]), (&2.into(), &2.into()), "{all:#}");
    let row = &all["connections"][0];
    let counts = ["in_msgs", "in_bytes", "out_msgs", "out_bytes", "subscriptions"];
    // Two copies of the first two, one of the third.
    assert_eq!(counts.map(|name| row[name].as_u64().unwrap()), [3, 32, 5, 61, 3], "{row:#}");
    let texts = ["name", "lang", "version", "ip", "kind"];
    assert_eq!(texts.map(|name| &row[name]), ["first", "test", "1", "127.0.0.1", "Client"]);
    let is_round_trip = |text: &str| text.ends_with('s') && !text.starts_with('0');
    assert!(row["rtt"].as_str().is_some_and(is_round_trip), "{row:#}");
    // It has just spoken, or is idle for a second of a busy machine.
    assert!(row["idle"].as_str().is_some_and(|idle| idle.len() < 4), "{row:#}");
    assert!(row["start"].as_str() <= row["last_activity"].as_str(), "{row:#}");
    let subscription = &row["subscriptions_list_detail"][1];
    let fields = ["subject", "qgroup", "sid"].map(|name| &subscription[name]);
    assert_eq!(fields, ["other", "q", "2"], "{row:#}");
    let numbers = [0, 1].map(|at| all["connections"][at]["cid"].as_u64().unwrap());
    assert!(numbers[0] < numbers[1]);
    for (query, want) in [
        (format!("cid={}", numbers[1]), &numbers[1..]),
        ("cid=1".to_owned(), &[]),
        ("limit=1".to_owned(), &numbers[..1]),
        ("limit=1&offset=1".to_owned(), &numbers[1..]),
        ("offset=9223372036854775807&limit=9223372036854775807".to_owned(), &[]),
        ("state=closed".to_owned(), &[]),
    ] {
        let page = json(&format!("/connz?{query}"));
        let listed = page["connections"].as_array().unwrap().iter();
        let listed: Vec<u64> = listed.map(|row| row["cid"].as_u64().unwrap()).collect();
        assert_eq!(listed, want, "{query}");
    }
    let subjects = &json("/connz?subs=1")["connections"][0]["subscriptions_list"];
    assert_eq!(subjects, &serde_json::json!(["hello", "other", "hello"]));
    let listed = &json("/subsz?subs=1&offset=1&limit=1")["subscriptions_list"];
    assert_eq!(listed[0]["subject"], "other");
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert!(served.page("/connz?state=up").starts_with("HTTP/1.1 400"));
}
