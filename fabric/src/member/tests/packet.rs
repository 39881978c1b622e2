//! One machine and packets made by hand: liars, strangers, floods.

use alloc::vec;

use super::network::{address, index, ms, node};
use super::*;
use crate::limits::{GONE_MAX, MEMBERS_MAX};

fn life(index: u32, incarnation: u64) -> Life {
    Life { node: node(index), incarnation: Incarnation(incarnation) }
}

fn machine() -> Membership {
    Membership::new(life(0, 1), address(0), Timing::DEFAULT, Rng::from_seed(1))
}

fn record(index: u32, incarnation: u64, condition: Condition) -> Record {
    let is_live = matches!(condition, Condition::Alive | Condition::Suspect);
    let address = is_live.then(|| address(index % 250));
    Record { life: life(index, incarnation), refutation: 0, condition, address }
}

fn gossip(from: Life, records: Vec<Record>) -> Vec<u8> {
    let header = Header {
        source: from,
        refutation: 0,
        address: address(1),
        target: life(0, 1),
        saying: Saying::Gossip,
    };
    let mut bytes = Vec::new();
    Packet { header, records }.put(&mut bytes);
    bytes
}

fn hear(machine: &mut Membership, packet: Vec<u8>, now: Instant) -> Vec<Effect> {
    let mut out = Vec::new();
    machine.handle(Input::Received { from: node(1), packet }, now, &mut out);
    out
}

fn rejected(effects: &[Effect]) -> Vec<Rejection> {
    let why = |effect: &Effect| match effect {
        Effect::Fact(Fact::Rejected { from, why }) if *from == node(1) => Some(*why),
        Effect::Fact(_)
        | Effect::Send { .. }
        | Effect::MemberUp { .. }
        | Effect::MemberDown { .. }
        | Effect::Renew { .. }
        | Effect::Left => None,
    };
    effects.iter().filter_map(why).collect()
}

/// Short packets of node 1, in this incarnation, to this one.
fn short(incarnation: u64, saying: Saying) -> Vec<u8> {
    let (source, target) = (Incarnation(incarnation), Incarnation(1));
    let short = ShortPacket { refutation: 0, source, target, saying, records: Vec::new() };
    let mut bytes = Vec::new();
    short.put(&mut bytes);
    bytes
}

/// What is sent to node 1: what it says, and whether it is short.
fn said(effects: &[Effect]) -> Vec<(Saying, bool)> {
    let packets = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, packet } if *to == node(1) => Some(packet),
        Effect::Send { .. }
        | Effect::MemberUp { .. }
        | Effect::MemberDown { .. }
        | Effect::Renew { .. }
        | Effect::Left
        | Effect::Fact(_) => None,
    });
    packets
        .map(|packet| match ShortPacket::parse(packet) {
            Ok(short) => (short.saying, true),
            Err(_) => (Packet::parse(packet).unwrap().header.saying, false),
        })
        .collect()
}

#[test]
fn who_answered_is_told_no_more_than_it_needs() {
    let mut machine = machine();
    let mut out = Vec::new();
    let up = Input::LinkUp { node: node(1), incarnation: Incarnation(1) };
    machine.handle(up, Instant::START, &mut out);
    assert_eq!(said(&out), [(Saying::Announce, false)]);
    hear(&mut machine, gossip(life(1, 1), Vec::new()), Instant::START);
    let (ping, ack) = (Saying::Ping { probe: 9 }, Saying::Ack { probe: 9 });
    let answer = |machine: &mut Membership| said(&hear(machine, short(1, ping), Instant::START));
    assert_eq!(answer(&mut machine), [(ack, false)], "it may not know us");
    hear(&mut machine, short(1, Saying::Ack { probe: 77 }), Instant::START);
    assert_eq!(answer(&mut machine), [(ack, true)]);
    // Another life of it knows nothing.
    let newer = hear(&mut machine, gossip(life(1, 2), Vec::new()), Instant::START);
    assert_eq!(rejected(&newer), []);
    let answer = said(&hear(&mut machine, short(2, ping), Instant::START));
    assert_eq!(answer, [(ack, false)]);
    // And an earlier one is over.
    let earlier = hear(&mut machine, short(1, ping), Instant::START);
    assert_eq!(
        (rejected(&earlier), said(&earlier)),
        (Vec::new(), Vec::from([(Saying::Undead, false)]))
    );
}

#[test]
fn two_that_take_each_other_for_dead_say_so_once() {
    let mut machine = machine();
    hear(&mut machine, gossip(life(1, 1), Vec::new()), Instant::START);
    hear(&mut machine, gossip(life(1, 2), Vec::new()), Instant::START);
    let ping = hear(&mut machine, short(1, Saying::Ping { probe: 1 }), Instant::START);
    assert_eq!(said(&ping), [(Saying::Undead, false)]);
    let undead = hear(&mut machine, short(1, Saying::Undead), Instant::START);
    assert_eq!(said(&undead), []);
    let renew = |effect: &Effect| matches!(effect, Effect::Renew { .. });
    assert!(undead.iter().any(renew), "it is dead to the other all the same: {undead:?}");
}

/// What node 1 is told in a packet that answers nothing.
fn told(effects: &[Effect]) -> Vec<Record> {
    let packets = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, packet } if *to == node(1) => Packet::parse(packet).ok(),
        Effect::Send { .. }
        | Effect::MemberUp { .. }
        | Effect::MemberDown { .. }
        | Effect::Renew { .. }
        | Effect::Left
        | Effect::Fact(_) => None,
    });
    let gossip = packets.filter(|packet| packet.header.saying == Saying::Gossip);
    gossip.flat_map(|packet| packet.records).collect()
}

#[test]
fn who_takes_the_dead_for_live_is_set_right() {
    let mut machine = machine();
    let left = Condition::Left(LeaveReason::Maintenance);
    let gone = [record(2, 1, left), record(3, 4, Condition::Down)];
    hear(&mut machine, gossip(life(1, 1), gone.to_vec()), Instant::START);
    for (said, want) in [
        (record(2, 1, Condition::Suspect), vec![gone[0].clone()]),
        (record(2, 1, Condition::Alive), vec![gone[0].clone()]),
        (record(3, 3, Condition::Alive), vec![gone[1].clone()]),
        (record(3, 4, Condition::Down), vec![]),
        (record(4, 1, Condition::Suspect), vec![]),
        (record(2, 2, Condition::Alive), vec![]),
    ] {
        let answer = hear(&mut machine, gossip(life(1, 1), vec![said.clone()]), Instant::START);
        assert_eq!(told(&answer), want, "{said:?}");
    }
    let ask = |suspect| short(1, Saying::PingRequest { suspect, probe: 7 });
    let answer = hear(&mut machine, ask(life(3, 4)), Instant::START);
    assert_eq!(told(&answer), [gone[1].clone()]);
    let answer = hear(&mut machine, ask(life(2, 2)), Instant::START);
    assert_eq!(told(&answer), [], "it is back");
}

#[test]
fn a_goodbye_to_an_earlier_life_is_one() {
    let mut machine = machine();
    hear(&mut machine, gossip(life(1, 1), Vec::new()), Instant::START);
    let mut out = Vec::new();
    let renewed = Input::Renewed { incarnation: Incarnation(2) };
    machine.handle(renewed, Instant::START, &mut out);
    let left = Condition::Left(LeaveReason::Maintenance);
    let of_another = gossip(life(1, 1), vec![record(2, 1, left)]);
    hear(&mut machine, of_another, Instant::START);
    assert_eq!(
        machine.members().count(),
        1,
        "what else is said to another life is not for this one"
    );
    hear(&mut machine, gossip(life(1, 1), vec![record(1, 1, left)]), Instant::START);
    assert_eq!(machine.members().count(), 0);
}

#[test]
fn a_stranger_is_asked_who_it_is() {
    let mut machine = machine();
    let effects = hear(&mut machine, short(4, Saying::Ping { probe: 9 }), Instant::START);
    assert_eq!(rejected(&effects), [Rejection::Stranger]);
    assert_eq!(said(&effects), [(Saying::Announce, false)]);
    assert_eq!(machine.members().count(), 0);
}

#[test]
fn nonsense_changes_nothing() {
    let mut machine = machine();
    let now = Instant::START;
    let impostor = gossip(life(2, 1), Vec::new());
    assert_eq!(rejected(&hear(&mut machine, impostor, now)), [Rejection::Impostor]);
    let malformed = Rejection::Malformed(ErrorCode::Malformed);
    let mut cut = gossip(life(1, 1), Vec::new());
    cut.pop();
    assert_eq!(rejected(&hear(&mut machine, cut, now)), [malformed]);
    assert_eq!(machine.members().count(), 0);

    let header = Header {
        source: life(1, 1),
        refutation: 0,
        address: address(1),
        target: life(0, 1),
        saying: Saying::PingRequest { suspect: life(0, 1), probe: 1 },
    };
    let mut ping_yourself = Vec::new();
    Packet { header, records: Vec::new() }.put(&mut ping_yourself);
    assert_eq!(rejected(&hear(&mut machine, ping_yourself, now)), [Rejection::Nonsense]);
}

#[test]
fn who_is_declared_down_asks_for_a_greater_incarnation_once() {
    let mut machine = machine();
    let down = || gossip(life(1, 1), std::vec![record(0, 1, Condition::Down)]);
    let renews = |effects: Vec<Effect>| -> Vec<u64> {
        let mut asked = Vec::new();
        for effect in effects {
            if let Effect::Renew { above } = effect {
                asked.push(above.0);
            }
        }
        asked
    };
    let now = Instant::START;
    assert_eq!(renews(hear(&mut machine, down(), now)), [1]);
    assert_eq!(renews(hear(&mut machine, down(), now)), [] as [u64; 0]);
    // Somebody knows a life of ours that we forgot.
    let ahead = || gossip(life(1, 1), std::vec![record(0, 7, Condition::Alive)]);
    assert_eq!(renews(hear(&mut machine, ahead(), now)), [7]);
    let mut out = Vec::new();
    machine.handle(Input::Renewed { incarnation: Incarnation(2) }, now, &mut out);
    assert_eq!(machine.life().incarnation, Incarnation(1), "too little by now");
    machine.handle(Input::Renewed { incarnation: Incarnation(8) }, now, &mut out);
    assert_eq!(machine.life().incarnation, Incarnation(8));
    let last = gossip(life(1, 1), std::vec![record(0, u64::MAX, Condition::Down)]);
    let effects = hear(&mut machine, last, now);
    assert_eq!(rejected(&effects), [Rejection::LastIncarnation]);
    assert_eq!(renews(effects), [] as [u64; 0]);
}

#[test]
fn members_and_memories_are_bounded() {
    let mut machine = machine();
    let mut refused = 0;
    for batch in 0..10 {
        let records = (0..200).map(|n| record(2 + batch * 200 + n, 1, Condition::Alive));
        let packet = gossip(life(1, 1), records.collect());
        refused += rejected(&hear(&mut machine, packet, Instant::START)).len();
    }
    assert_eq!(machine.members().count(), MEMBERS_MAX);
    assert_eq!(refused, 2001 - MEMBERS_MAX);
    for batch in 0..30 {
        let records = (0..200).map(|n| record(10_000 + batch * 200 + n, 1, Condition::Down));
        hear(&mut machine, gossip(life(1, 1), records.collect()), Instant::START);
        let known = machine.swim.iter_membership_state().len();
        assert!(known <= MEMBERS_MAX + GONE_MAX + 200, "{known}");
    }
    let mut out = Vec::new();
    machine.handle(Input::Tick, Instant::START, &mut out);
    assert_eq!(machine.swim.iter_membership_state().len(), MEMBERS_MAX + GONE_MAX);
}

#[test]
fn after_the_goodbye_there_is_silence() {
    let mut machine = machine();
    let mut out = Vec::new();
    let now = Instant::START;
    machine.handle(Input::LinkUp { node: node(1), incarnation: Incarnation(1) }, now, &mut out);
    hear(&mut machine, gossip(life(1, 1), Vec::new()), now);
    out.clear();
    machine.handle(Input::Leave { reason: LeaveReason::Shutdown }, now, &mut out);
    let [Effect::Send { to, packet }, Effect::Left] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*to, node(1));
    let said = Packet::parse(packet).unwrap().records;
    assert_eq!(said, [record(0, 1, Condition::Left(LeaveReason::Shutdown))]);
    assert_eq!(machine.deadline(), None);
    assert_eq!(hear(&mut machine, gossip(life(1, 1), Vec::new()), now + ms(1)), []);
}

/// Lets time pass in silence; answers with who was declared down when, in milliseconds.
fn silence(machine: &mut Membership, from: Instant, until: Instant) -> Vec<(u128, NodeId)> {
    let mut downs = Vec::new();
    let mut out = Vec::new();
    machine.handle(Input::Tick, from, &mut out);
    while let Some((due, _)) = machine.deadline().filter(|(due, _)| *due <= until) {
        machine.handle(Input::Tick, due, &mut out);
        for effect in out.drain(..) {
            if let Effect::MemberDown { node, .. } = effect {
                downs.push((due.since(Instant::START).as_millis(), node));
            }
        }
    }
    downs
}

fn lost(index: u32) -> Input {
    Input::LinkDown { node: node(index), end: LinkEnd::Lost }
}

#[test]
fn older_lives_of_ours_are_nobodys_news() {
    let mut machine = machine();
    let records = std::vec![record(0, 0, Condition::Alive), record(0, 0, Condition::Down)];
    hear(&mut machine, gossip(life(1, 1), records), Instant::START);
    assert_eq!(machine.swim.iter_membership_state().len(), 1, "the sender");
}

#[test]
fn a_suspect_is_told_first() {
    let mut machine = machine();
    let records = (2..20).map(|index| record(index, 1, Condition::Alive));
    hear(&mut machine, gossip(life(1, 1), records.collect()), Instant::START);
    for index in 2..20 {
        let mut out = Vec::new();
        machine.handle(lost(index), Instant::START, &mut out);
        let is_told = out.iter().any(|effect| match effect {
            Effect::Send { to, packet } if *to == node(index) => {
                let records = Packet::parse(packet).unwrap().records;
                records.contains(&record(index, 1, Condition::Suspect))
            }
            Effect::Send { .. }
            | Effect::MemberUp { .. }
            | Effect::MemberDown { .. }
            | Effect::Renew { .. }
            | Effect::Left
            | Effect::Fact(_) => false,
        });
        assert!(is_told, "{index}");
    }
}

#[test]
fn who_could_not_hear_lets_suspicions_begin_anew() {
    let mut machine = machine();
    let records = std::vec![record(2, 1, Condition::Alive)];
    hear(&mut machine, gossip(life(1, 1), records), Instant::START);
    machine.handle(lost(2), Instant::START, &mut Vec::new());
    let heard_at = Instant::START + ms(690);
    assert_eq!(silence(&mut machine, Instant::START, heard_at), []);
    hear(&mut machine, gossip(life(1, 1), Vec::new()), heard_at);
    assert_eq!(silence(&mut machine, heard_at, Instant::START + ms(1380)), []);
}

#[test]
fn who_hears_nobody_condemns_late_and_who_has_one_partner_does_not_wait() {
    let patience = 700 * u128::from(1 + HEALTH_MAX);
    for (members, at) in [(std::vec![2], patience), (Vec::new(), 700)] {
        let mut machine = machine();
        let records = members.iter().map(|index| record(*index, 1, Condition::Alive));
        hear(&mut machine, gossip(life(1, 1), records.collect()), Instant::START);
        machine.handle(lost(1), Instant::START, &mut Vec::new());
        let end = Instant::START + ms(20_000);
        assert_eq!(silence(&mut machine, Instant::START, end)[0], (at, node(1)));
    }
}

#[test]
fn time_in_which_we_did_not_run_does_not_count() {
    let mut machine = machine();
    hear(&mut machine, gossip(life(1, 1), Vec::new()), Instant::START);
    machine.handle(lost(1), Instant::START, &mut Vec::new());
    let (due, _) = machine.deadline().unwrap();
    let mut out = Vec::new();
    machine.handle(Input::Tick, due + ms(10_000), &mut out);
    assert_eq!(out[0], Effect::Fact(Fact::WokeLate { by: ms(10_000) }));
    assert_eq!(machine.health(), 1);
    let end = Instant::START + ms(20_000);
    assert_eq!(silence(&mut machine, due + ms(10_000), end), [(10_700, node(1))]);
}

/// One thing that may happen, drawn.
fn happening(rng: &mut Rng) -> Input {
    let other = 1 + rng.below(4);
    let some_life = |rng: &mut Rng| life(rng.below(5), u64::from(rng.below(3)));
    let probe = rng.below(4) as u8;
    match rng.below(12) {
        0 => Input::LinkUp { node: node(other), incarnation: Incarnation(1) },
        1 => lost(other),
        2 => Input::Renewed { incarnation: Incarnation(u64::from(rng.below(6))) },
        3 => Input::Tick,
        _ => {
            let (suspect, asker) = (some_life(rng), some_life(rng));
            let sayings = [
                Saying::Ping { probe },
                Saying::Ack { probe },
                Saying::PingRequest { suspect, probe },
                Saying::IndirectPing { asker, probe },
                Saying::IndirectAck { asker, probe },
                Saying::ForwardedAck { suspect, probe },
                Saying::Announce,
                Saying::Feed,
                Saying::Gossip,
                Saying::Undead,
            ];
            let saying = sayings[rng.below(10) as usize];
            let conditions = [
                Condition::Alive,
                Condition::Suspect,
                Condition::Down,
                Condition::Left(LeaveReason::Shutdown),
            ];
            let count = if saying == Saying::Announce { 0 } else { rng.below(4) };
            let drawn = |rng: &mut Rng| {
                let Life { node, incarnation } = some_life(rng);
                let condition = conditions[rng.below(4) as usize];
                record(index(node), incarnation.0, condition)
            };
            let records = (0..count).map(|_| drawn(rng)).collect();
            let source = life(other, u64::from(rng.below(3)));
            let refutation = rng.below(3) as u16;
            let header = Header {
                source,
                refutation,
                address: address(other),
                target: some_life(rng),
                saying,
            };
            let mut packet = Vec::new();
            Packet { header, records }.put(&mut packet);
            Input::Received { from: node(other), packet }
        }
    }
}

#[test]
fn nothing_that_peers_say_in_any_order_breaks_it() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let (mut machine, mut now) = (machine(), Instant::START);
        let mut last_up = BTreeMap::new();
        for _ in 0..500 {
            now = now + ms(u64::from(rng.below(60)));
            let mut out = Vec::new();
            machine.handle(happening(&mut rng), now, &mut out);
            assert!(machine.deadline().is_none_or(|(at, _)| now < at), "seed {seed}");
            for effect in out {
                if let Effect::MemberUp { member, .. } = effect {
                    let before = last_up.insert(member.node, member.incarnation);
                    assert!(before < Some(member.incarnation), "seed {seed}: risen from the dead");
                }
            }
        }
    }
}
