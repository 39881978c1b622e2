//! Services of NATS micro on one connection: when they are asked what they offer, and what is
//! registered of that.
//!
//! ```text
//!   SUB $SRV.INFO.<name>.<id> --> ask --answer--> REGISTERING --> TAKES JOBS --> LEAVING --> gone
//!     ^                            |                             ^  |    UNSUB, not in the answer
//!     +-- SUB in a queue group,    +-- no answer --> ill --------+--+
//!         30 s, UNSUB                                  the next answer
//! ```
//!
//! Libraries subscribe to the verbs of a service before its endpoints, so each subscription in a queue
//! group is a reason to ask again. Several in a row are one reason.
//!
//! Invariants:
//! - Of an instance there is one question at a time, and only the answer to that counts.
//! - What is registered is an endpoint of the last answer with a subscription of this connection in its
//!   queue group; no two have the same subscription.
//! - An endpoint that leaves is known until its home says that no further job comes.
//!
//! Inputs are methods, effects are [`Act`]. Parts: `info.rs` (what INFO says).

use std::collections::BTreeMap;

use mpreg_fabric::function::{Health, Registration};
use mpreg_fabric::limits::FUNCTION_WORKERS_PER_SESSION_MAX;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::Sid;

use crate::limits::{
    NATS_INFO_AFTER, NATS_INFO_AGAIN, NATS_INFO_EVERY, NATS_INFO_WITHIN, NATS_INSTANCES_MAX,
};

mod info;

use info::Offered;

/// Where an instance is asked about itself: this, its name, its id.
const INFO: &str = "$SRV.INFO.";

/// Subscriptions of one connection, by subject and queue group.
pub type Subscribed<'a> = BTreeMap<(&'a [u8], &'a [u8]), Vec<Sid>>;

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the one that subscribed by this number.
    Ask {
        sid: Sid,
        subject: String,
        question: u64,
    },
    Register {
        number: u32,
        registration: Registration,
    },
    Unregister {
        number: u32,
    },
    Health {
        number: u32,
        health: Health,
    },
    /// What a service says, or one of its endpoints, makes no function.
    Refused {
        subject: String,
        why: String,
    },
    /// It did not answer in time.
    Unanswered {
        subject: String,
    },
}

/// One instance of a service.
#[derive(Debug)]
struct Instance {
    name: String,
    id: String,
    /// The question, and when it is given up.
    asked: Option<(u64, Instant)>,
    /// When to ask next.
    ask_at: Instant,
    /// Something was subscribed to since the last question: one more follows the next.
    is_new: bool,
    is_well: bool,
}

/// What takes jobs.
#[derive(Debug)]
pub struct Endpoint {
    /// Of its instance.
    instance: Sid,
    pub sid: Sid,
    pub subject: String,
    registration: Registration,
    /// It is to be unregistered: jobs that are under way still come.
    pub is_leaving: bool,
}

/// See the file's header.
#[derive(Debug, Default)]
pub struct Instances {
    /// By the subscription they are asked by.
    instances: BTreeMap<Sid, Instance>,
    /// By the number of the registration.
    endpoints: BTreeMap<u32, Endpoint>,
    questions: u64,
    registrations: u32,
}

impl Instances {
    /// The connection has subscribed. False: it has as many instances as may be.
    pub fn subscribed(&mut self, sid: Sid, subject: &str, group: &str, now: Instant) -> bool {
        if let Some((name, id)) = subject.strip_prefix(INFO).and_then(|rest| rest.split_once('.')) {
            let is_word = |word: &str| !word.is_empty() && !word.contains(['.', '*', '>']);
            if !is_word(name) || !is_word(id) || self.instances.contains_key(&sid) {
                return true;
            }
            if NATS_INSTANCES_MAX <= self.instances.len() {
                return false;
            }
            let (name, id) = (name.to_owned(), id.to_owned());
            let (asked, ask_at) = (None, now + NATS_INFO_AFTER);
            let instance = Instance { name, id, asked, ask_at, is_new: true, is_well: true };
            self.instances.insert(sid, instance);
        } else if !group.is_empty() {
            self.hasten(now);
        }
        true
    }

    /// A subscription of the connection is over.
    pub fn unsubscribed(&mut self, sid: Sid, now: Instant, out: &mut Vec<Act>) {
        if self.instances.is_empty() && self.endpoints.is_empty() {
            return;
        }
        self.instances.remove(&sid);
        let of_it = |endpoint: &Endpoint| endpoint.instance == sid || endpoint.sid == sid;
        if self.leave(of_it, out) {
            // Another instance may offer the same, and was not wanted so far.
            self.hasten(now);
        }
    }

    /// What is due.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Act>) {
        let mut ill = Vec::new();
        for (&sid, instance) in &mut self.instances {
            match instance.asked {
                Some((_, until)) if until <= now => {
                    instance.asked = None;
                    instance.ask_at = instance.ask_at.min(now + NATS_INFO_EVERY);
                    out.push(Act::Unanswered { subject: instance.subject() });
                    if std::mem::replace(&mut instance.is_well, false) {
                        ill.push(sid);
                    }
                }
                None if instance.ask_at <= now => {
                    self.questions += 1;
                    let question = self.questions;
                    instance.asked = Some((question, now + NATS_INFO_WITHIN));
                    instance.ask_at = match std::mem::replace(&mut instance.is_new, false) {
                        true => now + NATS_INFO_AGAIN,
                        false => now + NATS_INFO_EVERY,
                    };
                    out.push(Act::Ask { sid, subject: instance.subject(), question });
                }
                Some(_) | None => (),
            }
        }
        ill.into_iter().for_each(|sid| self.set_health(sid, Health::Ill, out));
    }

    /// When something is next due.
    pub fn deadline(&self) -> Instant {
        let due = self.instances.values().map(|instance| match instance.asked {
            Some((_, until)) => until,
            None => instance.ask_at,
        });
        due.min().unwrap_or(Instant::NEVER)
    }

    /// An answer. `may` says whether the connection may offer a function in a queue group.
    pub fn answered(
        &mut self,
        question: u64,
        json: &[u8],
        subscribed: &Subscribed<'_>,
        may: impl Fn(&str, &str) -> bool,
        out: &mut Vec<Act>,
    ) {
        let its = |instance: &Instance| instance.asked.is_some_and(|(it, _)| it == question);
        let found = self.instances.iter_mut().find(|(_, instance)| its(instance));
        let Some((&sid, instance)) = found else { return };
        instance.asked = None;
        let was_ill = !std::mem::replace(&mut instance.is_well, true);
        let offered = match info::read(json, &instance.name, &instance.id) {
            Ok(offered) => offered,
            Err(why) => return out.push(Act::Refused { subject: instance.subject(), why }),
        };
        if was_ill {
            self.set_health(sid, Health::Well, out);
        }
        self.reconcile(sid, offered, subscribed, may, out);
    }

    /// The endpoint of a registration.
    pub fn endpoint(&self, number: u32) -> Option<&Endpoint> {
        self.endpoints.get(&number)
    }

    /// It is registered no more, or was not. Says whether it was leaving.
    pub fn left(&mut self, number: u32) -> bool {
        self.endpoints.remove(&number).is_some_and(|endpoint| endpoint.is_leaving)
    }

    fn hasten(&mut self, now: Instant) {
        for instance in self.instances.values_mut() {
            instance.is_new = true;
            instance.ask_at = instance.ask_at.min(now + NATS_INFO_AFTER);
        }
    }

    /// Registers what is offered and is not registered, and the other way round.
    fn reconcile(
        &mut self,
        instance: Sid,
        offered: Vec<Offered>,
        subscribed: &Subscribed<'_>,
        may: impl Fn(&str, &str) -> bool,
        out: &mut Vec<Act>,
    ) {
        let (mut kept, mut new) = (Vec::new(), Vec::new());
        for Offered { subject, group, registration } in
            offered.into_iter().take(FUNCTION_WORKERS_PER_SESSION_MAX)
        {
            let registration = registration.and_then(|registration| match &*group {
                "" => Err("it is in no queue group, so all instances get each message".to_owned()),
                group if may(registration.name.as_str(), group) => Ok(registration),
                _ => Err("the connection may not subscribe to the name of the function".to_owned()),
            });
            let registration = match registration {
                Ok(registration) => registration,
                Err(why) => {
                    out.push(Act::Refused { subject, why });
                    continue;
                }
            };
            let sids = subscribed.get(&(subject.as_bytes(), group.as_bytes()));
            let mut sids = sids.into_iter().flatten().copied();
            let held = self.endpoints.iter().find(|(number, endpoint)| {
                !endpoint.is_leaving
                    && endpoint.instance == instance
                    && sids.clone().any(|sid| sid == endpoint.sid)
                    && endpoint.registration == registration
                    && !kept.contains(*number)
            });
            if let Some((&number, _)) = held {
                kept.push(number);
            } else {
                let is_free = |sid: &Sid| !self.is_held(*sid, instance, &kept, &new);
                let sid = sids.find(is_free);
                new.extend(sid.map(|sid| (sid, subject, registration)));
            }
        }
        let is_over = |number: u32, endpoint: &Endpoint| {
            endpoint.instance == instance && !kept.contains(&number)
        };
        self.leave_each(is_over, out);
        for (sid, subject, registration) in new {
            self.register(instance, (sid, subject), registration, out);
        }
    }

    /// Whether something else has this subscription, or will.
    fn is_held(
        &self,
        sid: Sid,
        instance: Sid,
        kept: &[u32],
        new: &[(Sid, String, Registration)],
    ) -> bool {
        let is_other = |(number, endpoint): (&u32, &Endpoint)| {
            let stays = endpoint.instance != instance || kept.contains(number);
            endpoint.sid == sid && !endpoint.is_leaving && stays
        };
        new.iter().any(|(other, ..)| *other == sid) || self.endpoints.iter().any(is_other)
    }

    fn register(
        &mut self,
        instance: Sid,
        (sid, subject): (Sid, String),
        registration: Registration,
        out: &mut Vec<Act>,
    ) {
        self.registrations = self.registrations.wrapping_add(1);
        let number = self.registrations;
        let is_leaving = false;
        let kept = registration.clone();
        let endpoint = Endpoint { instance, sid, subject, registration: kept, is_leaving };
        self.endpoints.insert(number, endpoint);
        out.push(Act::Register { number, registration });
    }

    fn leave(&mut self, is_over: impl Fn(&Endpoint) -> bool, out: &mut Vec<Act>) -> bool {
        self.leave_each(|_, endpoint| is_over(endpoint), out)
    }

    /// Says whether there was one.
    fn leave_each(&mut self, is_over: impl Fn(u32, &Endpoint) -> bool, out: &mut Vec<Act>) -> bool {
        let had = out.len();
        for (&number, endpoint) in &mut self.endpoints {
            if !endpoint.is_leaving && is_over(number, endpoint) {
                endpoint.is_leaving = true;
                out.push(Act::Unregister { number });
            }
        }
        had < out.len()
    }

    fn set_health(&self, instance: Sid, health: Health, out: &mut Vec<Act>) {
        let its = self.endpoints.iter().filter(|(_, endpoint)| endpoint.instance == instance);
        out.extend(its.map(|(&number, _)| Act::Health { number, health }));
    }
}

impl Instance {
    fn subject(&self) -> String {
        format!("{INFO}{}.{}", self.name, self.id)
    }
}

#[cfg(test)]
mod tests;
