//! What operators see: every configuration key is read and documented, every count is made, shown
//! and documented, and the documentation names nothing else.

use std::collections::BTreeSet;

use super::source::{self, Source};

/// Crates, which log filters name, are spelled like metrics.
const CRATES: [&str; 6] = [
    "mpreg_client",
    "mpreg_fabric",
    "mpreg_loadgen",
    "mpreg_proto",
    "mpreg_router",
    "mpreg_tuning",
];

#[test]
fn every_configuration_key_is_documented_and_no_other() {
    let parts = ["file", "routes", "link_state"];
    let parts = parts.map(|part| find(&format!("router/src/config/{part}.rs")));
    assert_eq!(keys(&parts), documented("Configuration"));
}

#[test]
fn every_configuration_key_is_read() {
    let mut unread = Vec::new();
    // The file's fields by the checks, the checked ones by what runs.
    let steps = [
        ("router/src/config/file.rs", "router/src/config/check.rs"),
        ("router/src/config/routes.rs", "router/src/config/routes.rs"),
        ("router/src/config/link_state.rs", "router/src/config/link_state.rs"),
        ("router/src/config.rs", "router/src/"),
    ];
    for (defined, reader) in steps {
        let is_reader = |source: &&Source| {
            let is_config = source.path.starts_with("router/src/config");
            source.path.starts_with(reader) && (is_config == reader.contains("config"))
        };
        let read = fields(router().filter(is_reader));
        for (section, fields) in sections(&[find(defined)]) {
            let missing = fields.into_iter().filter(|field| !read.contains(field));
            unread.extend(missing.map(|field| format!("{defined}: {section}.{field}")));
        }
    }
    assert_eq!(unread, Vec::<String>::new());
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let names = router().flat_map(|source| &source.found.strings);
    let made: BTreeSet<String> = names.filter(|name| is_metric(name)).cloned().collect();
    assert_eq!(made, documented("Metrics"));
}

#[test]
fn every_count_is_made_and_shown() {
    let probe = find("router/src/probe.rs");
    let shown = fields([probe]);
    let mut complaints = Vec::new();
    for (_, fields) in &probe.found.structs {
        for (field, _) in fields.iter().filter(|(_, kind)| kind == "Count") {
            if !shown.contains(field) {
                complaints.push(format!("{field} is counted and not shown"));
            }
            let named = router().flat_map(|source| &source.found.fields);
            if named.filter(|name| *name == field).count() < 2 {
                complaints.push(format!("{field} is shown and never counted"));
            }
        }
    }
    assert_eq!(complaints, Vec::<String>::new());
}

fn router() -> impl Iterator<Item = &'static Source> + Clone {
    source::all().iter().filter(|source| source.path.starts_with("router/src/"))
}

fn find(path: &str) -> &'static Source {
    let found = router().find(|source| source.path == path);
    found.unwrap_or_else(|| panic!("{path} is where this test looks"))
}

/// `section.key`, as in the file. The first part has the whole.
fn keys(parts: &[&Source]) -> BTreeSet<String> {
    let sections = sections(parts).into_iter();
    sections
        .flat_map(|(section, fields)| {
            fields.into_iter().map(move |field| format!("{section}.{field}"))
        })
        .collect()
}

/// The sections of the outermost struct, the first in the first file, with their fields.
fn sections(parts: &[&Source]) -> Vec<(String, Vec<String>)> {
    let mut structs = parts.iter().flat_map(|source| &source.found.structs);
    let (_, outermost) = structs.next().expect("a configuration is a struct of sections");
    let structs = || parts.iter().flat_map(|source| &source.found.structs);
    let section = |(name, kind): &(String, String)| {
        let (_, fields) = structs().find(|(of, _)| of == kind)?;
        Some((name.clone(), fields.iter().map(|(field, _)| field.clone()).collect()))
    };
    outermost.iter().filter_map(section).collect()
}

fn fields<'a>(sources: impl IntoIterator<Item = &'a Source>) -> BTreeSet<String> {
    sources.into_iter().flat_map(|source| source.found.fields.iter().cloned()).collect()
}

/// Names that open a table row under this heading of `docs/OPERATING.md`.
fn documented(heading: &str) -> BTreeSet<String> {
    let path = source::root().join("docs/OPERATING.md");
    let text = std::fs::read_to_string(path).expect("operators have a document");
    let opening = format!("\n## {heading}\n");
    let (_, section) = text.split_once(&opening).expect("the document has this heading");
    let section = section.split("\n## ").next().expect("split gives at least one part");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

fn is_metric(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with("mpreg_")
        && name != "mpreg_"
        && name.chars().all(is_word)
        && !CRATES.contains(&name)
}
