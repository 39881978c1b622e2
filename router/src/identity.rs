//! Who the node is: its key, and which life this is.
//!
//! | data directory | credentials | key | incarnation |
//! |---|---|---|---|
//! | yes | yes | the certificate's, which the directory remembers | kept, greater each time |
//! | yes | no | drawn once, kept | kept, greater each time |
//! | no | yes | the certificate's | milliseconds since 1970 |
//! | no | no | drawn at each start | milliseconds since 1970 |

use std::path::Path;

use mpreg_proto::cluster::ClusterName;
use mpreg_proto::id::{Incarnation, NodeId};

use crate::ca::{self, CaError};
use crate::clock;
use crate::config::{self, Config};
use crate::peer::route_keys::{KeySource, LoadRouteKeysError, RouteKeys};
use crate::peer::tls::{CERTIFICATE_FILE, Credentials, LoadCredentialsError, ROOTS_FILE};
use crate::store::{Store, StoreError};

/// Settled once, before anybody is told of it.
#[derive(Debug)]
pub struct Identity {
    pub node: NodeId,
    pub incarnation: Incarnation,
    /// What other nodes are shown. `None`: there are to be no others.
    pub credentials: Option<Credentials>,
    pub route_keys: RouteKeys,
    /// The laboratory's authority signed for it, so it has met nobody's rules yet.
    pub is_of_laboratory: bool,
    /// Holds the data directory.
    pub store: Option<Store>,
}

/// Why the node is nobody.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Credentials(#[from] LoadCredentialsError),
    #[error(transparent)]
    RouteKeys(#[from] LoadRouteKeysError),
    #[error("signing for a node without credentials: {0}")]
    Laboratory(#[from] CaError),
    #[error("the certificate is of cluster {certified}, peer.cluster is {wanted}")]
    OtherCluster { certified: ClusterName, wanted: ClusterName },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the operating system gives no chance for an identity: {0}")]
    Chance(getrandom::Error),
}

impl Identity {
    pub fn settle(config: &Config, keys: &dyn KeySource) -> Result<Self, IdentityError> {
        let credentials = config.peer.as_ref().map(certified).transpose()?;
        let of_routes = config.peer.as_ref().map(|_| keys.load());
        let route_keys = of_routes.transpose()?.unwrap_or_default();
        let is_of_laboratory = config.peer.as_ref().is_some_and(is_of_laboratory);
        let key = credentials.as_ref().map(Credentials::public_key);
        let wall_ms = u64::try_from(clock::since_1970().as_millis()).unwrap_or(u64::MAX);
        let Some(directory) = &config.node.data_dir else {
            if credentials.is_some() {
                tracing::warn!("without node.data_dir a life is told from the last by the clock");
            }
            let node = key.map_or_else(drawn, |key| Ok(NodeId::of_key(key)))?;
            return Ok(Self {
                node,
                incarnation: Incarnation(wall_ms),
                credentials,
                route_keys,
                is_of_laboratory,
                store: None,
            });
        };
        let mut store = Store::open(directory)?;
        let node = store.settle_node(key)?;
        let incarnation = store.next_incarnation(wall_ms)?;
        let store = Some(store);
        Ok(Self { node, incarnation, credentials, route_keys, is_of_laboratory, store })
    }
}

/// What shows that this is a node of its cluster.
fn certified(peer: &config::Peer) -> Result<Credentials, IdentityError> {
    if let Some(laboratory) = &peer.laboratory
        && !peer.identity.join(CERTIFICATE_FILE).exists()
    {
        let name =
            ca::of_laboratory(laboratory, &peer.cluster, &peer.identity, clock::since_1970())?;
        let authority = laboratory.display();
        tracing::warn!(%name, %authority, "a laboratory's authority signed for this node");
    }
    let credentials = Credentials::load(&peer.identity)?;
    let certified = &credentials.name().cluster;
    if *certified == peer.cluster {
        return Ok(credentials);
    }
    let (certified, wanted) = (certified.clone(), peer.cluster.clone());
    Err(IdentityError::OtherCluster { certified, wanted })
}

fn is_of_laboratory(peer: &config::Peer) -> bool {
    let root = |directory: &Path| std::fs::read(directory.join(ROOTS_FILE)).ok();
    peer.laboratory.as_ref().is_some_and(|laboratory| root(laboratory) == root(&peer.identity))
}

/// Of a node that nobody has to know again.
fn drawn() -> Result<NodeId, IdentityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(IdentityError::Chance)?;
    Ok(NodeId(u128::from_le_bytes(bytes)))
}
