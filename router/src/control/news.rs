//! What happens in the fabric, as messages to clients of this node: on topics where no client may publish.
//!
//! ```text
//!   Fact --> topic and JSON --somebody here listens, and there is leave--> every shard --> its clients
//! ```
//!
//! Each node tells its own clients, as it comes to know of it; queue groups are told nothing, as each of
//! them would be told by every node.
//!
//! Invariants:
//! - Nothing is made of a fact to whose topic nobody here subscribes.
//! - At most [`NEWS_PER_S`] are told in a second; what is not told is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mpreg_fabric::catalog::Changed;
use mpreg_fabric::control::{End, Fact, Want};
use mpreg_fabric::member::{self, Why};
use mpreg_fabric::route;
use mpreg_fabric::time::Instant;
use mpreg_proto::catalog::{self, Kind, Node, Scope};
use mpreg_proto::frame::Publish;
use mpreg_proto::id::{ClusterId, NodeId, ShardIx};
use mpreg_proto::topic::{Pattern, Topic};
use serde_json::{Value, json};

use super::question::{Names, entry_name};
use crate::limits::{CLUSTERS_NAMED_MAX, NEWS_PER_S};

/// One thing to be told.
#[derive(Debug, PartialEq)]
struct News {
    topic: String,
    about: Value,
}

/// What comes of a fact.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// For clients.
    pub(super) frames: Vec<Bytes>,
    /// What somebody listens to and there was no leave to tell.
    pub(super) dropped: u64,
}

/// Who listens, and how much was said.
#[derive(Debug)]
pub(super) struct Announcer {
    me: NodeId,
    /// Wants of this node's clients under which there may be news.
    listening: BTreeMap<(Bytes, ShardIx), u32>,
    /// What nodes say that their clusters are called.
    names: Names,
    /// Clusters that nobody has named yet, and the way there.
    unnamed: BTreeMap<ClusterId, NodeId>,
    /// The one that passes, and what was told in it.
    second: (Instant, u32),
}

impl Announcer {
    pub(super) fn new(me: NodeId) -> Self {
        let (listening, names, unnamed) = (BTreeMap::new(), Names::new(), BTreeMap::new());
        Self { me, listening, names, unnamed, second: (Instant::START, 0) }
    }

    /// A shard's clients subscribe to a pattern, or no more.
    pub(super) fn hear(&mut self, want: &Want) {
        let key = (want.name.clone(), want.shard);
        if want.members == 0 {
            self.listening.remove(&key);
        } else if may_hear(&want.name) {
            self.listening.insert(key, want.members);
        }
    }

    /// What clients are to be told of it.
    pub(super) fn tell(&mut self, fact: &Fact, now: Instant) -> Told {
        let (mut told, named) = (Told::default(), self.learn(fact));
        if self.listening.is_empty() {
            return told;
        }
        let mut news: Vec<News> = news(fact, &self.names).into_iter().chain(named).collect();
        news.retain(|news| self.is_heard(&news.topic));
        for News { topic, mut about } in news {
            about["told_by"] = json!(self.me.to_string());
            let (payload, mut frame) = (about.to_string(), Vec::new());
            let (topic, payload) = (topic.as_bytes(), payload.as_bytes());
            let publish = Publish { topic, payload, ..Publish::default() };
            if may_tell(&mut self.second, now) && publish.put(&mut frame).is_ok() {
                told.frames.push(frame.into());
            } else {
                told.dropped += 1;
            }
        }
        told
    }

    /// Every node says what its cluster is called, which may be after there is a way to it: that is then
    /// told by the name.
    fn learn(&mut self, fact: &Fact) -> Option<News> {
        if let Fact::Route(route::Fact::Best { destination, via }) = fact {
            self.unnamed.remove(destination);
            let is_unnamed = !self.names.contains_key(destination);
            if is_unnamed && self.unnamed.len() < CLUSTERS_NAMED_MAX {
                self.unnamed.extend(via.map(|via| (*destination, via)));
            }
        }
        let Fact::Entry(Changed { cluster, key, body: Some(body), .. }) = fact else { return None };
        let has_room = self.names.len() < CLUSTERS_NAMED_MAX || self.names.contains_key(cluster);
        if key.kind != Kind::NODE || !has_room {
            return None;
        }
        self.names.insert(*cluster, Node::parse(body).ok()?.cluster);
        let via = self.unnamed.remove(cluster)?;
        Some(of_way(*cluster, Some(via), &self.names))
    }

    fn is_heard(&self, topic: &str) -> bool {
        let Ok(topic) = Topic::parse(topic.as_bytes()) else { return false };
        let wants = self.listening.keys().filter_map(|(name, _)| catalog::Want::parse(name).ok());
        wants.into_iter().any(|want| want.pattern.matches(topic))
    }
}

/// `second` is the one that passes, and what was told in it.
fn may_tell(second: &mut (Instant, u32), now: Instant) -> bool {
    let (since, told) = second;
    if *since + Duration::from_secs(1) <= now {
        (*since, *told) = (now, 0);
    }
    *told += 1;
    *told <= NEWS_PER_S
}

/// Whether somebody alone wants something under which there may be news.
fn may_hear(name: &[u8]) -> bool {
    let of_words = |pattern: Pattern<'_>| {
        let first = pattern.as_bytes().split(|&byte| byte == b'.').next().unwrap_or_default();
        [&b"mpreg"[..], b"*", b"#", b">"].contains(&first)
    };
    catalog::Want::parse(name).is_ok_and(|want| want.group.is_empty() && of_words(want.pattern))
}

impl News {
    fn of_node(topic: &str, node: NodeId) -> Self {
        let topic = format!("{topic}.{node}");
        Self { topic, about: json!({ "node": node.to_string() }) }
    }

    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.about[member] = value.into();
        self
    }
}

/// `None`: nobody is told of it.
fn news(fact: &Fact, names: &Names) -> Option<News> {
    let of_node = News::of_node;
    let news = match fact {
        Fact::PeerUp { peer } => of_node("mpreg.fabric.link.up", *peer),
        Fact::PeerDown { peer, end } => {
            let word = if *end == End::Closed { "closed" } else { "lost" };
            of_node("mpreg.fabric.link.down", *peer).with("end", word)
        }
        Fact::Circuit { peer, circuit } => {
            of_node(&format!("mpreg.fabric.circuit.{}", circuit.word()), *peer)
        }
        Fact::LinksChanged { node, cluster, links } => {
            let news = of_node("mpreg.fabric.link_state.changed", *node);
            news.with("cluster", named(*cluster, names)).with("links", *links)
        }
        Fact::MemberUp(member) => {
            let news = of_node("mpreg.gossip.membership.up", member.node);
            let news = news.with("incarnation", member.incarnation.0);
            news.with("address", member.address.to_string())
        }
        Fact::MemberDown { node, incarnation, why } => {
            let news = match why {
                Why::Failed => of_node("mpreg.gossip.membership.failed", *node),
                Why::Left(reason) => {
                    of_node("mpreg.gossip.membership.left", *node).with("reason", reason.word())
                }
            };
            news.with("incarnation", incarnation.0)
        }
        Fact::Member(fact) => return of_doubt(fact),
        Fact::Route(route::Fact::Best { destination, via }) => of_way(*destination, *via, names),
        Fact::Entry(changed) => of_entry(changed, names),
        Fact::PlaneUnknown { .. }
        | Fact::Unlinked { .. }
        | Fact::Unreadable { .. }
        | Fact::ClusterRefused { .. }
        | Fact::NotOffered { .. }
        | Fact::WantUnreadable { .. }
        | Fact::Gossip(_)
        | Fact::Route(_)
        | Fact::LinkState { .. } => return None,
    };
    Some(news)
}

fn of_doubt(fact: &member::Fact) -> Option<News> {
    let (change, node) = match fact {
        member::Fact::Suspected { node } => ("suspected", node),
        member::Fact::Refuted { node } => ("refuted", node),
        member::Fact::SelfRefuted { .. }
        | member::Fact::WokeLate { .. }
        | member::Fact::Rejected { .. } => return None,
    };
    Some(News::of_node(&format!("mpreg.gossip.membership.{change}"), *node))
}

fn of_way(destination: ClusterId, via: Option<NodeId>, names: &Names) -> News {
    let (cluster, via) = (named(destination, names), via.map(|node| node.to_string()));
    let word = if via.is_some() { "selected" } else { "withdrawn" };
    let topic = format!("mpreg.fabric.route.{word}.{cluster}");
    News { topic, about: json!({ "cluster": cluster, "via": via }) }
}

fn of_entry(changed: &Changed, names: &Names) -> News {
    let Changed { feed, cluster, key, body } = changed;
    let word = if body.is_some() { "added" } else { "removed" };
    let scope = if feed.scope == Scope::Cluster { "cluster" } else { "fabric" };
    let topic = format!("mpreg.discovery.{word}.{}", key.kind.word());
    let (node, name) = (feed.node.to_string(), entry_name(key.kind, &key.name));
    let cluster = named(*cluster, names);
    let about = json!({ "node": node, "cluster": cluster, "scope": scope, "name": name });
    News { topic, about }
}

fn named(cluster: ClusterId, names: &Names) -> String {
    names.get(&cluster).cloned().unwrap_or_else(|| cluster.to_string())
}

#[cfg(test)]
mod tests {
    use mpreg_fabric::breaker::Circuit;
    use mpreg_fabric::catalog::Key;
    use mpreg_proto::catalog::FeedId;
    use mpreg_proto::frame::Data;
    use mpreg_proto::topic::Dialect;

    use super::*;

    const ME: NodeId = NodeId(1);

    fn want(pattern: &str, group: &str, members: u32) -> Want {
        let pattern = Pattern::parse_as(pattern.as_bytes(), Dialect::Native).unwrap();
        let mut name = Vec::new();
        catalog::Want { pattern, group: group.as_bytes() }.put(&mut name);
        Want { shard: ShardIx::new(0).unwrap(), name: name.into(), members }
    }

    fn circuit() -> Fact {
        Fact::Circuit { peer: NodeId(2), circuit: Circuit::HalfOpen }
    }

    /// What is told at that time, as topics and payloads.
    fn tell(announcer: &mut Announcer, fact: &Fact, ms: u64) -> Vec<(String, Value)> {
        let told = announcer.tell(fact, Instant::START + Duration::from_millis(ms));
        let text = |frame: &Bytes| {
            let data = Data::parse(frame).unwrap();
            let topic = String::from_utf8(data.topic().to_vec()).unwrap();
            (topic, serde_json::from_slice(data.payload()).unwrap())
        };
        told.frames.iter().map(text).collect()
    }

    #[test]
    fn only_what_somebody_listens_to_is_told() {
        let mut announcer = Announcer::new(ME);
        assert_eq!(tell(&mut announcer, &circuit(), 0), []);
        let others =
            [("mpreg.fabric.route.#", ""), ("a.#", ""), ("mpreg.fabric.circuit.#", "crew")];
        for (pattern, group) in others {
            announcer.hear(&want(pattern, group, 1));
        }
        assert_eq!(tell(&mut announcer, &circuit(), 0), []);
        announcer.hear(&want("mpreg.fabric.circuit.*.*", "", 1));
        let topic = format!("mpreg.fabric.circuit.half_open.{}", NodeId(2));
        let about = json!({ "node": NodeId(2).to_string(), "told_by": ME.to_string() });
        assert_eq!(tell(&mut announcer, &circuit(), 0), [(topic, about)]);
        announcer.hear(&want("mpreg.fabric.circuit.*.*", "", 0));
        assert_eq!(tell(&mut announcer, &circuit(), 0), []);
    }

    #[test]
    fn ways_are_told_by_name_once_somebody_has_said_it() {
        let mut announcer = Announcer::new(ME);
        announcer.hear(&want("#", "", 1));
        let way = |via| Fact::Route(route::Fact::Best { destination: ClusterId(7), via });
        let mut topics = |fact: &Fact| {
            let told = tell(&mut announcer, fact, 0).into_iter().map(|(topic, _)| topic);
            told.collect::<Vec<_>>().join(" ")
        };
        let number = ClusterId(7).to_string();
        let selected = |name: &str| format!("mpreg.fabric.route.selected.{name}");
        assert_eq!(topics(&way(Some(NodeId(3)))), selected(&number));
        let mut body = Vec::new();
        Node { cluster: "us".into(), ..Node::default() }.put(&mut body);
        let feed = FeedId { node: NodeId(3), scope: Scope::Fabric };
        let key = Key { kind: Kind::NODE, name: Bytes::new() };
        let body = Some(body.into());
        let entry = Fact::Entry(Changed { feed, cluster: ClusterId(7), key, body });
        let added = "mpreg.discovery.added.node";
        assert_eq!(topics(&entry), format!("{added} {}", selected("us")));
        assert_eq!(topics(&entry), added, "once");
        assert_eq!(topics(&way(Some(NodeId(4)))), selected("us"));
        assert_eq!(topics(&way(None)), "mpreg.fabric.route.withdrawn.us");
    }

    #[test]
    fn so_much_is_told_in_a_second_and_no_more() {
        let mut announcer = Announcer::new(ME);
        announcer.hear(&want("#", "", 1));
        let told = (0..2 * NEWS_PER_S).map(|_| tell(&mut announcer, &circuit(), 1005).len());
        assert_eq!(told.sum::<usize>(), NEWS_PER_S as usize);
        let late = announcer.tell(&circuit(), Instant::START + Duration::from_millis(2004));
        assert_eq!((late.frames.len(), late.dropped), (0, 1));
        assert_eq!(tell(&mut announcer, &circuit(), 2005).len(), 1);
    }
}
