//! What a node keeps of others for its next life, and what it does with it then.

use alloc::format;
use alloc::string::ToString as _;

use mpreg_proto::catalog::Node;

use super::*;
use crate::limits::HINTS_LIFE;

const SECOND: Duration = Duration::from_secs(1);

fn hint(letter: u8, kind: Kind, name: &'static [u8]) -> Hint {
    let host = char::from(letter).to_string();
    let endpoint = mpreg_proto::catalog::Endpoint {
        role: mpreg_proto::catalog::EndpointRole::PEER,
        protocol: "mpreg".into(),
        host,
        port: 1,
    };
    let mut body = vec![];
    Node { endpoints: vec![endpoint], ..Node::default() }.put(&mut body);
    let body = if kind == Kind::NODE { body.into() } else { Bytes::new() };
    let cluster = "here".parse::<ClusterName>().unwrap().id();
    let name = Bytes::from_static(name);
    Hint { node: NodeId(letter.into()), cluster, kind, name, body, is_near: true }
}

fn started(seeds: &[&str], hints: Option<Vec<Hint>>) -> (Control, Vec<Effect>) {
    let mut settings = settings();
    settings.seeds = seeds.iter().map(|seed| seed.parse().unwrap()).collect();
    settings.hints = hints;
    let mut control = Control::new(settings);
    let mut out = vec![];
    control.handle(Input::Started, Instant::START, &mut out);
    control.handle(Input::DeadlineReached, Instant::START, &mut out);
    (control, out)
}

fn dialled(effects: &[Effect]) -> Vec<String> {
    let mut dialled = vec![];
    for effect in effects {
        if let Effect::Dial { address, .. } = effect {
            dialled.push(address.to_string());
        }
    }
    dialled.sort();
    dialled
}

/// What another node's control core says to this one, as bytes of frames, and what comes of it.
fn link(one: &mut Control, other: &mut Control, now: Instant) -> Vec<Effect> {
    let up = |peer: &Control, origin| {
        Input::LinkUp(LinkUp {
            link: LinkId(1),
            peer: peer.here.node,
            cluster: "here".parse().unwrap(),
            incarnation: Incarnation(1),
            origin,
        })
    };
    let dialled = Origin::Dialled { address: "x:1".parse().unwrap() };
    let (mut from_one, mut from_other, mut all) = (vec![], vec![], vec![]);
    let up_of_other = up(other, dialled);
    other.handle(up(one, Origin::Accepted), now, &mut from_other);
    one.handle(up_of_other, now, &mut from_one);
    for step in 0..100 {
        let now = now + Duration::from_millis(20 * step);
        let heard = |effects: &mut Vec<Effect>| -> Vec<Input> {
            let mut heard = vec![];
            for effect in effects.drain(..) {
                if let Effect::Send { plane, body, .. } = effect {
                    let (plane, body) = (plane as u8, body.to_vec());
                    heard.push(Input::Received { link: LinkId(1), plane, body });
                }
            }
            heard
        };
        all.append(&mut from_one.clone());
        let (to_other, to_one) = (heard(&mut from_one), heard(&mut from_other));
        to_other.into_iter().for_each(|input| other.handle(input, now, &mut from_other));
        to_one.into_iter().for_each(|input| one.handle(input, now, &mut from_one));
        one.handle(Input::DeadlineReached, now, &mut from_one);
        other.handle(Input::DeadlineReached, now, &mut from_other);
    }
    all
}

fn written(effects: &[Effect]) -> Vec<Vec<Hint>> {
    let mut written = vec![];
    for effect in effects {
        if let Effect::Persist { record: Record::CatalogHints(bytes), .. } = effect {
            written.push(Hint::parse(bytes).unwrap());
        }
    }
    written
}

fn other(letter: u8) -> Control {
    let mut settings = settings();
    settings.node = NodeId(letter.into());
    settings.address = format!("{}:1", char::from(letter)).parse().unwrap();
    settings.about.endpoints[0].host = char::from(letter).to_string();
    let mut control = Control::new(settings);
    control.handle(Input::Started, Instant::START, &mut vec![]);
    let sum = Command::Offer {
        scope: Scope::Cluster,
        key: Key::new(Kind::FUNCTION, b"sum"),
        body: Bytes::from_static(b"body"),
    };
    control.handle(Input::Command(sum), Instant::START, &mut vec![]);
    control
}

#[test]
fn hints_are_dialled_beside_seeds_and_are_no_entries() {
    let hints = vec![hint(b'b', Kind::NODE, b""), hint(b'b', Kind::FUNCTION, b"sum")];
    let (control, out) = started(&["a:1"], Some(hints.clone()));
    assert_eq!(dialled(&out), ["a:1", "b:1"]);
    assert_eq!(control.hints().cloned().collect::<Vec<_>>(), hints);
    assert!(control.catalog().entries().all(|entry| entry.feed.node == ME));
    let mut far = hint(b'f', Kind::NODE, b"");
    far.is_near = false;
    assert_eq!(dialled(&started(&[], Some(vec![far])).1), [""; 0], "never linked");
}

#[test]
fn seeds_that_are_told_later_stand_beside_hints() {
    let (mut control, _) = started(&[], Some(vec![hint(b'b', Kind::NODE, b"")]));
    let mut out = vec![];
    let seeds = Command::Seeds(vec!["c:1".parse().unwrap(), "b:1".parse().unwrap()]);
    control.handle(Input::Command(seeds), Instant::START + SECOND, &mut out);
    control.handle(Input::DeadlineReached, Instant::START + SECOND, &mut out);
    assert_eq!(dialled(&out), ["c:1"], "b is being dialled");
}

#[test]
fn a_node_that_is_heard_of_is_no_hint_and_is_written_down() {
    let gone = hint(b'z', Kind::NODE, b"");
    let hints = vec![hint(b'b', Kind::NODE, b""), hint(b'b', Kind::FUNCTION, b"old"), gone.clone()];
    let (mut control, _) = started(&[], Some(hints));
    let out = link(&mut control, &mut other(b'b'), Instant::START + SECOND);
    assert_eq!(control.hints().collect::<Vec<_>>(), [&gone]);
    let written = written(&out);
    assert_eq!(written.len(), 1, "once in a while");
    let names: Vec<_> =
        written[0].iter().map(|hint| (hint.node.0 as u8 as char, hint.kind.word())).collect();
    assert_eq!(names, [('b', "node"), ('z', "node"), ('b', "function")]);
    assert_eq!(written[0][0].address(), Some("b:1".parse().unwrap()));
    assert_eq!(written[0][1], gone, "who was not heard of yet is not forgotten");
}

#[test]
fn without_a_disk_nothing_is_kept() {
    let (mut control, _) = started(&[], None);
    let out = link(&mut control, &mut other(b'b'), Instant::START + SECOND);
    assert!(written(&out).is_empty());
    assert_eq!(control.catalog().entries().filter(|entry| entry.feed.node != ME).count(), 2);
}

#[test]
fn what_nobody_hears_of_is_forgotten_once_somebody_is_reached() {
    let (mut control, _) = started(&[], Some(vec![hint(b'z', Kind::NODE, b"")]));
    let mut out = vec![];
    control.handle(Input::DeadlineReached, Instant::START + HINTS_LIFE, &mut out);
    assert_eq!(control.hints().count(), 1, "nobody is reached");
    link(&mut control, &mut other(b'b'), Instant::START + HINTS_LIFE + SECOND);
    control.handle(Input::DeadlineReached, Instant::START + HINTS_LIFE * 2, &mut out);
    assert_eq!(control.hints().count(), 0);
}

#[test]
fn what_was_not_written_so_is_nothing() {
    let mut bytes = vec![];
    hint(b'b', Kind::NODE, b"").put(&mut bytes);
    assert_eq!(Hint::parse(&bytes).unwrap().len(), 1);
    for length in 1..bytes.len() {
        assert_eq!(Hint::parse(&bytes[..length]), None, "{length}");
    }
    assert_eq!(Hint::parse(b""), Some(vec![]));
}
