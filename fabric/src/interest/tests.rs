//! One owner of three shards, by script; whole nodes are in the simulator.

extern crate std;

use std::fmt::Write as _;
use std::string::String;
use std::vec::Vec;

use super::*;

#[test]
fn a_want_is_settled_when_all_others_have_forgotten() {
    check(
        "1 wants a.b | 2 forgot 1 | 1 forgot 1 | 1 forgot 1",
        "
            1 wants a.b: forget a.b as 1
            1 forgot 1: settled 1
        ",
    );
}

#[test]
fn a_wildcard_makes_every_topic_forgotten() {
    check("2 wants a.*", "2 wants a.*: forget all as 1");
}

#[test]
fn wants_settle_in_any_order() {
    check(
        "1 wants a | 2 wants a | 1 forgot 2 | 2 forgot 2 | 2 forgot 1 | 1 forgot 1",
        "
            1 wants a: forget a as 1
            2 wants a: forget a as 2
            2 forgot 2: settled 2
            1 forgot 1: settled 1
        ",
    );
}

#[test]
fn what_is_known_is_settled_at_once() {
    check(
        "1 wants a | 1 wants a | 2 drops b",
        "
            1 wants a: forget a as 1
            1 wants a: settled 1
            2 drops b: settled 2
        ",
    );
}

/// There is one bucket here. `Forget` says it is filled, so `Emptied` comes behind.
#[test]
fn a_bucket_is_empty_when_the_last_literal_topic_of_it_is_given_up() {
    check(
        "1 wants a | 2 wants a | 1 wants b | 1 drops a | 2 drops a | 1 drops b",
        "
            1 wants a: forget a as 1
            2 wants a: forget a as 2
            1 wants b: forget b as 3
            1 drops a: forget a as 4
            2 drops a: forget a as 5
            1 drops b: forget b as 6, emptied
        ",
    );
}

#[test]
fn wildcards_fill_no_bucket() {
    check(
        "1 wants a.* | 1 drops a.*",
        "
            1 wants a.*: forget all as 1
            1 drops a.*: forget all as 2
        ",
    );
}

#[test]
fn an_answer_names_shards_and_adds_up_members_of_a_group() {
    let mut owner = Owner::new();
    for step in
        ["0 wants a.b", "2 wants a.*", "1 wants a.b g 2", "1 wants #.b g 3", "2 wants a.# h 1"]
    {
        owner.step(step);
    }
    assert_eq!(owner.answer("a.b"), "shards 101, g on 1 has 5, h on 2 has 1");
    assert_eq!(owner.answer("a.c"), "shards 100, h on 2 has 1");
    assert_eq!(owner.answer("b"), "shards 0, g on 1 has 3");
    owner.step("1 wants a.b g 1");
    owner.step("2 drops a.*");
    assert_eq!(owner.answer("a.b"), "shards 1, g on 1 has 4, h on 2 has 1");
}

#[test]
fn nothing_is_left_of_what_was_given_up() {
    let mut owner = Owner::new();
    let fresh = owner.interest.index.heap_bytes();
    for step in ["1 wants a.b", "2 wants a.* g 2", "1 drops a.b", "2 drops a.* g"] {
        owner.step(step);
    }
    assert_eq!(owner.interest.len(), 0);
    assert_eq!(owner.interest.index.heap_bytes(), fresh);
    assert_eq!(owner.interest.buckets, [0]);
}

/// Runs a script over an owner of three shards, shard 0, and compares what each step led to.
///
/// `<shard> wants <pattern> [<group> <members>]`, `<shard> drops <pattern> [<group>]`; each is
/// asked under a ticket that is the shard's number. `<shard> forgot <ticket>`.
#[track_caller]
fn check(script: &str, want: &str) {
    let mut owner = Owner::new();
    let mut got = String::new();
    for step in script.split(" | ") {
        let effects = owner.step(step);
        if !effects.is_empty() {
            writeln!(got, "{step}: {effects}").unwrap();
        }
    }
    let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(got.trim_end(), want.join("\n"));
}

struct Owner {
    interest: Interest,
}

impl Owner {
    fn new() -> Self {
        Self { interest: Interest::new(shard(0), 3, 1, 7) }
    }

    fn step(&mut self, step: &str) -> String {
        let words: Vec<&str> = step.split(' ').collect();
        let (from, what) = (words[0].parse().unwrap(), words[2]);
        let group = Bytes::copy_from_slice(words.get(3).map_or(b"", |word| word.as_bytes()));
        let members = words.get(4).map_or(1, |word| word.parse().unwrap());
        let asker = Asker { shard: shard(from), ticket: Ticket(from as u32) };
        let mut out = Vec::new();
        match words[1] {
            "wants" => self.interest.want(pattern(what), 9, &group, members, asker, &mut out),
            "drops" => self.interest.want(pattern(what), 9, &group, 0, asker, &mut out),
            "forgot" => {
                self.interest.forgotten(shard(from), Ticket(what.parse().unwrap()), &mut out)
            }
            other => panic!("unknown step {other}"),
        }
        let texts: Vec<String> = out.iter().map(render).collect();
        texts.join(", ")
    }

    fn answer(&mut self, topic: &str) -> String {
        let wanted = self.interest.wanted(Topic::parse(topic.as_bytes()).unwrap());
        let mut text = std::format!("shards {:b}", wanted.shards);
        for GroupWant { group, shard, members } in wanted.groups {
            let group = core::str::from_utf8(&group).unwrap();
            write!(text, ", {group} on {shard} has {members}").unwrap();
        }
        text
    }
}

fn render(effect: &Effect) -> String {
    match effect {
        Effect::Forget { scope: Scope::Topic(topic), ticket } => {
            std::format!("forget {} as {}", core::str::from_utf8(topic).unwrap(), ticket.0)
        }
        Effect::Forget { scope: Scope::All, ticket } => std::format!("forget all as {}", ticket.0),
        Effect::Settled(asker) => std::format!("settled {}", asker.shard),
        Effect::Emptied { bucket: 0 } => "emptied".into(),
        Effect::Emptied { bucket } => std::format!("emptied {bucket}, which is not there"),
    }
}

fn pattern(text: &str) -> Pattern<'_> {
    Pattern::parse(text.as_bytes()).unwrap()
}

fn shard(index: usize) -> ShardIx {
    ShardIx::new(index).unwrap()
}
