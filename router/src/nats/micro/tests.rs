//! When services are asked, and what is registered of their answers, rule by rule; and whatever
//! happens in whatever order, beside what the rules say must hold after each step.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const INSTANCE: &str = "$SRV.INFO.sums.I1";

/// One connection: what it subscribes to, and what its service would say.
#[derive(Default)]
struct Peer {
    instances: Instances,
    subscribed: BTreeMap<Sid, (String, String)>,
    ms: u64,
}

fn answer(version: &str, endpoints: &[(&str, &str)]) -> Vec<u8> {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(subject, group)| serde_json::json!({ "subject": subject, "queue_group": group }))
        .collect();
    serde_json::json!({
        "type": "io.nats.micro.v1.info_response", "name": "sums", "id": "I1",
        "version": version, "metadata": {}, "endpoints": endpoints,
    })
    .to_string()
    .into_bytes()
}

fn show(act: Act) -> String {
    match act {
        Act::Ask { sid, question, .. } => format!("ask {} {question}", sid.0),
        Act::Register { number, registration } => {
            format!("register {number} {} {}", registration.name, registration.version)
        }
        Act::Unregister { number } => format!("unregister {number}"),
        Act::Health { number, health } => format!("{health:?} {number}"),
        Act::Refused { subject, .. } => format!("refused {subject}"),
        Act::Unanswered { subject } => format!("unanswered {subject}"),
    }
}

impl Peer {
    fn now(&self) -> Instant {
        Instant::START + Duration::from_millis(self.ms)
    }

    fn sub(&mut self, sid: u32, subject: &str, group: &str) {
        self.subscribed.insert(Sid(sid), (subject.to_owned(), group.to_owned()));
        assert!(self.instances.subscribed(Sid(sid), subject, group, self.now()));
    }

    fn unsub(&mut self, sid: u32) -> Vec<String> {
        self.subscribed.remove(&Sid(sid));
        let mut out = Vec::new();
        self.instances.unsubscribed(Sid(sid), self.now(), &mut out);
        out.into_iter().map(show).collect()
    }

    /// Lets time pass up to this many milliseconds after the start.
    fn at(&mut self, ms: u64) -> Vec<String> {
        let mut said = Vec::new();
        let until = Instant::START + Duration::from_millis(ms);
        while self.instances.deadline() <= until {
            let due = self.instances.deadline().since(Instant::START).as_millis() as u64;
            self.ms = self.ms.max(due);
            let mut out = Vec::new();
            self.instances.tick(self.now(), &mut out);
            said.extend(out.into_iter().map(|act| format!("{} {}", self.ms, show(act))));
        }
        self.ms = ms;
        said
    }

    fn answer(&mut self, question: u64, json: &[u8]) -> Vec<String> {
        self.answer_if(question, json, |_, _| true)
    }

    fn answer_if(
        &mut self,
        question: u64,
        json: &[u8],
        may: impl Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut known = Subscribed::new();
        for (sid, (subject, group)) in &self.subscribed {
            known.entry((subject.as_bytes(), group.as_bytes())).or_default().push(*sid);
        }
        let mut out = Vec::new();
        self.instances.answered(question, json, &known, may, &mut out);
        out.into_iter().map(show).collect()
    }
}

/// A service with one endpoint, registered as 1.
fn serving() -> Peer {
    let mut peer = Peer::default();
    peer.sub(1, INSTANCE, "");
    peer.sub(2, "add", "q");
    assert_eq!(peer.at(20), ["20 ask 1 1"]);
    assert_eq!(peer.answer(1, &answer("1.0.0", &[("add", "q")])), ["register 1 add 1.0.0"]);
    peer
}

#[test]
fn only_an_instance_is_asked() {
    let mut peer = Peer::default();
    for (sid, subject) in [
        (1, "$SRV.INFO"),
        (2, "$SRV.INFO.sums"),
        (3, "$SRV.INFO.sums.*"),
        (4, "$SRV.PING.sums.I1"),
        (5, "$SRV.INFO.sums.I1.more"),
        (6, "$SRV.INFO.>"),
    ] {
        peer.sub(sid, subject, "");
    }
    peer.sub(7, "add", "q");
    assert_eq!(peer.at(100_000), [""; 0]);
    assert_eq!(peer.instances.deadline(), Instant::NEVER);
    for sid in 0..NATS_INSTANCES_MAX as u32 {
        peer.sub(100 + sid, INSTANCE, "");
    }
    assert!(!peer.instances.subscribed(Sid(1000), INSTANCE, "", peer.now()), "one too many");
}

#[test]
fn subscriptions_in_a_row_are_one_reason_to_ask_and_once_more() {
    let mut peer = Peer::default();
    peer.sub(1, INSTANCE, "");
    peer.sub(2, "add", "q");
    peer.sub(3, "mul", "q");
    assert_eq!(peer.at(21), ["20 ask 1 1"]);
    peer.sub(4, "div", "q");
    assert_eq!(peer.at(500), [""; 0], "one question at a time");
    peer.answer(1, &answer("1.0.0", &[]));
    assert_eq!(peer.at(510), ["500 ask 1 2"], "what was subscribed to meanwhile");
    peer.answer(2, &answer("1.0.0", &[]));
    assert_eq!(peer.at(2000), ["1500 ask 1 3"], "what was noted late");
    peer.answer(3, &answer("1.0.0", &[]));
    assert_eq!(peer.at(40_000), ["31500 ask 1 4", "36500 unanswered $SRV.INFO.sums.I1"]);
    peer.sub(5, "inbox", "");
    assert_eq!(peer.at(61_000), [""; 0], "who is in no group is no reason");
}

#[test]
fn what_is_offered_and_subscribed_to_is_registered_once() {
    let mut peer = serving();
    assert_eq!(peer.at(1020), ["1020 ask 1 2"]);
    let all = [("add", "q"), ("mul", "q"), ("add", "other"), ("plain", "")];
    peer.sub(3, "mul", "q");
    peer.sub(4, "plain", "");
    let said = peer.answer(2, &answer("1.0.0", &all));
    assert_eq!(said, ["refused plain", "register 2 mul 1.0.0"]);
    assert_eq!(
        (peer.instances.endpoint(2).unwrap().sid, peer.instances.endpoints.len()),
        (Sid(3), 2)
    );
    assert_eq!(peer.answer(2, &answer("1.0.0", &[])), [""; 0], "it was answered");
    assert_eq!(peer.at(1040), ["1040 ask 1 3"]);
    let newer = peer.answer(3, &answer("1.1.0", &all[..2]));
    let want = ["unregister 1", "unregister 2", "register 3 add 1.1.0", "register 4 mul 1.1.0"];
    assert_eq!(newer, want);
    assert!(peer.instances.left(1) && peer.instances.left(2));
    assert!(peer.instances.endpoint(1).is_none() && !peer.instances.left(3), "3 was refused");
}

#[test]
fn two_endpoints_of_one_subject_have_a_subscription_each() {
    let mut peer = serving();
    peer.sub(3, "add", "q");
    peer.at(1100);
    assert_eq!(
        peer.answer(2, &answer("1.0.0", &[("add", "q"), ("add", "q"), ("add", "q")])),
        ["register 2 add 1.0.0"]
    );
    assert_eq!(peer.instances.endpoint(2).unwrap().sid, Sid(3));
}

#[test]
fn who_leaves_is_unregistered_and_the_others_are_asked() {
    let mut peer = serving();
    assert_eq!(peer.unsub(9), [""; 0]);
    assert_eq!(peer.unsub(2), ["unregister 1"]);
    assert!(peer.instances.endpoint(1).unwrap().is_leaving, "jobs may still come");
    assert_eq!(peer.at(60), ["40 ask 1 2"]);
    peer.sub(2, "add", "q");
    assert_eq!(peer.answer(2, &answer("1.0.0", &[("add", "q")])), ["register 2 add 1.0.0"]);
    assert!(peer.instances.left(1));
    assert_eq!(peer.unsub(1), ["unregister 2"], "the service is over");
    assert!(peer.instances.left(2));
    assert_eq!((peer.at(100_000), peer.instances.deadline()), (Vec::new(), Instant::NEVER));
}

#[test]
fn who_does_not_answer_is_ill_until_it_does() {
    let mut peer = serving();
    assert_eq!(peer.at(8000), ["1020 ask 1 2", "6020 unanswered $SRV.INFO.sums.I1", "6020 Ill 1"]);
    assert_eq!(peer.answer(2, &answer("1.0.0", &[("add", "q")])), [""; 0], "too late");
    assert_eq!(peer.at(31_500), ["31020 ask 1 3"]);
    assert_eq!(peer.answer(3, &answer("1.0.0", &[("add", "q")])), ["Well 1"]);
    assert_eq!(peer.at(61_500), ["61020 ask 1 4"]);
    assert_eq!(peer.answer(4, b"{"), ["refused $SRV.INFO.sums.I1"], "and what is there stays");
    assert!(!peer.instances.endpoint(1).unwrap().is_leaving);
}

#[test]
fn a_function_is_offered_only_by_who_may_subscribe_to_its_name() {
    let mut peer = serving();
    peer.at(1100);
    let said = peer.answer_if(2, &answer("1.0.0", &[("add", "q")]), |name, group| {
        assert_eq!((name, group), ("add", "q"));
        false
    });
    assert_eq!(said, ["refused add", "unregister 1"]);
}

#[derive(Clone, Debug)]
enum Step {
    Sub(u32, usize),
    Unsub(u32),
    Answer(Vec<usize>),
    Left(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..8_u32, 0..4_usize).prop_map(|(sid, what)| Step::Sub(sid, what)),
        (1..8_u32).prop_map(Step::Unsub),
        proptest::collection::vec(0..3_usize, 0..4).prop_map(Step::Answer),
        (1..20_u32).prop_map(Step::Left),
        (0..40_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Registered and unregistered in turns, each for a subscription that is there, no two for one.
    #[test]
    fn what_is_registered_has_a_subscription_of_its_own(steps in proptest::collection::vec(step(), 0..60)) {
        let subjects = [("a", "q"), ("b", "q"), ("c", "q")];
        let mut peer = Peer::default();
        let mut live = BTreeMap::new();
        let mut question = 0;
        for step in steps {
            let mut said = Vec::new();
            match step {
                Step::Sub(sid, _) if peer.subscribed.contains_key(&Sid(sid)) => (),
                Step::Sub(sid, 3) => peer.sub(sid, INSTANCE, ""),
                Step::Sub(sid, what) => peer.sub(sid, subjects[what].0, subjects[what].1),
                Step::Unsub(sid) => said = peer.unsub(sid),
                Step::Answer(which) => {
                    let which: Vec<_> = which.into_iter().map(|at| subjects[at]).collect();
                    said = peer.answer(question, &answer("1.0.0", &which));
                }
                Step::Left(number) => {
                    if live.get(&number) == Some(&false) {
                        prop_assert!(peer.instances.left(number));
                        live.remove(&number);
                    }
                }
                Step::Wait(ms) => said = peer.at(peer.ms + ms),
            }
            for act in said {
                let words: Vec<&str> = act.split(' ').collect();
                let number = |at: usize| words[at].parse::<u32>().unwrap();
                match words[..] {
                    ["register", ..] => prop_assert_eq!(live.insert(number(1), true), None),
                    ["unregister", ..] => prop_assert_eq!(live.insert(number(1), false), Some(true)),
                    [_, "ask", _, asked] => question = asked.parse().unwrap(),
                    _ => (),
                }
            }
            let mut sids = Vec::new();
            for (number, endpoint) in &peer.instances.endpoints {
                prop_assert_eq!(live.get(number), Some(&!endpoint.is_leaving));
                if !endpoint.is_leaving {
                    let (subject, _) = &peer.subscribed[&endpoint.sid];
                    prop_assert_eq!(subject, &endpoint.subject);
                    sids.push(endpoint.sid);
                }
            }
            sids.sort_unstable();
            prop_assert!(sids.windows(2).all(|two| two[0] != two[1]), "{:?}", sids);
            prop_assert_eq!(live.len(), peer.instances.endpoints.len());
        }
    }
}
