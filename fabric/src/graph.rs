//! Paths in a graph of dense numbers: shortest, shortest within a number of hops, several that share
//! no edge; and which of several equal ways a flow takes.
//!
//! Edges are directed and cost something that is not negative. What the numbers stand for is the
//! caller's business.
//!
//! Invariants:
//! - The same graph, built in the same order, gives the same paths.
//! - With a heuristic that is consistent (never more than the true rest, and never falling by more
//!   than the edge costs), [`Graph::a_star`] finds a path of the same cost as [`Graph::shortest`].
//! - A flow keeps its way while that way is there; when one goes, only its flows move.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::rng::Rng;

mod disjoint;

/// Directed edges between vertices `0..vertices`.
#[derive(Clone, Debug)]
pub struct Graph {
    edges: Vec<Edge>,
    /// Indices into `edges`, by the vertex they leave.
    leaving: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    from: usize,
    to: usize,
    cost: u32,
}

/// A way from one vertex to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub cost: u64,
    /// Both ends included.
    pub vertices: Vec<usize>,
}

impl Graph {
    pub fn new(vertices: usize) -> Self {
        Self { edges: Vec::new(), leaving: vec![Vec::new(); vertices] }
    }

    /// # Panics
    /// If a vertex is not of the graph.
    pub fn connect(&mut self, from: usize, to: usize, cost: u32) {
        assert!(to < self.leaving.len(), "both ends are vertices");
        self.leaving[from].push(self.edges.len());
        self.edges.push(Edge { from, to, cost });
    }

    fn edges_of(&self, vertex: usize) -> impl Iterator<Item = Edge> {
        self.leaving[vertex].iter().map(|&edge| self.edges[edge])
    }

    /// What it costs to get from one vertex to each (Dijkstra 1959).
    pub fn costs(&self, from: usize) -> Vec<Option<u64>> {
        let mut best = vec![None; self.leaving.len()];
        let mut open = BinaryHeap::from([Reverse((0, from))]);
        while let Some(Reverse((cost, vertex))) = open.pop() {
            if best[vertex].is_some() {
                continue;
            }
            best[vertex] = Some(cost);
            for edge in self.edges_of(vertex).filter(|edge| best[edge.to].is_none()) {
                open.push(Reverse((cost + u64::from(edge.cost), edge.to)));
            }
        }
        best
    }

    /// The cheapest path of at most `hops_max` edges; of equally cheap ones, one with the fewest.
    ///
    /// Dijkstra over (vertex, hops): a vertex is visited again when that takes fewer hops, though it
    /// costs more, since only the dearer way may be short enough.
    pub fn shortest(&self, from: usize, to: usize, hops_max: usize) -> Option<Path> {
        let mut visits = Visits::default();
        let mut fewest = vec![usize::MAX; self.leaving.len()];
        let mut open = BinaryHeap::from([Reverse((0, 0, visits.add(from, None)))]);
        while let Some(Reverse((cost, hops, visit))) = open.pop() {
            let vertex = visits.vertex(visit);
            if vertex == to {
                return Some(Path { cost, vertices: visits.way(visit) });
            }
            // Everything that was here before was cheaper, or as cheap and no longer.
            if fewest[vertex] <= hops {
                continue;
            }
            fewest[vertex] = hops;
            if hops == hops_max {
                continue;
            }
            for edge in self.edges_of(vertex).filter(|edge| hops + 1 < fewest[edge.to]) {
                let next = visits.add(edge.to, Some(visit));
                open.push(Reverse((cost + u64::from(edge.cost), hops + 1, next)));
            }
        }
        None
    }

    /// The cheapest path, looked for where `rest` says that it is short (Hart, Nilsson, Raphael
    /// 1968).
    pub fn a_star(&self, from: usize, to: usize, rest: impl Fn(usize) -> u64) -> Option<Path> {
        let mut visits = Visits::default();
        let mut is_done = vec![false; self.leaving.len()];
        let mut open = BinaryHeap::from([Reverse((rest(from), 0, visits.add(from, None)))]);
        while let Some(Reverse((_, cost, visit))) = open.pop() {
            let vertex = visits.vertex(visit);
            if vertex == to {
                return Some(Path { cost, vertices: visits.way(visit) });
            }
            if core::mem::replace(&mut is_done[vertex], true) {
                continue;
            }
            for edge in self.edges_of(vertex).filter(|edge| !is_done[edge.to]) {
                let (next, cost) = (visits.add(edge.to, Some(visit)), cost + u64::from(edge.cost));
                open.push(Reverse((cost + rest(edge.to), cost, next)));
            }
        }
        None
    }
}

/// Vertices in the order they were come to, and from where.
#[derive(Default)]
struct Visits(Vec<(usize, Option<usize>)>);

impl Visits {
    fn add(&mut self, vertex: usize, before: Option<usize>) -> usize {
        self.0.push((vertex, before));
        self.0.len() - 1
    }

    fn vertex(&self, visit: usize) -> usize {
        self.0[visit].0
    }

    fn way(&self, last: usize) -> Vec<usize> {
        let mut way = vec![self.vertex(last)];
        let mut at = last;
        while let (_, Some(before)) = self.0[at] {
            way.push(self.vertex(before));
            at = before;
        }
        way.reverse();
        way
    }
}

/// How much a flow likes a candidate: it takes the one it likes most (highest random weight, Thaler
/// and Ravishankar 1998).
#[inline]
pub fn affinity(flow: u64, candidate: u128) -> u64 {
    Rng::from_seed(flow).stream((candidate >> 64) as u64 ^ candidate as u64).draw()
}

#[cfg(test)]
mod tests;
