//! Peers that take what there is: descriptors, connections, memory, attention. They get their share
//! and are told so; a pair of well-behaved clients goes on as if they were not there.

use std::time::{Duration, Instant};

use mpreg_proto::frame::{Connect, Echo, Frame, Overload};
use mpreg_proto::hello::Hello;
use mpreg_tests::live::pair::Pair;
use mpreg_tests::live::peer::{Address, Peer, Wish, message};
use mpreg_tests::live::{Launch, Router, until};

/// Longest wait of the pair for one message while others misbehave, on a machine with other things
/// to do. Being held up by them would show as waits for ever.
const HELD_UP: Duration = Duration::from_secs(5);

/// What a router holds when nobody misbehaves.
#[derive(Debug)]
struct Rest {
    descriptors: usize,
    sessions: u64,
    resident_bytes: u64,
}

impl Rest {
    fn of(router: &Router) -> Self {
        Self {
            descriptors: router.descriptors(),
            sessions: router.page().sum("mpreg_sessions", &[]),
            resident_bytes: router.resident_bytes(),
        }
    }

    /// Waits until everything is given back; of memory, all but `slack_bytes`.
    #[track_caller]
    fn is_back(&self, router: &Router, slack_bytes: u64) {
        until("descriptors and sessions are given back", || {
            let is = Self::of(router);
            // A connection of the admin surface may be on its way out.
            (is.descriptors <= self.descriptors + 1 && is.sessions == self.sessions).then_some(())
        });
        assert_eq!(router.page().sum("mpreg_queued_bytes", &[]), 0);
        let growth = router.resident_bytes().saturating_sub(self.resident_bytes);
        assert!(growth <= slack_bytes, "{growth} bytes more than before");
    }
}

/// Lets others misbehave three times beside a pair; the first time fills what is kept for reuse.
#[track_caller]
fn beside_a_pair(router: &Router, slack_bytes: u64, mut misbehave: impl FnMut()) {
    let mut pair = Pair::of(router, "pair");
    pair.exchange();
    let mut rest = Rest::of(router);
    for round in 0..3 {
        let (_, slowest) = pair.exchange_while(&mut misbehave);
        assert!(slowest < HELD_UP, "{slowest:?}");
        pair.exchange();
        rest.is_back(router, if round == 0 { 128 << 20 } else { slack_bytes });
        rest.resident_bytes = rest.resident_bytes.max(router.resident_bytes());
    }
}

#[test]
fn connections_that_come_and_go() {
    let router = Launch::of(2).with_socket().start();
    beside_a_pair(&router, 4 << 20, || {
        for at in 0..400 {
            let addresses = router.addresses();
            let mut peer = Peer::dial(&addresses[at % 2]);
            match at % 5 {
                0 => (),
                1 => peer.send(b"MPREG"),
                2 => peer.greet(),
                3 => peer.enter(Wish::default()),
                _ => {
                    peer.enter(Wish::default());
                    peer.ask(1, "pair", "", Overload::DropOldest);
                }
            }
        }
    });
}

#[test]
fn connections_that_are_reset() {
    let router = Launch::of(2).start();
    beside_a_pair(&router, 4 << 20, || {
        for at in 0..400 {
            let mut peer = Peer::dial(&router.tcp());
            match at % 4 {
                0 => (),
                1 => peer.send(&Hello::client(1).to_bytes()[..40]),
                2 => {
                    peer.enter(Wish::default());
                    peer.ask(1, "#", "", Overload::DropOldest);
                }
                _ => {
                    peer.enter(Wish::default());
                    // Its own messages are on their way to it when it is gone.
                    peer.ask(1, "own", "", Overload::DropOldest);
                    peer.send(&message("own", &[0; 10_000]).repeat(5));
                }
            }
            peer.reset();
        }
    });
}

#[test]
fn as_many_connections_as_there_may_be_and_no_more() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.connections_max = 10";
    let router = Launch::of(2).file(file).with_socket().start();
    let mut pair = Pair::of(&router, "pair");
    for address in router.addresses() {
        let others: Vec<Peer> = (0..8).map(|_| Peer::connect(&address, Wish::default())).collect();
        let before = router.page().refused("too_many_connections");
        for _ in 0..20 {
            assert_eq!(read_frames(&address), ["error too_many_connections"]);
        }
        assert_eq!(router.page().refused("too_many_connections") - before, 20);
        pair.exchange();
        drop(others);
        until("their places are free", || {
            (router.page().sum("mpreg_sessions", &[]) == 2).then_some(())
        });
    }
}

/// Says nothing; hears the router out.
#[track_caller]
fn read_frames(address: &Address) -> Vec<String> {
    Peer::dial(address).hear_out()
}

/// The kernel holds those that cannot be accepted, and the router looks again now and then.
///
/// What the router inherits is beyond its reckoning, so it runs out before its cap on connections.
#[test]
fn descriptors_that_are_used_up() {
    for shards in [1, 2] {
        let inherit = "ulimit -n 512; for fd in {100..399}; do eval \"exec $fd</dev/null\"; done";
        let router = Launch::of(shards).after(inherit).start();
        let mut pair = Pair::of(&router, "pair");
        let mut others: Vec<Peer> = (0..250).map(|_| Peer::dial(&router.tcp())).collect();
        for other in &mut others {
            other.send(&Hello::client(1).to_bytes());
            let connect = Connect { name: "", echo: Echo::On, queue_bytes: 0 };
            other.say(Frame::Connect(connect));
        }
        until("no more are accepted", || (router.descriptors() == 512).then_some(()));
        let before = router.cpu();
        let watched_since = Instant::now();
        while watched_since.elapsed() < Duration::from_secs(1) {
            assert!(pair.exchange() < HELD_UP);
            std::thread::sleep(Duration::from_millis(50));
        }
        let used = router.cpu() - before;
        assert!(used < Duration::from_millis(200), "{used:?} in 1 s on {shards} shards");
        // Each makes room for one that waits.
        let mut waiting = others.split_off(125);
        drop(others);
        for other in &mut waiting {
            other.hear_hello();
            assert_eq!(other.hear(), "connected");
        }
        assert!(0 < router.page().sum("mpreg_accept_failures_total", &[]));
        pair.exchange();
    }
}

#[test]
fn peers_that_stop_answering() {
    for shards in [1, 2] {
        let file = "limits.ping_interval_ms = 50";
        let router = Launch::of(shards).file(file).with_socket().start();
        let addresses = router.addresses();
        let mut silent: Vec<Peer> =
            (0..10).map(|at| Peer::connect(&addresses[at % 2], Wish::default())).collect();
        let since = Instant::now();
        for peer in &mut silent {
            let want = ["ping", "ping", "ping", "error idle_timeout"];
            assert_eq!(peer.hear_out(), want);
        }
        assert!(Duration::from_millis(150) < since.elapsed());
        assert_eq!(router.page().refused("idle_timeout"), 10);
        let mut answering = router.client();
        for _ in 0..20 {
            let Some(Frame::Ping { token }) = answering.frame() else { panic!("no ping") };
            answering.say(Frame::Pong { token });
        }
        until("only one is left", || (router.page().sum("mpreg_sessions", &[]) == 1).then_some(()));
    }
}

/// Sends pings and reads nothing until it is cut off.
fn ping_until_cut_off(socket: &Address, queue_bytes: u32) {
    let mut pings = Vec::new();
    (0..4096).for_each(|token| Frame::Ping { token }.put(&mut pings));
    let mut peer = Peer::connect(socket, Wish { queue_bytes, ..Wish::default() });
    while peer.try_send(&pings).is_ok() {}
}

/// The answers are control frames, for which there is a reserve and no more.
#[test]
fn pings_whose_answers_nobody_reads() {
    let router = Launch::of(1).with_socket().start();
    let [_, socket] = &router.addresses()[..] else { panic!("TCP and a socket") };
    beside_a_pair(&router, 8 << 20, || {
        let before = router.page().refused("slow_consumer");
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| ping_until_cut_off(socket, 1))));
        });
        assert_eq!(router.page().refused("slow_consumer") - before, 8);
    });
}

/// A large queue is no licence to fill memory with control frames.
#[test]
fn pings_beyond_the_memory_budget() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.connections_max = 1000\n\
                limits.queue_bytes_max = 4_194_304\nlimits.memory_bytes = 4_194_304";
    let router = Launch::of(1).file(file).with_socket().start();
    let [_, socket] = &router.addresses()[..] else { panic!("TCP and a socket") };
    beside_a_pair(&router, 8 << 20, || {
        let before = router.page().refused("slow_consumer");
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| ping_until_cut_off(socket, 4 << 20))));
            until("all are refused", || {
                let page = router.page();
                let queued = page.sum("mpreg_queued_bytes", &[]);
                assert!(queued <= (4 << 20) + (8 << 16), "{queued} bytes queued");
                (page.refused("slow_consumer") - before == 8).then_some(())
            });
        });
    });
}

/// The beginning of a message of a MiB, all but its last bytes.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut whole = message("never", &vec![7; 1 << 20]);
    whole.truncate(bytes);
    whole
}

#[test]
fn frames_that_are_never_finished() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.connections_max = 1000\n\
                limits.queue_bytes_max = 2_097_152\nlimits.memory_bytes = 8_388_608";
    let router = Launch::of(1).file(file).start();
    beside_a_pair(&router, 8 << 20, || {
        let before = router.page().refused("out_of_memory");
        let many: Vec<Peer> = (0..40)
            .map(|_| {
                let mut peer = router.client();
                // Refused in the middle, it is cut off.
                peer.try_send(&unfinished(1_000_000)).unwrap_or(());
                peer
            })
            .collect();
        let refused = router.page().refused("out_of_memory") - before;
        assert!((25..40).contains(&refused), "{refused} refused");
        let queued = router.page().sum("mpreg_queued_bytes", &[]);
        assert!(queued <= 8 << 20, "{queued} bytes");
        drop(many);
    });
}

/// What is kept for reuse is large; what is pinned by a few bytes must not be.
#[test]
fn small_beginnings_of_frames_pin_little() {
    let router = Launch::of(1).with_socket().start();
    // Sends of many messages at once leave large buffers for reuse.
    let bulky = |peer: &mut Peer| {
        peer.send(&message("bulk", &[0; 1000]).repeat(2000));
        (0..2000).for_each(|_| assert_eq!(peer.data().payload().len(), 1000));
    };
    let wish = Wish { queue_bytes: 64 << 20, ..Wish::default() };
    let mut bulk = Peer::connect(&router.tcp(), wish);
    bulk.subscribe(1, "bulk");
    (0..20).for_each(|_| bulky(&mut bulk));
    let before = router.resident_bytes();
    let many: Vec<Peer> = (0..300)
        .map(|at| {
            let mut peer = router.client();
            peer.send(&unfinished(100));
            if at % 10 == 0 {
                bulky(&mut bulk);
            }
            peer
        })
        .collect();
    let growth = router.resident_bytes().saturating_sub(before);
    assert!(growth < 300 * (16 << 10) + (8 << 20), "{growth} bytes for {}", many.len());
}
