//! `[routes]` and `[catalog]`: what is taken from other clusters and what they are told, as written in the
//! file and as the machines of the fabric have it.
//!
//! Both are read again while the router runs (`admin/reload.rs`).
//!
//! Tests: `routes/tests.rs` beside this file.

use core::str::FromStr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use mpreg_fabric::catalog::{self, Key};
use mpreg_fabric::limits::{
    KEYS_PER_CLUSTER_MAX, ROUTE_UPDATES_PER_SECOND_MAX, ROUTES_PER_NEIGHBOUR_MAX,
};
use mpreg_fabric::route::{
    self, Among, Damping, Pin, Policy, Quota, Signatures, Terms, Timing, Weights,
};
use mpreg_proto::catalog::Kind;
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::id::ClusterId;
use mpreg_proto::limits::ROUTE_TAGS_MAX;
use mpreg_proto::route::{Relation, Tag};
use mpreg_proto::topic::Pattern;
use serde::Deserialize;

use crate::limits::POLICY_NAMES_MAX;

const CLUSTER_MUST: &str = "the name of a cluster, 1 to 63 characters of a-z, 0-9 and -";
const TAG_MUST: &str = "a tag, of a-z, 0-9, -, ., : and _";
const KEY_MUST: &str = "a public key, 64 hexadecimal digits";
const RELATION_MUST: &str = "open, customer, upstream or equal";
const BLOCKED_MUST: &str =
    "KIND NAME, with a kind of subscription, cluster_interest, function, queue or cache";

/// `[routes]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routes {
    /// `required`, or `unsigned_allowed` for networks where everyone is trusted.
    pub signatures: String,
    /// What routes to this cluster are marked with.
    pub tags: Vec<String>,
    /// Which routes come in from any neighbour.
    pub import: Filter,
    /// Which routes any neighbour is told.
    pub export: Filter,
    /// What holds for a neighbouring cluster besides.
    pub neighbours: Vec<Neighbour>,
    /// What holds for those not among them.
    pub others: Others,
    pub weights: WeightsFile,
    pub damping: DampingFile,
    pub timing: TimingFile,
    pub quota: QuotaFile,
    /// Keys of clusters that hold whatever the authority says.
    pub pins: Vec<PinFile>,
}

/// `[[routes.neighbours]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Neighbour {
    pub cluster: String,
    /// What the neighbour is to this cluster.
    pub relation: Option<String>,
    pub import: Filter,
    pub export: Filter,
}

/// `[routes.others]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Others {
    /// Whether anything is exchanged with them.
    pub exchange: bool,
    pub relation: Option<String>,
    pub import: Filter,
    pub export: Filter,
}

/// Which routes pass. An absent list lets all of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub destinations: Option<Vec<String>>,
    pub destinations_denied: Vec<String>,
    /// The clusters that tell of them.
    pub advertisers: Option<Vec<String>>,
    pub advertisers_denied: Vec<String>,
    /// A route needs one of these.
    pub tags: Option<Vec<String>>,
    pub tags_denied: Vec<String>,
    /// Links between clusters. 1..=65_535.
    pub hops_max: Option<u64>,
    /// Microseconds of round trip. 1..=4_294_967_295.
    pub latency_us_max: Option<u64>,
}

/// `routes.weights`: thousandths of a point. Each 0..=1_000_000_000.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsFile {
    /// Per millisecond of round trip.
    pub latency: Option<u64>,
    /// Per link between clusters.
    pub hop: Option<u64>,
    /// Per unit of cost.
    pub cost: Option<u64>,
    /// For a way on which everything is lost.
    pub unreliability: Option<u64>,
    /// Taken off per Mbit/s.
    pub bandwidth: Option<u64>,
    /// The most that is taken off.
    pub bandwidth_max: Option<u64>,
}

/// `routes.damping`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DampingFile {
    /// Milliseconds from the loss of a way until it may be chosen again. 0..=3_600_000.
    pub hold_down_ms: Option<u64>,
    /// Added for each loss. 1..=1_000_000, as the next three.
    pub flap_penalty: Option<u64>,
    /// Not chosen from here on; 0 is never.
    pub suppress_at: Option<u64>,
    /// Chosen again from here on down.
    pub reuse_at: Option<u64>,
    pub penalty_max: Option<u64>,
    /// Milliseconds in which a penalty halves. 100..=3_600_000.
    pub half_life_ms: Option<u64>,
}

/// `routes.timing`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingFile {
    /// Milliseconds for which routes to this cluster are good. 1_000..=3_600_000.
    pub ttl_ms: Option<u64>,
    /// The most that is believed of others. `ttl_ms`..=3_600_000.
    pub ttl_max_ms: Option<u64>,
    /// Between announcements of this cluster. 100..=half of `ttl_ms`.
    pub refresh_ms: Option<u64>,
    /// Between two updates of one route to one neighbour. 1..=10_000.
    pub pace_ms: Option<u64>,
}

/// `routes.quota`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaFile {
    /// Destinations one neighbouring node may announce. 1..=1_024.
    pub routes: Option<u64>,
    /// 1..=200.
    pub updates_per_second: Option<u64>,
}

/// `[[routes.pins]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinFile {
    pub cluster: String,
    pub serial: u64,
    /// The public key: 64 hexadecimal digits.
    pub key: String,
}

/// `[catalog]`: which entries of other clusters are to be seen.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// Of which clusters; `*` alone is any.
    pub clusters: Vec<String>,
    /// Which functions; `*` alone is any.
    pub functions: Vec<String>,
    /// `KIND NAME` of entries that are not; of subscriptions the pattern.
    pub blocked: Vec<String>,
}

/// Why a policy is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    #[error("{key} is {value}, must be within {min}..={max}")]
    OutOfBounds { key: String, value: u64, min: u64, max: u64 },
    #[error("{key} has {value:?}, must be {must}")]
    Meaningless { key: String, value: String, must: &'static str },
    #[error("{one} and {other} exclude each other")]
    Exclusive { one: String, other: String },
    #[error("{key} has {count} names, must be at most {max}")]
    TooMany { key: String, count: usize, max: usize },
    #[error("routes.neighbours has cluster {name} twice")]
    Twice { name: String },
    #[error(
        "routes.pins has more than {KEYS_PER_CLUSTER_MAX} keys of cluster {name}, or a serial twice"
    )]
    Pins { name: String },
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            signatures: "required".to_owned(),
            tags: Vec::new(),
            import: Filter::default(),
            export: Filter::default(),
            neighbours: Vec::new(),
            others: Others::default(),
            weights: WeightsFile::default(),
            damping: DampingFile::default(),
            timing: TimingFile::default(),
            quota: QuotaFile::default(),
            pins: Vec::new(),
        }
    }
}

impl Default for Others {
    fn default() -> Self {
        let (import, export) = (Filter::default(), Filter::default());
        Self { exchange: true, relation: None, import, export }
    }
}

impl Default for Catalog {
    fn default() -> Self {
        let any = || vec!["*".to_owned()];
        Self { clusters: any(), functions: any(), blocked: Vec::new() }
    }
}

impl TryFrom<Routes> for Policy {
    type Error = BadPolicy;

    fn try_from(file: Routes) -> Result<Self, BadPolicy> {
        let tags: BTreeSet<Tag> = set("routes.tags", file.tags, ROUTE_TAGS_MAX, TAG_MUST)?;
        let mut neighbours = BTreeMap::new();
        for (neighbour, number) in file.neighbours.into_iter().zip(1..) {
            let Neighbour { cluster: name, relation, import, export } = neighbour;
            let key = format!("routes.neighbours[{number}]");
            let cluster = one::<ClusterName>(&format!("{key}.cluster"), &name, CLUSTER_MUST)?.id();
            let terms = terms(&key, relation, import, export)?;
            if neighbours.insert(cluster, terms).is_some() {
                return Err(BadPolicy::Twice { name });
            }
        }
        let Others { exchange, relation, import, export } = file.others;
        let others = terms("routes.others", relation, import, export)?;
        Ok(Self {
            import: file.import.checked("routes.import")?,
            export: file.export.checked("routes.export")?,
            neighbours,
            others: exchange.then_some(others),
            signatures: signatures(file.signatures)?,
            tags: tags.into_iter().collect(),
            weights: file.weights.checked()?,
            damping: file.damping.checked()?,
            timing: file.timing.checked()?,
            quota: file.quota.checked()?,
        })
    }
}

/// Keys by cluster.
pub type Pins = BTreeMap<ClusterId, Vec<Pin>>;

/// Those that are pinned.
pub(super) fn pins(files: &[PinFile]) -> Result<Pins, BadPolicy> {
    let mut pins = Pins::new();
    for (PinFile { cluster: name, serial, key }, number) in files.iter().zip(1..) {
        let of = |part: &str| format!("routes.pins[{number}].{part}");
        let cluster = one::<ClusterName>(&of("cluster"), name, CLUSTER_MUST)?.id();
        let decoded = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok();
        let bytes = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let is_key = |bytes: &[u8; 32]| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok();
        let bytes = bytes.filter(is_key).ok_or_else(|| BadPolicy::Meaningless {
            key: of("key"),
            value: key.clone(),
            must: KEY_MUST,
        })?;
        let held = pins.entry(cluster).or_default();
        let is_twice = held.iter().any(|pin: &Pin| pin.key_serial == *serial);
        if is_twice || KEYS_PER_CLUSTER_MAX <= held.len() {
            return Err(BadPolicy::Pins { name: name.clone() });
        }
        held.push(Pin { cluster, key_serial: *serial, key: bytes });
    }
    Ok(pins)
}

fn signatures(value: String) -> Result<Signatures, BadPolicy> {
    match value.as_str() {
        "required" => Ok(Signatures::Required),
        "unsigned_allowed" => Ok(Signatures::UnsignedAllowed),
        _ => {
            let (key, must) = ("routes.signatures".to_owned(), "required or unsigned_allowed");
            Err(BadPolicy::Meaningless { key, value, must })
        }
    }
}

fn terms(
    key: &str,
    relation: Option<String>,
    import: Filter,
    export: Filter,
) -> Result<Terms, BadPolicy> {
    let relation = match relation.as_deref() {
        None | Some("open") => Relation::Open,
        Some("customer") => Relation::Customer,
        Some("upstream") => Relation::Upstream,
        Some("equal") => Relation::Equal,
        Some(value) => {
            let (key, value) = (format!("{key}.relation"), value.to_owned());
            return Err(BadPolicy::Meaningless { key, value, must: RELATION_MUST });
        }
    };
    Ok(Terms {
        import: import.checked(&format!("{key}.import"))?,
        export: export.checked(&format!("{key}.export"))?,
        relation,
    })
}

impl Filter {
    fn checked(self, key: &str) -> Result<route::Filter, BadPolicy> {
        let of = |part: &str| format!("{key}.{part}");
        let tags = |part: &str, names| set::<Tag>(&of(part), names, POLICY_NAMES_MAX, TAG_MUST);
        let max = |part: &str, value: Option<u64>, max: u64| {
            value.map_or(Ok(max), |value| within(&of(part), value, 1, max))
        };
        Ok(route::Filter {
            destinations: among(&of("destinations"), self.destinations, self.destinations_denied)?,
            advertisers: among(&of("advertisers"), self.advertisers, self.advertisers_denied)?,
            tags: self.tags.map(|names| tags("tags", names)).transpose()?,
            tags_denied: tags("tags_denied", self.tags_denied)?,
            hops_max: max("hops_max", self.hops_max, u16::MAX.into())? as u16,
            latency_us_max: max("latency_us_max", self.latency_us_max, u32::MAX.into())? as u32,
        })
    }
}

fn among(key: &str, only: Option<Vec<String>>, denied: Vec<String>) -> Result<Among, BadPolicy> {
    let other = format!("{key}_denied");
    match only {
        Some(_) if !denied.is_empty() => Err(BadPolicy::Exclusive { one: key.to_owned(), other }),
        Some(names) => Ok(Among::Only(clusters(key, names)?)),
        None if denied.is_empty() => Ok(Among::All),
        None => Ok(Among::AllBut(clusters(&other, denied)?)),
    }
}

fn clusters(key: &str, names: Vec<String>) -> Result<BTreeSet<ClusterId>, BadPolicy> {
    let names: BTreeSet<ClusterName> = set(key, names, POLICY_NAMES_MAX, CLUSTER_MUST)?;
    Ok(names.iter().map(ClusterName::id).collect())
}

impl WeightsFile {
    fn checked(&self) -> Result<Weights, BadPolicy> {
        let usual = Weights::default();
        let weight = |part, value, usual: u32| milli("routes.weights", part, value, usual);
        Ok(Weights {
            latency: weight("latency", self.latency, usual.latency)?,
            hop: weight("hop", self.hop, usual.hop)?,
            cost: weight("cost", self.cost, usual.cost)?,
            unreliability: weight("unreliability", self.unreliability, usual.unreliability)?,
            bandwidth: weight("bandwidth", self.bandwidth, usual.bandwidth)?,
            bandwidth_max: weight("bandwidth_max", self.bandwidth_max, usual.bandwidth_max)?,
        })
    }
}

fn milli(key: &str, part: &str, value: Option<u64>, usual: u32) -> Result<u32, BadPolicy> {
    let value = value.map(|value| within(&format!("{key}.{part}"), value, 0, 1_000_000_000));
    Ok(value.transpose()?.map_or(usual, |value| value as u32))
}

impl DampingFile {
    fn checked(&self) -> Result<Damping, BadPolicy> {
        let usual = Damping::default();
        let penalty = |part: &str, value: Option<u64>, min: u64, usual: u32| {
            let key = format!("routes.damping.{part}");
            within(&key, value.unwrap_or(usual.into()), min, 1_000_000).map(|value| value as u32)
        };
        let penalty_max = penalty("penalty_max", self.penalty_max, 1, usual.penalty_max)?;
        let suppress_at = penalty("suppress_at", self.suppress_at, 0, usual.suppress_at)?;
        let reuse_at = penalty("reuse_at", self.reuse_at, 1, usual.reuse_at)?;
        if suppress_at != 0 {
            let (suppress, max) = (u64::from(suppress_at), u64::from(penalty_max));
            within("routes.damping.suppress_at", suppress, u64::from(reuse_at) + 1, max)?;
        }
        Ok(Damping {
            hold_down: span("routes.damping.hold_down_ms", self.hold_down_ms, usual.hold_down, 0)?,
            flap_penalty: penalty("flap_penalty", self.flap_penalty, 1, usual.flap_penalty)?,
            suppress_at,
            reuse_at,
            penalty_max,
            half_life: span(
                "routes.damping.half_life_ms",
                self.half_life_ms,
                usual.half_life,
                100,
            )?,
        })
    }
}

impl TimingFile {
    fn checked(&self) -> Result<Timing, BadPolicy> {
        let usual = Timing::NODE;
        let ttl = span("routes.timing.ttl_ms", self.ttl_ms, usual.ttl, 1_000)?;
        let ttl_ms = ttl.as_millis() as u64;
        let ttl_max_ms = self.ttl_max_ms.unwrap_or((usual.ttl_max.as_millis() as u64).max(ttl_ms));
        let refresh = self.refresh_ms.unwrap_or((usual.refresh.as_millis() as u64).min(ttl_ms / 2));
        let pace = self.pace_ms.unwrap_or(usual.pace.as_millis() as u64);
        let ms = Duration::from_millis;
        Ok(Timing {
            ttl,
            ttl_max: ms(within("routes.timing.ttl_max_ms", ttl_max_ms, ttl_ms, HOUR_MS)?),
            refresh: ms(within("routes.timing.refresh_ms", refresh, 100, ttl_ms / 2)?),
            pace: ms(within("routes.timing.pace_ms", pace, 1, 10_000)?),
        })
    }
}

impl QuotaFile {
    fn checked(&self) -> Result<Quota, BadPolicy> {
        let routes_max = ROUTES_PER_NEIGHBOUR_MAX as u64;
        let routes = self.routes.unwrap_or(routes_max);
        let rate_max = u64::from(ROUTE_UPDATES_PER_SECOND_MAX);
        let rate = self.updates_per_second.unwrap_or(rate_max);
        Ok(Quota {
            routes: within("routes.quota.routes", routes, 1, routes_max)? as usize,
            updates_per_second: within("routes.quota.updates_per_second", rate, 1, rate_max)?
                as u32,
        })
    }
}

impl TryFrom<Catalog> for catalog::Filter {
    type Error = BadPolicy;

    fn try_from(file: Catalog) -> Result<Self, BadPolicy> {
        let Catalog { clusters: from, functions, blocked } = file;
        let is_any = |names: &[String]| names == ["*"];
        let of = |name: &String| bytes::Bytes::copy_from_slice(name.as_bytes());
        let functions = match is_any(&functions) {
            true => None,
            false => Some(at_most("catalog.functions", &functions)?.iter().map(of).collect()),
        };
        let key = |entry: &String| {
            blocked_key(entry).ok_or_else(|| BadPolicy::Meaningless {
                key: "catalog.blocked".to_owned(),
                value: entry.clone(),
                must: BLOCKED_MUST,
            })
        };
        Ok(Self {
            clusters: match is_any(&from) {
                true => None,
                false => Some(clusters("catalog.clusters", from)?),
            },
            functions,
            blocked: at_most("catalog.blocked", &blocked)?
                .iter()
                .map(key)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn blocked_key(entry: &str) -> Option<Key> {
    let (kind, name) = entry.split_once(' ')?;
    let kinds =
        [Kind::SUBSCRIPTION, Kind::CLUSTER_INTEREST, Kind::FUNCTION, Kind::QUEUE, Kind::CACHE];
    let kind = kinds.into_iter().find(|known| known.word() == kind)?;
    let is_want = [Kind::SUBSCRIPTION, Kind::CLUSTER_INTEREST].contains(&kind);
    let is_name = if is_want { Pattern::parse(name.as_bytes()).is_ok() } else { !name.is_empty() };
    is_name.then(|| Key::new(kind, name.as_bytes()))
}

const HOUR_MS: u64 = 3_600_000;

fn span(
    key: &str,
    value: Option<u64>,
    usual: Duration,
    min_ms: u64,
) -> Result<Duration, BadPolicy> {
    let value = value.unwrap_or(usual.as_millis() as u64);
    within(key, value, min_ms, HOUR_MS).map(Duration::from_millis)
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<u64, BadPolicy> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(BadPolicy::OutOfBounds { key: key.to_owned(), value, min, max })
}

fn at_most<'a>(key: &str, names: &'a [String]) -> Result<&'a [String], BadPolicy> {
    let (count, max) = (names.len(), POLICY_NAMES_MAX);
    if max < count {
        return Err(BadPolicy::TooMany { key: key.to_owned(), count, max });
    }
    Ok(names)
}

fn set<T: FromStr + Ord>(
    key: &str,
    names: Vec<String>,
    max: usize,
    must: &'static str,
) -> Result<BTreeSet<T>, BadPolicy> {
    let count = names.len();
    if max < count {
        return Err(BadPolicy::TooMany { key: key.to_owned(), count, max });
    }
    names.iter().map(|name| one(key, name, must)).collect()
}

fn one<T: FromStr>(key: &str, value: &str, must: &'static str) -> Result<T, BadPolicy> {
    value.parse().map_err(|_| BadPolicy::Meaningless {
        key: key.to_owned(),
        value: value.to_owned(),
        must,
    })
}

#[cfg(test)]
mod tests;
