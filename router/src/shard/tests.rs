//! Shards of several nodes with links between them, in one thread: real rings, sockets and TLS, and a
//! control core of a few lines (`net.rs`).

use std::time::Duration;

use mpreg_proto::hop::Reason;

use crate::peer_link::Direction;
use crate::probe::LinkDrop;
use crate::trace::{Decided, Report, Said, Target};

mod net;

use net::{Net, Sent};

/// Shards of each of two nodes.
const COUNTS: [[usize; 2]; 4] = [[1, 1], [1, 3], [3, 1], [3, 3]];

/// Two linked nodes of one shard: one with a publisher, one with a subscriber of `a`.
fn pair() -> (Net, usize, usize) {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    let (publisher, subscriber) = (net.client(0, 0), net.client(1, 0));
    net.subscribe(subscriber, "a", "");
    net.settle();
    (net, publisher, subscriber)
}

/// Three nodes of two shards, the first and the last linked with the one in the middle.
fn chain(clusters: [u128; 3]) -> Net {
    let mut net = Net::new(&clusters.map(|cluster| (cluster, 2)));
    net.link(0, 1);
    net.link(1, 2);
    net.way(0, 1, 2);
    net.way(2, 1, 0);
    net
}

#[test]
fn a_subscriber_of_another_node_gets_each_message_once_and_in_order() {
    for counts in COUNTS {
        let mut net = Net::new(&counts.map(|count| (1, count)));
        net.link(0, 1);
        let there: Vec<usize> = (0..counts[1]).map(|shard| net.client(1, shard)).collect();
        let here = net.client(0, 0);
        for &client in there.iter().chain([&here]) {
            net.subscribe(client, "a.*", "");
        }
        net.settle();
        let publishers: Vec<usize> = (0..counts[0]).map(|shard| net.client(0, shard)).collect();
        for (n, &publisher) in publishers.iter().enumerate() {
            let topic = format!("a.{n}");
            let texts: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
            let sent = texts.iter().map(|text| Sent { topic: &topic, reply: "", text });
            net.publish(publisher, sent);
        }
        net.settle();
        for &client in there.iter().chain([&here]) {
            for n in 0..counts[0] {
                let want: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
                assert_eq!(net.got(client, &format!("a.{n}")), want, "{counts:?}");
            }
        }
        assert_eq!(net.sum(0, |p| &p.link_messages_out), 1000 * counts[0] as u64);
        assert_eq!(net.sum(1, |p| &p.link_messages_in), 1000 * counts[0] as u64);
    }
}

/// A topic that is spelled out is known to one shard of each node alone: the others ask it, and what
/// comes meanwhile waits, with what came over links.
#[test]
fn what_waits_for_a_route_goes_once_and_in_order_too() {
    let mut net = Net::new(&[(1, 3), (1, 3)]);
    net.link(0, 1);
    let topics: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let plain: Vec<usize> = (0..3).map(|shard| net.client(1, shard)).collect();
    let (worker, limited, here) = (net.client(1, 2), net.client(1, 1), net.client(0, 2));
    for topic in &topics {
        plain.iter().chain([&here]).for_each(|&client| net.subscribe(client, topic, ""));
        net.subscribe(worker, topic, "g");
        net.subscribe_for(limited, topic, 7);
    }
    net.settle();
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for shard in 0..3 {
        let publisher = net.client(0, shard);
        for topic in &topics {
            let texts: Vec<String> = texts.iter().map(|text| format!("{shard} {text}")).collect();
            net.publish(publisher, texts.iter().map(|text| Sent { topic, reply: "", text }));
        }
    }
    net.settle();
    for topic in &topics {
        for &client in plain.iter().chain([&worker, &here]) {
            let got = net.got(client, topic);
            for shard in 0..3 {
                let begin = format!("{shard} ");
                let of_it: Vec<&str> = got.iter().filter_map(|t| t.strip_prefix(&begin)).collect();
                assert_eq!(of_it, texts, "{topic}");
            }
        }
        assert_eq!(net.got(limited, topic).len(), 7);
    }
}

#[test]
fn nats_clients_hear_of_other_nodes_and_are_heard() {
    let mut net = Net::new(&[(1, 1), (1, 2)]);
    net.link(0, 1);
    let mut nats = [net.nats_client(0, 0), net.nats_client(1, 1)];
    let native = [net.client(0, 0), net.client(1, 0)];
    nats.iter_mut().for_each(|client| client.say("SUB a.> 1\r\n"));
    native.iter().for_each(|&client| net.subscribe(client, "a.*", ""));
    net.settle();
    nats[0].say("PUB a.x r.x 2\r\nhi\r\nPUB a.y 2\r\nho\r\n");
    net.settle();
    for client in &mut nats {
        let heard = client.hear();
        assert!(heard.ends_with("MSG a.x 1 r.x 2\r\nhi\r\nMSG a.y 1 2\r\nho\r\n"), "{heard}");
    }
    net.say(native[1], "a.z", "!");
    net.settle();
    for client in &mut nats {
        assert_eq!(client.hear(), "MSG a.z 1 1\r\n!\r\n");
    }
    for client in native {
        assert_eq!(
            ["a.x", "a.y", "a.z"].map(|topic| net.got(client, topic).concat()),
            ["hi", "ho", "!"]
        );
    }
    nats[0].say("PUB nobody r.y 0\r\n\r\n");
    net.settle();
    assert_eq!(net.sum(0, |p| &p.link_messages_out), 2);
}

#[test]
fn a_word_that_is_a_wildcard_to_native_clients_is_a_word_between_nodes() {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    let mut nats = [net.nats_client(0, 0), net.nats_client(1, 0)];
    nats[1].say("SUB a.# 1\r\n");
    net.settle();
    nats[0].say("PUB a.b 1\r\n1\r\nPUB a.# 1\r\n2\r\n");
    net.settle();
    let heard = nats[1].hear();
    assert!(heard.ends_with("MSG a.# 1 1\r\n2\r\n") && !heard.contains("a.b"), "{heard}");
    assert_eq!(net.sum(0, |p| &p.link_messages_out), 1);
}

#[test]
fn nothing_leaves_once_nobody_there_wants_it() {
    let mut net = Net::new(&[(1, 2), (1, 2)]);
    net.link(0, 1);
    let (publisher, subscriber) = (net.client(0, 0), net.client(1, 1));
    net.subscribe(subscriber, "a", "");
    net.settle();
    net.say(publisher, "a", "1");
    net.settle();
    net.leave(subscriber);
    net.settle();
    net.say(publisher, "a", "2");
    net.settle();
    assert_eq!(net.sum(0, |p| &p.link_messages_out), 1);
    assert_eq!(net.sum(0, |p| &p.unrouted), 1);
}

#[test]
fn what_is_for_others_is_sent_on() {
    // In one cluster, and through another.
    for clusters in [[1, 1, 1], [1, 2, 3]] {
        let mut net = chain(clusters);
        let (publisher, subscriber) = (net.client(0, 1), net.client(2, 0));
        net.subscribe(subscriber, "a.#", "");
        net.settle();
        let texts: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        net.publish(publisher, texts.iter().map(|text| Sent { topic: "a.b", reply: "", text }));
        net.settle();
        assert_eq!(net.got(subscriber, "a.b"), texts, "{clusters:?}");
        let middle = net.client(1, 0);
        net.subscribe(middle, "a.b", "");
        net.settle();
        net.say(publisher, "a.b", "last");
        net.settle();
        assert_eq!(net.got(middle, "a.b"), ["last"]);
        assert_eq!(net.got(subscriber, "a.b").len(), 301);
    }
}

#[test]
fn one_member_of_a_group_gets_each_message_whatever_its_node() {
    let mut net = Net::new(&[(1, 2), (1, 2), (1, 1)]);
    net.link(0, 1);
    net.link(0, 2);
    net.link(1, 2);
    let publisher = net.client(0, 0);
    let members = [net.client(1, 0), net.client(1, 1), net.client(2, 0)];
    members.iter().for_each(|&member| net.subscribe(member, "work", "g"));
    let watcher = net.client(2, 0);
    net.subscribe(watcher, "work", "");
    net.settle();
    let texts: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    net.publish(publisher, texts.iter().map(|text| Sent { topic: "work", reply: "", text }));
    net.settle();
    let mut all: Vec<String> = Vec::new();
    for member in members {
        let got = net.got(member, "work");
        assert!(20 < got.len(), "each gets some: {}", got.len());
        all.extend(got);
    }
    all.sort_unstable();
    assert_eq!(all, texts);
    assert_eq!(net.got(watcher, "work"), texts);
    let near = net.client(0, 1);
    net.subscribe(near, "work", "g");
    net.settle();
    net.publish(publisher, texts.iter().map(|text| Sent { topic: "work", reply: "", text }));
    net.settle();
    assert_eq!(net.got(near, "work"), texts, "a member of the same node comes first");
}

#[test]
fn a_reply_goes_to_who_asked_before_its_topic_is_known_to_be_wanted() {
    for clusters in [[1, 1, 1], [1, 2, 3]] {
        let mut net = chain(clusters);
        let (asker, server) = (net.client(0, 0), net.client(2, 1));
        net.subscribe(server, "ask", "servers");
        net.settle();
        net.is_deaf = true;
        net.subscribe(asker, "inbox.1", "");
        net.publish(asker, [Sent { topic: "ask", reply: "inbox.1", text: "?" }].into_iter());
        net.until(|net| net.got(server, "ask").len() == 1);
        net.say(server, "inbox.1", "!");
        net.until(|net| net.got(asker, "inbox.1") == ["!"]);
        net.is_deaf = false;
        net.settle();
        net.say(server, "inbox.1", "once");
        net.settle();
        assert_eq!(net.got(asker, "inbox.1"), ["!", "once"], "{clusters:?}");
    }
}

#[test]
fn who_asks_nobody_is_told_so() {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    net.settle();
    let asker = net.client(0, 0);
    net.publish(asker, [Sent { topic: "ask", reply: "inbox.1", text: "?" }].into_iter());
    net.until(|net| net.got(asker, "nobody") == ["inbox.1"]);
}

#[test]
fn a_full_queue_drops_and_counts_and_lets_the_rest_through() {
    let (mut net, publisher, subscriber) = pair();
    net.stopped.push(1);
    let text = "x".repeat(64 << 10);
    let full = LinkDrop::QueueFull;
    let mut count = 0;
    net.until(|net| {
        count += 1;
        net.say(publisher, "a", &text);
        net.dropped(0, full) != 0
    });
    assert!(net.sum(0, |p| &p.reading_paused) != 0, "the publisher waited before");
    net.stopped.clear();
    net.settle();
    let got = net.got(subscriber, "a").len() as u64;
    assert_eq!(got + net.dropped(0, full), count);
    assert_eq!(net.queued_bytes(0), 0);
}

#[test]
fn a_link_that_fails_is_reported_its_messages_counted_and_another_one_taken() {
    let (mut net, publisher, subscriber) = pair();
    net.stopped.push(1);
    let text = "x".repeat(64 << 10);
    (0..100).for_each(|_| net.say(publisher, "a", &text));
    net.until(|net| net.sum(0, |p| &p.link_messages_out) == 100);
    net.break_links(1);
    let down = LinkDrop::Hop(Reason::LinkDown);
    net.until(|net| net.dropped(0, down) != 0 && !net.lost.is_empty());
    let lost_of_0 = |net: &mut Net| net.lost.contains(&(0, 1, Direction::Outgoing));
    net.until(lost_of_0);
    assert_eq!(net.queued_bytes(0), 0);
    let before = net.sum(0, |p| &p.link_messages_out);
    net.say(publisher, "a", "nowhere");
    net.settle();
    assert_eq!(net.sum(0, |p| &p.link_messages_out), before);
    net.stopped.clear();
    net.link(0, 1);
    net.settle();
    net.say(publisher, "a", "again");
    net.until(|net| net.got(subscriber, "a").last().is_some_and(|text| text == "again"));
}

#[test]
fn a_peer_that_leaves_the_view_is_parted_from_and_queues_are_sent_before() {
    let (mut net, publisher, subscriber) = pair();
    net.say(publisher, "a", "1");
    net.until(|net| net.sum(0, |p| &p.link_messages_out) == 1);
    net.unlink(0, 1);
    net.until(|net| net.sum(0, |p| &p.links_out) == 0 && net.sum(1, |p| &p.links_in) == 0);
    assert_eq!(net.got(subscriber, "a"), ["1"]);
    net.until(|net| net.slots_in_use(0) == 1);
    assert!(net.lost.iter().all(|lost| lost.2 == Direction::Incoming), "nobody is to dial again");
}

#[test]
fn a_peer_that_lives_again_is_linked_anew() {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    net.settle();
    net.is_reborn(0, 1);
    net.until(|net| net.lost.contains(&(0, 1, Direction::Outgoing)));
    assert_eq!(net.sum(0, |p| &p.links_out), 0);
}

#[test]
fn a_node_that_stops_lets_its_links_go() {
    let mut net = Net::new(&[(1, 2), (1, 1)]);
    net.link(0, 1);
    net.settle();
    net.stop(0);
    let began = std::time::Instant::now();
    net.until(|net| net.is_over(0));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_message_that_comes_twice_is_handed_out_once_and_a_liar_is_hung_up_on() {
    let mut net = Net::new(&[(1, 2)]);
    let subscriber = net.client(0, 0);
    let worker = net.client(0, 1);
    net.subscribe(subscriber, "a", "");
    net.subscribe(worker, "b", "g");
    net.settle();
    let mut peer = net.stranger(0, 0);
    for (topic, messages) in [("a", 3), ("a", 3), ("b", 2), ("b", 2), ("a", 4)] {
        net.speak(&mut peer, topic, messages);
    }
    net.settle();
    assert_eq!(net.got(subscriber, "a"), ["0", "1", "2", "3"]);
    assert_eq!(net.got(worker, "b"), ["0", "1"]);
    assert_eq!(net.sum(0, |p| &p.duplicates), 3 + 2 + 3);
    assert_eq!(net.sum(0, |p| &p.links_in), 1);
    net.lie(&mut peer);
    net.until(|net| net.sum(0, |p| &p.links_in) == 0);
    assert!(net.lost.is_empty() || net.lost.iter().all(|lost| lost.2 == Direction::Incoming));
}

/// `<node> decided <subscribers> <groups> next <nodes> dropped <reasons>` and `<node> left <node>`, sorted.
fn told(reports: &[Report]) -> Vec<String> {
    let node = |text: &str| u128::from_str_radix(text, 16).unwrap() - 1;
    let line = |report: &Report| match &report.said {
        Said::Decided(Decided { subscribers, groups, next, dropped, .. }) => {
            let next: Vec<u128> = next.iter().map(|next| node(&next.node)).collect();
            let dropped: Vec<&str> = dropped.iter().map(|one| one.reason.as_str()).collect();
            let at = node(&report.node);
            format!("{at} decided {subscribers} {groups:?} next {next:?} dropped {dropped:?}")
        }
        Said::Left(left) => format!("{} left {}", node(&report.node), node(&left.to)),
    };
    let mut lines: Vec<String> = reports.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_traced_message_is_told_of_by_every_node_and_delivered_to_nobody() {
    for shards in [1, 2] {
        // Node 0 and 1 are one cluster, 2 and 3 are others behind 1.
        let mut net = Net::new(&[(1, shards), (1, shards), (2, 1), (3, 1)]);
        [(0, 1), (1, 2), (2, 3)].into_iter().for_each(|(a, b)| net.link(a, b));
        [(0, 1, 2), (0, 1, 3), (1, 2, 3)].into_iter().for_each(|(a, b, c)| net.way(a, b, c));
        let there = [1, 2, 3].map(|node| net.client(node, 0));
        there.iter().for_each(|&client| net.subscribe(client, "a.*", ""));
        let worker = net.client(3, 0);
        net.subscribe(worker, "a.b", "crew");
        net.settle();
        let reports = net.trace(0, 0, "a.b");
        let want = [
            "0 decided 0 [] next [1] dropped []",
            "0 left 1",
            "1 decided 1 [] next [2] dropped []",
            "1 left 2",
            "2 decided 1 [] next [3] dropped []",
            "2 left 3",
            "3 decided 1 [\"crew\"] next [] dropped []",
        ];
        assert_eq!(told(&reports), want, "{shards} shards");
        let nobody_got = there.iter().chain([&worker]).all(|&got| net.got(got, "a.b").is_empty());
        assert!(nobody_got, "a traced message is not delivered");
        let sent = reports.iter().find_map(|report| match &report.said {
            Said::Decided(said) if said.from.is_none() => Some(said.next[0].targets.clone()),
            Said::Decided(_) | Said::Left(_) => None,
        });
        let is_of_crew = |target: &Target| matches!(target, Target::Group { .. });
        let sent = sent.unwrap();
        assert!(sent.iter().any(|sent| is_of_crew(&sent.target)) && sent.len() == 4, "{sent:?}");
        assert!(sent.iter().all(|sent| sent.why == "best"), "{sent:?}");
        let has_round_trip = |report: &Report| match &report.said {
            Said::Left(left) => left.round_trip_us.is_some(),
            Said::Decided(_) => true,
        };
        assert!(reports.iter().all(has_round_trip), "links were measured when they came up");
        net.say(there[0], "a.b", "x");
        net.settle();
        assert_eq!(net.got(there[2], "a.b"), ["x"], "what follows is delivered");
    }
}

#[test]
fn a_trace_says_why_nobody_gets_a_message() {
    let mut net = Net::new(&[(1, 1), (2, 1), (3, 1)]);
    [(0, 1), (1, 2)].into_iter().for_each(|(a, b)| net.link(a, b));
    net.way(0, 1, 2);
    let far = net.client(2, 0);
    net.subscribe(far, "a", "");
    net.settle();
    assert_eq!(told(&net.trace(0, 0, "b")), ["0 decided 0 [] next [] dropped []"]);
    net.unlink(1, 2);
    net.settle();
    let want = [
        "0 decided 0 [] next [1] dropped []",
        "0 left 1",
        "1 decided 0 [] next [] dropped [\"no_route\"]",
    ];
    assert_eq!(told(&net.trace(0, 0, "a")), want);
    net.is_deaf = true;
    net.link(1, 2);
    net.leave(far);
    net.settle();
    let last = told(&net.trace(0, 0, "a")).pop().unwrap();
    assert_eq!(last, "2 decided 0 [] next [] dropped [\"unwanted\"]");
}

#[test]
fn a_connection_whose_last_receive_finds_no_buffer_is_closed() {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    net.client(0, 0);
    net.settle();
    assert_eq!(net.slots_in_use(0), 3, "a client, and the link's two ways");
    net.fail_and_starve(0);
    assert_eq!(net.slots_in_use(0), 0);
}

#[test]
fn a_link_that_is_not_answered_is_reported_until_it_is() {
    let mut net = Net::new(&[(1, 1), (1, 1)]);
    net.link(0, 1);
    let there = net.client(1, 0);
    net.subscribe(there, "a", "");
    let here = net.client(0, 0);
    net.settle();
    assert!(net.fared.contains(&(0, 1, true)), "a new link is asked once");
    net.fared.clear();
    net.stopped.push(1);
    net.say(here, "a", "x");
    net.until(|net| net.fared.len() == 3);
    assert!(net.fared.iter().all(|fared| *fared == (0, 1, false)));
    net.stopped.clear();
    net.until(|net| net.fared.last() == Some(&(0, 1, true)));
    net.fared.clear();
    net.settle();
    assert_eq!(net.got(there, "a"), ["x"]);
    assert!(net.fared.is_empty() && net.lost.is_empty(), "once is enough");
}
