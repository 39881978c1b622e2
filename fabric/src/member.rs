//! Who is in this cluster and alive: SWIM with suspicion, local health and goodbyes.
//!
//! ```text
//!   JOINED --leave--> LEFT (says goodbye, hears nothing more)
//!     |  ^
//!     |  +--renewed-- DEFUNCT: declared down by others, waits for a greater incarnation
//!     +-- down -----------^
//! ```
//!
//! Each probe period one member is pinged, in random order, and the next in the order of ids
//! (`member/watch.rs`). If one does not answer, three others are asked to ping it; then it is
//! suspected, all are told, itself first. It refutes by a greater refutation number, or is down when
//! the suspicion's time is over. A lost link raises a suspicion at once. The books are kept by `foca`
//! (`member/swim.rs`); `member/roster.rs` adds time, and `member/health.rs` doubts about ourselves.
//!
//! What the root machine does:
//! - `Effect::Send { to }` may name any member: where `to` is not linked, the packet is forwarded like
//!   other traffic of the control plane, or dropped. Loss is expected.
//! - `Input::Received { from }` names the node whose packet it is, as its link proved or as a relay
//!   of this cluster says; the packet is refused if it speaks for another.
//! - `LinkUp` is said when the first link with a node stands, `LinkDown` when the last is gone.
//! - `Effect::Renew` asks for an incarnation greater than `above`. It is persisted, then handed over as
//!   `Input::Renewed`; links stay. All that was said under the old one is void.
//! - `MemberUp` with `replaces` means the node goes on, or is back, under a greater incarnation.
//! - `MemberDown` may be said again for the same life when a goodbye is heard after it failed.
//!
//! Invariants:
//! - For each node `MemberUp` and `MemberDown` name incarnations that never fall; a life that was
//!   down is never up again while it is remembered (`Timing::memory`).
//! - After `Leave` nothing is sent but the goodbyes.
//! - Being woken late or stopped for any time makes nobody a suspect: the time does not count.
//! - Who hears nobody condemns nobody until the others, if they live, have condemned it.
//! - At most `MEMBERS_MAX` live members and `GONE_MAX` lives that are over are known.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use foca::Timer;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::{Incarnation, NodeId};
use mpreg_proto::member::{
    Condition, Header, LeaveReason, Life, Packet, PeerAddress, Record, Saying, ShortPacket,
};

use crate::limits::HEALTH_MAX;
use crate::rng::Rng;
use crate::time::Instant;

mod health;
mod receive;
mod roster;
mod suspect;
mod swim;
mod watch;

use health::Health;
use roster::{Look, Roster};
use swim::{BYTES_USUAL, Clock, Identity, Outbox, Swim, Wire};
use watch::Watch;

/// How often, how long, to how many. With the defaults a crash is known to all in less than 1.5 s:
/// 0.2 s until its neighbour pings the dead node, 0.2 s until it is suspected, 0.7 s until it is down,
/// 0.1 s until the news are everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// One random member and the neighbour are probed each period. At 200 ms a node sends 20 packets
    /// of 80 bytes a second.
    pub probe_period: Duration,
    /// Silence after which others are asked to ping. Less than half of the period.
    pub probe_timeout: Duration,
    /// How many others are asked. At least 1.
    pub indirect_probes: u8,
    /// From suspicion to down. TCP sends a segment again after 200 and 400 ms more, so two losses of
    /// one kill nobody.
    pub suspicion: Duration,
    /// How often news are told beside what travels with probes. No news, no packet.
    pub gossip_period: Duration,
    /// To how many each time. At least 1.
    pub gossip_fanout: u8,
    /// How often a node tells the same news. At least 1.
    pub transmissions: u8,
    /// How often one member is asked for all it knows.
    pub announce_period: Duration,
    /// How long a life that is over is remembered: longer than any relay holds a packet.
    pub memory: Duration,
}

impl Timing {
    pub const DEFAULT: Self = Self {
        probe_period: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(80),
        indirect_probes: 3,
        suspicion: Duration::from_millis(700),
        gossip_period: Duration::from_millis(50),
        gossip_fanout: 4,
        transmissions: 12,
        announce_period: Duration::from_secs(10),
        memory: Duration::from_secs(3600),
    };
}

/// A live member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub address: PeerAddress,
}

/// Why a member is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It did not answer, here or elsewhere.
    Failed,
    /// It said goodbye.
    Left(LeaveReason),
}

/// How the last link with a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// One of the two closed it on purpose.
    Closed,
    /// Reset, timeout, end of stream without a word.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Received {
        from: NodeId,
        packet: Vec<u8>,
    },
    /// The first link with this node stands; its hello named this incarnation.
    LinkUp {
        node: NodeId,
        incarnation: Incarnation,
    },
    /// The last link with this node is gone.
    LinkDown {
        node: NodeId,
        end: LinkEnd,
    },
    /// The greater incarnation asked for is persisted.
    Renewed {
        incarnation: Incarnation,
    },
    /// Say goodbye.
    Leave {
        reason: LeaveReason,
    },
    /// The deadline came, or the shell looks in for another reason.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        packet: Vec<u8>,
    },
    /// `replaces` is the live incarnation it takes the place of.
    MemberUp {
        member: Member,
        replaces: Option<Incarnation>,
    },
    MemberDown {
        node: NodeId,
        incarnation: Incarnation,
        why: Why,
    },
    /// Others hold this life for over: persist an incarnation greater than `above`, then `Renewed`.
    Renew {
        above: Incarnation,
    },
    /// Goodbyes are in the effects before this one; links may be closed when they are sent.
    Left,
    Fact(Fact),
}

/// What is worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Suspected {
        node: NodeId,
    },
    Refuted {
        node: NodeId,
    },
    /// We were suspected and said otherwise.
    SelfRefuted {
        told_by: NodeId,
    },
    WokeLate {
        by: Duration,
    },
    Rejected {
        from: NodeId,
        why: Rejection,
    },
}

/// Why a packet, or a record in one, was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    Malformed(ErrorCode),
    /// It speaks for another node than sent it.
    Impostor,
    /// It is of a node of another cluster.
    Foreign,
    /// It is about an earlier life of a member.
    Outlived,
    /// It is short, and its source is not known here, or not any more.
    Stranger,
    /// It contradicts the protocol: asks us to ping ourselves.
    Nonsense,
    /// It names a member and there are `MEMBERS_MAX`.
    Full,
    /// It says we already had the last possible incarnation.
    LastIncarnation,
}

impl Rejection {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed(code) => code.word(),
            Self::Impostor => "impostor",
            Self::Foreign => "foreign",
            Self::Outlived => "outlived",
            Self::Stranger => "stranger",
            Self::Nonsense => "nonsense",
            Self::Full => "members_full",
            Self::LastIncarnation => "last_incarnation",
        }
    }
}

pub struct Membership {
    swim: Swim,
    clock: Clock,
    roster: Roster,
    health: Health,
    watch: Watch,
    rng: Rng,
    /// Nodes linked with, and the incarnation their hello named.
    links: BTreeMap<NodeId, Incarnation>,
    /// Linked nodes that answered this life of ours, and so know it and where it is.
    acquainted: BTreeSet<Life>,
    life: Life,
    address: PeerAddress,
    /// Our own refutation number as last sent.
    refutation: u16,
    /// Asked for an incarnation above this.
    renewing: Option<Incarnation>,
    has_left: bool,
    timing: Timing,
    /// To be sent: by `foca`, and by us beside it.
    packets: Vec<(NodeId, Vec<u8>)>,
    own_packets: Vec<(NodeId, Vec<u8>)>,
    is_changed: bool,
    /// What `deadline` answers. It moves with inputs only.
    due: Option<(Instant, &'static str)>,
}

impl Membership {
    pub fn new(life: Life, address: PeerAddress, timing: Timing, rng: Rng) -> Self {
        assert!(timing.probe_timeout * 2 < timing.probe_period, "the helpers need time to answer");
        let identity = Identity { life, address: Some(address.clone()), left: None };
        Self {
            swim: Swim::new(identity, swim::config(&timing), rng.stream(1), Wire),
            clock: Clock::default(),
            roster: Roster::default(),
            health: Health::new(),
            watch: Watch::default(),
            rng: rng.stream(2),
            links: BTreeMap::new(),
            acquainted: BTreeSet::new(),
            life,
            address,
            refutation: 0,
            renewing: None,
            has_left: false,
            timing,
            packets: Vec::new(),
            own_packets: Vec::new(),
            is_changed: false,
            due: None,
        }
    }

    /// This node's own life.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Live members but this node, suspects included.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.roster.members()
    }

    pub fn live_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.roster.live_incarnation(node)
    }

    /// 0: well. `HEALTH_MAX`: this node hears nobody, or is always late.
    pub fn health(&self) -> u32 {
        self.health.score()
    }

    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.due
    }

    pub fn handle(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        if self.has_left {
            return;
        }
        let was_late = self.forgive_lateness(now, out);
        if was_late || self.has_due(now) {
            self.run_due(now, out);
        }
        match input {
            Input::Received { from, packet } => self.received(from, packet, now, out),
            Input::LinkUp { node, incarnation } => {
                self.links.insert(node, incarnation);
                self.announce(Life { node, incarnation }, now, out);
            }
            Input::LinkDown { node, end } => self.link_down(node, end, now, out),
            Input::Renewed { incarnation } => self.renewed(incarnation, now, out),
            Input::Leave { reason } => self.leave(reason, out),
            Input::Tick => {}
        }
        self.flush(out);
        let has_news = 0 < self.swim.updates_backlog();
        self.clock.set_news(has_news, now, self.timing.gossip_period);
        self.due = self.next_due();
    }

    fn next_due(&self) -> Option<(Instant, &'static str)> {
        if self.has_left {
            return None;
        }
        let probe = self.clock.next().map(|at| (at, "probe or gossip"));
        let watch = self.watch.next().map(|at| (at, "neighbour"));
        let roster = self.roster.next().map(|at| (at, "suspicion or memory ends"));
        [probe, watch, roster].into_iter().flatten().min()
    }

    fn has_due(&self, now: Instant) -> bool {
        let is_time = self.due.is_some_and(|(at, _why)| at <= now);
        is_time || self.is_watch_wanted() || self.roster.has_excess()
    }

    /// We were not running: what did not come meanwhile may be here and unread.
    fn forgive_lateness(&mut self, now: Instant, out: &mut Vec<Effect>) -> bool {
        let Some((due, _why)) = self.due else { return false };
        let by = now.since(due);
        let is_late = self.timing.probe_timeout <= by;
        if is_late {
            self.clock.postpone(by);
            self.watch.postpone(by);
            self.roster.postpone(by);
            self.health.worsen();
            out.push(Effect::Fact(Fact::WokeLate { by }));
        }
        is_late
    }

    fn run_due(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(timer) = self.clock.take_due(now) {
            // The stretch of a suspicion that begins now is not that probe's own fault.
            let stretch = self.health.stretch();
            let is_probe = matches!(timer, Timer::ProbeRandomMember(_));
            if is_probe {
                self.health.judge(now, self.timing.suspicion);
                self.is_changed = true;
            }
            let done = self.call(now, out, |swim, outbox| swim.handle_timer(timer, outbox));
            match done {
                // The next probe is set even where this one finds that nobody is left.
                Ok(()) | Err(foca::Error::NotConnected) => (),
                Err(error) => panic!("timers come once and in order: {error}"),
            }
            self.settle(stretch, &[], now, out);
            if is_probe {
                self.accuse_suspects();
            }
        }
        self.watch_neighbour(now, out);
        let condemned = self.roster.condemned(now, self.health.heard_at());
        if !condemned.is_empty() {
            self.tell_all(condemned, now, out);
        }
        for identity in self.roster.take_forgotten(now) {
            let timer = Timer::RemoveDown(identity);
            let done = self.call(now, out, |swim, outbox| swim.handle_timer(timer, outbox));
            done.expect("forgetting cannot fail");
        }
    }

    fn link_down(&mut self, node: NodeId, end: LinkEnd, now: Instant, out: &mut Vec<Effect>) {
        self.links.remove(&node);
        self.acquainted.retain(|life| life.node != node);
        let incarnation = self.roster.live_incarnation(node).filter(|_| end == LinkEnd::Lost);
        if let Some(incarnation) = incarnation {
            self.suspect(Life { node, incarnation }, now, out);
        }
    }

    fn renewed(&mut self, incarnation: Incarnation, now: Instant, out: &mut Vec<Effect>) {
        // Another was asked for while this one was on its way, and comes behind it.
        if incarnation <= self.life.incarnation
            || self.renewing.is_some_and(|above| incarnation <= above)
        {
            return;
        }
        self.renewing = None;
        self.life.incarnation = incarnation;
        self.refutation = 0;
        self.acquainted.clear();
        let address = Some(self.address.clone());
        let identity = Identity { life: self.life, address, left: None };
        let done = self.call(now, out, |swim, mut outbox| {
            swim.change_identity(identity, &mut outbox)?;
            // Connected again, if anybody is there.
            swim.apply_many(core::iter::empty(), false, outbox)
        });
        done.expect("the incarnation is greater");
        let links: Vec<Life> =
            self.links.iter().map(|(&node, &incarnation)| Life { node, incarnation }).collect();
        links.into_iter().for_each(|life| self.announce(life, now, out));
    }

    fn leave(&mut self, reason: LeaveReason, out: &mut Vec<Effect>) {
        let record = Record {
            life: self.life,
            refutation: self.refutation,
            condition: Condition::Left(reason),
            address: None,
        };
        let links: Vec<Life> = self
            .links
            .iter()
            .map(|(&node, &at_hello)| {
                let incarnation = self.roster.live_incarnation(node).unwrap_or(at_hello);
                Life { node, incarnation }
            })
            .collect();
        for life in links {
            self.push(life, Saying::Gossip, alloc::vec![record.clone()]);
        }
        self.flush(out);
        self.has_left = true;
        out.push(Effect::Left);
    }

    fn announce(&mut self, to: Life, now: Instant, out: &mut Vec<Effect>) {
        let to = Identity::named(to);
        let done = self.call(now, out, |swim, outbox| swim.announce(to, outbox));
        done.expect("an announcement fits a packet");
    }

    fn renew(&mut self, above: Incarnation, out: &mut Vec<Effect>) {
        if self.renewing.is_none_or(|asked| asked < above) {
            self.renewing = Some(above);
            out.push(Effect::Renew { above });
        }
    }

    /// A packet of our own making.
    fn push(&mut self, target: Life, saying: Saying, records: Vec<Record>) {
        let header = Header {
            source: self.life,
            refutation: self.refutation,
            address: self.address.clone(),
            target,
            saying,
        };
        let mut bytes = Vec::with_capacity(BYTES_USUAL);
        Packet { header, records }.put(&mut bytes);
        self.own_packets.push((target.node, bytes));
    }

    fn call(
        &mut self,
        now: Instant,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Swim, Outbox<'_>) -> Result<(), foca::Error>,
    ) -> Result<(), foca::Error> {
        let (mut changed, mut defunct) = (false, false);
        let outbox = Outbox {
            clock: &mut self.clock,
            packets: &mut self.packets,
            now,
            stretch: self.health.stretch(),
            changed: &mut changed,
            defunct: &mut defunct,
        };
        let done = act(&mut self.swim, outbox);
        self.is_changed |= changed;
        if defunct {
            self.renew(self.life.incarnation, out);
        }
        done
    }

    /// Says what changed.
    fn settle(
        &mut self,
        stretch: u32,
        goodbyes: &[(Life, LeaveReason)],
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if !core::mem::take(&mut self.is_changed) {
            return;
        }
        let suspicion = self.timing.suspicion * stretch;
        let patience = self.timing.suspicion * (1 + HEALTH_MAX);
        let look = Look { now, suspicion, patience, memory: self.timing.memory, goodbyes };
        let others = self.swim.iter_membership_state();
        let others = others.filter(|member| member.id().life.node != self.life.node);
        others.for_each(|member| self.roster.note(member, &look, out));
    }

    /// Reads what `foca` is about to send: which probe is under way, what we say of ourselves.
    fn note_sent(&mut self) {
        for (_, bytes) in &self.packets {
            let header = Header::take(&mut &bytes[..]).expect("we wrote it");
            if header.source == self.life {
                self.refutation = self.refutation.max(header.refutation);
            }
            self.health.sent(&header);
        }
    }

    fn flush(&mut self, out: &mut Vec<Effect>) {
        self.note_sent();
        let packets = self.packets.drain(..).chain(self.own_packets.drain(..));
        let acquainted = &self.acquainted;
        out.extend(packets.map(|(to, packet)| {
            let packet = short(&packet, acquainted).unwrap_or(packet);
            Effect::Send { to, packet }
        }));
    }
}

/// A packet as it is said to who knows its source.
fn short(packet: &[u8], acquainted: &BTreeSet<Life>) -> Option<Vec<u8>> {
    let target = Header::take(&mut &packet[..]).expect("we wrote it").target;
    let packet =
        acquainted.contains(&target).then(|| Packet::parse(packet).expect("we wrote it"))?;
    let mut bytes = Vec::new();
    ShortPacket::of(&packet)?.put(&mut bytes);
    Some(bytes)
}

#[cfg(test)]
mod tests;
