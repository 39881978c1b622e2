//! Signs of life: queued by node for each link, and sent together a few times a second.
//!
//! Among up to [`GOSSIP_FULL_FANOUT_MAX`] nodes of a cluster whoever hears one tells all that were not
//! told; where all are linked that is nobody, and the frame says so in one byte. A link that is new, or
//! refused a frame, is told of everyone. Beats that got lost all the same are asked for when half of a
//! lease is over.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mpreg_proto::catalog::{Beat, Beats, Message, Told, mark};
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::{CATALOG_BEATS_MAX, CATALOG_TOLD_MAX};

use super::{Effect, Fact, Gossip, Lane};
use crate::catalog::{Heard, Learned, Speaker};
use crate::limits::{GOSSIP_BEAT_PACE, GOSSIP_FULL_FANOUT_MAX};
use crate::time::Instant;

/// Who else is told of a beat that is queued.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Others {
    /// All nodes of my cluster that I am linked with.
    Mates,
    These(Vec<u32>),
}

impl Gossip {
    pub(super) fn beats_heard(
        &mut self,
        peer: Speaker,
        groups: &[Beats],
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        for Beats { told, beats } in groups {
            for beat in beats {
                self.beat_heard(peer, told, beat, now, out);
            }
        }
    }

    fn beat_heard(
        &mut self,
        peer: Speaker,
        told: &Told,
        beat: &Beat,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let from = peer.node;
        let Some(heard) = self.catalog.learn_beat(beat, peer, now, &mut self.changed) else {
            return out.push(Effect::Fact(Fact::Duplicate { from }));
        };
        let Heard { node, learned } = heard;
        let mut refused = None;
        let (mut lives, mut is_known) = (false, true);
        for (_, learned) in learned {
            is_known &= learned == Learned::Old;
            match learned {
                Learned::Beat => lives = true,
                Learned::Behind(need) => self.ask(need, from, now),
                Learned::Refused(why) => refused = Some(why),
                Learned::Old
                | Learned::Partly
                | Learned::News { .. }
                | Learned::Ended
                | Learned::Outlived(_) => (),
            }
        }
        if lives {
            out.push(Effect::Fact(Fact::Learned { from }));
            self.spread_beat(node, Some(peer), told, now);
        } else if let Some(why) = refused {
            out.push(Effect::Fact(Fact::Refused { from, why }));
        } else if is_known {
            out.push(Effect::Fact(Fact::Duplicate { from }));
        }
    }

    /// Queues that a node lives for all links that were not told, or for some of many.
    pub(super) fn spread_beat(
        &mut self,
        node: NodeId,
        from: Option<Speaker>,
        told: &Told,
        now: Instant,
    ) {
        let own = self.catalog.cluster();
        let is_told = |peer: Speaker| match told {
            Told::Cluster => from.is_some_and(|from| from.cluster == peer.cluster),
            Told::Marks(marks) => marks.contains(&mark(peer.node)),
        };
        let is_target = |peer: &Speaker| {
            from.is_none_or(|from| from.node != peer.node)
                && !is_told(*peer)
                && self.catalog.is_beat_for(node, *peer)
        };
        let awake = self.links.values().filter(|link| link.rests_until.is_none());
        let peers: Vec<Speaker> = awake.map(|link| link.peer).filter(is_target).collect();
        let mates_count = self.mates_count();
        let targets = self.some_of(peers);
        let others = match mates_count <= GOSSIP_FULL_FANOUT_MAX {
            true => Others::Mates,
            false => Others::These(targets.iter().chain([&self.me]).copied().map(mark).collect()),
        };
        for target in targets {
            let Some(link) = self.links.get_mut(&target) else { continue };
            let is_mate = link.peer.cluster == own;
            let others = if is_mate { others.clone() } else { Others::These(Vec::new()) };
            link.beats.insert(node, others);
            self.plan_beats(now);
        }
    }

    /// Tells a link of everyone it may hear of.
    pub(super) fn tell_beats(&mut self, peer: Speaker, now: Instant) {
        let nodes = self.catalog.beats_for(peer);
        let Some(link) = self.links.get_mut(&peer.node) else { return };
        let nobody = Others::These(Vec::new());
        link.beats = nodes.into_iter().map(|node| (node, nobody.clone())).collect();
        self.plan_beats(now);
    }

    /// Asks one peer, drawn anew each time, about those not heard of for long.
    pub(super) fn doubt(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let doubtful = self.catalog.doubtful(now);
        if doubtful.is_empty() || self.links.is_empty() {
            return;
        }
        let count = u32::try_from(self.links.len()).expect("links are few");
        let drawn = self.rng.below(count) as usize;
        let to = *self.links.keys().nth(drawn).expect("it was drawn among them");
        self.send(to, Lane::News, &Message::Doubts(doubtful), out);
    }

    pub(super) fn doubted(&mut self, peer: Speaker, lives: &[u64], now: Instant) {
        let believed = lives.iter().filter_map(|life| self.catalog.believed(*life, peer, now));
        let believed: Vec<NodeId> = believed.collect();
        let Some(link) = self.links.get_mut(&peer.node) else { return };
        if !believed.is_empty() && link.rests_until.is_none() {
            link.beats.extend(believed.into_iter().map(|node| (node, Others::These(Vec::new()))));
            self.plan_beats(now);
        }
    }

    fn plan_beats(&mut self, now: Instant) {
        let at = self.beats_sent_at.map_or(now, |sent| now.max(sent + GOSSIP_BEAT_PACE));
        self.beats_at.get_or_insert(at);
    }

    /// Sends what is queued, if it is time.
    pub(super) fn send_beats(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.beats_at.is_none_or(|at| now < at) {
            return;
        }
        (self.beats_at, self.beats_sent_at) = (None, Some(now));
        let linked = self.told_if_linked();
        let waiting = self.links.values_mut().filter(|link| !link.beats.is_empty());
        let queues: Vec<_> =
            waiting.map(|link| (link.peer.node, core::mem::take(&mut link.beats))).collect();
        for (to, queue) in queues {
            let mut groups: BTreeMap<Others, Vec<Beat>> = BTreeMap::new();
            for (node, others) in queue {
                let beat = self.catalog.last_beat(node, now);
                groups.entry(others).or_default().extend(beat);
            }
            for (others, beats) in groups {
                let told = match others {
                    Others::Mates => linked.clone(),
                    Others::These(marks) => Told::Marks(marks),
                };
                for beats in beats.chunks(CATALOG_BEATS_MAX) {
                    let beats = Beats { told: told.clone(), beats: beats.to_vec() };
                    self.send(to, Lane::News, &Message::Beats([beats].into()), out);
                }
            }
        }
    }

    /// All nodes of my cluster, if I am linked with all that offer anything.
    fn told_if_linked(&self) -> Told {
        let is_linked = |node| self.links.get(&node).is_some_and(|link| link.rests_until.is_none());
        if self.catalog.mates().all(is_linked) {
            return Told::Cluster;
        }
        let own = self.catalog.cluster();
        let mates = self
            .links
            .values()
            .filter(|link| link.rests_until.is_none() && link.peer.cluster == own);
        let marks = mates.map(|link| link.peer.node).chain([self.me]).map(mark);
        Told::Marks(marks.take(CATALOG_TOLD_MAX).collect())
    }
}
