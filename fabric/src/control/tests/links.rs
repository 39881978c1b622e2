//! What is said of links between clusters counts if the cluster that says it has signed it.

use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_proto::link_state::{Adjacency, Advertisement, AreaId, Flood, Kind, Metrics};
use mpreg_proto::route::{Authorisation, Signed, Signing, message};

use super::*;
use crate::route::{Provided, Signer};

pub(super) const ROOT: [u8; 32] = [7; 32];

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

/// What the root says of a cluster's key.
pub(super) fn authorised(name: &str, key: &SigningKey) -> Provided {
    let body = Authorisation {
        cluster: cluster(name).id(),
        key_serial: 1,
        keep_from: 1,
        key: key.verifying_key().to_bytes(),
        tags: vec![],
        not_before: 0,
        not_after: u64::MAX,
    }
    .body();
    let signature = SigningKey::from_bytes(&ROOT).sign(&message(Signing::Authorisation, &body));
    Provided::Authorisation(Signed { body, signature: Some(signature.to_bytes()) })
}

/// Gateway `m` of `here`, linked with gateway `b` of `there`. It knows no key but its own.
fn gateway() -> (Control, Vec<Effect>) {
    let mut settings = settings();
    settings.link_state.mode = LinkStateMode::Prefer;
    settings.route.root = Some(SigningKey::from_bytes(&ROOT).verifying_key());
    settings.route.signer = Some(Signer { key_serial: 1, key: key(1) });
    let mut control = Control::new(settings);
    let mut out = vec![];
    control.handle(input("up 1 b/there dialled"), Instant::START, &mut out);
    let later = Instant::START + Duration::from_secs(1);
    control.handle(Input::DeadlineReached, later, &mut out);
    (control, out)
}

fn floods(effects: &[Effect]) -> Vec<Flood> {
    let mut floods = vec![];
    for effect in effects {
        if let Effect::Send { plane: Plane::LinkState, body, .. } = effect {
            floods.push(Flood::parse(body).unwrap());
        }
    }
    floods
}

fn refused(effects: &[Effect]) -> usize {
    let is_refused = |effect: &&Effect| {
        let reason = link_state::Reject::Signature;
        matches!(effect, Effect::Fact(Fact::LinkState { reason: why, .. }) if *why == reason)
    };
    effects.iter().filter(is_refused).count()
}

/// Node `b` of `there` says that it has a link with `m`, and one with a node of `far`.
fn said(sequence: u64, key: Option<&SigningKey>) -> Input {
    let metrics = Metrics { latency_us: 1, bandwidth_mbps: 0, reliability_ppm: 1_000_000, cost: 0 };
    let link = |node, name| Adjacency { node, cluster: cluster(name).id(), metrics };
    let body = Advertisement {
        origin: NodeId(b'b'.into()),
        cluster: cluster("there").id(),
        version: Version { incarnation: Incarnation(1), sequence },
        kind: Kind::Border as u16,
        area: AreaId(0),
        links: vec![link(ME, "here"), link(NodeId(b'f'.into()), "far")],
        summaries: vec![],
    }
    .to_body();
    let sign = |key: &SigningKey| key.sign(&message(Signing::LinkState, &body)).to_bytes();
    let flood = Flood { ttl_ms: 10_000, signature: key.map(sign), body };
    let mut bytes = vec![];
    flood.put(&mut bytes);
    Input::Received { link: LinkId(1), plane: Plane::LinkState as u8, body: bytes }
}

#[test]
fn own_links_to_other_clusters_are_signed() {
    let (_, out) = gateway();
    let floods = floods(&out);
    assert_eq!(floods.len(), 1);
    let signature = ed25519_dalek::Signature::from_bytes(&floods[0].signature.unwrap());
    let signed = message(Signing::LinkState, &floods[0].body);
    key(1).verifying_key().verify_strict(&signed, &signature).unwrap();
}

#[test]
fn with_another_key_own_links_are_said_again() {
    let (mut control, out) = gateway();
    let now = Instant::START + Duration::from_secs(2);
    let signer = Signer { key_serial: 2, key: key(2) };
    control.handle(Input::Command(Command::Signer(Some(signer))), now, &mut vec![]);
    let mut again = vec![];
    control.handle(Input::DeadlineReached, now, &mut again);
    let (before, after) = (floods(&out), floods(&again));
    assert_eq!(after.len(), 1);
    let version = |flood: &Flood| Advertisement::parse(&flood.body).unwrap().version;
    assert!(version(&before[0]) < version(&after[0]), "or nobody takes it");
    let signature = ed25519_dalek::Signature::from_bytes(&after[0].signature.unwrap());
    let signed = message(Signing::LinkState, &after[0].body);
    key(2).verifying_key().verify_strict(&signed, &signature).unwrap();
}

#[test]
fn what_its_cluster_has_not_signed_changes_nothing() {
    let (mut control, _) = gateway();
    let mut now = Instant::START + Duration::from_secs(2);
    let mut hear = |input: Input| {
        let mut out = vec![];
        now = now + Duration::from_secs(1);
        control.handle(input, now, &mut out);
        (refused(&out), control.link_state().filter(|said| said.origin != ME).count())
    };
    assert_eq!(hear(said(1, None)), (1, 0));
    assert_eq!(hear(said(2, Some(&key(2)))), (1, 0), "its key is not known yet");
    let authorise = Input::Command(Command::Key(authorised("there", &key(2))));
    assert_eq!(hear(authorise).1, 1, "it is known: what it had signed counts");
    assert_eq!(hear(said(3, Some(&key(3)))), (1, 1), "another key");
    assert_eq!(hear(said(4, None)), (1, 1));
    assert_eq!(hear(said(5, Some(&key(2)))), (0, 1));
    assert_eq!(hear(said(5, None)).0, 0, "known already, so nobody looks");
}
