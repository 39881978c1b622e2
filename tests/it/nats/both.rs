//! One topic space: NATS and native clients of one router, on all pairs of shards.

use std::time::Duration;

use mpreg_proto::frame::{Echo, Frame, Overload, Publish};
use mpreg_proto::id::Sid;
use mpreg_tests::live::nats::{NatsPeer, USUAL, headed, publication};
use mpreg_tests::live::peer::{Peer, Wish, frame_of};
use mpreg_tests::live::{Launch, until};

use super::options;

const HEADERS: &str = "NATS/1.0\r\nTrace: 7\r\nTrace: 8\r\n\r\n";

/// Does `test` with a native and a NATS client on each pair of shards.
#[track_caller]
fn on_all_shards(test: impl Fn(&mut Peer, &mut NatsPeer)) {
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        for (first, second) in (0..shards).flat_map(|a| (0..shards).map(move |b| (a, b))) {
            let mut native = router.client_on(first, &router.tcp(), Wish::default());
            test(&mut native, &mut router.nats_on(second, USUAL));
        }
    }
}

fn framed(topic: &str, reply: &str, headers: &str, payload: &str) -> Vec<u8> {
    let [topic, reply, headers, payload] = [topic, reply, headers, payload].map(str::as_bytes);
    frame_of(Publish { topic, reply, headers, payload, ..Publish::default() })
}

#[test]
fn what_is_published_natively_reaches_nats_with_its_headers() {
    on_all_shards(|native, nats| {
        for (sid, subject) in [(1, "a.>"), (2, "a.*.c"), (3, "a.b.c"), (4, "x.#")] {
            nats.say(&format!("SUB {subject} {sid}"));
        }
        nats.flush();
        native.send(&framed("a.b.c", "r.1", HEADERS, "hi"));
        let mut heard = [(); 3].map(|()| nats.hear());
        heard.sort_unstable();
        let want = [1, 2, 3].map(|sid| format!("HMSG a.b.c {sid} r.1 32 34|{HEADERS}hi"));
        assert_eq!(heard, want);
        native.send(&framed("a.d", "", "", "plain"));
        assert_eq!(nats.hear(), "MSG a.d 1 5|plain");
        native.send(&framed("a", "", "", "no level below"));
        nats.flush();
        (1..5).for_each(|sid| nats.say(&format!("UNSUB {sid}")));
        nats.flush();
    });
}

#[test]
fn what_nats_publishes_reaches_natives_with_its_headers() {
    on_all_shards(|native, nats| {
        native.subscribe(1, "n.#");
        native.subscribe(2, "n.>");
        native.subscribe(3, "n.*.z");
        nats.send(&headed("n.y.z", "r.2", HEADERS, "hello"));
        nats.publish("n", b"zero levels");
        nats.publish("n.y", b"");
        let data = native.data();
        assert_eq!((data.topic(), data.reply()), (&b"n.y.z"[..], &b"r.2"[..]));
        assert_eq!((data.headers(), data.payload()), (HEADERS.as_bytes(), &b"hello"[..]));
        assert_eq!(native.hear(), "n zero levels");
        assert_eq!(native.hear(), "n.y ", "one copy for all subscriptions of a connection");
        nats.flush();
        native.say(Frame::Ping { token: 4 });
        assert_eq!(native.hear(), "pong 4");
        for sid in 1..4 {
            native.say(Frame::Unsubscribe { sid: Sid(sid), deliveries: 0 });
            assert_eq!(native.hear(), format!("unsubscribed {sid}"));
        }
    });
}

/// In one read, in all spellings, of which some are not passed on as they came.
#[test]
fn a_run_keeps_its_order_whatever_its_spelling() {
    on_all_shards(|native, nats| {
        native.subscribe(1, "run");
        nats.subscribe(1, "run");
        let mut said = Vec::new();
        for n in 0..300 {
            let payload = format!("{n:03}");
            match n % 5 {
                0 => said.extend(format!("pub  run\t3\r\n{payload}\r\n").into_bytes()),
                1 => said.extend(headed("run", "", "NATS/1.0\r\nA:b\r\n\r\n", &payload)),
                2 => said.extend(publication("run", "r", payload.as_bytes())),
                _ => said.extend(publication("run", "", payload.as_bytes())),
            }
        }
        nats.send(&said);
        for n in 0..300 {
            assert_eq!(native.hear(), format!("run {n:03}"));
            let heard = nats.hear();
            assert!(heard.ends_with(&format!("{n:03}")), "{heard} is number {n}");
            assert_eq!(heard.starts_with("HMSG"), n % 5 == 1, "{heard}");
        }
        nats.say("UNSUB 1");
        nats.flush();
        native.say(Frame::Unsubscribe { sid: Sid(1), deliveries: 0 });
        assert_eq!(native.hear(), "unsubscribed 1");
    });
}

#[test]
fn natives_answer_nats_and_the_reverse() {
    on_all_shards(|native, nats| {
        let inbox = format!("_INBOX.{}", native.connected().session.0);
        native.subscribe(1, &format!("{inbox}.*"));
        nats.subscribe(1, "_INBOX.n.*");
        let from_native = |n: usize| framed("service", &format!("{inbox}.{n}"), "", "?");
        native.send(&from_native(0));
        assert_eq!(native.hear(), format!("no_responders {inbox}.0"));
        nats.subscribe(2, "service");
        native.send(&from_native(1));
        assert_eq!(nats.hear(), format!("MSG service 2 {inbox}.1 1|?"));
        nats.publish(&format!("{inbox}.1"), b"!");
        assert_eq!(native.hear(), format!("{inbox}.1 !"));
        nats.say("UNSUB 2");
        nats.flush();

        native.ask(2, "service", "servers", Overload::default());
        assert_eq!(native.hear(), "subscribed 2");
        nats.send(&publication("service", "_INBOX.n.5", b"?"));
        assert_eq!(native.hear(), "for 2");
        assert_eq!(native.data().reply(), b"_INBOX.n.5");
        native.send(&framed("_INBOX.n.5", "", "", "!"));
        assert_eq!(nats.hear(), "MSG _INBOX.n.5 1 1|!");
        native.say(Frame::Unsubscribe { sid: Sid(2), deliveries: 0 });
        assert_eq!(native.hear(), "unsubscribed 2");
        nats.say("UNSUB 1");
        nats.flush();
    });
}

#[test]
fn a_group_has_members_of_both_and_each_message_goes_to_one() {
    const MESSAGES: usize = 400;
    for shards in [1, 2] {
        let router = Launch::of(shards).with_nats().start();
        let mut natives: Vec<Peer> = (0..shards)
            .map(|shard| router.client_on(shard, &router.tcp(), Wish::default()))
            .collect();
        let mut nats: Vec<NatsPeer> =
            (0..shards).map(|shard| router.nats_on(shard, USUAL)).collect();
        for native in &mut natives {
            native.ask(1, "work", "g", Overload::default());
            assert_eq!(native.hear(), "subscribed 1");
        }
        for nats in &mut nats {
            nats.say("SUB work g 1");
            nats.flush();
        }
        let payload = |n: usize| format!("{n:04}");
        for n in 0..MESSAGES / 2 {
            natives[n % shards].send(&framed("work", "", "", &payload(2 * n)));
            nats[n % shards].publish("work", payload(2 * n + 1).as_bytes());
        }
        let mut heard = Vec::new();
        let mut counts = vec![0; 2 * shards];
        until("all messages are there", || {
            let patience = Duration::from_millis(1);
            let natives = natives.iter_mut().map(|peer| peer.hear_within(patience));
            let said = natives.chain(nats.iter_mut().map(|peer| peer.hear_within(patience)));
            for (said, count) in said.zip(&mut counts) {
                if said.contains("work ") {
                    *count += 1;
                    heard.push(said[said.len() - 4..].to_owned());
                }
            }
            (MESSAGES <= heard.len()).then_some(())
        });
        nats.iter_mut().for_each(NatsPeer::flush);
        for native in &mut natives {
            native.say(Frame::Ping { token: 1 });
            assert_eq!(native.hear(), "pong 1");
        }
        heard.sort_unstable();
        assert_eq!(heard, (0..MESSAGES).map(payload).collect::<Vec<_>>());
        assert!(counts.iter().all(|count| MESSAGES / shards / 8 < *count), "{counts:?}");
    }
}

#[test]
fn no_echo_is_between_a_client_and_itself_alone() {
    let router = Launch::of(1).with_nats().start();
    let wish = Wish { echo: Echo::Off, ..Wish::default() };
    let mut native = Peer::connect(&router.tcp(), wish);
    let mut nats = router.nats_on(0, &options(r#"{"echo":false}"#));
    native.subscribe(1, "e");
    nats.subscribe(1, "e");
    native.publish("e", b"native");
    nats.publish("e", b"nats");
    assert_eq!(native.hear(), "e nats");
    assert_eq!(nats.hear(), "MSG e 1 6|native");
    nats.flush();
}

/// To a native client `#` is a wildcard, and no topic; to a NATS client it is a word.
#[test]
fn each_keeps_its_own_wildcards() {
    on_all_shards(|native, nats| {
        native.subscribe(1, "v.#");
        nats.subscribe(1, "v.#");
        native.publish("v.a", b"n");
        assert_eq!(native.hear(), "v.a n");
        for subject in ["v.#", "v.*"] {
            nats.publish(subject, b"w");
            assert_eq!(native.hear(), format!("{subject} w"));
        }
        assert_eq!(nats.hear(), "MSG v.# 1 1|w");
        // Remembered by now, and a native client's topic all the less.
        for _ in 0..3 {
            native.publish("v.#", b"x");
            assert_eq!(native.hear(), "error bad_topic");
        }
        nats.publish("v.over", b"y");
        assert_eq!(native.hear(), "v.over y");
        nats.say("UNSUB 1");
        nats.flush();
    });
}
