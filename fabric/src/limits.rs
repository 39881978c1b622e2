//! Every bound of the machines, with its reason.

/// Topics whose route a shard remembers. At about 150 bytes each, 10 MiB a shard.
pub const ROUTES_CACHED_MAX: usize = 1 << 16;

/// Subscribers named by all remembered routes of a shard together. A topic with 100,000
/// subscribers costs 2 MB to remember, so topics alone are no bound. An ungrouped one counts twice
/// and takes 20 bytes: 40 MiB.
pub const TARGETS_CACHED_MAX: usize = 1 << 22;

/// Bytes of messages a shard holds while it asks another who wants them. Beyond it the shell stops
/// reading publishers; one receive buffer pool (2 MiB) may still arrive.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Buckets of literal topics per owning shard, for saying "nobody wants any of these" in one bit.
/// 64 Ki buckets are 8 KiB a shard pair and leave 86 % empty with 10,000 literal subscriptions.
pub const INTEREST_BUCKETS: usize = 1 << 16;

/// Subscriptions of an ended session removed per turn of the loop: about 0.3 ms of work, so a
/// client that held a million of them does not stall the others when it leaves.
pub const FORGET_PER_TURN_MAX: usize = 1000;

/// Pings without an answer before a session is given up.
pub const PINGS_UNANSWERED_MAX: u8 = 3;

/// Entries of one permission list. A question looks at each, at about 20 ns: 1,024 of them would
/// cost as much as sending 500 messages, so no list needs more.
pub const PERMISSION_ENTRIES_MAX: usize = 1024;

/// Replies a session may still be asked to give, where it may publish only replies. The oldest is
/// forgotten first. At 40 bytes a reply topic about 1 MiB, at the longest topics 3 MiB.
pub const REPLIES_OPEN_MAX: usize = 4096;

/// The bounds above that one shard is built with: tests build it with small ones, and meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub routes_cached_max: usize,
    pub targets_cached_max: usize,
    /// A power of two, the same for all shards of a node.
    pub interest_buckets: usize,
    pub forget_per_turn_max: usize,
}

impl Bounds {
    pub const NODE: Self = Self {
        routes_cached_max: ROUTES_CACHED_MAX,
        targets_cached_max: TARGETS_CACHED_MAX,
        interest_buckets: INTEREST_BUCKETS,
        forget_per_turn_max: FORGET_PER_TURN_MAX,
    };
}

const _: () = assert!(INTEREST_BUCKETS.is_power_of_two());

/// Live members of one cluster. A node keeps about 150 bytes for each and looks through all of them a
/// few times a second; larger fabrics are several clusters.
pub const MEMBERS_MAX: usize = 1024;

/// Lives remembered as over, so that no late word revives them. The oldest goes first. At about 100
/// bytes 400 KiB, and what four generations of the largest cluster leave behind.
pub const GONE_MAX: usize = 4096;

/// How far a node's own ill health stretches its probes: Lifeguard's figure. At nine times the probe
/// period a node that was stopped for long accuses nobody before it has caught up.
pub const HEALTH_MAX: u32 = 8;

/// Nodes of a cluster that are all linked with each other: 19 links each, one hop to everywhere.
pub const FULL_MESH_NODES_MAX: usize = 20;

/// Dials under way. Handshakes cost a few milliseconds of CPU each, at both ends.
pub const DIALS_MAX: usize = 4;

/// Nodes that failed without a goodbye and are looked for again, in case a partition heals.
pub const LOST_NODES_MAX: usize = 1024;

/// Links with one node while it is not yet known which stays: one each way, and one that the other
/// end opened because it lost an earlier one.
pub const LINKS_PER_NODE_MAX: usize = 3;

/// Seeds of a cluster. Each is dialled while the cluster is not reached.
pub const SEEDS_MAX: usize = 64;
