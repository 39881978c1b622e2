//! Subscribers that do not read: what gives way is what they asked for, it is counted, and nobody
//! else notices.

use std::time::Duration;

use mpreg_proto::frame::{Frame, Overload};
use mpreg_tests::live::pair::Pair;
use mpreg_tests::live::peer::{Peer, Wish, message};
use mpreg_tests::live::{Launch, Router, until};

/// Messages of one KiB in a round: three times what the kernel and a queue hold.
const MESSAGES: u64 = 16_000;

/// Half of a small queue can be with the kernel; readers have room for all messages.
const SMALL: Wish = Wish { queue_bytes: 1 << 20, echo: mpreg_proto::frame::Echo::On };
const LARGE: Wish = Wish { queue_bytes: 64 << 20, ..SMALL };

fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![b'.'; 1024];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(*payload.first_chunk().expect("a number"))
}

/// A client that does not read, and its policy.
#[track_caller]
fn stalled(router: &Router, shard: usize, overload: Overload) -> Peer {
    let stalled = router.client_on(shard, &router.tcp(), SMALL);
    stalled.narrow(32 << 10);
    subscribed(stalled, overload)
}

#[track_caller]
fn subscribed(mut peer: Peer, overload: Overload) -> Peer {
    peer.ask(1, "o", "", overload);
    assert_eq!(peer.hear(), "subscribed 1");
    peer
}

/// Publishes a round and waits until readers on each shard have all of it.
#[track_caller]
fn publish_round(router: &Router, shards: usize) {
    let mut readers: Vec<Peer> =
        (0..shards).map(|shard| router.client_on(shard, &router.tcp(), LARGE)).collect();
    readers.iter_mut().for_each(|reader| reader.subscribe(1, "o"));
    let mut publisher = router.client_on(0, &router.tcp(), LARGE);
    std::thread::scope(|scope| {
        for reader in &mut readers {
            scope.spawn(|| {
                (0..MESSAGES).for_each(|n| assert_eq!(number(reader.data().payload()), n));
            });
        }
        let all: Vec<u8> = (0..MESSAGES).flat_map(|n| message("o", &payload(n))).collect();
        publisher.send(&all);
    });
}

/// Reads what there is until a ping is answered: `pong` is said at once, so read on until nothing
/// comes behind it.
#[track_caller]
fn drink(stalled: &mut Peer, messages: u64) -> Vec<u64> {
    let heard = (0..messages).map(|_| number(stalled.data().payload())).collect();
    stalled.say(Frame::Ping { token: 1 });
    assert_eq!(stalled.hear(), "pong 1", "more than was sent and not dropped");
    heard
}

#[track_caller]
fn one_gives_way(overload: Overload, reason: &str, holds: impl Fn(&[u64])) {
    for shards in [1, 2] {
        let router = Launch::of(shards).start();
        for shard in 0..shards {
            let before = router.page().dropped(reason);
            let mut stalled = stalled(&router, shard, overload);
            publish_round(&router, shards);
            // Counted when it happens, and nothing happens any more.
            let dropped = router.page().dropped(reason) - before;
            assert!(0 < dropped && dropped < MESSAGES, "{dropped} on shard {shard} of {shards}");
            let heard = drink(&mut stalled, MESSAGES - dropped);
            assert!(heard.is_sorted_by(|one, next| one < next), "on shard {shard} of {shards}");
            holds(&heard);
        }
        let all: u64 = router.page().sum("mpreg_messages_dropped_total", &[]);
        assert_eq!(all, router.page().dropped(reason), "nothing for any other reason");
    }
}

#[test]
fn the_oldest_give_way_and_the_newest_stay() {
    one_gives_way(Overload::DropOldest, "queue_full_oldest", |heard| {
        assert_eq!(heard.last(), Some(&(MESSAGES - 1)));
        let newest = heard.iter().rev().zip((0..MESSAGES).rev());
        let kept = newest.take_while(|(heard, number)| **heard == *number).count();
        assert!(300 < kept, "{kept} of {}", heard.len());
    });
}

#[test]
fn the_newest_give_way_and_the_oldest_stay() {
    one_gives_way(Overload::DropNewest, "queue_full_newest", |heard| {
        let kept = heard.iter().zip(0..).take_while(|(heard, number)| **heard == *number).count();
        assert!(700 < kept, "{kept} of {}", heard.len());
        assert!(!heard.contains(&(MESSAGES - 1)));
    });
}

#[test]
fn the_session_gives_way_and_hears_why() {
    for shards in [1, 2] {
        let router = Launch::of(shards).start();
        let mut stalled = stalled(&router, shards - 1, Overload::Disconnect);
        std::thread::scope(|scope| {
            scope.spawn(|| publish_round(&router, shards));
            until("it is refused", || (router.page().refused("slow_consumer") == 1).then_some(()));
            let heard = stalled.hear_out();
            let whys = heard.iter().filter(|said| *said == "error slow_consumer").count();
            assert_eq!(whys, 1, "among {}", heard.len());
            // It had everything up to some message, and was told why it gets no more.
            assert!((700..MESSAGES as usize).contains(&heard.len()));
        });
        let page = router.page();
        // Those of one turn find it full before it is ended: of 64 reads of 32 messages at most.
        assert!((1..=2048).contains(&page.dropped("queue_full_disconnect")));
        assert_eq!(page.sum("mpreg_sessions_ended_total", &["reason=\"refused\""]), 1);
        let of_readers = ["queue_full_oldest", "queue_full_newest", "memory_budget"];
        assert_eq!(of_readers.map(|reason| page.dropped(reason)), [0, 0, 0]);
    }
}

/// In KiB: twice the reader's queue, and less than its socket takes before it reads.
const BURST: u64 = 120;

#[test]
fn a_burst_longer_than_its_queue_makes_no_slow_reader() {
    let policies = [Overload::DropOldest, Overload::DropNewest, Overload::Disconnect];
    for (shards, group) in [(1, ""), (1, "g"), (2, ""), (2, "g")] {
        let router = Launch::of(shards).start();
        for overload in policies {
            let wish = Wish { queue_bytes: 64 << 10, ..SMALL };
            let mut reader = router.client_on(shards - 1, &router.tcp(), wish);
            reader.ask(1, "o", group, overload);
            assert_eq!(reader.hear(), "subscribed 1");
            let mut publisher = router.client_on(0, &router.tcp(), LARGE);
            let all: Vec<u8> = (0..BURST).flat_map(|n| message("o", &payload(n))).collect();
            publisher.send(&all);
            for n in 0..BURST {
                if !group.is_empty() {
                    assert_eq!(reader.hear(), "for 1");
                }
                assert_eq!(number(reader.data().payload()), n, "{overload:?}, {group:?}, {shards}");
            }
        }
        let reasons = ["queue_full_oldest", "queue_full_newest", "queue_full_disconnect"];
        assert_eq!(reasons.map(|reason| router.page().dropped(reason)), [0, 0, 0]);
    }
}

#[test]
fn memory_is_flat_over_rounds_of_overload() {
    let router = Launch::of(2).start();
    let mut resident = Vec::new();
    for _ in 0..10 {
        let policies = [Overload::DropOldest, Overload::DropNewest, Overload::Disconnect];
        let many: Vec<Peer> = (0..6).map(|at| stalled(&router, at % 2, policies[at % 3])).collect();
        publish_round(&router, 2);
        drop(many);
        until("nothing is queued", || {
            let page = router.page();
            let left = page.sum("mpreg_queued_bytes", &[]) + page.sum("mpreg_sessions", &[]);
            (left == 0).then_some(())
        });
        resident.push(router.resident_bytes());
    }
    // Queues of 6 MiB a round came and went. Some buffers are kept for reuse, and more at first.
    let growth = resident[9].saturating_sub(resident[2]);
    assert!(growth < 20 << 20, "{growth} bytes: {resident:?}");
}

/// Stalled subscribers that use up what all queues may hold.
#[test]
fn a_used_up_budget_is_not_exceeded_and_spares_those_who_read() {
    let file = "limits.ping_interval_ms = 60_000\nlimits.connections_max = 1000\n\
                limits.queue_bytes_max = 2_097_152\nlimits.memory_bytes = 8_388_608";
    let router = Launch::of(1).file(file).with_socket().start();
    let before = router.resident_bytes();
    // The kernel keeps little for sockets of this kind, so what is queued stays queued.
    let [_, socket] = &router.addresses()[..] else { panic!("TCP and a socket") };
    let many: Vec<Peer> =
        (0..40).map(|_| subscribed(Peer::connect(socket, SMALL), Overload::DropNewest)).collect();
    let mut pair = Pair::of(&router, "p");
    let mut publisher = router.client();
    let all: Vec<u8> = (0..MESSAGES).flat_map(|n| message("o", &payload(n))).collect();
    let (exchanged, slowest) = pair.exchange_while(|| {
        publisher.send(&all);
        publisher.say(Frame::Ping { token: 1 });
        assert_eq!(publisher.hear(), "pong 1");
    });
    assert!(0 < router.page().dropped("memory_budget"));
    assert!(0 < exchanged && slowest < Duration::from_secs(5), "{exchanged}, {slowest:?}");
    let queued = router.page().sum("mpreg_queued_bytes", &[]);
    assert!((4 << 20..=8 << 20).contains(&queued), "{queued} bytes queued");
    let growth = router.resident_bytes().saturating_sub(before);
    assert!(growth < 32 << 20, "{growth} bytes for 8 MiB of queues");
    for _ in 0..100 {
        pair.exchange();
    }
    drop(many);
    until("nothing is queued", || {
        (router.page().sum("mpreg_queued_bytes", &[]) == 0).then_some(())
    });
    pair.exchange();
}
