//! Which way messages take between clusters of real processes: as many links as they may, no node
//! twice, and the one that is said.

use std::collections::BTreeMap;
use std::time::Duration;

use mpreg_fabric::rng::Rng;
use mpreg_tests::live::fabric::{Fabric, Seat};
use mpreg_tests::live::nats::NatsPeer;
use mpreg_tests::live::until;

/// Clusters of one node each, with these links.
fn clusters(names: &[&str], links: &[(usize, usize)]) -> Vec<Seat> {
    let seat = |(at, name): (usize, &&str)| {
        let joins = links.iter().filter(|(_, dials)| *dials == at).map(|(near, _)| *near);
        Seat::gateway(name, &joins.collect::<Vec<_>>())
    };
    names.iter().enumerate().map(seat).collect()
}

/// Waits until each node knows a way to each cluster.
fn wait_ways(fabric: &Fabric) {
    for at in fabric.running() {
        for to in &fabric.members {
            let is_own = to.seat.cluster == fabric.members[at].seat.cluster;
            until("there is a way", || {
                (is_own || fabric.explained(at, &to.seat.cluster).selected.is_some()).then_some(())
            });
        }
    }
}

/// Says so until somebody hears it.
fn reach(publisher: &mut NatsPeer, subscriber: &mut NatsPeer, subject: &str) {
    until("it is heard", || {
        publisher.publish(subject, b"try");
        (subscriber.hear_within(Duration::from_millis(20)) != "nothing").then_some(())
    });
}

/// What it hears of `MESSAGES` numbers, and whatever else comes soon.
fn heard(subscriber: &mut NatsPeer) -> Vec<String> {
    let all = std::iter::from_fn(|| {
        let said = subscriber.hear_within(Duration::from_millis(500));
        said.split_once('|').map(|(_, body)| body.to_owned())
    });
    all.filter(|body| body != "try").collect()
}

const MESSAGES: usize = 50;

fn numbers() -> Vec<String> {
    (0..MESSAGES).map(|number| number.to_string()).collect()
}

#[test]
fn a_message_crosses_as_many_links_as_it_may_and_none_more() {
    let mut seats = clusters(&["c0", "c1", "c2", "c3", "c4"], &[(0, 1), (1, 2), (2, 3), (3, 4)]);
    "hop_budget = 4".clone_into(&mut seats[0].more);
    "hop_budget = 3".clone_into(&mut seats[4].more);
    let fabric = Fabric::start(seats);
    wait_ways(&fabric);
    let mut clients = fabric.clients();
    let [zero, one, _, _, four] = &mut clients[..] else { unreachable!("there are five") };
    // To the east and to the west.
    four.subscribe(1, "east");
    zero.subscribe(1, "west");
    one.subscribe(1, "west");
    reach(zero, four, "east");
    reach(four, one, "west");
    until("what is wanted at the other end is known", || {
        let entries = fabric.catalog(4).into_iter();
        entries.into_iter().find(|entry| entry.name == "west" && entry.cluster == "c0")
    });
    let dropped = || {
        let labels = ["reason=\"hop_budget_exhausted\""];
        let dropped = |at| fabric.router(at).page().sum("mpreg_link_dropped_total", &labels);
        [0, 1, 2, 3, 4].map(dropped)
    };
    let drops = |count: u64| until("it is dropped", || (count <= dropped()[1]).then(dropped));
    until("the far end is tried", || {
        four.publish("west", b"try");
        (0 < dropped()[1]).then_some(())
    });
    heard(one);
    let before = dropped();
    for number in numbers() {
        zero.publish("east", number.as_bytes());
        four.publish("west", number.as_bytes());
    }
    assert_eq!(heard(four), numbers(), "four links, and as many to go");
    assert_eq!(heard(one), numbers(), "three links, and as many to go");
    let after = drops(before[1] + MESSAGES as u64);
    let want = [before[0], before[1] + MESSAGES as u64, before[2], before[3], before[4]];
    assert_eq!(after, want, "each is dropped where its budget ends");
    assert_eq!(heard(zero), Vec::<String>::new(), "four links, and three to go");
    assert_eq!(fabric.carried(1)[&fabric.members[0].id].0, 0, "nothing went on beyond");
}

/// The spur is a neighbour of one of the ring, leads nowhere, and its name is first in every order.
#[test]
fn messages_go_round_a_ring_and_into_no_dead_end() {
    let names = ["r0", "r1", "r2", "r3", "r4", "r5", "a-spur"];
    let links = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (0, 6)];
    let fabric = Fabric::start(clusters(&names, &links));
    wait_ways(&fabric);
    let mut clients = fabric.clients();
    let visits = || -> Vec<u64> {
        let of = |at| fabric.carried(at).values().map(|(_, came)| came).sum();
        (0..names.len()).map(of).collect()
    };
    for from in 0..names.len() {
        let to = (from + 3) % 6;
        let subject = format!("ring.{from}.{to}");
        let mut subscriber = fabric.client(to);
        subscriber.subscribe(1, &subject);
        reach(&mut clients[from], &mut subscriber, &subject);
        heard(&mut subscriber);
        let before = visits();
        for number in numbers() {
            clients[from].publish(&subject, number.as_bytes());
        }
        assert_eq!(heard(&mut subscriber), numbers(), "from {from} to {to}");
        let came: Vec<u64> = visits().iter().zip(&before).map(|(now, then)| now - then).collect();
        let all = MESSAGES as u64;
        assert!(came.iter().all(|&came| came <= all), "no node twice: {came:?}");
        let links = if from == 6 && to == 3 { 4 } else { 3 };
        assert_eq!(came.iter().sum::<u64>(), links * all, "by a shortest way: {came:?}");
        assert_eq!((came[from], came[6]), (0, 0), "not back, and not into the dead end: {came:?}");
    }
    assert_eq!(fabric.counts("mpreg_link_dropped_total"), [0; 7]);
}

/// Clusters of one to three nodes, a tree and as many links again, drawn from a seed.
fn random_graph(rng: &mut Rng) -> Vec<Seat> {
    let sizes = [3, 1, 2, 1, 1, 1];
    let mut seats = Vec::new();
    let mut gateways: Vec<Vec<usize>> = Vec::new();
    for (cluster, size) in sizes.into_iter().enumerate() {
        let first = seats.len();
        for place in 0..size {
            let mut seat = Seat::gateway(&format!("c{cluster}"), &[]);
            seat.joins = (first..first + place).collect();
            seat.role = if place < 2 { "gateway" } else { "node" };
            seats.push(seat);
        }
        let mine: Vec<usize> = (first..first + size.min(2)).collect();
        for _ in 0..2.min(cluster) {
            let theirs = &gateways[rng.below(cluster as u32) as usize];
            let far = theirs[rng.below(theirs.len() as u32) as usize];
            let near = mine[rng.below(mine.len() as u32) as usize];
            seats[near].joins.push(far);
        }
        gateways.push(mine);
    }
    seats
}

#[test]
fn the_link_that_is_said_to_be_next_carries_the_message() {
    let mut rng = Rng::from_seed(20);
    let fabric = Fabric::start(random_graph(&mut rng));
    wait_ways(&fabric);
    let mut clients = fabric.clients();
    let count = clients.len();
    for (at, client) in clients.iter_mut().enumerate() {
        client.subscribe(1, &format!("to.{at}"));
    }
    let (mut samples, mut changes) = (0, 0);
    while samples < 100 {
        let [from, to] = [(); 2].map(|()| rng.below(count as u32) as usize);
        let cluster = &fabric.members[to].seat.cluster;
        if fabric.members[from].seat.cluster == *cluster {
            continue;
        }
        let subject = format!("to.{to}");
        let [publisher, subscriber] = clients.get_disjoint_mut([from, to]).expect("they differ");
        reach(publisher, subscriber, &subject);
        while subscriber.hear_within(Duration::from_millis(20)) != "nothing" {}
        let said = || fabric.explained(from, cluster).selected.expect("a way").next_hop;
        let sent = || -> BTreeMap<String, u64> {
            fabric.carried(from).into_iter().map(|(node, (sent, _))| (node, sent)).collect()
        };
        let mut sample = || {
            let (next, before) = (said(), sent());
            publisher.publish(&subject, b"sample");
            assert!(subscriber.hear().ends_with("|sample"));
            let sent_on = |(node, sent): (String, u64)| {
                let count = sent - before.get(&node).unwrap_or(&0);
                (count != 0).then_some((node, count))
            };
            let used: Vec<_> = sent().into_iter().filter_map(sent_on).collect();
            (used == [(next.clone(), 1)]).then_some(()).ok_or((next, used))
        };
        if let Err(other) = sample() {
            // The way changed meanwhile, or not long ago: a flow takes it when it pauses.
            changes += 1;
            assert!(changes < 20, "ways do not settle: from {from} to {cluster}: {other:?}");
            until("the message takes the way that is said", || sample().ok());
        }
        samples += 1;
    }
}
