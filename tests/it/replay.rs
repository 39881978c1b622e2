//! What nodes said once and somebody says again: captured from a link between real processes, and said
//! on it later, under the name of whoever said it.

use std::time::{Duration, Instant};

use mpreg_proto::peer::Plane;
use mpreg_tests::live::fabric::{Fabric, grid};
use mpreg_tests::live::tap::{Tap, Towards};
use mpreg_tests::live::until;
use rustix::process::Signal;

/// The gateways of `c0`, of `c1` and of `c2` on the way from one end to the other.
const NEAR: usize = 0;
const NEXT: usize = 3;
const FAR: usize = 6;

/// The node of `c0` that leaves.
const LEAVER: usize = 2;

/// A chain of three clusters of three, one link from each to the next. The first of these has a tap in
/// it, and so has the only link between `NEAR` and `LEAVER`.
fn start() -> (Fabric, Tap, Tap) {
    let mut seats = grid(3, 3, |near, far| near + 1 == far);
    seats[4].joins.retain(|&other| other != 1);
    seats[7].joins.retain(|&other| other != 4);
    seats[NEXT].joins.retain(|&other| other != NEAR);
    seats[LEAVER].joins.retain(|&other| other != NEAR);
    let mut fabric = Fabric::of(seats);
    fabric.cables.cut(&[NEAR], &[LEAVER]);
    fabric.start_one(NEAR);
    let listens = fabric.router(NEAR).bound("peer");
    let credentials = |at: usize| fabric.members[at].credentials.as_path();
    let [next, leaver] =
        [NEXT, LEAVER].map(|at| Tap::between(credentials(at), credentials(NEAR), listens));
    fabric.members[NEXT].via = vec![next.address];
    fabric.members[LEAVER].via = vec![leaver.address];
    (1..9).for_each(|at| fabric.start_one(at));
    fabric.wait_known();
    (fabric, next, leaver)
}

fn offer(fabric: &Fabric, method: &str, name: &str) {
    let offer = format!("/catalog?scope=fabric&kind=function&name={name}");
    assert_eq!(fabric.router(5).ask(method, &offer).0, 204);
}

fn is_offered(fabric: &Fabric, at: usize, name: &str) -> bool {
    fabric.shared(at).iter().any(|[_, known, _]| known == name)
}

/// Waits until what is offered behind the tap is known in front of it.
#[track_caller]
fn wait_offered(fabric: &Fabric, name: &str, wanted: bool) {
    for at in 0..3 {
        until("the news is here", || (is_offered(fabric, at, name) == wanted).then_some(()));
    }
}

/// Says all of a plane again. What is offered after that comes behind it.
fn replay(fabric: &Fabric, tap: &Tap, plane: Plane, fence: &str) {
    let frames = tap.captured(Towards::Listener, plane);
    assert!(!frames.is_empty(), "something was said");
    tap.replay(frames);
    offer(fabric, "PUT", fence);
    wait_offered(fabric, fence, true);
}

fn entries(fabric: &Fabric, tap: &Tap) {
    offer(fabric, "PUT", "stale");
    wait_offered(fabric, "stale", true);
    offer(fabric, "DELETE", "stale");
    wait_offered(fabric, "stale", false);
    for method in ["PUT", "DELETE", "PUT"] {
        offer(fabric, method, "again");
        wait_offered(fabric, "again", method == "PUT");
    }
    let known = || fabric.router(NEAR).page().sum("mpreg_catalog_known_total", &[]);
    let known_before = known();
    replay(fabric, tap, Plane::Catalog, "fence-1");
    for at in 0..3 {
        assert!(!is_offered(fabric, at, "stale"), "an addition that was taken back");
        assert!(is_offered(fabric, at, "again"), "what was taken back, and offered again");
    }
    assert!(known_before < known(), "it was heard, and nothing new");
}

fn routes(fabric: &mut Fabric, tap: &Tap) {
    let way = |fabric: &Fabric| fabric.explained(NEAR, "c2").selected;
    let rejected =
        |fabric: &Fabric| fabric.router(NEAR).page().sum("mpreg_routes_rejected_total", &[]);
    until("there is a way", || way(fabric));
    fabric.kill(FAR);
    until("there is none", || way(fabric).is_none().then_some(()));
    let before = rejected(fabric);
    replay(fabric, tap, Plane::Route, "fence-2");
    assert_eq!(way(fabric), None, "an announcement that was withdrawn");
    assert!(before < rejected(fabric), "it was heard and refused");
    fabric.start_one(FAR);
    until("there is a way again", || way(fabric));
    let before = rejected(fabric);
    replay(fabric, tap, Plane::Route, "fence-3");
    assert!(way(fabric).is_some(), "a withdrawal of what was announced again");
    assert!(before < rejected(fabric), "it was heard and refused");
}

fn goodbyes(fabric: &mut Fabric, tap: &Tap) {
    let mut leaver = fabric.take(LEAVER);
    leaver.signal(Signal::TERM);
    leaver.wait();
    let left =
        |fabric: &Fabric, at: usize| fabric.router(at).page().sum("mpreg_members_left_total", &[]);
    for at in [NEAR, 1] {
        until("the goodbye was heard", || (left(fabric, at) == 1).then_some(()));
    }
    fabric.start_one(LEAVER);
    fabric.wait_known();
    let rows = || fabric.router(NEAR).peers();
    until("it has its link", || {
        rows().iter().find(|row| row.node == fabric.members[LEAVER].id).map(drop)
    });
    tap.replay(tap.captured(Towards::Listener, Plane::Member));
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for at in [NEAR, 1] {
            assert!(fabric.known(at).contains(&fabric.members[LEAVER].id), "it is still there");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for at in [NEAR, 1] {
        assert_eq!(left(fabric, at), 1, "nobody left again");
        assert_eq!(fabric.router(at).page().sum("mpreg_members", &[]), 2);
    }
}

#[test]
fn what_was_said_once_has_no_effect_when_it_is_said_again() {
    let (mut fabric, next, leaver) = start();
    entries(&fabric, &next);
    routes(&mut fabric, &next);
    goodbyes(&mut fabric, &leaver);
}
