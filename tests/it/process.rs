//! A router as a process: how it starts, what it refuses, what it leaves when it ends.
//!
//! Command lines, texts and exit codes of every command are tested beside the commands
//! (`router/tests/cli.rs`); here it is what clients and the machine see of it.

use std::time::{Duration, Instant};

use mpreg_proto::frame::Overload;
use mpreg_tests::live::peer::{Address, Peer, Wish, message};
use mpreg_tests::live::{Launch, Refused, Router, until};
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

#[test]
fn says_where_it_listens_once_and_in_a_file() {
    let router = Launch::of(2).with_socket().start();
    let url = |key: &str| router.ready[key].as_str().unwrap().to_owned();
    let line = format!(
        "mpreg ready native={} admin={} unix={}\n",
        url("native"),
        url("admin"),
        url("unix")
    );
    assert_eq!(router.stdout(), line);
    assert_eq!(router.get("/health"), (200, "ready\n".to_owned()));
    for address in router.addresses() {
        let mut peer = Peer::connect(&address, Wish::default());
        peer.subscribe(1, "a");
        peer.publish("a", b"there");
        assert_eq!(peer.hear(), "a there");
    }
}

/// Messages of one KiB: more than the kernel's buffers of a connection hold.
const QUEUED: usize = 12_000;

/// A client that does not read, with [`QUEUED`] messages for it in the router.
#[track_caller]
fn stalled(router: &Router, address: &Address) -> Peer {
    let mut stalled = Peer::connect(address, Wish { queue_bytes: 32 << 20, ..Wish::default() });
    let topic = format!("to.{}", stalled.connected().session.0);
    stalled.narrow(64 << 10);
    stalled.ask(1, &topic, "", Overload::Disconnect);
    assert_eq!(stalled.hear(), "subscribed 1");
    let before = router.page().sum("mpreg_messages_out_total", &[]);
    let mut publisher = router.client();
    let numbers: Vec<u8> = (0..QUEUED).flat_map(|n| message(&topic, &payload(n))).collect();
    publisher.send(&numbers);
    until("all messages are queued", || {
        let queued = router.page().sum("mpreg_messages_out_total", &[]) - before;
        (queued == QUEUED as u64).then_some(())
    });
    stalled
}

fn payload(number: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; 1024];
    payload[..8].copy_from_slice(&(number as u64).to_le_bytes());
    payload
}

/// Reads everything that was queued.
#[track_caller]
fn drink(stalled: &mut Peer) {
    for number in 0..QUEUED {
        assert_eq!(stalled.data().payload(), payload(number), "message {number}");
    }
}

#[test]
fn told_to_stop_it_sends_what_is_queued_and_says_goodbye() {
    for shards in [1, 2] {
        let mut router = Launch::of(shards).with_socket().start();
        let addresses = router.addresses();
        let mut stalled: Vec<Peer> = addresses.iter().map(|to| stalled(&router, to)).collect();
        let mut idle = router.client();
        router.signal(Signal::TERM);
        assert_eq!(idle.hear_out(), ["going_away"]);
        for peer in &mut stalled {
            drink(peer);
            assert_eq!(peer.hear_out(), ["going_away"]);
        }
        drop((idle, stalled));
        assert_eq!(router.wait().code(), Some(0));
        assert!(!router.path("ready.json").exists() && !router.path("socket").exists());
        assert_eq!(router.stdout().lines().count(), 1);
    }
}

#[test]
fn a_reader_has_as_long_as_the_drain_may_take() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.drain_ms = 60_000";
    let mut router = Launch::of(1).file(file).start();
    let mut stalled = stalled(&router, &router.tcp());
    router.signal(Signal::TERM);
    until("it drains", || (router.get("/health").0 == 503).then_some(()));
    let draining_since = Instant::now();
    // Longer than any other connection that ends has to read what is queued.
    until("some time has passed", || {
        assert!(!router.has_ended(), "it drains for {:?}", draining_since.elapsed());
        (Duration::from_millis(1500) < draining_since.elapsed()).then_some(())
    });
    drink(&mut stalled);
    assert_eq!(stalled.hear_out(), ["going_away"]);
    drop(stalled);
    assert_eq!(router.wait().code(), Some(0));
}

#[test]
fn clients_that_neither_read_nor_leave_hold_no_stop_up() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.drain_ms = 200";
    let mut router = Launch::of(2).file(file).start();
    let _stalled = stalled(&router, &router.tcp());
    let mut half_said = Peer::dial(&router.tcp());
    half_said.send(b"MPREG");
    router.signal(Signal::TERM);
    let told_at = Instant::now();
    router.wait();
    assert!(told_at.elapsed() < Duration::from_secs(10), "{:?}", told_at.elapsed());
    assert!(!router.path("ready.json").exists());
}

#[test]
fn a_client_that_was_told_and_stays_is_cut_off() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.drain_ms = 600_000";
    let mut router = Launch::of(1).file(file).start();
    let mut lingering = router.client();
    router.signal(Signal::TERM);
    assert_eq!(lingering.hear_out(), ["going_away"]);
    assert_eq!(router.wait().code(), Some(0));
}

#[test]
fn a_router_that_drains_takes_nobody_in() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.drain_ms = 60_000";
    let mut router = Launch::of(2).file(file).start();
    let mut stalled = stalled(&router, &router.tcp());
    router.signal(Signal::TERM);
    assert_eq!(stalled.data().payload(), payload(0));
    until("it drains", || (router.get("/health").0 == 503).then_some(()));
    until("newcomers are turned away", || {
        let Ok(mut peer) = Peer::try_dial(&router.tcp()) else { return Some(()) };
        peer.try_send(b"MPREG")
            .is_err()
            .then_some(())
            .or_else(|| (peer.hear_within(Duration::from_millis(200)) == "closed").then_some(()))
    });
    router.signal(Signal::TERM);
    assert_eq!(router.wait().code(), Some(1), "told twice, it ends at once");
}

#[test]
fn what_kill_leaves_stops_no_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut router = Launch::of(2).at(&socket).start();
    let Address::Tcp(native) = router.tcp() else { unreachable!("that is TCP") };
    let clients: Vec<Peer> =
        router.addresses().iter().map(|address| Peer::connect(address, Wish::default())).collect();
    router.signal(Signal::KILL);
    router.wait();
    assert!(socket.exists() && router.path("ready.json").exists());
    // The port it had, with connections of it still known to the kernel.
    let again = Launch::of(2).at(&socket).listen(native).start();
    for address in again.addresses() {
        let mut peer = Peer::connect(&address, Wish::default());
        peer.subscribe(1, "a");
    }
    drop(clients);
}

#[test]
fn a_socket_somebody_serves_is_not_taken() {
    let first = Launch::of(1).with_socket().start();
    let socket = first.path("socket");
    let refused = Launch::of(1).at(&socket).refused();
    assert_refused(&refused, 2, socket.to_str().unwrap());
    let mut peer = Peer::connect(&Address::Unix(socket), Wish::default());
    peer.subscribe(1, "a");
}

#[test]
fn refuses_a_machine_that_is_too_small_in_one_line() {
    for (preparation, part) in
        [("ulimit -n 100", "nofile: 100; "), ("ulimit -l 128", "memlock: 128 KiB; ")]
    {
        let refused = Launch::of(1).after(preparation).refused();
        assert_refused(&refused, 78, part);
        assert_eq!(refused.stderr.matches(part).count(), 1, "{}", refused.stderr);
    }
}

#[test]
fn raises_what_it_may_raise_itself() {
    let router = Launch::of(1).after("ulimit -Sn 100").start();
    let clients: Vec<Peer> = (0..150).map(|_| router.client()).collect();
    assert_eq!(router.page().sum("mpreg_sessions", &[]), clients.len() as u64);
}

/// The child inherits the filter of the thread that starts it.
#[test]
fn refuses_to_start_where_io_uring_is_forbidden() {
    const IO_URING: [i64; 3] = [425, 426, 427];
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let rules = IO_URING.map(|number| (number, Vec::new())).into_iter().collect();
    let (others, these) = (SeccompAction::Allow, SeccompAction::Errno(1));
    let filter = SeccompFilter::new(rules, others, these, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let confined = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).unwrap();
        Launch::of(1).refused()
    });
    assert_refused(&confined.join().unwrap(), 78, "io_uring");
}

#[track_caller]
fn assert_refused(refused: &Refused, code: i32, part: &str) {
    assert_eq!(refused.code, Some(code), "{refused:?}");
    assert!(refused.stderr.contains(part), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert_eq!((refused.stdout.as_str(), refused.has_ready_file), ("", false), "{refused:?}");
}

#[test]
fn a_path_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let refused = Launch::of(1).at(&path).refused();
    assert_refused(&refused, 2, path.to_str().unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}
