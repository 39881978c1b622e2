//! Every bound of the wire, with its reason and the relations between them checked by the compiler.

/// Bytes of a hello. Fixed, so nothing is sized by an unknown peer's word.
pub const HELLO_BYTES: usize = 64;

/// Bytes every frame starts with: its length (u32) and its kind (u8), then three kind-specific ones.
pub const FRAME_HEADER_BYTES: usize = 8;

/// Bytes of the archived envelope that opens a data frame.
pub const ENVELOPE_BYTES: usize = 16;

/// Bytes of a topic or pattern. One byte holds its length, and 255 is what NATS servers accept in
/// practice before warning.
pub const TOPIC_BYTES_MAX: usize = 255;

/// Segments of a topic or pattern. Matching cost grows with it; 32 levels are more than any
/// published naming scheme uses.
pub const TOPIC_SEGMENTS_MAX: usize = 32;

/// Bytes of a payload. Larger objects belong in storage, with their address in the message.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Bytes of a message's header block. Two bytes hold its length.
pub const HEADERS_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes of one frame, everything included.
pub const FRAME_BYTES_MAX: usize =
    ENVELOPE_BYTES + 2 * TOPIC_BYTES_MAX + HEADERS_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// Bytes of any frame without a payload but one: the largest is the registration of a function with its
/// version and resources.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1024;

/// Bytes of a client's name, for logs and `mpreg status`.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// Bytes of a queue group's name.
pub const GROUP_BYTES_MAX: usize = 64;

/// Bytes of the text that accompanies an error code.
pub const ERROR_TEXT_BYTES_MAX: usize = 255;

/// Bytes of the arguments of a line of the NATS client protocol: what nats-server takes unless told
/// otherwise, so what clients keep to.
pub const NATS_CONTROL_LINE_BYTES_MAX: usize = 4096;

/// Shards of one node: one bit each in a set of shards.
pub const SHARDS_MAX: usize = 64;

const _: () = assert!(TOPIC_BYTES_MAX <= u8::MAX as usize, "the envelope holds it in a byte");
const _: () = assert!(TOPIC_SEGMENTS_MAX < TOPIC_BYTES_MAX);
const _: () = assert!(FRAME_HEADER_BYTES <= ENVELOPE_BYTES);
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize, "the frame length is a u32");
const _: () = assert!(
    FRAME_HEADER_BYTES + 16 + TOPIC_BYTES_MAX + GROUP_BYTES_MAX <= CONTROL_FRAME_BYTES_MAX,
    "a subscription fits a control frame"
);
const _: () = assert!(FRAME_HEADER_BYTES + 4 + ERROR_TEXT_BYTES_MAX <= CONTROL_FRAME_BYTES_MAX);
const _: () = assert!(FRAME_HEADER_BYTES + CLIENT_NAME_BYTES_MAX <= CONTROL_FRAME_BYTES_MAX);
const _: () = assert!(SHARDS_MAX == u64::BITS as usize, "a set of shards is a u64");
const _: () = assert!(
    2 * TOPIC_BYTES_MAX + 32 <= NATS_CONTROL_LINE_BYTES_MAX,
    "a publication with the longest names fits a line"
);

/// Bytes of a cluster's name: one DNS label (RFC 1035 §2.3.4).
pub const CLUSTER_NAME_BYTES_MAX: usize = 63;

/// Bytes of a frame between two control cores. What is longer goes in several: a link of 1 Gbit/s
/// is held for half a millisecond by one of these.
pub const PEER_CONTROL_FRAME_BYTES_MAX: usize = 1 << 16;

/// Bytes of that frame's body.
pub const PEER_BODY_BYTES_MAX: usize = PEER_CONTROL_FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

/// Bytes of a message between two nodes: the frame its publisher wrote, and a hop header in front
/// of it that fits a control frame.
pub const PEER_DATA_FRAME_BYTES_MAX: usize = PEER_CONTROL_FRAME_BYTES_MAX + FRAME_BYTES_MAX;

/// Bytes of a node's address as text, `host:port`. One byte holds its length; a DNS name has at most
/// 253 (RFC 1035 §2.3.4), and real ones are far from it.
pub const PEER_ADDRESS_BYTES_MAX: usize = 255;

/// Bytes of one membership packet. An answer to a joiner is the largest: at about 50 bytes a member,
/// 16 KiB tell of 300, and who joins a larger cluster hears of the rest within seconds.
pub const MEMBER_PACKET_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(PEER_ADDRESS_BYTES_MAX <= u8::MAX as usize, "a packet holds it in a byte");
/// Bytes of what one node tells another about routes at once: with its frame header it fits a frame
/// of 64 KiB, which holds a link of 1 Gbit/s for half a millisecond.
pub const ROUTE_MESSAGE_BYTES_MAX: usize = 60 << 10;

/// Entries of such a message. A route of one hop takes about 250 bytes.
pub const ROUTE_ENTRIES_MAX: usize = 256;

/// Bytes of one entry: the longest path with the most tags takes 5 KiB.
pub const ROUTE_ENTRY_BYTES_MAX: usize = 8 << 10;

/// Bytes of a signed body: an origin with all its tags takes 700.
pub const ROUTE_BODY_BYTES_MAX: usize = 1 << 10;

/// Clusters of a path, the destination counted. Each costs a verification of about 40 µs where the
/// route is new, so this bounds what one entry may cost.
pub const ROUTE_PATH_MAX: usize = 16;

/// Routes that one node lists to another of its cluster in one entry: 7 KiB. Longer lists are several.
pub const ROUTE_MARKS_MAX: usize = 896;

/// Tags of a route, and of an authorisation.
pub const ROUTE_TAGS_MAX: usize = 16;

/// Bytes of a tag.
pub const ROUTE_TAG_BYTES_MAX: usize = 32;

const _: () = assert!(
    ROUTE_PATH_MAX * 256 + ROUTE_BODY_BYTES_MAX + 1024 <= ROUTE_ENTRY_BYTES_MAX,
    "the longest path fits an entry"
);
const _: () = assert!(8 * ROUTE_MARKS_MAX + 64 <= ROUTE_ENTRY_BYTES_MAX);
const _: () = assert!(2 * ROUTE_ENTRY_BYTES_MAX <= ROUTE_MESSAGE_BYTES_MAX);
const _: () = assert!(ROUTE_TAGS_MAX * (ROUTE_TAG_BYTES_MAX + 8) + 128 <= ROUTE_BODY_BYTES_MAX);
/// Bytes of an entry's name in the catalog: a topic, a group and their lengths, with as much again
/// to spare for names of kinds to come.
pub const CATALOG_NAME_BYTES_MAX: usize = 512;

/// Bytes of an entry's body. What an entry describes is one thing; 8 KiB hold a node with 100
/// endpoints and labels.
pub const CATALOG_BODY_BYTES_MAX: usize = 8 << 10;

/// Records of one feed in one frame. The smallest take about 30 bytes.
pub const CATALOG_RECORDS_MAX: usize = 1 << 10;

/// Feeds with changes in one frame, and heads of feeds in one frame: at about 70 bytes each, 28 KiB.
pub const CATALOG_HEADS_MAX: usize = 400;

/// Nodes a piece of news says it was sent to. A full mesh has 20, and a gateway some more; beyond it
/// a node may hear the same twice.
pub const CATALOG_TOLD_MAX: usize = 40;

/// Signs of life in one frame: at about 14 bytes each, 14 KiB.
pub const CATALOG_BEATS_MAX: usize = 1 << 10;

/// Buckets of a summary. At 256 a summary is 2 KiB, and 10,000 feeds that differ in one are found by
/// comparing 40.
pub const CATALOG_BUCKETS_MAX: usize = 256;

/// Bytes of records and heads after which a frame is full. With one more record of the largest size
/// it stays below what a frame between two nodes may have.
pub const CATALOG_FRAME_BYTES: usize = 32 << 10;

/// Names, tags and endpoints that one node lists, each.
pub const NODE_LIST_MAX: usize = 64;

/// Bytes of a word in the description of a node: a tag, a region, a host name (RFC 1035 §2.3.4).
pub const NODE_WORD_BYTES_MAX: usize = 255;

const _: () = assert!(1 + TOPIC_BYTES_MAX + GROUP_BYTES_MAX <= CATALOG_NAME_BYTES_MAX);
const _: () = assert!(CATALOG_BUCKETS_MAX.is_power_of_two());
const _: () = assert!(
    CATALOG_FRAME_BYTES + CATALOG_NAME_BYTES_MAX + CATALOG_BODY_BYTES_MAX + 1024 <= 1 << 16,
    "a frame between two nodes"
);
/// Bytes a hop header starts with: budget, counts of what follows, deadline, sequence.
pub const HOP_FRONT_BYTES: usize = 24;

/// Nodes a message may visit: the bound of the path it carries. A cluster of 1,000 nodes is three
/// hops wide, so 64 cross a chain of twenty such clusters.
pub const HOP_PATH_MAX: usize = 64;

/// Clusters one copy of a message may be for. What is for more goes in several copies.
pub const HOP_CLUSTERS_MAX: usize = 256;

/// Nodes of one cluster one copy of a message may be for. At 16 bytes each they are 4 KiB.
pub const HOP_NODES_MAX: usize = 256;

/// Groups and far nodes one copy of a message may be for. They take 48 bytes each.
pub const HOP_AIMED_MAX: usize = 64;

/// Data frames behind one hop header. One byte holds the number.
pub const HOP_MESSAGES_MAX: usize = u8::MAX as usize;

/// Bytes of the longest hop header.
pub const HOP_HEADER_BYTES_MAX: usize = HOP_FRONT_BYTES
    + 16 * (3 * HOP_PATH_MAX + HOP_CLUSTERS_MAX + HOP_NODES_MAX)
    + 48 * HOP_AIMED_MAX;

const _: () = assert!(HOP_PATH_MAX <= u8::MAX as usize && HOP_AIMED_MAX <= u8::MAX as usize);
const _: () = assert!(HOP_HEADER_BYTES_MAX <= 1 << 14, "a small part of a frame between nodes");

/// Bytes of one link-state advertisement, as its node wrote and signed it.
pub const ADVERTISEMENT_BYTES_MAX: usize = 1 << 15;

/// Links one node may advertise: its peers in a cluster of 1,000 nodes are 36, the rest is for links
/// to other clusters. Each takes 48 bytes.
pub const ADJACENCIES_MAX: usize = 256;

/// Clusters of another area one node may summarise. Each takes 20 bytes.
pub const SUMMARIES_MAX: usize = 256;

const _: () = assert!(
    48 * ADJACENCIES_MAX + 20 * SUMMARIES_MAX + 128 <= ADVERTISEMENT_BYTES_MAX,
    "the fullest advertisement fits"
);

/// Bytes of an Ed25519 signature (RFC 8032 §5.1.6).
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes of a function's name: with what topics of calls start with, it is a topic.
pub const FUNCTION_NAME_BYTES_MAX: usize = 128;

/// Segments of a function's name.
pub const FUNCTION_NAME_SEGMENTS_MAX: usize = 16;

/// Bytes of a version as text. Three numbers, a tag of a pre-release and the digest of a build fit.
pub const VERSION_BYTES_MAX: usize = 64;

/// Bytes of a constraint as text: a range between two pre-releases, with room for exceptions.
pub const CONSTRAINT_BYTES_MAX: usize = 160;

/// Resources that a call may ask for, and that a worker may have.
pub const RESOURCES_MAX: usize = 8;

/// Bytes of a resource's name.
pub const RESOURCE_BYTES_MAX: usize = 48;

/// Versions that the calls of one function are split between: the old one and some candidates.
pub const SHARES_MAX: usize = 8;

/// Versions times sets of resources in which one node offers one function.
pub const OFFERS_MAX: usize = 16;

/// Bytes of the fullest body of a function's entry in the catalog.
pub const OFFERS_BYTES_MAX: usize = 1
    + 16
    + 8
    + 1
    + OFFERS_MAX * (1 + VERSION_BYTES_MAX + 4 + 1 + RESOURCES_MAX * (1 + RESOURCE_BYTES_MAX));

/// Bytes of the frame that tells a client that its call failed: where it was for and the nodes it came
/// through, of which there may be [`HOP_PATH_MAX`].
pub const CALL_FAILED_BYTES_MAX: usize =
    FRAME_HEADER_BYTES + 8 + 16 + 16 + 1 + 16 * HOP_PATH_MAX + ERROR_TEXT_BYTES_MAX;

const _: () = assert!(
    FRAME_HEADER_BYTES
        + 24
        + 3
        + FUNCTION_NAME_BYTES_MAX
        + VERSION_BYTES_MAX
        + RESOURCES_MAX * (1 + RESOURCE_BYTES_MAX)
        <= CONTROL_FRAME_BYTES_MAX,
    "a registration fits a control frame"
);
const _: () = assert!(CONTROL_FRAME_BYTES_MAX < CALL_FAILED_BYTES_MAX);

/// Numbers that clients give their calls. Those above are of calls that a router makes for them: the
/// commands of their call graphs.
pub const CALL_NUMBER_MAX: u64 = u64::MAX >> 1;

const _: () = assert!(
    FRAME_HEADER_BYTES
        + 16
        + 4
        + CLUSTER_NAME_BYTES_MAX
        + FUNCTION_NAME_BYTES_MAX
        + CONSTRAINT_BYTES_MAX
        + RESOURCES_MAX * (1 + RESOURCE_BYTES_MAX)
        + PAYLOAD_BYTES_MAX
        <= FRAME_BYTES_MAX,
    "the longest call is no longer than the longest message"
);
const _: () = assert!(FUNCTION_NAME_BYTES_MAX <= u8::MAX as usize, "one byte holds each of these");
const _: () = assert!(OFFERS_BYTES_MAX <= CATALOG_BODY_BYTES_MAX);
const _: () = assert!(FUNCTION_NAME_BYTES_MAX <= CATALOG_NAME_BYTES_MAX);
const _: () = assert!(
    "mpreg.rpc.execute.".len() + FUNCTION_NAME_BYTES_MAX <= TOPIC_BYTES_MAX
        && 3 + FUNCTION_NAME_SEGMENTS_MAX <= TOPIC_SEGMENTS_MAX,
    "calls of a function have a topic"
);
const _: () = assert!(VERSION_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(RESOURCE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(RESOURCES_MAX <= u8::MAX as usize);
const _: () = assert!(OFFERS_MAX <= u8::MAX as usize);
const _: () = assert!(2 * VERSION_BYTES_MAX + 8 <= CONSTRAINT_BYTES_MAX);

/// Bytes of a route: nodes and clusters, each at most as many as a path has.
pub const CALL_ROUTE_BYTES_MAX: usize = 2 * (1 + 16 * HOP_PATH_MAX);

/// Bytes of what the last part of a traced result says of the way: two routes, two times.
pub const CALL_TRACE_BYTES_MAX: usize = 16 + 2 * CALL_ROUTE_BYTES_MAX;

const _: () = assert!(
    FRAME_HEADER_BYTES + 8 + CALL_TRACE_BYTES_MAX + PAYLOAD_BYTES_MAX <= FRAME_BYTES_MAX,
    "the longest traced result is no longer than the longest message"
);

/// Bytes of the header block of a message about a call: the longest tells how a call came that ran.
pub const CALL_HEAD_BYTES_MAX: usize = 1 + 16 + 8 + 5 + 8 + CALL_ROUTE_BYTES_MAX;

const _: () =
    assert!(1 + 16 + 8 + 4 + 16 * HOP_PATH_MAX <= CALL_HEAD_BYTES_MAX, "of a dropped copy");

const _: () = assert!(
    1 + 16
        + 8
        + 11
        + 2
        + VERSION_BYTES_MAX
        + CONSTRAINT_BYTES_MAX
        + 1
        + RESOURCES_MAX * (1 + RESOURCE_BYTES_MAX)
        <= CALL_HEAD_BYTES_MAX,
    "a call with everything fits"
);
const _: () = assert!(1 + 16 + 8 + 3 + ERROR_TEXT_BYTES_MAX <= CALL_HEAD_BYTES_MAX);
const _: () = assert!(CONSTRAINT_BYTES_MAX <= u8::MAX as usize, "one byte holds each");
const _: () = assert!(ERROR_TEXT_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(CALL_HEAD_BYTES_MAX <= HEADERS_BYTES_MAX);
