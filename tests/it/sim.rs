//! Histories of one node, from seeds: every rule of `check.rs` over all of them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use expect_test::expect;
use mpreg_fabric::handoff::Handoff;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::session::{Protocol, Timing};
use mpreg_fabric::shard::{Effect, Input, Settings, Shard};
use mpreg_fabric::time::Instant;
use mpreg_proto::frame::{Connect, Echo, Frame, Overload, Subscribe};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::{NodeId, ShardIx, Sid};
use mpreg_tests::faults::Faults;
use mpreg_tests::history::{Tally as _, play};
use mpreg_tests::play::Report;
use mpreg_tests::trace::Show;

/// About four seconds unoptimised. `sim --seeds` runs as many as wanted.
const SEEDS: u64 = 250;

#[test]
fn no_seed_breaks_a_rule() {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        match play::<Faults>(seed, Show::Nothing) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{failure}"),
        }
    }
    // A simulator in which nothing happens breaks no rule either.
    assert!(SEEDS * 100 < total.messages, "{total}");
    assert!(SEEDS * 10 < total.subscriptions, "{total}");
    assert!(0 < total.missed, "{total}");
}

#[test]
fn same_seed_same_history() {
    let fingerprint =
        |seed| play::<Faults>(seed, Show::Nothing).expect("no rule is broken").fingerprint;
    assert_eq!(fingerprint(7), fingerprint(7));
    assert_ne!(fingerprint(7), fingerprint(8));
}

/// Not a bound but a record: what it costs the rings to make one subscription known.
#[test]
fn handoffs_until_subscribed() {
    let mut table = String::from("shards  literal  wildcard  again\n");
    for shards_count in [1, 2, 4, 8, 16] {
        let mut node = Node::new(shards_count);
        // The most of sixteen: those whose owner is the shard that subscribes cost less.
        let literals = (0..16).map(|nth| node.subscribe(100 + nth, &format!("a.{nth}")));
        let literal = literals.max().unwrap();
        let wildcard = node.subscribe(1, "a.*");
        let again = node.subscribe(2, "a.*");
        writeln!(table, "{shards_count:>6}{literal:>9}{wildcard:>10}{again:>7}").unwrap();
    }
    expect![[r#"
        shards  literal  wildcard  again
             1        0         0      0
             2        4         6      0
             4        8        30      0
             8       16       126      0
            16       32       510      0
    "#]]
    .assert_eq(&table);
}

/// Shards whose hand-offs arrive at once, and one client of the first.
struct Node {
    shards: Vec<Shard>,
    on_the_way: VecDeque<(usize, ShardIx, Handoff)>,
    subscribed: Vec<Sid>,
}

const CLIENT: SessionIx = SessionIx(0);

impl Node {
    fn new(shards_count: usize) -> Self {
        let shards = (0..shards_count).map(|index| Shard::new(settings(index, shards_count)));
        let shards = shards.collect();
        let mut node = Self { shards, on_the_way: VecDeque::new(), subscribed: Vec::new() };
        let hello = Hello::client(1).to_bytes();
        let connect = Connect { name: "", echo: Echo::On, queue_bytes: 0 };
        node.feed(0, Input::Accepted { session: CLIENT, protocol: Protocol::Native });
        node.feed(0, Input::Hello { session: CLIENT, bytes: &hello });
        node.feed(0, Input::Frame { session: CLIENT, frame: Frame::Connect(connect) });
        node
    }

    /// Hand-offs of all shards until the answer, and after it.
    fn subscribe(&mut self, sid: u32, pattern: &str) -> usize {
        let (sid, overload) = (Sid(sid), Overload::DropOldest);
        let pattern = pattern.as_bytes();
        let frame = Frame::Subscribe(Subscribe { sid, overload, pattern, group: b"" });
        self.feed(0, Input::Frame { session: CLIENT, frame });
        let mut count = 0;
        while let Some((to, from, handoff)) = self.on_the_way.pop_front() {
            count += 1;
            self.feed(to, Input::Handoff { from, handoff });
        }
        assert_eq!(self.subscribed.pop(), Some(sid));
        count
    }

    fn feed(&mut self, shard: usize, input: Input<'_>) {
        let mut effects = Vec::new();
        self.shards[shard].handle(input, Instant::START, &mut effects);
        let from = ShardIx::new(shard).expect("at most 16 shards");
        for effect in effects {
            if let Effect::Say { frame: Frame::Subscribed { sid }, .. } = effect {
                self.subscribed.push(sid);
            }
            if let Effect::Handoff { to, handoff } = effect {
                self.on_the_way.push_back((to.index(), from, handoff));
            }
        }
    }
}

fn settings(index: usize, shards_count: usize) -> Settings {
    let (handshake, ping_interval) = (Duration::from_secs(5), Duration::from_secs(10));
    Settings {
        node: NodeId(1),
        me: ShardIx::new(index).expect("at most 16 shards"),
        shards_count,
        topic_seed: 1,
        seed: index as u64,
        timing: Timing::new(handshake, ping_interval),
        nats_timing: Timing::new(handshake, ping_interval),
        queue_bytes: 1 << 21,
        queue_bytes_max: 1 << 26,
        subscriptions_max: 1000,
        subscriptions_total_max: 1000,
    }
}
