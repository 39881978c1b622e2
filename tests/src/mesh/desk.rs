//! Messages: what a shard of a node does with the view of its control core.
//!
//! ```text
//!   publish --> originate \
//!                          > Decision --> copies on links, subscribers here
//!   a copy  --> forward   /
//! ```
//!
//! A topic is one word; subscribers want a word, all words, or share a word in a queue group. The
//! frames behind a header are blank but for the word.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::control::{Input, Peer, View, Want};
use mpreg_fabric::hop::seen::{Seen, Verdict};
use mpreg_fabric::hop::{
    Decision, Dropped, GroupWanted, Start, Wanted, enters, forward, originate,
};
use mpreg_fabric::rng::Rng;
use mpreg_fabric::want::{self, Wanter};
use mpreg_fabric::way::{Flowlets, Helm};
use mpreg_proto::catalog;
use mpreg_proto::envelope::Priority;
use mpreg_proto::hop::{Flags, GroupId, Header, MessageId};
use mpreg_proto::id::{ClusterId, NodeId, ShardIx};
use mpreg_proto::limits::ENVELOPE_BYTES;
use mpreg_proto::peer::{Lane, Plane};
use mpreg_proto::topic::{Pattern, Topic};

use super::plan::Mishap;
use super::post::Letter;
use super::stream::{Sent, Sort};
use super::{Mesh, check};
use crate::check::Violation;
use crate::history::Plan as _;

/// What a node's clients want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subscription {
    Word(u8),
    AnyWord,
    /// One member among all nodes gets each.
    Shared(u8),
}

const GROUP: &[u8] = b"g";

/// More than there are in these fabrics.
const FLOWS: usize = 64;

/// More than any way in these fabrics is long.
pub(super) const HOP_BUDGET: u8 = 32;

impl Subscription {
    pub(super) fn draw(words_count: usize, rng: &mut Rng) -> Self {
        let word = rng.below(words_count as u32) as u8;
        match rng.below(4) {
            0 => Self::AnyWord,
            1 => Self::Shared(word),
            _ => Self::Word(word),
        }
    }

    fn pattern(self) -> Bytes {
        match self {
            Self::Word(word) | Self::Shared(word) => topic(word),
            Self::AnyWord => Bytes::from_static(b"w.*"),
        }
    }

    pub(super) fn want(self, members: u32) -> Want {
        let group: &[u8] = if matches!(self, Self::Shared(_)) { GROUP } else { b"" };
        let (text, mut name) = (self.pattern(), Vec::new());
        let pattern = Pattern::parse(&text).expect("a good pattern");
        catalog::Want { pattern, group }.put(&mut name);
        Want { shard: shard(), name: name.into(), members }
    }

    /// Whether each of its subscribers gets this.
    pub(super) fn is_each(self, word: u8) -> bool {
        self == Self::AnyWord || self == Self::Word(word)
    }
}

fn shard() -> ShardIx {
    ShardIx::new(0).expect("every node has a shard")
}

fn topic(word: u8) -> Bytes {
    Bytes::from(format!("w.{word}"))
}

/// What a shard remembers.
pub(super) struct Desk {
    seen: Seen,
    count: u64,
    decision: Decision,
    flowlets: Flowlets,
    found: want::Wanted,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            seen: Seen::new(256, Duration::from_secs(60)),
            count: 0,
            decision: Decision::default(),
            flowlets: Flowlets::new(FLOWS),
            found: want::Wanted::default(),
        }
    }
}

/// Who wants a word, as one node sees it.
struct Wanting {
    nodes: Vec<NodeId>,
    clusters: Vec<ClusterId>,
    groups: Vec<GroupWanted>,
}

impl Wanting {
    fn of(view: &View, here: &BTreeSet<Subscription>, word: u8, found: &mut want::Wanted) -> Self {
        let topic = topic(word);
        view.interest.wanted(Topic::parse(&topic).expect("a good topic"), found);
        let me = view.here.node;
        let is_here = here.iter().any(|subscription| subscription.is_each(word));
        let nodes = found.nodes.iter().copied().chain(is_here.then_some(me)).collect();
        let (holders, clusters) = (Vec::new(), Vec::new());
        let mut group = GroupWanted { group: GroupId::of(GROUP), holders, clusters };
        for wanted in &found.groups {
            match wanted.wanter {
                Wanter::Node(node) => group.hold(node, wanted.members.get()),
                Wanter::Cluster(cluster) => group.clusters.push(cluster),
            }
        }
        if here.contains(&Subscription::Shared(word)) {
            group.hold(me, 1);
        }
        let is_shared = !group.holders.is_empty() || !group.clusters.is_empty();
        let groups = is_shared.then_some(group).into_iter().collect();
        Self { nodes, clusters: found.clusters.clone(), groups }
    }

    fn as_wanted(&self) -> Wanted<'_> {
        Wanted { clusters: &self.clusters, nodes: &self.nodes, groups: &self.groups }
    }
}

impl Mesh {
    /// A client of this node subscribes, or is gone.
    pub(super) fn resubscribe(&mut self, node: usize) {
        let Self { rng, nodes, plan, .. } = self;
        let subscription = Subscription::draw(plan.words_count, rng);
        let it = &mut nodes[node];
        let members = u32::from(it.wants.insert(subscription));
        if members == 0 {
            it.wants.remove(&subscription);
        }
        let Some(life) = it.life.as_ref().map(|life| life.number) else { return };
        self.feed_life(node, life, Input::Want(subscription.want(members)));
    }

    /// A client of this node publishes; the number of the message.
    pub(super) fn publish(&mut self, node: usize, word: u8) -> Option<MessageId> {
        // Some have too little to come everywhere.
        let is_short = self.is_busy() && self.one_in(4);
        let hop_budget = if is_short { self.rng.below(5) as u8 } else { self.hop_budget };
        let it = &mut self.nodes[node];
        let life = it.life.as_mut()?;
        let (view, desk) = (Arc::clone(&life.view), &mut life.desk);
        desk.count += 1;
        let message = MessageId::new(it.id, life.incarnation, shard(), desk.count);
        let wanting = Wanting::of(&view, &it.wants, word, &mut desk.found);
        let (flags, messages) = (Flags::default(), 1);
        let start = Start { message, messages, flags, hop_budget, deadline_ms: None };
        let mut decision = std::mem::take(&mut desk.decision);
        let mut helm = Helm { table: view.table(), flowlets: &mut desk.flowlets, now: self.now };
        originate(&mut helm, &wanting.as_wanted(), &start, &mut decision);
        let line = format_args!("publishes {message} of {word}");
        self.trace.note(self.now, node, &(message, word), line);
        self.published += 1;
        self.letters.insert(message, Letter::new(node, word, hop_budget));
        let copies = decision.shares().iter().map(|share| {
            let mut body = Vec::new();
            decision.first_leg(&start, share).put(view.here, &mut body).expect("it fits");
            body.extend([word; ENVELOPE_BYTES + 1]);
            (share.peer(), body)
        });
        let copies: Vec<_> = copies.collect();
        self.hand_out(node, message, (&view, &decision), copies);
        self.life_mut(node).desk.decision = decision;
        Some(message)
    }

    /// A copy of a message came over a link.
    pub(super) fn carry(&mut self, node: usize, body: &[u8], sort: Sort) {
        let it = &mut self.nodes[node];
        let Some(life) = it.life.as_mut() else { return };
        let (view, desk) = (Arc::clone(&life.view), &mut life.desk);
        let header = Header::parse(body).expect("nodes write good headers");
        let word = header.frames[0];
        let message = header.message();
        let line = format_args!("hears {message}, {sort:?}");
        self.trace.note(self.now, node, &message, line);
        let is_again = header.trail.nodes.contains(it.id);
        let wanting = match enters(&view.table(), &header) {
            true => Wanting::of(&view, &it.wants, word, &mut desk.found),
            false => Wanting { nodes: Vec::new(), clusters: Vec::new(), groups: Vec::new() },
        };
        let mut decision = std::mem::take(&mut desk.decision);
        let mut helm = Helm { table: view.table(), flowlets: &mut desk.flowlets, now: self.now };
        forward(&mut helm, &wanting.as_wanted(), &header, 0, &mut decision);
        if sort == Sort::Echo {
            self.note(check::goes_no_further(node, message, &decision));
            self.life_mut(node).desk.decision = decision;
            return;
        }
        if is_again {
            let text = format!("{message} comes to node {node} again");
            self.note(Err(Violation::new("visits", text)));
        }
        let clusters = header.trail.clusters.len();
        let is_entered = header.trail.clusters.last() != Some(view.here.cluster);
        let links = header.trail.nodes.len();
        if let Some(letter) = self.letters.get_mut(&message) {
            let verdict =
                letter.came(node, clusters + usize::from(is_entered), links, header.hop_budget());
            self.note(verdict);
        }
        let copies = decision.shares().iter().map(|share| {
            let mut body = Vec::new();
            decision.leg(&header, share).put(view.here, &mut body).expect("it fits");
            body.extend(header.frames);
            (share.peer(), body)
        });
        let copies: Vec<_> = copies.collect();
        self.hand_out(node, message, (&view, &decision), copies);
        self.life_mut(node).desk.decision = decision;
    }

    fn hand_out(
        &mut self,
        node: usize,
        message: MessageId,
        (view, decision): (&View, &Decision),
        copies: Vec<(NodeId, Vec<u8>)>,
    ) {
        for &Dropped { target, reason } in &decision.dropped {
            let line = format_args!("{message} for {target:?}: {}", reason.word());
            self.trace.note(self.now, node, &message, line);
            if let Some(letter) = self.letters.get_mut(&message) {
                letter.dropped.push((node, reason));
            }
        }
        for (to, body) in copies {
            let line = format_args!("sends {message} to {to:?}");
            self.trace.note(self.now, node, &(message, to), line);
            self.note(check::circuit_is_not_open(node, to, view));
            let (plane, lane, sort) = (Plane::Data, Lane::Normal, Sort::Plain);
            let frame = Sent { plane, lane, body: body.into(), sort };
            if self.plan.has(Mishap::Echoes) && self.one_in(4) {
                self.echo(node, view, &frame);
            }
            self.send(node, to, frame);
        }
        let groups = decision.groups_here.iter().copied().map(Some);
        for group in decision.is_here.then_some(None).into_iter().chain(groups) {
            self.deliver(node, message, group);
        }
    }

    /// Sends a copy to a node, or into a cluster, that it has been in.
    fn echo(&mut self, node: usize, view: &View, frame: &Sent) {
        let header = Header::parse(&frame.body).expect("nodes write good headers");
        let here = view.here.cluster;
        let was_there = |(peer, of): &(&NodeId, &Peer)| {
            let is_back = of.cluster != here && header.trail.clusters.contains(of.cluster);
            is_back || header.trail.nodes.contains(**peer)
        };
        let back: Vec<NodeId> =
            view.peers.iter().filter(was_there).map(|(peer, _)| *peer).collect();
        if !back.is_empty() {
            let to = back[self.rng.below(back.len() as u32) as usize];
            self.send(node, to, Sent { sort: Sort::Echo, ..frame.clone() });
        }
    }

    fn deliver(&mut self, node: usize, message: MessageId, group: Option<GroupId>) {
        let now = self.now;
        let life = self.life_mut(node);
        let verdict = life.desk.seen.check(message, Priority::Normal, group, now);
        let number = life.number;
        if verdict != Verdict::First {
            self.doubled += 1;
            return;
        }
        let line = format_args!("delivers {message}");
        self.trace.note(now, node, &message, line);
        let verdict = match self.letters.get_mut(&message) {
            Some(letter) => letter.delivered(node, number, group.is_some()),
            None => Ok(()),
        };
        self.note(verdict);
    }
}
