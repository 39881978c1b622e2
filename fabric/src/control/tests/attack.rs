//! What a hostile neighbour, a hostile node of the same cluster, or a capture played again may try on
//! a whole control core: each is refused for its reason, counted once, and changes nothing, while what
//! it was made from is taken.
//!
//! We are node 10 of cluster 1. Links: 1 with node 11 of our cluster, 2 and 3 with nodes 20 and 30, the
//! gateways of clusters 2 and 3. Each cluster from 1 to 9 signs with the key of serial 1.

use alloc::format;
use alloc::string::String;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::route::{Pin, Provided, Reject, Signer};

mod catalogs;
mod forge;
mod keys;
mod members;
mod routes;

use forge::*;

/// Under which reason something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Route(Reject),
    Signature(route::SignatureFault),
    Key(route::KeyFault),
    Catalog(catalog::Refusal),
    /// Nothing the catalog did not know.
    Known,
    Member(member::Rejection),
    Unreadable(Plane),
}

enum Step {
    Hear(Sent),
    Key(Provided),
}

struct Attack {
    name: &'static str,
    /// What was said in all honesty before.
    before: Vec<Step>,
    attack: Sent,
    /// What it should have been.
    twin: Sent,
    why: Why,
}

fn attack(name: &'static str, attack: Sent, twin: Sent, why: Why) -> Attack {
    Attack { name, before: vec![], attack, twin, why }
}

impl Attack {
    fn after(mut self, sent: impl IntoIterator<Item = Sent>) -> Self {
        self.before.extend(sent.into_iter().map(Step::Hear));
        self
    }
}

struct Target {
    control: Control,
    now: Instant,
}

impl Target {
    fn new() -> Self {
        let mut settings =
            Settings::new(NodeId(10), name(1), Incarnation(5), "m:1".parse().unwrap(), 1);
        settings.route.root = Some(root().verifying_key());
        settings.route.signer = Some(Signer { key_serial: 1, key: key(1, 1) });
        settings.route.wall = WallClock { unix_seconds: TODAY, at: Instant::START };
        let now = Instant::START + Duration::from_secs(1);
        let mut target = Self { control: Control::new(settings), now };
        target.input(Input::Started);
        for of in 1..=9 {
            let record = authorised(&authorisation(of, 1), &root());
            let mpreg_proto::route::Item::Authorise(record) = record else { unreachable!() };
            target.step(Step::Key(Provided::Authorisation(record)));
        }
        for (link, peer, of) in [(1, 11, 1), (2, 20, 2), (3, 30, 3)] {
            let (link, peer, cluster) = (LinkId(link), NodeId(peer), name(of));
            let (incarnation, origin) = (Incarnation(1), Origin::Accepted);
            target.input(Input::LinkUp(LinkUp { link, peer, cluster, incarnation, origin }));
        }
        target.step(Step::Hear(packet(1, life(11, 1), vec![])));
        target
    }

    fn input(&mut self, input: Input) -> Vec<Fact> {
        let mut inputs = vec![input];
        let mut facts = vec![];
        while let Some(input) = inputs.pop() {
            let mut out = vec![];
            self.control.handle(input, self.now, &mut out);
            for effect in out {
                match effect {
                    Effect::Persist { ticket, .. } => inputs.push(Input::Persisted { ticket }),
                    Effect::Fact(fact) => facts.push(fact),
                    Effect::Admit { .. }
                    | Effect::Use { .. }
                    | Effect::Close { .. }
                    | Effect::Send { .. }
                    | Effect::Dial { .. }
                    | Effect::View { .. }
                    | Effect::Left => (),
                }
            }
        }
        facts
    }

    fn step(&mut self, step: Step) -> Vec<Fact> {
        self.input(match step {
            Step::Hear(Sent { link, plane, body }) => {
                Input::Received { link: LinkId(link), plane: plane as u8, body }
            }
            Step::Key(provided) => Input::Command(Command::Key(provided)),
        })
    }

    /// All that others could notice.
    fn state(&self) -> String {
        let ways = (1..=9).map(|of| self.control.explain(cluster(of), &[], self.now));
        let ways: Vec<_> = ways.collect();
        let entries: Vec<_> = self.control.catalog().entries().collect();
        let members: Vec<_> = self.control.members().collect();
        let (life, keys) = (self.control.member.life(), self.control.routes.key_records());
        format!("{life:?} {members:?} {ways:?} {entries:?} {keys:?} {:?}", self.control.renewing)
    }
}

fn refusals(facts: &[Fact]) -> Vec<Why> {
    let why = |fact: &Fact| match fact {
        Fact::Route(route::Fact::Rejected { reason: Reject::Signature(fault), .. }) => {
            Some(Why::Signature(*fault))
        }
        Fact::Route(route::Fact::Rejected { reason, .. }) => Some(Why::Route(*reason)),
        Fact::Route(route::Fact::KeyRejected { fault, .. }) => Some(Why::Key(*fault)),
        Fact::Gossip(gossip::Fact::Refused { why, .. }) => Some(Why::Catalog(*why)),
        Fact::Gossip(gossip::Fact::Duplicate { .. }) => Some(Why::Known),
        Fact::Gossip(gossip::Fact::Unreadable { .. }) => Some(Why::Unreadable(Plane::Catalog)),
        Fact::Member(member::Fact::Rejected { why, .. }) => Some(Why::Member(*why)),
        Fact::Unreadable { plane, .. } => Some(Why::Unreadable(*plane)),
        Fact::PeerUp { .. }
        | Fact::PeerDown { .. }
        | Fact::MemberUp(_)
        | Fact::MemberDown { .. }
        | Fact::PlaneUnknown { .. }
        | Fact::Unlinked { .. }
        | Fact::ClusterRefused { .. }
        | Fact::Entry(_)
        | Fact::NotOffered { .. }
        | Fact::WantUnreadable { .. }
        | Fact::Circuit { .. }
        | Fact::Member(_)
        | Fact::Gossip(_)
        | Fact::Route(_)
        | Fact::LinksChanged { .. }
        | Fact::LinkState { .. } => None,
    };
    facts.iter().filter_map(why).collect()
}

fn is_taken(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Route(
            route::Fact::Accepted { .. }
                | route::Fact::Withdrawn { .. }
                | route::Fact::Best { .. }
                | route::Fact::KeyAccepted { .. }
                | route::Fact::KeyRevoked { .. }
        ) | Fact::Gossip(gossip::Fact::Learned { .. })
            | Fact::MemberUp(_)
            | Fact::MemberDown { .. }
    )
}

fn play(attack: Attack) -> Result<(), String> {
    let Attack { name, before, attack, twin, why } = attack;
    let prepare = |steps: &[Step]| {
        let mut target = Target::new();
        for step in steps {
            let facts = target.step(match step {
                Step::Hear(sent) => Step::Hear(sent.clone()),
                Step::Key(provided) => Step::Key(provided.clone()),
            });
            if !refusals(&facts).is_empty() {
                return Err(format!("{name}: refuses what goes before: {facts:?}"));
            }
        }
        Ok(target)
    };
    let mut target = prepare(&before)?;
    let state = target.state();
    let facts = target.step(Step::Hear(attack));
    if refusals(&facts) != [why] || facts.iter().any(is_taken) {
        return Err(format!("{name}: wanted {why:?}, got {facts:?}"));
    }
    if target.state() != state {
        return Err(format!("{name}: changed\n{state}\nto\n{}", target.state()));
    }
    let facts = prepare(&before)?.step(Step::Hear(twin));
    if !refusals(&facts).is_empty() || !facts.iter().any(is_taken) {
        return Err(format!("{name}: what it was made from is not taken: {facts:?}"));
    }
    Ok(())
}

#[test]
fn every_attack_is_refused_for_its_reason_and_changes_nothing() {
    let attacks = [routes::all(), keys::all(), catalogs::all(), members::all()];
    let attacks: Vec<Attack> = attacks.into_iter().flatten().collect();
    assert!(60 <= attacks.len(), "{}", attacks.len());
    let failed: Vec<String> = attacks.into_iter().filter_map(|it| play(it).err()).collect();
    assert!(failed.is_empty(), "{} of them:\n{}", failed.len(), failed.join("\n"));
}
