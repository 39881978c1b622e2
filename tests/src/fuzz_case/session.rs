//! A shard of one against clients that say anything in any order, beside a model of each session.
//!
//! Checked throughout: nothing is said to a session that is not there or has ended; what it is
//! told follows from what it asked; a topic goes to exactly the sessions whose subscriptions match
//! it; counted subscriptions end on time; and when everybody has left, nothing is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::forward::{Choice, Target};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::limits::Bounds;
use mpreg_fabric::session::{Protocol, Timing};
use mpreg_fabric::shard::{Effect, Input, Route, Settings, Shard};
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{self, Data, Decoded, Echo, Frame, Subscribe};
use mpreg_proto::hello::Hello;
use mpreg_proto::id::{NodeId, ShardIx, Sid};
use mpreg_proto::limits::HELLO_BYTES;
use mpreg_proto::topic::{Dialect, Pattern, Topic};

use super::Script;
use super::topic::matches;

const SLOTS: usize = 4;
const SUBSCRIPTIONS_MAX: u32 = 3;
const QUEUE_BYTES_MAX: u32 = 1 << 19;
const TIMING: Timing = Timing::new(Duration::from_secs(5), Duration::from_secs(10));

/// Steps of a kind, a slot and a run of bytes.
pub fn session(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut node = Node::new();
    while let (Some(kind), Some(slot), Some(run)) = (script.byte(), script.byte(), script.run()) {
        let slot = usize::from(slot) % SLOTS;
        match kind % 8 {
            0 => node.accept(slot),
            1 => node.hello(slot, run),
            2..=4 => node.receive(slot, run),
            5 => node.lose(slot),
            6 => node.wait(Duration::from_millis(10 * run.len() as u64)),
            _ => node.settle(slot),
        }
    }
    node.leave();
}

/// What the client of a slot knows.
#[derive(Debug, Default)]
enum Client {
    #[default]
    Absent,
    Live(Live),
    /// Its end was announced; its socket is still to be closed.
    Ended,
    /// Its socket is closed.
    Closed,
}

#[derive(Debug, Default)]
struct Live {
    is_greeted: bool,
    is_open: bool,
    is_drained: bool,
    /// Its own messages do not come back to it.
    is_echo_off: bool,
    /// A subscription that was asked for.
    asked: Option<(Sid, Vec<u8>, Vec<u8>)>,
    /// What it asked to end after that many deliveries.
    ending: Option<(Sid, u32)>,
    subscriptions: BTreeMap<Sid, Subscription>,
}

#[derive(Debug)]
struct Subscription {
    pattern: Vec<u8>,
    group: Vec<u8>,
    delivered: u32,
    limit: u32,
}

struct Node {
    shard: Shard,
    clients: [Client; SLOTS],
    now: Instant,
    is_stopping: bool,
}

impl Node {
    fn new() -> Self {
        let settings = Settings {
            node: NodeId(7),
            me: ShardIx::new(0).expect("the first shard"),
            shards_count: 1,
            topic_seed: 1,
            seed: 2,
            timing: TIMING,
            nats_timing: TIMING,
            queue_bytes: QUEUE_BYTES_MAX / 2,
            queue_bytes_max: QUEUE_BYTES_MAX,
            subscriptions_max: SUBSCRIPTIONS_MAX,
            subscriptions_total_max: 2 * SUBSCRIPTIONS_MAX,
        };
        // Few, so that routes are given up and matched again.
        let bounds = Bounds { routes_cached_max: 2, targets_cached_max: 6, ..Bounds::NODE };
        let shard = Shard::with_bounds(settings, bounds);
        Self { shard, clients: Default::default(), now: Instant::START, is_stopping: false }
    }

    fn handle(&mut self, input: Input<'_>) {
        let mut effects = Vec::new();
        self.shard.handle(input, self.now, &mut effects);
        effects.into_iter().for_each(|effect| self.observe(effect));
    }

    fn live(&mut self, slot: usize) -> Option<&mut Live> {
        match &mut self.clients[slot] {
            Client::Live(live) => Some(live),
            Client::Absent | Client::Ended | Client::Closed => None,
        }
    }

    fn accept(&mut self, slot: usize) {
        if matches!(self.clients[slot], Client::Absent) {
            self.clients[slot] = Client::Live(Live::default());
            self.handle(Input::Accepted { session: ix(slot), protocol: Protocol::Native });
            assert!(!self.is_stopping || self.live(slot).is_none(), "taken in while stopping");
        }
    }

    /// A good hello if there are no bytes for a bad one.
    fn hello(&mut self, slot: usize, run: &[u8]) {
        let good = Hello::client(9).to_bytes();
        let bytes = run.first_chunk::<HELLO_BYTES>().unwrap_or(&good);
        if self.live(slot).is_some() {
            self.handle(Input::Hello { session: ix(slot), bytes });
        }
    }

    /// The client sends `bytes`.
    fn receive(&mut self, slot: usize, mut bytes: &[u8]) {
        self.shard.heard(ix(slot), self.now);
        while let Some(live) = self.live(slot) {
            let frame = match frame::decode(bytes) {
                Ok(Decoded::Need(_)) => return,
                Ok(Decoded::Frame { frame, bytes: taken }) => {
                    bytes = &bytes[taken..];
                    frame
                }
                Err(code) => return self.handle(Input::Refused { session: ix(slot), code }),
            };
            if let Frame::Data(data) = frame
                && live.is_open
            {
                self.publish(slot, data);
            } else {
                self.command(slot, frame);
            }
        }
    }

    fn command(&mut self, slot: usize, frame: Frame<'_>) {
        let Some(live) = self.live(slot) else { return };
        let known: BTreeSet<Sid> = live.subscriptions.keys().copied().collect();
        if let Frame::Subscribe(Subscribe { sid, pattern, group, .. }) = frame {
            live.asked = Some((sid, pattern.to_vec(), group.to_vec()));
        }
        if let Frame::Unsubscribe { sid, deliveries } = frame {
            live.ending = Some((sid, deliveries));
        }
        self.handle(Input::Frame { session: ix(slot), frame });
        let Some(live) = self.live(slot) else { return };
        (live.asked, live.ending) = (None, None);
        if let Frame::Unsubscribe { sid, deliveries } = frame
            && let Some(subscription) = live.subscriptions.get_mut(&sid)
        {
            assert!(subscription.delivered < deliveries, "has had its number");
            subscription.limit = deliveries;
        }
        if let Frame::Subscribe(Subscribe { sid, .. }) = frame
            && known.contains(&sid)
        {
            assert_eq!(live.subscriptions.len(), known.len(), "a number names one at a time");
        }
    }

    fn publish(&mut self, slot: usize, data: Data<'_>) {
        let mut effects = Vec::new();
        let (route, _) = self.shard.route(data.topic(), Dialect::Native, &mut effects);
        let place = match (route, Topic::parse(data.topic())) {
            (Route::Known(place), Ok(topic)) if !topic.is_reserved() => place,
            (Route::Refused(code), parsed) => {
                assert!(parsed.is_err() || code == ErrorCode::ReservedTopic);
                return self.handle(Input::Refused { session: ix(slot), code });
            }
            (other, topic) => panic!("{topic:?} is {other:?}"),
        };
        let topic = Topic::parse(data.topic()).expect("parsed above");
        let targets = self.shard.targets(place);
        let plain: Vec<usize> = targets.plain.iter().map(slot_of).collect();
        let groups: Vec<Vec<u8>> = targets.groups.iter().map(|group| group.name.to_vec()).collect();
        self.check_targets(topic, &plain, &groups);
        let choose = |at| self.shard.choose(place, at, |_| true);
        let chosen: Vec<_> = (0..groups.len()).map(choose).collect();
        let is_echo_off = self.live(slot).is_some_and(|live| live.is_echo_off);
        let skipped = is_echo_off.then_some(ix(slot));
        self.shard.delivered(place, 1, skipped.as_slice(), &mut effects);
        self.count(topic, is_echo_off.then_some(slot));
        for (choice, group) in chosen.into_iter().zip(&groups) {
            let Some(Choice::Here(member)) = choice else {
                panic!("a group that matched has members")
            };
            let sid = self.shard.sid(member.subscription);
            let live = self.live(member.session.0 as usize).expect("members are there");
            let subscription = live.subscriptions.get_mut(&sid).expect("members subscribe");
            assert_eq!(subscription.group, *group);
            subscription.delivered += 1;
            self.shard.delivered_to(member.subscription, &mut effects);
        }
        effects.into_iter().for_each(|effect| self.observe(effect));
        self.check_counts();
    }

    fn check_targets(&self, topic: Topic<'_>, plain: &[usize], groups: &[Vec<u8>]) {
        let mut want_plain = BTreeSet::new();
        let mut want_groups = BTreeSet::new();
        for (slot, subscription) in self.matching(topic) {
            if subscription.group.is_empty() {
                want_plain.insert(slot);
            } else {
                want_groups.insert(subscription.group.clone());
            }
        }
        assert_eq!(plain, want_plain.into_iter().collect::<Vec<_>>(), "{topic}");
        let mut groups = groups.to_vec();
        groups.sort();
        assert_eq!(groups, want_groups.into_iter().collect::<Vec<_>>(), "{topic}");
    }

    fn matching(&self, topic: Topic<'_>) -> impl Iterator<Item = (usize, &Subscription)> {
        let clients = self.clients.iter().enumerate();
        let all = clients.flat_map(|(slot, client)| match client {
            Client::Live(live) => live.subscriptions.values().map(|one| (slot, one)).collect(),
            Client::Absent | Client::Ended | Client::Closed => Vec::new(),
        });
        all.filter(move |(_, subscription)| {
            Pattern::parse(&subscription.pattern).is_ok_and(|pattern| matches(pattern, topic))
        })
    }

    /// One message went to every ungrouped subscription that matches, but to none of `skipped`.
    fn count(&mut self, topic: Topic<'_>, skipped: Option<usize>) {
        for (slot, client) in self.clients.iter_mut().enumerate() {
            let Client::Live(live) = client else { continue };
            if Some(slot) == skipped {
                continue;
            }
            for subscription in live.subscriptions.values_mut() {
                let pattern = Pattern::parse(&subscription.pattern).expect("it was accepted");
                if subscription.group.is_empty() && matches(pattern, topic) {
                    subscription.delivered += 1;
                }
            }
        }
    }

    fn check_counts(&self) {
        for client in &self.clients {
            let Client::Live(live) = client else { continue };
            let mut all = live.subscriptions.values();
            assert!(all.all(|one| one.limit == 0 || one.delivered < one.limit), "{live:?}");
        }
    }

    fn observe(&mut self, effect: Effect) {
        match effect {
            Effect::Greet { session, hello } => {
                let live = self.live(session.0 as usize).expect("only the live are greeted");
                assert!(!live.is_greeted && hello.id == 7);
                live.is_greeted = true;
            }
            Effect::Open { session, echo, queue_bytes } => {
                let live = self.live(session.0 as usize).expect("only the live are let in");
                assert!(live.is_greeted && !live.is_open);
                assert!((1..=QUEUE_BYTES_MAX).contains(&queue_bytes), "granted {queue_bytes}");
                live.is_open = true;
                live.is_echo_off = echo == Echo::Off;
            }
            Effect::Say { session, frame } => self.hear(session.0 as usize, frame),
            Effect::End { session, .. } => {
                let live = self.live(session.0 as usize);
                assert!(live.is_some(), "a session ends once");
                self.clients[session.0 as usize] = Client::Ended;
            }
            Effect::AwaitEmpty { session } => {
                let live = self.live(session.0 as usize).expect("only the live drain");
                assert!(live.is_open && !live.is_drained);
                live.is_drained = true;
                live.subscriptions.clear();
            }
            Effect::Freed { session } => {
                let client = &mut self.clients[session.0 as usize];
                assert!(matches!(client, Client::Closed), "freed while {client:?}");
                *client = Client::Absent;
            }
            // No world here has another node.
            Effect::Wanted { .. } | Effect::Refused { .. } => (),
            Effect::Handoff { .. } | Effect::Forward { .. } => panic!("there is no other shard"),
        }
    }

    /// The client is told something.
    fn hear(&mut self, slot: usize, frame: Frame<'static>) {
        let live = self.live(slot).expect("only the live are spoken to");
        match frame {
            Frame::Subscribed { sid } => {
                let (asked, pattern, group) = live.asked.take().expect("it asked");
                assert_eq!(asked, sid);
                let subscription = Subscription { pattern, group, delivered: 0, limit: 0 };
                assert!(live.subscriptions.insert(sid, subscription).is_none());
                assert!(live.subscriptions.len() <= SUBSCRIPTIONS_MAX as usize);
            }
            Frame::Unsubscribed { sid } => {
                let ended = live.subscriptions.remove(&sid).expect("it was subscribed");
                let limit = live.ending.filter(|asked| asked.0 == sid).map(|asked| asked.1);
                assert!(limit.unwrap_or(ended.limit) <= ended.delivered, "{sid} ended early");
                assert!(limit.is_some() || ended.limit != 0, "{sid} ended unasked");
            }
            Frame::Connected(_) | Frame::Pong { .. } | Frame::Ping { .. } => assert!(live.is_open),
            Frame::Drained => assert!(live.is_drained),
            Frame::Error(_) | Frame::GoingAway => (),
            Frame::Data(_)
            | Frame::Connect(_)
            | Frame::Subscribe(_)
            | Frame::Unsubscribe { .. }
            | Frame::Drain
            | Frame::For { .. }
            | Frame::NoResponders { .. }
            | Frame::Rpc(_) => panic!("routers do not say {frame:?} here"),
        }
    }

    fn lose(&mut self, slot: usize) {
        if self.live(slot).is_some() {
            self.handle(Input::Lost { session: ix(slot), reason: EndReason::PeerClosed });
            assert!(matches!(self.clients[slot], Client::Ended));
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handle(Input::DeadlineReached);
    }

    /// What the shell owes this slot: a closed socket, an empty queue; for slot 3, shutting down.
    fn settle(&mut self, slot: usize) {
        match &mut self.clients[slot] {
            client @ Client::Ended => {
                *client = Client::Closed;
                self.handle(Input::Closed { session: ix(slot) });
            }
            Client::Live(live) if live.is_drained => {
                self.handle(Input::Emptied { session: ix(slot) });
            }
            Client::Live(_) | Client::Absent | Client::Closed if slot + 1 == SLOTS => {
                self.is_stopping = true;
                self.handle(Input::Stop);
            }
            Client::Live(_) | Client::Absent | Client::Closed => (),
        }
    }

    /// Everybody goes, and nothing is left.
    fn leave(mut self) {
        for slot in 0..SLOTS {
            self.lose(slot);
            if matches!(self.clients[slot], Client::Ended) {
                self.settle(slot);
            }
        }
        while self.shard.deadline().is_some_and(|(at, _)| at <= self.now) {
            self.handle(Input::DeadlineReached);
        }
        assert!(self.clients.iter().all(|client| matches!(client, Client::Absent)));
        assert_eq!(self.shard.subscriptions_count(), 0);
        assert_eq!(self.shard.deadline(), None);
    }
}

fn ix(slot: usize) -> SessionIx {
    SessionIx(slot as u32)
}

fn slot_of(target: &Target) -> usize {
    target.session.0 as usize
}
