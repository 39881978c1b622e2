//! `foca` under this house's rules: our names, our bytes, our chance; its calls gathered as values.
//!
//! `foca` keeps SWIM's books: who is in which state, which refutation is newer, what is still to be
//! spread, the cycle of one probe. It reads no clock. When it is called it says what to send and
//! what to do later ([`Outbox`]); *when* "later" is, [`Clock`] decides.
//!
//! One life of a node is one identity to it, the node is its address: of two lives the greater
//! incarnation wins, and a life that is down stays down.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::num::{NonZeroU8, NonZeroUsize};
use core::time::Duration;

use bytes::{Buf, BufMut};
use foca::{Message, Notification, Runtime, State, Timer};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::id::NodeId;
use mpreg_proto::limits::MEMBER_PACKET_BYTES_MAX;
use mpreg_proto::member::{Condition, Header, LeaveReason, Life, PeerAddress, Record, Saying};

use super::Timing;
use crate::rng::Rng;
use crate::time::Instant;

pub(super) type Swim = foca::Foca<Identity, Wire, Rng, foca::NoCustomBroadcast>;

/// A life, and what travels with it. Only the life is compared.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) life: Life,
    /// Absent where only a name is needed: whom a packet is for, who is down.
    pub(super) address: Option<PeerAddress>,
    /// With a state of `Down`: it said goodbye.
    pub(super) left: Option<LeaveReason>,
}

impl Identity {
    pub(super) fn named(life: Life) -> Self {
        Self { life, address: None, left: None }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.life == other.life
    }
}

impl Eq for Identity {}

impl foca::Identity for Identity {
    type Addr = NodeId;

    /// A greater incarnation is persisted before it is used, so it comes from outside.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeId {
        self.life.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        adversary.life.incarnation < self.life.incarnation
    }
}

impl rand_core::TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.draw().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

/// Most headers and records are shorter.
pub(super) const BYTES_USUAL: usize = 128;

/// The bytes of `mpreg_proto::member`.
pub(super) struct Wire;

impl foca::Codec<Identity> for Wire {
    type Error = ErrorCode;

    fn encode_header(
        &mut self,
        header: &foca::Header<Identity>,
        buf: impl BufMut,
    ) -> Result<(), ErrorCode> {
        let address = header.src.address.clone().expect("a node knows its own address");
        let header = Header {
            source: header.src.life,
            refutation: header.src_incarnation,
            address,
            target: header.dst.life,
            saying: said(&header.message),
        };
        let mut bytes = Vec::with_capacity(BYTES_USUAL);
        header.put(&mut bytes);
        put(&bytes, buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<foca::Header<Identity>, ErrorCode> {
        let header = take(&mut buf, Header::take)?;
        Ok(foca::Header {
            src: Identity { life: header.source, address: Some(header.address), left: None },
            src_incarnation: header.refutation,
            dst: Identity::named(header.target),
            message: message(header.saying),
        })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Identity>,
        buf: impl BufMut,
    ) -> Result<(), ErrorCode> {
        let mut bytes = Vec::with_capacity(BYTES_USUAL);
        record(member).put(&mut bytes);
        put(&bytes, buf)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<foca::Member<Identity>, ErrorCode> {
        take(&mut buf, Record::take).map(member)
    }
}

/// All or nothing.
fn put(bytes: &[u8], mut buf: impl BufMut) -> Result<(), ErrorCode> {
    if buf.remaining_mut() < bytes.len() {
        return Err(ErrorCode::FrameTooLarge);
    }
    buf.put_slice(bytes);
    Ok(())
}

/// Reads from a buffer that is one slice.
fn take<T>(
    buf: &mut impl Buf,
    read: impl FnOnce(&mut &[u8]) -> Result<T, ErrorCode>,
) -> Result<T, ErrorCode> {
    let mut rest = buf.chunk();
    let whole = rest.len();
    let value = read(&mut rest)?;
    let read = whole - rest.len();
    buf.advance(read);
    Ok(value)
}

pub(super) fn record(member: &foca::Member<Identity>) -> Record {
    let id = member.id();
    let (condition, address) = match (member.state(), id.left) {
        (State::Alive, _) => (Condition::Alive, id.address.clone()),
        (State::Suspect, _) => (Condition::Suspect, id.address.clone()),
        (State::Down, None) => (Condition::Down, None),
        (State::Down, Some(reason)) => (Condition::Left(reason), None),
    };
    Record { life: id.life, refutation: member.incarnation(), condition, address }
}

pub(super) fn member(record: Record) -> foca::Member<Identity> {
    let (state, left) = match record.condition {
        Condition::Alive => (State::Alive, None),
        Condition::Suspect => (State::Suspect, None),
        Condition::Down => (State::Down, None),
        Condition::Left(reason) => (State::Down, Some(reason)),
    };
    let id = Identity { life: record.life, address: record.address, left };
    foca::Member::new(id, record.refutation, state)
}

fn said(message: &Message<Identity>) -> Saying {
    match message {
        Message::Ping(probe) => Saying::Ping { probe: *probe },
        Message::Ack(probe) => Saying::Ack { probe: *probe },
        Message::PingReq { target, probe_number } => {
            Saying::PingRequest { suspect: target.life, probe: *probe_number }
        }
        Message::IndirectPing { origin, probe_number } => {
            Saying::IndirectPing { asker: origin.life, probe: *probe_number }
        }
        Message::IndirectAck { target, probe_number } => {
            Saying::IndirectAck { asker: target.life, probe: *probe_number }
        }
        Message::ForwardedAck { origin, probe_number } => {
            Saying::ForwardedAck { suspect: origin.life, probe: *probe_number }
        }
        Message::Announce => Saying::Announce,
        Message::Feed => Saying::Feed,
        Message::Gossip => Saying::Gossip,
        Message::TurnUndead => Saying::Undead,
        Message::Broadcast => unreachable!("there are no custom broadcasts"),
    }
}

fn message(saying: Saying) -> Message<Identity> {
    match saying {
        Saying::Ping { probe } => Message::Ping(probe),
        Saying::Ack { probe } => Message::Ack(probe),
        Saying::PingRequest { suspect, probe } => {
            Message::PingReq { target: Identity::named(suspect), probe_number: probe }
        }
        Saying::IndirectPing { asker, probe } => {
            Message::IndirectPing { origin: Identity::named(asker), probe_number: probe }
        }
        Saying::IndirectAck { asker, probe } => {
            Message::IndirectAck { target: Identity::named(asker), probe_number: probe }
        }
        Saying::ForwardedAck { suspect, probe } => {
            Message::ForwardedAck { origin: Identity::named(suspect), probe_number: probe }
        }
        Saying::Announce => Message::Announce,
        Saying::Feed => Message::Feed,
        Saying::Gossip => Message::Gossip,
        Saying::Undead => Message::TurnUndead,
    }
}

pub(super) fn config(timing: &Timing) -> foca::Config {
    let count = |n: u8| NonZeroUsize::from(NonZeroU8::new(n).expect("timing was checked"));
    foca::Config {
        probe_period: timing.probe_period,
        probe_rtt: timing.probe_timeout,
        num_indirect_probes: count(timing.indirect_probes),
        max_transmissions: NonZeroU8::new(timing.transmissions).expect("timing was checked"),
        // Suspicions are timed by the roster, which stretches them.
        suspect_to_down_after: timing.suspicion,
        // The roster says when a life may be forgotten.
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(MEMBER_PACKET_BYTES_MAX).expect("it is not zero"),
        notify_down_members: true,
        periodic_announce: Some(foca::PeriodicParams {
            frequency: timing.announce_period,
            num_members: NonZeroUsize::MIN,
        }),
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(foca::PeriodicParams {
            frequency: timing.gossip_period,
            num_members: count(timing.gossip_fanout),
        }),
    }
}

/// What is to be done later. There is at most one of each kind that matters: the probe and periodic
/// ones renew themselves, and when they are renewed for another reason the old one is void.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// In the order they are done when due together: an indirect probe before the probe ends.
    slots: [Option<(Instant, Timer<Identity>)>; 4],
    /// Gossip without news is no packet, and nothing to wake for.
    has_news: bool,
}

const INDIRECT_PROBE: usize = 0;
const PROBE: usize = 1;
const GOSSIP: usize = 2;
const ANNOUNCE: usize = 3;

impl Clock {
    pub(super) fn next(&self) -> Option<Instant> {
        let slots = self.slots.iter().enumerate();
        let awake = slots.filter(|(slot, _)| *slot != GOSSIP || self.has_news);
        awake.filter_map(|(_, timer)| timer.as_ref().map(|(at, _)| *at)).min()
    }

    /// The earliest that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer<Identity>> {
        let next = self.next().filter(|at| *at <= now)?;
        let slot =
            self.slots.iter_mut().find(|slot| slot.as_ref().is_some_and(|(at, _)| *at == next));
        slot.and_then(Option::take).map(|(_, timer)| timer)
    }

    /// Whether there is something to gossip. What comes up is told at the next of the moments that are
    /// a period apart.
    pub(super) fn set_news(&mut self, has_news: bool, now: Instant, period: Duration) {
        if let Some((at, _)) = &mut self.slots[GOSSIP]
            && !self.has_news
            && has_news
            && *at <= now
        {
            let missed = now.since(*at).as_nanos() / period.as_nanos().max(1);
            *at = *at + period * u32::try_from(missed + 1).unwrap_or(u32::MAX);
        }
        self.has_news = has_news;
    }

    /// The probe was answered: nobody else need be asked. `foca` wants to be told all the same.
    pub(super) fn answered(&mut self) {
        let ends = self.slots[PROBE].as_ref().map(|(at, _)| *at);
        if let (Some(ends), Some((at, _))) = (ends, &mut self.slots[INDIRECT_PROBE]) {
            *at = ends.max(*at);
        }
    }

    pub(super) fn postpone(&mut self, by: Duration) {
        self.slots.iter_mut().flatten().for_each(|(at, _)| *at = *at + by);
    }

    fn set(&mut self, timer: Timer<Identity>, at: Instant) {
        let slot = match timer {
            Timer::SendIndirectProbe { .. } => INDIRECT_PROBE,
            Timer::ProbeRandomMember(_) => PROBE,
            Timer::PeriodicGossip(_) => GOSSIP,
            Timer::PeriodicAnnounce(_) => ANNOUNCE,
            Timer::ChangeSuspectToDown { .. } => return,
            Timer::PeriodicAnnounceDown(_) | Timer::RemoveDown(_) => {
                unreachable!("the configuration has them off")
            }
        };
        self.slots[slot] = Some((at, timer));
    }
}

/// One call of `foca`, answered.
pub(super) struct Outbox<'a> {
    pub(super) clock: &'a mut Clock,
    pub(super) packets: &'a mut Vec<(NodeId, Vec<u8>)>,
    pub(super) now: Instant,
    /// What our own probes are stretched by.
    pub(super) stretch: u32,
    pub(super) changed: &'a mut bool,
    /// We were declared down.
    pub(super) defunct: &'a mut bool,
}

impl Runtime<Identity> for Outbox<'_> {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {
                *self.changed = true
            }
            Notification::Defunct => *self.defunct = true,
            Notification::Active | Notification::Idle | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.packets.push((to.life.node, data.into()));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        let is_probe =
            matches!(timer, Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. });
        let after = if is_probe { after * self.stretch } else { after };
        self.clock.set(timer, self.now + after);
    }
}
