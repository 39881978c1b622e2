//! `[link_state]`: whether nodes tell each other which links between clusters there are, and in which areas,
//! as written in the file and as the machine has it.

use std::collections::{BTreeMap, BTreeSet};

use mpreg_fabric::link_state::{Areas, Summarised, SummaryFilter, Unmapped};
use mpreg_fabric::way::LinkStateMode;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::link_state::AreaId;
use serde::Deserialize;

use crate::limits::POLICY_NAMES_MAX;

/// `[link_state]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkState {
    /// `disabled`, `prefer` or `only`: what computed ways count for beside announced ones.
    pub mode: String,
    /// Areas that this cluster is in. At least one.
    pub areas: Vec<u32>,
    /// Of which area links to a neighbouring cluster are.
    pub neighbours: Vec<Mapped>,
    /// Of which area they are to others: `first`, or `none`.
    pub unmapped: String,
    /// What one area is told of another.
    pub summaries: Vec<Summary>,
}

/// `[[link_state.neighbours]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapped {
    pub cluster: String,
    pub area: u32,
}

/// `[[link_state.summaries]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub from: u32,
    pub into: u32,
    /// Clusters that are told of; `*` alone is all.
    pub clusters: Vec<String>,
}

/// What the node goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub mode: LinkStateMode,
    pub areas: Areas,
}

/// Why it is not allowed. Tables count from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLinkState {
    #[error("link_state.mode is {value:?}, must be disabled, prefer or only")]
    Mode { value: String },
    #[error("link_state.unmapped is {value:?}, must be first or none")]
    Unmapped { value: String },
    #[error("link_state.areas is empty, a cluster is in one at least")]
    NoArea,
    #[error(
        "{key} has {value:?}, must be the name of a cluster, 1 to 63 characters of a-z, 0-9 and -"
    )]
    Cluster { key: String, value: String },
    #[error("{key} is {area}, must be one of link_state.areas")]
    NotLocal { key: String, area: u32 },
    #[error("link_state.neighbours has cluster {name} twice")]
    Twice { name: String },
    #[error("link_state.summaries[{number}] is from an area into itself")]
    Same { number: usize },
    #[error("{key} has {count} entries, must be at most {POLICY_NAMES_MAX}")]
    TooMany { key: &'static str, count: usize },
}

impl Default for LinkState {
    fn default() -> Self {
        Self {
            mode: "disabled".to_owned(),
            areas: vec![0],
            neighbours: Vec::new(),
            unmapped: "first".to_owned(),
            summaries: Vec::new(),
        }
    }
}

impl TryFrom<LinkState> for Checked {
    type Error = BadLinkState;

    fn try_from(file: LinkState) -> Result<Self, BadLinkState> {
        let LinkState { mode, areas, neighbours, unmapped, summaries } = file;
        let mode = match mode.as_str() {
            "disabled" => LinkStateMode::Disabled,
            "prefer" => LinkStateMode::Prefer,
            "only" => LinkStateMode::Only,
            _ => return Err(BadLinkState::Mode { value: mode }),
        };
        let unmapped = match unmapped.as_str() {
            "first" => Unmapped::First,
            "none" => Unmapped::Refused,
            _ => return Err(BadLinkState::Unmapped { value: unmapped }),
        };
        if areas.is_empty() {
            return Err(BadLinkState::NoArea);
        }
        for (key, count) in [
            ("link_state.areas", areas.len()),
            ("link_state.neighbours", neighbours.len()),
            ("link_state.summaries", summaries.len()),
        ] {
            if POLICY_NAMES_MAX < count {
                return Err(BadLinkState::TooMany { key, count });
            }
        }
        let local: Vec<AreaId> = areas.iter().copied().map(AreaId).collect();
        let areas = Areas {
            neighbours: mapped(neighbours, &local)?,
            summaries: summarised(summaries, &local)?,
            local,
            unmapped,
        };
        Ok(Self { mode, areas })
    }
}

fn mapped(
    neighbours: Vec<Mapped>,
    local: &[AreaId],
) -> Result<BTreeMap<mpreg_proto::id::ClusterId, AreaId>, BadLinkState> {
    let mut areas = BTreeMap::new();
    for (Mapped { cluster, area }, number) in neighbours.into_iter().zip(1..) {
        let key = format!("link_state.neighbours[{number}]");
        let name = named(&format!("{key}.cluster"), &cluster)?;
        let area = of(local, format!("{key}.area"), area)?;
        if areas.insert(name.id(), area).is_some() {
            return Err(BadLinkState::Twice { name: cluster });
        }
    }
    Ok(areas)
}

fn summarised(
    summaries: Vec<Summary>,
    local: &[AreaId],
) -> Result<Vec<SummaryFilter>, BadLinkState> {
    let mut filters = Vec::new();
    for (Summary { from, into, clusters }, number) in summaries.into_iter().zip(1..) {
        let key = format!("link_state.summaries[{number}]");
        if from == into {
            return Err(BadLinkState::Same { number });
        }
        let (from, into) =
            (of(local, format!("{key}.from"), from)?, of(local, format!("{key}.into"), into)?);
        let clusters = if clusters == ["*"] {
            Summarised::All
        } else {
            let key = format!("{key}.clusters");
            let names = clusters.iter().map(|name| named(&key, name));
            let names: BTreeSet<ClusterName> = names.collect::<Result<_, _>>()?;
            Summarised::Only(names.iter().map(ClusterName::id).collect())
        };
        filters.push(SummaryFilter { from, into, clusters });
    }
    Ok(filters)
}

fn named(key: &str, value: &str) -> Result<ClusterName, BadLinkState> {
    let bad = |_| BadLinkState::Cluster { key: key.to_owned(), value: value.to_owned() };
    value.parse().map_err(bad)
}

fn of(local: &[AreaId], key: String, area: u32) -> Result<AreaId, BadLinkState> {
    let is_local = local.contains(&AreaId(area));
    if is_local { Ok(AreaId(area)) } else { Err(BadLinkState::NotLocal { key, area }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Checked, BadLinkState> {
        toml::from_str::<LinkState>(text).unwrap().try_into()
    }

    #[test]
    fn nothing_written_is_one_area_and_nothing_computed() {
        let usual = Checked { mode: LinkStateMode::Disabled, areas: Areas::single() };
        assert_eq!(checked("").unwrap(), usual);
    }

    #[test]
    fn areas_neighbours_and_summaries_are_as_written() {
        let text = "mode = 'only'\nareas = [1, 2]\nunmapped = 'none'\n\
                    neighbours = [{ cluster = 'a', area = 2 }]\n\
                    summaries = [{ from = 1, into = 2, clusters = ['*'] }, \
                    { from = 2, into = 1, clusters = ['a'] }]";
        let Checked { mode, areas } = checked(text).unwrap();
        let a = "a".parse::<ClusterName>().unwrap().id();
        let filter = |from, into, clusters| SummaryFilter {
            from: AreaId(from),
            into: AreaId(into),
            clusters,
        };
        let want = Areas {
            local: vec![AreaId(1), AreaId(2)],
            neighbours: [(a, AreaId(2))].into(),
            unmapped: Unmapped::Refused,
            summaries: vec![filter(1, 2, Summarised::All), filter(2, 1, Summarised::Only(vec![a]))],
        };
        assert_eq!((mode, areas), (LinkStateMode::Only, want));
    }

    #[test]
    fn each_refusal_names_its_key() {
        for (text, want) in [
            ("mode = 'on'", "link_state.mode is \"on\", must be disabled, prefer or only"),
            ("unmapped = 'x'", "link_state.unmapped is \"x\", must be first or none"),
            ("areas = []", "link_state.areas is empty, a cluster is in one at least"),
            (
                "neighbours = [{ cluster = 'a', area = 1 }]",
                "link_state.neighbours[1].area is 1, must be one of link_state.areas",
            ),
            (
                "neighbours = [{ cluster = 'A', area = 0 }]",
                "link_state.neighbours[1].cluster has \"A\", \
                 must be the name of a cluster, 1 to 63 characters of a-z, 0-9 and -",
            ),
            (
                "neighbours = [{ cluster = 'a', area = 0 }, { cluster = 'a', area = 0 }]",
                "link_state.neighbours has cluster a twice",
            ),
            (
                "summaries = [{ from = 0, into = 0, clusters = [] }]",
                "link_state.summaries[1] is from an area into itself",
            ),
            (
                "summaries = [{ from = 0, into = 3, clusters = [] }]",
                "link_state.summaries[1].into is 3, must be one of link_state.areas",
            ),
        ] {
            assert_eq!(checked(text).unwrap_err().to_string(), want, "{text}");
        }
    }
}
