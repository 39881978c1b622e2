//! Which ways to other clusters count: from link-state, from announced routes, over a link to the
//! cluster itself. In that order, as the mode says; and never a guess.
//!
//! ```text
//!   link-state  (prefer, only)     \
//!   routes      (disabled, prefer)  >  exits whose cluster may be linked  -->  one table
//!   direct      (always)           /
//! ```
//!
//! The exits of the first source that has any come first and keep their order; those of the others
//! follow as alternates. Policy is a matter of the next hop: which cluster is linked, not which lies
//! behind it.
//!
//! Invariants:
//! - [`explain`] looks ways up in the same table by the same rules as forwarding does.
//! - No exit is in a cluster that the federation mode does not allow.
//!
//! Tests: below; that what is explained is what is done is held for random tables.

use alloc::vec::Vec;

use mpreg_proto::hop::Reason;
use mpreg_proto::id::{ClusterId, NodeId};

use crate::limits::EXITS_MAX;
use crate::way::{Exit, Flow, Link, LinkStateMode, Table, Ways};

/// Which other clusters this one has links with.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Federation {
    /// None.
    #[default]
    Strict,
    /// These, and what lies behind them.
    Bridged(Vec<ClusterId>),
    /// Any. Those nobody named are worth a warning.
    Permissive(Vec<ClusterId>),
}

/// What is thought of a link to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judgement {
    Authorised,
    /// It may be linked, though nobody named it.
    AuthorisedWithWarning,
    /// No other cluster may be linked.
    RejectedIsolated,
    /// Others may be linked, this one not.
    RejectedNotAllowed,
}

impl Federation {
    pub fn judge(&self, mine: ClusterId, other: ClusterId) -> Judgement {
        match self {
            _ if mine == other => Judgement::Authorised,
            Self::Strict => Judgement::RejectedIsolated,
            Self::Bridged(named) | Self::Permissive(named) if named.contains(&other) => {
                Judgement::Authorised
            }
            Self::Bridged(_) => Judgement::RejectedNotAllowed,
            Self::Permissive(_) => Judgement::AuthorisedWithWarning,
        }
    }

    pub fn allows(&self, mine: ClusterId, other: ClusterId) -> bool {
        self.judge(mine, other).is_allowed()
    }
}

impl Judgement {
    pub const fn is_allowed(self) -> bool {
        match self {
            Self::Authorised | Self::AuthorisedWithWarning => true,
            Self::RejectedIsolated | Self::RejectedNotAllowed => false,
        }
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::AuthorisedWithWarning => "authorised_with_warning",
            Self::RejectedIsolated => "rejected_isolated",
            Self::RejectedNotAllowed => "rejected_not_allowed",
        }
    }
}

/// Who says that a way is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    LinkState,
    Routes,
    Direct,
}

impl Source {
    /// In order of preference.
    pub const ALL: [Self; 3] = [Self::LinkState, Self::Routes, Self::Direct];

    /// The word logs and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LinkState => "link_state",
            Self::Routes => "routes",
            Self::Direct => "direct",
        }
    }

    const fn counts(self, mode: LinkStateMode) -> bool {
        match (self, mode) {
            (Self::LinkState, LinkStateMode::Disabled) | (Self::Routes, LinkStateMode::Only) => {
                false
            }
            (Self::LinkState, LinkStateMode::Prefer | LinkStateMode::Only)
            | (Self::Routes, LinkStateMode::Disabled | LinkStateMode::Prefer)
            | (Self::Direct, _) => true,
        }
    }
}

/// All that is known of ways to other clusters. Each list is sorted by its key.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    pub mine: ClusterId,
    pub mode: LinkStateMode,
    pub federation: &'a Federation,
    pub link_state: &'a [Ways<ClusterId>],
    pub routes: &'a [Ways<ClusterId>],
    pub links: &'a [Link],
}

/// The table forwarding goes by.
pub fn plan(sources: &Sources<'_>) -> Vec<Ways<ClusterId>> {
    let named = [sources.link_state, sources.routes].into_iter().flatten().map(|ways| ways.to);
    let mut all: Vec<_> = named.chain(sources.links.iter().map(|link| link.cluster)).collect();
    all.sort_unstable();
    all.dedup();
    let others = all.into_iter().filter(|&to| to != sources.mine);
    others.filter_map(|to| sources.ways(to)).collect()
}

impl Sources<'_> {
    fn ways(&self, to: ClusterId) -> Option<Ways<ClusterId>> {
        let mut exits: Vec<Exit> = Vec::new();
        let (mut equal_count, mut distance) = (0, 0);
        for source in Source::ALL {
            let offered = self.offered(source, to);
            let allowed = |exit: &&Exit| source.counts(self.mode) && self.allows(exit.cluster);
            let is_first = exits.is_empty();
            for (at, exit) in offered.exits.iter().enumerate().filter(|(_, exit)| allowed(exit)) {
                if !exits.contains(exit) && exits.len() < EXITS_MAX {
                    exits.push(*exit);
                    equal_count += usize::from(is_first && at < offered.equal_count);
                    distance = if is_first { offered.distance } else { distance };
                }
            }
        }
        // What was equally good may all be forbidden: then the best of the rest stands alone.
        let equal_count = equal_count.max(1);
        (!exits.is_empty()).then_some(Ways { to, exits, equal_count, distance })
    }

    fn allows(&self, cluster: ClusterId) -> bool {
        self.federation.allows(self.mine, cluster)
    }

    /// What a source has, whether or not it counts.
    fn offered(&self, source: Source, to: ClusterId) -> Ways<ClusterId> {
        let of = |list: &[Ways<ClusterId>]| {
            let at = list.binary_search_by_key(&to, |ways| ways.to).ok();
            let ways = at.and_then(|at| list.get(at)).cloned();
            ways.unwrap_or(Ways { to, exits: Vec::new(), equal_count: 0, distance: 0 })
        };
        match source {
            Source::LinkState => of(self.link_state),
            Source::Routes => of(self.routes),
            Source::Direct => {
                let direct = self.links.iter().filter(|link| link.cluster == to);
                let exits = direct.map(|link| Exit { node: link.peer, cluster: link.cluster });
                let exits: Vec<_> = exits.collect();
                Ways { to, equal_count: exits.len(), exits, distance: 1 }
            }
        }
    }
}

/// Why a message for a cluster goes where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub to: ClusterId,
    /// Where it goes next, or why nowhere.
    pub next: Result<NodeId, Reason>,
    /// Every exit any source has, in the order they are considered.
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub source: Source,
    pub exit: Exit,
    pub verdict: Verdict,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Chosen,
    /// It could be taken, and another is.
    Alternate,
    /// It cannot be taken by this message now.
    Refused(Reason),
    /// The mode does not count this source.
    SourceNotCounted,
    /// The federation mode does not allow links to its cluster.
    NotAllowed,
    /// More were better, and no more are kept.
    NotKept,
    /// A source before has it too.
    Known,
}

impl Verdict {
    /// The word logs and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Alternate => "alternate",
            Self::Refused(reason) => reason.word(),
            Self::SourceNotCounted => "source_not_counted",
            Self::NotAllowed => "not_allowed",
            Self::NotKept => "not_kept",
            Self::Known => "known",
        }
    }
}

/// Explains what forwarding does with a message for this cluster. `table` holds what [`plan`] made of
/// the sources; what is to be avoided is in the flow's trail.
pub fn explain(
    sources: &Sources<'_>,
    table: &Table<'_>,
    to: ClusterId,
    flow: &Flow<'_>,
) -> Explanation {
    let kept = table.clusters.iter().find(|ways| ways.to == to);
    let chosen = table.choose(to, flow);
    let mut candidates = Vec::<Candidate>::new();
    for source in Source::ALL {
        for exit in sources.offered(source, to).exits {
            let is_known = |known: &Candidate| {
                known.exit == exit && !matches!(known.verdict, Verdict::SourceNotCounted)
            };
            let verdict = if !source.counts(sources.mode) {
                Verdict::SourceNotCounted
            } else if candidates.iter().any(is_known) {
                Verdict::Known
            } else if !sources.allows(exit.cluster) {
                Verdict::NotAllowed
            } else if kept.is_none_or(|ways| !ways.exits.contains(&exit)) {
                Verdict::NotKept
            } else if chosen.is_ok_and(|(taken, _)| taken == exit) {
                Verdict::Chosen
            } else {
                table.through(exit, flow).map_or_else(Verdict::Refused, |_| Verdict::Alternate)
            };
            candidates.push(Candidate { source, exit, verdict });
        }
    }
    Explanation { to, next: chosen.map(|(_, next)| next), candidates }
}

#[cfg(test)]
mod tests;
