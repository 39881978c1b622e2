//! The binary as operators meet it: real processes, real sockets, exit codes and what is said.
//!
//! Everything waits for a condition with a deadline; ports are the kernel's choice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far above what anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn mpreg(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpreg"));
    command.args(arguments).env_remove("MPREG_URL").env_remove("MPREG_ADMIN");
    command
}

/// What a command that ends by itself said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    out: String,
    complaint: String,
}

/// Runs to the end with `stdin` as input.
#[track_caller]
fn run(mut command: Command, stdin: &[u8]) -> Said {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    // Those that do not read it have hung up.
    child.0.stdin.take().unwrap().write_all(stdin).unwrap_or(());
    let mut out = child.0.stdout.take().unwrap();
    let mut complaint = child.0.stderr.take().unwrap();
    let out = std::thread::spawn(move || read_all(&mut out));
    let complaint = std::thread::spawn(move || read_all(&mut complaint));
    let code = child.wait().code().unwrap();
    Said { code, out: out.join().unwrap(), complaint: complaint.join().unwrap() }
}

fn read_all(from: &mut impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
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

/// A process of this test, killed with it.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        wait_until("the process ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

/// A serving router with one shard, its files in a folder of its own.
struct Served {
    process: Running,
    folder: TempDir,
    /// What it said on stdout when it was ready.
    line: String,
    native: String,
    admin: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let ready_file = folder.path().join("ready.json");
        let mut command = mpreg(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--shards", "1", "--ready-file"]).arg(&ready_file).args(arguments);
        let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = wait_until("the ready file", || fs::read_to_string(&ready_file).ok());
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        assert_eq!(ready["pid"], process.0.id());
        let url = |key: &str| ready[key].as_str().unwrap().to_owned();
        let (native, admin) = (url("native"), url("admin"));
        Self { process, folder, line, native, admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = mpreg(arguments);
        command.env("MPREG_URL", &self.native).env("MPREG_ADMIN", &self.admin);
        command
    }

    /// Starts a command and waits until it says that it is subscribed.
    fn subscriber(&self, arguments: &[&str]) -> (Running, BufReader<ChildStderr>) {
        let mut command = self.client(arguments);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        let mut complaints = BufReader::new(child.0.stderr.take().unwrap());
        let mut line = String::new();
        complaints.read_line(&mut line).unwrap();
        assert!(line.starts_with("mpreg: subscribed to "), "{line}");
        (child, complaints)
    }

    /// The code `GET /health` is answered with.
    fn health(&self) -> Option<u16> {
        let address = self.admin.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
        read_all(&mut stream).split(' ').nth(1)?.parse().ok()
    }
}

#[test]
fn serves_until_it_is_told_to_stop_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mpreg.sock");
    let mut served = Served::start_in(folder, &["--unix", socket.to_str().unwrap()]);
    let line = format!(
        "mpreg ready native={} admin={} unix=mpreg+unix://{}\n",
        served.native,
        served.admin,
        socket.display()
    );
    assert_eq!(served.line, line);
    assert_eq!(served.health(), Some(200));
    let status = run(served.client(&["status", "--json"]), b"");
    assert_eq!(status.code, 0, "{status:?}");
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["urls"]["native"], served.native);
    assert_eq!(status["shards"].as_array().unwrap().len(), 1);
    served.process.signal(Signal::TERM);
    assert_eq!(served.process.wait().code(), Some(0));
    assert!(fs::read_dir(served.folder.path()).unwrap().next().is_none(), "nothing is left");
}

#[test]
fn what_was_killed_is_started_again_over_its_remains() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mpreg.sock");
    let arguments = ["--unix", socket.to_str().unwrap()];
    let Served { process, folder, .. } = Served::start_in(folder, &arguments);
    process.signal(Signal::KILL);
    drop(process);
    assert!(socket.exists() && folder.path().join("ready.json").exists());
    let again = Served::start_in(folder, &arguments);
    let url = format!("mpreg+unix://{}", socket.display());
    let said = run(again.client(&["pub", "a", "b", "--url", &url]), b"");
    assert_eq!(said, Said { code: 0, out: String::new(), complaint: String::new() });
}

#[test]
fn refusals_are_one_line_and_say_whether_to_change_something() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mpreg.toml");
    fs::write(&file, "[listen]\ntpc = ''\n").unwrap();
    let file = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(taken).unwrap();
    let taken = taken.to_string();
    let missing = folder.path().join("no/ready.json");
    let table: [(&[&str], i32, &str); 9] = [
        (&["--log", "debgu"], 78, "neither a level"),
        (&["--listen", "0.0.0.0:0"], 78, "--allow-remote"),
        (&["--admin", "192.0.2.1:0"], 78, "admin.listen"),
        (&["--config", file], 78, "line 2: unknown field `tpc`"),
        (&["--config", "/does/not/exist"], 78, "reading /does/not/exist"),
        (&["--cpus", "1023"], 78, "CPU 1023"),
        (&["--admin", &taken], 2, &taken),
        (&["--listen", &taken], 2, &taken),
        (&["--ready-file", missing.to_str().unwrap()], 2, "ready file"),
    ];
    for (arguments, code, part) in table {
        let mut command = mpreg(&["serve"]);
        let defaults =
            [("--listen", "127.0.0.1:0"), ("--admin", "127.0.0.1:0"), ("--log", "error")];
        for (flag, value) in defaults {
            if !arguments.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(arguments);
        let said = run(command, b"");
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.complaint.contains(part), "{arguments:?}: {said:?}");
        assert_eq!(said.complaint.lines().count(), 1, "{arguments:?}: {said:?}");
        let parts: Vec<&str> = said.complaint.trim().split(": ").collect();
        assert!(parts.windows(2).all(|pair| pair[0] != pair[1]), "{arguments:?}: {said:?}");
    }
    drop(holder);
}

#[test]
fn messages_go_from_pub_to_sub_as_text_and_as_json() {
    let served = Served::start(&[]);
    let (mut text, _complaints) = served.subscriber(&["sub", "a.#", "--count", "3"]);
    let (mut json, _complaints) = served.subscriber(&["sub", "*.b", "--count", "2", "--json"]);
    let said = run(served.client(&["pub", "a.b", "hello", "--count", "2", "--json"]), b"");
    assert_eq!((said.code, said.out.as_str()), (0, "{\"published\":2,\"topic\":\"a.b\"}\n"));
    let said = run(served.client(&["pub", "a.c", "-", "--priority", "high"]), b"x\ny");
    assert_eq!(said, Said { code: 0, out: String::new(), complaint: String::new() });
    assert_eq!(text.wait().code(), Some(0));
    let printed = read_all(&mut text.0.stdout.take().unwrap());
    assert_eq!(printed, "a.b hello\na.b hello\na.c x\\ny\n");
    assert_eq!(json.wait().code(), Some(0));
    let line = "{\"topic\":\"a.b\",\"priority\":\"normal\",\"payload\":\"hello\"}\n";
    assert_eq!(read_all(&mut json.0.stdout.take().unwrap()), line.repeat(2));
}

#[test]
fn an_interrupted_sub_ends_well_and_so_does_one_without_a_reader() {
    let served = Served::start(&[]);
    let (mut interrupted, mut complaints) = served.subscriber(&["sub", "a"]);
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.wait().code(), Some(0), "{}", read_all(&mut complaints));

    let (mut unread, mut complaints) = served.subscriber(&["sub", "a"]);
    drop(unread.0.stdout.take());
    let said = run(served.client(&["pub", "a", "b"]), b"");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(unread.wait().code(), Some(0));
    assert_eq!(read_all(&mut complaints), "");
}

#[test]
fn requests_are_answered_by_a_command_or_the_answer_is_no() {
    let served = Served::start(&[]);
    let (_upper, _) = served.subscriber(&["reply", "svc.upper", "--", "tr", "a-z", "A-Z"]);
    let (_echo, _) = served.subscriber(&["reply", "svc.echo.*", "--echo"]);
    let (_fails, mut complaints) = served.subscriber(&["reply", "svc.fails", "--", "false"]);
    let ask = |arguments: &[&str], stdin: &[u8]| {
        let mut command = served.client(&["request"]);
        command.args(arguments);
        run(command, stdin)
    };
    let said = ask(&["svc.upper", "hello"], b"");
    assert_eq!(said, Said { code: 0, out: "HELLO\n".to_owned(), complaint: String::new() });
    let said = ask(&["svc.echo.a", "-", "--json"], b"\xff\x00");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.ends_with(",\"payload_hex\":\"ff00\"}\n"), "{said:?}");
    let said = ask(&["svc.none", "hello"], b"");
    let complaint = "mpreg: requesting \"svc.none\": nobody is subscribed to the topic\n";
    assert_eq!(said, Said { code: 1, out: String::new(), complaint: complaint.to_owned() });
    let said = ask(&["svc.fails", "hello", "--deadline-ms", "500"], b"");
    assert_eq!(said.code, 1, "{said:?}");
    let mut complaint = String::new();
    complaints.read_line(&mut complaint).unwrap();
    assert_eq!(complaint, "mpreg: \"false\" ended with exit status: 1\n");
}

#[test]
fn nobody_there_is_not_the_same_as_no() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (url, admin) = (format!("mpreg://{free}"), format!("http://{free}"));
    let table: [&[&str]; 6] = [
        &["pub", "a", "b", "--url", &url],
        &["sub", "a", "--url", &url],
        &["request", "a", "b", "--url", &url],
        &["reply", "a", "--echo", "--url", &url],
        &["status", "--admin", &admin],
        &["log", "info", "--admin", &admin],
    ];
    for arguments in table {
        let said = run(mpreg(arguments), b"");
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.complaint.contains(&free.to_string()), "{arguments:?}: {said:?}");
        assert_eq!(said.complaint.lines().count(), 1, "{arguments:?}: {said:?}");
    }
}

#[test]
fn a_drain_waits_for_a_stalled_reader_until_it_is_told_again() {
    let config = "[limits]\ndrain_ms = 600000\nqueue_bytes = 1048576\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mpreg.toml");
    fs::write(&file, config).unwrap();
    let mut served = Served::start_in(folder, &["--config", file.to_str().unwrap()]);
    let stalled = stalled_subscriber(&served);
    served.process.signal(Signal::TERM);
    wait_until("health says draining", || (served.health() == Some(503)).then_some(()));
    let said = run(served.client(&["status"]), b"");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("draining"), "{said:?}");
    served.process.signal(Signal::TERM);
    assert_eq!(served.process.wait().code(), Some(1));
    assert!(!served.path("ready.json").exists());
    drop(stalled);
}

#[test]
fn a_drain_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mpreg.toml");
    fs::write(&file, "[limits]\ndrain_ms = 100\nqueue_bytes = 1048576\n").unwrap();
    let mut served = Served::start_in(folder, &["--config", file.to_str().unwrap()]);
    let stalled = stalled_subscriber(&served);
    served.process.signal(Signal::TERM);
    let code = served.process.wait().code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    drop(stalled);
}

/// A subscriber that is stopped with messages for it in the router.
fn stalled_subscriber(served: &Served) -> Running {
    let (stalled, _complaints) = served.subscriber(&["sub", "a", "--overload", "drop-newest"]);
    stalled.signal(Signal::STOP);
    // The kernel's socket buffers hold some MiB; what does not fit there waits in the router.
    let payload = vec![b'x'; 256 << 10];
    let said = run(served.client(&["pub", "a", "-", "--count", "256"]), &payload);
    assert_eq!(said.code, 0, "{said:?}");
    let status = run(served.client(&["status", "--json"]), b"");
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert!(0 < status["totals"]["queued_bytes"].as_u64().unwrap(), "{status}");
    stalled
}

#[test]
fn a_router_ends_with_its_parent() {
    let said = run(mpreg(&["serve", "--parent", "1"]), b"");
    assert_eq!(said.code, 2, "{said:?}");
    assert_eq!(said.complaint, "mpreg: the parent process has ended\n");

    let mut command = mpreg(&["demo", "--duration", "600", "--shards", "1"]);
    let demo = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let router = wait_until("the demo's router", || child_of(demo.0.id()));
    demo.signal(Signal::KILL);
    drop(demo);
    wait_until("the router has ended", || (!router.exists()).then_some(()));
}

/// `/proc` entry of a process whose parent is `pid`.
fn child_of(pid: u32) -> Option<PathBuf> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = Path::new("/proc").join(children.split_whitespace().next()?);
    // Before it has asked the kernel to follow its parent it still is a copy of it.
    let arguments = fs::read(child.join("cmdline")).ok()?;
    arguments.starts_with(env!("CARGO_BIN_EXE_mpreg").as_bytes()).then_some(child)
}

#[test]
fn a_demo_verifies_its_traffic() {
    let said = run(mpreg(&["demo", "--duration", "1", "--shards", "1", "--json"]), b"");
    assert_eq!(said.code, 0, "{said:?}");
    let demo: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(demo["verified"], true);
    let scenes = demo["scenes"].as_array().unwrap();
    assert_eq!(scenes.len(), 5);
    for scene in scenes {
        assert!(0 < scene["received"].as_u64().unwrap(), "{scene}");
        assert_eq!(scene["received"], scene["expected"], "{scene}");
    }
}

#[test]
fn a_demo_of_clusters_verifies_its_traffic() {
    let arguments = ["demo", "--clusters", "3", "--nodes", "1", "--duration", "2", "--json"];
    let said = run(mpreg(&arguments), b"");
    assert_eq!(said.code, 0, "{said:?}");
    let demo: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    for nothing in ["lost", "duplicated"] {
        assert_eq!(demo[nothing], 0, "{demo}");
    }
    assert!(
        0 < demo["promised"].as_u64().unwrap() && 0.0 <= demo["converged_ms"].as_f64().unwrap()
    );
    let ways: Vec<_> =
        demo["hops"].as_array().unwrap().iter().map(|hop| &hop["clusters"]).collect();
    assert_eq!(ways, [&serde_json::Value::Null, &serde_json::json!(1)]);
    let short = ["demo", "--clusters", "2", "--duration", "5", "--kill"];
    assert_eq!(
        run(mpreg(&short), b"").complaint,
        "mpreg: --kill needs a --duration of 10 s at least\n"
    );
}
