//! The hot path: where a topic's messages go.

use alloc::vec::Vec;

use bytes::Bytes;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Overload;
use mpreg_proto::id::{ShardIx, Sid};
use mpreg_proto::topic::{Dialect, Topic};

use super::{Effect, Shard};
use crate::forward::{
    Choice, Group, Held, Member, Publisher, Remote, RouteIx, Source, Target, Targets,
};
use crate::handoff::{Handoff, Wanted};
use crate::id::{SessionIx, SubIx};
use crate::session::Protocol;

/// Set on index values of grouped subscriptions.
pub(super) const GROUPED: u32 = 1 << 31;

/// Where a topic's messages go. Good until the shard is next changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To [`Shard::targets`] of this route.
    Known(Place),
    /// Nowhere yet: give them to [`Shard::hold`], they come back with [`Effect::Forward`].
    Asking(RouteIx),
    /// Nowhere: not a topic, or not one clients may publish to.
    Refused(ErrorCode),
}

/// Where the targets of a route lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Remembered(RouteIx),
    Scratch,
}

impl Shard {
    /// Where messages go that a client of this shard publishes to `topic`. The flag says whether
    /// the route was remembered.
    #[inline]
    pub fn route(
        &mut self,
        topic: &[u8],
        dialect: Dialect,
        out: &mut Vec<Effect>,
    ) -> (Route, bool) {
        let hash = self.hash(topic);
        if let Some(ix) = self.routes.find(topic, hash, self.stamp) {
            let entry = self.routes.entry(ix);
            if entry.dialect != dialect && dialect == Dialect::Native {
                return (Route::Refused(ErrorCode::BadTopic), true);
            }
            match entry.remote {
                Remote::Known => return (Route::Known(Place::Remembered(ix)), true),
                Remote::Asking(_) => return (Route::Asking(ix), true),
                Remote::Unasked => self.routes.remove(ix),
            }
        }
        (self.route_anew(topic, dialect, hash, out), false)
    }

    /// Where messages go that another shard sent here: sessions of this shard alone.
    pub fn route_here(&mut self, topic: &[u8]) -> Place {
        let hash = self.hash(topic);
        if let Some(ix) = self.routes.find(topic, hash, self.stamp)
            && !matches!(self.routes.entry(ix).remote, Remote::Asking(_))
        {
            return Place::Remembered(ix);
        }
        let Ok(topic) = Topic::parse_as(topic, Dialect::Nats) else {
            self.scratch = Targets::default();
            return Place::Scratch;
        };
        let targets = self.match_here(topic);
        let asks = self.routes.find(topic.as_bytes(), hash, self.stamp).is_some();
        if asks || !self.routes.is_seen_again(hash) {
            self.scratch = targets;
            return Place::Scratch;
        }
        let topic = topic.as_bytes();
        Place::Remembered(self.routes.insert(topic, hash, self.stamp, targets, Remote::Unasked))
    }

    #[inline]
    pub fn targets(&self, place: Place) -> &Targets {
        match place {
            Place::Remembered(ix) => &self.routes.entry(ix).targets,
            Place::Scratch => &self.scratch,
        }
    }

    /// Keeps messages until the route that asks is answered. `publisher` is `None` if it has ended,
    /// as it may when messages come back and are held again.
    pub fn hold(&mut self, ix: RouteIx, publisher: Option<SessionIx>, frames: Bytes) {
        let publisher = publisher
            .and_then(|session| self.live(session).map(|at| Publisher { session, id: at.id }));
        self.hold_from(ix, Source::Client(publisher), frames);
    }

    /// The same for messages that no client here published.
    pub fn hold_from(&mut self, ix: RouteIx, source: Source, frames: Bytes) {
        if let Remote::Asking(held) = &mut self.routes.entry_mut(ix).remote {
            self.held_bytes += frames.len();
            held.push(Held { source, frames });
        }
    }

    /// The publisher's slot, if it is still that publisher's.
    pub fn present(&mut self, publisher: Publisher) -> Option<SessionIx> {
        let Publisher { session, id } = publisher;
        self.live(session).is_some_and(|at| at.id == id).then_some(session)
    }

    /// Which member of a group of `place` gets a message, of those here that may have it and of all
    /// on other shards.
    pub fn choose(
        &mut self,
        place: Place,
        group: usize,
        may: impl Fn(&Member) -> bool,
    ) -> Option<Choice> {
        let drawn = self.rng.draw();
        self.targets(place).groups.get(group)?.choose_who(drawn, may)
    }

    /// Who else of a group gets a message that the members on the shards `tried` may not have. Known
    /// as long as the route is.
    pub fn choose_again(
        &mut self,
        topic: &[u8],
        group: &[u8],
        tried: u64,
        may: impl Fn(&Member) -> bool,
        out: &mut Vec<Effect>,
    ) -> Option<Choice> {
        let (Route::Known(place), _) = self.route(topic, Dialect::Nats, out) else { return None };
        let drawn = self.rng.draw();
        let groups = &self.targets(place).groups;
        groups.iter().find(|known| known.name == group)?.choose_again(drawn, tried, may)
    }

    /// A member on this shard of the group of this name, for a message another shard sent.
    pub fn choose_here(
        &mut self,
        place: Place,
        group: &[u8],
        may: impl Fn(&Member) -> bool,
    ) -> Option<Member> {
        let drawn = self.rng.draw();
        let groups = &self.targets(place).groups;
        groups.iter().find(|known| known.name == group)?.choose_here(drawn, may)
    }

    /// Messages were queued for every ungrouped target of a route but those of `skipped`: a publisher
    /// that wants no echo, and whoever may not have them. Ends subscriptions that have had their
    /// number, which drops the route.
    #[inline]
    pub fn delivered(
        &mut self,
        place: Place,
        messages: u32,
        skipped: &[SessionIx],
        out: &mut Vec<Effect>,
    ) {
        let targets = match place {
            Place::Remembered(ix) => &self.routes.entry(ix).targets,
            Place::Scratch => &self.scratch,
        };
        for sub in &targets.counted {
            let sub = &mut self.subs[sub.0 as usize];
            if !skipped.contains(&sub.session) {
                sub.delivered = sub.delivered.saturating_add(messages);
            }
        }
        if targets.has_limit {
            let counted = targets.counted.clone();
            counted.into_iter().for_each(|sub| self.end_if_enough(sub, out));
        }
    }

    /// One message was queued for a member of a group.
    pub fn delivered_to(&mut self, member: SubIx, out: &mut Vec<Effect>) {
        let sub = &mut self.subs[member.0 as usize];
        sub.delivered = sub.delivered.saturating_add(1);
        self.end_if_enough(member, out);
    }

    /// The subscription's number, to address a group member.
    pub fn sid(&self, member: SubIx) -> Sid {
        self.subs[member.0 as usize].sid
    }

    /// A subscription of this very session that `topic` matches, grouped or not.
    pub fn own_subscription(&mut self, session: SessionIx, topic: &[u8]) -> Option<Sid> {
        let topic = Topic::parse_as(topic, Dialect::Nats).ok()?;
        let mut found = None;
        self.index.each_match(topic, &mut |value| {
            let sub = &self.subs[(value & !GROUPED) as usize];
            if sub.session == session {
                found = Some(sub.sid);
            }
        });
        found
    }

    /// All subscriptions of this very session that `topic` matches, in the order of their numbers.
    pub fn own_members(&mut self, session: SessionIx, topic: &[u8]) -> Vec<Member> {
        let Ok(topic) = Topic::parse_as(topic, Dialect::Nats) else { return Vec::new() };
        let mut found = Vec::new();
        self.index.each_match(topic, &mut |value| {
            let subscription = SubIx(value & !GROUPED);
            let sub = &self.subs[subscription.0 as usize];
            if sub.session == session {
                found.push((sub.sid, Member { session, subscription, overload: sub.overload }));
            }
        });
        found.sort_unstable_by_key(|(sid, _)| *sid);
        found.into_iter().map(|(_, member)| member).collect()
    }

    fn end_if_enough(&mut self, ix: SubIx, out: &mut Vec<Effect>) {
        let sub = &self.subs[ix.0 as usize];
        if sub.limit != 0 && sub.limit <= sub.delivered {
            let (session, sid) = (sub.session, sub.sid);
            self.end_subscription(session, sid, out);
        }
    }

    /// Matches a topic that has no remembered route.
    fn route_anew(
        &mut self,
        topic: &[u8],
        dialect: Dialect,
        hash: u64,
        out: &mut Vec<Effect>,
    ) -> Route {
        let topic = match Topic::parse_as(topic, dialect) {
            Ok(topic) if topic.is_reserved() => return Route::Refused(ErrorCode::ReservedTopic),
            Ok(topic) => topic,
            Err(code) => return Route::Refused(code),
        };
        let stamp = self.stamp;
        let Some(wanted) = self.wanted_elsewhere(topic, hash) else {
            let asking = Remote::Asking(Vec::new());
            let targets = Targets::default();
            let ix = self.routes.insert(topic.as_bytes(), hash, stamp, targets, asking);
            let ask = Handoff::Ask { topic: Bytes::copy_from_slice(topic.as_bytes()) };
            out.push(Effect::Handoff { to: self.owner(hash), handoff: ask });
            return Route::Asking(ix);
        };
        let mut targets = self.match_here(topic);
        targets.add_remote(&wanted, self.settings.me);
        targets.audience = self.audience(topic, &targets);
        if !self.routes.is_seen_again(hash) {
            self.scratch = targets;
            return Route::Known(Place::Scratch);
        }
        let topic = topic.as_bytes();
        let ix = self.routes.insert(topic, hash, stamp, targets, Remote::Known);
        Route::Known(Place::Remembered(ix))
    }

    /// What other shards want of a topic, if that is known here.
    fn wanted_elsewhere(&mut self, topic: Topic<'_>, hash: u64) -> Option<Wanted> {
        if self.settings.shards_count == 1 {
            return Some(Wanted::default());
        }
        let owner = self.owner(hash);
        if owner == self.settings.me {
            return Some(self.interest.wanted(topic));
        }
        let bucket = self.interest.bucket_of(hash);
        let may_be_literal = self.filled[owner.index()][bucket / 64] >> (bucket % 64) & 1 != 0;
        // Wildcards are known everywhere, and the owner's bucket holds nothing else.
        (!may_be_literal).then(|| self.interest.wanted(topic))
    }

    pub(super) fn answer(&mut self, from: ShardIx, topic: Bytes, out: &mut Vec<Effect>) {
        let wanted = match Topic::parse_as(&topic, Dialect::Nats) {
            Ok(topic) => self.interest.wanted(topic),
            Err(_) => Wanted::default(),
        };
        out.push(Effect::Handoff { to: from, handoff: Handoff::Answer { topic, wanted } });
    }

    pub(super) fn answered(&mut self, topic: &[u8], wanted: &Wanted, out: &mut Vec<Effect>) {
        let hash = self.hash(topic);
        let Some(ix) = self.routes.find(topic, hash, self.stamp) else { return };
        if !matches!(self.routes.entry(ix).remote, Remote::Asking(_)) {
            return;
        }
        let Ok(parsed) = Topic::parse_as(topic, Dialect::Nats) else { return };
        let mut targets = self.match_here(parsed);
        targets.add_remote(wanted, self.settings.me);
        targets.audience = self.audience(parsed, &targets);
        let mut held = self.routes.answer(ix, targets, self.stamp);
        for Held { source, frames } in &mut held {
            self.held_bytes -= frames.len();
            if let Source::Client(publisher) = source {
                let is_there =
                    |was: &Publisher| self.live(was.session).is_some_and(|is| is.id == was.id);
                *publisher = publisher.filter(is_there);
            }
        }
        if !held.is_empty() {
            out.push(Effect::Forward { held });
        }
    }

    /// Sessions and group members of this shard that match.
    pub(super) fn match_here(&mut self, topic: Topic<'_>) -> Targets {
        let mut targets = Targets::default();
        let Targets { plain, counted, groups, has_limit, .. } = &mut targets;
        let sessions = &self.sessions;
        self.index.each_match(topic, &mut |value| {
            let ix = SubIx(value & !GROUPED);
            let sub = &self.subs[ix.0 as usize];
            let (session, overload) = (sub.session, sub.overload);
            *has_limit |= sub.limit != 0;
            if value & GROUPED == 0 {
                let at = sessions[session.0 as usize].as_ref();
                let per_subscription = at.is_some_and(|at| at.protocol == Protocol::Nats);
                let sid = per_subscription.then_some(sub.sid);
                plain.push(Target { session, sid, overload });
                counted.push(ix);
                return;
            }
            let member = Member { session, subscription: ix, overload };
            let name = &self.groups[&ix];
            match groups.iter_mut().find(|known| known.name == name) {
                Some(group) => group.members.push(member),
                None => groups.push(Group {
                    name: name.clone(),
                    members: alloc::vec![member],
                    remote: Vec::new(),
                }),
            }
        });
        plain.sort_unstable_by_key(|to| (to.session, to.sid, strictness(to.overload)));
        plain.dedup_by_key(|to| (to.session, to.sid));
        plain.shrink_to_fit();
        counted.shrink_to_fit();
        targets
    }
}

/// Lower is stricter: what a session with several matching subscriptions asked for is decided by
/// the strictest of them.
fn strictness(overload: Overload) -> u8 {
    match overload {
        Overload::Disconnect => 0,
        Overload::DropOldest => 1,
        Overload::DropNewest => 2,
    }
}
