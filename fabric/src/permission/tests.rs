//! Permissions by example: one line a rule, and the shapes that are easy to get wrong.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::limits::REPLIES_OPEN_MAX;
use crate::time::Instant;

/// `a b | c d`: entries allowed, then entries denied, each with `_` for the space before a queue. An
/// `everything` is no allow list.
fn written(rules: &str) -> Permissions {
    let (allow, deny) = rules.split_once('|').unwrap_or((rules, ""));
    let entries = |text: &str| -> Vec<String> {
        text.split_whitespace().map(|entry| entry.replace('_', " ")).collect()
    };
    let (allow, deny) = (entries(allow), entries(deny));
    let allow = (allow != ["everything"]).then_some(&allow[..]);
    let subscribe = Written { allow, deny: &deny };
    Permissions::new(Written::default(), subscribe).unwrap()
}

fn pattern(text: &str) -> Pattern<'_> {
    Pattern::parse(text.as_bytes()).unwrap()
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text.as_bytes()).unwrap()
}

#[track_caller]
fn check(rules: &str, table: &[(&str, &str, Verdict)]) {
    let permissions = written(rules);
    for &(wanted, group, verdict) in table {
        let group = Some(group).filter(|group| !group.is_empty());
        assert_eq!(
            permissions.may_subscribe(pattern(wanted), group),
            verdict,
            "{wanted} {group:?}"
        );
    }
}

use Verdict::{Allowed, Filtered, Refused};

#[test]
fn a_subscription_is_granted_if_one_entry_contains_it() {
    let table = [
        ("orders.eu", "", Allowed),
        ("orders.*", "", Allowed),
        ("orders.*.>", "", Allowed),
        ("orders", "", Refused),
        ("orders.#", "", Refused),
        (">", "", Refused),
        ("*.eu", "", Refused),
        ("a.1", "", Allowed),
        ("#.1", "", Refused),
    ];
    check("orders.> a.#", &table);
    check("x.* x.*.>", &[("x.>", "", Refused)]);
    check("", &[("a", "", Refused)]);
    check("everything", &[("#", "", Allowed)]);
}

#[test]
fn a_deny_inside_what_is_asked_for_filters_and_around_it_refuses() {
    let table = [
        ("secret.a", "", Refused),
        ("secret.>", "", Refused),
        ("secret.*", "", Refused),
        ("secret.#", "", Filtered),
        ("*.a", "", Filtered),
        (">", "", Filtered),
        ("#.a.b", "", Filtered),
        ("public.>", "", Allowed),
    ];
    check("everything | secret.>", &table);
    let permissions = written("everything | secret.>");
    assert!(!permissions.may_receive(topic("secret.a"), None));
    assert!(permissions.may_receive(topic("secret"), None));
}

#[test]
fn wildcards_that_overlap_without_containing_are_seen() {
    let table = [
        ("a.*.c", "", Filtered),
        ("*.b.*", "", Filtered),
        ("a.#", "", Filtered),
        ("#.c", "", Filtered),
        ("a.b.c", "", Refused),
        ("a.b", "", Allowed),
        ("a.x.*", "", Allowed),
    ];
    check("everything | a.b.*", &table);
    // Every topic of two words or more that ends in a, in three spellings.
    check("#.*.a", &[("*.#.a", "", Allowed), ("*.*.#.a", "", Allowed), ("#.a", "", Refused)]);
    check("#.a.*.*", &[("#.a.a.*.*", "", Allowed), ("#.a.#.*.*", "", Refused)]);
    check("#.a.#", &[("*.a.>", "", Allowed), ("#.a.#.a.#", "", Allowed), ("#", "", Refused)]);
    check("a.*.*.#.b", &[("a.#.c.*.b", "", Allowed), ("a.#.c.b", "", Refused)]);
}

#[test]
fn a_plain_deny_holds_for_queue_subscriptions_whatever_queues_are_named() {
    // nats-server passed the second line by: another queue was named by another deny entry.
    check("everything | a", &[("a", "", Refused), ("a", "q", Refused), (">", "q", Filtered)]);
    check("everything | a a_v2.>", &[("a", "v1", Refused), ("a", "v2.x", Refused)]);
    check(
        "everything | a_v2.>",
        &[
            ("a", "", Allowed),
            ("a", "v1", Allowed),
            ("a", "v2.1", Refused),
            (">", "v2.1", Filtered),
        ],
    );
    let permissions = written("everything | a_v2.> b");
    assert!(permissions.may_receive(topic("a"), None));
    assert!(!permissions.may_receive(topic("a"), Some("v2.1")));
    assert!(!permissions.may_receive(topic("b"), Some("v1")));
}

#[test]
fn an_allowed_queue_grants_nothing_but_that_queue() {
    let only_queue =
        [("a", "", Refused), ("a", "q", Allowed), ("a", "r", Refused), ("b", "q", Refused)];
    check("a_q", &only_queue);
    // Where queues are named, a plain entry does not open others.
    let both = [
        ("a", "", Allowed),
        ("a", "v1", Allowed),
        ("a", "v1.2", Allowed),
        ("a", "x.dev", Allowed),
        ("a", "v2", Refused),
        ("b", "v2", Allowed),
    ];
    check("a a_v1 a_v1.> a_*.dev b", &both);
    // Wildcards in the name of a group stand for themselves.
    check("a_q.*", &[("a", "q.*", Allowed), ("a", "q.>", Allowed), ("a", ">", Refused)]);
}

#[test]
fn no_topic_is_exempt() {
    let names =
        ["$MQTT.deliver.pubrel.x", "$SYS.a", "$SRV.PING", "$JS.API.INFO", "_INBOX.a.1", "mpreg.a"];
    let (none, all) = ([], [String::from(">")]);
    for name in names {
        for written in
            [Written { allow: Some(&none), deny: &[] }, Written { allow: None, deny: &all }]
        {
            let permissions = Permissions::new(written, written).unwrap();
            assert!(!permissions.may_publish(topic(name)), "{name}");
            assert_eq!(permissions.may_subscribe(pattern(name), None), Refused, "{name}");
            assert_eq!(permissions.may_subscribe(pattern(name), Some("q")), Refused, "{name}");
        }
        let permissions = written("everything | >");
        assert!(!permissions.may_receive(topic(name), None), "{name}");
    }
}

#[test]
fn publishing_needs_an_allow_and_no_deny() {
    let (allow, deny) = ([String::from("a.>")], [String::from("*.secret.#")]);
    let publish = Written { allow: Some(&allow), deny: &deny };
    let permissions = Permissions::new(publish, Written::default()).unwrap();
    let may = |text: &str| permissions.may_publish(topic(text));
    assert!(may("a.b"));
    assert!(!may("a"));
    assert!(!may("b.b"));
    assert!(!may("a.secret"));
    assert!(!may("a.secret.deep"));
    assert!(permissions.may_reply(topic("b.b")), "asked to, and not denied");
    assert!(!permissions.may_reply(topic("a.secret")), "asked to, and denied");
}

#[test]
fn entries_that_mean_nothing_are_refused() {
    let refused = |entry: &str, of_publish: bool| {
        let entries = [String::from(entry)];
        let written = Written { allow: None, deny: &entries };
        let (publish, subscribe) =
            if of_publish { (written, Written::default()) } else { (Written::default(), written) };
        Permissions::new(publish, subscribe).unwrap_err()
    };
    for entry in ["", " ", "a..b", "a.>.b", "\u{7f}"] {
        assert_eq!(refused(entry, true), BadEntry::Pattern { entry: entry.into() }, "{entry:?}");
    }
    assert_eq!(refused("a q", true), BadEntry::QueueOfPublish { entry: "a q".into() });
    let long = format!("a {}", "q".repeat(65));
    for entry in ["a b c", "a q..r", &long] {
        assert_eq!(refused(entry, false), BadEntry::Queue { entry: entry.into() });
    }
    let entries: Vec<String> = (0..=PERMISSION_ENTRIES_MAX).map(|n| format!("t{n}")).collect();
    let too_many = Written { allow: None, deny: &entries };
    let refusal = Permissions::new(too_many, Written::default()).unwrap_err();
    assert_eq!(refusal, BadEntry::TooMany { entries: 1025 });
}

#[test]
fn the_longest_patterns_are_compared_without_search() {
    // 32 segments, the `>` two parts: the widest set of places.
    let hard = format!("{}>", "#.a.*.".repeat(10));
    let harder = format!("{}>", "#.a.*.*.".repeat(7));
    let long = format!("{}>", "*.".repeat(31));
    let deep = "a.".repeat(31) + "a";
    let table = [
        (&hard[..], "", Allowed),
        (&harder[..], "", Refused),
        (&long[..], "", Refused),
        (&deep[..], "", Allowed),
    ];
    check(&hard, &table);
    check(&long, &[(&long[..], "", Allowed), (&deep[..], "", Allowed), (&hard[..], "", Refused)]);
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

#[test]
fn a_reply_is_good_once_and_for_two_minutes() {
    let mut replies = Replies::new(Allowance::default());
    assert!(!replies.take(topic("inbox.1"), at(0)), "nobody asked");
    replies.asked(topic("inbox.1"), at(0));
    assert!(!replies.take(topic("inbox.2"), at(1)));
    assert!(replies.take(topic("inbox.1"), at(119)));
    assert!(!replies.take(topic("inbox.1"), at(119)));
    replies.asked(topic("inbox.1"), at(0));
    assert!(!replies.take(topic("inbox.1"), at(120)));
}

#[test]
fn several_replies_are_good_that_many_times_and_again_when_asked_again() {
    let allowance = Allowance { messages_max: Some(2), expires: None };
    let mut replies = Replies::new(allowance);
    replies.asked(topic("r"), at(0));
    assert!(replies.take(topic("r"), at(1_000_000)));
    replies.asked(topic("r"), at(1_000_000));
    assert!(replies.take(topic("r"), at(1_000_000)));
    assert!(replies.take(topic("r"), at(1_000_000)));
    assert!(!replies.take(topic("r"), at(1_000_000)));
    let mut replies = Replies::new(Allowance { messages_max: None, expires: None });
    replies.asked(topic("r"), at(0));
    assert!((0..100).all(|_| replies.take(topic("r"), at(0))));
}

#[test]
fn a_flood_of_requests_forgets_the_oldest_and_the_expired_first() {
    let mut replies = Replies::new(Allowance::default());
    replies.asked(topic("first"), at(0));
    replies.asked(topic("second"), at(0));
    replies.asked(topic("first"), at(0));
    for n in 2..=REPLIES_OPEN_MAX {
        replies.asked(topic(&format!("r.{n}")), at(0));
    }
    assert!(!replies.take(topic("second"), at(0)), "the oldest");
    assert!(replies.take(topic("first"), at(0)), "asked again since");
    replies.asked(topic("late"), at(120));
    assert_eq!(format!("{replies:?}").matches("Open {").count(), 1, "all others had expired");
}
