//! What users may publish, subscribe to and receive, over shards.

use mpreg_tests::live::nats::{NatsPeer, publication};
use mpreg_tests::live::{Launch, Router};

use super::options;

const FILE: &str = r#"
limits.connections_max = 1_000
[[auth.users]]
name = "ann"
password = "p"

[[auth.users]]
name = "bob"
password = "p"
[auth.users.permissions]
publish = { allow = ["bob.>", "log.*"], deny = ["bob.secret.>"] }
subscribe = { allow = ["news.>", "jobs.> workers", "_INBOX.>"], deny = ["news.secret.>", "news.*.vip q"] }

[[auth.users]]
name = "service"
password = "p"
permissions = { subscribe = { allow = ["service"] }, allow_responses = { max = 2, expires_ms = 60000 } }
"#;

fn user(router: &Router, shard: usize, name: &str) -> NatsPeer {
    router.nats_on(shard, &options(&format!(r#"{{"user":"{name}","pass":"p"}}"#)))
}

/// Does `test` with ann, who may do everything, and another user, on each pair of shards.
#[track_caller]
fn with(other: &str, test: impl Fn(&mut NatsPeer, &mut NatsPeer)) {
    for shards in [1, 2] {
        let router = Launch::of(shards).file(FILE).with_nats().start();
        for (first, second) in (0..shards).flat_map(|a| (0..shards).map(move |b| (a, b))) {
            test(&mut user(&router, first, "ann"), &mut user(&router, second, other));
        }
    }
}

#[test]
fn only_what_is_allowed_and_not_denied_is_published() {
    with("bob", |ann, bob| {
        ann.subscribe(1, ">");
        for subject in ["ann.x", "bob", "bob.secret.x", "log", "log.a.b", "_INBOX.x"] {
            bob.publish(subject, b"x");
            let refusal = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'");
            assert_eq!(bob.hear(), refusal);
        }
        for subject in ["bob.x", "bob.secret", "log.a"] {
            bob.publish(subject, b"x");
            assert_eq!(ann.hear(), format!("MSG {subject} 1 1|x"));
        }
        bob.flush();
        ann.flush();
    });
}

#[test]
fn only_what_is_allowed_and_not_denied_is_subscribed_to() {
    with("bob", |ann, bob| {
        let refused = [
            (">", ""),
            ("ann", ""),
            ("news.secret.x", ""),
            ("news.secret.>", ""),
            ("news.secret.x", "q"),
            ("jobs.a", ""),
            ("jobs.a", "others"),
            ("news.a.vip", "q"),
        ];
        for (subject, group) in refused {
            bob.say(&format!("SUB {subject} {group} 1"));
            let using = if group.is_empty() { "" } else { &format!(" using queue \"{group}\"") };
            let want =
                format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"{using}'");
            assert_eq!(bob.hear(), want);
        }
        for (subject, group) in [("news.a", ""), ("jobs.a", "workers"), ("news.a.vip", "")] {
            bob.say(&format!("SUB {subject} {group} 1"));
            bob.flush();
            ann.publish(subject, b"x");
            assert_eq!(bob.hear(), format!("MSG {subject} 1 1|x"));
            bob.say("UNSUB 1");
        }
        for subject in ["ann", "news.secret.x", "jobs.a"] {
            ann.publish(subject, b"x");
        }
        ann.flush();
        bob.flush();
    });
}

/// A subscription that overlaps what is denied is granted, and gets the rest.
#[test]
fn what_is_denied_is_not_delivered_to_wider_subscriptions() {
    with("bob", |ann, bob| {
        for (sid, wanted) in
            [(1, "news.>"), (2, "news.*.x"), (3, "news.> group"), (4, "news.*.* q")]
        {
            bob.say(&format!("SUB {wanted} {sid}"));
        }
        bob.flush();
        for subject in ["news.secret.x", "news.secret.x.y", "news.open.x", "news.open.vip"] {
            ann.publish(subject, b"x");
        }
        ann.publish("news.over", b"x");
        let want = [
            "MSG news.open.vip 1 1|x",
            "MSG news.open.vip 3 1|x",
            "MSG news.open.x 1 1|x",
            "MSG news.open.x 2 1|x",
            "MSG news.open.x 3 1|x",
            "MSG news.open.x 4 1|x",
            "MSG news.over 1 1|x",
            "MSG news.over 3 1|x",
        ];
        assert_eq!(super::hear_sorted(bob, want.len()), want);
        ann.flush();
        bob.flush();
        (1..5).for_each(|sid| bob.say(&format!("UNSUB {sid}")));
        bob.flush();
    });
}

/// What is not received is not counted.
#[test]
fn what_is_denied_counts_for_no_end() {
    with("bob", |ann, bob| {
        bob.say("SUB news.> 1\r\nUNSUB 1 2");
        bob.flush();
        for subject in ["news.secret.a", "news.a", "news.secret.b", "news.b", "news.c"] {
            ann.publish(subject, b"x");
        }
        assert_eq!(bob.hear(), "MSG news.a 1 1|x");
        assert_eq!(bob.hear(), "MSG news.b 1 1|x");
        ann.flush();
        bob.flush();
    });
}

/// A member that may not have a message does not cost the group the message.
#[test]
fn what_one_member_is_denied_another_one_gets() {
    with("bob", |ann, bob| {
        ann.say("SUB news.> q 1");
        ann.flush();
        (1..=3).for_each(|sid| bob.say(&format!("SUB news.> q {sid}")));
        bob.flush();
        ann.send(&publication("news.secret.x", "", b"x").repeat(40));
        (0..40).for_each(|_| assert_eq!(ann.hear(), "MSG news.secret.x 1 1|x"));
        ann.say("UNSUB 1");
        (1..=3).for_each(|sid| bob.say(&format!("UNSUB {sid}")));
        bob.flush();
        ann.flush();
    });
}

#[test]
fn who_is_asked_may_answer_as_often_as_allowed() {
    with("service", |ann, service| {
        ann.subscribe(1, "_INBOX.a.*");
        service.subscribe(1, "service");
        let refusal =
            |subject: &str| format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'");
        service.publish("_INBOX.a.1", b"early");
        assert_eq!(service.hear(), refusal("_INBOX.a.1"));
        for n in 1..4 {
            let inbox = format!("_INBOX.a.{n}");
            ann.send(&publication("service", &inbox, b"?"));
            assert_eq!(service.hear(), format!("MSG service 1 {inbox} 1|?"));
            for answer in 0..3 {
                service.publish(&inbox, b"!");
                if answer < 2 {
                    assert_eq!(ann.hear(), format!("MSG {inbox} 1 1|!"));
                } else {
                    assert_eq!(service.hear(), refusal(&inbox));
                }
            }
        }
        service.publish("_INBOX.a.9", b"x");
        assert_eq!(service.hear(), refusal("_INBOX.a.9"));
        ann.flush();
        service.say("UNSUB 1");
        service.flush();
    });
}
