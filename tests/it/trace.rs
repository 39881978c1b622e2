//! Where messages go between real nodes, and why: a trace over a chain of clusters, and round a link that
//! swallows what is sent on it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mpreg_router::admin::trace::TracePage;
use mpreg_router::trace::Target;
use mpreg_tests::live::laboratory::Laboratory;
use mpreg_tests::live::nats::{NatsPeer, USUAL};
use mpreg_tests::live::relay::Relay;
use mpreg_tests::live::{Launch, Router, program, until};

fn node(credentials: &Path, cluster: &str, join: &[String], allow: &str) -> Router {
    let join: Vec<String> = join.iter().map(|address| format!("'{address}'")).collect();
    let more = format!("join = [{}]\nallow_clusters = [{allow}]", join.join(", "));
    Launch::of(1).with_nats().as_node(credentials, cluster, &more).start()
}

fn trace(router: &Router, subject: &str) -> TracePage {
    let (code, body) = router.get(&format!("/trace?subject={subject}&timeout_ms=4000"));
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("a trace")
}

/// Publishes until the subscriber, on another node, hears of it.
fn reach(publisher: &mut NatsPeer, subscriber: &mut NatsPeer, subject: &str) {
    until("what is published is heard", || {
        publisher.publish(subject, b"x");
        let said = subscriber.hear_within(Duration::from_millis(20));
        (said != "nothing").then_some(())
    });
}

fn nodes_of(page: &TracePage) -> Vec<(usize, &str, &str)> {
    page.hops.iter().map(|row| (row.hop, row.node.as_str(), row.outcome.as_str())).collect()
}

/// Clusters c0, c1 and c2 in a chain, the last of two nodes.
#[test]
fn a_trace_names_every_node_on_the_way_through_a_chain_of_clusters() {
    let laboratory = Laboratory::default();
    let issue = |name: &str, cluster: &str, role| laboratory.issue(name, cluster, role);
    let [a, b, c] = ["c0", "c1", "c2"].map(|cluster| issue(cluster, cluster, "gateway"));
    let d = issue("d", "c2", "node");
    let reached = |router: &Router| vec![router.bound("peer").to_string()];
    // The ends allow the one between them alone: what lies behind it is its to say.
    let first = node(&a.0, "c0", &[], "'c1'");
    let second = node(&b.0, "c1", &reached(&first), "'c0', 'c2'");
    let third = node(&c.0, "c2", &reached(&second), "'c1'");
    let last = node(&d.0, "c2", &reached(&third), "'c1'");
    let mut publisher = first.nats_on(0, USUAL);
    let mut subscriber = last.nats_on(0, USUAL);
    subscriber.subscribe(1, "t.x");
    let mut worker = second.nats_on(0, USUAL);
    worker.send(b"SUB t.> crew 2\r\n");
    worker.flush();
    reach(&mut publisher, &mut subscriber, "t.x");
    reach(&mut publisher, &mut worker, "t.y");
    while subscriber.hear_within(Duration::from_millis(50)) != "nothing" {}
    // A link is a way before the ways inside a cluster are known.
    let page = until("all go where they go for good", || {
        let page = trace(&first, "t.x");
        let mut sent = page.hops.iter().flat_map(|row| &row.sent);
        (page.is_complete && sent.all(|sent| sent.why == "best")).then_some(page)
    });
    let want = [
        (0, a.1.as_str(), "forwarded"),
        (1, b.1.as_str(), "delivered"),
        (2, c.1.as_str(), "forwarded"),
        (3, d.1.as_str(), "delivered"),
    ];
    assert_eq!(nodes_of(&page), want);
    let clusters: Vec<&str> = page.hops.iter().filter_map(|row| row.cluster.as_deref()).collect();
    assert_eq!(clusters, ["c0", "c1", "c2", "c2"]);
    assert_eq!(
        (page.hops[1].groups.as_slice(), page.hops[3].subscribers),
        (&["crew".to_owned()][..], 1)
    );
    for row in &page.hops[1..] {
        assert!(
            row.queue_us.is_some() && row.wire_us.is_some() && row.held_us.is_some(),
            "{row:?}"
        );
        assert!(!row.sent.is_empty(), "{row:?}");
    }
    let to_last = Target::Cluster("c2".to_owned());
    assert!(page.hops[2].sent.iter().any(|sent| sent.target == to_last), "{page:?}");
    assert_eq!(subscriber.hear_within(Duration::from_millis(50)), "nothing", "no copy of it");
    // Nobody wants this one, and clients may not publish that one.
    let page = trace(&first, "nobody.here");
    assert_eq!(nodes_of(&page), [(0, a.1.as_str(), "unwanted")]);
    assert_eq!(first.get("/trace?subject=mpreg.x").0, 400);
    assert_eq!(Launch::of(1).start().get("/trace?subject=a").0, 404, "it is in no cluster");
    the_command_says_the_same(&first, &d.1);
}

fn the_command_says_the_same(router: &Router, last: &str) {
    let run = |subject: &str| {
        let url = format!("http://{}", router.bound("admin"));
        let mut mpreg = Command::new(program::path());
        let output = mpreg.args(["trace", subject, "--admin", &url]).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = run("t.x");
    assert!(code == Some(0) && text.contains(last) && text.contains("all reported"), "{text}");
    assert_eq!(run("nobody.here").0, Some(1));
}

/// The way from one cluster to another is a link whose data connections swallow everything; a third
/// cluster is linked with both.
#[test]
fn messages_go_round_a_link_that_swallows_them_and_come_back_to_it() {
    let laboratory = Laboratory::default();
    let [a, b, c] = ["ca", "cb", "cc"].map(|name| laboratory.issue(name, name, "gateway"));
    let far = node(&b.0, "cb", &[], "'*'");
    let relay = Relay::start(far.bound("peer"));
    let round = node(&c.0, "cc", &[far.bound("peer").to_string()], "'*'");
    let join = [relay.address().to_string(), round.bound("peer").to_string()];
    let near = node(&a.0, "ca", &join, "'*'");
    let mut subscriber = far.nats_on(0, USUAL);
    subscriber.subscribe(1, "s.x");
    let mut publisher = near.nats_on(0, USUAL);
    reach(&mut publisher, &mut subscriber, "s.x");
    let path =
        || -> Vec<String> { trace(&near, "s.x").hops.into_iter().map(|row| row.node).collect() };
    until("the way is the link", || (path() == [a.1.clone(), b.1.clone()]).then_some(()));
    let circuit =
        || near.peers().into_iter().find(|peer| peer.node == b.1).map(|peer| peer.circuit);
    until("all is well", || (circuit().as_deref() == Some("closed")).then_some(()));

    relay.swallow(true);
    until("the link is found out", || {
        publisher.publish("s.x", b"lost");
        (circuit().as_deref() == Some("open")).then_some(())
    });
    let round_way = [a.1.clone(), c.1.clone(), b.1.clone()];
    let page = until("it is gone round", || {
        let page = trace(&near, "s.x");
        let path: Vec<&String> = page.hops.iter().map(|row| &row.node).collect();
        (page.is_complete && path.iter().copied().eq(&round_way)).then_some(page)
    });
    assert_eq!(page.hops[1].sent[0].why, "alternate", "{page:?}");
    let reason = page.hops[1].sent[0].instead_of_best.as_deref();
    assert!(matches!(reason, Some("link_open_circuit" | "link_down")), "{page:?}");
    reach(&mut publisher, &mut subscriber, "s.x");
    let opened = || near.page().sum("mpreg_circuits_changed_total", &["to=\"open\""]);
    assert!(opened() != 0 && circuit().is_some(), "the control link lives");

    relay.swallow(false);
    until("the link is taken again", || {
        publisher.publish("s.x", b"back");
        (circuit().as_deref() == Some("closed") && path() == [a.1.clone(), b.1.clone()])
            .then_some(())
    });
    let half_opened = near.page().sum("mpreg_circuits_changed_total", &["to=\"half_open\""]);
    assert!(half_opened != 0);
}
