//! When things come: subscriptions that hold from PONG on, order, clients that lag, clients that
//! are silent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mpreg_tests::live::nats::{NatsPeer, USUAL, headed, publication};
use mpreg_tests::live::{Launch, until};

const ROUNDS: usize = 500;

#[test]
fn a_subscription_holds_from_pong_on() {
    for shards in [2, 3] {
        let router = Launch::of(shards).with_nats().start();
        let mut clients: Vec<NatsPeer> =
            (0..shards).map(|shard| router.nats_on(shard, USUAL)).collect();
        for round in 0..ROUNDS {
            let (to, from) = (round % shards, (round + 1 + round / shards % (shards - 1)) % shards);
            let subject = format!("p.{round}.x");
            // The publisher's shard then remembers that nobody wants it.
            (0..round % 3).for_each(|_| clients[from].publish(&subject, b"early"));
            clients[from].flush();
            let wanted = match round % 4 {
                0 => format!("{subject} 1"),
                1 => format!("p.{round}.* 1"),
                2 => format!("p.{round}.> 1"),
                _ => format!("{subject} group 1"),
            };
            clients[to].send(format!("SUB {wanted}\r\nPING\r\n").as_bytes());
            assert_eq!(clients[to].hear(), "PONG");
            clients[from].publish(&subject, b"here");
            assert_eq!(clients[to].hear(), format!("MSG {subject} 1 4|here"), "round {round}");
            clients[to].send(b"UNSUB 1\r\n");
        }
    }
}

#[test]
fn what_was_published_went_before_its_pong() {
    for shards in [1, 2, 3] {
        let router = Launch::of(shards).with_nats().start();
        for shard in 0..shards {
            let mut client = router.nats_on(shard, USUAL);
            for round in 0..ROUNDS {
                // Another shard may be the one to know who wants it, and is asked.
                let subject = format!("w.{shard}.{round}");
                client.subscribe(round as u32, &subject);
                for _ in 0..3 {
                    client.send(&[&publication(&subject, "", b"mine")[..], b"PING\r\n"].concat());
                    assert_eq!(client.hear(), format!("MSG {subject} {round} 4|mine"));
                    assert_eq!(client.hear(), "PONG");
                }
            }
        }
    }
}

const SUBJECTS: usize = 4;
/// Messages of one publisher to one subject.
const MESSAGES: usize = 500;

/// Sends its messages in writes of a few, alone and in runs of one subject, now and then large.
fn publish(publisher: usize, client: &mut NatsPeer) {
    let mut next = [0; SUBJECTS];
    let mut bytes = Vec::new();
    let mut step = publisher;
    while next.iter().any(|&next| next < MESSAGES) {
        step += 1;
        let (subject, name) = (step % SUBJECTS, format!("o.{}", step % SUBJECTS));
        for _ in 0..1 + step % 7 * (step % 3) {
            let number = next[subject];
            if number == MESSAGES {
                break;
            }
            let padding = if number % 97 == 0 { 40_000 } else { number % 90 };
            let payload = format!("{publisher} {number} {}", "x".repeat(padding));
            match number % 5 {
                0 => bytes.extend(headed(&name, "", "NATS/1.0\r\nK: v\r\n\r\n", &payload)),
                _ => bytes.extend(publication(&name, "", payload.as_bytes())),
            }
            next[subject] = number + 1;
        }
        if step.is_multiple_of(4) {
            client.send(&bytes);
            bytes.clear();
        }
    }
    client.send(&bytes);
}

/// Reads until everything has come, each message as the next of its publisher and subject.
#[track_caller]
fn read_in_order(client: &mut NatsPeer, publishers: usize) {
    let mut next = BTreeMap::<(String, String), usize>::new();
    for _ in 0..publishers * SUBJECTS * MESSAGES {
        let heard = client.hear();
        let (head, body) = heard.split_once('|').expect("a message");
        let subject = head.split(' ').nth(1).expect("a subject").to_owned();
        let payload = body.rsplit("\r\n\r\n").next().expect("a last part");
        let mut words = payload.split(' ');
        let publisher = words.next().expect("a publisher").to_owned();
        let number: usize = words.next().and_then(|n| n.parse().ok()).expect("a number");
        let expected = next.entry((publisher, subject)).or_default();
        assert_eq!(number, *expected, "of {head}");
        *expected += 1;
    }
    assert!(next.values().all(|&next| next == MESSAGES), "{next:?}");
    client.flush();
}

#[test]
fn order_is_kept_per_publisher_and_subject() {
    for shards in [1, 2, 3] {
        let router = Launch::of(shards).with_nats().start();
        let on_each =
            || -> Vec<NatsPeer> { (0..shards).map(|shard| router.nats_on(shard, USUAL)).collect() };
        let (mut publishers, mut subscribers) = (on_each(), on_each());
        for (at, subscriber) in subscribers.iter_mut().enumerate() {
            match at {
                1 => (0..SUBJECTS).for_each(|n| subscriber.say(&format!("SUB o.{n} {n}"))),
                _ => subscriber.say("SUB o.* 1"),
            }
            subscriber.flush();
        }
        std::thread::scope(|scope| {
            for (at, publisher) in publishers.iter_mut().enumerate() {
                scope.spawn(move || publish(at, publisher));
            }
            for subscriber in &mut subscribers {
                scope.spawn(move || read_in_order(subscriber, shards));
            }
        });
    }
}

#[test]
fn who_lags_is_ended_as_a_slow_consumer_and_nobody_else_notices() {
    const QUEUE: &str = "limits.queue_bytes = 1_048_576\nlimits.queue_bytes_max = 1_048_576";
    /// Forty times what the queue holds, and the kernel.
    const MESSAGES: usize = 80_000;
    for shards in [1, 2] {
        let router = Launch::of(shards).file(QUEUE).with_nats().start();
        let mut slow = router.nats_on(shards - 1, USUAL);
        slow.narrow(32 << 10);
        slow.subscribe(1, "s.>");
        let mut reader = router.nats_on(shards - 1, USUAL);
        reader.subscribe(1, "s.*");
        let mut publisher = router.nats_on(0, USUAL);
        let before = router.resident_bytes();
        let batch = publication("s.a", "", &[b'x'; 1000]).repeat(100);
        let want = format!("MSG s.a 1 1000|{}", "x".repeat(1000));
        let mut most = 0;
        for round in 0..MESSAGES / 100 {
            publisher.send(&batch);
            (0..100).for_each(|_| assert!(reader.hear() == want, "in round {round}"));
            most = most.max(router.resident_bytes());
            if router.page().refused("slow_consumer") == 1 {
                break;
            }
        }
        assert_eq!(router.page().refused("slow_consumer"), 1);
        let grown = most.saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes for a queue of 1 MiB");
        let mut heard = 0;
        loop {
            let said = slow.hear();
            if said == "-ERR 'Slow Consumer'" {
                break;
            }
            assert!(said == want, "a message or why there are no more");
            heard += 1;
        }
        assert_eq!(slow.hear(), "closed");
        assert!(500 < heard && heard < MESSAGES, "{heard}");
        publisher.publish("s.a", b"on");
        assert_eq!(reader.hear(), "MSG s.a 1 2|on");
        reader.flush();
    }
}

/// Reads `count` messages, with a pause after each quarter of a mebibyte.
#[track_caller]
fn read_slowly(client: &mut NatsPeer, count: usize, want: &str) {
    for number in 0..count {
        assert!(client.hear() == want, "message {number}");
        if number % 256 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn publishers_wait_for_a_subscriber_that_reads_slowly() {
    /// Three times what its queue holds.
    const MESSAGES: usize = 200_000;
    let want = format!("MSG s.a 1 1000|{}", "x".repeat(1000));
    // A subscription that ends by itself is delivered to message by message.
    for command in ["SUB s.a 1".to_owned(), format!("SUB s.a 1\r\nUNSUB 1 {MESSAGES}")] {
        let router = Launch::of(1).with_nats().start();
        let mut slow = router.nats();
        slow.say(&command);
        slow.flush();
        let mut publisher = router.nats();
        let batch = publication("s.a", "", &[b'x'; 1000]).repeat(100);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..MESSAGES / 100).for_each(|_| publisher.send(&batch));
                publisher.flush();
            });
            read_slowly(&mut slow, MESSAGES, &want);
        });
        slow.flush();
        assert_eq!(router.page().refused("slow_consumer"), 0, "{command}");
    }
}

#[test]
fn who_does_not_answer_pings_is_stale() {
    let file = "nats.ping_interval_ms = 60\nnats.pings_out_max = 2";
    let router = Launch::of(1).file(file).with_nats().start();
    let mut silent = router.nats();
    assert_eq!(silent.hear_out(), ["PING", "PING", "-ERR 'Stale Connection'"]);
    let mut alive = router.nats();
    for _ in 0..10 {
        assert_eq!(alive.hear(), "PING");
        alive.say("PONG");
    }
    alive.flush();
}

#[test]
fn who_says_nothing_at_all_is_given_up() {
    let file = "nats.auth_timeout_ms = 200\n[auth]\ntoken = 't'";
    let router = Launch::of(1).file(file).with_nats().start();
    let began = Instant::now();
    let mut silent = NatsPeer::dial(router.bound("nats"));
    let mut slow = NatsPeer::dial(router.bound("nats"));
    slow.send(b"CONNECT {\"auth_token\":");
    silent.is_refused("Authentication Timeout");
    slow.is_refused("Authentication Timeout");
    assert!(Duration::from_millis(200) <= began.elapsed());
    until("both are gone", || (router.page().sum("mpreg_sessions", &[]) == 0).then_some(()));
}
