//! Every message once, whole and in order: many publishers and subscribers on all shards.
//!
//! Order is per publisher and topic. What is checked is stronger than a count: each subscriber
//! keeps a ledger of the number that must come next, and payloads spell their number throughout, so
//! a buffer that was given back too early shows (debug builds overwrite those).

use std::collections::{BTreeMap, BTreeSet};

use mpreg_proto::envelope::Priority;
use mpreg_proto::frame::{Data, Frame, Overload, Publish};
use mpreg_proto::id::Sid;
use mpreg_tests::live::peer::{Peer, Wish, frame_of, told};
use mpreg_tests::live::{Launch, Router, until};

const TOPICS: u64 = 5;
/// Messages of one publisher to one topic.
const MESSAGES: u64 = 600;

/// What a message says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    publisher: u64,
    topic: u64,
    number: u64,
}

impl Mark {
    /// From 24 bytes to more than a receive buffer holds; mostly short.
    fn payload(self) -> Vec<u8> {
        let Self { publisher, topic, number } = self;
        let length = match number % 97 {
            0 => 40_000,
            1..10 => 3_000,
            _ => 24 + number as usize % 100,
        };
        let mut payload = vec![number as u8; length];
        for (at, word) in [publisher, topic, number].into_iter().enumerate() {
            payload[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        payload
    }

    #[track_caller]
    fn read(data: Data<'_>) -> Self {
        let payload = data.payload();
        let word =
            |at: usize| u64::from_le_bytes(*payload[at * 8..].first_chunk().expect("three words"));
        let mark = Self { publisher: word(0), topic: word(1), number: word(2) };
        assert!(payload == mark.payload(), "{mark:?} is corrupt");
        assert_eq!(data.topic(), topic(mark.topic).as_bytes());
        mark
    }
}

fn topic(topic: u64) -> String {
    format!("t.{topic}")
}

/// Sends its messages in writes of one to forty, alone and in runs of one topic.
fn publish(publisher: u64, peer: &mut Peer) {
    let mut next = [0; TOPICS as usize];
    let mut bytes = Vec::new();
    let mut step = publisher;
    while next.iter().any(|&next| next < MESSAGES) {
        step += 1;
        let topic = step % TOPICS;
        for _ in 0..1 + step % 7 * (step % 3) {
            let number = next[topic as usize];
            if number < MESSAGES {
                let payload = Mark { publisher, topic, number }.payload();
                let topic = self::topic(topic);
                let topic = topic.as_bytes();
                bytes.extend(frame_of(Publish { topic, payload: &payload, ..Publish::default() }));
            }
            next[topic as usize] = (number + 1).min(MESSAGES);
        }
        if step.is_multiple_of(4) {
            peer.send(&bytes);
            bytes.clear();
        }
    }
    peer.send(&bytes);
}

/// What must come next from each publisher and topic.
#[derive(Debug, Default)]
struct Ledger(BTreeMap<(u64, u64), u64>);

impl Ledger {
    #[track_caller]
    fn enter(&mut self, mark: Mark) {
        let next = self.0.entry((mark.publisher, mark.topic)).or_default();
        assert_eq!(mark.number, *next, "of publisher {} on t.{}", mark.publisher, mark.topic);
        *next += 1;
    }

    fn is_complete(&self, publishers: usize, topics: usize) -> bool {
        self.0.len() == publishers * topics && self.0.values().all(|&next| next == MESSAGES)
    }
}

/// Reads until everything has come; then ends its subscriptions, to see that nothing else does.
#[track_caller]
fn read_all(peer: &mut Peer, sids: u32, publishers: usize, topics: usize) {
    let mut ledger = Ledger::default();
    while !ledger.is_complete(publishers, topics) {
        ledger.enter(Mark::read(peer.data()));
    }
    for sid in 1..=sids {
        peer.say(Frame::Unsubscribe { sid: Sid(sid), deliveries: 0 });
        assert_eq!(peer.hear(), format!("unsubscribed {sid}"));
    }
}

/// One on each shard over TCP, and one over the socket. Their queues hold everything there is.
fn clients(router: &Router, shards: usize) -> Vec<Peer> {
    let wish = Wish { queue_bytes: 64 << 20, ..Wish::default() };
    let addresses = router.addresses();
    let over_tcp = (0..shards).map(|shard| router.client_on(shard, &addresses[0], wish));
    over_tcp.chain([Peer::connect(&addresses[1], wish)]).collect()
}

#[track_caller]
fn every_message_once_and_in_order(shards: usize) {
    let router = Launch::of(shards).with_socket().start();
    let mut publishers = clients(&router, shards);
    // Subscriptions that overlap are one copy.
    let kinds: [&[&str]; 4] =
        [&["t.*"], &["t.0", "t.1", "t.2", "t.3", "t.4"], &["#", "t.>", "t.3"], &["t.2"]];
    let mut subscribers = Vec::new();
    for (place, mut peer) in (0..2).flat_map(|_| clients(&router, shards)).enumerate() {
        let patterns = kinds[place % kinds.len()];
        for (sid, pattern) in (1..).zip(patterns) {
            peer.subscribe(sid, pattern);
        }
        let topics = if patterns == ["t.2"] { 1 } else { TOPICS as usize };
        subscribers.push((peer, patterns.len() as u32, topics));
    }
    let mut members = clients(&router, shards);
    for member in &mut members {
        member.ask(1, "t.*", "group", Overload::default());
        assert_eq!(member.hear(), "subscribed 1");
    }
    let page = router.page();
    assert!((0..shards).all(|shard| 4 <= page.sessions_on(shard)), "{page:?}");

    let count = publishers.len();
    std::thread::scope(|scope| {
        for (publisher, peer) in (0..).zip(&mut publishers) {
            scope.spawn(move || publish(publisher, peer));
        }
        for (peer, sids, topics) in &mut subscribers {
            scope.spawn(move || read_all(peer, *sids, count, *topics));
        }
    });
    share_all(&router, &mut members, count);
    let page = router.page();
    assert_eq!(page.sum("mpreg_messages_dropped_total", &[]), 0);
    assert_eq!(page.sum("mpreg_messages_unrouted_total", &[]), 0);
    assert_eq!(page.sum("mpreg_messages_in_total", &[]), count as u64 * TOPICS * MESSAGES);
}

/// The members of a group have read nothing so far. Each message is at one of them.
#[track_caller]
fn share_all(router: &Router, members: &mut [Peer], publishers: usize) {
    let total = publishers * (TOPICS * MESSAGES) as usize;
    let mut seen = BTreeSet::new();
    let mut shares = Vec::new();
    for member in members {
        let mut last = BTreeMap::new();
        let mut share = 0;
        // Ends are said behind every message that was there before.
        member.say(Frame::Unsubscribe { sid: Sid(1), deliveries: 0 });
        loop {
            match member.frame() {
                Some(Frame::For { sid }) => assert_eq!(sid, Sid(1)),
                Some(Frame::Unsubscribed { .. }) => break,
                other => panic!("not for a member: {}", told(other)),
            }
            let mark = Mark::read(member.data());
            let before = last.insert((mark.publisher, mark.topic), mark.number);
            assert!(before < Some(mark.number), "{mark:?} after {before:?}");
            assert!(seen.insert(mark), "{mark:?} twice");
            share += 1;
        }
        shares.push(share);
    }
    assert_eq!(seen.len(), total, "{:?}", router.page());
    let even = total / shares.len();
    assert!(shares.iter().all(|share| even / 2 < *share && *share < even * 2), "{shares:?}");
}

#[test]
fn on_one_shard_every_message_comes_once_and_in_order() {
    every_message_once_and_in_order(1);
}

#[test]
fn on_two_shards_every_message_comes_once_and_in_order() {
    every_message_once_and_in_order(2);
}

#[test]
fn on_three_shards_every_message_comes_once_and_in_order() {
    every_message_once_and_in_order(3);
}

/// Subscriptions of others come and go all the while, so routes are found anew all the while.
#[test]
fn routes_change_and_no_message_is_lost_or_doubled() {
    for shards in [1, 2, 3] {
        let router = Launch::of(shards).with_socket().start();
        let mut publishers = clients(&router, shards);
        let mut subscribers = clients(&router, shards);
        for (place, peer) in subscribers.iter_mut().enumerate() {
            peer.subscribe(1, ["t.*", "#"][place % 2]);
        }
        let count = publishers.len();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for mut fickle in clients(&router, shards) {
                let is_over = &is_over;
                scope.spawn(move || {
                    for (sid, pattern) in (1..).zip(["t.*", "t.1", "t.>", "t.2"].iter().cycle()) {
                        if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                            break;
                        }
                        come_and_go(&mut fickle, sid, pattern);
                    }
                });
            }
            let readers: Vec<_> = subscribers
                .iter_mut()
                .map(|peer| scope.spawn(move || read_all(peer, 1, count, TOPICS as usize)))
                .collect();
            for (publisher, peer) in (0..).zip(&mut publishers) {
                scope.spawn(move || publish(publisher, peer));
            }
            let read: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(read.into_iter().all(|read| read.is_ok()), "on {shards} shards");
        });
    }
}

/// Subscribes, hears in order what comes, and unsubscribes.
#[track_caller]
fn come_and_go(fickle: &mut Peer, sid: u32, pattern: &str) {
    fickle.ask(sid, pattern, "", Overload::default());
    let mut last = BTreeMap::new();
    for (said, awaited) in [("subscribed", false), ("unsubscribed", true)] {
        if awaited {
            fickle.say(Frame::Unsubscribe { sid: Sid(sid), deliveries: 0 });
        }
        loop {
            match fickle.frame() {
                Some(Frame::Data(data)) => {
                    let mark = Mark::read(data);
                    let before = last.insert((mark.publisher, mark.topic), mark.number);
                    let is_next = before.is_none_or(|before| before + 1 == mark.number);
                    assert!(is_next, "{mark:?} after {before:?}");
                }
                other => {
                    assert_eq!(told(other), format!("{said} {sid}"));
                    break;
                }
            }
        }
    }
}

/// A client that does not read has its urgent messages first when it does.
#[test]
fn higher_priorities_overtake_what_waits_and_each_lane_keeps_its_order() {
    const FILL: u64 = 10_000;
    use Priority::{Bulk, Critical, High, Low, Normal};
    for shards in [1, 2] {
        let router = Launch::of(shards).start();
        let wish = Wish { queue_bytes: 32 << 20, ..Wish::default() };
        let mut slow = router.client_on(0, &router.tcp(), wish);
        slow.narrow(64 << 10);
        slow.subscribe(1, "#");
        let mut publisher = router.client_on(shards - 1, &router.tcp(), wish);
        let fill = (0..FILL).map(|_| Bulk);
        let mixed = (0..40).flat_map(|_| [Low, Normal, High, Bulk, Critical]);
        let sent: Vec<(u64, Priority)> = (0..).zip(fill.chain(mixed)).collect();
        for &(number, priority) in &sent {
            let mut payload = vec![0; 1024];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            let publish =
                Publish { topic: b"t", payload: &payload, priority, ..Publish::default() };
            publisher.send(&frame_of(publish));
        }
        until("everything waits", || {
            let out = router.page().sum("mpreg_messages_out_total", &[]);
            (out == sent.len() as u64).then_some(())
        });
        let heard: Vec<u64> = sent
            .iter()
            .map(|_| u64::from_le_bytes(*slow.data().payload().first_chunk().unwrap()))
            .collect();
        // What was on its way before the first urgent message came.
        let before = heard.iter().position(|&number| FILL <= number).unwrap();
        assert!(before < FILL as usize, "nothing waited");
        let lane = |of: [Priority; 2]| {
            sent.iter().skip(before).filter(move |sent| of.contains(&sent.1)).map(|sent| sent.0)
        };
        let first = (0..before as u64).chain(lane([Critical, High]));
        let want: Vec<u64> = first.chain(lane([Normal, Normal])).chain(lane([Low, Bulk])).collect();
        assert!(heard == want, "on {shards} shards, from {before}: {:?}", &heard[before..][..200]);
    }
}
