//! An address, why it is dialled, and who was found there.
//!
//! Invariants:
//! - An address is lost only while no member says it is there.
//! - A place that is of no use to anybody is forgotten once no dial of it is under way.

use core::time::Duration;

use mpreg_proto::id::NodeId;

use super::Timing;
use super::attempt::Attempt;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Place {
    /// The member that said last that it is here. It is dialled by its name.
    pub(super) member: Option<NodeId>,
    /// Kept, whoever is here.
    pub(super) is_seed: bool,
    /// A member failed here, and may be back, or another in its place.
    pub(super) lost_until: Option<Instant>,
    pub(super) found: Found,
    pub(super) attempt: Attempt,
}

/// Who was here when it was last reached or heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nobody,
    Node {
        node: NodeId,
        /// Of another cluster.
        is_abroad: bool,
    },
    /// It said goodbye.
    Departed(NodeId),
    OwnNode,
}

impl Found {
    /// This node, and it has not said goodbye.
    pub(super) fn is_node(self, node: NodeId) -> bool {
        matches!(self, Self::Node { node: found, .. } if found == node)
    }
}

impl Place {
    pub(super) fn new(next: Instant) -> Self {
        let attempt = Attempt::at(next);
        Self { member: None, is_seed: false, lost_until: None, found: Found::Nobody, attempt }
    }

    pub(super) fn is_of_member(&mut self, node: NodeId) {
        self.member = Some(node);
        self.lost_until = None;
        self.found = Found::Node { node, is_abroad: false };
    }

    /// A node says where it is: it need not be looked for here.
    pub(super) fn has_moved(&mut self, node: NodeId) {
        if self.member == Some(node) {
            self.member = None;
        }
        if self.found.is_node(node) || self.found == Found::Departed(node) {
            self.lost_until = None;
            self.found = Found::Node { node, is_abroad: false };
        }
    }

    pub(super) fn is_of_use(&self) -> bool {
        self.member.is_some() || self.is_seed || self.lost_until.is_some() || self.attempt.is_open()
    }

    /// The longest wait between dials. Who is linked with nobody waits for no seed for long.
    pub(super) fn longest(&self, is_reached: bool, timing: &Timing) -> Duration {
        if self.is_abroad() {
            timing.backoff_abroad
        } else if self.member.is_some() || (self.is_seed && !is_reached) {
            timing.backoff_near
        } else {
            timing.backoff_far
        }
    }

    /// A seed where a node of another cluster was found last.
    fn is_abroad(&self) -> bool {
        self.is_seed && matches!(self.found, Found::Node { is_abroad: true, .. })
    }
}
