//! What a node is told at start, and what its parts are told of it.

use alloc::collections::BTreeSet;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use mpreg_proto::catalog::{Endpoint, EndpointRole, Node};
use mpreg_proto::cluster::ClusterName;
use mpreg_proto::hop::Here;
use mpreg_proto::id::{Incarnation, NodeId, Version};
use mpreg_proto::member::PeerAddress;

use super::Hint;
use crate::catalog::{Federation as Openness, Filter, Mode};
use crate::gossip::{self, Gossip};
use crate::link_state::{self, Areas};
use crate::plan::Federation;
use crate::rng::Rng;
use crate::route::{self, Policy, Signer, Timing, WallClock};
use crate::time::Instant;
use crate::way::LinkStateMode;
use crate::{breaker, dial, member};

/// What a node is told at start.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    pub node: NodeId,
    pub cluster: ClusterName,
    /// Greater than any this node had before, and on disk already.
    pub incarnation: Incarnation,
    /// Where others reach this node.
    pub address: PeerAddress,
    /// Nodes to dial that nobody told of.
    pub seeds: Vec<PeerAddress>,
    /// What was known in the last life. `None`: nothing is kept for the next one.
    pub hints: Option<Vec<Hint>>,
    pub member: member::Timing,
    pub dial: dial::Timing,
    /// Which clusters may be linked, and so what of the catalog goes on to others.
    pub federation: Federation,
    pub gossip: gossip::Options,
    /// Which entries of other clusters are to be seen.
    pub filter: Filter,
    /// What this node says of itself; its cluster is put in.
    pub about: Node,
    pub route: RouteSettings,
    pub link_state: LinkStateSettings,
    pub breaker: breaker::Settings,
    /// All chance of the control core comes from here.
    pub seed: u64,
}

/// What announced routes need.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct RouteSettings {
    pub policy: Policy,
    /// Whose word on keys counts. `None`: only pinned keys do.
    #[serde(with = "public_key")]
    pub root: Option<VerifyingKey>,
    /// What this cluster's routes are signed with.
    pub signer: Option<Signer>,
    /// The last [`super::Record::RouteSequence`] of earlier lives.
    pub stored: Option<Version>,
    /// The last [`super::Record::RouteKeys`], or nothing.
    pub keys: Bytes,
    pub wall: WallClock,
}

/// As its bytes.
mod public_key {
    use ed25519_dalek::VerifyingKey;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        key: &Option<VerifyingKey>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.as_ref().map(VerifyingKey::as_bytes).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<VerifyingKey>, D::Error> {
        let bytes = Option::<[u8; 32]>::deserialize(from)?;
        let key = bytes.map(|bytes| VerifyingKey::from_bytes(&bytes)).transpose();
        key.map_err(D::Error::custom)
    }
}

/// What link-state needs.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct LinkStateSettings {
    pub mode: LinkStateMode,
    pub areas: Areas,
    pub timing: link_state::Timing,
}

impl Settings {
    /// Any cluster may be linked, and routes are exchanged with all of them, signed. What no key of
    /// a cluster vouches for is not believed.
    pub fn new(
        node: NodeId,
        cluster: ClusterName,
        incarnation: Incarnation,
        address: PeerAddress,
        seed: u64,
    ) -> Self {
        let about = Node { endpoints: endpoint(&address).into_iter().collect(), ..Node::default() };
        Self {
            node,
            cluster,
            incarnation,
            address,
            seeds: Vec::new(),
            hints: None,
            member: member::Timing::DEFAULT,
            dial: dial::Timing::DEFAULT,
            federation: Federation::Permissive(Vec::new()),
            gossip: gossip::Options::DEFAULT,
            filter: Filter::default(),
            about,
            route: RouteSettings::default(),
            link_state: LinkStateSettings::default(),
            breaker: breaker::Settings::NODE,
            seed,
        }
    }

    pub(super) fn gossip(&self, here: Here, rng: Rng) -> Gossip {
        let (mode, clusters) = match &self.federation {
            Federation::Strict => (Mode::Strict, &[][..]),
            Federation::Bridged(named) => (Mode::Bridging, &named[..]),
            Federation::Permissive(named) => (Mode::Permissive, &named[..]),
        };
        let clusters: BTreeSet<_> = clusters.iter().copied().collect();
        let openness = Openness { own: here.cluster, mode, clusters };
        Gossip::new(here.node, self.incarnation, openness, self.gossip, rng, Instant::START)
    }

    pub(super) fn routes(&self, here: Here) -> route::Settings {
        let RouteSettings { policy, root, signer, stored, keys: _, wall } = self.route.clone();
        route::Settings {
            node: here.node,
            cluster: here.cluster,
            incarnation: self.incarnation,
            stored,
            root,
            signer,
            policy,
            wall,
        }
    }

    pub(super) fn link_state(&self, here: Here) -> link_state::Settings {
        let LinkStateSettings { mode, areas, timing } = self.link_state.clone();
        link_state::Settings { here, incarnation: self.incarnation, mode, areas, timing }
    }
}

impl Default for RouteSettings {
    /// No keys: those are told when they are known.
    fn default() -> Self {
        Self {
            policy: Policy { timing: Timing::NODE, ..Policy::open() },
            root: None,
            signer: None,
            stored: None,
            keys: Bytes::new(),
            wall: WallClock { unix_seconds: 0, at: Instant::START },
        }
    }
}

impl Default for LinkStateSettings {
    /// Only for the inside of the cluster.
    fn default() -> Self {
        Self {
            mode: LinkStateMode::Disabled,
            areas: Areas::single(),
            timing: link_state::Timing::NODE,
        }
    }
}

/// What is said once, at the start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) keys: Bytes,
    /// The body of the node's own entry.
    pub(super) about: Bytes,
    pub(super) filter: Filter,
}

impl Start {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut body = Vec::new();
        Node { cluster: settings.cluster.to_string(), ..settings.about.clone() }.put(&mut body);
        let keys = settings.route.keys.clone();
        Self { keys, about: body.into(), filter: settings.filter.clone() }
    }
}

fn endpoint(address: &PeerAddress) -> Option<Endpoint> {
    let (host, port) = address.as_str().rsplit_once(':')?;
    Some(Endpoint {
        role: EndpointRole::PEER,
        protocol: "mpreg".into(),
        host: host.into(),
        port: port.parse().ok()?,
    })
}
