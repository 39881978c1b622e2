//! Which module of a crate may name which: parts that can be read alone stay that way.
//!
//! Each line is a module and the modules of its crate that it may name, itself and its own parts
//! apart. A new line, or a new name in one, is a decision about the architecture.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Source};

type Edges = &'static [(&'static str, &'static [&'static str])];

/// `fact`, `id`, `time`, `limits` and `handoff` are words; `subscription`, `rng`, `graph`, `tape` and
/// `way` are tools; `session`, `interest` and `forward` do not know each other; `shard` joins them. `member`,
/// `dial`, `route`, `link_state`, `plan` and `want` are parts of the control core and know nobody;
/// `control` joins them. `catalog` is what `gossip` keeps. `call` joins `function` to calls.
const FABRIC: Edges = &[
    ("breaker", &["time"]),
    ("call", &["function", "hop", "limits", "time", "way"]),
    ("call_graph", &["call", "limits", "time"]),
    ("catalog", &["limits", "time"]),
    (
        "control",
        &[
            "breaker",
            "catalog",
            "dial",
            "gossip",
            "limits",
            "link_state",
            "member",
            "plan",
            "rng",
            "route",
            "tape",
            "time",
            "want",
            "way",
        ],
    ),
    ("dial", &["limits", "rng", "time"]),
    ("fact", &[]),
    ("forward", &["handoff", "hop", "id", "limits", "time"]),
    ("function", &["graph", "limits"]),
    ("gossip", &["catalog", "limits", "rng", "time"]),
    ("graph", &["rng"]),
    ("handoff", &["call", "hop"]),
    ("hop", &["graph", "limits", "time", "way"]),
    ("id", &[]),
    ("interest", &["handoff", "subscription"]),
    ("limits", &[]),
    ("member", &["limits", "rng", "time"]),
    ("link_state", &["graph", "limits", "time", "way"]),
    ("permission", &["limits", "time"]),
    ("plan", &["limits", "way"]),
    ("rng", &[]),
    ("route", &["limits", "rng", "tape", "time"]),
    ("session", &["id", "limits", "time"]),
    (
        "shard",
        &[
            "fact",
            "forward",
            "handoff",
            "hop",
            "id",
            "interest",
            "limits",
            "rng",
            "session",
            "subscription",
            "time",
            "want",
        ],
    ),
    ("subscription", &[]),
    ("tape", &[]),
    ("time", &[]),
    ("want", &["limits", "subscription", "tape", "time"]),
    ("way", &["breaker", "graph", "limits", "time"]),
];

/// The parts of a node, each readable alone. `switch`, `shard`, `drive`, `control`, `identity` and
/// `node` join them and may name any; `admin`, `cli`, `config`, `reload` and `log` are not on the way of a
/// message.
const ROUTER_PARTS: Edges = &[
    ("arena", &["limits"]),
    ("auth", &["clock", "limits"]),
    ("ca", &["peer"]),
    ("call_graph", &["limits", "shown"]),
    ("clock", &[]),
    ("dns", &["limits"]),
    ("limits", &[]),
    ("link", &["limits", "nats", "outbound", "peer_link", "ring", "transport"]),
    ("listen", &[]),
    ("mesh", &["auth", "limits", "peer_link", "roster", "trace"]),
    ("nats", &["auth", "limits", "roster", "transport"]),
    ("nats_conf", &["auth", "config"]),
    ("outbound", &["limits"]),
    ("peer", &["limits", "peer_link", "probe", "tls"]),
    ("peer_link", &["probe"]),
    ("probe", &[]),
    ("ring", &["limits", "outbound"]),
    ("roster", &["probe"]),
    ("shown", &[]),
    ("store", &["limits"]),
    ("tls", &["limits"]),
    ("trace", &[]),
    ("transport", &["limits", "tls"]),
];

const ROUTER_OTHERS: [&str; 12] = [
    "admin", "bin", "cli", "config", "control", "drive", "identity", "log", "node", "reload",
    "shard", "switch",
];

#[test]
fn router_parts_name_each_other_as_the_table_says() {
    check("router", ROUTER_PARTS, &ROUTER_OTHERS);
}

#[test]
fn fabric_modules_name_each_other_as_the_table_says() {
    check("fabric", FABRIC, &[]);
}

#[track_caller]
fn check(package: &str, table: Edges, others: &[&str]) {
    let mut found = edges(source::all(), package);
    found.retain(|module, _| !others.contains(&module.as_str()));
    let mut complaints = Vec::new();
    for (module, names) in &found {
        let allowed = table.iter().find(|(of, _)| of == module).map(|(_, names)| *names);
        let Some(allowed) = allowed else {
            complaints.push(format!("{package}: {module} is not in the table"));
            continue;
        };
        for name in names.iter().filter(|name| !allowed.contains(&name.as_str())) {
            complaints.push(format!("{package}: {module} may not name {name}"));
        }
        for name in allowed.iter().filter(|name| !names.contains(**name)) {
            complaints.push(format!("{package}: {module} does not name {name}"));
        }
    }
    for (module, _) in table.iter().filter(|(module, _)| !found.contains_key(*module)) {
        complaints.push(format!("{package}: {module} is in the table and not in the crate"));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// What each module names of its own crate, tests left out.
fn edges(sources: &[Source], package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources.iter().filter(|source| source.package() == package) {
        let Some(module) = source.module().filter(|module| module != "lib" && module != "main")
        else {
            continue;
        };
        let names = edges.entry(module.clone()).or_default();
        for path in source.found.paths.iter().filter(|path| !path.is_test) {
            if let [root, name, ..] = &path.segments[..]
                && root == "crate"
                && *name != module
            {
                names.insert(name.clone());
            }
        }
    }
    edges
}

#[test]
fn an_edge_shows_however_it_is_written() {
    let table = [
        "use crate::interest::Interest;",
        "use crate::{interest, time::Instant};",
        "fn f() { crate::interest::f() }",
        "struct A(crate::interest::Interest);",
    ];
    for text in table {
        let source = Source::parse("fabric/src/forward/part.rs", text.to_owned());
        assert!(edges(&[source], "fabric")["forward"].contains("interest"), "{text}");
    }
    let text = "#[cfg(test)] mod tests { use crate::interest::Interest; }";
    let source = Source::parse("fabric/src/forward.rs", text.to_owned());
    assert!(edges(&[source], "fabric")["forward"].is_empty(), "tests may name anything");
}
