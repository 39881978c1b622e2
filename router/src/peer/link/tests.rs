//! Two links that face each other in memory, on a clock of their own.

use mpreg_proto::cluster::NodeRole;
use mpreg_proto::id::{FabricId, Incarnation, NodeId};
use mpreg_proto::limits::{PEER_BODY_BYTES_MAX, PEER_CONTROL_FRAME_BYTES_MAX};
use mpreg_proto::peer_hello::{Channel, Refusal};

use super::*;
use crate::ca::{self, Wish};
use crate::clock::since_1970;

const TIMING: Timing = Timing {
    handshake: Duration::from_secs(5),
    ping_interval: Duration::from_millis(500),
    silence: Duration::from_millis(1500),
    hold: Duration::from_secs(5),
    linger: Duration::from_secs(1),
};

fn ms(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

fn hello() -> PeerHello {
    PeerHello::new(Channel::Control, Incarnation(3), FabricId(1), 5)
}

/// Credentials of `count` nodes of one authority.
fn credentials(count: usize) -> Vec<Credentials> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    ca::init(&at("ca"), since_1970()).unwrap();
    let wish = Wish { cluster: "eu".parse().unwrap(), role: NodeRole::Node, days: 1 };
    let issue = |number: usize| {
        let out = at(&number.to_string());
        ca::issue(&at("ca"), &wish, &out, since_1970()).unwrap();
        Credentials::load(&out).unwrap()
    };
    (0..count).map(issue).collect()
}

struct Pair {
    dialled: Link,
    accepted: Link,
    names: [NodeId; 2],
}

impl Pair {
    fn new() -> Self {
        let credentials = credentials(2);
        Self {
            dialled: Link::new(Side::Dialled, &credentials[0], TIMING, ms(0)),
            accepted: Link::new(Side::Accepted, &credentials[1], TIMING, ms(0)),
            names: [credentials[0].name().node, credentials[1].name().node],
        }
    }

    /// Both up, all said.
    fn up() -> Self {
        let mut pair = Self::new();
        pair.carry(ms(0));
        heard(&mut pair.dialled, ms(0));
        pair.dialled.greet(&hello());
        pair.carry(ms(0));
        heard(&mut pair.accepted, ms(0));
        pair.accepted.open(Some(&hello().answer(&hello(), None)), ms(0));
        pair.carry(ms(0));
        heard(&mut pair.dialled, ms(0));
        pair.dialled.open(None, ms(0));
        pair.settle(ms(0));
        pair
    }

    /// Until neither has anything to say. True if one had.
    fn carry(&mut self, now: Instant) -> bool {
        let mut has_moved = false;
        while carry(&mut self.dialled, &mut self.accepted, now)
            | carry(&mut self.accepted, &mut self.dialled, now)
        {
            has_moved = true;
        }
        has_moved
    }

    /// Time comes to `now`, and both say and hear all there is.
    fn settle(&mut self, now: Instant) -> [Vec<Happening>; 2] {
        let mut all = [Vec::new(), Vec::new()];
        self.dialled.tick(now);
        self.accepted.tick(now);
        loop {
            let has_moved = self.carry(now);
            let new = [heard(&mut self.dialled, now), heard(&mut self.accepted, now)];
            if !has_moved && new.iter().all(Vec::is_empty) {
                return all;
            }
            all[0].extend_from_slice(&new[0]);
            all[1].extend_from_slice(&new[1]);
        }
    }
}

fn carry(from: &mut Link, to: &mut Link, now: Instant) -> bool {
    let bytes = from.output(now).to_vec();
    from.sent(bytes.len());
    if !bytes.is_empty() {
        to.take(&bytes, now);
    }
    !bytes.is_empty()
}

fn heard(link: &mut Link, now: Instant) -> Vec<Happening> {
    std::iter::from_fn(|| link.next(now)).collect()
}

fn frame(lane: Lane, body: &[u8]) -> Frame<'_> {
    Frame { plane: Plane::Catalog as u8, lane, body }
}

fn told(lane: Lane, body: &[u8]) -> Happening {
    Happening::Frame { plane: Plane::Catalog as u8, lane, body: body.to_vec() }
}

#[test]
fn both_learn_who_the_other_is_and_then_what_it_says() {
    let mut pair = Pair::new();
    pair.carry(ms(1));
    let secured = |happenings: Vec<Happening>| match &happenings[..] {
        [Happening::Secured(name)] => name.node,
        other => panic!("{other:?}"),
    };
    assert_eq!(secured(heard(&mut pair.dialled, ms(1))), pair.names[1]);
    assert_eq!(secured(heard(&mut pair.accepted, ms(1))), pair.names[0]);
    pair.dialled.greet(&hello());
    pair.carry(ms(1));
    assert_eq!(heard(&mut pair.accepted, ms(1)), [Happening::Greeted(hello())]);
    let answer = hello().answer(&hello(), None);
    pair.accepted.open(Some(&answer), ms(1));
    // Right behind the answer, before it was taken in.
    pair.accepted.queue(frame(Lane::Control, b"first")).unwrap();
    pair.carry(ms(1));
    assert_eq!(heard(&mut pair.dialled, ms(1)), [Happening::Greeted(answer)]);
    pair.dialled.open(None, ms(1));
    assert_eq!(heard(&mut pair.dialled, ms(1)), [told(Lane::Control, b"first")]);
}

#[test]
fn a_refusal_arrives_with_its_reason() {
    let mut pair = Pair::new();
    pair.carry(ms(0));
    heard(&mut pair.dialled, ms(0));
    pair.dialled.greet(&hello());
    pair.carry(ms(0));
    heard(&mut pair.accepted, ms(0));
    let answer = hello().answer(&hello(), Some(Refusal::NotAllowed));
    pair.accepted.refuse(Some(&answer), ms(0));
    pair.carry(ms(0));
    assert_eq!(pair.dialled.next(ms(0)), Some(Happening::Greeted(answer)));
    pair.dialled.close(ms(0));
    assert_eq!((pair.dialled.next(ms(0)), pair.accepted.next(ms(0))), (None, None));
    assert!(!pair.accepted.tick(ms(999)) && pair.accepted.tick(ms(1000)));
}

#[test]
fn what_is_urgent_overtakes_what_waits() {
    let mut pair = Pair::up();
    let bulk = vec![7; PEER_BODY_BYTES_MAX];
    for _ in 0..20 {
        pair.dialled.queue(frame(Lane::Bulk, &bulk)).unwrap();
    }
    // The kernel has taken what it takes.
    let bytes = pair.dialled.output(ms(1)).len();
    assert!(bytes < PEER_WIRE_BYTES + 2 * PEER_CONTROL_FRAME_BYTES_MAX, "{bytes}");
    pair.dialled.queue(frame(Lane::Control, b"urgent")).unwrap();
    let [_, told_of] = pair.settle(ms(1));
    let place = told_of.iter().position(|happening| *happening == told(Lane::Control, b"urgent"));
    assert!(place.is_some_and(|place| place <= 2), "{place:?}");
    assert_eq!(told_of.len(), 21);
}

#[test]
fn the_answer_to_a_ping_tells_the_way_there_and_back() {
    let mut pair = Pair::up();
    assert!(!pair.dialled.tick(ms(500)));
    let bytes = pair.dialled.output(ms(500)).to_vec();
    pair.dialled.sent(bytes.len());
    pair.accepted.take(&bytes, ms(520));
    assert_eq!(heard(&mut pair.accepted, ms(520)), []);
    let bytes = pair.accepted.output(ms(520)).to_vec();
    pair.accepted.sent(bytes.len());
    pair.dialled.take(&bytes, ms(541));
    let measured = Happening::Measured(Duration::from_millis(41));
    assert_eq!(heard(&mut pair.dialled, ms(541)), [measured]);
}

#[test]
fn an_answer_that_nobody_asked_for_measures_nothing() {
    let mut pair = Pair::up();
    pair.accepted.tick(ms(500));
    // Its ping is on the way.
    let said = pair.accepted.output(ms(500)).len();
    pair.accepted.sent(said);
    let pong = Frame { plane: Plane::Pong as u8, lane: Lane::Control, body: &[9; 8] };
    pair.dialled.queue(pong).unwrap();
    assert!(0 < said && carry(&mut pair.dialled, &mut pair.accepted, ms(501)));
    assert_eq!(heard(&mut pair.accepted, ms(501)), []);
    assert!(pair.accepted.is_up());
}

#[test]
fn links_that_are_pinged_stay_and_one_that_hears_nothing_ends() {
    let mut pair = Pair::up();
    let mut at = 0;
    while at < 20_000 {
        at = pair.dialled.deadline().min(pair.accepted.deadline()).as_nanos() / 1_000_000;
        let [dialled, accepted] = pair.settle(ms(at));
        assert!(dialled.iter().chain(&accepted).all(|it| matches!(it, Happening::Measured(_))));
    }
    // From here on nothing arrives.
    let silent = loop {
        let due = pair.dialled.deadline();
        assert!(due < ms(at + 10_000), "it does not end");
        pair.dialled.tick(due);
        let lost = pair.dialled.output(due).len();
        pair.dialled.sent(lost);
        match heard(&mut pair.dialled, due).pop() {
            Some(Happening::Ended(end)) => break (end, due),
            other => assert_eq!(other, None),
        }
    };
    assert_eq!(silent.0, LinkEndReason::Silent);
    assert!(silent.1.since(ms(at)) <= TIMING.silence, "{silent:?}");
}

/// It says something now and then, and reads nothing.
#[test]
fn a_link_whose_other_end_does_not_read_ends() {
    let mut pair = Pair::up();
    let mut said = Vec::new();
    frame(Lane::Normal, b"now and then").put(&mut said).unwrap();
    let (end, at) = loop {
        let due = pair.dialled.deadline();
        pair.dialled.tick(due);
        let unread = pair.dialled.output(due).len();
        pair.dialled.sent(unread);
        let mut wire = Vec::new();
        pair.accepted.tls.seal(&said, &mut wire);
        pair.dialled.take(&wire, due);
        if let Some(Happening::Ended(end)) = heard(&mut pair.dialled, due).pop() {
            break (end, due);
        }
    };
    assert_eq!(end, LinkEndReason::SendHold);
    assert!(TIMING.hold <= at.since(ms(0)) && at <= ms(6000), "{at:?}");
}

#[test]
fn who_does_not_come_to_the_hello_is_given_up() {
    let mut pair = Pair::new();
    assert!(!pair.accepted.tick(ms(4999)));
    pair.accepted.tick(ms(5000));
    let ended = Happening::Ended(LinkEndReason::HandshakeTimeout);
    assert_eq!(heard(&mut pair.accepted, ms(5000)), [ended]);
    let mut pair = Pair::new();
    pair.carry(ms(4000));
    assert_eq!(heard(&mut pair.accepted, ms(4000)).len(), 1, "secured");
    pair.accepted.tick(ms(5000));
    assert_eq!(
        heard(&mut pair.accepted, ms(5000)),
        [Happening::Ended(LinkEndReason::HandshakeTimeout)]
    );
}

/// What comes of plain bytes said on a link that is up.
fn outcome(bytes: &[u8]) -> LinkEndReason {
    let mut pair = Pair::up();
    let mut wire = Vec::new();
    pair.dialled.tls.seal(bytes, &mut wire);
    pair.accepted.take(&wire, ms(1));
    match &heard(&mut pair.accepted, ms(1))[..] {
        [Happening::Ended(end)] => *end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_that_do_not_hold_end_the_link() {
    let header = |bytes: u32, plane: u8, lane: u8| {
        let length = bytes.to_le_bytes();
        [length[0], length[1], length[2], length[3], plane, lane, 0, 0]
    };
    let long = PEER_CONTROL_FRAME_BYTES_MAX as u32 + 1;
    assert_eq!(outcome(&header(long, 5, 0)), LinkEndReason::FrameTooLarge);
    assert_eq!(outcome(&header(u32::MAX, 5, 0)), LinkEndReason::FrameTooLarge);
    assert_eq!(outcome(&header(7, 5, 0)), LinkEndReason::BadFrame);
    assert_eq!(outcome(&header(8, 5, 99)), LinkEndReason::BadFrame);
    assert_eq!(outcome(&header(8, Plane::Ping as u8, 0)), LinkEndReason::BadFrame);
    assert_eq!(outcome(&header(long, Plane::Data as u8, 0)), LinkEndReason::UnexpectedFrame);
}

#[test]
fn a_hello_that_is_none_ends_it() {
    let mut pair = Pair::new();
    pair.carry(ms(0));
    heard(&mut pair.accepted, ms(0));
    let mut wire = Vec::new();
    pair.dialled.tls.seal(&[b'x'; HELLO_BYTES], &mut wire);
    pair.accepted.take(&wire, ms(0));
    let ended = Happening::Ended(LinkEndReason::BadHello);
    assert_eq!(heard(&mut pair.accepted, ms(0)), [ended]);
}

#[test]
fn bytes_that_are_no_tls_end_it() {
    for text in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"MPREG\r\n\x8a", &[0; 100]] {
        let mut pair = Pair::new();
        pair.accepted.take(text, ms(0));
        let ended = Happening::Ended(LinkEndReason::NotTls);
        assert_eq!(heard(&mut pair.accepted, ms(0)), [ended], "{text:?}");
    }
}

#[test]
fn what_was_queued_is_said_before_leaving() {
    let mut pair = Pair::up();
    let body = vec![1; PEER_BODY_BYTES_MAX];
    for _ in 0..10 {
        pair.dialled.queue(frame(Lane::Normal, &body)).unwrap();
    }
    pair.dialled.leave(ms(1));
    let [dialled, mut accepted] = pair.settle(ms(1));
    assert_eq!((dialled, accepted.pop()), (vec![], Some(Happening::Ended(LinkEndReason::Closed))));
    assert_eq!(accepted.len(), 10);
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut pair = Pair::up();
    pair.dialled.queue(frame(Lane::Low, b"slowly")).unwrap();
    let bytes = pair.dialled.output(ms(1)).to_vec();
    let mut happenings = Vec::new();
    for byte in bytes {
        pair.accepted.take(&[byte], ms(1));
        happenings.extend(heard(&mut pair.accepted, ms(1)));
    }
    assert_eq!(happenings, [told(Lane::Low, b"slowly")]);
}
