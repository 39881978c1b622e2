//! Policies of routes and of the catalog, changed while a fabric of real processes runs.

use std::fs;
use std::time::Duration;

use mpreg_router::admin::fabric::{CatalogPage, LinkStateRow, RouteRow};
use mpreg_router::reload::Reloaded;
use mpreg_tests::live::laboratory::{Laboratory, mpreg};
use mpreg_tests::live::nats::{NatsPeer, USUAL};
use mpreg_tests::live::{Launch, Router, until};
use rustix::process::Signal;

/// Four clusters of a gateway each: `near` reaches `far` through `left` and through `right`.
struct Diamond {
    near: Router,
    left: (String, Router),
    right: (String, Router),
    far: Router,
    /// What `near`'s configuration file says besides policies.
    base: String,
    _laboratory: Laboratory,
}

impl Diamond {
    fn start() -> Self {
        Self::start_with("", &[])
    }

    /// With more in all files. These clusters have no key to sign with.
    fn start_with(tables: &str, keyless: &[&str]) -> Self {
        let laboratory = Laboratory::default();
        let start = |cluster: &str, joined: &[&Router]| {
            let (credentials, id) = laboratory.issue(cluster, cluster, "gateway");
            if keyless.contains(&cluster) {
                let key = credentials.join("routes.key");
                fs::remove_file(key).expect("gateways have a key");
            }
            let joined: Vec<_> =
                joined.iter().map(|router| format!("'{}'", router.bound("peer"))).collect();
            let more = format!("join = [{}]\nallow_clusters = ['*']\n{tables}", joined.join(", "));
            let launch = Launch::of(1).with_nats().as_node(&credentials, cluster, &more);
            (id, launch.start())
        };
        let far = start("far", &[]).1;
        let (left, right) = (start("left", &[&far]), start("right", &[&far]));
        let near = start("near", &[&left.1, &right.1]).1;
        let base = fs::read_to_string(near.path("mpreg.toml")).expect("it was started with one");
        Self { near, left, right, far, base, _laboratory: laboratory }
    }

    /// Has `near`'s file say this about policies.
    fn says(&self, policies: &str) {
        let text = format!("{}\n{policies}", self.base);
        fs::write(self.near.path("mpreg.toml"), text).expect("the folder is ours");
    }

    fn reload(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let admin = self.near.ready["admin"].as_str().expect("it has an admin surface");
        let said = mpreg(&[&["policy", "reload", "--admin", admin], arguments].concat());
        (said.status.code(), String::from_utf8(said.stdout).expect("answers are text"))
    }

    /// Reloads, and says what came of it.
    #[track_caller]
    fn reloaded(&self, arguments: &[&str]) -> Reloaded {
        let (code, said) = self.reload(&[&["--json"], arguments].concat());
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&said).expect("the answer is one of a reload")
    }

    fn way(&self) -> RouteRow {
        let (code, said) = self.near.get("/routes/explain?to=far");
        assert_eq!(code, 200, "{said}");
        serde_json::from_str(&said).expect("the answer is a way")
    }

    /// The node that messages for `far` go to next.
    fn next(&self) -> Option<String> {
        self.way().selected.map(|selected| selected.next_hop)
    }

    /// Announced ways that messages for `far` may go.
    fn open_ways(&self) -> usize {
        let ways = self.way().candidates;
        ways.iter().filter(|way| way.source == "routes" && way.filtered.is_none()).count()
    }

    /// The other one between.
    fn other(&self, node: &str) -> &(String, Router) {
        if self.left.0 == node { &self.right } else { &self.left }
    }

    fn between(&self, node: &str) -> (&'static str, &Router) {
        if self.left.0 == node { ("left", &self.left.1) } else { ("right", &self.right.1) }
    }
}

/// Says something until it is heard.
#[track_caller]
fn heard(publisher: &mut NatsPeer, subscriber: &mut NatsPeer, word: &str) {
    until("the far cluster hears", || {
        publisher.publish("p.x", word.as_bytes());
        let said = subscriber.hear_within(Duration::from_millis(20));
        said.ends_with(&format!("|{word}")).then_some(())
    });
    while subscriber.hear_within(Duration::from_millis(50)) != "nothing" {}
}

/// A policy that lets only a cluster's own routes in from it.
fn no_transit(clusters: &[&str]) -> String {
    let terms = clusters.iter().map(|name| {
        format!(
            "[[routes.neighbours]]\ncluster = '{name}'\nimport = {{ destinations = ['{name}'] }}\n"
        )
    });
    terms.collect()
}

#[test]
fn a_policy_moves_traffic_while_it_flows_and_back() {
    let fabric = Diamond::start();
    let mut subscriber = fabric.far.nats_on(0, USUAL);
    subscriber.subscribe(1, "p.*");
    let mut publisher = fabric.near.nats_on(0, USUAL);
    until("both ways are known", || (fabric.open_ways() == 2).then_some(()));
    heard(&mut publisher, &mut subscriber, "first");
    let first = fabric.next().expect("a way is taken");
    let (name, transit) = fabric.between(&first);
    let (other, _) = fabric.other(&first);
    goes_by_the_other(&fabric, &first, name, other);
    let came = || transit.page().sum("mpreg_link_messages_in_total", &[]);
    let before = came();
    for number in 0..100 {
        publisher.publish("p.x", number.to_string().as_bytes());
        assert_eq!(subscriber.hear(), format!("MSG p.x 1 {}|{number}", number.to_string().len()));
    }
    assert_eq!(came(), before, "nothing goes through who is refused");
    no_way_and_back(&fabric, &mut publisher, &mut subscriber);
}

/// One of the two between is refused transit.
fn goes_by_the_other(fabric: &Diamond, first: &str, name: &str, other: &String) {
    fabric.says(&no_transit(&[name]));
    let reloaded = fabric.reloaded(&["--now"]);
    assert_eq!(reloaded.changed, ["routes.neighbours"]);
    assert!(reloaded.not_reloaded.is_empty());
    let way = reloaded.ways.iter().find(|way| way.cluster == "far").expect("it has changed");
    assert_eq!(way.next_hop.as_ref(), Some(other));
    assert_eq!(fabric.next().as_ref(), Some(other));
    let refused = fabric.way().candidates;
    let refused: Vec<_> =
        refused.iter().filter(|way| way.filtered.as_deref() == Some("policy")).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].exit.as_str(), &refused[0].path[0][..]), (first, name));
}

/// Both are, and then neither.
fn no_way_and_back(fabric: &Diamond, publisher: &mut NatsPeer, subscriber: &mut NatsPeer) {
    fabric.says(&no_transit(&["left", "right"]));
    fabric.reloaded(&["--now"]);
    assert_eq!(fabric.next(), None);
    until("shards know that there is no way", || {
        publisher.publish("p.x", b"lost");
        (subscriber.hear_within(Duration::from_millis(100)) == "nothing").then_some(())
    });
    (0..20).for_each(|_| publisher.publish("p.x", b"lost"));
    assert_eq!(subscriber.hear_within(Duration::from_millis(200)), "nothing");

    fabric.says("");
    let reloaded = fabric.reloaded(&[]);
    assert_eq!(reloaded.changed, ["routes.neighbours"]);
    assert_eq!(fabric.open_ways(), 2, "what was kept aside is back at once");
    heard(publisher, subscriber, "last");
}

#[test]
fn a_bad_file_is_refused_whole_and_a_signal_reloads_as_well() {
    let fabric = Diamond::start();
    let far_functions = |fabric: &Diamond| -> Vec<String> {
        let (_, body) = fabric.near.get("/catalog?kind=function");
        let page: CatalogPage = serde_json::from_str(&body).expect("a page of the catalog");
        page.entries.into_iter().map(|entry| entry.name).collect()
    };
    for name in ["sum", "secret"] {
        let offer = format!("/catalog?scope=fabric&kind=function&name={name}");
        assert_eq!(fabric.far.ask("PUT", &offer).0, 204);
    }
    until("both functions are seen", || (far_functions(&fabric).len() == 2).then_some(()));
    until("there is a way", || fabric.next().map(drop));

    fabric.says("[catalog]\nblocked = ['function secret']\n[routes]\nimport = { hops_max = 0 }\n");
    let (code, said) = fabric.reload(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(said, "routes.import.hops_max is 0, must be within 1..=65535\n");
    fabric.says("[routes]\nimports = {}\n");
    let (code, said) = fabric.reload(&[]);
    assert!(code == Some(1) && said.contains("mpreg.toml, line "), "{said}");
    assert_eq!(far_functions(&fabric).len(), 2);

    // Routes that are held stay; the catalog follows, and what cannot be followed is named.
    fabric.says(
        "[catalog]\nblocked = ['function secret']\n\
         [routes]\nimport = { destinations = [] }\n[log]\njson = true\n",
    );
    let reloaded = fabric.reloaded(&[]);
    assert_eq!(reloaded.changed, ["catalog.blocked", "routes.import"]);
    assert_eq!(reloaded.not_reloaded, ["log.json"]);
    assert_eq!(far_functions(&fabric), ["sum"]);
    assert!(fabric.next().is_some());

    fabric.says("");
    fabric.near.signal(Signal::HUP);
    until("all is seen again", || (far_functions(&fabric).len() == 2).then_some(()));
    assert_eq!(fabric.reloaded(&[]), Reloaded::default());
}

#[test]
fn links_between_clusters_count_if_their_clusters_sign_for_them() {
    let fabric = Diamond::start_with("[link_state]\nmode = 'only'\n", &["left"]);
    let mut subscriber = fabric.far.nats_on(0, USUAL);
    subscriber.subscribe(1, "p.*");
    let mut publisher = fabric.near.nats_on(0, USUAL);
    until("there is a computed way", || {
        let way = fabric.way();
        let chosen = way.candidates.iter().find(|way| way.verdict == "chosen")?;
        assert_eq!((chosen.source.as_str(), &chosen.exit), ("link_state", &fabric.right.0));
        Some(())
    });
    heard(&mut publisher, &mut subscriber, "computed");
    until("what is not signed is refused", || {
        let labels = ["reason=\"signature\""];
        let refused = fabric.near.page().sum("mpreg_link_states_rejected_total", &labels);
        (0 < refused).then_some(())
    });
    let (_, body) = fabric.near.get("/link-state");
    let rows: Vec<LinkStateRow> = serde_json::from_str(&body).expect("a list of who has links");
    let speaks = |node: &str| rows.iter().any(|row| row.node == node);
    assert!(speaks(&fabric.right.0) && !speaks(&fabric.left.0), "{body}");
}
