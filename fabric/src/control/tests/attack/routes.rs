//! Announcements and withdrawals.

use mpreg_proto::route::{Entry, Held, Inside, InsideRoute, Item, Metrics, Signed};

use super::*;
use crate::route::{Link, SignatureFault as Fault};

pub(super) fn all() -> Vec<Attack> {
    [forged(), paths(), replays(), claims(), inside(), withdrawals()]
        .into_iter()
        .flatten()
        .collect()
}

fn bad(name: &'static str, said: &Chain, fault: Fault) -> Attack {
    attack(name, said.by(2), nine(10).by(2), Why::Signature(fault))
}

fn wrong(name: &'static str, said: &Chain, reason: Reject) -> Attack {
    attack(name, said.by(2), nine(10).by(2), Why::Route(reason))
}

/// A signature that is as good by the equation alone: the group's order added to its scalar.
fn malleated(mut signature: [u8; 64]) -> [u8; 64] {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    signature
}

fn resigned(change: impl Fn([u8; 64]) -> Option<[u8; 64]>) -> Chain {
    let mut said = nine(10);
    let last = said.said.chain.last_mut().unwrap();
    last.signature = last.signature.and_then(change);
    said
}

fn forged() -> Vec<Attack> {
    let by = |key| Chain::begin_by(origin(9, 2, 10), key).hop(2, 1, 10, 1);
    let of = |serial: u64, key| {
        let said = mpreg_proto::route::Origin { key_serial: serial, ..origin(9, 2, 10) };
        Chain::begin_by(said, Some(key)).hop(2, 1, 10, 1)
    };
    let unknown = Chain::begin_by(origin(90, 2, 10), Some(foreign())).hop(2, 1, 10, 1);
    let last = |key| Chain::origin(9, 2, 10).link(hop(2, 1, 10, 1).body(), key);
    let mut tagged = origin(9, 2, 10);
    tagged.tags = vec!["silver".parse().unwrap()];
    let mut swapped = nine(10);
    swapped.said.chain[0].body = origin(9, 2, 11).body();
    vec![
        bad("origin signed by the neighbour", &by(Some(key(2, 1))), Fault::Forged),
        bad("origin signed by nobody's key", &by(Some(foreign())), Fault::Forged),
        bad("origin not signed", &by(None), Fault::Missing),
        bad("origin of a cluster nobody knows", &unknown, Fault::UnknownCluster),
        bad("a serial nobody gave", &of(7, key(9, 7)), Fault::UnknownKey),
        bad("the next key under the serial of this one", &of(1, key(9, 2)), Fault::Forged),
        bad("hop signed by nobody's key", &last(Some(foreign())), Fault::Forged),
        bad("hop signed by another cluster", &last(Some(key(3, 1))), Fault::Forged),
        bad("hop not signed", &last(None), Fault::Missing),
        bad("signature of zeros", &resigned(|_| Some([0; 64])), Fault::Forged),
        bad("signature left out", &resigned(|_| None), Fault::Missing),
        bad(
            "signature cut short",
            &resigned(|mut signature| {
                signature[40..].fill(0);
                Some(signature)
            }),
            Fault::Forged,
        ),
        bad("signature malleated", &resigned(|it| Some(malleated(it))), Fault::Forged),
        bad("signed for another number", &swapped, Fault::Forged),
        bad(
            "tag the root does not allow",
            &Chain::begin(9, tagged).hop(2, 1, 10, 1),
            Fault::TagNotAllowed,
        ),
    ]
}

fn paths() -> Vec<Attack> {
    let to_three = Chain::origin(9, 3, 10);
    let whole = to_three.clone().hop(3, 2, 10, 1);
    let cut = whole.clone().after(whole.said.chain[..1].to_vec()).hop(2, 1, 10, 1);
    let prepended = Chain::origin(9, 4, 10).link(hop(4, 2, 10, 1).body(), Some(key(2, 1)));
    let long_ago = Chain::origin(9, 5, 1).hop(5, 2, 1, 1);
    let today = Chain::origin(9, 5, 10).hop(5, 2, 10, 1);
    let mixed = vec![today.said.chain[0].clone(), long_ago.said.chain[1].clone()];
    let mut destination = nine(10);
    destination.said.destination = cluster(8);
    let mut empty = nine(10);
    empty.said.chain.clear();
    let mut endless = Chain::origin(9, 4, 10);
    for hops in 1..=16 {
        endless = endless.hop(4, 4, 10, hops);
    }
    let mut other_node = hop(2, 1, 10, 1);
    other_node.node = NodeId(21);
    let over_us = Chain::origin(9, 1, 10).hop(1, 2, 10, 1).hop(2, 1, 10, 2);
    let twice = Chain::origin(9, 2, 10).hop(2, 4, 10, 1).hop(4, 2, 10, 2).hop(2, 1, 11, 3);
    vec![
        bad("spliced: what was told to another", &to_three.hop(2, 1, 10, 1), Fault::OtherNeighbour),
        bad("cut: the middle left out", &cut, Fault::OtherNeighbour),
        bad("prepended: a hop nobody signed", &prepended.hop(2, 1, 10, 2), Fault::Forged),
        bad(
            "mixed: an old hop behind a new origin",
            &today.after(mixed).hop(2, 1, 10, 2),
            Fault::Forged,
        ),
        bad(
            "told to another neighbour",
            &Chain::origin(9, 2, 10).hop(2, 3, 10, 1),
            Fault::OtherNeighbour,
        ),
        bad("of itself, told to another", &Chain::origin(2, 3, 10), Fault::OtherNeighbour),
        wrong("another destination", &destination, Reject::DestinationDiffers),
        wrong("our own cluster", &Chain::origin(1, 2, 10).hop(2, 1, 10, 1), Reject::OwnCluster),
        wrong("over our own cluster", &over_us, Reject::Loop),
        wrong("over a cluster twice", &twice, Reject::Loop),
        wrong("over nobody", &empty, Reject::EmptyPath),
        wrong("longer than a path may be", &endless, Reject::Malformed),
        wrong(
            "another node of the neighbour",
            &Chain::origin(9, 2, 10).hop_as(2, other_node),
            Reject::AdvertiserDiffers,
        ),
        attack(
            "passed on as it was",
            nine(10).by(3),
            nine(10).by(2),
            Why::Route(Reject::AdvertiserDiffers),
        ),
        attack(
            "by a node of our own cluster",
            nine(10).by(1),
            nine(10).by(2),
            Why::Route(Reject::UnknownPeer),
        ),
    ]
}

fn replays() -> Vec<Attack> {
    let mut dearer = hop(2, 1, 10, 1);
    dearer.metrics.cost = 8;
    let mut earlier = hop(2, 1, 99, 1);
    earlier.version.incarnation = Incarnation(0);
    let stale = |name, said: &Chain, before: Vec<Sent>| {
        attack(name, said.by(2), nine(20).by(2), Why::Route(Reject::Stale)).after(before)
    };
    let held = || vec![nine(10).by(2)];
    let gone = || vec![nine(10).by(2), withdrawn(&withdrawal(11), Some(key(2, 1)))];
    let mut expired = nine(10);
    expired.said.ttl_ms = 0;
    vec![
        stale("the same again", &nine(10), held()),
        stale("a number less", &nine(9), held()),
        stale("the same number, other content", &Chain::origin(9, 2, 10).hop_as(2, dearer), held()),
        stale("of an earlier life", &Chain::origin(9, 2, 10).hop_as(2, earlier), held()),
        stale("played again after the withdrawal", &nine(10), gone()),
        wrong("held on the way for too long", &expired, Reject::Expired),
    ]
}

fn claims() -> Vec<Attack> {
    let nearer = |change: fn(&mut Metrics)| {
        let mut last = hop(2, 1, 10, 2);
        change(&mut last.metrics);
        Chain::origin(9, 5, 10).hop(5, 2, 10, 1).hop_as(2, last)
    };
    let mut cut = nine(10).item().entry();
    cut.body.truncate(cut.body.len() - 4);
    let (unknown, twin) = (Entry { kind: 77, body: vec![] }, nine(10).by(2));
    let noise = Sent { link: 2, plane: Plane::Route, body: vec![1, 2, 3] };
    vec![
        wrong("fewer hops than the path has", &nearer(|it| it.hops = 1), Reject::Metrics),
        wrong("more hops than the path has", &nearer(|it| it.hops = 3), Reject::Metrics),
        wrong("hops beyond all bounds", &nearer(|it| it.hops = u16::MAX), Reject::Metrics),
        wrong("nearer than the hop before", &nearer(|it| it.latency_us = 1), Reject::Metrics),
        wrong("wider than the hop before", &nearer(|it| it.bandwidth_mbps = 11), Reject::Metrics),
        wrong(
            "surer than the hop before",
            &nearer(|it| it.reliability_ppm = u32::MAX),
            Reject::Metrics,
        ),
        wrong("cheaper than the hop before", &nearer(|it| it.cost = 0), Reject::Metrics),
        attack(
            "an entry cut short",
            entries(2, vec![cut]),
            twin.clone(),
            Why::Route(Reject::Malformed),
        ),
        attack(
            "a kind of a later version",
            entries(2, vec![unknown]),
            twin.clone(),
            Why::Route(Reject::UnknownKind),
        ),
        attack("noise", noise, twin, Why::Unreadable(Plane::Route)),
    ]
}

/// What only gateways of our own cluster may say.
fn inside() -> Vec<Attack> {
    let link = Link { round_trip_us: 5000, loss_ppm: 0, bandwidth_mbps: 0, cost: 0 };
    let said = |chain: &Chain, change: fn(&mut Inside)| {
        let metrics = link.to(hop(2, 1, 10, 1).metrics);
        let announcement = chain.said.clone();
        let mut inside = Inside {
            gateway: NodeId(11),
            version: version(1, 10),
            destination: cluster(9),
            route: Some(InsideRoute { metrics, is_damped: false, announcement }),
            told: vec![],
        };
        change(&mut inside);
        Item::Inside(inside)
    };
    let honest = || routes(1, &[said(&nine(10), |_| ())]);
    let spliced = Chain::origin(9, 3, 10).hop(2, 1, 10, 1);
    let forged = Chain::begin_by(origin(9, 2, 10), Some(foreign())).hop(2, 1, 10, 1);
    let near = |it: &mut Inside| it.route.as_mut().unwrap().metrics.latency_us = 1;
    let elsewhere = |it: &mut Inside| it.destination = cluster(8);
    let held = Held { first: 0, last: u64::MAX, marks: vec![], is_answer: false };
    let by_two = |item: Item| routes(2, &[item]);
    let stranger = Why::Route(Reject::UnknownPeer);
    let row = |name, item: Item, why| attack(name, routes(1, &[item]), honest(), why);
    vec![
        attack("inside, said from outside", by_two(said(&nine(10), |_| ())), honest(), stranger),
        attack("a number of what is held, from outside", by_two(Item::Sum(1)), honest(), stranger),
        attack(
            "a list of what is held, from outside",
            by_two(Item::Held(held)),
            honest(),
            stranger,
        ),
        row("inside, spliced", said(&spliced, |_| ()), Why::Signature(Fault::OtherNeighbour)),
        row("inside, forged", said(&forged, |_| ()), Why::Signature(Fault::Forged)),
        row("inside, nearer than it was told", said(&nine(10), near), Why::Route(Reject::Metrics)),
        row(
            "inside, of another destination",
            said(&nine(10), elsewhere),
            Why::Route(Reject::DestinationDiffers),
        ),
    ]
}

fn withdrawals() -> Vec<Attack> {
    let ours = || Some(key(2, 1));
    let held = || [nine(10).by(2)];
    let row =
        |name, sent, why| attack(name, sent, withdrawn(&withdrawal(20), ours()), why).after(held());
    let fault = |name, sent, fault| row(name, sent, Why::Signature(fault));
    let body = withdrawal(11).body();
    let as_link = Chain::origin(9, 2, 11).after(vec![]).link(body, ours());
    let as_link: Signed = as_link.said.chain[0].clone();
    let mut elsewhere = withdrawal(11);
    elsewhere.to = cluster(3);
    let mut other = withdrawal(11);
    (other.cluster, other.node) = (cluster(3), NodeId(30));
    let mut unknown = withdrawal(11);
    unknown.key_serial = 2;
    let played = withdrawn(&withdrawal(11), ours());
    let through_three = Sent { link: 3, ..played.clone() };
    vec![
        fault(
            "withdrawal signed by nobody's key",
            withdrawn(&withdrawal(11), Some(foreign())),
            Fault::Forged,
        ),
        fault(
            "withdrawal signed by another cluster",
            withdrawn(&withdrawal(11), Some(key(3, 1))),
            Fault::Forged,
        ),
        fault("withdrawal not signed", withdrawn(&withdrawal(11), None), Fault::Missing),
        fault(
            "a link of a chain as a withdrawal",
            routes(2, &[Item::Withdraw(as_link)]),
            Fault::Forged,
        ),
        fault(
            "withdrawal for another neighbour",
            withdrawn(&elsewhere, ours()),
            Fault::OtherNeighbour,
        ),
        fault(
            "withdrawal by a key that is not there yet",
            withdrawn(&unknown, Some(key(2, 2))),
            Fault::UnknownKey,
        ),
        row(
            "withdrawal in the name of another",
            withdrawn(&other, Some(key(3, 1))),
            Why::Route(Reject::AdvertiserDiffers),
        ),
        row(
            "withdrawal passed on by another",
            through_three,
            Why::Route(Reject::AdvertiserDiffers),
        ),
        row(
            "withdrawal of before it was announced",
            withdrawn(&withdrawal(9), ours()),
            Why::Route(Reject::Stale),
        ),
        row(
            "withdrawal of the same number",
            withdrawn(&withdrawal(10), ours()),
            Why::Route(Reject::Stale),
        ),
        row("withdrawal played again", played.clone(), Why::Route(Reject::Stale))
            .after([played, nine(12).by(2)]),
    ]
}
