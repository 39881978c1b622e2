//! Links by node, and which of several stays.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mpreg_proto::id::{Incarnation, NodeId};

use super::LinkId;
use crate::limits::LINKS_PER_NODE_MAX;
use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) incarnation: Incarnation,
    is_dialled: bool,
    pub(super) since: Instant,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        incarnation: Incarnation,
        is_dialled: bool,
        since: Instant,
    ) -> Self {
        Self { id, incarnation, is_dialled, since }
    }
}

#[derive(Debug, Default)]
pub(super) struct Links {
    /// The chosen one first.
    by_node: BTreeMap<NodeId, Vec<Link>>,
    nodes: BTreeMap<LinkId, NodeId>,
}

impl Links {
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let linked = self.by_node.iter().filter(|(_, links)| !links.is_empty());
        linked.map(|(&node, _)| node)
    }

    pub(super) fn chosen(&self, node: NodeId) -> Option<&Link> {
        self.by_node.get(&node)?.first()
    }

    /// Whether it had a link, and is not forgotten.
    pub(super) fn was_linked(&self, node: NodeId) -> bool {
        self.by_node.contains_key(&node)
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.by_node.remove(&node);
    }

    /// Answers with the links to be closed.
    pub(super) fn up(&mut self, node: NodeId, found: Link, is_smaller: bool) -> Vec<LinkId> {
        let links = self.by_node.entry(node).or_default();
        links.push(found);
        self.nodes.insert(found.id, node);
        links.sort_by(|a, b| {
            let incarnation = b.incarnation.cmp(&a.incarnation);
            // What the smaller id dialled comes first, at both ends.
            let by_smaller = |link: &Link| link.is_dialled != is_smaller;
            let direction = by_smaller(a).cmp(&by_smaller(b));
            let age = a.id.cmp(&b.id);
            let age = if a.is_dialled { age } else { age.reverse() };
            incarnation.then(direction).then(age)
        });
        let best = links[0];
        let may_stay = |link: &Link| {
            link.id == best.id || (link.incarnation == best.incarnation && !best.is_dialled)
        };
        let (mut stay, mut close): (Vec<Link>, Vec<Link>) =
            links.iter().partition(|link| may_stay(link));
        if LINKS_PER_NODE_MAX < stay.len() {
            close.extend(stay.drain(LINKS_PER_NODE_MAX..));
        }
        *links = stay;
        for link in &close {
            self.nodes.remove(&link.id);
        }
        close.into_iter().map(|link| link.id).collect()
    }

    /// Its node, whether it was chosen, since when it stood.
    pub(super) fn down(&mut self, id: LinkId) -> Option<(NodeId, bool, Instant)> {
        let node = self.nodes.remove(&id)?;
        let links = self.by_node.get_mut(&node).expect("a link has a node");
        let place = links.iter().position(|link| link.id == id).expect("it is listed");
        let link = links.remove(place);
        Some((node, place == 0, link.since))
    }

    /// Answers with the links of lives up to this one, to be closed.
    pub(super) fn close_up_to(&mut self, node: NodeId, incarnation: Incarnation) -> Vec<LinkId> {
        let Some(links) = self.by_node.get_mut(&node) else { return Vec::new() };
        let (close, stay): (Vec<Link>, Vec<Link>) =
            links.iter().partition(|link| link.incarnation <= incarnation);
        *links = stay;
        for link in &close {
            self.nodes.remove(&link.id);
        }
        close.into_iter().map(|link| link.id).collect()
    }
}
