//! Every path that there is, listed, beside what the graph says: 1,000 graphs each.

use super::*;

/// A graph of 2 to 7 vertices. Few costs, so that ties are common; some of them zero.
fn random_graph(seed: u64) -> Graph {
    let mut rng = Rng::from_seed(seed);
    let vertices = 2 + rng.below(6) as usize;
    let mut graph = Graph::new(vertices);
    let edges = vertices as u32 + rng.below(2 * vertices as u32);
    for _ in 0..edges {
        let [from, to] = [(); 2].map(|()| rng.below(vertices as u32) as usize);
        if from != to {
            graph.connect(from, to, rng.below(9) * rng.below(4));
        }
    }
    graph
}

/// Every path without a vertex twice, as its edges.
fn all_paths(graph: &Graph, from: usize, to: usize) -> Vec<Vec<usize>> {
    fn walk(graph: &Graph, to: usize, way: &mut Vec<usize>, at: usize, out: &mut Vec<Vec<usize>>) {
        if at == to {
            out.push(way.clone());
            return;
        }
        for &edge in &graph.leaving[at] {
            let next = graph.edges[edge].to;
            let first = way.first().map(|&edge| graph.edges[edge].from);
            let is_new = first != Some(next) && way.iter().all(|&e| graph.edges[e].to != next);
            if is_new && next != at {
                way.push(edge);
                walk(graph, to, way, next, out);
                way.pop();
            }
        }
    }
    let mut out = Vec::new();
    walk(graph, to, &mut Vec::new(), from, &mut out);
    out
}

fn cost(graph: &Graph, edges: &[usize]) -> u64 {
    edges.iter().map(|&edge| u64::from(graph.edges[edge].cost)).sum()
}

/// Whether the vertices are joined by edges of this sum, each the cheapest or not.
fn is_path(graph: &Graph, from: usize, to: usize, path: &Path) -> bool {
    all_paths(graph, from, to).iter().any(|edges| {
        let vertices = edges.iter().map(|&edge| graph.edges[edge].to);
        let vertices: Vec<_> = core::iter::once(from).chain(vertices).collect();
        vertices == path.vertices && cost(graph, edges) == path.cost
    })
}

/// The most paths up to `left` that share no edge, and the least they cost in sum.
fn best_disjoint(graph: &Graph, paths: &[Vec<usize>], left: usize) -> (usize, u64) {
    let mut best = (0, 0);
    for (at, path) in paths.iter().enumerate().filter(|_| 0 < left) {
        let is_apart = |other: &&Vec<usize>| other.iter().all(|edge| !path.contains(edge));
        let rest: Vec<_> = paths[at + 1..].iter().filter(is_apart).cloned().collect();
        let (count, sum) = best_disjoint(graph, &rest, left - 1);
        let (count, sum) = (count + 1, sum + cost(graph, path));
        if best.0 < count || best.0 == count && sum < best.1 {
            best = (count, sum);
        }
    }
    best
}

#[test]
fn a_thousand_graphs_have_the_shortest_paths_that_listing_them_all_finds() {
    let (mut longer_than_cheapest, mut without) = (0, 0);
    for seed in 0..1000 {
        let graph = random_graph(seed);
        let (from, to) = (0, graph.leaving.len() - 1);
        let all = all_paths(&graph, from, to);
        for hops_max in 0..graph.leaving.len() {
            let within = all.iter().filter(|edges| edges.len() <= hops_max);
            let want = within.map(|edges| (cost(&graph, edges), edges.len())).min();
            let found = graph.shortest(from, to, hops_max);
            let hops = |path: &Path| (path.cost, path.vertices.len() - 1);
            assert_eq!(found.as_ref().map(hops), want, "seed {seed}, {hops_max} hops");
            assert!(found.as_ref().is_none_or(|path| is_path(&graph, from, to, path)));
            let cheapest = all.iter().map(|edges| cost(&graph, edges)).min();
            longer_than_cheapest += usize::from(found.is_some() && want.map(|w| w.0) != cheapest);
        }
        without += usize::from(all.is_empty());
        let want = all.iter().map(|edges| cost(&graph, edges)).min();
        assert_eq!(graph.costs(from)[to], want, "seed {seed}");
    }
    assert!(50 < longer_than_cheapest && 50 < without, "{longer_than_cheapest} {without}");
}

#[test]
fn a_thousand_graphs_give_a_star_the_same_costs_with_less_to_look_at() {
    let (mut looked, mut looked_without) = (0, 0);
    for seed in 0..1000 {
        let graph = random_graph(seed);
        let (from, to) = (0, graph.leaving.len() - 1);
        let want = graph.costs(from)[to];
        // Half of the true rest is consistent, and so is nothing.
        let mut turned = Graph::new(graph.leaving.len());
        graph.edges.iter().for_each(|edge| turned.connect(edge.to, edge.from, edge.cost));
        let rest = turned.costs(to);
        for divisor in [1, 2, u64::MAX] {
            let count = core::cell::Cell::new(0_u32);
            let found = graph.a_star(from, to, |vertex| {
                count.set(count.get() + 1);
                rest[vertex].map_or(u64::from(u32::MAX), |rest| rest / divisor)
            });
            assert_eq!(found.as_ref().map(|path| path.cost), want, "seed {seed}");
            assert!(found.as_ref().is_none_or(|path| is_path(&graph, from, to, path)));
            let seen = if divisor == 1 { &mut looked } else { &mut looked_without };
            *seen += u64::from(count.get()) * if divisor == 2 { 0 } else { 1 };
        }
    }
    assert!(looked < looked_without, "{looked} {looked_without}");
}

#[test]
fn a_thousand_graphs_have_the_disjoint_paths_that_listing_them_all_finds() {
    let mut taken_back = 0;
    for seed in 0..1000 {
        let graph = random_graph(seed);
        let (from, to) = (0, graph.leaving.len() - 1);
        let all = all_paths(&graph, from, to);
        for paths_max in 0..4 {
            let found = graph.disjoint(from, to, paths_max);
            let sum = found.iter().map(|path| path.cost).sum();
            let want = best_disjoint(&graph, &all, paths_max);
            assert_eq!((found.len(), sum), want, "seed {seed}, {paths_max} paths");
            assert!(found.is_sorted() && found.iter().all(|path| is_path(&graph, from, to, path)));
            assert!(are_apart(&graph, &found), "seed {seed}: {found:?}");
            let first = graph.shortest(from, to, usize::MAX);
            taken_back += usize::from(1 < found.len() && first.unwrap().cost < found[0].cost);
        }
    }
    assert!(5 < taken_back, "the cheapest path is not always one of them: {taken_back}");
}

/// Between two vertices, no more paths than edges.
fn are_apart(graph: &Graph, paths: &[Path]) -> bool {
    let pairs: Vec<_> = paths.iter().flat_map(|path| path.vertices.windows(2)).collect();
    pairs.iter().all(|pair| {
        let edges = graph.edges.iter().filter(|edge| [edge.from, edge.to] == **pair);
        pairs.iter().filter(|other| *other == pair).count() <= edges.count()
    })
}

#[test]
fn to_where_one_is_costs_nothing_and_takes_one_way() {
    let mut graph = Graph::new(2);
    graph.connect(0, 1, 3);
    graph.connect(1, 0, 3);
    assert_eq!(graph.shortest(0, 0, 0), Some(Path { cost: 0, vertices: vec![0] }));
    assert_eq!(graph.a_star(0, 0, |_| 0), Some(Path { cost: 0, vertices: vec![0] }));
    assert_eq!(graph.disjoint(0, 0, 2), Vec::new());
}

#[test]
fn flows_spread_evenly_and_move_only_when_their_way_goes() {
    let candidates = [11_u128 << 64, 12, 13, 14];
    let choose = |flow: u64, among: &[u128]| {
        among.iter().copied().max_by_key(|&candidate| affinity(flow, candidate)).unwrap()
    };
    let mut counts = [0; 4];
    for flow in 0..4000 {
        let chosen = choose(flow, &candidates);
        let at = candidates.iter().position(|&candidate| candidate == chosen).unwrap();
        counts[at] += 1;
        let after = choose(flow, &candidates[1..]);
        assert!(at == 0 || after == chosen, "only the flows of what went move");
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
}
