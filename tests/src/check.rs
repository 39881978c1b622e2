//! What must hold, one function each. They judge and change nothing.

use std::fmt;

use mpreg_fabric::fact::EndReason;
use mpreg_fabric::session::{Protocol, Timing};
use mpreg_fabric::shard::{Route, Shard};
use mpreg_fabric::time::Instant;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Frame;
use mpreg_proto::id::Sid;
use mpreg_proto::topic::{Dialect, Topic};

use crate::faults::Faults;
use crate::model::{ClientNo, Message, Owed, Session, Stage, Stream, Sub, SubNo, SubState};

/// Something that must not happen, did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, in two words.
    pub rule: &'static str,
    pub text: String,
}

type Verdict = Result<(), Violation>;

impl Violation {
    pub fn new(rule: &'static str, text: String) -> Self {
        Self { rule, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

fn hold(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::new(rule, text())) }
}

/// A session gets a message once, however many of its subscriptions match.
pub fn is_first_copy(
    number: u64,
    message: &Message,
    client: ClientNo,
    sid: Option<Sid>,
) -> Verdict {
    hold(!message.copies.contains(&(client, sid)), "one copy", || {
        format!("message {number} came twice to {client:?} for {sid:?}")
    })
}

/// Each subscription of a NATS client has its own copy, those of others share one.
pub fn is_for_the_right(client: ClientNo, protocol: Protocol, sid: Option<Sid>) -> Verdict {
    hold(sid.is_some() == (protocol == Protocol::Nats), "copies", || {
        format!("{client:?} speaks {protocol:?} and got a copy for {sid:?}")
    })
}

/// A session gets only what it has a subscription for.
pub fn is_wanted(number: u64, topic: &str, client: ClientNo, wanted_by: &[SubNo]) -> Verdict {
    hold(!wanted_by.is_empty(), "unwanted", || {
        format!("message {number} to {topic} came to {client:?}, which has nothing that matches")
    })
}

/// Whoever was told `Subscribed` before a message was published, and is still there, gets it.
pub fn all_settled_got_it(number: u64, topic: &str, message: &Message, subs: &[Sub]) -> Verdict {
    let has = |sub: &&Sub| {
        let copies = [(sub.client, None), (sub.client, Some(sub.sid))];
        copies.iter().any(|copy| message.copies.contains(copy))
    };
    let plain = message.plain.iter().map(|sub| &subs[sub.0]);
    let lost = plain.filter(|sub| sub.state == SubState::Settled).find(|sub| !has(sub));
    hold(lost.is_none(), "lost", || format!("message {number} to {topic} never came to {lost:?}"))
}

/// Of each group with a settled member one got it, unless that one was leaving.
pub fn each_group_got_one(number: u64, topic: &str, message: &Message, subs: &[Sub]) -> Verdict {
    for member in message.members.iter().map(|sub| &subs[sub.0]) {
        let fate = message.groups.iter().find(|fate| fate.name == member.group);
        let is_done = fate.is_some_and(|fate| fate.hits == 1 || fate.is_missed);
        hold(is_done || member.state != SubState::Settled, "lost to group", || {
            format!("message {number} to {topic} never came to the group of {member:?}: {fate:?}")
        })?;
    }
    let twice = message.groups.iter().find(|fate| 1 < fate.hits);
    hold(twice.is_none(), "one member", || format!("message {number} to {topic}: {twice:?}"))
}

/// `NoResponders` is said if nobody is there to answer, and only then.
pub fn nobody_is_true(
    number: u64,
    topic: &str,
    message: &Message,
    subs: &[Sub],
    is_quiet: bool,
) -> Verdict {
    let mut settled = message.plain.iter().chain(&message.members).map(|sub| &subs[sub.0]);
    let somebody = settled.find(|sub| sub.state == SubState::Settled);
    hold(!message.is_nobodys || somebody.is_none(), "no responders", || {
        format!("message {number} to {topic} has no responders, says the router: {somebody:?}")
    })?;
    let must_say = is_quiet && message.expects_reply && !message.had_match;
    hold(!must_say || message.is_nobodys, "no responders", || {
        format!("message {number} to {topic}: its publisher waits for a reply in vain")
    })
}

/// A group loses a message only to a member that has just left.
pub fn miss_is_excused(number: u64, group: &str, shard: usize, is_excused: bool) -> Verdict {
    hold(is_excused, "lost to group", || {
        format!("message {number} found no member of {group} on shard {shard}, and none had left")
    })
}

pub fn is_member(number: u64, client: ClientNo, sid: Sid, group: &str, is_member: bool) -> Verdict {
    hold(is_member, "unwanted", || {
        format!("message {number} came to {client:?} as {sid} of {group}, which it is not")
    })
}

/// Messages of one publisher and topic keep their order.
pub fn is_after(number: u64, client: ClientNo, stream: Stream, before: Option<u64>) -> Verdict {
    hold(before.is_none_or(|before| before < number), "order", || {
        format!("message {number} came to {client:?} after {before:?} of {stream:?}")
    })
}

/// Only good topics that are not the fabric's own are routed.
pub fn topic_is_public(number: u64, topic: &str, dialect: Dialect) -> Verdict {
    let parsed = Topic::parse_as(topic.as_bytes(), dialect);
    hold(parsed.is_ok_and(|topic| !topic.is_reserved()), "topics", || {
        format!("message {number} to {topic} was routed")
    })
}

pub fn refusal_is_right(topic: &str, dialect: Dialect, code: ErrorCode) -> Verdict {
    let right = match Topic::parse_as(topic.as_bytes(), dialect) {
        Ok(topic) if topic.is_reserved() => Some(ErrorCode::ReservedTopic),
        Ok(_) => None,
        Err(code) => Some(code),
    };
    hold(right == Some(code), "topics", || format!("{topic} was refused with {code}"))
}

/// `Subscribed` answers one `Subscribe`.
pub fn answers_a_question(client: ClientNo, sid: Sid, sub: Option<&Sub>) -> Verdict {
    hold(sub.is_some_and(|sub| sub.state == SubState::Asked), "answers", || {
        format!("{client:?} was told {sid} is subscribed, which it knew or never asked: {sub:?}")
    })
}

/// What is answered at once was answered.
pub fn nothing_is_owed(owed: &[(ClientNo, Owed)]) -> Verdict {
    hold(owed.is_empty(), "answers", || format!("never said: {owed:?}"))
}

/// Nothing is said to a session that has ended.
pub fn is_not_over(client: ClientNo, stage: Stage, frame: &Frame<'_>) -> Verdict {
    hold(stage != Stage::Ended, "after the end", || format!("{client:?} was told {frame:?}"))
}

pub fn is_draining(client: ClientNo, stage: Stage) -> Verdict {
    hold(stage == Stage::Draining, "answers", || format!("{client:?} is {stage:?}, not draining"))
}

/// Only those who left, broke the rules or fell silent are ended, and the silent not too early.
pub fn end_is_deserved(
    client: ClientNo,
    session: &Session,
    reason: EndReason,
    is_owed: bool,
    is_stopped: bool,
    timing: Timing,
    now: Instant,
) -> Verdict {
    let deserved = match reason {
        EndReason::Refused(ErrorCode::HandshakeTimeout) => {
            session.stage == Stage::Stranger && session.accepted_at + timing.handshake <= now
        }
        EndReason::Refused(ErrorCode::IdleTimeout) => {
            let asked_at = session.pings.last().copied();
            let has_had_time = asked_at.is_some_and(|at| at + timing.ping_interval <= now);
            session.pings.len() == 3 && has_had_time
        }
        EndReason::Refused(ErrorCode::ShuttingDown) => is_stopped,
        EndReason::Refused(_) | EndReason::PeerClosed | EndReason::TransportFailed => is_owed,
    };
    hold(deserved && session.stage != Stage::Ended, "ended", || {
        format!("{client:?} was ended by {reason:?} at {now:?}: {session:?}")
    })
}

/// A ping comes when the interval is over: not before, not later than the shell was.
pub fn ping_is_due(
    client: ClientNo,
    session: &Session,
    timing: Timing,
    late_ns: u64,
    now: Instant,
) -> Verdict {
    let due = session.pings.last().copied().unwrap_or(session.heard_at) + timing.ping_interval;
    let late = now.as_nanos().saturating_sub(due.as_nanos());
    hold(due <= now && late <= late_ns, "pings", || {
        format!("{client:?} was due at {due:?} and pinged at {now:?}: {session:?}")
    })
}

/// A shard holds the subscriptions it should, and perhaps some that are being removed.
pub fn holds_what_it_should(shard: usize, got: usize, want: usize) -> Verdict {
    hold(want <= got, "subscriptions", || format!("shard {shard} holds {got}, should {want}"))
}

/// Remembered routes stay within their bounds; those that hold messages come on top.
pub fn caches_are_bounded(
    shard: usize,
    machine: &Shard,
    asking_count: usize,
    route_max: usize,
    faults: &Faults,
) -> Verdict {
    let (routes, targets) = (machine.routes_count(), machine.targets_cached_count());
    let routes_max = faults.bounds.routes_cached_max.max(asking_count + 1);
    // One route may be longer than all may be together.
    let targets_max = faults.bounds.targets_cached_max + route_max;
    hold(routes <= routes_max && targets <= targets_max, "bounds", || {
        format!("shard {shard} remembers {routes} routes and {targets} targets")
    })
}

/// Who says nothing for long enough is given up.
pub fn silence_ends(client: ClientNo, is_silent: bool, stage: Stage) -> Verdict {
    hold(!is_silent || stage == Stage::Ended, "silence", || {
        format!("{client:?} said nothing for long and is still {stage:?}")
    })
}

/// A stopped shard has no sessions.
pub fn stop_ends(shard: usize, left: Option<&Session>) -> Verdict {
    hold(left.is_none(), "stop", || format!("shard {shard} stopped without {left:?}"))
}

/// When all have left, no shard sends a message anywhere, or asks who wants it.
pub fn leads_nowhere(shard: usize, topic: &str, machine: &Shard, route: Route) -> Verdict {
    let is_nowhere = match route {
        Route::Known(place) => machine.targets(place).is_empty(),
        Route::Asking(_) | Route::Refused(_) => false,
    };
    hold(is_nowhere, "rest", || format!("shard {shard} routes {topic} to {route:?}"))
}

/// When all have left, nothing is left of them.
pub fn is_at_rest(shard: usize, machine: &Shard) -> Verdict {
    let left = [
        ("subscriptions", machine.subscriptions_count()),
        ("wants", machine.wants_count()),
        ("settling", machine.settling_count()),
        ("held bytes", machine.held_bytes()),
    ];
    for (what, count) in left {
        hold(count == 0, "rest", || format!("shard {shard} still has {count} {what}"))?;
    }
    let deadline = machine.deadline();
    hold(deadline.is_none(), "rest", || format!("shard {shard} still waits for {deadline:?}"))
}
