//! Fabrics of real processes: three clusters of three nodes, with clients on all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mpreg_tests::live::fabric::{Fabric, grid, join_up};
use mpreg_tests::live::nats::{NatsPeer, USUAL, publication};
use mpreg_tests::live::{Launch, until, within};
use rustix::process::Signal;

/// Of each cluster. The first two are gateways, each linked with its like in both other clusters.
const NODES: usize = 3;

fn start() -> Fabric {
    Fabric::start(grid(3, NODES, |_, _| true))
}

/// The next message that is not of [`join_up`].
#[track_caller]
fn hear(client: &mut NatsPeer) -> String {
    loop {
        let said = client.hear();
        if !said.starts_with("MSG z.") {
            return said;
        }
    }
}

const MESSAGES: usize = 200;

/// Everybody says so many, and hears everybody's, each once and in the order it was said.
fn all_to_all(clients: &mut [NatsPeer]) {
    let count = clients.len();
    for number in 0..MESSAGES {
        for (at, client) in clients.iter_mut().enumerate() {
            client.publish(&format!("m.{at}"), number.to_string().as_bytes());
        }
    }
    for client in clients.iter_mut() {
        let mut next = vec![0; count];
        for _ in 0..count * MESSAGES {
            let said = hear(client);
            let (head, body) = said.split_once('|').expect("a message");
            let from = head.strip_prefix("MSG m.").and_then(|rest| rest.split(' ').next());
            let from: usize = from.and_then(|from| from.parse().ok()).expect("a publisher");
            assert_eq!(body, next[from].to_string(), "of {from}");
            next[from] += 1;
        }
    }
    // Whatever came twice would be before these.
    clients
        .iter_mut()
        .enumerate()
        .for_each(|(at, client)| client.publish(&format!("m.{at}"), b"end"));
    for client in clients.iter_mut() {
        let ends: BTreeSet<String> = (0..count).map(|_| hear(client)).collect();
        assert!(ends.len() == count && ends.iter().all(|end| end.ends_with("|end")), "{ends:?}");
    }
}

/// Of members of one queue group in three clusters, one gets each message.
fn one_of_a_group(fabric: &Fabric) {
    let mut members = [1, 4, 7].map(|at| fabric.router(at).nats_on(0, USUAL));
    for member in &mut members {
        member.send(b"SUB g.work crew 9\r\n");
        member.flush();
    }
    let mut publisher = fabric.router(8).nats_on(0, USUAL);
    // The publisher's node may hear of the group later.
    let mut tries = 0;
    until("somebody of the group hears", || {
        publisher.publish("g.work", format!("try {tries}").as_bytes());
        tries += 1;
        let said = members.iter_mut().map(|member| member.hear_within(Duration::from_millis(5)));
        said.fold(false, |is_heard, said| is_heard | (said != "nothing")).then_some(())
    });
    for number in 0..MESSAGES {
        publisher.publish("g.work", number.to_string().as_bytes());
    }
    let mut got = BTreeSet::new();
    until("each message is with one of the group", || {
        for member in &mut members {
            let said = member.hear_within(Duration::from_millis(5));
            let body = said.split_once('|').map(|(_, body)| body.to_owned());
            if let Some(body) = body.filter(|body| !body.starts_with("try")) {
                assert!(got.insert(body), "{said} came twice");
            }
        }
        (got.len() == MESSAGES).then_some(())
    });
}

/// A request finds its way, and the reply back at once, before anybody has heard who waits for it.
fn a_reply_finds_back(fabric: &Fabric) {
    let mut server = fabric.router(8).nats_on(0, USUAL);
    server.subscribe(1, "r.echo");
    let mut known = fabric.router(2).nats_on(0, USUAL);
    known.subscribe(1, "r.reply");
    until("the server is known", || {
        known.send(&publication("r.echo", "r.reply", b"try"));
        let asked = server.hear_within(Duration::from_millis(20));
        (asked != "nothing").then_some(())
    });
    for number in 0..50 {
        let mut client = fabric.router(2).nats_on(0, USUAL);
        let (inbox, body) = (format!("_INBOX.{number}.a"), number.to_string());
        client.send(
            &[
                format!("SUB {inbox} 1\r\n").into_bytes(),
                publication("r.echo", &inbox, body.as_bytes()),
            ]
            .concat(),
        );
        let want = format!("MSG r.echo 1 {inbox} {}|{body}", body.len());
        until("the request is there", || (server.hear() == want).then_some(()));
        server.publish(&inbox, b"here");
        assert_eq!(client.hear(), format!("MSG {inbox} 1 4|here"));
    }
}

#[test]
fn a_message_reaches_every_node_of_every_cluster_once() {
    let fabric = start();
    fabric.wait_linked();
    let mut clients = fabric.clients();
    for client in &mut clients {
        // What is wanted first, and comes first by name, is known first: who hears of `z` hears of `m`.
        client.subscribe(1, "m.*");
        client.subscribe(2, "z.>");
    }
    join_up(&mut clients, 0);
    all_to_all(&mut clients);
    one_of_a_group(&fabric);
    a_reply_finds_back(&fabric);
}

#[test]
fn what_a_node_offers_is_seen_everywhere_until_it_dies() {
    let mut fabric = start();
    let everybody: BTreeSet<String> =
        fabric.members.iter().map(|member| member.id.clone()).collect();
    let mut client = fabric.router(2).nats_on(0, USUAL);
    client.subscribe(1, "seen.*");
    for kind in ["function", "queue", "cache"] {
        let offer = format!("/catalog?scope=fabric&kind={kind}&name=seen&body=x");
        assert_eq!(fabric.router(2).ask("PUT", &offer).0, 204);
    }
    let kinds_of = |fabric: &Fabric, at: usize| -> BTreeSet<String> {
        let named = fabric.catalog(at).into_iter().filter(|entry| entry.name.starts_with("seen"));
        named.map(|entry| entry.kind).collect()
    };
    for at in 0..fabric.members.len() {
        until("all nodes are known", || (fabric.known(at) == everybody).then_some(()));
        let wanted = if at < NODES { "subscription" } else { "cluster_interest" };
        until("all kinds are known", || {
            let kinds = kinds_of(&fabric, at);
            ["function", "queue", "cache", wanted]
                .iter()
                .all(|kind| kinds.contains(*kind))
                .then_some(())
        });
    }
    let id = fabric.members[2].id.clone();
    fabric.kill(2);
    for at in (0..fabric.members.len()).filter(|&at| at != 2) {
        until("the dead are gone", || {
            let is_gone = !fabric.known(at).contains(&id) && kinds_of(&fabric, at).is_empty();
            is_gone.then_some(())
        });
    }
    fabric.start_one(2);
    for at in 0..fabric.members.len() {
        until("it is back", || (fabric.known(at) == everybody).then_some(()));
    }
}

/// The clusters of a chain. A lease is two seconds.
#[test]
fn what_a_node_offers_is_seen_two_clusters_away_and_stays() {
    let mut seats = grid(3, NODES, |near, far| near + 1 == far);
    seats.iter_mut().for_each(|seat| "lease_ms = 2000".clone_into(&mut seat.more));
    let fabric = Fabric::start(seats);
    fabric.wait_known();
    let mut client = fabric.client(2);
    let since = Instant::now();
    client.subscribe(1, "seen.*");
    for kind in ["function", "queue", "cache"] {
        let offer = format!("/catalog?scope=fabric&kind={kind}&name=seen&body=x");
        assert_eq!(fabric.router(2).ask("PUT", &offer).0, 204);
    }
    let id = &fabric.members[2].id;
    let far = || {
        let offers = fabric.shared(8).into_iter().filter(|[kind, name, node]| {
            name.starts_with("seen") || (kind == "node" && node == id)
        });
        offers.map(|[kind, ..]| kind).collect::<BTreeSet<_>>()
    };
    let want = ["cache", "cluster_interest", "function", "node", "queue"];
    let want = BTreeSet::from(want.map(str::to_owned));
    within("all five kinds are seen", since, Duration::from_secs(1), || {
        (far() == want).then_some(())
    });
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        assert_eq!(far(), want, "nobody took it back, and its leases are renewed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn messages_go_round_a_dead_gateway() {
    let mut fabric = start();
    let mut clients = fabric.clients();
    clients.iter_mut().for_each(|client| client.subscribe(1, "z.>"));
    join_up(&mut clients, 0);
    for (round, gateway) in [0, 4].into_iter().enumerate() {
        fabric.kill(gateway);
        let mut others = fabric.clients();
        others.iter_mut().for_each(|client| client.subscribe(1, "z.>"));
        join_up(&mut others, round + 1);
    }
    // What is said to be done is what is done: whoever is next is linked.
    let next = fabric.explained(2, "c1").selected.expect("a way is taken").next_hop;
    assert!(fabric.router(2).peers().iter().any(|peer| peer.node == next), "{next} is linked");
}

#[test]
fn nodes_on_loopback_need_no_credentials() {
    let folder = tempfile::tempdir().expect("a folder for keys");
    let state = format!("export XDG_STATE_HOME={}", folder.path().display());
    let start = |cluster: &str, join: &[&str]| {
        let words = ["--cluster", cluster, "--peer-listen", "127.0.0.1:0"];
        let launch = Launch::of(1).with_nats().after(&state).keeping(&folder.path().join(cluster));
        words.iter().chain(join).fold(launch, |launch, word| launch.argument(word)).start()
    };
    let eu = start("eu", &[]);
    let address = eu.bound("peer").to_string();
    let mut us = start("us", &["--join", &address]);
    let mut subscriber = us.nats_on(0, USUAL);
    subscriber.subscribe(1, "l.*");
    let mut publisher = eu.nats_on(0, USUAL);
    until("the other cluster hears", || {
        publisher.publish("l.x", b"here");
        (subscriber.hear_within(Duration::from_millis(20)) != "nothing").then_some(())
    });
    // Signed for once: another life is the same node.
    let before = eu.peers()[0].node.clone();
    us.signal(Signal::TERM);
    us.wait();
    drop(us);
    let _us = start("us", &["--join", &address]);
    until("it is the same node", || {
        eu.peers().first().filter(|peer| peer.node == before).map(drop)
    });
}
