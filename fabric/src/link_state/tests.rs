//! One node, and what it makes of what it is told. Many nodes are in `tests/many.rs`.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use mpreg_proto::link_state::Flood;

use super::*;

mod many;

const ME: u128 = 1;
const MINE: u128 = 10;

/// Ten times as short as a node's, as the times below are.
const TIMING: Timing =
    Timing { ttl: Duration::from_secs(30), ttl_max: Duration::from_secs(120), ..Timing::NODE };

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

fn metrics(latency_us: u32) -> Metrics {
    Metrics { latency_us, bandwidth_mbps: 0, reliability_ppm: 1_000_000, cost: 0 }
}

fn settings(node: u128, cluster: u128, mode: LinkStateMode) -> Settings {
    Settings {
        here: Here { node: NodeId(node), cluster: ClusterId(cluster) },
        incarnation: Incarnation(5),
        mode,
        areas: Areas::single(),
        timing: TIMING,
    }
}

/// Node 1 of cluster 10, and what it did.
struct Node {
    state: LinkState,
    out: Vec<Effect>,
    now: Instant,
}

impl Node {
    fn new(settings: Settings) -> Self {
        Self { state: LinkState::new(settings, at(0)), out: Vec::new(), now: at(0) }
    }

    fn handle(&mut self, input: Input) {
        self.state.handle(input, self.now, &mut self.out);
    }

    fn up(&mut self, peer: u128, cluster: u128, latency_us: u32) {
        let (peer, cluster) = (NodeId(peer), ClusterId(cluster));
        self.handle(Input::LinkUp { peer, cluster, metrics: metrics(latency_us) });
    }

    /// Lets time pass, waking when asked to.
    fn pass(&mut self, until: Instant) {
        while let Some((due, _why)) = self.state.deadline().filter(|(due, _)| *due <= until) {
            self.now = due.max(self.now);
            self.handle(Input::DeadlineReached);
        }
        self.now = until;
    }

    /// What another node says of its links, told by `from`.
    fn hear(&mut self, from: u128, said: &Advertisement, ttl_ms: u32) {
        let flood = Flood { ttl_ms, body: said.to_body(), signature: Some([3; 64]) };
        self.handle(Input::Heard { from: NodeId(from), flood });
    }

    /// What was done since last asked: `to:origin.sequence ttl` for what was sent.
    fn did(&mut self) -> String {
        let words = self.out.drain(..).filter_map(|effect| match effect {
            Effect::Send { to, flood } => {
                let said = Advertisement::parse(&flood.body).unwrap();
                let Advertisement { origin, version, .. } = said;
                Some(format!("{}:{}.{} {}", to.0, origin.0, version.sequence, flood.ttl_ms))
            }
            Effect::Rejected { reason, .. } => Some(reason.word().into()),
            Effect::Computed | Effect::Changed { .. } => None,
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn way_to(&self, cluster: u128) -> Option<Vec<u128>> {
        let mut ways = self.state.clusters().iter();
        let ways = ways.find(|ways| ways.to == ClusterId(cluster))?;
        Some(ways.exits.iter().map(|exit| exit.node.0).collect())
    }
}

fn said(
    origin: u128,
    cluster: u128,
    sequence: u64,
    kind: Kind,
    to: &[(u128, u128)],
) -> Advertisement {
    let link = |&(node, cluster): &(u128, u128)| Adjacency {
        node: NodeId(node),
        cluster: ClusterId(cluster),
        metrics: metrics(1000),
    };
    Advertisement {
        origin: NodeId(origin),
        cluster: ClusterId(cluster),
        version: Version { incarnation: Incarnation(1), sequence },
        kind: kind as u16,
        area: AreaId(0),
        links: to.iter().map(link).collect(),
        summaries: Vec::new(),
    }
}

/// Node 1 with links to 2 of its own cluster and 21 of cluster 20, at rest at one second.
fn linked(mode: LinkStateMode) -> Node {
    let mut node = Node::new(settings(ME, MINE, mode));
    node.up(2, MINE, 1000);
    node.up(21, 20, 1000);
    node.pass(at(1000));
    node.out.clear();
    node
}

#[test]
fn own_links_are_told_to_those_they_concern() {
    let mut node = Node::new(settings(ME, MINE, LinkStateMode::Prefer));
    node.up(2, MINE, 1000);
    node.up(21, 20, 1000);
    node.pass(at(1000));
    assert_eq!(node.did(), "2:1.1 30000, 2:1.2 30000, 21:1.2 30000");
    let mut node = Node::new(settings(ME, MINE, LinkStateMode::Disabled));
    node.up(2, MINE, 1000);
    node.up(21, 20, 1000);
    node.pass(at(1000));
    assert_eq!(node.did(), "2:1.1 30000");
}

#[test]
fn a_link_that_comes_up_brings_everything_and_one_that_goes_is_told() {
    let mut node = linked(LinkStateMode::Prefer);
    node.up(3, MINE, 1000);
    assert_eq!(node.did(), "3:1.1 29050, 3:1.2 29050", "what is known at once");
    node.pass(at(1060));
    assert_eq!(node.did(), "2:1.3 30000, 3:1.3 30000");
    node.handle(Input::LinkDown { peer: NodeId(21) });
    node.pass(at(2000));
    assert_eq!(node.did(), "2:1.4 30000, 3:1.4 30000");
}

#[test]
fn links_are_said_again_before_they_expire() {
    let mut node = linked(LinkStateMode::Prefer);
    node.pass(at(10_010));
    assert_eq!(node.did(), "2:1.3 30000, 2:1.4 30000, 21:1.4 30000");
    node.pass(at(120_000));
    assert_eq!(node.state.advertisements().count(), 2);
}

#[test]
fn what_is_newer_goes_on_to_the_others_with_the_time_it_has_left() {
    let mut node = linked(LinkStateMode::Prefer);
    node.up(3, MINE, 1000);
    node.pass(at(2000));
    node.out.clear();
    let first = said(21, 20, 4, Kind::Border, &[(1, 10)]);
    node.hear(21, &first, 7000);
    assert_eq!(node.did(), "2:21.4 7000, 3:21.4 7000");
    node.hear(3, &first, 7000);
    assert_eq!(node.did(), "duplicate");
    node.now = at(3500);
    node.up(4, MINE, 1000);
    assert!(node.did().contains("4:21.4 5500"));
    let older = said(21, 20, 3, Kind::Border, &[]);
    node.hear(3, &older, 7000);
    assert_eq!(node.did(), "3:21.4 5500, stale", "whoever is behind is told what is newer");
}

#[test]
fn signatures_are_carried_as_they_came() {
    let mut node = linked(LinkStateMode::Prefer);
    let border = said(21, 20, 4, Kind::Border, &[(1, 10)]);
    node.hear(21, &border, 7000);
    let sent = node.out.iter().find_map(|effect| match effect {
        Effect::Send { flood, .. } => Some(flood.clone()),
        Effect::Computed | Effect::Changed { .. } | Effect::Rejected { .. } => None,
    });
    let want = Flood { ttl_ms: 7000, body: border.to_body(), signature: Some([3; 64]) };
    assert_eq!(sent, Some(want));
}

#[test]
fn what_is_not_for_this_node_is_refused() {
    let inside = said(2, MINE, 1, Kind::Mesh, &[]);
    let other_inside = said(22, 20, 1, Kind::Mesh, &[]);
    let border = said(22, 20, 1, Kind::Border, &[]);
    let far = Advertisement { area: AreaId(7), ..border.clone() };
    let of_other_cluster = said(21, 30, 1, Kind::Border, &[]);
    let mut later = said(ME, MINE, 1, Kind::Mesh, &[]);
    later.version.incarnation = Incarnation(6);
    let prefer = LinkStateMode::Prefer;
    let table = [
        (prefer, 2, &inside, 1000, ""),
        (prefer, 9, &inside, 1000, "unlinked"),
        (prefer, 21, &inside, 1000, "out_of_scope"),
        (prefer, 2, &other_inside, 1000, "out_of_scope"),
        (prefer, 21, &border, 0, "expired"),
        (prefer, 21, &far, 1000, "area_mismatch"),
        (prefer, 2, &far, 1000, "area_mismatch"),
        (prefer, 2, &of_other_cluster, 1000, "forged"),
        (prefer, 2, &later, 1000, "forged"),
        (prefer, 21, &border, 1000, "2:22.1 1000"),
        (LinkStateMode::Disabled, 21, &border, 1000, "disabled"),
    ];
    for (mode, from, said, ttl_ms, want) in table {
        let mut node = linked(mode);
        node.hear(from, said, ttl_ms);
        assert_eq!(node.did(), want, "{from} says {said:?}");
    }
    let mut node = linked(prefer);
    let flood = Flood { ttl_ms: 1, body: vec![1; 9], signature: None };
    node.handle(Input::Heard { from: NodeId(21), flood });
    assert_eq!(node.did(), "malformed");
}

#[test]
fn a_kind_of_a_later_version_is_carried_on_and_not_used() {
    let mut node = linked(LinkStateMode::Prefer);
    let strange = Advertisement { kind: 99, ..said(21, 20, 1, Kind::Border, &[(1, 10)]) };
    node.hear(21, &strange, 1000);
    assert_eq!(node.did(), "2:21.1 1000");
    node.pass(at(1500));
    assert_eq!(node.way_to(20), None);
}

#[test]
fn a_link_counts_when_both_ends_say_so() {
    let mut node = linked(LinkStateMode::Prefer);
    assert_eq!(node.way_to(20), None, "only this end");
    node.hear(21, &said(21, 20, 1, Kind::Border, &[(1, 10), (31, 30)]), 20_000);
    node.pass(at(2000));
    assert_eq!((node.way_to(20), node.way_to(30)), (Some(vec![21]), None));
    node.hear(21, &said(31, 30, 1, Kind::Border, &[(21, 20)]), 20_000);
    node.pass(at(3000));
    assert_eq!(node.way_to(30), Some(vec![21]));
    // An end that names another cluster than the node is of.
    node.hear(21, &said(31, 30, 2, Kind::Border, &[(21, 99)]), 20_000);
    node.pass(at(4000));
    assert_eq!(node.way_to(30), None);
}

#[test]
fn what_expires_leads_nowhere_and_no_replay_revives_it() {
    let mut node = linked(LinkStateMode::Prefer);
    let border = said(21, 20, 7, Kind::Border, &[(1, 10)]);
    node.hear(21, &border, 4000);
    node.pass(at(4900));
    assert_eq!(node.way_to(20), Some(vec![21]));
    node.pass(at(5200));
    assert_eq!(node.way_to(20), None);
    node.out.clear();
    for sequence in [7, 6] {
        node.hear(21, &said(21, 20, sequence, Kind::Border, &[(1, 10)]), 4000);
    }
    assert_eq!(node.did(), "duplicate, stale");
    node.hear(21, &said(21, 20, 8, Kind::Border, &[(1, 10)]), u32::MAX);
    node.pass(at(6000));
    assert_eq!(node.way_to(20), Some(vec![21]));
    // Nobody says for how long others keep things.
    node.pass(at(126_000));
    assert_eq!(node.way_to(20), None);
    let before = node.state.database.len();
    node.pass(at(900_000));
    assert_eq!(node.state.database.len(), before - 1, "tombstones end");
}

#[test]
fn what_this_node_said_and_forgot_is_outdone() {
    let mut node = linked(LinkStateMode::Prefer);
    let mut own = said(ME, MINE, 500, Kind::Mesh, &[(9, 10)]);
    node.hear(2, &own, 9000);
    assert_eq!(node.did(), "stale", "of an earlier life");
    own.version.incarnation = Incarnation(5);
    node.hear(2, &own, 9000);
    node.pass(at(1001));
    assert_eq!(node.did(), "2:1.501 30000, 2:1.502 30000, 21:1.502 30000");
}

#[test]
fn the_database_and_the_links_are_bounded() {
    let mut node = linked(LinkStateMode::Prefer);
    let room = ADVERTISEMENTS_MAX - node.state.database.len();
    for origin in 0..room as u128 {
        node.hear(21, &said(1000 + origin, 20, 1, Kind::Border, &[]), 60_000);
    }
    node.out.clear();
    node.hear(21, &said(900, 20, 1, Kind::Border, &[]), 60_000);
    assert_eq!(node.did(), "full");
    node.hear(21, &said(1000, 20, 2, Kind::Border, &[]), 60_000);
    assert_eq!(node.did(), "2:1000.2 60000", "what is known is kept up to date");

    let mut node = Node::new(settings(ME, MINE, LinkStateMode::Disabled));
    (0..ADJACENCIES_MAX as u128).for_each(|peer| node.up(100 + peer, 20, 1000));
    assert_eq!(node.did(), "");
    node.up(1000, 20, 1000);
    assert_eq!(node.did(), "full");
}

#[test]
fn ways_are_computed_no_more_often_than_paced_and_soon_after_a_change() {
    let mut node = linked(LinkStateMode::Prefer);
    node.out.clear();
    let mut computed = Vec::new();
    for ms in 0..1000_u64 {
        let links = [(1, 10), (31 + u128::from(ms), 30)];
        node.hear(21, &said(21, 20, 1 + ms, Kind::Border, &links), 20_000);
        node.pass(at(1000 + ms));
        let is_computed = node.out.drain(..).any(|effect| effect == Effect::Computed);
        computed.extend(is_computed.then_some(ms));
    }
    assert!((9..=11).contains(&computed.len()), "{computed:?}");
    assert!(computed.windows(2).all(|two| two[1] - two[0] <= 101) && computed[0] <= 101);
    // The same again is no change.
    node.pass(at(3000));
    node.out.clear();
    node.hear(21, &said(21, 20, 5000, Kind::Border, &[(1, 10), (1030, 30)]), 20_000);
    node.pass(at(4000));
    let is_change = |effect: &Effect| matches!(effect, Effect::Computed | Effect::Changed { .. });
    assert!(!node.out.iter().any(is_change), "{:?}", node.out);
    node.hear(21, &said(21, 20, 5001, Kind::Border, &[(1, 10)]), 20_000);
    let changed = Effect::Changed { node: NodeId(21), cluster: ClusterId(20), links: 1 };
    assert!(node.out.contains(&changed), "{:?}", node.out);
}

#[test]
fn a_link_between_two_that_are_gone_leads_nowhere() {
    let mut node = linked(LinkStateMode::Prefer);
    let ways = |node: &mut Node, ms| {
        node.pass(at(ms));
        (node.way_to(30), node.way_to(40))
    };
    node.hear(21, &said(21, 20, 1, Kind::Border, &[(ME, MINE), (31, 30)]), 20_000);
    node.hear(21, &said(31, 30, 1, Kind::Border, &[(21, 20)]), 20_000);
    // Nodes of 20 and of 40, each of which says that it is linked with the other.
    node.hear(21, &said(22, 20, 1, Kind::Border, &[(21, 20), (41, 40)]), 20_000);
    node.hear(21, &said(41, 40, 1, Kind::Border, &[(22, 20)]), 20_000);
    assert_eq!(ways(&mut node, 2000), (Some(vec![21]), None), "no mate says that it is there");
    node.hear(21, &said(21, 20, 2, Kind::Border, &[(ME, MINE), (22, 20), (31, 30)]), 20_000);
    assert_eq!(ways(&mut node, 3000), (Some(vec![21]), Some(vec![21])));
    node.hear(21, &said(21, 20, 3, Kind::Border, &[(ME, MINE), (31, 30)]), 20_000);
    assert_eq!(ways(&mut node, 4000), (Some(vec![21]), None), "nor any more");
}

#[test]
fn mates_that_are_reached_are_said_to_be_there() {
    let mut node = linked(LinkStateMode::Prefer);
    let mates = |node: &Node| {
        let own = |said: &&Advertisement| said.origin == NodeId(ME) && said.kind == 2;
        let own = node.state.advertisements().find(own).unwrap();
        let mates = own.links.iter().filter(|link| link.cluster == ClusterId(MINE));
        mates.map(|link| link.node.0).collect::<Vec<_>>()
    };
    node.hear(2, &said(2, MINE, 1, Kind::Border, &[(22, 20)]), 20_000);
    node.hear(2, &said(3, MINE, 1, Kind::Border, &[(32, 30)]), 20_000);
    node.pass(at(2000));
    assert_eq!(mates(&node), [0; 0], "neither is linked at both ends");
    node.hear(2, &said(2, MINE, 1, Kind::Mesh, &[(ME, MINE), (3, MINE)]), 20_000);
    node.hear(2, &said(3, MINE, 1, Kind::Mesh, &[(2, MINE)]), 20_000);
    node.pass(at(3000));
    assert_eq!(mates(&node), [2, 3]);
    node.hear(2, &said(2, MINE, 2, Kind::Border, &[(3, MINE)]), 20_000);
    node.pass(at(4000));
    assert_eq!(mates(&node), [3], "one without links to other clusters is of no use");
    node.hear(2, &said(2, MINE, 3, Kind::Mesh, &[(ME, MINE)]), 20_000);
    node.pass(at(5000));
    assert_eq!(mates(&node), [0; 0]);
}

#[test]
fn what_is_said_of_a_mate_is_told_to_it() {
    let mut node = linked(LinkStateMode::Prefer);
    node.up(22, 20, 1000);
    node.out.clear();
    // 21 reaches 22 somehow, and is linked with 31.
    node.hear(21, &said(21, 20, 1, Kind::Border, &[(ME, MINE), (22, 20), (31, 30)]), 20_000);
    let said = node.did();
    assert!(said.contains("22:21.1"), "{said}");
}

#[test]
fn a_measure_is_told_when_it_matters() {
    let mut node = linked(LinkStateMode::Prefer);
    let measured = |latency_us| Input::Measured { peer: NodeId(2), metrics: metrics(latency_us) };
    node.handle(measured(2000));
    node.pass(at(2000));
    assert_eq!(node.did(), "");
    node.handle(measured(40_000));
    node.pass(at(3000));
    assert_eq!(node.did(), "2:1.3 30000");
}

#[test]
fn what_a_full_link_refused_is_sent_again() {
    let mut node = linked(LinkStateMode::Prefer);
    node.handle(Input::Refused { to: NodeId(2) });
    node.pass(at(1999));
    assert_eq!(node.did(), "");
    node.pass(at(2000));
    assert_eq!(node.did(), "2:1.1 28050, 2:1.2 28050");
    node.pass(at(9000));
    assert_eq!(node.did(), "");
}

#[test]
fn all_there_is_is_told_in_shares_and_a_share_that_was_refused_again() {
    let mut node = linked(LinkStateMode::Prefer);
    let links: Vec<_> = (0..8).map(|n| (31 + n, 30)).collect();
    for origin in 1000..1200 {
        node.hear(21, &said(origin, 20, 1, Kind::Border, &links), 60_000);
    }
    node.pass(at(2000));
    node.out.clear();
    node.up(23, 20, 1000);
    let mut told = alloc::collections::BTreeSet::new();
    for share in 0..1000 {
        let floods = node.out.drain(..).filter_map(|effect| match effect {
            Effect::Send { to: NodeId(23), flood } => Some(flood.body),
            Effect::Send { .. } | Effect::Computed | Effect::Changed { .. } => None,
            Effect::Rejected { reason, .. } => panic!("{reason:?}"),
        });
        let bodies: Vec<_> = floods.collect();
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        assert!(bytes < FLOODS_SHARE_BYTES + 1024, "{bytes}");
        if share < 20 && !bodies.is_empty() && share % 3 != 0 {
            node.handle(Input::Refused { to: NodeId(23) });
        } else {
            let origin = |body: &Vec<u8>| Advertisement::parse(body).unwrap().origin.0;
            told.extend(bodies.iter().map(origin));
        }
        let next = node.now + Duration::from_millis(10);
        node.pass(next);
    }
    assert_eq!((1000..1200).filter(|origin| told.contains(origin)).count(), 200);
}

/// Cluster 10 is in areas 1 and 2; 20 is its neighbour in 1, 30 in 2, and 40 lies behind 30.
fn between_areas(summaries: Vec<SummaryFilter>) -> Node {
    let mut settings = settings(ME, MINE, LinkStateMode::Only);
    let neighbours = [(ClusterId(20), AreaId(1)), (ClusterId(30), AreaId(2))].into();
    let local = vec![AreaId(1), AreaId(2)];
    settings.areas = Areas { local, neighbours, unmapped: Unmapped::Refused, summaries };
    let mut node = Node::new(settings);
    node.up(21, 20, 1000);
    node.up(31, 30, 1000);
    node.up(51, 50, 1000);
    let of_two = |origin, cluster, links: &[(u128, u128)]| Advertisement {
        area: AreaId(2),
        ..said(origin, cluster, 1, Kind::Border, links)
    };
    node.hear(31, &of_two(31, 30, &[(ME, MINE), (41, 40)]), 20_000);
    node.hear(31, &of_two(41, 40, &[(31, 30)]), 20_000);
    node.pass(at(1000));
    node
}

/// What the neighbour in area 1 was told of others.
fn told(node: &Node) -> Vec<(u128, u32)> {
    let mut sent = node.out.iter().filter_map(|effect| match effect {
        Effect::Send { to: NodeId(21), flood } => Some(Advertisement::parse(&flood.body).unwrap()),
        Effect::Send { .. }
        | Effect::Computed
        | Effect::Changed { .. }
        | Effect::Rejected { .. } => None,
    });
    let last = sent.next_back().expect("it was told of the link");
    assert_eq!((last.area, last.links.len()), (AreaId(1), 1), "area 2 stays in area 2");
    last.summaries.iter().map(|told| (told.cluster.0, told.cost)).collect()
}

#[test]
fn one_area_is_told_of_another_what_a_filter_allows() {
    let filter = |clusters| SummaryFilter { from: AreaId(2), into: AreaId(1), clusters };
    assert_eq!(told(&between_areas(vec![])), []);
    let all = between_areas(vec![filter(Summarised::All)]);
    assert_eq!(told(&all), [(30, 11_000), (40, 22_000)]);
    let only = between_areas(vec![filter(Summarised::Only(vec![ClusterId(40)]))]);
    assert_eq!(told(&only), [(40, 22_000)]);
    let away = SummaryFilter { from: AreaId(1), into: AreaId(2), clusters: Summarised::All };
    assert_eq!(told(&between_areas(vec![away])), []);
    assert!(all.out.iter().all(|effect| !matches!(effect, Effect::Send { to: NodeId(51), .. })));
}

#[test]
fn what_is_told_of_another_area_is_a_way_there() {
    let mut node = linked(LinkStateMode::Prefer);
    let mut border = said(21, 20, 1, Kind::Border, &[(1, 10)]);
    border.summaries = vec![Summary { cluster: ClusterId(40), cost: 5 }];
    node.hear(21, &border, 20_000);
    node.pass(at(2000));
    assert_eq!(node.way_to(40), Some(vec![21]));
    // A way of the area itself comes before what is told.
    node.up(41, 40, 90_000);
    node.hear(41, &said(41, 40, 1, Kind::Border, &[(1, 10)]), 20_000);
    node.pass(at(3000));
    assert_eq!(node.way_to(40), Some(vec![41]));
}

#[test]
fn a_link_costs_what_it_is_scored() {
    let fast = Metrics { latency_us: 0, bandwidth_mbps: 0, reliability_ppm: 1_000_000, cost: 0 };
    assert_eq!(link_cost(&fast), 10_000, "a hop");
    assert_eq!(link_cost(&Metrics { latency_us: 2500, ..fast }), 12_500);
    assert_eq!(link_cost(&Metrics { cost: 3, ..fast }), 13_000);
    assert_eq!(link_cost(&Metrics { reliability_ppm: 900_000, ..fast }), 15_000);
    assert_eq!(link_cost(&Metrics { bandwidth_mbps: 40, ..fast }), 8000);
    assert_eq!(link_cost(&Metrics { bandwidth_mbps: u32::MAX, ..fast }), 5000, "never free");
    let worst = Metrics { latency_us: u32::MAX, reliability_ppm: 0, cost: u32::MAX, ..fast };
    assert_eq!(link_cost(&worst), u32::MAX);
}
