//! Wants of many nodes, and views of them beside brute force.

extern crate std;

use std::format;
use std::string::String;
use std::vec;

use mpreg_proto::topic::Topic;
use proptest::prelude::*;

use super::*;
use crate::limits::{VIEW_CHANGES_MAX, VIEW_TOPICS_MAX};

const ME: NodeId = NodeId(1);
const OWN: ClusterId = ClusterId(1);

fn name(pattern: &str, group: &str) -> Bytes {
    let mut name = Vec::new();
    let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
    catalog::Want { pattern, group: group.as_bytes() }.put(&mut name);
    name.into()
}

struct Bench {
    wants: Wants,
    now: Instant,
    view: Arc<InterestView>,
    answer: Wanted,
}

impl Bench {
    fn new() -> Self {
        let wants = Wants::new(ME, OWN, 7);
        let view = wants.view();
        Self { wants, now: Instant::START, view, answer: Wanted::default() }
    }

    /// Takes the view over, as a shard does.
    fn input(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.wants.handle(input, self.now, &mut out);
        self.now = self.now + VIEW_PACE;
        self.wants.handle(Input::DeadlineReached, self.now, &mut out);
        let mut texts = Vec::new();
        for effect in out {
            texts.extend(match effect {
                Effect::Offer { scope, kind, name, body } => {
                    let members = catalog::members_of(&body).get();
                    let many = if 1 < members { format!(" x{members}") } else { String::new() };
                    Some(text("offer", scope, kind, &name) + &many)
                }
                Effect::Retract { scope, kind, name } => Some(text("retract", scope, kind, &name)),
                Effect::Unreadable { owner } => Some(format!("unreadable {}", owner.0)),
                Effect::View { view, .. } => {
                    self.view = view;
                    None
                }
            });
        }
        texts
    }

    fn local(&mut self, shard: usize, pattern: &str, group: &str, members: u32) -> Vec<String> {
        let shard = ShardIx::new(shard).unwrap();
        self.input(Input::Local { shard, name: name(pattern, group), members })
    }

    /// Mates are nodes below 100; a gateway of cluster 2 is 201, and so on.
    fn changed(&mut self, owner: u128, pattern: &str, group: &str, is_set: bool) -> Vec<String> {
        let (cluster, kind) = match owner / 100 {
            0 => (OWN, Kind::SUBSCRIPTION),
            cluster => (ClusterId(cluster), Kind::CLUSTER_INTEREST),
        };
        let (owner, name) = (NodeId(owner), name(pattern, group));
        let members = is_set.then_some(NonZeroU32::MIN);
        self.input(Input::Changed { owner, cluster, kind, name, members })
    }

    fn wanted(&mut self, topic: &str) -> String {
        self.view.wanted(Topic::parse(topic.as_bytes()).unwrap(), &mut self.answer);
        let Wanted { nodes, clusters, groups, .. } = &self.answer;
        let wanter = |wanter: &Wanter| match wanter {
            Wanter::Node(node) => format!("n{}", node.0),
            Wanter::Cluster(cluster) => format!("c{}", cluster.0),
        };
        let group = |want: &GroupWanted| {
            format!("{}@{}", core::str::from_utf8(&want.group).unwrap(), wanter(&want.wanter))
        };
        let nodes = nodes.iter().map(|node| wanter(&Wanter::Node(*node)));
        let clusters = clusters.iter().map(|cluster| wanter(&Wanter::Cluster(*cluster)));
        nodes.chain(clusters).chain(groups.iter().map(group)).collect::<Vec<_>>().join(" ")
    }
}

fn text(what: &str, scope: Scope, kind: Kind, name: &[u8]) -> String {
    let want = catalog::Want::parse(name).unwrap();
    let group = core::str::from_utf8(want.group).unwrap();
    format!("{what} {scope:?} {} {}/{group}", kind.word(), want.pattern)
}

#[test]
fn all_subscribers_of_a_pattern_and_group_are_one_entry() {
    let mut bench = Bench::new();
    assert_eq!(bench.local(0, "a.*", "", 1), ["offer Cluster subscription a.*/"]);
    assert_eq!(bench.local(0, "a.*", "", 100), [""; 0]);
    assert_eq!(bench.local(1, "a.*", "", 1), [""; 0]);
    assert_eq!(bench.local(1, "a.*", "g", 1), ["offer Cluster subscription a.*/g"]);
    assert_eq!(bench.local(0, "a.*", "", 0), [""; 0]);
    assert_eq!(bench.local(0, "a.*", "", 0), [""; 0]);
    assert_eq!(bench.local(1, "a.*", "", 0), ["retract Cluster subscription a.*/"]);
    assert_eq!(bench.local(1, "a.*", "", 0), [""; 0]);
    assert_eq!(bench.local(1, "a.*", "g", 0), ["retract Cluster subscription a.*/g"]);
    assert_eq!(bench.local(1, "a.*", "g", 0), [""; 0]);
    assert!(bench.wants.local.is_empty());
}

#[test]
fn of_what_each_node_says_for_itself_no_other_hears_that_it_is_wanted() {
    let mut bench = Bench::new();
    for (pattern, group) in [("mpreg.#", ""), ("mpreg", ""), ("mpreg.a.*", "g")] {
        assert_eq!(bench.local(0, pattern, group, 1), [""; 0]);
        assert_eq!(bench.local(0, pattern, group, 0), [""; 0]);
    }
    assert_eq!(bench.local(0, "mpregs", "", 1), ["offer Cluster subscription mpregs/"]);
}

#[test]
fn members_of_a_group_are_told_by_powers_of_two() {
    let mut bench = Bench::new();
    assert_eq!(bench.local(0, "a", "g", 1), ["offer Cluster subscription a/g"]);
    assert_eq!(bench.local(1, "a", "g", 1), ["offer Cluster subscription a/g x2"]);
    assert_eq!(bench.local(0, "a", "g", 2), [""; 0]);
    assert_eq!(bench.local(0, "a", "g", 99), ["offer Cluster subscription a/g x64"]);
    assert_eq!(bench.local(0, "a", "g", 0), ["offer Cluster subscription a/g"]);
    assert_eq!(bench.local(0, "a", "g", u32::MAX), ["offer Cluster subscription a/g x2147483648"]);

    let mut members = |pattern: &str, count: Option<u32>| {
        let (kind, name) = (Kind::SUBSCRIPTION, name(pattern, "g"));
        let members = count.and_then(NonZeroU32::new);
        bench.input(Input::Changed { owner: NodeId(2), cluster: OWN, kind, name, members });
        bench.view.wanted(Topic::parse(b"a").unwrap(), &mut bench.answer);
        bench.answer.groups.iter().map(|group| group.members.get()).collect::<Vec<_>>()
    };
    assert_eq!(members("a", Some(4)), [4]);
    assert_eq!(members("*", Some(4)), [4]);
    assert_eq!(members("a", Some(8)), [4, 8]);
    assert_eq!(members("*", None), [8]);
    assert_eq!(members("a", Some(1)), [1]);
    assert_eq!(members("a", None), [0; 0]);
    assert_eq!(bench.view.wanters_count(), 0);
}

#[test]
fn a_view_names_other_nodes_and_other_clusters_once() {
    let mut bench = Bench::new();
    for (owner, pattern, group) in [
        (1, "a.>", ""),
        (3, "a.b", ""),
        (2, "a.*", ""),
        (2, "a.b", ""),
        (2, "a.b", "g"),
        (301, "#", ""),
        (201, "a.b", ""),
        (202, "a.b", ""),
        (201, "a.b", "g"),
    ] {
        bench.changed(owner, pattern, group, true);
    }
    assert_eq!(bench.wanted("a.b"), "n2 n3 c2 c3 g@n2 g@c2");
    assert_eq!(bench.wanted("a.c"), "n2 c3");
    assert_eq!(bench.wanted("b"), "c3");
    bench.changed(201, "a.b", "", false);
    assert_eq!(bench.wanted("a.b"), "n2 n3 c2 c3 g@n2 g@c2", "its other gateway wants it");
    bench.changed(202, "a.b", "", false);
    bench.changed(2, "a.b", "", false);
    assert_eq!(bench.wanted("a.b"), "n2 n3 c3 g@n2 g@c2");
    assert_eq!(bench.view.wanters_count(), 5);
    bench.changed(3, "a.b", "", false);
    bench.changed(2, "a.*", "", false);
    assert_eq!(bench.wanted("a.b"), "c3 g@n2 g@c2");
    assert_eq!(bench.view.wanters_count(), 3);
}

#[test]
fn an_entry_that_comes_twice_goes_once() {
    let mut bench = Bench::new();
    for is_set in [true, true, false, false, true] {
        bench.changed(2, "a", "", is_set);
        bench.changed(201, "a", "", is_set);
    }
    assert_eq!(bench.wanted("a"), "n2 c2");
    assert_eq!(bench.view.len(), 2);
}

#[test]
fn a_gateway_speaks_for_its_cluster() {
    let mut bench = Bench::new();
    bench.changed(2, "a", "", true);
    bench.changed(201, "far", "", true);
    let spoken = bench.input(Input::Gateway(true));
    assert_eq!(spoken, ["offer Fabric cluster_interest a/"]);
    assert_eq!(bench.input(Input::Gateway(true)), [""; 0]);
    assert_eq!(bench.changed(1, "a", "", true), [""; 0]);
    assert_eq!(bench.changed(3, "b.*", "g", true), ["offer Fabric cluster_interest b.*/g"]);
    assert_eq!(bench.changed(2, "a", "", false), [""; 0]);
    assert_eq!(bench.changed(1, "a", "", false), ["retract Fabric cluster_interest a/"]);
    assert_eq!(bench.input(Input::Gateway(false)), ["retract Fabric cluster_interest b.*/g"]);
    assert_eq!(bench.changed(3, "c", "", true), [""; 0]);
}

#[test]
fn what_is_none_of_its_business_is_ignored() {
    let mut bench = Bench::new();
    let mut changed = |owner: u128, cluster, kind, name: &'static [u8]| {
        let (owner, name) = (NodeId(owner), Bytes::from_static(name));
        bench.input(Input::Changed { owner, cluster, kind, name, members: Some(NonZeroU32::MIN) })
    };
    assert_eq!(changed(2, OWN, Kind::NODE, b"\x01a"), [""; 0]);
    assert_eq!(changed(2, OWN, Kind::CLUSTER_INTEREST, b"\x01a"), [""; 0]);
    assert_eq!(changed(201, ClusterId(2), Kind::SUBSCRIPTION, b"\x01a"), [""; 0]);
    assert_eq!(changed(2, OWN, Kind::SUBSCRIPTION, b"\x02a"), ["unreadable 2"]);
    assert!(bench.wants.wanters.is_empty() && bench.view.is_empty());
}

#[test]
fn views_come_in_bunches_and_say_which_topics_to_ask_for_again() {
    let mut wants = Wants::new(ME, OWN, 7);
    let mut views = |inputs: &[(u128, &str)], millis: u64| {
        let mut views = Vec::new();
        let mut take = |input, now| {
            let mut out = Vec::new();
            wants.handle(input, now, &mut out);
            for effect in out {
                if let Effect::View { view, stale } = effect {
                    views.push((view.len(), stale));
                }
            }
            wants.deadline()
        };
        let mut deadline = None;
        for &(owner, pattern) in inputs {
            let (owner, name) = (NodeId(owner), name(pattern, ""));
            let (cluster, kind) = (OWN, Kind::SUBSCRIPTION);
            let input =
                Input::Changed { owner, cluster, kind, name, members: Some(NonZeroU32::MIN) };
            deadline = take(input, Instant::from_nanos(millis * 1_000_000));
        }
        if let Some(at) = deadline {
            assert_eq!(take(Input::DeadlineReached, at), None);
        }
        views
    };
    let topics = |names: &[&str]| {
        Stale::Topics(names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect())
    };
    let first = views(&[(2, "a"), (2, "b"), (2, "c")], 100);
    assert_eq!(first, [(1, topics(&["a"])), (3, topics(&["b", "c"]))]);
    assert_eq!(views(&[(3, "a.*")], 200), [(4, Stale::All)]);
    let many: Vec<String> = (0..=VIEW_TOPICS_MAX + 1).map(|nth| format!("t{nth}")).collect();
    let many: Vec<(u128, &str)> = many.iter().map(|text| (4, &text[..])).collect();
    assert_eq!(views(&many, 300)[1].1, Stale::All);
}

#[test]
fn a_view_somebody_holds_is_not_changed() {
    let mut bench = Bench::new();
    bench.changed(2, "a", "", true);
    let held = Arc::clone(&bench.view);
    for nth in 0..10 {
        bench.changed(3, &format!("b{nth}"), "", true);
    }
    assert_eq!(held.len(), 1);
    assert_eq!(bench.view.len(), 2, "one copy could be brought up to date, the next is held");
    assert!(bench.wants.deadline().is_some());
    drop(held);
    bench.input(Input::DeadlineReached);
    assert_eq!(bench.view.len(), 11);
    assert_eq!(bench.wants.deadline(), None);
}

#[test]
fn a_view_that_is_held_for_ever_is_given_up() {
    let mut bench = Bench::new();
    bench.changed(2, "a", "", true);
    let held = Arc::clone(&bench.view);
    bench.changed(201, "kept", "g", true);
    bench.changed(1, "mine", "", true);
    for nth in 0..VIEW_CHANGES_MAX / 2 {
        bench.changed(3, &format!("b{nth}"), "", true);
        bench.changed(3, &format!("b{nth}"), "", false);
    }
    bench.changed(3, "last", "", true);
    assert_eq!((held.len(), bench.view.len()), (1, 3));
    assert_eq!(bench.wanted("kept"), "g@c2");
    assert_eq!(bench.wanted("mine"), "");
    assert!(bench.wants.views.edits.len() < 10, "none are kept for it");
}

proptest! {
    /// Both copies of the view, in turn, answer like brute force over what is wanted.
    #[test]
    fn a_view_answers_like_brute_force(
        changes in prop::collection::vec((0..6usize, 0..7usize, 0..2usize, any::<bool>()), 1..80)
    ) {
        let owners = [1, 2, 3, 201, 202, 301];
        let patterns = ["a", "a.b", "a.*", "*.b", "#", "a.>", "b"];
        let mut bench = Bench::new();
        let mut model = std::collections::BTreeSet::new();
        for (owner, pattern, group, is_set) in changes {
            let (owner, pattern, group) = (owners[owner], patterns[pattern], ["", "g"][group]);
            bench.changed(owner, pattern, group, is_set);
            match is_set {
                true => model.insert((owner, pattern, group)),
                false => model.remove(&(owner, pattern, group)),
            };
            for topic in ["a", "a.b", "b", "c.b"] {
                let parsed = Topic::parse(topic.as_bytes()).unwrap();
                let mut want = vec![];
                for (owner, pattern, group) in &model {
                    let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
                    if *owner != 1 && pattern.matches(parsed) {
                        let wanter = match owner / 100 {
                            0 => (0, format!("n{owner}")),
                            cluster => (1, format!("c{cluster}")),
                        };
                        want.push((*group, wanter));
                    }
                }
                want.sort();
                want.dedup();
                let want = want.iter().map(|(group, (_, wanter))| match *group {
                    "" => wanter.clone(),
                    group => format!("{group}@{wanter}"),
                });
                prop_assert_eq!(bench.wanted(topic), want.collect::<Vec<_>>().join(" "));
            }
        }
    }
}
