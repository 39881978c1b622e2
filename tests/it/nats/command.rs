//! What a NATS client says, and what it hears in answer.

use mpreg_tests::live::nats::{NatsPeer, USUAL, headed, publication};
use mpreg_tests::live::{Launch, Router};

use super::{hear_sorted, on_all_shards, options};

fn started() -> Router {
    Launch::of(1).with_nats().start()
}

#[track_caller]
fn refused(bytes: &[u8], error: &str) {
    let router = started();
    let mut client = router.nats();
    client.send(bytes);
    client.is_refused(error);
}

#[test]
fn the_first_word_says_who_is_there() {
    let router = Launch::of(2).with_nats().file("nats.server_name = 'one'").start();
    let peer = NatsPeer::dial(router.bound("nats"));
    let info = &peer.info;
    assert_eq!(info["server_name"], "one");
    assert_eq!(info["server_id"].as_str().map(str::len), Some(56));
    assert_eq!((&info["proto"], &info["headers"]), (&1.into(), &true.into()));
    assert_eq!(info["max_payload"], 1 << 20);
    assert_eq!(info["port"], router.bound("nats").port());
    assert_eq!(info["jetstream"], false);
    assert!(info.get("auth_required").is_none() && info.get("nonce").is_none());
    let other = NatsPeer::dial(router.bound("nats"));
    assert_ne!(info["client_id"], other.info["client_id"]);
}

#[test]
fn who_speaks_the_later_protocol_is_introduced_once_more() {
    let router = started();
    let mut client = NatsPeer::dial(router.bound("nats"));
    client.say(&format!("CONNECT {}\r\nPING\r\nPING", options(r#"{"protocol":1}"#)));
    assert_eq!([(); 3].map(|()| client.hear()), ["PONG", "INFO", "PONG"]);
    assert_eq!(client.info["connect_info"], true);
}

#[test]
fn each_matching_subscription_gets_its_copy() {
    on_all_shards(|subscriber, publisher| {
        for (sid, subject) in
            [(1, "a.*"), (2, "a.>"), (3, "a.b"), (4, "a.b"), (5, "a.b q"), (6, ">")]
        {
            subscriber.say(&format!("SUB {subject} {sid}"));
        }
        subscriber.say("SUB a 7\r\nSUB a.b.c 8\r\nSUB a.b.> 9");
        subscriber.flush();
        publisher.publish("a.b", b"x");
        let want: Vec<String> = (1..=6).map(|sid| format!("MSG a.b {sid} 1|x")).collect();
        assert_eq!(hear_sorted(subscriber, 6), want);
        subscriber.flush();
        (1..=9).for_each(|sid| subscriber.say(&format!("UNSUB {sid}")));
        subscriber.flush();
    });
}

#[test]
fn a_publisher_hears_itself_unless_it_asked_not_to() {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let mut loud = router.nats_on(0, USUAL);
        let mut quiet = router.nats_on(shards - 1, &options(r#"{"echo":false}"#));
        // Without waiting: a connection's own commands are taken in order.
        loud.send(b"SUB e 1\r\nPUB e 1\r\na\r\n");
        assert_eq!(loud.hear(), "MSG e 1 1|a");
        quiet.subscribe(2, "e");
        quiet.publish("e", b"b");
        assert_eq!(loud.hear(), "MSG e 1 1|b");
        loud.publish("e", b"c");
        assert_eq!(quiet.hear(), "MSG e 2 1|c");
        quiet.flush();
    }
}

#[test]
fn a_subscription_ends_after_as_many_messages_as_it_said() {
    on_all_shards(|subscriber, publisher| {
        for (round, group) in ["", " g"].into_iter().enumerate() {
            let sid = round + 1;
            subscriber.say(&format!("SUB c{group} {sid}\r\nUNSUB {sid} 7"));
            subscriber.flush();
            let all: Vec<u8> =
                (0..20).flat_map(|n| publication("c", "", format!("{n:02}").as_bytes())).collect();
            publisher.send(&all);
            publisher.flush();
            for n in 0..7 {
                assert_eq!(subscriber.hear(), format!("MSG c {sid} 2|{n:02}"));
            }
            // The number is free again, and nothing of the first one comes.
            subscriber.subscribe(sid as u32, "d");
            publisher.publish("d", b"x");
            assert_eq!(subscriber.hear(), format!("MSG d {sid} 1|x"));
            subscriber.say(&format!("UNSUB {sid}"));
            subscriber.flush();
        }
    });
}

#[test]
fn messages_heard_before_count_towards_the_end() {
    on_all_shards(|subscriber, publisher| {
        subscriber.subscribe(1, "c");
        publisher.send(&publication("c", "", b"x").repeat(3));
        (0..3).for_each(|_| assert_eq!(subscriber.hear(), "MSG c 1 1|x"));
        subscriber.say("UNSUB 1 5");
        subscriber.flush();
        publisher.send(&publication("c", "", b"y").repeat(4));
        (0..2).for_each(|_| assert_eq!(subscriber.hear(), "MSG c 1 1|y"));
        // Of another subject: the rest of the last may still be on its way between shards.
        subscriber.subscribe(1, "d");
        publisher.publish("d", b"z");
        assert_eq!(subscriber.hear(), "MSG d 1 1|z");
        subscriber.say("UNSUB 1 1");
        subscriber.flush();
        publisher.publish("d", b"late");
        publisher.flush();
        subscriber.flush();
    });
}

#[test]
fn who_wants_to_know_hears_that_nobody_is_there() {
    on_all_shards(|requester, responder| {
        requester.subscribe(1, "_INBOX.r.*");
        requester.send(&publication("q", "_INBOX.r.1", b"?"));
        assert_eq!(
            requester.hear(),
            "HMSG _INBOX.r.1 1 33 33|NATS/1.0 503\r\nNats-Subject: q\r\n\r\n"
        );
        responder.subscribe(1, "q");
        requester.send(&publication("q", "_INBOX.r.2", b"?"));
        assert_eq!(responder.hear(), "MSG q 1 _INBOX.r.2 1|?");
        responder.publish("_INBOX.r.2", b"!");
        assert_eq!(requester.hear(), "MSG _INBOX.r.2 1 1|!");
        responder.say("UNSUB 1");
        responder.flush();
    });
    let router = started();
    let mut client = router.nats_on(0, &options(r#"{"no_responders":false}"#));
    client.subscribe(1, "_INBOX.r.*");
    client.send(&publication("q", "_INBOX.r.1", b"?"));
    client.flush();
}

#[test]
fn verbose_clients_hear_that_each_command_was_taken() {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let mut client = NatsPeer::dial(router.bound("nats"));
        client.say("CONNECT {\"verbose\":true}");
        assert_eq!(client.hear(), "+OK");
        client.send(b"SUB v 1\r\nPUB w 1\r\nx\r\nPUB w 1\r\ny\r\nUNSUB 1\r\nUNSUB 9\r\nPING\r\n");
        assert_eq!([(); 6].map(|()| client.hear()), ["+OK", "+OK", "+OK", "+OK", "+OK", "PONG"]);
    }
}

#[test]
fn who_takes_no_headers_gets_the_payload_alone() {
    on_all_shards(|_, publisher| publisher.flush());
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let mut plain =
            router.nats_on(shards - 1, &options(r#"{"headers":false,"no_responders":false}"#));
        let mut publisher = router.nats_on(0, USUAL);
        plain.subscribe(1, "h");
        publisher.send(&headed("h", "r", "NATS/1.0\r\nA: b\r\n\r\n", "body"));
        publisher.publish("h", b"next");
        assert_eq!(plain.hear(), "MSG h 1 r 4|body");
        assert_eq!(plain.hear(), "MSG h 1 4|next");
    }
}

#[test]
fn commands_may_be_written_in_any_case_and_spacing() {
    let router = started();
    let mut client = router.nats();
    client
        .send(b"sub  s\t1 \r\npUb \t s  1\r\na\r\nPUB s 01\r\nb\r\nPUB s 1\nc\r\nhpub s 12 13\r\n");
    client.send(b"NATS/1.0\r\n\r\nd\r\nUnSub 1\r\npub s 0\r\n\r\nping\r\n");
    let want = ["MSG s 1 1|a", "MSG s 1 1|b", "MSG s 1 1|c", "HMSG s 1 12 13|NATS/1.0\r\n\r\nd"];
    assert_eq!([(); 4].map(|()| client.hear()), want);
    assert_eq!(client.hear(), "PONG");
}

#[test]
fn commands_may_be_cut_anywhere() {
    let router = started();
    let mut pace = router.nats();
    let mut said = format!("CONNECT {USUAL}\r\nSUB c.* 1\r\nPUB c.a r 3\r\nxyz\r\n").into_bytes();
    said.extend(headed("c.b", "", "NATS/1.0\r\nK: v\r\n\r\n", "p"));
    said.extend(b"UNSUB 1\r\nPUB c.c 1\r\n-\r\nPING\r\n");
    let want = ["MSG c.a 1 r 3|xyz", "HMSG c.b 1 18 19|NATS/1.0\r\nK: v\r\n\r\np", "PONG"];
    // The one that paces is served by the same shard, which then has read what came before.
    for cut in 0..said.len() {
        let mut client = NatsPeer::dial(router.bound("nats"));
        client.send(&said[..cut]);
        pace.flush();
        client.send(&said[cut..]);
        assert_eq!([(); 3].map(|()| client.hear()), want, "cut at {cut}");
    }
    let mut client = NatsPeer::dial(router.bound("nats"));
    for byte in said {
        client.send(&[byte]);
        pace.flush();
    }
    assert_eq!([(); 3].map(|()| client.hear()), want);
}

#[test]
fn a_payload_may_be_as_long_as_announced_and_no_longer() {
    for (router, longest) in [
        (started(), 1 << 20),
        (Launch::of(1).with_nats().file("nats.payload_bytes_max = 100").start(), 100),
    ] {
        let (mut subscriber, mut publisher) = (router.nats(), router.nats());
        assert_eq!(publisher.info["max_payload"], longest);
        subscriber.subscribe(1, "p");
        let payload = vec![b'x'; longest];
        publisher.publish("p", &payload);
        let want = format!("MSG p 1 {longest}|{}", str::from_utf8(&payload).expect("ASCII"));
        assert!(subscriber.hear() == want);
        // Headers are part of it.
        let block = "NATS/1.0\r\n\r\n";
        publisher.send(&headed("p", "", block, &"y".repeat(longest - block.len())));
        assert!(subscriber.hear().starts_with("HMSG p 1 12 "));
        publisher.say(&format!("PUB p {}", longest + 1));
        publisher.is_refused("Maximum Payload Violation");
        subscriber.flush();
        let mut publisher = router.nats();
        publisher.say(&format!("HPUB p 12 {}", longest + 1));
        publisher.is_refused("Maximum Payload Violation");
        subscriber.flush();
    }
}

#[test]
fn what_is_no_command_ends_the_connection() {
    refused(b"HELLO\r\n", "Unknown Protocol Operation");
    refused(b"PUB a 1\r\nxyz\r\n", "Unknown Protocol Operation");
    refused(format!("SUB {} 1\r\n", "a".repeat(5000)).as_bytes(), "maximum control line exceeded");
    refused(format!("SUB {}", "a".repeat(5000)).as_bytes(), "maximum control line exceeded");
    // Without a word, as nats-server does.
    for bytes in ["PUB a", "PUB a b c d e", "SUB a", "PUB a -1", "UNSUB "] {
        let router = started();
        let mut client = router.nats();
        client.say(bytes);
        assert_eq!(client.hear(), "closed", "{bytes}");
    }
}

#[test]
fn subjects_that_are_none_are_told_and_the_connection_stays() {
    let router = started();
    let mut client = router.nats();
    client.subscribe(1, ">");
    for subject in ["a..b", ".a", "a."] {
        // Nobody hears it, and that is all, as with nats-server.
        client.publish(subject, b"x");
        client.flush();
        client.say(&format!("SUB {subject} 7"));
        assert_eq!(client.hear(), "-ERR 'Invalid Subject'", "{subject}");
    }
    client.say("SUB a.>.b 7");
    assert_eq!(client.hear(), "-ERR 'Invalid Subject'");
    let (long, deep) = ("a".repeat(256), ["a"; 33].join("."));
    for subject in [&long, &deep] {
        client.publish(subject, b"x");
        assert_eq!(client.hear(), "-ERR 'Invalid Publish Subject'");
        client.say(&format!("SUB {subject} 7"));
        assert_eq!(client.hear(), "-ERR 'Invalid Subject'");
    }
    client.publish("a", b"x");
    assert_eq!(client.hear(), "MSG a 1 1|x");
}

/// A request to a subject that nobody can subscribe to is one that nobody answers.
#[test]
fn a_request_to_an_empty_segment_has_no_responders() {
    let router = started();
    let mut client = router.nats();
    client.subscribe(1, "r");
    client.send(&publication(&format!("{}.", "a".repeat(300)), "r", b"x"));
    let heard = client.hear();
    assert!(heard.starts_with("HMSG r 1 "), "{heard}");
}

#[test]
fn what_natives_take_for_a_wildcard_is_a_word() {
    on_all_shards(|subscriber, publisher| {
        subscriber.say("SUB w.# 1\r\nSUB w.#.* 2\r\nSUB w.* 3\r\nSUB w.> 4");
        subscriber.flush();
        for subject in ["w.#", "w.*", "w.>", "w.#.x", "w.#.>", "w.x"] {
            publisher.publish(subject, b"x");
        }
        let want = [
            "MSG w.# 1 1|x",
            "MSG w.# 3 1|x",
            "MSG w.# 4 1|x",
            "MSG w.#.> 2 1|x",
            "MSG w.#.> 4 1|x",
            "MSG w.#.x 2 1|x",
            "MSG w.#.x 4 1|x",
            "MSG w.* 3 1|x",
            "MSG w.* 4 1|x",
            "MSG w.> 3 1|x",
            "MSG w.> 4 1|x",
            "MSG w.x 3 1|x",
            "MSG w.x 4 1|x",
        ];
        assert_eq!(hear_sorted(subscriber, want.len()), want);
        (1..5).for_each(|sid| subscriber.say(&format!("UNSUB {sid}")));
        subscriber.flush();
    });
}

#[test]
fn who_is_pedantic_hears_what_is_no_subject_and_it_is_published() {
    let router = started();
    let mut client = router.nats_on(0, &options(r#"{"pedantic":true}"#));
    client.subscribe(1, ">");
    client.publish("a.*", b"x");
    assert_eq!(client.hear(), "-ERR 'Invalid Publish Subject'");
    assert_eq!(client.hear(), "MSG a.* 1 1|x");
}

#[test]
fn options_that_do_not_go_together_end_the_connection() {
    for (changed, want) in [
        (r#"{"protocol":9}"#, "-ERR 'invalid client protocol'"),
        (r#"{"headers":false}"#, "-ERR 'no responders requires headers support'"),
        (r#"{"verbose":1}"#, "closed"),
    ] {
        let router = started();
        let mut client = NatsPeer::dial(router.bound("nats"));
        client.say(&format!("CONNECT {}", options(changed)));
        assert_eq!(client.hear(), want, "{changed}");
    }
}

#[test]
fn what_the_router_alone_may_say_nobody_else_may() {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let mut client = router.nats();
        client.subscribe(1, "mpreg.>");
        client.publish("mpreg.events", b"x");
        let heard = client.hear();
        assert!(heard.starts_with("-ERR 'Permissions Violation for Publish"), "{heard}");
        client.flush();
    }
}

#[test]
fn an_unknown_number_ends_nothing_and_one_in_use_stays() {
    on_all_shards(|subscriber, publisher| {
        subscriber.say("UNSUB 77\r\nUNSUB nonsense 3\r\nSUB u.a 1\r\nSUB u.b 1");
        subscriber.flush();
        publisher.publish("u.b", b"second");
        publisher.publish("u.a", b"first");
        assert_eq!(subscriber.hear(), "MSG u.a 1 5|first");
        subscriber.say("UNSUB 1");
        subscriber.flush();
        publisher.publish("u.a", b"late");
        publisher.flush();
        subscriber.flush();
    });
}

#[test]
fn subscriptions_that_end_before_they_are_settled_hold_nothing_up() {
    on_all_shards(|one, _| {
        one.send(b"SUB s 1\r\nUNSUB 1\r\nSUB s.* 2\r\nSUB s.* 2\r\nUNSUB 2\r\nPING\r\n");
        assert_eq!(one.hear(), "PONG");
        one.send(b"SUB s 1\r\nUNSUB 1 1\r\nPUB s 1\r\nx\r\nSUB s 1\r\nUNSUB 1\r\nPING\r\n");
        assert_eq!([one.hear(), one.hear()], ["MSG s 1 1|x", "PONG"]);
        one.send(b"SUB s g\x01 3\r\nPING\r\n");
        assert_eq!([one.hear(), one.hear()], ["-ERR 'Invalid Subject'", "PONG"]);
    });
}

#[test]
fn a_number_may_be_any_word() {
    on_all_shards(|subscriber, publisher| {
        let words = ["007", "7", "-1", "99999999999999999999", "mine", "MINE", "2147483648", "0"];
        for word in words {
            subscriber.say(&format!("SUB w {word}"));
        }
        subscriber.flush();
        publisher.publish("w", b"x");
        let mut want: Vec<String> = words.iter().map(|word| format!("MSG w {word} 1|x")).collect();
        want.sort_unstable();
        assert_eq!(hear_sorted(subscriber, words.len()), want);
        subscriber.say("UNSUB 007\r\nUNSUB mine 1\r\nUNSUB MINE 2");
        subscriber.flush();
        publisher.publish("w", b"y");
        publisher.publish("w", b"z");
        let heard = hear_sorted(subscriber, 2 * words.len() - 5);
        for (word, times) in [("7", 2), ("MINE", 1), ("007", 0), ("mine", 0), ("-1", 2)] {
            let prefix = format!("MSG w {word} ");
            assert_eq!(
                heard.iter().filter(|said| said.starts_with(&prefix)).count(),
                times,
                "{word}"
            );
        }
        words.iter().for_each(|word| subscriber.say(&format!("UNSUB {word}")));
        subscriber.flush();
    });
}
