//! What one client is promised, whichever shards it and the others are on.

use std::time::Duration;

use mpreg_proto::frame::{Echo, Frame, Overload, Publish};
use mpreg_proto::id::Sid;
use mpreg_tests::live::peer::{Peer, Wish, frame_of, message};
use mpreg_tests::live::{Launch, Router, until};

/// Does `test` with two clients on each pair of shards, and with one that uses the socket.
#[track_caller]
fn on_all_shards(test: impl Fn(&Router, &mut Peer, &mut Peer)) {
    for shards in [1, 2, 3] {
        let router = Launch::of(shards).with_socket().start();
        for (first, second) in (0..shards).flat_map(|a| (0..shards).map(move |b| (a, b))) {
            let [mut one, mut other] =
                [first, second].map(|on| router.client_on(on, &router.tcp(), Wish::default()));
            test(&router, &mut one, &mut other);
        }
        let mut local = Peer::connect(&router.addresses()[1], Wish::default());
        test(&router, &mut local, &mut router.client());
    }
}

fn request(topic: &str, reply: &str, payload: &str) -> Vec<u8> {
    let (topic, reply) = (topic.as_bytes(), reply.as_bytes());
    frame_of(Publish { topic, reply, payload: payload.as_bytes(), ..Publish::default() })
}

/// Hears nothing but the answer to a ping, so nothing came before it.
#[track_caller]
fn hears_nothing(peer: &mut Peer) {
    peer.say(Frame::Ping { token: 9 });
    assert_eq!(peer.hear(), "pong 9");
}

/// One that nobody else uses. What is under way from other shards goes to whoever subscribes
/// meanwhile.
fn own_topic(publisher: &Peer, word: &str, sid: u32) -> String {
    format!("{word}.{}.{sid}", publisher.connected().session.0)
}

/// Other shards may send some messages more to one whose subscription has ended. After this they
/// do not, and nothing is under way.
#[track_caller]
fn until_nobody_hears(publisher: &mut Peer, topic: &str) {
    let mut asked = 0;
    until("nobody is there", || {
        asked += 1;
        publisher.send(&request(topic, &format!("r.{asked}"), "?"));
        let mut heard = || publisher.hear_within(Duration::from_millis(20));
        let mut heard = std::iter::from_fn(|| Some(heard()).filter(|heard| heard != "nothing"));
        heard.find(|heard| *heard == format!("no_responders r.{asked}"))
    });
}

#[test]
fn a_subscription_holds_from_the_moment_it_is_said_to() {
    on_all_shards(|_, subscriber, publisher| {
        let at = (subscriber.connected().session.0, publisher.connected().session.0);
        for n in 0..60 {
            let topic = format!("s.{}.{}.{n}", at.0, at.1);
            // The publisher's shard then remembers that nobody wants it.
            (0..n % 3).for_each(|_| publisher.publish(&topic, b"early"));
            publisher.say(Frame::Ping { token: n });
            assert_eq!(publisher.hear(), format!("pong {n}"));
            let patterns = [topic.clone(), format!("s.{}.*.{n}", at.0), format!("s.#.{n}")];
            let group = if n % 4 == 3 { "g" } else { "" };
            let sid = n as u32 + 1;
            subscriber.ask(sid, &patterns[n as usize / 3 % 3], group, Overload::default());
            assert_eq!(subscriber.hear(), format!("subscribed {sid}"));
            publisher.publish(&topic, b"here");
            if !group.is_empty() {
                assert_eq!(subscriber.hear(), format!("for {sid}"));
            }
            assert_eq!(subscriber.hear(), format!("{topic} here"));
        }
    });
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription() {
    on_all_shards(|_, subscriber, publisher| {
        for sid in 1..40 {
            let topic = own_topic(publisher, "e", sid);
            subscriber.subscribe(sid, &topic);
            publisher.send(&message(&topic, b"1").repeat(sid as usize));
            subscriber.say(Frame::Unsubscribe { sid: Sid(sid), deliveries: 0 });
            publisher.send(&message(&topic, b"2").repeat(10));
            while subscriber.hear() != format!("unsubscribed {sid}") {}
            hears_nothing(subscriber);
            until_nobody_hears(publisher, &topic);
        }
    });
}

#[test]
fn a_counted_subscription_ends_with_its_number() {
    on_all_shards(|_, subscriber, publisher| {
        for (sid, group) in [(1, ""), (2, "g")] {
            let topic = own_topic(publisher, "c", sid);
            subscriber.ask(sid, &topic, group, Overload::default());
            assert_eq!(subscriber.hear(), format!("subscribed {sid}"));
            subscriber.say(Frame::Unsubscribe { sid: Sid(sid), deliveries: 7 });
            hears_nothing(subscriber);
            let numbers: Vec<u8> =
                (0..20).flat_map(|n| message(&topic, n.to_string().as_bytes())).collect();
            publisher.send(&numbers);
            for n in 0..7 {
                if !group.is_empty() {
                    assert_eq!(subscriber.hear(), format!("for {sid}"));
                }
                assert_eq!(subscriber.hear(), format!("{topic} {n}"));
            }
            assert_eq!(subscriber.hear(), format!("unsubscribed {sid}"));
            hears_nothing(subscriber);
            until_nobody_hears(publisher, &topic);
        }
    });
}

#[test]
fn messages_sent_before_count_too() {
    on_all_shards(|_, subscriber, publisher| {
        let [c, d] = [1, 2].map(|sid| own_topic(publisher, "c", sid));
        subscriber.subscribe(1, &c);
        publisher.send(&message(&c, b"x").repeat(3));
        (0..3).for_each(|_| assert_eq!(subscriber.hear(), format!("{c} x")));
        subscriber.say(Frame::Unsubscribe { sid: Sid(1), deliveries: 5 });
        hears_nothing(subscriber);
        publisher.send(&message(&c, b"y").repeat(3));
        assert_eq!(
            [(); 3].map(|()| subscriber.hear()),
            [format!("{c} y"), format!("{c} y"), "unsubscribed 1".to_owned()]
        );
        until_nobody_hears(publisher, &c);
        subscriber.subscribe(2, &d);
        publisher.publish(&d, b"z");
        assert_eq!(subscriber.hear(), format!("{d} z"));
        subscriber.say(Frame::Unsubscribe { sid: Sid(2), deliveries: 1 });
        assert_eq!(subscriber.hear(), "unsubscribed 2");
    });
}

#[test]
fn a_request_is_answered_or_nobody_is_there() {
    on_all_shards(|_, requester, responder| {
        let inbox = format!("_INBOX.{}", requester.connected().session.0);
        requester.subscribe(1, &format!("{inbox}.*"));
        let reply = |n: u64| format!("{inbox}.{n}");
        requester.send(&request("q", &reply(0), "?"));
        assert_eq!(requester.hear(), format!("no_responders {}", reply(0)));
        responder.ask(1, "q", "servers", Overload::default());
        assert_eq!(responder.hear(), "subscribed 1");
        for n in 1..20 {
            requester.send(&request("q", &reply(n), "?"));
            assert_eq!(responder.hear(), "for 1");
            let asked = responder.data();
            assert_eq!(asked.reply(), reply(n).as_bytes());
            let answer = message(&reply(n), b"!");
            responder.send(&answer);
            assert_eq!(requester.hear(), format!("{} !", reply(n)));
        }
        responder.say(Frame::Unsubscribe { sid: Sid(1), deliveries: 0 });
        assert_eq!(responder.hear(), "unsubscribed 1");
        until_nobody_hears(requester, "q");
    });
}

/// Requests that come together, when the one who answers takes only the first.
#[test]
fn requests_too_many_for_who_answers_are_told_so() {
    for group in ["", "servers"] {
        let router = Launch::of(1).start();
        let (mut requester, mut responder) = (router.client(), router.client());
        responder.ask(1, "q", group, Overload::default());
        assert_eq!(responder.hear(), "subscribed 1");
        responder.say(Frame::Unsubscribe { sid: Sid(1), deliveries: 1 });
        hears_nothing(&mut responder);
        requester.send(&[request("q", "r.1", "?"), request("q", "r.2", "?")].concat());
        assert_eq!(requester.hear(), "no_responders r.2");
    }
}

#[test]
fn who_wants_no_echo_hears_the_others_alone() {
    for shards in [1, 2] {
        let router = Launch::of(shards).start();
        for (quiet, other) in [(0, 0), (0, shards - 1), (shards - 1, 0)] {
            let wish = Wish { echo: Echo::Off, ..Wish::default() };
            let mut quiet = router.client_on(quiet, &router.tcp(), wish);
            let mut other = router.client_on(other, &router.tcp(), Wish::default());
            quiet.subscribe(1, "a.b");
            quiet.subscribe(2, "a.*");
            other.subscribe(1, "a.#");
            quiet.send(&message("a.b", b"mine").repeat(3));
            (0..3).for_each(|_| assert_eq!(other.hear(), "a.b mine"));
            other.publish("a.b", b"theirs");
            assert_eq!(other.hear(), "a.b theirs");
            assert_eq!(quiet.hear(), "a.b theirs");
            hears_nothing(&mut quiet);
        }
    }
}

#[test]
fn each_group_of_a_pattern_gets_its_own_copy() {
    on_all_shards(|_, one, other| {
        one.ask(1, "g.*", "red", Overload::default());
        one.ask(2, "g.*", "blue", Overload::default());
        one.ask(3, "g.a", "", Overload::default());
        // Each once it is known everywhere, which takes longer for a wildcard.
        let mut heard = [(); 3].map(|()| one.hear());
        heard.sort_unstable();
        assert_eq!(heard, ["subscribed 1", "subscribed 2", "subscribed 3"]);
        for n in 0..10 {
            other.publish("g.a", n.to_string().as_bytes());
            let mut heard = [(); 5].map(|()| one.hear());
            // The plain copy and the two addressed ones come in any order, each For with its own.
            heard.sort_unstable();
            let copy = format!("g.a {n}");
            assert_eq!(heard, ["for 1", "for 2", &copy, &copy, &copy]);
        }
    });
}

#[test]
fn drained_is_said_when_all_is() {
    on_all_shards(|_, leaving, other| {
        leaving.subscribe(1, "d");
        let sent = 200;
        other.send(&message("d", &[b'x'; 1000]).repeat(sent));
        let first = leaving.hear();
        leaving.say(Frame::Drain);
        let mut heard = 1;
        loop {
            let said = leaving.hear();
            if said == "drained" {
                break;
            }
            assert_eq!(said, first);
            heard += 1;
        }
        assert!(heard <= sent);
        assert_eq!(leaving.hear_within(Duration::from_millis(20)), "nothing");
        leaving.finish();
        assert_eq!(leaving.hear(), "closed");
    });
}
