//! Real routers, as processes on loopback: started, watched, talked to, stopped.
//!
//! `program` finds the binary, [`Launch`] starts it on ports of the kernel's choice with files in a
//! folder of its own, [`Router`] is one that serves. `fabric` is many of them, `cable` what lies between, `tap`
//! and `relay` stand between two. `peer` speaks the wire over a plain socket, `nats` the protocol of NATS, `pair`
//! is two well-behaved clients, `page` reads the metrics.
//!
//! Everything waits for a condition, with [`PATIENCE`] as its end; nothing sleeps and hopes.
//!
//! Invariant: a router ends with the value that started it, and its folder with both.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub mod cable;
pub mod fabric;
pub mod laboratory;
pub mod nats;
pub mod page;
pub mod pair;
pub mod peer;
pub mod program;
pub mod relay;
pub mod tap;

use mpreg_router::peer::roster::Row;

use nats::NatsPeer;
use page::Page;
use peer::{Address, Peer, Wish};

/// Far above what anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long something may take that is promised within `promised`. Beside other tests, on a machine with
/// few cores, that is eight times as long; `MPREG_BOUNDS=exact` holds it as it is.
pub fn bound(promised: Duration) -> Duration {
    let is_exact = std::env::var_os("MPREG_BOUNDS").is_some_and(|bounds| bounds == "exact");
    if is_exact { promised } else { 8 * promised }
}

/// Waits until `look` finds something, and asserts that this was within [`bound`] of `promised` after
/// `since`.
#[track_caller]
pub fn within<T>(
    what: &str,
    since: Instant,
    promised: Duration,
    look: impl FnMut() -> Option<T>,
) -> T {
    let found = until(what, look);
    let took = since.elapsed();
    println!("{what}: {took:?}, promised within {promised:?}");
    assert!(took <= bound(promised), "{what} took {took:?}, promised within {promised:?}");
    found
}

/// Waits until `look` finds something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A router to be started.
#[derive(Debug)]
pub struct Launch {
    folder: TempDir,
    file: String,
    listen: String,
    arguments: Vec<String>,
    /// Words for bash that set the process up before it becomes the router.
    preparation: String,
    socket: Option<PathBuf>,
}

/// A launch that was refused.
#[derive(Debug)]
pub struct Refused {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub has_ready_file: bool,
}

impl Launch {
    /// Clients are pinged after a minute, so that those that do not read stay for as long as a test
    /// wants them to.
    pub fn of(shards: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the files of a router");
        let shards = shards.to_string();
        let log = std::env::var("MPREG_LOG").unwrap_or("warn".to_owned());
        let arguments = ["--admin", "127.0.0.1:0", "--log", &log, "--shards", &shards];
        Self {
            folder,
            file: "limits.ping_interval_ms = 60_000\nlimits.connections_max = 10_000".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
            preparation: String::new(),
            socket: None,
        }
    }

    /// The configuration file: `key = value` lines, in place of a few about pings and connections.
    pub fn file(mut self, text: &str) -> Self {
        text.clone_into(&mut self.file);
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Also listens on this path.
    pub fn at(self, socket: &Path) -> Self {
        let path = socket.to_str().expect("paths of tests are text");
        let mut launch = self.argument("--unix").argument(path);
        launch.socket = Some(socket.to_owned());
        launch
    }

    /// Also listens on a path in its own folder.
    pub fn with_socket(self) -> Self {
        let socket = self.folder.path().join("socket");
        self.at(&socket)
    }

    /// Also listens for NATS clients.
    pub fn with_nats(self) -> Self {
        self.argument("--nats").argument("127.0.0.1:0")
    }

    /// Meets other nodes, as whom these credentials say. The configuration file has to be given before.
    pub fn as_node(mut self, credentials: &Path, cluster: &str, more: &str) -> Self {
        self.file += &format!(
            "\n[peer]\ncluster = '{cluster}'\nlisten = '127.0.0.1:0'\nidentity = '{}'\n{more}",
            credentials.display()
        );
        self
    }

    /// Keeps what survives in this directory.
    pub fn keeping(self, directory: &Path) -> Self {
        let directory = directory.to_str().expect("paths of tests are text");
        self.argument("--data-dir").argument(directory)
    }

    /// A file in its own folder, for the configuration to name.
    pub fn holding(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).expect("the folder is ours");
        self
    }

    /// Where files are that it holds.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `bash -c 'words && exec mpreg …'`.
    pub fn after(mut self, words: &str) -> Self {
        self.preparation = format!("{words} && ");
        self
    }

    fn spawn(&self) -> Child {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("mpreg.toml"), &self.file).expect("the folder is ours");
        let open = |name: &str| File::create(path(name)).expect("the folder is ours");
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{}exec \"$@\"", self.preparation)).arg("bash");
        command.arg(program::path()).arg("serve").arg("--config").arg(path("mpreg.toml"));
        command.arg("--ready-file").arg(path("ready.json"));
        command.args(["--listen", &self.listen]).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(open("stdout")).stderr(open("stderr"));
        command.spawn().expect("there is a shell")
    }

    /// Waits until the router serves.
    #[track_caller]
    pub fn start(self) -> Router {
        self.start_telling(|_| ())
    }

    /// The same. Tells of the process before it has done anything.
    #[track_caller]
    pub fn start_telling(self, tell: impl FnOnce(u32)) -> Router {
        let mut process = Process(self.spawn());
        tell(process.0.id());
        let path = self.folder.path().join("ready.json");
        let ready = until("the router says that it serves", || {
            if let Some(status) = process.ended() {
                let stderr = fs::read_to_string(self.folder.path().join("stderr"));
                panic!("the router ended with {status}: {stderr:?}");
            }
            fs::read_to_string(&path).ok()
        });
        let ready: serde_json::Value =
            serde_json::from_str(&ready).expect("the ready file is JSON");
        let bound = |key: &str, scheme: &str| -> SocketAddr {
            let url = ready[key].as_str().and_then(|url| url.strip_prefix(scheme));
            url.and_then(|address| address.parse().ok()).expect("the ready file has the URL")
        };
        let (native, admin) = (bound("native", "mpreg://"), bound("admin", "http://"));
        Router { process, native, admin, ready, socket: self.socket, folder: self.folder }
    }

    /// Waits until the router has given up.
    #[track_caller]
    pub fn refused(self) -> Refused {
        let mut process = Process(self.spawn());
        let status = process.wait();
        let read = |name: &str| {
            fs::read_to_string(self.folder.path().join(name)).expect("the process has written it")
        };
        Refused {
            code: status.code(),
            stdout: read("stdout"),
            stderr: read("stderr"),
            has_ready_file: self.folder.path().join("ready.json").exists(),
        }
    }
}

/// A child that does not outlive its value.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child of ours can be waited for")
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        until("the router ends", || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.0.kill().expect("a child of ours can be killed");
            self.0.wait().expect("a child of ours can be waited for");
        }
    }
}

/// A router that serves.
#[derive(Debug)]
pub struct Router {
    process: Process,
    native: SocketAddr,
    admin: SocketAddr,
    /// What the ready file said.
    pub ready: serde_json::Value,
    socket: Option<PathBuf>,
    folder: TempDir,
}

impl Router {
    pub fn tcp(&self) -> Address {
        Address::Tcp(self.native)
    }

    /// Where it listens: TCP, then the path if it has one.
    pub fn addresses(&self) -> Vec<Address> {
        let socket = self.socket.clone().map(Address::Unix);
        std::iter::once(self.tcp()).chain(socket).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(self.path("stdout")).expect("the router writes there")
    }

    /// A client that has been let in, over TCP.
    #[track_caller]
    pub fn client(&self) -> Peer {
        Peer::connect(&self.tcp(), Wish::default())
    }

    /// A client served by this shard: the kernel spreads connections, so it may take some.
    #[track_caller]
    pub fn client_on(&self, shard: usize, address: &Address, wish: Wish) -> Peer {
        // A thousand in vain is 1 in 10^125 with two shards.
        for _ in 0..1000 {
            let peer = Peer::connect(address, wish);
            if peer.shard() == shard {
                return peer;
            }
        }
        panic!("no connection came to shard {shard}");
    }

    /// Where it listens for NATS clients, in what the ready file calls `key`.
    #[track_caller]
    pub fn bound(&self, key: &str) -> SocketAddr {
        let url = self.ready[key].as_str().and_then(|url| url.split_once("://"));
        url.and_then(|(_, address)| address.parse().ok()).expect("the ready file has the URL")
    }

    /// A NATS client that has been let in.
    #[track_caller]
    pub fn nats(&self) -> NatsPeer {
        NatsPeer::connect(self.bound("nats"), nats::USUAL)
    }

    /// A NATS client served by this shard: the kernel spreads connections, so it may take some.
    #[track_caller]
    pub fn nats_on(&self, shard: usize, options: &str) -> NatsPeer {
        for _ in 0..1000 {
            let mut peer = NatsPeer::dial(self.bound("nats"));
            if peer.shard() == shard {
                peer.enter(options);
                return peer;
            }
        }
        panic!("no connection came to shard {shard}");
    }

    /// The links to other nodes, by node.
    #[track_caller]
    pub fn peers(&self) -> Vec<Row> {
        serde_json::from_str(&self.get("/peers").1).expect("the page is a list of links")
    }

    /// Status and body of a page of the admin surface.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    /// The same with any method.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let text = self.asked(method, path).expect("the admin surface answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("an HTTP answer has a status"), body.to_owned())
    }

    fn asked(&self, method: &str, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    }

    #[track_caller]
    pub fn page(&self) -> Page {
        Page::parse(&self.get("/metrics").1)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).expect("the router is there");
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Descriptors the process has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).expect("the router is there").count()
    }

    /// Memory of the process that is in RAM, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("the router is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("VmRSS is in kB") * 1024
    }

    /// Time its threads have been on a CPU.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(self.proc("task")).expect("the router is there");
        let nanos = tasks.filter_map(|task| {
            let path = task.ok()?.path().join("schedstat");
            fs::read_to_string(path).ok()?.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.process.0.id()))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stderr = fs::read_to_string(self.path("stderr"));
            eprintln!("the router's stderr: {}", stderr.unwrap_or_default());
            let page = self.asked("GET", "/metrics").unwrap_or_default();
            let drops = page.lines().filter(|line| line.contains("_dropped_total{"));
            let drops = drops.filter(|line| !line.ends_with(" 0")).collect::<Vec<_>>();
            eprintln!("what it dropped: {drops:#?}");
        }
    }
}
