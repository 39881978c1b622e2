//! Subscriptions as the model sees them.

use mpreg_fabric::session::Protocol;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::Sid;
use mpreg_proto::topic::{Dialect, Pattern};

use super::{ClientNo, Departure, Model, Owed};
use crate::check::{self, Violation};
use crate::lexicon::{PatternIx, TopicIx};

/// A subscription's number: never used twice, unlike the client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubNo(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubState {
    /// Accepted; `Subscribed` was not said yet.
    Asked,
    /// Every message published from here on must come.
    Settled,
    /// Its session drains: messages may come.
    Leaving,
    /// Nothing may come.
    Over,
}

#[derive(Debug)]
pub struct Sub {
    pub client: ClientNo,
    pub sid: Sid,
    pub pattern: PatternIx,
    /// Empty: every message.
    pub group: String,
    pub state: SubState,
    pub delivered: u32,
    /// Over when as many are delivered; zero: never.
    pub limit: u32,
}

/// The bounds a shard was told.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub is_session_full: bool,
    pub is_shard_full: bool,
}

impl Model {
    /// Whose words a client speaks.
    pub fn dialect(&self, client: ClientNo) -> Dialect {
        match self.sessions[client.0].protocol {
            Protocol::Native => Dialect::Native,
            Protocol::Nats => Dialect::Nats,
        }
    }

    /// A client asks to subscribe; says what the router owes it for that.
    pub fn will_subscribe(
        &mut self,
        client: ClientNo,
        sid: Sid,
        pattern: &str,
        group: &str,
        room: Room,
    ) {
        let dialect = self.dialect(client);
        let is_in_use = self.sessions[client.0].sids.contains_key(&sid);
        let refusal = if is_in_use {
            Some(ErrorCode::SidInUse)
        } else if room.is_session_full || room.is_shard_full {
            Some(ErrorCode::TooManySubscriptions)
        } else if group.contains(' ') {
            Some(ErrorCode::BadName)
        } else {
            Pattern::parse_as(pattern.as_bytes(), dialect).err()
        };
        if let Some(code) = refusal {
            self.owe(client, Owed::Error { code, sid });
            if code.is_fatal() {
                self.owe(client, Owed::End { code });
            }
            return;
        }
        let pattern = self.lexicon.pattern(pattern, dialect);
        let (group, state) = (group.to_owned(), SubState::Asked);
        let number = SubNo(self.subs.len());
        self.subs.push(Sub { client, sid, pattern, group, state, delivered: 0, limit: 0 });
        self.live.insert(number);
        self.sessions[client.0].sids.insert(sid, number);
        self.counts.subscriptions += 1;
    }

    /// A client asks to unsubscribe.
    pub fn will_unsubscribe(&mut self, client: ClientNo, sid: Sid, deliveries: u32) {
        let Some(&number) = self.sessions[client.0].sids.get(&sid) else {
            return self.owe(client, Owed::Error { code: ErrorCode::UnknownSid, sid });
        };
        let sub = &mut self.subs[number.0];
        if deliveries <= sub.delivered {
            self.owe(client, Owed::Unsubscribed { sid });
        } else {
            sub.limit = deliveries;
        }
    }

    pub(super) fn subscribed(&mut self, client: ClientNo, sid: Sid) {
        let number = self.sessions[client.0].sids.get(&sid).copied();
        let verdict = check::answers_a_question(client, sid, number.map(|sub| &self.subs[sub.0]));
        self.note(verdict);
        if let Some(number) = number {
            self.subs[number.0].state = SubState::Settled;
        }
    }

    pub(super) fn unsubscribed(&mut self, client: ClientNo, sid: Sid) {
        if let Some(number) = self.sessions[client.0].sids.remove(&sid) {
            self.leave(number, SubState::Over);
        }
    }

    /// The subscription is on its way out, or gone.
    pub(super) fn leave(&mut self, number: SubNo, state: SubState) {
        let sub = &mut self.subs[number.0];
        if sub.state == SubState::Over {
            return;
        }
        if sub.state != SubState::Leaving {
            self.departures.push(Departure {
                shard: self.sessions[sub.client.0].shard,
                group: sub.group.clone(),
                pattern: sub.pattern,
                known_at: None,
            });
        }
        sub.state = state;
        if state == SubState::Over {
            self.live.remove(&number);
        }
    }

    /// A shard was looked at after an event: what it holds, and whether it has changes under way.
    pub fn observed(&mut self, shard: usize, subscriptions_count: usize, is_settled: bool) {
        let expected = self.held_count(shard);
        let verdict = check::holds_what_it_should(shard, subscriptions_count, expected);
        self.note(verdict);
        if is_settled && subscriptions_count == expected {
            let event = self.event;
            for departure in &mut self.departures {
                if departure.shard == shard && departure.known_at.is_none() {
                    departure.known_at = Some(event);
                }
            }
        }
    }

    /// Subscriptions that have not begun to leave.
    fn held_count(&self, shard: usize) -> usize {
        let sessions = self.sessions.iter().filter(|session| session.shard == shard);
        sessions.map(|session| session.sids.len()).sum()
    }

    /// Those of `topic` that are not over, in order of their making.
    pub fn matching(&mut self, topic: TopicIx) -> Vec<SubNo> {
        let Self { live, subs, lexicon, .. } = self;
        let is_match = |sub: &&SubNo| lexicon.is_match(subs[sub.0].pattern, topic);
        live.iter().filter(is_match).copied().collect()
    }

    /// Whether somebody may still think that something that left wants `topic`.
    pub(super) fn is_departing(&mut self, topic: TopicIx) -> bool {
        let Self { departures, lexicon, .. } = self;
        let mut open = departures.iter().filter(|left| left.known_at.is_none());
        open.any(|left| lexicon.is_match(left.pattern, topic))
    }

    /// Departures that no message under way can have to do with.
    pub(super) fn forget_departures(&mut self) {
        let oldest = self.messages.first_key_value().map(|(_, message)| message.published_at);
        let is_old = |known_at: u64| oldest.is_none_or(|oldest| known_at < oldest);
        self.departures.retain(|left| !left.known_at.is_some_and(is_old));
    }

    /// Subscriptions that are not over.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Whether a message a group did not get, on `shard`, is explained by a member that left and
    /// was thought there by someone when the message was on its way.
    pub(super) fn has_departure(
        &mut self,
        shard: usize,
        group: &str,
        topic: TopicIx,
        since: u64,
    ) -> bool {
        let Self { departures, lexicon, .. } = self;
        departures.iter().any(|left| {
            left.shard == shard
                && left.group == group
                && left.known_at.is_none_or(|known_at| since <= known_at)
                && lexicon.is_match(left.pattern, topic)
        })
    }

    /// Every subscription was answered.
    pub fn all_answered(&mut self) {
        let unanswered = self.live.iter().map(|sub| &self.subs[sub.0]);
        let unanswered = unanswered.filter(|sub| sub.state == SubState::Asked);
        let texts: Vec<String> = unanswered.map(|sub| format!("{sub:?}")).collect();
        if !texts.is_empty() {
            self.note(Err(Violation::new("answers", format!("never answered: {texts:?}"))));
        }
    }
}
