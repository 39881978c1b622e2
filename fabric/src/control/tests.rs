//! What the root owes the shell. `up 1 b dialled`: link 1 to node b came up. What the leaves decide is
//! tested beside them.

use alloc::string::String;
use alloc::vec;
use core::fmt::Write as _;

use mpreg_proto::member::{Header, Packet, Saying};

use super::*;

mod attack;
mod hints;
mod links;
mod record;

const ME: NodeId = NodeId(b'm' as u128);

#[test]
fn a_link_is_answered_at_once() {
    check("0 up 1 b dialled", "admit 1, use 1, send b");
    check("0 up 1 m dialled | 0 up 2 m accepted", "close 1 | close 2");
}

#[test]
fn of_dials_of_one_moment_both_ends_use_the_same() {
    let both = "admit 1, use 1, send b";
    check("0 up 1 b dialled | 1 up 2 b accepted", &[both, "admit 2, use 2, send b"].join(" | "));
    check("0 up 1 b accepted | 1 up 2 b dialled", &[both, "admit 2"].join(" | "));
}

#[test]
fn other_clusters_hear_nothing_of_this_one() {
    check("0 up 1 b/there dialled", "admit 1, use 1");
    check("0 up 1 b/there dialled | 1 leave", "admit 1, use 1 | close 1, left");
}

#[test]
fn goodbye_is_said_before_links_are_closed() {
    let said = "admit 1, use 1, send b | send b, close 1, left";
    check("0 up 1 b dialled | 1 leave | 2 up 2 b accepted", &[said, "close 2"].join(" | "));
}

#[test]
fn a_link_that_is_down_is_not_sent_on() {
    let script = "0 up 1 b dialled | 1 down 1 | 2 leave";
    check(script, "admit 1, use 1, send b | nothing | left");
}

#[test]
fn planes_of_later_versions_are_skipped() {
    check("0 up 1 b dialled | 1 hear 1 200", "admit 1, use 1, send b | unknown 200");
    check("0 up 1 b dialled | 1 hear 2 200", "admit 1, use 1, send b | nothing");
}

/// A packet from one member to another, heard from `by`, which linked with this node before.
fn packet_heard(by: &str, source: u8, target: u8) -> Vec<Effect> {
    let mut control = Control::new(settings());
    let mut out = vec![];
    for up in ["up 1 b accepted", "up 2 c accepted", "up 3 d/there accepted"] {
        control.handle(input(up), Instant::START, &mut out);
    }
    out.clear();
    let life = |node: u8| Life { node: NodeId(node.into()), incarnation: Incarnation(1) };
    let header = Header {
        source: life(source),
        refutation: 0,
        address: "x:1".parse().unwrap(),
        target: life(target),
        saying: Saying::Ping { probe: 7 },
    };
    let mut body = vec![];
    Packet { header, records: vec![] }.put(&mut body);
    let link = LinkId(["b", "c", "d"].iter().position(|it| *it == by).unwrap() as u64 + 1);
    let heard = Input::Received { link, plane: Plane::Member as u8, body };
    control.handle(heard, Instant::START + Duration::from_millis(1), &mut out);
    out
}

#[test]
fn members_that_are_not_linked_hear_of_each_other_by_a_mate() {
    // b and c are linked with this node, x is not.
    assert_eq!(show(&packet_heard("b", b'b', b'c')), "send c");
    assert_eq!(show(&packet_heard("b", b'b', b'x')), "nothing", "nobody passes it on twice");
    let is_member = |effects: &[Effect], node: u8| {
        let up = |effect: &Effect| matches!(effect, Effect::Fact(Fact::MemberUp(it)) if it.node == NodeId(node.into()));
        effects.iter().any(up)
    };
    assert!(is_member(&packet_heard("b", b'x', b'm'), b'x'));
    // Who is linked here speaks for itself, and other clusters speak for nobody here.
    assert!(!is_member(&packet_heard("b", b'c', b'm'), b'c'));
    assert!(!is_member(&packet_heard("d", b'x', b'm'), b'x'));
    assert_eq!(show(&packet_heard("d", b'd', b'c')), "nothing");
}

fn settings() -> Settings {
    let (cluster, address) = ("here".parse().unwrap(), "m:1".parse().unwrap());
    Settings::new(ME, cluster, Incarnation(1), address, 1)
}

/// Runs steps of `<ms> <what>` and compares what came of each.
#[track_caller]
fn check(script: &str, want: &str) {
    let mut control = Control::new(settings());
    let mut came = vec![];
    for step in script.split(" | ") {
        let (ms, what) = step.split_once(' ').unwrap();
        let now = Instant::START + Duration::from_millis(ms.parse().unwrap());
        let mut out = vec![];
        control.handle(input(what), now, &mut out);
        came.push(show(&out));
    }
    assert_eq!(came.join(" | "), want, "{script}");
}

fn input(text: &str) -> Input {
    let words: Vec<&str> = text.split(' ').collect();
    if words == ["leave"] {
        return Input::Command(Command::Leave { reason: LeaveReason::Shutdown });
    }
    let link = LinkId(words[1].parse().unwrap());
    match words[0] {
        "up" => {
            let (peer, cluster) = words[2].split_once('/').unwrap_or((words[2], "here"));
            Input::LinkUp(LinkUp {
                link,
                peer: NodeId(u128::from(peer.as_bytes()[0])),
                cluster: cluster.parse().unwrap(),
                incarnation: Incarnation(1),
                origin: match words[3] {
                    "dialled" => Origin::Dialled { address: "a:1".parse().unwrap() },
                    _ => Origin::Accepted,
                },
            })
        }
        "down" => Input::LinkDown { link, end: End::Lost },
        _ => Input::Received { link, plane: words[2].parse().unwrap(), body: vec![] },
    }
}

fn show(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects {
        let comma = if text.is_empty() { "" } else { ", " };
        match effect {
            Effect::Admit { link } => write!(text, "{comma}admit {}", link.0),
            Effect::Use { link, .. } => write!(text, "{comma}use {}", link.0),
            Effect::Close { link, .. } => write!(text, "{comma}close {}", link.0),
            Effect::Send { to, plane: Plane::Member, .. } => {
                write!(text, "{comma}send {}", to.0 as u8 as char)
            }
            Effect::Left => write!(text, "{comma}left"),
            Effect::Fact(Fact::PlaneUnknown { plane, .. }) => {
                write!(text, "{comma}unknown {plane}")
            }
            Effect::Send { .. }
            | Effect::Dial { .. }
            | Effect::Persist { .. }
            | Effect::View { .. }
            | Effect::Fact(_) => Ok(()),
        }
        .unwrap();
    }
    if text.is_empty() { "nothing".into() } else { text }
}
