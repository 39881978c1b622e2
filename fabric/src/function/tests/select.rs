//! Rules of the choice one by one, then versions and resources against an oracle that goes through
//! tables.

use proptest::prelude::*;

use super::*;

fn chosen_version(functions: &Functions, constraint: &str, with: &str) -> alloc::string::String {
    alloc::format!("{}", choose(functions, constraint, with, 1).unwrap().version)
}

fn chosen_place(functions: &Functions, request: u128) -> Place {
    choose(functions, "*", "", request).unwrap().place
}

const FAR: ClusterId = ClusterId(2);

#[test]
fn the_highest_version_by_precedence_is_chosen() {
    let mut functions = functions();
    handle(&mut functions, entry(60, OWN, &["1.9.0 1 ", "1.10.0 1 ", "2.0.0-rc.1 1 "]));
    assert_eq!(chosen_version(&functions, "*", ""), "1.10.0");
    assert_eq!(chosen_version(&functions, "<1.10", ""), "1.9.0");
    assert_eq!(chosen_version(&functions, ">=2.0.0-alpha", ""), "2.0.0-rc.1");
}

#[test]
fn near_comes_before_new() {
    let mut functions = functions();
    handle(&mut functions, entry(90, ClusterId(3), &["4.0.0 1 "]));
    handle(&mut functions, entry(80, FAR, &["3.0.0 1 "]));
    assert_eq!(chosen_version(&functions, "*", ""), "3.0.0");
    handle(&mut functions, entry(60, OWN, &["2.0.0 1 "]));
    assert_eq!(chosen_version(&functions, "*", ""), "2.0.0");
    register(&mut functions, worker(1, 1), "sum 1.0.0");
    assert_eq!(chosen_version(&functions, "*", ""), "1.0.0");
    assert_eq!(chosen_version(&functions, ">1", ""), "2.0.0");
    // Who is full is passed over, and asked again when it is not.
    load(&mut functions, 4, 2);
    assert_eq!(chosen_version(&functions, "*", ""), "2.0.0");
    load(&mut functions, 4, 1);
    assert_eq!(chosen_version(&functions, "*", ""), "1.0.0");
}

#[test]
fn of_one_version_the_least_loaded_is_chosen() {
    let mut functions = functions();
    handle(&mut functions, entry(60, OWN, &["1.0.0 10 "]));
    handle(&mut functions, entry(70, OWN, &["1.0.0 3 "]));
    for (calls, want) in [([3, 1], 60), ([4, 1], 70), ([10, 2], 70), ([9, 3], 60)] {
        load(&mut functions, 1, calls[0]);
        load(&mut functions, 2, calls[1]);
        for request in 0..20 {
            assert_eq!(chosen_place(&functions, request), Place::Mate(NodeId(want)), "{calls:?}");
        }
    }
}

#[test]
fn calls_spread_over_equals_and_keep_to_them() {
    let mut functions = functions();
    for node in [60, 70, 80] {
        handle(&mut functions, entry(node, OWN, &["1.0.0 10 "]));
    }
    let of = |functions: &Functions| -> Vec<_> {
        (0..30_000).map(|request| chosen_place(functions, request)).collect()
    };
    let all = of(&functions);
    for node in [60, 70, 80] {
        let count = all.iter().filter(|place| **place == Place::Mate(NodeId(node))).count();
        assert!(count.abs_diff(10_000) < 300, "{node} has {count}");
    }
    assert_eq!(of(&functions), all);
    handle(&mut functions, entry(70, OWN, &[]));
    for (before, after) in all.iter().zip(of(&functions)) {
        assert!(*before == after || *before == Place::Mate(NodeId(70)));
    }
}

#[test]
fn workers_of_one_connection_spread_too() {
    let mut functions = functions();
    register(&mut functions, worker(4, 1), "sum 1.0.0");
    register(&mut functions, worker(5, 0), "sum 1.0.0");
    let first = |request| chosen_place(&functions, request) == Place::Here(worker(4, 1));
    let count = (0..10_000).filter(|&request| first(request)).count();
    assert!(count.abs_diff(5_000) < 200, "{count}");
}

#[test]
fn the_failure_is_the_most_that_is_true() {
    let mut functions = functions();
    let why = |functions: &Functions, constraint: &str, with: &str| {
        choose(functions, constraint, with, 1).unwrap_err().why
    };
    assert_eq!(why(&functions, "*", ""), Why::NotFound);
    register(&mut functions, worker(1, 1), "sum 1.9.0 cpu");
    register(&mut functions, worker(1, 2), "sum 1.10.0 gpu");
    register(&mut functions, worker(1, 3), "sum 2.0.0 cpu");
    assert_eq!(why(&functions, "3.*", "tpu"), Why::NoVersion { highest: version("2.0.0") });
    assert_eq!(why(&functions, "^1", "tpu"), Why::NoResource { highest: version("1.10.0") });
    assert_eq!(why(&functions, "^1", "gpu cpu"), Why::NoResource { highest: version("1.10.0") });
    handle(&mut functions, Input::Health { worker: worker(1, 2), health: Health::Ill });
    assert_eq!(why(&functions, "^1", "gpu"), Why::Unreachable { at: Target::Here });
    handle(&mut functions, entry(60, OWN, &["1.10.0 1 gpu"]));
    load(&mut functions, 4, 1);
    assert_eq!(why(&functions, "^1", "gpu"), Why::Overloaded { at: Target::Node(NodeId(60)) });
    let failed = choose(&functions, "^1", "gpu", 1).unwrap_err();
    assert_eq!((failed.why.word(), failed.name), ("overloaded", name("sum")));
}

/// In the cluster that was asked for, and there alone.
#[test]
fn an_asked_cluster_is_the_only_one() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.0.0");
    handle(&mut functions, entry(60, OWN, &["1.1.0 1 "]));
    handle(&mut functions, entry(80, FAR, &["1.2.0 1 "]));
    let (sum, any, none) = (name("sum"), Constraint::ANY, Resources::default());
    let ask = |cluster, distance| {
        let cluster = Some(ClusterId(cluster));
        let call = Call { cluster, ..call(&sum, &any, &none, 1) };
        functions.select(&call, |_| distance)
    };
    let far = Place::Remote { cluster: FAR, node: NodeId(80) };
    assert_eq!(ask(2, Some(3)).map(|chosen| chosen.place), Ok(far));
    assert_eq!(ask(1, None).map(|chosen| chosen.place), Ok(Place::Here(worker(1, 1))));
    let unreachable = |cluster| Why::Unreachable { at: Target::Cluster(ClusterId(cluster)) };
    assert_eq!(ask(2, None).unwrap_err().why, unreachable(2));
    assert_eq!(ask(9, None).unwrap_err().why, unreachable(9), "what it offers is not known");
    assert_eq!(ask(9, Some(1)).unwrap_err().why, Why::NotFound);
}

/// In order; the words of constraints below say which of them are allowed.
const VERSIONS: [&str; 6] = ["1.2.0", "1.9.0", "1.10.0-rc.1", "1.10.0", "2.0.0-rc.1", "2.0.0"];

const CONSTRAINTS: [(&str, &[usize]); 8] = [
    ("*", &[0, 1, 3, 5]),
    ("^1.2", &[0, 1, 3]),
    ("1.9.0", &[1]),
    (">=1.9,<2", &[1, 3]),
    ("~1.10.0-rc.1", &[2, 3]),
    (">=2.0.0-rc.1", &[4, 5]),
    ("1.2.*", &[0]),
    ("3.*", &[]),
];

const RESOURCES: [&str; 3] = ["cpu", "gpu", "ssd"];

fn set_of(mask: usize) -> Resources {
    let has = |&(nth, _): &(usize, &&str)| mask >> nth & 1 == 1;
    Resources::new(RESOURCES.iter().enumerate().filter(has).map(|(_, name)| *name)).unwrap()
}

/// Where, by number: two connections, two mates, two nodes of cluster 2, one of cluster 3.
#[derive(Clone, Debug)]
struct Row {
    at: usize,
    version: usize,
    mask: usize,
    limit: u32,
    in_flight: u32,
    is_open: bool,
}

const CLUSTER_OF: [u128; 7] = [1, 1, 1, 1, 2, 2, 3];

fn row() -> impl Strategy<Value = Row> {
    (0..7_usize, 0..VERSIONS.len(), 0..8_usize, 1..5_u32, 0..6_u32, prop::bool::weighted(0.8))
        .prop_map(|(at, version, mask, limit, in_flight, is_open)| Row {
            at,
            version,
            mask,
            limit,
            in_flight: in_flight.saturating_sub(1),
            is_open,
        })
}

fn place_of(at: usize) -> Place {
    let node = NodeId(100 + at as u128);
    match (at, CLUSTER_OF[at]) {
        (0 | 1, _) => Place::Here(worker(at as u64, 0)),
        (_, 1) => Place::Mate(node),
        (_, cluster) => Place::Remote { cluster: ClusterId(cluster), node },
    }
}

fn world(rows: &[Row]) -> Functions {
    let mut functions = functions();
    for (nth, row) in rows.iter().enumerate().filter(|(_, row)| row.at < 2) {
        let worker = worker(row.at as u64, nth as u32);
        let registration = Registration {
            resources: set_of(row.mask),
            limit: NonZeroU32::new(row.limit).unwrap(),
            ..registration(&alloc::format!("sum {}", VERSIONS[row.version]))
        };
        let effects = handle(&mut functions, Input::Register { worker, registration });
        assert!(matches!(effects[0], Effect::Registered { .. }));
        let health = if row.is_open { Health::Well } else { Health::Ill };
        handle(&mut functions, Input::Health { worker, health });
    }
    for (at, &cluster) in CLUSTER_OF.iter().enumerate().skip(2) {
        let offers = rows.iter().filter(|row| row.at == at).map(|row| Offer {
            version: version(VERSIONS[row.version]),
            resources: set_of(row.mask),
            limit: if row.is_open { row.limit } else { 0 },
        });
        if let Some(offers) = Offers::new(FunctionId(1), Incarnation(3), offers.collect()) {
            let mut body = Vec::new();
            offers.put(&mut body);
            let (owner, cluster) = (NodeId(100 + at as u128), ClusterId(cluster));
            let (name, body) = ("sum".into(), Some(body.into()));
            handle(&mut functions, Input::Changed { owner, cluster, name, body });
        }
    }
    for (row, id) in rows.iter().map(|row| (row, id_of(&functions, row))).collect::<Vec<_>>() {
        load(&mut functions, id.0, row.in_flight);
    }
    functions
}

fn id_of(functions: &Functions, row: &Row) -> EndpointId {
    let is_it = |endpoint: &Endpoint| {
        let is_there = match (endpoint.place, place_of(row.at)) {
            (Place::Here(one), Place::Here(other)) => one.session == other.session,
            (one, other) => one == other,
        };
        let key = (version(VERSIONS[row.version]), set_of(row.mask));
        is_there && (&endpoint.version, &endpoint.resources) == (&key.0, &key.1)
    };
    let mut all = functions.functions[&name("sum")].iter();
    all.find(|(_, endpoint)| is_it(endpoint)).unwrap().0
}

/// The best rows, all equal but for the hash; else the word of the failure.
fn oracle(
    rows: &[Row],
    allowed: &[usize],
    mask: usize,
    cluster: Option<u128>,
    distances: &[Option<u32>; 7],
) -> Result<Vec<Row>, &'static str> {
    let mut left: Vec<Row> = rows.to_vec();
    let mut keep = |word, test: &dyn Fn(&Row) -> bool| {
        left.retain(test);
        if left.is_empty() { Err(word) } else { Ok(left.clone()) }
    };
    keep("not_found", &|row| cluster.is_none_or(|asked| asked == CLUSTER_OF[row.at]))?;
    keep("no_version", &|row| allowed.contains(&row.version))?;
    keep("no_resource", &|row| (0..3).all(|bit| mask >> bit & 1 <= row.mask >> bit & 1))?;
    keep("unreachable", &|row| row.is_open && (row.at < 2 || distances[row.at].is_some()))?;
    let mut left = keep("overloaded", &|row| row.in_flight < row.limit)?;
    // One question after the other, each keeps those that answer it best. Twelfths are whole for limits
    // up to 4.
    let far = |row: &Row| match row.at {
        0 | 1 => 0,
        2 | 3 => 1,
        at => 2 + distances[at].unwrap(),
    };
    let questions: [&dyn Fn(&Row) -> u32; 3] =
        [&far, &|row| 100 - row.version as u32, &|row| row.in_flight * 12 / row.limit];
    for question in questions {
        let best = left.iter().map(question).min().unwrap();
        left.retain(|row| question(row) == best);
    }
    Ok(left)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_choice_is_one_of_the_oracles(
        mut rows in prop::collection::vec(row(), 0..14),
        (constraint, mask) in (0..CONSTRAINTS.len(), prop::sample::select(vec![0_usize, 0, 1, 2, 5])),
        cluster in prop::option::weighted(0.3, 1..4_u128),
        mates in prop::array::uniform2(prop::bool::weighted(0.7)),
        clusters in prop::array::uniform2(prop::option::weighted(0.8, 0..3_u32)),
        weights in prop::collection::btree_map(0..VERSIONS.len(), 1..5_u32, 0..3),
        (is_near, request) in (prop::bool::weighted(0.2), any::<u128>()),
        tried in prop::collection::vec(0..20_usize, 0..3),
    ) {
        let mut seen = alloc::collections::BTreeSet::new();
        // A connection registers a version once, another node offers it once with the same resources.
        rows.retain(|row| seen.insert((row.at, row.version, if row.at < 2 { 0 } else { row.mask })));
        let mut functions = world(&rows);
        let [a, b] = clusters;
        let mate = |nth: usize| mates[nth].then_some(9);
        let distances = [None, None, mate(0), mate(1), a, a, b];
        let listed: Vec<_> = weights.iter().map(|(&nth, &w)| (version(VERSIONS[nth]), w)).collect();
        let split = Split::new(listed).ok();
        handle(&mut functions, Input::Split { name: name("sum"), split });
        let (text, allowed) = CONSTRAINTS[constraint];
        let (sum, text, needed) = (name("sum"), text.parse().unwrap(), set_of(mask));
        let asked = cluster.map(ClusterId);
        let (within, version) = (if is_near { Within::Node } else { Within::Fabric }, None);
        let ids: Vec<_> = rows.iter().map(|row| id_of(&functions, row)).collect();
        let places: Vec<Place> =
            ids.into_iter().map(|id| functions.endpoint(id).unwrap().place).collect();
        let nth_place = |nth: usize| places.get(nth).copied().unwrap_or(place_of(6));
        let tried: Vec<Place> = tried.into_iter().map(nth_place).collect();
        let call = Call {
            name: &sum,
            constraint: &text,
            resources: &needed,
            cluster: asked,
            within,
            version,
            tried: &tried,
            request,
        };
        let chosen = functions.select(&call, |to| match to {
            Target::Node(node) => distances[node.0 as usize - 100],
            Target::Cluster(ClusterId(2)) => a,
            Target::Cluster(_) => b,
            Target::Here => panic!("not asked"),
        });
        let is_left = |&(row, place): &(&Row, &Place)| {
            !tried.contains(place) && (!is_near || row.at < 2)
        };
        let left: Vec<Row> =
            rows.iter().zip(&places).filter(is_left).map(|(row, _)| row.clone()).collect();
        let ask = |allowed: &[usize]| oracle(&left, allowed, mask, cluster, &distances);
        // Of each listed version the best would do; of the others only if no listed one can.
        let can: Vec<_> = weights
            .keys()
            .filter(|nth| allowed.contains(nth))
            .filter_map(|&nth| ask(&[nth]).ok())
            .collect();
        let want = if can.is_empty() { ask(allowed) } else { Ok(can.concat()) };
        let is_dark = |asked| asked != 1 && [a, b][asked as usize - 2].is_none();
        let want = want.map_err(|word| match word {
            "not_found" if cluster.is_some_and(is_dark) => "unreachable",
            word => word,
        });
        let want = want.map(|best| best.iter().map(|row| id_of(&functions, row)).collect());
        is_one_of(chosen.as_ref(), &want)?;
        let again = functions.select(&call, |_| Some(0));
        prop_assert!(chosen.is_err() || again.is_ok(), "more ways take no choice away");
    }
}

/// Fails unless an endpoint of the best was chosen, or the choice failed for the same reason.
fn is_one_of(
    chosen: Result<&Chosen<'_>, &Failure>,
    want: &Result<Vec<EndpointId>, &str>,
) -> Result<(), TestCaseError> {
    match (chosen, want) {
        (Ok(chosen), Ok(best)) => {
            prop_assert!(best.contains(&chosen.endpoint), "{:?} not in {:?}", chosen, best);
        }
        (Err(failed), Err(word)) => prop_assert_eq!(failed.why.word(), *word),
        (chosen, want) => prop_assert!(false, "{:?}, not {:?}", chosen, want),
    }
    Ok(())
}
