//! Several paths that share no edge and together cost least (Suurballe 1974, for any number of paths).
//!
//! Each round finds the cheapest way to send one more path, where an edge in use may be walked
//! backwards, which takes it back from the path that uses it. Potentials keep what is left to pay from
//! being negative, so that Dijkstra finds it.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Edge, Graph, Path};

/// An edge and the direction it is walked in.
#[derive(Clone, Copy)]
struct Step {
    edge: usize,
    is_forward: bool,
}

struct Flow<'a> {
    graph: &'a Graph,
    /// Indices of edges, by the vertex they enter.
    entering: Vec<Vec<usize>>,
    is_used: Vec<bool>,
    potential: Vec<u64>,
}

impl Graph {
    /// Up to `paths_max` paths, no two of which share an edge: as many as there are, and of those the
    /// ones that cost least in sum. Cheapest first.
    pub fn disjoint(&self, from: usize, to: usize, paths_max: usize) -> Vec<Path> {
        let mut entering = vec![Vec::new(); self.leaving.len()];
        for (at, edge) in self.edges.iter().enumerate() {
            entering[edge.to].push(at);
        }
        let (is_used, potential) = (vec![false; self.edges.len()], vec![0; self.leaving.len()]);
        let mut flow = Flow { graph: self, entering, is_used, potential };
        let mut count = 0;
        while from != to && count < paths_max && flow.add_path(from, to) {
            count += 1;
        }
        let mut paths: Vec<Path> = (0..count).map(|_| flow.take_path(from, to)).collect();
        paths.sort_unstable();
        paths
    }
}

impl Flow<'_> {
    /// False if there is no further path.
    fn add_path(&mut self, from: usize, to: usize) -> bool {
        let (costs, came_by) = self.search(from);
        if costs[to].is_none() {
            return false;
        }
        // What is out of reach stays so: later rounds only turn edges among what is in reach.
        for (potential, cost) in self.potential.iter_mut().zip(&costs) {
            *potential += cost.unwrap_or(0);
        }
        let mut at = to;
        while let Some(Step { edge, is_forward }) = came_by[at] {
            self.is_used[edge] = is_forward;
            let Edge { from, to, .. } = self.graph.edges[edge];
            at = if is_forward { from } else { to };
        }
        true
    }

    fn search(&self, from: usize) -> (Vec<Option<u64>>, Vec<Option<Step>>) {
        let mut costs = vec![None; self.potential.len()];
        let mut came_by = vec![None; self.potential.len()];
        let mut open = BinaryHeap::from([Reverse((0, from, usize::MAX, false))]);
        while let Some(Reverse((cost, vertex, edge, is_forward))) = open.pop() {
            if costs[vertex].is_some() {
                continue;
            }
            costs[vertex] = Some(cost);
            came_by[vertex] = (edge != usize::MAX).then_some(Step { edge, is_forward });
            for &edge in &self.graph.leaving[vertex] {
                let Edge { to, cost: price, .. } = self.graph.edges[edge];
                if !self.is_used[edge] && costs[to].is_none() {
                    let left = u64::from(price) + self.potential[vertex] - self.potential[to];
                    open.push(Reverse((cost + left, to, edge, true)));
                }
            }
            for &edge in &self.entering[vertex] {
                let Edge { from: to, cost: price, .. } = self.graph.edges[edge];
                if self.is_used[edge] && costs[to].is_none() {
                    let left = self.potential[vertex] - self.potential[to] - u64::from(price);
                    open.push(Reverse((cost + left, to, edge, false)));
                }
            }
        }
        (costs, came_by)
    }

    /// Follows edges in use and gives them up. A walk that comes back to a vertex leaves the round
    /// trip out; it cost nothing, or it would not be there.
    fn take_path(&mut self, from: usize, to: usize) -> Path {
        let mut path = Path { cost: 0, vertices: vec![from] };
        let mut prices = vec![0];
        let mut at = from;
        while at != to {
            let edges = self.graph.leaving[at].iter();
            let edge = edges.copied().find(|&edge| self.is_used[edge]);
            let edge = edge.expect("as many edges in use leave a vertex as enter it");
            self.is_used[edge] = false;
            let Edge { to: next, cost, .. } = self.graph.edges[edge];
            if let Some(again) = path.vertices.iter().position(|&vertex| vertex == next) {
                path.vertices.truncate(again + 1);
                prices.truncate(again + 1);
            } else {
                path.vertices.push(next);
                prices.push(u64::from(cost));
            }
            at = next;
        }
        path.cost = prices.iter().sum();
        path
    }
}
