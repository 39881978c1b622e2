//! Shares of versions: some calls go to the new one, while it is not trusted with all.
//!
//! A call is drawn by its own number, so that the same call goes to the same version wherever it is
//! asked again, as long as the split and who can take calls are the same. The draw is over the shares of
//! those versions that can take the call: where some cannot, theirs is the others', in proportion.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use mpreg_proto::function::{FunctionName, Shares, Version};
use mpreg_proto::id::NodeId;

use crate::graph::affinity;
use crate::limits::SPLIT_VERSIONS_MAX;

/// At least one version, none twice, none with nothing. In order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split(Vec<(Version, u32)>);

/// Why this is no split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("a split is between 1 to {SPLIT_VERSIONS_MAX} versions, this has {0}")]
    Versions(usize),
    #[error("version {0} is in the split twice")]
    Twice(Version),
    #[error("version {0} has no share: what gets nothing is left out")]
    NoShare(Version),
}

impl Split {
    pub fn new(mut weights: Vec<(Version, u32)>) -> Result<Self, SplitError> {
        if weights.is_empty() || SPLIT_VERSIONS_MAX < weights.len() {
            return Err(SplitError::Versions(weights.len()));
        }
        let mut seen = BTreeSet::new();
        for (version, weight) in &weights {
            if *weight == 0 {
                return Err(SplitError::NoShare(version.clone()));
            }
            if !seen.insert(version) {
                return Err(SplitError::Twice(version.clone()));
            }
        }
        weights.sort_unstable();
        Ok(Self(weights))
    }

    pub fn weights(&self) -> &[(Version, u32)] {
        &self.0
    }

    pub(super) fn weight(&self, version: &Version) -> Option<u32> {
        self.0.iter().find_map(|(known, weight)| (known == version).then_some(*weight))
    }

    /// Which version a call is drawn for, of those that are there for it. None if none is.
    pub(super) fn draw(&self, call: u64, is_there: impl Fn(&Version) -> bool) -> Option<&Version> {
        let there = || self.0.iter().filter(|(version, _)| is_there(version));
        let total: u64 = there().map(|&(_, weight)| u64::from(weight)).sum();
        // A stream of its own: which endpoint a call likes says nothing about its version.
        let drawn = affinity(call, SHARES);
        let mut at = (u128::from(drawn) * u128::from(total)) >> 64;
        for (version, weight) in there() {
            match at.checked_sub(u128::from(*weight)) {
                Some(rest) => at = rest,
                None => return Some(version),
            }
        }
        None
    }
}

/// What nodes say of how calls are split. Of several, what was said last counts.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<FunctionName, BTreeMap<NodeId, Shares>>);

impl Said {
    /// What holds from here on; none: calls of the function are not split.
    pub(super) fn hear(
        &mut self,
        owner: NodeId,
        name: &FunctionName,
        shares: Option<Shares>,
    ) -> Option<Split> {
        let said = self.0.entry(name.clone()).or_default();
        match shares {
            Some(shares) => _ = said.insert(owner, shares),
            None => _ = said.remove(&owner),
        }
        let last = said.iter().max_by_key(|&(owner, shares)| (shares.said_at, *owner));
        let split = last.and_then(|(_, shares)| Split::new(shares.weights.clone()).ok());
        if said.is_empty() {
            self.0.remove(name);
        }
        split
    }
}

/// `shares`, as bytes.
const SHARES: u128 = 0x7368_6172_6573;
