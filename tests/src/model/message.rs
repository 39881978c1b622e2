//! Messages as the model sees them.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Echo;
use mpreg_proto::id::Sid;

use super::{ClientNo, Model, Owed, Stream, SubNo, SubState};
use crate::check::{self, Violation};
use crate::lexicon::TopicIx;

/// One published message, until no part of it is under way.
#[derive(Debug)]
pub struct Message {
    pub publisher: ClientNo,
    pub topic: TopicIx,
    /// The event.
    pub published_at: u64,
    pub expects_reply: bool,
    /// Copies not yet handled: held, or on a ring.
    pub parts: u32,
    /// Ungrouped subscriptions that were settled when it was published, and other sessions' or
    /// echoed to their own.
    pub plain: Vec<SubNo>,
    /// Members of groups that were settled then.
    pub members: Vec<SubNo>,
    /// Anything at all that matched, settled or not, or just gone.
    pub had_match: bool,
    /// Sessions that got their copy, and the subscription it was for if not for all.
    pub copies: Vec<(ClientNo, Option<Sid>)>,
    pub groups: Vec<GroupFate>,
    pub is_nobodys: bool,
}

/// What became of a message in one group.
#[derive(Debug)]
pub struct GroupFate {
    pub name: String,
    pub chosen_at: u64,
    pub hits: u32,
    pub is_missed: bool,
}

impl Model {
    /// A client publishes.
    pub fn published(
        &mut self,
        number: u64,
        publisher: ClientNo,
        topic: &str,
        expects_reply: bool,
    ) {
        let topic = self.lexicon.topic(topic);
        let matching = self.matching(topic);
        let had_match = !matching.is_empty() || self.is_departing(topic);
        let is_echo_off = self.sessions[publisher.0].echo == Echo::Off;
        let mut settled = matching;
        settled.retain(|sub| self.subs[sub.0].state == SubState::Settled);
        settled.retain(|sub| !is_echo_off || self.subs[sub.0].client != publisher);
        let (plain, members) =
            settled.into_iter().partition(|sub| self.subs[sub.0].group.is_empty());
        self.counts.messages += 1;
        self.forget_departures();
        let published_at = self.event;
        self.messages.insert(
            number,
            Message {
                publisher,
                topic,
                published_at,
                expects_reply,
                parts: 1,
                plain,
                members,
                had_match,
                copies: Vec::new(),
                groups: Vec::new(),
                is_nobodys: false,
            },
        );
    }

    /// The router would not take it.
    pub fn refused(&mut self, number: u64, code: ErrorCode) {
        if let Some(message) = self.messages.remove(&number) {
            let topic = self.lexicon.topic_text(message.topic);
            let verdict = check::refusal_is_right(topic, self.dialect(message.publisher), code);
            self.note(verdict);
        }
    }

    /// Another copy is under way.
    pub fn sent_on(&mut self, number: u64) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.parts += 1;
        }
    }

    /// A copy was queued for a session, or for one subscription of it.
    pub fn copied(&mut self, number: u64, client: ClientNo, sid: Option<Sid>) {
        let Some(message) = self.messages.get(&number) else {
            let text = format!("message {number} came again to {client:?}");
            return self.note(Err(Violation::new("one copy", text)));
        };
        let (publisher, topic) = (message.publisher, message.topic);
        let verdict = check::is_first_copy(number, message, client, sid);
        self.note(verdict);
        let session = &self.sessions[client.0];
        let verdict = check::is_for_the_right(client, session.protocol, sid);
        let mut wanted_by: Vec<SubNo> =
            session.sids.values().chain(&session.leaving).copied().collect();
        self.note(verdict);
        let Self { subs, lexicon, .. } = self;
        wanted_by.retain(|sub| {
            let sub = &subs[sub.0];
            sub.group.is_empty()
                && sid.is_none_or(|sid| sub.sid == sid)
                && sub.state != SubState::Over
                && lexicon.is_match(sub.pattern, topic)
        });
        let text = self.lexicon.topic_text(topic);
        let verdict = check::is_wanted(number, text, client, &wanted_by);
        self.note(verdict);
        self.in_order(number, client, Stream { publisher, topic, sid });
        wanted_by.into_iter().for_each(|sub| self.count(sub));
        if let Some(message) = self.messages.get_mut(&number) {
            message.copies.push((client, sid));
        }
        self.counts.copies += 1;
    }

    /// A member of a group was chosen, here or on another shard.
    pub fn chosen(&mut self, number: u64, group: &str) {
        let event = self.event;
        let Some(message) = self.messages.get_mut(&number) else { return };
        let is_second = message.groups.iter().any(|fate| fate.name == group);
        message.groups.push(GroupFate {
            name: group.to_owned(),
            chosen_at: event,
            hits: 0,
            is_missed: false,
        });
        if is_second {
            let text = format!("group {group} was given message {number} twice");
            self.note(Err(Violation::new("one member", text)));
        }
    }

    /// A copy was queued for one member of a group.
    pub fn copied_to_member(&mut self, number: u64, client: ClientNo, sid: Sid, group: &str) {
        let sub = self.sessions[client.0].sids.get(&sid).copied();
        let leaving = self.sessions[client.0].leaving.iter().copied();
        let sub = sub.or_else(|| leaving.into_iter().find(|sub| self.subs[sub.0].sid == sid));
        let Some(message) = self.messages.get_mut(&number) else { return };
        let (publisher, topic) = (message.publisher, message.topic);
        if let Some(fate) = message.groups.iter_mut().find(|fate| fate.name == group) {
            fate.hits += 1;
        }
        let Self { subs, lexicon, .. } = self;
        let is_member = sub.is_some_and(|sub| {
            let sub = &subs[sub.0];
            sub.group == group
                && sub.state != SubState::Over
                && lexicon.is_match(sub.pattern, topic)
        });
        let verdict = check::is_member(number, client, sid, group, is_member);
        self.note(verdict);
        self.in_order(number, client, Stream { publisher, topic, sid: Some(sid) });
        sub.into_iter().for_each(|sub| self.count(sub));
        self.counts.copies += 1;
    }

    /// No member of a group was there, on the shard that was to have one.
    pub fn missed(&mut self, number: u64, group: &str, shard: usize) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        let (topic, publisher) = (message.topic, message.publisher);
        let mut chosen_at = 0;
        if let Some(fate) = message.groups.iter_mut().find(|fate| fate.name == group) {
            fate.is_missed = true;
            chosen_at = fate.chosen_at;
        }
        let is_excused = self.has_departure(shard, group, topic, chosen_at)
            || self.is_own_group(publisher, group, topic);
        let verdict = check::miss_is_excused(number, group, shard, is_excused);
        self.note(verdict);
        self.counts.missed += 1;
    }

    /// Whether the draw fell on the publisher, which wants no echo.
    fn is_own_group(&mut self, publisher: ClientNo, group: &str, topic: TopicIx) -> bool {
        let session = &self.sessions[publisher.0];
        let mut own = session.sids.values().chain(&session.leaving).map(|sub| &self.subs[sub.0]);
        let lexicon = &mut self.lexicon;
        session.echo == Echo::Off
            && own.any(|sub| sub.group == group && lexicon.is_match(sub.pattern, topic))
    }

    /// The publisher was told that nobody answers.
    pub fn nobody(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.is_nobodys = true;
    }

    /// A part of the message has been dealt with. The last one settles accounts.
    pub fn handled(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.parts -= 1;
        if message.parts != 0 {
            return;
        }
        let Some(message) = self.messages.remove(&number) else { return };
        let topic = self.lexicon.topic_text(message.topic);
        let verdict = check::topic_is_public(number, topic, self.dialect(message.publisher))
            .and_then(|()| check::all_settled_got_it(number, topic, &message, &self.subs))
            .and_then(|()| check::each_group_got_one(number, topic, &message, &self.subs))
            .and_then(|()| {
                check::nobody_is_true(number, topic, &message, &self.subs, self.is_quiet)
            });
        self.note(verdict);
    }

    /// Counts a delivery; ends the subscription if it was the last it wanted.
    fn count(&mut self, number: SubNo) {
        let sub = &mut self.subs[number.0];
        sub.delivered += 1;
        // Draining ends it in any case, and its client counts too.
        if sub.limit == 0 || sub.delivered < sub.limit || sub.state == SubState::Leaving {
            return;
        }
        let (client, sid) = (sub.client, sub.sid);
        self.leave(number, SubState::Over);
        self.owe(client, Owed::Unsubscribed { sid });
    }

    fn in_order(&mut self, number: u64, client: ClientNo, stream: Stream) {
        let streams = &mut self.sessions[client.0].streams;
        let before = streams.insert(stream, number);
        let verdict = check::is_after(number, client, stream, before);
        self.note(verdict);
    }
}
