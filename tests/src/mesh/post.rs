//! Who got which message, and who should have.

use std::collections::BTreeSet;

use mpreg_proto::hop::{MessageId, Reason};

use super::Mesh;
use super::desk::Subscription;
use super::oracle::Distances;
use super::plan::Mishap;
use crate::check::Violation;
use crate::history::Plan as _;

/// A message that was published.
#[derive(Debug)]
pub(super) struct Letter {
    from: usize,
    word: u8,
    /// Nodes, and the life they were in, whose subscribers of their own got it.
    pub(super) got: BTreeSet<(usize, u64)>,
    /// How often a member of the queue group got it.
    members: u32,
    /// Where copies came, and how many clusters they had been in, the last included.
    pub(super) visits: Vec<(usize, usize)>,
    pub(super) dropped: Vec<(usize, Reason)>,
    hop_budget: u8,
}

impl Letter {
    pub(super) fn new(from: usize, word: u8, hop_budget: u8) -> Self {
        let (visits, dropped) = (Vec::new(), Vec::new());
        Self { from, word, got: BTreeSet::new(), members: 0, visits, dropped, hop_budget }
    }

    /// A copy came over so many links, each of which has cost one of the budget.
    pub(super) fn came(
        &mut self,
        node: usize,
        clusters: usize,
        links: usize,
        left: u8,
    ) -> Result<(), Violation> {
        self.visits.push((node, clusters));
        if links + usize::from(left) == usize::from(self.hop_budget) {
            return Ok(());
        }
        let of = self.hop_budget;
        let text = format!("after {links} links {left} of {of} hops are left at node {node}");
        Err(Violation::new("budget", text))
    }

    /// One copy for each subscriber, at any time.
    pub(super) fn delivered(
        &mut self,
        node: usize,
        life: u64,
        is_member: bool,
    ) -> Result<(), Violation> {
        let is_first = match is_member {
            true => {
                self.members += 1;
                self.members == 1
            }
            false => self.got.insert((node, life)),
        };
        if is_first {
            return Ok(());
        }
        let text = format!("a message of node {} is delivered twice at node {node}", self.from);
        Err(Violation::new("duplicates", text))
    }
}

impl Mesh {
    /// Every node publishes every word.
    pub(super) fn publish_all(&mut self) -> Vec<MessageId> {
        let words = 0..self.plan.words_count as u8;
        let nodes = 0..self.nodes.len();
        let all: Vec<_> =
            nodes.flat_map(|node| words.clone().map(move |word| (node, word))).collect();
        all.into_iter().filter_map(|(node, word)| self.publish(node, word)).collect()
    }

    /// Whether a circuit let any of these not through.
    pub(super) fn are_refused(&self, messages: &[MessageId]) -> bool {
        let letters = messages.iter().filter_map(|message| self.letters.get(message));
        let mut dropped = letters.flat_map(|letter| &letter.dropped);
        dropped.any(|(_, reason)| *reason == Reason::LinkOpenCircuit)
    }

    /// Each of these, published while nothing changed, has come to everyone who wants it, and to one
    /// member of a group, on the shortest way if that was open.
    pub(super) fn all_have_got(
        &self,
        messages: &[MessageId],
        was_open: bool,
    ) -> Result<(), Violation> {
        let (distances, live) = (self.distances(), self.live());
        let is_open = was_open && self.are_circuits_closed();
        messages.iter().try_for_each(|message| {
            self.has_come(*message, &live, &distances)?;
            // Where links are of different lengths the shortest way is not that of the fewest, and
            // where one is tried still it is another's.
            match self.plan.has(Mishap::Distances) || !is_open {
                true => Ok(()),
                false => self.came_straight(*message, &distances),
            }
        })
    }

    fn has_come(
        &self,
        message: MessageId,
        live: &BTreeSet<usize>,
        distances: &Distances,
    ) -> Result<(), Violation> {
        let Some(letter) = self.letters.get(&message) else { return Ok(()) };
        let wants = |node: &usize, is_it: &dyn Fn(&Subscription) -> bool| {
            self.nodes[*node].wants.iter().any(is_it)
        };
        let each = |subscription: &Subscription| subscription.is_each(letter.word);
        let shared =
            |subscription: &Subscription| *subscription == Subscription::Shared(letter.word);
        let from = self.cluster_of(letter.from);
        let reached = live.iter().copied();
        let reached = reached.filter(|&to| distances.between(from, self.cluster_of(to)).is_some());
        let reached: Vec<usize> = reached.collect();
        let should: BTreeSet<usize> =
            reached.iter().copied().filter(|node| wants(node, &each)).collect();
        let got: BTreeSet<usize> = letter.got.iter().map(|&(node, _)| node).collect();
        let members = u32::from(reached.iter().any(|node| wants(node, &shared)));
        if got != should || letter.members != members {
            let text = format!(
                "{message} of word {} from node {}: got by {got:?}, wanted by {should:?}; by {} of \
                 {members} members; dropped {:?}",
                letter.word, letter.from, letter.members, letter.dropped
            );
            return Err(Violation::new("lost", text));
        }
        Ok(())
    }

    fn came_straight(&self, message: MessageId, distances: &Distances) -> Result<(), Violation> {
        let Some(letter) = self.letters.get(&message) else { return Ok(()) };
        let from = self.cluster_of(letter.from);
        for &(node, clusters) in &letter.visits {
            let shortest = distances.between(from, self.cluster_of(node)).map(|links| 1 + links);
            if shortest != Some(clusters) {
                let text = format!(
                    "{message} comes from node {} to {node} through {clusters} clusters, not {shortest:?}",
                    letter.from
                );
                return Err(Violation::new("shortest", text));
            }
        }
        Ok(())
    }
}
