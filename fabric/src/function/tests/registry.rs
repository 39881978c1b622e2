//! Workers come, change and go; the catalog is told what they add up to.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;

use mpreg_proto::limits::OFFERS_MAX;
use proptest::prelude::*;

use super::*;
use crate::limits::FUNCTION_WORKERS_PER_SESSION_MAX;

fn offer(offers: &[&str]) -> Effect {
    Effect::Offer { name: "sum".into(), body: body(FunctionId::of("sum"), offers) }
}

fn retract() -> Effect {
    Effect::Retract { name: "sum".into() }
}

fn refused(effects: &[Effect]) -> &Refusal {
    let [Effect::Refused { why, .. }] = effects else { panic!("{effects:?}") };
    why
}

#[test]
fn an_entry_is_what_workers_add_up_to() {
    let mut functions = functions();
    let registered =
        |number, endpoint| Effect::Registered { worker: number, endpoint: EndpointId(endpoint) };
    let [one, two, three] = [worker(1, 1), worker(2, 1), worker(2, 2)];
    let effects = register(&mut functions, one, "sum 1.10.0 gpu");
    assert_eq!(effects, [registered(one, 1), offer(&["1.10.0 2 gpu"])]);
    let effects = register(&mut functions, two, "sum 1.10.0+other gpu");
    assert_eq!(effects, [registered(two, 2), offer(&["1.10.0 4 gpu"])]);
    let effects = register(&mut functions, three, "sum 1.9.0 gpu");
    assert_eq!(effects, [registered(three, 3), offer(&["1.10.0 4 gpu", "1.9.0 2 gpu"])]);
    let ill = Input::Health { worker: two, health: Health::Ill };
    let want = [offer(&["1.10.0 2 gpu", "1.9.0 2 gpu"])];
    assert_eq!(handle(&mut functions, ill.clone()), want);
    assert_eq!(handle(&mut functions, ill), []);
    let ended = handle(&mut functions, Input::Ended(SessionId(2)));
    assert_eq!(ended, [offer(&["1.10.0 2 gpu"])]);
    let ill = Input::Health { worker: one, health: Health::Ill };
    assert_eq!(handle(&mut functions, ill), [offer(&["1.10.0 0 gpu"])]);
    assert_eq!(
        handle(&mut functions, Input::Unregister(one)),
        [retract(), Effect::Unregistered(one)]
    );
    assert_eq!(handle(&mut functions, Input::Unregister(one)), []);
    assert!(functions.is_empty() && functions.functions.is_empty());
}

#[test]
fn a_name_is_one_id_and_an_id_one_name() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.0.0");
    let other = Registration { id: FunctionId::of("other"), ..registration("sum 2.0.0") };
    let input = |registration| Input::Register { worker: worker(2, 1), registration };
    let by_name = Taken::Name { by: ME, id: FunctionId::of("sum") };
    let effects = handle(&mut functions, input(other));
    assert_eq!(refused(&effects), &Refusal::Taken(by_name));
    let other = Registration { id: FunctionId::of("sum"), ..registration("add 1.0.0") };
    let by_id = Taken::Id { by: ME, name: name("sum") };
    let effects = handle(&mut functions, input(other.clone()));
    assert_eq!(refused(&effects), &Refusal::Taken(by_id));
    // With the last worker goes the claim.
    handle(&mut functions, Input::Ended(SessionId(1)));
    assert_eq!(handle(&mut functions, input(other)).len(), 2);
}

#[test]
fn mates_hold_names_and_other_clusters_do_not() {
    let mut functions = functions();
    let theirs =
        |cluster, body| Input::Changed { owner: NodeId(60), cluster, name: "sum".into(), body };
    let other = Some(body(FunctionId::of("other"), &["1.0.0 1 "]));
    handle(&mut functions, theirs(ClusterId(2), other.clone()));
    assert_eq!(register(&mut functions, worker(1, 1), "sum 1.0.0").len(), 2);
    handle(&mut functions, Input::Ended(SessionId(1)));
    handle(&mut functions, theirs(OWN, other));
    let by = NodeId(60);
    let effects = register(&mut functions, worker(1, 1), "sum 1.0.0");
    assert_eq!(refused(&effects), &Refusal::Taken(Taken::Name { by, id: FunctionId::of("other") }));
    let effects = register(&mut functions, worker(1, 1), "other 1.0.0");
    assert_eq!(refused(&effects), &Refusal::Taken(Taken::Id { by, name: name("sum") }));
    handle(&mut functions, theirs(OWN, None));
    assert_eq!(register(&mut functions, worker(1, 1), "sum 1.0.0").len(), 2);
}

/// Two nodes took one name at once: one of them gives way, and it is the same on both.
#[test]
fn of_two_that_contradict_the_greater_gives_way() {
    let said = |owner| {
        let body = Some(body(FunctionId::of("other"), &["1.0.0 1 "]));
        Input::Changed { owner: NodeId(owner), cluster: OWN, name: "sum".into(), body }
    };
    let (one, kept) = (worker(1, 1), worker(1, 2));
    let mut functions = functions();
    register(&mut functions, one, "sum 1.0.0");
    register(&mut functions, kept, "add 1.0.0");
    assert_eq!(handle(&mut functions, said(60)), []);
    assert_eq!(register(&mut functions, worker(2, 1), "sum 1.0.0").len(), 2);
    handle(&mut functions, Input::Ended(SessionId(2)));
    let why = Taken::Name { by: NodeId(40), id: FunctionId::of("other") };
    let want = [Effect::Revoked { worker: one, why }, retract()];
    assert_eq!(handle(&mut functions, said(40)), want);
    assert!(functions.workers.contains_key(&kept));
}

/// What one shard offers, as the others hear of it.
fn named(effect: Effect) -> Option<Input> {
    let owner = ME;
    if let Effect::Offer { name, body } = effect {
        return Some(Input::Named { owner, name, body: Some(body) });
    }
    let Effect::Retract { name } = effect else { return None };
    Some(Input::Named { owner, name, body: None })
}

#[test]
fn what_is_taken_on_one_shard_is_taken_on_all() {
    let (mut here, mut there) = (functions(), functions());
    let same = |text: &str| Registration { id: FunctionId(7), ..registration(text) };
    let register = |at, registration| Input::Register { worker: at, registration };
    let said = handle(&mut there, register(worker(9, 1), same("b 1.0.0")));
    let said = said.into_iter().find_map(named).unwrap();
    assert_eq!(handle(&mut here, said.clone()), []);
    assert!(here.is_empty(), "it is called there");
    let effects = handle(&mut here, register(worker(1, 1), same("c 1.0.0")));
    let taken = Taken::Id { by: ME, name: name("b") };
    assert_eq!(refused(&effects), &Refusal::Taken(taken.clone()));
    // Both at once: what comes first by its name stays.
    for (name, stays) in [("a", true), ("c", false)] {
        let (mut here, at) = (functions(), worker(1, 1));
        handle(&mut here, register(at, same(&format!("{name} 1.0.0"))));
        let gave_way = handle(&mut here, said.clone());
        assert_eq!(gave_way.is_empty(), stays);
        let why = taken.clone();
        assert!(stays || gave_way[0] == Effect::Revoked { worker: at, why });
    }
    // And by the word of a mate, whichever shard is the home of its name.
    let (mut here, at) = (functions(), worker(1, 1));
    handle(&mut here, register(at, same("a 1.0.0")));
    let body = Some(body(FunctionId(7), &["1.0.0 1 "]));
    let mates = |owner| Input::Named { owner: NodeId(owner), name: "z".into(), body: body.clone() };
    assert_eq!(handle(&mut here, mates(60)), []);
    assert_eq!(handle(&mut here, mates(40)).len(), 2);
}

proptest! {
    /// Whatever is registered where and in which order shards hear of it.
    #[test]
    fn shards_come_to_agree_which_name_an_id_has(
        steps in prop::collection::vec((0..6_usize, 0..3_u128, 0..4_u8), 1..60),
    ) {
        const SHARDS: usize = 3;
        let mut shards: Vec<Functions> = (0..SHARDS).map(|_| functions()).collect();
        let mut rings: Vec<Vec<VecDeque<Input>>> = vec![vec![VecDeque::new(); SHARDS]; SHARDS];
        let tell = |shards: &mut Vec<Functions>, rings: &mut Vec<Vec<VecDeque<Input>>>, at: usize, input| {
            for said in handle(&mut shards[at], input).into_iter().filter_map(named) {
                (0..SHARDS).filter(|&to| to != at).for_each(|to| rings[at][to].push_back(said.clone()));
            }
        };
        for (step, (place, id, what)) in steps.into_iter().enumerate() {
            let (home, session) = (place % SHARDS, place as u64 + 1);
            match what {
                0 => tell(&mut shards, &mut rings, home, Input::Ended(SessionId(session))),
                1 => {
                    let text = format!("n{place} 1.0.0");
                    let registration = Registration { id: FunctionId(id), ..registration(&text) };
                    let worker = worker(session, step as u32);
                    tell(&mut shards, &mut rings, home, Input::Register { worker, registration });
                }
                _ => {
                    let to = (home + usize::from(what) - 1) % SHARDS;
                    if let Some(said) = rings[home][to].pop_front() {
                        tell(&mut shards, &mut rings, to, said);
                    }
                }
            }
        }
        for at in (0..SHARDS * SHARDS).cycle().take(SHARDS * SHARDS * 20) {
            while let Some(said) = rings[at / SHARDS][at % SHARDS].pop_front() {
                tell(&mut shards, &mut rings, at % SHARDS, said);
            }
        }
        prop_assert!(rings.iter().flatten().all(VecDeque::is_empty), "they come to rest");
        prop_assert!(shards.iter().all(|shard| shard.namespace == shards[0].namespace));
        let mut names = BTreeMap::new();
        for registered in shards.iter().flat_map(|shard| shard.workers.values()) {
            let name = names.entry(registered.id).or_insert_with(|| registered.name.clone());
            prop_assert_eq!(&*name, &registered.name);
        }
    }
}

#[test]
fn a_worker_registers_a_version_once() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.0.0 gpu");
    let effects = register(&mut functions, worker(1, 2), "sum 1.0.0+build cpu");
    assert_eq!(refused(&effects), &Refusal::Duplicate { number: 1 });
    let effects = register(&mut functions, worker(1, 1), "add 1.0.0");
    assert_eq!(refused(&effects), &Refusal::NumberInUse);
    assert_eq!(register(&mut functions, worker(1, 2), "sum 1.0.1 gpu").len(), 2);
    assert_eq!(register(&mut functions, worker(2, 1), "sum 1.0.0 cpu").len(), 2);
}

#[test]
fn names_that_nodes_run_themselves_are_nobodys() {
    let mut functions = functions();
    for name in ["mpreg.graph 1.0.0", "mpreg.other 1.0.0"] {
        let effects = register(&mut functions, worker(1, 1), name);
        assert_eq!(refused(&effects), &Refusal::Reserved);
    }
    assert_eq!(register(&mut functions, worker(1, 1), "mpreg 1.0.0").len(), 2);
    assert_eq!(register(&mut functions, worker(1, 2), "mpregs.graph 1.0.0").len(), 2);
}

#[test]
fn registrations_are_bounded() {
    let mut full = functions();
    for minor in 0..OFFERS_MAX as u64 {
        assert_eq!(register(&mut full, worker(minor, 1), &format!("sum 1.{minor}.0")).len(), 2);
    }
    let effects = register(&mut full, worker(99, 1), "sum 2.0.0");
    assert_eq!(refused(&effects), &Refusal::Offers);
    assert_eq!(register(&mut full, worker(99, 1), "sum 1.0.0").len(), 2);
    let mut functions = functions();
    for number in 0..FUNCTION_WORKERS_PER_SESSION_MAX as u32 {
        assert_eq!(
            register(&mut functions, worker(1, number), &format!("f{number} 1.0.0")).len(),
            2
        );
    }
    let effects = register(&mut functions, worker(1, 999), "sum 1.0.0");
    assert_eq!(refused(&effects), &Refusal::WorkersOfSession);
    let per_session = FUNCTION_WORKERS_PER_SESSION_MAX as u32;
    for nth in 0..(crate::limits::FUNCTION_WORKERS_MAX as u32 - per_session) {
        let at = worker(2 + u64::from(nth / per_session), nth % per_session);
        assert_eq!(register(&mut functions, at, &format!("g{nth} 1.0.0")).len(), 2);
    }
    let effects = register(&mut functions, worker(1000, 1), "sum 1.0.0");
    assert_eq!(refused(&effects), &Refusal::Workers);
}

#[test]
fn who_drains_gets_no_calls_and_is_told_when_the_last_ends() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.0.0");
    register(&mut functions, worker(1, 2), "sum 1.1.0");
    load(&mut functions, 1, 2);
    let drain = Input::Drain(SessionId(1));
    let drained = Effect::Drained(SessionId(1));
    let effects = handle(&mut functions, drain.clone());
    assert_eq!(effects, [offer(&["1.0.0 0 ", "1.1.0 0 "])]);
    let failed = choose(&functions, "*", "", 1).unwrap_err();
    assert_eq!(failed.why, Why::Unreachable { at: Target::Here });
    let effects = register(&mut functions, worker(1, 3), "sum 1.2.0");
    assert_eq!(refused(&effects), &Refusal::Draining);
    // To be well again is no way back.
    let well = Input::Health { worker: worker(1, 2), health: Health::Well };
    assert_eq!(handle(&mut functions, well), []);
    assert_eq!(load(&mut functions, 1, 1), []);
    assert_eq!(load(&mut functions, 1, 0), core::slice::from_ref(&drained));
    assert_eq!(load(&mut functions, 1, 0), []);
    assert_eq!(handle(&mut functions, Input::Ended(SessionId(1))), [retract()]);
    assert!(functions.draining.is_empty());
    assert_eq!(handle(&mut functions, drain.clone()), [drained], "nothing to wait for");
    assert_eq!(handle(&mut functions, drain), []);
    assert_eq!(refused(&register(&mut functions, worker(1, 4), "sum 1.3.0")), &Refusal::Draining);
}

#[test]
fn what_cannot_be_read_is_told_and_not_called() {
    let mut functions = functions();
    handle(&mut functions, entry(60, OWN, &["1.0.0 1 "]));
    assert!(choose(&functions, "*", "", 1).is_ok());
    let owner = NodeId(60);
    let changed = |name: &'static [u8], body: Option<&'static [u8]>| Input::Changed {
        owner,
        cluster: OWN,
        name: Bytes::from_static(name),
        body: body.map(Bytes::from_static),
    };
    let unreadable = [Effect::Unreadable { owner }];
    assert_eq!(handle(&mut functions, changed(b"su m", None)), unreadable);
    assert!(choose(&functions, "*", "", 1).is_ok());
    assert_eq!(handle(&mut functions, changed(b"sum", Some(b"\x09"))), unreadable);
    assert_eq!(choose(&functions, "*", "", 1).unwrap_err().why, Why::NotFound);
    assert!(functions.is_empty());
}

#[test]
fn far_endpoints_that_stay_keep_their_calls() {
    let mut functions = functions();
    handle(&mut functions, entry(60, OWN, &["1.0.0 1 ", "1.1.0 1 "]));
    let endpoint = choose(&functions, "1.0.0", "", 1).unwrap().endpoint;
    load(&mut functions, endpoint.0, 1);
    handle(&mut functions, entry(60, OWN, &["1.0.0 2 "]));
    assert_eq!(choose(&functions, "1.0.0", "", 1).map(|chosen| chosen.endpoint), Ok(endpoint));
    handle(&mut functions, entry(60, OWN, &["1.0.0 1 "]));
    assert_eq!(choose(&functions, "*", "", 1).unwrap_err().why.word(), "overloaded");
    // What this node offers it does not hear from others.
    handle(&mut functions, entry(ME.0, OWN, &["1.0.0 9 "]));
    assert_eq!(functions.len(), 1);
}

/// What a model remembers of a worker.
#[derive(Clone, Debug)]
struct Known {
    at: Worker,
    registration: Registration,
    is_well: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Register { at: (u64, u32), name: usize, id: usize, version: usize, with: usize },
    Unregister((u64, u32)),
    Ended(u64),
    Health((u64, u32), bool),
    Drain(u64),
    Mate { node: u128, name: usize, id: Option<usize> },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (1..4_u64, 1..4_u32);
    prop_oneof![
        6 => (at(), 0..2_usize, 0..2_usize, 0..2_usize, 0..2_usize)
            .prop_map(|(at, name, id, version, with)| Step::Register { at, name, id, version, with }),
        2 => at().prop_map(Step::Unregister),
        1 => (1..4_u64).prop_map(Step::Ended),
        2 => (at(), any::<bool>()).prop_map(|(at, is_well)| Step::Health(at, is_well)),
        1 => (1..4_u64).prop_map(Step::Drain),
        2 => (prop::sample::select(vec![40_u128, 60]), 0..2_usize, prop::option::of(0..2_usize))
            .prop_map(|(node, name, id)| Step::Mate { node, name, id }),
    ]
}

const NAMES: [&str; 2] = ["sum", "add"];

/// Lists, gone through from end to end.
#[derive(Default)]
struct Model {
    workers: Vec<Known>,
    draining: BTreeSet<u64>,
    mates: Vec<(u128, usize, usize)>,
}

impl Model {
    /// All that is claimed in the cluster, by number of name and id.
    fn contradicts(&self, name: usize, id: usize, by: impl Fn(u128) -> bool) -> bool {
        let mine = self.workers.iter().map(|known| {
            let nth = |one: FunctionId| NAMES.iter().position(|id| FunctionId::of(id) == one);
            let Registration { name, id, .. } = &known.registration;
            let name = NAMES.iter().position(|one| *one == name.as_str()).unwrap();
            (ME.0, name, nth(*id).unwrap())
        });
        let mut all = mine.chain(self.mates.iter().copied()).filter(|&(node, ..)| by(node));
        all.any(|(_, n, i)| (n == name) != (i == id))
    }

    fn step(&mut self, step: &Step) -> Input {
        match *step {
            Step::Register { at: (session, number), name: n, id, version: v, with } => {
                let text = [["1.9.0", "1.10.0"][v], ["", "gpu"][with]].join(" ");
                let registration = Registration {
                    id: FunctionId::of(NAMES[id]),
                    ..registration(&format!("{} {text}", NAMES[n]))
                };
                let at = worker(session, number);
                let is_known = self.workers.iter().any(|known| {
                    let Registration { name, version, .. } = &known.registration;
                    let same = (name, version) == (&registration.name, &registration.version);
                    known.at == at || known.at.session == at.session && same
                });
                let is_free = !self.draining.contains(&session) && !is_known;
                let has = |known: &Known| {
                    let Registration { name, id, .. } = &known.registration;
                    (name, id) == (&registration.name, &registration.id)
                };
                let is_ours = self.workers.iter().any(has);
                if is_free && (is_ours || !self.contradicts(n, id, |_| true)) {
                    self.workers.push(Known {
                        at,
                        registration: registration.clone(),
                        is_well: true,
                    });
                }
                Input::Register { worker: at, registration }
            }
            Step::Unregister((session, number)) => {
                self.workers.retain(|known| known.at != worker(session, number));
                Input::Unregister(worker(session, number))
            }
            Step::Ended(session) => {
                self.workers.retain(|known| known.at.session != SessionId(session));
                self.draining.remove(&session);
                Input::Ended(SessionId(session))
            }
            Step::Health((session, number), is_well) => {
                let at = worker(session, number);
                self.workers
                    .iter_mut()
                    .filter(|one| one.at == at)
                    .for_each(|one| one.is_well = is_well);
                let health = if is_well { Health::Well } else { Health::Ill };
                Input::Health { worker: at, health }
            }
            Step::Drain(session) => {
                self.draining.insert(session);
                Input::Drain(SessionId(session))
            }
            Step::Mate { node, name: n, id } => {
                self.mates.retain(|&(by, known, _)| (by, known) != (node, n));
                self.mates.extend(id.map(|id| (node, n, id)));
                let mut kept = core::mem::take(&mut self.workers);
                kept.retain(|known| {
                    let at = |one: &str| NAMES.iter().position(|name| *name == one).unwrap();
                    let id =
                        NAMES.iter().position(|id| FunctionId::of(id) == known.registration.id);
                    let (n, id) = (at(known.registration.name.as_str()), id.unwrap());
                    node > ME.0 || !self.contradicts(n, id, |by| by < ME.0)
                });
                self.workers = kept;
                let body = id.map(|id| body(FunctionId::of(NAMES[id]), &["3.0.0 1 "]));
                let name = NAMES[n].into();
                Input::Changed { owner: NodeId(node), cluster: OWN, name, body }
            }
        }
    }

    /// Version, resources and limit, in any order.
    fn offers(&self, name: &str) -> BTreeSet<(Version, Resources, u32)> {
        let of = || self.workers.iter().filter(|known| known.registration.name.as_str() == name);
        let key = |known: &Known| {
            (known.registration.version.clone(), known.registration.resources.clone())
        };
        let sum = |one: &Known| {
            let same = of().filter(|known| key(known) == key(one) && known.is_well);
            let open = same.filter(|known| !self.draining.contains(&known.at.session.0));
            open.count() as u32 * 2
        };
        of().map(|known| (key(known).0, key(known).1, sum(known))).collect()
    }
}

proptest! {
    /// After each of many steps the catalog was told what the lists add up to, and nothing twice.
    #[test]
    fn the_catalog_is_told_what_the_model_adds_up(steps in prop::collection::vec(step(), 1..40)) {
        let (mut functions, mut model) = (functions(), Model::default());
        let mut told = BTreeMap::<Bytes, Bytes>::new();
        for step in &steps {
            let input = model.step(step);
            for effect in handle(&mut functions, input) {
                match effect {
                    Effect::Offer { name, body } => {
                        let earlier = told.insert(name, body.clone());
                        prop_assert_ne!(earlier, Some(body), "nothing new");
                    }
                    Effect::Retract { name } => prop_assert!(told.remove(&name).is_some()),
                    Effect::Registered { .. } | Effect::Refused { .. } | Effect::Revoked { .. } => (),
                    Effect::Unregistered(_) | Effect::Drained(_) => (),
                    other @ (Effect::Unreadable { .. } | Effect::SplitRefused { .. }) => {
                        prop_assert!(false, "{:?}", other);
                    }
                }
            }
            for name in NAMES {
                let offers = told.get(name.as_bytes()).map(|body| Offers::parse(body).unwrap());
                let offers = offers.iter().flat_map(Offers::offers).cloned();
                let offers = offers.map(|offer| (offer.version, offer.resources, offer.limit));
                prop_assert_eq!(offers.collect::<BTreeSet<_>>(), model.offers(name), "{:?}", step);
            }
            prop_assert_eq!(functions.workers.len(), model.workers.len());
        }
        for session in 1..4 {
            handle(&mut functions, Input::Ended(SessionId(session)));
        }
        for (&node, name) in [40, 60].iter().flat_map(|node| NAMES.map(|name| (node, name))) {
            let (owner, name) = (NodeId(node), name.into());
            handle(&mut functions, Input::Changed { owner, cluster: OWN, name, body: None });
        }
        prop_assert!(functions.is_empty() && functions.functions.is_empty());
        prop_assert!(functions.offered.is_empty() && functions.draining.is_empty());
        prop_assert_eq!(functions.namespace, Namespace::default());
    }
}

/// A node that started again is another endpoint: what it ran before, it does not know.
#[test]
fn another_life_of_a_node_is_another_endpoint() {
    let mut functions = functions();
    let entry = |life| {
        let offer = Offer { version: version("1.0.0"), resources: Resources::default(), limit: 1 };
        let mut body = Vec::new();
        Offers::new(FunctionId::of("sum"), Incarnation(life), vec![offer]).unwrap().put(&mut body);
        let (name, body) = ("sum".into(), Some(body.into()));
        Input::Changed { owner: NodeId(60), cluster: OWN, name, body }
    };
    handle(&mut functions, entry(3));
    let first = choose(&functions, "*", "", 1).unwrap();
    assert_eq!((first.endpoint, first.life), (EndpointId(1), Incarnation(3)));
    functions.begin(EndpointId(1));
    handle(&mut functions, entry(3));
    assert_eq!(functions.in_flight(EndpointId(1)), Some(1), "it says the same again");
    handle(&mut functions, entry(4));
    let second = choose(&functions, "*", "", 1).unwrap();
    assert_eq!((second.endpoint, second.life), (EndpointId(2), Incarnation(4)));
    assert_eq!(functions.in_flight(EndpointId(1)), None);
    let (name, node) = (name("sum"), NodeId(60));
    let is_offered = |life| functions.is_offered(&name, node, Incarnation(life));
    assert_eq!([is_offered(3), is_offered(4)], [false, true]);
}
