//! One shard alone, by script; shards together are in the simulator (`tests/src/world.rs`).

extern crate std;

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use mpreg_proto::catalog;
use mpreg_proto::frame::Subscribe;
use mpreg_proto::id::ClusterId;
use mpreg_proto::topic::Pattern;

use super::*;
use crate::want::{self, Wants};

#[test]
fn a_session_opens_by_hello_and_connect() {
    check(
        "1 accept | 1 hello | 1 connect | 1 ping",
        "
            1 hello: greet 1
            1 connect: open 1, 1 connected
            1 ping: 1 pong
        ",
    );
}

#[test]
fn nothing_else_may_come_first() {
    for step in ["connect", "ping", "drain", "sub 1 a", "unsub 1 0", "connected"] {
        let script = std::format!("1 accept | 1 {step}");
        check(&script, &std::format!("1 {step}: 1 error unexpected_frame, end 1"));
        let script = std::format!("1 accept | 1 hello | 1 {step}");
        let opens = "1 connect: open 1, 1 connected";
        let ends = std::format!("1 {step}: 1 error unexpected_frame, end 1");
        let want = if step == "connect" { opens } else { &ends };
        check(&script, &std::format!("1 hello: greet 1\n{want}"));
    }
}

#[test]
fn what_only_routers_say_ends_a_session() {
    check("1 open | 1 connected", "1 connected: 1 error unexpected_frame, end 1");
    check("1 open | 1 connect", "1 connect: 1 error unexpected_frame, end 1");
    check("1 open | 1 hello", "1 hello: 1 error unexpected_frame, end 1");
}

#[test]
fn a_refused_command_changes_nothing() {
    check(
        "1 open | 1 sub 1 a | 1 sub 1 b | 1 sub 2 a..b | 1 unsub 3 0 | 1 publish b | 1 publish a",
        "
            1 sub 1 a: 1 subscribed 1
            1 sub 1 b: 1 error sid_in_use
            1 sub 2 a..b: 1 error bad_pattern
            1 unsub 3 0: 1 error unknown_sid
            1 publish b: nobody
            1 publish a: to 1
        ",
    );
}

/// Three a session, four a shard here.
#[test]
fn subscriptions_are_limited_per_session_and_per_shard() {
    check(
        "1 open | 2 open | 1 sub 1 a | 1 sub 2 a | 1 sub 3 a | 1 sub 4 a | 2 sub 1 a | 2 sub 2 a",
        "
            1 sub 1 a: 1 subscribed 1
            1 sub 2 a: 1 subscribed 2
            1 sub 3 a: 1 subscribed 3
            1 sub 4 a: 1 error too_many_subscriptions
            2 sub 1 a: 2 subscribed 1
            2 sub 2 a: 2 error too_many_subscriptions
        ",
    );
}

#[test]
fn a_bad_group_name_ends_the_session() {
    check("1 open | 1 sub 1 a x\u{7f}", "1 sub 1 a x\u{7f}: 1 error bad_name, end 1");
}

#[test]
fn a_message_goes_once_to_each_session_that_wants_it() {
    check(
        "1 open | 2 open | 1 sub 1 a.b | 1 sub 2 a.* | 2 sub 1 # | 1 publish a.b | 1 publish a",
        "
            1 sub 1 a.b: 1 subscribed 1
            1 sub 2 a.*: 1 subscribed 2
            2 sub 1 #: 2 subscribed 1
            1 publish a.b: to 1, to 2
            1 publish a: to 2
        ",
    );
}

#[test]
fn a_message_goes_to_each_subscription_of_a_nats_session() {
    check(
        "1 accept-nats | 1 hello | 2 accept-nats | 2 connect | 2 sub 1 a.b | 2 sub 2 a.* | 2 publish a.b",
        "
            1 hello: 1 error unexpected_frame, end 1
            2 connect: open 2, 2 connected
            2 sub 1 a.b: 2 subscribed 1
            2 sub 2 a.*: 2 subscribed 2
            2 publish a.b: to 2, to 2
        ",
    );
    let mut shard = Played::new();
    for step in ["1 accept-nats", "1 connect", "1 sub 7 a", "1 sub 9 >", "1 sub 8 *"] {
        shard.step(step);
    }
    let place = shard.machine.route_here(b"a");
    let sids = shard.machine.targets(place).plain.iter().map(|to| to.sid.unwrap().0);
    assert_eq!(sids.collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(shard.machine.own_subscription(SessionIx(1), b"b.c"), Some(Sid(9)));
    assert_eq!(shard.machine.own_subscription(SessionIx(2), b"b.c"), None);
    shard.step("1 unsub 7 0");
    shard.step("1 sub 3 b.c group");
    let own = shard.machine.own_members(SessionIx(1), b"b.c");
    let sids = own.iter().map(|member| shard.machine.sid(member.subscription).0);
    assert_eq!(sids.collect::<Vec<_>>(), [3, 9]);
    assert_eq!(shard.machine.own_members(SessionIx(2), b"b.c"), []);
    let member = shard.machine.member(SessionIx(1), Sid(8)).unwrap();
    assert_eq!(shard.machine.sid(member.subscription), Sid(8));
    assert_eq!(shard.machine.member(SessionIx(1), Sid(1)), None);
    assert_eq!(shard.machine.member(SessionIx(2), Sid(8)), None);
}

#[test]
fn a_remembered_route_is_not_for_those_to_whom_it_is_no_topic() {
    let mut shard = Played::new();
    for step in ["1 accept-nats", "1 connect", "1 sub 7 a.#"] {
        shard.step(step);
    }
    let mut out = Vec::new();
    for _ in 0..3 {
        let (route, _) = shard.machine.route(b"a.#", Dialect::Nats, &mut out);
        assert!(matches!(route, Route::Known(place) if !shard.machine.targets(place).is_empty()));
        let (route, _) = shard.machine.route(b"a.#", Dialect::Native, &mut out);
        assert_eq!(route, Route::Refused(ErrorCode::BadTopic));
        let (route, _) = shard.machine.route(b"a.b", Dialect::Nats, &mut out);
        assert!(matches!(route, Route::Known(place) if shard.machine.targets(place).is_empty()));
    }
}

#[test]
fn the_strictest_of_several_subscriptions_decides_about_overload() {
    let mut shard = Played::new();
    for step in ["1 open", "1 sub 1 a - newest", "1 sub 2 a.# - disconnect", "1 sub 3 # - oldest"] {
        shard.step(step);
    }
    let overload = |shard: &mut Played, topic: &[u8]| {
        let place = shard.machine.route_here(topic);
        shard.machine.targets(place).plain[0].overload
    };
    assert_eq!(overload(&mut shard, b"a"), Overload::Disconnect);
    shard.step("1 unsub 2 0");
    assert_eq!(overload(&mut shard, b"a"), Overload::DropOldest);
    shard.step("1 unsub 3 0");
    assert_eq!(overload(&mut shard, b"a"), Overload::DropNewest);
}

#[test]
fn a_topic_is_refused_if_it_is_none_or_the_fabrics_own() {
    check(
        "1 open | 1 sub 1 # | 1 publish a..b | 1 publish a.* | 1 publish mpreg.x | 1 publish mpregs",
        "
            1 sub 1 #: 1 subscribed 1
            1 publish a..b: bad_topic
            1 publish a.*: bad_topic
            1 publish mpreg.x: reserved_topic
            1 publish mpregs: to 1
        ",
    );
}

#[test]
fn a_subscription_ends_after_as_many_messages_as_it_was_told() {
    check(
        "1 open | 1 sub 1 a | 1 publish a | 1 unsub 1 3 | 1 publish a | 1 publish a | 1 publish a",
        "
            1 sub 1 a: 1 subscribed 1
            1 publish a: to 1
            1 publish a: to 1
            1 publish a: to 1, 1 unsubscribed 1
            1 publish a: nobody
        ",
    );
    check(
        "1 open | 1 sub 1 a | 1 publish a | 1 publish a | 1 unsub 1 2",
        "
            1 sub 1 a: 1 subscribed 1
            1 publish a: to 1
            1 publish a: to 1
            1 unsub 1 2: 1 unsubscribed 1
        ",
    );
}

#[test]
fn a_count_that_is_full_stays_full() {
    let mut shard = Played::new();
    shard.step("1 open");
    shard.step("1 sub 1 a");
    for _ in 0..2 {
        let place = shard.machine.route_here(b"a");
        shard.machine.delivered(place, u32::MAX, &[], &mut Vec::new());
    }
    assert_eq!(shard.step(&std::format!("1 unsub 1 {}", u32::MAX)), ["1 unsubscribed 1"]);
}

#[test]
fn draining_ends_subscriptions_and_says_so_when_all_is_sent() {
    check(
        "1 open | 1 sub 1 a | 1 drain | 1 publish a | 1 unsub 1 0 | 1 ping | 1 empty | 1 lost | 1 closed",
        "
            1 sub 1 a: 1 subscribed 1
            1 drain: await empty 1
            1 publish a: nobody
            1 ping: 1 pong
            1 empty: 1 drained
            1 lost: end 1
            1 closed: freed 1
        ",
    );
    check(
        "1 open | 1 drain | 1 sub 1 a",
        "1 drain: await empty 1\n1 sub 1 a: 1 error unexpected_frame, end 1",
    );
}

#[test]
fn drained_is_not_said_to_a_session_that_ended_meanwhile() {
    check(
        "1 open | 1 drain | 1 lost | 1 empty | 1 closed | 1 empty | 1 accept | 1 empty",
        "
            1 drain: await empty 1
            1 lost: end 1
            1 closed: freed 1
        ",
    );
}

/// One subscription a turn is removed here.
#[test]
fn a_slot_is_freed_once_its_socket_is_closed_and_its_subscriptions_are_gone() {
    check(
        "1 open | 1 sub 1 a | 1 sub 2 b | 1 sub 3 c | 1 lost | 1 lost | 1 closed | wake 0 | wake 0 | wake 0",
        "
            1 sub 1 a: 1 subscribed 1
            1 sub 2 b: 1 subscribed 2
            1 sub 3 c: 1 subscribed 3
            1 lost: end 1
            wake 0: freed 1
        ",
    );
    check(
        "1 open | 1 sub 1 a | 1 lost | wake 0 | 1 closed",
        "
            1 sub 1 a: 1 subscribed 1
            1 lost: end 1
            1 closed: freed 1
        ",
    );
}

#[test]
fn nothing_is_done_for_a_session_that_has_ended() {
    check(
        "1 open | 1 lost | 1 ping | 1 sub 1 a | 1 drain | 1 refuse | 1 lost | 1 empty",
        "1 lost: end 1",
    );
}

#[test]
fn a_silent_stranger_is_told_why_it_is_ended() {
    check("1 accept | wake 4 | wake 5", "wake 5: 1 error handshake_timeout, end 1");
    check(
        "1 accept | 1 hello | wake 5",
        "
            1 hello: greet 1
            wake 5: 1 error handshake_timeout, end 1
        ",
    );
}

#[test]
fn a_silent_session_is_pinged_then_ended() {
    check(
        "1 open | wake 5 | wake 9 | wake 10 | wake 20 | wake 25 | wake 30 | wake 40 | wake 99",
        "
            wake 10: 1 ping
            wake 20: 1 ping
            wake 30: 1 ping
            wake 40: 1 error idle_timeout, end 1
        ",
    );
}

#[test]
fn a_stopping_shard_ends_all_and_takes_nobody() {
    check(
        "1 open | 2 accept | 3 open | 3 drain | stop | 4 accept",
        "
            3 drain: await empty 3
            stop: 1 going_away, end 1, 2 going_away, end 2, 3 going_away, end 3
            4 accept: 4 error shutting_down, end 4
        ",
    );
}

#[test]
fn the_first_and_the_last_subscriber_are_told_to_the_node() {
    check(
        "join | 1 open | 2 open | 1 sub 1 a.* | 2 sub 1 a.* | 2 sub 2 a.* g | 1 unsub 1 0 | \
         1 sub 3 a.* g | 2 unsub 2 0 | 2 lost | 1 sub 4 mpreg.x | 1 lost | wake 0",
        "
            1 sub 1 a.*: wanted a.* \"\" 1, 1 subscribed 1
            2 sub 1 a.*: 2 subscribed 1
            2 sub 2 a.* g: wanted a.* \"g\" 1, 2 subscribed 2
            1 unsub 1 0: 1 unsubscribed 1
            1 sub 3 a.* g: wanted a.* \"g\" 2, 1 subscribed 3
            2 unsub 2 0: wanted a.* \"g\" 1, 2 unsubscribed 2
            2 lost: end 2, wanted a.* \"\" 0
            1 sub 4 mpreg.x: wanted mpreg.x \"\" 1, 1 subscribed 4
            1 lost: end 1, wanted mpreg.x \"\" 0
            wake 0: wanted a.* \"g\" 0
        ",
    );
}

/// What the control core hears of other nodes, and tells a shard.
struct Others {
    wants: Wants,
    now: Instant,
}

impl Others {
    /// Nodes of cluster 1 are of the shard's own.
    fn tell(
        &mut self,
        shard: &mut Played,
        (owner, cluster): (u128, u128),
        want: &str,
        is_set: bool,
    ) {
        let (pattern, group) = want.split_once(' ').unwrap_or((want, ""));
        let mut name = Vec::new();
        let (pattern, group) = (Pattern::parse(pattern.as_bytes()).unwrap(), group.as_bytes());
        catalog::Want { pattern, group }.put(&mut name);
        let kind = match cluster {
            1 => catalog::Kind::SUBSCRIPTION,
            _ => catalog::Kind::CLUSTER_INTEREST,
        };
        let (owner, cluster, name) = (NodeId(owner), ClusterId(cluster), name.into());
        self.now = self.now + Duration::from_secs(1);
        let mut out = Vec::new();
        let members = is_set.then_some(NonZeroU32::MIN);
        let input = want::Input::Changed { owner, cluster, kind, name, members };
        self.wants.handle(input, self.now, &mut out);
        match out.pop() {
            Some(want::Effect::View { view, stale }) => shard.machine.view(NodeId(1), view, &stale),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_route_names_its_audience_on_other_nodes_until_that_changes() {
    let mut shard = Played::new();
    let audience = |shard: &mut Played, topic: &str| {
        let mut out = Vec::new();
        let (route, _) = shard.machine.route(topic.as_bytes(), Dialect::Native, &mut out);
        let Route::Known(place) = route else { panic!("{route:?}") };
        let Some(all) = &shard.machine.targets(place).audience else { return "none".into() };
        let nodes: Vec<u128> = all.nodes.iter().map(|node| node.0).collect();
        let clusters: Vec<u128> = all.clusters.iter().map(|cluster| cluster.0).collect();
        let groups = all.groups.iter().map(|group| {
            let holders: Vec<u128> = group.holders.iter().map(|holder| holder.node.0).collect();
            std::format!(" group {holders:?} {}", group.clusters.len())
        });
        let groups: String = groups.collect();
        std::format!(
            "nodes {nodes:?} clusters {clusters:?}{groups}, elsewhere {}",
            all.is_elsewhere
        )
    };
    // Twice, so that it is remembered.
    assert_eq!([(); 2].map(|()| audience(&mut shard, "a.b")), ["none"; 2]);
    let mut others = Others { wants: Wants::new(NodeId(1), ClusterId(1), 1), now: Instant::START };
    others.tell(&mut shard, (2, 1), "a.b", true);
    assert_eq!(audience(&mut shard, "a.b"), "nodes [2] clusters [], elsewhere true");
    others.tell(&mut shard, (3, 7), "a.b", true);
    assert_eq!(audience(&mut shard, "a.b"), "nodes [2] clusters [7], elsewhere true");
    shard.step("1 open");
    shard.step("1 sub 1 a.*");
    assert_eq!(audience(&mut shard, "a.b"), "nodes [2, 1] clusters [7], elsewhere true");
    assert_eq!(audience(&mut shard, "a.c"), "nodes [1] clusters [], elsewhere false");
    others.tell(&mut shard, (2, 1), "a.b", false);
    others.tell(&mut shard, (3, 7), "a.b", false);
    others.tell(&mut shard, (2, 1), "*.b g", true);
    others.tell(&mut shard, (3, 7), "a.# g", true);
    shard.step("1 sub 2 a.b g");
    let want = "nodes [1] clusters [] group [1, 2] 1, elsewhere true";
    assert_eq!([(); 2].map(|()| audience(&mut shard, "a.b")), [want; 2]);
    shard.step("1 unsub 2 0");
    assert_eq!(audience(&mut shard, "a.b"), "nodes [1] clusters [] group [2] 1, elsewhere true");
}

#[test]
fn a_queue_wish_is_granted_up_to_the_bound() {
    let granted = |queue_bytes| {
        let mut shard = Played::new();
        shard.step("1 accept");
        shard.step("1 hello");
        let connect = Connect { name: "", echo: Echo::On, queue_bytes };
        let mut out = Vec::new();
        let input = Input::Frame { session: SessionIx(1), frame: Frame::Connect(connect) };
        shard.machine.handle(input, Instant::START, &mut out);
        let Effect::Open { queue_bytes, .. } = out[0] else { panic!("{:?}", out[0]) };
        queue_bytes
    };
    assert_eq!(granted(0), 2 << 20);
    assert_eq!(granted(u32::MAX), 64 << 20);
}

/// Runs a script over one shard and compares what each step led to.
///
/// `<slot> accept|hello|connect|open|ping|drain|connected|lost|closed|empty|refuse`, where `open`
/// is the first three; `<slot> sub <sid> <pattern> [<group>|- [<overload>]]`; `<slot> unsub <sid>
/// <deliveries>`; `<slot> publish <topic>`; `wake <seconds>`; `join`; `stop`.
#[track_caller]
fn check(script: &str, want: &str) {
    let mut shard = Played::new();
    let mut got = String::new();
    for step in script.split(" | ") {
        let effects = shard.step(step);
        if !effects.is_empty() {
            writeln!(got, "{step}: {}", effects.join(", ")).unwrap();
        }
    }
    let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(got.trim_end(), want.join("\n"));
}

/// Queues of 2 MiB, at most 64; three subscriptions a session, four in all.
fn settings() -> Settings {
    Settings {
        node: NodeId(1),
        me: ShardIx::new(0).unwrap(),
        shards_count: 1,
        topic_seed: 1,
        seed: 2,
        timing: Timing::new(Duration::from_secs(5), Duration::from_secs(10)),
        nats_timing: Timing::new(Duration::from_secs(2), Duration::from_secs(120)),
        queue_bytes: 2 << 20,
        queue_bytes_max: 64 << 20,
        subscriptions_max: 3,
        subscriptions_total_max: 4,
    }
}

struct Played {
    machine: Shard,
}

impl Played {
    fn new() -> Self {
        let bounds = Bounds { forget_per_turn_max: 1, ..Bounds::NODE };
        Self { machine: Shard::with_bounds(settings(), bounds) }
    }

    fn step(&mut self, step: &str) -> Vec<String> {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            ["join"] => {
                self.machine.join();
                return Vec::new();
            }
            ["stop"] => return self.feed(Input::Stop, 0),
            ["wake", at] => return self.feed(Input::DeadlineReached, at.parse().unwrap()),
            [slot, "open"] => {
                for part in ["accept", "hello", "connect"] {
                    self.step(&std::format!("{slot} {part}"));
                }
                return Vec::new();
            }
            [_, "publish", topic] => return self.publish(topic),
            _ => (),
        }
        let session = SessionIx(words[0].parse().unwrap());
        let number = |at: usize| words[at].parse().unwrap();
        let hello = Hello::client(7).to_bytes();
        let connect = Connect { name: "", echo: Echo::On, queue_bytes: 0 };
        let frame = match words[1] {
            "accept" => {
                let protocol = Protocol::Native;
                return self.feed(Input::Accepted { session, protocol }, 0);
            }
            "accept-nats" => {
                let protocol = Protocol::Nats;
                return self.feed(Input::Accepted { session, protocol }, 0);
            }
            "hello" => return self.feed(Input::Hello { session, bytes: &hello }, 0),
            "lost" => {
                let reason = EndReason::PeerClosed;
                return self.feed(Input::Lost { session, reason }, 0);
            }
            "closed" => return self.feed(Input::Closed { session }, 0),
            "empty" => return self.feed(Input::Emptied { session }, 0),
            "refuse" => {
                let code = ErrorCode::SlowConsumer;
                return self.feed(Input::Refused { session, code }, 0);
            }
            "connect" => Frame::Connect(connect),
            "ping" => Frame::Ping { token: 1 },
            "drain" => Frame::Drain,
            "connected" => Frame::Drained,
            "sub" => Frame::Subscribe(Subscribe {
                sid: Sid(number(2)),
                overload: match words.get(5) {
                    Some(&"disconnect") => Overload::Disconnect,
                    Some(&"newest") => Overload::DropNewest,
                    Some(_) | None => Overload::DropOldest,
                },
                pattern: words[3].as_bytes(),
                group: words.get(4).map_or("", |group| group.trim_matches('-')).as_bytes(),
            }),
            "unsub" => Frame::Unsubscribe { sid: Sid(number(2)), deliveries: number(3) },
            other => panic!("unknown step {other}"),
        };
        self.feed(Input::Frame { session, frame }, 0)
    }

    fn feed(&mut self, input: Input<'_>, seconds: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.machine.handle(input, Instant::START + Duration::from_secs(seconds), &mut out);
        out.iter().filter_map(render).collect()
    }

    fn publish(&mut self, topic: &str) -> Vec<String> {
        let mut out = Vec::new();
        let place = match self.machine.route(topic.as_bytes(), Dialect::Native, &mut out).0 {
            Route::Known(place) => place,
            Route::Refused(code) => return Vec::from([code.word().into()]),
            Route::Asking(_) => panic!("one shard has nobody to ask"),
        };
        let plain = self.machine.targets(place).plain.iter();
        let mut got: Vec<String> =
            plain.map(|target| std::format!("to {}", target.session.0)).collect();
        if got.is_empty() {
            got.push("nobody".into());
        }
        self.machine.delivered(place, 1, &[], &mut out);
        got.extend(out.iter().filter_map(render));
        got
    }
}

fn render(effect: &Effect) -> Option<String> {
    let text = match effect {
        Effect::Greet { session, .. } => std::format!("greet {}", session.0),
        Effect::Open { session, .. } => std::format!("open {}", session.0),
        Effect::Say { session, frame } => std::format!("{} {}", session.0, word(frame)),
        Effect::End { session, .. } => std::format!("end {}", session.0),
        Effect::AwaitEmpty { session } => std::format!("await empty {}", session.0),
        Effect::Freed { session } => std::format!("freed {}", session.0),
        Effect::Wanted { name, members } => {
            let want = catalog::Want::parse(name).unwrap();
            let group = str::from_utf8(want.group).unwrap();
            std::format!("wanted {} {group:?} {members}", want.pattern)
        }
        // For the counters.
        Effect::Refused { .. } => return None,
        Effect::Handoff { .. } | Effect::Forward { .. } => {
            panic!("one shard alone has nobody to tell: {effect:?}")
        }
    };
    Some(text)
}

fn word(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Connected(_) => "connected".into(),
        Frame::Subscribed { sid } => std::format!("subscribed {sid}"),
        Frame::Unsubscribed { sid } => std::format!("unsubscribed {sid}"),
        Frame::Ping { .. } => "ping".into(),
        Frame::Pong { .. } => "pong".into(),
        Frame::Drained => "drained".into(),
        Frame::GoingAway => "going_away".into(),
        Frame::Error(refusal) => std::format!("error {}", refusal.code),
        Frame::Data(_)
        | Frame::Connect(_)
        | Frame::Subscribe(_)
        | Frame::Unsubscribe { .. }
        | Frame::Drain
        | Frame::For { .. }
        | Frame::NoResponders { .. }
        | Frame::Rpc(_) => panic!("a shard does not say {frame:?}"),
    }
}
