//! `[routes]` and `[catalog]` as written, and what is said when they are not allowed.

use super::*;

fn routes(text: &str) -> Result<Policy, BadPolicy> {
    toml::from_str::<Routes>(text).unwrap().try_into()
}

fn refusal(text: &str) -> String {
    routes(text).unwrap_err().to_string()
}

fn catalog(text: &str) -> Result<catalog::Filter, BadPolicy> {
    toml::from_str::<Catalog>(text).unwrap().try_into()
}

fn id(name: &str) -> ClusterId {
    name.parse::<ClusterName>().unwrap().id()
}

#[test]
fn nothing_written_is_what_nodes_go_by() {
    let usual = Policy { timing: Timing::NODE, ..Policy::open() };
    assert_eq!(routes("").unwrap(), usual);
    assert_eq!(catalog("").unwrap(), catalog::Filter::default());
}

#[test]
fn every_key_reaches_the_machine() {
    let policy = routes(
        r#"
        signatures = "unsigned_allowed"
        tags = ["gold"]
        weights = { latency = 1, hop = 2, cost = 3, unreliability = 4, bandwidth = 5, bandwidth_max = 6 }
        damping = { hold_down_ms = 7, flap_penalty = 8, suppress_at = 10, reuse_at = 9, penalty_max = 11, half_life_ms = 112 }
        timing = { ttl_ms = 1013, ttl_max_ms = 1014, refresh_ms = 115, pace_ms = 16 }
        quota = { routes = 17, updates_per_second = 18 }

        [import]
        destinations = ["a"]
        advertisers_denied = ["b"]
        tags = ["x"]
        tags_denied = ["y"]
        hops_max = 3
        latency_us_max = 4

        [export]
        destinations_denied = ["a"]
        advertisers = ["b"]

        [[neighbours]]
        cluster = "n"
        relation = "customer"
        import = { hops_max = 1 }
        export = { destinations = [] }

        [others]
        exchange = false
        "#,
    )
    .unwrap();
    assert_eq!(policy, every_key());
}

fn every_key() -> Policy {
    let set = |name: &str| BTreeSet::from([id(name)]);
    let tag = |name: &str| BTreeSet::from([name.parse().unwrap()]);
    let free = route::Filter::default;
    let ms = Duration::from_millis;
    let terms = Terms {
        import: route::Filter { hops_max: 1, ..free() },
        export: route::Filter { destinations: Among::Only(BTreeSet::new()), ..free() },
        relation: Relation::Customer,
    };
    Policy {
        import: route::Filter {
            destinations: Among::Only(set("a")),
            advertisers: Among::AllBut(set("b")),
            tags: Some(tag("x")),
            tags_denied: tag("y"),
            hops_max: 3,
            latency_us_max: 4,
        },
        export: route::Filter {
            destinations: Among::AllBut(set("a")),
            advertisers: Among::Only(set("b")),
            ..free()
        },
        neighbours: BTreeMap::from([(id("n"), terms)]),
        others: None,
        signatures: Signatures::UnsignedAllowed,
        tags: vec!["gold".parse().unwrap()],
        weights: Weights {
            latency: 1,
            hop: 2,
            cost: 3,
            unreliability: 4,
            bandwidth: 5,
            bandwidth_max: 6,
        },
        damping: Damping {
            hold_down: ms(7),
            flap_penalty: 8,
            suppress_at: 10,
            reuse_at: 9,
            penalty_max: 11,
            half_life: ms(112),
        },
        timing: Timing { ttl: ms(1013), ttl_max: ms(1014), refresh: ms(115), pace: ms(16) },
        quota: Quota { routes: 17, updates_per_second: 18 },
    }
}

#[test]
fn terms_for_others_are_those_written() {
    let others = routes("others = { relation = 'equal', export = { hops_max = 2 } }").unwrap();
    let terms = others.others.unwrap();
    assert_eq!((terms.relation, terms.export.hops_max), (Relation::Equal, 2));
}

#[test]
fn what_goes_with_a_shorter_life_is_shortened() {
    let timing = routes("timing = { ttl_ms = 2000 }").unwrap().timing;
    assert_eq!((timing.ttl, timing.refresh), (Duration::from_secs(2), Duration::from_secs(1)));
    let timing = routes("timing = { ttl_ms = 300000 }").unwrap().timing;
    assert_eq!(timing.ttl_max, Duration::from_secs(300));
}

#[test]
fn each_refusal_names_its_key() {
    let table = [
        ("signatures = 'no'", "routes.signatures has \"no\", must be required or unsigned_allowed"),
        ("tags = ['G']", "routes.tags has \"G\", must be a tag, of a-z, 0-9, -, ., : and _"),
        (
            "import = { destinations = ['A'] }",
            "routes.import.destinations has \"A\", \
             must be the name of a cluster, 1 to 63 characters of a-z, 0-9 and -",
        ),
        (
            "export = { advertisers = [], advertisers_denied = ['a'] }",
            "routes.export.advertisers and routes.export.advertisers_denied exclude each other",
        ),
        ("import = { hops_max = 0 }", "routes.import.hops_max is 0, must be within 1..=65535"),
        (
            "others = { import = { latency_us_max = 4294967296 } }",
            "routes.others.import.latency_us_max is 4294967296, must be within 1..=4294967295",
        ),
        (
            "neighbours = [{ cluster = 'a' }, { cluster = 'b', relation = 'friend' }]",
            "routes.neighbours[2].relation has \"friend\", must be open, customer, upstream or equal",
        ),
        (
            "neighbours = [{}]",
            "routes.neighbours[1].cluster has \"\", \
             must be the name of a cluster, 1 to 63 characters of a-z, 0-9 and -",
        ),
        (
            "neighbours = [{ cluster = 'a' }, { cluster = 'a' }]",
            "routes.neighbours has cluster a twice",
        ),
        (
            "weights = { hop = 1000000001 }",
            "routes.weights.hop is 1000000001, must be within 0..=1000000000",
        ),
        (
            "damping = { suppress_at = 1500 }",
            "routes.damping.suppress_at is 1500, must be within 1501..=12000",
        ),
        (
            "damping = { half_life_ms = 99 }",
            "routes.damping.half_life_ms is 99, must be within 100..=3600000",
        ),
        ("timing = { ttl_ms = 999 }", "routes.timing.ttl_ms is 999, must be within 1000..=3600000"),
        (
            "timing = { ttl_ms = 2000, refresh_ms = 1001 }",
            "routes.timing.refresh_ms is 1001, must be within 100..=1000",
        ),
        (
            "timing = { ttl_max_ms = 119999 }",
            "routes.timing.ttl_max_ms is 119999, must be within 120000..=3600000",
        ),
        ("quota = { routes = 1025 }", "routes.quota.routes is 1025, must be within 1..=1024"),
        (
            "quota = { updates_per_second = 0 }",
            "routes.quota.updates_per_second is 0, must be within 1..=200",
        ),
    ];
    for (text, want) in table {
        assert_eq!(refusal(text), want, "{text}");
    }
    assert!(routes("damping = { suppress_at = 0 }").is_ok(), "never");
    let many = format!("import = {{ destinations = [{}] }}", "'a', ".repeat(1025));
    assert_eq!(refusal(&many), "routes.import.destinations has 1025 names, must be at most 1024");
}

#[test]
fn what_is_seen_of_others_is_by_cluster_function_and_entry() {
    let filter = catalog(
        "clusters = ['a']\nfunctions = ['sum']\nblocked = ['queue jobs', 'cluster_interest a.>']",
    )
    .unwrap();
    let want = catalog::Filter {
        clusters: Some(BTreeSet::from([id("a")])),
        functions: Some(BTreeSet::from([bytes::Bytes::from_static(b"sum")])),
        blocked: [Key::new(Kind::QUEUE, b"jobs"), Key::new(Kind::CLUSTER_INTEREST, b"a.>")].into(),
    };
    assert_eq!(filter, want);
    let refusal = |text: &str| catalog(text).unwrap_err().to_string();
    for entry in ["jobs", "node a", "subscription a..b", "queue "] {
        let want = format!(
            "catalog.blocked has {entry:?}, must be KIND NAME, \
             with a kind of subscription, cluster_interest, function, queue or cache"
        );
        assert_eq!(refusal(&format!("blocked = ['{entry}']")), want);
    }
    assert_eq!(
        refusal("clusters = ['*', 'a']"),
        "catalog.clusters has \"*\", must be the name of a cluster, 1 to 63 characters of a-z, 0-9 and -"
    );
}

#[test]
fn pins_are_keys_of_clusters_two_at_most() {
    let key = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    let check = |text: &str| {
        let file: Routes = toml::from_str(&text.replace('K', key)).unwrap();
        pins(&file.pins).map(|pins| pins.len()).map_err(|error| error.to_string())
    };
    let two = "pins = [{ cluster = 'a', serial = 1, key = 'K' }, { cluster = 'b', serial = 1, key = 'K' }]";
    assert_eq!(check(two), Ok(2));
    let must = "must be a public key, 64 hexadecimal digits";
    assert_eq!(
        check("pins = [{ cluster = 'a', serial = 1, key = '00' }]"),
        Err(format!("routes.pins[1].key has \"00\", {must}"))
    );
    let pins = |serials: &[u64]| {
        let pins: Vec<String> = serials
            .iter()
            .map(|serial| format!("{{ cluster = 'a', serial = {serial}, key = 'K' }}"))
            .collect();
        format!("pins = [{}]", pins.join(", "))
    };
    assert_eq!(check(&pins(&[1, 2])), Ok(1));
    let refused = "routes.pins has more than 2 keys of cluster a, or a serial twice".to_owned();
    assert_eq!(check(&pins(&[1, 1])), Err(refused.clone()));
    assert_eq!(check(&pins(&[1, 2, 3])), Err(refused));
}
