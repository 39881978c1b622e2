//! What operators ask the control core, and its answers: copies of what the machine knows, made in one
//! turn. Words and JSON are made of them elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use mpreg_fabric::catalog::{Key, Refusal};
use mpreg_fabric::control::{Command, Control, Explanation, Fact, Hint};
use mpreg_fabric::route::{self, KeyFault};
use mpreg_fabric::time::Instant;
use mpreg_proto::catalog::{Kind, Node, Scope, Want};
use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::link_state::Advertisement;
use tokio::sync::oneshot::Sender;

use crate::limits::ENTRIES_ANSWERED_MAX;

/// Clusters that anybody has named, by what is on the wire.
pub type Names = BTreeMap<ClusterId, String>;

/// Whoever asked may have stopped waiting; an answer is then dropped.
#[derive(Debug)]
pub enum Question {
    /// Part of what is offered, in the order of owners and names.
    Catalog { part: Part, answer: Sender<Catalog> },
    /// Why a message for each cluster goes where it goes.
    Routes { answer: Sender<Routes> },
    /// The same for one cluster, for a message that has been in those to avoid.
    Explain { to: ClusterId, avoid: Vec<ClusterId>, answer: Sender<Routes> },
    /// Which nodes say that they have which links.
    LinkState { answer: Sender<LinkState> },
    /// What clusters are called.
    Names { answer: Sender<Names> },
    /// Follow what the configuration says now.
    Apply { commands: Vec<Command>, answer: Sender<Applied> },
    /// Offer an entry, or take it back. Answered once that is done, or refused.
    Offer { offer: Offer, answer: Sender<Result<(), Refusal>> },
}

/// Which entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: Option<Kind>,
    pub offset: usize,
    /// At most [`ENTRIES_ANSWERED_MAX`] in any case.
    pub limit: usize,
}

/// What an operator has this node offer to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub scope: Scope,
    pub kind: Kind,
    pub name: Bytes,
    /// None: take it back.
    pub body: Option<Bytes>,
}

#[derive(Debug)]
pub struct Catalog {
    pub entries: Vec<Entry>,
    /// Of this kind, with those left out.
    pub total: usize,
    /// What was known in the node's last life and has not been heard of in this one.
    pub hints: Vec<Hint>,
    pub names: Names,
}

#[derive(Debug)]
pub struct Entry {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub scope: Scope,
    pub kind: Kind,
    pub name: Bytes,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct Routes {
    pub explained: Vec<Explanation>,
    pub names: Names,
}

#[derive(Debug)]
pub struct LinkState {
    pub advertisements: Vec<Advertisement>,
    pub names: Names,
}

/// What came of a configuration.
#[derive(Debug)]
pub struct Applied {
    /// Ways that are others now, each with its next node.
    pub ways: Vec<(ClusterId, Option<NodeId>)>,
    /// Keys that are news, each with its serial and whether that is that they are void.
    pub keys: Vec<(ClusterId, u64, bool)>,
    /// Why keys were not taken.
    pub faults: Vec<KeyFault>,
    pub names: Names,
}

/// What the machine is to do, and who waits to hear what came of it.
#[derive(Debug)]
pub(super) enum Order {
    Offer { command: Box<Command>, answer: Sender<Result<(), Refusal>> },
    Apply { commands: Vec<Command>, answer: Sender<Applied> },
}

/// Answers, unless something has to be done first.
pub(super) fn answer(question: Question, control: &Control, now: Instant) -> Option<Order> {
    // An answer that nobody waits for any more comes back and is dropped.
    match question {
        Question::Catalog { part, answer } => drop(answer.send(catalog(control, part))),
        Question::Routes { answer } => {
            let to: Vec<ClusterId> = control.destinations().collect();
            let explained = to.into_iter().map(|to| control.explain(to, &[], now)).collect();
            drop(answer.send(Routes { explained, names: names(control) }));
        }
        Question::Explain { to, avoid, answer } => {
            let explained = vec![control.explain(to, &avoid, now)];
            drop(answer.send(Routes { explained, names: names(control) }));
        }
        Question::LinkState { answer } => {
            let advertisements = control.link_state().cloned().collect();
            drop(answer.send(LinkState { advertisements, names: names(control) }));
        }
        Question::Names { answer } => drop(answer.send(names(control))),
        Question::Offer { offer: Offer { scope, kind, name, body }, answer } => {
            let key = Key { kind, name };
            let command = match body {
                Some(body) => Command::Offer { scope, key, body },
                None => Command::Retract { scope, key },
            };
            return Some(Order::Offer { command: Box::new(command), answer });
        }
        Question::Apply { commands, answer } => return Some(Order::Apply { commands, answer }),
    }
    None
}

fn catalog(control: &Control, part: Part) -> Catalog {
    let is_asked = |kind: Kind| part.kind.is_none_or(|asked| asked == kind);
    let all = || control.catalog().entries().filter(|entry| is_asked(entry.key.kind));
    let page = all().skip(part.offset).take(part.limit.min(ENTRIES_ANSWERED_MAX));
    let entries = page.map(|entry| Entry {
        node: entry.feed.node,
        cluster: entry.cluster,
        scope: entry.feed.scope,
        kind: entry.key.kind,
        name: entry.key.name.clone(),
        body: entry.body.clone(),
    });
    let hints = control.hints().filter(|hint| is_asked(hint.kind)).take(ENTRIES_ANSWERED_MAX);
    let hints = hints.cloned().collect();
    Catalog { entries: entries.collect(), total: all().count(), hints, names: names(control) }
}

/// Which ways are others than before, the last word on each.
pub(super) fn applied(facts: &[Fact], control: &Control) -> Applied {
    let (mut ways, mut keys, mut faults) = (BTreeMap::new(), Vec::new(), Vec::new());
    for fact in facts {
        if let Fact::Route(fact) = fact {
            match *fact {
                route::Fact::Best { destination, via } => {
                    ways.insert(destination, via);
                }
                route::Fact::KeyAccepted { cluster, key_serial } => {
                    keys.push((cluster, key_serial, false));
                }
                route::Fact::KeyRevoked { cluster, key_serial } => {
                    keys.push((cluster, key_serial, true));
                }
                route::Fact::KeyRejected { from: None, fault } => faults.push(fault),
                route::Fact::KeyRejected { from: Some(_), .. }
                | route::Fact::Accepted { .. }
                | route::Fact::Rejected { .. }
                | route::Fact::Withdrawn { .. }
                | route::Fact::Expired { .. }
                | route::Fact::Void { .. }
                | route::Fact::CannotSign { .. } => (),
            }
        }
    }
    Applied { ways: ways.into_iter().collect(), keys, faults, names: names(control) }
}

/// What an entry is called, for people.
pub fn entry_name(kind: Kind, name: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match Want::parse(name) {
        Ok(want) if [Kind::SUBSCRIPTION, Kind::CLUSTER_INTEREST].contains(&kind) => {
            let words = [text(want.pattern.as_bytes()), text(want.group)];
            words.join(" ").trim_end().to_owned()
        }
        _ if kind == Kind::ROUTE_KEY => data_encoding::HEXLOWER.encode(name),
        Ok(_) | Err(_) => text(name),
    }
}

/// Every node says what its cluster is called.
fn names(control: &Control) -> Names {
    let nodes = control.catalog().entries().filter(|entry| entry.key.kind == Kind::NODE);
    let named =
        nodes.filter_map(|entry| Some((entry.cluster, Node::parse(entry.body).ok()?.cluster)));
    let hinted = control.hints().filter(|hint| hint.kind == Kind::NODE);
    let hinted =
        hinted.filter_map(|hint| Some((hint.cluster, Node::parse(&hint.body).ok()?.cluster)));
    // What a live node says comes last, and so counts.
    hinted.chain(named).collect()
}
