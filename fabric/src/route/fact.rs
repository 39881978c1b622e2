//! What happened to routes, as closed sets: logs, counters and test assertions all read these.

use mpreg_proto::id::{ClusterId, NodeId};

/// Why what a peer said was not taken, each with a count of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// It was held on the way for longer than it was good for.
    Expired,
    /// It leads to this cluster.
    OwnCluster,
    /// No terms with that neighbour, or the terms exclude it.
    Policy,
    /// Nobody vouches for it.
    EmptyPath,
    /// The last link of the chain is not the peer's.
    AdvertiserDiffers,
    /// The path ends at another cluster than the destination.
    DestinationDiffers,
    /// This cluster is on the path already, or another one is twice.
    Loop,
    /// Taken, and not chosen while there is another: this way was lost a moment ago.
    HoldDown,
    /// Taken, and not chosen while there is another: this way comes and goes.
    Suppressed,
    /// Farther than the terms allow, or nearer than the hop before it.
    Metrics,
    /// The peer said something later already, or the destination did long ago.
    Stale,
    /// Told to somebody it should not have been told to.
    Leak,
    Signature(SignatureFault),
    /// The neighbour holds as many routes as it may.
    TooManyRoutes,
    /// The neighbour speaks more often than it may.
    TooManyUpdates,
    /// Not readable, from a peer that is who it says.
    Malformed,
    /// Not a peer, or not one that may say this.
    UnknownPeer,
    /// A kind this version does not know.
    UnknownKind,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureFault {
    /// There is none, and one is needed.
    Missing,
    /// No key of that cluster is known.
    UnknownCluster,
    /// The cluster has keys, this is none of them.
    UnknownKey,
    Revoked,
    /// The authorisation begins later.
    NotYetValid,
    /// The authorisation is over.
    Lapsed,
    /// The signature is not of these bytes by this key.
    Forged,
    /// It was said to another cluster.
    OtherNeighbour,
    /// The destination may not use one of the tags.
    TagNotAllowed,
}

/// Why a key record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyFault {
    /// This node has no root key to check it by.
    NoRoot,
    /// Not signed by the root key.
    Forged,
    /// An older key than those in use.
    Rollback,
    /// The same serial was given to something else.
    Conflict,
    Revoked,
    Malformed,
    TooMany,
}

/// What is worth counting or logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Accepted {
        from: NodeId,
        destination: ClusterId,
    },
    Rejected {
        from: NodeId,
        destination: Option<ClusterId>,
        reason: Reject,
    },
    /// A withdrawal, whether or not there was something to take away.
    Withdrawn {
        from: NodeId,
        destination: ClusterId,
        was_held: bool,
    },
    /// A route was not announced again in time.
    Expired {
        from: NodeId,
        destination: ClusterId,
    },
    /// A key on its path holds no longer, or its destination has said newer things for long.
    Void {
        from: NodeId,
        destination: ClusterId,
    },
    /// The way to a destination is another one, or there is none.
    Best {
        destination: ClusterId,
        via: Option<NodeId>,
    },
    KeyAccepted {
        cluster: ClusterId,
        key_serial: u64,
    },
    KeyRevoked {
        cluster: ClusterId,
        key_serial: u64,
    },
    KeyRejected {
        from: Option<NodeId>,
        fault: KeyFault,
    },
    /// Nothing is announced to this peer: signatures are required and there is no key to sign with.
    CannotSign {
        to: NodeId,
    },
}

impl Reject {
    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::OwnCluster => "own_cluster",
            Self::Policy => "policy",
            Self::EmptyPath => "empty_path",
            Self::AdvertiserDiffers => "advertiser_differs",
            Self::DestinationDiffers => "destination_differs",
            Self::Loop => "loop",
            Self::HoldDown => "hold_down",
            Self::Suppressed => "suppressed",
            Self::Metrics => "metrics",
            Self::Stale => "stale",
            Self::Leak => "leak",
            Self::Signature(fault) => fault.word(),
            Self::TooManyRoutes => "too_many_routes",
            Self::TooManyUpdates => "too_many_updates",
            Self::Malformed => "malformed",
            Self::UnknownPeer => "unknown_peer",
            Self::UnknownKind => "unknown_kind",
        }
    }
}

impl SignatureFault {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::UnknownCluster => "signature_unknown_cluster",
            Self::UnknownKey => "signature_unknown_key",
            Self::Revoked => "signature_revoked",
            Self::NotYetValid => "signature_not_yet_valid",
            Self::Lapsed => "signature_lapsed",
            Self::Forged => "signature_forged",
            Self::OtherNeighbour => "signature_other_neighbour",
            Self::TagNotAllowed => "signature_tag_not_allowed",
        }
    }
}

impl KeyFault {
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoot => "no_root",
            Self::Forged => "forged",
            Self::Rollback => "rollback",
            Self::Conflict => "conflict",
            Self::Revoked => "revoked",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
        }
    }
}
