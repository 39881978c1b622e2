//! Bugs planted to try the simulator of many nodes: each one change of one line, found by the seeds or
//! the seeds are not worth much.
//!
//! `cargo run -p mpreg-tests --bin planted` builds each into a copy of the sources and plays seeds until
//! one fails. It takes minutes, so it runs on request; that each line is still there is a test.

use std::fs;
use std::path::Path;

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
        name: "earlier_life_wins",
        file: "fabric/src/dial/links.rs",
        from: "b.incarnation.cmp(&a.incarnation)",
        to: "a.incarnation.cmp(&b.incarnation)",
    },
    Planted {
        name: "dials_without_bound",
        file: "fabric/src/dial/target.rs",
        from: "if DIALS_MAX <= open.len() {",
        to: "if DIALS_MAX + 1 <= open.len() {",
    },
    Planted {
        name: "seed_of_a_lost_node_is_given_up",
        file: "fabric/src/dial/target.rs",
        from: "let is_lost =\n                    peer.is_none_or(|peer| matches!(peer.standing, Standing::Lost { .. }));",
        to: "let is_lost = peer.is_none();",
    },
    Planted {
        name: "failed_dial_is_not_repeated",
        file: "fabric/src/dial.rs",
        from: "            Input::DialFailed { address } => self.dial_failed(&address, now),",
        to: "            Input::DialFailed { .. } => {}",
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
        name: "goodbye_is_not_heard",
        file: "fabric/src/control/cluster.rs",
        from: "        self.member(member::Input::Leave { reason }, now, out);",
        to: "        let _ = (reason, now);",
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
        to: "let _ = (incarnation, now, out);",
    },
    Planted {
        name: "closed_links_are_admitted",
        file: "fabric/src/control/cluster.rs",
        from: "        if !effects.iter().any(is_closed) {",
        to: "        if !effects.is_empty() || !effects.iter().any(is_closed) {",
    },
    Planted {
        name: "time_stands_still",
        file: "fabric/src/control.rs",
        from: "[self.member.deadline(), self.dialler.deadline()]",
        to: "[self.member.deadline(), None]",
    },
];

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
