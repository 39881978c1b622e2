//! What a catalog of many entries costs: memory for each, and time to look one up and to change one,
//! beside a catalog of few.
//!
//! The machines are those of a router's control core, `fabric::catalog` and `fabric::want`, told by
//! other nodes of the cluster, frame by frame; each entry is a subscription to a topic of its own.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context as _, ensure};
use mpreg_fabric::catalog::{Bounds, Catalog, Changed, Federation, Learned, Lifetimes, Speaker};
use mpreg_fabric::time::Instant;
use mpreg_fabric::want::{Effect, Input, InterestView, Wanted, Wants};
use mpreg_proto::catalog::{Change, FeedId, Head, Kind, News, Record, Scope, Want, members_of};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, Version};
use mpreg_proto::limits::CATALOG_RECORDS_MAX;
use mpreg_proto::topic::{Pattern, Topic};

use crate::hold::resident_bytes;

/// Fill catalogs of several sizes; say what an entry takes and what looking one up and changing one
/// costs.
#[derive(Debug, clap::Args)]
pub struct Catalogs {
    /// Entries of each catalog.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 100_000])]
    entries: Vec<usize>,
    /// Nodes that offer them.
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    /// Look-ups, and a tenth as many changes, of each catalog.
    #[arg(long, default_value_t = 1_000_000)]
    lookups: usize,
}

const CLUSTER: ClusterId = ClusterId(1);

const ME: NodeId = NodeId(1);

/// A catalog and the view that is made of it.
struct Filled {
    catalog: Catalog,
    wants: Wants,
    changed: Vec<Changed>,
    now: Instant,
}

impl Catalogs {
    pub fn run(&self) -> anyhow::Result<()> {
        ensure!(0 < self.nodes && self.entries.iter().all(|&count| self.nodes <= count));
        let mut first = None;
        for &count in &self.entries {
            let before = resident_bytes(std::process::id())?;
            let mut filled = Filled::new();
            filled.fill(count, self.nodes)?;
            let catalog = resident_bytes(std::process::id())?;
            let view = filled.view().context("the view shows all")?;
            ensure!(view.len() == count, "the view has {} of {count} wants", view.len());
            let all = resident_bytes(std::process::id())?;
            let lookup_ns = look_up(&view, count, self.lookups)?;
            let change_ns = filled.change(count, self.nodes, self.lookups / 10)?;
            let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / count as f64;
            let ratio = lookup_ns / *first.get_or_insert(lookup_ns);
            println!(
                "entries={count} nodes={} lookup_ns={lookup_ns:.0} of_first={ratio:.2} \
                 change_ns={change_ns:.0} held_bytes_per_entry={:.0} view_bytes_per_entry={:.0}",
                self.nodes,
                each(before, catalog),
                each(catalog, all),
            );
        }
        Ok(())
    }
}

impl Filled {
    fn new() -> Self {
        let lifetimes =
            Lifetimes { lease: Duration::from_secs(30), keep: Duration::from_secs(120) };
        let federation = Federation::strict(CLUSTER);
        Self {
            catalog: Catalog::new(ME, Incarnation(1), federation, Bounds::NODE, lifetimes),
            wants: Wants::new(ME, CLUSTER, 1),
            changed: Vec::new(),
            now: Instant::START,
        }
    }

    /// Tells it, node by node, what each offers, in frames as gossip fills them.
    fn fill(&mut self, count: usize, nodes: usize) -> anyhow::Result<()> {
        for node in 0..nodes {
            let numbers: Vec<usize> = (node..count).step_by(nodes).collect();
            let last = numbers.len() as u64;
            let mut after = 0;
            for part in numbers.chunks(CATALOG_RECORDS_MAX) {
                let records = part.iter().zip(after + 1..);
                let records = records.map(|(&number, sequence)| record(number, sequence, true));
                let change = change(node, after, last, records.collect());
                after = change.upto;
                self.tell(&change)?;
            }
        }
        ensure!(self.catalog.len() == count, "{} of {count} entries", self.catalog.len());
        Ok(())
    }

    fn tell(&mut self, change: &Change) -> anyhow::Result<()> {
        let from = Speaker { node: change.news.head.feed.node, cluster: CLUSTER };
        let learned = self.catalog.apply(change, from, self.now, &mut self.changed);
        ensure!(
            matches!(learned, Learned::News { .. } | Learned::Partly),
            "what was told is {learned:?}"
        );
        for Changed { feed, cluster, key, body } in self.changed.drain(..) {
            let (owner, members) = (feed.node, body.as_deref().map(members_of));
            let input = Input::Changed { owner, cluster, kind: key.kind, name: key.name, members };
            self.wants.handle(input, self.now, &mut Vec::new());
        }
        Ok(())
    }

    /// Who wants what, once it is told to shards.
    fn view(&mut self) -> Option<std::sync::Arc<InterestView>> {
        let mut view = None;
        // Two copies, each brought up to date in turn.
        for _ in 0..4 {
            let Some(at) = self.wants.deadline() else { break };
            self.now = self.now.max(at);
            let mut effects = Vec::new();
            self.wants.handle(Input::DeadlineReached, self.now, &mut effects);
            for effect in effects {
                if let Effect::View { view: given, .. } = effect {
                    view = Some(given);
                }
            }
        }
        view
    }

    /// Takes entries back and offers them again; nanoseconds each.
    fn change(&mut self, count: usize, nodes: usize, changes: usize) -> anyhow::Result<f64> {
        let mut sequences: Vec<u64> =
            (0..nodes).map(|node| (node..count).step_by(nodes).count() as u64).collect();
        let changes = changes.next_multiple_of(2).max(2);
        let began = Clock::now();
        for nth in 0..changes {
            let number = (nth / 2).wrapping_mul(7919) % count;
            let node = number % nodes;
            let after = sequences[node];
            sequences[node] += 1;
            let records = vec![record(number, after + 1, nth % 2 == 1)];
            self.tell(&change(node, after, after + 1, records))?;
        }
        Ok(began.elapsed().as_nanos() as f64 / changes as f64)
    }
}

/// Asks who wants topics, each of which one node does; nanoseconds each.
fn look_up(view: &InterestView, count: usize, lookups: usize) -> anyhow::Result<f64> {
    /// So that no single one stays in the nearest cache.
    const TOPICS: usize = 1024;
    let texts: Vec<String> = (0..TOPICS).map(|at| topic(at.wrapping_mul(7919) % count)).collect();
    let topics: Vec<Topic<'_>> =
        texts.iter().map(|text| Topic::parse(text.as_bytes())).collect::<Result<_, _>>()?;
    let mut wanted = Wanted::default();
    let mut found = 0;
    let began = Clock::now();
    for nth in 0..lookups {
        view.wanted(black_box(topics[nth % TOPICS]), &mut wanted);
        found += wanted.nodes.len();
    }
    let each = began.elapsed().as_nanos() as f64 / lookups.max(1) as f64;
    ensure!(found == lookups, "{found} of {lookups} were found");
    Ok(each)
}

fn topic(number: usize) -> String {
    format!("plant.line{}.machine{number:06}.speed", number % 97)
}

fn record(number: usize, sequence: u64, is_set: bool) -> Record {
    let text = topic(number);
    let pattern = Pattern::parse(text.as_bytes()).expect("a topic is a pattern");
    let mut name = Vec::new();
    Want { pattern, group: b"" }.put(&mut name);
    Record { sequence, kind: Kind::SUBSCRIPTION, name, body: is_set.then(Vec::new) }
}

fn change(node: usize, after: u64, last: u64, records: Vec<Record>) -> Change {
    let feed = FeedId { node: NodeId(100 + node as u128), scope: Scope::Cluster };
    let version = Version { incarnation: Incarnation(1), sequence: last };
    let head = Head { feed, cluster: CLUSTER, version, beat: 1, ttl_ms: 30_000 };
    let upto = after + records.len() as u64;
    Change { news: News { head, told: Vec::new() }, after, upto, floor: 0, records }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_one_is_measured() {
        Catalogs { entries: vec![20, 3000], nodes: 2, lookups: 100 }.run().unwrap();
    }
}
