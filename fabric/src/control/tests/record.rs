//! Recordings play again, and say where something else came of it.

use alloc::collections::VecDeque;
use alloc::format;

use super::links::{ROOT, authorised, key};
use super::*;
use crate::control::record::{self, Fault, Replayed, Step, replay};
use crate::route::Signer;

/// Three nodes, each linked with the others: the recorded one, a mate, and a gateway of another cluster.
struct Lab {
    nodes: Vec<(NodeId, Control)>,
    now: Instant,
    /// Where, and what.
    waiting: VecDeque<(usize, Input)>,
    recording: Vec<u8>,
    /// The shard of the recorded node has not let go of these.
    views: Vec<Arc<View>>,
    /// Steps, in bytes of the recording.
    ends: Vec<usize>,
}

fn settings_of(node: u8, cluster: &str) -> Settings {
    let (name, address) = (cluster.parse().unwrap(), "x:1".parse().unwrap());
    let mut settings = Settings::new(NodeId(node.into()), name, Incarnation(1), address, 1);
    settings.link_state.mode = LinkStateMode::Prefer;
    settings.route.root = Some(key(ROOT[0]).verifying_key());
    settings.route.signer = Some(Signer { key_serial: 1, key: key(node) });
    settings.federation = Federation::Permissive(vec![]);
    settings.hints = Some(vec![]);
    settings
}

impl Lab {
    fn new() -> Self {
        let (recorded, recording) = record::begin(settings_of(b'm', "here"));
        let other = |node, cluster| {
            let settings = settings_of(node, cluster);
            (settings.node, Control::new(settings))
        };
        let nodes = vec![(ME, recorded), other(b'b', "here"), other(b'c', "there")];
        let (waiting, views) = (VecDeque::new(), vec![]);
        let mut lab = Self { nodes, now: Instant::START, waiting, recording, views, ends: vec![] };
        let clusters = ["here", "here", "there"];
        for at in 0..3 {
            lab.waiting.push_back((at, Input::Started));
            for (name, node) in [("here", b'm'), ("there", b'c')] {
                let known = Command::Key(authorised(name, &key(node)));
                lab.waiting.push_back((at, Input::Command(known)));
            }
            for to in (0..3).filter(|to| *to != at) {
                let up = LinkUp {
                    link: LinkId(to as u64),
                    peer: lab.nodes[to].0,
                    cluster: clusters[to].parse().unwrap(),
                    incarnation: Incarnation(1),
                    origin: match at < to {
                        true => Origin::Dialled { address: "x:1".parse().unwrap() },
                        false => Origin::Accepted,
                    },
                };
                lab.waiting.push_back((at, Input::LinkUp(up)));
            }
        }
        lab.settle();
        lab
    }

    fn settle(&mut self) {
        while let Some((at, input)) = self.waiting.pop_front() {
            let (me, control) = &mut self.nodes[at];
            let me = *me;
            let (mut effects, step) = (vec![], Step::new(self.now, &input));
            control.handle(input, self.now, &mut effects);
            if at == 0 {
                self.recording.extend(step.end(control, &effects));
                self.ends.push(self.recording.len());
            }
            for effect in effects {
                match effect {
                    Effect::Send { to, plane, body, .. } => {
                        let to = self.nodes.iter().position(|(node, _)| *node == to).unwrap();
                        let (link, plane, body) = (LinkId(at as u64), plane as u8, body.to_vec());
                        self.waiting.push_back((to, Input::Received { link, plane, body }));
                    }
                    Effect::Persist { ticket, .. } => {
                        self.waiting.push_back((at, Input::Persisted { ticket }));
                    }
                    Effect::View { view, .. } if me == ME => {
                        self.views.push(view);
                        self.views.drain(..self.views.len().saturating_sub(3));
                    }
                    Effect::Admit { .. }
                    | Effect::Use { .. }
                    | Effect::Close { .. }
                    | Effect::Dial { .. }
                    | Effect::View { .. }
                    | Effect::Left
                    | Effect::Fact(_) => (),
                }
            }
        }
    }

    fn want(&mut self, topic: &'static [u8], members: u32) {
        let want =
            Want { shard: ShardIx::new(0).unwrap(), name: Bytes::from_static(topic), members };
        self.waiting.push_back((1, Input::Want(want)));
        self.settle();
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.now = self.now + Duration::from_millis(10);
            for at in 0..3 {
                if self.nodes[at].1.deadline().is_some_and(|(due, _)| due <= self.now) {
                    self.waiting.push_back((at, Input::DeadlineReached));
                }
            }
            self.settle();
        }
    }
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.pass(Duration::from_secs(2));
    for (members, topic) in [(1, b"\x01a"), (1, b"\x01b"), (0, b"\x01a"), (2, b"\x01c")] {
        lab.want(topic, members);
        lab.pass(Duration::from_millis(300));
    }
    lab.waiting.push_back((0, Input::LinkDown { link: LinkId(2), end: End::Lost }));
    lab.pass(Duration::from_secs(2));
    lab
}

#[test]
fn a_recording_plays_again() {
    let lab = lab();
    let mut shown = 0;
    let Replayed { steps, is_torn, difference, until, .. } =
        replay(&lab.recording, |_, _, _| shown += 1).unwrap();
    assert_eq!((difference, is_torn), (None, false));
    assert_eq!((steps as usize, shown, until), (lab.ends.len(), lab.ends.len(), lab.now));
    assert!(lab.ends.len() > 100, "{} steps", lab.ends.len());
    let has = |wanted: &[u8]| lab.recording.windows(wanted.len()).any(|bytes| bytes == wanted);
    assert!(has(b"there") && !has(&[b'm'; 32]), "names are told, keys are not");
}

#[test]
fn without_what_was_found_something_else_comes_of_it() {
    // What was found is in the recording and matters: signatures, and views that shards had not let go of.
    let (mut free, mut held, mut signed) = (0, 0, 0);
    let recording = lab().recording;
    let mut frames = record::tests::outcomes(&recording);
    for (signatures, views) in frames.by_ref() {
        signed += signatures;
        free += views.iter().filter(|is_free| **is_free).count();
        held += views.iter().filter(|is_free| !**is_free).count();
    }
    assert!(signed > 2 && free > 0 && held > 0, "{signed} {free} {held}");
}

#[test]
fn a_torn_tail_is_left_out() {
    let Lab { recording, ends, .. } = lab();
    for (index, end) in ends.iter().enumerate().step_by(17) {
        let torn = replay(&recording[..end + 5], |_, _, _| ()).unwrap();
        let is_last = end + 5 > recording.len();
        assert!(is_last || torn.is_torn);
        assert_eq!((torn.steps as usize, torn.difference), (index + 1, None));
    }
    assert_eq!(replay(&recording[..7], |_, _, _| ()), Err(Fault::NotOne));
}

#[test]
fn what_was_changed_is_told() {
    let Lab { mut recording, ends, .. } = lab();
    // A step that never was: everything after it happens a moment later for it.
    let (from, to) = (ends[ends.len() / 3], ends[ends.len() / 3 + 40]);
    let without = [&recording[..from], &recording[to..]].concat();
    let replayed = replay(&without, |_, _, _| ()).unwrap();
    let difference = replayed.difference.expect("forty steps are missing");
    assert!(difference.step as usize > ends.len() / 3);
    assert!(format!("{difference}").contains("the first that is another"), "{difference}");
    recording[from + 14] ^= 1;
    assert_eq!(replay(&recording, |_, _, _| ()), Err(Fault::Damaged { at: from }));
    recording[8] = 200;
    assert_eq!(replay(&recording, |_, _, _| ()), Err(Fault::Format(200)));
}
