//! Entries of others, signs of life, and ends.

use mpreg_proto::catalog::{Beat, Beats, Head, Message, Told, life_mark};
use mpreg_proto::limits::CATALOG_NAME_BYTES_MAX;
use mpreg_proto::member::{Condition, LeaveReason};

use super::*;
use crate::catalog::Refusal;

const CLUSTER: Scope = Scope::Cluster;
const FABRIC: Scope = Scope::Fabric;

fn over(of: Head) -> Head {
    Head { version: version(1, Head::OVER), beat: 9, ..of }
}

fn alive(link: u64, node: u128, number: u64) -> Sent {
    let life = life_mark(NodeId(node), Incarnation(1));
    let beats = vec![Beat { life, number, ttl_ms: 30_000 }];
    entry(link, &Message::Beats(vec![Beats { told: Told::Cluster, beats }]))
}

/// What node 11 says of a node.
fn said(node: u128, condition: Condition) -> Sent {
    packet(1, life(11, 1), vec![word(life(node, 1), condition)])
}

pub(super) fn all() -> Vec<Attack> {
    [owners(), ends()].into_iter().flatten().collect()
}

/// Who speaks for whom.
fn owners() -> Vec<Attack> {
    let twin = || offered(2, head(90, 9, FABRIC, 5), b"a");
    let row = |name, sent, why| attack(name, sent, twin(), Why::Catalog(why));
    let known = || [offered(2, head(90, 9, FABRIC, 5), b"a")];
    let mine = |sequence| Head { version: version(900, sequence), ..head(10, 1, FABRIC, sequence) };
    let last = Head { version: version(u64::MAX, 1), ..head(10, 1, FABRIC, 1) };
    let long = vec![b'x'; CATALOG_NAME_BYTES_MAX + 1];
    let endless = offered(2, head(90, 9, FABRIC, 5), &long);
    vec![
        row(
            "a node of ours, from outside",
            offered(2, head(12, 1, FABRIC, 5), b"a"),
            Refusal::NotExported,
        ),
        row(
            "what stays in its cluster, from outside",
            offered(2, head(20, 2, CLUSTER, 5), b"a"),
            Refusal::NotExported,
        ),
        row(
            "what stays in ours, from outside",
            offered(2, head(12, 1, CLUSTER, 5), b"a"),
            Refusal::NotExported,
        ),
        row(
            "what stays in another, from a node of ours",
            offered(1, head(20, 2, CLUSTER, 5), b"a"),
            Refusal::NotExported,
        ),
        row("a later life of ourselves, from outside", heads(2, mine(5)), Refusal::NotExported),
        row("our end, from outside", heads(2, over(head(10, 1, FABRIC, 5))), Refusal::NotExported),
        row("our last possible life, from outside", heads(2, last), Refusal::NotExported),
        row(
            "a gateway in the name of another cluster",
            offered(2, head(20, 3, FABRIC, 5), b"a"),
            Refusal::OtherCluster,
        ),
        row(
            "a node of ours in the name of another cluster",
            offered(1, head(11, 3, FABRIC, 5), b"a"),
            Refusal::OtherCluster,
        ),
        attack(
            "a node moved to another cluster",
            offered(3, head(90, 8, FABRIC, 6), b"b"),
            offered(3, head(90, 9, FABRIC, 6), b"b"),
            Why::Catalog(Refusal::OtherCluster),
        )
        .after(known()),
        attack("a name longer than names are", endless, twin(), Why::Unreadable(Plane::Catalog)),
        attack(
            "noise",
            Sent { link: 2, plane: Plane::Catalog, body: vec![5, 1, 2] },
            twin(),
            Why::Unreadable(Plane::Catalog),
        ),
    ]
}

/// What is over, and what was said before.
fn ends() -> Vec<Attack> {
    let of_nine = |sequence| head(90, 9, FABRIC, sequence);
    let held = || [offered(2, of_nine(5), b"a")];
    let next = || offered(2, of_nine(6), b"b");
    let stale = |name, sent| attack(name, sent, next(), Why::Known).after(held());
    let mate = || offered(1, head(12, 1, CLUSTER, 5), b"a");
    let mates_next = || offered(1, head(12, 1, CLUSTER, 6), b"b");
    let earlier = Head { version: version(0, 9), ..of_nine(9) };
    let earlier_end = Head { version: version(0, Head::OVER), ..of_nine(9) };
    let left = Condition::Left(LeaveReason::Shutdown);
    let gone = || [said(12, Condition::Alive), mate(), said(12, left)];
    let back = || {
        let head = head(12, 1, CLUSTER, 1);
        offered(1, Head { version: version(2, 1), ..head }, b"a")
    };
    let departed = Why::Catalog(Refusal::Departed);
    vec![
        stale("an addition played again", offered(2, of_nine(5), b"a")),
        stale("an addition of before", offered(2, of_nine(4), b"c")),
        stale("an addition of an earlier life", offered(2, earlier, b"c")),
        stale("the end of an earlier life", heads(2, earlier_end)),
        stale("a sign of life played again", alive(2, 90, 1)),
        stale("a sign of a life nobody knows", alive(2, 91, 7)),
        attack(
            "the end of a node of ours, from outside",
            heads(2, over(head(12, 1, CLUSTER, 5))),
            mates_next(),
            Why::Catalog(Refusal::NotExported),
        )
        .after([mate()]),
        attack(
            "the end of a node of ours, by another",
            heads(1, over(head(12, 1, CLUSTER, 5))),
            mates_next(),
            Why::Known,
        )
        .after([mate()]),
        attack("a sign of life of ours, from outside", alive(2, 12, 9), mates_next(), Why::Known)
            .after([mate()]),
        attack("the departed offered again", mate(), back(), departed).after(gone()),
        attack("the departed said to live", alive(1, 12, 99), back(), departed).after(gone()),
    ]
}
