//! What registers and is told of, who is chosen, and how calls are split.

mod registry;
mod select;
mod split;

use alloc::vec;
use core::num::NonZeroU32;

use mpreg_proto::function::{Constraint, FunctionId, Offer, Offers};

use super::*;

const ME: NodeId = NodeId(50);
const OWN: ClusterId = ClusterId(1);

fn functions() -> Functions {
    Functions::new(ME, OWN, Incarnation(3))
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn resources(text: &str) -> Resources {
    Resources::new(text.split_whitespace()).unwrap()
}

fn worker(session: u64, number: u32) -> Worker {
    Worker { session: SessionId(session), number }
}

/// `sum 1.2.0 gpu ssd`, with the id of its name and a limit of 2.
fn registration(text: &str) -> Registration {
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (function, of, with) = (word(), word(), word());
    Registration {
        name: name(function),
        id: FunctionId::of(function),
        version: version(of),
        resources: resources(with),
        limit: NonZeroU32::new(2).unwrap(),
    }
}

/// Each `1.2.0 2 gpu ssd`: version, limit, resources. Of the third life of the node.
fn body(id: FunctionId, offers: &[&str]) -> Bytes {
    let offer = |text: &&str| {
        let [of, limit, with] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        Offer { version: version(of), limit: limit.parse().unwrap(), resources: resources(with) }
    };
    let mut bytes = Vec::new();
    Offers::new(id, Incarnation(3), offers.iter().map(offer).collect()).unwrap().put(&mut bytes);
    bytes.into()
}

fn handle(functions: &mut Functions, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    functions.handle(input, &mut effects);
    effects
}

fn register(functions: &mut Functions, at: Worker, text: &str) -> Vec<Effect> {
    handle(functions, Input::Register { worker: at, registration: registration(text) })
}

/// An entry of `sum`.
fn entry(owner: u128, cluster: ClusterId, offers: &[&str]) -> Input {
    let body = (!offers.is_empty()).then(|| body(FunctionId::of("sum"), offers));
    Input::Changed { owner: NodeId(owner), cluster, name: "sum".into(), body }
}

/// Chooses for a call of `sum`, where all can be reached, and clusters are as far away as their number.
fn choose<'a>(
    functions: &'a Functions,
    constraint: &str,
    with: &str,
    request: u128,
) -> Result<Chosen<'a>, Failure> {
    ask(functions, constraint, with)(request)
}

/// The same, for many calls.
fn ask<'a>(
    functions: &'a Functions,
    constraint: &str,
    with: &str,
) -> impl Fn(u128) -> Result<Chosen<'a>, Failure> {
    let (name, resources) = (name("sum"), resources(with));
    let constraint: Constraint = constraint.parse().unwrap();
    let distance = |to| match to {
        Target::Cluster(ClusterId(number)) => u32::try_from(number).ok(),
        Target::Node(_) | Target::Here => Some(7),
    };
    move |request| {
        let (constraint, resources) = (&constraint, &resources);
        functions.select(&call(&name, constraint, resources, request), distance)
    }
}

/// Of whichever cluster, nowhere tried.
fn call<'a>(
    name: &'a FunctionName,
    constraint: &'a Constraint,
    resources: &'a Resources,
    request: u128,
) -> Call<'a> {
    let (cluster, within, version) = (None, Within::Fabric, None);
    Call { name, constraint, resources, cluster, within, version, tried: &[], request }
}

/// Begins and ends calls until so many run there.
fn load(functions: &mut Functions, endpoint: u64, calls: u32) -> Vec<Effect> {
    let (id, mut effects) = (EndpointId(endpoint), Vec::new());
    while functions.in_flight(id).is_some_and(|running| calls < running) {
        functions.end(id, &mut effects);
    }
    while functions.in_flight(id).is_some_and(|running| running < calls) {
        functions.begin(id);
    }
    effects
}
