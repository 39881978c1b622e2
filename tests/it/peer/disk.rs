//! What survives a process: hints of other nodes, and what waits while a disk takes nothing.

use mpreg_router::admin::fabric::CatalogPage;
use mpreg_router::store::{Record, Store};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::*;

/// Waits until so much more time than now has passed for the router.
#[track_caller]
fn seconds(router: &Router, seconds: u64) {
    let uptime = || router.page().sum("mpreg_uptime_seconds", &[]);
    let before = uptime();
    until("time passes", || (before + seconds <= uptime()).then_some(()));
}

fn catalog(router: &Router) -> CatalogPage {
    serde_json::from_str(&router.get("/catalog").1).expect("a page of the catalog")
}

#[test]
fn a_node_whose_seeds_are_gone_comes_back_by_what_it_knew() {
    let laboratory = Laboratory::default();
    let issue = |name: &str| laboratory.issue(name, "eu", "node");
    let [(one, one_id), (two, two_id), (three, three_id)] = ["one", "two", "three"].map(issue);
    let mut one = Launch::of(1).as_node(&one, "eu", "").start();
    let two = Launch::of(1).as_node(&two, "eu", &join(&[&one])).start();
    linked(&two, &[&one_id]);
    assert_eq!(two.ask("PUT", "/catalog?scope=fabric&kind=function&name=sum").0, 204);
    let data = laboratory.path("data");
    let start = |seeds: &str| Launch::of(1).keeping(&data).as_node(&three, "eu", seeds).start();
    let mut node = start(&join(&[&one]));
    linked(&node, &[&one_id, &two_id]);
    let is_known = || catalog(&node).entries.iter().any(|entry| entry.name == "sum");
    until("it knows what is offered", || is_known().then_some(()));
    seconds(&node, 3);
    for router in [&mut node, &mut one] {
        router.signal(Signal::KILL);
        router.wait();
    }
    linked(&two, &[]);
    let is_gone = || catalog(&two).entries.iter().all(|entry| entry.node != one_id);
    until("nobody tells of it any more", || is_gone().then_some(()));
    // Its only seed is gone, and it is not even told of that one.
    let mut node = start("");
    linked(&node, &[&two_id]);
    linked(&two, &[&three_id]);
    until("who is heard of is no hint", || {
        let page = catalog(&node);
        let hinted: Vec<&str> = page.hints.iter().map(|hint| hint.node.as_str()).collect();
        (hinted == [one_id.as_str()]).then_some(())
    });
    let page = catalog(&node);
    assert_eq!((page.hints[0].kind.as_str(), page.hints[0].cluster.as_str()), ("node", "eu"));
    assert!(page.entries.iter().all(|entry| entry.node != one_id), "a hint is no entry");
    let admin = node.ready["admin"].as_str().unwrap();
    let said = String::from_utf8(mpreg(&["catalog", "--admin", admin]).stdout).unwrap();
    assert!(said.lines().any(|line| line.contains(&one_id) && line.contains(" hint ")), "{said}");
    // What it did not hear of is not told on.
    assert!(catalog(&two).entries.iter().all(|entry| entry.node != one_id));
    node.signal(Signal::TERM);
    node.wait();
    Store::open(&data).unwrap().put(&[(Record::CatalogHints, b"nonsense")]).unwrap();
    let node = start(&join(&[&two]));
    linked(&node, &[&two_id]);
    assert_eq!(node.page().sum("mpreg_catalog_hints_lost_total", &[]), 1);
}

/// Lets a router write so far into files, and no further.
fn limit(router: &Router, bytes: Option<u64>) {
    let pid = router.ready["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(pid, Resource::Fsize, limit).expect("a child of ours");
}

#[test]
fn a_life_that_cannot_be_written_down_is_not_lived_until_it_can() {
    let laboratory = Laboratory::default();
    let [(one, one_id), (two, two_id)] =
        ["one", "two"].map(|name| laboratory.issue(name, "eu", "node"));
    let two = Launch::of(1).as_node(&two, "eu", "").start();
    let data = laboratory.path("data");
    let start = || {
        let launch = Launch::of(1).keeping(&data).after("trap '' XFSZ");
        launch.as_node(&one, "eu", &join(&[&two])).start()
    };
    let mut one = start();
    let first = linked(&two, &[&one_id])[0].incarnation;
    let members = |count: u64| {
        until("members are counted", || {
            (two.page().sum("mpreg_members", &[]) == count).then_some(())
        });
    };
    members(1);
    limit(&one, Some(0));
    one.signal(Signal::STOP);
    members(0);
    one.signal(Signal::CONT);
    until("it needs another life, and cannot write that down", || {
        let page = one.page();
        let has_failed = 1 < page.sum("mpreg_store_failures_total", &[]);
        (has_failed && page.sum("mpreg_store_failing", &[]) == 1).then_some(())
    });
    let admin = one.ready["admin"].as_str().unwrap();
    let said = String::from_utf8(mpreg(&["status", "--admin", admin]).stdout).unwrap();
    assert!(said.contains("disk: state is not kept"), "{said}");
    assert_eq!(two.page().sum("mpreg_members", &[]), 0, "it does not live on as if it had");
    limit(&one, None);
    members(1);
    until("all is well", || (one.page().sum("mpreg_store_failing", &[]) == 0).then_some(()));
    one.signal(Signal::KILL);
    one.wait();
    let kept = Store::open(&data).unwrap().get(Record::Incarnation).unwrap().unwrap();
    let second = u64::from_le_bytes(kept.try_into().unwrap());
    assert!(first < second, "that life was written down");
    let one = start();
    linked(&one, &[&two_id]);
    assert!(second < linked(&two, &[&one_id])[0].incarnation);
}
