//! Bugs planted to try the simulator of many nodes: each one change of one line, found by the seeds or
//! the seeds are not worth much.
//!
//! `cargo run -p mpreg-tests --bin planted` builds each into a copy of the sources and plays seeds until
//! one fails. It takes minutes, so it runs on request; that each line is still there is a test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One change that breaks something.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

/// Seeds within which each is found.
pub const SEEDS: u64 = 600;

pub const ALL: &[Planted] = &[
    Planted {
        name: "ends_choose_unlike",
        file: "fabric/src/dial/links.rs",
        from: "link.is_dialled != is_smaller",
        to: "link.is_dialled",
    },
    Planted {
        name: "dials_without_bound",
        file: "fabric/src/dial/target.rs",
        from: "DIALS_MAX <= self.dials_open()",
        to: "DIALS_MAX < self.dials_open()",
    },
    Planted {
        name: "seed_of_a_lost_node_is_given_up",
        file: "fabric/src/dial/target.rs",
        from: "Found::Node(node) => self.link(node).is_none() && !self.peers.contains_key(&node),",
        to: "Found::Node(_) => false,",
    },
    Planted {
        name: "link_up_is_said_once",
        file: "fabric/src/control/cluster.rs",
        from: "        if cluster == self.here.cluster {\n            self.member(member::Input::LinkUp",
        to: "        if before.is_none() && cluster == self.here.cluster {\n            self.member(member::Input::LinkUp",
    },
    Planted {
        name: "link_down_is_not_said",
        file: "fabric/src/control/cluster.rs",
        from: "        let Some(peer) = self.peers.remove(&node) else { return };",
        to: "        let Some(&peer) = self.peers.get(&node) else { return };",
    },
    Planted {
        name: "clusters_are_mixed",
        file: "fabric/src/control/cluster.rs",
        from: "        if cluster == self.here.cluster {\n            self.member(member::Input::LinkUp",
        to: "        if cluster.0 != 0 {\n            self.member(member::Input::LinkUp",
    },
    Planted {
        name: "renewal_is_forgotten",
        file: "fabric/src/control.rs",
        from: "self.member(member::Input::Renewed { incarnation }, now, out);",
        to: "let _ = incarnation;",
    },
    Planted {
        name: "closed_links_are_admitted",
        file: "fabric/src/control/cluster.rs",
        from: "        if !effects.iter().any(is_closed) {",
        to: "        if !effects.is_empty() || !effects.iter().any(is_closed) {",
    },
    Planted {
        name: "gossip_is_not_renewed",
        file: "fabric/src/control.rs",
        from: "                self.spread(gossip::Input::Renewed(incarnation), now, out);",
        to: "",
    },
    Planted {
        name: "nobody_speaks_for_the_cluster",
        file: "fabric/src/control/offers.rs",
        from: "any(|peer| peer.cluster != self.here.cluster)",
        to: "any(|peer| peer.cluster == self.here.cluster)",
    },
    Planted {
        name: "gossip_is_not_told_of_links",
        file: "fabric/src/control/offers.rs",
        from: "        self.spread(gossip::Input::LinkUp(speaker), now, out);",
        to: "        let _ = speaker;",
    },
    Planted {
        name: "loops_are_accepted",
        file: "fabric/src/way.rs",
        from: "if peer == self.here.node || flow.trail.nodes.contains(peer) {",
        to: "if peer == self.here.node {",
    },
    Planted {
        name: "longer_ways_are_better",
        file: "fabric/src/route/select.rs",
        from: "judged.sort_by_key(|way| (way.filtered.is_some(), way.rank));",
        to: "judged.sort_by_key(|way| (way.filtered.is_some(), Reverse(way.rank)));",
    },
    Planted {
        name: "entered_clusters_pass_on_to_one_node",
        file: "fabric/src/hop.rs",
        from: "        wanted.nodes.iter().for_each(|&node| self.node(node));\n        if wanted",
        to: "        wanted.nodes.iter().take(1).for_each(|&node| self.node(node));\n        if wanted",
    },
    Planted {
        name: "wants_are_never_taken_back",
        file: "fabric/src/want.rs",
        from: "out.extend(earlier.map(|_| Effect::Retract { scope, kind, name }));",
        to: "let _ = (scope, kind, earlier);",
    },
    Planted {
        name: "lapsed_leases_are_kept",
        file: "fabric/src/gossip.rs",
        from: "        for feed in self.catalog.expire(now, &mut self.changed) {",
        to: "        for feed in self.catalog.expire(Instant::START, &mut self.changed) {",
    },
    Planted {
        name: "foreign_deaths_are_final",
        file: "fabric/src/catalog/learn.rs",
        from: "is_same && (is_own || head.beat <= feed.beat + BEATS_IN_FLIGHT) =>",
        to: "is_same && (is_own || head.beat <= feed.beat + 1_000_000) =>",
    },
    Planted {
        name: "shares_are_lost",
        file: "fabric/src/hop.rs",
        from: "            Ok(peer) => self.out.add(peer, target),",
        to: "            Ok(_) => (),",
    },
    Planted {
        name: "routes_are_not_told_of_links",
        file: "fabric/src/control/ways.rs",
        from: "        self.route(route::Input::PeerUp { peer: node, cluster, link }, now, out);",
        to: "        let _ = link;",
    },
    Planted {
        name: "routes_are_not_heard",
        file: "fabric/src/control.rs",
        from: "Some(Plane::Route) => self.route_heard(from, &body, now, out),",
        to: "Some(Plane::Route) => (),",
    },
    Planted {
        name: "views_keep_old_wants",
        file: "fabric/src/control/offers.rs",
        from: "                    self.interest = view;",
        to: "                    let _ = view;",
    },
    Planted {
        name: "wants_are_not_offered",
        file: "fabric/src/control/offers.rs",
        from: "                    self.spread(gossip::Input::Offer { scope, key, body }, now, out);",
        to: "                    let _ = (scope, key, body);",
    },
];

/// By its number, from 1 on, or its name.
pub fn find(name: &str) -> Option<&'static Planted> {
    let number = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    number.and_then(|at| ALL.get(at)).or_else(|| ALL.iter().find(|bug| bug.name == name))
}

/// A simulator with this bug, made of a copy of the sources. The copy and its build stay in the target
/// directory.
pub fn build(bug: &Planted) -> Result<Command, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let copy = target.join("planted");
    copy_tracked(root, &copy);
    plant(bug, &copy)?;
    let args = ["build", "-q", "--offline", "--locked", "--profile", "checked"];
    let of = ["-p", "mpreg-tests", "--bin", "sim"];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target")).args(args).args(of);
    let built = cargo.output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(format!("does not build:\n{}", String::from_utf8_lossy(&built.stderr)));
    }
    Ok(Command::new(copy.join("target/checked/sim")))
}

/// What git knows of, as it is now. Files that did not change keep their age, so little is rebuilt.
fn copy_tracked(root: &Path, copy: &Path) {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = listed.expect("git lists the files").stdout;
    let paths = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    for path in paths.map(|path| Path::new(OsStr::from_bytes(path))) {
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        let to = copy.join(path);
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().expect("it is under the copy")).expect("a directory");
        fs::write(&to, bytes).expect("a copy");
    }
}

/// Puts the bug into the sources under `root`, or says why it cannot be.
pub fn plant(bug: &Planted, root: &Path) -> Result<(), String> {
    let path = root.join(bug.file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", bug.file))?;
    let count = text.matches(bug.from).count();
    if count != 1 {
        return Err(format!("{}: {:?} is {count} times in {}", bug.name, bug.from, bug.file));
    }
    let text = text.replacen(bug.from, bug.to, 1);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", bug.file))
}
