//! What nodes tell of the fabric: their own clients, on topics where no client may publish, and whoever reads
//! metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use mpreg_tests::live::fabric::{Fabric, Seat};
use mpreg_tests::live::nats::NatsPeer;
use mpreg_tests::live::until;
use rustix::process::Signal;
use serde_json::Value;

/// What was told last, by topic.
type Heard = BTreeMap<String, Value>;

/// Listens until something was told on each of these topics.
#[track_caller]
fn hear_all(listener: &mut NatsPeer, heard: &mut Heard, topics: &[String]) {
    for topic in topics {
        until(&format!("{topic} is told"), || {
            while !heard.contains_key(topic) {
                let said = listener.hear_within(Duration::from_millis(5));
                let (head, body) = said.split_once('|')?;
                let topic = head.split(' ').nth(1).expect("a message has a subject");
                let about = serde_json::from_str(body).expect("news are JSON");
                heard.insert(topic.to_owned(), about);
            }
            Some(())
        });
    }
}

/// A node that is listened on, a mate, and a gateway of another cluster with one more behind it.
fn seats() -> Vec<Seat> {
    let more = "[link_state]\nmode = 'prefer'\n".to_owned();
    let seat =
        |cluster, joins: &[usize]| Seat { more: more.clone(), ..Seat::gateway(cluster, joins) };
    vec![seat("eu", &[]), seat("eu", &[0]), seat("us", &[0]), seat("asia", &[2])]
}

#[test]
fn a_node_tells_its_clients_what_happens_in_the_fabric() {
    let mut fabric = Fabric::of(seats());
    fabric.start_one(0);
    let [here, mate, us] = [0, 1, 2].map(|at| fabric.members[at].id.clone());
    let (mut listener, mut other) = (fabric.client(0), fabric.client(0));
    listener.subscribe(1, "mpreg.>");
    other.subscribe(1, "mpreg.fabric.route.withdrawn.*");
    // That somebody listens comes to the control core after the client has its answer.
    let mut count = 0;
    until("something is told", || {
        count += 1;
        let offer = format!("/catalog?scope=cluster&kind=function&name=f{count}&body=x");
        assert_eq!(fabric.router(0).ask("PUT", &offer).0, 204);
        let said = listener.hear_within(Duration::from_millis(20));
        said.starts_with("MSG mpreg.discovery.added.function 1 ").then_some(())
    });
    let mut heard = Heard::new();
    (1..4).for_each(|at| fabric.start_one(at));
    let come = [
        format!("mpreg.gossip.membership.up.{mate}"),
        format!("mpreg.fabric.link.up.{mate}"),
        format!("mpreg.fabric.link.up.{us}"),
        format!("mpreg.fabric.link_state.changed.{us}"),
        "mpreg.fabric.route.selected.us".to_owned(),
        "mpreg.fabric.route.selected.asia".to_owned(),
        "mpreg.discovery.added.node".to_owned(),
    ];
    hear_all(&mut listener, &mut heard, &come);
    assert_eq!(heard[&come[0]]["node"], mate.as_str());
    assert_eq!(heard[&come[5]]["cluster"], "asia");
    assert_eq!(heard[&come[5]]["via"], us.as_str());
    assert!(heard.values().all(|about| about["told_by"] == here.as_str()), "{heard:?}");
    assert_eq!(other.hear_within(Duration::from_millis(20)), "nothing", "of another topic");

    fabric.kill(1);
    let mut leaving = fabric.take(2);
    leaving.signal(Signal::TERM);
    leaving.wait();
    let go = [
        format!("mpreg.gossip.membership.failed.{mate}"),
        format!("mpreg.fabric.link.down.{mate}"),
        format!("mpreg.fabric.link.down.{us}"),
        "mpreg.fabric.route.withdrawn.us".to_owned(),
        "mpreg.discovery.removed.node".to_owned(),
    ];
    hear_all(&mut listener, &mut heard, &go);
    assert_eq!(heard[&go[2]]["end"], "closed");
    assert_eq!(heard[&go[3]]["via"], Value::Null);
    assert!(other.hear().starts_with("MSG mpreg.fabric.route.withdrawn."));
    let page = fabric.router(0).page();
    assert!((heard.len() as u64) <= page.sum("mpreg_news_total", &[]));
    assert_eq!(page.sum("mpreg_news_dropped_total", &[]), 0);
    let mut liar = fabric.router(0).client();
    liar.publish(&go[0], b"{}");
    let said = liar.hear();
    assert!(said.contains("reserved_topic"), "{said}");
}

#[test]
fn a_node_that_was_away_counts_that_it_caught_up() {
    let mut fabric = Fabric::start(seats().into_iter().take(2).collect());
    fabric.wait_known();
    fabric.kill(1);
    let offer = "/catalog?scope=cluster&kind=function&name=meanwhile&body=x";
    assert_eq!(fabric.router(0).ask("PUT", offer).0, 204);
    fabric.start_one(1);
    fabric.wait_known();
    until("it had to ask for what it lacked, and has all of it", || {
        let page = fabric.router(1).page();
        let lacking = page.sum("mpreg_catalog_feeds_lacking", &[]);
        (page.sum("mpreg_catalog_catch_ups_total", &[]) != 0 && lacking == 0).then_some(())
    });
    // Though one remembers the end of the other's life before, and the other has never heard of it.
    let compared = |at: usize| {
        let page = fabric.router(at).page();
        let same = page.sum("mpreg_catalogs_compared_total", &["outcome=\"same\""]);
        (same, page.sum("mpreg_catalogs_differing", &[]))
    };
    let before = [0, 1].map(|at| compared(at).0);
    until("both find their catalogs the same", || {
        let is_so = |at: usize| compared(at).1 == 0 && before[at] < compared(at).0;
        (is_so(0) && is_so(1)).then_some(())
    });
}
