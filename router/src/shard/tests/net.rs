//! Nodes of a few shards, their links and clients, turned by hand in one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::Receiver;
use mpreg_fabric::breaker::Circuit;
use mpreg_fabric::control::{LinkId, Peer, View};
use mpreg_fabric::session::Timing;
use mpreg_fabric::shard::{Settings, Shard as Machine};
use mpreg_fabric::time::Instant;
use mpreg_fabric::want::{self, Stale, Wants};
use mpreg_fabric::way::{self, Exit, Ways};
use mpreg_proto::catalog;
use mpreg_proto::frame::{Connect, Decoded, Echo, Frame, Overload, Publish, Subscribe, decode};
use mpreg_proto::hello::Hello;
use mpreg_proto::hop::{Aim, Aimed, Flags, GroupId, Here, Ids, Leg, Targets, Trail};
use mpreg_proto::id::{ClusterId, Incarnation, NodeId, ShardIx, Sid};
use mpreg_proto::limits::HELLO_BYTES;
use mpreg_proto::peer::{self, Plane};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig};
use rustls::{ServerConnection, pki_types::CertificateDer};

use super::super::*;
use crate::control::report::{self, Ears, Report};
use crate::mesh::{self, Bell, Command};
use crate::nats;
use crate::peer_link::{Direction, PeerLink};
use crate::probe::{Count, LinkDrop};
use crate::switch::{Clustered, Connections, Means};
use crate::trace::{self, Number};

const QUEUE_BYTES: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Turns of everyone in which nothing happens, after which nothing will.
const IDLE_TURNS: usize = 20;

pub(super) struct Sent<'a> {
    pub(super) topic: &'a str,
    pub(super) reply: &'a str,
    pub(super) text: &'a str,
}

pub(super) struct Net {
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Nodes that do not turn.
    pub(super) stopped: Vec<usize>,
    /// Nobody hears what others want.
    pub(super) is_deaf: bool,
    /// Links that nodes reported: the node, its peer, and which way.
    pub(super) lost: Vec<(usize, usize, Direction)>,
    /// How links fared, likewise.
    pub(super) fared: Vec<(usize, usize, bool)>,
    now: Instant,
    tls: Secrets,
}

struct Node {
    here: Here,
    shards: Vec<Shard>,
    bells: Arc<[Bell]>,
    probes: Vec<Arc<ShardProbe>>,
    reports: Receiver<Report>,
    traces: tokio::sync::mpsc::Receiver<Vec<u8>>,
    wants: Wants,
    /// Shards by pattern and group.
    wanting: BTreeMap<Bytes, BTreeSet<ShardIx>>,
    peers: BTreeMap<NodeId, Peer>,
    ways: BTreeMap<usize, usize>,
    interest: Arc<want::InterestView>,
}

struct Client {
    socket: UnixStream,
    inbox: Vec<u8>,
    to_send: Vec<u8>,
    is_greeted: bool,
    subscriptions: u32,
    got: BTreeMap<String, Vec<String>>,
}

pub(super) struct NatsClient {
    socket: UnixStream,
}

impl NatsClient {
    pub(super) fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// What it was told since.
    pub(super) fn hear(&mut self) -> String {
        let mut text = [0; 4096];
        let count = self.socket.read(&mut text).unwrap_or(0);
        String::from_utf8(text[..count].to_vec()).unwrap()
    }
}

/// A node that the test plays.
pub(super) struct Stranger {
    socket: UnixStream,
    tls: ClientConnection,
}

const STRANGER: Here = Here { node: NodeId(99), cluster: ClusterId(1) };

fn node_id(node: usize) -> NodeId {
    NodeId(node as u128 + 1)
}

impl Net {
    /// Each node with its cluster and how many shards it has.
    pub(super) fn new(nodes: &[(u128, usize)]) -> Self {
        let nodes = nodes.iter().enumerate();
        let nodes: Vec<Node> =
            nodes.map(|(n, &(cluster, shards))| Node::new(n, cluster, shards)).collect();
        let mut net = Self {
            nodes,
            clients: Vec::new(),
            stopped: Vec::new(),
            is_deaf: false,
            lost: Vec::new(),
            fared: Vec::new(),
            now: Instant::START,
            tls: Secrets::new(),
        };
        (0..net.nodes.len()).for_each(|node| net.publish_view(node, Stale::All));
        net
    }

    /// Links each shard of each of the two with the other.
    pub(super) fn link(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.nodes[to].here;
            let (link, incarnation) = (LinkId(1), Incarnation(1));
            let peer = (peer.node, Peer { link, cluster: peer.cluster, incarnation });
            self.nodes[from].peers.extend([peer]);
            self.publish_view(from, Stale::Topics(Vec::new()));
            for shard in 0..self.nodes[from].shards.len() {
                let at = shard % self.nodes[to].shards.len();
                let (ours, theirs) = UnixStream::pair().unwrap();
                let (client, server) = self.tls.pair();
                let out = self.peer_link(to, Direction::Outgoing, ours, client.into());
                let into = self.peer_link(from, Direction::Incoming, theirs, server.into());
                self.nodes[from].bells[shard].command(Command::PeerLink(Box::new(out)));
                self.nodes[to].bells[at].command(Command::PeerLink(Box::new(into)));
            }
        }
    }

    fn peer_link(
        &self,
        peer: usize,
        direction: Direction,
        socket: UnixStream,
        tls: Connection,
    ) -> PeerLink {
        let Here { node, cluster } = self.nodes[peer].here;
        let (incarnation, socket) = (Incarnation(1), socket.into());
        let (plain, wire) = (Vec::new(), Vec::new());
        let traffic = Arc::default();
        PeerLink { peer: node, cluster, incarnation, direction, socket, tls, plain, wire, traffic }
    }

    pub(super) fn unlink(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let to = self.nodes[to].here.node;
            self.nodes[from].peers.remove(&to);
            self.publish_view(from, Stale::Topics(Vec::new()));
        }
    }

    /// One node sees another in its next life.
    pub(super) fn is_reborn(&mut self, node: usize, peer: usize) {
        let peer = self.nodes[peer].here.node;
        self.nodes[node].peers.get_mut(&peer).unwrap().incarnation = Incarnation(2);
        self.publish_view(node, Stale::Topics(Vec::new()));
    }

    /// From one node, another is reached through a third.
    pub(super) fn way(&mut self, from: usize, through: usize, to: usize) {
        self.nodes[from].ways.insert(to, through);
        self.publish_view(from, Stale::Topics(Vec::new()));
    }

    fn publish_view(&mut self, node: usize, stale: Stale) {
        let all: Vec<Here> = self.nodes.iter().map(|node| node.here).collect();
        let node = &self.nodes[node];
        let link = |(&peer, at): (&NodeId, &Peer)| way::Link {
            peer,
            cluster: at.cluster,
            circuit: Circuit::Closed,
        };
        let links: Vec<way::Link> = node.peers.iter().map(link).collect();
        let direct =
            node.peers.iter().map(|(&node, peer)| (Here { node, cluster: peer.cluster }, node));
        let through = node.ways.iter().map(|(&to, &through)| (all[to], all[through].node));
        let mut view = View { peers: node.peers.clone(), links, ..View::alone(node.here) };
        view.interest = Arc::clone(&node.interest);
        for (to, through) in direct.chain(through) {
            let cluster = all.iter().find(|here| here.node == through).unwrap().cluster;
            let exits = vec![Exit { node: through, cluster }];
            if to.cluster == node.here.cluster {
                view.nodes.push(Ways { to: to.node, exits, equal_count: 1, distance: 1 });
            } else {
                view.clusters.push(Ways { to: to.cluster, exits, equal_count: 1, distance: 1 });
            }
        }
        view.nodes.sort_by_key(|ways| ways.to);
        view.clusters.sort_by_key(|ways| ways.to);
        let view = Arc::new(view);
        for bell in node.bells.iter() {
            bell.command(Command::View { view: Arc::clone(&view), stale: stale.clone() });
        }
    }

    pub(super) fn client(&mut self, node: usize, shard: usize) -> usize {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        self.nodes[node].shards[shard].switch.accept(theirs.into(), Door::Native);
        let mut to_send = Hello::client(1).to_bytes().to_vec();
        let queue_bytes = QUEUE_BYTES as u32;
        Frame::Connect(Connect { name: "", echo: Echo::On, queue_bytes }).put(&mut to_send);
        self.clients.push(Client {
            socket: ours,
            inbox: Vec::new(),
            to_send,
            is_greeted: false,
            subscriptions: 0,
            got: BTreeMap::new(),
        });
        self.clients.len() - 1
    }

    pub(super) fn subscribe(&mut self, client: usize, pattern: &str, group: &str) {
        let at = &mut self.clients[client];
        at.subscriptions += 1;
        let (pattern, group) = (pattern.as_bytes(), group.as_bytes());
        let (sid, overload) = (Sid(at.subscriptions), Overload::DropOldest);
        Frame::Subscribe(Subscribe { sid, overload, pattern, group }).put(&mut at.to_send);
    }

    /// Subscribes for so many messages.
    pub(super) fn subscribe_for(&mut self, client: usize, pattern: &str, deliveries: u32) {
        self.subscribe(client, pattern, "");
        let at = &mut self.clients[client];
        let sid = Sid(at.subscriptions);
        Frame::Unsubscribe { sid, deliveries }.put(&mut at.to_send);
    }

    pub(super) fn nats_client(&mut self, node: usize, shard: usize) -> NatsClient {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        self.nodes[node].shards[shard].switch.accept(theirs.into(), Door::Nats);
        let mut client = NatsClient { socket: ours };
        client.say("CONNECT {\"verbose\":false}\r\n");
        client
    }

    /// Closes the client's connection.
    pub(super) fn leave(&mut self, client: usize) {
        self.clients[client].socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// All connections fail, and the kernel has no buffer for what came on them last.
    pub(super) fn fail_and_starve(&mut self, node: usize) {
        for shard in &mut self.nodes[node].shards {
            for slot in
                (0..64).filter(|&slot| shard.switch.socket(slot).is_some()).collect::<Vec<_>>()
            {
                shard.switch.lost(SessionIx(slot), EndReason::TransportFailed);
                let error = Some(io::Error::from_raw_os_error(libc::ENOBUFS));
                shard.complete(Completion::ReceiveEnded { slot, error }).unwrap();
            }
            shard.flush().unwrap();
        }
    }

    pub(super) fn say(&mut self, client: usize, topic: &str, text: &str) {
        self.publish(client, [Sent { topic, reply: "", text }].into_iter());
    }

    /// Sends them, as far as they are taken at once; the rest follows with each turn.
    pub(super) fn publish<'a>(&mut self, client: usize, sent: impl Iterator<Item = Sent<'a>>) {
        let to_send = &mut self.clients[client].to_send;
        for Sent { topic, reply, text } in sent {
            let (topic, reply, payload) = (topic.as_bytes(), reply.as_bytes(), text.as_bytes());
            Publish { topic, reply, payload, ..Publish::default() }.put(to_send).unwrap();
        }
        self.turn();
    }

    /// Texts a client got on a topic; on `nobody`, the reply topics that nobody will answer on.
    pub(super) fn got(&self, client: usize, topic: &str) -> Vec<String> {
        self.clients[client].got.get(topic).cloned().unwrap_or_default()
    }

    pub(super) fn sum(&self, node: usize, count: impl Fn(&ShardProbe) -> &Count) -> u64 {
        self.nodes[node].probes.iter().map(|probe| count(probe).get()).sum()
    }

    pub(super) fn dropped(&self, node: usize, why: LinkDrop) -> u64 {
        self.nodes[node].probes.iter().map(|probe| probe.link_dropped_for(why)).sum()
    }

    pub(super) fn queued_bytes(&self, node: usize) -> u64 {
        self.sum(node, |probe| &probe.queued_bytes)
    }

    pub(super) fn slots_in_use(&self, node: usize) -> usize {
        let shards = self.nodes[node].shards.iter();
        shards
            .map(|shard| (0..64).filter(|&slot| shard.switch.socket(slot).is_some()).count())
            .sum()
    }

    /// What nodes say of a message of a topic that begins on a shard.
    pub(super) fn trace(&mut self, node: usize, shard: usize, topic: &str) -> Vec<trace::Report> {
        let (topic, number) = (topic.to_owned().into(), Number(7));
        self.nodes[node].bells[shard].command(Command::Trace { topic, number });
        self.settle();
        let mut reports = Vec::new();
        while let Ok(report) = self.nodes[node].traces.try_recv() {
            reports.push(trace::Report::parse(&report).expect("a report"));
        }
        reports
    }

    pub(super) fn stop(&mut self, node: usize) {
        self.nodes[node].bells.iter().for_each(|bell| bell.command(Command::Stop));
    }

    pub(super) fn is_over(&self, node: usize) -> bool {
        self.nodes[node].shards.iter().all(|shard| shard.switch.is_over())
    }

    /// Resets every link of a node, as if its process had died.
    pub(super) fn break_links(&mut self, node: usize) {
        for shard in &self.nodes[node].shards {
            for slot in 0..64 {
                if shard.switch.is_peer(SessionIx(slot))
                    && let Some(socket) = shard.switch.socket(slot)
                {
                    rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
                }
            }
        }
    }

    /// Until nothing happens any more.
    pub(super) fn settle(&mut self) {
        let mut idle_turns = 0;
        self.until(|net| {
            idle_turns = if net.turn() { 0 } else { idle_turns + 1 };
            idle_turns == IDLE_TURNS
        });
    }

    #[track_caller]
    pub(super) fn until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "it never came to that");
            self.turn();
        }
    }

    /// Everyone once. True if anything happened.
    pub(super) fn turn(&mut self) -> bool {
        let mut worked = false;
        for (n, node) in self.nodes.iter_mut().enumerate() {
            if self.stopped.contains(&n) {
                continue;
            }
            for shard in &mut node.shards {
                if !shard.switch.is_over() {
                    worked |= shard.turn().unwrap();
                    shard.ring.submit_and_run().unwrap();
                    worked |= shard.ring.has_completions()
                        || shard
                            .deadline()
                            .is_some_and(|at| at < shard.now() + Duration::from_millis(200));
                }
            }
        }
        worked |= self.control();
        for client in &mut self.clients {
            worked |= client.turn();
        }
        worked
    }

    /// Passes on what shards report.
    fn control(&mut self) -> bool {
        self.now = self.now + Duration::from_millis(20);
        let mut changes = Vec::new();
        for n in 0..self.nodes.len() {
            let reports: Vec<Report> =
                if self.is_deaf { Vec::new() } else { self.nodes[n].reports.try_iter().collect() };
            for report in reports {
                match report {
                    Report::Want(want) => {
                        let here = self.nodes[n].here;
                        let shards = self.nodes[n].wanting.entry(want.name.clone()).or_default();
                        let was_wanted = !shards.is_empty();
                        match want.members {
                            0 => shards.remove(&want.shard),
                            _ => shards.insert(want.shard),
                        };
                        if was_wanted == shards.is_empty() {
                            changes.push((here, want.name, !was_wanted));
                        }
                    }
                    Report::PeerLost { peer, direction, .. } => {
                        self.lost.push((n, peer.0 as usize - 1, direction));
                    }
                    // Nobody here runs functions.
                    Report::Function { .. } => (),
                    Report::Fared { peer, is_working } => {
                        self.fared.push((n, peer.0 as usize - 1, is_working));
                    }
                }
            }
        }
        let worked = !changes.is_empty();
        for n in 0..self.nodes.len() {
            let mut out = Vec::new();
            let here = self.nodes[n].here;
            let wants = &mut self.nodes[n].wants;
            for (owner, name, is_set) in &changes {
                let kind = match owner.cluster == here.cluster {
                    true => catalog::Kind::SUBSCRIPTION,
                    false => catalog::Kind::CLUSTER_INTEREST,
                };
                let (owner, cluster) = (owner.node, owner.cluster);
                let input = want::Input::Changed {
                    owner,
                    cluster,
                    kind,
                    name: name.clone(),
                    members: is_set.then_some(NonZeroU32::MIN),
                };
                wants.handle(input, self.now, &mut out);
            }
            wants.handle(want::Input::DeadlineReached, self.now, &mut out);
            for effect in out {
                if let want::Effect::View { view, stale } = effect {
                    self.nodes[n].interest = view;
                    self.publish_view(n, stale);
                }
            }
        }
        worked
    }

    /// A link into a shard from a node that the test plays.
    pub(super) fn stranger(&mut self, node: usize, shard: usize) -> Stranger {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (tls, server) = self.tls.pair();
        let mut link = self.peer_link(node, Direction::Incoming, theirs, server.into());
        (link.peer, link.cluster) = (STRANGER.node, STRANGER.cluster);
        self.nodes[node].bells[shard].command(Command::PeerLink(Box::new(link)));
        Stranger { socket: ours, tls }
    }

    /// Messages from the first on, numbered in their texts; on topic `b`, for one member of group `g`.
    pub(super) fn speak(&mut self, stranger: &mut Stranger, topic: &str, messages: u8) {
        let me = self.nodes[0].here;
        let mut targets = Targets::default();
        match topic {
            "b" => {
                let aim = Aim::Member { node: me.node, group: GroupId::of(b"g") };
                targets.aimed.push(Aimed { cluster: me.cluster, aim });
            }
            _ => targets.nodes.push(me.node),
        }
        let mut body = leg(&targets, messages, STRANGER);
        for n in 0..messages {
            let (topic, text) = (topic.as_bytes(), n.to_string());
            Publish { topic, payload: text.as_bytes(), ..Publish::default() }
                .put(&mut body)
                .unwrap();
        }
        stranger.send(&body);
    }

    /// A header that names another sender.
    pub(super) fn lie(&mut self, stranger: &mut Stranger) {
        let targets = Targets { nodes: vec![self.nodes[0].here.node], ..Targets::default() };
        let mut body = leg(&targets, 1, Here { node: NodeId(98), ..STRANGER });
        Publish { topic: b"a", ..Publish::default() }.put(&mut body).unwrap();
        stranger.send(&body);
    }
}

fn leg(targets: &Targets, messages: u8, from: Here) -> Vec<u8> {
    let trail = Trail { nodes: Ids::of(&[]), clusters: Ids::of(&[]) };
    let (flags, deadline_ms) = (Flags::default(), None);
    let leg =
        Leg { sequence: 0, messages, flags, hop_budget: 9, deadline_ms, trail, targets, back: &[] };
    let mut body = Vec::new();
    leg.put(from, &mut body).unwrap();
    body
}

impl Stranger {
    fn send(&mut self, body: &[u8]) {
        let mut frame = Vec::new();
        let (plane, lane) = (Plane::Data as u8, peer::Lane::Normal);
        peer::Frame { plane, lane, body }.put(&mut frame).unwrap();
        self.tls.writer().write_all(&frame).unwrap();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).unwrap();
        }
    }
}

impl Node {
    fn new(n: usize, cluster: u128, shards_count: usize) -> Self {
        let here = Here { node: node_id(n), cluster: ClusterId(cluster) };
        let bells: Arc<[Bell]> = (0..shards_count).map(|_| Bell::new().unwrap()).collect();
        // Whom it would wake looks anyway.
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (reporters, Ears { reports, traces }) = report::reports(Arc::new(waker));
        let probes: Vec<Arc<ShardProbe>> = (0..shards_count).map(|_| Arc::default()).collect();
        let meshes = mesh::join(&bells).into_iter().enumerate();
        let shards = meshes.map(|(index, mesh)| {
            let me = ShardIx::new(index).unwrap();
            let machine = Machine::new(settings(here.node, me, shards_count));
            let connections = Arc::new(Connections::new(1000));
            let means = Means {
                queue_bytes: QUEUE_BYTES,
                memory_bytes: 16 * QUEUE_BYTES,
                drain: Duration::from_secs(1),
            };
            let (nats, probe) = (Arc::new(nats::Server::default()), probes[index].clone());
            let mut switch = Switch::new(machine, mesh, connections, nats, means, probe.clone());
            let reporter = reporters.of(me);
            switch.join(Clustered { here, reporter, incarnation: Incarnation(1), hop_budget: 9 });
            Shard::new(Ring::new().unwrap(), switch, Vec::new(), Clock::start(), probe).unwrap()
        });
        let shards = shards.collect();
        let wants = Wants::new(here.node, here.cluster, 1);
        let interest = wants.view();
        Self {
            here,
            shards,
            bells,
            probes,
            reports,
            traces,
            wants,
            wanting: BTreeMap::new(),
            peers: BTreeMap::new(),
            ways: BTreeMap::new(),
            interest,
        }
    }
}

fn settings(node: NodeId, me: ShardIx, shards_count: usize) -> Settings {
    Settings {
        node,
        me,
        shards_count,
        topic_seed: 1,
        seed: 2 + me.index() as u64,
        timing: Timing::new(Duration::from_secs(60), Duration::from_secs(600)),
        nats_timing: Timing::new(Duration::from_secs(60), Duration::from_secs(600)),
        queue_bytes: QUEUE_BYTES as u32,
        queue_bytes_max: QUEUE_BYTES as u32,
        subscriptions_max: 100,
        subscriptions_total_max: 100,
    }
}

impl Client {
    fn turn(&mut self) -> bool {
        let written = self.socket.write(&self.to_send).unwrap_or(0);
        self.to_send.drain(..written);
        let mut worked = written != 0;
        let mut some = vec![0; 1 << 20];
        while let Ok(count) = self.socket.read(&mut some)
            && count != 0
        {
            worked = true;
            self.inbox.extend_from_slice(&some[..count]);
        }
        if !self.is_greeted && HELLO_BYTES <= self.inbox.len() {
            self.is_greeted = true;
            self.inbox.drain(..HELLO_BYTES);
        }
        let mut at = 0;
        while let Ok(Decoded::Frame { frame, bytes }) = decode(&self.inbox[at..]) {
            at += bytes;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            if let Frame::Data(data) = frame {
                self.got.entry(text(data.topic())).or_default().push(text(data.payload()));
            } else if let Frame::NoResponders { reply } = frame {
                self.got.entry("nobody".into()).or_default().push(text(reply));
            } else {
                assert!(!matches!(frame, Frame::Error(_)), "{frame:?}");
            }
        }
        self.inbox.drain(..at);
        worked
    }
}

/// What links are sealed with.
struct Secrets {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Secrets {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["node".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Two ends after their handshake.
    fn pair(&self) -> (ClientConnection, ServerConnection) {
        let name = ServerName::try_from("node").unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        (client, server)
    }
}
