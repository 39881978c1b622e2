//! What a real node's control core was told, recorded and played again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64, HEXLOWER};
use mpreg_fabric::control::Input;
use mpreg_fabric::control::record::replay;
use mpreg_tests::live::fabric::{Fabric, Seat, join_up};
use mpreg_tests::live::laboratory::mpreg;
use mpreg_tests::live::nats::NatsPeer;
use mpreg_tests::live::{Launch, until};
use rustix::process::Signal;

/// Three clusters in a row, and one more node in that in the middle. The gateway there is recorded.
const RECORDED: usize = 1;

fn seats() -> Vec<Seat> {
    let mate = Seat { role: "node", ..Seat::gateway("middle", &[RECORDED]) };
    let ends = [Seat::gateway("left", &[]), Seat::gateway("middle", &[0])];
    ends.into_iter().chain([Seat::gateway("right", &[RECORDED]), mate]).collect()
}

/// Everybody hears everybody.
fn talk(fabric: &Fabric, round: usize) {
    let mut clients: Vec<NatsPeer> = fabric.clients();
    clients.iter_mut().for_each(|client| client.subscribe(1, "z.>"));
    join_up(&mut clients, round);
}

/// What `sim --replay` says of it, and the code it ends with.
fn played(path: &Path) -> (Option<i32>, String) {
    let program = Command::new(env!("CARGO_BIN_EXE_sim")).arg("--replay").arg(path).output();
    let said = program.expect("it is built with the tests");
    let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    (said.status.code(), text.into_owned())
}

/// Keys of a gateway: of its certificate, and of the routes of its cluster.
fn secrets(credentials: &Path) -> [Vec<u8>; 2] {
    let read = |name| fs::read_to_string(credentials.join(name)).expect("a gateway has it");
    let (pem, hex) = (read("node.key"), read("routes.key"));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = BASE64.decode(body.as_bytes()).expect("it is base64");
    // An octet string in another.
    let begin = bytes.windows(4).position(|window| window == [4, 0x22, 4, 0x20]);
    let begin = begin.expect("it is an Ed25519 key") + 4;
    let of_routes = HEXLOWER.decode(hex.trim().as_bytes()).expect("it is hexadecimal");
    [bytes[begin..begin + 32].to_vec(), of_routes]
}

/// Where steps begin, and the end.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![10];
    while let Some((length, _)) = bytes[*ends.last().expect("there is one")..].split_first_chunk() {
        ends.push(ends[ends.len() - 1] + 12 + u32::from_le_bytes(*length) as usize);
    }
    ends
}

#[test]
fn a_recorded_node_does_the_same_when_it_is_played_again() {
    let mut fabric = Fabric::of(seats());
    let paths = ["first", "second"].map(|name| fabric.laboratory.path(name));
    let more = |path: &Path| {
        format!("record = '{}'\n[routes]\ndamping.hold_down_ms = 100\n", path.display())
    };
    fabric.members[RECORDED].seat.more = more(&paths[0]);
    (0..4).for_each(|at| fabric.start_one(at));
    fabric.wait_known();
    talk(&fabric, 0);
    // A policy that names a cluster, then one that does not.
    let router = fabric.router(RECORDED);
    let file = router.path("mpreg.toml");
    let before = fs::read_to_string(&file).expect("it was started with one");
    let denies = format!("{before}[routes.export]\ndestinations_denied = ['left']\n");
    for (text, ways) in [(&denies, 0), (&before, 1)] {
        fs::write(&file, text).expect("the folder is ours");
        let admin = router.ready["admin"].as_str().expect("it has an admin surface");
        let said = mpreg(&["policy", "reload", "--admin", admin]);
        assert!(said.status.success(), "{said:?}");
        until("the policy counts", || {
            let known = fabric.explained(2, "left").candidates;
            (known.iter().filter(|way| way.filtered.is_none()).count() == ways).then_some(())
        });
    }
    // Members die and come again, and so does the recorded node.
    for at in [3, 2] {
        fabric.kill(at);
        let gone = fabric.members[at].id.clone();
        until("it is gone", || (!fabric.known(RECORDED).contains(&gone)).then_some(()));
        fabric.start_one(at);
        fabric.wait_known();
    }
    fabric.kill(RECORDED);
    fabric.members[RECORDED].seat.more = more(&paths[1]);
    fabric.start_one(RECORDED);
    fabric.wait_known();
    talk(&fabric, 1);
    let mut router = fabric.take(RECORDED);
    router.signal(Signal::TERM);
    assert!(router.wait().success());

    for (path, is_whole) in [(&paths[0], false), (&paths[1], true)] {
        let bytes = fs::read(path).expect("it was written");
        let mut planes = BTreeSet::new();
        let show = |_, input: &Input, _: &[_]| {
            if let Input::Received { plane, .. } = input {
                planes.insert(*plane);
            }
        };
        let replayed = replay(&bytes, show).expect("it is a recording");
        assert_eq!(replayed.difference, None);
        assert!(50 < replayed.steps && 3 <= planes.len(), "{} of {planes:?}", replayed.steps);
        assert!(!is_whole || !replayed.is_torn);
        let (code, said) = played(path);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the same comes of it"), "{said}");
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(b"middle"), "names are told");
        for secret in secrets(&fabric.members[RECORDED].credentials) {
            assert!(secret.len() == 32 && !has(&secret), "keys are not");
        }
    }
    is_found_out(&fabric, &paths[1]);
}

/// Whatever is done to it.
fn is_found_out(fabric: &Fabric, path: &Path) {
    let bytes = fs::read(path).expect("it was written");
    let other = fabric.laboratory.path("changed");
    let play = |bytes: &[u8]| {
        fs::write(&other, bytes).expect("the folder is ours");
        played(&other)
    };
    let frames = frames(&bytes);
    let (from, to) = (frames[frames.len() / 2], frames[frames.len() / 2 + 10]);
    let (code, said) = play(&[&bytes[..from], &bytes[to..]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("another comes of it") && said.contains("effects were recorded"),
        "{said}"
    );
    let (code, said) = play(&bytes[..from + 5]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the last one is not whole"), "{said}");
    let mut changed = bytes;
    changed[from + 20] ^= 1;
    let (code, said) = play(&changed);
    assert_eq!(
        (code, said.contains(&format!("damaged at byte {from}"))),
        (Some(2), true),
        "{said}"
    );
}

#[test]
fn a_recording_takes_the_place_of_no_file() {
    let fabric = Fabric::of(seats());
    let path = fabric.laboratory.path("taken");
    fs::write(&path, "mine").expect("the folder is ours");
    let launch = Launch::of(1).argument("--record").argument(path.to_str().expect("text"));
    let refused = launch.as_node(&fabric.members[RECORDED].credentials, "middle", "").refused();
    assert!(refused.stderr.contains("(peer.record)"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "mine");
}
