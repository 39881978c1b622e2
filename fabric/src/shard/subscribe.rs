//! Subscriptions: made, ended, and made known to the other shards.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::catalog;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Frame, Subscribe};
use mpreg_proto::id::{ShardIx, Sid};
use mpreg_proto::topic::{Dialect, Pattern};

use super::route::GROUPED;
use super::{Effect, Leaving, Settling, Shard, Subscription};
use crate::forward::Member;
use crate::handoff::{Handoff, Spelled, Ticket};
use crate::id::{SessionIx, SubIx};
use crate::interest::{self, Asker};
use crate::session::{Phase, Protocol, Session};

/// A subscription, for whoever lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    pub sid: Sid,
    pub pattern: &'a [u8],
    pub dialect: Dialect,
    /// Empty: none.
    pub group: &'a [u8],
    /// Messages; stays at the most it can be.
    pub delivered: u32,
    /// Messages after which it ends. Zero: none.
    pub limit: u32,
}

impl Shard {
    /// What a session subscribes to, in the order of the numbers.
    pub fn subscriptions_of(&self, session: SessionIx) -> impl Iterator<Item = Subscribed<'_>> {
        let at = self.sessions.get(session.0 as usize).and_then(Option::as_ref);
        at.into_iter().flat_map(|at| &at.subscriptions).map(|(&sid, ix)| {
            let Subscription { pattern, dialect, delivered, limit, .. } = &self.subs[ix.0 as usize];
            let group = self.groups.get(ix).map_or(&[][..], |group| group);
            let (dialect, delivered, limit) = (*dialect, *delivered, *limit);
            Subscribed { sid, pattern, dialect, group, delivered, limit }
        })
    }

    /// What a session subscribes to under this number.
    pub fn member(&self, session: SessionIx, sid: Sid) -> Option<Member> {
        let at = self.sessions.get(session.0 as usize)?.as_ref()?;
        let subscription = *at.subscriptions.get(&sid)?;
        let overload = self.subs[subscription.0 as usize].overload;
        Some(Member { session, subscription, overload })
    }

    pub(super) fn subscribe(
        &mut self,
        session: SessionIx,
        subscribe: Subscribe<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Subscribe { sid, overload, pattern, group } = subscribe;
        let pattern = match self.check(session, &subscribe) {
            Ok(_) if !is_name(group) => {
                return self.refuse(session, ErrorCode::BadName, sid, out);
            }
            Ok(()) => match Pattern::parse_as(pattern, self.dialect(session)) {
                Ok(pattern) => pattern,
                Err(code) => return self.refuse(session, code, sid, out),
            },
            Err(code) => return self.refuse(session, code, sid, out),
        };
        let had_plain = self.index.values(pattern).first().is_some_and(|v| v & GROUPED == 0);
        let group = Bytes::copy_from_slice(group);
        let ix = self.subs.insert(Subscription {
            session,
            sid,
            overload,
            pattern: Box::from(pattern.as_bytes()),
            dialect: pattern.dialect(),
            delivered: 0,
            limit: 0,
            settling: None,
        });
        let ix = SubIx(u32::try_from(ix).expect("bounded by subscriptions_total_max"));
        if !group.is_empty() {
            self.groups.insert(ix, group.clone());
        }
        self.index.insert(pattern, value_of(ix, &group));
        let Some(at) = self.live(session) else { return };
        at.subscriptions.insert(sid, ix);
        self.changed(pattern);
        self.tell_wanted(pattern, &group, had_plain, out);
        let ticket = if self.settings.shards_count == 1 {
            None
        } else if group.is_empty() && had_plain {
            // Other shards send the pattern's messages here, or are being asked to.
            self.plain_settling.get(&Spelled::of(pattern)).copied()
        } else {
            let members = self.members(pattern, &group);
            Some(self.want(pattern, group, members, out))
        };
        match ticket.and_then(|ticket| self.settling.get_mut(&ticket)) {
            Some(settling) => {
                settling.waiters.push(ix);
                self.subs[ix.0 as usize].settling = ticket;
            }
            None => out.push(Effect::Say { session, frame: Frame::Subscribed { sid } }),
        }
    }

    /// Whose words a session's patterns are.
    fn dialect(&mut self, session: SessionIx) -> Dialect {
        match self.live(session).map(|at| at.protocol) {
            Some(Protocol::Nats) => Dialect::Nats,
            Some(Protocol::Native) | None => Dialect::Native,
        }
    }

    fn check(&mut self, session: SessionIx, subscribe: &Subscribe<'_>) -> Result<(), ErrorCode> {
        let held = self.subs.len();
        let (per_session, total) =
            (self.settings.subscriptions_max, self.settings.subscriptions_total_max);
        let Some(at) = self.live(session) else { return Err(ErrorCode::UnexpectedFrame) };
        if at.subscriptions.contains_key(&subscribe.sid) {
            return Err(ErrorCode::SidInUse);
        }
        if per_session as usize <= at.subscriptions.len() || total as usize <= held {
            return Err(ErrorCode::TooManySubscriptions);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: SessionIx,
        sid: Sid,
        deliveries: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(at) = self.live(session) else { return };
        let Some(&ix) = at.subscriptions.get(&sid) else {
            return self.refuse(session, ErrorCode::UnknownSid, sid, out);
        };
        let sub = &mut self.subs[ix.0 as usize];
        if deliveries <= sub.delivered {
            return self.end_subscription(session, sid, out);
        }
        sub.limit = deliveries;
        let (pattern, dialect) = (sub.pattern.clone(), sub.dialect);
        self.changed(parsed(&pattern, dialect));
    }

    /// Removes a subscription of a live session and says so.
    pub(super) fn end_subscription(&mut self, session: SessionIx, sid: Sid, out: &mut Vec<Effect>) {
        let Some(at) = self.live(session) else { return };
        let Some(ix) = at.subscriptions.remove(&sid) else { return };
        self.remove(ix, out);
        out.push(Effect::Say { session, frame: Frame::Unsubscribed { sid } });
    }

    /// Starts removing everything the session subscribed to.
    pub(super) fn leave(&mut self, session: SessionIx, out: &mut Vec<Effect>) {
        let Some(Some(at)) = self.sessions.get_mut(session.0 as usize) else { return };
        let subscriptions = core::mem::take(&mut at.subscriptions).into_values().collect();
        self.leaving.push_back(Leaving { session, subscriptions });
        self.remove_leaving(out);
    }

    /// Removes up to `forget_per_turn_max` subscriptions of sessions that leave.
    pub(super) fn remove_leaving(&mut self, out: &mut Vec<Effect>) {
        let mut budget = self.bounds.forget_per_turn_max;
        while let Some(Leaving { session, subscriptions }) = self.leaving.front_mut() {
            let session = *session;
            let from = subscriptions.len().saturating_sub(budget);
            let some: Vec<SubIx> = subscriptions.drain(from..).collect();
            let is_done = subscriptions.is_empty();
            budget -= some.len();
            some.into_iter().for_each(|ix| self.remove(ix, out));
            if !is_done {
                return;
            }
            self.leaving.pop_front();
            self.left(session, out);
        }
    }

    /// Nothing of the session is left in the tables.
    fn left(&mut self, session: SessionIx, out: &mut Vec<Effect>) {
        match &self.sessions[session.0 as usize] {
            Some(at) if at.phase == Phase::Draining => out.push(Effect::AwaitEmpty { session }),
            Some(_) | None => self.free_if_done(session, out),
        }
    }

    fn remove(&mut self, ix: SubIx, out: &mut Vec<Effect>) {
        let Subscription { pattern, dialect, .. } = self.subs.remove(ix.0 as usize);
        let group = self.groups.remove(&ix).unwrap_or_default();
        let pattern = parsed(&pattern, dialect);
        let was_there = self.index.remove(pattern, value_of(ix, &group));
        assert!(was_there, "a subscription is in the index while it is in the table");
        self.changed(pattern);
        self.tell_unwanted(pattern, &group, out);
        if self.settings.shards_count == 1 {
            return;
        }
        let members = self.members(pattern, &group);
        if group.is_empty() && 0 < members {
            return;
        }
        self.want(pattern, group, members, out);
    }

    /// Routes that rest on what this pattern matched hold no more.
    fn changed(&mut self, pattern: Pattern<'_>) {
        if pattern.is_literal() {
            let hash = self.hash(pattern.as_bytes());
            self.routes.forget(pattern.as_bytes(), hash);
        } else {
            self.stamp += 1;
        }
    }

    /// Tells the node of one subscriber more, if that is worth telling.
    fn tell_wanted(
        &self,
        pattern: Pattern<'_>,
        group: &Bytes,
        had_plain: bool,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_clustered {
            return;
        }
        let members = self.members(pattern, group);
        let is_news = if group.is_empty() { !had_plain } else { members.is_power_of_two() };
        if is_news {
            out.push(wanted(pattern, group, members));
        }
    }

    /// Tells the node of one subscriber less, if that is worth telling.
    fn tell_unwanted(&self, pattern: Pattern<'_>, group: &Bytes, out: &mut Vec<Effect>) {
        if !self.is_clustered {
            return;
        }
        let members = self.members(pattern, group);
        let is_news = members == 0 || !group.is_empty() && (members + 1).is_power_of_two();
        if is_news {
            out.push(wanted(pattern, group, members));
        }
    }

    /// Members of a group on exactly this pattern; for the empty group, whether there is any.
    fn members(&self, pattern: Pattern<'_>, group: &Bytes) -> u32 {
        let values = self.index.values(pattern);
        if group.is_empty() {
            return values.first().is_some_and(|value| value & GROUPED == 0).into();
        }
        let of_group = |&&value: &&u32| {
            value & GROUPED != 0 && self.groups.get(&SubIx(value & !GROUPED)) == Some(group)
        };
        values.iter().filter(of_group).count() as u32
    }

    /// Tells the owners of the pattern. The ticket is gone from `settling` if all settled at once.
    fn want(
        &mut self,
        pattern: Pattern<'_>,
        group: Bytes,
        members: u32,
        out: &mut Vec<Effect>,
    ) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = Ticket(self.next_ticket);
        let me = self.settings.me;
        let spelled = Spelled::of(pattern);
        let owners: Vec<ShardIx> = if pattern.is_literal() {
            alloc::vec![self.owner(self.hash(pattern.as_bytes()))]
        } else {
            (0..self.settings.shards_count).filter_map(ShardIx::new).collect()
        };
        let plain = (group.is_empty() && 0 < members).then(|| spelled.clone());
        if let Some(pattern) = &plain {
            self.plain_settling.insert(pattern.clone(), ticket);
        }
        let owners_left = owners.len() as u32;
        self.settling.insert(ticket, Settling { owners_left, waiters: Vec::new(), plain });
        for owner in owners {
            if owner == me {
                self.want_here(&spelled, &group, members, Asker { shard: me, ticket }, out);
                continue;
            }
            let (pattern, group) = (spelled.clone(), group.clone());
            let handoff = Handoff::Want { pattern, group, members, ticket };
            out.push(Effect::Handoff { to: owner, handoff });
        }
        ticket
    }

    /// This shard is an owner of the pattern.
    pub(super) fn want_here(
        &mut self,
        pattern: &Spelled,
        group: &Bytes,
        members: u32,
        asker: Asker,
        out: &mut Vec<Effect>,
    ) {
        let hash = self.hash(&pattern.text);
        let mut effects = core::mem::take(&mut self.interest_effects);
        let pattern = parsed(&pattern.text, pattern.dialect);
        self.interest.want(pattern, hash, group, members, asker, &mut effects);
        self.pass_on(effects, out);
    }

    /// Carries out what the interest index wants.
    pub(super) fn pass_on(&mut self, mut effects: Vec<interest::Effect>, out: &mut Vec<Effect>) {
        let me = self.settings.me;
        for effect in effects.drain(..) {
            match effect {
                interest::Effect::Forget { scope, ticket } => {
                    for shard in (0..self.settings.shards_count).filter_map(ShardIx::new) {
                        if shard == me {
                            self.forget(me, &scope);
                        } else {
                            let handoff = Handoff::Forget { scope: scope.clone(), ticket };
                            out.push(Effect::Handoff { to: shard, handoff });
                        }
                    }
                }
                interest::Effect::Settled(Asker { shard, ticket }) if shard == me => {
                    self.settled(ticket, out);
                }
                interest::Effect::Settled(Asker { shard, ticket }) => {
                    out.push(Effect::Handoff { to: shard, handoff: Handoff::Settled { ticket } });
                }
                interest::Effect::Emptied { bucket } => {
                    for shard in (0..self.settings.shards_count).filter_map(ShardIx::new) {
                        if shard != me {
                            let handoff = Handoff::Emptied { bucket };
                            out.push(Effect::Handoff { to: shard, handoff });
                        }
                    }
                }
            }
        }
        self.interest_effects = effects;
    }

    /// One more owner has settled a want of this shard.
    pub(super) fn settled(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(settling) = self.settling.get_mut(&ticket) else { return };
        settling.owners_left -= 1;
        if settling.owners_left != 0 {
            return;
        }
        let Some(Settling { waiters, plain, .. }) = self.settling.remove(&ticket) else { return };
        if let Some(pattern) = plain
            && self.plain_settling.get(&pattern) == Some(&ticket)
        {
            self.plain_settling.remove(&pattern);
        }
        for ix in waiters {
            let Some(sub) = self.subs.get_mut(ix.0 as usize) else { continue };
            if sub.settling.take_if(|waits_for| *waits_for == ticket).is_none() {
                continue;
            }
            let (session, sid) = (sub.session, sub.sid);
            let is_held = |at: &mut Session| at.subscriptions.get(&sid) == Some(&ix);
            if self.live(session).is_some_and(is_held) {
                out.push(Effect::Say { session, frame: Frame::Subscribed { sid } });
            }
        }
    }
}

fn wanted(pattern: Pattern<'_>, group: &[u8], members: u32) -> Effect {
    let mut name = Vec::new();
    catalog::Want { pattern, group }.put(&mut name);
    Effect::Wanted { name: name.into(), members }
}

/// The index value of a subscription: ungrouped ones sort first.
fn value_of(ix: SubIx, group: &[u8]) -> u32 {
    if group.is_empty() { ix.0 } else { ix.0 | GROUPED }
}

/// A group's name is a word like those of topics; the empty one stands for no group.
fn is_name(group: &[u8]) -> bool {
    let is_word = |text: &str| text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    core::str::from_utf8(group).is_ok_and(is_word)
}

/// A pattern this node accepted before.
fn parsed(pattern: &[u8], dialect: Dialect) -> Pattern<'_> {
    Pattern::parse_as(pattern, dialect).expect("checked when it was subscribed")
}
