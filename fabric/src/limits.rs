//! Every bound of the machines, with its reason.

use core::time::Duration;

use mpreg_proto::limits::{PAYLOAD_BYTES_MAX, SHARES_MAX};

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

/// Of the messages that would take a half-open link, one in so many tries it. At 100,000 a second and
/// 10 ms until a failure shows, 63 may be lost.
pub const TRIAL_ONE_IN: u64 = 16;

/// A flow that sent nothing for so long takes a better way. Longer than a message is under way, with queues
/// and busy processors on it.
pub const FLOW_PAUSE: Duration = Duration::from_secs(1);

/// After so long on a way that is not the best, half the pause will do, and so on: 1 ms after 20 s.
pub const FLOW_PATIENCE: Duration = Duration::from_secs(2);

/// A flow stays no longer on a way that is not the best: one without any pause is overtaken once.
pub const FLOW_KEPT_MAX: Duration = Duration::from_secs(30);

/// Flows a shard keeps on their ways: one per destination and shard that messages come from. At 64 bytes
/// each 256 KiB a shard; 100 nodes of four shards and ten destinations fill it.
pub const FLOWS_KEPT: usize = 4096;

/// Streams of messages from other nodes whose recent numbers a shard remembers: one per origin, shard
/// of it, priority and queue group. At 8 KiB each 8 MiB a shard, reached with 200 busy publishing
/// nodes.
pub const STREAMS_SEEN_MAX: usize = 1024;

/// Messages back from the newest of a stream that are told from those seen. What is older counts as
/// seen. A way that takes 60 ms longer reorders this many at a million a second.
pub const SEEN_BACK: u64 = 1 << 16;

/// Advertisements of links a node keeps, its own among them. 1,000 nodes of its cluster and 2,000
/// gateways of others fit; at 1 KiB each 4 MiB.
pub const ADVERTISEMENTS_MAX: usize = 4096;

/// Advertisements a peer is told at once, in bytes: half of the smallest lane. All that fit here take five
/// seconds.
pub const FLOODS_SHARE_BYTES: usize = 8 << 10;

/// Exits kept of one destination: the best and three alternates.
pub const EXITS_MAX: usize = 4;

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
/// Destinations one neighbouring node may announce. At about 2 KiB a route with a long path, 2 MiB a
/// neighbour.
pub const ROUTES_PER_NEIGHBOUR_MAX: usize = 1024;

/// Updates of one neighbour taken per second, over time. A hundred clusters announced every ten
/// seconds are ten; each may cost a millisecond of verifying.
pub const ROUTE_UPDATES_PER_SECOND_MAX: u32 = 200;

/// What a neighbour's past is remembered for, besides the routes it holds: destinations it withdrew.
pub const ROUTE_RECORDS_MAX: usize = 2 * ROUTES_PER_NEIGHBOUR_MAX;

/// Ways to one destination kept besides the best one.
pub const ROUTE_ALTERNATES_MAX: usize = 3;

/// Gateways of the own cluster whose routes are held.
pub const ROUTE_GATEWAYS_MAX: usize = 64;

/// Time between two comparisons of a node with one other of its cluster, drawn anew each time: what a
/// broken link lost is made good in one of them.
pub const ROUTE_COMPARE_EVERY: Duration = Duration::from_secs(5);

/// Destinations held per gateway, withdrawn ones included.
pub const ROUTES_PER_GATEWAY_MAX: usize = 4096;

/// Nodes of other clusters that count as having spoken for them: 100 bytes each.
pub const ROUTE_ORIGINS_MAX: usize = 4096;

/// Numbers reserved on disk at once: an hour of announcements to ten neighbours of 100 clusters.
pub const ROUTE_SEQUENCES_RESERVED_MAX: u64 = 1 << 16;

/// The next block is asked for when this many are left: a whole table to ten neighbours.
pub const ROUTE_SEQUENCES_LOW_MAX: u64 = 1 << 14;

/// Beginnings of chains known to be rightly signed. At 48 bytes, 400 KiB.
pub const ROUTE_CHAINS_VERIFIED_MAX: usize = 8192;

/// Keys of a cluster in use at once: the current one and the next.
pub const KEYS_PER_CLUSTER_MAX: usize = 2;

/// Clusters with keys.
pub const KEY_CLUSTERS_MAX: usize = 4096;

/// Round trips of a link that are remembered, the shortest of which is how far away its peer is: of eight
/// seconds, at two pings a second. A machine is rarely busy for so long without a pause.
pub const ROUND_TRIPS_KEPT: usize = 16;

/// Round trip a link between clusters counts as at least, microseconds: nobody is nearer than a
/// cable.
pub const ROUTE_LINK_LATENCY_US_MIN: u32 = 10;

/// How far two clocks may be apart before a key that begins or ends is judged wrongly, seconds.
pub const KEY_CLOCK_TOLERANCE_S_MAX: u64 = 300;

/// Bytes of entries put into one message before the next is begun.
pub const ROUTE_MESSAGE_FILL_BYTES_MAX: usize = 48 << 10;

const _: () = assert!(
    ROUTE_MESSAGE_FILL_BYTES_MAX + mpreg_proto::limits::ROUTE_ENTRY_BYTES_MAX
        < mpreg_proto::limits::ROUTE_MESSAGE_BYTES_MAX
);
const _: () = assert!(ROUTE_SEQUENCES_LOW_MAX < ROUTE_SEQUENCES_RESERVED_MAX);
const _: () = assert!(ROUTES_PER_NEIGHBOUR_MAX < ROUTE_RECORDS_MAX);
/// Feeds of other nodes a node keeps, those that ended included: two a node make a cluster of 2,000.
pub const CATALOG_FEEDS_MAX: usize = 4096;

/// Of these, feeds of other clusters. What a foreign cluster says can never crowd out one's own.
pub const CATALOG_FOREIGN_FEEDS_MAX: usize = 2048;

/// Entries of one feed. A node whose clients want more patterns than this has them refused; at 200
/// bytes an entry 25 MiB.
pub const CATALOG_FEED_ENTRIES_MAX: usize = 1 << 17;

/// Entries of all feeds, 200 MiB at 200 bytes each.
pub const CATALOG_ENTRIES_MAX: usize = 1 << 20;

/// Of these, entries of other clusters.
pub const CATALOG_FOREIGN_ENTRIES_MAX: usize = 1 << 19;

/// Cleared entries a feed remembers. Beyond it the oldest are forgotten, and who is further behind
/// gets the feed whole.
pub const CATALOG_CLEARED_MAX: usize = 1 << 12;

/// Bytes sent to one link before others get their turn, and before the link's queue is asked again.
pub const GOSSIP_TURN_BYTES: usize = 128 << 10;

/// Links of its own cluster a node sends each piece of news to. With more it picks some at random.
pub const GOSSIP_FULL_FANOUT_MAX: usize = 20;

/// Time between two turns of sending. What happens meanwhile goes in one frame; 10 ms are a
/// twenty-fifth of what news may take through a cluster.
pub const GOSSIP_PACE: Duration = Duration::from_millis(10);

/// Time between two frames of signs of life on one link. A lease is a hundred times as long, and three
/// of them fit one: a way of sixteen hops may delay each of them by four seconds.
pub const GOSSIP_BEAT_PACE: Duration = Duration::from_millis(250);

/// How long a link that refused a frame is left alone.
pub const GOSSIP_REST: Duration = Duration::from_millis(100);

/// How long an answer is waited for before somebody else is asked: three round trips around the world.
pub const GOSSIP_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two views of who wants what: shards drop routes at each, so they get them in bunches.
pub const VIEW_PACE: Duration = Duration::from_millis(10);

/// Topics named as otherwise than before with a view. With more, shards forget all routes.
pub const VIEW_TOPICS_MAX: usize = 256;

/// Changes waiting for shards to let go of an old view. With more, that view is given up, and another
/// made from the start: 10,000 patterns take a few milliseconds.
pub const VIEW_CHANGES_MAX: usize = 1 << 14;

/// Bytes of what is kept of the catalog for the next life: 10,000 nodes, or fewer and what they offer.
pub const HINTS_BYTES_MAX: usize = 1 << 20;

/// From a change of the catalog to when it is written down, so that what comes together is one write.
pub const HINTS_DELAY: Duration = Duration::from_secs(1);

/// Between two writes of it.
pub const HINTS_PACE: Duration = Duration::from_secs(10);

/// After this life's begin, hints of nodes nobody has heard of are forgotten once anybody is reached.
pub const HINTS_LIFE: Duration = Duration::from_secs(15 * 60);

/// Advertisements of links that wait for the key they are signed with: of a fabric of 100 clusters with
/// two gateways each, 4 KiB a piece at most.
pub const FLOODS_UNSIGNED_MAX: usize = 256;

/// Commands of one call graph. At about 300 bytes each, and what they carry, 80 KiB.
pub const CALL_GRAPH_COMMANDS_MAX: usize = 256;

/// Commands one after another on the longest way through a call graph: at 10 ms each, a third of a
/// second. What is deeper is a loop somebody unrolled.
pub const CALL_GRAPH_DEPTH_MAX: usize = 32;

/// References of one call graph: four a command. Every result is read once for all of those to it.
pub const CALL_GRAPH_REFERENCES_MAX: usize = 1024;

/// Bytes of one call graph: names, constraints and arguments. It comes in one message.
pub const CALL_GRAPH_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// Calls of one call graph under way at once. One graph is one client's; 32 keep a few nodes busy and
/// are half of what a client with single calls is measured with.
pub const CALL_GRAPH_UNDER_WAY_MAX: usize = 32;

/// Bytes of results one call graph holds, for its commands and for its answer: sixteen of the largest.
/// A result that finds no room is refused, and is that command's error.
pub const CALL_GRAPH_HELD_BYTES_MAX: usize = 16 * PAYLOAD_BYTES_MAX;

/// Bytes of a command's name: what a queue group's name may have.
pub const CALL_COMMAND_NAME_BYTES_MAX: usize = 64;

/// Levels of an argument where references may be. Each is read once more than the one around it, so
/// the largest argument takes about 30 ms of a shard.
pub const CALL_ARGUMENT_DEPTH_MAX: usize = 16;

/// Fields from a result to what is referred to in it. Each costs one more reading of that part.
pub const CALL_REFERENCE_FIELDS_MAX: usize = 16;

/// Levels of a value written anew in another encoding: what serde_json reads by default.
pub const CALL_VALUE_DEPTH_MAX: usize = 128;

const _: () = assert!(CATALOG_FOREIGN_FEEDS_MAX < CATALOG_FEEDS_MAX);
const _: () = assert!(CATALOG_FOREIGN_ENTRIES_MAX < CATALOG_ENTRIES_MAX);

/// Registrations of functions by all clients of a node: at about 300 bytes each 5 MiB.
pub const FUNCTION_WORKERS_MAX: usize = 1 << 14;

/// Of these, by one connection: a service of many small functions, and no more.
pub const FUNCTION_WORKERS_PER_SESSION_MAX: usize = 256;

/// Functions whose calls are split between versions: people set them, one by one.
pub const SPLITS_MAX: usize = 256;

/// Versions of one split: the old, the new, and some experiments.
pub const SPLIT_VERSIONS_MAX: usize = SHARES_MAX;

/// Milliseconds are what a call usually takes; who says nothing waits as long as for a slow page.
pub const CALL_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// A call is worth waiting for no longer. What takes longer is a task for a queue.
pub const CALL_DEADLINE_MAX: Duration = Duration::from_secs(15 * 60);

/// Endpoints one call is asked of, one after the other or side by side. An overload of all of them is
/// not made worse by each call more than so many times.
pub const CALL_TRIES_MAX: usize = 4;

/// No word on a call that was asked for: it is asked again. Twice a round trip around the world.
pub const CALL_RESEND: Duration = Duration::from_millis(200);

/// No word on a call that runs: is it still at it?
pub const CALL_POLL: Duration = Duration::from_millis(250);

/// Both waits are doubled each time, up to this: what a lost answer costs at most, of the two seconds
/// that a way that broke may cost in all.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(1);

/// A call that takes longer is told to run. Faster ones cost one message back.
pub const CALL_ACCEPT: Duration = Duration::from_millis(20);

/// No word from a node that offers the function no more, for so long: nobody runs it there. A few
/// questions may be lost.
pub const CALL_GONE_PATIENCE: Duration = Duration::from_secs(2);

/// No word from a node to which no way leads, for so long: its answer is not waited for. A cluster that fell
/// silent is offered for longer than that. Ways are found anew within two seconds, and cables are put back.
pub const CALL_CUT_PATIENCE: Duration = Duration::from_secs(5);

/// How long one that cannot be reached is asked again, if nobody else can be asked: ways are found
/// anew within two seconds.
pub const CALL_DROP_PATIENCE: Duration = Duration::from_secs(2);

/// How long a word on a call is worth sending on that has no deadline of its own.
pub const CALL_WORD_DEADLINE: Duration = Duration::from_secs(5);

/// Parts of a result after which the node that sends them is told that they came.
pub const CALL_PARTS_PER_ACK: u32 = 16;

/// What an answer that is kept takes beside its bytes: its place in the maps.
pub const CALL_ANSWER_OVERHEAD_BYTES: usize = 256;

/// Calls back from the newest of a stream that are told from those that came here. What is older is
/// not run. A third of a second of the busiest origin.
pub const CALL_SEEN_BACK: u64 = 1 << 15;

/// How long a stream of calls is remembered without a word: no copy of a call is under way for longer.
pub const CALL_STREAM_IDLE: Duration = Duration::from_secs(16 * 60);

/// Bounds of one shard's calls: tests build machines with small ones, and meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallBounds {
    /// Calls of clients of this node.
    pub open_max: usize,
    /// Of these, by one connection.
    pub open_per_session_max: usize,
    /// Bytes of their values, kept to be sent again.
    pub open_bytes_max: usize,
    /// What workers have not answered, be it wanted or not.
    pub jobs_max: usize,
    /// Calls of other nodes that run, and answers kept.
    pub served_max: usize,
    /// Bytes of answers kept, and of parts on their way, with overhead.
    pub answers_bytes_max: usize,
    /// Of these, parts of one call that are not known to have come.
    pub parts_bytes_max: usize,
    /// Streams of calls of other nodes: one for each life of a shard that asks.
    pub streams_max: usize,
}

impl CallBounds {
    /// Calls at about 500 bytes each are 32 MiB, jobs half of it; values 64 MiB. Answers are kept for a
    /// second of 100,000 calls each. Four of the largest parts are on their way at once. A stream takes
    /// 8 KiB: 16 MiB, for 2,000 nodes that call functions of this shard.
    pub const NODE: Self = Self {
        open_max: 1 << 16,
        open_per_session_max: 1 << 13,
        open_bytes_max: 64 << 20,
        jobs_max: 1 << 17,
        served_max: 1 << 17,
        answers_bytes_max: 32 << 20,
        parts_bytes_max: 4 * PAYLOAD_BYTES_MAX,
        streams_max: 1 << 11,
    };
}

/// Bounds of one shard's call graphs: tests build desks with small ones, and meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphBounds {
    /// Graphs of clients of this shard.
    pub graphs_max: usize,
    /// Of these, by one connection.
    pub graphs_per_session_max: usize,
    /// Bytes of what was asked for, and of results held.
    pub bytes_max: usize,
}

impl GraphBounds {
    /// Each graph has 32 calls under way at most, so 256 of them are an eighth of what a shard keeps open, and
    /// the 16 of a connection a sixteenth of what it may. Bytes are as many as calls may hold: four graphs
    /// that hold all they may.
    pub const SHARD: Self =
        Self { graphs_max: 256, graphs_per_session_max: 16, bytes_max: 64 << 20 };
}

const _: () = assert!(
    GraphBounds::SHARD.graphs_max * CALL_GRAPH_UNDER_WAY_MAX * 8 <= CallBounds::NODE.open_max
        && GraphBounds::SHARD.graphs_per_session_max * CALL_GRAPH_UNDER_WAY_MAX
            <= CallBounds::NODE.open_per_session_max
);
const _: () = assert!(CALL_ACCEPT.as_nanos() < CALL_RESEND.as_nanos());
const _: () = assert!(CALL_DEADLINE_MAX.as_nanos() < CALL_STREAM_IDLE.as_nanos());
