//! Messages between nodes: real processes, clients of both protocols.

use std::time::Duration;

use mpreg_proto::frame::Publish;
use mpreg_tests::live::laboratory::Laboratory;
use mpreg_tests::live::nats::publication;
use mpreg_tests::live::peer::{Peer, frame_of};
use mpreg_tests::live::{Launch, Router, until};

/// Two nodes of one cluster, of so many shards each.
fn two(laboratory: &Laboratory, shards: [usize; 2]) -> [Router; 2] {
    let issued = ["one", "two"].map(|name| laboratory.issue(name, "eu", "node").0);
    let one = Launch::of(shards[0]).as_node(&issued[0], "eu", "").with_nats().start();
    let join = format!("join = ['{}']", one.bound("peer"));
    let two = Launch::of(shards[1]).as_node(&issued[1], "eu", &join).with_nats().start();
    [one, two]
}

/// Publishes until the subscriber, on another node, hears of it.
fn reach(publisher: &mut Peer, subscriber: &mut Peer) {
    until("what is wanted is known", || {
        publisher.publish("probe", b"");
        (subscriber.hear_within(Duration::from_millis(50)) == "probe ").then_some(())
    });
}

/// What it hears up to `end`, probes left out. It is not to be closed before.
#[track_caller]
fn up_to_end(subscriber: &mut Peer) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match subscriber.hear().as_str() {
            "end " => return heard,
            "closed" => panic!("closed after {} messages", heard.len()),
            "probe " => (),
            said => heard.push(said.to_owned()),
        }
    }
}

#[test]
fn messages_reach_every_subscriber_of_another_node_once_and_in_order() {
    for shards in [[1, 1], [2, 2]] {
        let laboratory = Laboratory::default();
        let [one, two] = two(&laboratory, shards);
        let mut subscribers: Vec<Peer> = (0..3).map(|_| two.client()).collect();
        let mut publisher = one.client();
        for subscriber in &mut subscribers {
            for (sid, pattern) in (1..).zip(["probe", "end", "a.*"]) {
                subscriber.subscribe(sid, pattern);
            }
            reach(&mut publisher, subscriber);
        }
        let want: Vec<String> = (0..20_000).map(|n| format!("a.b {n}")).collect();
        let mut bytes = Vec::new();
        for n in 0..20_000 {
            let payload = n.to_string();
            let publish =
                Publish { topic: b"a.b", payload: payload.as_bytes(), ..Publish::default() };
            bytes.extend(frame_of(publish));
        }
        publisher.send(&bytes);
        publisher.publish("end", b"");
        for subscriber in &mut subscribers {
            assert!(up_to_end(subscriber) == want, "{shards:?}");
        }
        assert_eq!(one.page().sum("mpreg_link_dropped_total", &["reason=\"queue_full\""]), 0);
    }
}

#[test]
fn a_request_is_answered_from_another_node_whatever_the_protocol() {
    let laboratory = Laboratory::default();
    let [one, two] = two(&laboratory, [1, 2]);
    let (mut server, mut asker) = (two.nats(), one.nats());
    server.subscribe(1, "ask");
    asker.subscribe(1, "inbox.*");
    until("the server is known", || {
        asker.send(&publication("ask", "inbox.probe", b"?"));
        // Nobody is there yet.
        let heard = asker.hear_within(Duration::from_millis(50));
        (!heard.starts_with("HMSG") && !heard.starts_with("MSG")).then_some(())
    });
    let mut native = one.client();
    native.subscribe(1, "native.inbox");
    let ask =
        Publish { topic: b"ask", reply: b"native.inbox", payload: b"now", ..Publish::default() };
    native.send(&frame_of(ask));
    // What it was asked while it was looked for comes first.
    let heard = std::iter::from_fn(|| Some(server.hear()));
    let asked = heard.filter(|said| said.contains("native.inbox")).take(1).last();
    assert_eq!(asked.as_deref(), Some("MSG ask 1 native.inbox 3|now"));
    server.publish("native.inbox", b"here");
    assert_eq!(native.hear(), "native.inbox here");
}

/// What work it hears before a moment of silence.
fn late_work(member: &mut Peer) -> Vec<String> {
    let heard =
        std::iter::from_fn(|| match member.hear_within(Duration::from_millis(50)).as_str() {
            "nothing" => None,
            "closed" => panic!("closed"),
            said => Some(said.to_owned()),
        });
    heard.filter(|said| said.starts_with("work")).collect()
}

/// Of what was sent before all of it could be heard nothing is counted.
fn is_counted(said: &String) -> bool {
    said.starts_with("work") && said != "work first"
}

#[test]
fn messages_for_a_group_go_to_one_member_of_one_node() {
    let laboratory = Laboratory::default();
    let [one, two] = two(&laboratory, [2, 2]);
    let mut publisher = one.client();
    let mut members: Vec<Peer> = (0..2).map(|_| two.client()).collect();
    for member in &mut members {
        for (sid, pattern) in (1..).zip(["probe", "end"]) {
            member.subscribe(sid, pattern);
        }
        member.ask(3, "work", "g", mpreg_proto::frame::Overload::DropOldest);
        assert_eq!(member.hear(), "subscribed 3");
        reach(&mut publisher, member);
    }
    // That probes get there does not say that work does.
    until("the group is known", || {
        publisher.publish("work", b"first");
        members.iter_mut().find_map(|member| late_work(member).pop())
    });
    let want: Vec<String> = (0..500).map(|n| format!("work {n:03}")).collect();
    for n in 0..500 {
        publisher.publish("work", format!("{n:03}").as_bytes());
    }
    publisher.publish("end", b"");
    // `end` overtakes nothing: a member on another shard may hear it before its last work.
    let mut all: Vec<String> = members.iter_mut().flat_map(up_to_end).collect();
    all.retain(is_counted);
    until("all work is done", || {
        all.extend(members.iter_mut().flat_map(late_work).filter(is_counted));
        (want.len() <= all.len()).then_some(())
    });
    all.extend(members.iter_mut().flat_map(late_work).filter(is_counted));
    all.sort_unstable();
    assert!(all == want, "{} of {}", all.len(), want.len());
}
