//! One catalog, told this and that.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use mpreg_proto::catalog::{Change, FeedId, Head, Need, News, Record, Scope, Want};
use mpreg_proto::id::{Incarnation, Version};
use mpreg_proto::topic::Pattern;
use proptest::prelude::*;

use super::*;
use mpreg_proto::limits::{CATALOG_BODY_BYTES_MAX, CATALOG_NAME_BYTES_MAX};

const MATE: Speaker = Speaker { node: NodeId(2), cluster: ClusterId(1) };
const STRANGER: Speaker = Speaker { node: NodeId(91), cluster: ClusterId(9) };

const LIFETIMES: Lifetimes =
    Lifetimes { lease: Duration::from_secs(30), keep: Duration::from_secs(120) };

const SMALL: Bounds = Bounds {
    feeds_max: 4,
    foreign_feeds_max: 2,
    feed_entries_max: 3,
    entries_max: 6,
    foreign_entries_max: 2,
};

fn catalog(bounds: Bounds) -> Catalog {
    let federation = Federation::strict(ClusterId(1));
    Catalog::new(NodeId(1), Incarnation(1), federation, bounds, LIFETIMES)
}

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

fn head(node: u128, cluster: u128, sequence: u64) -> Head {
    let scope = if cluster == 1 { Scope::Cluster } else { Scope::Fabric };
    Head {
        feed: FeedId { node: NodeId(node), scope },
        cluster: ClusterId(cluster),
        version: Version { incarnation: Incarnation(1), sequence },
        beat: 1,
        ttl_ms: 30_000,
    }
}

/// `a` sets an entry, `-a` clears it; sequences count on from `after`.
fn change(head: Head, after: u64, records: &[&str]) -> Change {
    let record = |(nth, text): (usize, &&str)| {
        let (name, body) = match text.strip_prefix('-') {
            Some(name) => (name, None),
            None => (*text, Some(Vec::new())),
        };
        let (sequence, name) = (after + 1 + nth as u64, name.as_bytes().to_vec());
        Record { sequence, kind: Kind(900), name, body }
    };
    let records: Vec<_> = records.iter().enumerate().map(record).collect();
    let upto = after + records.len() as u64;
    let news = News { head, told: vec![] };
    Change { news, after, upto, floor: 0, records }
}

fn names(catalog: &Catalog) -> String {
    let texts = catalog.entries().map(|entry| core::str::from_utf8(&entry.key.name).unwrap());
    texts.collect::<Vec<_>>().join(" ")
}

fn apply(catalog: &mut Catalog, change: &Change, from: Speaker) -> Learned {
    catalog.apply(change, from, at(0), &mut Vec::new())
}

/// Asked of node 2.
fn behind(sequence: u64, whole: Option<u64>) -> Learned {
    let version = Version { incarnation: Incarnation(1), sequence };
    Learned::Behind(Need { feed: head(2, 1, 0).feed, version, whole })
}

#[test]
fn records_are_taken_once_and_in_order() {
    let mut catalog = catalog(Bounds::NODE);
    let second = change(head(2, 1, 4), 2, &["-a", "c"]);
    assert_eq!(apply(&mut catalog, &second, MATE), behind(0, None));
    let first = change(head(2, 1, 4), 0, &["a", "b"]);
    assert_eq!(apply(&mut catalog, &first, MATE), Learned::Partly);
    assert_eq!(apply(&mut catalog, &first, MATE), Learned::Old);
    assert_eq!(apply(&mut catalog, &second, MATE), Learned::News { after: 0 });
    assert_eq!(names(&catalog), "b c");
    for old in [&first, &second] {
        assert_eq!(apply(&mut catalog, old, MATE), Learned::Old);
    }
    let third = change(head(2, 1, 6), 3, &["c", "-b", "d"]);
    assert_eq!(apply(&mut catalog, &third, MATE), Learned::News { after: 4 });
    assert_eq!(names(&catalog), "c d");
}

#[test]
fn who_cannot_be_told_what_was_cleared_is_sent_the_whole() {
    let mut catalog = catalog(Bounds::NODE);
    let floor = |floor, change: Change| Change { floor, ..change };
    apply(&mut catalog, &change(head(2, 1, 2), 0, &["a", "b"]), MATE);
    // `a` was cleared by the third record, which the sender has forgotten.
    let late = floor(3, change(head(2, 1, 9), 2, &["c"]));
    assert_eq!(apply(&mut catalog, &late, MATE), behind(0, None));
    let start = floor(3, Change { after: 0, ..change(head(2, 1, 9), 1, &["b"]) });
    assert_eq!(apply(&mut catalog, &start, MATE), Learned::Partly);
    assert_eq!(names(&catalog), "a b", "nothing goes before all is known");
    let beat = Head { beat: 2, ..head(2, 1, 9) };
    assert_eq!(catalog.learn(&beat, MATE, at(0), &mut Vec::new()), behind(2, Some(3)));
    // Another sender has forgotten more: what it sends does not continue this.
    let other = floor(4, change(head(2, 1, 9), 2, &["c"]));
    assert_eq!(apply(&mut catalog, &other, MATE), behind(0, None));
    let rest = floor(3, Change { upto: 9, ..change(head(2, 1, 9), 2, &["c", "d"]) });
    assert_eq!(apply(&mut catalog, &rest, MATE), Learned::News { after: 0 });
    assert_eq!(names(&catalog), "b c d");
}

#[test]
fn a_whole_is_continued_where_no_more_was_forgotten() {
    let mut catalog = catalog(Bounds::NODE);
    let mut out = Vec::new();
    let mut write = |catalog: &mut Catalog, name, body: Option<Bytes>| {
        catalog.write(Scope::Cluster, key(name), body, at(0), &mut out).unwrap();
    };
    write(&mut catalog, "a", Some(Bytes::new()));
    write(&mut catalog, "b", Some(Bytes::new()));
    write(&mut catalog, "a", None);
    catalog.purge(at(120));
    write(&mut catalog, "c", Some(Bytes::new()));
    let check = |incarnation: u64, sequence, whole, want| {
        let version = Version { incarnation: Incarnation(incarnation), sequence };
        let need = Need { feed: head(1, 1, 0).feed, version, whole };
        assert_eq!(catalog.since(&need, at(120)), want, "{need:?}");
    };
    check(1, 2, None, Some(Since::Known(2)));
    check(1, 2, Some(2), Some(Since::Known(2)));
    check(1, 2, Some(3), Some(Since::Whole(2)));
    check(0, 2, Some(3), Some(Since::Known(0)));
    check(1, 4, None, None);
    check(2, 0, None, None);
    let part = |since| {
        let change = catalog.change(head(1, 1, 0).feed, since, at(120)).unwrap();
        (change.after, change.records.len(), change.floor)
    };
    assert_eq!(part(Since::Known(2)), (0, 2, 3));
    assert_eq!(part(Since::Whole(2)), (2, 1, 3));
    assert_eq!(part(Since::Known(3)), (3, 1, 3));
}

#[test]
fn what_is_known_in_part_is_not_told() {
    let mut catalog = catalog(Bounds::NODE);
    apply(&mut catalog, &change(head(2, 1, 2), 0, &["a"]), MATE);
    let other = Speaker { node: NodeId(3), cluster: ClusterId(1) };
    assert_eq!(catalog.heads_for(other, at(0)).count(), 0);
    apply(&mut catalog, &change(head(2, 1, 2), 1, &["b"]), MATE);
    assert_eq!(catalog.heads_for(other, at(0)).count(), 1);
}

#[test]
fn a_lease_shrinks_on_its_way_and_is_never_longer_than_mine() {
    let mut catalog = catalog(Bounds::NODE);
    let long = Head { ttl_ms: u32::MAX, ..head(2, 1, 1) };
    apply(&mut catalog, &change(long, 0, &["a"]), MATE);
    assert_eq!(catalog.next_end(), Some(at(30)));
    let told = catalog.head(long.feed, at(12)).unwrap();
    assert_eq!(told.ttl_ms, 18_000);
    let mut out = Vec::new();
    assert_eq!(catalog.learn(&long, MATE, at(20), &mut out), Learned::Old);
    assert_eq!(catalog.next_end(), Some(at(30)), "the same beat extends nothing");
    assert_eq!(catalog.learn(&Head { beat: 2, ..long }, MATE, at(25), &mut out), Learned::Beat);
    assert_eq!(catalog.next_end(), Some(at(55)));
    let beat = Head { beat: 3, ttl_ms: 5_000, ..long };
    assert_eq!(catalog.learn(&beat, MATE, at(29), &mut out), Learned::Beat);
    assert_eq!(catalog.next_end(), Some(at(34)));
    assert!(catalog.expire(at(33), &mut out).is_empty() && out.is_empty());
    assert_eq!(catalog.expire(at(34), &mut out), [long.feed]);
    assert_eq!((out.len(), catalog.len()), (1, 0));
    // A lapsed feed comes back with a newer beat only.
    assert_eq!(catalog.learn(&beat, MATE, at(35), &mut out), Learned::Old);
    let newer = Head { beat: 4, ..beat };
    assert_eq!(catalog.learn(&newer, MATE, at(35), &mut out), behind(0, None));
    assert_eq!(catalog.feeds_count(), 1);
    catalog.expire(at(35 + 120), &mut out);
    assert_eq!(catalog.feeds_count(), 0);
}

#[test]
fn only_its_owner_and_membership_end_a_feed() {
    let mut catalog = catalog(Bounds::NODE);
    apply(&mut catalog, &change(head(3, 1, 1), 0, &["a"]), MATE);
    let over = head(3, 1, Head::OVER);
    let mut out = Vec::new();
    assert_eq!(catalog.learn(&over, MATE, at(1), &mut out), Learned::Old);
    assert_eq!(catalog.len(), 1);
    let owner = Speaker { node: NodeId(3), ..MATE };
    assert_eq!(catalog.learn(&over, owner, at(1), &mut out), Learned::Ended);
    assert_eq!(catalog.len(), 0);
    let again = change(head(3, 1, 1), 0, &["a"]);
    assert_eq!(apply(&mut catalog, &again, MATE), Learned::Refused(Refusal::Departed));
    let mut reborn = again;
    reborn.news.head.version.incarnation = Incarnation(2);
    assert_eq!(apply(&mut catalog, &reborn, MATE), Learned::News { after: 0 });
    assert_eq!(catalog.dead(NodeId(3), Incarnation(1), at(1), &mut out), []);
    assert_eq!(catalog.len(), 1, "it died in an earlier life");
    assert_eq!(catalog.dead(NodeId(3), Incarnation(4), at(1), &mut out).len(), 1);
    assert_eq!(catalog.len(), 0);
    reborn.news.head.version.incarnation = Incarnation(3);
    assert_eq!(apply(&mut catalog, &reborn, MATE), Learned::Old, "a later life is over");
}

#[test]
fn a_node_unheard_of_can_be_dead() {
    let mut catalog = catalog(Bounds::NODE);
    catalog.dead(NodeId(3), Incarnation(1), at(0), &mut Vec::new());
    let late = change(head(3, 1, 1), 0, &["a"]);
    assert_eq!(apply(&mut catalog, &late, MATE), Learned::Refused(Refusal::Departed));
}

#[test]
fn who_may_say_what_of_whom() {
    let check = |head: Head, from: Speaker, want: Result<(), Refusal>| {
        let mut catalog = catalog(Bounds::NODE);
        apply(&mut catalog, &change(self::head(2, 1, 1), 0, &["known"]), MATE);
        let got = apply(&mut catalog, &change(head, 0, &["a"]), from);
        let want = want.map_or_else(Learned::Refused, |()| Learned::News { after: 0 });
        assert_eq!(got, want, "{head:?} from {from:?}");
    };
    check(head(3, 1, 1), MATE, Ok(()));
    check(head(92, 9, 1), STRANGER, Ok(()));
    check(head(92, 9, 1), MATE, Ok(()));
    check(head(3, 1, 1), STRANGER, Err(Refusal::NotExported));
    check(head(92, 8, 1), STRANGER, Err(Refusal::NotExported));
    let hidden = FeedId { node: NodeId(92), scope: Scope::Cluster };
    check(Head { feed: hidden, ..head(92, 9, 1) }, STRANGER, Err(Refusal::NotExported));
    check(Head { feed: hidden, ..head(92, 9, 1) }, MATE, Err(Refusal::NotExported));
    check(head(2, 9, 1), STRANGER, Err(Refusal::OtherCluster));
    check(head(4, 9, 1), Speaker { node: NodeId(4), ..MATE }, Err(Refusal::OtherCluster));
    check(head(2, 9, 1), MATE, Err(Refusal::OtherCluster));
}

#[test]
fn a_death_that_some_believe_is_outlived_everywhere_by_the_same_sign_of_life() {
    let mut out = Vec::new();
    let alive = |beat| Head { beat, ..head(92, 9, 1) };
    let over = |beat| Head { beat, ..head(92, 9, Head::OVER) };
    let mut late = catalog(Bounds::NODE);
    apply(&mut late, &change(alive(5), 0, &["a"]), STRANGER);
    assert_eq!(late.learn(&over(4), STRANGER, at(0), &mut out), Learned::Ended);
    // What it passes on is as old as what it was told.
    let told = late.head(alive(5).feed, at(0)).unwrap();
    assert!(told.is_over() && told.beat == 4, "{told:?}");
    let mut early = catalog(Bounds::NODE);
    early.learn(&over(4), STRANGER, at(0), &mut out);
    for catalog in [&mut late, &mut early] {
        let departed = Learned::Refused(Refusal::Departed);
        assert_eq!(catalog.learn(&alive(5), STRANGER, at(0), &mut out), departed);
        let back = apply(catalog, &change(alive(6), 0, &["a"]), STRANGER);
        assert_eq!(back, Learned::News { after: 0 });
        assert_eq!(catalog.learn(&told, STRANGER, at(0), &mut out), Learned::Old);
    }
}

#[test]
fn of_myself_i_take_nothing() {
    let mut catalog = catalog(Bounds::NODE);
    let mut out = Vec::new();
    catalog.write(Scope::Cluster, key("mine"), Some(Bytes::new()), at(0), &mut out).unwrap();
    let mine = head(1, 1, 1);
    assert_eq!(catalog.head(mine.feed, at(1_000)).unwrap().ttl_ms, 30_000);
    assert_eq!(apply(&mut catalog, &change(mine, 0, &["a"]), MATE), Learned::Old);
    let more = change(head(1, 1, 2), 0, &["a", "b"]);
    assert_eq!(apply(&mut catalog, &more, MATE), Learned::Outlived(Incarnation(1)));
    let over = head(1, 1, Head::OVER);
    assert_eq!(catalog.learn(&over, MATE, at(0), &mut out), Learned::Outlived(Incarnation(1)));
    assert_eq!(names(&catalog), "mine");
    assert_eq!(catalog.renew(Incarnation(1)), [], "not greater");
    assert_eq!(catalog.renew(Incarnation(2)).len(), 1);
    assert_eq!(catalog.learn(&over, MATE, at(0), &mut out), Learned::Old);
}

fn key(name: &str) -> Key {
    Key::new(Kind(900), name.as_bytes())
}

#[test]
fn entries_are_bounded_by_feed_and_in_all() {
    let mut catalog = catalog(SMALL);
    let wide = change(head(2, 1, 4), 0, &["a", "b", "c", "d"]);
    assert_eq!(apply(&mut catalog, &wide, MATE), Learned::Refused(Refusal::Entries));
    assert_eq!(catalog.len(), 0);
    let fits = change(head(2, 1, 3), 0, &["a", "b", "c"]);
    assert_eq!(apply(&mut catalog, &fits, MATE), Learned::News { after: 0 });
    let same = change(head(2, 1, 6), 3, &["a", "-b", "c"]);
    assert_eq!(apply(&mut catalog, &same, MATE), Learned::News { after: 3 });
    let foreign = change(head(92, 9, 3), 0, &["a", "b", "c"]);
    assert_eq!(apply(&mut catalog, &foreign, STRANGER), Learned::Refused(Refusal::Entries));
    let mut out = Vec::new();
    let mut write = |name| {
        let body = Some(Bytes::new());
        catalog.write(Scope::Cluster, key(name), body, at(0), &mut out).map(|_| ())
    };
    assert_eq!(["a", "b", "c"].map(&mut write), [Ok(()); 3]);
    assert_eq!(write("d"), Err(Refusal::Entries));
    assert_eq!(catalog.len(), 5);
    catalog.write(Scope::Cluster, key("a"), None, at(0), &mut out).unwrap();
    assert_eq!(
        catalog.write(Scope::Cluster, key("d"), Some(Bytes::new()), at(0), &mut out),
        Ok(Some(4))
    );
}

#[test]
fn feeds_are_bounded_and_strangers_never_crowd_out_mates() {
    let mut catalog = catalog(SMALL);
    let foreign = |node| change(head(node, 9, 0), 0, &[]);
    let mut got = Vec::new();
    for node in 92..95 {
        got.push(apply(&mut catalog, &foreign(node), STRANGER));
    }
    let news = Learned::News { after: 0 };
    assert_eq!(got, [news, news, Learned::Refused(Refusal::Feeds)]);
    let got = [2, 3, 4].map(|node| apply(&mut catalog, &change(head(node, 1, 0), 0, &[]), MATE));
    assert_eq!(got, [news, news, Learned::Refused(Refusal::Feeds)]);
}

#[test]
fn what_others_would_refuse_is_not_offered() {
    let mut catalog = catalog(Bounds::NODE);
    let long = Key::new(Kind(1), &[0; CATALOG_NAME_BYTES_MAX + 1]);
    let mut out = Vec::new();
    let mut write = |key, bytes: usize| {
        let body = Some(vec![0; bytes].into());
        catalog.write(Scope::Fabric, key, body, at(0), &mut out).err()
    };
    assert_eq!(write(long, 0), Some(Refusal::TooLong));
    assert_eq!(write(key("a"), CATALOG_BODY_BYTES_MAX + 1), Some(Refusal::TooLong));
    assert_eq!(write(key("a"), CATALOG_BODY_BYTES_MAX), None);
}

#[test]
fn a_want_is_blocked_by_its_pattern_for_all_groups() {
    let want = |pattern: &[u8], group: &[u8]| {
        let mut name = Vec::new();
        Want { pattern: Pattern::parse(pattern).unwrap(), group }.put(&mut name);
        Key::new(Kind::CLUSTER_INTEREST, &name)
    };
    let blocked = [Key::new(Kind::CLUSTER_INTEREST, b"a.>"), key("secret")].into();
    let filter = Filter { blocked, ..Filter::default() };
    let (own, other) = (ClusterId(1), ClusterId(2));
    for (key, is_shown) in [
        (want(b"a.>", b""), false),
        (want(b"a.>", b"workers"), false),
        (want(b"a.b", b""), true),
        (key("secret"), false),
        (key("open"), true),
    ] {
        assert_eq!(filter.shows(own, other, &key), is_shown, "{key:?}");
        assert!(filter.shows(own, own, &key));
    }
}

#[test]
fn of_other_clusters_only_listed_functions_are_seen() {
    let functions = Some([Bytes::from_static(b"sum")].into());
    let filter = Filter { functions, ..Filter::default() };
    let (own, other) = (ClusterId(1), ClusterId(2));
    for (kind, name, is_shown) in
        [(Kind::FUNCTION, "sum", true), (Kind::FUNCTION, "add", false), (Kind::QUEUE, "add", true)]
    {
        let key = Key::new(kind, name.as_bytes());
        assert_eq!(filter.shows(own, other, &key), is_shown, "{key:?}");
        assert!(filter.shows(own, own, &key));
    }
}

#[test]
fn crossing_is_as_the_policy_says() {
    let listed = [2, 3].map(ClusterId).into();
    let federation =
        |mode| Federation { own: ClusterId(1), mode, clusters: BTreeSet::clone(&listed) };
    let table = |mode| {
        let federation = federation(mode);
        let one = |(owner, from, to): (u128, u128, u128)| {
            let crosses = |scope| {
                let (owner, from, to) = (ClusterId(owner), ClusterId(from), ClusterId(to));
                may_cross(owner, scope, from, to, &federation)
            };
            assert!(!crosses(Scope::Cluster) || from == to && owner == to);
            crosses(Scope::Fabric)
        };
        // Mine out; theirs in; theirs of a third; a third's out again; mine in; of one not listed from
        // one that is; from one not listed; among mine.
        [(1, 1, 2), (2, 2, 1), (3, 2, 1), (3, 1, 2), (1, 2, 1), (9, 2, 1), (9, 9, 1), (3, 1, 1)]
            .map(one)
    };
    assert_eq!(table(Mode::Strict), [true, true, false, false, false, false, true, true]);
    assert_eq!(table(Mode::Bridging), [true, true, true, true, false, true, false, true]);
    assert_eq!(table(Mode::Permissive), [true, true, true, true, false, true, true, true]);
}

proptest! {
    /// However a feed is cut into changes, and however often and in whatever order these come, what
    /// is known is what its owner had at the sequence it is known to; and the owner's own view is
    /// what a map would hold.
    #[test]
    fn parts_of_a_feed_in_any_order_give_the_feed(
        writes in prop::collection::vec((0..6u8, any::<bool>()), 1..60),
        parts in prop::collection::vec((0..60u64, 0..60u64), 1..80),
    ) {
        let mut owner = catalog(Bounds::NODE);
        let mut model = BTreeMap::new();
        let mut out = Vec::new();
        let mut states = vec![model.clone()];
        for (name, is_set) in writes {
            let key = Key::new(Kind(900), &[name]);
            let body = is_set.then(|| Bytes::copy_from_slice(&[name, states.len() as u8]));
            if owner.write(Scope::Cluster, key.clone(), body.clone(), at(0), &mut out).unwrap().is_some() {
                match body {
                    Some(body) => model.insert(key, body),
                    None => model.remove(&key),
                };
                states.push(model.clone());
            }
        }
        let id = FeedId { node: NodeId(1), scope: Scope::Cluster };
        let mut reader = Catalog::new(
            NodeId(2), Incarnation(1), Federation::strict(ClusterId(1)), Bounds::NODE, LIFETIMES,
        );
        let from = Speaker { node: NodeId(1), cluster: ClusterId(1) };
        for (after, upto) in parts {
            let Some(mut part) = owner.change(id, Since::Known(after), at(0)) else { break };
            // Cut off at `upto`: what a smaller frame would have held.
            part.upto = part.upto.min(upto.max(part.after));
            part.records.retain(|record| record.sequence <= part.upto);
            reader.apply(&part, from, at(0), &mut out);
            let known = reader.need(id).map_or(0, |need| need.version.sequence);
            if reader.head(id, at(0)).is_some() && known as usize == states.len() - 1 {
                let held: BTreeMap<Key, Bytes> = reader
                    .entries()
                    .map(|entry| (entry.key.clone(), entry.body.clone()))
                    .collect();
                prop_assert_eq!(&held, states.last().unwrap());
            }
        }
        if let Some(last) = owner.change(id, Since::Known(0), at(0)) {
            reader.apply(&last, from, at(0), &mut out);
            let held: BTreeMap<Key, Bytes> =
                reader.entries().map(|entry| (entry.key.clone(), entry.body.clone())).collect();
            prop_assert_eq!(&held, states.last().unwrap());
        }
    }
}
