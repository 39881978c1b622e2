//! Cost of one forwarded message in a shard, from received bytes to bytes ready to be sent: frames
//! found, route looked up, queues filled and emptied. The kernel is left out.
//! `cargo bench -p mpreg-bench --bench forward`.

use std::hint::black_box;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use mpreg_bench::sample;
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::session::Timing;
use mpreg_fabric::shard::{Settings, Shard};
use mpreg_proto::frame::{Connect, Echo, Frame, Overload, Subscribe};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::{NodeId, ShardIx, Sid};
use mpreg_router::listen::Door;
use mpreg_router::mesh::{self, Bell};
use mpreg_router::nats::Server;
use mpreg_router::probe::ShardProbe;
use mpreg_router::switch::{Connections, Means, Switch};

const QUEUE_BYTES: usize = 64 << 20;
const MEMORY_BYTES: usize = 1 << 30;
const SUBSCRIPTIONS: u32 = 1 << 20;

fn main() {
    let mut criterion = mpreg_bench::criterion();
    batches(&mut criterion);
    scattered(&mut criterion);
    criterion.final_summary();
}

/// A receive buffer of one topic, to one and to ten subscribers.
fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/one-topic");
    for subscribers in [1, 10] {
        for payload_bytes in [64, 1024, 8192] {
            let mut node = Node::new();
            let topic = [sample::topic(0)];
            (0..subscribers).for_each(|_| node.subscribe(&topic));
            let (chunk, frames) = sample::chunk(&topic, payload_bytes);
            group.throughput(Throughput::Elements(frames as u64));
            let name = format!("{subscribers}-to/{payload_bytes}");
            group.bench_function(name, |b| {
                b.iter(|| assert_eq!(node.forward(&chunk), subscribers * chunk.len()));
            });
        }
    }
    group.finish();
}

/// Neighbouring frames of different topics, each with a subscriber of its own.
fn scattered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/many-topics");
    for topics in [16, 1024] {
        let mut node = Node::new();
        let topics: Vec<String> = (0..topics).map(sample::topic).collect();
        topics.iter().for_each(|topic| node.subscribe(&[topic]));
        let (chunk, frames) = sample::chunk(&topics, 64);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::from_parameter(topics.len()), |b| {
            b.iter(|| assert_eq!(node.forward(&chunk), chunk.len()));
        });
    }
    group.finish();
}

/// A node of one shard without a ring: what it would send is thrown away.
struct Node {
    switch: Switch,
    publisher: SessionIx,
    sessions: u32,
    /// The other ends: a closed one would end its session.
    peers: Vec<UnixStream>,
}

impl Node {
    fn new() -> Self {
        let machine = Shard::new(Settings {
            node: NodeId(1),
            me: ShardIx::new(0).expect("the first shard"),
            shards_count: 1,
            topic_seed: 1,
            seed: 2,
            timing: Timing::new(Duration::from_secs(5), Duration::from_secs(10)),
            nats_timing: Timing::new(Duration::from_secs(2), Duration::from_secs(120)),
            queue_bytes: QUEUE_BYTES as u32,
            queue_bytes_max: QUEUE_BYTES as u32,
            subscriptions_max: SUBSCRIPTIONS,
            subscriptions_total_max: SUBSCRIPTIONS,
        });
        let bells: Arc<[Bell]> = [Bell::new().expect("an eventfd")].into();
        let mesh = mesh::join(&bells).pop().expect("one shard");
        let connections = Arc::new(Connections::new(usize::MAX / 2));
        let probe = Arc::new(ShardProbe::default());
        let drain = Duration::from_secs(1);
        let means = Means { queue_bytes: QUEUE_BYTES, memory_bytes: MEMORY_BYTES, drain };
        let nats = Arc::new(Server::default());
        let switch = Switch::new(machine, mesh, connections, nats, means, probe);
        let mut node = Self { switch, publisher: SessionIx(0), sessions: 0, peers: Vec::new() };
        node.publisher = node.connect();
        node
    }

    fn connect(&mut self) -> SessionIx {
        let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
        self.peers.push(peer);
        self.switch.accept(ours.into(), Door::Native);
        let session = SessionIx(self.sessions);
        self.sessions += 1;
        let connect = Connect { name: "", echo: Echo::On, queue_bytes: QUEUE_BYTES as u32 };
        let mut bytes = Hello::client(1).to_bytes().to_vec();
        Frame::Connect(connect).put(&mut bytes);
        self.switch.take(session, &bytes);
        assert_ne!(self.empty_queues(), 0, "it was answered");
        session
    }

    fn subscribe<T: AsRef<str>>(&mut self, topics: &[T]) {
        let session = self.connect();
        let mut bytes = Vec::new();
        for (sid, topic) in (1..).map(Sid).zip(topics) {
            let pattern = topic.as_ref().as_bytes();
            let overload = Overload::DropOldest;
            Frame::Subscribe(Subscribe { sid, overload, pattern, group: b"" }).put(&mut bytes);
        }
        self.switch.take(session, &bytes);
        assert_ne!(self.empty_queues(), 0, "it was answered");
    }

    /// Takes what a publisher sent; says how many bytes were ready to be sent for it.
    fn forward(&mut self, chunk: &[u8]) -> usize {
        self.switch.take(self.publisher, black_box(chunk));
        self.empty_queues()
    }

    fn empty_queues(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(session) = self.switch.dirty.pop() {
            let Some(link) = self.switch.link_mut(session) else { continue };
            link.is_dirty = false;
            let mut flight = link.flight.take().unwrap_or_default();
            let taken = link.outbound.take_flight(&mut flight.pieces);
            if taken == 0 {
                link.flight = Some(flight);
                continue;
            }
            link.is_sending = true;
            bytes += taken;
            self.switch.sent(session, flight, false);
        }
        self.switch.to_arm.clear();
        self.switch.produced_bytes = 0;
        bytes
    }
}
